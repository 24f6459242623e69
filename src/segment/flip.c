/*-------------------------------------------------------------------------
 *
 * flip.c
 *	  When does a comparison with something that moves with the clock flip?
 *
 * journey._flip(program, at, values...) is called once for every row a condition
 * on time is about, and says when it flips first after "at" (flip.h has the
 * programs).  What a condition is at an instant is found out by calling the
 * server's own functions, so that truth is by definition the predicate's.
 * Solving is only a way of finding the instants worth looking at:
 *
 *	  piece by piece: at t, every node says whether it rises, falls or stays, and
 *	  for how long (flip_stage.c);
 *	  within a piece the two sides' order changes at most at two neighbouring
 *	  instants, which are computed, or searched by halving;
 *	  where bounds say that the sides cannot meet yet, the pieces up to there are
 *	  skipped, and if they cannot meet again, the search is over (flip_bound.c).
 *
 * The answer may be too early (after MAX_PIECES, at the horizon, and where the bounds
 * leave open for how many days a flip lies ahead that is far away), but never too
 * late: checking in vain is cheap, and most rows change before their flip comes.  It is
 * null only if there is no flip.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "segment/flip.h"

PG_FUNCTION_INFO_V1(pgj_sql_flip);

#define MAX_PIECES 1000
#define MAX_ARGUMENTS 8 /* of a function in a program */

typedef enum NodeKind
{
	NODE_NOW,
	NODE_VALUE,
	NODE_CALL,
	NODE_GREATEST,
	NODE_LEAST,
	NODE_COALESCE
} NodeKind;

typedef struct FlipNode
{
	NodeKind kind;
	int argument; /* NODE_VALUE */
	FmgrInfo function;
	const Stage *stage;
	int nargs;
	struct FlipNode *args[MAX_ARGUMENTS];
	FunctionCallInfo call;
} FlipNode;

typedef enum FlipOp
{
	OP_LT,
	OP_LE,
	OP_EQ,
	OP_NE,
	OP_GE,
	OP_GT,
	OP_SIGN,
	OP_CHANGE
} FlipOp;

/*
 * A program that needs no search (flip_plain.c): x against now, now ± span, or
 * the distance of now and x against span.
 */
typedef struct PlainProgram
{
	bool is;
	int time;	   /* the argument that is x */
	int span;	   /* the argument that is an interval; 0: none */
	int sign;	   /* of the span beside now */
	bool distance; /* the span stands alone, and is weighed as intervals are compared */
	int order;	   /* 1: left - right rises with time; -1: it falls */
} PlainProgram;

typedef struct FlipProgram
{
	char *source;
	const Node *argument; /* the constant it was read from, if it was one */
	PlainProgram plain;
	FlipOp op;
	FmgrInfo compare;
	Oid axis; /* the type compared, if places on its axis are comparable */
	FlipNode *left;
	FlipNode *right; /* NULL for OP_CHANGE */
	MemoryContext scratch;
} FlipProgram;

/* One search. */
typedef struct Search
{
	FlipProgram *program;
	FunctionCallInfo call; /* of _flip() */
	Oid collation;
	TimestampTz now;
	FlipBounds bounds; /* of left - right */
} Search;

/* The two sides at an instant. */
typedef struct Sides
{
	FlipValue left;
	FlipValue right;
	int sign; /* of left - right */
} Sides;

/* ---------- programs ---------- */

typedef struct Reader
{
	const char *at;
	Oid collation;
} Reader;

static void
bad_program(const Reader *reader)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("malformed condition on time at \"%s\"", reader->at),
			 errhint("This function is called by segments' statements only.")));
}

static char *
read_word(Reader *reader)
{
	const char *start;

	while (*reader->at == ' ')
		reader->at++;
	start = reader->at;
	while (*reader->at != '\0' && strchr(" ()", *reader->at) == NULL)
		reader->at++;
	if (reader->at == start)
		bad_program(reader);
	return pnstrdup(start, reader->at - start);
}

static bool
read_sign(Reader *reader, char sign)
{
	while (*reader->at == ' ')
		reader->at++;
	if (*reader->at != sign)
		return false;
	reader->at++;
	return true;
}

static void
look_up(Reader *reader, const char *name, FmgrInfo *function)
{
	Oid oid = fmgr_internal_function(name);

	if (!OidIsValid(oid))
		bad_program(reader);
	fmgr_info(oid, function);
}

