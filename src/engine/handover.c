/*-------------------------------------------------------------------------
 *
 * handover.c
 *	  Hand over what a claim may give to the relay.
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
	Datum *attempt, *recipient;

	SPI_connect();
	pgj_claim_params(claim, offers, n, &params);
	attempt = pgj_params_column(&params, INT4OID, NULL);
	recipient = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		attempt[i] = Int32GetDatum(offers[i]->attempt + 1);
		recipient[i] = CStringGetTextDatum(offers[i]->recipient);
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(claim->at));
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(claim->lease_until));
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(claim->relay));
	pgj_claim_expect(pgj_plan_execute(&plan, &params), n);
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
		rows[i].caps = offers[i]->caps;
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

static void
hand_over(Claim *claim, Offer **offers, int n)
{
	mark_claimed(claim, offers, n);
	append_lease_ends(claim, offers, n);
	append_receipts(claim, offers, n);
	for (int i = 0; i < n; i++)
	{
		offers[i]->outcome = OFFER_CLAIMED;
		if (claim->result != NULL)
			put_result(claim, offers[i]);
	}
	claim->nclaimed += n;
}

void
pgj_claim_write(Claim *claim, Offer **offers, int n)
{
	Offer **open = palloc_array(Offer *, n + 1);
	Offer **others = palloc_array(Offer *, n + 1);
	int nopen = 0;
	int nothers = 0;

	for (int i = 0; i < n; i++)
		if (offers[i]->outcome == OFFER_OPEN)
			open[nopen++] = offers[i];
		else
			others[nothers++] = offers[i];
	if (nopen > 0)
		hand_over(claim, open, nopen);
	if (nothers > 0)
		pgj_claim_write_others(claim, others, nothers);
}
