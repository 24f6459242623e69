-- attaching a shop: checks, rights, detaching, the fence around a copy
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set VERBOSITY terse
RESET SESSION AUTHORIZATION;
SELECT contact_table, key_column, key_type, email_column, phone_column, timezone_column, slices FROM journey.site;
SELECT nspname, nspowner::regrole FROM pg_namespace WHERE nspname LIKE 'journey%' AND nspowner = 'shop'::regrole;
SELECT count(*) FILTER (WHERE relowner <> 'shop'::regrole) AS not_owned, count(*) > 40 AS many
	FROM pg_class WHERE relnamespace = 'journey_state'::regnamespace;

-- twice
SELECT journey.attach('shop.customers', owner => 'shop');

-- the owner may act, others may not
CREATE ROLE mallory LOGIN;
SET SESSION AUTHORIZATION mallory;
SELECT * FROM journey.site;
SELECT journey.detach();
SELECT * FROM journey_state.event;
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA journey TO mallory;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA journey TO mallory;
SET SESSION AUTHORIZATION mallory;
SELECT journey.detach();
SELECT journey.issue_site_token();
SELECT journey.grant_role('analyst', 'mallory');
SELECT journey.maintain();
SELECT journey.capture('x', 'shop.orders', 'customer_id');
RESET SESSION AUTHORIZATION;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA journey FROM mallory;
REVOKE ALL ON SCHEMA journey FROM mallory;

-- the owner reads definitions, but changes neither the site nor its token
SET SESSION AUTHORIZATION shop;
SELECT count(*) FROM journey.site;
UPDATE journey.site SET database_oid = 0;
SELECT * FROM journey.site_token;
SELECT length(journey.issue_site_token());
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SELECT digest = sha256(convert_to(:'token', 'UTF8')) AS digest_matches FROM journey.site_token;

-- roles
CREATE ROLE anna LOGIN;
CREATE ROLE otto LOGIN;
CREATE ROLE rolf LOGIN;
SELECT journey.grant_role('boss', 'anna');
SELECT journey.grant_role('analyst', 'anna');
SELECT journey.grant_role('operator', 'otto');
SELECT journey.grant_role('relay', 'rolf');
SELECT journey.grant_role('author', 'mallory');
SELECT pg_has_role('mallory', 'shop', 'MEMBER') AS author;
SELECT r, has_table_privilege(r, 'journey_state.event', 'SELECT') AS reads, has_table_privilege(r, 'journey_state.event', 'INSERT') AS writes,
	has_table_privilege(r, 'journey.site_token', 'SELECT') AS token, has_table_privilege(r, 'journey.version', 'SELECT') AS definitions,
	has_function_privilege(r, 'journey.retry(bigint, timestamptz)', 'EXECUTE') AS retry, has_function_privilege(r, 'journey.maintain(timestamptz, interval)', 'EXECUTE') AS maintain,
	has_function_privilege(r, 'journey.fraction(text, text)', 'EXECUTE') AS fraction, has_function_privilege(r, 'journey.detach()', 'EXECUTE') AS detach
	FROM unnest(ARRAY['anna', 'otto', 'rolf']) r ORDER BY r;

-- partitions: made ahead, again harmless, passed ones go
SET SESSION AUTHORIZATION shop;
SELECT journey._ensure_partitions('2025-12-31 23:00+00', '2026-02-01 00:00+00');
SELECT journey._ensure_partitions('2025-12-31 23:00+00', '2026-02-01 00:00+00');
SELECT inhrelid::regclass, pg_get_expr(relpartbound, inhrelid) FROM pg_inherits JOIN pg_class ON oid = inhrelid
	WHERE inhparent = 'journey_state.timer'::regclass AND inhrelid::regclass::text BETWEEN 'journey_state.timer_y2025' AND 'journey_state.timer_y2026m03' ORDER BY 1;
INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, event_id, event_at)
	VALUES (0, '2026-01-15', 1, 1, 1, '2026-01-15'), (0, '2026-02-15', 2, 1, 1, '2026-02-15'), (0, '2024-01-01', 3, 1, 1, '2024-01-01');
-- not passed by every slice: nothing goes
INSERT INTO journey_state.progress (slice, lane, seq, at, due_at, due_id)
	SELECT slice, 'engine', 1, '2026-02-01', '2026-02-01', 0 FROM journey_state.slice WHERE slice <> 3;
SELECT journey.maintain('2026-02-01', '1 day');
SELECT count(*) FROM journey_state.timer;
INSERT INTO journey_state.progress (slice, lane, seq, at, due_at, due_id)
	SELECT s.slice, 'engine', n, '2026-02-01', '2026-02-01', 0 FROM journey_state.slice s, generate_series(2, 3) n;
