/*-------------------------------------------------------------------------
 *
 * cap.c
 *	  Frequency caps: at most so many messages of a contact handed over in a
 *	  window.
 *
 * What counts is the first hand-over (message.claimed_at).  There is no counter:
 * the messages themselves are counted, under the lock of the contact's slice,
 * which everyone needs who decides or claims one.  At GATE_DECIDE a message
 * that is decided and still waits for its relay holds a place as well, whenever
 * it was decided, until it expires or is withheld, but for messages of a higher
 * priority (rival.c).  At GATE_CLAIM nothing but hand-overs and rivals counts; a
 * message once handed over keeps its place when it is offered again.
 *
 * What a message counts as is frozen in its row: channel, topic, class, journey,
 * and whether it counts at all.
 *
 * One index range over message (contact, decided_at) finds them: nothing is
 * handed over once it has expired, so what matters expires after the start of the
 * longest window, and was decided after that less the longest expiry
 * (outbox/span.c).  The cost does not grow with what lies before, nor with its
 * partitions, which the executor leaves out.
 *
 * A message that finds a cap full is withheld, or put off to the next slot
 * (slot.c), or withheld and its run ended, as its SEND says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/cap.h"
#include "outbox/span.h"
#include "pg_journey.h"
#include "plan.h"

/* No period of a calendar began longer ago, in the strangest zone. */
static const int64 longest_period[] = { [ZONE_DAY] = 3 * USECS_PER_DAY,
										[ZONE_WEEK] = 9 * USECS_PER_DAY,
										[ZONE_MONTH] = 33 * USECS_PER_DAY };

/* Message ids listed in the evidence of one cap, the newest. */
#define MAX_LISTED 20

/* What was handed over before does not matter: the start of the longest window. */
static TimestampTz
window_start(const Capped *capped)
{
	TimestampTz at = capped->check->request->at;
	TimestampTz start = at;
	ListCell *cell;

	foreach (cell, capped->caps)
	{
		const Cap *cap = lfirst(cell);

		start = Min(start, cap->per != NULL ? pgj_exactly_minus(at, cap->per)
											: at - longest_period[cap->period]);
	}
	return start;
}

enum
{
	MESSAGE_N = 1,
	MESSAGE_ID,
	MESSAGE_ENROLLMENT_ID,
	MESSAGE_STEP_NO,
	MESSAGE_CHANNEL,
	MESSAGE_TOPIC,
	MESSAGE_CLASS,
	MESSAGE_JOURNEY_ID,
	MESSAGE_COUNTS,
	MESSAGE_PRIORITY,
	MESSAGE_SINCE,
	MESSAGE_EXPIRES_AT,
	MESSAGE_CLAIMED_AT,
	MESSAGE_LEASE_UNTIL
};

/*
 * A message whose run has exited or whose journey is dropped will not go, and one
 * of a paused journey not now: they hold no place.
 */
static KeptPlan read_messages_plan = {
	.sql =
		"SELECT r.n, m.message_id, m.enrollment_id, m.step_no, m.channel, m.topic, m.class, m.journey_id, m.counts, m.priority, m.since, m.expires_at, m.claimed_at, m.lease_until "
		"FROM unnest($1, $2, $3, $4, $5, $6) AS r (n, contact, message_id, start, since, at) "
		"JOIN journey_state.message AS m ON m.contact = r.contact "
		"AND m.decided_at OPERATOR(pg_catalog.>=) r.since "
		"AND m.decided_at OPERATOR(pg_catalog.>=) $7 AND m.expires_at OPERATOR(pg_catalog.>) r.start "
		"WHERE (m.counts OR m.message_id OPERATOR(pg_catalog.=) r.message_id) "
		"AND (m.claimed_at IS NOT NULL OR "
		"m.status OPERATOR(pg_catalog.=) 'pending' AND m.expires_at OPERATOR(pg_catalog.>) r.at "
		"AND NOT EXISTS (SELECT FROM journey.version AS v JOIN journey.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) v.journey_id "
		"WHERE v.version_id OPERATOR(pg_catalog.=) m.version_id AND (v.dropped OR j.status OPERATOR(pg_catalog.=) 'paused')) "
		"AND NOT EXISTS (SELECT FROM journey_state.enrollment AS e WHERE e.contact = m.contact "
		"AND e.enrollment_id OPERATOR(pg_catalog.=) m.enrollment_id AND e.status OPERATOR(pg_catalog.=) 'exited'))"
};

