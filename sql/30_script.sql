/*
 * script: journeys, their immutable versions, and the graph of steps each
 * version compiles to.
 */

CREATE TABLE journey.journey
(
	journey_id			integer		GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name				text		NOT NULL UNIQUE,
	status				text		NOT NULL CHECK (status IN ('draft', 'active', 'paused', 'dropped')),
	version_id			integer,
	holdout_epoch		integer		NOT NULL DEFAULT 1,
	created_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.journey IS 'A journey; version_id is the version that new entries get';

CREATE TABLE journey.version
(
	version_id			integer		GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	journey_id			integer		NOT NULL,
	version				integer		NOT NULL,
	script				text		NOT NULL,
	topic				text		NOT NULL,
	priority			integer		NOT NULL,
	holdout				float8		NOT NULL CHECK (holdout >= 0 AND holdout < 1),
	holdout_by			integer,
	key_expression		integer,
	reentry				text		NOT NULL CHECK (reentry IN ('never', 'always', 'after', 'once per key')),
	reentry_after		interval,
	limit_entries		integer,
	limit_per			interval,
	goal_event			text,
	goal_condition		integer,
	goal_within			interval,
	goal_value			integer,
	created_at			timestamptz	NOT NULL,
	dropped				boolean		NOT NULL DEFAULT false,
	UNIQUE (journey_id, version)
);
COMMENT ON TABLE journey.version IS 'An immutable version of a journey. Columns of type integer that name an expression refer to journey.expression (version_id, expression_no).';
COMMENT ON COLUMN journey.version.dropped IS 'the journey was dropped while it had this version: its runs end, even when a journey of the name is created again';

CREATE TABLE journey.expression
(
	version_id			integer		NOT NULL,
	expression_no		integer		NOT NULL,
	line				integer		NOT NULL,
	source				text		NOT NULL,
	result				text		NOT NULL CHECK (result IN ('boolean', 'text', 'numeric', 'timestamptz', 'interval')),
	statement			text		NOT NULL,
	PRIMARY KEY (version_id, expression_no)
);
COMMENT ON TABLE journey.expression IS 'An expression of a script and the set-based statement it compiles to';

CREATE TABLE journey.entry
(
	version_id			integer		NOT NULL,
	entry_no			integer		NOT NULL,
	kind				text		NOT NULL CHECK (kind IN ('event', 'call')),
	event				text,
	condition			integer,
	PRIMARY KEY (version_id, entry_no),
	CHECK ((kind = 'event') = (event IS NOT NULL))
);
COMMENT ON TABLE journey.entry IS 'What starts a run of a version';

CREATE TABLE journey.exit_rule
(
	version_id			integer		NOT NULL,
	exit_no				integer		NOT NULL,
	event				text		NOT NULL,
	condition			integer,
	PRIMARY KEY (version_id, exit_no)
);
COMMENT ON TABLE journey.exit_rule IS 'An event that ends every run of a version at once';

/*
 * One row per step.  Steps are numbered in the order of the text, from 1; 0 in
 * next_step or else_step is the end of the journey.
 *
 *	 wait		duration; since_event restarts it (SINCE LAST event)
 *	 wait_until	condition = expression of type timestamptz; past_action says what
 *				happens when the instant has passed already: continue with
 *				next_step, skip the step that was waited for and go to
 *				else_step, or exit; with local_time instead of condition, until
 *				the contact's clock shows that time, on one of local_days (ISO:
 *				Monday is 1; null: any day)
 *	 wait_for	event (of the message sent at of_step, if set) or, without event,
 *				condition; next_step = THEN, else_step = ELSE (after duration)
 *	 send		channel or, for FIRST OF and BEST OF, channels; template, priority
 *				(that of the journey unless the step says otherwise), duration =
 *				EXPIRES, when_capped (skip unless the step says otherwise) with
 *				capped_within = DEFER WITHIN, best_time_within = AT BEST TIME
 *				WITHIN, also = ALSO
 *	 if			condition; next_step when true, else_step when false or null
 *	 exit		ends the run
 */
CREATE TABLE journey.step
(
	version_id			integer		NOT NULL,
	step_no				integer		NOT NULL CHECK (step_no > 0),
	kind				text		NOT NULL CHECK (kind IN ('wait', 'wait_until', 'wait_for', 'send', 'if', 'exit')),
	label				text,
	line				integer		NOT NULL,
	next_step			integer		NOT NULL,
	else_step			integer,
	duration			interval,
	since_event			text,
	event				text,
	of_step				integer,
	condition			integer,
	past_action			text		CHECK (past_action IN ('continue', 'skip', 'exit')),
	local_time			time,
	local_days			integer[],
	channel				text,
	channels			text[],
	best				boolean		NOT NULL DEFAULT false,
	template			text,
	priority			integer,
	when_capped			text		CHECK (when_capped IN ('skip', 'defer', 'exit')),
	capped_within		interval,
	best_time_within	interval,
	also				boolean		NOT NULL DEFAULT false,
	PRIMARY KEY (version_id, step_no)
);
COMMENT ON TABLE journey.step IS 'The graph of steps a version compiles to; 0 as a successor is the end of the journey';

CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.journey
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.version
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.step
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.expression
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.entry
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.exit_rule
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

-- No SET search_path: names in expressions resolve by the author's.
CREATE FUNCTION journey.create_journey(name text, script text, at timestamptz DEFAULT clock_timestamp())
RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'pgj_sql_create_journey';
REVOKE ALL ON FUNCTION journey.create_journey(text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_journey(text, text, timestamptz) IS 'Compile a script to a new version of a journey, and make the journey (as a draft) if there is none of that name. Returns the version; journey.activate() puts it to work.';

CREATE FUNCTION journey.activate(name text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_activate';
REVOKE ALL ON FUNCTION journey.activate(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.activate(text) IS 'Let contacts enter the newest version of a journey; those in flight stay on theirs';

CREATE FUNCTION journey.pause(name text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_pause';
REVOKE ALL ON FUNCTION journey.pause(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.pause(text) IS 'Hold a journey: nobody enters, nothing is decided or sent, until journey.resume()';

CREATE FUNCTION journey.resume(name text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_resume';
REVOKE ALL ON FUNCTION journey.resume(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.resume(text) IS 'Go on with a paused journey';

CREATE FUNCTION journey.drop_journey(name text)
RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_drop_journey';
REVOKE ALL ON FUNCTION journey.drop_journey(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_journey(text) IS 'End a journey and every run of it. What happened stays on record; journey.create_journey() of the same name goes on with the next version.';

CREATE FUNCTION journey._diagram(version_id integer)
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
SET intervalstyle = 'postgres'
AS 'MODULE_PATHNAME', 'pgj_sql_diagram';
REVOKE ALL ON FUNCTION journey._diagram(integer) FROM PUBLIC;
COMMENT ON FUNCTION journey._diagram(integer) IS 'internal: the flowchart of a version';

CREATE FUNCTION journey.diagram(name text, version integer DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	the_version_id integer;
BEGIN
	SELECT v.version_id INTO the_version_id
	FROM journey.version v
	JOIN journey.journey j ON j.journey_id OPERATOR(pg_catalog.=) v.journey_id
	WHERE j.name OPERATOR(pg_catalog.=) diagram.name
	  AND (diagram.version IS NULL OR v.version OPERATOR(pg_catalog.=) diagram.version)
	ORDER BY v.version DESC
	LIMIT 1;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'undefined_object',
			MESSAGE = CASE
				WHEN version IS NULL THEN pg_catalog.format('journey "%s" does not exist', name)
				ELSE pg_catalog.format('version %s of journey "%s" does not exist', version, name)
			END;
	END IF;
	RETURN journey._diagram(the_version_id);
END
$$;
REVOKE ALL ON FUNCTION journey.diagram(text, integer) FROM PUBLIC;
COMMENT ON FUNCTION journey.diagram(text, integer) IS 'A version of a journey (the newest unless one is named) as a Mermaid flowchart';

-- DROP EXTENSION takes the definitions and leaves journey_state.  Numbers that are
-- still in there must not come to mean other journeys: their runs would go on as
-- those, and mail people who never entered them.
CREATE FUNCTION journey._bury_lost_journeys()
RETURNS integer[]
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	lost integer;
BEGIN
	INSERT INTO journey.journey (journey_id, name, status, created_at) OVERRIDING SYSTEM VALUE
	SELECT l.journey_id, format('lost journey %s', l.journey_id), 'dropped', min(l.at)
	FROM (
		SELECT e.journey_id, e.entered_at AS at FROM journey_state.enrollment AS e
		UNION ALL
		SELECT x.journey_id, x.exposed_at FROM journey_state.exposure AS x WHERE x.layer = 'journey'
		UNION ALL
		SELECT r.journey_id, r.at FROM journey_state.refusal AS r
	) AS l
	WHERE NOT EXISTS (SELECT FROM journey.journey AS j WHERE j.journey_id = l.journey_id)
	GROUP BY l.journey_id;
	GET DIAGNOSTICS lost = ROW_COUNT;
	IF lost > 0 THEN
		RAISE NOTICE 'the definitions of % journeys in schema "journey_state" are gone', lost
			USING DETAIL = 'Their runs end by their next due moment, and their messages are withheld.';
	END IF;

	INSERT INTO journey.version (version_id, journey_id, version, script, topic, priority, holdout, reentry, created_at, dropped)
		OVERRIDING SYSTEM VALUE
	SELECT l.version_id, l.journey_id, row_number() OVER (PARTITION BY l.journey_id ORDER BY l.version_id),
		'', 'promotions', 50, 0, 'always', min(l.at), true
	FROM (
		SELECT e.version_id, e.journey_id, e.entered_at AS at FROM journey_state.enrollment AS e
		UNION ALL
		SELECT r.version_id, r.journey_id, r.at FROM journey_state.refusal AS r
	) AS l
	WHERE NOT EXISTS (SELECT FROM journey.version AS v WHERE v.version_id = l.version_id)
	GROUP BY l.version_id, l.journey_id;

	RETURN ARRAY[
		(SELECT max(j.journey_id) FROM journey.journey AS j),
		(SELECT max(v.version_id) FROM journey.version AS v),
		(SELECT max(c.capture_id) FROM journey_state.capture_error AS c)
	];
END
$$;
REVOKE ALL ON FUNCTION journey._bury_lost_journeys() FROM PUBLIC;
COMMENT ON FUNCTION journey._bury_lost_journeys() IS 'internal: puts a dropped journey in the place of each that journey_state knows and schema journey does not; the highest numbers of journeys, versions and captures in use';
