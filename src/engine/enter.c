/*-------------------------------------------------------------------------
 *
 * enter.c
 *	  How runs start.
 *
 * One order for everybody: trigger and its WHERE → consent and a reachable
 * address → re-entry → LIMIT and entry caps (entry_cap.c) → holdout → exposure →
 * enrollment, real or ghost.  Whoever matched the trigger and was not enrolled
 * gets a refusal row that says why.
 *
 * The exposure row is the assignment.  The hash decides only the first exposure
 * of a contact to a journey (and epoch); re-entries, new versions and changed
 * percentages read the row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "append.h"
#include "clock.h"
#include "engine/batch.h"
#include "gate/gate.h"
#include "measure/fraction.h"
#include "pg_journey.h"

typedef struct Candidate
{
	Work *work;
	WorkItem *item;
	char *call_key; /* ON CALL: the key given by the caller */
	char *key;
	int ordinal;
	char *unit_key;
	bool exposed; /* before now */
	int64 exposure_id;
	bool holdout;
} Candidate;

static void
refuse(Batch *batch, Version *version, const Candidate *c, const char *reason,
	   const char *detail)
{
	pgj_refuse(batch, c->item, c->work->contact,
			   pgj_decision_time(batch, c->item), version, reason, detail,
			   NULL);
}

/* ---- trigger ---------------------------------------------------------- */

/* Whom a journey.call concerns: properties name the journey and the key. */
static KeptPlan call_properties = {
	.sql =
		"SELECT i.n, v.properties ->> 'journey', v.properties ->> 'key'"
		" FROM unnest($1, $2, $3, $4) AS i (n, contact, at, event_id)"
		" CROSS JOIN LATERAL (SELECT w.properties FROM journey_state.event w"
		"  WHERE w.contact = i.contact AND w.at = i.at AND w.event_id = i.event_id OFFSET 0) v"
};

static int
candidates_called(Batch *batch, Version *version, Work **works, int n,
				  Candidate *c)
{
	Params params;
	uint64 nrows;
	int count = 0;

	pgj_event_params(batch, works, n, &params);
	nrows = pgj_plan_execute(&call_properties, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		char *journey = pgj_row_text(CurrentMemoryContext, row, 2);

		if (journey == NULL || strcmp(journey, version->journey) != 0)
			continue;
		memset(&c[count], 0, sizeof(Candidate));
		c[count].work = works[pgj_row_int4(row, 1, 0)];
		c[count].item = c[count].work->current;
		c[count].call_key = pgj_row_text(CurrentMemoryContext, row, 3);
		count++;
	}
	SPI_freetuptable(SPI_tuptable);
	return count;
}

static int
candidates_triggered(Batch *batch, Version *version, const Rule *entry,
					 Work **works, int n, Candidate *c)
{
	Subject *subjects;
	int kept = 0;

	for (int i = 0; i < n; i++)
	{
		memset(&c[i], 0, sizeof(Candidate));
		c[i].work = works[i];
		c[i].item = works[i]->current;
	}
	if (entry->condition == 0)
		return n;

	subjects = palloc_array(Subject, n);
	for (int i = 0; i < n; i++)
		pgj_event_subject(batch, c[i].work, &subjects[i]);
	pgj_evaluate(batch->site, version, entry->condition, subjects, n);
	for (int i = 0; i < n; i++)
	{
		if (subjects[i].error != NULL)
			refuse(batch, version, &c[i], "error",
				   psprintf("ON EVENT WHERE: %s", subjects[i].error));
		else if (pgj_subject_true(&subjects[i]))
			c[kept++] = c[i];
	}
	return kept;
}

/* ---- key -------------------------------------------------------------- */

/* Evaluate a text expression into *field of each candidate; drop failures. */
static int
fill_text(Batch *batch, Version *version, int expression, const char *clause,
		  Candidate *c, int n, size_t field)
{
	Subject *subjects = palloc_array(Subject, n + 1);
	int kept = 0;

	for (int i = 0; i < n; i++)
		pgj_event_subject(batch, c[i].work, &subjects[i]);
	pgj_evaluate(batch->site, version, expression, subjects, n);
	for (int i = 0; i < n; i++)
	{
		if (subjects[i].error != NULL || subjects[i].isnull)
		{
			refuse(batch, version, &c[i], "error",
				   psprintf("%s: %s", clause,
							subjects[i].error ? subjects[i].error
											  : "the expression is null"));
			continue;
		}
		*(char **) ((char *) &c[i] + field) =
			TextDatumGetCString(subjects[i].value);
		c[kept++] = c[i];
	}
	return kept;
}

