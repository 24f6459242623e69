/*-------------------------------------------------------------------------
 *
 * entry_cap.c
 *	  How often a contact may enter: LIMIT of a script, and entry caps.
 *
 * The enrollments themselves are counted, under the slice's lock, those of this
 * batch among them: they are written first.  Windows are those of frequency
 * caps: exact hours that end with the entry, and an entry of a later time counts
 * too if it is less than a window away.  A cap without a window counts the runs
 * that have not ended.
 *
 * The question comes before a holdout is drawn, so that both arms are asked the
 * same.  For the same reason a ghost's run counts towards entries of its own
 * journey; elsewhere it uses nothing up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "engine/batch.h"
#include "kept.h"

/*
 * $1 … $3: n, contact, at; then the journey and its LIMIT, which is one more cap.
 */
static KeptPlan find_over = {
	.sql =
		"SELECT i.n, k.words FROM unnest($1, $2, $3) AS i (n, contact, at)"
		" CROSS JOIN ("
		"  SELECT pg_catalog.format('entry cap %s allows %s%s', c.name, c.max_entries, COALESCE(' in ' || c.per, ' at the same time')) AS words,"
		"   c.max_entries AS most, c.per, CASE WHEN c.journeys IS NOT NULL THEN"
		"   ARRAY(SELECT j.journey_id FROM journey.journey j WHERE j.name = ANY (c.journeys)) END AS journeys"
		"  FROM journey.entry_cap c"
		"  UNION ALL"
		"  SELECT pg_catalog.format('LIMIT allows %s in %s', $5, $6), $5, $6, ARRAY[$4] WHERE $5 > 0) AS k"
		" WHERE (k.journeys IS NULL OR $4 = ANY (k.journeys))"
		" AND k.most <= (SELECT count(*) FROM journey_state.enrollment e WHERE e.contact = i.contact"
		"  AND (k.journeys IS NULL OR e.journey_id = ANY (k.journeys)) AND (NOT e.ghost OR e.journey_id = $4)"
		"  AND CASE WHEN k.per IS NULL THEN e.ended_at IS NULL"
		"   ELSE LEAST(e.entered_at, i.at) > (GREATEST(e.entered_at, i.at) AT TIME ZONE 'UTC' - k.per) AT TIME ZONE 'UTC' END)"
		" ORDER BY i.n, k.words"
};

static void *
read_whether_any(const Site *site)
{
	static KeptPlan plan = { .sql = "SELECT FROM journey.entry_cap LIMIT 1" };
	bool *any = palloc_object(bool);

	*any = pgj_kept_select(&plan, site) > 0;
	return any;
}

/* Where there is none, no run needs to be written before its time. */
static bool
are_any(const Site *site)
{
	static Kept kept = { .name = "whether there are entry caps",
						 .tables = { "entry_cap" },
						 .read = read_whether_any };

	return *(bool *) pgj_kept(&kept, site);
}

void
pgj_entry_caps(Batch *batch, Version *version, Entrant *entrants, int n)
{
	Params params;
	Datum *contact, *at;
	uint64 nrows;

	if (version->limit == 0 && !are_any(batch->site))
		return;
	contact = pgj_params_contacts(&params, batch->site, n);
	at = pgj_params_column(&params, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < n; i++)
	{
		contact[i] = entrants[i].contact;
		at[i] = TimestampTzGetDatum(entrants[i].at);
	}
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(version->journey_id));
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(version->limit));
	pgj_params_nullable(&params, INTERVALOID,
						IntervalPGetDatum(version->limit_per),
						version->limit_per == NULL);

	pgj_batch_write_runs(batch);
	nrows = pgj_plan_execute(&find_over, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Entrant *entrant = &entrants[pgj_row_int4(row, 1, 0)];

		if (entrant->over == NULL)
			entrant->over = pgj_row_text(CurrentMemoryContext, row, 2);
	}
	SPI_freetuptable(SPI_tuptable);
}
