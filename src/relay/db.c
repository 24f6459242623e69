/*-------------------------------------------------------------------------
 *
 * db.c
 *	  The database: one connection, one command at a time, never waiting.
 *
 * A relay's claim is tied to its session by open_relay(), so everything runs in
 * one session.  Commands are sent and their results collected asynchronously:
 * while a claim or a report runs, mail keeps flowing.
 *
 * Results stay in the list until the report that carries them has committed.
 * If the connection breaks in between they are reported again; report() knows
 * them by (message_id, attempt).
 *
 *-------------------------------------------------------------------------
 */
#include "db.h"

#include "buffer.h"
#include "send.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_BATCH 100
#define BACKOFF_FIRST 100
#define BACKOFF_MAX 30000

/* the exact order of events in a session */
typedef enum DbState
{
	DB_DOWN, /* until retry_at */
	DB_CONNECTING,
	DB_OPENING,	  /* open_relay() runs */
	DB_LISTENING, /* LISTEN runs */
	DB_IDLE,
	DB_CLAIMING,
	DB_REPORTING
} DbState;

static const Config *config;
static const char *at_time; /* --at, or NULL */
static bool give_up_on_error;

static PGconn *conn;
static DbState state = DB_DOWN;
static DbFate fate = DB_OK;
static PostgresPollingStatusType connecting;
static int64_t
	retry_at; /* DB_DOWN: when to connect; DB_IDLE: no claim before */
static int64_t connect_deadline;
static int failures; /* in a row */
static bool notified;
static bool reconnect_wanted;

static int64_t claim_started;
static int last_claim = -1;

static Result *results; /* results[0..reporting) are in the running report */
static int n_results;
static int results_size;
static int reporting;
static int report_limit =
	REPORT_BATCH; /* 1 while we look for a row that fails */
static int64_t report_due;
static bool flush;

/*
 * The first command of a session also closes the search path: the operators
 * below are then the server's own.
 */
static const char open_sql[] =
	"SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false), journey.open_relay($1, $2)";

/* no JSON in the relay: headers come as netstrings, "!" for what is no object */
static const char claim_sql[] =
	"SELECT m.message_id, m.attempt, m.idempotency_key, m.channel,"
	" m.settings->>'url', m.settings->>'from', m.settings->>'domain',"
	" m.recipient, m.subject, m.body, m.html,"
	" CASE COALESCE(jsonb_typeof(m.headers), 'null')"
	"  WHEN 'null' THEN ''"
	"  WHEN 'object' THEN"
	"   (SELECT string_agg(format('%s:%s%s:%s',"
	"     octet_length(convert_to(h.key, 'UTF8')), h.key,"
	"     octet_length(convert_to(h.value, 'UTF8')), h.value), '' ORDER BY h.key)"
	"    FROM jsonb_each_text(m.headers) AS h)"
	"  ELSE '!' END,"
	" floor(EXTRACT(epoch FROM m.decided_at))::bigint,"
	" CASE WHEN isfinite(m.expires_at) THEN floor(EXTRACT(epoch FROM m.expires_at - t.at) * 1000)::bigint END"
	" FROM (SELECT COALESCE($4::timestamptz, clock_timestamp()) AS at) AS t,"
	" LATERAL journey.claim($1, $2::integer, $3::interval, t.at) AS m";

static const char report_sql[] =
	"SELECT journey.report($1, $2::bigint[], $3::integer[], $4::text[], $5::text[], $6::text[],"
	" COALESCE($7::timestamptz, clock_timestamp()))";

static bool report_is_due(void);

