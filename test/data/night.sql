-- A shop at night: journeys whose messages are put off, and what happens to them
-- in three days, all at whole quarters of an hour.  After shop.sql, as role shop.
\set QUIET on
\set ECHO none
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}') \g /dev/null
SELECT journey.create_template('m', 'email', 'Hello', 'Hello') \g /dev/null
UPDATE shop.customers SET tz = (ARRAY['Europe/London', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'no/where'])[1 + id % 5];
SELECT journey.set_consent(id, 'email', 'promotions', id % 7 <> 0, 'form', '2025-12-01') FROM shop.customers \g /dev/null
SELECT journey.create_quiet_hours('night', '20:00', '09:00', at => '2025-12-01') \g /dev/null
SELECT journey.create_quiet_hours('lunch', '12:00', '13:30', days => '{mon,wed}', at => '2025-12-01') \g /dev/null
SELECT journey.create_journey('promo', $$ ON EVENT go KEY event.properties->>'n' TOPIC promotions
	EXIT ON order_placed GOAL order_placed WITHIN '3 days'
	SEND email m EXPIRES '2 days'; WAIT '3 hours'; SEND email m EXPIRES '6 hours'; WAIT FOR order_placed TIMEOUT '1 day' ELSE SEND email m; END WAIT; $$, '2026-01-01') \g /dev/null
SELECT journey.create_journey('tested', $$ ON EVENT go KEY event.properties->>'n' TOPIC promotions HOLDOUT 50% GOAL order_placed WITHIN '7 days'
	SEND email m EXPIRES '12 hours'; WAIT '1 day'; IF c.id % 2 = 0 THEN SEND email m; END IF; $$, '2026-01-01') \g /dev/null
SELECT journey.create_journey('keen', $$ ON EVENT go KEY event.properties->>'n' TOPIC promotions PRIORITY 60
	WAIT '3 hours' SINCE LAST order_placed; SEND email m EXPIRES '2 days' WHEN CAPPED DEFER; WAIT '2 hours'; SEND email m PRIORITY 40 WHEN CAPPED EXIT; $$, '2026-01-01') \g /dev/null
SELECT journey.create_cap('some', 1, '1 day', journeys => '{promo,keen}', look_ahead => '4 hours', at => '2025-12-01') \g /dev/null
SELECT journey.create_journey('receipt', $$ ON EVENT go TOPIC service REENTRY ALWAYS SEND email m; $$, '2026-01-01') \g /dev/null
SELECT journey.activate(name) FROM journey.journey ORDER BY name \g /dev/null
SELECT journey.track(i, 'go', jsonb_build_object('n', n), timestamptz '2026-01-05 00:00' + (i * 137 + n * 391) % 192 * interval '15 minutes')
FROM generate_series(1, 20) i, generate_series(1, 3) n ORDER BY 1 \g /dev/null
SELECT journey.track(i, 'order_placed', '{}', timestamptz '2026-01-05 00:00' + (i * 53) % 240 * interval '15 minutes') FROM generate_series(1, 20, 2) i \g /dev/null
RESET client_min_messages;
\set ECHO all
\set QUIET off
