/*-------------------------------------------------------------------------
 *
 * smtp.h
 *	  One connection to an SMTP server, and the messages that go over it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_SMTP_H
#define RELAY_SMTP_H

#include "address.h"
#include "buffer.h"
#include "smtp_status.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum SmtpState
{
	SMTP_CONNECTING, /* libcurl works: TCP, TLS, EHLO, AUTH */
	SMTP_IDLE,		 /* open, nothing to do */
	SMTP_BUSY,		 /* a message is on its way */
	SMTP_FINISHED,	 /* its fate is in dialog; next: relay_smtp_release() */
	SMTP_CLOSED		 /* no connection; why is in error */
} SmtpState;

typedef struct SmtpTarget
{
	Endpoint endpoint;
	int tls;		  /* TlsMode */
	const char *user; /* or NULL */
	const char *password;
	const char *ca_file;   /* or NULL */
	const char *ehlo_name; /* or NULL */
} SmtpTarget;

typedef struct SmtpConnection
{
	SmtpState state;
	CURL *curl;
	curl_socket_t socket; /* once open */
	char *identity;		  /* connections of one identity are alike */
	bool pipelining;
	bool used;		  /* a message went over it before */
	int64_t deadline; /* for the handshake */
	int64_t idle_since;
	CURLcode error;

	SmtpDialog dialog;	/* of the message now on its way */
	SmtpPhase awaited;	/* what the next reply answers */
	const char *sender; /* the caller's, while SMTP_BUSY */
	const char *recipient;
	const Buffer *text;
	Buffer out;
	size_t out_sent;
	char line[1024]; /* the reply line being read */
	size_t line_len;
} SmtpConnection;

extern char *relay_smtp_identity(const SmtpTarget *target);

extern SmtpConnection *relay_smtp_connect(CURLM *multi,
										  const SmtpTarget *target,
										  int64_t deadline,
										  long connect_timeout);
extern void relay_smtp_connected(SmtpConnection *c, CURLcode result);
extern void relay_smtp_close(CURLM *multi, SmtpConnection *c);

/* sender and recipient checked by relay_address_check(), text by relay_mime_build() */
extern void relay_smtp_send(SmtpConnection *c, const char *sender,
							const char *recipient, const Buffer *text);
extern void relay_smtp_step(SmtpConnection *c);
extern void relay_smtp_release(SmtpConnection *c);

#endif /* RELAY_SMTP_H */
