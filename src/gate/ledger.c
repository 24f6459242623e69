/*-------------------------------------------------------------------------
 *
 * ledger.c
 *	  Nobody gets the same thing twice.
 *
 * The same content over another channel: a run sends a template over one channel
 * only, unless its SEND says ALSO.  Its messages tell; the caller holds the lock
 * of the contact's slice.  A run keeps its version, so they are not looked at where
 * no SEND of the version has the template for another channel.
 *
 * The same content to one address, which two contacts have: the template of a
 * journey, for one key.  Their slices differ, so there is a ledger of what went
 * to an address last, journey_state.address_message.  At GATE_DECIDE it is only
 * looked at.  At GATE_CLAIM, once every other check has let the message pass, its
 * row is taken: it names the contact and the message, until the claim's
 * transaction ends nobody else gets it, and if that aborts it never was.  A row
 * whose message did not go in the end, or that is older than the window, is
 * taken over.
 *
 * A claim takes rows in any order, many in one transaction, so it must never wait
 * for another one.  A row that exists is locked with SKIP LOCKED; not getting it
 * makes the request busy, to be asked again in a few seconds.  A row that does
 * not exist is inserted under a lock that all who insert take (LEDGER_LOCK), for
 * the time of looking with a dirty snapshot and inserting: who holds it sees what
 * others have inserted and not committed, so his insert has no conflict to wait
 * for.  The lock is let go at once, not at the end of the transaction.
 *
 * A replay that assumes every message sent takes the row at GATE_DECIDE.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/json.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "append.h"
#include "gate/check.h"
#include "guc.h"
#include "pg_journey.h"
#include "plan.h"

/* the object of that name is the table itself; nobody else locks it so */
#define LEDGER_LOCK_PART 1

/* -------- over another channel -------- */

static bool
asks_other_channel(const Check *check)
{
	const GateRequest *request = check->request;

	return check->open && !check->transactional && request->send != NULL &&
		   request->send->other_channels && !request->send->also;
}

/*
 * What a run has sent before, or would have sent if it is a ghost's, with the
 * same template over another channel.  What has failed or expired does not count: another
 * channel may fill in for it.
 */
static KeptPlan find_other_channel = {
	.sql =
		"SELECT DISTINCT ON (x.n) x.n, x.channel, x.message_id, x.at FROM ("
		"SELECT r.n, m.channel, m.message_id, m.decided_at AS at "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS r (n, contact, entered_at, enrollment_id, template, channel, message_id, ghost, at) "
		"LEFT JOIN journey_state.enrollment AS e ON r.entered_at IS NULL AND e.contact = r.contact AND e.enrollment_id OPERATOR(pg_catalog.=) r.enrollment_id "
		"JOIN journey_state.message AS m ON m.contact = r.contact AND m.decided_at OPERATOR(pg_catalog.>=) COALESCE(r.entered_at, e.entered_at) "
		"AND m.enrollment_id OPERATOR(pg_catalog.=) r.enrollment_id AND m.template OPERATOR(pg_catalog.=) r.template "
		"AND m.channel OPERATOR(pg_catalog.<>) r.channel "
		"WHERE NOT r.ghost AND m.status OPERATOR(pg_catalog.=) ANY (ARRAY['pending', 'claimed', 'sent']) "
		"AND (m.status OPERATOR(pg_catalog.<>) 'pending' OR m.expires_at OPERATOR(pg_catalog.>) r.at) "
		"AND (r.message_id OPERATOR(pg_catalog.=) 0 OR m.message_id OPERATOR(pg_catalog.<) r.message_id) "
		"UNION ALL "
		"SELECT r.n, c.channel, NULL, v.at "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) AS r (n, contact, entered_at, enrollment_id, template, channel, message_id, ghost, at) "
		"JOIN journey_state.verdict AS v ON v.contact = r.contact AND v.at OPERATOR(pg_catalog.>=) r.entered_at "
		"AND v.enrollment_id OPERATOR(pg_catalog.=) r.enrollment_id AND v.verdict OPERATOR(pg_catalog.=) 'sent' "
		"JOIN journey.step AS s ON s.version_id OPERATOR(pg_catalog.=) v.version_id AND s.step_no OPERATOR(pg_catalog.=) v.step_no "
		"AND s.template OPERATOR(pg_catalog.=) r.template "
		"CROSS JOIN LATERAL (SELECT COALESCE(s.channel, (SELECT o.option OPERATOR(pg_catalog.->>) 'channel' "
		"FROM pg_catalog.jsonb_array_elements(v.evidence OPERATOR(pg_catalog.->) 'channels') AS o (option) "
		"WHERE o.option OPERATOR(pg_catalog.->>) 'outcome' OPERATOR(pg_catalog.=) 'chosen'))) AS c (channel) "
		"WHERE r.ghost AND c.channel OPERATOR(pg_catalog.<>) r.channel"
		") AS x ORDER BY x.n, x.at, x.message_id"
};

