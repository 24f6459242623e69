-- The engine: waits, exits, goals, branches, re-entry, parking, pausing.
-- Time is a parameter: every instant is written down here.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('reminder', 'email', 'Your cart', 'Hello {{first_name}}');
SELECT journey.create_template('offer', 'email', 'An offer', 'Hello {{first_name}}');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'test', '2025-12-01')) FROM shop.customers WHERE id <> 9;

-- what became of runs, compactly
CREATE VIEW shop.runs AS
	SELECT e.contact, j.name AS journey, e.key, e.ordinal AS n, e.status, e.end_reason, left(e.error, 60) AS error,
		(SELECT string_agg(t.step_no || ' ' || t.cause || ' ' || to_char(t.at, 'DD HH24:MI'), ', ' ORDER BY t.at, t.transition_id)
			FROM journey_state.transition t WHERE t.contact = e.contact AND t.enrollment_id = e.enrollment_id) AS path
	FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id);
CREATE VIEW shop.mail AS
	SELECT contact, template, to_char(decided_at, 'DD HH24:MI') AS decided, status FROM journey_state.message;

--
-- WAIT … SINCE LAST, EXIT ON, GOAL, WAIT FOR … OF
--
SELECT journey.create_journey('cart', $$
	ON EVENT cart WHERE (event.properties->>'total')::numeric > 0
	KEY event.properties->>'cart'
	EXIT ON order_placed
	GOAL order_placed WITHIN '7 days' VALUE (event.properties->>'total')::numeric

	WAIT '1 hour' SINCE LAST cart;
	<<first>>
	SEND email reminder EXPIRES '1 day';
	WAIT FOR clicked OF first TIMEOUT '23 hours' THEN
		WAIT '1 day';
	ELSE
		SEND email offer;
	END WAIT;
$$, '2026-01-01');
SELECT journey.activate('cart');
-- 1: one cart; 2: changed after 30 minutes; 3: orders before the hour; 4: orders later; 5: clicks; 6: empty cart; 9: no consent
SELECT count(journey.track(c, 'cart', '{"cart": "A", "total": 10}', '2026-01-01 10:00')) FROM unnest(ARRAY[1, 2, 3, 4, 5, 9]::bigint[]) c;
SELECT journey.track(6::bigint, 'cart', '{"cart": "A", "total": 0}', '2026-01-01 10:00') > 0 AS tracked;
SELECT * FROM journey.tick('2026-01-01 10:00');
SELECT count(journey.track(2::bigint, 'cart', '{"cart": "A", "total": 20}', '2026-01-01 10:30'));
SELECT count(journey.track(3::bigint, 'order_placed', '{"total": 30}', '2026-01-01 10:59'));
SELECT * FROM journey.tick('2026-01-01 11:00');
SELECT * FROM shop.mail ORDER BY decided, contact;
SELECT count(journey.track(4::bigint, 'order_placed', '{"total": 40}', '2026-01-01 12:00'));
SELECT count(journey.track(5::bigint, 'clicked', jsonb_build_object('message_id', message_id), '2026-01-01 13:00'))
	FROM journey_state.message WHERE contact = 5;
-- a click on somebody else's message does not count
SELECT count(journey.track(1::bigint, 'clicked', jsonb_build_object('message_id', message_id), '2026-01-01 13:00'))
	FROM journey_state.message WHERE contact = 5;
SELECT * FROM journey.tick('2026-01-01 13:00');
SELECT * FROM journey.tick('2026-01-02 13:00');
SELECT * FROM journey.tick('2026-01-03 13:00');
SELECT * FROM shop.runs ORDER BY contact;
SELECT * FROM shop.mail ORDER BY decided, contact, template;
SELECT contact, reason FROM journey_state.refusal ORDER BY contact;
SELECT contact, value, exposure_id IS NOT NULL AS exposed, enrollment_id IS NOT NULL AS enrolled FROM journey_state.conversion ORDER BY contact;
SELECT * FROM journey.check() WHERE violations > 0;

