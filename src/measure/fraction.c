/*-------------------------------------------------------------------------
 *
 * fraction.c
 *	  The fraction that assigns a unit to an arm.
 *
 * An exposure row keeps the fraction it was decided on, and an outsider must
 * be able to recompute it from salt and key for ever.  So the bytes that are
 * hashed are fixed: UTF-8 whatever the server encoding, the unit separator
 * between the two strings, and the first 53 bits of SHA-256, which are just
 * what a float8 holds exactly.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "measure/fraction.h"
#include "sha256.h"

PG_FUNCTION_INFO_V1(pgj_sql_fraction);

double
pgj_fraction(const char *salt, const char *unit_key)
{
	char *salt_utf8 = pg_server_to_any(salt, strlen(salt), PG_UTF8);
	char *key_utf8 = pg_server_to_any(unit_key, strlen(unit_key), PG_UTF8);
	char *text = psprintf("%s\x1F%s", salt_utf8, key_utf8);
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	uint64 bits = 0;

	pgj_sha256(text, strlen(text), digest);

	/* the engine assigns whole batches in one context; do not pile up copies */
	pfree(text);
	if (salt_utf8 != salt)
		pfree(salt_utf8);
	if (key_utf8 != unit_key)
		pfree(key_utf8);

	for (int i = 0; i < 8; i++)
		bits = (bits << 8) | digest[i];

	return (double) (bits >> 11) / 9007199254740992.0; /* 2^53 */
}

/*
 * journey.fraction(salt text, unit_key text) returns float8
 */
Datum
pgj_sql_fraction(PG_FUNCTION_ARGS)
{
	char *salt = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *unit_key = text_to_cstring(PG_GETARG_TEXT_PP(1));

	PG_RETURN_FLOAT8(pgj_fraction(salt, unit_key));
}
