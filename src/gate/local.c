/*-------------------------------------------------------------------------
 *
 * local.c
 *	  Local times: what a clock shows, and when it shows it.
 *
 * A zone's offset is constant between changes.  A local time is looked for in
 * these stretches in order: where the clock goes back it is found first in the
 * earlier one; where it jumps over it, the later stretch begins behind it, and
 * its beginning is the answer.  So every local time has exactly one instant,
 * and later ones never have an earlier one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "gate/zone.h"

/* Further than any clock ever was from UTC. */
#define MAX_OFFSET (INT64CONST(26) * USECS_PER_HOUR)

static int64
floor_divide(int64 a, int64 b)
{
	return a / b - (a % b < 0);
}

static pg_time_t
to_unix(TimestampTz at)
{
	return floor_divide(at, USECS_PER_SEC) +
		   (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (pg_time_t) SECS_PER_DAY;
}

static TimestampTz
from_unix(pg_time_t at)
{
	return (at - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
					 (pg_time_t) SECS_PER_DAY) *
		   USECS_PER_SEC;
}

static int64
offset_at(pg_tz *zone, TimestampTz at)
{
	pg_time_t time = to_unix(at);
	struct pg_tm *tm = pg_localtime(&time, zone);

	return tm == NULL ? 0 : tm->tm_gmtoff * USECS_PER_SEC;
}

Timestamp
pgj_zone_local(pg_tz *zone, TimestampTz at)
{
	return at + offset_at(zone, at);
}

TimestampTz
pgj_zone_next_change(pg_tz *zone, TimestampTz at)
{
	pg_time_t time = to_unix(at);
	pg_time_t boundary;
	long before, after;
	int before_dst, after_dst;

	if (pg_next_dst_boundary(&time, &before, &before_dst, &boundary, &after,
							 &after_dst, zone) != 1)
		return DT_NOEND;
	return from_unix(boundary);
}

TimestampTz
pgj_zone_instant(pg_tz *zone, Timestamp local)
{
	TimestampTz start = local - MAX_OFFSET;

	for (;;)
	{
		TimestampTz at = local - offset_at(zone, start);
		TimestampTz end = pgj_zone_next_change(zone, start);

		if (at < end)
			return Max(at, start);
		start = end;
	}
}

/* The day of a local time, as date2j less the epoch, and back. */
static int64
day_of(Timestamp local)
{
	return floor_divide(local, USECS_PER_DAY);
}

int
pgj_weekday(Timestamp local)
{
	int64 day = day_of(local) + 5; /* 2000-01-01 was a Saturday */

	return (int) (day - 7 * floor_divide(day, 7));
}

/* The first day of the period a day is in, or of one "step" periods later. */
static int64
first_day(int64 day, ZonePeriod period, int step)
{
	int year, month, mday;

	switch (period)
	{
		case ZONE_DAY:
			return day + step;
		case ZONE_WEEK:
			return day - pgj_weekday(day * USECS_PER_DAY) + 7 * step;
		case ZONE_MONTH:
			j2date((int) day + POSTGRES_EPOCH_JDATE, &year, &month, &mday);
			month += step - 1;
			year += (int) floor_divide(month, 12);
			month -= 12 * (int) floor_divide(month, 12);
			return date2j(year, month + 1, 1) - POSTGRES_EPOCH_JDATE;
	}
	pg_unreachable();
}

/*
 * A clock that goes back over midnight shows the old day again; the new period
 * has begun all the same.
 */
void
pgj_zone_period_in(pg_tz *zone, TimestampTz at, ZonePeriod period,
				   TimestampTz *start, TimestampTz *end)
{
	int64 day = day_of(pgj_zone_local(zone, at));
	int step = 0;

	*start = pgj_zone_instant(zone, first_day(day, period, 0) * USECS_PER_DAY);
	for (;;)
	{
		*end = pgj_zone_instant(zone,
								first_day(day, period, ++step) * USECS_PER_DAY);
		if (*end > at)
			return;
		*start = *end;
	}
}

void
pgj_zone_period(const Zones *zones, TimestampTz at, ZonePeriod period,
				TimestampTz *start, TimestampTz *end)
{
	pgj_zone_period_in(zones->zone[0], at, period, start, end);
	for (int i = 1; i < zones->n; i++)
	{
		TimestampTz other_start, other_end;

		pgj_zone_period_in(zones->zone[i], at, period, &other_start,
						   &other_end);
		*start = Min(*start, other_start);
		*end = Max(*end, other_end);
	}
}

TimestampTz
pgj_zone_next(const Zones *zones, TimestampTz after, TimeADT time, int days)
{
	pg_tz *zone = zones->zone[0];
	int64 day = day_of(pgj_zone_local(zone, after)) - 1;

	Assert((days & PGJ_ALL_DAYS) != 0);
	for (;; day++)
	{
		TimestampTz at;

		if ((days & (1 << pgj_weekday(day * USECS_PER_DAY))) == 0)
			continue;
		/* a day that the zone leaves out */
		at = pgj_zone_instant(zone, day * USECS_PER_DAY);
		if (day_of(pgj_zone_local(zone, at)) != day)
			continue;
		at = pgj_zone_instant(zone, day * USECS_PER_DAY + time);
		if (at > after)
			return at;
	}
}
