/*-------------------------------------------------------------------------
 *
 * flip_piece.c
 *	  For how long the server's functions on times go on as they do.
 *
 * Each is constant or of slope 1 within pieces, if its arguments are.  A stage is
 * asked, at an instant, for how many microseconds its piece may still go on.
 * Ending a piece too early costs an evaluation; ending it too late loses a flip.
 * So whatever is in doubt ends a piece.
 *
 * A local time maps to an instant by the offset that PostgreSQL chooses for it,
 * which in a gap is the one before and in an overlap the one after.  Besides at the
 * change itself, the mapping therefore breaks the change's length before or
 * after it; zone_ahead_out() takes all three.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "segment/flip.h"

/* ---------- zones ---------- */

/* The day that local midnight began, and the time since. */
typedef struct Local
{
	int64 time; /* microseconds since 2000-01-01 00:00 local */
	int64 of_day;
	int year;
	int month;
	int day;
} Local;

static void
set_local(Local *local, int64 time)
{
	int64 date = time / USECS_PER_DAY;

	local->time = time;
	local->of_day = time % USECS_PER_DAY;
	if (local->of_day < 0)
	{
		local->of_day += USECS_PER_DAY;
		date--;
	}
	j2date((int) date + POSTGRES_EPOCH_JDATE, &local->year, &local->month,
		   &local->day);
}

static bool
next_change(pg_time_t from, pg_tz *zone, pg_time_t *change, long *length)
{
	long before;
	long after;
	int before_dst;
	int after_dst;

	/* a zone's very last known change finds none, even if it goes on in cycles */
	if (pg_next_dst_boundary(&from, &before, &before_dst, change, &after,
							 &after_dst, zone) != 1)
	{
		from++;
		if (pg_next_dst_boundary(&from, &before, &before_dst, change, &after,
								 &after_dst, zone) != 1)
			return false;
	}
	*length = labs(after - before);
	return true;
}

/* How long until the zone's offset changes. */
static int64
zone_ahead(TimestampTz at, pg_tz *zone)
{
	pg_time_t change;
	long length;

	if (zone == NULL ||
		!next_change(timestamptz_to_time_t(at), zone, &change, &length))
		return FLIP_FOREVER;
	return time_t_to_timestamptz(change) - at;
}

/* What is known from the last question: nothing changes from "from" to before "change". */
bool
pgj_flip_zone_steady(TimestampTz from, TimestampTz to)
{
	static pg_tz *zone = NULL;
	static TimestampTz known_from;
	static TimestampTz known_change;
	int64 ahead;

	if (zone != session_timezone || from < known_from || from >= known_change)
	{
		/* a whole second, so that a change just at "from" is not passed over */
		ahead = zone_ahead(from - USECS_PER_SEC, session_timezone);
		zone = session_timezone;
		known_from = from;
		known_change =
			ahead == FLIP_FOREVER ? DT_NOEND : from - USECS_PER_SEC + ahead;
	}
	return to < known_change;
}

/* How long until a local time stops moving along with the instant it maps to. */
static int64
zone_ahead_out(TimestampTz out, pg_tz *zone)
{
	pg_time_t from = timestamptz_to_time_t(out) - 26 * SECS_PER_HOUR;
	int64 best = FLIP_FOREVER;

	for (int i = 0; zone != NULL && i < 8; i++)
	{
		pg_time_t change;
		long length;
		int64 ahead;

		if (!next_change(from, zone, &change, &length))
			break;
		ahead = time_t_to_timestamptz(change) - out;
		if (best != FLIP_FOREVER && ahead - 26 * USECS_PER_HOUR > best)
			break;
		for (int k = -1; k <= 1; k++)
		{
			int64 candidate = ahead + k * (int64) length * USECS_PER_SEC;

			if (candidate > 0)
				best = Min(best, candidate);
		}
		from = change;
	}
	return best;
}

/*
 * The local time at an instant, and how long its offset lasts.  False if it has
 * none.
 */
static bool
to_local(TimestampTz at, pg_tz *zone, Local *local, int64 *ahead)
{
	struct pg_tm tm;
	fsec_t fsec;
	int offset;

	*ahead = FLIP_FOREVER;
	if (TIMESTAMP_NOT_FINITE(at) ||
		timestamp2tm(at, &offset, &tm, &fsec, NULL, zone) != 0)
		return false;
	set_local(local, at - (int64) offset * USECS_PER_SEC);
	*ahead = zone_ahead(at, zone);
	return true;
}

/* A zone by its name.  Abbreviations stand for fixed offsets, or did change in the past. */
static pg_tz *
named_zone(Datum name)
{
	char buffer[TZ_STRLEN_MAX + 1];

	text_to_cstring_buffer(DatumGetTextPP(name), buffer, sizeof(buffer));
	return pg_tzset(buffer);
}

