/*-------------------------------------------------------------------------
 *
 * journey.c
 *	  Create journeys and change their status.
 *
 * A version, once written, is never changed, but for being marked as dropped:
 * contacts in flight stay on theirs.  Who creates a version holds the journey's row, so two creations at
 * once give two versions; should that fail (a snapshot from before), the unique
 * key on (journey_id, version) decides.
 *
 * create_journey has no SET search_path: it must see the author's, by which the
 * names in expressions resolve.  Every statement here qualifies everything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "box.h"
#include "pg_journey.h"
#include "script/script_compile.h"
#include "wakeup.h"

#define MAX_COLUMNS 24

/* Parameters of a statement, filled one after another. */
typedef struct Params
{
	int n;
	Oid types[MAX_COLUMNS];
	Datum values[MAX_COLUMNS];
	char nulls[MAX_COLUMNS];
} Params;

static void
add_param(Params *p, Oid type, Datum value, bool isnull)
{
	Assert(p->n < MAX_COLUMNS);
	p->types[p->n] = type;
	p->values[p->n] = value;
	p->nulls[p->n] = isnull ? 'n' : ' ';
	p->n++;
}

static void
add_int(Params *p, int value)
{
	add_param(p, INT4OID, Int32GetDatum(value), false);
}

static void
add_int_or_null(Params *p, int value, int null)
{
	add_param(p, INT4OID, Int32GetDatum(value), value == null);
}

static void
add_text(Params *p, const char *text)
{
	add_param(p, TEXTOID, text ? CStringGetTextDatum(text) : (Datum) 0,
			  text == NULL);
}

static void
add_name(Params *p, const ScriptText *name)
{
	add_text(p, name ? name->text : NULL);
}

/* The event's name, as it is written when it happens. */
static void
add_event(Params *p, const ScriptText *event)
{
	if (event == NULL || event->flip == FLIP_NONE)
		add_name(p, event);
	else
		add_text(p, psprintf("%s%s",
							 event->flip == FLIP_ENTER ? PGJ_EVENT_ENTER
													   : PGJ_EVENT_LEAVE,
							 event->text));
}

static void
add_expression(Params *p, const ScriptExpr *expr)
{
	add_int_or_null(p, expr ? expr->expression_no : 0, 0);
}

static void
add_bool(Params *p, bool value)
{
	add_param(p, BOOLOID, BoolGetDatum(value), false);
}

/* as text[]; null if there are none */
static void
add_names(Params *p, const ScriptText *names)
{
	ArrayBuildState *array = NULL;

	if (names == NULL)
	{
		add_param(p, TEXTARRAYOID, (Datum) 0, true);
		return;
	}
	for (; names; names = names->next)
		array = accumArrayResult(array, CStringGetTextDatum(names->text), false,
								 TEXTOID, CurrentMemoryContext);
	add_param(p, TEXTARRAYOID, makeArrayResult(array, CurrentMemoryContext),
			  false);
}

static void
add_days(Params *p, const bool *days)
{
	ArrayBuildState *array =
		initArrayResult(INT4OID, CurrentMemoryContext, false);

	for (int day = 1; day <= 7; day++)
	{
		if (days[day])
			array = accumArrayResult(array, Int32GetDatum(day), false, INT4OID,
									 CurrentMemoryContext);
	}
	add_param(p, INT4ARRAYOID, makeArrayResult(array, CurrentMemoryContext),
			  !days[0]);
}

static void
add_interval(Params *p, const Interval *interval)
{
	add_param(p, INTERVALOID, IntervalPGetDatum(interval), interval == NULL);
}

static void
add_time(Params *p, TimestampTz at)
{
	add_param(p, TIMESTAMPTZOID, TimestampTzGetDatum(at), false);
}

/* Run a statement that yields at most one row; how many it was. */
static uint64
run(const char *statement, Params *p, int expected)
{
	int result = SPI_execute_with_args(statement, p->n, p->types, p->values,
									   p->nulls, false, 0);

	if (result != expected)
		elog(ERROR, "could not run \"%s\": %s", statement,
			 SPI_result_code_string(result));
	return SPI_processed;
}

