/*-------------------------------------------------------------------------
 *
 * liquid_parse.c
 *	  Liquid source to a tree.
 *
 * A template is text with {{ outputs }} and {% tags %}; a markup ends at the
 * first closing braces, quotes or not, as in the reference implementation.
 * Everything is checked here: tag and filter names, the number of arguments,
 * the nesting of blocks.  What parses can fail only for its data.
 *
 * Blocks that hold nothing but white space and assignments write nothing, not
 * even the white space; that is Liquid's rule and keeps logic in a template from
 * leaving holes in the mail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "miscadmin.h"

#include "outbox/liquid.h"

typedef enum TokenKind
{
	T_END, T_NAME, T_INT, T_DECIMAL, T_STRING, T_DOTDOT, T_COMPARE, T_CHAR
} TokenKind;

typedef struct Token
{
	TokenKind	kind;
	int			at;
	const char *s;
	int			len;
	LiquidOp	op;
} Token;

typedef struct Parser
{
	const char *source;
	int			len;
	int			pos;			/* next byte of the template */
	bool		trim;			/* the last markup ended with "-" */
	int			depth;
	/* the markup at hand */
	int			markup_at;		/* offset of its braces */
	const char *tag;			/* name of the tag, NULL: an output */
	int			tag_len;
	const char *p;				/* rest of the markup */
	const char *end;
	Token		tok;			/* current token of it */
} Parser;

typedef void (*TagFn) (Parser *ps, LiquidNode *node);

typedef struct Tag
{
	const char *name;
	TagFn		parse;			/* NULL: belongs to a block */
	LiquidNodeKind kind;
} Tag;

static void parse_body(Parser *ps, LiquidBody *body, const char *const *stops,
					   const char *opener, int opener_at);
static LiquidExpr *parse_expr(Parser *ps);
static void parse_if(Parser *ps, LiquidNode *node);
static void parse_case(Parser *ps, LiquidNode *node);
static void parse_for(Parser *ps, LiquidNode *node);
static void parse_assign(Parser *ps, LiquidNode *node);
static void parse_capture(Parser *ps, LiquidNode *node);
static void parse_echo(Parser *ps, LiquidNode *node);
static void parse_jump(Parser *ps, LiquidNode *node);
static void parse_comment(Parser *ps, LiquidNode *node);
static void parse_raw(Parser *ps, LiquidNode *node);

static const Tag tags[] = {
	{"if", parse_if, LIQUID_NODE_IF},
	{"unless", parse_if, LIQUID_NODE_IF},
	{"case", parse_case, LIQUID_NODE_CASE},
	{"for", parse_for, LIQUID_NODE_FOR},
	{"assign", parse_assign, LIQUID_NODE_ASSIGN},
	{"capture", parse_capture, LIQUID_NODE_CAPTURE},
	{"echo", parse_echo, LIQUID_NODE_OUTPUT},
	{"break", parse_jump, LIQUID_NODE_BREAK},
	{"continue", parse_jump, LIQUID_NODE_CONTINUE},
	{"comment", parse_comment, LIQUID_NODE_TEXT},
	{"raw", parse_raw, LIQUID_NODE_TEXT},
	{"elsif", NULL}, {"else", NULL}, {"when", NULL}, {"endif", NULL},
	{"endunless", NULL}, {"endcase", NULL}, {"endfor", NULL},
	{"endcapture", NULL}, {"endcomment", NULL}, {"endraw", NULL},
	{NULL}
};

#define syntax_error(ps, at, hint, ...) \
	pgj_liquid_error(LIQUID_SYNTAX, (ps)->source, (at), (hint), __VA_ARGS__)

static bool
same(const char *s, int len, const char *word)
{
	return strlen(word) == (size_t) len && memcmp(s, word, len) == 0;
}

/* ---- hints ---- */

/* Edit distance of short names; anything longer than 30 is far from all. */
static int
distance(const char *a, int alen, const char *b)
{
	int			blen = strlen(b);
	int			row[32];

	if (alen > 30 || blen > 30)
		return 100;
	for (int j = 0; j <= blen; j++)
		row[j] = j;
	for (int i = 1; i <= alen; i++)
	{
		int			diagonal = row[0];

		row[0] = i;
		for (int j = 1; j <= blen; j++)
		{
			int			above = row[j];
			int			best = diagonal + (a[i - 1] != b[j - 1]);

			best = Min(best, above + 1);
			best = Min(best, row[j - 1] + 1);
			diagonal = above;
			row[j] = best;
		}
	}
	return row[blen];
}

