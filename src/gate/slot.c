/*-------------------------------------------------------------------------
 *
 * slot.c
 *	  Which hand-overs a frequency cap holds at an instant, and when it has a
 *	  place again.
 *
 * A rolling window ends at the instant it is asked for and begins after that
 * instant less its length, in exact time: a day is 24 hours, whatever the
 * session's time zone; a month is one of the calendar in UTC.  Two callers may
 * come with times that are not in the order in which they got the lock, so a
 * hand-over after the instant counts too, if a window that ends with it holds
 * both.
 *
 * A calendar period is that of the contact's zone.  If he may be in several,
 * each is a bound of its own, and all of them must have a place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "gate/cap.h"

/* After a rival's time has come, how long until its outcome is looked at. */
#define RIVAL_PATIENCE USECS_PER_MINUTE

/* Rounds in which several bounds and the quiet hours may chase each other. */
#define MAX_ROUNDS 1000

/*
 * Times as timestamps without time zone are those of UTC: no day of another
 * length than 24 hours.
 */
TimestampTz
pgj_exactly_plus(TimestampTz at, const Interval *span)
{
	return DatumGetTimestamp(DirectFunctionCall2(
		timestamp_pl_interval, TimestampGetDatum(at), IntervalPGetDatum(span)));
}

TimestampTz
pgj_exactly_minus(TimestampTz at, const Interval *span)
{
	return DatumGetTimestamp(DirectFunctionCall2(
		timestamp_mi_interval, TimestampGetDatum(at), IntervalPGetDatum(span)));
}

static bool
quota_is_for(const Quota *quota, const char *topic, const char *class)
{
	return strcmp(quota->name, quota->of_topic ? topic : class) == 0;
}

static List *
add_bounds(List *bounds, const Capped *capped, const Cap *cap,
		   const Quota *quota)
{
	const Zones *zones = capped->check->zones;
	int n = cap->per == NULL ? zones->n : 1;

	for (int i = 0; i < n; i++)
	{
		Bound *bound = palloc0_object(Bound);

		bound->cap = cap;
		bound->quota = quota;
		bound->zone = cap->per == NULL ? zones->zone[i] : NULL;
		bound->places = quota != NULL ? quota->places : cap->places;
		bounds = lappend(bounds, bound);
	}
	return bounds;
}

List *
pgj_cap_bounds(const Capped *capped)
{
	const GateRequest *request = capped->check->request;
	List *bounds = NIL;
	ListCell *cell;

	foreach (cell, capped->caps)
	{
		const Cap *cap = lfirst(cell);

		bounds = add_bounds(bounds, capped, cap, NULL);
		for (int i = 0; i < cap->nquotas; i++)
			if (quota_is_for(&cap->quotas[i], request->topic, request->class))
				bounds = add_bounds(bounds, capped, cap, &cap->quotas[i]);
	}
	return bounds;
}

/* Does a place of this kind use the bound up? */
bool
pgj_bound_counts(const Bound *bound, const Place *place)
{
	if (!place->counts ||
		(bound->quota != NULL &&
		 !quota_is_for(bound->quota, place->topic, place->class)))
		return false;
	for (int i = 0; i < place->nchannels; i++)
		if (pgj_scope_has(&bound->cap->counts, place->channels[i], place->topic,
						  place->class, place->journey_id))
			return true;
	return false;
}

/* Is what was handed over then in the window, or the period, of this instant? */
bool
pgj_bound_holds(const Bound *bound, TimestampTz at, TimestampTz handed_over)
{
	TimestampTz start, end;

	if (bound->cap->per != NULL)
		return Min(at, handed_over) >
			   pgj_exactly_minus(Max(at, handed_over), bound->cap->per);
	pgj_zone_period_in(bound->zone, at, bound->cap->period, &start, &end);
	return handed_over >= start && handed_over < end;
}

/* The first instant after it at which what was handed over then is out again. */
static TimestampTz
out_again(const Bound *bound, TimestampTz handed_over)
{
	TimestampTz start, end;

	if (bound->cap->per == NULL)
	{
		pgj_zone_period_in(bound->zone, handed_over, bound->cap->period, &start,
						   &end);
		return end;
	}

	/*
	 * A month after 31 January is 28 February, a month before which is not 31
	 * January yet: that is so from the start of a later day on.
	 */
	end = pgj_exactly_plus(handed_over, bound->cap->per);
	while (pgj_exactly_minus(end, bound->cap->per) < handed_over)
	{
		int64 time_of_day = end % USECS_PER_DAY;

		end += USECS_PER_DAY -
			   (time_of_day < 0 ? time_of_day + USECS_PER_DAY : time_of_day);
	}
	return end;
}

/*
 * When a place may be free again that is taken now.  What waits for its relay is
 * taken to be handed over now, or when its time has come, but frees its place at the latest when it
 * expires.  What is not decided yet may never be: look again when it is.
 */
static TimestampTz
released(const Bound *bound, TimestampTz now, const Place *place)
{
	if (place->handed_over)
		return out_again(bound, place->claimed_at);
	if (place->message_id != 0)
		return Min(out_again(bound, Max(now, place->due)), place->expires_at);
	return Max(now, place->due) + RIVAL_PATIENCE;
}

static int
by_time(const void *a, const void *b)
{
	TimestampTz left = *(const TimestampTz *) a;
	TimestampTz right = *(const TimestampTz *) b;

	return left < right ? -1 : left > right;
}

/* The first instant, from "from" on, at which the bound has a place. */
static TimestampTz
bound_slot(const Bound *bound, const Capped *capped, GateStage stage,
		   TimestampTz from)
{
	TimestampTz now = capped->check->request->at;
	TimestampTz *ends =
		palloc_array(TimestampTz, list_length(capped->places) + 1);
	int n = 0;
	ListCell *cell;

	if (bound->places == 0)
		return DT_NOEND;
	foreach (cell, capped->places)
	{
		const Place *place = lfirst(cell);

		if (!pgj_takes_place(bound, stage, capped->check, place))
			continue;
		if (place->handed_over &&
			!pgj_bound_holds(bound, from, place->claimed_at))
			continue;
		ends[n] = released(bound, now, place);
		if (ends[n] > from)
			n++;
	}
	if (n < bound->places)
		return from;
	qsort(ends, n, sizeof(TimestampTz), by_time);
	return ends[n - bound->places];
}

/*
 * The next free slot: the first instant after the request's at which all bounds
 * have a place and no quiet hours hold.  DT_NOEND if there is none.
 */
TimestampTz
pgj_cap_slot(const Capped *capped, List *bounds, GateStage stage)
{
	TimestampTz slot = capped->check->request->at;

	for (int round = 0; round < MAX_ROUNDS; round++)
	{
		TimestampTz before = slot;
		ListCell *cell;

		CHECK_FOR_INTERRUPTS();
		foreach (cell, bounds)
		{
			slot = Max(slot, bound_slot(lfirst(cell), capped, stage, slot));
			if (slot >= capped->check->request->expires_at)
				return slot;
		}
		slot = pgj_quiet_free(capped->check, slot);
		if (slot == before)
			return slot;
	}
	return DT_NOEND;
}
