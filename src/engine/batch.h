/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  A batch: the items of some contacts of one locked slice, in memory.
 *
 * A batch is taken in (intake.c), worked in waves (wave.c) and written
 * (batch.c).  A wave takes the first item of every contact that has one; so each
 * contact's items keep their order while every step is done for many contacts
 * by one statement.  Because the slice is locked, the runs in memory are the
 * truth until the batch is written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_BATCH_H
#define PGJ_BATCH_H

#include "engine/definition.h"
#include "engine/evaluate.h"
#include "engine/rows.h"
#include "gate/gate.h"
#include "lib/ilist.h"
#include "utils/numeric.h"

typedef enum RunStatus
{
	RUN_ACTIVE,
	RUN_PARKED,
	RUN_EXITED,
	RUN_COMPLETED
} RunStatus;

struct Work;

typedef struct Run /* an enrollment */
{
	slist_node link; /* in Work.runs */
	struct Work *work;
	int64 id;
	Version *version;
	char *key;
	int ordinal;
	bool ghost;
	int64 exposure_id;
	int64 event_id;
	TimestampTz event_at;
	TimestampTz entered_at;
	RunStatus status;
	int epoch;
	int listen_step; /* 0 = does not listen */
	bool comparable;
	TimestampTz ended_at;
	char *end_reason;
	int parked_step;
	char *error;
	int send_step; /* the SEND whose message is put off, or 0 */
	TimestampTz send_since;
	TimestampTz send_due;
	bool send_timed; /* the best time of that SEND has been chosen */
	int64 arrival;	 /* number of its latest transition here, or -1 */
	bool is_new;	 /* not in the table yet */
	bool is_dirty;	 /* differs from the table */
} Run;

/* The order is the order of items at one instant. */
typedef enum ItemKind
{
	ITEM_EVENT,
	ITEM_STEP
} ItemKind;

typedef struct WorkItem
{
	TimestampTz at; /* when it happened or fell due */
	ItemKind kind;
	int64 id; /* event id, or order of creation */

	/* ITEM_EVENT */
	int64 event_id;
	TimestampTz event_at;
	char *event;

	/* ITEM_STEP */
	Run *run;
	int step;
	int epoch;
	bool fired;		   /* its timer came due; else the run arrives */
	const char *cause; /* of the arrival */
} WorkItem;

typedef struct Work /* a contact in the batch */
{
	Datum contact;
	uint32 hash;
	List *items; /* of WorkItem, in order */
	slist_head runs;
	WorkItem *current; /* in the present wave */
} Work;

typedef struct Batch
{
	const Site *site;
	Definitions *definitions;
	MemoryContext context;
	int slice;
	TimestampTz at; /* tick: the time of every decision */
	bool replay;	/* each decision at its item's time */
	bool assume_sent;
	Oid row_ids;		 /* sequence of ids */
	TimestampTz horizon; /* replay: timers due by then stay in memory */
	TimestampTz passed;	 /* the slice's progress among the timers */

	int nworks;
	int capacity;
	Work **works;
	struct worktable_hash *table;
	int64 created;		/* items created here, for their order */
	int64 ntransitions; /* made here */

	RowBuffer timers;
	RowBuffer transitions;
	RowBuffer runs_new;
	RowBuffer runs_changed;
	RowBuffer refusals;
	RowBuffer held;
	RowBuffer exposures;
	RowBuffer conversions;
	bool runs_dirty;

	/* what was done, for the caller */
	int64 events;
	int64 steps;
	int64 messages;
} Batch;

/* batch.c */
extern Batch *pgj_batch_begin(const Site *site, Definitions *definitions,
							  int slice, TimestampTz at, bool replay,
							  bool assume_sent);
extern void pgj_batch_end(Batch *batch);
extern Work *pgj_batch_work(Batch *batch, Datum contact);
extern void pgj_batch_event(Batch *batch, Datum contact, TimestampTz at,
							int64 event_id, TimestampTz event_at,
							const char *event);
extern void pgj_batch_step(Batch *batch, Run *run, TimestampTz at, int step,
						   bool fired, int epoch, const char *cause);
extern void pgj_batch_arrive(Batch *batch, Run *run, TimestampTz at, int step,
							 const char *cause);
extern void pgj_batch_timer(Batch *batch, Run *run, TimestampTz due_at,
							int step);
extern int64 pgj_next_row_id(Batch *batch);

/* run.c */
extern void pgj_runs_begin(Batch *batch);
extern void pgj_batch_load_runs(Batch *batch);
extern Run *pgj_batch_run(Work *work, int64 enrollment_id);
extern void pgj_batch_write_runs(Batch *batch);
extern bool pgj_run_unwritten(const Batch *batch, const Run *run);

/* What happens to runs. */
extern void pgj_run_arrived(Batch *batch, Run *run, TimestampTz at, int step,
							const char *cause);
extern void pgj_run_waits(Batch *batch, Run *run, TimestampTz due_at, int step);
extern void pgj_run_put_off(Batch *batch, Run *run, int step, TimestampTz since,
							TimestampTz due_at, bool timed);
extern void pgj_run_decided(Batch *batch, Run *run);
extern void pgj_run_changed(Batch *batch, Run *run);
extern void pgj_run_end(Batch *batch, Run *run, TimestampTz at,
						RunStatus status, const char *reason);
extern void pgj_run_park(Batch *batch, Run *run, int step, const char *error);
extern void pgj_refuse(Batch *batch, const WorkItem *item, Datum contact,
					   TimestampTz at, Version *version, const char *reason,
					   const char *detail, const GateRequest *asked);

/* The time at which an item is decided. */
static inline TimestampTz
pgj_decision_time(const Batch *batch, const WorkItem *item)
{
	return batch->replay ? item->at : batch->at;
}

/* Can this numeric be added up? */
static inline bool
pgj_is_finite(Datum value)
{
	Numeric number = DatumGetNumeric(value);

	return !numeric_is_nan(number) && !numeric_is_inf(number);
}

/* The contact and its current event, decided now; no run. */
extern void pgj_event_subject(const Batch *batch, const Work *work,
							  Subject *subject);

/* wave.c */
extern void pgj_batch_process(Batch *batch);

/* react.c: what an event does to runs; enter.c: how runs start */
extern void pgj_react(Batch *batch, const char *event, Work **works, int n);
extern void pgj_enter(Batch *batch, const char *event, Work **works, int n);

/* recall.c: exits of runs that are over while their messages still wait */
extern void pgj_recall(Batch *batch, const char *event, Work **works, int n);

/* entry_cap.c: who has entered as often as LIMIT or an entry cap allows */
typedef struct Entrant
{
	/* in */
	Datum contact;
	TimestampTz at;

	/* out */
	char *over; /* what he would be over, in words; NULL: nothing */
} Entrant;

extern void pgj_entry_caps(Batch *batch, Version *version, Entrant *entrants,
						   int n);

/* Leave a WAIT FOR: the awaited thing happened, or its time ran out. */
extern void pgj_wait_over(Batch *batch, Run *run, Step *step, TimestampTz at,
						  bool happened);

/* Begin with the current events: $1 … $4 are n, contact, at, event_id. */
extern void pgj_event_params(Batch *batch, Work **works, int n, Params *params);

/* step.c: one step for many runs that stand at it; send.c: a SEND */
extern void pgj_step(Batch *batch, Version *version, Step *step, Work **works,
					 int n);
extern void pgj_step_send(Batch *batch, Version *version, Step *step,
						  Work **works, int n);
extern void pgj_gate_send(const Version *version, const Step *step,
						  GateSend *send);

#endif /* PGJ_BATCH_H */
