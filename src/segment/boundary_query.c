/*-------------------------------------------------------------------------
 *
 * boundary_query.c
 *	  When does time change a sub-select's result?
 *
 * A condition that is looked at row by row flips first at the least of its flips
 * over the rows that it is looked at for:
 *
 *	  (SELECT min(<flip>) FROM <the same> WHERE <what is free of the time>)
 *
 * Which rows these are depends on where the condition stands:
 *
 *	  WHERE, ON of inner joins: rows that the other conditions without the time
 *		let pass.  (Those with the time are part of the same AND.)
 *	  ON of outer joins: the pairs of that join alone, as an inner join; what the
 *		rest of the query makes of a pair is no reason to leave it out, because
 *		the pair's coming takes a null-extended row away.
 *	  target list, arguments of aggregates: rows that are there now.  Others come
 *		by flips of the conditions above.
 *	  HAVING, and expressions over aggregates or windows: groups of rows that are there
 *		now, HAVING left out; aggregates stay until one of the others flips.
 *
 * Sub-selects in FROM are as they are now, for the same reason; when they change is
 * found out on its own.
 *
 * Everything is found at the level of the sub-select and becomes a sub-select in
 * its place, so that references to outer levels stay as they are.  A flip that uses
 * no row of its own level needs no sub-select and moves one level up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"

#include "compat.h"
#include "segment/boundary.h"

/* ---------- conditions of joins and WHERE ---------- */

typedef struct Conditions
{
	Boundary *boundary;
	Query *query;
	List *with_now; /* of WHERE and inner joins */
	List *free;		/* of WHERE */
	List *flips;	/* found in outer joins */
} Conditions;

/* The flips of a list of conditions. */
static List *
flips_of_all(Boundary *boundary, List *conditions)
{
	Node *part = boundary->part;
	List *flips = NIL;

	if (conditions != NIL)
		flips =
			pgj_boundary_flips(boundary, pgj_boundary_all_of(conditions), true);
	boundary->part = part;
	return flips;
}

/* The conditions that hold for a join's pairs if its rows are to be of any use. */
static List *
conditions_kept(Conditions *conditions, JoinExpr *join, bool nullable)
{
	Bitmapset *preserved = NULL;
	List *result = NIL;
	ListCell *lc;

	if (nullable)
		return NIL;
	if (join->jointype == JOIN_LEFT)
		preserved = pgj_boundary_below(join->larg);
	else if (join->jointype == JOIN_RIGHT)
		preserved = pgj_boundary_below(join->rarg);
	foreach (lc, conditions->free)
	{
		if (bms_is_subset(pgj_boundary_used(lfirst(lc), NULL), preserved))
			result = lappend(result, copyObject(lfirst(lc)));
	}
	return result;
}

/* The relations of its own level that a lateral item of FROM makes use of. */
static Bitmapset *
lateral_uses(RangeTblEntry *rte)
{
	Bitmapset *result = NULL;

	if (rte->rtekind == RTE_SUBQUERY)
		result = pgj_boundary_used((Node *) rte->subquery, NULL);
	result = bms_join(result, pgj_boundary_used((Node *) rte->functions, NULL));
	result =
		bms_join(result, pgj_boundary_used((Node *) rte->values_lists, NULL));
	return bms_join(result, pgj_boundary_used((Node *) rte->tablefunc, NULL));
}

/* Does something below a join make use of relations that are not? */
static bool
needs_others(Query *query, JoinExpr *join)
{
	Bitmapset *members = pgj_boundary_below((Node *) join);
	int i = -1;

	while ((i = bms_next_member(members, i)) >= 0)
	{
		RangeTblEntry *rte = rt_fetch(i, query->rtable);

		if (rte->lateral && !bms_is_subset(lateral_uses(rte), members))
			return true;
	}
	return false;
}

/* A join whose condition has the time in it, and that cannot go to WHERE. */
static void
flips_of_join(Conditions *conditions, JoinExpr *join, bool nullable)
{
	List *with_now = NIL;
	List *free = NIL;
	List *flips;
	JoinExpr *pairs = makeNode(JoinExpr);
	FromExpr *from;
	Query *query = copyObject(conditions->query);

	pgj_boundary_split(join->quals, &with_now, &free);
	if (needs_others(query, join))
	{
		pgj_boundary_opaque(
			conditions->boundary,
			"an outer join's condition depends on the time, and a lateral item in it on what is outside");
		return;
	}
	flips = flips_of_all(conditions->boundary, with_now);
	memcpy(pairs, join, sizeof(JoinExpr));
	pairs->jointype = JOIN_INNER;
	pairs->quals = pgj_boundary_all_of(free);
	if (join->rtindex > 0)
		rt_fetch(join->rtindex, query->rtable)->jointype = JOIN_INNER;
	from = makeFromExpr(list_make1(pairs), pgj_boundary_all_of(conditions_kept(
											   conditions, join, nullable)));
	conditions->flips = list_concat(conditions->flips,
									pgj_boundary_over_rows(query, from, flips));
}

