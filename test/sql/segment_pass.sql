-- Marks, passes and scans: who is in a segment follows changes and the clock.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET search_path = shop;
SET timezone = 'UTC';
CREATE TABLE items (order_id bigint, price numeric, note text);
CREATE TABLE visits (customer_id bigint, day date NOT NULL, url text) PARTITION BY RANGE (day);
CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE visits_new (url text, day date NOT NULL, customer_id bigint);
ALTER TABLE visits ATTACH PARTITION visits_new FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);

-- What a statement marked, in the order of watches and contacts; then it is forgotten.
CREATE FUNCTION marks(OUT relation text, OUT kind text, OUT contacts text) RETURNS SETOF record
LANGUAGE sql AS $$
	WITH d AS (DELETE FROM journey_state.mark RETURNING *)
	SELECT w.relation::text, w.kind, string_agg(coalesce(d.contact::text, d.link::text, 'all'), ' ' ORDER BY d.contact, d.link)
	FROM d JOIN journey.watch w USING (watch_id) GROUP BY 1, 2 ORDER BY 1, 2
$$;
-- Tick until nothing is left; how often.
CREATE FUNCTION settle(at timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		IF NOT (SELECT more FROM journey.tick(at)) THEN
			RETURN i;
		END IF;
	END LOOP;
END
$$;
CREATE VIEW members AS
	SELECT s.name, string_agg(m.contact::text, ' ' ORDER BY m.contact) FILTER (WHERE m.member) AS members
	FROM journey.segment s LEFT JOIN journey_state.membership m USING (segment_id) GROUP BY 1 ORDER BY 1;
CREATE VIEW flips AS
	SELECT at, name, string_agg(contact::text, ' ' ORDER BY contact) AS contacts FROM journey_state.event WHERE name LIKE 'journey.%' GROUP BY 1, 2 ORDER BY 1, 2;

SELECT journey.create_segment('big', $$ (SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id) > 100 $$, at => '2026-01-01');
SELECT journey.create_segment('buyer_of_dear', $$ EXISTS (SELECT FROM orders o JOIN items i ON i.order_id = o.id WHERE o.customer_id = c.id AND i.price > 50) $$, at => '2026-01-01');
SELECT journey.create_segment('visitor', $$ EXISTS (SELECT FROM visits v WHERE v.customer_id = c.id AND v.url = '/shop') $$, at => '2026-01-01');
SELECT journey.create_segment('recent', $$ EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at <= now() AND o.created_at > now() - interval '7 days') $$, at => '2026-01-01');
SELECT journey.create_segment('big_friend', $$ journey.in_segment(c.id, 'big') AND c.country = 'GB' $$, at => '2026-01-01');
SELECT relation, kind, key FROM journey.watch ORDER BY relation::text, kind, key;
SELECT settle('2026-01-01') > 0;
SELECT name, status FROM journey.segment ORDER BY 1;

-- ---- marks ----
DELETE FROM journey_state.mark;
INSERT INTO orders SELECT i, i % 3 + 1, 40, '2026-01-01' FROM generate_series(1, 9) i;
SELECT * FROM marks();
INSERT INTO orders VALUES (1, 1, 40, '2026-01-01') ON CONFLICT (id) DO UPDATE SET total = 45;
SELECT * FROM marks();
INSERT INTO orders VALUES (1, 1, 40, '2026-01-01') ON CONFLICT DO NOTHING;
SELECT * FROM marks();
COPY orders FROM STDIN (DELIMITER ',');
20,4,10,2026-01-01
21,5,10,2026-01-01
\.
SELECT * FROM marks();
-- the old customer and the new one
UPDATE orders SET customer_id = 7 WHERE id = 20;
SELECT * FROM marks();
-- nothing changes; nobody reads it
UPDATE orders SET total = total;
SELECT * FROM marks();
UPDATE customers SET first_name = 'x';
SELECT * FROM marks();
INSERT INTO items VALUES (1, 10, repeat('long', 3000)), (2, 20, NULL), (NULL, 30, NULL);
SELECT * FROM marks();
UPDATE items SET note = 'short';
SELECT * FROM marks();
MERGE INTO orders o USING (VALUES (20, 8), (22, 9)) AS v (id, customer) ON o.id = v.id
	WHEN MATCHED THEN UPDATE SET customer_id = v.customer
	WHEN NOT MATCHED THEN INSERT VALUES (v.id, v.customer, 1, '2026-01-01');
