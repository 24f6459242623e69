/*-------------------------------------------------------------------------
 *
 * record.h
 *	  The rows of a segment's definition.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SEGMENT_RECORD_H
#define PGJ_SEGMENT_RECORD_H

#include "contact/site.h"
#include "datatype/timestamp.h"
#include "segment/compile.h"

#define MAX_ARGS 14

/* Parameters of a statement, filled one after another. */
typedef struct Args
{
	int n;
	Oid types[MAX_ARGS];
	Datum values[MAX_ARGS];
} Args;

extern void pgj_args_add(Args *args, Oid type, Datum value);
extern void pgj_args_text(Args *args, const char *text);
extern void pgj_args_int(Args *args, int value);

/* Run a statement, or one whose only parameter is a segment; how many rows. */
extern uint64 pgj_args_run(const char *statement, Args *args);
extern uint64 pgj_segment_run(const char *statement, int segment_id);

/* A column, from 1, of a row, from 0, of what came back. */
extern int pgj_result_int(uint64 row, int column);
extern char *pgj_result_text(uint64 row, int column);

/* Functions, watches, parts and needs. */
extern void pgj_segment_store_details(const Site *site, int segment_id,
									  const CompiledSegment *segment);
extern void pgj_segment_delete_details(const Site *site, int segment_id);

/* Lock all slices, waiting; after definitions, before anything else. */
extern void pgj_segment_lock_slices(const Site *site);

/* As the journey owner: */
extern void pgj_segment_store_sources(int segment_id,
									  const Predicate *predicate);
extern void pgj_segment_delete_sources(int segment_id);
extern List *pgj_segment_source_functions(void);
extern uint64 pgj_segment_find_replaced(void);
extern void pgj_segment_rename_sources(void);
extern void pgj_segment_refuse_cycle(int segment_id, const char *name);
extern void pgj_segment_set_levels(int segment_id);
extern void pgj_segment_want_scan(int segment_id, const char *reason,
								  TimestampTz at);

#endif /* PGJ_SEGMENT_RECORD_H */
