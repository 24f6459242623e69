-- journey.why(), and the views of what the gate does.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
-- who is assigned to which arm depends on the site
UPDATE journey.site SET site_id = '00000000-0000-4000-8000-000000000001';
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2025-12-01', 'I want news', '192.0.2.7')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('promo', $$ ON EVENT go KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '10 days' WHEN CAPPED DEFER; $$, '2026-01-01');
SELECT journey.create_journey('offer', $$ ON EVENT offer TOPIC promotions PRIORITY 70 WAIT '1 day'; SEND email news; $$, '2026-01-01');
RESET client_min_messages;
SELECT journey.activate('promo'), journey.activate('offer');
SELECT journey.create_cap('daily', 1, '1 day', at => '2026-01-01');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', at => '2026-01-01');
SELECT journey.open_relay('r1', :'token');

-- 1 gets one message, the next waits for its place and then for the morning; 2 waits for an offer; 3 is suppressed
SELECT count(journey.track(id, 'go', '{"k": "a"}', '2026-01-05 22:30')) FROM shop.customers WHERE id = 1;
SELECT count(journey.track(id, 'offer', '{}', '2026-01-05 22:30')) FROM shop.customers WHERE id = 2;
SELECT journey.tick('2026-01-05 22:30');
TABLE journey.upcoming_sends;
SELECT journey.pause('offer');
SELECT journey FROM journey.upcoming_sends;
SELECT journey.resume('offer');
SELECT journey.tick('2026-01-06 08:00');
SELECT message_id, attempt FROM journey.claim('r1', at => '2026-01-06 08:10');
SELECT journey.report('r1', '{1}', '{1}', '{sent}', '{250}', '{""}', '2026-01-06 08:10');
SELECT count(journey.track(id, 'go', '{"k": "b"}', '2026-01-06 22:30')) FROM shop.customers WHERE id IN (1, 3);
SELECT journey.tick('2026-01-06 22:30');
SELECT journey.tick('2026-01-07 08:00');
TABLE journey.upcoming_sends;
SELECT * FROM journey.cap_usage('2026-01-07 08:05');
SELECT journey.tick('2026-01-07 08:10');
SELECT journey.suppress('email', 'c3@shop.example', 'complaint', at => '2026-01-07 08:15');
SELECT message_id, attempt FROM journey.claim('r1', at => '2026-01-07 08:20') ORDER BY message_id;

\pset format unaligned
SELECT * FROM journey.why(1);
SELECT m.contact, w.* FROM journey_state.message m, journey.why(m.message_id) w WHERE m.message_id > 1 ORDER BY m.message_id, w.at;
SELECT at, what, detail FROM journey.explain(1) WHERE what = 'verdict';
SELECT at, what, detail FROM journey.explain(3) WHERE what = 'verdict';
SELECT * FROM journey.why(99);
SELECT * FROM journey.why(NULL);
-- what a later version may write is shown as it is
SELECT journey.evidence_words('moon', '{"phase": "full"}'), journey.evidence_words('caps', '[]'), journey.evidence_words('caps', '"handed over before"');

TABLE journey.suppression_share;
SELECT * FROM journey.cap_usage('2026-01-07 08:30');
SELECT cap, max_messages FROM journey.cap_use;
TABLE journey.upcoming_sends;

-- the window is the one that was looked at, also when the cap has become another one, or is gone
SELECT journey.create_cap('daily', 5, calendar => 'week', at => '2026-01-08');
SELECT detail FROM journey.explain(1) WHERE detail LIKE '%capped%';
SELECT journey.drop_cap('daily');
SELECT detail FROM journey.explain(1) WHERE detail LIKE '%capped%';
SELECT journey.window_words('{"from": "2026-01-05T00:00:00+00:00", "to": "2026-01-12T00:00:00+00:00", "zone": "UTC"}', '1 day'),
	journey.window_words('{"from": "2026-10-24T23:00:00+00:00", "to": "2026-10-26T00:00:00+00:00", "zone": "Europe/London"}', NULL),
	journey.window_words('{"from": "2026-02-05T00:00:00+00:00", "to": "2026-03-05T00:00:00+00:00"}', '1 month'),
	journey.window_words('{"from": "2026-02-05T00:00:00+00:00", "to": "2026-03-05T00:00:00+00:00"}', '3 days'),
	journey.window_words('{}', '3 days') IS NULL AS nothing_kept;

-- a day is 24 hours, whatever the session's clock does
SELECT journey.create_cap('season', 1, '62 days', at => '2026-01-01');
SET timezone = 'America/New_York';
SELECT uses FROM journey.cap_usage('2026-03-09 07:50+00');
SET timezone = 'UTC';
SELECT uses FROM journey.cap_usage('2026-03-09 07:50+00');