static void
look_at_joins(Conditions *conditions, Node *node, bool nullable)
{
	ListCell *lc;

	if (node == NULL || IsA(node, RangeTblRef))
		return;
	if (IsA(node, JoinExpr))
	{
		JoinExpr *join = (JoinExpr *) node;
		bool left = nullable || join->jointype == JOIN_RIGHT ||
					join->jointype == JOIN_FULL;
		bool right = nullable || join->jointype == JOIN_LEFT ||
					 join->jointype == JOIN_FULL;
		List *unused = NIL;

		look_at_joins(conditions, join->larg, left);
		look_at_joins(conditions, join->rarg, right);
		if (!pgj_boundary_has_now(join->quals))
			return;
		if (join->jointype == JOIN_INNER && !nullable)
			pgj_boundary_split(join->quals, &conditions->with_now, &unused);
		else
			flips_of_join(conditions, join, nullable);
		return;
	}
	foreach (lc, castNode(FromExpr, node)->fromlist)
		look_at_joins(conditions, lfirst(lc), nullable);
}

static List *
flips_of_conditions(Boundary *boundary, Query *query)
{
	Conditions conditions = { boundary, query, NIL, NIL, NIL };
	List *flips;

	pgj_boundary_split(query->jointree->quals, &conditions.with_now,
					   &conditions.free);
	look_at_joins(&conditions, (Node *) query->jointree, false);
	flips = flips_of_all(boundary, conditions.with_now);
	if (flips != NIL)
		flips = pgj_boundary_over_rows(query,
									   (FromExpr *) pgj_boundary_without_now(
										   (Node *) query->jointree, false),
									   flips);
	return list_concat(flips, conditions.flips);
}

/* ---------- target lists, aggregates, HAVING ---------- */

typedef struct AggregateContext
{
	int level;
	List *found;
} AggregateContext;

static bool
aggregate_walker(Node *node, AggregateContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Aggref) && ((Aggref *) node)->agglevelsup == context->level)
	{
		/* one that stands further in is looked at where it is found by itself */
		if (context->level == 0 && pgj_boundary_has_now(node))
			context->found = lappend(context->found, node);
		else if (context->level > 0 && pgj_boundary_has_now(node))
			context->found = lappend(context->found, NULL);
		return false;
	}
	if (IsA(node, Query))
	{
		bool result;

		context->level++;
		result =
			query_tree_walker((Query *) node, aggregate_walker, context, 0);
		context->level--;
		return result;
	}
	return expression_tree_walker(node, aggregate_walker, context);
}

static List *
flips_in_list(Boundary *boundary, List *expressions)
{
	List *result = NIL;
	ListCell *lc;

	foreach (lc, expressions)
	{
		Node *node = lfirst(lc);

		if (node != NULL && IsA(node, TargetEntry))
			node = (Node *) ((TargetEntry *) node)->expr;
		if (node != NULL)
			result =
				list_concat(result, pgj_boundary_flips(boundary, node, false));
	}
	return result;
}

/* Arguments of aggregates: row by row. */
static List *
flips_of_aggregates(Boundary *boundary, Query *query)
{
	AggregateContext context = { 0, NIL };
	List *flips = NIL;
	ListCell *lc;

	(void) aggregate_walker((Node *) query->targetList, &context);
	(void) aggregate_walker(query->havingQual, &context);
	foreach (lc, context.found)
	{
		Aggref *aggregate = lfirst(lc);

		if (aggregate == NULL)
		{
			pgj_boundary_opaque(
				boundary,
				"an aggregate over the time stands in another sub-select than the one it belongs to");
			continue;
		}
		flips = list_concat(flips, flips_in_list(boundary, aggregate->args));
		flips = list_concat(flips,
							flips_in_list(boundary, aggregate->aggdirectargs));
		if (aggregate->aggfilter != NULL)
			flips = list_concat(
				flips, pgj_boundary_flips(boundary,
										  (Node *) aggregate->aggfilter, true));
	}
	return pgj_boundary_over_rows(query, query->jointree, flips);
}

/* Is the entry used by GROUP BY or a window, so that it must be kept? */
static bool
is_grouped_by(Query *query, TargetEntry *entry)
{
	ListCell *lc;

	if (pgj_boundary_is_sorted_by(query->groupClause, entry))
		return true;
	foreach (lc, query->windowClause)
	{
		WindowClause *window = lfirst(lc);

		if (pgj_boundary_is_sorted_by(window->partitionClause, entry) ||
			pgj_boundary_is_sorted_by(window->orderClause, entry))
			return true;
	}
	return false;
}

