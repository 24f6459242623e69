/*-------------------------------------------------------------------------
 *
 * definition.c
 *	  journey.create_segment(), alter_segment(), drop_segment(),
 *	  resume_segment(), refresh_segment().
 *
 * Definitions change one at a time, under pgj_segment_lock_definitions().  The
 * order of locks is in watch.c.
 *
 * create_segment and alter_segment have no SET search_path: they must see the
 * author's, by which the names in the predicate resolve.  Every statement here
 * qualifies everything.
 *
 * An altered segment keeps its number and its memberships; they hold until the
 * scan has been over them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "pg_journey.h"
#include "segment/compile.h"
#include "segment/definition.h"
#include "segment/record.h"
#include "segment/segment.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(pgj_sql_create_segment);
PG_FUNCTION_INFO_V1(pgj_sql_alter_segment);
PG_FUNCTION_INFO_V1(pgj_sql_drop_segment);
PG_FUNCTION_INFO_V1(pgj_sql_resume_segment);
PG_FUNCTION_INFO_V1(pgj_sql_refresh_segment);

#define MAX_PREDICATE (64 * 1024)

/* -------- arguments -------- */

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > SEGMENT_MAX_NAME)
		ereport(ERROR, errcode(ERRCODE_INVALID_NAME),
				errmsg("name of a segment must have 1 to %d bytes",
					   SEGMENT_MAX_NAME));
	for (const char *c = name; *c; c++)
		if ((unsigned char) *c < ' ' || *c == '\177')
			ereport(
				ERROR, errcode(ERRCODE_INVALID_NAME),
				errmsg("name of a segment must not have control characters"));
}

static char *
text_argument(FunctionCallInfo fcinfo, int number, const char *what)
{
	if (PG_ARGISNULL(number))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s of a segment must not be null", what));
	return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

static char *
predicate_argument(FunctionCallInfo fcinfo, int number)
{
	char *predicate = text_argument(fcinfo, number, "predicate");

	if (strlen(predicate) > MAX_PREDICATE)
		ereport(
			ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			errmsg("predicate of a segment must not be longer than %d bytes",
				   MAX_PREDICATE));
	return predicate;
}

/* Do those who match already enter as an event? */
static bool
existing_argument(FunctionCallInfo fcinfo, int number)
{
	char *existing = text_argument(fcinfo, number, "existing");

	if (pg_strcasecmp(existing, "enter") == 0)
		return true;
	if (pg_strcasecmp(existing, "ignore") == 0)
		return false;
	ereport(
		ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		errmsg("\"%s\" is not a choice of existing", existing),
		errhint(
			"ignore: contacts for whom the predicate holds already become members silently; enter: they enter, as an event that starts journeys."));
}

static char *
timezone_argument(FunctionCallInfo fcinfo, int number)
{
	char *timezone = text_argument(fcinfo, number, "timezone");
	pg_tz *tz = pg_tzset(timezone);

	if (tz == NULL || !pg_tz_acceptable(tz))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time zone \"%s\" is not known", timezone),
				errhint("See pg_timezone_names."));
	return timezone;
}

static Interval *
refresh_argument(FunctionCallInfo fcinfo, int number)
{
	static const Interval minute = { .time = USECS_PER_MINUTE };
	Interval *every;

	if (PG_ARGISNULL(number))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("refresh_every of a segment must not be null"));
	every = PG_GETARG_INTERVAL_P(number);
	if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(every),
										 IntervalPGetDatum(&minute))) ||
		every->month < 0 || every->day < 0 || every->time < 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("refresh_every must be a minute or more"));
	return every;
}

static char *
interval_text(const Interval *interval)
{
	return DatumGetCString(
		DirectFunctionCall1(interval_out, IntervalPGetDatum(interval)));
}

static TimestampTz
time_argument(FunctionCallInfo fcinfo, int number)
{
	TimestampTz at;

	if (PG_ARGISNULL(number))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("at must not be null"));
	at = PG_GETARG_TIMESTAMPTZ(number);
	if (!pgj_time_in_range(at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("at must be in the years 1 to 9999"));
	return at;
}

