/*-------------------------------------------------------------------------
 *
 * receipt.c
 *	  Append what is known of a message's way to its recipient.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "feedback/receipt.h"
#include "plan.h"

void
pgj_receipt_append(const Site *site, const ReceiptRow *rows, int n)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.receipt (contact, receipt_id, at, message_id, attempt, kind, relay, code, response, caps) "
			"SELECT r.contact, pg_catalog.nextval('journey_state.row_id_seq'), r.at, r.message_id, r.attempt, r.kind, r.relay, r.code, r.response, r.caps::pg_catalog.text[] "
			"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) "
			"AS r (contact, at, message_id, attempt, kind, relay, code, response, caps)"
	};
	Params params;
	Datum *contact, *at, *message, *attempt, *kind, *relay, *code, *response,
		*caps;
	bool *code_null, *response_null, *caps_null;

	if (n == 0)
		return;
	SPI_connect();
	pgj_params_init(&params, site, n);
	contact = pgj_params_column(&params, site->key_type, NULL);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	message = pgj_params_column(&params, INT8OID, NULL);
	attempt = pgj_params_column(&params, INT4OID, NULL);
	kind = pgj_params_column(&params, TEXTOID, NULL);
	relay = pgj_params_column(&params, TEXTOID, NULL);
	code = pgj_params_column(&params, TEXTOID, &code_null);
	response = pgj_params_column(&params, TEXTOID, &response_null);
	caps = pgj_params_column(&params, TEXTOID, &caps_null);
	for (int i = 0; i < n; i++)
	{
		contact[i] = rows[i].contact;
		at[i] = TimestampTzGetDatum(rows[i].at);
		message[i] = Int64GetDatum(rows[i].message_id);
		attempt[i] = Int32GetDatum(rows[i].attempt);
		kind[i] = CStringGetTextDatum(rows[i].kind);
		relay[i] = CStringGetTextDatum(rows[i].relay);
		code[i] = pgj_text_or_null(rows[i].code, &code_null[i]);
		response[i] = pgj_text_or_null(rows[i].response, &response_null[i]);
		caps[i] = pgj_text_or_null(rows[i].caps, &caps_null[i]);
	}
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}
