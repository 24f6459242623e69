/*-------------------------------------------------------------------------
 *
 * recompile.c
 *	  Compile segments anew in a database that was restored, copied or attached.
 *
 * There, tables may have columns of other numbers than journey.watch says, and
 * their triggers may be gone.  The functions in journey_state are right, since
 * the dump has them as text: the predicate is taken from there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "pg_journey.h"
#include "segment/definition.h"
#include "segment/record.h"

typedef struct Wanted
{
	int segment_id;
	char *predicate;
	char *search_path;
	char *timezone;
	char *name;
} Wanted;

typedef void (*CompileOne)(const Site *site, const Wanted *wanted,
						   TimestampTz at);

/* The rows that a query yielded. */
static List *
wanted_rows(void)
{
	List *result = NIL;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Wanted *wanted = palloc_object(Wanted);

		wanted->segment_id = pgj_result_int(i, 1);
		wanted->predicate = pgj_result_text(i, 2);
		wanted->search_path = pgj_result_text(i, 3);
		wanted->timezone = pgj_result_text(i, 4);
		wanted->name = pgj_result_text(i, 5);
		result = lappend(result, wanted);
	}
	return result;
}

/* Segments to be compiled, those that are needed by others first. */
static List *
wanted_segments(const Site *site)
{
	SavedUser saved = pgj_become(site->owner);
	Args args = { 0 };
	List *result;

	pgj_args_run(
		"SELECT s.segment_id, s.predicate, s.search_path, s.timezone, s.name FROM journey.segment AS s"
		" JOIN journey_state.segment_scan AS c ON c.segment_id OPERATOR(pg_catalog.=) s.segment_id"
		" WHERE c.revision OPERATOR(pg_catalog.=) 0 AND s.status OPERATOR(pg_catalog.<>) 'suspended'"
		" ORDER BY s.level, s.segment_id",
		&args);
	result = wanted_rows();
	pgj_become_caller(saved);
	return result;
}

/* in_segment() is a sub-select in what was stored: its segments are known. */
static List *
stored_needs(const Site *site, int segment_id)
{
	SavedUser saved = pgj_become(site->owner);
	List *needs = NIL;

	pgj_segment_run(
		"SELECT n.needed_id FROM journey.segment_need AS n WHERE n.segment_id OPERATOR(pg_catalog.=) $1",
		segment_id);
	for (uint64 i = 0; i < SPI_processed; i++)
		needs = lappend_int(needs, pgj_result_int(i, 1));
	pgj_become_caller(saved);
	return needs;
}

static void
store_compiled(const Site *site, int segment_id, const CompiledSegment *segment)
{
	SavedUser saved;
	Args args = { 0 };

	pgj_watch_lock_tables(site, segment->predicate.watches);
	pgj_segment_delete_details(site, segment_id);
	pgj_segment_store_details(site, segment_id, segment);
	saved = pgj_become(site->owner);
	pgj_args_int(&args, segment_id);
	pgj_args_add(&args, BOOLOID,
				 BoolGetDatum(segment->predicate.opaque != NIL));
	pgj_args_add(&args, FLOAT8OID, Float8GetDatum(segment->cost));
	pgj_args_run(
		"UPDATE journey.segment SET opaque = $2, cost = $3 WHERE segment_id OPERATOR(pg_catalog.=) $1",
		&args);
	pgj_become_caller(saved);
}

static void
recompile(const Site *site, const Wanted *wanted, TimestampTz at)
{
	ErrorData *error;
	CompiledSegment *segment;
	SavedUser saved;

	if (pgj_segment_has_function(wanted->segment_id))
	{
		segment =
			pgj_segment_recompile(site, wanted->segment_id, wanted->predicate,
								  wanted->timezone, at, &error);
		if (error == NULL)
			segment->predicate.needs = stored_needs(site, wanted->segment_id);
	}
	else
		segment =
			pgj_segment_compile(site, wanted->predicate, wanted->search_path,
								wanted->timezone, at, &error);
	if (error)
		pgj_segment_throw(error, wanted->predicate);

	store_compiled(site, wanted->segment_id, segment);
	saved = pgj_become(site->owner);
	pgj_segment_set_levels(wanted->segment_id);
	pgj_segment_run(
		"UPDATE journey_state.segment_scan AS c SET revision = s.revision FROM journey.segment AS s"
		" WHERE s.segment_id OPERATOR(pg_catalog.=) c.segment_id AND c.segment_id OPERATOR(pg_catalog.=) $1",
		wanted->segment_id);
	pgj_become_caller(saved);
}

/*
 * Something that was looked into is another now: the author's text means another
 * thing.  A scan that is under way starts again.
 */
static void
compile_replaced(const Site *site, const Wanted *wanted, TimestampTz at)
{
	ErrorData *error;
	CompiledSegment *segment =
		pgj_segment_compile(site, wanted->predicate, wanted->search_path,
							wanted->timezone, at, &error);
	SavedUser saved;

	if (error)
		pgj_segment_throw(error, wanted->predicate);
	store_compiled(site, wanted->segment_id, segment);
	saved = pgj_become(site->owner);
	pgj_segment_refuse_cycle(wanted->segment_id, wanted->name);
	pgj_segment_set_levels(wanted->segment_id);
	pgj_segment_want_scan(wanted->segment_id, "refresh", at);
	pgj_segment_run(
		"UPDATE journey_state.segment_scan SET started_at = NULL"
		" WHERE segment_id OPERATOR(pg_catalog.=) $1 AND finished_at IS NULL",
		wanted->segment_id);
	pgj_become_caller(saved);
}

