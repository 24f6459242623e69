/*-------------------------------------------------------------------------
 *
 * boundary_atom.c
 *	  Comparisons over the time become calls of journey._flip().
 *
 * Both sides are turned into a program (flip.h).  What is free of the time is an
 * argument, whole, so that it is evaluated as its author wrote it; of the rest, the
 * functions that move with time in a way flip_stage.c knows are kept, and so are
 * those that are a function of nothing but values constant for a while.
 *
 * What does contain the time but is neither - a sub-select, say - is an argument,
 * too: it stays as it is until its own flips, which are added to the list.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/stratnum.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_language.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"
#include "segment/boundary.h"
#include "segment/flip.h"

#define MAX_ARGUMENTS 8

typedef struct Compiler
{
	Boundary *boundary;
	StringInfoData text;
	List *args;
	List *flips; /* of arguments that contain the time themselves */
} Compiler;

static FlipClass compile(Compiler *compiler, Node *node);

/* ---------- functions of the server ---------- */

/*
 * The name of a function's C function, if a program may call it: built in,
 * of fixed types, and depending on nothing but its arguments.
 */
static char *
function_name(Oid function, bool *pure)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	char *name = NULL;
	bool fixed;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	fixed =
		proc->prolang == INTERNALlanguageId && !proc->proretset &&
		proc->prokind == PROKIND_FUNCTION && proc->pronargs <= MAX_ARGUMENTS &&
		proc->provariadic == InvalidOid &&
		!IsPolymorphicType(proc->prorettype) && proc->prorettype != INTERNALOID;
	for (int i = 0; i < proc->pronargs; i++)
		fixed = fixed && !IsPolymorphicType(proc->proargtypes.values[i]) &&
				get_typtype(proc->proargtypes.values[i]) != TYPTYPE_PSEUDO;
	*pure = proc->provolatile == PROVOLATILE_IMMUTABLE;
	if (fixed)
	{
		bool isnull;
		Datum source =
			SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);

		if (!isnull)
			name = TextDatumGetCString(source);
		if (name != NULL && !OidIsValid(fmgr_internal_function(name)))
			name = NULL;
	}
	ReleaseSysCache(tuple);
	return name;
}

/* ---------- programs ---------- */

static FlipClass
compile_argument(Compiler *compiler, Node *node)
{
	compiler->args = lappend(compiler->args, copyObject(node));
	appendStringInfo(&compiler->text, "$%d", list_length(compiler->args));
	return FLIP_FIXED;
}

static const char *
text_constant(Node *node)
{
	Const *value = (Const *) node;

	if (!IsA(node, Const) || value->constisnull || value->consttype != TEXTOID)
		return NULL;
	return TextDatumGetCString(value->constvalue);
}

static FlipClass
compile_call(Compiler *compiler, Oid function, List *args)
{
	FlipClass classes[MAX_ARGUMENTS];
	const char *texts[MAX_ARGUMENTS];
	const Stage *stage;
	bool pure;
	char *name = function_name(function, &pure);
	int n = 0;
	ListCell *lc;

	if (name == NULL)
		return FLIP_UNKNOWN;
	stage = pgj_flip_stage(name);
	if (stage == NULL && !pure)
		return FLIP_UNKNOWN;
	appendStringInfo(&compiler->text, "(%s", name);
	foreach (lc, args)
	{
		appendStringInfoChar(&compiler->text, ' ');
		texts[n] = text_constant(lfirst(lc));
		classes[n++] = compile(compiler, lfirst(lc));
	}
	appendStringInfoChar(&compiler->text, ')');
	return pgj_flip_class(stage, n, classes, texts);
}

static char *
compare_name(Oid family, Oid left_type, Oid right_type)
{
	Oid function =
		IsPolymorphicType(left_type)
			? InvalidOid
			: get_opfamily_proc(family, left_type, right_type, BTORDER_PROC);
	bool pure;

	return OidIsValid(function) ? function_name(function, &pure) : NULL;
}

