/*-------------------------------------------------------------------------
 *
 * intake.c
 *	  Find what is new and what is due in a locked slice.
 *
 * New events.  Commit order is not id order: an event with a small id may
 * commit after one with a large id was processed.  So progress is a snapshot,
 * not an id.  Events of transactions visible in "seen" are done.  New are those
 * of transactions that were running in "seen" (its xip list) or began after it
 * (xid >= its xmax) and have committed since.  They are worked up to a second
 * snapshot, "upto", in the order (xid, event_id) of the index, so that a bulk
 * load is taken in batches; when it is exhausted, "upto" becomes "seen".
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
#include "guc.h"

void
pgj_require_read_committed(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				errmsg("journeys advance only in READ COMMITTED transactions"),
				errdetail("A snapshot older than the lock of a slice could miss what was committed before the lock was got."),
				errhint("Use BEGIN ISOLATION LEVEL READ COMMITTED."));
	PreventCommandIfReadOnly("journey.tick()");
}

bool
pgj_slice_lock(const Site *site, int slice, bool skip_locked)
{
	static Statement wait = {
		"SELECT FROM journey_state.slice WHERE slice = $1 FOR UPDATE",
		1, {INT2OID}
	};
	static Statement skip = {
		"SELECT FROM journey_state.slice WHERE slice = $1 FOR UPDATE SKIP LOCKED",
		1, {INT2OID}
	};
	Datum		args[1] = {Int16GetDatum(slice)};

	pgj_statement_run(site, skip_locked ? &skip : &wait, args, NULL);
	return SPI_processed == 1;
}

/* ---- progress --------------------------------------------------------- */

void
pgj_progress_load(const Site *site, int slice, Progress *progress)
{
	static Statement load = {
		"SELECT p.seen, p.upto, p.after_xid, p.after_event, p.due_at, p.due_id"
		" FROM journey_state.progress p WHERE p.slice = $1 AND p.lane = 'engine'"
		" ORDER BY p.seq DESC LIMIT 1",
		1, {INT2OID}
	};
	Datum		args[1] = {Int16GetDatum(slice)};
	bool		isnull;
	Datum		value;

	memset(progress, 0, sizeof(Progress));
	pgj_statement_run(site, &load, args, NULL);
	if (SPI_processed == 0)
	{
		/* the snapshot in which nothing is visible */
		progress->seen = DirectFunctionCall1(pg_snapshot_in,
											 CStringGetDatum("1:1:"));
		progress->due_at = DT_NOBEGIN;
		return;
	}
	value = pgj_spi_value(0, 1, &isnull);
	progress->seen = isnull ?
		DirectFunctionCall1(pg_snapshot_in, CStringGetDatum("1:1:")) :
		datumCopy(value, false, -1);
	value = pgj_spi_value(0, 2, &isnull);
	progress->upto = isnull ? (Datum) 0 : datumCopy(value, false, -1);
	value = pgj_spi_value(0, 3, &isnull);
	progress->after_xid = isnull ? (Datum) 0 : value;
	progress->after_event = pgj_spi_int8(0, 4, 0);
	progress->due_at = pgj_spi_int8(0, 5, 0);
	progress->due_id = pgj_spi_int8(0, 6, 0);
	SPI_freetuptable(SPI_tuptable);
}

