/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Claimed messages go to their SMTP servers; results go to db.c.
 *
 * A message is started only if its lease leaves time for all of send_timeout
 * and the report after it; a transfer cannot outlive send_timeout, so that no
 * message is still being sent when the database offers it again.
 *
 * Started and not yet reported are never more than max_in_flight messages: so
 * many at most are sent a second time after a crash.
 *
 * One recipient for each message.  A connection is kept for some seconds and
 * takes the next message for the same server.
 *
 *-------------------------------------------------------------------------
 */
#include "send.h"

#include "buffer.h"
#include "db.h"
#include "mime.h"
#include "smtp.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_CONNECTION_MS 10000

/* a message on its way, in the list in_flight */
typedef struct Transfer
{
	struct Transfer *next;
	Message *message;
	SmtpTarget target; /* its texts are the configuration's or the message's */
	Mailbox from;
	Buffer text;
	int64_t started_at;
	SmtpConnection *connection;
	bool on_kept; /* the connection was used before */
	bool again;	  /* the one retry over a fresh connection was used */
} Transfer;

static const Config *config;
static CURLM *multi;

static Message *queue_head;
static Message **queue_tail = &queue_head;
static int n_queued;

static Transfer *in_flight;
static int n_in_flight;

static SmtpConnection **idle; /* open connections without a message */
static int n_idle;
static int idle_size;

/* how much we may claim: see relay_send_room() */
static int finished_this_second;
static int finished_last_second;
static int64_t second_started;
static int unreachable; /* transfers in a row to which no server said a word */
static int64_t paused_until;

/* ------------------------------------------------------------------------
 * Connections
 * ------------------------------------------------------------------------
 */

static SmtpConnection *
take_idle(int i)
{
	SmtpConnection *c = idle[i];

	idle[i] = idle[--n_idle];
	return c;
}

static void
keep_idle(SmtpConnection *c)
{
	if (n_idle == idle_size)
	{
		idle_size = idle_size > 0 ? 2 * idle_size : 16;
		idle = relay_realloc(idle, (size_t) idle_size * sizeof(idle[0]));
	}
	idle[n_idle++] = c;
}

/* Close what the server closed, what was idle too long, and what is one too many. */
static void
tidy_idle(int room)
{
	int64_t now = relay_now();

	for (int i = n_idle - 1; i >= 0; i--)
	{
		relay_smtp_step(idle[i]);
		if (idle[i]->state != SMTP_IDLE ||
			now - idle[i]->idle_since > IDLE_CONNECTION_MS)
			relay_smtp_close(multi, take_idle(i));
	}
	while (n_idle > room && n_idle > 0)
		relay_smtp_close(multi, take_idle(0));
}

/* Give t a connection, kept or new.  False if there is none to be had. */
static bool
give_connection(Transfer *t, bool fresh)
{
	char *identity = relay_smtp_identity(&t->target);

	t->connection = NULL;
	for (int i = 0; i < n_idle && !fresh && t->connection == NULL; i++)
		if (strcmp(idle[i]->identity, identity) == 0)
			t->connection = take_idle(i);
	free(identity);
	t->on_kept = t->connection != NULL;
	if (t->connection == NULL)
	{
		tidy_idle(config->max_connections - n_in_flight - 1);
		t->connection = relay_smtp_connect(multi, &t->target,
										   t->started_at + config->send_timeout,
										   config->connect_timeout);
	}
	return t->connection != NULL;
}

/* ------------------------------------------------------------------------
 * Results
 * ------------------------------------------------------------------------
 */

/* response as the receipt has it; our own words begin with "relay: " and may go into the log */
static void
report(const Message *m, const char *outcome, const char *code,
	   const char *response, int64_t started_at)
{
	Result result = { .message_id = m->message_id,
					  .attempt = m->attempt,
					  .outcome = outcome };
	bool ours = strncmp(response, "relay: ", 7) == 0;

	snprintf(result.code, sizeof(result.code), "%s", code);
	snprintf(result.response, sizeof(result.response), "%s", response);
	relay_log(RELAY_INFO, outcome,
			  "message_id=%" PRId64 " attempt=%d code=%s ms=%" PRId64 "%s%s",
			  m->message_id, m->attempt, code[0] != '\0' ? code : "-",
			  relay_now() - started_at, ours ? " error=" : "",
			  ours ? relay_log_quote(response + 7) : "");
	relay_db_report(&result);
}

