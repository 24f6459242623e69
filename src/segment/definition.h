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
extern SavedUser pgj_segment_become_owner(const Site *site);

/*
 * Follow the partitions and child tables of watched tables: make triggers on new
 * ones, and ask for scans where rows came or went unseen.  Call it first in a
 * transaction, with no slice locked, when something about a watched table or a
 * part of it has changed (relcache).  False: not all is done, call it again.
 */
extern bool pgj_segment_sync_triggers(const Site *site, TimestampTz at);

/*
 * Compile segments anew whose scan has revision 0 (journey._segments_anew): from
 * their functions, which have followed renames, or else from their text.  One
 * that does not compile is suspended.  Call it first in a transaction, with no
 * slice locked.  False: not now, call it again.
 */
extern bool pgj_segment_recompile_all(const Site *site, TimestampTz at);

#endif /* PGJ_SEGMENT_DEFINITION_H */
