/*-------------------------------------------------------------------------
 *
 * consent_request.c
 *	  Double opt-in: consent is asked for, and given with a token.
 *
 * The token goes to the address that is to be confirmed and nowhere else: only
 * its SHA-256 is kept.  It is of use once: whoever confirms locks the request's
 * row first.  A withdrawal dated after the request wins over the confirmation,
 * whichever commits first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/argument.h"
#include "gate/consent.h"
#include "pg_journey.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_request_consent);
PG_FUNCTION_INFO_V1(pgj_sql_confirm_consent);

#define TOKEN_BYTES 32

static Datum
make_token(void)
{
	uint8 random[TOKEN_BYTES];
	char token[TOKEN_BYTES * 2 + 1];

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not generate random values"));
	hex_encode((char *) random, sizeof(random), token);
	token[sizeof(token) - 1] = '\0';
	return CStringGetTextDatum(token);
}

/* When a request made at a time expires. */
static TimestampTz
expiry(TimestampTz at, const Interval *expires_in)
{
	Interval longest = { .month = MONTHS_PER_YEAR };
	TimestampTz expires_at;

	pgj_consent_require_finite(at);
	if (!pgj_time_in_range(at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("at must be in the years 1 to 9999"));
	if (DatumGetBool(DirectFunctionCall2(interval_gt,
										 IntervalPGetDatum(expires_in),
										 IntervalPGetDatum(&longest))))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("expires_in must be at most one year"));
	expires_at = pgj_time_plus(at, expires_in);
	if (expires_at <= at)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("expires_in must be longer than nothing"));
	return expires_at;
}

/*
 * journey.request_consent(contact anyelement, channel text, topic text, source
 *		text, expires_in interval, at timestamptz, proof text, ip inet)
 *		returns text: the token
 */
Datum
pgj_sql_request_consent(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "contact", "channel",	  "topic",
										 "source",	"expires_in", "at",
										 NULL,		NULL };
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.consent_request (request_id, contact, channel, topic, source, at, expires_at, digest, proof, ip) "
			"VALUES (pg_catalog.nextval('journey_state.row_id_seq'), $1, $2, $3, $4, $5, $6, "
			"pg_catalog.sha256(pg_catalog.convert_to($7, 'UTF8')), $8, $9)"
	};
	const Site *site = pgj_site();
	Datum token;
	Datum contact;
	TimestampTz expires_at;
	SavedUser saved;
	Params params;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	contact = pgj_consent_contact(fcinfo, site);
	expires_at = expiry(PG_GETARG_TIMESTAMPTZ(5), PG_GETARG_INTERVAL_P(4));
	token = make_token();

	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_require_channel(site, PG_GETARG_DATUM(1));
	pgj_require_topic(site, PG_GETARG_DATUM(2));
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, contact);
	for (int i = 1; i <= 3; i++)
		pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(i));
	pgj_params_scalar(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(5));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(expires_at));
	pgj_params_scalar(&params, TEXTOID, token);
	pgj_params_nullable(&params, TEXTOID, PG_GETARG_DATUM(6), PG_ARGISNULL(6));
	pgj_params_nullable(&params, INETOID, PG_GETARG_DATUM(7), PG_ARGISNULL(7));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_DATUM(token);
}

typedef struct Request
{
	int64 id;
	TimestampTz at;
	TimestampTz expires_at;
	bool confirmed;
} Request;

/*
 * Find and lock the request of a token, and prepare the grant that it asks for.
 * False: there is none.
 */
static bool
read_request(const Site *site, Datum token, Request *request,
			 ConsentChanges *change)
{
	static KeptPlan plan = {
		.sql =
			"SELECT q.request_id, q.at, q.expires_at, q.confirmed_at IS NOT NULL, q.contact, q.channel, q.topic, q.source, q.proof, q.ip "
			"FROM journey_state.consent_request AS q "
			"WHERE q.digest OPERATOR(pg_catalog.=) pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8')) FOR UPDATE"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TEXTOID, token);
	if (pgj_plan_execute(&plan, &params) == 0)
		return false;

	request->id = pgj_row_int8(0, 1, 0);
	request->at = DatumGetTimestampTz(pgj_row_value(0, 2));
	request->expires_at = DatumGetTimestampTz(pgj_row_value(0, 3));
	request->confirmed = DatumGetBool(pgj_row_value(0, 4));
	change->contact[0] = pgj_row_copy(context, 0, 5);
	change->channel[0] = pgj_row_copy(context, 0, 6);
	change->topic[0] = pgj_row_copy(context, 0, 7);
	change->source = pgj_row_copy(context, 0, 8);
	change->no_proof[0] = pgj_row_null(0, 9);
	if (!change->no_proof[0])
		change->proof[0] = pgj_row_copy(context, 0, 9);
	change->no_ip[0] = pgj_row_null(0, 10);
	if (!change->no_ip[0])
		change->ip[0] = pgj_row_copy(context, 0, 10);
	change->granted[0] = BoolGetDatum(true);
	change->request_id = request->id;
	change->asked_at = request->at;
	return true;
}

