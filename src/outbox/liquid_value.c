/*-------------------------------------------------------------------------
 *
 * liquid_value.c
 *	  Liquid's values: truth, equality, order, numbers, text, members.
 *
 * The rules are those of the reference implementation.  Two are worth knowing:
 * only nil and false are untrue; a number that comes from the data is written
 * as it stands there (12.50 stays 12.50) until a filter computes with it.
 *
 * Sums and products of decimals are rounded to 15 significant digits, so that
 * 10.1 - 2.2 is 7.9.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "miscadmin.h"

#include "outbox/liquid.h"

bool
pgj_liquid_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Bytes of the character at s, never more than are left. */
int
pgj_liquid_char_len(const LiquidState *st, const char *s, int left)
{
	unsigned char c = (unsigned char) *s;
	int n = 1;

	if (st->utf8 && c >= 0xC0)
		n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
	return Min(n, left);
}

/* ---- making values ---- */

LiquidValue
pgj_liquid_nil(void)
{
	LiquidValue v;

	memset(&v, 0, sizeof(v));
	return v;
}

LiquidValue
pgj_liquid_bool(bool value)
{
	LiquidValue v = pgj_liquid_nil();

	v.type = LIQUID_BOOL;
	v.u.boolean = value;
	return v;
}

LiquidValue
pgj_liquid_int(int64 value)
{
	LiquidValue v = pgj_liquid_nil();

	v.type = LIQUID_INT;
	v.u.integer = value;
	return v;
}

LiquidValue
pgj_liquid_decimal(double value)
{
	LiquidValue v = pgj_liquid_nil();

	v.type = LIQUID_DECIMAL;
	v.u.decimal.number = value;
	return v;
}

LiquidValue
pgj_liquid_string(const char *s, int len)
{
	LiquidValue v = pgj_liquid_nil();

	v.type = LIQUID_STRING;
	v.u.string = s;
	v.len = len;
	return v;
}

LiquidValue
pgj_liquid_array(const LiquidValue *items, int n)
{
	LiquidValue v = pgj_liquid_nil();

	v.type = LIQUID_ARRAY;
	v.u.list.items = items;
	v.len = n;
	return v;
}

/* The buffer's text as a value; the buffer must not be written any more. */
LiquidValue
pgj_liquid_take(LiquidBuffer *buf)
{
	return pgj_liquid_string(buf->data ? buf->data : "", buf->len);
}

/* ---- lists ---- */

int64
pgj_liquid_count(const LiquidValue *v)
{
	switch (v->type)
	{
		case LIQUID_ARRAY:
			return v->u.list.source ? v->u.list.source->count(v->u.list.handle)
									: v->len;
		case LIQUID_OBJECT:
			return v->u.list.source->count(v->u.list.handle);
		case LIQUID_RANGE:
			if (v->u.range.high < v->u.range.low)
				return 0;
			return v->u.range.high - v->u.range.low + 1;
		default:
			return 0;
	}
}

/* Count what a source allocated for a value. */
void
pgj_liquid_got(LiquidState *st, const LiquidValue *v)
{
	if (v->type == LIQUID_DECIMAL && v->u.decimal.text)
		pgj_liquid_charge(st, v->len + 32);
}

/* The n-th item of an array or range; n must be in it. */
LiquidValue
pgj_liquid_item(LiquidState *st, const LiquidValue *v, int64 n)
{
	LiquidValue item = pgj_liquid_nil();

	pgj_liquid_work(st, 1);
	if (v->type == LIQUID_RANGE)
		return pgj_liquid_int(v->u.range.low + n);
	if (v->u.list.source == NULL)
		return v->u.list.items[n];
	v->u.list.source->item(v->u.list.handle, (int) n, &item);
	pgj_liquid_got(st, &item);
	return item;
}

/* An object as an array of [key, value] pairs. */
LiquidValue
pgj_liquid_pairs(LiquidState *st, const LiquidValue *object)
{
	int n = object->u.list.source->count(object->u.list.handle);
	LiquidValue *flat = pgj_liquid_alloc(st, 2 * n * sizeof(LiquidValue));
	LiquidValue *pairs = pgj_liquid_alloc(st, n * sizeof(LiquidValue));

	pgj_liquid_work(st, n);
	object->u.list.source->pairs(object->u.list.handle, flat);
	for (int i = 0; i < n; i++)
	{
		pgj_liquid_got(st, &flat[2 * i + 1]);
		pairs[i] = pgj_liquid_array(&flat[2 * i], 2);
	}
	return pgj_liquid_array(pairs, n);
}

