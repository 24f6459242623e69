-- rows of the shop's tables become events
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set VERBOSITY terse
SET timezone = 'UTC';
CREATE FUNCTION shop.seen(OUT contact bigint, OUT name text, OUT at timestamptz, OUT properties jsonb) RETURNS SETOF record
	LANGUAGE sql AS $$ SELECT contact, name, at, properties FROM journey_state.event ORDER BY event_id $$;

-- the two captures of the contract
SELECT journey.capture('order_placed', 'shop.orders', contact => 'customer_id', at => 'created_at',
	properties => $$ jsonb_build_object('total', new.total) $$);
SELECT journey.capture('checkout_started', 'shop.carts', contact => 'customer_id', at => 'updated_at',
	properties => $$ jsonb_build_object('cart_id', new.id, 'total', new.total) $$,
	operations => 'INSERT or update', condition => 'new.total > 0');
SELECT capture_id, event, source, operations, contact, at, condition FROM journey.capture;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgfoid = 'journey._capture()'::regprocedure ORDER BY 1, 2;

-- writers without any rights of ours
RESET SESSION AUTHORIZATION;
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA shop TO app;
GRANT SELECT, INSERT, UPDATE ON shop.orders, shop.carts TO app;
SET SESSION AUTHORIZATION app;
INSERT INTO shop.orders VALUES (1, 1, 10.50, '2026-01-01 10:00+00');
INSERT INTO shop.orders VALUES (2, 2, 20, '2026-01-02'), (3, 3, 30, '2026-01-03');
COPY shop.orders FROM stdin WITH (FORMAT csv);
4,4,40,2026-01-04
5,5,50,2026-02-05
\.
INSERT INTO shop.carts VALUES (1, 1, 0, '2026-01-05'), (2, 2, 7, '2026-01-05');
UPDATE shop.carts SET total = total + 1, updated_at = '2026-01-06';
UPDATE shop.carts SET total = 0 WHERE false;
INSERT INTO shop.carts VALUES (1, 1, 9, '2026-01-07'), (3, 3, 3, '2026-01-07') ON CONFLICT (id) DO UPDATE SET total = excluded.total, updated_at = '2026-01-08';
BEGIN;
INSERT INTO shop.orders VALUES (6, 6, 60, '2026-01-06');
SAVEPOINT s;
INSERT INTO shop.orders VALUES (7, 7, 70, '2026-01-07');
ROLLBACK TO s;
COMMIT;
BEGIN;
INSERT INTO shop.orders VALUES (8, 8, 80, '2026-01-08');
ROLLBACK;
SELECT current_user, current_setting('search_path');
SET SESSION AUTHORIZATION shop;
SELECT * FROM shop.seen();
SELECT count(*) FROM journey_state.capture_error;
TRUNCATE journey_state.event;

-- old and new of an update belong together, in whatever order they are stored
SELECT journey.capture('cart_grew', 'shop.carts', 'new.customer_id', 'new.updated_at',
	$$ jsonb_build_object('id', new.id, 'by', new.total - old.total, 'same', new.id = old.id) $$,
	condition => 'new.total > old.total', operations => 'UPDATE') AS grew \gset
TRUNCATE shop.carts;
INSERT INTO shop.carts SELECT i, i % 20 + 1, i, '2026-01-10' FROM generate_series(1, 3000) i;
UPDATE shop.carts SET total = total + id WHERE id % 2 = 0;
SELECT count(*), count(*) FILTER (WHERE (properties->>'by') = (properties->>'id')), bool_and((properties->>'same')::boolean) FROM shop.seen() WHERE name = 'cart_grew';
TRUNCATE journey_state.event;

-- one large statement is one set
INSERT INTO shop.orders SELECT i, i % 20 + 1, i, timestamptz '2026-01-01' + i * interval '2 minutes' FROM generate_series(1001, 51000) i;
SELECT count(*), count(DISTINCT xid), min(at), max(at), sum((properties->>'total')::bigint) FROM journey_state.event;
SELECT tableoid::regclass, count(*) FROM journey_state.event GROUP BY 1 ORDER BY 1;
TRUNCATE journey_state.event;

