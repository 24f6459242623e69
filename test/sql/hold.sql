-- Messages that wait while something else goes on with their contact; sunset.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.tickets (id bigint PRIMARY KEY, customer_id bigint NOT NULL, closed_at timestamptz);
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('mail', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT journey.create_template('letter', 'mail', 'News', 'Hello');
SELECT journey.create_topic('tips', 'educational');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')), count(journey.set_consent(id, 'mail', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_segment('open_case', $$ EXISTS (SELECT FROM shop.tickets t WHERE t.customer_id = c.id AND t.closed_at IS NULL) $$, at => '2026-01-01');
SELECT journey.create_journey('promo', $$ ON EVENT promo KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '3 hours'; $$, '2026-01-01');
SELECT journey.create_journey('tip', $$ ON EVENT tip KEY event.properties->>'k' TOPIC tips SEND email news EXPIRES '3 hours'; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT receipt KEY event.properties->>'k' TOPIC service SEND email news EXPIRES '3 hours'; $$, '2026-01-01');
SELECT journey.create_journey('letter', $$ ON EVENT letter KEY event.properties->>'k' TOPIC promotions SEND mail letter EXPIRES '3 hours'; $$, '2026-01-01');
SELECT journey.create_journey('wake_up', $$ ON EVENT wake_up TOPIC promotions SEND email news EXPIRES '3 hours'; WAIT '2 hours'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');
CREATE VIEW shop.verdicts AS SELECT v.contact, j.name, v.at, v.stage, v.verdict, v.reason, v.until, v.evidence->'hold' AS hold
	FROM journey_state.verdict v JOIN journey.version w USING (version_id) JOIN journey.journey j USING (journey_id);
CREATE PROCEDURE shop.go(contact bigint, events text[], k text, at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(contact, n, jsonb_build_object('k', k), at) FROM unnest(events) AS n;
	COMMIT;
	PERFORM journey.tick(at);
END
$$;

--
-- an open case: marketing waits, what the customer bought does not
--
SELECT journey.create_hold('open_case', segment => 'open_case', at => '2026-01-01');
INSERT INTO shop.tickets VALUES (1, 1, NULL);
SELECT count(*) FROM journey.tick('2026-01-02');
SELECT count(*) FROM journey.tick('2026-01-02');
SELECT name, status FROM journey.segment;
CALL shop.go(1, '{promo,tip,receipt,letter}', 'a', '2026-01-05 10:00');
CALL shop.go(2, '{promo}', 'a', '2026-01-05 10:00');
SELECT name, verdict, reason, until, hold - 'since' AS hold FROM shop.verdicts WHERE contact = 1 ORDER BY name;
SELECT name, verdict, reason, hold FROM shop.verdicts WHERE contact = 2;
-- asked again every hour, until it expires at 13:00
SELECT steps FROM journey.tick('2026-01-05 11:00');
SELECT steps FROM journey.tick('2026-01-05 12:00');
SELECT at, name, verdict, reason, until FROM shop.verdicts WHERE contact = 1 AND at > '2026-01-05 10:00' ORDER BY at, name;
-- the case is closed: the next look lets it go
CALL shop.go(1, '{promo}', 'b', '2026-01-05 15:00');
UPDATE shop.tickets SET closed_at = '2026-01-05 15:30';
SELECT messages FROM journey.tick('2026-01-05 15:59:59');
SELECT messages FROM journey.tick('2026-01-05 16:00');
SELECT at, name, verdict, reason FROM shop.verdicts WHERE contact = 1 AND at >= '2026-01-05 15:00' ORDER BY at;

--
-- exact at the claim: a case opened after the decision puts the message off
--
CALL shop.go(3, '{promo}', 'a', '2026-01-06 10:00');
INSERT INTO shop.tickets VALUES (3, 3, NULL);
SELECT count(*) FROM journey.claim('r1', at => '2026-01-06 10:01') WHERE recipient ~ '^c3@';
SELECT stage, verdict, reason, until FROM shop.verdicts WHERE contact = 3 ORDER BY at;
DELETE FROM shop.tickets WHERE id = 3;
SELECT count(*) FROM journey.claim('r1', at => '2026-01-06 11:00:59') WHERE recipient ~ '^c3@';
SELECT count(*) FROM journey.claim('r1', at => '2026-01-06 11:01') WHERE recipient ~ '^c3@';
SELECT journey.drop_hold('open_case');

--
-- while a run of a journey goes on, and six hours after it began
--
SELECT journey.create_hold('wake_up', journey => 'wake_up', lasting => '6 hours', action => 'skip', channels => '{email}', classes => '{promotional}', at => '2026-01-01');
CALL shop.go(5, '{wake_up}', '', '2026-01-07 10:00');
CALL shop.go(5, '{promo,tip,letter,receipt}', 'a', '2026-01-07 11:00');
CALL shop.go(5, '{promo}', 'b', '2026-01-07 15:59:59');
CALL shop.go(5, '{promo}', 'c', '2026-01-07 16:00');
SELECT at, name, verdict, reason, hold FROM shop.verdicts WHERE contact = 5 ORDER BY at, name;
-- put off until the six hours are over, if that is less than an hour; without "lasting" until the run has ended
SELECT journey.create_hold('wake_up', journey => 'wake_up', lasting => '3 hours 30 minutes', at => '2026-01-01');
CALL shop.go(6, '{wake_up}', '', '2026-01-07 10:00');
SELECT steps FROM journey.tick('2026-01-07 12:00');
CALL shop.go(6, '{promo}', 'a', '2026-01-07 12:15');
SELECT steps FROM journey.tick('2026-01-07 13:15');
SELECT steps FROM journey.tick('2026-01-07 13:30');
SELECT at, name, verdict, reason, until FROM shop.verdicts WHERE contact = 6 ORDER BY at, name;
SELECT journey.create_hold('wake_up', journey => 'wake_up', except_journeys => '{tip}', at => '2026-01-01');
CALL shop.go(7, '{wake_up}', '', '2026-01-07 10:00');
CALL shop.go(7, '{promo,tip}', 'a', '2026-01-07 11:30');
SELECT steps FROM journey.tick('2026-01-07 12:00');
SELECT steps FROM journey.tick('2026-01-07 12:30');
SELECT at, name, verdict, reason, until FROM shop.verdicts WHERE contact = 7 ORDER BY at, name;
-- begun by the same event, in the same pass
CALL shop.go(8, '{wake_up,promo}', 'a', '2026-01-07 10:00');
SELECT at, name, verdict, reason, until FROM shop.verdicts WHERE contact = 8 ORDER BY at, name;
SELECT journey.drop_hold('wake_up');

--
-- two holds: one that skips decides
--
SELECT journey.create_hold('a', segment => 'open_case', at => '2026-01-01');
SELECT journey.create_hold('b', journey => 'wake_up', action => 'skip', topics => '{promotions}', at => '2026-01-01');
INSERT INTO shop.tickets VALUES (9, 9, NULL);
CALL shop.go(9, '{wake_up}', '', '2026-01-08 10:00');
CALL shop.go(9, '{promo,tip}', 'a', '2026-01-08 10:10');
SELECT at, name, verdict, reason, until, hold - 'since' AS hold FROM shop.verdicts WHERE contact = 9 ORDER BY at, name;

-- refused
SELECT journey.create_hold('x');
SELECT journey.create_hold('x', segment => 'open_case', journey => 'promo');
SELECT journey.create_hold('x', segment => 'nothing');
SELECT journey.create_hold('x', journey => 'nothing');
SELECT journey.create_hold('x', segment => 'open_case', lasting => '1 day');
SELECT journey.create_hold('x', journey => 'promo', lasting => '0');
SELECT journey.create_hold('x', journey => 'promo', lasting => '-1 day');
SELECT journey.create_hold('x', journey => 'promo', action => 'wait');
SELECT journey.create_hold('x', journey => 'promo', channels => '{pigeon}');
SELECT journey.create_hold('x', journey => 'promo', topics => '{promtions}');
SELECT journey.create_hold('x', journey => 'promo', topics => '{NULL}');
SELECT journey.create_hold('x', journey => 'promo', channels => '{}');
SELECT journey.create_hold('x', journey => 'promo', topics => '{}');
SELECT journey.create_hold('x', journey => 'promo', except_journeys => '{nothing}');
SELECT journey.create_hold('x', journey => 'promo', classes => '{transactional}');
SELECT journey.create_hold('x', journey => 'promo', classes => '{}');
SELECT journey.create_hold('two words', journey => 'promo');
SELECT journey.drop_hold('nothing');
SELECT journey.drop_segment('open_case');
SELECT name, segment, journey, lasting, action, channels, topics, classes, except_journeys FROM journey.hold ORDER BY name;
