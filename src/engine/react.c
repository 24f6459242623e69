/*-------------------------------------------------------------------------
 *
 * react.c
 *	  What an event does to runs that exist: exits, then goals, then WAIT FOR.
 *
 * An event concerns the runs that another, earlier event started: (at, id) of
 * the event must be greater than that of the run's own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "engine/batch.h"
#include "pg_journey.h"

/* A run and the event at hand. */
typedef struct Pair
{
	Work *work;
	Run *run;
	Step *step; /* WAIT FOR only */
} Pair;

static bool
is_later(const WorkItem *item, const Run *run)
{
	if (item->event_at != run->event_at)
		return item->event_at > run->event_at;
	return item->event_id > run->event_id;
}

static void
set_subject(Batch *batch, Subject *subject, const Pair *pair)
{
	pgj_event_subject(batch, pair->work, subject);
	subject->enrollment_id = pair->run->id;
	subject->key = pair->run->key;
	subject->entered_at = pair->run->entered_at;
}

/*
 * Evaluate a condition of a version for pairs; those that fail are parked at
 * the step they stand at.  Moves the pairs that hold to the front and returns
 * how many they are.
 */
static int
filter_pairs(Batch *batch, Version *version, int condition, Pair *pairs, int n)
{
	Subject *subjects;
	int kept = 0;

	if (condition == 0 || n == 0)
		return n;
	subjects = palloc0_array(Subject, n);
	for (int i = 0; i < n; i++)
		set_subject(batch, &subjects[i], &pairs[i]);
	pgj_evaluate(batch->site, version, condition, subjects, n);
	for (int i = 0; i < n; i++)
	{
		if (subjects[i].error != NULL)
			pgj_run_park(batch, pairs[i].run, pairs[i].run->listen_step,
						 subjects[i].error);
		else if (pgj_subject_true(&subjects[i]))
			pairs[kept++] = pairs[i];
	}
	return kept;
}

/* Pairs of the group's contacts with their runs of one version. */
static int
pairs_of_version(Version *version, Work **works, int n, Pair **result)
{
	int npairs = 0;
	int capacity = n;
	Pair *pairs = palloc_array(Pair, capacity + 1);

	for (int i = 0; i < n; i++)
	{
		slist_iter iter;

		slist_foreach(iter, &works[i]->runs)
		{
			Run *run = slist_container(Run, link, iter.cur);

			if (run->version != version || run->status > RUN_PARKED ||
				!is_later(works[i]->current, run))
				continue;
			if (npairs == capacity)
			{
				capacity = capacity * 2 + 1;
				pairs = repalloc(pairs, (capacity + 1) * sizeof(Pair));
			}
			pairs[npairs].work = works[i];
			pairs[npairs].run = run;
			pairs[npairs].step = NULL;
			npairs++;
		}
	}
	*result = pairs;
	return npairs;
}

/* ---- exits ------------------------------------------------------------ */

static void
run_exits(Batch *batch, Version *version, const char *event, Work **works,
		  int n)
{
	for (int x = 0; x < version->nexits; x++)
	{
		Pair *pairs;
		int npairs;

		if (strcmp(version->exits[x].event, event) != 0)
			continue;
		npairs = pairs_of_version(version, works, n, &pairs);
		npairs = filter_pairs(batch, version, version->exits[x].condition,
							  pairs, npairs);
		for (int i = 0; i < npairs; i++)
			pgj_run_end(batch, pairs[i].run,
						pgj_decision_time(batch, pairs[i].work->current),
						RUN_EXITED, psprintf("event %s", event));
	}
}

/* ---- goals ------------------------------------------------------------ */

/*
 * The exposure of the contact to the journey, and its latest run entered before
 * the event; the goal that counts is that of the latest run's version.
 */
static KeptPlan find_goal_subjects = {
	.sql =
		"SELECT i.n, r.enrollment_id, r.version_id, r.key, r.entered_at,"
		" x.exposure_id, x.exposed_at"
		" FROM unnest($1, $2, $3) AS i (n, contact, at)"
		" CROSS JOIN LATERAL (SELECT e.enrollment_id, e.version_id, e.key, e.entered_at"
		"  FROM journey_state.enrollment e"
		"  WHERE e.contact = i.contact AND e.journey_id = $4 AND e.entered_at < i.at"
		"  ORDER BY e.entered_at DESC, e.enrollment_id DESC LIMIT 1) r"
		" LEFT JOIN LATERAL (SELECT y.exposure_id, y.exposed_at FROM journey_state.exposure y"
		"  WHERE y.contact = i.contact AND y.layer = 'journey' AND y.journey_id = $4 AND y.exposed_at < i.at"
		"  ORDER BY y.exposed_at DESC LIMIT 1) x ON true"
};

