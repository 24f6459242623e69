/*-------------------------------------------------------------------------
 *
 * capture.h
 *	  Between the files of this room: definitions of captures, and the
 *	  statement a definition compiles to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CAPTURE_H
#define PGJ_CAPTURE_H

#include "access/tupdesc.h"
#include "contact/site.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "utils/relcache.h"
#include "utils/tuplestore.h"

/* Names under which the statement reads the changed rows. */
#define CAPTURE_NEW "pgj_new"
#define CAPTURE_OLD "pgj_old"

typedef struct CaptureDefinition
{
	int capture_id;
	char *event;
	Oid source;
	char *operations;
	char *contact; /* expressions, or a column's name */
	char *at;	   /* or NULL: the statement's time */
	char *properties;
	char *condition; /* or NULL */
} CaptureDefinition;

/*
 * Rows to capture, and for an update as many old ones in the same order.  at is
 * the time of an event whose expression says none.
 */
typedef struct CaptureRows
{
	TupleDesc desc;
	Tuplestorestate *new_rows;
	Tuplestorestate *old_rows; /* NULL for an insert */
	int nrows;
	TimestampTz at;
} CaptureRows;

/* compile.c */

/* Throws 42601 unless source is one expression.  what: its name in messages. */
extern void pgj_capture_check_expression(const char *source, const char *what);

/*
 * The statement over the rows of one statement of the shop: (n, contact, at,
 * properties, hit), n counting from 1 in the order of the stores, or null when
 * rows come in that order, one for each.  hit is null where the condition is
 * not true.
 */
extern char *pgj_capture_compile(const Site *site,
								 const CaptureDefinition *definition,
								 TupleDesc desc, bool update);

/* The same expressions side by side, to be analyzed at creation. */
extern char *pgj_capture_probe(const Site *site,
							   const CaptureDefinition *definition,
							   TupleDesc desc, bool update);

/* capture.c */
extern CaptureDefinition *pgj_capture_load(int capture_id); /* NULL: none */

/* run.c */

typedef struct CapturePlan CapturePlan;

/*
 * The kept plan of a trigger (InvalidOid: a plan for this call only); NULL when
 * its definition is gone.
 */
extern CapturePlan *pgj_capture_plan(Oid trigger, int capture_id, Oid source,
									 bool update);

extern int pgj_capture_plan_id(const CapturePlan *plan);

/*
 * Capture rows: append events for those that go well, and the others to
 * journey_state.capture_error.  Never fails for what an author wrote.  Returns
 * how many rows failed.
 */
extern int pgj_capture_run(const Site *site, CapturePlan *plan,
						   const CaptureRows *rows);

/* The same for a session in which no author's text may run: all rows fail. */
extern void pgj_capture_defer(const Site *site, CapturePlan *plan,
							  const CaptureRows *rows);

/* Analyze a definition, as the first run would; throws. */
extern void pgj_capture_analyze(const Site *site,
								const CaptureDefinition *definition, Oid source,
								TupleDesc desc, bool update);

/* error.c */

typedef struct CaptureError
{
	int capture_id;
	TimestampTz at;
	const char *sqlstate;
	const char *message;
	Datum old_row; /* jsonb, 0: none */
	Datum new_row;
} CaptureError;

extern void pgj_capture_error_append(const Site *site,
									 const CaptureError *errors, int n);

/* A row as jsonb, made without functions a user may have written. */
extern Datum pgj_capture_row_image(TupleTableSlot *slot);

#endif /* PGJ_CAPTURE_H */
