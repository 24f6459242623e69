/*-------------------------------------------------------------------------
 *
 * special.h
 *	  The distribution functions that tests and intervals need.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SPECIAL_H
#define PGJ_SPECIAL_H

extern double pgj_normal_cdf(double z);
extern double pgj_normal_two_sided(double z); /* P(|Z| > |z|) */
extern double pgj_normal_quantile(double p);  /* 0 < p < 1 */
extern double pgj_t_cdf(double t, double df);
extern double pgj_t_two_sided(double t, double df); /* P(|T| > |t|) */
extern double pgj_t_quantile(double p, double df);
extern double pgj_chi_squared_tail(double chi2, double df);
extern double pgj_beta_cdf(double x, double a, double b); /* 0 <= x <= 1 */
extern double pgj_beta_tail(double x, double a, double b);
extern double pgj_log_beta(double a, double b);
extern double pgj_log_gamma(double x); /* x > 0 */

#endif /* PGJ_SPECIAL_H */
