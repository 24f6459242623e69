/*-------------------------------------------------------------------------
 *
 * pass.c
 *	  Bring the memberships of one slice's contacts up to date.
 *
 * The slice is locked.  Contacts come from what has changed (news.c) and from the
 * clock: memberships whose check is due.  Segments are evaluated by level, each
 * by one statement for all its contacts; who enters or leaves one is looked at
 * again for those that ask for it, which have higher levels.
 *
 * Checks due are taken in the order of their times, from progress.due_at on:
 * what lies behind it is done.  Each one taken is written anew or cleared
 * (change.c), so several at one instant may be cut in two.
 *
 * In a replay changes count as of the slice's progress, and each check is made
 * at its own time, in waves: of each contact the earliest of those due, with all
 * that this leads to; the next wave begins with the earliest that is left.
 *
 * What concerns contacts of other slices goes out as marks of this transaction,
 * which later passes take in (follow.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "append.h"
#include "guc.h"
#include "pg_journey.h"
#include "plan.h"
#include "segment/definition.h"
#include "segment/pass.h"

typedef struct PassEntry
{
	Datum contact;
	int number;
	uint32 hash;
	char status;
} PassEntry;

#define KEY_SITE(tb) ((const Site *) (tb)->private_data)
#define SH_PREFIX passtable
#define SH_ELEMENT_TYPE PassEntry
#define SH_KEY_TYPE Datum
#define SH_KEY contact
#define SH_HASH_KEY(tb, key) \
	datum_image_hash(key, KEY_SITE(tb)->key_typbyval, KEY_SITE(tb)->key_typlen)
#define SH_EQUAL(tb, a, b) \
	datum_image_eq(a, b, KEY_SITE(tb)->key_typbyval, KEY_SITE(tb)->key_typlen)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, entry) (entry)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* ---- contacts of a pass ----------------------------------------------- */

/*
 * A contact has one time in a pass.  Where a replay's wave would look at it at
 * two, what comes of another contact's flip, it is the later one.
 */
static int
contact_number(Pass *pass, Datum contact, TimestampTz at)
{
	bool found;
	PassEntry *entry = passtable_insert(pass->table, contact, &found);

	if (found)
	{
		pass->contacts_at[entry->number] =
			Max(pass->contacts_at[entry->number], at);
		return entry->number;
	}
	if (pass->ncontacts == pass->contacts_capacity)
	{
		pass->contacts_capacity *= 2;
		pass->contacts = repalloc_huge(pass->contacts,
									   pass->contacts_capacity * sizeof(Datum));
		pass->contacts_at = repalloc_huge(
			pass->contacts_at, pass->contacts_capacity * sizeof(TimestampTz));
	}
	entry->number = pass->ncontacts++;
	pass->contacts[entry->number] = contact;
	pass->contacts_at[entry->number] = at;
	return entry->number;
}

void
pgj_pass_add(Pass *pass, int segment, Datum contact, TimestampTz at, bool clock)
{
	int number = contact_number(pass, contact, at);
	Todo *todo = &pass->todo[segment];

	if (clock)
		todo->due = bms_add_member(todo->due, number);
	else
		todo->changed = bms_add_member(todo->changed, number);
}

void
pgj_pass_mark(Pass *pass, Mark mark)
{
	if (pass->nmarks == pass->marks_capacity)
	{
		pass->marks_capacity = Max(64, pass->marks_capacity * 2);
		pass->marks = pass->marks == NULL
						  ? palloc_array(Mark, pass->marks_capacity)
						  : repalloc_huge(pass->marks,
										  pass->marks_capacity * sizeof(Mark));
	}
	pass->marks[pass->nmarks++] = mark;
}

Pass *
pgj_pass_begin(const Site *site, int slice, TimestampTz at, bool replay,
			   Segments *segments)
{
	Pass *pass = palloc0_object(Pass);

	pass->site = site;
	pass->slice = slice;
	pass->at = at;
	pass->replay = replay;
	pass->segments = segments;
	pass->contacts_capacity = 256;
	pass->contacts = palloc_array(Datum, pass->contacts_capacity);
	pass->contacts_at = palloc_array(TimestampTz, pass->contacts_capacity);
	pass->table =
		passtable_create(CurrentMemoryContext, 256, unconstify(Site *, site));
	pass->todo = palloc0_array(Todo, segments->n);
	pgj_changes_init(&pass->changes, site, slice);
	return pass;
}

/* ---- evaluating ------------------------------------------------------- */

