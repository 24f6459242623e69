--
-- The box that what authors wrote runs in.  Every attack is SQL or a function
-- of the journey owner, evaluated as the engine does.  The door is a test
-- library (test/modules/box_test); the extension itself is not needed.
--
\getenv builddir PG_ABS_BUILDDIR
\set library :builddir '/test/modules/box_test/box_test.so'
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA IF EXISTS box CASCADE;
DROP ROLE IF EXISTS box_owner;
DROP ROLE IF EXISTS box_other;
CREATE ROLE box_owner LOGIN;
CREATE ROLE box_other;
CREATE SCHEMA box AUTHORIZATION box_owner;
CREATE FUNCTION box.run(sql text, role text DEFAULT 'box_owner', version int DEFAULT 1, expression int DEFAULT 1)
	RETURNS text AS :'library', 'box_test_run' LANGUAGE C;
CREATE FUNCTION box.repeat(sql text, role text, n int)
	RETURNS void AS :'library', 'box_test_repeat' LANGUAGE C;
RESET client_min_messages;
SET SESSION AUTHORIZATION box_owner;

-- an honest expression
SELECT box.run($$ SELECT current_user || ' ' || current_setting('search_path') || ' ' || current_setting('transaction_read_only') $$);
-- an error is handed back, and the transaction goes on
BEGIN;
SELECT box.run($$ SELECT 1/0 $$);
SELECT box.run($$ SELECT nonsense $$);
SELECT current_setting('transaction_read_only'), current_user;
COMMIT;
-- it sees what this transaction wrote
CREATE TABLE box.note (n int);
BEGIN;
INSERT INTO box.note VALUES (1);
SELECT box.run($$ SELECT count(*) FROM box.note $$);
ROLLBACK;

-- C01: writes, and triggers that would run at commit
CREATE FUNCTION box.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE WARNING 'trigger ran as %', current_user; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON box.note DEFERRABLE INITIALLY DEFERRED
	FOR EACH ROW EXECUTE FUNCTION box.at_commit();
