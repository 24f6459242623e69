/*-------------------------------------------------------------------------
 *
 * event.h
 *	  Append events to journey_state.event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_EVENT_H
#define PGJ_EVENT_H

#include "contact/site.h"
#include "datatype/timestamp.h"

typedef struct EventRow
{
	Datum		contact;
	const char *name;
	TimestampTz at;
	Datum		properties;		/* jsonb */
	int64		event_id;		/* out */
} EventRow;

/*
 * Append rows as the journey owner, in one multi-insert; the engine is woken
 * when the transaction commits.  Runs nothing a user wrote.
 */
extern void pgj_event_append(const Site *site, EventRow *rows, int nrows);

#endif							/* PGJ_EVENT_H */