static void
count_finished(bool server_spoke)
{
	finished_this_second++;
	if (server_spoke)
	{
		unreachable = 0;
		paused_until = 0;
	}
	else if (++unreachable >= config->max_connections)
	{
		/* nobody is there: do not use up the attempts of everything in the outbox */
		int doublings = unreachable / config->max_connections - 1;

		paused_until = relay_now() + (1000 << (doublings < 6 ? doublings : 6));
	}
}

/* why there was no answer, for the receipt; curl's own texts hold host names, no more */
static const char *
silence_code(CURLcode curl_result)
{
	switch (curl_result)
	{
		case CURLE_COULDNT_RESOLVE_HOST:
		case CURLE_COULDNT_CONNECT:
			return "4.4.1";
		case CURLE_PEER_FAILED_VERIFICATION:
		case CURLE_SSL_CONNECT_ERROR:
		case CURLE_USE_SSL_FAILED:
		case CURLE_LOGIN_DENIED:
			return "4.7.0";
		default:
			return "4.4.2";
	}
}

static void
free_transfer(Transfer *t)
{
	if (t->connection != NULL)
		relay_smtp_close(multi, t->connection);
	relay_message_free(t->message);
	relay_buffer_free(&t->text);
	free(t);
}

static void
report_outcome(const Transfer *t, CURLcode error)
{
	const SmtpDialog *dialog = &t->connection->dialog;
	char code[16];
	char response[sizeof(dialog->final.text) + 8];
	SmtpOutcome outcome = relay_smtp_outcome(dialog, code, sizeof(code));

	if (dialog->decided)
	{
		snprintf(response, sizeof(response), "%03d %s", dialog->final.code,
				 dialog->final.text);
		report(t->message, relay_smtp_outcome_name(outcome), code, response,
			   t->started_at);
	}
	else
	{
		snprintf(response, sizeof(response), "relay: %s%s",
				 curl_easy_strerror(error),
				 dialog->phase == SMTP_BODY
					 ? "; the server may have taken the message"
					 : "");
		report(t->message, "deferred", silence_code(error), response,
			   t->started_at);
	}
	count_finished(dialog->any_reply);
}

/* t has its result, or none: report, and keep or close the connection */
static void
transfer_done(Transfer *t, CURLcode error)
{
	SmtpConnection *c = t->connection;

	report_outcome(t, error);
	if (c->state == SMTP_FINISHED)
	{
		relay_smtp_release(c);
		if (c->state == SMTP_IDLE)
		{
			keep_idle(c);
			t->connection = NULL;
		}
	}
	free_transfer(t);
	n_in_flight--;
}

/*
 * A kept connection that the server has closed meanwhile breaks before a word
 * is said; nothing was sent then, and a fresh one deserves a try.
 */
static bool
try_again(Transfer *t)
{
	if (t->again || !t->on_kept || t->connection->dialog.any_reply)
		return false;
	relay_smtp_close(multi, t->connection);
	t->again = true;
	return give_connection(t, true);
}

/* Move t on; returns whether it is done. */
static bool
step_transfer(Transfer *t, int64_t now)
{
	SmtpConnection *c = t->connection;

	if (c->state == SMTP_IDLE)
		relay_smtp_send(c, t->from.address, t->message->recipient, &t->text);
	if (c->state == SMTP_BUSY)
		relay_smtp_step(c);
	if (c->state == SMTP_CLOSED && !c->dialog.decided && try_again(t))
		return false;
	if (t->connection == NULL)
	{
		report(t->message, "deferred", "4.3.0",
			   "relay: libcurl did not take the connection", t->started_at);
		free_transfer(t);
		n_in_flight--;
		return true;
	}
	if (c->state == SMTP_CLOSED || c->state == SMTP_FINISHED)
		transfer_done(t, c->error);
	else if (now >= t->started_at + config->send_timeout)
		transfer_done(t, CURLE_OPERATION_TIMEDOUT);
	else
		return false;
	return true;
}

/* ------------------------------------------------------------------------
 * Starting
 * ------------------------------------------------------------------------
 */

/* Report t's message without sending it. */
static void
refuse(Transfer *t, const char *outcome, const char *code, const char *why)
{
	char response[200];

	snprintf(response, sizeof(response), "relay: %s", why);
	report(t->message, outcome, code, response, relay_now());
	free_transfer(t);
}

