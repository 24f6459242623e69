/*-------------------------------------------------------------------------
 *
 * capture.c
 *	  journey.capture(), journey.drop_capture(), journey.retry_capture_errors().
 *
 * The triggers are made by the caller with the caller's own rights on the
 * table.  The definition is written as the journey owner, like all definitions.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "box.h"
#include "capture/capture.h"
#include "capture/event.h"
#include "clock.h"
#include "pg_journey.h"

#define MAX_EXPRESSION (64 * 1024)

PG_FUNCTION_INFO_V1(pgj_sql_capture);
PG_FUNCTION_INFO_V1(pgj_sql_drop_capture);
PG_FUNCTION_INFO_V1(pgj_sql_retry_capture_errors);

static char *
column_text(HeapTuple tuple, TupleDesc desc, const char *column)
{
	bool isnull;
	Datum value = heap_getattr(tuple, SPI_fnumber(desc, column), desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/*
 * Read a definition without privileges: it is wanted in the session of a writer
 * of the shop.  Allocates in the current context.
 */
CaptureDefinition *
pgj_capture_load(int capture_id)
{
	Oid relid =
		get_relname_relid("capture", get_namespace_oid(PGJ_SCHEMA, false));
	Relation relation;
	TupleDesc desc;
	SysScanDesc scan;
	ScanKeyData key;
	Snapshot snapshot;
	HeapTuple tuple;
	CaptureDefinition *definition = NULL;

	if (!OidIsValid(relid))
		return NULL;
	relation = table_open(relid, AccessShareLock);
	desc = RelationGetDescr(relation);
	ScanKeyInit(&key, SPI_fnumber(desc, "capture_id"), BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(capture_id));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(relation, InvalidOid, false, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;

		definition = palloc0_object(CaptureDefinition);
		definition->capture_id = capture_id;
		definition->event = column_text(tuple, desc, "event");
		definition->source = DatumGetObjectId(
			heap_getattr(tuple, SPI_fnumber(desc, "source"), desc, &isnull));
		definition->operations = column_text(tuple, desc, "operations");
		definition->contact = column_text(tuple, desc, "contact");
		definition->at = column_text(tuple, desc, "at");
		definition->properties = column_text(tuple, desc, "properties");
		definition->condition = column_text(tuple, desc, "condition");
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return definition;
}

static char *
text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	char *value;

	if (PG_ARGISNULL(number))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("%s of a capture must not be null", name));
	value = text_to_cstring(PG_GETARG_TEXT_PP(number));
	if (strlen(value) > MAX_EXPRESSION)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("%s of a capture must not be longer than %d bytes", name,
					   MAX_EXPRESSION));
	return value;
}

static char *
operations_argument(FunctionCallInfo fcinfo, int number)
{
	char *text = text_argument(fcinfo, number, "operations");

	if (pg_strcasecmp(text, "INSERT") == 0)
		return "INSERT";
	if (pg_strcasecmp(text, "UPDATE") == 0)
		return "UPDATE";
	if (pg_strcasecmp(text, "INSERT OR UPDATE") == 0)
		return "INSERT OR UPDATE";
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("\"%s\" is not a choice of operations", text),
			errhint("The choices are INSERT, UPDATE and INSERT OR UPDATE."));
}

static void
check_source(Relation source)
{
	if (source->rd_rel->relkind != RELKIND_RELATION &&
		source->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(
			ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
			errmsg("\"%s\" is not a table", RelationGetRelationName(source)));
	if (source->rd_rel->relispartition)
		ereport(
			ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
			errmsg("\"%s\" is a partition", RelationGetRelationName(source)),
			errhint("Capture the partitioned table."));
	if (source->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot capture temporary table \"%s\"",
					   RelationGetRelationName(source)));
}

static void
execute(const char *statement, int nargs, Oid *types, Datum *values,
		const char *nulls)
{
	int rc =
		SPI_execute_with_args(statement, nargs, types, values, nulls, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s",
			 SPI_result_code_string(rc));
}

