/*-------------------------------------------------------------------------
 *
 * event.c
 *	  Append events to journey_state.event.
 *
 * The engine finds new events by xid, the top-level transaction: their order is
 * the order of commits, whatever the order of ids.  A copied database writes
 * null there, so that its events wait for journey.adopt().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "append.h"
#include "capture/event.h"
#include "clock.h"
#include "pg_journey.h"
#include "wakeup.h"

#define MAX_PROPERTIES (256 * 1024)
#define MAX_NAME 200

enum
{
	EVENT_SLICE,
	EVENT_CONTACT,
	EVENT_ID,
	EVENT_NAME,
	EVENT_AT,
	EVENT_XID,
	EVENT_PROPERTIES,
	EVENT_NCOLUMNS
};

static const char *const event_columns[EVENT_NCOLUMNS] = {
	"slice", "contact", "event_id", "name", "at", "xid", "properties"
};

void
pgj_event_check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > MAX_NAME)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("name of an event must have 1 to %d bytes", MAX_NAME));
	if (strncmp(name, PGJ_EVENT_PREFIX, strlen(PGJ_EVENT_PREFIX)) == 0)
		ereport(ERROR, errcode(ERRCODE_RESERVED_NAME),
				errmsg("event name \"%s\" is reserved", name),
				errdetail(
					"The prefix \"%s\" is for events of the extension itself.",
					PGJ_EVENT_PREFIX));
}

/* Why an event cannot be recorded, as a message to show; NULL if it can. */
const char *
pgj_event_problem(const Site *site, Datum contact, TimestampTz at,
				  Datum properties)
{
	Jsonb *object;

	if (pgj_key_too_long(site, contact))
		return "key of a contact must not have more than 1000 bytes";
	if (TIMESTAMP_NOT_FINITE(at))
		return "time of an event must be finite";
	if (!pgj_time_in_range(at))
		return "time of an event must be in the years 1 to 9999";

	/* the size of the jsonb itself, known without decompressing it */
	if (toast_raw_datum_size(properties) > MAX_PROPERTIES)
		return "properties of an event must not be larger than 256 kB";
	object = DatumGetJsonbP(properties);
	if (!JB_ROOT_IS_OBJECT(object))
		return "properties of an event must be a JSON object";
	return NULL;
}

static void
append_rows(const Site *site, const EventRow *rows, int nrows, bool done)
{
	bool has_xid = done || !site->is_copy;
	FullTransactionId xid =
		has_xid && !done ? GetTopFullTransactionId() : InvalidFullTransactionId;
	AppendRows log;

	pgj_append_init(&log, "event", event_columns, EVENT_NCOLUMNS, nrows);
	for (int i = 0; i < nrows; i++)
	{
		log.values[EVENT_SLICE][i] =
			Int16GetDatum(pgj_slice_of(site, rows[i].contact));
		log.values[EVENT_CONTACT][i] = rows[i].contact;
		log.values[EVENT_ID][i] = Int64GetDatum(rows[i].event_id);
		log.values[EVENT_NAME][i] = i > 0 && rows[i].name == rows[i - 1].name
										? log.values[EVENT_NAME][i - 1]
										: CStringGetTextDatum(rows[i].name);
		log.values[EVENT_AT][i] = TimestampTzGetDatum(rows[i].at);
		log.values[EVENT_XID][i] = FullTransactionIdGetDatum(xid);
		log.nulls[EVENT_XID][i] = !has_xid;
		log.values[EVENT_PROPERTIES][i] = rows[i].properties;
	}
	pgj_append(site, &log);
}

static void
number_rows(EventRow *rows, int nrows)
{
	Oid sequence = pgj_state_relation("event_id_seq");

	for (int i = 0; i < nrows; i++)
		rows[i].event_id = nextval_internal(sequence, false);
}

static void
append(const Site *site, EventRow *rows, int nrows)
{
	if (nrows == 0)
		return;

	/*
	 * journey.adopt() locks writers out.  One that waited for it here must not
	 * go on in the belief that the database still is a copy.
	 */
	LockRelationOid(pgj_state_relation("event"), RowExclusiveLock);
	site = pgj_site_or_null();
	if (site == NULL)
		ereport(ERROR, errcode(ERRCODE_PGJ_NOT_ATTACHED),
				errmsg("the contact table was detached meanwhile"));
	append_rows(site, rows, nrows, false);
	pgj_wake_engine_at_commit();
}

void
pgj_event_append(const Site *site, EventRow *rows, int nrows)
{
	number_rows(rows, nrows);
	append(site, rows, nrows);
}

void
pgj_event_append_numbered(const Site *site, EventRow *row)
{
	append(site, row, 1);
}

void
pgj_event_append_done(const Site *site, EventRow *rows, int nrows)
{
	number_rows(rows, nrows);
	append_rows(site, rows, nrows, true);
}
