/*-------------------------------------------------------------------------
 *
 * bound.h
 *	  A statement with its parameters, filled one after another.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_BOUND_H
#define PGJ_BOUND_H

#include "datatype/timestamp.h"
#include "executor/spi.h"

#define BOUND_MAX 24

typedef struct Bound
{
	int n;
	Oid types[BOUND_MAX];
	Datum values[BOUND_MAX];
	char nulls[BOUND_MAX];
} Bound;

extern void pgj_bind(Bound *p, Oid type, Datum value, bool isnull);
extern void pgj_bind_int(Bound *p, int value);
extern void pgj_bind_int_or_null(Bound *p, int value, int null);
extern void pgj_bind_text(Bound *p, const char *text); /* may be NULL */
extern void pgj_bind_bool(Bound *p, bool value);
extern void pgj_bind_interval(Bound *p, const Interval *interval); /* as well */
extern void pgj_bind_time(Bound *p, TimestampTz at);

/* Run a statement that yields at most one row; how many it was. */
extern uint64 pgj_bound_run(const char *statement, Bound *p, int expected);

/* The same for a statement that is run many times; *plan starts as NULL. */
extern void pgj_bound_run_many(SPIPlanPtr *plan, const char *statement,
							   Bound *p, int expected);

/* A column of the row it yielded. */
extern int pgj_bound_int(int column);

#endif /* PGJ_BOUND_H */
