/*-------------------------------------------------------------------------
 *
 * expand.c
 *	  Look into what a predicate is made of.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"

#include "rewrite.h"
#include "segment/predicate.h"

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
	pgj_rewrite_refuse(analyzed, predicate->source);
	predicate->query = pgj_rewrite_now(analyzed, now_param, NULL);
}
