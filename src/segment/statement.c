/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  The statements of a segment.
 *
 *	 check	SELECT k.n, c.key, <predicate> IS TRUE, <next>
 *			FROM <contact table> c, unnest($1, $2, $3) AS k (n, contact, at)
 *			WHERE c.key = k.contact				-- now() is k.at
 *	 scan	SELECT c.key, <predicate> IS TRUE, <next>
 *			FROM (SELECT f.key, <columns read> FROM <contact table> f
 *			WHERE f.key >= COALESCE($2, <the first key>) AND (f.key > $2 OR $2 IS NULL)
 *			ORDER BY f.key LIMIT $3) AS c
 *			ORDER BY c.key						-- now() is $1
 *
 * Frames are written as text, in which an author has no part, and analyzed; the
 * trees of predicate and next are put in their places, and pg_get_querydef
 * writes the whole with every name qualified.
 *
 * A sub-select that the predicate and its next flip have in common would be
 * run twice.  It is moved to
 *
 *	 ..., LATERAL (SELECT <sub-select> AS s1, ... OFFSET 0) AS x
 *
 * unless it might then be run for contacts for whom it is not run now: one of
 * its places must be reached for everybody.
 *
 * The contact, table or sub-select, is range table entry PREDICATE_CONTACT (1).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/heap.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"

#include "segment/compile.h"

#define CHECK_KEYS 2	/* range table entries of the check's frame */
#define CHECK_KEYS_AT 3 /* the column "at" */
#define CHECK_MEMBER 3	/* target list entries */

static Query *
analyze_frame(const char *text, Oid *types, int ntypes)
{
	RawStmt *raw = linitial_node(RawStmt, raw_parser(text, RAW_PARSE_DEFAULT));

	return parse_analyze_fixedparams(raw, text, types, ntypes, NULL);
}

/* -------- now() -------- */

typedef struct NowContext
{
	int level;
} NowContext;

/* now() as a column of the check's parameters. */
static Node *
now_mutator(Node *node, NowContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_EXTERN &&
		((Param *) node)->paramid == PREDICATE_NOW)
		return (Node *) makeVar(CHECK_KEYS, CHECK_KEYS_AT, TIMESTAMPTZOID, -1,
								InvalidOid, context->level);
	if (IsA(node, Query))
	{
		Query *result;

		context->level++;
		result = query_tree_mutator((Query *) node, now_mutator, context, 0);
		context->level--;
		return (Node *) result;
	}
	return expression_tree_mutator(node, now_mutator, context);
}

/* And back. */
static Node *
param_mutator(Node *node, NowContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varno == CHECK_KEYS &&
		((Var *) node)->varlevelsup == context->level)
	{
		Param *now = makeNode(Param);

		now->paramkind = PARAM_EXTERN;
		now->paramid = PREDICATE_NOW;
		now->paramtype = TIMESTAMPTZOID;
		now->paramtypmod = -1;
		now->location = -1;
		return (Node *) now;
	}
	if (IsA(node, Query))
	{
		Query *result;

		context->level++;
		result = query_tree_mutator((Query *) node, param_mutator, context, 0);
		context->level--;
		return (Node *) result;
	}
	return expression_tree_mutator(node, param_mutator, context);
}

/* -------- columns of the contact -------- */

typedef struct ColumnContext
{
	int level;
	List *columns; /* Var: columns of the scan's sub-select */
} ColumnContext;

/* Where the sub-select has a column; it is added if it has not. */
static AttrNumber
column_of(const Var *var, ColumnContext *context)
{
	Var *column;
	ListCell *lc;

	foreach (lc, context->columns)
		if (lfirst_node(Var, lc)->varattno == var->varattno)
			return foreach_current_index(lc) + 1;
	column = copyObject((Var *) var);
	column->varlevelsup = 0;
	context->columns = lappend(context->columns, column);
	return list_length(context->columns);
}

