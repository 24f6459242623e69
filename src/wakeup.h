/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *	  Wake the engine of this database once, when the transaction commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_WAKEUP_H
#define PGJ_WAKEUP_H

/* Called in a transaction: set the engine's latch after commit, not before. */
extern void pgj_wake_engine_at_commit(void);

/* Called in a transaction: one NOTIFY journey_outbox at commit. */
extern void pgj_notify_relays(void);

#endif							/* PGJ_WAKEUP_H */
