/*-------------------------------------------------------------------------
 *
 * explain_member.c
 *	  Why a contact is in a segment, or is not.
 *
 * The predicate, as its stored statement has it, is split at its AND, OR and NOT.
 * The parts become columns of one query over the contact's row:
 *
 *	 SELECT q.* FROM (SELECT key, <part> AS p1, <left side>::text AS l1, … FROM
 *	 <contact table> c) AS q WHERE q.key = $2		-- now() is $1
 *
 * which runs in the box like the predicate itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/ruleutils.h"
#include "utils/timestamp.h"

#include "box.h"
#include "guc.h"
#include "pg_journey.h"
#include "script/expression.h"
#include "segment/compile.h"
#include "segment/predicate.h"
#include "segment/read.h"

PG_FUNCTION_INFO_V1(pgj_sql_explain_member);

/* A part of the predicate, and what came out of it. */
typedef struct MemberPart
{
	int depth;
	Node *node;
	Node *left;	 /* what its value is, or NULL */
	Node *right; /* what that is compared with, or NULL */
	const char *op;

	char *source;
	char *value;
	bool known; /* holds is not null */
	bool holds;
} MemberPart;

typedef struct MemberContext
{
	const Site *site;
	const NamedSegment *segment;
	Datum contact;
	TimestampTz at;

	/* out */
	List *parts; /* of MemberPart */
	bool found;	 /* the contact exists */
	bool member_now;
	bool member;
	bool has_membership;
	Datum since;
	bool has_check;
	Datum check_at;
} MemberContext;

