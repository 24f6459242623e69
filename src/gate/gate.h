/*-------------------------------------------------------------------------
 *
 * gate.h
 *	  One question: may this message go now?  One place, one order; see
 *	  gate.c.
 *
 * The caller holds the slice lock of every contact it asks about and runs at
 * READ COMMITTED, so that each statement here sees all that was committed
 * before the lock was got.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_GATE_H
#define PGJ_GATE_H

#include "contact/site.h"
#include "datatype/timestamp.h"

typedef enum GateStage
{
	GATE_ENTRY,	 /* consent, suppression and address only: may this contact
								 * be reached at all? */
	GATE_DECIDE, /* a SEND step */
	GATE_CLAIM	 /* the second look, when a relay asks; also locks
								 * the consent rows FOR SHARE, so that a
								 * withdrawal is either seen or comes after */
} GateStage;

/* What to do with a message that a frequency cap does not allow. */
typedef enum CappedAction
{
	CAPPED_SKIP,
	CAPPED_DEFER, /* to the next free slot */
	CAPPED_EXIT	  /* and end the run */
} CappedAction;

/* What a SEND says of its message, the same for all contacts at the step. */
typedef struct GateSend
{
	int journey_id;
	const char *journey;
	int version_id;
	int step_no;
	const char *topic;
	const char *template;
	int nchannels;		   /* FIRST OF, BEST OF; else 0 */
	char *const *channels; /* in the script's order */
	bool best;			   /* BEST OF */
	int priority;
	CappedAction when_capped;
	Interval *capped_within;	/* defer no longer than this since the arrival;
								 * NULL: until it expires */
	Interval *best_time_within; /* AT BEST TIME WITHIN; NULL: at once */
	bool also;			 /* also if the content went over another channel */
	bool other_channels; /* the run may have sent it over another one */
} GateSend;

typedef struct GateRequest
{
	/* in */
	Datum contact;
	TimestampTz at;
	const char *channel; /* in; out if send->nchannels > 0 and this is not
								 * GATE_CLAIM: the one chosen, anew each time */
	const char *topic;
	const GateSend *send; /* NULL at GATE_ENTRY */
	int64 enrollment_id;
	const char *key;		/* of the run */
	TimestampTz entered_at; /* beginning of the run; not at GATE_CLAIM */
	bool ghost;				/* asked only to know: leaves nothing behind */
	bool assume_sent;		/* a replay: handed over when it is decided */
	const char *exited;		/* by what the run was ended; NULL: it was not */
	TimestampTz since;		/* when the run came to the SEND */
	bool timed;				/* its best time has been chosen before */
	bool alone;				/* the contact has no other run that may come to a
								 * SEND; not known at GATE_CLAIM */
	TimestampTz expires_at;
	int64 message_id;		/* GATE_CLAIM: the message itself; else 0 */
	TimestampTz decided_at; /* GATE_CLAIM */

	/* out */
	bool granted;
	bool deferred;		/* not granted: to be asked again at "until" */
	TimestampTz until;	/* after "at", before expires_at */
	bool ends_run;		/* withheld by a cap, and the SEND says EXIT */
	const char *reason; /* static string, of the closed list in
								 * ARCHITECTURE.md; NULL if granted */
	const char *class;	/* of the topic */
	bool counts;		/* towards frequency caps */
	char *caps;			/* GATE_CLAIM: those that had a place for it, for
								 * its receipt; NULL: none was looked at */
	char *address;		/* where it would go, normalised; may be NULL */
	Datum evidence;		/* jsonb: what was decided on */
	bool busy;			/* GATE_CLAIM, not granted: an open transaction is
								 * changing what was asked; to be asked again */
} GateRequest;

/* Decide n requests, at most one per contact, set-based. */
extern void pgj_gate_decide(const Site *site, GateStage stage,
							GateRequest *requests, int n);

/*
 * May other runs of a contact, and where they stand, matter to the gate?  Then
 * they are written before it is asked.
 */
extern bool pgj_gate_arbitrates(const Site *site);

/* Does the gate ask who is in a segment? */
extern bool pgj_gate_asks_segments(const Site *site);

/* Append verdict rows for requests already decided. */
typedef struct VerdictRow
{
	Datum contact;
	TimestampTz at;
	int64 enrollment_id;
	int version_id;
	int step_no;
	int visit;
	bool ghost;
	bool comparable;
	GateStage stage;
	bool granted;
	bool deferred;
	TimestampTz until; /* if deferred */
	const char *reason;
	int64 message_id; /* 0 = none */
	Datum evidence;
} VerdictRow;

extern void pgj_verdict_append(const Site *site, const VerdictRow *rows, int n);

#endif /* PGJ_GATE_H */
