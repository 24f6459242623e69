/*-------------------------------------------------------------------------
 *
 * watch.c
 *	  The tables that segments watch: their triggers, and the rows of
 *	  journey.watch, journey.segment_watch and journey.watch_member.
 *
 * Triggers are made once for a table and shared by all watches on it; which
 * watches there are, the trigger function finds out (mark.c).  A statement fires
 * the triggers of the table that it names, so each partition and each child
 * table has them, too.  journey_state.event and membership have none: the passes
 * read events themselves, and know whom they made enter and leave.
 *
 * Locks.  Definitions change one at a time, under a lock on
 * journey.segment_need, which nobody else writes.  It comes before every other
 * lock, then those of slices, then those of tables in the order of their
 * numbers, then those of rows of journey.segment and segment_scan.  A new watch locks its tables out of writing even if the triggers are
 * there: a writer who is under way does not know of it.
 *
 * Triggers are made as the journey owner, who needs TRIGGER on the table.  To
 * drop one takes the table's owner; if neither the journey owner nor the caller
 * is that, the triggers stay and do nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "pg_journey.h"
#include "segment/compile.h"
#include "segment/definition.h"
#include "segment/segment.h"

#define TRIGGER_PREFIX "journey_mark_"
#define TABLE_PATIENCE "3s"

static const struct
{
	const char *name;
	const char *events;
} triggers[] = {
	{ TRIGGER_PREFIX "insert",
	  "INSERT ON %s REFERENCING NEW TABLE AS pgj_new" },
	{ TRIGGER_PREFIX "update",
	  "UPDATE ON %s REFERENCING OLD TABLE AS pgj_old NEW TABLE AS pgj_new" },
	{ TRIGGER_PREFIX "delete",
	  "DELETE ON %s REFERENCING OLD TABLE AS pgj_old" },
	{ TRIGGER_PREFIX "truncate", "TRUNCATE ON %s" },
};

void
pgj_watch_execute(const char *statement, int nargs, Oid *types, Datum *values,
				  const char *nulls)
{
	int rc =
		SPI_execute_with_args(statement, nargs, types, values, nulls, false, 0);

	if (rc < 0)
		elog(ERROR, "could not run \"%s\": %s", statement,
			 SPI_result_code_string(rc));
}

static Oid
definitions_table(void)
{
	return get_relname_relid("segment_need",
							 get_namespace_oid(PGJ_SCHEMA, false));
}

void
pgj_segment_lock_definitions(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(
			ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
			errmsg(
				"segments must be changed at isolation level READ COMMITTED"));
	LockRelationOid(definitions_table(), ShareRowExclusiveLock);
}

bool
pgj_segment_try_lock_definitions(void)
{
	return ConditionalLockRelationOid(definitions_table(),
									  ShareRowExclusiveLock);
}

/* -------- which tables -------- */

/* Events and memberships are read by the passes themselves. */
bool
pgj_watch_needs_triggers(Oid relation)
{
	Oid namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);

	return relation != get_relname_relid("event", namespace) &&
		   relation != get_relname_relid("membership", namespace);
}

static char *
table_name(Oid relation)
{
	return quote_qualified_identifier(
		get_namespace_name(get_rel_namespace(relation)),
		get_rel_name(relation));
}

/* A relation with its partitions or children of all levels. */
List *
pgj_watch_members(Oid relation)
{
	return find_all_inheritors(relation, NoLock, NULL);
}

static void
lock_error(void *arg)
{
	if (geterrcode() == ERRCODE_LOCK_NOT_AVAILABLE)
		errhint(
			"Somebody holds a table that the segment reads, and others would wait behind this. Try again when they have done, or set lock_timeout to wait longer.");
}

/*
 * While a lock of a table is waited for, everybody who writes to it queues up
 * behind: not for as long as the longest transaction of the shop lasts, unless the
 * caller asks for that.
 */
