/*-------------------------------------------------------------------------
 *
 * log.c
 *	  One line for each event, key=value, on stderr.
 *
 *-------------------------------------------------------------------------
 */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const level_names[] = { "debug", "info", "warning",
										   "error" };

/* systemd's reading of a line that starts with <n> */
static const int syslog_priority[] = { 7, 6, 4, 3 };

static LogLevel log_level = RELAY_INFO;

void
relay_log_set_level(LogLevel level)
{
	log_level = level;
}

bool
relay_log_parse_level(const char *name, LogLevel *level)
{
	for (int i = RELAY_DEBUG; i <= RELAY_ERROR; i++)
		if (strcmp(name, level_names[i]) == 0)
		{
			*level = (LogLevel) i;
			return true;
		}
	return false;
}

const char *
relay_log_quote(const char *text)
{
	static char ring[4][512];
	static int turn = 0;
	char *out = ring[turn = (turn + 1) % 4];
	size_t n = 0;

	out[n++] = '"';
	for (const char *p = text; *p != '\0' && n < 400; p++)
	{
		unsigned char c = (unsigned char) *p;

		if (c == '\n' && p[1] == '\0')
			break;
		if (c == '"' || c == '\\')
			out[n++] = '\\';
		out[n++] = (c < ' ' || c == 0x7f) ? ' ' : (char) c;
	}
	out[n++] = '"';
	out[n] = '\0';
	return out;
}

void
relay_log(LogLevel level, const char *event, const char *format, ...)
{
	char line[2048];
	size_t n = 0;

	if (level < log_level)
		return;

	if (getenv("JOURNAL_STREAM") != NULL)
		n = (size_t) snprintf(line, sizeof(line), "<%d>",
							  syslog_priority[level]);
	else
	{
		struct timespec now;
		struct tm tm;

		clock_gettime(CLOCK_REALTIME, &now);
		gmtime_r(&now.tv_sec, &tm);
		n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
		n += (size_t) snprintf(line + n, sizeof(line) - n, ".%03ldZ ",
							   now.tv_nsec / 1000000);
	}
	n += (size_t) snprintf(line + n, sizeof(line) - n, "level=%s event=%s",
						   level_names[level], event);
	if (format != NULL)
	{
		va_list args;
		int more;

		line[n++] = ' ';
		va_start(args, format);
		more = vsnprintf(line + n, sizeof(line) - n - 1, format, args);
		va_end(args);
		if (more > 0)
			n += (size_t) more;
		if (n > sizeof(line) - 2)
			n = sizeof(line) - 2;
	}
	line[n++] = '\n';
	/* one write, so that lines of several processes do not mix */
	(void) !fwrite(line, 1, n, stderr);
	fflush(stderr);
}
