/*-------------------------------------------------------------------------
 *
 * config.h
 *	  The relay's configuration: one file, read whole, then never changed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_CONFIG_H
#define RELAY_CONFIG_H

#include "address.h"
#include "log.h"

#include <stdbool.h>
#include <stdio.h>

typedef enum TlsMode
{
	TLS_NONE,
	TLS_STARTTLS, /* if the server offers it; certificate unchecked */
	TLS_REQUIRE	  /* always, certificate checked */
} TlsMode;

/* a section [smtp "channel"] */
typedef struct ChannelConfig
{
	struct ChannelConfig *next;
	char *channel;
	char *url; /* instead of the channel's own */
	char *user;
	char *password;
	char *ca_file;
	int tls; /* TlsMode, or -1: as in [relay] */
} ChannelConfig;

typedef struct Config
{
	char *conninfo;
	char *relay_name;
	char *site_token;
	char *site_token_file;
	bool listen;
	int poll_interval; /* all times in milliseconds */
	int claim_batch;
	int max_in_flight;
	int max_connections;
	int lease;
	int send_timeout;
	int connect_timeout;
	int report_delay;
	int drain_timeout;
	char *ehlo_name;
	char *ca_file;
	int tls; /* TlsMode */
	LogLevel log_level;
	ChannelConfig *channels;
} Config;

/* NULL if anything is wrong; every fault is logged first.  path may be NULL. */
extern Config *relay_config_load(const char *path);
extern void relay_config_free(Config *config);
extern const ChannelConfig *relay_config_channel(const Config *config,
												 const char *channel);
extern void relay_config_print_keys(FILE *out);

#endif /* RELAY_CONFIG_H */