/* ---------- pieces ---------- */

static int64
midnight_ahead(const Local *local, int year, int month, int day)
{
	int64 date = date2j(year, month, day) - POSTGRES_EPOCH_JDATE;

	return date * USECS_PER_DAY - local->time;
}

static int64
unit_ahead(const Local *local, FlipUnit unit)
{
	int64 midnight = USECS_PER_DAY - local->of_day;

	switch (unit)
	{
		case UNIT_SECOND:
			return USECS_PER_SEC - local->of_day % USECS_PER_SEC;
		case UNIT_MINUTE:
			return USECS_PER_MINUTE - local->of_day % USECS_PER_MINUTE;
		case UNIT_HOUR:
			return USECS_PER_HOUR - local->of_day % USECS_PER_HOUR;
		case UNIT_WEEK:
			return midnight +
				   ((7 - j2day(date2j(local->year, local->month, local->day))) %
					7) *
					   USECS_PER_DAY;
		case UNIT_MONTH:
			return midnight_ahead(local, local->year, local->month + 1, 1);
		case UNIT_QUARTER:
			return midnight_ahead(local, local->year,
								  (local->month - 1) / 3 * 3 + 4, 1);
		case UNIT_YEAR:
			return midnight_ahead(local, local->year + 1, 1, 1);
		case UNIT_EPOCH:
		case UNIT_ZONE:
			return FLIP_FOREVER;
		default:
			return midnight;
	}
}

/* How long until a signed amount, cut to whole units toward zero, changes. */
static int64
whole_ahead(int64 amount, int direction, int64 unit)
{
	if (direction < 0)
		amount = -amount;
	return amount >= 0 ? unit - amount % unit : (-amount) % unit + 1;
}

static int64
span_unit_ahead(const Interval *span, int direction, FlipUnit unit)
{
	switch (unit)
	{
		case UNIT_SECOND:
			return whole_ahead(span->time, direction, USECS_PER_SEC);
		case UNIT_MINUTE:
			return whole_ahead(span->time, direction, USECS_PER_MINUTE);
		case UNIT_HOUR:
			return whole_ahead(span->time, direction, USECS_PER_HOUR);
		default:
			return FLIP_FOREVER; /* days and months are constant in a piece */
	}
}

/* Days are of different lengths in different months, from the 29th on. */
static int64
month_shift_ahead(const Local *local)
{
	if (local->day <= 28)
		return midnight_ahead(local, local->year, local->month, 29);
	return USECS_PER_DAY - local->of_day;
}

static Datum
shift_by(Datum from, int32 month, int32 day)
{
	Interval span = { 0, day, month };

	return DirectFunctionCall2(timestamptz_pl_interval, from,
							   IntervalPGetDatum(&span));
}

/* timestamptz ± interval goes by local time: months first, then days, then hours. */
static int64
shift_ahead(const Stage *stage, const FlipValue *args)
{
	Interval *span = DatumGetIntervalP(args[1].value);
	bool minus = strcmp(stage->name, "timestamptz_mi_interval") == 0;
	TimestampTz at = DatumGetTimestampTz(args[0].value);
	int64 ahead;
	int64 more;
	Local local;

	if ((span->month == 0 && span->day == 0) ||
		!to_local(at, session_timezone, &local, &ahead))
		return FLIP_FOREVER;
	if (span->month != 0)
	{
		more = month_shift_ahead(&local);
		ahead = Min(ahead, more);
		at = DatumGetTimestampTz(
			shift_by(args[0].value, minus ? -span->month : span->month, 0));
		more = zone_ahead_out(at, session_timezone);
		ahead = Min(ahead, more);
		more = zone_ahead(at, session_timezone);
		ahead = Min(ahead, more);
	}
	if (span->day != 0)
	{
		at = DatumGetTimestampTz(shift_by(TimestampTzGetDatum(at), 0,
										  minus ? -span->day : span->day));
		more = zone_ahead_out(at, session_timezone);
		ahead = Min(ahead, more);
	}
	return ahead;
}

static int64
shift_local_ahead(const FlipValue *args)
{
	Local local;

	if (DatumGetIntervalP(args[1].value)->month == 0)
		return FLIP_FOREVER;
	set_local(&local, DatumGetTimestamp(args[0].value));
	return month_shift_ahead(&local);
}

