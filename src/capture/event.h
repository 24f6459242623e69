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
	Datum contact;
	const char *name;
	TimestampTz at;
	Datum properties; /* jsonb */
	int64 event_id;	  /* out */
} EventRow;

/*
 * Append rows as the journey owner, in one multi-insert; the engine is woken
 * when the transaction commits.  Runs nothing a user wrote.
 */
extern void pgj_event_append(const Site *site, EventRow *rows, int nrows);

/* The same for a row whose event_id was drawn from event_id_seq before. */
extern void pgj_event_append_numbered(const Site *site, EventRow *row);

/*
 * The same for events that this transaction itself decides on: their xid is 0,
 * so that nobody takes them for new, and nobody is woken.
 */
extern void pgj_event_append_done(const Site *site, EventRow *rows, int nrows);

/* Throws 22023 or 42939 when users may not give an event this name. */
extern void pgj_event_check_name(const char *name);

/* Why an event cannot be recorded, as a message to show; NULL if it can. */
extern const char *pgj_event_problem(const Site *site, Datum contact,
									 TimestampTz at, Datum properties);

#endif /* PGJ_EVENT_H */