/* The same for a statement that is run many times; *plan starts as NULL. */
static void
run_many(SPIPlanPtr *plan, const char *statement, Params *p, int expected)
{
	int result;

	if (*plan == NULL)
		*plan = SPI_prepare(statement, p->n, p->types);
	if (*plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", statement,
			 SPI_result_code_string(SPI_result));
	result = SPI_execute_plan(*plan, p->values, p->nulls, false, 0);
	if (result != expected)
		elog(ERROR, "could not run \"%s\": %s", statement,
			 SPI_result_code_string(result));
}

static int
result_int(int column)
{
	bool isnull;

	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, column, &isnull));
}

/* -------- rows of a version -------- */

static void
insert_expressions(Compilation *c, int version_id)
{
	SPIPlanPtr plan = NULL;
	ListCell *lc;

	foreach (lc, c->expressions)
	{
		CompiledExpression *e = lfirst(lc);
		Params p = { 0 };

		CHECK_FOR_INTERRUPTS();
		add_int(&p, version_id);
		add_int(&p, e->expr->expression_no);
		add_int(&p, pgj_script_line(c, e->expr->offset));
		add_text(&p, e->source);
		add_text(&p, e->result == TIMESTAMPTZOID ? "timestamptz"
					 : e->result == BOOLOID		 ? "boolean"
					 : e->result == NUMERICOID	 ? "numeric"
												 : "text");
		add_text(&p, e->statement);
		run_many(
			&plan,
			"INSERT INTO journey.expression (version_id, expression_no, line, source, result, statement)"
			" VALUES ($1, $2, $3, $4, $5, $6)",
			&p, SPI_OK_INSERT);
	}
}

static void
insert_entries(Compilation *c, int version_id)
{
	const ScriptEntry *entry;
	const ScriptExit *rule;
	int n = 0;

	for (entry = c->script->entries; entry; entry = entry->next)
	{
		Params p = { 0 };

		add_int(&p, version_id);
		add_int(&p, ++n);
		add_text(&p, entry->event ? "event" : "call");
		add_event(&p, entry->event);
		add_expression(&p, entry->condition);
		run("INSERT INTO journey.entry (version_id, entry_no, kind, event, condition)"
			" VALUES ($1, $2, $3, $4, $5)",
			&p, SPI_OK_INSERT);
	}
	n = 0;
	for (rule = c->script->exits; rule; rule = rule->next)
	{
		Params p = { 0 };

		add_int(&p, version_id);
		add_int(&p, ++n);
		add_event(&p, rule->event);
		add_expression(&p, rule->condition);
		run("INSERT INTO journey.exit_rule (version_id, exit_no, event, condition)"
			" VALUES ($1, $2, $3, $4)",
			&p, SPI_OK_INSERT);
	}
}

static const char *
step_kind(const ScriptStep *step)
{
	switch (step->kind)
	{
		case STEP_WAIT:
			return "wait";
		case STEP_WAIT_INTERVAL:
		case STEP_WAIT_UNTIL:
			return "wait_until";
		case STEP_WAIT_FOR:
			return "wait_for";
		case STEP_SEND:
			return "send";
		case STEP_IF:
			return "if";
		case STEP_EXIT:
			return "exit";
	}
	return NULL;
}

static const char *
past_action(const ScriptStep *step)
{
	if (step->kind == STEP_WAIT_INTERVAL)
		return "continue";
	if (step->kind != STEP_WAIT_UNTIL || step->time)
		return NULL;
	return step->past == PAST_SKIP	 ? "skip"
		   : step->past == PAST_EXIT ? "exit"
									 : "continue";
}

static const char *
capped_action(const ScriptStep *step)
{
	if (step->kind != STEP_SEND)
		return NULL;
	return step->when_capped == CAPPED_DEFER  ? "defer"
		   : step->when_capped == CAPPED_EXIT ? "exit"
											  : "skip";
}

