/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Look at all contacts for a segment: first builds, altered segments,
 *	  refreshes.
 *
 * A scan goes through the contact table in the order of its key, a bounded batch
 * in a transaction, under the locks of all slices; "upto" in
 * journey_state.segment_scan says how far it has got.  A batch is evaluated on all
 * that has committed when the locks were got, and what commits later has marks
 * that passes find: before the first batch every slice has its row of progress.
 *
 * The memberships between the last batch's end and this one's are compared with
 * what was found, in the order of the key.  One that no contact belongs to any
 * more goes.
 *
 * A segment waits for those that it asks for to be built.  Whoever flips in a
 * scan is looked at for the segments that ask for it, in the same transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "optimizer/plancat.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"

#include "append.h"
#include "engine/engine.h"
#include "pg_journey.h"
#include "plan.h"
#include "segment/pass.h"

#define PUT_OFF_SECONDS 5

typedef struct SegmentScan
{
	const Site *site;
	Segments *segments;
	Segment *segment;
	TimestampTz at;
	bool under_way;
	bool has_upto;
	Datum upto;

	/* of this batch */
	Check *checks;
	Member *members;
	int n;
	int nscanned; /* those the table has; the others are gone */
	bool all;
	Pass *pass; /* for those who flip, and what that leads to */
} SegmentScan;

/* ---- which ------------------------------------------------------------ */

/*
 * First builds come first, lower levels before higher, then what is under way,
 * then what was begun longest ago.
 */
static bool
choose_scan(const Site *site, TimestampTz at, SegmentScan *scan)
{
	static KeptPlan choose = {
		.sql =
			"SELECT s.segment_id, u.under_way, s.upto,"
			" greatest($1, (SELECT max(q.at) FROM journey_state.slice l CROSS JOIN LATERAL ("
			"  SELECT p.at FROM journey_state.progress p WHERE p.slice = l.slice AND p.lane = 'segment'"
			"  ORDER BY p.seq DESC LIMIT 1) q))"
			" FROM journey.segment g JOIN journey_state.segment_scan s ON s.segment_id = g.segment_id"
			" CROSS JOIN LATERAL (SELECT s.started_at IS NOT NULL AND s.finished_at IS NULL"
			"  AND s.revision = g.revision OFFSET 0) AS u (under_way)"
			" WHERE g.status <> 'suspended' AND s.revision <> 0"
			" AND (u.under_way OR s.wanted_at <= $1 OR (g.opaque AND s.started_at + g.refresh_every <= $1))"
			" AND NOT EXISTS (SELECT FROM journey.segment_need d"
			"  JOIN journey.segment b ON b.segment_id = d.needed_id AND b.status = 'building'"
			"  WHERE d.segment_id = g.segment_id)"
			" ORDER BY g.status <> 'building', g.level, NOT u.under_way, s.started_at NULLS FIRST, s.segment_id LIMIT 1"
	};
	Params params;
	bool found;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	found = pgj_plan_execute(&choose, &params) > 0;
	if (found && scan != NULL)
	{
		scan->segment =
			pgj_segment_by_id(scan->segments, pgj_row_int4(0, 1, 0));
		scan->under_way = DatumGetBool(pgj_row_value(0, 2));
		scan->has_upto = scan->under_way && !pgj_row_null(0, 3);
		if (scan->has_upto)
			scan->upto = pgj_row_copy(CurrentMemoryContext, 0, 3);
		scan->at = pgj_row_int8(0, 4, at);
	}
	SPI_freetuptable(SPI_tuptable);
	return found && (scan == NULL || scan->segment != NULL);
}

/* ---- beginning and ending --------------------------------------------- */

