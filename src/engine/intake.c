/*-------------------------------------------------------------------------
 *
 * intake.c
 *	  Find what is new and what is due in a locked slice.
 *
 * New events are found by the commit of the transaction that recorded them (see
 * news.h); progress is a snapshot, not an id.
 *
 * Timers are worked in the order (due_at, timer_id).  None is inserted behind the
 * progress: the slice's lock is held, and one due earlier is put at the progress.
 *
 * Both kinds of rows are only appended, so a pass costs what it finds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/news.h"
#include "guc.h"
#include "pg_journey.h"

void
pgj_require_read_committed(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(
			ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			errmsg("journeys advance only in READ COMMITTED transactions"),
			errdetail(
				"A snapshot older than the lock of a slice could miss what was committed before the lock was got."),
			errhint("Use BEGIN ISOLATION LEVEL READ COMMITTED."));
	PreventCommandIfReadOnly("journey.tick()");
}

/* $1: the slice */
static void
slice_params(const Site *site, int slice, Params *params)
{
	pgj_params_init(params, site, 0);
	pgj_params_scalar(params, INT2OID, Int16GetDatum(slice));
}

bool
pgj_slice_lock(const Site *site, int slice, bool skip_locked)
{
	static KeptPlan wait = {
		.sql = "SELECT FROM journey_state.slice WHERE slice = $1 FOR UPDATE"
	};
	static KeptPlan skip = {
		.sql =
			"SELECT FROM journey_state.slice WHERE slice = $1 FOR UPDATE SKIP LOCKED"
	};
	Params params;

	slice_params(site, slice, &params);
	return pgj_plan_execute(skip_locked ? &skip : &wait, &params) == 1;
}

/* ---- progress --------------------------------------------------------- */

/* A column of the first row, copied, or 0. */
static Datum
copy_or_zero(int column)
{
	return pgj_row_null(0, column)
			   ? (Datum) 0
			   : pgj_row_copy(CurrentMemoryContext, 0, column);
}

void
pgj_progress_load(const Site *site, int slice, Progress *progress)
{
	static KeptPlan load = {
		.sql =
			"SELECT p.seen, p.upto, p.after_xid, p.after_event, p.due_at, p.due_id, p.at"
			" FROM journey_state.progress p WHERE p.slice = $1 AND p.lane = 'engine'"
			" ORDER BY p.seq DESC LIMIT 1"
	};
	Params params;

	memset(progress, 0, sizeof(Progress));
	progress->due_at = DT_NOBEGIN;
	progress->at = DT_NOBEGIN;
	slice_params(site, slice, &params);
	if (pgj_plan_execute(&load, &params) > 0)
	{
		progress->seen = copy_or_zero(1);
		progress->upto = copy_or_zero(2);
		progress->after_xid = copy_or_zero(3);
		progress->after_event = pgj_row_int8(0, 4, 0);
		progress->due_at = pgj_row_int8(0, 5, 0);
		progress->due_id = pgj_row_int8(0, 6, 0);
		progress->at = pgj_row_int8(0, 7, 0);
	}
	SPI_freetuptable(SPI_tuptable);
	if (progress->seen ==
		(Datum) 0) /* the snapshot in which nothing is visible */
		progress->seen =
			DirectFunctionCall1(pg_snapshot_in, CStringGetDatum("1:1:"));
}

void
pgj_progress_store(const Site *site, int slice, TimestampTz at,
				   const Progress *progress)
{
	static KeptPlan store = {
		.sql =
			"INSERT INTO journey_state.progress (slice, lane, seq, at, seen, upto, after_xid, after_event, due_at, due_id)"
			" VALUES ($1, 'engine', pg_catalog.nextval('journey_state.row_id_seq'), $2, $3, $4, $5, $6, $7, $8)"
	};
	bool idle = progress->upto == (Datum) 0;
	Params params;

	slice_params(site, slice, &params);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_params_scalar(&params, PG_SNAPSHOTOID, progress->seen);
	pgj_params_nullable(&params, PG_SNAPSHOTOID, progress->upto, idle);
	pgj_params_nullable(&params, XID8OID, progress->after_xid, idle);
	pgj_params_nullable(&params, INT8OID, Int64GetDatum(progress->after_event),
						idle);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(progress->due_at));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(progress->due_id));
	(void) pgj_plan_execute(&store, &params);
}

/* ---- new events ------------------------------------------------------- */

#define NEW_EVENTS                                                       \
	"v.contact, v.event_id, v.at, v.name, v.xid", "journey_state.event", \
		"event_id"

