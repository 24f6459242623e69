/*-------------------------------------------------------------------------
 *
 * liquid_date.c
 *	  Reading dates and writing them with strftime's letters.
 *
 * A date is seconds since 1970 (a number or digits), what jsonb makes of a
 * timestamp ("2026-01-05T09:30:00+01:00"), a plain date, or "January 5, 2026".
 * It is shown in the offset it is written with, and in UTC if it has none; the
 * filter time_zone moves it to another zone.  What is no date is left as it is.
 *
 * The words "now" and "today" mean the value called now among the data: a
 * template has no clock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "miscadmin.h"

#include "outbox/liquid.h"

typedef struct Moment
{
	int64 epoch; /* seconds since 1970 */
	int nanosecond;
	int offset; /* of the zone it is shown in, seconds east */
	/* in that zone */
	int64 year;
	int month; /* 1 .. 12 */
	int day;
	int hour;
	int minute;
	int second;
	int weekday; /* Sunday is 0 */
	int yearday; /* from 0 */
} Moment;

typedef struct Reader
{
	const char *p;
	const char *end;
} Reader;

#define MAX_EPOCH INT64CONST(253402300799) /* the end of year 9999 */
#define MIN_EPOCH INT64CONST(-62135596800) /* the start of year 1 */

static const char *const months[] = { "January", "February", "March",
									  "April",	 "May",		 "June",
									  "July",	 "August",	 "September",
									  "October", "November", "December" };
static const char *const weekdays[] = { "Sunday",	 "Monday",	 "Tuesday",
										"Wednesday", "Thursday", "Friday",
										"Saturday" };

/* ---- calendar ---- */

