/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *	  Wake the engine of this database once, when the transaction commits.
 *
 * A wake-up is a hint: one asked for by a subtransaction that rolled back is
 * given all the same, and one that is lost (a prepared transaction commits
 * without us) is made up for by pg_journey.engine_naptime.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/async.h"
#include "miscadmin.h"

#include "board.h"
#include "pg_journey.h"
#include "wakeup.h"

static bool wake_engine = false;
static bool announce_site = false;

/* Where this database was found on the board last time. */
static BoardSlot *my_slot = NULL;

static void
announce(void)
{
	BoardSlot *slot;

	LWLockAcquire(pgj_board->lock, LW_EXCLUSIVE);
	slot = pgj_board_find(MyDatabaseId, true);
	if (slot != NULL)
		slot->announced = true;
	LWLockRelease(pgj_board->lock);
	pgj_board_wake(&pgj_board->launcher_procno);
}

/*
 * Without a lock: the worst a stale slot does is to wake a process for nothing
 * or to leave the event to the worker's next round.
 */
static void
wake(void)
{
	if (my_slot == NULL || my_slot->database != MyDatabaseId)
	{
		LWLockAcquire(pgj_board->lock, LW_SHARED);
		my_slot = pgj_board_find(MyDatabaseId, false);
		LWLockRelease(pgj_board->lock);
	}

	/* something is attached here, but the launcher has not heard of it */
	if (my_slot == NULL || my_slot->state == BOARD_ABSENT)
		announce();
	else
		pgj_board_wake(&my_slot->procno);
}

static void
wakeup_xact_callback(XactEvent event, void *arg)
{
	if (!wake_engine)
		return;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			wake_engine = false;
			if (announce_site)
				announce();
			announce_site = false;
			wake();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wake_engine = announce_site = false;
			break;
		default:
			break;
	}
}

void
pgj_wakeup_init(void)
{
	RegisterXactCallback(wakeup_xact_callback, NULL);
}

void
pgj_wake_engine_at_commit(void)
{
	if (pgj_board != NULL)
		wake_engine = true;
}

void
pgj_announce_site_at_commit(void)
{
	if (pgj_board != NULL)
		wake_engine = announce_site = true;
}

/* The server itself drops a second identical notification of a transaction. */
void
pgj_notify_relays(void)
{
	Async_Notify(PGJ_OUTBOX_CHANNEL, NULL);
}