/* Is there still time to send m? If not it is left to its lease. */
static bool
in_time(const Message *m)
{
	int64_t age = relay_now() - m->claimed_at;
	const char *why = NULL;

	if (age >= m->expires_in)
		why = "expired";
	else if (age + config->send_timeout > config->lease - config->lease / 10)
		why = "lease_nearly_over";
	if (why != NULL)
		relay_log(RELAY_INFO, "left",
				  "message_id=%" PRId64 " attempt=%d why=%s", m->message_id,
				  m->attempt, why);
	return why == NULL;
}

/* Check and write the message; false if it was refused (t is gone then). */
static bool
prepare(Transfer *t)
{
	const Message *m = t->message;
	const ChannelConfig *channel = relay_config_channel(config, m->channel);
	const char *url =
		channel != NULL && channel->url != NULL ? channel->url : m->url;
	AddressFault fault =
		relay_address_check(m->recipient, strlen(m->recipient));
	const char *error = NULL;
	MimeInput input;

	if (fault == ADDRESS_NON_ASCII)
	{
		refuse(t, "rejected", "5.6.7", relay_address_fault_text(fault));
		return false;
	}
	if (fault != ADDRESS_OK)
	{
		refuse(t, "bounced", "5.1.3", relay_address_fault_text(fault));
		return false;
	}
	/* a mistake in the channel can be mended; its messages wait */
	if (url == NULL || !relay_address_endpoint(url, &t->target.endpoint))
	{
		refuse(t, "deferred", "4.3.5",
			   "the channel's url is not of the form smtp://host:port");
		return false;
	}
	if (m->from == NULL || !relay_address_mailbox(m->from, &t->from))
	{
		refuse(t, "deferred", "4.3.5",
			   "the channel's from is not of the form Name <local@domain>");
		return false;
	}

	input = (MimeInput){ .from = &t->from,
						 .recipient = m->recipient,
						 .subject = m->subject,
						 .body = m->body,
						 .html = m->html,
						 .key = m->key,
						 .domain = m->domain != NULL
									   ? m->domain
									   : strchr(t->from.address, '@') + 1,
						 .headers = m->headers,
						 .headers_len = m->headers_len,
						 .date = m->decided_at };
	if (!relay_mime_build(&input, &t->text, &error))
	{
		refuse(t, "rejected", "5.6.0", error);
		return false;
	}

	t->target.tls =
		channel != NULL && channel->tls >= 0 ? channel->tls : config->tls;
	t->target.ca_file = channel != NULL && channel->ca_file != NULL
							? channel->ca_file
							: config->ca_file;
	t->target.ehlo_name = config->ehlo_name;
	if (channel != NULL)
	{
		t->target.user = channel->user;
		t->target.password = channel->password;
	}
	return true;
}

static void
start(Message *m)
{
	Transfer *t = relay_alloc(sizeof(*t));

	t->message = m;
	t->started_at = relay_now();
	relay_buffer_init(&t->text);
	if (!prepare(t))
		return;
	if (!give_connection(t, false))
	{
		refuse(t, "deferred", "4.3.0", "libcurl did not take the connection");
		return;
	}
	t->next = in_flight;
	in_flight = t;
	n_in_flight++;
}

static Message *
dequeue(void)
{
	Message *m = queue_head;

	queue_head = m->next;
	if (queue_head == NULL)
		queue_tail = &queue_head;
	m->next = NULL;
	n_queued--;
	return m;
}

static void
start_queued(void)
{
	while (queue_head != NULL && n_in_flight < config->max_connections &&
		   n_in_flight + relay_db_unreported() < config->max_in_flight)
	{
		Message *m = dequeue();

		if (in_time(m))
			start(m);
		else
			relay_message_free(m);
	}
}

/* ------------------------------------------------------------------------
 * Public functions
 * ------------------------------------------------------------------------
 */

void
relay_send_enqueue(Message *m)
{
	m->next = NULL;
	*queue_tail = m;
	queue_tail = &m->next;
	n_queued++;
}

void
relay_send_drop_queue(void)
{
	if (n_queued > 0)
		relay_log(RELAY_INFO, "left", "messages=%d why=stopping", n_queued);
	while (queue_head != NULL)
		relay_message_free(dequeue());
}

