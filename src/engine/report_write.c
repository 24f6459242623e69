/*-------------------------------------------------------------------------
 *
 * report_write.c
 *	  Write what relays' reports did to messages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "capture/event.h"
#include "engine/report.h"
#include "feedback/receipt.h"
#include "outbox/outbox.h"
#include "plan.h"

void
pgj_reported_write(const ReportSession *session)
{
	static KeptPlan plan = {
		.sql =
			"UPDATE journey_state.message AS m SET status = r.status, reason = r.reason, lease_until = r.retry_at, finished_at = r.finished_at "
			"FROM unnest($1, $2, $3, $4, $5, $6, $7) AS r (contact, decided_at, message_id, status, reason, retry_at, finished_at) "
			"WHERE m.contact = r.contact AND m.decided_at OPERATOR(pg_catalog.=) r.decided_at "
			"AND m.message_id OPERATOR(pg_catalog.=) r.message_id"
	};
	Params params;
	Datum *contact, *decided, *id, *status, *reason, *retry, *finished;
	bool *reason_null, *retry_null, *finished_null;
	int n = 0;

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
		const ReportedMessage *message = &session->messages[i];

		if (!message->changed)
			continue;
		contact[n] = message->contact;
		decided[n] = TimestampTzGetDatum(message->decided_at);
		id[n] = Int64GetDatum(message->message_id);
		status[n] = CStringGetTextDatum(message->status);
		reason[n] = pgj_text_or_null(message->reason, &reason_null[n]);
		retry_null[n] = message->retry_at == 0;
		retry[n] = TimestampTzGetDatum(message->retry_at);
		finished_null[n] = message->finished_at == 0;
		finished[n] = TimestampTzGetDatum(message->finished_at);
		n++;
	}
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}

void
pgj_retries_write(const ReportSession *session)
{
	OutboxRow *rows = palloc0_array(OutboxRow, Max(session->nmessages, 1));
	int n = 0;

	for (int i = 0; i < session->nmessages; i++)
	{
		const ReportedMessage *message = &session->messages[i];

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

int
pgj_receipts_write(const ReportSession *session)
{
	ReceiptRow *rows = palloc0_array(ReceiptRow, Max(session->nreports, 1));
	int n = 0;

	for (int i = 0; i < session->nreports; i++)
	{
		const Report *report = &session->reports[i];

		if (report->repeated)
			continue;
		rows[n].contact = session->messages[report->message].contact;
		rows[n].at = session->at;
		rows[n].message_id = report->message_id;
		rows[n].attempt = report->attempt;
		rows[n].kind = pgj_outcome_names[report->outcome];
		rows[n].relay = session->relay;
		rows[n].code = report->code;
		rows[n].response = report->response;
		n++;
	}
	pgj_receipt_append(session->site, rows, n);
	return n;
}

/* So that WAIT FOR can listen to what became of a message. */
static Datum
event_properties(const ReportedMessage *message)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(
		&json,
		"{\"message_id\": " INT64_FORMAT ", \"enrollment_id\": " INT64_FORMAT
		", \"step_no\": %d, \"journey\": ",
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

static int
add_event(EventRow *rows, int n, const ReportSession *session,
		  const ReportedMessage *message, const char *name)
{
	rows[n].contact = message->contact;
	rows[n].name = name;
	rows[n].at = session->at;
	rows[n].properties = event_properties(message);
	return n + 1;
}

void
pgj_receipt_events_write(const ReportSession *session)
{
	EventRow *rows = palloc0_array(EventRow, 3 * Max(session->nmessages, 1));
	int n = 0;

	for (int i = 0; i < session->nmessages; i++)
	{
		const ReportedMessage *message = &session->messages[i];

		if (message->event != NULL)
			n = add_event(rows, n, session, message, message->event);
		if (message->delivered)
			n = add_event(rows, n, session, message, "delivered");
		if (message->complained)
			n = add_event(rows, n, session, message, "complained");
	}
	if (n > 0)
		pgj_event_append(session->site, rows, n);
}
