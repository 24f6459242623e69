/*-------------------------------------------------------------------------
 *
 * news.c
 *	  Find whom the changes committed since the last pass concern.
 *
 * There are three sources, worked one after the other up to one snapshot (see
 * engine/news.h): the slice's own marks, those for all slices, and the slice's
 * events.  Own marks are deleted as they are taken.  A mark for all slices goes
 * when the slowest slice has passed it; slice 0 sees to that.
 *
 * Links are looked up against the tables as they are now.  A row on the way that
 * has changed since has its own mark, which leads on from there.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "append.h"
#include "engine/news.h"
#include "guc.h"
#include "pg_journey.h"
#include "plan.h"
#include "segment/pass.h"

enum
{
	OWN_MARKS,
	COMMON_MARKS,
	EVENTS,
	NSOURCES
};

/* Events that concern no segment are cheap. */
#define EVENTS_PER_CONTACT 4
#define DELETED_AT_ONCE 10000

static void
slice_params(const Site *site, int slice, Params *params)
{
	pgj_params_init(params, site, 0);
	pgj_params_scalar(params, INT2OID, Int16GetDatum(slice));
}

/* ---- how far it is ---------------------------------------------------- */

static void
begin_source(SegmentProgress *progress, int source)
{
	progress->source = source;
	progress->after_xid =
		FullTransactionIdGetDatum(FullTransactionIdFromU64(0));
	progress->after_id = 0;
}

static void
begin_upto(Pass *pass)
{
	static KeptPlan current = { .sql = "SELECT " PGJ_COMMITTED_SNAPSHOT };
	Params params;

	if (pass->progress.upto != (Datum) 0)
		return;
	pgj_params_init(&params, pass->site, 0);
	(void) pgj_plan_execute(&current, &params);
	pass->progress.upto = pgj_row_copy(CurrentMemoryContext, 0, 1);
	SPI_freetuptable(SPI_tuptable);
	begin_source(&pass->progress, OWN_MARKS);
}

/* ---- marks ------------------------------------------------------------ */

#define NEW_MARKS                                                       \
	"v.watch_id, v.contact, v.link, v.ctid AS place, v.xid, v.mark_id", \
		"journey_state.mark", "mark_id"
#define NEW_EVENTS \
	"v.contact, v.name, v.xid, v.event_id", "journey_state.event", "event_id"
#define APPLY(macro, ...) macro(__VA_ARGS__)

/* Links that lead to contacts of a segment, key by key. */
typedef struct Links
{
	int segment;
	const SegmentWatch *watch;
	int n;
	int capacity;
	Datum **values;
	struct Links *next;
} Links;

/* A batch on its way into the pass. */
typedef struct Intake
{
	Pass *pass;
	Links *links;
	Bitmapset *scans; /* segments all of whose contacts are concerned */
	Bitmapset *often; /* the same, by a table each of whose changes says so */
	Bitmapset *lost;  /* whose contacts this slice could not find now */
} Intake;

static void
add_link(Intake *intake, int segment, const SegmentWatch *watch, Datum *values)
{
	Links *links;

	for (links = intake->links; links != NULL; links = links->next)
		if (links->segment == segment && links->watch == watch)
			break;
	if (links == NULL)
	{
		links = palloc0_object(Links);
		links->segment = segment;
		links->watch = watch;
		links->capacity = 16;
		links->values = palloc_array(Datum *, watch->nkeys);
		for (int k = 0; k < watch->nkeys; k++)
			links->values[k] = palloc_array(Datum, links->capacity);
		links->next = intake->links;
		intake->links = links;
	}
	if (links->n == links->capacity)
	{
		links->capacity *= 2;
		for (int k = 0; k < watch->nkeys; k++)
			links->values[k] =
				repalloc(links->values[k], links->capacity * sizeof(Datum));
	}
	for (int k = 0; k < watch->nkeys; k++)
		links->values[k][links->n] = values[k];
	links->n++;
}

/* A mark's link, for each segment that has the watch. */
static void
take_link(Intake *intake, int watch_id, Datum link)
{
	Segments *segments = intake->pass->segments;
	Datum *values;
	int n;

	deconstruct_array(DatumGetArrayTypeP(link), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, NULL, &n);
	for (int s = 0; s < segments->n; s++)
	{
		const Segment *segment = &segments->all[s];

		for (int w = 0; w < segment->nwatches && !segment->suspended; w++)
		{
			const SegmentWatch *watch = &segment->watches[w];

			if (watch->watch_id != watch_id)
				continue;
			if (watch->find == NULL || watch->nkeys != n)
				intake->scans = bms_add_member(intake->scans, s);
			else
				add_link(intake, s, watch, values);
		}
	}
}

