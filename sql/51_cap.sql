/*
 * cap: how many messages a contact gets at most, and how many runs he enters.
 *
 * A message that obeys a cap (channels, topics, classes, journeys, countries,
 * engagement: null stands for all of them) is let through only while fewer than
 * max_messages of those that the cap counts (counts_…) were handed over in its
 * window: the time per before, or the day, week or month of the contact's
 * calendar.  A lone cap, gap and quota are rows of the same kind, so that the
 * gate has one rule.
 */

CREATE TABLE journey.cap
(
	name				text		PRIMARY KEY,
	max_messages		integer		NOT NULL CHECK (max_messages >= 0),
	per					interval,
	calendar			text		CHECK (calendar IN ('day', 'week', 'month')),
	channels			text[],
	topics				text[],
	classes				text[],
	journeys			text[],
	countries			text[],
	counts_channels		text[],
	counts_topics		text[],
	counts_classes		text[],
	counts_journeys		text[],
	engagement			text		CHECK (engagement IN ('high', 'low', 'fatigued')),
	overrides			text[]		NOT NULL DEFAULT '{}',
	look_ahead			interval	NOT NULL DEFAULT '0',
	created_at			timestamptz	NOT NULL,
	definition			bigint		GENERATED ALWAYS AS IDENTITY,
	CHECK ((per IS NULL) <> (calendar IS NULL))
);
COMMENT ON TABLE journey.cap IS 'Frequency caps per contact: of the messages counted at most max_messages handed over in any window of length per, or in each day, week or month of the contact''s calendar. Null in a column of names stands for all.';
COMMENT ON COLUMN journey.cap.counts_channels IS 'which messages use the cap up, as against channels, topics, classes and journeys: those that obey it';
COMMENT ON COLUMN journey.cap.overrides IS 'caps that do not hold for a message that obeys this one';
COMMENT ON COLUMN journey.cap.definition IS 'another one whenever the cap is changed; receipts name it';
COMMENT ON COLUMN journey.cap.look_ahead IS 'more important messages that will be due within this time keep their places';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.cap
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE TABLE journey.quota
(
	cap					text		NOT NULL,
	kind				text		NOT NULL CHECK (kind IN ('class', 'topic')),
	name				text		NOT NULL,
	share				numeric		NOT NULL CHECK (share >= 0 AND share < 1),
	created_at			timestamptz	NOT NULL,
	definition			bigint		GENERATED ALWAYS AS IDENTITY,
	PRIMARY KEY (cap, kind, name)
);
COMMENT ON TABLE journey.quota IS 'Of a cap''s places at most floor(share * max_messages) go to messages of this class or topic';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.quota
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE FUNCTION journey._redefine()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- what it overrides does not say what it allows
	IF NEW.definition = OLD.definition AND to_jsonb(NEW) - 'overrides' <> to_jsonb(OLD) - 'overrides' THEN
		NEW.definition := nextval(TG_ARGV[0]::regclass);
	END IF;
	RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION journey._redefine() FROM PUBLIC;
COMMENT ON FUNCTION journey._redefine() IS 'internal: gives a row another definition when it is updated by hand';
CREATE TRIGGER redefine BEFORE UPDATE ON journey.cap
	FOR EACH ROW EXECUTE FUNCTION journey._redefine('journey.cap_definition_seq');
CREATE TRIGGER redefine BEFORE UPDATE ON journey.quota
	FOR EACH ROW EXECUTE FUNCTION journey._redefine('journey.quota_definition_seq');

CREATE TABLE journey.entry_cap
(
	name				text		PRIMARY KEY,
	max_entries			integer		NOT NULL CHECK (max_entries >= 0),
	per					interval,
	journeys			text[],
	created_at			timestamptz	NOT NULL
);
COMMENT ON TABLE journey.entry_cap IS 'At most max_entries runs of a contact, in these journeys or all, entered in any window of length per or, without per, at the same time';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.entry_cap
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

