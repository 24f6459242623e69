\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
-- Segments are made, changed and dropped; what they read is renamed and dropped.
SET search_path = shop;
CREATE INDEX ON orders (customer_id);
INSERT INTO orders SELECT i, 1 + i % 4, 10 * i, '2025-06-01'::timestamptz + i * interval '10 days' FROM generate_series(1, 12) i;
ANALYZE customers, orders;

SELECT journey.create_segment('british', $$ c.country = 'GB' $$, at => '2026-01-01');
SELECT journey.create_segment('buyers', $$ (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) >= 3 $$, existing => 'enter', timezone => 'Europe/London', refresh_every => '6 hours', at => '2026-01-01');
SELECT journey.create_segment('british buyers', $$ journey.in_segment(c.id, 'british') AND journey.in_segment(c.id, 'buyers') $$, at => '2026-01-01');
SELECT segment_id, name, timezone, refresh_every, revision, level, opaque, status, announce, cost > 0 AS cost, created_at FROM journey.segment ORDER BY segment_id;
SELECT w.relation, w.kind, w.key, w.null_is_all, s.segment_id FROM journey.watch w JOIN journey.segment_watch s USING (watch_id) WHERE w.relation <> 'journey_state.membership'::regclass ORDER BY s.segment_id, w.relation::text;
SELECT * FROM journey.segment_need ORDER BY segment_id, needed_id;
SELECT segment_id, revision, reason, wanted_at FROM journey_state.segment_scan ORDER BY segment_id;
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgfoid = 'journey._mark()'::regprocedure ORDER BY tgrelid::regclass::text, tgname;
SELECT contact, member FROM journey_state.segment_1_check(ARRAY[1, 2], ARRAY[1, 2]::bigint[], ARRAY['2026-01-01', '2026-01-01']::timestamptz[]) ORDER BY 1;
SELECT * FROM journey_state.segment_2_scan('2026-01-01', NULL, 3);
SELECT * FROM journey_state.segment_2_scan('2026-01-01', 3, 3);
SELECT * FROM journey_state.segment_2_scan('2026-01-01', 20, 3);

-- The functions are inlined, and a scan reads no more than it returns.
CREATE FUNCTION pg_temp.plan(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS off) ' || statement LOOP
		RETURN NEXT replace(replace(line, ' (returns $0)', ''), '(InitPlan 1).col1', '$0'); -- before and since 17
	END LOOP;
END
$$;
SET enable_seqscan = off;
EXPLAIN (COSTS off) SELECT * FROM journey_state.segment_1_check(ARRAY[1, 2], ARRAY[1, 2]::bigint[], ARRAY['2026-01-01', '2026-01-01']::timestamptz[]);
PREPARE scan (timestamptz, bigint, integer) AS SELECT * FROM journey_state.segment_1_scan($1, $2, $3);
SET plan_cache_mode = force_generic_plan;
SELECT * FROM pg_temp.plan($$ EXECUTE scan ('2026-01-01', NULL, 10) $$);
RESET plan_cache_mode;
RESET enable_seqscan;
DEALLOCATE scan;

-- Arguments
SELECT journey.create_segment('british', $$ true $$);
SELECT journey.create_segment('', $$ true $$);
SELECT journey.create_segment(repeat('x', 101), $$ true $$);
SELECT journey.create_segment(E'a\tb', $$ true $$);
SELECT journey.create_segment(NULL, $$ true $$);
SELECT journey.create_segment('bad', NULL);
SELECT journey.create_segment('bad', $$ true $$, existing => 'leave');
SELECT journey.create_segment('bad', $$ true $$, timezone => 'Mars/Olympus');
SELECT journey.create_segment('bad', $$ true $$, refresh_every => '1 second');
SELECT journey.create_segment('bad', $$ true $$, at => 'infinity');

-- Predicates
SELECT journey.create_segment('bad', $$$$);
SELECT journey.create_segment('bad', $$ c.country = $$);
SELECT journey.create_segment('bad', $$ c.country = 'GB', true $$);
SELECT journey.create_segment('bad', $$ c.country = 'GB' ORDER BY 1 $$);
SELECT journey.create_segment('bad', $$ c.country = 'GB'; DROP TABLE customers $$);
SELECT journey.create_segment('bad', $$
	c.country = 'GB'
	AND c.birthday > now() $$);