/*
 * Has the contact withdrawn what was asked for since then?  Looked for in the
 * log: another grant may stand in the state again.
 */
static bool
withdrawn_since(const Site *site, const ConsentChanges *change,
				TimestampTz since)
{
	static KeptPlan plan = {
		.sql = "SELECT FROM journey_state.consent_log AS g "
			   "WHERE g.contact = $1 AND g.channel OPERATOR(pg_catalog.=) $2 "
			   "AND g.topic OPERATOR(pg_catalog.=) ANY (ARRAY[$3, '*']) "
			   "AND NOT g.granted AND g.at OPERATOR(pg_catalog.>=) $4 LIMIT 1"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, change->contact[0]);
	pgj_params_scalar(&params, TEXTOID, change->channel[0]);
	pgj_params_scalar(&params, TEXTOID, change->topic[0]);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(since));
	return pgj_plan_execute(&plan, &params) > 0;
}

/* What the state says of it now; this transaction has the row locked. */
static bool
is_granted(const Site *site, const ConsentChanges *change)
{
	static KeptPlan plan = {
		.sql =
			"SELECT FROM journey_state.consent AS k WHERE k.contact = $1 AND k.channel OPERATOR(pg_catalog.=) $2 "
			"AND k.topic OPERATOR(pg_catalog.=) $3 AND k.granted"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, change->contact[0]);
	pgj_params_scalar(&params, TEXTOID, change->channel[0]);
	pgj_params_scalar(&params, TEXTOID, change->topic[0]);
	return pgj_plan_execute(&plan, &params) > 0;
}

static void
mark_confirmed(const Site *site, int64 request_id, TimestampTz at)
{
	static KeptPlan plan = {
		.sql =
			"UPDATE journey_state.consent_request AS q SET confirmed_at = $2 WHERE q.request_id OPERATOR(pg_catalog.=) $1"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(request_id));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	(void) pgj_plan_execute(&plan, &params);
}

/*
 * The rows of the contact and channel are locked before the log is read: a
 * withdrawal under way that found rows has them.  One that found none may
 * commit a row of its own meanwhile; that row is not overwritten.
 */
static const char *
confirm(const Site *site, Request *request, ConsentChanges *change, Name set_by)
{
	TimestampTz at = DatumGetTimestampTz(change->at[0]);

	if (request->confirmed)
		return "used";
	if (at >= request->expires_at)
		return "expired";
	pgj_consent_lock(site, change->contact, change->channel, 1, false);
	if (withdrawn_since(site, change, request->at))
		return "withdrawn";
	pgj_consent_write(site, change);
	if (!change->applied[0] && !is_granted(site, change))
		return "withdrawn";
	pgj_consent_log(site, change, set_by);
	mark_confirmed(site, request->id, at);
	return "confirmed";
}

/*
 * journey.confirm_consent(token text, at timestamptz, proof text, ip inet)
 *		returns text: confirmed, used, expired, withdrawn or unknown
 */
Datum
pgj_sql_confirm_consent(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "token", "at", NULL, NULL };
	const Site *site = pgj_site();
	Name set_by = pgj_consent_set_by();
	ConsentChanges *change = pgj_consent_changes(1);
	const char *outcome = "unknown";
	Request request;
	SavedUser saved;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	pgj_consent_require_finite(PG_GETARG_TIMESTAMPTZ(1));

	saved = pgj_become_owner(site);
	SPI_connect();
	if (read_request(site, PG_GETARG_DATUM(0), &request, change))
	{
		change->at[0] = PG_GETARG_DATUM(1);
		if (!PG_ARGISNULL(2))
			change->proof[0] = PG_GETARG_DATUM(2);
		if (!PG_ARGISNULL(3))
			change->ip[0] = PG_GETARG_DATUM(3);
		change->no_proof[0] &= PG_ARGISNULL(2);
		change->no_ip[0] &= PG_ARGISNULL(3);
		outcome = confirm(site, &request, change, set_by);
	}
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_TEXT_P(cstring_to_text(outcome));
}
