/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  The items of a batch in memory, and writing what became of them.
 *
 * Everything a batch decides is written in the transaction that moves the
 * slice's progress past its items.  A crash leaves either both or neither.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "append.h"
#include "engine/batch.h"

/* ---- contacts by key -------------------------------------------------- */

typedef struct WorkEntry
{
	Datum contact;
	Work *work;
	uint32 hash;
	char status;
} WorkEntry;

#define SH_PREFIX worktable
#define SH_ELEMENT_TYPE WorkEntry
#define SH_KEY_TYPE Datum
#define SH_KEY contact
#define SH_HASH_KEY(tb, key)                                                 \
	datum_image_hash(key, ((const Site *) (tb)->private_data)->key_typbyval, \
					 ((const Site *) (tb)->private_data)->key_typlen)
#define SH_EQUAL(tb, a, b)                                                  \
	datum_image_eq(a, b, ((const Site *) (tb)->private_data)->key_typbyval, \
				   ((const Site *) (tb)->private_data)->key_typlen)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---- statements ------------------------------------------------------- */

static const char *const timer_columns[] = { "slice",		  "due_at",
											 "timer_id",	  "contact",
											 "enrollment_id", "version_id",
											 "step_no",		  "epoch" };

static KeptPlan insert_held = {
	.sql =
		"INSERT INTO journey_state.held (slice, contact, held_id, journey_id, enrollment_id, version_id, step_no, epoch, fired)"
		" SELECT i.slice, i.contact, pg_catalog.nextval('journey_state.row_id_seq'), i.journey_id, i.enrollment_id,"
		" i.version_id, i.step_no, i.epoch, i.fired"
		" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)"
		" AS i (slice, contact, journey_id, enrollment_id, version_id, step_no, epoch, fired)"
};

static const Oid held_types[] = { INT2OID, KEYOID,	INT4OID, INT8OID,
								  INT4OID, INT4OID, INT4OID, BOOLOID };

static KeptPlan insert_exposures = {
	.sql =
		"INSERT INTO journey_state.exposure (contact, exposure_id, layer, journey_id, epoch, unit_key, arm, served_arm,"
		" propensity, fraction, exposed_at, enrollment_id, version_id, event_id, baseline_orders, baseline_revenue, baseline_days)"
		" SELECT i.contact, i.exposure_id, 'journey', i.journey_id, i.epoch, i.unit_key, i.arm, i.arm, i.propensity,"
		" i.fraction, i.exposed_at, i.enrollment_id, i.version_id, i.event_id, i.orders, i.revenue, i.days"
		" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
		" AS i (contact, exposure_id, journey_id, epoch, unit_key, arm, propensity, fraction, exposed_at, enrollment_id,"
		" version_id, event_id, orders, revenue, days)"
};

static const Oid exposure_types[] = { KEYOID,	 INT8OID,	 INT4OID,
									  INT4OID,	 TEXTOID,	 TEXTOID,
									  FLOAT8OID, FLOAT8OID,	 TIMESTAMPTZOID,
									  INT8OID,	 INT4OID,	 INT8OID,
									  INT8OID,	 NUMERICOID, FLOAT8OID };

static KeptPlan insert_conversions = {
	.sql =
		"INSERT INTO journey_state.conversion (contact, journey_id, event_id, at, value, exposure_id, enrollment_id)"
		" SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)"
		" ON CONFLICT (contact, journey_id, event_id) DO NOTHING"
};

static const Oid conversion_types[] = { KEYOID,			INT4OID,	INT8OID,
										TIMESTAMPTZOID, NUMERICOID, INT8OID,
										INT8OID };

/* ---- begin and end ---------------------------------------------------- */

Batch *
pgj_batch_begin(const Site *site, Definitions *definitions, int slice,
				TimestampTz at, bool replay, bool assume_sent)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "pg_journey batch", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Batch *batch = palloc0_object(Batch);

	batch->site = site;
	batch->definitions = definitions;
	batch->context = context;
	batch->slice = slice;
	batch->at = at;
	batch->replay = replay;
	batch->assume_sent = assume_sent;
	batch->horizon = DT_NOBEGIN;
	batch->passed = DT_NOBEGIN;
	batch->row_ids = pgj_state_relation("row_id_seq");
	batch->capacity = 256;
	batch->works = palloc_array(Work *, batch->capacity);
	batch->table = worktable_create(context, 256, (void *) site);

	pgj_rows_init_append(&batch->timers, "timer", timer_columns,
						 lengthof(timer_columns), context);
	pgj_runs_begin(batch);
	pgj_rows_init(&batch->held, &insert_held, held_types, lengthof(held_types),
				  context);
	pgj_rows_init(&batch->exposures, &insert_exposures, exposure_types,
				  lengthof(exposure_types), context);
	pgj_rows_init(&batch->conversions, &insert_conversions, conversion_types,
				  lengthof(conversion_types), context);
	MemoryContextSwitchTo(old);
	return batch;
}