typedef struct GoalSubject
{
	Work *work;
	int64 enrollment_id;
	Version *version;
	char *key;
	TimestampTz entered_at;
	bool exposed;
	int64 exposure_id;
	TimestampTz exposed_at;
} GoalSubject;

static bool
within(TimestampTz since, const Interval *within, TimestampTz at)
{
	return since < at && at <= pgj_time_plus(since, within);
}

static int
load_goal_subjects(Batch *batch, int journey_id, Work **works, int n,
				   GoalSubject **result)
{
	Params params;
	Datum *contact = pgj_params_contacts(&params, batch->site, n);
	Datum *at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	GoalSubject *subjects;
	int count;

	for (int i = 0; i < n; i++)
	{
		contact[i] = works[i]->contact;
		at[i] = TimestampTzGetDatum(works[i]->current->event_at);
	}
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(journey_id));

	/* runs and exposures of this batch must be in the tables */
	pgj_batch_write_runs(batch);
	pgj_rows_flush(batch->site, &batch->exposures);
	count = (int) pgj_plan_execute(&find_goal_subjects, &params);

	subjects = palloc0_array(GoalSubject, count + 1);
	for (int row = 0; row < count; row++)
	{
		GoalSubject *s = &subjects[row];

		s->work = works[pgj_row_int4(row, 1, 0)];
		s->enrollment_id = pgj_row_int8(row, 2, 0);
		s->version = pgj_version(batch->definitions, pgj_row_int4(row, 3, 0));
		s->key = pgj_row_text(CurrentMemoryContext, row, 4);
		s->entered_at = pgj_row_int8(row, 5, 0);
		s->exposure_id = pgj_row_int8(row, 6, 0);
		s->exposed = s->exposure_id != 0;
		s->exposed_at = pgj_row_int8(row, 7, 0);
	}
	SPI_freetuptable(SPI_tuptable);
	*result = subjects;
	return count;
}

static void
goal_subject(Batch *batch, Subject *subject, const GoalSubject *g)
{
	pgj_event_subject(batch, g->work, subject);
	subject->enrollment_id = g->enrollment_id;
	subject->key = g->key;
	subject->entered_at = g->entered_at;
}

static void
add_conversion(Batch *batch, const GoalSubject *g, Datum value)
{
	Version *version = g->version;
	WorkItem *item = g->work->current;
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Datum values[7];
	bool nulls[7] = { 0 };

	values[0] = g->work->contact;
	values[1] = Int32GetDatum(version->journey_id);
	values[2] = Int64GetDatum(item->event_id);
	values[3] = TimestampTzGetDatum(item->event_at);
	values[4] = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	nulls[5] = !g->exposed ||
			   !within(g->exposed_at, version->goal_within, item->event_at);
	values[5] = Int64GetDatum(g->exposure_id);
	nulls[6] = !within(g->entered_at, version->goal_within, item->event_at);
	values[6] = Int64GetDatum(g->enrollment_id);
	pgj_rows_add(&batch->conversions, values, nulls);
	MemoryContextSwitchTo(old);
}

/* Goals of one version for subjects whose latest run is of that version. */
static void
reach_goals(Batch *batch, Version *version, GoalSubject *g, int n)
{
	Datum zero = NumericGetDatum(int64_to_numeric(0));
	Subject *conditions = palloc0_array(Subject, n + 1);
	Subject *amounts = palloc0_array(Subject, n + 1);
	int kept = 0;

	for (int i = 0; i < n; i++)
		goal_subject(batch, &conditions[i], &g[i]);
	if (version->goal_condition != 0)
		pgj_evaluate(batch->site, version, version->goal_condition, conditions,
					 n);
	for (int i = 0; i < n; i++)
	{
		if (conditions[i].error != NULL)
			pgj_refuse(batch, g[i].work->current, g[i].work->contact,
					   conditions[i].now, version, "error",
					   psprintf("GOAL WHERE: %s", conditions[i].error), NULL);
		else if (version->goal_condition == 0 ||
				 pgj_subject_true(&conditions[i]))
			g[kept++] = g[i];
	}

	for (int i = 0; i < kept; i++)
		goal_subject(batch, &amounts[i], &g[i]);
	if (version->goal_value != 0)
		pgj_evaluate(batch->site, version, version->goal_value, amounts, kept);
	for (int i = 0; i < kept; i++)
	{
		/* one of these would make every sum it is in worthless */
		if (version->goal_value != 0 && amounts[i].error == NULL &&
			!amounts[i].isnull && !pgj_is_finite(amounts[i].value))
			amounts[i].error = "the value is not a finite number";
		if (amounts[i].error != NULL)
			pgj_refuse(batch, g[i].work->current, g[i].work->contact,
					   amounts[i].now, version, "error",
					   psprintf("GOAL VALUE: %s", amounts[i].error), NULL);
		add_conversion(batch, &g[i],
					   version->goal_value == 0 || amounts[i].error != NULL ||
							   amounts[i].isnull
						   ? zero
						   : amounts[i].value);
	}
}

