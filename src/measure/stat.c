/*-------------------------------------------------------------------------
 *
 * stat.c
 *	  Tests and intervals: numbers in, numbers out.
 *
 * Two rules hold for every comparison here.  The interval and the p-value are
 * of one test, so that the interval leaves out zero just when p < alpha; and
 * the relative interval is of that same test (the score test for proportions,
 * Fieller's for means), so that the two scales never contradict each other.
 *
 * Counts of several strata come as arrays, one element a stratum.  With one
 * stratum the stratified functions are the plain ones; with several, arms are
 * compared within strata only and the differences weighted by the strata's
 * sizes, which keeps a changed holdout percentage from looking like an effect.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/float.h"

#include "measure/special.h"

PG_FUNCTION_INFO_V1(pgj_sql_stat_normal_cdf);
PG_FUNCTION_INFO_V1(pgj_sql_stat_normal_quantile);
PG_FUNCTION_INFO_V1(pgj_sql_stat_t_cdf);
PG_FUNCTION_INFO_V1(pgj_sql_stat_t_quantile);
PG_FUNCTION_INFO_V1(pgj_sql_stat_chi_squared_tail);
PG_FUNCTION_INFO_V1(pgj_sql_stat_wilson);
PG_FUNCTION_INFO_V1(pgj_sql_stat_two_proportions);
PG_FUNCTION_INFO_V1(pgj_sql_stat_two_proportions_stratified);
PG_FUNCTION_INFO_V1(pgj_sql_stat_welch);
PG_FUNCTION_INFO_V1(pgj_sql_stat_welch_stratified);
PG_FUNCTION_INFO_V1(pgj_sql_stat_srm);

#define MAX_COLUMNS 10
#define BISECTIONS 200 /* more than a double has bits */

/* One stratum of a comparison of proportions, or of means. */
typedef struct Proportions
{
	double x_t;
	double n_t;
	double x_c;
	double n_c;
} Proportions;

typedef struct Means
{
	double n_t;
	double mean_t;
	double var_t;
	double n_c;
	double mean_c;
	double var_c;
} Means;

/* A difference and a ratio with their limits; NaN = not estimable. */
typedef struct Comparison
{
	double diff;
	double se;
	double df;
	double diff_low;
	double diff_high;
	double ratio;
	double ratio_low;
	double ratio_high;
	double statistic; /* z or t */
	double p;
} Comparison;

/* ---------- arguments and results ---------- */

static void
check_alpha(double alpha)
{
	if (!(alpha > 0.0 && alpha < 1.0))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("alpha must lie between 0 and 1"),
				errhint("A 95 %% interval has alpha 0.05."));
}

static void
check_count(const char *what, double x, double n)
{
	if (n < 1)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of units of the %s must be at least 1", what));
	if (x < 0 || x > n)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg(
				"number of successes of the %s must lie between 0 and its number of units",
				what));
}

static void
check_moments(const char *what, double n, double mean, double var)
{
	if (n < 2)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("number of units of the %s must be at least 2", what),
				errdetail("A variance cannot be estimated from fewer."));
	if (isnan(mean) || isinf(mean) || isnan(var) || isinf(var))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("mean and variance of the %s must be finite", what));
	if (var < 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("variance of the %s must not be negative", what));
}

static void
check_degrees_of_freedom(double df)
{
	if (!(df > 0.0) || isinf(df))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("degrees of freedom must be positive and finite"));
}

static void
check_probability(double p)
{
	if (!(p > 0.0 && p < 1.0))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("probability must lie between 0 and 1"));
}

/*
 * The elements of a one-dimensional array of bigint or float8 as doubles.
 */
static double *
array_values(ArrayType *array, int *n)
{
	Oid type = ARR_ELEMTYPE(array);
	Datum *elements;
	double *values;

	if (ARR_NDIM(array) != 1 || array_contains_nulls(array))
		ereport(
			ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
			errmsg(
				"array must have one dimension, at least one element and no nulls"));
	Assert(type == INT8OID || type == FLOAT8OID);
	deconstruct_array(array, type, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE,
					  &elements, NULL, n);
	values = palloc_array(double, *n);
	for (int i = 0; i < *n; i++)
		values[i] = type == INT8OID ? (double) DatumGetInt64(elements[i])
									: DatumGetFloat8(elements[i]);
	return values;
}

