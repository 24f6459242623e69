/*-------------------------------------------------------------------------
 *
 * flip_stage.c
 *	  What is known of the server's functions on times when a program is made: how
 *	  their results move with the clock.
 *
 * Each is constant or of slope 1 within pieces, if its arguments are; for how long
 * a piece goes on is found out when the program is run (flip_piece.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/formatting.h"

#include "segment/flip.h"

static const Stage stages[] = {
	{ "timestamptz_pl_interval", STAGE_SHIFT, true },
	{ "timestamptz_mi_interval", STAGE_SHIFT, true },
	{ "timestamp_pl_interval", STAGE_SHIFT_LOCAL, false },
	{ "timestamp_mi_interval", STAGE_SHIFT_LOCAL, false },
	{ "timestamp_mi", STAGE_MINUS, false },
	{ "timestamptz_timestamp", STAGE_TO_LOCAL, true },
	{ "timestamptz_zone", STAGE_TO_ZONE, false },
	{ "timestamptz_izone", STAGE_FIXED_ZONE, false },
	{ "timestamp_timestamptz", STAGE_FROM_LOCAL, true },
	{ "timestamp_zone", STAGE_FROM_ZONE, false },
	{ "timestamp_izone", STAGE_FIXED_ZONE, false },
	{ "timestamptz_date", STAGE_DATE, true },
	{ "timestamp_date", STAGE_DATE, false },
	{ "timestamptz_time", STAGE_TIME, true },
	{ "timestamptz_timetz", STAGE_TIME, true },
	{ "timestamp_time", STAGE_TIME, false },
	{ "timestamptz_trunc", STAGE_TRUNC, true },
	{ "timestamptz_trunc_zone", STAGE_TRUNC, true },
	{ "timestamp_trunc", STAGE_TRUNC, false },
	{ "interval_trunc", STAGE_TRUNC_SPAN, false },
	{ "extract_timestamptz", STAGE_FIELD, true },
	{ "timestamptz_part", STAGE_FIELD, true },
	{ "extract_timestamp", STAGE_FIELD, false },
	{ "timestamp_part", STAGE_FIELD, false },
	{ "extract_interval", STAGE_FIELD_SPAN, false },
	{ "interval_part", STAGE_FIELD_SPAN, false },
	{ "extract_time", STAGE_FIELD_TIME, false },
	{ "time_part", STAGE_FIELD_TIME, false },
	{ "timestamptz_age", STAGE_AGE, true },
	{ "timestamp_age", STAGE_AGE, false },
	{ "interval_pl", STAGE_SPAN_PLUS, false },
	{ "interval_mi", STAGE_SPAN_PLUS, false },
	{ "interval_um", STAGE_SPAN_NEGATE, false },
	{ "interval_justify_hours", STAGE_SPAN_JUSTIFY, false },
	{ "interval_justify_days", STAGE_SPAN_JUSTIFY, false },
	{ "interval_justify_interval", STAGE_SPAN_JUSTIFY, false },
	{ "time_pl_interval", STAGE_TIME_SHIFT, false },
	{ "time_mi_interval", STAGE_TIME_SHIFT, false },
	{ "time_mi_time", STAGE_TIME_MINUS, false },
	{ "time_interval", STAGE_TIME_SPAN, false },
	{ "timestamptz_to_char", STAGE_FORMAT, true },
	{ "timestamp_to_char", STAGE_FORMAT, false },
	/* stable, but for a given time zone functions of their arguments */
	{ "date_timestamptz", STAGE_PURE, true },
	{ "extract_date", STAGE_PURE, false },
	{ "date_pli", STAGE_PURE, false },
	{ "date_mii", STAGE_PURE, false },
	{ "date_mi", STAGE_PURE, false },
	{ "date_timestamp", STAGE_PURE, false },
	{ "date_pl_interval", STAGE_PURE, false },
	{ "date_mi_interval", STAGE_PURE, false },
	{ "numeric_add", STAGE_ADD, false },
	{ "numeric_sub", STAGE_SUBTRACT, false },
	{ "numeric_mul", STAGE_MULTIPLY, false },
	{ "numeric_div", STAGE_DIVIDE, false },
	{ "float8pl", STAGE_ADD, false },
	{ "float8mi", STAGE_SUBTRACT, false },
	{ "float8mul", STAGE_MULTIPLY, false },
	{ "float8div", STAGE_DIVIDE, false },
	{ "int4pl", STAGE_ADD, false },
	{ "int4mi", STAGE_SUBTRACT, false },
	{ "int4mul", STAGE_MULTIPLY, false },
	{ "int4div", STAGE_DIVIDE, false },
	{ "int8pl", STAGE_ADD, false },
	{ "int8mi", STAGE_SUBTRACT, false },
	{ "int8mul", STAGE_MULTIPLY, false },
	{ "int8div", STAGE_DIVIDE, false },
	{ "numeric_floor", STAGE_SAME, false },
	{ "numeric_ceil", STAGE_SAME, false },
	{ "numeric_round", STAGE_SAME, false },
	{ "numeric_trunc", STAGE_SAME, false },
	{ "dfloor", STAGE_SAME, false },
	{ "dceil", STAGE_SAME, false },
	{ "dround", STAGE_SAME, false },
	{ "dtrunc", STAGE_SAME, false },
	{ "numeric_int4", STAGE_SAME, false },
	{ "numeric_int8", STAGE_SAME, false },
	{ "numeric_float8", STAGE_SAME, false },
	{ "float8_numeric", STAGE_SAME, false },
	{ "timestamptz_scale", STAGE_SAME, false },
	{ "timestamp_scale", STAGE_SAME, false },
	{ "dtoi4", STAGE_SAME, false },
	{ "dtoi8", STAGE_SAME, false },
	{ "int4_numeric", STAGE_SAME, false },
	{ "int8_numeric", STAGE_SAME, false },
	{ "i4tod", STAGE_SAME, false },
	{ "i8tod", STAGE_SAME, false },
	{ "int48", STAGE_SAME, false },
	{ "int84", STAGE_SAME, false }
};