/* A mark that names a contact, or none: then it concerns all. */
static void
take_mark(Intake *intake, int watch_id, bool has_contact, Datum contact)
{
	Pass *pass = intake->pass;

	for (int s = 0; s < pass->segments->n; s++)
	{
		const Segment *segment = &pass->segments->all[s];

		for (int w = 0; w < segment->nwatches && !segment->suspended; w++)
		{
			if (segment->watches[w].watch_id != watch_id)
				continue;
			if (has_contact)
				pgj_pass_add(pass, s, contact, pass->at, false);
			else if (segment->watches[w].kind == 'a')
				intake->often = bms_add_member(intake->often, s);
			else
				intake->scans = bms_add_member(intake->scans, s);
		}
	}
}

/* One batch of marks; returns how many. */
static int
take_marks(Intake *intake, KeptPlan *plan, int slice, int limit, List **places)
{
	Pass *pass = intake->pass;
	SegmentProgress *progress = &pass->progress;
	MemoryContext context = CurrentMemoryContext;
	SPITupleTable *table;
	Params params;
	uint64 rows;

	slice_params(pass->site, slice, &params);
	pgj_params_scalar(&params, PG_SNAPSHOTOID, progress->seen);
	pgj_params_scalar(&params, PG_SNAPSHOTOID, progress->upto);
	pgj_params_scalar(&params, XID8OID, progress->after_xid);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(progress->after_id));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(limit));
	rows = pgj_plan_execute(plan, &params);
	table = SPI_tuptable;
	for (uint64 row = 0; row < rows; row++)
	{
		int watch_id;

		SPI_tuptable = table;
		watch_id = pgj_row_int4(row, 1, 0);
		if (!pgj_row_null(row, 3))
			take_link(intake, watch_id, pgj_row_copy(context, row, 3));
		else if (!pgj_row_null(row, 2))
			take_mark(intake, watch_id, true, pgj_row_copy(context, row, 2));
		else
			take_mark(intake, watch_id, false, (Datum) 0);
		*places =
			lappend(*places, DatumGetPointer(pgj_row_copy(context, row, 4)));
		progress->after_xid = pgj_row_copy(context, row, 5);
		progress->after_id = pgj_row_int8(row, 6, 0);
	}
	SPI_freetuptable(table);
	return (int) rows;
}

static void
delete_marks(const Site *site, List *places)
{
	static KeptPlan delete = {
		.sql = "DELETE FROM journey_state.mark WHERE ctid = ANY ($1)"
	};
	Params params;
	Datum *place;
	ListCell *lc;

	if (places == NIL)
		return;
	pgj_params_init(&params, site, list_length(places));
	place = pgj_params_column(&params, TIDOID, NULL);
	foreach (lc, places)
		place[foreach_current_index(lc)] = PointerGetDatum(lfirst(lc));
	(void) pgj_plan_execute(&delete, &params);
}

static int
take_source_of_marks(Intake *intake, int slice, int limit)
{
	static KeptPlan of_running = { .sql = APPLY(PGJ_NEWS_OF_RUNNING_BATCH,
												NEW_MARKS) };
	static KeptPlan since = { .sql = APPLY(PGJ_NEWS_SINCE_BATCH, NEW_MARKS) };
	List *places = NIL;
	int taken = take_marks(intake, &of_running, slice, limit, &places);

	if (taken < limit)
		taken += take_marks(intake, &since, slice, limit - taken, &places);
	if (slice != MARK_ALL_SLICES)
		delete_marks(intake->pass->site, places);
	return taken;
}

/* Those that every slice has taken in. */
static void
delete_common_marks(const Site *site)
{
	static KeptPlan delete = {
		.sql =
			"DELETE FROM journey_state.mark WHERE ctid = ANY (ARRAY("
			"SELECT m.ctid FROM journey_state.mark m WHERE m.slice = -1 AND m.xid < ("
			"SELECT CASE WHEN count(*) = count(p.seen) THEN min(pg_catalog.pg_snapshot_xmin(p.seen)) END"
			" FROM journey_state.slice s LEFT JOIN LATERAL (SELECT q.seen FROM journey_state.progress q"
			"  WHERE q.slice = s.slice AND q.lane = 'segment' ORDER BY q.seq DESC LIMIT 1) p ON true)"
			" ORDER BY m.xid LIMIT $1))"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(DELETED_AT_ONCE));
	(void) pgj_plan_execute(&delete, &params);
}

