/*-------------------------------------------------------------------------
 *
 * expand.c
 *	  Look into what a predicate is made of.
 *
 * Views become the sub-selects they stand for, WITH queries are put where they
 * are read, calls of SQL-language functions give way to their bodies (inline.c),
 * and journey.in_segment() to a sub-select on the memberships.  What is then
 * left are tables, and functions that nobody can look into.  The result means
 * the same as what the author wrote; PostgreSQL itself does most of this when
 * it plans, but too late and too little for us.
 *
 * Each query is looked into once: its own sub-selects first, then what its
 * range table stands for.  A view or a function that is being looked into is
 * not looked into again inside itself.
 *
 * Deparsed and analyzed again, a whole row of a sub-select is an anonymous
 * record.  That of a view is written as ROW(...)::view, unless an outer join can
 * make it null as a whole; such views, and functions whose rows are read as a
 * whole, are left as they are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "rewrite/rewriteManip.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg_journey.h"
#include "rewrite.h"
#include "segment/expand.h"

/* -------- range table entries -------- */

typedef struct WholeRowContext
{
	int rtindex;
	int level;
} WholeRowContext;

static bool
whole_row_walker(Node *node, WholeRowContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varattno == 0 &&
			   ((Var *) node)->varno == context->rtindex &&
			   ((Var *) node)->varlevelsup == context->level;
	if (IsA(node, Query))
	{
		bool result;

		context->level++;
		result =
			query_tree_walker((Query *) node, whole_row_walker, context, 0);
		context->level--;
		return result;
	}
	return expression_tree_walker(node, whole_row_walker, context);
}

static bool
reads_whole_row(Query *query, int rtindex)
{
	WholeRowContext context = { rtindex, 0 };

	return query_tree_walker(query, whole_row_walker, &context, 0);
}

typedef struct RowContext
{
	int rtindex;
	int level;
	Query *subquery;
} RowContext;

/* ROW(v.a, v.b, ...)::v */
static Node *
row_of_columns(const Var *whole, const Query *subquery)
{
	RowExpr *row = makeNode(RowExpr);
	ListCell *lc;

	foreach (lc, subquery->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);
		Node *expr = (Node *) target->expr;

		if (!target->resjunk)
			row->args = lappend(
				row->args, makeVar(whole->varno, target->resno, exprType(expr),
								   exprTypmod(expr), exprCollation(expr),
								   whole->varlevelsup));
	}
	row->row_typeid = whole->vartype;
	row->row_format = COERCE_EXPLICIT_CAST;
	row->location = -1;
	return (Node *) row;
}

static Node *
row_mutator(Node *node, RowContext *context)
{
	Var *var = (Var *) node;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		Query *result;

		context->level++;
		result = query_tree_mutator((Query *) node, row_mutator, context, 0);
		context->level--;
		return (Node *) result;
	}
	if (IsA(node, Var) && var->varattno == 0 &&
		var->varno == context->rtindex && var->varlevelsup == context->level)
		return row_of_columns(var, context->subquery);
	return expression_tree_mutator(node, row_mutator, context);
}

/* Write the whole rows that a query reads of an entry column by column. */
static Query *
spell_out_rows(Query *query, int rtindex, Query *subquery)
{
	RowContext context = { rtindex, 0, subquery };

	return query_tree_mutator(query, row_mutator, &context, 0);
}

/* Can an outer join make the entry null?  -1: it is not in this part of FROM. */
static int
is_nullable(Node *node, int rtindex, bool nullable)
{
	JoinExpr *join = (JoinExpr *) node;
	ListCell *lc;
	int result = -1;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == rtindex ? nullable : -1;
	if (IsA(node, FromExpr))
	{
		foreach (lc, ((FromExpr *) node)->fromlist)
			result = Max(result, is_nullable(lfirst(lc), rtindex, nullable));
		return result;
	}
	result = is_nullable(join->larg, rtindex,
						 nullable || join->jointype == JOIN_RIGHT ||
							 join->jointype == JOIN_FULL);
	return Max(result, is_nullable(join->rarg, rtindex,
								   nullable || join->jointype == JOIN_LEFT ||
									   join->jointype == JOIN_FULL));
}

