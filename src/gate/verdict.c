/*-------------------------------------------------------------------------
 *
 * verdict.c
 *	  Write down what the gate answered, and why.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "gate/gate.h"
#include "plan.h"

static const char *
verdict_word(const VerdictRow *row)
{
	if (row->granted)
		return "sent";
	return row->deferred ? "deferred" : "withheld";
}

void
pgj_verdict_append(const Site *site, const VerdictRow *rows, int n)
{
	static KeptPlan plan = {
		.sql = "INSERT INTO journey_state.verdict (contact, verdict_id, at, enrollment_id, version_id, step_no, visit, "
		"ghost, comparable, stage, verdict, reason, message_id, evidence) "
		"SELECT r.contact, pg_catalog.nextval('journey_state.row_id_seq'), r.at, r.enrollment_id, r.version_id, r.step_no, r.visit, "
		"r.ghost, r.comparable, r.stage, r.verdict, r.reason, r.message_id, r.evidence "
		"FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
		"AS r (contact, at, enrollment_id, version_id, step_no, visit, ghost, comparable, stage, verdict, reason, message_id, evidence)"
	};
	Params		params;
	Datum	   *contact,
			   *at,
			   *enrollment,
			   *version,
			   *step,
			   *visit,
			   *ghost,
			   *comparable,
			   *stage,
			   *verdict,
			   *reason,
			   *message,
			   *evidence;
	bool	   *reason_null,
			   *message_null;

	if (n == 0)
		return;
	SPI_connect();
	pgj_params_init(&params, site, n);
	contact = pgj_params_column(&params, site->key_type, NULL);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	enrollment = pgj_params_column(&params, INT8OID, NULL);
	version = pgj_params_column(&params, INT4OID, NULL);
	step = pgj_params_column(&params, INT4OID, NULL);
	visit = pgj_params_column(&params, INT4OID, NULL);
	ghost = pgj_params_column(&params, BOOLOID, NULL);
	comparable = pgj_params_column(&params, BOOLOID, NULL);
	stage = pgj_params_column(&params, TEXTOID, NULL);
	verdict = pgj_params_column(&params, TEXTOID, NULL);
	reason = pgj_params_column(&params, TEXTOID, &reason_null);
	message = pgj_params_column(&params, INT8OID, &message_null);
	evidence = pgj_params_column(&params, JSONBOID, NULL);
	for (int i = 0; i < n; i++)
	{
		const VerdictRow *row = &rows[i];

		contact[i] = row->contact;
		at[i] = TimestampTzGetDatum(row->at);
		enrollment[i] = Int64GetDatum(row->enrollment_id);
		version[i] = Int32GetDatum(row->version_id);
		step[i] = Int32GetDatum(row->step_no);
		visit[i] = Int32GetDatum(row->visit);
		ghost[i] = BoolGetDatum(row->ghost);
		comparable[i] = BoolGetDatum(row->comparable);
		stage[i] = CStringGetTextDatum(row->stage == GATE_CLAIM ? "claim" : "decide");
		verdict[i] = CStringGetTextDatum(verdict_word(row));
		reason_null[i] = row->granted;
		if (!row->granted)
			reason[i] = CStringGetTextDatum(row->reason);
		message_null[i] = row->message_id == 0;
		message[i] = Int64GetDatum(row->message_id);
		evidence[i] = row->evidence;
	}
	(void) pgj_plan_execute(&plan, &params);
	SPI_finish();
}
