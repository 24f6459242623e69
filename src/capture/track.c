/*-------------------------------------------------------------------------
 *
 * track.c
 *	  Events by call: journey.track(), journey.enroll(), journey.retry().
 *
 * Nothing here parses or runs what an author wrote, so EXECUTE on the function
 * is the permission: the journey owner's members have it, and an application's
 * role may be given it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "capture/event.h"
#include "contact/site.h"
#include "pg_journey.h"

#define MAX_EVENT_KEY 200

PG_FUNCTION_INFO_V1(pgj_sql_track);
PG_FUNCTION_INFO_V1(pgj_sql_enroll);
PG_FUNCTION_INFO_V1(pgj_sql_retry);

static void
require_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s must not be null", name));
}

/* A contact given as any type, through its text. */
static Datum
contact_argument(FunctionCallInfo fcinfo, int number, const Site *site)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, number);
	Oid output;
	bool varlena;

	require_argument(fcinfo, number, "contact");
	if (!OidIsValid(type))
		elog(ERROR, "could not determine the type of contact");
	if (type == site->key_type)
		return PG_GETARG_DATUM(number);
	getTypeOutputInfo(type, &output, &varlena);
	return pgj_key_from_text(
		site, OidOutputFunctionCall(output, PG_GETARG_DATUM(number)));
}

static SavedUser
become_owner_restricted(const Site *site)
{
	SavedUser saved = pgj_become_owner(site);

	SetUserIdAndSecContext(site->owner, saved.context |
											SECURITY_LOCAL_USERID_CHANGE |
											SECURITY_RESTRICTED_OPERATION);
	return saved;
}

/*
 * Claim an id for a new event by inserting it, together with the number the
 * event is going to have.  False if the contact has had the id already: then
 * *event_id is the first event's.
 */
static bool
claim_key(const Site *site, Datum contact, const char *key, const char *event,
		  TimestampTz at, int64 *event_id)
{
	Oid types[3] = { site->key_type, TEXTOID, TIMESTAMPTZOID };
	Datum values[3] = { contact, CStringGetTextDatum(key),
						TimestampTzGetDatum(at) };
	SavedUser saved = become_owner_restricted(site);
	bool isnull;
	bool claimed;
	int rc;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rc = SPI_execute_with_args(
		"INSERT INTO journey_state.event_key (contact, key, event_id, at)"
		" VALUES ($1, $2, pg_catalog.nextval('journey_state.event_id_seq'), $3)"
		" ON CONFLICT (contact, key) DO NOTHING RETURNING event_id",
		3, types, values, NULL, false, 1);
	if (rc != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not claim an event key: %s",
			 SPI_result_code_string(rc));
	claimed = SPI_processed == 1;
	if (!claimed)
	{
		rc = SPI_execute_with_args(
			"SELECT k.event_id, (SELECT e.name FROM journey_state.event e"
			"  WHERE e.contact OPERATOR(pg_catalog.=) $1 AND e.at OPERATOR(pg_catalog.=) k.at"
			"  AND e.event_id OPERATOR(pg_catalog.=) k.event_id)"
			" FROM journey_state.event_key k"
			" WHERE k.contact OPERATOR(pg_catalog.=) $1 AND k.key OPERATOR(pg_catalog.=) $2",
			2, types, values, NULL, false, 1);
		if (rc != SPI_OK_SELECT || SPI_processed != 1)
			ereport(
				ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg(
					"could not serialize access: event id \"%s\" was recorded by a concurrent transaction",
					key));
	}
	*event_id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
	if (!claimed)
	{
		char *name =
			SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);

		if (name != NULL && strcmp(name, event) != 0)
			ereport(
				ERROR, errcode(ERRCODE_UNIQUE_VIOLATION),
				errmsg(
					"id \"%s\" was given to event \"%s\" of this contact, not to \"%s\"",
					key, name, event));
	}
	SPI_finish();
	pgj_become_caller(saved);
	return claimed;
}

static void
check_event(const Site *site, const EventRow *row)
{
	const char *problem =
		pgj_event_problem(site, row->contact, row->at, row->properties);

	if (problem != NULL)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s", problem));
}

Datum
pgj_sql_track(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	EventRow row = { 0 };
	char *name;

	row.contact = contact_argument(fcinfo, 0, site);
	require_argument(fcinfo, 1, "event");
	require_argument(fcinfo, 2, "properties");
	require_argument(fcinfo, 3, "at");
	row.name = name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	row.properties = PG_GETARG_DATUM(2);
	row.at = PG_GETARG_TIMESTAMPTZ(3);
	pgj_event_check_name(name);
	check_event(site, &row);
	if (!PG_ARGISNULL(4))
	{
		char *key = text_to_cstring(PG_GETARG_TEXT_PP(4));

		if (key[0] == '\0' || strlen(key) > MAX_EVENT_KEY)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("id of an event must have 1 to %d bytes",
						   MAX_EVENT_KEY));
		if (!claim_key(site, row.contact, key, name, row.at, &row.event_id))
			PG_RETURN_INT64(row.event_id);
		pgj_event_append_numbered(site, &row);
	}
	else
		pgj_event_append(site, &row, 1);
	PG_RETURN_INT64(row.event_id);
}

