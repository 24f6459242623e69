/*-------------------------------------------------------------------------
 *
 * elevate.c
 *	  Run fixed statements as another role.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "contact/elevate.h"
#include "contact/site.h"
#include "pg_journey.h"
#include "wakeup.h"

/* Owner of a schema, or InvalidOid when there is no such schema. */
Oid
pgj_schema_owner(const char *name)
{
	HeapTuple tuple = SearchSysCache1(NAMESPACENAME, CStringGetDatum(name));
	Oid owner = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
		ReleaseSysCache(tuple);
	}
	return owner;
}

SavedUser
pgj_become_extension_owner(void)
{
	return pgj_become(pgj_schema_owner(PGJ_SCHEMA));
}

/* Run one fixed statement or block of statements. */
void
pgj_run(const char *statement)
{
	int rc = SPI_execute(statement, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(rc));
}

void
pgj_run_with(const char *statement, int nargs, Oid *types, Datum *values,
			 const char *nulls)
{
	int rc =
		SPI_execute_with_args(statement, nargs, types, values, nulls, false, 0);

	if (rc < 0)
		elog(ERROR, "SPI_execute_with_args failed: %s",
			 SPI_result_code_string(rc));
}

/* First column of the first row; *isnull also when there is no row. */
Datum
pgj_fetch(const char *statement, bool *isnull)
{
	pgj_run(statement);
	if (SPI_processed == 0)
	{
		*isnull = true;
		return (Datum) 0;
	}
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						 isnull);
}

const char *
pgj_role_name(Oid role)
{
	return GetUserNameFromId(role, false);
}

/* The administration functions: for a superuser or a member of the owner. */
void
pgj_require_administrator(Oid owner)
{
	if (!has_privs_of_role(GetUserId(), owner))
		ereport(
			ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			errmsg("permission denied: not a member of the journey owner"),
			errhint("Call this as a superuser or as a member of role \"%s\".",
					pgj_role_name(owner)));
}
