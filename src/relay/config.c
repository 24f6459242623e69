/*-------------------------------------------------------------------------
 *
 * config.c
 *	  The relay's configuration: one file, read whole, then never changed.
 *
 * Every key is a row of one of two tables, with its default, parser and help;
 * --help prints the same rows.  A reload builds a second Config and the caller
 * swaps them, so a half-written file never takes effect.
 *
 * Secrets (the site token, SMTP passwords, a password in conninfo) are looked
 * up in $CREDENTIALS_DIRECTORY, then in the environment, then in the file,
 * which nobody but its owner may then be able to read.
 *
 *-------------------------------------------------------------------------
 */
#include "config.h"

#include "buffer.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <libpq-fe.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_MAX 4096
#define FILE_MAX (1024 * 1024)

typedef struct ConfigKey
{
	const char *name;
	const char *default_value; /* NULL: none */
	bool (*parse)(const char *value, void *field);
	size_t offset;
	long min;
	const char *help;
} ConfigKey;

/* what the file handler works on */
typedef struct Parse
{
	Config *config;
	const char *path;
	bool failed;
	bool holds_secret;
	Buffer seen;	  /* "\nsection\1key\n" of every key met so far */
	const char *text; /* rest of the file */
	int line;
} Parse;

static bool
parse_text(const char *value, void *field)
{
	char **target = field;

	free(*target);
	*target = relay_strdup(value);
	return true;
}

static bool
parse_bool(const char *value, void *field)
{
	bool on = strcmp(value, "on") == 0 || strcmp(value, "yes") == 0 ||
			  strcmp(value, "true") == 0;

	*(bool *) field = on;
	return on || strcmp(value, "off") == 0 || strcmp(value, "no") == 0 ||
		   strcmp(value, "false") == 0;
}

static bool
parse_count(const char *value, void *field)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(value, &end, 10);
	if (errno != 0 || end == value || *end != '\0' || n < 0 || n > 100000)
		return false;
	*(int *) field = (int) n;
	return true;
}

/* "250ms", "30s", "2min", "1h", as in postgresql.conf */
static bool
parse_duration(const char *value, void *field)
{
	static const struct
	{
		const char *unit;
		long factor;
	} units[] = {
		{ "ms", 1 }, { "s", 1000 }, { "min", 60000 }, { "h", 3600000 }
	};
	char *end;
	long n;

	errno = 0;
	n = strtol(value, &end, 10);
	if (errno != 0 || end == value || n < 0)
		return false;
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(end, units[i].unit) == 0 &&
			n <= INT_MAX / 4 / units[i].factor)
		{
			*(int *) field = (int) (n * units[i].factor);
			return true;
		}
	return false;
}

static bool
parse_tls(const char *value, void *field)
{
	static const char *const names[] = { "none", "starttls", "require" };

	for (int i = TLS_NONE; i <= TLS_REQUIRE; i++)
		if (strcmp(value, names[i]) == 0)
		{
			*(int *) field = i;
			return true;
		}
	return false;
}

static bool
parse_log_level(const char *value, void *field)
{
	return relay_log_parse_level(value, field);
}

static bool
parse_host_name(const char *value, void *field)
{
	return relay_address_domain_ok(value, strlen(value)) &&
		   parse_text(value, field);
}

static bool
parse_url(const char *value, void *field)
{
	Endpoint endpoint;

	return relay_address_endpoint(value, &endpoint) && parse_text(value, field);
}

#define KEY(name, def, parser, min, help)                     \
	{                                                         \
#name, def, parser, offsetof(Config, name), min, help \
	}

static const ConfigKey relay_keys[] = {
	KEY(conninfo, "", parse_text, 0,
		"database, as a libpq connection string or URI"),
	KEY(relay_name, "relay", parse_text, 0,
		"name under which this relay claims; one process per name"),
	KEY(site_token, NULL, parse_text, 0,
		"secret that proves this database is the one to send for"),
	KEY(site_token_file, NULL, parse_text, 0, "file that holds the site token"),
	KEY(listen, "on", parse_bool, 0,
		"LISTEN for new messages, to start at once; off: only poll"),
	KEY(poll_interval, "1s", parse_duration, 1,
		"look for messages at least this often"),
	KEY(claim_batch, "100", parse_count, 1, "messages claimed at a time"),
	KEY(max_in_flight, "100", parse_count, 1,
		"messages started whose report is not committed: at most so many are sent twice after a crash"),
	KEY(max_connections, "8", parse_count, 1, "SMTP connections at a time"),
	KEY(lease, "2min", parse_duration, 1000,
		"time after which an unreported message is offered again"),
	KEY(send_timeout, "30s", parse_duration, 10,
		"total time one message may take"),
	KEY(connect_timeout, "10s", parse_duration, 10,
		"time a TCP or TLS handshake, or connecting to the database, may take"),
	KEY(report_delay, "5ms", parse_duration, 0,
		"wait so long for more results to report together"),
	KEY(drain_timeout, "10s", parse_duration, 0,
		"time to finish started messages at SIGTERM"),
	KEY(ehlo_name, NULL, parse_host_name, 0,
		"host name said in EHLO; default: this host's"),
	KEY(ca_file, NULL, parse_text, 0,
		"certificates to trust; default: the system's"),
	KEY(tls, "starttls", parse_tls, 0,
		"none; starttls: if offered, unchecked; require: always, certificate checked"),
	KEY(log_level, "info", parse_log_level, 0, "debug, info, warning or error")
};

