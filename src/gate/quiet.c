/*-------------------------------------------------------------------------
 *
 * quiet.c
 *	  Quiet hours: times of the contact's day at which nothing is sent.
 *
 * A rule is about what the contact's clock shows: it is in force at an instant
 * when the time of day lies in [starts, ends), or in [starts, 24:00) or [00:00,
 * ends) where that crosses midnight, and the day on which the window starts is
 * one of its days.  So where the clock goes back, both hours it shows twice are
 * quiet, and where it jumps over the end, quiet hours end with the jump.  An
 * exception (action send) lifts all others while it is in force.
 *
 * Somebody who may be in several zones is spared in all of them, and a rule for
 * a country is kept for everybody who may be there; an exception is used only
 * by those who are certainly there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/value.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/argument.h"
#include "gate/check.h"
#include "gate/zone.h"
#include "measure/fraction.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_quiet_until);
PG_FUNCTION_INFO_V1(pgj_sql_check_quiet_week);

/* All rules repeat by the week; the clock may change in one of them. */
#define MAX_SEARCH (INT64CONST(15) * USECS_PER_DAY)

typedef enum QuietAction
{
	QUIET_DEFER,
	QUIET_SKIP,
	QUIET_SEND
} QuietAction;

typedef struct Names
{
	int n; /* -1: all */
	char **name;
} Names;

typedef struct QuietRule
{
	char *name;
	TimeADT starts;
	TimeADT ends; /* not after starts: on the next day */
	int days;	  /* bit 0: Monday */
	Names channels;
	Names topics;
	Names countries;
	QuietAction action;
	Interval *jitter;
} QuietRule;

static Names
read_names(MemoryContext context, uint64 row, int column)
{
	Names names = { -1, NULL };
	MemoryContext old;
	Datum *values;

	if (pgj_row_null(row, column))
		return names;
	old = MemoryContextSwitchTo(context);
	deconstruct_array(DatumGetArrayTypeP(pgj_row_value(row, column)), TEXTOID,
					  -1, false, TYPALIGN_INT, &values, NULL, &names.n);
	names.name = palloc_array(char *, names.n);
	for (int i = 0; i < names.n; i++)
		names.name[i] = TextDatumGetCString(values[i]);
	MemoryContextSwitchTo(old);
	return names;
}

static QuietAction
action_of(const char *word)
{
	if (strcmp(word, "skip") == 0)
		return QUIET_SKIP;
	return strcmp(word, "send") == 0 ? QUIET_SEND : QUIET_DEFER;
}

/* Read the rules; outside SPI's memory. */
static List *
read_rules(const Site *site)
{
	static KeptPlan plan = {
		.sql =
			"SELECT q.name, q.starts, q.ends, "
			"(SELECT pg_catalog.sum(1 OPERATOR(pg_catalog.<<) (d.n OPERATOR(pg_catalog.-) 1)::pg_catalog.int4)::pg_catalog.int4 "
			"FROM unnest(ARRAY['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun']) WITH ORDINALITY AS d (day, n) "
			"WHERE d.day OPERATOR(pg_catalog.=) ANY (q.days)), "
			"q.channels, q.topics, q.countries, q.action, q.jitter "
			"FROM journey.quiet_hours AS q ORDER BY q.name"
	};
	MemoryContext context = CurrentMemoryContext;
	List *rules = NIL;
	Params params;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		QuietRule *rule = MemoryContextAlloc(context, sizeof(QuietRule));
		MemoryContext old;

		rule->name = pgj_row_text(context, row, 1);
		rule->starts = DatumGetTimeADT(pgj_row_value(row, 2));
		rule->ends = DatumGetTimeADT(pgj_row_value(row, 3));
		rule->days = pgj_row_int4(row, 4, 0);
		rule->channels = read_names(context, row, 5);
		rule->topics = read_names(context, row, 6);
		rule->countries = read_names(context, row, 7);
		rule->action = action_of(pgj_row_text(context, row, 8));
		rule->jitter = DatumGetIntervalP(pgj_row_copy(context, row, 9));
		old = MemoryContextSwitchTo(context);
		rules = lappend(rules, rule);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return rules;
}

