/*-------------------------------------------------------------------------
 *
 * prepare.c
 *	  The second look at messages a relay asks for, and their rendering.
 *
 * This is where a claim meets what the shop and the authors wrote: the contact
 * table (maybe a view) and the templates.  Each runs in a subtransaction.  When
 * a statement over many contacts fails, it is tried again over halves, until
 * the contact whose row it was stands alone; that message is parked.  One that
 * runs out of time is tried contact by contact, and after PGJ_MAX_TIMEOUTS of
 * them the claim ends: what it has not tried is put off.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "box.h"
#include "engine/batch.h"
#include "engine/claim.h"
#include "engine/evaluate.h"
#include "gate/check.h"
#include "gate/gate.h"
#include "outbox/render.h"
#include "pg_journey.h"
#include "plan.h"

#define MAX_OUTPUT (10 * 1024 * 1024)

void
pgj_offer_withhold(Offer *offer, const char *reason)
{
	offer->outcome = OFFER_WITHHELD;
	offer->reason = reason;
}

static void
put_off(Offer *offer, const char *reason, TimestampTz until)
{
	offer->outcome = OFFER_PUT_OFF;
	offer->reason = reason;
	offer->until = until;
}

void
pgj_offer_park(Offer *offer, const char *reason, const char *error)
{
	offer->outcome = OFFER_PARKED;
	offer->reason = reason;
	offer->error = error;
}

/* Errors that are about this session or this moment, not about a message. */
static bool
must_go_on(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_INTERNAL_ERROR:
			return true;
	}
	return false;
}

typedef struct Attempt
{
	Claim *claim;
	Offer **offers;
	int n;
} Attempt;

/*
 * Run body in a subtransaction.  Returns NULL, or the error, after rolling the
 * subtransaction back.
 */
static ErrorData *
attempt(void (*body)(void *), Attempt *arg)
{
	ErrorData *error = pgj_attempt(body, arg);

	if (error != NULL && must_go_on(error))
		ReThrowError(error);
	return error;
}

/* -------- the gate -------- */

/* What the SEND said, with the topic and priority that the message was decided with. */
static void
send_of(const Claim *claim, const Offer *offer, GateSend *send)
{
	const Version *version = pgj_version(claim->definitions, offer->version_id);

	if (offer->step_no < 1 || offer->step_no > version->nsteps ||
		version->steps[offer->step_no].kind != STEP_SEND)
		ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("message " INT64_FORMAT
					   " is of step %d of version %d, which is no SEND",
					   offer->message_id, offer->step_no, offer->version_id));
	pgj_gate_send(version, &version->steps[offer->step_no], send);
	send->topic = offer->topic;
	send->priority = offer->priority;
}

static void
ask_gate(Attempt *arg)
{
	GateRequest *requests = palloc0_array(GateRequest, arg->n);
	GateSend *sends = palloc_array(GateSend, arg->n);

	for (int i = 0; i < arg->n; i++)
	{
		const Offer *offer = arg->offers[i];

		send_of(arg->claim, offer, &sends[i]);
		requests[i].send = &sends[i];
		requests[i].contact = offer->contact;
		requests[i].at = arg->claim->at;
		requests[i].channel = offer->channel;
		requests[i].topic = offer->topic;
		requests[i].enrollment_id = offer->enrollment_id;
		requests[i].key = offer->run_key;
		requests[i].exited = offer->exited;
		requests[i].since = offer->since;
		requests[i].expires_at = offer->expires_at;
		requests[i].message_id = offer->message_id;
		requests[i].decided_at = offer->decided_at;
	}
	pgj_gate_decide(arg->claim->site, GATE_CLAIM, requests, arg->n);
	for (int i = 0; i < arg->n; i++)
	{
		Offer *offer = arg->offers[i];

		offer->evidence = requests[i].evidence;
		offer->caps = requests[i].caps;
		offer->recipient = requests[i].address;
		if (requests[i].busy)
			offer->outcome = OFFER_LATER;
		else if (requests[i].deferred)
			put_off(offer, requests[i].reason, requests[i].until);
		else if (!requests[i].granted)
			pgj_offer_withhold(offer, requests[i].reason);
		offer->ends_run = requests[i].ends_run;
	}
}

/* -------- the contact's row -------- */

/*
 * Runs in the box.  c.*, not c: the table may have a column of that name, which
 * would be meant.  The row goes under the members that we add, so that a column
 * named "event" does not hide the event.
 */
