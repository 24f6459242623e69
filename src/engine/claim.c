/*-------------------------------------------------------------------------
 *
 * claim.c
 *	  A relay asks for messages.
 *
 * For each slice that has something due: lock it, take in the events committed
 * so far (an exit among them), read the outbox on from the slice's progress, ask
 * the gate once more, and hand over what still may go.  A row is passed by the
 * progress only together with its outcome, in the same transaction: the message
 * claimed, withheld or parked, the row put aside because its journey is paused,
 * or the row void because the message has moved on without it.  One that the gate
 * puts off gets a row at the time until which it is.
 *
 * A claim lasts until the end of its lease.  An outbox row is written for that
 * instant with the attempt's number: if by then no report has raised or ended
 * the message, it is offered again, under the same idempotency key.
 *
 * A row is void unless its attempt is the message's, the message is pending or
 * claimed, and lease_until has passed: while a message waits for a retry, or for
 * the time until which the gate has put it off, lease_until is that time, so
 * that the row at the end of an earlier lease does not cut the wait short.  When both are read in one batch,
 * the first of them counts.
 *
 * The contact table is the shop's and rendering is the author's: an error in
 * there parks the one message and leaves the others alone.  A claim in which many
 * contacts could not be read in time ends early (prepare.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "engine/claim.h"
#include "engine/engine.h"
#include "feedback/receipt.h"
#include "outbox/outbox.h"
#include "outbox/relay.h"
#include "pg_journey.h"
#include "plan.h"

#define MAX_PER_CLAIM 10000
#define ROWS_PER_BATCH 500

PG_FUNCTION_INFO_V1(pgj_sql_claim);

/* -------- one batch -------- */

/* Higher priority first, then what was decided earlier. */
static int
compare_offers(const void *a, const void *b)
{
	const Offer *left = *(Offer *const *) a;
	const Offer *right = *(Offer *const *) b;

	if (left->priority != right->priority)
		return left->priority > right->priority ? -1 : 1;
	if (left->decided_at != right->decided_at)
		return left->decided_at < right->decided_at ? -1 : 1;
	return left->message_id < right->message_id
			   ? -1
			   : left->message_id > right->message_id;
}

/*
 * Write what is decided already, then decide what is open, in rounds: the gate
 * looks at one message of each contact at a time, and the next one of that
 * contact must see what became of this one.
 */
static void
claim_offers(Claim *claim, Offer *offers, int n)
{
	Offer **open = palloc_array(Offer *, n);
	Offer **chosen = palloc_array(Offer *, n);
	int *last_round = palloc0_array(int, n + 1); /* by contact_no, from 1 */
	int nopen = 0;

	int ndecided = 0;

	for (int i = 0; i < n; i++)
	{
		if (offers[i].outcome == OFFER_OPEN)
			open[nopen++] = &offers[i];
		else if (offers[i].outcome != OFFER_VOID)
			chosen[ndecided++] = &offers[i];
	}
	pgj_claim_write(claim, chosen, ndecided);
	qsort(open, nopen, sizeof(Offer *), compare_offers);

	for (int round = 1; nopen > 0; round++)
	{
		int nleft = 0;
		int nchosen = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < nopen; i++)
		{
			if (last_round[open[i]->contact_no] == round)
				open[nleft++] = open[i];
			else
			{
				last_round[open[i]->contact_no] = round;
				chosen[nchosen++] = open[i];
			}
		}
		nopen = nleft;
		pgj_claim_prepare(claim, chosen, nchosen);
		pgj_claim_write(claim, chosen, nchosen);
	}
}

/* -------- one slice -------- */

static void
read_progress(Claim *claim)
{
	static KeptPlan plan = {
		.sql =
			"SELECT g.due_at, g.due_id, g.seq FROM journey_state.progress AS g WHERE g.slice OPERATOR(pg_catalog.=) $1 "
			"AND g.lane OPERATOR(pg_catalog.=) 'outbox' ORDER BY g.seq DESC LIMIT 1"
	};
	Params params;

	SPI_connect();
	pgj_params_init(&params, claim->site, 0);
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(claim->slice));
	if (pgj_plan_execute(&plan, &params) > 0)
	{
		claim->due_at = DatumGetTimestampTz(pgj_row_value(0, 1));
		claim->due_id = DatumGetInt64(pgj_row_value(0, 2));
		claim->seq = DatumGetInt64(pgj_row_value(0, 3));
	}
	else
	{
		claim->due_at = DT_NOBEGIN;
		claim->due_id = 0;
		claim->seq = 0;
	}
	SPI_finish();
}

