/*-------------------------------------------------------------------------
 *
 * gate.c
 *	  May this message go now?
 *
 * The checks run in one fixed order, each as one statement over all requests
 * still open; a request leaves at the first check that withholds it.  Every
 * statement takes a snapshot of its own: the caller got the slice locks first,
 * so nothing that was committed before the locks is missed.  What each check
 * looked at is written to the evidence, also when it let the message pass.
 *
 * The order: exit · channel · definitions · consent · the contact's row ·
 * suppression · holds · address · duplicates · expiry · quiet hours · send time ·
 * frequency caps with priority.  GATE_ENTRY asks for consent, the row, suppression and
 * address only.  What can be cured by waiting comes after what cannot, so that
 * nothing waits that will never go.
 *
 * Sabotage, for the tests to prove that they would notice (0 otherwise):
 *	 PGJ_SABOTAGE=1	the claim does not look at consent again
 *	 PGJ_SABOTAGE=2	frequency caps count nothing (see cap.c)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "gate/check.h"
#include "pg_journey.h"
#include "plan.h"

/*
 * Start a member of the evidence and return the buffer, for its value.
 */
StringInfo
pgj_check_evidence(Check *check, const char *member)
{
	appendStringInfo(&check->evidence,
					 "%s\"%s\": ", check->evidence.len > 1 ? ", " : "", member);
	return &check->evidence;
}

void
pgj_check_time(StringInfo out, TimestampTz at)
{
	char text[MAXDATELEN + 1];
	int utc = 0;

	JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, &utc);
	appendStringInfo(out, "\"%s\"", text);
}

void
pgj_check_withhold(Check *check, const char *reason)
{
	check->open = false;
	check->request->reason = reason;
}

/*
 * A message that would have expired when it may go is withheld at once.
 */
void
pgj_check_defer(Check *check, const char *reason, TimestampTz until)
{
	GateRequest *request = check->request;

	Assert(until > request->at);
	if (TIMESTAMP_IS_NOEND(until))
		appendStringInfoString(pgj_check_evidence(check, "until"), "null");
	else
		pgj_check_time(pgj_check_evidence(check, "until"), until);
	if (until >= request->expires_at)
		pgj_check_time(pgj_check_evidence(check, "expires_at"),
					   request->expires_at);
	else
	{
		request->deferred = true;
		request->until = until;
	}
	pgj_check_withhold(check, reason);
}

int
pgj_check_count_open(const Check *checks, int n)
{
	int nopen = 0;

	for (int i = 0; i < n; i++)
		nopen += checks[i].open;
	return nopen;
}

static void
check_exit(Check *checks, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (checks[i].request->exited == NULL)
			continue;
		escape_json(pgj_check_evidence(&checks[i], "exit"),
					checks[i].request->exited);
		pgj_check_withhold(&checks[i], "exited");
	}
}

static void
check_expiry(Check *checks, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!checks[i].open)
			continue;
		if (checks[i].request->at >= checks[i].request->expires_at)
		{
			pgj_check_time(pgj_check_evidence(&checks[i], "expires_at"),
						   checks[i].request->expires_at);
			pgj_check_withhold(&checks[i], "expired");
		}
	}
}

/*
 * The answers, with the evidence as jsonb.  Parsing leaves many times the size
 * of the evidence behind, so it is done in a context of its own.
 */
static void
give_answers(Check *checks, int n)
{
	MemoryContext context = CurrentMemoryContext;
	MemoryContext parsing = AllocSetContextCreate(
		context, "pg_journey evidence", ALLOCSET_DEFAULT_MINSIZE, 32 * 1024,
		ALLOCSET_DEFAULT_MAXSIZE);

	for (int i = 0; i < n; i++)
	{
		GateRequest *request = checks[i].request;
		Datum evidence;

		appendStringInfoChar(&checks[i].evidence, '}');
		request->granted = checks[i].open;
		MemoryContextSwitchTo(parsing);
		evidence = DirectFunctionCall1(
			jsonb_in, CStringGetDatum(checks[i].evidence.data));
		MemoryContextSwitchTo(context);
		request->evidence = datumCopy(evidence, false, -1);
		MemoryContextReset(parsing);
		pfree(checks[i].evidence.data);
	}
	MemoryContextDelete(parsing);
}

void
pgj_gate_decide(const Site *site, GateStage stage, GateRequest *requests, int n)
{
	Check *checks;

	if (n == 0)
		return;
	checks = palloc0_array(Check, n);
	for (int i = 0; i < n; i++)
	{
		checks[i].request = &requests[i];
		checks[i].open = true;
		requests[i].reason = NULL;
		requests[i].deferred = false;
		requests[i].ends_run = false;
		requests[i].address = NULL;
		requests[i].caps = NULL;
		requests[i].busy = false;
		initStringInfo(&checks[i].evidence);
		appendStringInfoChar(&checks[i].evidence, '{');
	}

	if (stage != GATE_ENTRY)
		check_exit(checks, n);
	pgj_channel_check(site, stage, checks, n);
	pgj_check_definitions(site, checks, n);
	pgj_consent_check(site, stage, checks, n);
	pgj_contact_check(site, stage, checks, n);
	pgj_suppression_check(site, stage, checks, n);
	if (stage != GATE_ENTRY)
		pgj_hold_check(site, stage, checks, n);
	pgj_address_check(site, stage, checks, n);
	if (stage != GATE_ENTRY)
	{
		pgj_duplicate_check(site, stage, checks, n);
		check_expiry(checks, n);
		pgj_quiet_check(site, stage, checks, n);
		pgj_send_time_check(site, stage, checks, n);
		if (PGJ_SABOTAGE != 2)
			pgj_cap_check(site, stage, checks, n);
	}
	if (stage != GATE_ENTRY)
		pgj_ledger_take(site, stage, checks, n);

	give_answers(checks, n);
}
