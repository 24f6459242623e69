/*-------------------------------------------------------------------------
 *
 * liquid_expr.c
 *	  The inside of a markup: tokens, expressions, filters, conditions.
 *
 * A markup is scanned as it is parsed, so the tokens of a tag never leave it.
 * Every mistake is reported where it stands, with the nearest name as a hint.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "miscadmin.h"

#include "outbox/liquid_parse.h"

bool
pgj_liquid_same(const char *s, int len, const char *word)
{
	return strlen(word) == (size_t) len && memcmp(s, word, len) == 0;
}

/* ---- hints ---- */

/* Edit distance of short names; anything longer than 30 is far from all. */
static int
distance(const char *a, int alen, const char *b)
{
	int blen = strlen(b);
	int row[32];

	if (alen > 30 || blen > 30)
		return 100;
	for (int j = 0; j <= blen; j++)
		row[j] = j;
	for (int i = 1; i <= alen; i++)
	{
		int diagonal = row[0];

		row[0] = i;
		for (int j = 1; j <= blen; j++)
		{
			int above = row[j];
			int best = diagonal + (a[i - 1] != b[j - 1]);

			best = Min(best, above + 1);
			best = Min(best, row[j - 1] + 1);
			diagonal = above;
			row[j] = best;
		}
	}
	return row[blen];
}

void
pgj_liquid_consider(const char *name, int len, const char *candidate,
					const char **best, int *score)
{
	int d = distance(name, len, candidate);

	if (d < *score)
	{
		*score = d;
		*best = candidate;
	}
}

const char *
pgj_liquid_nearest_hint(const char *what, int len, const char *best, int score)
{
	if (best == NULL || score > Max(1, len / 2))
		return NULL;
	return psprintf("Perhaps you meant the %s \"%s\".", what, best);
}

pg_noreturn static void unknown_filter(Parser *ps, const Token *t);

static void
unknown_filter(Parser *ps, const Token *t)
{
	const char *best = NULL;
	int score = 100;

	for (const LiquidFilter *f = pgj_liquid_filters; f->name; f++)
		pgj_liquid_consider(t->s, t->len, f->name, &best, &score);
	syntax_error(ps, t->at,
				 pgj_liquid_nearest_hint("filter", t->len, best, score),
				 "template has no filter \"%.*s\"", t->len, t->s);
}

/* ---- tokens of a markup ---- */

static bool
is_name_start(char c)
{
	return isalpha((unsigned char) c) || c == '_' || IS_HIGHBIT_SET(c);
}

static bool
is_name(char c)
{
	return is_name_start(c) || isdigit((unsigned char) c) || c == '-';
}

static void
scan_number(Parser *ps, Token *t)
{
	const char *p = ps->p;

	t->kind = T_INT;
	if (*p == '-')
		p++;
	while (p < ps->end && isdigit((unsigned char) *p))
		p++;
	if (p + 1 < ps->end && *p == '.' && isdigit((unsigned char) p[1]))
	{
		t->kind = T_DECIMAL;
		for (p++; p < ps->end && isdigit((unsigned char) *p); p++)
			;
	}
	/* a name may not begin with a digit */
	if (p < ps->end && is_name_start(*p))
		syntax_error(ps, t->at, NULL, "template has a malformed number");
	ps->p = p;
}

static void
scan_compare(Parser *ps, Token *t)
{
	static const struct
	{
		const char *text;
		LiquidOp op;
	} ops[] = { { "==", LIQUID_OP_EQ }, { "!=", LIQUID_OP_NE },
				{ "<>", LIQUID_OP_NE }, { "<=", LIQUID_OP_LE },
				{ ">=", LIQUID_OP_GE }, { "<", LIQUID_OP_LT },
				{ ">", LIQUID_OP_GT } };

	for (int i = 0; i < lengthof(ops); i++)
	{
		int len = strlen(ops[i].text);

		if (ps->end - ps->p >= len && memcmp(ps->p, ops[i].text, len) == 0)
		{
			t->kind = T_COMPARE;
			t->op = ops[i].op;
			ps->p += len;
			return;
		}
	}
	ps->p++;
}

void
pgj_liquid_next_token(Parser *ps)
{
	Token *t = &ps->tok;
	char c;

	while (ps->p < ps->end && pgj_liquid_is_space(*ps->p))
		ps->p++;
	t->s = ps->p;
	t->at = ps->p - ps->source;
	t->kind = T_END;
	t->len = 0;
	if (ps->p >= ps->end)
		return;
	c = *ps->p;
	t->kind = T_CHAR;
	if (is_name_start(c))
	{
		t->kind = T_NAME;
		while (ps->p < ps->end && is_name(*ps->p))
			ps->p++;
		if (ps->p < ps->end && *ps->p == '?')
			ps->p++;
	}
	else if (isdigit((unsigned char) c) || (c == '-' && ps->p + 1 < ps->end &&
											isdigit((unsigned char) ps->p[1])))
		scan_number(ps, t);
	else if (c == '\'' || c == '"')
	{
		const char *close = memchr(ps->p + 1, c, ps->end - ps->p - 1);

		if (close == NULL)
			syntax_error(ps, t->at, NULL,
						 "template has an unterminated string");
		t->kind = T_STRING;
		t->s++;
		t->len = close - t->s;
		ps->p = close + 1;
		return;
	}
	else if (c == '.' && ps->p + 1 < ps->end && ps->p[1] == '.')
	{
		t->kind = T_DOTDOT;
		ps->p += 2;
	}
	else if (c == '=' || c == '!' || c == '<' || c == '>')
		scan_compare(ps, t);
	else
		ps->p++;
	t->len = ps->p - t->s;
}

