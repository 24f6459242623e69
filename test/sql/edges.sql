--
-- Values at the edges: clocks that are set back, times out of range, keys too
-- long for an index.  One contact's odd value must not stop the others of its
-- slice, and never a statement of the shop.
--
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop

SET client_min_messages = warning;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello', body => 'Hello');
SELECT journey.set_consent(1, 'email', 'promotions', true, 'test', at => '2026-01-01');
SELECT journey.create_journey('edge', $$
  ON EVENT ping
  ON CALL
  KEY event.properties->>'k'

  WAIT '1 day';
  SEND email hello;
$$);
SELECT journey.activate('edge');

-- The clock is set back: what becomes due behind the progress is not lost.
SELECT journey.track(1, 'ping', '{"k": "first"}', at => '2026-03-01') AS first;
SELECT * FROM journey.tick('2026-03-01');
SELECT * FROM journey.tick('2026-03-05');	-- past the timer of 2 March
SELECT journey.track(1, 'ping', '{"k": "back"}', at => '2026-01-10') AS back;
SELECT journey.track(1, 'ping', '{"k": "future"}', at => '2026-01-20') AS future;
SELECT * FROM journey.tick('2026-01-15');
SELECT * FROM journey.check() WHERE violations > 0;
SELECT * FROM journey.tick('2026-03-06');
SELECT * FROM journey.tick('2026-03-08');
SELECT key, status, entered_at, ended_at FROM journey_state.enrollment ORDER BY enrollment_id;
SELECT journey.track(1, 'ping', '{"k": "replayed"}', at => '2026-01-10') AS replayed;
SELECT * FROM journey.replay('2026-01-12');
SELECT * FROM journey.replay('2026-04-01');
SELECT key, status, entered_at, ended_at FROM journey_state.enrollment WHERE key = 'replayed';
SELECT * FROM journey.check() WHERE violations > 0;

-- Times the engine could not add an interval to.
SELECT journey.track(1, 'ping', at => 'infinity');
SELECT journey.track(1, 'ping', at => '4713-11-25 BC');
SELECT journey.track(1, 'ping', at => '10000-01-01 UTC');
SELECT journey.track(1, 'ping', '{"k": "last"}', at => '9999-12-31 23:59:59.999999 UTC') > 0 AS last;
SELECT journey.track(1, 'ping', '{"k": "year 1"}', at => '0001-01-01 00:00 UTC') > 0 AS year_1;
SELECT journey.tick('294276-12-31');
SELECT journey.replay('294276-12-31');
SELECT journey.replay('4713-11-25 BC');
SELECT * FROM journey.tick('2026-04-02');
SELECT * FROM journey.replay('9999-12-31 23:59:59.999999 UTC');
SELECT key, status FROM journey_state.enrollment WHERE key IN ('last', 'year 1') ORDER BY key;

-- A key of a run that no index could hold is that event's error alone.
\i :shop
SET client_min_messages = warning;
SELECT journey.create_journey('edge', $$ ON EVENT ping ON CALL KEY event.properties->>'k' WAIT '1 day'; $$);
SELECT journey.activate('edge');
SELECT journey.track(1, 'ping', jsonb_build_object('k', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 100) i)), at => '2026-01-01');
SELECT journey.track(1, 'ping', '{}', at => '2026-01-01');
SELECT journey.track(1, 'ping', jsonb_build_object('k', repeat('k', 1000)), at => '2026-01-01');
SELECT journey.enroll('edge', 1, repeat('k', 1001), '2026-01-01');
SELECT * FROM journey.tick('2026-01-01');
SELECT event_id, reason, detail FROM journey_state.refusal ORDER BY event_id;
SELECT event_id, length(key), status FROM journey_state.enrollment;

-- A value of a goal that no sum could take in counts as nothing.
SELECT journey.create_journey('value', $$ ON EVENT ping GOAL bought WITHIN '9 days' VALUE (event.properties->>'total')::numeric WAIT '1 day'; $$);
SELECT journey.activate('value');
SELECT journey.track(2, 'bought', jsonb_build_object('total', total), at => '2026-01-01') FROM unnest(ARRAY['NaN', '7']) total \g /dev/null
SELECT journey.track(2, 'ping', at => '2026-01-02') \g /dev/null
SELECT journey.track(2, 'bought', jsonb_build_object('total', total), at => '2026-01-03') FROM unnest(ARRAY['NaN', '-Infinity', '5', NULL]) total \g /dev/null
SELECT * FROM journey.replay('2026-01-04');
SELECT value FROM journey_state.conversion ORDER BY event_id;
SELECT reason, detail FROM journey_state.refusal WHERE contact = 2 ORDER BY refusal_id;
SELECT baseline_orders, baseline_revenue FROM journey_state.exposure WHERE contact = 2 AND baseline_orders > 0;

