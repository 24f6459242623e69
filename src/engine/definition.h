/*-------------------------------------------------------------------------
 *
 * definition.h
 *	  Journeys as the engine reads them: versions, rules and steps in memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_DEFINITION_H
#define PGJ_DEFINITION_H

#include "contact/site.h"
#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "gate/gate.h"
#include "utils/date.h"

typedef enum StepKind
{
	STEP_WAIT,
	STEP_WAIT_UNTIL,
	STEP_WAIT_FOR,
	STEP_SEND,
	STEP_IF,
	STEP_EXIT
} StepKind;

typedef enum PastAction
{
	PAST_CONTINUE,
	PAST_SKIP,
	PAST_EXIT
} PastAction;

typedef enum Reentry
{
	REENTRY_NEVER,
	REENTRY_ALWAYS,
	REENTRY_AFTER,
	REENTRY_ONCE_PER_KEY
} Reentry;

typedef enum JourneyStatus
{
	JOURNEY_DRAFT,
	JOURNEY_ACTIVE,
	JOURNEY_PAUSED,
	JOURNEY_DROPPED
} JourneyStatus;

typedef struct Expression
{
	int no;
	char *statement;
	Oid result;
	SPIPlanPtr plan; /* NULL until first used */
} Expression;

typedef struct Step
{
	int no; /* 0 in an unused slot */
	StepKind kind;
	char *label;
	int next;
	int otherwise;
	Interval *duration;
	char *since_event;
	char *event;
	int of_step;
	int condition; /* expression number, 0 = none */
	PastAction past;
	bool at_local_time; /* WAIT UNTIL a time of day instead of condition */
	TimeADT local_time;
	uint8 local_days; /* bit 0 is Monday */
	char *channel;	  /* NULL: one of channels */
	int nchannels;	  /* FIRST OF, BEST OF; else 0 */
	char **channels;  /* in the script's order */
	bool best;		  /* BEST OF */
	char *template;
	int priority;
	CappedAction when_capped;
	Interval *capped_within;
	Interval *best_time_within;
	bool also;
	bool other_channels; /* its template may go over several in a run */
} Step;

typedef struct Rule /* ON … and EXIT ON … */
{
	char *event;
	int condition;
} Rule;

typedef struct Version
{
	int version_id; /* hash key */
	int journey_id;
	char *journey;
	JourneyStatus status;
	bool newest; /* new entries get this version */
	int holdout_epoch;
	char *topic;
	bool transactional;
	int priority;
	double holdout;
	int holdout_by;
	int key_expression;
	Reentry reentry;
	Interval *reentry_after;
	int limit; /* entries of a contact per limit_per; 0 = any number */
	Interval *limit_per;
	char *goal_event;
	int goal_condition;
	Interval *goal_within;
	int goal_value;

	int nsteps;
	Step *steps; /* index = number; steps[0] unused */
	int nentries;
	Rule *entries; /* event PGJ_EVENT_CALL for ON CALL */
	int nexits;
	Rule *exits;
	int nexpressions;
	Expression *expressions; /* index = number; [0] unused */
	int nchannels;
	char **channels; /* the distinct channels it sends on */
} Version;

typedef struct Definitions
{
	MemoryContext context;
	int nall;
	Version **all;		 /* in the order of their ids */
	bool listens_to_all; /* some WAIT FOR (expr): any event matters */
	bool asks_segments;	 /* some expression asks who is in a segment */
} Definitions;

/*
 * All versions, kept until a definition changes.  The result stays valid to the
 * end of the transaction.
 */
extern Definitions *pgj_definitions(const Site *site);

extern Version *pgj_version(Definitions *definitions, int version_id);

/* Does any version react to an event of this name? */
extern bool pgj_event_matters(Definitions *definitions, const char *event);

#endif /* PGJ_DEFINITION_H */
