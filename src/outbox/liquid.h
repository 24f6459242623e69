/*-------------------------------------------------------------------------
 *
 * liquid.h
 *	  A subset of the Liquid template language, in plain C.
 *
 * liquid_expr.c		the inside of {{ }} and {% %}: expressions, filters
 * liquid_parse.c	source -> tree; every mistake an author can make is found
 *					here, with its position
 * liquid_render.c	tree + data -> text
 * liquid_value.c	what values are: equality, order, text, numbers
 * liquid_filter.c	filters over numbers, lists and anything
 * liquid_text.c	filters over text
 * liquid_date.c	reading and writing dates
 * render.c			the adapter: Jsonb, memory contexts, ereport
 *
 * Only palloc and pgj_liquid_throw are asked of the surroundings, so that the
 * whole can be fuzzed outside the server.  Invariants:
 *	- a tree is read-only once parsed and points into its source, which must
 *	  live as long: trees are cached and rendered many times;
 *	- nothing here reads a file, the environment, the network or the clock;
 *	- rendering allocates through pgj_liquid_alloc alone and counts its work, so
 *	  that a template cannot eat a backend whatever its data.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_LIQUID_H
#define PGJ_LIQUID_H

#include "compat.h"

/* Limits of one template; the fuzzer sets lower ones. */
#ifndef LIQUID_MAX_WORK
#define LIQUID_MAX_SOURCE (1024 * 1024)
#define LIQUID_MAX_OUTPUT (10 * 1024 * 1024)
#define LIQUID_MAX_MEMORY (64 * 1024 * 1024)
#define LIQUID_MAX_ITERATIONS 100000
#define LIQUID_MAX_WORK 20000000
#endif
#define LIQUID_MAX_NESTING 100

#ifndef LIQUID_CHECK_FOR_INTERRUPTS
#define LIQUID_CHECK_FOR_INTERRUPTS() CHECK_FOR_INTERRUPTS()
#endif

typedef enum LiquidError
{
	LIQUID_SYNTAX,	/* the template is malformed */
	LIQUID_INVALID, /* a filter or comparison does not apply */
	LIQUID_LIMIT	/* too long, too deep, too much work */
} LiquidError;

/* ---- values ---- */

typedef enum LiquidType
{
	LIQUID_NIL,
	LIQUID_BOOL,
	LIQUID_INT,
	LIQUID_DECIMAL,
	LIQUID_STRING,
	LIQUID_ARRAY,
	LIQUID_OBJECT,
	LIQUID_RANGE,
	LIQUID_EMPTY, /* the word empty: equal to anything empty */
	LIQUID_BLANK, /* the word blank: also to nil and false */
	LIQUID_LOOP	  /* forloop */
} LiquidType;

typedef struct LiquidValue LiquidValue;
typedef struct LiquidSource LiquidSource;
typedef struct LiquidFrame LiquidFrame;

struct LiquidValue
{
	LiquidType type;
	bool safe; /* string that HTML output takes as it is */
	int len;   /* of string; of number's text; of native array */
	union
	{
		bool boolean;
		int64 integer;
		struct
		{
			double number;
			const char *text; /* as written in the data, or NULL */
		} decimal;
		const char *string;
		struct
		{
			const LiquidSource *source; /* NULL: a native array */
			const void *handle;
			const LiquidValue *items;
		} list; /* array or object */
		struct
		{
			int64 low;
			int64 high;
		} range;
		const LiquidFrame *loop;
	} u;
};

/*
 * How the renderer looks into arrays and objects it did not make itself.  Only
 * the text of a decimal may be allocated for the answer; pgj_liquid_got counts it.
 */
struct LiquidSource
{
	int (*count)(const void *handle);
	void (*item)(const void *handle, int n, LiquidValue *out);
	bool (*get)(const void *handle, const char *key, int len, LiquidValue *out);
	/* keys and values in turn, 2 * count of them */
	void (*pairs)(const void *handle, LiquidValue *out);
};

/* ---- the tree ---- */

typedef struct LiquidExpr LiquidExpr;

typedef struct LiquidStep
{
	const char *name; /* NULL: [index] */
	int len;
	LiquidExpr *index;
	struct LiquidStep *next;
} LiquidStep;

typedef enum LiquidExprKind
{
	LIQUID_EXPR_LITERAL,
	LIQUID_EXPR_PATH,
	LIQUID_EXPR_RANGE
} LiquidExprKind;

struct LiquidExpr
{
	LiquidExprKind kind;
	int at; /* offset in the source */
	LiquidValue literal;
	LiquidStep *path;
	LiquidExpr *low;
	LiquidExpr *high;
};