static bool
is_among(const Names *names, const char *name)
{
	for (int i = 0; i < names->n; i++)
		if (strcmp(names->name[i], name) == 0)
			return true;
	return names->n < 0;
}

static bool
applies(const QuietRule *rule, const Check *check)
{
	const Names *countries = &rule->countries;

	if (!is_among(&rule->channels, check->request->channel) ||
		!is_among(&rule->topics, check->request->topic))
		return false;
	if (countries->n < 0)
		return true;
	return rule->action == QUIET_SEND
			   ? pgj_country_certainly(check->country, countries->n,
									   countries->name)
			   : pgj_country_possibly(check->country, countries->n,
									  countries->name);
}

static List *
applying(const List *rules, const Check *check)
{
	List *mine = NIL;
	const ListCell *cell;

	foreach (cell, rules)
		if (applies(lfirst(cell), check))
			mine = lappend(mine, lfirst(cell));
	return mine;
}

static TimeADT
time_of_day(Timestamp local)
{
	TimeADT time = local % USECS_PER_DAY;

	return time < 0 ? time + USECS_PER_DAY : time;
}

static bool
in_force(const QuietRule *rule, Timestamp local)
{
	TimeADT time = time_of_day(local);
	int today = pgj_weekday(local);
	int yesterday = (today + 6) % 7;

	if (rule->starts < rule->ends)
		return (rule->days & (1 << today)) != 0 && time >= rule->starts &&
			   time < rule->ends;
	return ((rule->days & (1 << today)) != 0 && time >= rule->starts) ||
		   ((rule->days & (1 << yesterday)) != 0 && time < rule->ends);
}

/* The rules that forbid a message when a clock shows this; none if one lifts them. */
static List *
forbidding(const Check *check, Timestamp local)
{
	List *rules = NIL;
	ListCell *cell;

	foreach (cell, check->quiet)
	{
		QuietRule *rule = lfirst(cell);

		if (!in_force(rule, local))
			continue;
		if (rule->action == QUIET_SEND)
			return NIL;
		rules = lappend(rules, rule);
	}
	return rules;
}

static bool
is_quiet_in(const Check *check, pg_tz *zone, TimestampTz at)
{
	List *rules = forbidding(check, pgj_zone_local(zone, at));
	bool quiet = rules != NIL;

	list_free(rules);
	return quiet;
}

/* The first zone in which it is quiet, or NULL. */
static pg_tz *
quiet_zone(const Check *check, TimestampTz at)
{
	for (int i = 0; i < check->zones->n; i++)
		if (is_quiet_in(check, check->zones->zone[i], at))
			return check->zones->zone[i];
	return NULL;
}

/* When a rule next starts or ends in a zone, or its clock changes. */
static TimestampTz
next_boundary(const Check *check, pg_tz *zone, TimestampTz at)
{
	TimeADT time = time_of_day(pgj_zone_local(zone, at));
	int64 least = USECS_PER_DAY - time; /* midnight: another weekday */
	ListCell *cell;

	foreach (cell, check->quiet)
	{
		QuietRule *rule = lfirst(cell);

		if (rule->starts > time)
			least = Min(least, rule->starts - time);
		if (rule->ends > time)
			least = Min(least, rule->ends - time);
	}
	return Min(at + least, pgj_zone_next_change(zone, at));
}

TimestampTz
pgj_quiet_free(const Check *check, TimestampTz at)
{
	TimestampTz give_up = at + MAX_SEARCH;

	if (check->quiet == NIL)
		return at;
	while (at <= give_up)
	{
		pg_tz *zone = quiet_zone(check, at);

		if (zone == NULL)
			return at;
		at = next_boundary(check, zone, at);
	}
	return DT_NOEND;
}

/* In [0, 1), the same for a run's step whenever it is asked. */
static double
jitter_fraction(const Site *site, const GateRequest *request)
{
	return pgj_fraction(
		"journey.quiet_hours",
		psprintf("%s\x1F%d\x1F%d\x1F%s",
				 pgj_key_to_text(site, request->contact),
				 request->send != NULL ? request->send->journey_id : 0,
				 request->send != NULL ? request->send->step_no : 0,
				 request->key != NULL ? request->key : ""));
}

