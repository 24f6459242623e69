/*
 * Just enough of the backend to run the journey parser outside it.  What is
 * missing here is what src/script's scanner, token filter and grammar must not
 * use.
 */
#ifndef PGJ_FUZZ_POSTGRES_H
#define PGJ_FUZZ_POSTGRES_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define pg_attribute_printf(f, a) __attribute__((format(printf, f, a)))
#define lengthof(array) ((int) (sizeof(array) / sizeof((array)[0])))

extern jmp_buf shim_jmp;

extern void *palloc(size_t size);
extern void *repalloc(void *pointer, size_t size);
extern void pfree(void *pointer);
extern char *pstrdup(const char *string);

/* a thrown error; the parser must have recorded what a user can do instead */
#define ERROR 21
#define elog(level, ...) longjmp(shim_jmp, 1)

#endif							/* PGJ_FUZZ_POSTGRES_H */
