/*-------------------------------------------------------------------------
 *
 * consent.c
 *	  Consent by channel and topic, given and withdrawn.
 *
 * Consent is changed by the shop's own transactions, which take no slice lock.
 * What orders a withdrawal against a claim are the consent rows: a claim locks
 * FOR SHARE those it reads, and a withdrawal locks FOR UPDATE all those of its
 * contact and channel, before it writes and again afterwards.  So it
 *	- committed before the claim looked, and is seen; or
 *	- is open, and the claim puts the message off: it finds a row that it cannot
 *	  lock, or, by a dirty look, a new one that has not committed; or
 *	- wrote after the claim looked, and then waits for the claim to commit: what
 *	  the claim relies on had committed before, so the second look meets it.
 * Grants need not meet anybody.  A claim never waits.
 *
 * consent_log is the record and only grows; consent is the state, the newest word
 * by the time it was given.  Nothing of either is left half done by a crash: both
 * are written in the caller's transaction.
 *
 * Callers need EXECUTE and nothing else; the rows are written as the journey
 * owner.  A superuser is refused, because the owner may have put triggers on
 * these tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "append.h"
#include "clock.h"
#include "gate/argument.h"
#include "gate/consent.h"
#include "pg_journey.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_set_consent);
PG_FUNCTION_INFO_V1(pgj_sql_withdraw_all);

ConsentChanges *
pgj_consent_changes(int n)
{
	ConsentChanges *changes = palloc0_object(ConsentChanges);

	changes->n = n;
	changes->contact = palloc0_array(Datum, n);
	changes->channel = palloc0_array(Datum, n);
	changes->topic = palloc0_array(Datum, n);
	changes->granted = palloc0_array(Datum, n);
	changes->at = palloc0_array(Datum, n);
	changes->proof = palloc0_array(Datum, n);
	changes->ip = palloc0_array(Datum, n);
	changes->no_proof = palloc0_array(bool, n);
	changes->no_ip = palloc0_array(bool, n);
	changes->consent_id = palloc0_array(Datum, n);
	changes->applied = palloc0_array(bool, n);
	return changes;
}

Name
pgj_consent_set_by(void)
{
	Name name = palloc0(sizeof(NameData));

	namestrcpy(name, GetUserNameFromId(GetUserId(), false));
	return name;
}

void
pgj_consent_lock(const Site *site, Datum *contacts, Datum *channels, int n,
				 bool latest)
{
	static KeptPlan plan = {
		.sql =
			"SELECT FROM unnest($1, $2) AS r (contact, channel) CROSS JOIN LATERAL ("
			"SELECT FROM journey_state.consent AS k WHERE k.contact = r.contact "
			"AND (r.channel OPERATOR(pg_catalog.=) '*' OR k.channel OPERATOR(pg_catalog.=) r.channel) "
			"ORDER BY k.channel, k.topic OFFSET 0 FOR UPDATE OF k) AS l"
	};
	Params params;

	pgj_params_init(&params, site, n);
	pgj_params_filled(&params, site->key_type, contacts, NULL);
	pgj_params_filled(&params, TEXTOID, channels, NULL);
	if (latest)
		(void) pgj_plan_execute_latest(&plan, &params);
	else
		(void) pgj_plan_execute(&plan, &params);
}

/* The contacts and channels of the withdrawals among the changes. */
static int
withdrawals(const ConsentChanges *changes, Datum *contacts, Datum *channels)
{
	int n = 0;

	for (int i = 0; i < changes->n; i++)
	{
		if (DatumGetBool(changes->granted[i]))
			continue;
		contacts[n] = changes->contact[i];
		channels[n++] = changes->channel[i];
	}
	return n;
}

/*
 * What is older than the present state does not change it.  But a grant dated in
 * the future comes from a clock that is ahead, and a withdrawal ends it.  Against
 * withdrawals a grant that was confirmed is as old as its request.
 */
