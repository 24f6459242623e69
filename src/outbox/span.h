/*-------------------------------------------------------------------------
 *
 * span.h
 *	  How long messages last.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SPAN_H
#define PGJ_SPAN_H

#include "contact/site.h"
#include "outbox/outbox.h"

/* Microseconds; see span.c */
extern int64 pgj_message_span(const Site *site, TimestampTz expires_after);

extern void pgj_message_span_note(const Site *site, const MessageRow *rows,
								  int n);

#endif /* PGJ_SPAN_H */
