/*-------------------------------------------------------------------------
 *
 * hours.c
 *	  At which hours of the day somebody responds.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"

#include "measure/hours.h"

PG_FUNCTION_INFO_V1(pgj_sql_stat_hours);

void
pgj_hours_smooth(const double *counts, double *smooth)
{
	static const double kernel[] = { .1, .2, .4, .2, .1 };

	for (int hour = 0; hour < PGJ_HOURS; hour++)
	{
		smooth[hour] = 0.0;
		for (int i = 0; i < lengthof(kernel); i++)
			smooth[hour] +=
				kernel[i] * counts[(hour + i - 2 + PGJ_HOURS) % PGJ_HOURS];
	}
}

void
pgj_hours_score(const double *counts, const double *prior, double kappa,
				double *scores)
{
	double n = 0.0;

	pgj_hours_smooth(counts, scores);
	for (int hour = 0; hour < PGJ_HOURS; hour++)
		n += counts[hour];
	for (int hour = 0; hour < PGJ_HOURS; hour++)
		scores[hour] = (scores[hour] + kappa * prior[hour]) / (n + kappa);
}

int
pgj_hours_apart(int a, int b)
{
	int apart = abs(a - b);

	return Min(apart, PGJ_HOURS - apart);
}

/* ---------- SQL ---------- */

static void
take_hours(ArrayType *array, const char *what, double *hours)
{
	Datum *values;
	bool *nulls;
	int n;

	deconstruct_array(array, FLOAT8OID, sizeof(float8), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &values, &nulls, &n);
	if (ARR_NDIM(array) != 1 || n != PGJ_HOURS)
		ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("%s must have %d elements, from 0 to 23 o'clock", what,
					   PGJ_HOURS));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("%s must not contain nulls", what));
		hours[i] = DatumGetFloat8(values[i]);
		if (!(hours[i] >= 0.0) || isinf(hours[i]))
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("%s must not be negative and must be finite", what));
	}
}

/*
 * journey.stat_hours(counts float8[], prior float8[], kappa float8): the prior
 * need not sum to 1.
 */
Datum
pgj_sql_stat_hours(PG_FUNCTION_ARGS)
{
	double counts[PGJ_HOURS];
	double prior[PGJ_HOURS];
	double scores[PGJ_HOURS];
	double kappa = PG_GETARG_FLOAT8(2);
	double sum = 0.0;
	Datum result[PGJ_HOURS];

	take_hours(PG_GETARG_ARRAYTYPE_P(0), "counts", counts);
	take_hours(PG_GETARG_ARRAYTYPE_P(1), "prior", prior);
	if (!(kappa > 0.0) || isinf(kappa))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("kappa must be positive and finite"));
	for (int hour = 0; hour < PGJ_HOURS; hour++)
		sum += prior[hour];
	if (sum <= 0.0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("prior must not be zero at every hour"));
	for (int hour = 0; hour < PGJ_HOURS; hour++)
		prior[hour] /= sum;
	pgj_hours_score(counts, prior, kappa, scores);
	for (int hour = 0; hour < PGJ_HOURS; hour++)
		result[hour] = Float8GetDatum(scores[hour]);
	PG_RETURN_ARRAYTYPE_P(construct_array(result, PGJ_HOURS, FLOAT8OID,
										  sizeof(float8), FLOAT8PASSBYVAL,
										  TYPALIGN_DOUBLE));
}
