/*-------------------------------------------------------------------------
 *
 * rival.c
 *	  Who gets the place when a frequency cap leaves fewer than are wanted.
 *
 * The rivals of a message are the pending messages of its contact, the SENDs at
 * which his runs were put off, and the SENDs that his runs will come to straight
 * from a wait; of those that wait for a time the ones due within the cap's
 * look-ahead.  Each of them that goes before the message takes a place from it.
 *
 * What goes first: the higher effective priority, which is the SEND's and one
 * more for each pg_journey.priority_step that its run has stood there, so that
 * nothing waits for ever; then what came to its SEND earlier; then what is older.
 * When a message is decided, one that has been decided before keeps its place
 * against those of the same priority.  When it is claimed the same order decides
 * among all, so that it does not matter which of two a relay asks for first;
 * and as a claim counts nothing but hand-overs, under the slice's lock, no order
 * of events takes a contact over his cap.
 *
 * Ghosts are nobody's rivals, nor is what belongs to a paused or dropped journey.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "gate/cap.h"
#include "guc.h"
#include "plan.h"

int64
pgj_effective_priority(int priority, TimestampTz since, TimestampTz at)
{
	int64 step = (int64) pgj_priority_step * USECS_PER_SEC;

	if (step == 0 || since >= at)
		return priority;
	return priority + (at - since) / step;
}

/* Does a rival go before the message that is asked for? */
static bool
goes_first(GateStage stage, const Check *check, const Place *place)
{
	const GateRequest *request = check->request;
	int64 own = pgj_effective_priority(request->send->priority, request->since,
									   request->at);
	int64 its =
		pgj_effective_priority(place->priority, place->since, request->at);

	if (own != its)
		return its > own;
	if (stage == GATE_DECIDE && place->message_id != 0)
		return true;
	if (place->since != request->since)
		return place->since < request->since;
	if (stage == GATE_CLAIM && place->message_id != 0)
		return place->message_id < request->message_id;
	if (place->enrollment_id != request->enrollment_id)
		return place->enrollment_id < request->enrollment_id;
	return place->step_no < request->send->step_no;
}

/* The contact is the same, so where it lives makes no difference. */
static bool
would_obey(const Cap *cap, const Place *place)
{
	for (int i = 0; i < place->nchannels; i++)
		if (pgj_scope_has(&cap->obeys, place->channels[i], place->topic,
						  place->class, place->journey_id))
			return true;
	return false;
}

/* Does this leave the message that is asked for one place less? */
bool
pgj_takes_place(const Bound *bound, GateStage stage, const Check *check,
				const Place *place)
{
	const GateRequest *request = check->request;

	if (!pgj_bound_counts(bound, place) ||
		(place->message_id == 0 && !would_obey(bound->cap, place)))
		return false;
	if (place->message_id != 0 && place->message_id == request->message_id)
		return false;
	if (place->handed_over)
		return true;
	if (place->due > request->at &&
		(bound->cap->look_ahead == NULL ||
		 place->due > pgj_exactly_plus(request->at, bound->cap->look_ahead)))
		return false;
	return goes_first(stage, check, place);
}

/* -------- intended SENDs -------- */

enum
{
	INTENT_N = 1,
	INTENT_ENROLLMENT_ID,
	INTENT_STEP_NO,
	INTENT_CHANNELS,
	INTENT_TOPIC,
	INTENT_CLASS,
	INTENT_JOURNEY_ID,
	INTENT_COUNTS,
	INTENT_PRIORITY,
	INTENT_SINCE,
	INTENT_DUE
};

#define INTENT_COLUMNS                                                                                             \
	"s.step_no, COALESCE(s.channels, ARRAY[s.channel]), v.topic, COALESCE(t.class, 'promotional'), e.journey_id, " \
	"COALESCE(t.counts_in_caps, true) AND COALESCE(t.obeys_caps, true), COALESCE(s.priority, v.priority), "

