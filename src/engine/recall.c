/*-------------------------------------------------------------------------
 *
 * recall.c
 *	  An exit that comes after a run has walked to its end.
 *
 * A run that sends with its last step is over before a relay has claimed the
 * message; until then an exit must still stop it.  So such a run is exited after
 * all, and a claim withholds its messages as those of any run that has exited.
 *
 * What counts is that the event is taken in after the run's end, not when it
 * is dated or recorded: an order that was written before the end and committed
 * after it is taken in after it.  As for a run under way, the event must be
 * later than the one that started the run.
 *
 * The run keeps the time of its end and its one transition to it: it walked no
 * further.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "engine/batch.h"

/* A completed run with a message that may still go, and the event at hand. */
typedef struct Ended
{
	Work *work;
	int version_id;
	int64 enrollment_id;
	char *key;
	TimestampTz entered_at;
	bool recalled;
} Ended;

/*
 * Messages are looked for from the run's entry on: only those partitions can
 * have them.  The day is for a clock that was set back.  One that has expired
 * is withheld anyway.
 */
static KeptPlan find_ended = {
	.sql =
		"SELECT i.n, e.version_id, e.enrollment_id, e.key, e.entered_at"
		" FROM unnest($1, $2, $3, $4, $5) AS i (n, contact, at, event_id, now)"
		" CROSS JOIN LATERAL (SELECT r.version_id, r.enrollment_id, r.key, r.entered_at FROM journey_state.enrollment r"
		"  WHERE r.contact = i.contact AND r.version_id = ANY ($6) AND r.status = 'completed' AND NOT r.ghost"
		"  AND (r.event_at, r.event_id) < (i.at, i.event_id) OFFSET 0) e"
		" CROSS JOIN LATERAL (SELECT FROM journey_state.message s"
		"  WHERE s.contact = i.contact AND s.decided_at >= e.entered_at - interval '1 day'"
		"  AND s.enrollment_id = e.enrollment_id AND s.status IN ('pending', 'claimed') AND s.expires_at > i.now LIMIT 1) m"
		" ORDER BY e.version_id"
};

static KeptPlan exit_ended = {
	.sql =
		"UPDATE journey_state.enrollment AS u SET status = 'exited', end_reason = $3"
		" FROM unnest($1, $2) AS i (contact, enrollment_id)"
		" CROSS JOIN LATERAL (SELECT r.ctid AS tid FROM journey_state.enrollment r"
		"  WHERE r.contact = i.contact AND r.enrollment_id = i.enrollment_id OFFSET 0) t"
		" WHERE u.ctid = t.tid"
};

static int
load_ended(Batch *batch, Datum versions, Work **works, int n, Ended **result)
{
	Params params;
	Datum *now;
	Ended *ended;
	int count;

	pgj_event_params(batch, works, n, &params);
	now = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < n; i++)
		now[i] =
			TimestampTzGetDatum(pgj_decision_time(batch, works[i]->current));
	pgj_params_scalar(&params, INT4ARRAYOID, versions);
	count = (int) pgj_plan_execute(&find_ended, &params);

	ended = palloc0_array(Ended, count + 1);
	for (int row = 0; row < count; row++)
	{
		ended[row].work = works[pgj_row_int4(row, 1, 0)];
		ended[row].version_id = pgj_row_int4(row, 2, 0);
		ended[row].enrollment_id = pgj_row_int8(row, 3, 0);
		ended[row].key = pgj_row_text(CurrentMemoryContext, row, 4);
		ended[row].entered_at = pgj_row_int8(row, 5, 0);
	}
	SPI_freetuptable(SPI_tuptable);
	*result = ended;
	return count;
}

/*
 * A condition that fails cannot park a run that is over: the error is put down
 * as for a goal.
 */
static void
apply_rule(Batch *batch, Version *version, const Rule *rule, Ended *ended,
		   int n)
{
	Subject *subjects = palloc0_array(Subject, n);

	for (int i = 0; i < n; i++)
	{
		pgj_event_subject(batch, ended[i].work, &subjects[i]);
		subjects[i].enrollment_id = ended[i].enrollment_id;
		subjects[i].key = ended[i].key;
		subjects[i].entered_at = ended[i].entered_at;
	}
	if (rule->condition != 0)
		pgj_evaluate(batch->site, version, rule->condition, subjects, n);
	for (int i = 0; i < n; i++)
	{
		if (subjects[i].error != NULL)
			pgj_refuse(batch, ended[i].work->current, ended[i].work->contact,
					   subjects[i].now, version, "error",
					   psprintf("EXIT ON WHERE: %s", subjects[i].error), NULL);
		else if (rule->condition == 0 || pgj_subject_true(&subjects[i]))
			ended[i].recalled = true;
	}
}

static void
write_recalled(Batch *batch, const char *event, const Ended *ended, int n)
{
	Params params;
	Datum *contact, *enrollment;
	int nrecalled = 0;
	int k = 0;

	for (int i = 0; i < n; i++)
		nrecalled += ended[i].recalled;
	if (nrecalled == 0)
		return;
	pgj_params_init(&params, batch->site, nrecalled);
	contact = pgj_params_column(&params, batch->site->key_type, NULL);
	enrollment = pgj_params_column(&params, INT8OID, NULL);
	for (int i = 0; i < n; i++)
	{
		if (!ended[i].recalled)
			continue;
		contact[k] = ended[i].work->contact;
		enrollment[k++] = Int64GetDatum(ended[i].enrollment_id);
	}
	pgj_params_scalar(&params, TEXTOID,
					  CStringGetTextDatum(psprintf("event %s", event)));
	(void) pgj_plan_execute(&exit_ended, &params);
}

static bool
exits_on(const Version *version, const char *event)
{
	for (int x = 0; x < version->nexits; x++)
		if (strcmp(version->exits[x].event, event) == 0)
			return true;
	return false;
}

/* All rules of one version for its runs. */
static void
apply_rules(Batch *batch, Version *version, const char *event, Ended *ended,
			int n)
{
	for (int x = 0; x < version->nexits; x++)
		if (strcmp(version->exits[x].event, event) == 0)
			apply_rule(batch, version, &version->exits[x], ended, n);
}

/*
 * The current events of some contacts, for all versions at once: a shop may
 * have many journeys that the same event ends.  What a dropped one has sent is
 * withheld as it is.
 */
void
pgj_recall(Batch *batch, const char *event, Work **works, int n)
{
	Definitions *definitions = batch->definitions;
	Datum *versions = palloc_array(Datum, definitions->nall + 1);
	int nversions = 0;
	Ended *ended;
	int count;

	for (int v = 0; v < definitions->nall; v++)
		if (definitions->all[v]->status != JOURNEY_DROPPED &&
			exits_on(definitions->all[v], event))
			versions[nversions++] =
				Int32GetDatum(definitions->all[v]->version_id);
	if (nversions == 0)
		return;

	/* runs that ended in this batch must be in the table */
	pgj_batch_write_runs(batch);
	count = load_ended(
		batch,
		PointerGetDatum(construct_array(versions, nversions, INT4OID,
										sizeof(int32), true, TYPALIGN_INT)),
		works, n, &ended);
	for (int lo = 0, hi; lo < count; lo = hi)
	{
		for (hi = lo + 1; hi < count; hi++)
			if (ended[hi].version_id != ended[lo].version_id)
				break;
		apply_rules(batch, pgj_version(definitions, ended[lo].version_id),
					event, ended + lo, hi - lo);
	}
	write_recalled(batch, event, ended, count);
}
