/*
 * Just enough of the backend to run the Liquid renderer outside it: what
 * liquid.h says it asks for, and nothing more.
 */
#pragma once
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef int64_t int64;
typedef uint64_t uint64;
typedef uint32_t uint32;

#define PG_VERSION_NUM	150000	/* for compat.h */
#define PG_INT64_MAX	INT64_MAX
#define PG_INT64_MIN	INT64_MIN
#define INT64CONST(x)	INT64_C(x)
#define INT64_FORMAT	"%ld"
#define Min(x, y)		((x) < (y) ? (x) : (y))
#define Max(x, y)		((x) > (y) ? (x) : (y))
#define lengthof(array) ((int) (sizeof(array) / sizeof((array)[0])))
#define IS_HIGHBIT_SET(ch)	((unsigned char) (ch) & 0x80)
#define pg_attribute_printf(f, a)	__attribute__((format(printf, f, a)))
#define pg_attribute_noreturn()		__attribute__((noreturn))
#define pg_strncasecmp				strncasecmp

extern void *palloc(size_t size);
extern void *palloc0(size_t size);
extern void *repalloc(void *p, size_t size);
extern void pfree(void *p);
extern char *pstrdup(const char *s);
extern char *psprintf(const char *format,...) pg_attribute_printf(1, 2);

static inline unsigned char
pg_ascii_tolower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

static inline unsigned char
pg_ascii_toupper(unsigned char c)
{
	return c >= 'a' && c <= 'z' ? c - 32 : c;
}
