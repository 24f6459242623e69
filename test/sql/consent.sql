-- Consent, suppression, topics, channels and templates: what is kept and what is refused.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
\set VERBOSITY terse
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');

-- the newest word counts, whatever the order in which it arrives
SELECT journey.set_consent(1, 'email', 'promotions', true, 'form', '2026-01-01');
SELECT journey.set_consent(1, 'email', 'promotions', false, 'link', '2026-01-03');
SELECT journey.set_consent(1, 'email', 'promotions', true, 'import', '2026-01-02');
SELECT journey.set_consent(1, 'email', 'promotions', false, 'again', '2026-01-03');
SELECT journey.set_consent(2::smallint, 'email', '*', true, 'form', '2026-01-01');
SELECT journey.set_consent('3'::text, 'email', 'education', true, 'form', '2026-01-01');
SELECT * FROM journey_state.consent ORDER BY contact, topic;
SELECT contact, topic, granted, source, at, set_by FROM journey_state.consent_log ORDER BY consent_id;

-- with its proof; what is recorded stays as it is
SELECT journey.set_consent(5, 'email', 'promotions', true, 'checkout', '2026-01-01', 'Yes, send me offers (box not ticked beforehand), v3', '2001:db8::7');
SELECT journey.set_consent(5, 'email', 'promotions', true, 'checkout', '2026-01-02', proof => 'by phone, call 4711');
SELECT k.granted, k.at, g.proof, g.ip, g.request_id FROM journey_state.consent k JOIN journey_state.consent_log g USING (contact, consent_id) WHERE contact = 5;
SELECT at, proof, ip FROM journey_state.consent_log WHERE contact = 5 ORDER BY at;
UPDATE journey_state.consent_log SET granted = true WHERE contact = 1;
DELETE FROM journey_state.consent_log WHERE contact = 1;
TRUNCATE journey_state.consent_log;

-- refused
SELECT journey.set_consent(1, 'email', 'promtions', true, 'form');
SELECT journey.set_consent(1, 'pigeon', 'promotions', true, 'form');
SELECT journey.set_consent(1, '*', 'promotions', true, 'form');
SELECT journey.set_consent(NULL::bigint, 'email', 'promotions', true, 'form');
SELECT journey.set_consent(1, 'email', 'promotions', NULL, 'form');
SELECT journey.set_consent('one'::text, 'email', 'promotions', true, 'form');
SELECT journey.set_consent(1, 'email', 'promotions', true, 'form', 'infinity');
RESET SESSION AUTHORIZATION;
SELECT journey.set_consent(1, 'email', 'promotions', true, 'form');
-- EXECUTE is all that another role needs; the log says who it was
CREATE ROLE regress_web;
GRANT USAGE ON SCHEMA journey TO regress_web;
SET SESSION AUTHORIZATION regress_web;
SELECT journey.set_consent(4, 'email', 'promotions', true, 'form', '2026-01-01');
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION journey.set_consent TO regress_web;
SET SESSION AUTHORIZATION regress_web;
SELECT journey.set_consent(4, 'email', 'promotions', true, 'form', '2026-01-01');
SELECT * FROM journey_state.consent;
SET SESSION AUTHORIZATION shop;
SELECT contact, topic, granted, set_by FROM journey_state.consent_log WHERE contact = 4;

-- suppression
SELECT journey.suppress('email', 'C5@Shop.example', 'asked by phone', '2026-01-01');
SELECT journey.suppress('pigeon', 'C5@Shop.example', 'asked by phone', '2026-01-01');
SELECT * FROM journey_state.suppression;
SELECT journey.unsuppress('email', 'c5@SHOP.example');
SELECT journey.unsuppress('email', 'c5@SHOP.example');

-- topics
SELECT journey.create_topic('receipts', 'transactional');
SELECT journey.create_topic('receipts', 'transactional');
SELECT journey.create_topic('receipts', 'promotional');
SELECT journey.create_topic('x', 'marketing');
SELECT journey.create_topic('*', 'promotional');
SELECT journey.create_topic('Two Words', 'promotional');

