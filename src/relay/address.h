/*-------------------------------------------------------------------------
 *
 * address.h
 *	  Which addresses and servers we are willing to name in an SMTP session.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_ADDRESS_H
#define RELAY_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>

#define ADDRESS_MAX 254 /* RFC 5321 4.5.3.1.3, without the angle brackets */

typedef enum AddressFault
{
	ADDRESS_OK,
	ADDRESS_EMPTY,
	ADDRESS_CONTROL,   /* CR, LF, NUL or another control byte */
	ADDRESS_NON_ASCII, /* a valid address perhaps, but not for us */
	ADDRESS_LONG,
	ADDRESS_SYNTAX
} AddressFault;

/* "Shop <hi@shop.example>" taken apart */
typedef struct Mailbox
{
	char name[256]; /* display name, unquoted; "" if none */
	char address[ADDRESS_MAX + 1];
} Mailbox;

typedef struct Endpoint
{
	bool implicit_tls; /* smtps */
	char host[256];	   /* without brackets */
	bool ipv6;
	int port;
} Endpoint;

extern AddressFault relay_address_check(const char *address, size_t len);
extern const char *relay_address_fault_text(AddressFault fault);
extern bool relay_address_domain_ok(const char *domain, size_t len);
extern bool relay_address_mailbox(const char *text, Mailbox *mailbox);
extern bool relay_address_endpoint(const char *url, Endpoint *endpoint);
extern bool relay_address_endpoint_is_local(const Endpoint *endpoint);

#endif /* RELAY_ADDRESS_H */