static Place *
read_place(uint64 row, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Place *place = palloc0_object(Place);

	place->message_id = pgj_row_int8(row, MESSAGE_ID, 0);
	place->enrollment_id = pgj_row_int8(row, MESSAGE_ENROLLMENT_ID, 0);
	place->step_no = pgj_row_int4(row, MESSAGE_STEP_NO, 0);
	place->nchannels = 1;
	place->channels = palloc_array(char *, 1);
	place->channels[0] = pgj_row_text(context, row, MESSAGE_CHANNEL);
	place->topic = pgj_row_text(context, row, MESSAGE_TOPIC);
	place->class = pgj_row_text(context, row, MESSAGE_CLASS);
	place->journey_id = pgj_row_int4(row, MESSAGE_JOURNEY_ID, 0);
	place->counts = DatumGetBool(pgj_row_value(row, MESSAGE_COUNTS));
	place->priority = pgj_row_int4(row, MESSAGE_PRIORITY, 0);
	place->since = pgj_row_int8(row, MESSAGE_SINCE, 0);
	place->expires_at = pgj_row_int8(row, MESSAGE_EXPIRES_AT, 0);
	place->handed_over = !pgj_row_null(row, MESSAGE_CLAIMED_AT);
	place->claimed_at = pgj_row_int8(row, MESSAGE_CLAIMED_AT, 0);
	/* put off when a relay asked */
	place->due = pgj_row_int8(row, MESSAGE_LEASE_UNTIL, DT_NOBEGIN);
	MemoryContextSwitchTo(old);
	return place;
}

static int
newest_first(const ListCell *a, const ListCell *b)
{
	int64 left = ((Place *) lfirst(a))->message_id;
	int64 right = ((Place *) lfirst(b))->message_id;

	return left < right ? 1 : left > right ? -1 : 0;
}

static void
read_messages(const Site *site, Capped *capped, int n)
{
	MemoryContext context = CurrentMemoryContext;
	Params params;
	Datum *contact = pgj_params_contacts(&params, site, n);
	Datum *message = pgj_params_column(&params, INT8OID, NULL);
	Datum *start = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	Datum *since = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	Datum *at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	TimestampTz first = DT_NOEND;
	int64 span;
	uint64 nrows;

	for (int i = 0; i < n; i++)
	{
		const GateRequest *request = capped[i].check->request;
		TimestampTz window = window_start(&capped[i]);

		contact[i] = request->contact;
		message[i] = Int64GetDatum(request->message_id);
		start[i] = TimestampTzGetDatum(window);
		at[i] = TimestampTzGetDatum(request->at);
		first = Min(first, window);
	}
	span = pgj_message_span(site, first);
	for (int i = 0; i < n; i++)
		since[i] = TimestampTzGetDatum(DatumGetTimestampTz(start[i]) - span);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(first - span));

	SPI_connect();
	if (PGJ_SABOTAGE == 6)
	{
		PushCopiedSnapshot(GetActiveSnapshot()); /* the caller's statement's */
		UpdateActiveSnapshotCommandId();
		nrows = pgj_plan_execute_snapshot(&read_messages_plan, &params,
										  GetActiveSnapshot());
		PopActiveSnapshot();
	}
	else
		nrows = pgj_plan_execute(&read_messages_plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Capped *of = &capped[DatumGetInt32(pgj_row_value(row, MESSAGE_N))];
		MemoryContext old = MemoryContextSwitchTo(context);

		of->places = lappend(of->places, read_place(row, context));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	for (int i = 0; i < n; i++)
		list_sort(capped[i].places, newest_first);
}

/* -------- one request -------- */

/* Has the message at hand been handed over before? */
static bool
keeps_place(const Capped *capped)
{
	const GateRequest *request = capped->check->request;
	ListCell *cell;

	foreach (cell, capped->places)
	{
		const Place *place = lfirst(cell);

		if (place->handed_over && place->message_id == request->message_id)
			return true;
	}
	return false;
}

static void
put_window(StringInfo out, const Bound *bound, TimestampTz at)
{
	TimestampTz start, end;

	if (bound->cap->per != NULL)
	{
		start = pgj_exactly_minus(at, bound->cap->per);
		end = at;
	}
	else
	{
		pgj_zone_period_in(bound->zone, at, bound->cap->period, &start, &end);
		appendStringInfoString(out, ", \"zone\": ");
		escape_json(out, pg_get_timezone_name(bound->zone));
	}
	appendStringInfoString(out, ", \"from\": ");
	pgj_check_time(out, start);
	appendStringInfoString(out, ", \"to\": ");
	pgj_check_time(out, end);
}

static void
put_rival(StringInfo out, const Place *place, TimestampTz at)
{
	appendStringInfo(
		out,
		"%s{\"enrollment\": " INT64_FORMAT
		", \"step\": %d, \"priority\": " INT64_FORMAT ", \"due\": ",
		out->len > 0 ? ", " : "", place->enrollment_id, place->step_no,
		pgj_effective_priority(place->priority, place->since, at));
	pgj_check_time(out, place->due);
	appendStringInfoChar(out, '}');
}

