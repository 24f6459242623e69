/*-------------------------------------------------------------------------
 *
 * boundary_rows.c
 *	  Which rows a condition on time is looked at for.
 *
 * Leaving a condition out of WHERE, or of an inner join, leaves no row out.  Of an outer
 * join it does: a pair that comes takes a null-extended row away.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"

#include "segment/boundary.h"

/* ---------- what an expression uses of its own level ---------- */

typedef struct UseContext
{
	int level;
	bool any;
	Bitmapset *relations;
} UseContext;

static bool
use_walker(Node *node, UseContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) && ((Var *) node)->varlevelsup == context->level)
	{
		context->any = true;
		context->relations =
			bms_add_member(context->relations, ((Var *) node)->varno);
	}
	else if ((IsA(node, Aggref) &&
			  ((Aggref *) node)->agglevelsup == context->level) ||
			 (IsA(node, GroupingFunc) &&
			  ((GroupingFunc *) node)->agglevelsup == context->level) ||
			 (IsA(node, WindowFunc) && context->level == 0))
		context->any = true;
	else if (IsA(node, Query))
	{
		Query *query = (Query *) node;
		ListCell *lc;
		bool result;

		context->level++;
		/* a recursive query around it, by its name */
		foreach (lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst(lc);

			if (rte->rtekind == RTE_CTE && rte->ctelevelsup == context->level)
				context->any = true;
		}
		result = query_tree_walker(query, use_walker, context, 0);
		context->level--;
		return result;
	}
	return expression_tree_walker(node, use_walker, context);
}

Bitmapset *
pgj_boundary_used(Node *node, bool *any)
{
	UseContext context = { 0, false, NULL };

	(void) use_walker(node, &context);
	if (any != NULL)
		*any = context.any;
	return context.relations;
}

/* Relations and joins below a node of a join tree. */
Bitmapset *
pgj_boundary_below(Node *node)
{
	Bitmapset *result = NULL;
	ListCell *lc;

	if (node == NULL)
		return NULL;
	if (IsA(node, RangeTblRef))
		return bms_make_singleton(((RangeTblRef *) node)->rtindex);
	if (IsA(node, JoinExpr))
	{
		JoinExpr *join = (JoinExpr *) node;

		result = bms_join(pgj_boundary_below(join->larg),
						  pgj_boundary_below(join->rarg));
		return join->rtindex > 0 ? bms_add_member(result, join->rtindex)
								 : result;
	}
	foreach (lc, castNode(FromExpr, node)->fromlist)
		result = bms_join(result, pgj_boundary_below(lfirst(lc)));
	return result;
}

/* ---------- what is left of FROM ---------- */

void
pgj_boundary_split(Node *quals, List **with_now, List **free)
{
	ListCell *lc;

	foreach (lc, make_ands_implicit((Expr *) quals))
	{
		if (pgj_boundary_has_now(lfirst(lc)))
			*with_now = lappend(*with_now, lfirst(lc));
		else
			*free = lappend(*free, lfirst(lc));
	}
}

Node *
pgj_boundary_all_of(List *conditions)
{
	return conditions == NIL ? NULL : (Node *) make_ands_explicit(conditions);
}

/* A join tree without the conditions that have the time in them and can go to WHERE. */
Node *
pgj_boundary_without_now(Node *node, bool nullable)
{
	List *with_now = NIL;
	List *free = NIL;
	ListCell *lc;

	if (IsA(node, RangeTblRef))
		return copyObject(node);
	if (IsA(node, JoinExpr))
	{
		JoinExpr *join = makeNode(JoinExpr);

		memcpy(join, node, sizeof(JoinExpr));
		join->larg = pgj_boundary_without_now(
			join->larg, nullable || join->jointype == JOIN_RIGHT ||
							join->jointype == JOIN_FULL);
		join->rarg = pgj_boundary_without_now(
			join->rarg, nullable || join->jointype == JOIN_LEFT ||
							join->jointype == JOIN_FULL);
		if (join->jointype == JOIN_INNER && !nullable)
		{
			pgj_boundary_split(join->quals, &with_now, &free);
			join->quals = pgj_boundary_all_of(free);
		}
		return (Node *) join;
	}
	else
	{
		FromExpr *from = makeFromExpr(NIL, NULL);

		pgj_boundary_split(((FromExpr *) node)->quals, &with_now, &free);
		from->quals = pgj_boundary_all_of(free);
		foreach (lc, ((FromExpr *) node)->fromlist)
			from->fromlist = lappend(
				from->fromlist, pgj_boundary_without_now(lfirst(lc), nullable));
		return (Node *) from;
	}
}

/*
 * A join that loses a relation.  Conditions that need it go with it; if they are an outer
 * join's, so does the side that may be missing anyway.
 */
static Node *
join_without(JoinExpr *old, int relation)
{
	JoinExpr *join = makeNode(JoinExpr);
	List *kept = NIL;
	Bitmapset *gone;
	ListCell *lc;

	memcpy(join, old, sizeof(JoinExpr));
	join->larg = pgj_boundary_without_relation(join->larg, relation);
	join->rarg = pgj_boundary_without_relation(join->rarg, relation);
	if (join->larg == NULL || join->rarg == NULL)
		return join->larg ? join->larg : join->rarg;
	gone = bms_difference(pgj_boundary_below((Node *) old),
						  pgj_boundary_below((Node *) join));
	foreach (lc, make_ands_implicit((Expr *) join->quals))
	{
		if (!bms_overlap(pgj_boundary_used(lfirst(lc), NULL), gone))
			kept = lappend(kept, lfirst(lc));
		else if (join->jointype == JOIN_LEFT)
			return join->larg;
		else if (join->jointype == JOIN_RIGHT)
			return join->rarg;
		else if (join->jointype == JOIN_FULL)
			return NULL;
	}
	join->quals = pgj_boundary_all_of(kept);
	return (Node *) join;
}

Node *
pgj_boundary_without_relation(Node *node, int relation)
{
	FromExpr *from;
	Bitmapset *gone;
	List *kept = NIL;
	ListCell *lc;

	if (IsA(node, RangeTblRef))
		return ((RangeTblRef *) node)->rtindex == relation ? NULL
														   : copyObject(node);
	if (IsA(node, JoinExpr))
		return join_without((JoinExpr *) node, relation);
	from = makeFromExpr(NIL, NULL);
	foreach (lc, ((FromExpr *) node)->fromlist)
	{
		Node *item = pgj_boundary_without_relation(lfirst(lc), relation);

		if (item != NULL)
			from->fromlist = lappend(from->fromlist, item);
	}
	gone = bms_difference(pgj_boundary_below(node),
						  pgj_boundary_below((Node *) from));
	foreach (lc, make_ands_implicit((Expr *) ((FromExpr *) node)->quals))
	{
		if (!bms_overlap(pgj_boundary_used(lfirst(lc), NULL), gone) &&
			!pgj_boundary_has_now(lfirst(lc)))
			kept = lappend(kept, lfirst(lc));
	}
	from->quals = pgj_boundary_all_of(kept);
	return (Node *) from;
}

bool
pgj_boundary_is_sorted_by(List *clauses, TargetEntry *entry)
{
	ListCell *lc;

	foreach (lc, clauses)
	{
		if (lfirst_node(SortGroupClause, lc)->tleSortGroupRef ==
			entry->ressortgroupref)
			return entry->ressortgroupref != 0;
	}
	return false;
}
