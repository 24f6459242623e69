/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The engine worker of one database, and the probe that goes before it.
 *
 * The worker is a caller of journey.tick() like any other: it asks which slices
 * (or PGJ_ALL_SLICES, for scans) have something to do and ticks each in a
 * transaction of its own, until there is nothing more; then it sleeps until the next timer, its latch (a commit of
 * events sets it) or pg_journey.engine_naptime.  It holds no state that counts:
 * whatever kills it, the transaction is gone and the next worker does it anew.
 *
 * It is connected as the journey owner.  The probe, a superuser's process, only
 * reads journey.site and catalogs; it runs no SQL.
 *
 * A slice whose tick fails (a full disk, a lock not given) is left alone for a
 * growing while; the others go on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "board.h"
#include "clock.h"
#include "contact/site.h"
#include "engine/engine.h"
#include "engine/launcher.h"
#include "engine/source.h"
#include "guc.h"
#include "pg_journey.h"

/* Batches of one slice, or of scans, before the others get their turn. */
#define BATCHES_PER_TURN 64
#define SCANS_PER_TURN 4

#define MAINTAIN_EVERY_MS (24 * 60 * 60 * 1000)
#define MAINTAIN_RETRY_MS (60 * 60 * 1000)
#define FAILURE_PAUSE_MS 1000
#define MAX_FAILURE_PAUSE_MS (60 * 1000)
#define BUSY_PAUSE_MS 20
#define MAX_BUSY_PAUSE_MS 1000
#define LOG_EVERY_MS (60 * 1000)

/* A worker that lasted longer counts as a good start. */
#define GOOD_START_MS 10000

extern PGDLLEXPORT void pgj_worker_main(Datum arg);

typedef struct SliceState
{
	TimestampTz not_before;
	TimestampTz logged_at;
	int failures;
	int empty; /* ticks in a row that found the slice busy */
} SliceState;

static BoardSlot *my_slot = NULL;
static SliceState *slice_states = NULL; /* PGJ_ALL_SLICES first */
static int nslice_states = 0;
static MemoryContext round_context = NULL;

/* -------- the board -------- */

/* What is true of this process when it ends without having said anything. */
static void
worker_exit(int code, Datum arg)
{
	TimestampTz now = pgj_clock_now();

	pg_atomic_write_u32(&my_slot->procno, PGJ_NO_PROC);
	LWLockAcquire(pgj_board->lock, LW_EXCLUSIVE);
	my_slot->pid = 0;
	if (my_slot->state == BOARD_PROBING || my_slot->state == BOARD_STARTING ||
		my_slot->state == BOARD_RUNNING)
	{
		bool good =
			my_slot->state == BOARD_RUNNING &&
			TimestampDifferenceExceeds(my_slot->started_at, now, GOOD_START_MS);

		my_slot->state = BOARD_UNKNOWN;
		my_slot->failures = good ? 0 : Min(my_slot->failures + 1, 8);
		my_slot->retry_at =
			good ? 0
				 : TimestampTzPlusMilliseconds(now, 250 << my_slot->failures);
	}
	LWLockRelease(pgj_board->lock);
	pgj_board_wake(&pgj_board->launcher_procno);
}

/* Take the slot; false when the worker is not wanted any more. */
static bool
enter_board(Oid database)
{
	bool wanted;

	LWLockAcquire(pgj_board->lock, LW_EXCLUSIVE);
	my_slot = pgj_board_find(database, false);
	wanted = my_slot != NULL && my_slot->pid == 0 && my_slot->held_by == 0;
	if (wanted)
	{
		my_slot->pid = MyProcPid;
		my_slot->started_at = pgj_clock_now();
	}
	else if (my_slot != NULL && my_slot->pid == 0)
		my_slot->state = BOARD_UNKNOWN;
	LWLockRelease(pgj_board->lock);
	if (wanted)
		before_shmem_exit(worker_exit, (Datum) 0);
	return wanted;
}

static void
post(BoardState state, Oid owner, const char *detail)
{
	LWLockAcquire(pgj_board->lock, LW_EXCLUSIVE);
	my_slot->state = state;
	if (OidIsValid(owner))
		my_slot->owner = owner;
	strlcpy(my_slot->detail, detail, sizeof(my_slot->detail));
	LWLockRelease(pgj_board->lock);
}