static int
find_keys(Batch *batch, Version *version, bool called, Candidate *c, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
		c[i].key = c[i].call_key ? c[i].call_key : "";
	if (version->key_expression == 0 || called)
		return n;
	n = fill_text(batch, version, version->key_expression, "KEY", c, n,
				  offsetof(Candidate, key));
	for (int i = 0; i < n; i++)
	{
		size_t length = strlen(c[i].key);

		if (length > PGJ_MAX_KEY)
			refuse(batch, version, &c[i], "error",
				   psprintf("KEY: the value has %zu bytes, %d are allowed",
							length, PGJ_MAX_KEY));
		else
			c[kept++] = c[i];
	}
	return kept;
}

/* ---- consent and address ---------------------------------------------- */

typedef struct Reach
{
	Batch *batch;
	Version *version;
	Candidate *candidates;
	GateRequest *requests; /* of one channel */
	bool *reached;
	GateRequest *refused; /* the first answer that was no */
	char **errors;
} Reach;

static void
reach_range(void *arg, int lo, int hi)
{
	Reach *r = arg;

	pgj_gate_decide(r->batch->site, GATE_ENTRY, r->requests + lo, hi - lo);
}

static void
reach_failed(void *arg, int i, char *error)
{
	((Reach *) arg)->errors[i] = error;
}

/* Keep those whom at least one of the version's channels may reach now. */
static int
keep_reachable(Batch *batch, Version *version, Candidate *c, int n)
{
	Reach r = { batch, version, c };
	int kept = 0;

	if (version->nchannels == 0 || n == 0)
		return n;
	r.requests = palloc_array(GateRequest, n);
	r.reached = palloc0_array(bool, n);
	r.refused = palloc0_array(GateRequest, n);
	r.errors = palloc0_array(char *, n);

	for (int channel = 0; channel < version->nchannels; channel++)
	{
		memset(r.requests, 0, n * sizeof(GateRequest));
		for (int i = 0; i < n; i++)
		{
			r.requests[i].contact = c[i].work->contact;
			r.requests[i].at = pgj_decision_time(batch, c[i].item);
			r.requests[i].channel = version->channels[channel];
			r.requests[i].topic = version->topic;
			r.requests[i].expires_at = DT_NOEND;
		}
		pgj_guard_range(reach_range, reach_failed, &r, n);
		for (int i = 0; i < n; i++)
		{
			if (r.errors[i] == NULL && r.requests[i].granted)
				r.reached[i] = true;
			else if (r.refused[i].reason == NULL)
				r.refused[i] = r.requests[i];
		}
	}
	for (int i = 0; i < n; i++)
	{
		if (r.reached[i])
			c[kept++] = c[i];
		else if (r.errors[i] != NULL)
			refuse(batch, version, &c[i], "error", r.errors[i]);
		else
			pgj_refuse(batch, c[i].item, c[i].work->contact, r.refused[i].at,
					   version, r.refused[i].reason, NULL, &r.refused[i]);
	}
	return kept;
}

/* ---- re-entry --------------------------------------------------------- */

static KeptPlan earlier_runs = {
	.sql =
		"SELECT i.n, count(e.enrollment_id), count(e.enrollment_id) FILTER (WHERE e.key = i.key),"
		" max(e.entered_at)"
		" FROM unnest($1, $2, $3) AS i (n, contact, key)"
		" CROSS JOIN LATERAL (SELECT * FROM journey_state.enrollment r"
		"  WHERE r.contact = i.contact AND r.journey_id = $4 OFFSET 0) e"
		" GROUP BY i.n"
};

typedef struct Earlier
{
	int64 runs; /* of the contact in the journey */
	int64 of_key;
	TimestampTz last;
} Earlier;

static Earlier *
find_earlier(Batch *batch, Version *version, Candidate *c, int n)
{
	Earlier *earlier = palloc0_array(Earlier, n);
	Params params;
	Datum *contact = pgj_params_contacts(&params, batch->site, n);
	Datum *key = pgj_params_column(&params, TEXTOID, NULL);
	uint64 nrows;

	for (int i = 0; i < n; i++)
	{
		contact[i] = c[i].work->contact;
		key[i] = CStringGetTextDatum(c[i].key);
	}
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(version->journey_id));

	pgj_batch_write_runs(batch);
	nrows = pgj_plan_execute(&earlier_runs, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Earlier *e = &earlier[pgj_row_int4(row, 1, 0)];

		e->runs = pgj_row_int8(row, 2, 0);
		e->of_key = pgj_row_int8(row, 3, 0);
		e->last = pgj_row_int8(row, 4, 0);
	}
	SPI_freetuptable(SPI_tuptable);
	return earlier;
}

