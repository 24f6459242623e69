/*-------------------------------------------------------------------------
 *
 * compile.h
 *	  Between the files that create segments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SEGMENT_COMPILE_H
#define PGJ_SEGMENT_COMPILE_H

#include "compat.h"
#include "contact/site.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "segment/predicate.h"
#include "utils/elog.h"

/* Contacts a new predicate is planned for and tried on. */
#define SEGMENT_SAMPLE 100

/* A predicate and the statements that it comes to, as text. */
typedef struct CompiledSegment
{
	Predicate predicate;
	char *check;
	char *scan;
	List *finds; /* one char * for each watch; NULL for those without */
	double cost; /* of one contact, as the planner sees it */
} CompiledSegment;

/*
 * compile.c: compile a predicate, as the journey owner, in the box.  Names resolve by search_path,
 * times are those of timezone.  It is tried on a sample of contacts at "at".
 * Returns NULL with *error set if that fails.
 */
extern CompiledSegment *pgj_segment_compile(const Site *site,
											const char *source,
											const char *search_path,
											const char *timezone,
											TimestampTz at, ErrorData **error);

/*
 * The same from what was stored: the body of the segment's check function, which
 * has followed renames since.  The cost is not looked at.
 */
extern CompiledSegment *
pgj_segment_recompile(const Site *site, int segment_id, const char *source,
					  const char *timezone, TimestampTz at, ErrorData **error);

/* Is there a check function to compile from? */
extern bool pgj_segment_has_function(int segment_id);

/* In the box: "SELECT key, predicate" as it is stored, expanded. */
extern Query *pgj_segment_stored_query(const Site *site, int segment_id);

/* Throw an error of pgj_segment_compile, with its position in source. */
pg_noreturn extern void pgj_segment_throw(ErrorData *error, const char *source);

/* statement.c, in the box: fill in check, scan and finds */
extern void pgj_segment_write_statements(CompiledSegment *segment);

/* Its inverse: "SELECT key, predicate" from the tree of a check statement. */
extern Query *pgj_segment_read_statement(const Site *site, Query *check);

/* functions.c */
extern char *pgj_segment_function_name(int segment_id, const char *kind,
									   int watch_id);
extern void pgj_segment_create_functions(const Site *site, int segment_id,
										 const CompiledSegment *segment,
										 const int *watch_ids);
extern void pgj_segment_drop_functions(int segment_id);

/* budget.c, in the box: set cost, and refuse what costs too much */
extern void pgj_segment_check_budget(CompiledSegment *segment, TimestampTz at,
									 bool enforce);
extern void pgj_segment_sample(const Site *site, TimestampTz at, Datum *values);
extern char *pgj_segment_missing_index(const Predicate *predicate);

/*
 * watch.c.  Definitions change under a lock, one at a time (until the end of the
 * transaction).  It comes before every other lock: those of slices, then those
 * of tables in the order of their numbers.
 */
extern void pgj_segment_lock_definitions(void);
extern bool pgj_segment_try_lock_definitions(void);

/*
 * Keep writers of all watched tables out until the end of the transaction, so
 * that none is under way who does not know of the new watches, and see to it
 * that there are triggers.
 */
extern void pgj_watch_lock_tables(const Site *site, List *watches);

/* Write the watches of a segment; one watch_id for each. */
extern int *pgj_watch_store(const Site *site, int segment_id, List *watches);

/* Drop watches that nobody uses, and the triggers of tables that nobody watches. */
extern void pgj_watch_drop_unused(const Site *site);

/* watch.c for partition.c, as the journey owner but for the making of triggers: */
extern void pgj_watch_execute(const char *statement, int nargs, Oid *types,
							  Datum *values, const char *nulls);
extern bool pgj_watch_needs_triggers(Oid relation);
extern List *pgj_watch_members(Oid relation);
extern void pgj_watch_make_triggers(const Site *site, Oid relation);
extern void pgj_watch_store_members(Oid relation);
extern List *pgj_watch_relations(const char *query);

#endif /* PGJ_SEGMENT_COMPILE_H */
