/*-------------------------------------------------------------------------
 *
 * append.h
 *	  Append rows to a table of journey_state, partitioned or not.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_APPEND_H
#define PGJ_APPEND_H

#include "contact/site.h"

#define APPEND_MAX_COLUMNS 24

/* Rows by column: values[column][row], nulls[column][row]. */
typedef struct AppendRows
{
	const char *table; /* in schema journey_state */
	int ncolumns;
	const char *const *columns;
	int nrows;
	Datum *values[APPEND_MAX_COLUMNS];
	bool *nulls[APPEND_MAX_COLUMNS];
} AppendRows;

/* Room for nrows rows, all columns not null, in the current context. */
extern void pgj_append_init(AppendRows *rows, const char *table,
							const char *const *columns, int ncolumns,
							int nrows);

/*
 * Append rows as the journey owner: one multi-insert per table, past
 * triggers and rules.  Check constraints and expression indexes that somebody
 * put on the table run in a security-restricted operation.  Columns that are not
 * named become null.
 */
extern void pgj_append(const Site *site, const AppendRows *rows);

/* The oid of a relation of journey_state, which must exist. */
extern Oid pgj_state_relation(const char *name);

#endif /* PGJ_APPEND_H */
