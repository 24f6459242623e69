/*-------------------------------------------------------------------------
 *
 * cap_definition.c
 *	  Which frequency caps hold for a message.
 *
 * They are kept until one changes, and asked for anew with every batch of
 * decisions: a cap holds from its commit on, also for a claim under way.  What a
 * contact asked for himself (journey_state.frequency) is one more cap, of one
 * message in a period of his calendar, beside all others.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "gate/cap.h"
#include "gate/engagement.h"
#include "kept.h"

static Interval *
read_interval(MemoryContext context, uint64 row, int column)
{
	return pgj_row_null(row, column)
			   ? NULL
			   : DatumGetIntervalP(pgj_row_copy(context, row, column));
}

static ZonePeriod
period_of(const char *word)
{
	return strcmp(word, "day") == 0	   ? ZONE_DAY
		   : strcmp(word, "week") == 0 ? ZONE_WEEK
									   : ZONE_MONTH;
}

enum
{
	CAP_NAME = 1,
	CAP_PLACES,
	CAP_PER,
	CAP_CALENDAR,
	CAP_CHANNELS,
	CAP_TOPICS,
	CAP_CLASSES,
	CAP_JOURNEYS,
	CAP_COUNTRIES,
	CAP_COUNTS_CHANNELS,
	CAP_COUNTS_TOPICS,
	CAP_COUNTS_CLASSES,
	CAP_COUNTS_JOURNEYS,
	CAP_ENGAGEMENT,
	CAP_OVERRIDES,
	CAP_LOOK_AHEAD,
	CAP_QUOTA_TOPICS,
	CAP_QUOTA_NAMES,
	CAP_QUOTA_PLACES,
	CAP_QUOTA_DEFINITIONS,
	CAP_DEFINITION
};

/* A journey that is dropped and made again under its name keeps its number. */
#define READ_CAPS(caps, quotas)                                                                                                                                                                          \
	"SELECT k.name, k.max_messages, k.per, k.calendar, k.channels, k.topics, k.classes, "                                                                                                                \
	"CASE WHEN k.journeys IS NOT NULL THEN ARRAY(SELECT j.journey_id FROM journey.journey AS j WHERE j.name OPERATOR(pg_catalog.=) ANY (k.journeys)) END, "                                              \
	"k.countries, k.counts_channels, k.counts_topics, k.counts_classes, "                                                                                                                                \
	"CASE WHEN k.counts_journeys IS NOT NULL THEN ARRAY(SELECT j.journey_id FROM journey.journey AS j WHERE j.name OPERATOR(pg_catalog.=) ANY (k.counts_journeys)) END, "                                \
	"k.engagement, k.overrides, CASE WHEN k.look_ahead OPERATOR(pg_catalog.>) '0' THEN k.look_ahead END, "                                                                                               \
	"q.topics, q.names, q.places, q.definitions, COALESCE(k.definition, 0) "                                                                                                                             \
	"FROM " caps " AS k LEFT JOIN LATERAL ("                                                                                                                                                             \
	"SELECT pg_catalog.array_agg((u.kind OPERATOR(pg_catalog.=) 'topic')::pg_catalog.text) AS topics, pg_catalog.array_agg(u.name) AS names, "                                                           \
	"pg_catalog.array_agg(pg_catalog.floor(u.share OPERATOR(pg_catalog.*) k.max_messages)::pg_catalog.text) AS places, pg_catalog.array_agg(COALESCE(u.definition, 0)::pg_catalog.text) AS definitions " \
	"FROM " quotas                                                                                                                                                                                       \
	" AS u WHERE u.cap OPERATOR(pg_catalog.=) k.name) AS q ON true"

static KeptPlan read_caps_plan = { .sql = READ_CAPS("journey.cap",
													"journey.quota") };

/* As if the cap $1 were there, with the quotas $2, and no other of its name. */
static KeptPlan read_caps_as_if_plan = {
	.sql = READ_CAPS(
		"(SELECT c.* FROM journey.cap AS c WHERE c.name OPERATOR(pg_catalog.<>) ($1).name UNION ALL SELECT ($1).*)",
		"(SELECT t.* FROM journey.quota AS t WHERE t.cap OPERATOR(pg_catalog.<>) ($1).name UNION ALL SELECT t.* FROM unnest($2) AS t)")
};

