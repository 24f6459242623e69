/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Rows of a batch that wait to be written.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "engine/rows.h"

StaticAssertDecl(PGJ_MAX_PARAMS <= APPEND_MAX_COLUMNS,
				 "a row buffer must have room for the columns of any plan");

void
pgj_rows_init(RowBuffer *buffer, KeptPlan *plan, const Oid *types, int ncolumns,
			  MemoryContext context)
{
	memset(buffer, 0, sizeof(RowBuffer));
	buffer->plan = plan;
	buffer->types = types;
	buffer->rows.ncolumns = ncolumns;
	buffer->context = context;
}

void
pgj_rows_init_append(RowBuffer *buffer, const char *table,
					 const char *const *columns, int ncolumns,
					 MemoryContext context)
{
	memset(buffer, 0, sizeof(RowBuffer));
	buffer->rows.table = table;
	buffer->rows.columns = columns;
	buffer->rows.ncolumns = ncolumns;
	buffer->context = context;
}

static void
grow(RowBuffer *buffer)
{
	AppendRows *rows = &buffer->rows;
	bool first = buffer->capacity == 0;

	buffer->capacity = first ? 64 : buffer->capacity * 2;
	for (int i = 0; i < rows->ncolumns; i++)
	{
		Size values = buffer->capacity * sizeof(Datum);
		Size nulls = buffer->capacity * sizeof(bool);

		rows->values[i] = first ? MemoryContextAlloc(buffer->context, values)
								: repalloc(rows->values[i], values);
		rows->nulls[i] = first ? MemoryContextAlloc(buffer->context, nulls)
							   : repalloc(rows->nulls[i], nulls);
	}
}

void
pgj_rows_add(RowBuffer *buffer, const Datum *values, const bool *nulls)
{
	AppendRows *rows = &buffer->rows;

	if (rows->nrows == buffer->capacity)
		grow(buffer);
	for (int i = 0; i < rows->ncolumns; i++)
	{
		rows->values[i][rows->nrows] = values[i];
		rows->nulls[i][rows->nrows] = nulls != NULL && nulls[i];
	}
	rows->nrows++;
}

static void
execute(const Site *site, RowBuffer *buffer)
{
	AppendRows *rows = &buffer->rows;
	Params params;

	pgj_params_init(&params, site, rows->nrows);
	for (int i = 0; i < rows->ncolumns; i++)
		pgj_params_filled(&params,
						  buffer->types[i] == KEYOID ? site->key_type
													 : buffer->types[i],
						  rows->values[i], rows->nulls[i]);
	(void) pgj_plan_execute(buffer->plan, &params);
}

void
pgj_rows_flush(const Site *site, RowBuffer *buffer)
{
	MemoryContext old;

	if (buffer->rows.nrows == 0)
		return;

	old = MemoryContextSwitchTo(buffer->context);
	if (buffer->plan != NULL)
		execute(site, buffer);
	else
		pgj_append(site, &buffer->rows);
	MemoryContextSwitchTo(old);
	buffer->rows.nrows = 0;
}