/* Days from 1970-01-01 in the Gregorian calendar; years begin in March. */
static int64
days_from_civil(int64 year, int month, int day)
{
	int64 y = month <= 2 ? year - 1 : year;
	int64 era = (y >= 0 ? y : y - 399) / 400;
	int64 yoe = y - era * 400;
	int64 doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static bool
is_leap(int64 year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int
days_in_month(int64 year, int month)
{
	static const int days[] = {
		31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31
	};

	return month == 2 && is_leap(year) ? 29 : days[month - 1];
}

/* Fill in the fields of m that follow from epoch and offset. */
static void
localize(Moment *m)
{
	int64 local = m->epoch + m->offset;
	int64 days = local >= 0 ? local / 86400 : -((86399 - local) / 86400);
	int rest = local - days * 86400;
	int64 z = days + 719468;
	int64 era = z / 146097; /* years are after 0, so z > 0 */
	int64 doe = z - era * 146097;
	int64 yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64 doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int mp = (5 * doy + 2) / 153;

	m->day = doy - (153 * mp + 2) / 5 + 1;
	m->month = mp < 10 ? mp + 3 : mp - 9;
	m->year = yoe + era * 400 + (m->month <= 2);
	m->hour = rest / 3600;
	m->minute = rest / 60 % 60;
	m->second = rest % 60;
	m->weekday = ((days + 4) % 7 + 7) % 7;
	m->yearday = days - days_from_civil(m->year, 1, 1);
}

/* ---- reading ---- */

static void
skip_spaces(Reader *r)
{
	while (r->p < r->end && (pgj_liquid_is_space(*r->p) || *r->p == ','))
		r->p++;
}

static bool
read_char(Reader *r, char c)
{
	if (r->p >= r->end || *r->p != c)
		return false;
	r->p++;
	return true;
}

/* A number of min to max digits. */
static bool
read_digits(Reader *r, int min, int max, int *value)
{
	int n = 0;

	*value = 0;
	for (; n < max && r->p < r->end && isdigit((unsigned char) *r->p); n++)
		*value = *value * 10 + (*r->p++ - '0');
	return n >= min;
}

/* A word of the list, or its first three letters; its number, or -1. */
static int
read_word(Reader *r, const char *const *words, int n)
{
	const char *start = r->p;
	int len = 0;

	while (start + len < r->end && isalpha((unsigned char) start[len]))
		len++;
	for (int i = 0; i < n && len >= 3; i++)
	{
		if ((len == 3 || len == (int) strlen(words[i])) &&
			pg_strncasecmp(start, words[i], len) == 0)
		{
			r->p += len;
			if (r->p < r->end && *r->p == '.')
				r->p++;
			return i;
		}
	}
	return -1;
}

/* "2026-01-05", "January 5, 2026", "Mon, 5 Jan 2026" */
static bool
read_day(Reader *r, int *year, int *month, int *day)
{
	int word;

	read_word(r, weekdays, 7);
	skip_spaces(r);
	word = read_word(r, months, 12);
	*month = word + 1;
	if (word >= 0)
	{
		skip_spaces(r);
		if (!read_digits(r, 1, 2, day))
			return false;
		skip_spaces(r);
		return read_digits(r, 4, 4, year);
	}
	if (r->end - r->p > 4 && (r->p[4] == '-' || r->p[4] == '/'))
	{
		char separator = r->p[4];

		return read_digits(r, 4, 4, year) && read_char(r, separator) &&
			   read_digits(r, 1, 2, month) && read_char(r, separator) &&
			   read_digits(r, 1, 2, day);
	}
	if (!read_digits(r, 1, 2, day))
		return false;
	skip_spaces(r);
	*month = read_word(r, months, 12) + 1;
	skip_spaces(r);
	return *month > 0 && read_digits(r, 4, 4, year);
}

static bool
read_time(Reader *r, Moment *m)
{
	int value;

	if (!read_digits(r, 1, 2, &m->hour) || !read_char(r, ':') ||
		!read_digits(r, 2, 2, &m->minute))
		return false;
	if (read_char(r, ':') && !read_digits(r, 2, 2, &m->second))
		return false;
	if (read_char(r, '.'))
	{
		const char *start = r->p;

		if (!read_digits(r, 1, 9, &value))
			return false;
		for (int n = r->p - start; n < 9; n++)
			value *= 10;
		m->nanosecond = value;
	}
	return m->hour <= 24 && m->minute <= 59 && m->second <= 60;
}

static bool
read_offset(Reader *r, int *offset)
{
	int hours;
	int minutes = 0;
	bool west;

	*offset = 0;
	skip_spaces(r);
	if (r->p == r->end || read_char(r, 'Z'))
		return true;
	if (r->end - r->p >= 3 &&
		(memcmp(r->p, "UTC", 3) == 0 || memcmp(r->p, "GMT", 3) == 0))
	{
		r->p += 3;
		return true;
	}
	west = *r->p == '-';
	if (!west && *r->p != '+')
		return false;
	r->p++;
	if (!read_digits(r, 2, 2, &hours))
		return false;
	read_char(r, ':');
	if (r->p < r->end && !read_digits(r, 2, 2, &minutes))
		return false;
	*offset = (hours * 60 + minutes) * (west ? -60 : 60);
	return hours <= 15 && minutes <= 59;
}

static bool
read_text(const LiquidValue *v, Moment *m)
{
	Reader r = { v->u.string, v->u.string + v->len };
	int year;

	skip_spaces(&r);
	while (r.end > r.p && pgj_liquid_is_space(r.end[-1]))
		r.end--;
	if (!read_day(&r, &year, &m->month, &m->day) || year < 1 || m->month < 1 ||
		m->month > 12 || m->day < 1 || m->day > days_in_month(year, m->month))
		return false;
	if (!read_char(&r, 'T'))
		skip_spaces(&r);
	if (r.p < r.end && isdigit((unsigned char) *r.p) && !read_time(&r, m))
		return false;
	if (!read_offset(&r, &m->offset) || r.p != r.end)
		return false;
	m->epoch = days_from_civil(year, m->month, m->day) * 86400 +
			   m->hour * 3600 + m->minute * 60 + m->second - m->offset;
	return true;
}

static bool
read_moment(LiquidState *st, LiquidValue v, Moment *m)
{
	bool digits = v.type == LIQUID_STRING && v.len > 0;

	memset(m, 0, sizeof(*m));
	if (v.type == LIQUID_STRING &&
		((v.len == 3 && memcmp(v.u.string, "now", 3) == 0) ||
		 (v.len == 5 && memcmp(v.u.string, "today", 5) == 0)))
	{
		if (!pgj_liquid_variable(st, "now", 3, &v) || v.type == LIQUID_NIL)
			pgj_liquid_error(
				LIQUID_INVALID, st->template->source, st->at,
				"A template has no clock; pass the time as \"now\" among its data.",
				"template asks for the time, which its data does not hold");
		digits = v.type == LIQUID_STRING && v.len > 0;
	}
	for (int i = 0; digits && i < v.len; i++)
		digits = isdigit((unsigned char) v.u.string[i]) && v.len <= 12;
	if (digits || v.type == LIQUID_INT || v.type == LIQUID_DECIMAL)
		m->epoch = pgj_liquid_loose_integer(&v);
	else if (v.type != LIQUID_STRING || !read_text(&v, m))
		return false;
	/* a day of slack, for the offset */
	if (m->epoch < MIN_EPOCH + 86400 || m->epoch > MAX_EPOCH - 86400)
		return false;
	localize(m);
	return true;
}

/* ---- writing ---- */

typedef struct Directive
{
	char pad; /* '0', ' ' or 0: none */
	bool pad_set;
	bool upper;
	bool colon;
	int width;
} Directive;

static void
put_number(LiquidState *st, LiquidBuffer *buf, const Directive *d, int64 value,
		   int width, char pad)
{
	char s[64];

	if (d->pad_set)
		pad = d->pad;
	if (d->width > 0)
		width = d->width;
	if (pad == '\0')
		snprintf(s, sizeof(s), INT64_FORMAT, value);
	else if (pad == ' ')
		snprintf(s, sizeof(s), "%*lld", width, (long long) value);
	else
		snprintf(s, sizeof(s), "%0*lld", width, (long long) value);
	pgj_liquid_append(st, buf, s, strlen(s));
}

static void
put_word(LiquidState *st, LiquidBuffer *buf, const Directive *d,
		 const char *word, int len)
{
	for (int i = 0; i < len && word[i]; i++)
	{
		char c = d->upper ? pg_ascii_toupper(word[i]) : word[i];

		pgj_liquid_append(st, buf, &c, 1);
	}
}

static void
put_offset(LiquidState *st, LiquidBuffer *buf, int offset, bool colon)
{
	char s[32];
	int minutes = abs(offset) / 60;

	snprintf(s, sizeof(s), "%c%02d%s%02d", offset < 0 ? '-' : '+', minutes / 60,
			 colon ? ":" : "", minutes % 60);
	pgj_liquid_append(st, buf, s, strlen(s));
}

static void
put_fraction(LiquidState *st, LiquidBuffer *buf, int nanosecond, int digits)
{
	char s[16];

	snprintf(s, sizeof(s), "%09d", nanosecond);
	pgj_liquid_append(st, buf, s, Min(digits, 9));
}

/* The ISO year and week: weeks belong to the year of their Thursday. */
static int
iso_week(const Moment *m, int64 *year)
{
	int thursday = m->yearday + 3 - (m->weekday + 6) % 7;

	*year = m->year;
	if (thursday < 0)
	{
		(*year)--;
		thursday += is_leap(*year) ? 366 : 365;
	}
	else if (thursday >= (is_leap(m->year) ? 366 : 365))
	{
		(*year)++;
		thursday -= is_leap(m->year) ? 366 : 365;
	}
	return thursday / 7 + 1;
}

static void format_date(LiquidState *st, LiquidBuffer *buf, const Moment *m,
						const char *f, int len);

/* Returns false for a letter that means nothing. */
static bool
put_directive(LiquidState *st, LiquidBuffer *buf, const Moment *m,
			  const Directive *d, char c)
{
	int hour12 = m->hour % 12 == 0 ? 12 : m->hour % 12;
	int64 iso_year;

	switch (c)
	{
		case 'Y':
			put_number(st, buf, d, m->year, 4, '0');
			break;
		case 'C':
			put_number(st, buf, d, m->year / 100, 2, '0');
			break;
		case 'y':
			put_number(st, buf, d, m->year % 100, 2, '0');
			break;
		case 'm':
			put_number(st, buf, d, m->month, 2, '0');
			break;
		case 'B':
			put_word(st, buf, d, months[m->month - 1], 9);
			break;
		case 'b':
		case 'h':
			put_word(st, buf, d, months[m->month - 1], 3);
			break;
		case 'd':
			put_number(st, buf, d, m->day, 2, '0');
			break;
		case 'e':
			put_number(st, buf, d, m->day, 2, ' ');
			break;
		case 'j':
			put_number(st, buf, d, m->yearday + 1, 3, '0');
			break;
		case 'H':
			put_number(st, buf, d, m->hour, 2, '0');
			break;
		case 'k':
			put_number(st, buf, d, m->hour, 2, ' ');
			break;
		case 'I':
			put_number(st, buf, d, hour12, 2, '0');
			break;
		case 'l':
			put_number(st, buf, d, hour12, 2, ' ');
			break;
		case 'M':
			put_number(st, buf, d, m->minute, 2, '0');
			break;
		case 'S':
			put_number(st, buf, d, m->second, 2, '0');
			break;
		case 'L':
			put_fraction(st, buf, m->nanosecond, d->width ? d->width : 3);
			break;
		case 'N':
			put_fraction(st, buf, m->nanosecond, d->width ? d->width : 9);
			break;
		case 'p':
			put_word(st, buf, d, m->hour < 12 ? "AM" : "PM", 2);
			break;
		case 'P':
			put_word(st, buf, d, m->hour < 12 ? "am" : "pm", 2);
			break;
		case 'A':
			put_word(st, buf, d, weekdays[m->weekday], 9);
			break;
		case 'a':
			put_word(st, buf, d, weekdays[m->weekday], 3);
			break;
		case 'u':
			put_number(st, buf, d, m->weekday == 0 ? 7 : m->weekday, 1, '0');
			break;
		case 'w':
			put_number(st, buf, d, m->weekday, 1, '0');
			break;
		case 'U':
			put_number(st, buf, d, (m->yearday + 7 - m->weekday) / 7, 2, '0');
			break;
		case 'W':
			put_number(st, buf, d, (m->yearday + 7 - (m->weekday + 6) % 7) / 7,
					   2, '0');
			break;
		case 'V':
			put_number(st, buf, d, iso_week(m, &iso_year), 2, '0');
			break;
		case 'G':
			iso_week(m, &iso_year);
			put_number(st, buf, d, iso_year, 4, '0');
			break;
		case 'z':
			put_offset(st, buf, m->offset, d->colon);
			break;
		case 'Z':
			if (m->offset == 0)
				pgj_liquid_append(st, buf, "UTC", 3);
			else
				put_offset(st, buf, m->offset, true);
			break;
		case 's':
			put_number(st, buf, d, m->epoch, 1, '0');
			break;
		case 'n':
			pgj_liquid_append(st, buf, "\n", 1);
			break;
		case 't':
			pgj_liquid_append(st, buf, "\t", 1);
			break;
		case '%':
			pgj_liquid_append(st, buf, "%", 1);
			break;
		case 'D':
		case 'x':
			format_date(st, buf, m, "%m/%d/%y", 8);
			break;
		case 'F':
			format_date(st, buf, m, "%Y-%m-%d", 8);
			break;
		case 'T':
		case 'X':
			format_date(st, buf, m, "%H:%M:%S", 8);
			break;
		case 'R':
			format_date(st, buf, m, "%H:%M", 5);
			break;
		case 'r':
			format_date(st, buf, m, "%I:%M:%S %p", 11);
			break;
		case 'c':
			format_date(st, buf, m, "%a %b %e %H:%M:%S %Y", 20);
			break;
		default:
			return false;
	}
	return true;
}

static void
format_date(LiquidState *st, LiquidBuffer *buf, const Moment *m, const char *f,
			int len)
{
	for (int i = 0; i < len; i++)
	{
		int start = i;
		Directive d;

		if (f[i] != '%')
		{
			pgj_liquid_append(st, buf, &f[i], 1);
			continue;
		}
		memset(&d, 0, sizeof(d));
		for (i++; i < len && strchr("-_0^:", f[i]) && f[i]; i++)
		{
			d.upper |= f[i] == '^';
			d.colon |= f[i] == ':';
			if (f[i] == '-' || f[i] == '_' || f[i] == '0')
			{
				d.pad_set = true;
				d.pad = f[i] == '-' ? '\0' : f[i] == '_' ? ' ' : '0';
			}
		}
		for (; i < len && isdigit((unsigned char) f[i]); i++)
			d.width = Min(d.width * 10 + (f[i] - '0'), 30);
		if (i >= len || !put_directive(st, buf, m, &d, f[i]))
		{
			i = Min(i, len - 1);
			pgj_liquid_append(st, buf, f + start, i - start + 1);
		}
	}
}

/* variant 0: date: format; 1: time_zone: name */
void
pgj_liquid_date_filter(LiquidState *st, const LiquidCall *call,
					   LiquidValue *value, const LiquidValue *args, int nargs)
{
	LiquidValue arg = pgj_liquid_text(st, &args[0]);
	LiquidBuffer buf;
	LiquidBuffer zone;
	Moment m;

	memset(&buf, 0, sizeof(buf));
	memset(&zone, 0, sizeof(zone));
	if (arg.len == 0 || value->type == LIQUID_NIL ||
		!read_moment(st, *value, &m))
		return;
	if (call->filter->variant == 0)
		format_date(st, &buf, &m, arg.u.string, arg.len);
	else
	{
		pgj_liquid_append(st, &zone, arg.u.string, arg.len);
		if (!pgj_liquid_zone_offset(zone.data, m.epoch, &m.offset))
			pgj_liquid_error(LIQUID_INVALID, st->template->source, st->at, NULL,
							 "time zone \"%.64s\" not recognized", zone.data);
		localize(&m);
		format_date(st, &buf, &m, m.nanosecond ? "%FT%T.%6N%:z" : "%FT%T%:z",
					m.nanosecond ? 12 : 8);
	}
	*value = pgj_liquid_take(&buf);
}
