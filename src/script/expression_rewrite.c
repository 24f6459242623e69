/*-------------------------------------------------------------------------
 *
 * expression_rewrite.c
 *	  Walks over an analyzed expression.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"

#include "rewrite.h"
#include "script/expression_rewrite.h"

typedef struct UseContext
{
	int rtindex;
	int level;
} UseContext;

static bool
use_walker(Node *node, UseContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varno == context->rtindex &&
			   ((Var *) node)->varlevelsup == context->level;
	if (IsA(node, Query))
	{
		bool result;

		context->level++;
		result = query_tree_walker((Query *) node, use_walker, context, 0);
		context->level--;
		return result;
	}
	return expression_tree_walker(node, use_walker, context);
}

bool
pgj_expression_uses(RangeTblEntry *subquery, int rtindex)
{
	UseContext context = { rtindex, 0 };

	return use_walker((Node *) subquery->subquery, &context);
}

/* -------- now() -------- */

typedef struct NowColumn
{
	int rtindex;
	int attno;
} NowColumn;

/* A sub-select reaches the column as an outer reference. */
static Node *
now_column(int level, void *arg)
{
	const NowColumn *column = arg;

	return (Node *) makeVar(column->rtindex, column->attno, TIMESTAMPTZOID, -1,
							InvalidOid, level);
}

Query *
pgj_expression_fix_now(Query *query, int rtindex, int attno)
{
	NowColumn column = { rtindex, attno };

	return pgj_rewrite_now(query, now_column, &column);
}
