/*-------------------------------------------------------------------------
 *
 * layout.c
 *	  Lay a predicate out flat, and find the columns that are read.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"

#include "segment/trace.h"

/* -------- levels and places -------- */

typedef struct LayoutContext
{
	Trace *trace;
	Level *level;
	bool in_targets;
	bool null_is_false; /* as in WHERE */
} LayoutContext;

static void add_level(Trace *trace, Level *level);

static Level *
new_level(LayoutContext *context, Query *query, LevelKind kind)
{
	Level *level = palloc0_object(Level);

	level->query = query;
	level->parent = context->level;
	level->kind = kind;
	return level;
}

/* x <> ALL (...): a null among them turns true into null, whoever asks */
static bool
is_all_test(const SubLink *link, const ScalarArrayOpExpr *test)
{
	return test ? !test->useOr : link->subLinkType == ALL_SUBLINK;
}

static void
add_sublink(SubLink *link, ScalarArrayOpExpr *test, LayoutContext *context)
{
	Level *level =
		new_level(context, castNode(Query, link->subselect), LEVEL_SUBLINK);

	level->sublink = link;
	level->array_test = test;
	level->in_targets = context->in_targets;
	level->nulls_matter = !context->null_is_false || is_all_test(link, test);
	add_level(context->trace, level);
}

static SubLink *
array_sublink(const ScalarArrayOpExpr *test)
{
	Node *array = lsecond(test->args);

	while (IsA(array, RelabelType))
		array = (Node *) ((RelabelType *) array)->arg;
	return IsA(array, SubLink) &&
				   ((SubLink *) array)->subLinkType == ARRAY_SUBLINK
			   ? (SubLink *) array
			   : NULL;
}

/*
 * Look for sub-selects.  On the way down we remember whether null and false
 * come to the same: they do where a condition is asked for, until a NOT or
 * anything but AND, OR and CASE.
 */
static bool
sublink_walker(Node *node, LayoutContext *context)
{
	bool null_is_false = context->null_is_false;
	bool result;

	if (node == NULL)
		return false;
	if (IsA(node, List) || IsA(node, TargetEntry) ||
		(IsA(node, BoolExpr) && ((BoolExpr *) node)->boolop != NOT_EXPR))
		return expression_tree_walker(node, sublink_walker, context);
	if (IsA(node, CaseWhen))
	{
		sublink_walker((Node *) ((CaseWhen *) node)->result, context);
		context->null_is_false = true;
		sublink_walker((Node *) ((CaseWhen *) node)->expr, context);
		context->null_is_false = null_is_false;
		return false;
	}
	if (IsA(node, CaseExpr) && ((CaseExpr *) node)->arg == NULL)
		return expression_tree_walker(node, sublink_walker, context);

	if (IsA(node, ScalarArrayOpExpr))
	{
		SubLink *link = array_sublink((ScalarArrayOpExpr *) node);

		if (link)
		{
			add_sublink(link, (ScalarArrayOpExpr *) node, context);
			context->null_is_false = false;
			sublink_walker(linitial(((ScalarArrayOpExpr *) node)->args),
						   context);
			context->null_is_false = null_is_false;
			return false;
		}
	}
	if (IsA(node, SubLink))
	{
		add_sublink((SubLink *) node, NULL, context);
		context->null_is_false = false;
		sublink_walker(((SubLink *) node)->testexpr, context);
		context->null_is_false = null_is_false;
		return false;
	}
	context->null_is_false = false;
	if (IsA(node, Aggref))
	{
		Aggref *aggregate = (Aggref *) node;

		sublink_walker((Node *) aggregate->aggdirectargs, context);
		sublink_walker((Node *) aggregate->args, context);
		context->null_is_false = true;
		result = sublink_walker((Node *) aggregate->aggfilter, context);
	}
	else
		result = expression_tree_walker(node, sublink_walker, context);
	context->null_is_false = null_is_false;
	return result;
}

static void
find_sublinks(LayoutContext *context, Node *node, bool in_targets,
			  bool condition)
{
	context->in_targets = in_targets;
	context->null_is_false = condition;
	(void) sublink_walker(node, context);
}

