/*-------------------------------------------------------------------------
 *
 * site.h
 *	  The attached contact table and the journey owner.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SITE_H
#define PGJ_SITE_H

#include "utils/typcache.h"

typedef struct Site
{
	char *site_id; /* uuid as text */
	Oid owner;	   /* the journey owner: owner of journey_state */
	Oid contact_table;
	char *contact_name; /* quoted, schema-qualified */
	char *key_column;	/* quoted */
	char *email_column; /* quoted, or NULL */
	char *phone_column;
	char *timezone_column;
	char *country_column;
	int slices;
	bool is_copy; /* fingerprint differs: restored or cloned */

	/* the key's type */
	Oid key_type;
	Oid key_array_type;
	char *key_type_name;
	int16 key_typlen;
	bool key_typbyval;
	char key_typalign;
	Oid key_output; /* output function */
	Oid key_input;
	Oid key_ioparam;
} Site;

/*
 * The site, from a cache that is dropped when journey.site or the owner of
 * journey_state changes.  Errors: PJ004 when nothing is attached.  The result
 * is never freed; what it says may be out of date after the next command.
 */
extern const Site *pgj_site(void);
extern const Site *pgj_site_or_null(void);

/* Refuse a session whose user is a superuser (PJ005): it must not meet the owner's triggers. */
extern void pgj_refuse_superuser(const Site *site);

/* Refuse a copied database (PJ003). */
extern void pgj_refuse_copy(const Site *site);

/*
 * Refuse to go on unless this session may run what authors wrote: the session
 * user is no superuser (PJ005) and the current user is a member of the journey
 * owner (42501).
 */
extern void pgj_require_member(const Site *site);

/* The same, and the database is no copy (PJ003). */
extern void pgj_require_live(const Site *site);

/* Slice of a contact: a hash of the key's text, salted apart from holdouts. */
extern int pgj_slice_of(const Site *site, Datum contact);

/* The key as text (palloc'd), and back. */
extern char *pgj_key_to_text(const Site *site, Datum contact);
extern Datum pgj_key_from_text(const Site *site, const char *text);

/*
 * Keys of contacts and of runs stand together in indexes, whose entries must not
 * be larger than a third of a page.  Longer ones are refused where they come in:
 * there it is one event's error, in the engine it would be a slice's.
 */
#define PGJ_MAX_KEY 1000
extern bool pgj_key_too_long(const Site *site, Datum contact);

/*
 * Wait for whoever is changing the contact table's definition, and keep the
 * next one waiting until the transaction ends.  For callers that are going to
 * read contacts in the box: in there such a wait would become a time-out, and
 * look like a fault of every contact.  Call it while holding no other lock.
 * Returns the site as it is then.
 */
extern const Site *pgj_lock_contacts(const Site *site);

/* Run the following as another role; undo with pgj_become_caller. */
typedef struct SavedUser
{
	Oid user;
	int context;
	int guc_level; /* 0: settings are not given back */
} SavedUser;
extern SavedUser pgj_become(Oid role);
extern SavedUser pgj_become_owner(const Site *site);
extern void pgj_become_caller(SavedUser saved);

#endif /* PGJ_SITE_H */
