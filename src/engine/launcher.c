/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Keep one engine worker in each database that has something attached.
 *
 * The launcher is connected to no database and runs nothing but a scan of
 * pg_database.  A database's worker connects as the journey owner, whom only
 * its own catalogs name; so a probe goes first: it connects, reads those
 * catalogs, writes the owner on the board and is gone.  The states:
 *
 *	 UNKNOWN -> PROBING -> ABSENT | REFUSED | READY -> STARTING -> RUNNING
 *
 * A worker that ends leaves UNKNOWN behind, a probe that finds nothing leaves
 * ABSENT, which is left alone until something is announced there; so a database
 * without journeys costs one process once.  Starts that fail are repeated with
 * growing pauses.
 *
 * Workers write on the board what becomes of them, at the latest in their exit
 * callback, so a launcher that was terminated takes up where it was.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "board.h"
#include "clock.h"
#include "engine/launcher.h"
#include "guc.h"
#include "pg_journey.h"

/* A worker that was registered but never appeared is given up after this. */
#define START_TIMEOUT_MS 30000

extern PGDLLEXPORT void pgj_launcher_main(Datum arg);

static TimestampTz last_warning = 0;

void
pgj_launcher_register(void)
{
	BackgroundWorker worker = { 0 };

	if (IsBinaryUpgrade)
		return;
	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	strlcpy(worker.bgw_library_name, "pg_journey", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pgj_launcher_main", BGW_MAXLEN);
	strlcpy(worker.bgw_name, "pg_journey launcher", BGW_MAXLEN);
	strlcpy(worker.bgw_type, "pg_journey launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&worker);
}

/* At most one complaint a minute, whatever the reason. */
static bool
may_warn(TimestampTz now)
{
	if (!TimestampDifferenceExceeds(last_warning, now, 60 * 1000))
		return false;
	last_warning = now;
	return true;
}

static bool
start_worker(Oid database, bool probe, Oid owner)
{
	BackgroundWorker worker = { 0 };
	WorkerOrder order = { .probe = probe, .owner = owner };
	BackgroundWorkerHandle *handle;

	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	memcpy(worker.bgw_extra, &order, sizeof(order));
	strlcpy(worker.bgw_library_name, "pg_journey", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "pgj_worker_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "pg_journey %s for database %u",
			 probe ? "probe" : "engine", database);
	strlcpy(worker.bgw_type, probe ? "pg_journey probe" : "pg_journey engine",
			BGW_MAXLEN);
	return RegisterDynamicBackgroundWorker(&worker, &handle);
}

/* Oids of the databases that may have a worker. */
static List *
list_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List *databases = NIL;
	Relation relation;
	TableScanDesc scan;
	HeapTuple tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old;

		if (form->datistemplate || !form->datallowconn)
			continue;
		old = MemoryContextSwitchTo(context);
		databases = lappend_oid(databases, form->oid);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return databases;
}

/* Give each database a slot, and free the slots of those that are gone. */
static void
sync_board(TimestampTz now)
{
	List *databases = list_databases();
	ListCell *lc;
	bool full = false;

	LWLockAcquire(pgj_board->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PGJ_BOARD_SLOTS; i++)
	{
		BoardSlot *slot = &pgj_board->slots[i];

		if (slot->state != BOARD_FREE && slot->pid == 0 &&
			!list_member_oid(databases, slot->database))
			slot->state = BOARD_FREE;
	}
	foreach (lc, databases)
		full |= pgj_board_find(lfirst_oid(lc), true) == NULL;
	LWLockRelease(pgj_board->lock);

	if (full && may_warn(now))
		ereport(WARNING, errmsg("pg_journey serves no more than %d databases",
								PGJ_BOARD_SLOTS));
	list_free(databases);
}

static TimestampTz
earlier(TimestampTz a, TimestampTz b)
{
	return a < b ? a : b;
}

/*
 * Take the next step for one slot; false when a worker could not be registered.
 * The board is locked.
 */
static bool
advance_slot(BoardSlot *slot, TimestampTz now, TimestampTz *next)
{
	bool started = true;

	if (slot->held_by != 0 && BackendPidGetProc(slot->held_by) == NULL)
		slot->held_by = 0;
	if (slot->announced)
	{
		slot->announced = false;
		if (slot->state == BOARD_ABSENT || slot->state == BOARD_REFUSED ||
			slot->state == BOARD_READY || slot->state == BOARD_UNKNOWN)
		{
			slot->state = BOARD_UNKNOWN;
			slot->failures = 0;
			slot->retry_at = 0;
			slot->mentioned = false;
		}
	}
	if ((slot->state == BOARD_PROBING || slot->state == BOARD_STARTING) &&
		slot->pid == 0)
	{
		TimestampTz limit =
			TimestampTzPlusMilliseconds(slot->started_at, START_TIMEOUT_MS);

		if (limit > now)
			*next = earlier(*next, limit);
		else
			slot->state = BOARD_UNKNOWN;
	}
	if (slot->state != BOARD_UNKNOWN && slot->state != BOARD_READY)
		return true;
	if (slot->held_by != 0)
	{
		*next = earlier(*next, TimestampTzPlusMilliseconds(now, 1000));
		return true;
	}
	if (slot->retry_at > now)
	{
		*next = earlier(*next, slot->retry_at);
		return true;
	}

	started =
		start_worker(slot->database, slot->state == BOARD_UNKNOWN, slot->owner);
	if (started)
	{
		slot->state =
			slot->state == BOARD_UNKNOWN ? BOARD_PROBING : BOARD_STARTING;
		slot->started_at = now;
	}
	else
	{
		slot->retry_at = TimestampTzPlusMilliseconds(now, 1000);
		*next = earlier(*next, slot->retry_at);
	}
	return started;
}

/* Advance all slots; returns when to look again. */
static TimestampTz
advance_board(TimestampTz now)
{
	TimestampTz next = TimestampTzPlusMilliseconds(now, pgj_launcher_naptime);
	bool all_started = true;

	LWLockAcquire(pgj_board->lock, LW_EXCLUSIVE);
	for (int i = 0; i < PGJ_BOARD_SLOTS; i++)
		if (pgj_board->slots[i].state != BOARD_FREE)
			all_started &= advance_slot(&pgj_board->slots[i], now, &next);
	LWLockRelease(pgj_board->lock);

	if (!all_started && may_warn(now))
		ereport(
			WARNING, errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			errmsg(
				"could not register a pg_journey worker: all slots for background workers are taken"),
			errhint("You might need to increase max_worker_processes."));
	return next;
}

/* Say once why a database that has something attached gets no worker. */
static void
mention_refusals(void)
{
	for (int i = 0; i < PGJ_BOARD_SLOTS; i++)
	{
		BoardSlot *slot = &pgj_board->slots[i];
		char detail[sizeof(slot->detail)];
		Oid database = InvalidOid;

		LWLockAcquire(pgj_board->lock, LW_EXCLUSIVE);
		if (slot->state == BOARD_REFUSED && !slot->mentioned)
		{
			slot->mentioned = true;
			database = slot->database;
			strlcpy(detail, slot->detail, sizeof(detail));
		}
		LWLockRelease(pgj_board->lock);
		if (OidIsValid(database))
			ereport(
				LOG,
				errmsg("no pg_journey worker runs in database %u: %s", database,
					   detail),
				errhint(
					"Set it right, then call journey.attach() or journey.adopt(), or restart the server."));
	}
}

static void
launcher_exit(int code, Datum arg)
{
	pg_atomic_write_u32(&pgj_board->launcher_procno, PGJ_NO_PROC);
	pgj_board->launcher_pid = 0;
}

void
pgj_launcher_main(Datum arg)
{
	MemoryContext context;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	before_shmem_exit(launcher_exit, (Datum) 0);
	pgj_board->launcher_pid = MyProcPid;
	pg_atomic_write_u32(&pgj_board->launcher_procno, pgj_my_procno());
	pgstat_report_appname("pg_journey launcher");

	context = AllocSetContextCreate(TopMemoryContext, "pg_journey launcher",
									ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		TimestampTz now = pgj_clock_now();
		TimestampTz next;

		MemoryContextSwitchTo(context);
		sync_board(now);
		next = advance_board(now);
		mention_refusals();
		MemoryContextReset(context);
		pgstat_report_activity(STATE_IDLE, NULL);

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 TimestampDifferenceMilliseconds(pgj_clock_now(), next),
						 pgj_wait_event("PgJourneyLauncher"));
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
	}
}