/* The conditions of FROM and WHERE. */
static void
find_join_sublinks(LayoutContext *context, Node *node)
{
	ListCell *lc;

	if (node == NULL)
		return;
	if (IsA(node, FromExpr))
	{
		foreach (lc, ((FromExpr *) node)->fromlist)
			find_join_sublinks(context, lfirst(lc));
		find_sublinks(context, ((FromExpr *) node)->quals, false, true);
	}
	else if (IsA(node, JoinExpr))
	{
		find_join_sublinks(context, ((JoinExpr *) node)->larg);
		find_join_sublinks(context, ((JoinExpr *) node)->rarg);
		find_sublinks(context, ((JoinExpr *) node)->quals, false, true);
	}
}

/* Which entries can an outer join make null? */
static void
set_nullable(Trace *trace, Level *level, Node *node, bool nullable)
{
	ListCell *lc;

	if (node == NULL)
		return;
	if (IsA(node, RangeTblRef))
		trace->places[level->base + ((RangeTblRef *) node)->rtindex].nullable =
			nullable;
	else if (IsA(node, FromExpr))
	{
		foreach (lc, ((FromExpr *) node)->fromlist)
			set_nullable(trace, level, lfirst(lc), nullable);
	}
	else
	{
		JoinExpr *join = castNode(JoinExpr, node);

		set_nullable(trace, level, join->larg,
					 nullable || join->jointype == JOIN_RIGHT ||
						 join->jointype == JOIN_FULL);
		set_nullable(trace, level, join->rarg,
					 nullable || join->jointype == JOIN_LEFT ||
						 join->jointype == JOIN_FULL);
	}
}

static void
add_places(Trace *trace, Level *level)
{
	ListCell *lc;
	int rtindex = 0;

	level->base = trace->nplaces;
	trace->nplaces += list_length(level->query->rtable);
	trace->places =
		trace->places
			? repalloc(trace->places, (trace->nplaces + 1) * sizeof(Place))
			: palloc0((trace->nplaces + 1) * sizeof(Place));
	foreach (lc, level->query->rtable)
	{
		Place *place = &trace->places[level->base + ++rtindex];

		memset(place, 0, sizeof(Place));
		place->level = level;
		place->rtindex = rtindex;
		place->rte = lfirst_node(RangeTblEntry, lc);
	}
	set_nullable(
		trace, level, (Node *) level->query->jointree,
		level->kind == LEVEL_FROM &&
			trace->places[level->parent->base + level->rtindex].nullable);
}

/* What stands in the range table: sub-selects, and expressions with some in them. */
static void
add_entry(LayoutContext *context, int rtindex)
{
	Level *level = context->level;
	RangeTblEntry *rte = rt_fetch(rtindex, level->query->rtable);

	if (rte->rtekind == RTE_SUBQUERY)
	{
		Level *child = new_level(context, rte->subquery, LEVEL_FROM);

		child->rtindex = rtindex;
		context->trace->places[level->base + rtindex].child = child;
		add_level(context->trace, child);
		return;
	}
	find_sublinks(context, (Node *) rte->functions, false, false);
	find_sublinks(context, (Node *) rte->tablefunc, false, false);
	find_sublinks(context, (Node *) rte->values_lists, false, false);
}

static void
add_level(Trace *trace, Level *level)
{
	LayoutContext context = { trace, level, false, false };
	Query *query = level->query;
	ListCell *lc;

	check_stack_depth();
	trace->levels = lappend(trace->levels, level);
	add_places(trace, level);
	for (int i = 1; i <= list_length(query->rtable); i++)
		add_entry(&context, i);
	foreach (lc, query->cteList)
	{
		CommonTableExpr *cte = lfirst_node(CommonTableExpr, lc);

		add_level(trace, new_level(&context, castNode(Query, cte->ctequery),
								   LEVEL_CTE));
	}

	find_join_sublinks(&context, (Node *) query->jointree);
	find_sublinks(&context, (Node *) query->targetList, true,
				  level->kind == LEVEL_TOP);
	find_sublinks(&context, query->havingQual, true, true);
	find_sublinks(&context, query->limitCount, true, false);
	find_sublinks(&context, query->limitOffset, true, false);
	find_sublinks(&context, (Node *) query->windowClause, true, false);
}

/* -------- columns -------- */

typedef struct ColumnContext
{
	Trace *trace;
	Level *level;
	bool changed;
} ColumnContext;

static bool column_walker(Node *node, ColumnContext *context);

Level *
pgj_trace_level_up(Level *level, int levels)
{
	while (levels-- > 0)
		level = level->parent;
	return level;
}

