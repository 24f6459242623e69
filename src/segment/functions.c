/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  The functions of journey_state that a segment's statements live in.
 *
 * They have parsed bodies, are owned by the journey owner and are made to be
 * inlined: STABLE, not STRICT, without SET clauses.  Called as the journey owner,
 * within SPI.  The text of a statement was written by PostgreSQL out of a tree;
 * all that is run in parsing it is the input functions of the types of constants.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "pg_journey.h"
#include "script/expression.h"
#include "segment/compile.h"

/*
 * Parameters have names: PostgreSQL 15 writes those without as "" in the body of
 * a function that has named columns, and pg_dump writes just that.
 */

char *
pgj_segment_function_name(int segment_id, const char *kind, int watch_id)
{
	if (watch_id != 0)
		return psprintf(PGJ_STATE_SCHEMA ".segment_%d_%s_%d", segment_id, kind,
						watch_id);
	return psprintf(PGJ_STATE_SCHEMA ".segment_%d_%s", segment_id, kind);
}

static void
create_function(const char *name, const char *arguments, const char *result,
				const char *statement)
{
	char *command =
		psprintf("CREATE FUNCTION %s(%s) RETURNS %s LANGUAGE sql STABLE"
				 " BEGIN ATOMIC %s; END",
				 name, arguments, result, statement);

	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not create function %s", name);
	command =
		psprintf("REVOKE ALL ON FUNCTION %s(%s) FROM PUBLIC", name, arguments);
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not revoke rights on function %s", name);
}

void
pgj_segment_create_functions(const Site *site, int segment_id,
							 const CompiledSegment *segment,
							 const int *watch_ids)
{
	const char *key = site->key_type_name;
	int level = NewGUCNestLevel();
	ListCell *lc;

	/* as the statements were written */
	pgj_expression_output_format();
	create_function(
		pgj_segment_function_name(segment_id, "check", 0),
		psprintf(
			"numbers integer[], contacts %s[], times timestamp with time zone[]",
			key),
		psprintf(
			"TABLE (n integer, contact %s, member boolean, next_check timestamp with time zone)",
			key),
		segment->check);
	create_function(
		pgj_segment_function_name(segment_id, "scan", 0),
		psprintf("at timestamp with time zone, after %s, how_many integer",
				 key),
		psprintf(
			"TABLE (contact %s, member boolean, next_check timestamp with time zone)",
			key),
		segment->scan);
	foreach (lc, segment->finds)
	{
		int i = foreach_current_index(lc);
		const Watch *watch = list_nth(segment->predicate.watches, i);
		StringInfoData arguments;

		if (lfirst(lc) == NULL)
			continue;
		initStringInfo(&arguments);
		for (int j = 0; j < list_length(watch->key); j++)
			appendStringInfo(&arguments, "%svalues%d text[]", j > 0 ? ", " : "",
							 j + 1);
		create_function(
			pgj_segment_function_name(segment_id, "find", watch_ids[i]),
			arguments.data, psprintf("SETOF %s", key), lfirst(lc));
	}
	AtEOXact_GUC(false, level);
}

/* Whatever is there: CASCADE may have taken some, or other arguments stand. */
void
pgj_segment_drop_functions(int segment_id)
{
	char *command = psprintf(
		"SELECT pg_catalog.format('DROP FUNCTION %%s', p.oid::pg_catalog.regprocedure) FROM pg_catalog.pg_proc p"
		" WHERE p.pronamespace OPERATOR(pg_catalog.=) '" PGJ_STATE_SCHEMA
		"'::pg_catalog.regnamespace"
		" AND p.proname::pg_catalog.text OPERATOR(pg_catalog.~) '^segment_%d_(check|scan|find_[0-9]+)$'"
		" ORDER BY p.oid",
		segment_id);
	SPITupleTable *rows;
	uint64 nrows;

	if (SPI_execute(command, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for the functions of a segment");
	rows = SPI_tuptable;
	nrows = SPI_processed;
	for (uint64 i = 0; i < nrows; i++)
		if (SPI_execute(SPI_getvalue(rows->vals[i], rows->tupdesc, 1), false,
						0) != SPI_OK_UTILITY)
			elog(ERROR, "could not drop a function of a segment");
}
