/*-------------------------------------------------------------------------
 *
 * smtp.c
 *	  One connection to an SMTP server, and the messages that go over it.
 *
 * libcurl opens the connection: name, TCP, TLS, EHLO, STARTTLS, AUTH.  The
 * messages we send ourselves over curl_easy_send() and curl_easy_recv(),
 * because libcurl's own SMTP waits for the reply to the final dot, and to QUIT,
 * without returning to the caller: one slow server would hold up all mail.  It
 * also gives us pipelining, and a connection that survives a refused recipient.
 *
 * No function here waits.  With pipelining MAIL, RCPT and DATA go out together;
 * the text only after 354, so that a refused message is never sent.
 *
 *-------------------------------------------------------------------------
 */
#include "smtp.h"

#include "config.h"
#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

char *
relay_smtp_identity(const SmtpTarget *target)
{
	Buffer b;

	relay_buffer_init(&b);
	/* \n occurs in none of them */
	relay_buffer_printf(&b, "%d\n%s\n%d\n%d\n%s\n%s\n%s\n%s",
						target->endpoint.implicit_tls, target->endpoint.host,
						target->endpoint.port, target->tls,
						target->user != NULL ? target->user : "",
						target->password != NULL ? target->password : "",
						target->ca_file != NULL ? target->ca_file : "",
						target->ehlo_name != NULL ? target->ehlo_name : "");
	return b.data;
}

/* ------------------------------------------------------------------------
 * Opening and closing
 * ------------------------------------------------------------------------
 */

static size_t
take_greeting_line(char *line, size_t size, size_t n, void *arg)
{
	SmtpConnection *c = arg;
	size_t len = size * n;

	if (len >= 14 && strncmp(line, "250", 3) == 0 &&
		strncasecmp(line + 4, "PIPELINING", 10) == 0)
		c->pipelining = true;
	return relay_smtp_line(&c->dialog, line, len) != SMTP_BROKEN ? len : 0;
}

/* the way to make libcurl give up a handshake without a word to the server */
static int
check_deadline(void *arg, curl_off_t a, curl_off_t b, curl_off_t d,
			   curl_off_t e)
{
	const SmtpConnection *c = arg;

	(void) a, (void) b, (void) d, (void) e;
	return c->state == SMTP_CONNECTING && relay_now() >= c->deadline;
}

/*
 * After a refused greeting libcurl says QUIT and waits for the answer.  A second
 * of that is the most we grant.
 */
static int
watch_for_quit(CURL *curl, curl_infotype type, char *data, size_t size,
			   void *arg)
{
	(void) arg;
	if (type == CURLINFO_HEADER_OUT && size >= 4 &&
		strncasecmp(data, "QUIT", 4) == 0)
		curl_easy_setopt(curl, CURLOPT_SERVER_RESPONSE_TIMEOUT, 1L);
	return 0;
}

static void
set_tls(CURL *curl, const SmtpTarget *target)
{
	bool implicit = target->endpoint.implicit_tls;
	/* encryption that may be absent proves nothing by a certificate */
	bool verify = implicit || target->tls == TLS_REQUIRE;
	long use_ssl = CURLUSESSL_NONE;

	if (verify)
		use_ssl = CURLUSESSL_ALL;
	else if (target->tls == TLS_STARTTLS)
		use_ssl = CURLUSESSL_TRY;
	curl_easy_setopt(curl, CURLOPT_USE_SSL, use_ssl);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, verify ? 1L : 0L);
	curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, verify ? 2L : 0L);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (target->ca_file != NULL)
		curl_easy_setopt(curl, CURLOPT_CAINFO, target->ca_file);
}

