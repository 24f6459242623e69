/*-------------------------------------------------------------------------
 *
 * quiet.h
 *	  Rules of quiet hours; internal to the gate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_QUIET_H
#define PGJ_QUIET_H

#include "gate/check.h"
#include "gate/scope.h"
#include "utils/date.h"

typedef enum QuietAction
{
	QUIET_DEFER,
	QUIET_SKIP,
	QUIET_SEND
} QuietAction;

typedef struct QuietRule
{
	char *name;
	TimeADT starts;
	TimeADT ends; /* not after starts: on the next day */
	int days;	  /* bit 0: Monday */
	Scope scope;  /* channels and topics */
	Names countries;
	QuietAction action;
	Interval *jitter;
} QuietRule;

/* All rules, in the order of their names. */
extern const List *pgj_quiet_rules(const Site *site);

/* Those that concern a request. */
extern List *pgj_quiet_applying(const List *rules, const Check *check);

/*
 * Those that forbid a message when a clock shows this; none if an exception is in
 * force.
 */
extern List *pgj_quiet_forbidding(const Check *check, Timestamp local);

#endif /* PGJ_QUIET_H */
