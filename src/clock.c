/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  Times, and the one place that reads the clock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "pg_journey.h"

TimestampTz
pgj_clock_now(void)
{
	return GetCurrentTimestamp();
}

TimestampTz
pgj_clock_statement(void)
{
	return GetCurrentStatementStartTimestamp();
}

/* the years 1 to 9999, in UTC */
#define FIRST_TIME \
	((TimestampTz) (date2j(1, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)
#define END_OF_TIME \
	((TimestampTz) (date2j(10000, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY)

bool
pgj_time_in_range(TimestampTz at)
{
	return at >= FIRST_TIME && at < END_OF_TIME;
}

TimestampTz
pgj_time_plus(TimestampTz at, const Interval *span)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(at),
												   IntervalPGetDatum(span)));
}

TimestampTz
pgj_time_minus(TimestampTz at, const Interval *span)
{
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
												   TimestampTzGetDatum(at),
												   IntervalPGetDatum(span)));
}
