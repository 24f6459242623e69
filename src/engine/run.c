/*-------------------------------------------------------------------------
 *
 * run.c
 *	  The runs of a batch: loading them, what happens to them, writing them.
 *
 * A run stands at a wait, or at a SEND whose message the gate has put off; in both
 * cases exactly one timer of its epoch lies ahead.  Whatever ends or parks it
 * raises the epoch.  A message put off is no row anywhere but in the run: since
 * when it has stood at the SEND, and until when.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/batch.h"

static KeptPlan load_runs = {
	.sql =
		"SELECT i.n, e.enrollment_id, e.version_id, e.key, e.ordinal, e.ghost, e.exposure_id,"
		" e.event_id, e.event_at, e.entered_at, e.status = 'parked', e.epoch, e.listen_step,"
		" e.comparable, e.parked_step, e.send_step, e.send_since, e.send_due, e.send_timed"
		" FROM unnest($1, $2) AS i (n, contact)"
		" CROSS JOIN LATERAL (SELECT * FROM journey_state.enrollment r"
		"  WHERE r.contact = i.contact AND r.ended_at IS NULL OFFSET 0) e"
};

static KeptPlan insert_runs = {
	.sql =
		"INSERT INTO journey_state.enrollment (slice, contact, enrollment_id, journey_id, version_id, key, ordinal,"
		" ghost, exposure_id, event_id, event_at, entered_at, status, epoch, listen_step, comparable, ended_at,"
		" end_reason, parked_step, error, send_step, send_since, send_due, send_timed)"
		" SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,"
		" $21, $22, $23, $24)"
};

static const Oid new_run_types[] = {
	INT2OID, KEYOID,  INT8OID, INT4OID,		   INT4OID,		   TEXTOID,
	INT4OID, BOOLOID, INT8OID, INT8OID,		   TIMESTAMPTZOID, TIMESTAMPTZOID,
	TEXTOID, INT4OID, INT4OID, BOOLOID,		   TIMESTAMPTZOID, TEXTOID,
	INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID
};

static KeptPlan update_runs = {
	.sql =
		"UPDATE journey_state.enrollment AS u SET status = i.status, epoch = i.epoch, listen_step = i.listen_step,"
		" comparable = i.comparable, ended_at = i.ended_at, end_reason = i.end_reason, parked_step = i.parked_step,"
		" error = i.error, send_step = i.send_step, send_since = i.send_since, send_due = i.send_due, send_timed = i.send_timed"
		" FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
		" AS i (contact, enrollment_id, status, epoch, listen_step, comparable, ended_at, end_reason, parked_step, error,"
		" send_step, send_since, send_due, send_timed)"
		" CROSS JOIN LATERAL (SELECT r.ctid AS tid FROM journey_state.enrollment r"
		"  WHERE r.contact = i.contact AND r.enrollment_id = i.enrollment_id OFFSET 0) t"
		" WHERE u.ctid = t.tid"
};

static const Oid changed_run_types[] = {
	KEYOID,	 INT8OID,		 TEXTOID,		 INT4OID, INT4OID,
	BOOLOID, TIMESTAMPTZOID, TEXTOID,		 INT4OID, TEXTOID,
	INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID
};

static const char *const transition_columns[] = { "contact",	"transition_id",
												  "at",			"enrollment_id",
												  "version_id", "step_no",
												  "cause",		"due_at" };

static const char *const refusal_columns[] = {
	"contact",	"refusal_id", "at",		"journey_id", "version_id",
	"event_id", "reason",	  "detail", "channel",	  "evidence"
};

void
pgj_runs_begin(Batch *batch)
{
	MemoryContext context = batch->context;

	pgj_rows_init_append(&batch->transitions, "transition", transition_columns,
						 lengthof(transition_columns), context);
	pgj_rows_init(&batch->runs_new, &insert_runs, new_run_types,
				  lengthof(new_run_types), context);
	pgj_rows_init(&batch->runs_changed, &update_runs, changed_run_types,
				  lengthof(changed_run_types), context);
	pgj_rows_init_append(&batch->refusals, "refusal", refusal_columns,
						 lengthof(refusal_columns), context);
}

/* Load the running and parked enrollments of every contact of the batch. */
void
pgj_batch_load_runs(Batch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Params params;
	Datum *contact = pgj_params_contacts(&params, batch->site, batch->nworks);
	uint64 nrows;

	for (int i = 0; i < batch->nworks; i++)
		contact[i] = batch->works[i]->contact;
	nrows = pgj_plan_execute(&load_runs, &params);

	for (uint64 row = 0; row < nrows; row++)
	{
		Work *work = batch->works[pgj_row_int4(row, 1, 0)];
		Run *run = palloc0_object(Run);

		run->work = work;
		run->id = pgj_row_int8(row, 2, 0);
		run->version = pgj_version(batch->definitions, pgj_row_int4(row, 3, 0));
		run->key = pgj_row_text(batch->context, row, 4);
		run->ordinal = pgj_row_int4(row, 5, 0);
		run->ghost = DatumGetBool(pgj_row_value(row, 6));
		run->exposure_id = pgj_row_int8(row, 7, 0);
		run->event_id = pgj_row_int8(row, 8, 0);
		run->event_at = pgj_row_int8(row, 9, 0);
		run->entered_at = pgj_row_int8(row, 10, 0);
		run->status =
			DatumGetBool(pgj_row_value(row, 11)) ? RUN_PARKED : RUN_ACTIVE;
		run->epoch = pgj_row_int4(row, 12, 0);
		run->listen_step = pgj_row_int4(row, 13, 0);
		run->comparable = DatumGetBool(pgj_row_value(row, 14));
		run->parked_step = pgj_row_int4(row, 15, 0);
		run->send_step = pgj_row_int4(row, 16, 0);
		run->send_since = pgj_row_int8(row, 17, 0);
		run->send_due = pgj_row_int8(row, 18, 0);
		run->send_timed = DatumGetBool(pgj_row_value(row, 19));
		run->arrival = -1;
		slist_push_head(&work->runs, &run->link);
	}
	SPI_freetuptable(SPI_tuptable);
	MemoryContextSwitchTo(old);
}

