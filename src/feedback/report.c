/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What relays report of messages they were given.
 *
 * Every report becomes a receipt, once: the same report again (message, attempt
 * and outcome) changes nothing.  What it does to the message depends on whether
 * it is about the message's current attempt:
 *
 *	 sent		the provider has accepted it.  That is true whichever attempt it
 *				was, so it ends the message unless a bounce or a rejection has.
 *	 bounced	permanent, this address; ends the message if current.  For some
 *				codes the address is suppressed.
 *	 rejected	permanent, not the address: failed.
 *	 deferred	not now: offered again after a back-off, until the attempts are
 *				used up or the message expires.
 *
 * The slices are locked in ascending order, so that two reports cannot wait for
 * each other, and states are read after that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "capture/event.h"
#include "engine/engine.h"
#include "feedback/receipt.h"
#include "outbox/outbox.h"
#include "outbox/relay.h"
#include "pg_journey.h"
#include "plan.h"

#define MAX_ATTEMPTS	8
#define MAX_RESPONSE	1024
#define MAX_CODE		64
#define MAX_REPORTS		10000

PG_FUNCTION_INFO_V1(pgj_sql_report);
PG_FUNCTION_INFO_V1(pgj_sql_retry_message);

/* After attempt n fails for now, the next comes at most this much later, in s. */
static const int backoff[MAX_ATTEMPTS] = {
	5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 10 * 3600, 10 * 3600
};

typedef enum Outcome
{
	OUTCOME_SENT, OUTCOME_BOUNCED, OUTCOME_REJECTED, OUTCOME_DEFERRED, OUTCOME_COUNT
} Outcome;

static const char *const outcome_names[OUTCOME_COUNT] = {
	"sent", "bounced", "rejected", "deferred"
};

typedef struct Report
{
	int64		message_id;
	int			attempt;
	Outcome		outcome;
	char	   *code;
	char	   *response;
	int			message;		/* index into messages */
	bool		repeated;
} Report;

typedef struct Message
{
	int64		message_id;
	int			slice;
	Datum		contact;
	TimestampTz decided_at;
	char	   *status;
	char	   *reason;
	int			attempt;
	char	   *key;
	TimestampTz expires_at;
	char	   *channel;
	char	   *template;
	char	   *recipient;
	char	   *journey;
	int64		enrollment_id;
	int			step_no;

	/* out */
	bool		changed;
	TimestampTz finished_at;	/* 0 = not finished */
	TimestampTz retry_at;		/* 0 = none */
	const char *event;			/* name, or NULL */
	bool		suppress;
	char	   *suppress_reason;
} Message;

typedef struct Session
{
	const Site *site;
	const char *relay;
	TimestampTz at;
	Report	   *reports;
	int			nreports;
	Message    *messages;		/* in the order of their ids */
	int			nmessages;
} Session;

/* -------- arguments -------- */

static int
take_array(FunctionCallInfo fcinfo, int argument, Oid type, Datum **values, bool **nulls)
{
	static const char *const names[] = {"relay", "message_ids", "attempts", "outcomes", "codes", "responses"};
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(argument);
	int			n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("%s must be a one-dimensional array", names[argument]));
	deconstruct_array(array, type, type == INT8OID ? 8 : type == INT4OID ? 4 : -1,
					  type != TEXTOID, type == INT8OID ? TYPALIGN_DOUBLE : TYPALIGN_INT,
					  values, nulls, &n);
	for (int i = 0; i < n && argument <= 3; i++)
		if ((*nulls)[i])
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("%s must not contain nulls", names[argument]));
	return n;
}

static Outcome
outcome_of(const char *name)
{
	for (int i = 0; i < OUTCOME_COUNT; i++)
		if (strcmp(name, outcome_names[i]) == 0)
			return (Outcome) i;
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("\"%s\" is not an outcome of a message", name),
			errhint("Outcomes are sent, bounced, rejected and deferred."));
}

