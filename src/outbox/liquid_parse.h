/*-------------------------------------------------------------------------
 *
 * liquid_parse.h
 *	  Shared by the two halves of the parser: liquid_expr.c reads the inside of
 *	  a markup, liquid_parse.c the template around it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_LIQUID_PARSE_H
#define PGJ_LIQUID_PARSE_H

#include "outbox/liquid.h"

typedef enum TokenKind
{
	T_END,
	T_NAME,
	T_INT,
	T_DECIMAL,
	T_STRING,
	T_DOTDOT,
	T_COMPARE,
	T_CHAR
} TokenKind;

typedef struct Token
{
	TokenKind kind;
	int at;
	const char *s;
	int len;
	LiquidOp op;
} Token;

typedef struct Parser
{
	const char *source;
	int len;
	int pos;   /* next byte of the template */
	bool trim; /* the last markup ended with "-" */
	int depth;
	/* the markup at hand */
	int markup_at;	 /* offset of its braces */
	const char *tag; /* name of the tag, NULL: an output */
	int tag_len;
	const char *p; /* rest of the markup */
	const char *end;
	Token tok; /* current token of it */
} Parser;

#define syntax_error(ps, at, hint, ...) \
	pgj_liquid_error(LIQUID_SYNTAX, (ps)->source, (at), (hint), __VA_ARGS__)

extern bool pgj_liquid_same(const char *s, int len, const char *word);

/* Hints: the candidate nearest to a misspelt name. */
extern void pgj_liquid_consider(const char *name, int len,
								const char *candidate, const char **best,
								int *score);
extern const char *pgj_liquid_nearest_hint(const char *what, int len,
										   const char *best, int score);

/* Tokens: ps->tok is the current one. */
extern void pgj_liquid_next_token(Parser *ps);
pg_noreturn extern void pgj_liquid_unexpected(Parser *ps);
extern bool pgj_liquid_at_char(Parser *ps, char c);
extern bool pgj_liquid_accept_char(Parser *ps, char c);
extern void pgj_liquid_expect_char(Parser *ps, char c);
extern bool pgj_liquid_at_word(Parser *ps, const char *word);
extern void pgj_liquid_expect_end(Parser *ps);

/* One level deeper; the caller takes ps->depth back. */
extern void pgj_liquid_enter(Parser *ps, int at);

/* Expressions; the latter two read to the end of the markup. */
extern LiquidExpr *pgj_liquid_parse_expr(Parser *ps);
extern void pgj_liquid_parse_pipe(Parser *ps, LiquidPipe *pipe);
extern LiquidCondition *pgj_liquid_parse_condition(Parser *ps);

#endif /* PGJ_LIQUID_PARSE_H */
