/*-------------------------------------------------------------------------
 *
 * flip_plain.c
 *	  The meeting of a time with now() ± interval, which is what most conditions
 *	  on time are about, without a search.
 *
 * Hours are of one length.  So are days, as long as the zone's clocks do not
 * change anywhere between the times concerned: then there is nothing to solve.
 * Else, and for months, the meeting lies within bounds (flip_bound.c), and what is
 * far ahead or over is settled by them.  Only what lies within is left to search.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/int.h"
#include "utils/timestamp.h"

#include "segment/flip.h"

#define MARGIN (26 * USECS_PER_HOUR) /* around a change of the clocks */

static bool
span_length(const Interval *span, int sign, int64 *days, int64 *length)
{
	return !pg_mul_s64_overflow(sign * (int64) span->day, USECS_PER_DAY,
								days) &&
		   !pg_mul_s64_overflow(sign, span->time, length) &&
		   !pg_add_s64_overflow(*length, *days, length);
}

/* Are days of 24 hours for all times from "from" to "to", moved by days and length? */
static bool
even_days(TimestampTz from, TimestampTz to, int64 days, int64 length)
{
	int64 low = Min(Min(days, length), 0);
	int64 high = Max(Max(days, length), 0);

	if (pg_add_s64_overflow(low, -MARGIN, &low) ||
		pg_add_s64_overflow(high, MARGIN, &high) ||
		pg_add_s64_overflow(from, low, &low) ||
		pg_add_s64_overflow(to, high, &high) || !IS_VALID_TIMESTAMP(low) ||
		!IS_VALID_TIMESTAMP(high))
		return false;
	return pgj_flip_zone_steady(low, high);
}

/* Bounds settle what is over and what is far. */
static FlipMeeting
meet_by_bounds(TimestampTz now, TimestampTz x, const Interval *span, int sign,
			   TimestampTz *at)
{
	double distance;
	double drift;
	double ahead;

	pgj_flip_span(span, &distance, &drift);
	drift += FLIP_MARGIN;
	ahead = (double) x - sign * distance - (double) now;
	if (ahead < -drift)
		return MEET_NEVER;
	ahead -= drift;
	if (!(ahead > FLIP_FAR))
		return MEET_UNKNOWN;
	*at = now + (int64) Min(ahead, (double) FLIP_HORIZON);
	return MEET_NOT_BEFORE;
}

FlipMeeting
pgj_flip_meet(TimestampTz now, TimestampTz x, const Interval *span, int sign,
			  TimestampTz *at)
{
	int64 days;
	int64 length;
	TimestampTz last;

	if (TIMESTAMP_NOT_FINITE(x))
		return MEET_NEVER;
	if (span == NULL)
		*at = x;
	else
	{
		if (span->month != 0 || !span_length(span, sign, &days, &length) ||
			pg_sub_s64_overflow(x, length, at))
			return meet_by_bounds(now, x, span, sign, at);
		/* having met, they may meet again for as long as days can drift */
		last = *at;
		if (span->day != 0 && last <= now)
		{
			if (meet_by_bounds(now, x, span, sign, at) == MEET_NEVER)
				return MEET_NEVER;
			last = now + FLIP_DAY_DRIFT + FLIP_MARGIN;
		}
		if (span->day != 0 && !even_days(now, last, days, length))
			return meet_by_bounds(now, x, span, sign, at);
		*at = x - length;
	}
	if (*at < now)
		return MEET_NEVER;
	if (*at - now > FLIP_HORIZON)
	{
		*at = now + FLIP_HORIZON;
		return MEET_NOT_BEFORE;
	}
	return MEET_AT;
}