static FlipNode *
read_node(Reader *reader)
{
	FlipNode *node = palloc0(sizeof(FlipNode));
	char *word;

	check_stack_depth();
	if (!read_sign(reader, '('))
	{
		word = read_word(reader);
		if (strcmp(word, "now") == 0)
			node->kind = NODE_NOW;
		else if (word[0] == '$')
		{
			node->kind = NODE_VALUE;
			node->argument = pg_strtoint32(word + 1);
		}
		else
			bad_program(reader);
		return node;
	}

	word = read_word(reader);
	if (strcmp(word, "greatest") == 0 || strcmp(word, "least") == 0)
	{
		node->kind = word[0] == 'g' ? NODE_GREATEST : NODE_LEAST;
		look_up(reader, read_word(reader), &node->function);
	}
	else if (strcmp(word, "coalesce") == 0)
		node->kind = NODE_COALESCE;
	else
	{
		node->kind = NODE_CALL;
		look_up(reader, word, &node->function);
		node->stage = pgj_flip_stage(word);
	}
	while (!read_sign(reader, ')'))
	{
		if (node->nargs == MAX_ARGUMENTS)
			bad_program(reader);
		node->args[node->nargs++] = read_node(reader);
	}
	if (node->kind == NODE_CALL && node->nargs != node->function.fn_nargs)
		bad_program(reader);
	node->call = palloc0(SizeForFunctionCallInfo(Max(node->nargs, 2)));
	InitFunctionCallInfoData(*node->call, &node->function,
							 node->kind == NODE_CALL ? node->nargs : 2,
							 reader->collation, NULL, NULL);
	return node;
}

static Oid
axis_of(const char *compare)
{
	static const struct
	{
		const char *name;
		Oid type;
	} axes[] = { { "timestamp_cmp", TIMESTAMPTZOID }, /* serves both */
				 { "timestamptz_cmp", TIMESTAMPTZOID },
				 { "date_cmp", DATEOID },
				 { "time_cmp", TIMEOID },
				 { "interval_cmp", INTERVALOID },
				 { "btint4cmp", INT4OID },
				 { "btint8cmp", INT8OID },
				 { "btfloat8cmp", FLOAT8OID },
				 { "numeric_cmp", NUMERICOID } };

	for (int i = 0; i < lengthof(axes); i++)
	{
		if (strcmp(axes[i].name, compare) == 0)
			return axes[i].type;
	}
	return InvalidOid;
}

static FlipOp
read_op(Reader *reader)
{
	static const char *const names[] = { "<",  "<=", "=", "<>",
										 ">=", ">",	 "?", "change" };
	char *word = read_word(reader);

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(names[i], word) == 0)
			return (FlipOp) i;
	}
	bad_program(reader);
	return OP_CHANGE;
}

/* ---------- plain programs ---------- */

static bool
is_call(const FlipNode *node, const char *name)
{
	return node->kind == NODE_CALL && node->stage != NULL &&
		   strcmp(node->stage->name, name) == 0;
}

/* now, now ± $span */
static bool
is_moved_now(const FlipNode *node, PlainProgram *plain)
{
	if (node->kind == NODE_NOW)
		return true;
	plain->sign = is_call(node, "timestamptz_pl_interval") ? 1 : -1;
	if ((plain->sign < 0 && !is_call(node, "timestamptz_mi_interval")) ||
		node->args[0]->kind != NODE_NOW || node->args[1]->kind != NODE_VALUE)
		return false;
	plain->span = node->args[1]->argument;
	return true;
}

/* now - $time, $time - now */
static bool
is_distance(const FlipNode *node, PlainProgram *plain)
{
	int now;

	if (!is_call(node, "timestamp_mi"))
		return false;
	now = node->args[0]->kind == NODE_NOW ? 0 : 1;
	if (node->args[now]->kind != NODE_NOW ||
		node->args[1 - now]->kind != NODE_VALUE)
		return false;
	plain->time = node->args[1 - now]->argument;
	plain->sign = now == 0 ? -1 : 1;
	plain->distance = true;
	return true;
}

