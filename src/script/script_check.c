/*-------------------------------------------------------------------------
 *
 * script_check.c
 *	  Check a script as a whole, and report everything wrong at once.
 *
 * In two rounds: while there are syntax errors nothing else is looked at, since
 * half of what would be said then is a consequence of them.  What is found is
 * collected and reported as one error: message, caret and hint are those of
 * the problem that stands first in the text, the others follow in the detail.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "box.h"
#include "script/script_compile.h"

#define DEFAULT_TOPIC "promotions"
#define DEFAULT_PRIORITY 50
#define MAX_LIMIT 1000000

/* -------- problems -------- */

void
pgj_problem_add(Compilation *c, int offset, int sqlstate, char *message,
				char *hint)
{
	Problem *problem = palloc0(sizeof(Problem));

	problem->offset = offset;
	problem->sqlstate = sqlstate;
	problem->message = message;
	problem->hint = hint;
	c->problems = lappend(c->problems, problem);
}

static void
find_lines(Compilation *c)
{
	const char *s;
	int size = 64;

	c->lines = palloc(size * sizeof(int));
	c->lines[0] = 0;
	c->nlines = 1;
	for (s = strchr(c->text, '\n'); s; s = strchr(s + 1, '\n'))
	{
		if (c->nlines == size)
		{
			size *= 2;
			c->lines = repalloc(c->lines, size * sizeof(int));
		}
		c->lines[c->nlines++] = s + 1 - c->text;
	}
}

/* The line an offset lies on, from 1. */
int
pgj_script_line(Compilation *c, int offset)
{
	int low = 0;
	int high = c->nlines; /* the line is in [low, high) */

	while (high - low > 1)
	{
		int middle = low + (high - low) / 2;

		if (c->lines[middle] <= offset)
			low = middle;
		else
			high = middle;
	}
	return low + 1;
}

static int
compare_problems(const ListCell *a, const ListCell *b)
{
	return ((Problem *) lfirst(a))->offset - ((Problem *) lfirst(b))->offset;
}

static void
report_problems(Compilation *c)
{
	Problem *first;
	StringInfoData detail;
	int i;

	if (c->problems == NIL)
		return;

	list_sort(c->problems, compare_problems);
	first = linitial(c->problems);
	initStringInfo(&detail);
	if (first->detail)
		appendStringInfoString(&detail, first->detail);
	for (i = 1; i < list_length(c->problems); i++)
	{
		Problem *problem = list_nth(c->problems, i);

		if (i == SCRIPT_MAX_ERRORS)
		{
			appendStringInfo(&detail, "\nand %d more.",
							 list_length(c->problems) - i);
			break;
		}
		appendStringInfo(&detail, "%sline %d: %s.", detail.len > 0 ? "\n" : "",
						 pgj_script_line(c, problem->offset), problem->message);
		if (problem->hint)
			appendStringInfo(&detail, " %s", problem->hint);
	}

	/* a script that is too long is too long to be shown, too */
	if (strlen(c->text) > SCRIPT_MAX_LENGTH)
		ereport(ERROR, errcode(first->sqlstate), errmsg("%s", first->message));
	ereport(
		ERROR, errcode(first->sqlstate),
		errmsg("line %d: %s", pgj_script_line(c, first->offset),
			   first->message),
		detail.len > 0 ? errdetail_internal("%s", detail.data) : 0,
		first->hint ? errhint("%s", first->hint) : 0, internalerrquery(c->text),
		internalerrposition(pg_mbstrlen_with_len(c->text, first->offset) + 1));
}

static char *
upper_case(const char *word)
{
	return asc_toupper(word, strlen(word));
}

/*
 * Which word of the language may be meant?  One that could stand there, if the
 * message says what could.
 */
