/*-------------------------------------------------------------------------
 *
 * attach.c
 *	  Tie the extension to the shop's contact table, and let go of it.
 *
 * Three users take part.  The caller, a superuser or a member of the journey
 * owner.  The extension's owner, under whom only the fixed statements of this
 * file run, on objects of schema journey and for CREATE SCHEMA.  The journey
 * owner, under whom everything runs that touches the state tables, for they are
 * its own and may carry its triggers: always as a security-restricted
 * operation, because the session may be a superuser's and nothing may be left
 * behind that runs at its commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "contact/site.h"
#include "pg_journey.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(pgj_sql_attach);
PG_FUNCTION_INFO_V1(pgj_sql_detach);
PG_FUNCTION_INFO_V1(pgj_sql_adopt);
PG_FUNCTION_INFO_V1(pgj_sql_issue_site_token);
PG_FUNCTION_INFO_V1(pgj_sql_grant_role);
PG_FUNCTION_INFO_V1(pgj_sql_maintain);

typedef struct Attachment
{
	Oid			table;
	NameData	key;
	Oid			key_type;		/* of the state tables: int8, uuid or text */
	NameData	email;			/* empty: none */
	NameData	phone;
	NameData	timezone;
	Oid			owner;
	int			slices;
} Attachment;

static SavedUser
become(Oid role)
{
	SavedUser	saved;

	GetUserIdAndSecContext(&saved.user, &saved.context);
	SetUserIdAndSecContext(role, saved.context |
						   SECURITY_LOCAL_USERID_CHANGE | SECURITY_RESTRICTED_OPERATION);
	return saved;
}

/* Owner of a schema, or InvalidOid when there is no such schema. */
static Oid
schema_owner(const char *name)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(name));
	Oid			owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

static SavedUser
become_extension_owner(void)
{
	return become(schema_owner(PGJ_SCHEMA));
}

/* Run one fixed statement or block of statements. */
static void
run(const char *statement)
{
	int			rc = SPI_execute(statement, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
}

static void
run_with(const char *statement, int nargs, Oid *types, Datum *values, const char *nulls)
{
	int			rc = SPI_execute_with_args(statement, nargs, types, values, nulls, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(rc));
}

/* First column of the first row; *isnull also when there is no row. */
static Datum
fetch(const char *statement, bool *isnull)
{
	run(statement);
	if (SPI_processed == 0)
	{
		*isnull = true;
		return (Datum) 0;
	}
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
}

static const char *
role_name(Oid role)
{
	return GetUserNameFromId(role, false);
}

/* The administration functions: for a superuser or a member of the owner. */
static void
require_administrator(Oid owner)
{
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied: not a member of the journey owner"),
				errhint("Call this as a superuser or as a member of role \"%s\".",
						role_name(owner)));
}

/*
 * The journey owner must be able to log in, because the engine's worker
 * connects as it, and must not be a superuser, because authors act as it.
 */
static Oid
check_owner(const char *name)
{
	Oid			owner = get_role_oid(name, false);
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	bool		login;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for role %u", owner);
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);

	if (superuser_arg(owner))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("role \"%s\" cannot be the journey owner because it is a superuser", name),
				errdetail("What authors of journeys write runs with the rights of the journey owner."),
				errhint("Name a role with LOGIN that is no superuser: owner => '...'."));
	if (!login)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("role \"%s\" cannot be the journey owner because it cannot log in", name),
				errdetail("The engine's worker connects as the journey owner."),
				errhint("ALTER ROLE %s LOGIN", quote_identifier(name)));
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("permission denied to make role \"%s\" the journey owner", name),
				errhint("Call this as a superuser or as a member of the role."));
	return owner;
}

static AttrNumber
find_column(Relation relation, const char *column)
{
	AttrNumber	number = get_attnum(RelationGetRelid(relation), column);

	if (number == InvalidAttrNumber || number < 0)
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of relation \"%s\" does not exist",
					   column, RelationGetRelationName(relation)));
	return number;
}

static bool
has_unique_index(Relation relation, AttrNumber column)
{
	List	   *indexes = RelationGetIndexList(relation);
	ListCell   *cell;
	bool		found = false;

	foreach(cell, indexes)
	{
		HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
		Form_pg_index index;

		if (!HeapTupleIsValid(tuple))
			continue;
		index = (Form_pg_index) GETSTRUCT(tuple);
		if (index->indisunique && index->indisvalid && index->indimmediate &&
			index->indnkeyatts == 1 && index->indkey.values[0] == column &&
			heap_attisnull(tuple, Anum_pg_index_indpred, NULL))
			found = true;
		ReleaseSysCache(tuple);
	}
	list_free(indexes);
	return found;
}