static void
insert_steps(Compilation *c, int version_id)
{
	SPIPlanPtr plan = NULL;
	int i;

	for (i = 0; i < c->nsteps; i++)
	{
		const StepRow *row = &c->steps[i];
		const ScriptStep *step = row->step;
		int offset = row->arm ? row->arm->offset : step->offset;
		Params p = { 0 };

		CHECK_FOR_INTERRUPTS();
		add_int(&p, version_id);
		add_int(&p, i + 1);
		add_text(&p, step_kind(step));
		add_text(&p, row->label);
		add_int(&p, pgj_script_line(c, offset));
		add_int(&p, row->next_step);
		add_int_or_null(&p, row->else_step, -1);
		add_interval(&p, row->duration);
		add_event(&p, step->since);
		add_event(&p, step->event);
		add_int_or_null(&p, row->of_step, 0);
		add_expression(&p, row->arm ? row->arm->condition : step->condition);
		add_text(&p, past_action(step));
		add_param(&p, TIMEOID, TimeADTGetDatum(row->local_time),
				  step->time == NULL);
		add_days(&p, row->days);
		add_name(&p, step->channel);
		add_names(&p, step->channels);
		add_bool(&p, step->best);
		add_name(&p, step->template);
		add_int_or_null(&p, step->kind == STEP_SEND ? row->priority : -1, -1);
		add_text(&p, capped_action(step));
		add_interval(&p, row->capped_within);
		add_interval(&p, row->best_time_within);
		add_bool(&p, step->also);
		run_many(
			&plan,
			"INSERT INTO journey.step (version_id, step_no, kind, label, line, next_step, else_step,"
			" duration, since_event, event, of_step, condition, past_action, local_time, local_days,"
			" channel, channels, best, template, priority, when_capped, capped_within, best_time_within, also)"
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)",
			&p, SPI_OK_INSERT);
	}
}

static const char *
reentry_name(ScriptReentry reentry)
{
	switch (reentry)
	{
		case REENTRY_ALWAYS:
			return "always";
		case REENTRY_NEVER:
			return "never";
		case REENTRY_AFTER:
			return "after";
		case REENTRY_ONCE_PER_KEY:
			return "once per key";
	}
	return NULL;
}

static int
insert_version(Compilation *c, int journey_id, int version, TimestampTz at)
{
	const Script *script = c->script;
	Params p = { 0 };

	add_int(&p, journey_id);
	add_int(&p, version);
	add_text(&p, c->text);
	add_text(&p, c->topic);
	add_int(&p, c->priority);
	add_param(&p, FLOAT8OID, Float8GetDatum(c->holdout), false);
	add_expression(&p, script->holdout_by);
	add_expression(&p, script->key);
	add_text(&p, reentry_name(script->reentry));
	add_interval(&p, c->reentry_after);
	add_int_or_null(&p, c->limit, 0);
	add_interval(&p, c->limit_per);
	add_event(&p, script->goal_event);
	add_expression(&p, script->goal_condition);
	add_interval(&p, c->goal_within);
	add_expression(&p, script->goal_value);
	add_time(&p, at);
	if (run("INSERT INTO journey.version (journey_id, version, script, topic, priority, holdout, holdout_by,"
			" key_expression, reentry, reentry_after, limit_entries, limit_per,"
			" goal_event, goal_condition, goal_within, goal_value, created_at)"
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
			" ON CONFLICT (journey_id, version) DO NOTHING RETURNING version_id",
			&p, SPI_OK_INSERT_RETURNING) != 1)
		ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("another version of this journey was created just now"),
				errhint("Try again."));
	return result_int(1);
}

/* -------- create_journey -------- */

static void
check_journey_name(const char *name)
{
	const char *c;

	for (c = name; *c; c++)
	{
		if (!((*c >= 'a' && *c <= 'z') || *c == '_' ||
			  (c > name && *c >= '0' && *c <= '9')))
			break;
	}
	if (*c || c == name || c - name >= NAMEDATALEN)
		ereport(
			ERROR, errcode(ERRCODE_INVALID_NAME),
			errmsg("\"%s\" is no name for a journey", name),
			errhint(
				"Use lower-case letters, digits and underscores, at most %d, and no digit first.",
				NAMEDATALEN - 1));
}

/*
 * Fix the author's search_path for what follows: "$user" must go on to mean
 * the author when we act as the journey owner.
 */