static void
judge_other_channel(Check *check, uint64 row)
{
	MemoryContext context = CurrentMemoryContext;
	StringInfo out = pgj_check_evidence(check, "sent_over");

	appendStringInfoString(out, "{\"channel\": ");
	escape_json(out, pgj_row_text(context, row, 2));
	if (!pgj_row_null(row, 3))
		appendStringInfo(out, ", \"message\": " INT64_FORMAT,
						 pgj_row_int8(row, 3, 0));
	appendStringInfoString(out, ", \"at\": ");
	pgj_check_time(out, DatumGetTimestampTz(pgj_row_value(row, 4)));
	appendStringInfoChar(out, '}');
	pgj_check_withhold(check, "duplicate_content");
}

static void
check_other_channel(const Site *site, Check *checks, int n)
{
	Params params;
	Datum *number, *contact, *entered, *enrollment, *template, *channel,
		*message, *ghost, *at;
	bool *entered_null;
	int k = 0;
	uint64 nrows;

	for (int i = 0; i < n; i++)
		k += asks_other_channel(&checks[i]);
	if (k == 0)
		return;

	SPI_connect();
	pgj_params_init(&params, site, k);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	entered = pgj_params_column(&params, TIMESTAMPTZOID, &entered_null);
	enrollment = pgj_params_column(&params, INT8OID, NULL);
	template = pgj_params_column(&params, TEXTOID, NULL);
	channel = pgj_params_column(&params, TEXTOID, NULL);
	message = pgj_params_column(&params, INT8OID, NULL);
	ghost = pgj_params_column(&params, BOOLOID, NULL);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = k = 0; i < n; i++)
	{
		const GateRequest *request = checks[i].request;

		if (!asks_other_channel(&checks[i]))
			continue;
		number[k] = Int32GetDatum(i);
		contact[k] = request->contact;
		entered_null[k] = request->message_id != 0;
		entered[k] = TimestampTzGetDatum(request->entered_at);
		enrollment[k] = Int64GetDatum(request->enrollment_id);
		template[k] = CStringGetTextDatum(request->send->template);
		channel[k] = CStringGetTextDatum(request->channel);
		message[k] = Int64GetDatum(request->message_id);
		ghost[k] = BoolGetDatum(request->ghost);
		at[k] = TimestampTzGetDatum(request->at);
		k++;
	}
	nrows = pgj_plan_execute(&find_other_channel, &params);
	for (uint64 row = 0; row < nrows; row++)
		judge_other_channel(&checks[pgj_row_int4(row, 1, 0)], row);
	SPI_finish();
}

/* -------- to the same address -------- */

/* A row of the ledger that a request is about. */
typedef struct Entry
{
	Check *check;
	char *address; /* as in the ledger: in lower case */
	char *content;
	uint32 hash;
	TimestampTz since; /* start of the window */

	/* as read */
	bool found;
	bool locked;
	bool foreign; /* another contact's, still in force */
	int64 message_id;
	TimestampTz at;
} Entry;

static bool
asks_address(const Check *check)
{
	return check->open && !check->transactional && check->address != NULL &&
		   check->request->send != NULL && check->request->key != NULL;
}

static char *
content_of(const GateRequest *request)
{
	return psprintf("%s\x1f%s\x1f%s", request->send->journey,
					request->send->template, request->key);
}

