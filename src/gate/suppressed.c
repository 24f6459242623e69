/*-------------------------------------------------------------------------
 *
 * suppressed.c
 *	  Is the contact or its address suppressed?
 *
 * A claim says what it looks at before it looks (onlooker.c), and looks for rows that
 * have not committed.  So a suppression has committed and is seen here, or is
 * open and puts the message off, or waits for the claim to commit.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "gate/check.h"
#include "gate/onlooker.h"
#include "gate/unsettled.h"
#include "outbox/fold.h"
#include "pg_journey.h"
#include "plan.h"

/*
 * What stands against a contact comes before what stands against its address,
 * scope "all" before "promotional", one channel before all.
 */
static KeptPlan find_suppressions = {
	.sql =
		"SELECT DISTINCT ON (x.n) x.n, x.by, x.channel, x.scope, x.reason, x.at FROM ("
		"SELECT r.n, 'contact' AS by, k.channel, k.scope, k.reason, k.at "
		"FROM unnest($1, $2, $3, $4) AS r (n, contact, channel, address) "
		"JOIN journey_state.suppressed_contact AS k ON k.contact = r.contact "
		"AND (k.channel OPERATOR(pg_catalog.=) r.channel OR k.channel OPERATOR(pg_catalog.=) '*') "
		"UNION ALL "
		"SELECT r.n, 'address', s.channel, s.scope, s.reason, s.at "
		"FROM unnest($1, $2, $3, $4) AS r (n, contact, channel, address) "
		"JOIN journey_state.suppression AS s ON s.channel OPERATOR(pg_catalog.=) r.channel "
		"AND s.address OPERATOR(pg_catalog.=) r.address) AS x "
		"ORDER BY x.n, x.scope, x.by DESC, x.channel DESC"
};

static void
judge_suppression(Check *check, uint64 row)
{
	MemoryContext context = CurrentMemoryContext;
	char *scope = pgj_row_text(context, row, 4);
	StringInfo out = pgj_check_evidence(check, "suppression");

	appendStringInfo(
		out, "{\"by\": \"%s\", \"channel\": ", pgj_row_text(context, row, 2));
	escape_json(out, pgj_row_text(context, row, 3));
	appendStringInfo(out, ", \"scope\": \"%s\", \"reason\": ", scope);
	escape_json(out, pgj_row_text(context, row, 5));
	appendStringInfoString(out, ", \"at\": ");
	pgj_check_time(out, DatumGetTimestampTz(pgj_row_value(row, 6)));
	appendStringInfoChar(out, '}');
	if (!check->transactional || strcmp(scope, "all") == 0)
		pgj_check_withhold(check, "suppressed");
}

/*
 * Before it is read: tell what this claim looks at, then find what is being
 * written; that is to be asked again.
 */
static void
meet_writers(const Site *site, Check *checks, int n)
{
	Onlooker onlooker;
	Unsettled *addresses, *contacts;

	pgj_onlooker_init(&onlooker);
	for (int i = 0; i < n; i++)
		if (checks[i].open)
			pgj_onlooker_add(&onlooker, site, checks[i].request->contact,
							 checks[i].request->channel, checks[i].folded);
	pgj_onlooker_enter(&onlooker);

	addresses = pgj_unsettled_open("suppression", 2);
	contacts = pgj_unsettled_open("suppressed_contact", 1);
	for (int i = 0; i < n; i++)
	{
		GateRequest *request = checks[i].request;
		Datum key[2];

		if (!checks[i].open)
			continue;
		request->busy =
			pgj_unsettled(contacts, &request->contact) == ROW_UNSETTLED;
		if (request->busy || checks[i].folded == NULL)
			continue;
		key[0] = CStringGetTextDatum(request->channel);
		key[1] = CStringGetTextDatum(checks[i].folded);
		request->busy = pgj_unsettled(addresses, key) == ROW_UNSETTLED;
	}
	pgj_unsettled_close(contacts);
	pgj_unsettled_close(addresses);
}

void
pgj_suppression_check(const Site *site, GateStage stage, Check *checks, int n)
{
	Params params;
	Datum *number, *contact, *channel, *address;
	bool *address_null;
	int nopen = pgj_check_count_open(checks, n);
	int k = 0;
	uint64 nrows;

	if (nopen == 0)
		return;
	for (int i = 0; i < n; i++)
		if (checks[i].open && checks[i].address != NULL)
			checks[i].folded = pgj_fold_lower(checks[i].address);
	if (stage == GATE_CLAIM && PGJ_SABOTAGE != 9)
		meet_writers(site, checks, n);

	SPI_connect();
	pgj_params_init(&params, site, nopen);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	channel = pgj_params_column(&params, TEXTOID, NULL);
	address = pgj_params_column(&params, TEXTOID, &address_null);
	for (int i = 0; i < n; i++)
	{
		if (!checks[i].open)
			continue;
		number[k] = Int32GetDatum(i);
		contact[k] = checks[i].request->contact;
		channel[k] = CStringGetTextDatum(checks[i].request->channel);
		address_null[k] = checks[i].folded == NULL;
		if (!address_null[k])
			address[k] = CStringGetTextDatum(checks[i].folded);
		k++;
	}
	nrows = pgj_plan_execute(&find_suppressions, &params);
	for (uint64 row = 0; row < nrows; row++)
		judge_suppression(&checks[DatumGetInt32(pgj_row_value(row, 1))], row);
	SPI_finish();

	for (int i = 0; i < n; i++)
		if (checks[i].open && checks[i].request->busy)
			pgj_check_withhold(&checks[i], "suppressed");
}
