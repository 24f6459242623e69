/*-------------------------------------------------------------------------
 *
 * flip_bound.c
 *	  Where a value that moves with time can be at all.
 *
 * Calendar arithmetic drifts: a month is 28 to 31 days, a day 0 to 49 hours.  But it
 * drifts within narrow lines around a value that moves evenly, and a
 * comparison need not be followed piece by piece until the lines meet.
 *
 * The lines hold for the future only, from "now" on, and are generous.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "segment/flip.h"

#define DAY ((double) USECS_PER_DAY)
#define ZONE_DRIFT (26.0 * USECS_PER_HOUR) /* a local time as an instant */
#define MONTH_DRIFT (5 * DAY) /* whole months, in months of average length */
#define MONTH_AVERAGE (30.436875 * DAY)
#define YEAR_SHORTEST (365 * DAY)

static const FlipBounds unknown = { false, false, false, { 0, 0 }, { 0, 0 } };

static double
span_place(const Interval *span)
{
	return span->month * (double) DAYS_PER_MONTH * DAY + span->day * DAY +
		   span->time;
}

double
pgj_flip_place(Oid type, Datum value)
{
	switch (type)
	{
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			if (TIMESTAMP_IS_NOBEGIN(DatumGetTimestamp(value)))
				return -INFINITY;
			if (TIMESTAMP_IS_NOEND(DatumGetTimestamp(value)))
				return INFINITY;
			return DatumGetTimestamp(value);
		case DATEOID:
			if (DATE_IS_NOBEGIN(DatumGetDateADT(value)))
				return -INFINITY;
			if (DATE_IS_NOEND(DatumGetDateADT(value)))
				return INFINITY;
			return DatumGetDateADT(value) * DAY;
		case TIMEOID:
			return DatumGetTimeADT(value);
		case INTERVALOID:
			return span_place(DatumGetIntervalP(value));
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return DatumGetInt64(value);
		case FLOAT8OID:
			return DatumGetFloat8(value);
		case NUMERICOID:
			return DatumGetFloat8(
				DirectFunctionCall1(numeric_float8_no_overflow, value));
		default:
			return NAN;
	}
}

/* bounds + low … high */
static FlipBounds
widen(FlipBounds bounds, double low, double high)
{
	bounds.low.base += low;
	bounds.high.base += high;
	return bounds;
}

static FlipBounds
scale(FlipBounds bounds, double factor)
{
	bounds.low.slope *= factor;
	bounds.low.base *= factor;
	bounds.high.slope *= factor;
	bounds.high.base *= factor;
	return bounds;
}

static FlipBounds
negate(FlipBounds bounds)
{
	FlipLine low = bounds.low;

	bounds.low.slope = -bounds.high.slope;
	bounds.low.base = -bounds.high.base;
	bounds.high.slope = -low.slope;
	bounds.high.base = -low.base;
	bounds.plain = false;
	bounds.aged = false;
	return bounds;
}

static FlipBounds
add(FlipBounds a, FlipBounds b)
{
	a.known = a.known && b.known;
	a.plain = false;
	a.aged = false;
	a.low.slope += b.low.slope;
	a.low.base += b.low.base;
	a.high.slope += b.high.slope;
	a.high.base += b.high.base;
	return a;
}

void
pgj_flip_span(const Interval *span, double *distance, double *drift)
{
	*distance =
		span->month * MONTH_AVERAGE + span->day * DAY + (double) span->time;
	*drift = (span->month != 0 ? MONTH_DRIFT : 0) +
			 (span->month != 0 || span->day != 0 ? (double) FLIP_DAY_DRIFT : 0);
}

static FlipBounds
shift(FlipBounds from, const FlipValue *by, int sign)
{
	double drift;
	double distance;

	if (by->direction != 0 || by->ahead != FLIP_FOREVER ||
		DatumGetPointer(by->value) == NULL)
		return unknown;
	pgj_flip_span(DatumGetIntervalP(by->value), &distance, &drift);
	return widen(from, sign * distance - drift, sign * distance + drift);
}

static FlipBounds
cut(FlipBounds from, Datum unit_name, double drift)
{
	text *name = DatumGetTextPP(unit_name);
	double longest;

	switch (pgj_flip_unit(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)))
	{
		case UNIT_SECOND:
		case UNIT_MINUTE:
		case UNIT_HOUR:
		case UNIT_DAY:
			longest = DAY;
			break;
		case UNIT_WEEK:
			longest = 7 * DAY;
			break;
		case UNIT_MONTH:
			longest = 31 * DAY;
			break;
		case UNIT_QUARTER:
			longest = 92 * DAY;
			break;
		case UNIT_YEAR:
			/* and decades, centuries and millennia: a name says which */
			if (VARSIZE_ANY_EXHDR(name) != strlen("year"))
				return unknown;
			longest = 366 * DAY;
			break;
		default:
			return unknown;
	}
	return widen(from, -longest - drift, drift);
}

/*
 * age(moving, fixed) in months of 30 days falls behind the true distance, by up to 6
 * days in 366, and is within days of it for short ones.
 */
static FlipBounds
age_bounds(const FlipBounds *bounds, TimestampTz now)
{
	FlipBounds distance = add(bounds[0], negate(bounds[1]));
	double least;
	double lag;

	if (bounds[0].low.slope != 1 || bounds[0].high.slope != 1 ||
		bounds[1].low.slope != 0 || isinf(bounds[1].low.base))
		return unknown;
	least = distance.low.base + (double) now;
	lag = Max(0, -least) * 6 / 360;
	distance.high.base += MONTH_DRIFT + lag;
	distance.low.slope = 0;
	distance.low.base = (least > 0 ? least * 360 / 366 : least) - MONTH_DRIFT;
	distance.aged = true;
	return distance;
}

