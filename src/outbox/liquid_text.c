/*-------------------------------------------------------------------------
 *
 * liquid_text.c
 *	  Filters over text.
 *
 * Where the encoding is UTF-8 characters are counted, not bytes, and upcase and
 * downcase know the Latin, Greek and Cyrillic letters that have a counterpart,
 * whatever the locale of the database; elsewhere only ASCII changes case.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "miscadmin.h"

#include "outbox/liquid.h"

#define filter_error(st, ...)                                                \
	pgj_liquid_error(LIQUID_INVALID, (st)->template->source, (st)->at, NULL, \
					 __VA_ARGS__)

/* ---- case ---- */

typedef struct CaseRange
{
	unsigned first; /* of the capitals */
	unsigned last;
	int offset;		/* to the small letter */
	bool alternate; /* capital and small in turn, first a capital */
} CaseRange;

static const CaseRange case_ranges[] = {
	{ 'A', 'Z', 32 },
	{ 0x00C0, 0x00D6, 32 },
	{ 0x00D8, 0x00DE, 32 },
	{ 0x0100, 0x012F, 1, true },
	{ 0x0132, 0x0137, 1, true },
	{ 0x0139, 0x0148, 1, true },
	{ 0x014A, 0x0177, 1, true },
	{ 0x0178, 0x0178, -121 },
	{ 0x0179, 0x017E, 1, true },
	{ 0x0218, 0x021B, 1, true },
	{ 0x0386, 0x0386, 38 },
	{ 0x0388, 0x038A, 37 },
	{ 0x038C, 0x038C, 64 },
	{ 0x038E, 0x038F, 63 },
	{ 0x0391, 0x03A1, 32 },
	{ 0x03A3, 0x03AB, 32 },
	{ 0x0400, 0x040F, 80 },
	{ 0x0410, 0x042F, 32 },
	{ 0x0460, 0x0481, 1, true },
	{ 0x048A, 0x04BF, 1, true },
	{ 0x04D0, 0x052F, 1, true },
	{ 0x0531, 0x0556, 48 },
	{ 0x1E00, 0x1E95, 1, true },
	{ 0x1EA0, 0x1EFF, 1, true },
};

static unsigned
change_case(unsigned c, bool up)
{
	for (int i = 0; i < lengthof(case_ranges); i++)
	{
		const CaseRange *r = &case_ranges[i];
		int shift = up && !r->alternate ? r->offset : 0;

		if (c < r->first + shift || c > r->last + shift)
			continue;
		if (r->alternate)
		{
			bool is_capital = (c - r->first) % 2 == 0;

			return is_capital == up ? c : up ? c - 1 : c + 1;
		}
		return up ? c - r->offset : c + r->offset;
	}
	return up && c == 0x03C2 ? 0x03A3 : c; /* final sigma */
}

/* Append the character s of n bytes in the other case. */
static void
append_case(LiquidState *st, LiquidBuffer *buf, const char *s, int n, bool up)
{
	const unsigned char *u = (const unsigned char *) s;
	unsigned c;
	char out[3];

	if (n == 1 && u[0] < 0x80)
	{
		out[0] = change_case(u[0], up);
		pgj_liquid_append(st, buf, out, 1);
	}
	else if (n == 2 && st->utf8)
	{
		c = change_case((u[0] & 0x1F) << 6 | (u[1] & 0x3F), up);
		out[0] = 0xC0 | c >> 6;
		out[1] = 0x80 | (c & 0x3F);
		pgj_liquid_append(st, buf, out, 2);
	}
	else if (n == 3 && st->utf8)
	{
		c = change_case(
			(u[0] & 0x0F) << 12 | (u[1] & 0x3F) << 6 | (u[2] & 0x3F), up);
		out[0] = 0xE0 | c >> 12;
		out[1] = 0x80 | (c >> 6 & 0x3F);
		out[2] = 0x80 | (c & 0x3F);
		pgj_liquid_append(st, buf, out, 3);
	}
	else
		pgj_liquid_append(st, buf, s, n);
}

