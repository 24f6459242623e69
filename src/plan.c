/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Set-based statements over arrays, planned once per session.
 *
 * Every statement here joins a few rows with large tables by their keys, so the
 * plan wanted is always a nested loop over an index.  The planner may think
 * otherwise while a table is still small or not analyzed, and that plan would
 * be kept while it grows.  So plans are generic, and planned and executed with
 * the other ways turned off (and JIT, which the price of a way turned off would
 * trigger).  An index also means that a policy or view of the shop's meets the
 * contacts asked for and no others: an error about one is an error about one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "nodes/parsenodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg_journey.h"
#include "plan.h"

void
pgj_params_init(Params *params, const Site *site, int nrows)
{
	params->site = site;
	params->nrows = nrows;
	params->count = 0;
}

static Datum *
add_param(Params *params, Oid type, bool is_column, int nelements)
{
	int			i = params->count++;

	Assert(i < PGJ_MAX_PARAMS);
	params->type[i] = type;
	params->is_column[i] = is_column;
	params->values[i] = palloc0_array(Datum, nelements);
	params->nulls[i] = palloc0_array(bool, nelements);
	return params->values[i];
}

Datum *
pgj_params_column(Params *params, Oid element_type, bool **nulls)
{
	Datum	   *values = add_param(params, element_type, true, params->nrows);

	if (nulls != NULL)
		*nulls = params->nulls[params->count - 1];
	return values;
}

void
pgj_params_scalar(Params *params, Oid type, Datum value)
{
	add_param(params, type, false, 1)[0] = value;
}

static Datum
make_array(const Params *params, int i)
{
	int			dims[1] = {params->nrows};
	int			lower[1] = {1};
	int16		typlen;
	bool		typbyval;
	char		typalign;

	get_typlenbyvalalign(params->type[i], &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_md_array(params->values[i], params->nulls[i],
											  1, dims, lower, params->type[i],
											  typlen, typbyval, typalign));
}

static Oid
param_type(const Params *params, int i)
{
	if (!params->is_column[i])
		return params->type[i];
	if (params->type[i] == params->site->key_type)
		return params->site->key_array_type;
	return get_array_type(params->type[i]);
}

static void
prepare(KeptPlan *plan, const Params *params)
{
	Oid			types[PGJ_MAX_PARAMS];
	SPIPlanPtr	prepared;
	char	   *sql;

	for (int i = 0; i < params->count; i++)
		types[i] = param_type(params, i);
	prepared = SPI_prepare_cursor(plan->sql, params->count, types, CURSOR_OPT_GENERIC_PLAN);
	if (prepared == NULL)
		elog(ERROR, "SPI_prepare_cursor failed: %s", SPI_result_code_string(SPI_result));
	sql = MemoryContextStrdup(TopMemoryContext, plan->sql);

	if (plan->plan != NULL)
		SPI_freeplan(plan->plan);
	if (plan->planned_sql != NULL)
		pfree(plan->planned_sql);
	SPI_keepplan(prepared);
	plan->plan = prepared;
	plan->planned_sql = sql;
	plan->planned_key_type = params->site->key_type;
}

/* Settings of a nest level of its own, which the caller ends. */
static int
hold_to_indexes(void)
{
	static const char *const off[] = {"enable_hashjoin", "enable_mergejoin", "enable_seqscan", "jit"};
	int			nest_level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

uint64
pgj_plan_execute(KeptPlan *plan, const Params *params)
{
	Datum		values[PGJ_MAX_PARAMS];
	char		nulls[PGJ_MAX_PARAMS + 1];
	int			nest_level;
	int			code;

	if (plan->plan == NULL ||
		plan->planned_key_type != params->site->key_type ||
		strcmp(plan->planned_sql, plan->sql) != 0 ||
		pgj_plan_is_stale(plan->uses))
		prepare(plan, params);

	plan->uses++;

	for (int i = 0; i < params->count; i++)
	{
		values[i] = params->is_column[i] ? make_array(params, i) : params->values[i][0];
		nulls[i] = ' ';
	}
	nest_level = hold_to_indexes();
	code = SPI_execute_plan(plan->plan, values, nulls, false, 0);
	AtEOXact_GUC(true, nest_level);
	if (code < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(code));
	return SPI_processed;
}

bool
pgj_row_null(uint64 row, int column)
{
	bool		isnull;

	(void) SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);
	return isnull;
}

Datum
pgj_row_value(uint64 row, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d", column);
	return value;
}

char *
pgj_row_text(MemoryContext context, uint64 row, int column)
{
	MemoryContext old;
	char	   *value;

	if (pgj_row_null(row, column))
		return NULL;
	old = MemoryContextSwitchTo(context);
	value = TextDatumGetCString(pgj_row_value(row, column));
	MemoryContextSwitchTo(old);
	return value;
}

Datum
pgj_row_copy(MemoryContext context, uint64 row, int column)
{
	Form_pg_attribute attribute = TupleDescAttr(SPI_tuptable->tupdesc, column - 1);
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum		value = pgj_row_value(row, column);

	if (attribute->attlen == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	else
		value = datumCopy(value, attribute->attbyval, attribute->attlen);
	MemoryContextSwitchTo(old);
	return value;
}
