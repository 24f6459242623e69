/*-------------------------------------------------------------------------
 *
 * source.c
 *	  Views and SQL functions that predicates were looked into.
 *
 * journey.segment_source says which, and what they were: a digest of what the
 * catalog stores of them.  That follows renames of what they read by itself, so
 * only a new text changes it.  A view or a function is known by its number, and
 * in a restored database by its name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"

#include "pg_journey.h"
#include "segment/compile.h"
#include "segment/definition.h"
#include "segment/record.h"

/* What the catalog says of a source "s", or null if it is gone. */
#define DIGEST                                                                                                             \
	" CASE s.kind WHEN 'view' THEN"                                                                                        \
	" (SELECT pg_catalog.md5(r.ev_action::pg_catalog.text) FROM pg_catalog.pg_rewrite AS r"                                \
	"  WHERE r.ev_class OPERATOR(pg_catalog.=) s.object AND r.rulename OPERATOR(pg_catalog.=) '_RETURN'::pg_catalog.name)" \
	" ELSE (SELECT pg_catalog.md5(pg_catalog.concat_ws('|', p.prosrc, p.prosqlbody::pg_catalog.text, p.provolatile,"       \
	"   p.proisstrict, p.prosecdef, p.proretset, p.prolang, p.prorettype, p.proconfig::pg_catalog.text,"                   \
	"   p.proargdefaults::pg_catalog.text)) FROM pg_catalog.pg_proc AS p"                                                  \
	"  WHERE p.oid OPERATOR(pg_catalog.=) s.object) END"

#define IDENTITY                                                              \
	" (SELECT i.identity FROM pg_catalog.pg_identify_object("                 \
	"CASE s.kind WHEN 'view' THEN 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" ELSE 'pg_catalog.pg_proc'::pg_catalog.regclass END, s.object, 0) AS i)"

void
pgj_predicate_source(Predicate *predicate, bool view, Oid object)
{
	if (view)
		predicate->views = list_append_unique_oid(predicate->views, object);
	else
		predicate->functions =
			list_append_unique_oid(predicate->functions, object);
}

static void
store_sources(int segment_id, int source_no, const char *kind,
			  const List *objects)
{
	ListCell *lc;

	foreach (lc, objects)
	{
		Args args = { 0 };

		pgj_args_int(&args, segment_id);
		pgj_args_text(&args, kind);
		pgj_args_add(&args, OIDOID, ObjectIdGetDatum(lfirst_oid(lc)));
		pgj_args_int(&args, ++source_no);
		pgj_args_run(
			"INSERT INTO journey.segment_source (segment_id, source_no, kind, object, name, digest)"
			" SELECT $1, $4, s.kind, s.object," IDENTITY "," DIGEST
			" FROM (SELECT $2, $3) AS s (kind, object)",
			&args);
	}
}

void
pgj_segment_delete_sources(int segment_id)
{
	pgj_segment_run(
		"DELETE FROM journey.segment_source AS s WHERE s.segment_id OPERATOR(pg_catalog.=) $1",
		segment_id);
}

/*
 * As the journey owner.  A predicate that comes from its function has been looked
 * into before; in a database that was restored its sources have other numbers.
 */
void
pgj_segment_store_sources(int segment_id, const Predicate *predicate)
{
	if (predicate->stored)
	{
		pgj_segment_run(
			"UPDATE journey.segment_source AS s SET object = CASE s.kind WHEN 'view' THEN pg_catalog.to_regclass(s.name)::pg_catalog.oid"
			" ELSE pg_catalog.to_regprocedure(s.name)::pg_catalog.oid END"
			" WHERE s.segment_id OPERATOR(pg_catalog.=) $1",
			segment_id);
		pgj_segment_run("UPDATE journey.segment_source AS s SET digest =" DIGEST
						" WHERE s.segment_id OPERATOR(pg_catalog.=) $1",
						segment_id);
	}
	else
	{
		pgj_segment_delete_sources(segment_id);
		store_sources(segment_id, 0, "view", predicate->views);
		store_sources(segment_id, list_length(predicate->views), "function",
					  predicate->functions);
	}

	/* other sessions learn what to listen for */
	CacheInvalidateRelcacheByRelid(get_relname_relid(
		"segment_source", get_namespace_oid(PGJ_SCHEMA, false)));
}

/* Segments, as in recompile.c, of which a source is another one or gone. */
uint64
pgj_segment_find_replaced(void)
{
	Args args = { 0 };

	return pgj_args_run(
		"SELECT g.segment_id, g.predicate, g.search_path, g.timezone, g.name FROM journey.segment AS g"
		" WHERE g.status OPERATOR(pg_catalog.<>) 'suspended' AND EXISTS"
		" (SELECT FROM journey.segment_source AS s WHERE s.segment_id OPERATOR(pg_catalog.=) g.segment_id"
		"  AND s.digest IS DISTINCT FROM" DIGEST ")"
		" ORDER BY g.level, g.segment_id",
		&args);
}

/* A source that was renamed is known by its new name in a dump. */
void
pgj_segment_rename_sources(void)
{
	Args args = { 0 };

	if (pgj_args_run(
			"SELECT FROM journey.segment_source AS s WHERE s.name OPERATOR(pg_catalog.<>)" IDENTITY,
			&args) > 0)
		pgj_args_run("UPDATE journey.segment_source AS s SET name =" IDENTITY
					 " WHERE s.name OPERATOR(pg_catalog.<>)" IDENTITY,
					 &args);
}

/* The functions among the sources of all segments. */
List *
pgj_segment_source_functions(void)
{
	Args args = { 0 };
	List *functions = NIL;

	pgj_args_run(
		"SELECT DISTINCT s.object FROM journey.segment_source AS s"
		" WHERE s.kind OPERATOR(pg_catalog.=) 'function' AND s.object IS NOT NULL",
		&args);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;

		functions = lappend_oid(
			functions,
			DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
										   SPI_tuptable->tupdesc, 1, &isnull)));
	}
	return functions;
}
