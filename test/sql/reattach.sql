--
-- DROP EXTENSION loses the definitions and keeps what happened.  Runs of the lost
-- journeys end, their messages are withheld, and their numbers are not given to
-- other journeys.
--
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop

SET client_min_messages = warning;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('old', channel => 'email', subject => 'Old', body => 'Old');
SELECT journey.set_consent(i, 'email', 'promotions', true, 'test', at => '2026-01-01') FROM generate_series(1, 5) i \g /dev/null
SELECT journey.capture('bought', 'shop.orders', contact => 'customer_id', at => 'created_at', properties => $$ jsonb_build_object('x', 1 / (new.total - 7)) $$) AS capture;
INSERT INTO shop.orders VALUES (1, 1, 7, '2026-01-01');
SELECT journey.create_journey('refused', $$ ON EVENT go WHERE false EXIT; $$);
SELECT journey.create_journey('old', $$
  ON EVENT go
  KEY event.properties->>'k'
  WAIT '1 hour';
  SEND email old;
  WAIT FOR back TIMEOUT '1 day' THEN SEND email old; ELSE SEND email old; END WAIT;
$$);
SELECT journey.activate('old');
SELECT journey.track(i, 'go', '{"k": "a"}', at => '2026-02-01 10:00') FROM generate_series(1, 2) i \g /dev/null
SELECT * FROM journey.replay('2026-02-01 11:00');
SELECT journey.track(i, 'go', '{"k": "b"}', at => '2026-02-01 11:00') FROM generate_series(1, 2) i \g /dev/null
SELECT * FROM journey.replay('2026-02-01 11:00');

RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP EXTENSION pg_journey CASCADE;
CREATE EXTENSION pg_journey;
SET client_min_messages = notice;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SET client_min_messages = warning;
SELECT journey.open_relay('r', :'token') > 0 AS opened;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('new', channel => 'email', subject => 'New', body => 'New');
SELECT journey.capture('carted', 'shop.carts', contact => 'customer_id', at => 'updated_at') > (SELECT max(capture_id) FROM journey_state.capture_error) AS new_number;
SELECT journey.create_journey('old', $$ ON EVENT hop GOAL go WITHIN '9 days' SEND email new; $$);
SELECT journey.activate('old');
SELECT journey_id, name, status FROM journey.journey ORDER BY journey_id;
SELECT version_id, journey_id, version, dropped FROM journey.version ORDER BY version_id;
SELECT journey.track(5, 'hop', at => '2026-02-01 11:30') \g /dev/null
SELECT journey.track(1, 'go', '{"k": "c"}', at => '2026-02-01 11:30') \g /dev/null
SELECT * FROM journey.replay('2026-02-01 12:00');
SELECT contact, template FROM journey.claim('r', at => '2026-02-01 12:00') JOIN journey_state.message USING (message_id) JOIN journey.template ON template = template.name;
SELECT * FROM journey.replay('2026-02-05');
SELECT j.name, e.contact, e.key, e.status, e.end_reason FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id) ORDER BY e.contact, e.key;
SELECT contact, template, status, reason FROM journey_state.message ORDER BY contact, message_id;
SELECT at, journey, what, detail FROM journey.explain(1) WHERE at >= '2026-02-01 11:00';
SELECT * FROM journey.check() WHERE violations > 0;

-- Nothing is lost by detach() and attach(): the old journeys go on.
RESET SESSION AUTHORIZATION;
SELECT journey.detach();
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
SET SESSION AUTHORIZATION shop;
SELECT journey.track(4, 'hop', at => '2026-02-06') \g /dev/null
SELECT * FROM journey.replay('2026-02-06');
SELECT journey_id, name, status FROM journey.journey ORDER BY journey_id;
SELECT * FROM journey.check() WHERE violations > 0;
RESET SESSION AUTHORIZATION;

-- Receipts say which caps had a place, by numbers: those of lost caps are not
-- given to other caps, not even to one that was made before the attachment.
SET SESSION AUTHORIZATION shop;
SELECT journey.create_cap('five', 5, '7 days', at => '2026-02-06');
SELECT journey.create_quota('five', class => 'promotional', share => 0.6, at => '2026-02-06');
SELECT journey.track(i, 'hop', at => '2026-02-07') FROM generate_series(1, 3) i \g /dev/null
SELECT journey.track(1, 'hop', at => '2026-02-07 01:00') \g /dev/null
SELECT * FROM journey.replay('2026-02-07 01:00');
SELECT count(*) FROM journey.claim('r', at => '2026-02-07 01:00');
SELECT contact, at, caps FROM journey_state.receipt WHERE caps <> '{}' ORDER BY contact, message_id;
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
DROP EXTENSION pg_journey CASCADE;
CREATE EXTENSION pg_journey;
SELECT journey.create_cap('one', 1, '7 days', at => '2026-02-08');
SELECT journey.create_quota('one', class => 'promotional', share => 0.5, at => '2026-02-08');
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
SET SESSION AUTHORIZATION shop;
SELECT journey.create_cap('two', 2, '7 days', at => '2026-02-08');
SELECT name, definition FROM journey.cap ORDER BY name;
SELECT cap, name, definition FROM journey.quota;
SELECT * FROM journey.check() WHERE violations > 0;
RESET SESSION AUTHORIZATION;
