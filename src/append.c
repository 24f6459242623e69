/*-------------------------------------------------------------------------
 *
 * append.c
 *	  Append rows to a table of journey_state, partitioned or not.
 *
 * What COPY does: rows are routed, then go to each partition in one multi-insert
 * with its index entries, several times cheaper than INSERT.  The logs are
 * append only and written by nobody else, so nothing else of INSERT is missed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/execPartition.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "partitioning/partdesc.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/rel.h"

#include "append.h"
#include "pg_journey.h"

/* Some pages full: more would save nothing, and each row needs a slot. */
#define ROWS_PER_INSERT 200

/* An append in progress. */
typedef struct LogAppend
{
	const AppendRows *rows;
	int attribute[APPEND_MAX_COLUMNS]; /* of each column, from 0 */
	EState *estate;
	ModifyTableState *mtstate;
	ResultRelInfo *root;
	PartitionTupleRouting *routing;
	TupleTableSlot *root_slot;
} LogAppend;

Oid
pgj_state_relation(const char *name)
{
	Oid namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);
	Oid relation = get_relname_relid(name, namespace);

	if (!OidIsValid(relation))
		ereport(
			ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
			errmsg("relation \"%s.%s\" does not exist", PGJ_STATE_SCHEMA, name),
			errhint(
				"Restore it from a backup, or drop the schema and attach again."));
	return relation;
}

void
pgj_append_init(AppendRows *rows, const char *table, const char *const *columns,
				int ncolumns, int nrows)
{
	Assert(ncolumns <= APPEND_MAX_COLUMNS);
	rows->table = table;
	rows->ncolumns = ncolumns;
	rows->columns = columns;
	rows->nrows = nrows;
	for (int i = 0; i < ncolumns; i++)
	{
		rows->values[i] = palloc_array(Datum, nrows);
		rows->nulls[i] = palloc0_array(bool, nrows);
	}
}

static void
begin_append(LogAppend *append, Relation relation, const AppendRows *rows)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	append->rows = rows;
	for (int i = 0; i < rows->ncolumns; i++)
	{
		AttrNumber number =
			get_attnum(RelationGetRelid(relation), rows->columns[i]);

		if (number == InvalidAttrNumber)
			ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("column \"%s\" of relation \"%s\" does not exist",
						   rows->columns[i],
						   RelationGetRelationName(relation)));
		append->attribute[i] = number - 1;
	}

	append->estate = CreateExecutorState();
	append->root = makeNode(ResultRelInfo);
	append->mtstate = makeNode(ModifyTableState);
	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(relation);
	rte->relkind = relation->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
	pgj_ExecInitRangeTable(append->estate, rte);
	InitResultRelInfo(append->root, relation, 1, NULL, 0);
	append->estate->es_output_cid = GetCurrentCommandId(true);
	append->mtstate->ps.state = append->estate;
	append->mtstate->operation = CMD_INSERT;
	append->mtstate->mt_nrels = 1;
	append->mtstate->resultRelInfo = append->root;
	append->mtstate->rootResultRelInfo = append->root;
	if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		append->routing =
			ExecSetupPartitionTupleRouting(append->estate, relation);
	else
	{
		append->routing = NULL;
		ExecOpenIndices(append->root, false);
	}
	append->root_slot =
		MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
}

static void
end_append(LogAppend *append)
{
	ExecDropSingleTupleTableSlot(append->root_slot);
	if (append->routing != NULL)
		ExecCleanupTupleRouting(append->mtstate, append->routing);
	else
		ExecCloseIndices(append->root);
	ExecResetTupleTable(append->estate->es_tupleTable, false);
	FreeExecutorState(append->estate);
}

static void
fill_slot(const LogAppend *append, TupleTableSlot *slot, int row)
{
	const AppendRows *rows = append->rows;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true,
		   slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (int i = 0; i < rows->ncolumns; i++)
	{
		slot->tts_values[append->attribute[i]] = rows->values[i][row];
		slot->tts_isnull[append->attribute[i]] = rows->nulls[i][row];
	}
	ExecStoreVirtualTuple(slot);
}

/*
 * Which of the rows' columns alone says what partition a row belongs to, if there
 * is one and it is passed by value; else -1.
 */
static int
routing_column(const LogAppend *append)
{
	Relation relation = append->root->ri_RelationDesc;
	PartitionKey key = RelationGetPartitionKey(relation);
	PartitionDesc partitions = RelationGetPartitionDesc(relation, true);
	int attribute;

	for (int i = 0; i < partitions->nparts; i++)
		if (!partitions->is_leaf[i])
			return -1;
	if (get_partition_natts(key) != 1)
		return -1;
	attribute = get_partition_col_attnum(key, 0) - 1;
	if (attribute < 0 ||
		!TupleDescAttr(RelationGetDescr(relation), attribute)->attbyval)
		return -1;
	for (int i = 0; i < append->rows->ncolumns; i++)
		if (append->attribute[i] == attribute)
			return i;
	return -1;
}

