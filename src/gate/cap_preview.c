/*-------------------------------------------------------------------------
 *
 * cap_preview.c
 *	  Whom a frequency cap would have touched, had it been there.
 *
 * What was handed over is gone through contact by contact in its order.  A
 * message of the time asked about that would have found the cap full is taken
 * out, and uses up nothing for those after it; what went before that time stays
 * as it was.  Which messages obey the cap, which ones it counts, and what a
 * window holds is decided by the gate's own code, with the caps that override it
 * and its quotas.
 *
 * What is not kept is taken as it is now: the contact's country and time zone,
 * whether a topic obeys caps, and everybody's distribution of responses.  The
 * engagement of a contact is that of the moment before each hand-over, from what
 * was sent in fact.
 *
 * Messages are read through a cursor, in batches; what a contact has kept is
 * carried from one batch to the next.
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
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "gate/cap.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_preview_cap);

#define BATCH 2000

/* The longest period of a calendar, in the strangest zone. */
#define MAX_PERIOD (INT64CONST(33) * USECS_PER_DAY)

/* One message that was handed over. */
typedef struct Handed
{
	char *contact; /* as text */
	bool obeys;	   /* its topic does, and it is of the time asked about */
	Place place;
	char *channel;
	GateRequest request;
	GateSend send;
} Handed;

typedef struct Preview
{
	const Site *site;
	ReturnSetInfo *result;
	TimestampTz since;
	Caps caps; /* the one that is tried, and those that override it */
	const Cap *tried;
	bool asks_contact; /* for its time zone or country */
	MemoryContext batch_context;

	/* the contact at hand */
	MemoryContext contact_context;
	char *contact;
	int64 messages, over;
	TimestampTz first_over, last_over;
	Place **kept;			/* what the cap counts, in the order of time */
	int first, nkept, size; /* kept[first .. nkept - 1] may still matter */
} Preview;

/* -------- the cap -------- */

/* Others than these have no say in whether the cap holds. */
static void
keep_what_matters(Preview *preview, const char *name)
{
	int n = 0;

	for (int i = 0; i < preview->caps.n; i++)
	{
		const Cap *cap = &preview->caps.cap[i];
		bool matters = strcmp(cap->name, name) == 0;

		for (int k = 0; k < cap->overrides.n; k++)
			matters |= strcmp(cap->overrides.name[k], name) == 0;
		if (matters)
			preview->caps.cap[n++] = *cap;
	}
	preview->caps.n = n;
	for (int i = 0; i < n; i++)
	{
		const Cap *cap = &preview->caps.cap[i];

		if (strcmp(cap->name, name) == 0)
			preview->tried = cap;
		preview->asks_contact |= cap->countries.name != NULL;
	}
	preview->asks_contact |= preview->tried->per == NULL;
}

/* -------- one contact -------- */

static void
end_contact(Preview *preview)
{
	if (preview->over > 0)
	{
		Datum values[5] = { CStringGetTextDatum(preview->contact),
							Int64GetDatum(preview->messages),
							Int64GetDatum(preview->over),
							TimestampTzGetDatum(preview->first_over),
							TimestampTzGetDatum(preview->last_over) };
		bool nulls[5] = { false };

		tuplestore_putvalues(preview->result->setResult,
							 preview->result->setDesc, values, nulls);
	}
	MemoryContextReset(preview->contact_context);
	preview->contact = NULL;
}

static void
begin_contact(Preview *preview, const char *contact)
{
	preview->contact = MemoryContextStrdup(preview->contact_context, contact);
	preview->messages = preview->over = 0;
	preview->first = preview->nkept = 0;
	preview->size = 16;
	preview->kept = MemoryContextAlloc(preview->contact_context,
									   sizeof(Place *) * preview->size);
}

