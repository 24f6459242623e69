/*-------------------------------------------------------------------------
 *
 * consent_import.c
 *	  Consent out of a table: a list kept elsewhere, with its proofs.
 *
 * The table is read with the caller's rights and as one snapshot, in the order of
 * contact and time, a batch at a time; each batch is written as the owner, one
 * statement for each table.  All of it is one transaction.
 *
 * No withdrawal is undone that is as new as the row or newer; what the record
 * holds already is not recorded again, so an import can be repeated.  Rows of the
 * state that do not change are not locked: claims for those contacts go on.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "clock.h"
#include "gate/argument.h"
#include "gate/consent.h"
#include "pg_journey.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_import_consent);

#define BATCH_ROWS 5000

/* In the order in which they are reported. */
typedef enum Outcome
{
	GRANTED,		/* the state is the row's grant */
	WITHDRAWN,		/* the state is the row's withdrawal */
	KEPT_WITHDRAWN, /* a withdrawal stands against the row's grant */
	OLDER,			/* there is a newer word */
	KNOWN,			/* recorded before */
	INVALID,
	OUTCOMES
} Outcome;

static const char *const outcome_names[] = { "granted",		   "withdrawn",
											 "kept withdrawn", "older",
											 "known",		   "invalid" };

typedef struct Import
{
	const Site *site;
	Datum channel;
	Datum topic;
	Datum source;
	TimestampTz at; /* of the import */
	Name set_by;
	int64 count[OUTCOMES];
} Import;

/* Rows of the table by column, sorted by contact and time. */
typedef struct Batch
{
	int n;
	Datum *contact;
	Datum *at;
	Datum *granted;
	Datum *proof;
	Datum *ip;
	bool *no_proof;
	bool *no_ip;
	Outcome *outcome; /* OUTCOMES: to be written into the state */
} Batch;

/* ---- reading ------------------------------------------------------------ */

/*
 * The column as the reading statement's expression, cast to a type.  Types that
 * could be taken for another time or contact are refused.
 */
static const char *
column_as(Oid relation, const char *column, Oid wanted, bool text_too)
{
	AttrNumber number = get_attnum(relation, column);
	Oid type;

	if (number == InvalidAttrNumber || number < 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("column \"%s\" of relation \"%s\" does not exist",
					   column, get_rel_name(relation)));
	type = getBaseType(get_atttype(relation, number));
	if (!(type == wanted || wanted == TEXTOID ||
		  (wanted == INT8OID && (type == INT2OID || type == INT4OID)) ||
		  (text_too && (type == TEXTOID || type == VARCHAROID))))
		ereport(ERROR, errcode(ERRCODE_DATATYPE_MISMATCH),
				errmsg("column \"%s\" of relation \"%s\" is of type %s, not %s",
					   column, get_rel_name(relation), format_type_be(type),
					   format_type_be(wanted)),
				errhint("Name a view that converts it."));
	return psprintf("s.%s::%s", quote_identifier(column),
					format_type_be_qualified(wanted));
}

/* The column of an argument that may be null, else an expression. */
static const char *
optional_column(FunctionCallInfo fcinfo, int argument, Oid wanted,
				const char *otherwise)
{
	if (PG_ARGISNULL(argument))
		return otherwise;
	return column_as(PG_GETARG_OID(0), NameStr(*PG_GETARG_NAME(argument)),
					 wanted, wanted == INETOID);
}

static const char *
reading_statement(FunctionCallInfo fcinfo, const Site *site)
{
	Oid relation = PG_GETARG_OID(0);
	const char *name = get_rel_name(relation);

	if (name == NULL)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", relation));
	/*
	 * At one time, a withdrawal is the last word.  Keys are told apart by their
	 * bytes, whatever collation the column has: a contact's rows stand together.
	 */
	return psprintf(
		"SELECT %s%s, %s, %s, %s, %s FROM %s AS s ORDER BY 1, 2, 3 DESC",
		column_as(relation, NameStr(*PG_GETARG_NAME(1)), site->key_type, true),
		site->key_type == TEXTOID ? " COLLATE pg_catalog.\"C\"" : "",
		column_as(relation, NameStr(*PG_GETARG_NAME(4)), TIMESTAMPTZOID, false),
		optional_column(fcinfo, 8, BOOLOID, "true"),
		optional_column(fcinfo, 6, TEXTOID, "NULL::pg_catalog.text"),
		optional_column(fcinfo, 7, INETOID, "NULL::pg_catalog.inet"),
		quote_qualified_identifier(
			get_namespace_name(get_rel_namespace(relation)), name));
}

/* Can the row at hand not be consent? */
static bool
is_invalid(const Import *import, uint64 row)
{
	TimestampTz at;

	if (pgj_row_null(row, 1) || pgj_row_null(row, 2) || pgj_row_null(row, 3))
		return true;
	at = DatumGetTimestampTz(pgj_row_value(row, 2));
	return TIMESTAMP_NOT_FINITE(at) || at > import->at ||
		   pgj_key_too_long(import->site, pgj_row_value(row, 1));
}

