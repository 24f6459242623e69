/*-------------------------------------------------------------------------
 *
 * consent.c
 *	  Who may be written to: consent by channel and topic.
 *
 * Consent is set from the shop's own transactions, which take no slice lock.
 * What orders a withdrawal against a claim are the consent rows: both sides lock
 * all rows of the contact and channel before they look.  A claim only goes on
 * when some row grants consent, so there is always one to meet at.
 *
 * Callers need EXECUTE and nothing else; the rows are written as the journey
 * owner.  A superuser is refused, because the owner may have put triggers on
 * these tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "append.h"
#include "clock.h"
#include "contact/site.h"
#include "gate/argument.h"
#include "pg_journey.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_set_consent);

static const char *const no_null[] = { "contact", "channel", "topic",
									   "granted", "source",	 "at" };

/* Meet the claims that have looked at this contact's consent. */
static void
lock_consent(const Site *site, Datum contact, Datum channel)
{
	static KeptPlan plan = {
		.sql =
			"SELECT FROM journey_state.consent AS k WHERE k.contact = $1 AND k.channel OPERATOR(pg_catalog.=) $2 "
			"ORDER BY k.topic FOR UPDATE"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, contact);
	pgj_params_scalar(&params, TEXTOID, channel);
	(void) pgj_plan_execute(&plan, &params);
}

/*
 * journey.set_consent(contact anyelement, channel text, topic text,
 *					   granted boolean, source text, at timestamptz)
 *
 * What is older than the present state does not change it.  But a grant dated in
 * the future comes from a clock that is ahead, and a withdrawal ends it.
 */
Datum
pgj_sql_set_consent(PG_FUNCTION_ARGS)
{
	static KeptPlan write_log = {
		.sql =
			"INSERT INTO journey_state.consent_log (contact, consent_id, channel, topic, granted, source, at, set_by) "
			"VALUES ($1, $8, $2, $3, $4, $5, $6, $7)"
	};
	static KeptPlan write_state = {
		.sql =
			"INSERT INTO journey_state.consent AS k (contact, channel, topic, granted, source, at, consent_id) "
			"VALUES ($1, $2, $3, $4, $5, $6, $8) "
			"ON CONFLICT (contact, channel, topic) DO UPDATE "
			"SET granted = EXCLUDED.granted, source = EXCLUDED.source, at = EXCLUDED.at, consent_id = EXCLUDED.consent_id "
			"WHERE k.at OPERATOR(pg_catalog.<=) EXCLUDED.at "
			"OR NOT EXCLUDED.granted AND k.at OPERATOR(pg_catalog.>) $9"
	};
	const Site *site = pgj_site();
	Datum contact;
	NameData set_by;
	SavedUser saved;
	Params params;

	pgj_argument_refuse_null(fcinfo, no_null);
	pgj_refuse_superuser(site);
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(5)))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time of a consent must be finite"));
	contact = pgj_argument_contact(fcinfo, site, 0);
	if (pgj_key_too_long(site, contact))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("key of a contact must not have more than %d bytes",
					   PGJ_MAX_KEY));
	namestrcpy(&set_by, GetUserNameFromId(GetUserId(), false));

	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_require_channel(site, PG_GETARG_DATUM(1));
	pgj_require_topic(site, PG_GETARG_DATUM(2));
	lock_consent(site, contact, PG_GETARG_DATUM(1));

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, contact);
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(1));
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(2));
	pgj_params_scalar(&params, BOOLOID, PG_GETARG_DATUM(3));
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(4));
	pgj_params_scalar(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(5));
	pgj_params_scalar(&params, NAMEOID, NameGetDatum(&set_by));
	pgj_params_scalar(&params, INT8OID,
					  Int64GetDatum(nextval_internal(
						  pgj_state_relation("row_id_seq"), false)));
	(void) pgj_plan_execute(&write_log, &params);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(pgj_clock_now()));
	(void) pgj_plan_execute(&write_state, &params);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}