static void
text_case(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text,
		  int variant)
{
	for (int i = 0; i < text->len;)
	{
		int n = pgj_liquid_char_len(st, text->u.string + i, text->len - i);
		bool up =
			variant == TEXT_UPCASE || (variant == TEXT_CAPITALIZE && i == 0);

		append_case(st, buf, text->u.string + i, n, up);
		i += n;
	}
}

/* ---- cutting ---- */

static LiquidValue
text_strip(LiquidValue text, bool left, bool right)
{
	while (left && text.len > 0 && pgj_liquid_is_space(*text.u.string))
		text.u.string++, text.len--;
	while (right && text.len > 0 &&
		   pgj_liquid_is_space(text.u.string[text.len - 1]))
		text.len--;
	return text;
}

static int64
char_count(LiquidState *st, const LiquidValue *text)
{
	int64 n = 0;

	for (int i = 0; i < text->len; n++)
		i += pgj_liquid_char_len(st, text->u.string + i, text->len - i);
	return n;
}

static void
text_truncate(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text,
			  const LiquidValue *args, int nargs)
{
	int64 want = nargs > 0 ? pgj_liquid_integer(st, &args[0]) : 50;
	LiquidValue end =
		nargs > 1 ? pgj_liquid_text(st, &args[1]) : pgj_liquid_string("...", 3);
	int cut = 0;

	if (char_count(st, text) <= want)
	{
		pgj_liquid_append(st, buf, text->u.string, text->len);
		return;
	}
	for (want = Max(want, 0) - char_count(st, &end); want > 0; want--)
		cut += pgj_liquid_char_len(st, text->u.string + cut, text->len - cut);
	pgj_liquid_append(st, buf, text->u.string, cut);
	pgj_liquid_append(st, buf, end.u.string, end.len);
}

/* The next word at or after *pos, or false. */
static bool
next_word(const LiquidValue *text, int *pos, LiquidValue *word)
{
	int start;

	while (*pos < text->len && pgj_liquid_is_space(text->u.string[*pos]))
		(*pos)++;
	start = *pos;
	while (*pos < text->len && !pgj_liquid_is_space(text->u.string[*pos]))
		(*pos)++;
	*word = pgj_liquid_string(text->u.string + start, *pos - start);
	return *pos > start;
}

static void
text_truncatewords(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text,
				   const LiquidValue *args, int nargs)
{
	int64 want = nargs > 0 ? pgj_liquid_integer(st, &args[0]) : 15;
	LiquidValue end =
		nargs > 1 ? pgj_liquid_text(st, &args[1]) : pgj_liquid_string("...", 3);
	LiquidValue word;
	int pos = 0;
	int64 words = 0;

	want = Max(want, 1);
	while (words < want && next_word(text, &pos, &word))
	{
		if (words++ > 0)
			pgj_liquid_append(st, buf, " ", 1);
		pgj_liquid_append(st, buf, word.u.string, word.len);
	}
	if (next_word(text, &pos, &word))
		pgj_liquid_append(st, buf, end.u.string, end.len);
	else
	{
		/* nothing was cut: as it was */
		buf->len = 0;
		pgj_liquid_append(st, buf, text->u.string, text->len);
	}
}

/* ---- replacing ---- */

static char *
backwards(LiquidState *st, const LiquidValue *v)
{
	char *s = pgj_liquid_alloc(st, v->len);

	for (int i = 0; i < v->len; i++)
		s[i] = v->u.string[v->len - 1 - i];
	return s;
}

/* Both backwards, so that the search for the last is linear, too. */
static const char *
find_text(LiquidState *st, const LiquidValue *text, const LiquidValue *what,
		  bool last)
{
	const char *s;
	const char *hit;

	if (!last)
		return memmem(text->u.string, text->len, what->u.string, what->len);
	s = backwards(st, text);
	hit = memmem(s, text->len, backwards(st, what), what->len);
	return hit ? text->u.string + text->len - what->len - (hit - s) : NULL;
}

