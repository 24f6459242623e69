/*-------------------------------------------------------------------------
 *
 * inline.c
 *	  The body in the place of a call: SQL-language functions, in_segment().
 *
 * A function can be looked into if calling it is nothing but running its one
 * SELECT: no SECURITY DEFINER, no settings of its own, a result that is no row
 * (or a set in FROM).  Its arguments stand wherever the body has a parameter.
 * That may be more than once; nothing volatile is left that could tell.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/functions.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "parser/parse_node.h"
#include "parser/parse_oper.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "append.h"
#include "pg_journey.h"
#include "segment/expand.h"

/* -------- arguments in the place of parameters -------- */

typedef struct ParamContext
{
	List *args;
	int level;
	Bitmapset *used;
} ParamContext;

static Node *
param_mutator(Node *node, ParamContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		Query *result;

		context->level++;
		result = query_tree_mutator((Query *) node, param_mutator, context, 0);
		context->level--;
		return (Node *) result;
	}
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN)
	{
		Param *param = (Param *) node;
		Node *arg;

		if (param->paramid < 1 || param->paramid > list_length(context->args))
			elog(ERROR, "no argument for parameter %d", param->paramid);
		arg = copyObject(list_nth(context->args, param->paramid - 1));
		IncrementVarSublevelsUp(arg, context->level, 0);
		context->used = bms_add_member(context->used, param->paramid);
		return arg;
	}
	return expression_tree_mutator(node, param_mutator, context);
}

Node *
pgj_replace_params(Node *node, List *args)
{
	ParamContext context = { args, 0, NULL };

	return param_mutator(node, &context);
}

/* -------- the body of a function -------- */

typedef struct BodyError
{
	const char *name;
	const char *source;
} BodyError;

/* An error's position is one in the function's text, not in the predicate's. */
static void
body_error(void *arg)
{
	BodyError *body = arg;
	int position = geterrposition();

	if (position > 0)
	{
		errposition(0);
		internalerrposition(position);
		internalerrquery(body->source);
	}
	errcontext("SQL function \"%s\"", body->name);
}

/* Only what runs with the caller's rights, settings and search path. */
static bool
is_plain_sql(HeapTuple tuple)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);

	return proc->prolang == SQLlanguageId &&
		   proc->pronamespace != PG_CATALOG_NAMESPACE &&
		   proc->prokind == PROKIND_FUNCTION && !proc->prosecdef &&
		   heap_attisnull(tuple, Anum_pg_proc_proconfig, NULL) &&
		   pgj_function_aclcheck(proc->oid, GetUserId(), ACL_EXECUTE) ==
			   ACLCHECK_OK;
}

/* The statement of a body as it is stored, BEGIN ATOMIC or RETURN. */
static List *
stored_body(const char *stored)
{
	Node *node = stringToNode(stored);

	return IsA(node, List) ? linitial_node(List, (List *) node)
						   : list_make1(node);
}

/* The statements of a body that is a text. */
static List *
parsed_body(HeapTuple tuple, FuncExpr *call, const char *source)
{
	SQLFunctionParseInfoPtr info =
		prepare_sql_fn_parse_info(tuple, (Node *) call, call->inputcollid);
	List *result = NIL;
	ListCell *lc;

	foreach (lc, pg_parse_query(source))
		result = lappend(
			result, parse_analyze_withcb(lfirst_node(RawStmt, lc), source,
										 (ParserSetupHook) sql_fn_parser_setup,
										 info, NULL));
	return result;
}

/*
 * Calls as they will be run: arguments in the order of the parameters, none of
 * them named, and defaults written out.  In place, before anything is asked of them:
 * a default may hold the time, or be volatile.
 */
static bool
complete_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		FuncExpr *call = (FuncExpr *) node;
		HeapTuple tuple =
			SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for function %u", call->funcid);
		call->args = expand_function_arguments(call->args, false,
											   call->funcresulttype, tuple);
		ReleaseSysCache(tuple);
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, complete_walker, context, 0);
	return expression_tree_walker(node, complete_walker, context);
}

void
pgj_complete_calls(Query *query)
{
	(void) complete_walker((Node *) query, NULL);
}

/*
 * The one SELECT a function consists of, checked against what it returns, its
 * parameters still in it; NULL if it is not that simple.
 */
