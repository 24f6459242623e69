/*-------------------------------------------------------------------------
 *
 * compile.c
 *	  Compile a segment's predicate.
 *
 * As in script/expression.c the text is parsed by itself and must come out as
 * exactly one expression; only its tree goes on, into the WHERE clause of
 *
 *	 SELECT c.key FROM <contact table> AS c WHERE <predicate>
 *
 * where the analyzer refuses aggregates, window functions and set-returning
 * functions of its own.  From there it is moved to the target list, where the
 * analysis (expand.c, trace.c, boundary.c) and the statements (statement.c)
 * take it up.  Everything happens in the box: as the journey owner, with the
 * author's search_path and the segment's time zone, in which literals are read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/catcache.h"
#include "utils/syscache.h"

#include "box.h"
#include "guc.h"
#include "pg_journey.h"
#include "script/expression.h"
#include "segment/compile.h"

typedef struct CompileContext
{
	CompiledSegment *segment;
	const char *search_path; /* NULL: compile from the stored function */
	const char *timezone;
	int segment_id;
	TimestampTz at;
	bool analyzed; /* out: got as far as to the trial */
} CompileContext;

static Query *
analyze_predicate(const Site *site, const char *source)
{
	char *frame = psprintf("SELECT c.%s FROM %s AS c WHERE NULL",
						   site->key_column, site->contact_name);
	Node *expression = pgj_expression_parse(source);
	RawStmt *raw = linitial_node(RawStmt, raw_parser(frame, RAW_PARSE_DEFAULT));
	Query *query;
	Node *condition;

	castNode(SelectStmt, raw->stmt)->whereClause = expression;
	query = parse_analyze_fixedparams(raw, source, NULL, 0, NULL);
	if (isQueryUsingTempRelation(query))
		ereport(
			ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("temporary tables cannot be used in a segment's predicate"));

	condition = query->jointree->quals;
	query->jointree->quals = NULL;
	query->targetList =
		lappend(query->targetList, makeTargetEntry((Expr *) condition, 2,
												   pstrdup("member"), false));
	return query;
}

/* The statement inside the segment's check function, or NULL. */
static Query *
stored_statement(int segment_id)
{
	char *name = psprintf("segment_%d_check", segment_id);
	Oid namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);
	CatCList *list =
		SearchSysCacheList1(PROCNAMEARGSNSP, CStringGetDatum(name));
	Query *query = NULL;

	for (int i = 0; i < list->n_members && query == NULL; i++)
	{
		HeapTuple tuple = &list->members[i]->tuple;
		bool isnull;
		Datum body;
		Node *node;

		if (((Form_pg_proc) GETSTRUCT(tuple))->pronamespace != namespace)
			continue;
		body = SysCacheGetAttr(PROCNAMEARGSNSP, tuple, Anum_pg_proc_prosqlbody,
							   &isnull);
		if (isnull)
			continue;
		node = stringToNode(TextDatumGetCString(body));
		if (IsA(node, List))
			node = linitial(linitial_node(List, (List *) node));
		query = castNode(Query, node);
	}
	ReleaseSysCacheList(list);
	return query;
}

bool
pgj_segment_has_function(int segment_id)
{
	return stored_statement(segment_id) != NULL;
}

Query *
pgj_segment_stored_query(const Site *site, int segment_id)
{
	Query *check = stored_statement(segment_id);

	if (check == NULL)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_FUNCTION),
				errmsg("the segment has no statement"),
				errdetail("It was dropped together with something that the "
						  "segment reads, or is not made yet in a copy."),
				errhint("See journey.segment_progress; "
						"journey.resume_segment() compiles it anew."));
	return pgj_segment_read_statement(site, check);
}