/* The type of contact in the state tables, for a key column of a type. */
static Oid
state_key_type(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return INT8OID;
		case UUIDOID:
			return UUIDOID;
		case TEXTOID:
		case VARCHAROID:
			return TEXTOID;
		default:
			return InvalidOid;
	}
}

static void
check_contact_table(Attachment *a)
{
	Relation	relation = relation_open(a->table, AccessShareLock);
	const char *name = RelationGetRelationName(relation);
	Form_pg_attribute key;

	if (relation->rd_rel->relkind != RELKIND_RELATION &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a table", name),
				errhint("Attach the table that holds one row per contact."));
	if (pg_class_aclcheck(a->table, a->owner, ACL_SELECT) != ACLCHECK_OK ||
		pg_namespace_aclcheck(RelationGetNamespace(relation), a->owner, ACL_USAGE) != ACLCHECK_OK)
		ereport(ERROR,
				errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				errmsg("role \"%s\" cannot read table \"%s\"", role_name(a->owner), name),
				errhint("Grant the journey owner SELECT on the table and USAGE on its schema."));

	key = TupleDescAttr(RelationGetDescr(relation),
						find_column(relation, NameStr(a->key)) - 1);
	a->key_type = state_key_type(key->atttypid);
	if (!OidIsValid(a->key_type))
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column \"%s\" of type %s cannot be the contacts' key",
					   NameStr(a->key), format_type_be(key->atttypid)),
				errhint("The key must be of type bigint, integer, uuid or text."));
	if (!key->attnotnull)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("key column \"%s\" of table \"%s\" can be null", NameStr(a->key), name),
				errhint("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
						quote_identifier(name), quote_identifier(NameStr(a->key))));
	if (!has_unique_index(relation, key->attnum))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("key column \"%s\" of table \"%s\" is not unique", NameStr(a->key), name),
				errhint("Give it a primary key or a unique index of its own, without a condition."));

	if (NameStr(a->email)[0] != '\0')
		find_column(relation, NameStr(a->email));
	if (NameStr(a->phone)[0] != '\0')
		find_column(relation, NameStr(a->phone));
	if (NameStr(a->timezone)[0] != '\0')
		find_column(relation, NameStr(a->timezone));
	relation_close(relation, NoLock);
}

/*
 * The owner gets the rights on our schema that authors need.  Not on the site
 * and its token: those change in this file only.  That there is a token, and since
 * when, is no secret (journey.health).
 */
static void
grant_to_owner(Oid owner)
{
	const char *role = quote_identifier(role_name(owner));
	SavedUser	saved = become_extension_owner();

	run(psprintf("GRANT USAGE ON SCHEMA journey TO %s;"
				 "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA journey TO %s;"
				 "REVOKE INSERT, UPDATE, DELETE ON journey.site FROM %s;"
				 "REVOKE ALL ON journey.site_token FROM %s;"
				 "GRANT SELECT (issued_at) ON journey.site_token TO %s;"
				 "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA journey TO %s;"
				 "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA journey TO %s",
				 role, role, role, role, role, role, role));
	pgj_become_caller(saved);
}

static void
revoke_from_owner(Oid owner)
{
	const char *role = quote_identifier(role_name(owner));
	SavedUser	saved = become_extension_owner();

	run(psprintf("REVOKE ALL ON ALL TABLES IN SCHEMA journey FROM %s;"
				 "REVOKE ALL ON ALL SEQUENCES IN SCHEMA journey FROM %s;"
				 "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA journey FROM %s;"
				 "REVOKE ALL ON SCHEMA journey FROM %s",
				 role, role, role, role));
	pgj_become_caller(saved);
}

static void
call_create_state(const Attachment *a)
{
	SavedUser	saved = become(a->owner);
	Oid			types[2] = {REGTYPEOID, INT4OID};
	Datum		values[2] = {ObjectIdGetDatum(a->key_type), Int32GetDatum(a->slices)};

	run_with("SELECT journey._create_state($1, $2)", 2, types, values, NULL);
	pgj_become_caller(saved);
}

