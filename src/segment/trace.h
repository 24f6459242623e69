/*-------------------------------------------------------------------------
 *
 * trace.h
 *	  A predicate laid out flat: its queries, and all they read from.
 *
 * Each range table entry of each query has a number of its own, its place: that
 * of the contact's row is PREDICATE_CONTACT.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_TRACE_H
#define PGJ_TRACE_H

#include "nodes/primnodes.h"
#include "segment/predicate.h"

typedef enum LevelKind
{
	LEVEL_TOP,
	LEVEL_SUBLINK, /* a sub-select in an expression of the parent */
	LEVEL_FROM,	   /* in the parent's range table: FROM, or an arm of a UNION */
	LEVEL_CTE	   /* a recursive WITH query */
} LevelKind;

typedef struct Level
{
	Query *query;
	struct Level *parent;
	int base; /* the place of range table entry i is base + i */
	LevelKind kind;

	/* LEVEL_FROM */
	int rtindex; /* in the parent */

	/* LEVEL_SUBLINK */
	SubLink *sublink;
	ScalarArrayOpExpr *array_test; /* x = ANY (ARRAY (this one)) */
	bool in_targets;   /* stands among the parent's targets or in its HAVING */
	bool nulls_matter; /* it is not all one whether it yields null or false */

	/* output columns that somebody reads */
	bool all_used;
	Bitmapset *used;

	bool on_path; /* scratch: of the row that is being traced */
} Level;

typedef struct Place
{
	Level *level;
	int rtindex;
	RangeTblEntry *rte;
	Level *child;		/* RTE_SUBQUERY */
	bool nullable;		/* an outer join can make it all null */
	bool whole_row;		/* is read */
	Bitmapset *columns; /* that are read */
} Place;

typedef struct Trace
{
	Predicate *predicate;
	AttrNumber key; /* the contact's key */
	List *levels;	/* parents first */
	int nplaces;
	Place *places; /* from 1 */
} Trace;

#define trace_place(trace, n) (&(trace)->places[n])

/* layout.c */
extern Trace *pgj_trace_layout(Predicate *predicate);
extern Level *pgj_trace_level_of(const Trace *trace, const Query *query);
extern Level *pgj_trace_level_up(Level *level, int levels);

/*
 * correlate.c: how a changed row at a place leads to contacts, as watches without
 * relation and columns.  More than one if it leads there in one way or another.
 */
extern List *pgj_trace_correlate(Trace *trace, int place);

/* find.c: the query of a link; conditions are over places */
extern Query *pgj_trace_find(const Trace *trace, const List *path,
							 List *conditions, List *key);
extern Query *pgj_trace_find_either(Query *one, Query *other, int nkeys);

/* opaque.c: functions that nobody can look into, tables that tell nothing */
extern void pgj_trace_functions(Predicate *predicate);
extern bool pgj_trace_can_watch(Predicate *predicate, RangeTblEntry *rte);

#endif /* PGJ_TRACE_H */