static void
look_at(Pass *pass, Segment *segment, Check *checks, int n)
{
	CheckOutcome outcome = pgj_segment_check(pass->site, segment, checks, n);
	Member *members;
	bool *flipped;

	if (outcome == CHECK_SUSPENDED)
		return;
	members = pgj_members_load(pass->site, segment->segment_id, checks, n);
	if (outcome == CHECK_PUT_OFF)
	{
		pgj_members_put_off(&pass->changes, segment, checks, members, n);
		return;
	}
	flipped = palloc0_array(bool, n + 1);
	pgj_members_write(&pass->changes, segment, checks, members, n, flipped);
	pgj_pass_follow_flips(pass, segment, checks, flipped, n);
}

/* All contacts of a segment, in batches. */
static void
work_segment(Pass *pass, int number)
{
	Segment *segment = &pass->segments->all[number];
	Todo *todo = &pass->todo[number];
	Bitmapset *numbers = bms_union(todo->changed, todo->due);
	int contact = -1;

	while (!segment->suspended && !bms_is_empty(numbers))
	{
		int capacity = Min(bms_num_members(numbers), pgj_batch_size);
		Check *checks = palloc0_array(Check, capacity);
		int n = 0;

		CHECK_FOR_INTERRUPTS();
		while (n < capacity &&
			   (contact = bms_next_member(numbers, contact)) >= 0)
		{
			checks[n].contact = pass->contacts[contact];
			checks[n].at = pass->contacts_at[contact];
			checks[n++].clock = !bms_is_member(contact, todo->changed);
		}
		look_at(pass, segment, checks, n);
		if (n < capacity || bms_next_member(numbers, contact) < 0)
			break;
	}
	bms_free(todo->changed);
	bms_free(todo->due);
	memset(todo, 0, sizeof(Todo));
}

/* Segments are in the order of their levels: what a flip adds is yet to come. */
void
pgj_pass_work(Pass *pass)
{
	for (int s = 0; s < pass->segments->n; s++)
		if (pass->todo[s].changed != NULL || pass->todo[s].due != NULL)
			work_segment(pass, s);
}

/* ---- what is due ------------------------------------------------------ */

#define DUE_CHECKS                                                            \
	" FROM journey_state.membership m WHERE m.slice = $1 AND m.check_at > $2" \
	" AND m.check_at <= $3"

static void
due_params(Pass *pass, TimestampTz until, Params *params)
{
	pgj_params_init(params, pass->site, pass->segments->n);
	pgj_params_scalar(params, INT2OID, Int16GetDatum(pass->slice));
	pgj_params_scalar(params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(pass->progress.due_at));
	pgj_params_scalar(params, TIMESTAMPTZOID, TimestampTzGetDatum(until));
}

/* Of segments that are suspended, or no more: nobody will take them. */
static bool
something_is_due(Pass *pass, TimestampTz until)
{
	static KeptPlan look = { .sql = "SELECT" DUE_CHECKS " LIMIT 1" };
	Params params;
	bool found;

	due_params(pass, until, &params);
	found = pgj_plan_execute(&look, &params) > 0;
	SPI_freetuptable(SPI_tuptable);
	return found;
}

/* The earliest checks that are due; SPI_tuptable has them. */
static uint64
find_due(Pass *pass, TimestampTz until)
{
	static KeptPlan find = {
		.sql = "SELECT m.segment_id, m.contact, m.check_at" DUE_CHECKS
			   " AND m.segment_id = ANY ($4) ORDER BY m.check_at LIMIT $5"
	};
	Params params;
	Datum *ids;

	due_params(pass, until, &params);
	ids = pgj_params_column(&params, INT4OID, NULL);
	for (int s = 0; s < pass->segments->n; s++)
		ids[s] = Int32GetDatum(pass->segments->all[s].suspended
								   ? 0
								   : pass->segments->all[s].segment_id);
	pgj_params_scalar(&params, INT8OID, Int64GetDatum(pgj_batch_size));
	return pgj_plan_execute(&find, &params);
}

/*
 * Take one into the pass, unless the contact is to be looked at earlier in this
 * wave.
 */
static bool
take_due(Pass *pass, uint64 row, MemoryContext context)
{
	Segment *segment =
		pgj_segment_by_id(pass->segments, pgj_row_int4(row, 1, 0));
	Datum contact = pgj_row_copy(context, row, 2);
	TimestampTz check_at = pgj_row_int8(row, 3, 0);
	TimestampTz at = pass->replay ? Max(check_at, pass->at) : pass->at;
	PassEntry *entry = passtable_lookup(pass->table, contact);

	if (entry != NULL && pass->contacts_at[entry->number] < at)
		return false;
	pgj_pass_add(pass, segment - pass->segments->all, contact, at, true);
	return true;
}

