/*-------------------------------------------------------------------------
 *
 * log.h
 *	  One line for each event, key=value, on stderr.
 *
 * Nothing that belongs to a person or opens a door goes in: no address, subject,
 * body, server reply, password or token.  A message is named by its id.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RELAY_LOG_H
#define RELAY_LOG_H

#include <stdbool.h>

typedef enum LogLevel
{
	RELAY_DEBUG,
	RELAY_INFO,
	RELAY_WARNING,
	RELAY_ERROR
} LogLevel;

extern void relay_log_set_level(LogLevel level);
extern bool relay_log_parse_level(const char *name, LogLevel *level);

/* format makes "key=value key=value"; may be NULL */
extern void relay_log(LogLevel level, const char *event, const char *format,
					  ...) __attribute__((format(printf, 3, 4)));

/* a value as one quoted word, cut at 400 bytes; valid until the next call but three */
extern const char *relay_log_quote(const char *text);

#endif /* RELAY_LOG_H */