static void
text_replace_all(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text,
				 const LiquidValue *what, const LiquidValue *by)
{
	const char *s = text->u.string;
	const char *end = s + text->len;

	/* nothing to find: it is found around every character */
	while (what->len == 0 && s < end)
	{
		int n = pgj_liquid_char_len(st, s, end - s);

		pgj_liquid_append(st, buf, by->u.string, by->len);
		pgj_liquid_append(st, buf, s, n);
		s += n;
	}
	if (what->len == 0)
		pgj_liquid_append(st, buf, by->u.string, by->len);
	while (what->len > 0)
	{
		const char *hit = memmem(s, end - s, what->u.string, what->len);

		pgj_liquid_append(st, buf, s, (hit ? hit : end) - s);
		if (hit == NULL)
			break;
		pgj_liquid_append(st, buf, by->u.string, by->len);
		s = hit + what->len;
	}
}

static void
text_replace_one(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text,
				 const LiquidValue *what, const LiquidValue *by, bool last)
{
	const char *hit = find_text(st, text, what, last);
	int before = hit ? hit - text->u.string : text->len;

	pgj_liquid_append(st, buf, text->u.string, before);
	if (hit)
	{
		pgj_liquid_append(st, buf, by->u.string, by->len);
		pgj_liquid_append(st, buf, hit + what->len,
						  text->len - before - what->len);
	}
}

static void
text_replace(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text,
			 const LiquidValue *args, int nargs, int variant)
{
	LiquidValue what = pgj_liquid_text(st, &args[0]);
	LiquidValue by =
		nargs > 1 ? pgj_liquid_text(st, &args[1]) : pgj_liquid_string("", 0);

	pgj_liquid_work(st, text->len / 64);
	if (variant == TEXT_REPLACE || variant == TEXT_REMOVE)
		text_replace_all(st, buf, text, &what, &by);
	else
		text_replace_one(st, buf, text, &what, &by,
						 variant == TEXT_REPLACE_LAST ||
							 variant == TEXT_REMOVE_LAST);
}

/* ---- split ---- */

static LiquidValue
text_split(LiquidState *st, const LiquidValue *text, const LiquidValue *by)
{
	LiquidValue *items = NULL;
	int n = 0;
	int size = 0;
	int pos = 0;
	bool words = by->len == 1 && by->u.string[0] == ' ';

	while (pos < text->len)
	{
		LiquidValue part;

		if (words)
		{
			if (!next_word(text, &pos, &part))
				break;
		}
		else
		{
			const char *s = text->u.string + pos;
			const char *hit =
				by->len ? memmem(s, text->len - pos, by->u.string, by->len)
						: NULL;
			int len = text->len - pos;

			if (by->len == 0)
				len = pgj_liquid_char_len(st, s, len);
			else if (hit)
				len = hit - s;
			part = pgj_liquid_string(s, len);
			pos += len + by->len;
		}
		if (n == size)
		{
			LiquidValue *more =
				pgj_liquid_alloc(st, Max(16, 2 * size) * sizeof(LiquidValue));

			if (n > 0)
				memcpy(more, items, n * sizeof(LiquidValue));
			items = more;
			size = Max(16, 2 * size);
		}
		items[n++] = part;
	}
	/* empty parts at the end are dropped */
	while (n > 0 && items[n - 1].len == 0)
		n--;
	return pgj_liquid_array(items, n);
}

/* ---- HTML and URLs ---- */

/* Does an HTML entity begin at s ("&amp;", "&#39;", "&#x27;")? */
static bool
is_entity(const char *s, int len)
{
	int i = 1;
	int start;
	bool number = len > 2 && s[1] == '#';
	bool hex = number && (s[2] == 'x' || s[2] == 'X');

	i += number + hex;
	start = i;
	for (; i < len && i < 40; i++)
	{
		unsigned char c = (unsigned char) s[i];

		if (!(hex ? isxdigit(c) : number ? isdigit(c) : isalnum(c)))
			break;
	}
	return i > start && i < len && s[i] == ';';
}

void
pgj_liquid_escape(LiquidState *st, LiquidBuffer *buf, const char *s, int len,
				  bool once)
{
	int start = 0;

	for (int i = 0; i < len; i++)
	{
		const char *entity;

		switch (s[i])
		{
			case '&':
				if (once && is_entity(s + i, len - i))
					continue;
				entity = "&amp;";
				break;
			case '<':
				entity = "&lt;";
				break;
			case '>':
				entity = "&gt;";
				break;
			case '"':
				entity = "&quot;";
				break;
			case '\'':
				entity = "&#39;";
				break;
			default:
				continue;
		}
		pgj_liquid_append(st, buf, s + start, i - start);
		pgj_liquid_append(st, buf, entity, strlen(entity));
		start = i + 1;
	}
	pgj_liquid_append(st, buf, s + start, len - start);
}

