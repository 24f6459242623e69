-- The gate: every reason for which a message is withheld, in their order.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example", "address": "phone"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello {{first_name}}');
SELECT journey.create_template('text', 'sms', '', 'Hello {{first_name}}');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers WHERE id <> 4;
SELECT count(journey.set_consent(id, 'sms', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers;
SELECT journey.set_consent(4, 'email', '*', true, 'form', '2025-12-02');
SET client_min_messages = warning;
SELECT journey.create_journey('promo', $$ ON EVENT go TOPIC promotions WAIT '1 hour'; SEND email news EXPIRES '1 day'; SEND sms text; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT go TOPIC service WAIT '1 hour'; SEND email news; $$, '2026-01-01');
RESET client_min_messages;
SELECT journey.activate('promo');
SELECT journey.activate('receipt');
SELECT count(journey.track(id, 'go', '{}', '2026-01-05 10:00')) FROM shop.customers WHERE id <= 14;
SELECT journey.tick('2026-01-05 10:00');

-- what happens while they wait
SELECT journey.set_consent(2, 'email', 'promotions', false, 'link', '2026-01-05 10:10');
SELECT journey.set_consent(3, 'email', '*', false, 'link', '2026-01-05 10:10');
SELECT journey.suppress('email', 'C5@Shop.EXAMPLE', 'hard bounce', '2026-01-05 10:10');
UPDATE shop.customers SET email = NULL, phone = NULL WHERE id = 6;
UPDATE shop.customers SET email = 'c7@shop', phone = '020 7946 0000' WHERE id = 7;
DELETE FROM shop.customers WHERE id = 8;
UPDATE shop.customers SET email = E'c9@shop.example\r\nRCPT TO:<evil@example.com>' WHERE id = 9;
UPDATE shop.customers SET email = '' WHERE id = 10;
UPDATE shop.customers SET email = 'Jane.O''Neil+tag@SHOP.Example' WHERE id = 11;
-- no consent and no address: consent comes first
UPDATE shop.customers SET email = NULL WHERE id = 12;
SELECT journey.set_consent(12, 'email', 'promotions', false, 'link', '2026-01-05 10:10');
-- suppressed, and the address is bad now: the new address is what counts
SELECT journey.suppress('email', 'c13@shop.example', 'complaint', '2026-01-05 10:10');
UPDATE shop.customers SET email = 'nobody' WHERE id = 13;
SELECT journey.tick('2026-01-05 11:00');

SELECT v.contact, j.name AS journey, coalesce(m.channel, '') AS channel, v.step_no AS step, v.stage, v.verdict, v.reason
FROM journey_state.verdict v JOIN journey.version r USING (version_id) JOIN journey.journey j USING (journey_id)
LEFT JOIN journey_state.message m ON m.message_id = v.message_id
ORDER BY j.name, v.step_no, v.contact;
SELECT v.contact, v.step_no AS step, v.evidence #- '{consent,id}' AS evidence
FROM journey_state.verdict v JOIN journey.version r USING (version_id) JOIN journey.journey j USING (journey_id)
WHERE j.name = 'promo' AND v.step_no = 2 AND v.contact <= 11 ORDER BY v.contact;
-- and the consent's number leads to its record
SELECT count(*) AS verdicts, count(g.consent_id) FILTER (WHERE g.granted = (v.evidence #>> '{consent,granted}')::boolean AND g.source = v.evidence #>> '{consent,source}') AS recorded
FROM journey_state.verdict v LEFT JOIN journey_state.consent_log g ON g.contact = v.contact AND g.consent_id = (v.evidence #>> '{consent,id}')::bigint
WHERE v.evidence -> 'consent' <> 'null';

-- the grammar of addresses
\pset format unaligned
SELECT a, journey._is_email(a) AS ok FROM unnest(ARRAY[
	'a@b.example', 'first.last+tag@sub.domain.example', 'a@b', 'a@xn--bcher-kva.example', 'a@bücher.example', 'δοκιμή@παράδειγμα.ελ', 'a@例',
	'', '@b.example', 'a@', 'a@@b.example', 'a@b@c.example', '.a@b.example', 'a.@b.example', 'a..b@c.example', 'a b@c.example', ' a@b.example', 'a@b.example ',
	'<a@b.example>', 'a@b.example>', E'a@b.example\n', E'a@b.example\r\nDATA', E'a\tb@c.example', E'a\x01@b.example', 'a@b.example,c@d.example', '"a b"@c.example', 'a(b)@c.example', 'a\b@c.example',
	'a@[127.0.0.1]', 'a@127.0.0.1', 'a@-b.example', 'a@b-.example', 'a@b..example', 'a@b.example.', 'a@.example', 'a@b_c.example', E'a@b\u0085c.example', E'a@b\u2028c.example', E'a\u200b@b.example',
	repeat('a', 64) || '@b.example', repeat('a', 65) || '@b.example', 'a@' || repeat('b', 63) || '.example', 'a@' || repeat('b', 64) || '.example', 'a@' || repeat('b.', 130) || 'example']) WITH ORDINALITY AS u (a, n)
ORDER BY n;
SELECT a, journey._is_phone(a) AS ok FROM unnest(ARRAY['+442079460000', '+1234567', '+123456', '+123456789012345', '+1234567890123456', '442079460000', '+042079460000', '+44 2079460000', E'+442079460000\n', '+', '']) WITH ORDINALITY AS u (a, n) ORDER BY n;
SELECT a, journey._is_mailbox(a) AS ok FROM unnest(ARRAY['a@b.example', 'Shop <a@b.example>', 'Bücher & Co. <a@b.example>', ' <a@b.example>', 'Shop<a@b.example>', 'Shop <a@b.example> x', 'Shop <a@b.example', E'Shop\r\nBcc: x <a@b.example>', 'Shop "x" <a@b.example>', 'A <b@c.example> <d@e.example>', '<a@b.example>', '']) WITH ORDINALITY AS u (a, n) ORDER BY n;
