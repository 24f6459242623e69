/*-------------------------------------------------------------------------
 *
 * error.c
 *	  Append rows to journey_state.capture_error.
 *
 * Straight to the table, like events: this is where a row of the shop goes when
 * everything an author wrote has failed, so nothing of that kind may run here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "capture/capture.h"
#include "pg_journey.h"

static void
put(TupleTableSlot *slot, const char *column, Datum value)
{
	TupleDesc desc = slot->tts_tupleDescriptor;

	for (int i = 0; i < desc->natts; i++)
		if (strcmp(NameStr(TupleDescAttr(desc, i)->attname), column) == 0)
		{
			slot->tts_values[i] = value;
			slot->tts_isnull[i] = false;
			return;
		}
	ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
			errmsg("column \"%s\" of relation \"capture_error\" does not exist",
				   column));
}

void
pgj_capture_error_append(const Site *site, const CaptureError *errors, int n)
{
	Oid namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);
	Oid sequence = get_relname_relid("row_id_seq", namespace);
	Relation relation;
	EState *estate;
	ResultRelInfo *target = makeNode(ResultRelInfo);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	TupleTableSlot *slot;
	SavedUser saved;

	saved = pgj_become(site->owner);
	relation = table_open(get_relname_relid("capture_error", namespace),
						  RowExclusiveLock);
	estate = CreateExecutorState();
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(relation);
	rte->relkind = relation->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	pgj_ExecInitRangeTable(estate, rte);
	InitResultRelInfo(target, relation, 1, NULL, 0);
	ExecOpenIndices(target, false);
	estate->es_output_cid = GetCurrentCommandId(true);
	slot = table_slot_create(relation, NULL);

	for (int i = 0; i < n; i++)
	{
		MemoryContext old =
			MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));

		CHECK_FOR_INTERRUPTS();
		ExecClearTuple(slot);
		memset(slot->tts_isnull, true,
			   slot->tts_tupleDescriptor->natts * sizeof(bool));
		put(slot, "error_id", Int64GetDatum(nextval_internal(sequence, false)));
		put(slot, "capture_id", Int32GetDatum(errors[i].capture_id));
		put(slot, "at", TimestampTzGetDatum(errors[i].at));
		put(slot, "sqlstate", CStringGetTextDatum(errors[i].sqlstate));
		put(slot, "message", CStringGetTextDatum(errors[i].message));
		if (errors[i].old_row != (Datum) 0)
			put(slot, "old_row", errors[i].old_row);
		if (errors[i].new_row != (Datum) 0)
			put(slot, "new_row", errors[i].new_row);
		ExecStoreVirtualTuple(slot);
		if (relation->rd_att->constr)
			ExecConstraints(target, slot, estate);
		table_tuple_insert(relation, slot, estate->es_output_cid, 0, NULL);
		if (target->ri_NumIndices > 0)
			list_free(pgj_ExecInsertIndexTuples(target, slot, estate));
		MemoryContextSwitchTo(old);
		ResetPerTupleExprContext(estate);
	}

	ExecDropSingleTupleTableSlot(slot);
	ExecCloseIndices(target);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	table_close(relation, NoLock);
	pgj_become_caller(saved);
	CommandCounterIncrement();
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, char *string)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = string;
	value.val.string.len = strlen(string);
	(void) pushJsonbValue(state, token, &value);
}

static void
push_jsonb(JsonbParseState **state, Jsonb *jsonb)
{
	JsonbValue value;

	if (JB_ROOT_IS_SCALAR(jsonb))
		(void) JsonbExtractScalar(&jsonb->root, &value);
	else
	{
		value.type = jbvBinary;
		value.val.binary.data = &jsonb->root;
		value.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	}
	(void) pushJsonbValue(state, WJB_VALUE, &value);
}

/*
 * A column's value.  Everything but JSON's own kinds goes as the text of its
 * output function, which jsonb_populate_record() takes back; to_jsonb() would
 * call casts to json that a user made.
 */
static void
push_value(JsonbParseState **state, Datum datum, Oid type)
{
	JsonbValue value;
	char buf[MAXDATELEN + 1];
	Oid output;
	bool varlena;

	switch (type)
	{
		case BOOLOID:
			value.type = jbvBool;
			value.val.boolean = DatumGetBool(datum);
			(void) pushJsonbValue(state, WJB_VALUE, &value);
			return;
		case INT2OID:
		case INT4OID:
		case INT8OID:
			value.type = jbvNumeric;
			value.val.numeric =
				int64_to_numeric(type == INT2OID   ? DatumGetInt16(datum)
								 : type == INT4OID ? DatumGetInt32(datum)
												   : DatumGetInt64(datum));
			(void) pushJsonbValue(state, WJB_VALUE, &value);
			return;
		case NUMERICOID:
			value.type = jbvNumeric;
			value.val.numeric = DatumGetNumeric(datum);
			if (numeric_is_nan(value.val.numeric) ||
				numeric_is_inf(value.val.numeric))
				break;
			(void) pushJsonbValue(state, WJB_VALUE, &value);
			return;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			/* what is pushed is read when all is, after buf has gone */
			push_string(state, WJB_VALUE,
						pstrdup(JsonEncodeDateTime(buf, datum, type, NULL)));
			return;
		case JSONBOID:
			push_jsonb(state, DatumGetJsonbP(datum));
			return;
		case JSONOID:
			push_jsonb(
				state,
				DatumGetJsonbP(DirectFunctionCall1(
					jsonb_in, CStringGetDatum(TextDatumGetCString(datum)))));
			return;
	}
	getTypeOutputInfo(type, &output, &varlena);
	push_string(state, WJB_VALUE, OidOutputFunctionCall(output, datum));
}

Datum
pgj_capture_row_image(TupleTableSlot *slot)
{
	TupleDesc desc = slot->tts_tupleDescriptor;
	JsonbParseState *state = NULL;
	JsonbValue null = { .type = jbvNull };

	slot_getallattrs(slot);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (attribute->attisdropped)
			continue;
		push_string(&state, WJB_KEY, NameStr(attribute->attname));
		if (slot->tts_isnull[i])
			(void) pushJsonbValue(&state, WJB_VALUE, &null);
		else
			push_value(&state, slot->tts_values[i],
					   getBaseType(attribute->atttypid));
	}
	return JsonbPGetDatum(
		JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}