/* Argument argno as doubles; all arrays of a call must be of one length. */
static double *
stratum_values(FunctionCallInfo fcinfo, int argno, int *n)
{
	int length;
	double *values = array_values(PG_GETARG_ARRAYTYPE_P(argno), &length);

	if (argno > 0 && length != *n)
		ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("arrays must have the same number of elements"));
	*n = length;
	return values;
}

/* A result row of float8 columns; NaN becomes NULL. */
static Datum
result_row(FunctionCallInfo fcinfo, const double *values, int n)
{
	TupleDesc desc;
	Datum columns[MAX_COLUMNS];
	bool nulls[MAX_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE ||
		desc->natts != n || n > MAX_COLUMNS)
		elog(ERROR, "return type of function does not match its definition");
	for (int i = 0; i < n; i++)
	{
		nulls[i] = isnan(values[i]);
		columns[i] = Float8GetDatum(values[i]);
	}
	return HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), columns, nulls));
}

/* ---------- two proportions: Miettinen and Nurminen 1985 ---------- */

/* a/sqrt(v), where no variance means certainty */
static double
standardised(double a, double v)
{
	if (v > 0.0)
		return a / sqrt(v);
	return a == 0.0 ? 0.0 : copysign(get_float8_infinity(), a);
}

/*
 * The score of "the difference is delta": the proportions are estimated under
 * that hypothesis, as the root of the likelihood's cubic.
 */
static double
difference_score(const Proportions *s, double delta)
{
	double n = s->n_t + s->n_c;
	double l3 = n;
	double l2 = (s->n_t + 2.0 * s->n_c) * delta - n - (s->x_t + s->x_c);
	double l1 = (s->n_c * delta - n - 2.0 * s->x_c) * delta + s->x_t + s->x_c;
	double l0 = s->x_c * delta * (1.0 - delta);
	double third = l2 / (3.0 * l3);
	double c =
		third * third * third - l1 * l2 / (6.0 * l3 * l3) + l0 / (2.0 * l3);
	double b = copysign(sqrt(Max(third * third - l1 / (3.0 * l3), 0.0)), c);
	double p_c = -third;
	double p_t;

	if (b != 0.0)
	{
		double ratio = c / (b * b * b);
		double theta = (M_PI + acos(Max(-1.0, Min(1.0, ratio)))) / 3.0;

		p_c += 2.0 * b * cos(theta);
	}
	p_c = Max(p_c, Max(0.0, -delta));
	p_c = Min(p_c, Min(1.0, 1.0 - delta));
	p_t = Max(0.0, Min(1.0, p_c + delta));

	return standardised(
		s->x_t / s->n_t - s->x_c / s->n_c - delta,
		(p_t * (1.0 - p_t) / s->n_t + p_c * (1.0 - p_c) / s->n_c) * n /
			(n - 1.0));
}

/* The score of "the ratio is phi". */
static double
ratio_score(const Proportions *s, double phi)
{
	double n = s->n_t + s->n_c;
	double a = n * phi;
	double b = -(s->n_t * phi + s->x_t + s->n_c + s->x_c * phi);
	double c = s->x_t + s->x_c;
	double root = sqrt(Max(b * b - 4.0 * a * c, 0.0));

	/* the smaller root, written so that nothing cancels */
	double p_c = Min(2.0 * c / (root - b), Min(1.0, 1.0 / phi));
	double p_t = Min(1.0, phi * p_c);

	return standardised(
		s->x_t / s->n_t - phi * s->x_c / s->n_c,
		(p_t * (1.0 - p_t) / s->n_t + phi * phi * p_c * (1.0 - p_c) / s->n_c) *
			n / (n - 1.0));
}