SELECT * FROM marks();
DELETE FROM orders WHERE id IN (20, 21, 22);
SELECT * FROM marks();
TRUNCATE items;
SELECT * FROM marks();
-- through the partitioned table, across partitions, and past it
INSERT INTO visits VALUES (1, '2025-06-01', '/'), (2, '2026-06-01', '/');
SELECT * FROM marks();
UPDATE visits SET day = '2026-07-01' WHERE customer_id = 1;
SELECT * FROM marks();
UPDATE visits SET day = '2025-07-01', url = '/shop' WHERE customer_id = 1;
SELECT * FROM marks();
INSERT INTO visits_new VALUES ('/shop', '2026-02-01', 3);
SELECT * FROM marks();
UPDATE visits_new SET customer_id = 4 WHERE customer_id = 3;
SELECT * FROM marks();
-- a rolled back savepoint leaves none; many rows cost a mark for each contact
BEGIN;
SAVEPOINT s;
INSERT INTO orders VALUES (30, 1, 1, '2026-01-01');
ROLLBACK TO s;
COMMIT;
SELECT * FROM marks();
INSERT INTO orders SELECT 1000 + i, i % 20 + 1, 0, '2025-01-01' FROM generate_series(1, 100000) i;
SELECT relation, kind, length(contacts) FROM marks();
UPDATE orders SET total = 0.01 WHERE id > 1000;
SELECT relation, kind, length(contacts) FROM marks();
DELETE FROM orders WHERE id > 1000;
SELECT relation, kind, length(contacts) FROM marks();
-- a writer who has no rights here, and a superuser
RESET SESSION AUTHORIZATION;
DO $$ BEGIN CREATE ROLE clerk; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA shop TO clerk;
GRANT INSERT ON shop.items TO clerk;
SET SESSION AUTHORIZATION clerk;
INSERT INTO shop.items VALUES (3, 60, NULL);
RESET SESSION AUTHORIZATION;
INSERT INTO shop.items VALUES (4, 60, NULL);
SET SESSION AUTHORIZATION shop;
SELECT * FROM marks();

-- ---- passes ----
DELETE FROM orders;
SELECT settle('2026-01-01 01:00') > 0;
SELECT * FROM members;
SELECT * FROM flips;
INSERT INTO orders VALUES (1, 1, 60, '2026-01-01'), (2, 2, 60, '2026-01-02 12:00'), (3, 2, 70, '2026-01-01');
INSERT INTO items VALUES (2, 99, NULL);
SELECT settle('2026-01-01 02:00') > 0;
SELECT * FROM members;
SELECT * FROM flips;
SELECT s.name, m.contact, m.member, m.since, m.check_at FROM journey_state.membership m JOIN journey.segment s USING (segment_id) WHERE s.name = 'recent' ORDER BY 2;
-- nothing to do: nothing is written
SELECT count(*) AS rows FROM journey_state.progress \gset
SELECT settle('2026-01-01 03:00');
SELECT count(*) - :rows AS written FROM journey_state.progress;
SELECT count(*) FROM journey_state.mark WHERE slice >= 0;
-- the clock
SELECT settle('2026-01-08') > 0;
SELECT * FROM members WHERE name = 'recent';
SELECT settle('2026-01-09 12:00') > 0;
SELECT * FROM members WHERE name = 'recent';
SELECT * FROM flips WHERE name LIKE '%recent';
SELECT s.name, h.at, h.cause, sum(h.entered) AS entered, sum(h.left_it) AS left_it FROM journey_state.segment_change h JOIN journey.segment s USING (segment_id) GROUP BY 1, 2, 3 ORDER BY 2, 1;
-- each at its own time
INSERT INTO orders VALUES (4, 4, 1, '2026-01-10'), (5, 5, 1, '2026-01-12 06:00');
SELECT events FROM journey.replay('2026-02-01');
SELECT * FROM flips WHERE at > '2026-01-09 12:00';
-- a contact that goes, and one whose key changes
INSERT INTO orders VALUES (6, 6, 500, '2026-02-01');
SELECT settle('2026-02-01 01:00') > 0;
SELECT * FROM members WHERE name LIKE 'big%';
BEGIN;
DELETE FROM orders WHERE customer_id = 2;
DELETE FROM customers WHERE id = 2;
COMMIT;
BEGIN;
DELETE FROM orders WHERE customer_id = 6;
UPDATE customers SET id = 66 WHERE id = 6;
INSERT INTO orders VALUES (6, 66, 500, '2026-02-01');
COMMIT;
SELECT settle('2026-02-01 02:00') > 0;
SELECT * FROM members WHERE name LIKE 'big%';
SELECT * FROM flips WHERE at > '2026-02-01';
SELECT journey.in_segment(66, 'big'), journey.in_segment(2::bigint, 'big'), journey.in_segment('66'::text, 'big_friend');
SELECT journey.in_segment(1, 'nothing');
-- all at once
TRUNCATE orders;
SELECT settle('2026-02-01 03:00') > 0;
SELECT * FROM members;
-- its own events
SELECT journey.create_segment('entered', $$ EXISTS (SELECT FROM journey_state.event v WHERE v.contact = c.id AND v.name = 'journey.enter:big') $$, at => '2026-02-02');
SELECT settle('2026-02-02') > 0;
INSERT INTO orders VALUES (7, 7, 700, '2026-02-01');
SELECT settle('2026-02-03') > 0;
SELECT * FROM members WHERE name = 'entered';
SELECT * FROM flips WHERE name = 'journey.enter:entered';