-- channels
SELECT journey.create_channel('sms', 'twilio', '{}');
SELECT journey.create_channel('e-mail', 'smtp', '{}');
SELECT journey.create_channel('x', 'smtp', '[]');
SELECT journey.create_channel('x', 'smtp', NULL);
SELECT journey.create_channel('x', 'smtp', '{"from": "hi@shop.example"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://localhost"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://localhost", "from": "hi@shop.example", "password": "secret"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://user:secret@localhost", "from": "hi@shop.example"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "http://localhost", "from": "hi@shop.example"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://localhost:99999", "from": "hi@shop.example"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://local host", "from": "hi@shop.example"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://localhost/\r\nQUIT", "from": "hi@shop.example"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://localhost", "from": "hi"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://localhost", "from": "Shop\r\nBcc: x <hi@shop.example>"}');
SELECT journey.create_channel('x', 'smtp', '{"url": 25, "from": "hi@shop.example"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://localhost", "from": "hi@shop.example", "address": "fax"}');
SELECT journey.create_channel('x', 'smtp', '{"url": "smtp://localhost", "from": "hi@shop.example", "domain": "shop example"}');
SELECT journey.create_channel('mail', 'smtp', '{"url": "smtps://[::1]:465", "from": "hi@shop.example", "domain": "shop.example"}');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://mx.shop.example:587/", "from": "Shop <hi@shop.example>"}');
SELECT name, provider, address, settings FROM journey.channel ORDER BY name;

-- a grant dated in the future, by a clock that is ahead, does not outlast a withdrawal
SELECT journey.set_consent(19::bigint, 'email', 'promotions', true, 'web', '2999-01-01');
SELECT journey.set_consent(19::bigint, 'email', 'promotions', false, 'mail', '2026-06-01');
SELECT granted, source, at FROM journey_state.consent WHERE contact = 19;
SELECT journey.set_consent(19::bigint, 'email', 'promotions', true, 'web', '2026-07-01');
-- one older than a grant of the past still goes to the log alone
SELECT journey.set_consent(19::bigint, 'email', 'promotions', false, 'old list', '2026-06-15');
SELECT granted, source, at FROM journey_state.consent WHERE contact = 19;
SELECT count(*) FROM journey_state.consent_log WHERE contact = 19;

-- templates
SELECT journey.create_template('hello', 'email', 'Hello {{first_name}}', 'Body');
SELECT journey.create_template('hello', 'mail', 'Hello {{ first_name', 'Body');
SELECT journey.create_template('hello', 'mail', 'Hello', 'Body {% if x %}');
SELECT journey.create_template('hello', 'mail', 'Hello', 'Body', '<p>{{ | }}</p>');
SELECT journey.create_template('hello', 'mail', E'Hello\nBcc: x', 'Body');
SELECT journey.create_template('hello', 'mail', NULL, 'Body');
SELECT journey.create_template('hello', 'pigeon', 'Hello', 'Body');
SELECT journey.create_template('Hello', 'mail', 'Hello', 'Body');
SELECT journey.create_template('hello', 'mail', 'Hi {{first_name}}', 'Body', '<p>x</p>');
SELECT name, channel, subject, body, html FROM journey.template;

-- caps
SELECT journey.create_cap('weekly', 3, '7 days');
SELECT journey.create_cap('weekly', 2, '7 days', channels => '{email}');
SELECT journey.create_cap('x', -1, '7 days');
SELECT journey.create_cap('x', 1, '-1 day');
SELECT journey.create_cap('x', 1, '0');
SELECT journey.create_cap('x', 1, NULL);
SELECT journey.create_cap('x', 1, '1 day', channels => '{pigeon}');
SELECT name, max_messages, per, channels FROM journey.cap;
SELECT journey.drop_cap('weekly');
SELECT journey.drop_cap('weekly');
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_web;
DROP ROLE regress_web;