/*
 * The author's search_path as it is now: "$user" must go on to mean the author
 * when the predicate is compiled again.
 */
static char *
current_path(void)
{
	StringInfoData path;
	ListCell *lc;

	initStringInfo(&path);
	foreach (lc, fetch_search_path(false))
	{
		char *name = get_namespace_name(lfirst_oid(lc));

		if (name)
			appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "",
							 quote_identifier(name));
	}
	return path.len > 0 ? path.data : "pg_catalog";
}

/* -------- what is there -------- */

typedef struct Stored
{
	int segment_id;
	char *predicate;
	char *search_path;
	char *timezone;
	char *refresh_every;
	char *status;
	int revision;
	bool announce; /* resuming it: contacts found to differ do so as an event */
} Stored;

/*
 * A segment by name, within SPI.  Its row is not locked: definitions are, and who
 * holds a slice writes the status.
 *
 * Once a definition has been over all contacts, members are known, and whoever
 * differs from that after a suspension has entered or left meanwhile.  Before, the
 * scan under way says what its author wanted.  A scan that was asked for by a
 * definition has no start until it starts.
 */
static Stored
find_segment(const Site *site, const char *name)
{
	SavedUser saved = pgj_become(site->owner);
	Args args = { 0 };
	Stored stored;

	pgj_args_text(&args, name);
	if (pgj_args_run(
			"SELECT s.segment_id, s.revision, s.predicate, s.search_path, s.timezone, s.refresh_every, s.status,"
			" s.announce OR c.reason OPERATOR(pg_catalog.=) 'refresh' OR c.started_at IS NOT NULL AND c.finished_at IS NOT NULL"
			" FROM journey.segment AS s JOIN journey_state.segment_scan AS c ON c.segment_id OPERATOR(pg_catalog.=) s.segment_id"
			" WHERE s.name OPERATOR(pg_catalog.=) $1",
			&args) == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("segment \"%s\" does not exist", name));
	stored.segment_id = pgj_result_int(0, 1);
	stored.revision = pgj_result_int(0, 2);
	stored.predicate = pgj_result_text(0, 3);
	stored.search_path = pgj_result_text(0, 4);
	stored.timezone = pgj_result_text(0, 5);
	stored.refresh_every = pgj_result_text(0, 6);
	stored.status = pgj_result_text(0, 7);
	stored.announce = strcmp(pgj_result_text(0, 8), "t") == 0;
	pgj_become_caller(saved);
	return stored;
}

static void
refuse_existing(const Site *site, const char *name)
{
	SavedUser saved = pgj_become(site->owner);
	Args args = { 0 };

	pgj_args_text(&args, name);
	if (pgj_args_run(
			"SELECT FROM journey.segment AS s WHERE s.name OPERATOR(pg_catalog.=) $1",
			&args) > 0)
		ereport(ERROR, errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("segment \"%s\" already exists", name),
				errhint("journey.alter_segment() changes it."));
	pgj_become_caller(saved);
}

/* -------- the work both have in common -------- */

static void
notice_parts(const char *name, const Predicate *predicate, const char *every)
{
	ListCell *lc;

	foreach (lc, predicate->opaque)
	{
		OpaquePart *part = lfirst(lc);

		ereport(
			NOTICE,
			errmsg("segment \"%s\": \"%s\" cannot be followed: %s", name,
				   part->source, part->why),
			errhint(
				"All contacts are looked at again every %s (refresh_every).",
				every));
	}
	foreach (lc, predicate->watches)
	{
		Watch *watch = lfirst(lc);

		if (watch->kind == WATCH_ALL)
			ereport(
				NOTICE,
				errmsg(
					"segment \"%s\": a change of \"%s\" concerns all contacts",
					name, get_rel_name(watch->relation)),
				errdetail(
					"Every such change has all of them looked at again."));
	}
}

static CompiledSegment *
compile(const Site *site, const char *name, const char *predicate,
		const char *search_path, const char *timezone, const char *every,
		TimestampTz at)
{
	ErrorData *error;
	CompiledSegment *segment =
		pgj_segment_compile(site, predicate, search_path, timezone, at, &error);

	if (error)
		pgj_segment_throw(error, predicate);
	notice_parts(name, &segment->predicate, every);
	return segment;
}