/* Where the difference's score, falling in delta, passes z. */
static double
difference_limit(const Proportions *s, double z, double low, double high)
{
	for (int i = 0; i < BISECTIONS; i++)
	{
		double middle = low + (high - low) / 2.0;

		if (middle <= low || middle >= high)
			break;
		if (difference_score(s, middle) > z)
			low = middle;
		else
			high = middle;
	}
	return low + (high - low) / 2.0;
}

/* The same for the ratio, on the log scale. */
static double
ratio_limit(const Proportions *s, double z)
{
	double low = -1.0;
	double high = 1.0;

	while (ratio_score(s, exp(low)) <= z && low > -600.0)
		low *= 2.0;
	while (ratio_score(s, exp(high)) > z && high < 600.0)
		high *= 2.0;
	for (int i = 0; i < BISECTIONS; i++)
	{
		double middle = low + (high - low) / 2.0;

		if (middle <= low || middle >= high)
			break;
		if (ratio_score(s, exp(middle)) > z)
			low = middle;
		else
			high = middle;
	}
	return exp(low + (high - low) / 2.0);
}

static Comparison
compare_proportions(const Proportions *s, double alpha)
{
	Comparison r;
	double z = pgj_normal_quantile(1.0 - alpha / 2.0);
	double p_t = s->x_t / s->n_t;
	double p_c = s->x_c / s->n_c;
	double n = s->n_t + s->n_c;
	double pooled = (s->x_t + s->x_c) / n;

	r.diff = p_t - p_c;
	r.se = get_float8_nan();
	r.df = get_float8_nan();
	r.diff_low = difference_limit(s, z, -1.0, r.diff);
	r.diff_high = difference_limit(s, -z, r.diff, 1.0);

	r.ratio = s->x_c > 0 ? p_t / p_c : get_float8_nan();
	r.ratio_low = s->x_t > 0 ? ratio_limit(s, z) : 0.0;
	r.ratio_high = s->x_c > 0 ? ratio_limit(s, -z) : get_float8_nan();

	/* both hypotheses "no difference" and "ratio 1" come to this */
	r.statistic =
		standardised(r.diff, pooled * (1.0 - pooled) *
								 (1.0 / s->n_t + 1.0 / s->n_c) * n / (n - 1.0));
	r.p = pgj_normal_two_sided(r.statistic);
	return r;
}

/* ---------- two means: Welch, with Fieller's limits for the ratio ---------- */

/*
 * Limits of mean_t/mean_c, for independent means with variances v_t and v_c.
 * There are none when the denominator cannot be told from zero.
 */
static void
fieller(Comparison *r, double mean_t, double v_t, double mean_c, double v_c,
		double q)
{
	double a = mean_c * mean_c - q * q * v_c;
	double b = mean_t * mean_c;
	double c = mean_t * mean_t - q * q * v_t;
	double root = sqrt(Max(b * b - a * c, 0.0));

	r->ratio = mean_c > 0.0 ? mean_t / mean_c : get_float8_nan();
	r->ratio_low = r->ratio_high = get_float8_nan();
	if (a > 0.0 && mean_c > 0.0)
	{
		r->ratio_low = (b - root) / a;
		r->ratio_high = (b + root) / a;
	}
}

static Comparison
compare_means(const Means *s, int n, double alpha)
{
	Comparison r;
	double total = 0.0;
	double mean_t = 0.0;
	double mean_c = 0.0;
	double v_t = 0.0;
	double v_c = 0.0;
	double satterthwaite = 0.0;
	double q;

	for (int i = 0; i < n; i++)
		total += s[i].n_t + s[i].n_c;
	for (int i = 0; i < n; i++)
	{
		double w = (s[i].n_t + s[i].n_c) / total;
		double w_t = w * w * s[i].var_t / s[i].n_t;
		double w_c = w * w * s[i].var_c / s[i].n_c;

		mean_t += w * s[i].mean_t;
		mean_c += w * s[i].mean_c;
		v_t += w_t;
		v_c += w_c;
		satterthwaite +=
			w_t * w_t / (s[i].n_t - 1.0) + w_c * w_c / (s[i].n_c - 1.0);
	}

	r.diff = mean_t - mean_c;
	r.se = sqrt(v_t + v_c);
	if (r.se == 0.0)
	{
		/* no variance at all: an estimate without an uncertainty to state */
		r.df = r.diff_low = r.diff_high = r.statistic = r.p = get_float8_nan();
		r.ratio = mean_c > 0.0 ? mean_t / mean_c : get_float8_nan();
		r.ratio_low = r.ratio_high = get_float8_nan();
		return r;
	}
	r.df = (v_t + v_c) * (v_t + v_c) / satterthwaite;
	r.statistic = r.diff / r.se;
	r.p = pgj_t_two_sided(r.statistic, r.df);
	q = pgj_t_quantile(1.0 - alpha / 2.0, r.df);
	r.diff_low = r.diff - q * r.se;
	r.diff_high = r.diff + q * r.se;
	fieller(&r, mean_t, v_t, mean_c, v_c, q);
	return r;
}

