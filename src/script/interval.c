/*-------------------------------------------------------------------------
 *
 * interval.c
 *	  Interval literals of a script.
 *
 * interval_in() throws for what is wrong; a script's errors are reported all
 * at once, so the steps of interval_in() are taken here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "script/script_compile.h"

#define MAX_YEARS 100

Interval *
pgj_interval_parse(const char *text, const char **problem)
{
	char buffer[256];
	char *field[MAXDATEFIELDS];
	int ftype[MAXDATEFIELDS];
	int nfields;
	int dtype;
	int error;
	struct pg_itm_in parts;
	Interval *result = palloc(sizeof(Interval));
	int64 shortest;

	memset(&parts, 0, sizeof(parts));
	error = ParseDateTime(text, buffer, sizeof(buffer), field, ftype,
						  MAXDATEFIELDS, &nfields);
	if (error == 0)
		error = DecodeInterval(field, ftype, nfields, INTERVAL_FULL_RANGE,
							   &dtype, &parts);
	if (error == DTERR_BAD_FORMAT)
		error = DecodeISO8601Interval(unconstify(char *, text), &dtype, &parts);
	/* PostgreSQL 17 knows an infinite one; it is no duration */
	if (error == 0 && dtype != DTK_DELTA)
		error = DTERR_BAD_FORMAT;
	if (error == DTERR_FIELD_OVERFLOW || error == DTERR_INTERVAL_OVERFLOW ||
		(error == 0 && itmin2interval(&parts, result) != 0))
	{
		*problem = "the interval is out of range";
		return NULL;
	}
	if (error != 0)
	{
		*problem = "invalid interval";
		return NULL;
	}

	if (result->month > MAX_YEARS * 12 || result->day > MAX_YEARS * 366 ||
		result->time > MAX_YEARS * 366 * USECS_PER_DAY)
	{
		*problem = "the interval is longer than 100 years";
		return NULL;
	}

	/*
	 * A month may have 28 days and a day 23 hours; what is to be positive must
	 * be so then too.  (The bounds above keep this from overflowing, but for
	 * negative parts, which are refused first.)
	 */
	if (result->month < -MAX_YEARS * 12 || result->day < -MAX_YEARS * 366 ||
		result->time < -MAX_YEARS * 366 * USECS_PER_DAY)
		shortest = -1;
	else
	{
		int64 days =
			result->day + (int64) result->month * (result->month > 0 ? 28 : 31);

		shortest = result->time + days * (days > 0 ? 23 : 25) * USECS_PER_HOUR;
	}
	if (shortest <= 0)
	{
		*problem = "the interval must be greater than zero";
		return NULL;
	}
	return result;
}
