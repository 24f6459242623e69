/*-------------------------------------------------------------------------
 *
 * correlate.c
 *	  How a changed row leads to contacts: by equalities that must hold.
 *
 * A row of R matters to a contact c only where it meets c: in a combination of
 * rows, one of each table around, for which the query's conditions hold.  Some of
 * these conditions are equalities of columns; if a chain of them leads from R
 * to c, then joining by just these finds all contacts that the row can matter
 * to.  It may find more.  What counts is never to use a condition that need not
 * hold:
 *
 * - A query's WHERE holds for each combination it yields.  So does that of the
 *	 queries around it, for the combinations they ask it about; not, though, if
 *	 it stands among the targets of an aggregate over no rows.
 * - ON holds only where the join has matched.  Each condition therefore comes
 *	 with its needs: sets of places one of which must not be null.  R is not null
 *	 (what changes is a match with R, or one that fails for want of R), and a
 *	 strict condition that holds makes more places not null.  Starting from R we
 *	 take what is granted until nothing is added.
 * - The columns of a sub-select in FROM are those of the row inside, where a
 *	 row comes out for a row that goes in.  On the way up, from R to a reader, this
 *	 is more to ask: a change must touch only output rows with the same value in
 *	 the column.  That holds for a column of GROUP BY, or one by which all windows
 *	 are partitioned, and for none of a query with LIMIT.
 * - A sub-select under EXISTS or IN that WHERE demands has a row, for which its
 *	 own conditions hold.
 * - x IN (SELECT r.y): only contacts with x = r.y are concerned.  If null and
 *	 false are not the same there (NOT IN), a null r.y concerns everyone, and so
 *	 would any row concern an x that is null: then there is no equality.
 *
 * Rows on the way are looked up later than R was changed.  If one of them has
 * changed since, its own mark leads on from there: its way is a shorter one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "parser/parsetree.h"
#include "rewrite/rewriteManip.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_locale.h"
#include "utils/syscache.h"

#include "append.h"
#include "segment/trace.h"

/* A condition that holds once each of its needs is met. */
typedef struct Fact
{
	Node *condition;	 /* over places (varno), no sub-selects in it */
	List *needs;		 /* of Bitmapset: one place of each must not be null */
	Bitmapset *not_null; /* places that are not null if it holds */
	int left;			 /* an equality of two places; else 0 */
	int right;
	bool null_is_all;
	bool holds;
} Fact;

typedef struct Correlation
{
	Trace *trace;
	List *facts;
	Bitmapset *not_null;
	int start;
} Correlation;

/* -------- expressions over places -------- */

typedef struct PlaceContext
{
	Trace *trace;
	Level *level;
} PlaceContext;

static Node *over_places(Trace *trace, Level *level, Node *node);

