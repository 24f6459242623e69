/*-------------------------------------------------------------------------
 *
 * liquid_filter.c
 *	  The table of filters, and those over numbers and lists.
 *
 * A filter replaces *value.  Numbers and lists are lenient about what they get
 * (a text that is no number counts as 0, what is no list is a list of one);
 * what cannot have been meant, such as a division by zero, is an error.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"

#include "outbox/liquid.h"

enum
{
	NUMBER_PLUS,
	NUMBER_MINUS,
	NUMBER_TIMES,
	NUMBER_DIVIDE,
	NUMBER_MODULO,
	NUMBER_AT_LEAST,
	NUMBER_AT_MOST,
	NUMBER_ABS,
	NUMBER_CEIL,
	NUMBER_FLOOR,
	NUMBER_ROUND,
	LIST_FIRST,
	LIST_LAST,
	LIST_SORT,
	LIST_SORT_NATURAL
};

#define filter_error(st, ...)                                                \
	pgj_liquid_error(LIQUID_INVALID, (st)->template->source, (st)->at, NULL, \
					 __VA_ARGS__)

/* ---- numbers ---- */

/* As written with 15 digits: hides that 0.1 has no exact double. */
static double
tidy(double d)
{
	char s[64];

	snprintf(s, sizeof(s), "%.15g", d);
	return strtod(s, NULL);
}

static double
to_double(const LiquidValue *v)
{
	return v->type == LIQUID_INT ? (double) v->u.integer : v->u.decimal.number;
}

static LiquidValue
integer_arithmetic(LiquidState *st, int variant, int64 a, int64 b)
{
	int64 r;
	bool overflow;

	switch (variant)
	{
		case NUMBER_PLUS:
			overflow = __builtin_add_overflow(a, b, &r);
			break;
		case NUMBER_MINUS:
			overflow = __builtin_sub_overflow(a, b, &r);
			break;
		case NUMBER_TIMES:
			overflow = __builtin_mul_overflow(a, b, &r);
			break;
		default:
			if (b == 0)
				filter_error(st, "template divides by zero");
			overflow = a == PG_INT64_MIN && b == -1;
			if (overflow)
				break;
			r = variant == NUMBER_DIVIDE ? a / b : a % b;
			/* towards minus infinity */
			if (a % b != 0 && (a < 0) != (b < 0))
				r += variant == NUMBER_DIVIDE ? -1 : b;
	}
	if (overflow)
		filter_error(st, "template computes a number out of range");
	return pgj_liquid_int(r);
}

static LiquidValue
decimal_arithmetic(LiquidState *st, int variant, double a, double b)
{
	switch (variant)
	{
		case NUMBER_PLUS:
			return pgj_liquid_decimal(tidy(a + b));
		case NUMBER_MINUS:
			return pgj_liquid_decimal(tidy(a - b));
		case NUMBER_TIMES:
			return pgj_liquid_decimal(tidy(a * b));
		default:
			if (b == 0)
				filter_error(st, "template divides by zero");
			if (variant == NUMBER_DIVIDE)
				return pgj_liquid_decimal(a / b);
			return pgj_liquid_decimal(tidy(a - b * floor(a / b)));
	}
}

static void
filter_arithmetic(LiquidState *st, const LiquidCall *call, LiquidValue *value,
				  const LiquidValue *args, int nargs)
{
	LiquidValue a = pgj_liquid_number(value);
	LiquidValue b = pgj_liquid_number(&args[0]);
	int variant = call->filter->variant;
	int order;

	if (variant == NUMBER_AT_LEAST || variant == NUMBER_AT_MOST)
	{
		pgj_liquid_order(st, &a, &b, &order);
		*value = (variant == NUMBER_AT_LEAST) == (order >= 0) ? a : b;
	}
	else if (a.type == LIQUID_INT && b.type == LIQUID_INT)
		*value = integer_arithmetic(st, variant, a.u.integer, b.u.integer);
	else
		*value = decimal_arithmetic(st, variant, to_double(&a), to_double(&b));
	if (value->type == LIQUID_DECIMAL && !isfinite(value->u.decimal.number))
		filter_error(st, "template computes a number out of range");
}

static LiquidValue
to_integer(LiquidState *st, double d)
{
	if (!(fabs(d) < 9e18))
		filter_error(st, "template computes a number out of range");
	return pgj_liquid_int((int64) d);
}

