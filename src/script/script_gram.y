%{
/*-------------------------------------------------------------------------
 *
 * script_gram.y
 *	  The grammar of a journey's script.
 *
 * Expressions arrive as single tokens, and EXIT ON as one word (see
 * script_token.c); that is what keeps this LALR(1) without conflicts.  After a
 * syntax error reading goes on behind the next semicolon, to find further
 * ones.  Everything that needs names or types is left to script_check.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "script/script.h"
#include "script/script_gram.h"

#define YYMALLOC palloc
#define YYFREE	 pfree

#define YYLLOC_DEFAULT(Current, Rhs, N) \
	do { \
		if (N) \
			(Current) = YYRHSLOC(Rhs, 1); \
		else \
			(Current) = YYRHSLOC(Rhs, 0); \
	} while (0)

static void yyerror(PGJ_SCRIPT_YYLTYPE *location, ScriptParser *parser,
					const char *message);
static ScriptStepList append_step(ScriptStepList list, ScriptStep *step);
static bool once(ScriptParser *parser, bool given, int offset, const char *clause);
static ScriptStep *make_step(ScriptParser *parser, ScriptStepKind kind, int offset);
static ScriptArm *make_arm(ScriptParser *parser, int offset, ScriptExpr *condition,
						   ScriptStep *steps);
static void nest(ScriptParser *parser, ScriptStep *step);
static void add_entry(Script *script, ScriptText *event, ScriptExpr *condition);
static ScriptText *flip(ScriptText *segment, ScriptFlip flip);
%}

%code requires {
#include "script/script.h"

typedef struct ScriptStepList
{
	ScriptStep *first;
	ScriptStep *last;
} ScriptStepList;

typedef struct ScriptCapped
{
	ScriptCappedAction action;
	ScriptText *within;
} ScriptCapped;

typedef struct ScriptArmList
{
	ScriptArm  *first;
	ScriptArm  *last;
} ScriptArmList;
}

%code provides {
extern int	pgj_script_yylex(PGJ_SCRIPT_YYSTYPE *value, PGJ_SCRIPT_YYLTYPE *location,
							 ScriptParser *parser);
}

%define api.pure full
%define api.prefix {pgj_script_yy}
%define api.location.type {int}
%define parse.error verbose
%locations
%expect 0
%parse-param {ScriptParser *parser}
%lex-param {ScriptParser *parser}

%union
{
	ScriptText *text;
	ScriptExpr *expr;
	ScriptStep *step;
	ScriptStepList steps;
	ScriptArmList arms;
	ScriptCapped capped;
	int			number;
}

%token <text> NAME "a name" STRING "a quoted string" NUMBER "a number"
	TIME_OF_DAY "a time of day"
%token <expr> EXPR "an expression"
%token LATER "a word of a later release"
%token OTHER "something else" LABEL_OPEN "<<" LABEL_CLOSE ">>"
%token K_AFTER "AFTER" K_ALSO "ALSO" K_ALWAYS "ALWAYS" K_AT "AT" K_BEST "BEST"
	K_BEST_OF "BEST OF" K_BY "BY" K_CALL "CALL" K_CAPPED "CAPPED"
	K_CONTINUE "CONTINUE" K_DEFER "DEFER" K_ELSE "ELSE" K_ELSIF "ELSIF" K_END "END"
	K_ENTER "ENTER" K_EVENT "EVENT" K_EXIT "EXIT" K_EXIT_ON "EXIT ON" K_EXPIRES "EXPIRES"
	K_FIRST_OF "FIRST OF" K_FOR "FOR" K_GOAL "GOAL" K_HOLDOUT "HOLDOUT" K_IF "IF" K_KEY "KEY"
	K_LAST "LAST" K_LEAVE "LEAVE" K_LIMIT "LIMIT" K_NEVER "NEVER" K_OF "OF" K_ON "ON" K_ONCE "ONCE"
	K_PER "PER" K_PRIORITY "PRIORITY" K_REENTRY "REENTRY"
	K_SEGMENT "SEGMENT" K_SEND "SEND"
	K_SINCE "SINCE" K_SKIP "SKIP" K_THEN "THEN" K_TIME "TIME" K_TIMEOUT "TIMEOUT"
	K_TOPIC "TOPIC" K_UNTIL "UNTIL" K_VALUE "VALUE" K_WAIT "WAIT"
	K_WHEN "WHEN" K_WHERE "WHERE" K_WITHIN "WITHIN"

%type <text> event segment_event since of label names days
%type <expr> where value by
%type <number> past one_of
%type <step> step body awaited send_options
%type <steps> items steps then_steps else_steps
%type <arms> arms
%type <capped> capped

%%

/*
 * Clauses stand before steps; the rule is written more loosely because a state
 * in which "error" can be shifted is needed from the start.
 */
script:
			items
				{
					(void) yynerrs; /* some compilers warn of it */
					parser->script->steps = $1.first;
				}
		;

items:
			%empty
				{ $$.first = $$.last = NULL; }
		|	items clause
				{
					$$ = $1;
					if (parser->first_step_seen)
						pgj_script_error(parser, SCRIPT_SYNTAX, @2, 0,
										 "a clause must stand before the first step");
				}
		|	items step
				{
					$$ = append_step($1, $2);
					parser->first_step_seen = true;
				}
		;

clause:
			K_ON K_EVENT NAME where
				{ add_entry(parser->script, $3, $4); }
		|	K_ON segment_event where
				{ add_entry(parser->script, $2, $3); }
		|	K_ON K_CALL
				{ add_entry(parser->script, NULL, NULL); }
		|	K_KEY EXPR
				{
					if (once(parser, parser->script->key != NULL, @1, "KEY"))
						parser->script->key = $2;
				}
		|	K_REENTRY reentry
		|	K_LIMIT NUMBER K_PER STRING
				{
					if (once(parser, parser->script->limit != NULL, @1, "LIMIT"))
					{
						parser->script->limit = $2;
						parser->script->limit_per = $4;
					}
				}
		|	K_EXIT_ON event where
				{
					ScriptExit *rule = palloc(sizeof(ScriptExit));
					ScriptExit **last = &parser->script->exits;

					rule->event = $2;
					rule->condition = $3;
					rule->next = NULL;
					while (*last)
						last = &(*last)->next;
					*last = rule;
				}
		|	K_GOAL event where K_WITHIN STRING value
				{
					if (once(parser, parser->script->goal_event != NULL, @1, "GOAL"))
					{
						parser->script->goal_event = $2;
						parser->script->goal_condition = $3;
						parser->script->goal_within = $5;
						parser->script->goal_value = $6;
					}
				}
		|	K_HOLDOUT NUMBER '%' by
				{
					if (once(parser, parser->script->holdout != NULL, @1, "HOLDOUT"))
					{
						parser->script->holdout = $2;
						parser->script->holdout_by = $4;
					}
				}
		|	K_TOPIC NAME
				{
					if (once(parser, parser->script->topic != NULL, @1, "TOPIC"))
						parser->script->topic = $2;
				}
		|	K_PRIORITY NUMBER
				{
					if (once(parser, parser->script->priority != NULL, @1, "PRIORITY"))
						parser->script->priority = $2;
				}
		;

event:
			NAME
		|	segment_event
		;

segment_event:
			K_ENTER K_SEGMENT NAME		{ $$ = flip($3, FLIP_ENTER); }
		|	K_LEAVE K_SEGMENT NAME		{ $$ = flip($3, FLIP_LEAVE); }
		;

reentry:
			K_NEVER
				{
					if (once(parser, parser->script->has_reentry, @1, "REENTRY"))
						parser->script->reentry = REENTRY_NEVER;
					parser->script->has_reentry = true;
				}
		|	K_ALWAYS
				{
					if (once(parser, parser->script->has_reentry, @1, "REENTRY"))
						parser->script->reentry = REENTRY_ALWAYS;
					parser->script->has_reentry = true;
				}
		|	K_AFTER STRING
				{
					if (once(parser, parser->script->has_reentry, @1, "REENTRY"))
					{
						parser->script->reentry = REENTRY_AFTER;
						parser->script->reentry_after = $2;
					}
					parser->script->has_reentry = true;
				}
		|	K_ONCE K_PER K_KEY
				{
					if (once(parser, parser->script->has_reentry, @1, "REENTRY"))
						parser->script->reentry = REENTRY_ONCE_PER_KEY;
					parser->script->has_reentry = true;
				}
		;

where:
			%empty						{ $$ = NULL; }
		|	K_WHERE EXPR				{ $$ = $2; }
		;

value:
			%empty						{ $$ = NULL; }
		|	K_VALUE EXPR				{ $$ = $2; }
		;

by:
			%empty						{ $$ = NULL; }
		|	K_BY EXPR					{ $$ = $2; }
		;

steps:
			%empty
				{ $$.first = $$.last = NULL; }
		|	steps step
				{ $$ = append_step($1, $2); }
		;

step:
			label body
				{
					$$ = $2;
					$$->label = $1;
				}
		|	error ';'
				{
					yyerrok;
					$$ = NULL;
				}
		;

label:
			%empty						{ $$ = NULL; }
		|	LABEL_OPEN NAME LABEL_CLOSE	{ $$ = $2; }
		;

body:
			K_WAIT STRING since ';'
				{
					$$ = make_step(parser, STEP_WAIT, @1);
					$$->duration = $2;
					$$->since = $3;
				}
		|	K_WAIT EXPR ';'
				{
					$$ = make_step(parser, STEP_WAIT_INTERVAL, @1);
					$$->condition = $2;
				}
		|	K_WAIT K_UNTIL EXPR past ';'
				{
					$$ = make_step(parser, STEP_WAIT_UNTIL, @1);
					$$->condition = $3;
					$$->past = $4;
				}
		|	K_WAIT K_UNTIL TIME_OF_DAY days ';'
				{
					$$ = make_step(parser, STEP_WAIT_UNTIL, @1);
					$$->time = $3;
					$$->days = $4;
				}
		|	K_WAIT K_FOR awaited where K_TIMEOUT STRING then_steps else_steps K_END K_WAIT ';'
				{
					$$ = $3;
					$$->offset = @1;
					$$->condition = $4;
					$$->duration = $6;
					$$->then_steps = $7.first;
					$$->else_steps = $8.first;
					nest(parser, $$);
				}
		|	K_WAIT K_FOR EXPR K_TIMEOUT STRING then_steps else_steps K_END K_WAIT ';'
				{
					$$ = make_step(parser, STEP_WAIT_FOR, @1);
					$$->condition = $3;
					$$->duration = $5;
					$$->then_steps = $6.first;
					$$->else_steps = $7.first;
					nest(parser, $$);
				}
		|	K_SEND NAME NAME send_options ';'
				{
					$$ = $4;
					$$->offset = @1;
					$$->channel = $2;
					$$->template = $3;
				}
		|	K_SEND one_of '(' names ')' NAME send_options ';'
				{
					$$ = $7;
					$$->offset = @1;
					$$->best = $2;
					$$->channels = $4;
					$$->template = $6;
				}
		|	K_IF EXPR K_THEN steps arms else_steps K_END K_IF ';'
				{
					$$ = make_step(parser, STEP_IF, @1);
					parser->script->nsteps--;	/* its arms count */
					$$->arms = make_arm(parser, @1, $2, $4.first);
					$$->arms->next = $5.first;
					$$->else_steps = $6.first;
					nest(parser, $$);
				}
		|	K_EXIT ';'
				{ $$ = make_step(parser, STEP_EXIT, @1); }
		;

awaited:
			NAME of
				{
					$$ = make_step(parser, STEP_WAIT_FOR, 0);
					$$->event = $1;
					$$->of = $2;
				}
		|	segment_event
				{
					$$ = make_step(parser, STEP_WAIT_FOR, 0);
					$$->event = $1;
				}
		;

since:
			%empty						{ $$ = NULL; }
		|	K_SINCE K_LAST event		{ $$ = $3; }
		;

past:
			%empty						{ $$ = PAST_CONTINUE; }
		|	K_ELSE K_CONTINUE			{ $$ = PAST_CONTINUE; }
		|	K_ELSE K_SKIP				{ $$ = PAST_SKIP; }
		|	K_ELSE K_EXIT				{ $$ = PAST_EXIT; }
		;

days:
			%empty						{ $$ = NULL; }
		|	K_ON names					{ $$ = $2; }
		;

one_of:
			K_FIRST_OF					{ $$ = false; }
		|	K_BEST_OF					{ $$ = true; }
		;

names:
			NAME
		|	names ',' NAME
				{
					ScriptText *last = $1;

					while (last->next)
						last = last->next;
					last->next = $3;
					$$ = $1;
				}
		;

of:
			%empty						{ $$ = NULL; }
		|	K_OF NAME					{ $$ = $2; }
		;

then_steps:
			%empty						{ $$.first = $$.last = NULL; }
		|	K_THEN steps				{ $$ = $2; }
		;

else_steps:
			%empty						{ $$.first = $$.last = NULL; }
		|	K_ELSE steps				{ $$ = $2; }
		;

arms:
			%empty						{ $$.first = $$.last = NULL; }
		|	arms K_ELSIF EXPR K_THEN steps
				{
					ScriptArm  *arm = make_arm(parser, @2, $3, $5.first);

					$$ = $1;
					if ($$.last)
						$$.last->next = arm;
					else
						$$.first = arm;
					$$.last = arm;
				}
		;

/* in any order, each once */
send_options:
			%empty
				{ $$ = make_step(parser, STEP_SEND, 0); }
		|	send_options K_PRIORITY NUMBER
				{
					$$ = $1;
					if (once(parser, $$->priority != NULL, @2, "PRIORITY"))
						$$->priority = $3;
				}
		|	send_options K_EXPIRES STRING
				{
					$$ = $1;
					if (once(parser, $$->duration != NULL, @2, "EXPIRES"))
						$$->duration = $3;
				}
		|	send_options K_WHEN K_CAPPED capped
				{
					$$ = $1;
					if (once(parser, $$->when_capped != CAPPED_NOT_SAID, @2, "WHEN CAPPED"))
					{
						$$->when_capped = $4.action;
						$$->capped_within = $4.within;
					}
				}
		|	send_options K_AT K_BEST K_TIME K_WITHIN STRING
				{
					$$ = $1;
					if (once(parser, $$->best_time_within != NULL, @2, "AT BEST TIME"))
						$$->best_time_within = $6;
				}
		|	send_options K_ALSO
				{
					$$ = $1;
					once(parser, $$->also, @2, "ALSO");
					$$->also = true;
				}
		;

capped:
			K_SKIP						{ $$.action = CAPPED_SKIP; $$.within = NULL; }
		|	K_EXIT						{ $$.action = CAPPED_EXIT; $$.within = NULL; }
		|	K_DEFER						{ $$.action = CAPPED_DEFER; $$.within = NULL; }
		|	K_DEFER K_WITHIN STRING		{ $$.action = CAPPED_DEFER; $$.within = $3; }
		;

%%

/*
 * Record what the parser did not understand, with what it expected when that
 * is short enough to help.
 */
static void
yyerror(PGJ_SCRIPT_YYLTYPE *location, ScriptParser *parser, const char *message)
{
	int			start = parser->current_start;
	int			end = parser->current_end;
	const char *expected = strstr(message, ", expecting ");
	char	   *near;

	/* bison does not list more than four */
	if (expected == NULL && parser->in_send)
		expected = ", expecting ALSO, AT BEST TIME, EXPIRES, PRIORITY, WHEN CAPPED or ';'";

	/* what follows from an error already recorded is not worth saying */
	if (parser->in_error)
	{
		parser->in_error = false;
		return;
	}
	if (parser->previous != LATER && parser->unsupported_seen)
		return;

	/* the end is rarely where the fault is, but an error before it says more */
	if (parser->previous == 0)
	{
		pgj_script_error(parser, SCRIPT_SYNTAX, start, 0,
						 "syntax error at the end of the script%s",
						 expected ? expected : "");
		return;
	}

	if (parser->in_send && parser->previous == '(')
	{
		pgj_script_error(parser, SCRIPT_SYNTAX, start, 0,
						 "channels to choose from must stand after FIRST OF or BEST OF");
		return;
	}

	near = pgj_script_copy(parser, start, end > start + 60 ? start + 60 : end);
	switch (parser->previous)
	{
		case LATER:
			{
				const char *later = parser->later;
				char	   *c;

				for (c = near; *c; c++)
				{
					if (*c >= 'a' && *c <= 'z')
						*c -= 'a' - 'A';
				}
				pgj_script_error(parser, SCRIPT_UNSUPPORTED, start, 0,
								 "%s is not supported yet", later ? later : near);
				parser->unsupported_seen = true;
				return;
			}
		case K_ON:
		case K_EXIT_ON:
		case K_GOAL:
		case K_HOLDOUT:
		case K_KEY:
		case K_LIMIT:
		case K_REENTRY:
		case K_TOPIC:
		case K_PRIORITY:
			if (parser->before_previous == ';' || parser->before_previous == K_THEN ||
				parser->before_previous == K_ELSE)
			{
				pgj_script_error(parser, SCRIPT_SYNTAX, start, 0,
								 "%s must stand before the first step", near);
				return;
			}
			break;
		default:
			break;
	}
	if (strstr(message, "memory exhausted"))
		pgj_script_error(parser, SCRIPT_LIMIT, start, 0,
						 "the script is nested too deeply");
	else
		pgj_script_error(parser, SCRIPT_SYNTAX, start, end,
						 "syntax error at or near \"%s\"%s", near,
						 expected ? expected : "");
}

/* step: NULL after an error */
static ScriptStepList
append_step(ScriptStepList list, ScriptStep *step)
{
	if (step)
	{
		if (list.last)
			list.last->next = step;
		else
			list.first = step;
		list.last = step;
	}
	return list;
}

static bool
once(ScriptParser *parser, bool given, int offset, const char *clause)
{
	if (given)
		pgj_script_error(parser, SCRIPT_SYNTAX, offset, 0,
						 "%s is given twice", clause);
	return !given;
}

static void
add_entry(Script *script, ScriptText *event, ScriptExpr *condition)
{
	ScriptEntry *entry = palloc(sizeof(ScriptEntry));
	ScriptEntry **last = &script->entries;

	entry->event = event;
	entry->condition = condition;
	entry->next = NULL;
	while (*last)
		last = &(*last)->next;
	*last = entry;
}

static ScriptText *
flip(ScriptText *segment, ScriptFlip flip)
{
	segment->flip = flip;
	return segment;
}

static ScriptStep *
make_step(ScriptParser *parser, ScriptStepKind kind, int offset)
{
	ScriptStep *step = palloc(sizeof(ScriptStep));

	memset(step, 0, sizeof(ScriptStep));
	step->kind = kind;
	step->offset = offset;
	parser->script->nsteps++;
	return step;
}

static ScriptArm *
make_arm(ScriptParser *parser, int offset, ScriptExpr *condition, ScriptStep *steps)
{
	ScriptArm  *arm = palloc(sizeof(ScriptArm));

	memset(arm, 0, sizeof(ScriptArm));
	arm->condition = condition;
	arm->offset = offset;
	arm->steps = steps;
	parser->script->nsteps++;
	return arm;
}

static int
deepest(const ScriptStep *steps)
{
	int			result = 0;

	for (; steps; steps = steps->next)
	{
		if (steps->nesting > result)
			result = steps->nesting;
	}
	return result;
}

/*
 * Note how deep a block goes: whatever walks the tree later may recurse so far
 * and no farther.
 */
static void
nest(ScriptParser *parser, ScriptStep *step)
{
	int			depth = deepest(step->then_steps);
	int			other = deepest(step->else_steps);
	ScriptArm  *arm;

	if (other > depth)
		depth = other;
	for (arm = step->arms; arm; arm = arm->next)
	{
		other = deepest(arm->steps);
		if (other > depth)
			depth = other;
	}
	step->nesting = depth + 1;
	if (step->nesting == SCRIPT_MAX_NESTING + 1)
		pgj_script_error(parser, SCRIPT_LIMIT, step->offset, 0,
						 "the script has more than %d blocks within one another",
						 SCRIPT_MAX_NESTING);
}
