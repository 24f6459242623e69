/*-------------------------------------------------------------------------
 *
 * unsettled.c
 *	  Is a row being written?
 *
 * A row that does not exist cannot be locked, and one that has not committed
 * cannot be seen by a statement.  So a claim looks for it in the primary key with
 * a dirty snapshot, as a unique index does: found is also what an open
 * transaction has written.  Nothing is waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "append.h"
#include "gate/unsettled.h"
#include "pg_journey.h"

struct Unsettled
{
	Relation relation;
	Relation index;
	TupleTableSlot *slot;
	int nkeys;
	ScanKeyData key[UNSETTLED_MAX_KEYS];
};

Unsettled *
pgj_unsettled_open(const char *table, int nkeys)
{
	Unsettled *look = palloc0_object(Unsettled);
	Oid index;

	Assert(nkeys <= UNSETTLED_MAX_KEYS);
	look->nkeys = nkeys;
	look->relation = table_open(pgj_state_relation(table), AccessShareLock);
	(void) RelationGetIndexList(look->relation);
	index = look->relation->rd_pkindex;
	if (!OidIsValid(index))
		elog(ERROR, "table \"%s\" has no primary key", table);
	look->index = index_open(index, AccessShareLock);
	if (look->index->rd_index->indnkeyatts < nkeys)
		elog(ERROR, "the primary key of table \"%s\" is not ours", table);
	look->slot = table_slot_create(look->relation, NULL);
	for (int i = 0; i < nkeys; i++)
	{
		Oid type = look->index->rd_opcintype[i];
		Oid equal = get_opfamily_member(look->index->rd_opfamily[i], type, type,
										BTEqualStrategyNumber);

		if (look->index->rd_index->indkey.values[i] != i + 1 ||
			!OidIsValid(equal))
			elog(ERROR, "the primary key of table \"%s\" is not ours", table);
		ScanKeyEntryInitialize(&look->key[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid, look->index->rd_indcollation[i],
							   get_opcode(equal), (Datum) 0);
	}
	return look;
}

RowState
pgj_unsettled(Unsettled *look, const Datum *key)
{
	RowState state = ROW_ABSENT;
	SnapshotData dirty;
	IndexScanDesc scan;

	for (int i = 0; i < look->nkeys; i++)
		look->key[i].sk_argument = key[i];
	InitDirtySnapshot(dirty);
	scan =
		pgj_index_beginscan(look->relation, look->index, &dirty, look->nkeys);
	index_rescan(scan, look->key, look->nkeys, NULL, 0);
	while (state != ROW_UNSETTLED &&
		   index_getnext_slot(scan, ForwardScanDirection, look->slot))
		state =
			TransactionIdIsValid(dirty.xmin) || TransactionIdIsValid(dirty.xmax)
				? ROW_UNSETTLED
				: ROW_SETTLED;
	index_endscan(scan);
	ExecClearTuple(look->slot);
	return state;
}

void
pgj_unsettled_close(Unsettled *look)
{
	ExecDropSingleTupleTableSlot(look->slot);
	index_close(look->index, AccessShareLock);
	table_close(look->relation, AccessShareLock);
	pfree(look);
}