static PlainProgram
plain_program(const FlipProgram *program)
{
	PlainProgram plain = { false };

	if (program->op == OP_CHANGE)
		return plain;
	for (int side = 0; side < 2; side++)
	{
		const FlipNode *moving = side == 0 ? program->left : program->right;
		const FlipNode *fixed = side == 0 ? program->right : program->left;

		memset(&plain, 0, sizeof(plain));
		plain.order = side == 0 ? 1 : -1;
		if (fixed->kind != NODE_VALUE)
			continue;
		if (program->axis == TIMESTAMPTZOID && is_moved_now(moving, &plain))
			plain.time = fixed->argument;
		else if (program->axis == INTERVALOID && is_distance(moving, &plain))
		{
			plain.span = fixed->argument;
			plain.order *= -plain.sign;
		}
		else
			continue;
		plain.is = true;
		break;
	}
	return plain;
}

/* ---------- reading programs ---------- */

static FlipProgram *
read_program(text *source, Oid collation)
{
	FlipProgram *program = palloc0(sizeof(FlipProgram));
	Reader reader;

	program->source = text_to_cstring(source);
	reader.at = program->source;
	reader.collation = collation;
	if (!read_sign(&reader, '('))
		bad_program(&reader);
	program->op = read_op(&reader);
	if (program->op == OP_CHANGE)
		program->left = read_node(&reader);
	else
	{
		char *compare = read_word(&reader);

		look_up(&reader, compare, &program->compare);
		program->axis = axis_of(compare);
		program->left = read_node(&reader);
		program->right = read_node(&reader);
	}
	if (!read_sign(&reader, ')') || *reader.at != '\0')
		bad_program(&reader);
	program->plain = plain_program(program);
	program->scratch = AllocSetContextCreate(
		CurrentMemoryContext, "condition on time", ALLOCSET_SMALL_SIZES);
	return program;
}

/* An argument, if the call was written with a constant there. */
static const Node *
constant_argument(FunctionCallInfo fcinfo, int argument)
{
	FuncExpr *call = (FuncExpr *) fcinfo->flinfo->fn_expr;
	const Node *node;

	if (call == NULL || !IsA(call, FuncExpr) ||
		argument >= list_length(call->args))
		return NULL;
	node = list_nth(call->args, argument);
	return IsA(node, Const) ? node : NULL;
}

/* The call's program, read once for each place it is called from. */
static FlipProgram *
call_program(FunctionCallInfo fcinfo)
{
	FlipProgram *program = fcinfo->flinfo->fn_extra;
	const Node *argument = constant_argument(fcinfo, 0);
	text *source;
	MemoryContext old;

	if (program != NULL && argument != NULL && program->argument == argument)
		return program;
	source = PG_GETARG_TEXT_PP(0);
	if (program != NULL &&
		strlen(program->source) == VARSIZE_ANY_EXHDR(source) &&
		memcmp(program->source, VARDATA_ANY(source),
			   VARSIZE_ANY_EXHDR(source)) == 0)
		return program;
	old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);
	program = read_program(source, PG_GET_COLLATION());
	program->argument = argument;
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = program;
	return program;
}

/* ---------- evaluation ---------- */

static int
compare_values(FmgrInfo *compare, Oid collation, Datum a, Datum b)
{
	return DatumGetInt32(FunctionCall2Coll(compare, collation, a, b));
}

static void evaluate(Search *search, FlipNode *node, TimestampTz at,
					 bool pieces, FlipValue *result);

static void
evaluate_call(FlipNode *node, const FlipValue *args, bool pieces,
			  FlipValue *result)
{
	bool moving = false;

	result->isnull = false;
	for (int i = 0; i < node->nargs; i++)
	{
		if (args[i].isnull && node->function.fn_strict)
			result->isnull = true;
		moving = moving || args[i].direction != 0;
		node->call->args[i].value = args[i].value;
		node->call->args[i].isnull = args[i].isnull;
	}
	result->direction = 0;
	result->ahead = FLIP_FOREVER;
	if (result->isnull)
		return;
	node->call->isnull = false;
	result->value = FunctionCallInvoke(node->call);
	result->isnull = node->call->isnull;
	if (!pieces || result->isnull)
		return;
	if (moving)
	{
		if (node->stage == NULL)
			elog(ERROR, "a function that nothing is known of moves with time");
		pgj_flip_advance(node->stage, node->nargs, args, result);
	}
	for (int i = 0; i < node->nargs; i++)
		result->ahead = Min(result->ahead, args[i].ahead);
}