/* The least of flips over a query's groups, or over the rows of its windows. */
static List *
over_groups(Query *query, List *flips)
{
	Query *inner = pgj_boundary_bare(query);
	Flip *first = linitial(flips);
	Expr *next = pgj_boundary_least(flips);
	AttrNumber number = 1;
	Var *column = makeVar(1, 1, TIMESTAMPTZOID, -1, InvalidOid, 0);
	ListCell *lc;

	inner->targetList =
		list_make1(makeTargetEntry(copyObject(next), number++, "next", false));
	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst(lc);

		if (!is_grouped_by(query, entry))
			continue;
		entry = copyObject(entry);
		entry->resjunk = true;
		entry->resno = number++;
		inner->targetList = lappend(inner->targetList, entry);
	}
	inner->groupClause = copyObject(query->groupClause);
	inner->groupDistinct = query->groupDistinct;
	inner->groupingSets = copyObject(query->groupingSets);
	inner->windowClause = copyObject(query->windowClause);
	inner->hasAggs = query->hasAggs;
	inner->hasWindowFuncs = query->hasWindowFuncs;
	inner->hasSubLinks =
		query->hasSubLinks || checkExprHasSubLink((Node *) next);
	return list_make1(pgj_boundary_flip(
		first->source, pgj_boundary_least_of_query(inner, (Expr *) column),
		NULL));
}

/* Expressions over groups or windows, and those that make the groups. */
static List *
flips_of_groups(Boundary *boundary, Query *query, bool exists)
{
	List *rows = NIL;
	List *groups = NIL;
	List *inner;
	ListCell *lc;

	foreach (lc, query->targetList)
	{
		TargetEntry *entry = lfirst(lc);
		List *flips;

		if (!pgj_boundary_has_now((Node *) entry->expr))
			continue;
		flips = pgj_boundary_flips(boundary, (Node *) entry->expr, false);
		if (pgj_boundary_is_sorted_by(query->groupClause, entry))
		{
			rows = list_concat(rows, flips);
			pgj_boundary_opaque(boundary, "rows are grouped by the time");
		}
		else if (!exists || query->hasTargetSRFs)
			groups = list_concat(groups, flips);
	}
	groups = list_concat(groups,
						 pgj_boundary_flips(boundary, query->havingQual, true));
	inner = list_concat(flips_of_aggregates(boundary, query),
						pgj_boundary_over_rows(query, query->jointree, rows));
	if (groups != NIL)
		inner = list_concat(inner, over_groups(query, groups));
	return inner;
}

/* ---------- sub-selects in FROM ---------- */

static List *flips_of_query(Boundary *boundary, Query *query, bool exists);

/* FROM without a relation, and without what cannot be without it. */
static Node *
without_dependents(Query *query, int relation)
{
	Node *from =
		pgj_boundary_without_relation((Node *) query->jointree, relation);
	int i = -1;

	for (;;)
	{
		Bitmapset *present = pgj_boundary_below(from);

		/* each removal may take the ground from under another */
		while ((i = bms_next_member(present, i)) >= 0)
		{
			RangeTblEntry *rte = rt_fetch(i, query->rtable);

			if (rte->lateral && !bms_is_subset(lateral_uses(rte), present))
				break;
		}
		if (i < 0)
			return from;
		from = pgj_boundary_without_relation(from, i);
		i = -1;
	}
}

static List *
flips_of_entry(Boundary *boundary, Query *query, int relation)
{
	RangeTblEntry *rte = rt_fetch(relation, query->rtable);
	Node *part = boundary->part;
	List *flips = NIL;
	Node *from;
	ListCell *lc;

	switch (rte->rtekind)
	{
		case RTE_SUBQUERY:
			flips = flips_of_query(
				boundary, pgj_boundary_narrow_entry(query, relation), false);
			break;
		case RTE_FUNCTION:
			foreach (lc, rte->functions)
				flips = list_concat(
					flips,
					pgj_boundary_flips(
						boundary, lfirst_node(RangeTblFunction, lc)->funcexpr,
						false));
			break;
		case RTE_VALUES:
			foreach (lc, rte->values_lists)
				flips = list_concat(flips, flips_in_list(boundary, lfirst(lc)));
			break;
		case RTE_RELATION:
			if (!pgj_boundary_has_now((Node *) rte->tablesample) &&
				!pgj_boundary_has_now((Node *) rte->securityQuals))
				break;
			/* FALLTHROUGH */
		case RTE_TABLEFUNC:
			if (rte->rtekind == RTE_TABLEFUNC &&
				!pgj_boundary_has_now((Node *) rte->tablefunc))
				break;
			pgj_boundary_opaque(boundary,
								"the time decides which rows there are");
			break;
		default:
			break;
	}
	boundary->part = part;
	if (flips == NIL)
		return NIL;
	query = copyObject(query);
	query->jointree = (FromExpr *) pgj_flatten_join_alias_vars(
		query, (Node *) query->jointree);
	from = without_dependents(query, relation);
	foreach (lc, flips)
	{
		Node *next = pgj_flatten_join_alias_vars(
			query, (Node *) ((Flip *) lfirst(lc))->next);

		if (!bms_is_subset(pgj_boundary_used(next, NULL),
						   pgj_boundary_below(from)))
		{
			pgj_boundary_opaque(
				boundary,
				"a lateral sub-select that depends on the time is used in the condition of an outer join");
			return NIL;
		}
	}
	return pgj_boundary_over_rows(query, (FromExpr *) from, flips);
}

