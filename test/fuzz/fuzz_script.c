/*-------------------------------------------------------------------------
 *
 * fuzz_script.c
 *	  Feed the scanner and grammar of journeys.
 *
 * fuzz-sources: src/script/script_gram.c src/script/script_scan.c src/script/script_token.c
 * fuzz-flags: -Itest/fuzz/shim -Isrc
 *
 * Besides memory and undefined behaviour this checks what the rest of the
 * compiler relies on: errors lie inside the text, the steps add up, an
 * expression is a piece of the text with its parentheses matched, and nothing
 * is thrown.  All blocks of an input are freed after it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdint.h>

#include "script/script.h"

typedef struct Block
{
	struct Block *next;
	struct Block *previous;
	size_t		size;
	size_t		pad;			/* keeps the payload aligned to 16 */
} Block;

static Block blocks = {&blocks, &blocks, 0, 0};
jmp_buf		shim_jmp;

void *
palloc(size_t size)
{
	Block	   *block = malloc(sizeof(Block) + size);

	if (block == NULL)
		abort();
	block->size = size;
	block->next = blocks.next;
	block->previous = &blocks;
	block->next->previous = block;
	blocks.next = block;
	return block + 1;
}

void
pfree(void *pointer)
{
	Block	   *block = (Block *) pointer - 1;

	block->next->previous = block->previous;
	block->previous->next = block->next;
	free(block);
}

void *
repalloc(void *pointer, size_t size)
{
	Block	   *block = (Block *) pointer - 1;
	void	   *larger = palloc(size);

	memcpy(larger, pointer, block->size < size ? block->size : size);
	pfree(pointer);
	return larger;
}

char *
pstrdup(const char *string)
{
	size_t		size = strlen(string) + 1;

	return memcpy(palloc(size), string, size);
}

#define CHECK(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "violated: %s (line %d)\n", #condition, __LINE__); \
			abort(); \
		} \
	} while (0)

static void
check_text(const ScriptParser *parser, const ScriptText *text)
{
	if (text)
		CHECK(text->offset >= 0 && text->offset < parser->length);
}

/* A list of names, in the order of the text. */
static void
check_names(const ScriptParser *parser, const ScriptText *name)
{
	for (; name; name = name->next)
	{
		check_text(parser, name);
		CHECK(name->next == NULL || name->next->offset > name->offset);
	}
}

static void
check_expression(const ScriptParser *parser, const ScriptExpr *expr)
{
	size_t		length;

	if (expr == NULL)
		return;
	length = strlen(expr->source);
	CHECK(length > 0);
	CHECK(expr->offset >= 0 && expr->offset + (int) length <= parser->length);
	CHECK(memcmp(parser->text + expr->offset, expr->source, length) == 0);
}

/* How many rows of journey.step these steps make. */
static int
check_steps(const ScriptParser *parser, const ScriptStep *step, int depth)
{
	int			n = 0;

	CHECK(depth <= SCRIPT_MAX_NESTING);
	for (; step; step = step->next)
	{
		const ScriptArm *arm;

		CHECK(step->offset >= 0 && step->offset < parser->length);
		check_text(parser, step->label);
		check_text(parser, step->duration);
		check_text(parser, step->event);
		check_text(parser, step->channel);
		check_names(parser, step->channels);
		check_names(parser, step->days);
		check_text(parser, step->time);
		check_text(parser, step->priority);
		check_text(parser, step->capped_within);
		check_text(parser, step->best_time_within);
		CHECK(step->capped_within == NULL || step->when_capped == CAPPED_DEFER);
		CHECK(step->days == NULL || step->time != NULL);
		CHECK(step->time == NULL || (step->kind == STEP_WAIT_UNTIL && step->condition == NULL));
		check_text(parser, step->template);
		check_expression(parser, step->condition);
		CHECK((step->kind == STEP_SEND) == (step->template != NULL));
		CHECK((step->kind == STEP_SEND) == ((step->channel != NULL) != (step->channels != NULL)));
		CHECK((step->kind == STEP_IF) == (step->arms != NULL));
		if (step->kind != STEP_IF)
			n++;
		for (arm = step->arms; arm; arm = arm->next)
		{
			CHECK(arm->condition != NULL);
			check_expression(parser, arm->condition);
			n += 1 + check_steps(parser, arm->steps, depth + 1);
		}
		n += check_steps(parser, step->then_steps, depth + 1);
		n += check_steps(parser, step->else_steps, depth + 1);
	}
	return n;
}

static void
parse(const char *text, int length)
{
	ScriptParser *parser = pgj_script_parse(text, length);
	const ScriptError *error;
	const ScriptEntry *entry;
	const ScriptExit *rule;

	for (error = parser->errors; error; error = error->next)
		CHECK(error->offset >= 0 && error->offset <= length && error->message[0] != '\0');
	if (parser->nerrors > 0)
		return;

	CHECK(check_steps(parser, parser->script->steps, 0) == parser->script->nsteps);
	for (entry = parser->script->entries; entry; entry = entry->next)
		check_expression(parser, entry->condition);
	for (rule = parser->script->exits; rule; rule = rule->next)
	{
		CHECK(rule->event != NULL);
		check_expression(parser, rule->condition);
	}
	check_expression(parser, parser->script->key);
	check_expression(parser, parser->script->goal_value);
	check_text(parser, parser->script->limit);
	CHECK((parser->script->limit != NULL) == (parser->script->limit_per != NULL));
	CHECK((parser->script->goal_event != NULL) == (parser->script->goal_within != NULL));
}

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* a block of just this size: reading past its end is seen */
	char	   *text = palloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';

	/* a value of type text has no NUL */
	if (memchr(text, '\0', size) == NULL)
	{
		if (setjmp(shim_jmp) != 0)
			abort();			/* nothing a user writes may throw */
		parse(text, (int) size);
	}

	while (blocks.next != &blocks)
		pfree(blocks.next + 1);
	return 0;
}
