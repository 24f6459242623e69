/*-------------------------------------------------------------------------
 *
 * administer.c
 *	  Adopt a copy, issue the site token, grant roles, maintain partitions.
 *
 * Users change here as in attach.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "contact/elevate.h"
#include "contact/site.h"
#include "gate/refresh.h"
#include "pg_journey.h"
#include "wakeup.h"

#define MAX_YEARS_AHEAD 10

PG_FUNCTION_INFO_V1(pgj_sql_adopt);
PG_FUNCTION_INFO_V1(pgj_sql_issue_site_token);
PG_FUNCTION_INFO_V1(pgj_sql_grant_role);
PG_FUNCTION_INFO_V1(pgj_sql_maintain);

void
pgj_maintain_as(Oid owner, TimestampTz at, Interval *ahead)
{
	Oid types[2] = { TIMESTAMPTZOID, INTERVALOID };
	Datum values[2] = { TimestampTzGetDatum(at), IntervalPGetDatum(ahead) };
	SavedUser saved = pgj_become(owner);

	pgj_run_with("SELECT journey._maintain($1, $2)", 2, types, values, NULL);
	pgj_become_caller(saved);
}

/*
 * What happened to the watched tables meanwhile is not known: all segments are
 * compiled and scanned anew.
 */
void
pgj_segments_anew_as(Oid owner)
{
	Oid types[1] = { TIMESTAMPTZOID };
	Datum values[1] = { TimestampTzGetDatum(pgj_clock_now()) };
	SavedUser saved = pgj_become(owner);

	pgj_run_with("SELECT journey._segments_anew($1, " PGJ_COMMITTED_SNAPSHOT
				 ")",
				 1, types, values, NULL);
	pgj_become_caller(saved);
}

/*
 * Make a copied database the one that sends.
 *
 * Transaction ids of the original mean nothing here.  Events that the original
 * had not processed, and those captured since the copy was made (xid null), come
 * back as timers; all events lose an xid that this cluster has yet to give out;
 * and every slice's progress starts from the snapshot of now.  Writers are kept
 * out meanwhile: one that believes the database a copy must not commit later.
 */
static void
adopt_state(Oid owner)
{
	SavedUser saved = pgj_become(owner);

	pgj_run("LOCK TABLE journey_state.event IN SHARE ROW EXCLUSIVE MODE");
	pgj_run(
		"SELECT s.slice FROM journey_state.slice s ORDER BY s.slice FOR UPDATE");
	pgj_run(
		"WITH progress AS ("
		"  SELECT DISTINCT ON (p.slice) p.* FROM journey_state.progress p"
		"  WHERE p.lane OPERATOR(pg_catalog.=) 'engine' ORDER BY p.slice, p.seq DESC)"
		" INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)"
		" SELECT e.slice, GREATEST(e.at, p.due_at), pg_catalog.nextval('journey_state.row_id_seq'),"
		"  e.contact, e.event_id, e.at"
		" FROM journey_state.event e LEFT JOIN progress p ON p.slice OPERATOR(pg_catalog.=) e.slice"
		" WHERE e.xid IS NULL"
		"  OR e.xid OPERATOR(pg_catalog.<>) '0'" /* done when it was written */
		"  AND NOT COALESCE(pg_catalog.pg_visible_in_snapshot(e.xid, p.seen), false)"
		"  AND NOT COALESCE(pg_catalog.pg_visible_in_snapshot(e.xid, p.upto)"
		"   AND e.event_id OPERATOR(pg_catalog.<=) p.after_event, false)");
	pgj_run(
		"UPDATE journey_state.event SET xid = NULL"
		" WHERE xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())");
	pgj_run(
		"INSERT INTO journey_state.progress (slice, lane, seq, at, seen, due_at, due_id)"
		" SELECT s.slice, 'engine', COALESCE(p.seq, 0) OPERATOR(pg_catalog.+) 1,"
		"  pg_catalog.clock_timestamp(), " PGJ_COMMITTED_SNAPSHOT ","
		"  COALESCE(p.due_at, '-infinity'), COALESCE(p.due_id, 0)"
		" FROM journey_state.slice s LEFT JOIN LATERAL ("
		"  SELECT q.* FROM journey_state.progress q"
		"  WHERE q.slice OPERATOR(pg_catalog.=) s.slice AND q.lane OPERATOR(pg_catalog.=) 'engine'"
		"  ORDER BY q.seq DESC LIMIT 1) p ON true");
	pgj_become_caller(saved);
	pgj_segments_anew_as(owner);
}

Datum
pgj_sql_adopt(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	Oid types[2] = { INT8OID, OIDOID };
	Datum values[2];
	SavedUser saved;

	pgj_require_administrator(site->owner);
	if (!site->is_copy)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("this database is no copy; there is nothing to adopt"));
	if (IsolationUsesXactSnapshot())
		ereport(
			ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			errmsg(
				"journey.adopt() must run at isolation level READ COMMITTED"));

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	adopt_state(site->owner);
	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	saved = pgj_become_extension_owner();
	pgj_run_with(
		"UPDATE journey.site SET system_identifier = $1, database_oid = $2", 2,
		types, values, NULL);

	/* a template copy brought the original's token along */
	pgj_run("DELETE FROM journey.site_token");
	pgj_become_caller(saved);
	SPI_finish();
	pgj_announce_site_at_commit();
	PG_RETURN_VOID();
}

