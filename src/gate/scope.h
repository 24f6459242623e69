/*-------------------------------------------------------------------------
 *
 * scope.h
 *	  Which messages a definition is about; internal to the gate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SCOPE_H
#define PGJ_SCOPE_H

/* Names of a list that was given, which may be empty; all if name is NULL. */
typedef struct Names
{
	int n;
	char **name;
} Names;

typedef struct Scope
{
	Names channels;
	Names topics;
	Names classes;
	int njourneys;
	int *journeys; /* NULL: all */
} Scope;

/*
 * Out of a row of SPI_tuptable, into the current context: a text[], or NULL for all;
 * an int4[], likewise.
 */
extern Names pgj_names_read(uint64 row, int column);
extern void pgj_scope_read_journeys(Scope *scope, uint64 row, int column);

/* One name; all if it is '*'. */
extern Names pgj_names_one(const char *name);

extern bool pgj_names_have(const Names *names, const char *name);
extern bool pgj_scope_has(const Scope *scope, const char *channel,
						  const char *topic, const char *class, int journey_id);

#endif /* PGJ_SCOPE_H */
