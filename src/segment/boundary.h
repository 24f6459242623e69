/*-------------------------------------------------------------------------
 *
 * boundary.h
 *	  What the parts of the analysis of time share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_BOUNDARY_H
#define PGJ_BOUNDARY_H

#include "segment/predicate.h"

/* A condition on time, found at some query level, and when it flips. */
typedef struct Flip
{
	Node *source; /* in the predicate's tree */
	Expr *next;	  /* timestamptz */
	Expr *ahead;  /* true of every row that it can flip for yet; NULL: of any */
} Flip;

typedef struct Boundary
{
	Predicate *predicate;
	Node *part; /* of the predicate's own tree: what is being looked at */
	bool made;	/* the nodes at hand were made up and are not in that tree */
	int depth;	/* of sub-selects around what is being looked at */
	Oid flip;	/* journey._flip() */
} Boundary;

/* boundary.c */
extern bool pgj_boundary_has_now(Node *node);

/*
 * When can the value of an expression change?  A list of Flip at its query
 * level, of which the earliest counts.  As long as none has come, everything in the
 * expression but now() itself stays as it is.  condition: only whether it is true
 * matters.
 */
extern List *pgj_boundary_flips(Boundary *boundary, Node *node, bool condition);
extern Flip *pgj_boundary_flip(Node *source, Expr *next, Expr *ahead);
extern Expr *pgj_boundary_least(List *flips); /* of their next */
extern void pgj_boundary_opaque(Boundary *boundary, const char *why);

/* Do as pgj_boundary_flips, for a node that is not in the predicate's tree. */
extern List *pgj_boundary_flips_made(Boundary *boundary, Node *node,
									 bool condition);

/* The conditions of a CASE, without its argument. */
extern List *pgj_boundary_case_conditions(CaseExpr *expr);

/*
 * boundary_comparison.c: the flips of what compares values.  False: nothing can be
 * said, and *flips is void.
 */
extern bool pgj_boundary_comparison(Boundary *boundary, Node *node,
									bool condition, List **flips);

/*
 * boundary_atom.c: the flips of a comparison of two expressions, by a strategy of a
 * btree operator family, or (op 0) of their order.  False: it has no solution.
 */
extern bool pgj_boundary_compare(Boundary *boundary, Oid family, Oid left_type,
								 Oid right_type, int strategy, Oid collation,
								 Node *left, Node *right, List **flips);

/* The flips of a value that is constant for a while.  False: it has no solution. */
extern bool pgj_boundary_change(Boundary *boundary, Node *node, List **flips);

/* boundary_query.c: the flips of a sub-select's result, at the level around it */
extern List *pgj_boundary_sublink(Boundary *boundary, SubLink *link,
								  bool condition);

/* boundary_build.c: sub-selects that yield the least of flips */

/* A copy of a query down to FROM and WHERE. */
extern Query *pgj_boundary_bare(Query *query);

/* A flip one level up. */
extern Flip *pgj_boundary_hoisted(Flip *flip);

/* The least of flips over the rows of "from", as flips of the level around. */
extern List *pgj_boundary_over_rows(Query *query, FromExpr *from, List *flips);

/* (SELECT min(x.next) FROM (query) AS x), for a query at the level it is called at */
extern Expr *pgj_boundary_least_of_query(Query *query, Expr *next);

/* boundary_rows.c: what an expression uses, and what is left of FROM */

/* The relations and joins of its own level; *any: whether it uses that level at all. */
extern Bitmapset *pgj_boundary_used(Node *node, bool *any);

/* The relations and joins below a node of a join tree. */
extern Bitmapset *pgj_boundary_below(Node *node);

/* Split a condition into those of its parts with the time and those without. */
extern void pgj_boundary_split(Node *quals, List **with_now, List **free);
extern Node *pgj_boundary_all_of(List *conditions);

/*
 * A join tree without the conditions that have the time in them, as far as rows are
 * only more without them.
 */
extern Node *pgj_boundary_without_now(Node *node, bool nullable);

/*
 * A join tree without a relation, and without what cannot do without it.  No row of
 * those relations that are left is missing.
 */
extern Node *pgj_boundary_without_relation(Node *node, int relation);

/* Is the entry of a target list among those that clauses sort or group by? */
extern bool pgj_boundary_is_sorted_by(List *clauses, TargetEntry *entry);

/*
 * boundary_narrow.c: sub-selects, restricted to the rows that the query around
 * them makes use of.  The query itself if nothing can be said.
 */
extern Query *pgj_boundary_narrow_entry(Query *query, int relation);
extern Query *pgj_boundary_narrow_link(Boundary *boundary, SubLink *link,
									   bool condition);

#define STRATEGY_SIGN 0

#endif /* PGJ_BOUNDARY_H */
