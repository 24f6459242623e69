/*-------------------------------------------------------------------------
 *
 * script_step.c
 *	  Numbers, durations and times of day in a script.
 *
 * Whatever a script says that is neither a name nor an expression.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "script/script_compile.h"

static const char *const day_names[] = { "monday",	 "tuesday", "wednesday",
										 "thursday", "friday",	"saturday",
										 "sunday" };

Interval *
pgj_script_check_interval(Compilation *c, const ScriptText *text)
{
	const char *problem = NULL;
	Interval *result;

	if (text == NULL)
		return NULL;
	result = pgj_interval_parse(text->text, &problem);
	if (result == NULL)
		pgj_problem_add(
			c, text->offset, ERRCODE_INVALID_PARAMETER_VALUE,
			psprintf("%s: '%s'", problem, text->text),
			pstrdup(
				"Write a duration such as '90 minutes', '1 day' or '2 weeks'."));
	return result;
}

double
pgj_script_number(const ScriptText *text)
{
	return strtod(text->text, NULL); /* the scanner has seen to its form */
}

int
pgj_script_check_whole(Compilation *c, const ScriptText *text, const char *what,
					   int least, int most, int otherwise)
{
	double value;

	if (text == NULL)
		return otherwise;
	value = pgj_script_number(text);
	if (value >= least && value <= most && value == floor(value))
		return (int) value;
	pgj_problem_add(c, text->offset, ERRCODE_INVALID_PARAMETER_VALUE,
					psprintf("a %s must be a whole number from %d to %d", what,
							 least, most),
					NULL);
	return otherwise;
}

/*
 * A message expires so long after its run has come to the step, and what it may
 * wait for counts from there, too.
 */
static void
check_before_expiry(Compilation *c, const StepRow *row, const ScriptText *text,
					const Interval *within)
{
	if (within == NULL || row->duration == NULL ||
		DatumGetInt32(
			DirectFunctionCall2(interval_cmp, IntervalPGetDatum(within),
								IntervalPGetDatum(row->duration))) <= 0)
		return;
	pgj_problem_add(
		c, text->offset, ERRCODE_INVALID_PARAMETER_VALUE,
		psprintf("the message expires after '%s', before WITHIN '%s' is over",
				 row->step->duration->text, text->text),
		pstrdup(
			"Both count from when the run comes to the step: let EXPIRES be no less."));
}

/* hh:mm or hh:mm:ss, on a clock of 24 hours */
static bool
parse_time_of_day(const char *text, TimeADT *result)
{
	int part[3] = { 0, 0, 0 };
	int n = 0;

	for (;; n++)
	{
		int digits;

		for (digits = 0; *text >= '0' && *text <= '9'; text++, digits++)
		{
			if (digits == 2)
				return false;
			part[n] = part[n] * 10 + (*text - '0');
		}
		if (digits == 0 || (n > 0 && digits != 2))
			return false;
		if (*text != ':' || n == 2)
			break;
		text++;
	}
	if (*text != '\0' || n == 0 || part[0] > 23 || part[1] > 59 || part[2] > 59)
		return false;
	*result = part[0] * USECS_PER_HOUR + part[1] * USECS_PER_MINUTE +
			  part[2] * USECS_PER_SEC;
	return true;
}

/* The number of a day, from 1; 0 if it is none. */
static int
day_number(const char *name)
{
	for (int i = 0; i < lengthof(day_names); i++)
	{
		if (strcmp(name, day_names[i]) == 0 ||
			(strlen(name) == 3 && strncmp(name, day_names[i], 3) == 0))
			return i + 1;
	}
	return 0;
}

static void
check_time_of_day(Compilation *c, StepRow *row)
{
	const ScriptText *time = row->step->time;
	const ScriptText *day;
	List *names = NIL;

	if (!parse_time_of_day(time->text, &row->local_time))
		pgj_problem_add(
			c, time->offset, ERRCODE_INVALID_DATETIME_FORMAT,
			psprintf("'%s' is no time of day", time->text),
			pstrdup(
				"Write it as '09:00', on a clock of 24 hours; an instant starts with a date."));

	for (int i = 0; i < lengthof(day_names); i++)
	{
		names = lappend(names, pnstrdup(day_names[i], 3));
		names = lappend(names, unconstify(char *, day_names[i]));
	}
	for (day = row->step->days; day; day = day->next)
	{
		int number = day_number(day->text);

		if (number == 0)
			pgj_problem_add(c, day->offset, ERRCODE_INVALID_PARAMETER_VALUE,
							psprintf("\"%s\" is no day of the week", day->text),
							pgj_script_hint(day->text, names));
		else if (row->days[number])
			pgj_problem_add(c, day->offset, ERRCODE_SYNTAX_ERROR,
							psprintf("day \"%s\" is named twice", day->text),
							NULL);
		row->days[number] = true;
	}
	row->days[0] = row->step->days != NULL;
}

void
pgj_script_check_steps(Compilation *c)
{
	for (int i = 0; i < c->nsteps; i++)
	{
		StepRow *row = &c->steps[i];
		const ScriptStep *step = row->step;

		row->duration = pgj_script_check_interval(c, step->duration);
		row->priority = pgj_script_check_whole(
			c, step->priority, "priority", 0, SCRIPT_MAX_PRIORITY, c->priority);
		row->capped_within = pgj_script_check_interval(c, step->capped_within);
		row->best_time_within =
			pgj_script_check_interval(c, step->best_time_within);
		check_before_expiry(c, row, step->capped_within, row->capped_within);
		check_before_expiry(c, row, step->best_time_within,
							row->best_time_within);
		if (step->time)
			check_time_of_day(c, row);
	}
}
