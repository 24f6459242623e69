--
-- Attacks on the engine by what a journey calls (FAULTS C): each function of the
-- owner is called from ON EVENT ... WHERE, by journey.tick().  What the box itself
-- refuses is in box.sql; here nothing may be left behind in the session that ticks.
--
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
RESET SESSION AUTHORIZATION;
SET pg_journey.expression_timeout = '500ms';
SET pg_journey.expression_memory = '64MB';
SET SESSION AUTHORIZATION shop;
SET client_min_messages = warning;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello', body => 'Hello');
CREATE TABLE shop.note (n int);
CREATE FUNCTION shop.act(command text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; RETURN true; END $$;
-- the check refuses volatile functions; a stable one that hides a volatile one gets through
SELECT journey.create_journey('attack', $$ ON EVENT attack WHERE shop.act(event.properties->>'command') TOPIC service SEND email hello; $$);
CREATE FUNCTION shop.innocent(command text) RETURNS boolean LANGUAGE sql STABLE AS $$ SELECT true $$;
CREATE OR REPLACE FUNCTION shop.innocent(command text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN shop.act(command); END $$;
SELECT journey.create_journey('attack', $$ ON EVENT attack WHERE shop.innocent(event.properties->>'command') TOPIC service SEND email hello; $$);
SELECT journey.create_journey('honest', $$ ON EVENT attack TOPIC service SEND email hello; $$);
SELECT journey.activate('attack'), journey.activate('honest');

CREATE TEMP TABLE attack (contact bigint GENERATED ALWAYS AS IDENTITY, command text);
INSERT INTO attack (command) VALUES
	('INSERT INTO shop.note VALUES (1)'),
	('DELETE FROM journey_state.event'),
	('SET ROLE postgres'),
	('RESET SESSION AUTHORIZATION'),
	('DECLARE held CURSOR WITH HOLD FOR SELECT 1'),
	('PREPARE p AS SELECT 1'),
	('SELECT set_config(''search_path'', ''shop'', false)'),
	('SELECT set_config(''TimeZone'', ''Asia/Tokyo'', false)'),
	('SELECT set_config(''transform_null_equals'', ''on'', false)'),
	('SELECT pg_advisory_lock(1)'),
	('NOTIFY journey_outbox, ''planted'''),
	('LOCK TABLE shop.note'),
	('SELECT pg_sleep(60)'),
	('DO ''BEGIN LOOP NULL; END LOOP; END'''),
	('SELECT * FROM journey.tick()'),
	('SELECT 1/0'),
	('SELECT length(repeat(''x'', 300000000))');
-- (how many there are depends on how the server was built)
\set QUIET on
CREATE TEMP TABLE settings_before AS SELECT name, setting, source FROM pg_settings;
\set QUIET off
SELECT count(journey.track(contact, 'attack', jsonb_build_object('command', command), at => '2026-01-01')) FROM attack WHERE contact < 17;
-- all in one batch: one attack's error must not hide the next
SELECT events > 0 AS worked FROM journey.tick('2026-01-02');
-- apart, because a batch that timed out too often gives up on the rest of it
SELECT count(journey.track(contact, 'attack', jsonb_build_object('command', command), at => '2026-01-01')) FROM attack WHERE contact = 17;
SELECT events > 0 AS worked FROM journey.tick('2026-01-02');
SELECT a.command, coalesce(r.reason || ': ' || r.detail, CASE WHEN n.contact IS NULL THEN 'no run' ELSE 'enrolled' END) AS outcome
FROM attack a
LEFT JOIN journey_state.refusal r ON r.contact = a.contact AND r.journey_id = (SELECT journey_id FROM journey.journey WHERE name = 'attack')
LEFT JOIN journey_state.enrollment n ON n.contact = a.contact AND n.journey_id = (SELECT journey_id FROM journey.journey WHERE name = 'attack')
ORDER BY a.contact;

-- nobody else's run was touched, and nothing was left behind
SELECT count(*), sum((status = 'completed')::int) AS completed FROM journey_state.enrollment WHERE journey_id = (SELECT journey_id FROM journey.journey WHERE name = 'honest');
SELECT name, setting FROM (SELECT name, setting, source FROM pg_settings EXCEPT SELECT * FROM settings_before) changed;
SELECT session_user, current_user, current_setting('transaction_read_only');
SELECT (SELECT count(*) FROM shop.note) AS notes, (SELECT count(*) FROM pg_prepared_statements) AS prepared, (SELECT count(*) FROM pg_cursors WHERE is_holdable) AS held,
	(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS advisory;