static void
text_url_encode(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (int i = 0; i < text->len; i++)
	{
		unsigned char c = (unsigned char) text->u.string[i];
		char code[3] = { '%', hex[c >> 4], hex[c & 15] };

		if (c == ' ')
			pgj_liquid_append(st, buf, "+", 1);
		else if (c < 0x80 && (isalnum(c) || strchr("-_.~", c)))
			pgj_liquid_append(st, buf, &text->u.string[i], 1);
		else
			pgj_liquid_append(st, buf, code, 3);
	}
}

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
is_valid_utf8(const char *s, int len)
{
	const unsigned char *u = (const unsigned char *) s;

	for (int i = 0; i < len;)
	{
		unsigned char c = u[i];
		int n = c < 0x80   ? 1
				: c < 0xC2 ? 0
				: c < 0xE0 ? 2
				: c < 0xF0 ? 3
				: c < 0xF5 ? 4
						   : 0;

		if (n == 0 || i + n > len)
			return false;
		for (int k = 1; k < n; k++)
		{
			if ((u[i + k] & 0xC0) != 0x80)
				return false;
		}
		if ((c == 0xE0 && u[i + 1] < 0xA0) || (c == 0xED && u[i + 1] > 0x9F) ||
			(c == 0xF0 && u[i + 1] < 0x90) || (c == 0xF4 && u[i + 1] > 0x8F))
			return false;
		i += n;
	}
	return true;
}

/* The only filter that can make bytes no text may hold, so it looks. */
static void
text_url_decode(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text)
{
	bool ascii = true;

	for (int i = 0; i < text->len; i++)
	{
		char c = text->u.string[i];

		if (c == '+')
			c = ' ';
		else if (c == '%' && i + 2 < text->len &&
				 hex_digit(text->u.string[i + 1]) >= 0 &&
				 hex_digit(text->u.string[i + 2]) >= 0)
		{
			c = (char) (hex_digit(text->u.string[i + 1]) << 4 |
						hex_digit(text->u.string[i + 2]));
			i += 2;
			ascii = ascii && !IS_HIGHBIT_SET(c);
			if (c == '\0')
				filter_error(st, "filter \"url_decode\" met a zero byte");
		}
		pgj_liquid_append(st, buf, &c, 1);
	}
	if (!ascii && (!st->utf8 || !is_valid_utf8(buf->data, buf->len)))
		filter_error(st, "filter \"url_decode\" met bytes that are no text");
}

/*
 * Length of the element, comment or tag at s that strip_html drops, or 0.
 * missing remembers which closing marks do not occur in the rest.
 */
static int
html_length(const char *s, int len, bool *missing)
{
	static const struct
	{
		const char *open;
		const char *close;
	} whole[] = { { "<script", "</script>" },
				  { "<style", "</style>" },
				  { "<!--", "-->" } };
	const char *end;

	for (int i = 0; i < lengthof(whole); i++)
	{
		int n = strlen(whole[i].open);

		if (missing[i] || len < n || memcmp(s, whole[i].open, n) != 0)
			continue;
		end = memmem(s + n, len - n, whole[i].close, strlen(whole[i].close));
		if (end)
			return end - s + strlen(whole[i].close);
		missing[i] = true;
	}
	end = memchr(s, '>', len);
	return end ? end - s + 1 : 0;
}

static void
text_strip_html(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text)
{
	bool missing[3] = { false, false, false };

	for (int i = 0; i < text->len;)
	{
		const char *s = text->u.string + i;
		const char *tag = memchr(s, '<', text->len - i);
		int before = tag ? tag - s : text->len - i;
		int n;

		pgj_liquid_append(st, buf, s, before);
		i += before;
		if (i >= text->len)
			break;
		n = html_length(text->u.string + i, text->len - i, missing);
		if (n == 0)
		{
			pgj_liquid_append(st, buf, text->u.string + i, text->len - i);
			break;
		}
		i += n;
	}
}