/*
 * Several strata of proportions: the weighted difference with the variance of
 * samples (n - 1), and Fieller's limits from the same two variances.
 */
static Comparison
compare_proportion_strata(const Proportions *s, int n, double alpha)
{
	Comparison r;
	double q = pgj_normal_quantile(1.0 - alpha / 2.0);
	double total = 0.0;
	double mean_t = 0.0;
	double mean_c = 0.0;
	double v_t = 0.0;
	double v_c = 0.0;

	if (n == 1)
		return compare_proportions(s, alpha);

	for (int i = 0; i < n; i++)
		total += s[i].n_t + s[i].n_c;
	for (int i = 0; i < n; i++)
	{
		double w = (s[i].n_t + s[i].n_c) / total;
		double p_t = s[i].x_t / s[i].n_t;
		double p_c = s[i].x_c / s[i].n_c;

		if (s[i].n_t < 2 || s[i].n_c < 2)
			ereport(
				ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("each arm of each stratum must have at least 2 units"));
		mean_t += w * p_t;
		mean_c += w * p_c;
		v_t += w * w * p_t * (1.0 - p_t) / (s[i].n_t - 1.0);
		v_c += w * w * p_c * (1.0 - p_c) / (s[i].n_c - 1.0);
	}
	r.diff = mean_t - mean_c;
	r.se = sqrt(v_t + v_c);
	r.df = get_float8_nan();
	if (r.se == 0.0)
	{
		r.diff_low = r.diff_high = r.statistic = r.p = get_float8_nan();
		r.ratio = mean_c > 0.0 ? mean_t / mean_c : get_float8_nan();
		r.ratio_low = r.ratio_high = get_float8_nan();
		return r;
	}
	r.statistic = r.diff / r.se;
	r.p = pgj_normal_two_sided(r.statistic);
	r.diff_low = r.diff - q * r.se;
	r.diff_high = r.diff + q * r.se;
	fieller(&r, mean_t, v_t, mean_c, v_c, q);
	return r;
}

/* ---------- SQL face ---------- */

Datum
pgj_sql_stat_normal_cdf(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(pgj_normal_cdf(PG_GETARG_FLOAT8(0)));
}

Datum
pgj_sql_stat_normal_quantile(PG_FUNCTION_ARGS)
{
	double p = PG_GETARG_FLOAT8(0);

	check_probability(p);
	PG_RETURN_FLOAT8(pgj_normal_quantile(p));
}

Datum
pgj_sql_stat_t_cdf(PG_FUNCTION_ARGS)
{
	double df = PG_GETARG_FLOAT8(1);

	check_degrees_of_freedom(df);
	PG_RETURN_FLOAT8(pgj_t_cdf(PG_GETARG_FLOAT8(0), df));
}

Datum
pgj_sql_stat_t_quantile(PG_FUNCTION_ARGS)
{
	double p = PG_GETARG_FLOAT8(0);
	double df = PG_GETARG_FLOAT8(1);

	check_probability(p);
	check_degrees_of_freedom(df);
	PG_RETURN_FLOAT8(pgj_t_quantile(p, df));
}