SELECT journey.maintain('2026-02-01', '1 day');
SELECT due_at, tableoid::regclass FROM journey_state.timer;
SELECT to_regclass('journey_state.timer_y2026m01') AS timer, to_regclass('journey_state.event_y2026m01') AS event;
SELECT count(*), min(seq), max(seq) FROM journey_state.progress;
RESET SESSION AUTHORIZATION;

-- adopt: nothing to do, then a copy
SELECT journey.adopt();
SET SESSION AUTHORIZATION shop;
SELECT journey.track(7, 'before', at => '2026-01-20') AS before \gset
RESET SESSION AUTHORIZATION;
UPDATE journey.site SET system_identifier = 1;
SET SESSION AUTHORIZATION shop;
SELECT journey.track(7, 'between', at => '2026-03-01') AS between \gset
SELECT name, xid IS NULL AS waits FROM journey_state.event ORDER BY event_id;
SELECT journey.adopt();
SELECT e.name, t.due_at, t.event_at, t.slice = e.slice AS same_slice FROM journey_state.timer t JOIN journey_state.event e USING (contact, event_id) ORDER BY t.timer_id;
SELECT count(DISTINCT slice), bool_and(seen IS NOT NULL) FROM journey_state.progress WHERE seq = 4;
SELECT journey.adopt();
SELECT journey.track(7, 'after', at => '2026-03-02') AS after \gset
SELECT name, xid IS NULL AS waits FROM journey_state.event ORDER BY event_id;
RESET SESSION AUTHORIZATION;
SELECT count(*) AS tokens FROM journey.site_token;

-- detach keeps state; a new attach takes it over
SELECT journey.detach();
SELECT journey.detach();
SELECT has_schema_privilege('shop', 'journey', 'USAGE');
SELECT count(*) FROM journey_state.event;
CREATE ROLE other LOGIN;
GRANT USAGE ON SCHEMA shop TO other;
GRANT SELECT ON shop.customers TO other;
SELECT journey.attach('shop.customers', owner => 'other');
SELECT journey.attach('shop.customers', key => 'email', owner => 'shop');
ALTER TABLE journey_state.held RENAME TO holding;
SELECT journey.attach('shop.customers', owner => 'shop');
ALTER TABLE journey_state.holding RENAME TO held;
SELECT journey.attach('shop.customers', owner => 'shop', slices => 4);
SELECT slices FROM journey.site;

-- what attach refuses
SELECT journey.detach();
SET client_min_messages = warning;
DROP SCHEMA journey_state CASCADE;
RESET client_min_messages;
\set VERBOSITY default
SELECT journey.attach('shop.customers');
SELECT journey.attach('shop.customers', owner => 'nobody_there');
CREATE ROLE nologin_role;
SELECT journey.attach('shop.customers', owner => 'nologin_role');
SELECT journey.attach('shop.customers', key => 'nr', owner => 'shop');
SELECT journey.attach('shop.customers', email => 'mail', owner => 'shop');
SELECT journey.attach('shop.customers', key => 'created_at', owner => 'shop');
SELECT journey.attach('shop.customers', key => 'email', owner => 'shop');
SELECT journey.attach('shop.orders', key => 'customer_id', owner => 'shop');
SELECT journey.attach('shop.carts', owner => 'other');
SELECT journey.attach('pg_catalog.pg_roles', key => 'oid', owner => 'shop');
SELECT journey.attach('shop.customers', owner => 'shop', slices => 0);
SELECT journey.attach('shop.customers', key => NULL, owner => 'shop');
SELECT to_regnamespace('journey_state');

-- no table of one's own
SELECT journey.attach(owner => 'shop');
\d journey_state.contact
SET SESSION AUTHORIZATION shop;
INSERT INTO journey_state.contact (email) VALUES ('a@shop.example') RETURNING id;
RESET SESSION AUTHORIZATION;
SELECT contact_table, email_column, timezone_column FROM journey.site;
SELECT journey.detach();
SELECT journey.attach(owner => 'shop');
SELECT email FROM journey_state.contact;

-- the table is renamed, then dropped
SELECT journey.detach();
SELECT journey.attach('shop.customers', owner => 'shop');
ALTER TABLE shop.customers RENAME TO people;
SET SESSION AUTHORIZATION shop;
SELECT journey.track(1, 'still') > 0 AS tracked;
RESET SESSION AUTHORIZATION;
DROP TABLE shop.people CASCADE;
SET SESSION AUTHORIZATION shop;
SELECT journey.track(1, 'gone');
RESET SESSION AUTHORIZATION;
SELECT journey.detach();
DROP EXTENSION pg_journey;
DROP OWNED BY mallory, anna, otto, rolf, other;
DROP ROLE mallory, anna, otto, rolf, other, nologin_role;
