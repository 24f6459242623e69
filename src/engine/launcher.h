/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The launcher, the workers it starts, and how to send one away.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_LAUNCHER_H
#define PGJ_LAUNCHER_H

/* In bgw_extra of a worker; the database's oid is its argument. */
typedef struct WorkerOrder
{
	bool probe; /* look whether and as whom a worker may run */
	Oid owner;	/* else: whom to connect as */
} WorkerOrder;

/* While the postmaster preloads us. */
extern void pgj_launcher_register(void);
extern void pgj_evict_init(void);

#endif /* PGJ_LAUNCHER_H */
