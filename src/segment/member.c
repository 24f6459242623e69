/*-------------------------------------------------------------------------
 *
 * member.c
 *	  journey.in_segment().
 *
 * It reads the tables with its caller's rights and snapshot, so that it may
 * stand in an analyst's query as well as in an expression of a journey.  In a
 * predicate the analysis puts a sub-select in its place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "contact/site.h"
#include "pg_journey.h"
#include "segment/read.h"

PG_FUNCTION_INFO_V1(pgj_sql_in_segment);

/* Null without a row: no such segment. */
#define MEMBER_OF                                                      \
	"SELECT coalesce((SELECT m.member FROM journey_state.membership m" \
	" WHERE m.segment_id OPERATOR(pg_catalog.=) s.segment_id"          \
	" AND m.contact OPERATOR(pg_catalog.=) $1), false)"                \
	" FROM journey.segment s WHERE s.name OPERATOR(pg_catalog.=) $2"

static SPIPlanPtr
plan_for(const Site *site)
{
	static SPIPlanPtr plan = NULL;
	static Oid planned_for = InvalidOid;
	Oid types[2] = { site->key_type, TEXTOID };

	if (plan != NULL && planned_for == site->key_type)
		return plan;
	if (plan != NULL)
		SPI_freeplan(plan);
	plan = NULL; /* should preparing fail */
	plan = SPI_prepare_cursor(MEMBER_OF, 2, types, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", MEMBER_OF,
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	planned_for = site->key_type;
	return plan;
}

Datum
pgj_contact_argument(FunctionCallInfo fcinfo, const Site *site)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid output;
	bool varlena;

	if (!OidIsValid(type))
		elog(ERROR, "could not determine the type of contact");
	if (type == site->key_type)
		return PG_GETARG_DATUM(0);
	if (type == INT4OID && site->key_type == INT8OID)
		return Int64GetDatum(PG_GETARG_INT32(0));
	getTypeOutputInfo(type, &output, &varlena);
	return pgj_key_from_text(site,
							 OidOutputFunctionCall(output, PG_GETARG_DATUM(0)));
}

/*
 * journey.in_segment(contact "any", segment text) returns boolean
 */
Datum
pgj_sql_in_segment(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	Datum values[2];
	bool isnull = true;
	bool member = false;
	int code;

	/* nobody is in no segment, as in a predicate */
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	values[0] = pgj_contact_argument(fcinfo, site);
	values[1] = PG_GETARG_DATUM(1);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	code = SPI_execute_plan(plan_for(site), values, NULL, true, 1);
	if (code < 0)
		elog(ERROR, "could not run \"%s\": %s", MEMBER_OF,
			 SPI_result_code_string(code));
	if (SPI_processed > 0)
		member = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	if (isnull)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("segment \"%s\" does not exist",
					   text_to_cstring(PG_GETARG_TEXT_PP(1))));
	PG_RETURN_BOOL(member);
}
