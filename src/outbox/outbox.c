/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  Write messages, once, in the transaction of the step that decided them.
 *
 * The holder of a slice's lock writes its messages and outbox rows.  Outbox
 * rows are consumed in the order (available_at, outbox_id) by moving the slice's
 * progress past them, so a row must never be written behind the progress: one
 * whose time has passed already is put at the progress' own time, where its
 * higher id places it after.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "append.h"
#include "outbox/outbox.h"
#include "outbox/span.h"
#include "pg_journey.h"
#include "plan.h"
#include "sha256.h"
#include "wakeup.h"

/* Between the parts of an idempotency key; in no sane part. */
#define SEPARATOR '\x1F'

/*
 * The journey goes in by name and the step by label where it has one: these
 * survive a restore and a new version, ids do not.  In UTF-8, whatever the
 * encoding of the server.
 */
static char *
idempotency_key(const Site *site, const MessageRow *row)
{
	StringInfoData text;
	char *contact = pgj_key_to_text(site, row->contact);
	char *utf8;
	char *key;

	initStringInfo(&text);
	appendStringInfo(&text, "%s%c%s%c%s%c%s%c%d%c", site->site_id, SEPARATOR,
					 row->journey, SEPARATOR, contact, SEPARATOR, row->key,
					 SEPARATOR, row->ordinal, SEPARATOR);
	if (row->label != NULL)
		appendStringInfoString(&text, row->label);
	else
		appendStringInfo(&text, "%d", row->step_no);
	appendStringInfo(&text, "%c%d%c%s", SEPARATOR, row->visit, SEPARATOR,
					 row->channel);
	utf8 = pg_server_to_any(text.data, text.len, PG_UTF8);
	key = pgj_sha256_hex(utf8, strlen(utf8));
	if (utf8 != text.data)
		pfree(utf8);
	pfree(text.data);
	pfree(contact);
	return key;
}

static const char *const message_columns[] = {
	"slice",		   "contact",		"message_id", "decided_at",
	"idempotency_key", "enrollment_id", "journey_id", "version_id",
	"step_no",		   "visit",			"channel",	  "template",
	"topic",		   "class",			"counts",	  "priority",
	"since",		   "expires_at",	"status",	  "attempt",
	"claimed_at",	   "finished_at"
};

static void
insert_messages(const Site *site, MessageRow *rows, int n, bool assume_sent)
{
	Oid ids = pgj_state_relation("message_id_seq");
	AppendRows log;

	pgj_append_init(&log, "message", message_columns, lengthof(message_columns),
					n);
	for (int i = 0; i < n; i++)
	{
		MessageRow *row = &rows[i];

		row->message_id = nextval_internal(ids, false);
		log.values[0][i] = Int16GetDatum(row->slice);
		log.values[1][i] = row->contact;
		log.values[2][i] = Int64GetDatum(row->message_id);
		log.values[3][i] = TimestampTzGetDatum(row->decided_at);
		log.values[4][i] = CStringGetTextDatum(idempotency_key(site, row));
		log.values[5][i] = Int64GetDatum(row->enrollment_id);
		log.values[6][i] = Int32GetDatum(row->journey_id);
		log.values[7][i] = Int32GetDatum(row->version_id);
		log.values[8][i] = Int32GetDatum(row->step_no);
		log.values[9][i] = Int32GetDatum(row->visit);
		log.values[10][i] = CStringGetTextDatum(row->channel);
		log.values[11][i] = CStringGetTextDatum(row->template);
		log.values[12][i] = CStringGetTextDatum(row->topic);
		log.values[13][i] = CStringGetTextDatum(row->class);
		log.values[14][i] = BoolGetDatum(row->counts);
		log.values[15][i] = Int32GetDatum(row->priority);
		log.values[16][i] = TimestampTzGetDatum(row->since);
		log.values[17][i] = TimestampTzGetDatum(row->expires_at);
		log.values[18][i] =
			CStringGetTextDatum(assume_sent ? "sent" : "pending");
		log.values[19][i] = Int32GetDatum(assume_sent ? 1 : 0);
		log.values[20][i] = log.values[21][i] =
			TimestampTzGetDatum(row->decided_at);
		log.nulls[20][i] = log.nulls[21][i] = !assume_sent;
	}
	pgj_append(site, &log);
	pgj_message_span_note(site, rows, n);
}

/*
 * The progress of each slice that rows are for, by slice; of others it is not
 * known.
 */
static TimestampTz *
read_passed(const Site *site, const OutboxRow *rows, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT s.slice, g.due_at FROM unnest($1) AS s (slice) "
			"CROSS JOIN LATERAL (SELECT k.due_at FROM journey_state.progress AS k WHERE k.slice OPERATOR(pg_catalog.=) s.slice "
			"AND k.lane OPERATOR(pg_catalog.=) 'outbox' ORDER BY k.seq DESC LIMIT 1) AS g"
	};
	TimestampTz *passed = palloc_array(TimestampTz, site->slices);
	bool *asked = palloc0_array(bool, site->slices);
	Datum *slices = palloc_array(Datum, n);
	int nslices = 0;
	Params params;
	uint64 nrows;

	for (int i = 0; i < n; i++)
	{
		int slice = rows[i].slice;

		if (!asked[slice])
			slices[nslices++] = Int16GetDatum(slice);
		asked[slice] = true;
		passed[slice] = DT_NOBEGIN;
	}
	SPI_connect();
	pgj_params_init(&params, site, nslices);
	pgj_params_filled(&params, INT2OID, slices, NULL);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
		passed[DatumGetInt16(pgj_row_value(row, 1))] =
			pgj_row_int8(row, 2, DT_NOBEGIN);
	SPI_finish();
	return passed;
}

static const char *const outbox_columns[] = { "slice",		"available_at",
											  "outbox_id",	"contact",
											  "message_id", "decided_at",
											  "attempt" };

void
pgj_outbox_offer(const Site *site, const OutboxRow *rows, int n)
{
	AppendRows log;
	TimestampTz *passed;
	Oid ids;

	if (n == 0)
		return;
	ids = pgj_state_relation("row_id_seq");
	passed = read_passed(site, rows, n);
	pgj_append_init(&log, "outbox", outbox_columns, lengthof(outbox_columns),
					n);
	for (int i = 0; i < n; i++)
	{
		const OutboxRow *row = &rows[i];

		log.values[0][i] = Int16GetDatum(row->slice);
		log.values[1][i] =
			TimestampTzGetDatum(Max(row->available_at, passed[row->slice]));
		log.values[2][i] = Int64GetDatum(nextval_internal(ids, false));
		log.values[3][i] = row->contact;
		log.values[4][i] = Int64GetDatum(row->message_id);
		log.values[5][i] = TimestampTzGetDatum(row->decided_at);
		log.values[6][i] = Int32GetDatum(row->attempt);
	}
	pgj_append(site, &log);
}

void
pgj_outbox_put(const Site *site, MessageRow *rows, int n, bool assume_sent)
{
	OutboxRow *offers;

	if (n == 0)
		return;
	insert_messages(site, rows, n, assume_sent);
	if (assume_sent)
		return;

	offers = palloc_array(OutboxRow, n);
	for (int i = 0; i < n; i++)
	{
		offers[i].slice = rows[i].slice;
		offers[i].contact = rows[i].contact;
		offers[i].message_id = rows[i].message_id;
		offers[i].decided_at = rows[i].decided_at;
		offers[i].attempt = 0;
		offers[i].available_at = rows[i].decided_at;
	}
	pgj_outbox_offer(site, offers, n);
	pfree(offers);
	pgj_notify_relays();
}
