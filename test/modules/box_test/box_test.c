/*-------------------------------------------------------------------------
 *
 * box_test.c
 *	  A door to the box for tests.
 *
 * It is linked with src/box.o and stands alone, so that the extension itself
 * needs no door.  Preloaded, it has the shared list of poisoned places as well.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "box.h"
#include "guc.h"
#include "pg_journey.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(box_test_run);
PG_FUNCTION_INFO_V1(box_test_repeat);
PG_FUNCTION_INFO_V1(box_test_forgive);

extern void _PG_init(void);

/* the two settings the box reads */
int			pgj_expression_memory;
int			pgj_expression_timeout;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();
	pgj_box_shmem_request();
}

static void
shmem_startup(void)
{
	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();
	pgj_box_shmem_init();
}

void
_PG_init(void)
{
	DefineCustomIntVariable("box_test.memory", "As pg_journey.expression_memory.", NULL,
							&pgj_expression_memory, 256 * 1024, -1, INT_MAX,
							PGC_SUSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("box_test.timeout", "As pg_journey.expression_timeout.", NULL,
							&pgj_expression_timeout, 1000, 1, INT_MAX / 2,
							PGC_SUSET, GUC_UNIT_MS, NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

typedef struct RunArg
{
	const char *sql;
	MemoryContext context;
	char	   *result;
} RunArg;

static void
run(void *arg)
{
	RunArg	   *run_arg = arg;
	int			result;

	SPI_connect();
	result = SPI_execute(run_arg->sql, true, 0);
	if (result < 0)
		elog(ERROR, "%s", SPI_result_code_string(result));
	if (SPI_processed > 0 && SPI_tuptable != NULL)
	{
		char	   *value = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		run_arg->result = value == NULL ? NULL : MemoryContextStrdup(run_arg->context, value);
	}
	SPI_finish();
}

/* box_test_run(sql text, role text, version int, expression int) returns text */
Datum
box_test_run(PG_FUNCTION_ARGS)
{
	RunArg		arg = {text_to_cstring(PG_GETARG_TEXT_PP(0)), CurrentMemoryContext, NULL};
	Site		site = {.owner = get_role_oid(text_to_cstring(PG_GETARG_TEXT_PP(1)), false)};
	ErrorData  *error = pgj_box_run(&site, PG_GETARG_INT32(2), PG_GETARG_INT32(3), run, &arg);

	if (error != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message)));
	if (arg.result == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(arg.result));
}

/* box_test_repeat(sql text, role text, n int): n evaluations */
Datum
box_test_repeat(PG_FUNCTION_ARGS)
{
	char	   *sql = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Site		site = {.owner = get_role_oid(text_to_cstring(PG_GETARG_TEXT_PP(1)), false)};
	int			n = PG_GETARG_INT32(2);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "box test",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int i = 0; i < n; i++)
	{
		RunArg		arg = {sql, context, NULL};

		(void) pgj_box_run(&site, 0, 0, run, &arg);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	PG_RETURN_VOID();
}

/* box_test_forgive(version int) */
Datum
box_test_forgive(PG_FUNCTION_ARGS)
{
	pgj_box_forgive(PG_GETARG_INT32(0));
	PG_RETURN_VOID();
}
