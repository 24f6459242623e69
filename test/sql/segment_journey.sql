-- Journeys that start, end and ask by segments.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.open_relay('r', :'token') > 0 AS opened;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('back', 'email', 'We miss you', 'Come back');
SELECT journey.create_template('vip', 'email', 'For you', 'Come back, dear friend');
-- all but contact 3
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers WHERE id <> 3;
CREATE INDEX ON shop.orders (customer_id, created_at);
INSERT INTO shop.orders VALUES
	(1, 1, 10, '2025-11-20 12:00'), (2, 2, 2000, '2025-12-01 12:00'), (3, 3, 10, '2025-12-02 12:00'), (4, 4, 10, '2025-12-02 12:00'), (5, 5, 10, '2025-12-30 12:00');

CREATE PROCEDURE shop.tick(at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	round record;
BEGIN
	LOOP
		SELECT * INTO round FROM journey.tick(at);
		COMMIT;
		EXIT WHEN NOT round.more;
	END LOOP;
END
$$;
CREATE VIEW shop.runs AS SELECT contact, ordinal, entered_at, status, end_reason FROM journey_state.enrollment ORDER BY contact, ordinal;
CREATE VIEW shop.mail AS SELECT contact, template, status, reason, decided_at FROM journey_state.message ORDER BY message_id;
CREATE VIEW shop.flips AS SELECT contact, name, at, xid, properties FROM journey_state.event WHERE name LIKE 'journey.%' ORDER BY event_id;

SELECT journey.create_segment('lapsed', $$ (SELECT max(o.created_at) FROM shop.orders o WHERE o.customer_id = c.id) < now() - interval '30 days' $$, timezone => 'UTC', at => '2026-01-01 00:00');
SELECT journey.create_segment('Big spenders', $$ (SELECT sum(o.total) FROM shop.orders o WHERE o.customer_id = c.id) >= 1000 $$, timezone => 'UTC', at => '2026-01-01 00:00');
SET client_min_messages = warning;
SELECT journey.create_journey('win_back', $$
  ON ENTER SEGMENT lapsed
  EXIT ON LEAVE SEGMENT lapsed
  IF journey.in_segment(c.id, 'Big spenders') THEN
    SEND email vip EXPIRES '10 days';
  ELSE
    SEND email back EXPIRES '10 days';
  END IF;
  WAIT '90 days';
$$, '2026-01-01');
SELECT journey.activate('win_back');
RESET client_min_messages;

--
-- first builds are a slice of their own; who matches already does not enter
--
SELECT * FROM journey._due('2026-01-01 00:00') WHERE due;
SELECT more FROM journey.tick('2026-01-01 00:00', -1);
CALL shop.tick('2026-01-01 00:00');
SELECT * FROM journey.segment_member ORDER BY segment, contact;
SELECT * FROM shop.flips;
SELECT * FROM shop.runs;
SELECT slice, due, next_due FROM journey._due('2026-01-01 00:00') WHERE due OR next_due IS NOT NULL ORDER BY next_due;
SELECT * FROM journey.tick('2026-01-01 00:00', -2);

--
-- the clock: 3 has given no consent
--
CALL shop.tick('2026-01-01 12:00');
SELECT * FROM shop.flips;
CALL shop.tick('2026-01-01 12:00:00.000001');
CALL shop.tick('2026-01-03');
SELECT * FROM shop.flips;
SELECT * FROM shop.runs;
SELECT * FROM shop.mail;
SELECT contact, reason, detail FROM journey_state.refusal;

--
-- an order that has committed stops the message that is decided
--
INSERT INTO shop.orders VALUES (6, 4, 10, '2026-01-03 10:00');
SELECT contact, subject FROM journey.claim('r', at => '2026-01-03 10:00') JOIN journey_state.message USING (message_id);
SELECT * FROM shop.runs;
SELECT * FROM shop.mail;
SELECT count(*) FROM journey_state.mark;

--
-- once more, and at the same time to where the clock leads
--
CALL shop.tick('2026-02-02 10:00:00.000001');
SELECT * FROM shop.runs;
SELECT segment, contact, since FROM journey.segment_member ORDER BY segment, contact;
UPDATE shop.orders SET total = 1500 WHERE id = 5;
DELETE FROM shop.orders WHERE id = 2;
CALL shop.tick('2026-02-03');
SELECT segment, contact, since FROM journey.segment_member ORDER BY segment, contact;
SELECT * FROM shop.runs;

--
-- WAIT FOR, GOAL, EXIT ON ENTER SEGMENT
--
SET client_min_messages = warning;
SELECT journey.create_journey('care', $$
  ON EVENT hello
  EXIT ON ENTER SEGMENT "Big spenders" WHERE event.properties->>'segment' = 'Big spenders'
  GOAL LEAVE SEGMENT lapsed WITHIN '10 days'
  WAIT FOR LEAVE SEGMENT lapsed TIMEOUT '10 days' THEN
    EXIT;
  ELSE
    WAIT '1 day';
  END WAIT;
$$, '2026-02-03');
SELECT journey.activate('care');
RESET client_min_messages;
SELECT count(journey.track(id, 'hello', at => '2026-02-04')) FROM shop.customers WHERE id IN (1, 2, 4);
CALL shop.tick('2026-02-04');
INSERT INTO shop.orders VALUES (7, 1, 20, '2026-02-05'), (8, 4, 3000, '2026-02-05'), (9, 2, 1, '2025-02-02');
CALL shop.tick('2026-02-05');
CALL shop.tick('2026-02-15');
SELECT e.contact, e.status, e.end_reason, e.ended_at FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id) WHERE j.name = 'care' ORDER BY 1;
SELECT contact, at, value FROM journey_state.conversion ORDER BY 1;

