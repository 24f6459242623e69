/*-------------------------------------------------------------------------
 *
 * message.h
 *	  A claimed message and its result, as db.c and send.c hand them over.
 *
 * A message is in exactly one of these places: the queue of send.c (claimed),
 * a transfer of send.c (in flight), the results of db.c (done, not reported).
 * What we drop is offered again by the database when the lease is over.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_MESSAGE_H
#define RELAY_MESSAGE_H

#include <stddef.h>
#include <stdint.h>

typedef struct Message
{
	struct Message *next;
	int64_t message_id;
	int attempt;
	char *key; /* idempotency key */
	char *channel;
	char *url; /* of the channel's settings; these may be NULL */
	char *from;
	char *domain;
	char *recipient;
	char *subject;
	char *body;
	char *html;	   /* or NULL */
	char *headers; /* netstrings, see mime.h */
	size_t headers_len;
	int64_t decided_at; /* seconds since 1970 */
	int64_t expires_in; /* milliseconds from the claim; may be negative */
	int64_t claimed_at; /* relay_now() before the claim was sent */
} Message;

typedef struct Result
{
	int64_t message_id;
	int attempt;
	const char *outcome; /* constant text */
	char code[16];
	char response[320]; /* printable ASCII */
} Result;

extern void relay_message_free(Message *m);

/* monotonic milliseconds */
extern int64_t relay_now(void);

#endif /* RELAY_MESSAGE_H */
