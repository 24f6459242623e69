/*-------------------------------------------------------------------------
 *
 * unit.c
 *	  Tests of what needs no database: addresses, SMTP replies, message texts.
 *
 *-------------------------------------------------------------------------
 */
#include "address.h"
#include "buffer.h"
#include "mime.h"
#include "smtp_status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int	tests;
static int	failures;

static void
ok(bool good, const char *what, const char *detail)
{
	printf("%sok %d - %s %.60s\n", good ? "" : "not ", ++tests, what, detail);
	failures += !good;
}

/* ------------------------------------------------------------------------
 * Addresses
 * ------------------------------------------------------------------------
 */

static char *
repeat(char c, size_t n)
{
	char	   *text = relay_alloc(n + 1);

	memset(text, c, n);
	return text;
}

static void
test_addresses(void)
{
	static const struct
	{
		const char *address;
		AddressFault fault;
	}			cases[] = {
		{"a@b", ADDRESS_OK}, {"a@b.example", ADDRESS_OK}, {"a.b+c=d@b-c.example", ADDRESS_OK},
		{"!#$%&'*+-/=?^_`{|}~@x.example", ADDRESS_OK}, {"1@1.example", ADDRESS_OK},
		{"", ADDRESS_EMPTY}, {"a", ADDRESS_SYNTAX}, {"@b", ADDRESS_SYNTAX}, {"a@", ADDRESS_SYNTAX},
		{".a@b", ADDRESS_SYNTAX}, {"a.@b", ADDRESS_SYNTAX}, {"a..b@b", ADDRESS_SYNTAX},
		{"a@.b", ADDRESS_SYNTAX}, {"a@b.", ADDRESS_SYNTAX}, {"a@b..c", ADDRESS_SYNTAX},
		{"a@-b", ADDRESS_SYNTAX}, {"a@b-", ADDRESS_SYNTAX}, {"a@b-.c", ADDRESS_SYNTAX}, {"a@b_c", ADDRESS_SYNTAX},
		{"a@b@c", ADDRESS_SYNTAX}, {"a b@c", ADDRESS_SYNTAX}, {"<a@b>", ADDRESS_SYNTAX}, {"a@b>", ADDRESS_SYNTAX},
		{"a,b@c", ADDRESS_SYNTAX}, {"\"a\"@b", ADDRESS_SYNTAX}, {"a@[127.0.0.1]", ADDRESS_SYNTAX},
		{"a@b\r\nRCPT TO:<c@d>", ADDRESS_CONTROL}, {"a\n@b", ADDRESS_CONTROL}, {"a\t@b", ADDRESS_CONTROL},
		{"a\x7f@b", ADDRESS_CONTROL}, {"\xc3\xbc@b", ADDRESS_NON_ASCII}, {"a@\xc3\xbc", ADDRESS_NON_ASCII},
		{"\xc3\xbc\r@b", ADDRESS_CONTROL}
	};
	char	   *local = repeat('a', 64);
	char	   *label = repeat('b', 63);
	char		text[400];
	Mailbox		m;
	Endpoint	e;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		ok(relay_address_check(cases[i].address, strlen(cases[i].address)) == cases[i].fault, "address", strtok(strdup(*cases[i].address ? cases[i].address : "-"), "\r\n"));
	ok(relay_address_check("a@b\0c", 5) == ADDRESS_CONTROL, "address", "with NUL");
	snprintf(text, sizeof(text), "%s@%s.%s", local, label, label);
	ok(relay_address_check(text, strlen(text)) == ADDRESS_OK, "address", "local part of 64, labels of 63");
	snprintf(text, sizeof(text), "%sa@b", local);
	ok(relay_address_check(text, strlen(text)) == ADDRESS_SYNTAX, "address", "local part of 65");
	snprintf(text, sizeof(text), "a@b%s", label);
	ok(relay_address_check(text, strlen(text)) == ADDRESS_SYNTAX, "address", "label of 64");
	snprintf(text, sizeof(text), "a@%s.%s.%s.%s", label, label, label, label);
	ok(relay_address_check(text, strlen(text)) == ADDRESS_LONG, "address", "of 257");
	free(local);
	free(label);

	ok(relay_address_mailbox("Shop <hi@shop.example>", &m) && strcmp(m.name, "Shop") == 0 && strcmp(m.address, "hi@shop.example") == 0, "mailbox", "with a name");
	ok(relay_address_mailbox("\"A, \\\"B\\\"\" <a@b>", &m) && strcmp(m.name, "A, \"B\"") == 0, "mailbox", "with a quoted name");
	ok(relay_address_mailbox("a@b", &m) && m.name[0] == '\0', "mailbox", "bare");
	ok(relay_address_mailbox("<a@b>", &m) && m.name[0] == '\0', "mailbox", "in brackets");
	ok(!relay_address_mailbox("A <a@b> x", &m), "mailbox", "with a tail");
	ok(!relay_address_mailbox("A <a@b", &m), "mailbox", "unclosed");
	ok(!relay_address_mailbox("A\n <a@b>", &m), "mailbox", "with LF");
	ok(!relay_address_mailbox("\"A <a@b>", &m), "mailbox", "with half a quote");
	ok(!relay_address_mailbox("", &m), "mailbox", "empty");

	ok(relay_address_endpoint("smtp://mail.example:2525", &e) && e.port == 2525 && !e.implicit_tls && strcmp(e.host, "mail.example") == 0, "url", "smtp");
	ok(relay_address_endpoint("smtps://mail.example/", &e) && e.port == 465 && e.implicit_tls, "url", "smtps");
	ok(relay_address_endpoint("smtp://[::1]:25", &e) && e.ipv6 && relay_address_endpoint_is_local(&e), "url", "IPv6");
	ok(relay_address_endpoint("smtp://127.evil.example", &e) && !relay_address_endpoint_is_local(&e), "url", "127. name is not local");
	ok(!relay_address_endpoint("http://mail.example", &e), "url", "http refused");
	ok(!relay_address_endpoint("smtp://u:p@mail.example", &e), "url", "user refused");
	ok(!relay_address_endpoint("smtp://mail.example/path", &e), "url", "path refused");
	ok(!relay_address_endpoint("smtp://mail.example:0", &e), "url", "port 0 refused");
	ok(!relay_address_endpoint("smtp://mail.example:65536", &e), "url", "port 65536 refused");
	ok(!relay_address_endpoint("smtp://mail.example\r\n", &e), "url", "line end refused");
	ok(!relay_address_endpoint("smtp://", &e), "url", "no host refused");
}

