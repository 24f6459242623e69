/*
 * :contacts wait, :due of them for the next hour.  Ten hours of pure steps (a wait ends, the
 * next begins), then five hours that send, each after one that warms up.  The same rows as plain SQL: a table with
 * an index on the time, updated; and for messages a row into each of two tables.
 * The two sides take turns of several rounds, so that neither works in the other's caches at every turn; every
 * round is timed alone, and bench.result of this database keeps them all.
 */
\set ON_ERROR_STOP on
SET SESSION AUTHORIZATION shop;
SELECT journey.create_journey('due', 'ON EVENT started TOPIC promotions '
	|| repeat(E'WAIT ''1 hour'';\n', 11) || repeat(E'WAIT ''1 hour'';\nSEND email hello;\n', 6) || 'WAIT ''1 hour'';') \g /dev/null
SELECT journey.create_journey('waiting', 'ON EVENT later TOPIC promotions WAIT ''30 days''; SEND email hello;') \g /dev/null
SELECT journey.activate('due') \g /dev/null
SELECT journey.activate('waiting') \g /dev/null

CREATE TABLE bench.plain (contact bigint PRIMARY KEY, step integer NOT NULL, wake_at timestamptz NOT NULL);
CREATE INDEX ON bench.plain (wake_at);
CREATE TABLE bench.plain_message (message_id bigint GENERATED ALWAYS AS IDENTITY, contact bigint, decided_at timestamptz, channel text, template text, status text,
	PRIMARY KEY (contact, decided_at, message_id));
CREATE TABLE bench.plain_verdict (verdict_id bigint GENERATED ALWAYS AS IDENTITY, contact bigint, at timestamptz, verdict text, evidence jsonb, PRIMARY KEY (contact, at, verdict_id));
CREATE TABLE bench.result (what text, rows bigint, ms float8);

CREATE PROCEDURE bench.run(contacts bigint, due bigint) LANGUAGE plpgsql AS $$
DECLARE
	t0 timestamptz := '2026-01-01';
	started timestamptz;
	steps bigint;
	messages bigint;
	at timestamptz;
BEGIN
	-- everybody enters
	started := clock_timestamp();
	INSERT INTO bench.happening SELECT id, CASE WHEN id % (contacts / due) = 0 THEN 'started' ELSE 'later' END, t0 FROM bench.contact;
	COMMIT;
	INSERT INTO bench.result VALUES ('capture', contacts, extract(epoch FROM clock_timestamp() - started) * 1000);
	started := clock_timestamp();
	steps := 0; messages := 0;
	CALL bench.tick(t0, steps, messages);
	INSERT INTO bench.result VALUES ('enter', contacts, extract(epoch FROM clock_timestamp() - started) * 1000);
	INSERT INTO bench.plain SELECT contact, 1, t0 + CASE WHEN name = 'started' THEN interval '1 hour' ELSE interval '30 days' END FROM bench.happening;
	COMMIT;
	IF (SELECT count(*) FROM journey_state.enrollment WHERE status = 'active') <> contacts THEN
		RAISE EXCEPTION 'not every contact entered';
	END IF;
END
$$;

CREATE PROCEDURE bench.tick_rounds(due bigint, first integer, last integer) LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz;
	steps bigint;
	messages bigint;
	what text := CASE WHEN first = 1 THEN 'steps' ELSE 'messages' END;
BEGIN
	FOR hour IN first .. last LOOP
		steps := 0; messages := 0;
		started := clock_timestamp();
		CALL bench.tick(timestamptz '2026-01-01' + hour * interval '1 hour', steps, messages);
		IF hour > first THEN	-- the first one warms up
			INSERT INTO bench.result VALUES (what, due, extract(epoch FROM clock_timestamp() - started) * 1000);
		END IF;
		IF messages <> (CASE what WHEN 'steps' THEN 0 ELSE due END) THEN
			RAISE EXCEPTION 'hour %: % messages', hour, messages;
		END IF;
		COMMIT;
	END LOOP;
END
$$;

CREATE PROCEDURE bench.plain_rounds(due bigint, first integer, last integer) LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz;
	at timestamptz;
	what text := CASE WHEN first = 1 THEN 'plain steps' ELSE 'plain messages' END;
BEGIN
	FOR hour IN first .. last LOOP
		at := timestamptz '2026-01-01' + hour * interval '1 hour';
		started := clock_timestamp();
		UPDATE bench.plain SET step = step + 1, wake_at = wake_at + interval '1 hour' WHERE wake_at <= at;
		IF what = 'plain messages' THEN
			INSERT INTO bench.plain_message (contact, decided_at, channel, template, status)
				SELECT contact, at, 'email', 'hello', 'pending' FROM bench.plain WHERE wake_at = at + interval '1 hour';
			INSERT INTO bench.plain_verdict (contact, at, verdict, evidence)
				SELECT contact, at, 'sent', '{"consent": true, "cap": {"daily": 1}}' FROM bench.plain WHERE wake_at = at + interval '1 hour';
		END IF;
		COMMIT;
		IF hour > first THEN	-- the first one warms up
			INSERT INTO bench.result VALUES (what, due, extract(epoch FROM clock_timestamp() - started) * 1000);
		END IF;
	END LOOP;
END
$$;

CALL bench.run(:contacts, :due);
RESET SESSION AUTHORIZATION;
VACUUM ANALYZE;
CHECKPOINT;
SET SESSION AUTHORIZATION shop;
CALL bench.tick_rounds(:due, 1, 11);
CALL bench.plain_rounds(:due, 1, 11);
CALL bench.tick_rounds(:due, 12, 17);
CALL bench.plain_rounds(:due, 12, 17);