#undef KEY
#define KEY(name, parser, help)                                     \
	{                                                               \
#name, NULL, parser, offsetof(ChannelConfig, name), 0, help \
	}

static const ConfigKey channel_keys[] = {
	KEY(url, parse_url,
		"server to use instead of the channel's own; needed with user"),
	KEY(user, parse_text, "user to log in as"),
	KEY(password, parse_text, "password of user"),
	KEY(ca_file, parse_text, "as above, for this channel"),
	KEY(tls, parse_tls, "as above, for this channel")
};

#undef KEY

#define lengthof(array) (sizeof(array) / sizeof((array)[0]))

static bool
is_secret(const char *key)
{
	return strcmp(key, "site_token") == 0 || strcmp(key, "password") == 0;
}

static bool
conninfo_holds_password(const char *conninfo)
{
	PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
	bool found = false;

	for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
		if (o->val != NULL && (strcmp(o->keyword, "password") == 0 ||
							   strcmp(o->keyword, "sslpassword") == 0))
			found = true;
	PQconninfoFree(options);
	return found;
}

/* [smtp "email"]: returns the section's channel, made at first mention */
static ChannelConfig *
find_or_make_channel(Config *config, const char *section)
{
	size_t len = strlen(section);
	ChannelConfig *channel;
	char *name;

	if (len < 8 || strncmp(section, "smtp \"", 6) != 0 ||
		section[len - 1] != '"')
		return NULL;
	name = relay_strndup(section + 6, len - 7);
	for (channel = config->channels; channel != NULL; channel = channel->next)
		if (strcmp(channel->channel, name) == 0)
		{
			free(name);
			return channel;
		}
	channel = relay_alloc(sizeof(*channel));
	channel->channel = name;
	channel->tls = -1;
	channel->next = config->channels;
	config->channels = channel;
	return channel;
}

const ChannelConfig *
relay_config_channel(const Config *config, const char *channel)
{
	for (const ChannelConfig *c = config->channels; c != NULL; c = c->next)
		if (strcmp(c->channel, channel) == 0)
			return c;
	return NULL;
}

static bool
set_key(const ConfigKey *key, void *record, const char *value)
{
	void *field = (char *) record + key->offset;

	return key->parse(value, field) &&
		   (key->min == 0 || *(int *) field >= key->min);
}

static void
complain(Parse *parse, const char *format, const char *a, const char *b)
{
	char text[400];

	snprintf(text, sizeof(text), format, a, b);
	relay_log(RELAY_ERROR, "bad_config", "file=%s line=%d error=%s",
			  relay_log_quote(parse->path), parse->line, relay_log_quote(text));
	parse->failed = true;
}

static bool
seen_before(Parse *parse, const char *section, const char *name)
{
	Buffer mark;
	bool found;

	relay_buffer_init(&mark);
	relay_buffer_printf(&mark, "\n%s\1%s\n", section, name);
	found = strstr(parse->seen.data, mark.data) != NULL;
	relay_buffer_puts(&parse->seen, mark.data);
	relay_buffer_free(&mark);
	return found;
}

static int
handle_key(void *user, const char *section, const char *name, const char *value)
{
	Parse *parse = user;
	const ConfigKey *keys = relay_keys;
	size_t n_keys = lengthof(relay_keys);
	void *record = parse->config;

	if (section[0] != '\0' && strcmp(section, "relay") != 0)
	{
		keys = channel_keys;
		n_keys = lengthof(channel_keys);
		record = find_or_make_channel(parse->config, section);
		if (record == NULL)
		{
			complain(parse, "unknown section [%s]%s", section, "");
			return 1;
		}
	}
	for (size_t i = 0; i < n_keys; i++)
	{
		if (strcmp(keys[i].name, name) != 0)
			continue;
		/* an indented line continues the key before it, says libinih; we say no */
		if (seen_before(parse, section, name))
			complain(
				parse,
				"key \"%s\" is given twice, or an indented line follows it%s",
				name, "");
		else if (!set_key(&keys[i], record, value))
			complain(parse, "key \"%s\" has an invalid value; it is: %s", name,
					 keys[i].help);
		if (is_secret(name) ||
			(strcmp(name, "conninfo") == 0 && conninfo_holds_password(value)))
			parse->holds_secret = true;
		return 1;
	}
	complain(parse, "unknown key \"%s\" in section [%s]", name,
			 section[0] != '\0' ? section : "relay");
	return 1;
}

