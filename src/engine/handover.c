/*-------------------------------------------------------------------------
 *
 * handover.c
 *	  Write the outcome of a claim.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "engine/claim.h"
#include "feedback/receipt.h"
#include "gate/gate.h"
#include "outbox/outbox.h"
#include "plan.h"

/* When to look again at a message whose contact's consent is being changed. */
#define LATER (5 * USECS_PER_SEC)

static int
count_outcome(Offer **offers, int n, OfferOutcome outcome)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += offers[i]->outcome == outcome;
	return count;
}

/*
 * Only the slice's holder changes messages, and the rows were read under its
 * lock: one that is gone now was taken away by hand.
 */
static void
expect(uint64 found, int wanted)
{
	if (found != wanted)
		elog(ERROR, "updated " UINT64_FORMAT " of %d messages", found, wanted);
}

static void
mark_claimed(const Claim *claim, Offer **offers, int n)
{
	static KeptPlan plan = {
		.sql =
			"UPDATE journey_state.message AS m SET status = 'claimed', attempt = r.attempt, claimed_at = COALESCE(m.claimed_at, $6), "
			"lease_until = $7, relay = $8, recipient = r.recipient, reason = NULL "
			"FROM unnest($1, $2, $3, $4, $5) AS r (contact, decided_at, message_id, attempt, recipient) "
			"WHERE m.contact = r.contact AND m.decided_at OPERATOR(pg_catalog.=) r.decided_at "
			"AND m.message_id OPERATOR(pg_catalog.=) r.message_id"
	};
	Params params;
	Datum *contact, *decided, *message, *attempt, *recipient;

	SPI_connect();
	pgj_params_init(&params, claim->site, n);
	contact = pgj_params_column(&params, claim->site->key_type, NULL);
	decided = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	message = pgj_params_column(&params, INT8OID, NULL);
	attempt = pgj_params_column(&params, INT4OID, NULL);
	recipient = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		contact[i] = offers[i]->contact;
		decided[i] = TimestampTzGetDatum(offers[i]->decided_at);
		message[i] = Int64GetDatum(offers[i]->message_id);
		attempt[i] = Int32GetDatum(offers[i]->attempt + 1);
		recipient[i] = CStringGetTextDatum(offers[i]->recipient);
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(claim->at));
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(claim->lease_until));
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(claim->relay));
	expect(pgj_plan_execute(&plan, &params), n);
	SPI_finish();
}

static void
append_lease_ends(const Claim *claim, Offer **offers, int n)
{
	OutboxRow *rows = palloc0_array(OutboxRow, n);

	for (int i = 0; i < n; i++)
	{
		rows[i].slice = claim->slice;
		rows[i].contact = offers[i]->contact;
		rows[i].message_id = offers[i]->message_id;
		rows[i].decided_at = offers[i]->decided_at;
		rows[i].attempt = offers[i]->attempt + 1;
		rows[i].available_at = claim->lease_until;
	}
	pgj_outbox_offer(claim->site, rows, n);
}

static void
append_receipts(const Claim *claim, Offer **offers, int n)
{
	ReceiptRow *rows = palloc0_array(ReceiptRow, n);

	for (int i = 0; i < n; i++)
	{
		rows[i].contact = offers[i]->contact;
		rows[i].at = claim->at;
		rows[i].message_id = offers[i]->message_id;
		rows[i].attempt = offers[i]->attempt + 1;
		rows[i].kind = "claimed";
		rows[i].relay = claim->relay;
	}
	pgj_receipt_append(claim->site, rows, n);
}

static Datum
headers_of(const Offer *offer)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"X-Journey-Message\": ");
	escape_json(&json, offer->key);
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

static void
put_result(const Claim *claim, const Offer *offer)
{
	Datum values[12];
	bool nulls[12] = { false };

	values[0] = Int64GetDatum(offer->message_id);
	values[1] = Int32GetDatum(offer->attempt + 1);
	values[2] = CStringGetTextDatum(offer->key);
	values[3] = CStringGetTextDatum(offer->channel);
	values[4] = offer->settings;
	values[5] = CStringGetTextDatum(offer->recipient);
	values[6] = CStringGetTextDatum(offer->subject);
	values[7] = CStringGetTextDatum(offer->body);
	values[8] = pgj_text_or_null(offer->html, &nulls[8]);
	values[9] = headers_of(offer);
	values[10] = TimestampTzGetDatum(offer->decided_at);
	values[11] = TimestampTzGetDatum(offer->expires_at);
	tuplestore_putvalues(claim->result->setResult, claim->result->setDesc,
						 values, nulls);
}

void
pgj_claim_hand_over(Claim *claim, Offer **offers, int n)
{
	int nclaimed = count_outcome(offers, n, OFFER_OPEN);
	Offer **claimed;

	if (nclaimed == 0)
		return;
	claimed = palloc_array(Offer *, nclaimed);
	nclaimed = 0;
	for (int i = 0; i < n; i++)
		if (offers[i]->outcome == OFFER_OPEN)
			claimed[nclaimed++] = offers[i];

	mark_claimed(claim, claimed, nclaimed);
	append_lease_ends(claim, claimed, nclaimed);
	append_receipts(claim, claimed, nclaimed);
	for (int i = 0; i < nclaimed; i++)
	{
		claimed[i]->outcome = OFFER_CLAIMED;
		put_result(claim, claimed[i]);
	}
	claim->nclaimed += nclaimed;
}

/* -------- what was not handed over -------- */

static bool
is_refused(const Offer *offer)
{
	return offer->outcome == OFFER_WITHHELD || offer->outcome == OFFER_PARKED;
}

