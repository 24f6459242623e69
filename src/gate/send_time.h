/*-------------------------------------------------------------------------
 *
 * send_time.h
 *	  At which local hours contacts respond; internal to the gate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SEND_TIME_H
#define PGJ_SEND_TIME_H

#include "gate/zone.h"
#include "measure/hours.h"

typedef enum DayKind
{
	DAY_WEEKDAY,
	DAY_WEEKEND,
	DAY_KINDS
} DayKind;

extern const char *const pgj_day_kinds[DAY_KINDS];

/* Where nothing is known, and between hours that are as good. */
#define PGJ_DEFAULT_HOUR 10

/* A message goes out this long before the hour. */
#define PGJ_SEND_LEAD (15 * USECS_PER_MINUTE)

/* Responses of a contact by local hour; the older, the less they count. */
typedef struct HourCounts
{
	/* in */
	Datum contact;
	TimestampTz at;
	const Zones *zones;

	/* out */
	double weight[DAY_KINDS][PGJ_HOURS];
	int64 events[DAY_KINDS];
} HourCounts;

/* Everybody's shares; one of a day kind of which nothing is known is even. */
typedef struct HourPrior
{
	bool found[DAY_KINDS];
	double share[DAY_KINDS][PGJ_HOURS];
} HourPrior;

extern void pgj_hour_counts_read(const Site *site, HourCounts *asked, int n);
extern void pgj_hour_prior_read(const Site *site, HourPrior *prior);
extern double pgj_hour_total(const HourCounts *counts, DayKind kind);

extern DayKind pgj_day_kind(Timestamp local);
extern int pgj_hour_of(Timestamp local);

/* The best of 24 hours: the highest score, then nearest to the default. */
extern int pgj_best_hour(const double *scores);

/* Is hour a, with this score, better than hour b? */
extern bool pgj_hour_better(int a, double score_a, int b, double score_b);

/* "individual", "global" or "none": what a score is made of. */
extern const char *pgj_hour_source(const HourCounts *counts,
								   const HourPrior *prior, DayKind kind);

#endif /* PGJ_SEND_TIME_H */
