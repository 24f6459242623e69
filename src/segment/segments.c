/*-------------------------------------------------------------------------
 *
 * segments.c
 *	  All segments with their watches, in memory, by level.
 *
 * Kept until a definition changes (kept.c).  A pass asks once, at its start, and
 * a segment that it suspends is marked so in memory, too.  The segments' kept
 * plans go with them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "kept.h"
#include "segment/segment.h"

static List *
read_texts(uint64 row, int column)
{
	bool isnull;
	Datum array = pgj_row_nullable(row, column, &isnull);
	List *texts = NIL;
	Datum *elements;
	int n;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &elements, NULL, &n);
	for (int i = 0; i < n; i++)
		texts = lappend(texts, TextDatumGetCString(elements[i]));
	return texts;
}

static void
load_segments(const Site *site, Segments *segments)
{
	static KeptPlan load = {
		.sql =
			"SELECT s.segment_id, s.name, s.timezone, s.refresh_every, s.revision, s.level,"
			" s.opaque, s.status = 'building', s.status = 'suspended', s.announce"
			" FROM journey.segment s ORDER BY s.level, s.segment_id"
	};

	segments->n = (int) pgj_kept_select(&load, site);
	segments->all = palloc0_array(Segment, segments->n + 1);
	for (int i = 0; i < segments->n; i++)
	{
		Segment *segment = &segments->all[i];

		segment->segment_id = pgj_row_int4(i, 1, 0);
		segment->name = pgj_row_text(CurrentMemoryContext, i, 2);
		segment->timezone = pgj_row_text(CurrentMemoryContext, i, 3);
		segment->refresh_every =
			DatumGetIntervalP(pgj_row_copy(CurrentMemoryContext, i, 4));
		segment->revision = pgj_row_int4(i, 5, 0);
		segment->level = pgj_row_int4(i, 6, 0);
		segment->opaque = DatumGetBool(pgj_row_value(i, 7));
		segment->building = DatumGetBool(pgj_row_value(i, 8));
		segment->suspended = DatumGetBool(pgj_row_value(i, 9));
		segment->announce = DatumGetBool(pgj_row_value(i, 10));
		segment->watches = palloc_object(SegmentWatch);
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
load_watches(const Site *site, Segments *segments)
{
	static KeptPlan load = {
		.sql =
			"SELECT s.segment_id, w.watch_id, w.relation::oid, w.kind, cardinality(w.key), s.find, s.event_names"
			" FROM journey.segment_watch s JOIN journey.watch w ON w.watch_id = s.watch_id"
			" ORDER BY s.segment_id, w.watch_id"
	};
	uint64 rows;

	rows = pgj_kept_select(&load, site);
	for (uint64 row = 0; row < rows; row++)
	{
		Segment *segment = pgj_segment_by_id(segments, pgj_row_int4(row, 1, 0));
		SegmentWatch *watch;

		if (segment == NULL)
			continue;
		segment->watches = repalloc(segment->watches, (segment->nwatches + 1) *
														  sizeof(SegmentWatch));
		watch = &segment->watches[segment->nwatches++];
		watch->watch_id = pgj_row_int4(row, 2, 0);
		watch->relation = DatumGetObjectId(pgj_row_value(row, 3));
		watch->kind = pgj_row_text(CurrentMemoryContext, row, 4)[0];
		watch->nkeys = pgj_row_int4(row, 5, 0);
		watch->find = pgj_row_text(CurrentMemoryContext, row, 6);
		watch->event_names = read_texts(row, 7);
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
load_needs(const Site *site, Segments *segments)
{
	static KeptPlan load = {
		.sql =
			"SELECT n.segment_id, n.needed_id FROM journey.segment_need n ORDER BY 1, 2"
	};
	uint64 rows;

	rows = pgj_kept_select(&load, site);
	for (uint64 row = 0; row < rows; row++)
	{
		Segment *needed = pgj_segment_by_id(segments, pgj_row_int4(row, 2, 0));

		if (needed != NULL)
			needed->needed_by =
				lappend_int(needed->needed_by, pgj_row_int4(row, 1, 0));
	}
	SPI_freetuptable(SPI_tuptable);
}

static void *
read_segments(const Site *site)
{
	Segments *segments = palloc0_object(Segments);

	load_segments(site, segments);
	load_watches(site, segments);
	load_needs(site, segments);
	return segments;
}

static void
release(void *content)
{
	Segments *segments = content;

	for (int i = 0; i < segments->n; i++)
	{
		if (segments->all[i].check != NULL)
			SPI_freeplan(segments->all[i].check);
		if (segments->all[i].scan != NULL)
			SPI_freeplan(segments->all[i].scan);
	}
}

/* The segments' own plans have keys of the site's type for parameters. */
Segments *
pgj_segments(const Site *site)
{
	static Kept kept = { .name = "segments",
						 .tables = { "segment", "segment_need", "segment_watch",
									 "site", "watch" },
						 .read = read_segments,
						 .release = release };

	return pgj_kept(&kept, site);
}

Segment *
pgj_segment_by_id(Segments *segments, int segment_id)
{
	for (int i = 0; i < segments->n; i++)
		if (segments->all[i].segment_id == segment_id)
			return &segments->all[i];
	return NULL;
}
