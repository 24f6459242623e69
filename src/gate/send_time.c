/*-------------------------------------------------------------------------
 *
 * send_time.c
 *	  AT BEST TIME WITHIN: put a message off to the hour at which its contact
 *	  responds most.
 *
 * The time from the arrival at the SEND to the end of WITHIN, or to the expiry, is
 * cut into slots by the contact's local hours, each from a quarter of an hour before
 * it to a quarter before the next: what is to be read at seven goes at 6:45.  A slot
 * that has begun stands for the rest of it.  Slots that are quiet to their end are
 * none.  Of the others the one with the highest score is taken (measure/hours.c), the
 * earliest of those as good; the same hour comes again each week, so no more than a
 * week is looked at.
 *
 * One message in ten, by a hash of contact, run and step, goes to any of the slots,
 * or the times that we choose would be all that is ever learned.  The evidence has the
 * probability with which the slot was taken.
 *
 * It is chosen once: what was put off goes when its time comes, if nothing else
 * forbids it.  A claim does not ask.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/check.h"
#include "gate/send_time.h"
#include "measure/fraction.h"

#define EXPLORED 0.1
#define MAX_SLOTS (8 * HOURS_PER_DAY)
#define LAST_MINUTE (PGJ_SEND_LEAD * 3) /* of a slot, after its hour */

typedef struct Slot
{
	TimestampTz at;
	int hour;
	DayKind kind;
	double score;
} Slot;

typedef double Scores[DAY_KINDS][PGJ_HOURS];

static bool
asks_time(const Check *check)
{
	const GateRequest *request = check->request;

	return check->open && !check->transactional && !request->timed &&
		   request->send != NULL && request->send->best_time_within != NULL;
}

/* The last instant at which the message may go. */
static TimestampTz
last_instant(const GateRequest *request)
{
	return Min(pgj_time_plus(request->since, request->send->best_time_within),
			   request->expires_at - 1);
}

static int
find_slots(const Check *check, Scores scores, Slot *slots)
{
	pg_tz *zone = check->zones->zone[0];
	TimestampTz at = check->request->at;
	TimestampTz last = last_instant(check->request);
	Timestamp local = pgj_zone_local(zone, at + PGJ_SEND_LEAD);
	Timestamp first =
		local - (local % USECS_PER_HOUR + USECS_PER_HOUR) % USECS_PER_HOUR;
	int nslots = 0;

	for (int i = 0; i < MAX_SLOTS; i++)
	{
		Timestamp hour = first + i * USECS_PER_HOUR;
		TimestampTz start = pgj_zone_instant(zone, hour);
		TimestampTz from = Max(start - PGJ_SEND_LEAD, at);
		Slot *slot = &slots[nslots];

		if (from > last)
			break;
		/* an hour that the clock jumps over */
		if (pgj_zone_local(zone, start) != hour)
			continue;
		slot->at = pgj_quiet_free(check, from);
		if (slot->at > last || slot->at >= start + LAST_MINUTE)
			continue;
		slot->hour = pgj_hour_of(hour);
		slot->kind = pgj_day_kind(hour);
		slot->score = scores[slot->kind][slot->hour];
		nslots++;
	}
	return nslots;
}

static int
best_slot(const Slot *slots, int nslots)
{
	int best = 0;

	for (int i = 1; i < nslots; i++)
		if (pgj_hour_better(slots[i].hour, slots[i].score, slots[best].hour,
							slots[best].score))
			best = i;
	return best;
}

static double
draw(const Site *site, const GateRequest *request)
{
	char *unit = psprintf("%s\x1F" INT64_FORMAT "\x1F%d",
						  pgj_key_to_text(site, request->contact),
						  request->enrollment_id, request->send->step_no);

	return pgj_fraction("journey.send_time", unit);
}

static void
write_float(StringInfo out, const char *member, double value)
{
	appendStringInfo(
		out, ", \"%s\": %s", member,
		DatumGetCString(DirectFunctionCall1(float8out, Float8GetDatum(value))));
}

static void
write_slot(Check *check, const HourCounts *counts, const HourPrior *prior,
		   const Slot *slot, int nslots, bool explored, double propensity)
{
	StringInfo out = pgj_check_evidence(check, "send_time");
	double n = pgj_hour_total(counts, slot->kind);

	appendStringInfo(out,
					 "{\"source\": \"%s\", \"day_kind\": \"%s\", \"hour\": %d",
					 pgj_hour_source(counts, prior, slot->kind),
					 pgj_day_kinds[slot->kind], slot->hour);
	write_float(out, "score", slot->score);
	write_float(out, "confidence", n / (n + PGJ_HOURS_KAPPA));
	appendStringInfo(out, ", \"events\": " INT64_FORMAT ", \"slots\": %d",
					 counts->events[slot->kind], nslots);
	appendStringInfo(out, ", \"explored\": %s", explored ? "true" : "false");
	write_float(out, "propensity", propensity);
	appendStringInfoString(out, ", \"at\": ");
	pgj_check_time(out, slot->at);
	appendStringInfoChar(out, '}');
}

static void
choose_time(const Site *site, Check *check, const HourCounts *counts,
			const HourPrior *prior)
{
	Slot slots[MAX_SLOTS];
	Scores scores;
	double fraction = draw(site, check->request);
	bool explored = fraction < EXPLORED;
	int nslots;
	int best;
	int taken;

	for (int kind = 0; kind < DAY_KINDS; kind++)
		pgj_hours_score(counts->weight[kind], prior->share[kind],
						PGJ_HOURS_KAPPA, scores[kind]);
	nslots = find_slots(check, scores, slots);
	if (nslots == 0)
	{
		appendStringInfoString(pgj_check_evidence(check, "send_time"),
							   "\"no time to choose from\"");
		return;
	}
	best = best_slot(slots, nslots);
	taken =
		explored ? Min((int) (fraction / EXPLORED * nslots), nslots - 1) : best;
	write_slot(check, counts, prior, &slots[taken], nslots, explored,
			   EXPLORED / nslots + (taken == best ? 1.0 - EXPLORED : 0.0));
	if (slots[taken].at > check->request->at)
		pgj_check_defer(check, "send_time", slots[taken].at);
}

void
pgj_send_time_check(const Site *site, GateStage stage, Check *checks, int n)
{
	HourCounts *counts;
	HourPrior prior;
	int *owner;
	int nasked = 0;

	if (stage != GATE_DECIDE)
		return;
	counts = palloc_array(HourCounts, n);
	owner = palloc_array(int, n);
	for (int i = 0; i < n; i++)
	{
		if (!asks_time(&checks[i]))
			continue;
		counts[nasked].contact = checks[i].request->contact;
		counts[nasked].at = checks[i].request->at;
		counts[nasked].zones = checks[i].zones;
		owner[nasked++] = i;
	}
	if (nasked == 0)
		return;
	pgj_hour_prior_read(site, &prior);
	pgj_hour_counts_read(site, counts, nasked);
	for (int i = 0; i < nasked; i++)
		choose_time(site, &checks[owner[i]], &counts[i], &prior);
}