-- a source of many partitions
CREATE TABLE shop.visits (who bigint, "when it was" timestamptz, "select" text) PARTITION BY RANGE ("when it was");
CREATE TABLE shop.visits_1 PARTITION OF shop.visits FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE shop.visits_2 (extra text, "select" text, "when it was" timestamptz, who bigint);
ALTER TABLE shop.visits_2 DROP COLUMN extra;
ALTER TABLE shop.visits ATTACH PARTITION shop.visits_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
SELECT journey.capture('visit', 'shop.visits', 'who', 'when it was', 'to_jsonb(new)') AS visit \gset
SELECT journey.capture('visit_moved', 'shop.visits', 'who', 'old."when it was"', $$ jsonb_build_object('from', old."select", 'to', new."select") $$, operations => 'UPDATE') AS moved \gset
INSERT INTO shop.visits VALUES (1, '2026-01-31', 'a'), (2, '2026-02-01', 'b');
UPDATE shop.visits SET "when it was" = '2026-02-02', "select" = "select" || '!';
SELECT * FROM shop.seen();
SELECT journey.capture('visit', 'shop.visits_1', 'who');
TRUNCATE journey_state.event;

-- expressions: subqueries over the shop, comments, any type for the key
SELECT journey.capture('first_order', 'shop.orders', $$ new.customer_id::text -- as text $$,
	$$ new.created_at::text $$,
	$$ (SELECT jsonb_build_object('name', c.first_name) FROM shop.customers c WHERE c.id = new.customer_id) /* one */ $$,
	$$ new.customer_id IN (SELECT c.id FROM shop.customers c WHERE c.country = 'GB') AND NOT EXISTS (SELECT FROM shop.orders o WHERE o.customer_id = new.customer_id AND o.id <> new.id) $$) AS first \gset
TRUNCATE shop.orders;
INSERT INTO shop.orders VALUES (1, 1, 1, '2026-01-01'), (2, 2, 1, '2026-01-02'), (3, 4, 1, '2026-01-03');
INSERT INTO shop.orders VALUES (4, 2, 1, '2026-01-04');
SELECT * FROM shop.seen() WHERE name = 'first_order';
SELECT journey.drop_capture('first_order', 'shop.orders');
TRUNCATE journey_state.event;

-- without a time: the statement's, whether asked for or null
CREATE TABLE shop.logins (who bigint, at timestamptz);
SELECT journey.capture('login', 'shop.logins', 'who') AS login \gset
SELECT journey.capture('login_at', 'shop.logins', 'who', 'at', 'NULL') AS login_at \gset
BEGIN;
INSERT INTO shop.logins VALUES (1, NULL);
SELECT name, at BETWEEN now() AND clock_timestamp() AS now, properties FROM shop.seen();
ROLLBACK;

-- columns come and go
ALTER TABLE shop.logins ADD COLUMN place text;
SELECT journey.capture('login_from', 'shop.logins', 'who', 'at', $$ jsonb_build_object('row', to_jsonb(new)) $$) AS login_from \gset
INSERT INTO shop.logins VALUES (1, '2026-01-01', 'here');
ALTER TABLE shop.logins DROP COLUMN place, ADD COLUMN device text;
INSERT INTO shop.logins VALUES (2, '2026-01-02', 'phone');
ALTER TABLE shop.logins RENAME TO signins;
INSERT INTO shop.signins VALUES (3, '2026-01-03', 'desk');
SELECT * FROM shop.seen() WHERE name = 'login_from';
TRUNCATE journey_state.event;

