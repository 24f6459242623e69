/*-------------------------------------------------------------------------
 *
 * correlate.h
 *	  Between the files that find the way from a changed row to contacts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CORRELATE_H
#define PGJ_CORRELATE_H

#include "nodes/bitmapset.h"
#include "segment/trace.h"

/* A condition that holds once each of its needs is met. */
typedef struct Fact
{
	Node *condition;	 /* over places (varno), no sub-selects in it */
	List *needs;		 /* of Bitmapset: one place of each must not be null */
	Bitmapset *not_null; /* places that are not null if it holds */
	int left;			 /* an equality of two places; else 0 */
	int right;
	bool null_is_all;
	bool holds;
} Fact;

/* One of these holds, once the needs are met. */
typedef struct Choice
{
	List *arms; /* over places */
	List *needs;
} Choice;

typedef struct Correlation
{
	Trace *trace;
	List *facts;
	List *choices;
	Bitmapset *not_null;
	int start;
} Correlation;

/*
 * over.c: expressions without sub-selects, in terms of places (varno) instead of
 * range table entries.
 */
extern Node *pgj_over_places(Trace *trace, Level *level, Node *node);

/* An output column of a sub-select in terms of what is inside, or NULL. */
extern Node *pgj_output_over_places(Trace *trace, Level *level,
									AttrNumber column);

/* Can an aggregate yield a row though none goes in? */
extern bool pgj_yields_without_rows(const Query *query);

/*
 * The one place an expression is over, or 0.  It must be null if a column is,
 * and come out the same whenever it is computed.
 */
extern int pgj_place_of(Node *expr);
extern bool pgj_is_equality(Oid op, Node *left);
extern bool pgj_can_be_null(const Trace *trace, Node *expr);
extern Node *pgj_strip_relabel(Node *node);

/* way.c: the shortest way by what holds */
extern void pgj_find_way(Correlation *correlation, Watch *watch);

/* way.c: the names that rows of journey_state.event must have to matter */
extern List *pgj_event_names(Correlation *correlation);

#endif /* PGJ_CORRELATE_H */