/* Copy the rows just fetched, but for those that are invalid. */
static Batch *
take_batch(Import *import, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Batch *batch = palloc0_object(Batch);
	int nrows = SPI_processed;

	batch->contact = palloc_array(Datum, nrows);
	batch->at = palloc_array(Datum, nrows);
	batch->granted = palloc_array(Datum, nrows);
	batch->proof = palloc0_array(Datum, nrows);
	batch->ip = palloc0_array(Datum, nrows);
	batch->no_proof = palloc_array(bool, nrows);
	batch->no_ip = palloc_array(bool, nrows);
	batch->outcome = palloc_array(Outcome, nrows);
	for (int row = 0; row < nrows; row++)
	{
		int i = batch->n;

		if (is_invalid(import, row))
		{
			import->count[INVALID]++;
			continue;
		}
		batch->contact[i] = pgj_row_copy(context, row, 1);
		batch->at[i] = pgj_row_value(row, 2);
		batch->granted[i] = pgj_row_value(row, 3);
		batch->no_proof[i] = pgj_row_null(row, 4);
		if (!batch->no_proof[i])
			batch->proof[i] = pgj_row_copy(context, row, 4);
		batch->no_ip[i] = pgj_row_null(row, 5);
		if (!batch->no_ip[i])
			batch->ip[i] = pgj_row_copy(context, row, 5);
		batch->n++;
	}
	MemoryContextSwitchTo(old);
	return batch;
}

/* ---- writing ------------------------------------------------------------ */

/*
 * What is known of each row.  Without locks: the state only moves on, so what is
 * older than it now stays so; the rest is looked at again when it is written.
 */
static void
classify(const Import *import, Batch *batch)
{
	static KeptPlan plan = {
		.sql =
			"SELECT EXISTS (SELECT FROM journey_state.consent_log AS g WHERE g.contact = r.contact "
			"    AND g.channel OPERATOR(pg_catalog.=) $4 AND g.topic OPERATOR(pg_catalog.=) $5 AND g.source OPERATOR(pg_catalog.=) $6 "
			"    AND g.at OPERATOR(pg_catalog.=) r.at AND g.granted OPERATOR(pg_catalog.=) r.granted OFFSET 0), "
			"  r.granted AND EXISTS (SELECT FROM journey_state.consent AS k WHERE k.contact = r.contact "
			"    AND k.channel OPERATOR(pg_catalog.=) $4 AND k.topic OPERATOR(pg_catalog.=) ANY (ARRAY[$5, '*']) "
			"    AND NOT k.granted AND k.at OPERATOR(pg_catalog.>=) r.at OFFSET 0), "
			"  EXISTS (SELECT FROM journey_state.consent AS k WHERE k.contact = r.contact "
			"    AND k.channel OPERATOR(pg_catalog.=) $4 AND k.topic OPERATOR(pg_catalog.=) $5 "
			"    AND CASE WHEN r.granted THEN k.at OPERATOR(pg_catalog.>) r.at "
			"    ELSE COALESCE(k.asked_at, k.at) OPERATOR(pg_catalog.>) r.at AND k.at OPERATOR(pg_catalog.<=) $7 END OFFSET 0) "
			"FROM unnest($1, $2, $3) WITH ORDINALITY AS r (contact, at, granted, n) ORDER BY r.n"
	};
	Params params;

	pgj_params_init(&params, import->site, batch->n);
	pgj_params_filled(&params, import->site->key_type, batch->contact, NULL);
	pgj_params_filled(&params, TIMESTAMPTZOID, batch->at, NULL);
	pgj_params_filled(&params, BOOLOID, batch->granted, NULL);
	pgj_params_scalar(&params, TEXTOID, import->channel);
	pgj_params_scalar(&params, TEXTOID, import->topic);
	pgj_params_scalar(&params, TEXTOID, import->source);
	pgj_params_scalar(&params, TIMESTAMPTZOID,
					  TimestampTzGetDatum(pgj_clock_now()));
	(void) pgj_plan_execute(&plan, &params);
	for (int i = 0; i < batch->n; i++)
	{
		if (DatumGetBool(pgj_row_value(i, 1)))
			batch->outcome[i] = KNOWN;
		else if (DatumGetBool(pgj_row_value(i, 2)))
			batch->outcome[i] = KEPT_WITHDRAWN;
		else if (DatumGetBool(pgj_row_value(i, 3)))
			batch->outcome[i] = OLDER;
		else
			batch->outcome[i] = OUTCOMES;
	}
}

static bool
same_contact(const Site *site, Datum a, Datum b)
{
	return datumIsEqual(a, b, site->key_typbyval, site->key_typlen);
}

