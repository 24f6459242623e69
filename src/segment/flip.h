/*-------------------------------------------------------------------------
 *
 * flip.h
 *	  Conditions on time as small programs, and what is known of the functions in
 *	  them.
 *
 * A program is text, so that it survives in a dumped function:
 *
 *	  program:	(op cmp node node)		op: < <= = <> >= > or ? (the sign itself)
 *				(change node)
 *	  node:		now | $n | (function node ...) | (greatest cmp node ...)
 *				| (least cmp node ...) | (coalesce node ...)
 *
 * Functions are those of PostgreSQL itself, by the names of their C functions,
 * which outlive object numbers.  $n is the n-th argument of journey._flip()
 * after the time.
 *
 * How a node's value moves with time is one of four classes, known when the
 * program is made.  LINEAR and MONO hold within pieces, as STEP does: where one
 * ends, every stage on the way says for itself (flip_piece.c).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_FLIP_H
#define PGJ_FLIP_H

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "pgtime.h"

typedef enum FlipClass
{
	FLIP_FIXED,	 /* does not move */
	FLIP_STEP,	 /* constant within a piece */
	FLIP_LINEAR, /* a microsecond (of time or interval) for each of the clock */
	FLIP_MONO,	 /* rises or falls within a piece */
	FLIP_UNKNOWN /* nothing can be said */
} FlipClass;

/* What a function does to a moving argument. */
typedef enum StageKind
{
	STAGE_PURE,		   /* no argument may move within a piece */
	STAGE_SHIFT,	   /* timestamptz ± interval */
	STAGE_SHIFT_LOCAL, /* timestamp ± interval */
	STAGE_MINUS,	   /* timestamp[tz] - timestamp[tz] */
	STAGE_TO_LOCAL,	   /* timestamptz to timestamp */
	STAGE_TO_ZONE,	   /* zone, timestamptz to timestamp */
	STAGE_FROM_LOCAL,  /* timestamp to timestamptz */
	STAGE_FROM_ZONE,   /* zone, timestamp to timestamptz */
	STAGE_FIXED_ZONE,  /* interval, either way */
	STAGE_DATE,		   /* to date */
	STAGE_TIME,		   /* to time of day */
	STAGE_TRUNC,	   /* unit, timestamp[tz] [, zone] */
	STAGE_TRUNC_SPAN,  /* unit, interval */
	STAGE_FIELD,	   /* field, timestamp[tz] */
	STAGE_FIELD_SPAN,  /* field, interval */
	STAGE_FIELD_TIME,  /* field, time */
	STAGE_AGE,		   /* timestamp[tz], timestamp[tz] */
	STAGE_SPAN_PLUS,   /* interval ± interval */
	STAGE_SPAN_NEGATE,
	STAGE_SPAN_JUSTIFY,
	STAGE_TIME_SHIFT, /* time ± interval */
	STAGE_TIME_MINUS, /* time - time */
	STAGE_TIME_SPAN,  /* time to interval */
	STAGE_FORMAT,	  /* timestamp[tz], format */
	STAGE_ADD,		  /* numbers, from here on */
	STAGE_SUBTRACT,
	STAGE_MULTIPLY,
	STAGE_DIVIDE,
	STAGE_SAME /* rounding and casts */
} StageKind;

typedef struct Stage
{
	const char *name; /* of the C function */
	StageKind kind;
	bool
		zoned; /* in the session's time zone, or in the one of the third argument */
} Stage;

/* The units that fields, truncations and formats come in. */
typedef enum FlipUnit
{
	UNIT_BAD,
	UNIT_SECOND,
	UNIT_MINUTE,
	UNIT_HOUR,
	UNIT_DAY,
	UNIT_WEEK,
	UNIT_MONTH,
	UNIT_QUARTER,
	UNIT_YEAR,
	UNIT_EPOCH,
	UNIT_ZONE
} FlipUnit;

/* flip_stage.c */
extern const Stage *pgj_flip_stage(const char *name);
extern FlipUnit pgj_flip_unit(const char *name, int len);
extern FlipUnit pgj_flip_format_unit(const char *format, int len);

/*
 * The class of a call whose arguments are of the given classes.  texts[i] is the
 * i-th argument if that is a text constant, else NULL.
 */
extern FlipClass pgj_flip_class(const Stage *stage, int nargs,
								const FlipClass *classes, const char **texts);

/*
 * flip_piece.c: is the zone's offset from UTC the same all the way from one instant to another?
 * The session's zone; false may be said in error.
 */
extern bool pgj_flip_zone_steady(TimestampTz from, TimestampTz to);

#define FLIP_FOREVER PG_INT64_MAX
#define FLIP_HORIZON (100 * (int64) 366 * USECS_PER_DAY)
#define FLIP_FAR (7 * USECS_PER_DAY)
#define FLIP_MARGIN (2 * USECS_PER_SEC) /* what doubles get wrong, and more */
#define FLIP_DAY_DRIFT \
	(50 * USECS_PER_HOUR) /* whole days, over changes of zone */

/* A value at an instant, and how it goes on. */
typedef struct FlipValue
{
	Datum value;
	bool isnull;
	int direction; /* 1, 0 or -1 */
	int64 ahead;   /* for so many microseconds; FLIP_FOREVER */
} FlipValue;

/*
 * flip_piece.c: for how long a call's result goes on as it does, and in which direction: sets
 * both in *result, which holds the value at the instant.  Some argument moves,
 * and none is null.
 */
extern void pgj_flip_advance(const Stage *stage, int nargs,
							 const FlipValue *args, FlipValue *result);

/*
 * Bounds on a value, in the microseconds (or whole numbers) of its type, at every
 * instant s from "now" on:  low.slope * s + low.base <= value <= high...
 */
typedef struct FlipLine
{
	double slope;
	double base;
} FlipLine;

typedef struct FlipBounds
{
	bool known;
	bool plain; /* an interval that was got by subtracting two times */
	bool aged;	/* an interval that was got by age() */
	FlipLine low;
	FlipLine high;
} FlipBounds;

/* flip_bound.c: a value's place on its axis; NaN for types without one */
extern double pgj_flip_place(Oid type, Datum value);

/* How far an interval takes a time, give or take the drift. */
extern void pgj_flip_span(const Interval *span, double *distance,
						  double *drift);

/* The bounds of a call's result, from those of its arguments and their values. */
extern FlipBounds pgj_flip_bounds(const Stage *stage, int nargs,
								  const FlipBounds *bounds,
								  const FlipValue *args, TimestampTz now);

/*
 * flip_plain.c: when does now + span (sign 1) or now - span (-1) meet x?  Span may be
 * null.  MEET_NEVER: it is later than x, and stays so, or x is infinite.
 */
typedef enum FlipMeeting
{
	MEET_UNKNOWN,
	MEET_NEVER,
	MEET_AT, /* *at or now, and it rises evenly up to a microsecond later */
	MEET_NOT_BEFORE /* *at, which is later than now */
} FlipMeeting;

extern FlipMeeting pgj_flip_meet(TimestampTz now, TimestampTz x,
								 const Interval *span, int sign,
								 TimestampTz *at);

#endif /* PGJ_FLIP_H */
