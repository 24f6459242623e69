/*-------------------------------------------------------------------------
 *
 * partition.c
 *	  Partitions and child tables of watched tables that come and go.
 *
 * journey.watch_member says which there were when a table was last looked at.
 * What is new gets triggers.  Rows that came or went with a partition nobody has
 * marked: then the segments that watch the table look at all contacts again.  A
 * partition that is new and empty costs nothing.
 *
 * Views and functions that segments were looked into (source.c) are listened for in
 * the same way.
 *
 * Each session looks once, and again when the relcache tells of a change of a
 * watched table or a part of it: a partition that comes or goes changes its
 * parent.  pgj_segment_prepare() is called whenever the engine starts to work.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "segment/compile.h"
#include "segment/definition.h"
#include "segment/record.h"

/* How long we wait for a table; the next call tries again. */
#define SYNC_LOCK_TIMEOUT "1s"

/* The members of a relation when it was last looked at, without those dropped. */
static List *
stored_members(Oid relation, int *ndropped)
{
	Oid types[1] = { OIDOID };
	Datum values[1] = { ObjectIdGetDatum(relation) };
	List *members = NIL;

	pgj_watch_execute(
		"SELECT m.member::pg_catalog.oid FROM journey.watch_member AS m WHERE m.relation::pg_catalog.oid OPERATOR(pg_catalog.=) $1",
		1, types, values, NULL);
	*ndropped = 0;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		Oid member = DatumGetObjectId(SPI_getbinval(
			SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		if (get_rel_name(member) == NULL)
			(*ndropped)++;
		else
			members = lappend_oid(members, member);
	}
	return members;
}

/* Has a locked table no row?  One without a block has not had any. */
static bool
is_empty(Oid member)
{
	Relation relation;
	bool empty;

	if (get_rel_relkind(member) == RELKIND_PARTITIONED_TABLE)
		return true;
	relation = table_open(member, NoLock);
	empty = RelationGetNumberOfBlocks(relation) == 0;
	table_close(relation, NoLock);
	return empty;
}

/* All segments that watch a table look at all contacts again. */
static void
want_scans(Oid relation, TimestampTz at)
{
	Oid types[2] = { OIDOID, TIMESTAMPTZOID };
	Datum values[2] = { ObjectIdGetDatum(relation), TimestampTzGetDatum(at) };

	pgj_watch_execute(
		"UPDATE journey_state.segment_scan AS c SET wanted_at = $2"
		" WHERE c.segment_id IN (SELECT s.segment_id FROM journey.segment_watch AS s"
		"  JOIN journey.watch AS w ON w.watch_id OPERATOR(pg_catalog.=) s.watch_id"
		"  WHERE w.relation::pg_catalog.oid OPERATOR(pg_catalog.=) $1)",
		2, types, values, NULL);
}

/*
 * Rows that were in a new partition before it had triggers, and those that went
 * with one that is gone, nobody has marked.
 */
static void
sync_relation(const Site *site, Oid relation, TimestampTz at)
{
	int ndropped;
	SavedUser saved = pgj_become(site->owner);
	List *old_members = stored_members(relation, &ndropped);
	List *members;
	List *added;
	bool unseen;
	ListCell *lc;

	pgj_become_caller(saved);
	members = pgj_watch_members(relation);
	unseen = ndropped > 0 || list_difference_oid(old_members, members) != NIL;
	if (!unseen && list_difference_oid(members, old_members) == NIL)
		return;

	added = list_difference_oid(members, old_members);
	list_sort(added, list_oid_cmp);
	foreach (lc, added)
	{
		LockRelationOid(lfirst_oid(lc), ShareRowExclusiveLock);
		pgj_watch_make_triggers(site, lfirst_oid(lc));
		unseen |= !is_empty(lfirst_oid(lc));
	}
	saved = pgj_become(site->owner);
	pgj_watch_store_members(relation);
	if (unseen)
		want_scans(relation, at);
	pgj_become_caller(saved);
}

/*
 * The same, in a subtransaction: a table that is locked away, or on which no
 * trigger can be made, must not stop the engine.  False: try again.
 */
static bool
try_sync_relation(const Site *site, Oid relation, TimestampTz at)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		(void) set_config_option("lock_timeout", SYNC_LOCK_TIMEOUT, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
		sync_relation(site, relation, at);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			ReThrowError(error);
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ereport(WARNING, errcode(error->sqlerrcode),
					errmsg("could not follow the partitions of \"%s\": %s",
						   get_rel_name(relation), error->message),
					error->hint ? errhint("%s", error->hint) : 0);
		FreeErrorData(error);
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

/* -------- when to look -------- */

static bool look = true;
static SubTransactionId looked_in = InvalidSubTransactionId; /* the last time */
static Oid *known = NULL; /* the members, and our own tables */
static int nknown = 0;
static uint32 *known_functions = NULL; /* hash values of those looked into */
static int nknown_functions = 0;

static void
relation_changed(Datum arg, Oid relation)
{
	if (!OidIsValid(relation))
		look = true;
	for (int i = 0; i < nknown && !look; i++)
		look = known[i] == relation;
}

static void
function_changed(Datum arg, int cache, uint32 hash)
{
	if (hash == 0)
		look = true;
	for (int i = 0; i < nknown_functions && !look; i++)
		look = known_functions[i] == hash;
}

/* What a look has led to may be undone, and then nothing would tell of it again. */
static void
transaction_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_ABORT && looked_in != InvalidSubTransactionId)
		look = true;
	if (event == XACT_EVENT_ABORT || event == XACT_EVENT_COMMIT ||
		event == XACT_EVENT_PREPARE)
		looked_in = InvalidSubTransactionId;
}