const Stage *
pgj_flip_stage(const char *name)
{
	for (int i = 0; i < lengthof(stages); i++)
	{
		if (strcmp(stages[i].name, name) == 0)
			return &stages[i];
	}
	return NULL;
}

/* ---------- units ---------- */

typedef struct UnitName
{
	const char *name;
	FlipUnit unit;
} UnitName;

static const UnitName units[] = { { "second", UNIT_SECOND },
								  { "seconds", UNIT_SECOND },
								  { "minute", UNIT_MINUTE },
								  { "minutes", UNIT_MINUTE },
								  { "hour", UNIT_HOUR },
								  { "hours", UNIT_HOUR },
								  { "day", UNIT_DAY },
								  { "days", UNIT_DAY },
								  { "dow", UNIT_DAY },
								  { "isodow", UNIT_DAY },
								  { "doy", UNIT_DAY },
								  { "week", UNIT_WEEK },
								  { "weeks", UNIT_WEEK },
								  { "isoyear", UNIT_WEEK },
								  { "month", UNIT_MONTH },
								  { "months", UNIT_MONTH },
								  { "quarter", UNIT_QUARTER },
								  { "year", UNIT_YEAR },
								  { "years", UNIT_YEAR },
								  { "decade", UNIT_YEAR },
								  { "century", UNIT_YEAR },
								  { "millennium", UNIT_YEAR },
								  { "epoch", UNIT_EPOCH },
								  { "timezone", UNIT_ZONE },
								  { "timezone_hour", UNIT_ZONE },
								  { "timezone_minute", UNIT_ZONE } };

FlipUnit
pgj_flip_unit(const char *name, int len)
{
	for (int i = 0; i < lengthof(units); i++)
	{
		if (strlen(units[i].name) == len &&
			pg_strncasecmp(units[i].name, name, len) == 0)
			return units[i].unit;
	}
	return UNIT_BAD;
}

/* How often what to_char() makes may change. */
FlipUnit
pgj_flip_format_unit(const char *format, int len)
{
	static const char *const fine[] = { "ss", "ms", "us", "ff" };
	static const char *const clock[] = { "hh",	"mi",  "am", "pm",
										 "a.m", "p.m", "tz", "of" };
	char *folded = asc_tolower(format, len);
	FlipUnit unit = UNIT_DAY;

	for (int i = 0; i < lengthof(clock); i++)
	{
		if (strstr(folded, clock[i]) != NULL)
			unit = UNIT_MINUTE;
	}
	for (int i = 0; i < lengthof(fine); i++)
	{
		if (strstr(folded, fine[i]) != NULL)
			unit = UNIT_BAD;
	}
	pfree(folded);
	return unit;
}

