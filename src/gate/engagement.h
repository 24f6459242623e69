/*-------------------------------------------------------------------------
 *
 * engagement.h
 *	  How contacts respond to what they are sent over a channel.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ENGAGEMENT_H
#define PGJ_ENGAGEMENT_H

#include "gate/check.h"

/*
 * Messages handed over in the 30 days up to a time, and in the 30 days before
 * those, and how many of them were responded to; everybody's distribution of the
 * rate is Beta(a0, b0).
 */
typedef struct Engagement
{
	/* in */
	Datum contact;
	const char *channel;
	TimestampTz at;

	/* out */
	bool known; /* is there a distribution of everybody's? */
	double a0;
	double b0;
	int sends;
	int clicks;
	int sends_before;
	int clicks_before;
} Engagement;

extern void pgj_engagement_read(const Site *site, Engagement *asked, int n);

/* What is expected of the next message. */
extern double pgj_engagement_rate(const Engagement *engagement);

/* Classes of contacts that frequency caps may be for; they may overlap. */
typedef enum EngagementClass
{
	ENGAGEMENT_HIGH = 1,	/* the rate is above .40, with probability .8 */
	ENGAGEMENT_LOW = 2,		/* below .10 */
	ENGAGEMENT_FATIGUED = 4 /* fell by 30 % or more, and there were 4 sends in
							 * each of the two spans of 30 days */
} EngagementClass;

/* The class of a name, 0 if there is none. */
extern int pgj_engagement_class_of(const char *name);

/*
 * For each open check the classes its contact is in, over the channel of the
 * request, at its time; 0 for others and where too little is known.  Writes
 * member "engagement" of the evidence.  "asked" is a mask of the classes that
 * matter.
 */
extern int *pgj_engagement_class(const Site *site, Check *checks, int n,
								 int asked);

#endif /* PGJ_ENGAGEMENT_H */
