/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  Set-based statements over arrays, planned once per session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_PLAN_H
#define PGJ_PLAN_H

#include "contact/site.h"
#include "executor/spi.h"

/*
 * A statement and its kept plan; a static variable, zero but for sql.  sql may
 * be set anew before each execution (it then is copied): the plan is made again
 * when the text or the key's type has changed.
 */
typedef struct KeptPlan
{
	const char *sql;

	/* private */
	char	   *planned_sql;
	Oid			planned_key_type;
	SPIPlanPtr	plan;
	uint32		uses;			/* of this and earlier plans */
} KeptPlan;

#define PGJ_MAX_PARAMS	24

/*
 * A kept plan is made again after its 4th, 8th, 16th … use: one that was made
 * while a table was empty joins it from the wrong end, and as long as nothing
 * analyzes the table, nothing else would have it made again.
 */
static inline bool
pgj_plan_is_stale(uint32 uses)
{
	return uses >= 4 && (uses & (uses - 1)) == 0;
}

/*
 * The parameters of one execution: columns (arrays of nrows elements each) and
 * scalars, numbered $1, $2, … in the order they are added.
 */
typedef struct Params
{
	const Site *site;
	int			nrows;
	int			count;
	Oid			type[PGJ_MAX_PARAMS];	/* element type of a column */
	Datum	   *values[PGJ_MAX_PARAMS]; /* one element if scalar */
	bool	   *nulls[PGJ_MAX_PARAMS];
	bool		is_column[PGJ_MAX_PARAMS];
} Params;

extern void pgj_params_init(Params *params, const Site *site, int nrows);

/*
 * Add a column; fill the returned elements.  nulls may be NULL, else it gets
 * the elements' null flags, all false.
 */
extern Datum *pgj_params_column(Params *params, Oid element_type, bool **nulls);
extern void pgj_params_scalar(Params *params, Oid type, Datum value);

/*
 * Execute within SPI_connect, with a snapshot of its own (READ COMMITTED).
 * Returns SPI_processed; rows are in SPI_tuptable.
 */
extern uint64 pgj_plan_execute(KeptPlan *plan, const Params *params);

/* Columns of a row of SPI_tuptable that must not be null. */
extern Datum pgj_row_value(uint64 row, int column);
extern char *pgj_row_text(MemoryContext context, uint64 row, int column);	/* NULL if null */
extern bool pgj_row_null(uint64 row, int column);

/* A value copied out of SPI's memory. */
extern Datum pgj_row_copy(MemoryContext context, uint64 row, int column);

#endif							/* PGJ_PLAN_H */
