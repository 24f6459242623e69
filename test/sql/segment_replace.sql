\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
-- Views and SQL functions that segments are looked into are replaced.
SET search_path = shop;
CREATE FUNCTION pg_temp.work(at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	LOOP
		EXIT WHEN NOT (SELECT t.more FROM journey.tick(at) AS t);
	END LOOP;
	RETURN (SELECT string_agg(format('%s: %s', s.name, (SELECT string_agg(m.contact::text, ' ' ORDER BY m.contact) FROM journey_state.membership m WHERE m.segment_id = s.segment_id AND m.member)), '; ' ORDER BY s.name)
		FROM journey.segment s);
END $$;
INSERT INTO orders SELECT i, i, i * 10, '2025-12-01' FROM generate_series(1, 9) i;
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON carts (customer_id);
CREATE VIEW paid AS SELECT o.customer_id, o.total FROM orders o;
CREATE VIEW dear AS SELECT p.customer_id FROM paid p WHERE p.total >= 80;
CREATE FUNCTION spent(customer bigint) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT sum(o.total) FROM shop.orders o WHERE o.customer_id = customer $$;
CREATE FUNCTION dear_orders(customer bigint) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$ SELECT o.id FROM shop.orders o WHERE o.customer_id = customer AND o.total >= 90 $$;
SELECT journey.create_segment('nested', $$ EXISTS (SELECT FROM dear d WHERE d.customer_id = c.id) $$, at => '2026-01-01');
SELECT journey.create_segment('spender', $$ spent(c.id) > 70 $$, at => '2026-01-01');
SELECT journey.create_segment('table_call', $$ EXISTS (SELECT FROM dear_orders(c.id)) $$, at => '2026-01-01');
SELECT journey.create_segment('untouched', $$ c.id < 3 $$, at => '2026-01-01');
SELECT pg_temp.work('2026-01-01 01:00');
SELECT segment_id, source_no, kind, name FROM journey.segment_source ORDER BY segment_id, source_no;

-- a view, and one inside another; those found to differ enter and leave as events
CREATE OR REPLACE VIEW dear AS SELECT p.customer_id FROM paid p WHERE p.total >= 70;
SELECT pg_temp.work('2026-01-01 02:00');
CREATE OR REPLACE VIEW paid AS SELECT k.customer_id, k.total FROM carts k;
SELECT pg_temp.work('2026-01-01 03:00');
INSERT INTO carts VALUES (1, 5, 100, '2026-01-01');
SELECT pg_temp.work('2026-01-01 04:00');
-- dropped and made again
DROP VIEW dear;
CREATE VIEW dear AS SELECT p.customer_id + 1 AS customer_id FROM paid p;
SELECT pg_temp.work('2026-01-01 05:00');

-- functions
CREATE OR REPLACE FUNCTION spent(customer bigint) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT sum(k.total) FROM shop.carts k WHERE k.customer_id = customer $$;
CREATE OR REPLACE FUNCTION dear_orders(customer bigint) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$ SELECT o.id FROM shop.orders o WHERE o.customer_id = customer AND o.total >= 80 $$;
SELECT pg_temp.work('2026-01-01 06:00');
INSERT INTO carts VALUES (2, 6, 100, '2026-01-01');
SELECT pg_temp.work('2026-01-01 07:00');
SELECT contact, name, at FROM journey_state.event ORDER BY at, name, contact;
-- only what was replaced was looked at again
SELECT g.name, g.status, c.started_at FROM journey.segment g JOIN journey_state.segment_scan c USING (segment_id) ORDER BY g.name;

-- kept = from scratch
SELECT journey.create_segment('nested_again', $$ EXISTS (SELECT FROM dear d WHERE d.customer_id = c.id) $$, at => '2026-01-01 07:00');
SELECT journey.create_segment('spender_again', $$ spent(c.id) > 70 $$, at => '2026-01-01 07:00');
SELECT journey.create_segment('table_call_again', $$ EXISTS (SELECT FROM dear_orders(c.id)) $$, at => '2026-01-01 07:00');
SELECT pg_temp.work('2026-01-01 08:00');

-- A rename is followed without a scan, grants and comments change nothing
ALTER VIEW paid RENAME TO settled;
GRANT SELECT ON settled TO PUBLIC;
COMMENT ON FUNCTION spent IS 'money';
ALTER TABLE carts RENAME COLUMN total TO amount;
SELECT pg_temp.work('2026-01-01 09:00');
SELECT DISTINCT name FROM journey.segment_source WHERE kind = 'view' ORDER BY name;
SELECT name, status FROM journey.segment WHERE status <> 'current';
SELECT max(started_at) FROM journey_state.segment_scan;
ALTER TABLE carts RENAME COLUMN amount TO total;

-- What cannot be looked into any more suspends
ALTER FUNCTION spent(bigint) VOLATILE;
DROP VIEW dear;
SELECT pg_temp.work('2026-01-01 10:00');
SELECT name, status, error, error_at FROM journey.segment WHERE status <> 'current' ORDER BY name;
ALTER FUNCTION spent(bigint) STABLE;
CREATE VIEW dear AS SELECT p.customer_id FROM settled p;
SELECT journey.resume_segment('spender', '2026-01-01 11:00');
SELECT journey.resume_segment('nested', '2026-01-01 11:00');
SELECT pg_temp.work('2026-01-01 11:00');

-- A cycle by way of a function, and a replacement that is rolled back
CREATE FUNCTION same(customer bigint) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT customer < 3 $$;
SELECT journey.create_segment('same', $$ same(c.id) $$, at => '2026-01-01 11:00');
BEGIN;
CREATE OR REPLACE FUNCTION same(customer bigint) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT customer < 5 $$;
SELECT right(pg_temp.work('2026-01-01 12:00'), 100);
ROLLBACK;
SELECT split_part(pg_temp.work('2026-01-01 12:00'), '; ', 3);
CREATE OR REPLACE FUNCTION same(customer bigint) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT journey.in_segment(customer, 'same') $$;
SELECT split_part(pg_temp.work('2026-01-01 13:00'), '; ', 3);
SELECT name, status, error FROM journey.segment WHERE name = 'same';
SELECT journey.drop_segment('same');
SELECT count(*) FROM journey.segment_source WHERE segment_id NOT IN (SELECT segment_id FROM journey.segment);
