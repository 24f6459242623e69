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

#include "outbox/liquid_parse.h"

typedef void (*TagFn)(Parser *ps, LiquidNode *node);

typedef struct Tag
{
	const char *name;
	TagFn parse; /* NULL: belongs to a block */
	LiquidNodeKind kind;
} Tag;

static void parse_body(Parser *ps, LiquidBody *body, const char *const *stops,
					   const char *opener, int opener_at);
static void parse_if(Parser *ps, LiquidNode *node);
static void parse_case(Parser *ps, LiquidNode *node);
static void parse_for(Parser *ps, LiquidNode *node);
static void parse_assign(Parser *ps, LiquidNode *node);
static void parse_capture(Parser *ps, LiquidNode *node);
static void parse_echo(Parser *ps, LiquidNode *node);
static void parse_jump(Parser *ps, LiquidNode *node);
static void parse_comment(Parser *ps, LiquidNode *node);
static void parse_raw(Parser *ps, LiquidNode *node);

static const Tag tags[] = { { "if", parse_if, LIQUID_NODE_IF },
							{ "unless", parse_if, LIQUID_NODE_IF },
							{ "case", parse_case, LIQUID_NODE_CASE },
							{ "for", parse_for, LIQUID_NODE_FOR },
							{ "assign", parse_assign, LIQUID_NODE_ASSIGN },
							{ "capture", parse_capture, LIQUID_NODE_CAPTURE },
							{ "echo", parse_echo, LIQUID_NODE_OUTPUT },
							{ "break", parse_jump, LIQUID_NODE_BREAK },
							{ "continue", parse_jump, LIQUID_NODE_CONTINUE },
							{ "comment", parse_comment, LIQUID_NODE_TEXT },
							{ "raw", parse_raw, LIQUID_NODE_TEXT },
							{ "elsif", NULL },
							{ "else", NULL },
							{ "when", NULL },
							{ "endif", NULL },
							{ "endunless", NULL },
							{ "endcase", NULL },
							{ "endfor", NULL },
							{ "endcapture", NULL },
							{ "endcomment", NULL },
							{ "endraw", NULL },
							{ NULL } };

pg_noreturn static void unknown_tag(Parser *ps);

static void
unknown_tag(Parser *ps)
{
	const char *best = NULL;
	int score = 100;
	const char *hint;

	for (const Tag *t = tags; t->name; t++)
		pgj_liquid_consider(ps->tag, ps->tag_len, t->name, &best, &score);
	hint = pgj_liquid_nearest_hint("tag", ps->tag_len, best, score);
	syntax_error(
		ps, ps->tag - ps->source,
		hint
			? hint
			: "Tags are if, unless, case, for, assign, capture, echo, comment and raw.",
		"template has no tag \"%.*s\"", ps->tag_len, ps->tag);
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
	static const char *const if_stops[] = { "elsif", "else", "endif", NULL };
	static const char *const unless_stops[] = { "elsif", "else", "endunless",
												NULL };
	bool unless = pgj_liquid_same(ps->tag, ps->tag_len, "unless");
	LiquidBranch **tail = &node->branches;
	bool first = true;

	for (;;)
	{
		LiquidBranch *b = palloc0(sizeof(LiquidBranch));

		*tail = b;
		tail = &b->next;
		/* what follows else is ignored, as in the reference */
		if (!pgj_liquid_same(ps->tag, ps->tag_len, "else"))
			b->condition = pgj_liquid_parse_condition(ps);
		b->negate = first && unless;
		first = false;
		parse_body(ps, &b->body, unless ? unless_stops : if_stops,
				   unless ? "unless" : "if", node->at);
		if (pgj_liquid_same(ps->tag, ps->tag_len,
							unless ? "endunless" : "endif"))
			break;
	}
	pgj_liquid_expect_end(ps);
	settle_branches(node);
}