/* -------- the probe -------- */

static void
probe(void)
{
	const Site *site = NULL;
	HeapTuple role;
	const char *refusal = NULL;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (OidIsValid(get_extension_oid("pg_journey", true)))
		site = pgj_site_or_null();
	if (site == NULL)
		post(BOARD_ABSENT, InvalidOid, "");
	else
	{
		role = SearchSysCache1(AUTHOID, ObjectIdGetDatum(site->owner));
		if (site->is_copy)
			refusal = "it is a copy";
		else if (site->contact_name == NULL)
			refusal = "its contact table is gone";
		else if (!HeapTupleIsValid(role))
			refusal = "the journey owner does not exist";
		else if (((Form_pg_authid) GETSTRUCT(role))->rolsuper)
			refusal = "the journey owner is a superuser";
		else if (!((Form_pg_authid) GETSTRUCT(role))->rolcanlogin)
			refusal = "the journey owner may not log in";
		if (HeapTupleIsValid(role))
			ReleaseSysCache(role);
		if (refusal != NULL)
			post(BOARD_REFUSED, site->owner, refusal);
		else
			post(BOARD_READY, site->owner, "");
	}
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* -------- the engine worker -------- */

/*
 * What a role or database may have set otherwise.  The time zone is the
 * author's business and stays; so does everything that only costs time.
 */
static void
pin_settings(void)
{
	static const char *const pinned[][2] = {
		{ "array_nulls", "on" },
		{ "bytea_output", "hex" },
		{ "check_function_bodies", "on" },
		{ "client_min_messages", "warning" },
		{ "datestyle", "ISO, MDY" },
		{ "default_transaction_deferrable", "off" },
		{ "default_transaction_isolation", "read committed" },
		{ "default_transaction_read_only", "off" },
		{ "exit_on_error", "off" },
		{ "extra_float_digits", "1" },
		{ "idle_in_transaction_session_timeout", "0" },
		{ "idle_session_timeout", "0" },
		{ "intervalstyle", "postgres" },
		{ "jit", "off" },
		{ "lock_timeout", "5s" },
		{ "quote_all_identifiers", "off" },
		{ "row_security", "on" },
		{ "search_path", "pg_catalog, pg_temp" },
		{ "statement_timeout", "0" },
		{ "transform_null_equals", "off" },
		{ "xmlbinary", "base64" },
		{ "xmloption", "content" },
	};

	for (int i = 0; i < lengthof(pinned); i++)
		SetConfigOption(pinned[i][0], pinned[i][1], PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("client_encoding", GetDatabaseEncodingName(), PGC_USERSET,
					PGC_S_SESSION);

	/* what was decided must be on disk before a relay hears of it */
	if (strcmp(GetConfigOption("synchronous_commit", false, false), "off") == 0)
		SetConfigOption("synchronous_commit", "on", PGC_USERSET, PGC_S_SESSION);
}

/*
 * A cancel (SIGINT) ends the transaction it meets; between transactions there is
 * nothing to cancel, so it is held off there and forgotten when the next begins.
 */
static void
begin(const char *activity)
{
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	debug_query_string = activity;
	pgstat_report_activity(STATE_RUNNING, activity);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
commit(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	HOLD_CANCEL_INTERRUPTS();
	debug_query_string = NULL;
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/* In PG_CATCH: end the transaction; log the error or forget it. */
static void
abandon(bool log)
{
	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	if (log)
		EmitErrorReport();
	AbortCurrentTransaction();
	FlushErrorState();
	QueryCancelHoldoffCount = 1; /* an error reset it */
	debug_query_string = NULL;
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	RESUME_INTERRUPTS();
	MemoryContextSwitchTo(round_context);
}

static uint64
execute(const char *sql, int nargs, Oid *types, Datum *values)
{
	int rc = SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s",
			 SPI_result_code_string(rc));
	return SPI_processed;
}

static SliceState *
state_of(int slice)
{
	return &slice_states[slice - PGJ_ALL_SLICES];
}

static void
slice_error_context(void *arg)
{
	if (*(int *) arg == PGJ_ALL_SLICES)
		errcontext("scan of segments");
	else
		errcontext("slice %d", *(int *) arg);
}

/* One tick of one slice; *worked tells whether it found anything. */
static bool
tick(int slice, TimestampTz at, bool *worked)
{
	Oid types[2] = { TIMESTAMPTZOID, INT4OID };
	Datum values[2] = { TimestampTzGetDatum(at), Int32GetDatum(slice) };
	uint64 worked_before = pgj_engine_source.worked;
	bool isnull;
	bool more;

	begin("SELECT t.more FROM journey.tick($1, $2) AS t");
	execute("SELECT t.more, t.events, t.steps FROM journey.tick($1, $2) AS t",
			2, types, values);
	more = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull));
	*worked =
		more || pgj_engine_source.worked != worked_before ||
		DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, 2, &isnull)) > 0 ||
		DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									SPI_tuptable->tupdesc, 3, &isnull)) > 0;
	commit();
	return more;
}

