/*-------------------------------------------------------------------------
 *
 * gate.c
 *	  May this message go now?
 *
 * The checks run in one fixed order, each as one statement over all requests
 * still open; a request leaves at the first check that withholds it.  Every
 * statement takes a snapshot of its own: the caller got the slice locks first,
 * so nothing that was committed before the locks is missed.  What each check
 * looked at is written to the evidence, also when it let the message pass.
 *
 * At GATE_CLAIM the consent rows are locked before they are read.  A withdrawal
 * (consent.c) locks all rows of its contact and channel before it writes, so it
 * has committed and is seen here, or is open and puts the message off, or waits
 * for the claim to commit.
 *
 * Sabotage, for the crash harness to prove that it would notice (0 otherwise):
 *	 PGJ_SABOTAGE=1	the claim does not look at consent again
 *	 PGJ_SABOTAGE=2	frequency caps count nothing (see cap.c)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/formatting.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "box.h"
#include "gate/check.h"
#include "outbox/address.h"
#include "pg_journey.h"
#include "plan.h"

/*
 * Start a member of the evidence and return the buffer, for its value.
 */
StringInfo
pgj_check_evidence(Check *check, const char *member)
{
	appendStringInfo(&check->evidence,
					 "%s\"%s\": ", check->evidence.len > 1 ? ", " : "", member);
	return &check->evidence;
}

void
pgj_check_time(StringInfo out, TimestampTz at)
{
	char text[MAXDATELEN + 1];
	int utc = 0;

	JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, &utc);
	appendStringInfo(out, "\"%s\"", text);
}

void
pgj_check_withhold(Check *check, const char *reason)
{
	check->open = false;
	check->request->reason = reason;
}

static int
count_open(const Check *checks, int n)
{
	int nopen = 0;

	for (int i = 0; i < n; i++)
		nopen += checks[i].open;
	return nopen;
}

static void
check_exit(Check *checks, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (checks[i].request->exited == NULL)
			continue;
		escape_json(pgj_check_evidence(&checks[i], "exit"),
					checks[i].request->exited);
		pgj_check_withhold(&checks[i], "exited");
	}
}

/*
 * The class of each request's topic and the kind of address of its channel.
 */
static void
read_definitions(const Site *site, Check *checks, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, t.class, h.address OPERATOR(pg_catalog.=) 'phone', t.obeys_caps, t.counts_in_caps "
			"FROM unnest($1, $2, $3) AS r (n, topic, channel) "
			"LEFT JOIN journey.topic AS t ON t.name OPERATOR(pg_catalog.=) r.topic "
			"LEFT JOIN journey.channel AS h ON h.name OPERATOR(pg_catalog.=) r.channel"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	Datum *number, *topic, *channel;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, site, n);
	number = pgj_params_column(&params, INT4OID, NULL);
	topic = pgj_params_column(&params, TEXTOID, NULL);
	channel = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		number[i] = Int32GetDatum(i);
		topic[i] = CStringGetTextDatum(checks[i].request->topic);
		channel[i] = CStringGetTextDatum(checks[i].request->channel);
	}
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Check *check = &checks[DatumGetInt32(pgj_row_value(row, 1))];

		const char *class = pgj_row_text(context, row, 2);

		/* a topic that is gone is none that needs no consent */
		check->request->class = class != NULL ? class : "promotional";
		check->transactional =
			strcmp(check->request->class, "transactional") == 0;
		check->by_phone =
			!pgj_row_null(row, 3) && DatumGetBool(pgj_row_value(row, 3));
		check->obeys =
			pgj_row_null(row, 4) || DatumGetBool(pgj_row_value(row, 4));
		check->request->counts =
			pgj_row_null(row, 5) || DatumGetBool(pgj_row_value(row, 5));
	}
	SPI_finish();
}

/* Does this request need consent that has not been decided yet? */
static bool
asks_consent(const Check *check)
{
	return check->open && !check->transactional;
}

static void
fill_consent_params(Params *params, const Site *site, const Check *checks,
					int n, int nasked)
{
	Datum *number, *contact, *channel, *topic;
	int k = 0;

	pgj_params_init(params, site, nasked);
	number = pgj_params_column(params, INT4OID, NULL);
	contact = pgj_params_column(params, site->key_type, NULL);
	channel = pgj_params_column(params, TEXTOID, NULL);
	topic = pgj_params_column(params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		if (!asks_consent(&checks[i]))
			continue;
		number[k] = Int32GetDatum(i);
		contact[k] = checks[i].request->contact;
		channel[k] = CStringGetTextDatum(checks[i].request->channel);
		topic[k] = CStringGetTextDatum(checks[i].request->topic);
		k++;
	}
}

