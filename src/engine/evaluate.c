/*-------------------------------------------------------------------------
 *
 * evaluate.c
 *	  Evaluate an expression of a version for many contacts at once.
 *
 * One statement per set, in the box (box.h).  If the set fails, its halves are
 * tried, so that n contacts of whom k raise an error cost about 2 k log n
 * statements, no transaction ids and no contact its neighbours' error.  A set that
 * runs out of time is tried one by one: a slow contact is found at the price of
 * one time-out.  When PGJ_MAX_TIMEOUTS contacts have run out of time in one call, the
 * expression is what is slow, and the rest is given up with that error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "box.h"
#include "engine/evaluate.h"
#include "pg_journey.h"
#include "plan.h"

typedef struct Evaluation
{
	const Site *site;
	Version *version;
	Expression *expression;
	Subject *subjects;
	int lo;
	int hi;
	int timeouts;
	char *last_error;
	MemoryContext context; /* results live here */
} Evaluation;

char *
pgj_error_text(const ErrorData *error)
{
	return psprintf("%s (SQLSTATE %s)",
					error->message ? error->message : "no message",
					unpack_sql_state(error->sqlerrcode));
}

/* $1 … $8: n, contact, now, event_id, event_at, enrollment_id, key, entered_at */
static void
fill_params(const Evaluation *e, Params *params)
{
	int n = e->hi - e->lo;
	const Subject *s = e->subjects + e->lo;
	bool *no_event, *no_run;
	Datum *contact = pgj_params_contacts(params, e->site, n);
	Datum *now = pgj_params_column(params, TIMESTAMPTZOID, NULL);
	Datum *event = pgj_params_column(params, INT8OID, &no_event);
	Datum *event_at = palloc_array(Datum, n);
	Datum *run, *key = palloc_array(Datum, n),
				*entered_at = palloc_array(Datum, n);

	pgj_params_filled(params, TIMESTAMPTZOID, event_at, no_event);
	run = pgj_params_column(params, INT8OID, &no_run);
	pgj_params_filled(params, TEXTOID, key, no_run);
	pgj_params_filled(params, TIMESTAMPTZOID, entered_at, no_run);
	for (int i = 0; i < n; i++)
	{
		contact[i] = s[i].contact;
		now[i] = TimestampTzGetDatum(s[i].now);
		no_event[i] = s[i].event_id == 0;
		event[i] = Int64GetDatum(s[i].event_id);
		event_at[i] = TimestampTzGetDatum(s[i].event_at);
		no_run[i] = s[i].enrollment_id == 0;
		run[i] = Int64GetDatum(s[i].enrollment_id);
		key[i] = no_run[i] ? (Datum) 0 : CStringGetTextDatum(s[i].key);
		entered_at[i] = TimestampTzGetDatum(s[i].entered_at);
	}
}

