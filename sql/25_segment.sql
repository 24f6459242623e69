/*
 * segment: named conditions over the contact's row, kept current by changes and
 * by the clock.
 *
 * A segment's statements live as SQL functions with parsed bodies in
 * journey_state (segment_<id>_...): they follow renames, and dropping what they
 * read is refused or, with CASCADE, suspends the segment.
 */

CREATE TABLE journey.segment
(
	segment_id			integer		GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name				text		NOT NULL UNIQUE,
	predicate			text		NOT NULL,
	search_path			text		NOT NULL,
	timezone			text		NOT NULL,
	refresh_every		interval	NOT NULL CHECK (refresh_every > '0'),
	revision			integer		NOT NULL DEFAULT 1,
	level				integer		NOT NULL,
	opaque				boolean		NOT NULL,
	status				text		NOT NULL CHECK (status IN ('building', 'current', 'suspended')),
	announce			boolean		NOT NULL,
	cost				float8		NOT NULL,
	created_at			timestamptz	NOT NULL,
	changed_at			timestamptz	NOT NULL,
	error				text,
	error_at			timestamptz,
	CHECK ((error IS NOT NULL) = (status = 'suspended'))
);
COMMENT ON TABLE journey.segment IS 'Named conditions over a contact''s row';
COMMENT ON COLUMN journey.segment.timezone IS 'in which current_date, date_trunc() and the like are meant';
COMMENT ON COLUMN journey.segment.revision IS 'how often the predicate was set';
COMMENT ON COLUMN journey.segment.level IS '0, or one more than the highest level of the segments its predicate asks for by in_segment(); lower levels are evaluated first';
COMMENT ON COLUMN journey.segment.opaque IS 'has a part whose changes are not seen (journey.segment_part), so that all contacts are evaluated again every refresh_every';
COMMENT ON COLUMN journey.segment.announce IS 'whether contacts for whom the predicate is found true (or no longer true) by the scan under way, after creation or alteration, enter (leave) as an event';
COMMENT ON COLUMN journey.segment.cost IS 'the planner''s estimate for one contact';

-- How a changed row of a table leads to contacts.  Shared by segments.
CREATE TABLE journey.watch
(
	watch_id			integer		GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	relation			regclass	NOT NULL,
	kind				text		NOT NULL CHECK (kind IN ('contact', 'link', 'all')),
	key					smallint[]	NOT NULL,
	null_is_all			boolean		NOT NULL,
	UNIQUE (relation, kind, key, null_is_all),
	CHECK ((kind = 'all') = (key = '{}'))
);
COMMENT ON TABLE journey.watch IS 'What a row''s change says of contacts. contact: the column key holds the contact''s key; link: the columns key lead to contacts through other tables (journey.segment_watch.find); all: any change concerns every contact';
COMMENT ON COLUMN journey.watch.key IS 'attribute numbers';
COMMENT ON COLUMN journey.watch.null_is_all IS 'a row whose key is null concerns every contact (NOT IN)';

CREATE TABLE journey.watch_member
(
	relation			regclass	NOT NULL,
	member				regclass	NOT NULL,
	PRIMARY KEY (relation, member)
);
COMMENT ON TABLE journey.watch_member IS 'The tables that make up a watched one, itself included, as they were when it was last looked at: partitions and child tables that come and go';

CREATE TABLE journey.segment_watch
(
	segment_id			integer		NOT NULL,
	watch_id			integer		NOT NULL,
	columns				smallint[],
	event_names			text[],
	find				text,
	PRIMARY KEY (segment_id, watch_id)
);
COMMENT ON TABLE journey.segment_watch IS 'Which watches a segment has';
COMMENT ON COLUMN journey.segment_watch.columns IS 'attribute numbers of the columns read, key included; null: the whole row. An update of none of them is passed over.';
COMMENT ON COLUMN journey.segment_watch.event_names IS 'for journey_state.event: the names read; null: all';
COMMENT ON COLUMN journey.segment_watch.find IS 'kind link: the function of journey_state from key values to contacts';

