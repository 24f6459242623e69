/*-------------------------------------------------------------------------
 *
 * mime.c
 *	  Write the complete text of one message, RFC 5322 and MIME.
 *
 * What comes out, whatever goes in:
 *	- lines end in CRLF, and CR and LF stand nowhere else;
 *	- every byte is printable ASCII, a tab never occurs;
 *	- body lines are at most 76 bytes, header lines at most 78 where there is a
 *	  blank to fold at, and never more than 998;
 *	- the header section holds the fields written here plus those asked for, and
 *	  none that a value brought along: a control character refuses the message;
 *	- the same input gives the same bytes, so that a resend is the same message.
 *
 *-------------------------------------------------------------------------
 */
#include "mime.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define LINE_FOLD 78 /* RFC 5322 2.1.1 */
#define LINE_MAX_LEN 998
#define LINE_ENCODED 76 /* RFC 2047: lines with encoded words; RFC 2045: body */

#define CRLF "\r\n"

/* length of the UTF-8 character at p, or 0 if it is none (RFC 3629) */
static size_t
utf8_char(const unsigned char *p, size_t len)
{
	size_t n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (n > len)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

bool
relay_mime_utf8_ok(const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *) text;

	while (len > 0)
	{
		size_t n = utf8_char(p, len);

		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}

static bool
has_control(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char) text[i] < ' ' || text[i] == 0x7f)
			return true;
	return false;
}

static bool
is_ascii(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char) text[i] >= 0x80)
			return false;
	return true;
}

/* ------------------------------------------------------------------------
 * Header fields
 * ------------------------------------------------------------------------
 */

static const char base64_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char hex_digits[] = "0123456789ABCDEF";

static void
append_base64(Buffer *out, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i += 3)
	{
		size_t left = len - i;
		unsigned v = (unsigned) p[i] << 16 |
					 (left > 1 ? (unsigned) p[i + 1] << 8 : 0) |
					 (left > 2 ? p[i + 2] : 0);

		relay_buffer_putc(out, base64_digits[v >> 18]);
		relay_buffer_putc(out, base64_digits[v >> 12 & 63]);
		relay_buffer_putc(out, left > 1 ? base64_digits[v >> 6 & 63] : '=');
		relay_buffer_putc(out, left > 2 ? base64_digits[v & 63] : '=');
	}
}

/* the set that is safe in every place an encoded word may stand */
static bool
q_literal(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
		   (c >= 'a' && c <= 'z') || (c != '\0' && strchr("!*+-/", c) != NULL);
}

static size_t
q_cost(const unsigned char *p, size_t len)
{
	size_t cost = 0;

	for (size_t i = 0; i < len; i++)
		cost += q_literal(p[i]) || p[i] == ' ' ? 1 : 3;
	return cost;
}

static void
append_q(Buffer *out, const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
	{
		if (p[i] == ' ')
			relay_buffer_putc(out, '_');
		else if (q_literal(p[i]))
			relay_buffer_putc(out, (char) p[i]);
		else
		{
			relay_buffer_putc(out, '=');
			relay_buffer_putc(out, hex_digits[p[i] >> 4]);
			relay_buffer_putc(out, hex_digits[p[i] & 15]);
		}
	}
}

/*
 * text (valid UTF-8) as RFC 2047 encoded words, each a whole number of
 * characters, on lines of at most 76 bytes.  column is how much of the current
 * line is taken; returns how much of the last one is.
 */
static size_t
append_encoded_words(Buffer *out, const char *text, size_t len, size_t column)
{
	const unsigned char *p = (const unsigned char *) text;
	bool use_q = q_cost(p, len) <= (len + 2) / 3 * 4;
	const size_t overhead = strlen("=?UTF-8?Q?") + strlen("?=");

	while (len > 0)
	{
		size_t room = column + overhead + 12 <= LINE_ENCODED
						  ? LINE_ENCODED - column - overhead
						  : 0;
		size_t take = 0;
		size_t cost = 0;

		/* a word is at most 75 bytes */
		if (room > 75 - overhead)
			room = 75 - overhead;
		while (take < len)
		{
			size_t n = utf8_char(p + take, len - take);
			size_t next =
				use_q ? cost + q_cost(p + take, n) : (take + n + 2) / 3 * 4;

			if (next > room)
				break;
			take += n;
			cost = next;
		}
		if (take > 0)
		{
			relay_buffer_puts(out, use_q ? "=?UTF-8?Q?" : "=?UTF-8?B?");
			if (use_q)
				append_q(out, p, take);
			else
				append_base64(out, p, take);
			relay_buffer_puts(out, "?=");
			column += overhead + cost;
			p += take;
			len -= take;
		}
		if (len > 0)
		{
			relay_buffer_puts(out, CRLF " ");
			column = 1;
		}
	}
	return column;
}