static int
insert_definition(const Site *site, const CaptureDefinition *d)
{
	Oid types[8] = { TEXTOID, REGCLASSOID, TEXTOID, TEXTOID,
					 TEXTOID, TEXTOID,	   TEXTOID, TIMESTAMPTZOID };
	Datum values[8];
	char nulls[9] = "        ";
	SavedUser saved = pgj_become_owner(site);
	bool isnull;

	values[0] = CStringGetTextDatum(d->event);
	values[1] = ObjectIdGetDatum(d->source);
	values[2] = CStringGetTextDatum(d->operations);
	values[3] = CStringGetTextDatum(d->contact);
	values[4] = d->at ? CStringGetTextDatum(d->at) : (Datum) 0;
	nulls[4] = d->at ? ' ' : 'n';
	values[5] = CStringGetTextDatum(d->properties);
	values[6] = d->condition ? CStringGetTextDatum(d->condition) : (Datum) 0;
	nulls[6] = d->condition ? ' ' : 'n';
	values[7] = TimestampTzGetDatum(pgj_clock_now());
	execute(
		"INSERT INTO journey.capture (event, source, operations, contact, at, properties, condition, created_at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
		" ON CONFLICT (event, source) DO NOTHING RETURNING capture_id",
		8, types, values, nulls);
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_DUPLICATE_OBJECT),
				errmsg("event \"%s\" is captured from \"%s\" already", d->event,
					   get_rel_name(d->source)),
				errhint("Call journey.drop_capture() first."));
	pgj_become_caller(saved);
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

static void
create_trigger(int capture_id, Oid source, const char *operation,
			   const char *transition)
{
	char *table = quote_qualified_identifier(
		get_namespace_name(get_rel_namespace(source)), get_rel_name(source));

	execute(
		psprintf(
			"CREATE TRIGGER journey_capture_%d_%s AFTER %s ON %s REFERENCING %s"
			" FOR EACH STATEMENT EXECUTE FUNCTION journey._capture(%d)",
			capture_id, asc_tolower(operation, strlen(operation)), operation,
			table, transition, capture_id),
		0, NULL, NULL, NULL);
}

static void
drop_trigger(int capture_id, Oid source, const char *operation)
{
	char *name = psprintf("journey_capture_%d_%s", capture_id, operation);

	if (OidIsValid(get_trigger_oid(source, name, true)))
		execute(psprintf("DROP TRIGGER %s ON %s", name,
						 quote_qualified_identifier(
							 get_namespace_name(get_rel_namespace(source)),
							 get_rel_name(source))),
				0, NULL, NULL, NULL);
}

Datum
pgj_sql_capture(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	CaptureDefinition d = { 0 };
	Relation source;
	bool insert;
	bool update;

	pgj_require_member(site);
	d.event = text_argument(fcinfo, 0, "event");
	pgj_event_check_name(d.event);
	if (PG_ARGISNULL(1))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("source of a capture must not be null"));
	d.source = PG_GETARG_OID(1);
	d.contact = text_argument(fcinfo, 2, "contact");
	d.at = PG_ARGISNULL(3) ? NULL : text_argument(fcinfo, 3, "at");
	d.properties = text_argument(fcinfo, 4, "properties");
	d.condition =
		PG_ARGISNULL(5) ? NULL : text_argument(fcinfo, 5, "condition");
	d.operations = operations_argument(fcinfo, 6);
	insert = strcmp(d.operations, "UPDATE") != 0;
	update = strcmp(d.operations, "INSERT") != 0;

	source = table_open(d.source, ShareRowExclusiveLock);
	check_source(source);
	if (insert)
		pgj_capture_analyze(site, &d, d.source, RelationGetDescr(source),
							false);
	if (update)
		pgj_capture_analyze(site, &d, d.source, RelationGetDescr(source), true);
	table_close(source, NoLock);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	d.capture_id = insert_definition(site, &d);
	if (insert)
		create_trigger(d.capture_id, d.source, "INSERT",
					   "NEW TABLE AS " CAPTURE_NEW);
	if (update)
		create_trigger(d.capture_id, d.source, "UPDATE",
					   "NEW TABLE AS " CAPTURE_NEW
					   " OLD TABLE AS " CAPTURE_OLD);
	SPI_finish();
	PG_RETURN_INT32(d.capture_id);
}

