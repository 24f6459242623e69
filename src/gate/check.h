/*-------------------------------------------------------------------------
 *
 * check.h
 *	  A request on its way through the gate; internal to gate and outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CHECK_H
#define PGJ_CHECK_H

#include "compat.h"
#include "gate/gate.h"
#include "gate/zone.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

typedef struct Consent
{
	bool found;
	bool granted;
	bool locked; /* at GATE_CLAIM */
	const char *source;
	TimestampTz at;
	int64 id; /* in the record, with its proof */
} Consent;

enum
{
	CONSENT_TOPIC,
	CONSENT_ALL /* the topic's own row, the row for '*' */
};

typedef struct Check
{
	GateRequest *request;
	bool open;			/* nothing has withheld it so far */
	bool transactional; /* class of the topic */
	bool obeys;			/* the topic obeys frequency caps */
	bool by_phone;		/* kind of address the channel needs */
	bool exists;		/* the contact's row does */
	char *address;
	char *folded; /* the address as it is compared; from suppression on */
	Consent consent[2];
	const Zones *zones;	 /* of the contact; not at GATE_ENTRY */
	const char *country; /* of the contact, as pgj_country(); or NULL */
	const List *quiet;	 /* rules of quiet hours that apply (quiet.c) */
	bool zones_in_evidence;
	StringInfoData evidence; /* JSON object under construction */
} Check;

extern StringInfo pgj_check_evidence(Check *check, const char *member);
extern void pgj_check_time(StringInfo out, TimestampTz at);

/* Close a request: for good, or until then; "until" may be infinite. */
extern void pgj_check_withhold(Check *check, const char *reason);
extern void pgj_check_defer(Check *check, const char *reason,
							TimestampTz until);

extern int pgj_check_count_open(const Check *checks, int n);

/* Set what does not depend on the contact: class and caps of the topic, kind of address. */
extern void pgj_check_definitions(const Site *site, Check *checks, int n);

/* Write the contact's time zones to the evidence, once. */
extern void pgj_check_zones(Check *check);

/* Withhold, with reason "no_consent", what was not consented to. */
extern void pgj_consent_check(const Site *site, GateStage stage, Check *checks,
							  int n);

/* Read the contact's row; withhold, with reason "contact_gone", without one. */
extern void pgj_contact_check(const Site *site, GateStage stage, Check *checks,
							  int n);

/*
 * FIRST OF, BEST OF: settle the channel of what the rest of the checks are
 * about.
 */
extern void pgj_channel_check(const Site *site, GateStage stage, Check *checks,
							  int n);

/* Withhold what is suppressed, by address or by contact. */
extern void pgj_suppression_check(const Site *site, GateStage stage,
								  Check *checks, int n);

/* Defer or withhold, with reason "held", what journey.hold is about. */
extern void pgj_hold_check(const Site *site, GateStage stage, Check *checks,
						   int n);

/* Is there a hold that lasts while a run of a journey does? */
extern bool pgj_holds_by_journeys(const Site *site);

/*
 * Withhold, with reasons "no_address" and "bad_address", what has no address or
 * one that is nobody's.
 */
extern void pgj_address_check(const Site *site, GateStage stage, Check *checks,
							  int n);

/*
 * Withhold, with reasons "duplicate_content" and "duplicate_address", what the
 * run has sent over another channel or what went to the same address for another
 * contact.
 */
extern void pgj_duplicate_check(const Site *site, GateStage stage,
								Check *checks, int n);

/*
 * At the end: enter what is handed over into the ledger of addresses, or
 * withhold it as pgj_duplicate_check does, or make it busy.
 */
extern void pgj_ledger_take(const Site *site, GateStage stage, Check *checks,
							int n);

/* Defer or withhold, with reason "quiet_hours", what comes in quiet hours. */
extern void pgj_quiet_check(const Site *site, GateStage stage, Check *checks,
							int n);

/*
 * The first instant, not before this one, that is outside all quiet hours of an
 * open request; infinity if there is none within two weeks.  From
 * pgj_quiet_check on.
 */
extern TimestampTz pgj_quiet_free(const Check *check, TimestampTz at);

/* Defer, with reason "send_time", to the contact's best hour. */
extern void pgj_send_time_check(const Site *site, GateStage stage,
								Check *checks, int n);

/* Withhold, with reason "capped", what a frequency cap does not allow. */
extern void pgj_cap_check(const Site *site, GateStage stage, Check *checks,
						  int n);

/* Throw on the error of a statement over the contact table. */
pg_noreturn extern void pgj_rethrow_box_error(ErrorData *error,
											  const char *what);

#endif /* PGJ_CHECK_H */