void
pgj_progress_store(const Site *site, int slice, TimestampTz at,
				   const Progress *progress)
{
	static Statement store = {
		"INSERT INTO journey_state.progress (slice, lane, seq, at, seen, upto, after_xid, after_event, due_at, due_id)"
		" VALUES ($1, 'engine', pg_catalog.nextval('journey_state.row_id_seq'), $2, $3, $4, $5, $6, $7, $8)",
		8, {INT2OID, TIMESTAMPTZOID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, XID8OID, INT8OID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		args[8];
	char		nulls[8];

	memset(nulls, ' ', sizeof(nulls));
	args[0] = Int16GetDatum(slice);
	args[1] = TimestampTzGetDatum(at);
	args[2] = progress->seen;
	args[3] = progress->upto;
	args[4] = progress->after_xid;
	args[5] = Int64GetDatum(progress->after_event);
	args[6] = TimestampTzGetDatum(progress->due_at);
	args[7] = Int64GetDatum(progress->due_id);
	if (progress->upto == (Datum) 0)
		nulls[3] = nulls[4] = nulls[5] = 'n';
	pgj_statement_run(site, &store, args, nulls);
}

/* ---- new events ------------------------------------------------------- */

#define NEW_EVENT_COLUMNS \
	"SELECT v.contact, v.event_id, v.at, v.name, v.xid FROM journey_state.event v"

/* of transactions that were running in "seen": few, mostly none */
static Statement events_of_running = {
	"SELECT v.* FROM pg_catalog.pg_snapshot_xip($2) AS x (xid)"
	" CROSS JOIN LATERAL (" NEW_EVENT_COLUMNS
	"  WHERE v.slice = $1 AND v.xid = x.xid AND (v.xid, v.event_id) > ($4, $5)"
	"  ORDER BY v.event_id LIMIT $6) v"
	" WHERE pg_catalog.pg_visible_in_snapshot(x.xid, $3)"
	" ORDER BY v.xid, v.event_id LIMIT $6",
	6, {INT2OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, XID8OID, INT8OID, INT8OID}
};

/* of transactions that began after it */
static Statement events_since = {
	NEW_EVENT_COLUMNS
	" WHERE v.slice = $1 AND v.xid >= pg_catalog.pg_snapshot_xmax($2)"
	" AND v.xid < pg_catalog.pg_snapshot_xmax($3)"
	" AND (v.xid, v.event_id) > ($4, $5)"
	" AND pg_catalog.pg_visible_in_snapshot(v.xid, $3)"
	" ORDER BY v.xid, v.event_id LIMIT $6",
	6, {INT2OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, XID8OID, INT8OID, INT8OID}
};

static Datum
current_snapshot(const Site *site)
{
	static Statement current = {"SELECT pg_catalog.pg_current_snapshot()", 0};
	bool		isnull;
	Datum		snapshot;

	pgj_statement_run(site, &current, NULL, NULL);
	snapshot = datumCopy(pgj_spi_value(0, 1, &isnull), false, -1);
	SPI_freetuptable(SPI_tuptable);
	return snapshot;
}

/*
 * An event dated in the future waits for its time among the timers, never behind
 * the slice's progress there: a clock may have been set back.
 */
static void
postpone_event(Batch *batch, const Progress *progress, Datum contact,
			   int64 event_id, TimestampTz at)
{
	static Statement postpone = {
		"INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)"
		" VALUES ($1, $2, pg_catalog.nextval('journey_state.row_id_seq'), $3, $4, $5)",
		5, {INT2OID, TIMESTAMPTZOID, KEYOID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		args[5];

	args[0] = Int16GetDatum(batch->slice);
	args[1] = TimestampTzGetDatum(Max(at, progress->due_at));
	args[2] = contact;
	args[3] = Int64GetDatum(event_id);
	args[4] = TimestampTzGetDatum(at);
	pgj_statement_run(batch->site, &postpone, args, NULL);
}

static int
take_some_events(Batch *batch, Progress *progress, Statement *statement,
				 int limit)
{
	SPITupleTable *table;
	uint64		rows;
	Datum		args[6];
	bool		isnull;

	args[0] = Int16GetDatum(batch->slice);
	args[1] = progress->seen;
	args[2] = progress->upto;
	args[3] = progress->after_xid;
	args[4] = Int64GetDatum(progress->after_event);
	args[5] = Int64GetDatum(limit);
	pgj_statement_run(batch->site, statement, args, NULL);
	table = SPI_tuptable;
	rows = SPI_processed;

	for (uint64 row = 0; row < rows; row++)
	{
		Datum		contact;
		int64		event_id;
		TimestampTz at;
		char	   *name;

		SPI_tuptable = table;
		contact = pgj_spi_value(row, 1, &isnull);
		event_id = pgj_spi_int8(row, 2, 0);
		at = pgj_spi_int8(row, 3, 0);
		name = pgj_spi_text(row, 4);
		progress->after_xid = pgj_spi_value(row, 5, &isnull);
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

/*
 * Take in a batch of new events.  Returns true when that was all that was
 * committed by now; false when there is more.
 */
bool
pgj_take_events(Batch *batch, Progress *progress)
{
	int			limit = pgj_batch_size;
	int			taken;

	if (progress->upto == (Datum) 0)
	{
		progress->upto = current_snapshot(batch->site);
		progress->after_xid = FullTransactionIdGetDatum(FullTransactionIdFromU64(0));
		progress->after_event = 0;
	}
	taken = take_some_events(batch, progress, &events_of_running, limit);
	if (taken < limit)
		taken += take_some_events(batch, progress, &events_since,
								  limit - taken);
	if (taken > 0)
		progress->changed = true;
	if (taken == limit)
		return false;
	progress->seen = progress->upto;
	progress->upto = (Datum) 0;
	return true;
}

/*
 * Replay: all new events become timers due at their own time, to be worked in
 * the order of time.
 */
void
pgj_events_to_timers(const Site *site, int slice, Progress *progress)
{
	static Statement move = {
		"INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)"
		" SELECT v.slice, greatest(v.at, $6), pg_catalog.nextval('journey_state.row_id_seq'), v.contact, v.event_id, v.at"
		" FROM journey_state.event v"
		" WHERE v.slice = $1 AND (v.xid, v.event_id) > ($4, $5)"
		" AND (v.xid >= pg_catalog.pg_snapshot_xmax($2)"
		"  OR v.xid = ANY (ARRAY(SELECT pg_catalog.pg_snapshot_xip($2))))"
		" AND pg_catalog.pg_visible_in_snapshot(v.xid, $3)"
		" ORDER BY v.at, v.event_id",
		6, {INT2OID, PG_SNAPSHOTOID, PG_SNAPSHOTOID, XID8OID, INT8OID, TIMESTAMPTZOID}
	};
	Datum		args[6];

	if (progress->upto == (Datum) 0)
	{
		progress->upto = current_snapshot(site);
		progress->after_xid = FullTransactionIdGetDatum(FullTransactionIdFromU64(0));
		progress->after_event = 0;
	}
	args[0] = Int16GetDatum(slice);
	args[1] = progress->seen;
	args[2] = progress->upto;
	args[3] = progress->after_xid;
	args[4] = Int64GetDatum(progress->after_event);
	args[5] = TimestampTzGetDatum(progress->due_at);
	pgj_statement_run(site, &move, args, NULL);
	progress->seen = progress->upto;
	progress->upto = (Datum) 0;
	progress->changed = true;
}

/* ---- due timers ------------------------------------------------------- */

#define DUE_TIMERS(limit) \
	"SELECT t.due_at, t.timer_id, t.contact, t.enrollment_id, t.step_no, t.epoch," \
	" t.event_id, t.event_at, v.name" \
	" FROM (SELECT * FROM journey_state.timer" \
	"  WHERE slice = $1 AND due_at >= $2 AND (due_at, timer_id) > ($2, $3) AND due_at <= $4" \
	"  ORDER BY " limit ") t" \
	" LEFT JOIN LATERAL (SELECT w.name FROM journey_state.event w" \
	"  WHERE w.contact = t.contact AND w.at = t.event_at AND w.event_id = t.event_id OFFSET 0) v ON true" \
	" ORDER BY t.due_at, t.timer_id"

static Statement due_timers = {
	DUE_TIMERS("due_at, timer_id LIMIT $5"),
	5, {INT2OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}
};

/* a replay must not cut an instant in two: events come first at each */
static Statement due_timers_with_ties = {
	DUE_TIMERS("due_at FETCH FIRST $5 ROWS WITH TIES"),
	5, {INT2OID, TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}
};

typedef struct DueStep
{
	Work	   *work;
	TimestampTz due_at;
	int64		enrollment_id;
	int			step;
	int			epoch;
	bool		fired;
} DueStep;

/* Runs are known only after all contacts of the batch are. */
static void
add_steps(Batch *batch, DueStep *due, int n)
{
	pgj_batch_load_runs(batch);
	for (int i = 0; i < n; i++)
	{
		Run		   *run = pgj_batch_run(due[i].work, due[i].enrollment_id);

		if (run != NULL)		/* else it has ended */
			pgj_batch_step(batch, run, due[i].due_at, due[i].step,
						   due[i].fired, due[i].epoch, "held");
	}
}

/*
 * Take in a batch of timers due by "until".  Returns true when these were all.
 * Loads the runs of all contacts of the batch, so it is called last.
 */
bool
pgj_take_timers(Batch *batch, Progress *progress, TimestampTz until)
{
	Datum		args[5];
	DueStep    *due;
	int			ndue = 0;
	uint64		rows;
	bool		all;

	args[0] = Int16GetDatum(batch->slice);
	args[1] = TimestampTzGetDatum(progress->due_at);
	args[2] = Int64GetDatum(progress->due_id);
	args[3] = TimestampTzGetDatum(until);
	args[4] = Int64GetDatum(pgj_batch_size);
	pgj_statement_run(batch->site,
					  batch->replay ? &due_timers_with_ties : &due_timers,
					  args, NULL);
	rows = SPI_processed;
	all = rows < pgj_batch_size;
	due = palloc_array(DueStep, rows + 1);

	for (uint64 row = 0; row < rows; row++)
	{
		TimestampTz due_at = pgj_spi_int8(row, 1, 0);
		bool		isnull;
		Datum		contact = pgj_spi_value(row, 3, &isnull);
		char	   *name = pgj_spi_text(row, 9);

		progress->due_at = due_at;
		progress->due_id = pgj_spi_int8(row, 2, 0);
		progress->changed = true;
		if (pgj_spi_int8(row, 7, 0) != 0)
		{
			/* name is null when the event was purged meanwhile */
			if (name != NULL && pgj_event_matters(batch->definitions, name))
				pgj_batch_event(batch, contact, due_at,
								pgj_spi_int8(row, 7, 0),
								pgj_spi_int8(row, 8, 0), name);
			continue;
		}
		due[ndue].work = pgj_batch_work(batch, contact);
		due[ndue].due_at = due_at;
		due[ndue].enrollment_id = pgj_spi_int8(row, 4, 0);
		due[ndue].step = pgj_spi_int4(row, 5, 0);
		due[ndue].epoch = pgj_spi_int4(row, 6, 0);
		due[ndue].fired = true;
		ndue++;
	}
	SPI_freetuptable(SPI_tuptable);

	batch->horizon = all ? until : progress->due_at;
	add_steps(batch, due, ndue);
	return all;
}

/* ---- what a pause held back ------------------------------------------- */

/* Steps held while their journey was paused, once it is not. */
void
pgj_take_held(Batch *batch)
{
	static Statement release = {
		"DELETE FROM journey_state.held h USING journey.journey j"
		" WHERE h.slice = $1 AND j.journey_id = h.journey_id AND j.status <> 'paused'"
		" AND h.enrollment_id IS NOT NULL"
		" RETURNING h.contact, h.enrollment_id, h.step_no, h.epoch, h.fired",
		1, {INT2OID}
	};
	Datum		args[1] = {Int16GetDatum(batch->slice)};
	DueStep    *due;
	int			ndue = 0;

	pgj_statement_run(batch->site, &release, args, NULL);
	due = palloc_array(DueStep, SPI_processed + 1);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;

		due[ndue].work = pgj_batch_work(batch, pgj_spi_value(row, 1, &isnull));
		due[ndue].due_at = batch->at;
		due[ndue].enrollment_id = pgj_spi_int8(row, 2, 0);
		due[ndue].step = pgj_spi_int4(row, 3, 0);
		due[ndue].epoch = pgj_spi_int4(row, 4, 0);
		due[ndue].fired = DatumGetBool(pgj_spi_value(row, 5, &isnull));
		ndue++;
	}
	SPI_freetuptable(SPI_tuptable);
	if (ndue > 0)
		add_steps(batch, due, ndue);
}