/* ---------- classes ---------- */

/* Which one of the arguments moves within a piece; -1: several do. */
static int
moving_argument(int nargs, const FlipClass *classes)
{
	int moving = -1;

	for (int i = 0; i < nargs; i++)
	{
		if (classes[i] < FLIP_LINEAR)
			continue;
		if (moving >= 0)
			return -1;
		moving = i;
	}
	return moving;
}

static FlipClass
field_class(StageKind kind, const char *field)
{
	FlipUnit unit =
		field == NULL ? UNIT_BAD : pgj_flip_unit(field, strlen(field));

	switch (unit)
	{
		case UNIT_BAD:
			return FLIP_UNKNOWN;
		case UNIT_EPOCH:
			return kind == STAGE_TRUNC || kind == STAGE_TRUNC_SPAN
					   ? FLIP_UNKNOWN
					   : FLIP_MONO;
		case UNIT_SECOND:
			return kind == STAGE_TRUNC || kind == STAGE_TRUNC_SPAN
					   ? FLIP_STEP
					   : FLIP_UNKNOWN;
		default:
			return FLIP_STEP;
	}
}

/* The class of a call with linear arguments. */
static FlipClass
linear_class(const Stage *stage, int moving, const char **texts)
{
	switch (stage->kind)
	{
		case STAGE_SHIFT:
		case STAGE_SHIFT_LOCAL:
		case STAGE_TO_LOCAL:
		case STAGE_FROM_LOCAL:
		case STAGE_TIME:
		case STAGE_TIME_SHIFT:
			return moving == 0 ? FLIP_LINEAR : FLIP_UNKNOWN;
		case STAGE_TO_ZONE:
		case STAGE_FROM_ZONE:
		case STAGE_FIXED_ZONE:
			return moving == 1 ? FLIP_LINEAR : FLIP_UNKNOWN;
		case STAGE_AGE:
			return moving >= 0 ? FLIP_LINEAR : FLIP_UNKNOWN;
		case STAGE_MINUS:
		case STAGE_SPAN_PLUS:
		case STAGE_SPAN_NEGATE:
		case STAGE_SPAN_JUSTIFY:
		case STAGE_TIME_MINUS:
		case STAGE_TIME_SPAN:
			return FLIP_LINEAR;
		case STAGE_DATE:
			return moving == 0 ? FLIP_STEP : FLIP_UNKNOWN;
		case STAGE_TRUNC:
		case STAGE_TRUNC_SPAN:
		case STAGE_FIELD:
		case STAGE_FIELD_SPAN:
		case STAGE_FIELD_TIME:
			return moving == 1 ? field_class(stage->kind, texts[0])
							   : FLIP_UNKNOWN;
		case STAGE_SAME:
			return moving == 0 ? FLIP_MONO : FLIP_UNKNOWN;
		case STAGE_FORMAT:
			return moving == 0 && texts[1] != NULL &&
						   pgj_flip_format_unit(texts[1], strlen(texts[1])) !=
							   UNIT_BAD
					   ? FLIP_STEP
					   : FLIP_UNKNOWN;
		default:
			return FLIP_UNKNOWN;
	}
}

FlipClass
pgj_flip_class(const Stage *stage, int nargs, const FlipClass *classes,
			   const char **texts)
{
	FlipClass most = FLIP_FIXED;
	int moving = moving_argument(nargs, classes);

	for (int i = 0; i < nargs; i++)
		most = Max(most, classes[i]);
	if (most <= FLIP_STEP)
		return most;
	if (stage == NULL || most == FLIP_UNKNOWN)
		return FLIP_UNKNOWN;
	if (most == FLIP_LINEAR)
		return linear_class(stage, moving, texts);
	if (moving < 0)
		return FLIP_UNKNOWN;
	switch (stage->kind)
	{
		case STAGE_ADD:
		case STAGE_SUBTRACT:
		case STAGE_MULTIPLY:
			return FLIP_MONO;
		case STAGE_DIVIDE:
		case STAGE_SAME:
			return moving == 0 ? FLIP_MONO : FLIP_UNKNOWN;
		default:
			return FLIP_UNKNOWN;
	}
}