/* Of what cap_law.c reads.  NULL: no receipt names a definition. */
CREATE FUNCTION journey._highest_definitions()
RETURNS bigint[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN (
		SELECT CASE WHEN count(*) > 0 THEN ARRAY[max(d.number[1]::bigint), coalesce(max(d.number[2]::bigint), 1)] END
		FROM journey_state.receipt AS r, unnest(r.caps) AS c (words), regexp_match(c.words, '^([0-9]+)(?:/([0-9]+))?(?:\t|$)') AS d (number)
		WHERE d.number IS NOT NULL);
END
$$;
REVOKE ALL ON FUNCTION journey._highest_definitions() FROM PUBLIC;
COMMENT ON FUNCTION journey._highest_definitions() IS 'internal: the highest numbers of caps'' and quotas'' definitions in receipts';

CREATE FUNCTION journey._check_list(what text, given text[], known text[], hint text)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	odd text;
BEGIN
	IF cardinality(given) = 0 OR array_position(given, NULL) IS NOT NULL OR '' = ANY (given) OR array_ndims(given) > 1 THEN
		RAISE EXCEPTION '% must be a list of names', what
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out to mean all.';
	END IF;
	SELECT g INTO odd FROM unnest(given) AS g WHERE known IS NOT NULL AND g <> ALL (known) LIMIT 1;
	IF odd IS NOT NULL THEN
		RAISE EXCEPTION '%: "%" does not exist', what, odd
			USING ERRCODE = 'undefined_object', HINT = hint;
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey._check_list(text, text[], text[], text) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_list(text, text[], text[], text) IS 'internal: refuses an empty list and names that are not known';

-- What a cap counts: as it says, {*} being all; else what obeys it.
CREATE FUNCTION journey._counted(counts text[], obeys text[])
RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT CASE WHEN counts IS NULL THEN obeys WHEN '*' = ANY (counts) THEN NULL ELSE counts END $$;
REVOKE ALL ON FUNCTION journey._counted(text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION journey._counted(text[], text[]) IS 'internal: the scope that a cap counts';

CREATE FUNCTION journey._check_window(what text, per interval, longest interval)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF per <= interval '0' OR per > longest THEN
		RAISE EXCEPTION '% must be longer than nothing and at most %', what, CASE WHEN longest = interval '10 years' THEN '10 years' ELSE longest::text END
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	-- an interval may be positive as a whole and lead back all the same
	IF extract(year FROM per) < 0 OR extract(month FROM per) < 0 OR extract(day FROM per) < 0
		OR extract(hour FROM per) < 0 OR extract(minute FROM per) < 0 OR extract(second FROM per) < 0 THEN
		RAISE EXCEPTION '% must not mix signs', what
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey._check_window(text, interval, interval) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_window(text, interval, interval) IS 'internal: refuses the length of a window that is none';

CREATE FUNCTION journey._make_cap(name text, max_messages integer, per interval, calendar text, channels text[], topics text[], classes text[], journeys text[], countries text[],
	counts_channels text[], counts_topics text[], counts_classes text[], counts_journeys text[], engagement text, overrides text[], look_ahead interval, at timestamptz)
RETURNS journey.cap
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	class_names CONSTANT text[] := ARRAY['promotional', 'educational', 'transactional'];
	channel_names CONSTANT text[] := ARRAY(SELECT h.name FROM journey.channel AS h);
	topic_names CONSTANT text[] := ARRAY(SELECT t.name FROM journey.topic AS t);
	journey_names CONSTANT text[] := ARRAY(SELECT j.name FROM journey.journey AS j WHERE j.status <> 'dropped');
	made journey.cap;
BEGIN
	IF name IS NULL OR max_messages IS NULL OR look_ahead IS NULL OR at IS NULL THEN
		RAISE EXCEPTION 'name, max_messages, look_ahead and at must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF name = '' THEN
		RAISE EXCEPTION 'the name of a cap must not be empty' USING ERRCODE = 'invalid_name';
	END IF;
	IF max_messages < 0 THEN
		RAISE EXCEPTION 'max_messages must not be negative'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF (per IS NULL) = (calendar IS NULL) THEN
		RAISE EXCEPTION 'a cap needs per or calendar, and not both'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'per => ''7 days'' is a window that rolls, calendar => ''week'' the week of the contact''s calendar.';
	END IF;
	IF calendar <> ALL (ARRAY['day', 'week', 'month']) THEN
		RAISE EXCEPTION 'calendar must be day, week or month'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM journey._check_window('per', per, '10 years');
	IF look_ahead < interval '0' OR look_ahead > interval '31 days' THEN
		RAISE EXCEPTION 'look_ahead must not be negative and at most 31 days'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF engagement <> ALL (ARRAY['high', 'low', 'fatigued']) THEN
		RAISE EXCEPTION 'engagement must be high, low or fatigued'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM journey._check_list('channels', channels, channel_names, 'Create it with journey.create_channel(), or leave channels out to mean all.');
	PERFORM journey._check_list('topics', topics, topic_names, 'Create it with journey.create_topic(), or leave topics out to mean all.');
	PERFORM journey._check_list('classes', classes, class_names, 'The classes are promotional, educational and transactional.');
	PERFORM journey._check_list('journeys', journeys, journey_names, 'Create it with journey.create_journey() first; it need not be active.');
	PERFORM journey._check_list('countries', countries, NULL, NULL);
	PERFORM journey._check_list('counts_channels', counts_channels, channel_names || '*'::text, 'Create it with journey.create_channel(), or say {*} to count all.');
	PERFORM journey._check_list('counts_topics', counts_topics, topic_names || '*'::text, 'Create it with journey.create_topic(), or say {*} to count all.');
	PERFORM journey._check_list('counts_classes', counts_classes, class_names || '*'::text, 'The classes are promotional, educational and transactional; {*} counts all.');
	PERFORM journey._check_list('counts_journeys', counts_journeys, journey_names || '*'::text, 'Create it with journey.create_journey() first, or say {*} to count all.');
	IF cardinality(overrides) > 0 THEN
		PERFORM journey._check_list('overrides', overrides, ARRAY(SELECT k.name FROM journey.cap AS k WHERE k.name <> _make_cap.name), 'The other caps are in journey.cap.');
	END IF;
	made := ROW(name, max_messages, per, calendar, channels, topics, classes, journeys,
		CASE WHEN countries IS NOT NULL THEN ARRAY(SELECT upper(upper(btrim(c) COLLATE "C") COLLATE "default") FROM unnest(countries) AS c) END,
		journey._counted(counts_channels, channels), journey._counted(counts_topics, topics), journey._counted(counts_classes, classes), journey._counted(counts_journeys, journeys),
		engagement, coalesce(overrides, '{}'), look_ahead, at, NULL);
	RETURN made;
END
$$;
REVOKE ALL ON FUNCTION journey._make_cap(text, integer, interval, text, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._make_cap(text, integer, interval, text, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, timestamptz) IS 'internal: a cap from the arguments of journey.create_cap(), checked';

CREATE FUNCTION journey.create_cap(name text, max_messages integer, per interval DEFAULT NULL, calendar text DEFAULT NULL,
	channels text[] DEFAULT NULL, topics text[] DEFAULT NULL, classes text[] DEFAULT NULL, journeys text[] DEFAULT NULL, countries text[] DEFAULT NULL,
	counts_channels text[] DEFAULT NULL, counts_topics text[] DEFAULT NULL, counts_classes text[] DEFAULT NULL, counts_journeys text[] DEFAULT NULL,
	engagement text DEFAULT NULL, overrides text[] DEFAULT NULL, look_ahead interval DEFAULT '0', at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made CONSTANT journey.cap := journey._make_cap(name, max_messages, per, calendar, channels, topics, classes, journeys, countries,
		counts_channels, counts_topics, counts_classes, counts_journeys, engagement, overrides, look_ahead, at);
BEGIN
	INSERT INTO journey.cap AS k OVERRIDING USER VALUE VALUES (made.*)
	ON CONFLICT ON CONSTRAINT cap_pkey DO UPDATE SET max_messages = EXCLUDED.max_messages, per = EXCLUDED.per, calendar = EXCLUDED.calendar,
		channels = EXCLUDED.channels, topics = EXCLUDED.topics, classes = EXCLUDED.classes, journeys = EXCLUDED.journeys, countries = EXCLUDED.countries,
		counts_channels = EXCLUDED.counts_channels, counts_topics = EXCLUDED.counts_topics, counts_classes = EXCLUDED.counts_classes, counts_journeys = EXCLUDED.counts_journeys,
		engagement = EXCLUDED.engagement, overrides = EXCLUDED.overrides, look_ahead = EXCLUDED.look_ahead, created_at = EXCLUDED.created_at, definition = DEFAULT;

	IF EXISTS (
		WITH RECURSIVE over (name) AS (
			SELECT unnest(k.overrides) FROM journey.cap AS k WHERE k.name = create_cap.name
			UNION
			SELECT unnest(k.overrides) FROM over AS o JOIN journey.cap AS k ON k.name = o.name
		) SELECT FROM over AS o WHERE o.name = create_cap.name)
	THEN
		RAISE EXCEPTION 'cap "%" would override itself through others', name
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.create_cap(text, integer, interval, text, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_cap(text, integer, interval, text, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, timestamptz) IS 'at most max_messages per contact in any window of length per, or in each day, week or month of the contact''s calendar; of all messages or those named; replaces a cap of that name at once';

CREATE FUNCTION journey.create_gap(name text, gap interval,
	channels text[] DEFAULT NULL, topics text[] DEFAULT NULL, classes text[] DEFAULT NULL, journeys text[] DEFAULT NULL, countries text[] DEFAULT NULL,
	counts_channels text[] DEFAULT NULL, counts_topics text[] DEFAULT NULL, counts_classes text[] DEFAULT NULL, counts_journeys text[] DEFAULT NULL,
	engagement text DEFAULT NULL, overrides text[] DEFAULT NULL, look_ahead interval DEFAULT '0', at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF gap IS NULL THEN
		RAISE EXCEPTION 'gap must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM journey._check_window('gap', gap, '10 years');
	PERFORM journey.create_cap(name, 1, gap, NULL, channels, topics, classes, journeys, countries,
		counts_channels, counts_topics, counts_classes, counts_journeys, engagement, overrides, look_ahead, at);
END
$$;
REVOKE ALL ON FUNCTION journey.create_gap(text, interval, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_gap(text, interval, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, timestamptz) IS 'at least this much time between two messages to a contact: a cap of one per gap';

CREATE FUNCTION journey.drop_cap(name text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM journey.cap AS k WHERE k.name = drop_cap.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'cap "%" does not exist', name
			USING ERRCODE = 'undefined_object',
			HINT = 'The caps are in journey.cap.';
	END IF;
	DELETE FROM journey.quota AS q WHERE q.cap = drop_cap.name;
	UPDATE journey.cap AS k SET overrides = array_remove(k.overrides, drop_cap.name) WHERE drop_cap.name = ANY (k.overrides);
END
$$;
REVOKE ALL ON FUNCTION journey.drop_cap(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_cap(text) IS 'removes a frequency cap with its quotas';

CREATE FUNCTION journey._make_quota(cap text, class text, topic text, share numeric, at timestamptz)
RETURNS journey.quota
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made journey.quota;
BEGIN
	IF cap IS NULL OR share IS NULL OR at IS NULL THEN
		RAISE EXCEPTION 'cap, share and at must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF (class IS NULL) = (topic IS NULL) THEN
		RAISE EXCEPTION 'either class or topic must be given'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF NOT (share >= 0 AND share < 1) THEN
		RAISE EXCEPTION 'share must be at least 0 and less than 1'
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is a part of the cap''s places: 0.5 is half of them.';
	END IF;
	IF NOT EXISTS (SELECT FROM journey.cap AS k WHERE k.name = _make_quota.cap) THEN
		RAISE EXCEPTION 'cap "%" does not exist', cap
			USING ERRCODE = 'undefined_object',
			HINT = 'The caps are in journey.cap.';
	END IF;
	IF class IS NOT NULL THEN
		PERFORM journey._check_list('class', ARRAY[class], ARRAY['promotional', 'educational', 'transactional'], 'The classes are promotional, educational and transactional.');
	ELSE
		PERFORM journey._check_list('topic', ARRAY[topic], ARRAY(SELECT t.name FROM journey.topic AS t), 'Create it with journey.create_topic().');
	END IF;
	made := ROW(cap, CASE WHEN class IS NULL THEN 'topic' ELSE 'class' END, coalesce(class, topic), share, at, NULL);
	RETURN made;
END
$$;
REVOKE ALL ON FUNCTION journey._make_quota(text, text, text, numeric, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._make_quota(text, text, text, numeric, timestamptz) IS 'internal: a quota from the arguments of journey.create_quota(), checked';

CREATE FUNCTION journey.create_quota(cap text, class text DEFAULT NULL, topic text DEFAULT NULL, share numeric DEFAULT NULL, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made journey.quota;
BEGIN
	-- the cap stays until this has committed
	PERFORM FROM journey.cap AS k WHERE k.name = create_quota.cap FOR KEY SHARE;
	made := journey._make_quota(cap, class, topic, share, at);
	INSERT INTO journey.quota AS q OVERRIDING USER VALUE VALUES (made.*)
	ON CONFLICT ON CONSTRAINT quota_pkey DO UPDATE SET share = EXCLUDED.share, created_at = EXCLUDED.created_at, definition = DEFAULT;
END
$$;
REVOKE ALL ON FUNCTION journey.create_quota(text, text, text, numeric, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_quota(text, text, text, numeric, timestamptz) IS 'at most floor(share * max_messages) of a cap''s places go to messages of this class or topic; replaces a quota of the same';

CREATE FUNCTION journey.drop_quota(cap text, class text DEFAULT NULL, topic text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM journey.quota AS q
	WHERE q.cap = drop_quota.cap AND q.kind = CASE WHEN class IS NULL THEN 'topic' ELSE 'class' END AND q.name = coalesce(class, topic);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'cap "%" has no such quota', cap
			USING ERRCODE = 'undefined_object',
			HINT = 'The quotas are in journey.quota.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.drop_quota(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_quota(text, text, text) IS 'removes a quota of a cap';

CREATE FUNCTION journey._make_entry_cap(name text, max_entries integer, per interval, journeys text[], at timestamptz)
RETURNS journey.entry_cap
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made journey.entry_cap;
BEGIN
	IF name IS NULL OR max_entries IS NULL OR at IS NULL THEN
		RAISE EXCEPTION 'name, max_entries and at must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF name = '' THEN
		RAISE EXCEPTION 'the name of an entry cap must not be empty' USING ERRCODE = 'invalid_name';
	END IF;
	IF max_entries < 0 THEN
		RAISE EXCEPTION 'max_entries must not be negative'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	PERFORM journey._check_window('per', per, '10 years');
	PERFORM journey._check_list('journeys', journeys, ARRAY(SELECT j.name FROM journey.journey AS j WHERE j.status <> 'dropped'), 'Create it with journey.create_journey() first; it need not be active.');
	made := ROW(name, max_entries, per, journeys, at);
	RETURN made;
END
$$;
REVOKE ALL ON FUNCTION journey._make_entry_cap(text, integer, interval, text[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._make_entry_cap(text, integer, interval, text[], timestamptz) IS 'internal: a cap on entries from the arguments of journey.create_entry_cap(), checked';

CREATE FUNCTION journey.create_entry_cap(name text, max_entries integer, per interval DEFAULT NULL, journeys text[] DEFAULT NULL, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	made CONSTANT journey.entry_cap := journey._make_entry_cap(name, max_entries, per, journeys, at);
BEGIN
	INSERT INTO journey.entry_cap AS k VALUES (made.*)
	ON CONFLICT ON CONSTRAINT entry_cap_pkey DO UPDATE SET max_entries = EXCLUDED.max_entries, per = EXCLUDED.per, journeys = EXCLUDED.journeys, created_at = EXCLUDED.created_at;
END
$$;
REVOKE ALL ON FUNCTION journey.create_entry_cap(text, integer, interval, text[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_entry_cap(text, integer, interval, text[], timestamptz) IS 'at most max_entries runs of a contact, in these journeys or all, entered in any window of length per or, without per, at the same time; replaces an entry cap of that name';

CREATE FUNCTION journey.drop_entry_cap(name text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM journey.entry_cap AS k WHERE k.name = drop_entry_cap.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'entry cap "%" does not exist', name
			USING ERRCODE = 'undefined_object',
			HINT = 'The entry caps are in journey.entry_cap.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.drop_entry_cap(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_entry_cap(text) IS 'removes an entry cap';

-- -------- previews: whom each of these would have touched --------

CREATE FUNCTION journey._check_back(back interval)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF back IS NULL OR back <= interval '0' THEN
		RAISE EXCEPTION 'back must be longer than nothing'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey._check_back(interval) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_back(interval) IS 'internal: refuses a span of the past that is none';

CREATE FUNCTION journey._preview_cap(cap journey.cap, quotas journey.quota[], since timestamptz, at timestamptz)
RETURNS TABLE (contact text, messages bigint, over bigint, first_over timestamptz, last_over timestamptz)
LANGUAGE C STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_preview_cap';
REVOKE ALL ON FUNCTION journey._preview_cap(journey.cap, journey.quota[], timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._preview_cap(journey.cap, journey.quota[], timestamptz, timestamptz) IS 'internal: whom a cap with these quotas would have touched; see cap_preview.c';

CREATE FUNCTION journey.preview_cap(name text, max_messages integer, per interval DEFAULT NULL, calendar text DEFAULT NULL,
	channels text[] DEFAULT NULL, topics text[] DEFAULT NULL, classes text[] DEFAULT NULL, journeys text[] DEFAULT NULL, countries text[] DEFAULT NULL,
	counts_channels text[] DEFAULT NULL, counts_topics text[] DEFAULT NULL, counts_classes text[] DEFAULT NULL, counts_journeys text[] DEFAULT NULL,
	engagement text DEFAULT NULL, overrides text[] DEFAULT NULL, look_ahead interval DEFAULT '0', back interval DEFAULT '7 days', at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (contact text, messages bigint, over bigint, first_over timestamptz, last_over timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	cap CONSTANT journey.cap := journey._make_cap(name, max_messages, per, calendar, channels, topics, classes, journeys, countries,
		counts_channels, counts_topics, counts_classes, counts_journeys, engagement, overrides, look_ahead, at);
BEGIN
	PERFORM journey._check_back(back);
	-- a cap of that name would be replaced, and its quotas stay
	RETURN QUERY SELECT * FROM journey._preview_cap(cap, ARRAY(SELECT q FROM journey.quota AS q WHERE q.cap = name), at - back, at);
END
$$;
REVOKE ALL ON FUNCTION journey.preview_cap(text, integer, interval, text, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.preview_cap(text, integer, interval, text, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, interval, timestamptz) IS 'whom a cap with these arguments would have touched in the time back before at: how many messages that obey it were handed over to the contact, and how many of them would not have been';

CREATE FUNCTION journey.preview_gap(name text, gap interval,
	channels text[] DEFAULT NULL, topics text[] DEFAULT NULL, classes text[] DEFAULT NULL, journeys text[] DEFAULT NULL, countries text[] DEFAULT NULL,
	counts_channels text[] DEFAULT NULL, counts_topics text[] DEFAULT NULL, counts_classes text[] DEFAULT NULL, counts_journeys text[] DEFAULT NULL,
	engagement text DEFAULT NULL, overrides text[] DEFAULT NULL, look_ahead interval DEFAULT '0', back interval DEFAULT '7 days', at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (contact text, messages bigint, over bigint, first_over timestamptz, last_over timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF gap IS NULL THEN
		RAISE EXCEPTION 'gap must not be null'
			USING ERRCODE = 'null_value_not_allowed';
	END IF;
	PERFORM journey._check_window('gap', gap, '10 years');
	RETURN QUERY SELECT * FROM journey.preview_cap(name, 1, gap, NULL, channels, topics, classes, journeys, countries,
		counts_channels, counts_topics, counts_classes, counts_journeys, engagement, overrides, look_ahead, back, at);
END
$$;
REVOKE ALL ON FUNCTION journey.preview_gap(text, interval, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.preview_gap(text, interval, text[], text[], text[], text[], text[], text[], text[], text[], text[], text, text[], interval, interval, timestamptz) IS 'whom a gap with these arguments would have touched, as journey.preview_cap() does';

CREATE FUNCTION journey.preview_quota(cap text, class text DEFAULT NULL, topic text DEFAULT NULL, share numeric DEFAULT NULL, back interval DEFAULT '7 days', at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (contact text, messages bigint, over bigint, first_over timestamptz, last_over timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	quota CONSTANT journey.quota := journey._make_quota(cap, class, topic, share, at);
BEGIN
	PERFORM journey._check_back(back);
	RETURN QUERY SELECT p.* FROM journey.cap AS k CROSS JOIN journey._preview_cap(k,
		quota || ARRAY(SELECT q FROM journey.quota AS q WHERE q.cap = cap AND (q.kind <> quota.kind OR q.name <> quota.name)), at - back, at) AS p
	WHERE k.name = cap;
END
$$;
REVOKE ALL ON FUNCTION journey.preview_quota(text, text, text, numeric, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.preview_quota(text, text, text, numeric, interval, timestamptz) IS 'whom a cap would have touched with this quota besides those that it has';

/*
 * Runs are gone through in the order of their entries, as if the cap had been
 * there: one that would have been refused is taken out, and uses up nothing for
 * those after it.
 */
CREATE FUNCTION journey.preview_entry_cap(name text, max_entries integer, per interval DEFAULT NULL, journeys text[] DEFAULT NULL, back interval DEFAULT '7 days', at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (contact text, entries bigint, over bigint, first_over timestamptz, last_over timestamptz)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	cap CONSTANT journey.entry_cap := journey._make_entry_cap(name, max_entries, per, journeys, at);
	since CONSTANT timestamptz := at - back;
	-- months before later times may be earlier ones, by days
	oldest CONSTANT timestamptz := coalesce((since AT TIME ZONE 'UTC' - cap.per) AT TIME ZONE 'UTC' - interval '4 days', '-infinity');
	kept_at timestamptz[];
	kept_until timestamptz[];
	kept_journey integer[];
	kept_ghost boolean[];
	e record;
BEGIN
	PERFORM journey._check_back(back);
	PERFORM journey._require_plain_state();
	FOR e IN
		SELECT r.contact::text AS contact, r.entered_at, r.ended_at, r.journey_id, r.ghost, r.entered_at > since AS obeys
		FROM journey_state.enrollment AS r JOIN journey.journey AS j ON j.journey_id = r.journey_id
		WHERE r.entered_at <= at AND (cap.journeys IS NULL OR j.name = ANY (cap.journeys))
			AND CASE WHEN cap.per IS NULL THEN r.ended_at IS NULL OR r.ended_at > since ELSE r.entered_at > oldest END
		ORDER BY r.contact, r.entered_at, r.enrollment_id
	LOOP
		IF contact IS DISTINCT FROM e.contact THEN
			IF over > 0 THEN
				RETURN NEXT;
			END IF;
			contact := e.contact;
			entries := 0;
			over := 0;
			first_over := NULL;
			kept_at := '{}';
			kept_until := '{}';
			kept_journey := '{}';
			kept_ghost := '{}';
		END IF;
		IF e.obeys THEN
			entries := entries + 1;
			IF cap.max_entries <= (
				SELECT count(*) FROM unnest(kept_at, kept_until, kept_journey, kept_ghost) AS k (entered_at, ended_at, journey_id, ghost)
				WHERE (NOT k.ghost OR k.journey_id = e.journey_id)
				AND CASE WHEN cap.per IS NULL THEN k.ended_at IS NULL OR k.ended_at > e.entered_at
					ELSE k.entered_at > (e.entered_at AT TIME ZONE 'UTC' - cap.per) AT TIME ZONE 'UTC' END)
			THEN
				over := over + 1;
				first_over := coalesce(first_over, e.entered_at);
				last_over := e.entered_at;
				CONTINUE;
			END IF;
		END IF;
		kept_at := kept_at || e.entered_at;
		kept_until := kept_until || e.ended_at;
		kept_journey := kept_journey || e.journey_id;
		kept_ghost := kept_ghost || e.ghost;
	END LOOP;
	IF over > 0 THEN
		RETURN NEXT;
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.preview_entry_cap(text, integer, interval, text[], interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.preview_entry_cap(text, integer, interval, text[], interval, timestamptz) IS 'whom a cap on entries with these arguments would have touched in the time back before at: how many runs the contact entered, and how many of them would have been refused';

CREATE FUNCTION journey._caps_exceeded(since timestamptz)
RETURNS TABLE (cap text, contact text, message_id bigint, at timestamptz, places integer, quota text)
LANGUAGE C STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_caps_exceeded';
REVOKE ALL ON FUNCTION journey._caps_exceeded(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._caps_exceeded(timestamptz) IS 'internal: hand-overs that found no place in a frequency cap; see cap_law.c';
