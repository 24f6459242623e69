/*-------------------------------------------------------------------------
 *
 * engine.h
 *	  Slices, their progress, and the passes over them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ENGINE_H
#define PGJ_ENGINE_H

#include "contact/site.h"
#include "datatype/timestamp.h"

/* In the place of a slice: work that is about the contacts of all slices. */
#define PGJ_ALL_SLICES (-1)

/* Refuse isolation levels whose snapshot may be older than a slice lock. */
extern void pgj_require_read_committed(void);

/*
 * Lock a slice's row to the end of the transaction.  With skip_locked, false
 * when another session has it.
 */
extern bool pgj_slice_lock(const Site *site, int slice, bool skip_locked);

/*
 * Process all committed changes and events of a locked slice up to "at" (who
 * enters and leaves segments, exits, goals, waits, entries and the steps they
 * lead to), but no timers: what claim needs so that a committed order stops a
 * message no relay has claimed.  Returns false when more is left than one batch
 * takes; the caller then must not claim from this slice.
 */
extern bool pgj_engine_intake(const Site *site, int slice, TimestampTz at);

/* How far the engine has got in a slice: its newest row of journey_state.progress. */
typedef struct Progress
{
	Datum seen;		 /* pg_snapshot: events visible in it are done */
	Datum upto;		 /* the one in work; 0 = none */
	Datum after_xid; /* xid8 and id of the last event done in it */
	int64 after_event;
	TimestampTz due_at; /* the last timer done */
	int64 due_id;
	bool fresh;		/* upto was taken by this pass, not by an earlier one */
	TimestampTz at; /* time of the last pass that stored it */
	bool changed;
} Progress;

typedef struct PassCounts
{
	int64 events;
	int64 steps;
	int64 messages;
	bool more; /* something is left that is due */
} PassCounts;

/* One batch of events and, when all events are done, one of timers. */
extern void pgj_slice_tick(const Site *site, int slice, TimestampTz at,
						   PassCounts *counts);

/* Everything up to "until", each item decided at its own time. */
extern void pgj_slice_replay(const Site *site, int slice, TimestampTz until,
							 bool assume_sent, PassCounts *counts);

/* The same for all slices, with the scans of segments. */
extern void pgj_engine_replay(const Site *site, TimestampTz until,
							  bool assume_sent, PassCounts *counts);

/* What every call into the engine begins with; the caller is the owner then. */
extern const Site *pgj_engine_enter(SavedUser *caller);
extern void pgj_engine_prepare(const Site *site, TimestampTz at);
extern void pgj_engine_check_time(TimestampTz at, const char *name);

/*
 * Take the messages that a relay would be given at "at", all of them, as one
 * with this name and nobody behind it.
 */
extern void pgj_claim_rehearse(const Site *site, TimestampTz at,
							   TimestampTz lease_until, char *relay);

/* intake.c */
struct Batch;
extern void pgj_progress_load(const Site *site, int slice, Progress *progress);
extern void pgj_progress_store(const Site *site, int slice, TimestampTz at,
							   const Progress *progress);
extern void pgj_begin_events(const Site *site, Progress *progress);
extern bool pgj_take_events(struct Batch *batch, Progress *progress);
extern bool pgj_take_timers(struct Batch *batch, Progress *progress,
							TimestampTz until);
extern bool pgj_take_held(struct Batch *batch);
extern bool pgj_holds_released(const Site *site, int slice);
extern void pgj_events_to_timers(const Site *site, int slice,
								 Progress *progress);

/* source.c */
extern bool pgj_take_sources(struct Batch *batch);
extern void pgj_sources_to_timers(const Site *site, int slice,
								  TimestampTz until, const Progress *progress);
extern TimestampTz pgj_next_check(const Site *site, int slice);
extern TimestampTz pgj_next_scan(const Site *site);
extern void pgj_scanned_to_timers(const Site *site, int slice);

#endif /* PGJ_ENGINE_H */
