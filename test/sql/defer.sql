-- What is put off: at a SEND, where the run stays, and at a claim.
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
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers;
-- from eight in the evening to nine in the morning, by the contact's clock
SELECT journey.create_quiet_hours('night', '20:00', '09:00', at => '2025-12-01');
SELECT journey.create_journey('promo', $$ ON CALL TOPIC promotions
	EXIT ON order_placed EXIT ON broken WHERE 1 / (event.properties->>'by')::int > 0
	SEND email m EXPIRES '2 days'; WAIT '1 hour'; SEND email m EXPIRES '6 hours'; $$, '2026-01-01');
SELECT journey.create_journey('other', $$ ON CALL TOPIC promotions EXIT ON order_placed SEND email m EXPIRES '1 day'; $$, '2026-01-01');
SELECT journey.create_journey('tested', $$ ON CALL TOPIC promotions HOLDOUT 50% GOAL order_placed WITHIN '7 days' SEND email m; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON CALL TOPIC service SEND email m; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey ORDER BY name;
RESET client_min_messages;
CREATE VIEW shop.runs AS
	SELECT contact, j.name AS journey, e.status, end_reason, send_step AS step, send_since AS since, send_due AS due, e.epoch
	FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id);
CREATE VIEW shop.verdicts AS
	SELECT contact, j.name AS journey, step_no AS step, stage, at, verdict, reason, until, message_id IS NOT NULL AS message
	FROM journey_state.verdict JOIN journey.version USING (version_id) JOIN journey.journey j USING (journey_id);
CREATE VIEW shop.mail AS
	SELECT contact, j.name AS journey, step_no AS step, m.status, since, decided_at, m.expires_at, lease_until, m.reason
	FROM journey_state.message m JOIN journey.journey j USING (journey_id);
CREATE FUNCTION shop.broken() RETURNS TABLE (law text, violations bigint, example text) LANGUAGE sql AS
	$$ SELECT * FROM journey.check('-infinity') WHERE violations > 0 $$;

--
-- A run that comes to a SEND at night stays there; nothing of the message exists yet.  A receipt goes at once.
--
SELECT count(journey.enroll('promo', i, at => '2026-01-05 22:00')) FROM generate_series(1, 10) i;
SELECT count(journey.enroll('other', 11, at => '2026-01-05 22:00'));
SELECT count(journey.enroll('other', 12, at => '2026-01-05 08:59:59.999999'));
SELECT count(journey.enroll('receipt', 13, at => '2026-01-05 22:00'));
UPDATE shop.customers SET tz = 'America/New_York' WHERE id = 10;
SELECT journey.tick('2026-01-05 22:00');
SELECT * FROM shop.runs ORDER BY contact;
SELECT * FROM shop.verdicts ORDER BY contact;
SELECT * FROM shop.mail ORDER BY contact;
SELECT t.contact, t.due_at, t.step_no, t.epoch FROM journey_state.timer t WHERE enrollment_id IS NOT NULL ORDER BY contact, due_at;
SELECT value, detail FROM journey.health('2026-01-05 22:00') WHERE name = 'sends_put_off';
SELECT messages FROM journey.tick('2026-01-06 08:59:59.999999');
SELECT count(*) FROM shop.verdicts WHERE at > '2026-01-05 22:00' AND contact <> 10;
SELECT * FROM shop.broken();