/* The epoch of a time. */
static FlipBounds
field_bounds(const FlipBounds *bounds, Datum field)
{
	text *name = DatumGetTextPP(field);
	double start =
		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (double) SECS_PER_DAY;

	if (pgj_flip_unit(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name)) != UNIT_EPOCH)
		return unknown;
	return widen(scale(bounds[1], 1.0 / USECS_PER_SEC), start, start);
}

/* The days and seconds of a span, or the years of an age. */
static FlipBounds
span_field_bounds(FlipBounds span, Datum field)
{
	text *name = DatumGetTextPP(field);
	int len = VARSIZE_ANY_EXHDR(name);
	FlipUnit unit = pgj_flip_unit(VARDATA_ANY(name), len);

	if (span.plain && unit == UNIT_DAY && (len == 3 || len == 4))
		return widen(scale(span, 1 / DAY), -1, 1);
	if (span.plain && unit == UNIT_EPOCH)
		return scale(span, 1.0 / USECS_PER_SEC);
	if (span.aged && unit == UNIT_YEAR && (len == 4 || len == 5))
		return widen(scale(span, 1 / (360 * DAY)), -1.2,
					 span.low.base >= -MONTH_DRIFT ? 1e-6 : 1);
	return unknown;
}

/* Numbers: sums, and products with what does not move. */
static FlipBounds
number_bounds(const Stage *stage, const FlipBounds *bounds)
{
	FlipBounds result = bounds[0];
	double factor = bounds[1].low.base;

	if (!bounds[0].known || !bounds[1].known)
		return unknown;
	switch (stage->kind)
	{
		case STAGE_ADD:
			return add(bounds[0], bounds[1]);
		case STAGE_SUBTRACT:
			return add(bounds[0], negate(bounds[1]));
		case STAGE_MULTIPLY:
		case STAGE_DIVIDE:
			/* whole numbers are cut when they are divided */
			if (bounds[1].low.slope != 0 || bounds[1].high.slope != 0 ||
				bounds[1].high.base != factor || factor == 0 ||
				strncmp(stage->name, "int", 3) == 0)
				return unknown;
			factor = stage->kind == STAGE_DIVIDE ? 1 / factor : factor;
			result = scale(factor < 0 ? negate(result) : result, fabs(factor));
			result.plain = false;
			result.aged = false;
			/* and others rounded */
			return widen(result, -1e-6, 1e-6);
		default:
			return unknown;
	}
}

FlipBounds
pgj_flip_bounds(const Stage *stage, int nargs, const FlipBounds *bounds,
				const FlipValue *args, TimestampTz now)
{
	bool minus = strstr(stage->name, "_mi") != NULL;
	FlipBounds result;

	for (int i = 0; i < nargs; i++)
	{
		if (args[i].isnull)
			return unknown;
	}
	switch (stage->kind)
	{
		case STAGE_SHIFT:
		case STAGE_SHIFT_LOCAL:
			return bounds[0].known ? shift(bounds[0], &args[1], minus ? -1 : 1)
								   : unknown;
		case STAGE_TO_LOCAL:
		case STAGE_FROM_LOCAL:
			return widen(bounds[0], -ZONE_DRIFT, ZONE_DRIFT);
		case STAGE_TO_ZONE:
		case STAGE_FROM_ZONE:
			return widen(bounds[1], -ZONE_DRIFT, ZONE_DRIFT);
		case STAGE_DATE:
			return widen(bounds[0], -DAY - ZONE_DRIFT, ZONE_DRIFT);
		case STAGE_TRUNC:
			return bounds[1].known ? cut(bounds[1], args[0].value, ZONE_DRIFT)
								   : unknown;
		case STAGE_MINUS:
			result = add(bounds[0], negate(bounds[1]));
			result.plain = true;
			return result;
		case STAGE_SPAN_PLUS:
			return add(bounds[0], minus ? negate(bounds[1]) : bounds[1]);
		case STAGE_SPAN_NEGATE:
			return negate(bounds[0]);
		case STAGE_SPAN_JUSTIFY:
			return bounds[0];
		case STAGE_AGE:
			return bounds[0].known && bounds[1].known ? age_bounds(bounds, now)
													  : unknown;
		case STAGE_FIELD:
			return bounds[1].known ? field_bounds(bounds, args[0].value)
								   : unknown;
		case STAGE_FIELD_SPAN:
			return bounds[1].known ? span_field_bounds(bounds[1], args[0].value)
								   : unknown;
		case STAGE_ADD:
		case STAGE_SUBTRACT:
		case STAGE_MULTIPLY:
		case STAGE_DIVIDE:
			return nargs == 2 ? number_bounds(stage, bounds) : unknown;
		case STAGE_PURE:
			break;
		default:
			return unknown;
	}

	if (strcmp(stage->name, "date_timestamptz") == 0)
		return widen(bounds[0], -ZONE_DRIFT, ZONE_DRIFT);
	if (strcmp(stage->name, "date_timestamp") == 0)
		return bounds[0];
	if (strcmp(stage->name, "date_pl_interval") == 0 ||
		strcmp(stage->name, "date_mi_interval") == 0)
		return bounds[0].known ? shift(bounds[0], &args[1], minus ? -1 : 1)
							   : unknown;
	if (strcmp(stage->name, "date_mi") == 0)
		return scale(add(bounds[0], negate(bounds[1])), 1 / DAY);
	if (strcmp(stage->name, "date_pli") == 0)
		return add(bounds[0], scale(bounds[1], DAY));
	if (strcmp(stage->name, "date_mii") == 0)
		return add(bounds[0], negate(scale(bounds[1], DAY)));
	return unknown;
}
