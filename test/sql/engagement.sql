-- How contacts respond, and when: the figures, the views, the classes.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET extra_float_digits = 0;

--
-- figures: computed with mpmath, 25 digits
--
SELECT round(journey.stat_beta_drop(2 + x1, 8 + n1 - x1, 2 + x2, 8 + n2 - x2)::numeric, 10) AS p_drop, expected,
	abs(journey.stat_beta_drop(2 + x1, 8 + n1 - x1, 2 + x2, 8 + n2 - x2) - expected) < 1e-9 AS ok
	FROM (VALUES (3, 8, 2, 8, .4210588302::float8), (3, 8, 0, 8, .8049762487), (6, 12, 0, 12, .9567414222),
		(10, 20, 2, 20, .949066517), (30, 60, 15, 60, .878475447), (2, 2, 0, 2, .7027665285)) v (x1, n1, x2, n2, expected);
SELECT x, n, round(((2 + x) / (10.0 + n)), 10) AS mean,
	abs(1 - journey.stat_beta_cdf(.4, 2 + x, 8 + n - x) - high) < 1e-9 AS high, abs(journey.stat_beta_cdf(.1, 2 + x, 8 + n - x) - low) < 1e-9 AS low
	FROM (VALUES (3, 8, .1259991273::float8, .0221442158::float8), (0, 12, .0003290543, .6352700362), (25, 40, .9768946733, 5.4e-15)) v (x, n, high, low);
-- the two rates are exchangeable: without a ratio it is one half; a prior far below 1; a strong one
SELECT round(journey.stat_beta_drop(a, b, a, b, 1)::numeric, 10) FROM (VALUES (2, 8), (.03, .7), (3000, 9000), (1, 1)) v (a, b);
-- independent uniform rates: P(y < x/2) = 1/4, P(y < 2x) = 3/4
SELECT round(journey.stat_beta_drop(1, 1, 1, 1, .5)::numeric, 12), round(journey.stat_beta_drop(1, 1, 1, 1, 2)::numeric, 12);
SELECT round(journey.stat_beta_quantile(.5, 1, 1)::numeric, 12), round(journey.stat_beta_quantile(.3, 1, 2)::numeric, 12) = round(1 - sqrt(.7::numeric), 12) AS quantile,
	journey.stat_beta_cdf(-1, 1, 1), journey.stat_beta_cdf(2, 1, 1);
SELECT journey.stat_beta_drop(0, 1, 1, 1);
SELECT journey.stat_beta_drop(1, 1, 1, 1, 'nan');
SELECT journey.stat_beta_cdf(.5, 'infinity', 1);
SELECT journey.stat_beta_quantile(1, 1, 1);
-- hours: six at 19, three at 20, two at 12, one at 8; MEASURE.md R20
SELECT array_agg(c ORDER BY h) AS counts FROM (SELECT h, CASE h WHEN 19 THEN 6 WHEN 20 THEN 3 WHEN 12 THEN 2 WHEN 8 THEN 1 ELSE 0 END AS c FROM generate_series(0, 23) h) t \gset
\set prior '{1,1,1,1,1,1,2,4,6,6,6,6,8,6,5,5,5,6,8,10,9,6,3,2}'
SELECT h - 1 AS hour, round(s::numeric, 10) AS score FROM unnest(journey.stat_hours(:'counts', :'prior')) WITH ORDINALITY u (s, h) ORDER BY s DESC LIMIT 4;
SELECT round(sum(s)::numeric, 12) AS sum, round((max(s) / max(s) FILTER (WHERE h = 11))::numeric, 10) AS "ratio to 10h"
	FROM unnest(journey.stat_hours(:'counts', :'prior')) WITH ORDINALITY u (s, h);
SELECT journey.stat_hours('{1,2}', :'prior');
SELECT journey.stat_hours(array_fill(0::float8, '{24}'), array_fill(0::float8, '{24}'));
SELECT journey.stat_hours(array_fill(-1::float8, '{24}'), :'prior');
SELECT journey.stat_hours(:'counts', :'prior', 0);

--
-- which events count
--
SELECT journey.set_engagement_event('opened', true);
SELECT journey.set_engagement_event('clicked', false);
SELECT journey.set_engagement_event(NULL, true);
SELECT journey.set_engagement_event('', true);
SELECT journey.set_engagement_event('visit', true), journey.set_engagement_event('visit', true);
SELECT journey.set_engagement_event('visit', false), journey.set_engagement_event('visit', false);
TABLE journey.engagement_event;