/* What of local time a stage depends on by units: fields, truncation, formats. */
static int64
local_unit_ahead(const Stage *stage, Datum at, pg_tz *zone, FlipUnit unit)
{
	Local local;
	int64 zone_lasts = FLIP_FOREVER;
	int64 ahead;

	if (!stage->zoned)
		set_local(&local, DatumGetTimestamp(at));
	else if (!to_local(DatumGetTimestampTz(at), zone, &local, &zone_lasts))
		return FLIP_FOREVER;
	ahead = unit_ahead(&local, unit);
	return Min(ahead, zone_lasts);
}

static FlipUnit
unit_argument(Datum name)
{
	text *unit = DatumGetTextPP(name);

	return pgj_flip_unit(VARDATA_ANY(unit), VARSIZE_ANY_EXHDR(unit));
}

/* age() counts full days back from local midnight, and borrows before the other's time of day. */
static int64
age_ahead(const Stage *stage, const FlipValue *args, int moving)
{
	Datum other = args[1 - moving].value;
	Local there;
	Local here;
	int64 unused;
	int64 ahead = FLIP_FOREVER;
	int64 borrow;
	int64 midnight;

	if (!stage->zoned)
	{
		set_local(&here, DatumGetTimestamp(args[moving].value));
		set_local(&there, DatumGetTimestamp(other));
	}
	else if (!to_local(DatumGetTimestampTz(args[moving].value),
					   session_timezone, &here, &ahead) ||
			 !to_local(DatumGetTimestampTz(other), session_timezone, &there,
					   &unused))
		return FLIP_FOREVER;
	midnight = USECS_PER_DAY - here.of_day;
	ahead = Min(ahead, midnight);
	borrow = there.of_day - here.of_day;
	if (borrow >= 0)
		ahead = Min(ahead, Max(borrow, 1));
	return ahead;
}

/* The days that a span has in all are recounted at their multiples. */
static int64
span_days_ahead(const Interval *span, int direction)
{
	int64 days = (int64) span->month * DAYS_PER_MONTH + span->day;
	int64 all;

	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &all) ||
		pg_add_s64_overflow(all, span->time, &all))
		return FLIP_FOREVER;
	return whole_ahead(all, direction, USECS_PER_DAY);
}

static int
number_sign(const Stage *stage, Datum number)
{
	double value;

	if (strncmp(stage->name, "numeric", 7) == 0)
		value = DatumGetFloat8(
			DirectFunctionCall1(numeric_float8_no_overflow, number));
	else if (strncmp(stage->name, "float8", 6) == 0)
		value = DatumGetFloat8(number);
	else if (strncmp(stage->name, "int8", 4) == 0)
		value = DatumGetInt64(number);
	else
		value = DatumGetInt32(number);
	return value > 0 ? 1 : value < 0 ? -1 : 0;
}

/* Stages over numbers go on as long as their arguments do. */
static int
number_direction(const Stage *stage, int nargs, const FlipValue *args)
{
	int second = nargs > 1 ? args[1].direction : 0;

	switch (stage->kind)
	{
		case STAGE_ADD:
			return args[0].direction + second;
		case STAGE_SUBTRACT:
			return args[0].direction - second;
		case STAGE_MULTIPLY:
			return second != 0
					   ? second * number_sign(stage, args[0].value)
					   : args[0].direction * number_sign(stage, args[1].value);
		case STAGE_DIVIDE:
			return args[0].direction * number_sign(stage, args[1].value);
		default:
			return args[0].direction;
	}
}

static void
advance_time(const Stage *stage, int nargs, const FlipValue *args,
			 FlipValue *result)
{
	pg_tz *zone = session_timezone;
	FlipUnit unit;

	switch (stage->kind)
	{
		case STAGE_SHIFT:
			result->direction = 1;
			result->ahead = shift_ahead(stage, args);
			break;
		case STAGE_SHIFT_LOCAL:
			result->direction = 1;
			result->ahead = shift_local_ahead(args);
			break;
		case STAGE_TO_LOCAL:
			result->direction = 1;
			result->ahead =
				zone_ahead(DatumGetTimestampTz(args[0].value), zone);
			break;
		case STAGE_TO_ZONE:
			result->direction = 1;
			result->ahead = zone_ahead(DatumGetTimestampTz(args[1].value),
									   named_zone(args[0].value));
			break;
		case STAGE_FROM_LOCAL:
			result->direction = 1;
			result->ahead =
				zone_ahead_out(DatumGetTimestampTz(result->value), zone);
			break;
		case STAGE_FROM_ZONE:
			result->direction = 1;
			result->ahead = zone_ahead_out(DatumGetTimestampTz(result->value),
										   named_zone(args[0].value));
			break;
		case STAGE_FIXED_ZONE:
			result->direction = 1;
			break;
		case STAGE_TIME:
		case STAGE_DATE:
			result->direction = stage->kind == STAGE_TIME;
			result->ahead =
				local_unit_ahead(stage, args[0].value, zone, UNIT_DAY);
			break;
		case STAGE_TRUNC:
			if (nargs == 3)
				zone = named_zone(args[2].value);
			/* FALLTHROUGH */
		case STAGE_FIELD:
			unit = unit_argument(args[0].value);
			result->direction = unit == UNIT_EPOCH;
			result->ahead = local_unit_ahead(stage, args[1].value, zone, unit);
			break;
		case STAGE_FORMAT:
		{
			text *format = DatumGetTextPP(args[1].value);

			unit = pgj_flip_format_unit(VARDATA_ANY(format),
										VARSIZE_ANY_EXHDR(format));
			result->ahead = local_unit_ahead(stage, args[0].value, zone, unit);
			break;
		}
		default:
			elog(ERROR, "function %s does not move with time", stage->name);
	}
}

