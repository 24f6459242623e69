/*-------------------------------------------------------------------------
 *
 * expression_rewrite.h
 *	  Walks over an analyzed expression.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_EXPRESSION_REWRITE_H
#define PGJ_EXPRESSION_REWRITE_H

#include "nodes/parsenodes.h"

/* Does a lateral sub-query read entry rtindex of the query it stands in? */
extern bool pgj_expression_uses(RangeTblEntry *subquery, int rtindex);

/*
 * Replace now() and its relatives by column attno (a timestamptz) of range
 * table entry rtindex of the outermost query.
 */
extern Query *pgj_expression_fix_now(Query *query, int rtindex, int attno);

#endif /* PGJ_EXPRESSION_REWRITE_H */
