-- Quiet hours: what the contact's clock shows decides, at the decision and at the claim.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set QUIET on
RESET SESSION AUTHORIZATION;
SELECT journey.detach() \g /dev/null
SELECT journey.attach('shop.customers', country => 'land', owner => 'shop');
SELECT journey.attach('shop.customers', key => 'id', email => 'email', phone => 'phone', timezone => 'tz', country => 'country', owner => 'shop') \g /dev/null
SET SESSION AUTHORIZATION shop;
\set QUIET off
SELECT timezone_column, country_column FROM journey.site;
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
\set SHOW_CONTEXT never
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example", "address": "phone"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello {{first_name}}');
SELECT journey.create_template('text', 'sms', '', 'Hello {{first_name}}');
SELECT count(journey.set_consent(id, h, t, true, 'form', '2025-12-01')) FROM shop.customers, unnest('{email,sms}'::text[]) AS h, unnest('{promotions,education}'::text[]) AS t;

-- bad input
SELECT journey.create_quiet_hours(NULL, '21:00', '08:00');
SELECT journey.create_quiet_hours('', '21:00', '08:00');
SELECT journey.create_quiet_hours('night', '24:00', '08:00');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', days => '{}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', days => '{mon,Tues}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', days => '{mon,NULL}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', channels => '{email,fax}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', channels => '{}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', topics => '{gossip}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', topics => '{promotions,service}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', countries => '{GB," "}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', countries => '{}');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', action => 'drop');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', jitter => '25 hours');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', jitter => '-1 hour');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', action => 'skip', jitter => '1 hour');
SELECT journey.drop_quiet_hours('night');
SELECT count(*) FROM journey.quiet_hours;

-- a week without a free moment is refused, also where several make it up
SELECT journey.create_quiet_hours('never', '00:00', '00:00');
SELECT journey.create_quiet_hours('never', '12:00', '12:00');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', at => '2026-01-01');
SELECT journey.create_quiet_hours('day', '08:00', '21:00', channels => '{sms}');
SELECT journey.create_quiet_hours('weekdays', '08:00', '21:00', days => '{fri,thu,wed,tue,mon}', countries => '{gb}', at => '2026-01-01');
SELECT journey.create_quiet_hours('weekend', '08:00', '21:00', days => '{Sunday,sat}', countries => '{FR}');
SELECT journey.create_quiet_hours('weekend', '08:00', '21:00', days => '{sat,sun}', countries => '{GB-WLS}', channels => '{sms}');
SELECT journey.create_quiet_hours('weekend', '08:00', '20:59:59.999999', days => '{sat,sun}', countries => '{GB-WLS}', channels => '{sms}');
SELECT journey.create_quiet_hours('gap', '12:00', '13:00', days => '{sun}', action => 'send');
SELECT journey.create_quiet_hours('weekend', '08:00', '21:00', days => '{sat,sun}', countries => '{GB}');
SELECT name, starts, ends, days, channels, countries, action FROM journey.quiet_hours ORDER BY name;
-- the exception is what leaves Britons a moment
SELECT journey.drop_quiet_hours('gap');
SELECT journey.drop_quiet_hours('weekend');
SELECT journey.drop_quiet_hours('weekdays');
SELECT journey.drop_quiet_hours('gap');

-- G10: the edges, of windows that cross midnight or do not
SELECT journey.create_quiet_hours('lunch', '12:00', '13:00', days => '{sun}', jitter => '10 minutes');
SELECT a AS local, journey.quiet_until(1, 'email', 'promotions', a::timestamptz) AS until
FROM unnest('{2026-01-05 20:59:59.999,2026-01-05 20:59:59.999999,2026-01-05 21:00,2026-01-05 23:59:59.999999,2026-01-06 00:00,2026-01-06 07:59:59.999999,2026-01-06 08:00,
	2026-01-04 11:59:59.999999,2026-01-04 12:00,2026-01-04 12:59:59.999999,2026-01-04 13:00,2026-01-05 12:30}'::text[]) AS a;
