-- What analysts read, over a small history (test/data/measure.sql says what is in
-- it) whose figures are worked out by hand.
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET intervalstyle = 'postgres';
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set history :srcdir '/data/measure.sql'
\i :history

\d journey.funnel
SELECT relname, reloptions, relowner::regrole FROM pg_class WHERE relnamespace = 'journey'::regnamespace AND relkind = 'v' ORDER BY 1;
SELECT relname FROM pg_class WHERE relnamespace = 'journey'::regnamespace AND relkind = 'v' AND obj_description(oid) IS NULL;

SELECT journey, arm, step_no, label, kind, template, entered, reached, round(reached_share::numeric, 3) AS share, passed, sent, withheld, withheld_at_claim AS at_claim, waiting, parked, exited, completed
FROM journey.funnel;
-- entered = waiting + parked + exited + completed; reached never grows along a line
SELECT journey, version, arm, entered = sum(waiting + parked + exited + completed) AS conserved FROM journey.funnel GROUP BY journey, version, arm, entered ORDER BY 1, 3;
SELECT count(*) FROM (SELECT reached > lag(reached) OVER (PARTITION BY journey, version, arm ORDER BY step_no) AS grows FROM journey.funnel) AS f WHERE grows;

-- 2 after 30 minutes, 5 after two days, 6 twice: 3 of 10, 200.- in 4 orders
SELECT journey, week, entered, messages_sent AS sent, converted, round(conversion_rate::numeric, 4) AS rate, round(conversion_rate_low::numeric, 4) AS low, round(conversion_rate_high::numeric, 4) AS high,
	revenue, round(revenue_per_recipient, 4) AS per_recipient, round(revenue_per_message, 4) AS per_message, round(average_order_value, 4) AS per_order, median_time_to_convert AS km, median_time_to_goal AS to_goal, unfinished
FROM journey.performance(NULL, '2026-02-01');
-- nine hours in, only the first order was there, and nobody's window was over
SELECT week, entered, messages_sent AS sent, converted, revenue, median_time_to_goal AS to_goal, unfinished FROM journey.performance('cart', '2026-01-05 19:00');
SELECT count(*) FROM journey.performance('nonsense');
SELECT journey, week, entered FROM journey.journey_performance;

-- the median follows Kaplan and Meier: 24 hours, not the converters' own 8
BEGIN;
DELETE FROM journey_state.enrollment;
DELETE FROM journey_state.conversion;
CREATE TEMP TABLE watched ON COMMIT DROP AS
	SELECT n AS contact, make_interval(hours => t) AS duration, event = 1 AS event
	FROM unnest('{1,2,2,5,8,8,12,24,24,30,48,72}'::int[], '{1,1,0,1,1,1,0,1,1,0,1,0}'::int[]) WITH ORDINALITY AS w (t, event, n);
INSERT INTO journey_state.enrollment (slice, contact, enrollment_id, journey_id, version_id, key, ordinal, ghost, exposure_id, event_id, event_at, entered_at, status)
	SELECT 0, contact, contact, 1, 1, '', 1, false, contact, contact, '2026-02-01', timestamptz '2026-02-01' - duration, 'active' FROM watched;
INSERT INTO journey_state.conversion SELECT contact, 1, contact, '2026-02-01', 1, NULL, contact FROM watched WHERE event;
SELECT week, entered, converted, median_time_to_convert AS km, median_time_to_goal AS to_goal FROM journey.performance('cart', '2026-02-01');
ROLLBACK;

-- lift: contact 2, 5 and 6 of 10 against 12 of 2; too few to be believed
SELECT n_treatment, n_holdout, n_immature, n_dropped, strata, method, converted_treatment, converted_holdout, mean_treatment, mean_holdout, status, valid FROM journey.lift('cart', '2026-02-01');
SELECT round(lift::numeric, 9) AS lift, round(relative_lift::numeric, 9) AS relative, revenue_treatment, revenue_holdout, round(revenue_lift::numeric, 9) AS revenue_lift,
	(lift, lift_low, lift_high, relative_lift, relative_low, relative_high, p_value) = (SELECT diff, diff_low, diff_high, ratio - 1, ratio_low - 1, ratio_high - 1, p FROM journey.stat_two_proportions(3, 10, 1, 2)) AS is_score,
	(revenue_lift, revenue_low, revenue_high, revenue_p_value) = (SELECT diff, low, high, p FROM (VALUES (10, 20::float8, (20^2 + 80^2 + 100^2 - 10 * 20^2)::float8 / 9, 2, 25::float8, (50^2 - 2 * 25^2)::float8)) AS m (a, b, c, d, e, f), journey.stat_welch(a, b, c, d, e, f)) AS is_welch
