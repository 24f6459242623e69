/*-------------------------------------------------------------------------
 *
 * main.c
 *	  journey-relay: options, boot order, signals and the one loop.
 *
 * The relay takes rendered messages from the database, gives them to SMTP
 * servers and reports what came of it.  It keeps nothing on disk: whatever it
 * holds when it dies is offered again when the lease is over, with the same
 * idempotency key and so the same Message-ID.
 *
 *-------------------------------------------------------------------------
 */
#include "buffer.h"
#include "config.h"
#include "db.h"
#include "log.h"
#include "send.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libpq-fe.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* CURLOPT_PROTOCOLS_STR and curl_multi_poll */
_Static_assert(LIBCURL_VERSION_NUM >= 0x075500,
			   "libcurl 7.85 or later is needed");

enum
{
	EXIT_OK = 0,
	EXIT_USAGE = 1,		/* options, configuration */
	EXIT_DATABASE = 2,	/* --once and the database failed */
	EXIT_REFUSED = 3,	/* wrong site token, or a copied database */
	EXIT_TAKEN_OVER = 4 /* another relay opened under our name */
};

typedef struct Options
{
	const char *config_path;
	const char *at;
	long max; /* messages to claim in all */
	bool once;
	bool check;
	bool allow_root;
} Options;

static Options options = { .max = LONG_MAX };
static Config *config;
static int signal_pipe[2] = { -1, -1 };
static volatile sig_atomic_t stop_signals;
static volatile sig_atomic_t reload_wanted;

static int64_t stop_at; /* draining: give up at this time; 0: not draining */
static int64_t next_poll;
static long claimed; /* in all, for --max */
static bool claim_running;
static bool claim_was_idle; /* nothing was under way when the claim was sent */
static bool drained;		/* such a claim found nothing */

int64_t
relay_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void
relay_message_free(Message *m)
{
	if (m == NULL)
		return;
	free(m->key);
	free(m->channel);
	free(m->url);
	free(m->from);
	free(m->domain);
	free(m->recipient);
	free(m->subject);
	free(m->body);
	free(m->html);
	free(m->headers);
	free(m);
}

/* ------------------------------------------------------------------------
 * Options
 * ------------------------------------------------------------------------
 */

static void
print_help(void)
{
	puts(
		"journey-relay sends the messages of a pg_journey database by SMTP.\n\n"
		"Usage: journey-relay [--config FILE] [OPTION]...\n\n"
		"  -c, --config FILE   configuration (INI)\n"
		"      --check-config  check the configuration and exit\n"
		"      --once          send what can be claimed, then exit\n"
		"      --max N         claim at most N messages, then exit\n"
		"      --at TIMESTAMP  claim and report as of this time (demos, backtests)\n"
		"      --allow-root    run as root\n"
		"  -V, --version       print the version and exit\n"
		"  -h, --help          print this and exit\n\n"
		"Exit status: 0 done, 1 usage or configuration, 2 database failed (with --once),\n"
		"3 wrong site token or copied database, 4 another relay took over.\n");
	relay_config_print_keys(stdout);
	puts(
		"\nSecrets: $CREDENTIALS_DIRECTORY/site_token, $CREDENTIALS_DIRECTORY/smtp_password.CHANNEL,\n"
		"or $PGJ_SECRET_SITE_TOKEN, $PGJ_SECRET_SMTP_PASSWORD_CHANNEL, or the file with mode 600.");
}