/* ------------------------------------------------------------------------
 * SMTP replies
 * ------------------------------------------------------------------------
 */

static void
test_reply(SmtpPhase phase, const char *lines, SmtpOutcome outcome, const char *code)
{
	SmtpDialog	d;
	char		got[16];
	char		copy[2000];

	relay_smtp_start(&d);
	relay_smtp_expect(&d, phase);
	snprintf(copy, sizeof(copy), "%s", lines);
	for (char *line = strtok(copy, "\n"); line != NULL; line = strtok(NULL, "\n"))
		relay_smtp_line(&d, line, strlen(line));
	ok(relay_smtp_outcome(&d, got, sizeof(got)) == outcome && strcmp(got, code) == 0, "reply", strtok(strdup(*lines ? lines : "-"), "\r\n"));
}

static void
test_replies(void)
{
	SmtpDialog	d;
	char		code[16];

	test_reply(SMTP_BODY, "250 2.0.0 Ok: queued as 123", SMTP_SENT, "2.0.0");
	test_reply(SMTP_BODY, "250 Ok", SMTP_SENT, "250");
	test_reply(SMTP_BODY, "250", SMTP_SENT, "250");
	test_reply(SMTP_RCPT, "550 5.1.1 unknown", SMTP_BOUNCED, "5.1.1");
	test_reply(SMTP_RCPT, "550-5.1.1 one\n550-5.1.1 two\n550 5.1.1 three", SMTP_BOUNCED, "5.1.1");
	test_reply(SMTP_RCPT, "550-no status\n550 5.1.1 at the end", SMTP_BOUNCED, "5.1.1");
	test_reply(SMTP_RCPT, "550 5.1.10 null MX", SMTP_BOUNCED, "5.1.10");
	test_reply(SMTP_RCPT, "550 5.2.1 disabled", SMTP_BOUNCED, "5.2.1");
	test_reply(SMTP_RCPT, "552 5.2.2 full", SMTP_DEFERRED, "5.2.2");
	test_reply(SMTP_RCPT, "550 5.1.8 sender", SMTP_REJECTED, "5.1.8");
	test_reply(SMTP_MAIL, "550 5.1.1 sender", SMTP_REJECTED, "5.1.1");
	test_reply(SMTP_RCPT, "550 5.7.1 relaying denied", SMTP_REJECTED, "5.7.1");
	test_reply(SMTP_BODY, "550 5.7.1 spam", SMTP_REJECTED, "5.7.1");
	test_reply(SMTP_BODY, "550 5.1.1 unknown", SMTP_BOUNCED, "5.1.1");
	test_reply(SMTP_RCPT, "550 unknown", SMTP_BOUNCED, "550");
	test_reply(SMTP_RCPT, "551 moved", SMTP_BOUNCED, "551");
	test_reply(SMTP_RCPT, "553 name", SMTP_BOUNCED, "553");
	test_reply(SMTP_RCPT, "552 full", SMTP_DEFERRED, "552");
	test_reply(SMTP_RCPT, "554 no", SMTP_REJECTED, "554");
	test_reply(SMTP_MAIL, "550 no", SMTP_REJECTED, "550");
	test_reply(SMTP_BODY, "550 no", SMTP_REJECTED, "550");
	test_reply(SMTP_RCPT, "550 5.0.0 no such user", SMTP_BOUNCED, "5.0.0");
	test_reply(SMTP_BODY, "554 5.0.0 no", SMTP_REJECTED, "5.0.0");
	test_reply(SMTP_MAIL, "530 5.7.0 authentication required", SMTP_DEFERRED, "5.7.0");
	test_reply(SMTP_RCPT, "450 4.2.0 greylisted", SMTP_DEFERRED, "4.2.0");
	test_reply(SMTP_RCPT, "451 later", SMTP_DEFERRED, "451");
	test_reply(SMTP_RCPT, "421 4.3.2 closing", SMTP_DEFERRED, "4.3.2");
	test_reply(SMTP_RCPT, "450 5.1.1 contradiction", SMTP_DEFERRED, "450");
	test_reply(SMTP_RCPT, "550 4.2.1 contradiction", SMTP_BOUNCED, "550");
	test_reply(SMTP_RCPT, "550 5.1 unfinished", SMTP_BOUNCED, "550");
	test_reply(SMTP_RCPT, "550 5.7.1234 too long", SMTP_BOUNCED, "550");
	test_reply(SMTP_GREETING, "554 no service", SMTP_DEFERRED, "554");
	test_reply(SMTP_GREETING, "535 5.7.8 login failed", SMTP_DEFERRED, "5.7.8");
	test_reply(SMTP_RCPT, "550-5.1.1 cut off", SMTP_DEFERRED, "");
	test_reply(SMTP_RCPT, "250 Ok", SMTP_DEFERRED, "");
	test_reply(SMTP_BODY, "", SMTP_DEFERRED, "");

	/* the first refusal counts, the greeting's does not once mail flows */
	relay_smtp_start(&d);
	relay_smtp_line(&d, "502 EHLO?", 9);
	relay_smtp_line(&d, "250 HELO", 8);
	relay_smtp_expect(&d, SMTP_MAIL);
	relay_smtp_line(&d, "250 Ok", 6);
	ok(!d.decided, "dialog", "a refused EHLO is forgotten");
	relay_smtp_expect(&d, SMTP_RCPT);
	relay_smtp_line(&d, "550 5.1.1 no", 12);
	relay_smtp_expect(&d, SMTP_DATA);
	relay_smtp_line(&d, "554 5.5.1 no recipients", 23);
	relay_smtp_expect(&d, SMTP_OTHER);
	relay_smtp_line(&d, "221 bye", 7);
	ok(relay_smtp_outcome(&d, code, sizeof(code)) == SMTP_BOUNCED && strcmp(code, "5.1.1") == 0, "dialog", "the first refusal counts");
	relay_smtp_start(&d);
	ok(relay_smtp_line(&d, "hello", 5) == SMTP_BROKEN, "dialog", "junk is refused");
	ok(relay_smtp_line(&d, "25", 2) == SMTP_BROKEN, "dialog", "half a code is refused");
	ok(relay_smtp_line(&d, "2500 x", 6) == SMTP_BROKEN, "dialog", "four digits are refused");
	ok(relay_smtp_line(&d, "250-x", 5) == SMTP_MORE && relay_smtp_line(&d, "250 x", 5) == SMTP_COMPLETE, "dialog", "the reply goes on");
	{
		SmtpProgress progress = SMTP_MORE;
		int			lines = 0;

		while (progress == SMTP_MORE && ++lines < 100000)
			progress = relay_smtp_line(&d, "250-and so on", 13);
		ok(progress == SMTP_BROKEN, "dialog", "an endless reply is cut");
	}
}

