/*-------------------------------------------------------------------------
 *
 * script_token.c
 *	  From SQL's tokens to the grammar's: keywords, names and whole expressions.
 *
 * The grammar never sees the inside of an expression.  After a word that
 * introduces one (WHERE, KEY, VALUE, BY, IF, ELSIF, UNTIL, and "(" after WAIT
 * or WAIT FOR) everything up to its end comes as one token EXPR.
 *
 * The end of an expression is the first of these, outside parentheses,
 * brackets and CASE … END, and of course outside strings, quoted identifiers
 * and comments:
 *
 *	 - a semicolon, a label (<<name>>), or the end of the script;
 *	 - one of the words in expression_ends[], unless a dot stands before it
 *	   (c.priority is a column).
 *
 * An expression that needs such a word is written in parentheses.  A semicolon
 * or the end of the script inside parentheses is an error there.
 *
 * A word is a keyword by its place.  Where a name must follow (an event, a
 * channel, a template, a label, a topic, a segment), any word is a name, so that
 * no event has to be renamed for this language's sake; only ENTER SEGMENT and
 * LEAVE SEGMENT, where an event may stand, are no names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdarg.h>

#include "script/script.h"
#include "script/script_gram.h"

typedef struct Keyword
{
	const char *word; /* lower case; sorted */
	int token;
} Keyword;

static const Keyword keywords[] = {
	{ "after", K_AFTER },
	{ "also", K_ALSO },
	{ "always", K_ALWAYS },
	{ "at", K_AT },
	{ "best", K_BEST },
	{ "by", K_BY },
	{ "call", K_CALL },
	{ "capped", K_CAPPED },
	{ "continue", K_CONTINUE },
	{ "defer", K_DEFER },
	{ "else", K_ELSE },
	{ "elsif", K_ELSIF },
	{ "end", K_END },
	{ "enter", K_ENTER },
	{ "event", K_EVENT },
	{ "exit", K_EXIT },
	{ "expires", K_EXPIRES },
	{ "for", K_FOR },
	{ "goal", K_GOAL },
	{ "holdout", K_HOLDOUT },
	{ "if", K_IF },
	{ "key", K_KEY },
	{ "last", K_LAST },
	{ "leave", K_LEAVE },
	{ "limit", K_LIMIT },
	{ "never", K_NEVER },
	{ "of", K_OF },
	{ "on", K_ON },
	{ "once", K_ONCE },
	{ "per", K_PER },
	{ "priority", K_PRIORITY },
	{ "reentry", K_REENTRY },
	{ "segment", K_SEGMENT },
	{ "send", K_SEND },
	{ "since", K_SINCE },
	{ "skip", K_SKIP },
	{ "then", K_THEN },
	{ "time", K_TIME },
	{ "timeout", K_TIMEOUT },
	{ "topic", K_TOPIC },
	{ "until", K_UNTIL },
	{ "value", K_VALUE },
	{ "wait", K_WAIT },
	{ "when", K_WHEN },
	{ "where", K_WHERE },
	{ "within", K_WITHIN },
};

/* Words of later releases, where no name or expression is expected. */
static const char *const later_words[] = { "active", "audience", "call",
										   "repeat", "set",		 "split",
										   "start",	 "tag",		 "untag",
										   NULL };

static const char *const expression_ends[] = {
	"active", "audience", "call",	 "else",   "elsif",	  "end",
	"exit",	  "goal",	  "holdout", "if",	   "key",	  "limit",
	"on",	  "priority", "reentry", "repeat", "send",	  "set",
	"split",  "start",	  "tag",	 "then",   "timeout", "topic",
	"untag",  "value",	  "wait",	 "within", NULL
};

static char
lower(char c)
{
	return (c >= 'A' && c <= 'Z') ? c + ('a' - 'A') : c;
}

/* Is this raw token the given word (in lower case)? */
static bool
is_word(const ScriptParser *parser, const RawToken *token, const char *word)
{
	int i;
	int n = token->end - token->start;

	if (token->kind != RAW_WORD)
		return false;
	for (i = 0; i < n; i++)
	{
		if (word[i] == '\0' || lower(parser->text[token->start + i]) != word[i])
			return false;
	}
	return word[n] == '\0';
}

static bool
is_one_of(const ScriptParser *parser, const RawToken *token,
		  const char *const *words)
{
	for (; *words; words++)
	{
		if (is_word(parser, token, *words))
			return true;
	}
	return false;
}