SELECT journey.drop_quiet_hours('lunch');
-- days are those on which the window starts
SELECT journey.create_quiet_hours('night', '21:00', '08:00', days => '{sat}');
SELECT to_char(a, 'dy HH24:MI') AS local, journey.quiet_until(1, 'email', 'promotions', a) AS until
FROM unnest('{2026-01-03 07:00,2026-01-03 20:59,2026-01-03 21:00,2026-01-04 07:59,2026-01-04 08:00,2026-01-04 21:00}'::timestamptz[]) AS a;
-- one that ends when the next begins; the whole of a day
SELECT journey.create_quiet_hours('sunday', '00:00', '24:00', days => '{sun}');
SELECT journey.create_quiet_hours('monday', '00:00', '09:30', days => '{mon}');
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-03 22:00');
SELECT journey.drop_quiet_hours('sunday');
SELECT journey.drop_quiet_hours('monday');

-- the clock changes: London, 29 March and 25 October 2026; New York, 8 March and 1 November
SELECT journey.create_quiet_hours('night', '21:00', '08:00');
SELECT journey.create_quiet_hours('early', '08:00', '08:00:01', countries => '{FR}');	-- only to have a country
UPDATE shop.customers SET tz = 'America/New_York' WHERE id = 2;
SELECT c AS contact, a AS at, journey.quiet_until(c, 'email', 'promotions', a::timestamptz) AS until
FROM (VALUES (4, '2026-03-28 21:00+00'), (4, '2026-03-29 07:00+00'), (4, '2026-10-24 20:00+00'), (4, '2026-10-25 08:00+00'), (2, '2026-03-08 02:00+00'), (2, '2026-11-01 01:00+00')) AS v (c, a);
SELECT journey.drop_quiet_hours('early');
-- an end that the clock jumps over ends with the jump; an hour shown twice is quiet twice
SELECT journey.create_quiet_hours('night', '01:00', '02:30');
SELECT a AS at, timestamptz(a) AT TIME ZONE 'America/New_York' AS local, journey.quiet_until(2, 'email', 'promotions', a::timestamptz) AS until
FROM unnest('{2026-03-08 06:00+00,2026-03-08 06:59:59+00,2026-03-08 07:00+00,2026-11-01 05:00+00,2026-11-01 06:00+00,2026-11-01 07:29:59+00,2026-11-01 07:30+00}'::text[]) AS a;
SELECT journey.create_quiet_hours('night', '00:00', '01:30');
SELECT a AS at, timestamptz(a) AT TIME ZONE 'America/New_York' AS local, journey.quiet_until(2, 'email', 'promotions', a::timestamptz) AS until
FROM unnest('{2026-11-01 04:00+00,2026-11-01 05:29:59+00,2026-11-01 05:30+00,2026-11-01 05:59:59+00,2026-11-01 06:00+00,2026-11-01 06:30+00}'::text[]) AS a;
UPDATE shop.customers SET tz = 'Europe/London' WHERE id = 2;

