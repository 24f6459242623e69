/*-------------------------------------------------------------------------
 *
 * offer.c
 *	  Read the rows of the outbox that a claim has come to, and their messages.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "engine/claim.h"
#include "plan.h"

/* A message whose relay never reported this often is not offered again. */
#define MAX_SILENT_ATTEMPTS 8

enum
{
	OUTBOX_AVAILABLE_AT = 1,
	OUTBOX_ID,
	OUTBOX_CONTACT,
	OUTBOX_CONTACT_NO,
	OUTBOX_MESSAGE_ID,
	OUTBOX_DECIDED_AT,
	OUTBOX_ATTEMPT,
	OUTBOX_LIVE,
	OUTBOX_SILENT,
	OUTBOX_KEY,
	OUTBOX_ENROLLMENT_ID,
	OUTBOX_RUN_KEY,
	OUTBOX_JOURNEY_ID,
	OUTBOX_VERSION_ID,
	OUTBOX_STEP_NO,
	OUTBOX_VISIT,
	OUTBOX_CHANNEL,
	OUTBOX_TOPIC,
	OUTBOX_PRIORITY,
	OUTBOX_SINCE,
	OUTBOX_EXPIRES_AT,
	OUTBOX_EXITED,
	OUTBOX_JOURNEY_STATUS,
	OUTBOX_SUBJECT,
	OUTBOX_BODY,
	OUTBOX_HTML,
	OUTBOX_SETTINGS,
	OUTBOX_DATA,
	OUTBOX_TEMPLATE
};

static KeptPlan read_outbox_plan = {
	.sql =
		"SELECT o.available_at, o.outbox_id, o.contact, pg_catalog.dense_rank() OVER (ORDER BY o.contact)::integer, "
		"o.message_id, o.decided_at, o.attempt, "
		"pg_catalog.row_number() OVER (PARTITION BY o.message_id, o.attempt ORDER BY o.available_at, o.outbox_id) OPERATOR(pg_catalog.=) 1 "
		"AND COALESCE(m.attempt OPERATOR(pg_catalog.=) o.attempt "
		"AND m.status OPERATOR(pg_catalog.=) ANY (ARRAY['pending', 'claimed']) "
		"AND (m.lease_until IS NULL OR m.lease_until OPERATOR(pg_catalog.<=) $4), false), "
		"COALESCE(m.status OPERATOR(pg_catalog.=) 'claimed', false), "
		"m.idempotency_key, m.enrollment_id, COALESCE(e.key, ''), m.journey_id, m.version_id, m.step_no, m.visit, m.channel, m.topic, m.priority, m.since, m.expires_at, "
		"CASE WHEN e.status OPERATOR(pg_catalog.=) 'exited' THEN COALESCE(e.end_reason, '') END, CASE WHEN w.dropped THEN 'dropped' ELSE COALESCE(j.status, 'dropped') END, "
		"t.subject, t.body, t.html, h.settings, "
		"pg_catalog.jsonb_build_object("
		"'event', pg_catalog.jsonb_build_object('id', e.event_id, 'name', v.name, 'at', e.event_at, 'properties', COALESCE(v.properties, '{}')), "
		"'enrollment', pg_catalog.jsonb_build_object('id', e.enrollment_id, 'key', e.key, 'entered_at', e.entered_at), "
		"'message', pg_catalog.jsonb_build_object('id', m.message_id, 'key', m.idempotency_key), 'now', $4), "
		"m.template "
		"FROM (SELECT * FROM journey_state.outbox AS b WHERE b.slice OPERATOR(pg_catalog.=) $1 "
		"AND b.available_at OPERATOR(pg_catalog.>=) $2 AND b.available_at OPERATOR(pg_catalog.<=) $4 "
		"AND (b.available_at, b.outbox_id) OPERATOR(pg_catalog.>) ($2, $3) "
		"ORDER BY b.available_at, b.outbox_id LIMIT $5) AS o "
		"LEFT JOIN journey_state.message AS m ON m.contact = o.contact "
		"AND m.decided_at OPERATOR(pg_catalog.=) o.decided_at AND m.message_id OPERATOR(pg_catalog.=) o.message_id "
		"LEFT JOIN journey_state.enrollment AS e ON e.contact = m.contact AND e.enrollment_id OPERATOR(pg_catalog.=) m.enrollment_id "
		"LEFT JOIN journey_state.event AS v ON v.contact = e.contact AND v.at OPERATOR(pg_catalog.=) e.event_at "
		"AND v.event_id OPERATOR(pg_catalog.=) e.event_id "
		"LEFT JOIN journey.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) m.journey_id "
		"LEFT JOIN journey.version AS w ON w.version_id OPERATOR(pg_catalog.=) m.version_id "
		"LEFT JOIN journey.template AS t ON t.name OPERATOR(pg_catalog.=) m.template "
		"AND t.channel OPERATOR(pg_catalog.=) m.channel "
		"LEFT JOIN journey.channel AS h ON h.name OPERATOR(pg_catalog.=) m.channel "
		"ORDER BY o.available_at, o.outbox_id"
};

