\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
-- What segments read comes, goes and changes its shape while they are kept.
SET search_path = shop;
CREATE FUNCTION pg_temp.work(at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n integer := 0;
BEGIN
	LOOP
		EXIT WHEN NOT (SELECT t.more FROM journey.tick(at) AS t);
		n := n + 1;
	END LOOP;
	RETURN (SELECT string_agg(format('%s: %s', s.name, (SELECT string_agg(m.contact::text, ' ' ORDER BY m.contact) FROM journey_state.membership m WHERE m.segment_id = s.segment_id AND m.member)), '; ' ORDER BY s.name)
		FROM journey.segment s);
END $$;

-- Partitions: with rows from before, of several levels, dropped, detached
CREATE TABLE visits (contact bigint, at timestamptz) PARTITION BY RANGE (at);
CREATE INDEX ON visits (contact);
CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
SELECT journey.create_segment('visitors', $$ EXISTS (SELECT FROM visits v WHERE v.contact = c.id) $$, at => '2026-01-01');
SELECT pg_temp.work('2026-01-01 01:00');
INSERT INTO visits VALUES (1, '2025-12-01'), (2, '2025-12-01');
CREATE TABLE visits_1 (at timestamptz, gone integer, contact bigint);
ALTER TABLE visits_1 DROP COLUMN gone;
INSERT INTO visits_1 VALUES ('2026-01-01', 3);
ALTER TABLE visits ATTACH PARTITION visits_1 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE visits_2 PARTITION OF visits FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY HASH (contact);
CREATE TABLE visits_2_1 PARTITION OF visits_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO visits_2_1 VALUES (4, '2026-02-01');
SELECT pg_temp.work('2026-01-01 02:00');
SELECT tgrelid::regclass, count(*) FROM pg_trigger WHERE tgfoid = 'journey._mark()'::regprocedure AND tgrelid <> 'customers'::regclass GROUP BY tgrelid ORDER BY tgrelid::regclass::text;
INSERT INTO visits_2_1 VALUES (5, '2026-02-02');
INSERT INTO visits_1 (contact, at) VALUES (6, '2026-01-02');
UPDATE visits_1 SET contact = 7 WHERE contact = 3;
SELECT pg_temp.work('2026-01-01 03:00');
-- a new partition that is empty asks for no scan
CREATE TABLE visits_3 PARTITION OF visits FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
SELECT started_at FROM journey_state.segment_scan;
SELECT pg_temp.work('2026-01-01 03:30');
SELECT started_at FROM journey_state.segment_scan;
DROP TABLE visits_1;
SELECT pg_temp.work('2026-01-01 04:00');
ALTER TABLE visits DETACH PARTITION visits_2;
-- who has looked, but whose transaction came to nothing, looks again
BEGIN;
SELECT pg_temp.work('2026-01-01 04:30');
ROLLBACK;
BEGIN;
SAVEPOINT before;
SELECT pg_temp.work('2026-01-01 04:30');
ROLLBACK TO before;
SELECT pg_temp.work('2026-01-01 05:00');
COMMIT;

-- Child tables
CREATE TABLE notes (contact bigint);
CREATE INDEX ON notes (contact);
SELECT journey.create_segment('noted', $$ EXISTS (SELECT FROM notes n WHERE n.contact = c.id) $$, at => '2026-01-01');
CREATE TABLE notes_more (extra text) INHERITS (notes);
INSERT INTO notes_more VALUES (8, 'x');
SELECT pg_temp.work('2026-01-01 06:00');
INSERT INTO notes_more VALUES (9, 'x');
SELECT pg_temp.work('2026-01-01 07:00');

-- Renames, and a column that is read is dropped
SELECT journey.create_segment('british', $$ c.country = 'GB' AND c.id < 5 $$, at => '2026-01-01');
ALTER TABLE customers RENAME COLUMN country TO land;
ALTER TABLE notes RENAME COLUMN contact TO who;
ALTER TABLE notes RENAME TO remarks;
INSERT INTO remarks VALUES (1);
UPDATE customers SET land = 'GB' WHERE id = 3;
SELECT pg_temp.work('2026-01-01 08:00');
ALTER TABLE customers DROP COLUMN land;
ALTER TABLE customers DROP COLUMN land CASCADE;
SELECT pg_temp.work('2026-01-01 09:00');
SELECT name, status, error, error_at FROM journey.segment ORDER BY name;
SELECT journey.refresh_segment('british');
SELECT journey.resume_segment('british');
ALTER TABLE customers ADD COLUMN country text;
UPDATE customers SET country = 'GB' WHERE id = 4;
SELECT journey.resume_segment('british', '2026-01-01 10:00');
SELECT pg_temp.work('2026-01-01 10:00');
SELECT journey.resume_segment('british');

-- A column of another type: the segment is dropped and made again
ALTER TABLE customers ALTER COLUMN country TYPE varchar(10);
SELECT journey.drop_segment('british');
ALTER TABLE customers ALTER COLUMN country TYPE varchar(10);
SELECT journey.create_segment('british', $$ c.country = 'GB' $$, existing => 'enter', at => '2026-01-01 11:00');
SELECT pg_temp.work('2026-01-01 11:00');
SELECT contact, name, at FROM journey_state.event ORDER BY at, name, contact;

-- An altered segment keeps its members until it is scanned
SELECT journey.alter_segment('british', predicate => $$ c.id = 1 $$, at => '2026-01-01 12:00');
SELECT contact FROM journey_state.membership WHERE segment_id = (SELECT segment_id FROM journey.segment WHERE name = 'british') AND member;
SELECT pg_temp.work('2026-01-01 12:00');

-- Whole tables
DROP TABLE visits CASCADE;
SELECT pg_temp.work('2026-01-01 13:00');
SELECT name, status, error FROM journey.segment ORDER BY name;
SELECT journey.drop_segment('visitors');
SELECT journey.drop_segment('noted');
SELECT journey.drop_segment('british');
SELECT tgrelid::regclass FROM pg_trigger WHERE tgfoid = 'journey._mark()'::regprocedure;
SELECT count(*) FROM journey_state.membership;
