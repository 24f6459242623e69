/*-------------------------------------------------------------------------
 *
 * fresh.c
 *	  Which slices have events that their progress has not seen?
 *
 * Events are partitioned by their own time and new by their transaction
 * (engine/news.h), so a new one may be in any partition: all have to be looked at,
 * for each slice.  Every tick asks this.  The executor takes some ten
 * microseconds to look into one partition for one slice, whatever it finds; with
 * the partitions of some years that came to ten times the cost of a decision.  Here
 * it is one descent of the index that news are read by.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "append.h"
#include "pg_journey.h"

PG_FUNCTION_INFO_V1(pgj_sql_have_events);

/* Are there events of a slice by transactions from "since" to "until"? */
typedef struct Probes
{
	int n;
	Datum *slice;
	Datum *since;
	Datum *until;
	bool *endless; /* no until */
	bool *found;
} Probes;

/* The index on (slice, xid, …) of a partition. */
static Relation
open_index(Relation partition)
{
	AttrNumber slice = get_attnum(RelationGetRelid(partition), "slice");
	AttrNumber xid = get_attnum(RelationGetRelid(partition), "xid");
	List *indexes = RelationGetIndexList(partition);
	ListCell *cell;

	foreach (cell, indexes)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (index->rd_rel->relam == BTREE_AM_OID && form->indnkeyatts >= 2 &&
			form->indisvalid && form->indkey.values[0] == slice &&
			form->indkey.values[1] == xid &&
			get_opfamily_member(index->rd_opfamily[0], INT2OID, INT2OID,
								BTEqualStrategyNumber) != InvalidOid &&
			get_opfamily_member(index->rd_opfamily[1], XID8OID, XID8OID,
								BTGreaterEqualStrategyNumber) != InvalidOid &&
			RelationGetIndexPredicate(index) == NIL)
			return index;
		index_close(index, AccessShareLock);
	}
	ereport(
		ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
		errmsg("table \"%s\" has no index on (slice, xid)",
			   RelationGetRelationName(partition)),
		errhint("Create it as that of table \"%s.event\".", PGJ_STATE_SCHEMA));
}

static void
init_keys(ScanKey key)
{
	ScanKeyInit(&key[0], 1, BTEqualStrategyNumber, F_INT2EQ, (Datum) 0);
	ScanKeyInit(&key[1], 2, BTGreaterEqualStrategyNumber, F_XID8GE, (Datum) 0);
	ScanKeyInit(&key[2], 2, BTLessEqualStrategyNumber, F_XID8LE, (Datum) 0);
}

static void
look_into(Relation partition, Probes *probes)
{
	Relation index = open_index(partition);
	TupleTableSlot *slot = table_slot_create(partition, NULL);
	IndexScanDesc scan =
		pgj_index_beginscan(partition, index, GetActiveSnapshot(), 3);
	ScanKeyData key[3];

	init_keys(key);
	for (int i = 0; i < probes->n; i++)
	{
		if (probes->found[i])
			continue;
		CHECK_FOR_INTERRUPTS();
		key[0].sk_argument = probes->slice[i];
		key[1].sk_argument = probes->since[i];
		key[2].sk_argument = probes->endless[i]
								 ? FullTransactionIdGetDatum(
									   FullTransactionIdFromU64(PG_UINT64_MAX))
								 : probes->until[i];
		index_rescan(scan, key, 3, NULL, 0);
		probes->found[i] = index_getnext_slot(scan, ForwardScanDirection, slot);
		ExecClearTuple(slot);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
}

static Datum *
take_array(FunctionCallInfo fcinfo, int argument, int n, bool **nulls)
{
	ArrayType *array = PG_GETARG_ARRAYTYPE_P(argument);
	int16 typlen;
	bool typbyval;
	char typalign;
	Datum *values;
	int count;

	get_typlenbyvalalign(ARR_ELEMTYPE(array), &typlen, &typbyval, &typalign);
	deconstruct_array(array, ARR_ELEMTYPE(array), typlen, typbyval, typalign,
					  &values, nulls, &count);
	if (count != n || (nulls == NULL && array_contains_nulls(array)))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("the arrays are not about the same probes"));
	return values;
}

Datum
pgj_sql_have_events(PG_FUNCTION_ARGS)
{
	Oid event = pgj_state_relation("event");
	ArrayType *slices = PG_GETARG_ARRAYTYPE_P(0);
	Probes probes = { .n = ArrayGetNItems(ARR_NDIM(slices), ARR_DIMS(slices)) };
	Datum *result = palloc_array(Datum, Max(probes.n, 1));
	List *partitions;
	ListCell *cell;

	if (pg_class_aclcheck(event, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, "event");
	probes.slice = take_array(fcinfo, 0, probes.n, NULL);
	probes.since = take_array(fcinfo, 1, probes.n, NULL);
	probes.until = take_array(fcinfo, 2, probes.n, &probes.endless);
	probes.found = palloc0_array(bool, Max(probes.n, 1));

	/* the next locks only what is under it */
	LockRelationOid(event, AccessShareLock);
	partitions = find_all_inheritors(event, AccessShareLock, NULL);
	foreach (cell, partitions)
	{
		Relation partition = table_open(lfirst_oid(cell), NoLock);

		if (partition->rd_rel->relkind == RELKIND_RELATION)
			look_into(partition, &probes);
		table_close(partition, NoLock);
	}

	for (int i = 0; i < probes.n; i++)
		result[i] = BoolGetDatum(probes.found[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(result, probes.n, BOOLOID,
										  sizeof(bool), true, TYPALIGN_CHAR));
}