static int64_t
earliest(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* exponential, with full jitter above the first step */
static int
backoff(void)
{
	long ceiling = BACKOFF_FIRST;

	for (int i = 1; i < failures && ceiling < BACKOFF_MAX; i++)
		ceiling *= 2;
	if (ceiling > BACKOFF_MAX)
		ceiling = BACKOFF_MAX;
	return BACKOFF_FIRST / 2 + (int) (random() % ceiling);
}

static void
disconnect(void)
{
	if (conn != NULL)
		PQfinish(conn);
	conn = NULL;
	state = DB_DOWN;
	reporting = 0; /* those results are still in the list */
	last_claim = -1;
	retry_at = relay_now();
}

/* The connection is of no use any more; try again later. */
static void
connection_failed(const char *what)
{
	int wait;

	failures++;
	wait = backoff();
	relay_log(
		RELAY_WARNING, "database_lost", "during=%s retry_ms=%d error=%s", what,
		wait,
		relay_log_quote(conn != NULL ? PQerrorMessage(conn) : "out of memory"));
	disconnect();
	retry_at = relay_now() + wait;
	if (give_up_on_error)
		fate = DB_FAILED;
}

static void
send_command(DbState next, const char *sql, int n_params,
			 const char *const *params)
{
	if (!PQsendQueryParams(conn, sql, n_params, NULL, params, NULL, NULL, 0))
	{
		connection_failed("send");
		return;
	}
	state = next;
}

/*
 * An SQL error.  Server texts of claim and report may quote a contact's data,
 * so only those of our own SQLSTATEs are logged.
 */
static void
command_failed(const PGresult *result, const char *what)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
	bool ours;

	if (sqlstate == NULL || PQstatus(conn) == CONNECTION_BAD)
	{
		connection_failed(what);
		return;
	}
	ours = strncmp(sqlstate, "PJ", 2) == 0;
	if (strcmp(sqlstate, "PJ001") == 0 || strcmp(sqlstate, "PJ003") == 0)
		fate = DB_REFUSED;
	else if (strcmp(sqlstate, "PJ002") == 0)
		fate = DB_TAKEN_OVER;
	else if (give_up_on_error && strcmp(what, "report") != 0)
		fate = DB_FAILED;

	failures++;
	retry_at = relay_now() + backoff();
	relay_log(RELAY_ERROR,
			  fate == DB_REFUSED	  ? "refused"
			  : fate == DB_TAKEN_OVER ? "taken_over"
									  : "database_error",
			  "during=%s sqlstate=%s error=%s hint=%s", what, sqlstate,
			  relay_log_quote(!ours && state >= DB_IDLE ? "see the server log"
							  : message != NULL			? message
														: ""),
			  relay_log_quote(ours && hint != NULL ? hint : ""));
}

/* ------------------------------------------------------------------------
 * Connecting
 * ------------------------------------------------------------------------
 */

static void
start_connecting(void)
{
	const char *keywords[] = { "dbname", "fallback_application_name",
							   "client_encoding", NULL };
	const char *values[] = { config->conninfo, "journey-relay", "UTF8", NULL };

	reconnect_wanted = false;
	conn = PQconnectStartParams(keywords, values, 1);
	if (conn == NULL || PQstatus(conn) == CONNECTION_BAD)
	{
		connection_failed("connect");
		return;
	}
	state = DB_CONNECTING;
	connecting = PGRES_POLLING_WRITING;
	connect_deadline = relay_now() + config->connect_timeout;
}

static bool
socket_ready(void)
{
	struct pollfd fd = { .fd = PQsocket(conn),
						 .events = connecting == PGRES_POLLING_READING
									   ? POLLIN
									   : POLLOUT };

	return fd.fd >= 0 && poll(&fd, 1, 0) > 0;
}

static void
ignore_notice(void *arg, const PGresult *result)
{
	(void) arg;
	relay_log(RELAY_DEBUG, "notice", "sqlstate=%s",
			  PQresultErrorField(result, PG_DIAG_SQLSTATE));
}

static bool
step_connecting(void)
{
	if (!socket_ready())
	{
		if (relay_now() < connect_deadline)
			return false;
		connection_failed("connect_timeout");
		return false;
	}
	connecting = PQconnectPoll(conn);
	if (connecting == PGRES_POLLING_FAILED)
		connection_failed("connect");
	else if (connecting == PGRES_POLLING_OK)
	{
		const char *params[] = { config->relay_name, config->site_token };

		PQsetnonblocking(conn, 1);
		PQsetNoticeReceiver(conn, ignore_notice, NULL);
		send_command(DB_OPENING, open_sql, 2, params);
	}
	return state != DB_DOWN;
}