-- channels, topics, countries; transactional topics have none; a country that is not known may be any
SELECT journey.create_quiet_hours('night', '21:00', '08:00', channels => '{sms}');
SELECT journey.create_quiet_hours('school', '21:00', '09:00', topics => '{education}', countries => '{GB-WLS,US}');
UPDATE shop.customers SET country = c FROM (VALUES (1, NULL), (2, ''), (3, 'gb'), (4, 'GB-WLS'), (5, 'GB-SCT'), (6, ' us-fl '), (7, 'United States'), (8, 'FR')) AS v (i, c) WHERE id = i;
SELECT c.id, c.country, h AS channel, array_agg(t || ': ' || coalesce(to_char(journey.quiet_until(id, h, t, '2026-01-05 22:00'), 'HH24:MI'), 'free') ORDER BY t) AS until
FROM shop.customers c, unnest('{email,sms}'::text[]) AS h, unnest('{promotions,education,service}'::text[]) AS t WHERE id <= 8 GROUP BY 1, 2, 3 ORDER BY 3, 1;
SELECT journey.quiet_until(99, 'email', 'promotions', '2026-01-05 22:00');
SELECT journey.quiet_until(1, 'fax', 'promotions', '2026-01-05 22:00');
SELECT journey.quiet_until(1, 'email', 'gossip', '2026-01-05 22:00');
SELECT journey.quiet_until(1, 'email', 'promotions', 'infinity');
SELECT journey.quiet_until(NULL::bigint, 'email', 'promotions', '2026-01-05 22:00');
-- exceptions need a country that is known
SELECT journey.create_quiet_hours('revelry', '22:00', '23:00', countries => '{GB,US-FL}', action => 'send');
SELECT c.id, c.country, to_char(journey.quiet_until(id, 'sms', 'promotions', '2026-01-05 21:30'), 'HH24:MI') AS at_21_30, to_char(journey.quiet_until(id, 'sms', 'promotions', '2026-01-05 22:00'), 'HH24:MI') AS at_22_00
FROM shop.customers c WHERE id <= 8 ORDER BY 1;
SELECT journey.drop_quiet_hours('revelry');
SELECT journey.drop_quiet_hours('school');

-- where a contact may be: its own zone, else its region's, its country's, the shop's, UTC
UPDATE shop.customers SET tz = z, country = c FROM (VALUES
	(1, 'Asia/Tokyo', 'US'), (2, 'europe/paris', 'US'), (3, NULL, 'US'), (4, NULL, 'US-FL'), (5, NULL, 'US-HI'), (6, 'UTC+3', 'US'), (7, 'EST', NULL), (8, 'Mars/X', 'FR'), (9, '', 'FR'), (10, repeat('x', 10000), NULL), (11, NULL, NULL)) AS v (i, z, c) WHERE id = i;
SELECT journey.create_quiet_hours('night', '21:00', '08:00');
SELECT id, left(tz, 10) AS tz, country, journey.quiet_until(id, 'sms', 'promotions', '2026-01-05 22:00') AS until FROM shop.customers WHERE id <= 11 ORDER BY 1;
SELECT journey.set_timezone('{America/New_York,America/Chicago,America/Denver,America/Los_Angeles}', 'US', '2026-01-01');
SELECT journey.set_timezone('{America/New_York,America/Chicago}', 'US-FL', '2026-01-01');
SELECT journey.set_timezone('{Australia/Sydney}', at => '2026-01-01');
SELECT id, left(tz, 10) AS tz, country, journey.quiet_until(id, 'sms', 'promotions', '2026-01-05 12:00') AS until_1, journey.quiet_until(id, 'sms', 'promotions', '2026-01-06 01:00') AS until_2, journey.quiet_until(id, 'sms', 'promotions', '2026-01-06 20:00') AS until_3
FROM shop.customers WHERE id <= 11 ORDER BY 1;
-- zones so far apart that it is always night in one of them
SELECT journey.set_timezone('{Europe/London,Pacific/Auckland,Asia/Tokyo}', 'FR', '2026-01-01');
SELECT journey.quiet_until(8, 'sms', 'promotions', '2026-01-06 12:00');
SELECT journey.set_timezone(NULL, 'FR');

