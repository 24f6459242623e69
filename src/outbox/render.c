/*-------------------------------------------------------------------------
 *
 * render.c
 *	  Templates in the server: Jsonb as Liquid's data, errors as ereport.
 *
 * The data is not copied: an object or array is a pointer into the Jsonb, and
 * members are found by its own binary search.
 *
 * Parsed templates are kept in a small cache of this backend, keyed by their
 * text alone, so nothing can make an entry wrong; the least recently used one
 * makes room.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "outbox/liquid.h"
#include "outbox/render.h"

PG_FUNCTION_INFO_V1(pgj_sql_render);

#define CACHE_ENTRIES 64
#define CACHE_SOURCE (256 * 1024) /* longer templates are not kept */

typedef struct CacheEntry
{
	uint32 hash;
	int len;
	uint64 used;
	MemoryContext context; /* NULL: free */
	LiquidTemplate *template;
} CacheEntry;

static CacheEntry cache[CACHE_ENTRIES];
static uint64 cache_clock = 0;

/* ---- what liquid.h asks for ---- */

void
pgj_liquid_throw(LiquidError error, int line, int column, const char *message,
				 const char *hint)
{
	int code = error == LIQUID_SYNTAX  ? ERRCODE_SYNTAX_ERROR
			   : error == LIQUID_LIMIT ? ERRCODE_PROGRAM_LIMIT_EXCEEDED
									   : ERRCODE_INVALID_PARAMETER_VALUE;

	ereport(ERROR, errcode(code), errmsg("%s", message),
			errdetail("Line %d, column %d of the template.", line, column),
			hint ? errhint("%s", hint) : 0);
}

bool
pgj_liquid_zone_offset(const char *zone, int64 epoch, int *offset)
{
	pg_time_t t = epoch;
	pg_tz *tz;
	struct pg_tm *tm;

	if (strlen(zone) > TZ_STRLEN_MAX || (tz = pg_tzset(zone)) == NULL)
		return false;
	tm = pg_localtime(&t, tz);
	if (tm == NULL)
		return false;
	*offset = tm->tm_gmtoff;
	return true;
}

/* ---- Jsonb as values ---- */

static void from_jsonb(const JsonbValue *jv, LiquidValue *out);

static int
jsonb_count(const void *handle)
{
	return JsonContainerSize((JsonbContainer *) handle);
}

static void
jsonb_item(const void *handle, int n, LiquidValue *out)
{
	JsonbValue *jv =
		getIthJsonbValueFromContainer((JsonbContainer *) handle, n);

	if (jv == NULL)
		elog(ERROR, "jsonb array has no element %d", n);
	from_jsonb(jv, out);
	pfree(jv);
}

static bool
jsonb_get(const void *handle, const char *key, int len, LiquidValue *out)
{
	JsonbValue jv;

	if (getKeyJsonValueFromContainer((JsonbContainer *) handle, key, len,
									 &jv) == NULL)
		return false;
	from_jsonb(&jv, out);
	return true;
}

static void
jsonb_pairs(const void *handle, LiquidValue *out)
{
	JsonbIterator *it = JsonbIteratorInit((JsonbContainer *) handle);
	JsonbValue jv;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &jv, true)) != WJB_DONE)
	{
		if (token == WJB_KEY || token == WJB_VALUE)
			from_jsonb(&jv, out++);
	}
}

static const LiquidSource jsonb_source = { jsonb_count, jsonb_item, jsonb_get,
										   jsonb_pairs };

static void
from_numeric(Numeric numeric, LiquidValue *out)
{
	Datum d = NumericGetDatum(numeric);
	char *text = DatumGetCString(DirectFunctionCall1(numeric_out, d));
	int len = strlen(text);
	int start = text[0] == '-';

	if (len - start <= 18 &&
		strspn(text + start, "0123456789") == (size_t) (len - start))
	{
		*out = pgj_liquid_int(strtoll(text, NULL, 10));
		pfree(text);
		return;
	}
	/* written as it stands until something computes with it */
	*out = pgj_liquid_decimal(strtod(text, NULL));
	out->u.decimal.text = text;
	out->len = len;
}