CREATE FUNCTION box.act(command text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN EXECUTE command; RETURN 'done'; END $$;
CREATE FUNCTION box.attack(command text) RETURNS text LANGUAGE sql AS $$ SELECT box.run(pg_catalog.format('SELECT box.act(%L)', command)) $$;
SELECT command, box.attack(command) FROM (VALUES
	('INSERT INTO box.note VALUES (1)'),
	('UPDATE box.note SET n = 2'),
	('DELETE FROM box.note'),
	('TRUNCATE box.note'),
	('CREATE TABLE box.planted (n int)'),
	('DROP TABLE box.note'),
	('CREATE FUNCTION box.f() RETURNS int LANGUAGE sql AS ''SELECT 1'''),
	('GRANT ALL ON box.note TO PUBLIC'),
	('SET TRANSACTION READ WRITE'),
	('SELECT set_config(''transaction_read_only'', ''off'', true)'),
	('SELECT set_config(''transaction_isolation'', ''serializable'', true)'),
	('ALTER ROLE box_owner SET work_mem = ''1MB''')) v (command);

-- C02: what would outlive the evaluation
SELECT command, box.attack(command) FROM (VALUES
	('DECLARE held CURSOR WITH HOLD FOR SELECT 1'),
	('PREPARE p AS SELECT 1'),
	('DEALLOCATE ALL'),
	('DISCARD ALL'),
	('LISTEN box'),
	('UNLISTEN *'),
	('CREATE TEMP TABLE planted (n int)'),
	('COMMIT'),
	('ROLLBACK'),
	('SAVEPOINT s'),
	('DO ''BEGIN COMMIT; END''')) v (command);
SELECT count(*) FROM pg_prepared_statements;
SELECT count(*) FROM pg_cursors;
SELECT box.run('COMMIT');
SELECT box.run($$ SELECT 1; COMMIT; SELECT 2 $$);

-- C03: other roles
SELECT command, box.attack(command) FROM (VALUES
	('SET ROLE NONE'),
	('SET ROLE box_other'),
	('RESET ROLE'),
	('SET SESSION AUTHORIZATION DEFAULT'),
	('SET SESSION AUTHORIZATION box_other'),
	('RESET SESSION AUTHORIZATION'),
	('RESET ALL'),
	('SELECT set_config(''role'', ''none'', false)'),
	('SELECT set_config(''session_authorization'', ''default'', false)')) v (command);
SELECT session_user, current_user;

-- C04: every setting a user can change, changed inside; none is changed outside
-- (exit_on_error makes the next error end the session: see test/t/020_box.pl)
CREATE FUNCTION box.shuffle() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	s record;
	changed bigint := 0;
BEGIN
	FOR s IN
		SELECT name, vartype, setting, min_val, max_val, enumvals FROM pg_settings
		WHERE context = 'user' AND name NOT IN ('role', 'session_authorization', 'exit_on_error') ORDER BY name
	LOOP
		BEGIN
			PERFORM set_config(s.name,
				CASE s.vartype
					WHEN 'bool' THEN CASE s.setting WHEN 'on' THEN 'off' ELSE 'on' END
					WHEN 'enum' THEN CASE s.name WHEN 'client_min_messages' THEN 'warning' ELSE (SELECT v FROM unnest(s.enumvals) v WHERE v <> s.setting LIMIT 1) END
					WHEN 'string' THEN CASE s.name WHEN 'TimeZone' THEN 'Asia/Tokyo' WHEN 'DateStyle' THEN 'German' WHEN 'search_path' THEN 'box' ELSE s.setting || 'x' END
					ELSE CASE WHEN s.setting = s.max_val THEN s.min_val ELSE s.max_val END
				END, false);
			changed := changed + 1;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END LOOP;
	RETURN changed;
END $$;
RESET SESSION AUTHORIZATION;
SET box_test.timeout = '60s';
SET SESSION AUTHORIZATION box_owner;
SET client_min_messages = error;
CREATE TEMP TABLE settings_before AS SELECT name, setting, source FROM pg_settings;
SELECT box.run('SELECT box.shuffle() > 100');
SELECT name, setting FROM (SELECT name, setting, source FROM pg_settings EXCEPT SELECT * FROM settings_before) changed;
-- an error after the changes makes no difference
SELECT box.run('SELECT box.shuffle() / 0');
SELECT name, setting FROM (SELECT name, setting, source FROM pg_settings EXCEPT SELECT * FROM settings_before) changed;
RESET client_min_messages;
-- nor is there a way to add one
SELECT box.run($$ SELECT set_config('box.planted', 'x', false) $$);
SELECT current_setting('box.planted', true);

-- C05: functions, operators and relations planted in front of the server's own
CREATE FUNCTION box.lower(text) RETURNS text LANGUAGE sql AS $$ SELECT 'planted' $$;
CREATE FUNCTION box.now() RETURNS timestamptz LANGUAGE sql AS $$ SELECT 'infinity'::timestamptz $$;
CREATE FUNCTION box.always(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
CREATE OPERATOR box.= (FUNCTION = box.always, LEFTARG = text, RIGHTARG = text);
CREATE TEMP TABLE pg_class AS SELECT 'planted'::text AS relname;
SET search_path = box, pg_temp, pg_catalog;
SELECT lower('X'), 'a'::text = 'b'::text, isfinite(now()), (SELECT min(relname) FROM pg_class);
SELECT box.run($$ SELECT concat_ws(' ', lower('X'), 'a'::text = 'b'::text, isfinite(now()), (SELECT relname FROM pg_class WHERE relname = 'pg_proc')) $$);
RESET search_path;
DROP TABLE pg_temp.pg_class;

-- C10: row-level security applies to the owner like to anybody
RESET SESSION AUTHORIZATION;
CREATE TABLE box.secret (who name, what text);
INSERT INTO box.secret VALUES ('box_owner', 'mine'), ('box_other', 'not mine');
ALTER TABLE box.secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON box.secret USING (who = current_user);
GRANT SELECT ON box.secret TO box_owner, box_other;
GRANT USAGE ON SCHEMA box TO box_other;
SET SESSION AUTHORIZATION box_owner;
SELECT box.run($$ SELECT string_agg(what, ',') FROM box.secret $$);
SET row_security = off;
SELECT box.run($$ SELECT string_agg(what, ',') FROM box.secret $$);
RESET row_security;
SELECT box.attack($$ SET row_security = off; SELECT * FROM box.secret $$);
-- the same text for two owners in turn: no plan of one serves the other
RESET SESSION AUTHORIZATION;
SELECT role, what, count(*) FROM (
	SELECT role, box.run($$ SELECT string_agg(what, ',') FROM box.secret $$, role) AS what
	FROM generate_series(1, 200) i, unnest(ARRAY['box_owner', 'box_other']) role) t
GROUP BY role, what ORDER BY role;
SET SESSION AUTHORIZATION box_owner;

-- C15: what never ends
RESET SESSION AUTHORIZATION;
SET box_test.timeout = '200ms';
SET SESSION AUTHORIZATION box_owner;
CREATE FUNCTION box.loop_for_ever() RETURNS text LANGUAGE plpgsql AS $$ BEGIN LOOP NULL; END LOOP; END $$;
CREATE FUNCTION box.catch_once() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN RETURN 'caught'; END $$;
CREATE FUNCTION box.pretend() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE query_canceled; END $$;
SELECT box.run('SELECT pg_sleep(60)');
SELECT box.run('SELECT box.loop_for_ever()');
SELECT box.run('SELECT count(*) FROM generate_series(1, 1000000000000)');
SELECT box.run('SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b');
SELECT box.run($$ SELECT repeat('a', 300) || 'b' || repeat('a', 299) ~ '^(a*)(a*)(a*)(a*)(a*)b\5\4\3\2\1$' $$);
SELECT box.run($$ WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n FROM r) SELECT count(*) FROM r $$);
-- caught once, and then it ended: that is a result
SELECT box.run('SELECT box.catch_once()');
-- an error that only looks like a cancellation
SELECT box.run('SELECT box.pretend()');
-- a cancellation that is not the box's own goes on, swallowed or not
RESET SESSION AUTHORIZATION;
SET box_test.timeout = '60s';
SET SESSION AUTHORIZATION box_owner;
SET statement_timeout = '200ms';
SELECT box.run('SELECT pg_sleep(60)');
SELECT box.run('SELECT box.catch_once()');
RESET statement_timeout;

-- C17: locks and signals
SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2, 2);
-- (pg_logical_emit_message() has a fourth argument since PostgreSQL 17)
SELECT call, replace(box.run('SELECT ' || call), 'text,text,boolean', 'text,text') AS run FROM (VALUES
	('pg_advisory_lock(42)'), ('pg_advisory_lock(4, 2)'), ('pg_advisory_lock_shared(42)'), ('pg_advisory_lock_shared(4, 2)'),
	('pg_try_advisory_lock(42)'), ('pg_try_advisory_lock(4, 2)'), ('pg_try_advisory_lock_shared(42)'), ('pg_try_advisory_lock_shared(4, 2)'),
	('pg_advisory_unlock(1)'), ('pg_advisory_unlock(1, 1)'), ('pg_advisory_unlock_shared(1)'), ('pg_advisory_unlock_shared(2, 2)'),
	('pg_advisory_unlock_all()'),
	('pg_cancel_backend(pg_backend_pid())'), ('pg_terminate_backend(pg_backend_pid())'),
	('pg_logical_emit_message(false, ''a'', ''b''::text)'),
	('pg_try_advisory_xact_lock(42)')) v (call);