--
-- What happens in the night.  1: nothing; 2: an order; 3: a withdrawal; 4: is deleted; 5: an exit rule that fails;
-- 6: as 5, and is retried in the night; 7: moves to New York, where it is night still; 8: to Tokyo, where it is not,
-- but he is asked at nine as was said
--
SELECT count(journey.track(2, 'order_placed', '{}', '2026-01-06 03:00'));
SELECT journey.set_consent(3, 'email', 'promotions', false, 'link', '2026-01-06 03:00');
DELETE FROM shop.customers WHERE id = 4;
SELECT count(journey.track(i, 'broken', '{"by": 0}', '2026-01-06 03:00')) FROM generate_series(5, 6) i;
UPDATE shop.customers SET tz = CASE id WHEN 7 THEN 'America/New_York' ELSE 'Asia/Tokyo' END WHERE id IN (7, 8);
SELECT messages FROM journey.tick('2026-01-06 04:00');
SELECT contact, status, end_reason, step, since, due, epoch FROM shop.runs WHERE contact IN (2, 5, 6) ORDER BY contact;
SELECT journey.retry(enrollment_id, at => '2026-01-06 04:30') FROM journey_state.enrollment WHERE contact = 6;
SELECT messages FROM journey.tick('2026-01-06 05:00');
-- the retried run goes on waiting, and nothing was asked
SELECT contact, status, step, since, due, epoch FROM shop.runs WHERE contact = 6;
SELECT * FROM shop.broken();
SELECT messages FROM journey.tick('2026-01-06 09:00');
SELECT * FROM shop.verdicts WHERE at > '2026-01-06 05:00' ORDER BY contact, at;
SELECT * FROM shop.mail WHERE contact <> 13 ORDER BY contact;
SELECT contact, status, end_reason, step, since, due FROM shop.runs WHERE contact <= 10 ORDER BY contact;
-- 5 is retried by day, and asks at once, as one that came when he did
SELECT journey.retry(enrollment_id, at => '2026-01-06 11:00') FROM journey_state.enrollment WHERE contact = 5;
SELECT messages FROM journey.tick('2026-01-06 11:00');
SELECT * FROM shop.mail WHERE contact = 5;
-- New York wakes up: 7, and 10, who was asked at his nine o'clock from the start
SELECT messages FROM journey.tick('2026-01-06 13:59');
SELECT messages FROM journey.tick('2026-01-06 14:00');
SELECT * FROM shop.verdicts WHERE contact IN (7, 10) AND step = 1 ORDER BY contact, at;
SELECT * FROM shop.broken();

--
-- At a claim: what was let through by day and is asked for at night
--
SELECT count(*) FROM journey.claim('r', at => '2026-01-06 20:30') c JOIN journey_state.message m USING (message_id) WHERE m.contact <> 13;
SELECT contact, stage, verdict, reason, until, message FROM shop.verdicts WHERE at = '2026-01-06 20:30' ORDER BY contact, step;
SELECT contact, step, status, lease_until, reason FROM shop.mail ORDER BY contact, step;
SELECT count(*) FROM journey.claim('r', at => '2026-01-06 20:30');
SELECT count(*) FROM journey.claim('r', at => '2026-01-07 08:59');
SELECT * FROM shop.broken();
-- in the night 1 orders
SELECT count(journey.track(1, 'order_placed', '{}', '2026-01-07 03:00'));
SELECT value FROM journey.health('2026-01-07 09:00') WHERE name IN ('messages_pending', 'oldest_message_age');
SELECT contact, step_no AS step FROM journey.claim('r', at => '2026-01-07 09:00') c JOIN journey_state.message m USING (message_id) ORDER BY contact;
SELECT contact, step, status, reason FROM shop.mail ORDER BY contact, step;
SELECT * FROM shop.broken();

--
-- A late tick asks late: it is night again; and later still it has expired
--
SELECT count(journey.enroll('promo', 14, at => '2026-01-10 22:00'));
SELECT count(journey.enroll('other', 15, at => '2026-01-10 22:00'));
SELECT messages FROM journey.tick('2026-01-10 22:00');
SELECT messages FROM journey.tick('2026-01-11 23:00');
SELECT messages FROM journey.tick('2026-01-12 09:00');
SELECT * FROM shop.verdicts WHERE contact IN (14, 15) ORDER BY contact, at;
-- the night is longer than a message lasts: withheld at once
SELECT messages FROM journey.tick('2026-01-12 10:00');
SELECT count(journey.enroll('promo', 16, at => '2026-01-12 19:30'));
SELECT messages FROM journey.tick('2026-01-12 19:30');
SELECT messages FROM journey.tick('2026-01-12 20:30');
SELECT * FROM shop.verdicts WHERE contact = 16 ORDER BY at;
SELECT evidence -> 'until' AS until, evidence -> 'expires_at' AS expires_at FROM journey_state.verdict WHERE contact = 16 AND verdict = 'withheld';