#define LIQUID_MAX_ARGS 2

typedef struct LiquidCall LiquidCall;
typedef struct LiquidState LiquidState;

typedef void (*LiquidFilterFn)(LiquidState *st, const LiquidCall *call,
							   LiquidValue *value, const LiquidValue *args,
							   int nargs);

typedef struct LiquidFilter
{
	const char *name;
	int min_args;
	int max_args;
	LiquidFilterFn fn;
	int variant; /* tells apart filters that share a function */
} LiquidFilter;

struct LiquidCall
{
	const LiquidFilter *filter;
	int at;
	int nargs;
	LiquidExpr *args[LIQUID_MAX_ARGS];
	LiquidExpr *allow_false; /* keyword of default */
	LiquidCall *next;
};

typedef struct LiquidPipe
{
	LiquidExpr *expr; /* NULL: nothing to write */
	LiquidCall *calls;
} LiquidPipe;

typedef enum LiquidOp
{
	LIQUID_OP_TRUTH, /* left alone */
	LIQUID_OP_EQ,
	LIQUID_OP_NE,
	LIQUID_OP_LT,
	LIQUID_OP_GT,
	LIQUID_OP_LE,
	LIQUID_OP_GE,
	LIQUID_OP_CONTAINS
} LiquidOp;

/* Right-associative: "a and b or c" is "a and (b or c)". */
typedef struct LiquidCondition
{
	LiquidExpr *left;
	LiquidExpr *right;
	LiquidOp op;
	int at;
	bool is_and; /* how it is joined to next */
	struct LiquidCondition *next;
} LiquidCondition;

typedef struct LiquidNode LiquidNode;

typedef struct LiquidBody
{
	LiquidNode *first;
	bool blank; /* writes nothing but white space */
} LiquidBody;

typedef struct LiquidBranch
{
	LiquidCondition *condition; /* of if, elsif, unless; NULL: else */
	bool negate;
	int nwhen; /* of case */
	LiquidExpr **when;
	LiquidBody body;
	struct LiquidBranch *next;
} LiquidBranch;

typedef enum LiquidNodeKind
{
	LIQUID_NODE_TEXT,
	LIQUID_NODE_OUTPUT,
	LIQUID_NODE_IF, /* unless as well */
	LIQUID_NODE_CASE,
	LIQUID_NODE_FOR,
	LIQUID_NODE_ASSIGN,
	LIQUID_NODE_CAPTURE,
	LIQUID_NODE_BREAK,
	LIQUID_NODE_CONTINUE
} LiquidNodeKind;

struct LiquidNode
{
	LiquidNodeKind kind;
	bool blank;
	int at;
	const char *text; /* of text; name of assign, capture, for */
	int len;
	LiquidPipe pipe;		/* output, assign; subject of case and for */
	LiquidBranch *branches; /* if, case */
	LiquidBody body;		/* for, capture */
	LiquidBody otherwise;	/* else of for */
	LiquidExpr *limit;
	LiquidExpr *offset;
	bool offset_continue;
	bool reversed;
	const char *collection; /* its text, for forloop.name */
	int collection_len;
	LiquidNode *next;
};

typedef struct LiquidTemplate
{
	const char *source;
	LiquidBody body;
} LiquidTemplate;

/* ---- rendering ---- */

typedef struct LiquidBuffer
{
	char *data;
	int len;
	int size;
} LiquidBuffer;

struct LiquidFrame
{
	const LiquidNode *node;
	LiquidValue value; /* of the loop's variable */
	int64 index;
	int64 length;
	const LiquidFrame *parent; /* enclosing loop */
};

typedef struct LiquidVariable
{
	const char *name;
	int len;
	LiquidValue value;
	struct LiquidVariable *next;
} LiquidVariable;

struct LiquidState
{
	const LiquidTemplate *template;
	LiquidValue data;
	bool html;
	bool utf8;
	LiquidBuffer *out;
	size_t memory;
	int64 work;
	int iterations;
	int depth;
	LiquidVariable *variables; /* assigned and captured */
	LiquidVariable *stopped;   /* where loops stopped, for offset: continue */
	const LiquidFrame *frame;
	int at; /* what is being evaluated, for errors */
};

extern LiquidTemplate *pgj_liquid_parse(const char *source);
extern char *pgj_liquid_render(const LiquidTemplate *template, LiquidValue data,
							   bool html, bool utf8);

/* liquid_render.c */
extern void *pgj_liquid_alloc(LiquidState *st, size_t size);
extern void pgj_liquid_charge(LiquidState *st, size_t size);
extern void pgj_liquid_work(LiquidState *st, int64 units);
extern void pgj_liquid_append(LiquidState *st, LiquidBuffer *buf, const char *s,
							  int len);
