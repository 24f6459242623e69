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
 *	  for how long (flip_piece.c);
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
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "segment/flip_program.h"

PG_FUNCTION_INFO_V1(pgj_sql_flip);

#define MAX_PIECES 1000

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
	FlipValue args[FLIP_MAX_ARGUMENTS];

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

/* A side's value at an instant, from memory if it is there. */
static void
evaluate_side(Search *search, FlipNode *node, FlipMemory *memory,
			  TimestampTz at, bool pieces, FlipValue *result)
{
	if (memory != NULL && pgj_flip_recall(memory, at, result))
		return;
	evaluate(search, node, at, pieces, result);
	if (memory != NULL && pieces)
		pgj_flip_remember(memory, at, result);
}

static bool
evaluate_sides(Search *search, TimestampTz at, bool pieces, Sides *sides)
{
	FlipProgram *program = search->program;

	CHECK_FOR_INTERRUPTS();
	evaluate_side(search, program->left, program->left_memory, at, pieces,
				  &sides->left);
	evaluate_side(search, program->right, program->right_memory, at, pieces,
				  &sides->right);
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
	FlipBounds bounds[FLIP_MAX_ARGUMENTS];
	FlipValue args[FLIP_MAX_ARGUMENTS];
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

static FlipBounds
side_bounds(Search *search, FlipNode *node, FlipMemory *memory)
{
	if (memory == NULL)
		return node_bounds(search, node);
	if (!memory->bounded)
		memory->bounds = node_bounds(search, node);
	memory->bounded = true;
	return memory->bounds;
}

static void
set_bounds(Search *search)
{
	FlipBounds left;
	FlipBounds right;

	search->bounds.known = false;
	if (!OidIsValid(search->program->axis))
		return;
	left = side_bounds(search, search->program->left,
					   search->program->left_memory);
	right = side_bounds(search, search->program->right,
						search->program->right_memory);
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

	pgj_flip_memory_begin(search->program->left_memory, at);
	pgj_flip_memory_begin(search->program->right_memory, at);
	if (!evaluate_sides(search, at, false, &sides))
		return false;
	before = truth(op, sides.sign);
	set_bounds(search);
	/* most rows are of the past; for them no pieces need be found */
	if (apart_for(search, at, sides.sign) == FLIP_FOREVER)
		return false;
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

/* Search; where rows have no part in it, once for each instant. */
static bool
search_flip(Search *search, TimestampTz *flip)
{
	FlipProgram *program = search->program;
	FlipAnswer *answer = program->answer;
	MemoryContext old;
	bool found;

	if (answer != NULL && answer->known && answer->now == search->now &&
		answer->zone == session_timezone)
	{
		*flip = answer->flip;
		return answer->found;
	}
	old = MemoryContextSwitchTo(program->scratch);
	found = program->op == OP_CHANGE ? find_end(search, flip)
									 : find_flip(search, flip);
	MemoryContextSwitchTo(old);
	MemoryContextReset(program->scratch);
	if (answer != NULL)
		*answer =
			(FlipAnswer){ true, search->now, session_timezone, found, *flip };
	return found;
}

Datum
pgj_sql_flip(PG_FUNCTION_ARGS)
{
	Search search;
	TimestampTz flip = 0;
	bool found;

	if (PG_ARGISNULL(0) || PG_NARGS() < 2 || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	search.program = pgj_flip_program(fcinfo);
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
	found = search_flip(&search, &flip);
	if (!found)
		PG_RETURN_NULL();
	Assert(flip > search.now);
	PG_RETURN_TIMESTAMPTZ(flip);
}