static void
note_failure(SliceState *state, bool canceled)
{
	TimestampTz now = pgj_clock_now();
	bool log = TimestampDifferenceExceeds(state->logged_at, now, LOG_EVERY_MS);

	abandon(log);
	if (log)
		state->logged_at = now;
	state->failures = canceled ? 0 : Min(state->failures + 1, 7);
	state->not_before = TimestampTzPlusMilliseconds(
		now, canceled ? BUSY_PAUSE_MS
					  : Min(FAILURE_PAUSE_MS << (state->failures - 1),
							MAX_FAILURE_PAUSE_MS));
}

/*
 * Work one slice for a turn.  A slice that is due but gives nothing to do is in
 * another session's hands; it is asked for again after a little while.
 */
static void
work_slice(int slice)
{
	SliceState *state = state_of(slice);
	int batches = slice == PGJ_ALL_SLICES ? SCANS_PER_TURN : BATCHES_PER_TURN;
	ErrorContextCallback callback = { error_context_stack, slice_error_context,
									  &slice };

	error_context_stack = &callback;
	PG_TRY();
	{
		bool more = true;
		bool worked = false;

		for (int i = 0; more && i < batches; i++)
		{
			CHECK_FOR_INTERRUPTS();
			more = tick(slice, pgj_clock_now(), &worked);
		}
		state->failures = 0;
		state->empty = worked ? 0 : Min(state->empty + 1, 6);
		state->not_before =
			worked
				? 0
				: TimestampTzPlusMilliseconds(
					  pgj_clock_now(), Min(BUSY_PAUSE_MS << (state->empty - 1),
										   MAX_BUSY_PAUSE_MS));
	}
	PG_CATCH();
	{
		note_failure(state, geterrcode() == ERRCODE_QUERY_CANCELED);
	}
	PG_END_TRY();
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(round_context);
}

/*
 * Whether there is still a site here, and ours to work; called in a transaction.
 */
static bool
still_wanted(int *nslices)
{
	const Site *site = NULL;

	if (OidIsValid(get_extension_oid("pg_journey", true)))
		site = pgj_site_or_null();
	if (site == NULL || site->is_copy || site->contact_name == NULL ||
		site->owner != GetSessionUserId())
		return false;
	*nslices = site->slices;
	return true;
}

static void
remember_slices(int nslices)
{
	int n = nslices - PGJ_ALL_SLICES;

	if (n == nslice_states)
		return;
	if (slice_states != NULL)
		pfree(slice_states);
	slice_states =
		MemoryContextAllocZero(TopMemoryContext, sizeof(SliceState) * n);
	nslice_states = n;
}

/*
 * Ask which slices are due, and when the next one is.  Returns how many, or -1
 * when there is no site to work for.
 */
