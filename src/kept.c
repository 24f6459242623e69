/*-------------------------------------------------------------------------
 *
 * kept.c
 *	  What a session makes of definition tables and keeps until one changes.
 *
 * The statement trigger journey._definitions_changed() of each such table sends
 * a relcache invalidation, to this session as soon as the changing command is
 * done, also when it is rolled back, and to the others when it commits: before
 * its locks are released and before COMMIT returns.  They are taken in with
 * each call.  So a session sees its own changes and what had committed when it
 * asked; it never waits for anybody who is changing a definition.
 *
 * Invalidations are counted.  The count is taken before the snapshot that the
 * tables are read with, so one that comes in while they are read makes the next
 * call read anew, and after an error everything is as it was: stale.  The snapshot
 * is the latest, not the transaction's or the calling statement's: they may be
 * older than the change that has just been heard of, which would then be missed
 * for as long as the session lives.  One snapshot is for all tables: they fit
 * together.
 *
 * What is replaced lives on to the end of the transaction, because whoever asked
 * for it may still be at work, with author's code between him and us.
 *
 * The server has places for ten relcache callbacks of all extensions together;
 * this takes one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "kept.h"
#include "pg_journey.h"

static Kept *all = NULL;

static void
count_change(Datum arg, Oid relid)
{
	for (Kept *kept = all; kept != NULL; kept = kept->next)
		for (int i = 0; i < PGJ_KEPT_TABLES && kept->tables[i] != NULL; i++)
			if (!OidIsValid(relid) || kept->relation[i] == relid)
			{
				kept->changes++;
				break;
			}
}

static void
make_known(Kept *kept)
{
	if (kept->known)
		return;
	if (all == NULL)
		CacheRegisterRelcacheCallback(count_change, (Datum) 0);
	kept->next = all;
	all = kept;
	kept->known = true;
}

/* The extension may have been dropped and made again since. */
static void
find_tables(Kept *kept)
{
	Oid schema = get_namespace_oid(PGJ_SCHEMA, false);

	for (int i = 0; i < PGJ_KEPT_TABLES && kept->tables[i] != NULL; i++)
	{
		kept->relation[i] = get_relname_relid(kept->tables[i], schema);
		if (!OidIsValid(kept->relation[i]))
			elog(ERROR, "table journey.%s does not exist", kept->tables[i]);
	}
}

typedef struct Release
{
	MemoryContextCallback callback;
	void (*release)(void *content);
	void *content;
} Release;

static void
release(void *arg)
{
	Release *r = arg;

	r->release(r->content);
}

static void
release_with(MemoryContext context, Kept *kept)
{
	Release *r = MemoryContextAlloc(context, sizeof(Release));

	r->callback.func = release;
	r->callback.arg = r;
	r->release = kept->release;
	r->content = kept->content;
	MemoryContextRegisterResetCallback(context, &r->callback);
}

static void
read_anew(Kept *kept, const Site *site)
{
	MemoryContext context = AllocSetContextCreate(
		CurTransactionContext, "pg_journey definitions", ALLOCSET_SMALL_SIZES);
	uint64 changes;
	void *content;

	MemoryContextSetIdentifier(context, kept->name);
	make_known(kept);
	find_tables(kept);
	changes = kept->changes;

	SPI_connect();
	PushActiveSnapshot(GetLatestSnapshot());
	MemoryContextSwitchTo(context);
	content = kept->read(site);
	PopActiveSnapshot();
	SPI_finish();

	if (kept->context != NULL)
		MemoryContextSetParent(kept->context, TopTransactionContext);
	MemoryContextSetParent(context, CacheMemoryContext);
	kept->context = context;
	kept->content = content;
	kept->read_after = changes;
	if (kept->release != NULL)
		release_with(context, kept);
}

void *
pgj_kept(Kept *kept, const Site *site)
{
	AcceptInvalidationMessages();
	if (kept->context == NULL || kept->read_after != kept->changes)
		read_anew(kept, site);
	return kept->content;
}

uint64
pgj_kept_select(KeptPlan *plan, const Site *site)
{
	Params params;

	pgj_params_init(&params, site, 0);
	return pgj_plan_execute_snapshot(plan, &params, GetActiveSnapshot());
}