/* The entry becomes a sub-select; columns keep the names they have here. */
static void
become_subquery(RangeTblEntry *rte, Query *subquery)
{
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = subquery;
	rte->lateral = rte->lateral || contain_vars_of_level((Node *) subquery, 1);
	rte->alias =
		makeAlias(rte->eref->aliasname, copyObject(rte->eref->colnames));
	rte->eref = copyObject(rte->alias);
	rte->relid = InvalidOid;
	rte->relkind = 0;
	rte->rellockmode = 0;
	rte->inh = false;
	rte->functions = NIL;
	rte->funcordinality = false;
	rte->ctename = NULL;
	rte->ctelevelsup = 0;
	rte->self_reference = false;
	rte->coltypes = NIL;
	rte->coltypmods = NIL;
	rte->colcollations = NIL;
}

/* -------- WITH -------- */

typedef struct CteContext
{
	const CommonTableExpr *cte;
	int level;
} CteContext;

static bool
cte_walker(Node *node, CteContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;

		if (rte->rtekind == RTE_CTE && rte->ctelevelsup == context->level &&
			strcmp(rte->ctename, context->cte->ctename) == 0)
		{
			Query *copy = copyObject(castNode(Query, context->cte->ctequery));

			if (rte->ctelevelsup > 0)
				IncrementVarSublevelsUp((Node *) copy, rte->ctelevelsup, 1);
			become_subquery(rte, copy);
		}
		return false;
	}
	if (IsA(node, Query))
	{
		context->level++;
		query_tree_walker((Query *) node, cte_walker, context,
						  QTW_EXAMINE_RTES_AFTER);
		context->level--;
		return false;
	}
	return expression_tree_walker(node, cte_walker, context);
}

/* The list is in the order of dependency. */
static void
place_ctes(Query *query)
{
	List *recursive = NIL;

	while (query->cteList)
	{
		CommonTableExpr *cte = linitial_node(CommonTableExpr, query->cteList);
		CteContext context = { cte, 0 };

		if (cte->cterecursive)
		{
			recursive = lappend(recursive, cte);
			query->cteList = list_delete_first(query->cteList);
			continue;
		}
		query->cteList = list_delete_first(query->cteList);
		query_tree_walker(query, cte_walker, &context, QTW_EXAMINE_RTES_AFTER);
	}
	query->cteList = recursive;
	query->hasRecursive = recursive != NIL;
}

/* -------- views -------- */

static bool
readable_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, RangeTblEntry))
	{
		RangeTblEntry *rte = (RangeTblEntry *) node;
		Relation relation;
		bool guarded;

		if (rte->rtekind != RTE_RELATION || !rte->inFromCl)
			return false;
		if (pg_class_aclcheck(rte->relid, GetUserId(), ACL_SELECT) !=
			ACLCHECK_OK)
			return true;
		relation = table_open(rte->relid, AccessShareLock);
		guarded = relation->rd_rel->relrowsecurity;
		table_close(relation, NoLock);
		return guarded;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, readable_walker, context,
								 QTW_EXAMINE_RTES_BEFORE);
	return expression_tree_walker(node, readable_walker, context);
}

/*
 * A view's tables are read with its owner's privileges, and what we put in its
 * place with the journey owner's: it must come to the same.
 */
static bool
may_look_into(Relation view, Query *rule)
{
	return view->rd_rel->relowner == GetUserId() ||
		   RelationHasSecurityInvoker(view) ||
		   !readable_walker((Node *) rule, NULL);
}

/* A rule's query knows the view itself as OLD and NEW, which nothing reads. */
static void
drop_old_and_new(Query *rule, Oid view)
{
	ListCell *lc;

	foreach (lc, rule->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind != RTE_RELATION || rte->relid != view)
			continue;
		rte->rtekind = RTE_RESULT;
		rte->relid = InvalidOid;
		rte->relkind = 0;
		rte->rellockmode = 0;
		rte->inh = false;
	}
}

/* What is wrong in a view has no position in the author's text. */
static void
view_error(void *arg)
{
	errcontext("view \"%s\"", get_rel_name(*(Oid *) arg));
}

/* The query of a view, looked into; NULL if it must stay a view. */
static Query *
view_query(Oid relid, Expansion *expansion)
{
	ErrorContextCallback callback = { error_context_stack, view_error, &relid };
	Relation view;
	Query *rule = NULL;

	if (list_member_oid(expansion->inside, relid))
		return NULL;
	view = table_open(relid, AccessShareLock);
	if (view->rd_rules != NULL)
	{
		rule = copyObject(get_view_query(view));
		drop_old_and_new(rule, relid);
		AcquireRewriteLocks(rule, true, false);
		if (!may_look_into(view, rule))
			rule = NULL;
	}
	table_close(view, NoLock);
	if (rule == NULL)
		return NULL;

	error_context_stack = &callback;
	pgj_complete_calls(rule);
	pgj_predicate_refuse(rule, "");
	error_context_stack = callback.previous;
	pgj_predicate_source(expansion->predicate, true, relid);
	expansion->inside = lcons_oid(relid, expansion->inside);
	rule = pgj_expand_query(rule, expansion);
	expansion->inside = list_delete_first(expansion->inside);
	return rule;
}

