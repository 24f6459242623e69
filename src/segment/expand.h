/*-------------------------------------------------------------------------
 *
 * expand.h
 *	  What the files that look into a predicate share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_EXPAND_H
#define PGJ_EXPAND_H

#include "segment/predicate.h"

typedef struct Expansion
{
	Predicate *predicate;
	List *inside; /* oids of the views and functions being looked into */
} Expansion;

/* expand.c: a query with everything in it looked into; the argument is used up */
extern Query *pgj_expand_query(Query *query, Expansion *expansion);
extern Node *pgj_expand_node(Node *node, Expansion *expansion);

/* refuse.c: throw for what a predicate must not do, in a text just analyzed */
extern void pgj_predicate_refuse(Query *query, const char *source);

/* inline.c: no argument named, no default left out; in place */
extern void pgj_complete_calls(Query *query);

/* inline.c: the body in the place of a call; NULL if it cannot be looked into */
extern Node *pgj_inline_call(FuncExpr *call, Expansion *expansion);
extern Query *pgj_inline_table_call(FuncExpr *call, Expansion *expansion);

/* inline.c: put the n-th node in the place of $n, however many levels down */
extern Node *pgj_replace_params(Node *node, List *args);

/* Is this a call of journey.in_segment()?  The sub-select that answers it. */
extern bool pgj_is_in_segment(const FuncExpr *call);
extern Node *pgj_replace_in_segment(FuncExpr *call, Expansion *expansion);

/* The segment such a sub-select asks for, or 0: a stored predicate has them. */
extern int pgj_segment_asked(const SubLink *link);

#endif /* PGJ_EXPAND_H */
