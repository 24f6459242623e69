-- An exit that comes after the run's last step, while the message waits for a relay.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SET client_min_messages = warning;
SELECT journey.open_relay('r', :'token') > 0 AS opened;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('m', 'email', 'Hello', 'Hello');
SELECT journey.create_segment('ordered', $$ EXISTS (SELECT FROM shop.orders o WHERE o.customer_id = c.id) $$, at => '2026-01-01');
SELECT journey.create_journey('one', $$ ON CALL KEY 'k' TOPIC service EXIT ON order_placed SEND email m EXPIRES '2 days'; $$, '2026-01-01');
SELECT journey.create_journey('large', $$ ON CALL TOPIC service
	EXIT ON order_placed WHERE 100 / (event.properties->>'total')::numeric <= 2 AND event.properties->>'of' = e.key
	EXIT ON closed
	SEND email m; EXIT; $$, '2026-01-01');
SELECT journey.create_journey('leave', $$ ON CALL TOPIC service EXIT ON LEAVE SEGMENT ordered SEND email m; $$, '2026-01-01');
SELECT journey.create_journey('none', $$ ON CALL TOPIC service SEND email m; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey ORDER BY name;
INSERT INTO shop.orders SELECT i, i, 10, '2026-01-01' FROM generate_series(15, 16) i;
SELECT journey.tick('2026-01-01 12:00') IS NOT NULL AS ticked;
SELECT count(journey.track(5, 'order_placed', '{}', '2026-01-02 00:30'));
SELECT journey.tick('2026-01-02 00:40') IS NOT NULL AS ticked;
RESET client_min_messages;
CREATE VIEW shop.mail AS
	SELECT contact, j.name AS journey, m.status, m.attempt, m.reason, e.status AS run, e.end_reason, e.ended_at
	FROM journey_state.message m JOIN journey_state.enrollment e USING (contact, enrollment_id) JOIN journey.journey j ON j.journey_id = m.journey_id;

SELECT count(journey.enroll('one', i, at => '2026-01-02 00:50')) FROM generate_series(1, 7) i;
SELECT count(journey.enroll('large', i, key => CASE WHEN i = 13 THEN 'y' ELSE 'x' END, at => '2026-01-02 00:50')) FROM generate_series(10, 14) i;
SELECT count(journey.enroll('leave', i, at => '2026-01-02 00:50')) FROM generate_series(15, 16) i;
SELECT count(journey.enroll('none', i, at => '2026-01-02 00:50')) FROM generate_series(1, 1) i;
SELECT messages FROM journey.tick('2026-01-02 00:55');
SELECT journey, run, end_reason, status, count(*) FROM shop.mail GROUP BY 1, 2, 3, 4 ORDER BY 1;

--
-- 1: seen by a tick; 2: by nothing before the claim; 3: dated before the end of the run, though committed after it;
-- 4: dated before what started the run, so not about it; 5: as 4, and it was taken in before; 6, 7: nothing
--
SELECT count(journey.track(1, 'order_placed', '{}', '2026-01-02 01:00'));
SELECT journey.tick('2026-01-02 02:00') IS NOT NULL AS ticked;
SELECT count(journey.track(2, 'order_placed', '{}', '2026-01-02 01:00'));
SELECT count(journey.track(3, 'order_placed', '{}', '2026-01-02 00:52'));
SELECT count(journey.track(4, 'order_placed', '{}', '2026-01-02 00:49'));
-- 10: holds; 11: is false; 12: fails; 13: another key; 14: the other rule
SELECT count(journey.track(i, 'order_placed', jsonb_build_object('total', (ARRAY[50, 10, 0, 50])[i - 9], 'of', 'x'), '2026-01-02 01:00')) FROM generate_series(10, 13) i;
SELECT count(journey.track(14, 'closed', '{}', '2026-01-02 01:00'));
-- 15 leaves, 16 stays
DELETE FROM shop.orders WHERE customer_id = 15;
SELECT m.contact, j.name FROM journey.claim('r', at => '2026-01-02 02:00') c JOIN journey_state.message m USING (message_id) JOIN journey.journey j USING (journey_id) ORDER BY 1, 2;
SELECT * FROM shop.mail ORDER BY contact, journey;
SELECT contact, stage, verdict, reason, evidence FROM journey_state.verdict WHERE stage = 'claim' ORDER BY contact;
SELECT contact, reason, detail FROM journey_state.refusal ORDER BY contact;

--
-- a lease that lapses, and a retry, are withheld; what was delivered stays, and so does its run
--
SELECT count(journey.report('r', ARRAY[message_id], ARRAY[1], ARRAY[CASE contact WHEN 6 THEN 'sent' ELSE 'deferred' END], ARRAY[NULL]::text[], ARRAY[NULL]::text[], '2026-01-02 02:00:10'))
FROM journey_state.message WHERE contact IN (6, 7);
SELECT count(journey.track(i, 'order_placed', '{}', '2026-01-02 02:00:20')) FROM generate_series(4, 7) i;
SELECT m.contact FROM journey.claim('r', at => '2026-01-02 12:00') c JOIN journey_state.message m USING (message_id) WHERE m.contact < 10 ORDER BY 1;
SELECT * FROM shop.mail WHERE contact BETWEEN 4 AND 7 ORDER BY contact;

-- one that has expired says so
SELECT count(journey.enroll('one', 8, at => '2026-01-03'));
SELECT messages FROM journey.tick('2026-01-03');
SELECT count(journey.track(8, 'order_placed', '{}', '2026-01-05'));
SELECT count(*) FROM journey.claim('r', at => '2026-01-05') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 8;
SELECT * FROM shop.mail WHERE contact = 8;

-- a replay in which messages are taken as sent has nothing to stop; in one without, the exit does
SELECT count(journey.enroll('one', 9, at => '2026-01-06'));
SELECT count(journey.track(9, 'order_placed', '{}', '2026-01-06 01:00'));
SELECT journey.replay('2026-01-07', assume_sent => true) IS NOT NULL AS replayed;
SELECT count(journey.enroll('one', 17, at => '2026-01-07 01:00'));
SELECT count(journey.track(17, 'order_placed', '{}', '2026-01-07 02:00'));
SELECT journey.replay('2026-01-08') IS NOT NULL AS replayed;
SELECT * FROM shop.mail WHERE contact IN (9, 17) ORDER BY 1;

SELECT at, what, regexp_replace(detail, 'message \d+', 'message n') AS detail FROM journey.explain(2) WHERE what <> 'assigned';
SELECT at, what, regexp_replace(detail, 'message \d+', 'message n') AS detail FROM journey.explain(15) WHERE what IN ('ended', 'verdict');
SELECT * FROM journey.check() WHERE violations > 0;
