/*-------------------------------------------------------------------------
 *
 * report.h
 *	  A report in progress; internal to report*.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_REPORT_H
#define PGJ_REPORT_H

#include "contact/site.h"
#include "datatype/timestamp.h"

typedef enum Outcome
{
	OUTCOME_SENT,
	OUTCOME_BOUNCED,
	OUTCOME_REJECTED,
	OUTCOME_DEFERRED,
	OUTCOME_DELIVERED,
	OUTCOME_COMPLAINED,
	OUTCOME_COUNT
} Outcome;

/* What a report says of the address. */
typedef enum AddressNews
{
	ADDRESS_NOTHING,
	ADDRESS_ACCEPTED, /* the provider took the message; it may bounce yet */
	ADDRESS_ARRIVED,
	ADDRESS_BOUNCED /* softly */
} AddressNews;

typedef struct Report
{
	int64 message_id;
	int attempt;
	Outcome outcome;
	char *code;
	char *response;
	int message; /* index into messages */
	bool repeated;
	AddressNews news; /* out */
} Report;

typedef struct ReportedMessage
{
	int64 message_id;
	int slice;
	Datum contact;
	TimestampTz decided_at;
	char *status;
	char *reason;
	int attempt;
	char *key;
	TimestampTz expires_at;
	char *channel;
	char *template;
	char *recipient;
	char *journey;
	int64 enrollment_id;
	int step_no;

	/* out */
	bool changed;
	TimestampTz finished_at; /* 0 = not finished */
	TimestampTz retry_at;	 /* 0 = none */
	const char *event;		 /* name, or NULL */
	bool delivered;
	bool complained;
	const char *suppress_scope; /* NULL: is not suppressed */
	char *suppress_reason;
} ReportedMessage;

typedef struct ReportSession
{
	const Site *site;
	const char *relay;
	TimestampTz at;
	Report *reports;
	int nreports;
	ReportedMessage *messages; /* in the order of their ids */
	int nmessages;
} ReportSession;

extern const char *const pgj_outcome_names[OUTCOME_COUNT];

/* Write what the reports did; pgj_receipts_write returns how many were new. */
extern void pgj_reported_write(const ReportSession *session);
extern void pgj_retries_write(const ReportSession *session);
extern int pgj_receipts_write(const ReportSession *session);

/* report_address.c: what a code says, and what reports do to addresses */
extern bool pgj_code_is_dead_address(const char *code);
extern bool pgj_code_is_soft_bounce(const char *code);
extern bool pgj_code_is_mailbox(const char *code);
extern void pgj_report_suppress(ReportedMessage *message, const char *scope,
								char *reason);
extern void pgj_soft_bounces_write(ReportSession *session);
extern void pgj_suppressions_write(const ReportSession *session);
extern void pgj_receipt_events_write(const ReportSession *session);

#endif /* PGJ_REPORT_H */
