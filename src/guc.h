/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  All settings, sorted by name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_GUC_H
#define PGJ_GUC_H

extern int pgj_batch_size;	   /* contacts per batch */
extern int pgj_engine_naptime; /* ms: longest sleep of an engine worker */
extern int
	pgj_expression_memory; /* kB a user expression may add; worker only */
extern int
	pgj_expression_timeout; /* ms one evaluation of a user expression may take */
extern int pgj_launcher_naptime;	/* ms */
extern int pgj_message_expiry;		/* s: EXPIRES of a SEND that states none */
extern int pgj_same_address_window; /* s; 0: off */
extern int
	pgj_priority_step; /* s of waiting that count for one point of priority */
extern int
	pgj_segment_timeout; /* ms one evaluation of a segment may take, of a batch */

extern double
	pgj_segment_cost; /* planner's cost of a predicate for one contact; 0: any */

extern void pgj_guc_define(void);

#endif /* PGJ_GUC_H */