/* fgets() over the file's text; a line too long for libinih would be cut in two */
static char *
next_line(char *buffer, int size, void *stream)
{
	Parse *parse = stream;
	size_t len = strcspn(parse->text, "\n");

	if (*parse->text == '\0')
		return NULL;
	parse->line++;
	if (len + 2 > (size_t) size)
	{
		complain(parse, "line is too long%s%s", "", "");
		parse->text += len + (parse->text[len] == '\n');
		buffer[0] = '\n';
		buffer[1] = '\0';
		return buffer;
	}
	memcpy(buffer, parse->text, len);
	buffer[len] = '\n';
	buffer[len + 1] = '\0';
	parse->text += len + (parse->text[len] == '\n');
	return buffer;
}

/*
 * The file's text, and whether others may read it.  The check is made on the
 * open file, so it cannot be swapped in between.
 */
static char *
read_file(const char *path, size_t max, bool *exposed)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text;
	size_t len = 0;

	if (fd < 0 || fstat(fd, &st) != 0)
	{
		relay_log(RELAY_ERROR, "bad_config", "file=%s error=%s",
				  relay_log_quote(path), relay_log_quote(strerror(errno)));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > (off_t) max)
	{
		relay_log(RELAY_ERROR, "bad_config",
				  "file=%s error=\"not a regular file, or too large\"",
				  relay_log_quote(path));
		close(fd);
		return NULL;
	}
	/* as for the server's SSL keys: root may let a group read */
	*exposed = (st.st_mode &
				(st.st_uid == 0 ? S_IRWXO | S_IWGRP : S_IRWXO | S_IRWXG)) != 0;

	text = relay_alloc(max + 1);
	while (len < max)
	{
		ssize_t n = read(fd, text + len, max - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t) n;
	}
	close(fd);
	if (memchr(text, '\0', len) != NULL)
	{
		relay_log(RELAY_ERROR, "bad_config",
				  "file=%s error=\"holds a NUL byte\"", relay_log_quote(path));
		free(text);
		return NULL;
	}
	return text;
}

/* a secret's file: its first line */
static char *
read_secret_file(const char *path, bool check_mode)
{
	bool exposed;
	char *text = read_file(path, SECRET_MAX, &exposed);

	if (text == NULL)
		return NULL;
	if (check_mode && exposed)
	{
		relay_log(
			RELAY_ERROR, "bad_config",
			"file=%s error=\"others can read this secret\" hint=\"chmod 600\"",
			relay_log_quote(path));
		free(text);
		return NULL;
	}
	text[strcspn(text, "\r\n")] = '\0';
	return text;
}

/*
 * Replace *field by the credential or environment variable of that name, if
 * there is one.  False if there is one and it cannot be read.
 */
static bool
load_secret(const char *name, const char *channel, char **field)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	const char *value;
	char variable[200];
	char path[PATH_MAX];

	if (directory != NULL)
	{
		snprintf(path, sizeof(path), "%s/%s%s%s", directory, name,
				 channel != NULL ? "." : "", channel != NULL ? channel : "");
		if (access(path, F_OK) == 0)
		{
			char *secret = read_secret_file(path, false);

			if (secret == NULL)
				return false;
			free(*field);
			*field = secret;
			return true;
		}
	}
	snprintf(variable, sizeof(variable), "PGJ_SECRET_%s%s%s", name,
			 channel != NULL ? "_" : "", channel != NULL ? channel : "");
	for (char *p = variable; *p != '\0'; p++)
		*p = isalnum((unsigned char) *p) ? (char) toupper((unsigned char) *p)
										 : '_';
	value = getenv(variable);
	if (value != NULL)
		parse_text(value, field);
	return true;
}

static bool
load_secrets(Config *config)
{
	bool ok = load_secret("site_token", NULL, &config->site_token);

	if (config->site_token == NULL && config->site_token_file != NULL)
	{
		config->site_token = read_secret_file(config->site_token_file, true);
		ok = ok && config->site_token != NULL;
	}
	for (ChannelConfig *c = config->channels; c != NULL; c = c->next)
		ok = load_secret("smtp_password", c->channel, &c->password) && ok;
	return ok;
}