NamedSegment *
pgj_segment_named(const char *name)
{
	Oid types[1] = { TEXTOID };
	Datum values[1] = { CStringGetTextDatum(name) };
	NamedSegment *segment;
	HeapTuple row;
	TupleDesc desc;
	bool isnull;

	if (SPI_execute_with_args(
			"SELECT s.segment_id, s.name, s.predicate, s.timezone, s.status FROM journey.segment AS s"
			" WHERE s.name OPERATOR(pg_catalog.=) $1",
			1, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read the segments");
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("segment \"%s\" does not exist", name));

	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	segment = palloc0_object(NamedSegment);
	segment->segment_id = DatumGetInt32(SPI_getbinval(row, desc, 1, &isnull));
	segment->name = SPI_getvalue(row, desc, 2);
	segment->predicate = SPI_getvalue(row, desc, 3);
	segment->timezone = SPI_getvalue(row, desc, 4);
	segment->status = SPI_getvalue(row, desc, 5);
	return segment;
}

void
pgj_segment_set_timezone(const char *timezone)
{
	(void) set_config_option("timezone", timezone, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

void
pgj_segment_ask(const NamedSegment *segment, const Site *site, BoxBody body,
				void *arg)
{
	BoxLimit limit = { .timeout = pgj_segment_timeout,
					   .setting = "pg_journey.segment_timeout",
					   .what = "predicate" };
	ErrorData *error = pgj_box_run_within(site, 0, 0, &limit, body, arg);

	if (error)
		pgj_segment_throw(error, segment->predicate);
}

/* -------- the parts -------- */

/* What of a part is worth showing. */
static void
find_value(Node *node, MemberPart *part)
{
	List *args = NIL;

	if (IsA(node, BoolExpr)) /* NOT */
		find_value(linitial(((BoolExpr *) node)->args), part);
	else if (IsA(node, OpExpr))
	{
		args = ((OpExpr *) node)->args;
		part->op = get_opname(((OpExpr *) node)->opno);
	}
	else if (IsA(node, DistinctExpr))
	{
		args = ((DistinctExpr *) node)->args;
		part->op = "is distinct from";
	}
	else if (IsA(node, ScalarArrayOpExpr))
	{
		ScalarArrayOpExpr *expr = (ScalarArrayOpExpr *) node;

		args = expr->args;
		part->op = psprintf("%s %s", get_opname(expr->opno),
							expr->useOr ? "any" : "all");
	}
	else if (IsA(node, NullTest))
		part->left = (Node *) ((NullTest *) node)->arg;
	else if (IsA(node, BooleanTest))
		part->left = (Node *) ((BooleanTest *) node)->arg;

	if (list_length(args) == 2)
	{
		part->left = linitial(args);
		part->right = lsecond(args);
	}
}

static bool
has_parts(Node *node)
{
	BoolExpr *expr = (BoolExpr *) node;

	return IsA(node, BoolExpr) &&
		   (expr->boolop != NOT_EXPR || IsA(linitial(expr->args), BoolExpr));
}

static void
collect_parts(Node *node, int depth, List **parts)
{
	MemberPart *part;
	ListCell *lc;

	/* the predicate as a whole is not a part of itself */
	if (depth > 0 || !has_parts(node))
	{
		part = palloc0_object(MemberPart);
		part->depth = Max(depth - 1, 0);
		part->node = node;
		if (!has_parts(node))
			find_value(node, part);
		*parts = lappend(*parts, part);
	}
	if (has_parts(node))
		foreach (lc, ((BoolExpr *) node)->args)
			collect_parts(lfirst(lc), depth + 1, parts);
}

/* In words what holds its parts together, or the part itself. */
static char *
describe_part(const Predicate *predicate, Node *node)
{
	char *text;
	int depth = 0;
	char quote = 0;

	if (has_parts(node))
		switch (((BoolExpr *) node)->boolop)
		{
			case AND_EXPR:
				return pstrdup("all of");
			case OR_EXPR:
				return pstrdup("any of");
			default:
				return pstrdup("not");
		}

	/* without the parentheses around all of it */
	text = pgj_predicate_deparse(predicate, node);
	if (text[0] != '(' || IsA(node, SubLink))
		return text;
	for (char *s = text; *s; s++)
	{
		if (quote)
			quote = *s == quote ? 0 : quote;
		else if (*s == '\'' || *s == '"')
			quote = *s;
		else if (*s == '(')
			depth++;
		else if (*s == ')' && --depth == 0)
		{
			if (s[1] != '\0')
				return text;
			*s = '\0';
			return text + 1;
		}
	}
	return text;
}

/* -------- the query -------- */

static Expr *
as_text(Node *node)
{
	CoerceViaIO *cast;

	if (node == NULL)
		return (Expr *) makeNullConst(TEXTOID, -1, InvalidOid);
	cast = makeNode(CoerceViaIO);
	cast->arg = (Expr *) copyObject(node);
	cast->resulttype = TEXTOID;
	cast->resultcollid = DEFAULT_COLLATION_OID;
	cast->coerceformat = COERCE_EXPLICIT_CAST;
	cast->location = -1;
	return (Expr *) cast;
}

static void
add_column(Query *query, Expr *expr, const char *name)
{
	int number = list_length(query->targetList) + 1;

	query->targetList = lappend(
		query->targetList,
		makeTargetEntry(expr, number, psprintf("%s%d", name, number), false));
}

/* key, predicate, then three columns for each part */
static char *
parts_statement(const Predicate *predicate, List *parts)
{
	Query *query = copyObject(predicate->query);
	ListCell *lc;

	linitial_node(TargetEntry, query->targetList)->resname = pstrdup("contact");
	lsecond_node(TargetEntry, query->targetList)->resname = pstrdup("member");
	foreach (lc, parts)
	{
		MemberPart *part = lfirst(lc);

		add_column(query, (Expr *) copyObject(part->node), "p");
		add_column(query, as_text(part->left), "l");
		add_column(query, as_text(part->right), "r");
	}
	return psprintf(
		"SELECT q.* FROM (%s) AS q WHERE q.contact OPERATOR(pg_catalog.=) $2",
		pg_get_querydef(query, false));
}

static char *
describe_value(HeapTuple row, TupleDesc desc, int column,
			   const MemberPart *part)
{
	char *left = SPI_getvalue(row, desc, column);
	char *right = SPI_getvalue(row, desc, column + 1);

	if (part->left == NULL)
		return NULL;
	if (left == NULL)
		left = pstrdup("null");
	if (part->right == NULL)
		return left;
	return psprintf("%s (%s %s)", left, part->op, right ? right : "null");
}

static void
read_parts(MemberContext *context, const Predicate *predicate)
{
	Oid types[2] = { TIMESTAMPTZOID, context->site->key_type };
	Datum values[2] = { TimestampTzGetDatum(context->at), context->contact };
	HeapTuple row;
	TupleDesc desc;
	ListCell *lc;
	bool isnull;
	int column = 3;

	if (SPI_execute_with_args(parts_statement(predicate, context->parts), 2,
							  types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not evaluate the parts of a predicate");
	context->found = SPI_processed > 0;
	if (!context->found)
		return;

	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	context->member_now =
		DatumGetBool(SPI_getbinval(row, desc, 2, &isnull)) && !isnull;
	foreach (lc, context->parts)
	{
		MemberPart *part = lfirst(lc);

		part->holds = DatumGetBool(SPI_getbinval(row, desc, column, &isnull));
		part->known = !isnull;
		part->value = describe_value(row, desc, column + 1, part);
		column += 3;
	}
}

static void
read_membership(MemberContext *context)
{
	Oid types[2] = { INT4OID, context->site->key_type };
	Datum values[2] = { Int32GetDatum(context->segment->segment_id),
						context->contact };
	HeapTuple row;
	TupleDesc desc;
	bool isnull;

	if (SPI_execute_with_args(
			"SELECT m.member, m.since, m.check_at FROM journey_state.membership AS m"
			" WHERE m.segment_id OPERATOR(pg_catalog.=) $1 AND m.contact OPERATOR(pg_catalog.=) $2",
			2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read a membership");
	context->has_membership = SPI_processed > 0;
	if (!context->has_membership)
		return;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	context->member = DatumGetBool(SPI_getbinval(row, desc, 1, &isnull));
	context->since = SPI_getbinval(row, desc, 2, &isnull);
	context->check_at = SPI_getbinval(row, desc, 3, &isnull);
	context->has_check = !isnull;
}

/*
 * What SPI allocates is gone with it; what is to stay is copied after.
 */
static void
explain_in_box(void *arg)
{
	MemberContext *context = arg;
	MemoryContext stays = CurrentMemoryContext;
	Predicate predicate = { 0 };
	ListCell *lc;

	pgj_segment_set_timezone(context->segment->timezone);
	pgj_expression_output_format();
	predicate.site = context->site;
	predicate.source = context->segment->predicate;
	predicate.query =
		pgj_segment_stored_query(context->site, context->segment->segment_id);
	collect_parts((Node *) predicate_condition(&predicate), 0, &context->parts);

	SPI_connect();
	read_parts(context, &predicate);
	foreach (lc, context->parts)
	{
		MemberPart *part = lfirst(lc);

		part->source =
			MemoryContextStrdup(stays, describe_part(&predicate, part->node));
		if (part->value)
			part->value = MemoryContextStrdup(stays, part->value);
	}
	read_membership(context);
	SPI_finish();
}

/* -------- the rows -------- */

static void
put_row(ReturnSetInfo *result, const char *part, const char *value, bool known,
		bool holds)
{
	Datum values[3] = { CStringGetTextDatum(part), (Datum) 0,
						BoolGetDatum(holds) };
	bool nulls[3] = { false, value == NULL, !known };

	if (value)
		values[1] = CStringGetTextDatum(value);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

static char *
time_text(Datum at)
{
	return DatumGetCString(DirectFunctionCall1(timestamptz_out, at));
}

static void
put_membership(ReturnSetInfo *result, const MemberContext *context)
{
	StringInfoData value;

	if (!context->found)
	{
		put_row(result, "contact", "does not exist", true, false);
		return;
	}
	initStringInfo(&value);
	if (context->has_membership)
		appendStringInfo(&value, "since %s", time_text(context->since));
	else
		appendStringInfoString(&value, "only a change can make it one");
	if (context->has_check)
		appendStringInfo(&value, ", next check %s",
						 time_text(context->check_at));
	if (context->member != context->member_now)
		appendStringInfo(&value, "; the predicate is %s: not ticked yet",
						 context->member_now ? "true" : "false");
	if (strcmp(context->segment->status, "current") != 0)
		appendStringInfo(&value, "; the segment is %s",
						 context->segment->status);
	put_row(result, "member", value.data, true, context->member);
}

/* journey.explain_member(contact anyelement, segment text, at timestamptz) */
Datum
pgj_sql_explain_member(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	MemberContext context = { 0 };
	ListCell *lc;

	InitMaterializedSRF(fcinfo, 0);
	context.site = pgj_site();
	pgj_require_member(context.site);
	context.site = pgj_lock_contacts(context.site);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("contact, segment and at must not be null"));
	context.contact = pgj_contact_argument(fcinfo, context.site);
	context.at = PG_GETARG_TIMESTAMPTZ(2);

	SPI_connect();
	context.segment = pgj_segment_named(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	pgj_segment_ask(context.segment, context.site, explain_in_box, &context);

	foreach (lc, context.found ? context.parts : NIL)
	{
		MemberPart *part = lfirst(lc);

		put_row(result, psprintf("%*s%s", part->depth * 2, "", part->source),
				part->value, part->known, part->holds);
	}
	put_membership(result, &context);
	SPI_finish();
	return (Datum) 0;
}
