/*-------------------------------------------------------------------------
 *
 * segments.c
 *	  All segments with their watches, in memory, by level.
 *
 * Kept until a change of a definition table commits (statement triggers send
 * relcache invalidations), or one of this transaction.  What was handed out
 * before stays as it is until the next call, so a pass calls once, at its start,
 * and a segment that it suspends is marked so in memory, too.
 *
 * The segments' kept plans go with them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg_journey.h"
#include "plan.h"
#include "segment/segment.h"

static const char *const definition_tables[] = { "segment", "watch",
												 "segment_watch" };

static Segments *kept = NULL;
static bool kept_valid = false;
static Oid kept_key_type = InvalidOid;
static Oid table_oids[lengthof(definition_tables)];

static void
invalidate(Datum arg, Oid relid)
{
	for (int i = 0; i < lengthof(table_oids); i++)
		if (!OidIsValid(relid) || relid == table_oids[i])
			kept_valid = false;
}

static void
listen_to_changes(void)
{
	static bool registered = false;
	Oid namespace = get_namespace_oid(PGJ_SCHEMA, false);

	for (int i = 0; i < lengthof(table_oids); i++)
		table_oids[i] = get_relname_relid(definition_tables[i], namespace);
	if (!registered)
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	registered = true;
}

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
	Params params;

	pgj_params_init(&params, site, 0);
	segments->n = (int) pgj_plan_execute(&load, &params);
	segments->all = palloc0_array(Segment, segments->n + 1);
	for (int i = 0; i < segments->n; i++)
	{
		Segment *segment = &segments->all[i];

		segment->segment_id = pgj_row_int4(i, 1, 0);
		segment->name = pgj_row_text(segments->context, i, 2);
		segment->timezone = pgj_row_text(segments->context, i, 3);
		segment->refresh_every =
			DatumGetIntervalP(pgj_row_copy(segments->context, i, 4));
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
	Params params;
	uint64 rows;

	pgj_params_init(&params, site, 0);
	rows = pgj_plan_execute(&load, &params);
	for (uint64 row = 0; row < rows; row++)
	{
		Segment *segment = pgj_segment_by_id(segments, pgj_row_int4(row, 1, 0));
		SegmentWatch *watch;

		if (segment == NULL)
			continue; /* committed between the two statements */
		segment->watches = repalloc(segment->watches, (segment->nwatches + 1) *
														  sizeof(SegmentWatch));
		watch = &segment->watches[segment->nwatches++];
		watch->watch_id = pgj_row_int4(row, 2, 0);
		watch->relation = DatumGetObjectId(pgj_row_value(row, 3));
		watch->kind = pgj_row_text(segments->context, row, 4)[0];
		watch->nkeys = pgj_row_int4(row, 5, 0);
		watch->find = pgj_row_text(segments->context, row, 6);
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
	Params params;
	uint64 rows;

	pgj_params_init(&params, site, 0);
	rows = pgj_plan_execute(&load, &params);
	for (uint64 row = 0; row < rows; row++)
	{
		Segment *needed = pgj_segment_by_id(segments, pgj_row_int4(row, 2, 0));

		if (needed != NULL)
			needed->needed_by =
				lappend_int(needed->needed_by, pgj_row_int4(row, 1, 0));
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
forget(Segments *segments)
{
	for (int i = 0; i < segments->n; i++)
	{
		if (segments->all[i].check != NULL)
			SPI_freeplan(segments->all[i].check);
		if (segments->all[i].scan != NULL)
			SPI_freeplan(segments->all[i].scan);
	}
	MemoryContextDelete(segments->context);
}

static Segments *
load(const Site *site)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "pg_journey segments", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Segments *segments = palloc0_object(Segments);

	segments->context = context;
	load_segments(site, segments);
	load_watches(site, segments);
	load_needs(site, segments);
	MemoryContextSwitchTo(old);
	return segments;
}

Segments *
pgj_segments(const Site *site)
{
	Segments *fresh;

	if (kept != NULL && kept_valid && kept_key_type == site->key_type)
		return kept;

	/* what is invalidated from here on is read again next time */
	listen_to_changes();
	kept_valid = true;
	PG_TRY();
	{
		fresh = load(site);
	}
	PG_CATCH();
	{
		kept_valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();

	MemoryContextSetParent(fresh->context, CacheMemoryContext);
	if (kept != NULL)
		forget(kept);
	kept = fresh;
	kept_key_type = site->key_type;
	return kept;
}

Segment *
pgj_segment_by_id(Segments *segments, int segment_id)
{
	for (int i = 0; i < segments->n; i++)
		if (segments->all[i].segment_id == segment_id)
			return &segments->all[i];
	return NULL;
}
