/*-------------------------------------------------------------------------
 *
 * segment.h
 *	  Segments in memory, and the passes that keep memberships current.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SEGMENT_H
#define PGJ_SEGMENT_H

#include "contact/site.h"
#include "datatype/timestamp.h"
#include "engine/source.h"
#include "executor/spi.h"
#include "nodes/pg_list.h"
#include "pg_journey.h"

#define SEGMENT_MAX_NAME 100

/*
 * How many contacts are evaluated at once.  After a time-out few are, and from
 * there on more again, up to half of what took too long.
 */
typedef struct Portion
{
	int rows; /* 0: not chosen yet */
	int most;
} Portion;

typedef struct SegmentWatch /* journey.segment_watch */
{
	int watch_id;
	Oid relation;
	char kind; /* 'c'ontact, 'l'ink, 'a'll */
	int nkeys;
	char *find; /* quoted name of the function, or NULL */
	List *event_names;
} SegmentWatch;

typedef struct Segment
{
	int segment_id;
	char *name;
	char *timezone;
	Interval *refresh_every;
	int revision;
	int level;
	bool opaque;
	bool building;
	bool suspended;
	bool announce;
	int nwatches;
	SegmentWatch *watches;
	List *needed_by;  /* int list of segment ids */
	SPIPlanPtr check; /* NULL until first used */
	SPIPlanPtr scan;
	uint32 uses;	 /* of check */
	Portion checked; /* contacts at once */
	Portion scanned;
} Segment;

typedef struct Segments
{
	int n;
	Segment *all; /* by level, then id */
} Segments;

/* segments.c: all segments, kept until a definition changes. */
extern Segments *pgj_segments(const Site *site);
extern Segment *pgj_segment_by_id(Segments *segments, int segment_id);

/*
 * pass.c: bring the memberships of a locked slice's contacts up to "at": what
 * committed changes have marked, and what the clock has made due.  One bounded
 * batch; *more is set if something is left.  replay: marks count as of the
 * slice's progress, and what falls due by "at" is evaluated at its own instant.
 *
 * Contacts that enter or leave are written to journey_state.event with xid 0
 * ("done already") and returned, for the caller to decide on in the same
 * transaction.
 */
extern SourceEvent *pgj_segment_pass(const Site *site, int slice,
									 TimestampTz at, bool replay, int *nevents,
									 bool *more);

/*
 * scan.c: one bounded batch of the scan that is wanted most, over contacts of all
 * slices, whose locks it takes (in order, waiting).  False when no scan is
 * wanted at "at".  Its events go the usual way (their xid is the transaction's).
 */
extern bool pgj_segment_scan(const Site *site, TimestampTz at);

/* Called when the library is loaded: puts these into pgj_engine_source. */
extern void pgj_segment_init(void);

#endif /* PGJ_SEGMENT_H */
