/*-------------------------------------------------------------------------
 *
 * way.c
 *	  The way from a changed row to contacts, by the conditions that hold.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "append.h"
#include "segment/correlate.h"

/* The side of an equality that is over a place. */
static Node *
side_over(const Fact *fact, int place)
{
	List *args = IsA(fact->condition, OpExpr)
					 ? ((OpExpr *) fact->condition)->args
					 : castNode(ScalarArrayOpExpr, fact->condition)->args;

	return fact->left == place ? linitial(args) : lsecond(args);
}

static bool
links(const Fact *fact, int one, int other)
{
	return fact->holds && fact->left != 0 &&
		   ((fact->left == one && fact->right == other) ||
			(fact->left == other && fact->right == one));
}

/* Does it compare nothing of the contact but the key? */
static bool
is_contact_key(const Correlation *correlation, const Fact *fact)
{
	ListCell *lc;

	foreach (lc, pull_var_clause(side_over(fact, PREDICATE_CONTACT), 0))
	{
		if (lfirst_node(Var, lc)->varattno != correlation->trace->key)
			return false;
	}
	return true;
}

/* Is there a step?  To the contact only by its key, if that is asked for. */
static bool
has_step(const Correlation *correlation, int from, int to, bool by_key)
{
	ListCell *lc;

	foreach (lc, correlation->facts)
	{
		Fact *fact = lfirst(lc);

		if (links(fact, from, to) && (!by_key || to != PREDICATE_CONTACT ||
									  is_contact_key(correlation, fact)))
			return true;
	}
	return false;
}

/* The shortest way from the start to the contact, places in order; or NIL. */
static List *
shortest_way(const Correlation *correlation, bool by_key)
{
	const Trace *trace = correlation->trace;
	int *before = palloc0_array(int, trace->nplaces + 1);
	List *queue = list_make1_int(correlation->start);
	List *way = NIL;
	int place;

	before[correlation->start] = -1;
	for (int i = 0; i < list_length(queue) && before[PREDICATE_CONTACT] == 0;
		 i++)
	{
		int from = list_nth_int(queue, i);

		for (int to = 1; to <= trace->nplaces; to++)
		{
			if (before[to] != 0 ||
				trace_place(trace, to)->rte->rtekind != RTE_RELATION ||
				!has_step(correlation, from, to, by_key))
				continue;
			before[to] = from;
			queue = lappend_int(queue, to);
		}
	}
	if (before[PREDICATE_CONTACT] == 0)
		return NIL;
	for (place = PREDICATE_CONTACT; place > 0; place = before[place])
		way = lcons_int(place, way);
	return way;
}

/* All that must hold between each two places of the way. */
static List *
conditions_of(const Correlation *correlation, List *way, bool *null_is_all)
{
	List *result = NIL;

	*null_is_all = false;
	for (int i = 0; i + 1 < list_length(way); i++)
	{
		List *sure = NIL;
		List *unless_null = NIL;
		ListCell *lc;

		foreach (lc, correlation->facts)
		{
			Fact *fact = lfirst(lc);

			if (!links(fact, list_nth_int(way, i), list_nth_int(way, i + 1)))
				continue;
			if (fact->null_is_all)
				unless_null = lappend(unless_null, fact->condition);
			else
				sure = list_append_unique(sure, fact->condition);
		}
		if (sure == NIL)
		{
			sure = unless_null;
			*null_is_all = true;
		}
		result = list_concat(result, sure);
	}
	return result;
}

/* The columns of the start that conditions compare. */
static List *
key_of(const Correlation *correlation, List *conditions)
{
	List *key = NIL;
	ListCell *lc;

	foreach (lc, pull_var_clause((Node *) conditions, 0))
	{
		Var *var = lfirst_node(Var, lc);

		if (var->varno == correlation->start)
			key = list_append_unique_int(key, var->varattno);
	}
	return key;
}

/* -------- the contact's key itself -------- */

static bool
is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static bool
is_plain_text(Oid type, Oid collation)
{
	return (type == TEXTOID || type == VARCHAROID) &&
		   (!OidIsValid(collation) || get_collation_isdeterministic(collation));
}

/* Are equal values the same when they are written out? */
static bool
same_written_out(const Var *one, const Var *other)
{
	Oid type = getBaseType(one->vartype);
	Oid other_type = getBaseType(other->vartype);

	if (is_integer(type) && is_integer(other_type))
		return true;
	if (is_plain_text(type, one->varcollid) &&
		is_plain_text(other_type, other->varcollid))
		return true;
	return type == other_type &&
		   (type == UUIDOID || type == OIDOID || type_is_enum(type));
}

/* The two columns an equality compares, as they are; false if there are not two. */
static bool
columns_of_fact(const Fact *fact, Var **left, Var **right)
{
	OpExpr *op = (OpExpr *) fact->condition;

	if (!fact->holds || fact->left == 0 || !IsA(op, OpExpr) ||
		op->opno >= FirstNormalObjectId)
		return false;
	*left = (Var *) pgj_strip_relabel(linitial(op->args));
	*right = (Var *) pgj_strip_relabel(lsecond(op->args));
	return IsA(*left, Var) && IsA(*right, Var) &&
		   same_written_out(*left, *right);
}

