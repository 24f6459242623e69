/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  How changed rows lead to contacts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attnum.h"
#include "catalog/pg_class.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "segment/predicate.h"

typedef struct TraceContext
{
	Predicate *predicate;
	AttrNumber key;
	int level;
} TraceContext;

/* The column a top-level qual says to be the contact's key, or 0. */
static AttrNumber
direct_key(Node *qual, int rtindex, const TraceContext *context)
{
	OpExpr *op = (OpExpr *) qual;
	ListCell *lc;

	if (qual == NULL)
		return 0;
	if (is_andclause(qual))
	{
		foreach (lc, ((BoolExpr *) qual)->args)
		{
			AttrNumber key = direct_key(lfirst(lc), rtindex, context);

			if (key != 0)
				return key;
		}
	}
	if (!IsA(qual, OpExpr) || list_length(op->args) != 2 ||
		!IsA(linitial(op->args), Var) || !IsA(lsecond(op->args), Var) ||
		!op_mergejoinable(op->opno, exprType(linitial(op->args))))
		return 0;
	for (int i = 0; i < 2; i++)
	{
		Var *inner = list_nth(op->args, i);
		Var *outer = list_nth(op->args, 1 - i);

		if (inner->varlevelsup == 0 && inner->varno == rtindex &&
			outer->varlevelsup == context->level &&
			outer->varno == PREDICATE_CONTACT &&
			outer->varattno == context->key && inner->vartype == outer->vartype)
			return inner->varattno;
	}
	return 0;
}

static bool
trace_walker(Node *node, TraceContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query *query = (Query *) node;
		ListCell *lc;
		int rtindex = 0;

		context->level++;
		foreach (lc, query->rtable)
		{
			RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);
			Watch *watch;

			rtindex++;
			if (rte->rtekind != RTE_RELATION)
				continue;
			watch = palloc0_object(Watch);
			watch->relation = rte->relid;
			watch->kind = WATCH_ALL;
			watch->whole_row = true;
			if (query->jointree)
			{
				AttrNumber key =
					direct_key(query->jointree->quals, rtindex, context);

				if (key > 0)
				{
					watch->kind = WATCH_CONTACT;
					watch->key = list_make1_int(key);
				}
			}
			context->predicate->watches =
				lappend(context->predicate->watches, watch);
		}
		query_tree_walker(query, trace_walker, context, 0);
		context->level--;
		return false;
	}
	return expression_tree_walker(node, trace_walker, context);
}

void
pgj_predicate_trace(Predicate *predicate)
{
	RangeTblEntry *contact =
		rt_fetch(PREDICATE_CONTACT, predicate->query->rtable);
	Var *key =
		linitial_node(TargetEntry, predicate->query->targetList)->expr
			? (Var *) linitial_node(TargetEntry, predicate->query->targetList)
				  ->expr
			: NULL;
	TraceContext context = { predicate, castNode(Var, key)->varattno, 0 };
	Watch *watch = palloc0_object(Watch);

	watch->relation = contact->relid;
	watch->kind = WATCH_CONTACT;
	watch->key = list_make1_int(context.key);
	watch->whole_row = true;
	predicate->watches = list_make1(watch);
	(void) trace_walker((Node *) predicate_condition(predicate), &context);
}
