/*-------------------------------------------------------------------------
 *
 * run.c
 *	  Run a capture over the rows of one statement of the shop.
 *
 * All rows are evaluated by one statement, in the box.  If that fails, halves
 * are tried, down to the rows that fail by themselves; the others become events
 * all the same.  What this may cost is bounded: a statement that cannot even be
 * planned is not tried again, a time-out is searched in blocks and not row by
 * row, and after a number of failures the rest is put aside untried.  Rows that
 * fail go to journey_state.capture_error as they are, from where they can be
 * tried again.
 *
 * What can fail the shop's statement is a cancellation that was meant for it,
 * and a disk that takes no more rows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "box.h"
#include "capture/capture.h"
#include "capture/event.h"
#include "clock.h"
#include "pg_journey.h"

#define MAX_FAILURES 1000 /* rows tried and failed, of one statement */
#define MAX_TIMEOUTS_OF_RUN 4
#define TIMEOUT_BLOCK 1000 /* rows; a block that times out fails as a whole */

struct CapturePlan
{
	Oid trigger; /* hash key */
	Oid source;
	bool update;
	bool stale; /* the source changed since */
	CaptureDefinition *definition;
	MemoryContext context; /* the definition's */
	Oid key_type;		   /* what the statement was planned for */
	SPIPlanPtr plan;	   /* NULL until first run, or when it did not plan */
};

/* What the statement said of a row. */
typedef struct RowResult
{
	bool hit; /* the condition is true */
	bool contact_null;
	bool at_null;
	bool properties_null;
	Datum contact;
	TimestampTz at;
	Datum properties;
} RowResult;

/* One evaluation. */
typedef struct Evaluation
{
	const Site *site;
	CapturePlan *plan;
	const CaptureRows *rows;
	RowResult *results; /* in the caller's context */
} Evaluation;

/* The capture of one statement of the shop. */
typedef struct Run
{
	const Site *site;
	CapturePlan *plan;
	const CaptureRows *rows;
	MinimalTuple *new_tuples; /* read from the stores at the first failure */
	MinimalTuple *old_tuples;
	EventRow *events;
	int nevents;
	CaptureError *errors;
	int *error_rows; /* which rows the errors are about */
	int nerrors;
	int ntimeouts;
} Run;

static HTAB *plans = NULL;

static void
invalidate_plans(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	CapturePlan *plan;

	hash_seq_init(&status, plans);
	while ((plan = hash_seq_search(&status)) != NULL)
		if (!OidIsValid(relid) || plan->source == relid)
			plan->stale = true;
}