/* At most max bytes of a text that a server somewhere has sent, with a note. */
static char *
clip(Datum value, bool isnull, int max)
{
	char	   *string;
	int			len;

	if (isnull)
		return NULL;
	string = TextDatumGetCString(value);
	len = strlen(string);
	if (len <= max)
		return string;
	return psprintf("%.*s [truncated from %d bytes]", pg_mbcliplen(string, len, max), string, len);
}

static void
take_reports(FunctionCallInfo fcinfo, Session *session)
{
	Datum	   *values[6];
	bool	   *nulls[6];
	int			n = take_array(fcinfo, 1, INT8OID, &values[1], &nulls[1]);

	if (take_array(fcinfo, 2, INT4OID, &values[2], &nulls[2]) != n ||
		take_array(fcinfo, 3, TEXTOID, &values[3], &nulls[3]) != n ||
		take_array(fcinfo, 4, TEXTOID, &values[4], &nulls[4]) != n ||
		take_array(fcinfo, 5, TEXTOID, &values[5], &nulls[5]) != n)
		ereport(ERROR,
				errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("message_ids, attempts, outcomes, codes and responses must have the same length"));
	if (n > MAX_REPORTS)
		ereport(ERROR,
				errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("at most %d reports can be made at once", MAX_REPORTS));

	session->nreports = n;
	session->reports = palloc0_array(Report, Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Report	   *report = &session->reports[i];

		report->message_id = DatumGetInt64(values[1][i]);
		report->attempt = DatumGetInt32(values[2][i]);
		report->outcome = outcome_of(TextDatumGetCString(values[3][i]));
		report->code = clip(values[4][i], nulls[4][i], MAX_CODE);
		report->response = clip(values[5][i], nulls[5][i], MAX_RESPONSE);
		if (report->attempt < 1)
			ereport(ERROR,
					errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("attempt %d of message " INT64_FORMAT " cannot have been made",
						   report->attempt, report->message_id));
	}
}

/* -------- messages -------- */

static int
compare_messages(const void *a, const void *b)
{
	int64		left = ((const Message *) a)->message_id;
	int64		right = ((const Message *) b)->message_id;

	return left < right ? -1 : left > right;
}

static Message *
find_message(const Session *session, int64 message_id)
{
	Message		wanted = {.message_id = message_id};

	if (session->nmessages == 0)
		return NULL;
	return bsearch(&wanted, session->messages, session->nmessages, sizeof(Message), compare_messages);
}

static void
fill_ids(const Session *session, Params *params)
{
	Datum	   *ids;

	pgj_params_init(params, session->site, session->nreports);
	ids = pgj_params_column(params, INT8OID, NULL);
	for (int i = 0; i < session->nreports; i++)
		ids[i] = Int64GetDatum(session->reports[i].message_id);
}

/* Lock the slices of all messages; which slice a message is in never changes. */
static void
lock_slices(const Session *session)
{
	static KeptPlan plan = {
		.sql = "SELECT DISTINCT m.slice FROM journey_state.message AS m WHERE m.message_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY m.slice"
	};
	MemoryContext context = CurrentMemoryContext;
	Params		params;
	int		   *slices;
	int			n;

	SPI_connect();
	fill_ids(session, &params);
	n = (int) pgj_plan_execute(&plan, &params);
	slices = MemoryContextAlloc(context, sizeof(int) * Max(n, 1));
	for (int row = 0; row < n; row++)
		slices[row] = DatumGetInt16(pgj_row_value(row, 1));
	for (int i = 0; i < n; i++)
		(void) pgj_slice_lock(session->site, slices[i], false);
	SPI_finish();
}

