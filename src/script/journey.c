/*-------------------------------------------------------------------------
 *
 * journey.c
 *	  Create journeys and change their status.
 *
 * A version, once written, is never changed, but for being marked as dropped:
 * contacts in flight stay on theirs.  Who creates a version holds the journey's
 * row, so two creations at once give two versions; should that fail (a snapshot
 * from before), the unique key on (journey_id, version) decides.
 *
 * create_journey has no SET search_path: it must see the author's, by which the
 * names in expressions resolve.  Every statement here qualifies everything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "box.h"
#include "pg_journey.h"
#include "script/bound.h"
#include "script/script_compile.h"
#include "wakeup.h"

/* -------- create_journey -------- */

static void
check_journey_name(const char *name)
{
	const char *c;

	for (c = name; *c; c++)
	{
		if (!((*c >= 'a' && *c <= 'z') || *c == '_' ||
			  (c > name && *c >= '0' && *c <= '9')))
			break;
	}
	if (*c || c == name || c - name >= NAMEDATALEN)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_NAME),
			errmsg("\"%s\" is no name for a journey", name),
			errhint(
				"Use lower-case letters, digits and underscores, at most %d, and no digit first.",
				NAMEDATALEN - 1));
}

/*
 * Fix the author's search_path for what follows: "$user" must go on to mean
 * the author when we act as the journey owner.
 */
static void
fix_search_path(void)
{
	StringInfoData path;
	List *schemas = fetch_search_path(false);
	ListCell *lc;

	initStringInfo(&path);
	foreach (lc, schemas)
	{
		char *name = get_namespace_name(lfirst_oid(lc));

		if (name)
			appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "",
							 quote_identifier(name));
	}
	(void) set_config_option(
		"search_path", path.len > 0 ? path.data : "pg_catalog", PGC_USERSET,
		PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * The row of a journey, made or found, and locked.  A dropped one is a draft
 * again: its name and its history stay together.
 */
static int
lock_journey(const char *name, TimestampTz at)
{
	Bound p = { 0 };
	int journey_id;

	pgj_bind_text(&p, name);
	pgj_bind_time(&p, at);
	pgj_bound_run(
		"INSERT INTO journey.journey (name, status, created_at) VALUES ($1, 'draft', $2)"
		" ON CONFLICT (name) DO NOTHING",
		&p, SPI_OK_INSERT);

	p.n = 1;
	if (pgj_bound_run(
			"SELECT journey_id, status OPERATOR(pg_catalog.=) 'dropped' FROM journey.journey"
			" WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE",
			&p, SPI_OK_SELECT) != 1)
		ereport(
			ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			errmsg("journey \"%s\" was created by another transaction just now",
				   name),
			errhint("Try again."));
	journey_id = pgj_bound_int(1);

	p.n = 0;
	pgj_bind_int(&p, journey_id);
	pgj_bound_run(
		"UPDATE journey.journey SET status = 'draft', version_id = NULL"
		" WHERE journey_id OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'dropped'",
		&p, SPI_OK_UPDATE);
	return journey_id;
}

static int
next_version(int journey_id)
{
	Bound p = { 0 };

	pgj_bind_int(&p, journey_id);
	pgj_bound_run(
		"SELECT COALESCE(pg_catalog.max(version), 0) OPERATOR(pg_catalog.+) 1 FROM journey.version"
		" WHERE journey_id OPERATOR(pg_catalog.=) $1",
		&p, SPI_OK_SELECT);
	return pgj_bound_int(1);
}

static int
create_journey(const Site *site, const char *name, const char *text,
			   TimestampTz at)
{
	Compilation *c = pgj_script_compile(site, text);
	int journey_id = lock_journey(name, at);
	int version = next_version(journey_id);

	pgj_script_insert(c, journey_id, version, at);
	return version;
}

/* journey.create_journey(name text, script text, at timestamptz) returns integer */
PG_FUNCTION_INFO_V1(pgj_sql_create_journey);
Datum
pgj_sql_create_journey(PG_FUNCTION_ARGS)
{
	char *name;
	char *script;
	TimestampTz at;
	MemoryContext context = CurrentMemoryContext;
	const Site *site = pgj_site();
	int guc_level;
	int version;
	SavedUser saved;

	pgj_require_member(site);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("name, script and time of a journey must not be null"));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	script = text_to_cstring(PG_GETARG_TEXT_PP(1));
	at = PG_GETARG_TIMESTAMPTZ(2);
	check_journey_name(name);

	guc_level = NewGUCNestLevel();
	fix_search_path();
	saved = pgj_become_owner(site);
	SPI_connect();
	MemoryContextSwitchTo(context);
	version = create_journey(site, name, script, at);
	SPI_finish();
	pgj_become_caller(saved);
	AtEOXact_GUC(true, guc_level);

	PG_RETURN_INT32(version);
}

/* -------- status -------- */