/* Columns of the contact table as columns of the scan's sub-select. */
static Node *
column_mutator(Node *node, ColumnContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varno == PREDICATE_CONTACT &&
		((Var *) node)->varlevelsup == context->level)
	{
		Var *var = copyObject((Var *) node);

		var->varattno = column_of(var, context);
		var->varnosyn = 0;
		return (Node *) var;
	}
	if (IsA(node, Query))
	{
		Query *result;

		context->level++;
		result = query_tree_mutator((Query *) node, column_mutator, context, 0);
		context->level--;
		return (Node *) result;
	}
	return expression_tree_mutator(node, column_mutator, context);
}

/* The sub-select yields those columns, its first being the key. */
static void
fill_columns(Query *frame, Oid table, List *columns)
{
	RangeTblEntry *contact = rt_fetch(PREDICATE_CONTACT, frame->rtable);
	ListCell *lc;

	for_each_from(lc, columns, 1)
	{
		Var *column = lfirst_node(Var, lc);
		const FormData_pg_attribute *system;
		char *name;

		if (column->varattno > 0)
			name = get_attname(table, column->varattno, false);
		else if (column->varattno < 0)
		{
			system = SystemAttributeDefinition(column->varattno);
			name = pstrdup(NameStr(system->attname));
		}
		else
			name = pstrdup("whole row");
		contact->subquery->targetList = lappend(
			contact->subquery->targetList,
			makeTargetEntry((Expr *) column,
							list_length(contact->subquery->targetList) + 1,
							name, false));
		contact->eref->colnames =
			lappend(contact->eref->colnames, makeString(pstrdup(name)));
	}
}

/* -------- sub-selects in common -------- */

typedef struct Shared
{
	SubLink *sublink;
	int count;
	bool always; /* reached for every contact */
} Shared;

typedef struct ShareContext
{
	List *found; /* of Shared */
	bool always;
} ShareContext;

static void share_list(List *nodes, ShareContext *context, int nalways);

static void
note_sublink(SubLink *sublink, ShareContext *context)
{
	ListCell *lc;
	Shared *shared;

	foreach (lc, context->found)
	{
		shared = lfirst(lc);
		if (equal(shared->sublink, sublink))
		{
			shared->count++;
			shared->always |= context->always;
			return;
		}
	}
	shared = palloc_object(Shared);
	shared->sublink = sublink;
	shared->count = 1;
	shared->always = context->always;
	context->found = lappend(context->found, shared);
}

/*
 * Find sub-selects of the outermost level.  CASE, COALESCE, AND and OR may stop
 * before they reach all of their parts.
 */
static bool
share_walker(Node *node, ShareContext *context)
{
	bool always = context->always;

	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_SubLink:
			note_sublink((SubLink *) node, context);
			return false;
		case T_CaseExpr:
		{
			CaseExpr *expr = (CaseExpr *) node;
			ListCell *lc;

			share_walker((Node *) expr->arg, context);
			foreach (lc, expr->args)
			{
				CaseWhen *when = lfirst_node(CaseWhen, lc);

				share_walker((Node *) when->expr, context);
				context->always = false;
				share_walker((Node *) when->result, context);
			}
			share_walker((Node *) expr->defresult, context);
			context->always = always;
			return false;
		}
		case T_CoalesceExpr:
			share_list(((CoalesceExpr *) node)->args, context, 1);
			return false;
		case T_BoolExpr:
			share_list(((BoolExpr *) node)->args, context, 1);
			return false;
		default:
			return expression_tree_walker(node, share_walker, context);
	}
}

static void
share_list(List *nodes, ShareContext *context, int nalways)
{
	bool always = context->always;
	ListCell *lc;

	foreach (lc, nodes)
	{
		if (foreach_current_index(lc) >= nalways)
			context->always = false;
		share_walker(lfirst(lc), context);
	}
	context->always = always;
}