static SPIPlanPtr
plan_of(Expression *expression, const Params *params)
{
	Oid types[PGJ_MAX_PARAMS];
	SPIPlanPtr plan;

	if (expression->plan != NULL)
		return expression->plan;
	pgj_params_types(params, types);
	plan = SPI_prepare(expression->statement, params->count, types);
	if (plan == NULL)
		elog(ERROR, "could not prepare an expression: %s",
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	expression->plan = plan;
	return plan;
}

/* The body of the box. */
static void
evaluate_range(void *arg)
{
	Evaluation *e = arg;
	Params params;
	Datum values[PGJ_MAX_PARAMS];
	char nulls[PGJ_MAX_PARAMS];
	int16 typlen;
	bool typbyval;

	SPI_connect();
	fill_params(e, &params);
	pgj_params_values(&params, values, nulls);
	SPI_execute_plan(plan_of(e->expression, &params), values, nulls, true, 0);
	get_typlenbyval(e->expression->result, &typlen, &typbyval);

	for (int i = e->lo; i < e->hi; i++)
		e->subjects[i].isnull = true;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int i = e->lo + pgj_row_int4(row, 1, -1);
		bool isnull;
		Datum value = pgj_row_nullable(row, 2, &isnull);
		MemoryContext old;

		if (i < e->lo || i >= e->hi)
			elog(ERROR, "expression returned subject %d out of range", i);
		old = MemoryContextSwitchTo(e->context);
		e->subjects[i].isnull = isnull;
		e->subjects[i].value =
			isnull ? (Datum) 0 : datumCopy(value, typbyval, typlen);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

static void
evaluate_halving(Evaluation *e, int lo, int hi)
{
	ErrorData *error;
	bool timed_out;

	CHECK_FOR_INTERRUPTS();
	check_stack_depth();

	if (e->timeouts >= PGJ_MAX_TIMEOUTS)
	{
		for (int i = lo; i < hi; i++)
			e->subjects[i].error = e->last_error;
		return;
	}

	e->lo = lo;
	e->hi = hi;
	error = pgj_box_run(e->site, e->version->version_id, e->expression->no,
						evaluate_range, e);
	if (error == NULL)
		return;

	e->last_error = pgj_error_text(error);
	timed_out = error->sqlerrcode == ERRCODE_QUERY_CANCELED;
	FreeErrorData(error);
	if (hi - lo == 1)
	{
		e->subjects[lo].error = e->last_error;
		e->timeouts += timed_out;
		return;
	}
	if (timed_out)
	{
		/* halves would time out too, again and again, for one slow contact */
		for (int i = lo; i < hi; i++)
			evaluate_halving(e, i, i + 1);
		return;
	}
	evaluate_halving(e, lo, lo + (hi - lo) / 2);
	evaluate_halving(e, lo + (hi - lo) / 2, hi);
}

void
pgj_evaluate(const Site *site, Version *version, int no, Subject *subjects,
			 int n)
{
	Evaluation e = { 0 };

	if (n == 0)
		return;
	Assert(no >= 1 && no <= version->nexpressions);
	e.site = site;
	e.version = version;
	e.expression = &version->expressions[no];
	e.subjects = subjects;
	e.context = CurrentMemoryContext;
	for (int i = 0; i < n; i++)
	{
		subjects[i].error = NULL;
		subjects[i].isnull = true;
	}
	evaluate_halving(&e, 0, n);
}

ErrorData *
pgj_attempt(void (*body)(void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		body(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

typedef struct Guard
{
	RangeBody body;
	RangeFailed failed;
	void *arg;
	int lo;
	int hi;
	int timeouts;
	char *last_error;
} Guard;

static void
run_range(void *arg)
{
	Guard *guard = arg;

	guard->body(guard->arg, guard->lo, guard->hi);
}

static void
guard_halving(Guard *guard, int lo, int hi)
{
	ErrorData *error;
	bool timed_out;

	CHECK_FOR_INTERRUPTS();
	if (guard->timeouts >= PGJ_MAX_TIMEOUTS)
	{
		for (int i = lo; i < hi; i++)
			guard->failed(guard->arg, i, guard->last_error);
		return;
	}

	guard->lo = lo;
	guard->hi = hi;
	error = pgj_attempt(run_range, guard);
	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	guard->last_error = pgj_error_text(error);
	timed_out = error->sqlerrcode == ERRCODE_PGJ_SLOW_CONTACTS;
	FreeErrorData(error);
	if (hi - lo == 1)
	{
		guard->failed(guard->arg, lo, guard->last_error);
		guard->timeouts += timed_out;
	}
	else if (timed_out)
		for (int i = lo; i < hi; i++)
			guard_halving(guard, i, i + 1);
	else
	{
		guard_halving(guard, lo, lo + (hi - lo) / 2);
		guard_halving(guard, lo + (hi - lo) / 2, hi);
	}
}

void
pgj_guard_range(RangeBody body, RangeFailed failed, void *arg, int n)
{
	Guard guard = { .body = body, .failed = failed, .arg = arg };

	if (n > 0)
		guard_halving(&guard, 0, n);
}