/* ------------------------------------------------------------------------
 * Messages
 * ------------------------------------------------------------------------
 */

static Mailbox from = {"Shop", "hi@shop.example"};

static MimeInput
plain(void)
{
	return (MimeInput)
	{
		.from = &from, .recipient = "a@b.example", .subject = "Hi", .body = "Hello\n", .key = "k1",
			.domain = "shop.example", .headers = "", .date = 1767603600
	};
}

/* the message's text; NULL if refused */
static const char *
build(MimeInput in)
{
	static Buffer out;
	const char *error = NULL;

	if (out.data == NULL)
		relay_buffer_init(&out);
	relay_buffer_reset(&out);
	in.headers_len = in.headers_len > 0 ? in.headers_len : strlen(in.headers);
	if (!relay_mime_build(&in, &out, &error))
	{
		ok(error != NULL && error[0] != '\0', "mime", "a refusal says why");
		return NULL;
	}
	return out.data;
}

static bool
contains(const char *text, const char *part)
{
	return text != NULL && strstr(text, part) != NULL;
}

/* the invariants of mime.c's header */
static bool
well_formed(const char *text)
{
	size_t		column = 0;

	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p == '\n')
			return false;
		if (*p == '\r')
		{
			if (*++p != '\n')
				return false;
			column = 0;
		}
		else if (*p < ' ' || *p == 0x7f || ++column > 78)
			return false;
	}
	return column == 0;
}