static void
unknown_journey(const char *name)
{
	Bound p = { 0 };
	List *names = NIL;
	char *hint;
	uint64 i;

	pgj_bound_run(
		"SELECT name FROM journey.journey WHERE status OPERATOR(pg_catalog.<>) 'dropped'"
		" ORDER BY name COLLATE pg_catalog.\"C\"",
		&p, SPI_OK_SELECT);
	for (i = 0; i < SPI_processed; i++)
		names = lappend(names, SPI_getvalue(SPI_tuptable->vals[i],
											SPI_tuptable->tupdesc, 1));
	hint = pgj_script_hint(name, names);
	ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("journey \"%s\" does not exist", name),
			hint ? errhint("%s", hint) : 0);
}

/*
 * Lock a journey and check that its status is one of two.  The order of locks
 * is that of create_journey.
 */
static int
lock_for_change(const char *name, const char *from, const char *or_from)
{
	Bound p = { 0 };
	char *status;
	int journey_id;

	pgj_bind_text(&p, name);
	if (pgj_bound_run("SELECT journey_id, status FROM journey.journey"
					  " WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE",
					  &p, SPI_OK_SELECT) != 1)
		unknown_journey(name);
	journey_id = pgj_bound_int(1);
	status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (strcmp(status, "dropped") == 0)
		unknown_journey(name);
	if (from && strcmp(status, from) != 0 && strcmp(status, or_from) != 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("journey \"%s\" is %s, not %s", name, status, from),
				strcmp(status, "draft") == 0
					? errhint("Start it with journey.activate().")
					: 0);
	return journey_id;
}

typedef enum StatusChange
{
	CHANGE_ACTIVATE,
	CHANGE_PAUSE,
	CHANGE_RESUME,
	CHANGE_DROP
} StatusChange;

static void
change_status(const char *name, StatusChange change)
{
	static const char *const set[] = {
		[CHANGE_ACTIVATE] =
			"status = 'active', version_id = (SELECT v.version_id FROM journey.version AS v"
			" WHERE v.journey_id OPERATOR(pg_catalog.=) j.journey_id ORDER BY v.version USING OPERATOR(pg_catalog.>) LIMIT 1)",
		[CHANGE_PAUSE] = "status = 'paused'",
		[CHANGE_RESUME] = "status = 'active'",
		[CHANGE_DROP] = "status = 'dropped'",
	};
	int journey_id;
	Bound p = { 0 };

	switch (change)
	{
		case CHANGE_PAUSE:
			journey_id = lock_for_change(name, "active", "paused");
			break;
		case CHANGE_RESUME:
			journey_id = lock_for_change(name, "paused", "active");
			break;
		default:
			journey_id = lock_for_change(name, NULL, NULL);
			break;
	}

	pgj_bind_int(&p, journey_id);
	pgj_bound_run(
		psprintf(
			"UPDATE journey.journey AS j SET %s WHERE j.journey_id OPERATOR(pg_catalog.=) $1",
			set[change]),
		&p, SPI_OK_UPDATE);

	/* for good: a later journey of this name must not find them running */
	if (change == CHANGE_DROP)
		pgj_bound_run(
			"UPDATE journey.version SET dropped = true"
			" WHERE journey_id OPERATOR(pg_catalog.=) $1 AND NOT dropped",
			&p, SPI_OK_UPDATE);

	/* an author who starts it again wants its expressions tried again */
	if (change == CHANGE_ACTIVATE || change == CHANGE_RESUME)
	{
		uint64 i;

		pgj_bound_run(
			"SELECT version_id FROM journey.version WHERE journey_id OPERATOR(pg_catalog.=) $1",
			&p, SPI_OK_SELECT);
		for (i = 0; i < SPI_processed; i++)
		{
			bool isnull;

			pgj_box_forgive(DatumGetInt32(SPI_getbinval(
				SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
		}
	}
	pgj_wake_engine_at_commit();
}

static Datum
sql_change_status(PG_FUNCTION_ARGS, StatusChange change)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const Site *site = pgj_site();
	SavedUser saved;

	/* these two run nothing of an author's: EXECUTE, as operators have it, is the permission */
	if (change == CHANGE_PAUSE || change == CHANGE_RESUME)
		pgj_refuse_superuser(site);
	else
		pgj_require_member(site);
	saved = pgj_become_owner(site);
	SPI_connect();
	change_status(name, change);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(pgj_sql_activate);
Datum
pgj_sql_activate(PG_FUNCTION_ARGS)
{
	return sql_change_status(fcinfo, CHANGE_ACTIVATE);
}

PG_FUNCTION_INFO_V1(pgj_sql_pause);
Datum
pgj_sql_pause(PG_FUNCTION_ARGS)
{
	return sql_change_status(fcinfo, CHANGE_PAUSE);
}

PG_FUNCTION_INFO_V1(pgj_sql_resume);
Datum
pgj_sql_resume(PG_FUNCTION_ARGS)
{
	return sql_change_status(fcinfo, CHANGE_RESUME);
}

PG_FUNCTION_INFO_V1(pgj_sql_drop_journey);
Datum
pgj_sql_drop_journey(PG_FUNCTION_ARGS)
{
	return sql_change_status(fcinfo, CHANGE_DROP);
}
