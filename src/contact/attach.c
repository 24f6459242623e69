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
#include "contact/elevate.h"
#include "contact/site.h"
#include "pg_journey.h"
#include "wakeup.h"

PG_FUNCTION_INFO_V1(pgj_sql_attach);
PG_FUNCTION_INFO_V1(pgj_sql_detach);

typedef struct Attachment
{
	Oid table;
	NameData key;
	Oid key_type;	/* of the state tables: int8, uuid or text */
	NameData email; /* empty: none */
	NameData phone;
	NameData timezone;
	NameData country;
	Oid owner;
	int slices;
} Attachment;

/*
 * The journey owner must be able to log in, because the engine's worker
 * connects as it, and must not be a superuser, because authors act as it.
 */
static Oid
check_owner(const char *name)
{
	Oid owner = get_role_oid(name, false);
	HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(owner));
	bool login;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for role %u", owner);
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);

	if (superuser_arg(owner))
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg(
				"role \"%s\" cannot be the journey owner because it is a superuser",
				name),
			errdetail(
				"What authors of journeys write runs with the rights of the journey owner."),
			errhint(
				"Name a role with LOGIN that is no superuser: owner => '...'."));
	if (!login)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg(
				"role \"%s\" cannot be the journey owner because it cannot log in",
				name),
			errdetail("The engine's worker connects as the journey owner."),
			errhint("ALTER ROLE %s LOGIN", quote_identifier(name)));
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(
			ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied to make role \"%s\" the journey owner",
				   name),
			errhint("Call this as a superuser or as a member of the role."));
	return owner;
}

static AttrNumber
find_column(Relation relation, const char *column)
{
	AttrNumber number = get_attnum(RelationGetRelid(relation), column);

	if (number == InvalidAttrNumber || number < 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of relation \"%s\" does not exist",
					   column, RelationGetRelationName(relation)));
	return number;
}