/* The n-th token from here; the last token is RAW_END and is never passed. */
static const RawToken *
ahead(const ScriptParser *parser, int n)
{
	int i = parser->next_token + n;

	return &parser->tokens[i < parser->ntokens ? i : parser->ntokens - 1];
}

static bool
next_is(const ScriptParser *parser, int n, const char *word)
{
	return is_word(parser, ahead(parser, n), word);
}

char *
pgj_script_copy(ScriptParser *parser, int start, int end)
{
	char *copy = palloc(end - start + 1);

	memcpy(copy, parser->text + start, end - start);
	copy[end - start] = '\0';
	return copy;
}

/* The text between quotes, doubled quotes made single. */
static char *
copy_unquoted(ScriptParser *parser, const RawToken *token)
{
	char quote = parser->text[token->start];
	char *copy = palloc(token->end - token->start);
	char *to = copy;
	int i;

	for (i = token->start + 1; i < token->end - 1; i++)
	{
		if (parser->text[i] == quote)
			i++;
		*to++ = parser->text[i];
	}
	*to = '\0';
	return copy;
}

static ScriptText *
make_text(char *text, int offset)
{
	ScriptText *result = palloc(sizeof(ScriptText));

	result->text = text;
	result->offset = offset;
	result->flip = FLIP_NONE;
	result->next = NULL;
	return result;
}

static ScriptText *
make_name(ScriptParser *parser, const RawToken *token)
{
	char *text;

	if (token->kind == RAW_QUOTED)
		text = copy_unquoted(parser, token);
	else
	{
		char *c;

		text = pgj_script_copy(parser, token->start, token->end);
		for (c = text; *c; c++)
			*c = lower(*c);
	}
	return make_text(text, token->start);
}

/* Does a label such as <<here>> start at the n-th token? */
static bool
label_at(const ScriptParser *parser, int n)
{
	RawKind name = ahead(parser, n + 1)->kind;

	return ahead(parser, n)->kind == RAW_LABEL_OPEN &&
		   (name == RAW_WORD || name == RAW_QUOTED) &&
		   ahead(parser, n + 2)->kind == RAW_LABEL_CLOSE;
}

/*
 * Take the tokens of an expression; see the rule at the top of the file.
 */
static ScriptExpr *
collect_expression(ScriptParser *parser)
{
	int start = ahead(parser, 0)->start;
	int end = start;
	int depth = 0;
	int cases = 0;
	int opened = 0;
	bool after_dot = false;
	ScriptExpr *expr;

	for (;; parser->next_token++)
	{
		const RawToken *token = ahead(parser, 0);

		if (token->kind == RAW_END || token->kind == RAW_SEMICOLON)
			break;
		if (token->kind == RAW_OPEN)
		{
			if (depth++ == 0)
				opened = token->start;
		}
		else if (token->kind == RAW_CLOSE)
		{
			if (depth-- == 0)
			{
				depth = 0;
				pgj_script_error(parser, SCRIPT_SYNTAX, token->start, 0,
								 "unmatched \"%c\"",
								 parser->text[token->start]);
			}
		}
		else if (depth == 0)
		{
			if (label_at(parser, 0))
				break;
			if (token->kind == RAW_WORD && !after_dot)
			{
				if (is_word(parser, token, "case"))
					cases++;
				else if (cases > 0)
				{
					if (is_word(parser, token, "end"))
						cases--;
				}
				else if (is_one_of(parser, token, expression_ends))
					break;
			}
		}
		after_dot = (token->kind == RAW_DOT);
		end = token->end;
	}

	if (depth > 0)
	{
		pgj_script_error(parser, SCRIPT_SYNTAX, opened, 0, "unmatched \"%c\"",
						 parser->text[opened]);
		parser->in_error = true; /* it took all the text there was */
	}

	expr = palloc(sizeof(ScriptExpr));
	expr->source = pgj_script_copy(parser, start, end);
	expr->offset = start;
	expr->expression_no = 0;
	parser->current_end = end;
	return expr;
}

/* Must an expression stand here, given what was read before? */
static bool
expects_expression(const ScriptParser *parser)
{
	int before = parser->before_previous;

	switch (parser->previous)
	{
		case K_WHERE:
		case K_VALUE:
		case K_BY:
		case K_ELSIF:
			return true;
		case K_KEY:
			return before != K_PER; /* ONCE PER KEY */
		case K_IF:
			return before != K_END;
		case K_UNTIL:
			return before == K_WAIT;
		case K_WAIT:
			return before != K_END && ahead(parser, 0)->kind == RAW_OPEN;
		case K_FOR:
			return before == K_WAIT && ahead(parser, 0)->kind == RAW_OPEN;
		default:
			return false;
	}
}

