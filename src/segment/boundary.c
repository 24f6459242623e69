/*-------------------------------------------------------------------------
 *
 * boundary.c
 *	  When does time flip a predicate?
 *
 * Every expression over the time is taken apart until parts are left whose next
 * change can be said: comparisons (boundary_atom.c), values that are constant for a
 * while, and sub-selects (boundary_query.c).  The predicate's next flip is the
 * least of theirs.
 *
 * What makes this easy to get right: until the earliest of these changes, all
 * of them have not come.  So each may be looked for as if everything else
 * stayed as it is now.  A value that moves all the time, and is neither compared
 * nor cut, cannot be dealt with; its part is opaque.
 *
 * Expressions are evaluated under the conditions they were written under: what
 * comes after a false part of AND, or in a branch of CASE that is not taken, can
 * neither flip the predicate nor must it raise an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "parser/parse_func.h"
#include "rewrite/rewriteManip.h"

#include "pg_journey.h"
#include "segment/boundary.h"

#define WHY_MOVES \
	"the value itself changes all the time, and nothing compares it"

static bool
now_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Param))
		return ((Param *) node)->paramkind == PARAM_EXTERN &&
			   ((Param *) node)->paramid == PREDICATE_NOW;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, now_walker, context, 0);
	return expression_tree_walker(node, now_walker, context);
}

bool
pgj_boundary_has_now(Node *node)
{
	return now_walker(node, NULL);
}

Flip *
pgj_boundary_flip(Node *source, Expr *next, Expr *ahead)
{
	Flip *flip = palloc(sizeof(Flip));

	flip->source = source;
	flip->next = next;
	flip->ahead = ahead;
	return flip;
}

Expr *
pgj_boundary_least(List *flips)
{
	MinMaxExpr *least = makeNode(MinMaxExpr);
	ListCell *lc;

	foreach (lc, flips)
		least->args =
			list_append_unique(least->args, ((Flip *) lfirst(lc))->next);
	if (list_length(least->args) == 1)
		return linitial(least->args);
	least->minmaxtype = TIMESTAMPTZOID;
	least->op = IS_LEAST;
	least->location = -1;
	return (Expr *) least;
}

void
pgj_boundary_opaque(Boundary *boundary, const char *why)
{
	pgj_predicate_opaque(boundary->predicate, boundary->part, why);
}

List *
pgj_boundary_flips_made(Boundary *boundary, Node *node, bool condition)
{
	bool made = boundary->made;
	List *flips;

	boundary->made = true;
	flips = pgj_boundary_flips(boundary, node, condition);
	boundary->made = made;
	return flips;
}

/* ---------- AND, OR, CASE, COALESCE ---------- */

static Expr *
null_time(void)
{
	return (Expr *) makeNullConst(TIMESTAMPTZOID, -1, InvalidOid);
}

static Expr *
boolean_test(Node *node, BoolTestType type)
{
	BooleanTest *test = makeNode(BooleanTest);

	test->arg = copyObject((Expr *) node);
	test->booltesttype = type;
	test->location = -1;
	return (Expr *) test;
}

static Expr *
choose(Expr *when, Expr *then, Expr *otherwise)
{
	CaseExpr *choice = makeNode(CaseExpr);
	CaseWhen *branch = makeNode(CaseWhen);

	branch->expr = when;
	branch->result = then;
	branch->location = -1;
	choice->casetype = TIMESTAMPTZOID;
	choice->args = list_make1(branch);
	choice->defresult = otherwise;
	choice->location = -1;
	return (Expr *) choice;
}

/*
 * AND and OR look at their parts in order.  Once one has settled the whole, those
 * after it do not matter until that one flips.  (Sub-selects are not run once more
 * to find out.)
 */