/*
 * text (printable ASCII, not must_encode), folded before a blank where a line
 * would pass 78; the blank after the field's name, already written, is one too.
 */
static void
append_folded(Buffer *out, const char *text, size_t len, size_t column)
{
	size_t i = 0;

	while (i < len)
	{
		size_t end = i + 1;

		/* from i up to the next blank that a word follows: no line is blanks alone */
		while (end < len &&
			   !(text[end] == ' ' && end + 1 < len && text[end + 1] != ' '))
			end++;
		if (i == 0 && column + end > LINE_FOLD)
		{
			out->len--;
			relay_buffer_puts(out, CRLF " ");
			column = 1;
		}
		else if (text[i] == ' ' && column + (end - i) > LINE_FOLD)
		{
			relay_buffer_puts(out, CRLF);
			column = 0;
		}
		relay_buffer_append(out, text + i, end - i);
		column += end - i;
		i = end;
	}
}

/* words that a reader would take for encoded, or that do not fit on a line of their own */
static bool
must_encode(const char *text, size_t len)
{
	size_t word = 0;

	for (size_t i = 0; i < len; i++)
	{
		if (text[i] == '=' && i + 1 < len && text[i + 1] == '?')
			return true;
		word = text[i] == ' ' && !(i + 1 < len && text[i + 1] == ' ')
				   ? 0
				   : word + 1;
		if (word > LINE_FOLD - 1) /* there is a blank before it */
			return true;
	}
	return !is_ascii(text, len);
}

/* a field of free text, such as Subject */
static void
append_unstructured(Buffer *out, const char *name, const char *text)
{
	size_t len = strlen(text);
	size_t column = strlen(name) + 2;

	while (len > 0 && text[0] == ' ')
		text++, len--;
	while (len > 0 && text[len - 1] == ' ')
		len--;
	relay_buffer_printf(out, "%s: ", name);
	if (must_encode(text, len))
		append_encoded_words(out, text, len, column);
	else
		append_folded(out, text, len, column);
	relay_buffer_puts(out, CRLF);
}

static void
append_quoted_string(Buffer *out, const char *text)
{
	relay_buffer_putc(out, '"');
	for (; *text != '\0'; text++)
	{
		if (*text == '"' || *text == '\\')
			relay_buffer_putc(out, '\\');
		relay_buffer_putc(out, *text);
	}
	relay_buffer_putc(out, '"');
}

/* a field that holds one mailbox */
static void
append_mailbox(Buffer *out, const char *field, const Mailbox *mailbox)
{
	const char *name = mailbox->name;
	size_t column = strlen(field) + 2;

	relay_buffer_printf(out, "%s: ", field);
	if (name[0] == '\0')
	{
		relay_buffer_printf(out, "%s" CRLF, mailbox->address);
		return;
	}
	if (strlen(name) > 60 || must_encode(name, strlen(name)))
		column = append_encoded_words(out, name, strlen(name), column);
	else
	{
		size_t before = out->len;

		append_quoted_string(out, name);
		column += out->len - before;
	}
	relay_buffer_puts(out, column + strlen(mailbox->address) + 3 > LINE_FOLD
							   ? CRLF " "
							   : " ");
	relay_buffer_printf(out, "<%s>" CRLF, mailbox->address);
}

