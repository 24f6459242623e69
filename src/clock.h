/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  The one place that reads the clock.  The engine takes the time as a
 *	  parameter; only the worker's loop and error rows ask here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CLOCK_H
#define PGJ_CLOCK_H

#include "datatype/timestamp.h"

extern TimestampTz pgj_clock_now(void);

/* When the statement at hand was received from the client. */
extern TimestampTz pgj_clock_statement(void);

#endif							/* PGJ_CLOCK_H */
