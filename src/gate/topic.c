/*-------------------------------------------------------------------------
 *
 * topic.c
 *	  Topics and channels, as the gate reads them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "gate/check.h"
#include "gate/scope.h"
#include "kept.h"

typedef struct Topic
{
	char *name;
	char *class;
	bool obeys;
	bool counts;
} Topic;

typedef struct Topics
{
	int n;
	Topic *topic;
	Names by_phone; /* channels that need a telephone number */
} Topics;

static void *
read_topics(const Site *site)
{
	static KeptPlan topics_plan = {
		.sql =
			"SELECT t.name, t.class, t.obeys_caps, t.counts_in_caps FROM journey.topic AS t"
	};
	static KeptPlan channels_plan = {
		.sql =
			"SELECT ARRAY(SELECT h.name FROM journey.channel AS h WHERE h.address OPERATOR(pg_catalog.=) 'phone')"
	};
	MemoryContext context = CurrentMemoryContext;
	Topics *topics = palloc_object(Topics);

	topics->n = (int) pgj_kept_select(&topics_plan, site);
	topics->topic = palloc_array(Topic, topics->n + 1);
	for (int row = 0; row < topics->n; row++)
	{
		Topic *topic = &topics->topic[row];

		topic->name = pgj_row_text(context, row, 1);
		topic->class = pgj_row_text(context, row, 2);
		topic->obeys = DatumGetBool(pgj_row_value(row, 3));
		topic->counts = DatumGetBool(pgj_row_value(row, 4));
	}
	(void) pgj_kept_select(&channels_plan, site);
	topics->by_phone = pgj_names_read(0, 1);
	return topics;
}

/* A topic that is gone is none that needs no consent. */
static const Topic *
find_topic(const Topics *topics, const char *name)
{
	static const Topic gone = { .class = "promotional",
								.obeys = true,
								.counts = true };

	for (int i = 0; i < topics->n; i++)
		if (strcmp(topics->topic[i].name, name) == 0)
			return &topics->topic[i];
	return &gone;
}

void
pgj_check_definitions(const Site *site, Check *checks, int n)
{
	static Kept kept = { .name = "topics and channels",
						 .tables = { "channel", "topic" },
						 .read = read_topics };
	const Topics *topics = pgj_kept(&kept, site);

	for (int i = 0; i < n; i++)
	{
		Check *check = &checks[i];
		GateRequest *request = check->request;
		const Topic *topic = find_topic(topics, request->topic);

		request->class = topic->class;
		request->counts = topic->counts;
		check->obeys = topic->obeys;
		check->transactional = strcmp(topic->class, "transactional") == 0;
		check->by_phone = pgj_names_have(&topics->by_phone, request->channel);
	}
}
