/*-------------------------------------------------------------------------
 *
 * hold.c
 *	  Messages that wait, or are not sent, while something else goes on with
 *	  their contact.
 *
 * A hold lasts while the contact is in a segment (an open complaint), or while a
 * run of a journey goes on and for some time after it began.  It holds the
 * messages of other journeys.  The runs of ghosts hold nothing: a contact of
 * the holdout gets what he would get if the journey did not exist.
 *
 * What is put off is looked at again after an hour, or when the time after the
 * beginning of the run is over if that is sooner.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/check.h"
#include "gate/scope.h"
#include "kept.h"

#define LOOK_AGAIN USECS_PER_HOUR

typedef struct Hold
{
	char *name;
	char *segment; /* NULL: journey */
	int segment_id;
	char *journey;
	int journey_id;
	Interval *lasting; /* or NULL */
	bool skips;
	bool sunset;
	Scope scope;
	Names except; /* journeys */
} Hold;

/* What has been found to hold a message. */
typedef struct Holding
{
	const Hold *hold;
	TimestampTz since; /* in the segment, or the beginning of the run */
	TimestampTz until; /* when to look again */
} Holding;

/* The holds whose segment or journey is there, in the order of their names. */
static void *
read_holds(const Site *site)
{
	static KeptPlan plan = {
		.sql =
			"SELECT h.name, h.segment, g.segment_id, h.journey, j.journey_id, h.lasting, h.action OPERATOR(pg_catalog.=) 'skip', h.sunset, "
			"h.channels, h.topics, h.classes, h.except_journeys "
			"FROM journey.hold AS h "
			"LEFT JOIN journey.segment AS g ON g.name OPERATOR(pg_catalog.=) h.segment "
			"LEFT JOIN journey.journey AS j ON j.name OPERATOR(pg_catalog.=) h.journey "
			"WHERE g.segment_id IS NOT NULL OR j.journey_id IS NOT NULL ORDER BY h.name"
	};
	MemoryContext context = CurrentMemoryContext;
	uint64 nrows = pgj_kept_select(&plan, site);
	List *holds = NIL;

	for (uint64 row = 0; row < nrows; row++)
	{
		Hold *hold = palloc0_object(Hold);

		hold->name = pgj_row_text(context, row, 1);
		hold->segment = pgj_row_text(context, row, 2);
		hold->segment_id = pgj_row_int4(row, 3, 0);
		hold->journey = pgj_row_text(context, row, 4);
		hold->journey_id = pgj_row_int4(row, 5, 0);
		if (!pgj_row_null(row, 6))
			hold->lasting = DatumGetIntervalP(pgj_row_copy(context, row, 6));
		hold->skips = DatumGetBool(pgj_row_value(row, 7));
		hold->sunset = DatumGetBool(pgj_row_value(row, 8));
		hold->scope.channels = pgj_names_read(row, 9);
		hold->scope.topics = pgj_names_read(row, 10);
		hold->scope.classes = pgj_names_read(row, 11);
		hold->except = pgj_names_read(row, 12);
		holds = lappend(holds, hold);
	}
	return holds;
}

static const List *
holds_of(const Site *site)
{
	static Kept kept = { .name = "holds",
						 .tables = { "hold", "journey", "segment" },
						 .read = read_holds };

	return pgj_kept(&kept, site);
}

/* Is this message of those that the hold is about? */
static bool
concerns(const Hold *hold, const Check *check)
{
	const GateRequest *request = check->request;

	if (!check->open || check->transactional ||
		!pgj_scope_has(&hold->scope, request->channel, request->topic,
					   request->class, 0))
		return false;
	if (request->send == NULL)
		return true;
	return request->send->journey_id != hold->journey_id &&
		   !pgj_names_have(&hold->except, request->send->journey);
}

static void
add_holding(List **holdings, MemoryContext context, const Hold *hold,
			TimestampTz since, TimestampTz until)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Holding *holding = palloc_object(Holding);

	holding->hold = hold;
	holding->since = since;
	holding->until = until;
	*holdings = lappend(*holdings, holding);
	MemoryContextSwitchTo(old);
}

/* Which of the requests' contacts are in the hold's segment? */
static void
find_members(const Site *site, const Hold *hold, const Check *checks,
			 const int *asked, int nasked, List **holdings)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, m.since FROM unnest($1, $2) AS r (n, contact) "
			"JOIN journey_state.membership AS m ON m.segment_id OPERATOR(pg_catalog.=) $3 AND m.contact = r.contact "
			"WHERE m.member"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	Datum *number, *contact;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, site, nasked);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	for (int k = 0; k < nasked; k++)
	{
		number[k] = Int32GetDatum(asked[k]);
		contact[k] = checks[asked[k]].request->contact;
	}
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(hold->segment_id));
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		int i = pgj_row_int4(row, 1, 0);

		add_holding(&holdings[i], context, hold, pgj_row_int8(row, 2, 0),
					checks[i].request->at + LOOK_AGAIN);
	}
	SPI_finish();
}

/*
 * Which of them have a run of the hold's journey, or had one begin less than
 * "lasting" ago?  Runs of a journey that was dropped are over, if not yet ended.
 */
