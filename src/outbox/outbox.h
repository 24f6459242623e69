/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  Write messages, once, in the transaction of the step that decided them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_OUTBOX_H
#define PGJ_OUTBOX_H

#include "contact/site.h"
#include "datatype/timestamp.h"

typedef struct MessageRow
{
	Datum contact;
	int slice;
	int64 enrollment_id;
	int journey_id;
	const char *journey; /* name */
	int version_id;
	const char *key; /* enrollment key */
	int ordinal;	 /* enrollment ordinal */
	int step_no;
	const char *label; /* step label or NULL */
	int visit;
	const char *channel;
	const char *template;
	const char *topic;
	const char *class; /* of the topic */
	bool counts;	   /* towards frequency caps */
	int priority;
	TimestampTz since; /* when the run came to the step */
	TimestampTz decided_at;
	TimestampTz expires_at;
	int64 message_id; /* out */
} MessageRow;

/*
 * Append messages and their outbox rows.  The idempotency key is
 * hex(SHA-256(site 1F journey 1F contact 1F key 1F ordinal 1F label-or-step 1F
 * visit 1F channel)): the same after a retry, a failover or a restore.
 *
 * assume_sent (replays): no outbox row; the message counts as handed over at
 * decided_at.
 */
extern void pgj_outbox_put(const Site *site, MessageRow *rows, int n,
						   bool assume_sent);

/*
 * Offer messages to relays at available_at, or at once if the slice's progress is
 * past that.  For the holder of the slices' locks.
 */
typedef struct OutboxRow
{
	int slice;
	Datum contact;
	int64 message_id;
	TimestampTz decided_at;
	int attempt;
	TimestampTz available_at;
} OutboxRow;

extern void pgj_outbox_offer(const Site *site, const OutboxRow *rows, int n);

#endif /* PGJ_OUTBOX_H */