static void
from_jsonb(const JsonbValue *jv, LiquidValue *out)
{
	*out = pgj_liquid_nil();
	switch (jv->type)
	{
		case jbvNull:
			break;
		case jbvBool:
			*out = pgj_liquid_bool(jv->val.boolean);
			break;
		case jbvString:
			*out = pgj_liquid_string(jv->val.string.val, jv->val.string.len);
			break;
		case jbvNumeric:
			from_numeric(jv->val.numeric, out);
			break;
		case jbvBinary:
			out->type = JsonContainerIsObject(jv->val.binary.data)
							? LIQUID_OBJECT
							: LIQUID_ARRAY;
			out->u.list.source = &jsonb_source;
			out->u.list.handle = jv->val.binary.data;
			break;
		default:
			elog(ERROR, "unrecognized jsonb value type: %d", (int) jv->type);
	}
}

/* ---- the cache ---- */

static LiquidTemplate *
cached_parse(const char *source)
{
	int len = strlen(source);
	uint32 hash = DatumGetUInt32(hash_any((const unsigned char *) source, len));
	CacheEntry *oldest = &cache[0];
	MemoryContext context;
	MemoryContext saved;
	LiquidTemplate *template;

	if (len > CACHE_SOURCE)
		return pgj_liquid_parse(source);
	for (CacheEntry *e = cache; e < cache + CACHE_ENTRIES; e++)
	{
		if (e->context && e->hash == hash && e->len == len &&
			memcmp(e->template->source, source, len) == 0)
		{
			e->used = ++cache_clock;
			return e->template;
		}
		if (e->used < oldest->used)
			oldest = e;
	}

	/* under the caller's context until it has parsed, so an error frees it */
	context = AllocSetContextCreate(CurrentMemoryContext, "pg_journey template",
									ALLOCSET_SMALL_SIZES);
	saved = MemoryContextSwitchTo(context);
	template = pgj_liquid_parse(pstrdup(source));
	MemoryContextSwitchTo(saved);

	if (oldest->context)
		MemoryContextDelete(oldest->context);
	oldest->context = NULL;
	MemoryContextSetParent(context, TopMemoryContext);
	oldest->hash = hash;
	oldest->len = len;
	oldest->template = template;
	oldest->context = context;
	oldest->used = ++cache_clock;
	return template;
}

/* ---- render.h ---- */

void
pgj_template_check(const char *source)
{
	(void) cached_parse(source);
}

/*
 * A header is one line: what looks like another one is an attack or a mistake,
 * and is refused rather than repaired.  NEL (U+0085) and its neighbours count.
 */
static void
check_header(const char *text)
{
	bool utf8 = GetDatabaseEncoding() == PG_UTF8;

	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
	{
		bool c1 = utf8 && p[0] == 0xC2 && p[1] >= 0x80 && p[1] <= 0x9F;

		if (*p < 0x20 || *p == 0x7F || c1)
			ereport(
				ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg(
					"subject or header contains a control character (0x%02x)",
					c1 ? p[1] : p[0]),
				errhint(
					"Remove line breaks from the data, for example with the filter \"strip_newlines\"."));
	}
}

char *
pgj_template_render(const char *source, Jsonb *data, RenderContext context)
{
	LiquidTemplate *template = cached_parse(source);
	LiquidValue root = pgj_liquid_nil();
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch;
	char *text;

	if (JB_ROOT_IS_OBJECT(data))
	{
		root.type = LIQUID_OBJECT;
		root.u.list.source = &jsonb_source;
		root.u.list.handle = &data->root;
	}
	scratch = AllocSetContextCreate(caller, "pg_journey rendering",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(scratch);
	text = pgj_liquid_render(template, root, context == RENDER_HTML,
							 GetDatabaseEncoding() == PG_UTF8);
	MemoryContextSwitchTo(caller);
	text = pstrdup(text);
	MemoryContextDelete(scratch);
	if (context == RENDER_HEADER)
		check_header(text);
	return text;
}

/* journey.render(source text, data jsonb, html boolean) returns text */
Datum
pgj_sql_render(PG_FUNCTION_ARGS)
{
	char *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb *data = PG_GETARG_JSONB_P(1);
	bool html = PG_GETARG_BOOL(2);

	PG_RETURN_TEXT_P(cstring_to_text(
		pgj_template_render(source, data, html ? RENDER_HTML : RENDER_TEXT)));
}