static void
init_plans(void)
{
	HASHCTL control = { .keysize = sizeof(Oid),
						.entrysize = sizeof(CapturePlan) };

	if (plans != NULL)
		return;
	plans = hash_create("pg_journey captures", 16, &control,
						HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(invalidate_plans, (Datum) 0);
}

static void
reset_plan(CapturePlan *plan)
{
	if (plan->plan != NULL)
		SPI_freeplan(plan->plan);
	plan->plan = NULL;
	if (plan->context != NULL)
		MemoryContextDelete(plan->context);
	plan->context = NULL;
	plan->definition = NULL;
}

CapturePlan *
pgj_capture_plan(Oid trigger, int capture_id, Oid source, bool update)
{
	CapturePlan *plan;
	MemoryContext old;
	bool found = false;

	init_plans();
	if (OidIsValid(trigger))
	{
		plan = hash_search(plans, &trigger, HASH_ENTER, &found);
		if (found && !plan->stale && plan->definition != NULL)
			return plan;
		if (found)
			reset_plan(plan);
		else
			memset((char *) plan + sizeof(Oid), 0,
				   sizeof(CapturePlan) - sizeof(Oid));
	}
	else
		plan = palloc0_object(CapturePlan);

	plan->source = source;
	plan->update = update;
	plan->stale = false;
	plan->context = AllocSetContextCreate(
		OidIsValid(trigger) ? CacheMemoryContext : CurrentMemoryContext,
		"pg_journey capture", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(plan->context);
	plan->definition = pgj_capture_load(capture_id);
	MemoryContextSwitchTo(old);
	return plan->definition == NULL ? NULL : plan;
}

int
pgj_capture_plan_id(const CapturePlan *plan)
{
	return plan->definition->capture_id;
}

static void
register_rows(const char *name, Oid source, Tuplestorestate *store, int nrows)
{
	EphemeralNamedRelation enr = palloc0_object(EphemeralNamedRelationData);

	enr->md.name = pstrdup(name);
	enr->md.reliddesc = source;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = nrows;
	enr->reldata = store;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register relation \"%s\"", name);
}

/*
 * What a text means to the parser depends on settings, and those here are the
 * shop's session's.  The box has a GUC level of its own.
 */
static void
standardize_parser(void)
{
	(void) set_config_option("standard_conforming_strings", "on", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("transform_null_equals", "off", PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

static void
prepare(Evaluation *e)
{
	char *statement;
	SPIPlanPtr plan;

	standardize_parser();
	statement = pgj_capture_compile(e->site, e->plan->definition, e->rows->desc,
									e->plan->update);
	plan = SPI_prepare(statement, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "SPI_keepplan failed");
	e->plan->plan = plan;
	e->plan->key_type = e->site->key_type;
}

static void
read_result(Evaluation *e, HeapTuple tuple, TupleDesc desc, uint64 position)
{
	bool isnull;
	int64 n = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	RowResult *result;
	Datum value;

	if (isnull)
		n = position + 1;
	if (n < 1 || n > e->rows->nrows)
		elog(ERROR, "capture yields row %lld of %d", (long long) n,
			 e->rows->nrows);
	result = &e->results[n - 1];
	(void) SPI_getbinval(tuple, desc, 5, &isnull);
	result->hit = !isnull;
	if (!result->hit)
		return;
	value = SPI_getbinval(tuple, desc, 2, &result->contact_null);
	if (!result->contact_null)
		result->contact =
			datumCopy(value, e->site->key_typbyval, e->site->key_typlen);
	value = SPI_getbinval(tuple, desc, 3, &result->at_null);
	if (!result->at_null)
		result->at = DatumGetTimestampTz(value);
	value = SPI_getbinval(tuple, desc, 4, &result->properties_null);
	if (!result->properties_null)
		result->properties = datumCopy(value, false, -1);
}

/* The body of the box. */
static void
evaluate_in_box(void *arg)
{
	Evaluation *e = arg;
	MemoryContext caller_context = CurrentMemoryContext;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	register_rows(CAPTURE_NEW, e->plan->source, e->rows->new_rows,
				  e->rows->nrows);
	if (e->plan->update)
		register_rows(CAPTURE_OLD, e->plan->source, e->rows->old_rows,
					  e->rows->nrows);
	if (e->plan->plan != NULL && e->plan->key_type != e->site->key_type)
	{
		SPI_freeplan(e->plan->plan);
		e->plan->plan = NULL;
	}
	if (e->plan->plan == NULL)
		prepare(e);
	if (SPI_execute_plan(e->plan->plan, NULL, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_plan failed");
	if (SPI_processed != e->rows->nrows)
		elog(ERROR, "capture yields %llu rows for %d",
			 (unsigned long long) SPI_processed, e->rows->nrows);
	MemoryContextSwitchTo(caller_context);
	for (uint64 i = 0; i < SPI_processed; i++)
		read_result(e, SPI_tuptable->vals[i], SPI_tuptable->tupdesc, i);
	SPI_finish();
}

/* Results of rows, or NULL and *error. */
static RowResult *
evaluate(Run *run, const CaptureRows *rows, ErrorData **error)
{
	Evaluation e = { run->site, run->plan, rows,
					 palloc0_array(RowResult, rows->nrows) };

	*error = pgj_box_run(run->site, -run->plan->definition->capture_id, 0,
						 evaluate_in_box, &e);
	return *error == NULL ? e.results : NULL;
}

static void
add_error(Run *run, int row, int sqlerrcode, const char *message)
{
	CaptureError *error = &run->errors[run->nerrors];

	run->error_rows[run->nerrors++] = row;
	error->capture_id = run->plan->definition->capture_id;
	error->at = run->rows->at;
	error->sqlstate = pstrdup(unpack_sql_state(sqlerrcode));
	error->message = message;
}

static void
add_errors(Run *run, int first, int count, int sqlerrcode, const char *message)
{
	for (int i = first; i < first + count; i++)
		add_error(run, i, sqlerrcode, message);
}

/* Turn results into events, and into errors where there is something wrong. */
static void
take_results(Run *run, int first, int count, const RowResult *results,
			 Datum empty)
{
	for (int i = 0; i < count; i++)
	{
		const RowResult *result = &results[i];
		EventRow *event = &run->events[run->nevents];
		const char *problem;

		if (!result->hit)
			continue;
		if (result->contact_null)
		{
			add_error(run, first + i, ERRCODE_NULL_VALUE_NOT_ALLOWED,
					  "contact is null");
			continue;
		}
		event->contact = result->contact;
		event->name = run->plan->definition->event;
		event->at = result->at_null ? run->rows->at : result->at;
		event->properties =
			result->properties_null ? empty : result->properties;
		problem = pgj_event_problem(run->site, event->contact, event->at,
									event->properties);
		if (problem != NULL)
			add_error(run, first + i, ERRCODE_INVALID_PARAMETER_VALUE, problem);
		else
			run->nevents++;
	}
}

static MinimalTuple *
read_tuples(Tuplestorestate *store, TupleDesc desc, int nrows)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);
	MinimalTuple *tuples = palloc_array(MinimalTuple, nrows);

	tuplestore_select_read_pointer(store, 0);
	tuplestore_rescan(store);
	for (int i = 0; i < nrows; i++)
	{
		if (!tuplestore_gettupleslot(store, true, false, slot))
			elog(ERROR, "transition table has fewer rows than before");
		tuples[i] = ExecCopySlotMinimalTuple(slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	return tuples;
}

static void
read_all_tuples(Run *run)
{
	if (run->new_tuples != NULL)
		return;
	run->new_tuples =
		read_tuples(run->rows->new_rows, run->rows->desc, run->rows->nrows);
	if (run->rows->old_rows != NULL)
		run->old_tuples =
			read_tuples(run->rows->old_rows, run->rows->desc, run->rows->nrows);
}

static Tuplestorestate *
store_of(MinimalTuple *tuples, TupleDesc desc, int count)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	for (int i = 0; i < count; i++)
	{
		ExecStoreMinimalTuple(tuples[i], slot, false);
		tuplestore_puttupleslot(store, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	return store;
}

static RowResult *
evaluate_part(Run *run, int first, int count, ErrorData **error)
{
	CaptureRows part = *run->rows;
	RowResult *results;

	part.nrows = count;
	part.new_rows = store_of(run->new_tuples + first, part.desc, count);
	if (part.old_rows != NULL)
		part.old_rows = store_of(run->old_tuples + first, part.desc, count);
	results = evaluate(run, &part, error);
	tuplestore_end(part.new_rows);
	if (part.old_rows != NULL)
		tuplestore_end(part.old_rows);
	return results;
}

static void run_part(Run *run, int first, int count, Datum empty);

/*
 * Rows that failed together with an error: tell the guilty from the others.
 */
static void
divide(Run *run, int first, int count, ErrorData *error, Datum empty)
{
	bool timeout = error->sqlerrcode == ERRCODE_QUERY_CANCELED;

	if (timeout)
		run->ntimeouts++;
	if (count == 1 || run->plan->plan == NULL ||
		(timeout && count <= TIMEOUT_BLOCK))
		add_errors(run, first, count, error->sqlerrcode, error->message);
	else if (timeout)
		for (int i = 0; i < count; i += TIMEOUT_BLOCK)
			run_part(run, first + i, Min(TIMEOUT_BLOCK, count - i), empty);
	else
	{
		run_part(run, first, count / 2, empty);
		run_part(run, first + count / 2, count - count / 2, empty);
	}
}

static void
run_part(Run *run, int first, int count, Datum empty)
{
	ErrorData *error;
	RowResult *results;

	CHECK_FOR_INTERRUPTS();
	if (run->nerrors >= MAX_FAILURES || run->ntimeouts >= MAX_TIMEOUTS_OF_RUN)
	{
		add_errors(
			run, first, count, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
			"not tried, because too many rows of the same statement had failed");
		return;
	}
	results = evaluate_part(run, first, count, &error);
	if (results != NULL)
		take_results(run, first, count, results, empty);
	else
		divide(run, first, count, error, empty);
}

static void
append_errors(Run *run)
{
	TupleTableSlot *slot;

	if (run->nerrors == 0)
		return;
	read_all_tuples(run);
	slot = MakeSingleTupleTableSlot(run->rows->desc, &TTSOpsMinimalTuple);
	for (int i = 0; i < run->nerrors; i++)
	{
		ExecStoreMinimalTuple(run->new_tuples[run->error_rows[i]], slot, false);
		run->errors[i].new_row = pgj_capture_row_image(slot);
		if (run->old_tuples != NULL)
		{
			ExecStoreMinimalTuple(run->old_tuples[run->error_rows[i]], slot,
								  false);
			run->errors[i].old_row = pgj_capture_row_image(slot);
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	pgj_capture_error_append(run->site, run->errors, run->nerrors);
}

static void
init_run(Run *run, const Site *site, CapturePlan *plan, const CaptureRows *rows)
{
	memset(run, 0, sizeof(Run));
	run->site = site;
	run->plan = plan;
	run->rows = rows;
	run->events = palloc_array(EventRow, rows->nrows);
	run->errors = palloc0_array(CaptureError, rows->nrows);
	run->error_rows = palloc_array(int, rows->nrows);
}

int
pgj_capture_run(const Site *site, CapturePlan *plan, const CaptureRows *rows)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "pg_journey capture run", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Run run;
	ErrorData *error;
	RowResult *results;
	Datum empty = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));

	init_run(&run, site, plan, rows);
	results = evaluate(&run, rows, &error);
	if (results != NULL)
		take_results(&run, 0, rows->nrows, results, empty);
	else
	{
		read_all_tuples(&run);
		divide(&run, 0, rows->nrows, error, empty);
	}
	if (run.nevents > 0)
		pgj_event_append(site, run.events, run.nevents);
	append_errors(&run);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return run.nerrors;
}

void
pgj_capture_defer(const Site *site, CapturePlan *plan, const CaptureRows *rows)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "pg_journey capture run", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Run run;

	init_run(&run, site, plan, rows);
	add_errors(
		&run, 0, rows->nrows, ERRCODE_PGJ_SUPERUSER,
		"written in a superuser session, where expressions of a capture must not run");
	append_errors(&run);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

typedef struct Analysis
{
	const Site *site;
	const CaptureDefinition *definition;
	Oid source;
	TupleDesc desc;
	bool update;
} Analysis;

static void
refuse_if(bool wrong, const char *what)
{
	if (wrong)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("expressions of a capture must not use %s", what),
				errhint("They are evaluated row by row; use a subquery."));
}

static void
analyze_in_box(void *arg)
{
	Analysis *a = arg;
	SPIPlanPtr plan;
	Query *query;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	standardize_parser();
	register_rows(CAPTURE_NEW, a->source, NULL, 0);
	if (a->update)
		register_rows(CAPTURE_OLD, a->source, NULL, 0);
	plan = SPI_prepare(
		pgj_capture_probe(a->site, a->definition, a->desc, a->update), 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	query = linitial_node(
		Query, ((CachedPlanSource *) linitial(SPI_plan_get_plan_sources(plan)))
				   ->query_list);
	refuse_if(query->hasAggs, "aggregate functions");
	refuse_if(query->hasWindowFuncs, "window functions");
	refuse_if(query->hasTargetSRFs, "set-returning functions");

	/* and the statement itself */
	plan = SPI_prepare(
		pgj_capture_compile(a->site, a->definition, a->desc, a->update), 0,
		NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	SPI_finish();
}

void
pgj_capture_analyze(const Site *site, const CaptureDefinition *definition,
					Oid source, TupleDesc desc, bool update)
{
	Analysis a = { site, definition, source, desc, update };
	ErrorData *error = pgj_box_run(site, 0, 0, analyze_in_box, &a);

	/* positions point into a statement the author has not seen */
	if (error != NULL)
	{
		error->cursorpos = error->internalpos = 0;
		error->internalquery = NULL;
		ReThrowError(error);
	}
}