-- a detour by an operator or dynamic SQL does not help
CREATE OPERATOR box.!!! (FUNCTION = pg_catalog.pg_try_advisory_lock, RIGHTARG = bigint);
SELECT box.run('SELECT OPERATOR(box.!!!) 42::bigint');
SELECT box.attack('SELECT pg_advisory_lock(42)');
SELECT box.run('SELECT sum(n) FROM (SELECT 1 AS n FROM pg_class WHERE pg_try_advisory_lock(42)) s');
-- what the session held it still holds, and nothing more
SELECT classid, objid, mode FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1, 2;
SELECT pg_advisory_unlock_all();
BEGIN;
SELECT box.attack('LOCK TABLE box.note IN ACCESS EXCLUSIVE MODE');
SELECT box.attack('SELECT * FROM box.note FOR UPDATE');
SELECT count(*) FROM pg_locks WHERE relation = 'box.note'::regclass AND mode = 'AccessExclusiveLock';
COMMIT;
LISTEN box;
SELECT box.run($$ SELECT pg_notify('box', 'planted') $$);
SELECT box.attack($$ NOTIFY box, 'planted' $$);
SELECT pg_notification_queue_usage();
UNLISTEN box;

-- memory: an error, not a crash; also where it is caught and the stack then grows
RESET SESSION AUTHORIZATION;
SET box_test.timeout = '60s';
SET box_test.memory = '64MB';
SET SESSION AUTHORIZATION box_owner;
CREATE FUNCTION box.bomb() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE a text[];
BEGIN SELECT array_agg(repeat('x', 1000) || i) INTO a FROM generate_series(1, 1000000) i; RETURN array_length(a, 1); END $$;
CREATE FUNCTION box.deep(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN box.deep(n + 1); END $$;
CREATE FUNCTION box.fill_then_deep() RETURNS int LANGUAGE plpgsql AS $$
DECLARE a text := ''; size int := 16777216;
BEGIN
	WHILE size > 1024 LOOP
		BEGIN a := a || repeat('x', size); EXCEPTION WHEN out_of_memory THEN size := size / 2; END;
	END LOOP;
	RETURN box.deep(0);
END $$;
SELECT box.run('SELECT box.bomb()');
SELECT box.run('SELECT box.bomb()');
SELECT left(box.run('SELECT box.deep(0)'), 40);
SELECT split_part(box.run('SELECT box.fill_then_deep()'), ':', 1) IN ('54001', '53200');
SELECT replace(box.run($$ SELECT count(*) FROM (SELECT repeat('x', 200) || i AS s FROM generate_series(1, 3000000) i ORDER BY 1) s $$), '"', '') AS run; -- quoted since 18
-- outside the box the session is as free as before
SELECT length(repeat('x', 200000000));

-- no evaluation within an evaluation
SELECT box.run($$ SELECT box.run('SELECT 1') $$);

-- nothing grows with the number of evaluations, failed or not
CREATE FUNCTION box.memory() RETURNS bigint LANGUAGE sql AS $$ SELECT sum(total_bytes)::bigint FROM pg_backend_memory_contexts $$;
RESET SESSION AUTHORIZATION;
SELECT box.repeat('SELECT 1', 'box_owner', 100), box.repeat('SELECT 1/0', 'box_owner', 100);
SELECT box.memory() AS before \gset
SELECT box.repeat('SELECT 1', 'box_owner', 5000), box.repeat('SELECT 1/0', 'box_owner', 5000);
SELECT box.memory() - :before < 65536;

SET client_min_messages = warning;
DROP SCHEMA box CASCADE;
DROP TABLE settings_before;
DROP ROLE box_owner;
DROP ROLE box_other;
