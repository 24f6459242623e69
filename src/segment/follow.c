/*-------------------------------------------------------------------------
 *
 * follow.c
 *	  What a flip leads to: segments that ask who is in another, and segments
 *	  that read the events of those who enter and leave.
 *
 * The former have higher levels and are evaluated in the same round.  The latter
 * may be any, the one that flipped included; they are evaluated in a round of
 * their own, once the events are written.  A predicate that never comes to rest
 * goes on in later passes, by marks.  So does what concerns contacts of other
 * slices than the one at hand.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "append.h"
#include "pg_journey.h"
#include "segment/pass.h"

#define ROUNDS_AT_ONCE 4

/* Contacts who flipped, each at its time. */
typedef struct Flipped
{
	int n;
	Datum *contacts;
	TimestampTz *at;
	bool *clock;
} Flipped;

static Flipped
make_flipped(int capacity)
{
	Flipped flipped = { 0 };

	flipped.contacts = palloc_array(Datum, capacity + 1);
	flipped.at = palloc_array(TimestampTz, capacity + 1);
	flipped.clock = palloc_array(bool, capacity + 1);
	return flipped;
}

static void
add_flipped(Flipped *flipped, Datum contact, TimestampTz at, bool clock)
{
	flipped->contacts[flipped->n] = contact;
	flipped->at[flipped->n] = at;
	flipped->clock[flipped->n++] = clock;
}

/* One that is to be looked at: now if it is ours. */
static void
reach(Pass *pass, int number, const SegmentWatch *watch, Datum contact,
	  TimestampTz at, bool clock)
{
	int slice = pgj_slice_of(pass->site, contact);
	Mark mark = { .watch_id = watch->watch_id,
				  .slice = slice,
				  .has_contact = true,
				  .contact = contact };

	if (pass->slice == MARK_ALL_SLICES || slice == pass->slice)
		pgj_pass_add(pass, number, contact, at, clock);
	else
		pgj_pass_mark(pass, mark);
}

static void
mark_all(Pass *pass, const SegmentWatch *watch)
{
	Mark mark = { .watch_id = watch->watch_id, .slice = MARK_ALL_SLICES };

	pgj_pass_mark(pass, mark);
}

/* Those to whom some that flipped at one time lead. */
static void
reach_linked(Pass *pass, int number, const SegmentWatch *watch,
			 const Flipped *flipped, int first, int n)
{
	Segment *segment = &pass->segments->all[number];
	Datum *links = palloc_array(Datum, n);
	Datum *contacts;
	int ncontacts;
	bool too_many;

	for (int i = 0; i < n; i++)
		links[i] = CStringGetTextDatum(
			pgj_key_to_text(pass->site, flipped->contacts[first + i]));
	switch (pgj_segment_find(pass->site, segment, watch, &links, n,
							 flipped->at[first], &contacts, &ncontacts,
							 &too_many))
	{
		case CHECK_SUSPENDED:
			return;
		case CHECK_PUT_OFF:
			too_many = true;
			break;
		case CHECK_DONE:
			break;
	}
	if (too_many)
		mark_all(pass, watch);
	for (int i = 0; i < ncontacts && !too_many; i++)
		reach(pass, number, watch, contacts[i], flipped->at[first],
			  flipped->clock[first]);
}

static void
follow_watch(Pass *pass, int number, const SegmentWatch *watch,
			 const Flipped *flipped)
{
	int step = pass->replay ? 1 : Max(flipped->n, 1);

	if (flipped->n == 0)
		return;
	if (watch->kind == 'c')
		for (int i = 0; i < flipped->n; i++)
			reach(pass, number, watch, flipped->contacts[i], flipped->at[i],
				  flipped->clock[i]);
	else if (watch->kind == 'l' && watch->nkeys == 1 && watch->find != NULL)
		for (int i = 0; i < flipped->n; i += step)
			reach_linked(pass, number, watch, flipped, i, step);
	else
		mark_all(pass, watch);
}

/* Those whose first scan is still to come are seen by it. */
static bool
is_concerned(const Pass *pass, const Segment *segment)
{
	return segment != NULL && !segment->suspended &&
		   (!segment->building ||
			pgj_scan_position(&pass->changes, segment) != NULL);
}

void
pgj_pass_follow_flips(Pass *pass, const Segment *segment, const Check *checks,
					  const bool *flipped, int n)
{
	Flipped flips;
	Oid memberships;
	ListCell *lc;

	if (segment->needed_by == NIL)
		return;
	memberships = pgj_state_relation("membership");
	flips = make_flipped(n);
	for (int i = 0; i < n; i++)
		if (flipped[i])
			add_flipped(&flips, checks[i].contact, checks[i].at,
						checks[i].clock);
	foreach (lc, segment->needed_by)
	{
		Segment *needing = pgj_segment_by_id(pass->segments, lfirst_int(lc));

		if (!is_concerned(pass, needing))
			continue;
		for (int w = 0; w < needing->nwatches; w++)
			if (needing->watches[w].relation == memberships)
				follow_watch(pass, needing - pass->segments->all,
							 &needing->watches[w], &flips);
	}
}

/* Segments that read the events from "first" on. */
static void
follow_events(Pass *pass, int first, bool now)
{
	const Changes *changes = &pass->changes;
	Oid events = pgj_state_relation("event");

	for (int s = 0; s < pass->segments->n; s++)
	{
		const Segment *segment = &pass->segments->all[s];

		for (int w = 0; w < segment->nwatches; w++)
		{
			const SegmentWatch *watch = &segment->watches[w];
			Flipped read;

			if (watch->relation != events || !is_concerned(pass, segment))
				continue;
			read = make_flipped(changes->nevents - first);
			for (int i = first; i < changes->nevents; i++)
				if (pgj_watch_reads_event(watch, events,
										  changes->events[i].name))
					add_flipped(&read, changes->events[i].contact,
								changes->events[i].at, false);
			if (now)
				follow_watch(pass, s, watch, &read);
			else if (read.n > 0)
				mark_all(pass, watch);
		}
	}
}

/*
 * Evaluate what is to be looked at, and what that leads to, until nothing is left.
 * append: how the events are written.
 */
void
pgj_pass_settle(Pass *pass, void (*append)(const Site *, EventRow *, int))
{
	int round = 0;

	pgj_pass_work(pass);
	while (pass->nappended < pass->changes.nevents)
	{
		int first = pass->nappended;

		append(pass->site, pass->changes.events + first,
			   pass->changes.nevents - first);
		pass->nappended = pass->changes.nevents;
		follow_events(pass, first, ++round < ROUNDS_AT_ONCE);
		pgj_pass_work(pass);
	}
	pgj_marks_append(pass->site, pass->marks, pass->nmarks, pass->at);
	pass->marked = pass->marked || pass->nmarks > 0;
	pass->nmarks = 0;
}
