/*-------------------------------------------------------------------------
 *
 * evict.c
 *	  Send the worker away before a command that needs its database empty, and
 *	  tell it of commands that end its work.
 *
 * DROP DATABASE, ALTER DATABASE RENAME and CREATE DATABASE ... TEMPLATE fail
 * while anybody is connected.  A hook holds the database on the board, so that
 * no new worker starts, lets the worker leave, and releases it afterwards; a
 * holder that dies is noticed by the launcher.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/acl.h"

#include "board.h"
#include "engine/launcher.h"
#include "pg_journey.h"
#include "wakeup.h"

/* How often to look whether the worker has left, and when to insist. */
#define EVICT_POLL_MS 10
#define EVICT_INSIST_MS 200
#define EVICT_GIVE_UP_MS 4000

static ProcessUtility_hook_type prev_process_utility = NULL;

/*
 * The database that a command needs empty, if the user may run it there: nobody
 * else shall be able to send a worker away.
 */
static Oid
database_to_empty(Node *statement)
{
	const char *name = NULL;
	ListCell *lc;
	Oid database;

	if (IsA(statement, DropdbStmt))
		name = ((DropdbStmt *) statement)->dbname;
	else if (IsA(statement, RenameStmt) &&
			 ((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
		name = ((RenameStmt *) statement)->subname;
	else if (IsA(statement, AlterDatabaseStmt))
	{
		foreach (lc, ((AlterDatabaseStmt *) statement)->options)
			if (strcmp(((DefElem *) lfirst(lc))->defname, "tablespace") == 0)
				name = ((AlterDatabaseStmt *) statement)->dbname;
	}
	else if (IsA(statement, CreatedbStmt))
	{
		foreach (lc, ((CreatedbStmt *) statement)->options)
		{
			DefElem *option = lfirst(lc);

			if (strcmp(option->defname, "template") == 0 && option->arg != NULL)
				name = defGetString(option);
		}
	}
	if (name == NULL)
		return InvalidOid;
	database = get_database_oid(name, true);
	if (!OidIsValid(database) || !pgj_is_database_owner(database, GetUserId()))
		return InvalidOid;
	return database;
}

/* Commands after which the worker must see whether it still has work here. */
static bool
may_end_site(Node *statement)
{
	if (IsA(statement, DropStmt))
		return ((DropStmt *) statement)->removeType == OBJECT_EXTENSION ||
			   ((DropStmt *) statement)->removeType == OBJECT_SCHEMA;
	if (IsA(statement, AlterOwnerStmt))
		return ((AlterOwnerStmt *) statement)->objectType == OBJECT_SCHEMA;
	return IsA(statement, DropOwnedStmt) || IsA(statement, ReassignOwnedStmt);
}

/* Hold the database; the pid of its worker, or 0. */
static int
hold(Oid database, bool on)
{
	BoardSlot *slot;
	int pid = 0;

	LWLockAcquire(pgj_board->lock, LW_EXCLUSIVE);
	slot = pgj_board_find(database, on);
	if (slot != NULL)
	{
		slot->held_by = on ? MyProcPid : 0;
		pid = slot->pid;
		if (on && pid != 0)
			pgj_board_wake(&slot->procno);
	}
	LWLockRelease(pgj_board->lock);
	return pid;
}

static void
evict(Oid database)
{
	bool insisted = false;
	int pid;

	for (int waited = 0; (pid = hold(database, true)) != 0;
		 waited += EVICT_POLL_MS)
	{
		if (waited >= EVICT_GIVE_UP_MS)
			return; /* the command itself will say who is there */
		if (waited >= EVICT_INSIST_MS && !insisted)
		{
			kill(pid, SIGTERM);
			insisted = true;
		}
		(void) WaitLatch(MyLatch, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 EVICT_POLL_MS, PG_WAIT_EXTENSION);
		CHECK_FOR_INTERRUPTS();
	}
}

static void
run_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *environment, DestReceiver *dest,
			QueryCompletion *completion)
{
	if (prev_process_utility)
		prev_process_utility(planned, query, read_only_tree, context, params,
							 environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, read_only_tree, context, params,
								environment, dest, completion);
}

static void
process_utility(PlannedStmt *planned, const char *query, bool read_only_tree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *environment, DestReceiver *dest,
				QueryCompletion *completion)
{
	Oid database;

	if (may_end_site(planned->utilityStmt))
		pgj_announce_site_at_commit();

	database = database_to_empty(planned->utilityStmt);
	if (!OidIsValid(database))
	{
		run_utility(planned, query, read_only_tree, context, params,
					environment, dest, completion);
		return;
	}

	PG_TRY();
	{
		evict(database);
		run_utility(planned, query, read_only_tree, context, params,
					environment, dest, completion);
	}
	PG_FINALLY();
	{
		(void) hold(database, false);
		pgj_board_wake(&pgj_board->launcher_procno);
	}
	PG_END_TRY();
}

void
pgj_evict_init(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