static int
compare_goal_version(const void *a, const void *b)
{
	int va = ((const GoalSubject *) a)->version->version_id;
	int vb = ((const GoalSubject *) b)->version->version_id;

	return va < vb ? -1 : va > vb ? 1 : 0;
}

static bool
is_goal_of(const Version *version, const char *event)
{
	return version->goal_event != NULL &&
		   strcmp(version->goal_event, event) == 0;
}

static void
run_goals(Batch *batch, int journey_id, const char *event, Work **works, int n)
{
	GoalSubject *subjects;
	int count = load_goal_subjects(batch, journey_id, works, n, &subjects);
	int kept = 0;

	for (int i = 0; i < count; i++)
	{
		GoalSubject *s = &subjects[i];
		TimestampTz at = s->work->current->event_at;

		if (is_goal_of(s->version, event) &&
			(within(s->entered_at, s->version->goal_within, at) ||
			 (s->exposed &&
			  within(s->exposed_at, s->version->goal_within, at))))
			subjects[kept++] = *s;
	}
	qsort(subjects, kept, sizeof(GoalSubject), compare_goal_version);
	for (int lo = 0, hi; lo < kept; lo = hi)
	{
		for (hi = lo + 1; hi < kept; hi++)
			if (subjects[hi].version != subjects[lo].version)
				break;
		reach_goals(batch, subjects[lo].version, subjects + lo, hi - lo);
	}
}

/* ---- WAIT FOR --------------------------------------------------------- */

/* Events about a message: which step of which run sent it? */
static KeptPlan find_of_step = {
	.sql =
		"SELECT i.n FROM unnest($1, $2, $3, $4, $5, $6)"
		" AS i (n, contact, at, event_id, enrollment_id, of_step)"
		" CROSS JOIN LATERAL (SELECT w.properties FROM journey_state.event w"
		"  WHERE w.contact = i.contact AND w.at = i.at AND w.event_id = i.event_id OFFSET 0) v"
		" CROSS JOIN LATERAL (SELECT s.message_id FROM journey_state.message s"
		"  WHERE s.contact = i.contact AND s.enrollment_id = i.enrollment_id AND s.step_no = i.of_step OFFSET 0) m"
		" WHERE v.properties ->> 'message_id' = m.message_id::pg_catalog.text"
};

static int
filter_of_step(Batch *batch, Pair *pairs, int n)
{
	Params params;
	Datum *contact, *at, *event, *enrollment, *of_step;
	bool *match;
	uint64 nrows;
	int kept = 0;

	if (n == 0)
		return 0;
	contact = pgj_params_contacts(&params, batch->site, n);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	event = pgj_params_column(&params, INT8OID, NULL);
	enrollment = pgj_params_column(&params, INT8OID, NULL);
	of_step = pgj_params_column(&params, INT4OID, NULL);
	for (int i = 0; i < n; i++)
	{
		WorkItem *item = pairs[i].work->current;

		contact[i] = pairs[i].work->contact;
		at[i] = TimestampTzGetDatum(item->event_at);
		event[i] = Int64GetDatum(item->event_id);
		enrollment[i] = Int64GetDatum(pairs[i].run->id);
		of_step[i] = Int32GetDatum(pairs[i].step->of_step);
	}

	nrows = pgj_plan_execute(&find_of_step, &params);
	match = palloc0_array(bool, n);
	for (uint64 row = 0; row < nrows; row++)
		match[pgj_row_int4(row, 1, 0)] = true;
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < n; i++)
		if (match[i])
			pairs[kept++] = pairs[i];
	return kept;
}

/* The awaited thing happened: the run goes on with THEN. */
void
pgj_wait_over(Batch *batch, Run *run, Step *step, TimestampTz at, bool happened)
{
	run->epoch++;
	run->listen_step = 0;
	pgj_run_changed(batch, run);
	pgj_batch_arrive(batch, run, at, happened ? step->next : step->otherwise,
					 happened ? "then" : "timeout");
}

