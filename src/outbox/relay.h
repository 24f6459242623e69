/*-------------------------------------------------------------------------
 *
 * relay.h
 *	  The relay this session belongs to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_RELAY_H
#define PGJ_RELAY_H

#include "contact/site.h"

/*
 * Refuse (PJ002) unless journey.open_relay() was called for this relay in this
 * session; with "current", also unless no other session has opened it since,
 * and none can until this transaction ends.
 */
extern void pgj_relay_require(const Site *site, const char *relay,
							  bool current);

#endif /* PGJ_RELAY_H */
