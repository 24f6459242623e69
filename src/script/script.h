/*-------------------------------------------------------------------------
 *
 * script.h
 *	  The tree a journey's script is read into.
 *
 * Scanner, token filter and grammar use nothing of the backend but palloc,
 * pfree, repalloc and ereport, so that test/fuzz can run them alone.  They
 * never throw for what a user wrote: what is wrong is recorded in
 * ScriptParser.errors, in the order it was found.
 *
 * All offsets are bytes from the start of the script.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SCRIPT_H
#define PGJ_SCRIPT_H

#define SCRIPT_MAX_LENGTH (1024 * 1024) /* bytes */
#define SCRIPT_MAX_PRIORITY 100
#define SCRIPT_MAX_STEPS 10000
#define SCRIPT_MAX_NESTING 100 /* blocks within blocks */
#define SCRIPT_MAX_ERRORS 50   /* more are not worth reading */

/* What the name of an event is. */
typedef enum ScriptFlip
{
	FLIP_NONE,	/* an event's */
	FLIP_ENTER, /* a segment's: a contact enters it */
	FLIP_LEAVE
} ScriptFlip;

/* A name, a literal or a number, without its quotes. */
typedef struct ScriptText
{
	char *text;
	int offset;
	ScriptFlip flip;		 /* of an event */
	struct ScriptText *next; /* in a list of names */
} ScriptText;

/* An embedded SQL expression, as written. */
typedef struct ScriptExpr
{
	char *source;
	int offset;
	int expression_no; /* set when compiled, from 1 */
} ScriptExpr;

typedef struct ScriptEntry
{
	ScriptText *event; /* NULL: ON CALL */
	ScriptExpr *condition;
	struct ScriptEntry *next;
} ScriptEntry;

typedef struct ScriptExit
{
	ScriptText *event;
	ScriptExpr *condition;
	struct ScriptExit *next;
} ScriptExit;

typedef enum ScriptReentry
{
	REENTRY_ALWAYS,
	REENTRY_NEVER,
	REENTRY_AFTER,
	REENTRY_ONCE_PER_KEY
} ScriptReentry;

typedef enum ScriptStepKind
{
	STEP_WAIT,
	STEP_WAIT_INTERVAL, /* WAIT (expr) */
	STEP_WAIT_UNTIL,
	STEP_WAIT_FOR,
	STEP_SEND,
	STEP_IF,
	STEP_EXIT
} ScriptStepKind;

/* What to do with a message that a frequency cap does not allow. */
typedef enum ScriptCappedAction
{
	CAPPED_NOT_SAID, /* skip */
	CAPPED_SKIP,
	CAPPED_DEFER,
	CAPPED_EXIT
} ScriptCappedAction;

typedef enum ScriptPastAction
{
	PAST_CONTINUE,
	PAST_SKIP,
	PAST_EXIT
} ScriptPastAction;

struct ScriptStep;

/* IF or ELSIF with its steps */
typedef struct ScriptArm
{
	ScriptExpr *condition;
	int offset;
	struct ScriptStep *steps;
	int step_no; /* each arm is a step of its own */
	struct ScriptArm *next;
} ScriptArm;

typedef struct ScriptStep
{
	ScriptStepKind kind;
	int offset;
	ScriptText *label;
	ScriptText *duration;  /* WAIT, TIMEOUT, EXPIRES */
	ScriptText *since;	   /* SINCE LAST */
	ScriptText *event;	   /* WAIT FOR */
	ScriptText *of;		   /* WAIT FOR event OF label */
	ScriptExpr *condition; /* WAIT UNTIL, WAIT (…), WAIT FOR */
	ScriptPastAction past;
	ScriptText *time;	  /* WAIT UNTIL '09:00' */
	ScriptText *days;	  /* ON …; NULL: every day */
	ScriptText *channel;  /* SEND; NULL: one of channels */
	ScriptText *channels; /* FIRST OF (…), BEST OF (…) */
	bool best;			  /* BEST OF */
	ScriptText *template;
	ScriptText *priority;
	ScriptCappedAction when_capped;
	ScriptText *capped_within;
	ScriptText *best_time_within;
	bool also;
	ScriptArm *arms;			   /* IF */
	struct ScriptStep *then_steps; /* WAIT FOR */
	struct ScriptStep *else_steps; /* WAIT FOR, IF */
	int nesting;				   /* blocks inside this step */
	int step_no;				   /* from 1; of an IF, that of its first arm */
	struct ScriptStep *next;
} ScriptStep;