static Run *
running(const Candidate *c, const Version *version)
{
	slist_iter iter;

	slist_foreach(iter, &c->work->runs)
	{
		Run *run = slist_container(Run, link, iter.cur);

		if (run->version->journey_id == version->journey_id &&
			run->status <= RUN_PARKED && strcmp(run->key, c->key) == 0)
			return run;
	}
	return NULL;
}

static bool
may_reenter(const Version *version, const Earlier *earlier, TimestampTz at)
{
	switch (version->reentry)
	{
		case REENTRY_ALWAYS:
			return true;
		case REENTRY_NEVER:
			return earlier->runs == 0;
		case REENTRY_ONCE_PER_KEY:
			return earlier->of_key == 0;
		case REENTRY_AFTER:
			return earlier->runs == 0 ||
				   pgj_time_plus(earlier->last, version->reentry_after) <= at;
	}
	return false;
}

static int
keep_enterable(Batch *batch, Version *version, Candidate *c, int n)
{
	Earlier *earlier;
	int kept = 0;

	if (n == 0)
		return 0;
	earlier = find_earlier(batch, version, c, n);
	for (int i = 0; i < n; i++)
	{
		Run *run = running(&c[i], version);

		/* of a journey that was dropped and made anew under its name */
		if (run != NULL && run->version->status == JOURNEY_DROPPED)
		{
			pgj_run_end(batch, run, pgj_decision_time(batch, c[i].item),
						RUN_EXITED, "dropped");
			run = running(&c[i], version);
		}
		if (run != NULL)
		{
			/* another ON of the same journey may have taken this very event */
			if (run->event_id != c[i].item->event_id)
				refuse(batch, version, &c[i], "running", NULL);
		}
		else if (!may_reenter(version, &earlier[i],
							  pgj_decision_time(batch, c[i].item)))
			refuse(batch, version, &c[i], "reentry", NULL);
		else
		{
			c[i].ordinal = (int) earlier[i].of_key + 1;
			c[kept++] = c[i];
		}
	}
	return kept;
}

/* Refuse those who have entered as often as LIMIT or an entry cap allows. */
static int
keep_below_caps(Batch *batch, Version *version, Candidate *c, int n)
{
	Entrant *entrants;
	int kept = 0;

	if (n == 0)
		return 0;
	entrants = palloc0_array(Entrant, n);
	for (int i = 0; i < n; i++)
	{
		entrants[i].contact = c[i].work->contact;
		entrants[i].at = pgj_decision_time(batch, c[i].item);
	}
	pgj_entry_caps(batch, version, entrants, n);
	for (int i = 0; i < n; i++)
	{
		if (entrants[i].over != NULL)
			refuse(batch, version, &c[i], "capped", entrants[i].over);
		else
			c[kept++] = c[i];
	}
	return kept;
}

/* ---- holdout and exposure --------------------------------------------- */

static KeptPlan find_exposures = {
	.sql =
		"SELECT i.n, x.exposure_id, x.served_arm = 'holdout'"
		" FROM unnest($1, $2) AS i (n, contact)"
		" CROSS JOIN LATERAL (SELECT * FROM journey_state.exposure y WHERE y.contact = i.contact"
		"  AND y.layer = 'journey' AND y.journey_id = $3 AND y.epoch = $4 OFFSET 0) x"
};

/*
 * What the contact did in the 90 days before: the covariate of later analysis,
 * as far back as events go.
 */
static KeptPlan find_baseline = {
	.sql =
		"SELECT i.n, b.orders, coalesce((SELECT pg_catalog.date_part('epoch', i.at - min(f.at)) / 86400"
		"  FROM journey_state.event f WHERE f.contact = i.contact AND f.at < i.at), 0)"
		" FROM unnest($1, $2, $3) AS i (n, contact, at)"
		" CROSS JOIN LATERAL (SELECT count(*) FROM journey_state.event v WHERE v.contact = i.contact"
		"  AND v.name = $4 AND v.at < i.at AND v.at >= i.at - interval '90 days') AS b (orders)"
};

