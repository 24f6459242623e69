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

#include "access/stratnum.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "parser/parse_func.h"
#include "rewrite/rewriteManip.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

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

/* Do as pgj_boundary_flips, for a node that is not in the predicate's tree. */
static List *
flips_made(Boundary *boundary, Node *node, bool condition)
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

/* The conditions of a CASE, without its argument. */
static List *
case_conditions(CaseExpr *expr)
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
	List *conditions = case_conditions(expr);
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

/* ---------- comparisons ---------- */

/* A CASE or COALESCE among the operations that make up a value. */
static Node *
find_choice(Node *node)
{
	List *args = NIL;
	ListCell *lc;

	if (node == NULL || !pgj_boundary_has_now(node))
		return NULL;
	if (IsA(node, CaseExpr) || IsA(node, CoalesceExpr))
		return node;
	if (IsA(node, RelabelType))
		return find_choice((Node *) ((RelabelType *) node)->arg);
	if (IsA(node, FuncExpr))
		args = ((FuncExpr *) node)->args;
	else if (IsA(node, OpExpr) || IsA(node, DistinctExpr))
		args = ((OpExpr *) node)->args;
	foreach (lc, args)
	{
		Node *found = find_choice(lfirst(lc));

		if (found != NULL)
			return found;
	}
	return NULL;
}

typedef struct Swap
{
	Node *from;
	Node *to;
} Swap;

static Node *
swap_mutator(Node *node, Swap *swap)
{
	if (node == NULL)
		return NULL;
	if (node == swap->from)
		return copyObject(swap->to);
	return expression_tree_mutator(node, swap_mutator, swap);
}

static Expr *
swapped(Node *node, Node *from, Node *to)
{
	Swap swap = { from, to };

	return (Expr *) swap_mutator(node, &swap);
}

/* comparison(CASE WHEN a THEN b ELSE c END) is CASE WHEN a THEN comparison(b) ... */
static CaseExpr *
choose_comparison(Node *comparison, Node *choice)
{
	CaseExpr *result = makeNode(CaseExpr);
	ListCell *lc;

	result->casetype = BOOLOID;
	result->location = -1;
	if (IsA(choice, CoalesceExpr))
	{
		foreach (lc, ((CoalesceExpr *) choice)->args)
		{
			CaseWhen *branch = makeNode(CaseWhen);
			NullTest *test = makeNode(NullTest);

			if (lnext(((CoalesceExpr *) choice)->args, lc) == NULL)
			{
				result->defresult = swapped(comparison, choice, lfirst(lc));
				break;
			}
			test->arg = copyObject(lfirst(lc));
			test->nulltesttype = IS_NOT_NULL;
			test->location = -1;
			branch->expr = (Expr *) test;
			branch->result = swapped(comparison, choice, lfirst(lc));
			branch->location = -1;
			result->args = lappend(result->args, branch);
		}
	}
	else
	{
		CaseExpr *from = (CaseExpr *) choice;
		ListCell *lw;

		forboth(lc, case_conditions(from), lw, from->args)
		{
			CaseWhen *branch = makeNode(CaseWhen);
			CaseWhen *old = lfirst_node(CaseWhen, lw);

			branch->expr = copyObject(lfirst(lc));
			branch->result = swapped(comparison, choice, (Node *) old->result);
			branch->location = -1;
			result->args = lappend(result->args, branch);
		}
		result->defresult =
			swapped(comparison, choice, (Node *) from->defresult);
	}
	return result;
}

/* The flips of one operator applied to two expressions. */
static bool
flips_of_operator(Boundary *boundary, Oid op, Oid collation, Node *left,
				  Node *right, bool sign, List **flips)
{
	List *meanings = pgj_op_interpretations(op);
	pgj_OpInterpretation *meaning;

	if (meanings == NIL)
		return false;
	meaning = linitial(meanings);
	return pgj_boundary_compare(boundary, meaning->opfamily_id,
								meaning->oplefttype, meaning->oprighttype,
								sign ? STRATEGY_SIGN : pgj_op_strategy(meaning),
								collation, left, right, flips);
}

/* element <@ range flips where the element passes one of the range's ends. */
static bool
flips_of_range(Boundary *boundary, OpExpr *expr, List **flips)
{
	bool contains = expr->opfuncid == F_RANGE_CONTAINS_ELEM;
	Node *range = contains ? linitial(expr->args) : lsecond(expr->args);
	Node *element = contains ? lsecond(expr->args) : linitial(expr->args);
	TypeCacheEntry *type;
	Oid ends[] = { F_LOWER_ANYRANGE, F_UPPER_ANYRANGE };

	if (list_length(expr->args) != 2 ||
		(!contains && expr->opfuncid != F_ELEM_CONTAINED_BY_RANGE) ||
		pgj_boundary_has_now(range))
		return false;
	type = lookup_type_cache(exprType(range), TYPECACHE_RANGE_INFO);
	if (type->rngelemtype == NULL)
		return false;
	type =
		lookup_type_cache(type->rngelemtype->type_id, TYPECACHE_BTREE_OPFAMILY);
	for (int i = 0; i < 2; i++)
	{
		FuncExpr *end =
			makeFuncExpr(ends[i], type->type_id, list_make1(copyObject(range)),
						 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL);
		List *more = NIL;

		if (!OidIsValid(type->btree_opf) ||
			!pgj_boundary_compare(
				boundary, type->btree_opf, type->type_id, type->type_id,
				STRATEGY_SIGN, expr->inputcollid, element, (Node *) end, &more))
			return false;
		*flips = list_concat(*flips, more);
	}
	return true;
}

