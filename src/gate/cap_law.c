/*-------------------------------------------------------------------------
 *
 * cap_law.c
 *	  Was a frequency cap ever exceeded?  For journey.check().
 *
 * The receipt of a hand-over names the caps and quotas that had a place for it,
 * by the numbers of their definitions, and the zones in which calendars were
 * read.  A definition gets another number whenever it is changed.  So what held for
 * a message need not be guessed from what holds now: where the contact was, how
 * it responded, what overrode what.  Receipts of definitions that are gone say
 * nothing.
 *
 * Receipts of a contact are numbered under the lock of its slice: their numbers
 * are the order in which the hand-overs were decided, whatever times the callers
 * came with.  A hand-over is over a cap if as many as the cap allows, that it
 * counts, came before it and are in one window with it.
 *
 * It is one pass over a contact's hand-overs, which are kept by their times.  A
 * count starts with the latest and ends at the limit or where the window
 * begins, so that the cost of a hand-over is that of its window.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "gate/cap.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_caps_exceeded);

#define BATCH 2000

/* -------- bounds as text -------- */

static char *
bound_to_text(const Bound *bound)
{
	const Cap *cap = bound->cap;
	StringInfoData out;

	initStringInfo(&out);
	if (cap->frequency != NULL)
		appendStringInfo(
			&out, "%s\t%s\t%s", cap->frequency,
			cap->obeys.channels.n > 0 ? cap->obeys.channels.name[0] : "*",
			cap->obeys.topics.n > 0 ? cap->obeys.topics.name[0] : "*");
	else
		appendStringInfo(&out, INT64_FORMAT, cap->definition);
	if (bound->quota != NULL)
		appendStringInfo(&out, "/" INT64_FORMAT, bound->quota->definition);
	if (bound->zone != NULL)
		appendStringInfo(&out, "\t%s", pg_get_timezone_name(bound->zone));
	return out.data;
}

/* As a literal of type text[]. */
char *
pgj_bounds_to_text(List *bounds)
{
	Datum *texts = palloc_array(Datum, list_length(bounds) + 1);
	ArrayType *array;
	ListCell *cell;
	int n = 0;

	foreach (cell, bounds)
		texts[n++] = CStringGetTextDatum(bound_to_text(lfirst(cell)));
	array = construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT);
	return OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(array));
}

/* The words between tabs; their number. */
static int
split(char *text, char **words, int max)
{
	int n = 0;

	for (char *word = text; word != NULL && n < max; n++)
	{
		char *tab = strchr(word, '\t');

		if (tab != NULL)
			*tab = '\0';
		words[n] = word;
		word = tab != NULL ? tab + 1 : NULL;
	}
	return n;
}

static const Cap *
find_cap(const Caps *caps, int64 definition)
{
	for (int i = 0; i < caps->n; i++)
		if (caps->cap[i].definition == definition)
			return &caps->cap[i];
	return NULL;
}

static const Quota *
find_quota(const Cap *cap, int64 definition)
{
	for (int i = 0; i < cap->nquotas; i++)
		if (cap->quotas[i].definition == definition)
			return &cap->quotas[i];
	return NULL;
}

/* False if what it names is not there any more. */
static bool
text_to_bound(const Caps *caps, char *text, Bound *bound)
{
	char *words[4];
	int n = split(text, words, lengthof(words));
	char *slash;

	memset(bound, 0, sizeof(Bound));
	if (n == 4)
	{
		bound->cap = pgj_frequency_cap(words[1], words[2], words[0]);
		bound->places = bound->cap->places;
		bound->zone = pgj_zone(words[3]);
		return bound->zone != NULL;
	}
	slash = strchr(words[0], '/');
	bound->cap = find_cap(caps, strtoi64(words[0], NULL, 10));
	if (bound->cap == NULL)
		return false;
	bound->places = bound->cap->places;
	if (slash != NULL)
	{
		bound->quota = find_quota(bound->cap, strtoi64(slash + 1, NULL, 10));
		if (bound->quota == NULL)
			return false;
		bound->places = bound->quota->places;
	}
	if (n == 2)
		bound->zone = pgj_zone(words[1]);
	return (bound->cap->per == NULL) == (bound->zone != NULL);
}

/* -------- one contact -------- */

typedef struct Law
{
	const Caps *caps;
	ReturnSetInfo *result;
	TimestampTz since;
	MemoryContext contact_context;
	char *contact;
	Place **handed; /* by time */
	int n, size;
} Law;

static void
begin_contact(Law *law, const char *contact)
{
	MemoryContextReset(law->contact_context);
	law->contact = MemoryContextStrdup(law->contact_context, contact);
	law->n = 0;
	law->size = 16;
	law->handed =
		MemoryContextAlloc(law->contact_context, sizeof(Place *) * law->size);
}

static void
add(Law *law, Place *place)
{
	int i = law->n++;

	if (law->n > law->size)
	{
		law->size *= 2;
		law->handed = repalloc(law->handed, sizeof(Place *) * law->size);
	}
	for (; i > 0 && law->handed[i - 1]->claimed_at > place->claimed_at; i--)
		law->handed[i] = law->handed[i - 1];
	law->handed[i] = place;
}

static bool
is_exceeded(const Law *law, const Bound *bound, TimestampTz at)
{
	bool rolls = bound->cap->per != NULL;
	TimestampTz start, end;
	int count = 0;

	if (law->n < bound->places)
		return false;
	if (rolls)
		start = pgj_exactly_minus(at, bound->cap->per) -
				PGJ_MONTH_SLACK(bound->cap->per);
	else
		pgj_zone_period_in(bound->zone, at, bound->cap->period, &start, &end);
	for (int i = law->n - 1; i >= 0 && count < bound->places; i--)
	{
		const Place *place = law->handed[i];

		if (place->claimed_at < start)
			break;
		if (pgj_bound_counts(bound, place) &&
			(rolls ? pgj_bound_holds(bound, at, place->claimed_at)
				   : place->claimed_at < end))
			count++;
	}
	return count >= bound->places;
}

