/*-------------------------------------------------------------------------
 *
 * evaluate.c
 *	  Evaluate an expression of a version for many contacts at once.
 *
 * One statement per set, in the box (box.h).  If the set fails, its halves are
 * tried, so that n contacts of whom k raise an error cost about 2 k log n
 * statements, no transaction ids and no contact its neighbours' error.  A set that
 * runs out of time is tried one by one: a slow contact is found at the price of
 * one time-out.  When MAX_TIMEOUTS contacts have run out of time in one call, the
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
#include "engine/statement.h"

#define MAX_TIMEOUTS 10

typedef struct Evaluation
{
	const Site *site;
	Version    *version;
	Expression *expression;
	Subject    *subjects;
	int			lo;
	int			hi;
	int			timeouts;
	char	   *last_error;
	MemoryContext context;		/* results live here */
} Evaluation;

char *
pgj_error_text(const ErrorData *error)
{
	return psprintf("%s (SQLSTATE %s)",
					error->message ? error->message : "no message",
					unpack_sql_state(error->sqlerrcode));
}

static void
arguments(Evaluation *e, Datum *args)
{
	int			n = e->hi - e->lo;
	Datum	   *values = palloc_array(Datum, n);
	bool	   *no_event = palloc_array(bool, n);
	bool	   *no_run = palloc_array(bool, n);
	char	  **keys = palloc_array(char *, n);
	Subject    *s = e->subjects + e->lo;

#define FILL(expr) for (int i = 0; i < n; i++) values[i] = (expr)
	for (int i = 0; i < n; i++)
	{
		no_event[i] = s[i].event_id == 0;
		no_run[i] = s[i].enrollment_id == 0;
		keys[i] = no_run[i] ? NULL : (char *) s[i].key;
	}
	FILL(Int32GetDatum(e->lo + i));
	args[0] = pgj_array(INT4OID, values, NULL, n);
	FILL(s[i].contact);
	args[1] = pgj_key_array(e->site, values, n);
	FILL(TimestampTzGetDatum(s[i].now));
	args[2] = pgj_array(TIMESTAMPTZOID, values, NULL, n);
	FILL(Int64GetDatum(s[i].event_id));
	args[3] = pgj_array(INT8OID, values, no_event, n);
	FILL(TimestampTzGetDatum(s[i].event_at));
	args[4] = pgj_array(TIMESTAMPTZOID, values, no_event, n);
	FILL(Int64GetDatum(s[i].enrollment_id));
	args[5] = pgj_array(INT8OID, values, no_run, n);
	args[6] = pgj_text_array(keys, n);
	FILL(TimestampTzGetDatum(s[i].entered_at));
	args[7] = pgj_array(TIMESTAMPTZOID, values, no_run, n);
#undef FILL
}

static SPIPlanPtr
plan_of(const Site *site, Expression *expression)
{
	Oid			types[8] = {INT4ARRAYOID, site->key_array_type,
		TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID,
	TEXTARRAYOID, TIMESTAMPTZARRAYOID};
	SPIPlanPtr	plan;

	if (expression->plan != NULL)
		return expression->plan;
	plan = SPI_prepare(expression->statement, 8, types);
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
	Datum		args[8];
	int16		typlen;
	bool		typbyval;

	SPI_connect();
	arguments(e, args);
	SPI_execute_plan(plan_of(e->site, e->expression), args, NULL, true, 0);
	get_typlenbyval(e->expression->result, &typlen, &typbyval);

	for (int i = e->lo; i < e->hi; i++)
		e->subjects[i].isnull = true;
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int			i = pgj_spi_int4(row, 1, -1);
		bool		isnull;
		Datum		value = pgj_spi_value(row, 2, &isnull);
		MemoryContext old;

		if (i < e->lo || i >= e->hi)
			elog(ERROR, "expression returned subject %d out of range", i);
		old = MemoryContextSwitchTo(e->context);
		e->subjects[i].isnull = isnull;
		e->subjects[i].value = isnull ? (Datum) 0 :
			datumCopy(value, typbyval, typlen);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

static void
evaluate_halving(Evaluation *e, int lo, int hi)
{
	ErrorData  *error;
	bool		timed_out;

	CHECK_FOR_INTERRUPTS();
	check_stack_depth();

	if (e->timeouts >= MAX_TIMEOUTS)
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
pgj_evaluate(const Site *site, Version *version, int no,
			 Subject *subjects, int n)
{
	Evaluation	e = {0};

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

static void
guard_halving(RangeBody body, RangeFailed failed, void *arg, int lo, int hi)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	CHECK_FOR_INTERRUPTS();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		body(arg, lo, hi);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();

	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	if (hi - lo == 1)
	{
		failed(arg, lo, pgj_error_text(error));
		return;
	}
	guard_halving(body, failed, arg, lo, lo + (hi - lo) / 2);
	guard_halving(body, failed, arg, lo + (hi - lo) / 2, hi);
}

void
pgj_guard_range(RangeBody body, RangeFailed failed, void *arg, int n)
{
	if (n > 0)
		guard_halving(body, failed, arg, 0, n);
}