void
pgj_liquid_unexpected(Parser *ps)
{
	if (ps->tok.kind == T_END)
		syntax_error(ps, ps->tok.at, NULL,
					 "template has an incomplete expression");
	syntax_error(ps, ps->tok.at, NULL,
				 "syntax error in template at or near \"%.*s\"", ps->tok.len,
				 ps->tok.s);
}

bool
pgj_liquid_at_char(Parser *ps, char c)
{
	return ps->tok.kind == T_CHAR && ps->tok.s[0] == c;
}

bool
pgj_liquid_accept_char(Parser *ps, char c)
{
	if (!pgj_liquid_at_char(ps, c))
		return false;
	pgj_liquid_next_token(ps);
	return true;
}

void
pgj_liquid_expect_char(Parser *ps, char c)
{
	if (!pgj_liquid_accept_char(ps, c))
		pgj_liquid_unexpected(ps);
}

bool
pgj_liquid_at_word(Parser *ps, const char *word)
{
	return ps->tok.kind == T_NAME &&
		   pgj_liquid_same(ps->tok.s, ps->tok.len, word);
}

void
pgj_liquid_expect_end(Parser *ps)
{
	if (ps->tok.kind != T_END)
		pgj_liquid_unexpected(ps);
}

void
pgj_liquid_enter(Parser *ps, int at)
{
	if (++ps->depth > LIQUID_MAX_NESTING)
		pgj_liquid_error(LIQUID_LIMIT, ps->source, at, NULL,
						 "template is nested more than %d levels deep",
						 LIQUID_MAX_NESTING);
}

/* ---- expressions ---- */

static bool
parse_word_literal(Parser *ps, LiquidValue *v)
{
	if (pgj_liquid_at_word(ps, "nil") || pgj_liquid_at_word(ps, "null"))
		*v = pgj_liquid_nil();
	else if (pgj_liquid_at_word(ps, "true") || pgj_liquid_at_word(ps, "false"))
		*v = pgj_liquid_bool(pgj_liquid_at_word(ps, "true"));
	else if (pgj_liquid_at_word(ps, "empty") || pgj_liquid_at_word(ps, "blank"))
	{
		memset(v, 0, sizeof(*v));
		v->type = pgj_liquid_at_word(ps, "empty") ? LIQUID_EMPTY : LIQUID_BLANK;
	}
	else
		return false;
	return true;
}

static LiquidStep *
parse_bracket(Parser *ps)
{
	LiquidStep *step = palloc0(sizeof(LiquidStep));

	pgj_liquid_enter(ps, ps->tok.at);
	pgj_liquid_expect_char(ps, '[');
	step->index = pgj_liquid_parse_expr(ps);
	pgj_liquid_expect_char(ps, ']');
	ps->depth--;
	return step;
}

static LiquidStep *
parse_path(Parser *ps)
{
	LiquidStep *first = NULL;
	LiquidStep **tail = &first;

	for (;;)
	{
		LiquidStep *step;

		if (pgj_liquid_at_char(ps, '['))
			step = parse_bracket(ps);
		else if (first == NULL || pgj_liquid_accept_char(ps, '.'))
		{
			if (ps->tok.kind != T_NAME)
				pgj_liquid_unexpected(ps);
			step = palloc0(sizeof(LiquidStep));
			step->name = ps->tok.s;
			step->len = ps->tok.len;
			pgj_liquid_next_token(ps);
		}
		else
			break;
		*tail = step;
		tail = &step->next;
	}
	return first;
}

static LiquidValue
number_literal(const Token *t)
{
	LiquidValue text = pgj_liquid_string(t->s, t->len);

	return pgj_liquid_number(&text);
}

LiquidExpr *
pgj_liquid_parse_expr(Parser *ps)
{
	LiquidExpr *e = palloc0(sizeof(LiquidExpr));

	e->at = ps->tok.at;
	e->kind = LIQUID_EXPR_LITERAL;
	if (ps->tok.kind == T_STRING)
	{
		e->literal = pgj_liquid_string(ps->tok.s, ps->tok.len);
		pgj_liquid_next_token(ps);
	}
	else if (ps->tok.kind == T_INT || ps->tok.kind == T_DECIMAL)
	{
		e->literal = number_literal(&ps->tok);
		pgj_liquid_next_token(ps);
	}
	else if (pgj_liquid_at_char(ps, '('))
	{
		pgj_liquid_enter(ps, ps->tok.at);
		pgj_liquid_next_token(ps);
		e->kind = LIQUID_EXPR_RANGE;
		e->low = pgj_liquid_parse_expr(ps);
		if (ps->tok.kind != T_DOTDOT)
			pgj_liquid_unexpected(ps);
		pgj_liquid_next_token(ps);
		e->high = pgj_liquid_parse_expr(ps);
		pgj_liquid_expect_char(ps, ')');
		ps->depth--;
	}
	else if (parse_word_literal(ps, &e->literal))
	{
		pgj_liquid_next_token(ps);
		if (pgj_liquid_at_char(ps, '.') || pgj_liquid_at_char(ps, '['))
			pgj_liquid_unexpected(ps);
	}
	else if (ps->tok.kind == T_NAME || pgj_liquid_at_char(ps, '['))
	{
		e->kind = LIQUID_EXPR_PATH;
		e->path = parse_path(ps);
	}
	else
		pgj_liquid_unexpected(ps);
	return e;
}

