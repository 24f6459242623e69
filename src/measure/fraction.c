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

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "measure/fraction.h"

PG_FUNCTION_INFO_V1(pgj_sql_fraction);

double
pgj_fraction(const char *salt, const char *unit_key)
{
	static const uint8 separator = 0x1F;
	char	   *salt_utf8 = pg_server_to_any(salt, strlen(salt), PG_UTF8);
	char	   *key_utf8 = pg_server_to_any(unit_key, strlen(unit_key), PG_UTF8);
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint64		bits = 0;
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (ctx == NULL)
		ereport(ERROR,
				errcode(ERRCODE_OUT_OF_MEMORY),
				errmsg("out of memory"));

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) salt_utf8, strlen(salt_utf8)) < 0 ||
		pg_cryptohash_update(ctx, &separator, 1) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) key_utf8, strlen(key_utf8)) < 0 ||
		pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
	{
		const char *why = pstrdup(pg_cryptohash_error(ctx));

		/* under OpenSSL the context is not palloc'd, so free it before leaving */
		pg_cryptohash_free(ctx);
		ereport(ERROR,
				errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not compute SHA-256 hash: %s", why));
	}
	pg_cryptohash_free(ctx);

	/* the engine assigns whole batches in one context; do not pile up copies */
	if (salt_utf8 != salt)
		pfree(salt_utf8);
	if (key_utf8 != unit_key)
		pfree(key_utf8);

	for (int i = 0; i < 8; i++)
		bits = (bits << 8) | digest[i];

	return (double) (bits >> 11) / 9007199254740992.0;	/* 2^53 */
}

/*
 * journey.fraction(salt text, unit_key text) returns float8
 */
Datum
pgj_sql_fraction(PG_FUNCTION_ARGS)
{
	char	   *salt = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *unit_key = text_to_cstring(PG_GETARG_TEXT_PP(1));

	PG_RETURN_FLOAT8(pgj_fraction(salt, unit_key));
}