static int
find_due(TimestampTz now, int **slices, TimestampTz *next)
{
	Oid types[1] = { TIMESTAMPTZOID };
	Datum values[1] = { TimestampTzGetDatum(now) };
	int nslices;
	int ndue = 0;

	begin("SELECT d.slice, d.due, d.next_due FROM journey._due($1) AS d");
	if (!still_wanted(&nslices))
	{
		commit();
		return -1;
	}
	remember_slices(nslices);
	*slices = MemoryContextAlloc(round_context, sizeof(int) * nslice_states);
	if (pgj_engine_source.prepare != NULL)
		pgj_engine_source.prepare(pgj_site(), now);
	execute("SELECT d.slice, d.due, d.next_due FROM journey._due($1) AS d", 1,
			types, values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;
		int slice = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
		bool due = DatumGetBool(SPI_getbinval(row, desc, 2, &isnull));
		TimestampTz at =
			DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull));

		if (slice < PGJ_ALL_SLICES || slice >= nslices)
			continue;
		if (due && state_of(slice)->not_before > now)
			*next = Min(*next, state_of(slice)->not_before);
		else if (due)
			(*slices)[ndue++] = slice;
		else if (!isnull)
			*next = Min(*next, at);
	}
	commit();
	return ndue;
}

static TimestampTz
maintain(TimestampTz now)
{
	Oid types[1] = { TIMESTAMPTZOID };
	Datum values[1] = { TimestampTzGetDatum(now) };
	volatile int pause = MAINTAIN_EVERY_MS;

	PG_TRY();
	{
		begin("SELECT journey.maintain($1)");
		execute("SELECT journey.maintain($1)", 1, types, values);
		commit();
	}
	PG_CATCH();
	{
		abandon(true);
		pause = MAINTAIN_RETRY_MS;
	}
	PG_END_TRY();
	return TimestampTzPlusMilliseconds(now, pause);
}

/* A command needs the database empty. */
static void
leave_if_held(void)
{
	if (my_slot->held_by != 0)
		proc_exit(0);
}

/*
 * One round over the slices that are due; returns when to look again, or 0 when
 * there is no site any more.
 */
static TimestampTz
work_round(void)
{
	TimestampTz now = pgj_clock_now();
	TimestampTz next = TimestampTzPlusMilliseconds(now, pgj_engine_naptime);
	int *slices = NULL;
	volatile int ndue = 0;

	PG_TRY();
	{
		ndue = find_due(now, &slices, &next);
	}
	PG_CATCH();
	{
		abandon(true);
		ndue = 0;
		next = TimestampTzPlusMilliseconds(now, FAILURE_PAUSE_MS);
	}
	PG_END_TRY();

	if (ndue < 0)
		return 0;
	for (int i = 0; i < ndue; i++)
	{
		leave_if_held();
		work_slice(slices[i]);
	}
	return ndue > 0 ? now : next;
}

static void
work(void)
{
	TimestampTz maintain_at = 0;

	for (;;)
	{
		TimestampTz now;
		TimestampTz next;

		CHECK_FOR_INTERRUPTS();
		leave_if_held();
		MemoryContextReset(round_context);
		MemoryContextSwitchTo(round_context);
		next = work_round();
		if (next == 0)
			return;
		now = pgj_clock_now();
		if (now >= maintain_at)
			maintain_at = maintain(now);

		(void) WaitLatch(
			MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
			TimestampDifferenceMilliseconds(now, Min(next, maintain_at)),
			pgj_wait_event("PgJourneyEngine"));
		ResetLatch(MyLatch);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}

void
pgj_worker_main(Datum arg)
{
	Oid database = DatumGetObjectId(arg);
	WorkerOrder order;

	memcpy(&order, MyBgworkerEntry->bgw_extra, sizeof(order));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (pgj_board == NULL || !enter_board(database))
		proc_exit(0);

	if (order.probe)
	{
		BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
		pgstat_report_appname("pg_journey probe");
		probe();
		proc_exit(0);
	}

	BackgroundWorkerInitializeConnectionByOid(database, order.owner, 0);
	pgstat_report_appname("pg_journey engine");
	pin_settings();
	round_context = AllocSetContextCreate(TopMemoryContext, "pg_journey round",
										  ALLOCSET_DEFAULT_SIZES);
	HOLD_CANCEL_INTERRUPTS();
	post(BOARD_RUNNING, order.owner, "");
	pg_atomic_write_u32(&my_slot->procno, pgj_my_procno());
	work();

	/* the site is gone or not ours any more: let a probe find out */
	post(BOARD_UNKNOWN, InvalidOid, "");
	proc_exit(0);
}
