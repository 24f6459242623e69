/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  Write what became of the messages that a claim did not hand over.
 *
 * Withheld and parked ones are final until somebody asks for more.  What the gate
 * has put off is offered again at the time until which it is, and not before,
 * whatever older rows of the outbox there are: lease_until says so.  What could
 * not be asked is offered again in a moment; what belongs to a paused journey
 * when it is resumed.  A message withheld by a cap may take its run along.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "engine/claim.h"
#include "gate/gate.h"
#include "outbox/outbox.h"
#include "plan.h"

/* When to look again at a message that could not be asked about. */
#define LATER (5 * USECS_PER_SEC)

/*
 * Only the slice's holder changes messages, and the rows were read under its
 * lock: one that is gone now was taken away by hand.
 */
void
pgj_claim_expect(uint64 found, int wanted)
{
	if (found != wanted)
		elog(ERROR, "updated " UINT64_FORMAT " of %d messages", found, wanted);
}

/* $1 … $3: contact, decided_at, message_id, by which a message is found. */
void
pgj_claim_params(const Claim *claim, Offer *const *offers, int n,
				 Params *params)
{
	Datum *contact, *decided, *message;

	pgj_params_init(params, claim->site, n);
	contact = pgj_params_column(params, claim->site->key_type, NULL);
	decided = pgj_params_column(params, TIMESTAMPTZOID, NULL);
	message = pgj_params_column(params, INT8OID, NULL);
	for (int i = 0; i < n; i++)
	{
		contact[i] = offers[i]->contact;
		decided[i] = TimestampTzGetDatum(offers[i]->decided_at);
		message[i] = Int64GetDatum(offers[i]->message_id);
	}
}

/* -------- withheld, parked, put off -------- */

static void
mark_refused(const Claim *claim, Offer **offers, int n)
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
	Datum *status, *reason;

	SPI_connect();
	pgj_claim_params(claim, offers, n, &params);
	status = pgj_params_column(&params, TEXTOID, NULL);
	reason = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		const Offer *offer = offers[i];

		status[i] = CStringGetTextDatum(
			offer->outcome == OFFER_PARKED ? "parked" : "withheld");
		reason[i] = CStringGetTextDatum(
			offer->outcome == OFFER_PARKED ? offer->error : offer->reason);
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(claim->at));
	pgj_claim_expect(pgj_plan_execute(&plan, &params), n);
	SPI_finish();
}

static void
mark_put_off(const Claim *claim, Offer **offers, int n)
{
	static KeptPlan plan = {
		.sql =
			"UPDATE journey_state.message AS m SET lease_until = r.until "
			"FROM unnest($1, $2, $3, $4) AS r (contact, decided_at, message_id, until) "
			"WHERE m.contact = r.contact AND m.decided_at OPERATOR(pg_catalog.=) r.decided_at "
			"AND m.message_id OPERATOR(pg_catalog.=) r.message_id"
	};
	Params params;
	Datum *until;

	SPI_connect();
	pgj_claim_params(claim, offers, n, &params);
	until = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < n; i++)
		until[i] = TimestampTzGetDatum(offers[i]->until);
	pgj_claim_expect(pgj_plan_execute(&plan, &params), n);
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
append_verdicts(const Claim *claim, Offer **offers, int n)
{
	VerdictRow *rows = palloc0_array(VerdictRow, n);

	for (int i = 0; i < n; i++)
	{
		const Offer *offer = offers[i];

		rows[i].contact = offer->contact;
		rows[i].at = claim->at;
		rows[i].enrollment_id = offer->enrollment_id;
		rows[i].version_id = offer->version_id;
		rows[i].step_no = offer->step_no;
		rows[i].visit = offer->visit;
		rows[i].comparable = true;
		rows[i].stage = GATE_CLAIM;
		rows[i].deferred = offer->outcome == OFFER_PUT_OFF;
		rows[i].until = offer->until;
		rows[i].reason = offer->reason;
		rows[i].message_id = offer->message_id;
		rows[i].evidence = evidence_of(offer);
	}
	pgj_verdict_append(claim->site, rows, n);
}

/* -------- runs -------- */

/*
 * End the runs whose message a cap has withheld at a SEND that says WHEN CAPPED EXIT,
 * those that have not ended meanwhile.  Their timers are void by the epoch.
 */
