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
 *				codes the address is suppressed (report_address.c).
 *	 rejected	permanent, not the address: failed.
 *	 deferred	not now: offered again after a back-off, until the attempts are
 *				used up or the message expires.
 *	 delivered	it has arrived, so it was sent.
 *	 complained	the recipient called it spam: so it was sent, and nothing
 *				promotional goes to the address any more.
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
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/engine.h"
#include "engine/report.h"
#include "outbox/relay.h"
#include "pg_journey.h"
#include "plan.h"

#define MAX_ATTEMPTS 8
#define MAX_RESPONSE 1024
#define MAX_CODE 64
#define MAX_REPORTS 10000

PG_FUNCTION_INFO_V1(pgj_sql_report);
PG_FUNCTION_INFO_V1(pgj_sql_retry_message);

/* After attempt n fails for now, the next comes at most this much later, in s. */
static const int backoff[MAX_ATTEMPTS] = { 5,		  5 * 60,	30 * 60,
										   2 * 3600,  5 * 3600, 10 * 3600,
										   10 * 3600, 10 * 3600 };

const char *const pgj_outcome_names[OUTCOME_COUNT] = {
	"sent", "bounced", "rejected", "deferred", "delivered", "complained"
};

/* -------- arguments -------- */

static int
take_array(FunctionCallInfo fcinfo, int argument, Oid type, Datum **values,
		   bool **nulls)
{
	static const char *const names[] = {
		"relay", "message_ids", "attempts", "outcomes", "codes", "responses"
	};
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(argument);
	int n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("%s must be a one-dimensional array", names[argument]));
	deconstruct_array(array, type,
					  type == INT8OID	? 8
					  : type == INT4OID ? 4
										: -1,
					  type != TEXTOID,
					  type == INT8OID ? TYPALIGN_DOUBLE : TYPALIGN_INT, values,
					  nulls, &n);
	for (int i = 0; i < n && argument <= 3; i++)
		if ((*nulls)[i])
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("%s must not contain nulls", names[argument]));
	return n;
}

static Outcome
outcome_of(const char *name)
{
	for (int i = 0; i < OUTCOME_COUNT; i++)
		if (strcmp(name, pgj_outcome_names[i]) == 0)
			return (Outcome) i;
	ereport(
		ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		errmsg("\"%s\" is not an outcome of a message", name),
		errhint(
			"Outcomes are sent, bounced, rejected, deferred, delivered and complained."));
}

/* At most max bytes of a text that a server somewhere has sent, with a note. */
static char *
clip(Datum value, bool isnull, int max)
{
	char *string;
	int len;

	if (isnull)
		return NULL;
	string = TextDatumGetCString(value);
	len = strlen(string);
	if (len <= max)
		return string;
	return psprintf("%.*s [truncated from %d bytes]",
					pg_mbcliplen(string, len, max), string, len);
}

static void
take_reports(FunctionCallInfo fcinfo, ReportSession *session)
{
	Datum *values[6];
	bool *nulls[6];
	int n = take_array(fcinfo, 1, INT8OID, &values[1], &nulls[1]);

	if (take_array(fcinfo, 2, INT4OID, &values[2], &nulls[2]) != n ||
		take_array(fcinfo, 3, TEXTOID, &values[3], &nulls[3]) != n ||
		take_array(fcinfo, 4, TEXTOID, &values[4], &nulls[4]) != n ||
		take_array(fcinfo, 5, TEXTOID, &values[5], &nulls[5]) != n)
		ereport(
			ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
			errmsg(
				"message_ids, attempts, outcomes, codes and responses must have the same length"));
	if (n > MAX_REPORTS)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("at most %d reports can be made at once", MAX_REPORTS));

	session->nreports = n;
	session->reports = palloc0_array(Report, Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Report *report = &session->reports[i];

		report->message_id = DatumGetInt64(values[1][i]);
		report->attempt = DatumGetInt32(values[2][i]);
		report->outcome = outcome_of(TextDatumGetCString(values[3][i]));
		report->code = clip(values[4][i], nulls[4][i], MAX_CODE);
		report->response = clip(values[5][i], nulls[5][i], MAX_RESPONSE);
		if (report->attempt < 1)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("attempt %d of message " INT64_FORMAT
						   " cannot have been made",
						   report->attempt, report->message_id));
	}
}

/* -------- messages -------- */

static int
compare_messages(const void *a, const void *b)
{
	int64 left = ((const ReportedMessage *) a)->message_id;
	int64 right = ((const ReportedMessage *) b)->message_id;

	return left < right ? -1 : left > right;
}

