/*-------------------------------------------------------------------------
 *
 * cap.c
 *	  Rolling frequency caps: at most n messages of a contact handed over in
 *	  any window of a given length.
 *
 * What counts is the first hand-over (message.claimed_at).  There is no counter:
 * the messages themselves are counted, under the lock of the contact's slice,
 * which everyone needs who decides or claims one.  At GATE_DECIDE a message
 * that is decided and still waits for its relay holds a place as well, whenever
 * it was decided, until it expires or is withheld.  At GATE_CLAIM only hand-overs
 * count; a message once handed over keeps its place when it is offered again.
 *
 * Two callers may come with times that are not in the order in which they got
 * the lock, so a hand-over later than "at" counts too if it is less than a
 * window away: some window holds both.
 *
 * One index range over message (contact, decided_at) finds them: nothing is
 * handed over once it has expired, so what matters was decided after the start of
 * the longest window less the longest expiry.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/check.h"
#include "guc.h"
#include "plan.h"

/*
 * The longest expiry is known for steps that state one.  For others it is a
 * setting, which may have been longer when a message was decided: up to this
 * long it may be lowered without a message being missed.
 */
#define MIN_EXPIRY (INT64CONST(31) * USECS_PER_DAY)

/* Message ids listed in the evidence of one cap, the newest. */
#define MAX_LISTED 20

typedef struct Cap
{
	char *name;
	int max_messages;
	Interval *per;
	char *channel; /* NULL: all */
} Cap;

typedef struct Counted
{
	int64 message_id;
	char *channel;
	bool handed_over;
	TimestampTz claimed_at;
} Counted;

typedef struct CapWork
{
	Cap *caps;
	int ncaps;
	Interval *expiry; /* longest of any step, or NULL */
	List **counted;	  /* per check: list of Counted */
} CapWork;

/* Read the caps; outside SPI's memory. */
static void
read_caps(const Site *site, CapWork *work)
{
	static KeptPlan plan = {
		.sql =
			"SELECT k.name, k.max_messages, k.per, k.channel, "
			"(SELECT pg_catalog.max(s.duration) FROM journey.step AS s WHERE s.kind OPERATOR(pg_catalog.=) 'send') "
			"FROM journey.cap AS k ORDER BY k.name"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	work->ncaps = (int) pgj_plan_execute(&plan, &params);
	work->caps = MemoryContextAlloc(context, sizeof(Cap) * Max(work->ncaps, 1));
	work->expiry = NULL;
	for (int row = 0; row < work->ncaps; row++)
	{
		Cap *cap = &work->caps[row];

		cap->name = pgj_row_text(context, row, 1);
		cap->max_messages = DatumGetInt32(pgj_row_value(row, 2));
		cap->per = DatumGetIntervalP(pgj_row_copy(context, row, 3));
		cap->channel = pgj_row_text(context, row, 4);
		if (row == 0 && !pgj_row_null(row, 5))
			work->expiry = DatumGetIntervalP(pgj_row_copy(context, row, 5));
	}
	SPI_finish();
}

static bool
obeys(const Check *check)
{
	return check->open && check->obeys;
}

/* Where the range of decided_at starts that may matter to a request. */
static TimestampTz
range_start(const CapWork *work, TimestampTz at)
{
	TimestampTz window = at;
	TimestampTz start;

	for (int i = 0; i < work->ncaps; i++)
		window = Min(window, pgj_time_minus(at, work->caps[i].per));
	start = window - Max(MIN_EXPIRY, pgj_message_expiry * USECS_PER_SEC);
	if (work->expiry != NULL)
		start = Min(start, pgj_time_minus(window, work->expiry));
	return start;
}

static void
read_messages(const Site *site, CapWork *work, const Check *checks, int n,
			  int nobeying)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, m.message_id, m.channel, m.claimed_at "
			"FROM unnest($1, $2, $3, $4) AS r (n, contact, since, at) "
			"JOIN journey_state.message AS m ON m.contact = r.contact "
			"AND m.decided_at OPERATOR(pg_catalog.>) r.since "
			"WHERE (m.claimed_at IS NOT NULL OR "
			"m.status OPERATOR(pg_catalog.=) 'pending' AND m.expires_at OPERATOR(pg_catalog.>) r.at) "
			"AND m.counts"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	Datum *number, *contact, *since, *at;
	int k = 0;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, site, nobeying);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	since = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < n; i++)
	{
		if (!obeys(&checks[i]))
			continue;
		number[k] = Int32GetDatum(i);
		contact[k] = checks[i].request->contact;
		since[k] =
			TimestampTzGetDatum(range_start(work, checks[i].request->at));
		at[k++] = TimestampTzGetDatum(checks[i].request->at);
	}
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		int i = DatumGetInt32(pgj_row_value(row, 1));
		MemoryContext old = MemoryContextSwitchTo(context);
		Counted *counted = palloc_object(Counted);

		counted->message_id = DatumGetInt64(pgj_row_value(row, 2));
		counted->channel = pgj_row_text(context, row, 3);
		counted->handed_over = !pgj_row_null(row, 4);
		counted->claimed_at = counted->handed_over
								  ? DatumGetTimestampTz(pgj_row_value(row, 4))
								  : 0;
		work->counted[i] = lappend(work->counted[i], counted);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

