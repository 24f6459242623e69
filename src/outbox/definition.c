/*-------------------------------------------------------------------------
 *
 * definition.c
 *	  What the SQL functions that define channels and templates check in C.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "outbox/address.h"
#include "outbox/render.h"

PG_FUNCTION_INFO_V1(pgj_sql_is_email);
PG_FUNCTION_INFO_V1(pgj_sql_is_mailbox);
PG_FUNCTION_INFO_V1(pgj_sql_is_phone);
PG_FUNCTION_INFO_V1(pgj_sql_template_check);

Datum
pgj_sql_is_email(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pgj_address_is_email(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

Datum
pgj_sql_is_mailbox(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(
		pgj_address_is_mailbox(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

Datum
pgj_sql_is_phone(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(pgj_address_is_phone(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/*
 * journey._check_template(source text)
 */
Datum
pgj_sql_template_check(PG_FUNCTION_ARGS)
{
	pgj_template_check(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}