#define INTENT_JOINS                                                                                                              \
	"JOIN journey.journey AS j ON j.journey_id OPERATOR(pg_catalog.=) e.journey_id AND j.status OPERATOR(pg_catalog.=) 'active' " \
	"JOIN journey.version AS v ON v.version_id OPERATOR(pg_catalog.=) e.version_id AND NOT v.dropped "

#define RUNNING                                                                                       \
	"SELECT * FROM journey_state.enrollment AS x WHERE x.contact = r.contact AND x.ended_at IS NULL " \
	"AND x.status OPERATOR(pg_catalog.=) 'active' AND NOT x.ghost "

static KeptPlan read_deferred_plan = {
	.sql =
		"SELECT r.n, e.enrollment_id, " INTENT_COLUMNS
		"e.send_since, e.send_due "
		"FROM unnest($1, $2, $3, $4) AS r (n, contact, enrollment_id, upto) "
		"CROSS JOIN LATERAL (" RUNNING
		"AND x.send_due OPERATOR(pg_catalog.<=) r.upto AND x.enrollment_id OPERATOR(pg_catalog.<>) r.enrollment_id OFFSET 0) AS e " INTENT_JOINS
		"JOIN journey.step AS s ON s.version_id OPERATOR(pg_catalog.=) e.version_id AND s.step_no OPERATOR(pg_catalog.=) e.send_step "
		"LEFT JOIN journey.topic AS t ON t.name OPERATOR(pg_catalog.=) v.topic"
};

/* A wait that is over has been worked, or is about to be: it is asked itself. */
static KeptPlan read_waiting_plan = {
	.sql =
		"SELECT r.n, e.enrollment_id, " INTENT_COLUMNS "k.due_at, k.due_at "
		"FROM unnest($1, $2, $3, $4) AS r (n, contact, at, upto) "
		"CROSS JOIN LATERAL (" RUNNING
		"AND x.send_step IS NULL AND x.listen_step IS NULL OFFSET 0) AS e "
		"CROSS JOIN LATERAL (SELECT a.step_no, a.due_at FROM journey_state.transition AS a "
		"WHERE a.contact = e.contact AND a.enrollment_id OPERATOR(pg_catalog.=) e.enrollment_id "
		"AND a.at OPERATOR(pg_catalog.>=) e.entered_at ORDER BY a.at DESC, a.transition_id DESC LIMIT 1) AS k " INTENT_JOINS
		"JOIN journey.step AS w ON w.version_id OPERATOR(pg_catalog.=) e.version_id AND w.step_no OPERATOR(pg_catalog.=) k.step_no "
		"AND w.kind OPERATOR(pg_catalog.=) ANY (ARRAY['wait', 'wait_until']) "
		"JOIN journey.step AS s ON s.version_id OPERATOR(pg_catalog.=) e.version_id AND s.step_no OPERATOR(pg_catalog.=) w.next_step "
		"AND s.kind OPERATOR(pg_catalog.=) 'send' "
		"LEFT JOIN journey.topic AS t ON t.name OPERATOR(pg_catalog.=) v.topic "
		"WHERE k.due_at OPERATOR(pg_catalog.>) r.at AND k.due_at OPERATOR(pg_catalog.<=) r.upto"
};