/*
 * Lock, then read, in two statements: the second has a newer snapshot and so
 * sees the row that a withdrawal has inserted meanwhile.  All rows of the contact
 * and channel are locked.  Rows that an open transaction of the shop's is
 * changing are passed over: a claim must not wait for it.
 */
static void
lock_consent(const Params *params, Check *checks)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, k.topic OPERATOR(pg_catalog.=) '*', k.topic OPERATOR(pg_catalog.=) r.topic "
			"FROM unnest($1, $2, $3, $4) AS r (n, contact, channel, topic) "
			"JOIN journey_state.consent AS k ON k.contact = r.contact "
			"AND k.channel OPERATOR(pg_catalog.=) r.channel FOR SHARE OF k SKIP LOCKED"
	};
	uint64 nrows = pgj_plan_execute(&plan, params);

	for (uint64 row = 0; row < nrows; row++)
	{
		Check *check = &checks[DatumGetInt32(pgj_row_value(row, 1))];

		if (DatumGetBool(pgj_row_value(row, 2)))
			check->consent[CONSENT_ALL].locked = true;
		else if (DatumGetBool(pgj_row_value(row, 3)))
			check->consent[CONSENT_TOPIC].locked = true;
	}
}

/* Was a row read that could not be locked, or that came after the locks? */
static bool
is_busy(const Check *check)
{
	for (int i = 0; i < lengthof(check->consent); i++)
		if (check->consent[i].found && !check->consent[i].locked)
			return true;
	return false;
}

/*
 * A row for topic '*' that says no ends it; else the topic's own row counts;
 * else a row for '*' that says yes.  No row means no.
 */
static void
judge_consent(Check *check)
{
	const Consent *topic = &check->consent[CONSENT_TOPIC];
	const Consent *all = &check->consent[CONSENT_ALL];
	const Consent *counts = topic;
	StringInfo out = pgj_check_evidence(check, "consent");

	if (all->found && (!all->granted || !topic->found))
		counts = all;
	if (!counts->found)
		appendStringInfoString(out, "null");
	else
	{
		appendStringInfoString(out, "{\"topic\": ");
		escape_json(out, counts == all ? "*" : check->request->topic);
		appendStringInfo(out, ", \"granted\": %s, \"source\": ",
						 counts->granted ? "true" : "false");
		escape_json(out, counts->source);
		appendStringInfoString(out, ", \"at\": ");
		pgj_check_time(out, counts->at);
		appendStringInfoChar(out, '}');
	}
	if (!counts->found || !counts->granted)
		pgj_check_withhold(check, "no_consent");
}

static void
check_consent(const Site *site, GateStage stage, Check *checks, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, k.topic OPERATOR(pg_catalog.=) '*', k.granted, k.source, k.at "
			"FROM unnest($1, $2, $3, $4) AS r (n, contact, channel, topic) "
			"JOIN journey_state.consent AS k ON k.contact = r.contact "
			"AND k.channel OPERATOR(pg_catalog.=) r.channel "
			"AND k.topic OPERATOR(pg_catalog.=) ANY (ARRAY[r.topic, '*'])"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	int nasked = 0;
	uint64 nrows;

	for (int i = 0; i < n; i++)
		nasked += asks_consent(&checks[i]);
	if (nasked == 0 || (PGJ_SABOTAGE == 1 && stage == GATE_CLAIM))
		return;

	SPI_connect();
	fill_consent_params(&params, site, checks, n, nasked);
	if (stage == GATE_CLAIM)
		lock_consent(&params, checks);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Check *check = &checks[DatumGetInt32(pgj_row_value(row, 1))];
		Consent *consent =
			&check
				 ->consent[DatumGetBool(pgj_row_value(row, 2)) ? CONSENT_ALL
															   : CONSENT_TOPIC];

		consent->found = true;
		consent->granted = DatumGetBool(pgj_row_value(row, 3));
		consent->source = pgj_row_text(context, row, 4);
		consent->at = DatumGetTimestampTz(pgj_row_value(row, 5));
	}
	SPI_finish();

	for (int i = 0; i < n; i++)
	{
		if (!asks_consent(&checks[i]))
			continue;
		judge_consent(&checks[i]);
		if (stage == GATE_CLAIM && is_busy(&checks[i]))
		{
			checks[i].request->busy = true;
			pgj_check_withhold(&checks[i], "no_consent");
		}
	}
}

