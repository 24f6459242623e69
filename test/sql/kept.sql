-- What a session keeps of definitions: its own changes, those it takes back, errors.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SELECT journey.create_journey('promo', $$ ON EVENT promo KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '3 hours'; $$, '2026-01-01');
SELECT journey.activate('promo');
SELECT journey.create_journey('other', $$ ON EVENT other TOPIC promotions WAIT '30 days'; $$, '2026-01-01');
SELECT journey.activate('other');
SELECT journey.track(1, 'other', '{}', '2026-01-04 09:00');
SELECT count(journey.track(1, 'promo', jsonb_build_object('k', k), timestamptz '2026-01-05 00:00' + k * interval '1 hour')) FROM generate_series(0, 20) AS k;
SELECT steps FROM journey.replay('2026-01-04 10:00');
CREATE SEQUENCE shop.hours MINVALUE 0;
-- go on for an hour: what becomes of the last message?
CREATE FUNCTION shop.decide() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.replay('2026-01-05 00:00'::timestamptz + nextval('shop.hours') * interval '1 hour');
	RETURN (SELECT coalesce(v.reason, v.verdict) FROM journey_state.verdict v ORDER BY v.at DESC, v.verdict_id DESC LIMIT 1);
END
$$;
SELECT shop.decide();

--
-- a transaction sees what it has changed itself, and not what it has taken back
--
BEGIN;
SELECT shop.decide();
SELECT journey.create_cap('none', 0, '1 day', at => '2026-01-05');
SELECT shop.decide();
SAVEPOINT s;
SELECT journey.drop_cap('none');
SELECT journey.create_quiet_hours('long', '00:00', '23:00', at => '2026-01-05');
SELECT shop.decide();
ROLLBACK TO s;
SELECT shop.decide();
ROLLBACK;
SELECT shop.decide();
-- within one statement
DO $$
BEGIN
	PERFORM journey.create_cap('none', 0, '1 day', at => '2026-01-05');
	RAISE NOTICE '%', shop.decide();
	BEGIN
		PERFORM journey.drop_cap('none');
		RAISE NOTICE '%', shop.decide();
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		NULL;
	END;
	RAISE NOTICE '%', shop.decide();
	DELETE FROM journey.cap;
	RAISE NOTICE '%', shop.decide();
END
$$;
-- a hold, which knows journeys
BEGIN;
SELECT journey.create_hold('h', journey => 'other', at => '2026-01-05');
SELECT shop.decide();
SELECT journey.drop_journey('other');
SELECT shop.decide();
ROLLBACK;
SELECT shop.decide();
-- a topic, which obeys caps or does not
BEGIN;
SELECT journey.create_cap('none', 0, '1 day', at => '2026-01-05');
SELECT shop.decide();
UPDATE journey.topic SET obeys_caps = false WHERE name = 'promotions';
SELECT shop.decide();
ROLLBACK;
SELECT shop.decide();

--
-- an error while they are read: the next call reads, and does not go by what was
--
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');
RESET SESSION AUTHORIZATION;
ALTER TABLE journey.quiet_hours RENAME TO away;
SET SESSION AUTHORIZATION shop;
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');
RESET SESSION AUTHORIZATION;
ALTER TABLE journey.away RENAME TO quiet_hours;
REVOKE SELECT ON journey.quiet_hours FROM shop;
SET SESSION AUTHORIZATION shop;
\set VERBOSITY terse
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
GRANT SELECT ON journey.quiet_hours TO shop;
SET SESSION AUTHORIZATION shop;
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');

--
-- the extension is dropped and made again
--
SELECT count(*) FROM journey.preview_cap('none', 1, '1 day', at => '2026-01-05');
\i :shop
SET timezone = 'UTC';
SELECT count(*) FROM journey.preview_cap('none', 1, '1 day', at => '2026-01-05');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');
SELECT journey.create_quiet_hours('morning', '09:00', '12:00', at => '2026-01-05');
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');
BEGIN;
SELECT journey.drop_quiet_hours('morning');
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');
ROLLBACK;
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-05 10:00');
-- one of each is left
RESET SESSION AUTHORIZATION;
SELECT ident, count(*) FROM pg_backend_memory_contexts WHERE name = 'pg_journey definitions' GROUP BY ident ORDER BY ident COLLATE "C";