static void
parse_argument(Parser *ps, LiquidCall *call)
{
	const char *save_p = ps->p;
	Token save = ps->tok;

	if (ps->tok.kind == T_NAME)
	{
		pgj_liquid_next_token(ps);
		if (pgj_liquid_accept_char(ps, ':'))
		{
			if (!pgj_liquid_same(save.s, save.len, "allow_false") ||
				strcmp(call->filter->name, "default") != 0)
				syntax_error(ps, save.at, NULL,
							 "filter \"%s\" has no argument \"%.*s\"",
							 call->filter->name, save.len, save.s);
			call->allow_false = pgj_liquid_parse_expr(ps);
			return;
		}
		ps->p = save_p;
		ps->tok = save;
	}
	if (call->nargs >= call->filter->max_args)
		syntax_error(ps, ps->tok.at, NULL, "filter \"%s\" takes %s",
					 call->filter->name,
					 call->filter->max_args == 0   ? "no argument"
					 : call->filter->max_args == 1 ? "only one argument"
												   : "only two arguments");
	call->args[call->nargs++] = pgj_liquid_parse_expr(ps);
}

static LiquidCall *
parse_call(Parser *ps)
{
	LiquidCall *call = palloc0(sizeof(LiquidCall));
	Token name = ps->tok;

	if (name.kind != T_NAME)
		pgj_liquid_unexpected(ps);
	call->at = name.at;
	call->filter = pgj_liquid_filter(name.s, name.len);
	if (call->filter == NULL)
		unknown_filter(ps, &name);
	pgj_liquid_next_token(ps);
	if (pgj_liquid_accept_char(ps, ':'))
	{
		do
		{
			parse_argument(ps, call);
		} while (pgj_liquid_accept_char(ps, ','));
	}
	if (call->nargs < call->filter->min_args)
		syntax_error(
			ps, call->at, NULL, "filter \"%s\" needs %s", call->filter->name,
			call->filter->min_args == 1 ? "an argument" : "two arguments");
	return call;
}

void
pgj_liquid_parse_pipe(Parser *ps, LiquidPipe *pipe)
{
	LiquidCall **tail = &pipe->calls;

	if (ps->tok.kind == T_END)
		return;
	pipe->expr = pgj_liquid_parse_expr(ps);
	while (pgj_liquid_accept_char(ps, '|'))
	{
		*tail = parse_call(ps);
		tail = &(*tail)->next;
	}
	pgj_liquid_expect_end(ps);
}

LiquidCondition *
pgj_liquid_parse_condition(Parser *ps)
{
	LiquidCondition *first = NULL;
	LiquidCondition **tail = &first;

	for (;;)
	{
		LiquidCondition *c = palloc0(sizeof(LiquidCondition));

		*tail = c;
		tail = &c->next;
		c->left = pgj_liquid_parse_expr(ps);
		c->at = ps->tok.at;
		if (ps->tok.kind == T_COMPARE)
			c->op = ps->tok.op;
		else if (pgj_liquid_at_word(ps, "contains"))
			c->op = LIQUID_OP_CONTAINS;
		if (c->op != LIQUID_OP_TRUTH)
		{
			pgj_liquid_next_token(ps);
			c->right = pgj_liquid_parse_expr(ps);
		}
		c->is_and = pgj_liquid_at_word(ps, "and");
		if (!c->is_and && !pgj_liquid_at_word(ps, "or"))
			break;
		pgj_liquid_next_token(ps);
	}
	pgj_liquid_expect_end(ps);
	return first;
}

void
pgj_liquid_error(LiquidError error, const char *source, int at,
				 const char *hint, const char *format, ...)
{
	int line = 1;
	int column = 1;
	char message[512];
	va_list args;

	for (int i = 0; i < at; i++)
	{
		if (source[i] == '\n')
		{
			line++;
			column = 1;
		}
		else if ((source[i] & 0xC0) != 0x80)
			column++; /* in characters, if this is UTF-8 */
	}
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	/* do not leave half a character at the end of a cut message */
	if (strlen(message) == sizeof(message) - 1)
	{
		int n = sizeof(message) - 1;

		while (n > 0 && IS_HIGHBIT_SET(message[n - 1]))
			n--;
		message[n] = '\0';
	}
	pgj_liquid_throw(error, line, column, message, hint);
}
