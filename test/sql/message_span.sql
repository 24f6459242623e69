-- How long messages last is written down, so that caps find all that matter and read no more.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET pg_journey.message_expiry = '50d';
SET SESSION AUTHORIZATION shop;
SET client_min_messages = warning;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SELECT journey.create_journey('plain', $$ ON EVENT plain KEY event.properties->>'k' TOPIC promotions SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('brief', $$ ON EVENT brief KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '1 hour'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');
SELECT journey.create_cap('one in two days', 1, '2 days', at => '2026-01-01');

-- decided under a setting that is lowered later, and handed over at the end of its 50 days
SELECT journey.track(1, 'plain', '{"k": "a"}', '2026-01-05 10:00') \g /dev/null
SELECT messages FROM journey.tick('2026-01-05 10:00');
SELECT days, before - timestamptz '2026-01-05 10:00' BETWEEN interval '1 second' AND interval '30 days' AS within FROM journey_state.message_span;
RESET SESSION AUTHORIZATION;
SET pg_journey.message_expiry = '1d';
SET SESSION AUTHORIZATION shop;
SELECT attempt FROM journey.claim('r1', at => '2026-02-24 09:59');
-- it holds its place for two days from then on
SELECT journey.track(1, 'brief', '{"k": "b"}', '2026-02-26 09:58') \g /dev/null
SELECT messages FROM journey.tick('2026-02-26 09:58');
SELECT verdict, reason, evidence->'caps'->0->'count' AS count FROM journey_state.verdict WHERE at = '2026-02-26 09:58';
SELECT journey.track(1, 'brief', '{"k": "c"}', '2026-02-26 09:59') \g /dev/null
SELECT messages FROM journey.tick('2026-02-26 09:59');
SELECT law, violations FROM journey.check() WHERE violations > 0;

-- another row only for what lasts longer than the rows say, in its own 30 days
SELECT count(*) FROM journey_state.message_span;
SELECT journey.track(2, 'brief', '{"k": "a"}', '2026-02-26 11:00'), journey.track(3, 'plain', '{"k": "a"}', '2026-02-26 11:00') \g /dev/null
SELECT messages FROM journey.tick('2026-02-26 11:00');
SELECT count(*), count(DISTINCT before), min(days), max(days) FROM journey_state.message_span;
RESET SESSION AUTHORIZATION;
SET pg_journey.message_expiry = '30h';
SET SESSION AUTHORIZATION shop;
SELECT journey.track(4, 'plain', '{"k": "a"}', '2026-02-26 12:00') \g /dev/null
SELECT messages FROM journey.tick('2026-02-26 12:00');
SELECT days FROM journey_state.message_span WHERE before > '2026-02-26' ORDER BY days;
-- what each message lasts is in a row
SELECT count(*) AS messages, count(*) FILTER (WHERE NOT EXISTS (SELECT FROM journey_state.message_span s
	WHERE s.before > m.decided_at AND s.before <= m.decided_at + interval '720 hours' AND m.expires_at <= m.decided_at + s.days * interval '24 hours')) AS unsaid
FROM journey_state.message m;
-- rows that say nothing beside another go, and no more
INSERT INTO journey_state.message_span SELECT before, days, span_id + 1000 FROM journey_state.message_span WHERE days = 50;
SELECT journey.maintain('2026-02-26 12:00');
SELECT before > '2026-02-26' AS late, days FROM journey_state.message_span ORDER BY 1, 2;
