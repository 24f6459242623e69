/*-------------------------------------------------------------------------
 *
 * tick.c
 *	  The one way into the engine: journey.tick() and journey.replay().
 *
 * A tick takes, slice by slice, one batch of what changed and of new events and,
 * when a slice has no more of those, one batch of due timers; every decision is
 * taken at the tick's time.  Scans, which go over the contacts of all slices,
 * are in the place of one more slice, PGJ_ALL_SLICES, and come first.  Callers
 * loop while "more" is true.  A slice locked by another session is passed over:
 * that session is doing its work.
 *
 * A crash, a cancel or an error in the engine itself rolls the transaction back:
 * the slices' progress with what was decided, so the next pass does it anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "board.h"
#include "clock.h"
#include "engine/batch.h"
#include "engine/engine.h"
#include "engine/source.h"
#include "gate/gate.h"
#include "pg_journey.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(pgj_sql_tick);
PG_FUNCTION_INFO_V1(pgj_sql_replay);

static void
finish_batch(Batch *batch, int slice, Progress *progress, PassCounts *counts)
{
	batch->passed = progress->due_at;
	if (batch->nworks > 0)
	{
		pgj_batch_process(batch);
		counts->events += batch->events;
		counts->steps += batch->steps;
		counts->messages += batch->messages;
	}
	if (progress->changed)
		pgj_progress_store(batch->site, slice, batch->at, progress);
	progress->changed = false;
	pgj_batch_end(batch);
}

/*
 * One batch of what changed: first who entered or left segments by it, then the
 * events themselves, so that each is decided on with the memberships of now.
 * False when more is left.
 */
static bool
work_events(const Site *site, int slice, TimestampTz at, Progress *progress,
			PassCounts *counts)
{
	Batch *batch =
		pgj_batch_begin(site, pgj_definitions(site), slice, at, false, false);
	bool all;

	/* the passes see at least the events that are decided on after them */
	pgj_begin_events(site, progress);
	all = pgj_take_sources(batch) && pgj_take_events(batch, progress);
	if (batch->nworks > 0)
		pgj_batch_load_runs(batch);
	finish_batch(batch, slice, progress, counts);
	return all;
}

/*
 * A slice where nothing but segments had work: decide on who entered or left, if
 * any journey listens to that, and leave all else to the next tick.
 */
static void
work_segments(const Site *site, int slice, TimestampTz at, PassCounts *counts)
{
	Batch *batch =
		pgj_batch_begin(site, pgj_definitions(site), slice, at, false, false);
	Progress progress = { 0 };

	if (!pgj_take_sources(batch))
		counts->more = true;
	if (batch->nworks > 0)
	{
		counts->more = true;
		pgj_progress_load(site, slice, &progress);
		pgj_batch_load_runs(batch);
	}
	finish_batch(batch, slice, &progress, counts);
}

static bool
take_timers(Batch *batch, Progress *progress, TimestampTz until)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	bool all = pgj_take_timers(batch, progress, until);

	MemoryContextSwitchTo(old);
	return all;
}

bool
pgj_engine_intake(const Site *site, int slice, TimestampTz at)
{
	Progress progress;
	PassCounts counts = { 0 };

	pgj_progress_load(site, slice, &progress);
	return work_events(site, slice, at, &progress, &counts);
}

void
pgj_slice_tick(const Site *site, int slice, TimestampTz at, PassCounts *counts)
{
	Progress progress;
	Batch *batch;

	pgj_progress_load(site, slice, &progress);
	if (!work_events(site, slice, at, &progress, counts))
	{
		counts->more = true;
		return;
	}

	batch =
		pgj_batch_begin(site, pgj_definitions(site), slice, at, false, false);
	if (!pgj_take_held(batch))
		counts->more = true;
	if (batch->nworks > 0)
	{
		finish_batch(batch, slice, &progress, counts);
		batch = pgj_batch_begin(site, pgj_definitions(site), slice, at, false,
								false);
	}
	if (!take_timers(batch, &progress, at))
		counts->more = true;
	finish_batch(batch, slice, &progress, counts);
}

/* All timers up to "until", each decided at its own time. */
static void
replay_timers(const Site *site, int slice, TimestampTz until, bool assume_sent,
			  Progress *progress, PassCounts *counts)
{
	bool all;

	do
	{
		Batch *batch = pgj_batch_begin(site, pgj_definitions(site), slice,
									   until, true, assume_sent);

		CHECK_FOR_INTERRUPTS();
		all = take_timers(batch, progress, until);
		finish_batch(batch, slice, progress, counts);
	} while (!all);
}

