/*-------------------------------------------------------------------------
 *
 * address.c
 *	  Which addresses and servers we are willing to name in an SMTP session.
 *
 * libcurl copies an address into MAIL FROM and RCPT TO as it is, line breaks
 * included, so whoever writes an address could write commands.  Every address
 * passes this grammar first.  It is RFC 5321's without quoted local parts,
 * address literals and SMTPUTF8; what it lets through consists of letters,
 * digits, one "@" and the characters in "!#$%&'*+-/=?^_`{|}~.".
 *
 *-------------------------------------------------------------------------
 */
#include "address.h"

#include <stdlib.h>
#include <string.h>

static bool
is_alnum(unsigned char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
		   (c >= 'a' && c <= 'z');
}

static bool
is_atext(unsigned char c)
{
	return is_alnum(c) ||
		   (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* labels of letters, digits and inner hyphens, joined by single dots */
bool
relay_address_domain_ok(const char *domain, size_t len)
{
	size_t label = 0;

	if (len == 0 || len > 253)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) domain[i];

		if (c == '.')
		{
			if (label == 0 || domain[i - 1] == '-')
				return false;
			label = 0;
		}
		else if (is_alnum(c) || (c == '-' && label > 0))
		{
			if (++label > 63)
				return false;
		}
		else
			return false;
	}
	return label > 0 && domain[len - 1] != '-';
}

static bool
local_part_ok(const char *local, size_t len)
{
	bool after_dot = true;

	if (len == 0 || len > 64)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (local[i] == '.')
		{
			if (after_dot)
				return false;
			after_dot = true;
		}
		else if (is_atext((unsigned char) local[i]))
			after_dot = false;
		else
			return false;
	}
	return !after_dot;
}

AddressFault
relay_address_check(const char *address, size_t len)
{
	const char *at;
	bool non_ascii = false;

	if (len == 0)
		return ADDRESS_EMPTY;
	/* the worst fault is the one to name */
	for (size_t i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) address[i];

		if (c < ' ' || c == 0x7f)
			return ADDRESS_CONTROL;
		if (c >= 0x80)
			non_ascii = true;
	}
	if (non_ascii)
		return ADDRESS_NON_ASCII;
	if (len > ADDRESS_MAX)
		return ADDRESS_LONG;
	at = memchr(address, '@', len);
	if (at == NULL || !local_part_ok(address, (size_t) (at - address)) ||
		!relay_address_domain_ok(at + 1, len - (size_t) (at - address) - 1))
		return ADDRESS_SYNTAX;
	return ADDRESS_OK;
}

const char *
relay_address_fault_text(AddressFault fault)
{
	switch (fault)
	{
		case ADDRESS_OK:
			return "address is valid";
		case ADDRESS_EMPTY:
			return "address is empty";
		case ADDRESS_CONTROL:
			return "address holds a control character";
		case ADDRESS_NON_ASCII:
			return "address holds non-ASCII characters, which this relay does not send to";
		case ADDRESS_LONG:
			return "address is longer than 254 bytes";
		case ADDRESS_SYNTAX:
			break;
	}
	return "address is not of the form local@domain";
}

/* copy text[0..len) without surrounding blanks and, if quoted, without quotes */
static bool
copy_display_name(const char *text, size_t len, char *out, size_t size)
{
	size_t n = 0;

	while (len > 0 && text[0] == ' ')
		text++, len--;
	while (len > 0 && text[len - 1] == ' ')
		len--;
	if (len >= 2 && text[0] == '"' && text[len - 1] == '"')
	{
		text++;
		len -= 2;
		for (size_t i = 0; i < len; i++)
		{
			if (text[i] == '"')
				return false;
			if (text[i] == '\\' && ++i == len)
				return false;
			if (n + 1 >= size)
				return false;
			out[n++] = text[i];
		}
	}
	else
	{
		if (len >= size || memchr(text, '"', len) != NULL)
			return false;
		memcpy(out, text, len);
		n = len;
	}
	out[n] = '\0';
	return true;
}

/* "local@domain", "<local@domain>" or "Name <local@domain>" */
bool
relay_address_mailbox(const char *text, Mailbox *mailbox)
{
	const char *open = strrchr(text, '<');
	const char *address = text;
	size_t len = strlen(text);

	for (const char *p = text; *p != '\0'; p++)
		if ((unsigned char) *p < ' ' || *p == 0x7f)
			return false;

	mailbox->name[0] = '\0';
	if (open != NULL)
	{
		if (text[len - 1] != '>')
			return false;
		if (!copy_display_name(text, (size_t) (open - text), mailbox->name,
							   sizeof(mailbox->name)))
			return false;
		address = open + 1;
		len = (size_t) (text + len - 1 - address);
	}
	if (relay_address_check(address, len) != ADDRESS_OK)
		return false;
	memcpy(mailbox->address, address, len);
	mailbox->address[len] = '\0';
	return true;
}

static bool
ipv6_ok(const char *host, size_t len)
{
	bool colon = false;

	for (size_t i = 0; i < len; i++)
	{
		if (host[i] == ':')
			colon = true;
		else if (strchr("0123456789abcdefABCDEF.", host[i]) == NULL ||
				 host[i] == '\0')
			return false;
	}
	return colon && len >= 2 && len < 46;
}

/*
 * smtp://host[:port] or smtps://host[:port], and nothing else: no user, no
 * path.  The URL comes from a table, so we take it apart and give libcurl one
 * that we wrote.
 */
bool
relay_address_endpoint(const char *url, Endpoint *endpoint)
{
	const char *p = url;
	size_t len;

	memset(endpoint, 0, sizeof(*endpoint));
	if (strncmp(p, "smtp://", 7) == 0)
		p += 7, endpoint->port = 25;
	else if (strncmp(p, "smtps://", 8) == 0)
		p += 8, endpoint->port = 465, endpoint->implicit_tls = true;
	else
		return false;

	if (*p == '[')
	{
		len = strcspn(++p, "]");
		if (p[len] != ']' || !ipv6_ok(p, len))
			return false;
		memcpy(endpoint->host, p, len);
		endpoint->ipv6 = true;
		p += len + 1;
	}
	else
	{
		len = strcspn(p, ":/");
		if (!relay_address_domain_ok(p, len))
			return false;
		memcpy(endpoint->host, p, len);
		p += len;
	}

	if (*p == ':')
	{
		long port = 0;
		int digits = 0;

		for (p++; *p >= '0' && *p <= '9' && digits < 6; p++, digits++)
			port = port * 10 + (*p - '0');
		if (digits == 0 || port < 1 || port > 65535)
			return false;
		endpoint->port = (int) port;
	}
	if (*p == '/')
		p++;
	return *p == '\0';
}

bool
relay_address_endpoint_is_local(const Endpoint *endpoint)
{
	if (endpoint->ipv6)
		return strcmp(endpoint->host, "::1") == 0;
	if (strcmp(endpoint->host, "localhost") == 0)
		return true;
	/* a name may start with 127. too: only digits and dots make an address */
	return strncmp(endpoint->host, "127.", 4) == 0 &&
		   strspn(endpoint->host, "0123456789.") == strlen(endpoint->host);
}