/* d rounded half away from zero to so many places */
static double
round_to(double d, int64 places)
{
	double scale;

	if (places > 15)
		return d;
	scale = pow(10, Max(places, -20));
	if (!isfinite(d * scale))
		return d;
	return tidy(round(tidy(d * scale)) / scale);
}

static void
filter_number(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			  const LiquidValue *args, int nargs)
{
	LiquidValue a = pgj_liquid_number(value);
	int64 places = nargs > 0 ? pgj_liquid_loose_integer(&args[0]) : 0;
	double d = to_double(&a);

	*value = a;
	switch (call->filter->variant)
	{
		case NUMBER_ABS:
			if (a.type == LIQUID_DECIMAL)
				*value = pgj_liquid_decimal(fabs(d));
			else if (a.u.integer < 0)
				*value = integer_arithmetic(st, NUMBER_MINUS, 0, a.u.integer);
			break;
		case NUMBER_CEIL:
			if (a.type == LIQUID_DECIMAL)
				*value = to_integer(st, ceil(d));
			break;
		case NUMBER_FLOOR:
			if (a.type == LIQUID_DECIMAL)
				*value = to_integer(st, floor(d));
			break;
		default:
			if (a.type == LIQUID_INT && places >= 0)
				break;
			d = round_to(d, places);
			*value = places > 0 ? pgj_liquid_decimal(d) : to_integer(st, d);
	}
}

/* 12.5 | fixed: 2 -> 12.50 */
static void
filter_fixed(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			 const LiquidValue *args, int nargs)
{
	LiquidValue a = pgj_liquid_number(value);
	int64 places = nargs > 0 ? pgj_liquid_integer(st, &args[0]) : 2;
	LiquidBuffer buf;
	char s[400];

	if (places < 0 || places > 15)
		filter_error(st, "filter \"fixed\" needs between 0 and 15 places");
	memset(&buf, 0, sizeof(buf));
	if (a.type == LIQUID_INT)
	{
		snprintf(s, sizeof(s), INT64_FORMAT, a.u.integer);
		if (places > 0)
			snprintf(s + strlen(s), sizeof(s) - strlen(s), ".%0*d",
					 (int) places, 0);
	}
	else if (fabs(a.u.decimal.number) < 1e300)
		snprintf(s, sizeof(s), "%.*f", (int) places,
				 round_to(to_double(&a), places));
	else
		filter_error(st, "template computes a number out of range");
	pgj_liquid_append(st, &buf, s, strlen(s));
	*value = pgj_liquid_take(&buf);
}

/* 1234567.5 -> 1,234,567.5; the arguments are the delimiter and the point */
static void
filter_delimiter(LiquidState *st, const LiquidCall *call, LiquidValue *value,
				 const LiquidValue *args, int nargs)
{
	LiquidValue text = pgj_liquid_text(st, value);
	LiquidValue comma =
		nargs > 0 ? pgj_liquid_text(st, &args[0]) : pgj_liquid_string(",", 1);
	LiquidValue point =
		nargs > 1 ? pgj_liquid_text(st, &args[1]) : pgj_liquid_string(".", 1);
	const char *s = text.u.string;
	int start = text.len > 0 && s[0] == '-';
	int digits = start;
	LiquidBuffer buf;

	while (digits < text.len && s[digits] >= '0' && s[digits] <= '9')
		digits++;
	/* what is no number is left alone */
	if (digits == start || (digits < text.len && s[digits] != '.'))
		return;
	memset(&buf, 0, sizeof(buf));
	pgj_liquid_append(st, &buf, s, start);
	for (int i = start; i < digits; i++)
	{
		if (i > start && (digits - i) % 3 == 0)
			pgj_liquid_append(st, &buf, comma.u.string, comma.len);
		pgj_liquid_append(st, &buf, s + i, 1);
	}
	if (digits < text.len)
	{
		pgj_liquid_append(st, &buf, point.u.string, point.len);
		pgj_liquid_append(st, &buf, s + digits + 1, text.len - digits - 1);
	}
	*value = pgj_liquid_take(&buf);
}

/* ---- lists ---- */

typedef struct List
{
	LiquidValue *items;
	int n;
	int size;
} List;