Datum
pgj_sql_stat_chi_squared_tail(PG_FUNCTION_ARGS)
{
	double chi2 = PG_GETARG_FLOAT8(0);
	double df = PG_GETARG_FLOAT8(1);

	check_degrees_of_freedom(df);
	if (!(chi2 >= 0.0))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("chi-squared must not be negative"));
	PG_RETURN_FLOAT8(pgj_chi_squared_tail(chi2, df));
}

/*
 * journey.stat_wilson(x bigint, n bigint, alpha float8) returns (low, high)
 */
Datum
pgj_sql_stat_wilson(PG_FUNCTION_ARGS)
{
	double x = (double) PG_GETARG_INT64(0);
	double n = (double) PG_GETARG_INT64(1);
	double alpha = PG_GETARG_FLOAT8(2);
	double z;
	double share;
	double centre;
	double half;
	double limits[2];

	check_count("sample", x, n);
	check_alpha(alpha);
	z = pgj_normal_quantile(1.0 - alpha / 2.0);
	share = x / n;
	centre = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
	half = z * sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n)) /
		   (1.0 + z * z / n);

	/* exact at the ends, where the subtraction leaves a last bit */
	limits[0] = x == 0 ? 0.0 : Max(0.0, centre - half);
	limits[1] = x == n ? 1.0 : Min(1.0, centre + half);
	return result_row(fcinfo, limits, 2);
}

static Datum
proportions_row(FunctionCallInfo fcinfo, const Comparison *r)
{
	double values[] = { r->diff,	  r->diff_low,	 r->diff_high, r->ratio,
						r->ratio_low, r->ratio_high, r->statistic, r->p };

	return result_row(fcinfo, values, lengthof(values));
}

static Datum
means_row(FunctionCallInfo fcinfo, const Comparison *r)
{
	double values[] = { r->diff,
						r->se,
						r->df,
						r->statistic,
						r->p,
						r->diff_low,
						r->diff_high,
						r->ratio - 1.0,
						r->ratio_low - 1.0,
						r->ratio_high - 1.0 };

	return result_row(fcinfo, values, lengthof(values));
}

/*
 * journey.stat_two_proportions(x_t bigint, n_t bigint, x_c bigint, n_c bigint,
 * alpha float8)
 */
Datum
pgj_sql_stat_two_proportions(PG_FUNCTION_ARGS)
{
	Proportions s;
	double alpha = PG_GETARG_FLOAT8(4);
	Comparison r;

	s.x_t = (double) PG_GETARG_INT64(0);
	s.n_t = (double) PG_GETARG_INT64(1);
	s.x_c = (double) PG_GETARG_INT64(2);
	s.n_c = (double) PG_GETARG_INT64(3);
	check_count("treatment", s.x_t, s.n_t);
	check_count("control", s.x_c, s.n_c);
	check_alpha(alpha);
	r = compare_proportions(&s, alpha);
	return proportions_row(fcinfo, &r);
}

/*
 * journey.stat_two_proportions_stratified(x_t bigint[], n_t bigint[],
 * x_c bigint[], n_c bigint[], alpha float8)
 */
Datum
pgj_sql_stat_two_proportions_stratified(PG_FUNCTION_ARGS)
{
	int n;
	double *x_t = stratum_values(fcinfo, 0, &n);
	double *n_t = stratum_values(fcinfo, 1, &n);
	double *x_c = stratum_values(fcinfo, 2, &n);
	double *n_c = stratum_values(fcinfo, 3, &n);
	double alpha = PG_GETARG_FLOAT8(4);
	Proportions *s = palloc_array(Proportions, n);
	Comparison r;

	check_alpha(alpha);
	for (int i = 0; i < n; i++)
	{
		check_count("treatment", x_t[i], n_t[i]);
		check_count("control", x_c[i], n_c[i]);
		s[i] = (Proportions){ x_t[i], n_t[i], x_c[i], n_c[i] };
	}
	r = compare_proportion_strata(s, n, alpha);
	return proportions_row(fcinfo, &r);
}

/*
 * journey.stat_welch(n_t bigint, mean_t float8, var_t float8, n_c bigint,
 * mean_c float8, var_c float8, alpha float8)
 */
