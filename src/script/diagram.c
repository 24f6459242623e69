/*-------------------------------------------------------------------------
 *
 * diagram.c
 *	  A journey as a Mermaid flowchart.
 *
 * Drawn from the rows of journey.step, so what is seen is what runs.  Every
 * text from a script is escaped: Mermaid reads #quot; and the like inside
 * quoted labels, and a script's text must not become markup of the page.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#include "pg_journey.h"
#include "script/script_compile.h"

#define MAX_LABEL 60 /* characters of an expression shown */

/* Append text for use inside a quoted Mermaid label, shortened if need be. */
static void
append_escaped(StringInfo s, const char *text, int max)
{
	int shown = 0;
	bool space = false;

	for (; *text; text += pg_mblen(text))
	{
		if (strchr(" \t\r\n\f\v", *text))
		{
			space = (shown > 0);
			continue;
		}
		if (shown + space >= max)
		{
			appendStringInfoString(s, "#8230;");
			return;
		}
		if (space)
			appendStringInfoChar(s, ' ');
		shown += 1 + space;
		space = false;
		if ((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') ||
			(*text >= '0' && *text <= '9') || strchr(" _-+.,:/=%()'", *text))
			appendStringInfoChar(s, *text);
		else if (IS_HIGHBIT_SET(*text))
			appendBinaryStringInfo(s, text, pg_mblen(text));
		else
			appendStringInfo(s, "#%d;", (unsigned char) *text);
	}
}

/* Column of the current row, or NULL. */
static char *
column(uint64 row, int n)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, n);
}

static void
append_part(StringInfo s, const char *before, const char *text)
{
	if (text == NULL)
		return;
	appendStringInfoString(s, before);
	append_escaped(s, text, MAX_LABEL);
}

/* If the event is one that a segment writes: the segment, and what happens. */
static const char *
segment_of(const char *event, const char **flip)
{
	if (strncmp(event, PGJ_EVENT_ENTER, strlen(PGJ_EVENT_ENTER)) == 0)
	{
		*flip = "ENTER SEGMENT ";
		return event + strlen(PGJ_EVENT_ENTER);
	}
	if (strncmp(event, PGJ_EVENT_LEAVE, strlen(PGJ_EVENT_LEAVE)) == 0)
	{
		*flip = "LEAVE SEGMENT ";
		return event + strlen(PGJ_EVENT_LEAVE);
	}
	*flip = "";
	return NULL;
}

static void
append_event(StringInfo s, const char *before, const char *event)
{
	const char *flip;
	const char *segment;

	if (event == NULL)
		return;
	segment = segment_of(event, &flip);
	appendStringInfo(s, "%s%s", before, flip);
	append_escaped(s, segment ? segment : event, MAX_LABEL);
}

static void
append_entry(StringInfo s, const char *event)
{
	const char *flip;

	if (event == NULL)
		appendStringInfoString(s, "ON CALL");
	else
		append_event(s, segment_of(event, &flip) ? "ON " : "ON EVENT ", event);
}

static void
append_edge(StringInfo s, const char *from, const char *to, const char *text)
{
	appendStringInfo(s, "    s%s -->", from);
	if (text)
		appendStringInfo(s, "|%s|", text);
	if (strcmp(to, "0") == 0)
		appendStringInfoString(s, " done\n");
	else
		appendStringInfo(s, " s%s\n", to);
}

/* columns of the query in draw_steps() */
enum
{
	STEP_NO = 1,
	KIND,
	LABEL,
	NEXT,
	ELSE,
	DURATION,
	SINCE,
	EVENT,
	OF,
	PAST,
	CHANNEL,
	TEMPLATE,
	SOURCE,
	CLOCK,
	DAYS,
	CAPPED,
	CAPPED_WITHIN,
	BEST_TIME
};

static void
draw_send(StringInfo s, uint64 row)
{
	char *capped = column(row, CAPPED);
	char *label = column(row, LABEL);

	append_part(s, "[\"SEND ", column(row, CHANNEL));
	append_part(s, " ", column(row, TEMPLATE));
	append_part(s, "<br>AT BEST TIME WITHIN ", column(row, BEST_TIME));
	if (strcmp(capped, "skip") != 0)
		append_part(s, "<br>WHEN CAPPED ", asc_toupper(capped, strlen(capped)));
	append_part(s, " WITHIN ", column(row, CAPPED_WITHIN));
	append_part(s, "<br>#171;", label);
	appendStringInfoString(s, label ? "#187;\"]\n" : "\"]\n");
}

