/*-------------------------------------------------------------------------
 *
 * boundary_build.c
 *	  Sub-selects that yield the least of flips over the rows of a query.
 *
 * A flip is an expression at its query's level; over the rows of that query it
 * becomes a sub-select at the level around.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_aggregate.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/fmgroids.h"

#include "compat.h"
#include "segment/boundary.h"

static Expr *
least_of(Expr *next)
{
	Aggref *min = makeNode(Aggref);

	min->aggfnoid = F_MIN_TIMESTAMPTZ;
	min->aggtype = TIMESTAMPTZOID;
	min->aggargtypes = list_make1_oid(TIMESTAMPTZOID);
	min->args = list_make1(makeTargetEntry(next, 1, NULL, false));
	min->aggkind = AGGKIND_NORMAL;
	min->aggsplit = AGGSPLIT_SIMPLE;
	min->aggno = -1;
	min->aggtransno = -1;
	min->location = -1;
	return (Expr *) min;
}

static Expr *
sublink_of(Query *query)
{
	SubLink *link = makeNode(SubLink);

	link->subLinkType = EXPR_SUBLINK;
	link->subselect = (Node *) query;
	link->location = -1;
	return (Expr *) link;
}

Query *
pgj_boundary_bare(Query *query)
{
	Query *result = copyObject(query);

	result->targetList = NIL;
	result->groupClause = NIL;
	result->groupDistinct = false;
	result->groupingSets = NIL;
	result->havingQual = NULL;
	result->windowClause = NIL;
	result->distinctClause = NIL;
	result->sortClause = NIL;
	result->limitOffset = NULL;
	result->limitCount = NULL;
	result->limitOption = LIMIT_OPTION_COUNT;
	result->rowMarks = NIL;
	result->hasAggs = false;
	result->hasWindowFuncs = false;
	result->hasTargetSRFs = false;
	result->hasDistinctOn = false;
	result->hasForUpdate = false;
	return result;
}

/*
 * Joins that are no longer in FROM cannot be named: look through them.  What is not in
 * FROM is emptied, as deparsing expects of range table entries.
 */
static void
settle(Query *query)
{
	Bitmapset *present = pgj_boundary_below((Node *) query->jointree);

	query->targetList =
		(List *) pgj_flatten_join_alias_vars(query, (Node *) query->targetList);
	query->jointree->quals =
		pgj_flatten_join_alias_vars(query, query->jointree->quals);
	for (int i = 1; i <= list_length(query->rtable); i++)
	{
		RangeTblEntry *empty;

		if (bms_is_member(i, present))
			continue;
		empty = makeNode(RangeTblEntry);
		empty->rtekind = RTE_RESULT;
		empty->eref = makeAlias("*RESULT*", NIL);
		lfirst(list_nth_cell(query->rtable, i - 1)) = empty;
	}
	query->hasSubLinks = checkExprHasSubLink((Node *) query->targetList) ||
						 checkExprHasSubLink((Node *) query->jointree);
}

static Expr *
least_over_rows(Query *query, FromExpr *from, Expr *next, Expr *ahead)
{
	Query *result = pgj_boundary_bare(query);

	result->jointree = copyObject(from);
	if (ahead != NULL)
		result->jointree->quals =
			make_and_qual(result->jointree->quals, copyObject((Node *) ahead));
	result->targetList = list_make1(
		makeTargetEntry(least_of(copyObject(next)), 1, "next", false));
	result->hasAggs = true;
	settle(result);
	return sublink_of(result);
}

Flip *
pgj_boundary_hoisted(Flip *flip)
{
	Expr *next = copyObject(flip->next);
	Expr *ahead = copyObject(flip->ahead);

	IncrementVarSublevelsUp((Node *) next, -1, 1);
	if (ahead != NULL)
		IncrementVarSublevelsUp((Node *) ahead, -1, 1);
	return pgj_boundary_flip(flip->source, next, ahead);
}

List *
pgj_boundary_over_rows(Query *query, FromExpr *from, List *flips)
{
	List *result = NIL;
	List *plain = NIL;
	ListCell *lc;

	foreach (lc, flips)
	{
		Flip *flip = lfirst(lc);
		bool any;

		(void) pgj_boundary_used((Node *) flip->next, &any);
		if (!any)
			result = lappend(result, pgj_boundary_hoisted(flip));
		else if (flip->ahead == NULL)
			plain = lappend(plain, flip);
		else
			result =
				lappend(result, pgj_boundary_flip(flip->source,
												  least_over_rows(query, from,
																  flip->next,
																  flip->ahead),
												  NULL));
	}
	if (plain != NIL)
	{
		Flip *first = linitial(plain);

		result = lappend(
			result,
			pgj_boundary_flip(
				first->source,
				least_over_rows(query, from, pgj_boundary_least(plain), NULL),
				NULL));
	}
	return result;
}

Expr *
pgj_boundary_least_of_query(Query *query, Expr *next)
{
	Query *outer = makeNode(Query);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	RangeTblRef *ref = makeNode(RangeTblRef);
	List *names = NIL;
	ListCell *lc;

	IncrementVarSublevelsUp((Node *) query, 1, 1);
	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst(lc);

		if (!entry->resjunk)
			names = lappend(names,
							makeString(entry->resname ? pstrdup(entry->resname)
													  : "?column?"));
	}
	rte->rtekind = RTE_SUBQUERY;
	rte->subquery = query;
	rte->alias = makeAlias("x", NIL);
	rte->eref = makeAlias("x", names);
	rte->inFromCl = true;
	ref->rtindex = 1;
	outer->commandType = CMD_SELECT;
	outer->querySource = QSRC_ORIGINAL;
	outer->canSetTag = true;
	outer->rtable = list_make1(rte);
	outer->jointree = makeFromExpr(list_make1(ref), NULL);
	outer->targetList =
		list_make1(makeTargetEntry(least_of(next), 1, "next", false));
	outer->hasAggs = true;
	outer->hasSubLinks = checkExprHasSubLink((Node *) outer->targetList);
	return sublink_of(outer);
}
