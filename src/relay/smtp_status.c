/*-------------------------------------------------------------------------
 *
 * smtp_status.c
 *	  What an SMTP dialog means for the message.
 *
 * The first reply of 400 or more that is not part of the greeting decides, or
 * the reply to the body.  Without either the message is deferred: nothing is
 * known, and a resend carries the same Message-ID.  This covers the drop after
 * the final dot, where the server may well have taken the message.
 *
 * A refusal in the greeting is about us or the server (no service, login
 * failed), so it never costs a message more than a retry.
 *
 *-------------------------------------------------------------------------
 */
#include "smtp_status.h"

#include <stdio.h>
#include <string.h>

void
relay_smtp_start(SmtpDialog *d)
{
	memset(d, 0, sizeof(*d));
}

/* The next reply answers this. */
void
relay_smtp_expect(SmtpDialog *d, SmtpPhase phase)
{
	d->phase = phase;
	if (phase == SMTP_MAIL && d->final_phase == SMTP_GREETING)
		d->decided = false; /* the greeting went well in the end */
	memset(&d->reply, 0, sizeof(d->reply));
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "5.1.10 ..." at the start of a reply's text (RFC 3463: class.1-3.1-3 digits) */
static void
parse_enhanced(const char *text, size_t len, int enhanced[3])
{
	int value[3] = { 0, 0, 0 };
	size_t i = 0;

	for (int part = 0; part < 3; part++)
	{
		int digits = 0;

		while (i < len && is_digit(text[i]) && digits < 3)
		{
			value[part] = value[part] * 10 + (text[i] - '0');
			i++, digits++;
		}
		if (digits == 0 || (part == 0 && digits != 1))
			return;
		if (part < 2)
		{
			if (i >= len || text[i] != '.')
				return;
			i++;
		}
	}
	if (i < len && text[i] != ' ')
		return;
	if (value[0] != 2 && value[0] != 4 && value[0] != 5)
		return;
	memcpy(enhanced, value, sizeof(value));
}

static void
append_text(SmtpReply *reply, const char *text, size_t len)
{
	if (reply->text_len > 0 && reply->text_len < sizeof(reply->text) - 1)
		reply->text[reply->text_len++] = ' ';
	for (size_t i = 0; i < len && reply->text_len < sizeof(reply->text) - 1;
		 i++)
	{
		unsigned char c = (unsigned char) text[i];

		reply->text[reply->text_len++] =
			(c >= ' ' && c < 0x7f) ? (char) c : '?';
	}
	reply->text[reply->text_len] = '\0';
}

static void
reply_complete(SmtpDialog *d)
{
	int class = d->reply.code / 100;

	/* a refused greeting is not the end: HELO may follow EHLO, one login another */
	if (d->phase == SMTP_OTHER ||
		(d->decided && d->final_phase != SMTP_GREETING))
		return;
	if (class >= 4 || d->phase == SMTP_BODY)
	{
		d->decided = true;
		d->final_phase = d->phase;
		d->final = d->reply;
	}
}

/* One reply line, with or without its line end. */
SmtpProgress
relay_smtp_line(SmtpDialog *d, const char *line, size_t len)
{
	SmtpReply *reply = &d->reply;
	bool last;
	int code;

	d->bytes += len;
	if (d->bytes > SMTP_REPLY_MAX)
		return SMTP_BROKEN;
	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n'))
		len--;
	if (len < 3 || line[0] < '2' || line[0] > '5' || !is_digit(line[1]) ||
		!is_digit(line[2]) || (len > 3 && line[3] != ' ' && line[3] != '-'))
		return SMTP_BROKEN;

	code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
	last = len == 3 || line[3] == ' ';
	d->any_reply = true;

	if (reply->complete || code != reply->code)
	{
		memset(reply, 0, sizeof(*reply));
		reply->code = code;
	}
	if (len > 4)
	{
		if (reply->enhanced[0] == 0)
			parse_enhanced(line + 4, len - 4, reply->enhanced);
		append_text(reply, line + 4, len - 4);
	}
	if (!last)
		return SMTP_MORE;
	reply->complete = true;
	reply_complete(d);
	return SMTP_COMPLETE;
}

static SmtpOutcome
classify_enhanced(SmtpPhase phase, int subject, int detail)
{
	if (subject == 1)
	{
		/* 5.1.7 and 5.1.8 are about the sender's address */
		if (detail == 7 || detail == 8 || phase == SMTP_MAIL)
			return SMTP_REJECTED;
		return SMTP_BOUNCED;
	}
	if (subject == 2 && detail == 1 && phase != SMTP_MAIL)
		return SMTP_BOUNCED; /* mailbox disabled */
	if (subject == 2 && detail == 2)
		return SMTP_DEFERRED; /* mailbox full: people do tidy up */
	return SMTP_REJECTED;
}

static SmtpOutcome
classify_basic(SmtpPhase phase, int code)
{
	if (phase == SMTP_RCPT && (code == 550 || code == 551 || code == 553))
		return SMTP_BOUNCED;
	/* RFC 5321 4.5.3.1.10: take 552 at RCPT for 452 */
	if (phase == SMTP_RCPT && code == 552)
		return SMTP_DEFERRED;
	return SMTP_REJECTED;
}

/*
 * The message's fate; code gets the enhanced status, else the basic code, else
 * "" if the server never said.
 */
SmtpOutcome
relay_smtp_outcome(const SmtpDialog *d, char *code, size_t code_size)
{
	const SmtpReply *reply = &d->final;
	int class = reply->code / 100;

	code[0] = '\0';
	if (!d->decided)
		return SMTP_DEFERRED;

	/* a class that contradicts the reply's first digit is a broken server */
	if (reply->enhanced[0] == class)
		snprintf(code, code_size, "%d.%d.%d", reply->enhanced[0],
				 reply->enhanced[1], reply->enhanced[2]);
	else
		snprintf(code, code_size, "%03d", reply->code);

	if (class == 2)
		return SMTP_SENT;
	if (class != 5 || d->final_phase == SMTP_GREETING)
		return SMTP_DEFERRED;
	/* log in or use TLS first: our configuration, not the message */
	if (reply->code == 530 || reply->code == 534 || reply->code == 535 ||
		reply->code == 538)
		return SMTP_DEFERRED;
	/* x.0.0 says no more than the code (RFC 3463 3.1) */
	if (reply->enhanced[0] == class && reply->enhanced[1] != 0)
		return classify_enhanced(d->final_phase, reply->enhanced[1],
								 reply->enhanced[2]);
	return classify_basic(d->final_phase, reply->code);
}

const char *
relay_smtp_outcome_name(SmtpOutcome outcome)
{
	switch (outcome)
	{
		case SMTP_SENT:
			return "sent";
		case SMTP_BOUNCED:
			return "bounced";
		case SMTP_REJECTED:
			return "rejected";
		case SMTP_DEFERRED:
			break;
	}
	return "deferred";
}
