/*-------------------------------------------------------------------------
 *
 * send.c
 *	  A SEND for many runs that stand at it.
 *
 * The gate grants the message, withholds it, or puts it off.  A message put off
 * does not exist yet: the run stays at the SEND and asks again when the timer
 * fires, so that an exit ends it as it ends any wait, and nothing has to be taken
 * back.  It asks as one that came there when it did ("since"): its message expires
 * no later, and waiting counts for its priority.  However often a message is
 * put off, it is granted or withheld once; then the run goes on.
 *
 * Answer, timer and run are written in one transaction with the progress past
 * the timer that asked.  A crash leaves the run where it stood, with that timer
 * ahead.  A late tick asks late, and may find it is night again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "engine/batch.h"
#include "gate/gate.h"
#include "guc.h"
#include "outbox/outbox.h"

typedef struct Sending
{
	Batch *batch;
	Version *version;
	Step *step;
	GateSend send;
	Work **works;
	GateRequest *requests;
	char **errors;
} Sending;

/* What a SEND says, for the gate. */
void
pgj_gate_send(const Version *version, const Step *step, GateSend *send)
{
	memset(send, 0, sizeof(GateSend));
	send->journey_id = version->journey_id;
	send->journey = version->journey;
	send->version_id = version->version_id;
	send->step_no = step->no;
	send->topic = version->topic;
	send->template = step->template;
	send->nchannels = step->nchannels;
	send->channels = step->channels;
	send->best = step->best;
	send->priority = step->priority;
	send->when_capped = step->when_capped;
	send->capped_within = step->capped_within;
	send->best_time_within = step->best_time_within;
	send->also = step->also;
	send->other_channels = step->other_channels;
}

static TimestampTz
expiry_of(const Step *step, TimestampTz since)
{
	if (step->duration != NULL)
		return pgj_time_plus(since, step->duration);
	return since + (int64) pgj_message_expiry * USECS_PER_SEC;
}

static void
fill_request(const Sending *s, const Work *work, GateRequest *request)
{
	const Run *run = work->current->run;
	bool was_put_off = run->send_step == s->step->no;

	request->contact = work->contact;
	request->at = pgj_decision_time(s->batch, work->current);
	request->channel = s->step->channel;
	request->topic = s->version->topic;
	request->send = &s->send;
	request->enrollment_id = run->id;
	request->key = run->key;
	request->entered_at = run->entered_at;
	request->ghost = run->ghost;
	request->assume_sent = s->batch->assume_sent;
	request->since = was_put_off ? run->send_since : request->at;
	request->timed = was_put_off && run->send_timed;
	request->expires_at = expiry_of(s->step, request->since);
}

/*
 * The gate reads the other runs of a contact in their tables.  The one that asks
 * is known to it.  Writes them if one may matter that is not there as it is.
 */
static void
show_other_runs(Sending *s, int n)
{
	bool unwritten = false;

	for (int i = 0; i < n; i++)
	{
		slist_iter iter;

		s->requests[i].alone = true;
		slist_foreach(iter, &s->works[i]->runs)
		{
			const Run *run = slist_container(Run, link, iter.cur);

			if (run == s->works[i]->current->run)
				continue;
			if (run->status == RUN_ACTIVE && !run->ghost)
				s->requests[i].alone = false;
			if (pgj_run_unwritten(s->batch, run))
				unwritten = true;
		}
	}
	if (unwritten && pgj_gate_arbitrates(s->batch->site))
	{
		pgj_batch_write_runs(s->batch);
		pgj_rows_flush(s->batch->site, &s->batch->transitions);
	}
}

static void
decide_range(void *arg, int lo, int hi)
{
	Sending *s = arg;

	pgj_gate_decide(s->batch->site, GATE_DECIDE, s->requests + lo, hi - lo);
	for (int i = lo; i < hi; i++)
		if (s->requests[i].deferred &&
			s->requests[i].until <= s->requests[i].at)
			elog(ERROR, "the gate put a message off to a time that has passed");
}

static void
decide_failed(void *arg, int i, char *error)
{
	((Sending *) arg)->errors[i] = error;
}

