/*-------------------------------------------------------------------------
 *
 * relay.c
 *	  The site fence: a relay presents the site's token before it gets anything.
 *
 * A clone of the database's files cannot be told from the original from inside,
 * so the relay must know whom it sends for: its own configuration has a token
 * whose digest is in journey.site_token.  Opening raises the relay's epoch, and
 * an older session of that relay gets no more messages; what it has sent
 * already it may still report.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "outbox/outbox.h"
#include "outbox/relay.h"
#include "pg_journey.h"
#include "plan.h"
#include "sha256.h"

#define MAX_RELAY_NAME 63

PG_FUNCTION_INFO_V1(pgj_sql_open_relay);

/* Set when a relay was opened here; whether that committed is for the table to say. */
static char opened_relay[MAX_RELAY_NAME + 1];
static int64 opened_epoch;

/*
 * The digest of the site's token in hexadecimal, or NULL.  Read without
 * privileges: neither authors nor relays need to see the table.
 */
static char *
site_digest(void)
{
	Oid relid =
		get_relname_relid("site_token", get_namespace_oid(PGJ_SCHEMA, false));
	Relation relation;
	SysScanDesc scan;
	Snapshot snapshot;
	HeapTuple tuple;
	char *digest = NULL;

	if (!OidIsValid(relid))
		return NULL;
	relation = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = systable_beginscan(relation, InvalidOid, false, snapshot, 0, NULL);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;
		Datum value = heap_getattr(tuple, get_attnum(relid, "digest"),
								   RelationGetDescr(relation), &isnull);

		if (!isnull)
		{
			bytea *bytes = DatumGetByteaPP(value);

			digest = palloc0(2 * VARSIZE_ANY_EXHDR(bytes) + 1);
			hex_encode(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes), digest);
		}
	}
	systable_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(relation, AccessShareLock);
	return digest;
}

/* Compare without telling by the time taken where the first difference is. */
static bool
same_digest(const char *a, const char *b)
{
	unsigned char difference = 0;

	if (strlen(a) != PG_SHA256_DIGEST_LENGTH * 2 ||
		strlen(b) != PG_SHA256_DIGEST_LENGTH * 2)
		return false;
	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH * 2; i++)
		difference |= (unsigned char) a[i] ^ (unsigned char) b[i];
	return difference == 0;
}

static int64
raise_epoch(const Site *site, const char *relay)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.relay AS y (name, epoch, opened_at) VALUES ($1, 1, pg_catalog.clock_timestamp()) "
			"ON CONFLICT (name) DO UPDATE SET epoch = y.epoch OPERATOR(pg_catalog.+) 1, opened_at = EXCLUDED.opened_at "
			"RETURNING y.epoch"
	};
	Params params;
	int64 epoch;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(relay));
	(void) pgj_plan_execute(&plan, &params);
	epoch = DatumGetInt64(pgj_row_value(0, 1));
	SPI_finish();
	return epoch;
}

/*
 * journey.open_relay(relay text, token text) returns bigint
 */
Datum
pgj_sql_open_relay(PG_FUNCTION_ARGS)
{
	const Site *site = pgj_site();
	char *relay = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *token = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *digest;
	SavedUser saved;
	int64 epoch;

	if (relay[0] == '\0' || strlen(relay) > MAX_RELAY_NAME)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("name of a relay must have 1 to %d bytes", MAX_RELAY_NAME));
	pgj_refuse_superuser(site);
	pgj_refuse_copy(site);

	digest = site_digest();
	if (digest == NULL ||
		!same_digest(digest, pgj_sha256_hex(token, strlen(token))))
		ereport(
			ERROR, errcode(ERRCODE_PGJ_WRONG_TOKEN),
			errmsg("site token does not match"),
			digest == NULL
				? errhint(
					  "This database has no token, as after a restore. If it is to send, issue one with journey.issue_site_token() and give it to the relay.")
				: errhint(
					  "The relay is configured for another database, or the token was issued anew. See journey.issue_site_token()."));

	saved = pgj_become_owner(site);
	epoch = raise_epoch(site, relay);
	pgj_become_caller(saved);

	strlcpy(opened_relay, relay, sizeof(opened_relay));
	opened_epoch = epoch;
	PG_RETURN_INT64(epoch);
}

void
pgj_relay_require(const Site *site, const char *relay, bool current)
{
	static KeptPlan plan = {
		.sql =
			"SELECT y.epoch FROM journey_state.relay AS y WHERE y.name OPERATOR(pg_catalog.=) $1 FOR SHARE"
	};
	Params params;
	int64 epoch = 0;

	if (relay[0] == '\0' || strcmp(opened_relay, relay) != 0)
		ereport(
			ERROR, errcode(ERRCODE_PGJ_STALE_RELAY),
			errmsg("relay \"%s\" has not been opened in this session", relay),
			errhint(
				"Call journey.open_relay() first, on a connection of its own (no transaction pooling)."));
	if (!current)
		return;

	SPI_connect();
	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, TEXTOID, CStringGetTextDatum(relay));
	if (pgj_plan_execute(&plan, &params) > 0)
		epoch = DatumGetInt64(pgj_row_value(0, 1));
	SPI_finish();
	if (epoch != opened_epoch)
		ereport(
			ERROR, errcode(ERRCODE_PGJ_STALE_RELAY),
			errmsg("relay \"%s\" has been opened by another session", relay),
			errdetail("This session opened it with epoch " INT64_FORMAT
					  "; the epoch now is " INT64_FORMAT ".",
					  opened_epoch, epoch),
			errhint(
				"Only one process may run under the name of a relay. Give each its own name."));
}