/* Of a contact's rows that could be the state, the last one is. */
static void
leave_one_each(const Import *import, Batch *batch)
{
	int last = -1;

	for (int i = 0; i < batch->n; i++)
	{
		if (batch->outcome[i] != OUTCOMES)
			continue;
		if (last >= 0 &&
			same_contact(import->site, batch->contact[last], batch->contact[i]))
			batch->outcome[last] = OLDER;
		last = i;
	}
}

/*
 * The rows of the batch that are to be written into the state, or else those that
 * are to be recorded only.
 */
static ConsentChanges *
select_rows(const Import *import, const Batch *batch, bool state, int *from)
{
	ConsentChanges *changes = pgj_consent_changes(batch->n);
	int n = 0;

	for (int i = 0; i < batch->n; i++)
	{
		if (batch->outcome[i] == KNOWN ||
			(batch->outcome[i] == OUTCOMES) != state)
			continue;
		changes->contact[n] = batch->contact[i];
		changes->channel[n] = import->channel;
		changes->topic[n] = import->topic;
		changes->granted[n] = batch->granted[i];
		changes->at[n] = batch->at[i];
		changes->proof[n] = batch->proof[i];
		changes->no_proof[n] = batch->no_proof[i];
		changes->ip[n] = batch->ip[i];
		changes->no_ip[n] = batch->no_ip[i];
		from[n++] = i;
	}
	changes->n = n;
	changes->source = import->source;
	changes->imported = true;
	return changes;
}

static void
write_batch(Import *import, Batch *batch)
{
	SavedUser saved = pgj_become_owner(import->site);
	ConsentChanges *changes;
	int *from;

	SPI_connect();
	from = palloc_array(int, batch->n);
	classify(import, batch);
	leave_one_each(import, batch);

	changes = select_rows(import, batch, false, from);
	pgj_consent_number(changes);
	pgj_consent_log(import->site, changes, import->set_by);

	changes = select_rows(import, batch, true, from);
	if (changes->n > 0)
		pgj_consent_write(import->site, changes);
	pgj_consent_log(import->site, changes, import->set_by);
	for (int i = 0; i < changes->n; i++)
	{
		bool granted = DatumGetBool(changes->granted[i]);

		if (changes->applied[i])
			batch->outcome[from[i]] = granted ? GRANTED : WITHDRAWN;
		else /* somebody was faster */
			batch->outcome[from[i]] = granted ? KEPT_WITHDRAWN : OLDER;
	}
	for (int i = 0; i < batch->n; i++)
		import->count[batch->outcome[i]]++;
	SPI_finish();
	pgj_become_caller(saved);
}

/*
 * journey.import_consent(source_table regclass, contact name, channel text, topic
 *		text, at name, source text, proof name, ip name, granted name,
 *		imported_at timestamptz) returns (outcome text, entries bigint)
 */
Datum
pgj_sql_import_consent(PG_FUNCTION_ARGS)
{
	static const char *const names[] = { "source_table", "contact", "channel",
										 "topic",		 "at",		"source",
										 NULL,			 NULL,		NULL,
										 "imported_at" };
	const Site *site = pgj_site();
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Import import = { .site = site };
	MemoryContext context;
	const char *statement;
	Portal cursor;
	SavedUser saved;

	pgj_argument_refuse_null(fcinfo, names);
	pgj_refuse_superuser(site);
	pgj_consent_require_finite(PG_GETARG_TIMESTAMPTZ(9));
	InitMaterializedSRF(fcinfo, 0);
	import.channel = PG_GETARG_DATUM(2);
	import.topic = PG_GETARG_DATUM(3);
	import.source = PG_GETARG_DATUM(5);
	import.at = PG_GETARG_TIMESTAMPTZ(9);
	import.set_by = pgj_consent_set_by();
	statement = reading_statement(fcinfo, site);
	context = AllocSetContextCreate(CurrentMemoryContext,
									"pg_journey import of consent",
									ALLOCSET_DEFAULT_SIZES);

	SPI_connect();
	saved = pgj_become_owner(site);
	pgj_require_channel(site, import.channel);
	pgj_require_topic(site, import.topic);
	pgj_become_caller(saved);
	cursor = SPI_cursor_open_with_args(NULL, statement, 0, NULL, NULL, NULL,
									   true, 0);
	for (;;)
	{
		Batch *batch;

		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(cursor, true, BATCH_ROWS);
		if (SPI_processed == 0)
			break;
		batch = take_batch(&import, context);
		SPI_freetuptable(SPI_tuptable);
		if (batch->n > 0)
			write_batch(&import, batch);
		MemoryContextReset(context);
	}
	SPI_cursor_close(cursor);
	SPI_finish();

	for (int i = 0; i < OUTCOMES; i++)
	{
		Datum values[2] = { CStringGetTextDatum(outcome_names[i]),
							Int64GetDatum(import.count[i]) };
		bool nulls[2] = { false };

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