Datum
pgj_sql_stat_welch(PG_FUNCTION_ARGS)
{
	Means s;
	double alpha = PG_GETARG_FLOAT8(6);
	Comparison r;

	s.n_t = (double) PG_GETARG_INT64(0);
	s.mean_t = PG_GETARG_FLOAT8(1);
	s.var_t = PG_GETARG_FLOAT8(2);
	s.n_c = (double) PG_GETARG_INT64(3);
	s.mean_c = PG_GETARG_FLOAT8(4);
	s.var_c = PG_GETARG_FLOAT8(5);
	check_moments("treatment", s.n_t, s.mean_t, s.var_t);
	check_moments("control", s.n_c, s.mean_c, s.var_c);
	check_alpha(alpha);
	r = compare_means(&s, 1, alpha);
	return means_row(fcinfo, &r);
}

/*
 * journey.stat_welch_stratified(n_t bigint[], mean_t float8[], var_t float8[],
 * n_c bigint[], mean_c float8[], var_c float8[], alpha float8)
 */
Datum
pgj_sql_stat_welch_stratified(PG_FUNCTION_ARGS)
{
	int n;
	double *n_t = stratum_values(fcinfo, 0, &n);
	double *mean_t = stratum_values(fcinfo, 1, &n);
	double *var_t = stratum_values(fcinfo, 2, &n);
	double *n_c = stratum_values(fcinfo, 3, &n);
	double *mean_c = stratum_values(fcinfo, 4, &n);
	double *var_c = stratum_values(fcinfo, 5, &n);
	double alpha = PG_GETARG_FLOAT8(6);
	Means *s = palloc_array(Means, n);
	Comparison r;

	check_alpha(alpha);
	for (int i = 0; i < n; i++)
	{
		check_moments("treatment", n_t[i], mean_t[i], var_t[i]);
		check_moments("control", n_c[i], mean_c[i], var_c[i]);
		s[i] =
			(Means){ n_t[i], mean_t[i], var_t[i], n_c[i], mean_c[i], var_c[i] };
	}
	r = compare_means(s, n, alpha);
	return means_row(fcinfo, &r);
}

/*
 * journey.stat_srm(counts bigint[], weights float8[], concentration float8)
 * returns (chi2, df, p, log_bayes_factor, sequential_p)
 *
 * The sequential test's prior is Dirichlet(concentration * weights): ratios a
 * little off the planned ones, as a real mismatch would be.
 */
Datum
pgj_sql_stat_srm(PG_FUNCTION_ARGS)
{
	int n;
	double *counts = stratum_values(fcinfo, 0, &n);
	double *weights = stratum_values(fcinfo, 1, &n);
	double concentration = PG_GETARG_FLOAT8(2);
	double total_count = 0.0;
	double total_weight = 0.0;
	double chi2 = 0.0;
	double log_factor;
	double values[5];

	if (n < 2)
		ereport(ERROR, errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				errmsg("a sample ratio needs at least two arms"));
	if (!(concentration > 0.0) || isinf(concentration))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("concentration must be positive and finite"));
	for (int i = 0; i < n; i++)
	{
		if (counts[i] < 0)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("counts must not be negative"));
		if (!(weights[i] > 0.0) || isinf(weights[i]))
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("weights must be positive and finite"));
		total_count += counts[i];
		total_weight += weights[i];
	}
	if (total_count < 1)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("counts must not all be zero"));

	log_factor = pgj_log_gamma(concentration) -
				 pgj_log_gamma(concentration + total_count);
	for (int i = 0; i < n; i++)
	{
		double w = weights[i] / total_weight;
		double expected = total_count * w;

		chi2 += (counts[i] - expected) * (counts[i] - expected) / expected;
		log_factor += pgj_log_gamma(concentration * w + counts[i]) -
					  pgj_log_gamma(concentration * w) - counts[i] * log(w);
	}
	values[0] = chi2;
	values[1] = n - 1;
	values[2] = pgj_chi_squared_tail(chi2, n - 1);
	values[3] = log_factor;
	values[4] = Min(1.0, exp(-log_factor));
	return result_row(fcinfo, values, 5);
}