/* Fill an offer whose message can still go. */
static void
read_live(const Claim *claim, Offer *offer, uint64 row)
{
	MemoryContext context = claim->batch_context;
	const char *status = pgj_row_text(context, row, OUTBOX_JOURNEY_STATUS);
	bool silent = DatumGetBool(pgj_row_value(row, OUTBOX_SILENT));

	offer->key = pgj_row_text(context, row, OUTBOX_KEY);
	offer->enrollment_id =
		DatumGetInt64(pgj_row_value(row, OUTBOX_ENROLLMENT_ID));
	offer->run_key = pgj_row_text(context, row, OUTBOX_RUN_KEY);
	offer->journey_id = DatumGetInt32(pgj_row_value(row, OUTBOX_JOURNEY_ID));
	offer->version_id = DatumGetInt32(pgj_row_value(row, OUTBOX_VERSION_ID));
	offer->step_no = DatumGetInt32(pgj_row_value(row, OUTBOX_STEP_NO));
	offer->visit = DatumGetInt32(pgj_row_value(row, OUTBOX_VISIT));
	offer->channel = pgj_row_text(context, row, OUTBOX_CHANNEL);
	offer->topic = pgj_row_text(context, row, OUTBOX_TOPIC);
	offer->template = pgj_row_text(context, row, OUTBOX_TEMPLATE);
	offer->priority = DatumGetInt32(pgj_row_value(row, OUTBOX_PRIORITY));
	offer->since = DatumGetTimestampTz(pgj_row_value(row, OUTBOX_SINCE));
	offer->expires_at =
		DatumGetTimestampTz(pgj_row_value(row, OUTBOX_EXPIRES_AT));
	offer->exited = pgj_row_text(context, row, OUTBOX_EXITED);
	offer->subject = pgj_row_text(context, row, OUTBOX_SUBJECT);
	offer->body = pgj_row_text(context, row, OUTBOX_BODY);
	offer->html = pgj_row_text(context, row, OUTBOX_HTML);
	offer->has_settings = !pgj_row_null(row, OUTBOX_SETTINGS);
	if (offer->has_settings)
		offer->settings = pgj_row_copy(context, row, OUTBOX_SETTINGS);
	offer->data = pgj_row_copy(context, row, OUTBOX_DATA);

	if (strcmp(status, "paused") == 0)
		offer->outcome = OFFER_HELD;
	else if (strcmp(status, "dropped") == 0)
		pgj_offer_withhold(offer, "journey_dropped");
	else if (silent && offer->attempt >= MAX_SILENT_ATTEMPTS)
		pgj_offer_park(
			offer, "relay_silent",
			"the relay has not reported on the last of many attempts");
	else
		offer->outcome = OFFER_OPEN;
}

/*
 * Read the next rows of the outbox after the progress, which moves on to the
 * last of them.
 */
int
pgj_claim_read(Claim *claim, Offer **offers, int limit)
{
	MemoryContext context = claim->batch_context;
	Params params;
	int n;

	SPI_connect();
	pgj_params_init(&params, claim->site, 0);
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(claim->slice));
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(claim->due_at));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(claim->due_id));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(claim->at));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(limit));
	n = (int) pgj_plan_execute(&read_outbox_plan, &params);
	*offers = MemoryContextAllocZero(context, sizeof(Offer) * Max(n, 1));
	for (int row = 0; row < n; row++)
	{
		Offer *offer = &(*offers)[row];

		claim->due_at =
			DatumGetTimestampTz(pgj_row_value(row, OUTBOX_AVAILABLE_AT));
		claim->due_id = DatumGetInt64(pgj_row_value(row, OUTBOX_ID));
		offer->contact = pgj_row_copy(context, row, OUTBOX_CONTACT);
		offer->contact_no =
			DatumGetInt32(pgj_row_value(row, OUTBOX_CONTACT_NO));
		offer->message_id =
			DatumGetInt64(pgj_row_value(row, OUTBOX_MESSAGE_ID));
		offer->decided_at =
			DatumGetTimestampTz(pgj_row_value(row, OUTBOX_DECIDED_AT));
		offer->attempt = DatumGetInt32(pgj_row_value(row, OUTBOX_ATTEMPT));
		offer->outcome = OFFER_VOID;
		if (DatumGetBool(pgj_row_value(row, OUTBOX_LIVE)))
			read_live(claim, offer, row);
	}
	SPI_finish();
	return n;
}
