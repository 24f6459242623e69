/*-------------------------------------------------------------------------
 *
 * board.c
 *	  The board in shared memory: what runs for which database.
 *
 * It holds no truth: after a crash it starts empty, the launcher fills it from
 * pg_database, and probes fill in the rest.  No pointers are kept in it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "board.h"
#include "pg_journey.h"

Board *pgj_board = NULL;

#define BOARD_TRANCHE "pg_journey_board"

void
pgj_board_shmem_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(sizeof(Board)));
	RequestNamedLWLockTranche(BOARD_TRANCHE, 1);
}

void
pgj_board_shmem_init(void)
{
	bool found;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	pgj_board = ShmemInitStruct("pg_journey board", sizeof(Board), &found);
	if (!found)
	{
		memset(pgj_board, 0, sizeof(Board));
		pgj_board->lock = &GetNamedLWLockTranche(BOARD_TRANCHE)->lock;
		pg_atomic_init_u32(&pgj_board->launcher_procno, PGJ_NO_PROC);
		for (int i = 0; i < PGJ_BOARD_SLOTS; i++)
			pg_atomic_init_u32(&pgj_board->slots[i].procno, PGJ_NO_PROC);
	}
	LWLockRelease(AddinShmemInitLock);
}

BoardSlot *
pgj_board_find(Oid database, bool make)
{
	BoardSlot *free_slot = NULL;

	Assert(LWLockHeldByMe(pgj_board->lock));
	for (int i = 0; i < PGJ_BOARD_SLOTS; i++)
	{
		BoardSlot *slot = &pgj_board->slots[i];

		if (slot->state != BOARD_FREE && slot->database == database)
			return slot;
		if (slot->state == BOARD_FREE && free_slot == NULL)
			free_slot = slot;
	}
	if (!make || free_slot == NULL)
		return NULL;

	free_slot->database = database;
	free_slot->owner = InvalidOid;
	free_slot->state = BOARD_UNKNOWN;
	free_slot->pid = 0;
	free_slot->failures = 0;
	free_slot->held_by = 0;
	free_slot->announced = false;
	free_slot->mentioned = false;
	free_slot->retry_at = 0;
	free_slot->started_at = 0;
	free_slot->detail[0] = '\0';
	pg_atomic_write_u32(&free_slot->procno, PGJ_NO_PROC);
	return free_slot;
}

/*
 * The process may have gone meanwhile and its PGPROC may serve another one:
 * that one then wakes up once for nothing, which every waiter must expect.
 */
void
pgj_board_wake(pg_atomic_uint32 *procno)
{
	uint32 no = pg_atomic_read_u32(procno);

	if (no != PGJ_NO_PROC)
		SetLatch(&ProcGlobal->allProcs[no].procLatch);
}

const char *
pgj_board_state_name(BoardState state)
{
	switch (state)
	{
		case BOARD_FREE:
			return "free";
		case BOARD_UNKNOWN:
			return "unknown";
		case BOARD_PROBING:
			return "probing";
		case BOARD_ABSENT:
			return "absent";
		case BOARD_REFUSED:
			return "refused";
		case BOARD_READY:
			return "waiting to start";
		case BOARD_STARTING:
			return "starting";
		case BOARD_RUNNING:
			return "running";
	}
	return "unknown";
}