static void
append_progress(const Claim *claim)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.progress (slice, lane, seq, at, due_at, due_id) VALUES ($1, 'outbox', $2, $3, $4, $5)"
	};
	Params params;

	SPI_connect();
	pgj_params_init(&params, claim->site, 0);
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(claim->slice));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(claim->seq + 1));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(claim->at));
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(claim->due_at));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(claim->due_id));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}

/*
 * Offer again what was put aside while its journey was paused, once it is not;
 * what is more than one claim can want is for the next.
 */
static void
release_held(const Claim *claim)
{
	static KeptPlan plan = {
		.sql =
			"DELETE FROM journey_state.held AS d WHERE d.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
			"SELECT w.ctid FROM journey.journey AS j JOIN journey_state.held AS w ON w.slice OPERATOR(pg_catalog.=) $1 "
			"AND w.journey_id OPERATOR(pg_catalog.=) j.journey_id "
			"WHERE j.status OPERATOR(pg_catalog.<>) 'paused' AND w.message_id IS NOT NULL LIMIT $2)) "
			"RETURNING d.contact, d.message_id, d.decided_at, d.attempt"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	OutboxRow *rows;
	int n;

	SPI_connect();
	pgj_params_init(&params, claim->site, 0);
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(claim->slice));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(MAX_PER_CLAIM));
	n = (int) pgj_plan_execute(&plan, &params);
	rows = MemoryContextAllocZero(context, sizeof(OutboxRow) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		rows[i].slice = claim->slice;
		rows[i].contact = pgj_row_copy(context, i, 1);
		rows[i].message_id = DatumGetInt64(pgj_row_value(i, 2));
		rows[i].decided_at = DatumGetTimestampTz(pgj_row_value(i, 3));
		rows[i].attempt = DatumGetInt32(pgj_row_value(i, 4));
		rows[i].available_at = claim->at;
	}
	SPI_finish();
	pgj_outbox_offer(claim->site, rows, n);
}

static bool
goes_on(const Claim *claim)
{
	return claim->nclaimed < claim->max &&
		   claim->nexamined < claim->max_examined && !pgj_claim_gave_up(claim);
}

/*
 * The progress is written before the batch is worked on: rows written at the end of a lease
 * then find it (see outbox.c), and an error leaves nothing half done as all is
 * one transaction.
 */
static void
claim_slice(Claim *claim)
{
	bool ready;

	SPI_connect();
	ready = pgj_slice_lock(claim->site, claim->slice, true) &&
			pgj_engine_intake(claim->site, claim->slice, claim->at);
	SPI_finish();
	if (!ready)
		return;

	/* the intake may have found that they have changed */
	SPI_connect();
	claim->definitions = pgj_definitions(claim->site);
	SPI_finish();
	release_held(claim);
	read_progress(claim);
	while (goes_on(claim))
	{
		MemoryContext old = MemoryContextSwitchTo(claim->batch_context);
		Offer *offers;
		int n;

		CHECK_FOR_INTERRUPTS();
		n = pgj_claim_read(claim, &offers,
						   Min(claim->max - claim->nclaimed, ROWS_PER_BATCH));
		if (n > 0)
		{
			append_progress(claim);
			claim->seq++;
			claim->nexamined += n;
			claim_offers(claim, offers, n);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(claim->batch_context);
		if (n == 0)
			break;
	}
}

/*
 * Slices with rows due, from a random one on, so that relays do not all start
 * at the same.  A hint: nothing is locked yet.
 */
static int *
due_slices(const Claim *claim, int *n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT s.slice FROM journey_state.slice AS s LEFT JOIN LATERAL "
			"(SELECT g.due_at, g.due_id FROM journey_state.progress AS g WHERE g.slice OPERATOR(pg_catalog.=) s.slice "
			"AND g.lane OPERATOR(pg_catalog.=) 'outbox' ORDER BY g.seq DESC LIMIT 1) AS p ON true "
			"WHERE (SELECT true FROM journey_state.outbox AS o WHERE o.slice OPERATOR(pg_catalog.=) s.slice "
			"AND o.available_at OPERATOR(pg_catalog.<=) $1 "
			"AND o.available_at OPERATOR(pg_catalog.>=) COALESCE(p.due_at, '-infinity') "
			"AND (o.available_at, o.outbox_id) OPERATOR(pg_catalog.>) (COALESCE(p.due_at, '-infinity'), COALESCE(p.due_id, 0)) LIMIT 1) "
			"OR EXISTS (SELECT FROM journey_state.held AS d JOIN journey.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) d.journey_id "
			"WHERE d.slice OPERATOR(pg_catalog.=) s.slice AND d.message_id IS NOT NULL AND j.status OPERATOR(pg_catalog.<>) 'paused') "
			"ORDER BY (s.slice OPERATOR(pg_catalog.+) $2) OPERATOR(pg_catalog.%) $3"
	};
	MemoryContext context = CurrentMemoryContext;
	int start = (int) pg_prng_uint64_range(&pg_global_prng_state, 0,
										   claim->site->slices - 1);
	Params params;
	int *slices;

	SPI_connect();
	pgj_params_init(&params, claim->site, 0);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(claim->at));
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(start));
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(claim->site->slices));
	*n = (int) pgj_plan_execute(&plan, &params);
	slices = MemoryContextAlloc(context, sizeof(int) * Max(*n, 1));
	for (int row = 0; row < *n; row++)
		slices[row] = DatumGetInt16(pgj_row_value(row, 1));
	SPI_finish();
	return slices;
}

