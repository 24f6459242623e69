-- What segments watch, what they look into, what they refuse; and that marking
-- by it is right: what is kept is what the predicates say from scratch.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET search_path = shop;
SET client_min_messages = warning;
ALTER TABLE customers ADD tenant integer, ADD ref bigint, ADD favourites bigint[];
ALTER TABLE orders ALTER customer_id DROP NOT NULL;
CREATE TABLE items (id bigint, order_id bigint, product_id integer, qty integer, note text);
CREATE TABLE products (id integer PRIMARY KEY, category text);
CREATE TABLE blocked (customer_id bigint, email text NOT NULL);
CREATE TABLE newsletter (tenant integer, email text, subscribed boolean);
CREATE TABLE settings (k text PRIMARY KEY, v integer);
CREATE TABLE deals (buyer bigint, seller bigint, watchers bigint[], open boolean);
CREATE TABLE visits (customer_id bigint, day date, pages integer) PARTITION BY RANGE (day);
CREATE TABLE visits_1 PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE VIEW lines AS SELECT o.id, o.customer_id AS who, o.total, i.product_id, i.qty FROM orders o LEFT JOIN items i ON i.order_id = o.id;
CREATE VIEW spending AS SELECT l.who, sum(l.total) AS total FROM lines l GROUP BY l.who;
CREATE MATERIALIZED VIEW best AS SELECT 1::bigint AS customer_id;
CREATE FUNCTION spent(c bigint) RETURNS numeric LANGUAGE sql STABLE AS 'SELECT sum(total) FROM orders WHERE customer_id = c';
CREATE FUNCTION bought(c bigint, p integer) RETURNS boolean LANGUAGE sql STABLE STRICT AS 'SELECT EXISTS (SELECT FROM lines AS l WHERE l.who = c AND l.product_id = p)';
CREATE FUNCTION orders_of(c bigint) RETURNS SETOF orders LANGUAGE sql STABLE BEGIN ATOMIC SELECT * FROM orders AS o WHERE o.customer_id = c; END;
CREATE FUNCTION hidden(c bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN RETURN EXISTS (SELECT FROM shop.blocked AS b WHERE b.customer_id = c); END';
CREATE FUNCTION lucky() RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true';

SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}') \g /dev/null
SELECT journey.create_topic('news', 'promotional') \g /dev/null

