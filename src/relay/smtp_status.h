/*-------------------------------------------------------------------------
 *
 * smtp_status.h
 *	  What an SMTP dialog means for the message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_SMTP_STATUS_H
#define RELAY_SMTP_STATUS_H

#include <stdbool.h>
#include <stddef.h>

typedef enum SmtpOutcome
{
	SMTP_SENT,
	SMTP_BOUNCED,  /* permanent, and about the recipient's address */
	SMTP_REJECTED, /* permanent, about anything else */
	SMTP_DEFERRED
} SmtpOutcome;

/* what the next reply answers */
typedef enum SmtpPhase
{
	SMTP_GREETING, /* banner, EHLO, STARTTLS, AUTH: not yet about the message */
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_BODY, /* after 354; its reply decides */
	SMTP_OTHER /* RSET, or what ends a transaction that has failed */
} SmtpPhase;

typedef enum SmtpProgress
{
	SMTP_MORE,	   /* the reply goes on */
	SMTP_COMPLETE, /* d->reply is whole */
	SMTP_BROKEN	   /* no SMTP, or too much of it: hang up */
} SmtpProgress;

typedef struct SmtpReply
{
	int code;		 /* 0: none yet */
	int enhanced[3]; /* enhanced[0] is 0 if there is none */
	char text[512];	 /* all lines, printable ASCII */
	size_t text_len;
	bool complete; /* the last line was "250 ", not "250-" */
} SmtpReply;

typedef struct SmtpDialog
{
	SmtpPhase phase;
	SmtpReply reply; /* the one being read */
	bool any_reply;
	size_t bytes; /* of replies so far */

	bool decided; /* final tells the message's fate */
	SmtpPhase final_phase;
	SmtpReply final;
} SmtpDialog;

/* more than this in replies to one message, and we hang up */
#define SMTP_REPLY_MAX 65536

extern void relay_smtp_start(SmtpDialog *d);
extern void relay_smtp_expect(SmtpDialog *d, SmtpPhase phase);
extern SmtpProgress relay_smtp_line(SmtpDialog *d, const char *line,
									size_t len);
extern SmtpOutcome relay_smtp_outcome(const SmtpDialog *d, char *code,
									  size_t code_size);
extern const char *relay_smtp_outcome_name(SmtpOutcome outcome);

#endif /* RELAY_SMTP_STATUS_H */