static bool
has_no_groups_but_one(const Query *query)
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
	if (query->setOperations || query->groupingSets ||
		has_no_groups_but_one(query))
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
static Node *
output_over_places(Trace *trace, Level *level, AttrNumber column)
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
				return output_over_places(trace, arm, column);
		}
		return NULL;
	}
	if (level->on_path ? !touches_same(query, target)
					   : !same_as_inside(query, target))
		return NULL;
	if (checkExprHasSubLink((Node *) target->expr) ||
		expression_returns_set((Node *) target->expr))
		return NULL;
	return over_places(trace, level, (Node *) target->expr);
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
			return over_places(
				context->trace, level,
				list_nth(place->rte->joinaliasvars, var->varattno - 1));
		if (place->rte->rtekind == RTE_SUBQUERY)
		{
			Node *inside =
				output_over_places(context->trace, place->child, var->varattno);

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
static Node *
over_places(Trace *trace, Level *level, Node *node)
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

/*
 * The one place a side of an equality is over, or 0.  It must be null if a
 * column is, and come out the same whenever it is computed.
 */
static int
place_of_side(Node *side)
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

static bool
is_equality(Oid operator, Node * left)
{
	Oid type = exprType(left);

	return op_mergejoinable(operator, type) || op_hashjoinable(operator, type);
}

static Node *
strip_relabel(Node *node)
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

static bool
can_be_null(const Trace *trace, Node *expr)
{
	Node *node = strip_relabel(expr);
	Var *var = (Var *) node;
	Place *place;

	if (!IsA(node, Var) || var->varattno <= 0)
		return true;
	place = trace_place(trace, var->varno);
	return place->rte->rtekind != RTE_RELATION || place->nullable ||
		   !column_is_not_null(place->rte->relid, var->varattno);
}

/* -------- facts -------- */

static Fact *
add_fact(Correlation *correlation, Node *condition, List *needs)
{
	Fact *fact = palloc0_object(Fact);
	OpExpr *op = (OpExpr *) condition;

	fact->condition = condition;
	fact->needs = needs;
	fact->not_null = find_nonnullable_rels(condition);
	if (IsA(op, OpExpr) && list_length(op->args) == 2 &&
		is_equality(op->opno, linitial(op->args)))
	{
		int left = place_of_side(linitial(op->args));
		int right = place_of_side(lsecond(op->args));

		if (left && right && left != right)
		{
			fact->left = left;
			fact->right = right;
		}
	}
	correlation->facts = lappend(correlation->facts, fact);
	return fact;
}

static void collect_level(Correlation *correlation, Level *level, List *needs);
static void collect_condition(Correlation *correlation, Level *level,
							  Node *node, List *needs);

/* x = (output column n), for the n-th test of IN */
typedef struct OutputContext
{
	Correlation *correlation;
	Level *level; /* of the sub-select */
	bool unknown; /* the column is not that of a row inside */
} OutputContext;

static Node *
output_mutator(Node *node, OutputContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Param) && ((Param *) node)->paramkind == PARAM_SUBLINK)
	{
		Node *output =
			output_over_places(context->correlation->trace, context->level,
							   ((Param *) node)->paramid);

		if (output)
			return output;
		context->unknown = true;
	}
	return expression_tree_mutator(node, output_mutator, context);
}

/* A test of IN as a condition over places, or NULL. */
static Node *
test_over_places(Correlation *correlation, Level *level, Node *test)
{
	OutputContext context = { correlation, level, false };

	if (checkExprHasSubLink(test))
		return NULL;
	test = over_places(correlation->trace, level->parent, test);
	test = output_mutator(test, &context);
	return context.unknown ? NULL : test;
}

/* x = ANY (ARRAY (SELECT y)) as x = y */
static Node *
array_test_over_places(Correlation *correlation, Level *level, Oid operator)
{
	ScalarArrayOpExpr *test = level->array_test;
	Node *left = linitial(test->args);
	Node *right = output_over_places(correlation->trace, level, 1);

	if (right == NULL || checkExprHasSubLink(left))
		return NULL;
	return (Node *) make_opclause(operator, BOOLOID, false,
								  (Expr *) over_places(correlation->trace,
													   level->parent, left),
								  (Expr *) right, InvalidOid,
								  test->inputcollid);
}

static bool
is_in_order(const SubLink *link)
{
	return link->subLinkType == ANY_SUBLINK && link->testexpr != NULL;
}

/* A sub-select that WHERE demands to have a row. */
static void
collect_demanded(Correlation *correlation, Level *level, List *needs)
{
	ListCell *lc;
	List *tests;

	if (level->on_path || has_no_groups_but_one(level->query) ||
		level->query->groupingSets)
		return;
	collect_level(correlation, level, needs);
	if (level->array_test)
	{
		Node *test =
			array_test_over_places(correlation, level, level->array_test->opno);

		if (test)
			add_fact(correlation, test, needs);
		return;
	}
	if (!is_in_order(level->sublink))
		return;
	tests = make_ands_implicit((Expr *) level->sublink->testexpr);
	foreach (lc, tests)
	{
		Node *test = test_over_places(correlation, level, lfirst(lc));

		if (test)
			add_fact(correlation, test, needs);
	}
}

static SubLink *
demanded_sublink(Node *node)
{
	SubLink *link = (SubLink *) node;

	if (IsA(node, ScalarArrayOpExpr) && ((ScalarArrayOpExpr *) node)->useOr)
	{
		link = (SubLink *) strip_relabel(
			lsecond(((ScalarArrayOpExpr *) node)->args));
		return IsA(link, SubLink) && link->subLinkType == ARRAY_SUBLINK ? link
																		: NULL;
	}
	return IsA(node, SubLink) && (link->subLinkType == EXISTS_SUBLINK ||
								  link->subLinkType == ANY_SUBLINK)
			   ? link
			   : NULL;
}