CREATE TABLE given (segment text PRIMARY KEY, predicate text NOT NULL);
INSERT INTO given VALUES
	('01 column', $$ c.country = 'GB' $$),
	('02 whole row', $$ to_jsonb(c) ->> 'country' = 'FR' $$),
	('03 direct', $$ EXISTS (SELECT * FROM orders o WHERE o.customer_id = c.id AND o.total > 2) $$),
	('04 not exists', $$ NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id) $$),
	('05 chain of 2', $$ EXISTS (SELECT FROM items i JOIN orders o ON o.id = i.order_id WHERE o.customer_id = c.id AND i.qty > 2) $$),
	('06 chain of 3', $$ (SELECT count(*) FROM products p JOIN items i ON i.product_id = p.id, orders o WHERE o.id = i.order_id AND o.customer_id = c.id AND p.category = 'x') > 0 $$),
	('07 in', $$ c.id IN (SELECT o.customer_id FROM orders o WHERE o.total > 2) $$),
	('08 in in', $$ EXISTS (SELECT FROM items i WHERE i.qty = 1 AND i.order_id IN (SELECT o.id FROM orders o WHERE o.customer_id = c.id)) $$),
	('09 not in, nulls', $$ c.id NOT IN (SELECT b.customer_id FROM blocked b) $$),
	('10 not in, nullable left', $$ c.email NOT IN (SELECT b.email FROM blocked b) $$),
	('11 all', $$ c.id <> ALL (SELECT b.customer_id FROM blocked b) $$),
	('12 row in', $$ (c.tenant, c.email) IN (SELECT n.tenant, n.email FROM newsletter n WHERE n.subscribed) $$),
	('13 array', $$ c.id = ANY (ARRAY(SELECT o.customer_id FROM orders o)) $$),
	('14 email', $$ EXISTS (SELECT FROM newsletter n WHERE lower(n.email) = lower(c.email) AND n.subscribed) $$),
	('15 two columns', $$ EXISTS (SELECT FROM newsletter n WHERE n.tenant = c.tenant AND n.email = c.email) $$),
	('16 either', $$ EXISTS (SELECT FROM deals d WHERE (d.buyer = c.id OR d.seller = c.id) AND d.open) $$),
	('17 array column', $$ EXISTS (SELECT FROM deals d WHERE c.id = ANY (d.watchers)) $$),
	('18 array of contact', $$ EXISTS (SELECT FROM orders o WHERE o.id = ANY (c.favourites)) $$),
	('19 lateral', $$ EXISTS (SELECT FROM orders o, LATERAL (SELECT sum(i.qty) AS q FROM items i WHERE i.order_id = o.id) s WHERE o.customer_id = c.id AND s.q > 3) $$),
	('20 left join', $$ EXISTS (SELECT FROM orders o LEFT JOIN items i ON i.order_id = o.id WHERE o.customer_id = c.id AND i.id IS NULL) $$),
	('21 left join, on', $$ EXISTS (SELECT FROM orders o LEFT JOIN carts k ON k.customer_id = o.customer_id AND k.total > o.total WHERE o.customer_id = c.id AND k.id IS NULL) $$),
	('22 right join', $$ EXISTS (SELECT FROM orders o RIGHT JOIN carts k USING (customer_id) WHERE customer_id = c.id AND o.id IS NULL) $$),
	('23 full join', $$ EXISTS (SELECT FROM orders o FULL JOIN carts k ON k.customer_id = o.customer_id WHERE o.id IS NULL AND (o.customer_id = c.id OR k.customer_id = c.id)) $$),
	('24 self join', $$ EXISTS (SELECT FROM customers c2 WHERE c2.email = c.email AND c2.id <> c.id) $$),
	('25 referrals', $$ (SELECT count(*) FROM customers c2 JOIN orders o ON o.customer_id = c2.id WHERE c2.ref = c.id) > 0 $$),
	('26 group by', $$ c.id IN (SELECT o.customer_id FROM orders o GROUP BY o.customer_id HAVING sum(o.total) > 4) $$),
	('27 window', $$ (SELECT sum(s.total) FROM (SELECT o.customer_id, o.total, row_number() OVER (PARTITION BY o.customer_id ORDER BY o.id) AS n FROM orders o) s WHERE s.customer_id = c.id AND s.n <= 2) > 4 $$),
	('28 window over all', $$ EXISTS (SELECT FROM (SELECT o.customer_id, row_number() OVER (ORDER BY o.id) AS n FROM orders o) s WHERE s.customer_id = c.id AND s.n = 2) $$),
	('29 distinct on', $$ EXISTS (SELECT FROM (SELECT DISTINCT ON (o.customer_id) o.customer_id, o.total FROM orders o ORDER BY o.customer_id, o.id DESC) s WHERE s.customer_id = c.id AND s.total > 2) $$),
	('30 latest', $$ (SELECT o.total FROM orders o WHERE o.customer_id = c.id ORDER BY o.id DESC LIMIT 1) > 2 $$),
	('31 top two', $$ c.id IN (SELECT o.customer_id FROM orders o ORDER BY o.total DESC, o.id LIMIT 2) $$),
	('32 union', $$ c.id IN (SELECT o.customer_id FROM orders o UNION SELECT k.customer_id FROM carts k) $$),
	('33 except', $$ c.id IN (SELECT o.customer_id FROM orders o EXCEPT SELECT b.customer_id FROM blocked b) $$),
	('34 with', $$ (WITH big AS (SELECT * FROM orders WHERE total > 1), n AS (SELECT b.customer_id, count(*) AS n FROM big b GROUP BY 1) SELECT n.n FROM n WHERE n.customer_id = c.id) > 1 $$),
	('35 recursive', $$ (WITH RECURSIVE up AS (SELECT c.ref AS id UNION SELECT c2.ref FROM up JOIN customers c2 ON c2.id = up.id) SELECT count(*) FROM up WHERE up.id IS NOT NULL) > 1 $$),
	('36 view', $$ EXISTS (SELECT FROM lines l WHERE l.who = c.id AND l.qty > 2) $$),
	('37 view over view', $$ (SELECT s.total FROM spending s WHERE s.who = c.id) > 4 $$),
	('38 function', $$ spent(c.id) > 3 $$),
	('39 strict function', $$ bought(c.ref, 2) IS NOT TRUE $$),
	('40 function in from', $$ (SELECT count(*) FROM orders_of(c.id) AS x WHERE x.total > 1) > 1 $$),
	('41 settings', $$ (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) >= (SELECT s.v FROM settings s WHERE s.k = 'loyal') $$),
	('42 events', $$ EXISTS (SELECT FROM journey_state.event e WHERE e.contact = c.id AND e.name IN ('signup', 'login')) $$),
	('43 partitions', $$ (SELECT sum(v.pages) FROM visits v WHERE v.customer_id = c.id) > 3 $$),
	('44 consent', $$ EXISTS (SELECT FROM journey_state.consent s WHERE s.contact = c.id AND s.channel = 'email' AND s.granted) $$),
	('45 member', $$ journey.in_segment(c.id, '01 column') AND NOT journey.in_segment(segment => '03 direct', contact => c.ref) $$),
	('45b row of view', $$ EXISTS (SELECT l FROM lines l WHERE l.who = c.id GROUP BY l HAVING count(*) > 1) $$),
	('45c not in, outer join', $$ c.ref NOT IN (SELECT k.customer_id FROM orders o LEFT JOIN carts k ON k.customer_id = o.customer_id AND k.customer_id = c.id WHERE o.customer_id IS NULL) $$),
	('46 plpgsql', $$ hidden(c.id) OR current_setting('shop.mode', true) = 'all' $$),
	('47 materialized view', $$ c.id IN (SELECT b.customer_id FROM best b) $$),
	('48 catalog', $$ c.first_name IN (SELECT t.relname FROM pg_catalog.pg_class t) $$);

