-- Asking of one segment: explain_member, segment_size, set_time_column.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET search_path = shop;
SET client_min_messages = warning;
INSERT INTO orders VALUES (1, 1, 50, '2026-01-01'), (2, 1, 60, '2026-01-10'), (3, 2, 500, '2026-01-10');
INSERT INTO orders VALUES (4, 3, 70, '2026-01-03');
SELECT journey.create_segment('regulars', $$
	c.country = 'FR'
	AND ((SELECT count(*) FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '30 days') >= 2
		OR NOT (c.created_at < now() - interval '1 year' AND c.phone LIKE '+%'))
	AND NOT EXISTS (SELECT FROM carts k WHERE k.customer_id = c.id)
$$, at => '2026-01-11');

-- before the first tick, and after
SELECT * FROM journey.explain_member(1, 'regulars', '2026-01-12');
SELECT * FROM journey.tick('2026-01-12') \g /dev/null
SELECT * FROM journey.tick('2026-01-12') \g /dev/null
SELECT * FROM journey.explain_member(1, 'regulars', '2026-01-12');
SELECT * FROM journey.explain_member('2'::text, 'regulars', '2026-01-12');
INSERT INTO carts VALUES (1, 1, 30, '2026-01-12');
SELECT * FROM journey.explain_member(1, 'regulars', '2026-01-12') WHERE part ~ '^(NOT|member)';
SELECT * FROM journey.explain_member(99, 'regulars', '2026-01-12');
SELECT * FROM journey.explain_member(1, 'nobody', '2026-01-12');
SELECT * FROM journey.explain_member(NULL::bigint, 'regulars', '2026-01-12');

-- other kinds of parts; NULL is neither true nor false
SELECT journey.create_segment('kinds', $$
	c.country IN ('FR', 'DE') AND c.first_name IS NOT NULL AND c.tz IS DISTINCT FROM 'UTC' AND (SELECT sum(o.total) > 10 FROM orders o WHERE o.customer_id = c.id)
	AND c.created_at BETWEEN '2024-12-31' AND now()
$$, at => '2026-01-11');
SELECT part, value, holds FROM journey.explain_member(5, 'kinds', '2026-01-12');
SELECT journey.create_segment('plain', 'c.id > 3', at => '2026-01-11');
SELECT part, value, holds FROM journey.explain_member(5, 'plain', '2026-01-12');

-- a part that fails says so
CREATE TABLE divisor (customer_id bigint, n integer);
SELECT journey.create_segment('fails', $$ 10 / (SELECT d.n FROM divisor d WHERE d.customer_id = c.id) > 1 $$, at => '2026-01-11');
INSERT INTO divisor VALUES (1, 0), (2, 2);
SELECT * FROM journey.explain_member(2, 'fails', '2026-01-12') WHERE part <> 'member';
SELECT * FROM journey.explain_member(1, 'fails', '2026-01-12');

-- sizes of the past: each table that is read must say since when
SELECT journey.segment_size('regulars', '2026-01-12');
SELECT journey.set_time_column('orders', 'created_at'), journey.set_time_column('customers', 'created_at'), journey.set_time_column('carts', 'updated_at');
SELECT d::date, journey.segment_size('regulars', d) FROM unnest('{2024-12-31,2025-01-01,2026-01-09,2026-01-10,2026-01-11,2026-01-12,2026-02-02}'::timestamptz[]) AS d;

-- a time column is limited where the table is, not above an outer join; dates and timestamps mean the segment's zone
CREATE TABLE visits (customer_id bigint NOT NULL, gone integer, day date NOT NULL);
ALTER TABLE visits DROP COLUMN gone;
CREATE TABLE likes (customer_id bigint NOT NULL, "At" timestamp NOT NULL);
INSERT INTO visits VALUES (1, '2026-01-05'), (2, '2026-01-05');
INSERT INTO likes VALUES (1, '2026-01-06 12:00');
SELECT journey.set_time_column('visits', 'day'), journey.set_time_column('likes', 'At');
CREATE VIEW visitors AS SELECT v.customer_id AS id, l."At" AS liked FROM visits v LEFT JOIN likes l ON l.customer_id = v.customer_id;
SELECT journey.create_segment('unloved', 'EXISTS (SELECT FROM visitors v WHERE v.id = c.id AND v.liked IS NULL)', timezone => 'Asia/Tokyo', at => '2026-01-11');
SELECT t, journey.segment_size('unloved', t) FROM unnest('{2026-01-04 14:59:59+00,2026-01-04 15:00+00,2026-01-06 02:59:59+00,2026-01-06 03:00+00}'::timestamptz[]) AS t;

-- events say when they were; aggregates count what was there
SELECT journey.track(i, 'viewed', '{}', '2026-01-05'::timestamptz + i * interval '1 day') FROM generate_series(1, 4) i;
SELECT journey.create_segment('viewers', $$ EXISTS (SELECT FROM journey_state.event e WHERE e.contact = c.id AND e.name = 'viewed' AND e.at > now() - interval '2 days') $$, at => '2026-01-11');
SELECT d::date, journey.segment_size('viewers', d) FROM unnest('{2026-01-05,2026-01-06,2026-01-07,2026-01-08,2026-01-10,2026-01-11}'::timestamptz[]) AS d;

-- what cannot be told
SELECT journey.create_segment('both', $$ journey.in_segment(c.id, 'viewers') $$, at => '2026-01-11');
SELECT journey.segment_size('both', '2026-01-12');
CREATE FUNCTION total_of(bigint) RETURNS numeric STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT sum(o.total) FROM shop.orders o WHERE o.customer_id = $1); END $$;
SELECT journey.create_segment('hidden', $$ total_of(c.id) > 100 $$, at => '2026-01-11');
SELECT journey.segment_size('hidden', '2026-01-12');
SELECT journey.segment_size('nobody', '2026-01-12');
SELECT journey.segment_size(NULL, '2026-01-12');

-- more than one batch
INSERT INTO customers SELECT i, 'N', NULL, NULL, NULL, 'FR', '2026-01-01'::timestamptz + i * interval '1 minute' FROM generate_series(100, 3100) i;
SELECT journey.create_segment('many', $$ c.id % 3 = 0 $$, at => '2026-01-11');
SELECT t, journey.segment_size('many', t) = (SELECT count(*) FROM customers WHERE id % 3 = 0 AND created_at <= t) AS right
	FROM unnest('{2026-01-01 10:00,2026-01-02 09:00,2026-01-12}'::timestamptz[]) AS t;

-- set_time_column
SELECT journey.set_time_column('orders', 'total');
SELECT journey.set_time_column('orders', 'nothing');
SELECT journey.set_time_column('visitors', 'liked');
SELECT journey.set_time_column(NULL, 'liked');
SELECT journey.set_time_column('likes', NULL);
SELECT * FROM journey.time_column ORDER BY relation::text;
SELECT journey.segment_size('unloved', '2026-01-12');

-- only for members of the owner, not for superusers
RESET SESSION AUTHORIZATION;
SELECT journey.segment_size('plain', '2026-01-12');
SELECT * FROM journey.explain_member(1, 'plain', '2026-01-12');
