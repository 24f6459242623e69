/*-------------------------------------------------------------------------
 *
 * flip_program.c
 *	  Read the program of a call of journey._flip().
 *
 * A program names C functions of the server, and whoever may call _flip() may
 * write one.  So nothing is taken on trust: a function must be one that its
 * caller could call in SQL, not volatile, and each of its arguments of a type that
 * it is made for.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "segment/flip_program.h"

typedef struct Reader
{
	FunctionCallInfo call; /* of _flip() */
	const char *at;
	Oid collation;
} Reader;

pg_noreturn static void bad_program(const Reader *reader);

static void
bad_program(const Reader *reader)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("malformed condition on time at \"%s\"", reader->at),
			 errhint("This function is called by segments' statements only.")));
}

static char *
read_word(Reader *reader)
{
	const char *start;

	while (*reader->at == ' ')
		reader->at++;
	start = reader->at;
	while (*reader->at != '\0' && strchr(" ()", *reader->at) == NULL)
		reader->at++;
	if (reader->at == start)
		bad_program(reader);
	return pnstrdup(start, reader->at - start);
}

static bool
read_sign(Reader *reader, char sign)
{
	while (*reader->at == ' ')
		reader->at++;
	if (*reader->at != sign)
		return false;
	reader->at++;
	return true;
}

/* ---------- functions ---------- */

static void
look_up(Reader *reader, const char *name, FmgrInfo *function)
{
	Oid oid = fmgr_internal_function(name);

	if (!OidIsValid(oid))
		bad_program(reader);
	fmgr_info(oid, function);
}

/*
 * Is a value of one type as good as one of another to a C function?  Several
 * functions of SQL share one in C, and the one that is found by its name may be
 * another than was meant: those of timestamptz are those of timestamp.
 */
static bool
serves_as(Oid given, Oid wanted)
{
	Oid function;

	if (!OidIsValid(given))
		return false;
	given = getBaseType(given);
	if (given == TIMESTAMPTZOID)
		given = TIMESTAMPOID;
	if (wanted == TIMESTAMPTZOID)
		wanted = TIMESTAMPOID;
	return given == wanted ||
		   find_coercion_pathway(wanted, given, COERCION_EXPLICIT, &function) ==
			   COERCION_PATH_RELABELTYPE;
}

/* May this function be called with values of these types?  What it returns. */
static Oid
check_function(const Reader *reader, Oid function, int nargs, const Oid *types)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	bool good;
	Oid result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	result = proc->prorettype;
	good = proc->prokind == PROKIND_FUNCTION && !proc->proretset &&
		   proc->provolatile != PROVOLATILE_VOLATILE &&
		   !OidIsValid(proc->provariadic) && proc->pronargs == nargs &&
		   get_typtype(result) != TYPTYPE_PSEUDO;
	for (int i = 0; i < nargs && good; i++)
		good = get_typtype(proc->proargtypes.values[i]) != TYPTYPE_PSEUDO &&
			   serves_as(types[i], proc->proargtypes.values[i]);
	ReleaseSysCache(tuple);
	if (!good)
		bad_program(reader);
	if (pgj_function_aclcheck(function, GetUserId(), ACL_EXECUTE) !=
		ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION,
					   get_func_name(function));
	return result;
}

/* The same for one that compares two values of a type: less, equal or greater. */
static void
check_comparison(const Reader *reader, Oid function, Oid left, Oid right)
{
	Oid types[] = { left, right };

	if (check_function(reader, function, lengthof(types), types) != INT4OID)
		bad_program(reader);
}

/* The type of a value that is made of the values of arguments. */
static Oid
type_of_node(const Reader *reader, const FlipNode *node)
{
	Oid types[FLIP_MAX_ARGUMENTS] = { 0 };

	for (int i = 0; i < node->nargs; i++)
		types[i] = node->args[i]->type;
	if (node->kind == NODE_CALL)
		return check_function(reader, node->function.fn_oid, node->nargs,
							  types);

	/* a choice between values of one type */
	if (node->nargs == 0)
		bad_program(reader);
	for (int i = 0; i < node->nargs; i++)
	{
		if (!serves_as(types[i], types[0]))
			bad_program(reader);
		if (node->kind != NODE_COALESCE)
			check_comparison(reader, node->function.fn_oid, types[i], types[0]);
	}
	return types[0];
}

