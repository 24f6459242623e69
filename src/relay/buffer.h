/*-------------------------------------------------------------------------
 *
 * buffer.h
 *	  A growing byte buffer.  Running out of memory ends the program: all state
 *	  is in the database, and the service manager starts us again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_BUFFER_H
#define RELAY_BUFFER_H

#include <stddef.h>

typedef struct Buffer
{
	char *data; /* always ends in a NUL that len does not count */
	size_t len;
	size_t size;
} Buffer;

extern void relay_buffer_init(Buffer *b);
extern void relay_buffer_free(Buffer *b);
extern void relay_buffer_reset(Buffer *b);
extern void relay_buffer_append(Buffer *b, const char *data, size_t len);
extern void relay_buffer_puts(Buffer *b, const char *text);
extern void relay_buffer_putc(Buffer *b, char c);
extern void relay_buffer_printf(Buffer *b, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

extern void *relay_alloc(size_t size); /* zeroed */
extern void *relay_realloc(void *old, size_t size);
extern char *relay_strdup(const char *text);
extern char *relay_strndup(const char *text, size_t len);

#endif /* RELAY_BUFFER_H */
