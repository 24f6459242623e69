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

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/zone.h"

PG_FUNCTION_INFO_V1(pgj_sql_local_instant);
PG_FUNCTION_INFO_V1(pgj_sql_local_next);
PG_FUNCTION_INFO_V1(pgj_sql_local_period);

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

static pg_tz *
zone_argument(Datum name)
{
	pg_tz *zone = pgj_zone(TextDatumGetCString(name));

	if (zone == NULL)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time zone \"%s\" does not exist",
					   TextDatumGetCString(name)));
	return zone;
}

/* Further out a time cannot be told from what comes after it. */
static int64
time_argument(int64 at)
{
	if (!pgj_time_in_range(at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("time out of range"));
	return at;
}

/* journey._local_instant(zone text, local timestamp) returns timestamptz */
Datum
pgj_sql_local_instant(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(
		pgj_zone_instant(zone_argument(PG_GETARG_DATUM(0)),
						 time_argument(PG_GETARG_TIMESTAMP(1))));
}

/*
 * journey._local_next(zone text, after timestamptz, local time, days integer)
 * returns timestamptz
 */
Datum
pgj_sql_local_next(PG_FUNCTION_ARGS)
{
	pg_tz *zone = zone_argument(PG_GETARG_DATUM(0));
	Zones zones = { .n = 1, .zone = &zone };
	int days = PG_GETARG_INT32(3);

	if ((days & PGJ_ALL_DAYS) == 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("no day is given"));
	PG_RETURN_TIMESTAMPTZ(pgj_zone_next(&zones,
										time_argument(PG_GETARG_TIMESTAMPTZ(1)),
										PG_GETARG_TIMEADT(2), days));
}

/*
 * journey._local_period(zones text[], period text, at timestamptz) returns
 * timestamptz[]
 */
Datum
pgj_sql_local_period(PG_FUNCTION_ARGS)
{
	static const char *const words[] = { "day", "week", "month" };
	const char *word = text_to_cstring(PG_GETARG_TEXT_PP(1));
	Zones zones = { 0 };
	Datum *names;
	TimestampTz bounds[2];
	Datum values[2];
	int period = 0;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &names, NULL, &zones.n);
	zones.zone = palloc_array(pg_tz *, zones.n);
	for (int i = 0; i < zones.n; i++)
		zones.zone[i] = zone_argument(names[i]);
	while (period < lengthof(words) && strcmp(word, words[period]) != 0)
		period++;
	if (zones.n == 0 || period == lengthof(words))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("no zone, or no period \"%s\"", word));
	pgj_zone_period(&zones, time_argument(PG_GETARG_TIMESTAMPTZ(2)),
					(ZonePeriod) period, &bounds[0], &bounds[1]);
	for (int i = 0; i < 2; i++)
		values[i] = TimestampTzGetDatum(bounds[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, 2, TIMESTAMPTZOID, 8,
										  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}
