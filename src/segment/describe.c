/*-------------------------------------------------------------------------
 *
 * describe.c
 *	  Parts of a predicate in words, and the list of those that are opaque.
 *
 * PostgreSQL deparses expressions over one table, or whole queries.  A part of
 * a predicate may lie any number of sub-selects deep and read columns of each.
 * So the queries on the way to it are copied with nothing in them but the way,
 * the part stands between two marks at its end, and what is deparsed between
 * the marks is the part.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "segment/predicate.h"

#define MARK_BEGIN "journey part begins"
#define MARK_END "journey part ends"

/* -------- the queries on the way to a part -------- */

typedef struct WayContext
{
	const Node *part;
	List *way; /* of Query, innermost first */
} WayContext;

static bool
way_walker(Node *node, WayContext *context)
{
	if (node == NULL)
		return false;
	if (node == context->part)
		return true;
	if (IsA(node, Query))
	{
		if (!query_tree_walker((Query *) node, way_walker, context, 0))
			return false;
		context->way = lappend(context->way, node);
		return true;
	}
	return expression_tree_walker(node, way_walker, context);
}

/* -------- for people -------- */

/* The time of the decision is written as the author wrote it. */
static Node *
readable_mutator(Node *node, void *arg)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
		return (Node *) query_tree_mutator((Query *) node, readable_mutator,
										   arg, 0);
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN &&
		((Param *) node)->paramid == PREDICATE_NOW)
		return (Node *) makeFuncExpr(F_NOW, TIMESTAMPTZOID, NIL, InvalidOid,
									 InvalidOid, COERCE_EXPLICIT_CALL);
	return expression_tree_mutator(node, readable_mutator, arg);
}

static TargetEntry *
marked(Node *expr, const char *mark)
{
	return makeTargetEntry((Expr *) expr, 1, pstrdup(mark), false);
}

/* A query with the same names in it that yields only these columns. */
static Query *
names_of(const Query *original, List *targets)
{
	Query *query = makeNode(Query);

	query->commandType = CMD_SELECT;
	query->canSetTag = true;
	query->rtable = copyObject(original->rtable);
	query->jointree = copyObject(original->jointree);
	if (query->jointree == NULL)
		query->jointree = makeFromExpr(NIL, NULL);
	query->jointree->quals = NULL;
	query->cteList = copyObject(original->cteList);
	query->windowClause = copyObject(original->windowClause);

	/* a window's clauses point to targets; the rest is only in their way */
	query->targetList = targets;
	if (original->windowClause)
		query->targetList =
			list_concat(targets, copyObject(original->targetList));
	return query;
}

static char *
text_between_marks(const char *text)
{
	const char *begin = strstr(text, "\"" MARK_BEGIN "\"");
	const char *end = begin ? strstr(begin, "AS \"" MARK_END "\"") : NULL;

	if (end == NULL)
		elog(ERROR, "could not deparse a part of a predicate");
	begin += strlen("\"" MARK_BEGIN "\"");
	begin += strspn(begin, ", \n\t");
	while (end > begin && strchr(" \n\t", end[-1]))
		end--;
	return pnstrdup(begin, end - begin);
}

/* On one line: pretty-printing breaks lines at the sub-selects. */
static char *
squeezed(char *text)
{
	char *to = text;
	char quote = 0;

	for (const char *from = text; *from; from++)
	{
		if (quote)
			quote = *from == quote ? 0 : quote;
		else if (*from == '\'' || *from == '"')
			quote = *from;
		else if (strchr(" \t\n", *from))
		{
			if (to == text || to[-1] == ' ' || to[-1] == '(')
				continue;
			*to++ = ' ';
			continue;
		}
		*to++ = *from;
	}
	*to = '\0';
	return text;
}

static char *
deparse_on_way(List *way, Node *part)
{
	Query *query = NULL;
	ListCell *lc;

	foreach (lc, way)
	{
		List *targets;

		if (query == NULL)
			targets = list_make2(
				marked((Node *) makeBoolConst(true, false), MARK_BEGIN),
				marked(part, MARK_END));
		else
		{
			SubLink *link = makeNode(SubLink);

			link->subLinkType = EXPR_SUBLINK;
			link->subselect = (Node *) query;
			link->location = -1;
			targets = list_make1(marked((Node *) link, "way"));
		}
		query = names_of(lfirst_node(Query, lc), targets);
	}
	return squeezed(text_between_marks(pg_get_querydef(query, false)));
}

static char *
describe_entry(const RangeTblEntry *rte)
{
	if (rte->rtekind == RTE_RELATION)
		return quote_qualified_identifier(
			get_namespace_name(get_rel_namespace(rte->relid)),
			get_rel_name(rte->relid));
	if (rte->rtekind == RTE_CTE)
		return pstrdup(quote_identifier(rte->ctename));
	return pstrdup(quote_identifier(rte->eref->aliasname));
}

char *
pgj_predicate_deparse(const Predicate *predicate, Node *part)
{
	WayContext context = { part, NIL };

	if (IsA(part, RangeTblEntry))
		return describe_entry((RangeTblEntry *) part);
	(void) way_walker((Node *) predicate->query, &context);
	if (IsA(part, Query))
		return squeezed(
			pg_get_querydef((Query *) readable_mutator(part, NULL), false));
	if (context.way == NIL)
		context.way = list_make1(predicate->query);
	return deparse_on_way(context.way, readable_mutator(part, NULL));
}

void
pgj_predicate_opaque(Predicate *predicate, Node *part, const char *why)
{
	char *source = pgj_predicate_deparse(predicate, part);
	OpaquePart *opaque;
	ListCell *lc;

	foreach (lc, predicate->opaque)
	{
		opaque = lfirst(lc);
		if (strcmp(opaque->source, source) == 0 &&
			strcmp(opaque->why, why) == 0)
			return;
	}
	opaque = palloc0_object(OpaquePart);
	opaque->source = source;
	opaque->why = pstrdup(why);
	predicate->opaque = lappend(predicate->opaque, opaque);
}