static Query *
function_body(HeapTuple tuple, FuncExpr *call, TupleDesc row,
			  TypeFuncClass returns)
{
	Form_pg_proc proc = (Form_pg_proc) GETSTRUCT(tuple);
	BodyError error = { NameStr(proc->proname), "" };
	ErrorContextCallback callback = { error_context_stack, body_error, &error };
	bool isnull;
	Datum stored;
	List *body;
	Query *query = NULL;

	error_context_stack = &callback;
	stored = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosqlbody, &isnull);
	if (!isnull)
		body = stored_body(TextDatumGetCString(stored));
	else
	{
		stored = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);
		error.source = isnull ? "" : TextDatumGetCString(stored);
		body = parsed_body(tuple, call, error.source);
	}

	if (list_length(body) == 1 &&
		linitial_node(Query, body)->commandType == CMD_SELECT)
	{
		bool whole_row;

		query = linitial_node(Query, body);
		AcquireRewriteLocks(query, true, false);
		pgj_complete_calls(query);
		pgj_predicate_refuse(query, error.source);
		body = list_make1(query);
		whole_row = pgj_check_sql_fn_retval(
			list_make1(body), call->funcresulttype, row, call->funcretset);
		query = linitial_node(Query, body);
		if (!whole_row && returns != TYPEFUNC_SCALAR)
			query = NULL;
	}
	error_context_stack = callback.previous;

	/* written out and read back, no position of another text is left in it */
	return query ? stringToNode(nodeToString(query)) : NULL;
}

/* Look into what came out, but not into the same function again. */
static Node *
expand_body(Node *body, Oid function, Expansion *expansion)
{
	pgj_predicate_source(expansion->predicate, false, function);
	expansion->inside = lcons_oid(function, expansion->inside);
	body = pgj_expand_node(body, expansion);
	expansion->inside = list_delete_first(expansion->inside);
	return body;
}

/* -------- a call in an expression -------- */

/* Does the query yield exactly one row by its form, and nothing but its targets? */
static bool
is_mere_expression(const Query *query)
{
	return query->jointree->fromlist == NIL && query->jointree->quals == NULL &&
		   !query->hasAggs && !query->hasWindowFuncs && !query->hasTargetSRFs &&
		   query->cteList == NIL && query->setOperations == NULL &&
		   query->groupClause == NIL && query->groupingSets == NIL &&
		   query->havingQual == NULL && query->distinctClause == NIL &&
		   query->sortClause == NIL && query->limitCount == NULL &&
		   query->limitOffset == NULL && list_length(query->targetList) == 1;
}

/* A scalar function yields its first row, a sub-select fails at the second. */
static Query *
only_first_row(Query *query)
{
	if (query->hasAggs && query->groupClause == NIL &&
		query->groupingSets == NIL && !query->hasTargetSRFs)
		return query;
	if (query->limitCount != NULL)
	{
		Const *limit =
			(Const *) eval_const_expressions(NULL, query->limitCount);

		return IsA(limit, Const) && !limit->constisnull &&
					   DatumGetInt64(limit->constvalue) <= 1
				   ? query
				   : NULL;
	}
	query->limitOption = LIMIT_OPTION_COUNT;
	query->limitCount =
		(Node *) makeConst(INT8OID, -1, InvalidOid, sizeof(int64),
						   Int64GetDatum(1), false, FLOAT8PASSBYVAL);
	return query;
}

static Node *
as_sub_select(Query *query)
{
	SubLink *link = makeNode(SubLink);

	link->subLinkType = EXPR_SUBLINK;
	link->subselect = (Node *) query;
	link->location = -1;
	return (Node *) link;
}

/* A strict function is not called when an argument is null. */
static Node *
unless_null(Node *body, List *args)
{
	List *tests = NIL;
	CaseExpr *choice;
	CaseWhen *when;
	ListCell *lc;

	foreach (lc, args)
	{
		Node *arg = lfirst(lc);
		NullTest *test;

		if (IsA(arg, Const) && !((Const *) arg)->constisnull)
			continue;
		if (type_is_rowtype(exprType(arg)))
			return NULL; /* IS NULL means another thing there */
		test = makeNode(NullTest);
		test->arg = (Expr *) copyObject(arg);
		test->nulltesttype = IS_NULL;
		test->location = -1;
		tests = lappend(tests, test);
	}
	if (tests == NIL)
		return body;

	when = makeNode(CaseWhen);
	when->expr = list_length(tests) == 1
					 ? linitial(tests)
					 : (Expr *) makeBoolExpr(OR_EXPR, tests, -1);
	when->result = (Expr *) makeNullConst(exprType(body), exprTypmod(body),
										  exprCollation(body));
	when->location = -1;
	choice = makeNode(CaseExpr);
	choice->casetype = exprType(body);
	choice->casecollid = exprCollation(body);
	choice->args = list_make1(when);
	choice->defresult = (Expr *) body;
	choice->location = -1;
	return (Node *) choice;
}

