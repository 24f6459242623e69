/*-------------------------------------------------------------------------
 *
 * boundary.c
 *	  When does time flip a predicate?
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/nodeFuncs.h"

#include "segment/predicate.h"

static bool
now_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN &&
		((Param *) node)->paramid == PREDICATE_NOW)
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, now_walker, context, 0);
	return expression_tree_walker(node, now_walker, context);
}

void
pgj_predicate_boundary(Predicate *predicate)
{
	Node *condition = (Node *) predicate_condition(predicate);

	predicate->next = NULL;
	if (now_walker(condition, NULL))
		pgj_predicate_opaque(predicate, condition, "it depends on the time");
}
