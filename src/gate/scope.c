/*-------------------------------------------------------------------------
 *
 * scope.c
 *	  Which messages a cap, a hold or a rule of quiet hours is about.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "gate/scope.h"
#include "plan.h"

Names
pgj_names_read(uint64 row, int column)
{
	Names names = { 0, NULL };
	Datum *element;

	if (pgj_row_null(row, column))
		return names;
	deconstruct_array(DatumGetArrayTypeP(pgj_row_value(row, column)), TEXTOID,
					  -1, false, TYPALIGN_INT, &element, NULL, &names.n);
	names.name = palloc_array(char *, names.n + 1);
	for (int i = 0; i < names.n; i++)
		names.name[i] = TextDatumGetCString(element[i]);
	return names;
}

void
pgj_scope_read_journeys(Scope *scope, uint64 row, int column)
{
	Datum *element;

	scope->njourneys = 0;
	scope->journeys = NULL;
	if (pgj_row_null(row, column))
		return;
	deconstruct_array(DatumGetArrayTypeP(pgj_row_value(row, column)), INT4OID,
					  sizeof(int32), true, TYPALIGN_INT, &element, NULL,
					  &scope->njourneys);
	scope->journeys = palloc_array(int, scope->njourneys + 1);
	for (int i = 0; i < scope->njourneys; i++)
		scope->journeys[i] = DatumGetInt32(element[i]);
}

Names
pgj_names_one(const char *name)
{
	Names names = { 0, NULL };

	if (strcmp(name, "*") != 0)
	{
		names.n = 1;
		names.name = palloc_array(char *, 1);
		names.name[0] = pstrdup(name);
	}
	return names;
}

bool
pgj_names_have(const Names *names, const char *name)
{
	if (names->name == NULL)
		return true;
	for (int i = 0; i < names->n; i++)
		if (strcmp(names->name[i], name) == 0)
			return true;
	return false;
}

bool
pgj_scope_has(const Scope *scope, const char *channel, const char *topic,
			  const char *class, int journey_id)
{
	if (!pgj_names_have(&scope->channels, channel) ||
		!pgj_names_have(&scope->topics, topic) ||
		!pgj_names_have(&scope->classes, class))
		return false;
	if (scope->journeys == NULL)
		return true;
	for (int i = 0; i < scope->njourneys; i++)
		if (scope->journeys[i] == journey_id)
			return true;
	return false;
}