/* Write what the batch decided and free it. */
void
pgj_batch_end(Batch *batch)
{
	pgj_batch_write_runs(batch);
	pgj_rows_flush(batch->site, &batch->exposures);
	pgj_rows_flush(batch->site, &batch->conversions);
	pgj_rows_flush(batch->site, &batch->transitions);
	pgj_rows_flush(batch->site, &batch->timers);
	pgj_rows_flush(batch->site, &batch->held);
	pgj_rows_flush(batch->site, &batch->refusals);
	MemoryContextDelete(batch->context);
}

int64
pgj_next_row_id(Batch *batch)
{
	return nextval_internal(batch->row_ids, false);
}

/* ---- contacts, runs and items ----------------------------------------- */

Work *
pgj_batch_work(Batch *batch, Datum contact)
{
	bool found;
	WorkEntry *entry;
	MemoryContext old = MemoryContextSwitchTo(batch->context);

	/* copied first: a toasted or short key must compare by its full image */
	if (!batch->site->key_typbyval && batch->site->key_typlen == -1)
		contact = PointerGetDatum(PG_DETOAST_DATUM_COPY(contact));
	else
		contact = datumCopy(contact, batch->site->key_typbyval,
							batch->site->key_typlen);

	entry = worktable_insert(batch->table, contact, &found);
	if (!found)
	{
		Work *work = palloc0_object(Work);

		work->contact = contact;
		slist_init(&work->runs);
		entry->work = work;
		if (batch->nworks == batch->capacity)
		{
			batch->capacity *= 2;
			batch->works =
				repalloc(batch->works, batch->capacity * sizeof(Work *));
		}
		batch->works[batch->nworks++] = work;
	}
	MemoryContextSwitchTo(old);
	return entry->work;
}

/*
 * Order of a contact's items.  In a tick all events come before all steps: a
 * decision sees every event that has committed.  In a replay time rules, and at
 * one instant events come first.
 */
static bool
comes_before(const Batch *batch, const WorkItem *a, const WorkItem *b)
{
	if (batch->replay)
	{
		if (a->at != b->at)
			return a->at < b->at;
		if (a->kind != b->kind)
			return a->kind < b->kind;
	}
	else
	{
		if (a->kind != b->kind)
			return a->kind < b->kind;
		if (a->at != b->at)
			return a->at < b->at;
	}
	return a->id < b->id;
}

static void
insert_item(Batch *batch, Work *work, WorkItem *item)
{
	int at = list_length(work->items);

	/* items mostly come in order: look from the end */
	while (at > 0 && comes_before(batch, item, list_nth(work->items, at - 1)))
		at--;
	work->items = list_insert_nth(work->items, at, item);
}

void
pgj_batch_event(Batch *batch, Datum contact, TimestampTz at, int64 event_id,
				TimestampTz event_at, const char *event)
{
	Work *work = pgj_batch_work(batch, contact);
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	WorkItem *item = palloc0_object(WorkItem);

	item->at = at;
	item->kind = ITEM_EVENT;
	item->id = event_id;
	item->event_id = event_id;
	item->event_at = event_at;
	item->event = pstrdup(event);
	insert_item(batch, work, item);
	MemoryContextSwitchTo(old);
}

void
pgj_batch_step(Batch *batch, Run *run, TimestampTz at, int step, bool fired,
			   int epoch, const char *cause)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	WorkItem *item = palloc0_object(WorkItem);

	item->at = at;
	item->kind = ITEM_STEP;
	item->id = ++batch->created;
	item->run = run;
	item->step = step;
	item->epoch = epoch;
	item->fired = fired;
	item->cause = cause;
	insert_item(batch, run->work, item);
	MemoryContextSwitchTo(old);
}

/* The run goes on to a step, or to its end. */
void
pgj_batch_arrive(Batch *batch, Run *run, TimestampTz at, int step,
				 const char *cause)
{
	if (step == 0)
		pgj_run_end(batch, run, at, RUN_COMPLETED, "completed");
	else
		pgj_batch_step(batch, run, at, step, false, run->epoch, cause);
}

/*
 * The run waits at a step until due_at.  Within a replay's horizon the timer
 * fires in this very batch, else it is stored; never behind the slice's progress,
 * where no pass would look again: a clock may have been set back.
 */
void
pgj_batch_timer(Batch *batch, Run *run, TimestampTz due_at, int step)
{
	Datum values[8];

	if (batch->replay && due_at <= batch->horizon)
	{
		pgj_batch_step(batch, run, due_at, step, true, run->epoch, NULL);
		return;
	}
	values[0] = Int16GetDatum(batch->slice);
	values[1] = TimestampTzGetDatum(Max(due_at, batch->passed));
	values[2] = Int64GetDatum(pgj_next_row_id(batch));
	values[3] = run->work->contact;
	values[4] = Int64GetDatum(run->id);
	values[5] = Int32GetDatum(run->version->version_id);
	values[6] = Int32GetDatum(step);
	values[7] = Int32GetDatum(run->epoch);
	pgj_rows_add(&batch->timers, values, NULL);
}

void
pgj_event_subject(const Batch *batch, const Work *work, Subject *subject)
{
	memset(subject, 0, sizeof(Subject));
	subject->contact = work->contact;
	subject->now = pgj_decision_time(batch, work->current);
	subject->event_id = work->current->event_id;
	subject->event_at = work->current->event_at;
}