static void
run_waits(Batch *batch, Version *version, Step *step, Work **works, int n)
{
	Pair *pairs;
	int npairs = pairs_of_version(version, works, n, &pairs);
	int kept = 0;

	for (int i = 0; i < npairs; i++)
	{
		if (pairs[i].run->status != RUN_ACTIVE ||
			pairs[i].run->listen_step != step->no)
			continue;
		pairs[kept] = pairs[i];
		pairs[kept++].step = step;
	}
	if (step->of_step != 0)
		kept = filter_of_step(batch, pairs, kept);
	kept = filter_pairs(batch, version, step->condition, pairs, kept);
	for (int i = 0; i < kept; i++)
		pgj_wait_over(batch, pairs[i].run, step,
					  pgj_decision_time(batch, pairs[i].work->current), true);
}

/* ---- retry ------------------------------------------------------------ */

/*
 * The run to retry and the step it last arrived at: the one it stood at when an
 * EXIT ON condition failed while it was waiting.
 */
static KeptPlan event_enrollment = {
	.sql =
		"SELECT i.n, r.enrollment_id, t.step_no"
		" FROM unnest($1, $2, $3, $4) AS i (n, contact, at, event_id)"
		" CROSS JOIN LATERAL (SELECT w.properties FROM journey_state.event w"
		"  WHERE w.contact = i.contact AND w.at = i.at AND w.event_id = i.event_id OFFSET 0) v"
		" CROSS JOIN LATERAL (SELECT (v.properties ->> 'enrollment')::pg_catalog.int8) r (enrollment_id)"
		" LEFT JOIN LATERAL (SELECT s.step_no FROM journey_state.transition s"
		"  WHERE s.contact = i.contact AND s.enrollment_id = r.enrollment_id"
		"  ORDER BY s.at DESC, s.transition_id DESC LIMIT 1) t ON true"
};

void
pgj_event_params(Batch *batch, Work **works, int n, Params *params)
{
	Datum *contact = pgj_params_contacts(params, batch->site, n);
	Datum *at = pgj_params_column(params, TIMESTAMPTZOID, NULL);
	Datum *event = pgj_params_column(params, INT8OID, NULL);

	for (int i = 0; i < n; i++)
	{
		contact[i] = works[i]->contact;
		at[i] = TimestampTzGetDatum(works[i]->current->event_at);
		event[i] = Int64GetDatum(works[i]->current->event_id);
	}
}

/* journey.retry(): a parked run arrives once more at the step it is parked at. */
static void
run_retries(Batch *batch, Work **works, int n)
{
	Params params;
	uint64 nrows;

	pgj_event_params(batch, works, n, &params);
	nrows = pgj_plan_execute(&event_enrollment, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Work *work = works[pgj_row_int4(row, 1, 0)];
		Run *run = pgj_batch_run(work, pgj_row_int8(row, 2, 0));

		if (run == NULL || run->status != RUN_PARKED)
			continue; /* has been retried or has ended meanwhile */
		run->status = RUN_ACTIVE;
		run->error = NULL;
		pgj_run_changed(batch, run);
		pgj_batch_arrive(batch, run, pgj_decision_time(batch, work->current),
						 run->parked_step != 0 ? run->parked_step
											   : pgj_row_int4(row, 3, 1),
						 "retry");
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- entry point ------------------------------------------------------ */

void
pgj_react(Batch *batch, const char *event, Work **works, int n)
{
	Definitions *definitions = batch->definitions;

	if (strcmp(event, PGJ_EVENT_RETRY) == 0)
	{
		run_retries(batch, works, n);
		return;
	}

	for (int v = 0; v < definitions->nall; v++)
		run_exits(batch, definitions->all[v], event, works, n);
	pgj_recall(batch, event, works, n);

	for (int v = 0; v < definitions->nall; v++)
	{
		bool seen = false;

		if (!is_goal_of(definitions->all[v], event))
			continue;
		for (int u = 0; u < v; u++)
			if (is_goal_of(definitions->all[u], event) &&
				definitions->all[u]->journey_id ==
					definitions->all[v]->journey_id)
				seen = true;
		if (!seen)
			run_goals(batch, definitions->all[v]->journey_id, event, works, n);
	}

	for (int v = 0; v < definitions->nall; v++)
	{
		Version *version = definitions->all[v];

		for (int no = 1; no <= version->nsteps; no++)
		{
			Step *step = &version->steps[no];

			if (step->no != 0 && step->kind == STEP_WAIT_FOR &&
				(step->event == NULL || strcmp(step->event, event) == 0))
				run_waits(batch, version, step, works, n);
		}
	}
}