SELECT count(journey.create_segment(g.segment, g.predicate, at => '2026-01-01')) FROM (SELECT * FROM given ORDER BY segment) g;
SELECT journey.tick('2026-01-01') \g /dev/null
SELECT journey.tick('2026-01-01') \g /dev/null

-- what is watched
\pset format unaligned
\pset fieldsep ' | '
SELECT g.segment, e.item, e.detail FROM given g CROSS JOIN LATERAL journey.explain_segment(g.segment) WITH ORDINALITY e (section, item, detail, n)
	WHERE e.section = 'watch' AND NOT (e.item IN ('shop.customers', 'customers') AND e.detail = 'the contact is in id; reads id')
	ORDER BY g.segment, e.n;
-- what is not seen
SELECT g.segment, e.item, e.detail FROM given g CROSS JOIN LATERAL journey.explain_segment(g.segment) WITH ORDINALITY e (section, item, detail, n)
	WHERE e.section = 'opaque' AND e.item <> 'refresh_every' ORDER BY g.segment, e.n;
-- how links are followed
SELECT g.segment, e.item, e.detail FROM given g CROSS JOIN LATERAL journey.explain_segment(g.segment) WITH ORDINALITY e (section, item, detail, n)
	WHERE e.section = 'find' AND left(g.segment, 2) IN ('05', '06', '12', '14', '15', '17', '18', '25', '36') ORDER BY g.segment, e.n;
\pset format aligned

-- kept = from scratch, after every change
CREATE FUNCTION wrong() RETURNS TABLE (segment text, contact bigint, kept boolean) LANGUAGE plpgsql AS $$
DECLARE
	g record;