static void
mark_refused(const Claim *claim, const Offer *offers, int n, int nrefused)
{
	static KeptPlan plan = {
		.sql =
			"UPDATE journey_state.message AS m SET status = r.status, reason = r.reason, lease_until = NULL, "
			"finished_at = CASE WHEN r.status OPERATOR(pg_catalog.=) 'withheld' THEN $6 END "
			"FROM unnest($1, $2, $3, $4, $5) AS r (contact, decided_at, message_id, status, reason) "
			"WHERE m.contact = r.contact AND m.decided_at OPERATOR(pg_catalog.=) r.decided_at "
			"AND m.message_id OPERATOR(pg_catalog.=) r.message_id"
	};
	Params params;
	Datum *contact, *decided, *message, *status, *reason;
	int k = 0;

	SPI_connect();
	pgj_params_init(&params, claim->site, nrefused);
	contact = pgj_params_column(&params, claim->site->key_type, NULL);
	decided = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	message = pgj_params_column(&params, INT8OID, NULL);
	status = pgj_params_column(&params, TEXTOID, NULL);
	reason = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		const Offer *offer = &offers[i];

		if (!is_refused(offer))
			continue;
		contact[k] = offer->contact;
		decided[k] = TimestampTzGetDatum(offer->decided_at);
		message[k] = Int64GetDatum(offer->message_id);
		status[k] = CStringGetTextDatum(
			offer->outcome == OFFER_PARKED ? "parked" : "withheld");
		reason[k] = CStringGetTextDatum(
			offer->outcome == OFFER_PARKED ? offer->error : offer->reason);
		k++;
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(claim->at));
	expect(pgj_plan_execute(&plan, &params), nrefused);
	SPI_finish();
}

/* What the gate saw, with the error if there was one. */
static Datum
evidence_of(const Offer *offer)
{
	StringInfoData json;
	Datum error;

	if (offer->error == NULL)
		return offer->evidence != (Datum) 0
				   ? offer->evidence
				   : DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	initStringInfo(&json);
	appendStringInfoString(&json, "{\"error\": ");
	escape_json(&json, offer->error);
	appendStringInfoChar(&json, '}');
	error = DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
	if (offer->evidence == (Datum) 0)
		return error;
	return DirectFunctionCall2(jsonb_concat, offer->evidence, error);
}

static void
append_verdicts(const Claim *claim, const Offer *offers, int n, int nrefused)
{
	VerdictRow *rows = palloc0_array(VerdictRow, nrefused);
	int k = 0;

	for (int i = 0; i < n; i++)
	{
		const Offer *offer = &offers[i];

		if (!is_refused(offer))
			continue;
		rows[k].contact = offer->contact;
		rows[k].at = claim->at;
		rows[k].enrollment_id = offer->enrollment_id;
		rows[k].version_id = offer->version_id;
		rows[k].step_no = offer->step_no;
		rows[k].visit = offer->visit;
		rows[k].comparable = true;
		rows[k].stage = GATE_CLAIM;
		rows[k].reason = offer->reason;
		rows[k].message_id = offer->message_id;
		rows[k].evidence = evidence_of(offer);
		k++;
	}
	pgj_verdict_append(claim->site, rows, nrefused);
}

static void
append_held(const Claim *claim, const Offer *offers, int n, int nheld)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.held (slice, contact, held_id, journey_id, message_id, decided_at, attempt) "
			"SELECT $6, r.contact, pg_catalog.nextval('journey_state.row_id_seq'), r.journey_id, r.message_id, r.decided_at, r.attempt "
			"FROM unnest($1, $2, $3, $4, $5) AS r (contact, journey_id, message_id, decided_at, attempt)"
	};
	Params params;
	Datum *contact, *journey, *message, *decided, *attempt;
	int k = 0;

	SPI_connect();
	pgj_params_init(&params, claim->site, nheld);
	contact = pgj_params_column(&params, claim->site->key_type, NULL);
	journey = pgj_params_column(&params, INT4OID, NULL);
	message = pgj_params_column(&params, INT8OID, NULL);
	decided = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	attempt = pgj_params_column(&params, INT4OID, NULL);
	for (int i = 0; i < n; i++)
	{
		if (offers[i].outcome != OFFER_HELD)
			continue;
		contact[k] = offers[i].contact;
		journey[k] = Int32GetDatum(offers[i].journey_id);
		message[k] = Int64GetDatum(offers[i].message_id);
		decided[k] = TimestampTzGetDatum(offers[i].decided_at);
		attempt[k] = Int32GetDatum(offers[i].attempt);
		k++;
	}
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(claim->slice));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}

/* Put off what cannot be decided now; the attempt has not begun. */
static void
append_later(const Claim *claim, const Offer *offers, int n)
{
	OutboxRow *rows = palloc0_array(OutboxRow, n);
	int nrows = 0;

	for (int i = 0; i < n; i++)
	{
		if (offers[i].outcome != OFFER_LATER)
			continue;
		rows[nrows].slice = claim->slice;
		rows[nrows].contact = offers[i].contact;
		rows[nrows].message_id = offers[i].message_id;
		rows[nrows].decided_at = offers[i].decided_at;
		rows[nrows].attempt = offers[i].attempt;
		rows[nrows].available_at = claim->at + LATER;
		nrows++;
	}
	pgj_outbox_offer(claim->site, rows, nrows);
}

void
pgj_claim_finish(Claim *claim, Offer *offers, int n)
{
	int nrefused = 0;
	int nheld = 0;

	for (int i = 0; i < n; i++)
	{
		nrefused += is_refused(&offers[i]);
		nheld += offers[i].outcome == OFFER_HELD;
	}
	if (nrefused > 0)
	{
		mark_refused(claim, offers, n, nrefused);
		append_verdicts(claim, offers, n, nrefused);
	}
	if (nheld > 0)
		append_held(claim, offers, n, nheld);
	append_later(claim, offers, n);
}