/* one macro's arguments out of another */
#define APPLY(macro, ...) macro(__VA_ARGS__)

static KeptPlan events_of_running = { .sql = APPLY(PGJ_NEWS_OF_RUNNING_BATCH,
												   NEW_EVENTS) };

static KeptPlan events_since = { .sql =
									 APPLY(PGJ_NEWS_SINCE_BATCH, NEW_EVENTS) };

/*
 * Work up to what is committed now, from the start, unless an earlier pass has
 * begun to work up to what was committed then.  That does not include what this
 * transaction itself has recorded.
 */
void
pgj_begin_events(const Site *site, Progress *progress)
{
	static KeptPlan current = { .sql = "SELECT " PGJ_COMMITTED_SNAPSHOT };
	Params params;

	progress->fresh = progress->upto == (Datum) 0;
	if (!progress->fresh)
		return;
	pgj_params_init(&params, site, 0);
	(void) pgj_plan_execute(&current, &params);
	progress->upto = pgj_row_copy(CurrentMemoryContext, 0, 1);
	SPI_freetuptable(SPI_tuptable);
	progress->after_xid =
		FullTransactionIdGetDatum(FullTransactionIdFromU64(0));
	progress->after_event = 0;
}

/* $1 … $5: the slice and how far its events are worked. */
static void
progress_params(const Site *site, int slice, const Progress *progress,
				Params *params)
{
	slice_params(site, slice, params);
	pgj_params_scalar(params, PG_SNAPSHOTOID, progress->seen);
	pgj_params_scalar(params, PG_SNAPSHOTOID, progress->upto);
	pgj_params_scalar(params, XID8OID, progress->after_xid);
	pgj_params_scalar(params, INT8OID, Int64GetDatum(progress->after_event));
}

/*
 * An event dated in the future waits for its time among the timers, never behind
 * the slice's progress there: a clock may have been set back.
 */
static void
postpone_event(Batch *batch, const Progress *progress, Datum contact,
			   int64 event_id, TimestampTz at)
{
	static KeptPlan postpone = {
		.sql =
			"INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)"
			" VALUES ($1, $2, pg_catalog.nextval('journey_state.row_id_seq'), $3, $4, $5)"
	};
	Params params;

	slice_params(batch->site, batch->slice, &params);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(Max(at, progress->due_at)));
	pgj_params_scalar(&params, batch->site->key_type, contact);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(event_id));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	(void) pgj_plan_execute(&postpone, &params);
}

static int
take_some_events(Batch *batch, Progress *progress, KeptPlan *plan, int limit)
{
	SPITupleTable *table;
	Params params;
	uint64 rows;

	progress_params(batch->site, batch->slice, progress, &params);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(limit));
	rows = pgj_plan_execute(plan, &params);
	table = SPI_tuptable;

	for (uint64 row = 0; row < rows; row++)
	{
		Datum contact;
		int64 event_id;
		TimestampTz at;
		char *name;

		SPI_tuptable = table;
		contact = pgj_row_value(row, 1);
		event_id = pgj_row_int8(row, 2, 0);
		at = pgj_row_int8(row, 3, 0);
		name = pgj_row_text(CurrentMemoryContext, row, 4);
		progress->after_xid = pgj_row_value(row, 5);
		progress->after_event = event_id;
		if (!pgj_event_matters(batch->definitions, name))
			continue;
		if (at > batch->at)
			postpone_event(batch, progress, contact, event_id, at);
		else
			pgj_batch_event(batch, contact, at, event_id, at, name);
	}
	SPI_freetuptable(table);
	return (int) rows;
}

/* Does a snapshot name no transaction that was running? */
static bool
nothing_ran(Datum snapshot)
{
	return DirectFunctionCall1(pg_snapshot_xmin, snapshot) ==
		   DirectFunctionCall1(pg_snapshot_xmax, snapshot);
}

/*
 * Take in a batch of new events, after pgj_begin_events.  Returns true when that
 * was all that was committed by now; false when there may be more, also at the
 * end of what an earlier pass has begun: that did not look at what came since.
 */
bool
pgj_take_events(Batch *batch, Progress *progress)
{
	int limit = pgj_batch_size;
	int taken;

	taken = nothing_ran(progress->seen)
				? 0
				: take_some_events(batch, progress, &events_of_running, limit);
	if (taken < limit)
		taken +=
			take_some_events(batch, progress, &events_since, limit - taken);
	if (taken > 0 || !progress->fresh)
		progress->changed = true;
	if (taken == limit)
		return false;
	progress->seen = progress->upto;
	progress->upto = (Datum) 0;
	return progress->fresh;
}

