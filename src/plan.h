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

#define PGJ_MAX_PARAMS 24

/*
 * A statement and its kept plan; a static variable, zero but for sql.  sql may
 * be set anew before each execution (it then is copied): the plan is made again
 * when the text, the key's type or a parameter's has changed, as that of a row does
 * when the extension is dropped and made again.
 */
typedef struct KeptPlan
{
	const char *sql;

	/* private */
	char *planned_sql;
	Oid planned_key_type;
	Oid planned_type[PGJ_MAX_PARAMS];
	SPIPlanPtr plan;
	uint32 uses; /* of this and earlier plans */
} KeptPlan;

/*
 * The parameters of one execution: columns (arrays of nrows elements each) and
 * scalars, numbered $1, $2, … in the order they are added.
 */
typedef struct Params
{
	const Site *site;
	int nrows;
	int count;
	Oid type[PGJ_MAX_PARAMS];	   /* element type of a column */
	Datum *values[PGJ_MAX_PARAMS]; /* one element if scalar */
	bool *nulls[PGJ_MAX_PARAMS];
	bool is_column[PGJ_MAX_PARAMS];
} Params;

extern void pgj_params_init(Params *params, const Site *site, int nrows);

/* Begin with $1 = 0 … nrows - 1 and $2 = contacts; fill the returned keys. */
extern Datum *pgj_params_contacts(Params *params, const Site *site, int nrows);

/*
 * Add a column; fill the returned elements.  nulls may be NULL, else it gets
 * the elements' null flags, all false.
 */
extern Datum *pgj_params_column(Params *params, Oid element_type, bool **nulls);

/* Add a column that is filled already. */
extern void pgj_params_filled(Params *params, Oid element_type, Datum *values,
							  bool *nulls);
extern void pgj_params_scalar(Params *params, Oid type, Datum value);
extern void pgj_params_nullable(Params *params, Oid type, Datum value,
								bool isnull);

/*
 * Execute within SPI_connect, with a snapshot of its own (READ COMMITTED), and
 * come back in the caller's memory context.  Returns SPI_processed; rows are in
 * SPI_tuptable.
 */
extern uint64 pgj_plan_execute(KeptPlan *plan, const Params *params);

/* The same, seeing all that has committed also where the transaction would not. */
extern uint64 pgj_plan_execute_latest(KeptPlan *plan, const Params *params);

/* The same, seeing what a snapshot sees. */
extern uint64 pgj_plan_execute_snapshot(KeptPlan *plan, const Params *params,
										Snapshot snapshot);

/* For plans made elsewhere: what SPI_prepare and SPI_execute_plan want. */
extern void pgj_params_types(const Params *params, Oid *types);
extern void pgj_params_values(const Params *params, Datum *values, char *nulls);

/* Column "column", from 1, of row "row", from 0, of SPI_tuptable. */
extern Datum pgj_row_value(uint64 row, int column); /* must not be null */
extern Datum pgj_row_nullable(uint64 row, int column, bool *isnull);
extern bool pgj_row_null(uint64 row, int column);
extern int pgj_row_int4(uint64 row, int column, int if_null);
extern int64 pgj_row_int8(uint64 row, int column, int64 if_null);
extern char *pgj_row_text(MemoryContext context, uint64 row,
						  int column); /* NULL if null */

/* A text to be written; null if it is NULL. */
extern Datum pgj_text_or_null(const char *text, bool *isnull);

/* A value copied out of SPI's memory. */
extern Datum pgj_row_copy(MemoryContext context, uint64 row, int column);

#endif /* PGJ_PLAN_H */
