/*-------------------------------------------------------------------------
 *
 * script_names.c
 *	  Names in a script: channels, templates, topics, labels, events, segments.
 *
 * All names of a kind are read once; a journey is created rarely, and the
 * lists serve the hints too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "pg_journey.h"
#include "script/script_compile.h"

typedef struct NamedTemplate
{
	char *name;
	char *channel;
} NamedTemplate;

typedef struct Names
{
	List *channels; /* of char * */
	List *topics;
	List *templates;	  /* of NamedTemplate */
	List *labels;		  /* of ScriptStep, labelled ones */
	List *events;		  /* of char *: captured, or receipts */
	List *strange_events; /* of ScriptText *: made by no capture */
	List *segments;
} Names;

static const char *const receipt_events[] = { "sent",		 "delivered",
											  "opened",		 "clicked",
											  "bounced",	 "complained",
											  "unsubscribed" };

/*
 * The nearest of some names as a hint, or NULL if none is near.  Of equally near
 * ones, one that starts as the word does: people rarely miss the first letter.
 */
char *
pgj_script_hint(const char *word, List *names)
{
	const char *best = NULL;
	int length = strlen(word);
	int limit = Min(3, (length + 1) / 2);
	ListCell *lc;

	if (length > NAMEDATALEN)
		return NULL;
	foreach (lc, names)
	{
		const char *name = lfirst(lc);
		int distance;

		if (strlen(name) > NAMEDATALEN)
			continue;
		distance = varstr_levenshtein_less_equal(
			word, length, name, strlen(name), 1, 1, 1, limit, true);
		if (distance < limit ||
			(distance == limit && (best == NULL || best[0] != word[0])))
		{
			best = name;
			limit = distance;
		}
	}
	return best ? psprintf("Perhaps you meant \"%s\".", best) : NULL;
}