static void
compile_in_box(void *arg)
{
	CompileContext *cc = arg;
	Predicate *predicate = &cc->segment->predicate;
	Query *query;

	(void) set_config_option("timezone", cc->timezone, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (cc->search_path)
	{
		SetConfigOption("search_path", cc->search_path, PGC_USERSET,
						PGC_S_SESSION);
		query = analyze_predicate(predicate->site, predicate->source);
	}
	else
		query = pgj_segment_stored_query(predicate->site, cc->segment_id);
	pgj_predicate_expand(predicate, query);
	pgj_predicate_trace(predicate);
	pgj_predicate_boundary(predicate);
	cc->analyzed = true;

	pgj_expression_output_format();
	pgj_segment_write_statements(cc->segment);
	pgj_segment_check_budget(cc->segment, cc->at, cc->search_path != NULL);
}

/* Say what the parser said of a WHERE clause in the words of a segment. */
static void
translate_error(ErrorData *error)
{
	const char *function = error->funcname ? error->funcname : "";

	if (strcmp(function, "check_agglevels_and_constraints") == 0)
	{
		error->message = pstrdup("aggregate functions are not allowed here");
		error->hint = pstrdup(
			"Use a sub-select: (SELECT count(*) FROM … WHERE … = c.id).");
	}
	else if (strcmp(function, "transformWindowFuncCall") == 0)
		error->message = pstrdup("window functions are not allowed here");
	else if (strcmp(function, "check_srf_call_placement") == 0)
	{
		error->message =
			pstrdup("set-returning functions are not allowed here");
		error->hint = pstrdup("Use a sub-select that yields one value.");
	}
	else if (error->sqlerrcode == ERRCODE_DATATYPE_MISMATCH && error->message &&
			 strstr(error->message, "argument of WHERE"))
	{
		char *type = strstr(error->message, ", not type ");

		error->message =
			psprintf("a segment's predicate must be of type boolean%s",
					 type ? type : "");
	}
}

/* A trial that was cancelled was too slow; a cancel by others is thrown on. */
static void
explain_timeout(ErrorData *error, const CompileContext *cc)
{
	char *index;

	if (error->sqlerrcode != ERRCODE_QUERY_CANCELED || !cc->analyzed)
		return;
	index = pgj_segment_missing_index(&cc->segment->predicate);
	error->sqlerrcode = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	error->message = pstrdup("the predicate takes too long");
	error->detail = psprintf("Trying it on %d contacts took longer than %d ms.",
							 SEGMENT_SAMPLE, pgj_expression_timeout);
	error->hint =
		index
			? psprintf("An index on %s is missing.", index)
			: pstrdup(
				  "EXPLAIN ANALYZE tells why, for one contact. The limit is the setting pg_journey.expression_timeout.");
}

/* Where it happened is told without the statement around the predicate. */
static void
cut_context(ErrorData *error)
{
	char *statement =
		error->context ? strstr(error->context, "SQL statement \" SELECT k.n,")
					   : NULL;

	if (statement == error->context)
		error->context = NULL;
	else if (statement)
		statement[-1] = '\0';
}

static CompiledSegment *
compile(const Site *site, const char *source, CompileContext *cc,
		ErrorData **error)
{
	cc->segment = palloc0_object(CompiledSegment);
	cc->segment->predicate.site = site;
	cc->segment->predicate.source = source;
	cc->segment->predicate.stored = cc->search_path == NULL;
	*error = pgj_box_run(site, 0, 0, compile_in_box, cc);
	if (*error)
	{
		explain_timeout(*error, cc);
		cut_context(*error);
	}
	return *error ? NULL : cc->segment;
}

CompiledSegment *
pgj_segment_compile(const Site *site, const char *source,
					const char *search_path, const char *timezone,
					TimestampTz at, ErrorData **error)
{
	CompileContext cc = { .search_path = search_path,
						  .timezone = timezone,
						  .at = at };
	CompiledSegment *segment = compile(site, source, &cc, error);

	if (*error)
		translate_error(*error);
	return segment;
}

CompiledSegment *
pgj_segment_recompile(const Site *site, int segment_id, const char *source,
					  const char *timezone, TimestampTz at, ErrorData **error)
{
	CompileContext cc = { .timezone = timezone,
						  .segment_id = segment_id,
						  .at = at };

	return compile(site, source, &cc, error);
}

/*
 * The position of an error in the predicate is shown in the predicate's own
 * text, not in that of the call.
 */
void
pgj_segment_throw(ErrorData *error, const char *source)
{
	if (error->cursorpos > 0 && error->internalquery == NULL)
	{
		error->internalpos = error->cursorpos;
		error->internalquery = pstrdup(source);
		error->cursorpos = 0;
	}
	error->elevel = ERROR;
	ThrowErrorData(error);
	pg_unreachable();
}
