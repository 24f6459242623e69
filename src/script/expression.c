/*-------------------------------------------------------------------------
 *
 * expression.c
 *	  Compile an SQL expression of a script to one set-based statement.
 *
 * The text is parsed by itself, by PostgreSQL's own parser, and must come out
 * as exactly one expression.  Only the tree goes on: it is put into a frame
 *
 *	 SELECT n, <expression> FROM <parameters>
 *		LEFT JOIN <contact table> c ... LEFT JOIN LATERAL (...) event ...
 *
 * so that no text a user wrote is ever pasted into a statement.  The frame is
 * analyzed twice.  First with everything joined and the expression in a VALUES
 * list, where the parser refuses aggregates, window functions and set-returning
 * functions, and to learn what the expression reads; then with only that
 * joined.  In the second tree now() becomes a parameter, the value is coerced,
 * and pg_get_querydef writes the statement with every name qualified.  It is
 * then planned and run over no rows, which finds missing privileges and
 * constants that cannot be computed.
 *
 * Names resolve as they do for the author: with the search_path in force when
 * pgj_expression_compile is called.  Everything happens in the box.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "box.h"
#include "pg_journey.h"
#include "rewrite.h"
#include "script/expression.h"
#include "script/expression_rewrite.h"

#define NPARAMS 8
#define COL_NOW 3 /* attribute number of "journey now" */

/* names no expression uses by accident */
#define RUN_ALIAS "journey run"

typedef struct CompileContext
{
	const Site *site;
	const char *source;
	ExpressionScope scope;
	Oid result;
	const char *search_path; /* the author's */
	MemoryContext context;	 /* of the statement */
	Oid param_types[NPARAMS];
	char *statement; /* out */
} CompileContext;

/* what the expression may read, in the frame */
typedef struct Joins
{
	bool contact;
	bool event;
	bool enrollment;
} Joins;

static ParseState *
source_state(const char *source)
{
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = source;
	return pstate;
}

/* -------- exactly one expression -------- */

static bool
param_walker(Node *node, const char *source)
{
	if (node == NULL)
		return false;
	if (IsA(node, ParamRef))
		ereport(
			ERROR, errcode(ERRCODE_UNDEFINED_PARAMETER),
			errmsg("there is no parameter $%d", ((ParamRef *) node)->number),
			parser_errposition(source_state(source),
							   ((ParamRef *) node)->location));
	return raw_expression_tree_walker(node, param_walker, (void *) source);
}

static void
refuse_clause(bool present, const char *what)
{
	if (present)
		ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("%s is not allowed here", what),
				errdetail("This must be exactly one SQL expression."),
				errhint("Put a query in parentheses, as a sub-select."));
}

Node *
pgj_expression_parse(const char *source)
{
	List *parsed = raw_parser(source, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select;
	ResTarget *target;

	if (list_length(parsed) != 1 ||
		!IsA(linitial_node(RawStmt, parsed)->stmt, SelectStmt))
		refuse_clause(true, "a statement");
	select = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;

	if (select->targetList == NIL)
		ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("an expression is missing"));
	refuse_clause(select->distinctClause != NIL, "DISTINCT");
	refuse_clause(select->intoClause != NULL, "INTO");
	refuse_clause(select->fromClause != NIL, "FROM");
	refuse_clause(select->whereClause != NULL, "WHERE");
	refuse_clause(select->groupClause != NIL, "GROUP BY");
	refuse_clause(select->havingClause != NULL, "HAVING");
	refuse_clause(select->windowClause != NIL, "WINDOW");
	refuse_clause(select->valuesLists != NIL, "VALUES");
	refuse_clause(select->sortClause != NIL, "ORDER BY");
	refuse_clause(select->limitOffset != NULL || select->limitCount != NULL,
				  "LIMIT");
	refuse_clause(select->lockingClause != NIL, "a locking clause");
	refuse_clause(select->withClause != NULL, "WITH");
	refuse_clause(select->op != SETOP_NONE, "UNION, INTERSECT or EXCEPT");

	target = linitial_node(ResTarget, select->targetList);
	if (list_length(select->targetList) > 1)
	{
		target = lsecond_node(ResTarget, select->targetList);
		ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("more than one expression"),
				parser_errposition(source_state(source), target->location));
	}
	if (target->name != NULL || target->indirection != NIL)
		ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("a name for the expression (\"%s\") is not allowed here",
					   target->name),
				parser_errposition(source_state(source), target->location));
	if (IsA(target->val, ColumnRef) &&
		IsA(llast(((ColumnRef *) target->val)->fields), A_Star))
		ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
				errmsg("\"*\" is not allowed here"),
				parser_errposition(source_state(source), target->location));

	(void) param_walker(target->val, source);
	return target->val;
}