static bool
has_unique_index(Relation relation, AttrNumber column)
{
	List *indexes = RelationGetIndexList(relation);
	ListCell *cell;
	bool found = false;

	foreach (cell, indexes)
	{
		HeapTuple tuple =
			SearchSysCache1(INDEXRELID, ObjectIdGetDatum(lfirst_oid(cell)));
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
	Relation relation = relation_open(a->table, AccessShareLock);
	const char *name = RelationGetRelationName(relation);
	Form_pg_attribute key;

	if (relation->rd_rel->relkind != RELKIND_RELATION &&
		relation->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR, errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a table", name),
				errhint("Attach the table that holds one row per contact."));
	if (pg_class_aclcheck(a->table, a->owner, ACL_SELECT) != ACLCHECK_OK ||
		pgj_schema_aclcheck(RelationGetNamespace(relation), a->owner,
							ACL_USAGE) != ACLCHECK_OK)
		ereport(
			ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("role \"%s\" cannot read table \"%s\"",
				   pgj_role_name(a->owner), name),
			errhint(
				"Grant the journey owner SELECT on the table and USAGE on its schema."));

	key = TupleDescAttr(RelationGetDescr(relation),
						find_column(relation, NameStr(a->key)) - 1);
	a->key_type = state_key_type(key->atttypid);
	if (!OidIsValid(a->key_type))
		ereport(
			ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
			errmsg("column \"%s\" of type %s cannot be the contacts' key",
				   NameStr(a->key), format_type_be(key->atttypid)),
			errhint("The key must be of type bigint, integer, uuid or text."));
	if (!key->attnotnull)
		ereport(ERROR, errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("key column \"%s\" of table \"%s\" can be null",
					   NameStr(a->key), name),
				errhint("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
						quote_identifier(name),
						quote_identifier(NameStr(a->key))));
	if (!has_unique_index(relation, key->attnum))
		ereport(
			ERROR, errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			errmsg("key column \"%s\" of table \"%s\" is not unique",
				   NameStr(a->key), name),
			errhint(
				"Give it a primary key or a unique index of its own, without a condition."));

	if (NameStr(a->email)[0] != '\0')
		find_column(relation, NameStr(a->email));
	if (NameStr(a->phone)[0] != '\0')
		find_column(relation, NameStr(a->phone));
	if (NameStr(a->timezone)[0] != '\0')
		find_column(relation, NameStr(a->timezone));
	if (NameStr(a->country)[0] != '\0')
		find_column(relation, NameStr(a->country));
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
	const char *role = quote_identifier(pgj_role_name(owner));
	SavedUser saved = pgj_become_extension_owner();

	pgj_run(psprintf(
		"GRANT USAGE ON SCHEMA journey TO %s;"
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA journey TO %s;"
		"REVOKE INSERT, UPDATE, DELETE ON journey.site FROM %s;"
		"REVOKE INSERT, UPDATE, DELETE ON journey.statute, journey.country_zone FROM %s;"
		"REVOKE ALL ON journey.site_token FROM %s;"
		"GRANT SELECT (issued_at) ON journey.site_token TO %s;"
		"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA journey TO %s;"
		"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA journey TO %s",
		role, role, role, role, role, role, role, role));
	pgj_become_caller(saved);
}

static void
revoke_from_owner(Oid owner)
{
	const char *role = quote_identifier(pgj_role_name(owner));
	SavedUser saved = pgj_become_extension_owner();

	pgj_run(psprintf("REVOKE ALL ON ALL TABLES IN SCHEMA journey FROM %s;"
					 "REVOKE ALL ON ALL SEQUENCES IN SCHEMA journey FROM %s;"
					 "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA journey FROM %s;"
					 "REVOKE ALL ON SCHEMA journey FROM %s",
					 role, role, role, role));
	pgj_become_caller(saved);
}

static void
call_create_state(const Attachment *a)
{
	SavedUser saved = pgj_become(a->owner);
	Oid types[2] = { REGTYPEOID, INT4OID };
	Datum values[2] = { ObjectIdGetDatum(a->key_type),
						Int32GetDatum(a->slices) };

	pgj_run_with("SELECT journey._create_state($1, $2)", 2, types, values,
				 NULL);
	pgj_become_caller(saved);
}

/*
 * Numbers that an earlier CREATE EXTENSION gave away are not given away again.
 */
static void
bury_lost_journeys(Oid owner)
{
	SavedUser saved = pgj_become(owner);
	Oid types[1] = { INT4ARRAYOID };
	Datum highest[1];
	bool isnull;

	highest[0] = pgj_fetch("SELECT journey._bury_lost_journeys()", &isnull);
	pgj_become_caller(saved);

	saved = pgj_become_extension_owner();
	pgj_run_with(
		"SELECT pg_catalog.setval(s.name, s.highest)"
		" FROM (VALUES ('journey.journey_journey_id_seq'::pg_catalog.regclass, ($1)[1]),"
		"  ('journey.version_version_id_seq', ($1)[2]),"
		"  ('journey.capture_capture_id_seq', ($1)[3])) AS s (name, highest)"
		" WHERE s.highest OPERATOR(pg_catalog.>=) (SELECT q.last_value FROM journey.journey_journey_id_seq AS q"
		"   WHERE s.name OPERATOR(pg_catalog.=) 'journey.journey_journey_id_seq'::pg_catalog.regclass"
		"  UNION ALL SELECT q.last_value FROM journey.version_version_id_seq AS q"
		"   WHERE s.name OPERATOR(pg_catalog.=) 'journey.version_version_id_seq'::pg_catalog.regclass"
		"  UNION ALL SELECT q.last_value FROM journey.capture_capture_id_seq AS q"
		"   WHERE s.name OPERATOR(pg_catalog.=) 'journey.capture_capture_id_seq'::pg_catalog.regclass)",
		1, types, highest, NULL);
	pgj_become_caller(saved);
}

static void
bury_lost_segments(Oid owner)
{
	SavedUser saved = pgj_become(owner);
	Oid types[1] = { INT4OID };
	Datum highest;
	bool isnull;

	highest = pgj_fetch("SELECT journey._bury_lost_segments()", &isnull);
	pgj_become_caller(saved);
	if (isnull)
		return;

	saved = pgj_become_extension_owner();
	pgj_run_with(
		"SELECT pg_catalog.setval('journey.segment_segment_id_seq', $1)"
		" FROM journey.segment_segment_id_seq AS q WHERE $1 OPERATOR(pg_catalog.>=) q.last_value",
		1, types, &highest, NULL);
	pgj_become_caller(saved);
}

/*
 * Receipts name caps by numbers of definitions, which another CREATE EXTENSION may
 * have given away: no definition of today has a number of a receipt's.
 */
static void
renumber_caps(Oid owner)
{
	SavedUser saved = pgj_become(owner);
	Oid types[1] = { INT8ARRAYOID };
	Datum highest[1];
	bool isnull;

	highest[0] = pgj_fetch("SELECT journey._highest_definitions()", &isnull);
	pgj_become_caller(saved);
	if (isnull)
		return;

	saved = pgj_become_extension_owner();
	pgj_run_with(
		"SELECT pg_catalog.setval('journey.cap_definition_seq', GREATEST(c.last_value, ($1)[1])),"
		" pg_catalog.setval('journey.quota_definition_seq', GREATEST(q.last_value, ($1)[2]))"
		" FROM journey.cap_definition_seq AS c, journey.quota_definition_seq AS q",
		1, types, highest, NULL);
	pgj_run("UPDATE journey.cap SET definition = DEFAULT");
	pgj_run("UPDATE journey.quota SET definition = DEFAULT");
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
		"address_message", "soft_bounce",	 "suppressed_contact",
		"capture_error",   "consent",		 "consent_log",
		"consent_request", "conversion",	 "frequency",
		"enrollment",	   "event",			 "event_key",
		"exposure",		   "held",			 "mark",
		"membership",	   "message",		 "outbox",
		"progress",		   "segment_change", "segment_scan",
		"receipt",		   "refusal",		 "relay",
		"slice",		   "suppression",	 "timer",
		"transition",	   "verdict",		 "engagement_prior",
		"send_time_prior", "message_span"
	};
	Oid namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);
	Oid existing = pgj_schema_owner(PGJ_STATE_SCHEMA);
	Oid event;
	Oid type;
	SavedUser saved;
	bool isnull;
	int slices;

	if (existing != a->owner)
		ereport(
			ERROR, errcode(ERRCODE_DUPLICATE_SCHEMA),
			errmsg("schema \"%s\" exists and belongs to role \"%s\"",
				   PGJ_STATE_SCHEMA, pgj_role_name(existing)),
			errhint("Attach with owner => '%s', or drop or rename the schema.",
					pgj_role_name(existing)));
	for (int i = 0; i < lengthof(tables); i++)
		if (!OidIsValid(get_relname_relid(tables[i], namespace)))
			ereport(ERROR, errcode(ERRCODE_DUPLICATE_SCHEMA),
					errmsg("schema \"%s\" exists but lacks table \"%s\"",
						   PGJ_STATE_SCHEMA, tables[i]),
					errhint("Drop or rename the schema."));
	event = get_relname_relid("event", namespace);
	type = get_atttype(event, get_attnum(event, "contact"));
	if (type != a->key_type)
		ereport(
			ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
			errmsg("schema \"%s\" holds contacts of type %s, not %s",
				   PGJ_STATE_SCHEMA, format_type_be(type),
				   format_type_be(a->key_type)),
			errhint(
				"Attach the table it was made for, or drop or rename the schema."));

	saved = pgj_become(a->owner);
	slices = DatumGetInt32(pgj_fetch(
		"SELECT pg_catalog.count(*)::pg_catalog.int4 FROM journey_state.slice",
		&isnull));
	pgj_become_caller(saved);
	if (slices != a->slices)
	{
		ereport(NOTICE,
				errmsg("keeping the %d slices of the existing schema \"%s\"",
					   slices, PGJ_STATE_SCHEMA));
		a->slices = slices;
	}
	bury_lost_journeys(a->owner);
	bury_lost_segments(a->owner);
	renumber_caps(a->owner);
	pgj_segments_anew_as(a->owner);
}

