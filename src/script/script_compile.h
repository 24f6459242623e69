/*-------------------------------------------------------------------------
 *
 * script_compile.h
 *	  From a script's tree to the rows of a version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SCRIPT_COMPILE_H
#define PGJ_SCRIPT_COMPILE_H

#include "contact/site.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "script/expression.h"
#include "script/script.h"
#include "utils/date.h"

/* Something wrong in a script. */
typedef struct Problem
{
	int offset; /* byte in the script */
	int sqlstate;
	char *message;
	char *detail; /* or NULL */
	char *hint;	  /* or NULL */
} Problem;

/* An expression, where it stands and what it must yield. */
typedef struct CompiledExpression
{
	ScriptExpr *expr;
	ExpressionScope scope;
	Oid result;
	char *source;	 /* as written, but for WAIT (interval) */
	char *statement; /* set-based; NULL until compiled */
} CompiledExpression;

/* A row of journey.step. */
typedef struct StepRow
{
	const ScriptStep *step;
	const ScriptArm *arm; /* of an IF; else NULL */
	const char *label;	  /* or NULL */
	int next_step;		  /* 0 = the end of the journey */
	int else_step;		  /* -1 = none */
	int of_step;		  /* 0 = none */
	Interval *duration;	  /* or NULL */
	int priority;		  /* of a SEND */
	Interval *capped_within;
	Interval *best_time_within;
	TimeADT local_time; /* of a WAIT UNTIL with a time of day */
	bool days[8];		/* ISO: 1 is Monday; set in days[0] if some are named */
} StepRow;

typedef struct Compilation
{
	const Site *site;
	const char *text;
	int *lines; /* offsets at which lines start */
	int nlines;
	Script *script;
	List *problems;	   /* of Problem */
	List *expressions; /* of CompiledExpression, in the order of the text */
	StepRow *steps;	   /* nsteps; step_no 1 is steps[0] */
	int nsteps;

	/* clauses, checked */
	double holdout; /* fraction */
	int priority;
	const char *topic;
	Interval *goal_within;
	Interval *reentry_after;
	int limit; /* 0 = none */
	Interval *limit_per;
} Compilation;

/*
 * Compile a script.  Throws one error that lists everything found wrong.
 * To be called as the journey owner, with SPI connected.
 */
extern Compilation *pgj_script_compile(const Site *site, const char *text);

/* script_check.c */
extern void pgj_problem_add(Compilation *c, int offset, int sqlstate,
							char *message, char *hint);
extern int pgj_script_line(Compilation *c, int offset);

/* script_step.c: numbers, durations, times of day; what is not given is NULL */
extern double pgj_script_number(const ScriptText *text);
extern int pgj_script_check_whole(Compilation *c, const ScriptText *text,
								  const char *what, int least, int most,
								  int otherwise);
extern Interval *pgj_script_check_interval(Compilation *c,
										   const ScriptText *text);
extern void pgj_script_check_steps(Compilation *c);

/* script_graph.c: numbers, successors, what can never be reached */
extern void pgj_script_number_steps(Script *script);
extern StepRow *pgj_script_graph(Compilation *c);
extern void pgj_script_check_reachable(Compilation *c);

/* script_insert.c: the rows of a version; its number */
extern int pgj_script_insert(Compilation *c, int journey_id, int version,
							 TimestampTz at);

/* script_names.c */
extern void pgj_script_check_names(Compilation *c);
extern char *pgj_script_hint(const char *word, List *names);

/* interval.c: a literal that must last, in any calendar; NULL when it does not */
extern Interval *pgj_interval_parse(const char *text, const char **problem);

#endif /* PGJ_SCRIPT_COMPILE_H */
