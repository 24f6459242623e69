/*-------------------------------------------------------------------------
 *
 * elevate.h
 *	  Between the files of this room: run fixed statements as another role.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ELEVATE_H
#define PGJ_ELEVATE_H

#include "contact/site.h"
#include "datatype/timestamp.h"

extern SavedUser pgj_become_extension_owner(void);
extern Oid pgj_schema_owner(const char *name);
extern void pgj_run(const char *statement);
extern void pgj_run_with(const char *statement, int nargs, Oid *types,
						 Datum *values, const char *nulls);
extern Datum pgj_fetch(const char *statement, bool *isnull);
extern const char *pgj_role_name(Oid role);
extern void pgj_require_administrator(Oid owner);

/* administer.c */
extern void pgj_segments_anew_as(Oid owner);
extern void pgj_maintain_as(Oid owner, TimestampTz at, Interval *ahead);

#endif /* PGJ_ELEVATE_H */
