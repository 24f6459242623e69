/*-------------------------------------------------------------------------
 *
 * send.h
 *	  Claimed messages go to their SMTP servers; results go to db.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_SEND_H
#define RELAY_SEND_H

#include "config.h"
#include "message.h"

#include <curl/curl.h>

extern bool relay_send_init(const Config *config);
extern void relay_send_reload(const Config *config);
extern void relay_send_close(void);

extern void relay_send_enqueue(Message *m);
extern void relay_send_drop_queue(void);

/* Start what may start, move what can move; never waits. */
extern void relay_send_step(void);

extern bool relay_send_can_start(void);
extern int relay_send_room(bool ignore_pause); /* how many to claim */
extern int relay_send_queued(void);
extern int relay_send_in_flight(void);

/* wait for the transfers' sockets, and these; returns at the latest after timeout ms */
extern void relay_send_wait(const struct curl_waitfd *others, unsigned n_others,
							int timeout);

#endif /* RELAY_SEND_H */
