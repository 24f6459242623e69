/*-------------------------------------------------------------------------
 *
 * refuse.c
 *	  What a segment's predicate must not do.
 *
 * Asked of each text by itself, the author's, a view's and a function's, so
 * that an error can point into the text it is about, and before in_segment()
 * turns into what nobody may write.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_node.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "pg_journey.h"
#include "rewrite.h"
#include "segment/expand.h"

typedef struct RefuseContext
{
	ParseState *pstate;
	List *queries; /* innermost first */
} RefuseContext;

/* Memberships are asked for by in_segment(), which the analysis understands. */
static bool
holds_memberships(Oid relation)
{
	const char *name = get_rel_name(relation);
	char *schema = get_namespace_name(get_rel_namespace(relation));

	if (name == NULL || schema == NULL)
		return false;
	return (strcmp(schema, PGJ_STATE_SCHEMA) == 0 &&
			strcmp(name, "membership") == 0) ||
		   (strcmp(schema, PGJ_SCHEMA) == 0 &&
			strcmp(name, "segment_member") == 0);
}

static void
refuse_entry(const RangeTblEntry *rte)
{
	if (rte->rtekind != RTE_RELATION)
		return;
	if (rte->tablesample)
		ereport(
			ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("TABLESAMPLE cannot be used in a segment's predicate"),
			errdetail("A sample would be another one at every evaluation."));
	if (get_rel_persistence(rte->relid) == RELPERSISTENCE_TEMP)
		ereport(
			ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("temporary tables cannot be used in a segment's predicate"),
			errdetail("\"%s\" is a temporary table.",
					  get_rel_name(rte->relid)));
	if (holds_memberships(rte->relid))
		ereport(
			ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("a segment's predicate cannot read \"%s\"",
				   get_rel_name(rte->relid)),
			errhint(
				"Ask with journey.in_segment(contact, 'name'), so that the segments are evaluated in order."));
}

/* ctid, xmin and the like change without anything that is told of. */
static void
refuse_system_column(const Var *var, const RefuseContext *context)
{
	Query *query;
	RangeTblEntry *rte;

	if (var->varattno >= 0 || var->varlevelsup >= list_length(context->queries))
		return;
	query = list_nth_node(Query, context->queries, var->varlevelsup);
	rte = rt_fetch(var->varno, query->rtable);
	ereport(
		ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		errmsg("system column \"%s\" cannot be used in a segment's predicate",
			   rte->rtekind == RTE_RELATION
				   ? get_attname(rte->relid, var->varattno, false)
				   : strVal(list_nth(rte->eref->colnames, 0))),
		parser_errposition(context->pstate, var->location));
}

static bool
refuse_walker(Node *node, RefuseContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var))
		refuse_system_column((Var *) node, context);
	if (IsA(node, SubLink) && pgj_segment_asked((SubLink *) node))
	{
		/* what in_segment() has become in a stored predicate */
		Query *query = (Query *) ((SubLink *) node)->subselect;

		context->queries = lcons(query, context->queries);
		refuse_walker((Node *) query->jointree, context);
		context->queries = list_delete_first(context->queries);
		return false;
	}
	if (IsA(node, RangeTblEntry))
	{
		refuse_entry((RangeTblEntry *) node);
		return false; /* query_tree_walker goes on into it */
	}
	if (IsA(node, Query))
	{
		Query *query = (Query *) node;

		if (query->commandType != CMD_SELECT)
			ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("a segment's predicate cannot change data"));
		context->queries = lcons(query, context->queries);
		query_tree_walker(query, refuse_walker, context,
						  QTW_EXAMINE_RTES_BEFORE);
		context->queries = list_delete_first(context->queries);
		return false;
	}
	return expression_tree_walker(node, refuse_walker, context);
}

void
pgj_predicate_refuse(Query *query, const char *source)
{
	RefuseContext context = { make_parsestate(NULL), NIL };

	context.pstate->p_sourcetext = source;
	(void) refuse_walker((Node *) query, &context);
	pgj_rewrite_refuse(query, source);
}