/* Must a name stand here?  Then every word is one. */
static bool
expects_name(const ScriptParser *parser)
{
	int before = parser->before_previous;

	switch (parser->previous)
	{
		case K_EVENT:
		case K_EXIT_ON:
		case K_GOAL:
		case K_LAST:
		case K_OF:
		case K_TOPIC:
		case K_SEND:
		case K_SEGMENT:
		case LABEL_OPEN:
		case '(':
		case ')':
		case ',':
			return true;
		case K_ON:
			return before == TIME_OF_DAY;
		case K_FOR:
			return before == K_WAIT;
		case NAME:
			return before == K_SEND;
		default:
			return false;
	}
}

/*
 * May an event stand here, and does ENTER SEGMENT or LEAVE SEGMENT?  Either word
 * alone is an event's name.
 */
static bool
segment_event(const ScriptParser *parser)
{
	switch (parser->previous)
	{
		case K_EXIT_ON:
		case K_GOAL:
		case K_LAST:
			break;
		case K_FOR:
			if (parser->before_previous == K_WAIT)
				break;
			return false;
		default:
			return false;
	}
	return (next_is(parser, 0, "enter") || next_is(parser, 0, "leave")) &&
		   next_is(parser, 1, "segment");
}

/*
 * Constructs of later releases that start at the current token, as they are
 * shown to the user; NULL if none does.
 */
static const char *
later_construct(const ScriptParser *parser)
{
	const RawToken *token = ahead(parser, 0);

	if (parser->previous == K_ON && parser->before_previous != TIME_OF_DAY)
	{
		if (is_word(parser, token, "date"))
			return "ON DATE";
		if (is_word(parser, token, "schedule"))
			return "ON SCHEDULE";
		return NULL;
	}
	if (expects_name(parser))
		return NULL;
	if (is_word(parser, token, "exit") && next_is(parser, 1, "when") &&
		parser->previous != K_CAPPED)
		return "EXIT WHEN";
	if (is_word(parser, token, "start") && next_is(parser, 1, "journey"))
		return "START JOURNEY";
	if (is_one_of(parser, token, later_words))
		return "";
	return NULL;
}

/*
 * WAIT UNTIL '09:00': a literal that starts as a time of day does.  What is not
 * quite one ('9:00pm') is an error here, and not an instant.
 */
static bool
is_time_of_day(const ScriptParser *parser, const RawToken *token)
{
	int i = token->start + 1;
	int digits = 0;

	if (token->kind != RAW_STRING)
		return false;
	for (; parser->text[i] >= '0' && parser->text[i] <= '9'; i++)
		digits++;
	return digits >= 1 && digits <= 2 && parser->text[i] == ':';
}

/* Do FIRST OF or BEST OF stand where a channel may? */
static bool
one_of(const ScriptParser *parser)
{
	return parser->previous == K_SEND && next_is(parser, 1, "of") &&
		   (next_is(parser, 0, "first") || next_is(parser, 0, "best"));
}

static int
keyword_token(const ScriptParser *parser, const RawToken *token)
{
	int i;

	/* EXIT ON is one token: EXIT alone is a step */
	if (is_word(parser, token, "exit") && next_is(parser, 1, "on"))
		return K_EXIT_ON;
	if (one_of(parser))
		return is_word(parser, token, "first") ? K_FIRST_OF : K_BEST_OF;
	for (i = 0; i < lengthof(keywords); i++)
	{
		if (is_word(parser, token, keywords[i].word))
			return keywords[i].token;
	}
	return NAME;
}

/* A character that is a token of the grammar. */
static int
single(const ScriptParser *parser, const RawToken *token)
{
	char c = parser->text[token->start];

	if (token->end - token->start == 1 && (c == '(' || c == ')' || c == ','))
		return c;
	return OTHER;
}

