/*-------------------------------------------------------------------------
 *
 * check.h
 *	  A request on its way through the gate; internal to gate and outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CHECK_H
#define PGJ_CHECK_H

#include "gate/gate.h"
#include "lib/stringinfo.h"

typedef struct Consent
{
	bool found;
	bool granted;
	bool locked; /* at GATE_CLAIM */
	const char *source;
	TimestampTz at;
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
	Consent consent[2];
	StringInfoData evidence; /* JSON object under construction */
} Check;

extern StringInfo pgj_check_evidence(Check *check, const char *member);
extern void pgj_check_time(StringInfo out, TimestampTz at);

extern void pgj_check_withhold(Check *check, const char *reason);

/*
 * FIRST OF, BEST OF: settle the channel of what the rest of the checks are
 * about.
 */
extern void pgj_channel_check(const Site *site, GateStage stage, Check *checks,
							  int n);

/* Withhold what is suppressed, by address or by contact. */
extern void pgj_suppression_check(const Site *site, GateStage stage,
								  Check *checks, int n);

/* Withhold, with reason "capped", what a frequency cap does not allow. */
extern void pgj_cap_check(const Site *site, GateStage stage, Check *checks,
						  int n);

/* Throw on the error of a statement over the contact table. */
extern void pgj_rethrow_box_error(ErrorData *error, const char *what)
	pg_attribute_noreturn();

#endif /* PGJ_CHECK_H */