static void
consider(const char *name, int len, const char *candidate, const char **best,
		 int *score)
{
	int			d = distance(name, len, candidate);

	if (d < *score)
	{
		*score = d;
		*best = candidate;
	}
}

static const char *
nearest_hint(const char *what, const char *name, int len, const char *best,
			 int score)
{
	if (best == NULL || score > Max(1, len / 2))
		return NULL;
	return psprintf("Perhaps you meant the %s \"%s\".", what, best);
}

static void
unknown_tag(Parser *ps)
{
	const char *best = NULL;
	int			score = 100;
	const char *hint;

	for (const Tag *t = tags; t->name; t++)
		consider(ps->tag, ps->tag_len, t->name, &best, &score);
	hint = nearest_hint("tag", ps->tag, ps->tag_len, best, score);
	syntax_error(ps, ps->tag - ps->source,
				 hint ? hint : "Tags are if, unless, case, for, assign, capture, echo, comment and raw.",
				 "template has no tag \"%.*s\"", ps->tag_len, ps->tag);
}

static void
unknown_filter(Parser *ps, const Token *t)
{
	const char *best = NULL;
	int			score = 100;

	for (const LiquidFilter *f = pgj_liquid_filters; f->name; f++)
		consider(t->s, t->len, f->name, &best, &score);
	syntax_error(ps, t->at, nearest_hint("filter", t->s, t->len, best, score),
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
		LiquidOp	op;
	}			ops[] = {
		{"==", LIQUID_OP_EQ}, {"!=", LIQUID_OP_NE}, {"<>", LIQUID_OP_NE},
		{"<=", LIQUID_OP_LE}, {">=", LIQUID_OP_GE}, {"<", LIQUID_OP_LT},
		{">", LIQUID_OP_GT}
	};

	for (int i = 0; i < lengthof(ops); i++)
	{
		int			len = strlen(ops[i].text);

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

static void
next_token(Parser *ps)
{
	Token	   *t = &ps->tok;
	char		c;

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
	else if (isdigit((unsigned char) c) ||
			 (c == '-' && ps->p + 1 < ps->end && isdigit((unsigned char) ps->p[1])))
		scan_number(ps, t);
	else if (c == '\'' || c == '"')
	{
		const char *close = memchr(ps->p + 1, c, ps->end - ps->p - 1);

		if (close == NULL)
			syntax_error(ps, t->at, NULL, "template has an unterminated string");
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

static void
unexpected(Parser *ps)
{
	if (ps->tok.kind == T_END)
		syntax_error(ps, ps->tok.at, NULL, "template has an incomplete expression");
	syntax_error(ps, ps->tok.at, NULL, "syntax error in template at or near \"%.*s\"",
				 ps->tok.len, ps->tok.s);
}

static bool
at_char(Parser *ps, char c)
{
	return ps->tok.kind == T_CHAR && ps->tok.s[0] == c;
}

static bool
accept_char(Parser *ps, char c)
{
	if (!at_char(ps, c))
		return false;
	next_token(ps);
	return true;
}

static void
expect_char(Parser *ps, char c)
{
	if (!accept_char(ps, c))
		unexpected(ps);
}

static bool
at_word(Parser *ps, const char *word)
{
	return ps->tok.kind == T_NAME && same(ps->tok.s, ps->tok.len, word);
}

static void
expect_end(Parser *ps)
{
	if (ps->tok.kind != T_END)
		unexpected(ps);
}

static void
enter(Parser *ps, int at)
{
	if (++ps->depth > LIQUID_MAX_NESTING)
		pgj_liquid_error(LIQUID_LIMIT, ps->source, at, NULL,
						 "template is nested more than %d levels deep", LIQUID_MAX_NESTING);
}

/* ---- expressions ---- */

static bool
parse_word_literal(Parser *ps, LiquidValue *v)
{
	if (at_word(ps, "nil") || at_word(ps, "null"))
		*v = pgj_liquid_nil();
	else if (at_word(ps, "true") || at_word(ps, "false"))
		*v = pgj_liquid_bool(at_word(ps, "true"));
	else if (at_word(ps, "empty") || at_word(ps, "blank"))
	{
		memset(v, 0, sizeof(*v));
		v->type = at_word(ps, "empty") ? LIQUID_EMPTY : LIQUID_BLANK;
	}
	else
		return false;
	return true;
}

static LiquidStep *
parse_bracket(Parser *ps)
{
	LiquidStep *step = palloc0(sizeof(LiquidStep));

	enter(ps, ps->tok.at);
	expect_char(ps, '[');
	step->index = parse_expr(ps);
	expect_char(ps, ']');
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

		if (at_char(ps, '['))
			step = parse_bracket(ps);
		else if (first == NULL || accept_char(ps, '.'))
		{
			if (ps->tok.kind != T_NAME)
				unexpected(ps);
			step = palloc0(sizeof(LiquidStep));
			step->name = ps->tok.s;
			step->len = ps->tok.len;
			next_token(ps);
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

static LiquidExpr *
parse_expr(Parser *ps)
{
	LiquidExpr *e = palloc0(sizeof(LiquidExpr));

	e->at = ps->tok.at;
	e->kind = LIQUID_EXPR_LITERAL;
	if (ps->tok.kind == T_STRING)
	{
		e->literal = pgj_liquid_string(ps->tok.s, ps->tok.len);
		next_token(ps);
	}
	else if (ps->tok.kind == T_INT || ps->tok.kind == T_DECIMAL)
	{
		e->literal = number_literal(&ps->tok);
		next_token(ps);
	}
	else if (at_char(ps, '('))
	{
		enter(ps, ps->tok.at);
		next_token(ps);
		e->kind = LIQUID_EXPR_RANGE;
		e->low = parse_expr(ps);
		if (ps->tok.kind != T_DOTDOT)
			unexpected(ps);
		next_token(ps);
		e->high = parse_expr(ps);
		expect_char(ps, ')');
		ps->depth--;
	}
	else if (parse_word_literal(ps, &e->literal))
	{
		next_token(ps);
		if (at_char(ps, '.') || at_char(ps, '['))
			unexpected(ps);
	}
	else if (ps->tok.kind == T_NAME || at_char(ps, '['))
	{
		e->kind = LIQUID_EXPR_PATH;
		e->path = parse_path(ps);
	}
	else
		unexpected(ps);
	return e;
}

static void
parse_argument(Parser *ps, LiquidCall *call)
{
	const char *save_p = ps->p;
	Token		save = ps->tok;

	if (ps->tok.kind == T_NAME)
	{
		next_token(ps);
		if (accept_char(ps, ':'))
		{
			if (!same(save.s, save.len, "allow_false") ||
				strcmp(call->filter->name, "default") != 0)
				syntax_error(ps, save.at, NULL, "filter \"%s\" has no argument \"%.*s\"",
							 call->filter->name, save.len, save.s);
			call->allow_false = parse_expr(ps);
			return;
		}
		ps->p = save_p;
		ps->tok = save;
	}
	if (call->nargs >= call->filter->max_args)
		syntax_error(ps, ps->tok.at, NULL, "filter \"%s\" takes %s",
					 call->filter->name,
					 call->filter->max_args == 0 ? "no argument" :
					 call->filter->max_args == 1 ? "only one argument" : "only two arguments");
	call->args[call->nargs++] = parse_expr(ps);
}

static LiquidCall *
parse_call(Parser *ps)
{
	LiquidCall *call = palloc0(sizeof(LiquidCall));
	Token		name = ps->tok;

	if (name.kind != T_NAME)
		unexpected(ps);
	call->at = name.at;
	call->filter = pgj_liquid_filter(name.s, name.len);
	if (call->filter == NULL)
		unknown_filter(ps, &name);
	next_token(ps);
	if (accept_char(ps, ':'))
	{
		do
		{
			parse_argument(ps, call);
		} while (accept_char(ps, ','));
	}
	if (call->nargs < call->filter->min_args)
		syntax_error(ps, call->at, NULL, "filter \"%s\" needs %s",
					 call->filter->name,
					 call->filter->min_args == 1 ? "an argument" : "two arguments");
	return call;
}

static void
parse_pipe(Parser *ps, LiquidPipe *pipe)
{
	LiquidCall **tail = &pipe->calls;

	if (ps->tok.kind == T_END)
		return;
	pipe->expr = parse_expr(ps);
	while (accept_char(ps, '|'))
	{
		*tail = parse_call(ps);
		tail = &(*tail)->next;
	}
	expect_end(ps);
}

static LiquidCondition *
parse_condition(Parser *ps)
{
	LiquidCondition *first = NULL;
	LiquidCondition **tail = &first;

	for (;;)
	{
		LiquidCondition *c = palloc0(sizeof(LiquidCondition));

		*tail = c;
		tail = &c->next;
		c->left = parse_expr(ps);
		c->at = ps->tok.at;
		if (ps->tok.kind == T_COMPARE)
			c->op = ps->tok.op;
		else if (at_word(ps, "contains"))
			c->op = LIQUID_OP_CONTAINS;
		if (c->op != LIQUID_OP_TRUTH)
		{
			next_token(ps);
			c->right = parse_expr(ps);
		}
		c->is_and = at_word(ps, "and");
		if (!c->is_and && !at_word(ps, "or"))
			break;
		next_token(ps);
	}
	expect_end(ps);
	return first;
}

/* ---- tags ---- */

static void
remove_blank_text(LiquidBody *body)
{
	LiquidNode **link = &body->first;

	while (*link)
	{
		if ((*link)->kind == LIQUID_NODE_TEXT)
			*link = (*link)->next;
		else
			link = &(*link)->next;
	}
}

static void
settle_branches(LiquidNode *node)
{
	node->blank = true;
	for (LiquidBranch *b = node->branches; b; b = b->next)
		node->blank = node->blank && b->body.blank;
	if (node->blank)
	{
		for (LiquidBranch *b = node->branches; b; b = b->next)
			remove_blank_text(&b->body);
	}
}

static void
parse_if(Parser *ps, LiquidNode *node)
{
	static const char *const if_stops[] = {"elsif", "else", "endif", NULL};
	static const char *const unless_stops[] = {"elsif", "else", "endunless", NULL};
	bool		unless = same(ps->tag, ps->tag_len, "unless");
	LiquidBranch **tail = &node->branches;
	bool		first = true;

	for (;;)
	{
		LiquidBranch *b = palloc0(sizeof(LiquidBranch));

		*tail = b;
		tail = &b->next;
		/* what follows else is ignored, as in the reference */
		if (!same(ps->tag, ps->tag_len, "else"))
			b->condition = parse_condition(ps);
		b->negate = first && unless;
		first = false;
		parse_body(ps, &b->body, unless ? unless_stops : if_stops,
				   unless ? "unless" : "if", node->at);
		if (same(ps->tag, ps->tag_len, unless ? "endunless" : "endif"))
			break;
	}
	expect_end(ps);
	settle_branches(node);
}

static void
parse_when(Parser *ps, LiquidBranch *b)
{
	int			size = 4;

	b->when = palloc(size * sizeof(LiquidExpr *));
	do
	{
		if (b->nwhen > 0)
			next_token(ps);
		if (b->nwhen == size)
			b->when = repalloc(b->when, (size *= 2) * sizeof(LiquidExpr *));
		b->when[b->nwhen++] = parse_expr(ps);
	} while (at_char(ps, ',') || at_word(ps, "or"));
	expect_end(ps);
}

static void
parse_case(Parser *ps, LiquidNode *node)
{
	static const char *const stops[] = {"when", "else", "endcase", NULL};
	LiquidBranch **tail = &node->branches;
	LiquidBody	before;

	node->pipe.expr = parse_expr(ps);
	expect_end(ps);
	parse_body(ps, &before, stops, "case", node->at);	/* never rendered */
	while (!same(ps->tag, ps->tag_len, "endcase"))
	{
		LiquidBranch *b = palloc0(sizeof(LiquidBranch));

		*tail = b;
		tail = &b->next;
		if (same(ps->tag, ps->tag_len, "when"))
			parse_when(ps, b);
		parse_body(ps, &b->body, stops, "case", node->at);
	}
	expect_end(ps);
	settle_branches(node);
}

static void
parse_for_options(Parser *ps, LiquidNode *node)
{
	while (ps->tok.kind != T_END)
	{
		if (accept_char(ps, ','))
			continue;
		if (at_word(ps, "reversed"))
		{
			node->reversed = true;
			next_token(ps);
		}
		else if (at_word(ps, "limit"))
		{
			next_token(ps);
			expect_char(ps, ':');
			node->limit = parse_expr(ps);
		}
		else if (at_word(ps, "offset"))
		{
			next_token(ps);
			expect_char(ps, ':');
			node->offset_continue = at_word(ps, "continue");
			node->offset = parse_expr(ps);
		}
		else
			syntax_error(ps, ps->tok.at, "Options are limit, offset and reversed.",
						 "syntax error in tag \"for\" at or near \"%.*s\"", ps->tok.len, ps->tok.s);
	}
}

static void
parse_for(Parser *ps, LiquidNode *node)
{
	static const char *const stops[] = {"else", "endfor", NULL};
	const char *after;

	if (ps->tok.kind != T_NAME)
		unexpected(ps);
	node->text = ps->tok.s;
	node->len = ps->tok.len;
	next_token(ps);
	if (!at_word(ps, "in"))
		syntax_error(ps, ps->tok.at, "Write {% for item in list %}.",
					 "tag \"for\" lacks the word \"in\"");
	next_token(ps);
	node->collection = ps->tok.kind == T_STRING ? ps->tok.s - 1 : ps->tok.s;
	node->pipe.expr = parse_expr(ps);
	after = ps->tok.kind == T_STRING ? ps->tok.s - 1 : ps->tok.s;
	while (after > node->collection && pgj_liquid_is_space(after[-1]))
		after--;
	node->collection_len = after - node->collection;
	parse_for_options(ps, node);

	node->otherwise.blank = true;
	parse_body(ps, &node->body, stops, "for", node->at);
	while (same(ps->tag, ps->tag_len, "else"))
		parse_body(ps, &node->otherwise, stops, "for", node->at);
	expect_end(ps);
	node->blank = node->body.blank && node->otherwise.blank;
	if (node->blank)
	{
		remove_blank_text(&node->body);
		remove_blank_text(&node->otherwise);
	}
}

static void
parse_target(Parser *ps, LiquidNode *node)
{
	if (ps->tok.kind == T_STRING || ps->tok.kind == T_INT)
		 /* allowed by the reference, if hard to read back */ ;
	else if (ps->tok.kind != T_NAME || ps->tok.s[ps->tok.len - 1] == '?')
		unexpected(ps);
	node->text = ps->tok.s;
	node->len = ps->tok.len;
	next_token(ps);
}

static void
parse_assign(Parser *ps, LiquidNode *node)
{
	parse_target(ps, node);
	expect_char(ps, '=');
	if (ps->tok.kind == T_END)
		unexpected(ps);
	parse_pipe(ps, &node->pipe);
	node->blank = true;
}

static void
parse_capture(Parser *ps, LiquidNode *node)
{
	static const char *const stops[] = {"endcapture", NULL};

	parse_target(ps, node);
	expect_end(ps);
	parse_body(ps, &node->body, stops, "capture", node->at);
	expect_end(ps);
	node->blank = true;
}

static void
parse_echo(Parser *ps, LiquidNode *node)
{
	parse_pipe(ps, &node->pipe);
}

static void
parse_jump(Parser *ps, LiquidNode *node)
{
	expect_end(ps);
}

/* ---- markups ---- */

static const char *
find(const char *from, const char *end, const char *what)
{
	for (const char *p = from; end - p >= 2; p++)
	{
		p = memchr(p, what[0], end - p - 1);
		if (p == NULL)
			return NULL;
		if (p[1] == what[1])
			return p;
	}
	return NULL;
}

/*
 * Set ps to the markup that begins at ps->pos and move past it.  Its tokens are
 * not read yet: comment and raw do not have any.
 */
static void
open_markup(Parser *ps, const char *closing)
{
	const char *p = ps->source + ps->pos + 2;
	const char *end = ps->source + ps->len;
	const char *close = find(p, end, closing);

	ps->markup_at = ps->pos;
	if (close == NULL)
		syntax_error(ps, ps->pos, NULL, "template lacks the closing \"%s\"", closing);
	ps->pos = close + 2 - ps->source;
	if (p < close && *p == '-')
		p++;
	ps->trim = close > p && close[-1] == '-';
	ps->end = ps->trim ? close - 1 : close;
	ps->tag = NULL;
	ps->tag_len = 0;
	if (closing[0] == '%')
	{
		while (p < ps->end && pgj_liquid_is_space(*p))
			p++;
		ps->tag = p;
		while (p < ps->end && (isalpha((unsigned char) *p) || *p == '_' ||
							   (p > ps->tag && isdigit((unsigned char) *p))))
			p++;
		ps->tag_len = p - ps->tag;
	}
	ps->p = p;
}

/* Skip to the closing tag of a comment; comments and raw blocks may nest. */
static void
parse_comment(Parser *ps, LiquidNode *node)
{
	int			depth = 1;
	bool		raw = false;

	while (depth > 0)
	{
		const char *open = find(ps->source + ps->pos, ps->source + ps->len, "{%");

		if (open == NULL || find(open + 2, ps->source + ps->len, "%}") == NULL)
			syntax_error(ps, node->at, NULL, "tag \"comment\" is never closed");
		ps->pos = open - ps->source;
		open_markup(ps, "%}");
		if (raw)
			raw = !same(ps->tag, ps->tag_len, "endraw");
		else if (same(ps->tag, ps->tag_len, "raw"))
			raw = true;
		else if (same(ps->tag, ps->tag_len, "comment"))
			depth++;
		else if (same(ps->tag, ps->tag_len, "endcomment"))
			depth--;
	}
	node->text = "";
	node->len = 0;
	node->blank = true;
}

/* Is there an endraw tag at open?  Looks no further than that tag. */
static bool
at_endraw(const Parser *ps, const char *open)
{
	const char *end = ps->source + ps->len;
	const char *p = open + 2;

	if (p < end && *p == '-')
		p++;
	while (p < end && pgj_liquid_is_space(*p))
		p++;
	if (end - p < 6 || memcmp(p, "endraw", 6) != 0)
		return false;
	for (p += 6; p < end && pgj_liquid_is_space(*p); p++)
		;
	if (p < end && *p == '-')
		p++;
	return end - p >= 2 && p[0] == '%' && p[1] == '}';
}

static void
parse_raw(Parser *ps, LiquidNode *node)
{
	const char *start = ps->source + ps->pos;
	const char *open = start;

	expect_end(ps);
	while ((open = find(open, ps->source + ps->len, "{%")) != NULL && !at_endraw(ps, open))
		open += 2;
	if (open == NULL)
		syntax_error(ps, node->at, NULL, "tag \"raw\" is never closed");
	ps->pos = open - ps->source;
	open_markup(ps, "%}");
	node->text = start;
	node->len = open - start;
	node->blank = node->len == 0;
}

/* Every line of an inline comment begins with "#". */
static void
check_inline_comment(Parser *ps)
{
	const char *p = ps->tag;

	while ((p = memchr(p, '\n', ps->end - p)) != NULL)
	{
		while (p < ps->end && pgj_liquid_is_space(*p))
			p++;
		if (p < ps->end && *p != '#')
			syntax_error(ps, p - ps->source, NULL, "each line of a comment must begin with \"#\"");
	}
}

/* Returns false if the tag at hand ends the body it stands in. */
static bool
parse_tag(Parser *ps, LiquidNode *node, const char *const *stops)
{
	for (int i = 0; stops && stops[i]; i++)
	{
		if (same(ps->tag, ps->tag_len, stops[i]))
		{
			next_token(ps);
			return false;
		}
	}
	for (const Tag *t = tags; t->name; t++)
	{
		if (!same(ps->tag, ps->tag_len, t->name))
			continue;
		if (t->parse == NULL)
			syntax_error(ps, ps->tag - ps->source, NULL,
						 "tag \"%s\" does not belong here", t->name);
		node->kind = t->kind;
		if (t->parse != parse_comment)
			next_token(ps);
		t->parse(ps, node);
		return true;
	}
	if (ps->tag_len == 0)
		syntax_error(ps, ps->markup_at, NULL, "template has a tag without a name");
	unknown_tag(ps);
	return false;
}

static void
parse_text(Parser *ps, LiquidNode *node)
{
	const char *start = ps->source + ps->pos;
	const char *end = ps->source + ps->len;
	const char *p;

	for (p = start; p < end; p++)
	{
		p = memchr(p, '{', end - p);
		if (p == NULL)
			p = end;
		if (p + 1 >= end || p[1] == '{' || p[1] == '%')
			break;
	}
	if (p + 1 >= end)
		p = end;
	ps->pos = p - ps->source;
	if (ps->trim)
	{
		while (start < p && pgj_liquid_is_space(*start))
			start++;
	}
	if (p + 2 < end && p[2] == '-')
	{
		while (p > start && pgj_liquid_is_space(p[-1]))
			p--;
	}
	node->kind = LIQUID_NODE_TEXT;
	node->text = start;
	node->len = p - start;
	node->blank = true;
	for (; start < p; start++)
		node->blank = node->blank && pgj_liquid_is_space(*start);
}

static void
parse_body(Parser *ps, LiquidBody *body, const char *const *stops,
		   const char *opener, int opener_at)
{
	LiquidNode **tail = &body->first;

	enter(ps, opener_at);
	body->first = NULL;
	body->blank = true;
	for (;;)
	{
		const char *p = ps->source + ps->pos;
		LiquidNode *node;

		LIQUID_CHECK_FOR_INTERRUPTS();
		if (ps->pos >= ps->len)
		{
			if (stops)
				syntax_error(ps, opener_at, NULL, "tag \"%s\" is never closed", opener);
			break;
		}
		node = palloc0(sizeof(LiquidNode));
		node->at = ps->pos;
		if (p[0] == '{' && p[1] == '{')
		{
			open_markup(ps, "}}");
			node->kind = LIQUID_NODE_OUTPUT;
			next_token(ps);
			parse_pipe(ps, &node->pipe);
		}
		else if (p[0] == '{' && p[1] == '%')
		{
			open_markup(ps, "%}");
			if (ps->tag_len == 0 && ps->tag < ps->end && *ps->tag == '#')
			{
				check_inline_comment(ps);
				continue;
			}
			if (!parse_tag(ps, node, stops))
				break;
		}
		else
			parse_text(ps, node);
		body->blank = body->blank && node->blank;
		if (node->kind == LIQUID_NODE_TEXT && node->len == 0)
			continue;
		*tail = node;
		tail = &node->next;
	}
	ps->depth--;
}

/* The tree points into source, which must live as long. */
LiquidTemplate *
pgj_liquid_parse(const char *source)
{
	LiquidTemplate *template = palloc0(sizeof(LiquidTemplate));
	Parser		ps;

	memset(&ps, 0, sizeof(ps));
	ps.source = source;
	if (strlen(source) > LIQUID_MAX_SOURCE)
		pgj_liquid_error(LIQUID_LIMIT, source, 0, NULL,
						 "template is longer than %d bytes", LIQUID_MAX_SOURCE);
	ps.len = strlen(source);
	template->source = source;
	parse_body(&ps, &template->body, NULL, NULL, 0);
	return template;
}

void
pgj_liquid_error(LiquidError error, const char *source, int at, const char *hint,
				 const char *format,...)
{
	int			line = 1;
	int			column = 1;
	char		message[512];
	va_list		args;

	for (int i = 0; i < at; i++)
	{
		if (source[i] == '\n')
		{
			line++;
			column = 1;
		}
		else if ((source[i] & 0xC0) != 0x80)
			column++;			/* in characters, if this is UTF-8 */
	}
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	/* do not leave half a character at the end of a cut message */
	if (strlen(message) == sizeof(message) - 1)
	{
		int			n = sizeof(message) - 1;

		while (n > 0 && IS_HIGHBIT_SET(message[n - 1]))
			n--;
		message[n] = '\0';
	}
	pgj_liquid_throw(error, line, column, message, hint);
}