SELECT journey.create_segment('bad', $$ c.country $$);
SELECT journey.create_segment('bad', $$ count(*) > 3 $$);
SELECT journey.create_segment('bad', $$ row_number() OVER () > 3 $$);
SELECT journey.create_segment('bad', $$ generate_series(1, 3) > 2 $$);
SELECT journey.create_segment('bad', $$ c.id > $1 $$);
SELECT journey.create_segment('bad', $$ random() > 0.5 $$);
SELECT journey.create_segment('bad', $$ EXISTS (SELECT FROM nowhere) $$);
SELECT journey.create_segment('bad', $$ journey.in_segment(c.id, 'nobody') $$);
SELECT journey.create_segment('bad', $$ c.id / 0 > 1 $$);
CREATE TEMPORARY TABLE t (id bigint);
SELECT journey.create_segment('bad', $$ EXISTS (SELECT FROM t WHERE t.id = c.id) $$);
DROP TABLE t;

-- What is not the owner's
RESET SESSION AUTHORIZATION;
SELECT journey.create_segment('bad', $$ true $$);
CREATE TABLE shop.visits (contact bigint, shown boolean);
INSERT INTO shop.visits VALUES (1, true), (2, false);
CREATE INDEX ON shop.visits (contact);
SET SESSION AUTHORIZATION shop;
SELECT journey.create_segment('visitors', $$ EXISTS (SELECT FROM visits v WHERE v.contact = c.id) $$);
RESET SESSION AUTHORIZATION;
GRANT SELECT ON shop.visits TO shop;
SET SESSION AUTHORIZATION shop;
SELECT journey.create_segment('visitors', $$ EXISTS (SELECT FROM visits v WHERE v.contact = c.id) $$);
RESET SESSION AUTHORIZATION;
GRANT TRIGGER ON shop.visits TO shop;
ALTER TABLE shop.visits ENABLE ROW LEVEL SECURITY;
CREATE POLICY shown ON shop.visits FOR SELECT TO shop USING (shown);
SET SESSION AUTHORIZATION shop;
SELECT journey.create_segment('visitors', $$ EXISTS (SELECT FROM visits v WHERE v.contact = c.id) $$, at => '2026-01-01') AS visitors \gset
SELECT contact, member FROM journey_state.segment_4_scan('2026-01-01', NULL, 2);
SELECT journey.drop_segment('visitors');
RESET SESSION AUTHORIZATION;
SELECT tgname FROM pg_trigger WHERE tgrelid = 'shop.visits'::regclass AND tgfoid = 'journey._mark()'::regprocedure ORDER BY 1;
DROP TABLE shop.visits;