FROM journey.lift('cart', '2026-02-01');
-- on the 12th at 9:59 nobody's seven days are over; a minute later all but contact 10's
SELECT n_treatment, n_holdout, n_immature, status FROM journey.lift('cart', '2026-01-12 09:59');
SELECT n_treatment, n_holdout, n_immature, status FROM journey.lift('cart', '2026-01-12 10:00');
-- a newsletter has no goal, so no lift
SELECT journey FROM journey.lift(NULL, '2026-02-01');
SELECT journey, status FROM journey.lifts;

-- bigger journeys, one for each state of the row
INSERT INTO journey.journey (journey_id, name, status, created_at) OVERRIDING SYSTEM VALUE SELECT i, (ARRAY['score', 'ramp', 'skewed', 'mailed', 'nobody', 'everybody', 'fresh epoch'])[i - 10], 'active', '2026-01-01' FROM generate_series(11, 17) AS i;
INSERT INTO journey.version (version_id, journey_id, version, script, topic, priority, holdout, reentry, goal_event, goal_within, created_at) OVERRIDING SYSTEM VALUE
	SELECT i, i, 1, '-', 'promotions', 50, 0.1, 'always', 'order_placed', '7 days', '2026-01-01' FROM generate_series(11, 17) AS i;
CREATE FUNCTION pg_temp.expose(journey integer, epoch integer, arm text, propensity float8, n integer, x integer, at timestamptz DEFAULT '2026-01-01') RETURNS void LANGUAGE sql AS $$
	WITH e AS (
		INSERT INTO journey_state.exposure
			SELECT first + i, first + i, 'journey', journey, epoch, (first + i)::text, arm, arm, propensity, 0.5, at, first + i, journey, first + i, 0, 0, 0
			FROM (SELECT coalesce(max(exposure_id), 10000) FROM journey_state.exposure) AS m (first), generate_series(1, n) AS i
			RETURNING contact, exposure_id
	)
	INSERT INTO journey_state.conversion SELECT contact, journey, exposure_id, at + interval '1 day', 30, exposure_id, NULL FROM e ORDER BY exposure_id LIMIT x
$$;
SELECT count(*) FROM (SELECT
	-- one stratum: the score test itself
	pg_temp.expose(11, 1, 'treatment', .9, 9000, 1980), pg_temp.expose(11, 1, 'holdout', .1, 1000, 140), pg_temp.expose(11, 1, 'holdout', .1, 5, 5, '2026-01-31'),
	-- 20 % holdout, then 5 % while the base rate rises
	pg_temp.expose(12, 1, 'treatment', .8, 40000, 820), pg_temp.expose(12, 1, 'holdout', .2, 10000, 190),
	pg_temp.expose(12, 1, 'treatment', .95, 47500, 2900), pg_temp.expose(12, 1, 'holdout', .05, 2500, 140), pg_temp.expose(12, 1, 'treatment', 1, 300, 100),
	-- fewer held out than promised
	pg_temp.expose(13, 1, 'treatment', .9, 9300, 900), pg_temp.expose(13, 1, 'holdout', .1, 700, 60),
	pg_temp.expose(14, 1, 'treatment', .9, 900, 90), pg_temp.expose(14, 1, 'holdout', .1, 100, 30),
	pg_temp.expose(15, 1, 'treatment', 1, 50, 20),
	pg_temp.expose(16, 1, 'treatment', .5, 40, 40), pg_temp.expose(16, 1, 'holdout', .5, 40, 40),
	-- the same percentage in a new epoch is a stratum of its own
	pg_temp.expose(17, 1, 'treatment', .5, 400, 100), pg_temp.expose(17, 1, 'holdout', .5, 400, 80), pg_temp.expose(17, 2, 'treatment', .5, 200, 40), pg_temp.expose(17, 2, 'holdout', .5, 200, 30)) AS s;
-- one real message to a held-out contact of a hundred
INSERT INTO journey_state.message SELECT 0, contact, 990, '2026-01-03', 'leak', enrollment_id, 14, 14, 1, 1, 'email', 't', 'promotions', 'promotional', true, 50, '2026-01-03', '2026-01-04', 'sent', 1, '2026-01-03', NULL, 'r1' FROM journey_state.exposure WHERE journey_id = 14 AND arm = 'holdout' ORDER BY contact LIMIT 1;
ANALYZE journey_state.exposure; ANALYZE journey_state.conversion;
SELECT journey, n_treatment AS n_t, n_holdout AS n_c, n_immature, n_dropped, strata, method, converted_treatment AS x_t, converted_holdout AS x_c, round(lift::numeric, 9) AS lift, round(p_value::numeric, 9) AS p,
	round(srm_p::numeric, 6) AS srm_p, round(srm_sequential_p::numeric, 6) AS srm_seq, contamination, status, valid
