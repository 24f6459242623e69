/*-------------------------------------------------------------------------
 *
 * watched.c
 *	  What a table's rows say of contacts: its watches, cached in the sessions
 *	  that write to it.
 *
 * These sessions have no rights on our schemas, so the definition tables are
 * read by heap scans; they are small, and are read again only when a change of
 * one commits (their statement triggers send relcache invalidations) or when the
 * relation or a relative of it is altered.
 *
 * A statement may name a partitioned table, one of its partitions or a table in
 * between, whereas a segment reads mostly the topmost.  A statement trigger fires
 * for the table that was named, with rows in that table's shape.  So a relation
 * has the watches of all its ancestors and descendants, their columns found by
 * name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "nodes/bitmapset.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg_journey.h"
#include "segment/mark.h"

/* A watch while it is read. */
typedef struct WatchRow
{
	Oid relation;
	Watched watched;
	int nkeys;
	int16 *key;
	bool wanted; /* by a segment */
	bool whole_row;
	Bitmapset *columns;
} WatchRow;

static HTAB *cache = NULL;
static Oid watch_table = InvalidOid;
static Oid segment_watch_table = InvalidOid;

/* ---- the cache -------------------------------------------------------- */

static bool
concerns(const WatchedRelation *entry, Oid relid)
{
	if (!OidIsValid(relid) || relid == watch_table ||
		relid == segment_watch_table)
		return true;
	for (int i = 0; i < entry->nfamily; i++)
		if (entry->family[i] == relid)
			return true;
	return entry->relation == relid;
}

/* Entries are in use while this is called: they are only marked. */
static void
invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	WatchedRelation *entry;

	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		if (!entry->stale && concerns(entry, relid))
			entry->stale = true;
}

static void
init_cache(void)
{
	HASHCTL control = { .keysize = sizeof(Oid),
						.entrysize = sizeof(WatchedRelation) };

	if (cache != NULL)
		return;
	cache = hash_create("pg_journey watched relations", 16, &control,
						HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
}

/* ---- relatives -------------------------------------------------------- */

static List *
add_parents(List *family, Oid relation)
{
	Relation inherits = table_open(InheritsRelationId, AccessShareLock);
	List *parents = NIL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	ListCell *lc;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relation));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL,
							  1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		parents = lappend_oid(parents,
							  ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent);
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);

	foreach (lc, parents)
		if (!list_member_oid(family, lfirst_oid(lc)))
			family = add_parents(lappend_oid(family, lfirst_oid(lc)),
								 lfirst_oid(lc));
	return family;
}

static List *
family_of(Oid relation)
{
	List *family = list_make1_oid(relation);

	family = list_concat_unique_oid(
		family, find_all_inheritors(relation, NoLock, NULL));
	return add_parents(family, relation);
}

/* ---- reading the definitions ------------------------------------------ */

static Datum
column_of(HeapTuple tuple, TupleDesc desc, const char *name, bool *isnull)
{
	return heap_getattr(tuple, SPI_fnumber(desc, name), desc, isnull);
}

static int16 *
smallints(Datum array, int *n)
{
	Datum *elements;
	int16 *numbers;

	deconstruct_array(DatumGetArrayTypeP(array), INT2OID, sizeof(int16), true,
					  TYPALIGN_SHORT, &elements, NULL, n);
	numbers = palloc_array(int16, *n + 1);
	for (int i = 0; i < *n; i++)
		numbers[i] = DatumGetInt16(elements[i]);
	return numbers;
}