static void
draw_step(StringInfo s, uint64 row)
{
	char *no = column(row, STEP_NO);
	char *kind = column(row, KIND);
	char *next = column(row, NEXT);
	char *other = column(row, ELSE);

	appendStringInfo(s, "    s%s", no);
	if (strcmp(kind, "send") == 0)
	{
		draw_send(s, row);
		append_edge(s, no, next, NULL);
		if (strcmp(column(row, CAPPED), "exit") == 0)
			append_edge(s, no, "0", "capped");
	}
	else if (strcmp(kind, "if") == 0)
	{
		appendStringInfoString(s, "{\"");
		append_part(s, "", column(row, SOURCE));
		appendStringInfoString(s, "\"}\n");
		append_edge(s, no, next, "yes");
		append_edge(s, no, other, "no");
	}
	else if (strcmp(kind, "wait") == 0)
	{
		appendStringInfoString(s, "([\"");
		append_part(s, "WAIT ", column(row, DURATION));
		append_event(s, " SINCE LAST ", column(row, SINCE));
		appendStringInfoString(s, "\"])\n");
		append_edge(s, no, next, NULL);
	}
	else if (strcmp(kind, "wait_until") == 0)
	{
		char *past = column(row, PAST);

		appendStringInfoString(s, "([\"");
		append_part(s, "WAIT UNTIL ", column(row, SOURCE));
		append_part(s, "WAIT UNTIL ", column(row, CLOCK));
		append_part(s, " ON ", column(row, DAYS));
		appendStringInfoString(s, "\"])\n");
		append_edge(s, no, next, NULL);
		if (past == NULL)
			; /* the next such time never has */
		else if (strcmp(past, "skip") == 0)
			append_edge(s, no, other, "past");
		else if (strcmp(past, "exit") == 0)
			append_edge(s, no, "0", "past");
	}
	else if (strcmp(kind, "wait_for") == 0)
	{
		appendStringInfoString(s, "{{\"");
		append_event(s, "WAIT FOR ", column(row, EVENT));
		append_part(s, " OF ", column(row, OF));
		append_part(s, column(row, EVENT) ? " WHERE " : "WAIT FOR ",
					column(row, SOURCE));
		appendStringInfoString(s, "\"}}\n");
		append_edge(s, no, next, "then");
		{
			StringInfoData text;

			initStringInfo(&text);
			append_part(&text, "\"after ", column(row, DURATION));
			appendStringInfoChar(&text, '"');
			append_edge(s, no, other, text.data);
		}
	}
	else
		appendStringInfoString(s, "((\"EXIT\"))\n");
}

static void
select_rows(const char *query, int version_id)
{
	Oid type = INT4OID;
	Datum value = Int32GetDatum(version_id);

	if (SPI_execute_with_args(query, 1, &type, &value, NULL, true, 0) !=
		SPI_OK_SELECT)
		elog(ERROR, "could not read a journey's steps");
}

static void
draw_entries(StringInfo s, int version_id)
{
	select_rows(
		"SELECT n.entry_no, n.event, x.source FROM journey.entry AS n"
		" LEFT JOIN journey.expression AS x ON x.version_id OPERATOR(pg_catalog.=) n.version_id"
		" AND x.expression_no OPERATOR(pg_catalog.=) n.condition"
		" WHERE n.version_id OPERATOR(pg_catalog.=) $1 ORDER BY n.entry_no",
		version_id);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		char *no = column(row, 1);
		char *event = column(row, 2);

		appendStringInfo(s, "    e%s[/\"", no);
		append_entry(s, event);
		append_part(s, " WHERE ", column(row, 3));
		appendStringInfo(s, "\"/] --> s1\n");
	}
	SPI_freetuptable(SPI_tuptable);
}

static void
draw_steps(StringInfo s, int version_id)
{
	select_rows(
		"SELECT s.step_no, s.kind, s.label, s.next_step, s.else_step, s.duration, s.since_event,"
		" s.event, o.label, s.past_action,"
		" COALESCE(s.channel, CASE WHEN s.best THEN 'BEST OF (' ELSE 'FIRST OF (' END"
		"  OPERATOR(pg_catalog.||) pg_catalog.array_to_string(s.channels, ', ') OPERATOR(pg_catalog.||) ')'),"
		" s.template, x.source, pg_catalog.to_char(s.local_time, CASE WHEN EXTRACT(second FROM s.local_time) OPERATOR(pg_catalog.=) 0 THEN 'HH24:MI' ELSE 'HH24:MI:SS' END),"
		" (SELECT pg_catalog.string_agg((ARRAY['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'])[d], ', ' ORDER BY d)"
		"  FROM pg_catalog.unnest(s.local_days) AS d),"
		" s.when_capped, s.capped_within, s.best_time_within FROM journey.step AS s"
		" LEFT JOIN journey.step AS o ON o.version_id OPERATOR(pg_catalog.=) s.version_id"
		" AND o.step_no OPERATOR(pg_catalog.=) s.of_step"
		" LEFT JOIN journey.expression AS x ON x.version_id OPERATOR(pg_catalog.=) s.version_id"
		" AND x.expression_no OPERATOR(pg_catalog.=) s.condition"
		" WHERE s.version_id OPERATOR(pg_catalog.=) $1 ORDER BY s.step_no",
		version_id);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		CHECK_FOR_INTERRUPTS();
		draw_step(s, row);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* journey._diagram(version_id integer) returns text */
PG_FUNCTION_INFO_V1(pgj_sql_diagram);
Datum
pgj_sql_diagram(PG_FUNCTION_ARGS)
{
	int version_id = PG_GETARG_INT32(0);
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(&s, "flowchart TD\n");
	SPI_connect();
	draw_entries(&s, version_id);
	draw_steps(&s, version_id);
	SPI_finish();
	appendStringInfoString(&s, "    done((\"end\"))\n");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(s.data, s.len));
}