static void
read_quotas(uint64 row, Cap *cap)
{
	Names topics = pgj_names_read(row, CAP_QUOTA_TOPICS);
	Names names = pgj_names_read(row, CAP_QUOTA_NAMES);
	Names places = pgj_names_read(row, CAP_QUOTA_PLACES);
	Names definitions = pgj_names_read(row, CAP_QUOTA_DEFINITIONS);

	cap->nquotas = names.n;
	cap->quotas = palloc_array(Quota, names.n + 1);
	for (int i = 0; i < names.n; i++)
	{
		cap->quotas[i].of_topic = topics.name[i][0] == 't';
		cap->quotas[i].name = names.name[i];
		cap->quotas[i].places = atoi(places.name[i]);
		cap->quotas[i].definition = strtoi64(definitions.name[i], NULL, 10);
	}
}

static void
read_cap(MemoryContext context, uint64 row, Cap *cap)
{
	cap->name = pgj_row_text(context, row, CAP_NAME);
	cap->places = DatumGetInt32(pgj_row_value(row, CAP_PLACES));
	cap->definition = pgj_row_int8(row, CAP_DEFINITION, 0);
	cap->per = read_interval(context, row, CAP_PER);
	if (cap->per == NULL)
		cap->period = period_of(pgj_row_text(context, row, CAP_CALENDAR));
	cap->obeys.channels = pgj_names_read(row, CAP_CHANNELS);
	cap->obeys.topics = pgj_names_read(row, CAP_TOPICS);
	cap->obeys.classes = pgj_names_read(row, CAP_CLASSES);
	pgj_scope_read_journeys(&cap->obeys, row, CAP_JOURNEYS);
	cap->countries = pgj_names_read(row, CAP_COUNTRIES);
	cap->counts.channels = pgj_names_read(row, CAP_COUNTS_CHANNELS);
	cap->counts.topics = pgj_names_read(row, CAP_COUNTS_TOPICS);
	cap->counts.classes = pgj_names_read(row, CAP_COUNTS_CLASSES);
	pgj_scope_read_journeys(&cap->counts, row, CAP_COUNTS_JOURNEYS);
	if (!pgj_row_null(row, CAP_ENGAGEMENT))
		cap->engagement =
			pgj_engagement_class_of(pgj_row_text(context, row, CAP_ENGAGEMENT));
	cap->overrides = pgj_names_read(row, CAP_OVERRIDES);
	cap->look_ahead = read_interval(context, row, CAP_LOOK_AHEAD);
	read_quotas(row, cap);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const Cap *) a)->name, ((const Cap *) b)->name);
}

/* From the rows of SPI_tuptable, into the current context. */
static void
fill_caps(Caps *caps, uint64 nrows)
{
	caps->n = (int) nrows;
	caps->cap = palloc0_array(Cap, caps->n + 1);
	for (int row = 0; row < caps->n; row++)
		read_cap(CurrentMemoryContext, row, &caps->cap[row]);
	qsort(caps->cap, caps->n, sizeof(Cap), by_name);
}

static void *
read_caps(const Site *site)
{
	Caps *caps = palloc_object(Caps);

	fill_caps(caps, pgj_kept_select(&read_caps_plan, site));
	return caps;
}

const Caps *
pgj_caps(const Site *site)
{
	static Kept kept = { .name = "caps",
						 .tables = { "cap", "journey", "quota" },
						 .read = read_caps };

	return pgj_kept(&kept, site);
}

void
pgj_caps_read_as_if(const Site *site, Oid cap_type, Datum cap, Oid quotas_type,
					Datum quotas, Caps *caps)
{
	MemoryContext context = CurrentMemoryContext;
	Params params;
	uint64 nrows;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, cap_type, cap);
	pgj_params_scalar(&params, quotas_type, quotas);
	nrows = pgj_plan_execute(&read_caps_as_if_plan, &params);
	MemoryContextSwitchTo(context);
	fill_caps(caps, nrows);
	SPI_finish();
}

/* -------- which of them hold -------- */

static bool
holds_for(const Cap *cap, const Check *check, int engagement)
{
	const GateRequest *request = check->request;

	if (!pgj_scope_has(&cap->obeys, request->channel, request->topic,
					   request->class, request->send->journey_id))
		return false;
	if (cap->countries.name != NULL &&
		!pgj_country_possibly(check->country, cap->countries.n,
							  cap->countries.name))
		return false;
	return cap->engagement == 0 || (cap->engagement & engagement) != 0;
}

