/*-------------------------------------------------------------------------
 *
 * preview.c
 *	  What a contact would get from a template.
 *
 * The contact's row is read as a claim reads it: by the journey owner, in the
 * box, because row security of the shop may run anything.  There is no event,
 * so whatever a template takes from one stays empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "box.h"
#include "outbox/render.h"
#include "pg_journey.h"
#include "plan.h"

PG_FUNCTION_INFO_V1(pgj_sql_preview);

typedef struct Parts
{
	char *channel;
	char *subject;
	char *body;
	char *html; /* NULL: the template has none */
} Parts;

typedef struct ReadContact
{
	const Site *site;
	Datum key;
	TimestampTz at;
	MemoryContext context;
	Jsonb *data; /* out; NULL: no such contact */
} ReadContact;

static void
check_spi(int result, int expected)
{
	if (result != expected)
		elog(ERROR, "SPI failed: %s", SPI_result_code_string(result));
}

/* The data of a claim: the contact's columns under what we add. */
static void
read_contact(void *arg)
{
	ReadContact *rc = arg;
	char *sql = psprintf(
		"SELECT pg_catalog.to_jsonb(c.*) OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_object("
		"'event', '{\"properties\": {}}'::pg_catalog.jsonb, 'enrollment', '{}'::pg_catalog.jsonb, "
		"'message', '{}'::pg_catalog.jsonb, 'now', $2) "
		"FROM %s AS c WHERE c.%s = $1",
		rc->site->contact_name, rc->site->key_column);
	Oid types[2] = { rc->site->key_type, TIMESTAMPTZOID };
	Datum values[2] = { rc->key, TimestampTzGetDatum(rc->at) };

	check_spi(SPI_connect(), SPI_OK_CONNECT);
	check_spi(SPI_execute_with_args(sql, 2, types, values, NULL, true, 1),
			  SPI_OK_SELECT);
	if (SPI_processed > 0)
	{
		bool isnull;
		Datum d = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
								&isnull);
		MemoryContext old = MemoryContextSwitchTo(rc->context);

		rc->data = DatumGetJsonbPCopy(d);
		MemoryContextSwitchTo(old);
	}
	check_spi(SPI_finish(), SPI_OK_FINISH);
}

static char *
column_text(MemoryContext context, uint64 row, int column)
{
	char *s =
		SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);

	return s ? MemoryContextStrdup(context, s) : NULL;
}

/* The template of each channel; how many there are. */
static int
read_templates(const char *name, Parts **parts)
{
	MemoryContext context = CurrentMemoryContext;
	Oid type = TEXTOID;
	Datum value = CStringGetTextDatum(name);
	int n;

	check_spi(SPI_connect(), SPI_OK_CONNECT);
	check_spi(
		SPI_execute_with_args(
			"SELECT channel, subject, body, html FROM journey.template"
			" WHERE name OPERATOR(pg_catalog.=) $1 ORDER BY channel COLLATE pg_catalog.\"C\"",
			1, &type, &value, NULL, true, 0),
		SPI_OK_SELECT);
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("template \"%s\" does not exist", name));
	n = (int) SPI_processed;
	*parts = MemoryContextAlloc(context, n * sizeof(Parts));
	for (int i = 0; i < n; i++)
	{
		(*parts)[i].channel = column_text(context, i, 1);
		(*parts)[i].subject = column_text(context, i, 2);
		(*parts)[i].body = column_text(context, i, 3);
		(*parts)[i].html = column_text(context, i, 4);
	}
	check_spi(SPI_finish(), SPI_OK_FINISH);
	return n;
}

/* The key as text, whatever type it came in: an integer for a bigint will do. */
static char *
argument_text(FunctionCallInfo fcinfo, int n)
{
	Oid output;
	bool varlena;

	getTypeOutputInfo(get_fn_expr_argtype(fcinfo->flinfo, n), &output,
					  &varlena);
	return OidOutputFunctionCall(output, PG_GETARG_DATUM(n));
}

static Jsonb *
contact_data(const Site *site, const char *key, TimestampTz at)
{
	ReadContact rc = { site, pgj_key_from_text(site, key), at,
					   CurrentMemoryContext, NULL };
	ErrorData *error = pgj_box_run(site, 0, 0, read_contact, &rc);

	if (error != NULL)
		ReThrowError(error);
	if (rc.data == NULL)
		ereport(ERROR, errcode(ERRCODE_NO_DATA_FOUND),
				errmsg("contact \"%s\" does not exist", key));
	return rc.data;
}

/* journey.preview(template text, contact anyelement, at timestamptz) */
Datum
pgj_sql_preview(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const Site *site = pgj_site();
	SavedUser saved;
	Parts *templates;
	int n;
	Jsonb *data;

	pgj_require_member(site);
	InitMaterializedSRF(fcinfo, 0);

	/* an error on the way restores the user with its (sub)transaction */
	saved = pgj_become_owner(site);
	n = read_templates(text_to_cstring(PG_GETARG_TEXT_PP(0)), &templates);
	data =
		contact_data(site, argument_text(fcinfo, 1), PG_GETARG_TIMESTAMPTZ(2));
	pgj_become_caller(saved);

	for (int i = 0; i < n; i++)
	{
		Parts *t = &templates[i];
		Datum values[4];
		bool nulls[4];

		CHECK_FOR_INTERRUPTS();
		values[0] = pgj_text_or_null(t->channel, &nulls[0]);
		values[1] = pgj_text_or_null(
			pgj_template_render(t->subject, data, RENDER_HEADER), &nulls[1]);
		values[2] = pgj_text_or_null(
			pgj_template_render(t->body, data, RENDER_TEXT), &nulls[2]);
		values[3] = pgj_text_or_null(
			t->html ? pgj_template_render(t->html, data, RENDER_HTML) : NULL,
			&nulls[3]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