static int
begin_patience(ErrorContextCallback *callback)
{
	int nest_level = NewGUCNestLevel();

	if (LockTimeout == 0)
		(void) set_config_option("lock_timeout", TABLE_PATIENCE, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	callback->callback = lock_error;
	callback->arg = NULL;
	callback->previous = error_context_stack;
	error_context_stack = callback;
	return nest_level;
}

static void
end_patience(ErrorContextCallback *callback, int nest_level)
{
	error_context_stack = callback->previous;
	AtEOXact_GUC(true, nest_level);
}

/* Lock tables in the order of their numbers; those that come up meanwhile last. */
static List *
lock_members(List *relations, LOCKMODE mode)
{
	List *locked = NIL;
	ErrorContextCallback callback;
	int nest_level = begin_patience(&callback);

	for (;;)
	{
		List *wanted = NIL;
		ListCell *lc;

		foreach (lc, relations)
			if (get_rel_name(lfirst_oid(lc)) != NULL)
				wanted = list_concat_unique_oid(
					wanted, pgj_watch_members(lfirst_oid(lc)));
		wanted = list_difference_oid(wanted, locked);
		if (wanted == NIL)
			break;
		list_sort(wanted, list_oid_cmp);
		foreach (lc, wanted)
		{
			LockRelationOid(lfirst_oid(lc), mode);
			locked = lappend_oid(locked, lfirst_oid(lc));
		}
	}
	end_patience(&callback, nest_level);
	return locked;
}

static List *
watched_relations(List *watches)
{
	List *relations = NIL;
	ListCell *lc;

	foreach (lc, watches)
	{
		const Watch *watch = lfirst(lc);

		if (pgj_watch_needs_triggers(watch->relation))
			relations = list_append_unique_oid(relations, watch->relation);
	}
	return relations;
}

/* -------- triggers -------- */

static bool
has_triggers(Oid relation)
{
	for (int i = 0; i < lengthof(triggers); i++)
		if (!OidIsValid(get_trigger_oid(relation, triggers[i].name, true)))
			return false;
	return true;
}

static void
check_table(const Site *site, Oid relation)
{
	char kind = get_rel_relkind(relation);

	if (kind == '\0')
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("a table that the segment reads no longer exists"),
				errhint("Try again."));
	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE)
		ereport(
			ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
			errmsg("changes of \"%s\" cannot be followed: it is not a table",
				   get_rel_name(relation)),
			errhint("Detach it, or use a copy of it in the predicate."));
	if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("cannot watch temporary table \"%s\"",
					   get_rel_name(relation)));
	if (pg_class_aclcheck(relation, site->owner, ACL_TRIGGER) != ACLCHECK_OK)
		ereport(
			ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("role \"%s\" must not make triggers on \"%s\"",
				   GetUserNameFromId(site->owner, false),
				   get_rel_name(relation)),
			errdetail("Segments learn of changed rows by triggers."),
			errhint("GRANT TRIGGER ON %s TO %s;", table_name(relation),
					quote_identifier(GetUserNameFromId(site->owner, false))));
}

/* Make the triggers that are missing; the table is locked. */
void
pgj_watch_make_triggers(const Site *site, Oid relation)
{
	SavedUser saved;

	if (has_triggers(relation))
		return;
	check_table(site, relation);
	saved = pgj_become(site->owner);
	for (int i = 0; i < lengthof(triggers); i++)
	{
		StringInfoData command;

		if (OidIsValid(get_trigger_oid(relation, triggers[i].name, true)))
			continue;
		initStringInfo(&command);
		appendStringInfo(&command, "CREATE TRIGGER %s AFTER ",
						 triggers[i].name);
		appendStringInfo(&command, triggers[i].events, table_name(relation));
		appendStringInfoString(
			&command, " FOR EACH STATEMENT EXECUTE FUNCTION journey._mark()");
		pgj_watch_execute(command.data, 0, NULL, NULL, NULL);
	}
	pgj_become_caller(saved);
}

