/*-------------------------------------------------------------------------
 *
 * verdict.c
 *	  Write down what the gate answered, and why.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "append.h"
#include "gate/gate.h"

static const char *
verdict_word(const VerdictRow *row)
{
	if (row->granted)
		return "sent";
	return row->deferred ? "deferred" : "withheld";
}

static const char *const verdict_columns[] = {
	"contact", "verdict_id", "at",	  "enrollment_id", "version_id",
	"step_no", "visit",		 "ghost", "comparable",	   "stage",
	"verdict", "reason",	 "until", "message_id",	   "evidence"
};

void
pgj_verdict_append(const Site *site, const VerdictRow *rows, int n)
{
	Oid ids = pgj_state_relation("row_id_seq");
	AppendRows log;

	if (n == 0)
		return;
	pgj_append_init(&log, "verdict", verdict_columns, lengthof(verdict_columns),
					n);
	for (int i = 0; i < n; i++)
	{
		const VerdictRow *row = &rows[i];

		log.values[0][i] = row->contact;
		log.values[1][i] = Int64GetDatum(nextval_internal(ids, false));
		log.values[2][i] = TimestampTzGetDatum(row->at);
		log.values[3][i] = Int64GetDatum(row->enrollment_id);
		log.values[4][i] = Int32GetDatum(row->version_id);
		log.values[5][i] = Int32GetDatum(row->step_no);
		log.values[6][i] = Int32GetDatum(row->visit);
		log.values[7][i] = BoolGetDatum(row->ghost);
		log.values[8][i] = BoolGetDatum(row->comparable);
		log.values[9][i] =
			CStringGetTextDatum(row->stage == GATE_CLAIM ? "claim" : "decide");
		log.values[10][i] = CStringGetTextDatum(verdict_word(row));
		log.nulls[11][i] = row->granted;
		if (!row->granted)
			log.values[11][i] = CStringGetTextDatum(row->reason);
		log.nulls[12][i] = !row->deferred;
		log.values[12][i] = TimestampTzGetDatum(row->until);
		log.nulls[13][i] = row->message_id == 0;
		log.values[13][i] = Int64GetDatum(row->message_id);
		log.values[14][i] = row->evidence;
	}
	pgj_append(site, &log);
}