static char *
keyword_hint(const ScriptError *error)
{
	const char *expecting = strstr(error->message, ", expecting ");
	char *word = upper_case(error->word);
	List *keywords = NIL;
	const char *const *keyword;

	for (keyword = pgj_script_keywords(); *keyword; keyword++)
	{
		char *name = upper_case(*keyword);

		if (strcmp(name, word) == 0)
			return NULL; /* in the wrong place, but spelled right */
		if (expecting == NULL ||
			strstr(expecting, psprintf(" %s", name)) != NULL)
			keywords = lappend(keywords, name);
	}
	return pgj_script_hint(word, keywords);
}

static void
add_syntax_errors(Compilation *c, ScriptParser *parser)
{
	ScriptError *error;

	for (error = parser->errors; error; error = error->next)
	{
		int sqlstate = ERRCODE_SYNTAX_ERROR;

		if (error->kind == SCRIPT_UNSUPPORTED)
			sqlstate = ERRCODE_FEATURE_NOT_SUPPORTED;
		else if (error->kind == SCRIPT_LIMIT)
			sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
		pgj_problem_add(c, error->offset, sqlstate, error->message,
						error->word ? keyword_hint(error) : NULL);
	}
}

/* -------- clauses -------- */

static void
check_clauses(Compilation *c)
{
	Script *script = c->script;

	if (script->entries == NULL)
		pgj_problem_add(c, 0, ERRCODE_SYNTAX_ERROR,
						pstrdup("nothing starts this journey"),
						pstrdup("Begin with ON EVENT name, or ON CALL."));
	if (script->steps == NULL)
		pgj_problem_add(c, strlen(c->text), ERRCODE_SYNTAX_ERROR,
						pstrdup("the journey has no step"), NULL);

	if (script->holdout)
	{
		c->holdout = pgj_script_number(script->holdout) / 100;
		if (!(c->holdout >= 0 && c->holdout < 1))
			pgj_problem_add(
				c, script->holdout->offset, ERRCODE_INVALID_PARAMETER_VALUE,
				pstrdup("a holdout must be at least 0% and less than 100%"),
				NULL);
	}
	if (script->reentry == REENTRY_ONCE_PER_KEY && script->key == NULL)
		pgj_problem_add(
			c, 0, ERRCODE_SYNTAX_ERROR,
			pstrdup("REENTRY ONCE PER KEY needs a KEY clause"),
			pstrdup("Without a key, REENTRY NEVER lets a contact in once."));
	c->topic = script->topic ? script->topic->text : DEFAULT_TOPIC;
	c->priority = pgj_script_check_whole(c, script->priority, "priority", 0,
										 SCRIPT_MAX_PRIORITY, DEFAULT_PRIORITY);
	c->goal_within = pgj_script_check_interval(c, script->goal_within);
	c->reentry_after = pgj_script_check_interval(c, script->reentry_after);
	c->limit =
		pgj_script_check_whole(c, script->limit, "limit", 1, MAX_LIMIT, 0);
	c->limit_per = pgj_script_check_interval(c, script->limit_per);
}

/* -------- expressions -------- */

static void
add_expression(Compilation *c, ScriptExpr *expr, ExpressionScope scope,
			   Oid result)
{
	CompiledExpression *compiled;

	if (expr == NULL)
		return;
	compiled = palloc0(sizeof(CompiledExpression));
	compiled->expr = expr;
	compiled->source = expr->source;
	compiled->scope = scope;
	compiled->result = result;
	c->expressions = lappend(c->expressions, compiled);
}

static int
compare_expressions(const ListCell *a, const ListCell *b)
{
	return ((CompiledExpression *) lfirst(a))->expr->offset -
		   ((CompiledExpression *) lfirst(b))->expr->offset;
}

