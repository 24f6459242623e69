/*-------------------------------------------------------------------------
 *
 * sha256.c
 *	  SHA-256 of a string of bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/cryptohash.h"
#include "utils/builtins.h"

#include "sha256.h"

void
pgj_sha256(const char *data, size_t len, uint8 digest[PG_SHA256_DIGEST_LENGTH])
{
	pg_cryptohash_ctx *hash = pg_cryptohash_create(PG_SHA256);

	if (hash == NULL)
		ereport(ERROR, errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"));
	if (pg_cryptohash_init(hash) < 0 ||
		pg_cryptohash_update(hash, (const uint8 *) data, len) < 0 ||
		pg_cryptohash_final(hash, digest, PG_SHA256_DIGEST_LENGTH) < 0)
	{
		const char *why = pstrdup(pg_cryptohash_error(hash));

		/* under OpenSSL the context is not palloc'd: free it before leaving */
		pg_cryptohash_free(hash);
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR),
				errmsg("could not compute SHA-256 hash: %s", why));
	}
	pg_cryptohash_free(hash);
}

char *
pgj_sha256_hex(const char *data, size_t len)
{
	uint8 digest[PG_SHA256_DIGEST_LENGTH];
	char *text = palloc(2 * sizeof(digest) + 1);

	pgj_sha256(data, len, digest);
	hex_encode((const char *) digest, sizeof(digest), text);
	text[2 * sizeof(digest)] = '\0';
	return text;
}