static void
fill_message(const Sending *s, const Work *work, const GateRequest *request,
			 MessageRow *row)
{
	const Run *run = work->current->run;

	memset(row, 0, sizeof(MessageRow));
	row->contact = work->contact;
	row->slice = s->batch->slice;
	row->enrollment_id = run->id;
	row->journey_id = s->version->journey_id;
	row->journey = s->version->journey;
	row->version_id = s->version->version_id;
	row->key = run->key;
	row->ordinal = run->ordinal;
	row->step_no = s->step->no;
	row->label = s->step->label;
	row->visit = 1; /* no construct leads back to a step yet */
	row->channel = request->channel;
	row->template = s->step->template;
	row->topic = s->version->topic;
	row->priority = s->step->priority;
	row->class = request->class;
	row->counts = request->counts;
	row->since = request->since;
	row->decided_at = request->at;
	row->expires_at = request->expires_at;
}

static void
fill_verdict(const Sending *s, const Work *work, const GateRequest *request,
			 int64 message_id, VerdictRow *row)
{
	const Run *run = work->current->run;

	memset(row, 0, sizeof(VerdictRow));
	row->contact = work->contact;
	row->at = request->at;
	row->enrollment_id = run->id;
	row->version_id = s->version->version_id;
	row->step_no = s->step->no;
	row->visit = 1;
	row->ghost = run->ghost;
	row->comparable = run->comparable;
	row->stage = GATE_DECIDE;
	row->granted = request->granted;
	row->deferred = request->deferred;
	row->until = request->until;
	row->reason = request->reason;
	row->message_id = message_id;
	row->evidence = request->evidence;
}

/* Messages for those that are granted one; ids[i] = 0 where none is written. */
static void
write_messages(const Sending *s, int n, int64 *ids)
{
	MessageRow *messages = palloc_array(MessageRow, n);
	int *owner = palloc_array(int, n);
	int nmessages = 0;

	for (int i = 0; i < n; i++)
	{
		if (s->errors[i] != NULL || !s->requests[i].granted ||
			s->requests[i].ghost)
			continue;
		fill_message(s, s->works[i], &s->requests[i], &messages[nmessages]);
		owner[nmessages++] = i;
	}
	if (nmessages == 0)
		return;
	pgj_outbox_put(s->batch->site, messages, nmessages, s->batch->assume_sent);
	s->batch->messages += nmessages;
	for (int m = 0; m < nmessages; m++)
		ids[owner[m]] = messages[m].message_id;
}

/* What the answer does to the run. */
static void
follow(const Sending *s, Work *work, const GateRequest *request)
{
	Run *run = work->current->run;

	if (request->deferred)
	{
		pgj_run_put_off(
			s->batch, run, s->step->no, request->since, request->until,
			request->timed || strcmp(request->reason, "send_time") == 0);
		return;
	}
	pgj_run_decided(s->batch, run);
	if (request->ends_run)
		pgj_run_end(s->batch, run, request->at, RUN_COMPLETED, request->reason);
	else
		pgj_batch_arrive(s->batch, run, request->at, s->step->next, "next");
}

/*
 * A run that was parked while its message was put off is retried: it goes on
 * waiting.  Moves the runs that ask now to the front and returns how many.
 */
static int
keep_waiting(Batch *batch, Step *step, Work **works, int n)
{
	int kept = 0;

	for (int i = 0; i < n; i++)
	{
		WorkItem *item = works[i]->current;
		Run *run = item->run;

		if (!item->fired && run->send_step == step->no &&
			run->send_due > pgj_decision_time(batch, item))
			pgj_batch_timer(batch, run, run->send_due, step->no);
		else
			works[kept++] = works[i];
	}
	return kept;
}

void
pgj_step_send(Batch *batch, Version *version, Step *step, Work **works, int n)
{
	Sending s = {
		.batch = batch, .version = version, .step = step, .works = works
	};
	VerdictRow *verdicts = palloc_array(VerdictRow, n);
	int64 *ids = palloc0_array(int64, n);
	int nverdicts = 0;

	n = keep_waiting(batch, step, works, n);
	pgj_gate_send(version, step, &s.send);
	s.requests = palloc0_array(GateRequest, n);
	s.errors = palloc0_array(char *, n);
	for (int i = 0; i < n; i++)
		fill_request(&s, works[i], &s.requests[i]);
	show_other_runs(&s, n);
	pgj_guard_range(decide_range, decide_failed, &s, n);

	write_messages(&s, n, ids);
	for (int i = 0; i < n; i++)
	{
		if (s.errors[i] != NULL)
		{
			pgj_run_park(batch, works[i]->current->run, step->no, s.errors[i]);
			continue;
		}
		fill_verdict(&s, works[i], &s.requests[i], ids[i],
					 &verdicts[nverdicts++]);
		follow(&s, works[i], &s.requests[i]);
	}
	if (nverdicts > 0)
		pgj_verdict_append(batch->site, verdicts, nverdicts);
}
