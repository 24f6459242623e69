/*-------------------------------------------------------------------------
 *
 * sha256.h
 *	  SHA-256 of a string of bytes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PGJ_SHA256_H
#define PGJ_SHA256_H

#include "common/sha2.h"

extern void pgj_sha256(const char *data, size_t len,
					   uint8 digest[PG_SHA256_DIGEST_LENGTH]);
extern char *pgj_sha256_hex(const char *data, size_t len);

#endif /* PGJ_SHA256_H */
