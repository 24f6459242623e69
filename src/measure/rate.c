/*-------------------------------------------------------------------------
 *
 * rate.c
 *	  What is believed of a rate: Beta distributions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "fmgr.h"

#include "measure/rate.h"
#include "measure/special.h"

PG_FUNCTION_INFO_V1(pgj_sql_stat_beta_cdf);
PG_FUNCTION_INFO_V1(pgj_sql_stat_beta_quantile);
PG_FUNCTION_INFO_V1(pgj_sql_stat_beta_drop);

#define BISECTIONS 200 /* more than a double has bits */

/* By bisection, which cannot go astray. */
double
pgj_beta_quantile(double p, double a, double b)
{
	double low = 0.0;
	double high = 1.0;

	for (int i = 0; i < BISECTIONS; i++)
	{
		double middle = low + (high - low) / 2.0;

		if (middle <= low || middle >= high)
			break;
		if (pgj_beta_cdf(middle, a, b) < p)
			low = middle;
		else
			high = middle;
	}
	return low + (high - low) / 2.0;
}

/*
 * The integral of f1(p) F2(ratio p) over p, for a ratio of at most 1, where that
 * is smooth.  In u = ln(p / (1 - p)) the density
 * has one peak, of a width near "scale", and tails that fall exponentially; with
 * u = peak + scale sinh(t) they fall doubly so, and the trapezoidal rule over t
 * is as good as the arithmetic, for priors with parameters far below 1, too.
 */
double
pgj_beta_drop(double a1, double b1, double a2, double b2, double ratio)
{
	const double step = 1.0 / 32;
	const double peak = log(a1 / b1);
	const double scale = sqrt(1.0 / a1 + 1.0 / b1);
	const double norm = pgj_log_beta(a1, b1);
	double sum = 0.0;

	if (ratio > 1.0)
		return 1.0 - pgj_beta_drop(a2, b2, a1, b1, 1.0 / ratio);
	for (int side = -1; side <= 1; side += 2)
	{
		for (int i = side < 0; i < 1000; i++)
		{
			double t = side * i * step;
			double u = peak + scale * sinh(t);
			/* p and 1 - p, each to its own last digit */
			double p = 1.0 / (1.0 + exp(-u));
			double log_p = u > 0 ? -log1p(exp(-u)) : u - log1p(exp(u));
			double log_q = u > 0 ? -u - log1p(exp(-u)) : -log1p(exp(u));
			double weight =
				exp(a1 * log_p + b1 * log_q - norm) * scale * cosh(t) * step;

			if (i > 0 && weight < 1e-25)
				break;
			sum += weight * pgj_beta_cdf(ratio * p, a2, b2);
		}
	}
	return fmin(sum, 1.0);
}

/* ---------- SQL ---------- */

static void
check_beta(double a, double b)
{
	if (!(a > 0.0 && b > 0.0) || isinf(a) || isinf(b))
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg(
				"parameters of a Beta distribution must be positive and finite"));
}

Datum
pgj_sql_stat_beta_cdf(PG_FUNCTION_ARGS)
{
	double x = PG_GETARG_FLOAT8(0);
	double a = PG_GETARG_FLOAT8(1);
	double b = PG_GETARG_FLOAT8(2);

	check_beta(a, b);
	if (isnan(x))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("x must not be NaN"));
	PG_RETURN_FLOAT8(pgj_beta_cdf(fmin(fmax(x, 0.0), 1.0), a, b));
}

Datum
pgj_sql_stat_beta_quantile(PG_FUNCTION_ARGS)
{
	double p = PG_GETARG_FLOAT8(0);
	double a = PG_GETARG_FLOAT8(1);
	double b = PG_GETARG_FLOAT8(2);

	check_beta(a, b);
	if (!(p > 0.0 && p < 1.0))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("probability must lie between 0 and 1"));
	PG_RETURN_FLOAT8(pgj_beta_quantile(p, a, b));
}

Datum
pgj_sql_stat_beta_drop(PG_FUNCTION_ARGS)
{
	double a1 = PG_GETARG_FLOAT8(0);
	double b1 = PG_GETARG_FLOAT8(1);
	double a2 = PG_GETARG_FLOAT8(2);
	double b2 = PG_GETARG_FLOAT8(3);
	double ratio = PG_GETARG_FLOAT8(4);

	check_beta(a1, b1);
	check_beta(a2, b2);
	if (!(ratio > 0.0) || isinf(ratio))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("ratio must be positive and finite"));
	PG_RETURN_FLOAT8(pgj_beta_drop(a1, b1, a2, b2, ratio));
}
