/*-------------------------------------------------------------------------
 *
 * size.c
 *	  How large a segment was at a past time.
 *
 * The predicate is evaluated with now() = that time, over what was there then:
 * every table that it reads, the contact table included, is replaced by
 *
 *	 (SELECT * FROM <table> t WHERE t.<time column> <= <that time>)
 *
 * Replaced, not filtered further up: on the outer side of a join, or under an
 * aggregate, that would be another question.  The time column is declared by
 * journey.set_time_column(); a table without one, and a function that cannot be
 * looked into, would make the answer wrong, so there is none.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "box.h"
#include "pg_journey.h"
#include "script/expression.h"
#include "segment/compile.h"
#include "segment/predicate.h"
#include "segment/read.h"

PG_FUNCTION_INFO_V1(pgj_sql_segment_size);

#define BATCH 1000

typedef struct SizeContext
{
	const Site *site;
	const NamedSegment *segment;
	TimestampTz as_of;
	MemoryContext stays;

	char *statement; /* of the query as of then */

	/* one batch */
	bool first;
	Datum after; /* the last contact of the batch before */
	int nrows;
	int64 nmembers;
} SizeContext;

/* -------- what the predicate reads -------- */

typedef struct Reading
{
	List *relations; /* oid list */
	List *functions; /* oid list: those that may read anything */
} Reading;

static bool
function_walker(Oid function, void *context)
{
	Reading *reading = context;

	if (function >= FirstNormalObjectId &&
		func_volatile(function) != PROVOLATILE_IMMUTABLE)
		reading->functions =
			list_append_unique_oid(reading->functions, function);
	return false;
}

static bool
reading_walker(Node *node, Reading *reading)
{
	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, function_walker, reading);
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_RELATION)
			reading->relations =
				list_append_unique_oid(reading->relations, rte->relid);
		return false;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, reading_walker, reading,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, reading_walker, reading);
}

static char *
relation_text(Oid relation)
{
	return quote_qualified_identifier(
		get_namespace_name(get_rel_namespace(relation)),
		get_rel_name(relation));
}

static bool
is_state_table(Oid relation, const char *name)
{
	return get_rel_namespace(relation) ==
			   get_namespace_oid(PGJ_STATE_SCHEMA, true) &&
		   strcmp(get_rel_name(relation), name) == 0;
}

/* Our own logs only grow. */
static const char *
log_time_column(Oid relation)
{
	static const char *const logs[][2] = {
		{ "event", "at" },
		{ "consent_log", "at" },
		{ "receipt", "at" },
		{ "verdict", "at" },
		{ "transition", "at" },
		{ "refusal", "at" },
		{ "conversion", "at" },
		{ "message", "decided_at" },
		{ "exposure", "exposed_at" },
	};

	for (int i = 0; i < lengthof(logs); i++)
		if (is_state_table(relation, logs[i][0]))
			return logs[i][1];
	return NULL;
}

/* Its time column, quoted, or NULL. */
static const char *
time_column(Oid relation)
{
	Oid types[1] = { OIDOID };
	Datum values[1] = { ObjectIdGetDatum(relation) };
	const char *of_log = log_time_column(relation);

	if (of_log != NULL)
		return of_log;
	if (SPI_execute_with_args(
			"SELECT pg_catalog.quote_ident(a.attname) FROM journey.time_column AS t"
			" JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) t.relation"
			"  AND a.attname OPERATOR(pg_catalog.=) t.attribute AND NOT a.attisdropped"
			" WHERE t.relation::pg_catalog.oid OPERATOR(pg_catalog.=) $1",
			1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the time columns");
	return SPI_processed == 0
			   ? NULL
			   : SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
}

static void
refuse_unknown(const SizeContext *context, const Reading *reading)
{
	StringInfoData lacking;
	char *first = NULL;
	ListCell *lc;

	if (reading->functions != NIL)
		ereport(
			ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("the size of segment \"%s\" at another time cannot be told",
				   context->segment->name),
			errdetail("What function %s reads at that time is not known.",
					  format_procedure(linitial_oid(reading->functions))),
			errhint(
				"Functions in SQL are looked into, and immutable ones read nothing."));

	initStringInfo(&lacking);
	foreach (lc, reading->relations)
		if (time_column(lfirst_oid(lc)) == NULL)
		{
			if (is_state_table(lfirst_oid(lc), "membership"))
				ereport(
					ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg(
						"the size of segment \"%s\" at another time cannot be told",
						context->segment->name),
					errdetail(
						"It asks for another segment by journey.in_segment(); who was in that is not kept."));
			if (first == NULL)
				first = relation_text(lfirst_oid(lc));
			appendStringInfo(&lacking, "%s%s", lacking.len ? ", " : "",
							 relation_text(lfirst_oid(lc)));
		}
	if (lacking.len > 0)
		ereport(
			ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("the size of segment \"%s\" at another time cannot be told",
				   context->segment->name),
			errdetail(
				"It is not declared since when a row has been there for: %s.",
				lacking.data),
			errhint(
				"For tables that only grow: SELECT journey.set_time_column(%s, 'created_at').",
				quote_literal_cstr(first)));
}

/* -------- as of then -------- */

/* SELECT all columns FROM the table WHERE time <= $1, with equal column numbers */
static Query *
rows_as_of(const RangeTblEntry *rte)
{
	Relation relation = relation_open(rte->relid, AccessShareLock);
	TupleDesc desc = RelationGetDescr(relation);
	Oid types[1] = { TIMESTAMPTZOID };
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped)
			appendStringInfo(&sql, "%sNULL::pg_catalog.int4", i ? ", " : "");
		else
			appendStringInfo(&sql, "%st.%s", i ? ", " : "",
							 quote_identifier(NameStr(attribute->attname)));
	}

	/* timestamps without time zone, and dates, are meant in the segment's */
	appendStringInfo(&sql,
					 " FROM %s%s AS t WHERE t.%s OPERATOR(pg_catalog.<=) $1",
					 rte->inh ? "" : "ONLY ", relation_text(rte->relid),
					 time_column(rte->relid));
	relation_close(relation, NoLock);
	return parse_analyze_fixedparams(
		linitial_node(RawStmt, raw_parser(sql.data, RAW_PARSE_DEFAULT)),
		sql.data, types, lengthof(types), NULL);
}