--
-- An order that commits before the decision stops the message, also when its
-- cart event comes in the same tick.
--
SELECT count(journey.track(7::bigint, 'cart', '{"cart": "B", "total": 10}', '2026-01-04 10:00'));
SELECT count(journey.track(7::bigint, 'order_placed', '{"total": 1}', '2026-01-04 10:00:01'));
SELECT * FROM journey.tick('2026-01-04 12:00');
SELECT * FROM shop.runs WHERE contact = 7;
-- an event older than the one that started the run does not end it
SELECT count(journey.track(7::bigint, 'cart', '{"cart": "C", "total": 10}', '2026-01-04 13:00'));
SELECT * FROM journey.tick('2026-01-04 13:00');
SELECT count(journey.track(7::bigint, 'order_placed', '{"total": 1}', '2026-01-04 12:30'));
SELECT * FROM journey.tick('2026-01-04 13:01');
SELECT * FROM shop.runs WHERE contact = 7 AND key = 'C';

--
-- IF / ELSIF / ELSE, WAIT UNTIL, EXIT, ON CALL
--
SELECT journey.create_journey('branch', $$
	ON CALL
	TOPIC service
	WAIT UNTIL (event.properties->>'key')::timestamptz ELSE SKIP;
	SEND email reminder;
	IF c.country = 'GB' THEN
		SEND email offer;
	ELSIF c.id = 3 THEN
		EXIT;
	ELSE
		WAIT '1 hour';
	END IF;
$$, '2026-01-01');
SELECT journey.activate('branch');
SELECT count(journey.enroll('branch', c, key => k, at => '2026-02-01 10:00'))
	FROM (VALUES (1::bigint, '2026-02-01 11:00'), (2, '2026-02-01 11:00'), (3, '2026-01-31 11:00'), (4, 'nonsense')) v (c, k);
SELECT * FROM journey.tick('2026-02-01 10:00');
SELECT * FROM journey.tick('2026-02-01 11:00');
SELECT * FROM journey.tick('2026-02-01 12:00');
SELECT * FROM shop.runs WHERE journey = 'branch' ORDER BY contact;

--
-- Parked with the error; the others go on; retried when mended
--
SELECT journey.create_journey('park', $$
	ON CALL
	TOPIC service
	IF 100 / (c.id - 5) > 0 THEN SEND email reminder; END IF;
$$, '2026-01-01');
SELECT journey.activate('park');
SELECT count(journey.enroll('park', id, at => '2026-02-02')) FROM shop.customers WHERE id BETWEEN 1 AND 8;
SELECT * FROM journey.tick('2026-02-02');
SELECT status, end_reason, error, count(*) FROM shop.runs WHERE journey = 'park' GROUP BY 1, 2, 3 ORDER BY 1;
SELECT count(journey.retry(enrollment_id, at => '2026-02-03')) FROM journey_state.enrollment WHERE status = 'parked' AND contact = 5;
SELECT events, steps, more FROM journey.tick('2026-02-03');
SELECT contact, status, error FROM shop.runs WHERE journey = 'park' AND contact = 5;
-- the shop mends its data
UPDATE shop.customers SET id = 105 WHERE id = 5;
INSERT INTO shop.customers SELECT 5, first_name, email, phone, tz, country, created_at FROM shop.customers WHERE id = 105;
SELECT * FROM journey.check() WHERE violations > 0;

