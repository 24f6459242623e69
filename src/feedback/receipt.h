/*-------------------------------------------------------------------------
 *
 * receipt.h
 *	  Append what is known of a message's way to its recipient.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_RECEIPT_H
#define PGJ_RECEIPT_H

#include "contact/site.h"
#include "datatype/timestamp.h"

typedef struct ReceiptRow
{
	Datum contact;
	TimestampTz at;
	int64 message_id;
	int attempt;
	const char *kind;
	const char *relay;
	const char *code;	  /* or NULL */
	const char *response; /* or NULL */
	const char *caps;	  /* text[], or NULL */
} ReceiptRow;

extern void pgj_receipt_append(const Site *site, const ReceiptRow *rows, int n);

#endif /* PGJ_RECEIPT_H */