static void
append_date(Buffer *out, int64_t seconds)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed",
										"Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr",
										  "May", "Jun", "Jul", "Aug",
										  "Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t) seconds;
	struct tm tm;

	/* not strftime: the names must not follow the locale */
	if (gmtime_r(&t, &tm) == NULL || tm.tm_year < 0 || tm.tm_year > 8099)
		t = 0, gmtime_r(&t, &tm);
	relay_buffer_printf(out, "Date: %s, %02d %s %04d %02d:%02d:%02d +0000" CRLF,
						days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
						tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

/* one netstring "<digits>:<bytes>" */
static bool
next_netstring(const char **p, const char *end, const char **text, size_t *len)
{
	size_t n = 0;
	int digits = 0;

	while (*p < end && **p >= '0' && **p <= '9' && digits++ < 9)
		n = n * 10 + (size_t) (*(*p)++ - '0');
	if (digits == 0 || *p >= end || **p != ':')
		return false;
	(*p)++;
	if (n > (size_t) (end - *p))
		return false;
	*text = *p;
	*len = n;
	*p += n;
	return true;
}

static bool
field_name_ok(const char *name, size_t len)
{
	if (len == 0 || len > 70)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] >= 0x7f || name[i] == ':')
			return false;
	return true;
}

/* fields written here, by mail servers, or that would tell others' addresses */
static bool
field_name_reserved(const char *name, size_t len)
{
	static const char *const reserved[] = { "Date",
											"From",
											"To",
											"Cc",
											"Bcc",
											"Subject",
											"Message-ID",
											"MIME-Version",
											"Received",
											"Return-Path",
											"DKIM-Signature",
											"Authentication-Results",
											NULL };

	for (int i = 0; reserved[i] != NULL; i++)
		if (strlen(reserved[i]) == len &&
			strncasecmp(name, reserved[i], len) == 0)
			return true;
	return (len >= 8 && strncasecmp(name, "Content-", 8) == 0) ||
		   (len >= 7 && strncasecmp(name, "Resent-", 7) == 0) ||
		   (len >= 4 && strncasecmp(name, "ARC-", 4) == 0);
}

static bool
append_extra_field(Buffer *out, const char *name, const char *value,
				   const char **error)
{
	size_t len = strlen(value);

	if (strcasecmp(name, "Reply-To") == 0 || strcasecmp(name, "Sender") == 0)
	{
		Mailbox mailbox;

		if (!relay_address_mailbox(value, &mailbox))
		{
			*error = "header Reply-To or Sender is not one mail address";
			return false;
		}
		append_mailbox(out, name, &mailbox);
		return true;
	}
	if (strncasecmp(name, "List-", 5) == 0)
	{
		/* some mail servers break DKIM signatures over folded List- fields */
		if (!is_ascii(value, len) || strlen(name) + 2 + len > LINE_MAX_LEN)
		{
			*error = "header List-... is longer than a line or not ASCII";
			return false;
		}
		relay_buffer_printf(out, "%s: %s" CRLF, name, value);
		return true;
	}
	append_unstructured(out, name, value);
	return true;
}

static bool
append_extra_fields(Buffer *out, const MimeInput *in, const char **error)
{
	const char *p = in->headers;
	const char *end = p + in->headers_len;

	while (p < end)
	{
		const char *name, *value;
		size_t name_len, value_len;
		char name_copy[80];
		char *value_copy;
		bool ok;

		if (!next_netstring(&p, end, &name, &name_len) ||
			!next_netstring(&p, end, &value, &value_len))
		{
			*error = "headers are not an object of texts";
			return false;
		}
		if (!field_name_ok(name, name_len))
		{
			*error =
				"header name holds a character that no header name may hold";
			return false;
		}
		if (field_name_reserved(name, name_len))
		{
			*error = "header is one that the relay or a mail server writes";
			return false;
		}
		if (has_control(value, value_len) ||
			!relay_mime_utf8_ok(value, value_len))
		{
			*error = "header value holds a control character or is not UTF-8";
			return false;
		}
		memcpy(name_copy, name, name_len);
		name_copy[name_len] = '\0';
		value_copy = relay_strndup(value, value_len);
		ok = append_extra_field(out, name_copy, value_copy, error);
		free(value_copy);
		if (!ok)
			return false;
	}
	return true;
}

/* ------------------------------------------------------------------------
 * Body
 * ------------------------------------------------------------------------
 */

/*
 * text in quoted-printable; returns whether it ended with a line end.  CRLF, LF and CR alone all end a line.  A dot and
 * "From " at the start of a line are encoded too, so that no transport that
 * stuffs dots or writes mbox files can change the text.
 */