static bool
has_column(const List *columns, const Var *column)
{
	ListCell *lc;

	foreach (lc, columns)
	{
		Var *var = lfirst_node(Var, lc);

		if (var->varno == column->varno && var->varattno == column->varattno)
			return true;
	}
	return false;
}

/*
 * A column of the start that is the contact's key: x = c.key, or x = y and
 * y = c.key.  (The operators are those of types whose equal values are written
 * out the same, and PostgreSQL's own, so equality carries over.)  Best without a null that concerns
 * everybody.
 */
static Var *
direct_column(const Correlation *correlation, bool null_is_all)
{
	List *equal = list_make1(makeVar(PREDICATE_CONTACT, correlation->trace->key,
									 InvalidOid, -1, InvalidOid, 0));
	bool added = true;

	while (added)
	{
		ListCell *lc;

		added = false;
		foreach (lc, correlation->facts)
		{
			Fact *fact = lfirst(lc);
			Var *left;
			Var *right;

			if (fact->null_is_all && !null_is_all)
				continue;
			if (!columns_of_fact(fact, &left, &right) ||
				has_column(equal, left) == has_column(equal, right))
				continue;
			if (has_column(equal, left))
				left = right;
			if (left->varno == correlation->start)
				return left;
			equal = lappend(equal, left);
			added = true;
		}
	}
	return NULL;
}

void
pgj_find_way(Correlation *correlation, Watch *watch)
{
	Var *own = direct_column(correlation, false);
	List *way;
	List *conditions;

	watch->kind = WATCH_ALL;
	if (own == NULL)
	{
		own = direct_column(correlation, true);
		watch->null_is_all = own != NULL;
	}
	if (own)
	{
		watch->kind = WATCH_CONTACT;
		watch->key = list_make1_int(own->varattno);
		return;
	}
	way = shortest_way(correlation, true);
	if (way == NIL)
		way = shortest_way(correlation, false);
	if (way == NIL)
		return;
	watch->kind = WATCH_LINK;
	conditions = conditions_of(correlation, way, &watch->null_is_all);
	watch->key = key_of(correlation, conditions);
	watch->find =
		pgj_trace_find(correlation->trace, way, conditions, watch->key);
}

/* -------- names of events -------- */

static List *
text_constants(Node *node)
{
	Const *constant = (Const *) pgj_strip_relabel(node);
	List *result = NIL;
	Datum *values;
	bool *nulls;
	int n;

	if (!IsA(constant, Const) || constant->constisnull)
		return NIL;
	if (constant->consttype == TEXTOID)
		return list_make1(TextDatumGetCString(constant->constvalue));
	if (constant->consttype != TEXTARRAYOID)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(constant->constvalue), TEXTOID, -1,
					  false, TYPALIGN_INT, &values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			result = lappend(result, TextDatumGetCString(values[i]));
	}
	return result;
}

/* name = 'a', name IN ('a', 'b'), or several of them with OR */
static List *
names_demanded(const Correlation *correlation, Node *node, AttrNumber name)
{
	List *args = NIL;
	List *result = NIL;
	ListCell *lc;
	Node *column;

	if (is_orclause(node))
	{
		foreach (lc, ((BoolExpr *) node)->args)
		{
			List *names = names_demanded(correlation, lfirst(lc), name);

			if (names == NIL)
				return NIL;
			result = list_concat(result, names);
		}
		return result;
	}
	if (IsA(node, OpExpr) && ((OpExpr *) node)->opno == TextEqualOperator)
		args = ((OpExpr *) node)->args;
	else if (IsA(node, ScalarArrayOpExpr) &&
			 ((ScalarArrayOpExpr *) node)->opno == TextEqualOperator &&
			 ((ScalarArrayOpExpr *) node)->useOr)
		args = ((ScalarArrayOpExpr *) node)->args;
	if (list_length(args) != 2)
		return NIL;
	column = pgj_strip_relabel(linitial(args));
	if (!IsA(column, Var))
	{
		column = pgj_strip_relabel(lsecond(args));
		args = list_make2(column, linitial(args));
	}
	if (!IsA(column, Var) || ((Var *) column)->varno != correlation->start ||
		((Var *) column)->varattno != name)
		return NIL;
	return text_constants(eval_const_expressions(NULL, lsecond(args)));
}

List *
pgj_event_names(Correlation *correlation)
{
	RangeTblEntry *rte =
		trace_place(correlation->trace, correlation->start)->rte;
	AttrNumber name;
	ListCell *lc;

	if (rte->relid != pgj_state_relation("event"))
		return NIL;
	name = get_attnum(rte->relid, "name");
	foreach (lc, correlation->facts)
	{
		Fact *fact = lfirst(lc);
		List *names;

		if (!fact->holds)
			continue;
		names = names_demanded(correlation, fact->condition, name);
		if (names)
			return names;
	}
	return NIL;
}