static bool
uses_all_params(const ParamContext *context)
{
	return bms_num_members(context->used) == list_length(context->args);
}

/* The body of a scalar function, with its arguments in it. */
static Node *
scalar_body(Query *query, List *args, bool strict)
{
	ParamContext context = { args, 0, NULL };
	Node *body;
	bool strict_by_itself = false;

	if (is_mere_expression(query))
	{
		Node *expr =
			(Node *) linitial_node(TargetEntry, query->targetList)->expr;

		strict_by_itself =
			!contain_subplans(expr) && !contain_nonstrict_functions(expr);
		body = param_mutator(expr, &context);
		strict_by_itself = strict_by_itself && uses_all_params(&context);
	}
	else
	{
		/* an aggregate of the query around would become one of the body */
		if (contain_aggs_of_level((Node *) args, 0) ||
			contain_windowfuncs((Node *) args))
			return NULL;
		query = only_first_row(query);
		if (query == NULL)
			return NULL;
		body = as_sub_select(
			castNode(Query, param_mutator((Node *) query, &context)));
	}
	return strict && !strict_by_itself ? unless_null(body, args) : body;
}

static Node *
with_collation(Node *body, Oid collation)
{
	CollateExpr *collate;

	if (!OidIsValid(collation) || exprCollation(body) == collation ||
		!OidIsValid(exprCollation(body)))
		return body;
	collate = makeNode(CollateExpr);
	collate->arg = (Expr *) body;
	collate->collOid = collation;
	collate->location = -1;
	return (Node *) collate;
}

Node *
pgj_inline_call(FuncExpr *call, Expansion *expansion)
{
	HeapTuple tuple;
	Node *body = NULL;

	if (call->funcretset || list_member_oid(expansion->inside, call->funcid))
		return NULL;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->funcid);
	if (is_plain_sql(tuple) && !type_is_rowtype(call->funcresulttype) &&
		call->funcresulttype != VOIDOID)
	{
		Query *query = function_body(tuple, call, NULL, TYPEFUNC_SCALAR);

		if (query)
			body = scalar_body(query, call->args,
							   ((Form_pg_proc) GETSTRUCT(tuple))->proisstrict);
	}
	ReleaseSysCache(tuple);
	if (body == NULL)
		return NULL;
	body = with_collation(body, call->funccollid);
	return expand_body(body, call->funcid, expansion);
}

/* -------- a call in FROM -------- */