/* One condition that holds, once its needs are met. */
static void
collect_condition(Correlation *correlation, Level *level, Node *node,
				  List *needs)
{
	SubLink *link;

	if (node == NULL)
		return;
	if (is_andclause(node) || IsA(node, List))
	{
		List *list =
			IsA(node, List) ? (List *) node : ((BoolExpr *) node)->args;
		ListCell *lc;

		foreach (lc, list)
			collect_condition(correlation, level, lfirst(lc), needs);
		return;
	}
	link = demanded_sublink(node);
	if (link)
		collect_demanded(
			correlation,
			pgj_trace_level_of(correlation->trace, (Query *) link->subselect),
			needs);
	else if (!checkExprHasSubLink(node))
		add_fact(correlation, over_places(correlation->trace, level, node),
				 needs);
}

/* The places a part of FROM consists of. */
static Bitmapset *
places_in(Level *level, Node *node)
{
	Bitmapset *result = NULL;
	ListCell *lc;

	if (IsA(node, RangeTblRef))
		return bms_make_singleton(level->base +
								  ((RangeTblRef *) node)->rtindex);
	if (IsA(node, FromExpr))
	{
		foreach (lc, ((FromExpr *) node)->fromlist)
			result = bms_join(result, places_in(level, lfirst(lc)));
		return result;
	}
	return bms_join(places_in(level, castNode(JoinExpr, node)->larg),
					places_in(level, castNode(JoinExpr, node)->rarg));
}

static List *
and_need(List *needs, Bitmapset *need)
{
	return lappend(list_copy(needs), need);
}

static List *
needs_of_join(Level *level, JoinExpr *join, List *needs)
{
	Bitmapset *left = places_in(level, join->larg);
	Bitmapset *right = places_in(level, join->rarg);

	switch (join->jointype)
	{
		case JOIN_LEFT:
			return and_need(needs, right);
		case JOIN_RIGHT:
			return and_need(needs, left);
		case JOIN_FULL:
			return and_need(and_need(needs, left), right);
		default:
			return and_need(needs, bms_union(left, right));
	}
}

static void
collect_from(Correlation *correlation, Level *level, Node *node, List *needs)
{
	ListCell *lc;

	if (IsA(node, RangeTblRef))
	{
		int number = level->base + ((RangeTblRef *) node)->rtindex;
		Level *child = trace_place(correlation->trace, number)->child;

		if (child && !child->on_path && !has_no_groups_but_one(child->query) &&
			child->query->groupingSets == NIL)
			collect_level(correlation, child,
						  and_need(needs, bms_make_singleton(number)));
	}
	else if (IsA(node, FromExpr))
	{
		foreach (lc, ((FromExpr *) node)->fromlist)
			collect_from(correlation, level, lfirst(lc), needs);
		collect_condition(correlation, level, ((FromExpr *) node)->quals,
						  needs);
	}
	else
	{
		JoinExpr *join = castNode(JoinExpr, node);

		collect_from(correlation, level, join->larg, needs);
		collect_from(correlation, level, join->rarg, needs);
		collect_condition(correlation, level, join->quals,
						  needs_of_join(level, join, needs));
	}
}

/* What holds for the rows that go into a query's output. */
static void
collect_level(Correlation *correlation, Level *level, List *needs)
{
	check_stack_depth();
	if (level->query->setOperations == NULL && level->query->jointree)
		collect_from(correlation, level, (Node *) level->query->jointree,
					 needs);
}

/*
 * The equality by which IN concerns contacts: x = y, where y is a column of the
 * row inside.  For NOT IN see above.
 */
static void
add_test(Correlation *correlation, const Level *level, Node *test, Oid operator)
{
	OpExpr *equality = (OpExpr *) test;
	Fact *fact;

	if (test == NULL || !IsA(test, OpExpr) || list_length(equality->args) != 2)
		return;
	if (operator!= equality->opno)
	{
		equality = copyObject(equality);
		equality->opno = operator;
		equality->opfuncid = InvalidOid;
	}
	fact = add_fact(correlation, (Node *) equality, NIL);
	if (fact->left == 0 || !level->nulls_matter)
		return;
	if (can_be_null(correlation->trace, linitial(equality->args)))
		fact->left = fact->right = 0;
	else if (can_be_null(correlation->trace, lsecond(equality->args)))
	{
		/* the row itself must tell that it is null */
		if (fact->right == correlation->start &&
			IsA(strip_relabel(lsecond(equality->args)), Var))
			fact->null_is_all = true;
		else
			fact->left = fact->right = 0;
	}
}

