/*
 * fuzz-sources: src/relay/mime.c src/relay/address.c src/relay/buffer.c
 * fuzz-flags: -Isrc/relay
 *
 * fuzz_mime: whatever a message holds, its text keeps the promises of mime.c,
 * and the header section ends where it should with only the fields asked for.
 * The input is cut at bytes 0xff into the parts of a message.
 */
#include "address.h"
#include "buffer.h"
#include "mime.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

extern int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_text(const Buffer *b)
{
	size_t		column = 0;

	for (size_t i = 0; i < b->len; i++)
	{
		unsigned char c = (unsigned char) b->data[i];

		if (c == '\r')
		{
			if (i + 1 >= b->len || b->data[i + 1] != '\n')
				abort();
			i++;
			column = 0;
			continue;
		}
		if (c < ' ' || c > '~' || (column == 0 && c == '.') || ++column > 998)
			abort();
	}
	if (column != 0)
		abort();
}

/* each field once, and no other but those of the netstrings */
static void
check_header(const Buffer *b, size_t extra)
{
	static const char *const own[] = {"Date:", "From:", "To:", "Subject:", "Message-ID:", "MIME-Version:", "Content-Type:"};
	size_t		seen[7] = {0};
	size_t		fields = 0;
	const char *line = b->data;

	while (strncmp(line, "\r\n", 2) != 0)
	{
		if (*line != ' ')
		{
			fields++;
			for (int i = 0; i < 7; i++)
				seen[i] += strncasecmp(line, own[i], strlen(own[i])) == 0;
		}
		line = strstr(line, "\r\n");
		if (line == NULL)
			abort();
		line += 2;
	}
	for (int i = 0; i < 7; i++)
		if (seen[i] != 1)
			abort();
	if (fields > 8 + extra)		/* with Content-Transfer-Encoding */
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *copy = relay_strndup((const char *) data, size);
	char	   *part[6] = {"", "", "", "", "", ""};
	size_t		part_len[6] = {0};
	char	   *p = copy;
	Mailbox		from = {"", "a@b.example"};
	Buffer		out;
	Buffer		again;
	const char *error = NULL;
	size_t		extra = 0;
	MimeInput	in;

	for (int i = 0; i < 6; i++)
	{
		char	   *end = i < 5 ? memchr(p, 0xff, (size_t) (copy + size - p)) : NULL;

		part[i] = p;
		part_len[i] = (size_t) ((end != NULL ? end : copy + size) - p);
		if (end == NULL)
			break;
		*end = '\0';
		p = end + 1;
	}
	relay_buffer_init(&out);
	relay_buffer_init(&again);
	(void) relay_address_mailbox(part[3], &from);
	in = (MimeInput)
	{
		.from = &from, .recipient = "c@d.example", .subject = part[0], .body = part[1],
			.html = part[2][0] != '\0' ? part[2] : NULL, .key = "key", .domain = "b.example",
			.headers = part[4], .headers_len = part_len[4], .date = (int64_t) size * 100000000
	};
	for (size_t i = 0; i < part_len[4]; i++)
		extra += part[4][i] == ':';
	if (relay_mime_build(&in, &out, &error))
	{
		check_text(&out);
		check_header(&out, extra);
		if (!relay_mime_build(&in, &again, &error) || again.len != out.len || memcmp(again.data, out.data, out.len) != 0)
			abort();
	}
	else if (error == NULL)
		abort();
	relay_buffer_free(&out);
	relay_buffer_free(&again);
	free(copy);
	return 0;
}
