/*-------------------------------------------------------------------------
 *
 * forecast.c
 *	  What would be sent, deferred and withheld in the time to come, if nothing
 *	  else happened.
 *
 * The engine itself goes ahead, by replay and with messages that count as handed
 * over when they are decided, in a subtransaction that is rolled back.  Messages
 * that wait already are taken from the outbox as a relay would take them; those
 * put off when they are to be handed over are looked at again every hour.
 *
 * What happens in other sessions meanwhile: all slices are locked, so ticks and
 * claims pass them over; the end of the subtransaction unlocks them, and the
 * worker is woken.  Nothing stays but gaps in the sequences.  What has to be set
 * right before any pass (partitions of watched tables) is done outside of the
 * subtransaction, because this session would not look again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "clock.h"
#include "engine/engine.h"
#include "pg_journey.h"
#include "plan.h"
#include "wakeup.h"

/* The name under which messages are taken; no relay can have it. */
#define NOBODY ""

PG_FUNCTION_INFO_V1(pgj_sql_forecast);

typedef struct Forecast
{
	const Site *site;
	TimestampTz at;
	TimestampTz until;
	ReturnSetInfo *result;
} Forecast;

/*
 * Where the slices have got to, and the last id of a row: verdicts with higher
 * ones are the forecast's.
 */
static void
read_start(const Forecast *f, TimestampTz *behind, int64 *last_id)
{
	static KeptPlan plan = {
		.sql =
			"SELECT COALESCE(pg_catalog.min(p.due_at), '-infinity'), pg_catalog.nextval('journey_state.row_id_seq')"
			" FROM journey_state.slice AS s LEFT JOIN LATERAL ("
			"  SELECT g.due_at FROM journey_state.progress AS g WHERE g.slice OPERATOR(pg_catalog.=) s.slice"
			"  AND g.lane OPERATOR(pg_catalog.=) 'engine' ORDER BY g.seq DESC LIMIT 1) AS p ON true"
	};
	Params params;

	SPI_connect();
	pgj_params_init(&params, f->site, 0);
	(void) pgj_plan_execute(&plan, &params);
	*behind = Min(DatumGetTimestampTz(pgj_row_value(0, 1)), f->at);
	*last_id = DatumGetInt64(pgj_row_value(0, 2));
	SPI_finish();
}

/*
 * What the gate said of messages that are no ghost's, by hour, and what was taken
 * from the outbox that had been decided before.
 */
static void
collect(const Forecast *f, TimestampTz behind, int64 last_id)
{
	static KeptPlan plan = {
		.sql =
			"SELECT pg_catalog.date_trunc('hour', x.at), j.name, x.channel, x.verdict, x.reason, pg_catalog.count(*) FROM ("
			" SELECT v.at, v.version_id, COALESCE(m.channel, s.channel, pg_catalog.array_to_string(s.channels, ' or ')) AS channel, v.verdict, v.reason"
			" FROM journey_state.verdict AS v"
			" LEFT JOIN journey_state.message AS m ON m.contact = v.contact AND m.message_id OPERATOR(pg_catalog.=) v.message_id"
			" LEFT JOIN journey.step AS s ON s.version_id OPERATOR(pg_catalog.=) v.version_id AND s.step_no OPERATOR(pg_catalog.=) v.step_no"
			" WHERE v.at OPERATOR(pg_catalog.>=) $1 AND v.verdict_id OPERATOR(pg_catalog.>) $2 AND NOT v.ghost"
			" UNION ALL"
			" SELECT m.claimed_at, m.version_id, m.channel, 'sent', NULL FROM journey_state.message AS m"
			" WHERE m.relay OPERATOR(pg_catalog.=) $3) AS x"
			" JOIN journey.version AS v ON v.version_id OPERATOR(pg_catalog.=) x.version_id"
			" JOIN journey.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) v.journey_id"
			" GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"
	};
	Params params;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, f->site, 0);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(behind));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(last_id));
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(NOBODY));
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
		tuplestore_puttuple(f->result->setResult, SPI_tuptable->vals[row]);
	SPI_finish();
}

static void
go_ahead(const Forecast *f)
{
	PassCounts counts = { 0 };
	TimestampTz behind;
	int64 last_id;
	TimestampTz at = f->at;

	for (int slice = 0; slice < f->site->slices; slice++)
		(void) pgj_slice_lock(f->site, slice, false);
	read_start(f, &behind, &last_id);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		pgj_engine_replay(f->site, at, true, &counts);
		/* what is taken counts as sent, and is not offered again */
		pgj_claim_rehearse(f->site, at, f->until + 1, NOBODY);
		if (at >= f->until)
			break;
		at = Min(at + USECS_PER_HOUR, f->until);
	}
	collect(f, behind, last_id);
}

/*
 * Also an error, such as a cancel, must not leave the subtransaction open: the
 * session could not leave it by any command.
 */
static void
go_ahead_and_back(const Forecast *f)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		go_ahead(f);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL)
		ReThrowError(error);
}

/*
 * journey.forecast(horizon interval, at timestamptz)
 */
Datum
pgj_sql_forecast(PG_FUNCTION_ARGS)
{
	Forecast f = { 0 };
	Interval nothing = { 0 };
	Interval longest = { .day = 366 };
	Interval *horizon;
	SavedUser caller;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(
			ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			errmsg("%s must not be null", PG_ARGISNULL(0) ? "horizon" : "at"));
	horizon = PG_GETARG_INTERVAL_P(0);
	f.at = PG_GETARG_TIMESTAMPTZ(1);
	if (DatumGetBool(DirectFunctionCall2(interval_le,
										 IntervalPGetDatum(horizon),
										 IntervalPGetDatum(&nothing))) ||
		DatumGetBool(DirectFunctionCall2(interval_gt,
										 IntervalPGetDatum(horizon),
										 IntervalPGetDatum(&longest))))
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg(
				"the horizon of a forecast must be longer than nothing and at most 366 days"));
	pgj_engine_check_time(f.at, "the start of a forecast");
	f.until = pgj_time_plus(f.at, horizon);
	pgj_engine_check_time(f.until, "the end of a forecast");
	InitMaterializedSRF(fcinfo, 0);
	f.result = (ReturnSetInfo *) fcinfo->resultinfo;

	SPI_connect();
	f.site = pgj_engine_enter(&caller);
	pgj_engine_prepare(f.site, f.at);
	go_ahead_and_back(&f);
	pgj_wake_engine_at_commit();
	pgj_become_caller(caller);
	SPI_finish();
	return (Datum) 0;
}