/* Count for one bound and write it down; true when it is full. */
static bool
is_full(const Bound *bound, GateStage stage, const Capped *capped,
		StringInfo out)
{
	TimestampTz at = capped->check->request->at;
	StringInfoData ids, rivals;
	int count = 0;
	ListCell *cell;

	initStringInfo(&ids);
	initStringInfo(&rivals);
	foreach (cell, capped->places)
	{
		const Place *place = lfirst(cell);

		if (!pgj_takes_place(bound, stage, capped->check, place) ||
			(place->handed_over &&
			 !pgj_bound_holds(bound, at, place->claimed_at)))
			continue;
		if (count++ >= MAX_LISTED)
			continue;
		if (place->message_id != 0)
			appendStringInfo(&ids, "%s" INT64_FORMAT, ids.len > 0 ? ", " : "",
							 place->message_id);
		else
			put_rival(&rivals, place, at);
	}
	appendStringInfoString(out, "{\"name\": ");
	escape_json(out, bound->cap->name);
	if (bound->quota != NULL)
	{
		appendStringInfo(
			out, ", \"%s\": ", bound->quota->of_topic ? "topic" : "class");
		escape_json(out, bound->quota->name);
	}
	put_window(out, bound, at);
	appendStringInfo(out, ", \"limit\": %d, \"count\": %d, \"messages\": [%s]",
					 bound->places, count, ids.data);
	if (rivals.len > 0)
		appendStringInfo(out, ", \"rivals\": [%s]", rivals.data);
	appendStringInfoChar(out, '}');
	pfree(ids.data);
	pfree(rivals.data);
	return count >= bound->places;
}

static void
put_ceded(const Capped *capped, StringInfo out)
{
	ListCell *cell;

	foreach (cell, capped->ceded)
	{
		appendStringInfo(
			out, "%s{\"name\": ", out->data[out->len - 1] == '[' ? "" : ", ");
		escape_json(out, ((Cap *) lfirst(cell))->name);
		appendStringInfoString(out, ", \"overridden\": true}");
	}
}

/* No place: what does the SEND say? */
static void
act(const Capped *capped, List *bounds, GateStage stage)
{
	Check *check = capped->check;
	const GateSend *send = check->request->send;
	TimestampTz slot;

	if (send->when_capped != CAPPED_DEFER)
	{
		check->request->ends_run = send->when_capped == CAPPED_EXIT;
		pgj_check_withhold(check, "capped");
		return;
	}
	slot = pgj_cap_slot(capped, bounds, stage);
	if (TIMESTAMP_IS_NOEND(slot))
		pgj_check_withhold(check, "capped");
	else if (send->capped_within != NULL &&
			 slot >
				 pgj_exactly_plus(check->request->since, send->capped_within))
	{
		pgj_check_time(pgj_check_evidence(check, "until"), slot);
		pgj_check_time(
			pgj_check_evidence(check, "within"),
			pgj_exactly_plus(check->request->since, send->capped_within));
		pgj_check_withhold(check, "capped");
	}
	else
		pgj_check_defer(check, "capped", slot);
}

static void
judge(Capped *capped, GateStage stage)
{
	StringInfo out = pgj_check_evidence(capped->check, "caps");
	List *bounds;
	bool full = false;
	ListCell *cell;

	if (stage == GATE_CLAIM && keeps_place(capped))
	{
		appendStringInfoString(out, "\"handed over before\"");
		return;
	}
	bounds = pgj_cap_bounds(capped);
	appendStringInfoChar(out, '[');
	foreach (cell, bounds)
	{
		if (cell != list_head(bounds))
			appendStringInfoString(out, ", ");
		if (is_full(lfirst(cell), stage, capped, out))
			full = true;
	}
	put_ceded(capped, out);
	appendStringInfoChar(out, ']');
	if (full)
		act(capped, bounds, stage);
	else if (stage == GATE_CLAIM)
		capped->check->request->caps = pgj_bounds_to_text(bounds);
}

static bool
obeys(const Check *check)
{
	return check->open && check->obeys;
}

void
pgj_cap_check(const Site *site, GateStage stage, Check *checks, int n)
{
	Capped *capped = palloc0_array(Capped, n);
	int nobeying = 0;
	int nheld = 0;

	for (int i = 0; i < n; i++)
		if (obeys(&checks[i]))
			capped[nobeying++].check = &checks[i];
	if (nobeying == 0)
		return;
	pgj_caps_apply(site, pgj_caps(site), checks, n, capped, nobeying);
	for (int i = 0; i < nobeying; i++)
		if (capped[i].caps != NIL)
			capped[nheld++] = capped[i];
	if (nheld == 0)
		return;

	read_messages(site, capped, nheld);
	pgj_rivals_read(site, stage, capped, nheld);
	for (int i = 0; i < nheld; i++)
		judge(&capped[i], stage);
}
