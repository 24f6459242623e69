/*-------------------------------------------------------------------------
 *
 * span.c
 *	  How long messages last, from their decision to their expiry.
 *
 * What was handed over after an instant, or may be yet, expires after it.  Messages
 * are found, and their partitions pruned, by the time of their decision, so whoever
 * looks for those must know how much earlier they may have been decided.  A setting
 * or the steps of today do not say: either may have been longer then.
 *
 * So it is written down, in journey_state.message_span: in days, for messages
 * decided before an instant and within BUCKET of it.  A row is written in the
 * transaction of the first message that outlasts the rows there are: who sees the
 * message sees the row.  Nobody waits for anybody: two transactions may write the
 * same, and journey.maintain() deletes rows that say nothing beside another.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#include "outbox/span.h"
#include "plan.h"

#define BUCKET (INT64CONST(30) * USECS_PER_DAY)

/* What is to be written of one bucket. */
typedef struct Span
{
	TimestampTz before;
	int days;
} Span;

/* No message that expires after an instant was decided longer before its expiry. */
int64
pgj_message_span(const Site *site, TimestampTz expires_after)
{
	static KeptPlan plan = {
		.sql =
			"SELECT COALESCE(pg_catalog.max(s.days), 0) FROM journey_state.message_span AS s "
			"WHERE s.before OPERATOR(pg_catalog.>) ($1 OPERATOR(pg_catalog.-) (s.days OPERATOR(pg_catalog.*) interval '24 hours'))"
	};
	Params params;
	int days;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(expires_after));
	(void) pgj_plan_execute(&plan, &params);
	days = pgj_row_int4(0, 1, 0);
	SPI_finish();
	return days * USECS_PER_DAY;
}

/* The end of the bucket that an instant is in. */
static TimestampTz
bucket_end(TimestampTz at)
{
	int64 into = at % BUCKET;

	return at - (into < 0 ? into + BUCKET : into) + BUCKET;
}

/* The longest of each bucket. */
static int
collect(const MessageRow *rows, int n, Span *spans)
{
	int nspans = 0;

	for (int i = 0; i < n; i++)
	{
		TimestampTz before = bucket_end(rows[i].decided_at);
		int days =
			(rows[i].expires_at - rows[i].decided_at + USECS_PER_DAY - 1) /
			USECS_PER_DAY;
		int k = 0;

		while (k < nspans && spans[k].before != before)
			k++;
		if (k == nspans)
			spans[nspans++] = (Span){ before, days };
		spans[k].days = Max(spans[k].days, days);
	}
	return nspans;
}

void
pgj_message_span_note(const Site *site, const MessageRow *rows, int n)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.message_span (before, days, span_id) "
			"SELECT r.before, r.days, pg_catalog.nextval('journey_state.row_id_seq') FROM unnest($1, $2) AS r (before, days) "
			"WHERE NOT EXISTS (SELECT FROM journey_state.message_span AS s WHERE s.before OPERATOR(pg_catalog.=) r.before "
			"AND s.days OPERATOR(pg_catalog.>=) r.days)"
	};
	Span *spans = palloc_array(Span, n);
	int nspans = collect(rows, n, spans);
	Params params;
	Datum *before, *days;

	SPI_connect();
	pgj_params_init(&params, site, nspans);
	before = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	days = pgj_params_column(&params, INT4OID, NULL);
	for (int i = 0; i < nspans; i++)
	{
		before[i] = TimestampTzGetDatum(spans[i].before);
		days[i] = Int32GetDatum(spans[i].days);
	}
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
	pfree(spans);
}