/* All expressions, numbered in the order of the text. */
static void
collect_expressions(Compilation *c)
{
	Script *script = c->script;
	ScriptEntry *entry;
	ScriptExit *rule;
	ListCell *lc;
	int i;

	for (entry = script->entries; entry; entry = entry->next)
		add_expression(c, entry->condition, EXPRESSION_ENTRY, BOOLOID);
	for (rule = script->exits; rule; rule = rule->next)
		add_expression(c, rule->condition, EXPRESSION_RUN_EVENT, BOOLOID);
	add_expression(c, script->key, EXPRESSION_ENTRY, TEXTOID);
	add_expression(c, script->holdout_by, EXPRESSION_ENTRY, TEXTOID);
	add_expression(c, script->goal_condition, EXPRESSION_RUN_EVENT, BOOLOID);
	add_expression(c, script->goal_value, EXPRESSION_RUN_EVENT, NUMERICOID);

	for (i = 0; i < c->nsteps; i++)
	{
		const ScriptStep *step = c->steps[i].step;

		switch (step->kind)
		{
			case STEP_IF:
				add_expression(c, c->steps[i].arm->condition, EXPRESSION_RUN,
							   BOOLOID);
				break;
			case STEP_WAIT_UNTIL: /* without one: a time of day */
				add_expression(c, step->condition, EXPRESSION_RUN,
							   TIMESTAMPTZOID);
				break;
			case STEP_WAIT_INTERVAL:
				add_expression(c, step->condition, EXPRESSION_RUN, INTERVALOID);
				break;
			case STEP_WAIT_FOR:
				add_expression(c, step->condition,
							   step->event ? EXPRESSION_RUN_EVENT
										   : EXPRESSION_RUN,
							   BOOLOID);
				break;
			default:
				break;
		}
	}

	list_sort(c->expressions, compare_expressions);
	i = 0;
	foreach (lc, c->expressions)
		((CompiledExpression *) lfirst(lc))->expr->expression_no = ++i;
}

static char *
compile_one(Compilation *c, const char *source, int offset,
			ExpressionScope scope, Oid result)
{
	ErrorData *error;
	Problem *problem;
	char *statement = pgj_expression_compile(c->site, c->text, source, offset,
											 scope, result, &error);

	if (statement == NULL)
	{
		pgj_problem_add(c, error->cursorpos, error->sqlerrcode, error->message,
						error->hint);
		problem = llast(c->problems);
		problem->detail = error->detail;
	}
	return statement;
}

static void
compile_expressions(Compilation *c)
{
	ListCell *lc;

	/* what is being created has the place (0, 0): no earlier script's fault */
	pgj_box_forgive(0);
	foreach (lc, c->expressions)
	{
		CompiledExpression *e = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		e->statement = compile_one(c, e->expr->source, e->expr->offset,
								   e->scope, e->result);

		/*
		 * WAIT (interval) waits until now() + interval.  The text has just been
		 * seen to be one expression of that type; the line end is for a comment
		 * at its end.
		 */
		if (e->statement && e->result == INTERVALOID)
		{
			static const char prefix[] =
				"pg_catalog.now() OPERATOR(pg_catalog.+) (";

			e->result = TIMESTAMPTZOID;
			e->source = psprintf("now() + %s", e->source);
			e->statement = compile_one(c,
									   psprintf("%s%s\n)::pg_catalog.interval",
												prefix, e->expr->source),
									   e->expr->offset - (int) strlen(prefix),
									   e->scope, TIMESTAMPTZOID);
		}
	}
}

Compilation *
pgj_script_compile(const Site *site, const char *text)
{
	Compilation *c = palloc0(sizeof(Compilation));
	ScriptParser *parser = pgj_script_parse(text, strlen(text));

	c->site = site;
	c->text = text;
	c->script = parser->script;
	find_lines(c);
	add_syntax_errors(c, parser);
	report_problems(c);

	c->nsteps = c->script->nsteps;
	if (c->nsteps > SCRIPT_MAX_STEPS)
		pgj_problem_add(
			c, 0, ERRCODE_PROGRAM_LIMIT_EXCEEDED,
			psprintf("the journey has more than %d steps", SCRIPT_MAX_STEPS),
			NULL);
	report_problems(c);
	pgj_script_number_steps(c->script);
	c->steps = pgj_script_graph(c);
	check_clauses(c);
	pgj_script_check_steps(c);
	pgj_script_check_reachable(c);
	collect_expressions(c);
	compile_expressions(c);
	pgj_script_check_names(c);
	report_problems(c);
	return c;
}
