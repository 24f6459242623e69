/*
 * quiet: time zones of countries, and quiet hours.
 */

CREATE TABLE journey.timezone
(
	country				text		PRIMARY KEY,
	zones				text[]		NOT NULL CHECK (cardinality(zones) > 0),
	set_at				timestamptz	NOT NULL
);
COMMENT ON TABLE journey.timezone IS 'In which time zones contacts without one of their own may be, by country (US), region (US-FL) or for all others (*)';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.timezone
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE TABLE journey.quiet_hours
(
	name				text		PRIMARY KEY,
	starts				time		NOT NULL,
	ends				time		NOT NULL,
	days				text[]		NOT NULL,
	channels			text[],
	topics				text[],
	countries			text[],
	action				text		NOT NULL CHECK (action IN ('defer', 'skip', 'send')),
	jitter				interval	NOT NULL,
	created_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.quiet_hours IS 'Times of the contact''s day at which nothing is sent, or, with action send, at which the others do not hold';
COMMENT ON COLUMN journey.quiet_hours.ends IS 'not after starts: on the next day';
COMMENT ON COLUMN journey.quiet_hours.days IS 'on which the window starts';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.quiet_hours
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE FUNCTION journey._is_timezone(name text)
RETURNS boolean
LANGUAGE c STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_is_timezone';
REVOKE ALL ON FUNCTION journey._is_timezone(text) FROM PUBLIC;
COMMENT ON FUNCTION journey._is_timezone(text) IS 'internal: is this a time zone, Area/City or UTC?';

CREATE FUNCTION journey._local_instant(zone text, local timestamp)
RETURNS timestamptz
LANGUAGE c STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_local_instant';
REVOKE ALL ON FUNCTION journey._local_instant(text, timestamp) FROM PUBLIC;
COMMENT ON FUNCTION journey._local_instant(text, timestamp) IS 'internal: the instant of a local time: the first of two, or the first one after a time that the clock jumps over';

CREATE FUNCTION journey._local_next(zone text, after timestamptz, local time, days integer)
RETURNS timestamptz
LANGUAGE c STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_local_next';
REVOKE ALL ON FUNCTION journey._local_next(text, timestamptz, time, integer) FROM PUBLIC;
COMMENT ON FUNCTION journey._local_next(text, timestamptz, time, integer) IS 'internal: the next instant at which a clock comes to a time of day, on days given as bits (1 is Monday)';

CREATE FUNCTION journey._local_period(zones text[], period text, at timestamptz)
RETURNS timestamptz[]
LANGUAGE c STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_local_period';
REVOKE ALL ON FUNCTION journey._local_period(text[], text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._local_period(text[], text, timestamptz) IS 'internal: start and end of the day, week or month that an instant is in';

CREATE FUNCTION journey.set_timezone(zones text[], country text DEFAULT '*', at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	place text := upper(upper(btrim(country, ' ') COLLATE "C") COLLATE "default");
	bad text;
BEGIN
	IF place IS NULL OR place OPERATOR(pg_catalog.=) '' OR length(place) OPERATOR(pg_catalog.>) 60 THEN
		RAISE EXCEPTION 'country must have 1 to 60 characters'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Write it as in the contact table: US, or US-FL for a region; * is for all others.';
	END IF;
	IF zones IS NULL THEN
		DELETE FROM journey.timezone AS t WHERE t.country OPERATOR(pg_catalog.=) place;
		RETURN;
	END IF;
	IF cardinality(zones) OPERATOR(pg_catalog.=) 0 OR array_position(zones, NULL) IS NOT NULL THEN
		RAISE EXCEPTION 'zones must not be empty or contain nulls'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Null in place of the array removes what was set.';
	END IF;
	SELECT z.name INTO bad FROM unnest(zones) AS z (name) WHERE NOT journey._is_timezone(z.name) LIMIT 1;
	IF bad IS NOT NULL THEN
		RAISE EXCEPTION 'time zone % does not exist', quote_literal("left"(bad, 100))
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A time zone is Area/City, such as Europe/London, or UTC. See pg_timezone_names.';
	END IF;
	INSERT INTO journey.timezone AS t (country, zones, set_at) VALUES (place, set_timezone.zones, set_timezone.at)
	ON CONFLICT ON CONSTRAINT timezone_pkey DO UPDATE SET zones = EXCLUDED.zones, set_at = EXCLUDED.set_at;
END
$$;
REVOKE ALL ON FUNCTION journey.set_timezone(text[], text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.set_timezone(text[], text, timestamptz) IS 'in which time zones contacts of a country (US) or region (US-FL) may be that have none of their own; * for all others. Where one clock is needed, the first one''s counts. Null removes it.';

-- A null array stays null: all.
CREATE FUNCTION journey._check_names(what text, present text[], names text[])
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing text;
BEGIN
	IF cardinality(names) OPERATOR(pg_catalog.=) 0 OR array_position(names, NULL) IS NOT NULL THEN
		RAISE EXCEPTION '%s must not be empty or contain nulls', what
			USING ERRCODE = 'invalid_parameter_value',
			HINT = pg_catalog.format('Leave %ss out for all.', what);
	END IF;
	SELECT n.name INTO missing FROM unnest(names) AS n (name) WHERE n.name OPERATOR(pg_catalog.<>) ALL (present) LIMIT 1;
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION '% "%" does not exist', what, missing
			USING ERRCODE = 'undefined_object',
			HINT = pg_catalog.format('Create it with journey.create_%s().', what);
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey._check_names(text, text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_names(text, text[], text[]) IS 'internal: refuses an empty array, and names of channels or topics that are not there';

CREATE FUNCTION journey._check_quiet_week()
RETURNS void
LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_check_quiet_week';
REVOKE ALL ON FUNCTION journey._check_quiet_week() FROM PUBLIC;
COMMENT ON FUNCTION journey._check_quiet_week() IS 'internal: refuses quiet hours that leave some channel, topic and country no moment of the week';

CREATE FUNCTION journey.create_quiet_hours(name text, starts time, ends time, days text[] DEFAULT '{mon,tue,wed,thu,fri,sat,sun}',
	channels text[] DEFAULT NULL, topics text[] DEFAULT NULL, countries text[] DEFAULT NULL, action text DEFAULT 'defer', jitter interval DEFAULT '0',
	at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	week CONSTANT text[] := '{mon,tue,wed,thu,fri,sat,sun}';
	full_week CONSTANT text[] := '{monday,tuesday,wednesday,thursday,friday,saturday,sunday}';
	chosen CONSTANT text[] := ARRAY(SELECT coalesce(week[array_position(full_week, lower(d.day))], lower(d.day)) FROM unnest(days) AS d (day));
	bad text;
	places text[];
BEGIN
	IF name IS NULL OR starts IS NULL OR ends IS NULL OR days IS NULL OR action IS NULL OR jitter IS NULL THEN
		RAISE EXCEPTION 'name, starts, ends, days, action and jitter must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF name OPERATOR(pg_catalog.=) '' THEN
		RAISE EXCEPTION 'the name of quiet hours must not be empty'
			USING ERRCODE = 'invalid_name';
	END IF;
	IF starts OPERATOR(pg_catalog.=) time '24:00' THEN
		RAISE EXCEPTION 'quiet hours cannot start at 24:00'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Let them start at 00:00 of the next day.';
	END IF;
	SELECT d.day INTO bad FROM unnest(chosen) AS d (day) WHERE d.day IS NULL OR d.day OPERATOR(pg_catalog.<>) ALL (week) LIMIT 1;
	IF FOUND OR cardinality(days) OPERATOR(pg_catalog.=) 0 THEN
		RAISE EXCEPTION '% is not a day of the week', coalesce(quote_literal(bad), 'nothing')
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Days are mon, tue, wed, thu, fri, sat and sun, or monday and so on.';
	END IF;
	IF action OPERATOR(pg_catalog.<>) ALL (ARRAY['defer', 'skip', 'send']) THEN
		RAISE EXCEPTION 'action must be defer, skip or send'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF jitter OPERATOR(pg_catalog.<) interval '0' OR jitter OPERATOR(pg_catalog.>) interval '1 day'
		OR jitter OPERATOR(pg_catalog.>) interval '0' AND action OPERATOR(pg_catalog.<>) 'defer' THEN
		RAISE EXCEPTION 'jitter must be between 0 and 1 day, and goes with action defer only'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM journey._check_names('channel', ARRAY(SELECT h.name FROM journey.channel AS h), channels);
	PERFORM journey._check_names('topic', ARRAY(SELECT t.name FROM journey.topic AS t), topics);
	IF EXISTS (SELECT FROM journey.topic AS t WHERE t.name OPERATOR(pg_catalog.=) ANY (topics) AND t.class OPERATOR(pg_catalog.=) 'transactional') THEN
		RAISE EXCEPTION 'quiet hours do not hold for transactional topics'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	places := ARRAY(SELECT DISTINCT upper(upper(btrim(c.name, ' ') COLLATE "C") COLLATE "default") FROM unnest(countries) AS c (name) ORDER BY 1);
	IF countries IS NULL THEN
		places := NULL;
	ELSIF cardinality(places) OPERATOR(pg_catalog.=) 0 OR array_position(places, NULL) IS NOT NULL OR '' OPERATOR(pg_catalog.=) ANY (places) THEN
		RAISE EXCEPTION 'countries must not be empty or contain nulls'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Leave countries out for all.';
	END IF;
	LOCK TABLE journey.quiet_hours IN SHARE ROW EXCLUSIVE MODE;
	INSERT INTO journey.quiet_hours AS q (name, starts, ends, days, channels, topics, countries, action, jitter, created_at)
	VALUES (create_quiet_hours.name, create_quiet_hours.starts, create_quiet_hours.ends,
		ARRAY(SELECT w.day FROM unnest(week) WITH ORDINALITY AS w (day, i) WHERE w.day OPERATOR(pg_catalog.=) ANY (chosen) ORDER BY w.i),
		create_quiet_hours.channels, create_quiet_hours.topics, places, create_quiet_hours.action, create_quiet_hours.jitter, create_quiet_hours.at)
	ON CONFLICT ON CONSTRAINT quiet_hours_pkey DO UPDATE SET starts = EXCLUDED.starts, ends = EXCLUDED.ends, days = EXCLUDED.days,
		channels = EXCLUDED.channels, topics = EXCLUDED.topics, countries = EXCLUDED.countries, action = EXCLUDED.action, jitter = EXCLUDED.jitter;
	PERFORM journey._check_quiet_week();
END
$$;
REVOKE ALL ON FUNCTION journey.create_quiet_hours(text, time, time, text[], text[], text[], text[], text, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_quiet_hours(text, time, time, text[], text[], text[], text[], text, interval, timestamptz) IS 'while the contact''s clock shows a time from starts until ends (not after starts: of the next day), messages of these channels, topics and countries are put off to the end of it (defer), or a little later (jitter); withheld (skip); or sent although other quiet hours would not let them (send). days are those on which the window starts. Replaces quiet hours of that name. Transactional topics have no quiet hours.';

CREATE FUNCTION journey.drop_quiet_hours(name text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	LOCK TABLE journey.quiet_hours IN SHARE ROW EXCLUSIVE MODE;
	DELETE FROM journey.quiet_hours AS q WHERE q.name OPERATOR(pg_catalog.=) drop_quiet_hours.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'quiet hours "%" do not exist', name
			USING ERRCODE = 'undefined_object',
			HINT = 'The quiet hours there are, are in journey.quiet_hours.';
	END IF;
	PERFORM journey._check_quiet_week();
END
$$;
REVOKE ALL ON FUNCTION journey.drop_quiet_hours(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_quiet_hours(text) IS 'removes quiet hours; what they had put off is sent at the time it was put off to';

CREATE FUNCTION journey.quiet_until(contact anyelement, channel text, topic text, at timestamptz DEFAULT clock_timestamp())
RETURNS timestamptz
LANGUAGE c VOLATILE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_quiet_until';
REVOKE ALL ON FUNCTION journey.quiet_until(anyelement, text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.quiet_until(anyelement, text, text, timestamptz) IS 'when the quiet hours end that a contact has at a time; null if it has none then, infinity if they do not end within two weeks';

-- What the law of a place forbids, as rows; not dumped, a later release may know better.
CREATE TABLE journey.statute
(
	name				text		NOT NULL,
	part				text		NOT NULL,
	country				text		NOT NULL,
	starts				time,
	ends				time,
	days				text[],
	max_messages		integer,
	per					interval,
	rule				text		NOT NULL,
	source				text		NOT NULL,
	PRIMARY KEY (name, part),
	CHECK ((starts IS NULL) = (max_messages IS NOT NULL))
);
COMMENT ON TABLE journey.statute IS 'Presets for journey.apply_statute(): quiet hours and caps that laws ask for, with their sources. Public holidays are not among them. No legal advice.';
INSERT INTO journey.statute (name, part, country, starts, ends, days, rule, source) VALUES
	('us_tcpa', 'night', 'US', '21:00', '08:00', '{mon,tue,wed,thu,fri,sat,sun}',
	 'No telephone solicitation before 8 a.m. or after 9 p.m., local time at the called party''s location', '47 CFR 64.1200(c)(1)'),
	('us_ct', 'night', 'US-CT', '20:00', '09:00', '{mon,tue,wed,thu,fri,sat,sun}',
	 'No telephonic sales calls, texts included, before 9 a.m. or after 8 p.m.', 'Conn. Gen. Stat. 42-288a, as amended by Public Act 23-98; mondaq.com 1340464'),
	('us_fl', 'night', 'US-FL', '20:00', '08:00', '{mon,tue,wed,thu,fri,sat,sun}',
	 'No commercial telephone solicitation before 8 a.m. or after 8 p.m.', 'Fla. Stat. 501.616(6)(a); help.klaviyo.com 4405332994843'),
	('us_md', 'night', 'US-MD', '20:00', '08:00', '{mon,tue,wed,thu,fri,sat,sun}',
	 'No telephone solicitation before 8 a.m. or after 8 p.m.', 'Md. Laws 2023, ch. 413 (Stop the Spam Calls Act); wmar2news.com, law to prevent spam calls'),
	('us_ms', 'night', 'US-MS', '20:00', '08:00', '{mon,tue,wed,thu,fri,sat,sun}',
	 'No telephone solicitation before 8 a.m. or after 8 p.m., Central time', 'Miss. Code 77-3-723(1)'),
	('us_ms', 'sunday', 'US-MS', '00:00', '24:00', '{sun}',
	 'No telephone solicitation on Sundays', 'Miss. Code 77-3-723(1)'),
	('us_ok', 'night', 'US-OK', '20:00', '08:00', '{mon,tue,wed,thu,fri,sat,sun}',
	 'No commercial telephonic solicitation before 8 a.m. or after 8 p.m.', 'Okla. Stat. tit. 15, 775C.4; help.klaviyo.com 16576963362715'),
	('us_ri', 'night', 'US-RI', '18:00', '09:00', '{mon,tue,wed,thu,fri,sat,sun}',
	 'Telephone solicitation on weekdays from 9 a.m. to 6 p.m. only', 'R.I. Gen. Laws 5-61-2(2), 5-61-3.6'),
	('us_ri', 'saturday', 'US-RI', '17:00', '10:00', '{sat}',
	 'On Saturdays until 5 p.m. only', 'R.I. Gen. Laws 5-61-2(2), 5-61-3.6'),
	('us_ri', 'saturday morning', 'US-RI', '00:00', '10:00', '{sat}',
	 'On Saturdays from 10 a.m. only', 'R.I. Gen. Laws 5-61-2(2), 5-61-3.6'),
	('us_ri', 'sunday', 'US-RI', '00:00', '24:00', '{sun}',
	 'Not on Sundays', 'R.I. Gen. Laws 5-61-2(2), 5-61-3.6'),
	('us_tx', 'night', 'US-TX', '21:00', '09:00', '{mon,tue,wed,thu,fri,sat,sun}',
	 'No telephone solicitation before 9 a.m. or after 9 p.m.', 'Tex. Bus. & Com. Code ch. 301 to 305, as amended by S.B. 140 (2025); cloudcommunications.com, Texas Senate Bill 140'),
	('us_tx', 'sunday', 'US-TX', '00:00', '12:00', '{sun}',
	 'On Sundays not before noon', 'Tex. Bus. & Com. Code ch. 301 to 305, as amended by S.B. 140 (2025); cloudcommunications.com, Texas Senate Bill 140');
INSERT INTO journey.statute (name, part, country, max_messages, per, rule, source) VALUES
	('us_fl', 'cap', 'US-FL', 3, '24 hours',
	 'At most three commercial telephone solicitations in 24 hours on the same subject, whatever number they come from', 'Fla. Stat. 501.616(6)(b); help.klaviyo.com 4405332994843'),
	('us_md', 'cap', 'US-MD', 3, '24 hours',
	 'At most three calls or text messages in 24 hours on the same subject', 'Md. Laws 2023, ch. 413 (Stop the Spam Calls Act); wmar2news.com, law to prevent spam calls'),
	('us_ok', 'cap', 'US-OK', 3, '24 hours',
	 'At most three commercial telephonic solicitations in 24 hours on the same subject, whatever number they come from', 'Okla. Stat. tit. 15, 775C.4; help.klaviyo.com 16576963362715');

CREATE FUNCTION journey.apply_statute(name text, channel text, at timestamptz DEFAULT clock_timestamp())
RETURNS SETOF text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	part record;
	rule text;
BEGIN
	FOR part IN SELECT * FROM journey.statute AS s WHERE s.name OPERATOR(pg_catalog.=) apply_statute.name ORDER BY s.part LOOP
		rule := concat_ws(' ', part.name, part.part, channel);
		IF part.starts IS NOT NULL THEN
			PERFORM journey.create_quiet_hours(rule, part.starts, part.ends, part.days,
				channels => ARRAY[channel], countries => ARRAY[part.country], at => at);
		ELSE
			PERFORM journey.create_cap(rule, part.max_messages, part.per,
				channels => ARRAY[channel], countries => ARRAY[part.country], at => at);
		END IF;
		RETURN NEXT rule;
	END LOOP;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'statute "%" does not exist', name
			USING ERRCODE = 'undefined_object',
			HINT = 'The statutes there are, are in journey.statute.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.apply_statute(text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.apply_statute(text, text, timestamptz) IS 'makes the quiet hours and caps of a statute for a channel, and returns their names; a contact whose country or region is not known is held to it, too. No legal advice.';
