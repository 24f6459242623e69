-- a capture that fails never fails the shop
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set VERBOSITY terse
SET timezone = 'UTC';
CREATE FUNCTION shop.errors(OUT capture_id int, OUT sqlstate text, OUT message text, OUT old_row jsonb, OUT new_row jsonb) RETURNS SETOF record
	LANGUAGE sql AS $$ SELECT capture_id, sqlstate, message, old_row, new_row FROM journey_state.capture_error ORDER BY error_id $$;
CREATE TYPE shop.mood AS ENUM ('sad', 'glad');
CREATE TABLE shop.payments (id int, who text, amount numeric, divisor int, at timestamptz, extra jsonb, mood shop.mood, tags text[], f float8, j json, b bytea);
SELECT journey.capture('paid', 'shop.payments', 'who', 'at',
	$$ coalesce(new.extra, jsonb_build_object('share', new.amount / new.divisor)) $$, 'new.amount IS NOT NULL');

-- bad rows among good ones, each told apart
INSERT INTO shop.payments (id, who, amount, divisor, at, extra) VALUES
	(1, '1', 10, 2, '2026-01-01', NULL),
	(2, '2', 10, 0, '2026-01-01', NULL),
	(3, 'three', 10, 2, '2026-01-01', NULL),
	(4, NULL, 10, 2, '2026-01-01', NULL),
	(5, NULL, NULL, 0, '2026-01-01', NULL),
	(6, '6', 10, 2, 'infinity', NULL),
	(7, '7', 10, 2, '2026-01-01', '[1]'),
	(8, '8', 10, 2, '2026-01-01', '"text"'),
	(9, '9', 10, 2, '2026-01-01', jsonb_build_object('long', repeat('x', 300000))),
	(10, '10', 10, 4, '2026-01-01', NULL);
SELECT count(*) FROM shop.payments;
SELECT contact, properties FROM journey_state.event ORDER BY event_id;
SELECT sqlstate, message, new_row->>'id' AS id FROM shop.errors();

-- what can be repaired is recorded on the second try, the rest stays
UPDATE journey_state.capture_error SET new_row = new_row || '{"divisor": 5}' WHERE message = 'division by zero';
UPDATE journey_state.capture_error SET new_row = new_row || '{"who": "33"}' WHERE new_row->>'who' = 'three';
SELECT * FROM journey.retry_capture_errors(1);
SELECT contact, at, properties FROM journey_state.event ORDER BY event_id;
SELECT sqlstate, message, new_row->>'id' AS id FROM shop.errors();
SELECT * FROM journey.retry_capture_errors(99);
TRUNCATE journey_state.event, journey_state.capture_error;

-- every value of a row comes back
ALTER TABLE shop.payments DROP COLUMN amount;
ALTER TABLE shop.payments ADD COLUMN amount numeric;
SELECT journey.drop_capture('paid', 'shop.payments');
SELECT journey.capture('paid_again', 'shop.payments', '1 / new.divisor', properties => 'to_jsonb(new)', operations => 'INSERT OR UPDATE') AS paid_again \gset
SET datestyle = 'German, DMY';
INSERT INTO shop.payments VALUES (1, E'o''Neill "q" \\ \n', 0, '2026-02-01 12:00+00', '{"a": [1, {"b": null}]}', 'glad', '{a,"b c",NULL}', 'NaN', '{"x":  1}', '\x00ff', 'Infinity');
RESET datestyle;
SELECT * FROM shop.errors();
UPDATE journey_state.capture_error SET new_row = new_row || '{"divisor": 1}';
SELECT * FROM journey.retry_capture_errors(:paid_again);
SELECT e.properties = to_jsonb(p) || '{"divisor": 1}' AS same, contact FROM journey_state.event e, shop.payments p WHERE p.mood IS NOT NULL;
TRUNCATE journey_state.event, shop.payments;

-- an update keeps both rows
INSERT INTO shop.payments (id, divisor) VALUES (1, 1), (2, 1);
SELECT journey.capture('changed', 'shop.payments', '1 / (new.divisor - old.divisor)', $$ '2026-01-01' $$, operations => 'UPDATE') AS changed \gset
UPDATE shop.payments SET divisor = id;
SELECT contact, name FROM journey_state.event WHERE name = 'changed';
SELECT message, old_row->>'divisor' AS old, new_row->>'divisor' AS new FROM shop.errors();
SELECT * FROM journey.retry_capture_errors(:changed);
UPDATE journey_state.capture_error SET old_row = old_row || '{"divisor": 0}';
SELECT * FROM journey.retry_capture_errors(:changed);
SELECT contact, at FROM journey_state.event WHERE name = 'changed';
SELECT count(*) FROM shop.errors();
SELECT journey.drop_capture('changed', 'shop.payments');
SELECT journey.drop_capture('paid_again', 'shop.payments');
TRUNCATE journey_state.event, journey_state.capture_error, shop.payments;

