/*-------------------------------------------------------------------------
 *
 * wave.c
 *	  Work a batch in waves: the first item of every contact, grouped by what is
 *	  to be done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "engine/batch.h"

/*
 * Does the run still stand where the item found it?  Exits and WAIT FOR raise
 * the epoch, so what was under way for an older epoch is void.
 */
static bool
is_live(const WorkItem *item)
{
	return item->run->status == RUN_ACTIVE && item->run->epoch == item->epoch;
}

/* A paused journey's item is kept for journey.resume_journey(). */
static void
hold(Batch *batch, WorkItem *item)
{
	Datum values[8];

	values[0] = Int16GetDatum(batch->slice);
	values[1] = item->run->work->contact;
	values[2] = Int32GetDatum(item->run->version->journey_id);
	values[3] = Int64GetDatum(item->run->id);
	values[4] = Int32GetDatum(item->run->version->version_id);
	values[5] = Int32GetDatum(item->step);
	values[6] = Int32GetDatum(item->epoch);
	values[7] = BoolGetDatum(item->fired);
	pgj_rows_add(&batch->held, values, NULL);
}

/* Take a contact's next item that is still to be worked. */
static bool
take_item(Batch *batch, Work *work)
{
	while (work->items != NIL)
	{
		WorkItem *item = linitial(work->items);

		work->items = list_delete_first(work->items);
		work->current = item;
		if (item->kind == ITEM_EVENT)
			return true;
		if (!is_live(item))
			continue;
		if (item->run->version->status == JOURNEY_PAUSED)
			hold(batch, item);
		else if (item->run->version->status == JOURNEY_DROPPED)
			pgj_run_end(batch, item->run, pgj_decision_time(batch, item),
						RUN_EXITED, "dropped");
		else
			return true;
	}
	work->current = NULL;
	return false;
}

static int
compare_current(const void *pa, const void *pb)
{
	const WorkItem *a = (*(Work *const *) pa)->current;
	const WorkItem *b = (*(Work *const *) pb)->current;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->kind == ITEM_EVENT)
		return strcmp(a->event, b->event);
	if (a->run->version != b->run->version)
		return a->run->version->version_id < b->run->version->version_id ? -1
																		 : 1;
	return a->step - b->step;
}

static void
process_group(Batch *batch, Work **works, int n)
{
	WorkItem *first = works[0]->current;

	if (first->kind == ITEM_EVENT)
	{
		batch->events += n;
		pgj_react(batch, first->event, works, n);
		pgj_enter(batch, first->event, works, n);
	}
	else
	{
		batch->steps += n;
		pgj_step(batch, first->run->version,
				 &first->run->version->steps[first->step], works, n);
	}
}

void
pgj_batch_process(Batch *batch)
{
	MemoryContext old = MemoryContextSwitchTo(batch->context);
	MemoryContext wave = AllocSetContextCreate(
		batch->context, "pg_journey wave", ALLOCSET_DEFAULT_SIZES);
	int nbusy = batch->nworks;
	Work **busy = palloc_array(Work *, nbusy + 1);
	Work **ready = palloc_array(Work *, nbusy + 1);

	memcpy(busy, batch->works, nbusy * sizeof(Work *));
	for (;;)
	{
		int n = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < nbusy; i++)
			if (take_item(batch, busy[i]))
				ready[n++] = busy[i];
		if (n == 0)
			break;

		/* whoever had an item may get another one; nobody else can */
		memcpy(busy, ready, n * sizeof(Work *));
		nbusy = n;
		qsort(ready, n, sizeof(Work *), compare_current);

		MemoryContextSwitchTo(wave);
		for (int lo = 0, hi; lo < n; lo = hi)
		{
			for (hi = lo + 1; hi < n; hi++)
				if (compare_current(&ready[lo], &ready[hi]) != 0)
					break;
			process_group(batch, ready + lo, hi - lo);
		}
		MemoryContextSwitchTo(batch->context);
		MemoryContextReset(wave);
	}
	MemoryContextDelete(wave);
	MemoryContextSwitchTo(old);
}
