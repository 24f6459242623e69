/*-------------------------------------------------------------------------
 *
 * box.h
 *	  Run what a user wrote, so that it can neither act nor leak.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_BOX_H
#define PGJ_BOX_H

#include "contact/site.h"

typedef void (*BoxBody)(void *arg);

/*
 * Call body(arg) as the journey owner in a read-only, security-restricted
 * subtransaction with its own GUC level and an armed time-out
 * (pg_journey.expression_timeout), and roll that subtransaction back whether it
 * succeeded or not: NOTIFY, locks and settings vanish with it.
 *
 * body must SPI_connect by itself and copy results into a context that outlives
 * the call (keep MemoryContext in arg; the current one at entry is fine).
 *
 * An active snapshot is pushed for body: it sees all that was committed when
 * the box was entered, and what this transaction wrote so far.
 *
 * Returns NULL, or the error, copied into the current context.  A cancel that
 * did not come from our time-out is thrown on.  An evaluation that catches the
 * cancel and goes on ends its session (FATAL) at twice the time-out; "place"
 * (e.g. "expression 3 of version 7"; version_id, expression_no) is remembered in
 * shared memory, and the next evaluation there fails at once instead.  (0, 0)
 * stands for no place: nothing is remembered.
 */
extern ErrorData *pgj_box_run(const Site *site, int version_id,
							  int expression_no, BoxBody body, void *arg);

/* What an evaluation may take, and how messages call it. */
typedef struct BoxLimit
{
	int timeout;		 /* ms */
	const char *setting; /* that sets it */
	const char *what;	 /* "expression" */
} BoxLimit;

/* The same within another limit of time. */
extern ErrorData *pgj_box_run_within(const Site *site, int version_id,
									 int expression_no, const BoxLimit *limit,
									 BoxBody body, void *arg);

/* In the place of a version: a segment; its revision is the expression. */
#define PGJ_BOX_SEGMENT(segment_id) (-1000000 - (segment_id))

/* Forget that evaluations of a version ended their session. */
extern void pgj_box_forgive(int version_id);

extern void pgj_box_shmem_request(void);
extern void pgj_box_shmem_init(void);

#endif /* PGJ_BOX_H */