/* The partition of every row. */
static ResultRelInfo **
route_rows(LogAppend *append)
{
	const AppendRows *rows = append->rows;
	ResultRelInfo **target = palloc_array(ResultRelInfo *, rows->nrows);
	int column = append->routing != NULL ? routing_column(append) : -1;

	for (int row = 0; row < rows->nrows; row++)
	{
		if (append->routing == NULL)
		{
			target[row] = append->root;
			continue;
		}
		if (column >= 0 && row > 0 &&
			rows->values[column][row] == rows->values[column][row - 1] &&
			rows->nulls[column][row] == rows->nulls[column][row - 1])
		{
			target[row] = target[row - 1];
			continue;
		}
		fill_slot(append, append->root_slot, row);
		target[row] =
			ExecFindPartition(append->mtstate, append->root, append->routing,
							  append->root_slot, append->estate);
		ResetPerTupleExprContext(append->estate);
	}
	return target;
}

/* Insert what is in slots, all rows of one partition. */
static void
flush_slots(LogAppend *append, ResultRelInfo *partition, TupleTableSlot **slots,
			int nslots)
{
	Relation relation = partition->ri_RelationDesc;

	if (nslots == 0)
		return;
	for (int i = 0; i < nslots; i++)
	{
		slots[i]->tts_tableOid = RelationGetRelid(relation);
		if (relation->rd_att->constr)
			ExecConstraints(partition, slots[i], append->estate);
	}
	table_multi_insert(relation, slots, nslots, append->estate->es_output_cid,
					   0, NULL);
	if (partition->ri_NumIndices > 0)
		for (int i = 0; i < nslots; i++)
			list_free(
				pgj_ExecInsertIndexTuples(partition, slots[i], append->estate));
	for (int i = 0; i < nslots; i++)
		ExecClearTuple(slots[i]);
	ResetPerTupleExprContext(append->estate);
}

/*
 * Insert the rows of one partition, from row "first" on; their targets are
 * cleared.  Returns how many they were.
 */
static int
append_partition(LogAppend *append, ResultRelInfo **target, int first)
{
	ResultRelInfo *partition = target[first];
	TupleConversionMap *map =
		append->routing == NULL
			? NULL
			: pgj_RootToPartitionMap(partition, append->estate);
	int capacity = Min(append->rows->nrows - first, ROWS_PER_INSERT);
	TupleTableSlot **slots = palloc_array(TupleTableSlot *, capacity);
	int nslots = 0;
	int ndone = 0;

	for (int i = 0; i < capacity; i++)
		slots[i] = table_slot_create(partition->ri_RelationDesc, NULL);
	for (int row = first; row < append->rows->nrows; row++)
	{
		if (target[row] != partition)
			continue;
		CHECK_FOR_INTERRUPTS();
		if (map == NULL)
			fill_slot(append, slots[nslots], row);
		else
		{
			fill_slot(append, append->root_slot, row);
			execute_attr_map_slot(map->attrMap, append->root_slot,
								  slots[nslots]);
		}
		ExecMaterializeSlot(slots[nslots]);
		target[row] = NULL;
		ndone++;
		if (++nslots == capacity)
		{
			flush_slots(append, partition, slots, nslots);
			nslots = 0;
		}
	}
	flush_slots(append, partition, slots, nslots);
	for (int i = 0; i < capacity; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	pfree(slots);
	return ndone;
}

void
pgj_append(const Site *site, const AppendRows *rows)
{
	LogAppend append;
	Relation relation;
	ResultRelInfo **target;
	Oid user;
	int context;
	int ndone = 0;

	if (rows->nrows == 0)
		return;

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(site->owner, context | SECURITY_LOCAL_USERID_CHANGE |
											SECURITY_RESTRICTED_OPERATION);
	relation = table_open(pgj_state_relation(rows->table), RowExclusiveLock);
	begin_append(&append, relation, rows);
	target = route_rows(&append);
	for (int row = 0; ndone < rows->nrows; row++)
		if (target[row] != NULL) /* else done with an earlier row's partition */
			ndone += append_partition(&append, target, row);
	end_append(&append);
	pfree(target);
	table_close(relation, NoLock);
	SetUserIdAndSecContext(user, context);
	CommandCounterIncrement();
}
