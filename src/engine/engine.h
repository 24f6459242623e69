/*-------------------------------------------------------------------------
 *
 * engine.h
 *	  What callers of the engine need: slices and the intake of events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ENGINE_H
#define PGJ_ENGINE_H

#include "contact/site.h"
#include "datatype/timestamp.h"

/* Refuse isolation levels whose snapshot may be older than a slice lock. */
extern void pgj_require_read_committed(void);

/*
 * Lock a slice's row to the end of the transaction.  With skip_locked, false
 * when another session has it.
 */
extern bool pgj_slice_lock(const Site *site, int slice, bool skip_locked);

/*
 * Process all committed events of a locked slice up to "at" (exits, goals,
 * waits, entries), but no timers: what claim needs so that a committed order
 * stops a message no relay has claimed.  Returns false when more events are
 * left than one batch takes; the caller then must not claim from this slice.
 */
extern bool pgj_engine_intake(const Site *site, int slice, TimestampTz at);

/* Progress of a lane (the newest row) and a new row for it. */
typedef struct Progress
{
	bool		found;
	TimestampTz due_at;
	int64		due_id;
} Progress;

#endif							/* PGJ_ENGINE_H */