-- Keys of contacts: any text, and the shop's statement goes through whatever its length.
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
DROP EXTENSION pg_journey CASCADE;
DROP SCHEMA journey_state CASCADE;
CREATE EXTENSION pg_journey;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.people (id text PRIMARY KEY, name text, email text);
INSERT INTO shop.people VALUES ('o''Neil "x" \ {a,b}, NULL', 'A', 'a@shop.example'), (E'new\nline\ttab', 'B', 'b@shop.example'), ('', 'C', 'c@shop.example'),
  ('NULL', 'D', 'd@shop.example'), (repeat('y', 1000), 'E', 'e@shop.example'), (repeat('z', 100000), 'F', 'f@shop.example'),
  ((SELECT left(string_agg(md5(i::text), ''), 2685) FROM generate_series(1, 100) i), 'G', 'g@shop.example');
CREATE TABLE shop.visits (id bigint, person text, at timestamptz);
RESET SESSION AUTHORIZATION;
SELECT journey.attach('shop.people', key => 'id', email => 'email', owner => 'shop') \g /dev/null
SET SESSION AUTHORIZATION shop;
SET client_min_messages = warning;
SELECT journey.capture('visited', 'shop.visits', contact => 'person', at => 'at') > 0 AS captured;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello {{ name }}', body => 'Hello {{ name }}');
SELECT name, journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2026-01-01') FROM shop.people WHERE length(id) <= 1000 ORDER BY name;
SELECT journey.set_consent(repeat('z', 100000), 'email', 'promotions', true, 'test', at => '2026-01-01');
SELECT journey.track(repeat('z', 100000), 'visited');
-- a list whose collation thinks that two keys are one (if this server has such collations)
DO $$ BEGIN
  CREATE COLLATION shop.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  CREATE TABLE shop.list (person text COLLATE shop.any_case, at timestamptz);
EXCEPTION WHEN feature_not_supported THEN
  CREATE TABLE shop.list (person text, at timestamptz);
END $$;
INSERT INTO shop.list VALUES ('anna', '2025-01-01'), ('ANNA', '2025-01-02'), ('anna', '2025-01-03');
SELECT * FROM journey.import_consent('shop.list', 'person', 'email', 'promotions', 'at', 'list') WHERE entries > 0;
SELECT contact, at FROM journey_state.consent WHERE source = 'list' ORDER BY at;
SELECT journey.create_journey('text', $$
  ON EVENT visited
  KEY c.id
  GOAL visited WITHIN '3 days'
  HOLDOUT 0% BY c.id
  WAIT '1 day';
  <<hello>> SEND email hello;
  WAIT FOR clicked OF hello TIMEOUT '1 day' THEN EXIT; ELSE SEND email hello; END WAIT;
$$);
SELECT journey.activate('text');
INSERT INTO shop.visits SELECT row_number() OVER (ORDER BY name), id, '2026-01-02' FROM shop.people;
SELECT sqlstate, message, (new_row->>'id')::int AS visit FROM journey_state.capture_error ORDER BY error_id;
SELECT * FROM journey.replay('2026-01-03', assume_sent => true);
INSERT INTO shop.visits SELECT 100 + row_number() OVER (ORDER BY name), id, '2026-01-03 12:00' FROM shop.people WHERE length(id) <= 1000;
SELECT * FROM journey.replay('2026-01-10', assume_sent => true);
SELECT p.name, count(m.*) AS messages, count(DISTINCT m.idempotency_key) AS keys, max(x.unit_key) = p.id AS unit, (SELECT count(*) FROM journey.explain(p.id)) AS explained
FROM shop.people p JOIN journey_state.message m ON m.contact = p.id JOIN journey_state.exposure x ON x.contact = p.id GROUP BY p.id, p.name ORDER BY p.name;
SELECT count(*) FROM journey_state.conversion;
SELECT * FROM journey.check() WHERE violations > 0;

-- Columns with names that our own statements use.
ALTER TABLE shop.people ADD COLUMN c text DEFAULT 'cc', ADD COLUMN event text DEFAULT 'ev', ADD COLUMN n int DEFAULT 7, ADD COLUMN contact text DEFAULT 'con', ADD COLUMN now text DEFAULT 'nn';
SELECT journey.create_template('names', channel => 'email', subject => '{{ name }} {{ c }} {{ n }} {{ contact }} {{ now }} {{ event.name }}', body => '{{ event.properties.x }}');
SELECT * FROM journey.preview('names', ''::text, at => '2026-02-01');
SELECT journey.create_journey('names', $$
  ON EVENT named WHERE c.c = 'cc' AND c.event = 'ev' AND c.n = 7 AND c.contact = 'con' AND c.now = 'nn'
  IF event.name = 'named' AND c.event <> e.key THEN SEND email names; END IF;
$$);
SELECT journey.activate('names');
SELECT journey.track(''::text, 'named', '{"x": "yes"}', at => '2026-02-01') \g /dev/null
SELECT * FROM journey.tick('2026-02-01');
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.open_relay('r', :'token') > 0 AS opened;
SELECT recipient, subject, body FROM journey.claim('r', at => '2026-02-01');
RESET SESSION AUTHORIZATION;
