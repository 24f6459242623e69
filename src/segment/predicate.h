/*-------------------------------------------------------------------------
 *
 * predicate.h
 *	  What is found out about a segment's predicate when it is created.
 *
 * source → parse and analyze (compile.c) → expand views, SQL functions and CTEs
 * (expand.c) → how changes lead to contacts (trace.c), when time flips it
 * (boundary.c) → statements, wrapped in functions of journey_state (compile.c).
 * All of it runs in the box, on trees that PostgreSQL's own analyzer made.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_PREDICATE_H
#define PGJ_PREDICATE_H

#include "contact/site.h"
#include "nodes/parsenodes.h"

/*
 * now() and its relatives in an expanded query: Param of kind PARAM_EXTERN, type
 * timestamptz, this number.  It counts no query levels, so that parts of the
 * tree can be moved about.
 */
#define PREDICATE_NOW 1

typedef enum WatchKind
{
	WATCH_CONTACT, /* the key column holds the contact's key */
	WATCH_LINK,	   /* the key columns lead to contacts by "find" */
	WATCH_ALL	   /* any change concerns every contact */
} WatchKind;

/* How changed rows of a relation lead to contacts; a row of journey.watch and one of journey.segment_watch. */
typedef struct Watch
{
	Oid relation;
	WatchKind kind;
	List *key;		   /* int list of attribute numbers; NIL for WATCH_ALL */
	bool null_is_all;  /* a row whose key is null concerns every contact */
	bool whole_row;	   /* all columns are read */
	List *columns;	   /* int list of those that are read, key included */
	List *event_names; /* journey_state.event: list of char *; NIL = all */
	Query *
		find; /* WATCH_LINK: SELECT DISTINCT key from contacts that the values of
						* $1, $2, … (text[], one for each key column, of equal length) lead to */
} Watch;

/* What cannot be followed, so that the segment is evaluated again every refresh_every. */
typedef struct OpaquePart
{
	char *source; /* as the author wrote it, or deparsed */
	char *why;	  /* a sentence without its full stop */
} OpaquePart;

/* A condition on time. */
typedef struct BoundaryPart
{
	char *source; /* deparsed */
	char *sql;	  /* deparsed: its next flip */
} BoundaryPart;

typedef struct Predicate
{
	const Site *site;
	const char *source;
	bool stored; /* comes from a segment's function, expanded before */

	/*
	 * SELECT key, predicate FROM contacts c, analyzed and expanded: no views, no
	 * SQL functions that can be looked into, no CTEs but recursive ones, calls of
	 * journey.in_segment() replaced by sub-selects on journey_state.membership.
	 * The contact table is range table entry PREDICATE_CONTACT.
	 */
	Query *query;
	List *needs;	 /* int list: segments asked for by in_segment() */
	List *views;	 /* oid list: those that were looked into */
	List *functions; /* oid list: the same */

	List *watches; /* of Watch, no two alike */
	Expr *
		next; /* timestamptz over query: no later than the next flip; NULL: time does not flip it */
	List *boundaries; /* of BoundaryPart */
	List *opaque;	  /* of OpaquePart */
} Predicate;

#define PREDICATE_CONTACT 1
#define predicate_condition(p) \
	(lsecond_node(TargetEntry, (p)->query->targetList)->expr)

/* expand.c: fill in query from an analyzed one; sets needs */
extern void pgj_predicate_expand(Predicate *predicate, Query *analyzed);

/* source.c: a view or a function was looked into */
extern void pgj_predicate_source(Predicate *predicate, bool view, Oid object);

/* trace.c: sets watches, adds to opaque */
extern void pgj_predicate_trace(Predicate *predicate);

/* boundary.c: sets next and boundaries, adds to opaque */
extern void pgj_predicate_boundary(Predicate *predicate);

/* Add to opaque, unless it is there already. */
extern void pgj_predicate_opaque(Predicate *predicate, Node *part,
								 const char *why);

/* Deparse an expression over the query (or a sub-query of it), for people. */
extern char *pgj_predicate_deparse(const Predicate *predicate, Node *part);

#endif /* PGJ_PREDICATE_H */
