/*-------------------------------------------------------------------------
 *
 * cap.h
 *	  Frequency caps on their way through the gate; internal to cap*.c,
 *	  slot.c and rival.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CAP_H
#define PGJ_CAP_H

#include "gate/check.h"
#include "gate/scope.h"
#include "gate/zone.h"
#include "nodes/pg_list.h"

/* At most so many of a cap's places go to this class or topic. */
typedef struct Quota
{
	int64 definition;
	bool of_topic; /* else of a class */
	char *name;
	int places;
} Quota;

typedef struct Cap
{
	char *name;
	int64 definition;	   /* 0: none, what a contact asked for */
	const char *frequency; /* what he asked for, else NULL */
	int places;
	Interval *per;	   /* NULL: a period of the contact's calendar */
	ZonePeriod period; /* if per is NULL */
	Scope obeys;
	Scope counts;
	Names countries;
	int engagement; /* EngagementClass; 0: whatever the contact's */
	Names overrides;
	Interval *look_ahead; /* NULL: none */
	int nquotas;
	Quota *quotas;
} Cap;

typedef struct Caps
{
	int n;
	Cap *cap;
} Caps;

/*
 * What takes a place or wants one: a message, or a SEND that a run has been put
 * off at or will come to.
 */
typedef struct Place
{
	int64 message_id; /* 0: there is none yet */
	int64 enrollment_id;
	int step_no;
	int nchannels;
	char **channels; /* one of them */
	char *topic;
	char *class;
	int journey_id;
	bool counts;
	int priority;
	TimestampTz since;		/* when its run came to the SEND */
	TimestampTz due;		/* when it is asked again */
	TimestampTz expires_at; /* of a message */
	bool handed_over;
	TimestampTz claimed_at; /* if handed over */
} Place;

/* A request and what its caps look at. */
typedef struct Capped
{
	Check *check;
	List *caps;	  /* of Cap, those that hold for it */
	List *ceded;  /* of Cap, in whose place another one holds */
	List *places; /* of Place */
} Capped;

/*
 * The smallest thing that can be full: a cap, or a quota of it, seen from one
 * of the contact's possible zones (NULL where it rolls).
 */
typedef struct Bound
{
	const Cap *cap;
	const Quota *quota; /* or NULL */
	pg_tz *zone;		/* or NULL */
	int places;
} Bound;

/*
 * How much more than a window's length is to be looked at: a month before a later
 * time may be an earlier one, by less than this.
 */
#define PGJ_MONTH_SLACK(per) \
	((per)->month != 0 ? INT64CONST(4) * USECS_PER_DAY : 0)

/* cap_definition.c */
extern const Caps *pgj_caps(const Site *site);
extern void pgj_caps_read_as_if(const Site *site, Oid cap_type, Datum cap,
								Oid quotas_type, Datum quotas, Caps *caps);
extern void pgj_caps_hold(const Site *site, const Caps *caps, Check *checks,
						  int nchecks, Capped *capped, int n);
extern void pgj_caps_apply(const Site *site, const Caps *caps, Check *checks,
						   int nchecks, Capped *capped, int n);

/* What a contact asked for, as a cap; channel and topic may be "*". */
extern Cap *pgj_frequency_cap(const char *channel, const char *topic,
							  const char *frequency);

/* cap_law.c */
extern char *pgj_bounds_to_text(List *bounds);

/* slot.c */
extern TimestampTz pgj_exactly_plus(TimestampTz at, const Interval *span);
extern TimestampTz pgj_exactly_minus(TimestampTz at, const Interval *span);
extern List *pgj_cap_bounds(const Capped *capped);
extern bool pgj_bound_counts(const Bound *bound, const Place *place);
extern bool pgj_bound_holds(const Bound *bound, TimestampTz at,
							TimestampTz handed_over);
extern TimestampTz pgj_cap_slot(const Capped *capped, List *bounds,
								GateStage stage);

/* rival.c */
extern void pgj_rivals_read(const Site *site, GateStage stage, Capped *capped,
							int n);
extern int64 pgj_effective_priority(int priority, TimestampTz since,
									TimestampTz at);
extern bool pgj_takes_place(const Bound *bound, GateStage stage,
							const Check *check, const Place *place);

#endif /* PGJ_CAP_H */