static List *
flips_of_parts(Boundary *boundary, BoolExpr *expr, bool condition)
{
	BoolTestType settles = expr->boolop == OR_EXPR ? IS_TRUE
						   : condition			   ? IS_NOT_TRUE
												   : IS_FALSE;
	List *settled = NIL;
	List *result = NIL;
	ListCell *lc;

	foreach (lc, expr->args)
	{
		List *flips = pgj_boundary_flips(boundary, lfirst(lc), condition);
		ListCell *lf;

		foreach (lf, flips)
		{
			Flip *flip = lfirst(lf);

			if (settled != NIL)
				flip->next = choose(list_length(settled) == 1
										? copyObject(linitial(settled))
										: make_orclause(copyObject(settled)),
									null_time(), flip->next);
			result = lappend(result, flip);
		}
		if (!checkExprHasSubLink(lfirst(lc)))
			settled = lappend(settled, boolean_test(lfirst(lc), settles));
	}
	return result;
}

static Node *
case_test_mutator(Node *node, Node *value)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, CaseTestExpr))
		return copyObject(value);
	/* another CASE's own test is none of ours */
	if (IsA(node, CaseExpr) && ((CaseExpr *) node)->arg != NULL)
	{
		CaseExpr *copy = copyObject((CaseExpr *) node);

		copy->arg = (Expr *) case_test_mutator((Node *) copy->arg, value);
		return (Node *) copy;
	}
	return expression_tree_mutator(node, case_test_mutator, (void *) value);
}

List *
pgj_boundary_case_conditions(CaseExpr *expr)
{
	List *result = NIL;
	ListCell *lc;

	foreach (lc, expr->args)
	{
		Node *condition = (Node *) lfirst_node(CaseWhen, lc)->expr;

		if (expr->arg != NULL)
			condition = case_test_mutator(condition, (Node *) expr->arg);
		result = lappend(result, condition);
	}
	return result;
}

/* LEAST(flips of the 1st condition, CASE WHEN it THEN flips of its value ELSE ... END) */
static List *
flips_of_case(Boundary *boundary, CaseExpr *expr, bool condition)
{
	List *conditions = pgj_boundary_case_conditions(expr);
	List *rest =
		pgj_boundary_flips(boundary, (Node *) expr->defresult, condition);
	bool made = boundary->made;

	for (int i = list_length(conditions) - 1; i >= 0; i--)
	{
		Node *when = list_nth(conditions, i);
		CaseWhen *branch = list_nth_node(CaseWhen, expr->args, i);
		List *then =
			pgj_boundary_flips(boundary, (Node *) branch->result, condition);
		List *here = NIL;

		boundary->made = made || expr->arg != NULL;
		here = pgj_boundary_flips(boundary, when, true);
		boundary->made = made;
		if (then != NIL || rest != NIL)
		{
			Flip *any = linitial(then != NIL ? then : rest);
			Expr *next = choose(copyObject((Expr *) when),
								then ? pgj_boundary_least(then) : null_time(),
								rest ? pgj_boundary_least(rest) : null_time());

			here = lappend(here, pgj_boundary_flip(any->source, next, NULL));
		}
		rest = here;
	}
	return rest;
}

static List *
flips_of_coalesce(Boundary *boundary, CoalesceExpr *expr)
{
	List *rest = NIL;

	for (int i = list_length(expr->args) - 1; i >= 0; i--)
	{
		Node *arg = list_nth(expr->args, i);
		List *here = pgj_boundary_flips(boundary, arg, false);

		if (rest != NIL && !checkExprHasSubLink(arg))
		{
			NullTest *test = makeNode(NullTest);
			Flip *any = linitial(rest);

			test->arg = copyObject((Expr *) arg);
			test->nulltesttype = IS_NULL;
			test->location = -1;
			rest = list_make1(pgj_boundary_flip(
				any->source,
				choose((Expr *) test, pgj_boundary_least(rest), null_time()),
				NULL));
		}
		rest = list_concat(here, rest);
	}
	return rest;
}

/* ---------- the tree ---------- */

typedef struct ChildContext
{
	Boundary *boundary;
	List *flips;
} ChildContext;

