/*-------------------------------------------------------------------------
 *
 * report_address.c
 *	  What relays' reports say of addresses.
 *
 * Status codes are those of RFC 3463 and RFC 5248, class.subject.detail, or the
 * three digits of RFC 5321, where a server gave no more.
 *
 *	 hard	the address does not work: suppressed at once.
 *	 soft	a bounce that may be over next time (the mailbox is full, disabled,
 *			or nobody knows), or a message given up after all attempts for a
 *			reason of the mailbox's.  Suppressed at the third in a row.  Not what
 *			is about the message, the network, the provider or our own standing
 *			there: an outage or a refused text would suppress everybody.
 *
 * In a row: without a message between that arrived.  A provider that takes a
 * message may report a bounce later, so a message counts as arrived when it is
 * reported as delivered, or when it was taken and another one bounces.
 *
 * The rows of the addresses are locked, and made where they bounce, in one order, that of
 * channel and address, and after the slices; then those of suppressions, in the same
 * order.  So two reports never wait for each other in a circle.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "engine/report.h"
#include "gate/onlooker.h"
#include "outbox/fold.h"
#include "plan.h"

#define SOFT_BOUNCES_ALLOWED 2

/* -------- codes -------- */

typedef struct Code
{
	int class; /* 0: not one of the two kinds */
	int subject;
	int detail;
	int basic; /* three digits, then class only is set beside it */
} Code;

static Code
read_code(const char *text)
{
	Code code = { 0 };
	int length = 0;

	if (text == NULL)
		return code;
	if (sscanf(text, "%1d.%3d.%3d%n", &code.class, &code.subject, &code.detail,
			   &length) == 3 &&
		text[length] == '\0')
		return code;
	memset(&code, 0, sizeof(code));
	if (strlen(text) == 3 && isdigit((unsigned char) text[0]) &&
		isdigit((unsigned char) text[1]) && isdigit((unsigned char) text[2]))
	{
		code.basic = atoi(text);
		code.class = code.basic / 100;
	}
	return code;
}

bool
pgj_code_is_dead_address(const char *text)
{
	static const int dead[] = { 1, 2, 3, 6, 10 };
	Code code = read_code(text);

	if (code.class != 5 || code.subject != 1)
		return false;
	for (int i = 0; i < lengthof(dead); i++)
		if (code.detail == dead[i])
			return true;
	return false;
}

/* Is a bounce with this code a soft one, if it is no hard one? */
bool
pgj_code_is_soft_bounce(const char *text)
{
	Code code = read_code(text);

	if (code.class != 5)
		return true;
	if (code.basic != 0)
		return code.basic >= 550 && code.basic <= 553;
	switch (code.subject)
	{
		case 0:
			return true; /* says no more than that it bounced */
		case 1:
			return code.detail != 7 && code.detail != 8; /* the sender's */
		case 2:
			return code.detail <= 2; /* not: too long, a list's expansion */
		default:
			return false;
	}
}

/* Does a code say of the mailbox that it does not take the message now? */
bool
pgj_code_is_mailbox(const char *text)
{
	Code code = read_code(text);

	if (code.basic != 0)
		return code.basic == 450 || code.basic == 552;
	return (code.class == 4 || code.class == 5) &&
		   (code.subject == 1 || code.subject == 2);
}

/* The stronger scope counts, of two alike the one that came first. */
void
pgj_report_suppress(ReportedMessage *message, const char *scope, char *reason)
{
	if (message->recipient == NULL ||
		(message->suppress_scope != NULL &&
		 (strcmp(message->suppress_scope, "all") == 0 ||
		  strcmp(scope, "promotional") == 0)))
		return;
	message->suppress_scope = scope;
	message->suppress_reason = reason;
}

/* -------- soft bounces in a row -------- */

typedef struct Bouncing
{
	const char *channel;
	char *address; /* in lower case */
	List *reports; /* of Report, in the order they came */
	bool exists;
	int bounces;
	int64 accepted; /* message id or 0 */
	bool bounced;	/* by these reports */
} Bouncing;

static int
compare_bouncing(const void *a, const void *b)
{
	const Bouncing *left = a;
	const Bouncing *right = b;
	int order = strcmp(left->channel, right->channel);

	return order != 0 ? order : strcmp(left->address, right->address);
}

/* The addresses there is news of, with their reports. */
static int
collect(const ReportSession *session, Bouncing **bouncing)
{
	Bouncing *all = palloc0_array(Bouncing, Max(session->nreports, 1));
	int n = 0;
	int kept = 0;

	for (int i = 0; i < session->nreports; i++)
	{
		Report *report = &session->reports[i];
		const ReportedMessage *message = &session->messages[report->message];

		if (report->news == ADDRESS_NOTHING || message->recipient == NULL)
			continue;
		all[n].channel = message->channel;
		all[n].address = pgj_fold_lower(message->recipient);
		all[n++].reports = list_make1(report);
	}
	qsort(all, n, sizeof(Bouncing), compare_bouncing);
	for (int i = 1; i < n; i++)
	{
		if (compare_bouncing(&all[kept], &all[i]) == 0)
			all[kept].reports = list_concat(all[kept].reports, all[i].reports);
		else
			all[++kept] = all[i];
	}
	*bouncing = all;
	return n == 0 ? 0 : kept + 1;
}