static void
suspend(const Site *site, int segment_id, const ErrorData *error,
		TimestampTz at)
{
	SavedUser saved = pgj_become(site->owner);
	Args args = { 0 };

	pgj_args_int(&args, segment_id);
	pgj_args_text(&args, error->message);
	pgj_args_add(&args, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_args_run(
		"UPDATE journey.segment SET status = 'suspended', error = $2, error_at = $3"
		" WHERE segment_id OPERATOR(pg_catalog.=) $1",
		&args);
	pgj_become_caller(saved);
}

/*
 * What goes wrong with one segment suspends that one.  False: one that was replaced
 * reads a table that is locked away; it goes on as it is, and the next call tries
 * again.
 */
static bool
try_recompile(const Site *site, const Wanted *wanted, CompileOne compile,
			  TimestampTz at)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	SavedUser saved = { 0 };
	ErrorData *volatile error = NULL;

	GetUserIdAndSecContext(&saved.user, &saved.context);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		compile(site, wanted, at);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	pgj_become_caller(saved);

	if (error == NULL)
		return true;
	if (error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE &&
		compile == compile_replaced)
	{
		FreeErrorData(error);
		return false;
	}
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE ||
		error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED)
		ReThrowError(error);
	suspend(site, wanted->segment_id, error, at);
	FreeErrorData(error);
	return true;
}

/*
 * DROP ... CASCADE of what a segment reads takes its functions along; that it has
 * none is seen here, not only when somebody is to be evaluated.
 */
#define LOST                                                             \
	" WHERE s.status OPERATOR(pg_catalog.<>) 'suspended' AND NOT EXISTS" \
	" (SELECT FROM pg_catalog.pg_proc AS p"                              \
	"  WHERE p.pronamespace OPERATOR(pg_catalog.=) '" PGJ_STATE_SCHEMA   \
	"'::pg_catalog.regnamespace"                                         \
	"  AND p.proname OPERATOR(pg_catalog.=)"                             \
	"   pg_catalog.format('segment_%s_check', s.segment_id)::pg_catalog.name)"

static bool
some_are_lost(const Site *site)
{
	SavedUser saved = pgj_become(site->owner);
	Args args = { 0 };
	bool some =
		pgj_args_run("SELECT FROM journey.segment AS s" LOST, &args) > 0;

	pgj_become_caller(saved);
	return some;
}

bool
pgj_segment_suspend_lost(const Site *site, TimestampTz at)
{
	SavedUser saved;
	Args args = { 0 };

	if (!some_are_lost(site))
		return true;
	if (!pgj_segment_try_lock_definitions())
		return false;
	pgj_segment_lock_slices(site);
	saved = pgj_become(site->owner);
	pgj_args_text(
		&args, "something that the predicate reads was dropped with CASCADE");
	pgj_args_add(&args, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_args_run(
		"UPDATE journey.segment AS s SET status = 'suspended', error = $1, error_at = $2" LOST
		" RETURNING s.name",
		&args);
	for (uint64 i = 0; i < SPI_processed; i++)
		ereport(
			WARNING,
			errmsg("segment \"%s\" is suspended", pgj_result_text(i, 1)),
			errdetail(
				"Something that its predicate reads was dropped with CASCADE."),
			errhint(
				"Alter or drop the segment, or call journey.resume_segment() once it can be evaluated again."));
	pgj_become_caller(saved);
	return true;
}

bool
pgj_segment_recompile_all(const Site *site, TimestampTz at)
{
	List *segments = wanted_segments(site);
	ListCell *lc;

	if (segments == NIL)
		return true;
	if (!pgj_segment_try_lock_definitions())
		return false;
	pgj_segment_lock_slices(site);
	segments = wanted_segments(site);
	foreach (lc, segments)
		(void) try_recompile(site, lfirst(lc), recompile, at);
	pgj_watch_drop_unused(site);
	return true;
}

static List *
replaced_segments(const Site *site)
{
	SavedUser saved = pgj_become(site->owner);
	List *result;

	(void) pgj_segment_find_replaced();
	result = wanted_rows();
	pgj_become_caller(saved);
	return result;
}

bool
pgj_segment_follow_replaced(const Site *site, TimestampTz at)
{
	List *segments = replaced_segments(site);
	SavedUser saved;
	ListCell *lc;
	bool done = true;

	if (segments != NIL)
	{
		if (!pgj_segment_try_lock_definitions())
			return false;
		pgj_segment_lock_slices(site);
		segments = replaced_segments(site);
		foreach (lc, segments)
			if (!try_recompile(site, lfirst(lc), compile_replaced, at))
				done = false;
		pgj_watch_drop_unused(site);
	}
	saved = pgj_become(site->owner);
	pgj_segment_rename_sources();
	pgj_become_caller(saved);
	return done;
}
