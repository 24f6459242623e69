/*-------------------------------------------------------------------------
 *
 * send_times.c
 *	  The best hours of all contacts, and what they have in common.
 *
 * Contacts are taken slice by slice, in batches.  Slices are hashes of contacts, so
 * the first ones are a sample of all: what everybody has in common is learned from
 * some ten thousand contacts.
 *
 * Refreshing is not worked in a superuser's session, because it reads contacts'
 * time zones; journey.maintain(), which a superuser may call, leaves it to the next
 * call by the engine's worker then.
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
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "append.h"
#include "clock.h"
#include "gate/check.h"
#include "gate/refresh.h"
#include "gate/send_time.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_refresh_engagement);
PG_FUNCTION_INFO_V1(pgj_sql_send_times);

#define SAMPLE 10000
#define BATCH 1000

/* Called for each batch of contacts, with their counts. */
typedef void (*CountsBody)(const Site *site, const HourCounts *counts, int n,
						   void *arg);

/* The contacts of a slice that have responded within a year. */
static int
find_contacts(const Site *site, int slice, TimestampTz at,
			  MemoryContext context, Datum **contacts)
{
	Oid types[2] = { INT2OID, TIMESTAMPTZOID };
	Datum values[2] = { Int16GetDatum(slice), TimestampTzGetDatum(at) };
	int n;

	SPI_connect();
	if (SPI_execute_with_args(
			"SELECT DISTINCT v.contact FROM journey_state.event AS v "
			"WHERE v.slice OPERATOR(pg_catalog.=) $1 AND v.at OPERATOR(pg_catalog.>) ($2 OPERATOR(pg_catalog.-) interval '365 days') "
			"AND v.at OPERATOR(pg_catalog.<=) $2 "
			"AND v.name OPERATOR(pg_catalog.=) ANY (ARRAY("
			" SELECT g.event FROM journey.engagement_event AS g "
			" UNION ALL SELECT w.goal_event FROM journey.version AS w WHERE w.goal_event IS NOT NULL AND NOT w.dropped)) "
			"ORDER BY v.contact",
			2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the contacts of slice %d", slice);
	n = (int) SPI_processed;
	*contacts = MemoryContextAlloc(context, sizeof(Datum) * Max(n, 1));
	for (int row = 0; row < n; row++)
		(*contacts)[row] = pgj_row_copy(context, row, 1);
	SPI_finish();
	return n;
}

static void
count_batch(const Site *site, TimestampTz at, const Datum *contacts, int n,
			CountsBody body, void *arg)
{
	HourCounts *counts = palloc_array(HourCounts, n);
	const Zones **zones = palloc_array(const Zones *, n);

	pgj_zones_of_contacts(site, contacts, zones, n);
	for (int i = 0; i < n; i++)
	{
		counts[i].contact = contacts[i];
		counts[i].at = at;
		counts[i].zones = zones[i];
	}
	pgj_hour_counts_read(site, counts, n);
	body(site, counts, n, arg);
}

/* Go through contacts until at least "enough" have been seen. */
static void
count_contacts(const Site *site, TimestampTz at, int64 enough, CountsBody body,
			   void *arg)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "send times", ALLOCSET_DEFAULT_SIZES);
	int64 seen = 0;

	for (int slice = 0; slice < site->slices && seen < enough; slice++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		Datum *contacts;
		int n = find_contacts(site, slice, at, context, &contacts);

		for (int i = 0; i < n; i += BATCH)
		{
			CHECK_FOR_INTERRUPTS();
			count_batch(site, at, contacts + i, Min(BATCH, n - i), body, arg);
		}
		seen += n;
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/* ---- what everybody has in common ------------------------------------- */

static void
add_counts(const Site *site, const HourCounts *counts, int n, void *arg)
{
	HourCounts *sum = arg;

	for (int i = 0; i < n; i++)
	{
		for (int kind = 0; kind < DAY_KINDS; kind++)
		{
			sum->events[kind] += counts[i].events[kind];
			for (int hour = 0; hour < PGJ_HOURS; hour++)
				sum->weight[kind][hour] += counts[i].weight[kind][hour];
		}
	}
}

static void
write_prior(const Site *site, const HourCounts *sum, TimestampTz at)
{
	static KeptPlan clear = { .sql =
								  "DELETE FROM journey_state.send_time_prior" };
	static KeptPlan insert = {
		.sql =
			"INSERT INTO journey_state.send_time_prior (day_kind, hour, share, events, at) "
			"SELECT r.day_kind, r.hour, r.share, r.events, $5 FROM unnest($1, $2, $3, $4) AS r (day_kind, hour, share, events)"
	};
	Params params;
	Datum *day_kind, *hours, *share, *events;
	int n = 0;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	(void) pgj_plan_execute(&clear, &params);
	for (int kind = 0; kind < DAY_KINDS; kind++)
		n += sum->events[kind] > 0 ? PGJ_HOURS : 0;
	pgj_params_init(&params, site, n);
	day_kind = pgj_params_column(&params, TEXTOID, NULL);
	hours = pgj_params_column(&params, INT4OID, NULL);
	share = pgj_params_column(&params, FLOAT8OID, NULL);
	events = pgj_params_column(&params, INT8OID, NULL);
	n = 0;
	for (int kind = 0; kind < DAY_KINDS; kind++)
	{
		double smooth[PGJ_HOURS];
		double total = pgj_hour_total(sum, kind);

		pgj_hours_smooth(sum->weight[kind], smooth);
		for (int hour = 0; hour < PGJ_HOURS && sum->events[kind] > 0; hour++)
		{
			day_kind[n] = CStringGetTextDatum(pgj_day_kinds[kind]);
			hours[n] = Int32GetDatum(hour);
			share[n] = Float8GetDatum(smooth[hour] / total);
			events[n++] = Int64GetDatum(sum->events[kind]);
		}
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	(void) pgj_plan_execute(&insert, &params);
	SPI_finish();
}

static void
refresh(const Site *site, TimestampTz at)
{
	Oid types[1] = { TIMESTAMPTZOID };
	Datum values[1] = { TimestampTzGetDatum(at) };
	HourCounts sum;

	/* about all contacts, so not a matter for plan.c; locks out another refresh */
	SPI_connect();
	if (SPI_execute_with_args("SELECT journey._refresh_engagement($1)", 1,
							  types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not learn how contacts respond");
	SPI_finish();

	memset(&sum, 0, sizeof(sum));
	count_contacts(site, at, SAMPLE, add_counts, &sum);
	write_prior(site, &sum, at);
}

/* Has it been refreshed in the day before? */
static bool
is_fresh(const Site *site, TimestampTz at)
{
	static KeptPlan plan = {
		.sql =
			"SELECT pg_catalog.max(r.at) OPERATOR(pg_catalog.>) ($1 OPERATOR(pg_catalog.-) interval '1 day') "
			"FROM (SELECT p.at FROM journey_state.engagement_prior AS p "
			"UNION ALL SELECT q.at FROM journey_state.send_time_prior AS q) AS r"
	};
	Params params;
	bool fresh;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	(void) pgj_plan_execute(&plan, &params);
	fresh = !pgj_row_null(0, 1) && DatumGetBool(pgj_row_value(0, 1));
	SPI_finish();
	return fresh;
}

/*
 * An error, such as of contacts that cannot be read in time, is told and stops
 * nothing: what was learned before stays, and the next call tries again.
 */
static void
refresh_or_warn(const Site *site, TimestampTz at)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		refresh(site, at);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		ereport(
			WARNING, errcode(error->sqlerrcode),
			errmsg("could not learn how contacts respond: %s", error->message),
			errhint("The next journey.maintain() tries again."));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
}

void
pgj_engagement_maintain(const Site *site, TimestampTz at)
{
	SavedUser saved;

	if (superuser_arg(GetSessionUserId()) || superuser())
		return;

	/* the worker must not wait for a session that is at it, or left it open */
	if (!ConditionalLockRelationOid(pgj_state_relation("engagement_prior"),
									ShareRowExclusiveLock))
		return;
	saved = pgj_become_owner(site);
	if (!is_fresh(site, at))
		refresh_or_warn(site, at);
	pgj_become_caller(saved);
}

static TimestampTz
take_time(FunctionCallInfo fcinfo, const char *name)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s must not be null", name));
	if (!pgj_time_in_range(PG_GETARG_TIMESTAMPTZ(0)))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("%s must be in the years 1 to 9999", name));
	return PG_GETARG_TIMESTAMPTZ(0);
}

Datum
pgj_sql_refresh_engagement(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	TimestampTz at = take_time(fcinfo, "at");
	SavedUser saved;

	pgj_require_member(site);
	saved = pgj_become_owner(site);
	refresh(site, at);
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

/* ---- the best hours of each contact ----------------------------------- */

typedef struct SendTimes
{
	ReturnSetInfo *result;
	TimestampTz at;
	HourPrior prior;
} SendTimes;

/*
 * The next time a message would go to be there at an hour, on a day of this kind;
 * quiet hours are a matter of channel and topic, and not looked at.
 */
static TimestampTz
next_time(const Zones *zones, TimestampTz at, DayKind kind, int hour)
{
	int days = kind == DAY_WEEKEND ? 0x60 : 0x1f; /* from Monday */

	return pgj_zone_next(zones, at + PGJ_SEND_LEAD, hour * USECS_PER_HOUR,
						 days) -
		   PGJ_SEND_LEAD;
}

static void
put_send_times(const Site *site, const HourCounts *counts, int n, void *arg)
{
	SendTimes *times = arg;

	for (int i = 0; i < n * DAY_KINDS; i++)
	{
		const HourCounts *c = &counts[i / DAY_KINDS];
		DayKind kind = i % DAY_KINDS;
		double total = pgj_hour_total(c, kind);
		double scores[PGJ_HOURS];
		Datum values[9];
		bool nulls[9] = { false };
		int best;

		pgj_hours_score(c->weight[kind], times->prior.share[kind],
						PGJ_HOURS_KAPPA, scores);
		best = pgj_best_hour(scores);
		values[0] = CStringGetTextDatum(pgj_key_to_text(site, c->contact));
		values[1] = CStringGetTextDatum(pgj_day_kinds[kind]);
		values[2] = Int32GetDatum(best);
		values[3] = Float8GetDatum(scores[best]);
		values[4] = Float8GetDatum(total / (total + PGJ_HOURS_KAPPA));
		values[5] =
			CStringGetTextDatum(pgj_hour_source(c, &times->prior, kind));
		nulls[6] = scores[PGJ_DEFAULT_HOUR] == 0.0;
		values[6] = Float8GetDatum(
			nulls[6] ? 0.0 : scores[best] / scores[PGJ_DEFAULT_HOUR] - 1.0);
		values[7] = Int64GetDatum(c->events[kind]);
		values[8] =
			TimestampTzGetDatum(next_time(c->zones, times->at, kind, best));
		tuplestore_putvalues(times->result->setResult, times->result->setDesc,
							 values, nulls);
	}
}

Datum
pgj_sql_send_times(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	SendTimes times;
	SavedUser saved;

	times.at = take_time(fcinfo, "as_of");
	pgj_refuse_superuser(site);
	InitMaterializedSRF(fcinfo, 0);
	times.result = (ReturnSetInfo *) fcinfo->resultinfo;
	saved = pgj_become_owner(site);
	pgj_hour_prior_read(site, &times.prior);
	count_contacts(site, times.at, PG_INT64_MAX, put_send_times, &times);
	pgj_become_caller(saved);
	return (Datum) 0;
}
