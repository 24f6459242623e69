/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  The one place that reads the clock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
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