void
pgj_watch_lock_tables(const Site *site, List *watches)
{
	List *members =
		lock_members(watched_relations(watches), ShareRowExclusiveLock);
	ListCell *lc;

	foreach (lc, members)
	{
		check_table(site, lfirst_oid(lc));
		pgj_watch_make_triggers(site, lfirst_oid(lc));
	}
}

/*
 * Drop the triggers of a table that nobody watches any more.  The session's user
 * may own the table where the journey owner does not.
 */
static void
drop_triggers(const Site *site, Oid relation)
{
	bool by_owner = pgj_is_table_owner(relation, site->owner);
	ErrorContextCallback callback;
	SavedUser saved;
	int nest_level;

	if (!by_owner && !pgj_is_table_owner(relation, GetUserId()))
	{
		ereport(NOTICE,
				errmsg("triggers %s* stay on \"%s\" and do nothing",
					   TRIGGER_PREFIX, get_rel_name(relation)),
				errhint("The owner of the table can drop them."));
		return;
	}
	if (by_owner)
		saved = pgj_become(site->owner);
	nest_level = begin_patience(&callback);
	for (int i = 0; i < lengthof(triggers); i++)
		if (OidIsValid(get_trigger_oid(relation, triggers[i].name, true)))
			pgj_watch_execute(psprintf("DROP TRIGGER %s ON %s",
									   triggers[i].name, table_name(relation)),
							  0, NULL, NULL, NULL);
	end_patience(&callback, nest_level);
	if (by_owner)
		pgj_become_caller(saved);
}

/* -------- rows -------- */

static Datum
attributes_array(List *numbers)
{
	Datum *values = palloc_array(Datum, Max(list_length(numbers), 1));
	ListCell *lc;

	foreach (lc, numbers)
		values[foreach_current_index(lc)] = Int16GetDatum(lfirst_int(lc));
	return PointerGetDatum(construct_array(values, list_length(numbers),
										   INT2OID, 2, true, TYPALIGN_SHORT));
}

static Datum
names_array(List *names)
{
	Datum *values = palloc_array(Datum, Max(list_length(names), 1));
	ListCell *lc;

	foreach (lc, names)
		values[foreach_current_index(lc)] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(values, list_length(names), TEXTOID,
										   -1, false, TYPALIGN_INT));
}