/* ---- members ---- */

static LiquidValue
first_or_last(LiquidState *st, const LiquidValue *v, bool last)
{
	LiquidValue pairs;
	int64 n;

	if (v->type == LIQUID_OBJECT && last)
		return pgj_liquid_nil();
	if (v->type == LIQUID_OBJECT)
	{
		pairs = pgj_liquid_pairs(st, v);
		v = &pairs;
	}
	if (v->type != LIQUID_ARRAY && v->type != LIQUID_RANGE)
		return pgj_liquid_nil();
	n = pgj_liquid_count(v);
	return n == 0 ? pgj_liquid_nil() : pgj_liquid_item(st, v, last ? n - 1 : 0);
}

static LiquidValue
loop_member(LiquidState *st, const LiquidFrame *f, const char *name, int len)
{
	static const char *const names[] = { "index",	"index0", "rindex",
										 "rindex0", "length", "first",
										 "last",	"name",	  "parentloop" };
	LiquidValue v = pgj_liquid_nil();
	int i;

	for (i = 0; i < lengthof(names); i++)
	{
		if (strlen(names[i]) == (size_t) len &&
			memcmp(names[i], name, len) == 0)
			break;
	}
	switch (i)
	{
		case 0:
			return pgj_liquid_int(f->index + 1);
		case 1:
			return pgj_liquid_int(f->index);
		case 2:
			return pgj_liquid_int(f->length - f->index);
		case 3:
			return pgj_liquid_int(f->length - f->index - 1);
		case 4:
			return pgj_liquid_int(f->length);
		case 5:
			return pgj_liquid_bool(f->index == 0);
		case 6:
			return pgj_liquid_bool(f->index == f->length - 1);
		case 7:
		{
			LiquidBuffer buf;

			memset(&buf, 0, sizeof(buf));
			pgj_liquid_append(st, &buf, f->node->text, f->node->len);
			pgj_liquid_append(st, &buf, "-", 1);
			pgj_liquid_append(st, &buf, f->node->collection,
							  f->node->collection_len);
			return pgj_liquid_take(&buf);
		}
		case 8:
			if (f->parent)
			{
				v.type = LIQUID_LOOP;
				v.u.loop = f->parent;
			}
			return v;
		default:
			return v;
	}
}

static bool
key_is(const LiquidValue *key, const char *word)
{
	return strlen(word) == (size_t) key->len &&
		   memcmp(key->u.string, word, key->len) == 0;
}

/*
 * v[key] or, dotted, v.key: the latter knows size, first and last of what has
 * no such member.
 */
LiquidValue
pgj_liquid_lookup(LiquidState *st, const LiquidValue *v, const LiquidValue *key,
				  bool dotted)
{
	LiquidValue found = pgj_liquid_nil();

	pgj_liquid_work(st, 1);
	if (v->type == LIQUID_OBJECT)
	{
		LiquidValue text = pgj_liquid_text(st, key);

		if (v->u.list.source->get(v->u.list.handle, text.u.string, text.len,
								  &found))
		{
			pgj_liquid_got(st, &found);
			return found;
		}
	}
	else if ((v->type == LIQUID_ARRAY || v->type == LIQUID_RANGE) &&
			 (key->type == LIQUID_INT || key->type == LIQUID_DECIMAL))
	{
		int64 n = pgj_liquid_loose_integer(key);
		int64 count = pgj_liquid_count(v);

		if (n < 0)
			n += count;
		return n >= 0 && n < count ? pgj_liquid_item(st, v, n) : found;
	}
	else if (v->type == LIQUID_LOOP && key->type == LIQUID_STRING)
		return loop_member(st, v->u.loop, key->u.string, key->len);
	if (!dotted)
		return found;
	if (key_is(key, "first") || key_is(key, "last"))
		return first_or_last(st, v, key_is(key, "last"));
	if (key_is(key, "size") && v->type == LIQUID_STRING)
	{
		int64 n = 0;

		for (int i = 0; i < v->len; n++)
			i += pgj_liquid_char_len(st, v->u.string + i, v->len - i);
		pgj_liquid_work(st, n / 16);
		return pgj_liquid_int(n);
	}
	if (key_is(key, "size") &&
		(v->type == LIQUID_ARRAY || v->type == LIQUID_OBJECT ||
		 v->type == LIQUID_RANGE))
		return pgj_liquid_int(pgj_liquid_count(v));
	return found;
}

