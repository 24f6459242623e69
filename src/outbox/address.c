/*-------------------------------------------------------------------------
 *
 * address.c
 *	  The one grammar of addresses: what may be handed to a relay.
 *
 * The relay writes these into SMTP commands and headers, and libcurl passes
 * CR and LF on as they are: what this file lets through is on the wire.  So the
 * grammar lists what is allowed and refuses all else.  No server headers here,
 * so that the file can be fuzzed by itself.
 *
 *-------------------------------------------------------------------------
 */
#include <stddef.h>
#include <string.h>

#include "outbox/address.h"

/* RFC 5321 4.5.3.1 */
#define MAX_LOCAL 64
#define MAX_DOMAIN 255
#define MAX_LABEL 63
#define MAX_PATH 254
#define MAX_MAILBOX 400

static bool
is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		   (c >= 'A' && c <= 'Z');
}

/*
 * Length of the well-formed UTF-8 sequence of more than one byte at s, or 0.
 * C1 controls (U+0080 to U+009F) are control characters too, and U+2028 and
 * U+2029 are line ends to some.
 */
static size_t
utf8_length(const unsigned char *s, const unsigned char *end)
{
	size_t len;
	unsigned int code;
	static const unsigned int smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };

	if (s[0] >= 0xC2 && s[0] <= 0xDF)
		len = 2, code = s[0] & 0x1F;
	else if ((s[0] & 0xF0) == 0xE0)
		len = 3, code = s[0] & 0x0F;
	else if (s[0] >= 0xF0 && s[0] <= 0xF4)
		len = 4, code = s[0] & 0x07;
	else
		return 0;
	if ((size_t) (end - s) < len)
		return 0;
	for (size_t i = 1; i < len; i++)
	{
		if ((s[i] & 0xC0) != 0x80)
			return 0;
		code = (code << 6) | (s[i] & 0x3F);
	}
	if (code < smallest[len] || code > 0x10FFFF ||
		(code >= 0xD800 && code <= 0xDFFF) || code < 0xA1 || code == 0x2028 ||
		code == 0x2029 || code == 0xFEFF ||
		(code >= 0x200B && code <= 0x200F) ||
		(code >= 0x202A && code <= 0x202E) ||
		(code >= 0x2060 && code <= 0x2069))
		return 0;
	return len;
}

/* Dot-string: atoms separated by single dots. */
static bool
is_local_part(const unsigned char *s, size_t len)
{
	const unsigned char *end = s + len;
	bool atom = false; /* the current atom has a character */

	if (len == 0 || len > MAX_LOCAL)
		return false;
	while (s < end)
	{
		if (*s == '.')
		{
			if (!atom)
				return false;
			atom = false;
			s++;
		}
		else if (is_alnum(*s) ||
				 (*s != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", *s) != NULL))
		{
			atom = true;
			s++;
		}
		else
		{
			size_t step = *s >= 0x80 ? utf8_length(s, end) : 0;

			if (step == 0)
				return false;
			atom = true;
			s += step;
		}
	}
	return atom;
}

/*
 * Labels of letters, digits and inner hyphens.  At least two of them, or one
 * that is not ASCII: an internationalized top-level domain may stand alone.
 */
static bool
is_domain(const unsigned char *s, size_t len)
{
	const unsigned char *end = s + len;
	const unsigned char *label = s;
	int ndots = 0;
	bool has_utf8 = false;
	bool alpha_last = false; /* last label has something but digits */

	if (len == 0 || len > MAX_DOMAIN)
		return false;
	for (;;)
	{
		if (s == end || *s == '.')
		{
			if (s == label || s - label > MAX_LABEL || label[0] == '-' ||
				s[-1] == '-')
				return false;
			if (s == end)
				break;
			ndots++;
			label = ++s;
			alpha_last = false;
		}
		else if (is_alnum(*s) || *s == '-')
		{
			if (*s < '0' || *s > '9')
				alpha_last = true;
			s++;
		}
		else
		{
			size_t step = *s >= 0x80 ? utf8_length(s, end) : 0;

			if (step == 0)
				return false;
			has_utf8 = alpha_last = true;
			s += step;
		}
	}
	return alpha_last && (ndots > 0 || has_utf8);
}

static bool
is_address(const unsigned char *s, size_t len)
{
	const unsigned char *at = memchr(s, '@', len);

	return at != NULL && len <= MAX_PATH && is_local_part(s, at - s) &&
		   is_domain(at + 1, len - (at - s) - 1);
}

bool
pgj_address_is_email(const char *text)
{
	return is_address((const unsigned char *) text, strlen(text));
}

/*
 * A display name is plain: the relay encodes and quotes it, so no quotes,
 * backslashes or anything that ends a phrase.
 */
static bool
is_display_name(const unsigned char *s, size_t len)
{
	const unsigned char *end = s + len;

	while (s < end)
	{
		if (*s >= 0x80)
		{
			size_t step = utf8_length(s, end);

			if (step == 0)
				return false;
			s += step;
		}
		else if (*s < ' ' || *s == 0x7F || strchr("<>\"\\", *s) != NULL)
			return false;
		else
			s++;
	}
	return true;
}

bool
pgj_address_is_mailbox(const char *text)
{
	size_t len = strlen(text);
	const char *open = strchr(text, '<');

	if (len > MAX_MAILBOX)
		return false;
	if (open == NULL)
		return pgj_address_is_email(text);
	return text[len - 1] == '>' && text[0] != ' ' && open > text &&
		   open[-1] == ' ' &&
		   is_display_name((const unsigned char *) text, open - text) &&
		   is_address((const unsigned char *) open + 1, text + len - open - 2);
}

bool
pgj_address_is_phone(const char *text)
{
	size_t len = strlen(text);

	if (len < 8 || len > 16 || text[0] != '+' || text[1] < '1' || text[1] > '9')
		return false;
	for (size_t i = 2; i < len; i++)
		if (text[i] < '0' || text[i] > '9')
			return false;
	return true;
}