static void
end_runs(const Claim *claim, Offer **offers, int n)
{
	static KeptPlan plan = {
		.sql =
			"WITH ended AS (UPDATE journey_state.enrollment AS e SET status = 'completed', ended_at = $3, end_reason = r.reason, "
			"epoch = e.epoch OPERATOR(pg_catalog.+) 1, listen_step = NULL, parked_step = NULL, error = NULL, "
			"send_step = NULL, send_since = NULL, send_due = NULL, send_timed = false "
			"FROM unnest($1, $2, $4) AS r (contact, enrollment_id, reason) "
			"WHERE e.contact = r.contact AND e.enrollment_id OPERATOR(pg_catalog.=) r.enrollment_id AND e.ended_at IS NULL "
			"RETURNING e.contact, e.enrollment_id, e.version_id, e.end_reason) "
			"INSERT INTO journey_state.transition (contact, transition_id, at, enrollment_id, version_id, step_no, cause) "
			"SELECT d.contact, pg_catalog.nextval('journey_state.row_id_seq'), $3, d.enrollment_id, d.version_id, 0, d.end_reason "
			"FROM ended AS d"
	};
	Params params;
	Datum *contact, *enrollment, *reason;

	SPI_connect();
	pgj_params_init(&params, claim->site, n);
	contact = pgj_params_column(&params, claim->site->key_type, NULL);
	enrollment = pgj_params_column(&params, INT8OID, NULL);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(claim->at));
	reason = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		contact[i] = offers[i]->contact;
		enrollment[i] = Int64GetDatum(offers[i]->enrollment_id);
		reason[i] = CStringGetTextDatum(offers[i]->reason);
	}
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}

/* -------- offered again -------- */

static void
append_held(const Claim *claim, Offer **offers, int n)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.held (slice, contact, held_id, journey_id, message_id, decided_at, attempt) "
			"SELECT $6, r.contact, pg_catalog.nextval('journey_state.row_id_seq'), r.journey_id, r.message_id, r.decided_at, r.attempt "
			"FROM unnest($1, $2, $3, $4, $5) AS r (contact, journey_id, message_id, decided_at, attempt)"
	};
	Params params;
	Datum *contact, *journey, *message, *decided, *attempt;

	SPI_connect();
	pgj_params_init(&params, claim->site, n);
	contact = pgj_params_column(&params, claim->site->key_type, NULL);
	journey = pgj_params_column(&params, INT4OID, NULL);
	message = pgj_params_column(&params, INT8OID, NULL);
	decided = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	attempt = pgj_params_column(&params, INT4OID, NULL);
	for (int i = 0; i < n; i++)
	{
		contact[i] = offers[i]->contact;
		journey[i] = Int32GetDatum(offers[i]->journey_id);
		message[i] = Int64GetDatum(offers[i]->message_id);
		decided[i] = TimestampTzGetDatum(offers[i]->decided_at);
		attempt[i] = Int32GetDatum(offers[i]->attempt);
	}
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(claim->slice));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}

/* The attempt has not begun: its number stays. */
static void
append_again(const Claim *claim, Offer **offers, int n)
{
	OutboxRow *rows = palloc0_array(OutboxRow, n);

	for (int i = 0; i < n; i++)
	{
		rows[i].slice = claim->slice;
		rows[i].contact = offers[i]->contact;
		rows[i].message_id = offers[i]->message_id;
		rows[i].decided_at = offers[i]->decided_at;
		rows[i].attempt = offers[i]->attempt;
		rows[i].available_at = offers[i]->outcome == OFFER_PUT_OFF
								   ? offers[i]->until
								   : claim->at + LATER;
	}
	pgj_outbox_offer(claim->site, rows, n);
}

/* -------- all of them -------- */

static bool
is_refused(const Offer *offer)
{
	return offer->outcome == OFFER_WITHHELD || offer->outcome == OFFER_PARKED;
}

static bool
is_put_off(const Offer *offer)
{
	return offer->outcome == OFFER_PUT_OFF;
}

static bool
is_judged(const Offer *offer)
{
	return is_refused(offer) || is_put_off(offer);
}

static bool
ends_run(const Offer *offer)
{
	return offer->outcome == OFFER_WITHHELD && offer->ends_run;
}

static bool
is_held(const Offer *offer)
{
	return offer->outcome == OFFER_HELD;
}

static bool
comes_again(const Offer *offer)
{
	return is_put_off(offer) || offer->outcome == OFFER_LATER;
}

static const struct
{
	bool (*concerns)(const Offer *offer);
	void (*write)(const Claim *claim, Offer **offers, int n);
} outcomes[] = {
	{ is_refused, mark_refused },	{ is_put_off, mark_put_off },
	{ is_judged, append_verdicts }, { ends_run, end_runs },
	{ is_held, append_held },		{ comes_again, append_again }
};

void
pgj_claim_write_others(const Claim *claim, Offer **offers, int n)
{
	Offer **chosen = palloc_array(Offer *, n);

	for (int o = 0; o < lengthof(outcomes); o++)
	{
		int nchosen = 0;

		for (int i = 0; i < n; i++)
			if (outcomes[o].concerns(offers[i]))
				chosen[nchosen++] = offers[i];
		if (nchosen > 0)
			outcomes[o].write(claim, chosen, nchosen);
	}
}
