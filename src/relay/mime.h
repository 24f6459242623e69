/*-------------------------------------------------------------------------
 *
 * mime.h
 *	  Write the complete text of one message, RFC 5322 and MIME.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_MIME_H
#define RELAY_MIME_H

#include "address.h"
#include "buffer.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct MimeInput
{
	const Mailbox *from;
	const char *recipient; /* checked by relay_address_check */
	const char *subject;
	const char *body;	 /* plain text */
	const char *html;	 /* or NULL */
	const char *key;	 /* idempotency key */
	const char *domain;	 /* of the Message-ID */
	const char *headers; /* netstrings: name, value, name, value, ... */
	size_t headers_len;
	int64_t date; /* seconds since 1970 */
} MimeInput;

/*
 * Appends to out.  False if the message cannot be written; *error is then a
 * constant text fit for a receipt, and out holds rubbish.
 */
extern bool relay_mime_build(const MimeInput *in, Buffer *out,
							 const char **error);

extern bool relay_mime_utf8_ok(const char *text, size_t len);

#endif /* RELAY_MIME_H */
