/*-------------------------------------------------------------------------
 *
 * unsettled.h
 *	  Is a row being written?  Internal to gate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_UNSETTLED_H
#define PGJ_UNSETTLED_H

#define UNSETTLED_MAX_KEYS 3

typedef struct Unsettled Unsettled;

typedef enum RowState
{
	ROW_ABSENT,
	ROW_SETTLED,
	ROW_UNSETTLED /* an open transaction, not this one, inserts, changes or
					 deletes it */
} RowState;

/* By the first nkeys columns of the table, which begin its primary key. */
extern Unsettled *pgj_unsettled_open(const char *table, int nkeys);
extern RowState pgj_unsettled(Unsettled *look, const Datum *key);
extern void pgj_unsettled_close(Unsettled *look);

#endif /* PGJ_UNSETTLED_H */
