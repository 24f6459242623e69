/*-------------------------------------------------------------------------
 *
 * choose.c
 *	  SEND FIRST OF, BEST OF: over which of several channels?
 *
 * Each channel is asked as a journey's entry asks it (GATE_ENTRY: consent,
 * suppression, address).  FIRST OF takes the first that may be used, BEST OF the
 * one whose messages the contact is most likely to click, by its own clicks and
 * everybody's (engagement.c); ties go by the script's order, and so does a channel
 * of which nothing is known, after those of which something is.  If none may be
 * used the message goes on as one of the first, so that its reason is the first
 * channel's.
 *
 * The choice is made at each asking.  A claim keeps the channel of its message.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "gate/check.h"
#include "gate/engagement.h"

/* What is found out of one of the channels of a request. */
typedef struct Option
{
	bool asked;
	const char *reason; /* why not, or NULL */
	bool rated;
	double rate;
} Option;

typedef struct Choice
{
	Check *check;
	Option *options; /* nchannels of the SEND */
	int chosen;		 /* -1: none so far */
} Choice;

/*
 * Ask channel number k of those choices that still need it.  At most one request
 * for each contact, as the gate wants it.
 */
static void
ask_channel(const Site *site, Choice *choices, int n, int k)
{
	GateRequest *requests = palloc0_array(GateRequest, n);
	Option **options = palloc_array(Option *, n);
	int nasked = 0;

	for (int i = 0; i < n; i++)
	{
		const GateRequest *request = choices[i].check->request;
		const GateSend *send = request->send;

		if (k >= send->nchannels || (!send->best && choices[i].chosen >= 0))
			continue;
		requests[nasked].contact = request->contact;
		requests[nasked].at = request->at;
		requests[nasked].channel = send->channels[k];
		requests[nasked].topic = request->topic;
		requests[nasked].expires_at = DT_NOEND;
		options[nasked++] = &choices[i].options[k];
	}
	pgj_gate_decide(site, GATE_ENTRY, requests, nasked);
	for (int i = 0; i < nasked; i++)
	{
		options[i]->asked = true;
		options[i]->reason = requests[i].granted ? NULL : requests[i].reason;
	}
	for (int i = 0; i < n; i++)
	{
		Choice *choice = &choices[i];

		if (k < choice->check->request->send->nchannels &&
			choice->options[k].asked && choice->options[k].reason == NULL &&
			choice->chosen < 0)
			choice->chosen = k;
	}
}

/* The click rates of the channels that BEST OF may choose from. */
static void
rate_channels(const Site *site, Choice *choices, int n, int nchannels)
{
	Engagement *engagements = palloc0_array(Engagement, n * nchannels);
	Option **options = palloc_array(Option *, n * nchannels);
	int nasked = 0;

	for (int i = 0; i < n; i++)
	{
		const GateRequest *request = choices[i].check->request;

		for (int k = 0; request->send->best && k < request->send->nchannels;
			 k++)
		{
			if (choices[i].options[k].reason != NULL)
				continue;
			engagements[nasked].contact = request->contact;
			engagements[nasked].channel = request->send->channels[k];
			engagements[nasked].at = request->at;
			options[nasked++] = &choices[i].options[k];
		}
	}
	pgj_engagement_read(site, engagements, nasked);
	for (int i = 0; i < nasked; i++)
	{
		options[i]->rated = engagements[i].known;
		if (engagements[i].known)
			options[i]->rate = pgj_engagement_rate(&engagements[i]);
	}
}

/* Is option k better than the one chosen so far? */
static bool
is_better(const Choice *choice, int k)
{
	const Option *option = &choice->options[k];
	const Option *chosen = &choice->options[choice->chosen];

	return option->reason == NULL && option->rated &&
		   (!chosen->rated || option->rate > chosen->rate);
}

static void
write_choice(const Choice *choice)
{
	const GateSend *send = choice->check->request->send;
	StringInfo out = pgj_check_evidence(choice->check, "channels");

	appendStringInfoChar(out, '[');
	for (int k = 0; k < send->nchannels; k++)
	{
		const Option *option = &choice->options[k];

		appendStringInfo(out, "%s{\"channel\": ", k > 0 ? ", " : "");
		escape_json(out, send->channels[k]);
		appendStringInfoString(out, ", \"outcome\": ");
		escape_json(out, option->reason != NULL ? option->reason
						 : k == choice->chosen	? "chosen"
						 : option->asked		? "not better"
												: "not needed");
		if (option->rated)
			appendStringInfo(out, ", \"rate\": %s",
							 DatumGetCString(DirectFunctionCall1(
								 float8out, Float8GetDatum(option->rate))));
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, ']');
}

void
pgj_channel_check(const Site *site, GateStage stage, Check *checks, int n)
{
	Choice *choices;
	int nchoices = 0;
	int nchannels = 0;
	bool best = false;

	if (stage != GATE_DECIDE)
		return;
	choices = palloc_array(Choice, n);
	for (int i = 0; i < n; i++)
	{
		const GateSend *send = checks[i].request->send;

		if (send == NULL || send->nchannels == 0)
			continue;
		checks[i].request->channel = send->channels[0];
		if (!checks[i].open)
			continue;
		choices[nchoices].check = &checks[i];
		choices[nchoices].options = palloc0_array(Option, send->nchannels);
		choices[nchoices++].chosen = -1;
		nchannels = Max(nchannels, send->nchannels);
		best |= send->best;
	}
	for (int k = 0; k < nchannels; k++)
		ask_channel(site, choices, nchoices, k);
	if (best)
		rate_channels(site, choices, nchoices, nchannels);

	for (int i = 0; i < nchoices; i++)
	{
		Choice *choice = &choices[i];
		const GateSend *send = choice->check->request->send;

		for (int k = choice->chosen + 1;
			 send->best && choice->chosen >= 0 && k < send->nchannels; k++)
			if (is_better(choice, k))
				choice->chosen = k;
		choice->check->request->channel =
			send->channels[Max(choice->chosen, 0)];
		write_choice(choice);
	}
}