static Oid
operator_of_test(Node *test)
{
	return test && IsA(test, OpExpr) ? ((OpExpr *) test)->opno : InvalidOid;
}

/* From a sub-select in an expression to the query around it. */
static void
collect_tests(Correlation *correlation, Level *level)
{
	ListCell *lc;
	Node *test;

	if (level->array_test)
	{
		Oid operator= level->array_test->opno;

		if (!level->array_test->useOr)
			operator= get_negator(operator);
		if (OidIsValid(operator))
			add_test(
				correlation, level,
				array_test_over_places(correlation, level, operator), operator);
	}
	else if (is_in_order(level->sublink))
	{
		foreach (lc, make_ands_implicit((Expr *) level->sublink->testexpr))
		{
			test = test_over_places(correlation, level, lfirst(lc));
			add_test(correlation, level, test, operator_of_test(test));
		}
	}
	else if (level->sublink->subLinkType == ALL_SUBLINK)
	{
		test = test_over_places(correlation, level, level->sublink->testexpr);
		if (test && OidIsValid(operator_of_test(test)) &&
			OidIsValid(get_negator(operator_of_test(test))))
			add_test(correlation, level, test,
					 get_negator(operator_of_test(test)));
	}
}

/* All that may hold around a place, from there to the contact. False: no way up. */
static bool
collect(Correlation *correlation)
{
	Trace *trace = correlation->trace;
	Level *level = trace_place(trace, correlation->start)->level;
	Level *from = NULL;

	for (;;)
	{
		List *needs = NIL;

		if (from && from->in_targets && has_no_groups_but_one(level->query))
			needs =
				list_make1(places_in(level, (Node *) level->query->jointree));
		collect_level(correlation, level, needs);
		if (level->kind == LEVEL_TOP)
			return true;
		if (level->kind == LEVEL_CTE)
			return false;
		if (level->kind == LEVEL_FROM)
			correlation->not_null = bms_add_member(
				correlation->not_null, level->parent->base + level->rtindex);
		else
			collect_tests(correlation, level);
		from = level;
		level = level->parent;
	}
}

/* These rows are there; and so are those of the sub-selects they stand in. */
static void
add_not_null(Correlation *correlation, const Bitmapset *places)
{
	int place = -1;

	while ((place = bms_next_member(places, place)) >= 0)
	{
		Level *level = trace_place(correlation->trace, place)->level;

		correlation->not_null = bms_add_member(correlation->not_null, place);
		for (; level->kind == LEVEL_FROM; level = level->parent)
			correlation->not_null = bms_add_member(
				correlation->not_null, level->parent->base + level->rtindex);
	}
}

/* Which of them hold? */
static void
settle(Correlation *correlation)
{
	bool added = true;

	while (added)
	{
		ListCell *lc;

		added = false;
		foreach (lc, correlation->facts)
		{
			Fact *fact = lfirst(lc);
			ListCell *need;

			if (fact->holds)
				continue;
			foreach (need, fact->needs)
			{
				if (!bms_overlap(lfirst(need), correlation->not_null))
					break;
			}
			if (need)
				continue;
			fact->holds = added = true;
			add_not_null(correlation, fact->not_null);
		}
	}
}

/* -------- the way -------- */

/* The side of an equality that is over a place. */
static Node *
side_over(const Fact *fact, int place)
{
	OpExpr *op = castNode(OpExpr, fact->condition);

	return fact->left == place ? linitial(op->args) : lsecond(op->args);
}

static bool
links(const Fact *fact, int one, int other)
{
	return fact->holds && fact->left != 0 &&
		   ((fact->left == one && fact->right == other) ||
			(fact->left == other && fact->right == one));
}

static bool
is_contact_key(const Correlation *correlation, const Fact *fact)
{
	Node *node = strip_relabel(side_over(fact, PREDICATE_CONTACT));

	return IsA(node, Var) &&
		   ((Var *) node)->varattno == correlation->trace->key;
}