/* The sub-selects to be moved. */
static List *
shared_sublinks(const Predicate *predicate)
{
	ShareContext context = { NIL, true };
	List *result = NIL;
	ListCell *lc;

	share_walker((Node *) predicate_condition(predicate), &context);
	share_walker((Node *) predicate->next, &context);
	foreach (lc, context.found)
	{
		Shared *shared = lfirst(lc);

		if (shared->count > 1 && shared->always &&
			shared->sublink->subLinkType != MULTIEXPR_SUBLINK)
			result = lappend(result, shared->sublink);
	}
	return result;
}

typedef struct MoveContext
{
	List *sublinks;
	int varno; /* of the LATERAL sub-select */
} MoveContext;

static Node *
move_mutator(Node *node, MoveContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, SubLink))
	{
		ListCell *lc;

		foreach (lc, context->sublinks)
			if (equal(node, lfirst(lc)))
				return (Node *) makeVar(
					context->varno, foreach_current_index(lc) + 1,
					exprType(node), exprTypmod(node), exprCollation(node), 0);
		return copyObject(node);
	}
	return expression_tree_mutator(node, move_mutator, context);
}

/* ", LATERAL (SELECT NULL AS s1, ... OFFSET 0) AS x", or nothing. */
static char *
lateral_text(List *sublinks)
{
	StringInfoData s;

	initStringInfo(&s);
	for (int i = 1; i <= list_length(sublinks); i++)
		appendStringInfo(&s, "%s NULL AS s%d",
						 i == 1 ? ", LATERAL (SELECT" : ",", i);
	if (sublinks != NIL)
		appendStringInfoString(&s, " OFFSET 0) AS x");
	return s.data;
}

/* An expression over the predicate's query in its place in a frame. */
static Expr *
place(Node *node, int level, ColumnContext *columns)
{
	NowContext now = { level };

	if (columns == NULL)
		return (Expr *) now_mutator(node, &now);
	columns->level = level;
	return (Expr *) column_mutator(node, columns);
}

/*
 * Put the condition and its next flip into their places in a frame: that of the
 * check, where now() is a column, or that of the scan (columns is set).
 */
static void
fill_frame(Query *frame, const Predicate *predicate, List *sublinks, int first,
		   ColumnContext *columns)
{
	MoveContext context = { sublinks, list_length(frame->rtable) };
	BooleanTest *test = makeNode(BooleanTest);
	Node *member =
		move_mutator((Node *) predicate_condition(predicate), &context);
	Node *next = move_mutator((Node *) predicate->next, &context);
	ListCell *lc;

	test->arg = place(member, 0, columns);
	test->booltesttype = IS_TRUE;
	test->location = -1;
	list_nth_node(TargetEntry, frame->targetList, first - 1)->expr =
		(Expr *) test;
	if (next)
		list_nth_node(TargetEntry, frame->targetList, first)->expr =
			place(next, 0, columns);
	frame->hasSubLinks = true;

	foreach (lc, sublinks)
	{
		Query *lateral = llast_node(RangeTblEntry, frame->rtable)->subquery;
		Node *sublink = copyObject(lfirst(lc));

		IncrementVarSublevelsUp(sublink, 1, 0);
		list_nth_node(TargetEntry, lateral->targetList,
					  foreach_current_index(lc))
			->expr = place(sublink, 1, columns);
		lateral->hasSubLinks = true;
	}
}

static char *
write_check(const Predicate *predicate, List *sublinks)
{
	const Site *site = predicate->site;
	Oid types[3] = { INT4ARRAYOID, site->key_array_type, TIMESTAMPTZARRAYOID };
	Query *frame = analyze_frame(
		psprintf(
			"SELECT k.n, c.%s AS contact, NULL::pg_catalog.bool AS member, NULL::pg_catalog.timestamptz AS next_check"
			" FROM %s AS c, ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))"
			" AS k (n, contact, at)%s WHERE c.%s OPERATOR(pg_catalog.=) k.contact",
			site->key_column, site->contact_name, lateral_text(sublinks),
			site->key_column),
		types, lengthof(types));

	fill_frame(frame, predicate, sublinks, CHECK_MEMBER, NULL);
	return pg_get_querydef(frame, false);
}