/* GREATEST and LEAST of times: as they all rise, so does the choice. */
static FlipClass
compile_choice(Compiler *compiler, MinMaxExpr *expr)
{
	TypeCacheEntry *type =
		lookup_type_cache(expr->minmaxtype, TYPECACHE_BTREE_OPFAMILY);
	char *name = compare_name(type->btree_opf, type->btree_opintype,
							  type->btree_opintype);
	FlipClass most = FLIP_FIXED;
	ListCell *lc;

	if (name == NULL || list_length(expr->args) > MAX_ARGUMENTS)
		return FLIP_UNKNOWN;
	appendStringInfo(&compiler->text, "(%s %s",
					 expr->op == IS_GREATEST ? "greatest" : "least", name);
	foreach (lc, expr->args)
	{
		FlipClass class;

		appendStringInfoChar(&compiler->text, ' ');
		class = compile(compiler, lfirst(lc));
		most = Max(most, class);
	}
	appendStringInfoChar(&compiler->text, ')');
	if (most == FLIP_LINEAR)
		return expr->minmaxtype == TIMESTAMPTZOID ||
					   expr->minmaxtype == TIMESTAMPOID
				   ? FLIP_MONO
				   : FLIP_UNKNOWN;
	return most == FLIP_MONO ? FLIP_UNKNOWN : most;
}

/* The class of a node that contains the time; its text is appended. */
static FlipClass
compile_moving(Compiler *compiler, Node *node)
{
	switch (nodeTag(node))
	{
		case T_Param:
			appendStringInfoString(&compiler->text, "now");
			return FLIP_LINEAR;
		case T_RelabelType:
			return compile(compiler, (Node *) ((RelabelType *) node)->arg);
		case T_FuncExpr:
			return compile_call(compiler, ((FuncExpr *) node)->funcid,
								((FuncExpr *) node)->args);
		case T_OpExpr:
			set_opfuncid((OpExpr *) node);
			return compile_call(compiler, ((OpExpr *) node)->opfuncid,
								((OpExpr *) node)->args);
		case T_MinMaxExpr:
			return compile_choice(compiler, (MinMaxExpr *) node);
		default:
			return FLIP_UNKNOWN;
	}
}

static FlipClass
compile(Compiler *compiler, Node *node)
{
	int length = compiler->text.len;
	int nargs = list_length(compiler->args);
	int nflips = list_length(compiler->flips);
	FlipClass result;

	if (!pgj_boundary_has_now(node))
		return compile_argument(compiler, node);
	result = compile_moving(compiler, node);
	if (result != FLIP_UNKNOWN)
		return result;
	compiler->text.data[length] = '\0';
	compiler->text.len = length;
	compiler->args = list_truncate(compiler->args, nargs);
	compiler->flips = list_truncate(compiler->flips, nflips);
	compiler->flips = list_concat(
		compiler->flips, pgj_boundary_flips(compiler->boundary, node, false));
	return compile_argument(compiler, node);
}

static void
start(Compiler *compiler, Boundary *boundary)
{
	compiler->boundary = boundary;
	initStringInfo(&compiler->text);
	compiler->args = NIL;
	compiler->flips = NIL;
}

/* The call of the finished program. */
static Expr *
finish(Compiler *compiler, Oid collation)
{
	Param *now = makeNode(Param);
	Const *program =
		makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
				  CStringGetTextDatum(compiler->text.data), false, false);

	now->paramkind = PARAM_EXTERN;
	now->paramid = PREDICATE_NOW;
	now->paramtype = TIMESTAMPTZOID;
	now->paramtypmod = -1;
	now->location = -1;
	return (Expr *) makeFuncExpr(compiler->boundary->flip, TIMESTAMPTZOID,
								 lcons(program, lcons(now, compiler->args)),
								 InvalidOid, collation, COERCE_EXPLICIT_CALL);
}

bool
pgj_boundary_change(Boundary *boundary, Node *node, List **flips)
{
	Compiler compiler;

	start(&compiler, boundary);
	appendStringInfoString(&compiler.text, "(change ");
	if (compile_moving(&compiler, node) != FLIP_STEP)
		return false;
	appendStringInfoChar(&compiler.text, ')');
	*flips = lappend(
		compiler.flips,
		pgj_boundary_flip(boundary->part,
						  finish(&compiler, exprInputCollation(node)), NULL));
	return true;
}

/* ---------- rows that lie ahead ---------- */