/* How many contacts there are, about; for people. */
static int64
estimate_contacts(const Site *site)
{
	double total = 0;
	ListCell *lc;
	List *tables =
		find_all_inheritors(site->contact_table, AccessShareLock, NULL);

	foreach (lc, tables)
	{
		Relation table = table_open(lfirst_oid(lc), NoLock);
		BlockNumber pages;
		double tuples = 0;
		double visible;

		if (table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
			estimate_rel_size(table, NULL, &pages, &tuples, &visible);
		total += tuples;
		table_close(table, NoLock);
	}
	return (int64) total;
}

static void
scan_params(const SegmentScan *scan, Params *params)
{
	pgj_params_init(params, scan->site, 0);
	pgj_params_scalar(params, INT4OID,
					  Int32GetDatum(scan->segment->segment_id));
}

static void
begin_scan(SegmentScan *scan, TimestampTz at)
{
	static KeptPlan begin = {
		.sql =
			"UPDATE journey_state.segment_scan SET revision = $2, reason = $3, started_at = $4, expected = $5,"
			" wanted_at = NULL, finished_at = NULL, upto = NULL, scanned = 0 WHERE segment_id = $1"
	};
	Params params;

	scan_params(scan, &params);
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(scan->segment->revision));
	pgj_params_scalar(
		&params, TEXTOID,
		CStringGetTextDatum(scan->segment->building ? "build" : "refresh"));
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	pgj_params_scalar(&params, INT8OID,
					  Int64GetDatum(estimate_contacts(scan->site)));
	(void) pgj_plan_execute(&begin, &params);
}

static void
move_on(SegmentScan *scan)
{
	static KeptPlan move = {
		.sql =
			"UPDATE journey_state.segment_scan SET upto = $2, scanned = scanned + $3, finished_at = $4 WHERE segment_id = $1"
	};
	static KeptPlan current = {
		.sql =
			"UPDATE journey.segment SET status = 'current' WHERE segment_id = $1 AND status = 'building' AND revision = $2"
	};
	Params params;
	Datum last = scan->nscanned > 0 ? scan->checks[scan->nscanned - 1].contact
									: (Datum) 0;

	scan_params(scan, &params);
	pgj_params_nullable(&params, scan->site->key_type, last, scan->all);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(scan->nscanned));
	pgj_params_nullable(&params, TIMESTAMPTZOID, TimestampTzGetDatum(scan->at),
						!scan->all);
	(void) pgj_plan_execute(&move, &params);
	if (!scan->all || !scan->segment->building)
		return;
	scan_params(scan, &params);
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(scan->segment->revision));
	(void) pgj_plan_execute(&current, &params);
}

/* A table is locked away: a scan that has not begun is wanted later. */
static void
put_off(SegmentScan *scan)
{
	static KeptPlan later = {
		.sql =
			"UPDATE journey_state.segment_scan SET wanted_at = $2 WHERE segment_id = $1 AND wanted_at IS NOT NULL"
	};
	Params params;

	scan_params(scan, &params);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(TimestampTzPlusMilliseconds(
						  scan->at, PUT_OFF_SECONDS * 1000)));
	(void) pgj_plan_execute(&later, &params);
}

/* ---- who is in it ----------------------------------------------------- */

/* COLLATE, where the contact table's key has another than memberships. */
static const char *
collate_clause(const Site *site)
{
	Oid relation = pgj_state_relation("membership");
	Oid wanted = pgj_key_collation(site);
	Oid type;
	int32 typmod;
	Oid collation;

	get_atttypetypmodcoll(relation, get_attnum(relation, "contact"), &type,
						  &typmod, &collation);
	if (!OidIsValid(wanted) || !OidIsValid(collation) || wanted == collation)
		return "";
	return psprintf(" COLLATE %s", generate_collation_name(wanted));
}

/* The memberships from the last batch's end to this one's, in order. */
static uint64
load_range(const SegmentScan *scan, Datum last)
{
	static KeptPlan load = { 0 };
	const char *collate = collate_clause(scan->site);
	StringInfoData sql;
	Params params;

	initStringInfo(&sql);
	appendStringInfoString(
		&sql,
		"SELECT m.contact, m.member, m.since, m.check_at FROM journey_state.membership m WHERE m.segment_id = $1");
	scan_params(scan, &params);
	if (scan->has_upto)
	{
		pgj_params_scalar(&params, scan->site->key_type, scan->upto);
		appendStringInfo(&sql, " AND m.contact%s > $%d", collate, params.count);
	}
	if (!scan->all)
	{
		pgj_params_scalar(&params, scan->site->key_type, last);
		appendStringInfo(&sql, " AND m.contact%s <= $%d", collate,
						 params.count);
	}
	appendStringInfo(&sql, " ORDER BY m.contact%s", collate);
	load.sql = sql.data;
	return pgj_plan_execute(&load, &params);
}

