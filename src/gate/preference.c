/*-------------------------------------------------------------------------
 *
 * preference.c
 *	  What contacts chose: how often, and all of it for a preference centre.
 *
 * A frequency is a cap of that contact alone (cap.c).  It is changed like a
 * withdrawal, meeting the claims at the consent rows (consent.c).  'all' is kept as
 * a row too: it was chosen at a time, and what is older must not come back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/argument.h"
#include "gate/consent.h"
#include "pg_journey.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_set_frequency);
PG_FUNCTION_INFO_V1(pgj_sql_preferences);

static void
require_frequency(const char *frequency)
{
	static const char *const known[] = { "all", "daily", "weekly", "monthly" };

	for (int i = 0; i < lengthof(known); i++)
		if (strcmp(frequency, known[i]) == 0)
			return;
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("\"%s\" is not a frequency", frequency),
			errhint("The frequencies are all, daily, weekly and monthly."));
}

/*
 * journey.set_frequency(contact anyelement, channel text, topic text, frequency
 *		text, source text, at timestamptz)
 */
Datum
pgj_sql_set_frequency(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "contact",	  "channel", "topic",
										 "frequency", "source",	 "at" };
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.frequency AS f (contact, channel, topic, frequency, source, at) "
			"VALUES ($1, $2, $3, $4, $5, $6) "
			"ON CONFLICT (contact, channel, topic) DO UPDATE "
			"SET frequency = EXCLUDED.frequency, source = EXCLUDED.source, at = EXCLUDED.at "
			"WHERE f.at OPERATOR(pg_catalog.<=) EXCLUDED.at OR f.at OPERATOR(pg_catalog.>) $7"
	};
	const Site *site = pgj_site();
	Datum contact;
	Datum channel;
	SavedUser saved;
	Params params;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(5)))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time of a preference must be finite"));
	require_frequency(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	contact = pgj_consent_contact(fcinfo, site);
	channel = PG_GETARG_DATUM(1);

	saved = pgj_become_owner(site);
	SPI_connect();
	if (strcmp(TextDatumGetCString(channel), "*") != 0)
		pgj_require_channel(site, channel);
	pgj_require_topic(site, PG_GETARG_DATUM(2));
	pgj_consent_lock(site, &contact, &channel, 1, false);
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, contact);
	for (int i = 1; i <= 4; i++)
		pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(i));
	pgj_params_scalar(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(5));
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(pgj_clock_now()));
	(void) pgj_plan_execute(&plan, &params);
	pgj_consent_lock(site, &contact, &channel, 1, true);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

/*
 * journey.preferences(contact anyelement, at timestamptz) returns (channel,
 *		topic, class, allowed, state, since, frequency)
 *
 * allowed is what the gate would say (consented.c).
 */
Datum
pgj_sql_preferences(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "contact", "at" };
	static KeptPlan plan = {
		.sql =
			"SELECT h.name, t.name, t.class, "
			"  t.class OPERATOR(pg_catalog.=) 'transactional' "
			"    OR COALESCE(own.granted, every.granted, false) AND COALESCE(every.granted, true), "
			"  CASE WHEN q.at IS NOT NULL THEN 'pending' WHEN own.granted THEN 'granted' WHEN NOT own.granted THEN 'withdrawn' ELSE 'none' END, "
			"  COALESCE(q.at, own.at), CASE WHEN t.obeys THEN COALESCE(f.frequency, 'all') ELSE 'all' END "
			"FROM journey.channel AS h "
			"CROSS JOIN (SELECT d.name, d.class, d.obeys_caps AS obeys FROM journey.topic AS d UNION ALL SELECT '*', NULL, true) AS t "
			"LEFT JOIN journey_state.consent AS own ON own.contact = $1 AND own.channel OPERATOR(pg_catalog.=) h.name "
			"  AND own.topic OPERATOR(pg_catalog.=) t.name "
			"LEFT JOIN journey_state.consent AS every ON every.contact = $1 AND every.channel OPERATOR(pg_catalog.=) h.name "
			"  AND every.topic OPERATOR(pg_catalog.=) '*' "
			"LEFT JOIN LATERAL ("
			"  SELECT pg_catalog.max(r.at) AS at FROM journey_state.consent_request AS r "
			"  WHERE r.contact = $1 AND r.channel OPERATOR(pg_catalog.=) h.name AND r.topic OPERATOR(pg_catalog.=) t.name "
			"  AND r.confirmed_at IS NULL AND r.expires_at OPERATOR(pg_catalog.>) $2 "
			"  AND (own.at IS NULL OR NOT own.granted AND own.at OPERATOR(pg_catalog.<) r.at)) AS q ON true "
			"LEFT JOIN LATERAL ("
			"  SELECT p.frequency FROM journey_state.frequency AS p "
			"  WHERE p.contact = $1 AND p.channel OPERATOR(pg_catalog.=) ANY (ARRAY[h.name, '*']) "
			"  AND p.topic OPERATOR(pg_catalog.=) ANY (ARRAY[t.name, '*']) "
			"  ORDER BY pg_catalog.array_position(ARRAY['monthly', 'weekly', 'daily', 'all'], p.frequency) LIMIT 1) AS f ON true "
			"ORDER BY h.name, t.name OPERATOR(pg_catalog.<>) '*', t.name"
	};
	const Site *site = pgj_site();
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum contact;
	SavedUser saved;
	Params params;
	uint64 nrows;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	InitMaterializedSRF(fcinfo, 0);
	contact = pgj_argument_contact(fcinfo, site, 0);

	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, contact);
	pgj_params_scalar(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(1));
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Datum values[7];
		bool nulls[7];

		for (int i = 0; i < lengthof(values); i++)
			values[i] = pgj_row_nullable(row, i + 1, &nulls[i]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	SPI_finish();
	pgj_become_caller(saved);
	return (Datum) 0;
}