static void
session_ready(void)
{
	failures = 0;
	retry_at = 0;
	notified = true; /* whatever came while we were away */
	state = DB_IDLE;
	relay_log(RELAY_INFO, "ready", "relay=%s listen=%s",
			  relay_log_quote(config->relay_name),
			  config->listen ? "on" : "off");
}

/* ------------------------------------------------------------------------
 * Claims
 * ------------------------------------------------------------------------
 */

static char *
field_text(const PGresult *result, int row, int column)
{
	if (PQgetisnull(result, row, column))
		return NULL;
	return relay_strndup(PQgetvalue(result, row, column),
						 (size_t) PQgetlength(result, row, column));
}

static char *
field_text_not_null(const PGresult *result, int row, int column)
{
	char *text = field_text(result, row, column);

	return text != NULL ? text : relay_strdup("");
}

static void
take_claimed(const PGresult *result)
{
	int n = PQntuples(result);

	if (PQnfields(result) != 14)
	{
		relay_log(RELAY_ERROR, "database_error",
				  "during=claim error=\"unexpected columns\"");
		fate = DB_FAILED;
		return;
	}
	for (int i = 0; i < n; i++)
	{
		Message *m = relay_alloc(sizeof(*m));

		m->message_id = strtoll(PQgetvalue(result, i, 0), NULL, 10);
		m->attempt = (int) strtol(PQgetvalue(result, i, 1), NULL, 10);
		m->key = field_text_not_null(result, i, 2);
		m->channel = field_text_not_null(result, i, 3);
		m->url = field_text(result, i, 4);
		m->from = field_text(result, i, 5);
		m->domain = field_text(result, i, 6);
		m->recipient = field_text_not_null(result, i, 7);
		m->subject = field_text_not_null(result, i, 8);
		m->body = field_text_not_null(result, i, 9);
		m->html = field_text(result, i, 10);
		m->headers = field_text_not_null(result, i, 11);
		m->headers_len = strlen(m->headers);
		m->decided_at = strtoll(PQgetvalue(result, i, 12), NULL, 10);
		/* null: never */
		m->expires_in = PQgetisnull(result, i, 13)
							? INT64_MAX / 2
							: strtoll(PQgetvalue(result, i, 13), NULL, 10);
		m->claimed_at = claim_started;
		relay_send_enqueue(m);
	}
	last_claim = n;
	if (n > 0)
		relay_log(RELAY_DEBUG, "claimed", "messages=%d", n);
}

bool
relay_db_claim_possible(void)
{
	return state == DB_IDLE && relay_now() >= retry_at && !reconnect_wanted &&
		   !report_is_due();
}

void
relay_db_claim(int max)
{
	char max_text[16];
	char lease_text[32];
	const char *params[] = { config->relay_name, max_text, lease_text,
							 at_time };

	snprintf(max_text, sizeof(max_text), "%d", max);
	snprintf(lease_text, sizeof(lease_text), "%d milliseconds", config->lease);
	claim_started = relay_now();
	last_claim = -1;
	send_command(DB_CLAIMING, claim_sql, 4, params);
}

bool
relay_db_notified(void)
{
	bool was = notified;

	notified = false;
	return was;
}

int
relay_db_last_claim(void)
{
	return last_claim;
}

/* ------------------------------------------------------------------------
 * Reports
 * ------------------------------------------------------------------------
 */

void
relay_db_report(const Result *result)
{
	if (n_results == results_size)
	{
		results_size = results_size > 0 ? 2 * results_size : 256;
		results =
			relay_realloc(results, (size_t) results_size * sizeof(Result));
	}
	if (n_results == reporting)
		report_due = relay_now() + config->report_delay;
	results[n_results++] = *result;
}

