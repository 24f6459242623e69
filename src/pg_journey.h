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
#define PGJ_EVENT_CALL "journey.call"	 /* {"journey": name, "key": text} */
#define PGJ_EVENT_RETRY "journey.retry"	 /* {"enrollment": id} */
#define PGJ_EVENT_ENTER "journey.enter:" /* and the segment's name */
#define PGJ_EVENT_LEAVE "journey.leave:"

/*
 * An expression of SQL: the snapshot of what has committed by now.
 * pg_current_snapshot() leaves out the transaction that asks, which is not at its
 * end: what it writes later must not look as if it had been there.
 */
#define PGJ_COMMITTED_SNAPSHOT                                                                                      \
	"(SELECT CASE WHEN o.xid OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmax(o.seen)"                            \
	" THEN pg_catalog.format('%s:%s:%s', pg_catalog.pg_snapshot_xmin(o.seen), pg_catalog.pg_snapshot_xmax(o.seen)," \
	"  (SELECT pg_catalog.string_agg(x.xid::pg_catalog.text, ',' ORDER BY x.xid)"                                   \
	"   FROM (SELECT pg_catalog.pg_snapshot_xip(o.seen) UNION SELECT o.xid) AS x (xid)))::pg_catalog.pg_snapshot"   \
	" ELSE o.seen END"                                                                                              \
	" FROM (SELECT pg_catalog.pg_current_snapshot(), pg_catalog.pg_current_xact_id_if_assigned() OFFSET 0) AS o (seen, xid))"

/* NOTIFY channel on which relays learn that the outbox has grown */
#define PGJ_OUTBOX_CHANNEL "journey_outbox"

/* own SQLSTATEs, only where a client must branch */
#define ERRCODE_PGJ_WRONG_TOKEN MAKE_SQLSTATE('P', 'J', '0', '0', '1')
#define ERRCODE_PGJ_STALE_RELAY MAKE_SQLSTATE('P', 'J', '0', '0', '2')
#define ERRCODE_PGJ_COPY MAKE_SQLSTATE('P', 'J', '0', '0', '3')
#define ERRCODE_PGJ_NOT_ATTACHED MAKE_SQLSTATE('P', 'J', '0', '0', '4')
#define ERRCODE_PGJ_SUPERUSER MAKE_SQLSTATE('P', 'J', '0', '0', '5')
#define ERRCODE_PGJ_SLOW_CONTACTS MAKE_SQLSTATE('P', 'J', '0', '0', '6')

/*
 * Faults planted on purpose, for the tests to prove that they would notice.  1, 2:
 * gate.c.  3: a predicate's last condition on time is forgotten (boundary.c).
 * 4: its last watch is (trace.c).  5: updates mark no old rows (mark.c).  6: caps
 * are counted as of before the slice was locked (cap.c).  7: reports lock slices in no order
 * (report.c).  8: a claim does not look at what others enter into the ledger of
 * addresses (ledger.c).  9: a claim does not say what suppressions it looks at
 * (suppressed.c).
 */
#ifndef PGJ_SABOTAGE
#define PGJ_SABOTAGE 0
#endif

#endif /* PG_JOURNEY_H */