BEGIN
	FOR g IN SELECT * FROM given AS x WHERE left(x.segment, 2) < '46' ORDER BY x.segment LOOP
		RETURN QUERY EXECUTE format('SELECT %L, c.id, journey.in_segment(c.id, %1$L) FROM customers AS c WHERE journey.in_segment(c.id, %1$L) IS DISTINCT FROM coalesce((%s), false) ORDER BY 2',
			g.segment, g.predicate);
	END LOOP;
END
$$;
CREATE PROCEDURE settle(at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		EXIT WHEN NOT (SELECT bool_or(t.more) FROM journey.tick(at) AS t);
		COMMIT;
	END LOOP;
END
$$;
CALL settle('2026-01-02');
SELECT * FROM wrong();

-- what a row brings, what an update moves, what a deletion takes along
INSERT INTO settings VALUES ('loyal', 2);
INSERT INTO products VALUES (1, 'x'), (2, 'y'), (3, 'x');
INSERT INTO orders SELECT i, 1 + i % 7, 1 + i % 4, '2026-01-01' FROM generate_series(1, 14) i;
INSERT INTO items SELECT i, 1 + i % 14, 1 + i % 3, 1 + i % 4 FROM generate_series(1, 20) i;
INSERT INTO carts SELECT i, 1 + i % 9, i % 3, '2026-01-01' FROM generate_series(1, 12) i;
INSERT INTO newsletter VALUES (1, 'c1@shop.example', true), (1, 'C2@shop.example', true), (2, 'c3@shop.example', false), (NULL, 'c4@shop.example', true);
INSERT INTO deals VALUES (1, 2, '{3,4}', true), (5, NULL, '{}', true), (6, 7, NULL, false);
INSERT INTO visits VALUES (1, '2026-01-05', 2), (1, '2026-02-05', 2), (2, '2026-02-06', 9);
UPDATE customers SET tenant = id % 3, ref = id / 2, favourites = ARRAY[id, id + 1] WHERE id < 15;
SELECT journey.track(3, 'login', at => '2026-01-02') IS NOT NULL;
SELECT journey.track(4, 'other', at => '2026-01-02') IS NOT NULL;
SELECT journey.set_consent(5, 'email', 'news', true, 'test', '2026-01-02') \g /dev/null
CALL settle('2026-01-03');
SELECT * FROM wrong();

INSERT INTO blocked VALUES (1, 'c1@shop.example'), (9, 'c9@shop.example');
CALL settle('2026-01-04');
SELECT * FROM wrong();
INSERT INTO blocked VALUES (NULL, 'c2@shop.example');
CALL settle('2026-01-05');
SELECT * FROM wrong();
DELETE FROM blocked WHERE customer_id IS NULL;
CALL settle('2026-01-06');
SELECT * FROM wrong();

-- rows on the way move on, or go, before the mark is looked at
UPDATE items SET order_id = order_id + 3 WHERE id % 2 = 0;
UPDATE orders SET customer_id = customer_id + 4 WHERE id < 5;
UPDATE orders SET id = id + 100 WHERE id > 10;
DELETE FROM items WHERE order_id = 2;
DELETE FROM orders WHERE id = 2;
UPDATE products SET category = 'x' WHERE id = 2;
UPDATE products SET id = 4 WHERE id = 1;
CALL settle('2026-01-07');
SELECT * FROM wrong();

-- what contacts are found by changes
UPDATE customers SET email = 'c1@shop.example' WHERE id IN (2, 11);
UPDATE customers SET tenant = 2, ref = 3 WHERE id > 8;
UPDATE newsletter SET email = 'C5@shop.example', tenant = 2 WHERE email = 'c3@shop.example';
UPDATE newsletter SET subscribed = NOT subscribed;
UPDATE deals SET seller = 8, watchers = watchers || 9::bigint;
UPDATE visits SET day = day + 31 WHERE day < '2026-01-28';
UPDATE settings SET v = 3;
CALL settle('2026-01-08');
SELECT * FROM wrong();

-- keys change, contacts come and go
UPDATE customers SET id = 30 WHERE id = 15;
INSERT INTO customers (id, email, country, ref) VALUES (31, 'c31@shop.example', 'GB', 1);
DELETE FROM customers WHERE id IN (16, 17);
INSERT INTO orders VALUES (200, 30, 9, '2026-01-01'), (201, 31, 9, '2026-01-01'), (202, NULL, 9, '2026-01-01');
TRUNCATE items;
CALL settle('2026-01-09');
SELECT * FROM wrong();
TRUNCATE visits, carts;
DELETE FROM orders;
CALL settle('2026-01-10');
SELECT * FROM wrong();

-- in a copy of the database the same is found out from what is stored
CREATE VIEW watched AS SELECT s.name, w.relation, w.kind, w.key, w.null_is_all, g.columns, g.event_names
	FROM journey.segment s JOIN journey.segment_watch g USING (segment_id) JOIN journey.watch w USING (watch_id);
CREATE TABLE watched_before AS SELECT * FROM watched;
CREATE TABLE needed_before AS SELECT * FROM journey.segment_need;
RESET SESSION AUTHORIZATION;
UPDATE journey.site SET system_identifier = 1;
SET SESSION AUTHORIZATION shop;
SELECT journey.adopt() \g /dev/null
INSERT INTO orders SELECT i, 1 + i % 7, 1 + i % 4, '2026-01-01' FROM generate_series(1, 14) i;
INSERT INTO items SELECT i, 1 + i % 14, 1 + i % 3, 1 + i % 4 FROM generate_series(1, 20) i;
CALL settle('2026-01-11');
SELECT * FROM wrong();
(TABLE watched EXCEPT TABLE watched_before) UNION ALL (TABLE watched_before EXCEPT TABLE watched);
(TABLE journey.segment_need EXCEPT TABLE needed_before) UNION ALL (TABLE needed_before EXCEPT TABLE journey.segment_need);
SELECT s.name, s.status, s.error FROM journey.segment s WHERE s.status <> 'current';
UPDATE customers SET country = 'GB';
UPDATE orders SET customer_id = customer_id + 1;
CALL settle('2026-01-12');
SELECT * FROM wrong();

-- what is not allowed
CREATE TEMPORARY TABLE scratch (customer_id bigint);
SELECT journey.create_segment('x', $$ random() > 0.5 $$);
SELECT journey.create_segment('x', $$ c.country = 'GB' AND lucky() $$);
SELECT journey.create_segment('x', $$ c.created_at > 'yesterday' $$);
SELECT journey.create_segment('x', $$ c.ctid IS NOT NULL $$);
SELECT journey.create_segment('x', $$ EXISTS (SELECT FROM orders o WHERE o.xmin = '1' AND o.customer_id = c.id) $$);
SELECT journey.create_segment('x', $$ EXISTS (SELECT FROM orders o TABLESAMPLE system (10) WHERE o.customer_id = c.id) $$);
SELECT journey.create_segment('x', $$ EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id FOR UPDATE) $$);
SELECT journey.create_segment('x', $$ c.id IN (SELECT s.customer_id FROM scratch s) $$);
SELECT journey.create_segment('x', $$ c.id IN (SELECT m.contact FROM journey_state.membership m WHERE m.member) $$);
SELECT journey.create_segment('x', $$ EXISTS (SELECT FROM journey.segment_member m WHERE m.segment = '01 column') $$);
SELECT journey.create_segment('x', $$ journey.in_segment(c.id, 'no such') $$);
SELECT journey.create_segment('x', $$ journey.in_segment(c.id, c.country) $$);
CREATE VIEW lottery AS SELECT o.customer_id FROM orders o WHERE random() > 0.5;
SELECT journey.create_segment('x', $$ c.id IN (SELECT l.customer_id FROM lottery l) $$);
CREATE FUNCTION yesterdays(c bigint) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT count(*) FROM orders AS o WHERE o.customer_id = c AND o.created_at > 'yesterday' $$;
SELECT journey.create_segment('x', $$ yesterdays(c.id) > 1 $$);