static void
test_mime(void)
{
	MimeInput	in = plain();
	const char *text = build(in);
	char	   *x = repeat('x', 500);
	char		long_list[1200];

	ok(text != NULL && strcmp(text,
							  "Date: Mon, 05 Jan 2026 09:00:00 +0000\r\n"
							  "From: \"Shop\" <hi@shop.example>\r\n"
							  "To: a@b.example\r\n"
							  "Subject: Hi\r\n"
							  "Message-ID: <k1@shop.example>\r\n"
							  "MIME-Version: 1.0\r\n"
							  "Content-Type: text/plain; charset=utf-8\r\n"
							  "Content-Transfer-Encoding: quoted-printable\r\n"
							  "\r\n"
							  "Hello\r\n") == 0, "mime", "a plain message, byte by byte");

	in.subject = "Gr\xc3\xbc\xc3\x9f" "e";
	ok(contains(build(in), "Subject: =?UTF-8?B?R3LDvMOfZQ==?=\r\n") || contains(build(in), "Subject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"), "mime", "non-ASCII subject");
	in.subject = "\xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82";
	ok(contains(build(in), "Subject: =?UTF-8?B?0J/RgNC40LLQtdGC?=\r\n"), "mime", "Cyrillic subject in base64");
	in.subject = "=?UTF-8?Q?literal?=";
	ok(contains(build(in), "Subject: =?UTF-8?B?PT9VVEYtOD9RP2xpdGVyYWw/PQ==?=\r\n"), "mime", "what looks encoded is encoded");
	in.subject = x;
	text = build(in);
	ok(text != NULL && well_formed(text) && contains(text, "=?UTF-8?"), "mime", "a long word is encoded and folded");
	in.subject = "word word word word word word word word word word word word word word word word word word word";
	text = build(in);
	ok(text != NULL && well_formed(text) && contains(text, "\r\n word"), "mime", "a long subject is folded");
	x[77] = '\0';
	in.subject = x;
	text = build(in);
	ok(text != NULL && well_formed(text) && contains(text, "Subject:\r\n xxxx") && !contains(text, "=?UTF-8?"), "mime", "a word that fits on a line is folded");
	x[77] = 'x';
	x[78] = '\0';
	text = build(in);
	ok(text != NULL && well_formed(text) && contains(text, "=?UTF-8?"), "mime", "a word that fits on none is encoded");
	x[78] = 'x';
	in.subject = "  spaced  ";
	ok(contains(build(in), "Subject: spaced\r\n"), "mime", "blanks around a subject go");
	in.subject = "";
	ok(contains(build(in), "Subject: \r\n"), "mime", "empty subject");
	in.subject = "a\r\nBcc: b@c";
	ok(build(in) == NULL, "mime", "CRLF in a subject is refused");
	in.subject = "a\tb";
	ok(build(in) == NULL, "mime", "tab in a subject is refused");
	in.subject = "\xff";
	ok(build(in) == NULL, "mime", "a subject that is not UTF-8 is refused");

	in = plain();
	in.body = ".\n..\nFrom me\nend \nx=y\ttab\t\rlast";
	text = build(in);
	ok(contains(text, "\r\n\r\n=2E\r\n=2E.\r\n=46rom me\r\nend=20\r\nx=3Dy=09tab=09\r\nlast\r\n"), "mime", "dots, From, trailing blanks, =, tab, CR");
	in.body = x;
	text = build(in);
	ok(text != NULL && well_formed(text), "mime", "a long line is broken");
	in.body = "";
	ok(contains(build(in), "printable\r\n\r\n"), "mime", "empty body");
	in.body = "a";
	in.html = "<p>b</p>";
	text = build(in);
	ok(contains(text, "Content-Type: multipart/alternative;\r\n boundary=\"=_k1\"\r\n\r\n--=_k1\r\n") &&
	   contains(text, "\r\n\r\na\r\n--=_k1\r\n") && contains(text, "text/html") && contains(text, "\r\n--=_k1--\r\n"), "mime", "multipart/alternative");
	in.body = "--=_k1--";
	ok(contains(build(in), "--=3D_k1--"), "mime", "a body cannot hold the boundary");

	in = plain();
	in.headers = "3:X-A3:one16:List-Unsubscribe17:<https://x.y/z/1>";
	text = build(in);
	ok(contains(text, "\r\nX-A: one\r\n") && contains(text, "\r\nList-Unsubscribe: <https://x.y/z/1>\r\n"), "mime", "extra headers");
	in.headers = "17:X-Journey-Message64:d871a27da25826d66545f7cf32afb4b5fe9b84ce59175ce724c6cadf792cefad";
	text = build(in);
	ok(text != NULL && well_formed(text) && contains(text, "\r\nX-Journey-Message:\r\n d871a27da25826d66545f7cf32afb4b5fe9b84ce59175ce724c6cadf792cefad\r\n"), "mime", "a key is folded, not encoded");
	in.headers = "3:X-A12:1\r\nBcc: b@c";
	ok(build(in) == NULL, "mime", "CRLF in a header value is refused");
	in.headers = "8:X-A: 1\r\n1:b";
	ok(build(in) == NULL, "mime", "CRLF in a header name is refused");
	in.headers = "3:bcc3:b@c";
	ok(build(in) == NULL, "mime", "Bcc is refused");
	in.headers = "12:Content-Type1:x";
	ok(build(in) == NULL, "mime", "Content-Type is refused");
	in.headers = "!";
	ok(build(in) == NULL, "mime", "headers that are no object are refused");
	in.headers = "3:X-A99:one";
	ok(build(in) == NULL, "mime", "a netstring past the end is refused");
	snprintf(long_list, sizeof(long_list), "9:List-Help1000:%s%s", x, x);
	in.headers = long_list;
	ok(build(in) == NULL, "mime", "a List- field above 998 is refused");
	in.headers = "3:X-A5:a\0bcd";
	in.headers_len = 11;
	ok(build(in) == NULL, "mime", "NUL in a header value is refused");

	in = plain();
	in.key = "a b";
	ok(build(in) == NULL, "mime", "a key that cannot stand in a Message-ID is refused");
	in = plain();
	in.domain = "a>b";
	ok(build(in) == NULL, "mime", "a domain that cannot stand in a Message-ID is refused");
	in = plain();
	in.recipient = "a@b\r\nX: y";
	ok(build(in) == NULL, "mime", "a recipient with CRLF is refused");
	free(x);
}

int
main(void)
{
	test_addresses();
	test_replies();
	test_mime();
	printf("1..%d\n", tests);
	return failures > 0;
}
