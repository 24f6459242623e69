/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  journey._segment_plan(): the plan of a segment's check statement.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "box.h"
#include "clock.h"
#include "pg_journey.h"
#include "segment/compile.h"

PG_FUNCTION_INFO_V1(pgj_sql_segment_plan);

typedef struct PlanContext
{
	const Site *site;
	int segment_id;
	MemoryContext context;
	List *lines; /* char *, in the context */
} PlanContext;

static void
plan_in_box(void *arg)
{
	PlanContext *pc = arg;
	const Site *site = pc->site;
	Oid types[3] = { INT4ARRAYOID, site->key_array_type, TIMESTAMPTZARRAYOID };
	Datum values[3];

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pgj_segment_sample(site, pgj_clock_now(), values);
	if (SPI_execute_with_args(
			psprintf("EXPLAIN SELECT * FROM %s($1, $2, $3)",
					 pgj_segment_function_name(pc->segment_id, "check", 0)),
			3, types, values, NULL, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not explain the statement of a segment");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char *line =
			SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(pc->context);

		pc->lines = lappend(pc->lines, pstrdup(line));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

Datum
pgj_sql_segment_plan(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const Site *site = pgj_site();
	PlanContext pc = { site, PG_GETARG_INT32(0), CurrentMemoryContext, NIL };
	ErrorData *error;
	ListCell *lc;

	pgj_require_member(site);
	error = pgj_box_run(site, 0, 0, plan_in_box, &pc);
	if (error)
		ReThrowError(error);

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	foreach (lc, pc.lines)
	{
		Datum value = CStringGetTextDatum(lfirst(lc));
		bool isnull = false;

		tuplestore_putvalues(result->setResult, result->setDesc, &value,
							 &isnull);
	}
	return (Datum) 0;
}
