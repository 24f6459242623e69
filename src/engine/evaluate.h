/*-------------------------------------------------------------------------
 *
 * evaluate.h
 *	  Evaluate an expression of a version for many contacts at once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_EVALUATE_H
#define PGJ_EVALUATE_H

#include "engine/definition.h"

/* So many contacts may run out of time before the rest is not tried. */
#define PGJ_MAX_TIMEOUTS 10

typedef struct Subject /* whom an expression is evaluated for */
{
	/* in; event_id 0 and enrollment_id 0: there is none */
	Datum contact;
	TimestampTz now;
	int64 event_id;
	TimestampTz event_at;
	int64 enrollment_id;
	const char *key;
	TimestampTz entered_at;

	/* out */
	bool isnull;
	Datum value;
	char *error; /* why it could not be evaluated, or NULL */
} Subject;

/*
 * Evaluate expression "no" for n subjects, in the box.  An error is confined to
 * the subjects that raise it; after ten of them ran out of time in one call the
 * rest is given up too, each with the error.
 */
extern void pgj_evaluate(const Site *site, Version *version, int no,
						 Subject *subjects, int n);

/* The value as a condition: null counts as false. */
static inline bool
pgj_subject_true(const Subject *subject)
{
	return subject->error == NULL && !subject->isnull &&
		   DatumGetBool(subject->value);
}

/*
 * Call body(arg) in a subtransaction.  Returns NULL, or the error after rolling
 * the subtransaction back.
 */
extern ErrorData *pgj_attempt(void (*body)(void *), void *arg);

/*
 * Call body(arg, lo, hi), which must write nothing, in a subtransaction;
 * halve the range on an error until single subjects fail, and report those
 * through failed(arg, i, error).  Time-outs are searched and bounded as by
 * pgj_evaluate.
 */
typedef void (*RangeBody)(void *arg, int lo, int hi);
typedef void (*RangeFailed)(void *arg, int i, char *error);
extern void pgj_guard_range(RangeBody body, RangeFailed failed, void *arg,
							int n);

/* The text stored for an error: message, then SQLSTATE. */
extern char *pgj_error_text(const ErrorData *error);

#endif /* PGJ_EVALUATE_H */
