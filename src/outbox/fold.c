/*-------------------------------------------------------------------------
 *
 * fold.c
 *	  Upper and lower case of what is compared: addresses, countries.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "utils/formatting.h"

#include "outbox/fold.h"

char *
pgj_fold_lower(const char *text)
{
	char *ascii = asc_tolower(text, strlen(text));

	return str_tolower(ascii, strlen(ascii), DEFAULT_COLLATION_OID);
}

char *
pgj_fold_upper(const char *text)
{
	char *ascii = asc_toupper(text, strlen(text));

	return str_toupper(ascii, strlen(ascii), DEFAULT_COLLATION_OID);
}