/* Start connecting; NULL if libcurl will not.  The caller hears through multi. */
SmtpConnection *
relay_smtp_connect(CURLM *multi, const SmtpTarget *target, int64_t deadline,
				   long connect_timeout)
{
	SmtpConnection *c = relay_alloc(sizeof(*c));
	const Endpoint *endpoint = &target->endpoint;
	char url[700];

	c->curl = curl_easy_init();
	if (c->curl == NULL)
	{
		free(c);
		return NULL;
	}
	c->state = SMTP_CONNECTING;
	c->socket = CURL_SOCKET_BAD;
	c->deadline = deadline;
	c->identity = relay_smtp_identity(target);
	relay_buffer_init(&c->out);
	relay_smtp_start(&c->dialog);

	/* libcurl says the path in EHLO */
	snprintf(url, sizeof(url), "%s://%s%s%s:%d/%s",
			 endpoint->implicit_tls ? "smtps" : "smtp",
			 endpoint->ipv6 ? "[" : "", endpoint->host,
			 endpoint->ipv6 ? "]" : "", endpoint->port,
			 target->ehlo_name != NULL ? target->ehlo_name : "");
	curl_easy_setopt(c->curl, CURLOPT_URL, url);
	curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
	curl_easy_setopt(c->curl, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(c->curl, CURLOPT_NETRC, (long) CURL_NETRC_IGNORED);
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout);
	curl_easy_setopt(c->curl, CURLOPT_PRIVATE, c);
	curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, take_greeting_line);
	curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, c);
	curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, check_deadline);
	curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, c);
	curl_easy_setopt(c->curl, CURLOPT_VERBOSE, 1L);
	curl_easy_setopt(c->curl, CURLOPT_DEBUGFUNCTION, watch_for_quit);
	set_tls(c->curl, target);
	if (target->user != NULL)
	{
		curl_easy_setopt(c->curl, CURLOPT_USERNAME, target->user);
		curl_easy_setopt(c->curl, CURLOPT_PASSWORD, target->password);
	}
	if (curl_multi_add_handle(multi, c->curl) != CURLM_OK)
	{
		relay_smtp_close(multi, c);
		return NULL;
	}
	return c;
}

/* libcurl is done with the handshake */
void
relay_smtp_connected(SmtpConnection *c, CURLcode result)
{
	c->error = result;
	if (result == CURLE_OK)
	{
		curl_easy_getinfo(c->curl, CURLINFO_ACTIVESOCKET, &c->socket);
		if (c->socket == CURL_SOCKET_BAD)
			c->error = CURLE_COULDNT_CONNECT;
	}
	c->state = c->error == CURLE_OK ? SMTP_IDLE : SMTP_CLOSED;
	c->idle_since = relay_now();
}

void
relay_smtp_close(CURLM *multi, SmtpConnection *c)
{
	if (c->state == SMTP_IDLE)
	{
		size_t sent;

		/* a courtesy; nobody waits for the answer */
		(void) curl_easy_send(c->curl, "QUIT\r\n", 6, &sent);
	}
	/* a handle that only connects closes its connection when it is removed */
	curl_multi_remove_handle(multi, c->curl);
	curl_easy_cleanup(c->curl);
	relay_buffer_free(&c->out);
	free(c->identity);
	free(c);
}

/* ------------------------------------------------------------------------
 * A message
 * ------------------------------------------------------------------------
 */

static void
lost(SmtpConnection *c, CURLcode error)
{
	c->error = error != CURLE_OK ? error : CURLE_GOT_NOTHING;
	c->state = SMTP_CLOSED;
}

static void
flush_out(SmtpConnection *c)
{
	while (c->state != SMTP_CLOSED && c->out_sent < c->out.len)
	{
		size_t sent = 0;
		CURLcode result = curl_easy_send(c->curl, c->out.data + c->out_sent,
										 c->out.len - c->out_sent, &sent);

		if (result == CURLE_AGAIN)
			return;
		if (result != CURLE_OK)
			lost(c, result);
		c->out_sent += sent;
	}
	relay_buffer_reset(&c->out);
	c->out_sent = 0;
}

static void
await(SmtpConnection *c, SmtpPhase phase)
{
	c->awaited = phase;
	relay_smtp_expect(&c->dialog, phase);
}

void
relay_smtp_send(SmtpConnection *c, const char *sender, const char *recipient,
				const Buffer *text)
{
	bool any_reply = c->dialog.any_reply && !c->used;

	c->state = SMTP_BUSY;
	c->sender = sender;
	c->recipient = recipient;
	c->text = text;
	c->line_len = 0;
	relay_smtp_start(&c->dialog);
	/* on a new connection the server has spoken already */
	c->dialog.any_reply = any_reply;

	relay_buffer_printf(&c->out, "MAIL FROM:<%s>\r\n", sender);
	if (c->pipelining)
		relay_buffer_printf(&c->out, "RCPT TO:<%s>\r\nDATA\r\n", recipient);
	await(c, SMTP_MAIL);
	flush_out(c);
}

/*
 * The text with dots stuffed, and the final dot.  mime.c ends each line in CRLF
 * and begins none with a dot; this does not rely on the latter.
 */