static bool
check_channel(const Config *config, const ChannelConfig *c)
{
	const char *error = NULL;
	Endpoint endpoint;
	int tls = c->tls >= 0 ? c->tls : config->tls;

	if ((c->user == NULL) != (c->password == NULL))
		error = "user and password go together";
	/* or whoever may edit the channel's row could have the password sent anywhere */
	else if (c->user != NULL && c->url == NULL)
		error = "a channel with a user needs its url here";
	else if (c->user != NULL && relay_address_endpoint(c->url, &endpoint) &&
			 !endpoint.implicit_tls && tls != TLS_REQUIRE &&
			 !relay_address_endpoint_is_local(&endpoint))
		error =
			"a password is sent only with tls = require, over smtps, or to this host";
	if (error != NULL)
		relay_log(RELAY_ERROR, "bad_config", "channel=%s error=%s",
				  relay_log_quote(c->channel), relay_log_quote(error));
	return error == NULL;
}

/* what no single key can tell */
static bool
check_whole(const Config *config)
{
	bool ok = true;
	PQconninfoOption *options;
	char *message = NULL;

	options = PQconninfoParse(config->conninfo, &message);
	if (options == NULL)
	{
		/* libpq's message quotes the string, which may hold a password */
		relay_log(RELAY_ERROR, "bad_config",
				  "error=\"conninfo is not a libpq connection string\"");
		PQfreemem(message);
		ok = false;
	}
	PQconninfoFree(options);
	if (config->site_token == NULL || config->site_token[0] == '\0')
	{
		relay_log(
			RELAY_ERROR, "bad_config",
			"error=\"there is no site token\" hint=\"set site_token_file, or the credential or variable; journey.issue_site_token() makes one\"");
		ok = false;
	}
	if (config->relay_name[0] == '\0')
	{
		relay_log(RELAY_ERROR, "bad_config", "error=\"relay_name is empty\"");
		ok = false;
	}
	/* a message is started only if it can end and be reported within its lease */
	if (config->lease < 2 * config->send_timeout)
	{
		relay_log(RELAY_ERROR, "bad_config",
				  "error=\"lease must be at least twice send_timeout\"");
		ok = false;
	}
	for (const ChannelConfig *c = config->channels; c != NULL; c = c->next)
		ok = check_channel(config, c) && ok;
	return ok;
}

Config *
relay_config_load(const char *path)
{
	Config *config = relay_alloc(sizeof(*config));
	bool ok = true;

	for (size_t i = 0; i < lengthof(relay_keys); i++)
		if (relay_keys[i].default_value != NULL)
			ok = set_key(&relay_keys[i], config, relay_keys[i].default_value) &&
				 ok;

	if (path != NULL)
	{
		Parse parse = { .config = config, .path = path };
		bool exposed = false;
		char *text = read_file(path, FILE_MAX, &exposed);

		if (text == NULL)
			ok = false;
		else
		{
			int bad_line;

			relay_buffer_init(&parse.seen);
			parse.text = text;
			bad_line = ini_parse_stream(next_line, &parse, handle_key, &parse);
			if (bad_line != 0)
			{
				parse.line = bad_line;
				complain(&parse, "neither a [section] nor key = value%s%s", "",
						 "");
			}
			if (parse.holds_secret && exposed)
			{
				relay_log(
					RELAY_ERROR, "bad_config",
					"file=%s error=\"holds a secret and others can read it\" hint=\"chmod 600\"",
					relay_log_quote(path));
				parse.failed = true;
			}
			relay_buffer_free(&parse.seen);
			free(text);
			ok = ok && !parse.failed;
		}
	}
	if (!(ok && load_secrets(config) && check_whole(config)))
	{
		relay_config_free(config);
		return NULL;
	}
	return config;
}

static void
free_texts(const ConfigKey *keys, size_t n, void *record)
{
	for (size_t i = 0; i < n; i++)
		if (keys[i].parse == parse_text || keys[i].parse == parse_host_name ||
			keys[i].parse == parse_url)
			free(*(char **) ((char *) record + keys[i].offset));
}

void
relay_config_free(Config *config)
{
	ChannelConfig *next;

	if (config == NULL)
		return;
	for (ChannelConfig *c = config->channels; c != NULL; c = next)
	{
		next = c->next;
		free_texts(channel_keys, lengthof(channel_keys), c);
		free(c->channel);
		free(c);
	}
	free_texts(relay_keys, lengthof(relay_keys), config);
	free(config);
}

void
relay_config_print_keys(FILE *out)
{
	fputs("Keys of section [relay]:\n", out);
	for (size_t i = 0; i < lengthof(relay_keys); i++)
	{
		fprintf(out, "  %-16s %s", relay_keys[i].name, relay_keys[i].help);
		if (relay_keys[i].default_value != NULL &&
			relay_keys[i].default_value[0] != '\0')
			fprintf(out, " (%s)", relay_keys[i].default_value);
		fputc('\n', out);
	}
	fputs("Keys of sections [smtp \"channel\"]:\n", out);
	for (size_t i = 0; i < lengthof(channel_keys); i++)
		fprintf(out, "  %-16s %s\n", channel_keys[i].name,
				channel_keys[i].help);
}