static int
newest_first(const ListCell *a, const ListCell *b)
{
	int64 left = ((Counted *) lfirst(a))->message_id;
	int64 right = ((Counted *) lfirst(b))->message_id;

	return left < right ? 1 : left > right ? -1 : 0;
}

static bool
counts(const Cap *cap, const Counted *message, GateStage stage, TimestampTz at)
{
	if (cap->channel != NULL && strcmp(cap->channel, message->channel) != 0)
		return false;
	if (message->handed_over)
		return message->claimed_at > pgj_time_minus(at, cap->per) &&
			   message->claimed_at < pgj_time_plus(at, cap->per);
	return stage == GATE_DECIDE;
}

/* Count one cap for one request and write it down; true when it is full. */
static bool
cap_is_full(const Cap *cap, GateStage stage, Check *check, List *messages)
{
	StringInfoData ids;
	int count = 0;
	ListCell *cell;

	initStringInfo(&ids);
	foreach (cell, messages)
	{
		Counted *message = lfirst(cell);

		if (message->message_id == check->request->message_id ||
			!counts(cap, message, stage, check->request->at))
			continue;
		if (count++ < MAX_LISTED)
			appendStringInfo(&ids, "%s" INT64_FORMAT, ids.len > 0 ? ", " : "",
							 message->message_id);
	}
	appendStringInfoString(&check->evidence, "{\"name\": ");
	escape_json(&check->evidence, cap->name);
	appendStringInfo(&check->evidence,
					 ", \"limit\": %d, \"count\": %d, \"messages\": [%s]}",
					 cap->max_messages, count, ids.data);
	pfree(ids.data);
	return count >= cap->max_messages;
}

/* Has the message at hand been handed over before? */
static bool
keeps_place(const Check *check, List *messages)
{
	ListCell *cell;

	foreach (cell, messages)
	{
		Counted *message = lfirst(cell);

		if (message->message_id == check->request->message_id &&
			message->handed_over)
			return true;
	}
	return false;
}

static void
check_caps(const CapWork *work, GateStage stage, Check *check, List *messages)
{
	bool full = false;
	bool first = true;
	StringInfo out;

	if (stage == GATE_CLAIM && keeps_place(check, messages))
	{
		appendStringInfoString(pgj_check_evidence(check, "caps"),
							   "\"handed over before\"");
		return;
	}
	list_sort(messages, newest_first);
	out = pgj_check_evidence(check, "caps");
	appendStringInfoChar(out, '[');
	for (int i = 0; i < work->ncaps; i++)
	{
		const Cap *cap = &work->caps[i];

		if (cap->channel != NULL &&
			strcmp(cap->channel, check->request->channel) != 0)
			continue;
		if (!first)
			appendStringInfoString(out, ", ");
		first = false;
		if (cap_is_full(cap, stage, check, messages))
			full = true;
	}
	appendStringInfoChar(out, ']');
	if (full)
	{
		check->open = false;
		check->request->reason = "capped";
	}
}

void
pgj_cap_check(const Site *site, GateStage stage, Check *checks, int n)
{
	CapWork work;
	int nobeying = 0;

	for (int i = 0; i < n; i++)
		nobeying += obeys(&checks[i]);
	if (nobeying == 0)
		return;
	read_caps(site, &work);
	if (work.ncaps == 0)
		return;

	work.counted = palloc0_array(List *, n);
	read_messages(site, &work, checks, n, nobeying);
	for (int i = 0; i < n; i++)
		if (obeys(&checks[i]))
			check_caps(&work, stage, &checks[i], work.counted[i]);
}
