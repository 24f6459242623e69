/*-------------------------------------------------------------------------
 *
 * boundary_narrow.c
 *	  Sub-selects, restricted to the rows that the query around them uses.
 *
 * Of FROM (SELECT customer_id, ... GROUP BY customer_id) s WHERE s.customer_id = c.id
 * only one customer's rows matter.  To PostgreSQL that makes no difference until it
 * plans; to us it does, because a contact would be looked at whenever any other
 * contact's rows flip.  So conditions on the sub-select's columns move into it.
 *
 * That is sound here where it would not be in a query: it is only about which
 * rows' changes can be of consequence, and a row that does not satisfy a strict
 * condition is of none, whether it is there or not.
 *
 * In a condition that is to be moved, the sub-select's columns are parameters of kind
 * PARAM_SUBLINK, as in the test expression of a SubLink.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "segment/boundary.h"

typedef struct ColumnContext
{
	Query *query;
	bool failed; /* a column has no expression that WHERE could use */
} ColumnContext;

/* A column's expression, if it is the same before and after grouping. */
static Expr *
column_expression(Query *query, int column)
{
	ListCell *lc;
	int n = 0;

	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst(lc);

		if (entry->resjunk || ++n != column)
			continue;
		if (pgj_boundary_has_now((Node *) entry->expr))
			return NULL;
		if ((query->hasAggs || query->groupClause != NIL) &&
			!pgj_boundary_is_sorted_by(query->groupClause, entry))
			return NULL;
		return entry->expr;
	}
	return NULL;
}

static Node *
column_mutator(Node *node, ColumnContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_SUBLINK)
	{
		Expr *expr =
			column_expression(context->query, ((Param *) node)->paramid);

		if (expr == NULL)
			context->failed = true;
		return expr == NULL ? node : copyObject((Node *) expr);
	}
	return expression_tree_mutator(node, column_mutator, context);
}

/* The query with more conditions, as many as can be moved into it. */
static Query *
narrow(Query *query, List *conditions)
{
	Query *result;
	List *moved = NIL;
	ListCell *lc;

	if (query->setOperations != NULL || query->limitCount != NULL ||
		query->limitOffset != NULL || query->hasWindowFuncs ||
		query->hasDistinctOn || query->hasTargetSRFs ||
		query->groupingSets != NIL)
		return query;
	foreach (lc, conditions)
	{
		ColumnContext context = { query, false };
		Node *condition = column_mutator(lfirst(lc), &context);

		if (!context.failed)
			moved = lappend(moved, condition);
	}
	if (moved == NIL)
		return query;
	/* what was there stays the same nodes: they are found again by their place */
	result = makeNode(Query);
	memcpy(result, query, sizeof(Query));
	result->jointree = makeFromExpr(
		query->jointree->fromlist,
		pgj_boundary_all_of(list_concat_copy(
			make_ands_implicit((Expr *) query->jointree->quals), moved)));
	return result;
}

/* ---------- sub-selects in FROM ---------- */

typedef struct Usable
{
	Query *query;
	int relation;
	List *conditions;
} Usable;

static bool
is_strict(Node *condition)
{
	OpExpr *expr = (OpExpr *) condition;

	if (!IsA(condition, OpExpr))
		return false;
	set_opfuncid(expr);
	return func_strict(expr->opfuncid) &&
		   !contain_nonstrict_functions(condition) &&
		   !contain_volatile_functions(condition) &&
		   !checkExprHasSubLink(condition);
}

static void
add_usable(Usable *usable, Node *quals)
{
	List *with_now = NIL;
	List *free = NIL;
	ListCell *lc;

	pgj_boundary_split(quals, &with_now, &free);
	foreach (lc, free)
	{
		Node *condition = pgj_flatten_join_alias_vars(
			usable->query, copyObject((Node *) lfirst(lc)));

		if (is_strict(condition) &&
			bms_is_member(usable->relation, pgj_boundary_used(condition, NULL)))
			usable->conditions = lappend(usable->conditions, condition);
	}
}

/* A join's condition is about a relation unless it keeps all of the relation's rows. */
static void
look_for_usable(Usable *usable, Node *node)
{
	ListCell *lc;

	if (node == NULL || IsA(node, RangeTblRef))
		return;
	if (IsA(node, JoinExpr))
	{
		JoinExpr *join = (JoinExpr *) node;
		bool left =
			bms_is_member(usable->relation, pgj_boundary_below(join->larg));

		look_for_usable(usable, left ? join->larg : join->rarg);
		if (join->jointype == JOIN_INNER ||
			(join->jointype == JOIN_LEFT && !left) ||
			(join->jointype == JOIN_RIGHT && left))
			add_usable(usable, join->quals);
		return;
	}
	add_usable(usable, ((FromExpr *) node)->quals);
	foreach (lc, ((FromExpr *) node)->fromlist)
	{
		if (bms_is_member(usable->relation, pgj_boundary_below(lfirst(lc))))
			look_for_usable(usable, lfirst(lc));
	}
}

