/*-------------------------------------------------------------------------
 *
 * consented.c
 *	  Has the contact consented?
 *
 * At GATE_CLAIM the consent rows are locked before they are read, and new ones
 * looked for that have not committed.  So a withdrawal (consent.c) has committed
 * and is seen here, or is open and puts the message off, or waits for the claim
 * to commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "gate/check.h"
#include "gate/unsettled.h"
#include "pg_journey.h"
#include "plan.h"

/* Does this request need consent that has not been decided yet? */
static bool
asks_consent(const Check *check)
{
	return check->open && !check->transactional;
}

static void
fill_consent_params(Params *params, const Site *site, const Check *checks,
					int n, int nasked)
{
	Datum *number, *contact, *channel, *topic;
	int k = 0;

	pgj_params_init(params, site, nasked);
	number = pgj_params_column(params, INT4OID, NULL);
	contact = pgj_params_column(params, site->key_type, NULL);
	channel = pgj_params_column(params, TEXTOID, NULL);
	topic = pgj_params_column(params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		if (!asks_consent(&checks[i]))
			continue;
		number[k] = Int32GetDatum(i);
		contact[k] = checks[i].request->contact;
		channel[k] = CStringGetTextDatum(checks[i].request->channel);
		topic[k] = CStringGetTextDatum(checks[i].request->topic);
		k++;
	}
}

/*
 * Lock, then read, in two statements: the second has a newer snapshot and so
 * sees the row that a withdrawal has inserted meanwhile.  All rows of the contact
 * and channel are locked.  Rows that an open transaction of the shop's is
 * changing are passed over: a claim must not wait for it.
 */
static void
lock_consent(const Params *params, Check *checks)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, k.topic OPERATOR(pg_catalog.=) '*', k.topic OPERATOR(pg_catalog.=) r.topic "
			"FROM unnest($1, $2, $3, $4) AS r (n, contact, channel, topic) "
			"JOIN journey_state.consent AS k ON k.contact = r.contact "
			"AND k.channel OPERATOR(pg_catalog.=) r.channel FOR SHARE OF k SKIP LOCKED"
	};
	uint64 nrows = pgj_plan_execute(&plan, params);

	for (uint64 row = 0; row < nrows; row++)
	{
		Check *check = &checks[DatumGetInt32(pgj_row_value(row, 1))];

		if (DatumGetBool(pgj_row_value(row, 2)))
			check->consent[CONSENT_ALL].locked = true;
		else if (DatumGetBool(pgj_row_value(row, 3)))
			check->consent[CONSENT_TOPIC].locked = true;
	}
}

/*
 * Was a row read that could not be locked, or that came after the locks?  Or is one
 * being written that could not be read?
 */
static bool
is_busy(const Check *check, Unsettled *look)
{
	for (int i = 0; i < lengthof(check->consent); i++)
	{
		Datum key[] = { check->request->contact,
						CStringGetTextDatum(check->request->channel),
						CStringGetTextDatum(
							i == CONSENT_ALL ? "*" : check->request->topic) };

		if (check->consent[i].found ? !check->consent[i].locked
									: pgj_unsettled(look, key) != ROW_ABSENT)
			return true;
	}
	return false;
}

static void
put_off_busy(Check *checks, int n, const bool *asked)
{
	Unsettled *look = pgj_unsettled_open("consent", 3);

	for (int i = 0; i < n; i++)
	{
		if (!asked[i] || !is_busy(&checks[i], look))
			continue;
		checks[i].request->busy = true;
		if (checks[i].open)
			pgj_check_withhold(&checks[i], "no_consent");
	}
	pgj_unsettled_close(look);
}

/*
 * A row for topic '*' that says no ends it; else the topic's own row counts;
 * else a row for '*' that says yes.  No row means no.
 */
static void
judge_consent(Check *check)
{
	const Consent *topic = &check->consent[CONSENT_TOPIC];
	const Consent *all = &check->consent[CONSENT_ALL];
	const Consent *counts = topic;
	StringInfo out = pgj_check_evidence(check, "consent");

	if (all->found && (!all->granted || !topic->found))
		counts = all;
	if (!counts->found)
		appendStringInfoString(out, "null");
	else
	{
		appendStringInfoString(out, "{\"topic\": ");
		escape_json(out, counts == all ? "*" : check->request->topic);
		appendStringInfo(
			out, ", \"id\": " INT64_FORMAT ", \"granted\": %s, \"source\": ",
			counts->id, counts->granted ? "true" : "false");
		escape_json(out, counts->source);
		appendStringInfoString(out, ", \"at\": ");
		pgj_check_time(out, counts->at);
		appendStringInfoChar(out, '}');
	}
	if (!counts->found || !counts->granted)
		pgj_check_withhold(check, "no_consent");
}

void
pgj_consent_check(const Site *site, GateStage stage, Check *checks, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, k.topic OPERATOR(pg_catalog.=) '*', k.granted, k.source, k.at, k.consent_id "
			"FROM unnest($1, $2, $3, $4) AS r (n, contact, channel, topic) "
			"JOIN journey_state.consent AS k ON k.contact = r.contact "
			"AND k.channel OPERATOR(pg_catalog.=) r.channel "
			"AND (k.topic OPERATOR(pg_catalog.=) r.topic OR k.topic OPERATOR(pg_catalog.=) '*')"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	bool *asked;
	int nasked = 0;
	uint64 nrows;

	for (int i = 0; i < n; i++)
		nasked += asks_consent(&checks[i]);
	if (nasked == 0 || (PGJ_SABOTAGE == 1 && stage == GATE_CLAIM))
		return;

	SPI_connect();
	fill_consent_params(&params, site, checks, n, nasked);
	if (stage == GATE_CLAIM)
		lock_consent(&params, checks);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Check *check = &checks[DatumGetInt32(pgj_row_value(row, 1))];
		Consent *consent =
			&check
				 ->consent[DatumGetBool(pgj_row_value(row, 2)) ? CONSENT_ALL
															   : CONSENT_TOPIC];

		consent->found = true;
		consent->granted = DatumGetBool(pgj_row_value(row, 3));
		consent->source = pgj_row_text(context, row, 4);
		consent->at = DatumGetTimestampTz(pgj_row_value(row, 5));
		consent->id = DatumGetInt64(pgj_row_value(row, 6));
	}
	SPI_finish();

	asked = palloc_array(bool, n);
	for (int i = 0; i < n; i++)
	{
		asked[i] = asks_consent(&checks[i]);
		if (asked[i])
			judge_consent(&checks[i]);
	}
	if (stage == GATE_CLAIM)
		put_off_busy(checks, n, asked);
}