Datum
pgj_sql_issue_site_token(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	uint8 random[32];
	char token[sizeof(random) * 2 + 1];
	Oid types[2] = { TEXTOID, TIMESTAMPTZOID };
	Datum values[2];
	SavedUser saved;

	pgj_require_administrator(site->owner);
	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not generate random values"));
	hex_encode((char *) random, sizeof(random), token);
	token[sizeof(token) - 1] = '\0';

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	values[0] = CStringGetTextDatum(token);
	values[1] = TimestampTzGetDatum(pgj_clock_now());
	saved = pgj_become_extension_owner();
	pgj_run_with(
		"INSERT INTO journey.site_token (digest, issued_at)"
		" VALUES (pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8')), $2)"
		" ON CONFLICT (one) DO UPDATE SET digest = excluded.digest, issued_at = excluded.issued_at",
		2, types, values, NULL);
	pgj_become_caller(saved);
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(token));
}

/*
 * Grant EXECUTE on the functions of our schema that a condition over pg_proc p
 * selects; the functions differ between versions, the kinds do not.
 */
static void
grant_functions(const char *role, const char *condition)
{
	SPITupleTable *rows;
	uint64 nrows;

	pgj_run(psprintf(
		"SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %%s TO %%s', p.oid::pg_catalog.regprocedure, %s)"
		" FROM pg_catalog.pg_proc p"
		" WHERE p.pronamespace OPERATOR(pg_catalog.=) 'journey'::pg_catalog.regnamespace"
		" AND NOT pg_catalog.starts_with(p.proname::pg_catalog.text, '_') AND (%s) ORDER BY p.oid",
		quote_literal_cstr(role), condition));
	rows = SPI_tuptable;
	nrows = SPI_processed;
	for (uint64 i = 0; i < nrows; i++)
		pgj_run(SPI_getvalue(rows->vals[i], rows->tupdesc, 1));
}

static void
grant_reading(Oid owner, const char *role)
{
	SavedUser saved = pgj_become(owner);

	pgj_run(psprintf("GRANT USAGE ON SCHEMA journey_state TO %s;"
					 "GRANT SELECT ON ALL TABLES IN SCHEMA journey_state TO %s",
					 role, role));
	pgj_become_caller(saved);
	saved = pgj_become_extension_owner();
	pgj_run(psprintf(
		"GRANT SELECT ON ALL TABLES IN SCHEMA journey TO %s;"
		"REVOKE ALL ON journey.site_token FROM %s;"
		"GRANT SELECT (issued_at) ON journey.site_token TO %s;"
		"GRANT EXECUTE ON FUNCTION journey._require_plain_state(), journey._diagram(integer),"
		" journey._check_rfm_thresholds, journey._make_cap, journey._check_list, journey._check_window,"
		" journey._counted, journey._make_quota, journey._make_entry_cap, journey._check_back, journey._preview_cap, journey._caps_exceeded TO %s",
		role, role, role, role));
	grant_functions(role, "p.provolatile OPERATOR(pg_catalog.<>) 'v'");
	pgj_become_caller(saved);
}

Datum
pgj_sql_grant_role(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	Oid owner = site->owner;
	char *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid grantee = get_role_oid(NameStr(*PG_GETARG_NAME(1)), false);
	const char *role = quote_identifier(pgj_role_name(grantee));
	bool author = strcmp(kind, "author") == 0;
	bool operator= strcmp(kind, "operator") == 0;
	bool analyst = strcmp(kind, "analyst") == 0;
	bool relay = strcmp(kind, "relay") == 0;
	SavedUser saved;

	if (!author && !operator&& !analyst && !relay)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" is not a kind of role", kind),
				errhint("The kinds are author, operator, analyst and relay."));
	pgj_require_administrator(owner);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/* whether the caller may hand out a membership is for the server to say */
	if (author)
		pgj_run(psprintf("GRANT %s TO %s",
						 quote_identifier(pgj_role_name(owner)), role));
	else
	{
		saved = pgj_become_extension_owner();
		pgj_run(psprintf("GRANT USAGE ON SCHEMA journey TO %s", role));
		if (operator)
			grant_functions(
				role,
				"p.proname OPERATOR(pg_catalog.=) ANY ('{pause,resume,retry,retry_message,health,maintain}'::pg_catalog.name[])");
		if (relay)
			grant_functions(
				role,
				"p.proname OPERATOR(pg_catalog.=) ANY ('{open_relay,claim,report}'::pg_catalog.name[])");
		pgj_become_caller(saved);
		if (operator|| analyst)
			grant_reading(owner, role);
	}
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
pgj_sql_maintain(PG_FUNCTION_ARGS)
{
	Oid owner = pgj_site()->owner;
	TimestampTz at = PG_GETARG_TIMESTAMPTZ(0);
	Interval *ahead = PG_GETARG_INTERVAL_P(1);
	Interval longest = { .month = MAX_YEARS_AHEAD * MONTHS_PER_YEAR };

	/* a month is eight partitions, and there is no end to infinity */
	if (TIMESTAMP_NOT_FINITE(at) || !pgj_time_in_range(at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("at must be in the years 1 to 9999"));
	if (DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(ahead),
										 IntervalPGetDatum(&longest))))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("ahead must be at most %d years", MAX_YEARS_AHEAD));

	/* takes its time, so before anything is locked that writers need */
	pgj_engagement_maintain(pgj_site(), at);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pgj_maintain_as(owner, at, ahead);
	SPI_finish();
	PG_RETURN_VOID();
}