static void
write_state(const Site *site, ConsentChanges *changes)
{
	static KeptPlan plan = {
		.sql =
			"INSERT INTO journey_state.consent AS k (contact, channel, topic, granted, source, at, consent_id, asked_at) "
			"SELECT r.contact, r.channel, r.topic, r.granted, $7, r.at, r.consent_id, $9 "
			"FROM unnest($1, $2, $3, $4, $5, $6) AS r (contact, channel, topic, granted, at, consent_id) "
			"ON CONFLICT (contact, channel, topic) DO UPDATE "
			"SET granted = EXCLUDED.granted, source = EXCLUDED.source, at = EXCLUDED.at, consent_id = EXCLUDED.consent_id, asked_at = EXCLUDED.asked_at "
			"WHERE CASE WHEN EXCLUDED.granted "
			"THEN k.at OPERATOR(pg_catalog.<=) EXCLUDED.at "
			"AND (k.granted OR k.at OPERATOR(pg_catalog.<) COALESCE($9, 'infinity') AND (NOT $10 OR k.at OPERATOR(pg_catalog.<) EXCLUDED.at)) "
			"ELSE COALESCE(k.asked_at, k.at) OPERATOR(pg_catalog.<=) EXCLUDED.at OR k.at OPERATOR(pg_catalog.>) $8 END "
			"RETURNING k.consent_id"
	};
	Params params;
	uint64 nrows;
	int i = 0;

	pgj_params_init(&params, site, changes->n);
	pgj_params_filled(&params, site->key_type, changes->contact, NULL);
	pgj_params_filled(&params, TEXTOID, changes->channel, NULL);
	pgj_params_filled(&params, TEXTOID, changes->topic, NULL);
	pgj_params_filled(&params, BOOLOID, changes->granted, NULL);
	pgj_params_filled(&params, TIMESTAMPTZOID, changes->at, NULL);
	pgj_params_filled(&params, INT8OID, changes->consent_id, NULL);
	pgj_params_scalar(&params, TEXTOID, changes->source);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(pgj_clock_now()));
	pgj_params_nullable(&params, TIMESTAMPTZOID,
						TimestampTzGetDatum(changes->asked_at),
						changes->request_id == 0);
	pgj_params_scalar(&params, BOOLOID, BoolGetDatum(changes->imported));
	nrows = pgj_plan_execute(&plan, &params);

	/* they come back in the order in which they went in */
	for (uint64 row = 0; row < nrows; row++)
	{
		while (i < changes->n && DatumGetInt64(changes->consent_id[i]) !=
									 DatumGetInt64(pgj_row_value(row, 1)))
			i++;
		if (i == changes->n)
			elog(ERROR, "consent was written in an unexpected order");
		changes->applied[i] = true;
	}
}

void
pgj_consent_number(ConsentChanges *changes)
{
	Oid sequence = pgj_state_relation("row_id_seq");

	for (int i = 0; i < changes->n; i++)
		changes->consent_id[i] =
			Int64GetDatum(nextval_internal(sequence, false));
}

void
pgj_consent_write(const Site *site, ConsentChanges *changes)
{
	Datum *contacts = palloc_array(Datum, changes->n);
	Datum *channels = palloc_array(Datum, changes->n);
	int nwithdrawals = withdrawals(changes, contacts, channels);

	if (nwithdrawals > 0)
		pgj_consent_lock(site, contacts, channels, nwithdrawals, false);
	/* not before: what a claim hands over first has the lower numbers */
	pgj_consent_number(changes);
	write_state(site, changes);
	if (nwithdrawals > 0)
		pgj_consent_lock(site, contacts, channels, nwithdrawals, true);
}

void
pgj_consent_log(const Site *site, const ConsentChanges *changes, Name set_by)
{
	static const char *const columns[] = { "contact", "consent_id", "channel",
										   "topic",	  "granted",	"source",
										   "at",	  "set_by",		"proof",
										   "ip",	  "request_id" };
	AppendRows rows;

	pgj_append_init(&rows, "consent_log", columns, lengthof(columns),
					changes->n);
	for (int i = 0; i < changes->n; i++)
	{
		rows.values[0][i] = changes->contact[i];
		rows.values[1][i] = changes->consent_id[i];
		rows.values[2][i] = changes->channel[i];
		rows.values[3][i] = changes->topic[i];
		rows.values[4][i] = changes->granted[i];
		rows.values[5][i] = changes->source;
		rows.values[6][i] = changes->at[i];
		rows.values[7][i] = NameGetDatum(set_by);
		rows.values[8][i] = changes->proof[i];
		rows.nulls[8][i] = changes->no_proof[i];
		rows.values[9][i] = changes->ip[i];
		rows.nulls[9][i] = changes->no_ip[i];
		rows.values[10][i] = Int64GetDatum(changes->request_id);
		rows.nulls[10][i] = changes->request_id == 0;
	}
	pgj_append(site, &rows);
}

