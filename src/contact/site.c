/*-------------------------------------------------------------------------
 *
 * site.c
 *	  The attached contact table and the journey owner, cached per backend.
 *
 * The row of journey.site is read without privileges: the writer of a captured
 * table needs no rights on our schemas.  The cache goes when journey.site
 * changes (its statement trigger sends a relcache invalidation), when the
 * contact table changes (a rename), and when any schema does (the owner of
 * journey_state is the journey owner).
 *
 * Callers keep the result while they run SQL, which may invalidate it.  So a
 * Site is never freed: when the row reads the same as before, the old one is
 * handed out again, else a new one is made.  A backend leaks a few hundred
 * bytes per attach() it sees.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "contact/site.h"
#include "pg_journey.h"

/* Seed of the slices' hash; holdouts and splits use SHA-256, so no overlap. */
#define SLICE_SEED UINT64CONST(0x9d3f51c2a46be817)

static bool callbacks_registered = false;
static bool site_valid = false; /* site_current is what journey.site says */
static Oid site_relation = InvalidOid;
static Site *site_current = NULL; /* NULL: nothing attached */
static Site *site_last = NULL; /* the last one made, to be handed out again */

PG_FUNCTION_INFO_V1(pgj_sql_definitions_changed);

static void
invalidate_relation(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || relid == site_relation ||
		(site_current != NULL && relid == site_current->contact_table))
		site_valid = false;
}

static void
invalidate_namespace(Datum arg, int cacheid, uint32 hashvalue)
{
	site_valid = false;
}

static bool
same_string(const char *a, const char *b)
{
	return (a == NULL || b == NULL) ? a == b : strcmp(a, b) == 0;
}

static bool
same_site(const Site *a, const Site *b)
{
	return same_string(a->site_id, b->site_id) && a->owner == b->owner &&
		   a->contact_table == b->contact_table &&
		   same_string(a->contact_name, b->contact_name) &&
		   same_string(a->key_column, b->key_column) &&
		   same_string(a->email_column, b->email_column) &&
		   same_string(a->phone_column, b->phone_column) &&
		   same_string(a->timezone_column, b->timezone_column) &&
		   same_string(a->country_column, b->country_column) &&
		   a->slices == b->slices && a->is_copy == b->is_copy &&
		   a->key_type == b->key_type;
}

/*
 * quote_identifier() and friends return their argument when there is nothing
 * to quote; these copies stay.
 */
static char *
column_of(HeapTuple tuple, TupleDesc desc, const char *column)
{
	bool isnull;
	Datum value = heap_getattr(tuple, SPI_fnumber(desc, column), desc, &isnull);

	return isnull ? NULL
				  : pstrdup(quote_identifier(NameStr(*DatumGetName(value))));
}

static Datum
value_of(HeapTuple tuple, TupleDesc desc, const char *column)
{
	bool isnull;
	Datum value = heap_getattr(tuple, SPI_fnumber(desc, column), desc, &isnull);

	if (isnull)
		elog(ERROR, "null in journey.site.%s", column);
	return value;
}