static Oid
type_of_value(const Reader *reader, int argument)
{
	if (argument < 1 || argument + 1 >= reader->call->nargs)
		bad_program(reader);
	return get_fn_expr_argtype(reader->call->flinfo, argument + 1);
}

/* ---------- nodes ---------- */

static FlipNode *
read_node(Reader *reader)
{
	FlipNode *node = palloc0(sizeof(FlipNode));
	char *word;

	check_stack_depth();
	if (!read_sign(reader, '('))
	{
		word = read_word(reader);
		if (strcmp(word, "now") == 0)
		{
			node->kind = NODE_NOW;
			node->type = TIMESTAMPTZOID;
		}
		else if (word[0] == '$')
		{
			node->kind = NODE_VALUE;
			node->argument = pg_strtoint32(word + 1);
			node->type = type_of_value(reader, node->argument);
		}
		else
			bad_program(reader);
		return node;
	}

	word = read_word(reader);
	if (strcmp(word, "greatest") == 0 || strcmp(word, "least") == 0)
	{
		node->kind = word[0] == 'g' ? NODE_GREATEST : NODE_LEAST;
		look_up(reader, read_word(reader), &node->function);
	}
	else if (strcmp(word, "coalesce") == 0)
		node->kind = NODE_COALESCE;
	else
	{
		node->kind = NODE_CALL;
		look_up(reader, word, &node->function);
		node->stage = pgj_flip_stage(word);
	}
	while (!read_sign(reader, ')'))
	{
		if (node->nargs == FLIP_MAX_ARGUMENTS)
			bad_program(reader);
		node->args[node->nargs++] = read_node(reader);
	}
	node->type = type_of_node(reader, node);
	node->call = palloc0(SizeForFunctionCallInfo(Max(node->nargs, 2)));
	InitFunctionCallInfoData(*node->call, &node->function,
							 node->kind == NODE_CALL ? node->nargs : 2,
							 reader->collation, NULL, NULL);
	return node;
}

static Oid
axis_of(const char *compare)
{
	static const struct
	{
		const char *name;
		Oid type;
	} axes[] = { { "timestamp_cmp", TIMESTAMPTZOID }, /* serves both */
				 { "timestamptz_cmp", TIMESTAMPTZOID },
				 { "date_cmp", DATEOID },
				 { "time_cmp", TIMEOID },
				 { "interval_cmp", INTERVALOID },
				 { "btint4cmp", INT4OID },
				 { "btint8cmp", INT8OID },
				 { "btfloat8cmp", FLOAT8OID },
				 { "numeric_cmp", NUMERICOID } };

	for (int i = 0; i < lengthof(axes); i++)
	{
		if (strcmp(axes[i].name, compare) == 0)
			return axes[i].type;
	}
	return InvalidOid;
}

static FlipOp
read_op(Reader *reader)
{
	static const char *const names[] = { "<",  "<=", "=", "<>",
										 ">=", ">",	 "?", "change" };
	char *word = read_word(reader);

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(names[i], word) == 0)
			return (FlipOp) i;
	}
	bad_program(reader);
	return OP_CHANGE;
}

/* ---------- plain programs ---------- */

static bool
is_call(const FlipNode *node, const char *name)
{
	return node->kind == NODE_CALL && node->stage != NULL &&
		   strcmp(node->stage->name, name) == 0;
}

/* now, now ± $span */
static bool
is_moved_now(const FlipNode *node, PlainProgram *plain)
{
	if (node->kind == NODE_NOW)
		return true;
	plain->sign = is_call(node, "timestamptz_pl_interval") ? 1 : -1;
	if ((plain->sign < 0 && !is_call(node, "timestamptz_mi_interval")) ||
		node->args[0]->kind != NODE_NOW || node->args[1]->kind != NODE_VALUE)
		return false;
	plain->span = node->args[1]->argument;
	return true;
}