static void
put_exceeded(const Law *law, const Bound *bound, const Place *place)
{
	Datum values[6] = { CStringGetTextDatum(bound->cap->name),
						CStringGetTextDatum(law->contact),
						Int64GetDatum(place->message_id),
						TimestampTzGetDatum(place->claimed_at),
						Int32GetDatum(bound->places),
						(Datum) 0 };
	bool nulls[6] = { false };

	if (bound->quota != NULL)
		values[5] = CStringGetTextDatum(bound->quota->name);
	nulls[5] = bound->quota == NULL;
	tuplestore_putvalues(law->result->setResult, law->result->setDesc, values,
						 nulls);
}

static void
look_at(Law *law, const Place *place, Datum names)
{
	Datum *texts;
	int n;

	deconstruct_array(DatumGetArrayTypeP(names), TEXTOID, -1, false,
					  TYPALIGN_INT, &texts, NULL, &n);
	for (int i = 0; i < n; i++)
	{
		Bound bound;

		if (text_to_bound(law->caps, TextDatumGetCString(texts[i]), &bound) &&
			is_exceeded(law, &bound, place->claimed_at))
			put_exceeded(law, &bound, place);
	}
}

/* -------- all of them -------- */

enum
{
	HANDED_CONTACT = 1,
	HANDED_MESSAGE_ID,
	HANDED_AT,
	HANDED_CHANNEL,
	HANDED_TOPIC,
	HANDED_CLASS,
	HANDED_JOURNEY_ID,
	HANDED_COUNTS,
	HANDED_CAPS
};

static const char find_handed[] =
	"SELECT m.contact::pg_catalog.text, m.message_id, m.claimed_at, m.channel, m.topic, m.class, m.journey_id, m.counts, r.caps "
	"FROM journey_state.receipt AS r JOIN journey_state.message AS m ON m.contact = r.contact "
	"AND m.message_id OPERATOR(pg_catalog.=) r.message_id AND m.claimed_at OPERATOR(pg_catalog.=) r.at "
	"WHERE r.kind OPERATOR(pg_catalog.=) 'claimed' AND r.attempt OPERATOR(pg_catalog.=) 1 "
	"ORDER BY r.contact, r.receipt_id";

static Place *
read_handed(MemoryContext context, uint64 row)
{
	Place *place = MemoryContextAllocZero(context, sizeof(Place));

	place->message_id = pgj_row_int8(row, HANDED_MESSAGE_ID, 0);
	place->nchannels = 1;
	place->channels = MemoryContextAlloc(context, sizeof(char *));
	place->channels[0] = pgj_row_text(context, row, HANDED_CHANNEL);
	place->topic = pgj_row_text(context, row, HANDED_TOPIC);
	place->class = pgj_row_text(context, row, HANDED_CLASS);
	place->journey_id = pgj_row_int4(row, HANDED_JOURNEY_ID, 0);
	place->counts = DatumGetBool(pgj_row_value(row, HANDED_COUNTS));
	place->handed_over = true;
	place->claimed_at = pgj_row_int8(row, HANDED_AT, 0);
	return place;
}

static void
go_on(Law *law, uint64 row)
{
	char *contact = pgj_row_text(CurrentMemoryContext, row, HANDED_CONTACT);
	bool isnull;
	Datum names = pgj_row_nullable(row, HANDED_CAPS, &isnull);
	Place *place;

	CHECK_FOR_INTERRUPTS(); /* a window may be long */
	if (law->contact == NULL || strcmp(law->contact, contact) != 0)
		begin_contact(law, contact);
	place = read_handed(law->contact_context, row);
	if (!isnull && place->claimed_at >= law->since)
		look_at(law, place, names);
	add(law, place);
}

static void
go_through_all(Law *law)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext batch_context =
		AllocSetContextCreate(context, "cap law batch", ALLOCSET_DEFAULT_SIZES);
	Portal cursor;

	SPI_connect();
	cursor = SPI_cursor_open_with_args(NULL, find_handed, 0, NULL, NULL, NULL,
									   true, 0);
	do
	{
		SPI_cursor_fetch(cursor, true, BATCH);
		MemoryContextSwitchTo(batch_context);
		for (uint64 row = 0; row < SPI_processed; row++)
			go_on(law, row);
		SPI_freetuptable(SPI_tuptable);
		MemoryContextReset(batch_context);
	} while (SPI_processed > 0);
	SPI_cursor_close(cursor);
	SPI_finish();
	MemoryContextSwitchTo(context);
}

/*
 * journey._caps_exceeded(since timestamptz) returns table (cap text, contact text,
 * message_id bigint, at timestamptz, places integer, quota text)
 */
Datum
pgj_sql_caps_exceeded(PG_FUNCTION_ARGS)
{
	Law law = { .caps = pgj_caps(pgj_site()),
				.result = (ReturnSetInfo *) fcinfo->resultinfo,
				.since =
					PG_ARGISNULL(0) ? DT_NOBEGIN : PG_GETARG_TIMESTAMPTZ(0) };

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	if (SPI_execute("SELECT journey._require_plain_state()", false, 0) < 0)
		elog(ERROR, "could not look at the state tables");
	SPI_finish();
	law.contact_context = AllocSetContextCreate(
		CurrentMemoryContext, "cap law contact", ALLOCSET_DEFAULT_SIZES);
	go_through_all(&law);
	return (Datum) 0;
}
