/*-------------------------------------------------------------------------
 *
 * special.c
 *	  Normal, t, chi-squared and beta distributions.
 *
 * Plain double arithmetic, no tables beyond AS 241's coefficients and no state,
 * so every function may run in a parallel worker.  Tails are computed as tails,
 * never as one minus a probability near one: p-values far below 1e-16 matter,
 * because several of them are compared and multiplied.
 *
 * Callers check their arguments; here they are assumed to lie in the domain.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "measure/special.h"

#define MAX_TERMS \
	200000 /* of a series or fraction; some 3 * sqrt(df) are needed */
#define LENTZ_TINY 1e-300

double
pgj_normal_cdf(double z)
{
	return 0.5 * erfc(-z / M_SQRT2);
}

double
pgj_normal_two_sided(double z)
{
	return erfc(fabs(z) / M_SQRT2);
}

/* c[0] + c[1] r + ... + c[7] r^7 */
static double
polynomial7(const double *c, double r)
{
	double sum = c[7];

	for (int i = 6; i >= 0; i--)
		sum = sum * r + c[i];
	return sum;
}

/*
 * Wichura's algorithm AS 241 (PPND16), good to about 1e-16 by itself.
 */
double
pgj_normal_quantile(double p)
{
	static const double centre_num[] = {
		3.3871328727963666080e0,  1.3314166789178437745e+2,
		1.9715909503065514427e+3, 1.3731693765509461125e+4,
		4.5921953931549871457e+4, 6.7265770927008700853e+4,
		3.3430575583588128105e+4, 2.5090809287301226727e+3
	};
	static const double centre_den[] = { 1.0,
										 4.2313330701600911252e+1,
										 6.8718700749205790830e+2,
										 5.3941960214247511077e+3,
										 2.1213794301586595867e+4,
										 3.9307895800092710610e+4,
										 2.8729085735721942674e+4,
										 5.2264952788528545610e+3 };
	static const double near_num[] = {
		1.42343711074968357734e0,  4.63033784615654529590e0,
		5.76949722146069140550e0,  3.64784832476320460504e0,
		1.27045825245236838258e0,  2.41780725177450611770e-1,
		2.27238449892691845833e-2, 7.74545014278341407640e-4
	};
	static const double near_den[] = { 1.0,
									   2.05319162663775882187e0,
									   1.67638483018380384940e0,
									   6.89767334985100004550e-1,
									   1.48103976427480074590e-1,
									   1.51986665636164571966e-2,
									   5.47593808499534494600e-4,
									   1.05075007164441684324e-9 };
	static const double far_num[] = {
		6.65790464350110377720e0,  5.46378491116411436990e0,
		1.78482653991729133580e0,  2.96560571828504891230e-1,
		2.65321895265761230930e-2, 1.24266094738807843860e-3,
		2.71155556874348757815e-5, 2.01033439929228813265e-7
	};
	static const double far_den[] = { 1.0,
									  5.99832206555887937690e-1,
									  1.36929880922735805310e-1,
									  1.48753612908506148525e-2,
									  7.86869131145613259100e-4,
									  1.84631831751005468180e-5,
									  1.42151175831644588870e-7,
									  2.04426310338993978564e-15 };
	double q = p - 0.5;
	double r;
	double z;

	if (fabs(q) <= 0.425)
	{
		r = 0.180625 - q * q;
		return q * polynomial7(centre_num, r) / polynomial7(centre_den, r);
	}

	r = sqrt(-log(q < 0 ? p : 1.0 - p));
	if (r <= 5.0)
	{
		r -= 1.6;
		z = polynomial7(near_num, r) / polynomial7(near_den, r);
	}
	else
	{
		r -= 5.0;
		z = polynomial7(far_num, r) / polynomial7(far_den, r);
	}
	return q < 0 ? -z : z;
}

/*
 * What Stirling's formula leaves out:
 * ln Gamma(x) - [(x - 1/2) ln x - x + ln(2 pi)/2], for x >= 10.
 */
static double
stirling_rest(double x)
{
	double r = 1.0 / (x * x);

	return (1.0 / 12.0 -
			r * (1.0 / 360.0 -
				 r * (1.0 / 1260.0 -
					  r * (1.0 / 1680.0 -
						   r * (1.0 / 1188.0 - r * (691.0 / 360360.0)))))) /
		   x;
}

/* lgamma() writes the global signgam; we want no state. */
double
pgj_log_gamma(double x)
{
	int sign;

	return lgamma_r(x, &sign);
}

/*
 * ln B(a, b).  Three large log-gammas would cancel to nothing when an argument
 * is large, so there Stirling's formula is subtracted term by term.
 */
double
pgj_log_beta(double a, double b)
{
	double p = Min(a, b);
	double q = Max(a, b);

	if (p >= 10.0)
		return (p - 0.5) * log(p / (p + q)) + q * log1p(-p / (p + q)) -
			   0.5 * log(q) + 0.5 * log(2.0 * M_PI) + stirling_rest(p) +
			   stirling_rest(q) - stirling_rest(p + q);
	if (q >= 10.0)
		return pgj_log_gamma(p) + p - p * log(p + q) +
			   (q - 0.5) * log1p(-p / (p + q)) + stirling_rest(q) -
			   stirling_rest(p + q);
	return pgj_log_gamma(p) + pgj_log_gamma(q) - pgj_log_gamma(p + q);
}