-- The budget
SET pg_journey.segment_cost = 10;
SET pg_journey.expression_timeout = '100ms';
SET SESSION AUTHORIZATION shop;
SET search_path = shop;
CREATE TABLE clicks (id bigint PRIMARY KEY, contact bigint, at timestamptz);
INSERT INTO clicks SELECT i, i % 20, '2025-01-01' FROM generate_series(1, 20000) i;
ANALYZE clicks;
SELECT journey.create_segment('clickers', $$ (SELECT max(k.at) FROM clicks k WHERE k.contact = c.id) IS NOT NULL $$);
CREATE FUNCTION slow(bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM count(*) FROM generate_series(1, 1000000); RETURN true; END $$;
SELECT journey.create_segment('sleepers', $$ slow(c.id) $$);
RESET SESSION AUTHORIZATION;
RESET pg_journey.segment_cost;
RESET pg_journey.expression_timeout;
SET SESSION AUTHORIZATION shop;
SET pg_journey.segment_cost = 0; -- not the author's to set
DROP TABLE clicks;
DROP FUNCTION slow;
SELECT count(*) FROM journey.segment;

-- What cannot be followed, and what concerns everybody
CREATE TABLE settings (name text PRIMARY KEY, value numeric);
INSERT INTO settings VALUES ('big', 100);
SELECT journey.create_segment('big spenders', $$ (SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id) > (SELECT s.value FROM settings s WHERE s.name = 'big') $$, at => '2026-01-01');
CREATE FUNCTION weather() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN 'rain'; END $$;
SELECT journey.create_segment('wet', $$ weather() = 'rain' $$, at => '2026-01-01');
SELECT section, item, detail FROM journey.explain_segment('wet') WHERE section IN ('predicate', 'opaque', 'boundary');
SELECT section, item, CASE WHEN section NOT IN ('plan', 'cost') THEN detail END AS detail FROM journey.explain_segment('big spenders');
SELECT * FROM journey.explain_segment('nobody');

-- Alter
SELECT journey.alter_segment('british', predicate => $$ c.country = 'FR' $$, existing => 'enter', at => '2026-01-02');
SELECT name, predicate, revision, status, announce, changed_at FROM journey.segment WHERE name = 'british';
SELECT revision, reason, wanted_at FROM journey_state.segment_scan WHERE segment_id = 1;
SELECT contact, member FROM journey_state.segment_1_scan('2026-01-01', NULL, 2);
SELECT journey.alter_segment('british', refresh_every => '2 days', at => '2026-01-03');
SELECT refresh_every, revision, changed_at FROM journey.segment WHERE name = 'british';
SELECT journey.alter_segment('british', timezone => 'Asia/Tokyo', at => '2026-01-04');
SELECT timezone, revision FROM journey.segment WHERE name = 'british';
SELECT journey.alter_segment('british', predicate => $$ journey.in_segment(c.id, 'british buyers') $$);
SELECT journey.alter_segment('british', predicate => $$ journey.in_segment(c.id, 'british') $$);
SELECT journey.alter_segment('british', predicate => $$ nonsense $$);
SELECT journey.alter_segment('nobody', predicate => $$ true $$);
SELECT journey.alter_segment('buyers', predicate => $$ journey.in_segment(c.id, 'wet') $$, at => '2026-01-05');
SELECT name, level FROM journey.segment ORDER BY level, name;
SELECT journey.alter_segment('buyers', predicate => $$ (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) >= 3 $$, at => '2026-01-05');
SELECT name, level FROM journey.segment ORDER BY level, name;

-- Renames are followed
ALTER TABLE orders RENAME TO purchases;
ALTER TABLE purchases RENAME COLUMN customer_id TO buyer;
ALTER TABLE customers RENAME COLUMN country TO land;
SELECT contact, member FROM journey_state.segment_2_scan('2026-01-01', NULL, 2);
SELECT item, detail FROM journey.explain_segment('buyers') WHERE section IN ('watch', 'statement');
ALTER TABLE customers RENAME COLUMN land TO country;

-- What is read is not dropped
ALTER TABLE purchases DROP COLUMN buyer;
DROP TABLE purchases;
ALTER TABLE customers ALTER COLUMN country TYPE varchar;

-- Drop
SELECT journey.drop_segment('british');
SELECT journey.create_journey('hello', $$ ON ENTER SEGMENT "wet" TOPIC service EXIT; $$, at => '2026-01-01');
SELECT journey.drop_segment('wet');
SELECT journey.drop_journey('hello');
SELECT journey.create_journey('asks', $$ ON CALL TOPIC service IF journey.in_segment(c.id, 'wet') THEN EXIT; END IF; $$, at => '2026-01-01');
SELECT journey.drop_segment('wet');
SELECT journey.drop_journey('asks');
SELECT journey.drop_segment('wet');
SELECT journey.drop_segment('nobody');
SELECT journey.drop_segment('british buyers');
SELECT journey.drop_segment('british');
SELECT journey.drop_segment('big spenders');
SELECT journey.drop_segment('buyers');
SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgfoid = 'journey._mark()'::regprocedure;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'journey_state'::regnamespace;
SELECT (SELECT count(*) FROM journey.watch) AS watch, (SELECT count(*) FROM journey.segment_watch) AS segment_watch, (SELECT count(*) FROM journey.segment_part) AS part,
	(SELECT count(*) FROM journey.segment_need) AS need, (SELECT count(*) FROM journey.watch_member) AS member, (SELECT count(*) FROM journey_state.segment_scan) AS scan;

-- Literals are read in the segment's time zone
SELECT journey.create_segment('new', $$ c.created_at >= '2026-01-01 00:00' $$, timezone => 'Asia/Tokyo', at => '2026-01-01');
SELECT item, substring(detail FROM '''[^'']+''::timestamp with time zone') FROM journey.explain_segment('new') WHERE section = 'statement';
SELECT journey.drop_segment('new');

-- Partitions
CREATE TABLE visits (contact bigint, at timestamptz) PARTITION BY RANGE (at);
CREATE TABLE visits_old PARTITION OF visits FOR VALUES FROM (MINVALUE) TO ('2026-01-01') PARTITION BY HASH (contact);
CREATE TABLE visits_old_1 PARTITION OF visits_old FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE visits_new PARTITION OF visits FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
CREATE INDEX ON visits (contact);
SELECT journey.create_segment('visitors', $$ EXISTS (SELECT FROM visits v WHERE v.contact = c.id) $$, at => '2026-01-01') > 0 AS made;
SELECT tgrelid::regclass, count(*) FROM pg_trigger WHERE tgfoid = 'journey._mark()'::regprocedure GROUP BY tgrelid ORDER BY tgrelid::regclass::text;
SELECT relation, member FROM journey.watch_member ORDER BY relation::text, member::text;
SELECT journey.drop_segment('visitors');
SELECT count(*) FROM pg_trigger WHERE tgfoid = 'journey._mark()'::regprocedure;