CREATE TABLE journey.segment_part
(
	segment_id			integer		NOT NULL,
	part_no				integer		NOT NULL,
	kind				text		NOT NULL CHECK (kind IN ('boundary', 'opaque')),
	source				text		NOT NULL,
	detail				text		NOT NULL,
	PRIMARY KEY (segment_id, part_no)
);
COMMENT ON TABLE journey.segment_part IS 'What the analysis found in a predicate. boundary: a condition on time and the SQL that says when it flips next; opaque: a part whose changes or flips are not seen, and why';

CREATE TABLE journey.segment_need
(
	segment_id			integer		NOT NULL,
	needed_id			integer		NOT NULL,
	PRIMARY KEY (segment_id, needed_id)
);
COMMENT ON TABLE journey.segment_need IS 'Segments that a predicate asks for by journey.in_segment()';

CREATE TABLE journey.segment_source
(
	segment_id			integer		NOT NULL,
	source_no			integer		NOT NULL,
	kind				text		NOT NULL CHECK (kind IN ('view', 'function')),
	name				text		NOT NULL,
	object				oid,
	digest				text,
	PRIMARY KEY (segment_id, source_no)
);
COMMENT ON TABLE journey.segment_source IS 'Views and SQL functions that a predicate was looked into, and what they were then';

CREATE TABLE journey.time_column
(
	relation			regclass	PRIMARY KEY,
	attribute			name		NOT NULL
);
COMMENT ON TABLE journey.time_column IS 'For tables that only grow: the column that says since when a row has been there; what journey.segment_size() needs for a past time';

CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.segment
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.watch
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.segment_watch
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.segment_need
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