static void
parse_when(Parser *ps, LiquidBranch *b)
{
	int size = 4;

	b->when = palloc(size * sizeof(LiquidExpr *));
	do
	{
		if (b->nwhen > 0)
			pgj_liquid_next_token(ps);
		if (b->nwhen == size)
			b->when = repalloc(b->when, (size *= 2) * sizeof(LiquidExpr *));
		b->when[b->nwhen++] = pgj_liquid_parse_expr(ps);
	} while (pgj_liquid_at_char(ps, ',') || pgj_liquid_at_word(ps, "or"));
	pgj_liquid_expect_end(ps);
}

static void
parse_case(Parser *ps, LiquidNode *node)
{
	static const char *const stops[] = { "when", "else", "endcase", NULL };
	LiquidBranch **tail = &node->branches;
	LiquidBody before;

	node->pipe.expr = pgj_liquid_parse_expr(ps);
	pgj_liquid_expect_end(ps);
	parse_body(ps, &before, stops, "case", node->at); /* never rendered */
	while (!pgj_liquid_same(ps->tag, ps->tag_len, "endcase"))
	{
		LiquidBranch *b = palloc0(sizeof(LiquidBranch));

		*tail = b;
		tail = &b->next;
		if (pgj_liquid_same(ps->tag, ps->tag_len, "when"))
			parse_when(ps, b);
		parse_body(ps, &b->body, stops, "case", node->at);
	}
	pgj_liquid_expect_end(ps);
	settle_branches(node);
}

static void
parse_for_options(Parser *ps, LiquidNode *node)
{
	while (ps->tok.kind != T_END)
	{
		if (pgj_liquid_accept_char(ps, ','))
			continue;
		if (pgj_liquid_at_word(ps, "reversed"))
		{
			node->reversed = true;
			pgj_liquid_next_token(ps);
		}
		else if (pgj_liquid_at_word(ps, "limit"))
		{
			pgj_liquid_next_token(ps);
			pgj_liquid_expect_char(ps, ':');
			node->limit = pgj_liquid_parse_expr(ps);
		}
		else if (pgj_liquid_at_word(ps, "offset"))
		{
			pgj_liquid_next_token(ps);
			pgj_liquid_expect_char(ps, ':');
			node->offset_continue = pgj_liquid_at_word(ps, "continue");
			node->offset = pgj_liquid_parse_expr(ps);
		}
		else
			syntax_error(ps, ps->tok.at,
						 "Options are limit, offset and reversed.",
						 "syntax error in tag \"for\" at or near \"%.*s\"",
						 ps->tok.len, ps->tok.s);
	}
}

static void
parse_for(Parser *ps, LiquidNode *node)
{
	static const char *const stops[] = { "else", "endfor", NULL };
	const char *after;

	if (ps->tok.kind != T_NAME)
		pgj_liquid_unexpected(ps);
	node->text = ps->tok.s;
	node->len = ps->tok.len;
	pgj_liquid_next_token(ps);
	if (!pgj_liquid_at_word(ps, "in"))
		syntax_error(ps, ps->tok.at, "Write {% for item in list %}.",
					 "tag \"for\" lacks the word \"in\"");
	pgj_liquid_next_token(ps);
	node->collection = ps->tok.kind == T_STRING ? ps->tok.s - 1 : ps->tok.s;
	node->pipe.expr = pgj_liquid_parse_expr(ps);
	after = ps->tok.kind == T_STRING ? ps->tok.s - 1 : ps->tok.s;
	while (after > node->collection && pgj_liquid_is_space(after[-1]))
		after--;
	node->collection_len = after - node->collection;
	parse_for_options(ps, node);

	node->otherwise.blank = true;
	parse_body(ps, &node->body, stops, "for", node->at);
	while (pgj_liquid_same(ps->tag, ps->tag_len, "else"))
		parse_body(ps, &node->otherwise, stops, "for", node->at);
	pgj_liquid_expect_end(ps);
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
		/* allowed by the reference, if hard to read back */;
	else if (ps->tok.kind != T_NAME || ps->tok.s[ps->tok.len - 1] == '?')
		pgj_liquid_unexpected(ps);
	node->text = ps->tok.s;
	node->len = ps->tok.len;
	pgj_liquid_next_token(ps);
}