/* Is it handed over now, if it is let go? */
static bool
takes_address(GateStage stage, const Check *check)
{
	return stage == GATE_CLAIM ||
		   (check->request->assume_sent && !check->request->ghost);
}

static int
collect(GateStage stage, bool take, Check *checks, int n, Entry **entries)
{
	int nentries = 0;

	*entries = palloc0_array(Entry, n);
	if (pgj_same_address_window == 0)
		return 0;
	for (int i = 0; i < n; i++)
	{
		Entry *entry = &(*entries)[nentries];

		if (!asks_address(&checks[i]) ||
			(take && !takes_address(stage, &checks[i])))
			continue;
		entry->check = &checks[i];
		entry->address = checks[i].folded;
		entry->content = content_of(checks[i].request);
		entry->hash = hash_bytes((const unsigned char *) entry->address,
								 strlen(entry->address));
		entry->since = checks[i].request->at -
					   (int64) pgj_same_address_window * USECS_PER_SEC;
		nentries++;
	}
	return nentries;
}

/* $1 … $6: n, channel, address, content, contact, since */
static void
fill(Params *params, const Site *site, Entry *const *entries, int n)
{
	Datum *number, *channel, *address, *content, *contact, *since;

	pgj_params_init(params, site, n);
	number = pgj_params_column(params, INT4OID, NULL);
	channel = pgj_params_column(params, TEXTOID, NULL);
	address = pgj_params_column(params, TEXTOID, NULL);
	content = pgj_params_column(params, TEXTOID, NULL);
	contact = pgj_params_column(params, site->key_type, NULL);
	since = pgj_params_column(params, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < n; i++)
	{
		number[i] = Int32GetDatum(i);
		channel[i] = CStringGetTextDatum(entries[i]->check->request->channel);
		address[i] = CStringGetTextDatum(entries[i]->address);
		content[i] = CStringGetTextDatum(entries[i]->content);
		contact[i] = entries[i]->check->request->contact;
		since[i] = TimestampTzGetDatum(entries[i]->since);
	}
}

#define LEDGER_ROW                                    \
	"a.channel OPERATOR(pg_catalog.=) r.channel "     \
	"AND a.address OPERATOR(pg_catalog.=) r.address " \
	"AND a.content OPERATOR(pg_catalog.=) r.content"

#define LEDGER_REQUESTS \
	"unnest($1, $2, $3, $4, $5, $6) AS r (n, channel, address, content, contact, since)"

/* A message that did not go in the end keeps nobody from the address. */
static void
forgive_failed(const Site *site, Entry *const *entries, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n FROM " LEDGER_REQUESTS
			" JOIN journey_state.address_message AS a ON " LEDGER_ROW
			" WHERE EXISTS (SELECT FROM journey_state.message AS m WHERE m.message_id OPERATOR(pg_catalog.=) a.message_id AND m.contact = a.contact "
			"AND m.status OPERATOR(pg_catalog.=) ANY (ARRAY['withheld', 'bounced', 'failed', 'parked']))"
	};
	Entry **foreign = palloc_array(Entry *, Max(n, 1));
	Params params;
	int nforeign = 0;
	uint64 nrows;

	for (int i = 0; i < n; i++)
		if (entries[i]->foreign)
			foreign[nforeign++] = entries[i];
	if (nforeign == 0)
		return;
	fill(&params, site, foreign, nforeign);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
		foreign[pgj_row_int4(row, 1, 0)]->foreign = false;
}

static void
read_entries(const Site *site, Entry *const *entries, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, NOT (a.contact = r.contact) AND a.at OPERATOR(pg_catalog.>) r.since, a.message_id, a.at "
			"FROM " LEDGER_REQUESTS
			" JOIN journey_state.address_message AS a ON " LEDGER_ROW
	};
	Params params;
	uint64 nrows;

	fill(&params, site, entries, n);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Entry *entry = entries[pgj_row_int4(row, 1, 0)];

		entry->found = true;
		entry->foreign = DatumGetBool(pgj_row_value(row, 2));
		entry->message_id = pgj_row_int8(row, 3, 0);
		entry->at = pgj_row_int8(row, 4, 0);
	}
	forgive_failed(site, entries, n);
}

