/*-------------------------------------------------------------------------
 *
 * source.c
 *	  Take in what rooms before the engine have found out.
 *
 * Their passes run under the slice's lock, before the slice's own events: a
 * decision sees every change that has committed.  The events they yield are
 * written down as done (xid 0) in the same transaction, so nobody else takes
 * them in.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/source.h"

EngineSource pgj_engine_source = { 0 };

/*
 * One bounded batch of the passes, at the batch's time.  Returns true when that
 * was all there is by now.
 */
bool
pgj_take_sources(Batch *batch)
{
	MemoryContext old;
	SourceEvent *events;
	int nevents = 0;
	bool more = false;

	if (pgj_engine_source.pass == NULL)
		return true;
	old = MemoryContextSwitchTo(batch->context);
	events = pgj_engine_source.pass(batch->site, batch->slice, batch->at, false,
									&nevents, &more);
	for (int i = 0; i < nevents; i++)
		if (pgj_event_matters(batch->definitions, events[i].name))
			pgj_batch_event(batch, events[i].contact, events[i].at,
							events[i].event_id, events[i].at, events[i].name);
	MemoryContextSwitchTo(old);
	return !more;
}

/* Event timers, never behind the slice's progress. */
static void
insert_timers(const Site *site, int slice, const Progress *progress,
			  const SourceEvent *events, int nevents, Definitions *definitions)
{
	static KeptPlan insert = {
		.sql =
			"INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)"
			" SELECT $4, greatest(i.at, $5), pg_catalog.nextval('journey_state.row_id_seq'), i.contact, i.event_id, i.at"
			" FROM unnest($1, $2, $3) AS i (contact, event_id, at) ORDER BY i.at, i.event_id"
	};
	Params params;
	Datum *contact;
	Datum *event_id;
	Datum *at;
	int n = 0;

	for (int i = 0; i < nevents; i++)
		n += pgj_event_matters(definitions, events[i].name);
	if (n == 0)
		return;
	pgj_params_init(&params, site, n);
	contact = pgj_params_column(&params, site->key_type, NULL);
	event_id = pgj_params_column(&params, INT8OID, NULL);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = n = 0; i < nevents; i++)
	{
		if (!pgj_event_matters(definitions, events[i].name))
			continue;
		contact[n] = events[i].contact;
		event_id[n] = Int64GetDatum(events[i].event_id);
		at[n++] = TimestampTzGetDatum(events[i].at);
	}
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(slice));
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(progress->due_at));
	(void) pgj_plan_execute(&insert, &params);
}

/*
 * Replay: all that the passes find up to "until" becomes timers due at their own
 * instants, to be worked in the order of time.
 */
void
pgj_sources_to_timers(const Site *site, int slice, TimestampTz until,
					  const Progress *progress)
{
	MemoryContext context;
	bool more = pgj_engine_source.pass != NULL;

	context = AllocSetContextCreate(CurrentMemoryContext, "pg_journey sources",
									ALLOCSET_DEFAULT_SIZES);
	while (more)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		SourceEvent *events;
		int nevents = 0;

		CHECK_FOR_INTERRUPTS();
		more = false;
		events =
			pgj_engine_source.pass(site, slice, until, true, &nevents, &more);
		insert_timers(site, slice, progress, events, nevents,
					  pgj_definitions(site));
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}