static List *
read_names(const char *query)
{
	List *names = NIL;
	uint64 i;

	if (SPI_execute(query, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read names: %s", query);
	for (i = 0; i < SPI_processed; i++)
		names = lappend(names, SPI_getvalue(SPI_tuptable->vals[i],
											SPI_tuptable->tupdesc, 1));
	SPI_freetuptable(SPI_tuptable);
	return names;
}

static List *
read_templates(void)
{
	List *templates = NIL;
	uint64 i;

	if (SPI_execute(
			"SELECT name, channel FROM journey.template ORDER BY name COLLATE pg_catalog.\"C\", channel COLLATE pg_catalog.\"C\"",
			false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the templates");
	for (i = 0; i < SPI_processed; i++)
	{
		NamedTemplate *template = palloc(sizeof(NamedTemplate));

		template->name =
			SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		template->channel =
			SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
		templates = lappend(templates, template);
	}
	SPI_freetuptable(SPI_tuptable);
	return templates;
}

static bool
is_member(List *names, const char *name)
{
	ListCell *lc;

	foreach (lc, names)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	}
	return false;
}

static void
check_name(Compilation *c, const ScriptText *name, const char *kind,
		   List *names)
{
	if (!is_member(names, name->text))
		pgj_problem_add(c, name->offset, ERRCODE_UNDEFINED_OBJECT,
						psprintf("%s \"%s\" does not exist", kind, name->text),
						pgj_script_hint(name->text, names));
}

/*
 * The templates of a name: the channels they exist for, quoted; empty if there
 * is none.
 */
static char *
channels_of_template(Names *names, const char *name)
{
	StringInfoData channels;
	ListCell *lc;

	initStringInfo(&channels);
	foreach (lc, names->templates)
	{
		NamedTemplate *template = lfirst(lc);

		if (strcmp(template->name, name) == 0)
			appendStringInfo(&channels, "%s\"%s\"",
							 channels.len > 0 ? ", " : "", template->channel);
	}
	return channels.data;
}

/* Those of some channel: is the name among them, or a similar one? */
static bool
find_template(Names *names, const char *name, const char *channel,
			  List **candidates)
{
	ListCell *lc;

	foreach (lc, names->templates)
	{
		NamedTemplate *template = lfirst(lc);

		if (strcmp(template->channel, channel) != 0)
			continue;
		if (strcmp(template->name, name) == 0)
			return true;
		*candidates = lappend(*candidates, template->name);
	}
	return false;
}

/* A SEND needs its template for each channel that it may go over. */
static void
check_template(Compilation *c, Names *names, const ScriptText *name,
			   const ScriptText *channels)
{
	const char *others = channels_of_template(names, name->text);
	List *all = NIL;
	const ScriptText *channel;

	for (channel = channels; channel; channel = channel->next)
	{
		List *candidates = NIL;
		char *hint;

		/* of a channel that does not exist it has been said */
		if (!is_member(names->channels, channel->text) ||
			find_template(names, name->text, channel->text, &candidates))
			continue;
		all = list_concat(all, candidates);
		if (others[0] == '\0')
			continue;
		hint = pgj_script_hint(name->text, candidates);
		pgj_problem_add(
			c, name->offset, ERRCODE_UNDEFINED_OBJECT,
			psprintf("template \"%s\" does not exist for channel \"%s\"",
					 name->text, channel->text),
			hint
				? hint
				: psprintf(
					  "It exists for %s; journey.create_template() with channel => '%s' adds the other.",
					  others, channel->text));
	}
	if (others[0] == '\0')
		pgj_problem_add(c, name->offset, ERRCODE_UNDEFINED_OBJECT,
						psprintf("template \"%s\" does not exist", name->text),
						pgj_script_hint(name->text, all));
}

static void
check_send(Compilation *c, Names *names, const ScriptStep *step)
{
	const ScriptText *channel;
	List *seen = NIL;

	if (step->channel)
	{
		check_name(c, step->channel, "channel", names->channels);
		check_template(c, names, step->template, step->channel);
		return;
	}
	for (channel = step->channels; channel; channel = channel->next)
	{
		CHECK_FOR_INTERRUPTS();
		if (is_member(seen, channel->text))
		{
			pgj_problem_add(
				c, channel->offset, ERRCODE_DUPLICATE_OBJECT,
				psprintf("channel \"%s\" is named twice", channel->text), NULL);
			continue;
		}
		seen = lappend(seen, channel->text);
		check_name(c, channel, "channel", names->channels);
	}
	check_template(c, names, step->template, step->channels);
	if (step->channels->next == NULL)
		pgj_problem_add(c, step->channels->offset, ERRCODE_SYNTAX_ERROR,
						psprintf("%s wants at least two channels",
								 step->best ? "BEST OF" : "FIRST OF"),
						psprintf("With one, write SEND %s %s.",
								 step->channels->text, step->template->text));
}

/*
 * An event may come from journey.track(), so a name is never wrong; but one
 * that nothing captures is worth a word.
 */
static void
check_event(Compilation *c, Names *names, const ScriptText *event)
{
	ListCell *lc;

	if (event->flip != FLIP_NONE)
	{
		check_name(c, event, "segment", names->segments);
		return;
	}
	if (strncmp(event->text, PGJ_EVENT_PREFIX, strlen(PGJ_EVENT_PREFIX)) == 0)
	{
		pgj_problem_add(
			c, event->offset, ERRCODE_RESERVED_NAME,
			psprintf("event names that start with \"%s\" are reserved",
					 PGJ_EVENT_PREFIX),
			NULL);
		return;
	}
	if (is_member(names->events, event->text))
		return;
	foreach (lc, names->strange_events)
	{
		if (strcmp(((ScriptText *) lfirst(lc))->text, event->text) == 0)
			return;
	}
	names->strange_events =
		lappend(names->strange_events, unconstify(ScriptText *, event));
}

static void
mention_strange_events(Compilation *c, Names *names)
{
	ListCell *lc;

	foreach (lc, names->strange_events)
	{
		ScriptText *event = lfirst(lc);
		char *hint = pgj_script_hint(event->text, names->events);

		ereport(NOTICE,
				errmsg("line %d: no capture makes the event \"%s\"",
					   pgj_script_line(c, event->offset), event->text),
				hint ? errhint("%s", hint)
					 : errhint("It can still come from journey.track()."));
	}
}

/*
 * What a SEND says in vain because of its topic.  It may come to mean something
 * when the topic changes, so it is no error.
 */
static void
mention_idle_options(Compilation *c)
{
	Oid type = TEXTOID;
	Datum topic = CStringGetTextDatum(c->topic);
	bool transactional;
	bool capped;
	bool isnull;

	if (SPI_execute_with_args(
			"SELECT class OPERATOR(pg_catalog.=) 'transactional', obeys_caps FROM journey.topic"
			" WHERE name OPERATOR(pg_catalog.=) $1",
			1, &type, &topic, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read topic \"%s\"", c->topic);
	transactional = DatumGetBool(SPI_getbinval(
		SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	capped = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 2, &isnull));
	SPI_freetuptable(SPI_tuptable);

	for (int i = 0; i < c->nsteps; i++)
	{
		const ScriptStep *step = c->steps[i].step;

		if (step->best_time_within && transactional)
			ereport(NOTICE,
					errmsg("line %d: AT BEST TIME has no effect",
						   pgj_script_line(c, step->offset)),
					errdetail("Messages about \"%s\" are transactional.",
							  c->topic));
		if (step->when_capped != CAPPED_NOT_SAID && !capped)
			ereport(
				NOTICE,
				errmsg("line %d: WHEN CAPPED has no effect",
					   pgj_script_line(c, step->offset)),
				errdetail("Messages about \"%s\" do not obey caps.", c->topic));
	}
}

/* -------- labels -------- */

static ScriptStep *
find_label(Names *names, const char *label)
{
	ListCell *lc;

	foreach (lc, names->labels)
	{
		ScriptStep *step = lfirst(lc);

		if (strcmp(step->label->text, label) == 0)
			return step;
	}
	return NULL;
}

static void
collect_labels(Compilation *c, Names *names)
{
	int i;

	for (i = 0; i < c->nsteps; i++)
	{
		ScriptStep *step = unconstify(ScriptStep *, c->steps[i].step);
		ScriptStep *other;

		if (c->steps[i].label == NULL)
			continue;
		CHECK_FOR_INTERRUPTS();
		other = find_label(names, step->label->text);
		if (other)
			pgj_problem_add(
				c, step->label->offset, ERRCODE_DUPLICATE_OBJECT,
				psprintf("label \"%s\" is used twice", step->label->text),
				psprintf("It stands already on line %d.",
						 pgj_script_line(c, other->label->offset)));
		else
			names->labels = lappend(names->labels, step);
	}
}

static void
check_of(Compilation *c, Names *names, StepRow *row)
{
	const ScriptText *of = row->step->of;
	ScriptStep *step = find_label(names, of->text);
	ListCell *lc;
	List *candidates = NIL;

	if (step && step->kind == STEP_SEND)
	{
		row->of_step = step->step_no;
		return;
	}
	foreach (lc, names->labels)
	{
		ScriptStep *other = lfirst(lc);

		if (other->kind == STEP_SEND)
			candidates = lappend(candidates, other->label->text);
	}
	if (step)
		pgj_problem_add(
			c, of->offset, ERRCODE_INVALID_OBJECT_DEFINITION,
			psprintf("label \"%s\" does not stand before a SEND", of->text),
			pgj_script_hint(of->text, candidates));
	else
		pgj_problem_add(c, of->offset, ERRCODE_UNDEFINED_OBJECT,
						psprintf("label \"%s\" does not exist", of->text),
						pgj_script_hint(of->text, candidates));
}

void
pgj_script_check_names(Compilation *c)
{
	Script *script = c->script;
	Names names = { 0 };
	ScriptEntry *entry;
	ScriptExit *rule;
	int i;

	names.channels = read_names(
		"SELECT name FROM journey.channel ORDER BY name COLLATE pg_catalog.\"C\"");
	names.topics = read_names(
		"SELECT name FROM journey.topic ORDER BY name COLLATE pg_catalog.\"C\"");
	names.events = read_names(
		"SELECT DISTINCT event COLLATE pg_catalog.\"C\" FROM journey.capture ORDER BY 1");
	names.segments = read_names(
		"SELECT name FROM journey.segment ORDER BY name COLLATE pg_catalog.\"C\"");
	names.templates = read_templates();
	for (i = 0; i < lengthof(receipt_events); i++)
		names.events =
			lappend(names.events, unconstify(char *, receipt_events[i]));
	collect_labels(c, &names);

	for (entry = script->entries; entry; entry = entry->next)
	{
		if (entry->event)
			check_event(c, &names, entry->event);
	}
	for (rule = script->exits; rule; rule = rule->next)
		check_event(c, &names, rule->event);
	if (script->goal_event)
		check_event(c, &names, script->goal_event);
	if (script->topic)
		check_name(c, script->topic, "topic", names.topics);

	for (i = 0; i < c->nsteps; i++)
	{
		StepRow *row = &c->steps[i];

		CHECK_FOR_INTERRUPTS();
		switch (row->step->kind)
		{
			case STEP_SEND:
				check_send(c, &names, row->step);
				break;
			case STEP_WAIT:
				if (row->step->since)
					check_event(c, &names, row->step->since);
				break;
			case STEP_WAIT_FOR:
				if (row->step->event)
					check_event(c, &names, row->step->event);
				if (row->step->of)
					check_of(c, &names, row);
				break;
			default:
				break;
		}
	}

	if (c->problems == NIL)
	{
		mention_strange_events(c, &names);
		mention_idle_options(c);
	}
}
