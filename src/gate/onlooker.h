/*-------------------------------------------------------------------------
 *
 * onlooker.h
 *	  Claims say what they look at; who suppresses it outlasts them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ONLOOKER_H
#define PGJ_ONLOOKER_H

#include "contact/site.h"

/* The suppressions that one call of the gate is going to look at. */
typedef struct Onlooker
{
	Oid table[2];
	uint64 parts[2];
} Onlooker;

extern void pgj_onlooker_init(Onlooker *onlooker);
extern void pgj_onlooker_add(Onlooker *onlooker, const Site *site,
							 Datum contact, const char *channel,
							 const char *address); /* in lower case, or NULL */

/* Say so, until the transaction ends.  Never waits. */
extern void pgj_onlooker_enter(const Onlooker *onlooker);

/*
 * Of a suppression that is written: the transaction commits once the claims
 * have ended that may have looked before.
 */
extern void pgj_outlast_address(const char *channel, const char *address);
extern void pgj_outlast_contact(const Site *site, Datum contact);

extern void pgj_onlooker_register(void);

#endif /* PGJ_ONLOOKER_H */