/*
 * A journey_state left by DROP EXTENSION, or brought by a dump, is taken over
 * if it is whole, has the same key type and belongs to the same owner.
 */
static void
readopt_state(Attachment *a)
{
	static const char *const tables[] = {
		"capture_error", "consent", "consent_log", "conversion", "enrollment",
		"event", "event_key", "exposure", "held", "message", "outbox", "progress",
		"receipt", "refusal", "relay", "slice", "suppression", "timer",
		"transition", "verdict"
	};
	Oid			namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);
	Oid			existing = schema_owner(PGJ_STATE_SCHEMA);
	Oid			event;
	Oid			type;
	SavedUser	saved;
	bool		isnull;
	int			slices;

	if (existing != a->owner)
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_SCHEMA),
				errmsg("schema \"%s\" exists and belongs to role \"%s\"",
					   PGJ_STATE_SCHEMA, role_name(existing)),
				errhint("Attach with owner => '%s', or drop or rename the schema.",
						role_name(existing)));
	for (int i = 0; i < lengthof(tables); i++)
		if (!OidIsValid(get_relname_relid(tables[i], namespace)))
			ereport(ERROR,
					errcode(ERRCODE_DUPLICATE_SCHEMA),
					errmsg("schema \"%s\" exists but lacks table \"%s\"",
						   PGJ_STATE_SCHEMA, tables[i]),
					errhint("Drop or rename the schema."));
	event = get_relname_relid("event", namespace);
	type = get_atttype(event, get_attnum(event, "contact"));
	if (type != a->key_type)
		ereport(ERROR,
				errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("schema \"%s\" holds contacts of type %s, not %s",
					   PGJ_STATE_SCHEMA, format_type_be(type), format_type_be(a->key_type)),
				errhint("Attach the table it was made for, or drop or rename the schema."));

	saved = become(a->owner);
	slices = DatumGetInt32(fetch("SELECT pg_catalog.count(*)::pg_catalog.int4 FROM journey_state.slice", &isnull));
	pgj_become_caller(saved);
	if (slices != a->slices)
	{
		ereport(NOTICE,
				errmsg("keeping the %d slices of the existing schema \"%s\"",
					   slices, PGJ_STATE_SCHEMA));
		a->slices = slices;
	}
}

/* attach() without a table: a table of our own, in the owner's hands. */
static void
create_contact_table(Attachment *a)
{
	Oid			namespace;
	SavedUser	saved = become(a->owner);

	namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);
	if (!OidIsValid(get_relname_relid("contact", namespace)))
		run("CREATE TABLE journey_state.contact ("
			" id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
			" email text, phone text, timezone text,"
			" attributes jsonb NOT NULL DEFAULT '{}');"
			"COMMENT ON TABLE journey_state.contact IS 'Contacts of a shop that attached no table of its own'");
	pgj_become_caller(saved);
	a->table = get_relname_relid("contact", namespace);
	namestrcpy(&a->key, "id");
	namestrcpy(&a->email, "email");
	namestrcpy(&a->phone, "phone");
	namestrcpy(&a->timezone, "timezone");
}

static void
insert_site(const Attachment *a)
{
	Oid			types[10] = {REGCLASSOID, NAMEOID, REGTYPEOID, NAMEOID, NAMEOID,
	NAMEOID, INT4OID, INT8OID, OIDOID, TIMESTAMPTZOID};
	Datum		values[10];
	char		nulls[10];
	SavedUser	saved = become_extension_owner();

	memset(nulls, ' ', sizeof(nulls));
	values[0] = ObjectIdGetDatum(a->table);
	values[1] = NameGetDatum(&a->key);
	values[2] = ObjectIdGetDatum(a->key_type);
	values[3] = NameGetDatum(&a->email);
	values[4] = NameGetDatum(&a->phone);
	values[5] = NameGetDatum(&a->timezone);
	for (int i = 3; i <= 5; i++)
		if (NameStr(*DatumGetName(values[i]))[0] == '\0')
			nulls[i] = 'n';
	values[6] = Int32GetDatum(a->slices);
	values[7] = Int64GetDatum((int64) GetSystemIdentifier());
	values[8] = ObjectIdGetDatum(MyDatabaseId);
	values[9] = TimestampTzGetDatum(pgj_clock_now());

	/* left over when journey_state was dropped by hand */
	run("DELETE FROM journey.site");
	run_with("INSERT INTO journey.site (contact_table, key_column, key_type, email_column,"
			 " phone_column, timezone_column, slices, system_identifier, database_oid, attached_at)"
			 " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
			 10, types, values, nulls);
	pgj_become_caller(saved);
}