static bool
append_quoted_printable(Buffer *out, const char *text)
{
	const unsigned char *p = (const unsigned char *) text;
	size_t column = 0;

	while (*p != '\0')
	{
		unsigned char c = *p;
		bool literal;

		if (c == '\r' || c == '\n')
		{
			p += c == '\r' && p[1] == '\n' ? 2 : 1;
			relay_buffer_puts(out, CRLF);
			column = 0;
			continue;
		}

		literal = c > ' ' && c < 0x7f && c != '=';
		if (c == ' ')
			literal = p[1] != '\0' && p[1] != '\r' && p[1] != '\n';
		/* a soft break needs the last place of the line */
		if (column + (literal ? 1 : 3) > LINE_ENCODED - 1)
		{
			relay_buffer_puts(out, "=" CRLF);
			column = 0;
		}
		if (column == 0 &&
			(c == '.' || strncmp((const char *) p, "From ", 5) == 0))
			literal = false;

		if (literal)
			relay_buffer_putc(out, (char) c);
		else
		{
			relay_buffer_putc(out, '=');
			relay_buffer_putc(out, hex_digits[c >> 4]);
			relay_buffer_putc(out, hex_digits[c & 15]);
		}
		column += literal ? 1 : 3;
		p++;
	}
	return column == 0;
}

/* one part; between parts the line end before the boundary belongs to the boundary */
static void
append_part(Buffer *out, const char *type, const char *text, bool alone)
{
	relay_buffer_printf(out,
						"Content-Type: %s; charset=utf-8" CRLF
						"Content-Transfer-Encoding: quoted-printable" CRLF CRLF,
						type);
	if (!append_quoted_printable(out, text) || !alone)
		relay_buffer_puts(out, CRLF);
}

static void
append_body(Buffer *out, const MimeInput *in)
{
	if (in->html == NULL)
	{
		append_part(out, "text/plain", in->body, true);
		return;
	}

	/*
	 * "=_" cannot occur in quoted-printable text, so no body can contain the
	 * boundary, although it is derived from the key and the same at a resend.
	 */
	relay_buffer_printf(out,
						"Content-Type: multipart/alternative;" CRLF
						" boundary=\"=_%s\"" CRLF CRLF "--=_%s" CRLF,
						in->key, in->key);
	append_part(out, "text/plain", in->body, false);
	relay_buffer_printf(out, "--=_%s" CRLF, in->key);
	append_part(out, "text/html", in->html, false);
	relay_buffer_printf(out, "--=_%s--" CRLF, in->key);
}

/* ------------------------------------------------------------------------
 * The message
 * ------------------------------------------------------------------------
 */

static bool
key_ok(const char *key)
{
	size_t len = strlen(key);

	/* 64: with "=_" a boundary, which may have 70 */
	return len > 0 && len <= 64 &&
		   strspn(
			   key,
			   "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_") ==
			   len;
}

bool
relay_mime_build(const MimeInput *in, Buffer *out, const char **error)
{
	if (has_control(in->subject, strlen(in->subject)))
		*error = "subject holds a control character";
	else if (!relay_mime_utf8_ok(in->subject, strlen(in->subject)) ||
			 !relay_mime_utf8_ok(in->body, strlen(in->body)) ||
			 (in->html != NULL &&
			  !relay_mime_utf8_ok(in->html, strlen(in->html))) ||
			 !relay_mime_utf8_ok(in->from->name, strlen(in->from->name)))
		*error = "message is not valid UTF-8";
	else if (!key_ok(in->key) ||
			 !relay_address_domain_ok(in->domain, strlen(in->domain)))
		*error = "idempotency key or domain cannot stand in a Message-ID";
	else if (relay_address_check(in->recipient, strlen(in->recipient)) !=
			 ADDRESS_OK)
		*error = "recipient is no mail address";
	else
	{
		append_date(out, in->date);
		append_mailbox(out, "From", in->from);
		relay_buffer_printf(out, "To: %s" CRLF, in->recipient);
		append_unstructured(out, "Subject", in->subject);
		relay_buffer_printf(out, "Message-ID: <%s@%s>" CRLF, in->key,
							in->domain);
		if (!append_extra_fields(out, in, error))
			return false;
		relay_buffer_puts(out, "MIME-Version: 1.0" CRLF);
		append_body(out, in);
		return true;
	}
	return false;
}
