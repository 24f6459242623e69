/*-------------------------------------------------------------------------
 *
 * suppress.c
 *	  Addresses and contacts that must not be written to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "contact/site.h"
#include "gate/argument.h"
#include "gate/check.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_suppress);
PG_FUNCTION_INFO_V1(pgj_sql_unsuppress);

void
pgj_suppression_check(const Site *site, GateStage stage, Check *checks, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, s.reason, s.at FROM unnest($1, $2, $3) AS r (n, channel, address) "
			"JOIN journey_state.suppression AS s ON s.channel OPERATOR(pg_catalog.=) r.channel "
			"AND s.address OPERATOR(pg_catalog.=) pg_catalog.lower(r.address)"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	Datum *number, *channel, *address;
	int k = 0;
	uint64 nrows;

	for (int i = 0; i < n; i++)
		k += checks[i].open && checks[i].address != NULL;
	if (k == 0)
		return;

	SPI_connect();
	pgj_params_init(&params, site, k);
	number = pgj_params_column(&params, INT4OID, NULL);
	channel = pgj_params_column(&params, TEXTOID, NULL);
	address = pgj_params_column(&params, TEXTOID, NULL);
	for (int i = k = 0; i < n; i++)
	{
		if (!checks[i].open || checks[i].address == NULL)
			continue;
		number[k] = Int32GetDatum(i);
		channel[k] = CStringGetTextDatum(checks[i].request->channel);
		address[k++] = CStringGetTextDatum(checks[i].address);
	}
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Check *check = &checks[DatumGetInt32(pgj_row_value(row, 1))];
		char *reason = pgj_row_text(context, row, 2);
		StringInfo out = pgj_check_evidence(check, "suppression");

		appendStringInfoString(out, "{\"reason\": ");
		escape_json(out, reason);
		appendStringInfoString(out, ", \"at\": ");
		pgj_check_time(out, DatumGetTimestampTz(pgj_row_value(row, 3)));
		appendStringInfoChar(out, '}');
		pgj_check_withhold(check, "suppressed");
	}
	SPI_finish();
}

/*
 * journey.suppress(channel text, address text, reason text, at timestamptz)
 */
Datum
pgj_sql_suppress(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "channel", "address", "reason", "at" };
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.suppression (channel, address, reason, at) "
			"VALUES ($1, pg_catalog.lower($2), $3, $4) "
			"ON CONFLICT (channel, address) DO UPDATE SET reason = EXCLUDED.reason, at = EXCLUDED.at"
	};
	const Site *site = pgj_site();
	SavedUser saved;
	Params params;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_require_channel(site, PG_GETARG_DATUM(0));
	pgj_params_init(&params, site, 0);
	for (int i = 0; i < 3; i++)
		pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(i));
	pgj_params_scalar(&params, TIMESTAMPTZOID, PG_GETARG_DATUM(3));
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

/*
 * journey.unsuppress(channel text, address text) returns boolean
 */
Datum
pgj_sql_unsuppress(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "channel", "address" };
	static KeptPlan plan = {
		.sql =
			"DELETE FROM journey_state.suppression AS s "
			"WHERE s.channel OPERATOR(pg_catalog.=) $1 AND s.address OPERATOR(pg_catalog.=) pg_catalog.lower($2)"
	};
	const Site *site = pgj_site();
	SavedUser saved;
	Params params;
	bool found;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_require_channel(site, PG_GETARG_DATUM(0));
	pgj_params_init(&params, site, 0);
	for (int i = 0; i < 2; i++)
		pgj_params_scalar(&params, TEXTOID, PG_GETARG_DATUM(i));
	found = pgj_plan_execute(&plan, &params) > 0;
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_BOOL(found);
}
