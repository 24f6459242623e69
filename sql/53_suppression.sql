/*
 * suppression: who is not to be written to, and when not: suppressed addresses
 * and contacts, addresses that are nobody's, holds, sunset.
 */

CREATE TABLE journey.hold
(
	name				text		PRIMARY KEY,
	segment				text,
	journey				text,
	lasting				interval	CHECK (lasting > '0'),
	action				text		NOT NULL CHECK (action IN ('defer', 'skip')),
	channels			text[],
	topics				text[],
	classes				text[]		NOT NULL,
	except_journeys		text[]		NOT NULL,
	sunset				boolean		NOT NULL DEFAULT false,
	sunset_after		interval,
	sunset_messages		integer,
	created_at			timestamptz	NOT NULL,
	CHECK ((segment IS NULL) <> (journey IS NULL)),
	CHECK (lasting IS NULL OR journey IS NOT NULL),
	CHECK (NOT sunset OR action = 'skip' AND segment IS NOT NULL),
	CHECK (sunset = (sunset_after IS NOT NULL) AND sunset = (sunset_messages IS NOT NULL))
);
COMMENT ON TABLE journey.hold IS 'Messages that wait, or are not sent, while their contact is in a segment or has a run of a journey';
COMMENT ON COLUMN journey.hold.lasting IS 'also this long after a run of the journey began';
COMMENT ON COLUMN journey.hold.channels IS 'null: all; topics likewise';
COMMENT ON COLUMN journey.hold.sunset IS 'made by journey.create_sunset(): what it withholds has the reason suppressed';
COMMENT ON COLUMN journey.hold.sunset_after IS 'of which the segment is made, as is sunset_messages';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.hold
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

CREATE TABLE journey.address_rule
(
	kind				text		NOT NULL CHECK (kind IN ('role', 'fake', 'allowed')),
	local_part			text		NOT NULL CHECK (local_part <> '' AND local_part = lower(local_part)),
	domain				text		NOT NULL CHECK (domain <> '' AND domain = lower(domain)),
	builtin				boolean		NOT NULL DEFAULT false,
	PRIMARY KEY (local_part, domain, builtin)
);
COMMENT ON TABLE journey.address_rule IS 'E-mail addresses that are no person''s. fake: nothing is sent there; role: nothing promotional; allowed: whatever other rules say, it is somebody''s.';
COMMENT ON COLUMN journey.address_rule.local_part IS 'what is before the @, in lower case; * for any';
COMMENT ON COLUMN journey.address_rule.domain IS 'in lower case; * for any, test.* for test.com, test.co.uk and so on, *.invalid for all that end so';
CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey.address_rule
	FOR EACH STATEMENT EXECUTE FUNCTION journey._definitions_changed();

-- RFC 2142 sections 3 to 5, and those that operators and programs use
INSERT INTO journey.address_rule (kind, local_part, domain, builtin)
SELECT 'role', r.local_part, '*', true
FROM pg_catalog.unnest(ARRAY['info', 'marketing', 'sales', 'support', 'abuse', 'noc', 'security', 'postmaster', 'hostmaster', 'usenet', 'news', 'webmaster', 'www',
	'uucp', 'ftp', 'admin', 'administrator', 'root', 'mailer-daemon', 'noreply', 'no-reply', 'donotreply', 'do-not-reply', 'spam', 'listserv', 'majordomo']) AS r (local_part);
-- typed to get past a form: the same word on both sides; and a domain that cannot exist (RFC 2606)
INSERT INTO journey.address_rule (kind, local_part, domain, builtin)
SELECT 'fake', f.word, f.word OPERATOR(pg_catalog.||) '.*', true
FROM pg_catalog.unnest(ARRAY['a', 'aa', 'aaa', 'aaaa', 'abc', 'abcd', 'asd', 'asdf', 'asdfasdf', 'asdasd', 'qwe', 'qwer', 'qwert', 'qwerty', 'test', 'tester', 'testing', 'foo', 'bar', 'foobar', 'fake',
	'none', 'noone', 'nobody', 'noemail', 'nomail', 'null', 'na', 'no', 'nope', 'x', 'xx', 'xxx', 'xyz', 'zzz', '123', '1234', '12345', '123456']) AS f (word)
UNION ALL
SELECT 'fake', '*', '*.invalid', true;