Datum
pgj_sql_drop_capture(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	char *event = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid source = PG_GETARG_OID(1);
	Oid types[2] = { TEXTOID, REGCLASSOID };
	Datum values[2] = { CStringGetTextDatum(event), ObjectIdGetDatum(source) };
	SavedUser saved;
	bool isnull;
	int capture_id;

	pgj_require_member(site);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	saved = pgj_become_owner(site);
	execute(
		"DELETE FROM journey.capture WHERE event OPERATOR(pg_catalog.=) $1"
		" AND source OPERATOR(pg_catalog.=) $2::pg_catalog.oid RETURNING capture_id",
		2, types, values, NULL);
	pgj_become_caller(saved);
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("event \"%s\" is not captured from this table", event));
	capture_id = DatumGetInt32(SPI_getbinval(
		SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));

	/* the table may be gone, and its triggers with it */
	if (get_rel_name(source) != NULL)
	{
		drop_trigger(capture_id, source, "insert");
		drop_trigger(capture_id, source, "update");
	}
	SPI_finish();
	PG_RETURN_VOID();
}

/* -------- trying again -------- */

/* A row of capture_error on its way back into a row of the source. */
typedef struct RetryRow
{
	Oid source;
	Datum image; /* jsonb */
	TupleDesc desc;
	MinimalTuple tuple; /* out, in the caller's context */
} RetryRow;

static void
restore_in_box(void *arg)
{
	RetryRow *row = arg;
	MemoryContext caller_context = CurrentMemoryContext;
	Oid types[1] = { JSONBOID };
	TupleTableSlot *slot;
	HeapTuple tuple;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	execute(
		psprintf(
			"SELECT r.* FROM pg_catalog.jsonb_populate_record(NULL::%s, $1) AS r",
			quote_qualified_identifier(
				get_namespace_name(get_rel_namespace(row->source)),
				get_rel_name(row->source))),
		1, types, &row->image, NULL);
	if (SPI_processed != 1)
		elog(ERROR, "jsonb_populate_record yields no row");
	tuple = SPI_tuptable->vals[0];

	/* the result lacks the source's dropped columns */
	slot = MakeSingleTupleTableSlot(row->desc, &TTSOpsVirtual);
	ExecClearTuple(slot);
	for (int i = 0, from = 0; i < row->desc->natts; i++)
	{
		slot->tts_isnull[i] = true;
		if (!TupleDescAttr(row->desc, i)->attisdropped)
			slot->tts_values[i] = SPI_getbinval(tuple, SPI_tuptable->tupdesc,
												++from, &slot->tts_isnull[i]);
	}
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(caller_context);
	row->tuple = ExecCopySlotMinimalTuple(slot);
	ExecDropSingleTupleTableSlot(slot);
	SPI_finish();
}

static Tuplestorestate *
store_one(MinimalTuple tuple, TupleDesc desc)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, &TTSOpsMinimalTuple);

	ExecStoreMinimalTuple(tuple, slot, false);
	tuplestore_puttupleslot(store, slot);
	ExecDropSingleTupleTableSlot(slot);
	return store;
}

/*
 * Try one row again.  Its own time stands in for a missing one.  A row that
 * fails once more is written to capture_error anew by the run.
 */