/* How GREATEST and LEAST compare depends on nothing but how their arguments do. */
static bool
flips_of_extreme(Boundary *boundary, OpExpr *expr, List **flips)
{
	for (int i = 0; i < 2; i++)
	{
		MinMaxExpr *extreme = list_nth(expr->args, i);
		Node *other = list_nth(expr->args, 1 - i);
		ListCell *lc;

		if (!IsA(extreme, MinMaxExpr) ||
			!pgj_boundary_has_now((Node *) extreme))
			continue;
		foreach (lc, extreme->args)
		{
			List *more = NIL;

			if (!flips_of_operator(boundary, expr->opno, expr->inputcollid,
								   i == 0 ? lfirst(lc) : other,
								   i == 0 ? other : lfirst(lc), true, &more))
				return false;
			*flips = list_concat(*flips, more);
		}
		return true;
	}
	return false;
}

static bool
flips_of_comparison(Boundary *boundary, OpExpr *expr, bool condition,
					List **flips)
{
	Node *choice;

	if (list_length(expr->args) != 2)
		return false;
	choice = find_choice((Node *) expr);
	if (choice != NULL && pgj_op_interpretations(expr->opno) != NIL)
	{
		*flips = flips_made(boundary,
							(Node *) choose_comparison((Node *) expr, choice),
							condition);
		return true;
	}
	return flips_of_extreme(boundary, expr, flips) ||
		   flips_of_operator(boundary, expr->opno, expr->inputcollid,
							 linitial(expr->args), lsecond(expr->args), false,
							 flips) ||
		   flips_of_range(boundary, expr, flips);
}

/* x op ANY (array) flips when x op one of the elements does. */
static bool
flips_of_array(Boundary *boundary, ScalarArrayOpExpr *expr, List **flips)
{
	Node *array = lsecond(expr->args);
	List *elements = NIL;
	ListCell *lc;

	if (IsA(array, ArrayExpr) && !((ArrayExpr *) array)->multidims)
		elements = ((ArrayExpr *) array)->elements;
	else if (IsA(array, Const) && !((Const *) array)->constisnull)
	{
		Oid type = get_element_type(exprType(array));
		ArrayType *value = DatumGetArrayTypeP(((Const *) array)->constvalue);
		Datum *values;
		bool *nulls;
		int n;
		int16 len;
		bool byval;
		char align;

		get_typlenbyvalalign(type, &len, &byval, &align);
		deconstruct_array(value, type, len, byval, align, &values, &nulls, &n);
		for (int i = 0; i < n; i++)
			elements =
				lappend(elements, makeConst(type, -1, exprCollation(array), len,
											values[i], nulls[i], byval));
	}
	else
		return false;

	foreach (lc, elements)
	{
		List *more = NIL;

		if (!flips_of_operator(boundary, expr->opno, expr->inputcollid,
							   linitial(expr->args), lfirst(lc), false, &more))
			return false;
		*flips = list_concat(*flips, more);
	}
	return true;
}

/* (a, b) < (c, d) flips only when a passes c or b passes d. */
static bool
flips_of_rows(Boundary *boundary, RowCompareExpr *expr, List **flips)
{
	for (int i = 0; i < list_length(expr->opnos); i++)
	{
		List *more = NIL;

		if (!flips_of_operator(boundary, list_nth_oid(expr->opnos, i),
							   list_nth_oid(expr->inputcollids, i),
							   list_nth(expr->largs, i),
							   list_nth(expr->rargs, i), true, &more))
			return false;
		*flips = list_concat(*flips, more);
	}
	return true;
}

/* OVERLAPS depends on nothing but the order of its four times. */
static bool
flips_of_overlaps(Boundary *boundary, FuncExpr *expr, List **flips)
{
	TypeCacheEntry *type;

	switch (expr->funcid)
	{
		case F_OVERLAPS_TIMESTAMPTZ_TIMESTAMPTZ_TIMESTAMPTZ_TIMESTAMPTZ:
		case F_OVERLAPS_TIMESTAMP_TIMESTAMP_TIMESTAMP_TIMESTAMP:
		case F_OVERLAPS_TIME_TIME_TIME_TIME:
			break;
		default:
			return false;
	}
	type = lookup_type_cache(exprType(linitial(expr->args)),
							 TYPECACHE_BTREE_OPFAMILY);
	for (int i = 0; i < 4; i++)
	{
		for (int j = i + 1; j < 4; j++)
		{
			List *more = NIL;

			if (!pgj_boundary_compare(boundary, type->btree_opf, type->type_id,
									  type->type_id, STRATEGY_SIGN, InvalidOid,
									  list_nth(expr->args, i),
									  list_nth(expr->args, j), &more))
				return false;
			*flips = list_concat(*flips, more);
		}
	}
	return true;
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
			if (flips_of_comparison(boundary, (OpExpr *) node, condition,
									&flips))
				return flips;
			break;
		case T_ScalarArrayOpExpr:
			if (flips_of_array(boundary, (ScalarArrayOpExpr *) node, &flips))
				return flips;
			break;
		case T_RowCompareExpr:
			if (flips_of_rows(boundary, (RowCompareExpr *) node, &flips))
				return flips;
			break;
		case T_FuncExpr:
			if (flips_of_overlaps(boundary, (FuncExpr *) node, &flips))
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
