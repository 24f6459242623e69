/*-------------------------------------------------------------------------
 *
 * boundary_comparison.c
 *	  Expressions that compare, as comparisons of two values.
 *
 * What compares arrays, rows, ranges and spans of time depends on nothing but how
 * their parts compare; each of these is one for boundary_atom.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/stratnum.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "segment/boundary.h"

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

		forboth(lc, pgj_boundary_case_conditions(from), lw, from->args)
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
		*flips = pgj_boundary_flips_made(
			boundary, (Node *) choose_comparison((Node *) expr, choice),
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

bool
pgj_boundary_comparison(Boundary *boundary, Node *node, bool condition,
						List **flips)
{
	switch (nodeTag(node))
	{
		case T_OpExpr:
		case T_DistinctExpr:
			return flips_of_comparison(boundary, (OpExpr *) node, condition,
									   flips);
		case T_ScalarArrayOpExpr:
			return flips_of_array(boundary, (ScalarArrayOpExpr *) node, flips);
		case T_RowCompareExpr:
			return flips_of_rows(boundary, (RowCompareExpr *) node, flips);
		case T_FuncExpr:
			return flips_of_overlaps(boundary, (FuncExpr *) node, flips);
		default:
			return false;
	}
}