static void
read_watch(HeapTuple tuple, TupleDesc desc, List *family, List **rows)
{
	WatchRow *row;
	bool isnull;
	Oid relation =
		DatumGetObjectId(column_of(tuple, desc, "relation", &isnull));

	if (!list_member_oid(family, relation))
		return;
	row = palloc0_object(WatchRow);
	row->relation = relation;
	row->watched.watch_id =
		DatumGetInt32(column_of(tuple, desc, "watch_id", &isnull));
	row->watched.kind =
		TextDatumGetCString(column_of(tuple, desc, "kind", &isnull))[0];
	row->watched.null_is_all =
		DatumGetBool(column_of(tuple, desc, "null_is_all", &isnull));
	row->key = smallints(column_of(tuple, desc, "key", &isnull), &row->nkeys);
	*rows = lappend(*rows, row);
}

static void
read_segment_watch(HeapTuple tuple, TupleDesc desc, List *family, List **rows)
{
	bool isnull;
	int watch_id = DatumGetInt32(column_of(tuple, desc, "watch_id", &isnull));
	Datum columns;
	ListCell *lc;

	foreach (lc, *rows)
	{
		WatchRow *row = lfirst(lc);
		int16 *numbers;
		int n;

		if (row->watched.watch_id != watch_id)
			continue;
		row->wanted = true;
		columns = column_of(tuple, desc, "columns", &isnull);
		if (isnull)
		{
			row->whole_row = true;
			return;
		}
		numbers = smallints(columns, &n);
		for (int i = 0; i < n; i++)
			if (numbers[i] > 0)
				row->columns = bms_add_member(row->columns, numbers[i]);
		return;
	}
}

/*
 * A partition that is detached for a while, and changed meanwhile, is still one of
 * those whose rows were counted.
 */
static void
read_member(HeapTuple tuple, TupleDesc desc, List *family, List **roots)
{
	bool isnull;
	Oid member = DatumGetObjectId(column_of(tuple, desc, "member", &isnull));
	Oid relation =
		DatumGetObjectId(column_of(tuple, desc, "relation", &isnull));

	if (list_member_oid(family, member))
		*roots = list_append_unique_oid(*roots, relation);
}

typedef void (*ReadRow)(HeapTuple tuple, TupleDesc desc, List *family,
						List **rows);

/* With a snapshot of now, whatever the writer's transaction sees. */
static Oid
read_table(const char *name, ReadRow read, List *family, List **rows)
{
	Oid relid = get_relname_relid(name, get_namespace_oid(PGJ_SCHEMA, false));
	Relation relation;
	SysScanDesc scan;
	Snapshot snapshot;
	HeapTuple tuple;

	if (!OidIsValid(relid))
		return InvalidOid;
	relation = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(relation, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		read(tuple, RelationGetDescr(relation), family, rows);
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return relid;
}

/* ---- from the watch's relation to the one at hand ---------------------- */

/* 0: it is no longer there */
static AttrNumber
map_column(Oid from, AttrNumber number, Oid to)
{
	char *name = get_attname(from, number, true);

	return name == NULL ? InvalidAttrNumber : get_attnum(to, name);
}

static KeyConversion
conversion_to(Oid key_type, Oid type)
{
	Oid base = getBaseType(type);

	if (base == key_type)
		return KEY_SAME;
	if (key_type == INT8OID && base == INT4OID)
		return KEY_INT4;
	if (key_type == INT8OID && base == INT2OID)
		return KEY_INT2;
	if (key_type == TEXTOID && base == VARCHAROID)
		return KEY_SAME;
	if (key_type == TEXTOID && base == BPCHAROID)
		return KEY_BPCHAR;
	if (key_type == TEXTOID && base == NAMEOID)
		return KEY_NAME;
	return KEY_UNKNOWN;
}

/* Is its text the same under all settings? */
static bool
has_plain_output(Oid type)
{
	switch (getBaseType(type))
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
			return true;
		default:
			return false;
	}
}

/* A generated column that is not stored (since 18) is in no row: only all others tell. */
static bool
is_virtual(TupleDesc desc, AttrNumber number)
{
	return TupleDescAttr(desc, number - 1)->attgenerated == 'v';
}

