/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  How far the segments of each slice have got: lane 'segment' of
 *	  journey_state.progress.
 *
 * Rows are appended, the newest counts.  A slice's rows are written by whoever
 * holds its lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "pg_journey.h"
#include "plan.h"
#include "segment/pass.h"

static Datum
copy_or_zero(int column)
{
	return pgj_row_null(0, column)
			   ? (Datum) 0
			   : pgj_row_copy(CurrentMemoryContext, 0, column);
}

static void
slice_params(const Site *site, int slice, Params *params)
{
	pgj_params_init(params, site, 0);
	pgj_params_scalar(params, INT2OID, Int16GetDatum(slice));
}

void
pgj_segment_progress_load(const Site *site, int slice,
						  SegmentProgress *progress)
{
	static KeptPlan load = {
		.sql =
			"SELECT p.at, p.seen, p.upto, p.after_xid, p.after_event, p.due_at, p.due_id"
			" FROM journey_state.progress p WHERE p.slice = $1 AND p.lane = 'segment'"
			" ORDER BY p.seq DESC LIMIT 1"
	};
	Params params;

	memset(progress, 0, sizeof(SegmentProgress));
	slice_params(site, slice, &params);
	progress->known = pgj_plan_execute(&load, &params) > 0;
	if (progress->known)
	{
		progress->at = pgj_row_int8(0, 1, 0);
		progress->seen = copy_or_zero(2);
		progress->upto = copy_or_zero(3);
		progress->after_xid = copy_or_zero(4);
		progress->after_id = pgj_row_int8(0, 5, 0);
		progress->due_at = pgj_row_int8(0, 6, 0);
		progress->source = (int) pgj_row_int8(0, 7, 0);
	}
	SPI_freetuptable(SPI_tuptable);
}

void
pgj_segment_progress_store(const Site *site, int slice,
						   const SegmentProgress *progress)
{
	static KeptPlan store = {
		.sql =
			"INSERT INTO journey_state.progress (slice, lane, seq, at, seen, upto, after_xid, after_event, due_at, due_id)"
			" VALUES ($1, 'segment', pg_catalog.nextval('journey_state.row_id_seq'), $2, $3, $4, $5, $6, $7, $8)"
	};
	bool idle = progress->upto == (Datum) 0;
	Params params;

	slice_params(site, slice, &params);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(progress->at));
	pgj_params_scalar(&params, PG_SNAPSHOTOID, progress->seen);
	pgj_params_nullable(&params, PG_SNAPSHOTOID, progress->upto, idle);
	pgj_params_nullable(&params, XID8OID, progress->after_xid, idle);
	pgj_params_nullable(&params, INT8OID, Int64GetDatum(progress->after_id),
						idle);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(progress->due_at));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(progress->source));
	(void) pgj_plan_execute(&store, &params);
}

/* Those from before a slice's first row of progress. */
static void
forget_marks(const Site *site, Datum slice, Datum seen)
{
	static KeptPlan forget = {
		.sql =
			"DELETE FROM journey_state.mark WHERE slice = $1 AND xid < pg_catalog.pg_snapshot_xmin($2)"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, INT2OID, slice);
	pgj_params_scalar(&params, PG_SNAPSHOTOID, seen);
	(void) pgj_plan_execute(&forget, &params);
}

/*
 * Before anything is evaluated for the first time: what has committed by then is
 * in it.
 */
void
pgj_segment_progress_begin(const Site *site, int slice, TimestampTz at)
{
	static KeptPlan begin = {
		.sql =
			"INSERT INTO journey_state.progress (slice, lane, seq, at, seen, upto, after_xid, after_event, due_at, due_id)"
			" SELECT s.slice, 'segment', pg_catalog.nextval('journey_state.row_id_seq'), $1, coalesce(p.seen, n.seen),"
			" p.upto, p.after_xid, p.after_event, coalesce(p.due_at, '-infinity'), coalesce(p.due_id, 0)"
			" FROM journey_state.slice s"
			" CROSS JOIN " PGJ_COMMITTED_SNAPSHOT " n (seen)"
			" LEFT JOIN LATERAL (SELECT q.* FROM journey_state.progress q"
			"  WHERE q.slice = s.slice AND q.lane = 'segment' ORDER BY q.seq DESC LIMIT 1) p ON true"
			" WHERE (s.slice = $2 OR $2 = -1) AND (p.at IS NULL OR p.at < $1)"
			" RETURNING slice, seen, due_at"
	};
	Params params;
	uint64 rows;
	SPITupleTable *table;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_params_scalar(&params, INT2OID, Int16GetDatum(slice));
	rows = pgj_plan_execute(&begin, &params);
	table = SPI_tuptable;
	for (uint64 row = 0; row < rows; row++)
	{
		SPI_tuptable = table;
		if (TIMESTAMP_IS_NOBEGIN(pgj_row_int8(row, 3, 0)))
			forget_marks(site, pgj_row_value(row, 1), pgj_row_value(row, 2));
	}
	SPI_freetuptable(table);
}
