/*-------------------------------------------------------------------------
 *
 * read.h
 *	  Between the files that ask of one segment: explain_member.c, size.c, member.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SEGMENT_READ_H
#define PGJ_SEGMENT_READ_H

#include "box.h"
#include "contact/site.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/elog.h"

typedef struct NamedSegment
{
	int segment_id;
	char *name;
	char *predicate;
	char *timezone;
	char *status;
} NamedSegment;

/* explain_member.c: the segment of that name, or an error; within SPI_connect */
extern NamedSegment *pgj_segment_named(const char *name);

/*
 * In the box: now() and dates are meant in this time zone.
 */
extern void pgj_segment_set_timezone(const char *timezone);

/* Run a body in the box, within what an evaluation of a segment may take. */
extern void pgj_segment_ask(const NamedSegment *segment, const Site *site,
							BoxBody body, void *arg);

/* member.c: the first argument, a contact given as any type, as a key. */
extern Datum pgj_contact_argument(FunctionCallInfo fcinfo, const Site *site);

#endif /* PGJ_SEGMENT_READ_H */