/* attach() without a table: a table of our own, in the owner's hands. */
static void
create_contact_table(Attachment *a)
{
	Oid namespace;
	SavedUser saved = pgj_become(a->owner);

	namespace = get_namespace_oid(PGJ_STATE_SCHEMA, false);
	if (!OidIsValid(get_relname_relid("contact", namespace)))
		pgj_run(
			"CREATE TABLE journey_state.contact ("
			" id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,"
			" email text, phone text, timezone text, country text,"
			" attributes jsonb NOT NULL DEFAULT '{}');"
			"COMMENT ON TABLE journey_state.contact IS 'Contacts of a shop that attached no table of its own'");
	pgj_become_caller(saved);
	a->table = get_relname_relid("contact", namespace);
	namestrcpy(&a->key, "id");
	namestrcpy(&a->email, "email");
	namestrcpy(&a->phone, "phone");
	namestrcpy(&a->timezone, "timezone");
	namestrcpy(&a->country, "country");
}

static void
insert_site(const Attachment *a)
{
	Oid types[11] = { REGCLASSOID, NAMEOID, REGTYPEOID,	   NAMEOID,
					  NAMEOID,	   NAMEOID, NAMEOID,	   INT4OID,
					  INT8OID,	   OIDOID,	TIMESTAMPTZOID };
	Datum values[11];
	char nulls[11];
	SavedUser saved = pgj_become_extension_owner();

	memset(nulls, ' ', sizeof(nulls));
	values[0] = ObjectIdGetDatum(a->table);
	values[1] = NameGetDatum(&a->key);
	values[2] = ObjectIdGetDatum(a->key_type);
	values[3] = NameGetDatum(&a->email);
	values[4] = NameGetDatum(&a->phone);
	values[5] = NameGetDatum(&a->timezone);
	values[6] = NameGetDatum(&a->country);
	for (int i = 3; i <= 6; i++)
		if (NameStr(*DatumGetName(values[i]))[0] == '\0')
			nulls[i] = 'n';
	values[7] = Int32GetDatum(a->slices);
	values[8] = Int64GetDatum((int64) GetSystemIdentifier());
	values[9] = ObjectIdGetDatum(MyDatabaseId);
	values[10] = TimestampTzGetDatum(pgj_clock_now());

	/* left over when journey_state was dropped by hand */
	pgj_run("DELETE FROM journey.site");
	pgj_run_with(
		"INSERT INTO journey.site (contact_table, key_column, key_type, email_column,"
		" phone_column, timezone_column, country_column, slices, system_identifier, database_oid, attached_at)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		11, types, values, nulls);
	pgj_become_caller(saved);
}

static void
create_views(void)
{
	SavedUser saved = pgj_become_extension_owner();

	pgj_run("SELECT journey._create_views()");
	pgj_become_caller(saved);
}

Datum
pgj_sql_attach(PG_FUNCTION_ARGS)
{
	Attachment a = { 0 };
	Interval ahead = { .month = 2 };

	if (PG_ARGISNULL(1) || PG_ARGISNULL(5) || PG_ARGISNULL(6))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("key, owner and slices must not be null"));
	if (pgj_site_or_null() != NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
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
	if (!PG_ARGISNULL(7))
		namestrcpy(&a.country, NameStr(*PG_GETARG_NAME(7)));
	a.owner = check_owner(NameStr(*PG_GETARG_NAME(5)));
	a.slices = PG_GETARG_INT32(6);
	a.key_type = INT8OID;
	if (a.slices < 1 || a.slices > 1024)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("slices must be between 1 and 1024"));
	if (OidIsValid(a.table))
		check_contact_table(&a);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	grant_to_owner(a.owner);
	if (OidIsValid(pgj_schema_owner(PGJ_STATE_SCHEMA)))
		readopt_state(&a);
	else
	{
		SavedUser saved = pgj_become_extension_owner();

		pgj_run(psprintf(
			"CREATE SCHEMA journey_state AUTHORIZATION %s;"
			"COMMENT ON SCHEMA journey_state IS 'pg_journey: what happened; belongs to the journey owner'",
			quote_identifier(pgj_role_name(a.owner))));
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
	pgj_maintain_as(a.owner, pgj_clock_now(), &ahead);
	SPI_finish();
	pgj_announce_site_at_commit();
	PG_RETURN_VOID();
}

/*
 * Drop the triggers of all captures and segments.  The caller need not own the shop's
 * tables, so this runs as the extension's owner; only triggers that call our
 * function are touched.
 */
static void
drop_triggers(void)
{
	SavedUser saved = pgj_become_extension_owner();
	SPITupleTable *rows;
	uint64 nrows;

	pgj_run(
		"SELECT pg_catalog.format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)"
		" FROM pg_catalog.pg_trigger t"
		" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.tgrelid"
		" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
		" WHERE t.tgfoid IN (pg_catalog.to_regprocedure('journey._capture()'), pg_catalog.to_regprocedure('journey._mark()'))"
		" AND t.tgparentid OPERATOR(pg_catalog.=) 0 ORDER BY t.oid");
	rows = SPI_tuptable;
	nrows = SPI_processed;
	for (uint64 i = 0; i < nrows; i++)
		pgj_run(SPI_getvalue(rows->vals[i], rows->tupdesc, 1));
	pgj_run("DELETE FROM journey.capture");
	pgj_become_caller(saved);
}

/* The analysts' views and journey.rfm(), made by attach(); no members of the extension. */
static void
drop_views(void)
{
	SavedUser saved = pgj_become_extension_owner();
	bool isnull;
	Datum statement;

	statement = pgj_fetch(
		"SELECT 'DROP VIEW ' OPERATOR(pg_catalog.||) pg_catalog.string_agg(pg_catalog.format('journey.%I', c.relname), ', ')"
		" FROM pg_catalog.pg_class c"
		" WHERE c.relnamespace OPERATOR(pg_catalog.=) 'journey'::pg_catalog.regnamespace"
		" AND c.relkind OPERATOR(pg_catalog.=) 'v'"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
		"  WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
		"  AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e')",
		&isnull);
	if (!isnull)
		pgj_run(TextDatumGetCString(statement));
	pgj_run("DROP FUNCTION IF EXISTS journey.rfm");
	pgj_become_caller(saved);
}

/*
 * The statements of segments call functions of ours and would be in the way of
 * DROP EXTENSION.  Attaching again compiles the segments anew.
 */
static void
drop_segment_functions(Oid owner)
{
	SavedUser saved = pgj_become(owner);
	bool isnull;
	Datum statement;

	statement = pgj_fetch(
		"SELECT 'DROP FUNCTION ' OPERATOR(pg_catalog.||) pg_catalog.string_agg(p.oid::pg_catalog.regprocedure::pg_catalog.text, ', ')"
		" FROM pg_catalog.pg_proc p"
		" WHERE p.pronamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace('" PGJ_STATE_SCHEMA
		"')"
		" AND p.proname::pg_catalog.text OPERATOR(pg_catalog.~) '^segment_[0-9]+_(check|scan|find_[0-9]+)$'",
		&isnull);
	if (!isnull)
		pgj_run(TextDatumGetCString(statement));
	pgj_become_caller(saved);
}

Datum
pgj_sql_detach(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site_or_null();
	Oid owner;
	SavedUser saved;

	if (site == NULL)
		pgj_site(); /* says so */
	owner = site->owner;
	pgj_require_administrator(owner);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	drop_triggers();
	drop_views();
	drop_segment_functions(owner);
	saved = pgj_become_extension_owner();
	pgj_run("DELETE FROM journey.site_token; DELETE FROM journey.site");
	pgj_become_caller(saved);
	revoke_from_owner(owner);
	SPI_finish();
	pgj_announce_site_at_commit();
	PG_RETURN_VOID();
}
