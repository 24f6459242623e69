/*-------------------------------------------------------------------------
 *
 * pass.h
 *	  Between the files of this room: evaluating segments and writing who is in
 *	  them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_PASS_H
#define PGJ_PASS_H

#include "capture/event.h"
#include "engine/source.h"
#include "segment/mark.h"
#include "segment/segment.h"

/* A contact to be looked at, and what its segment's predicate says of it. */
typedef struct Check
{
	Datum contact;
	TimestampTz at;
	bool clock; /* nothing but the clock made it due */

	/* out */
	bool exists;
	bool member;
	bool has_next;
	TimestampTz next;
} Check;

typedef enum CheckOutcome
{
	CHECK_DONE,
	CHECK_PUT_OFF,	/* a relation it reads is locked */
	CHECK_SUSPENDED /* the segment has an error, and is suspended */
} CheckOutcome;

/* check.c */

/* Evaluate a segment for contacts, in the box, as the journey owner. */
extern CheckOutcome pgj_segment_check(const Site *site, Segment *segment,
									  Check *checks, int n);

/*
 * The next contacts of the table, in the order of their keys, from after "after"
 * (0: the first).  *all: there are no more.  Allocates in the current context.
 */
extern CheckOutcome pgj_segment_check_next(const Site *site, Segment *segment,
										   TimestampTz at, bool has_after,
										   Datum after, Check **checks, int *n,
										   bool *all);

/*
 * The contacts that links lead to; links: of n the text of each key, key by key.
 * *too_many: there are more than would be looked at one by one.
 */
extern CheckOutcome pgj_segment_find(const Site *site, Segment *segment,
									 const SegmentWatch *watch, Datum **links,
									 int n, TimestampTz at, Datum **contacts,
									 int *ncontacts, bool *too_many);

extern void pgj_segment_suspend(const Site *site, Segment *segment,
								TimestampTz at, const char *error);

/* change.c */

/* A row of journey_state.membership. */
typedef struct Member
{
	bool exists;
	bool member;
	bool has_check;
	TimestampTz since;
	TimestampTz check_at;
} Member;

/* How far the scan of a segment that is being built has got. */
typedef struct ScanPosition
{
	int segment_id;
	bool has_upto;
	Datum upto;
} ScanPosition;

/* What a pass or a scan has changed. */
typedef struct Changes
{
	const Site *site;
	int slice; /* MARK_ALL_SLICES: a scan */
	ScanPosition *positions;
	int npositions;

	EventRow *events; /* to be appended by the caller */
	int nevents;
	int events_capacity;
	TimestampTz first_armed; /* the earliest check written; DT_NOEND */
} Changes;

extern void pgj_changes_init(Changes *changes, const Site *site, int slice);

/* Fill in the positions; that of a segment whose scan is under way, or NULL. */
extern void pgj_changes_load_positions(Changes *changes,
									   const Segments *segments);
extern const ScanPosition *pgj_scan_position(const Changes *changes,
											 const Segment *segment);

/* The members' rows of n contacts, in their order. */
extern Member *pgj_members_load(const Site *site, int segment_id,
								const Check *checks, int n);

/*
 * Write what differs from the rows that are there; flipped[i] says who entered
 * or left.
 */
extern void pgj_members_write(Changes *changes, Segment *segment,
							  const Check *checks, const Member *members, int n,
							  bool *flipped);

/* Look at n contacts again in a few seconds. */
extern void pgj_members_put_off(Changes *changes, Segment *segment,
								const Check *checks, const Member *members,
								int n);

/* In the order of the contact table's keys. */
extern Oid pgj_key_collation(const Site *site);
extern int pgj_compare_keys(const Site *site, Oid collation, Datum a, Datum b);

/* Do flips of this contact count as events? */
extern bool pgj_announces(const Changes *changes, const Segment *segment,
						  Datum contact);

/* How far the segments of a slice have got: lane 'segment' of progress. */
typedef struct SegmentProgress
{
	bool known;		 /* there is a row */
	TimestampTz at;	 /* decisions have been taken up to then */
	Datum seen;		 /* pg_snapshot: marks and events visible in it are done */
	Datum upto;		 /* the one in work; 0 = none */
	int source;		 /* which of the sources is in work, in it */
	Datum after_xid; /* xid8 and id of the last row done in it */
	int64 after_id;
	TimestampTz due_at; /* memberships to be checked by then are done */
	bool changed;
} SegmentProgress;

/* What is to be looked at of one segment: numbers of the pass' contacts. */
typedef struct Todo
{
	Bitmapset *changed;
	Bitmapset *due;
} Todo;

typedef struct Pass
{
	const Site *site;
	int slice;
	TimestampTz at; /* decisions are taken at; replay: those on changes */
	bool replay;
	Segments *segments;
	SegmentProgress progress;

	int ncontacts;
	int contacts_capacity;
	Datum *contacts;
	TimestampTz *contacts_at;
	struct passtable_hash *table;
	Todo *todo; /* of each segment */

	bool scan_wanted; /* by what has changed, now */
	bool marked;	  /* later passes have something to do */
	Changes changes;
	int nappended; /* of the events */
	Mark *marks;   /* to be appended at the end, for the next pass */
	int nmarks;
	int marks_capacity;
} Pass;

/* pass.c: slice MARK_ALL_SLICES: with all slices locked, by a scan */
extern Pass *pgj_pass_begin(const Site *site, int slice, TimestampTz at,
							bool replay, Segments *segments);

/* A contact of the slice is to be looked at. */
extern void pgj_pass_add(Pass *pass, int segment, Datum contact, TimestampTz at,
						 bool clock);
extern void pgj_pass_mark(Pass *pass, Mark mark);

/* Look at all that is to be looked at, by level. */
extern void pgj_pass_work(Pass *pass);

/* follow.c */
extern void pgj_pass_follow_flips(Pass *pass, const Segment *segment,
								  const Check *checks, const bool *flipped,
								  int n);
extern void pgj_pass_settle(Pass *pass,
							void (*append)(const Site *, EventRow *, int));

/* progress.c */
extern void pgj_segment_progress_load(const Site *site, int slice,
									  SegmentProgress *progress);
extern void pgj_segment_progress_store(const Site *site, int slice,
									   const SegmentProgress *progress);

/*
 * A first row of progress, or one at a later time, for a locked slice, or for
 * all (MARK_ALL_SLICES).
 */
extern void pgj_segment_progress_begin(const Site *site, int slice,
									   TimestampTz at);

/* news.c */

/* Does a segment with this watch read events of this name?  events: the table. */
extern bool pgj_watch_reads_event(const SegmentWatch *watch, Oid events,
								  const char *name);

/* A batch of marks and events into the pass; true if these were all. */
extern bool pgj_pass_take_news(Pass *pass);

#endif /* PGJ_PASS_H */