static void
create_views(void)
{
	SavedUser	saved = become_extension_owner();

	run("SELECT journey._create_views()");
	pgj_become_caller(saved);
}

static void
maintain(Oid owner, TimestampTz at, Interval *ahead)
{
	Oid			types[2] = {TIMESTAMPTZOID, INTERVALOID};
	Datum		values[2] = {TimestampTzGetDatum(at), IntervalPGetDatum(ahead)};
	SavedUser	saved = become(owner);

	run_with("SELECT journey._maintain($1, $2)", 2, types, values, NULL);
	pgj_become_caller(saved);
}

Datum
pgj_sql_attach(PG_FUNCTION_ARGS)
{
	Attachment	a = {0};
	Interval	ahead = {.month = 2};

	if (PG_ARGISNULL(1) || PG_ARGISNULL(5) || PG_ARGISNULL(6))
		ereport(ERROR,
				errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("key, owner and slices must not be null"));
	if (pgj_site_or_null() != NULL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("a contact table is attached already"),
				errhint("Call journey.detach() first; it keeps all state."));
	a.table = PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0);
	namestrcpy(&a.key, NameStr(*PG_GETARG_NAME(1)));
	if (!PG_ARGISNULL(2))
		namestrcpy(&a.email, NameStr(*PG_GETARG_NAME(2)));
	if (!PG_ARGISNULL(3))
		namestrcpy(&a.phone, NameStr(*PG_GETARG_NAME(3)));
	if (!PG_ARGISNULL(4))
		namestrcpy(&a.timezone, NameStr(*PG_GETARG_NAME(4)));
	a.owner = check_owner(NameStr(*PG_GETARG_NAME(5)));
	a.slices = PG_GETARG_INT32(6);
	a.key_type = INT8OID;
	if (a.slices < 1 || a.slices > 1024)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("slices must be between 1 and 1024"));
	if (OidIsValid(a.table))
		check_contact_table(&a);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	grant_to_owner(a.owner);
	if (OidIsValid(schema_owner(PGJ_STATE_SCHEMA)))
		readopt_state(&a);
	else
	{
		SavedUser	saved = become_extension_owner();

		run(psprintf("CREATE SCHEMA journey_state AUTHORIZATION %s;"
					 "COMMENT ON SCHEMA journey_state IS 'pg_journey: what happened; belongs to the journey owner'",
					 quote_identifier(role_name(a.owner))));
		pgj_become_caller(saved);
		CommandCounterIncrement();
		call_create_state(&a);
	}
	if (!OidIsValid(a.table))
	{
		create_contact_table(&a);
		check_contact_table(&a);
	}
	insert_site(&a);
	create_views();
	maintain(a.owner, pgj_clock_now(), &ahead);
	SPI_finish();
	pgj_announce_site_at_commit();
	PG_RETURN_VOID();
}

/*
 * Drop the triggers of all captures.  The caller need not own the shop's
 * tables, so this runs as the extension's owner; only triggers that call our
 * function are touched.
 */
static void
drop_capture_triggers(void)
{
	SavedUser	saved = become_extension_owner();
	SPITupleTable *rows;
	uint64		nrows;

	run("SELECT pg_catalog.format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)"
		" FROM pg_catalog.pg_trigger t"
		" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid"
		" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
		" WHERE t.tgfoid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure('journey._capture()')"
		" AND t.tgparentid OPERATOR(pg_catalog.=) 0 ORDER BY t.oid");
	rows = SPI_tuptable;
	nrows = SPI_processed;
	for (uint64 i = 0; i < nrows; i++)
		run(SPI_getvalue(rows->vals[i], rows->tupdesc, 1));
	run("DELETE FROM journey.capture");
	pgj_become_caller(saved);
}

/* The analysts' views, made by attach(); no members of the extension. */
static void
drop_views(void)
{
	SavedUser	saved = become_extension_owner();
	bool		isnull;
	Datum		statement;

	statement = fetch("SELECT 'DROP VIEW ' OPERATOR(pg_catalog.||) pg_catalog.string_agg(pg_catalog.format('journey.%I', c.relname), ', ')"
					  " FROM pg_catalog.pg_class c"
					  " WHERE c.relnamespace OPERATOR(pg_catalog.=) 'journey'::pg_catalog.regnamespace"
					  " AND c.relkind OPERATOR(pg_catalog.=) 'v'"
					  " AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
					  "  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
					  "  AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e')", &isnull);
	if (!isnull)
		run(TextDatumGetCString(statement));
	pgj_become_caller(saved);
}