static void
read_output(ColumnContext *context, Level *child, AttrNumber column)
{
	if (child->all_used || bms_is_member(column, child->used))
		return;
	if (column == 0)
		child->all_used = true;
	else
		child->used = bms_add_member(child->used, column);
	context->changed = true;
}

static void
read_column(ColumnContext *context, Level *level, int rtindex,
			AttrNumber column)
{
	Place *place = trace_place(context->trace, level->base + rtindex);
	RangeTblEntry *rte = place->rte;

	if (rte->rtekind == RTE_JOIN)
	{
		ColumnContext inner = { context->trace, level, false };

		column_walker(column == 0 ? (Node *) rte->joinaliasvars
								  : list_nth(rte->joinaliasvars, column - 1),
					  &inner);
		context->changed = context->changed || inner.changed;
	}
	else if (rte->rtekind == RTE_SUBQUERY)
		read_output(context, place->child, column);
	else if (rte->rtekind == RTE_RELATION)
	{
		if (column == 0)
			place->whole_row = true;
		else
			place->columns = bms_add_member(
				place->columns, column - FirstLowInvalidHeapAttributeNumber);
	}
}

static bool
column_walker(Node *node, ColumnContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
		return false; /* a level of its own */
	if (IsA(node, Var))
	{
		Var *var = (Var *) node;

		read_column(context,
					pgj_trace_level_up(context->level, var->varlevelsup),
					var->varno, var->varattno);
		return false;
	}
	return expression_tree_walker(node, column_walker, context);
}

/* Is it all one what the columns of this query hold? */
static bool
targets_matter(const Level *level)
{
	return level->kind != LEVEL_SUBLINK ||
		   level->sublink->subLinkType != EXISTS_SUBLINK ||
		   level->query->setOperations != NULL || level->query->hasTargetSRFs;
}

static void
read_targets(ColumnContext *context)
{
	Level *level = context->level;
	bool matter = targets_matter(level);
	ListCell *lc;

	foreach (lc, level->query->targetList)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);
		bool read = matter;

		if (level->kind == LEVEL_FROM && !level->all_used)
			read = bms_is_member(target->resno, level->used);
		if (read || target->ressortgroupref != 0 ||
			expression_returns_set((Node *) target->expr))
			column_walker((Node *) target->expr, context);
	}
}

static void
read_level(ColumnContext *context)
{
	Query *query = context->level->query;
	ListCell *lc;
	int rtindex = 0;

	read_targets(context);
	column_walker((Node *) query->jointree, context);
	column_walker(query->havingQual, context);
	column_walker(query->limitCount, context);
	column_walker(query->limitOffset, context);
	column_walker((Node *) query->windowClause, context);
	foreach (lc, query->rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		rtindex++;
		column_walker((Node *) rte->functions, context);
		column_walker((Node *) rte->tablefunc, context);
		column_walker((Node *) rte->values_lists, context);

		/* the arms of a UNION are compared as a whole */
		if (query->setOperations && rte->rtekind == RTE_SUBQUERY)
			read_output(
				context,
				trace_place(context->trace, context->level->base + rtindex)
					->child,
				0);
	}
}

/*
 * Which columns a sub-select's reader uses decides which it reads itself.  A
 * reader may stand anywhere below, so we go around until nothing is added.
 */
static void
find_columns(Trace *trace)
{
	ColumnContext context = { trace, NULL, true };

	while (context.changed)
	{
		ListCell *lc;

		CHECK_FOR_INTERRUPTS();
		context.changed = false;
		foreach (lc, trace->levels)
		{
			context.level = lfirst(lc);
			read_level(&context);
		}
	}
}

Level *
pgj_trace_level_of(const Trace *trace, const Query *query)
{
	ListCell *lc;

	foreach (lc, trace->levels)
	{
		Level *level = lfirst(lc);

		if (level->query == query)
			return level;
	}
	elog(ERROR, "a sub-select of a predicate was not laid out");
}

Trace *
pgj_trace_layout(Predicate *predicate)
{
	Trace *trace = palloc0_object(Trace);
	Level *top = palloc0_object(Level);
	TargetEntry *key = linitial_node(TargetEntry, predicate->query->targetList);

	trace->predicate = predicate;
	trace->key = castNode(Var, key->expr)->varattno;
	top->query = predicate->query;
	top->kind = LEVEL_TOP;
	add_level(trace, top);
	find_columns(trace);
	return trace;
}