-- in journeys
SELECT journey.create_quiet_hours('night', '21:00', '08:00', jitter => '30 minutes');
SELECT journey.create_quiet_hours('noon', '12:00', '13:00', channels => '{sms}', action => 'skip');
SET client_min_messages = warning;
SELECT journey.create_journey('promo', $$ ON EVENT go TOPIC promotions SEND sms text EXPIRES '1 day'; $$, '2026-01-01');
SELECT journey.create_journey('flash', $$ ON EVENT go TOPIC promotions SEND email news EXPIRES '2 hours'; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT go TOPIC service SEND email news; $$, '2026-01-01');
RESET client_min_messages;
SELECT journey.activate(j) FROM unnest('{promo,flash,receipt}'::text[]) AS j;
UPDATE shop.customers SET tz = z, country = NULL FROM (VALUES (1, 'UTC'), (2, 'Asia/Tokyo'), (3, 'Mars/X'), (4, 'America/Caracas')) AS v (i, z) WHERE id = i;
SELECT journey.set_timezone('{UTC}', at => '2026-01-01');
-- 22:00, 07:00, 22:00 by default, 18:00
SELECT count(journey.track(id, 'go', '{}', '2026-01-05 22:00')) FROM shop.customers WHERE id <= 4;
SELECT journey.tick('2026-01-05 22:00');
CREATE VIEW shop.verdicts AS
	SELECT v.contact, j.name AS journey, v.at, v.stage, v.verdict, v.reason, v.until, v.evidence
	FROM journey_state.verdict v JOIN journey.version r USING (version_id) JOIN journey.journey j USING (journey_id);
SELECT contact, journey, verdict, reason, CASE WHEN until >= '2026-01-06 08:00' THEN until >= '2026-01-06 08:00' AND until < '2026-01-06 08:30' WHEN until >= '2026-01-05 23:00' THEN until < '2026-01-05 23:30' END AS until_the_end_and_a_little
FROM shop.verdicts ORDER BY 1, 2;
SELECT contact, jsonb_pretty(evidence - 'until' - 'consent' - 'caps' - 'address') AS evidence FROM shop.verdicts WHERE journey = 'promo' ORDER BY 1;
SELECT contact, evidence -> 'expires_at' AS expires_at, (evidence ->> 'until')::timestamptz >= '2026-01-06 08:00' AS until_after FROM shop.verdicts WHERE journey = 'flash' AND verdict = 'withheld' ORDER BY 1;
-- no message before it may go
SELECT contact, channel, status FROM journey_state.message ORDER BY 1, 2;
-- it goes when its time comes, no earlier; what was put off is asked about again
UPDATE shop.customers SET tz = 'America/New_York' WHERE id = 3;
SELECT journey.tick('2026-01-06 07:59:59');
SELECT contact, journey, at, verdict FROM shop.verdicts WHERE at > '2026-01-05 22:00' AND contact <> 2 ORDER BY 1, 2, 3;
SELECT journey.tick('2026-01-06 08:30');
SELECT contact, journey, verdict, reason, until > '2026-01-06 13:00' AS until_there FROM shop.verdicts WHERE at > '2026-01-06 08:00' ORDER BY 1, 2, 3;

-- jitter: the same for the same run's step, spread over others, not into the next quiet hours, not past expiry
SELECT count(DISTINCT until) AS different, min(until) >= '2026-01-06 08:00' AS min, max(until) < '2026-01-06 08:30' AS max FROM shop.verdicts WHERE until BETWEEN '2026-01-06 08:00' AND '2026-01-06 08:30' AND at < '2026-01-06';
UPDATE shop.customers SET tz = 'UTC';
SELECT journey.create_quiet_hours('after', '08:05', '20:00', jitter => '0');
SELECT count(journey.track(id, 'go', '{}', '2026-01-07 23:00')) FROM shop.customers WHERE id > 4;
SELECT journey.tick('2026-01-07 23:00');
SELECT count(*), count(DISTINCT until) AS different, min(until) >= '2026-01-08 08:00' AS min, max(until) < '2026-01-08 08:05' AS max FROM shop.verdicts WHERE at = '2026-01-07 23:00' AND verdict = 'deferred' AND journey = 'promo';
SELECT journey.drop_quiet_hours('after');
SELECT journey.tick('2026-01-08 08:06');
SELECT verdict, count(*) FROM shop.verdicts WHERE at > '2026-01-07 23:00' GROUP BY 1;
SELECT journey.create_quiet_hours('night', '21:00', '23:00', channels => '{email}', jitter => '24 hours');
SELECT count(journey.track(id, 'go', '{}', '2026-01-08 22:00')) FROM shop.customers WHERE id > 4;
SELECT journey.tick('2026-01-08 22:00');
SELECT count(*), count(DISTINCT until) AS different, min(until) >= '2026-01-08 23:00' AS min, max(until) < '2026-01-09 00:00' AS max FROM shop.verdicts WHERE at = '2026-01-08 22:00' AND verdict = 'deferred' AND journey = 'flash';

