/*-------------------------------------------------------------------------
 *
 * cap_preview.c
 *	  The time zones of contacts, for the preview of a calendar cap.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "gate/zone.h"

PG_FUNCTION_INFO_V1(pgj_sql_contact_zones);

/* One row for each contact and each zone it may be in. */
Datum
pgj_sql_contact_zones(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	const Site *site = pgj_site();
	Datum *texts;
	Datum *contacts;
	const Zones **zones;
	int n;
	SavedUser caller;

	pgj_require_member(site);
	InitMaterializedSRF(fcinfo, 0);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false,
					  TYPALIGN_INT, &texts, NULL, &n);
	contacts = palloc_array(Datum, n + 1);
	zones = palloc0_array(const Zones *, n + 1);
	for (int i = 0; i < n; i++)
		contacts[i] = pgj_key_from_text(site, TextDatumGetCString(texts[i]));
	caller = pgj_become_owner(site);
	pgj_zones_of_contacts(site, contacts, zones, n);
	pgj_become_caller(caller);

	for (int i = 0; i < n; i++)
	{
		for (int k = 0; k < zones[i]->n; k++)
		{
			Datum values[2];
			bool nulls[2] = { false };

			values[0] = texts[i];
			values[1] =
				CStringGetTextDatum(pg_get_timezone_name(zones[i]->zone[k]));
			tuplestore_putvalues(result->setResult, result->setDesc, values,
								 nulls);
		}
	}
	return (Datum) 0;
}