/* The numbers of those around the look are not larger than its own. */
static void
subtransaction_ended(SubXactEvent event, SubTransactionId ended,
					 SubTransactionId parent, void *arg)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && ended <= looked_in)
		look = true;
}

static void
listen_to_changes(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, function_changed, (Datum) 0);
	RegisterXactCallback(transaction_ended, NULL);
	RegisterSubXactCallback(subtransaction_ended, NULL);
	registered = true;
}

/* Remember the tables whose changes matter. */
static void
remember_known(const Site *site)
{
	SavedUser saved = pgj_become(site->owner);
	List *relations = pgj_watch_relations(
		"SELECT m.member::pg_catalog.oid FROM journey.watch_member AS m"
		" UNION SELECT s.object FROM journey.segment_source AS s WHERE s.kind OPERATOR(pg_catalog.=) 'view' AND s.object IS NOT NULL"
		" UNION SELECT 'journey.segment_source'::pg_catalog.regclass::pg_catalog.oid"
		" UNION SELECT 'journey.watch'::pg_catalog.regclass::pg_catalog.oid"
		" UNION SELECT 'journey.site'::pg_catalog.regclass::pg_catalog.oid");
	List *functions = pgj_segment_source_functions();
	ListCell *lc;

	pgj_become_caller(saved);
	listen_to_changes();

	nknown = 0;
	if (known)
		pfree(known);
	known = NULL;
	known = MemoryContextAlloc(TopMemoryContext,
							   sizeof(Oid) * (list_length(relations) + 1));
	foreach (lc, relations)
		known[nknown++] = lfirst_oid(lc);

	nknown_functions = 0;
	if (known_functions)
		pfree(known_functions);
	known_functions = NULL;
	known_functions = MemoryContextAlloc(
		TopMemoryContext, sizeof(uint32) * (list_length(functions) + 1));
	foreach (lc, functions)
		known_functions[nknown_functions++] =
			GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(lfirst_oid(lc)));
}

static bool sync_triggers(const Site *site, TimestampTz at);

void
pgj_segment_prepare(const Site *site, TimestampTz at)
{
	if (!look)
		return;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/* what comes in from here on is looked at next time */
	look = false;
	looked_in = GetCurrentSubTransactionId();
	PG_TRY();
	{
		remember_known(site);
		if (!pgj_segment_recompile_all(site, at) || !sync_triggers(site, at) ||
			!pgj_segment_suspend_lost(site, at) ||
			!pgj_segment_follow_replaced(site, at))
			look = true;
		remember_known(site);
	}
	PG_CATCH();
	{
		look = true;
		PG_RE_THROW();
	}
	PG_END_TRY();
	SPI_finish();
}

/* Is a partition of a relation new or gone?  Without locks: a hint. */
static bool
differs(const Site *site, Oid relation)
{
	int ndropped;
	SavedUser saved = pgj_become(site->owner);
	List *old_members = stored_members(relation, &ndropped);
	List *members = pgj_watch_members(relation);

	pgj_become_caller(saved);
	return ndropped > 0 || list_length(old_members) != list_length(members) ||
		   list_difference_oid(old_members, members) != NIL;
}

/* Follow all watched tables; false: not all is done. */
static bool
sync_triggers(const Site *site, TimestampTz at)
{
	SavedUser saved = pgj_become(site->owner);
	List *relations = pgj_watch_relations(
		"SELECT DISTINCT w.relation::pg_catalog.oid FROM journey.watch AS w");
	List *changed = NIL;
	ListCell *lc;
	bool done = true;

	pgj_become_caller(saved);
	foreach (lc, relations)
		if (pgj_watch_needs_triggers(lfirst_oid(lc)) &&
			differs(site, lfirst_oid(lc)))
			changed = lappend_oid(changed, lfirst_oid(lc));
	if (changed == NIL)
		return true;

	/* definitions may be changing; that may be about the same table */
	if (!pgj_segment_try_lock_definitions())
		return false;
	pgj_segment_lock_slices(site);
	list_sort(changed, list_oid_cmp);
	foreach (lc, changed)
		if (!try_sync_relation(site, lfirst_oid(lc), at))
			done = false;
	return done;
}