static void
refuse_entry(const Entry *entry)
{
	StringInfo out = pgj_check_evidence(entry->check, "same_address");

	appendStringInfo(
		out, "{\"message\": " INT64_FORMAT ", \"at\": ", entry->message_id);
	pgj_check_time(out, entry->at);
	appendStringInfoChar(out, '}');
	pgj_check_withhold(entry->check, "duplicate_address");
}

static void
be_busy(const Entry *entry)
{
	entry->check->request->busy = true;
	pgj_check_withhold(entry->check, "duplicate_address");
}

static Entry **
pointers_to(Entry *entries, int n)
{
	Entry **pointers = palloc_array(Entry *, Max(n, 1));

	for (int i = 0; i < n; i++)
		pointers[i] = &entries[i];
	return pointers;
}

static void
check_address(const Site *site, GateStage stage, Check *checks, int n)
{
	Entry *entries;
	int nentries = collect(stage, false, checks, n, &entries);

	if (nentries == 0)
		return;
	SPI_connect();
	read_entries(site, pointers_to(entries, nentries), nentries);
	SPI_finish();
	for (int i = 0; i < nentries; i++)
		if (entries[i].foreign)
			refuse_entry(&entries[i]);
}

void
pgj_duplicate_check(const Site *site, GateStage stage, Check *checks, int n)
{
	check_other_channel(site, checks, n);
	check_address(site, stage, checks, n);
}

/* -------- taking a row of the ledger -------- */

static void
lock_entries(const Site *site, Entry *const *entries, int n)
{
	static KeptPlan plan = {
		.sql = "SELECT r.n FROM " LEDGER_REQUESTS
			   " JOIN journey_state.address_message AS a ON " LEDGER_ROW
			   " FOR UPDATE OF a SKIP LOCKED"
	};
	Params params;
	uint64 nrows;

	fill(&params, site, entries, n);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
		entries[pgj_row_int4(row, 1, 0)]->locked = true;
}

/* $7, $8: message_id, at */
static void
fill_taken(Params *params, Entry *const *entries, int n)
{
	Datum *message = pgj_params_column(params, INT8OID, NULL);
	Datum *at = pgj_params_column(params, TIMESTAMPTZOID, NULL);

	for (int i = 0; i < n; i++)
	{
		const GateRequest *request = entries[i]->check->request;

		message[i] = Int64GetDatum(request->message_id);
		at[i] = TimestampTzGetDatum(request->at);
	}
}

#define LEDGER_TAKEN                          \
	"unnest($1, $2, $3, $4, $5, $6, $7, $8) " \
	"AS r (n, channel, address, content, contact, since, message_id, at)"

static void
update_entries(const Site *site, Entry *const *entries, int n)
{
	static KeptPlan plan = {
		.sql =
			"UPDATE journey_state.address_message AS a SET contact = r.contact, message_id = r.message_id, at = GREATEST(a.at, r.at) "
			"FROM " LEDGER_TAKEN " WHERE " LEDGER_ROW
	};
	Params params;

	if (n == 0)
		return;
	fill(&params, site, entries, n);
	fill_taken(&params, entries, n);
	(void) pgj_plan_execute(&plan, &params);
}

