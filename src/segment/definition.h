/*-------------------------------------------------------------------------
 *
 * definition.h
 *	  What others ask of the definitions of segments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SEGMENT_DEFINITION_H
#define PGJ_SEGMENT_DEFINITION_H

#include "contact/site.h"
#include "datatype/timestamp.h"

/* Act as the journey owner, security-restricted; undo with pgj_become_caller. */

/*
 * Before the engine works, first in a transaction, with no slice locked: follow
 * the partitions and child tables of watched tables (triggers on new ones, scans
 * where rows came or went unseen), compile segments anew whose scan has revision 0,
 * and those with a view or function in them that was replaced.  Costs nothing when
 * nothing has changed.
 */
extern void pgj_segment_prepare(const Site *site, TimestampTz at);

/*
 * Compile segments whose scan has revision 0 (journey._segments_anew) from their
 * functions, which have followed renames, or else from their text.  One that does
 * not compile is suspended.  False: definitions are locked, try again.
 */
extern bool pgj_segment_recompile_all(const Site *site, TimestampTz at);

/*
 * Compile from their text segments that were looked into a view or a function that
 * is another now, and look at all contacts again.  False: as above.
 */
extern bool pgj_segment_follow_replaced(const Site *site, TimestampTz at);

/* Suspend segments whose functions are gone.  False: as above. */
extern bool pgj_segment_suspend_lost(const Site *site, TimestampTz at);

#endif /* PGJ_SEGMENT_DEFINITION_H */