-- No SET search_path: names in the predicate resolve by the author's.
CREATE FUNCTION journey.create_segment(name text, predicate text, existing text DEFAULT 'ignore', timezone text DEFAULT current_setting('TimeZone'), refresh_every interval DEFAULT '1 day', at timestamptz DEFAULT clock_timestamp())
RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pgj_sql_create_segment';
REVOKE ALL ON FUNCTION journey.create_segment(text, text, text, text, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_segment(text, text, text, text, interval, timestamptz) IS 'Make a segment of the contacts (c) for whom a predicate is true. existing: whether those for whom it is true already enter as an event (enter) or not (ignore). timezone: in which dates are meant. refresh_every: how often all contacts are looked at again if a part of the predicate cannot be followed. Returns the segment''s number.';

-- No SET search_path: names in the predicate resolve by the author's.
CREATE FUNCTION journey.alter_segment(name text, predicate text DEFAULT NULL, existing text DEFAULT 'ignore', timezone text DEFAULT NULL, refresh_every interval DEFAULT NULL, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pgj_sql_alter_segment';
REVOKE ALL ON FUNCTION journey.alter_segment(text, text, text, text, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.alter_segment(text, text, text, text, interval, timestamptz) IS 'Change what is not null of a segment. Members stay until a scan has been over them; existing: whether those whom it finds to have entered or left do so as an event (enter) or not (ignore).';

CREATE FUNCTION journey.drop_segment(name text)
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_drop_segment';
REVOKE ALL ON FUNCTION journey.drop_segment(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_segment(text) IS 'Drop a segment that no other segment and no journey uses; nobody leaves it as an event';

CREATE FUNCTION journey.resume_segment(name text, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_resume_segment';
REVOKE ALL ON FUNCTION journey.resume_segment(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.resume_segment(text, timestamptz) IS 'Compile a suspended segment anew and look at all contacts again; those who entered or left meanwhile do so now, as an event';

CREATE FUNCTION journey.refresh_segment(name text, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_refresh_segment';
REVOKE ALL ON FUNCTION journey.refresh_segment(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.refresh_segment(text, timestamptz) IS 'Ask for a look at all contacts';

CREATE FUNCTION journey._segment_plan(segment_id integer)
RETURNS SETOF text
LANGUAGE c STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_segment_plan';
REVOKE ALL ON FUNCTION journey._segment_plan(integer) FROM PUBLIC;
COMMENT ON FUNCTION journey._segment_plan(integer) IS 'internal: how PostgreSQL runs the statement of a segment for a hundred contacts';

CREATE FUNCTION journey.explain_segment(name text)
RETURNS TABLE (section text, item text, detail text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s record;
	owner oid;
BEGIN
	SELECT g.* INTO s FROM journey.segment AS g WHERE g.name = explain_segment.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = format('segment "%s" does not exist', explain_segment.name);
	END IF;

	RETURN QUERY VALUES
		('predicate', 'predicate', s.predicate),
		('predicate', 'time zone', s.timezone),
		('predicate', 'status', s.status || coalesce(': ' || s.error, ''));

	RETURN QUERY
	SELECT 'watch', w.relation::text,
		concat_ws('; ',
			CASE w.kind
				WHEN 'contact' THEN format('the contact is in %s', k.key)
				WHEN 'link' THEN format('contacts are found by %s', k.key)
				ELSE 'a change concerns all contacts'
			END,
			CASE WHEN w.null_is_all THEN 'a row without it concerns all contacts' END,
			CASE WHEN g.columns IS NULL THEN 'reads the whole row' ELSE 'reads ' || c.columns END,
			'events: ' || array_to_string(g.event_names, ', '))
	FROM journey.segment_watch AS g
	JOIN journey.watch AS w ON w.watch_id = g.watch_id
	CROSS JOIN LATERAL (
		SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.ordinality)
		FROM unnest(w.key) WITH ORDINALITY AS u (attnum, ordinality)
		JOIN pg_attribute AS a ON a.attrelid = w.relation AND a.attnum = u.attnum) AS k (key)
	CROSS JOIN LATERAL (
		SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
		FROM pg_attribute AS a WHERE a.attrelid = w.relation AND a.attnum = ANY (g.columns)) AS c (columns)
	WHERE g.segment_id = s.segment_id
	ORDER BY w.relation::text, w.kind, w.key;

	RETURN QUERY
	SELECT 'find', format('%s (%s)', w.relation, (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.ordinality)
		FROM unnest(w.key) WITH ORDINALITY AS u (attnum, ordinality)
		JOIN pg_attribute AS a ON a.attrelid = w.relation AND a.attnum = u.attnum)),
		pg_get_function_sqlbody(p.oid)
	FROM journey.segment_watch AS g
	JOIN journey.watch AS w ON w.watch_id = g.watch_id
	JOIN pg_proc AS p ON p.pronamespace = to_regnamespace('journey_state') AND format('journey_state.%I', p.proname) = g.find
	WHERE g.segment_id = s.segment_id
	ORDER BY w.relation::text, w.key;

	RETURN QUERY
	SELECT p.kind, p.source, p.detail FROM journey.segment_part AS p WHERE p.segment_id = s.segment_id ORDER BY p.part_no;
	IF s.opaque THEN
		RETURN QUERY VALUES ('opaque', 'refresh_every', s.refresh_every::text);
	END IF;

	RETURN QUERY
	SELECT 'needs', g.name, format('level %s', g.level)
	FROM journey.segment_need AS n JOIN journey.segment AS g ON g.segment_id = n.needed_id
	WHERE n.segment_id = s.segment_id ORDER BY g.name;

	RETURN QUERY
	SELECT 'statement', p.proname::text, pg_get_function_sqlbody(p.oid)
	FROM pg_proc AS p
	WHERE p.pronamespace = to_regnamespace('journey_state') AND p.proname = format('segment_%s_check', s.segment_id);

	RETURN QUERY VALUES ('cost', 'one contact', round(s.cost::numeric, 2)::text);

	-- planning meets the owner's functions: only in a session that may run them
	SELECT n.nspowner INTO owner FROM pg_namespace AS n WHERE n.nspname = 'journey_state';
	IF pg_has_role(current_user, owner, 'USAGE')
		AND NOT EXISTS (SELECT FROM pg_roles AS r WHERE r.rolname IN (session_user, current_user) AND r.rolsuper) THEN
		RETURN QUERY SELECT 'plan', row_number() OVER ()::text, p.line FROM journey._segment_plan(s.segment_id) AS p (line);
	ELSE
		RETURN QUERY VALUES ('plan', '', 'shown to members of the journey owner');
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.explain_segment(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.explain_segment(text) IS 'What was found out about a segment''s predicate: what is watched and how changes lead to contacts, when time flips it, what cannot be followed, the statement, its cost and plan';
