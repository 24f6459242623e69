/*-------------------------------------------------------------------------
 *
 * engagement.c
 *	  How contacts respond to what they are sent over a channel.
 *
 * A message is responded to when an event of journey.engagement_event comes after
 * its hand-over that names it (property message_id), or that names no message and
 * comes within a day.  Events that a machine caused (property machine is true) do
 * not count.  journey.engagement() in 54_engagement.sql says the same of all
 * contacts at once.
 *
 * What is believed of a contact's rate is everybody's distribution, made by
 * journey.refresh_engagement(), and the contact's own counts.  Without
 * everybody's, nothing is said of anybody: a shop that reports no clicks has no
 * contacts of low engagement.
 *
 * Reads a contact's messages and events of sixty days, by index; older ones cost
 * nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "gate/engagement.h"
#include "measure/rate.h"
#include "measure/special.h"
#include "outbox/span.h"
#include "plan.h"

#define CERTAIN 0.8
#define HIGH_RATE 0.40
#define LOW_RATE 0.10
#define DROP_RATIO 0.7
#define MIN_SENDS 4

/* The sixty days; a day of local time may have 25 hours, or more. */
#define SPAN (INT64CONST(62) * USECS_PER_DAY)

static const struct
{
	const char *name;
	EngagementClass class;
} classes[] = { { "high", ENGAGEMENT_HIGH },
				{ "low", ENGAGEMENT_LOW },
				{ "fatigued", ENGAGEMENT_FATIGUED } };

int
pgj_engagement_class_of(const char *name)
{
	for (int i = 0; i < lengthof(classes); i++)
		if (strcmp(classes[i].name, name) == 0)
			return classes[i].class;
	return 0;
}

/*
 * Nothing is handed over once it has expired, so what was handed over in sixty
 * days was decided in those and the longest expiry before them (r.since).  The
 * scalars are the bounds of all requests, for the executor to leave partitions out.
 */
static KeptPlan count_sends = {
	.sql =
		"SELECT r.n, p.a0, p.b0, c.sends, c.clicks, c.sends_before, c.clicks_before "
		"FROM unnest($1, $2, $3, $4, $5) AS r (n, contact, channel, at, since) "
		"JOIN journey_state.engagement_prior AS p ON p.channel OPERATOR(pg_catalog.=) r.channel "
		"CROSS JOIN LATERAL ("
		" WITH response AS MATERIALIZED ("
		"  SELECT e.at, e.properties OPERATOR(pg_catalog.->>) 'message_id' AS message_id "
		"  FROM journey_state.event AS e "
		"  WHERE e.contact = r.contact AND e.at OPERATOR(pg_catalog.>) (r.at OPERATOR(pg_catalog.-) interval '60 days') "
		"  AND e.at OPERATOR(pg_catalog.<=) r.at AND e.at OPERATOR(pg_catalog.>) $7 AND e.at OPERATOR(pg_catalog.<=) $8 "
		"  AND EXISTS (SELECT FROM journey.engagement_event AS g WHERE g.event OPERATOR(pg_catalog.=) e.name) "
		"  AND (e.properties OPERATOR(pg_catalog.->>) 'machine') IS DISTINCT FROM 'true'), "
		" sent AS ("
		"  SELECT m.claimed_at OPERATOR(pg_catalog.>) (r.at OPERATOR(pg_catalog.-) interval '30 days') AS late, "
		"  EXISTS (SELECT FROM response AS a WHERE a.at OPERATOR(pg_catalog.>=) m.claimed_at "
		"   AND (a.message_id OPERATOR(pg_catalog.=) m.message_id::pg_catalog.text OR a.message_id IS NULL "
		"    AND a.at OPERATOR(pg_catalog.<) (m.claimed_at OPERATOR(pg_catalog.+) interval '24 hours'))) AS clicked "
		"  FROM journey_state.message AS m "
		"  WHERE m.contact = r.contact AND m.channel OPERATOR(pg_catalog.=) r.channel "
		"  AND m.decided_at OPERATOR(pg_catalog.>=) r.since AND m.decided_at OPERATOR(pg_catalog.>=) $6 "
		"  AND m.claimed_at OPERATOR(pg_catalog.>) (r.at OPERATOR(pg_catalog.-) interval '60 days') "
		"  AND m.claimed_at OPERATOR(pg_catalog.<=) r.at "
		"  AND m.status OPERATOR(pg_catalog.=) ANY (ARRAY['claimed', 'sent'])) "
		" SELECT pg_catalog.count(*) FILTER (WHERE s.late), pg_catalog.count(*) FILTER (WHERE s.late AND s.clicked), "
		"  pg_catalog.count(*) FILTER (WHERE NOT s.late), pg_catalog.count(*) FILTER (WHERE NOT s.late AND s.clicked) "
		" FROM sent AS s) AS c (sends, clicks, sends_before, clicks_before)"
};

