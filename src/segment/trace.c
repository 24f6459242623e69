/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  What to watch: each table a predicate reads, and how a changed row of it
 *	  leads to contacts (correlate.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "append.h"
#include "pg_journey.h"
#include "segment/trace.h"

static bool
same_list(List *one, List *other)
{
	return equal(one, other);
}

static void
add_names(List **into, List *names)
{
	ListCell *lc;

	foreach (lc, names)
	{
		char *name = lfirst(lc);
		bool known = false;
		ListCell *known_cell;

		foreach (known_cell, *into)
			known = known || strcmp(lfirst(known_cell), name) == 0;
		if (!known)
			*into = lappend(*into, name);
	}
}

/*
 * A segment watches a table once for each key.  If two ways lead on from the
 * same key, both are gone.
 */
static bool
merge(Watch *into, const Watch *watch)
{
	if (into->relation != watch->relation || into->kind != watch->kind ||
		into->null_is_all != watch->null_is_all ||
		!same_list(into->key, watch->key))
		return false;
	into->whole_row = into->whole_row || watch->whole_row;
	into->columns = list_concat_unique_int(into->columns, watch->columns);
	list_sort(into->columns, list_int_cmp);
	if (into->event_names == NIL || watch->event_names == NIL)
		into->event_names = NIL;
	else
		add_names(&into->event_names, watch->event_names);
	if (into->find && !equal(into->find, watch->find))
		into->find = pgj_trace_find_either(into->find, watch->find,
										   list_length(into->key));
	return true;
}

static void
add_watch(Predicate *predicate, Watch *watch)
{
	ListCell *lc;

	foreach (lc, predicate->watches)
	{
		if (merge(lfirst(lc), watch))
			return;
	}
	predicate->watches = lappend(predicate->watches, watch);
}

/* The columns read, and those of the key. */
static List *
columns_of(const Place *place, List *key)
{
	List *result = list_copy(key);
	int column = -1;

	while ((column = bms_next_member(place->columns, column)) >= 0)
		result = list_append_unique_int(
			result, column + FirstLowInvalidHeapAttributeNumber);
	list_sort(result, list_int_cmp);
	return result;
}

/*
 * Events are read by the passes themselves, who go by their contact and by no
 * other column.
 */
static void
restrict_event_link(Watch *watch, Oid relation)
{
	if (watch->kind != WATCH_LINK || relation != pgj_state_relation("event") ||
		(list_length(watch->key) == 1 &&
		 linitial_int(watch->key) == get_attnum(relation, "contact")))
		return;
	watch->kind = WATCH_ALL;
	watch->key = NIL;
	watch->find = NULL;
	watch->null_is_all = false;
}

static Watch *
watch_contact_row(const Trace *trace)
{
	Watch *watch = palloc0_object(Watch);

	watch->kind = WATCH_CONTACT;
	watch->key = list_make1_int(trace->key);
	return watch;
}

static void
watch_place(Trace *trace, int number)
{
	Place *place = trace_place(trace, number);
	List *watches;
	ListCell *lc;

	if (!pgj_trace_can_watch(trace->predicate, place->rte))
		return;
	if (number == PREDICATE_CONTACT)
		watches = list_make1(watch_contact_row(trace));
	else
		watches = pgj_trace_correlate(trace, number);
	foreach (lc, watches)
	{
		Watch *watch = lfirst(lc);

		watch->relation = place->rte->relid;
		restrict_event_link(watch, watch->relation);
		watch->whole_row = place->whole_row;
		watch->columns = columns_of(place, watch->key);
		add_watch(trace->predicate, watch);
	}
}

void
pgj_predicate_trace(Predicate *predicate)
{
	Trace *trace = pgj_trace_layout(predicate);

	predicate->watches = NIL;
	for (int i = 1; i <= trace->nplaces; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (trace_place(trace, i)->rte->rtekind == RTE_RELATION)
			watch_place(trace, i);
	}
	pgj_trace_functions(predicate);
	if (PGJ_SABOTAGE == 4 && list_length(predicate->watches) > 1)
		predicate->watches = list_delete_last(predicate->watches);
}
