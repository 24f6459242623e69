/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Set-based statements over arrays, planned once per session.
 *
 * Every statement here joins a few rows with large tables by their keys, so the
 * plan wanted is always a nested loop over an index made for it.  The planner
 * may think otherwise while a table is still small or not analyzed, and that
 * plan would be kept while it grows.  So plans are generic, and planned and
 * executed with the other ways turned off (and JIT, which the price of a way
 * turned off would trigger).  Where a join could still be turned round on a table
 * thought to be empty, the inner side is a LATERAL sub-select behind OFFSET 0.
 * An index also means that a policy or view of the shop's meets the contacts
 * asked for and no others: an error about one is an error about one.
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
#include "utils/snapmgr.h"

#include "pg_journey.h"
#include "plan.h"

void
pgj_params_init(Params *params, const Site *site, int nrows)
{
	params->site = site;
	params->nrows = nrows;
	params->count = 0;
}

static void
add_param(Params *params, Oid type, bool is_column, Datum *values, bool *nulls)
{
	int i = params->count++;

	Assert(i < PGJ_MAX_PARAMS);
	params->type[i] = type;
	params->is_column[i] = is_column;
	params->values[i] = values;
	params->nulls[i] = nulls;
}

Datum *
pgj_params_column(Params *params, Oid element_type, bool **nulls)
{
	Datum *values = palloc0_array(Datum, params->nrows);

	add_param(params, element_type, true, values,
			  nulls == NULL ? NULL : palloc0_array(bool, params->nrows));
	if (nulls != NULL)
		*nulls = params->nulls[params->count - 1];
	return values;
}

Datum *
pgj_params_contacts(Params *params, const Site *site, int nrows)
{
	Datum *number;

	pgj_params_init(params, site, nrows);
	number = pgj_params_column(params, INT4OID, NULL);
	for (int i = 0; i < nrows; i++)
		number[i] = Int32GetDatum(i);
	return pgj_params_column(params, site->key_type, NULL);
}

void
pgj_params_filled(Params *params, Oid element_type, Datum *values, bool *nulls)
{
	add_param(params, element_type, true, values, nulls);
}

void
pgj_params_scalar(Params *params, Oid type, Datum value)
{
	pgj_params_nullable(params, type, value, false);
}

void
pgj_params_nullable(Params *params, Oid type, Datum value, bool isnull)
{
	Datum *values = palloc_object(Datum);
	bool *nulls = palloc_object(bool);

	*values = value;
	*nulls = isnull;
	add_param(params, type, false, values, nulls);
}

static Datum
make_array(const Params *params, int i)
{
	int dims[1] = { params->nrows };
	int lower[1] = { 1 };
	int16 typlen;
	bool typbyval;
	char typalign;

	get_typlenbyvalalign(params->type[i], &typlen, &typbyval, &typalign);
	return PointerGetDatum(construct_md_array(
		params->values[i], params->nulls[i], params->nrows > 0 ? 1 : 0, dims,
		lower, params->type[i], typlen, typbyval, typalign));
}

void
pgj_params_values(const Params *params, Datum *values, char *nulls)
{
	for (int i = 0; i < params->count; i++)
	{
		values[i] =
			params->is_column[i] ? make_array(params, i) : params->values[i][0];
		nulls[i] = !params->is_column[i] && params->nulls[i][0] ? 'n' : ' ';
	}
}

static void
free_arrays(const Params *params, Datum *values)
{
	for (int i = 0; i < params->count; i++)
		if (params->is_column[i])
			pfree(DatumGetPointer(values[i]));
}

void
pgj_params_types(const Params *params, Oid *types)
{
	for (int i = 0; i < params->count; i++)
	{
		if (!params->is_column[i])
			types[i] = params->type[i];
		else if (params->type[i] == params->site->key_type)
			types[i] = params->site->key_array_type;
		else
			types[i] = get_array_type(params->type[i]);
	}
}