void
pgj_engagement_read(const Site *site, Engagement *asked, int n)
{
	Params params;
	Datum *number, *contact, *channel, *at, *since;
	TimestampTz first = DT_NOEND;
	TimestampTz last = DT_NOBEGIN;
	int64 span;
	uint64 nrows;

	if (n == 0)
		return;
	for (int i = 0; i < n; i++)
	{
		first = Min(first, asked[i].at - SPAN);
		last = Max(last, asked[i].at);
	}
	span = pgj_message_span(site, first);
	SPI_connect();
	pgj_params_init(&params, site, n);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	channel = pgj_params_column(&params, TEXTOID, NULL);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	since = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < n; i++)
	{
		asked[i].known = false;
		number[i] = Int32GetDatum(i);
		contact[i] = asked[i].contact;
		channel[i] = CStringGetTextDatum(asked[i].channel);
		at[i] = TimestampTzGetDatum(asked[i].at);
		since[i] = TimestampTzGetDatum(asked[i].at - SPAN - span);
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(first - span));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(first));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(last));
	nrows = pgj_plan_execute(&count_sends, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Engagement *e = &asked[DatumGetInt32(pgj_row_value(row, 1))];

		e->known = true;
		e->a0 = DatumGetFloat8(pgj_row_value(row, 2));
		e->b0 = DatumGetFloat8(pgj_row_value(row, 3));
		e->sends = (int) pgj_row_int8(row, 4, 0);
		e->clicks = (int) pgj_row_int8(row, 5, 0);
		e->sends_before = (int) pgj_row_int8(row, 6, 0);
		e->clicks_before = (int) pgj_row_int8(row, 7, 0);
	}
	SPI_finish();
}

double
pgj_engagement_rate(const Engagement *e)
{
	return (e->a0 + e->clicks) / (e->a0 + e->b0 + e->sends);
}

/*
 * This takes hundreds of times as long as the rest, and contacts have few different
 * counts: the last results are kept, each at the place of its hash.
 */
static double
drop_probability(const Engagement *e)
{
	typedef struct Kept
	{
		double beta[4];
		double p;
	} Kept;
	static Kept kept[256];
	double beta[4] = { e->a0 + e->clicks_before,
					   e->b0 + e->sends_before - e->clicks_before,
					   e->a0 + e->clicks, e->b0 + e->sends - e->clicks };
	Kept *place = &kept[hash_bytes((unsigned char *) beta, sizeof(beta)) %
						lengthof(kept)];

	/* no parameter is zero, as in a place not used yet */
	if (memcmp(place->beta, beta, sizeof(beta)) != 0)
	{
		place->p =
			pgj_beta_drop(beta[0], beta[1], beta[2], beta[3], DROP_RATIO);
		memcpy(place->beta, beta, sizeof(beta));
	}
	return place->p;
}

static void
write_float(StringInfo out, const char *member, double value)
{
	char *text =
		DatumGetCString(DirectFunctionCall1(float8out, Float8GetDatum(value)));

	appendStringInfo(out, ", \"%s\": %s", member, text);
}

/* The classes of one contact, among those asked for, and why. */
static int
judge(const Engagement *e, int asked, StringInfo out)
{
	double a = e->a0 + e->clicks;
	double b = e->b0 + e->sends - e->clicks;
	int found = 0;

	appendStringInfo(
		out,
		"{\"sends\": %d, \"clicks\": %d, \"sends_before\": %d, \"clicks_before\": %d",
		e->sends, e->clicks, e->sends_before, e->clicks_before);
	write_float(out, "a0", e->a0);
	write_float(out, "b0", e->b0);
	if (asked & ENGAGEMENT_HIGH)
	{
		double p = pgj_beta_tail(HIGH_RATE, a, b);

		write_float(out, "p_high", p);
		if (p >= CERTAIN)
			found |= ENGAGEMENT_HIGH;
	}
	if (asked & ENGAGEMENT_LOW)
	{
		double p = pgj_beta_cdf(LOW_RATE, a, b);

		write_float(out, "p_low", p);
		if (p >= CERTAIN)
			found |= ENGAGEMENT_LOW;
	}
	if ((asked & ENGAGEMENT_FATIGUED) && e->sends >= MIN_SENDS &&
		e->sends_before >= MIN_SENDS)
	{
		double p = drop_probability(e);

		write_float(out, "p_drop", p);
		if (p >= CERTAIN)
			found |= ENGAGEMENT_FATIGUED;
	}

	appendStringInfoString(out, ", \"classes\": [");
	for (int i = 0, k = 0; i < lengthof(classes); i++)
		if (found & classes[i].class)
			appendStringInfo(out, "%s\"%s\"", k++ > 0 ? ", " : "",
							 classes[i].name);
	appendStringInfoString(out, "]}");
	return found;
}

int *
pgj_engagement_class(const Site *site, Check *checks, int n, int asked)
{
	int *found = palloc0_array(int, n);
	Engagement *engagements = palloc0_array(Engagement, n);
	int *owner = palloc_array(int, n);
	int nopen = 0;

	for (int i = 0; i < n; i++)
	{
		if (!checks[i].open)
			continue;
		engagements[nopen].contact = checks[i].request->contact;
		engagements[nopen].channel = checks[i].request->channel;
		engagements[nopen].at = checks[i].request->at;
		owner[nopen++] = i;
	}
	pgj_engagement_read(site, engagements, nopen);
	for (int i = 0; i < nopen; i++)
	{
		Check *check = &checks[owner[i]];
		StringInfo out = pgj_check_evidence(check, "engagement");

		if (engagements[i].known)
			found[owner[i]] = judge(&engagements[i], asked, out);
		else
			appendStringInfoString(out, "\"unknown\"");
	}
	return found;
}
