/*-------------------------------------------------------------------------
 *
 * expression.h
 *	  An SQL expression of a script, checked and compiled to one set-based
 *	  statement.
 *
 * Parameters of every compiled statement (arrays of equal length; an element
 * may be NULL where the scope has no such thing):
 *
 *	 $1 int4[]			n, the caller's ordinal
 *	 $2 key[]			contact
 *	 $3 timestamptz[]	now: what now(), current_timestamp, current_date … mean
 *	 $4 int8[]			event id
 *	 $5 timestamptz[]	event time
 *	 $6 int8[]			enrollment id
 *	 $7 text[]			enrollment key
 *	 $8 timestamptz[]	entered_at
 *
 * It yields (n int4, value T), one row per n, in any order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_EXPRESSION_H
#define PGJ_EXPRESSION_H

#include "contact/site.h"

typedef enum ExpressionScope
{
	EXPRESSION_ENTRY,	 /* c, event: the event that would start a run */
	EXPRESSION_RUN,		 /* c, e, event: the event that started the run */
	EXPRESSION_RUN_EVENT /* c, e, event: the event at hand */
} ExpressionScope;

/*
 * Compile source, which starts at byte "offset" of script, to a statement whose
 * value has type "result" (boolean must be boolean; text takes anything; the
 * others take what has an assignment cast).  Runs in the box.
 *
 * Returns the statement, or NULL with *error set (cursorpos is then the byte
 * offset into script, from 0): not an expression, unknown column, wrong type, aggregate, window or
 * set-returning function, volatile function, a relation the owner cannot read.
 */
extern char *pgj_expression_compile(const Site *site, const char *script,
									const char *source, int offset,
									ExpressionScope scope, Oid result,
									ErrorData **error);

/*
 * The one expression a text consists of, as a raw parse tree; in the box.  Errors
 * have their position in the text.
 */
extern struct Node *pgj_expression_parse(const char *source);

/*
 * Settings under which a constant is written the same whatever the author's are,
 * and every name qualified; in the box, which undoes it.
 */
extern void pgj_expression_output_format(void);

#endif /* PGJ_EXPRESSION_H */
