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
#include "guc.h"
#include "plan.h"

#define HALF_LIFE_DAYS 60.0

const char *const pgj_day_kinds[DAY_KINDS] = { "weekday", "weekend" };

static KeptPlan find_responses = {
	.sql =
		"SELECT r.n, e.at FROM unnest($1, $2, $3) AS r (n, contact, at) "
		"CROSS JOIN LATERAL (SELECT v.at FROM journey_state.event AS v "
		" WHERE v.contact = r.contact AND v.at OPERATOR(pg_catalog.>) (r.at OPERATOR(pg_catalog.-) interval '365 days') "
		" AND v.at OPERATOR(pg_catalog.<=) r.at "
		" AND v.name OPERATOR(pg_catalog.=) ANY (ARRAY("
		"  SELECT g.event FROM journey.engagement_event AS g "
		"  UNION ALL SELECT w.goal_event FROM journey.version AS w WHERE w.goal_event IS NOT NULL AND NOT w.dropped)) "
		" AND (v.properties OPERATOR(pg_catalog.->>) 'machine') IS DISTINCT FROM 'true' "
		" AND NOT EXISTS (SELECT FROM journey_state.message AS m WHERE m.contact = r.contact "
		"  AND m.claimed_at OPERATOR(pg_catalog.>) (v.at OPERATOR(pg_catalog.-) interval '30 minutes') "
		"  AND m.claimed_at OPERATOR(pg_catalog.<=) v.at "
		"  AND m.decided_at OPERATOR(pg_catalog.<=) v.at "
		"  AND m.decided_at OPERATOR(pg_catalog.>) (v.at OPERATOR(pg_catalog.-) interval '30 minutes' OPERATOR(pg_catalog.-) GREATEST($4, "
		"   (SELECT pg_catalog.max(s.duration) FROM journey.step AS s WHERE s.kind OPERATOR(pg_catalog.=) 'send')))) "
		" OFFSET 0) AS e"
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

void
pgj_hour_counts_read(const Site *site, HourCounts *asked, int n)
{
	Params params;
	Datum *number, *contact, *at;
	Interval *expiry;
	uint64 nrows;

	if (n == 0)
		return;
	SPI_connect();
	pgj_params_init(&params, site, n);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < n; i++)
	{
		number[i] = Int32GetDatum(i);
		contact[i] = asked[i].contact;
		at[i] = TimestampTzGetDatum(asked[i].at);
		memset(asked[i].weight, 0, sizeof(asked[i].weight));
		memset(asked[i].events, 0, sizeof(asked[i].events));
	}
	expiry = palloc0_object(Interval);
	expiry->time = Max(INT64CONST(31) * USECS_PER_DAY,
					   (int64) pgj_message_expiry * USECS_PER_SEC);
	pgj_params_scalar(&params, INTERVALOID, IntervalPGetDatum(expiry));
	nrows = pgj_plan_execute(&find_responses, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		HourCounts *counts = &asked[DatumGetInt32(pgj_row_value(row, 1))];
		TimestampTz event = DatumGetTimestampTz(pgj_row_value(row, 2));
		Timestamp local = pgj_zone_local(counts->zones->zone[0], event);
		DayKind kind = pgj_day_kind(local);
		double days = (counts->at - event) / (double) USECS_PER_DAY;

		counts->weight[kind][pgj_hour_of(local)] +=
			exp2(-days / HALF_LIFE_DAYS);
		counts->events[kind]++;
	}
	SPI_finish();
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