/*
 * Replay: all new events become timers due at their own time, to be worked in
 * the order of time.
 */
void
pgj_events_to_timers(const Site *site, int slice, Progress *progress)
{
	static KeptPlan move = {
		.sql =
			"INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)"
			" SELECT $1, greatest(v.at, $6), pg_catalog.nextval('journey_state.row_id_seq'), v.contact, v.event_id, v.at"
			" FROM (" APPLY(
				PGJ_NEWS_OF_RUNNING, NEW_EVENTS,
				"") " UNION ALL " APPLY(PGJ_NEWS_SINCE,
										NEW_EVENTS) ") v"
													" ORDER BY v.at, v.event_id"
	};
	Params params;

	do
	{
		pgj_begin_events(site, progress);
		progress_params(site, slice, progress, &params);
		pgj_params_scalar(&params, TIMESTAMPTZOID,
						  TimestampTzGetDatum(progress->due_at));
		(void) pgj_plan_execute(&move, &params);
		progress->seen = progress->upto;
		progress->upto = (Datum) 0;
	} while (!progress->fresh);
	progress->changed = true;
}

/* ---- due timers ------------------------------------------------------- */

#define DUE_TIMERS(limit)                                                                    \
	"SELECT t.due_at, t.timer_id, t.contact, t.enrollment_id, t.step_no, t.epoch,"           \
	" t.event_id, t.event_at"                                                                \
	" FROM (SELECT * FROM journey_state.timer"                                               \
	"  WHERE slice = $1 AND due_at >= $2 AND (due_at, timer_id) > ($2, $3) AND due_at <= $4" \
	"  ORDER BY " limit ") t"                                                                \
	" ORDER BY t.due_at, t.timer_id"

static KeptPlan due_timers = { .sql = DUE_TIMERS("due_at, timer_id LIMIT $5") };

/* a replay must not cut an instant in two: events come first at each */
static KeptPlan due_timers_with_ties = {
	.sql = DUE_TIMERS("due_at FETCH FIRST $5 ROWS WITH TIES")
};

/* By itself, so that timers of runs do not open every partition of the events. */
static KeptPlan dated_events = {
	.sql =
		"SELECT i.n, w.name FROM unnest($1, $2, $3, $4) AS i (n, contact, at, event_id)"
		" CROSS JOIN LATERAL (SELECT v.name FROM journey_state.event v"
		"  WHERE v.contact = i.contact AND v.at = i.at AND v.event_id = i.event_id"
		"  AND v.at >= $5 AND v.at <= $6 OFFSET 0) w"
};

typedef struct DueStep
{
	Work *work;
	TimestampTz due_at;
	int64 enrollment_id;
	int step;
	int epoch;
	bool fired;
} DueStep;

/* Runs are known only after all contacts of the batch are. */
static void
add_steps(Batch *batch, DueStep *due, int n)
{
	pgj_batch_load_runs(batch);
	for (int i = 0; i < n; i++)
	{
		Run *run = pgj_batch_run(due[i].work, due[i].enrollment_id);

		if (run != NULL) /* else it has ended */
			pgj_batch_step(batch, run, due[i].due_at, due[i].step, due[i].fired,
						   due[i].epoch, "held");
	}
}

/*
 * The names of the events among the timers in SPI_tuptable; NULL for those of
 * runs, and where the event was purged meanwhile.
 */
static char **
dated_names(const Site *site, uint64 rows)
{
	MemoryContext context = CurrentMemoryContext;
	char **names = palloc0_array(char *, rows + 1);
	uint64 *owner = palloc_array(uint64, rows + 1);
	SPITupleTable *timers = SPI_tuptable;
	TimestampTz first = DT_NOEND;
	TimestampTz last = DT_NOBEGIN;
	Params params;
	Datum *contact, *at, *event;
	uint64 found;
	int n = 0;

	for (uint64 row = 0; row < rows; row++)
		if (!pgj_row_null(row, 7))
			owner[n++] = row;
	if (n == 0)
		return names;
	contact = pgj_params_contacts(&params, site, n);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	event = pgj_params_column(&params, INT8OID, NULL);
	for (int i = 0; i < n; i++)
	{
		contact[i] = pgj_row_value(owner[i], 3);
		event[i] = pgj_row_value(owner[i], 7);
		at[i] = pgj_row_value(owner[i], 8);
		first = Min(first, DatumGetTimestampTz(at[i]));
		last = Max(last, DatumGetTimestampTz(at[i]));
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(first));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(last));
	found = pgj_plan_execute(&dated_events, &params);
	for (uint64 row = 0; row < found; row++)
		names[owner[pgj_row_int4(row, 1, 0)]] = pgj_row_text(context, row, 2);
	SPI_freetuptable(SPI_tuptable);
	SPI_tuptable = timers;
	return names;
}