static void
fix_search_path(void)
{
	StringInfoData path;
	List *schemas = fetch_search_path(false);
	ListCell *lc;

	initStringInfo(&path);
	foreach (lc, schemas)
	{
		char *name = get_namespace_name(lfirst_oid(lc));

		if (name)
			appendStringInfo(&path, "%s%s", path.len > 0 ? ", " : "",
							 quote_identifier(name));
	}
	(void) set_config_option(
		"search_path", path.len > 0 ? path.data : "pg_catalog", PGC_USERSET,
		PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * The row of a journey, made or found, and locked.  A dropped one is a draft
 * again: its name and its history stay together.
 */
static int
lock_journey(const char *name, TimestampTz at)
{
	Params p = { 0 };
	int journey_id;

	add_text(&p, name);
	add_time(&p, at);
	run("INSERT INTO journey.journey (name, status, created_at) VALUES ($1, 'draft', $2)"
		" ON CONFLICT (name) DO NOTHING",
		&p, SPI_OK_INSERT);

	p.n = 1;
	if (run("SELECT journey_id, status OPERATOR(pg_catalog.=) 'dropped' FROM journey.journey"
			" WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE",
			&p, SPI_OK_SELECT) != 1)
		ereport(
			ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			errmsg("journey \"%s\" was created by another transaction just now",
				   name),
			errhint("Try again."));
	journey_id = result_int(1);

	p.n = 0;
	add_int(&p, journey_id);
	run("UPDATE journey.journey SET status = 'draft', version_id = NULL"
		" WHERE journey_id OPERATOR(pg_catalog.=) $1 AND status OPERATOR(pg_catalog.=) 'dropped'",
		&p, SPI_OK_UPDATE);
	return journey_id;
}

static int
next_version(int journey_id)
{
	Params p = { 0 };

	add_int(&p, journey_id);
	run("SELECT COALESCE(pg_catalog.max(version), 0) OPERATOR(pg_catalog.+) 1 FROM journey.version"
		" WHERE journey_id OPERATOR(pg_catalog.=) $1",
		&p, SPI_OK_SELECT);
	return result_int(1);
}

static int
create_journey(const Site *site, const char *name, const char *text,
			   TimestampTz at)
{
	Compilation *c = pgj_script_compile(site, text);
	int journey_id = lock_journey(name, at);
	int version = next_version(journey_id);
	int version_id = insert_version(c, journey_id, version, at);

	insert_expressions(c, version_id);
	insert_entries(c, version_id);
	insert_steps(c, version_id);
	return version;
}

/* journey.create_journey(name text, script text, at timestamptz) returns integer */
PG_FUNCTION_INFO_V1(pgj_sql_create_journey);
Datum
pgj_sql_create_journey(PG_FUNCTION_ARGS)
{
	char *name;
	char *script;
	TimestampTz at;
	MemoryContext context = CurrentMemoryContext;
	const Site *site = pgj_site();
	int guc_level;
	int version;
	SavedUser saved;

	pgj_require_member(site);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				errmsg("name, script and time of a journey must not be null"));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	script = text_to_cstring(PG_GETARG_TEXT_PP(1));
	at = PG_GETARG_TIMESTAMPTZ(2);
	check_journey_name(name);

	guc_level = NewGUCNestLevel();
	fix_search_path();
	saved = pgj_become_owner(site);
	SPI_connect();
	MemoryContextSwitchTo(context);
	version = create_journey(site, name, script, at);
	SPI_finish();
	pgj_become_caller(saved);
	AtEOXact_GUC(true, guc_level);

	PG_RETURN_INT32(version);
}

/* -------- status -------- */

static void
unknown_journey(const char *name)
{
	Params p = { 0 };
	List *names = NIL;
	char *hint;
	uint64 i;

	run("SELECT name FROM journey.journey WHERE status OPERATOR(pg_catalog.<>) 'dropped'"
		" ORDER BY name COLLATE pg_catalog.\"C\"",
		&p, SPI_OK_SELECT);
	for (i = 0; i < SPI_processed; i++)
		names = lappend(names, SPI_getvalue(SPI_tuptable->vals[i],
											SPI_tuptable->tupdesc, 1));
	hint = pgj_script_hint(name, names);
	ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("journey \"%s\" does not exist", name),
			hint ? errhint("%s", hint) : 0);
}

/*
 * Lock a journey and check that its status is one of two.  The order of locks
 * is that of create_journey.
 */