static bool
parse_options(int argc, char **argv)
{
	enum
	{
		OPT_CHECK = 256,
		OPT_ONCE,
		OPT_MAX,
		OPT_AT,
		OPT_ROOT
	};
	static const struct option names[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "check-config", no_argument, NULL, OPT_CHECK },
		{ "once", no_argument, NULL, OPT_ONCE },
		{ "max", required_argument, NULL, OPT_MAX },
		{ "at", required_argument, NULL, OPT_AT },
		{ "allow-root", no_argument, NULL, OPT_ROOT },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	int c;
	char *end;

	while ((c = getopt_long(argc, argv, "c:Vh", names, NULL)) != -1)
		switch (c)
		{
			case 'c':
				options.config_path = optarg;
				break;
			case OPT_CHECK:
				options.check = true;
				break;
			case OPT_ONCE:
				options.once = true;
				break;
			case OPT_MAX:
				errno = 0;
				options.max = strtol(optarg, &end, 10);
				if (errno != 0 || end == optarg || *end != '\0' ||
					options.max < 1)
				{
					fprintf(
						stderr,
						"journey-relay: --max needs a number of at least 1\n");
					return false;
				}
				break;
			case OPT_AT:
				options.at = optarg;
				break;
			case OPT_ROOT:
				options.allow_root = true;
				break;
			case 'V':
				printf("journey-relay %s (libpq %d, %s)\n", RELAY_VERSION,
					   PQlibVersion(), curl_version());
				exit(EXIT_OK);
			case 'h':
				print_help();
				exit(EXIT_OK);
			default:
				fprintf(stderr, "Try \"journey-relay --help\".\n");
				return false;
		}
	if (optind < argc)
	{
		fprintf(stderr, "journey-relay: unexpected argument \"%s\"\n",
				argv[optind]);
		return false;
	}
	return true;
}

/* ------------------------------------------------------------------------
 * Signals and the service manager
 * ------------------------------------------------------------------------
 */

static void
handle_signal(int number)
{
	int saved = errno;

	if (number == SIGHUP)
		reload_wanted = 1;
	else
		stop_signals++;
	(void) !write(signal_pipe[1], "", 1);
	errno = saved;
}