static bool
child_walker(Node *node, ChildContext *context)
{
	if (node == NULL)
		return false;
	/* lists and the like are walked, expressions are looked into */
	if (IsA(node, List) || IsA(node, TargetEntry) || IsA(node, CaseWhen))
		return expression_tree_walker(node, child_walker, context);
	context->flips = list_concat(
		context->flips, pgj_boundary_flips(context->boundary, node, false));
	return false;
}

/* Whatever is not known better changes when something in it does. */
static List *
flips_of_children(Boundary *boundary, Node *node)
{
	ChildContext context = { boundary, NIL };

	if (IsA(node, Param))
	{
		pgj_boundary_opaque(boundary, WHY_MOVES);
		return NIL;
	}
	(void) expression_tree_walker(node, child_walker, &context);
	return context.flips;
}

/*
 * Values that are null or not, whatever the time: those made of strict functions
 * alone, and they are the ones that can be solved.
 */
static bool
flips_of_null_test(Boundary *boundary, NullTest *expr, List **flips)
{
	Node *arg = (Node *) expr->arg;

	if (IsA(arg, SubLink) || expr->argisrow || contain_nonstrict_functions(arg))
		return false;
	return !checkExprHasSubLink(arg) && !contain_agg_clause(arg);
}

static List *
flips_of(Boundary *boundary, Node *node, bool condition)
{
	List *flips = NIL;

	switch (nodeTag(node))
	{
		case T_BoolExpr:
			if (((BoolExpr *) node)->boolop == NOT_EXPR)
				return pgj_boundary_flips(
					boundary, linitial(((BoolExpr *) node)->args), false);
			return flips_of_parts(boundary, (BoolExpr *) node, condition);
		case T_CaseExpr:
			return flips_of_case(boundary, (CaseExpr *) node, condition);
		case T_CoalesceExpr:
			return flips_of_coalesce(boundary, (CoalesceExpr *) node);
		case T_SubLink:
			return pgj_boundary_sublink(boundary, (SubLink *) node, condition);
		case T_Aggref:
			return NIL; /* boundary_query.c looks into it, row by row */
		case T_OpExpr:
		case T_DistinctExpr:
		case T_ScalarArrayOpExpr:
		case T_RowCompareExpr:
		case T_FuncExpr:
			if (pgj_boundary_comparison(boundary, node, condition, &flips))
				return flips;
			break;
		case T_NullTest:
			if (flips_of_null_test(boundary, (NullTest *) node, &flips))
				return flips;
			break;
		default:
			break;
	}
	if (pgj_boundary_change(boundary, node, &flips))
		return flips;
	return flips_of_children(boundary, node);
}

List *
pgj_boundary_flips(Boundary *boundary, Node *node, bool condition)
{
	Node *part = boundary->part;
	List *flips;

	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (!pgj_boundary_has_now(node))
		return NIL;
	if (!boundary->made && !IsA(node, Param) && !IsA(node, RelabelType))
		boundary->part = node;
	flips = flips_of(boundary, node, condition);
	boundary->part = part;
	return flips;
}

void
pgj_predicate_boundary(Predicate *predicate)
{
	Node *condition = (Node *) predicate_condition(predicate);
	Boundary boundary = { predicate, condition, false, 0, InvalidOid };
	Oid types[] = { TEXTOID, ANYOID };
	List *flips;
	ListCell *lc;

	predicate->next = NULL;
	boundary.flip =
		LookupFuncName(list_make2(makeString(PGJ_SCHEMA), makeString("_flip")),
					   lengthof(types), types, false);
	flips = pgj_boundary_flips(&boundary, condition, true);
	if (PGJ_SABOTAGE == 3 && flips != NIL)
		flips = list_delete_last(flips);
	foreach (lc, flips)
	{
		Flip *flip = lfirst(lc);
		BoundaryPart *part = palloc(sizeof(BoundaryPart));

		part->source = pgj_predicate_deparse(predicate, flip->source);
		part->sql = pgj_predicate_deparse(predicate, (Node *) flip->next);
		predicate->boundaries = lappend(predicate->boundaries, part);
	}
	if (flips != NIL)
		predicate->next = pgj_boundary_least(flips);
}