--
-- A journey that is paused when it is time, and one that is dropped
--
SELECT count(journey.enroll('other', i, at => '2026-01-13 22:00')) FROM generate_series(17, 18) i;
SELECT messages FROM journey.tick('2026-01-13 22:00');
SELECT journey.pause('other');
SELECT messages FROM journey.tick('2026-01-14 10:00');
SELECT contact, step_no, fired FROM journey_state.held ORDER BY contact;
SELECT * FROM shop.broken();
SELECT count(journey.track(18, 'order_placed', '{}', '2026-01-14 11:00'));
SELECT journey.resume('other');
SELECT messages FROM journey.tick('2026-01-14 12:00');
SELECT * FROM shop.verdicts WHERE contact IN (17, 18) ORDER BY contact, at;
SELECT contact, status, end_reason, step FROM shop.runs WHERE contact IN (17, 18) ORDER BY contact;
SELECT count(journey.enroll('other', 19, at => '2026-01-14 22:00'));
SELECT messages FROM journey.tick('2026-01-14 22:00');
SELECT journey.drop_journey('other');
SELECT messages FROM journey.tick('2026-01-15 09:00');
SELECT contact, status, end_reason, step FROM shop.runs WHERE contact = 19;
SELECT * FROM shop.broken();

--
-- A ghost waits as long, and leaves nothing but verdicts
--
SELECT count(journey.enroll('tested', i, at => '2026-01-15 22:00')) FROM generate_series(1, 20) i WHERE i <> 4;
SELECT messages FROM journey.tick('2026-01-15 22:00');
SELECT messages > 0 FROM journey.tick('2026-01-16 16:00');
SELECT ghost, verdict, reason, until, count(*) > 0 AS some, count(message_id) > 0 AS messages FROM journey_state.verdict v JOIN journey.version USING (version_id) JOIN journey.journey j USING (journey_id)
WHERE j.name = 'tested' AND contact NOT IN (3, 7, 8, 10) GROUP BY 1, 2, 3, 4 ORDER BY 1, 2;
SELECT * FROM shop.broken();

--
-- Frequency caps: WHEN CAPPED DEFER and EXIT, when it is decided and when it is claimed
--
SELECT journey.drop_quiet_hours('night');
SELECT journey.drop_journey(name) FROM journey.journey WHERE status = 'active';
SELECT count(*) FROM journey.claim('r', 1000, at => '2026-01-31 12:00');
SELECT journey.create_cap('daily', 1, '1 day', at => '2026-01-31');
SET client_min_messages = warning;
SELECT journey.create_journey('defers', $$ ON CALL TOPIC promotions KEY event.properties->>'n' REENTRY ALWAYS EXIT ON order_placed SEND email m EXPIRES '3 days' WHEN CAPPED DEFER; $$, '2026-02-01');
SELECT journey.create_journey('briefly', $$ ON CALL TOPIC promotions REENTRY ALWAYS SEND email m EXPIRES '3 days' WHEN CAPPED DEFER WITHIN '6 hours'; $$, '2026-02-01');
SELECT journey.create_journey('exits', $$ ON CALL TOPIC promotions SEND email m WHEN CAPPED EXIT; WAIT '1 hour'; SEND email m; $$, '2026-02-01');
SELECT journey.create_journey('first', $$ ON CALL TOPIC promotions SEND email m PRIORITY 90; $$, '2026-02-01');
SELECT journey.activate(name) FROM journey.journey WHERE status = 'draft' ORDER BY name;
RESET client_min_messages;
UPDATE shop.customers SET tz = 'UTC';
-- 1, 2, 9: one goes before; 5, 6: the more important is decided second, and claimed first
SELECT count(journey.enroll('first', i, at => '2026-02-01 10:00')) FROM unnest('{1,2,9}'::int[]) i;
SELECT messages FROM journey.tick('2026-02-01 10:00');
SELECT count(*) FROM journey.claim('r', at => '2026-02-01 10:05');
SELECT count(journey.enroll('defers', 1, at => '2026-02-01 11:00'));
SELECT count(journey.enroll('exits', 2, at => '2026-02-01 11:00'));
SELECT count(journey.enroll('briefly', 9, at => '2026-02-01 11:00'));
SELECT count(journey.enroll('defers', 5, at => '2026-02-01 11:00'));
SELECT count(journey.enroll('exits', 6, at => '2026-02-01 11:00'));
SELECT messages FROM journey.tick('2026-02-01 11:00');
SELECT count(journey.enroll('first', i, at => '2026-02-01 11:10')) FROM generate_series(5, 6) i;
SELECT messages FROM journey.tick('2026-02-01 11:10');
SELECT * FROM shop.verdicts WHERE at >= '2026-02-01 11:00' ORDER BY contact, at;
SELECT m.contact, m.priority FROM journey.claim('r', at => '2026-02-01 11:30') c JOIN journey_state.message m USING (message_id) ORDER BY contact;
SELECT * FROM shop.verdicts WHERE stage = 'claim' AND at = '2026-02-01 11:30' ORDER BY contact;
SELECT contact, journey, status, end_reason, step, since, due, epoch FROM shop.runs WHERE journey IN ('defers', 'exits', 'briefly') ORDER BY contact;
SELECT contact, journey, status, lease_until, reason FROM shop.mail WHERE decided_at > '2026-02-01' ORDER BY contact, journey;
SELECT * FROM shop.broken();
-- the place is free a day after the hand-over, and not a microsecond before
SELECT messages FROM journey.tick('2026-02-02 10:04:59.999999');
SELECT messages FROM journey.tick('2026-02-02 10:05');
SELECT count(*) FROM journey.claim('r', at => '2026-02-02 10:05');
SELECT count(*) FROM journey.claim('r', at => '2026-02-02 11:29:59.999999');
SELECT m.contact FROM journey.claim('r', at => '2026-02-02 11:30') c JOIN journey_state.message m USING (message_id) ORDER BY contact;
SELECT contact, journey, status, end_reason FROM shop.runs WHERE journey IN ('defers', 'exits', 'briefly') ORDER BY contact;
SELECT * FROM shop.broken();