static bool
retry_row(const Site *site, CapturePlan *plan, Relation source, Datum old_image,
		  Datum new_image, TimestampTz at)
{
	RetryRow new_row = { RelationGetRelid(source), new_image,
						 RelationGetDescr(source) };
	RetryRow old_row = { RelationGetRelid(source), old_image,
						 RelationGetDescr(source) };
	CaptureRows rows = { RelationGetDescr(source), NULL, NULL, 1, at };
	ErrorData *error;
	bool done;

	error = pgj_box_run(site, 0, 0, restore_in_box, &new_row);
	if (error == NULL && old_image != (Datum) 0)
		error = pgj_box_run(site, 0, 0, restore_in_box, &old_row);
	if (error != NULL)
	{
		CaptureError failed = { pgj_capture_plan_id(plan),
								at,
								unpack_sql_state(error->sqlerrcode),
								error->message,
								old_image,
								new_image };

		pgj_capture_error_append(site, &failed, 1);
		return false;
	}
	rows.new_rows = store_one(new_row.tuple, rows.desc);
	if (old_image != (Datum) 0)
		rows.old_rows = store_one(old_row.tuple, rows.desc);
	done = pgj_capture_run(site, plan, &rows) == 0;
	tuplestore_end(rows.new_rows);
	if (rows.old_rows != NULL)
		tuplestore_end(rows.old_rows);
	return done;
}

/*
 * Take the stored rows away, all in one statement, and try each; what fails
 * again comes back as a new row.
 */
static void
retry_capture(const Site *site, int capture_id, Relation source,
			  int64 *recorded, int64 *failed)
{
	CapturePlan *insert = pgj_capture_plan(InvalidOid, capture_id,
										   RelationGetRelid(source), false);
	CapturePlan *update = pgj_capture_plan(InvalidOid, capture_id,
										   RelationGetRelid(source), true);
	Oid types[1] = { INT4OID };
	Datum values[1] = { Int32GetDatum(capture_id) };
	SavedUser saved = pgj_become_owner(site);
	SPITupleTable *table;
	uint64 nrows;

	/* it was dropped while we waited for the table */
	if (insert == NULL || update == NULL)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("capture %d does not exist", capture_id));

	execute(
		"WITH taken AS (DELETE FROM journey_state.capture_error"
		"  WHERE capture_id OPERATOR(pg_catalog.=) $1 AND new_row IS NOT NULL"
		"  RETURNING error_id, old_row, new_row, at)"
		" SELECT t.old_row, t.new_row, t.at FROM taken t ORDER BY t.error_id",
		1, types, values, NULL);
	pgj_become_caller(saved);
	table = SPI_tuptable;
	nrows = SPI_processed;
	for (uint64 i = 0; i < nrows; i++)
	{
		bool old_null;
		bool isnull;
		Datum old_row =
			SPI_getbinval(table->vals[i], table->tupdesc, 1, &old_null);
		Datum new_row =
			SPI_getbinval(table->vals[i], table->tupdesc, 2, &isnull);
		Datum at = SPI_getbinval(table->vals[i], table->tupdesc, 3, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (retry_row(site, old_null ? insert : update, source,
					  old_null ? (Datum) 0 : old_row, new_row,
					  DatumGetTimestampTz(at)))
			(*recorded)++;
		else
			(*failed)++;
	}
}

Datum
pgj_sql_retry_capture_errors(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	int capture_id = PG_GETARG_INT32(0);
	CaptureDefinition *definition;
	Relation source;
	int64 recorded = 0;
	int64 failed = 0;
	TupleDesc desc;
	Datum values[2];
	bool nulls[2] = { false, false };

	pgj_require_member(site);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	definition = pgj_capture_load(capture_id);
	if (definition == NULL)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("capture %d does not exist", capture_id));
	source = table_open(definition->source, AccessShareLock);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	retry_capture(site, capture_id, source, &recorded, &failed);
	SPI_finish();
	table_close(source, AccessShareLock);
	values[0] = Int64GetDatum(recorded);
	values[1] = Int64GetDatum(failed);
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