static void
keep(Preview *preview, const Place *place)
{
	MemoryContext old = MemoryContextSwitchTo(preview->contact_context);
	Place *copy = palloc_object(Place);

	*copy = *place;
	copy->channels = palloc_array(char *, 1);
	copy->channels[0] = pstrdup(place->channels[0]);
	copy->topic = pstrdup(place->topic);
	copy->class = pstrdup(place->class);
	if (preview->nkept == preview->size)
	{
		preview->size *= 2;
		preview->kept =
			repalloc(preview->kept, sizeof(Place *) * preview->size);
	}
	preview->kept[preview->nkept++] = copy;
	MemoryContextSwitchTo(old);
}

/* Time goes on: what no window of the contact's can hold any more is over. */
static void
forget_until(Preview *preview, const Check *check)
{
	TimestampTz at = check->request->at;
	TimestampTz start, end;

	if (preview->tried->per != NULL)
		start = pgj_exactly_minus(at, preview->tried->per) -
				PGJ_MONTH_SLACK(preview->tried->per);
	else
		pgj_zone_period(check->zones, at, preview->tried->period, &start, &end);
	while (preview->first < preview->nkept &&
		   preview->kept[preview->first]->claimed_at < start)
		preview->first++;
}

static bool
is_full(const Preview *preview, const Bound *bound, TimestampTz at)
{
	int count = 0;

	if (preview->nkept - preview->first < bound->places)
		return false;
	for (int i = preview->nkept - 1;
		 i >= preview->first && count < bound->places; i--)
		if (pgj_bound_counts(bound, preview->kept[i]) &&
			pgj_bound_holds(bound, at, preview->kept[i]->claimed_at))
			count++;
	return count >= bound->places;
}

static bool
would_be_over(Preview *preview, Capped *capped)
{
	ListCell *cell;

	forget_until(preview, capped->check);
	foreach (cell, pgj_cap_bounds(capped))
		if (is_full(preview, lfirst(cell), capped->check->request->at))
			return true;
	return false;
}

/* The next message in the order of time; the cap holds for it or does not. */
static void
go_on(Preview *preview, Handed *handed, Capped *capped)
{
	CHECK_FOR_INTERRUPTS(); /* a window may be long */
	if (preview->contact == NULL ||
		strcmp(preview->contact, handed->contact) != 0)
	{
		if (preview->contact != NULL)
			end_contact(preview);
		begin_contact(preview, handed->contact);
	}
	if (capped != NULL)
	{
		preview->messages++;
		if (would_be_over(preview, capped))
		{
			if (preview->over++ == 0)
				preview->first_over = handed->request.at;
			preview->last_over = handed->request.at;
			return;
		}
	}
	if (handed->place.counts)
		keep(preview, &handed->place);
}

/* -------- a batch -------- */

enum
{
	HANDED_CONTACT = 1,
	HANDED_CONTACT_TEXT,
	HANDED_MESSAGE_ID,
	HANDED_CLAIMED_AT,
	HANDED_CHANNEL,
	HANDED_TOPIC,
	HANDED_CLASS,
	HANDED_JOURNEY_ID,
	HANDED_COUNTS,
	HANDED_OBEYS
};

static const char find_handed[] =
	"SELECT m.contact, m.contact::pg_catalog.text, m.message_id, m.claimed_at, m.channel, m.topic, m.class, m.journey_id, m.counts, COALESCE(t.obeys_caps, true) "
	"FROM journey_state.message AS m LEFT JOIN journey.topic AS t ON t.name OPERATOR(pg_catalog.=) m.topic "
	"WHERE m.claimed_at OPERATOR(pg_catalog.>=) $1 AND m.claimed_at OPERATOR(pg_catalog.<=) $2 "
	"ORDER BY m.contact, m.claimed_at, m.message_id";