/* Fill a Site from a row of journey.site, in the current context. */
static Site *
make_site(HeapTuple tuple, TupleDesc desc)
{
	Site *site = palloc0_object(Site);
	HeapTuple namespace;
	char *relname;
	bool varlena;

	site->site_id = DatumGetCString(
		DirectFunctionCall1(uuid_out, value_of(tuple, desc, "site_id")));
	site->contact_table =
		DatumGetObjectId(value_of(tuple, desc, "contact_table"));
	site->key_column = column_of(tuple, desc, "key_column");
	site->email_column = column_of(tuple, desc, "email_column");
	site->phone_column = column_of(tuple, desc, "phone_column");
	site->timezone_column = column_of(tuple, desc, "timezone_column");
	site->country_column = column_of(tuple, desc, "country_column");
	site->slices = DatumGetInt32(value_of(tuple, desc, "slices"));
	site->is_copy =
		(uint64) DatumGetInt64(value_of(tuple, desc, "system_identifier")) !=
			GetSystemIdentifier() ||
		DatumGetObjectId(value_of(tuple, desc, "database_oid")) != MyDatabaseId;

	namespace =
		SearchSysCache1(NAMESPACENAME, CStringGetDatum(PGJ_STATE_SCHEMA));
	if (HeapTupleIsValid(namespace))
	{
		site->owner = ((Form_pg_namespace) GETSTRUCT(namespace))->nspowner;
		ReleaseSysCache(namespace);
	}

	relname = get_rel_name(site->contact_table);
	if (relname != NULL)
		site->contact_name = quote_qualified_identifier(
			get_namespace_name(get_rel_namespace(site->contact_table)),
			relname);

	site->key_type = DatumGetObjectId(value_of(tuple, desc, "key_type"));
	site->key_array_type = get_array_type(site->key_type);
	site->key_type_name =
		format_type_extended(site->key_type, -1, FORMAT_TYPE_FORCE_QUALIFY);
	get_typlenbyvalalign(site->key_type, &site->key_typlen, &site->key_typbyval,
						 &site->key_typalign);
	getTypeOutputInfo(site->key_type, &site->key_output, &varlena);
	getTypeInputInfo(site->key_type, &site->key_input, &site->key_ioparam);
	return site;
}

/*
 * Copy a Site to where it lives for ever.
 */
static Site *
keep_site(const Site *site)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Site *kept = palloc_object(Site);

	*kept = *site;
#define KEEP(field) kept->field = site->field ? pstrdup(site->field) : NULL
	KEEP(site_id);
	KEEP(contact_name);
	KEEP(key_column);
	KEEP(email_column);
	KEEP(phone_column);
	KEEP(timezone_column);
	KEEP(country_column);
	KEEP(key_type_name);
#undef KEEP
	MemoryContextSwitchTo(old);
	return kept;
}