static void
read_contacts_body(void *arg)
{
	static KeptPlan plan;
	Attempt *read = arg;
	const Site *site = read->claim->site;
	Params params;
	Datum *number, *contact;
	int k = 0;
	uint64 nrows;

	for (int i = 0; i < read->n; i++)
		k += read->offers[i]->outcome == OFFER_OPEN;
	if (k == 0)
		return;
	SPI_connect();
	pgj_params_init(&params, site, k);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	for (int i = k = 0; i < read->n; i++)
	{
		if (read->offers[i]->outcome != OFFER_OPEN)
			continue;
		number[k] = Int32GetDatum(i);
		contact[k++] = read->offers[i]->contact;
	}
	plan.sql = psprintf(
		"SELECT r.n, pg_catalog.to_jsonb(c.*) FROM unnest($1, $2) AS r (n, contact) "
		"JOIN %s AS c ON c.%s = r.contact",
		site->contact_name, site->key_column);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Offer *offer = read->offers[DatumGetInt32(pgj_row_value(row, 1))];
		Datum contact_row = pgj_row_copy(read->claim->batch_context, row, 2);
		MemoryContext old = MemoryContextSwitchTo(read->claim->batch_context);

		if (!offer->has_contact)
			offer->data =
				DirectFunctionCall2(jsonb_concat, contact_row, offer->data);
		offer->has_contact = true;
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

/* The gate and the contacts' rows for some offers, all or none. */
static void
look_at(void *attempted)
{
	Attempt *arg = attempted;
	ErrorData *error;

	ask_gate(arg);
	error = pgj_box_run(arg->claim->site, 0, 0, read_contacts_body, arg);
	if (error != NULL)
		pgj_rethrow_box_error(error, "contacts");
	for (int i = 0; i < arg->n; i++)
		if (arg->offers[i]->outcome == OFFER_OPEN &&
			!arg->offers[i]->has_contact)
			pgj_offer_withhold(arg->offers[i], "contact_gone");
}

bool
pgj_claim_gave_up(const Claim *claim)
{
	return claim->timeouts >= PGJ_MAX_TIMEOUTS;
}

static void
look_at_halves(Claim *claim, Offer **offers, int n)
{
	Attempt arg = { claim, offers, n };
	ErrorData *error;
	bool timed_out;

	if (pgj_claim_gave_up(claim))
	{
		for (int i = 0; i < n; i++)
			offers[i]->outcome = OFFER_LATER;
		return;
	}
	error = attempt(look_at, &arg);
	if (error == NULL)
		return;
	timed_out = error->sqlerrcode == ERRCODE_PGJ_SLOW_CONTACTS;

	/* what the failed attempt has concluded is void */
	for (int i = 0; i < n; i++)
	{
		offers[i]->outcome = OFFER_OPEN;
		offers[i]->reason = NULL;
		offers[i]->ends_run = false;
	}
	if (n == 1)
	{
		pgj_offer_park(offers[0], "contact_error", error->message);
		claim->timeouts += timed_out;
	}
	else if (timed_out)
		for (int i = 0; i < n; i++)
			look_at_halves(claim, offers + i, 1);
	else
	{
		look_at_halves(claim, offers, n / 2);
		look_at_halves(claim, offers + n / 2, n - n / 2);
	}
}

/* -------- rendering -------- */

static char *
render_part(const char *source, Jsonb *data, RenderContext context)
{
	char *text = pgj_template_render(source, data, context);

	if (strlen(text) > MAX_OUTPUT)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("rendered message is larger than %d bytes", MAX_OUTPUT));
	return text;
}

static void
render(void *arg)
{
	Offer *offer = ((Attempt *) arg)->offers[0];
	Jsonb *data = DatumGetJsonbP(offer->data);
	char *subject = render_part(offer->subject, data, RENDER_HEADER);
	char *body = render_part(offer->body, data, RENDER_TEXT);

	if (offer->html != NULL)
		offer->html = render_part(offer->html, data, RENDER_HTML);
	offer->subject = subject;
	offer->body = body;
}

static void
render_or_park(Claim *claim, Offer *offer)
{
	Attempt arg = { claim, &offer, 1 };
	ErrorData *error;

	if (offer->body == NULL)
		pgj_offer_park(
			offer, "template_error",
			psprintf("template \"%s\" does not exist", offer->template));
	else if (!offer->has_settings)
		pgj_offer_park(
			offer, "template_error",
			psprintf("channel \"%s\" does not exist", offer->channel));
	else if ((error = attempt(render, &arg)) != NULL)
		pgj_offer_park(offer, "template_error",
					   error->detail
						   ? psprintf("%s: %s", error->message, error->detail)
						   : error->message);
}

void
pgj_claim_prepare(Claim *claim, Offer **offers, int n)
{
	look_at_halves(claim, offers, n);
	for (int i = 0; i < n; i++)
		if (offers[i]->outcome == OFFER_OPEN)
			render_or_park(claim, offers[i]);
}