/* ---- events ----------------------------------------------------------- */

bool
pgj_watch_reads_event(const SegmentWatch *watch, Oid events, const char *name)
{
	ListCell *lc;

	if (watch->relation != events)
		return false;
	foreach (lc, watch->event_names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return watch->event_names == NIL;
}

static bool
reads_events(const Segments *segments, Oid events)
{
	for (int s = 0; s < segments->n; s++)
		for (int w = 0; w < segments->all[s].nwatches; w++)
			if (segments->all[s].watches[w].relation == events)
				return true;
	return false;
}

static void
take_event(Intake *intake, Oid events, Datum contact, const char *name)
{
	Pass *pass = intake->pass;

	for (int s = 0; s < pass->segments->n; s++)
	{
		const Segment *segment = &pass->segments->all[s];

		for (int w = 0; w < segment->nwatches && !segment->suspended; w++)
		{
			const SegmentWatch *watch = &segment->watches[w];

			if (!pgj_watch_reads_event(watch, events, name))
				continue;
			if (watch->kind == 'c')
				pgj_pass_add(pass, s, contact, pass->at, false);
			else if (watch->kind == 'l' && watch->nkeys == 1)
			{
				Mark mark = { .watch_id = watch->watch_id,
							  .slice = MARK_ALL_SLICES,
							  .has_link = true };

				/* whose slices the link's contacts are in is not known yet */
				mark.link = pgj_mark_link(pgj_key_to_text(pass->site, contact));
				pgj_pass_mark(pass, mark);
			}
			else
				pgj_pass_mark(pass, (Mark){ .watch_id = watch->watch_id,
											.slice = MARK_ALL_SLICES });
		}
	}
}

static int
take_events(Intake *intake, KeptPlan *plan, Oid events, int limit)
{
	Pass *pass = intake->pass;
	SegmentProgress *progress = &pass->progress;
	MemoryContext context = CurrentMemoryContext;
	SPITupleTable *table;
	Params params;
	uint64 rows;

	slice_params(pass->site, pass->slice, &params);
	pgj_params_scalar(&params, PG_SNAPSHOTOID, progress->seen);
	pgj_params_scalar(&params, PG_SNAPSHOTOID, progress->upto);
	pgj_params_scalar(&params, XID8OID, progress->after_xid);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(progress->after_id));
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(limit));
	rows = pgj_plan_execute(plan, &params);
	table = SPI_tuptable;
	for (uint64 row = 0; row < rows; row++)
	{
		SPI_tuptable = table;
		take_event(intake, events, pgj_row_copy(context, row, 1),
				   pgj_row_text(context, row, 2));
		progress->after_xid = pgj_row_copy(context, row, 3);
		progress->after_id = pgj_row_int8(row, 4, 0);
	}
	SPI_freetuptable(table);
	return (int) rows;
}

static int
take_source_of_events(Intake *intake, int limit)
{
	static KeptPlan of_running = { .sql = APPLY(PGJ_NEWS_OF_RUNNING_BATCH,
												NEW_EVENTS) };
	static KeptPlan since = { .sql = APPLY(PGJ_NEWS_SINCE_BATCH, NEW_EVENTS) };
	Oid events = pgj_state_relation("event");
	int taken;

	if (!reads_events(intake->pass->segments, events))
		return 0;
	taken = take_events(intake, &of_running, events, limit);
	if (taken < limit)
		taken += take_events(intake, &since, events, limit - taken);
	return taken;
}

/* ---- links and scans -------------------------------------------------- */

/* Where there are too many, or a table on the way is locked, a scan finds them. */
static void
follow_links(Intake *intake, const Links *links)
{
	Pass *pass = intake->pass;
	Segment *segment = &pass->segments->all[links->segment];
	Datum *contacts;
	int n;
	bool too_many;

	if (segment->suspended)
		return;
	switch (pgj_segment_find(pass->site, segment, links->watch, links->values,
							 links->n, pass->at, &contacts, &n, &too_many))
	{
		case CHECK_DONE:
			break;
		case CHECK_PUT_OFF:
			too_many = true;
			break;
		case CHECK_SUSPENDED:
			return;
	}
	if (too_many)
		intake->lost = bms_add_member(intake->lost, links->segment);
	for (int i = 0; i < n && !too_many; i++)
		if (pgj_slice_of(pass->site, contacts[i]) == pass->slice)
			pgj_pass_add(pass, links->segment, contacts[i], pass->at, false);
}