/* The bounds of an expression whose arguments but now() are constants, from now() on. */
static FlipBounds
static_bounds(Node *node)
{
	const FlipBounds unknown = { false, false, false, { 0, 0 }, { 0, 0 } };
	FlipBounds result = unknown;
	FlipBounds bounds[MAX_ARGUMENTS];
	FlipValue values[MAX_ARGUMENTS];
	const Stage *stage;
	Oid function;
	List *args;
	char *name;
	bool pure;

	if (IsA(node, RelabelType))
		return static_bounds((Node *) ((RelabelType *) node)->arg);
	if (IsA(node, Param))
	{
		result.known = true;
		result.low.slope = result.high.slope = 1;
		return result;
	}
	if (IsA(node, Const) && !((Const *) node)->constisnull)
	{
		double place = pgj_flip_place(((Const *) node)->consttype,
									  ((Const *) node)->constvalue);

		result.known = !isnan(place) && !isinf(place);
		result.low.base = result.high.base = place;
		return result;
	}
	if (!IsA(node, FuncExpr) && !IsA(node, OpExpr))
		return result;
	function = IsA(node, FuncExpr) ? ((FuncExpr *) node)->funcid
								   : ((OpExpr *) node)->opfuncid;
	args = IsA(node, FuncExpr) ? ((FuncExpr *) node)->args
							   : ((OpExpr *) node)->args;
	name = function_name(function, &pure);
	stage = name == NULL ? NULL : pgj_flip_stage(name);
	if (stage == NULL || stage->kind == STAGE_AGE)
		return result;
	memset(values, 0, sizeof(values));
	for (int i = 0; i < list_length(args); i++)
	{
		Node *arg = list_nth(args, i);

		bounds[i] = static_bounds(arg);
		values[i].ahead = FLIP_FOREVER;
		if (IsA(arg, Const) && !((Const *) arg)->constisnull)
			values[i].value = ((Const *) arg)->constvalue;
		else if (!bounds[i].known)
			return unknown;
	}
	return pgj_flip_bounds(stage, list_length(args), bounds, values, 0);
}

/* column >= now() + distance */
static Expr *
at_least(Node *column, double distance)
{
	Oid type = exprType(column);
	Oid family =
		lookup_type_cache(TIMESTAMPTZOID, TYPECACHE_BTREE_OPFAMILY)->btree_opf;
	Oid op = get_opfamily_member(family, type, TIMESTAMPTZOID,
								 BTGreaterEqualStrategyNumber);
	Oid plus =
		OpernameGetOprid(list_make2(makeString("pg_catalog"), makeString("+")),
						 TIMESTAMPTZOID, INTERVALOID);
	Interval *span = palloc0(sizeof(Interval));
	Param *now = makeNode(Param);
	Expr *bound;

	/* a time without zone may be read half a day and more to either side */
	if (type != TIMESTAMPTZOID)
		distance -= 26.0 * USECS_PER_HOUR;
	distance -= USECS_PER_SEC;
	if (!OidIsValid(op) || !(fabs(distance) < 1e15))
		return NULL;
	span->day = (int32) floor(distance / USECS_PER_DAY) - 2;
	span->time =
		(int64) (distance - floor(distance / USECS_PER_DAY) * USECS_PER_DAY);
	now->paramkind = PARAM_EXTERN;
	now->paramid = PREDICATE_NOW;
	now->paramtype = TIMESTAMPTZOID;
	now->paramtypmod = -1;
	now->location = -1;
	span->time += 2 * USECS_PER_DAY + span->day * USECS_PER_DAY;
	span->day = 0;
	bound = make_opclause(
		plus, TIMESTAMPTZOID, false, (Expr *) now,
		(Expr *) makeConst(INTERVALOID, -1, InvalidOid, sizeof(Interval),
						   IntervalPGetDatum(span), false, false),
		InvalidOid, InvalidOid);
	set_opfuncid((OpExpr *) bound);
	bound = make_opclause(op, BOOLOID, false, copyObject((Expr *) column),
						  bound, InvalidOid, InvalidOid);
	set_opfuncid((OpExpr *) bound);
	return bound;
}

static bool
is_time(Node *node)
{
	Oid type = exprType(node);

	return type == TIMESTAMPTZOID || type == TIMESTAMPOID || type == DATEOID;
}

/* The two operands of time - time. */
static bool
is_difference(Node *node, Node **left, Node **right)
{
	OpExpr *expr = (OpExpr *) node;

	if (!IsA(node, OpExpr) || (expr->opfuncid != F_TIMESTAMPTZ_MI &&
							   expr->opfuncid != F_TIMESTAMP_MI))
		return false;
	*left = linitial(expr->args);
	*right = lsecond(expr->args);
	return true;
}