static int
first_int(void)
{
	bool isnull;

	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

static const char *
kind_name(WatchKind kind)
{
	return kind == WATCH_CONTACT ? "contact"
		   : kind == WATCH_LINK	 ? "link"
								 : "all";
}

/* The number of a watch, which another segment may have made. */
static int
store_watch(const Watch *watch)
{
	Oid types[4] = { OIDOID, TEXTOID, INT2ARRAYOID, BOOLOID };
	Datum values[4] = { ObjectIdGetDatum(watch->relation),
						CStringGetTextDatum(kind_name(watch->kind)),
						attributes_array(watch->key),
						BoolGetDatum(watch->null_is_all) };

	pgj_watch_execute(
		"SELECT w.watch_id FROM journey.watch AS w"
		" WHERE w.relation::pg_catalog.oid OPERATOR(pg_catalog.=) $1 AND w.kind OPERATOR(pg_catalog.=) $2"
		" AND w.key OPERATOR(pg_catalog.=) $3 AND w.null_is_all OPERATOR(pg_catalog.=) $4",
		4, types, values, NULL);
	if (SPI_processed == 0)
		pgj_watch_execute(
			"INSERT INTO journey.watch (relation, kind, key, null_is_all)"
			" VALUES ($1::pg_catalog.regclass, $2, $3, $4) RETURNING watch_id",
			4, types, values, NULL);
	return first_int();
}

static void
store_segment_watch(int segment_id, int watch_id, const Watch *watch)
{
	Oid types[5] = { INT4OID, INT4OID, INT2ARRAYOID, TEXTARRAYOID, TEXTOID };
	Datum values[5] = { Int32GetDatum(segment_id), Int32GetDatum(watch_id) };
	char nulls[6] = "     ";

	nulls[2] = watch->whole_row ? 'n' : ' ';
	values[2] = attributes_array(watch->columns);
	nulls[3] = watch->event_names == NIL ? 'n' : ' ';
	values[3] = names_array(watch->event_names);
	nulls[4] = watch->find == NULL ? 'n' : ' ';
	values[4] = CStringGetTextDatum(
		pgj_segment_function_name(segment_id, "find", watch_id));
	pgj_watch_execute(
		"INSERT INTO journey.segment_watch (segment_id, watch_id, columns, event_names, find)"
		" VALUES ($1, $2, $3, $4, $5)",
		5, types, values, nulls);
}

/* Remember which partitions a watched table has now. */
void
pgj_watch_store_members(Oid relation)
{
	Oid types[2] = { OIDOID, OIDOID };
	Datum values[2] = { ObjectIdGetDatum(relation) };
	List *members = pgj_watch_members(relation);
	ListCell *lc;

	pgj_watch_execute(
		"DELETE FROM journey.watch_member AS m WHERE m.relation::pg_catalog.oid OPERATOR(pg_catalog.=) $1",
		1, types, values, NULL);
	foreach (lc, members)
	{
		values[1] = ObjectIdGetDatum(lfirst_oid(lc));
		pgj_watch_execute(
			"INSERT INTO journey.watch_member (relation, member) VALUES ($1::pg_catalog.regclass, $2::pg_catalog.regclass)",
			2, types, values, NULL);
	}
}

int *
pgj_watch_store(const Site *site, int segment_id, List *watches)
{
	int *watch_ids = palloc_array(int, Max(list_length(watches), 1));
	SavedUser saved = pgj_become(site->owner);
	List *relations = watched_relations(watches);
	ListCell *lc;

	foreach (lc, watches)
	{
		int i = foreach_current_index(lc);

		watch_ids[i] = store_watch(lfirst(lc));
		store_segment_watch(segment_id, watch_ids[i], lfirst(lc));
	}
	foreach (lc, relations)
		pgj_watch_store_members(lfirst_oid(lc));
	pgj_become_caller(saved);
	return watch_ids;
}

/* Numbers of tables that a query over regclasses yields, those that exist. */
List *
pgj_watch_relations(const char *query)
{
	List *relations = NIL;

	pgj_watch_execute(query, 0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool isnull;
		Oid relation = DatumGetObjectId(SPI_getbinval(
			SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));

		if (get_rel_name(relation) != NULL)
			relations = lappend_oid(relations, relation);
	}
	return relations;
}

/* Tables with triggers of ours that are no member of a watched table. */
#define UNWATCHED_TABLES                                                                                \
	"SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_trigger AS t"                                         \
	" WHERE t.tgfoid OPERATOR(pg_catalog.=) 'journey._mark()'::pg_catalog.regprocedure::pg_catalog.oid" \
	" AND NOT t.tgisinternal AND NOT EXISTS (SELECT FROM journey.watch_member AS m"                     \
	"  WHERE m.member::pg_catalog.oid OPERATOR(pg_catalog.=) t.tgrelid)"

void
pgj_watch_drop_unused(const Site *site)
{
	SavedUser saved = pgj_become(site->owner);
	List *relations;
	ListCell *lc;

	pgj_watch_execute(
		"DELETE FROM journey.watch AS w WHERE NOT EXISTS (SELECT FROM journey.segment_watch AS s"
		"  WHERE s.watch_id OPERATOR(pg_catalog.=) w.watch_id)",
		0, NULL, NULL, NULL);
	pgj_watch_execute(
		"DELETE FROM journey.watch_member AS m WHERE NOT EXISTS (SELECT FROM journey.watch AS w"
		"  WHERE w.relation::pg_catalog.oid OPERATOR(pg_catalog.=) m.relation::pg_catalog.oid)",
		0, NULL, NULL, NULL);
	relations = pgj_watch_relations(UNWATCHED_TABLES);
	pgj_become_caller(saved);

	list_sort(relations, list_oid_cmp);
	foreach (lc, relations)
		drop_triggers(site, lfirst_oid(lc));
}
