/*-------------------------------------------------------------------------
 *
 * event.c
 *	  Append events to journey_state.event.
 *
 * Rows go straight to the partitions, past triggers and rules, in one
 * multi-insert per partition.  What is left of user code are expression
 * indexes and check constraints that somebody may have put on the tables; they
 * run as the journey owner in a security-restricted operation.
 *
 * The engine finds new events by xid, the top-level transaction: their order is
 * the order of commits, whatever the order of ids.  A copied database writes
 * null there, so that its events wait for journey.adopt().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/executor.h"
#include "executor/execPartition.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "capture/event.h"
#include "pg_journey.h"
#include "wakeup.h"

#define ROWS_PER_INSERT	1000
#define MAX_PROPERTIES	(256 * 1024)
#define MAX_NAME		200

enum
{
	EVENT_SLICE, EVENT_CONTACT, EVENT_ID, EVENT_NAME, EVENT_AT, EVENT_XID,
	EVENT_PROPERTIES, EVENT_NCOLUMNS
};

static const char *const event_columns[EVENT_NCOLUMNS] = {
	"slice", "contact", "event_id", "name", "at", "xid", "properties"
};

void
pgj_event_check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MAX_NAME)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("name of an event must have 1 to %d bytes", MAX_NAME));
	if (strncmp(name, PGJ_EVENT_PREFIX, strlen(PGJ_EVENT_PREFIX)) == 0)
		ereport(ERROR,
				errcode(ERRCODE_RESERVED_NAME),
				errmsg("event name \"%s\" is reserved", name),
				errdetail("The prefix \"%s\" is for events of the extension itself.",
						  PGJ_EVENT_PREFIX));
}

/* Why an event cannot be recorded, as a message to show; NULL if it can. */
const char *
pgj_event_problem(TimestampTz at, Datum properties)
{
	Jsonb	   *object;

	if (TIMESTAMP_NOT_FINITE(at))
		return "time of an event must be finite";

	/* the size of the jsonb itself, known without decompressing it */
	if (toast_raw_datum_size(properties) > MAX_PROPERTIES)
		return "properties of an event must not be larger than 256 kB";
	object = DatumGetJsonbP(properties);
	if (!JB_ROOT_IS_OBJECT(object))
		return "properties of an event must be a JSON object";
	return NULL;
}

/* Attribute numbers of the columns we fill, found by name. */
static void
find_columns(Relation relation, int *attribute)
{
	for (int i = 0; i < EVENT_NCOLUMNS; i++)
	{
		AttrNumber	number = get_attnum(RelationGetRelid(relation), event_columns[i]);

		if (number == InvalidAttrNumber)
			ereport(ERROR,
					errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("column \"%s\" of relation \"%s\" does not exist",
						   event_columns[i], RelationGetRelationName(relation)));
		attribute[i] = number - 1;
	}
}

#define PUT(column, value) \
	(slot->tts_values[attribute[column]] = (value), \
	 slot->tts_isnull[attribute[column]] = false)

static void
fill_slot(TupleTableSlot *slot, const int *attribute, const Site *site,
		  const EventRow *row, bool has_xid, FullTransactionId xid)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	PUT(EVENT_SLICE, Int16GetDatum(pgj_slice_of(site, row->contact)));
	PUT(EVENT_CONTACT, row->contact);
	PUT(EVENT_ID, Int64GetDatum(row->event_id));
	PUT(EVENT_NAME, CStringGetTextDatum(row->name));
	PUT(EVENT_AT, TimestampTzGetDatum(row->at));
	if (has_xid)
		PUT(EVENT_XID, FullTransactionIdGetDatum(xid));
	PUT(EVENT_PROPERTIES, row->properties);
	ExecStoreVirtualTuple(slot);
}

/* As much of a row as decides its partition. */
static void
fill_routing_slot(TupleTableSlot *slot, const int *attribute, const EventRow *row)
{
	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	PUT(EVENT_AT, TimestampTzGetDatum(row->at));
	ExecStoreVirtualTuple(slot);
}

#undef PUT

/* Insert what is in slots, all rows of one partition. */
static void
flush_slots(EState *estate, ResultRelInfo *partition, TupleTableSlot **slots, int nslots)
{
	Relation	relation = partition->ri_RelationDesc;

	for (int i = 0; i < nslots; i++)
	{
		slots[i]->tts_tableOid = RelationGetRelid(relation);
		if (relation->rd_att->constr)
			ExecConstraints(partition, slots[i], estate);
	}
	table_multi_insert(relation, slots, nslots, estate->es_output_cid, 0, NULL);
	if (partition->ri_NumIndices > 0)
		for (int i = 0; i < nslots; i++)
			list_free(pgj_ExecInsertIndexTuples(partition, slots[i], estate));
	for (int i = 0; i < nslots; i++)
		ExecClearTuple(slots[i]);
}

/*
 * Route all rows first, then insert partition by partition: a batch whose times
 * jump between months still is one multi-insert per month.
 */