CREATE FUNCTION journey.suppress(channel text, address text, reason text, at timestamptz DEFAULT clock_timestamp(), scope text DEFAULT 'all')
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_suppress';
REVOKE ALL ON FUNCTION journey.suppress(text, text, text, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.suppress(text, text, text, timestamptz, text) IS 'nothing is sent to this address over this channel any more: with scope all not even transactional messages, with scope promotional nothing but those. A suppression of scope all stays one.';

CREATE FUNCTION journey.unsuppress(channel text, address text)
RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_unsuppress';
REVOKE ALL ON FUNCTION journey.unsuppress(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.unsuppress(text, text) IS 'allows an address again and forgets its soft bounces; false if it was not suppressed';

CREATE FUNCTION journey.suppress_contact(contact anyelement, reason text, channel text DEFAULT '*', scope text DEFAULT 'all', at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_suppress_contact';
REVOKE ALL ON FUNCTION journey.suppress_contact(anyelement, text, text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.suppress_contact(anyelement, text, text, text, timestamptz) IS 'nothing is sent to this contact any more over a channel (* for all), whatever its address; scope as for journey.suppress()';

CREATE FUNCTION journey.unsuppress_contact(contact anyelement, channel text DEFAULT '*')
RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_unsuppress_contact';
REVOKE ALL ON FUNCTION journey.unsuppress_contact(anyelement, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.unsuppress_contact(anyelement, text) IS 'takes back a suppression of a contact that was made for that channel (* for all); false if there was none';

CREATE FUNCTION journey._check_address_rule(local_part text, domain text)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF local_part IS NULL OR domain IS NULL THEN
		RAISE EXCEPTION 'local_part and domain must not be null'
			USING ERRCODE = 'null_value_not_allowed', HINT = 'Write * for any.';
	END IF;
	IF local_part OPERATOR(pg_catalog.=) '' OR local_part OPERATOR(pg_catalog.~) '@|.\*|\*.' THEN
		RAISE EXCEPTION '"%" is not what can be before the @ of an address', local_part
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Write the whole of it, or * for any.';
	END IF;
	IF domain OPERATOR(pg_catalog.!~) '^(\*|[^*@.]+(\.[^*@.]+)*(\.\*)?|\*(\.[^*@.]+)+)$' THEN
		RAISE EXCEPTION '"%" is not a domain', domain
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Write one as in mail.shop.example, or *, test.*, *.invalid.';
	END IF;
	IF local_part OPERATOR(pg_catalog.=) '*' AND domain OPERATOR(pg_catalog.=) '*' THEN
		RAISE EXCEPTION 'a rule for all addresses would leave nobody to write to'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey._check_address_rule(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_address_rule(text, text) IS 'internal: refuses what is no pattern of addresses';

CREATE FUNCTION journey.create_address_rule(kind text, local_part text, domain text DEFAULT '*')
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF kind IS NULL OR kind OPERATOR(pg_catalog.<>) ALL (ARRAY['role', 'fake', 'allowed']) THEN
		RAISE EXCEPTION 'kind of an address rule must be role, fake or allowed'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'To role addresses nothing promotional is sent, to fake ones nothing; allowed makes an exception from other rules.';
	END IF;
	PERFORM journey._check_address_rule(local_part, domain);
	INSERT INTO journey.address_rule AS a (kind, local_part, domain)
	VALUES (create_address_rule.kind, pg_catalog.lower(pg_catalog.lower(create_address_rule.local_part COLLATE "C") COLLATE "default"), pg_catalog.lower(pg_catalog.lower(create_address_rule.domain COLLATE "C") COLLATE "default"))
	ON CONFLICT ON CONSTRAINT address_rule_pkey DO UPDATE SET kind = EXCLUDED.kind;
END
$$;
REVOKE ALL ON FUNCTION journey.create_address_rule(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_address_rule(text, text, text) IS 'says that e-mail addresses are no person''s: fake (nothing is sent there) or role (nothing promotional), or makes an exception (allowed). * for any local part or domain, test.* and *.invalid for domains that begin or end so. Replaces a rule of the shop for the same.';

CREATE FUNCTION journey.drop_address_rule(local_part text, domain text DEFAULT '*')
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM journey.address_rule AS a
	WHERE a.local_part OPERATOR(pg_catalog.=) pg_catalog.lower(pg_catalog.lower(drop_address_rule.local_part COLLATE "C") COLLATE "default") AND a.domain OPERATOR(pg_catalog.=) pg_catalog.lower(pg_catalog.lower(drop_address_rule.domain COLLATE "C") COLLATE "default")
		AND NOT a.builtin;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'the shop has no address rule for "%" at "%"', local_part, domain
			USING ERRCODE = 'undefined_object', HINT = 'The rules are in journey.address_rule. For an exception from a rule that is built in, create one of kind allowed.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.drop_address_rule(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_address_rule(text, text) IS 'removes an address rule of the shop''s own';

-- Names of definitions that a hold may be limited to.
CREATE FUNCTION journey._check_hold_scope(channels text[], topics text[], classes text[], except_journeys text[])
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	odd text;
BEGIN
	SELECT 'channel "' OPERATOR(pg_catalog.||) n.name OPERATOR(pg_catalog.||) '"' INTO odd FROM pg_catalog.unnest(channels) AS n (name)
		WHERE NOT EXISTS (SELECT FROM journey.channel AS h WHERE h.name OPERATOR(pg_catalog.=) n.name) LIMIT 1;
	IF NOT FOUND THEN
		SELECT 'topic "' OPERATOR(pg_catalog.||) n.name OPERATOR(pg_catalog.||) '"' INTO odd FROM pg_catalog.unnest(topics) AS n (name)
			WHERE NOT EXISTS (SELECT FROM journey.topic AS t WHERE t.name OPERATOR(pg_catalog.=) n.name) LIMIT 1;
	END IF;
	IF NOT FOUND THEN
		SELECT 'journey "' OPERATOR(pg_catalog.||) n.name OPERATOR(pg_catalog.||) '"' INTO odd FROM pg_catalog.unnest(except_journeys) AS n (name)
			WHERE NOT EXISTS (SELECT FROM journey.journey AS j WHERE j.name OPERATOR(pg_catalog.=) n.name AND j.status OPERATOR(pg_catalog.<>) 'dropped') LIMIT 1;
	END IF;
	IF FOUND THEN
		RAISE EXCEPTION '% does not exist', COALESCE(odd, 'a name that is null') USING ERRCODE = 'undefined_object';
	END IF;
	IF pg_catalog.cardinality(channels) OPERATOR(pg_catalog.=) 0 OR pg_catalog.cardinality(topics) OPERATOR(pg_catalog.=) 0 THEN
		RAISE EXCEPTION '% must not be empty', CASE pg_catalog.cardinality(channels) WHEN 0 THEN 'channels' ELSE 'topics' END
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out to mean all.';
	END IF;
	IF NOT COALESCE(classes OPERATOR(pg_catalog.<@) ARRAY['promotional', 'educational'] AND pg_catalog.cardinality(classes) OPERATOR(pg_catalog.>) 0, false) THEN
		RAISE EXCEPTION 'classes of a hold are promotional and educational'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Transactional messages are never held.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey._check_hold_scope(text[], text[], text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION journey._check_hold_scope(text[], text[], text[], text[]) IS 'internal: refuses names that a hold cannot be limited to';

CREATE FUNCTION journey.create_hold(name text, segment text DEFAULT NULL, journey text DEFAULT NULL, lasting interval DEFAULT NULL, action text DEFAULT 'defer',
	channels text[] DEFAULT NULL, topics text[] DEFAULT NULL, classes text[] DEFAULT '{promotional,educational}', except_journeys text[] DEFAULT '{}',
	at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM journey._check_name('hold', name);
	IF (segment IS NULL) OPERATOR(pg_catalog.=) (journey IS NULL) THEN
		RAISE EXCEPTION 'hold "%" needs a segment or a journey, and not both', name
			USING ERRCODE = 'invalid_parameter_value', HINT = 'It lasts while the contact is in the segment or has a run of the journey.';
	END IF;
	IF segment IS NOT NULL AND NOT EXISTS (SELECT FROM journey.segment AS s WHERE s.name OPERATOR(pg_catalog.=) create_hold.segment) THEN
		RAISE EXCEPTION 'segment "%" does not exist', segment
			USING ERRCODE = 'undefined_object', HINT = 'Create it with journey.create_segment().';
	END IF;
	IF journey IS NOT NULL AND NOT EXISTS (SELECT FROM journey.journey AS j WHERE j.name OPERATOR(pg_catalog.=) create_hold.journey AND j.status OPERATOR(pg_catalog.<>) 'dropped') THEN
		RAISE EXCEPTION 'journey "%" does not exist', journey
			USING ERRCODE = 'undefined_object', HINT = 'Create it with journey.create_journey().';
	END IF;
	IF lasting IS NOT NULL AND journey IS NULL THEN
		RAISE EXCEPTION 'lasting is about a journey: how long after its run began messages are held'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'A hold for a segment lasts as long as the contact is in it.';
	END IF;
	IF lasting OPERATOR(pg_catalog.<=) interval '0' OR lasting OPERATOR(pg_catalog.>) interval '10 years' THEN
		RAISE EXCEPTION 'lasting must be longer than nothing and at most 10 years'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF action IS NULL OR action OPERATOR(pg_catalog.<>) ALL (ARRAY['defer', 'skip']) THEN
		RAISE EXCEPTION 'action of a hold must be defer or skip'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'defer sends when the hold has ended, if the message has not expired; skip withholds it.';
	END IF;
	PERFORM journey._check_hold_scope(channels, topics, classes, except_journeys);
	IF EXISTS (SELECT FROM journey.hold AS h WHERE h.name OPERATOR(pg_catalog.=) create_hold.name AND h.sunset) THEN
		RAISE EXCEPTION 'there is a sunset "%"', name
			USING ERRCODE = 'duplicate_object', HINT = 'Choose another name, or drop it with journey.drop_sunset().';
	END IF;
	INSERT INTO journey.hold AS h (name, segment, journey, lasting, action, channels, topics, classes, except_journeys, created_at)
	VALUES (create_hold.name, create_hold.segment, create_hold.journey, create_hold.lasting, create_hold.action, create_hold.channels, create_hold.topics,
		create_hold.classes, COALESCE(create_hold.except_journeys, '{}'), create_hold.at)
	ON CONFLICT ON CONSTRAINT hold_pkey DO UPDATE SET segment = EXCLUDED.segment, journey = EXCLUDED.journey, lasting = EXCLUDED.lasting, action = EXCLUDED.action,
		channels = EXCLUDED.channels, topics = EXCLUDED.topics, classes = EXCLUDED.classes, except_journeys = EXCLUDED.except_journeys;
END
$$;
REVOKE ALL ON FUNCTION journey.create_hold(text, text, text, interval, text, text[], text[], text[], text[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_hold(text, text, text, interval, text, text[], text[], text[], text[], timestamptz) IS 'while a contact is in the segment (an open complaint), or has a run of the journey or entered it less than lasting ago, messages of other journeys are put off (defer) or not sent (skip): those over the channels, on the topics and of the classes given. Replaces a hold of that name, but no sunset.';

CREATE FUNCTION journey.drop_hold(name text)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM journey.hold AS h WHERE h.name OPERATOR(pg_catalog.=) drop_hold.name AND h.sunset) THEN
		RAISE EXCEPTION 'hold "%" is of a sunset', name
			USING ERRCODE = 'wrong_object_type', HINT = 'journey.drop_sunset() drops it, and its segment.';
	END IF;
	DELETE FROM journey.hold AS h WHERE h.name OPERATOR(pg_catalog.=) drop_hold.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'hold "%" does not exist', name
			USING ERRCODE = 'undefined_object', HINT = 'The holds are in journey.hold.';
	END IF;
END
$$;
REVOKE ALL ON FUNCTION journey.drop_hold(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_hold(text) IS 'removes a hold; what it put off goes when it is next looked at';

/*
 * Who has responded to nothing since a message that was sent so long ago, by the
 * events of journey.engagement_event as they are now.
 */
CREATE FUNCTION journey._sunset_predicate(after interval, messages integer)
RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	contact_key name;
	events text;
	unanswered text;
BEGIN
	SELECT s.key_column INTO contact_key FROM journey.site AS s;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no table of contacts is attached'
			USING ERRCODE = 'PJ004', HINT = 'Attach one with journey.attach().';
	END IF;
	SELECT pg_catalog.string_agg(pg_catalog.quote_literal(g.event), ', ' ORDER BY g.event) INTO events FROM journey.engagement_event AS g;
	unanswered := pg_catalog.format(
		'FROM journey_state.event AS s WHERE s.contact = c.%1$I AND s.name = ''sent'' AND s.at > COALESCE((SELECT max(e.at) FROM journey_state.event AS e'
		' WHERE e.contact = c.%1$I AND e.name IN (%2$s) AND e.properties ->> ''machine'' IS DISTINCT FROM ''true''), ''-infinity'')',
		contact_key, COALESCE(events, 'NULL'));
	RETURN pg_catalog.format('(SELECT min(s.at) %1$s) <= %4$s - interval %2$L AND (SELECT count(*) %1$s) >= %3$s', unanswered, after, messages, 'now()');
END
$$;
REVOKE ALL ON FUNCTION journey._sunset_predicate(interval, integer) FROM PUBLIC;
COMMENT ON FUNCTION journey._sunset_predicate(interval, integer) IS 'internal: the predicate of a sunset''s segment';

CREATE FUNCTION journey.create_sunset(name text DEFAULT 'sunset', after interval DEFAULT '180 days', messages integer DEFAULT 5,
	channels text[] DEFAULT NULL, topics text[] DEFAULT NULL, classes text[] DEFAULT '{promotional}', except_journeys text[] DEFAULT '{}',
	at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	predicate text;
	is_there boolean;
BEGIN
	PERFORM journey._check_name('sunset', name);
	IF COALESCE(after OPERATOR(pg_catalog.<=) interval '0' OR after OPERATOR(pg_catalog.>) interval '10 years', true) THEN
		RAISE EXCEPTION 'after must be longer than nothing and at most 10 years'
			USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF COALESCE(messages OPERATOR(pg_catalog.<) 1, true) THEN
		RAISE EXCEPTION 'messages must be at least 1'
			USING ERRCODE = 'invalid_parameter_value', HINT = 'Who was sent nothing could not respond.';
	END IF;
	PERFORM journey._check_hold_scope(channels, topics, classes, except_journeys);
	predicate := journey._sunset_predicate(after, messages);

	is_there := EXISTS (SELECT FROM journey.hold AS h WHERE h.name OPERATOR(pg_catalog.=) create_sunset.name AND h.sunset);
	IF NOT is_there AND EXISTS (SELECT FROM journey.hold AS h WHERE h.name OPERATOR(pg_catalog.=) create_sunset.name) THEN
		RAISE EXCEPTION 'there is a hold "%" that is no sunset', name
			USING ERRCODE = 'duplicate_object', HINT = 'Choose another name.';
	END IF;
	IF is_there THEN
		PERFORM journey.alter_segment(name, predicate => predicate, timezone => 'UTC', at => create_sunset.at);
	ELSE
		PERFORM journey.create_segment(name, predicate, timezone => 'UTC', at => create_sunset.at);
	END IF;
	INSERT INTO journey.hold AS h (name, segment, action, channels, topics, classes, except_journeys, sunset, sunset_after, sunset_messages, created_at)
	VALUES (create_sunset.name, create_sunset.name, 'skip', create_sunset.channels, create_sunset.topics, create_sunset.classes,
		COALESCE(create_sunset.except_journeys, '{}'), true, create_sunset.after, create_sunset.messages, create_sunset.at)
	ON CONFLICT ON CONSTRAINT hold_pkey DO UPDATE SET channels = EXCLUDED.channels, topics = EXCLUDED.topics, classes = EXCLUDED.classes,
		except_journeys = EXCLUDED.except_journeys, sunset_after = EXCLUDED.sunset_after, sunset_messages = EXCLUDED.sunset_messages;
END
$$;
REVOKE ALL ON FUNCTION journey.create_sunset(text, interval, integer, text[], text[], text[], text[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.create_sunset(text, interval, integer, text[], text[], text[], text[], timestamptz) IS 'makes a segment of those who have responded to nothing (journey.engagement_event) since a message that was sent so long ago or longer, and to at least so many messages; and suppresses what is sent to them until they respond, but for except_journeys. Replaces a sunset of that name.';

CREATE FUNCTION journey.drop_sunset(name text DEFAULT 'sunset')
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM journey.hold AS h WHERE h.name OPERATOR(pg_catalog.=) drop_sunset.name AND h.sunset;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'sunset "%" does not exist', name
			USING ERRCODE = 'undefined_object', HINT = 'They are in journey.hold, with sunset = true.';
	END IF;
	PERFORM journey.drop_segment(name);
END
$$;
REVOKE ALL ON FUNCTION journey.drop_sunset(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_sunset(text) IS 'removes a sunset and its segment';