static void
prepare(KeptPlan *plan, const Params *params)
{
	Oid types[PGJ_MAX_PARAMS];
	SPIPlanPtr prepared;
	char *sql;

	pgj_params_types(params, types);
	prepared = SPI_prepare_cursor(plan->sql, params->count, types,
								  CURSOR_OPT_GENERIC_PLAN);
	if (prepared == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", plan->sql,
			 SPI_result_code_string(SPI_result));
	sql = MemoryContextStrdup(TopMemoryContext, plan->sql);

	if (plan->plan != NULL)
		SPI_freeplan(plan->plan);
	if (plan->planned_sql != NULL)
		pfree(plan->planned_sql);
	SPI_keepplan(prepared);
	plan->plan = prepared;
	plan->planned_sql = sql;
	plan->planned_key_type = params->site->key_type;
	memcpy(plan->planned_type, params->type, params->count * sizeof(Oid));
}

/*
 * A kept plan is made again after its 4th, 8th, 16th … use: one that was made
 * while a table was empty joins it from the wrong end, and as long as nothing
 * analyzes the table, nothing else would have it made again.
 */
static bool
is_stale(uint32 uses)
{
	return uses >= 4 && (uses & (uses - 1)) == 0;
}

/* Settings of a nest level of its own, which the caller ends. */
static int
hold_to_indexes(void)
{
	static const char *const off[] = { "enable_bitmapscan", "enable_hashjoin",
									   "enable_mergejoin",	"enable_seqscan",
									   "enable_sort",		"jit" };
	int nest_level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

uint64
pgj_plan_execute_snapshot(KeptPlan *plan, const Params *params,
						  Snapshot snapshot)
{
	Datum values[PGJ_MAX_PARAMS];
	char nulls[PGJ_MAX_PARAMS];
	MemoryContext context = CurrentMemoryContext; /* SPI leaves its own */
	int nest_level;
	int code;

	if (plan->plan == NULL ||
		plan->planned_key_type != params->site->key_type ||
		memcmp(plan->planned_type, params->type, params->count * sizeof(Oid)) !=
			0 ||
		strcmp(plan->planned_sql, plan->sql) != 0 || is_stale(plan->uses))
		prepare(plan, params);
	plan->uses++;

	pgj_params_values(params, values, nulls);
	nest_level = hold_to_indexes();
	code = SPI_execute_snapshot(plan->plan, values, nulls, snapshot,
								InvalidSnapshot, false, true, 0);
	AtEOXact_GUC(true, nest_level);
	MemoryContextSwitchTo(context);
	if (code < 0)
		elog(ERROR, "could not run \"%s\": %s", plan->sql,
			 SPI_result_code_string(code));
	free_arrays(params, values);
	return SPI_processed;
}

uint64
pgj_plan_execute(KeptPlan *plan, const Params *params)
{
	return pgj_plan_execute_snapshot(plan, params, InvalidSnapshot);
}

uint64
pgj_plan_execute_latest(KeptPlan *plan, const Params *params)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	uint64 nrows = pgj_plan_execute_snapshot(plan, params, snapshot);

	UnregisterSnapshot(snapshot);
	return nrows;
}

Datum
pgj_row_nullable(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column,
						 isnull);
}

bool
pgj_row_null(uint64 row, int column)
{
	bool isnull;

	(void) pgj_row_nullable(row, column, &isnull);
	return isnull;
}

Datum
pgj_row_value(uint64 row, int column)
{
	bool isnull;
	Datum value = pgj_row_nullable(row, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d", column);
	return value;
}

int
pgj_row_int4(uint64 row, int column, int if_null)
{
	bool isnull;
	Datum value = pgj_row_nullable(row, column, &isnull);

	return isnull ? if_null : DatumGetInt32(value);
}

int64
pgj_row_int8(uint64 row, int column, int64 if_null)
{
	bool isnull;
	Datum value = pgj_row_nullable(row, column, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

char *
pgj_row_text(MemoryContext context, uint64 row, int column)
{
	bool isnull;
	Datum value = pgj_row_nullable(row, column, &isnull);
	MemoryContext old;
	char *copy;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(context);
	copy = TextDatumGetCString(value);
	MemoryContextSwitchTo(old);
	return copy;
}

Datum
pgj_text_or_null(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

Datum
pgj_row_copy(MemoryContext context, uint64 row, int column)
{
	Form_pg_attribute attribute =
		TupleDescAttr(SPI_tuptable->tupdesc, column - 1);
	MemoryContext old = MemoryContextSwitchTo(context);
	Datum value = pgj_row_value(row, column);

	if (attribute->attlen == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	else
		value = datumCopy(value, attribute->attbyval, attribute->attlen);
	MemoryContextSwitchTo(old);
	return value;
}
