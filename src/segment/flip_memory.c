/*-------------------------------------------------------------------------
 *
 * flip_memory.c
 *	  What the search for one row's flip leaves for the next row's.
 *
 * Rows are looked at by the thousand at one instant, and often one side of the
 * comparison has nothing of the row in it: to_char(now(), 'MM-DD').  Its pieces are
 * found once and remembered until the instant, or the session's zone, is
 * another.  Only what constants were written for in the call counts as free of the
 * row, because nothing else is sure to stay.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "nodes/primnodes.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "segment/flip_program.h"

#define MAX_REMEMBERED 1000
#define FIRST_CAPACITY 16

/* Is a node made of now and constants alone? */
static bool
is_rowless(FunctionCallInfo fcinfo, const FlipNode *node)
{
	if (node->kind == NODE_VALUE)
		return pgj_flip_constant(fcinfo, node->argument + 1) != NULL;
	for (int i = 0; i < node->nargs; i++)
	{
		if (!is_rowless(fcinfo, node->args[i]))
			return false;
	}
	return true;
}

static FlipMemory *
make_memory(FunctionCallInfo fcinfo, const FlipNode *node)
{
	FlipMemory *memory;

	if (node == NULL || node->kind != NODE_CALL || !is_rowless(fcinfo, node))
		return NULL;
	memory = palloc0_object(FlipMemory);
	memory->context = AllocSetContextCreate(CurrentMemoryContext,
											"pieces of a condition on time",
											ALLOCSET_DEFAULT_SIZES);
	get_typlenbyval(node->type, &memory->len, &memory->byval);
	return memory;
}

void
pgj_flip_make_memories(FunctionCallInfo fcinfo, FlipProgram *program)
{
	program->left_memory = make_memory(fcinfo, program->left);
	program->right_memory = make_memory(fcinfo, program->right);
	if (is_rowless(fcinfo, program->left) &&
		(program->right == NULL || is_rowless(fcinfo, program->right)))
		program->answer = palloc0_object(FlipAnswer);
}

void
pgj_flip_memory_begin(FlipMemory *memory, TimestampTz now)
{
	if (memory == NULL ||
		(memory->now == now && memory->zone == session_timezone))
		return;
	MemoryContextReset(memory->context);
	memory->now = now;
	memory->zone = session_timezone;
	memory->bounded = false;
	memory->n = memory->next = memory->capacity = 0;
}

/* Where an instant is, or would be. */
static int
find_instant(const FlipMemory *memory, TimestampTz at)
{
	int low = 0;
	int high = memory->n;

	if (memory->next < memory->n && memory->at[memory->next] == at)
		return memory->next;
	while (low < high)
	{
		int middle = (low + high) / 2;

		if (memory->at[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
pgj_flip_recall(FlipMemory *memory, TimestampTz at, FlipValue *value)
{
	int found = find_instant(memory, at);

	if (found == memory->n || memory->at[found] != at)
		return false;
	*value = memory->values[found];
	memory->next = found + 1;
	return true;
}

/* Instants come in their order; one from in between is not worth moving the others. */
void
pgj_flip_remember(FlipMemory *memory, TimestampTz at, const FlipValue *value)
{
	MemoryContext old;
	FlipValue *copy;

	if (memory->n == MAX_REMEMBERED ||
		(memory->n > 0 && at <= memory->at[memory->n - 1]))
		return;
	old = MemoryContextSwitchTo(memory->context);
	if (memory->capacity == 0)
	{
		memory->capacity = FIRST_CAPACITY;
		memory->at = palloc_array(TimestampTz, memory->capacity);
		memory->values = palloc_array(FlipValue, memory->capacity);
	}
	else if (memory->n == memory->capacity)
	{
		memory->capacity *= 2;
		memory->at =
			repalloc(memory->at, memory->capacity * sizeof(TimestampTz));
		memory->values =
			repalloc(memory->values, memory->capacity * sizeof(FlipValue));
	}
	copy = &memory->values[memory->n];
	*copy = *value;
	if (!value->isnull)
		copy->value = datumCopy(value->value, memory->byval, memory->len);
	memory->at[memory->n++] = at;
	memory->next = memory->n;
	MemoryContextSwitchTo(old);
}