/* ---------- queries ---------- */

static List *
hoist_all(List *flips)
{
	List *result = NIL;
	ListCell *lc;

	foreach (lc, flips)
		result = lappend(result, pgj_boundary_hoisted(lfirst(lc)));
	return result;
}

static List *
flips_within(Boundary *boundary, Query *query, bool exists)
{
	List *flips = NIL;
	ListCell *lc;

	if (pgj_boundary_has_now((Node *) query->cteList))
		pgj_boundary_opaque(boundary,
							"the time is asked for in a recursive query");
	for (int i = 1; i <= list_length(query->rtable); i++)
		flips = list_concat(flips, flips_of_entry(boundary, query, i));
	flips = list_concat(
		flips, hoist_all(list_concat(
				   pgj_boundary_flips(boundary, query->limitCount, false),
				   pgj_boundary_flips(boundary, query->limitOffset, false))));
	if (query->setOperations != NULL)
		return flips;
	flips = list_concat(flips, flips_of_conditions(boundary, query));
	if (query->hasAggs || query->groupClause != NIL ||
		query->groupingSets != NIL || query->havingQual != NULL ||
		query->hasWindowFuncs)
		return list_concat(flips, flips_of_groups(boundary, query, exists));
	if (exists && !query->hasTargetSRFs)
		return flips;
	foreach (lc, query->targetList)
		flips = list_concat(
			flips,
			pgj_boundary_over_rows(
				query, query->jointree,
				pgj_boundary_flips(boundary,
								   (Node *) lfirst_node(TargetEntry, lc)->expr,
								   false)));
	return flips;
}

/* The flips of a query's result, at the level around it. */
static List *
flips_of_query(Boundary *boundary, Query *query, bool exists)
{
	List *flips;

	if (!pgj_boundary_has_now((Node *) query))
		return NIL;
	boundary->depth++;
	flips = flips_within(boundary, query, exists);
	boundary->depth--;
	return flips;
}

static Node *
column_mutator(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_SUBLINK)
	{
		Param *param = (Param *) node;

		return (Node *) makeVar(1, param->paramid, param->paramtype,
								param->paramtypmod, param->paramcollid, 0);
	}
	return expression_tree_mutator(node, column_mutator, context);
}

/* x op ANY (SELECT y ...), with the time in x: as a condition on the rows of the sub-select */
static List *
flips_of_test(Boundary *boundary, SubLink *link)
{
	Node *test = copyObject(link->testexpr);
	bool made = boundary->made;
	List *flips;
	List *result = NIL;
	ListCell *lc;

	IncrementVarSublevelsUp(test, 1, 0);
	test = column_mutator(test, NULL);
	boundary->made = true;
	flips = pgj_boundary_flips(boundary, test, false);
	boundary->made = made;
	foreach (lc, flips)
	{
		Flip *flip = lfirst(lc);
		bool any;

		(void) pgj_boundary_used((Node *) flip->next, &any);
		result = lappend(
			result,
			any ? pgj_boundary_flip(
					  flip->source,
					  pgj_boundary_least_of_query(
						  copyObject((Query *) link->subselect), flip->next),
					  NULL)
				: pgj_boundary_hoisted(flip));
	}
	return result;
}

List *
pgj_boundary_sublink(Boundary *boundary, SubLink *link, bool condition)
{
	Query *query = pgj_boundary_narrow_link(boundary, link, condition);
	List *flips =
		flips_of_query(boundary, query, link->subLinkType == EXISTS_SUBLINK);

	if (link->testexpr != NULL && pgj_boundary_has_now(link->testexpr))
		flips = list_concat(flips, flips_of_test(boundary, link));
	return flips;
}