static void
list_add(LiquidState *st, List *list, const LiquidValue *v)
{
	if (list->n == list->size)
	{
		int size = Max(16, 2 * list->size);
		LiquidValue *items = pgj_liquid_alloc(st, size * sizeof(LiquidValue));

		if (list->n > 0)
			memcpy(items, list->items, list->n * sizeof(LiquidValue));
		list->items = items;
		list->size = size;
	}
	list->items[list->n++] = *v;
}

static void
flatten(LiquidState *st, List *list, const LiquidValue *v, int depth)
{
	if (depth > LIQUID_MAX_NESTING)
		pgj_liquid_error(LIQUID_LIMIT, st->template->source, st->at, NULL,
						 "template reads a list that is nested too deep");
	for (int64 i = 0; i < pgj_liquid_count(v); i++)
	{
		LiquidValue item = pgj_liquid_item(st, v, i);

		if (item.type == LIQUID_ARRAY)
			flatten(st, list, &item, depth + 1);
		else
			list_add(st, list, &item);
	}
}

/* What a list filter works on: nested lists are flat, nil is no item. */
static List
to_list(LiquidState *st, const LiquidValue *v)
{
	List list;

	memset(&list, 0, sizeof(list));
	if (v->type == LIQUID_ARRAY || v->type == LIQUID_RANGE)
		flatten(st, &list, v, 0);
	else if (v->type != LIQUID_NIL && v->type != LIQUID_EMPTY &&
			 v->type != LIQUID_BLANK)
		list_add(st, &list, v);
	return list;
}

static LiquidValue
from_list(const List *list)
{
	return pgj_liquid_array(list->items, list->n);
}

/* item.property, where the item has to be an object */
static LiquidValue
property_of(LiquidState *st, const LiquidValue *item,
			const LiquidValue *property)
{
	LiquidValue found = pgj_liquid_nil();
	LiquidValue key;

	if (item->type != LIQUID_OBJECT)
		filter_error(st, "template asks for a property of what is no object");
	key = pgj_liquid_text(st, property);
	if (item->u.list.source->get(item->u.list.handle, key.u.string, key.len,
								 &found))
		pgj_liquid_got(st, &found);
	return found;
}

/* The property that the filter's first argument names, or the item itself. */
static LiquidValue
chosen(LiquidState *st, const LiquidValue *item, const LiquidValue *args,
	   int nargs)
{
	return nargs > 0 && args[0].type != LIQUID_NIL
			   ? property_of(st, item, &args[0])
			   : *item;
}

static void
filter_size(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			const LiquidValue *args, int nargs)
{
	LiquidValue key = pgj_liquid_string("size", 4);

	if (value->type == LIQUID_OBJECT)
		*value = pgj_liquid_int(pgj_liquid_count(value));
	else
		*value = pgj_liquid_lookup(st, value, &key, true);
	if (value->type == LIQUID_NIL)
		*value = pgj_liquid_int(0);
}

static void
filter_end(LiquidState *st, const LiquidCall *call, LiquidValue *value,
		   const LiquidValue *args, int nargs)
{
	bool last = call->filter->variant == LIST_LAST;
	LiquidValue pairs;
	int64 n;

	if (value->type == LIQUID_OBJECT && !last)
	{
		pairs = pgj_liquid_pairs(st, value);
		*value = pairs;
	}
	n = value->type == LIQUID_OBJECT ? 0 : pgj_liquid_count(value);
	*value = n == 0 ? pgj_liquid_nil()
					: pgj_liquid_item(st, value, last ? n - 1 : 0);
}

static void
filter_join(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);
	LiquidValue glue =
		nargs > 0 ? pgj_liquid_text(st, &args[0]) : pgj_liquid_string(" ", 1);
	LiquidBuffer buf;

	memset(&buf, 0, sizeof(buf));
	for (int i = 0; i < list.n; i++)
	{
		if (i > 0)
			pgj_liquid_append(st, &buf, glue.u.string, glue.len);
		pgj_liquid_write(st, &buf, &list.items[i], 0);
	}
	*value = pgj_liquid_take(&buf);
}

static void
filter_reverse(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			   const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);

	for (int i = 0; i < list.n / 2; i++)
	{
		LiquidValue swap = list.items[i];

		list.items[i] = list.items[list.n - 1 - i];
		list.items[list.n - 1 - i] = swap;
	}
	*value = from_list(&list);
}