/*
 * Put a message off to a little after the end of its quiet hours, so that not all
 * go in one second: not so long that it expires or meets the next ones.
 */
static TimestampTz
add_jitter(const Site *site, const Check *check, TimestampTz at,
		   const Interval *jitter)
{
	double fraction = jitter_fraction(site, check->request);
	int64 spread = pgj_time_plus(at, jitter) - at;

	spread = Min(spread, check->request->expires_at - at);
	while (spread > 0)
	{
		TimestampTz later = at + (int64) (fraction * (double) spread);

		if (pgj_quiet_free(check, later) == later)
			return later;
		spread /= 2;
	}
	return at;
}

void
pgj_check_zones(Check *check)
{
	static const char *const words[] = { "contact", "country", "shop",
										 "default" };
	const Zones *zones = check->zones;
	StringInfo out;

	if (check->zones_in_evidence)
		return;
	check->zones_in_evidence = true;
	out = pgj_check_evidence(check, "time_zone");
	appendStringInfo(out, "{\"from\": \"%s\", \"names\": [",
					 words[zones->source]);
	for (int i = 0; i < zones->n; i++)
	{
		appendStringInfoString(out, i == 0 ? "" : ", ");
		escape_json(out, pg_get_timezone_name(zones->zone[i]));
	}
	appendStringInfoChar(out, ']');
	if (check->country != NULL)
	{
		appendStringInfoString(out, ", \"country\": ");
		escape_json(out, check->country);
	}
	if (zones->ignored != NULL)
	{
		appendStringInfoString(out, ", \"ignored\": ");
		escape_json(out, zones->ignored);
	}
	appendStringInfoChar(out, '}');
}

/* The rules in force in any zone, without repetition, in the order of names. */
static List *
forbidding_anywhere(const Check *check)
{
	List *rules = NIL;

	for (int i = 0; i < check->zones->n; i++)
		rules = list_concat_unique_ptr(
			rules, forbidding(check, pgj_zone_local(check->zones->zone[i],
													check->request->at)));
	return rules;
}

static void
put_evidence(Check *check, const List *rules)
{
	StringInfo out;
	const ListCell *cell;
	bool first = true;

	pgj_check_zones(check);
	out = pgj_check_evidence(check, "quiet_hours");
	appendStringInfoString(out, "{\"local\": [");
	for (int i = 0; i < check->zones->n; i++)
	{
		char text[MAXDATELEN + 1];
		int utc = 0;

		JsonEncodeDateTime(text,
						   TimestampGetDatum(pgj_zone_local(
							   check->zones->zone[i], check->request->at)),
						   TIMESTAMPOID, &utc);
		appendStringInfo(out, "%s\"%s\"", i == 0 ? "" : ", ", text);
	}
	appendStringInfoString(out, "], \"in_force\": [");
	foreach (cell, rules)
	{
		appendStringInfoString(out, first ? "" : ", ");
		escape_json(out, ((QuietRule *) lfirst(cell))->name);
		first = false;
	}
	appendStringInfoString(out, "]}");
}

static void
judge(const Site *site, Check *check)
{
	TimestampTz at = check->request->at;
	List *rules = forbidding_anywhere(check);
	Interval *jitter = NULL;
	TimestampTz until;
	ListCell *cell;

	put_evidence(check, rules);
	if (rules == NIL)
		return;
	foreach (cell, rules)
	{
		QuietRule *rule = lfirst(cell);

		if (rule->action == QUIET_SKIP)
		{
			pgj_check_withhold(check, "quiet_hours");
			return;
		}
		if (jitter == NULL ||
			pgj_time_plus(at, rule->jitter) > pgj_time_plus(at, jitter))
			jitter = rule->jitter;
	}
	until = pgj_quiet_free(check, at);
	if (until < check->request->expires_at)
		until = add_jitter(site, check, until, jitter);
	pgj_check_defer(check, "quiet_hours", until);
}

