/*-------------------------------------------------------------------------
 *
 * rewrite.h
 *	  Walks over a query that an author's text became.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_REWRITE_H
#define PGJ_REWRITE_H

#include "nodes/parsenodes.h"

/* The timestamptz that stands for now(), this many query levels down. */
typedef Node *(*NowNode)(int level, void *arg);

/* Replace now() and its relatives; the query is copied. */
extern Query *pgj_rewrite_now(Query *query, NowNode now, void *arg);

/*
 * Throw for what would not be the same tomorrow: volatile functions, sequences,
 * row locks, 'now'.  source: the text that the query's positions point into.
 */
extern void pgj_rewrite_refuse(Query *query, const char *source);

#endif /* PGJ_REWRITE_H */