/* -------- journey.claim -------- */

static void
check_arguments(FunctionCallInfo fcinfo)
{
	static const char *const names[] = { "relay", "max", "lease", "at" };
	Interval shortest = { .time = USECS_PER_SEC };
	Interval longest = { .day = 1 };
	Interval *lease;

	for (int i = 0; i < PG_NARGS(); i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("%s must not be null", names[i]));
	if (PG_GETARG_INT32(1) < 1 || PG_GETARG_INT32(1) > MAX_PER_CLAIM)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("max must be between 1 and %d", MAX_PER_CLAIM));
	lease = PG_GETARG_INTERVAL_P(2);
	if (DatumGetBool(DirectFunctionCall2(interval_lt, IntervalPGetDatum(lease),
										 IntervalPGetDatum(&shortest))) ||
		DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(lease),
										 IntervalPGetDatum(&longest))))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("lease must be between one second and one day"));
	if (TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(3)))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("at must be finite"));
}

static void
claim_slices(Claim *claim)
{
	int nslices;
	int *slices = due_slices(claim, &nslices);

	for (int i = 0; i < nslices && goes_on(claim); i++)
	{
		claim->slice = slices[i];
		claim_slice(claim);
	}
}

void
pgj_claim_rehearse(const Site *site, TimestampTz at, TimestampTz lease_until,
				   char *relay)
{
	Claim claim = { .site = site,
					.relay = relay,
					.max = INT_MAX,
					.max_examined = INT_MAX,
					.at = at,
					.lease_until = lease_until };

	claim.batch_context = AllocSetContextCreate(
		CurrentMemoryContext, "pg_journey claim", ALLOCSET_DEFAULT_SIZES);
	claim_slices(&claim);
	MemoryContextDelete(claim.batch_context);
}

/*
 * journey.claim(relay text, max integer, lease interval, at timestamptz)
 */
Datum
pgj_sql_claim(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	Claim claim = { .site = site };
	SavedUser saved;

	check_arguments(fcinfo);
	pgj_require_read_committed();
	pgj_refuse_superuser(site);
	pgj_refuse_copy(site);
	InitMaterializedSRF(fcinfo, 0);

	claim.relay = text_to_cstring(PG_GETARG_TEXT_PP(0));
	claim.max = PG_GETARG_INT32(1);
	claim.max_examined = 20 * claim.max + 1000;
	claim.at = PG_GETARG_TIMESTAMPTZ(3);
	claim.lease_until = pgj_time_plus(claim.at, PG_GETARG_INTERVAL_P(2));
	claim.result = (ReturnSetInfo *) fcinfo->resultinfo;
	claim.batch_context = AllocSetContextCreate(
		CurrentMemoryContext, "pg_journey claim", ALLOCSET_DEFAULT_SIZES);

	claim.site = site = pgj_lock_contacts(site);
	saved = pgj_become_owner(site);
	pgj_relay_require(site, claim.relay, true);
	claim_slices(&claim);
	pgj_become_caller(saved);
	return (Datum) 0;
}