static bool
limit_walker(Node *node, void *arg)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;
		Query *rows;

		if (rte->rtekind != RTE_RELATION)
			return false;
		if (rte->tablesample)
			ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("a sample has no past size"));
		rows = rows_as_of(rte);
		rte->rtekind = RTE_SUBQUERY;
		rte->subquery = rows;
		rte->relid = InvalidOid;
		rte->relkind = 0;
		rte->rellockmode = 0;
		rte->inh = false;
		if (rte->alias == NULL)
			rte->alias = makeAlias(rte->eref->aliasname, NIL);
		return false;
	}

	/* after: what a table was replaced by is not looked into */
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, limit_walker, arg,
								 QTW_EXAMINE_RTES_AFTER);
	return expression_tree_walker(node, limit_walker, arg);
}

static void
compile_in_box(void *arg)
{
	SizeContext *context = arg;
	Reading reading = { 0 };
	Query *query;

	pgj_segment_set_timezone(context->segment->timezone);
	pgj_expression_output_format();
	query =
		pgj_segment_stored_query(context->site, context->segment->segment_id);
	(void) reading_walker((Node *) query, &reading);

	SPI_connect();
	refuse_unknown(context, &reading);
	(void) limit_walker((Node *) query, NULL);
	context->statement =
		MemoryContextStrdup(context->stays, pg_get_querydef(query, false));
	SPI_finish();
}

/* -------- counting -------- */

/* Contacts in the order of their keys, so that a batch is bounded. */
static void
count_in_box(void *arg)
{
	SizeContext *context = arg;
	Oid types[2] = { TIMESTAMPTZOID, context->site->key_type };
	Datum values[2] = { TimestampTzGetDatum(context->as_of), context->after };
	char *sql = psprintf(
		"SELECT q.contact, q.member FROM (%s) AS q (contact, member)%s"
		" ORDER BY q.contact LIMIT %d",
		context->statement,
		context->first ? "" : " WHERE q.contact OPERATOR(pg_catalog.>) $2",
		BATCH);

	pgj_segment_set_timezone(context->segment->timezone);
	SPI_connect();
	if (SPI_execute_with_args(sql, context->first ? 1 : 2, types, values, NULL,
							  true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not count a segment's members");
	context->nrows = SPI_processed;
	for (int i = 0; i < context->nrows; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;
		Datum member = SPI_getbinval(row, desc, 2, &isnull);

		if (!isnull && DatumGetBool(member))
			context->nmembers++;
		if (i == context->nrows - 1)
		{
			MemoryContext inside = MemoryContextSwitchTo(context->stays);

			context->after = datumCopy(SPI_getbinval(row, desc, 1, &isnull),
									   context->site->key_typbyval,
									   context->site->key_typlen);
			MemoryContextSwitchTo(inside);
		}
	}
	SPI_finish();
	context->first = false;
}

/* journey.segment_size(name text, as_of timestamptz) */
Datum
pgj_sql_segment_size(PG_FUNCTION_ARGS)
{
	SizeContext context = { 0 };

	context.site = pgj_site();
	pgj_require_member(context.site);
	context.site = pgj_lock_contacts(context.site);
	context.as_of = PG_GETARG_TIMESTAMPTZ(1);
	context.stays = CurrentMemoryContext;
	context.first = true;

	SPI_connect();
	context.segment = pgj_segment_named(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	pgj_segment_ask(context.segment, context.site, compile_in_box, &context);
	do
	{
		CHECK_FOR_INTERRUPTS();
		pgj_segment_ask(context.segment, context.site, count_in_box, &context);
	} while (context.nrows == BATCH);
	SPI_finish();
	PG_RETURN_INT64(context.nmembers);
}