static int
next_token(ScriptParser *parser, PGJ_SCRIPT_YYSTYPE *value)
{
	const RawToken *token = ahead(parser, 0);
	const char *later;
	int result;

	parser->current_start = token->start;
	parser->current_end = token->end;

	if (expects_expression(parser))
	{
		const RawToken *first = token;
		int at = parser->next_token;
		bool until = (parser->previous == K_UNTIL);

		value->expr = collect_expression(parser);
		if (value->expr->source[0] == '\0')
			pgj_script_error(parser, SCRIPT_SYNTAX, value->expr->offset, 0,
							 "an expression is missing");
		else if (until && parser->next_token == at + 1 &&
				 is_time_of_day(parser, first))
		{
			value->text = make_text(copy_unquoted(parser, first), first->start);
			return TIME_OF_DAY;
		}
		return EXPR;
	}

	later = later_construct(parser);
	if (later && !(parser->previous == K_ON && is_word(parser, token, "call")))
	{
		parser->later = later[0] ? later : NULL;
		parser->next_token++;
		return LATER;
	}

	switch (token->kind)
	{
		case RAW_WORD:
			result = expects_name(parser) && !segment_event(parser) &&
							 !one_of(parser)
						 ? NAME
						 : keyword_token(parser, token);
			if (result == NAME)
				value->text = make_name(parser, token);
			else if (result == K_EXIT_ON || result == K_FIRST_OF ||
					 result == K_BEST_OF)
			{
				parser->next_token++;
				parser->current_end = ahead(parser, 0)->end;
			}
			break;
		case RAW_QUOTED:
			value->text = make_name(parser, token);
			result = NAME;
			break;
		case RAW_STRING:
			value->text = make_text(copy_unquoted(parser, token), token->start);
			result = STRING;
			break;
		case RAW_NUMBER:
			value->text =
				make_text(pgj_script_copy(parser, token->start, token->end),
						  token->start);
			result = NUMBER;
			break;
		case RAW_LABEL_OPEN:
			result = LABEL_OPEN;
			break;
		case RAW_LABEL_CLOSE:
			result = LABEL_CLOSE;
			break;
		case RAW_SEMICOLON:
			result = ';';
			break;
		case RAW_PERCENT:
			result = '%';
			break;
		case RAW_OPEN:
		case RAW_CLOSE:
		case RAW_OTHER:
			result = single(parser, token);
			break;
		case RAW_END:
			return 0;
		default:
			result = OTHER;
			break;
	}
	parser->next_token++;
	return result;
}

int
pgj_script_yylex(PGJ_SCRIPT_YYSTYPE *value, PGJ_SCRIPT_YYLTYPE *location,
				 ScriptParser *parser)
{
	int token;

	if (parser->previous == ';')
		parser->in_error = false;
	token = next_token(parser, value);
	if (token == K_SEND || token == ';')
		parser->in_send = false;
	else if (parser->previous == K_SEND)
		parser->in_send = true;

	*location = parser->current_start;
	parser->before_previous = parser->previous;
	parser->previous = token;
	return token;
}

/*
 * Record an error.  With "end" the offending text is kept for a hint.
 */
void
pgj_script_error(ScriptParser *parser, ScriptErrorKind kind, int offset,
				 int end, const char *format, ...)
{
	ScriptError *error;
	char buffer[512];
	va_list args;

	if (parser->nerrors >= SCRIPT_MAX_ERRORS)
		return;
	parser->nerrors++;

	va_start(args, format);
	vsnprintf(buffer, sizeof(buffer), format, args);
	va_end(args);

	error = palloc(sizeof(ScriptError));
	error->kind = kind;
	error->offset = offset;
	error->message = pstrdup(buffer);
	error->word = end > offset ? pgj_script_copy(parser, offset, end) : NULL;
	error->next = NULL;
	if (parser->last_error)
		parser->last_error->next = error;
	else
		parser->errors = error;
	parser->last_error = error;
}

const char *const *
pgj_script_keywords(void)
{
	static const char *words[lengthof(keywords) + 1];
	int i;

	for (i = 0; i < lengthof(keywords); i++)
		words[i] = keywords[i].word;
	return words;
}

ScriptParser *
pgj_script_parse(const char *text, int length)
{
	ScriptParser *parser = palloc(sizeof(ScriptParser));

	memset(parser, 0, sizeof(ScriptParser));
	parser->text = text;
	parser->length = length;
	parser->script = palloc(sizeof(Script));
	memset(parser->script, 0, sizeof(Script));

	if (length > SCRIPT_MAX_LENGTH)
	{
		pgj_script_error(parser, SCRIPT_LIMIT, 0, 0,
						 "the script is longer than %d bytes",
						 SCRIPT_MAX_LENGTH);
		return parser;
	}
	pgj_script_scan(parser);
	if (parser->nerrors == 0)
		pgj_script_yyparse(parser);
	return parser;
}