/* GREATEST, LEAST, COALESCE: an argument as it is; the others may take over later. */
static void
evaluate_choice(Search *search, FlipNode *node, const FlipValue *args,
				FlipValue *result)
{
	int sign = node->kind == NODE_GREATEST ? 1 : -1;
	int chosen = -1;
	int direction = 0;
	int64 ahead = FLIP_FOREVER;

	for (int i = 0; i < node->nargs; i++)
	{
		if (args[i].isnull || (chosen >= 0 && node->kind == NODE_COALESCE))
			continue;
		if (chosen < 0 ||
			sign * compare_values(&node->function, search->collation,
								  args[i].value, args[chosen].value) >
				0)
			chosen = i;
		if (args[i].direction != 0)
			direction = args[i].direction;
		ahead = Min(ahead, args[i].ahead);
	}
	result->isnull = chosen < 0;
	result->value = chosen < 0 ? (Datum) 0 : args[chosen].value;
	result->direction = direction;
	result->ahead = ahead;
}

/* A node's value at an instant; with pieces, also how it goes on from there. */
static void
evaluate(Search *search, FlipNode *node, TimestampTz at, bool pieces,
		 FlipValue *result)
{
	FlipValue args[MAX_ARGUMENTS];

	memset(result, 0, sizeof(FlipValue));
	result->ahead = FLIP_FOREVER;
	switch (node->kind)
	{
		case NODE_NOW:
			result->value = TimestampTzGetDatum(at);
			result->direction = 1;
			return;
		case NODE_VALUE:
			if (node->argument < 1 || node->argument + 1 >= search->call->nargs)
				elog(ERROR, "a condition on time lacks a value");
			result->isnull = search->call->args[node->argument + 1].isnull;
			result->value = search->call->args[node->argument + 1].value;
			return;
		default:
			for (int i = 0; i < node->nargs; i++)
				evaluate(search, node->args[i], at, pieces, &args[i]);
			if (node->kind == NODE_CALL)
				evaluate_call(node, args, pieces, result);
			else
				evaluate_choice(search, node, args, result);
	}
}

static bool
evaluate_sides(Search *search, TimestampTz at, bool pieces, Sides *sides)
{
	FlipProgram *program = search->program;

	CHECK_FOR_INTERRUPTS();
	evaluate(search, program->left, at, pieces, &sides->left);
	evaluate(search, program->right, at, pieces, &sides->right);
	if (sides->left.isnull || sides->right.isnull)
		return false;
	sides->sign = compare_values(&program->compare, search->collation,
								 sides->left.value, sides->right.value);
	sides->sign = (sides->sign > 0) - (sides->sign < 0);
	return true;
}

static int
sign_at(Search *search, TimestampTz at)
{
	Sides sides;

	if (!evaluate_sides(search, at, false, &sides))
		elog(ERROR, "a condition on time has become null");
	return sides.sign;
}

static int
truth(FlipOp op, int sign)
{
	switch (op)
	{
		case OP_LT:
			return sign < 0;
		case OP_LE:
			return sign <= 0;
		case OP_EQ:
			return sign == 0;
		case OP_NE:
			return sign != 0;
		case OP_GE:
			return sign >= 0;
		case OP_GT:
			return sign > 0;
		default:
			return sign;
	}
}

/* ---------- bounds ---------- */

static FlipBounds
node_bounds(Search *search, FlipNode *node)
{
	FlipBounds result = { false, false, false, { 0, 0 }, { 0, 0 } };
	FlipBounds bounds[MAX_ARGUMENTS];
	FlipValue args[MAX_ARGUMENTS];
	NullableDatum *value;
	double place;

	switch (node->kind)
	{
		case NODE_NOW:
			result.known = true;
			result.low.slope = result.high.slope = 1;
			return result;
		case NODE_VALUE:
			value = &search->call->args[node->argument + 1];
			if (value->isnull)
				return result;
			place = pgj_flip_place(
				get_fn_expr_argtype(search->call->flinfo, node->argument + 1),
				value->value);
			result.known = !isnan(place);
			result.low.base = result.high.base = place;
			return result;
		case NODE_CALL:
			if (node->stage == NULL)
				return result;
			for (int i = 0; i < node->nargs; i++)
			{
				bounds[i] = node_bounds(search, node->args[i]);
				evaluate(search, node->args[i], search->now, true, &args[i]);
			}
			return pgj_flip_bounds(node->stage, node->nargs, bounds, args,
								   search->now);
		default:
			return result;
	}
}

