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

#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"

#include "segment/correlate.h"

/* -------- facts -------- */

/* The two sides of an equality, x = y or x = ANY (ys); or NIL. */
static List *
sides_of(Node *condition)
{
	OpExpr *op = (OpExpr *) condition;
	ScalarArrayOpExpr *any = (ScalarArrayOpExpr *) condition;

	if (IsA(op, OpExpr) && list_length(op->args) == 2 &&
		pgj_is_equality(op->opno, linitial(op->args)))
		return op->args;
	if (IsA(any, ScalarArrayOpExpr) && any->useOr &&
		pgj_is_equality(any->opno, linitial(any->args)))
		return any->args;
	return NIL;
}

static Fact *
add_fact(Correlation *correlation, Node *condition, List *needs)
{
	Fact *fact = palloc0_object(Fact);
	List *sides = sides_of(condition);

	fact->condition = condition;
	fact->needs = needs;
	fact->not_null = find_nonnullable_rels(condition);
	if (sides)
	{
		int left = pgj_place_of(linitial(sides));
		int right = pgj_place_of(lsecond(sides));

		if (left && right && left != right)
		{
			fact->left = left;
			fact->right = right;
		}
	}
	correlation->facts = lappend(correlation->facts, fact);
	return fact;
}

static void
add_choice(Correlation *correlation, List *arms, List *needs)
{
	Choice *choice = palloc_object(Choice);

	choice->arms = arms;
	choice->needs = needs;
	correlation->choices = lappend(correlation->choices, choice);
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
			pgj_output_over_places(context->correlation->trace, context->level,
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
	test = pgj_over_places(correlation->trace, level->parent, test);
	test = output_mutator(test, &context);
	return context.unknown ? NULL : test;
}

/* x = ANY (ARRAY (SELECT y)) as x = y */
static Node *
array_test_over_places(Correlation *correlation, Level *level, Oid op)
{
	ScalarArrayOpExpr *test = level->array_test;
	Node *left = linitial(test->args);
	Node *right = pgj_output_over_places(correlation->trace, level, 1);

	if (right == NULL || checkExprHasSubLink(left))
		return NULL;
	return (Node *) make_opclause(
		op, BOOLOID, false,
		(Expr *) pgj_over_places(correlation->trace, level->parent, left),
		(Expr *) right, InvalidOid, test->inputcollid);
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

	if (level->on_path || pgj_yields_without_rows(level->query))
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
		link = (SubLink *) pgj_strip_relabel(
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
	{
		node = pgj_over_places(correlation->trace, level, node);
		add_fact(correlation, node, needs);
		if (is_orclause(node))
			add_choice(correlation, ((BoolExpr *) node)->args, needs);
	}
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

		if (child && !child->on_path && !pgj_yields_without_rows(child->query))
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
add_test(Correlation *correlation, const Level *level, Node *test, Oid op)
{
	OpExpr *equality = (OpExpr *) test;
	Fact *fact;

	if (test == NULL || !IsA(test, OpExpr) || list_length(equality->args) != 2)
		return;
	if (op != equality->opno)
	{
		equality = copyObject(equality);
		equality->opno = op;
		equality->opfuncid = InvalidOid;
	}
	fact = add_fact(correlation, (Node *) equality, NIL);
	if (!level->nulls_matter)
		return;

	/* a row that an outer join made null matters, too */
	fact->not_null = NULL;
	if (fact->left == 0)
		return;
	if (pgj_can_be_null(correlation->trace, linitial(equality->args)))
		fact->left = fact->right = 0;
	else if (pgj_can_be_null(correlation->trace, lsecond(equality->args)))
	{
		/* the row itself must tell that it is null */
		if (fact->right == correlation->start &&
			IsA(pgj_strip_relabel(lsecond(equality->args)), Var))
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
		Oid op = level->array_test->opno;

		if (!level->array_test->useOr)
			op = get_negator(op);
		if (OidIsValid(op))
			add_test(correlation, level,
					 array_test_over_places(correlation, level, op), op);
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

static bool
is_met(const Correlation *correlation, const List *needs)
{
	ListCell *lc;

	foreach (lc, needs)
	{
		if (!bms_overlap(lfirst(lc), correlation->not_null))
			return false;
	}
	return true;
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

			if (fact->holds || !is_met(correlation, fact->needs))
				continue;
			fact->holds = added = true;
			add_not_null(correlation, fact->not_null);
		}
	}
}

/* All that may hold around a place, from there to the contact. False: no way up. */
static bool
collect_facts(Correlation *correlation)
{
	Trace *trace = correlation->trace;
	Level *level = trace_place(trace, correlation->start)->level;
	Level *from = NULL;

	for (;;)
	{
		List *needs = NIL;

		if (from && from->in_targets && pgj_yields_without_rows(level->query))
			needs =
				list_make1(places_in(level, (Node *) level->query->jointree));
		collect_level(correlation, level, needs);
		if (level->kind == LEVEL_TOP)
		{
			settle(correlation);
			return true;
		}
		if (level->kind == LEVEL_CTE)
		{
			settle(correlation);
			return false;
		}
		if (level->kind == LEVEL_FROM)
			correlation->not_null = bms_add_member(
				correlation->not_null, level->parent->base + level->rtindex);
		else
			collect_tests(correlation, level);
		from = level;
		level = level->parent;
	}
}

/* -------- altogether -------- */

static void
set_on_path(Level *level, bool on_path)
{
	for (; level; level = level->parent)
		level->on_path = on_path;
}

static Watch *
watch_by(Correlation *correlation)
{
	Watch *watch = palloc0_object(Watch);

	watch->event_names = pgj_event_names(correlation);
	pgj_find_way(correlation, watch);
	return watch;
}

/* The watch for the rows that matter by one arm of an OR. */
static Watch *
watch_by_arm(const Correlation *correlation, Node *arm)
{
	Correlation copy = *correlation;
	ListCell *lc;

	copy.facts = NIL;
	copy.not_null = bms_copy(correlation->not_null);
	foreach (lc, correlation->facts)
	{
		Fact *fact = palloc_object(Fact);

		*fact = *(Fact *) lfirst(lc);
		copy.facts = lappend(copy.facts, fact);
	}
	foreach (lc, make_ands_implicit((Expr *) arm))
		add_fact(&copy, lfirst(lc), NIL);
	settle(&copy);
	return watch_by(&copy);
}

/* By each arm of an OR there is a way, or NIL. */
static List *
watches_by_choice(Correlation *correlation)
{
	ListCell *lc;

	foreach (lc, correlation->choices)
	{
		Choice *choice = lfirst(lc);
		List *watches = NIL;
		ListCell *arm;

		if (!is_met(correlation, choice->needs))
			continue;
		foreach (arm, choice->arms)
		{
			Watch *watch = watch_by_arm(correlation, lfirst(arm));

			if (watch->kind == WATCH_ALL)
				break;
			watches = lappend(watches, watch);
		}
		if (arm == NULL)
			return watches;
	}
	return NIL;
}

List *
pgj_trace_correlate(Trace *trace, int place)
{
	Correlation correlation = { trace, NIL, NIL, bms_make_singleton(place),
								place };
	Level *level = trace_place(trace, place)->level;
	Watch *watch;
	List *watches = NIL;

	set_on_path(level, true);
	if (collect_facts(&correlation))
	{
		watch = watch_by(&correlation);
		if (watch->kind == WATCH_ALL)
			watches = watches_by_choice(&correlation);
	}
	else
	{
		watch = palloc0_object(Watch);
		watch->kind = WATCH_ALL;
		watch->event_names = pgj_event_names(&correlation);
	}
	set_on_path(level, false);
	return watches ? watches : list_make1(watch);
}