static void
read_handed(const Preview *preview, uint64 row, Handed *handed)
{
	MemoryContext context = preview->batch_context;
	Place *place = &handed->place;
	GateRequest *request = &handed->request;

	handed->contact = pgj_row_text(context, row, HANDED_CONTACT_TEXT);
	handed->channel = pgj_row_text(context, row, HANDED_CHANNEL);
	place->nchannels = 1;
	place->channels = &handed->channel;
	place->topic = pgj_row_text(context, row, HANDED_TOPIC);
	place->class = pgj_row_text(context, row, HANDED_CLASS);
	place->journey_id = pgj_row_int4(row, HANDED_JOURNEY_ID, 0);
	place->counts = DatumGetBool(pgj_row_value(row, HANDED_COUNTS));
	place->handed_over = true;
	place->claimed_at = pgj_row_int8(row, HANDED_CLAIMED_AT, 0);

	handed->send.journey_id = place->journey_id;
	request->contact = pgj_row_copy(context, row, HANDED_CONTACT);
	request->at = place->claimed_at;
	request->channel = handed->channel;
	request->topic = place->topic;
	request->class = place->class;
	request->send = &handed->send;
	handed->obeys =
		place->claimed_at > preview->since &&
		DatumGetBool(pgj_row_value(row, HANDED_OBEYS)) &&
		pgj_scope_has(&preview->tried->obeys, handed->channel, place->topic,
					  place->class, place->journey_id);
}

static bool
is_first(const Check *checks, int i)
{
	return i == 0 ||
		   checks[i].request->contact != checks[i - 1].request->contact;
}

/*
 * Where the contacts are.  The checks of a contact stand together.  One whose row
 * is gone is taken for one of whom nothing is known.
 */
static void
find_contacts(const Preview *preview, Check *checks, int n)
{
	Check *firsts = palloc0_array(Check, n);
	int nfirsts = 0;
	SavedUser caller;

	for (int i = 0; i < n; i++)
	{
		if (is_first(checks, i))
		{
			firsts[nfirsts] = checks[i];
			initStringInfo(&firsts[nfirsts++].evidence);
		}
	}
	caller = pgj_become_owner(preview->site);
	pgj_contact_check(preview->site, GATE_DECIDE, firsts, nfirsts);
	pgj_become_caller(caller);
	for (int i = 0, k = -1; i < n; i++)
	{
		k += is_first(checks, i);
		checks[i].zones = firsts[k].zones;
		checks[i].country = firsts[k].country;
	}
}

/* A contact's key is the same datum in all its messages, to be compared. */
static void
share_contacts(Handed *handed, int n)
{
	for (int i = 1; i < n; i++)
		if (strcmp(handed[i].contact, handed[i - 1].contact) == 0)
			handed[i].request.contact = handed[i - 1].request.contact;
}

/* Engagement is what it was just before the message went. */
static void
find_caps(const Preview *preview, Check *checks, Capped *capped, int n)
{
	for (int i = 0; i < n; i++)
	{
		capped[i].check = &checks[i];
		checks[i].request->at--;
	}
	pgj_caps_hold(preview->site, &preview->caps, checks, n, capped, n);
	for (int i = 0; i < n; i++)
		checks[i].request->at++;
}

static void
go_through(Preview *preview, Handed *handed, int n)
{
	Check *checks = palloc0_array(Check, n + 1);
	Capped *capped = palloc0_array(Capped, n + 1);
	int nchecks = 0;

	share_contacts(handed, n);
	for (int i = 0; i < n; i++)
	{
		Check *check = &checks[nchecks];

		if (!handed[i].obeys)
			continue;
		check->request = &handed[i].request;
		check->open = true;
		initStringInfo(&check->evidence);
		nchecks++;
	}
	if (preview->asks_contact && nchecks > 0)
		find_contacts(preview, checks, nchecks);
	find_caps(preview, checks, capped, nchecks);

	for (int i = 0, k = 0; i < n; i++)
	{
		Capped *asked = handed[i].obeys ? &capped[k++] : NULL;

		if (asked != NULL && !list_member_ptr(asked->caps, preview->tried))
			asked = NULL;
		if (asked != NULL)
			asked->caps = list_make1(unconstify(Cap *, preview->tried));
		go_on(preview, &handed[i], asked);
	}
}