static void
filter_concat(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			  const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);

	if (args[0].type != LIQUID_ARRAY && args[0].type != LIQUID_RANGE)
		filter_error(st, "filter \"concat\" needs a list");
	for (int64 i = 0; i < pgj_liquid_count(&args[0]); i++)
	{
		LiquidValue item = pgj_liquid_item(st, &args[0], i);

		list_add(st, &list, &item);
	}
	*value = from_list(&list);
}

static void
filter_map(LiquidState *st, const LiquidCall *call, LiquidValue *value,
		   const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);

	for (int i = 0; i < list.n; i++)
		list.items[i] = property_of(st, &list.items[i], &args[0]);
	*value = from_list(&list);
}

static void
filter_compact(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			   const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);
	int kept = 0;

	for (int i = 0; i < list.n; i++)
	{
		LiquidValue v = chosen(st, &list.items[i], args, nargs);

		if (v.type != LIQUID_NIL)
			list.items[kept++] = list.items[i];
	}
	list.n = kept;
	*value = from_list(&list);
}

static void
filter_uniq(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);
	LiquidValue *seen = pgj_liquid_alloc(st, list.n * sizeof(LiquidValue));
	int kept = 0;

	for (int i = 0; i < list.n; i++)
	{
		LiquidValue v = chosen(st, &list.items[i], args, nargs);
		int j;

		for (j = 0; j < kept && !pgj_liquid_equal(st, &v, &seen[j], 0); j++)
			;
		if (j < kept)
			continue;
		seen[kept] = v;
		list.items[kept++] = list.items[i];
	}
	list.n = kept;
	*value = from_list(&list);
}

/* where: property [, value]: items whose property equals it, or is true */
static void
filter_where(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			 const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);
	int kept = 0;

	for (int i = 0; i < list.n; i++)
	{
		LiquidValue v = property_of(st, &list.items[i], &args[0]);

		if (nargs < 2 || args[1].type == LIQUID_NIL
				? pgj_liquid_truth(&v)
				: pgj_liquid_equal(st, &v, &args[1], 0))
			list.items[kept++] = list.items[i];
	}
	list.n = kept;
	*value = from_list(&list);
}

static void
filter_sum(LiquidState *st, const LiquidCall *call, LiquidValue *value,
		   const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);
	LiquidValue sum = pgj_liquid_int(0);

	for (int i = 0; i < list.n; i++)
	{
		LiquidValue v = chosen(st, &list.items[i], args, nargs);

		v = pgj_liquid_number(&v);
		if (sum.type == LIQUID_INT && v.type == LIQUID_INT)
			sum =
				integer_arithmetic(st, NUMBER_PLUS, sum.u.integer, v.u.integer);
		else
			sum = decimal_arithmetic(st, NUMBER_PLUS, to_double(&sum),
									 to_double(&v));
	}
	*value = sum;
}

typedef struct SortItem
{
	LiquidValue key;
	LiquidValue item;
} SortItem;

static int
compare_natural(LiquidState *st, const LiquidValue *a, const LiquidValue *b)
{
	LiquidValue x = pgj_liquid_text(st, a);
	LiquidValue y = pgj_liquid_text(st, b);

	for (int i = 0; i < Min(x.len, y.len); i++)
	{
		int c = (unsigned char) pg_ascii_tolower(x.u.string[i]) -
				(unsigned char) pg_ascii_tolower(y.u.string[i]);

		if (c != 0)
			return c;
	}
	return x.len - y.len;
}

/* nil comes last */
static int
compare_items(LiquidState *st, const SortItem *a, const SortItem *b,
			  bool natural)
{
	int order = 0;

	pgj_liquid_work(st, 1);
	if (a->key.type == LIQUID_NIL || b->key.type == LIQUID_NIL)
		return (a->key.type == LIQUID_NIL) - (b->key.type == LIQUID_NIL);
	if (natural)
		return compare_natural(st, &a->key, &b->key);
	if (!pgj_liquid_order(st, &a->key, &b->key, &order))
		filter_error(st, "filter \"sort\" cannot compare these items");
	return order;
}