/* -------- the frame -------- */

static char *
frame_text(const CompileContext *cc, Joins joins, bool probe)
{
	const Site *site = cc->site;
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(
		&s,
		"SELECT \"" RUN_ALIAS
		"\".\"journey n\" AS n, NULL AS value FROM ROWS FROM ("
		"pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
		"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), "
		"pg_catalog.unnest($7), pg_catalog.unnest($8)) AS \"" RUN_ALIAS "\" ("
		"\"journey n\", \"journey contact\", \"journey now\", \"journey event id\", "
		"\"journey event at\", \"journey enrollment id\", \"journey key\", \"journey entered at\")");
	if (joins.contact)
		appendStringInfo(
			&s,
			" LEFT JOIN %s AS c ON c.%s OPERATOR(pg_catalog.=) \"" RUN_ALIAS
			"\".\"journey contact\"",
			site->contact_name, site->key_column);
	if (joins.event)
		appendStringInfoString(
			&s,
			" LEFT JOIN LATERAL (SELECT v.event_id AS id, v.name, v.at, v.properties"
			" FROM " PGJ_STATE_SCHEMA ".event AS v"
			" WHERE v.contact OPERATOR(pg_catalog.=) \"" RUN_ALIAS
			"\".\"journey contact\""
			" AND v.event_id OPERATOR(pg_catalog.=) \"" RUN_ALIAS
			"\".\"journey event id\""
			" AND v.at OPERATOR(pg_catalog.=) \"" RUN_ALIAS
			"\".\"journey event at\") AS event ON true");
	if (joins.enrollment)
		appendStringInfoString(&s,
							   " CROSS JOIN LATERAL (SELECT \"" RUN_ALIAS
							   "\".\"journey enrollment id\" AS id,"
							   " \"" RUN_ALIAS "\".\"journey key\" AS key,"
							   " \"" RUN_ALIAS
							   "\".\"journey entered at\" AS entered_at) AS e");
	if (probe)
		appendStringInfoString(
			&s, ", LATERAL (VALUES (NULL)) AS \"journey value\"");
	return s.data;
}

/*
 * Analyze the frame with an expression in its place.  Positions in errors are
 * those of the expression's own text: nothing else in the frame can be wrong.
 */
static Query *
analyze_frame(const CompileContext *cc, Joins joins, bool probe,
			  Node *expression)
{
	List *parsed = raw_parser(frame_text(cc, joins, probe), RAW_PARSE_DEFAULT);
	RawStmt *raw = linitial_node(RawStmt, parsed);
	SelectStmt *select = castNode(SelectStmt, raw->stmt);

	if (probe)
	{
		RangeSubselect *values = llast_node(RangeSubselect, select->fromClause);
		List *row =
			linitial(castNode(SelectStmt, values->subquery)->valuesLists);

		linitial(row) = expression;
	}
	else
		lsecond_node(ResTarget, select->targetList)->val = expression;
	return parse_analyze_fixedparams(raw, cc->source, cc->param_types, NPARAMS,
									 NULL);
}

/* The range table index of an alias of the frame, or 0. */
static int
find_alias(const Query *query, const char *alias)
{
	ListCell *lc;
	int rtindex = 0;

	foreach (lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rtindex++;
		if (rte->alias && strcmp(rte->alias->aliasname, alias) == 0)
			return rtindex;
	}
	return 0;
}

/*
 * Does the expression in a probe read this part of the frame?  Only the
 * sub-query with the expression is looked at: the frame itself reads c.
 */
static bool
reads(Query *probe, const char *alias)
{
	RangeTblEntry *value =
		rt_fetch(find_alias(probe, "journey value"), probe->rtable);
	int rtindex = find_alias(probe, alias);

	return rtindex > 0 && pgj_expression_uses(value, rtindex);
}

/* -------- the statement -------- */

static Node *
coerce_value(const CompileContext *cc, Node *raw, Node *value)
{
	Oid type = exprType(value);
	Node *coerced = NULL;

	if (cc->result != BOOLOID || getBaseType(type) == BOOLOID)
		coerced = coerce_to_target_type(NULL, value, type, cc->result, -1,
										COERCION_ASSIGNMENT,
										COERCE_IMPLICIT_CAST, -1);
	if (coerced == NULL)
		ereport(
			ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
			errmsg("the expression must be of type %s, but is of type %s",
				   format_type_be(cc->result), format_type_be(type)),
			cc->result == BOOLOID ? 0
								  : errhint("Cast it: (expression)::%s.",
											format_type_be(cc->result)),
			parser_errposition(source_state(cc->source), exprLocation(raw)));
	return coerced;
}

