/*-------------------------------------------------------------------------
 *
 * mark.c
 *	  The trigger of all segments, AFTER a statement with its transition tables:
 *	  mark the contacts that a change may have moved.
 *
 * It runs in whatever session writes to the shop's table, whose user need have
 * no rights of ours, superusers included: nothing an author wrote is parsed or
 * run, only keys are read and appended.  What can fail the shop's statement is a
 * cancellation that was meant for it, and a disk that takes no more rows.
 *
 * An update marks the old row's key and the new one's, if a column changed that
 * some segment reads.  Each key is marked once for a statement, or once for every
 * MARKS_AT_ONCE different ones: the memory taken does not depend on how many rows
 * the statement had.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

#include "append.h"
#include "clock.h"
#include "pg_journey.h"
#include "segment/mark.h"
#include "wakeup.h"

#define MARKS_AT_ONCE 1000
#define MAX_LINK 1000 /* bytes; longer ones mark all contacts */

PG_FUNCTION_INFO_V1(pgj_sql_mark);

enum
{
	MARK_SLICE,
	MARK_ID,
	MARK_XID,
	MARK_WATCH,
	MARK_CONTACT,
	MARK_LINK,
	MARK_AT,
	MARK_NCOLUMNS
};

static const char *const mark_columns[MARK_NCOLUMNS] = {
	"slice", "mark_id", "xid", "watch_id", "contact", "link", "at"
};

/* What was marked already: the watch, then the key's bytes. */
typedef struct KeyBytes
{
	int length;
	const char *bytes;
} KeyBytes;

typedef struct MarkedKey
{
	KeyBytes key;
	uint32 hash;
	char status;
} MarkedKey;

static inline uint32
hash_key(KeyBytes key)
{
	return hash_bytes((const unsigned char *) key.bytes, key.length);
}

static inline bool
same_key(KeyBytes a, KeyBytes b)
{
	return a.length == b.length && memcmp(a.bytes, b.bytes, a.length) == 0;
}

#define SH_PREFIX marked
#define SH_ELEMENT_TYPE MarkedKey
#define SH_KEY_TYPE KeyBytes
#define SH_KEY key
#define SH_HASH_KEY(tb, key) hash_key(key)
#define SH_EQUAL(tb, a, b) same_key(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* The marks of one statement. */
typedef struct Marking
{
	const Site *site;
	const WatchedRelation *watched;
	TupleDesc desc;
	TimestampTz at;
	MemoryContext row_context; /* reset after each row */
	MemoryContext context; /* what follows; reset when the marks are appended */
	struct marked_hash *done;
	Mark *marks;
	int nmarks;
	bool *all_marked; /* of each watch; longer-lived */
	StringInfoData bytes;
} Marking;

/* ---- appending -------------------------------------------------------- */

/*
 * The number only tells apart the marks of one transaction, all of which this
 * process writes.
 */
static int64 last_mark_id = 0;

Datum
pgj_mark_link(const char *value)
{
	Datum element = CStringGetTextDatum(value);

	return PointerGetDatum(
		construct_array(&element, 1, TEXTOID, -1, false, TYPALIGN_INT));
}

void
pgj_marks_append(const Site *site, const Mark *marks, int nmarks,
				 TimestampTz at)
{
	FullTransactionId xid;
	AppendRows rows;

	if (nmarks == 0)
		return;
	xid = GetTopFullTransactionId();
	pgj_append_init(&rows, "mark", mark_columns, MARK_NCOLUMNS, nmarks);
	for (int i = 0; i < nmarks; i++)
	{
		rows.values[MARK_SLICE][i] = Int16GetDatum(marks[i].slice);
		rows.values[MARK_ID][i] = Int64GetDatum(++last_mark_id);
		rows.values[MARK_XID][i] = FullTransactionIdGetDatum(xid);
		rows.values[MARK_WATCH][i] = Int32GetDatum(marks[i].watch_id);
		rows.values[MARK_CONTACT][i] = marks[i].contact;
		rows.nulls[MARK_CONTACT][i] = !marks[i].has_contact;
		rows.values[MARK_LINK][i] = marks[i].link;
		rows.nulls[MARK_LINK][i] = !marks[i].has_link;
		rows.values[MARK_AT][i] = TimestampTzGetDatum(at);
	}
	pgj_append(site, &rows);
	pgj_wake_engine_at_commit();
}

static void
begin_marks(Marking *m)
{
	MemoryContext old = MemoryContextSwitchTo(m->context);

	m->done = marked_create(m->context, 16, NULL);
	m->marks = palloc_array(Mark, MARKS_AT_ONCE);
	m->nmarks = 0;
	initStringInfo(&m->bytes);
	MemoryContextSwitchTo(old);
}