Query *
pgj_inline_table_call(FuncExpr *call, Expansion *expansion)
{
	HeapTuple tuple;
	Query *query = NULL;

	if (!call->funcretset || list_member_oid(expansion->inside, call->funcid))
		return NULL;
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(call->funcid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", call->funcid);
	if (is_plain_sql(tuple) &&
		!((Form_pg_proc) GETSTRUCT(tuple))->proisstrict &&
		call->funcresulttype != VOIDOID)
	{
		TupleDesc row = NULL;
		TypeFuncClass returns = get_expr_result_type((Node *) call, NULL, &row);

		query = function_body(tuple, call, row, returns);
		if (query)
		{
			ParamContext context = { call->args, 0, NULL };

			query = castNode(Query, param_mutator((Node *) query, &context));
		}
	}
	ReleaseSysCache(tuple);
	if (query == NULL)
		return NULL;
	return castNode(Query,
					expand_body((Node *) query, call->funcid, expansion));
}

/* -------- in_segment() -------- */

bool
pgj_is_in_segment(const FuncExpr *call)
{
	char *name;

	if (list_length(call->args) != 2 ||
		get_func_namespace(call->funcid) != get_namespace_oid(PGJ_SCHEMA, true))
		return false;
	name = get_func_name(call->funcid);
	return name && strcmp(name, "in_segment") == 0;
}

static int
segment_by_name(const char *name, const FuncExpr *call,
				const Predicate *predicate)
{
	Oid types[1] = { TEXTOID };
	Datum values[1] = { CStringGetTextDatum(name) };
	ParseState *pstate = make_parsestate(NULL);
	bool isnull;
	int segment;

	pstate->p_sourcetext = predicate->source;
	SPI_connect();
	if (SPI_execute_with_args("SELECT s.segment_id FROM " PGJ_SCHEMA
							  ".segment AS s"
							  " WHERE s.name OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for a segment");
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("segment \"%s\" does not exist", name),
				parser_errposition(pstate, call->location));
	segment = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return segment;
}

/* Is there a contact = $1 in pg_catalog? */
static bool
compares_with_key(Oid type, Oid key_type)
{
	List *name =
		list_make2(makeString(pstrdup("pg_catalog")), makeString(pstrdup("=")));
	HeapTuple op = oper(NULL, name, key_type, type, true, -1);
	bool found = HeapTupleIsValid(op);

	if (found)
		ReleaseSysCache(op);
	return found;
}

/* EXISTS (SELECT FROM journey_state.membership AS m WHERE ...) */
static Node *
membership_test(int segment, Node *contact, const Site *site)
{
	Oid type = exprType(contact);
	char *text =
		psprintf("SELECT FROM " PGJ_STATE_SCHEMA ".membership AS m"
				 " WHERE m.segment_id OPERATOR(pg_catalog.=) %d"
				 " AND m.contact OPERATOR(pg_catalog.=) $1 AND m.member",
				 segment);
	SubLink *link = makeNode(SubLink);
	Query *query;

	if (type == UNKNOWNOID || !compares_with_key(type, site->key_type))
	{
		contact =
			coerce_to_target_type(NULL, contact, type, site->key_type, -1,
								  COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
		if (contact == NULL)
			ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("in_segment() needs a contact of type %s, not %s",
						   format_type_be(site->key_type),
						   format_type_be(type)));
		type = site->key_type;
	}
	query = parse_analyze_fixedparams(
		linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT)), text,
		&type, 1, NULL);
	query = stringToNode(nodeToString(query));
	link->subLinkType = EXISTS_SUBLINK;
	link->subselect = pgj_replace_params((Node *) query, list_make1(contact));
	link->location = -1;
	return (Node *) link;
}

static bool
is_column(Node *node, const char *name, Oid relation)
{
	Var *var = (Var *) node;

	return IsA(var, Var) && var->varlevelsup == 0 && var->varno == 1 &&
		   var->varattno == get_attnum(relation, name);
}

int
pgj_segment_asked(const SubLink *link)
{
	const Query *query = (const Query *) link->subselect;
	List *conditions;
	OpExpr *segment;
	OpExpr *contact;
	Oid relation;

	if (link->subLinkType != EXISTS_SUBLINK ||
		list_length(query->rtable) != 1 || query->jointree->quals == NULL ||
		linitial_node(RangeTblEntry, query->rtable)->rtekind != RTE_RELATION)
		return 0;
	relation = linitial_node(RangeTblEntry, query->rtable)->relid;
	conditions = make_ands_implicit((Expr *) query->jointree->quals);
	if (relation != pgj_state_relation("membership") ||
		list_length(conditions) != 3)
		return 0;
	segment = linitial(conditions);
	contact = lsecond(conditions);
	if (!IsA(segment, OpExpr) || !IsA(contact, OpExpr) ||
		segment->opno != Int4EqualOperator ||
		!is_column(linitial(segment->args), "segment_id", relation) ||
		!IsA(lsecond(segment->args), Const) ||
		!is_column(linitial(contact->args), "contact", relation) ||
		!is_column(lthird(conditions), "member", relation))
		return 0;
	return DatumGetInt32(((Const *) lsecond(segment->args))->constvalue);
}

Node *
pgj_replace_in_segment(FuncExpr *call, Expansion *expansion)
{
	Predicate *predicate = expansion->predicate;
	Const *name = (Const *) eval_const_expressions(NULL, lsecond(call->args));
	int segment;

	if (!IsA(name, Const) || name->constisnull)
	{
		ParseState *pstate = make_parsestate(NULL);

		pstate->p_sourcetext = predicate->source;
		ereport(
			ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("in_segment() needs the segment's name as a constant"),
			errhint("The order in which segments are evaluated depends on it."),
			parser_errposition(pstate, exprLocation(lsecond(call->args))));
	}
	segment =
		segment_by_name(TextDatumGetCString(name->constvalue), call, predicate);
	predicate->needs = list_append_unique_int(predicate->needs, segment);
	return membership_test(segment, linitial(call->args), predicate->site);
}