/* The first argument, as a key that can be written. */
Datum
pgj_consent_contact(FunctionCallInfo fcinfo, const Site *site)
{
	Datum contact = pgj_argument_contact(fcinfo, site, 0);

	if (pgj_key_too_long(site, contact))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("key of a contact must not have more than %d bytes",
					   PGJ_MAX_KEY));
	return contact;
}

void
pgj_consent_require_finite(TimestampTz at)
{
	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("time of a consent must be finite"));
}

/* Fill in an argument that may be null. */
static void
fill_nullable(FunctionCallInfo fcinfo, int argument, int n, Datum *values,
			  bool *nulls)
{
	for (int i = 0; i < n; i++)
	{
		nulls[i] = PG_ARGISNULL(argument);
		values[i] = nulls[i] ? (Datum) 0 : PG_GETARG_DATUM(argument);
	}
}

/*
 * journey.set_consent(contact anyelement, channel text, topic text, granted
 *		boolean, source text, at timestamptz, proof text, ip inet)
 */
Datum
pgj_sql_set_consent(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "contact", "channel", "topic",
										 "granted", "source",  "at",
										 NULL,		NULL };
	const Site *site = pgj_site();
	Name set_by = pgj_consent_set_by();
	ConsentChanges *change;
	SavedUser saved;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	pgj_consent_require_finite(PG_GETARG_TIMESTAMPTZ(5));
	change = pgj_consent_changes(1);
	change->contact[0] = pgj_consent_contact(fcinfo, site);
	change->channel[0] = PG_GETARG_DATUM(1);
	change->topic[0] = PG_GETARG_DATUM(2);
	change->granted[0] = PG_GETARG_DATUM(3);
	change->source = PG_GETARG_DATUM(4);
	change->at[0] = PG_GETARG_DATUM(5);
	fill_nullable(fcinfo, 6, 1, change->proof, change->no_proof);
	fill_nullable(fcinfo, 7, 1, change->ip, change->no_ip);

	saved = pgj_become_owner(site);
	SPI_connect();
	pgj_require_channel(site, PG_GETARG_DATUM(1));
	pgj_require_topic(site, PG_GETARG_DATUM(2));
	pgj_consent_write(site, change);
	pgj_consent_log(site, change, set_by);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

/* All channels, and those that are gone and the contact once agreed to. */
static uint64
read_channels(const Site *site, Datum contact)
{
	static KeptPlan plan = {
		.sql =
			"SELECT h.name FROM journey.channel AS h "
			"UNION SELECT k.channel FROM journey_state.consent AS k WHERE k.contact = $1 ORDER BY 1"
	};
	Params params;

	pgj_params_init(&params, site, 0);
	pgj_params_scalar(&params, site->key_type, contact);
	return pgj_plan_execute(&plan, &params);
}

/*
 * journey.withdraw_all(contact anyelement, source text, at timestamptz, proof
 *		text, ip inet)
 */
Datum
pgj_sql_withdraw_all(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "contact", "source", "at", NULL,
										 NULL };
	const Site *site = pgj_site();
	MemoryContext context = CurrentMemoryContext;
	Name set_by = pgj_consent_set_by();
	ConsentChanges *changes;
	Datum contact;
	SavedUser saved;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	pgj_consent_require_finite(PG_GETARG_TIMESTAMPTZ(2));
	contact = pgj_consent_contact(fcinfo, site);

	saved = pgj_become_owner(site);
	SPI_connect();
	changes = pgj_consent_changes(read_channels(site, contact));
	changes->source = PG_GETARG_DATUM(1);
	for (int i = 0; i < changes->n; i++)
	{
		changes->contact[i] = contact;
		changes->channel[i] = pgj_row_copy(context, i, 1);
		changes->topic[i] = CStringGetTextDatum("*");
		changes->granted[i] = BoolGetDatum(false);
		changes->at[i] = PG_GETARG_DATUM(2);
	}
	fill_nullable(fcinfo, 3, changes->n, changes->proof, changes->no_proof);
	fill_nullable(fcinfo, 4, changes->n, changes->ip, changes->no_ip);
	if (changes->n > 0)
	{
		pgj_consent_write(site, changes);
		pgj_consent_log(site, changes, set_by);
	}
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}