/* Is there a step?  To the contact only by its key, if that is asked for. */
static bool
has_step(const Correlation *correlation, int from, int to, bool by_key)
{
	ListCell *lc;

	foreach (lc, correlation->facts)
	{
		Fact *fact = lfirst(lc);

		if (links(fact, from, to) && (!by_key || to != PREDICATE_CONTACT ||
									  is_contact_key(correlation, fact)))
			return true;
	}
	return false;
}

/* The shortest way from the start to the contact, places in order; or NIL. */
static List *
shortest_way(const Correlation *correlation, bool by_key)
{
	const Trace *trace = correlation->trace;
	int *before = palloc0_array(int, trace->nplaces + 1);
	List *queue = list_make1_int(correlation->start);
	List *way = NIL;
	int place;

	before[correlation->start] = -1;
	for (int i = 0; i < list_length(queue) && before[PREDICATE_CONTACT] == 0;
		 i++)
	{
		int from = list_nth_int(queue, i);

		for (int to = 1; to <= trace->nplaces; to++)
		{
			if (before[to] != 0 ||
				trace_place(trace, to)->rte->rtekind != RTE_RELATION ||
				!has_step(correlation, from, to, by_key))
				continue;
			before[to] = from;
			queue = lappend_int(queue, to);
		}
	}
	if (before[PREDICATE_CONTACT] == 0)
		return NIL;
	for (place = PREDICATE_CONTACT; place > 0; place = before[place])
		way = lcons_int(place, way);
	return way;
}

/* All that must hold between each two places of the way. */
static List *
conditions_of(const Correlation *correlation, List *way, bool *null_is_all)
{
	List *result = NIL;

	*null_is_all = false;
	for (int i = 0; i + 1 < list_length(way); i++)
	{
		List *sure = NIL;
		List *unless_null = NIL;
		ListCell *lc;

		foreach (lc, correlation->facts)
		{
			Fact *fact = lfirst(lc);

			if (!links(fact, list_nth_int(way, i), list_nth_int(way, i + 1)))
				continue;
			if (fact->null_is_all)
				unless_null = lappend(unless_null, fact->condition);
			else
				sure = list_append_unique(sure, fact->condition);
		}
		if (sure == NIL)
		{
			sure = unless_null;
			*null_is_all = true;
		}
		result = list_concat(result, sure);
	}
	return result;
}

/* The columns of the start that conditions compare. */
static List *
key_of(const Correlation *correlation, List *conditions)
{
	List *key = NIL;
	ListCell *lc;

	foreach (lc, pull_var_clause((Node *) conditions, 0))
	{
		Var *var = lfirst_node(Var, lc);

		if (var->varno == correlation->start)
			key = list_append_unique_int(key, var->varattno);
	}
	return key;
}

/* -------- the contact's key itself -------- */

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static bool
is_plain_text(const Var *var)
{
	return (var->vartype == TEXTOID || var->vartype == VARCHAROID) &&
		   (!OidIsValid(var->varcollid) ||
			get_collation_isdeterministic(var->varcollid));
}

/* Are equal values the same when they are written out? */
static bool
same_written_out(const Var *one, const Var *other)
{
	if (is_integer(one->vartype) && is_integer(other->vartype))
		return true;
	if (is_plain_text(one) && is_plain_text(other))
		return true;
	return one->vartype == other->vartype &&
		   (one->vartype == UUIDOID || one->vartype == OIDOID ||
			type_is_enum(one->vartype));
}

/* A column of the start that is the contact's key. */
static Fact *
direct_fact(const Correlation *correlation)
{
	Fact *found = NULL;
	ListCell *lc;

	foreach (lc, correlation->facts)
	{
		Fact *fact = lfirst(lc);
		Node *own;
		Node *key;

		if (!links(fact, correlation->start, PREDICATE_CONTACT) ||
			!is_contact_key(correlation, fact))
			continue;
		own = strip_relabel(side_over(fact, correlation->start));
		key = strip_relabel(side_over(fact, PREDICATE_CONTACT));
		if (!IsA(own, Var) || !same_written_out((Var *) own, (Var *) key))
			continue;
		if (found == NULL || (found->null_is_all && !fact->null_is_all))
			found = fact;
	}
	return found;
}

