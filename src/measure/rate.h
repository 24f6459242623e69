/*-------------------------------------------------------------------------
 *
 * rate.h
 *	  What is believed of a rate: Beta distributions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_RATE_H
#define PGJ_RATE_H

/* The quantile of Beta(a, b), 0 < p < 1. */
extern double pgj_beta_quantile(double p, double a, double b);

/*
 * The probability that a rate with distribution Beta(a2, b2) is less than
 * "ratio" times an independent one with Beta(a1, b1).
 */
extern double pgj_beta_drop(double a1, double b1, double a2, double b2,
							double ratio);

#endif /* PGJ_RATE_H */