-- many bad rows: the bad are told from the good up to a limit, and nothing is lost
SELECT journey.capture('many', 'shop.payments', '7 / new.divisor') AS many \gset
INSERT INTO shop.payments (id, divisor) SELECT i, CASE WHEN i % 100 = 0 THEN 0 ELSE 1 END FROM generate_series(1, 10000) i;
SELECT count(*) FROM journey_state.event;
SELECT sqlstate, message, count(*) FROM shop.errors() GROUP BY 1, 2;
TRUNCATE journey_state.event, journey_state.capture_error;
INSERT INTO shop.payments (id, divisor) SELECT i, 0 FROM generate_series(1, 5000) i;
SELECT count(*) FROM journey_state.event;
SELECT sqlstate, message, count(*) FROM shop.errors() GROUP BY 1, 2 ORDER BY 1;
SELECT count(DISTINCT new_row->>'id') FROM journey_state.capture_error;
TRUNCATE journey_state.event, journey_state.capture_error;

-- a column an expression used is gone: the shop goes on, and so do other captures
SELECT journey.capture('other', 'shop.payments', 'new.id') AS other \gset
ALTER TABLE shop.payments DROP COLUMN divisor;
INSERT INTO shop.payments (id) VALUES (1), (2);
SELECT name, contact FROM journey_state.event;
SELECT sqlstate, message FROM shop.errors();
ALTER TABLE shop.payments ADD COLUMN divisor int DEFAULT 7;
SELECT * FROM journey.retry_capture_errors(:many);
UPDATE journey_state.capture_error SET new_row = new_row || '{"divisor": 7}';
SELECT * FROM journey.retry_capture_errors(:many);
INSERT INTO shop.payments (id) VALUES (3);
SELECT name, contact FROM journey_state.event ORDER BY event_id;
TRUNCATE journey_state.event, journey_state.capture_error;
SELECT journey.drop_capture('many', 'shop.payments');

-- what an expression does stays in the box
CREATE TABLE shop.victim (x int);
CREATE FUNCTION shop.evil(text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE $1;
	RETURN 1;
END $$;
SELECT journey.capture('evil', 'shop.payments', 'shop.evil(new.who)') AS evil \gset
RESET SESSION AUTHORIZATION;
CREATE ROLE app LOGIN;
GRANT USAGE ON SCHEMA shop TO app;
GRANT INSERT ON shop.payments TO app;
SET SESSION AUTHORIZATION app;
INSERT INTO shop.payments (id, who) VALUES
	(1, 'INSERT INTO shop.victim VALUES (1)'),
	(2, 'SET ROLE app'),
	(3, 'CREATE TEMP TABLE t (x int)'),
	(4, 'NOTIFY x'),
	(5, $$SELECT set_config('work_mem', '123MB', false)$$),
	(6, 'SELECT 1 FROM shop.victim'),
	(7, 'SET SESSION AUTHORIZATION DEFAULT');
SHOW work_mem;
SELECT current_user;
RESET SESSION AUTHORIZATION;
SELECT name, contact FROM journey_state.event ORDER BY event_id;
SET SESSION AUTHORIZATION shop;
SELECT sqlstate, message, new_row->>'who' AS who FROM shop.errors();
SELECT count(*) FROM shop.victim;
SELECT journey.drop_capture('evil', 'shop.payments');
TRUNCATE journey_state.event, journey_state.capture_error;

-- no author's text in a superuser's session: its rows wait for a member
RESET SESSION AUTHORIZATION;
INSERT INTO shop.payments (id, at) VALUES (7, '2026-01-07');
SELECT sqlstate, message, new_row->>'id' AS id FROM shop.errors();
SELECT * FROM journey.retry_capture_errors(:other);
SET SESSION AUTHORIZATION shop;
SELECT * FROM journey.retry_capture_errors(:other);
SELECT contact, name, clock_timestamp() - at BETWEEN interval '0' AND interval '1 hour' AS recent FROM journey_state.event;
SELECT count(*) FROM shop.errors();

-- the shop's cancel still cancels
SELECT journey.capture('slow', 'shop.orders', 'new.customer_id', 'created_at', $$ jsonb_build_object('slept', pg_sleep(100)::text) $$) AS slow \gset
SET statement_timeout = '100ms';
INSERT INTO shop.orders VALUES (1, 1, 1, '2026-01-01');
RESET statement_timeout;
SELECT count(*) FROM shop.orders;
RESET SESSION AUTHORIZATION;
ALTER ROLE app SET pg_journey.expression_timeout = '50ms';
SET pg_journey.expression_timeout = '50ms';
GRANT INSERT ON shop.orders TO app;
SET SESSION AUTHORIZATION app;
INSERT INTO shop.orders SELECT i, 1, 1, '2026-01-01' FROM generate_series(1, 3) i;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM shop.orders;
SELECT sqlstate, message, new_row->>'id' AS id FROM shop.errors();
DROP OWNED BY app;
DROP ROLE app;
