/*-------------------------------------------------------------------------
 *
 * script_insert.c
 *	  The rows of a version.
 *
 * Written as the journey owner, under the author's search_path: every statement
 * here qualifies everything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg_journey.h"
#include "script/bound.h"
#include "script/script_compile.h"

static void
add_name(Bound *p, const ScriptText *name)
{
	pgj_bind_text(p, name ? name->text : NULL);
}

/* The event's name, as it is written when it happens. */
static void
add_event(Bound *p, const ScriptText *event)
{
	if (event == NULL || event->flip == FLIP_NONE)
		add_name(p, event);
	else
		pgj_bind_text(p, psprintf("%s%s",
								  event->flip == FLIP_ENTER ? PGJ_EVENT_ENTER
															: PGJ_EVENT_LEAVE,
								  event->text));
}

static void
add_expression(Bound *p, const ScriptExpr *expr)
{
	pgj_bind_int_or_null(p, expr ? expr->expression_no : 0, 0);
}

/* as text[]; null if there are none */
static void
add_names(Bound *p, const ScriptText *names)
{
	ArrayBuildState *array = NULL;

	if (names == NULL)
	{
		pgj_bind(p, TEXTARRAYOID, (Datum) 0, true);
		return;
	}
	for (; names; names = names->next)
		array = accumArrayResult(array, CStringGetTextDatum(names->text), false,
								 TEXTOID, CurrentMemoryContext);
	pgj_bind(p, TEXTARRAYOID, makeArrayResult(array, CurrentMemoryContext),
			 false);
}

static void
add_days(Bound *p, const bool *days)
{
	ArrayBuildState *array =
		initArrayResult(INT4OID, CurrentMemoryContext, false);

	for (int day = 1; day <= 7; day++)
	{
		if (days[day])
			array = accumArrayResult(array, Int32GetDatum(day), false, INT4OID,
									 CurrentMemoryContext);
	}
	pgj_bind(p, INT4ARRAYOID, makeArrayResult(array, CurrentMemoryContext),
			 !days[0]);
}

static void
insert_expressions(Compilation *c, int version_id)
{
	SPIPlanPtr plan = NULL;
	ListCell *lc;

	foreach (lc, c->expressions)
	{
		CompiledExpression *e = lfirst(lc);
		Bound p = { 0 };

		CHECK_FOR_INTERRUPTS();
		pgj_bind_int(&p, version_id);
		pgj_bind_int(&p, e->expr->expression_no);
		pgj_bind_int(&p, pgj_script_line(c, e->expr->offset));
		pgj_bind_text(&p, e->source);
		pgj_bind_text(&p, e->result == TIMESTAMPTZOID ? "timestamptz"
						  : e->result == BOOLOID	  ? "boolean"
						  : e->result == NUMERICOID	  ? "numeric"
													  : "text");
		pgj_bind_text(&p, e->statement);
		pgj_bound_run_many(
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
		Bound p = { 0 };

		pgj_bind_int(&p, version_id);
		pgj_bind_int(&p, ++n);
		pgj_bind_text(&p, entry->event ? "event" : "call");
		add_event(&p, entry->event);
		add_expression(&p, entry->condition);
		pgj_bound_run(
			"INSERT INTO journey.entry (version_id, entry_no, kind, event, condition)"
			" VALUES ($1, $2, $3, $4, $5)",
			&p, SPI_OK_INSERT);
	}
	n = 0;
	for (rule = c->script->exits; rule; rule = rule->next)
	{
		Bound p = { 0 };

		pgj_bind_int(&p, version_id);
		pgj_bind_int(&p, ++n);
		add_event(&p, rule->event);
		add_expression(&p, rule->condition);
		pgj_bound_run(
			"INSERT INTO journey.exit_rule (version_id, exit_no, event, condition)"
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
		Bound p = { 0 };

		CHECK_FOR_INTERRUPTS();
		pgj_bind_int(&p, version_id);
		pgj_bind_int(&p, i + 1);
		pgj_bind_text(&p, step_kind(step));
		pgj_bind_text(&p, row->label);
		pgj_bind_int(&p, pgj_script_line(c, offset));
		pgj_bind_int(&p, row->next_step);
		pgj_bind_int_or_null(&p, row->else_step, -1);
		pgj_bind_interval(&p, row->duration);
		add_event(&p, step->since);
		add_event(&p, step->event);
		pgj_bind_int_or_null(&p, row->of_step, 0);
		add_expression(&p, row->arm ? row->arm->condition : step->condition);
		pgj_bind_text(&p, past_action(step));
		pgj_bind(&p, TIMEOID, TimeADTGetDatum(row->local_time),
				 step->time == NULL);
		add_days(&p, row->days);
		add_name(&p, step->channel);
		add_names(&p, step->channels);
		pgj_bind_bool(&p, step->best);
		add_name(&p, step->template);
		pgj_bind_int_or_null(&p, step->kind == STEP_SEND ? row->priority : -1,
							 -1);
		pgj_bind_text(&p, capped_action(step));
		pgj_bind_interval(&p, row->capped_within);
		pgj_bind_interval(&p, row->best_time_within);
		pgj_bind_bool(&p, step->also);
		pgj_bound_run_many(
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
	Bound p = { 0 };

	pgj_bind_int(&p, journey_id);
	pgj_bind_int(&p, version);
	pgj_bind_text(&p, c->text);
	pgj_bind_text(&p, c->topic);
	pgj_bind_int(&p, c->priority);
	pgj_bind(&p, FLOAT8OID, Float8GetDatum(c->holdout), false);
	add_expression(&p, script->holdout_by);
	add_expression(&p, script->key);
	pgj_bind_text(&p, reentry_name(script->reentry));
	pgj_bind_interval(&p, c->reentry_after);
	pgj_bind_int_or_null(&p, c->limit, 0);
	pgj_bind_interval(&p, c->limit_per);
	add_event(&p, script->goal_event);
	add_expression(&p, script->goal_condition);
	pgj_bind_interval(&p, c->goal_within);
	add_expression(&p, script->goal_value);
	pgj_bind_time(&p, at);
	if (pgj_bound_run(
			"INSERT INTO journey.version (journey_id, version, script, topic, priority, holdout, holdout_by,"
			" key_expression, reentry, reentry_after, limit_entries, limit_per,"
			" goal_event, goal_condition, goal_within, goal_value, created_at)"
			" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
			" ON CONFLICT (journey_id, version) DO NOTHING RETURNING version_id",
			&p, SPI_OK_INSERT_RETURNING) != 1)
		ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("another version of this journey was created just now"),
				errhint("Try again."));
	return pgj_bound_int(1);
}

int
pgj_script_insert(Compilation *c, int journey_id, int version, TimestampTz at)
{
	int version_id = insert_version(c, journey_id, version, at);

	insert_expressions(c, version_id);
	insert_entries(c, version_id);
	insert_steps(c, version_id);
	return version_id;
}