--
-- Re-entry
--
SELECT journey.create_journey('never', $$ ON EVENT ping REENTRY NEVER TOPIC service WAIT '1 hour'; $$, '2026-01-01');
SELECT journey.create_journey('after', $$ ON EVENT ping REENTRY AFTER '3 hours' TOPIC service WAIT '1 hour'; $$, '2026-01-01');
SELECT journey.create_journey('always', $$ ON EVENT ping TOPIC service WAIT '1 hour'; $$, '2026-01-01');
SELECT journey.create_journey('perkey', $$ ON EVENT ping KEY event.properties->>'k' REENTRY ONCE PER KEY TOPIC service WAIT '1 hour'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey WHERE name IN ('never', 'after', 'always', 'perkey') ORDER BY name;
SELECT count(journey.track(8::bigint, 'ping', '{"k": 1}', t)) FROM generate_series('2026-03-01 00:00'::timestamptz, '2026-03-01 04:00', '30 minutes') t;
SELECT events, steps FROM journey.replay('2026-03-02');
SELECT journey, n, path FROM shop.runs WHERE journey IN ('never', 'after', 'always', 'perkey') ORDER BY journey, n;
SELECT j.name, reason, count(*) FROM journey_state.refusal r JOIN journey.journey j USING (journey_id)
	WHERE contact = 8 GROUP BY 1, 2 ORDER BY 1, 2;

--
-- Pause holds what falls due, resume lets it go; drop ends
--
SELECT count(journey.track(c, 'ping', '{"k": 1}', '2026-04-01 00:00')) FROM unnest(ARRAY[1, 2]::bigint[]) c;
SELECT * FROM journey.tick('2026-04-01 00:00');
SELECT journey.pause('always');
SELECT journey.drop_journey('never');
SELECT * FROM journey.tick('2026-04-01 02:00');
SELECT * FROM journey.check() WHERE violations > 0;
SELECT contact, journey, status, end_reason FROM shop.runs WHERE contact IN (1, 2) AND journey IN ('always', 'never') ORDER BY 1, 2;
SELECT journey.resume('always');
SELECT * FROM journey.tick('2026-04-01 03:00');
SELECT contact, status, path FROM shop.runs WHERE contact IN (1, 2) AND journey = 'always' ORDER BY 1;

-- a journey made anew under a dropped one's name does not wait for its runs
SELECT count(journey.track(3::bigint, 'pong', at => '2026-04-02'));
SELECT journey.create_journey('again', $$ ON EVENT pong TOPIC service WAIT '9 days'; $$, '2026-01-01');
SELECT journey.activate('again');
SELECT steps FROM journey.tick('2026-04-02 00:00');
SELECT journey.drop_journey('again');
SELECT journey.create_journey('again', $$ ON EVENT pong TOPIC service WAIT '1 day'; $$, '2026-01-01');
SELECT journey.activate('again');
SELECT count(journey.track(3::bigint, 'pong', at => '2026-04-03'));
SELECT steps FROM journey.tick('2026-04-03');
SELECT n, status, end_reason, path FROM shop.runs WHERE journey = 'again' ORDER BY n;

--
-- Holdout: ghosts walk, pass the gate, send nothing
--
SELECT journey.create_journey('held_out', $$
	ON EVENT visit HOLDOUT 50%
	GOAL order_placed WITHIN '1 day'
	SEND email reminder;
	WAIT '1 hour';
	SEND email offer;
$$, '2026-01-01');
SELECT journey.activate('held_out');
SELECT count(journey.track(id, 'visit', '{}', '2026-05-01')) FROM shop.customers WHERE id <= 20;
SELECT events, steps FROM journey.replay('2026-05-02');
SELECT x.contact, x.arm, x.propensity, (x.fraction = journey.fraction('jh:held_out:e1', x.contact::text)) AS reproducible,
	x.arm = CASE WHEN x.fraction < 0.5 THEN 'holdout' ELSE 'treatment' END AS by_fraction
	FROM journey_state.exposure x JOIN journey.journey j USING (journey_id) WHERE j.name = 'held_out' ORDER BY 1;
SELECT e.ghost, v.verdict, v.reason, count(*), count(v.message_id) AS messages
	FROM journey_state.verdict v JOIN journey_state.enrollment e USING (contact, enrollment_id) JOIN journey.journey j USING (journey_id)
	WHERE j.name = 'held_out' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- sticky: a second entry reads the row, whatever the percentage says now
SELECT journey.create_journey('held_out', $$ ON EVENT visit HOLDOUT 0% SEND email reminder; $$, '2026-05-03');
SELECT journey.activate('held_out');
SELECT count(journey.track(id, 'visit', '{}', '2026-05-04')) FROM shop.customers WHERE id <= 20;
SELECT events, steps FROM journey.replay('2026-05-05');
SELECT count(*) AS contacts, bool_and(arms = 1) AS same_arm FROM (
	SELECT contact, count(DISTINCT ghost) AS arms FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id)
	WHERE j.name = 'held_out' GROUP BY contact HAVING count(*) = 2) s;
SELECT * FROM journey.check() WHERE violations > 0;

--
-- Times are read and printed in one way, whatever the caller's settings
--
SELECT journey.create_journey('zoned', $$ ON EVENT zone TOPIC service IF now()::text = '2026-06-01 00:00:00+00' THEN SEND email reminder; END IF; $$, '2026-01-01');
SELECT journey.activate('zoned');
SELECT count(journey.track(1::bigint, 'zone', at => '2026-06-01'));
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German';
SELECT * FROM journey.tick('2026-06-01 00:00+00');
SHOW timezone;
RESET datestyle;
SET timezone = 'UTC';

--
-- Bad calls
--
SELECT journey.tick(NULL);
SELECT journey.tick('infinity');
SELECT journey.tick('2026-06-01', 99);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT journey.tick('2026-06-01');
ROLLBACK;
RESET SESSION AUTHORIZATION;
SELECT journey.tick('2026-06-01');
