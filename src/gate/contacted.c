/*-------------------------------------------------------------------------
 *
 * contacted.c
 *	  The contact's row: address, time zone and country.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "box.h"
#include "gate/check.h"
#include "gate/zone.h"
#include "outbox/fold.h"
#include "pg_journey.h"
#include "plan.h"

typedef struct ContactRead
{
	const Site *site;
	Check *checks;
	ZoneRequest *zones; /* per check */
	int n;
	MemoryContext context;
} ContactRead;

static const char *
column_or_null(const char *column)
{
	return column == NULL ? "NULL" : psprintf("c.%s", column);
}

/*
 * Read the rows of all open requests.  The contact table may be a view or
 * have policies, so this runs what users wrote: in the box, as the owner.
 */
static void
read_contacts_body(void *arg)
{
	static KeptPlan plan;
	ContactRead *read = arg;
	const Site *site = read->site;
	Params params;
	Datum *number, *contact;
	int k = 0;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, site, pgj_check_count_open(read->checks, read->n));
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	for (int i = 0; i < read->n; i++)
	{
		if (!read->checks[i].open)
			continue;
		number[k] = Int32GetDatum(i);
		contact[k++] = read->checks[i].request->contact;
	}
	plan.sql = psprintf(
		"SELECT r.n, %s::pg_catalog.text, %s::pg_catalog.text, %s::pg_catalog.text, %s::pg_catalog.text "
		"FROM unnest($1, $2) AS r (n, contact) JOIN %s AS c ON c.%s = r.contact",
		column_or_null(site->email_column), column_or_null(site->phone_column),
		column_or_null(site->timezone_column),
		column_or_null(site->country_column), site->contact_name,
		site->key_column);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		int i = DatumGetInt32(pgj_row_value(row, 1));
		Check *check = &read->checks[i];

		check->exists = true;
		check->address =
			pgj_row_text(read->context, row, check->by_phone ? 3 : 2);
		read->zones[i].timezone = pgj_row_text(read->context, row, 4);
		read->zones[i].country = pgj_row_text(read->context, row, 5);
	}
	SPI_finish();
}

/*
 * As it will be written to the wire: the domain in lower case.  The local part
 * belongs to the recipient's system and stays.
 */
static char *
normalise_email(const char *address)
{
	const char *at = strrchr(address, '@');
	StringInfoData out;
	char *domain;

	if (at == NULL)
		return pstrdup(address);
	domain = pgj_fold_lower(at + 1);
	initStringInfo(&out);
	appendBinaryStringInfo(&out, address, at + 1 - address);
	appendStringInfoString(&out, domain);
	return out.data;
}

static void
take_address(Check *check)
{
	if (check->address != NULL && !check->by_phone)
		check->address = normalise_email(check->address);
	check->request->address = check->address;
	if (check->address == NULL)
		appendStringInfoString(pgj_check_evidence(check, "address"), "null");
	else
		escape_json(pgj_check_evidence(check, "address"), check->address);
}

void
pgj_contact_check(const Site *site, GateStage stage, Check *checks, int n)
{
	ContactRead read = { site, checks, NULL, n, CurrentMemoryContext };
	ErrorData *error;

	if (pgj_check_count_open(checks, n) == 0)
		return;
	read.zones = palloc0_array(ZoneRequest, n);
	error = pgj_box_run(site, 0, 0, read_contacts_body, &read);
	if (error != NULL)
		pgj_rethrow_box_error(error, "contacts");

	for (int i = 0; i < n; i++)
	{
		if (!checks[i].open)
			continue;
		checks[i].country = read.zones[i].country =
			pgj_country(read.zones[i].country);
		if (checks[i].exists)
			take_address(&checks[i]);
		else
			pgj_check_withhold(&checks[i], "contact_gone");
	}
	if (stage == GATE_ENTRY)
		return;
	pgj_zones_find(site, read.zones, n);
	for (int i = 0; i < n; i++)
		checks[i].zones = read.zones[i].zones;
}

/*
 * An error of the box goes on as an error of ours.  Where the fault lies with
 * the user's relation it gets a code of its own, so that nobody takes its
 * time-out for a cancel of the session, and callers can tell a time-out, which
 * costs far more than any other error, from the rest.
 */
void
pgj_rethrow_box_error(ErrorData *error, const char *what)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE: /* lock_timeout */
			ThrowErrorData(error);
	}
	ereport(ERROR,
			errcode(error->sqlerrcode == ERRCODE_QUERY_CANCELED
						? ERRCODE_PGJ_SLOW_CONTACTS
						: ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
			errmsg("could not read %s: %s", what, error->message),
			error->detail ? errdetail_internal("%s", error->detail) : 0,
			error->hint ? errhint("%s", error->hint) : 0);
}
