/*-------------------------------------------------------------------------
 *
 * step.c
 *	  One step for many runs that stand at it.
 *
 * An arrival appends the transition; what follows at once (IF, SEND, a wait
 * that is over already) becomes the contact's next item, for the next wave.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "engine/batch.h"
#include "gate/zone.h"

static TimestampTz
now_of(const Batch *batch, const Work *work)
{
	return pgj_decision_time(batch, work->current);
}

static void
proceed(Batch *batch, Work *work, int next, const char *cause)
{
	pgj_batch_arrive(batch, work->current->run, now_of(batch, work), next,
					 cause);
}

/* Evaluate the step's condition for runs with the event that started them. */
static Subject *
evaluate_for_runs(Batch *batch, Version *version, int condition, Work **works,
				  int n)
{
	Subject *subjects = palloc0_array(Subject, n);

	for (int i = 0; i < n; i++)
	{
		Run *run = works[i]->current->run;

		subjects[i].contact = works[i]->contact;
		subjects[i].now = now_of(batch, works[i]);
		subjects[i].event_id = run->event_id;
		subjects[i].event_at = run->event_at;
		subjects[i].enrollment_id = run->id;
		subjects[i].key = run->key;
		subjects[i].entered_at = run->entered_at;
	}
	pgj_evaluate(batch->site, version, condition, subjects, n);
	return subjects;
}

/* ---- WAIT ------------------------------------------------------------- */

static KeptPlan find_last_event = {
	.sql = "SELECT i.n, l.at FROM unnest($1, $2, $3) AS i (n, contact, now)"
		   " CROSS JOIN LATERAL (SELECT v.at FROM journey_state.event v"
		   "  WHERE v.contact = i.contact AND v.name = $4 AND v.at <= i.now"
		   "  ORDER BY v.at DESC LIMIT 1) l"
};

/*
 * SINCE LAST event: the wait is looked at when it falls due, and goes on if such
 * an event has come meanwhile.  Nothing has to be done when the event comes.
 */
static void
wait_since(Batch *batch, Step *step, Work **works, int n)
{
	TimestampTz *last = palloc_array(TimestampTz, n);
	Params params;
	Datum *contact = pgj_params_contacts(&params, batch->site, n);
	Datum *at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	uint64 nrows;

	for (int i = 0; i < n; i++)
	{
		TimestampTz now = now_of(batch, works[i]);

		contact[i] = works[i]->contact;
		at[i] = TimestampTzGetDatum(now);
		/* without any such event the wait counts from the arrival */
		last[i] = works[i]->current->fired ? DT_NOBEGIN : now;
	}
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(step->since_event));
	nrows = pgj_plan_execute(&find_last_event, &params);
	for (uint64 row = 0; row < nrows; row++)
		last[pgj_row_int4(row, 1, 0)] = pgj_row_int8(row, 2, 0);
	SPI_freetuptable(SPI_tuptable);

	for (int i = 0; i < n; i++)
	{
		TimestampTz now = now_of(batch, works[i]);
		TimestampTz due = TIMESTAMP_IS_NOBEGIN(last[i])
							  ? now
							  : pgj_time_plus(last[i], step->duration);

		if (due > now)
			pgj_run_waits(batch, works[i]->current->run, due, step->no);
		else
			proceed(batch, works[i], step->next, "next");
	}
}

static void
step_wait(Batch *batch, Step *step, Work **works, int n)
{
	if (step->since_event != NULL)
	{
		wait_since(batch, step, works, n);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		if (works[i]->current->fired)
			proceed(batch, works[i], step->next, "next");
		else
			pgj_run_waits(
				batch, works[i]->current->run,
				pgj_time_plus(now_of(batch, works[i]), step->duration),
				step->no);
	}
}

/* The instant has passed already: the step says what to do. */
static void
wait_is_past(Batch *batch, Version *version, Step *step, Work *work)
{
	switch (step->past)
	{
		case PAST_CONTINUE:
			proceed(batch, work, step->next, "past");
			break;
		case PAST_SKIP:
			proceed(batch, work, step->otherwise, "skipped");
			break;
		case PAST_EXIT:
			pgj_run_end(batch, work->current->run, now_of(batch, work),
						RUN_COMPLETED, "past");
			break;
	}
}