/* libcurl's part: connections that have opened, or failed to */
static void
step_handshakes(void)
{
	int running;
	int left;
	CURLMsg *done;

	curl_multi_perform(multi, &running);
	while ((done = curl_multi_info_read(multi, &left)) != NULL)
	{
		char *connection = NULL;

		if (done->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(done->easy_handle, CURLINFO_PRIVATE, &connection);
		relay_smtp_connected((SmtpConnection *) (void *) connection,
							 done->data.result);
	}
}

void
relay_send_step(void)
{
	int64_t now = relay_now();
	Transfer **link = &in_flight;

	step_handshakes();
	while (*link != NULL)
	{
		Transfer *t = *link;
		Transfer *next = t->next;

		if (step_transfer(t, now))
			*link = next;
		else
			link = &t->next;
	}
	tidy_idle(config->max_connections - n_in_flight);
	start_queued();
	/* a kept connection can say its first word at once */
	for (Transfer *t = in_flight; t != NULL; t = t->next)
		if (t->connection->state == SMTP_IDLE)
			relay_smtp_send(t->connection, t->from.address,
							t->message->recipient, &t->text);
}

/* Is there something that relay_send_step() would start? */
bool
relay_send_can_start(void)
{
	return queue_head != NULL && n_in_flight < config->max_connections &&
		   n_in_flight + relay_db_unreported() < config->max_in_flight;
}

/*
 * How many messages to claim now.  No more wait here than went out within the
 * last second (and one for each connection), so that a slow server does not
 * make leases run out in our queue.
 */
int
relay_send_room(bool ignore_pause)
{
	int64_t now = relay_now();
	int target;

	if (now - second_started >= 1000)
	{
		finished_last_second =
			now - second_started < 2000 ? finished_this_second : 0;
		finished_this_second = 0;
		second_started = now;
	}
	if (now < paused_until && !ignore_pause)
		return 0;
	target =
		config->max_connections + (finished_last_second > finished_this_second
									   ? finished_last_second
									   : finished_this_second);
	if (target > config->claim_batch)
		target = config->claim_batch;
	return n_queued <= target / 2 ? target - n_queued : 0;
}

int
relay_send_in_flight(void)
{
	return n_in_flight;
}

int
relay_send_queued(void)
{
	return n_queued;
}

static void
watch(struct curl_waitfd *fd, const SmtpConnection *c)
{
	fd->fd = c->socket;
	fd->events =
		(short) (CURL_WAIT_POLLIN | (c->out.len > 0 ? CURL_WAIT_POLLOUT : 0));
	fd->revents = 0;
}

void
relay_send_wait(const struct curl_waitfd *others, unsigned n_others,
				int timeout)
{
	static struct curl_waitfd *fds;
	static unsigned fds_size;
	unsigned n = 0;
	int64_t now = relay_now();

	if (fds_size < n_others + (unsigned) (n_in_flight + n_idle))
	{
		fds_size = 2 * (n_others + (unsigned) (n_in_flight + n_idle));
		fds = relay_realloc(fds, fds_size * sizeof(fds[0]));
	}
	for (unsigned i = 0; i < n_others; i++)
		fds[n++] = others[i];
	for (int i = 0; i < n_idle; i++)
		watch(&fds[n++], idle[i]);
	for (const Transfer *t = in_flight; t != NULL; t = t->next)
	{
		int64_t left = t->started_at + config->send_timeout - now;

		if (t->connection->state == SMTP_BUSY)
			watch(&fds[n++], t->connection);
		else if (t->connection->state != SMTP_CONNECTING)
			left = 0;
		if (left < timeout)
			timeout = left > 0 ? (int) left : 0;
	}
	curl_multi_poll(multi, fds, n, timeout, NULL);
}

bool
relay_send_init(const Config *new_config)
{
	config = new_config;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return false;
	multi = curl_multi_init();
	if (multi == NULL)
		return false;
	return true;
}

void
relay_send_reload(const Config *new_config)
{
	config = new_config;
	/* messages on their way point into the old one; connections have copies */
	for (Transfer *t = in_flight; t != NULL; t = t->next)
		memset(&t->target, 0, sizeof(t->target)), t->again = true;
}

void
relay_send_close(void)
{
	Transfer *t;

	while (queue_head != NULL)
		relay_message_free(dequeue());
	while ((t = in_flight) != NULL)
	{
		in_flight = t->next;
		free_transfer(t);
	}
	n_in_flight = 0;
	tidy_idle(0);
	free(idle);
	curl_multi_cleanup(multi);
	curl_global_cleanup();
}
