/*-------------------------------------------------------------------------
 *
 * pg_journey.h
 *	  Names that every room shares: schemas, event names, error codes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PG_JOURNEY_H
#define PG_JOURNEY_H

#include "compat.h"

#define PGJ_SCHEMA "journey"
#define PGJ_STATE_SCHEMA "journey_state"

/*
 * Events the extension writes itself.  The prefix is refused from users.
 */
#define PGJ_EVENT_PREFIX "journey."
#define PGJ_EVENT_CALL "journey.call"	/* {"journey": name, "key": text} */
#define PGJ_EVENT_RETRY "journey.retry" /* {"enrollment": id} */

/* NOTIFY channel on which relays learn that the outbox has grown */
#define PGJ_OUTBOX_CHANNEL "journey_outbox"

/* own SQLSTATEs, only where a client must branch */
#define ERRCODE_PGJ_WRONG_TOKEN MAKE_SQLSTATE('P', 'J', '0', '0', '1')
#define ERRCODE_PGJ_STALE_RELAY MAKE_SQLSTATE('P', 'J', '0', '0', '2')
#define ERRCODE_PGJ_COPY MAKE_SQLSTATE('P', 'J', '0', '0', '3')
#define ERRCODE_PGJ_NOT_ATTACHED MAKE_SQLSTATE('P', 'J', '0', '0', '4')
#define ERRCODE_PGJ_SUPERUSER MAKE_SQLSTATE('P', 'J', '0', '0', '5')

#endif /* PG_JOURNEY_H */