-- skip withholds
SELECT journey.track(20, 'go', '{}', '2026-01-09 12:30');
SELECT journey.tick('2026-01-09 12:30');
SELECT journey, verdict, reason, evidence -> 'quiet_hours' AS quiet_hours FROM shop.verdicts WHERE at = '2026-01-09 12:30' AND contact = 20 AND reason IS DISTINCT FROM 'expired' ORDER BY 1;

-- the claim asks again: decided before the night, asked for in it
SELECT journey.create_quiet_hours('night', '21:00', '08:00');
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.open_relay('r', :'token');
SELECT count(*) > 0 AS others FROM journey.claim('r', 100, at => '2026-01-09 13:00');
SELECT journey.track(1, 'go', '{}', '2026-01-09 20:59');
SELECT journey.tick('2026-01-09 20:59');
SELECT count(*) FROM journey.claim('r', 100, at => '2026-01-09 21:00') AS c WHERE c.channel = 'sms';
SELECT journey, stage, verdict, reason, until FROM shop.verdicts WHERE contact = 1 AND at >= '2026-01-09 20:00' ORDER BY at, 1;
SELECT count(*) FROM journey.claim('r', 100, at => '2026-01-10 07:59:59') AS c WHERE c.channel = 'sms';
SELECT c.channel FROM journey.claim('r', 100, at => '2026-01-10 08:00') AS c;
SELECT journey, stage, verdict, reason, until FROM shop.verdicts WHERE contact = 1 AND at >= '2026-01-09 20:00' AND journey <> 'receipt' ORDER BY at, 1;

-- statutes
SELECT name, part, country, starts, ends, days, max_messages, per FROM journey.statute ORDER BY 1, 2;
SELECT count(*) FROM journey.statute WHERE source = '' OR rule = '';
SELECT count(journey.drop_quiet_hours(name)) FROM journey.quiet_hours;
SELECT journey.apply_statute('us_tcpa', 'sms');
SELECT journey.apply_statute('us_tx', 'sms');
SELECT journey.apply_statute('us_ri', 'sms');
SELECT journey.apply_statute('us_xx', 'sms');
SELECT journey.apply_statute('us_tcpa', 'fax');
DELETE FROM journey.statute;
UPDATE shop.customers SET tz = z, country = c FROM (VALUES (1, 'America/Chicago', 'US-TX'), (2, 'America/New_York', 'US-RI'), (3, 'America/New_York', 'US-NY'), (4, 'America/New_York', 'US'), (5, 'Europe/London', 'GB')) AS v (i, z, c) WHERE id = i;
-- Saturday evening, Sunday morning and evening
SELECT c.id, c.country, a AT TIME ZONE c.tz AS local, journey.quiet_until(id, 'sms', 'promotions', a) AT TIME ZONE c.tz AS until
FROM shop.customers c, unnest('{2026-01-10 23:30+00,2026-01-11 02:30+00,2026-01-11 16:00+00,2026-01-12 02:30+00}'::timestamptz[]) AS a WHERE id <= 5 ORDER BY 1, 3;
SELECT journey.quiet_until(1, 'email', 'promotions', '2026-01-11 08:00');