void
pgj_expression_output_format(void)
{
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_USERSET,
					PGC_S_SESSION);
	SetConfigOption("datestyle", "ISO, YMD", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("intervalstyle", "postgres", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("extra_float_digits", "3", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("bytea_output", "hex", PGC_USERSET, PGC_S_SESSION);
	SetConfigOption("standard_conforming_strings", "on", PGC_USERSET,
					PGC_S_SESSION);
}

/* Plan and run the statement over no rows. */
static void
try_statement(const CompileContext *cc, const char *statement)
{
	Datum values[NPARAMS];
	SPIPlanPtr plan;
	int i;

	for (i = 0; i < NPARAMS; i++)
		values[i] = PointerGetDatum(
			construct_empty_array(get_element_type(cc->param_types[i])));

	SPI_connect();
	plan = SPI_prepare(statement, NPARAMS, (Oid *) cc->param_types);
	if (plan == NULL)
		elog(ERROR, "could not prepare a compiled expression: %s",
			 SPI_result_code_string(SPI_result));
	if (SPI_execute_plan(plan, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run a compiled expression");
	SPI_finish();
}

static void
compile_in_box(void *arg)
{
	CompileContext *cc = arg;
	Joins joins = { true, true, cc->scope != EXPRESSION_ENTRY };
	Node *raw = pgj_expression_parse(cc->source);
	Node *tree = raw;
	Query *query;
	TargetEntry *target;
	char *statement;

	/* a bare literal takes the type that is wanted */
	if (IsA(raw, A_Const) && cc->result != TEXTOID &&
		(((A_Const *) raw)->isnull || IsA(&((A_Const *) raw)->val, String)))
	{
		TypeCast *cast = makeNode(TypeCast);

		cast->arg = raw;
		cast->typeName = makeTypeNameFromOid(cc->result, -1);
		cast->location = ((A_Const *) raw)->location;
		tree = (Node *) cast;
	}

	SetConfigOption("search_path", cc->search_path, PGC_USERSET, PGC_S_SESSION);
	query = analyze_frame(cc, joins, true, copyObject(tree));
	joins.contact = reads(query, "c");
	joins.event = reads(query, "event");
	joins.enrollment = reads(query, "e");

	query = analyze_frame(cc, joins, false, tree);
	if (isQueryUsingTempRelation(query))
		ereport(
			ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg(
				"temporary tables cannot be used in a journey's expressions"));
	query = pgj_expression_fix_now(query, 1, COL_NOW);
	pgj_rewrite_refuse(query, cc->source);
	target = lsecond_node(TargetEntry, query->targetList);
	target->expr = (Expr *) coerce_value(cc, raw, (Node *) target->expr);

	pgj_expression_output_format();
	statement = pg_get_querydef(query, false);
	try_statement(cc, statement);
	cc->statement = MemoryContextStrdup(cc->context, statement);
}

/*
 * Say what the parser said in the words of a journey: it was asked about a
 * VALUES list.
 */
static void
translate_error(ErrorData *error, ExpressionScope scope)
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
	else if (scope == EXPRESSION_ENTRY &&
			 error->sqlerrcode == ERRCODE_UNDEFINED_TABLE &&
			 strcmp(function, "errorMissingRTE") == 0 && error->message &&
			 strstr(error->message, "\"e\""))
		error->hint =
			pstrdup("There is no enrollment (e) yet when this is asked.");
}

char *
pgj_expression_compile(const Site *site, const char *script, const char *source,
					   int offset, ExpressionScope scope, Oid result,
					   ErrorData **error)
{
	CompileContext cc = { 0 };

	cc.site = site;
	cc.source = source;
	cc.scope = scope;
	cc.result = result;
	cc.search_path = pstrdup(namespace_search_path);
	cc.context = CurrentMemoryContext;
	cc.param_types[0] = INT4ARRAYOID;
	cc.param_types[1] = site->key_array_type;
	cc.param_types[2] = TIMESTAMPTZARRAYOID;
	cc.param_types[3] = INT8ARRAYOID;
	cc.param_types[4] = TIMESTAMPTZARRAYOID;
	cc.param_types[5] = INT8ARRAYOID;
	cc.param_types[6] = TEXTARRAYOID;
	cc.param_types[7] = TIMESTAMPTZARRAYOID;

	*error = pgj_box_run(site, 0, 0, compile_in_box, &cc);
	if (*error)
	{
		int position = 0;

		translate_error(*error, scope);

		/* characters of the source to bytes of the script */
		if ((*error)->cursorpos > 0 && (*error)->internalquery == NULL)
			position = pg_mbcharcliplen(source, strlen(source),
										(*error)->cursorpos - 1);
		(*error)->cursorpos = offset + position;
		return NULL;
	}
	return cc.statement;
}
