-- Previews of caps, gaps, quotas and caps on entries: by hand, and against a naive
-- reference over random hand-overs.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
UPDATE journey.site SET country_column = 'country';
SET SESSION AUTHORIZATION shop;
UPDATE shop.customers SET tz = 'America/New_York' WHERE id % 4 = 1;
UPDATE shop.customers SET tz = NULL WHERE id % 4 = 2;
UPDATE shop.customers SET country = NULL WHERE id % 5 = 0;
SET client_min_messages = warning;
SELECT journey.set_timezone('{Europe/London}'), journey.set_timezone('{America/Los_Angeles,Asia/Tokyo}', 'GB');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('mail', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT journey.create_topic('parcels', 'transactional', counts_in_caps => true);
SELECT journey.create_topic('silent', 'promotional', obeys_caps => false);
SELECT journey.create_journey(name, $$ ON CALL SEND email news; $$, '2026-01-01') FROM unnest('{a,b}'::text[]) AS name;
RESET client_min_messages;

-- what was handed over, as text: contact, at, channel, topic, journey; written as the engine writes it
CREATE PROCEDURE shop.handed(contact bigint, at timestamptz, channel text DEFAULT 'email', topic text DEFAULT 'promotions', journey text DEFAULT 'a', counts boolean DEFAULT true) LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO journey_state.message (slice, contact, message_id, decided_at, idempotency_key, enrollment_id, journey_id, version_id, step_no, visit, channel, template, topic, class, counts,
		priority, since, expires_at, status, attempt, claimed_at)
	SELECT 0, handed.contact, i, handed.at, 'k' || i, i, j.journey_id, 1, 1, 1, handed.channel, 'news', handed.topic, t.class, handed.counts, 50, handed.at, handed.at + interval '1 day', 'sent', 1, handed.at
	FROM nextval('journey_state.message_id_seq') AS i, journey.journey AS j, journey.topic AS t WHERE j.name = handed.journey AND t.name = handed.topic;
END
$$;

--
-- by hand
--
DO $$
BEGIN
	CALL shop.handed(3, '2026-03-02 10:00');
	CALL shop.handed(3, '2026-03-03 10:00');
	CALL shop.handed(3, '2026-03-04 09:00', topic => 'education');
	CALL shop.handed(3, '2026-03-05 10:00', channel => 'mail');
	CALL shop.handed(3, '2026-03-06 10:00');
	CALL shop.handed(3, '2026-03-06 10:00', topic => 'silent', journey => 'b');
	CALL shop.handed(3, '2026-03-07 10:00', topic => 'parcels', journey => 'b');
	-- 31 January, and a month later
	CALL shop.handed(7, '2026-01-31 10:00');
	CALL shop.handed(7, '2026-02-28 10:00');
	CALL shop.handed(7, '2026-02-28 10:00:00.000001');
	CALL shop.handed(7, '2026-03-30 10:00');
	CALL shop.handed(7, '2026-03-31 09:00');
END
$$;
-- two in three days: the 4th finds the 2nd and the 3rd; at 10 on the 5th the 2nd has left, on the 6th the 3rd; silent and parcels do not obey
SELECT * FROM journey.preview_cap('x', 2, '3 days', back => '30 days', at => '2026-03-08');
-- the last week alone: what went before it stays as it was
SELECT * FROM journey.preview_cap('x', 1, '3 days', back => '3 days 12 hours', at => '2026-03-08');
-- a month before 28 February is 28 January, before 30 March 28 February: the first goes and that of 30 March
SELECT * FROM journey.preview_cap('x', 1, '1 month', back => '90 days', at => '2026-04-01') WHERE contact = '7';
-- a gap is a cap of one
SELECT * FROM journey.preview_gap('g', '25 hours', channels => '{email}', back => '30 days', at => '2026-03-08') WHERE contact = '3';
SELECT * FROM journey.preview_cap('g', 1, '25 hours', channels => '{email}', back => '30 days', at => '2026-03-08') WHERE contact = '3';
-- four in a week: not the 6th; of them floor(.5 * 4) = 2 may be promotional: the 2nd, the 3rd, not the 5th and the 6th
SELECT journey.create_cap('week', 4, '7 days', at => '2026-01-01');
SELECT * FROM journey.preview_cap('week', 4, '7 days', back => '30 days', at => '2026-03-08') WHERE contact = '3';
SELECT * FROM journey.preview_quota('week', 'promotional', share => 0.5, back => '30 days', at => '2026-03-08') WHERE contact = '3';
SELECT journey.create_quota('week', 'promotional', share => 0.5);
-- the quota stays when the cap is changed: floor(.5 * 3) = 1
SELECT * FROM journey.preview_cap('week', 3, '7 days', back => '30 days', at => '2026-03-08') WHERE contact = '3';
SELECT * FROM journey.preview_quota('week', topic => 'education', share => 0, back => '30 days', at => '2026-03-08') WHERE contact = '3';
SELECT * FROM journey.preview_quota('week', 'promotional', share => 0.9, back => '30 days', at => '2026-03-08') WHERE contact = '3';
-- a cap that others override holds for none of the messages that obey these
SELECT journey.create_cap('paper', 10, '7 days', channels => '{mail}', overrides => '{week}', at => '2026-01-01');
SELECT * FROM journey.preview_cap('week', 0, '7 days', back => '30 days', at => '2026-03-08') WHERE contact = '3';
SELECT journey.drop_cap('paper'), journey.drop_cap('week');
-- a contact whose row is gone is asked for by the shop's clock: 23:30 in London is 22:30 UTC in summer
DO $$
BEGIN
	CALL shop.handed(99, '2026-07-01 22:30');
	CALL shop.handed(99, '2026-07-01 23:30');
	CALL shop.handed(99, '2026-07-02 22:59');
END
$$;
SELECT * FROM journey.preview_cap('x', 1, calendar => 'day', back => '7 days', at => '2026-07-05');

--
-- at random: the rule in the plainest words, message by message
--
CREATE FUNCTION shop.naive(max_messages integer, per interval, calendar text, channels text[], topics text[], classes text[], journeys text[], countries text[], counts_topics text[], quota_class text, quota integer, since timestamptz, at timestamptz)
RETURNS TABLE (contact text, messages bigint, over bigint, first_over timestamptz, last_over timestamptz) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
	m record;
	o record;
	n integer;
	q integer;
	full_up boolean;
	z text;
BEGIN
	CREATE TEMP TABLE passed (contact bigint, claimed_at timestamptz, class text, takes boolean) ON COMMIT DROP;
	CREATE TEMP TABLE refused (contact bigint, claimed_at timestamptz, asked boolean, refused boolean) ON COMMIT DROP;
	FOR m IN SELECT x.*, j.name AS journey, t.obeys_caps, c.tz, c.country FROM journey_state.message x JOIN journey.journey j USING (journey_id) JOIN journey.topic t ON t.name = x.topic
		JOIN shop.customers c ON c.id = x.contact WHERE x.claimed_at <= $13 ORDER BY x.claimed_at, x.message_id
	LOOP
		full_up := false;
		IF m.claimed_at > $12 AND m.obeys_caps AND m.channel = ANY (coalesce($4, ARRAY[m.channel])) AND m.topic = ANY (coalesce($5, ARRAY[m.topic])) AND m.class = ANY (coalesce($6, ARRAY[m.class]))
			AND m.journey = ANY (coalesce($7, ARRAY[m.journey])) AND ($8 IS NULL OR m.country IS NULL OR m.country = ANY ($8))
		THEN
			FOREACH z IN ARRAY CASE WHEN m.tz IS NOT NULL THEN ARRAY[m.tz] WHEN m.country = 'GB' THEN '{America/Los_Angeles,Asia/Tokyo}'::text[] ELSE '{Europe/London}' END LOOP
				SELECT count(*), count(*) FILTER (WHERE p.class = $10) INTO n, q FROM passed p WHERE p.contact = m.contact AND p.takes
					AND CASE WHEN $3 IS NULL THEN p.claimed_at > m.claimed_at - $2 ELSE date_trunc($3, p.claimed_at AT TIME ZONE z) = date_trunc($3, m.claimed_at AT TIME ZONE z) END;
				full_up := full_up OR n >= $1 OR coalesce(m.class = $10 AND q >= $11, false);
			END LOOP;
			INSERT INTO refused VALUES (m.contact, m.claimed_at, true, full_up);
		END IF;
		IF NOT full_up THEN
			INSERT INTO passed VALUES (m.contact, m.claimed_at, m.class, m.counts AND m.channel = ANY (coalesce($4, ARRAY[m.channel])) AND m.journey = ANY (coalesce($7, ARRAY[m.journey]))
				AND m.class = ANY (coalesce($6, ARRAY[m.class])) AND CASE WHEN $9 IS NULL THEN m.topic = ANY (coalesce($5, ARRAY[m.topic])) ELSE m.topic = ANY ($9) OR '*' = ANY ($9) END);
		END IF;
	END LOOP;
	RETURN QUERY SELECT r.contact::text, count(*), count(*) FILTER (WHERE r.refused), min(r.claimed_at) FILTER (WHERE r.refused), max(r.claimed_at) FILTER (WHERE r.refused)
		FROM refused r GROUP BY r.contact HAVING count(*) FILTER (WHERE r.refused) > 0;
	DROP TABLE passed, refused;
END
$$;
DELETE FROM journey_state.message;
-- 900 hand-overs within two months, over both changes of the clock in March 2026
SELECT setseed(0.4711);
DO $$
DECLARE
	i integer;
BEGIN
	FOR i IN 1 .. 900 LOOP
		CALL shop.handed(1 + floor(random() * 20)::bigint, timestamptz '2026-02-15' + floor(random() * 1440) * interval '1 hour', (ARRAY['email', 'mail'])[1 + floor(random() * 2)::integer],
			(ARRAY['promotions', 'education', 'parcels', 'silent'])[1 + floor(random() * 4)::integer], (ARRAY['a', 'b'])[1 + floor(random() * 2)::integer], random() < 0.9);
	END LOOP;
END
$$;
CREATE FUNCTION shop.differ(max_messages integer, per interval, calendar text, channels text[] DEFAULT NULL, topics text[] DEFAULT NULL, classes text[] DEFAULT NULL, journeys text[] DEFAULT NULL,
	countries text[] DEFAULT NULL, counts_topics text[] DEFAULT NULL, share numeric DEFAULT NULL, back interval DEFAULT '60 days', OUT touched bigint, OUT over bigint, OUT odd bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
	IF $10 IS NULL THEN
		CREATE TEMP TABLE said ON COMMIT DROP AS SELECT * FROM journey.preview_cap('r', $1, $2, $3, $4, $5, $6, $7, $8, counts_topics => $9, back => $11, at => '2026-04-20');
	ELSE
		PERFORM journey.create_cap('r', $1, $2, $3, $4, $5, $6, $7, $8, counts_topics => $9);
		CREATE TEMP TABLE said ON COMMIT DROP AS SELECT * FROM journey.preview_quota('r', 'promotional', share => $10, back => $11, at => '2026-04-20');
		PERFORM journey.drop_cap('r');
	END IF;
	CREATE TEMP TABLE expected ON COMMIT DROP AS
		SELECT * FROM shop.naive($1, $2, $3, $4, $5, $6, $7, $8, $9, CASE WHEN $10 IS NOT NULL THEN 'promotional' END, floor($10 * $1)::integer, '2026-04-20'::timestamptz - $11, '2026-04-20');
	SELECT count(*), sum(s.over) INTO touched, over FROM said s;
	SELECT count(*) INTO odd FROM (SELECT * FROM said EXCEPT SELECT * FROM expected UNION ALL (SELECT * FROM expected EXCEPT SELECT * FROM said)) d;
	DROP TABLE said, expected;
END
$$;
SELECT k.what, d.* FROM (VALUES
	(1, 'two in three days', 2, interval '3 days', NULL, NULL::text[], NULL::text[], NULL::text[], NULL::text[], NULL::text[], NULL::text[], NULL::numeric, interval '60 days'),
	(2, 'none at all', 0, '1 hour', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, '60 days'),
	(3, 'a day', 1, NULL, 'day', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '60 days'),
	(4, 'a week', 2, NULL, 'week', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '60 days'),
	(5, 'a month, the last three weeks', 5, NULL, 'month', NULL, NULL, NULL, NULL, NULL, NULL, NULL, '21 days'),
	(6, 'by channel', 1, '2 days', NULL, '{mail}', NULL, NULL, NULL, NULL, NULL, NULL, '60 days'),
	(7, 'by topic, counts all', 3, '5 days', NULL, NULL, '{education}', NULL, NULL, NULL, '{*}', NULL, '60 days'),
	(8, 'by class and journey', 1, '4 days', NULL, NULL, NULL, '{promotional}', '{b}', NULL, NULL, NULL, '40 days'),
	(9, 'by country, a day', 1, NULL, 'day', NULL, NULL, NULL, NULL, '{GB}', NULL, NULL, '60 days'),
	(10, 'half of four promotional', 4, '7 days', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0.5, '60 days'),
	(11, 'a third of three a week promotional', 3, NULL, 'week', NULL, NULL, NULL, NULL, NULL, NULL, 0.34, '30 days'),
	(12, 'after a parcel, no promotions for a day', 1, '1 day', NULL, NULL, '{promotions}', NULL, NULL, NULL, '{parcels}', NULL, '60 days'))
	AS k (no, what, max_messages, per, calendar, channels, topics, classes, journeys, countries, counts_topics, share, back)
CROSS JOIN LATERAL shop.differ(k.max_messages, k.per, k.calendar, k.channels, k.topics, k.classes, k.journeys, k.countries, k.counts_topics, k.share, k.back) AS d ORDER BY k.no;

--
-- entries: 1 at 10, 12 and 14 o'clock, the run of 10 ending at 13; a ghost of b in between
--
INSERT INTO journey_state.enrollment (slice, contact, enrollment_id, journey_id, version_id, key, ordinal, ghost, exposure_id, event_id, event_at, entered_at, status, ended_at, end_reason)
SELECT 0, 1, x.id, j.journey_id, 1, x.id::text, 1, x.ghost, x.id, x.id, x.at, x.at, CASE WHEN x.ended IS NULL THEN 'active' ELSE 'completed' END, x.ended, CASE WHEN x.ended IS NOT NULL THEN 'completed' END
FROM (VALUES (1, 'a', timestamptz '2026-05-01 10:00', timestamptz '2026-05-01 13:00', false), (2, 'b', '2026-05-01 11:00', NULL, true),
	(3, 'a', '2026-05-01 12:00', NULL, false), (4, 'a', '2026-05-01 14:00', NULL, false), (5, 'b', '2026-05-01 15:00', NULL, false)) AS x (id, journey, at, ended, ghost)
JOIN journey.journey AS j ON j.name = x.journey;
-- one at a time: 11 and 12 are over (10 runs until 13), 14 goes, as 12 was taken out, 15 is over
-- two: at 12 and 14 b's ghost takes up no entry of a, at 15 it does of b, with 12 and 14
SELECT * FROM journey.preview_entry_cap('e', 1, at => '2026-05-02');
SELECT * FROM journey.preview_entry_cap('e', 2, at => '2026-05-02');
-- one in four hours: 12 is over, at 14 that of 10 has left
SELECT * FROM journey.preview_entry_cap('e', 1, '4 hours', journeys => '{a}', at => '2026-05-02');
SELECT * FROM journey.preview_entry_cap('e', 0, '4 hours', journeys => '{b}', back => '10 hours', at => '2026-05-02');

\set VERBOSITY terse
SELECT journey.preview_gap('g', NULL);
SELECT journey.preview_cap('x', 1, '1 day', back => NULL);
SELECT journey.preview_cap('x', 1, '1 day', engagement => 'middling');
SELECT journey.preview_quota('nothing', 'promotional', share => 0.5);
SELECT journey.preview_entry_cap('e', -1);
SELECT journey.preview_entry_cap('e', 1, back => '0');
RESET SESSION AUTHORIZATION;
SELECT count(*) > 0 AS touched FROM journey.preview_cap('x', 1, '1 day', back => '60 days', at => '2026-04-20');
SELECT count(*) FROM journey.preview_cap('x', 1, calendar => 'day', back => '60 days', at => '2026-04-20');

-- rows of the type that are no caps
SELECT * FROM journey._preview_cap(jsonb_populate_record(NULL::journey.cap, '{"name": "x", "max_messages": 1}'), '{}', '2026-03-01', '2026-03-08');
SELECT * FROM journey._preview_cap(jsonb_populate_record(NULL::journey.cap, '{"max_messages": 1, "per": "1 day"}'), '{}', '2026-03-01', '2026-03-08');
