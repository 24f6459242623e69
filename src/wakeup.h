/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *	  Wake the engine of this database once, when the transaction commits.
 *
 * All of this is harmless where the library is not preloaded.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_WAKEUP_H
#define PGJ_WAKEUP_H

/* Called in a transaction: set the engine's latch after commit, not before. */
extern void pgj_wake_engine_at_commit(void);

/*
 * Called in a transaction that attached, adopted or dropped a site: after
 * commit the launcher looks at this database again.
 */
extern void pgj_announce_site_at_commit(void);

/* Called in a transaction: one NOTIFY journey_outbox at commit. */
extern void pgj_notify_relays(void);

extern void pgj_wakeup_init(void);

#endif /* PGJ_WAKEUP_H */