static KeptPlan find_baseline_events = {
	.sql =
		"SELECT i.n, v.event_id, v.at"
		" FROM unnest($1, $2, $3) AS i (n, contact, at)"
		" CROSS JOIN LATERAL (SELECT w.event_id, w.at FROM journey_state.event w WHERE w.contact = i.contact"
		"  AND w.name = $4 AND w.at < i.at AND w.at >= i.at - interval '90 days' OFFSET 0) v"
};

typedef struct Baseline
{
	int64 orders;
	Datum revenue; /* numeric */
	double days;
} Baseline;

/* $1 … $4: n, contact, at, the goal's event */
static void
baseline_params(Batch *batch, Version *version, Candidate **c, int n,
				Params *params)
{
	Datum *contact = pgj_params_contacts(params, batch->site, n);
	Datum *at = pgj_params_column(params, TIMESTAMPTZOID, NULL);

	for (int i = 0; i < n; i++)
	{
		contact[i] = c[i]->work->contact;
		at[i] = TimestampTzGetDatum(pgj_decision_time(batch, c[i]->item));
	}
	pgj_params_scalar(
		params, TEXTOID,
		CStringGetTextDatum(version->goal_event ? version->goal_event : ""));
}

/* Sum GOAL … VALUE over the goal events of the 90 days before. */
static void
baseline_revenue(Batch *batch, Version *version, Candidate **c, int n,
				 Baseline *baselines)
{
	Params params;
	Subject *subjects;
	int *owner;
	int count;

	baseline_params(batch, version, c, n, &params);
	count = (int) pgj_plan_execute(&find_baseline_events, &params);
	subjects = palloc0_array(Subject, count + 1);
	owner = palloc_array(int, count + 1);
	for (int row = 0; row < count; row++)
	{
		owner[row] = pgj_row_int4(row, 1, 0);
		subjects[row].contact = c[owner[row]]->work->contact;
		subjects[row].event_id = pgj_row_int8(row, 2, 0);
		subjects[row].event_at = pgj_row_int8(row, 3, 0);
		subjects[row].now = subjects[row].event_at;
	}
	SPI_freetuptable(SPI_tuptable);

	pgj_evaluate(batch->site, version, version->goal_value, subjects, count);
	for (int row = 0; row < count; row++)
	{
		Baseline *b = &baselines[owner[row]];

		/* a past order whose value cannot be read counts as nothing */
		if (subjects[row].error == NULL && !subjects[row].isnull &&
			pgj_is_finite(subjects[row].value))
			b->revenue = DirectFunctionCall2(numeric_add, b->revenue,
											 subjects[row].value);
	}
}

static Baseline *
find_baselines(Batch *batch, Version *version, Candidate **c, int n)
{
	Baseline *baselines = palloc0_array(Baseline, n);
	Params params;
	uint64 nrows;

	for (int i = 0; i < n; i++)
		baselines[i].revenue = NumericGetDatum(int64_to_numeric(0));
	baseline_params(batch, version, c, n, &params);
	nrows = pgj_plan_execute(&find_baseline, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Baseline *b = &baselines[pgj_row_int4(row, 1, 0)];

		b->orders = pgj_row_int8(row, 2, 0);
		b->days = DatumGetFloat8(pgj_row_value(row, 3));
	}
	SPI_freetuptable(SPI_tuptable);
	if (version->goal_value != 0)
		baseline_revenue(batch, version, c, n, baselines);
	return baselines;
}

static void
read_exposures(Batch *batch, Version *version, Candidate *c, int n)
{
	Params params;
	Datum *contact = pgj_params_contacts(&params, batch->site, n);
	uint64 nrows;

	for (int i = 0; i < n; i++)
		contact[i] = c[i].work->contact;
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(version->journey_id));
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(version->holdout_epoch));

	pgj_rows_flush(batch->site, &batch->exposures);
	nrows = pgj_plan_execute(&find_exposures, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Candidate *candidate = &c[pgj_row_int4(row, 1, 0)];

		candidate->exposed = true;
		candidate->exposure_id = pgj_row_int8(row, 2, 0);
		candidate->holdout = DatumGetBool(pgj_row_value(row, 3));
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
add_exposure(Batch *batch, Version *version, Candidate *c, const Run *run,
			 double holdout, double fraction, const Baseline *baseline)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Datum values[15];

	values[0] = c->work->contact;
	values[1] = Int64GetDatum(c->exposure_id);
	values[2] = Int32GetDatum(version->journey_id);
	values[3] = Int32GetDatum(version->holdout_epoch);
	values[4] = CStringGetTextDatum(c->unit_key);
	values[5] = CStringGetTextDatum(c->holdout ? "holdout" : "treatment");
	values[6] = Float8GetDatum(c->holdout ? holdout : 1.0 - holdout);
	values[7] = Float8GetDatum(fraction);
	values[8] = TimestampTzGetDatum(run->entered_at);
	values[9] = Int64GetDatum(run->id);
	values[10] = Int32GetDatum(version->version_id);
	values[11] = Int64GetDatum(c->item->event_id);
	values[12] = Int64GetDatum(baseline->orders);
	values[13] = PointerGetDatum(PG_DETOAST_DATUM_COPY(baseline->revenue));
	values[14] = Float8GetDatum(baseline->days);
	pgj_rows_add(&batch->exposures, values, NULL);
	MemoryContextSwitchTo(old);
}

