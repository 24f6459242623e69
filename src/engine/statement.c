/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  The engine's own statements: kept plans over arrays.
 *
 * A statement is planned once, for any argument: the arrays differ in length
 * and content from call to call, and a young table has no statistics yet.  So
 * the plan is generic and made with sequential and bitmap scans, hash and merge
 * joins and sorts priced out; every access the engine makes is by an index made for it.
 * Where a join could still be turned round on a table thought to be empty, the
 * inner side is a LATERAL sub-select behind OFFSET 0.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "append.h"
#include "engine/statement.h"
#include "plan.h"

static Oid
actual_type(const Site *site, Oid type)
{
	if (type == KEYOID)
		return site->key_type;
	if (type == KEYARRAYOID)
		return site->key_array_type;
	return type;
}

static void
prepare(const Site *site, Statement *statement)
{
	Oid			types[STATEMENT_MAX_ARGS];

	if (statement->plan != NULL)
		SPI_freeplan(statement->plan);
	statement->plan = NULL;

	for (int i = 0; i < statement->nargs; i++)
		types[i] = actual_type(site, statement->argtypes[i]);

	statement->plan = SPI_prepare_cursor(statement->sql, statement->nargs,
										 types, CURSOR_OPT_GENERIC_PLAN);
	if (statement->plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(statement->plan);
	statement->plan_key = site->key_type;
}

static void
price_out(const char *setting)
{
	(void) set_config_option(setting, "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
pgj_statement_run(const Site *site, Statement *statement, Datum *args,
				  const char *nulls)
{
	MemoryContext context = CurrentMemoryContext;	/* SPI leaves its own */
	int			nestlevel = NewGUCNestLevel();
	int			rc;

	price_out("enable_bitmapscan");
	price_out("enable_hashjoin");
	price_out("enable_mergejoin");
	price_out("enable_seqscan");
	price_out("enable_sort");
	price_out("jit");			/* what is priced out looks expensive */

	if (statement->plan == NULL || statement->plan_key != site->key_type ||
		pgj_plan_is_stale(statement->uses))
		prepare(site, statement);
	statement->uses++;

	rc = SPI_execute_plan(statement->plan, args, nulls, false, 0);
	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", statement->sql,
			 SPI_result_code_string(rc));

	AtEOXact_GUC(true, nestlevel);
	MemoryContextSwitchTo(context);
}

Datum
pgj_array(Oid element, const Datum *values, const bool *nulls, int n)
{
	int16		typlen;
	bool		typbyval;
	char		typalign;
	int			lower = 1;

	get_typlenbyvalalign(element, &typlen, &typbyval, &typalign);
	if (n == 0)
		return PointerGetDatum(construct_empty_array(element));
	return PointerGetDatum(construct_md_array((Datum *) values, (bool *) nulls,
											  1, &n, &lower, element,
											  typlen, typbyval, typalign));
}

Datum
pgj_key_array(const Site *site, const Datum *values, int n)
{
	return pgj_array(site->key_type, values, NULL, n);
}

Datum
pgj_text_array(char **values, int n)
{
	Datum	   *datums = palloc_array(Datum, n + 1);
	bool	   *nulls = palloc_array(bool, n + 1);

	for (int i = 0; i < n; i++)
	{
		nulls[i] = values[i] == NULL;
		datums[i] = nulls[i] ? (Datum) 0 : CStringGetTextDatum(values[i]);
	}
	return pgj_array(TEXTOID, datums, nulls, n);
}

Datum
pgj_spi_value(uint64 row, int col, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col,
						 isnull);
}

char *
pgj_spi_text(uint64 row, int col)
{
	bool		isnull;
	Datum		value = pgj_spi_value(row, col, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

int64
pgj_spi_int8(uint64 row, int col, int64 if_null)
{
	bool		isnull;
	Datum		value = pgj_spi_value(row, col, &isnull);

	return isnull ? if_null : DatumGetInt64(value);
}

int
pgj_spi_int4(uint64 row, int col, int if_null)
{
	bool		isnull;
	Datum		value = pgj_spi_value(row, col, &isnull);

	return isnull ? if_null : DatumGetInt32(value);
}

void
pgj_rows_init(RowBuffer *buffer, Statement *statement, MemoryContext context)
{
	memset(buffer, 0, sizeof(RowBuffer));
	buffer->statement = statement;
	buffer->ncolumns = statement->nargs;
	buffer->context = context;
}

void
pgj_rows_init_append(RowBuffer *buffer, const char *table,
					 const char *const *columns, int ncolumns,
					 MemoryContext context)
{
	memset(buffer, 0, sizeof(RowBuffer));
	buffer->table = table;
	buffer->columns = columns;
	buffer->ncolumns = ncolumns;
	buffer->context = context;
}

void
pgj_rows_add(RowBuffer *buffer, const Datum *values, const bool *nulls)
{
	int			ncols = buffer->ncolumns;

	if (buffer->nrows == buffer->capacity)
	{
		int			capacity = buffer->capacity == 0 ? 64 : buffer->capacity * 2;

		for (int i = 0; i < ncols; i++)
		{
			if (buffer->capacity == 0)
			{
				buffer->values[i] = MemoryContextAlloc(buffer->context,
													   capacity * sizeof(Datum));
				buffer->nulls[i] = MemoryContextAlloc(buffer->context,
													  capacity * sizeof(bool));
			}
			else
			{
				buffer->values[i] = repalloc(buffer->values[i],
											 capacity * sizeof(Datum));
				buffer->nulls[i] = repalloc(buffer->nulls[i],
											capacity * sizeof(bool));
			}
		}
		buffer->capacity = capacity;
	}
	for (int i = 0; i < ncols; i++)
	{
		buffer->values[i][buffer->nrows] = values[i];
		buffer->nulls[i][buffer->nrows] = nulls != NULL && nulls[i];
	}
	buffer->nrows++;
}

static void
append_rows(const Site *site, RowBuffer *buffer)
{
	AppendRows	rows;

	rows.table = buffer->table;
	rows.ncolumns = buffer->ncolumns;
	rows.columns = buffer->columns;
	rows.nrows = buffer->nrows;
	for (int i = 0; i < buffer->ncolumns; i++)
	{
		rows.values[i] = buffer->values[i];
		rows.nulls[i] = buffer->nulls[i];
	}
	pgj_append(site, &rows);
}

void
pgj_rows_flush(const Site *site, RowBuffer *buffer)
{
	Datum		args[STATEMENT_MAX_ARGS];
	MemoryContext old;

	if (buffer->nrows == 0)
		return;

	old = MemoryContextSwitchTo(buffer->context);
	if (buffer->statement == NULL)
	{
		append_rows(site, buffer);
		MemoryContextSwitchTo(old);
		buffer->nrows = 0;
		return;
	}
	for (int i = 0; i < buffer->statement->nargs; i++)
	{
		Oid			array = actual_type(site, buffer->statement->argtypes[i]);

		args[i] = pgj_array(get_element_type(array), buffer->values[i],
							buffer->nulls[i], buffer->nrows);
	}
	pgj_statement_run(site, buffer->statement, args, NULL);
	for (int i = 0; i < buffer->statement->nargs; i++)
		pfree(DatumGetPointer(args[i]));
	MemoryContextSwitchTo(old);
	buffer->nrows = 0;
}
