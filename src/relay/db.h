/*-------------------------------------------------------------------------
 *
 * db.h
 *	  The database: one connection, one command at a time, never waiting.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_DB_H
#define RELAY_DB_H

#include "config.h"
#include "message.h"

typedef enum DbFate
{
	DB_OK,
	DB_REFUSED,	   /* wrong token, or a copied database */
	DB_TAKEN_OVER, /* another session opened under our name */
	DB_FAILED	   /* only when asked to give up on the first error */
} DbFate;

extern void relay_db_init(const Config *config, const char *at, bool give_up);
extern void relay_db_reload(const Config *config);
extern void relay_db_close(void);

/* Advance what can be advanced without waiting; returns whether all is well. */
extern DbFate relay_db_step(void);

/* what to poll for, and for how long at most */
extern int relay_db_socket(short *events);
extern int relay_db_timeout(void);

/* Ask for at most max messages.  Claimed ones come to relay_send_enqueue(). */
extern bool relay_db_claim_possible(void);
extern void relay_db_claim(int max);
extern bool relay_db_notified(void); /* since the last call */
extern int
relay_db_last_claim(void); /* rows of the last claim, -1: none or failed */

extern void relay_db_report(const Result *result);
extern int relay_db_unreported(void); /* results that no commit has taken yet */
extern void relay_db_flush(void);	  /* report without waiting for more */

#endif /* RELAY_DB_H */
