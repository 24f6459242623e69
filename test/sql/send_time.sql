-- AT BEST TIME: against a plain model of the hours, over random histories.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
INSERT INTO shop.customers SELECT i, 'Name' || i, 'c' || i || '@shop.example', NULL, 'Europe/London', 'GB', '2025-01-01' FROM generate_series(21, 60) i;
UPDATE shop.customers SET tz = (ARRAY['Europe/London', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe', 'Pacific/Apia'])[1 + id % 5];
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('best', $$ ON EVENT go KEY event.properties->>'k' TOPIC promotions SEND email news AT BEST TIME WITHIN '20 hours' EXPIRES '3 days'; $$, '2026-01-01');
SELECT journey.create_journey('soon', $$ ON EVENT soon TOPIC promotions SEND email news AT BEST TIME WITHIN '30 minutes'; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT receipt TOPIC service SEND email news AT BEST TIME WITHIN '2 days'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;

-- nothing is known of anybody: the hour nearest ten, said so
CREATE VIEW shop.verdicts AS SELECT v.contact, v.at, v.verdict, v.reason, v.until, v.evidence->'send_time' AS send_time FROM journey_state.verdict v;
SELECT journey.track(1, 'go', '{"k": "none"}', '2026-01-12 04:00');
SELECT journey.tick('2026-01-12 04:00') \g /dev/null
SELECT contact, at, verdict, reason, until, send_time - 'propensity' AS send_time, round((send_time->>'propensity')::numeric, 6) AS propensity FROM shop.verdicts;
SELECT journey.tick('2026-01-12 14:44:59') \g /dev/null
SELECT count(*) FROM journey_state.message;
SELECT journey.tick('2026-01-12 15:00') \g /dev/null
SELECT verdict, reason, at FROM shop.verdicts WHERE at > '2026-01-12 04:00' ORDER BY at;

--
-- random visits, by a hash; most at one or two hours of the contact's own
--
SELECT journey.set_engagement_event('visit', true);
CREATE FUNCTION shop.dice(a text, n integer) RETURNS integer LANGUAGE sql IMMUTABLE RETURN (hashtext(a)::bigint + 2147483648) % n;
SELECT count(journey.track(c.id, CASE shop.dice('name' || c.id || '-' || i, 9) WHEN 0 THEN 'look' ELSE 'visit' END,
		CASE shop.dice('machine' || c.id || '-' || i, 11) WHEN 0 THEN '{"machine": true}' ELSE '{}' END::jsonb,
		(timestamp '2026-02-25' - shop.dice('day' || c.id || '-' || i, 400) * interval '1 day' + shop.dice('minute' || c.id || '-' || i, 60) * interval '1 minute'
		+ CASE WHEN shop.dice('usual' || c.id || '-' || i, 3) = 0 THEN shop.dice('any' || c.id || '-' || i, 24) ELSE shop.dice('own' || c.id, 24) END * interval '1 hour') AT TIME ZONE c.tz))
	FROM shop.customers c, generate_series(1, 30) i WHERE i <= c.id % 31;
SELECT journey.refresh_engagement('2026-03-01');
SELECT journey.create_quiet_hours('night', '21:30', '08:00');

-- the same in plain SQL: visits by local hour
CREATE VIEW shop.visit AS
	SELECT c.id, c.tz, e.at, CASE WHEN extract(isodow FROM e.at AT TIME ZONE c.tz) >= 6 THEN 'weekend' ELSE 'weekday' END AS kind,
		extract(hour FROM e.at AT TIME ZONE c.tz)::int AS hour
	FROM journey_state.event e JOIN shop.customers c ON c.id = e.contact
	WHERE e.name = 'visit' AND (e.properties->>'machine') IS DISTINCT FROM 'true';
CREATE FUNCTION shop.counts(the_id bigint, the_kind text, t timestamptz) RETURNS float8[] LANGUAGE sql STABLE
	RETURN (SELECT array_agg(coalesce(w, 0) ORDER BY h) FROM generate_series(0, 23) h
	LEFT JOIN (SELECT hour, sum(2 ^ (- extract(epoch FROM t - at)::float8 / 86400 / 60)) AS w FROM shop.visit
		WHERE (the_id IS NULL OR id = the_id) AND kind = the_kind AND at <= t AND at > t - interval '365 days' GROUP BY hour) v ON v.hour = h);
-- everybody's shares: smoothed by hand
SELECT p.day_kind, count(*) FILTER (WHERE abs(p.share - s.share) < 1e-9) AS equal, round(sum(p.share)::numeric, 9) AS sum
	FROM journey_state.send_time_prior p
	JOIN (SELECT k.kind, h AS hour, (SELECT sum(c.x * CASE (c.n - 1 - h + 26) % 24 WHEN 0 THEN .1 WHEN 1 THEN .2 WHEN 2 THEN .4 WHEN 3 THEN .2 WHEN 4 THEN .1 ELSE 0 END) / sum(c.x) FROM unnest(k.counts) WITH ORDINALITY c (x, n)) AS share
		FROM (SELECT kind, shop.counts(NULL, kind, '2026-03-01') AS counts FROM (VALUES ('weekday'), ('weekend')) v (kind)) k, generate_series(0, 23) h) s
	ON s.kind = p.day_kind AND s.hour = p.hour GROUP BY 1 ORDER BY 1;
-- and the best hours of all contacts
SELECT count(*) AS contacts_and_kinds, count(*) FILTER (WHERE t.best_hour = m.hour AND abs(t.score - m.score) < 1e-9 AND t.n_events = m.events AND t.source = CASE m.events WHEN 0 THEN 'global' ELSE 'individual' END) AS equal,
		count(*) FILTER (WHERE extract(minute FROM t.next_send_at AT TIME ZONE m.tz) = 45 AND extract(hour FROM (t.next_send_at + interval '15 minutes') AT TIME ZONE m.tz) = m.hour
			AND t.next_send_at >= '2026-03-01' AND t.day_kind = CASE WHEN extract(isodow FROM (t.next_send_at + interval '15 minutes') AT TIME ZONE m.tz) >= 6 THEN 'weekend' ELSE 'weekday' END) AS next
	FROM journey.send_times('2026-03-01') t
	JOIN LATERAL (SELECT x.h - 1 AS hour, x.s AS score, c.tz,
			(SELECT count(*) FROM shop.visit v WHERE v.id = t.contact::bigint AND v.kind = t.day_kind AND v.at <= '2026-03-01' AND v.at > timestamptz '2026-03-01' - interval '365 days') AS events
		FROM shop.customers c, unnest(journey.stat_hours(shop.counts(c.id, t.day_kind, '2026-03-01'), (SELECT array_agg(share ORDER BY hour) FROM journey_state.send_time_prior p WHERE p.day_kind = t.day_kind))) WITH ORDINALITY x (s, h)
		WHERE c.id = t.contact::bigint ORDER BY round(x.s::numeric, 12) DESC, least(abs(x.h - 11), 24 - abs(x.h - 11)) LIMIT 1) m ON true;

-- two messages each, in quiet hours in some zones; ticks every hour, and whenever one is due
SELECT count(journey.track(id, 'go', '{"k": "a"}', '2026-03-05 13:07')), count(journey.track(id, 'go', '{"k": "b"}', '2026-03-07 02:31')) FROM shop.customers;
CREATE PROCEDURE shop.ticks(from_at timestamptz, until_at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	t timestamptz := from_at;
	due timestamptz;
BEGIN
	WHILE t <= until_at LOOP
		PERFORM journey.tick(t);
		COMMIT;
		SELECT min(e.send_due) INTO due FROM journey_state.enrollment e WHERE e.send_due > t AND e.ended_at IS NULL;
		t := least(due, t + interval '1 hour');
	END LOOP;
END
$$;
CALL shop.ticks('2026-03-05 13:07', '2026-03-05 13:07');
CALL shop.ticks('2026-03-05 13:30', '2026-03-07 02:00');
CALL shop.ticks('2026-03-07 02:31', '2026-03-08 12:00');
-- and by a replay, over the change to summer time in London
SELECT count(journey.track(id, 'go', '{"k": "c"}', '2026-03-28 13:07')) FROM shop.customers;
SELECT messages FROM journey.replay('2026-03-29 12:00');

/*
 * The model: who comes in quiet hours waits for eight o'clock.  Then the slots: local
 * hours from a quarter before, cut to what is left of them and of the twenty hours.
 */
CREATE FUNCTION shop.quiet_free(t timestamptz, tz text) RETURNS timestamptz LANGUAGE sql IMMUTABLE
	RETURN CASE
		WHEN (t AT TIME ZONE tz)::time < '08:00' THEN ((t AT TIME ZONE tz)::date + time '08:00') AT TIME ZONE tz
		WHEN (t AT TIME ZONE tz)::time >= '21:30' THEN ((t AT TIME ZONE tz)::date + 1 + time '08:00') AT TIME ZONE tz
		ELSE t END;
CREATE FUNCTION shop.expected(the_id bigint, the_tz text, since timestamptz, run bigint, OUT at timestamptz, OUT explored boolean, OUT propensity float8) LANGUAGE plpgsql AS $$
DECLARE
	start timestamptz := shop.quiet_free(since, the_tz);
	draw float8 := journey.fraction('journey.send_time', the_id || E'\x1F' || run || E'\x1F1');
	n integer;
BEGIN
	CREATE TEMP TABLE slot ON COMMIT DROP AS
		SELECT row_number() OVER (ORDER BY s.h) AS no, s.h, s.go, x.score, round(x.score::numeric, 11) AS rank, least(abs(s.hour - 10), 24 - abs(s.hour - 10)) AS far
		FROM (
			SELECT h, extract(hour FROM h)::int AS hour, CASE WHEN extract(isodow FROM h) >= 6 THEN 'weekend' ELSE 'weekday' END AS kind,
				shop.quiet_free(greatest(h AT TIME ZONE the_tz - interval '15 minutes', start), the_tz) AS go
			FROM generate_series(date_trunc('hour', (start + interval '15 minutes') AT TIME ZONE the_tz), (since + interval '21 hours') AT TIME ZONE the_tz, '1 hour') h
			WHERE greatest(h AT TIME ZONE the_tz - interval '15 minutes', start) <= since + interval '20 hours'
		) s
		JOIN (
			SELECT k.kind, u.n - 1 AS hour, u.score FROM (VALUES ('weekday'), ('weekend')) k (kind),
				unnest(journey.stat_hours(shop.counts(the_id, k.kind, start), (SELECT array_agg(share ORDER BY hour) FROM journey_state.send_time_prior p WHERE p.day_kind = k.kind))) WITH ORDINALITY u (score, n)
		) x ON x.kind = s.kind AND x.hour = s.hour
		WHERE s.go <= since + interval '20 hours' AND s.go < s.h AT TIME ZONE the_tz + interval '45 minutes';
	SELECT count(*) INTO n FROM slot;
	explored := draw < .1;
	SELECT s.go, .1 / n + CASE WHEN s.no = b.no THEN .9 ELSE 0 END INTO at, propensity
	FROM slot s, (SELECT no FROM slot ORDER BY rank DESC, far, h LIMIT 1) b
	WHERE s.no = CASE WHEN explored THEN floor(draw / .1 * n)::int + 1 ELSE b.no END;
	DROP TABLE slot;
END
$$;
SET client_min_messages = warning;
CREATE TEMP TABLE compared AS
	SELECT e.contact, e.key, c.tz, e.event_at, m.decided_at, x.*, p.send_time, p.chosen_at
	FROM journey_state.enrollment e
	JOIN shop.customers c ON c.id = e.contact
	LEFT JOIN journey_state.message m ON m.contact = e.contact AND m.enrollment_id = e.enrollment_id
	LEFT JOIN LATERAL (SELECT v.evidence->'send_time' AS send_time, v.at AS chosen_at FROM journey_state.verdict v WHERE v.contact = e.contact AND v.enrollment_id = e.enrollment_id AND v.evidence ? 'send_time' ORDER BY v.at LIMIT 1) p ON true,
	LATERAL shop.expected(e.contact, c.tz, e.event_at, e.enrollment_id) x
	WHERE e.key IN ('a', 'b', 'c');
RESET client_min_messages;
SELECT key, count(*) AS messages, count(*) FILTER (WHERE decided_at = at) AS at_its_time, count(*) FILTER (WHERE explored = (send_time->>'explored')::boolean) AS same_draw,
	count(*) FILTER (WHERE abs(propensity - (send_time->>'propensity')::float8) < 1e-9) AS same_propensity, count(*) FILTER (WHERE explored) AS explored
	FROM compared GROUP BY 1 ORDER BY 1;
SELECT contact, key, tz, event_at, decided_at, at, send_time FROM compared WHERE decided_at IS DISTINCT FROM at ORDER BY 1, 2 LIMIT 5;
SELECT count(*) FROM compared WHERE shop.quiet_free(decided_at, tz) <> decided_at OR decided_at > event_at + interval '20 hours';
-- chosen once: each run was asked at its arrival, where it came in quiet hours at eight, and at its time
SELECT reason, count(*) FROM shop.verdicts WHERE at > '2026-03-05' GROUP BY 1 ORDER BY 1;

-- too short to choose; a receipt does not wait
SELECT journey.track(10, 'soon', '{}', '2026-04-10 12:00'), journey.track(10, 'receipt', '{}', '2026-04-10 12:00') \g /dev/null
SELECT journey.tick('2026-04-10 12:00') \g /dev/null
SELECT j.name, v.verdict, v.reason, v.evidence->'send_time'->'slots' AS slots FROM journey_state.verdict v JOIN journey.version w USING (version_id) JOIN journey.journey j USING (journey_id) WHERE v.at >= '2026-04-10' ORDER BY 1;

-- what comes within half an hour after a message says when we sent
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.open_relay('r1', :'token');
SELECT count(*) > 0 AS some FROM journey.claim('r1', at => '2026-04-10 16:00');
SELECT n_events AS before FROM journey.send_times('2026-04-20') WHERE contact = '10' AND day_kind = 'weekday' \gset
SELECT journey.track(10, 'visit', '{}', '2026-04-10 16:00'), journey.track(10, 'visit', '{}', '2026-04-10 16:29:59'), journey.track(10, 'visit', '{}', '2026-04-10 16:30') \g /dev/null
SELECT n_events - :before AS more FROM journey.send_times('2026-04-20') WHERE contact = '10' AND day_kind = 'weekday';
SELECT law, violations, example FROM journey.check('2026-04-10 17:00') WHERE violations > 0;
