-- the shop's key may be bigint, integer, uuid, text or varchar
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set VERBOSITY terse
RESET SESSION AUTHORIZATION;
CREATE PROCEDURE pg_temp.try(key_type text, sample text)
LANGUAGE plpgsql AS $$
DECLARE
	state_type text;
	result text;
BEGIN
	SET LOCAL client_min_messages = error;
	PERFORM journey.detach();
	DROP SCHEMA journey_state CASCADE;
	DROP TABLE IF EXISTS shop.people, shop.visits;
	EXECUTE format('CREATE TABLE shop.people (code %s PRIMARY KEY, mail text)', key_type);
	EXECUTE format('CREATE TABLE shop.visits (id int, who %s, at timestamptz)', key_type);
	ALTER TABLE shop.people OWNER TO shop;
	ALTER TABLE shop.visits OWNER TO shop;
	PERFORM journey.attach('shop.people', key => 'code', email => 'mail', owner => 'shop', slices => 4);
END
$$;
CREATE PROCEDURE pg_temp.report(key_type text)
LANGUAGE plpgsql AS $$
DECLARE
	r record;
BEGIN
	FOR r IN SELECT e.name, e.contact::text AS contact, pg_typeof(e.contact) AS type, e.slice BETWEEN 0 AND 3 AS in_range, count(*) AS n, count(DISTINCT e.slice) AS slices
		FROM journey_state.event e GROUP BY 1, 2, 3, 4 ORDER BY 1, 2
	LOOP
		RAISE INFO '%: %', key_type, r;
	END LOOP;
END
$$;

CALL pg_temp.try('bigint', '1');
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('visit', 'shop.visits', 'who', 'at') IS NOT NULL AS captured;
INSERT INTO shop.visits VALUES (1, 9007199254740993, '2026-01-01');
SELECT journey.track(9007199254740993, 'call') > 0, journey.track('9007199254740993', 'call') > 0, journey.track(9007199254740993::numeric, 'call') > 0;
SELECT journey.track('abc', 'call');
RESET SESSION AUTHORIZATION;
CALL pg_temp.report('bigint');

CALL pg_temp.try('integer', '1');
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('visit', 'shop.visits', 'who', 'at') IS NOT NULL AS captured;
INSERT INTO shop.visits VALUES (1, 42, '2026-01-01');
SELECT journey.track(42, 'call') > 0, journey.track(42::smallint, 'call') > 0;
RESET SESSION AUTHORIZATION;
CALL pg_temp.report('integer');

CALL pg_temp.try('uuid', '');
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('visit', 'shop.visits', 'who', 'at') IS NOT NULL AS captured;
INSERT INTO shop.visits VALUES (1, 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '2026-01-01');
SELECT journey.track('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'call') > 0, journey.track('a0eebc999c0b4ef8bb6d6bb9bd380a11'::uuid, 'call') > 0;
RESET SESSION AUTHORIZATION;
CALL pg_temp.report('uuid');

CALL pg_temp.try('text', '');
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('visit', 'shop.visits', 'who', 'at') IS NOT NULL AS captured;
INSERT INTO shop.visits VALUES (1, 'o''Neill "x" %s', '2026-01-01');
SELECT journey.track('o''Neill "x" %s', 'call') > 0, journey.track('o''Neill "x" %s'::varchar, 'call') > 0;
RESET SESSION AUTHORIZATION;
CALL pg_temp.report('text');

CALL pg_temp.try('varchar(20)', '');
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('visit', 'shop.visits', 'who', 'at') IS NOT NULL AS captured;
INSERT INTO shop.visits VALUES (1, 'c-1', '2026-01-01');
SELECT journey.track('c-1', 'call') > 0;
RESET SESSION AUTHORIZATION;
CALL pg_temp.report('varchar');
SELECT journey.detach();
DROP EXTENSION pg_journey;
