/*-------------------------------------------------------------------------
 *
 * kept.h
 *	  What a session makes of definition tables and keeps until one changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_KEPT_H
#define PGJ_KEPT_H

#include "contact/site.h"
#include "plan.h"

#define PGJ_KEPT_TABLES 8

/* A static variable; what is not private is given, the rest zero. */
typedef struct Kept
{
	const char *name;					 /* of its memory, for who looks */
	const char *tables[PGJ_KEPT_TABLES]; /* of schema journey, up to a NULL */

	/*
	 * Read the tables, in the memory that is kept; within SPI_connect and with
	 * the active snapshot.
	 */
	void *(*read)(const Site *site);

	/*
	 * Give back what is not in that memory; may be NULL, must not throw.  Contexts
	 * made within it, such as a hash table's, are gone already.
	 */
	void (*release)(void *content);

	/* private */
	struct Kept *next;
	bool known; /* is in the list of those */
	uint64 changes;
	uint64 read_after; /* so many changes */
	Oid relation[PGJ_KEPT_TABLES];
	MemoryContext context;
	void *content;
} Kept;

/*
 * What was made of the tables as they are now.  The result stays as it is to the
 * end of the transaction, whatever is changed or called meanwhile.
 */
extern void *pgj_kept(Kept *kept, const Site *site);

/* For "read": all rows of a statement without parameters, in SPI_tuptable. */
extern uint64 pgj_kept_select(KeptPlan *plan, const Site *site);

#endif /* PGJ_KEPT_H */