int
relay_db_unreported(void)
{
	return n_results;
}

void
relay_db_flush(void)
{
	flush = true;
}

/* Is waiting for more results no use? Half of max_in_flight: the rest goes on meanwhile. */
static bool
report_is_due(void)
{
	return n_results > 0 && relay_now() >= retry_at &&
		   (flush || n_results >= REPORT_BATCH ||
			2 * n_results >= config->max_in_flight ||
			relay_now() >= report_due);
}

/* one element of an array literal */
static void
append_element(Buffer *b, const char *text)
{
	relay_buffer_puts(b, b->len > 1 ? ",\"" : "\"");
	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\')
			relay_buffer_putc(b, '\\');
		relay_buffer_putc(b, *text);
	}
	relay_buffer_putc(b, '"');
}

static void
start_report(void)
{
	Buffer columns[5];
	const char *params[7] = { config->relay_name };
	char number[32];

	reporting = n_results < report_limit ? n_results : report_limit;
	for (int c = 0; c < 5; c++)
	{
		relay_buffer_init(&columns[c]);
		relay_buffer_putc(&columns[c], '{');
	}
	for (int i = 0; i < reporting; i++)
	{
		snprintf(number, sizeof(number), "%lld",
				 (long long) results[i].message_id);
		append_element(&columns[0], number);
		snprintf(number, sizeof(number), "%d", results[i].attempt);
		append_element(&columns[1], number);
		append_element(&columns[2], results[i].outcome);
		append_element(&columns[3], results[i].code);
		append_element(&columns[4], results[i].response);
	}
	for (int c = 0; c < 5; c++)
	{
		relay_buffer_putc(&columns[c], '}');
		params[c + 1] = columns[c].data;
	}
	params[6] = at_time;
	send_command(DB_REPORTING, report_sql, 7, params);
	for (int c = 0; c < 5; c++)
		relay_buffer_free(&columns[c]);
}

static void
drop_reported(void)
{
	n_results -= reporting;
	memmove(results, results + reporting, (size_t) n_results * sizeof(Result));
	reporting = 0;
	report_due = relay_now() + config->report_delay;
	if (n_results == 0)
		flush = false;
}

/*
 * Is the error about the server or our session, not about a row?  A result
 * dropped for such a one would have its message sent again.
 */
static bool
may_pass(const PGresult *result)
{
	/* connection, transaction state, rollback, access and missing objects (an
	 * upgrade under way), resources, locks, shutdown and cancel, I/O */
	static const char *const classes[] = { "08", "25", "40", "42", "53",
										   "55", "57", "58", NULL };
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	for (int i = 0; sqlstate != NULL && classes[i] != NULL; i++)
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	return false;
}

static void
report_done(const PGresult *result)
{
	if (PQresultStatus(result) == PGRES_TUPLES_OK)
	{
		failures = 0;
		drop_reported();
		report_limit = REPORT_BATCH;
		return;
	}
	command_failed(result, "report");
	if (state == DB_DOWN || fate != DB_OK)
		return;

	/*
	 * One row that fails must not hold up the others: go on one by one, and
	 * leave a row that fails alone to its lease.
	 */
	if (may_pass(result))
	{
		if (give_up_on_error)
			fate = DB_FAILED;
	}
	else if (reporting > 1)
		report_limit = 1;
	else
	{
		relay_log(RELAY_ERROR, "report_dropped", "message_id=%lld",
				  (long long) results[0].message_id);
		drop_reported();
		if (give_up_on_error)
			fate = DB_FAILED;
	}
	reporting = 0;
}

/* ------------------------------------------------------------------------
 * The state machine
 * ------------------------------------------------------------------------
 */

