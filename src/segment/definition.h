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

#endif /* PGJ_SEGMENT_DEFINITION_H */