/*
 * Take in a batch of timers due by "until".  Returns true when these were all.
 * Loads the runs of all contacts of the batch, so it is called last.
 */
bool
pgj_take_timers(Batch *batch, Progress *progress, TimestampTz until)
{
	Params params;
	DueStep *due;
	int ndue = 0;
	char **names;
	uint64 rows;
	bool all;

	slice_params(batch->site, batch->slice, &params);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(progress->due_at));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(progress->due_id));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(until));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(pgj_batch_size));
	rows = pgj_plan_execute(batch->replay ? &due_timers_with_ties : &due_timers,
							&params);
	all = rows < pgj_batch_size;
	due = palloc_array(DueStep, rows + 1);
	names = dated_names(batch->site, rows);

	for (uint64 row = 0; row < rows; row++)
	{
		TimestampTz due_at = pgj_row_int8(row, 1, 0);
		Datum contact = pgj_row_value(row, 3);
		char *name = names[row];

		progress->due_at = due_at;
		progress->due_id = pgj_row_int8(row, 2, 0);
		progress->changed = true;
		if (pgj_row_int8(row, 7, 0) != 0)
		{
			if (name != NULL && pgj_event_matters(batch->definitions, name))
				pgj_batch_event(batch, contact, due_at, pgj_row_int8(row, 7, 0),
								pgj_row_int8(row, 8, 0), name);
			continue;
		}
		due[ndue].work = pgj_batch_work(batch, contact);
		due[ndue].due_at = due_at;
		due[ndue].enrollment_id = pgj_row_int8(row, 4, 0);
		due[ndue].step = pgj_row_int4(row, 5, 0);
		due[ndue].epoch = pgj_row_int4(row, 6, 0);
		due[ndue].fired = true;
		ndue++;
	}
	SPI_freetuptable(SPI_tuptable);

	batch->horizon = all ? until : progress->due_at;
	add_steps(batch, due, ndue);
	return all;
}

/* ---- what a pause held back ------------------------------------------- */

/* Are there steps held of a journey that is paused no more? */
bool
pgj_holds_released(const Site *site, int slice)
{
	static KeptPlan find = {
		.sql =
			"SELECT FROM journey.journey j JOIN journey_state.held w ON w.slice = $1 AND w.journey_id = j.journey_id"
			" WHERE j.status <> 'paused' AND w.enrollment_id IS NOT NULL LIMIT 1"
	};
	Params params;
	bool found;

	slice_params(site, slice, &params);
	found = pgj_plan_execute(&find, &params) > 0;
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/*
 * A batch of the steps held while their journey was paused, once it is not.
 * Returns true when these were all.
 */
bool
pgj_take_held(Batch *batch)
{
	static KeptPlan release = {
		.sql =
			"DELETE FROM journey_state.held h WHERE h.ctid = ANY (ARRAY("
			"SELECT w.ctid FROM journey.journey j JOIN journey_state.held w ON w.slice = $1 AND w.journey_id = j.journey_id"
			" WHERE j.status <> 'paused' AND w.enrollment_id IS NOT NULL LIMIT $2))"
			" RETURNING h.contact, h.enrollment_id, h.step_no, h.epoch, h.fired"
	};
	Params params;
	DueStep *due;
	uint64 rows;
	int ndue = 0;

	slice_params(batch->site, batch->slice, &params);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(pgj_batch_size));
	rows = pgj_plan_execute(&release, &params);
	due = palloc_array(DueStep, rows + 1);
	for (uint64 row = 0; row < rows; row++)
	{
		due[ndue].work = pgj_batch_work(batch, pgj_row_value(row, 1));
		due[ndue].due_at = batch->at;
		due[ndue].enrollment_id = pgj_row_int8(row, 2, 0);
		due[ndue].step = pgj_row_int4(row, 3, 0);
		due[ndue].epoch = pgj_row_int4(row, 4, 0);
		due[ndue].fired = DatumGetBool(pgj_row_value(row, 5));
		ndue++;
	}
	SPI_freetuptable(SPI_tuptable);
	if (ndue > 0)
		add_steps(batch, due, ndue);
	return rows < pgj_batch_size;
}