void
pgj_quiet_check(const Site *site, GateStage stage, Check *checks, int n)
{
	List *rules;

	if (pgj_check_count_open(checks, n) == 0)
		return;
	rules = read_rules(site);
	for (int i = 0; rules != NIL && i < n; i++)
	{
		if (!checks[i].open || checks[i].transactional)
			continue;
		checks[i].quiet = applying(rules, &checks[i]);
		if (checks[i].quiet != NIL)
			judge(site, &checks[i]);
	}
}

/*
 * journey.quiet_until(contact anyelement, channel text, topic text,
 *					   at timestamptz) returns timestamptz
 */
Datum
pgj_sql_quiet_until(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "contact", "channel", "topic", "at" };
	const Site *site = pgj_site();
	GateRequest request = { 0 };
	Check check = { .request = &request, .open = true };
	TimestampTz at, until;
	SavedUser saved;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_require_member(site);
	at = PG_GETARG_TIMESTAMPTZ(3);
	if (!pgj_time_in_range(at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("time out of range"));
	site = pgj_lock_contacts(site);
	request.contact = pgj_argument_contact(fcinfo, site, 0);
	request.at = at;
	request.channel = TextDatumGetCString(PG_GETARG_DATUM(1));
	request.topic = TextDatumGetCString(PG_GETARG_DATUM(2));
	request.expires_at = DT_NOEND;
	initStringInfo(&check.evidence);

	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_require_channel(site, PG_GETARG_DATUM(1));
	pgj_require_topic(site, PG_GETARG_DATUM(2));
	SPI_finish();
	pgj_check_definitions(site, &check, 1);
	pgj_contact_check(site, GATE_DECIDE, &check, 1);
	if (!check.open)
		ereport(ERROR, errcode(ERRCODE_NO_DATA_FOUND),
				errmsg("contact %s does not exist",
					   pgj_key_to_text(site, request.contact)));
	pgj_quiet_check(site, GATE_DECIDE, &check, 1);
	until = pgj_quiet_free(&check, at);
	pgj_become_caller(saved);
	if (until == at)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(until);
}

/* The names that rules mention, each once, and one that none does. */
static List *
mentioned(const List *rules, size_t names)
{
	List *all = list_make1(makeString(""));
	const ListCell *cell;

	foreach (cell, rules)
	{
		const Names *some = (Names *) ((char *) lfirst(cell) + names);

		for (int i = 0; i < some->n; i++)
			all = list_append_unique(all, makeString(some->name[i]));
	}
	return all;
}

/* Is there no moment of the week at which such a message may go? */
static void
refuse_if_always(const List *rules, const char *channel, const char *topic,
				 const char *country)
{
	pg_tz *utc = pgj_zone("UTC");
	Zones zones = { .n = 1, .zone = &utc };
	GateRequest request = { .channel = channel, .topic = topic };
	Check check = { .request = &request, .zones = &zones };

	check.country = country[0] == '\0' ? NULL : country;
	check.quiet = applying(rules, &check);
	if (!TIMESTAMP_IS_NOEND(pgj_quiet_free(&check, 0)))
		return;
	ereport(
		ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		errmsg("nothing could be sent at any time of the week"),
		errdetail("Channel: %s. Topic: %s. Country: %s.",
				  channel[0] == '\0' ? "any" : channel,
				  topic[0] == '\0' ? "any" : topic,
				  country[0] == '\0' ? "any, or not known" : country),
		errhint(
			"To send nothing, pause the journeys. What quiet hours there are, is in journey.quiet_hours."));
}

/*
 * journey._check_quiet_week() returns void
 *
 * A message that no moment of the week lets through would wait until it expires.
 */
Datum
pgj_sql_check_quiet_week(PG_FUNCTION_ARGS)
{
	List *rules = read_rules(pgj_site());
	List *channels = mentioned(rules, offsetof(QuietRule, channels));
	List *topics = mentioned(rules, offsetof(QuietRule, topics));
	List *countries = mentioned(rules, offsetof(QuietRule, countries));
	ListCell *channel, *topic, *country;

	foreach (channel, channels)
		foreach (topic, topics)
			foreach (country, countries)
				refuse_if_always(rules, strVal(lfirst(channel)),
								 strVal(lfirst(topic)),
								 strVal(lfirst(country)));
	PG_RETURN_VOID();
}