/* ---- truth, equality, order ---- */

bool
pgj_liquid_truth(const LiquidValue *v)
{
	return v->type != LIQUID_NIL && !(v->type == LIQUID_BOOL && !v->u.boolean);
}

static bool
is_empty(const LiquidValue *v)
{
	if (v->type == LIQUID_STRING)
		return v->len == 0;
	return (v->type == LIQUID_ARRAY || v->type == LIQUID_OBJECT) &&
		   pgj_liquid_count(v) == 0;
}

static bool
is_blank(const LiquidValue *v)
{
	if (v->type == LIQUID_STRING)
	{
		for (int i = 0; i < v->len; i++)
		{
			if (!pgj_liquid_is_space(v->u.string[i]))
				return false;
		}
		return true;
	}
	return !pgj_liquid_truth(v) || is_empty(v);
}

static double
as_double(const LiquidValue *v)
{
	return v->type == LIQUID_INT ? (double) v->u.integer : v->u.decimal.number;
}

static int
compare_bytes(const LiquidValue *a, const LiquidValue *b)
{
	int c = memcmp(a->u.string, b->u.string, Min(a->len, b->len));

	return c ? c : a->len - b->len;
}

static bool
is_number(const LiquidValue *v)
{
	return v->type == LIQUID_INT || v->type == LIQUID_DECIMAL;
}

static bool
equal_lists(LiquidState *st, const LiquidValue *a, const LiquidValue *b,
			int depth)
{
	int64 n = pgj_liquid_count(a);

	if (n != pgj_liquid_count(b))
		return false;
	for (int64 i = 0; i < n; i++)
	{
		LiquidValue x = pgj_liquid_item(st, a, i);
		LiquidValue y = pgj_liquid_item(st, b, i);

		if (!pgj_liquid_equal(st, &x, &y, depth + 1))
			return false;
	}
	return true;
}

bool
pgj_liquid_equal(LiquidState *st, const LiquidValue *a, const LiquidValue *b,
				 int depth)
{
	LiquidValue x;
	LiquidValue y;

	pgj_liquid_work(st, 1);
	if (depth > LIQUID_MAX_NESTING)
		pgj_liquid_error(LIQUID_LIMIT, st->template->source, st->at, NULL,
						 "template compares values that are nested too deep");
	if (b->type == LIQUID_EMPTY || b->type == LIQUID_BLANK)
	{
		const LiquidValue *swap = a;

		a = b;
		b = swap;
	}
	if (a->type == LIQUID_EMPTY)
		return is_empty(b);
	if (a->type == LIQUID_BLANK)
		return is_blank(b) && b->type != LIQUID_EMPTY;
	if (is_number(a) && is_number(b))
	{
		if (a->type == LIQUID_INT && b->type == LIQUID_INT)
			return a->u.integer == b->u.integer;
		return as_double(a) == as_double(b);
	}
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case LIQUID_NIL:
			return true;
		case LIQUID_BOOL:
			return a->u.boolean == b->u.boolean;
		case LIQUID_STRING:
			pgj_liquid_work(st, a->len / 64);
			return a->len == b->len &&
				   memcmp(a->u.string, b->u.string, a->len) == 0;
		case LIQUID_RANGE:
			return a->u.range.low == b->u.range.low &&
				   a->u.range.high == b->u.range.high;
		case LIQUID_ARRAY:
			return equal_lists(st, a, b, depth);
		case LIQUID_OBJECT:
			/* pairs come sorted by key */
			x = pgj_liquid_pairs(st, a);
			y = pgj_liquid_pairs(st, b);
			return equal_lists(st, &x, &y, depth);
		default:
			return false;
	}
}

/*
 * a <=> b.  Returns false if they have no order (one is nil, a list, ...);
 * a text against a number is an error, for it is a mistake nobody would see.
 */
bool
pgj_liquid_order(LiquidState *st, const LiquidValue *a, const LiquidValue *b,
				 int *result)
{
	if (is_number(a) && is_number(b))
	{
		if (a->type == LIQUID_INT && b->type == LIQUID_INT)
			*result =
				(a->u.integer > b->u.integer) - (a->u.integer < b->u.integer);
		else
			*result =
				(as_double(a) > as_double(b)) - (as_double(a) < as_double(b));
		return true;
	}
	if (a->type == LIQUID_STRING && b->type == LIQUID_STRING)
	{
		pgj_liquid_work(st, Min(a->len, b->len) / 64);
		*result = compare_bytes(a, b);
		return true;
	}
	if ((is_number(a) && b->type == LIQUID_STRING) ||
		(a->type == LIQUID_STRING && is_number(b)))
		pgj_liquid_error(LIQUID_INVALID, st->template->source, st->at,
						 "Make a number of the text with \"| plus: 0\".",
						 "template compares a text with a number");
	return false;
}

