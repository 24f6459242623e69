/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  Times, and the one place that reads the clock.  The engine takes the time as a
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

/*
 * Is this a time that events may have and decisions may be taken at?  The engine
 * adds and subtracts intervals of up to 100 years without looking for overflow.
 */
extern bool pgj_time_in_range(TimestampTz at);

extern TimestampTz pgj_time_plus(TimestampTz at, const Interval *span);
extern TimestampTz pgj_time_minus(TimestampTz at, const Interval *span);

#endif /* PGJ_CLOCK_H */