/*
 * All slices find the same marks for all; slice 0 asks for their scans.  What
 * one slice could not find, it asks for itself.  Where each change of a table
 * asks for one, it is not begun again a short while after the last.
 */
static void
ask_for_scans(Intake *intake, Bitmapset *segments, bool often)
{
	static KeptPlan ask = {
		.sql =
			"UPDATE journey_state.segment_scan s"
			" SET wanted_at = CASE WHEN $3 THEN greatest($2, s.started_at + least(g.refresh_every, '1 minute')) ELSE $2 END"
			" FROM unnest($1) AS k (segment_id)"
			" JOIN journey.segment g ON g.segment_id = k.segment_id"
			" WHERE s.segment_id = k.segment_id AND (s.wanted_at IS NULL OR s.wanted_at > $2)"
			" RETURNING s.wanted_at"
	};
	Pass *pass = intake->pass;
	Params params;
	Datum *ids;
	int number = -1;
	int n = 0;
	uint64 asked;

	if (bms_is_empty(segments))
		return;
	pgj_params_init(&params, pass->site, bms_num_members(segments));
	ids = pgj_params_column(&params, INT4OID, NULL);
	while ((number = bms_next_member(segments, number)) >= 0)
		ids[n++] = Int32GetDatum(pass->segments->all[number].segment_id);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(pass->at));
	pgj_params_scalar(&params, BOOLOID, BoolGetDatum(often));
	asked = pgj_plan_execute(&ask, &params);
	for (uint64 row = 0; row < asked; row++)
		if (pgj_row_int8(row, 1, 0) <= pass->at)
			pass->scan_wanted = true;
	SPI_freetuptable(SPI_tuptable);
}

/* ---- all sources ------------------------------------------------------ */

static int
take_source(Intake *intake, int limit)
{
	switch (intake->pass->progress.source)
	{
		case OWN_MARKS:
			return take_source_of_marks(intake, intake->pass->slice, limit);
		case COMMON_MARKS:
			return take_source_of_marks(intake, MARK_ALL_SLICES, limit);
		default:
			return take_source_of_events(intake, limit);
	}
}

static void
end_upto(Pass *pass)
{
	SegmentProgress *progress = &pass->progress;

	progress->seen = progress->upto;
	progress->upto = (Datum) 0;
	progress->source = OWN_MARKS;
}

/*
 * A batch of what is new, source after source.  Returns true when that was all
 * that is committed by now; if there was nothing, progress stays as it was.  The
 * end of what an earlier pass has begun is not all: it did not look at what came
 * since.
 */
bool
pgj_pass_take_news(Pass *pass)
{
	SegmentProgress *progress = &pass->progress;
	SegmentProgress before = *progress;
	Intake intake = { .pass = pass };
	int left = pgj_batch_size;
	int taken = 0;
	bool all;

	begin_upto(pass);
	while (progress->source < NSOURCES)
	{
		bool events = progress->source == EVENTS;
		int limit = events ? left * EVENTS_PER_CONTACT : left;
		int n = take_source(&intake, limit);

		taken += n;
		if (n >= limit)
			break;
		left -= events ? n / EVENTS_PER_CONTACT : n;
		begin_source(progress, progress->source + 1);
	}
	for (const Links *links = intake.links; links != NULL; links = links->next)
		follow_links(&intake, links);
	if (pass->slice == 0)
	{
		ask_for_scans(&intake, intake.often, true);
		ask_for_scans(&intake, intake.scans, false);
	}
	ask_for_scans(&intake, intake.lost, false);
	pgj_engine_source.worked += taken;

	all = progress->source == NSOURCES;
	if (all && taken == 0 && before.upto == (Datum) 0)
	{
		*progress = before;
		return true;
	}
	progress->changed = true;
	if (all)
	{
		end_upto(pass);
		if (pass->slice == 0)
			delete_common_marks(pass->site);
	}
	return all && before.upto == (Datum) 0;
}