/* The next factor of a continued fraction: the modified Lentz method. */
static double
lentz_factor(double numerator, double denominator, double *c, double *d)
{
	*d = numerator * *d + denominator;
	if (fabs(*d) < LENTZ_TINY)
		*d = LENTZ_TINY;
	*c = denominator + numerator / *c;
	if (fabs(*c) < LENTZ_TINY)
		*c = LENTZ_TINY;
	*d = 1.0 / *d;
	return *c * *d;
}

/*
 * The continued fraction of the incomplete beta function, by the modified
 * Lentz method; it converges fast for x < (a + 1)/(a + b + 2).
 */
static double
beta_fraction(double a, double b, double x)
{
	double c = 1.0;
	double d = 1.0 - (a + b) * x / (a + 1.0);
	double f;

	if (fabs(d) < LENTZ_TINY)
		d = LENTZ_TINY;
	d = 1.0 / d;
	f = d;

	for (int m = 1; m <= MAX_TERMS; m++)
	{
		double step[2];
		double factor = 1.0;

		step[0] = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
		step[1] =
			-(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
		for (int i = 0; i < 2; i++)
		{
			factor = lentz_factor(step[i], 1.0, &c, &d);
			f *= factor;
		}
		if (fabs(factor - 1.0) < DBL_EPSILON)
			return f;
	}
	ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			errmsg("incomplete beta function did not converge"));
}

/*
 * I_x(a, b), given x and its complement y = 1 - x, each exact to its own last
 * digit: near one, x alone would have lost the digits that matter.
 */
static double
incomplete_beta(double a, double b, double x, double y)
{
	double prefactor;

	if (x <= 0.0)
		return 0.0;
	if (y <= 0.0)
		return 1.0;
	prefactor = exp(a * (x > 0.5 ? log1p(-y) : log(x)) +
					b * (y > 0.5 ? log1p(-x) : log(y)) - pgj_log_beta(a, b));
	if (x < (a + 1.0) / (a + b + 2.0))
		return prefactor * beta_fraction(a, b, x) / a;
	return 1.0 - prefactor * beta_fraction(b, a, y) / b;
}

double
pgj_beta_cdf(double x, double a, double b)
{
	return incomplete_beta(a, b, x, 1.0 - x);
}

double
pgj_beta_tail(double x, double a, double b)
{
	return incomplete_beta(b, a, 1.0 - x, x);
}

double
pgj_t_two_sided(double t, double df)
{
	double t2 = t * t;

	if (isinf(t2))
		return 0.0;
	return incomplete_beta(df / 2.0, 0.5, df / (df + t2), t2 / (df + t2));
}

double
pgj_t_cdf(double t, double df)
{
	double tail = 0.5 * pgj_t_two_sided(t, df);

	return t > 0.0 ? 1.0 - tail : tail;
}

/*
 * By bisection on the tail: monotone, so it cannot go astray, and a limit of an
 * interval is asked for once a query, not once a row.
 */
double
pgj_t_quantile(double p, double df)
{
	double tail = 2.0 * Min(p, 1.0 - p);
	double low = 0.0;
	double high = 1.0;

	if (p == 0.5)
		return 0.0;
	while (pgj_t_two_sided(high, df) > tail && high < 1e150)
	{
		low = high;
		high *= 2.0;
	}
	for (int i = 0; i < 100; i++)
	{
		double middle = low + (high - low) / 2.0;

		if (middle <= low || middle >= high)
			break;
		if (pgj_t_two_sided(middle, df) > tail)
			low = middle;
		else
			high = middle;
	}
	return p < 0.5 ? -high : high;
}

/*
 * The upper tail of chi-squared: the regularised incomplete gamma function
 * Q(df/2, chi2/2), by series below its mean and by fraction above.
 */
double
pgj_chi_squared_tail(double chi2, double df)
{
	double a = df / 2.0;
	double x = chi2 / 2.0;
	double prefactor;

	if (x <= 0.0)
		return 1.0;
	if (isinf(x))
		return 0.0;
	prefactor = exp(a * log(x) - x - pgj_log_gamma(a));

	if (x < a + 1.0)
	{
		double term = 1.0 / a;
		double sum = term;

		for (int i = 1; i <= MAX_TERMS; i++)
		{
			term *= x / (a + i);
			sum += term;
			if (term < sum * DBL_EPSILON)
				return 1.0 - prefactor * sum;
		}
	}
	else
	{
		double b = x + 1.0 - a;
		double c = 1.0 / LENTZ_TINY;
		double d = 1.0 / b;
		double f = d;

		for (int i = 1; i <= MAX_TERMS; i++)
		{
			double numerator = -i * (i - a);
			double factor;

			b += 2.0;
			factor = lentz_factor(numerator, b, &c, &d);
			f *= factor;
			if (fabs(factor - 1.0) < DBL_EPSILON)
				return prefactor * f;
		}
	}
	ereport(ERROR, errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			errmsg("incomplete gamma function did not converge"));
}
