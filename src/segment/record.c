/*-------------------------------------------------------------------------
 *
 * record.c
 *	  The rows of a segment's definition, but for its own and for watches.
 *
 * Within SPI, under pgj_segment_lock_definitions().  Every statement qualifies
 * everything: the author's search_path may be in force.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg_journey.h"
#include "segment/definition.h"
#include "segment/record.h"
#include "wakeup.h"

void
pgj_args_add(Args *args, Oid type, Datum value)
{
	Assert(args->n < MAX_ARGS);
	args->types[args->n] = type;
	args->values[args->n++] = value;
}

void
pgj_args_text(Args *args, const char *text)
{
	pgj_args_add(args, TEXTOID, CStringGetTextDatum(text));
}

void
pgj_args_int(Args *args, int value)
{
	pgj_args_add(args, INT4OID, Int32GetDatum(value));
}

uint64
pgj_args_run(const char *statement, Args *args)
{
	int rc = SPI_execute_with_args(statement, args->n, args->types,
								   args->values, NULL, false, 0);

	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", statement,
			 SPI_result_code_string(rc));
	return SPI_processed;
}

uint64
pgj_segment_run(const char *statement, int segment_id)
{
	Args args = { 0 };

	pgj_args_int(&args, segment_id);
	return pgj_args_run(statement, &args);
}

int
pgj_result_int(uint64 row, int column)
{
	bool isnull;

	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[row],
									   SPI_tuptable->tupdesc, column, &isnull));
}

char *
pgj_result_text(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* -------- parts and needs -------- */

static void
store_part(int segment_id, int part_no, const char *kind, const char *source,
		   const char *detail)
{
	Args args = { 0 };

	pgj_args_int(&args, segment_id);
	pgj_args_int(&args, part_no);
	pgj_args_text(&args, kind);
	pgj_args_text(&args, source);
	pgj_args_text(&args, detail);
	pgj_args_run(
		"INSERT INTO journey.segment_part (segment_id, part_no, kind, source, detail)"
		" VALUES ($1, $2, $3, $4, $5)",
		&args);
}

static void
store_parts(int segment_id, const Predicate *predicate)
{
	int part_no = 0;
	ListCell *lc;

	foreach (lc, predicate->boundaries)
	{
		BoundaryPart *part = lfirst(lc);

		store_part(segment_id, ++part_no, "boundary", part->source, part->sql);
	}
	foreach (lc, predicate->opaque)
	{
		OpaquePart *part = lfirst(lc);

		store_part(segment_id, ++part_no, "opaque", part->source, part->why);
	}
}

static void
store_needs(int segment_id, const Predicate *predicate)
{
	ListCell *lc;

	foreach (lc, predicate->needs)
	{
		Args args = { 0 };

		pgj_args_int(&args, segment_id);
		pgj_args_int(&args, lfirst_int(lc));
		pgj_args_run(
			"INSERT INTO journey.segment_need (segment_id, needed_id) VALUES ($1, $2)",
			&args);
	}
}

/*
 * Refuse a cycle: the new needs are written already.  The path that is shown
 * starts with the segment and ends with it.
 */
void
pgj_segment_refuse_cycle(int segment_id, const char *name)
{
	if (pgj_segment_run(
			"WITH RECURSIVE path (needed_id, names) AS ("
			"  SELECT n.needed_id, ARRAY[s.name] FROM journey.segment_need AS n"
			"  JOIN journey.segment AS s ON s.segment_id OPERATOR(pg_catalog.=) n.needed_id"
			"  WHERE n.segment_id OPERATOR(pg_catalog.=) $1"
			"  UNION ALL SELECT n.needed_id, p.names OPERATOR(pg_catalog.||) s.name FROM path AS p"
			"  JOIN journey.segment_need AS n ON n.segment_id OPERATOR(pg_catalog.=) p.needed_id"
			"  JOIN journey.segment AS s ON s.segment_id OPERATOR(pg_catalog.=) n.needed_id"
			"  WHERE p.needed_id OPERATOR(pg_catalog.<>) $1)"
			" SELECT pg_catalog.array_to_string(p.names, ' → ') FROM path AS p"
			" WHERE p.needed_id OPERATOR(pg_catalog.=) $1 ORDER BY pg_catalog.cardinality(p.names) LIMIT 1",
			segment_id) > 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("segment \"%s\" would depend on itself", name),
				errdetail("%s → %s.", name, pgj_result_text(0, 1)));
}