static void
queue_text(SmtpConnection *c)
{
	const char *p = c->text->data;
	const char *end = p + c->text->len;

	while (p < end)
	{
		const char *eol = memchr(p, '\n', (size_t) (end - p));
		size_t len = (size_t) ((eol != NULL ? eol + 1 : end) - p);

		if (*p == '.')
			relay_buffer_putc(&c->out, '.');
		relay_buffer_append(&c->out, p, len);
		p += len;
	}
	relay_buffer_puts(&c->out, ".\r\n");
}

/* The message's fate is known. */
static void
finish(SmtpConnection *c)
{
	c->used = true;
	c->awaited = SMTP_OTHER;
	c->state = SMTP_FINISHED;
}

/* Refused, and the server may still hold half a transaction. */
static void
reset(SmtpConnection *c)
{
	relay_buffer_puts(&c->out, "RSET\r\n");
	await(c, SMTP_OTHER);
}

static void
take_reply(SmtpConnection *c)
{
	int code = c->dialog.reply.code;
	bool good = code / 100 == 2;

	if (code == 421)
	{
		lost(c, CURLE_GOT_NOTHING);
		return;
	}
	switch (c->awaited)
	{
		case SMTP_MAIL:
			if (!good && !c->pipelining)
				reset(c);
			else
			{
				if (!c->pipelining)
					relay_buffer_printf(&c->out, "RCPT TO:<%s>\r\n",
										c->recipient);
				await(c, SMTP_RCPT);
			}
			break;
		case SMTP_RCPT:
			if (!good && !c->pipelining)
				reset(c);
			else
			{
				if (!c->pipelining)
					relay_buffer_puts(&c->out, "DATA\r\n");
				await(c, SMTP_DATA);
			}
			break;
		case SMTP_DATA:
			if (code == 354 && !c->dialog.decided)
			{
				queue_text(c);
				await(c, SMTP_BODY);
			}
			else if (code == 354)
			{
				/* refused before, yet the server waits for a text: give it none */
				relay_buffer_puts(&c->out, ".\r\n");
				await(c, SMTP_OTHER);
			}
			else if (c->dialog.decided)
				reset(c);
			else
				lost(c, CURLE_WEIRD_SERVER_REPLY);
			break;
		case SMTP_BODY:
		case SMTP_OTHER:
			finish(c);
			break;
		case SMTP_GREETING:
			lost(c, CURLE_WEIRD_SERVER_REPLY);
			break;
	}
}

static void
take_bytes(SmtpConnection *c, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		SmtpProgress progress;

		/* a reply that nobody asked for: the server is going away */
		if (c->state != SMTP_BUSY)
		{
			c->line_len = 1;
			return;
		}
		if (c->line_len < sizeof(c->line))
			c->line[c->line_len++] = data[i];
		else if (++c->dialog.bytes > SMTP_REPLY_MAX)
		{
			lost(c, CURLE_WEIRD_SERVER_REPLY);
			return;
		}
		if (data[i] != '\n')
			continue;
		progress = relay_smtp_line(&c->dialog, c->line, c->line_len);
		c->line_len = 0;
		if (progress == SMTP_BROKEN)
			lost(c, CURLE_WEIRD_SERVER_REPLY);
		else if (progress == SMTP_COMPLETE)
			take_reply(c);
	}
}

/* Read and write what can be, in states SMTP_IDLE and SMTP_BUSY. */
void
relay_smtp_step(SmtpConnection *c)
{
	char buffer[4096];
	size_t got;

	if (c->state == SMTP_BUSY)
		flush_out(c);
	while (c->state == SMTP_BUSY || c->state == SMTP_IDLE)
	{
		CURLcode result = curl_easy_recv(c->curl, buffer, sizeof(buffer), &got);

		if (result == CURLE_AGAIN)
			break;
		/* idle servers speak only to say good-bye */
		if (result != CURLE_OK || got == 0 || c->state == SMTP_IDLE)
		{
			lost(c, result);
			return;
		}
		take_bytes(c, buffer, got);
		if (c->state == SMTP_BUSY)
			flush_out(c);
	}
}

/* After SMTP_FINISHED: ready for the next message. */
void
relay_smtp_release(SmtpConnection *c)
{
	/* bytes left over, in either direction, mean that we lost count */
	if (c->line_len > 0 || c->out.len > 0)
	{
		lost(c, CURLE_WEIRD_SERVER_REPLY);
		return;
	}
	c->state = SMTP_IDLE;
	c->idle_since = relay_now();
}