typedef struct ClockWait
{
	Batch *batch;
	Datum *contacts;
	const Zones **zones;
	char **errors;
} ClockWait;

static void
read_zones_range(void *arg, int lo, int hi)
{
	ClockWait *w = arg;

	pgj_zones_of_contacts(w->batch->site, w->contacts + lo, w->zones + lo,
						  hi - lo);
}

static void
read_zones_failed(void *arg, int i, char *error)
{
	((ClockWait *) arg)->errors[i] = error;
}

/*
 * WAIT UNTIL '09:00': until the contact's clock comes to it, by the zone that the
 * contact is in on arrival.  Who arrives at that very instant goes on.
 */
static void
wait_until_clock(Batch *batch, Step *step, Work **works, int n)
{
	ClockWait w = { batch };

	w.contacts = palloc_array(Datum, n);
	w.zones = palloc0_array(const Zones *, n);
	w.errors = palloc0_array(char *, n);
	for (int i = 0; i < n; i++)
		w.contacts[i] = works[i]->contact;
	pgj_guard_range(read_zones_range, read_zones_failed, &w, n);

	for (int i = 0; i < n; i++)
	{
		Run *run = works[i]->current->run;
		TimestampTz now = now_of(batch, works[i]);
		TimestampTz until;

		if (w.errors[i] != NULL)
		{
			pgj_run_park(batch, run, step->no, w.errors[i]);
			continue;
		}
		until = pgj_zone_next(w.zones[i], now - 1, step->local_time,
							  step->local_days);
		if (until <= now)
			proceed(batch, works[i], step->next, "next");
		else
			pgj_run_waits(batch, run, until, step->no);
	}
}

static void
step_wait_until(Batch *batch, Version *version, Step *step, Work **works, int n)
{
	Work **arrived = palloc_array(Work *, n);
	int narrived = 0;
	Subject *subjects;

	for (int i = 0; i < n; i++)
	{
		if (works[i]->current->fired)
			proceed(batch, works[i], step->next, "next");
		else
			arrived[narrived++] = works[i];
	}
	if (narrived == 0)
		return;
	if (step->at_local_time)
	{
		wait_until_clock(batch, step, arrived, narrived);
		return;
	}

	subjects =
		evaluate_for_runs(batch, version, step->condition, arrived, narrived);
	for (int i = 0; i < narrived; i++)
	{
		Run *run = arrived[i]->current->run;
		TimestampTz until = DatumGetTimestampTz(subjects[i].value);

		if (subjects[i].error != NULL)
			pgj_run_park(batch, run, step->no, subjects[i].error);
		else if (subjects[i].isnull)
			pgj_run_park(batch, run, step->no,
						 "WAIT UNTIL: the expression is null");
		else if (TIMESTAMP_IS_NOEND(until))
			pgj_run_park(batch, run, step->no,
						 "WAIT UNTIL: the expression is infinity");
		else if (until <= subjects[i].now)
			wait_is_past(batch, version, step, arrived[i]);
		else
			pgj_run_waits(batch, run, until, step->no);
	}
}

/* ---- WAIT FOR --------------------------------------------------------- */

static bool
is_receipt(const char *event)
{
	static const char *const receipts[] = { "sent",		   "delivered",
											"opened",	   "clicked",
											"bounced",	   "complained",
											"unsubscribed" };

	for (int i = 0; i < lengthof(receipts); i++)
		if (strcmp(event, receipts[i]) == 0)
			return true;
	return false;
}

/* Has a message of step of_step of the run got this receipt already? */
static KeptPlan find_receipt = {
	.sql =
		"SELECT i.n FROM unnest($1, $2, $3, $4) AS i (n, contact, now, enrollment_id)"
		" WHERE EXISTS (SELECT FROM journey_state.message m"
		"  JOIN journey_state.event v ON v.contact = m.contact AND v.name = $5 AND v.at >= m.decided_at AND v.at <= i.now"
		"   AND v.properties ->> 'message_id' = m.message_id::pg_catalog.text"
		"  WHERE m.contact = i.contact AND m.enrollment_id = i.enrollment_id AND m.step_no = $6)"
};