Datum
pgj_sql_detach(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site_or_null();
	Oid			owner;
	SavedUser	saved;

	if (site == NULL)
		pgj_site();				/* says so */
	owner = site->owner;
	require_administrator(owner);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	drop_capture_triggers();
	drop_views();
	saved = become_extension_owner();
	run("DELETE FROM journey.site_token; DELETE FROM journey.site");
	pgj_become_caller(saved);
	revoke_from_owner(owner);
	SPI_finish();
	pgj_announce_site_at_commit();
	PG_RETURN_VOID();
}

/*
 * Make a copied database the one that sends.
 *
 * Transaction ids of the original mean nothing here.  Events that the original
 * had not processed, and those captured since the copy was made (xid null), come
 * back as timers; all events lose an xid that this cluster has yet to give out;
 * and every slice's progress starts from the snapshot of now.  Writers are kept
 * out meanwhile: one that believes the database a copy must not commit later.
 */
static void
adopt_state(Oid owner)
{
	SavedUser	saved = become(owner);

	run("LOCK TABLE journey_state.event IN SHARE ROW EXCLUSIVE MODE");
	run("SELECT s.slice FROM journey_state.slice s ORDER BY s.slice FOR UPDATE");
	run("WITH progress AS ("
		"  SELECT DISTINCT ON (p.slice) p.* FROM journey_state.progress p"
		"  WHERE p.lane OPERATOR(pg_catalog.=) 'engine' ORDER BY p.slice, p.seq DESC)"
		" INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)"
		" SELECT e.slice, GREATEST(e.at, p.due_at), pg_catalog.nextval('journey_state.row_id_seq'),"
		"  e.contact, e.event_id, e.at"
		" FROM journey_state.event e LEFT JOIN progress p ON p.slice OPERATOR(pg_catalog.=) e.slice"
		" WHERE e.xid IS NULL"
		"  OR NOT COALESCE(pg_catalog.pg_visible_in_snapshot(e.xid, p.seen), false)"
		"  AND NOT COALESCE(pg_catalog.pg_visible_in_snapshot(e.xid, p.upto)"
		"   AND e.event_id OPERATOR(pg_catalog.<=) p.after_event, false)");
	run("UPDATE journey_state.event SET xid = NULL"
		" WHERE xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())");
	run("INSERT INTO journey_state.progress (slice, lane, seq, at, seen, due_at, due_id)"
		" SELECT s.slice, 'engine', COALESCE(p.seq, 0) OPERATOR(pg_catalog.+) 1,"
		"  pg_catalog.clock_timestamp(), pg_catalog.pg_current_snapshot(),"
		"  COALESCE(p.due_at, '-infinity'), COALESCE(p.due_id, 0)"
		" FROM journey_state.slice s LEFT JOIN LATERAL ("
		"  SELECT q.* FROM journey_state.progress q"
		"  WHERE q.slice OPERATOR(pg_catalog.=) s.slice AND q.lane OPERATOR(pg_catalog.=) 'engine'"
		"  ORDER BY q.seq DESC LIMIT 1) p ON true");
	pgj_become_caller(saved);
}

Datum
pgj_sql_adopt(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	Oid			types[2] = {INT8OID, OIDOID};
	Datum		values[2];
	SavedUser	saved;

	require_administrator(site->owner);
	if (!site->is_copy)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("this database is no copy; there is nothing to adopt"));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				errmsg("journey.adopt() must run at isolation level READ COMMITTED"));

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	adopt_state(site->owner);
	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = ObjectIdGetDatum(MyDatabaseId);
	saved = become_extension_owner();
	run_with("UPDATE journey.site SET system_identifier = $1, database_oid = $2",
			 2, types, values, NULL);

	/* a template copy brought the original's token along */
	run("DELETE FROM journey.site_token");
	pgj_become_caller(saved);
	SPI_finish();
	pgj_announce_site_at_commit();
	PG_RETURN_VOID();
}

