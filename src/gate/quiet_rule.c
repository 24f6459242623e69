/*-------------------------------------------------------------------------
 *
 * quiet_rule.c
 *	  Rules of quiet hours: whom they concern, when they are in force, and when
 *	  none is.
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

#include "utils/timestamp.h"

#include "gate/quiet.h"
#include "gate/zone.h"
#include "kept.h"

/* All rules repeat by the week; the clock may change in one of them. */
#define MAX_SEARCH (INT64CONST(15) * USECS_PER_DAY)

static QuietAction
action_of(const char *word)
{
	if (strcmp(word, "skip") == 0)
		return QUIET_SKIP;
	return strcmp(word, "send") == 0 ? QUIET_SEND : QUIET_DEFER;
}

static void *
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
	uint64 nrows = pgj_kept_select(&plan, site);
	List *rules = NIL;

	for (uint64 row = 0; row < nrows; row++)
	{
		QuietRule *rule = palloc0_object(QuietRule);

		rule->name = pgj_row_text(context, row, 1);
		rule->starts = DatumGetTimeADT(pgj_row_value(row, 2));
		rule->ends = DatumGetTimeADT(pgj_row_value(row, 3));
		rule->days = pgj_row_int4(row, 4, 0);
		rule->scope.channels = pgj_names_read(row, 5);
		rule->scope.topics = pgj_names_read(row, 6);
		rule->countries = pgj_names_read(row, 7);
		rule->action = action_of(pgj_row_text(context, row, 8));
		rule->jitter = DatumGetIntervalP(pgj_row_copy(context, row, 9));
		rules = lappend(rules, rule);
	}
	return rules;
}

const List *
pgj_quiet_rules(const Site *site)
{
	static Kept kept = { .name = "quiet hours",
						 .tables = { "quiet_hours" },
						 .read = read_rules };

	return pgj_kept(&kept, site);
}

static bool
applies(const QuietRule *rule, const Check *check)
{
	const Names *countries = &rule->countries;

	if (!pgj_scope_has(&rule->scope, check->request->channel,
					   check->request->topic, check->request->class, 0))
		return false;
	if (countries->name == NULL)
		return true;
	return rule->action == QUIET_SEND
			   ? pgj_country_certainly(check->country, countries->n,
									   countries->name)
			   : pgj_country_possibly(check->country, countries->n,
									  countries->name);
}

List *
pgj_quiet_applying(const List *rules, const Check *check)
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

List *
pgj_quiet_forbidding(const Check *check, Timestamp local)
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
	List *rules = pgj_quiet_forbidding(check, pgj_zone_local(zone, at));
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
