/*-------------------------------------------------------------------------
 *
 * address.h
 *	  The one grammar of addresses: what may be handed to a relay.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_ADDRESS_H
#define PGJ_ADDRESS_H

#include <stdbool.h>

/*
 * local@domain: a subset of RFC 5321 (and of RFC 6531 for UTF-8).  No quoted
 * local part, no address literal; nothing that could end a line, a command or
 * an address on the wire.
 */
extern bool pgj_address_is_email(const char *text);

/* "address" or "Display Name <address>", as in a From: header. */
extern bool pgj_address_is_mailbox(const char *text);

/* E.164: + and 7 to 15 digits. */
extern bool pgj_address_is_phone(const char *text);

#endif /* PGJ_ADDRESS_H */
