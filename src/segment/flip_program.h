/*-------------------------------------------------------------------------
 *
 * flip_program.h
 *	  The programs of flip.h as trees, ready to be run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_FLIP_PROGRAM_H
#define PGJ_FLIP_PROGRAM_H

#include "segment/flip.h"

#define FLIP_MAX_ARGUMENTS 8 /* of a function in a program */

typedef enum NodeKind
{
	NODE_NOW,
	NODE_VALUE,
	NODE_CALL,
	NODE_GREATEST,
	NODE_LEAST,
	NODE_COALESCE
} NodeKind;

typedef struct FlipNode
{
	NodeKind kind;
	int argument; /* NODE_VALUE */
	FmgrInfo function;
	Oid type; /* of the value */
	const Stage *stage;
	int nargs;
	struct FlipNode *args[FLIP_MAX_ARGUMENTS];
	FunctionCallInfo call;
} FlipNode;

typedef enum FlipOp
{
	OP_LT,
	OP_LE,
	OP_EQ,
	OP_NE,
	OP_GE,
	OP_GT,
	OP_SIGN,
	OP_CHANGE
} FlipOp;

/*
 * A program that needs no search (flip_plain.c): x against now, now ± span, or
 * the distance of now and x against span.
 */
typedef struct PlainProgram
{
	bool is;
	int time; /* the argument that is x */
	int span; /* the argument that is an interval; 0: none */
	int sign; /* of the span beside now */
	bool
		distance; /* the span stands alone, and is weighed as intervals are compared */
	int order; /* 1: left - right rises with time; -1: it falls */
} PlainProgram;

/*
 * A side in which rows have no part goes through the same pieces for all rows
 * that are asked about at one instant.
 */
typedef struct FlipMemory
{
	MemoryContext context; /* of what follows "zone" */
	bool byval;			   /* values' type */
	int16 len;
	TimestampTz now; /* what is remembered is of searches from here */
	pg_tz *zone;
	bool bounded;
	FlipBounds bounds;
	int n;
	int next; /* will be asked for next, probably */
	int capacity;
	TimestampTz *at; /* rising */
	FlipValue *values;
} FlipMemory;

/* What came of a search in which rows have no part. */
typedef struct FlipAnswer
{
	bool known;
	TimestampTz now;
	pg_tz *zone;
	bool found;
	TimestampTz flip;
} FlipAnswer;

typedef struct FlipProgram
{
	MemoryContext context;
	char *source;
	const Node *argument; /* the constant it was read from, if it was one */
	PlainProgram plain;
	FlipOp op;
	FmgrInfo compare;
	Oid axis; /* the type compared, if places on its axis are comparable */
	FlipNode *left;
	FlipNode *right;		 /* NULL for OP_CHANGE */
	FlipMemory *left_memory; /* NULL: none */
	FlipMemory *right_memory;
	FlipAnswer *answer; /* NULL: rows have a part in it */
	MemoryContext scratch;
} FlipProgram;

/* The program of a call of _flip(), read once for each place it is called from. */
extern FlipProgram *pgj_flip_program(FunctionCallInfo fcinfo);

/* flip_memory.c: memories for a program that has been read */
extern void pgj_flip_make_memories(FunctionCallInfo fcinfo,
								   FlipProgram *program);

/* A search begins; memory may be null. */
extern void pgj_flip_memory_begin(FlipMemory *memory, TimestampTz now);

/* A side's value at an instant and how it goes on, if it has been remembered. */
extern bool pgj_flip_recall(FlipMemory *memory, TimestampTz at,
							FlipValue *value);
extern void pgj_flip_remember(FlipMemory *memory, TimestampTz at,
							  const FlipValue *value);

/* An argument of the call, if it was written with a constant there, or NULL. */
extern const Node *pgj_flip_constant(FunctionCallInfo fcinfo, int argument);

#endif /* PGJ_FLIP_PROGRAM_H */