Run *
pgj_batch_run(Work *work, int64 enrollment_id)
{
	slist_iter iter;

	slist_foreach(iter, &work->runs)
	{
		Run *run = slist_container(Run, link, iter.cur);

		if (run->id == enrollment_id)
			return run;
	}
	return NULL;
}

/* ---- what happens to runs --------------------------------------------- */

static void
add_transition(Batch *batch, Run *run, TimestampTz at, int step,
			   const char *cause)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Datum values[8] = { 0 };
	bool nulls[8] = { 0 };

	values[0] = run->work->contact;
	values[1] = Int64GetDatum(pgj_next_row_id(batch));
	values[2] = TimestampTzGetDatum(at);
	values[3] = Int64GetDatum(run->id);
	values[4] = Int32GetDatum(run->version->version_id);
	values[5] = Int32GetDatum(step);
	values[6] = CStringGetTextDatum(cause);
	nulls[7] = true;
	run->arrival = batch->ntransitions++;
	pgj_rows_add(&batch->transitions, values, nulls);
	MemoryContextSwitchTo(old);
}

void
pgj_run_arrived(Batch *batch, Run *run, TimestampTz at, int step,
				const char *cause)
{
	add_transition(batch, run, at, step, cause);
}

/*
 * The run waits at a step until due_at.  Its arrival says so, too, for those who
 * look ahead, unless it said something else: then the wait has been prolonged.
 */
void
pgj_run_waits(Batch *batch, Run *run, TimestampTz due_at, int step)
{
	AppendRows *rows = &batch->transitions.rows;
	int64 row = run->arrival - (batch->ntransitions - rows->nrows);

	if (run->arrival >= 0 && row >= 0 && rows->nulls[7][row])
	{
		rows->values[7][row] = TimestampTzGetDatum(due_at);
		rows->nulls[7][row] = false;
	}
	pgj_batch_timer(batch, run, due_at, step);
}

/*
 * The gate has put a message off: the run stays at the SEND, to ask again at
 * due_at.  It came there at "since".
 */
void
pgj_run_put_off(Batch *batch, Run *run, int step, TimestampTz since,
				TimestampTz due_at, bool timed)
{
	run->send_step = step;
	run->send_since = since;
	run->send_due = due_at;
	run->send_timed = timed;
	pgj_run_changed(batch, run);
	pgj_batch_timer(batch, run, due_at, step);
}

/* The message of the SEND at which the run stood is decided. */
void
pgj_run_decided(Batch *batch, Run *run)
{
	if (run->send_step == 0)
		return;
	run->send_step = 0;
	run->send_timed = false;
	pgj_run_changed(batch, run);
}

/* Has the run, or its latest arrival here, still to be written? */
bool
pgj_run_unwritten(const Batch *batch, const Run *run)
{
	return run->is_dirty ||
		   run->arrival >= batch->ntransitions - batch->transitions.rows.nrows;
}

void
pgj_run_changed(Batch *batch, Run *run)
{
	run->is_dirty = true;
	batch->runs_dirty = true;
}

void
pgj_run_end(Batch *batch, Run *run, TimestampTz at, RunStatus status,
			const char *reason)
{
	run->status = status;
	run->epoch++;
	run->listen_step = 0;
	pgj_run_decided(batch, run);
	run->ended_at = at;
	run->end_reason = MemoryContextStrdup(batch->context, reason);
	pgj_run_changed(batch, run);
	add_transition(batch, run, at, 0, reason);
}

/*
 * A run parked at a SEND keeps since when it has stood there: a retry does not
 * make its message last longer.
 */
void
pgj_run_park(Batch *batch, Run *run, int step, const char *error)
{
	run->status = RUN_PARKED;
	run->epoch++;
	run->listen_step = 0;
	run->parked_step = step;
	run->error = MemoryContextStrdup(batch->context, error);
	pgj_run_changed(batch, run);
}