static int
by_place(const ListCell *a, const ListCell *b)
{
	const Report *left = lfirst(a);
	const Report *right = lfirst(b);

	return left < right ? -1 : left > right;
}

static void
fill(Params *params, const Site *site, const Bouncing *bouncing, int n)
{
	Datum *number, *channel, *address;

	pgj_params_init(params, site, n);
	number = pgj_params_column(params, INT4OID, NULL);
	channel = pgj_params_column(params, TEXTOID, NULL);
	address = pgj_params_column(params, TEXTOID, NULL);
	for (int i = 0; i < n; i++)
	{
		number[i] = Int32GetDatum(i);
		channel[i] = CStringGetTextDatum(bouncing[i].channel);
		address[i] = CStringGetTextDatum(bouncing[i].address);
	}
}

static void
take_row(Bouncing *b, uint64 row, int column)
{
	b->exists = true;
	b->bounces = pgj_row_int4(row, column, 0);
	b->accepted = pgj_row_int8(row, column + 1, 0);
}

/* Addresses that did not bounce now: a row that is not there stays away. */
static void
lock_rows(const Site *site, Bouncing *bouncing, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, b.bounces, b.accepted FROM unnest($1, $2, $3) AS r (n, channel, address) "
			"JOIN journey_state.soft_bounce AS b ON b.channel OPERATOR(pg_catalog.=) r.channel AND b.address OPERATOR(pg_catalog.=) r.address "
			"ORDER BY r.n FOR UPDATE OF b"
	};
	Params params;
	uint64 nrows;

	SPI_connect();
	fill(&params, site, bouncing, n);
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
		take_row(&bouncing[pgj_row_int4(row, 1, 0)], row, 2);
	SPI_finish();
}

/*
 * Addresses that did.  The rows come back in the order in which they went in.
 */
static void
lock_or_make_rows(const Site *site, TimestampTz at, Bouncing *bouncing, int n)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.soft_bounce AS b (channel, address, bounces, at) "
			"SELECT r.channel, r.address, 0, $4 FROM unnest($1, $2, $3) AS r (n, channel, address) ORDER BY r.n "
			"ON CONFLICT (channel, address) DO UPDATE SET at = EXCLUDED.at "
			"RETURNING b.bounces, b.accepted"
	};
	Params params;
	uint64 nrows;

	SPI_connect();
	fill(&params, site, bouncing, n);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	nrows = pgj_plan_execute(&plan, &params);
	if (nrows != n)
		elog(ERROR, "rows of bouncing addresses were not all made");
	for (uint64 row = 0; row < nrows; row++)
		take_row(&bouncing[row], row, 1);
	SPI_finish();
}

static bool
has_bounced(const Bouncing *b)
{
	ListCell *cell;

	foreach (cell, b->reports)
		if (((Report *) lfirst(cell))->news == ADDRESS_BOUNCED)
			return true;
	return false;
}

/* Bounces are few, so there are few turns. */
static void
lock_bouncing(const Site *site, TimestampTz at, Bouncing *bouncing, int n)
{
	int end;

	for (int start = 0; start < n; start = end)
	{
		bool bounced = has_bounced(&bouncing[start]);

		for (end = start + 1; end < n; end++)
			if (has_bounced(&bouncing[end]) != bounced)
				break;
		if (bounced)
			lock_or_make_rows(site, at, bouncing + start, end - start);
		else
			lock_rows(site, bouncing + start, end - start);
	}
}

static void
apply_report(Bouncing *b, const Report *report)
{
	switch (report->news)
	{
		case ADDRESS_ARRIVED:
			b->bounces = 0;
			b->accepted = 0;
			break;
		case ADDRESS_ACCEPTED:
			if (b->bounces > 0)
				b->accepted = report->message_id;
			break;
		case ADDRESS_BOUNCED:
			if (b->accepted != 0 && b->accepted != report->message_id)
				b->bounces = 0;
			b->accepted = 0;
			b->bounces++;
			b->bounced = true;
			break;
		case ADDRESS_NOTHING:
			pg_unreachable();
	}
}