/* {first_name: first, second_name: second}; a null second is left out. */
static Datum
make_properties(const char *first_name, JsonbValue first,
				const char *second_name, const char *second)
{
	JsonbParseState *state = NULL;
	JsonbValue value;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	value.type = jbvString;
	value.val.string.val = unconstify(char *, first_name);
	value.val.string.len = strlen(first_name);
	pushJsonbValue(&state, WJB_KEY, &value);
	pushJsonbValue(&state, WJB_VALUE, &first);
	if (second != NULL)
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, second_name);
		value.val.string.len = strlen(second_name);
		pushJsonbValue(&state, WJB_KEY, &value);
		value.val.string.val = unconstify(char *, second);
		value.val.string.len = strlen(second);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return JsonbPGetDatum(
		JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

static void
check_callable(const Site *site, const char *journey)
{
	Oid types[1] = { TEXTOID };
	Datum values[1] = { CStringGetTextDatum(journey) };
	SavedUser saved = become_owner_restricted(site);
	bool isnull;
	char *status;
	bool callable;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(
			"SELECT j.status, EXISTS (SELECT FROM journey.entry e"
			"  WHERE e.version_id OPERATOR(pg_catalog.=) j.version_id"
			"  AND e.kind OPERATOR(pg_catalog.=) 'call')"
			" FROM journey.journey j"
			" WHERE j.name OPERATOR(pg_catalog.=) $1 AND j.status OPERATOR(pg_catalog.<>) 'dropped'",
			1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read journey.journey");
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("journey \"%s\" does not exist", journey));
	status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	callable = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 2, &isnull));
	if (strcmp(status, "active") != 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("journey \"%s\" is not active", journey),
				errdetail("Its status is \"%s\".", status));
	if (!callable)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("journey \"%s\" has no ON CALL entry", journey));
	SPI_finish();
	pgj_become_caller(saved);
}

Datum
pgj_sql_enroll(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	EventRow row = { 0 };
	JsonbValue journey;
	char *name;
	char *key = NULL;

	require_argument(fcinfo, 0, "journey");
	row.contact = contact_argument(fcinfo, 1, site);
	require_argument(fcinfo, 3, "at");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!PG_ARGISNULL(2))
	{
		key = text_to_cstring(PG_GETARG_TEXT_PP(2));
		if (strlen(key) > PGJ_MAX_KEY)
			ereport(
				ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("key must not have more than %d bytes", PGJ_MAX_KEY));
	}
	check_callable(site, name);

	journey.type = jbvString;
	journey.val.string.val = name;
	journey.val.string.len = strlen(name);
	row.name = PGJ_EVENT_CALL;
	row.properties = make_properties("journey", journey, "key", key);
	row.at = PG_GETARG_TIMESTAMPTZ(3);
	check_event(site, &row);
	pgj_event_append(site, &row, 1);
	PG_RETURN_INT64(row.event_id);
}

/* The contact of a parked enrollment. */
static Datum
find_parked(const Site *site, int64 enrollment)
{
	MemoryContext caller_context = CurrentMemoryContext;
	Oid types[1] = { INT8OID };
	Datum values[1] = { Int64GetDatum(enrollment) };
	SavedUser saved = become_owner_restricted(site);
	MemoryContext old;
	Datum contact;
	bool isnull;
	char *status;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	if (SPI_execute_with_args(
			"SELECT r.contact, r.status FROM journey_state.enrollment r"
			" WHERE r.enrollment_id OPERATOR(pg_catalog.=) $1 AND r.status OPERATOR(pg_catalog.=) 'parked'",
			1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read journey_state.enrollment");
	/* only parked ones are found by an index: what is it, if it is none? */
	if (SPI_processed == 0 &&
		SPI_execute_with_args(
			"SELECT r.contact, r.status FROM journey_state.enrollment r"
			" WHERE r.enrollment_id OPERATOR(pg_catalog.=) $1",
			1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read journey_state.enrollment");
	if (SPI_processed == 0)
		ereport(
			ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("enrollment %lld does not exist", (long long) enrollment));
	status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (strcmp(status, "parked") != 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("enrollment %lld is not parked", (long long) enrollment),
				errdetail("Its status is \"%s\".", status));
	old = MemoryContextSwitchTo(caller_context);
	contact = datumCopy(
		SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull),
		site->key_typbyval, site->key_typlen);
	MemoryContextSwitchTo(old);
	SPI_finish();
	pgj_become_caller(saved);
	return contact;
}

Datum
pgj_sql_retry(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	EventRow row = { 0 };
	JsonbValue enrollment;

	row.contact = find_parked(site, PG_GETARG_INT64(0));
	enrollment.type = jbvNumeric;
	enrollment.val.numeric = int64_to_numeric(PG_GETARG_INT64(0));
	row.name = PGJ_EVENT_RETRY;
	row.properties = make_properties("enrollment", enrollment, NULL, NULL);
	row.at = PG_GETARG_TIMESTAMPTZ(1);
	check_event(site, &row);
	pgj_event_append(site, &row, 1);
	PG_RETURN_INT64(row.event_id);
}
