/*-------------------------------------------------------------------------
 *
 * bound.c
 *	  A statement with its parameters, filled one after another.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "script/bound.h"

void
pgj_bind(Bound *p, Oid type, Datum value, bool isnull)
{
	Assert(p->n < BOUND_MAX);
	p->types[p->n] = type;
	p->values[p->n] = value;
	p->nulls[p->n] = isnull ? 'n' : ' ';
	p->n++;
}

void
pgj_bind_int(Bound *p, int value)
{
	pgj_bind(p, INT4OID, Int32GetDatum(value), false);
}

void
pgj_bind_int_or_null(Bound *p, int value, int null)
{
	pgj_bind(p, INT4OID, Int32GetDatum(value), value == null);
}

void
pgj_bind_text(Bound *p, const char *text)
{
	pgj_bind(p, TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0,
			 text == NULL);
}

void
pgj_bind_bool(Bound *p, bool value)
{
	pgj_bind(p, BOOLOID, BoolGetDatum(value), false);
}

void
pgj_bind_interval(Bound *p, const Interval *interval)
{
	pgj_bind(p, INTERVALOID, IntervalPGetDatum(interval), interval == NULL);
}

void
pgj_bind_time(Bound *p, TimestampTz at)
{
	pgj_bind(p, TIMESTAMPTZOID, TimestampTzGetDatum(at), false);
}

uint64
pgj_bound_run(const char *statement, Bound *p, int expected)
{
	int result = SPI_execute_with_args(statement, p->n, p->types, p->values,
									   p->nulls, false, 0);

	if (result != expected)
		elog(ERROR, "could not run \"%s\": %s", statement,
			 SPI_result_code_string(result));
	return SPI_processed;
}

void
pgj_bound_run_many(SPIPlanPtr *plan, const char *statement, Bound *p,
				   int expected)
{
	int result;

	if (*plan == NULL)
		*plan = SPI_prepare(statement, p->n, p->types);
	if (*plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", statement,
			 SPI_result_code_string(SPI_result));
	result = SPI_execute_plan(*plan, p->values, p->nulls, false, 0);
	if (result != expected)
		elog(ERROR, "could not run \"%s\": %s", statement,
			 SPI_result_code_string(result));
}

int
pgj_bound_int(int column)
{
	bool isnull;

	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, column, &isnull));
}