static int
lock_for_change(const char *name, const char *from, const char *or_from)
{
	Params p = { 0 };
	char *status;
	int journey_id;

	add_text(&p, name);
	if (run("SELECT journey_id, status FROM journey.journey"
			" WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE",
			&p, SPI_OK_SELECT) != 1)
		unknown_journey(name);
	journey_id = result_int(1);
	status = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	if (strcmp(status, "dropped") == 0)
		unknown_journey(name);
	if (from && strcmp(status, from) != 0 && strcmp(status, or_from) != 0)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("journey \"%s\" is %s, not %s", name, status, from),
				strcmp(status, "draft") == 0
					? errhint("Start it with journey.activate().")
					: 0);
	return journey_id;
}

typedef enum StatusChange
{
	CHANGE_ACTIVATE,
	CHANGE_PAUSE,
	CHANGE_RESUME,
	CHANGE_DROP
} StatusChange;

static void
change_status(const char *name, StatusChange change)
{
	static const char *const set[] = {
		[CHANGE_ACTIVATE] =
			"status = 'active', version_id = (SELECT v.version_id FROM journey.version AS v"
			" WHERE v.journey_id OPERATOR(pg_catalog.=) j.journey_id ORDER BY v.version USING OPERATOR(pg_catalog.>) LIMIT 1)",
		[CHANGE_PAUSE] = "status = 'paused'",
		[CHANGE_RESUME] = "status = 'active'",
		[CHANGE_DROP] = "status = 'dropped'",
	};
	int journey_id;
	Params p = { 0 };

	switch (change)
	{
		case CHANGE_PAUSE:
			journey_id = lock_for_change(name, "active", "paused");
			break;
		case CHANGE_RESUME:
			journey_id = lock_for_change(name, "paused", "active");
			break;
		default:
			journey_id = lock_for_change(name, NULL, NULL);
			break;
	}

	add_int(&p, journey_id);
	run(psprintf(
			"UPDATE journey.journey AS j SET %s WHERE j.journey_id OPERATOR(pg_catalog.=) $1",
			set[change]),
		&p, SPI_OK_UPDATE);

	/* for good: a later journey of this name must not find them running */
	if (change == CHANGE_DROP)
		run("UPDATE journey.version SET dropped = true"
			" WHERE journey_id OPERATOR(pg_catalog.=) $1 AND NOT dropped",
			&p, SPI_OK_UPDATE);

	/* an author who starts it again wants its expressions tried again */
	if (change == CHANGE_ACTIVATE || change == CHANGE_RESUME)
	{
		uint64 i;

		run("SELECT version_id FROM journey.version WHERE journey_id OPERATOR(pg_catalog.=) $1",
			&p, SPI_OK_SELECT);
		for (i = 0; i < SPI_processed; i++)
		{
			bool isnull;

			pgj_box_forgive(DatumGetInt32(SPI_getbinval(
				SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull)));
		}
	}
	pgj_wake_engine_at_commit();
}

static Datum
sql_change_status(PG_FUNCTION_ARGS, StatusChange change)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const Site *site = pgj_site();
	SavedUser saved;

	/* these two run nothing of an author's: EXECUTE, as operators have it, is the permission */
	if (change == CHANGE_PAUSE || change == CHANGE_RESUME)
		pgj_refuse_superuser(site);
	else
		pgj_require_member(site);
	saved = pgj_become_owner(site);
	SPI_connect();
	change_status(name, change);
	SPI_finish();
	pgj_become_caller(saved);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(pgj_sql_activate);
Datum
pgj_sql_activate(PG_FUNCTION_ARGS)
{
	return sql_change_status(fcinfo, CHANGE_ACTIVATE);
}

PG_FUNCTION_INFO_V1(pgj_sql_pause);
Datum
pgj_sql_pause(PG_FUNCTION_ARGS)
{
	return sql_change_status(fcinfo, CHANGE_PAUSE);
}

PG_FUNCTION_INFO_V1(pgj_sql_resume);
Datum
pgj_sql_resume(PG_FUNCTION_ARGS)
{
	return sql_change_status(fcinfo, CHANGE_RESUME);
}

PG_FUNCTION_INFO_V1(pgj_sql_drop_journey);
Datum
pgj_sql_drop_journey(PG_FUNCTION_ARGS)
{
	return sql_change_status(fcinfo, CHANGE_DROP);
}