static void
fill_keys(WatchedRelation *entry, const WatchRow *row, Watched *watched,
		  TupleDesc desc)
{
	watched->nkeys = row->nkeys;
	watched->keys = palloc0_array(WatchedKey, row->nkeys + 1);
	for (int i = 0; i < row->nkeys; i++)
	{
		WatchedKey *key = &watched->keys[i];
		Oid type;
		Oid output;
		bool varlena;

		key->number = map_column(row->relation, row->key[i], entry->relation);
		if (key->number == InvalidAttrNumber || is_virtual(desc, key->number))
		{
			watched->kind = 'a'; /* or the segment is about to be suspended */
			return;
		}
		type = TupleDescAttr(desc, key->number - 1)->atttypid;
		key->conversion = conversion_to(entry->key_type, type);
		getTypeOutputInfo(type, &output, &varlena);
		fmgr_info_cxt(output, &key->output, entry->context);
		if (watched->kind == 'l' && !has_plain_output(type))
			entry->plain_output = false;
	}
}

static void
fill_columns(const WatchRow *row, Watched *watched, TupleDesc desc,
			 Oid relation)
{
	int number = -1;

	if (row->whole_row)
	{
		watched->ncolumns = -1;
		return;
	}
	watched->columns =
		palloc_array(AttrNumber, bms_num_members(row->columns) + 1);
	while ((number = bms_next_member(row->columns, number)) >= 0)
	{
		AttrNumber here = map_column(row->relation, number, relation);

		if (here == InvalidAttrNumber)
			continue;
		if (is_virtual(desc, here))
		{
			watched->ncolumns = -1;
			return;
		}
		watched->columns[watched->ncolumns++] = here;
	}
}

static void
load(WatchedRelation *entry, TupleDesc desc)
{
	List *family = family_of(entry->relation);
	List *roots = NIL;
	List *rows = NIL;
	MemoryContext old;
	ListCell *lc;

	(void) read_table("watch_member", read_member, family, &roots);
	family = list_concat_unique_oid(family, roots);
	watch_table = read_table("watch", read_watch, family, &rows);
	segment_watch_table =
		read_table("segment_watch", read_segment_watch, family, &rows);

	old = MemoryContextSwitchTo(entry->context);
	entry->family = palloc_array(Oid, list_length(family));
	foreach (lc, family)
		entry->family[entry->nfamily++] = lfirst_oid(lc);
	entry->watches = palloc0_array(Watched, list_length(rows) + 1);
	foreach (lc, rows)
	{
		WatchRow *row = lfirst(lc);
		Watched *watched = &entry->watches[entry->n];

		if (!row->wanted)
			continue;
		*watched = row->watched;
		fill_keys(entry, row, watched, desc);
		fill_columns(row, watched, desc, entry->relation);
		entry->n++;
	}
	MemoryContextSwitchTo(old);
}

WatchedRelation *
pgj_watched(const Site *site, Oid relation, TupleDesc desc)
{
	WatchedRelation *entry;
	MemoryContext work;
	MemoryContext old;
	bool found;

	init_cache();
	entry = hash_search(cache, &relation, HASH_ENTER, &found);
	if (found && !entry->stale && entry->key_type == site->key_type)
		return entry;
	if (found && entry->context != NULL)
		MemoryContextDelete(entry->context);
	memset(entry, 0, sizeof(WatchedRelation));
	entry->relation = relation;
	entry->key_type = site->key_type;
	entry->plain_output = true;
	entry->stale = true; /* should reading fail */
	entry->context = AllocSetContextCreate(
		CacheMemoryContext, "pg_journey watched", ALLOCSET_SMALL_SIZES);

	work = AllocSetContextCreate(CurrentMemoryContext, "pg_journey watches",
								 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(work);

	/* what is invalidated from here on is read again next time */
	entry->stale = false;
	PG_TRY();
	{
		load(entry, desc);
	}
	PG_CATCH();
	{
		entry->stale = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
	return entry;
}