FROM journey.lift(NULL, '2026-02-01') WHERE journey <> 'cart';
-- the references: 22 % against 14 %, and the stratified example
SELECT abs(lift_low - 0.0556602468699) < 1e-12 AS low, abs(lift_high - 0.1019943170976) < 1e-12 AS high, abs(relative_low + 1 - 1.3438993339190) < 1e-12 AS ratio_low, abs(relative_high + 1 - 1.8440551172306) < 1e-12 AS ratio_high, round(total_increment::numeric, 6) AS increment
FROM journey.lift('score', '2026-02-01');
SELECT abs(lift - 0.0032763157894736827) < 1e-15 AS lift, abs(p_value / 0.18759062150 - 1) < 1e-9 AS p, abs(mean_treatment - .04077631578947) < 1e-12 AS treatment, abs(mean_holdout - .0375) < 1e-12 AS holdout,
	round(revenue_lift::numeric, 9) AS revenue_lift FROM journey.lift('ramp', '2026-02-01');
-- fewer at a stricter alpha
SELECT abs(lift_low - diff_low) < 1e-15 AS low FROM journey.lift('score', '2026-02-01', 0.01), journey.stat_two_proportions(1980, 9000, 140, 1000, 0.01);

SELECT * FROM journey.message_reasons;
SELECT journey, contact, enrollment_id, key, arm, status, step_no, step_kind, step_label, step_since, ended_at, end_reason, error FROM journey.enrollments ORDER BY journey, contact, enrollment_id;
SELECT journey, contact, message_id, step_label, template, status, reason, decided_at, claimed_at, clicked_at FROM journey.messages WHERE message_id <> 990 ORDER BY message_id;

-- health, as of a time
SELECT name, value, unit, status, detail FROM journey.health('2026-02-01 00:00:30') WHERE name NOT LIKE 'default_partition%' ORDER BY name;
SELECT name, value, unit, status FROM journey.health('2026-03-01 00:01:01') WHERE name ~ '^(timers|oldest|messages)' ORDER BY name;
INSERT INTO journey_state.relay VALUES ('r1', 4, '2026-01-01');
INSERT INTO journey_state.capture_error VALUES (1, 1, '2026-01-01', '22012', 'division by zero', NULL, '{}');
UPDATE journey_state.message SET status = 'claimed', lease_until = '2026-01-31', attempt = 1 WHERE message_id = 82;
UPDATE journey_state.outbox SET attempt = 1;
SELECT name, value, unit, status, detail FROM journey.health('2026-02-02') WHERE name ~ '^(relay|capture|leases|messages)' ORDER BY name;
SELECT count(*) FILTER (WHERE name LIKE 'default_partition%') AS logs, count(*) > 20 AS more FROM journey.health;

-- an analyst without rights on the tables reads nothing through a view
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
DROP ROLE IF EXISTS measure_stranger, measure_reader;
RESET client_min_messages;
CREATE ROLE measure_stranger;
GRANT USAGE ON SCHEMA journey TO measure_stranger;
GRANT SELECT ON journey.funnel TO measure_stranger;
SET ROLE measure_stranger;
SELECT count(*) FROM journey.funnel;
RESET ROLE;
DROP OWNED BY measure_stranger;
DROP ROLE measure_stranger;

-- views can be made again, as an upgrade does, and grants on them stay
CREATE ROLE measure_reader;
GRANT SELECT ON journey.lifts TO measure_reader;
SELECT journey._create_views();
SELECT count(*) FROM pg_class WHERE relnamespace = 'journey'::regnamespace AND relkind = 'v';
SELECT has_table_privilege('measure_reader', 'journey.lifts', 'SELECT') AS reader, has_table_privilege('shop', 'journey.lifts', 'SELECT') AS owner, has_table_privilege('measure_reader', 'journey.funnel', 'SELECT') AS other;
DROP OWNED BY measure_reader;
DROP ROLE measure_reader;

-- not attached: health says so, and nothing else is there to be asked
SET client_min_messages = error;
DROP EXTENSION pg_journey CASCADE;
CREATE EXTENSION pg_journey;
SELECT * FROM journey.health();
DROP EXTENSION pg_journey;
