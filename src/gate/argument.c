/*-------------------------------------------------------------------------
 *
 * argument.c
 *	  Arguments of the gate's functions: contacts, and names that must exist.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "gate/argument.h"
#include "plan.h"

void
pgj_argument_refuse_null(FunctionCallInfo fcinfo, const char *const *names)
{
	for (int i = 0; i < PG_NARGS(); i++)
		if (names[i] != NULL && PG_ARGISNULL(i))
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("%s must not be null", names[i]));
}

/* The contact as a value of the key's type, whatever type it came as. */
Datum
pgj_argument_contact(FunctionCallInfo fcinfo, const Site *site, int argument)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, argument);
	Oid output;
	bool varlena;

	if (type == site->key_type)
		return PG_GETARG_DATUM(argument);
	getTypeOutputInfo(type, &output, &varlena);
	return pgj_key_from_text(
		site, OidOutputFunctionCall(output, PG_GETARG_DATUM(argument)));
}

/* Refuse the name of a definition of which the plan says that there is none. */
static void
require(KeptPlan *plan, const Site *site, const char *kind, Datum name,
		const char *hint)
{
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TEXTOID, name);
	(void) pgj_plan_execute(plan, &params);
	if (!DatumGetBool(pgj_row_value(0, 1)))
		ereport(
			ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("%s \"%s\" does not exist", kind, TextDatumGetCString(name)),
			errhint("%s", hint));
}

void
pgj_require_channel(const Site *site, Datum name)
{
	static KeptPlan plan = {
		.sql =
			"SELECT EXISTS (SELECT FROM journey.channel AS h WHERE h.name OPERATOR(pg_catalog.=) $1)"
	};

	require(&plan, site, "channel", name,
			"Create it with journey.create_channel().");
}

void
pgj_require_topic(const Site *site, Datum name)
{
	static KeptPlan plan = {
		.sql =
			"SELECT $1 OPERATOR(pg_catalog.=) '*' OR EXISTS (SELECT FROM journey.topic AS t WHERE t.name OPERATOR(pg_catalog.=) $1)"
	};

	require(
		&plan, site, "topic", name,
		"Create it with journey.create_topic(), or use '*' for all topics.");
}