static void
find_runs(const Site *site, const Hold *hold, const Check *checks,
		  const int *asked, int nasked, List **holdings)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, a.entered_at, b.entered_at FROM unnest($1, $2, $3) AS r (n, contact, since) "
			"LEFT JOIN LATERAL (SELECT e.entered_at FROM journey_state.enrollment AS e WHERE e.contact = r.contact "
			"AND e.journey_id OPERATOR(pg_catalog.=) $4 AND e.ended_at IS NULL AND NOT e.ghost "
			"AND NOT EXISTS (SELECT FROM journey.version AS v WHERE v.version_id OPERATOR(pg_catalog.=) e.version_id AND v.dropped) LIMIT 1) AS a ON true "
			"LEFT JOIN LATERAL (SELECT e.entered_at FROM journey_state.enrollment AS e WHERE e.contact = r.contact "
			"AND e.journey_id OPERATOR(pg_catalog.=) $4 AND e.entered_at OPERATOR(pg_catalog.>) r.since AND NOT e.ghost "
			"ORDER BY e.entered_at DESC LIMIT 1) AS b ON r.since IS NOT NULL "
			"WHERE a.entered_at IS NOT NULL OR b.entered_at IS NOT NULL"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	Datum *number, *contact, *since;
	bool *since_null;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, site, nasked);
	number = pgj_params_column(&params, INT4OID, NULL);
	contact = pgj_params_column(&params, site->key_type, NULL);
	since = pgj_params_column(&params, TIMESTAMPTZOID, &since_null);
	for (int k = 0; k < nasked; k++)
	{
		const GateRequest *request = checks[asked[k]].request;

		number[k] = Int32GetDatum(asked[k]);
		contact[k] = request->contact;
		since_null[k] = hold->lasting == NULL;
		if (hold->lasting != NULL)
			since[k] =
				TimestampTzGetDatum(pgj_time_minus(request->at, hold->lasting));
	}
	pgj_params_scalar(&params, INT4OID, Int32GetDatum(hold->journey_id));
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		int i = pgj_row_int4(row, 1, 0);
		TimestampTz at = checks[i].request->at;
		bool running = !pgj_row_null(row, 2);
		TimestampTz began = pgj_row_int8(row, running ? 2 : 3, 0);
		TimestampTz until = at + LOOK_AGAIN;

		if (!running)
			until = Min(until, pgj_time_plus(began, hold->lasting));
		/* months can be longer forwards than backwards */
		add_holding(&holdings[i], context, hold, began, Max(until, at + 1));
	}
	SPI_finish();
}

static void
write_holding(Check *check, const Holding *holding)
{
	const Hold *hold = holding->hold;
	StringInfo out = pgj_check_evidence(check, "hold");

	appendStringInfoString(out, "{\"name\": ");
	escape_json(out, hold->name);
	appendStringInfo(out, ", \"%s\": ", hold->segment ? "segment" : "journey");
	escape_json(out, hold->segment ? hold->segment : hold->journey);
	appendStringInfoString(out, ", \"since\": ");
	pgj_check_time(out, holding->since);
	appendStringInfoChar(out, '}');
}

/* A sunset is a suppression, which is asked before holds; skip goes before defer. */
static int
rank(const Hold *hold)
{
	return hold->sunset ? 2 : hold->skips ? 1 : 0;
}

/* Of those that put off, the one that takes longest decides. */
static void
judge_holdings(Check *check, List *holdings)
{
	const Holding *decides = NULL;
	ListCell *cell;

	foreach (cell, holdings)
	{
		const Holding *holding = lfirst(cell);

		if (decides == NULL || rank(holding->hold) > rank(decides->hold) ||
			(rank(holding->hold) == rank(decides->hold) &&
			 holding->until > decides->until))
			decides = holding;
	}
	write_holding(check, decides);
	if (decides->hold->sunset)
		pgj_check_withhold(check, "suppressed");
	else if (decides->hold->skips)
		pgj_check_withhold(check, "held");
	else
		pgj_check_defer(check, "held", decides->until);
}

void
pgj_hold_check(const Site *site, GateStage stage, Check *checks, int n)
{
	List **holdings;
	int *asked;
	const List *holds;
	const ListCell *cell;
	bool wanted = false;

	for (int i = 0; i < n && !wanted; i++)
		wanted = checks[i].open && !checks[i].transactional;
	if (!wanted || (holds = holds_of(site)) == NIL)
		return;

	holdings = palloc0_array(List *, n);
	asked = palloc_array(int, n);
	foreach (cell, holds)
	{
		const Hold *hold = lfirst(cell);
		int nasked = 0;

		for (int i = 0; i < n; i++)
			if (concerns(hold, &checks[i]))
				asked[nasked++] = i;
		if (nasked == 0)
			continue;
		if (hold->segment != NULL)
			find_members(site, hold, checks, asked, nasked, holdings);
		else
			find_runs(site, hold, checks, asked, nasked, holdings);
	}
	for (int i = 0; i < n; i++)
		if (holdings[i] != NIL)
			judge_holdings(&checks[i], holdings[i]);
}

bool
pgj_gate_asks_segments(const Site *site)
{
	const ListCell *cell;

	foreach (cell, holds_of(site))
		if (((const Hold *) lfirst(cell))->segment != NULL)
			return true;
	return false;
}

bool
pgj_holds_by_journeys(const Site *site)
{
	const ListCell *cell;

	foreach (cell, holds_of(site))
		if (((const Hold *) lfirst(cell))->journey != NULL)
			return true;
	return false;
}