static bool *
already_received(Batch *batch, Step *step, Work **works, int n)
{
	bool *received = palloc0_array(bool, n);
	Params params;
	Datum *contact = pgj_params_contacts(&params, batch->site, n);
	Datum *now = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	Datum *enrollment = pgj_params_column(&params, INT8OID, NULL);
	uint64 nrows;

	for (int i = 0; i < n; i++)
	{
		contact[i] = works[i]->contact;
		now[i] = TimestampTzGetDatum(now_of(batch, works[i]));
		enrollment[i] = Int64GetDatum(works[i]->current->run->id);
	}
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(step->event));
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(step->of_step));
	nrows = pgj_plan_execute(&find_receipt, &params);
	for (uint64 row = 0; row < nrows; row++)
		received[pgj_row_int4(row, 1, 0)] = true;
	SPI_freetuptable(SPI_tuptable);
	return received;
}

/*
 * Arrivals listen; a timer that fires means the time ran out.  A condition
 * without an event is looked at on arrival, at each of the contact's events
 * (react.c) and a last time when the time runs out.
 */
static void
step_wait_for(Batch *batch, Version *version, Step *step, Work **works, int n)
{
	bool needs_message =
		step->of_step != 0 || (step->event != NULL && is_receipt(step->event));
	bool *received =
		step->of_step != 0 ? already_received(batch, step, works, n) : NULL;
	Subject *subjects =
		step->event == NULL
			? evaluate_for_runs(batch, version, step->condition, works, n)
			: NULL;

	for (int i = 0; i < n; i++)
	{
		Run *run = works[i]->current->run;
		TimestampTz now = now_of(batch, works[i]);

		/* a ghost has no message that could be clicked */
		if (needs_message && run->comparable)
		{
			run->comparable = false;
			pgj_run_changed(batch, run);
		}

		if (subjects != NULL && subjects[i].error != NULL)
			pgj_run_park(batch, run, step->no, subjects[i].error);
		else if (subjects != NULL && pgj_subject_true(&subjects[i]))
			pgj_wait_over(batch, run, step, now, true);
		else if (received != NULL && received[i] && step->condition == 0)
			pgj_wait_over(batch, run, step, now, true);
		else if (works[i]->current->fired)
			pgj_wait_over(batch, run, step, now, false);
		else
		{
			run->listen_step = step->no;
			run->epoch++;
			pgj_run_changed(batch, run);
			pgj_run_waits(batch, run, pgj_time_plus(now, step->duration),
						  step->no);
		}
	}
}

/* ---- IF --------------------------------------------------------------- */

static void
step_if(Batch *batch, Version *version, Step *step, Work **works, int n)
{
	Subject *subjects =
		evaluate_for_runs(batch, version, step->condition, works, n);

	for (int i = 0; i < n; i++)
	{
		if (subjects[i].error != NULL)
			pgj_run_park(batch, works[i]->current->run, step->no,
						 subjects[i].error);
		else if (pgj_subject_true(&subjects[i]))
			proceed(batch, works[i], step->next, "then");
		else
			proceed(batch, works[i], step->otherwise, "else");
	}
}

/* ----------------------------------------------------------------------- */

void
pgj_step(Batch *batch, Version *version, Step *step, Work **works, int n)
{
	for (int i = 0; i < n; i++)
	{
		WorkItem *item = works[i]->current;

		if (!item->fired)
			pgj_run_arrived(batch, item->run, now_of(batch, works[i]), step->no,
							item->cause);
	}

	switch (step->kind)
	{
		case STEP_WAIT:
			step_wait(batch, step, works, n);
			break;
		case STEP_WAIT_UNTIL:
			step_wait_until(batch, version, step, works, n);
			break;
		case STEP_WAIT_FOR:
			step_wait_for(batch, version, step, works, n);
			break;
		case STEP_SEND:
			pgj_step_send(batch, version, step, works, n);
			break;
		case STEP_IF:
			step_if(batch, version, step, works, n);
			break;
		case STEP_EXIT:
			for (int i = 0; i < n; i++)
				pgj_run_end(batch, works[i]->current->run,
							now_of(batch, works[i]), RUN_COMPLETED, "exit");
			break;
	}
}