static void
read_messages(Session *session)
{
	static KeptPlan plan = {
		.sql = "SELECT m.message_id, m.slice, m.contact, m.decided_at, m.status, m.reason, m.attempt, m.idempotency_key, m.expires_at, "
		"m.channel, m.template, m.recipient, j.name, m.enrollment_id, m.step_no "
		"FROM journey_state.message AS m LEFT JOIN journey.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) m.journey_id "
		"WHERE m.message_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY m.message_id"
	};
	MemoryContext context = CurrentMemoryContext;
	Params		params;

	SPI_connect();
	fill_ids(session, &params);
	session->nmessages = (int) pgj_plan_execute(&plan, &params);
	session->messages = MemoryContextAllocZero(context, sizeof(Message) * Max(session->nmessages, 1));
	for (int row = 0; row < session->nmessages; row++)
	{
		Message    *message = &session->messages[row];

		message->message_id = DatumGetInt64(pgj_row_value(row, 1));
		message->slice = DatumGetInt16(pgj_row_value(row, 2));
		message->contact = pgj_row_copy(context, row, 3);
		message->decided_at = DatumGetTimestampTz(pgj_row_value(row, 4));
		message->status = pgj_row_text(context, row, 5);
		message->reason = pgj_row_text(context, row, 6);
		message->attempt = DatumGetInt32(pgj_row_value(row, 7));
		message->key = pgj_row_text(context, row, 8);
		message->expires_at = DatumGetTimestampTz(pgj_row_value(row, 9));
		message->channel = pgj_row_text(context, row, 10);
		message->template = pgj_row_text(context, row, 11);
		message->recipient = pgj_row_text(context, row, 12);
		message->journey = pgj_row_text(context, row, 13);
		message->enrollment_id = DatumGetInt64(pgj_row_value(row, 14));
		message->step_no = DatumGetInt32(pgj_row_value(row, 15));
	}
	SPI_finish();
}

/* Point each report to its message; complain of all that have none. */
static void
match_reports(Session *session)
{
	StringInfoData missing;

	initStringInfo(&missing);
	for (int i = 0; i < session->nreports; i++)
	{
		Report	   *report = &session->reports[i];
		Message    *message = find_message(session, report->message_id);

		if (message != NULL)
			report->message = message - session->messages;
		else if (missing.len < 1000)
			appendStringInfo(&missing, "%s" INT64_FORMAT, missing.len > 0 ? ", " : "", report->message_id);
		else if (missing.data[missing.len - 1] != '.')
			appendStringInfoString(&missing, ", ...");
	}
	if (missing.len > 0)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("messages do not exist: %s", missing.data));
}

static int
compare_reports(const Report *a, const Report *b)
{
	if (a->message_id != b->message_id)
		return a->message_id < b->message_id ? -1 : 1;
	if (a->attempt != b->attempt)
		return a->attempt < b->attempt ? -1 : 1;
	return (int) a->outcome - (int) b->outcome;
}

static int
compare_report_pointers(const void *a, const void *b)
{
	const Report *left = *(Report *const *) a;
	const Report *right = *(Report *const *) b;
	int			order = compare_reports(left, right);

	/* of equal ones the first in the call counts */
	return order != 0 ? order : (left < right ? -1 : left > right);
}

/* Mark what was reported before, in this call or an earlier one. */
static void
find_repeated(Session *session)
{
	static KeptPlan plan = {
		.sql = "SELECT r.message_id, r.attempt, r.kind FROM journey_state.message AS m "
		"JOIN journey_state.receipt AS r ON r.contact = m.contact AND r.message_id OPERATOR(pg_catalog.=) m.message_id "
		"WHERE m.message_id OPERATOR(pg_catalog.=) ANY ($1) AND r.kind OPERATOR(pg_catalog.=) ANY (ARRAY['sent', 'bounced', 'rejected', 'deferred'])"
	};
	MemoryContext context = CurrentMemoryContext;
	Report	  **sorted = palloc_array(Report *, Max(session->nreports, 1));
	Params		params;
	uint64		nrows;

	for (int i = 0; i < session->nreports; i++)
		sorted[i] = &session->reports[i];
	qsort(sorted, session->nreports, sizeof(Report *), compare_report_pointers);
	for (int i = 1; i < session->nreports; i++)
		sorted[i]->repeated = compare_reports(sorted[i - 1], sorted[i]) == 0;

	SPI_connect();
	fill_ids(session, &params);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Report		known = {.message_id = DatumGetInt64(pgj_row_value(row, 1)),
			.attempt = DatumGetInt32(pgj_row_value(row, 2))};
		int			low = 0;
		int			high = session->nreports;

		known.outcome = outcome_of(pgj_row_text(context, row, 3));
		while (low < high)
		{
			int			middle = (low + high) / 2;

			if (compare_reports(sorted[middle], &known) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < session->nreports && compare_reports(sorted[low], &known) == 0)
			sorted[low]->repeated = true;
	}
	SPI_finish();
}