static void
advance_span(const Stage *stage, const FlipValue *args, FlipValue *result)
{
	FlipUnit unit;

	switch (stage->kind)
	{
		case STAGE_MINUS:
			result->direction = args[0].direction - args[1].direction;
			if (result->direction != 0)
				result->ahead = span_days_ahead(
					DatumGetIntervalP(result->value), result->direction);
			break;
		case STAGE_AGE:
			result->direction = args[0].direction - args[1].direction;
			result->ahead = age_ahead(stage, args, args[0].direction == 0);
			break;
		case STAGE_SPAN_PLUS:
			result->direction = strcmp(stage->name, "interval_mi") == 0
									? args[0].direction - args[1].direction
									: args[0].direction + args[1].direction;
			break;
		case STAGE_SPAN_NEGATE:
			result->direction = -args[0].direction;
			break;
		case STAGE_SPAN_JUSTIFY:
			result->direction = args[0].direction;
			result->ahead = span_days_ahead(DatumGetIntervalP(result->value),
											result->direction);
			break;
		case STAGE_TRUNC_SPAN:
		case STAGE_FIELD_SPAN:
			unit = unit_argument(args[0].value);
			if (unit == UNIT_EPOCH)
				result->direction = args[1].direction;
			else
				result->ahead = span_unit_ahead(
					DatumGetIntervalP(args[1].value), args[1].direction, unit);
			break;
		default:
			elog(ERROR, "function %s does not move with time", stage->name);
	}
}

static void
advance_time_of_day(const Stage *stage, const FlipValue *args,
					FlipValue *result)
{
	switch (stage->kind)
	{
		case STAGE_FIELD_TIME:
		{
			Interval span = { DatumGetTimeADT(args[1].value), 0, 0 };
			FlipUnit unit = unit_argument(args[0].value);

			if (unit == UNIT_EPOCH)
				result->direction = args[1].direction;
			else
				result->ahead = span_unit_ahead(&span, args[1].direction, unit);
			break;
		}
		case STAGE_TIME_SHIFT:
			result->direction = args[0].direction;
			result->ahead = USECS_PER_DAY - DatumGetTimeADT(result->value);
			break;
		case STAGE_TIME_MINUS:
			result->direction = args[0].direction - args[1].direction;
			break;
		case STAGE_TIME_SPAN:
			result->direction = args[0].direction;
			break;
		default:
			elog(ERROR, "function %s does not move with time", stage->name);
	}
}

void
pgj_flip_advance(const Stage *stage, int nargs, const FlipValue *args,
				 FlipValue *result)
{
	result->direction = 0;
	result->ahead = FLIP_FOREVER;
	/* an infinite interval takes a time to where it stays */
	if ((stage->kind == STAGE_SHIFT || stage->kind == STAGE_SHIFT_LOCAL) &&
		TIMESTAMP_NOT_FINITE(DatumGetTimestamp(result->value)))
		return;
	switch (stage->kind)
	{
		case STAGE_MINUS:
		case STAGE_AGE:
		case STAGE_SPAN_PLUS:
		case STAGE_SPAN_NEGATE:
		case STAGE_SPAN_JUSTIFY:
		case STAGE_TRUNC_SPAN:
		case STAGE_FIELD_SPAN:
			advance_span(stage, args, result);
			break;
		case STAGE_FIELD_TIME:
		case STAGE_TIME_SHIFT:
		case STAGE_TIME_MINUS:
		case STAGE_TIME_SPAN:
			advance_time_of_day(stage, args, result);
			break;
		case STAGE_ADD:
		case STAGE_SUBTRACT:
		case STAGE_MULTIPLY:
		case STAGE_DIVIDE:
		case STAGE_SAME:
			result->direction = number_direction(stage, nargs, args);
			break;
		default:
			advance_time(stage, nargs, args, result);
	}
	Assert(result->ahead > 0);
}
