/*-------------------------------------------------------------------------
 *
 * rewrite.c
 *	  Walks over a query that an author's text became.
 *
 * The time of a decision is a parameter.  So now() and its relatives are
 * replaced, wherever they stand, by what the caller wants in their place.  A
 * function written by a user may still call now() inside; nothing here can see
 * that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "nodes/nodeFuncs.h"
#include "parser/parse_coerce.h"
#include "parser/parse_node.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"

#include "rewrite.h"

/* -------- now() -------- */

typedef struct NowContext
{
	NowNode now;
	void *arg;
	int level;
} NowContext;

static Node *
now_as(const NowContext *context, Oid type, int32 typmod)
{
	Node *now = context->now(context->level, context->arg);

	if (type == TIMESTAMPTZOID && typmod < 0)
		return now;
	return coerce_to_target_type(NULL, now, TIMESTAMPTZOID, type, typmod,
								 COERCION_EXPLICIT, COERCE_EXPLICIT_CAST, -1);
}

static Node *
now_mutator(Node *node, NowContext *context)
{
	if (node == NULL)
		return NULL;
	if (IsA(node, Query))
	{
		Query *result;

		context->level++;
		result = query_tree_mutator((Query *) node, now_mutator, context, 0);
		context->level--;
		return (Node *) result;
	}
	if (IsA(node, SQLValueFunction))
	{
		SQLValueFunction *function = (SQLValueFunction *) node;

		switch (function->op)
		{
			case SVFOP_CURRENT_DATE:
			case SVFOP_CURRENT_TIME:
			case SVFOP_CURRENT_TIME_N:
			case SVFOP_CURRENT_TIMESTAMP:
			case SVFOP_CURRENT_TIMESTAMP_N:
			case SVFOP_LOCALTIME:
			case SVFOP_LOCALTIME_N:
			case SVFOP_LOCALTIMESTAMP:
			case SVFOP_LOCALTIMESTAMP_N:
				return now_as(context, function->type, function->typmod);
			default:
				return (Node *) copyObject(function);
		}
	}
	if (IsA(node, FuncExpr))
	{
		FuncExpr *function = (FuncExpr *) node;

		switch (function->funcid)
		{
			case F_NOW:
			case F_TRANSACTION_TIMESTAMP:
			case F_STATEMENT_TIMESTAMP:
				return now_as(context, TIMESTAMPTZOID, -1);

				/* age(x) is age(current_date, x) */
			case F_AGE_TIMESTAMPTZ:
			case F_AGE_TIMESTAMP:
			{
				Oid type = function->funcid == F_AGE_TIMESTAMPTZ
							   ? TIMESTAMPTZOID
							   : TIMESTAMPOID;
				Node *today = now_as(context, DATEOID, -1);

				today = coerce_to_target_type(NULL, today, DATEOID, type, -1,
											  COERCION_EXPLICIT,
											  COERCE_EXPLICIT_CAST, -1);
				function = copyObject(function);
				function->funcid = type == TIMESTAMPTZOID
									   ? F_AGE_TIMESTAMPTZ_TIMESTAMPTZ
									   : F_AGE_TIMESTAMP_TIMESTAMP;
				function->args = list_make2(
					today, now_mutator(linitial(function->args), context));
				return (Node *) function;
			}
			default:
				break;
		}
	}
	return expression_tree_mutator(node, now_mutator, context);
}

Query *
pgj_rewrite_now(Query *query, NowNode now, void *arg)
{
	NowContext context = { now, arg, 0 };

	return query_tree_mutator(query, now_mutator, &context, 0);
}

/* -------- what is refused -------- */

typedef struct VolatileContext
{
	const char *source;
	Oid function; /* the first volatile one */
	int location;
	bool sequence;	/* nextval of a column default: volatile too */
	Const *literal; /* 'now', 'today', … */
} VolatileContext;

static bool
is_volatile(Oid function, void *arg)
{
	VolatileContext *context = arg;

	if (func_volatile(function) != PROVOLATILE_VOLATILE)
		return false;
	context->function = function;
	return true;
}

/*
 * A literal such as 'now' is turned into a constant when the text is read;
 * it would mean the time of the creation for ever after.
 */
static bool
is_moving_literal(const Const *constant, const char *source)
{
	static const char *const words[] = { "now", "today", "tomorrow",
										 "yesterday" };
	const char *literal;
	int i;

	switch (constant->consttype)
	{
		case DATEOID:
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			break;
		default:
			return false;
	}
	if (constant->location < 0 || constant->location >= strlen(source))
		return false;

	literal = source + constant->location;
	while (*literal && *literal != '\'')
		literal++;
	literal += strspn(literal, "' \t\n");
	for (i = 0; i < lengthof(words); i++)
	{
		if (pg_strncasecmp(literal, words[i], strlen(words[i])) == 0)
			return true;
	}
	return false;
}

static void
refuse_row_locks(void)
{
	ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("rows cannot be locked here"));
}

static bool
volatile_walker(Node *node, VolatileContext *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		if (((Query *) node)->rowMarks != NIL)
			refuse_row_locks();
		return query_tree_walker((Query *) node, volatile_walker, context, 0);
	}
	if (check_functions_in_node(node, is_volatile, context))
	{
		context->location = exprLocation(node);
		return true;
	}
	if (IsA(node, NextValueExpr))
	{
		context->sequence = true;
		return true;
	}
	if (IsA(node, Const) && is_moving_literal((Const *) node, context->source))
	{
		context->literal = (Const *) node;
		return true;
	}
	return expression_tree_walker(node, volatile_walker, context);
}

void
pgj_rewrite_refuse(Query *query, const char *source)
{
	VolatileContext context = { 0 };
	ParseState *pstate = make_parsestate(NULL);

	pstate->p_sourcetext = source;
	context.source = source;
	context.location = -1;
	if (!query_tree_walker(query, volatile_walker, &context, 0))
		return;

	if (context.literal)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_DATETIME_FORMAT),
			errmsg("a time relative to now cannot be written as a literal"),
			errhint(
				"The literal would mean the time at which it was written. Use now() or current_date."),
			parser_errposition(pstate, context.literal->location));
	ereport(
		ERROR, errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
		context.sequence ? errmsg("sequences cannot be used here")
						 : errmsg("function %s is volatile",
								  format_procedure(context.function)),
		errhint(
			"A decision must come out the same when it is looked at again. Use now() for the time; a function of your own that only reads can be marked STABLE."),
		parser_errposition(pstate, context.location));
}