static void
load_site(void)
{
	Oid namespace = get_namespace_oid(PGJ_SCHEMA, true);
	Oid relid = OidIsValid(namespace) ? get_relname_relid("site", namespace)
									  : InvalidOid;
	Relation relation;
	SysScanDesc scan;
	Snapshot snapshot;
	HeapTuple tuple;
	MemoryContext work;
	MemoryContext old;

	site_current = NULL;
	if (!OidIsValid(relid))
		return;

	/*
	 * Taking the lock accepts invalidations; what arrives from here on unsets
	 * site_valid again and the next caller reads anew.
	 */
	relation = table_open(relid, AccessShareLock);
	site_relation = relid;
	site_valid = true;

	work = AllocSetContextCreate(CurrentMemoryContext, "pg_journey site",
								 ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(work);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(relation, InvalidOid, false, snapshot, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Site *site = make_site(tuple, RelationGetDescr(relation));

		if (site_last == NULL || !same_site(site, site_last))
			site_last = keep_site(site);
		site_current = site_last;
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
}

const Site *
pgj_site_or_null(void)
{
	if (!callbacks_registered)
	{
		CacheRegisterRelcacheCallback(invalidate_relation, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, invalidate_namespace,
									  (Datum) 0);
		callbacks_registered = true;
	}
	if (!site_valid)
	{
		/* an error on the way must not leave a half-made cache behind */
		PG_TRY();
		{
			load_site();
		}
		PG_CATCH();
		{
			site_valid = false;
			site_current = NULL;
			PG_RE_THROW();
		}
		PG_END_TRY();
	}

	/* journey_state may have been dropped by hand */
	if (site_current != NULL && !OidIsValid(site_current->owner))
		return NULL;
	return site_current;
}

const Site *
pgj_site(void)
{
	const Site *site = pgj_site_or_null();

	if (site == NULL)
		ereport(ERROR, errcode(ERRCODE_PGJ_NOT_ATTACHED),
				errmsg("no contact table is attached in this database"),
				errhint("Call journey.attach() first."));
	if (site->contact_name == NULL)
		ereport(
			ERROR, errcode(ERRCODE_PGJ_NOT_ATTACHED),
			errmsg("the attached contact table no longer exists"),
			errhint(
				"Call journey.detach(), then journey.attach() with the new table."));
	return site;
}

void
pgj_refuse_superuser(const Site *site)
{
	if (superuser_arg(GetSessionUserId()) || superuser())
		ereport(
			ERROR, errcode(ERRCODE_PGJ_SUPERUSER),
			errmsg(
				"a superuser session must not run what authors of journeys wrote"),
			errhint(
				"Connect as role \"%s\" or a member of it, or use SET SESSION AUTHORIZATION.",
				GetUserNameFromId(site->owner, false)));
}

void
pgj_require_member(const Site *site)
{
	pgj_refuse_superuser(site);
	if (!has_privs_of_role(GetUserId(), site->owner))
		ereport(
			ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied: not a member of the journey owner"),
			errhint(
				"A member of role \"%s\" can call this; see journey.grant_role().",
				GetUserNameFromId(site->owner, false)));
}

void
pgj_refuse_copy(const Site *site)
{
	if (site->is_copy)
		ereport(
			ERROR, errcode(ERRCODE_PGJ_COPY),
			errmsg("this database is a copy of the one that was attached"),
			errdetail(
				"Its system identifier or its OID differs from those recorded by journey.attach(), so it sends nothing."),
			errhint("If this database is to take over, call journey.adopt()."));
}

void
pgj_require_live(const Site *site)
{
	pgj_require_member(site);
	pgj_refuse_copy(site);
}

char *
pgj_key_to_text(const Site *site, Datum contact)
{
	/* called per row: the lookup is kept */
	static FmgrInfo output;

	if (output.fn_oid != site->key_output)
		fmgr_info_cxt(site->key_output, &output, TopMemoryContext);
	return OutputFunctionCall(&output, contact);
}

Datum
pgj_key_from_text(const Site *site, const char *text)
{
	return OidInputFunctionCall(site->key_input, unconstify(char *, text),
								site->key_ioparam, -1);
}

const Site *
pgj_lock_contacts(const Site *site)
{
	Oid table = site->contact_table;

	LockRelationOid(table, AccessShareLock);
	if (get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE)
		list_free(find_all_inheritors(table, AccessShareLock, NULL));
	return pgj_site();
}

bool
pgj_key_too_long(const Site *site, Datum contact)
{
	return site->key_typlen == -1 &&
		   toast_raw_datum_size(contact) - VARHDRSZ > PGJ_MAX_KEY;
}

int
pgj_slice_of(const Site *site, Datum contact)
{
	char *text = pgj_key_to_text(site, contact);
	uint64 hash =
		hash_bytes_extended((unsigned char *) text, strlen(text), SLICE_SEED);

	pfree(text);
	return (int) (hash % (uint64) site->slices);
}

/*
 * The tables that are written as the journey owner may carry its triggers.  They
 * leave nothing behind in the caller's session: nothing deferred, which would run
 * at its commit as the caller, and no setting, such as a search_path.
 */
SavedUser
pgj_become(Oid role)
{
	SavedUser saved;

	GetUserIdAndSecContext(&saved.user, &saved.context);
	SetUserIdAndSecContext(role, saved.context | SECURITY_LOCAL_USERID_CHANGE |
									 SECURITY_RESTRICTED_OPERATION);
	saved.guc_level = NewGUCNestLevel();
	return saved;
}

/* The owner itself, such as the engine's worker, is not guarded from itself. */
SavedUser
pgj_become_owner(const Site *site)
{
	SavedUser saved;

	if (GetUserId() != site->owner)
		return pgj_become(site->owner);
	GetUserIdAndSecContext(&saved.user, &saved.context);
	SetUserIdAndSecContext(site->owner,
						   saved.context | SECURITY_LOCAL_USERID_CHANGE);
	saved.guc_level = 0;
	return saved;
}

void
pgj_become_caller(SavedUser saved)
{
	if (saved.guc_level > 0)
		AtEOXact_GUC(false, saved.guc_level);
	SetUserIdAndSecContext(saved.user, saved.context);
}

/*
 * Statement trigger of journey.site and the definition tables: tell every backend
 * that what it has cached of this table is stale, when the change commits.
 */
Datum
pgj_sql_definitions_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("function was not called by trigger manager"));
	CacheInvalidateRelcacheByRelid(
		RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation));
	return PointerGetDatum(NULL);
}