/* Stable merge sort; the C library's qsort must not be left by an error. */
static void
sort_items(LiquidState *st, SortItem *items, SortItem *spare, int n,
		   bool natural)
{
	int half = n / 2;
	int i = 0;
	int j = half;

	if (n < 2)
		return;
	sort_items(st, items, spare, half, natural);
	sort_items(st, items + half, spare, n - half, natural);
	for (int k = 0; k < n; k++)
	{
		if (i < half &&
			(j == n || compare_items(st, &items[i], &items[j], natural) <= 0))
			spare[k] = items[i++];
		else
			spare[k] = items[j++];
	}
	memcpy(items, spare, n * sizeof(SortItem));
}

static void
filter_sort(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			const LiquidValue *args, int nargs)
{
	List list = to_list(st, value);
	SortItem *items = pgj_liquid_alloc(st, list.n * sizeof(SortItem));
	SortItem *spare = pgj_liquid_alloc(st, list.n * sizeof(SortItem));

	for (int i = 0; i < list.n; i++)
	{
		items[i].item = list.items[i];
		items[i].key = chosen(st, &list.items[i], args, nargs);
	}
	sort_items(st, items, spare, list.n,
			   call->filter->variant == LIST_SORT_NATURAL);
	for (int i = 0; i < list.n; i++)
		list.items[i] = items[i].item;
	*value = from_list(&list);
}

static void
filter_slice(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			 const LiquidValue *args, int nargs)
{
	int64 from = pgj_liquid_integer(st, &args[0]);
	int64 want = nargs > 1 && args[1].type != LIQUID_NIL
					 ? pgj_liquid_integer(st, &args[1])
					 : 1;
	LiquidValue size = *value;
	int64 n;
	List list;

	if (value->type != LIQUID_ARRAY && value->type != LIQUID_RANGE)
	{
		*value = pgj_liquid_text(st, value);
		size = *value;
		filter_size(st, call, &size, NULL, 0);
		n = size.u.integer;
	}
	else
		n = pgj_liquid_count(value);
	if (from < 0)
		from += n;
	if (from < 0 || from > n || want < 0)
		want = from = 0;
	want = Min(want, n - from);
	if (value->type == LIQUID_STRING)
	{
		int start = 0;
		int end;

		for (; from > 0; from--)
			start += pgj_liquid_char_len(st, value->u.string + start,
										 value->len - start);
		for (end = start; want > 0; want--)
			end += pgj_liquid_char_len(st, value->u.string + end,
									   value->len - end);
		*value = pgj_liquid_string(value->u.string + start, end - start);
		return;
	}
	memset(&list, 0, sizeof(list));
	for (int64 i = from; i < from + want; i++)
	{
		LiquidValue item = pgj_liquid_item(st, value, i);

		list_add(st, &list, &item);
	}
	*value = from_list(&list);
}

/* ---- anything ---- */

static void
filter_default(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			   const LiquidValue *args, int nargs)
{
	bool is_false = value->type == LIQUID_BOOL && !value->u.boolean;
	LiquidValue empty = pgj_liquid_nil();

	if (is_false && pgj_liquid_truth(&args[LIQUID_MAX_ARGS]))
		return;
	empty.type = LIQUID_EMPTY;
	if (is_false || value->type == LIQUID_NIL ||
		pgj_liquid_equal(st, value, &empty, 0))
		*value = nargs > 0 ? args[0] : pgj_liquid_string("", 0);
}

static void
filter_json(LiquidState *st, const LiquidCall *call, LiquidValue *value,
			const LiquidValue *args, int nargs)
{
	LiquidBuffer buf;

	memset(&buf, 0, sizeof(buf));
	pgj_liquid_json(st, &buf, value, 0);
	*value = pgj_liquid_take(&buf);
}

