/*-------------------------------------------------------------------------
 *
 * compile.c
 *	  From the expressions of a capture to one set-based statement.
 *
 * Each expression is parsed by itself first and must be exactly one target, so
 * that none can reach out of the parentheses it is put into.  It is followed by
 * a line break there: it may end in a comment.
 *
 * The statement answers for every row in a way that can be told which row it
 * was: a plain scan of the transition table keeps its order; with a condition,
 * OFFSET 0 keeps the planner from turning the row-by-row subquery into a join
 * that reorders; an update, which pairs old and new rows by their position,
 * says the position.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

#include "capture/capture.h"
#include "pg_journey.h"

static void
refuse(const char *what, const char *detail)
{
	ereport(ERROR, errcode(ERRCODE_SYNTAX_ERROR),
			errmsg("%s of a capture must be one SQL expression", what),
			errdetail("%s", detail));
}

/* The parsed expression; throws unless source is one and nothing else. */
static Node *
parse_expression(const char *source, const char *what)
{
	List *list = raw_parser(source, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select;
	ResTarget *target;

	if (list_length(list) != 1 ||
		!IsA(linitial_node(RawStmt, list)->stmt, SelectStmt))
		refuse(what, "It is not a single expression.");
	select = (SelectStmt *) linitial_node(RawStmt, list)->stmt;
	if (select->op != SETOP_NONE)
		refuse(
			what,
			"UNION, INTERSECT and EXCEPT need parentheses around a whole subquery.");
	if (list_length(select->targetList) != 1)
		refuse(what, "It yields more or less than one value.");
	if (select->distinctClause || select->intoClause || select->fromClause ||
		select->whereClause || select->groupClause || select->havingClause ||
		select->windowClause || select->valuesLists || select->sortClause ||
		select->limitOffset || select->limitCount || select->lockingClause ||
		select->withClause)
		refuse(
			what,
			"A clause such as FROM, WHERE or ORDER BY needs parentheses around a whole subquery.");
	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL || target->indirection != NIL)
		refuse(what, "It must not have an alias.");
	if (IsA(target->val, ColumnRef) &&
		IsA(llast(((ColumnRef *) target->val)->fields), A_Star))
		refuse(what, "A star stands for several columns.");
	return target->val;
}

void
pgj_capture_check_expression(const char *source, const char *what)
{
	(void) parse_expression(source, what);
}

static int
find_column(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped &&
			strcmp(NameStr(TupleDescAttr(desc, i)->attname), name) == 0)
			return i;
	return -1;
}

/*
 * contact and at may be given as the plain name of a column, which even is
 * taken when it would mean something else as SQL ("user", "order").
 */
static char *
expression_or_column(TupleDesc desc, const char *source, const char *what)
{
	if (find_column(desc, source) >= 0)
		return psprintf("new.%s", quote_identifier(source));
	(void) parse_expression(source, what);
	return psprintf("(%s\n)", source);
}

/* A column whose type needs no conversion through text to become the key. */
static bool
is_key_column(const Site *site, TupleDesc desc, const char *source)
{
	int column = find_column(desc, source);
	Oid type = column < 0 ? InvalidOid : TupleDescAttr(desc, column)->atttypid;

	switch (site->key_type)
	{
		case INT8OID:
			return type == INT8OID || type == INT4OID || type == INT2OID;
		case TEXTOID:
			return type == TEXTOID || type == VARCHAROID;
		default:
			return type == site->key_type;
	}
}

static char *
contact_target(const Site *site, const CaptureDefinition *definition,
			   TupleDesc desc)
{
	char *expression =
		expression_or_column(desc, definition->contact, "contact");

	if (is_key_column(site, desc, definition->contact))
		return psprintf("CAST(%s AS %s)", expression, site->key_type_name);
	return psprintf("CAST(CAST(%s AS pg_catalog.text) AS %s)", expression,
					site->key_type_name);
}

/*
 * Without an expression the time is the statement's, which the caller knows also
 * when a row is tried again later; the same for now(), which would not.
 */
static char *
at_target(const CaptureDefinition *definition, TupleDesc desc)
{
	if (definition->at == NULL || strcmp(definition->at, "now()") == 0)
		return "NULL::pg_catalog.timestamptz";
	return psprintf("CAST(%s AS pg_catalog.timestamptz)",
					expression_or_column(desc, definition->at, "at"));
}

