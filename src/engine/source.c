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
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/source.h"
#include "pg_journey.h"

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

/* The first row's time; infinity if there is none. */
static TimestampTz
time_of(KeptPlan *plan, const Params *params)
{
	TimestampTz result = DT_NOEND;

	if (pgj_plan_execute(plan, params) > 0)
		result = pgj_row_int8(0, 1, DT_NOEND);
	SPI_freetuptable(SPI_tuptable);
	return result;
}

/* When the slice's next membership is to be looked at; infinity: none is. */
TimestampTz
pgj_next_check(const Site *site, int slice)
{
	static KeptPlan next = {
		.sql =
			"SELECT b.check_at FROM journey_state.membership AS b WHERE b.slice = $1"
			" AND b.check_at > coalesce((SELECT p.due_at FROM journey_state.progress AS p"
			"  WHERE p.slice = $1 AND p.lane = 'segment' ORDER BY p.seq DESC LIMIT 1), '-infinity')"
			" ORDER BY b.check_at LIMIT 1"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(slice));
	return time_of(&next, &params);
}

/* Since when, or from when on, the next scan is wanted; infinity: none is. */
TimestampTz
pgj_next_scan(const Site *site)
{
	static KeptPlan next = {
		.sql =
			"SELECT d.next_due FROM journey._segments_due('-infinity') AS d WHERE d.slice = -1"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	return time_of(&next, &params);
}

/*
 * Replay: what a scan of this very transaction has found, which the next one
 * would take in as new events, is done with now.
 */
void
pgj_scanned_to_timers(const Site *site, int slice)
{
	static KeptPlan move = {
		.sql =
			"WITH scanned AS ("
			"  UPDATE journey_state.event AS v SET xid = '0'"
			"  WHERE v.slice = $1 AND v.xid = pg_catalog.pg_current_xact_id()"
			"   AND (starts_with(v.name, $2) OR starts_with(v.name, $3))"
			"  RETURNING v.contact, v.event_id, v.at)"
			" INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)"
			" SELECT $1, greatest(s.at, p.due_at), pg_catalog.nextval('journey_state.row_id_seq'), s.contact, s.event_id, s.at"
			" FROM scanned AS s LEFT JOIN LATERAL (SELECT g.due_at FROM journey_state.progress AS g"
			"  WHERE g.slice = $1 AND g.lane = 'engine' ORDER BY g.seq DESC LIMIT 1) AS p ON true"
			" ORDER BY s.at, s.event_id"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(slice));
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(PGJ_EVENT_ENTER));
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(PGJ_EVENT_LEAVE));
	(void) pgj_plan_execute(&move, &params);
}
