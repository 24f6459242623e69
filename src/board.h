/*-------------------------------------------------------------------------
 *
 * board.h
 *	  The board in shared memory: what runs for which database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_BOARD_H
#define PGJ_BOARD_H

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/lwlock.h"

#define PGJ_BOARD_SLOTS 512
#define PGJ_NO_PROC PG_UINT32_MAX

typedef enum BoardState
{
	BOARD_FREE,		/* slot unused */
	BOARD_UNKNOWN,	/* to be probed */
	BOARD_PROBING,	/* a probe worker is on its way or at work */
	BOARD_ABSENT,	/* nothing attached; left alone until announced */
	BOARD_REFUSED,	/* attached, but may not run; detail says why */
	BOARD_READY,	/* owner known; an engine worker is due */
	BOARD_STARTING, /* an engine worker was registered */
	BOARD_RUNNING	/* an engine worker is connected */
} BoardState;

/*
 * One database.  Everything but procno is protected by Board.lock; procno is
 * read without it at commit, where a stale value costs one spurious wake-up.
 */
typedef struct BoardSlot
{
	Oid database;
	Oid owner; /* the journey owner, as the last probe saw it */
	BoardState state;
	int pid;			  /* of the probe or engine worker, or 0 */
	int failures;		  /* starts in a row that ended early */
	int held_by;		  /* pid of a backend that needs the database empty */
	bool announced;		  /* attached or adopted anew: probe again */
	bool mentioned;		  /* the reason in detail was logged */
	TimestampTz retry_at; /* no start before */
	TimestampTz started_at;
	char detail[128];
	pg_atomic_uint32 procno; /* of the engine worker, or PGJ_NO_PROC */
} BoardSlot;

typedef struct Board
{
	LWLock *lock;
	pg_atomic_uint32 launcher_procno;
	int launcher_pid;
	BoardSlot slots[PGJ_BOARD_SLOTS];
} Board;

/* NULL unless the library was preloaded: then there is no board, no worker. */
extern Board *pgj_board;

extern void pgj_board_shmem_request(void);
extern void pgj_board_shmem_init(void);

/* The slot of a database or NULL; with make, NULL only when all are taken. */
extern BoardSlot *pgj_board_find(Oid database, bool make);

/* Set the latch of a process named by a procno of the board. */
extern void pgj_board_wake(pg_atomic_uint32 *procno);

extern const char *pgj_board_state_name(BoardState state);

#endif /* PGJ_BOARD_H */