/* The rows that were locked; a row without bounces says nothing. */
static void
update_bouncing(const Site *site, TimestampTz at, const Bouncing *bouncing,
				int n)
{
	static KeptPlan forget = {
		.sql =
			"DELETE FROM journey_state.soft_bounce AS b USING unnest($1, $2, $3, $4) AS r (n, channel, address, bounces) "
			"WHERE b.channel OPERATOR(pg_catalog.=) r.channel AND b.address OPERATOR(pg_catalog.=) r.address "
			"AND r.bounces OPERATOR(pg_catalog.=) 0"
	};
	static KeptPlan plan = {
		.sql =
			"UPDATE journey_state.soft_bounce AS b SET bounces = r.bounces, accepted = NULLIF(r.accepted, 0), at = $6 "
			"FROM unnest($1, $2, $3, $4, $5) AS r (n, channel, address, bounces, accepted) "
			"WHERE b.channel OPERATOR(pg_catalog.=) r.channel AND b.address OPERATOR(pg_catalog.=) r.address "
			"AND r.bounces OPERATOR(pg_catalog.>) 0"
	};
	Bouncing *present = palloc_array(Bouncing, Max(n, 1));
	Params params;
	Datum *bounces, *accepted;
	int npresent = 0;

	for (int i = 0; i < n; i++)
		if (bouncing[i].exists)
			present[npresent++] = bouncing[i];
	if (npresent == 0)
		return;
	SPI_connect();
	fill(&params, site, present, npresent);
	bounces = pgj_params_column(&params, INT4OID, NULL);
	for (int i = 0; i < npresent; i++)
		bounces[i] = Int32GetDatum(present[i].bounces);
	(void) pgj_plan_execute(&forget, &params);
	accepted = pgj_params_column(&params, INT8OID, NULL);
	for (int i = 0; i < npresent; i++)
		accepted[i] = Int64GetDatum(present[i].accepted);
	pgj_params_scalar(&params, TIMESTAMPTZOID, TimestampTzGetDatum(at));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}

void
pgj_soft_bounces_write(ReportSession *session)
{
	Bouncing *bouncing;
	int n = collect(session, &bouncing);

	if (n == 0)
		return;
	lock_bouncing(session->site, session->at, bouncing, n);
	for (int i = 0; i < n; i++)
	{
		ListCell *cell;

		list_sort(bouncing[i].reports, by_place);
		foreach (cell, bouncing[i].reports)
			apply_report(&bouncing[i], lfirst(cell));
	}
	update_bouncing(session->site, session->at, bouncing, n);

	for (int i = 0; i < n; i++)
	{
		const Report *last = llast(bouncing[i].reports);

		if (bouncing[i].bounced && bouncing[i].bounces > SOFT_BOUNCES_ALLOWED)
			pgj_report_suppress(&session->messages[last->message], "all",
								"soft_bounces");
	}
}

/* -------- suppression -------- */

void
pgj_suppressions_write(const ReportSession *session)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.suppression AS s (channel, address, contact, scope, reason, at) "
			"SELECT DISTINCT ON (x.channel, x.address) x.channel, x.address, x.contact, x.scope, x.reason, $6 "
			"FROM (SELECT r.contact, r.channel COLLATE pg_catalog.\"C\" AS channel, r.address COLLATE pg_catalog.\"C\" AS address, r.scope, r.reason "
			"FROM unnest($1, $2, $3, $4, $5) AS r (contact, channel, address, scope, reason)) AS x "
			"ORDER BY x.channel, x.address, x.scope "
			"ON CONFLICT (channel, address) DO UPDATE SET contact = EXCLUDED.contact, scope = EXCLUDED.scope, reason = EXCLUDED.reason, at = EXCLUDED.at "
			"WHERE s.scope OPERATOR(pg_catalog.=) 'promotional' AND EXCLUDED.scope OPERATOR(pg_catalog.=) 'all'"
	};
	Params params;
	Datum *contact, *channel, *address, *scope, *reason;
	int n = 0;

	for (int i = 0; i < session->nmessages; i++)
		n += session->messages[i].suppress_scope != NULL;
	if (n == 0)
		return;
	SPI_connect();
	pgj_params_init(&params, session->site, n);
	contact = pgj_params_column(&params, session->site->key_type, NULL);
	channel = pgj_params_column(&params, TEXTOID, NULL);
	address = pgj_params_column(&params, TEXTOID, NULL);
	scope = pgj_params_column(&params, TEXTOID, NULL);
	reason = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = n = 0; i < session->nmessages; i++)
	{
		const ReportedMessage *message = &session->messages[i];
		char *folded;

		if (message->suppress_scope == NULL)
			continue;
		folded = pgj_fold_lower(message->recipient);
		contact[n] = message->contact;
		channel[n] = CStringGetTextDatum(message->channel);
		address[n] = CStringGetTextDatum(folded);
		pgj_outlast_address(message->channel, folded);
		scope[n] = CStringGetTextDatum(message->suppress_scope);
		reason[n++] = CStringGetTextDatum(message->suppress_reason);
	}
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(session->at));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}