static void
go_through_all(Preview *preview, TimestampTz oldest, TimestampTz at)
{
	Oid types[2] = { TIMESTAMPTZOID, TIMESTAMPTZOID };
	Datum values[2] = { TimestampTzGetDatum(oldest), TimestampTzGetDatum(at) };
	MemoryContext context = CurrentMemoryContext;
	Portal cursor;

	SPI_connect();
	cursor = SPI_cursor_open_with_args(NULL, find_handed, 2, types, values,
									   NULL, true, 0);
	MemoryContextSwitchTo(preview->batch_context);
	for (;;)
	{
		Handed *handed;
		int n;

		SPI_cursor_fetch(cursor, true, BATCH);
		MemoryContextSwitchTo(preview->batch_context);
		n = (int) SPI_processed;
		if (n == 0)
			break;
		handed = palloc0_array(Handed, n);
		for (int row = 0; row < n; row++)
			read_handed(preview, row, &handed[row]);
		SPI_freetuptable(SPI_tuptable);
		go_through(preview, handed, n);
		MemoryContextReset(preview->batch_context);
	}
	if (preview->contact != NULL)
		end_contact(preview);
	SPI_cursor_close(cursor);
	SPI_finish();
	MemoryContextSwitchTo(context);
}

/* The beginning of all that may be in a window with the time asked about. */
static TimestampTz
oldest_that_matters(const Preview *preview)
{
	if (preview->tried->per != NULL)
		return pgj_exactly_minus(preview->since, preview->tried->per) -
			   PGJ_MONTH_SLACK(preview->tried->per);
	return preview->since - MAX_PERIOD;
}

/* Nothing but the table's constraints says what a row of its type holds. */
static char *
name_of_cap(HeapTupleHeader cap)
{
	bool no_name, no_places, rolls_not, no_calendar;
	Datum name = GetAttributeByName(cap, "name", &no_name);

	(void) GetAttributeByName(cap, "max_messages", &no_places);
	(void) GetAttributeByName(cap, "per", &rolls_not);
	(void) GetAttributeByName(cap, "calendar", &no_calendar);
	if (no_name || no_places || (rolls_not && no_calendar))
		ereport(
			ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			errmsg("a cap must have name, max_messages, and per or calendar"),
			errhint("journey.preview_cap() makes one of its arguments."));
	return TextDatumGetCString(name);
}

/*
 * journey._preview_cap(cap journey.cap, quotas journey.quota[], since timestamptz,
 * at timestamptz) returns table (contact text, messages bigint, over bigint,
 * first_over timestamptz, last_over timestamptz)
 */
Datum
pgj_sql_preview_cap(PG_FUNCTION_ARGS)
{
	Preview preview = { .site = pgj_site(),
						.result = (ReturnSetInfo *) fcinfo->resultinfo,
						.since = PG_GETARG_TIMESTAMPTZ(2) };
	char *name = name_of_cap(PG_GETARG_HEAPTUPLEHEADER(0));

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	if (SPI_execute("SELECT journey._require_plain_state()", false, 0) < 0)
		elog(ERROR, "could not look at the state tables");
	SPI_finish();
	preview.batch_context = AllocSetContextCreate(
		CurrentMemoryContext, "cap preview", ALLOCSET_DEFAULT_SIZES);
	preview.contact_context = AllocSetContextCreate(
		CurrentMemoryContext, "cap preview contact", ALLOCSET_DEFAULT_SIZES);

	pgj_caps_read_as_if(preview.site, get_fn_expr_argtype(fcinfo->flinfo, 0),
						PG_GETARG_DATUM(0),
						get_fn_expr_argtype(fcinfo->flinfo, 1),
						PG_GETARG_DATUM(1), &preview.caps);
	keep_what_matters(&preview, name);
	if (preview.asks_contact)
		pgj_require_member(preview.site);
	go_through_all(&preview, oldest_that_matters(&preview),
				   PG_GETARG_TIMESTAMPTZ(3));
	return (Datum) 0;
}