/* ---- numbers ---- */

/* Text to a number: "12.5" whole, else the integer it begins with, else 0. */
static LiquidValue
parse_number(const char *s, int len)
{
	char buf[400];
	int n = 0;
	bool decimal = false;
	int64 integer = 0;
	bool overflow = false;

	while (len > 0 && pgj_liquid_is_space(*s))
		s++, len--;
	while (len > 0 && pgj_liquid_is_space(s[len - 1]))
		len--;
	len = Min(len, (int) sizeof(buf) - 1);
	if (len > 0 && (*s == '-' || *s == '+'))
		n++;
	while (n < len && isdigit((unsigned char) s[n]))
	{
		overflow |= __builtin_mul_overflow(integer, 10, &integer);
		overflow |= __builtin_add_overflow(integer, s[n] - '0', &integer);
		n++;
	}
	if (n + 1 < len && n > 0 && isdigit((unsigned char) s[n - 1]) &&
		s[n] == '.')
	{
		int digits = n + 1;

		while (digits < len && isdigit((unsigned char) s[digits]))
			digits++;
		decimal = digits > n + 1 && digits == len;
		if (decimal)
			n = digits;
	}
	if (decimal || overflow)
	{
		memcpy(buf, s, n);
		buf[n] = '\0';
		return pgj_liquid_decimal(strtod(buf, NULL));
	}
	return pgj_liquid_int(len > 0 && *s == '-' ? -integer : integer);
}

/* What a value counts as in a sum: an integer or a decimal. */
LiquidValue
pgj_liquid_number(const LiquidValue *v)
{
	LiquidValue number;

	if (v->type == LIQUID_INT)
		return *v;
	if (v->type == LIQUID_DECIMAL)
	{
		/* a computed value is no longer written as in the data */
		number = pgj_liquid_decimal(v->u.decimal.number);
		return number;
	}
	if (v->type == LIQUID_STRING)
		return parse_number(v->u.string, v->len);
	return pgj_liquid_int(0);
}

/* nil, text and numbers to an integer, without complaint */
int64
pgj_liquid_loose_integer(const LiquidValue *v)
{
	LiquidValue number = pgj_liquid_number(v);

	if (number.type == LIQUID_INT)
		return number.u.integer;
	if (!(fabs(number.u.decimal.number) < 9e18))
		return number.u.decimal.number > 0 ? PG_INT64_MAX : PG_INT64_MIN;
	return (int64) number.u.decimal.number;
}

/* An argument that must be an integer. */
int64
pgj_liquid_integer(LiquidState *st, const LiquidValue *v)
{
	bool ok = v->type == LIQUID_INT;

	if (v->type == LIQUID_STRING)
	{
		int i = v->len > 0 && (v->u.string[0] == '-' || v->u.string[0] == '+');

		ok = i < v->len;
		for (; i < v->len; i++)
			ok = ok && isdigit((unsigned char) v->u.string[i]);
	}
	if (!ok)
		pgj_liquid_error(LIQUID_INVALID, st->template->source, st->at, NULL,
						 "template needs an integer here");
	return pgj_liquid_loose_integer(v);
}

/* ---- text ---- */

static void
write_decimal(LiquidState *st, LiquidBuffer *buf, const LiquidValue *v)
{
	char s[64];

	if (v->u.decimal.text)
	{
		pgj_liquid_append(st, buf, v->u.decimal.text, v->len);
		return;
	}
	/* the shortest text that reads back as the same number */
	for (int digits = 15; digits <= 17; digits++)
	{
		snprintf(s, sizeof(s), "%.*g", digits, v->u.decimal.number);
		if (strtod(s, NULL) == v->u.decimal.number)
			break;
	}
	if (strchr(s, 'e') && fabs(v->u.decimal.number) < 1e16 &&
		fabs(v->u.decimal.number) >= 1e-4)
		snprintf(s, sizeof(s), "%.1f", v->u.decimal.number);
	if (strpbrk(s, ".en") == NULL)
		strcat(s, ".0");
	pgj_liquid_append(st, buf, s, strlen(s));
}