void
pgj_refuse(Batch *batch, const WorkItem *item, Datum contact, TimestampTz at,
		   Version *version, const char *reason, const char *detail,
		   const GateRequest *asked)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Datum values[10];
	bool nulls[10] = { 0 };

	values[0] = contact;
	values[1] = Int64GetDatum(pgj_next_row_id(batch));
	values[2] = TimestampTzGetDatum(at);
	values[3] = Int32GetDatum(version->journey_id);
	values[4] = Int32GetDatum(version->version_id);
	values[5] = Int64GetDatum(item->event_id);
	values[6] = CStringGetTextDatum(reason);
	values[7] = pgj_text_or_null(detail, &nulls[7]);
	values[8] = pgj_text_or_null(asked ? asked->channel : NULL, &nulls[8]);
	nulls[9] = asked == NULL;
	values[9] = asked ? datumCopy(asked->evidence, false, -1) : (Datum) 0;
	pgj_rows_add(&batch->refusals, values, nulls);
	MemoryContextSwitchTo(old);
}

/* ---- writing runs ----------------------------------------------------- */

static const char *
status_text(RunStatus status)
{
	static const char *const names[] = { "active", "parked", "exited",
										 "completed" };

	return names[status];
}

/* The columns of a message put off. */
static void
put_off_columns(const Run *run, Datum *values, bool *nulls)
{
	nulls[0] = nulls[1] = nulls[2] = run->send_step == 0;
	values[0] = Int32GetDatum(run->send_step);
	values[1] = TimestampTzGetDatum(run->send_since);
	values[2] = TimestampTzGetDatum(run->send_due);
	values[3] = BoolGetDatum(run->send_timed);
}

static void
add_new_run(Batch *batch, Run *run)
{
	Datum values[24];
	bool nulls[24] = { 0 };

	values[0] = Int16GetDatum(batch->slice);
	values[1] = run->work->contact;
	values[2] = Int64GetDatum(run->id);
	values[3] = Int32GetDatum(run->version->journey_id);
	values[4] = Int32GetDatum(run->version->version_id);
	values[5] = CStringGetTextDatum(run->key);
	values[6] = Int32GetDatum(run->ordinal);
	values[7] = BoolGetDatum(run->ghost);
	values[8] = Int64GetDatum(run->exposure_id);
	values[9] = Int64GetDatum(run->event_id);
	values[10] = TimestampTzGetDatum(run->event_at);
	values[11] = TimestampTzGetDatum(run->entered_at);
	values[12] = CStringGetTextDatum(status_text(run->status));
	values[13] = Int32GetDatum(run->epoch);
	nulls[14] = run->listen_step == 0;
	values[14] = Int32GetDatum(run->listen_step);
	values[15] = BoolGetDatum(run->comparable);
	nulls[16] = run->end_reason == NULL;
	values[16] = TimestampTzGetDatum(run->ended_at);
	values[17] = pgj_text_or_null(run->end_reason, &nulls[17]);
	nulls[18] = run->status != RUN_PARKED;
	values[18] = Int32GetDatum(run->parked_step);
	values[19] = pgj_text_or_null(run->error, &nulls[19]);
	put_off_columns(run, &values[20], &nulls[20]);
	pgj_rows_add(&batch->runs_new, values, nulls);
}

static void
add_changed_run(Batch *batch, Run *run)
{
	Datum values[14];
	bool nulls[14] = { 0 };

	values[0] = run->work->contact;
	values[1] = Int64GetDatum(run->id);
	values[2] = CStringGetTextDatum(status_text(run->status));
	values[3] = Int32GetDatum(run->epoch);
	nulls[4] = run->listen_step == 0;
	values[4] = Int32GetDatum(run->listen_step);
	values[5] = BoolGetDatum(run->comparable);
	nulls[6] = run->end_reason == NULL;
	values[6] = TimestampTzGetDatum(run->ended_at);
	values[7] = pgj_text_or_null(run->end_reason, &nulls[7]);
	nulls[8] = run->status != RUN_PARKED;
	values[8] = Int32GetDatum(run->parked_step);
	values[9] = pgj_text_or_null(run->error, &nulls[9]);
	put_off_columns(run, &values[10], &nulls[10]);
	pgj_rows_add(&batch->runs_changed, values, nulls);
}

/* Bring the table up to the runs in memory, before a statement reads it. */
void
pgj_batch_write_runs(Batch *batch)
{
	MemoryContext old;

	if (!batch->runs_dirty)
		return;
	old = MemoryContextSwitchTo(batch->context);
	for (int i = 0; i < batch->nworks; i++)
	{
		slist_iter iter;

		slist_foreach(iter, &batch->works[i]->runs)
		{
			Run *run = slist_container(Run, link, iter.cur);

			if (!run->is_dirty)
				continue;
			if (run->is_new)
				add_new_run(batch, run);
			else
				add_changed_run(batch, run);
			run->is_new = false;
			run->is_dirty = false;
		}
	}
	MemoryContextSwitchTo(old);

	/* ended runs first: they free (contact, journey, key) for new ones */
	pgj_rows_flush(batch->site, &batch->runs_changed);
	pgj_rows_flush(batch->site, &batch->runs_new);
	batch->runs_dirty = false;
}
