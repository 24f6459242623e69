/*
 * :caps caps that all hold and none of which is full.  Either :contacts runs
 * come to a SEND at once, seven times, a day apart, beside the same rows of
 * message, outbox and verdict put into tables of the same shape by INSERT …
 * SELECT; or :single times one run does, of one of :people contacts each of whom
 * has had :history messages: ten of them in the last month, the others before.
 */
\set ON_ERROR_STOP on
SET SESSION AUTHORIZATION shop;
SELECT journey.drop_cap('daily') \g /dev/null
SELECT journey.create_cap('cap ' || i, 1000 + i, CASE WHEN i % 3 <> 0 THEN i * interval '1 day' END, CASE WHEN i % 3 = 0 THEN 'week' END,
	channels => CASE WHEN i % 2 = 0 THEN '{email}'::text[] END, classes => CASE WHEN i % 5 = 0 THEN '{promotional}'::text[] END, at => '2025-01-01')
FROM generate_series(1, :caps) i \g /dev/null
SELECT journey.create_journey('send', 'ON EVENT started TOPIC promotions ' || repeat('WAIT ''1 day''; SEND email hello; ', 7)) \g /dev/null
SELECT journey.activate('send') \g /dev/null
SELECT journey.create_journey('one', 'ON EVENT one KEY event.properties->>''k'' TOPIC promotions SEND email hello;') \g /dev/null
SELECT journey.activate('one') \g /dev/null
CREATE TABLE bench.result (what text, ms float8);
CREATE TABLE bench.message (LIKE journey_state.message INCLUDING ALL);
CREATE TABLE bench.outbox (LIKE journey_state.outbox INCLUDING ALL);
CREATE TABLE bench.verdict (LIKE journey_state.verdict INCLUDING ALL);

CREATE PROCEDURE bench.days(contacts bigint) LANGUAGE plpgsql AS $$
DECLARE
	t0 timestamptz := '2026-01-01';
	now_at timestamptz;
	started timestamptz;
	steps bigint;
	messages bigint;
BEGIN
	INSERT INTO bench.happening SELECT id, 'started', t0 FROM bench.contact;
	COMMIT;
	steps := 0; messages := 0;
	CALL bench.tick(t0, steps, messages);
	FOR day IN 1 .. 7 LOOP
		now_at := t0 + day * interval '1 day';
		steps := 0; messages := 0;
		started := clock_timestamp();
		CALL bench.tick(now_at, steps, messages);
		INSERT INTO bench.result SELECT 'decide', extract(epoch FROM clock_timestamp() - started) * 1000 WHERE day > 2;
		IF messages <> contacts THEN
			RAISE EXCEPTION 'day %: % messages', day, messages;
		END IF;
		started := clock_timestamp();
		INSERT INTO bench.message SELECT * FROM journey_state.message m WHERE m.decided_at = now_at;
		INSERT INTO bench.outbox SELECT * FROM journey_state.outbox o WHERE o.available_at = now_at;
		INSERT INTO bench.verdict SELECT * FROM journey_state.verdict v WHERE v.at = now_at;
		COMMIT;
		INSERT INTO bench.result SELECT 'plain', extract(epoch FROM clock_timestamp() - started) * 1000 WHERE day > 2;
	END LOOP;
END
$$;

CREATE PROCEDURE bench.one_by_one(people integer, history integer, single integer) LANGUAGE plpgsql AS $$
DECLARE
	t0 timestamptz := '2026-01-01';
	now_at timestamptz;
	started timestamptz;
	decided bigint;
BEGIN
	-- one message of each contact by the engine, for the rest to be like it
	PERFORM journey.track(id, 'one', '{"k": "first"}', t0) FROM bench.contact;
	COMMIT;
	PERFORM journey.tick(t0);
	INSERT INTO journey_state.message
	SELECT (jsonb_populate_record(m, jsonb_build_object('message_id', nextval('journey_state.message_id_seq'), 'decided_at', x.at, 'idempotency_key', format('h%s-%s', m.contact, i),
		'since', x.at, 'expires_at', x.at + interval '3 days', 'status', 'sent', 'attempt', 1, 'claimed_at', x.at, 'finished_at', x.at))).*
	FROM journey_state.message m, generate_series(1, history) i,
		LATERAL (SELECT t0 - CASE WHEN i <= 10 THEN i * interval '2 days' ELSE interval '60 days' + i * interval '30 minutes' END) x (at);
	COMMIT;
	FOR i IN 1 .. single LOOP
		now_at := t0 + i * interval '1 hour';
		PERFORM journey.track(1 + i % people, 'one', jsonb_build_object('k', i), now_at);
		COMMIT;
		started := clock_timestamp();
		SELECT t.messages INTO decided FROM journey.tick(now_at) t;
		COMMIT;
		INSERT INTO bench.result SELECT 'one', extract(epoch FROM clock_timestamp() - started) * 1000 WHERE i > 20;
		IF decided <> 1 THEN
			RAISE EXCEPTION 'decision %: % messages', i, decided;
		END IF;
	END LOOP;
END
$$;

SELECT :single = 0 AS days \gset
\if :days
	CALL bench.days(:contacts);
\else
	CALL bench.one_by_one(:people, :history, :single);
\endif
