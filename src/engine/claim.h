/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  A claim in progress; internal to claim.c, prepare.c, handover.c and outcome.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CLAIM_H
#define PGJ_CLAIM_H

#include "contact/site.h"
#include "datatype/timestamp.h"
#include "engine/definition.h"
#include "nodes/execnodes.h"
#include "plan.h"

typedef struct Claim
{
	const Site *site;
	char *relay;
	int max;
	int max_examined; /* rows of the outbox, so that one call ends */
	TimestampTz at;
	TimestampTz lease_until;
	ReturnSetInfo *result; /* NULL: a rehearsal */
	Definitions *definitions;
	MemoryContext batch_context; /* current while a batch is at work */

	int nclaimed;
	int nexamined;
	int timeouts; /* contacts that could not be read in time */

	/* the slice at hand and its progress in the outbox */
	int slice;
	TimestampTz due_at;
	int64 due_id;
	int64 seq;
} Claim;

typedef enum OfferOutcome
{
	OFFER_VOID,	   /* the message has moved on without this row */
	OFFER_OPEN,	   /* not decided yet */
	OFFER_HELD,	   /* its journey is paused */
	OFFER_LATER,   /* what is asked is being changed, or it was not tried */
	OFFER_PUT_OFF, /* by the gate */
	OFFER_WITHHELD,
	OFFER_PARKED,
	OFFER_CLAIMED
} OfferOutcome;

/* A row of the outbox and its message; in the batch's context. */
typedef struct Offer
{
	OfferOutcome outcome;
	const char *reason; /* withheld, put off, parked: the verdict's reason */
	TimestampTz until;	/* put off */
	bool ends_run;		/* withheld, and its run with it */
	const char *error;	/* parked: what went wrong */
	char *caps;			/* for the receipt, or NULL */
	Datum evidence;		/* jsonb, or 0 when the gate was not asked */

	Datum contact;
	int contact_no; /* equal for rows of one contact */
	int64 message_id;
	TimestampTz decided_at;
	int attempt; /* before this claim */

	char *key;
	int64 enrollment_id;
	char *run_key;
	int journey_id;
	int version_id;
	int step_no;
	int visit;
	char *channel;
	char *topic;
	char *template;
	int priority;
	TimestampTz since; /* when its run came to the SEND */
	TimestampTz expires_at;
	char *exited; /* by what the run was ended, or NULL */

	char *subject; /* template, then what was rendered of it */
	char *body;
	char *html;		   /* or NULL */
	bool has_settings; /* the channel exists */
	Datum settings;
	Datum data; /* jsonb for the template, later with the contact's row */
	bool has_contact;
	char *recipient;
} Offer;

/*
 * Read the next rows of the outbox after the progress, which moves on to the last
 * of them.
 */
extern int pgj_claim_read(Claim *claim, Offer **offers, int limit);

extern void pgj_offer_withhold(Offer *offer, const char *reason);
extern void pgj_offer_park(Offer *offer, const char *reason, const char *error);

/* Too many contacts could not be read in time: the claim ends. */
extern bool pgj_claim_gave_up(const Claim *claim);

/* Ask the gate and render; at most one message per contact. */
extern void pgj_claim_prepare(Claim *claim, Offer **offers, int n);

/* Hand over what is open, write the outcome of the others. */
extern void pgj_claim_write(Claim *claim, Offer **offers, int n);

/* outcome.c */
extern void pgj_claim_write_others(const Claim *claim, Offer **offers, int n);
extern void pgj_claim_params(const Claim *claim, Offer *const *offers, int n,
							 Params *params);
extern void pgj_claim_expect(uint64 found, int wanted);

#endif /* PGJ_CLAIM_H */
