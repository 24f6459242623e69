/*-------------------------------------------------------------------------
 *
 * mark.h
 *	  Between the files of this room: marks, and what a table's rows say of
 *	  contacts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_MARK_H
#define PGJ_MARK_H

#include "access/tupdesc.h"
#include "contact/site.h"
#include "datatype/timestamp.h"
#include "fmgr.h"

#define MARK_ALL_SLICES (-1)

/* A row of journey_state.mark; neither contact nor link: all contacts. */
typedef struct Mark
{
	int watch_id;
	int slice;
	bool has_contact;
	bool has_link;
	Datum contact; /* of the site's key type */
	Datum link;	   /* text[] */
} Mark;

/* mark.c: append as the journey owner, with this transaction's xid. */
extern void pgj_marks_append(const Site *site, const Mark *marks, int nmarks,
							 TimestampTz at);

/* {value} */
extern Datum pgj_mark_link(const char *value);

/* How a column's value becomes a contact's key. */
typedef enum KeyConversion
{
	KEY_SAME,
	KEY_INT2,
	KEY_INT4,
	KEY_BPCHAR, /* without the blanks at its end */
	KEY_NAME,
	KEY_UNKNOWN /* not known how: all contacts */
} KeyConversion;

typedef struct WatchedKey
{
	AttrNumber number; /* in the relation at hand */
	KeyConversion conversion;
	FmgrInfo output; /* for links */
} WatchedKey;

/* A row of journey.watch, seen from the relation a statement was about. */
typedef struct Watched
{
	int watch_id;
	char kind; /* 'c'ontact, 'l'ink, 'a'll */
	bool null_is_all;
	int nkeys;
	WatchedKey *keys;
	int ncolumns; /* those that any segment reads; -1: the whole row */
	AttrNumber *columns;
} Watched;

typedef struct WatchedRelation
{
	Oid relation; /* hash key */
	bool stale;
	bool plain_output; /* no setting changes the text of the keys */
	MemoryContext context;
	Oid key_type;
	int nfamily; /* the relation, what it inherits from, what inherits from it */
	Oid *family;
	int n;
	Watched *watches;
} WatchedRelation;

/*
 * watched.c: the watches of a relation, from a cache that lives until a
 * definition or the relation changes.  Needs no rights.  Valid until called
 * again.
 */
extern WatchedRelation *pgj_watched(const Site *site, Oid relation,
									TupleDesc desc);

#endif /* PGJ_MARK_H */