/*
 * Who enters and leaves segments is found out beforehand for the whole time,
 * many contacts at once; unless an expression or the gate asks who is in one,
 * which must find the memberships of its moment.
 */
static void
replay_span(const Site *site, int slice, TimestampTz until, bool assume_sent,
			Progress *progress, PassCounts *counts)
{
	pgj_events_to_timers(site, slice, progress);
	if (pgj_definitions(site)->asks_segments || pgj_gate_asks_segments(site))
	{
		TimestampTz last = DT_NOBEGIN;
		TimestampTz at;

		/* what has changed counts as of where the slice has got to */
		pgj_sources_to_timers(site, slice, progress->due_at, progress);
		while ((at = pgj_next_check(site, slice)) <= until && at > last)
		{
			replay_timers(site, slice, at - 1, assume_sent, progress, counts);
			pgj_sources_to_timers(site, slice, at, progress);
			last = at;
		}
	}
	pgj_sources_to_timers(site, slice, until, progress);
	replay_timers(site, slice, until, assume_sent, progress, counts);
}

static void
replay_held(const Site *site, int slice, TimestampTz at, bool assume_sent,
			Progress *progress, PassCounts *counts)
{
	bool all;

	do
	{
		Batch *batch = pgj_batch_begin(site, pgj_definitions(site), slice, at,
									   true, assume_sent);

		CHECK_FOR_INTERRUPTS();
		all = pgj_take_held(batch);
		finish_batch(batch, slice, progress, counts);
	} while (!all);
}

/*
 * What a pause held back and a resume has let go is taken up where the slice has
 * got to, after what was due by then.
 */
void
pgj_slice_replay(const Site *site, int slice, TimestampTz until,
				 bool assume_sent, PassCounts *counts)
{
	Progress progress;

	pgj_progress_load(site, slice, &progress);
	if (pgj_holds_released(site, slice))
	{
		TimestampTz at = Min(until, Max(progress.at, progress.due_at));

		replay_span(site, slice, at, assume_sent, &progress, counts);
		replay_held(site, slice, at, assume_sent, &progress, counts);
	}
	replay_span(site, slice, until, assume_sent, &progress, counts);
}

/* Checks and set-up common to all entries. */
const Site *
pgj_engine_enter(SavedUser *caller)
{
	const Site *site;

	pgj_require_read_committed();
	site = pgj_site();
	pgj_require_live(site);
	site = pgj_lock_contacts(site);
	*caller = pgj_become_owner(site);
	return site;
}

/* The slices that have something to do, without locking any. */
static KeptPlan slices_due = {
	.sql =
		"SELECT d.slice, d.segments_only FROM journey._due($1) d WHERE d.due ORDER BY d.slice"
};

typedef struct DueSlice
{
	int slice;
	bool segments_only;
} DueSlice;

static DueSlice *
find_slices(const Site *site, TimestampTz at, int *n)
{
	Params params;
	DueSlice *slices;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	*n = (int) pgj_plan_execute(&slices_due, &params);
	slices = palloc_array(DueSlice, *n + 1);
	for (int i = 0; i < *n; i++)
	{
		slices[i].slice = pgj_row_int4(i, 1, 0);
		slices[i].segments_only = DatumGetBool(pgj_row_value(i, 2));
	}
	SPI_freetuptable(SPI_tuptable);
	return slices;
}

static void
check_slice(const Site *site, int slice)
{
	if ((slice < 0 && slice != PGJ_ALL_SLICES) || slice >= site->slices)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("slice %d does not exist", slice),
			errdetail(
				"The site has slices 0 to %d, and %d stands for scans over all of them.",
				site->slices - 1, PGJ_ALL_SLICES));
}

/*
 * A scan locks all slices, in their order, waiting; a tick that holds some never
 * waits for others.  So it comes first.
 */
static void
scan(const Site *site, TimestampTz at, PassCounts *counts)
{
	if (pgj_engine_source.scan != NULL && pgj_engine_source.scan(site, at))
		counts->more = true;
}

void
pgj_engine_prepare(const Site *site, TimestampTz at)
{
	if (pgj_engine_source.prepare != NULL)
		pgj_engine_source.prepare(site, at);
}

void
pgj_engine_check_time(TimestampTz at, const char *name)
{
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("%s must be a finite time", name));
	if (!pgj_time_in_range(at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("%s must be in the years 1 to 9999", name));
}

/*
 * Where a worker goes by the clock nobody may go ahead of it: what falls due
 * later would wait until the clock has caught up.
 */