/* -------- names of events -------- */

static List *
text_constants(Node *node)
{
	Const *constant = (Const *) strip_relabel(node);
	List *result = NIL;
	Datum *values;
	bool *nulls;
	int n;

	if (!IsA(constant, Const) || constant->constisnull)
		return NIL;
	if (constant->consttype == TEXTOID)
		return list_make1(TextDatumGetCString(constant->constvalue));
	if (constant->consttype != TEXTARRAYOID)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(constant->constvalue), TEXTOID, -1,
					  false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			result = lappend(result, TextDatumGetCString(values[i]));
	}
	return result;
}

/* name = 'a', name IN ('a', 'b'), or several of them with OR */
static List *
names_demanded(const Correlation *correlation, Node *node, AttrNumber name)
{
	List *args = NIL;
	List *result = NIL;
	ListCell *lc;
	Node *column;

	if (is_orclause(node))
	{
		foreach (lc, ((BoolExpr *) node)->args)
		{
			List *names = names_demanded(correlation, lfirst(lc), name);

			if (names == NIL)
				return NIL;
			result = list_concat(result, names);
		}
		return result;
	}
	if (IsA(node, OpExpr) && ((OpExpr *) node)->opno == TextEqualOperator)
		args = ((OpExpr *) node)->args;
	else if (IsA(node, ScalarArrayOpExpr) &&
			 ((ScalarArrayOpExpr *) node)->opno == TextEqualOperator &&
			 ((ScalarArrayOpExpr *) node)->useOr)
		args = ((ScalarArrayOpExpr *) node)->args;
	if (list_length(args) != 2)
		return NIL;
	column = strip_relabel(linitial(args));
	if (!IsA(column, Var))
	{
		column = strip_relabel(lsecond(args));
		args = list_make2(column, linitial(args));
	}
	if (!IsA(column, Var) || ((Var *) column)->varno != correlation->start ||
		((Var *) column)->varattno != name)
		return NIL;
	return text_constants(eval_const_expressions(NULL, lsecond(args)));
}

static List *
event_names(const Correlation *correlation)
{
	RangeTblEntry *rte =
		trace_place(correlation->trace, correlation->start)->rte;
	AttrNumber name;
	ListCell *lc;

	if (rte->relid != pgj_state_relation("event"))
		return NIL;
	name = get_attnum(rte->relid, "name");
	foreach (lc, correlation->facts)
	{
		Fact *fact = lfirst(lc);
		List *names;

		if (!fact->holds)
			continue;
		names = names_demanded(correlation, fact->condition, name);
		if (names)
			return names;
	}
	return NIL;
}

/* -------- altogether -------- */

static void
set_on_path(Level *level, bool on_path)
{
	for (; level; level = level->parent)
		level->on_path = on_path;
}

static void
find_way(Correlation *correlation, Watch *watch)
{
	Fact *direct = direct_fact(correlation);
	List *way;
	List *conditions;

	watch->kind = WATCH_ALL;
	if (direct)
	{
		Var *own = (Var *) strip_relabel(side_over(direct, correlation->start));

		watch->kind = WATCH_CONTACT;
		watch->key = list_make1_int(own->varattno);
		watch->null_is_all = direct->null_is_all;
		return;
	}
	way = shortest_way(correlation, true);
	if (way == NIL)
		way = shortest_way(correlation, false);
	if (way == NIL)
		return;
	watch->kind = WATCH_LINK;
	conditions = conditions_of(correlation, way, &watch->null_is_all);
	watch->key = key_of(correlation, conditions);
	watch->find =
		pgj_trace_find(correlation->trace, way, conditions, watch->key);
}

void
pgj_trace_correlate(Trace *trace, int place, Watch *watch)
{
	Correlation correlation = { trace, NIL, bms_make_singleton(place), place };
	Level *level = trace_place(trace, place)->level;
	bool way_up;

	set_on_path(level, true);
	way_up = collect(&correlation);
	settle(&correlation);
	watch->event_names = event_names(&correlation);
	if (way_up)
		find_way(&correlation, watch);
	else
		watch->kind = WATCH_ALL;
	set_on_path(level, false);
}