const LiquidFilter pgj_liquid_filters[] = {
	{ "abs", 0, 0, filter_number, NUMBER_ABS },
	{ "append", 1, 1, pgj_liquid_text_filter, TEXT_APPEND },
	{ "at_least", 1, 1, filter_arithmetic, NUMBER_AT_LEAST },
	{ "at_most", 1, 1, filter_arithmetic, NUMBER_AT_MOST },
	{ "capitalize", 0, 0, pgj_liquid_text_filter, TEXT_CAPITALIZE },
	{ "ceil", 0, 0, filter_number, NUMBER_CEIL },
	{ "compact", 0, 1, filter_compact },
	{ "concat", 1, 1, filter_concat },
	{ "date", 1, 1, pgj_liquid_date_filter, 0 },
	{ "default", 0, 1, filter_default },
	{ "divided_by", 1, 1, filter_arithmetic, NUMBER_DIVIDE },
	{ "downcase", 0, 0, pgj_liquid_text_filter, TEXT_DOWNCASE },
	{ "escape", 0, 0, pgj_liquid_text_filter, TEXT_ESCAPE },
	{ "escape_once", 0, 0, pgj_liquid_text_filter, TEXT_ESCAPE_ONCE },
	{ "first", 0, 0, filter_end, LIST_FIRST },
	{ "fixed", 0, 1, filter_fixed },
	{ "floor", 0, 0, filter_number, NUMBER_FLOOR },
	{ "join", 0, 1, filter_join },
	{ "json", 0, 0, filter_json },
	{ "last", 0, 0, filter_end, LIST_LAST },
	{ "lstrip", 0, 0, pgj_liquid_text_filter, TEXT_LSTRIP },
	{ "map", 1, 1, filter_map },
	{ "minus", 1, 1, filter_arithmetic, NUMBER_MINUS },
	{ "modulo", 1, 1, filter_arithmetic, NUMBER_MODULO },
	{ "newline_to_br", 0, 0, pgj_liquid_text_filter, TEXT_NEWLINE_TO_BR },
	{ "number_with_delimiter", 0, 2, filter_delimiter },
	{ "plus", 1, 1, filter_arithmetic, NUMBER_PLUS },
	{ "prepend", 1, 1, pgj_liquid_text_filter, TEXT_PREPEND },
	{ "raw", 0, 0, pgj_liquid_text_filter, TEXT_RAW },
	{ "remove", 1, 1, pgj_liquid_text_filter, TEXT_REMOVE },
	{ "remove_first", 1, 1, pgj_liquid_text_filter, TEXT_REMOVE_FIRST },
	{ "remove_last", 1, 1, pgj_liquid_text_filter, TEXT_REMOVE_LAST },
	{ "replace", 1, 2, pgj_liquid_text_filter, TEXT_REPLACE },
	{ "replace_first", 1, 2, pgj_liquid_text_filter, TEXT_REPLACE_FIRST },
	{ "replace_last", 2, 2, pgj_liquid_text_filter, TEXT_REPLACE_LAST },
	{ "reverse", 0, 0, filter_reverse },
	{ "round", 0, 1, filter_number, NUMBER_ROUND },
	{ "rstrip", 0, 0, pgj_liquid_text_filter, TEXT_RSTRIP },
	{ "size", 0, 0, filter_size },
	{ "slice", 1, 2, filter_slice },
	{ "sort", 0, 1, filter_sort, LIST_SORT },
	{ "sort_natural", 0, 1, filter_sort, LIST_SORT_NATURAL },
	{ "split", 1, 1, pgj_liquid_text_filter, TEXT_SPLIT },
	{ "strip", 0, 0, pgj_liquid_text_filter, TEXT_STRIP },
	{ "strip_html", 0, 0, pgj_liquid_text_filter, TEXT_STRIP_HTML },
	{ "strip_newlines", 0, 0, pgj_liquid_text_filter, TEXT_STRIP_NEWLINES },
	{ "sum", 0, 1, filter_sum },
	{ "time_zone", 1, 1, pgj_liquid_date_filter, 1 },
	{ "times", 1, 1, filter_arithmetic, NUMBER_TIMES },
	{ "truncate", 0, 2, pgj_liquid_text_filter, TEXT_TRUNCATE },
	{ "truncatewords", 0, 2, pgj_liquid_text_filter, TEXT_TRUNCATEWORDS },
	{ "uniq", 0, 1, filter_uniq },
	{ "upcase", 0, 0, pgj_liquid_text_filter, TEXT_UPCASE },
	{ "url_decode", 0, 0, pgj_liquid_text_filter, TEXT_URL_DECODE },
	{ "url_encode", 0, 0, pgj_liquid_text_filter, TEXT_URL_ENCODE },
	{ "where", 1, 2, filter_where },
	{ NULL }
};

const LiquidFilter *
pgj_liquid_filter(const char *name, int len)
{
	for (const LiquidFilter *f = pgj_liquid_filters; f->name; f++)
	{
		if (strlen(f->name) == (size_t) len && memcmp(f->name, name, len) == 0)
			return f;
	}
	return NULL;
}
