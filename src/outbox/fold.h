/*-------------------------------------------------------------------------
 *
 * fold.h
 *	  Upper and lower case of what is compared: addresses, countries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_FOLD_H
#define PGJ_FOLD_H

/*
 * A to Z go with a to z also in a database whose language pairs them otherwise:
 * in Turkish the small letter of I is another one than i.  Other letters are as
 * in the database.  In SQL the same is
 * lower(lower(text COLLATE "C") COLLATE "default").
 */
extern char *pgj_fold_lower(const char *text);
extern char *pgj_fold_upper(const char *text);

#endif /* PGJ_FOLD_H */
