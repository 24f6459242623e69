/*-------------------------------------------------------------------------
 *
 * consent.c
 *	  Who may be written to: consent by channel and topic, dead addresses.
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
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "contact/site.h"
#include "pg_journey.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_set_consent);
PG_FUNCTION_INFO_V1(pgj_sql_suppress);
PG_FUNCTION_INFO_V1(pgj_sql_unsuppress);

static const char *const no_null[] = { "contact", "channel", "topic",
									   "granted", "source",	 "at" };

static void
refuse_null(FunctionCallInfo fcinfo, const char *const *names)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("%s must not be null", names[i]));
}

/* The contact as a value of the key's type, whatever type it came as. */
static Datum
contact_argument(FunctionCallInfo fcinfo, const Site *site, int argument)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, argument);
	Oid output;
	bool varlena;

	if (type == site->key_type)
		return PG_GETARG_DATUM(argument);
	getTypeOutputInfo(type, &output, &varlena);
	return pgj_key_from_text(
		site, OidOutputFunctionCall(output, PG_GETARG_DATUM(argument)));
}

/* Refuse the name of a definition of which the plan says that there is none. */
static void
require(KeptPlan *plan, const Site *site, const char *kind, Datum name,
		const char *hint)
{
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TEXTOID, name);
	(void) pgj_plan_execute(plan, &params);
	if (!DatumGetBool(pgj_row_value(0, 1)))
		ereport(
			ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("%s \"%s\" does not exist", kind, TextDatumGetCString(name)),
			errhint("%s", hint));
}

static void
require_channel(const Site *site, Datum name)
{
	static KeptPlan plan = {
		.sql =
			"SELECT EXISTS (SELECT FROM journey.channel AS h WHERE h.name OPERATOR(pg_catalog.=) $1)"
	};

	require(&plan, site, "channel", name,
			"Create it with journey.create_channel().");
}

static void
require_topic(const Site *site, Datum name)
{
	static KeptPlan plan = {
		.sql =
			"SELECT $1 OPERATOR(pg_catalog.=) '*' OR EXISTS (SELECT FROM journey.topic AS t WHERE t.name OPERATOR(pg_catalog.=) $1)"
	};

	require(
		&plan, site, "topic", name,
		"Create it with journey.create_topic(), or use '*' for all topics.");
}

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

	refuse_null(fcinfo, no_null);
	pgj_refuse_superuser(site);
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(5)))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time of a consent must be finite"));
	contact = contact_argument(fcinfo, site, 0);
	if (pgj_key_too_long(site, contact))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("key of a contact must not have more than %d bytes",
					   PGJ_MAX_KEY));
	namestrcpy(&set_by, GetUserNameFromId(GetUserId(), false));

	saved = pgj_become_owner(site);
	SPI_connect();
	require_channel(site, PG_GETARG_DATUM(1));
	require_topic(site, PG_GETARG_DATUM(2));
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

/*
 * journey.suppress(channel text, address text, reason text, at timestamptz)
 */
Datum
pgj_sql_suppress(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "channel", "address", "reason", "at" };
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.suppression (channel, address, reason, at) "
			"VALUES ($1, pg_catalog.lower($2), $3, $4) "
			"ON CONFLICT (channel, address) DO UPDATE SET reason = EXCLUDED.reason, at = EXCLUDED.at"
	};
	const Site *site = pgj_site();
	SavedUser saved;
	Params params;

	refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	saved = pgj_become_owner(site);
	SPI_connect();
	require_channel(site, PG_GETARG_DATUM(0));
	pgj_params_init(&params, site, 0);
	for (int i = 0; i < 3; i++)
		pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(i));
	pgj_params_scalar(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(3));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

/*
 * journey.unsuppress(channel text, address text) returns boolean
 */
Datum
pgj_sql_unsuppress(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "channel", "address" };
	static KeptPlan plan = {
		.sql =
			"DELETE FROM journey_state.suppression AS s "
			"WHERE s.channel OPERATOR(pg_catalog.=) $1 AND s.address OPERATOR(pg_catalog.=) pg_catalog.lower($2)"
	};
	const Site *site = pgj_site();
	SavedUser saved;
	Params params;
	bool found;

	refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	saved = pgj_become_owner(site);
	SPI_connect();
	require_channel(site, PG_GETARG_DATUM(0));
	pgj_params_init(&params, site, 0);
	for (int i = 0; i < 2; i++)
		pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(i));
	found = pgj_plan_execute(&plan, &params) > 0;
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_BOOL(found);
}
