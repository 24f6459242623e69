/*-------------------------------------------------------------------------
 *
 * quiet.c
 *	  Quiet hours: times of the contact's day at which nothing is sent.
 *
 * Nothing is remembered but the rules (quiet_rule.c): they are asked at the
 * decision, when a deferral ends, and at the claim.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/argument.h"
#include "gate/quiet.h"
#include "gate/zone.h"
#include "measure/fraction.h"

PG_FUNCTION_INFO_V1(pgj_sql_quiet_until);
PG_FUNCTION_INFO_V1(pgj_sql_check_quiet_week);

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

/* The rules in force in any zone, without repetition, in the order of names. */
static List *
forbidding_anywhere(const Check *check)
{
	List *rules = NIL;

	for (int i = 0; i < check->zones->n; i++)
		rules = list_concat_unique_ptr(
			rules,
			pgj_quiet_forbidding(check, pgj_zone_local(check->zones->zone[i],
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
	const List *rules;

	if (pgj_check_count_open(checks, n) == 0)
		return;
	rules = pgj_quiet_rules(site);
	for (int i = 0; rules != NIL && i < n; i++)
	{
		if (!checks[i].open || checks[i].transactional)
			continue;
		checks[i].quiet = pgj_quiet_applying(rules, &checks[i]);
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
	check.quiet = pgj_quiet_applying(rules, &check);
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
	const List *rules = pgj_quiet_rules(pgj_site());
	List *channels = mentioned(rules, offsetof(QuietRule, scope.channels));
	List *topics = mentioned(rules, offsetof(QuietRule, scope.topics));
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
