/*-------------------------------------------------------------------------
 *
 * hours.h
 *	  At which hours of the day somebody responds.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_HOURS_H
#define PGJ_HOURS_H

#define PGJ_HOURS 24

/* How many events of one's own weigh as much as everybody's. */
#define PGJ_HOURS_KAPPA 10.0

/*
 * Smooth counts by hour over midnight; the sum stays.
 */
extern void pgj_hours_smooth(const double *counts, double *smooth);

/*
 * The share of each hour, from counts of one's own and everybody's shares
 * "prior", which weigh as much as kappa events.  Both sum to 1.
 */
extern void pgj_hours_score(const double *counts, const double *prior,
							double kappa, double *scores);

/* Hours between two of the day, the shorter way. */
extern int pgj_hours_apart(int a, int b);

#endif /* PGJ_HOURS_H */