static bool
install_signals(void)
{
	static const int numbers[] = { SIGTERM, SIGINT, SIGHUP };
	struct sigaction action;

	if (pipe(signal_pipe) != 0)
		return false;
	for (int i = 0; i < 2; i++)
	{
		fcntl(signal_pipe[i], F_SETFL, O_NONBLOCK);
		fcntl(signal_pipe[i], F_SETFD, FD_CLOEXEC);
	}
	memset(&action, 0, sizeof(action));
	sigemptyset(&action.sa_mask);
	action.sa_handler = handle_signal;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		sigaction(numbers[i], &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
	return true;
}

/* systemd's Type=notify is one datagram */
static void
tell_service_manager(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len;
	int fd;

	if (path == NULL || (path[0] != '/' && path[0] != '@') ||
		(len = strlen(path)) >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	(void) !sendto(fd, state, strlen(state), 0, (struct sockaddr *) &address,
				   (socklen_t) (offsetof(struct sockaddr_un, sun_path) + len));
	close(fd);
}

static void
reload_config(void)
{
	Config *next = relay_config_load(options.config_path);

	reload_wanted = 0;
	if (next == NULL)
	{
		relay_log(RELAY_ERROR, "reload_failed",
				  "hint=\"the old configuration stays in force\"");
		return;
	}
	relay_log_set_level(next->log_level);
	relay_db_reload(next);
	relay_send_reload(next);
	/* transfers in flight have copies of what they need */
	relay_config_free(config);
	config = next;
	relay_log(RELAY_INFO, "reloaded", NULL);
}

static void
handle_signals(void)
{
	char rest[64];

	while (read(signal_pipe[0], rest, sizeof(rest)) > 0)
		;
	if (reload_wanted)
		reload_config();
	if (stop_signals > 0 && stop_at == 0)
	{
		relay_log(RELAY_INFO, "stopping", "in_flight=%d",
				  relay_send_in_flight());
		tell_service_manager("STOPPING=1");
		stop_at = relay_now() + config->drain_timeout;
		relay_send_drop_queue();
	}
}

/* ------------------------------------------------------------------------
 * The loop
 * ------------------------------------------------------------------------
 */

static bool
all_idle(void)
{
	return relay_send_queued() == 0 && relay_send_in_flight() == 0 &&
		   relay_db_unreported() == 0;
}

/* what became of the last claim */
static void
note_claim(void)
{
	int rows = relay_db_last_claim();

	claim_running = false;
	if (rows < 0)
		return;
	claimed += rows;
	if (rows > 0)
		next_poll = relay_now(); /* there may be more */
	else if (claim_was_idle)
		drained = true;
}

static void
maybe_claim(void)
{
	int room;

	if (!relay_db_claim_possible())
		return;
	if (claim_running)
		note_claim();
	if (stop_at != 0 || claimed >= options.max || (options.once && drained))
		return;
	if (relay_db_notified() || (options.once && all_idle()))
		next_poll = relay_now();
	if (relay_now() < next_poll)
		return;
	room = relay_send_room(options.once);
	if (room > options.max - claimed)
		room = (int) (options.max - claimed);
	if (room == 0)
		return;
	next_poll = relay_now() + config->poll_interval;
	claim_was_idle = all_idle();
	claim_running = true;
	relay_db_claim(room);
}

static bool
finished(void)
{
	if (stop_at != 0)
		return all_idle() || relay_now() >= stop_at || stop_signals > 1;
	if (options.once || options.max != LONG_MAX)
		return !claim_running && all_idle() &&
			   ((options.once && drained) || claimed >= options.max);
	return false;
}

static int
min_timeout(int a, int64_t b)
{
	if (b < 0)
		b = 0;
	return b < a ? (int) b : a;
}

static void
wait_for_work(void)
{
	struct curl_waitfd fds[2] = { { .fd = signal_pipe[0],
									.events = CURL_WAIT_POLLIN } };
	unsigned n = 1;
	short events = 0;
	int fd = relay_db_socket(&events);
	int timeout = relay_db_timeout();

	if (fd >= 0)
	{
		fds[1].fd = fd;
		fds[1].events = (short) ((events & POLLIN ? CURL_WAIT_POLLIN : 0) |
								 (events & POLLOUT ? CURL_WAIT_POLLOUT : 0));
		n = 2;
	}
	if (relay_send_can_start())
		timeout = 0; /* or a finished message would cost a wait */
	else if (stop_at != 0)
		timeout = min_timeout(timeout, stop_at - relay_now());
	else if (relay_db_claim_possible() && claimed < options.max &&
			 relay_send_room(options.once) > 0)
		timeout = min_timeout(timeout, next_poll - relay_now());
	relay_send_wait(fds, n, timeout);
}

static int
run(void)
{
	DbFate fate;
	bool ready = false;

	for (;;)
	{
		handle_signals();
		if (stop_at != 0)
			relay_send_drop_queue(); /* what a running claim brought */
		if ((options.once || stop_at != 0) && relay_send_in_flight() == 0 &&
			relay_send_queued() == 0)
			relay_db_flush();
		fate = relay_db_step();
		if (fate != DB_OK)
			break;
		maybe_claim();
		relay_send_step();
		if (!ready && relay_db_claim_possible())
		{
			ready = true;
			tell_service_manager("READY=1");
		}
		if (finished())
			return EXIT_OK;
		wait_for_work();
	}
	return fate == DB_REFUSED	   ? EXIT_REFUSED
		   : fate == DB_TAKEN_OVER ? EXIT_TAKEN_OVER
								   : EXIT_DATABASE;
}

int
main(int argc, char **argv)
{
	int status;

	if (!parse_options(argc, argv))
		return EXIT_USAGE;
	if (geteuid() == 0 && !options.allow_root && !options.check)
	{
		fprintf(
			stderr,
			"journey-relay: will not run as root; use a user of its own, or --allow-root\n");
		return EXIT_USAGE;
	}
	config = relay_config_load(options.config_path);
	if (config == NULL)
		return EXIT_USAGE;
	if (options.check)
	{
		puts("configuration is valid");
		relay_config_free(config);
		return EXIT_OK;
	}

	/* signals before the subsystems: a stop while we boot must be seen */
	relay_log_set_level(config->log_level);
	srandom((unsigned) (time(NULL) ^ getpid()));
	if (!install_signals() || !relay_send_init(config))
	{
		relay_log(RELAY_ERROR, "fatal", "error=\"could not start\"");
		return EXIT_USAGE;
	}
	relay_db_init(config, options.at, options.once);

	status = run();
	relay_log(RELAY_INFO, "stopped",
			  "status=%d left_in_flight=%d unreported=%d", status,
			  relay_send_in_flight(), relay_db_unreported());

	relay_send_close();
	relay_db_close();
	relay_config_free(config);
	return status;
}