/* -------- what a report does -------- */

static bool
is(const Message *message, const char *status)
{
	return strcmp(message->status, status) == 0;
}

static void
end_message(Session *session, Message *message, const char *status, const char *reason)
{
	message->status = pstrdup(status);
	message->reason = reason ? pstrdup(reason) : NULL;
	message->finished_at = session->at;
	message->retry_at = 0;
	message->event = status;
	message->changed = true;
}

/*
 * Full jitter, so that messages deferred together do not come back together;
 * from the key, so that the same message always waits the same.
 */
static TimestampTz
retry_time(const Message *message, TimestampTz at)
{
	int64		longest = backoff[Min(message->attempt, MAX_ATTEMPTS) - 1] * USECS_PER_SEC;
	uint64		hash = hash_bytes_extended((const unsigned char *) message->key, strlen(message->key),
										   message->attempt);
	double		fraction = (double) (hash >> 11) / 9007199254740992.0;	/* 2^53 */

	return at + USECS_PER_SEC + (int64) (fraction * (longest - USECS_PER_SEC));
}

static void
defer_message(Session *session, Message *message)
{
	TimestampTz retry_at = retry_time(message, session->at);

	if (message->attempt >= MAX_ATTEMPTS)
		end_message(session, message, "failed", "exhausted");
	else if (retry_at >= message->expires_at)
		end_message(session, message, "failed", "expired");
	else
	{
		message->status = "pending";
		message->reason = "deferred";
		message->retry_at = retry_at;
		message->changed = true;
	}
}

/* Codes that say the address itself does not work (RFC 3463). */
static bool
is_dead_address(const char *code)
{
	static const char *const dead[] = {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10"};

	for (int i = 0; code != NULL && i < lengthof(dead); i++)
		if (strcmp(code, dead[i]) == 0)
			return true;
	return false;
}

/*
 * A message ended by a bounce or a rejection stays so; "sent" ends any other,
 * also one withheld or given up meanwhile: the provider has it.
 */
static void
apply(Session *session, const Report *report)
{
	Message    *message = &session->messages[report->message];
	bool		current = report->attempt == message->attempt;
	bool		waiting = is(message, "claimed") || is(message, "pending");
	bool		refused = is(message, "bounced") || (is(message, "failed") && message->reason != NULL &&
													 strcmp(message->reason, "rejected") == 0);

	switch (report->outcome)
	{
		case OUTCOME_SENT:
			if (!is(message, "sent") && !refused)
				end_message(session, message, "sent", NULL);
			break;
		case OUTCOME_BOUNCED:
			if (current && is_dead_address(report->code) && message->recipient != NULL)
			{
				message->suppress = true;
				message->suppress_reason = psprintf("bounced %s", report->code);
			}
			if (current && waiting)
				end_message(session, message, "bounced", report->code ? report->code : "bounced");
			break;
		case OUTCOME_REJECTED:
			if (current && waiting)
				end_message(session, message, "failed", "rejected");
			break;
		case OUTCOME_DEFERRED:
			if (current && is(message, "claimed"))
				defer_message(session, message);
			break;
		case OUTCOME_COUNT:
			pg_unreachable();
	}
}

/* -------- writing -------- */

static void
write_messages(const Session *session)
{
	static KeptPlan plan = {
		.sql = "UPDATE journey_state.message AS m SET status = r.status, reason = r.reason, lease_until = r.retry_at, finished_at = r.finished_at "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7) AS r (contact, decided_at, message_id, status, reason, retry_at, finished_at) "
		"WHERE m.contact = r.contact AND m.decided_at OPERATOR(pg_catalog.=) r.decided_at "
		"AND m.message_id OPERATOR(pg_catalog.=) r.message_id"
	};
	Params		params;
	Datum	   *contact,
			   *decided,
			   *id,
			   *status,
			   *reason,
			   *retry,
			   *finished;
	bool	   *reason_null,
			   *retry_null,
			   *finished_null;
	int			n = 0;

	for (int i = 0; i < session->nmessages; i++)
		n += session->messages[i].changed;
	if (n == 0)
		return;

	SPI_connect();
	pgj_params_init(&params, session->site, n);
	contact = pgj_params_column(&params, session->site->key_type, NULL);
	decided = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	id = pgj_params_column(&params, INT8OID, NULL);
	status = pgj_params_column(&params, TEXTOID, NULL);
	reason = pgj_params_column(&params, TEXTOID, &reason_null);
	retry = pgj_params_column(&params, TIMESTAMPTZOID, &retry_null);
	finished = pgj_params_column(&params, TIMESTAMPTZOID, &finished_null);
	for (int i = n = 0; i < session->nmessages; i++)
	{
		const Message *message = &session->messages[i];

		if (!message->changed)
			continue;
		contact[n] = message->contact;
		decided[n] = TimestampTzGetDatum(message->decided_at);
		id[n] = Int64GetDatum(message->message_id);
		status[n] = CStringGetTextDatum(message->status);
		reason_null[n] = message->reason == NULL;
		if (message->reason != NULL)
			reason[n] = CStringGetTextDatum(message->reason);
		retry_null[n] = message->retry_at == 0;
		retry[n] = TimestampTzGetDatum(message->retry_at);
		finished_null[n] = message->finished_at == 0;
		finished[n] = TimestampTzGetDatum(message->finished_at);
		n++;
	}
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}