extern bool pgj_liquid_variable(LiquidState *st, const char *name, int len,
								LiquidValue *out);

/* liquid_filter.c */
extern const LiquidFilter *pgj_liquid_filter(const char *name, int len);
extern const LiquidFilter pgj_liquid_filters[];

/* liquid_value.c */
extern LiquidValue pgj_liquid_nil(void);
extern LiquidValue pgj_liquid_bool(bool value);
extern LiquidValue pgj_liquid_int(int64 value);
extern LiquidValue pgj_liquid_decimal(double value);
extern LiquidValue pgj_liquid_string(const char *s, int len);
extern LiquidValue pgj_liquid_array(const LiquidValue *items, int n);
extern LiquidValue pgj_liquid_take(LiquidBuffer *buf);
extern bool pgj_liquid_truth(const LiquidValue *v);
extern bool pgj_liquid_equal(LiquidState *st, const LiquidValue *a,
							 const LiquidValue *b, int depth);
extern bool pgj_liquid_order(LiquidState *st, const LiquidValue *a,
							 const LiquidValue *b, int *result);
extern int64 pgj_liquid_count(const LiquidValue *v);
extern void pgj_liquid_got(LiquidState *st, const LiquidValue *v);
extern LiquidValue pgj_liquid_item(LiquidState *st, const LiquidValue *v,
								   int64 n);
extern LiquidValue pgj_liquid_pairs(LiquidState *st, const LiquidValue *object);
extern LiquidValue pgj_liquid_lookup(LiquidState *st, const LiquidValue *v,
									 const LiquidValue *key, bool dotted);
extern LiquidValue pgj_liquid_number(const LiquidValue *v);
extern int64 pgj_liquid_integer(LiquidState *st, const LiquidValue *v);
extern int64 pgj_liquid_loose_integer(const LiquidValue *v);
extern LiquidValue pgj_liquid_text(LiquidState *st, const LiquidValue *v);
extern void pgj_liquid_write(LiquidState *st, LiquidBuffer *buf,
							 const LiquidValue *v, int depth);
extern void pgj_liquid_json(LiquidState *st, LiquidBuffer *buf,
							const LiquidValue *v, int depth);
extern int pgj_liquid_char_len(const LiquidState *st, const char *s, int left);
extern bool pgj_liquid_is_space(char c);

/* liquid_text.c */
extern void pgj_liquid_escape(LiquidState *st, LiquidBuffer *buf, const char *s,
							  int len, bool once);
extern void pgj_liquid_text_filter(LiquidState *st, const LiquidCall *call,
								   LiquidValue *value, const LiquidValue *args,
								   int nargs);

/* liquid_date.c */
extern void pgj_liquid_date_filter(LiquidState *st, const LiquidCall *call,
								   LiquidValue *value, const LiquidValue *args,
								   int nargs);

/* what text filters do, told apart by LiquidFilter.variant */
enum
{
	TEXT_UPCASE,
	TEXT_DOWNCASE,
	TEXT_CAPITALIZE,
	TEXT_STRIP,
	TEXT_LSTRIP,
	TEXT_RSTRIP,
	TEXT_STRIP_NEWLINES,
	TEXT_TRUNCATE,
	TEXT_TRUNCATEWORDS,
	TEXT_APPEND,
	TEXT_PREPEND,
	TEXT_REPLACE,
	TEXT_REPLACE_FIRST,
	TEXT_REPLACE_LAST,
	TEXT_REMOVE,
	TEXT_REMOVE_FIRST,
	TEXT_REMOVE_LAST,
	TEXT_SPLIT,
	TEXT_ESCAPE,
	TEXT_ESCAPE_ONCE,
	TEXT_URL_ENCODE,
	TEXT_URL_DECODE,
	TEXT_STRIP_HTML,
	TEXT_NEWLINE_TO_BR,
	TEXT_RAW
};

/* Report a mistake at an offset of the source; never returns. */
pg_noreturn extern void pgj_liquid_error(LiquidError error, const char *source,
										 int at, const char *hint,
										 const char *format, ...)
	pg_attribute_printf(5, 6);

/* Provided by the surroundings: ereport in the server. */
pg_noreturn extern void pgj_liquid_throw(LiquidError error, int line,
										 int column, const char *message,
										 const char *hint);
/* Seconds east of UTC of a zone at an instant; false when there is no such zone. */
extern bool pgj_liquid_zone_offset(const char *zone, int64 epoch, int *offset);

#endif /* PGJ_LIQUID_H */