static void
command_done(const PGresult *result)
{
	bool ok = PQresultStatus(result) == PGRES_TUPLES_OK ||
			  PQresultStatus(result) == PGRES_COMMAND_OK;

	switch (state)
	{
		case DB_OPENING:
		case DB_LISTENING:
			if (!ok)
			{
				command_failed(result,
							   state == DB_OPENING ? "open_relay" : "listen");
				if (fate == DB_OK && state != DB_DOWN)
				{
					int64_t when = retry_at;

					disconnect();
					retry_at = when;
				}
			}
			break;
		case DB_CLAIMING:
			if (ok)
			{
				failures = 0;
				take_claimed(result);
			}
			else
				command_failed(result, "claim");
			break;
		case DB_REPORTING:
			report_done(result);
			break;
		default:
			break;
	}
}

/* all results of the running command have come */
static void
command_finished(void)
{
	if (state == DB_OPENING && config->listen)
		send_command(DB_LISTENING, "LISTEN journey_outbox", 0, NULL);
	else if (state == DB_OPENING || state == DB_LISTENING)
		session_ready();
	else
		state = DB_IDLE;
}

static void
take_notifications(void)
{
	PGnotify *notify;

	while ((notify = PQnotifies(conn)) != NULL)
	{
		notified = true;
		PQfreemem(notify);
	}
}

/* returns whether something changed, so that another look is worth while */
static bool
step_session(void)
{
	PGresult *result;

	if (PQflush(conn) < 0 || !PQconsumeInput(conn))
	{
		connection_failed("session");
		return false;
	}
	take_notifications();
	if (state == DB_IDLE)
	{
		if (reconnect_wanted && n_results == 0)
		{
			disconnect();
			return true;
		}
		if (report_is_due())
		{
			start_report();
			return state != DB_DOWN;
		}
		return false;
	}
	if (PQisBusy(conn))
		return false;
	result = PQgetResult(conn);
	if (result != NULL)
	{
		command_done(result);
		PQclear(result);
	}
	else
		command_finished();
	return state != DB_DOWN && fate == DB_OK;
}

DbFate
relay_db_step(void)
{
	bool again = true;

	while (again && fate == DB_OK)
	{
		again = false;
		if (state == DB_DOWN)
		{
			if (relay_now() >= retry_at)
			{
				start_connecting();
				again = state != DB_DOWN;
			}
		}
		else if (state == DB_CONNECTING)
			again = step_connecting();
		else
			again = step_session();
	}
	return fate;
}

int
relay_db_socket(short *events)
{
	if (conn == NULL)
		return -1;
	if (state == DB_CONNECTING)
		*events = connecting == PGRES_POLLING_READING ? POLLIN : POLLOUT;
	else
		*events = (short) (POLLIN | (PQflush(conn) > 0 ? POLLOUT : 0));
	return PQsocket(conn);
}

int
relay_db_timeout(void)
{
	int64_t now = relay_now();
	int64_t next = now + config->poll_interval;

	if (state == DB_DOWN)
		next = earliest(next, retry_at);
	else if (state == DB_CONNECTING)
		next = earliest(next, connect_deadline);
	else if (state == DB_IDLE)
	{
		if (report_is_due())
			return 0;
		if (n_results > 0)
			next =
				earliest(next, report_due > retry_at ? report_due : retry_at);
		else if (retry_at > now)
			next = earliest(next, retry_at);
	}
	return next > now ? (int) (next - now) : 0;
}

void
relay_db_init(const Config *new_config, const char *at, bool give_up)
{
	config = new_config;
	at_time = at;
	give_up_on_error = give_up;
	retry_at = relay_now();
}

static bool
differs(const char *a, const char *b)
{
	return (a == NULL) != (b == NULL) || (a != NULL && strcmp(a, b) != 0);
}

/* called while the old configuration still exists */
void
relay_db_reload(const Config *new_config)
{
	if (differs(config->conninfo, new_config->conninfo) ||
		differs(config->relay_name, new_config->relay_name) ||
		differs(config->site_token, new_config->site_token) ||
		config->listen != new_config->listen)
		reconnect_wanted = true;
	config = new_config;
}

void
relay_db_close(void)
{
	disconnect();
	free(results);
	results = NULL;
	n_results = results_size = 0;
}