/* Is there a row, also one of a transaction that has not ended? */
static bool
is_there(Relation ledger, Relation index, const Entry *entry)
{
	ScanKeyData key[3];
	SnapshotData dirty;
	IndexScanDesc scan;
	TupleTableSlot *slot = table_slot_create(ledger, NULL);
	const char *values[3] = { entry->check->request->channel, entry->address,
							  entry->content };
	bool found;

	for (int i = 0; i < lengthof(key); i++)
		ScanKeyEntryInitialize(&key[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid, index->rd_indcollation[i], F_TEXTEQ,
							   CStringGetTextDatum(values[i]));
	InitDirtySnapshot(dirty);
	scan = pgj_index_beginscan(ledger, index, &dirty, lengthof(key));
	index_rescan(scan, key, lengthof(key), NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

static void
insert_entries(const Site *site, Entry **entries, int n)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.address_message (channel, address, content, contact, message_id, at) "
			"SELECT r.channel, r.address, r.content, r.contact, r.message_id, r.at FROM " LEDGER_TAKEN
	};
	Oid id = pgj_state_relation("address_message");
	Relation ledger = table_open(id, RowExclusiveLock);
	Relation index;
	int nfree = 0;

	/* RelationGetPrimaryKeyIndex() is not the same in every version */
	(void) RelationGetIndexList(ledger);
	index = index_open(ledger->rd_pkindex, AccessShareLock);
	if (PGJ_SABOTAGE != 8)
		LockDatabaseObject(RelationRelationId, id, LEDGER_LOCK_PART,
						   ExclusiveLock);
	for (int i = 0; i < n; i++)
	{
		if (PGJ_SABOTAGE != 8 && is_there(ledger, index, entries[i]))
			be_busy(entries[i]);
		else
			entries[nfree++] = entries[i];
	}
	if (nfree > 0)
	{
		Params params;

		fill(&params, site, entries, nfree);
		fill_taken(&params, entries, nfree);
		(void) pgj_plan_execute(&plan, &params);
	}
	if (PGJ_SABOTAGE != 8)
		UnlockDatabaseObject(RelationRelationId, id, LEDGER_LOCK_PART,
							 ExclusiveLock);
	index_close(index, NoLock);
	table_close(ledger, NoLock);
}

static bool
is_same(const Entry *a, const Entry *b)
{
	return a->hash == b->hash && strcmp(a->address, b->address) == 0 &&
		   strcmp(a->content, b->content) == 0 &&
		   strcmp(a->check->request->channel, b->check->request->channel) == 0;
}

/*
 * Several requests of one call may be about one row: the first of them is tried
 * in this round, the others wait for it.
 */
static int
find_firsts(Entry **entries, int n, Entry **firsts, Entry **first_of)
{
	int nfirsts = 0;

	for (int i = 0; i < n; i++)
	{
		first_of[i] = NULL;
		for (int k = 0; k < nfirsts && first_of[i] == NULL; k++)
			if (is_same(firsts[k], entries[i]))
				first_of[i] = firsts[k];
		if (first_of[i] == NULL)
			firsts[nfirsts++] = entries[i];
	}
	return nfirsts;
}

static void
take_entries(const Site *site, Entry **entries, int n)
{
	Entry **updated = palloc_array(Entry *, n);
	Entry **inserted = palloc_array(Entry *, n);
	int nupdated = 0;
	int ninserted = 0;

	lock_entries(site, entries, n);
	read_entries(site, entries, n);
	for (int i = 0; i < n; i++)
	{
		if (!entries[i]->found)
			inserted[ninserted++] = entries[i];
		else if (!entries[i]->locked)
			be_busy(entries[i]);
		else if (entries[i]->foreign)
			refuse_entry(entries[i]);
		else
			updated[nupdated++] = entries[i];
	}
	update_entries(site, updated, nupdated);
	if (ninserted > 0)
		insert_entries(site, inserted, ninserted);
}

void
pgj_ledger_take(const Site *site, GateStage stage, Check *checks, int n)
{
	Entry *entries;
	int nleft = collect(stage, true, checks, n, &entries);
	Entry **left = pointers_to(entries, nleft);
	Entry **firsts = palloc_array(Entry *, Max(nleft, 1));
	Entry **first_of = palloc_array(Entry *, Max(nleft, 1));

	while (nleft > 0)
	{
		int nfirsts = find_firsts(left, nleft, firsts, first_of);
		int nwaited = nleft;

		SPI_connect();
		take_entries(site, firsts, nfirsts);
		SPI_finish();
		nleft = 0;
		for (int i = 0; i < nwaited; i++)
		{
			if (first_of[i] == NULL)
				continue;
			if (!first_of[i]->check->open)
				left[nleft++] = left[i]; /* it did not get it */
			else
			{
				left[i]->message_id = first_of[i]->check->request->message_id;
				left[i]->at = first_of[i]->check->request->at;
				refuse_entry(left[i]);
			}
		}
	}
}
