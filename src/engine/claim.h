/*-------------------------------------------------------------------------
 *
 * claim.h
 *	  A claim in progress; internal to claim.c and handover.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CLAIM_H
#define PGJ_CLAIM_H

#include "contact/site.h"
#include "datatype/timestamp.h"
#include "nodes/execnodes.h"

typedef struct Claim
{
	const Site *site;
	char *relay;
	int max;
	int max_examined; /* rows of the outbox, so that one call ends */
	TimestampTz at;
	TimestampTz lease_until;
	ReturnSetInfo *result;
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
	OFFER_VOID,	 /* the message has moved on without this row */
	OFFER_OPEN,	 /* not decided yet */
	OFFER_HELD,	 /* its journey is paused */
	OFFER_LATER, /* its contact's consent is being changed, or not tried */
	OFFER_WITHHELD,
	OFFER_PARKED,
	OFFER_CLAIMED
} OfferOutcome;

/* A row of the outbox and its message; in the batch's context. */
typedef struct Offer
{
	OfferOutcome outcome;
	const char *reason; /* withheld, parked: the verdict's reason */
	const char *error;	/* parked: what went wrong */
	Datum evidence;		/* jsonb, or 0 when the gate was not asked */

	Datum contact;
	int contact_no; /* equal for rows of one contact */
	int64 message_id;
	TimestampTz decided_at;
	int attempt; /* before this claim */

	char *key;
	int64 enrollment_id;
	int journey_id;
	int version_id;
	int step_no;
	int visit;
	char *channel;
	char *topic;
	char *template;
	int priority;
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

extern void pgj_offer_withhold(Offer *offer, const char *reason);
extern void pgj_offer_park(Offer *offer, const char *reason, const char *error);

/* Too many contacts could not be read in time: the claim ends. */
extern bool pgj_claim_gave_up(const Claim *claim);

/* Ask the gate and render; at most one message per contact. */
extern void pgj_claim_prepare(Claim *claim, Offer **offers, int n);

/* Mark what is still open as claimed and put it into the result. */
extern void pgj_claim_hand_over(Claim *claim, Offer **offers, int n);

/* Write the outcome of all the others. */
extern void pgj_claim_finish(Claim *claim, Offer *offers, int n);

#endif /* PGJ_CLAIM_H */
