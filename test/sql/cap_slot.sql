-- The next free slot against brute force: contacts with hand-overs at random
-- quarters of the hours before, several caps, a night on which clocks change; for
-- each one the first quarter at which plain SQL finds a place in all of them.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
INSERT INTO shop.customers SELECT i, 'Name' || i, 'c' || i || '@shop.example', NULL, NULL, 'GB', '2025-01-01' FROM generate_series(21, 60) i;
UPDATE shop.customers SET tz = (ARRAY['America/New_York', 'Europe/London', 'Australia/Lord_Howe'])[1 + id % 3];
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('low', $$ ON EVENT low TOPIC promotions SEND email news EXPIRES '6 days' WHEN CAPPED DEFER; $$, '2026-01-01');
SELECT journey.activate('low');
RESET client_min_messages;

-- one message of each contact long ago, which others are made like
SELECT count(journey.track(id, 'low', '{}', '2026-01-05')) FROM shop.customers;
SELECT messages FROM journey.replay('2026-01-06', assume_sent => true);
CREATE TABLE shop.handed AS
SELECT c.id AS contact, timestamptz '2026-03-08 04:00' - ((i * 7919 + c.id * 104729 + i * i * 31) % 330) * interval '15 minutes' AS at, i
FROM shop.customers c, generate_series(1, 12) i WHERE i <= c.id % 13;
INSERT INTO journey_state.message
SELECT (jsonb_populate_record(m, jsonb_build_object('message_id', nextval('journey_state.message_id_seq'), 'decided_at', h.at, 'idempotency_key', format('h%s-%s', h.contact, h.i),
	'since', h.at, 'expires_at', h.at + interval '3 days', 'claimed_at', h.at, 'finished_at', h.at))).*
FROM journey_state.message m JOIN shop.handed h USING (contact);

SELECT journey.create_cap('day', 2, '1 day', at => '2026-03-08 04:00:01'), journey.create_cap('three days', 4, '3 days', at => '2026-03-08 04:00:01'),
	journey.create_cap('calendar', 1, calendar => 'day', at => '2026-03-08 04:00:01'), journey.create_gap('gap', '7 hours 30 minutes', at => '2026-03-08 04:00:01');
SELECT count(journey.track(id, 'low', '{}', '2026-03-08 04:00')) FROM shop.customers;
SELECT steps > 0 AS done FROM journey.tick('2026-03-08 04:00');

CREATE FUNCTION shop.has_place(who bigint, zone text, now timestamptz) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT count(*) FILTER (WHERE at > now - interval '24 hours') < 2 AND count(*) FILTER (WHERE at > now - interval '72 hours') < 4
		AND count(*) FILTER (WHERE (at AT TIME ZONE zone)::date = (now AT TIME ZONE zone)::date) < 1 AND count(*) FILTER (WHERE at > now - interval '450 minutes') < 1
	FROM shop.handed h WHERE h.contact = who
$$;
CREATE TABLE shop.answer AS
SELECT v.contact, c.tz, v.verdict, coalesce(v.until, v.at) AS slot, (
	SELECT m FROM generate_series(v.at, v.at + interval '4 days', '15 minutes') m WHERE shop.has_place(v.contact, c.tz, m) ORDER BY m LIMIT 1) AS brute
FROM journey_state.verdict v JOIN shop.customers c ON c.id = v.contact WHERE v.at = '2026-03-08 04:00';
SELECT count(*) AS asked, count(*) FILTER (WHERE slot = brute) AS equal, count(*) FILTER (WHERE verdict = 'deferred') > 30 AS many_wait,
	count(DISTINCT slot - brute) = 1 AS exact, count(DISTINCT slot) > 20 AS various FROM shop.answer;
SELECT * FROM shop.answer WHERE slot IS DISTINCT FROM brute ORDER BY contact LIMIT 5;

-- at its slot, and not a microsecond earlier, each goes
SELECT count(*) FROM shop.answer WHERE verdict = 'deferred' \gset waiting_
SELECT messages = :waiting_count AS all_go FROM journey.replay('2026-03-13', assume_sent => true);
SELECT count(*) FROM journey_state.message m JOIN shop.answer a USING (contact) WHERE a.verdict = 'deferred' AND m.decided_at = a.slot AND m.claimed_at = a.slot \gset sent_
SELECT :waiting_count = :sent_count AS at_their_slots;
SELECT law, violations, example FROM journey.check() WHERE violations > 0 AND law LIKE '%frequency cap%';
