/*
 * :caps caps that all hold and none of which is full.  Either :contacts runs
 * come to a SEND at once, seven times, a day apart, beside the same rows of
 * message, outbox and verdict put into tables of the same shape by INSERT …
 * SELECT; or :single times one run does, and another one comes to a wait, of one of
 * :people contacts each of whom has had :history messages: ten of them in the last
 * month, the others before, one each half hour, with the monthly partitions there
 * would be after so long.
 */
\set ON_ERROR_STOP on
SET SESSION AUTHORIZATION shop;
SELECT journey.drop_cap('daily') \g /dev/null
SELECT journey.create_cap('cap ' || i, 1000 + i, CASE WHEN i % 3 <> 0 THEN i * interval '1 day' END, CASE WHEN i % 3 = 0 THEN 'week' END,
	channels => CASE WHEN i % 2 = 0 THEN '{email}'::text[] END, classes => CASE WHEN i % 5 = 0 THEN '{promotional}'::text[] END, at => '2025-01-01')
FROM generate_series(1, :caps) i \g /dev/null
SELECT journey.create_journey('send', 'ON EVENT started TOPIC promotions ' || repeat('WAIT ''1 day''; SEND email hello; ', 7)) \g /dev/null
SELECT journey.activate('send') \g /dev/null
SELECT journey.create_journey('one', 'ON EVENT one KEY event.properties->>''k'' TOPIC promotions WAIT ''30 minutes''; SEND email hello;') \g /dev/null
SELECT journey.activate('one') \g /dev/null
SELECT journey.create_journey('none', 'ON EVENT none KEY event.properties->>''k'' TOPIC promotions WAIT ''30 minutes''; WAIT ''1 year'';') \g /dev/null
SELECT journey.activate('none') \g /dev/null
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

CREATE PROCEDURE bench.measure(event text, now_at timestamptz, counted boolean) LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz := clock_timestamp();
	decided bigint;
BEGIN
	SELECT t.messages INTO decided FROM journey.tick(now_at) t;
	COMMIT;
	INSERT INTO bench.result SELECT event, extract(epoch FROM clock_timestamp() - started) * 1000 WHERE counted;
	IF decided <> (event = 'one')::integer THEN
		RAISE EXCEPTION '% at %: % messages', event, now_at, decided;
	END IF;
END
$$;

-- each hour a run of either journey begins, not measured, and goes on half an hour later
CREATE PROCEDURE bench.one_by_one(people integer, single integer) LANGUAGE plpgsql AS $$
DECLARE
	hour timestamptz := '2026-01-01';
BEGIN
	FOR i IN 1 .. single LOOP
		hour := hour + interval '1 hour';
		PERFORM journey.track(1 + i % people, 'one', jsonb_build_object('k', i), hour);
		COMMIT;
		PERFORM journey.tick(hour);
		COMMIT;
		PERFORM journey.track(1 + i % people, 'none', jsonb_build_object('k', i), hour + interval '10 minutes');
		COMMIT;
		PERFORM journey.tick(hour + interval '10 minutes');
		COMMIT;
		CALL bench.measure('one', hour + interval '30 minutes', i > 30);
		CALL bench.measure('none', hour + interval '40 minutes', i > 30);
	END LOOP;
END
$$;

SELECT :single = 0 AS days \gset
\if :days
	CALL bench.days(:contacts);
\else
	-- one message of each contact by the engine, for the rest to be like it; every slice gets under way
	SELECT count(journey.track(id, 'one', '{"k": "first"}', '2026-01-01')) FROM bench.contact \g /dev/null
	SELECT messages FROM journey.tick('2026-01-01') \g /dev/null
	SELECT messages FROM journey.tick('2026-01-01 00:30') \g /dev/null
	CREATE TABLE bench.earlier AS SELECT '2026-01-01'::timestamptz - CASE WHEN i <= 10 THEN i * interval '2 days' ELSE interval '60 days' + i * interval '30 minutes' END AS at, i
	FROM generate_series(1, :history) i;
	SELECT journey._ensure_partitions(min(at), '2026-01-01') FROM bench.earlier \g /dev/null
	-- as journey.maintain() would have dropped them
	SELECT format('DROP TABLE journey_state.%I', c.relname) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid
	WHERE i.inhparent IN ('journey_state.timer'::regclass, 'journey_state.outbox'::regclass) AND right(c.relname, 7) < '2026m01' AND c.relname NOT LIKE '%default' \gexec
	INSERT INTO journey_state.message (slice, contact, message_id, decided_at, idempotency_key, enrollment_id, journey_id, version_id, step_no, visit, channel, template, topic, class,
		counts, priority, since, expires_at, status, attempt, claimed_at, finished_at)
	SELECT m.slice, m.contact, nextval('journey_state.message_id_seq'), x.at, m.contact || ' ' || x.i, m.enrollment_id, m.journey_id, m.version_id, m.step_no, m.visit, m.channel, m.template, m.topic, m.class,
		m.counts, m.priority, x.at, x.at + interval '3 days', 'sent', 1, x.at, x.at
	FROM journey_state.message m, bench.earlier x WHERE m.contact <= :people;
	INSERT INTO journey_state.message_span SELECT DISTINCT date_trunc('month', at) + interval '1 month', 3, 0 FROM bench.earlier;
	CALL bench.one_by_one(:people, :single);
\endif