static void
read_member(Member *member, uint64 row)
{
	member->exists = true;
	member->member = DatumGetBool(pgj_row_value(row, 2));
	member->since = pgj_row_int8(row, 3, 0);
	member->has_check = !pgj_row_null(row, 4);
	member->check_at = pgj_row_int8(row, 4, 0);
}

/*
 * Put each membership beside its contact; those without one come after the
 * contacts.
 */
static void
merge_members(SegmentScan *scan)
{
	MemoryContext context = CurrentMemoryContext;
	uint64 rows = load_range(
		scan, scan->n > 0 ? scan->checks[scan->n - 1].contact : (Datum) 0);
	Oid collation = pgj_key_collation(scan->site);
	int i = 0;

	scan->nscanned = scan->n;
	scan->checks =
		repalloc_huge(scan->checks, (scan->n + rows + 1) * sizeof(Check));
	scan->members = MemoryContextAllocExtended(
		context, (scan->n + rows + 1) * sizeof(Member),
		MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint64 row = 0; row < rows; row++)
	{
		Datum contact = pgj_row_value(row, 1);
		int order = 1;

		while (i < scan->nscanned &&
			   (order = pgj_compare_keys(scan->site, collation,
										 scan->checks[i].contact, contact)) < 0)
			i++;
		if (i < scan->nscanned && order == 0)
		{
			read_member(&scan->members[i++], row);
			continue;
		}
		memset(&scan->checks[scan->n], 0, sizeof(Check));
		scan->checks[scan->n].contact = pgj_row_copy(context, row, 1);
		scan->checks[scan->n].at = scan->at;
		read_member(&scan->members[scan->n++], row);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* ---- a batch ---------------------------------------------------------- */

static void
write_batch(SegmentScan *scan)
{
	bool *flipped;

	merge_members(scan);
	flipped = palloc0_array(bool, scan->n + 1);
	pgj_members_write(&scan->pass->changes, scan->segment, scan->checks,
					  scan->members, scan->n, flipped);
	pgj_pass_follow_flips(scan->pass, scan->segment, scan->checks, flipped,
						  scan->n);
	pgj_pass_settle(scan->pass, pgj_event_append);
	move_on(scan);
	pgj_engine_source.worked += scan->n;
}

/* The slices are locked. */
static bool
scan_batch(const Site *site, TimestampTz at)
{
	SegmentScan scan = { .site = site, .segments = pgj_segments(site) };

	if (!choose_scan(site, at, &scan))
		return false;
	pgj_segment_progress_begin(site, MARK_ALL_SLICES, scan.at);
	switch (pgj_segment_check_next(site, scan.segment, scan.at, scan.has_upto,
								   scan.upto, &scan.checks, &scan.n, &scan.all))
	{
		case CHECK_PUT_OFF:
			put_off(&scan);
			return false;
		case CHECK_SUSPENDED:
			return true;
		case CHECK_DONE:
			break;
	}
	if (!scan.under_way)
		begin_scan(&scan, at);
	scan.pass =
		pgj_pass_begin(site, MARK_ALL_SLICES, scan.at, false, scan.segments);
	pgj_changes_load_positions(&scan.pass->changes, scan.segments);
	write_batch(&scan);
	return true;
}

bool
pgj_segment_scan(const Site *site, TimestampTz at)
{
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	bool found;

	if (!choose_scan(site, at, NULL))
		return false;
	for (int slice = 0; slice < site->slices; slice++)
		(void) pgj_slice_lock(site, slice, false);

	context = AllocSetContextCreate(caller, "pg_journey scan",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	found = scan_batch(site, at);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return found;
}