static void
check_not_ahead(TimestampTz at)
{
	BoardSlot *slot;
	bool running;

	if (pgj_board == NULL ||
		at <= TimestampTzPlusMilliseconds(pgj_clock_now(), 60 * 1000))
		return;
	LWLockAcquire(pgj_board->lock, LW_SHARED);
	slot = pgj_board_find(MyDatabaseId, false);
	running = slot != NULL && slot->state == BOARD_RUNNING;
	LWLockRelease(pgj_board->lock);
	if (running)
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_IN_USE),
			errmsg(
				"%s is later than the clock, by which this database's worker goes",
				timestamptz_to_str(at)),
			errhint(
				"Times to come are for servers that do not preload pg_journey."));
}

/* replay()'s row has no "more" */
static Datum
counts_row(FunctionCallInfo fcinfo, const PassCounts *counts)
{
	TupleDesc desc;
	Datum values[4];
	bool nulls[4] = { 0 };

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	Assert(desc->natts <= lengthof(values));
	values[0] = Int64GetDatum(counts->events);
	values[1] = Int64GetDatum(counts->steps);
	values[2] = Int64GetDatum(counts->messages);
	values[3] = BoolGetDatum(counts->more);
	return HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/*
 * journey.tick(at, slice, OUT events, OUT steps, OUT messages, OUT more)
 */
Datum
pgj_sql_tick(PG_FUNCTION_ARGS)
{
	TimestampTz at;
	PassCounts counts = { 0 };
	SavedUser caller;
	const Site *site;
	DueSlice *slices;
	DueSlice chosen = { 0, false };
	int nslices;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("the time of a tick must not be null"));
	at = PG_GETARG_TIMESTAMPTZ(0);
	pgj_engine_check_time(at, "the time of a tick");
	check_not_ahead(at);

	SPI_connect();
	site = pgj_engine_enter(&caller);
	pgj_engine_prepare(site, at);
	if (PG_ARGISNULL(1))
		slices = find_slices(site, at, &nslices);
	else
	{
		chosen.slice = PG_GETARG_INT32(1);
		check_slice(site, chosen.slice);
		slices = &chosen;
		nslices = 1;
	}
	if (nslices > 0 && slices[0].slice == PGJ_ALL_SLICES)
	{
		scan(site, at, &counts);
		slices++;
		nslices--;
	}
	for (int i = 0; i < nslices; i++)
	{
		if (!pgj_slice_lock(site, slices[i].slice, true))
			continue;
		if (slices[i].segments_only)
			work_segments(site, slices[i].slice, at, &counts);
		else
			pgj_slice_tick(site, slices[i].slice, at, &counts);
	}
	if (counts.messages > 0)
		pgj_notify_relays();
	pgj_become_caller(caller);
	SPI_finish();
	PG_RETURN_DATUM(counts_row(fcinfo, &counts));
}

static void
replay_slices(const Site *site, TimestampTz until, bool assume_sent,
			  PassCounts *counts)
{
	for (int slice = 0; slice < site->slices; slice++)
	{
		(void) pgj_slice_lock(site, slice, false);
		pgj_slice_replay(site, slice, until, assume_sent, counts);
	}
}

/*
 * Scans are about all slices: up to the time of each, all slices are replayed
 * before it.
 */
void
pgj_engine_replay(const Site *site, TimestampTz until, bool assume_sent,
				  PassCounts *counts)
{
	TimestampTz last = DT_NOBEGIN;
	TimestampTz at;

	while ((at = pgj_next_scan(site)) <= until && at > last)
	{
		replay_slices(site, at, assume_sent, counts);
		while (pgj_engine_source.scan != NULL &&
			   pgj_engine_source.scan(site, at))
			CHECK_FOR_INTERRUPTS();
		for (int slice = 0; slice < site->slices; slice++)
			pgj_scanned_to_timers(site, slice);
		last = at;
	}
	replay_slices(site, until, assume_sent, counts);
}

/*
 * journey.replay(until, assume_sent, OUT events, OUT steps, OUT messages)
 */
Datum
pgj_sql_replay(PG_FUNCTION_ARGS)
{
	TimestampTz until = PG_GETARG_TIMESTAMPTZ(0);
	bool assume_sent = PG_GETARG_BOOL(1);
	PassCounts counts = { 0 };
	SavedUser caller;
	const Site *site;

	pgj_engine_check_time(until, "the end of a replay");
	check_not_ahead(until);

	SPI_connect();
	site = pgj_engine_enter(&caller);
	pgj_engine_prepare(site, until);
	pgj_engine_replay(site, until, assume_sent, &counts);
	if (counts.messages > 0 && !assume_sent)
		pgj_notify_relays();
	pgj_become_caller(caller);
	SPI_finish();
	PG_RETURN_DATUM(counts_row(fcinfo, &counts));
}
