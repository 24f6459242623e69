/*-------------------------------------------------------------------------
 *
 * definition.c
 *	  Journeys as the engine reads them.
 *
 * Everything is read at once and kept until a definition changes (kept.c).  A
 * batch asks once: versions are immutable, so all that can change while it is
 * worked is a journey's status.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "engine/definition.h"
#include "kept.h"
#include "pg_journey.h"

static Interval *
copy_interval(uint64 row, int col)
{
	bool isnull;
	Datum value = pgj_row_nullable(row, col, &isnull);
	Interval *copy;

	if (isnull)
		return NULL;
	copy = palloc_object(Interval);
	*copy = *DatumGetIntervalP(value);
	return copy;
}

static int
index_of(const char *what, const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return i;
	elog(ERROR, "unrecognized %s \"%s\"", what, name);
	return -1;
}

static void
select_rows(const char *sql)
{
	MemoryContext context = CurrentMemoryContext; /* SPI leaves its own */
	int rc = SPI_execute(sql, true, 0);

	MemoryContextSwitchTo(context);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "could not load journeys: %s", SPI_result_code_string(rc));
}

static void
load_versions(Definitions *definitions)
{
	static const char *const statuses[] = { "draft", "active", "paused",
											"dropped" };
	static const char *const reentries[] = { "never", "always", "after",
											 "once per key" };

	select_rows(
		"SELECT v.version_id, v.journey_id, j.name,"
		" CASE WHEN v.dropped THEN 'dropped' ELSE j.status END, j.version_id, j.holdout_epoch,"
		" v.topic, t.class, v.priority, v.holdout, v.holdout_by, v.key_expression,"
		" v.reentry, v.reentry_after, v.goal_event, v.goal_condition, v.goal_within, v.goal_value,"
		" v.limit_entries, v.limit_per"
		" FROM journey.version v"
		" JOIN journey.journey j ON j.journey_id = v.journey_id"
		" JOIN journey.topic t ON t.name = v.topic"
		" ORDER BY v.version_id");

	definitions->all = palloc_array(Version *, SPI_processed + 1);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Version *version = palloc0_object(Version);

		version->version_id = pgj_row_int4(row, 1, 0);
		version->journey_id = pgj_row_int4(row, 2, 0);
		version->journey = pgj_row_text(definitions->context, row, 3);
		version->status =
			index_of("status", pgj_row_text(definitions->context, row, 4),
					 statuses, lengthof(statuses));
		version->newest = pgj_row_int4(row, 5, 0) == version->version_id;
		version->holdout_epoch = pgj_row_int4(row, 6, 1);
		version->topic = pgj_row_text(definitions->context, row, 7);
		version->transactional =
			strcmp(pgj_row_text(definitions->context, row, 8),
				   "transactional") == 0;
		version->priority = pgj_row_int4(row, 9, 0);
		version->holdout = DatumGetFloat8(pgj_row_value(row, 10));
		version->holdout_by = pgj_row_int4(row, 11, 0);
		version->key_expression = pgj_row_int4(row, 12, 0);
		version->reentry =
			index_of("reentry", pgj_row_text(definitions->context, row, 13),
					 reentries, lengthof(reentries));
		version->reentry_after = copy_interval(row, 14);
		version->goal_event = pgj_row_text(definitions->context, row, 15);
		version->goal_condition = pgj_row_int4(row, 16, 0);
		version->goal_within = copy_interval(row, 17);
		version->goal_value = pgj_row_int4(row, 18, 0);
		version->limit = pgj_row_int4(row, 19, 0);
		version->limit_per = copy_interval(row, 20);
		definitions->all[definitions->nall++] = version;
	}
}

static void
add_channel(Version *version, char *channel)
{
	for (int i = 0; i < version->nchannels; i++)
		if (strcmp(version->channels[i], channel) == 0)
			return;
	version->channels =
		version->channels == NULL
			? palloc_array(char *, 1)
			: repalloc_array(version->channels, char *, version->nchannels + 1);
	version->channels[version->nchannels++] = channel;
}

/* The elements of an array column; NULL and none if it is null. */
static Datum *
array_column(uint64 row, int col, Oid type, int *n)
{
	int16 length;
	bool by_value;
	char align;
	bool isnull;
	Datum value = pgj_row_nullable(row, col, &isnull);
	Datum *elements;

	*n = 0;
	if (isnull)
		return NULL;
	get_typlenbyvalalign(type, &length, &by_value, &align);
	deconstruct_array(DatumGetArrayTypeP(value), type, length, by_value, align,
					  &elements, NULL, n);
	return elements;
}

