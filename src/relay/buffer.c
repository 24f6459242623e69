/*-------------------------------------------------------------------------
 *
 * buffer.c
 *	  A growing byte buffer, and allocation that does not fail.
 *
 *-------------------------------------------------------------------------
 */
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
out_of_memory(void)
{
	fputs("journey-relay: out of memory\n", stderr);
	/* a crash, after which a service manager starts us again; status 1 would stop it */
	abort();
}

void *
relay_alloc(size_t size)
{
	void *p = calloc(1, size > 0 ? size : 1);

	if (p == NULL)
		out_of_memory();
	return p;
}

void *
relay_realloc(void *old, size_t size)
{
	void *p = realloc(old, size > 0 ? size : 1);

	if (p == NULL)
		out_of_memory();
	return p;
}

char *
relay_strndup(const char *text, size_t len)
{
	char *copy = relay_alloc(len + 1);

	memcpy(copy, text, len);
	return copy;
}

char *
relay_strdup(const char *text)
{
	return relay_strndup(text, strlen(text));
}

void
relay_buffer_init(Buffer *b)
{
	b->size = 256;
	b->data = relay_alloc(b->size);
	b->len = 0;
}

void
relay_buffer_free(Buffer *b)
{
	free(b->data);
	b->data = NULL;
	b->len = b->size = 0;
}

void
relay_buffer_reset(Buffer *b)
{
	b->len = 0;
	b->data[0] = '\0';
}

static void
reserve(Buffer *b, size_t more)
{
	size_t size = b->size;

	if (more >= (size_t) -1 / 4 - b->len)
		out_of_memory();
	while (size < b->len + more + 1)
		size *= 2;
	if (size != b->size)
	{
		b->data = relay_realloc(b->data, size);
		b->size = size;
	}
}

void
relay_buffer_append(Buffer *b, const char *data, size_t len)
{
	reserve(b, len);
	memcpy(b->data + b->len, data, len);
	b->len += len;
	b->data[b->len] = '\0';
}

void
relay_buffer_puts(Buffer *b, const char *text)
{
	relay_buffer_append(b, text, strlen(text));
}

void
relay_buffer_putc(Buffer *b, char c)
{
	relay_buffer_append(b, &c, 1);
}

void
relay_buffer_printf(Buffer *b, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (n < 0)
		out_of_memory();
	reserve(b, (size_t) n);
	va_start(args, format);
	vsnprintf(b->data + b->len, (size_t) n + 1, format, args);
	va_end(args);
	b->len += (size_t) n;
}