static void
append_marks(Marking *m)
{
	MemoryContext old = MemoryContextSwitchTo(m->context);

	pgj_marks_append(m->site, m->marks, m->nmarks, m->at);
	MemoryContextSwitchTo(old);
}

static void
flush_marks(Marking *m)
{
	append_marks(m);
	MemoryContextReset(m->context);
	begin_marks(m);
}

static void
add_mark(Marking *m, Mark mark)
{
	m->marks[m->nmarks++] = mark;
	if (m->nmarks == MARKS_AT_ONCE)
		flush_marks(m);
}

/* Is what m->bytes says new?  Then it is taken down. */
static bool
is_new_key(Marking *m)
{
	KeyBytes key = { m->bytes.len, m->bytes.data };
	MarkedKey *entry;
	bool found;
	char *copy;

	if (marked_lookup(m->done, key) != NULL)
		return false;
	copy = MemoryContextAlloc(m->context, key.length);
	memcpy(copy, key.bytes, key.length);
	key.bytes = copy;
	entry = marked_insert(m->done, key, &found);
	entry->key = key;
	return true;
}

static void
mark_all(Marking *m, int i)
{
	Mark mark = { .watch_id = m->watched->watches[i].watch_id,
				  .slice = MARK_ALL_SLICES };

	if (m->all_marked[i])
		return;
	m->all_marked[i] = true;
	add_mark(m, mark);
}

/* ---- keys ------------------------------------------------------------- */

static Datum
convert_key(const WatchedKey *key, Datum value)
{
	switch (key->conversion)
	{
		case KEY_INT2:
			return Int64GetDatum(DatumGetInt16(value));
		case KEY_INT4:
			return Int64GetDatum(DatumGetInt32(value));
		case KEY_BPCHAR:
		{
			text *padded = DatumGetTextPP(value);
			char *data = VARDATA_ANY(padded);
			int length = VARSIZE_ANY_EXHDR(padded);

			while (length > 0 && data[length - 1] == ' ')
				length--;
			return PointerGetDatum(cstring_to_text_with_len(data, length));
		}
		case KEY_NAME:
			return CStringGetTextDatum(NameStr(*DatumGetName(value)));
		case KEY_SAME:
		case KEY_UNKNOWN:
			break;
	}
	return value;
}

static void
append_key_bytes(Marking *m, Datum contact)
{
	const Site *site = m->site;

	if (site->key_typbyval)
		appendBinaryStringInfo(&m->bytes, (char *) &contact, sizeof(Datum));
	else if (site->key_typlen > 0)
		appendBinaryStringInfo(&m->bytes, DatumGetPointer(contact),
							   site->key_typlen);
	else
		appendBinaryStringInfo(&m->bytes, VARDATA_ANY(DatumGetPointer(contact)),
							   VARSIZE_ANY_EXHDR(DatumGetPointer(contact)));
}

static Datum
copy_key(Marking *m, Datum contact)
{
	MemoryContext old = MemoryContextSwitchTo(m->context);
	Datum copy = datumCopy(contact, m->site->key_typbyval, m->site->key_typlen);

	MemoryContextSwitchTo(old);
	return copy;
}

static void
mark_contact(Marking *m, int i, TupleTableSlot *slot)
{
	const Watched *watched = &m->watched->watches[i];
	const WatchedKey *key = &watched->keys[0];
	Mark mark = { .watch_id = watched->watch_id, .has_contact = true };
	Datum contact;
	bool isnull;
	Datum value = slot_getattr(slot, key->number, &isnull);

	if (isnull)
	{
		if (watched->null_is_all)
			mark_all(m, i);
		return;
	}
	if (key->conversion == KEY_UNKNOWN)
	{
		mark_all(m, i);
		return;
	}
	contact = convert_key(key, value);
	if (pgj_key_too_long(m->site, contact))
		return; /* there is no such contact */
	if (m->site->key_typlen == -1)
		contact = PointerGetDatum(PG_DETOAST_DATUM_PACKED(contact));
	resetStringInfo(&m->bytes);
	appendBinaryStringInfo(&m->bytes, (char *) &watched->watch_id, sizeof(int));
	append_key_bytes(m, contact);
	if (!is_new_key(m))
		return;
	mark.slice = pgj_slice_of(m->site, contact);
	mark.contact = copy_key(m, contact);
	add_mark(m, mark);
}

/*
 * The texts of a link's columns, in m->bytes too.  False if the link leads to
 * nobody, or to everybody: then that is marked.
 */