-- what capture refuses
SELECT journey.capture('order_placed', 'shop.orders', 'customer_id');
SELECT journey.capture('', 'shop.orders', 'customer_id');
SELECT journey.capture('journey.call', 'shop.orders', 'customer_id');
SELECT journey.capture('x', NULL, 'customer_id');
SELECT journey.capture('x', 'shop.orders', NULL);
SELECT journey.capture('x', 'shop.orders', 'customer');
SELECT journey.capture('x', 'shop.orders', 'old.customer_id');
SELECT journey.capture('x', 'shop.orders', 'customer_id', operations => 'DELETE');
SELECT journey.capture('x', 'shop.orders', 'customer_id', 'new.total');
SELECT journey.capture('x', 'shop.orders', 'customer_id', properties => 'new.total');
SELECT journey.capture('x', 'shop.orders', 'customer_id', condition => 'new.total');
SELECT journey.capture('x', 'shop.orders', 'max(new.customer_id)');
SELECT journey.capture('x', 'shop.orders', 'row_number() OVER ()');
SELECT journey.capture('x', 'shop.orders', 'generate_series(1, 3)');
SELECT journey.capture('x', 'shop.orders', '$1');
SELECT journey.capture('x', 'shop.seen', 'contact');
SELECT journey.capture('x', 'pg_catalog.pg_roles', 'oid');
CREATE TEMP TABLE mine (who bigint);
SELECT journey.capture('x', 'mine', 'who');
SELECT journey.capture('x', 'pg_catalog.pg_class', 'oid');
-- not one expression
SELECT journey.capture('x', 'shop.orders', contact) FROM unnest(ARRAY['1) , (2']) contact;
SELECT journey.capture('x', 'shop.orders', '1, 2');
SELECT journey.capture('x', 'shop.orders', '1; DROP TABLE shop.orders');
SELECT journey.capture('x', 'shop.orders', '1 FROM shop.orders');
SELECT journey.capture('x', 'shop.orders', '1 WHERE true');
SELECT journey.capture('x', 'shop.orders', '1 ORDER BY 1');
SELECT journey.capture('x', 'shop.orders', '1 LIMIT 1');
SELECT journey.capture('x', 'shop.orders', '1 AS one');
SELECT journey.capture('x', 'shop.orders', 'DISTINCT 1');
SELECT journey.capture('x', 'shop.orders', 'new.*');
SELECT journey.capture('x', 'shop.orders', '*');
SELECT journey.capture('x', 'shop.orders', '1 UNION SELECT 2');
SELECT journey.capture('x', 'shop.orders', '1 /* ');
SELECT journey.capture('x', 'shop.orders', $q$'1$q$);
SELECT journey.capture('x', 'shop.orders', '$$1');
SELECT journey.capture('x', 'shop.orders', '');
SELECT journey.capture('x', 'shop.orders', '-- nothing');
SELECT journey.capture('x', 'shop.orders', '1 -- a comment to the end') AS commented \gset
SELECT journey.drop_capture('x', 'shop.orders');
SELECT journey.drop_capture('x', 'shop.orders');
RESET SESSION AUTHORIZATION;
SELECT journey.capture('x', 'shop.orders', 'customer_id');
CREATE ROLE author LOGIN;
GRANT shop TO author;
CREATE TABLE public.foreign_orders (who bigint);
SET SESSION AUTHORIZATION author;
SELECT journey.capture('x', 'public.foreign_orders', 'who');
SELECT journey.capture('x', 'shop.orders', 'customer_id') AS by_author \gset
SELECT journey.drop_capture('x', 'shop.orders');

-- after detaching, and in a session that knew it before, the shop goes on
RESET SESSION AUTHORIZATION;
SELECT journey.detach();
SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'journey_capture%';
SET SESSION AUTHORIZATION app;
INSERT INTO shop.orders VALUES (100, 1, 1, '2026-01-01');
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM journey_state.event;
DROP TABLE public.foreign_orders;
DROP OWNED BY app, author;
DROP ROLE app, author;
