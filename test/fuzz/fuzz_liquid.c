/*
 * fuzz_liquid.c
 *	  Any bytes as a template, parsed and rendered over fixed data.
 *
 * fuzz-sources: src/outbox/liquid_parse.c src/outbox/liquid_expr.c src/outbox/liquid_render.c src/outbox/liquid_value.c src/outbox/liquid_filter.c src/outbox/liquid_text.c src/outbox/liquid_date.c -lm
 * fuzz-flags: -Itest/fuzz/liquid_shim -Isrc -DLIQUID_CHECK_FOR_INTERRUPTS()=((void)0) -DLIQUID_MAX_WORK=100000 -DLIQUID_MAX_SOURCE=65536 -DLIQUID_MAX_OUTPUT=262144 -DLIQUID_MAX_MEMORY=4194304 -DLIQUID_MAX_ITERATIONS=2000
 *
 * The first byte chooses HTML and UTF-8.  Errors leave by longjmp, as they do in
 * the server; every block is freed after each input, and a block that is too
 * short shows because each is a malloc of its own.
 *
 * Beside memory errors, two promises are checked: in HTML nothing of the data
 * can open a tag unless the template says raw, and the output obeys its limit.
 */
#include "postgres.h"

#include <setjmp.h>

#include "outbox/liquid.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static jmp_buf thrown;

/* ---- memory: a list of blocks ---- */

typedef struct Block
{
	struct Block *next;
	struct Block *prev;
	size_t		size;
} Block;

static Block blocks = {&blocks, &blocks, 0};

void *
palloc(size_t size)
{
	Block	   *b = malloc(sizeof(Block) + size);

	if (b == NULL)
		abort();
	b->size = size;
	b->next = blocks.next;
	b->prev = &blocks;
	b->next->prev = b;
	blocks.next = b;
	return b + 1;
}

void *
palloc0(size_t size)
{
	return memset(palloc(size), 0, size);
}

void
pfree(void *p)
{
	Block	   *b = (Block *) p - 1;

	b->prev->next = b->next;
	b->next->prev = b->prev;
	free(b);
}

void *
repalloc(void *p, size_t size)
{
	size_t		old = ((Block *) p - 1)->size;
	void	   *fresh = palloc(size);

	memcpy(fresh, p, Min(old, size));
	pfree(p);
	return fresh;
}

char *
pstrdup(const char *s)
{
	return strcpy(palloc(strlen(s) + 1), s);
}

char *
psprintf(const char *format,...)
{
	char		buf[1024];
	va_list		args;

	va_start(args, format);
	vsnprintf(buf, sizeof(buf), format, args);
	va_end(args);
	return pstrdup(buf);
}

/* ---- errors ---- */

void
pgj_liquid_throw(LiquidError error, int line, int column, const char *message, const char *hint)
{
	if (line < 1 || column < 1 || message[0] == '\0')
		abort();
	longjmp(thrown, 1);
}

bool
pgj_liquid_zone_offset(const char *zone, int64 epoch, int *offset)
{
	*offset = ((int) strlen(zone) - 12) * 3600;
	return strlen(zone) < 24;
}

/* ---- the data: {"s": …, "d": …, "n": …, "x": …, "l": […], "o": {…}} ---- */

typedef struct Member
{
	const char *key;
	LiquidValue value;
} Member;

static Member members[16];
static int	nmembers;
static LiquidValue list_items[8];
static const int object_handle = 1;
static const int list_handle = 2;

static int
data_count(const void *handle)
{
	return handle == &list_handle ? lengthof(list_items) : nmembers;
}

static void
data_item(const void *handle, int n, LiquidValue *out)
{
	if (handle != &list_handle || n < 0 || n >= lengthof(list_items))
		abort();
	*out = list_items[n];
}

static bool
data_get(const void *handle, const char *key, int len, LiquidValue *out)
{
	if (handle != &object_handle)
		abort();
	for (int i = 0; i < nmembers; i++)
	{
		if (strlen(members[i].key) == (size_t) len && memcmp(members[i].key, key, len) == 0)
		{
			*out = members[i].value;
			return true;
		}
	}
	return false;
}

static void
data_pairs(const void *handle, LiquidValue *out)
{
	for (int i = 0; i < nmembers; i++)
	{
		*out++ = pgj_liquid_string(members[i].key, strlen(members[i].key));
		*out++ = members[i].value;
	}
}

static const LiquidSource source = {data_count, data_item, data_get, data_pairs};

static LiquidValue
container(LiquidType type, const int *handle)
{
	LiquidValue v = pgj_liquid_nil();

	v.type = type;
	v.u.list.source = &source;
	v.u.list.handle = handle;
	return v;
}

static LiquidValue
text(const char *s)
{
	return pgj_liquid_string(s, strlen(s));
}

static LiquidValue
decimal(double d, const char *s)
{
	LiquidValue v = pgj_liquid_decimal(d);

	v.u.decimal.text = s;
	v.len = strlen(s);
	return v;
}

static void
member(const char *key, LiquidValue value)
{
	members[nmembers].key = key;
	members[nmembers++].value = value;
}

/* A list that holds the object that holds the list: deeper than any limit. */
static LiquidValue
make_data(void)
{
	LiquidValue o = container(LIQUID_OBJECT, &object_handle);

	nmembers = 0;
	list_items[0] = pgj_liquid_int(-3);
	list_items[1] = decimal(12.5, "12.50");
	list_items[2] = text("b");
	list_items[3] = pgj_liquid_nil();
	list_items[4] = o;
	list_items[5] = text("<a href='x'>&amp;\xC3\xA9");
	list_items[6] = pgj_liquid_bool(false);
	list_items[7] = pgj_liquid_int(PG_INT64_MIN);
	member("s", text("Zo\xC3\xAB <script>alert(1)</script> \xE2\x82\xAC & \xF0\x9F\x98\x80\nend"));
	member("d", text("2026-01-05T09:07:03.25+01:00"));
	member("n", pgj_liquid_int(42));
	member("x", decimal(1e300, "1e300"));
	member("l", container(LIQUID_ARRAY, &list_handle));
	member("o", o);
	member("t", pgj_liquid_bool(true));
	member("now", pgj_liquid_int(1767600423));
	member("e", text(""));
	member("u", text("a%20b+c%C3%A9%zz"));
	return o;
}

/* ---- the target ---- */

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char	   *template;
	char	   *out;
	bool		html;

	if (size < 1)
		return 0;
	html = data[0] & 1;
	template = malloc(size);
	memcpy(template, data + 1, size - 1);
	template[size - 1] = '\0';
	if (setjmp(thrown) == 0)
	{
		out = pgj_liquid_render(pgj_liquid_parse(template), make_data(), html, data[0] & 2);
		if (strlen(out) > LIQUID_MAX_OUTPUT)
			abort();
		/* a tag in the output is one of the template, or was let through */
		if (html && strchr(template, '<') == NULL && strstr(template, "raw") == NULL &&
			strstr(template, "newline_to_br") == NULL && strchr(out, '<') != NULL)
			abort();
	}
	while (blocks.next != &blocks)
		pfree(blocks.next + 1);
	free(template);
	return 0;
}