-- ---- errors ----
INSERT INTO orders VALUES (8, 8, 1, '2026-02-01');
SELECT journey.create_segment('fragile', $$ 100 / (SELECT o.total FROM orders o WHERE o.customer_id = c.id ORDER BY o.id LIMIT 1) > 5 $$, at => '2026-02-04');
SELECT settle('2026-02-04') > 0;
SELECT * FROM members WHERE name IN ('big', 'fragile');
UPDATE orders SET total = 0 WHERE id = 8;
INSERT INTO orders VALUES (9, 9, 900, '2026-02-01');
SELECT settle('2026-02-05') > 0;
SELECT name, status, error, error_at FROM journey.segment WHERE name IN ('big', 'fragile') ORDER BY 1;
SELECT * FROM members WHERE name IN ('big', 'fragile');
UPDATE orders SET total = 2 WHERE id = 8;
INSERT INTO orders VALUES (10, 10, 4, '2026-02-01');
SELECT journey.resume_segment('fragile', '2026-02-06');
SELECT settle('2026-02-06') > 0;
SELECT name, status, error FROM journey.segment WHERE name = 'fragile';
SELECT * FROM members WHERE name = 'fragile';
-- who entered meanwhile enters as an event
SELECT * FROM flips WHERE name ~ 'fragile';
-- suspended before the first scan was over all: those who are there already stay silent
INSERT INTO orders VALUES (12, 12, 15, '2026-02-01');
SELECT journey.create_segment('frail', $$ 100 / ((SELECT o.total FROM orders o WHERE o.customer_id = c.id ORDER BY o.id LIMIT 1) - 14) < 0 $$, at => '2026-02-06');
UPDATE orders SET total = 14 WHERE id = 12;
SELECT settle('2026-02-06') > 0;
DELETE FROM orders WHERE id = 12;
SELECT journey.resume_segment('frail', '2026-02-06');
SELECT settle('2026-02-06') > 0;
SELECT * FROM members WHERE name = 'frail';
SELECT * FROM flips WHERE name ~ 'frail';
SELECT journey.drop_segment('frail');
-- too slow for one contact: the segment; the others go on
CREATE FUNCTION slow(numeric) RETURNS boolean STABLE LANGUAGE plpgsql AS $$ BEGIN IF $1 = 13 THEN PERFORM pg_sleep(10); END IF; RETURN true; END $$;
SELECT journey.create_segment('slow', $$ EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND slow(o.total)) $$, refresh_every => '1 year', at => '2026-02-07');
SELECT settle('2026-02-07') > 0;
INSERT INTO orders VALUES (11, 11, 13, '2026-02-01');
RESET SESSION AUTHORIZATION;
SET pg_journey.segment_timeout = '100ms';
SET SESSION AUTHORIZATION shop;
SELECT settle('2026-02-08') > 0;
SELECT name, status, error FROM journey.segment WHERE status <> 'current';

-- ---- scans ----
SELECT journey.drop_segment('slow');
SET pg_journey.batch_size = 1;
SELECT journey.create_segment('even', $$ c.id % 2 = 0 $$, at => '2026-02-09');
-- twenty contacts at a time; who is behind its end is settled
INSERT INTO customers SELECT i, 'Name' || i FROM generate_series(101, 140) i;
SELECT more FROM journey.tick('2026-02-09', -1);
SELECT reason, started_at, finished_at, upto, scanned FROM journey_state.segment_scan ORDER BY started_at DESC LIMIT 1;
UPDATE customers SET id = 99 WHERE id = 12;
SELECT settle('2026-02-09') > 0;
SELECT status FROM journey.segment WHERE name = 'even';
SELECT count(*) FROM journey_state.membership m JOIN journey.segment s USING (segment_id) WHERE s.name = 'even' AND m.member;
SELECT count(*) FROM customers WHERE id % 2 = 0;
SELECT * FROM flips WHERE name LIKE '%even';
RESET pg_journey.batch_size;
-- a refresh finds what no trigger saw, and says so
ALTER TABLE customers DISABLE TRIGGER USER;
UPDATE customers SET id = 98 WHERE id = 99;
DELETE FROM customers WHERE id = 140;
ALTER TABLE customers ENABLE TRIGGER USER;
SELECT settle('2026-02-10') > 0;
SELECT * FROM flips WHERE name LIKE '%even';
SELECT journey.refresh_segment('even', '2026-02-10');
SELECT settle('2026-02-10') > 0;
SELECT * FROM flips WHERE name LIKE '%even';
SELECT reason, started_at, finished_at, upto, scanned FROM journey_state.segment_scan ORDER BY started_at DESC LIMIT 1;

-- ---- a schema that is half there: no statement of the shop's fails ----
ALTER TABLE journey_state.mark RENAME TO gone;
INSERT INTO orders VALUES (900, 1, 40, '2026-02-11');
DELETE FROM orders WHERE id = 900;
\set VERBOSITY terse
SELECT journey.tick('2026-02-11');
\set VERBOSITY default
ALTER TABLE journey_state.gone RENAME TO mark;
SELECT settle('2026-02-11') > 0;