/*
 * The lower bound is an expression that an index can be searched with, so that
 * even a plan made for any $2 reads no more than it returns.  Contacts are limited
 * before anything is evaluated for them: the planner takes the number of rows
 * below a LIMIT for how often sub-selects are run, and would read whole tables
 * into memory for a batch.
 */
static char *
write_scan(const Predicate *predicate, List *sublinks)
{
	const Site *site = predicate->site;
	const char *key = site->key_column;
	const char *table = site->contact_name;
	Oid types[3] = { TIMESTAMPTZOID, site->key_type, INT4OID };
	ColumnContext columns = { 0 };
	Query *frame = analyze_frame(
		psprintf(
			"SELECT c.%s AS contact, NULL::pg_catalog.bool AS member, NULL::pg_catalog.timestamptz AS next_check"
			" FROM (SELECT f.%s FROM %s AS f"
			"  WHERE f.%s OPERATOR(pg_catalog.>=) COALESCE($2, (SELECT g.%s FROM %s AS g ORDER BY g.%s LIMIT 1))"
			"  AND (f.%s OPERATOR(pg_catalog.>) $2 OR $2 IS NULL) ORDER BY f.%s LIMIT $3) AS c%s"
			" ORDER BY c.%s",
			key, key, table, key, key, table, key, key, key,
			lateral_text(sublinks), key),
		types, lengthof(types));

	columns.columns = list_make1(
		linitial_node(TargetEntry, predicate->query->targetList)->expr);
	fill_frame(frame, predicate, sublinks, CHECK_MEMBER - 1, &columns);
	fill_columns(frame, site->contact_table, columns.columns);
	return pg_get_querydef(frame, false);
}

void
pgj_segment_write_statements(CompiledSegment *segment)
{
	const Predicate *predicate = &segment->predicate;
	List *sublinks = shared_sublinks(predicate);
	ListCell *lc;

	segment->check = write_check(predicate, sublinks);
	segment->scan = write_scan(predicate, sublinks);
	segment->finds = NIL;
	foreach (lc, predicate->watches)
	{
		Watch *watch = lfirst(lc);

		segment->finds = lappend(
			segment->finds,
			watch->find ? pg_get_querydef(copyObject(watch->find), false)
						: NULL);
	}
}

/* -------- and back -------- */

typedef struct RestoreContext
{
	int varno;
	List *targets; /* of the LATERAL sub-select */
} RestoreContext;

static Node *
restore_mutator(Node *node, RestoreContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Var) && ((Var *) node)->varno == context->varno &&
		((Var *) node)->varlevelsup == 0)
	{
		TargetEntry *target = list_nth_node(TargetEntry, context->targets,
											((Var *) node)->varattno - 1);
		Node *result = copyObject((Node *) target->expr);

		IncrementVarSublevelsUp(result, -1, 1);
		return result;
	}
	return expression_tree_mutator(node, restore_mutator, context);
}

Query *
pgj_segment_read_statement(const Site *site, Query *check)
{
	Query *frame = analyze_frame(psprintf("SELECT c.%s FROM %s AS c",
										  site->key_column, site->contact_name),
								 NULL, 0);
	RangeTblEntry *last = llast_node(RangeTblEntry, check->rtable);
	NowContext now = { 0 };
	Node *condition;

	condition =
		(Node *) list_nth_node(TargetEntry, check->targetList, CHECK_MEMBER - 1)
			->expr;
	condition = (Node *) castNode(BooleanTest, condition)->arg;
	if (last->rtekind == RTE_SUBQUERY)
	{
		RestoreContext context = { list_length(check->rtable),
								   last->subquery->targetList };

		condition = restore_mutator(condition, &context);
	}
	condition = param_mutator(condition, &now);
	frame->targetList =
		lappend(frame->targetList, makeTargetEntry((Expr *) condition, 2,
												   pstrdup("member"), false));
	frame->hasSubLinks = true;
	return frame;
}