/* A batch of checks; returns true when no more are due by "until". */
static bool
take_checks(Pass *pass, TimestampTz until)
{
	MemoryContext context = CurrentMemoryContext;
	SegmentProgress *progress = &pass->progress;
	TimestampTz done = until;
	uint64 rows = find_due(pass, until);
	SPITupleTable *table = SPI_tuptable;

	for (uint64 row = 0; row < rows; row++)
	{
		TimestampTz check_at = pgj_row_int8(row, 3, 0);

		if (!take_due(pass, row, context))
			done = Min(done, check_at - 1);
		else if (row == pgj_batch_size - 1)
			done = Min(done, check_at - 1);
	}
	SPI_freetuptable(table);
	pgj_engine_source.worked += rows;
	if (rows == 0 && !something_is_due(pass, until))
		return true;

	pgj_pass_work(pass);
	if (pass->changes.first_armed <= until)
		done = Min(done, pass->changes.first_armed - 1);
	progress->due_at = Max(progress->due_at, done);
	progress->at =
		Max(progress->at, pass->replay ? progress->due_at : pass->at);
	progress->changed = true;
	return done == until;
}

/* ---- the end of a pass ------------------------------------------------ */

static SourceEvent *
copy_events(const Pass *pass, MemoryContext context, int *nevents)
{
	const Changes *changes = &pass->changes;
	const Site *site = pass->site;
	MemoryContext old = MemoryContextSwitchTo(context);
	SourceEvent *events = palloc_array(SourceEvent, changes->nevents + 1);

	for (int i = 0; i < changes->nevents; i++)
	{
		const EventRow *row = &changes->events[i];

		events[i].contact =
			datumCopy(row->contact, site->key_typbyval, site->key_typlen);
		events[i].at = row->at;
		events[i].event_id = row->event_id;
		events[i].name = i > 0 && row->name == changes->events[i - 1].name
							 ? events[i - 1].name
							 : pstrdup(row->name);
	}
	*nevents = changes->nevents;
	MemoryContextSwitchTo(old);
	return events;
}

static SourceEvent *
end_pass(Pass *pass, MemoryContext context, int *nevents, bool *more)
{
	pgj_pass_settle(pass, pgj_event_append_done);
	if (pass->marked || pass->scan_wanted)
		*more = true;
	if (pass->progress.changed)
		pgj_segment_progress_store(pass->site, pass->slice, &pass->progress);
	return copy_events(pass, context, nevents);
}

static SourceEvent *
work_slice(Pass *pass, TimestampTz at, MemoryContext context, int *nevents,
		   bool *more)
{
	SegmentProgress *progress = &pass->progress;

	pgj_segment_progress_load(pass->site, pass->slice, progress);
	if (!progress->known && TIMESTAMP_NOT_FINITE(at))
		return NULL; /* a replay of what has no past */
	if (!progress->known)
	{
		/* a scan is to come, which sees all that has committed by now */
		pgj_segment_progress_begin(pass->site, pass->slice, at);
		pgj_segment_progress_load(pass->site, pass->slice, progress);
	}
	pgj_changes_load_positions(&pass->changes, pass->segments);
	pass->at = pass->replay ? progress->at : Max(at, progress->at);

	if (!pgj_pass_take_news(pass))
		*more = true;
	if (progress->changed && !pass->replay)
		progress->at = pass->at;
	if (pass->replay || *more)
		pgj_pass_work(pass);
	if (!*more && !take_checks(pass, Max(at, pass->at)))
		*more = true;
	return end_pass(pass, context, nevents, more);
}

SourceEvent *
pgj_segment_pass(const Site *site, int slice, TimestampTz at, bool replay,
				 int *nevents, bool *more)
{
	Segments *segments = pgj_segments(site);
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	SourceEvent *events;

	*nevents = 0;
	*more = false;
	if (segments->n == 0)
		return NULL;
	context = AllocSetContextCreate(caller, "pg_journey segments' pass",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	events = work_slice(pgj_pass_begin(site, slice, at, replay, segments), at,
						caller, nevents, more);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
	return events;
}

void
pgj_segment_init(void)
{
	pgj_engine_source.pass = pgj_segment_pass;
	pgj_engine_source.scan = pgj_segment_scan;
	pgj_engine_source.prepare = pgj_segment_prepare;
}