typedef struct OutputContext
{
	int relation;
	bool failed;
} OutputContext;

/* The relation's columns, one level up by now, become parameters. */
static Node *
output_mutator(Node *node, OutputContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == 1 &&
		((Var *) node)->varno == context->relation)
	{
		Var *var = (Var *) node;
		Param *param = makeNode(Param);

		context->failed = context->failed || var->varattno <= 0;
		param->paramkind = PARAM_SUBLINK;
		param->paramid = var->varattno;
		param->paramtype = var->vartype;
		param->paramtypmod = var->vartypmod;
		param->paramcollid = var->varcollid;
		param->location = -1;
		return (Node *) param;
	}
	return expression_tree_mutator(node, output_mutator, context);
}

Query *
pgj_boundary_narrow_entry(Query *query, int relation)
{
	Usable usable = { query, relation, NIL };
	Query *subquery = rt_fetch(relation, query->rtable)->subquery;
	List *conditions = NIL;
	Bitmapset *left;
	ListCell *lc;

	if (query->setOperations != NULL ||
		!bms_is_member(relation, pgj_boundary_below((Node *) query->jointree)))
		return subquery;
	left = pgj_boundary_below(
		pgj_boundary_without_relation((Node *) query->jointree, relation));
	left = bms_add_member(left, relation);
	look_for_usable(&usable, (Node *) query->jointree);
	foreach (lc, usable.conditions)
	{
		Node *condition = lfirst(lc);
		OutputContext context = { relation, false };

		/* one that needs other relations makes the sub-select a lateral one */
		if (!bms_is_subset(pgj_boundary_used(condition, NULL), left))
			continue;
		IncrementVarSublevelsUp(condition, 1, 0);
		condition = output_mutator(condition, &context);
		if (!context.failed)
			conditions = lappend(conditions, condition);
	}
	return narrow(subquery, conditions);
}

/* ---------- x = ANY (SELECT y ...) ---------- */

static bool
is_never_null(Query *query, Expr *expr)
{
	Var *var = (Var *) expr;
	RangeTblEntry *rte;
	HeapTuple tuple;
	bool result;

	if (!IsA(var, Var) || var->varlevelsup != 0 || var->varattno <= 0)
		return false;
	rte = rt_fetch(var->varno, query->rtable);
	if (rte->rtekind != RTE_RELATION ||
		!IsA(linitial(query->jointree->fromlist), RangeTblRef) ||
		list_length(query->jointree->fromlist) != 1)
		return false;
	tuple = SearchSysCacheAttNum(rte->relid, var->varattno);
	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	return result;
}

/* Where false and null are not the same, rows that make the test null matter, too. */
static Node *
or_null(Boundary *boundary, Query *query, SubLink *link, Node *test)
{
	OpExpr *expr = (OpExpr *) link->testexpr;
	Node *column;
	NullTest *null_test;

	if (!IsA(expr, OpExpr) || list_length(expr->args) != 2 ||
		boundary->depth > 0 ||
		!is_never_null(boundary->predicate->query, linitial(expr->args)))
		return NULL;
	column = lsecond(expr->args);
	if (!IsA(column, Param) || ((Param *) column)->paramkind != PARAM_SUBLINK)
		return NULL;
	if (column_expression(query, ((Param *) column)->paramid) != NULL &&
		is_never_null(query,
					  column_expression(query, ((Param *) column)->paramid)))
		return test;
	null_test = makeNode(NullTest);
	null_test->arg = (Expr *) column;
	null_test->nulltesttype = IS_NULL;
	null_test->location = -1;
	return (Node *) make_orclause(list_make2(test, null_test));
}

Query *
pgj_boundary_narrow_link(Boundary *boundary, SubLink *link, bool condition)
{
	Query *query = castNode(Query, link->subselect);
	Node *test;

	if (link->subLinkType != ANY_SUBLINK || link->testexpr == NULL ||
		pgj_boundary_has_now(link->testexpr) ||
		checkExprHasSubLink(link->testexpr) ||
		contain_volatile_functions(link->testexpr))
		return query;
	test = copyObject(link->testexpr);
	IncrementVarSublevelsUp(test, 1, 0);
	if (!condition)
		test = or_null(boundary, query, link, test);
	return test == NULL ? query : narrow(query, list_make1(test));
}
