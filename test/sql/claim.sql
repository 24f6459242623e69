-- What a relay is given: the fence, leases, the second look, rendering.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('cart', 'email', '{{first_name}}, your cart {{enrollment.key}}', 'Total {{event.properties.total}}, to {{email}}', '<p>{{event.properties.note}}</p>');
SELECT journey.create_template('broken', 'email', 'Hello {{event.properties.note}}', 'Total {{event.properties.total | divided_by: event.properties.by}}');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('cart', $$ ON EVENT cart KEY event.properties->>'k' TOPIC promotions EXIT ON bought SEND email cart EXPIRES '1 day'; WAIT '30 days'; $$, '2026-01-01');
SELECT journey.create_journey('urgent', $$ ON EVENT urgent KEY event.properties->>'k' TOPIC promotions SEND email cart PRIORITY 90 EXPIRES '1 day'; $$, '2026-01-01');
SELECT journey.create_journey('broken', $$ ON EVENT broken KEY event.properties->>'k' TOPIC promotions SEND email broken EXPIRES '1 day'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
CREATE PROCEDURE shop.decide(contact bigint, event text, properties jsonb, at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(contact, event, properties, at);
	COMMIT;
	PERFORM journey.tick(at);
END
$$;
CREATE VIEW shop.mail AS SELECT message_id AS id, contact, status, attempt, reason, claimed_at, lease_until, relay FROM journey_state.message;

--
-- the fence
--
SELECT * FROM journey.claim('r1', at => '2026-01-05 10:00');
SELECT journey.open_relay('r1', 'guess');
SELECT journey.open_relay('r1', '');
SELECT journey.open_relay('', :'token');
SELECT journey.open_relay('r1', :'token');
SELECT * FROM journey.claim('r2', at => '2026-01-05 10:00');
SELECT * FROM journey.claim('r1', max => 0, at => '2026-01-05 10:00');
SELECT * FROM journey.claim('r1', lease => '0', at => '2026-01-05 10:00');
SELECT * FROM journey.claim('r1', lease => NULL, at => '2026-01-05 10:00');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM journey.claim('r1', at => '2026-01-05 10:00');
ROLLBACK;
-- the relay's own role needs EXECUTE and sees no table
RESET SESSION AUTHORIZATION;
SELECT * FROM journey.claim('r1', at => '2026-01-05 10:00');
CREATE ROLE regress_relay;
GRANT USAGE ON SCHEMA journey TO regress_relay;
GRANT EXECUTE ON FUNCTION journey.open_relay(text, text), journey.claim(text, integer, interval, timestamptz) TO regress_relay;
SET SESSION AUTHORIZATION regress_relay;
SELECT * FROM journey.claim('r1', at => '2026-01-05 10:00');
SELECT * FROM journey_state.message;
SELECT * FROM journey.site_token;
-- another session has opened the relay: stands for it here
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION shop;
UPDATE journey_state.relay SET epoch = epoch + 1;
SELECT * FROM journey.claim('r1', at => '2026-01-05 10:00');
-- an opening that did not commit is none
BEGIN;
SELECT journey.open_relay('r1', :'token');
ROLLBACK;
SELECT * FROM journey.claim('r1', at => '2026-01-05 10:00');
SELECT journey.open_relay('r1', :'token');

--
-- what a relay gets; HTML is escaped, text and headers are not
--
CALL shop.decide(1, 'cart', '{"k": "c-17", "total": 29.95, "note": "<b>Tom & Jerry</b>"}', '2026-01-05 10:00');
SELECT attempt, channel, settings, recipient, subject, body, html, headers->>'X-Journey-Message' = idempotency_key AS header, length(idempotency_key), decided_at, expires_at
FROM journey.claim('r1', at => '2026-01-05 10:00:10') \gx
SELECT * FROM shop.mail;
-- the key can be computed by anybody
SELECT m.idempotency_key = encode(sha256(convert_to(concat_ws(E'\x1f', s.site_id, 'cart', 1, 'c-17', 1, 1, 1, 'email'), 'UTF8')), 'hex') AS same FROM journey_state.message m, journey.site s;

--
-- the lease: nothing while it lasts, again when it ends, with the same key
--
SELECT count(*) FROM journey.claim('r1', at => '2026-01-05 10:01:09.999999');
SELECT c.attempt, c.idempotency_key = m.idempotency_key AS same_key FROM journey.claim('r1', at => '2026-01-05 10:01:10') c JOIN journey_state.message m USING (message_id);
SELECT * FROM shop.mail;
-- eight leases without a report: put aside, not offered for ever
SELECT i, (SELECT max(attempt) FROM journey.claim('r1', at => timestamptz '2026-01-05 10:02:10' + i * interval '1 minute')) AS attempt FROM generate_series(0, 6) i;
SELECT id, status, attempt, reason FROM shop.mail;

--
-- the second look: exit, consent, suppression, address, expiry, contact
--
CALL shop.decide(2, 'cart', '{"k": "a"}', '2026-01-05 11:00');
CALL shop.decide(3, 'cart', '{"k": "a"}', '2026-01-05 11:00');
CALL shop.decide(4, 'cart', '{"k": "a"}', '2026-01-05 11:00');
CALL shop.decide(5, 'cart', '{"k": "a"}', '2026-01-05 11:00');
CALL shop.decide(6, 'cart', '{"k": "a"}', '2026-01-05 11:00');
CALL shop.decide(7, 'cart', '{"k": "a"}', '2026-01-05 11:00');
CALL shop.decide(8, 'cart', '{"k": "a"}', '2026-01-05 11:00');
-- committed and not seen by any tick: the claim takes it in
SELECT journey.track(2, 'bought', '{}', '2026-01-05 11:01');
SELECT journey.set_consent(3, 'email', 'promotions', false, 'link', '2026-01-05 11:01');
SELECT journey.suppress('email', 'c4@shop.example', 'complaint', '2026-01-05 11:01');
UPDATE shop.customers SET email = NULL WHERE id = 5;
DELETE FROM shop.customers WHERE id = 6;
UPDATE shop.customers SET email = 'new@shop.example' WHERE id = 7;
SELECT c.recipient, c.subject FROM journey.claim('r1', at => '2026-01-05 11:02') c ORDER BY recipient;
SELECT contact, status, reason FROM shop.mail WHERE contact BETWEEN 2 AND 8 ORDER BY contact;
SELECT contact, stage, verdict, reason FROM journey_state.verdict WHERE stage = 'claim' AND contact BETWEEN 2 AND 8 ORDER BY contact;
-- consent withdrawn between two attempts
SELECT journey.set_consent(8, 'email', '*', false, 'link', '2026-01-05 11:02:30');
SELECT c.recipient, c.attempt FROM journey.claim('r1', at => '2026-01-05 11:03') c;
SELECT contact, status, attempt, reason FROM shop.mail WHERE contact IN (7, 8) ORDER BY contact;
-- expiry, to the microsecond
CALL shop.decide(9, 'cart', '{"k": "a"}', '2026-01-06 12:00');
CALL shop.decide(10, 'cart', '{"k": "a"}', '2026-01-06 12:00:00.000001');
SELECT c.recipient FROM journey.claim('r1', at => '2026-01-07 12:00') c ORDER BY 1;
SELECT contact, status, reason FROM shop.mail WHERE contact IN (9, 10) ORDER BY contact;

--
-- a template that fails parks its message and no other; mended, it can be tried again
--
CALL shop.decide(11, 'broken', '{"k": "a", "total": 10, "by": 0}', '2026-01-08 10:00');
CALL shop.decide(11, 'broken', '{"k": "b", "total": 10, "by": 2}', '2026-01-08 10:00');
CALL shop.decide(12, 'broken', '{"k": "c", "total": 10, "by": 5, "note": "a\r\nBcc: b"}', '2026-01-08 10:00');
CALL shop.decide(13, 'cart', '{"k": "a"}', '2026-01-08 10:00');
SELECT c.recipient, c.body FROM journey.claim('r1', at => '2026-01-08 10:00') c ORDER BY 1;
SELECT contact, status, attempt, reason FROM shop.mail WHERE contact IN (11, 12, 13) ORDER BY id;
SELECT contact, verdict, reason, evidence->'error' AS error FROM journey_state.verdict WHERE stage = 'claim' AND contact IN (11, 12) ORDER BY contact;
SELECT journey.create_template('broken', 'email', 'Hello', 'Fine now');
SELECT journey.retry_message(id, '2026-01-08 11:00') FROM shop.mail WHERE contact IN (11, 12) AND status = 'parked';
\set VERBOSITY sqlstate
SELECT journey.retry_message(id, '2026-01-08 11:00') FROM shop.mail WHERE contact = 13;
\set VERBOSITY default
SELECT journey.retry_message(4711, '2026-01-08 11:00');
SELECT c.recipient, c.attempt, c.body FROM journey.claim('r1', at => '2026-01-08 11:00') c WHERE body LIKE 'Fine%' AND attempt = 1 ORDER BY 1;

--
-- an error in the shop's own view parks that contact's message and no other
--
CALL shop.decide(14, 'cart', '{"k": "a"}', '2026-01-09 10:00');
CALL shop.decide(15, 'cart', '{"k": "a"}', '2026-01-09 10:00');
CALL shop.decide(16, 'cart', '{"k": "a"}', '2026-01-09 10:00');
ALTER TABLE shop.customers ADD ratio numeric DEFAULT 1;
UPDATE shop.customers SET ratio = 0 WHERE id = 15;
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON shop.customers USING (1 / ratio > 0);
SELECT c.recipient FROM journey.claim('r1', at => '2026-01-09 10:00') c WHERE attempt = 1 ORDER BY 1;
SELECT contact, status, reason FROM shop.mail WHERE contact IN (14, 15, 16) ORDER BY contact;
ALTER TABLE shop.customers DISABLE ROW LEVEL SECURITY;

--
-- one contact, several messages: priority first, then the earlier
--
SELECT journey.create_cap('daily', 1, '1 day');
CALL shop.decide(17, 'cart', '{"k": "a"}', '2026-01-12 10:00');
SELECT journey.drop_cap('daily');
CALL shop.decide(17, 'urgent', '{"k": "b"}', '2026-01-12 10:01');
SELECT journey.create_cap('daily', 1, '1 day');
SELECT m.priority, c.recipient FROM journey.claim('r1', at => '2026-01-12 10:02') c JOIN journey_state.message m USING (message_id);
SELECT priority, status, reason FROM journey_state.message WHERE contact = 17 ORDER BY message_id;
SELECT journey.drop_cap('daily');

--
-- max, over several claims; everything exactly once
--
SELECT count(journey.track(id, 'urgent', '{"k": "m"}', '2026-01-13 10:00')) FROM shop.customers WHERE id IN (1, 7, 9, 10, 11, 12, 13, 14, 16, 18, 19, 20);
SELECT messages FROM journey.tick('2026-01-13 10:00');
CREATE TABLE shop.got AS SELECT 1 AS call, c.message_id FROM journey.claim('r1', 5, at => '2026-01-13 10:00') c;
INSERT INTO shop.got SELECT 2, c.message_id FROM journey.claim('r1', 5, at => '2026-01-13 10:00') c;
INSERT INTO shop.got SELECT 3, c.message_id FROM journey.claim('r1', 5, at => '2026-01-13 10:00') c;
INSERT INTO shop.got SELECT 4, c.message_id FROM journey.claim('r1', 5, at => '2026-01-13 10:00') c;
SELECT call, count(*), count(DISTINCT message_id) FROM shop.got GROUP BY ROLLUP (call) ORDER BY call;

--
-- paused: put aside until it is resumed; dropped: withheld
--
CALL shop.decide(18, 'cart', '{"k": "p"}', '2026-01-14 10:00');
CALL shop.decide(19, 'urgent', '{"k": "p"}', '2026-01-14 10:00');
SELECT journey.pause('cart');
SELECT c.recipient FROM journey.claim('r1', at => '2026-01-14 10:00') c WHERE attempt = 1;
SELECT contact, attempt FROM journey_state.held WHERE message_id IS NOT NULL AND decided_at = '2026-01-14 10:00';
SELECT journey.resume('cart');
SELECT c.recipient FROM journey.claim('r1', at => '2026-01-14 11:00') c WHERE attempt = 1;
CALL shop.decide(20, 'cart', '{"k": "q"}', '2026-01-14 12:00');
SELECT journey.drop_journey('cart');
SELECT c.recipient FROM journey.claim('r1', at => '2026-01-14 12:00') c WHERE attempt = 1;
SELECT status, reason FROM shop.mail WHERE contact = 20 ORDER BY id DESC LIMIT 1;

-- each receipt "claimed" belongs to one attempt
SELECT count(*) = count(DISTINCT (message_id, attempt)) AS once FROM journey_state.receipt WHERE kind = 'claimed';
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_relay;
DROP ROLE regress_relay;