/* -------- create -------- */

Datum
pgj_sql_create_segment(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	char *name = text_argument(fcinfo, 0, "name");
	char *predicate = predicate_argument(fcinfo, 1);
	bool enter = existing_argument(fcinfo, 2);
	char *timezone = timezone_argument(fcinfo, 3);
	Interval *every = refresh_argument(fcinfo, 4);
	TimestampTz at = time_argument(fcinfo, 5);
	char *search_path = current_path();
	CompiledSegment *segment;
	Args args = { 0 };
	SavedUser saved;
	int segment_id;

	pgj_require_member(site);
	check_name(name);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pgj_segment_lock_definitions();
	refuse_existing(site, name);
	segment = compile(site, name, predicate, search_path, timezone,
					  interval_text(every), at);
	pgj_watch_lock_tables(site, segment->predicate.watches);

	saved = pgj_become(site->owner);
	pgj_args_text(&args, name);
	pgj_args_text(&args, predicate);
	pgj_args_text(&args, search_path);
	pgj_args_text(&args, timezone);
	pgj_args_add(&args, INTERVALOID, IntervalPGetDatum(every));
	pgj_args_add(&args, BOOLOID,
				 BoolGetDatum(segment->predicate.opaque != NIL));
	pgj_args_add(&args, BOOLOID, BoolGetDatum(enter));
	pgj_args_add(&args, FLOAT8OID, Float8GetDatum(segment->cost));
	pgj_args_add(&args, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_args_run(
		"INSERT INTO journey.segment (name, predicate, search_path, timezone, refresh_every, level, opaque, status, announce, cost, created_at, changed_at)"
		" VALUES ($1, $2, $3, $4, $5, 0, $6, 'building', $7, $8, $9, $9) RETURNING segment_id",
		&args);
	segment_id = pgj_result_int(0, 1);
	pgj_become_caller(saved);

	pgj_segment_store_details(site, segment_id, segment);
	saved = pgj_become(site->owner);
	pgj_segment_set_levels(segment_id);
	pgj_segment_want_scan(segment_id, "build", at);
	pgj_become_caller(saved);
	SPI_finish();
	PG_RETURN_INT32(segment_id);
}

/* -------- alter -------- */

static void
set_refresh(const Site *site, int segment_id, Interval *every, TimestampTz at)
{
	SavedUser saved = pgj_become(site->owner);
	Args args = { 0 };

	pgj_args_int(&args, segment_id);
	pgj_args_add(&args, INTERVALOID, IntervalPGetDatum(every));
	pgj_args_add(&args, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_args_run(
		"UPDATE journey.segment SET refresh_every = $2, changed_at = $3 WHERE segment_id OPERATOR(pg_catalog.=) $1",
		&args);
	pgj_become_caller(saved);
	pgj_wake_engine_at_commit();
}

static void
redefine(const Site *site, const char *name, const Stored *old,
		 const char *predicate, const char *search_path, const char *timezone,
		 const Interval *every, bool enter, TimestampTz at)
{
	CompiledSegment *segment =
		compile(site, name, predicate, search_path, timezone,
				every ? interval_text(every) : old->refresh_every, at);
	Args args = { 0 };
	SavedUser saved;

	pgj_segment_lock_slices(site);
	pgj_watch_lock_tables(site, segment->predicate.watches);
	pgj_segment_delete_details(site, old->segment_id);
	pgj_segment_store_details(site, old->segment_id, segment);

	saved = pgj_become(site->owner);
	pgj_segment_refuse_cycle(old->segment_id, name);
	pgj_args_int(&args, old->segment_id);
	pgj_args_text(&args, predicate);
	pgj_args_text(&args, search_path);
	pgj_args_text(&args, timezone);
	pgj_args_add(&args, BOOLOID,
				 BoolGetDatum(segment->predicate.opaque != NIL));
	pgj_args_add(&args, BOOLOID, BoolGetDatum(enter));
	pgj_args_add(&args, FLOAT8OID, Float8GetDatum(segment->cost));
	pgj_args_add(&args, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_args_run(
		"UPDATE journey.segment SET predicate = $2, search_path = $3, timezone = $4, opaque = $5, announce = $6,"
		" cost = $7, changed_at = $8, revision = revision OPERATOR(pg_catalog.+) 1, status = 'building', error = NULL, error_at = NULL"
		" WHERE segment_id OPERATOR(pg_catalog.=) $1",
		&args);
	pgj_segment_set_levels(old->segment_id);
	pgj_segment_want_scan(old->segment_id, "build", at);
	pgj_become_caller(saved);
	pgj_watch_drop_unused(site);
}

Datum
pgj_sql_alter_segment(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	char *name = text_argument(fcinfo, 0, "name");
	char *predicate = PG_ARGISNULL(1) ? NULL : predicate_argument(fcinfo, 1);
	bool enter = existing_argument(fcinfo, 2);
	char *timezone = PG_ARGISNULL(3) ? NULL : timezone_argument(fcinfo, 3);
	Interval *every = PG_ARGISNULL(4) ? NULL : refresh_argument(fcinfo, 4);
	TimestampTz at = time_argument(fcinfo, 5);
	char *search_path = current_path();
	Stored old;

	pgj_require_member(site);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pgj_segment_lock_definitions();
	old = find_segment(site, name);
	if (predicate != NULL)
		redefine(site, name, &old, predicate, search_path,
				 timezone ? timezone : old.timezone, every, enter, at);
	else if (timezone && strcmp(timezone, old.timezone) != 0)
		redefine(site, name, &old, old.predicate, old.search_path, timezone,
				 every, enter, at);
	if (every)
		set_refresh(site, old.segment_id, every, at);
	SPI_finish();
	PG_RETURN_VOID();
}

/* -------- drop -------- */

/*
 * Journeys hear of a segment by its events, and ask by its name in the text of an
 * expression, where it is a literal.
 */
static void
refuse_used(int segment_id, const char *name)
{
	Args args = { 0 };

	if (pgj_segment_run(
			"SELECT pg_catalog.string_agg(pg_catalog.format('segment \"%s\"', s.name), ', ' ORDER BY s.name) FROM journey.segment_need AS n"
			" JOIN journey.segment AS s ON s.segment_id OPERATOR(pg_catalog.=) n.segment_id"
			" WHERE n.needed_id OPERATOR(pg_catalog.=) $1 HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0",
			segment_id) > 0)
		ereport(ERROR, errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				errmsg("segment \"%s\" is used by other segments", name),
				errdetail("Used by %s.", pgj_result_text(0, 1)));

	pgj_args_text(&args, psprintf(PGJ_EVENT_ENTER "%s", name));
	pgj_args_text(&args, psprintf(PGJ_EVENT_LEAVE "%s", name));
	pgj_args_text(&args, name);
	if (pgj_args_run(
			"SELECT pg_catalog.string_agg(DISTINCT pg_catalog.format('journey \"%s\"', j.name), ', ' ORDER BY pg_catalog.format('journey \"%s\"', j.name))"
			" FROM journey.journey AS j CROSS JOIN LATERAL (SELECT v.version_id, v.goal_event FROM journey.version AS v"
			"  WHERE v.journey_id OPERATOR(pg_catalog.=) j.journey_id AND NOT v.dropped ORDER BY v.version DESC LIMIT 1) AS v"
			" CROSS JOIN LATERAL (SELECT v.goal_event"
			"  UNION ALL SELECT e.event FROM journey.entry AS e WHERE e.version_id OPERATOR(pg_catalog.=) v.version_id"
			"  UNION ALL SELECT x.event FROM journey.exit_rule AS x WHERE x.version_id OPERATOR(pg_catalog.=) v.version_id"
			"  UNION ALL SELECT t.event FROM journey.step AS t WHERE t.version_id OPERATOR(pg_catalog.=) v.version_id"
			"  UNION ALL SELECT t.since_event FROM journey.step AS t WHERE t.version_id OPERATOR(pg_catalog.=) v.version_id"
			"  UNION ALL SELECT $1 FROM journey.expression AS x WHERE x.version_id OPERATOR(pg_catalog.=) v.version_id"
			"   AND pg_catalog.strpos(x.statement, 'journey.in_segment(') OPERATOR(pg_catalog.>) 0"
			"   AND pg_catalog.strpos(x.statement, pg_catalog.quote_literal($3)) OPERATOR(pg_catalog.>) 0) AS u (event)"
			" WHERE j.status OPERATOR(pg_catalog.<>) 'dropped' AND u.event IN ($1, $2)"
			" HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0",
			&args) > 0)
		ereport(ERROR, errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				errmsg("segment \"%s\" is used by journeys", name),
				errdetail("Used by %s.", pgj_result_text(0, 1)));
}

/* A hold without its segment would let go what it is there to hold. */
static void
refuse_held(const char *name)
{
	Args args = { 0 };

	pgj_args_text(&args, name);
	if (pgj_args_run(
			"SELECT pg_catalog.string_agg(pg_catalog.format('hold \"%s\"', h.name), ', ' ORDER BY h.name)"
			" FROM journey.hold AS h WHERE h.segment OPERATOR(pg_catalog.=) $1"
			" HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 0",
			&args) > 0)
		ereport(
			ERROR, errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			errmsg("segment \"%s\" is used by holds", name),
			errdetail("Used by %s.", pgj_result_text(0, 1)),
			errhint(
				"Drop them first, with journey.drop_hold() or journey.drop_sunset()."));
}

/*
 * The holders of slices write memberships; none must be about to write one of
 * a segment that is gone.
 */
Datum
pgj_sql_drop_segment(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	char *name = text_argument(fcinfo, 0, "name");
	SavedUser saved;
	int segment_id;

	pgj_require_member(site);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pgj_segment_lock_definitions();
	pgj_segment_lock_slices(site);
	segment_id = find_segment(site, name).segment_id;
	saved = pgj_become(site->owner);
	refuse_used(segment_id, name);
	refuse_held(name);
	pgj_become_caller(saved);
	pgj_segment_delete_details(site, segment_id);

	saved = pgj_become(site->owner);
	pgj_segment_delete_sources(segment_id);
	pgj_segment_run(
		"DELETE FROM journey.segment WHERE segment_id OPERATOR(pg_catalog.=) $1",
		segment_id);
	pgj_segment_run(
		"DELETE FROM journey_state.membership WHERE segment_id OPERATOR(pg_catalog.=) $1",
		segment_id);
	pgj_segment_run(
		"DELETE FROM journey_state.segment_scan WHERE segment_id OPERATOR(pg_catalog.=) $1",
		segment_id);
	pgj_become_caller(saved);
	pgj_watch_drop_unused(site);
	SPI_finish();
	PG_RETURN_VOID();
}

/* -------- resume, refresh -------- */

Datum
pgj_sql_refresh_segment(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	char *name = text_argument(fcinfo, 0, "name");
	TimestampTz at = time_argument(fcinfo, 1);
	SavedUser saved;
	Stored stored;

	pgj_require_member(site);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	stored = find_segment(site, name);
	if (strcmp(stored.status, "suspended") == 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("segment \"%s\" is suspended", name),
				errhint("Call journey.resume_segment()."));
	saved = pgj_become(site->owner);
	pgj_segment_want_scan(stored.segment_id, "refresh", at);
	pgj_become_caller(saved);
	SPI_finish();
	PG_RETURN_VOID();
}

/*
 * A suspended segment is compiled anew, by the names in its text: what it read
 * may have been dropped and made again.  The predicate is the same, so who entered
 * or left meanwhile does so now: an exit from a journey must not be lost.
 */
Datum
pgj_sql_resume_segment(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	char *name = text_argument(fcinfo, 0, "name");
	TimestampTz at = time_argument(fcinfo, 1);
	Stored stored;

	pgj_require_member(site);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pgj_segment_lock_definitions();
	stored = find_segment(site, name);
	if (strcmp(stored.status, "suspended") != 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("segment \"%s\" is not suspended", name));
	redefine(site, name, &stored, stored.predicate, stored.search_path,
			 stored.timezone, NULL, stored.announce, at);
	SPI_finish();
	PG_RETURN_VOID();
}