static void
load_send(Definitions *definitions, Version *version, Step *step, uint64 row)
{
	static const char *const actions[] = { "skip", "defer", "exit" };
	Datum *channels = array_column(row, 18, TEXTOID, &step->nchannels);

	step->channel = pgj_row_text(definitions->context, row, 13);
	step->template = pgj_row_text(definitions->context, row, 14);
	step->priority = pgj_row_int4(row, 15, version->priority);
	if (step->nchannels > 0)
		step->channels = palloc_array(char *, step->nchannels);
	for (int i = 0; i < step->nchannels; i++)
		step->channels[i] = TextDatumGetCString(channels[i]);
	step->best = DatumGetBool(pgj_row_value(row, 19));
	step->when_capped =
		index_of("action", pgj_row_text(definitions->context, row, 20), actions,
				 lengthof(actions));
	step->capped_within = copy_interval(row, 21);
	step->best_time_within = copy_interval(row, 22);
	step->also = DatumGetBool(pgj_row_value(row, 23));
	step->other_channels = DatumGetBool(pgj_row_value(row, 25));

	if (step->channel != NULL)
		add_channel(version, step->channel);
	for (int i = 0; i < step->nchannels; i++)
		add_channel(version, step->channels[i]);
}

static void
load_local_time(Step *step, uint64 row)
{
	int ndays;
	Datum *days = array_column(row, 24, INT4OID, &ndays);

	step->at_local_time = true;
	step->local_time = DatumGetTimeADT(pgj_row_value(row, 17));
	step->local_days = days == NULL ? 0x7f : 0;
	for (int i = 0; i < ndays; i++)
		step->local_days |= 1 << (DatumGetInt32(days[i]) - 1);
}

static void
load_steps(Definitions *definitions)
{
	static const char *const kinds[] = { "wait", "wait_until", "wait_for",
										 "send", "if",		   "exit" };
	static const char *const pasts[] = { "continue", "skip", "exit" };
	Version *version = NULL;

	select_rows(
		"SELECT s.version_id, s.step_no, s.kind, s.label, s.next_step, s.else_step,"
		" s.duration, s.since_event, s.event, s.of_step, s.condition, s.past_action,"
		" s.channel, s.template, s.priority,"
		" max(s.step_no) OVER (PARTITION BY s.version_id),"
		" s.local_time, s.channels, s.best, s.when_capped, s.capped_within,"
		" s.best_time_within, s.also, s.local_days,"
		" bool_or(s.channel IS NULL) OVER same OR min(s.channel) OVER same <> max(s.channel) OVER same"
		" FROM journey.step s WINDOW same AS (PARTITION BY s.version_id, s.template)"
		" ORDER BY s.version_id, s.step_no");

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int version_id = pgj_row_int4(row, 1, 0);
		char *past = pgj_row_text(definitions->context, row, 12);
		Step *step;

		if (version == NULL || version->version_id != version_id)
		{
			version = pgj_version(definitions, version_id);
			version->nsteps = pgj_row_int4(row, 16, 0);
			version->steps = palloc0_array(Step, version->nsteps + 1);
		}
		step = &version->steps[pgj_row_int4(row, 2, 0)];
		step->no = pgj_row_int4(row, 2, 0);
		step->kind =
			index_of("kind of step", pgj_row_text(definitions->context, row, 3),
					 kinds, lengthof(kinds));
		step->label = pgj_row_text(definitions->context, row, 4);
		step->next = pgj_row_int4(row, 5, 0);
		step->otherwise = pgj_row_int4(row, 6, 0);
		step->duration = copy_interval(row, 7);
		step->since_event = pgj_row_text(definitions->context, row, 8);
		step->event = pgj_row_text(definitions->context, row, 9);
		step->of_step = pgj_row_int4(row, 10, 0);
		step->condition = pgj_row_int4(row, 11, 0);
		step->past = past == NULL ? PAST_CONTINUE
								  : index_of("past action", past, pasts,
											 lengthof(pasts));
		if (step->kind == STEP_SEND)
			load_send(definitions, version, step, row);
		if (step->kind == STEP_WAIT_UNTIL && step->condition == 0)
			load_local_time(step, row);
		if (step->kind == STEP_WAIT_FOR && step->event == NULL)
			definitions->listens_to_all = true;
	}
}

/* journey.entry and journey.exit_rule have the same shape. */
static void
load_rules(Definitions *definitions, const char *sql, bool exits)
{
	select_rows(sql);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		Version *version = pgj_version(definitions, pgj_row_int4(row, 1, 0));
		Rule **rules = exits ? &version->exits : &version->entries;
		int *nrules = exits ? &version->nexits : &version->nentries;
		char *event = pgj_row_text(definitions->context, row, 2);

		if (*nrules == 0)
			*rules = palloc_array(Rule, pgj_row_int8(row, 4, 0));
		(*rules)[*nrules].event = event ? event : pstrdup(PGJ_EVENT_CALL);
		(*rules)[*nrules].condition = pgj_row_int4(row, 3, 0);
		(*nrules)++;
	}
}