/*
 * A comparison can flip yet only for rows whose time lies beyond that of now(), for
 * which an index may be asked.  NULL if that cannot be said.
 */
static Expr *
rows_ahead(Node *left, Node *right)
{
	Node *moving = pgj_boundary_has_now(left) ? left : right;
	Node *column = moving == left ? right : left;
	FlipBounds bounds;
	Node *a;
	Node *b;

	if (pgj_boundary_has_now(column))
		return NULL;
	/* column op now() - ... */
	if (is_time(column))
	{
		bounds = static_bounds(moving);
		if (!bounds.known || bounds.low.slope != 1)
			return NULL;
		return at_least(column, bounds.low.base);
	}
	/* now() - column op interval, column - now() op interval */
	if (!IsA(column, Const) || exprType(column) != INTERVALOID ||
		((Const *) column)->constisnull || !is_difference(moving, &a, &b))
		return NULL;
	moving = pgj_boundary_has_now(a) ? a : b;
	bounds = static_bounds(moving);
	if (!bounds.known || bounds.low.slope != 1 ||
		pgj_boundary_has_now(moving == a ? b : a))
		return NULL;
	return at_least(
		moving == a ? b : a,
		bounds.low.base -
			(moving == a ? 1 : -1) *
				pgj_flip_place(INTERVALOID, ((Const *) column)->constvalue));
}

/* ---------- comparisons ---------- */

/* Dates and timestamps are compared as the wider of the two types. */
static Node *
widen(Node *node, Oid from, Oid to)
{
	Oid function;

	if (from == to)
		return node;
	if (from == DATEOID && to == TIMESTAMPOID)
		function = F_TIMESTAMP_DATE;
	else if (from == DATEOID)
		function = F_TIMESTAMPTZ_DATE;
	else
		function = F_TIMESTAMPTZ_TIMESTAMP;
	return (Node *) makeFuncExpr(function, to, list_make1(node), InvalidOid,
								 InvalidOid, COERCE_EXPLICIT_CALL);
}

static Oid
wider(Oid a, Oid b)
{
	if (a == TIMESTAMPTZOID || b == TIMESTAMPTZOID)
		return TIMESTAMPTZOID;
	return a == TIMESTAMPOID || b == TIMESTAMPOID ? TIMESTAMPOID : DATEOID;
}

static const char *
op_name(int strategy)
{
	switch (strategy)
	{
		case BTLessStrategyNumber:
			return "<";
		case BTLessEqualStrategyNumber:
			return "<=";
		case BTEqualStrategyNumber:
			return "=";
		case BTGreaterEqualStrategyNumber:
			return ">=";
		case BTGreaterStrategyNumber:
			return ">";
		case PGJ_STRATEGY_NE:
			return "<>";
		default:
			return "?";
	}
}

bool
pgj_boundary_compare(Boundary *boundary, Oid family, Oid left_type,
					 Oid right_type, int strategy, Oid collation, Node *left,
					 Node *right, List **flips)
{
	Compiler compiler;
	FlipClass left_class;
	FlipClass right_class;
	Node *wide_left = left;
	Node *wide_right = right;
	Oid left_as = left_type;
	Oid right_as = right_type;
	char *name;

	if (left_type != right_type && is_time(left) && is_time(right))
	{
		left_as = right_as = wider(left_type, right_type);
		wide_left = widen(left, left_type, left_as);
		wide_right = widen(right, right_type, right_as);
	}
	name = compare_name(family, left_as, right_as);
	if (name == NULL)
		return false;
	start(&compiler, boundary);
	appendStringInfo(&compiler.text, "(%s %s ", op_name(strategy), name);
	left_class = compile(&compiler, wide_left);
	appendStringInfoChar(&compiler.text, ' ');
	right_class = compile(&compiler, wide_right);
	appendStringInfoChar(&compiler.text, ')');
	*flips = compiler.flips;
	if (left_class == FLIP_FIXED && right_class == FLIP_FIXED)
		return true;
	if ((left_class == FLIP_MONO && right_class >= FLIP_LINEAR) ||
		(right_class == FLIP_MONO && left_class >= FLIP_LINEAR))
		return false;
	*flips = lappend(*flips, pgj_boundary_flip(boundary->part,
											   finish(&compiler, collation),
											   rows_ahead(left, right)));
	return true;
}