static bool
read_link(Marking *m, int i, TupleTableSlot *slot, Datum *values)
{
	const Watched *watched = &m->watched->watches[i];

	resetStringInfo(&m->bytes);
	appendBinaryStringInfo(&m->bytes, (char *) &watched->watch_id, sizeof(int));
	for (int k = 0; k < watched->nkeys; k++)
	{
		WatchedKey *key = &watched->keys[k];
		bool isnull;
		Datum value = slot_getattr(slot, key->number, &isnull);
		char *text;
		int length;

		if (isnull)
		{
			if (watched->null_is_all)
				mark_all(m, i);
			return false;
		}
		text = OutputFunctionCall(&key->output, value);
		length = strlen(text);
		if (length > MAX_LINK)
		{
			mark_all(m, i);
			return false;
		}
		appendBinaryStringInfo(&m->bytes, (char *) &length, sizeof(int));
		appendBinaryStringInfo(&m->bytes, text, length);
		values[k] = PointerGetDatum(cstring_to_text_with_len(text, length));
		pfree(text);
	}
	return true;
}

static void
mark_link(Marking *m, int i, TupleTableSlot *slot)
{
	const Watched *watched = &m->watched->watches[i];
	Datum *values = palloc_array(Datum, watched->nkeys);
	Mark mark = { .watch_id = watched->watch_id,
				  .slice = MARK_ALL_SLICES,
				  .has_link = true };
	MemoryContext old;

	if (!read_link(m, i, slot, values) || !is_new_key(m))
		return;
	old = MemoryContextSwitchTo(m->context);
	mark.link = PointerGetDatum(construct_array(values, watched->nkeys, TEXTOID,
												-1, false, TYPALIGN_INT));
	MemoryContextSwitchTo(old);
	add_mark(m, mark);
}

static void
mark_row(Marking *m, int i, TupleTableSlot *slot)
{
	switch (m->watched->watches[i].kind)
	{
		case 'c':
			mark_contact(m, i, slot);
			break;
		case 'l':
			mark_link(m, i, slot);
			break;
		default:
			mark_all(m, i);
	}
}

/* ---- the rows of a statement ------------------------------------------ */

/*
 * Bytes first: what an update did not touch is the same pointer to the same
 * toasted value, and need not be fetched.
 */
static bool
same_column(TupleDesc desc, TupleTableSlot *a, TupleTableSlot *b,
			AttrNumber number)
{
	Form_pg_attribute attribute = TupleDescAttr(desc, number - 1);
	bool a_null;
	bool b_null;
	Datum a_value = slot_getattr(a, number, &a_null);
	Datum b_value = slot_getattr(b, number, &b_null);

	if (a_null || b_null)
		return a_null == b_null;
	return datumIsEqual(a_value, b_value, attribute->attbyval,
						attribute->attlen) ||
		   datum_image_eq(a_value, b_value, attribute->attbyval,
						  attribute->attlen);
}

static bool
has_changed(const Marking *m, const Watched *watched, TupleTableSlot *a,
			TupleTableSlot *b)
{
	for (int i = 0; i < watched->ncolumns; i++)
		if (!same_column(m->desc, a, b, watched->columns[i]))
			return true;
	if (watched->ncolumns >= 0)
		return false;
	for (int i = 0; i < m->desc->natts; i++)
		if (!TupleDescAttr(m->desc, i)->attisdropped &&
			!same_column(m->desc, a, b, i + 1))
			return true;
	return false;
}

/* What reads a transition table after us rewinds it, too. */
static void
rewind_rows(Tuplestorestate *rows)
{
	tuplestore_select_read_pointer(rows, 0);
	tuplestore_rescan(rows);
}

static void
mark_rows(Marking *m, Tuplestorestate *rows)
{
	TupleTableSlot *slot =
		MakeSingleTupleTableSlot(m->desc, &TTSOpsMinimalTuple);

	rewind_rows(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		MemoryContext old = MemoryContextSwitchTo(m->row_context);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < m->watched->n; i++)
			mark_row(m, i, slot);
		MemoryContextSwitchTo(old);
		MemoryContextReset(m->row_context);
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Both tables have their rows in the same order. */
static void
mark_changed_rows(Marking *m, Tuplestorestate *old_rows,
				  Tuplestorestate *new_rows)
{
	TupleTableSlot *old_row =
		MakeSingleTupleTableSlot(m->desc, &TTSOpsMinimalTuple);
	TupleTableSlot *new_row =
		MakeSingleTupleTableSlot(m->desc, &TTSOpsMinimalTuple);

	rewind_rows(old_rows);
	rewind_rows(new_rows);
	while (tuplestore_gettupleslot(old_rows, true, false, old_row) &&
		   tuplestore_gettupleslot(new_rows, true, false, new_row))
	{
		MemoryContext old = MemoryContextSwitchTo(m->row_context);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < m->watched->n; i++)
			if (has_changed(m, &m->watched->watches[i], old_row, new_row))
			{
				mark_row(m, i, old_row);
				mark_row(m, i, new_row);
			}
		MemoryContextSwitchTo(old);
		MemoryContextReset(m->row_context);
	}
	ExecDropSingleTupleTableSlot(old_row);
	ExecDropSingleTupleTableSlot(new_row);
}

