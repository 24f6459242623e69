/*-------------------------------------------------------------------------
 *
 * send_hours.c
 *	  At which local hours contacts respond.
 *
 * What counts is a response (journey.engagement_event) or the goal of a journey,
 * such as an order, of the last year, not caused by a machine, and not within half
 * an hour after a message was handed over: such a click says when we sent.  An
 * event counts half after 60 days.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "gate/send_time.h"
#include "outbox/span.h"
#include "plan.h"

#define HALF_LIFE_DAYS 60.0

/* The 365 days; days of local time may have more than 24 hours. */
#define YEAR (INT64CONST(367) * USECS_PER_DAY)

/* A response so soon after a hand-over says when we sent. */
#define ECHO (INT64CONST(30) * USECS_PER_MINUTE)

const char *const pgj_day_kinds[DAY_KINDS] = { "weekday", "weekend" };

/* The scalars are the bounds of all requests, for the executor to leave partitions out. */
static KeptPlan find_responses = {
	.sql =
		"SELECT r.n, e.at FROM unnest($1, $2, $3) AS r (n, contact, at) "
		"CROSS JOIN LATERAL (SELECT v.at FROM journey_state.event AS v "
		" WHERE v.contact = r.contact AND v.at OPERATOR(pg_catalog.>) (r.at OPERATOR(pg_catalog.-) interval '365 days') "
		" AND v.at OPERATOR(pg_catalog.<=) r.at AND v.at OPERATOR(pg_catalog.>) $4 AND v.at OPERATOR(pg_catalog.<=) $5 "
		" AND v.name OPERATOR(pg_catalog.=) ANY (ARRAY("
		"  SELECT g.event FROM journey.engagement_event AS g "
		"  UNION ALL SELECT w.goal_event FROM journey.version AS w WHERE w.goal_event IS NOT NULL AND NOT w.dropped)) "
		" AND (v.properties OPERATOR(pg_catalog.->>) 'machine') IS DISTINCT FROM 'true' OFFSET 0) AS e"
};

/* What was handed over between half an hour before a contact's first response and his last. */
static KeptPlan find_handovers = {
	.sql =
		"SELECT r.n, m.claimed_at FROM unnest($1, $2, $3, $4) AS r (n, contact, since, last) "
		"CROSS JOIN LATERAL (SELECT c.claimed_at FROM journey_state.message AS c "
		" WHERE c.contact = r.contact AND c.decided_at OPERATOR(pg_catalog.>=) r.since AND c.decided_at OPERATOR(pg_catalog.<=) r.last "
		" AND c.decided_at OPERATOR(pg_catalog.>=) $5 AND c.decided_at OPERATOR(pg_catalog.<=) $6 "
		" AND c.claimed_at IS NOT NULL OFFSET 0) AS m"
};

DayKind
pgj_day_kind(Timestamp local)
{
	return pgj_weekday(local) >= 5 ? DAY_WEEKEND : DAY_WEEKDAY;
}

int
pgj_hour_of(Timestamp local)
{
	int64 day = local % USECS_PER_DAY;

	if (day < 0)
		day += USECS_PER_DAY;
	return (int) (day / USECS_PER_HOUR);
}

/* Times of one contact, in their order. */
typedef struct Times
{
	int n;
	int capacity;
	TimestampTz *at;
} Times;

static int
earlier_first(const void *a, const void *b)
{
	TimestampTz left = *(const TimestampTz *) a;
	TimestampTz right = *(const TimestampTz *) b;

	return left < right ? -1 : left > right ? 1 : 0;
}

/* Sort the rows (number, time) of the statement that was just run by number. */
static Times *
sort_rows(uint64 nrows, int n, MemoryContext context)
{
	Times *times = MemoryContextAllocZero(context, sizeof(Times) * n);

	for (uint64 row = 0; row < nrows; row++)
		times[DatumGetInt32(pgj_row_value(row, 1))].capacity++;
	for (int i = 0; i < n; i++)
		times[i].at = MemoryContextAlloc(
			context, sizeof(TimestampTz) * Max(times[i].capacity, 1));
	for (uint64 row = 0; row < nrows; row++)
	{
		Times *of = &times[DatumGetInt32(pgj_row_value(row, 1))];

		of->at[of->n++] = DatumGetTimestampTz(pgj_row_value(row, 2));
	}
	for (int i = 0; i < n; i++)
		qsort(times[i].at, times[i].n, sizeof(TimestampTz), earlier_first);
	SPI_freetuptable(SPI_tuptable);
	return times;
}

static Times *
read_responses(const Site *site, const HourCounts *asked, int n,
			   MemoryContext context)
{
	Params params;
	Datum *contact = pgj_params_contacts(&params, site, n);
	Datum *at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	TimestampTz first = DT_NOEND;
	TimestampTz last = DT_NOBEGIN;

	for (int i = 0; i < n; i++)
	{
		contact[i] = asked[i].contact;
		at[i] = TimestampTzGetDatum(asked[i].at);
		first = Min(first, asked[i].at - YEAR);
		last = Max(last, asked[i].at);
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(first));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(last));
	return sort_rows(pgj_plan_execute(&find_responses, &params), n, context);
}