typedef struct Script
{
	ScriptEntry *entries;
	ScriptExpr *key;
	bool has_reentry;
	ScriptReentry reentry;
	ScriptText *reentry_after;
	ScriptText *limit; /* a number of entries */
	ScriptText *limit_per;
	ScriptExit *exits;
	ScriptText *goal_event;
	ScriptExpr *goal_condition;
	ScriptText *goal_within;
	ScriptExpr *goal_value;
	ScriptText *holdout; /* percent */
	ScriptExpr *holdout_by;
	ScriptText *topic;
	ScriptText *priority;
	ScriptStep *steps;
	int nsteps; /* rows of journey.step: arms count */
} Script;

typedef enum ScriptErrorKind
{
	SCRIPT_SYNTAX,
	SCRIPT_UNSUPPORTED,
	SCRIPT_LIMIT
} ScriptErrorKind;

typedef struct ScriptError
{
	ScriptErrorKind kind;
	int offset;
	char *message;
	char *word; /* the offending word, or NULL */
	struct ScriptError *next;
} ScriptError;

/* What the scanner delivers; see script_token.c for the next layer. */
typedef enum RawKind
{
	RAW_WORD,		  /* unquoted identifier or keyword */
	RAW_QUOTED,		  /* "identifier" */
	RAW_STRING,		  /* 'plain literal' */
	RAW_OTHER_STRING, /* E'', B'', X'', N'', U&'', U&"", $$ $$ */
	RAW_NUMBER,
	RAW_LABEL_OPEN,	 /* << */
	RAW_LABEL_CLOSE, /* >> */
	RAW_OPEN,		 /* ( [ */
	RAW_CLOSE,		 /* ) ] */
	RAW_SEMICOLON,
	RAW_DOT,
	RAW_PERCENT,
	RAW_OTHER, /* anything else SQL may contain */
	RAW_END
} RawKind;

typedef struct RawToken
{
	RawKind kind;
	int start;
	int end;
} RawToken;

typedef struct ScriptParser
{
	const char *text;
	int length;
	Script *script;
	ScriptError *errors; /* in the order found */
	ScriptError *last_error;
	int nerrors;
	bool first_step_seen;
	bool in_error;		   /* an error was recorded inside this step */
	bool in_send;		   /* behind SEND, before its semicolon */
	bool unsupported_seen; /* syntax errors now may be consequences */
	const char *later;	   /* of the last token, if it is LATER */

	/* scanner */
	RawToken *tokens; /* ends with RAW_END */
	int ntokens;
	int maxtokens;
	int scan_pos;
	int scan_start;
	int comment_depth;
	int dollar_start;
	int dollar_length;

	/* token filter */
	int next_token;
	int previous; /* last grammar token returned */
	int before_previous;
	int current_start; /* text of the last token returned */
	int current_end;
} ScriptParser;

/* Parse; what is wrong is in parser->errors. */
extern ScriptParser *pgj_script_parse(const char *text, int length);

/* for the parser's own files */
extern void pgj_script_scan(ScriptParser *parser);
extern void pgj_script_error(ScriptParser *parser, ScriptErrorKind kind,
							 int offset, int end, const char *format, ...)
	pg_attribute_printf(5, 6);
extern char *pgj_script_copy(ScriptParser *parser, int start, int end);

/* keywords, for hints; ends with NULL */
extern const char *const *pgj_script_keywords(void);

#endif /* PGJ_SCRIPT_H */
