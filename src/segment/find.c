/*-------------------------------------------------------------------------
 *
 * find.c
 *	  The query from the key values of a watch to contacts.
 *
 *	 SELECT DISTINCT c.key
 *	 FROM unnest($1, $2, ...) AS k (l1, l2, ...), <tables on the way>, contacts c
 *	 WHERE <the conditions, with k.l1::type for the column of the changed row>
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parse_coerce.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "segment/trace.h"

typedef struct FindContext
{
	List *way;
	List *key;
} FindContext;

static Query *
analyze_with_keys(const char *text, int nkeys)
{
	Oid *types = palloc_array(Oid, nkeys);

	for (int i = 0; i < nkeys; i++)
		types[i] = TEXTARRAYOID;
	return parse_analyze_fixedparams(
		linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT)), text,
		types, nkeys, NULL);
}

static const char *
qualified_name(Oid relation)
{
	return quote_qualified_identifier(
		get_namespace_name(get_rel_namespace(relation)),
		get_rel_name(relation));
}

/* Without its conditions. */
static char *
find_text(const Trace *trace, const List *way, int nkeys)
{
	const Site *site = trace->predicate->site;
	StringInfoData s;
	int last = list_length(way) - 1;

	initStringInfo(&s);
	appendStringInfo(&s, "SELECT DISTINCT c.%s AS contact FROM ROWS FROM (",
					 site->key_column);
	for (int i = 1; i <= nkeys; i++)
		appendStringInfo(&s, "%spg_catalog.unnest($%d)", i > 1 ? ", " : "", i);
	appendStringInfoString(&s, ") AS k (");
	for (int i = 1; i <= nkeys; i++)
		appendStringInfo(&s, "%sl%d", i > 1 ? ", " : "", i);
	appendStringInfoChar(&s, ')');
	for (int i = 1; i < last; i++)
		appendStringInfo(
			&s, ", %s AS t%d",
			qualified_name(
				trace_place(trace, list_nth_int(way, i))->rte->relid),
			i);
	appendStringInfo(&s, ", %s AS c", site->contact_name);
	return s.data;
}

/* The n-th key value as the column it was read from. */
static Node *
key_value(int n, const Var *column)
{
	Oid type = getBaseType(column->vartype);
	Node *value = (Node *) makeVar(1, n, TEXTOID, -1, DEFAULT_COLLATION_OID, 0);
	CollateExpr *collate;

	value = coerce_to_target_type(NULL, value, TEXTOID, type, -1,
								  COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
	if (value == NULL)
		elog(ERROR, "no way from text to type %u", type);
	if (!OidIsValid(column->varcollid) ||
		column->varcollid == DEFAULT_COLLATION_OID)
		return value;
	collate = makeNode(CollateExpr);
	collate->arg = (Expr *) value;
	collate->collOid = column->varcollid;
	collate->location = -1;
	return (Node *) collate;
}

static int
index_of(const List *list, int number)
{
	for (int i = 0; i < list_length(list); i++)
	{
		if (list_nth_int(list, i) == number)
			return i;
	}
	elog(ERROR, "a condition lies off the way it is for");
}

static Node *
find_mutator(Node *node, FindContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;
		int step = index_of(context->way, var->varno);

		if (step == 0)
			return key_value(index_of(context->key, var->varattno) + 1, var);

		/* the keys are the first entry, as the start is of the way */
		return (Node *) makeVar(step + 1, var->varattno, var->vartype,
								var->vartypmod, var->varcollid, 0);
	}
	return expression_tree_mutator(node, find_mutator, context);
}

Query *
pgj_trace_find(const Trace *trace, const List *way, List *conditions, List *key)
{
	FindContext context = { (List *) way, key };
	int nkeys = list_length(key);
	Query *query = analyze_with_keys(find_text(trace, way, nkeys), nkeys);

	conditions = castNode(List, find_mutator((Node *) conditions, &context));
	query->jointree->quals = (Node *) make_ands_explicit(conditions);

	/* conditions are not from this text */
	return stringToNode(nodeToString(query));
}

/* What either of two ways finds. */
Query *
pgj_trace_find_either(Query *one, Query *other, int nkeys)
{
	return analyze_with_keys(psprintf("%s UNION %s",
									  pg_get_querydef(one, false),
									  pg_get_querydef(other, false)),
							 nkeys);
}
