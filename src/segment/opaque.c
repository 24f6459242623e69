/*-------------------------------------------------------------------------
 *
 * opaque.c
 *	  What a predicate reads without our learning when it changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "pg_journey.h"
#include "segment/trace.h"

/* -------- functions -------- */

/*
 * PostgreSQL's own stable functions are stable for one of two reasons: they
 * depend on settings, which the segment fixes, or they read something.  These
 * read something: "" at the end of a name means that it begins so.
 */
static bool
reads_the_server(const char *name)
{
	static const char *const begin[] = { "pg_",	  "has_",  "to_reg",
										 "txid_", "inet_", "ts_debug" };
	static const char *const whole[] = {
		"current_setting",
		"age", /* of a transaction: the others are not stable, or replaced */
		"mxid_age",
		"obj_description",
		"col_description",
		"shobj_description",
		"row_security_active",
		"regclassin",
		"regclassout",
		"regprocout",
		"regprocedureout",
		"regtypeout",
		"regroleout",
		"regnamespaceout",
		"regclass",
		"format_type",
		"table_to_xml",
		"schema_to_xml",
		"database_to_xml",
		"table_to_xmlschema",
		"schema_to_xmlschema",
		"database_to_xmlschema",
		"table_to_xml_and_xmlschema",
		"schema_to_xml_and_xmlschema",
		"database_to_xml_and_xmlschema",
		"version"
	};

	if (strcmp(name, "pg_typeof") == 0 ||
		strcmp(name, "pg_collation_for") == 0 ||
		strcmp(name, "pg_client_encoding") == 0)
		return false;
	for (int i = 0; i < lengthof(begin); i++)
	{
		if (strncmp(name, begin[i], strlen(begin[i])) == 0)
			return true;
	}
	for (int i = 0; i < lengthof(whole); i++)
	{
		if (strcmp(name, whole[i]) == 0)
			return true;
	}
	return false;
}

static bool
is_opaque_function(Oid function, void *arg)
{
	const char **why = arg;

	if (func_volatile(function) == PROVOLATILE_IMMUTABLE)
		return false;
	if (get_func_namespace(function) != PG_CATALOG_NAMESPACE)
		*why = "the function may read tables and the clock";
	else if (reads_the_server(get_func_name(function)))
		*why = "the function reads the state of the server";
	return *why != NULL;
}

static bool
function_walker(Node *node, Predicate *predicate)
{
	const char *why = NULL;

	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_opaque_function, &why))
		pgj_predicate_opaque(predicate, node, why);
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, function_walker, predicate, 0);
	return expression_tree_walker(node, function_walker, predicate);
}

void
pgj_trace_functions(Predicate *predicate)
{
	(void) function_walker((Node *) predicate->query, predicate);
}

/* -------- tables -------- */

/* Tables of the engine that it writes without triggers, or all the time. */
static bool
belongs_to_engine(Oid relation)
{
	static const char *const tables[] = {
		"message",		"verdict",		  "transition",	  "timer",
		"outbox",		"receipt",		  "refusal",	  "held",
		"progress",		"slice",		  "mark",		  "event_key",
		"segment_scan", "segment_change", "capture_error"
	};
	const char *name = get_rel_name(relation);

	if (get_rel_namespace(relation) !=
		get_namespace_oid(PGJ_STATE_SCHEMA, true))
		return false;
	for (int i = 0; i < lengthof(tables); i++)
	{
		if (strcmp(name, tables[i]) == 0)
			return true;
	}
	return false;
}

static const char *
why_not_watched(Oid relation, char relkind)
{
	switch (relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			return "the tables behind this view cannot be followed";
		case RELKIND_MATVIEW:
			return "a materialized view does not tell when it changes";
		case RELKIND_FOREIGN_TABLE:
			return "a foreign table does not tell when it changes";
		default:
			return "it does not tell when it changes";
	}
	if (IsCatalogRelationOid(relation) || relation < FirstNormalObjectId)
		return "a system catalog does not tell when it changes";
	if (belongs_to_engine(relation))
		return "the engine writes this table without telling segments";
	if (get_rel_namespace(relation) == get_namespace_oid(PGJ_SCHEMA, true))
		return "changes of definitions are not followed";
	return NULL;
}

/*
 * Can triggers tell us of changes of this table?  If not, it becomes an opaque
 * part.  Policies of row-level security may read anything, so they are one, too.
 */
bool
pgj_trace_can_watch(Predicate *predicate, RangeTblEntry *rte)
{
	Oid owner = predicate->site->owner;
	const char *why = why_not_watched(rte->relid, get_rel_relkind(rte->relid));

	if (why)
		pgj_predicate_opaque(predicate, (Node *) rte, why);
	else if (check_enable_rls(rte->relid, owner, true) == RLS_ENABLED)
		pgj_predicate_opaque(
			predicate, (Node *) rte,
			"which rows are seen depends on its row-level security policies");
	return why == NULL;
}