static Times *
read_handovers(const Site *site, const HourCounts *asked,
			   const Times *responses, int n, MemoryContext context)
{
	Params params;
	Datum *number, *contact, *since, *last;
	TimestampTz first = DT_NOEND;
	TimestampTz end = DT_NOBEGIN;
	int64 span;
	int k = 0;

	for (int i = 0; i < n; i++)
	{
		if (responses[i].n == 0)
			continue;
		first = Min(first, responses[i].at[0] - ECHO);
		end = Max(end, responses[i].at[responses[i].n - 1]);
		k++;
	}
	if (k == 0)
		return MemoryContextAllocZero(context, sizeof(Times) * n);
	span = pgj_message_span(site, first);
	pgj_params_init(&params, site, k);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	since = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	last = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = k = 0; i < n; i++)
	{
		const Times *of = &responses[i];

		if (of->n == 0)
			continue;
		number[k] = Int32GetDatum(i);
		contact[k] = asked[i].contact;
		since[k] = TimestampTzGetDatum(of->at[0] - ECHO - span);
		last[k++] = TimestampTzGetDatum(of->at[of->n - 1]);
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(first - span));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(end));
	return sort_rows(pgj_plan_execute(&find_handovers, &params), n, context);
}

static void
count_response(HourCounts *counts, TimestampTz event)
{
	Timestamp local = pgj_zone_local(counts->zones->zone[0], event);
	DayKind kind = pgj_day_kind(local);
	double days = (counts->at - event) / (double) USECS_PER_DAY;

	counts->weight[kind][pgj_hour_of(local)] += exp2(-days / HALF_LIFE_DAYS);
	counts->events[kind]++;
}

/* Those that no hand-over came shortly before. */
static void
count_responses(HourCounts *counts, const Times *responses,
				const Times *handovers)
{
	int next = 0; /* the first hand-over after the response at hand */

	for (int i = 0; i < responses->n; i++)
	{
		TimestampTz event = responses->at[i];

		while (next < handovers->n && handovers->at[next] <= event)
			next++;
		if (next == 0 || handovers->at[next - 1] <= event - ECHO)
			count_response(counts, event);
	}
}

void
pgj_hour_counts_read(const Site *site, HourCounts *asked, int n)
{
	MemoryContext context = CurrentMemoryContext;
	Times *responses, *handovers;

	if (n == 0)
		return;
	SPI_connect();
	responses = read_responses(site, asked, n, context);
	handovers = read_handovers(site, asked, responses, n, context);
	SPI_finish();
	for (int i = 0; i < n; i++)
	{
		memset(asked[i].weight, 0, sizeof(asked[i].weight));
		memset(asked[i].events, 0, sizeof(asked[i].events));
		count_responses(&asked[i], &responses[i], &handovers[i]);
	}
}

void
pgj_hour_prior_read(const Site *site, HourPrior *prior)
{
	static KeptPlan plan = {
		.sql =
			"SELECT p.day_kind OPERATOR(pg_catalog.=) 'weekend', p.hour, p.share FROM journey_state.send_time_prior AS p"
	};
	Params params;
	uint64 nrows;

	for (int kind = 0; kind < DAY_KINDS; kind++)
	{
		prior->found[kind] = false;
		for (int hour = 0; hour < PGJ_HOURS; hour++)
			prior->share[kind][hour] = 1.0 / PGJ_HOURS;
	}
	SPI_connect();
	pgj_params_init(&params, site, 0);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		DayKind kind =
			DatumGetBool(pgj_row_value(row, 1)) ? DAY_WEEKEND : DAY_WEEKDAY;

		prior->found[kind] = true;
		prior->share[kind][DatumGetInt32(pgj_row_value(row, 2))] =
			DatumGetFloat8(pgj_row_value(row, 3));
	}
	SPI_finish();
}

double
pgj_hour_total(const HourCounts *counts, DayKind kind)
{
	double total = 0.0;

	for (int hour = 0; hour < PGJ_HOURS; hour++)
		total += counts->weight[kind][hour];
	return total;
}

/*
 * Scores that only rounding tells apart are as good as each other.
 */
bool
pgj_hour_better(int a, double score_a, int b, double score_b)
{
	if (fabs(score_a - score_b) > 1e-12)
		return score_a > score_b;
	return pgj_hours_apart(a, PGJ_DEFAULT_HOUR) <
		   pgj_hours_apart(b, PGJ_DEFAULT_HOUR);
}

int
pgj_best_hour(const double *scores)
{
	int best = 0;

	for (int hour = 1; hour < PGJ_HOURS; hour++)
		if (pgj_hour_better(hour, scores[hour], best, scores[best]))
			best = hour;
	return best;
}

const char *
pgj_hour_source(const HourCounts *counts, const HourPrior *prior, DayKind kind)
{
	if (counts->events[kind] > 0)
		return "individual";
	return prior->found[kind] ? "global" : "none";
}