/* Append v as {{ v }} shows it: lists are run together, nil is nothing. */
void
pgj_liquid_write(LiquidState *st, LiquidBuffer *buf, const LiquidValue *v,
				 int depth)
{
	char s[64];

	if (depth > LIQUID_MAX_NESTING)
		pgj_liquid_error(LIQUID_LIMIT, st->template->source, st->at, NULL,
						 "template writes a value that is nested too deep");
	switch (v->type)
	{
		case LIQUID_BOOL:
			pgj_liquid_append(st, buf, v->u.boolean ? "true" : "false",
							  v->u.boolean ? 4 : 5);
			break;
		case LIQUID_INT:
			snprintf(s, sizeof(s), INT64_FORMAT, v->u.integer);
			pgj_liquid_append(st, buf, s, strlen(s));
			break;
		case LIQUID_DECIMAL:
			write_decimal(st, buf, v);
			break;
		case LIQUID_STRING:
			pgj_liquid_append(st, buf, v->u.string, v->len);
			break;
		case LIQUID_ARRAY:
			for (int64 i = 0; i < pgj_liquid_count(v); i++)
			{
				LiquidValue item = pgj_liquid_item(st, v, i);

				pgj_liquid_write(st, buf, &item, depth + 1);
			}
			break;
		case LIQUID_OBJECT:
			pgj_liquid_json(st, buf, v, depth);
			break;
		case LIQUID_RANGE:
			snprintf(s, sizeof(s), INT64_FORMAT ".." INT64_FORMAT,
					 v->u.range.low, v->u.range.high);
			pgj_liquid_append(st, buf, s, strlen(s));
			break;
		default:
			break;
	}
}

LiquidValue
pgj_liquid_text(LiquidState *st, const LiquidValue *v)
{
	LiquidBuffer buf;

	if (v->type == LIQUID_STRING)
		return *v;
	memset(&buf, 0, sizeof(buf));
	pgj_liquid_write(st, &buf, v, 0);
	return pgj_liquid_take(&buf);
}

static void
json_string(LiquidState *st, LiquidBuffer *buf, const char *s, int len)
{
	char code[8];
	int start = 0;

	pgj_liquid_append(st, buf, "\"", 1);
	for (int i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) s[i];

		if (c >= 0x20 && c != '"' && c != '\\')
			continue;
		pgj_liquid_append(st, buf, s + start, i - start);
		start = i + 1;
		if (c == '"' || c == '\\')
			snprintf(code, sizeof(code), "\\%c", c);
		else if (c == '\n')
			snprintf(code, sizeof(code), "\\n");
		else
			snprintf(code, sizeof(code), "\\u%04x", c);
		pgj_liquid_append(st, buf, code, strlen(code));
	}
	pgj_liquid_append(st, buf, s + start, len - start);
	pgj_liquid_append(st, buf, "\"", 1);
}

void
pgj_liquid_json(LiquidState *st, LiquidBuffer *buf, const LiquidValue *v,
				int depth)
{
	LiquidValue list = *v;
	bool object = v->type == LIQUID_OBJECT;

	if (depth > LIQUID_MAX_NESTING)
		pgj_liquid_error(LIQUID_LIMIT, st->template->source, st->at, NULL,
						 "template writes a value that is nested too deep");
	switch (v->type)
	{
		case LIQUID_BOOL:
		case LIQUID_INT:
		case LIQUID_DECIMAL:
			pgj_liquid_write(st, buf, v, depth);
			return;
		case LIQUID_STRING:
			json_string(st, buf, v->u.string, v->len);
			return;
		case LIQUID_OBJECT:
			list = pgj_liquid_pairs(st, v);
			break;
		case LIQUID_ARRAY:
		case LIQUID_RANGE:
			break;
		default:
			pgj_liquid_append(st, buf, "null", 4);
			return;
	}
	pgj_liquid_append(st, buf, object ? "{" : "[", 1);
	for (int64 i = 0; i < pgj_liquid_count(&list); i++)
	{
		LiquidValue item = pgj_liquid_item(st, &list, i);

		if (i > 0)
			pgj_liquid_append(st, buf, ",", 1);
		if (object)
		{
			pgj_liquid_json(st, buf, &item.u.list.items[0], depth + 1);
			pgj_liquid_append(st, buf, ":", 1);
			pgj_liquid_json(st, buf, &item.u.list.items[1], depth + 1);
		}
		else
			pgj_liquid_json(st, buf, &item, depth + 1);
	}
	pgj_liquid_append(st, buf, object ? "}" : "]", 1);
}
