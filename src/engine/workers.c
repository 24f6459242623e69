/*-------------------------------------------------------------------------
 *
 * workers.c
 *	  journey.workers(): what the board says.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "board.h"
#include "pg_journey.h"

PG_FUNCTION_INFO_V1(pgj_sql_workers);

/* One row of (database name, pid int, owner name, state text, since timestamptz, detail text) */
static void
put_slot(ReturnSetInfo *result, const BoardSlot *slot)
{
	char *database = get_database_name(slot->database);
	char *owner =
		OidIsValid(slot->owner) ? GetUserNameFromId(slot->owner, true) : NULL;
	Datum values[6];
	bool nulls[6] = { 0 };

	if (database == NULL)
		return;
	values[0] = CStringGetDatum(database);
	values[1] = Int32GetDatum(slot->pid);
	nulls[1] = slot->pid == 0;
	values[2] = CStringGetDatum(owner);
	nulls[2] = owner == NULL;
	values[3] = CStringGetTextDatum(pgj_board_state_name(slot->state));
	values[4] = TimestampTzGetDatum(slot->started_at);
	nulls[4] = slot->started_at == 0;
	values[5] = CStringGetTextDatum(slot->detail);
	nulls[5] = slot->detail[0] == '\0';
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

Datum
pgj_sql_workers(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (pgj_board == NULL)
	{
		ereport(
			NOTICE, errmsg("no worker runs: pg_journey is not preloaded"),
			errhint(
				"Add pg_journey to shared_preload_libraries and restart the server, or call journey.tick() from a scheduler."));
		PG_RETURN_NULL();
	}
	for (int i = 0; i < PGJ_BOARD_SLOTS; i++)
	{
		BoardSlot slot;

		LWLockAcquire(pgj_board->lock, LW_SHARED);
		memcpy(&slot, &pgj_board->slots[i], sizeof(slot));
		LWLockRelease(pgj_board->lock);
		if (slot.state != BOARD_FREE)
			put_slot(result, &slot);
	}
	PG_RETURN_NULL();
}