/* now - $time, $time - now */
static bool
is_distance(const FlipNode *node, PlainProgram *plain)
{
	int now;

	if (!is_call(node, "timestamp_mi"))
		return false;
	now = node->args[0]->kind == NODE_NOW ? 0 : 1;
	if (node->args[now]->kind != NODE_NOW ||
		node->args[1 - now]->kind != NODE_VALUE)
		return false;
	plain->time = node->args[1 - now]->argument;
	plain->sign = now == 0 ? -1 : 1;
	plain->distance = true;
	return true;
}

static PlainProgram
plain_program(const FlipProgram *program)
{
	PlainProgram plain = { false };

	if (program->op == OP_CHANGE)
		return plain;
	for (int side = 0; side < 2; side++)
	{
		const FlipNode *moving = side == 0 ? program->left : program->right;
		const FlipNode *fixed = side == 0 ? program->right : program->left;

		memset(&plain, 0, sizeof(plain));
		plain.order = side == 0 ? 1 : -1;
		if (fixed->kind != NODE_VALUE)
			continue;
		if (program->axis == TIMESTAMPTZOID && is_moved_now(moving, &plain))
			plain.time = fixed->argument;
		else if (program->axis == INTERVALOID && is_distance(moving, &plain))
		{
			plain.span = fixed->argument;
			plain.order *= -plain.sign;
		}
		else
			continue;
		plain.is = true;
		break;
	}
	return plain;
}

/* ---------- reading programs ---------- */

static void
read_program(FlipProgram *program, text *source, FunctionCallInfo fcinfo)
{
	Reader reader = { .call = fcinfo, .collation = PG_GET_COLLATION() };

	program->source = text_to_cstring(source);
	reader.at = program->source;
	if (!read_sign(&reader, '(') ||
		get_fn_expr_argtype(fcinfo->flinfo, 1) != TIMESTAMPTZOID)
		bad_program(&reader);
	program->op = read_op(&reader);
	if (program->op == OP_CHANGE)
		program->left = read_node(&reader);
	else
	{
		char *compare = read_word(&reader);

		look_up(&reader, compare, &program->compare);
		program->axis = axis_of(compare);
		program->left = read_node(&reader);
		program->right = read_node(&reader);
		check_comparison(&reader, program->compare.fn_oid, program->left->type,
						 program->right->type);
	}
	if (!read_sign(&reader, ')') || *reader.at != '\0')
		bad_program(&reader);
	program->plain = plain_program(program);
	program->scratch = AllocSetContextCreate(
		CurrentMemoryContext, "condition on time", ALLOCSET_SMALL_SIZES);
}

const Node *
pgj_flip_constant(FunctionCallInfo fcinfo, int argument)
{
	FuncExpr *call = (FuncExpr *) fcinfo->flinfo->fn_expr;
	const Node *node;

	if (call == NULL || !IsA(call, FuncExpr) ||
		argument >= list_length(call->args))
		return NULL;
	node = list_nth(call->args, argument);
	return IsA(node, Const) ? node : NULL;
}

FlipProgram *
pgj_flip_program(FunctionCallInfo fcinfo)
{
	FlipProgram *program = fcinfo->flinfo->fn_extra;
	const Node *argument = pgj_flip_constant(fcinfo, 0);
	text *source;
	MemoryContext context;
	MemoryContext old;

	if (program != NULL && argument != NULL && program->argument == argument)
		return program;
	source = PG_GETARG_TEXT_PP(0);
	if (program != NULL)
	{
		if (strlen(program->source) == VARSIZE_ANY_EXHDR(source) &&
			memcmp(program->source, VARDATA_ANY(source),
				   VARSIZE_ANY_EXHDR(source)) == 0)
			return program;
		fcinfo->flinfo->fn_extra = NULL;
		MemoryContextDelete(program->context);
	}
	context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt,
									"program of a condition on time",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	program = palloc0_object(FlipProgram);
	program->context = context;
	program->argument = argument;
	read_program(program, source, fcinfo);
	pgj_flip_make_memories(fcinfo, program);
	MemoryContextSwitchTo(old);
	fcinfo->flinfo->fn_extra = program;
	return program;
}