/* Is another cap that holds in this one's place? */
static bool
is_overridden(const Cap *cap, List *holding)
{
	ListCell *cell;

	foreach (cell, holding)
	{
		const Names *overrides = &((Cap *) lfirst(cell))->overrides;

		if (overrides->n > 0 && pgj_names_have(overrides, cap->name))
			return true;
	}
	return false;
}

static void
apply_caps(const Caps *caps, Capped *capped, int engagement)
{
	List *holding = NIL;
	ListCell *cell;

	for (int i = 0; i < caps->n; i++)
		if (holds_for(&caps->cap[i], capped->check, engagement))
			holding = lappend(holding, &caps->cap[i]);
	foreach (cell, holding)
	{
		if (is_overridden(lfirst(cell), holding))
			capped->ceded = lappend(capped->ceded, lfirst(cell));
		else
			capped->caps = lappend(capped->caps, lfirst(cell));
	}
}

/* -------- what the contact asked for -------- */

Cap *
pgj_frequency_cap(const char *channel, const char *topic, const char *frequency)
{
	Cap *cap = palloc0_object(Cap);

	cap->name = psprintf("preference: %s, channel %s, topic %s", frequency,
						 channel, topic);
	cap->frequency = pstrdup(frequency);
	cap->places = 1;
	cap->period = strcmp(frequency, "daily") == 0	 ? ZONE_DAY
				  : strcmp(frequency, "weekly") == 0 ? ZONE_WEEK
													 : ZONE_MONTH;
	cap->obeys.channels = pgj_names_one(channel);
	cap->obeys.topics = pgj_names_one(topic);
	cap->counts = cap->obeys;
	return cap;
}

static void
apply_frequencies(const Site *site, Capped *capped, int n)
{
	static KeptPlan plan = {
		.sql =
			"SELECT r.n, f.channel, f.topic, f.frequency FROM unnest($1, $2, $3, $4) AS r (n, contact, channel, topic) "
			"JOIN journey_state.frequency AS f ON f.contact = r.contact "
			"AND (f.channel OPERATOR(pg_catalog.=) r.channel OR f.channel OPERATOR(pg_catalog.=) '*') "
			"AND (f.topic OPERATOR(pg_catalog.=) r.topic OR f.topic OPERATOR(pg_catalog.=) '*') AND f.frequency OPERATOR(pg_catalog.<>) 'all'"
	};
	MemoryContext context = CurrentMemoryContext;
	Params params;
	Datum *contact = pgj_params_contacts(&params, site, n);
	Datum *channel = pgj_params_column(&params, TEXTOID, NULL);
	Datum *topic = pgj_params_column(&params, TEXTOID, NULL);
	uint64 nrows;

	for (int i = 0; i < n; i++)
	{
		const GateRequest *request = capped[i].check->request;

		contact[i] = request->contact;
		channel[i] = CStringGetTextDatum(request->channel);
		topic[i] = CStringGetTextDatum(request->topic);
	}
	SPI_connect();
	nrows = pgj_plan_execute(&plan, &params);
	for (uint64 row = 0; row < nrows; row++)
	{
		Capped *of = &capped[DatumGetInt32(pgj_row_value(row, 1))];
		char *words[] = { pgj_row_text(context, row, 2),
						  pgj_row_text(context, row, 3),
						  pgj_row_text(context, row, 4) };
		MemoryContext old = MemoryContextSwitchTo(context);

		of->caps =
			lappend(of->caps, pgj_frequency_cap(words[0], words[1], words[2]));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
}

/*
 * Find the shop's caps that hold for each of n requests that obey caps, out of
 * the checks of a batch.
 */
void
pgj_caps_hold(const Site *site, const Caps *caps, Check *checks, int nchecks,
			  Capped *capped, int n)
{
	int asked = 0;
	int *engagement = NULL;

	for (int i = 0; i < caps->n; i++)
		asked |= caps->cap[i].engagement;
	if (asked != 0)
		engagement = pgj_engagement_class(site, checks, nchecks, asked);
	for (int i = 0; i < n; i++)
		apply_caps(caps, &capped[i],
				   asked != 0 ? engagement[capped[i].check - checks] : 0);
}

/* The same, and what the contacts asked for. */
void
pgj_caps_apply(const Site *site, const Caps *caps, Check *checks, int nchecks,
			   Capped *capped, int n)
{
	pgj_caps_hold(site, caps, checks, nchecks, capped, n);
	apply_frequencies(site, capped, n);
}
