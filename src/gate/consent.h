/*-------------------------------------------------------------------------
 *
 * consent.h
 *	  Changes of consent, one or many; internal to gate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_CONSENT_H
#define PGJ_CONSENT_H

#include "contact/site.h"
#include "datatype/timestamp.h"
#include "fmgr.h"

/* Changes by column, sorted by contact, channel and topic, each at most once. */
typedef struct ConsentChanges
{
	int n;
	Datum *contact;
	Datum *channel;
	Datum *topic;
	Datum *granted;
	Datum *at;
	Datum *proof;
	Datum *ip;
	bool *no_proof;
	bool *no_ip;
	Datum source;	  /* text */
	int64 request_id; /* what they confirm; 0: nothing */
	TimestampTz
		asked_at;	   /* when that was; no withdrawal since then is undone */
	bool imported;	   /* nor is one of the same time */
	Datum *consent_id; /* out, by pgj_consent_write() */
	bool *applied;	   /* out: the state is theirs */
} ConsentChanges;

extern ConsentChanges *pgj_consent_changes(int n);

/* Who is asking; before pgj_become_owner(). */
extern Name pgj_consent_set_by(void);

/*
 * Lock all consent rows of contacts over their channels ('*' for all), in the
 * order of contact, channel and topic.  latest: also those that came after the
 * transaction's snapshot.
 */
extern void pgj_consent_lock(const Site *site, Datum *contacts, Datum *channels,
							 int n, bool latest);

/* Give each change its number in the record. */
extern void pgj_consent_number(ConsentChanges *changes);

/*
 * Number the changes and write the state, as the owner and within SPI_connect.
 * Withdrawals meet the claims under way.
 */
extern void pgj_consent_write(const Site *site, ConsentChanges *changes);

/* Write the record of the changes. */
extern void pgj_consent_log(const Site *site, const ConsentChanges *changes,
							Name set_by);

/* Arguments of the functions that change consent. */
extern Datum pgj_consent_contact(FunctionCallInfo fcinfo, const Site *site);
extern void pgj_consent_require_finite(TimestampTz at);

#endif /* PGJ_CONSENT_H */
