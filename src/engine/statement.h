/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  The engine's own statements: kept plans over arrays, and buffers of rows
 *	  to be written by one of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_STATEMENT_H
#define PGJ_STATEMENT_H

#include "contact/site.h"
#include "executor/spi.h"

#define STATEMENT_MAX_ARGS 20

/* stand for the contact's key type and its array in Statement.argtypes */
#define KEYOID		ANYELEMENTOID
#define KEYARRAYOID ANYARRAYOID

typedef struct Statement
{
	const char *sql;
	int			nargs;
	Oid			argtypes[STATEMENT_MAX_ARGS];

	/* private: the kept plan and the key type it was made for */
	SPIPlanPtr	plan;
	Oid			plan_key;
	uint32		uses;
} Statement;

/*
 * Run a statement within the caller's SPI connection; the result is in
 * SPI_tuptable.  nulls is NULL or 'n' per null argument.
 */
extern void pgj_statement_run(const Site *site, Statement *statement,
							  Datum *args, const char *nulls);

/* A one-dimensional array from values (nulls may be NULL). */
extern Datum pgj_array(Oid element, const Datum *values, const bool *nulls,
					   int n);
extern Datum pgj_key_array(const Site *site, const Datum *values, int n);
extern Datum pgj_text_array(char **values, int n);	/* NULL elements allowed */

/* The value of column "col" (1-based) of row "row" of SPI_tuptable. */
extern Datum pgj_spi_value(uint64 row, int col, bool *isnull);
extern char *pgj_spi_text(uint64 row, int col);	/* NULL if null */
extern int64 pgj_spi_int8(uint64 row, int col, int64 if_null);
extern int	pgj_spi_int4(uint64 row, int col, int if_null);

/*
 * Rows waiting to be written: by a statement whose arguments are one array per
 * column, or appended to a partitioned log.
 */
typedef struct RowBuffer
{
	Statement  *statement;		/* or NULL: append to table */
	const char *table;
	const char *const *columns;
	int			ncolumns;
	MemoryContext context;
	int			nrows;
	int			capacity;
	Datum	   *values[STATEMENT_MAX_ARGS];
	bool	   *nulls[STATEMENT_MAX_ARGS];
} RowBuffer;

extern void pgj_rows_init(RowBuffer *buffer, Statement *statement,
						  MemoryContext context);

extern void pgj_rows_init_append(RowBuffer *buffer, const char *table,
								 const char *const *columns, int ncolumns,
								 MemoryContext context);

/* values and nulls have one entry per column */
extern void pgj_rows_add(RowBuffer *buffer, const Datum *values,
						 const bool *nulls);
extern void pgj_rows_flush(const Site *site, RowBuffer *buffer);

#endif							/* PGJ_STATEMENT_H */
