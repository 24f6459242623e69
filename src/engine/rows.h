/*-------------------------------------------------------------------------
 *
 * rows.h
 *	  Rows of a batch that wait to be written.
 *
 * They are written by a statement whose parameters are one array per column, or
 * appended to a partitioned log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ROWS_H
#define PGJ_ROWS_H

#include "append.h"
#include "plan.h"

/* stands for the contact's key type among the types of a statement's columns */
#define KEYOID ANYELEMENTOID

typedef struct RowBuffer
{
	KeptPlan *plan;	  /* or NULL: append to rows.table */
	const Oid *types; /* of the columns, for the plan */
	MemoryContext context;
	int capacity;
	AppendRows rows;
} RowBuffer;

extern void pgj_rows_init(RowBuffer *buffer, KeptPlan *plan, const Oid *types,
						  int ncolumns, MemoryContext context);
extern void pgj_rows_init_append(RowBuffer *buffer, const char *table,
								 const char *const *columns, int ncolumns,
								 MemoryContext context);

/* values and nulls have one entry per column; nulls may be NULL */
extern void pgj_rows_add(RowBuffer *buffer, const Datum *values,
						 const bool *nulls);
extern void pgj_rows_flush(const Site *site, RowBuffer *buffer);

#endif /* PGJ_ROWS_H */