/* The levels of a segment and of those that need it, now that needs have changed. */
void
pgj_segment_set_levels(int segment_id)
{
	pgj_segment_run(
		"WITH RECURSIVE above (segment_id) AS ("
		"  SELECT $1 UNION SELECT n.segment_id FROM journey.segment_need AS n"
		"  JOIN above AS a ON a.segment_id OPERATOR(pg_catalog.=) n.needed_id),"
		" below (segment_id, needed_id, depth) AS ("
		"  SELECT a.segment_id, a.segment_id, 0 FROM above AS a"
		"  UNION SELECT b.segment_id, n.needed_id, b.depth OPERATOR(pg_catalog.+) 1 FROM below AS b"
		"  JOIN journey.segment_need AS n ON n.segment_id OPERATOR(pg_catalog.=) b.needed_id)"
		" UPDATE journey.segment AS s SET level = l.level"
		" FROM (SELECT b.segment_id, pg_catalog.max(b.depth) FROM below AS b GROUP BY b.segment_id) AS l (segment_id, level)"
		" WHERE s.segment_id OPERATOR(pg_catalog.=) l.segment_id AND s.level OPERATOR(pg_catalog.<>) l.level",
		segment_id);
}

/* Everything that hangs on a segment's row. */
void
pgj_segment_store_details(const Site *site, int segment_id,
						  const CompiledSegment *segment)
{
	int *watch_ids =
		pgj_watch_store(site, segment_id, segment->predicate.watches);
	SavedUser saved = pgj_become(site->owner);

	pgj_segment_create_functions(site, segment_id, segment, watch_ids);
	store_parts(segment_id, &segment->predicate);
	store_needs(segment_id, &segment->predicate);
	pgj_segment_store_sources(segment_id, &segment->predicate);
	pgj_become_caller(saved);
}

void
pgj_segment_delete_details(const Site *site, int segment_id)
{
	SavedUser saved = pgj_become(site->owner);

	pgj_segment_drop_functions(segment_id);
	pgj_segment_run(
		"DELETE FROM journey.segment_watch WHERE segment_id OPERATOR(pg_catalog.=) $1",
		segment_id);
	pgj_segment_run(
		"DELETE FROM journey.segment_part WHERE segment_id OPERATOR(pg_catalog.=) $1",
		segment_id);
	pgj_segment_run(
		"DELETE FROM journey.segment_need WHERE segment_id OPERATOR(pg_catalog.=) $1",
		segment_id);
	pgj_become_caller(saved);
}

/* Ask for a scan, as the journey owner. */
void
pgj_segment_want_scan(int segment_id, const char *reason, TimestampTz at)
{
	Args args = { 0 };

	pgj_args_int(&args, segment_id);
	pgj_args_text(&args, reason);
	pgj_args_add(&args, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_args_run(
		"INSERT INTO journey_state.segment_scan AS s (segment_id, revision, reason, wanted_at)"
		" SELECT g.segment_id, g.revision, $2, $3 FROM journey.segment AS g WHERE g.segment_id OPERATOR(pg_catalog.=) $1"
		" ON CONFLICT (segment_id) DO UPDATE SET revision = excluded.revision, wanted_at = excluded.wanted_at,"
		"  started_at = CASE WHEN excluded.reason OPERATOR(pg_catalog.<>) 'build' THEN s.started_at END,"
		"  reason = CASE WHEN s.reason OPERATOR(pg_catalog.=) 'build' AND s.finished_at IS NULL THEN 'build' ELSE excluded.reason END",
		&args);
	pgj_wake_engine_at_commit();
}

/*
 * Who holds a slice writes memberships and the status of segments, and reads
 * watched tables.  So slices come before all of these.
 */
void
pgj_segment_lock_slices(const Site *site)
{
	SavedUser saved = pgj_become(site->owner);
	Args args = { 0 };

	pgj_args_run(
		"SELECT s.slice FROM journey_state.slice AS s ORDER BY s.slice FOR UPDATE",
		&args);
	pgj_become_caller(saved);
}