static void
insert_rows(const Site *site, Relation relation, EventRow *rows, int nrows)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *root = makeNode(ResultRelInfo);
	ModifyTableState *mtstate = makeNode(ModifyTableState);
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	PartitionTupleRouting *routing;
	TupleTableSlot *root_slot;
	ResultRelInfo **target = palloc_array(ResultRelInfo *, nrows);
	bool		has_xid = !site->is_copy;
	FullTransactionId xid = has_xid ? GetTopFullTransactionId() : InvalidFullTransactionId;
	int			attribute[EVENT_NCOLUMNS];
	int			ndone = 0;

	find_columns(relation, attribute);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(relation);
	rte->relkind = relation->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	pgj_ExecInitRangeTable(estate, rte);
	InitResultRelInfo(root, relation, 1, NULL, 0);
	estate->es_output_cid = GetCurrentCommandId(true);
	mtstate->ps.state = estate;
	mtstate->operation = CMD_INSERT;
	mtstate->mt_nrels = 1;
	mtstate->resultRelInfo = root;
	mtstate->rootResultRelInfo = root;
	routing = ExecSetupPartitionTupleRouting(estate, relation);
	root_slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);

	for (int i = 0; i < nrows; i++)
	{
		fill_routing_slot(root_slot, attribute, &rows[i]);
		target[i] = ExecFindPartition(mtstate, root, routing, root_slot, estate);
		ResetPerTupleExprContext(estate);
	}

	for (int first = 0; ndone < nrows; first++)
	{
		ResultRelInfo *partition = target[first];
		TupleConversionMap *map;
		TupleTableSlot **slots;
		int			capacity = Min(nrows - ndone, ROWS_PER_INSERT);
		int			nslots = 0;

		if (partition == NULL)
			continue;			/* done with an earlier row's partition */
		map = pgj_RootToPartitionMap(partition, estate);
		slots = palloc_array(TupleTableSlot *, capacity);
		for (int i = 0; i < capacity; i++)
			slots[i] = table_slot_create(partition->ri_RelationDesc, NULL);

		for (int i = first; i < nrows; i++)
		{
			MemoryContext old;

			if (target[i] != partition)
				continue;
			CHECK_FOR_INTERRUPTS();
			old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
			if (map == NULL)
				fill_slot(slots[nslots], attribute, site, &rows[i], has_xid, xid);
			else
			{
				fill_slot(root_slot, attribute, site, &rows[i], has_xid, xid);
				execute_attr_map_slot(map->attrMap, root_slot, slots[nslots]);
			}
			ExecMaterializeSlot(slots[nslots]);
			MemoryContextSwitchTo(old);
			target[i] = NULL;
			ndone++;
			if (++nslots == capacity)
			{
				flush_slots(estate, partition, slots, nslots);
				ResetPerTupleExprContext(estate);
				nslots = 0;
			}
		}
		if (nslots > 0)
			flush_slots(estate, partition, slots, nslots);
		ResetPerTupleExprContext(estate);
		for (int i = 0; i < capacity; i++)
			ExecDropSingleTupleTableSlot(slots[i]);
		pfree(slots);
	}

	ExecDropSingleTupleTableSlot(root_slot);
	ExecCleanupTupleRouting(mtstate, routing);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	pfree(target);
}

static void
append(const Site *site, EventRow *rows, int nrows, bool numbered)
{
	Oid			namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);
	Oid			relid = get_relname_relid("event", namespace);
	Oid			sequence = get_relname_relid("event_id_seq", namespace);
	Relation	relation;
	SavedUser	saved;

	if (nrows == 0)
		return;
	if (!OidIsValid(relid) || !OidIsValid(sequence))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("the tables of schema \"%s\" are incomplete", PGJ_STATE_SCHEMA),
				errhint("Restore them from a backup, or drop the schema and attach again."));

	GetUserIdAndSecContext(&saved.user, &saved.context);
	SetUserIdAndSecContext(site->owner, saved.context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	for (int i = 0; i < nrows && !numbered; i++)
		rows[i].event_id = nextval_internal(sequence, false);

	/*
	 * journey.adopt() locks writers out.  One that waited for it here must not
	 * go on in the belief that the database still is a copy.
	 */
	relation = table_open(relid, RowExclusiveLock);
	site = pgj_site_or_null();
	if (site == NULL)
		ereport(ERROR,
				errcode(ERRCODE_PGJ_NOT_ATTACHED),
				errmsg("the contact table was detached meanwhile"));
	insert_rows(site, relation, rows, nrows);
	table_close(relation, NoLock);
	pgj_become_caller(saved);

	CommandCounterIncrement();
	pgj_wake_engine_at_commit();
}

void
pgj_event_append(const Site *site, EventRow *rows, int nrows)
{
	append(site, rows, nrows, false);
}

void
pgj_event_append_numbered(const Site *site, EventRow *row)
{
	append(site, row, 1, true);
}