/* ---- enrollment ------------------------------------------------------- */

static Run *
start_run(Batch *batch, Version *version, Candidate *c, int64 id)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	Run *run = palloc0_object(Run);

	run->work = c->work;
	run->id = id;
	run->version = version;
	run->key = pstrdup(c->key);
	run->ordinal = c->ordinal;
	run->ghost = c->holdout;
	run->exposure_id = c->exposure_id;
	run->event_id = c->item->event_id;
	run->event_at = c->item->event_at;
	run->entered_at = pgj_decision_time(batch, c->item);
	run->status = RUN_ACTIVE;
	run->comparable = true;
	run->arrival = -1;
	run->is_new = true;
	slist_push_head(&c->work->runs, &run->link);
	pgj_run_changed(batch, run);
	MemoryContextSwitchTo(old);
	return run;
}

static void
enroll(Batch *batch, Version *version, Candidate *c, int n)
{
	/* transactional topics are exempt from holdouts */
	double holdout = version->transactional ? 0.0 : version->holdout;
	char *salt =
		psprintf("jh:%s:e%d", version->journey, version->holdout_epoch);
	Candidate **fresh = palloc_array(Candidate *, n);
	double *fractions = palloc0_array(double, n);
	int nfresh = 0;
	Oid enrollment_ids = pgj_state_relation("enrollment_id_seq");
	Baseline *baselines = NULL;

	if (n == 0)
		return;
	read_exposures(batch, version, c, n);
	for (int i = 0; i < n; i++)
	{
		if (c[i].exposed)
			continue;
		if (c[i].unit_key == NULL)
			c[i].unit_key = pgj_key_to_text(batch->site, c[i].work->contact);
		fractions[nfresh] = pgj_fraction(salt, c[i].unit_key);
		c[i].holdout = fractions[nfresh] < holdout;
		fresh[nfresh++] = &c[i];
	}

	for (int i = 0; i < nfresh; i++)
		fresh[i]->exposure_id = pgj_next_row_id(batch);
	if (nfresh > 0)
		baselines = find_baselines(batch, version, fresh, nfresh);

	nfresh = 0;
	for (int i = 0; i < n; i++)
	{
		Run *run = start_run(batch, version, &c[i],
							 nextval_internal(enrollment_ids, false));

		if (!c[i].exposed)
		{
			add_exposure(batch, version, &c[i], run, holdout, fractions[nfresh],
						 &baselines[nfresh]);
			nfresh++;
		}
		pgj_batch_arrive(batch, run, run->entered_at,
						 version->nsteps > 0 ? 1 : 0, "entered");
	}
}

void
pgj_enter(Batch *batch, const char *event, Work **works, int n)
{
	bool called = strcmp(event, PGJ_EVENT_CALL) == 0;
	Candidate *c = NULL;

	for (int v = 0; v < batch->definitions->nall; v++)
	{
		Version *version = batch->definitions->all[v];

		if (!version->newest || version->status != JOURNEY_ACTIVE)
			continue;
		for (int e = 0; e < version->nentries; e++)
		{
			int count;

			if (strcmp(version->entries[e].event, event) != 0)
				continue;
			if (c == NULL)
				c = palloc_array(Candidate, n);
			count = called ? candidates_called(batch, version, works, n, c)
						   : candidates_triggered(batch, version,
												  &version->entries[e], works,
												  n, c);
			count = find_keys(batch, version, called, c, count);
			count = keep_reachable(batch, version, c, count);
			count = keep_enterable(batch, version, c, count);
			count = keep_below_caps(batch, version, c, count);
			if (version->holdout_by != 0)
				count =
					fill_text(batch, version, version->holdout_by, "HOLDOUT BY",
							  c, count, offsetof(Candidate, unit_key));
			enroll(batch, version, c, count);
		}
	}
}