static void
add_intents(Capped **asked, uint64 nrows, MemoryContext context)
{
	for (uint64 row = 0; row < nrows; row++)
	{
		Capped *of = asked[DatumGetInt32(pgj_row_value(row, INTENT_N))];
		MemoryContext old = MemoryContextSwitchTo(context);
		Place *place = palloc0_object(Place);
		Datum *channel;

		place->enrollment_id = pgj_row_int8(row, INTENT_ENROLLMENT_ID, 0);
		place->step_no = pgj_row_int4(row, INTENT_STEP_NO, 0);
		deconstruct_array(
			DatumGetArrayTypePCopy(pgj_row_value(row, INTENT_CHANNELS)),
			TEXTOID, -1, false, TYPALIGN_INT, &channel, NULL,
			&place->nchannels);
		place->channels = palloc_array(char *, place->nchannels + 1);
		for (int i = 0; i < place->nchannels; i++)
			place->channels[i] = TextDatumGetCString(channel[i]);
		place->topic = pgj_row_text(context, row, INTENT_TOPIC);
		place->class = pgj_row_text(context, row, INTENT_CLASS);
		place->journey_id = pgj_row_int4(row, INTENT_JOURNEY_ID, 0);
		place->counts = DatumGetBool(pgj_row_value(row, INTENT_COUNTS));
		place->priority = pgj_row_int4(row, INTENT_PRIORITY, 0);
		place->since = pgj_row_int8(row, INTENT_SINCE, 0);
		place->due = pgj_row_int8(row, INTENT_DUE, 0);
		of->places = lappend(of->places, place);
		MemoryContextSwitchTo(old);
	}
}

/* How far ahead the caps of a request look. */
static TimestampTz
horizon_of(const Capped *capped)
{
	TimestampTz at = capped->check->request->at;
	TimestampTz upto = at;
	ListCell *cell;

	foreach (cell, capped->caps)
	{
		const Cap *cap = lfirst(cell);

		if (cap->look_ahead != NULL)
			upto = Max(upto, pgj_exactly_plus(at, cap->look_ahead));
	}
	return upto;
}

/* Add the intended SENDs of each request's contact to its places. */
void
pgj_rivals_read(const Site *site, GateStage stage, Capped *capped, int n)
{
	MemoryContext context = CurrentMemoryContext;
	Capped **asked = palloc_array(Capped *, n);
	Params deferred, waiting;
	Datum *contact[2], *upto[2];
	Datum *own, *at;
	bool looks_ahead = false;
	int nasked = 0;

	for (int i = 0; i < n; i++)
		if (!capped[i].check->request->alone)
			asked[nasked++] = &capped[i];
	if (nasked == 0)
		return;

	contact[0] = pgj_params_contacts(&deferred, site, nasked);
	own = pgj_params_column(&deferred, INT8OID, NULL);
	upto[0] = pgj_params_column(&deferred, TIMESTAMPTZOID, NULL);
	contact[1] = pgj_params_contacts(&waiting, site, nasked);
	at = pgj_params_column(&waiting, TIMESTAMPTZOID, NULL);
	upto[1] = pgj_params_column(&waiting, TIMESTAMPTZOID, NULL);
	for (int i = 0; i < nasked; i++)
	{
		const GateRequest *request = asked[i]->check->request;
		TimestampTz horizon = horizon_of(asked[i]);

		looks_ahead = looks_ahead || horizon > request->at;
		contact[0][i] = contact[1][i] = request->contact;
		/* a run that was put off is asked about itself */
		own[i] =
			Int64GetDatum(stage == GATE_DECIDE ? request->enrollment_id : 0);
		at[i] = TimestampTzGetDatum(request->at);
		upto[0][i] = upto[1][i] = TimestampTzGetDatum(horizon);
	}

	SPI_connect();
	add_intents(asked, pgj_plan_execute(&read_deferred_plan, &deferred),
				context);
	if (looks_ahead)
		add_intents(asked, pgj_plan_execute(&read_waiting_plan, &waiting),
					context);
	SPI_finish();
}

/*
 * May other runs of a contact matter to the gate?  Then the engine writes them and
 * their arrivals before it asks.
 */
bool
pgj_gate_arbitrates(const Site *site)
{
	static KeptPlan plan = {
		.sql = "SELECT EXISTS (SELECT FROM journey_state.frequency)"
	};
	Params params;
	bool arbitrates;

	if (pgj_caps(site)->n > 0 || pgj_holds_by_journeys(site))
		return true;
	SPI_connect();
	pgj_params_init(&params, site, 0);
	(void) pgj_plan_execute(&plan, &params);
	arbitrates = DatumGetBool(pgj_row_value(0, 1));
	SPI_finish();
	return arbitrates;
}