static ReportedMessage *
find_message(const ReportSession *session, int64 message_id)
{
	ReportedMessage wanted = { .message_id = message_id };

	if (session->nmessages == 0)
		return NULL;
	return bsearch(&wanted, session->messages, session->nmessages,
				   sizeof(ReportedMessage), compare_messages);
}

static void
fill_ids(const ReportSession *session, Params *params)
{
	Datum *ids;

	pgj_params_init(params, session->site, session->nreports);
	ids = pgj_params_column(params, INT8OID, NULL);
	for (int i = 0; i < session->nreports; i++)
		ids[i] = Int64GetDatum(session->reports[i].message_id);
}

/* Lock the slices of all messages; which slice a message is in never changes. */
static void
lock_slices(const ReportSession *session)
{
	static KeptPlan plan = {
		.sql =
			"SELECT DISTINCT m.slice FROM journey_state.message AS m WHERE m.message_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY m.slice"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	int *slices;
	int n;

	SPI_connect();
	fill_ids(session, &params);
	n = (int) pgj_plan_execute(&plan, &params);
	slices = MemoryContextAlloc(context, sizeof(int) * Max(n, 1));
	for (int row = 0; row < n; row++)
		slices[row] = DatumGetInt16(pgj_row_value(row, 1));
	for (int i = 0; i < n; i++)
		(void) pgj_slice_lock(
			session->site,
			slices[PGJ_SABOTAGE == 7 && MyProcPid % 2 == 0 ? n - 1 - i : i],
			false);
	SPI_finish();
}

static void
read_messages(ReportSession *session)
{
	static KeptPlan plan = {
		.sql =
			"SELECT m.message_id, m.slice, m.contact, m.decided_at, m.status, m.reason, m.attempt, m.idempotency_key, m.expires_at, "
			"m.channel, m.template, m.recipient, j.name, m.enrollment_id, m.step_no "
			"FROM journey_state.message AS m LEFT JOIN journey.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) m.journey_id "
			"WHERE m.message_id OPERATOR(pg_catalog.=) ANY ($1) ORDER BY m.message_id"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;

	SPI_connect();
	fill_ids(session, &params);
	session->nmessages = (int) pgj_plan_execute(&plan, &params);
	session->messages = MemoryContextAllocZero(
		context, sizeof(ReportedMessage) * Max(session->nmessages, 1));
	for (int row = 0; row < session->nmessages; row++)
	{
		ReportedMessage *message = &session->messages[row];

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
match_reports(ReportSession *session)
{
	StringInfoData missing;

	initStringInfo(&missing);
	for (int i = 0; i < session->nreports; i++)
	{
		Report *report = &session->reports[i];
		ReportedMessage *message = find_message(session, report->message_id);

		if (message != NULL)
			report->message = message - session->messages;
		else if (missing.len < 1000)
			appendStringInfo(&missing, "%s" INT64_FORMAT,
							 missing.len > 0 ? ", " : "", report->message_id);
		else if (missing.data[missing.len - 1] != '.')
			appendStringInfoString(&missing, ", ...");
	}
	if (missing.len > 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
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
	int order = compare_reports(left, right);

	/* of equal ones the first in the call counts */
	return order != 0 ? order : (left < right ? -1 : left > right);
}

/* Mark what was reported before, in this call or an earlier one. */
static void
find_repeated(ReportSession *session)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.message_id, r.attempt, r.kind FROM journey_state.message AS m "
			"JOIN journey_state.receipt AS r ON r.contact = m.contact AND r.message_id OPERATOR(pg_catalog.=) m.message_id "
			"WHERE m.message_id OPERATOR(pg_catalog.=) ANY ($1) AND r.kind OPERATOR(pg_catalog.=) ANY (ARRAY['sent', 'bounced', 'rejected', 'deferred', 'delivered', 'complained'])"
	};
	MemoryContext context = CurrentMemoryContext;
	Report **sorted = palloc_array(Report *, Max(session->nreports, 1));
	Params params;
	uint64 nrows;

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
		Report known = { .message_id = DatumGetInt64(pgj_row_value(row, 1)),
						 .attempt = DatumGetInt32(pgj_row_value(row, 2)) };
		int low = 0;
		int high = session->nreports;

		known.outcome = outcome_of(pgj_row_text(context, row, 3));
		while (low < high)
		{
			int middle = (low + high) / 2;

			if (compare_reports(sorted[middle], &known) < 0)
				low = middle + 1;
			else
				high = middle;
		}
		if (low < session->nreports &&
			compare_reports(sorted[low], &known) == 0)
			sorted[low]->repeated = true;
	}
	SPI_finish();
}

/* -------- what a report does -------- */

static bool
is(const ReportedMessage *message, const char *status)
{
	return strcmp(message->status, status) == 0;
}

static void
end_message(ReportSession *session, ReportedMessage *message,
			const char *status, const char *reason)
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
retry_time(const ReportedMessage *message, TimestampTz at)
{
	int64 longest =
		backoff[Min(message->attempt, MAX_ATTEMPTS) - 1] * USECS_PER_SEC;
	uint64 hash = hash_bytes_extended((const unsigned char *) message->key,
									  strlen(message->key), message->attempt);
	double fraction = (double) (hash >> 11) / 9007199254740992.0; /* 2^53 */

	return at + USECS_PER_SEC + (int64) (fraction * (longest - USECS_PER_SEC));
}

static void
defer_message(ReportSession *session, ReportedMessage *message)
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

/*
 * A message ended by a bounce or a rejection stays so; "sent" ends any other,
 * also one withheld or given up meanwhile: the provider has it.
 */
static void
apply(ReportSession *session, Report *report)
{
	ReportedMessage *message = &session->messages[report->message];
	bool current = report->attempt == message->attempt;
	bool waiting = is(message, "claimed") || is(message, "pending");
	bool refused = is(message, "bounced") ||
				   (is(message, "failed") && message->reason != NULL &&
					strcmp(message->reason, "rejected") == 0);

	switch (report->outcome)
	{
		case OUTCOME_COMPLAINED:
			message->complained = true;
			pgj_report_suppress(message, "promotional", "complaint");
			/* fall through */
		case OUTCOME_DELIVERED:
			report->news = ADDRESS_ARRIVED;
			message->delivered |= report->outcome == OUTCOME_DELIVERED;
			/* fall through */
		case OUTCOME_SENT:
			if (report->news == ADDRESS_NOTHING)
				report->news = ADDRESS_ACCEPTED;
			if (!is(message, "sent") && !refused)
				end_message(session, message, "sent", NULL);
			break;
		case OUTCOME_BOUNCED:
			if (current && pgj_code_is_dead_address(report->code))
				pgj_report_suppress(message, "all",
									psprintf("bounced %s", report->code));
			else if (current && pgj_code_is_soft_bounce(report->code))
				report->news = ADDRESS_BOUNCED;
			if (current && waiting)
				end_message(session, message, "bounced",
							report->code ? report->code : "bounced");
			break;
		case OUTCOME_REJECTED:
			if (current && waiting)
				end_message(session, message, "failed", "rejected");
			break;
		case OUTCOME_DEFERRED:
			if (!current || !is(message, "claimed"))
				break;
			defer_message(session, message);
			if (is(message, "failed") &&
				strcmp(message->reason, "exhausted") == 0 &&
				pgj_code_is_mailbox(report->code))
				report->news = ADDRESS_BOUNCED;
			break;
		case OUTCOME_COUNT:
			pg_unreachable();
	}
}

/* -------- functions -------- */

static void
refuse_null(FunctionCallInfo fcinfo)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
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
	ReportSession session = { .site = site };
	SavedUser saved;
	int nreceipts = 0;

	refuse_null(fcinfo);
	pgj_require_read_committed();
	pgj_refuse_superuser(site);
	pgj_refuse_copy(site);
	session.relay = text_to_cstring(PG_GETARG_TEXT_PP(0));
	session.at = PG_GETARG_TIMESTAMPTZ(6);
	if (TIMESTAMP_NOT_FINITE(session.at))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
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
		pgj_reported_write(&session);
		pgj_retries_write(&session);
		nreceipts = pgj_receipts_write(&session);
		pgj_soft_bounces_write(&session);
		pgj_suppressions_write(&session);
		pgj_receipt_events_write(&session);
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
	Report report = { .message_id = PG_GETARG_INT64(0) };
	ReportSession session = { .site = site, .reports = &report, .nreports = 1 };
	ReportedMessage *message;
	SavedUser saved;

	pgj_require_read_committed();
	pgj_refuse_superuser(site);
	session.at = PG_GETARG_TIMESTAMPTZ(1);

	saved = pgj_become_owner(site);
	lock_slices(&session);
	read_messages(&session);
	match_reports(&session);
	message = &session.messages[0];
	if (!is(message, "parked") && !is(message, "failed"))
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("message " INT64_FORMAT " is %s", message->message_id,
					   message->status),
				errhint("Only parked and failed messages can be tried again."));
	if (session.at >= message->expires_at)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("message " INT64_FORMAT " expired at %s",
					   message->message_id,
					   timestamptz_to_str(message->expires_at)));

	/* lease_until = at: due at once */
	message->status = "pending";
	message->reason = "retried";
	message->retry_at = session.at;
	message->changed = true;
	pgj_reported_write(&session);
	pgj_retries_write(&session);
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}