static void
mark_update(Marking *m, Tuplestorestate *old_rows, Tuplestorestate *new_rows)
{
	if (PGJ_SABOTAGE == 5)
	{
		mark_rows(m, new_rows);
		return;
	}
	/* a row that moved to another partition and was refused there has no pair */
	if (tuplestore_tuple_count(old_rows) == tuplestore_tuple_count(new_rows))
		mark_changed_rows(m, old_rows, new_rows);
	else
	{
		mark_rows(m, old_rows);
		mark_rows(m, new_rows);
	}
}

static void
mark_statement(Marking *m, const TriggerData *data)
{
	if (TRIGGER_FIRED_BY_TRUNCATE(data->tg_event))
		for (int i = 0; i < m->watched->n; i++)
			mark_all(m, i);
	else if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		mark_update(m, data->tg_oldtable, data->tg_newtable);
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		mark_rows(m, data->tg_oldtable);
	else
		mark_rows(m, data->tg_newtable);
	append_marks(m);
}

/* A link's text must read the same whatever the writer's settings are. */
static void
standardize_output(void)
{
	static const char *const settings[][2] = { { "datestyle", "ISO, MDY" },
											   { "intervalstyle", "postgres" },
											   { "extra_float_digits", "1" },
											   { "timezone", "UTC" } };

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
}

/* ---- the trigger ------------------------------------------------------ */

static void
check_called_right(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(data->tg_event) ||
		((TRIGGER_FIRED_BY_INSERT(data->tg_event) ||
		  TRIGGER_FIRED_BY_UPDATE(data->tg_event)) &&
		 data->tg_newtable == NULL) ||
		((TRIGGER_FIRED_BY_DELETE(data->tg_event) ||
		  TRIGGER_FIRED_BY_UPDATE(data->tg_event)) &&
		 data->tg_oldtable == NULL))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("journey._mark() was not called as a segment's trigger"),
				errhint("Its triggers are made by journey.create_segment()."));
}

static bool
has_rows(const TriggerData *data)
{
	return TRIGGER_FIRED_BY_TRUNCATE(data->tg_event) ||
		   (data->tg_newtable != NULL &&
			tuplestore_tuple_count(data->tg_newtable) > 0) ||
		   (data->tg_oldtable != NULL &&
			tuplestore_tuple_count(data->tg_oldtable) > 0);
}

static Oid
mark_table(void)
{
	Oid namespace = get_namespace_oid(PGJ_STATE_SCHEMA, true);

	return OidIsValid(namespace) ? get_relname_relid("mark", namespace)
								 : InvalidOid;
}

/*
 * journey.adopt() locks writers out.  One that waited for it here must not go on
 * in the belief that the database still is a copy.  That the table has been dropped
 * by hand is for the next tick to say, not for the shop's statement.
 */
static const Site *
live_site(void)
{
	const Site *site = pgj_site_or_null();
	Oid marks = site == NULL ? InvalidOid : mark_table();

	if (!OidIsValid(marks))
		return NULL;
	LockRelationOid(marks, RowExclusiveLock);
	site = pgj_site_or_null();
	return site == NULL || site->is_copy || mark_table() != marks ? NULL : site;
}

Datum
pgj_sql_mark(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	Marking m = { 0 };
	int nest_level;

	check_called_right(fcinfo);
	if (!has_rows(data) || (m.site = live_site()) == NULL)
		return PointerGetDatum(NULL);
	m.desc = RelationGetDescr(data->tg_relation);
	m.watched =
		pgj_watched(m.site, RelationGetRelid(data->tg_relation), m.desc);
	if (m.watched->n == 0)
		return PointerGetDatum(NULL);

	m.at = pgj_clock_statement();
	m.all_marked = palloc0_array(bool, m.watched->n);
	m.row_context = AllocSetContextCreate(
		CurrentMemoryContext, "pg_journey row", ALLOCSET_SMALL_SIZES);
	m.context = AllocSetContextCreate(CurrentMemoryContext, "pg_journey marks",
									  ALLOCSET_DEFAULT_SIZES);
	begin_marks(&m);
	nest_level = NewGUCNestLevel();
	if (!m.watched->plain_output)
		standardize_output();
	mark_statement(&m, data);
	AtEOXact_GUC(true, nest_level);
	MemoryContextDelete(m.context);
	MemoryContextDelete(m.row_context);
	return PointerGetDatum(NULL);
}
