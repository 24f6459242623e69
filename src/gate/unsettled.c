/*-------------------------------------------------------------------------
 *
 * unsettled.c
 *	  Is a new consent row being written?
 *
 * A row that does not exist cannot be locked, and one that has not committed
 * cannot be seen by a statement.  So a claim looks for it in the primary key with
 * a dirty snapshot, as a unique index does: found is also what an open
 * transaction has inserted.  Nothing is waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#include "append.h"
#include "gate/unsettled.h"
#include "pg_journey.h"

#define KEYS 3 /* contact, channel, topic */

struct Unsettled
{
	Relation relation;
	Relation index;
	TupleTableSlot *slot;
	ScanKeyData key[KEYS];
};

Unsettled *
pgj_unsettled_open(void)
{
	Unsettled *look = palloc0_object(Unsettled);
	Oid index;

	look->relation = table_open(pgj_state_relation("consent"), AccessShareLock);
	(void) RelationGetIndexList(look->relation);
	index = look->relation->rd_pkindex;
	if (!OidIsValid(index))
		elog(ERROR, "table \"consent\" has no primary key");
	look->index = index_open(index, AccessShareLock);
	if (look->index->rd_index->indnkeyatts != KEYS)
		elog(ERROR, "the primary key of table \"consent\" is not ours");
	look->slot = table_slot_create(look->relation, NULL);
	for (int i = 0; i < KEYS; i++)
	{
		Oid type = look->index->rd_opcintype[i];
		Oid equal = get_opfamily_member(look->index->rd_opfamily[i], type, type,
										BTEqualStrategyNumber);

		if (look->index->rd_index->indkey.values[i] != i + 1 ||
			!OidIsValid(equal))
			elog(ERROR, "the primary key of table \"consent\" is not ours");
		ScanKeyEntryInitialize(&look->key[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid, look->index->rd_indcollation[i],
							   get_opcode(equal), (Datum) 0);
	}
	return look;
}

bool
pgj_unsettled(Unsettled *look, Datum contact, const char *channel,
			  const char *topic)
{
	SnapshotData dirty;
	IndexScanDesc scan;
	bool found;

	look->key[0].sk_argument = contact;
	look->key[1].sk_argument = CStringGetTextDatum(channel);
	look->key[2].sk_argument = CStringGetTextDatum(topic);
	InitDirtySnapshot(dirty);
	scan = pgj_index_beginscan(look->relation, look->index, &dirty, KEYS);
	index_rescan(scan, look->key, KEYS, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, look->slot);
	index_endscan(scan);
	ExecClearTuple(look->slot);
	return found;
}

void
pgj_unsettled_close(Unsettled *look)
{
	ExecDropSingleTupleTableSlot(look->slot);
	index_close(look->index, AccessShareLock);
	table_close(look->relation, AccessShareLock);
	pfree(look);
}