static void
write_retries(const Session *session)
{
	OutboxRow  *rows = palloc0_array(OutboxRow, Max(session->nmessages, 1));
	int			n = 0;

	for (int i = 0; i < session->nmessages; i++)
	{
		const Message *message = &session->messages[i];

		if (message->retry_at == 0)
			continue;
		rows[n].slice = message->slice;
		rows[n].contact = message->contact;
		rows[n].message_id = message->message_id;
		rows[n].decided_at = message->decided_at;
		rows[n].attempt = message->attempt;
		rows[n].available_at = message->retry_at;
		n++;
	}
	pgj_outbox_offer(session->site, rows, n);
}

static int
write_receipts(const Session *session)
{
	ReceiptRow *rows = palloc0_array(ReceiptRow, Max(session->nreports, 1));
	int			n = 0;

	for (int i = 0; i < session->nreports; i++)
	{
		const Report *report = &session->reports[i];

		if (report->repeated)
			continue;
		rows[n].contact = session->messages[report->message].contact;
		rows[n].at = session->at;
		rows[n].message_id = report->message_id;
		rows[n].attempt = report->attempt;
		rows[n].kind = outcome_names[report->outcome];
		rows[n].relay = session->relay;
		rows[n].code = report->code;
		rows[n].response = report->response;
		n++;
	}
	pgj_receipt_append(session->site, rows, n);
	return n;
}

static void
write_suppressions(const Session *session)
{
	static KeptPlan plan = {
		.sql = "INSERT INTO journey_state.suppression (channel, address, contact, reason, at) "
		"SELECT r.channel, pg_catalog.lower(r.address), r.contact, r.reason, $5 "
		"FROM unnest($1, $2, $3, $4) AS r (contact, channel, address, reason) "
		"ORDER BY 1, 2 ON CONFLICT DO NOTHING"
	};
	Params		params;
	Datum	   *contact,
			   *channel,
			   *address,
			   *reason;
	int			n = 0;

	for (int i = 0; i < session->nmessages; i++)
		n += session->messages[i].suppress;
	if (n == 0)
		return;
	SPI_connect();
	pgj_params_init(&params, session->site, n);
	contact = pgj_params_column(&params, session->site->key_type, NULL);
	channel = pgj_params_column(&params, TEXTOID, NULL);
	address = pgj_params_column(&params, TEXTOID, NULL);
	reason = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = n = 0; i < session->nmessages; i++)
	{
		const Message *message = &session->messages[i];

		if (!message->suppress)
			continue;
		contact[n] = message->contact;
		channel[n] = CStringGetTextDatum(message->channel);
		address[n] = CStringGetTextDatum(message->recipient);
		reason[n++] = CStringGetTextDatum(message->suppress_reason);
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(session->at));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}