static void
text_newlines(LiquidState *st, LiquidBuffer *buf, const LiquidValue *text,
			  const char *by)
{
	int start = 0;

	for (int i = 0; i < text->len; i++)
	{
		int end = i;

		if (text->u.string[i] != '\n')
			continue;
		if (end > start && text->u.string[end - 1] == '\r')
			end--;
		pgj_liquid_append(st, buf, text->u.string + start, end - start);
		pgj_liquid_append(st, buf, by, strlen(by));
		start = i + 1;
	}
	pgj_liquid_append(st, buf, text->u.string + start, text->len - start);
}

/* Line breaks become markup, so the text around them is escaped here. */
static LiquidValue
text_newline_to_br(LiquidState *st, const LiquidValue *text)
{
	LiquidValue escaped = *text;
	LiquidBuffer buf;
	LiquidValue result;

	memset(&buf, 0, sizeof(buf));
	if (st->html && !text->safe)
	{
		pgj_liquid_escape(st, &buf, text->u.string, text->len, false);
		escaped = pgj_liquid_take(&buf);
		memset(&buf, 0, sizeof(buf));
	}
	text_newlines(st, &buf, &escaped, "<br />\n");
	result = pgj_liquid_take(&buf);
	result.safe = true;
	return result;
}

/* ---- all of them ---- */

void
pgj_liquid_text_filter(LiquidState *st, const LiquidCall *call,
					   LiquidValue *value, const LiquidValue *args, int nargs)
{
	LiquidValue text = pgj_liquid_text(st, value);
	int variant = call->filter->variant;
	LiquidValue arg;
	LiquidBuffer buf;
	bool safe = false;

	memset(&buf, 0, sizeof(buf));
	switch (variant)
	{
		case TEXT_UPCASE:
		case TEXT_DOWNCASE:
		case TEXT_CAPITALIZE:
			text_case(st, &buf, &text, variant);
			break;
		case TEXT_STRIP:
		case TEXT_LSTRIP:
		case TEXT_RSTRIP:
			*value = text_strip(text, variant != TEXT_RSTRIP,
								variant != TEXT_LSTRIP);
			return;
		case TEXT_RAW:
			*value = text;
			value->safe = true;
			return;
		case TEXT_SPLIT:
			arg = pgj_liquid_text(st, &args[0]);
			*value = text_split(st, &text, &arg);
			return;
		case TEXT_NEWLINE_TO_BR:
			*value = text_newline_to_br(st, &text);
			return;
		case TEXT_STRIP_NEWLINES:
			text_newlines(st, &buf, &text, "");
			break;
		case TEXT_TRUNCATE:
			text_truncate(st, &buf, &text, args, nargs);
			break;
		case TEXT_TRUNCATEWORDS:
			text_truncatewords(st, &buf, &text, args, nargs);
			break;
		case TEXT_APPEND:
			arg = pgj_liquid_text(st, &args[0]);
			safe = text.safe && arg.safe;
			pgj_liquid_append(st, &buf, text.u.string, text.len);
			pgj_liquid_append(st, &buf, arg.u.string, arg.len);
			break;
		case TEXT_PREPEND:
			arg = pgj_liquid_text(st, &args[0]);
			safe = text.safe && arg.safe;
			pgj_liquid_append(st, &buf, arg.u.string, arg.len);
			pgj_liquid_append(st, &buf, text.u.string, text.len);
			break;
		case TEXT_ESCAPE:
		case TEXT_ESCAPE_ONCE:
			safe = true;
			pgj_liquid_escape(st, &buf, text.u.string, text.len,
							  variant == TEXT_ESCAPE_ONCE);
			break;
		case TEXT_URL_ENCODE:
			text_url_encode(st, &buf, &text);
			break;
		case TEXT_URL_DECODE:
			text_url_decode(st, &buf, &text);
			break;
		case TEXT_STRIP_HTML:
			text_strip_html(st, &buf, &text);
			break;
		default:
			text_replace(st, &buf, &text, args, nargs, variant);
	}
	*value = pgj_liquid_take(&buf);
	value->safe = safe;
}