Datum
pgj_sql_issue_site_token(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	uint8		random[32];
	char		token[sizeof(random) * 2 + 1];
	Oid			types[2] = {TEXTOID, TIMESTAMPTZOID};
	Datum		values[2];
	SavedUser	saved;

	require_administrator(site->owner);
	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not generate random values"));
	hex_encode((char *) random, sizeof(random), token);
	token[sizeof(token) - 1] = '\0';

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	values[0] = CStringGetTextDatum(token);
	values[1] = TimestampTzGetDatum(pgj_clock_now());
	saved = become_extension_owner();
	run_with("INSERT INTO journey.site_token (digest, issued_at)"
			 " VALUES (pg_catalog.sha256(pg_catalog.convert_to($1, 'UTF8')), $2)"
			 " ON CONFLICT (one) DO UPDATE SET digest = excluded.digest, issued_at = excluded.issued_at",
			 2, types, values, NULL);
	pgj_become_caller(saved);
	SPI_finish();
	PG_RETURN_TEXT_P(cstring_to_text(token));
}

/*
 * Grant EXECUTE on the functions of our schema that a condition over pg_proc p
 * selects; the functions differ between versions, the kinds do not.
 */
static void
grant_functions(const char *role, const char *condition)
{
	SPITupleTable *rows;
	uint64		nrows;

	run(psprintf("SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %%s TO %%s', p.oid::pg_catalog.regprocedure, %s)"
				 " FROM pg_catalog.pg_proc p"
				 " WHERE p.pronamespace OPERATOR(pg_catalog.=) 'journey'::pg_catalog.regnamespace"
				 " AND NOT pg_catalog.starts_with(p.proname::pg_catalog.text, '_') AND (%s) ORDER BY p.oid",
				 quote_literal_cstr(role), condition));
	rows = SPI_tuptable;
	nrows = SPI_processed;
	for (uint64 i = 0; i < nrows; i++)
		run(SPI_getvalue(rows->vals[i], rows->tupdesc, 1));
}

static void
grant_reading(Oid owner, const char *role)
{
	SavedUser	saved = become(owner);

	run(psprintf("GRANT USAGE ON SCHEMA journey_state TO %s;"
				 "GRANT SELECT ON ALL TABLES IN SCHEMA journey_state TO %s", role, role));
	pgj_become_caller(saved);
	saved = become_extension_owner();
	run(psprintf("GRANT SELECT ON ALL TABLES IN SCHEMA journey TO %s;"
				 "REVOKE ALL ON journey.site_token FROM %s;"
				 "GRANT SELECT (issued_at) ON journey.site_token TO %s", role, role, role));
	grant_functions(role, "p.provolatile OPERATOR(pg_catalog.<>) 'v'");
	pgj_become_caller(saved);
}

Datum
pgj_sql_grant_role(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	Oid			owner = site->owner;
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			grantee = get_role_oid(NameStr(*PG_GETARG_NAME(1)), false);
	const char *role = quote_identifier(role_name(grantee));
	bool		author = strcmp(kind, "author") == 0;
	bool		operator = strcmp(kind, "operator") == 0;
	bool		analyst = strcmp(kind, "analyst") == 0;
	bool		relay = strcmp(kind, "relay") == 0;
	SavedUser	saved;

	if (!author && !operator && !analyst && !relay)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" is not a kind of role", kind),
				errhint("The kinds are author, operator, analyst and relay."));
	require_administrator(owner);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");

	/* whether the caller may hand out a membership is for the server to say */
	if (author)
		run(psprintf("GRANT %s TO %s", quote_identifier(role_name(owner)), role));
	else
	{
		saved = become_extension_owner();
		run(psprintf("GRANT USAGE ON SCHEMA journey TO %s", role));
		if (operator)
			grant_functions(role, "p.proname OPERATOR(pg_catalog.=) ANY ('{tick,pause,resume,retry,health,maintain}'::pg_catalog.name[])");
		if (relay)
			grant_functions(role, "p.proname OPERATOR(pg_catalog.=) ANY ('{open_relay,claim,report}'::pg_catalog.name[])");
		pgj_become_caller(saved);
		if (operator || analyst)
			grant_reading(owner, role);
	}
	SPI_finish();
	PG_RETURN_VOID();
}

Datum
pgj_sql_maintain(PG_FUNCTION_ARGS)
{
	Oid			owner = pgj_site()->owner;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	maintain(owner, PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_INTERVAL_P(1));
	SPI_finish();
	PG_RETURN_VOID();
}
