/*-------------------------------------------------------------------------
 *
 * gate.h
 *	  One question: may this message go now?  One place, one order: exit,
 *	  consent by channel and topic, suppression, address, expiry, frequency
 *	  caps.
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
	GATE_ENTRY,	 /* consent, suppression and address only */
	GATE_DECIDE, /* a SEND step */
	GATE_CLAIM	 /* the second look, when a relay asks; also locks
								 * the consent rows FOR SHARE, so that a
								 * withdrawal is either seen or comes after */
} GateStage;

typedef struct GateRequest
{
	/* in */
	Datum contact;
	TimestampTz at;
	const char *channel;
	const char *topic;
	const char *exited; /* by what the run was ended; NULL: it was not */
	TimestampTz expires_at;
	int64 message_id;		/* GATE_CLAIM: the message itself; else 0 */
	TimestampTz decided_at; /* GATE_CLAIM */

	/* out */
	bool granted;
	const char *reason; /* static string: exited, no_consent, suppressed,
								 * no_address, bad_address, contact_gone, expired,
								 * capped; NULL if granted */
	char *address;		/* where it would go, normalised; may be NULL */
	Datum evidence;		/* jsonb: what was decided on */
	bool busy;			/* GATE_CLAIM, not granted: an open transaction is
								 * changing the consent; to be asked again */
} GateRequest;

/* Decide n requests, at most one per contact, set-based. */
extern void pgj_gate_decide(const Site *site, GateStage stage,
							GateRequest *requests, int n);

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
	const char *reason;
	int64 message_id; /* 0 = none */
	Datum evidence;
} VerdictRow;

extern void pgj_verdict_append(const Site *site, const VerdictRow *rows, int n);

#endif /* PGJ_GATE_H */
