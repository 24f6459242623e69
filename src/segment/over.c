/*-------------------------------------------------------------------------
 *
 * over.c
 *	  Expressions of any query of a predicate in terms of the places they read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_proc.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "segment/correlate.h"

/* -------- expressions over places -------- */

typedef struct PlaceContext
{
	Trace *trace;
	Level *level;
} PlaceContext;

bool
pgj_yields_without_rows(const Query *query)
{
	return (query->hasAggs || query->havingQual) && query->groupClause == NIL &&
		   query->groupingSets == NIL;
}

static bool
in_sort_list(const List *list, const TargetEntry *target)
{
	ListCell *lc;

	if (target->ressortgroupref == 0)
		return false;
	foreach (lc, list)
	{
		if (lfirst_node(SortGroupClause, lc)->tleSortGroupRef ==
			target->ressortgroupref)
			return true;
	}
	return false;
}

/* Is the output column that of each row which goes into the output row? */
static bool
same_as_inside(const Query *query, const TargetEntry *target)
{
	if (query->setOperations || pgj_yields_without_rows(query))
		return false;
	return query->groupClause == NIL ||
		   in_sort_list(query->groupClause, target);
}

/* And does a row that goes in touch only output rows with this value? */
static bool
touches_same(const Query *query, const TargetEntry *target)
{
	ListCell *lc;

	if (query->limitCount || query->limitOffset)
		return false;
	if (query->setOperations)
		return true;
	if (!same_as_inside(query, target))
		return false;
	if (query->hasDistinctOn && !in_sort_list(query->distinctClause, target))
		return false;
	foreach (lc, query->windowClause)
	{
		if (!in_sort_list(lfirst_node(WindowClause, lc)->partitionClause,
						  target))
			return false;
	}
	return true;
}

/* An output column as an expression over places, or NULL. */
Node *
pgj_output_over_places(Trace *trace, Level *level, AttrNumber column)
{
	Query *query = level->query;
	TargetEntry *target;

	if (column < 1 || column > list_length(query->targetList))
		return NULL;
	target = list_nth_node(TargetEntry, query->targetList, column - 1);
	if (level->on_path && query->setOperations)
	{
		/* the arm we come from: its columns are ours, in their order */
		ListCell *lc;

		if (!touches_same(query, target))
			return NULL;
		foreach (lc, trace->levels)
		{
			Level *arm = lfirst(lc);

			if (arm->parent == level && arm->on_path && arm->kind == LEVEL_FROM)
				return pgj_output_over_places(trace, arm, column);
		}
		return NULL;
	}
	if (level->on_path ? !touches_same(query, target)
					   : !same_as_inside(query, target))
		return NULL;
	if (checkExprHasSubLink((Node *) target->expr) ||
		expression_returns_set((Node *) target->expr))
		return NULL;
	return pgj_over_places(trace, level, (Node *) target->expr);
}

static Node *
place_mutator(Node *node, PlaceContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;
		Level *level = pgj_trace_level_up(context->level, var->varlevelsup);
		Place *place = trace_place(context->trace, level->base + var->varno);
		Var *result;

		if (place->rte->rtekind == RTE_JOIN && var->varattno > 0)
			return pgj_over_places(
				context->trace, level,
				list_nth(place->rte->joinaliasvars, var->varattno - 1));
		if (place->rte->rtekind == RTE_SUBQUERY)
		{
			Node *inside = pgj_output_over_places(context->trace, place->child,
												  var->varattno);

			if (inside)
				return inside;
		}
		result = makeVar(level->base + var->varno, var->varattno, var->vartype,
						 var->vartypmod, var->varcollid, 0);
		return (Node *) result;
	}
	return expression_tree_mutator(node, place_mutator, context);
}

/* For expressions without sub-selects. */
Node *
pgj_over_places(Trace *trace, Level *level, Node *node)
{
	PlaceContext context = { trace, level };

	return place_mutator(node, &context);
}

/* -------- what can be used -------- */

static bool
unusable_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) || IsA(node, SubLink))
		return true;
	if (IsA(node, Var) && ((Var *) node)->varattno <= 0)
		return true;
	return expression_tree_walker(node, unusable_walker, context);
}

int
pgj_place_of(Node *side)
{
	Bitmapset *places;

	if (unusable_walker(side, NULL) || contain_nonstrict_functions(side) ||
		contain_mutable_functions(side))
		return 0;
	places = pull_varnos(NULL, side);
	return bms_membership(places) == BMS_SINGLETON
			   ? bms_singleton_member(places)
			   : 0;
}

bool
pgj_is_equality(Oid op, Node *left)
{
	Oid type = exprType(left);

	return (op_mergejoinable(op, type) || op_hashjoinable(op, type)) &&
		   op_volatile(op) == PROVOLATILE_IMMUTABLE;
}

Node *
pgj_strip_relabel(Node *node)
{
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	return node;
}

static bool
column_is_not_null(Oid relation, AttrNumber column)
{
	HeapTuple tuple = SearchSysCache2(ATTNUM, ObjectIdGetDatum(relation),
									  Int16GetDatum(column));
	bool result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	return result;
}

bool
pgj_can_be_null(const Trace *trace, Node *expr)
{
	Node *node = pgj_strip_relabel(expr);
	Var *var = (Var *) node;
	Place *place;

	if (!IsA(node, Var) || var->varattno <= 0)
		return true;
	place = trace_place(trace, var->varno);
	return place->rte->rtekind != RTE_RELATION || place->nullable ||
		   !column_is_not_null(place->rte->relid, var->varattno);
}
