/*-------------------------------------------------------------------------
 *
 * suppress.c
 *	  Addresses and contacts that must not be written to.
 *
 * Scope "all" stops every message, scope "promotional" all but transactional
 * ones.  A weaker scope never takes the place of a stronger one: a shop that
 * unsubscribes a dead address does not make it alive.
 *
 * Once a suppression has committed, nothing it stops is handed over: see
 * onlooker.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "contact/site.h"
#include "gate/argument.h"
#include "gate/onlooker.h"
#include "outbox/address.h"
#include "outbox/fold.h"
#include "pg_journey.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_suppress);
PG_FUNCTION_INFO_V1(pgj_sql_unsuppress);
PG_FUNCTION_INFO_V1(pgj_sql_suppress_contact);
PG_FUNCTION_INFO_V1(pgj_sql_unsuppress_contact);

static void
check_scope(Datum value)
{
	char *scope = TextDatumGetCString(value);

	if (strcmp(scope, "all") != 0 && strcmp(scope, "promotional") != 0)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("scope of a suppression must be all or promotional"),
			errhint(
				"promotional lets transactional messages through, all does not."));
}

/* An address as the table has it. */
static Datum
fold_address(Datum address)
{
	return CStringGetTextDatum(pgj_fold_lower(TextDatumGetCString(address)));
}

static void
check_time(TimestampTz at)
{
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time of a suppression must be finite"));
}

/*
 * The gate asks about an address only if it can be sent to, so a suppression
 * of anything else would be taken and never match.
 */
static void
check_address(Datum value)
{
	char *address = TextDatumGetCString(value);

	if (!pgj_address_is_email(address) && !pgj_address_is_phone(address))
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("\"%s\" is not an address", address),
			errhint(
				"Write it as it is sent to, without name or blanks: ann@example.com, or +447700900003. journey.suppress_contact() is by contact."));
}

/*
 * journey.suppress(channel text, address text, reason text, at timestamptz,
 *					scope text)
 */
Datum
pgj_sql_suppress(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "channel", "address", "reason", "at",
										 "scope" };
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.suppression AS s (channel, address, reason, at, scope) "
			"VALUES ($1, $2, $3, $4, $5) "
			"ON CONFLICT (channel, address) DO UPDATE SET reason = EXCLUDED.reason, at = EXCLUDED.at, scope = EXCLUDED.scope "
			"WHERE s.scope OPERATOR(pg_catalog.=) EXCLUDED.scope OR EXCLUDED.scope OPERATOR(pg_catalog.=) 'all'"
	};
	const Site *site = pgj_site();
	Datum address;
	SavedUser saved;
	Params params;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	check_time(PG_GETARG_TIMESTAMPTZ(3));
	check_scope(PG_GETARG_DATUM(4));
	check_address(PG_GETARG_DATUM(1));
	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_require_channel(site, PG_GETARG_DATUM(0));
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(0));
	address = fold_address(PG_GETARG_DATUM(1));
	pgj_params_scalar(&params, TEXTOID, address);
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(2));
	pgj_params_scalar(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(3));
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(4));
	(void) pgj_plan_execute(&plan, &params);
	pgj_outlast_address(TextDatumGetCString(PG_GETARG_DATUM(0)),
						TextDatumGetCString(address));
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

/*
 * journey.unsuppress(channel text, address text) returns boolean
 *
 * Its soft bounces are forgotten too, or the next one would suppress it at once.
 */
Datum
pgj_sql_unsuppress(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "channel", "address" };
	static KeptPlan forget = {
		.sql =
			"DELETE FROM journey_state.soft_bounce AS b "
			"WHERE b.channel OPERATOR(pg_catalog.=) $1 AND b.address OPERATOR(pg_catalog.=) $2"
	};
	static KeptPlan plan = {
		.sql =
			"DELETE FROM journey_state.suppression AS s "
			"WHERE s.channel OPERATOR(pg_catalog.=) $1 AND s.address OPERATOR(pg_catalog.=) $2"
	};
	const Site *site = pgj_site();
	SavedUser saved;
	Params params;
	bool found;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_require_channel(site, PG_GETARG_DATUM(0));
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(0));
	pgj_params_scalar(&params, TEXTOID, fold_address(PG_GETARG_DATUM(1)));
	(void) pgj_plan_execute(&forget, &params);
	found = pgj_plan_execute(&plan, &params) > 0;
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_BOOL(found);
}

static bool
is_all_channels(Datum channel)
{
	return strcmp(TextDatumGetCString(channel), "*") == 0;
}

/*
 * journey.suppress_contact(contact anyelement, reason text, channel text,
 *							scope text, at timestamptz)
 */
Datum
pgj_sql_suppress_contact(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "contact", "reason", "channel",
										 "scope", "at" };
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.suppressed_contact AS s (contact, channel, reason, scope, at) "
			"VALUES ($1, $2, $3, $4, $5) "
			"ON CONFLICT (contact, channel) DO UPDATE SET reason = EXCLUDED.reason, at = EXCLUDED.at, scope = EXCLUDED.scope "
			"WHERE s.scope OPERATOR(pg_catalog.=) EXCLUDED.scope OR EXCLUDED.scope OPERATOR(pg_catalog.=) 'all'"
	};
	const Site *site = pgj_site();
	Datum contact;
	SavedUser saved;
	Params params;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	contact = pgj_argument_contact(fcinfo, site, 0);
	if (pgj_key_too_long(site, contact))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("key of a contact must not have more than %d bytes",
					   PGJ_MAX_KEY));
	check_scope(PG_GETARG_DATUM(3));
	check_time(PG_GETARG_TIMESTAMPTZ(4));

	saved = pgj_become_owner(site);
	SPI_connect();
	if (!is_all_channels(PG_GETARG_DATUM(2)))
		pgj_require_channel(site, PG_GETARG_DATUM(2));
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, contact);
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(2));
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(1));
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(3));
	pgj_params_scalar(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(4));
	(void) pgj_plan_execute(&plan, &params);
	pgj_outlast_contact(site, contact);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

/*
 * journey.unsuppress_contact(contact anyelement, channel text) returns boolean
 */
Datum
pgj_sql_unsuppress_contact(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "contact", "channel" };
	static KeptPlan plan = {
		.sql = "DELETE FROM journey_state.suppressed_contact AS s "
			   "WHERE s.contact = $1 AND s.channel OPERATOR(pg_catalog.=) $2"
	};
	const Site *site = pgj_site();
	Datum contact;
	SavedUser saved;
	Params params;
	bool found;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	contact = pgj_argument_contact(fcinfo, site, 0);
	saved = pgj_become_owner(site);
	SPI_connect();
	if (!is_all_channels(PG_GETARG_DATUM(1)))
		pgj_require_channel(site, PG_GETARG_DATUM(1));
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, contact);
	pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(1));
	found = pgj_plan_execute(&plan, &params) > 0;
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_BOOL(found);
}