static void
parse_assign(Parser *ps, LiquidNode *node)
{
	parse_target(ps, node);
	pgj_liquid_expect_char(ps, '=');
	if (ps->tok.kind == T_END)
		pgj_liquid_unexpected(ps);
	pgj_liquid_parse_pipe(ps, &node->pipe);
	node->blank = true;
}

static void
parse_capture(Parser *ps, LiquidNode *node)
{
	static const char *const stops[] = { "endcapture", NULL };

	parse_target(ps, node);
	pgj_liquid_expect_end(ps);
	parse_body(ps, &node->body, stops, "capture", node->at);
	pgj_liquid_expect_end(ps);
	node->blank = true;
}

static void
parse_echo(Parser *ps, LiquidNode *node)
{
	pgj_liquid_parse_pipe(ps, &node->pipe);
}

static void
parse_jump(Parser *ps, LiquidNode *node)
{
	pgj_liquid_expect_end(ps);
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
		syntax_error(ps, ps->pos, NULL, "template lacks the closing \"%s\"",
					 closing);
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
	int depth = 1;
	bool raw = false;

	while (depth > 0)
	{
		const char *open =
			find(ps->source + ps->pos, ps->source + ps->len, "{%");

		if (open == NULL || find(open + 2, ps->source + ps->len, "%}") == NULL)
			syntax_error(ps, node->at, NULL, "tag \"comment\" is never closed");
		ps->pos = open - ps->source;
		open_markup(ps, "%}");
		if (raw)
			raw = !pgj_liquid_same(ps->tag, ps->tag_len, "endraw");
		else if (pgj_liquid_same(ps->tag, ps->tag_len, "raw"))
			raw = true;
		else if (pgj_liquid_same(ps->tag, ps->tag_len, "comment"))
			depth++;
		else if (pgj_liquid_same(ps->tag, ps->tag_len, "endcomment"))
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

	pgj_liquid_expect_end(ps);
	while ((open = find(open, ps->source + ps->len, "{%")) != NULL &&
		   !at_endraw(ps, open))
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
			syntax_error(ps, p - ps->source, NULL,
						 "each line of a comment must begin with \"#\"");
	}
}

/* Returns false if the tag at hand ends the body it stands in. */
static bool
parse_tag(Parser *ps, LiquidNode *node, const char *const *stops)
{
	for (int i = 0; stops && stops[i]; i++)
	{
		if (pgj_liquid_same(ps->tag, ps->tag_len, stops[i]))
		{
			pgj_liquid_next_token(ps);
			return false;
		}
	}
	for (const Tag *t = tags; t->name; t++)
	{
		if (!pgj_liquid_same(ps->tag, ps->tag_len, t->name))
			continue;
		if (t->parse == NULL)
			syntax_error(ps, ps->tag - ps->source, NULL,
						 "tag \"%s\" does not belong here", t->name);
		node->kind = t->kind;
		if (t->parse != parse_comment)
			pgj_liquid_next_token(ps);
		t->parse(ps, node);
		return true;
	}
	if (ps->tag_len == 0)
		syntax_error(ps, ps->markup_at, NULL,
					 "template has a tag without a name");
	unknown_tag(ps);
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

	pgj_liquid_enter(ps, opener_at);
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
				syntax_error(ps, opener_at, NULL, "tag \"%s\" is never closed",
							 opener);
			break;
		}
		node = palloc0(sizeof(LiquidNode));
		node->at = ps->pos;
		if (p[0] == '{' && p[1] == '{')
		{
			open_markup(ps, "}}");
			node->kind = LIQUID_NODE_OUTPUT;
			pgj_liquid_next_token(ps);
			pgj_liquid_parse_pipe(ps, &node->pipe);
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
	Parser ps;

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