--
-- forty contacts and what they got: contact, channel, when, how many, how many of them clicked
--
INSERT INTO shop.customers SELECT i, 'Name' || i, 'c' || i || '@shop.example', NULL, 'Europe/London', 'GB', '2025-01-01' FROM generate_series(21, 40) i;
CREATE FUNCTION shop.got(contact bigint, channel text, first timestamptz, n integer, clicked integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	FOR i IN 1 .. n LOOP
		id := nextval('journey_state.message_id_seq');
		INSERT INTO journey_state.message (slice, contact, message_id, decided_at, idempotency_key, enrollment_id, journey_id, version_id, step_no, visit,
				channel, template, topic, class, counts, priority, since, expires_at, status, attempt, claimed_at)
			VALUES (0, got.contact, id, first + i * interval '1 day' - interval '1 hour', 'k' || id, id, 1, 1, 1, 1,
				channel, 'news', 'promotions', 'promotional', true, 50, first, first + interval '90 days', 'sent', 1, first + i * interval '1 day');
		IF i <= clicked THEN
			PERFORM journey.track(got.contact, 'clicked', jsonb_build_object('message_id', id), first + i * interval '1 day' + interval '3 hours');
		END IF;
	END LOOP;
END
$$;
-- ten each in June; every fifth clicks eight of them, the next one four, the others one
SELECT count(shop.got(i, 'email', '2026-06-01', 10, CASE i % 5 WHEN 0 THEN 8 WHEN 1 THEN 4 ELSE 1 END)) FROM generate_series(1, 40) i;
-- in May: contacts 2 and 7 clicked all of eight, contact 3 none of twenty
SELECT shop.got(2, 'email', '2026-05-05', 8, 8), shop.got(7, 'email', '2026-05-05', 8, 8), shop.got(3, 'email', '2026-05-05', 20, 0);
-- sms: nobody clicks; push: five contacts do
SELECT count(shop.got(i, 'sms', '2026-06-01', 5, 0)), count(shop.got(i, 'push', '2026-06-01', 5, 2)) FROM generate_series(1, 5) i;
-- what was not handed over, bounced, was clicked before, by a machine, or twice, does not count
SELECT shop.got(40, 'email', '2026-06-20', 4, 0);
UPDATE journey_state.message AS m SET status = CASE rank WHEN 1 THEN 'bounced' WHEN 2 THEN 'failed' ELSE 'pending' END, claimed_at = CASE WHEN rank <> 3 THEN m.claimed_at END
	FROM (SELECT message_id, row_number() OVER (ORDER BY message_id DESC) AS rank FROM journey_state.message WHERE contact = 40 ORDER BY message_id DESC LIMIT 3) r WHERE r.message_id = m.message_id;
SELECT journey.track(40, 'clicked', jsonb_build_object('message_id', message_id, 'machine', true), '2026-06-22'),
	journey.track(40, 'clicked', jsonb_build_object('message_id', message_id), claimed_at - interval '1 second'),
	journey.track(40, 'opened', jsonb_build_object('message_id', message_id), '2026-06-22'),
	journey.track(40, 'visit', '{}', claimed_at + interval '1 hour')
	FROM journey_state.message WHERE contact = 40 AND status = 'sent' ORDER BY message_id DESC LIMIT 1 \g /dev/null
SELECT journey.track(40, 'clicked', jsonb_build_object('message_id', message_id), '2026-06-23') FROM journey_state.message WHERE contact = 40 ORDER BY message_id LIMIT 1 \g /dev/null

-- before anything was learned nothing is said
SELECT contact, channel, sends_30d, clicks_30d, engagement, fatigue, classes, recommended_per_week, reason FROM journey.engagement('2026-06-25') WHERE contact = '1';
SELECT journey.refresh_engagement('2026-06-25');
-- computed outside: email has n = 10 but 18 for contacts 2 and 7, 30 for 3 and 11 for 40; push has too few contacts, sms no click
SELECT channel, round(a0::numeric, 9) AS a0, round(b0::numeric, 9) AS b0, contacts FROM journey_state.engagement_prior ORDER BY channel;
SELECT contact, channel, sends_30d AS n, clicks_30d AS x, sends_prev_30d AS n0, clicks_prev_30d AS x0, round(engagement::numeric, 6) AS engagement,
	round(engagement_low::numeric, 6) AS low, round(engagement_high::numeric, 6) AS high, round(p_drop::numeric, 6) AS p_drop, fatigue,
	round(p_high::numeric, 6) AS p_high, round(p_low::numeric, 6) AS p_low, classes, round(recommended_per_week::numeric, 2) AS per_week, reason, last_human_event_at
	FROM journey.engagement('2026-06-25') WHERE contact IN ('1', '2', '3', '5', '40') ORDER BY contact::bigint, channel;
-- nothing of the future, and nothing older than the two spans
SELECT channel, sends_30d, clicks_30d, sends_prev_30d, clicks_prev_30d FROM journey.engagement('2026-06-05 02:59:59') WHERE contact = '1';
SELECT channel, sends_30d, clicks_30d, sends_prev_30d, clicks_prev_30d FROM journey.engagement('2026-07-20') WHERE contact = '2';
SELECT count(*) FROM journey.engagement('2027-01-01');
-- an event that names no message counts for those of the day before it
SELECT journey.set_engagement_event('visit', true);
SELECT sends_30d, clicks_30d FROM journey.engagement('2026-06-25') WHERE contact = '40';
SELECT journey.set_engagement_event('visit', false);

SELECT journey.frequency_curve('email', '2026-06-25');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT count(journey.set_consent(i, 'email', '*', i > 2, 'form', '2026-06-10')) FROM generate_series(1::bigint, 4) i;
SELECT sends_per_week, contacts, sends, clicks, round(click_rate::numeric, 6) AS rate, round(click_rate_low::numeric, 6) AS low, round(click_rate_high::numeric, 6) AS high,
	round(clicks_per_contact_week::numeric, 6) AS per_contact, withdrawn, round(withdrawn_share::numeric, 3) AS share, basis
	FROM journey.frequency_curve('email', '2026-06-25');

--
-- when: London, where summer time is an hour ahead
--
SELECT day_kind, sum(share) AS sum, max(events) AS events FROM journey_state.send_time_prior GROUP BY 1 ORDER BY 1;
SELECT contact, day_kind, best_hour, round(score::numeric, 6) AS score, round(confidence::numeric, 6) AS confidence, source, round(expected_lift_vs_default::numeric, 4) AS lift, n_events, next_send_at
	FROM journey.send_times('2026-06-25 12:00') WHERE contact IN ('1', '2', '4') ORDER BY contact, day_kind;

-- rights and bad times
SELECT journey.refresh_engagement(NULL);
SELECT journey.refresh_engagement('infinity');
SELECT count(*) FROM journey.send_times(NULL);
RESET SESSION AUTHORIZATION;
SELECT journey.refresh_engagement('2026-06-25');
SELECT count(*) FROM journey.send_times('2026-06-25');
SELECT count(*) FROM journey.engagement('2026-06-25');
-- what the owner could make run is not run by a superuser
\set VERBOSITY terse
SET SESSION AUTHORIZATION shop;
ALTER TABLE journey_state.engagement_prior RENAME TO real_prior;
CREATE VIEW journey_state.engagement_prior AS TABLE journey_state.real_prior;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM journey.engagement('2026-06-25');
SELECT count(*) FROM journey.engagement_counts('2026-06-25');
SELECT count(*) FROM journey.frequency_curve('email', '2026-06-25');
DROP VIEW journey_state.engagement_prior;
ALTER TABLE journey_state.real_prior RENAME TO engagement_prior;
\set VERBOSITY default
-- maintain() learns once a day, but not in a superuser's session
SELECT journey.maintain('2026-06-26 12:00', '1 day');
SELECT DISTINCT at FROM journey_state.engagement_prior;
CREATE ROLE analyst_of_engagement;
SELECT journey.grant_role('analyst', 'analyst_of_engagement');
SET SESSION AUTHORIZATION analyst_of_engagement;
SELECT count(*) > 0 AS reads FROM journey.send_times('2026-06-25');
SELECT count(*) > 0 AS reads FROM journey.engagement('2026-06-25');
SELECT count(*) >= 0 AS reads FROM journey.send_times;
SELECT count(*) >= 0 AS reads FROM journey.engagement;
SELECT journey.refresh_engagement('2026-06-25');
SET SESSION AUTHORIZATION shop;
SELECT journey.maintain('2026-06-25 23:59:59', '1 day');
SELECT DISTINCT at FROM journey_state.engagement_prior;
SELECT journey.maintain('2026-06-26 12:00', '1 day');
SELECT DISTINCT at FROM journey_state.engagement_prior;
RESET SESSION AUTHORIZATION;
DROP OWNED BY analyst_of_engagement;
DROP ROLE analyst_of_engagement;