static void
set_bounds(Search *search)
{
	FlipBounds left;
	FlipBounds right;

	search->bounds.known = false;
	if (!OidIsValid(search->program->axis))
		return;
	left = node_bounds(search, search->program->left);
	right = node_bounds(search, search->program->right);
	search->bounds.known = left.known && right.known;
	search->bounds.low.slope = left.low.slope - right.high.slope;
	search->bounds.low.base = left.low.base - right.high.base;
	search->bounds.high.slope = left.high.slope - right.low.slope;
	search->bounds.high.base = left.high.base - right.low.base;
}

/*
 * The sides are unequal at "at".  How much later can they first be equal?
 * FLIP_FOREVER: never again.
 */
static int64
apart_for(Search *search, TimestampTz at, int sign)
{
	FlipLine line = sign < 0 ? search->bounds.high : search->bounds.low;
	double gap;
	double closing;
	double ahead;

	if (!search->bounds.known || sign == 0)
		return 0;
	/* as if the left side were below: the line below which it stays */
	closing = sign < 0 ? line.slope : -line.slope;
	gap = (sign < 0 ? -1 : 1) * (line.slope * at + line.base);
	if (isinf(gap) && gap > 0)
		return FLIP_FOREVER;
	if (!(gap > 1e-6 + fabs(line.base) * 1e-15))
		return 0;
	if (closing <= 0)
		return FLIP_FOREVER;
	ahead = gap / closing - (double) FLIP_MARGIN;
	if (!(ahead > 0))
		return 0;
	if (ahead > 2.0 * FLIP_HORIZON)
		return isinf(ahead) ? FLIP_FOREVER : 2 * FLIP_HORIZON;
	return (int64) ahead;
}

/* ---------- search ---------- */

/*
 * The first instant in (from, to] where the sides' order is another than at "from".
 * It is another at "to", and the distance rises or falls all the way.
 */
static TimestampTz
find_change(Search *search, TimestampTz from, TimestampTz to,
			const Sides *sides)
{
	int slope = sides->left.direction - sides->right.direction;
	Oid axis = search->program->axis;

	if ((axis == TIMESTAMPTZOID || axis == TIMEOID || axis == INTERVALOID) &&
		sides->sign != 0)
	{
		double gap = pgj_flip_place(axis, sides->right.value) -
					 pgj_flip_place(axis, sides->left.value);
		double ahead = ceil(gap / slope);

		if (ahead >= 1 && ahead < (double) (to - from) &&
			sign_at(search, from + (int64) ahead) != sides->sign)
		{
			to = from + (int64) ahead;
			if (ahead >= 2 && sign_at(search, to - 1) == sides->sign)
				return to;
		}
	}
	while (to - from > 1)
	{
		TimestampTz middle = from + (to - from) / 2;

		if (sign_at(search, middle) != sides->sign)
			to = middle;
		else
			from = middle;
	}
	return to;
}

static TimestampTz
later(TimestampTz at, int64 ahead, TimestampTz last)
{
	return ahead >= last - at ? last : at + ahead;
}

/* The first flip after now, or an earlier instant to look again; false: none. */
static bool
find_flip(Search *search, TimestampTz *flip)
{
	FlipOp op = search->program->op;
	TimestampTz horizon = search->now + FLIP_HORIZON;
	TimestampTz at = search->now;
	Sides sides;
	int before;

	if (!evaluate_sides(search, at, false, &sides))
		return false;
	before = truth(op, sides.sign);
	set_bounds(search);
	for (int i = 0; i < MAX_PIECES && at < horizon; i++)
	{
		int64 apart;
		int64 ahead;
		TimestampTz end;

		if (!evaluate_sides(search, at, true, &sides))
			elog(ERROR, "a condition on time has become null");
		if (truth(op, sides.sign) != before)
			break;
		apart = apart_for(search, at, sides.sign);
		ahead = Min(sides.left.ahead, sides.right.ahead);
		if (apart == FLIP_FOREVER)
			return false;
		if (apart > ahead)
		{
			at = later(at, apart, horizon);
			if (apart > FLIP_FAR)
				break;
			continue;
		}
		end = later(at, ahead, horizon);
		if (sides.left.direction != sides.right.direction &&
			sign_at(search, end - 1) != sides.sign)
			end = find_change(search, at, end - 1, &sides);
		else if (ahead == FLIP_FOREVER &&
				 sides.left.direction == sides.right.direction)
			return false;
		at = end;
	}
	*flip = at;
	return true;
}

