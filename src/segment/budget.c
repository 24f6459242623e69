/*-------------------------------------------------------------------------
 *
 * budget.c
 *	  What a new predicate may cost.
 *
 * The check statement is planned for a sample of contacts, and the planner's
 * estimate for one of them compared with pg_journey.segment_cost; then it is run
 * for them, under the box's time-out.  The usual reason for too much is a
 * table that can only be read as a whole to find the rows of one contact, so an
 * index that is missing is named.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/params.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "pg_journey.h"
#include "segment/compile.h"

/* Is there an index that finds rows by a column? */
static bool
has_index(Relation relation, AttrNumber column)
{
	List *indexes = RelationGetIndexList(relation);
	ListCell *lc;
	bool found = false;

	foreach (lc, indexes)
	{
		Relation index = index_open(lfirst_oid(lc), AccessShareLock);

		found |= index->rd_index->indisvalid &&
				 index->rd_index->indkey.values[0] == column &&
				 RelationGetIndexPredicate(index) == NIL;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return found;
}

/* "orders (customer_id)", or NULL if every watched table has an index. */
char *
pgj_segment_missing_index(const Predicate *predicate)
{
	ListCell *lc;

	foreach (lc, predicate->watches)
	{
		const Watch *watch = lfirst(lc);
		Relation relation;
		ListCell *lk;
		bool found = false;

		if (watch->kind == WATCH_ALL ||
			watch->relation == predicate->site->contact_table)
			continue;
		relation = relation_open(watch->relation, AccessShareLock);
		foreach (lk, watch->key)
			found |= has_index(relation, lfirst_int(lk));
		relation_close(relation, AccessShareLock);
		if (!found)
			return psprintf(
				"%s (%s)",
				quote_qualified_identifier(
					get_namespace_name(get_rel_namespace(watch->relation)),
					get_rel_name(watch->relation)),
				quote_identifier(get_attname(watch->relation,
											 linitial_int(watch->key), false)));
	}
	return NULL;
}

/*
 * Parameters of the check statement for a sample of contacts.  Where there are
 * fewer, the same one stands several times; where there are none, null does.
 */
void
pgj_segment_sample(const Site *site, TimestampTz at, Datum *values)
{
	Datum n[SEGMENT_SAMPLE];
	Datum contact[SEGMENT_SAMPLE];
	Datum time[SEGMENT_SAMPLE];
	bool nulls[SEGMENT_SAMPLE];
	int dims[1] = { SEGMENT_SAMPLE };
	int lbs[1] = { 1 };
	uint64 nrows;

	if (SPI_execute(psprintf("SELECT c.%s FROM %s AS c LIMIT %d",
							 site->key_column, site->contact_name,
							 SEGMENT_SAMPLE),
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read a sample of contacts");
	nrows = SPI_processed;
	for (int i = 0; i < SEGMENT_SAMPLE; i++)
	{
		n[i] = Int32GetDatum(i);
		time[i] = TimestampTzGetDatum(at);
		nulls[i] = nrows == 0;
		contact[i] = (Datum) 0;
		if (nrows > 0)
			contact[i] = SPI_getbinval(SPI_tuptable->vals[i % nrows],
									   SPI_tuptable->tupdesc, 1, &nulls[i]);
	}
	values[0] = PointerGetDatum(
		construct_array(n, SEGMENT_SAMPLE, INT4OID, 4, true, TYPALIGN_INT));
	values[1] = PointerGetDatum(construct_md_array(
		contact, nulls, 1, dims, lbs, site->key_type, site->key_typlen,
		site->key_typbyval, site->key_typalign));
	values[2] =
		PointerGetDatum(construct_array(time, SEGMENT_SAMPLE, TIMESTAMPTZOID, 8,
										FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* The planner's estimate for the sample. */
static double
estimate(const char *statement, Oid *types, const Datum *values)
{
	ParamListInfo params = makeParamList(3);
	RawStmt *raw =
		linitial_node(RawStmt, raw_parser(statement, RAW_PARSE_DEFAULT));
	List *queries =
		pg_analyze_and_rewrite_fixedparams(raw, statement, types, 3, NULL);
	PlannedStmt *plan;

	for (int i = 0; i < 3; i++)
	{
		params->params[i].value = values[i];
		params->params[i].isnull = false;
		params->params[i].pflags = PARAM_FLAG_CONST;
		params->params[i].ptype = types[i];
	}
	plan = pg_plan_query(linitial_node(Query, queries), statement, 0, params);
	return plan->planTree->total_cost;
}

void
pgj_segment_check_budget(CompiledSegment *segment, TimestampTz at, bool enforce)
{
	const Site *site = segment->predicate.site;
	Oid types[3] = { INT4ARRAYOID, site->key_array_type, TIMESTAMPTZARRAYOID };
	Datum values[3];

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pgj_segment_sample(site, at, values);
	segment->cost = estimate(segment->check, types, values) / SEGMENT_SAMPLE;
	if (enforce && pgj_segment_cost > 0 && segment->cost > pgj_segment_cost)
	{
		char *index = pgj_segment_missing_index(&segment->predicate);

		ereport(
			ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			errmsg("the predicate costs too much"),
			errdetail(
				"The planner estimates %.0f for one contact; pg_journey.segment_cost allows %.0f.",
				segment->cost, pgj_segment_cost),
			index
				? errhint("An index on %s is missing.", index)
				: errhint(
					  "EXPLAIN tells why, for one contact: EXPLAIN SELECT ... FROM %s AS c WHERE c.%s = ...",
					  site->contact_name, site->key_column));
	}
	if (enforce && SPI_execute_with_args(segment->check, 3, types, values, NULL,
										 true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not try a predicate");
	SPI_finish();
}