/* So that WAIT FOR can listen to what became of a message. */
static Datum
event_properties(const Message *message)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"message_id\": " INT64_FORMAT ", \"enrollment_id\": " INT64_FORMAT ", \"step_no\": %d, \"journey\": ",
					 message->message_id, message->enrollment_id, message->step_no);
	if (message->journey != NULL)
		escape_json(&json, message->journey);
	else
		appendStringInfoString(&json, "null");
	appendStringInfoString(&json, ", \"template\": ");
	escape_json(&json, message->template);
	appendStringInfoString(&json, ", \"channel\": ");
	escape_json(&json, message->channel);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
write_events(const Session *session)
{
	EventRow   *rows = palloc0_array(EventRow, Max(session->nmessages, 1));
	int			n = 0;

	for (int i = 0; i < session->nmessages; i++)
	{
		const Message *message = &session->messages[i];

		if (message->event == NULL)
			continue;
		rows[n].contact = message->contact;
		rows[n].name = message->event;
		rows[n].at = session->at;
		rows[n].properties = event_properties(message);
		n++;
	}
	if (n > 0)
		pgj_event_append(session->site, rows, n);
}

/* -------- functions -------- */

static void
refuse_null(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("no argument of this function may be null"));
}

/*
 * journey.report(relay text, message_ids bigint[], attempts integer[],
 *				  outcomes text[], codes text[], responses text[], at timestamptz)
 */
Datum
pgj_sql_report(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	Session		session = {.site = site};
	SavedUser	saved;
	int			nreceipts = 0;

	refuse_null(fcinfo);
	pgj_require_read_committed();
	pgj_refuse_superuser(site);
	pgj_refuse_copy(site);
	session.relay = text_to_cstring(PG_GETARG_TEXT_PP(0));
	session.at = PG_GETARG_TIMESTAMPTZ(6);
	if (TIMESTAMP_NOT_FINITE(session.at))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("at must be finite"));
	take_reports(fcinfo, &session);

	saved = pgj_become_owner(site);
	pgj_relay_require(site, session.relay, false);
	if (session.nreports > 0)
	{
		lock_slices(&session);
		read_messages(&session);
		match_reports(&session);
		find_repeated(&session);
		for (int i = 0; i < session.nreports; i++)
			if (!session.reports[i].repeated)
				apply(&session, &session.reports[i]);
		write_messages(&session);
		write_retries(&session);
		nreceipts = write_receipts(&session);
		write_suppressions(&session);
		write_events(&session);
	}
	pgj_become_caller(saved);
	PG_RETURN_INT32(nreceipts);
}

/*
 * journey.retry_message(message_id bigint, at timestamptz)
 */
Datum
pgj_sql_retry_message(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	Report		report = {.message_id = PG_GETARG_INT64(0)};
	Session		session = {.site = site, .reports = &report, .nreports = 1};
	Message    *message;
	SavedUser	saved;

	pgj_require_read_committed();
	pgj_refuse_superuser(site);
	session.at = PG_GETARG_TIMESTAMPTZ(1);

	saved = pgj_become_owner(site);
	lock_slices(&session);
	read_messages(&session);
	match_reports(&session);
	message = &session.messages[0];
	if (!is(message, "parked") && !is(message, "failed"))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("message " INT64_FORMAT " is %s", message->message_id, message->status),
				errhint("Only parked and failed messages can be tried again."));
	if (session.at >= message->expires_at)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("message " INT64_FORMAT " expired at %s", message->message_id,
					   timestamptz_to_str(message->expires_at)));

	/* lease_until = at: due at once */
	message->status = "pending";
	message->reason = "retried";
	message->retry_at = session.at;
	message->changed = true;
	write_messages(&session);
	write_retries(&session);
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}