/* The end of the piece that a value is constant in. */
static bool
find_end(Search *search, TimestampTz *flip)
{
	FlipValue value;

	evaluate(search, search->program->left, search->now, true, &value);
	if (value.direction != 0)
		elog(ERROR, "a value that moves all the time has no end");
	if (value.isnull || value.ahead == FLIP_FOREVER)
		return false;
	*flip = later(search->now, value.ahead, search->now + FLIP_HORIZON);
	return true;
}

/* ---------- plain programs ---------- */

static int64
span_weight(const Interval *span, bool *overflow)
{
	int64 days = (int64) span->month * DAYS_PER_MONTH + span->day;
	int64 weight;

	*overflow = pg_mul_s64_overflow(days, USECS_PER_DAY, &weight) ||
				pg_add_s64_overflow(weight, span->time, &weight);
	return weight;
}

/* When the sides meet. */
static FlipMeeting
meeting(Search *search, TimestampTz *at)
{
	const PlainProgram *plain = &search->program->plain;
	NullableDatum *x = &search->call->args[plain->time + 1];
	NullableDatum *by = &search->call->args[plain->span + 1];
	Interval *span = NULL;
	Interval hours = { 0 };
	bool overflow;

	if (plain->time + 1 >= search->call->nargs ||
		plain->span + 1 >= search->call->nargs)
		return MEET_UNKNOWN;
	if (x->isnull || (plain->span > 0 && by->isnull))
		return MEET_NEVER;
	if (plain->span > 0)
		span = DatumGetIntervalP(by->value);
	if (plain->distance)
	{
		if (TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(x->value)))
			return MEET_UNKNOWN; /* an error, as in the predicate */
		hours.time = span_weight(span, &overflow);
		if (overflow)
			return MEET_UNKNOWN;
		span = &hours;
	}
	return pgj_flip_meet(search->now, DatumGetTimestampTz(x->value), span,
						 plain->sign, at);
}

/* Find what find_flip() would, or something earlier; false: it must be asked. */
static bool
find_plain_flip(Search *search, bool *found, TimestampTz *flip)
{
	FlipOp op = search->program->op;
	int order = search->program->plain.order;
	TimestampTz at = 0;

	*found = false;
	switch (meeting(search, &at))
	{
		case MEET_UNKNOWN:
			return false;
		case MEET_NEVER:
			return true;
		case MEET_NOT_BEFORE:
			*found = true;
			*flip = at;
			return true;
		case MEET_AT:
			break;
	}
	*flip = at;
	if (at > search->now)
	{
		*found = true;
		if (truth(op, 0) != truth(op, -order))
			return true;
	}
	*flip = at + 1;
	*found = *found || truth(op, 0) != truth(op, order);
	return true;
}

Datum
pgj_sql_flip(PG_FUNCTION_ARGS)
{
	Search search;
	MemoryContext old;
	TimestampTz flip = 0;
	bool found;

	if (PG_ARGISNULL(0) || PG_NARGS() < 2 || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	search.program = call_program(fcinfo);
	search.call = fcinfo;
	search.collation = PG_GET_COLLATION();
	search.now = PG_GETARG_TIMESTAMPTZ(1);
	if (TIMESTAMP_NOT_FINITE(search.now))
		PG_RETURN_NULL();
	if (search.program->plain.is && find_plain_flip(&search, &found, &flip))
	{
		if (!found)
			PG_RETURN_NULL();
		PG_RETURN_TIMESTAMPTZ(flip);
	}
	old = MemoryContextSwitchTo(search.program->scratch);
	found = search.program->op == OP_CHANGE ? find_end(&search, &flip)
											: find_flip(&search, &flip);
	MemoryContextSwitchTo(old);
	MemoryContextReset(search.program->scratch);
	if (!found)
		PG_RETURN_NULL();
	Assert(flip > search.now);
	PG_RETURN_TIMESTAMPTZ(flip);
}