--
-- What is put off until the morning, or belongs to a paused journey, keeps no place from what may go now
--
SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example", "address": "phone"}');
SELECT journey.create_template('x', 'sms', '', 'Hello');
SELECT count(journey.set_consent(id, 'sms', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers;
SELECT journey.create_quiet_hours('texts', '20:00', '09:00', channels => '{sms}', at => '2026-02-01');
SET client_min_messages = warning;
SELECT journey.create_journey('text', $$ ON CALL TOPIC promotions SEND sms x PRIORITY 90 EXPIRES '3 days'; $$, '2026-02-01');
SELECT journey.create_journey('mail', $$ ON CALL TOPIC promotions SEND email m PRIORITY 10 EXPIRES '3 days'; $$, '2026-02-01');
SELECT journey.activate(name) FROM unnest('{text,mail}'::text[]) name;
RESET client_min_messages;
SELECT count(journey.enroll('text', i, at => '2026-02-10 19:00')) FROM generate_series(11, 13) i;
SELECT messages FROM journey.tick('2026-02-10 19:00');
SELECT count(*) FROM journey.claim('r', 1000, at => '2026-02-10 20:30') c WHERE channel = 'sms';
SELECT count(journey.enroll('mail', 11, at => '2026-02-10 20:31'));
SELECT messages FROM journey.tick('2026-02-10 20:31');
SELECT m.contact, channel FROM journey.claim('r', at => '2026-02-10 20:32') c JOIN journey_state.message m USING (message_id, channel) WHERE m.decided_at > '2026-02-10' ORDER BY contact;
-- in the morning there is no place for the text to 11; 12's goes before his mail
SELECT count(journey.enroll('mail', 12, at => '2026-02-11 08:59'));
SELECT messages FROM journey.tick('2026-02-11 08:59');
SELECT m.contact, channel FROM journey.claim('r', at => '2026-02-11 09:00') c JOIN journey_state.message m USING (message_id, channel) WHERE m.decided_at > '2026-02-10' AND m.attempt = 1 ORDER BY contact;
SELECT count(journey.enroll('text', 14, at => '2026-02-12 10:00'));
SELECT messages FROM journey.tick('2026-02-12 10:00');
SELECT journey.pause('text');
SELECT count(journey.enroll('mail', 14, at => '2026-02-12 10:01'));
SELECT messages FROM journey.tick('2026-02-12 10:01');
SELECT m.contact, channel FROM journey.claim('r', at => '2026-02-12 10:02') c JOIN journey_state.message m USING (message_id, channel) WHERE m.decided_at > '2026-02-12' ORDER BY contact;
SELECT journey.resume('text');
SELECT count(*) FROM journey.claim('r', at => '2026-02-12 10:02:30') c JOIN journey_state.message m USING (message_id, channel) WHERE m.decided_at > '2026-02-12';
SELECT contact, journey, status, lease_until, reason FROM shop.mail WHERE decided_at > '2026-02-10' ORDER BY contact, journey;
SELECT * FROM shop.broken();
