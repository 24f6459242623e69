/*-------------------------------------------------------------------------
 *
 * trigger.c
 *	  The trigger of all captures: AFTER INSERT or UPDATE, FOR EACH STATEMENT,
 *	  with transition tables; the argument is the capture's id.
 *
 * It runs in whatever session writes to the shop's table, whose user need have
 * no rights of ours, and stays silent where nothing is attached.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "capture/capture.h"
#include "clock.h"
#include "contact/site.h"

PG_FUNCTION_INFO_V1(pgj_sql_capture_trigger);

static void
check_called_right(FunctionCallInfo fcinfo)
{
	TriggerData *data = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_STATEMENT(data->tg_event) ||
		data->tg_trigger->tgnargs != 1 || data->tg_newtable == NULL ||
		(TRIGGER_FIRED_BY_UPDATE(data->tg_event) && data->tg_oldtable == NULL))
		ereport(
			ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			errmsg(
				"journey._capture() was not called as the trigger of a capture"),
			errhint("Captures are made by journey.capture()."));
}

Datum
pgj_sql_capture_trigger(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	const Site *site;
	CapturePlan *plan;
	CaptureRows rows;

	check_called_right(fcinfo);
	rows.desc = RelationGetDescr(data->tg_relation);
	rows.new_rows = data->tg_newtable;
	rows.old_rows =
		TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_oldtable : NULL;
	rows.nrows = (int) tuplestore_tuple_count(data->tg_newtable);
	rows.at = pgj_clock_statement();
	if (rows.nrows == 0)
		return PointerGetDatum(NULL);

	site = pgj_site_or_null();
	if (site == NULL)
		return PointerGetDatum(NULL);
	plan = pgj_capture_plan(
		data->tg_trigger->tgoid, pg_strtoint32(data->tg_trigger->tgargs[0]),
		RelationGetRelid(data->tg_relation), rows.old_rows != NULL);
	if (plan == NULL)
		return PointerGetDatum(NULL);

	if (superuser_arg(GetSessionUserId()))
		pgj_capture_defer(site, plan, &rows);
	else
		(void) pgj_capture_run(site, plan, &rows);
	return PointerGetDatum(NULL);
}