--
-- what is said of it
--
SELECT at, journey, what, detail FROM journey.explain(4);
SELECT at, what, detail FROM journey.explain(1, 'care');
SELECT journey.diagram('win_back');
SELECT name, value, unit, status, detail FROM journey.health('2026-02-15') WHERE name LIKE 'segment%';
SELECT name, value, unit, status, detail FROM journey.health('2026-03-15') WHERE name LIKE 'segment%';
SELECT * FROM journey.check() WHERE violations > 0;
SELECT journey.drop_segment('lapsed');

--
-- DROP EXTENSION loses the segments; new ones do not find the members of old ones
--
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP EXTENSION pg_journey CASCADE;
CREATE EXTENSION pg_journey;
SELECT count(*) FROM journey_state.membership;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
RESET client_min_messages;
SELECT count(*) FROM journey_state.membership;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'journey_state'::regnamespace AND proname LIKE 'segment%';
SET SESSION AUTHORIZATION shop;
SELECT journey.create_segment('new', $$ c.country = 'GB' AND c.id < 5 $$, timezone => 'UTC', at => '2026-03-01') > 2 AS new_number;
CALL shop.tick('2026-03-01');
SELECT * FROM journey.segment_member ORDER BY segment, contact;

--
-- replay() builds first, also for those who are to enter by that, and decides at each moment
--
UPDATE shop.customers SET created_at = '2026-01-01' WHERE id > 10;
CALL shop.tick('2026-12-31');
SET client_min_messages = warning;
SELECT journey.create_segment('soon', $$ c.country = 'FR' AND c.created_at < now() - interval '500 days' $$, timezone => 'UTC', at => '2027-01-01');
SELECT journey.create_segment('all', $$ c.country = 'FR' AND c.id > 10 $$, existing => 'enter', timezone => 'UTC', at => '2027-01-02');
SELECT journey.create_journey('both', $$
  ON ENTER SEGMENT "all"
  TOPIC service
  WAIT (CASE WHEN c.id <= 15 THEN interval '4 days' ELSE interval '200 days' END);
  IF journey.in_segment(c.id, 'soon') THEN EXIT; END IF;
$$, '2027-01-01');
SELECT journey.activate('both');
RESET client_min_messages;
SELECT * FROM journey.replay('2027-12-31');
SELECT contact, entered_at, ended_at, end_reason FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id) WHERE j.name = 'both' ORDER BY contact;
SELECT contact, name, at, xid FROM journey_state.event WHERE name ~ ':(soon|all)$' ORDER BY contact, at;
SELECT * FROM journey.check() WHERE violations > 0;

-- an analyst reads, and changes nothing
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_reader LOGIN;
SELECT journey.grant_role('analyst', 'regress_reader');
SET SESSION AUTHORIZATION regress_reader;
SELECT segment, count(*) FROM journey.segment_member GROUP BY segment ORDER BY segment;
SELECT name, status FROM journey.segment ORDER BY name;
SELECT segment, status, reason FROM journey.segment_progress ORDER BY segment;
SELECT count(*) > 0 AS said FROM journey.explain_segment('soon');
SELECT journey.in_segment(11::bigint, 'all');
SELECT journey.refresh_segment('all');
SELECT count(*) FROM journey_state.membership;
DELETE FROM journey_state.membership;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_reader;
DROP ROLE regress_reader;

--
-- detach() and attach(): what happened between is not missed
--
RESET SESSION AUTHORIZATION;
SELECT journey.detach();
SELECT tgname FROM pg_trigger WHERE tgrelid = 'shop.customers'::regclass AND NOT tgisinternal;
UPDATE shop.customers SET country = 'FR' WHERE id = 2;
ALTER TABLE shop.customers DROP COLUMN first_name;
SET client_min_messages = warning;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
RESET client_min_messages;
SET SESSION AUTHORIZATION shop;
CALL shop.tick(clock_timestamp());
SELECT segment, contact FROM journey.segment_member ORDER BY segment, contact;
SELECT count(*) FROM pg_trigger WHERE tgrelid = 'shop.customers'::regclass AND NOT tgisinternal;
UPDATE shop.customers SET country = 'GB' WHERE id = 1;
CALL shop.tick(clock_timestamp());
SELECT segment, contact FROM journey.segment_member ORDER BY segment, contact;
SELECT * FROM journey.check() WHERE violations > 0;