/* -------- all of a query -------- */

/* The one function a range table entry calls, if it is as simple as that. */
static FuncExpr *
only_function(const RangeTblEntry *rte)
{
	RangeTblFunction *function;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality ||
		list_length(rte->functions) != 1)
		return NULL;
	function = linitial_node(RangeTblFunction, rte->functions);
	if (function->funccolnames != NIL || !IsA(function->funcexpr, FuncExpr))
		return NULL;
	return (FuncExpr *) function->funcexpr;
}

/* The query in the place of a view. */
static Query *
expand_view(RangeTblEntry *rte, Expansion *expansion)
{
	Relation view = table_open(rte->relid, AccessShareLock);
	bool barrier = RelationIsSecurityView(view);
	Query *subquery;

	table_close(view, NoLock);
	subquery = view_query(rte->relid, expansion);
	rte->security_barrier = subquery && barrier;
	return subquery;
}

/* Look into one entry of a query's range table; returns the query. */
static Query *
expand_entry(Query *query, int rtindex, Expansion *expansion)
{
	RangeTblEntry *rte =
		list_nth_node(RangeTblEntry, query->rtable, rtindex - 1);
	bool whole_row;
	FuncExpr *function = only_function(rte);
	Query *subquery = NULL;

	if (rte->rtekind == RTE_SUBQUERY)
	{
		rte->subquery = pgj_expand_query(rte->subquery, expansion);
		return query;
	}
	whole_row = reads_whole_row(query, rtindex);
	if (rte->rtekind == RTE_RELATION && rte->relkind == RELKIND_VIEW &&
		!(whole_row &&
		  is_nullable((Node *) query->jointree, rtindex, false) != 0))
		subquery = expand_view(rte, expansion);
	else if (function && !whole_row)
		subquery = pgj_inline_table_call(function, expansion);
	if (subquery == NULL)
		return query;
	become_subquery(rte, subquery);
	return whole_row ? spell_out_rows(query, rtindex, subquery) : query;
}

static void
need_segment(Expansion *expansion, int segment)
{
	expansion->predicate->needs =
		list_append_unique_int(expansion->predicate->needs, segment);
}

Node *
pgj_expand_node(Node *node, Expansion *expansion)
{
	Node *result;

	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) pgj_expand_query(copyObject((Query *) node), expansion);
	if (IsA(node, SubLink) && pgj_segment_asked((SubLink *) node))
		need_segment(expansion, pgj_segment_asked((SubLink *) node));
	result = expression_tree_mutator(node, pgj_expand_node, expansion);
	if (IsA(result, FuncExpr))
	{
		FuncExpr *call = (FuncExpr *) result;
		Node *body;

		if (pgj_is_in_segment(call))
			return pgj_replace_in_segment(call, expansion);
		body = pgj_inline_call(call, expansion);
		if (body)
			return body;
	}
	return result;
}

Query *
pgj_expand_query(Query *query, Expansion *expansion)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	place_ctes(query);
	pgj_flatten_groups(query);
	query = query_tree_mutator(query, pgj_expand_node, expansion,
							   QTW_IGNORE_RT_SUBQUERIES);
	for (int i = 1; i <= list_length(query->rtable); i++)
		query = expand_entry(query, i, expansion);
	if (!query->hasSubLinks)
		query->hasSubLinks = checkExprHasSubLink((Node *) query);
	return query;
}

static Node *
now_param(int level, void *arg)
{
	Param *param = makeNode(Param);

	param->paramkind = PARAM_EXTERN;
	param->paramid = PREDICATE_NOW;
	param->paramtype = TIMESTAMPTZOID;
	param->paramtypmod = -1;
	param->location = -1;
	return (Node *) param;
}

void
pgj_predicate_expand(Predicate *predicate, Query *analyzed)
{
	Expansion expansion = { predicate, NIL };
	Query *query = copyObject(analyzed);

	pgj_complete_calls(query);
	if (!predicate->stored)
		pgj_predicate_refuse(query, predicate->source);
	query = pgj_expand_query(query, &expansion);

	/* last: the parameters of functions have the same numbers */
	predicate->query = pgj_rewrite_now(query, now_param, NULL);
}