typedef struct AddressRead
{
	const Site *site;
	Check *checks;
	int n;
	MemoryContext context;
} AddressRead;

/*
 * Read the addresses of all open requests.  The contact table may be a view or
 * have policies, so this runs what users wrote: in the box, as the owner.
 */
static void
read_addresses_body(void *arg)
{
	static KeptPlan plan;
	AddressRead *read = arg;
	const Site *site = read->site;
	Params params;
	Datum *number, *contact;
	int k = 0;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, site, count_open(read->checks, read->n));
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
		"SELECT r.n, %s%s::pg_catalog.text, %s%s::pg_catalog.text "
		"FROM unnest($1, $2) AS r (n, contact) JOIN %s AS c ON c.%s = r.contact",
		site->email_column ? "c." : "",
		site->email_column ? site->email_column : "NULL",
		site->phone_column ? "c." : "",
		site->phone_column ? site->phone_column : "NULL", site->contact_name,
		site->key_column);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Check *check = &read->checks[DatumGetInt32(pgj_row_value(row, 1))];

		check->exists = true;
		check->address =
			pgj_row_text(read->context, row, check->by_phone ? 3 : 2);
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
	domain = str_tolower(at + 1, strlen(at + 1), DEFAULT_COLLATION_OID);
	initStringInfo(&out);
	appendBinaryStringInfo(&out, address, at + 1 - address);
	appendStringInfoString(&out, domain);
	return out.data;
}

static void
read_addresses(const Site *site, Check *checks, int n)
{
	AddressRead read = { site, checks, n, CurrentMemoryContext };
	ErrorData *error = pgj_box_run(site, 0, 0, read_addresses_body, &read);

	if (error != NULL)
		pgj_rethrow_box_error(error, "contacts");

	for (int i = 0; i < n; i++)
	{
		Check *check = &checks[i];

		if (!check->open)
			continue;
		if (!check->exists)
		{
			pgj_check_withhold(check, "contact_gone");
			continue;
		}
		if (check->address != NULL && !check->by_phone)
			check->address = normalise_email(check->address);
		check->request->address = check->address;
		if (check->address == NULL)
			appendStringInfoString(pgj_check_evidence(check, "address"),
								   "null");
		else
			escape_json(pgj_check_evidence(check, "address"), check->address);
	}
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

static void
check_address(Check *checks, int n)
{
	for (int i = 0; i < n; i++)
	{
		Check *check = &checks[i];

		if (!check->open)
			continue;
		if (check->address == NULL || check->address[0] == '\0')
			pgj_check_withhold(check, "no_address");
		else if (!(check->by_phone ? pgj_address_is_phone(check->address)
								   : pgj_address_is_email(check->address)))
			pgj_check_withhold(check, "bad_address");
	}
}

static void
check_expiry(Check *checks, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!checks[i].open)
			continue;
		if (checks[i].request->at >= checks[i].request->expires_at)
		{
			pgj_check_time(pgj_check_evidence(&checks[i], "expires_at"),
						   checks[i].request->expires_at);
			pgj_check_withhold(&checks[i], "expired");
		}
	}
}

void
pgj_gate_decide(const Site *site, GateStage stage, GateRequest *requests, int n)
{
	Check *checks;

	if (n == 0)
		return;
	checks = palloc0_array(Check, n);
	for (int i = 0; i < n; i++)
	{
		checks[i].request = &requests[i];
		checks[i].open = true;
		requests[i].reason = NULL;
		requests[i].deferred = false;
		requests[i].ends_run = false;
		requests[i].address = NULL;
		requests[i].busy = false;
		initStringInfo(&checks[i].evidence);
		appendStringInfoChar(&checks[i].evidence, '{');
	}

	if (stage != GATE_ENTRY)
		check_exit(checks, n);
	pgj_channel_check(site, stage, checks, n);
	read_definitions(site, checks, n);
	check_consent(site, stage, checks, n);
	if (count_open(checks, n) > 0)
		read_addresses(site, checks, n);
	pgj_suppression_check(site, stage, checks, n);
	check_address(checks, n);
	if (stage != GATE_ENTRY)
	{
		check_expiry(checks, n);
		if (PGJ_SABOTAGE != 2)
			pgj_cap_check(site, stage, checks, n);
	}

	for (int i = 0; i < n; i++)
	{
		appendStringInfoChar(&checks[i].evidence, '}');
		requests[i].granted = checks[i].open;
		requests[i].evidence = DirectFunctionCall1(
			jsonb_in, CStringGetDatum(checks[i].evidence.data));
	}
}