static Oid
result_type(const char *name)
{
	static const char *const names[] = { "boolean", "text", "numeric",
										 "timestamptz", "interval" };
	static const Oid types[] = { BOOLOID, TEXTOID, NUMERICOID, TIMESTAMPTZOID,
								 INTERVALOID };

	return types[index_of("result type", name, names, lengthof(names))];
}

static void
load_expressions(Definitions *definitions)
{
	Version *version = NULL;

	select_rows(
		"SELECT x.version_id, x.expression_no, x.statement, x.result,"
		" max(x.expression_no) OVER (PARTITION BY x.version_id)"
		" FROM journey.expression x ORDER BY x.version_id, x.expression_no");

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		int version_id = pgj_row_int4(row, 1, 0);
		Expression *expression;

		if (version == NULL || version->version_id != version_id)
		{
			version = pgj_version(definitions, version_id);
			version->nexpressions = pgj_row_int4(row, 5, 0);
			version->expressions =
				palloc0_array(Expression, version->nexpressions + 1);
		}
		expression = &version->expressions[pgj_row_int4(row, 2, 0)];
		expression->no = pgj_row_int4(row, 2, 0);
		expression->statement = pgj_row_text(definitions->context, row, 3);
		expression->result =
			result_type(pgj_row_text(definitions->context, row, 4));
		if (strstr(expression->statement, "in_segment") != NULL ||
			strstr(expression->statement, "segment_member") != NULL ||
			strstr(expression->statement, "membership") != NULL)
			definitions->asks_segments = true;
	}
}

static void *
read_definitions(const Site *site)
{
	Definitions *definitions = palloc0_object(Definitions);

	definitions->context = CurrentMemoryContext;
	load_versions(definitions);
	load_steps(definitions);
	load_rules(
		definitions,
		"SELECT version_id, event, condition, count(*) OVER (PARTITION BY version_id)"
		" FROM journey.entry ORDER BY version_id, entry_no",
		false);
	load_rules(
		definitions,
		"SELECT version_id, event, condition, count(*) OVER (PARTITION BY version_id)"
		" FROM journey.exit_rule ORDER BY version_id, exit_no",
		true);
	load_expressions(definitions);
	return definitions;
}

static void
release(void *content)
{
	Definitions *definitions = content;

	for (int i = 0; i < definitions->nall; i++)
	{
		Version *version = definitions->all[i];

		for (int no = 1; no <= version->nexpressions; no++)
			if (version->expressions[no].plan != NULL)
				SPI_freeplan(version->expressions[no].plan);
	}
}

Definitions *
pgj_definitions(const Site *site)
{
	static Kept kept = { .name = "journeys",
						 .tables = { "entry", "exit_rule", "expression",
									 "journey", "step", "topic", "version" },
						 .read = read_definitions,
						 .release = release };

	return pgj_kept(&kept, site);
}

Version *
pgj_version(Definitions *definitions, int version_id)
{
	int low = 0;
	int high = definitions->nall;

	while (low < high)
	{
		int middle = low + (high - low) / 2;
		Version *version = definitions->all[middle];

		if (version->version_id == version_id)
			return version;
		if (version->version_id < version_id)
			low = middle + 1;
		else
			high = middle;
	}
	ereport(
		ERROR, errcode(ERRCODE_DATA_CORRUPTED),
		errmsg("version %d of a journey is missing", version_id),
		errhint("Were rows of the tables of schema journey deleted by hand?"));
}

static bool
rules_name(const Rule *rules, int n, const char *event)
{
	for (int i = 0; i < n; i++)
		if (strcmp(rules[i].event, event) == 0)
			return true;
	return false;
}

bool
pgj_event_matters(Definitions *definitions, const char *event)
{
	if (definitions->listens_to_all || strcmp(event, PGJ_EVENT_CALL) == 0 ||
		strcmp(event, PGJ_EVENT_RETRY) == 0)
		return true;

	for (int i = 0; i < definitions->nall; i++)
	{
		Version *version = definitions->all[i];

		if (rules_name(version->entries, version->nentries, event) ||
			rules_name(version->exits, version->nexits, event) ||
			(version->goal_event && strcmp(version->goal_event, event) == 0))
			return true;
		for (int no = 1; no <= version->nsteps; no++)
			if (version->steps[no].kind == STEP_WAIT_FOR &&
				version->steps[no].event &&
				strcmp(version->steps[no].event, event) == 0)
				return true;
	}
	return false;
}