static char *
properties_target(const CaptureDefinition *definition)
{
	(void) parse_expression(definition->properties, "properties");
	return psprintf("CAST((%s\n) AS pg_catalog.jsonb)", definition->properties);
}

static char *
condition_clause(const CaptureDefinition *definition)
{
	if (definition->condition == NULL)
		return "";
	(void) parse_expression(definition->condition, "condition");
	return psprintf(" WHERE (%s\n)", definition->condition);
}

static bool
mentions_old(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, ColumnRef))
	{
		Node *first = linitial(((ColumnRef *) node)->fields);

		return IsA(first, String) && strcmp(strVal(first), "old") == 0;
	}
	return raw_expression_tree_walker(node, mentions_old, context);
}

static bool
uses_old(const CaptureDefinition *definition, TupleDesc desc)
{
	const char *sources[] = { definition->contact, definition->at,
							  definition->properties, definition->condition };

	for (int i = 0; i < lengthof(sources); i++)
	{
		if (sources[i] == NULL || (i < 2 && find_column(desc, sources[i]) >= 0))
			continue;
		if (mentions_old(parse_expression(sources[i], "expression"), NULL))
			return true;
	}
	return false;
}

/* Rows of a transition table with their position, columns renamed c1, c2, … */
static char *
numbered_rows(TupleDesc desc, const char *table)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf,
						   "(SELECT pg_catalog.row_number() OVER () AS n");
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			appendStringInfo(
				&buf, ", t.%s AS c%d",
				quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)),
				i + 1);
	appendStringInfo(&buf, " FROM %s AS t)", table);
	return buf.data;
}

/* The columns c1, c2, … under their own names again. */
static char *
named_row(TupleDesc desc, const char *table, const char *alias)
{
	StringInfoData buf;
	const char *separator = "";

	initStringInfo(&buf);
	appendStringInfoString(&buf, " CROSS JOIN LATERAL (SELECT ");
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
		{
			appendStringInfo(
				&buf, "%s%s.c%d AS %s", separator, table, i + 1,
				quote_identifier(NameStr(TupleDescAttr(desc, i)->attname)));
			separator = ", ";
		}
	appendStringInfo(&buf, ") AS %s", alias);
	return buf.data;
}

char *
pgj_capture_compile(const Site *site, const CaptureDefinition *definition,
					TupleDesc desc, bool update)
{
	char *targets =
		psprintf("%s, %s, %s, true", contact_target(site, definition, desc),
				 at_target(definition, desc), properties_target(definition));
	const char *number = "NULL::pg_catalog.int8";
	const char *from = CAPTURE_NEW " AS new";

	if (update && uses_old(definition, desc))
	{
		number = "pgj_a.n";
		from = psprintf(
			"%s AS pgj_a JOIN %s AS pgj_b ON pgj_a.n OPERATOR(pg_catalog.=) pgj_b.n%s%s",
			numbered_rows(desc, CAPTURE_NEW), numbered_rows(desc, CAPTURE_OLD),
			named_row(desc, "pgj_a", "new"), named_row(desc, "pgj_b", "old"));
	}
	else if (definition->condition == NULL)
		return psprintf("SELECT NULL::pg_catalog.int8, %s FROM %s", targets,
						from);

	return psprintf(
		"SELECT %s, pgj_s.* FROM %s LEFT JOIN LATERAL"
		" (SELECT %s%s OFFSET 0) AS pgj_s (contact, at, properties, hit) ON true",
		number, from, targets, condition_clause(definition));
}

char *
pgj_capture_probe(const Site *site, const CaptureDefinition *definition,
				  TupleDesc desc, bool update)
{
	if (definition->condition != NULL)
		(void) parse_expression(definition->condition, "condition");
	return psprintf("SELECT %s, %s, %s, (%s\n) IS TRUE FROM " CAPTURE_NEW
					" AS new%s",
					contact_target(site, definition, desc),
					at_target(definition, desc), properties_target(definition),
					definition->condition ? definition->condition : "true",
					update ? ", " CAPTURE_OLD " AS old" : "");
}
