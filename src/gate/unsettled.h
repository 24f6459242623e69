/*-------------------------------------------------------------------------
 *
 * unsettled.h
 *	  Is a new consent row being written?  Internal to gate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_UNSETTLED_H
#define PGJ_UNSETTLED_H

typedef struct Unsettled Unsettled;

extern Unsettled *pgj_unsettled_open(void);

/* Is there such a row, committed or not? */
extern bool pgj_unsettled(Unsettled *look, Datum contact, const char *channel,
						  const char *topic);
extern void pgj_unsettled_close(Unsettled *look);

#endif /* PGJ_UNSETTLED_H */
