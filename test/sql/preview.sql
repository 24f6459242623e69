-- Previews: the data a template sees, header injection, and whose rights.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set SHOW_CONTEXT never
\set QUIET on
\pset format unaligned
\pset tuples_only on
\pset null '(null)'
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}') \g /dev/null
\set QUIET off
SELECT journey.create_template('hello', 'email', 'Hello {{ first_name }}',
	'{{ email }} {{ country }} {{ tz }} [{{ event.properties.cart_id }}] {{ event.properties.n | default: "none" }} {{ created_at | time_zone: tz | date: "%F %H:%M" }} {{ "now" | date: "%-d %B" }}',
	'<p>{{ first_name }}</p>') \g /dev/null
UPDATE shop.customers SET created_at = '2025-06-30 23:30+00' WHERE id = 2;
SELECT * FROM journey.preview('hello', 2::bigint, '2026-01-05 10:00+00');
-- any type that reads as the key's; a template without HTML
SELECT journey.create_template('plain', 'email', 'Hi', '{{ id }}') \g /dev/null
SELECT * FROM journey.preview('plain', 3, '2026-01-05 10:00+00');
SELECT * FROM journey.preview('plain', '4'::text, '2026-01-05 10:00+00');
-- a template has a text for each channel it may go over
SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example", "address": "phone"}') \g /dev/null
SELECT journey.create_template('plain', 'sms', '', 'short {{ id }}') \g /dev/null
SELECT * FROM journey.preview('plain', 3, '2026-01-05 10:00+00');
SELECT journey.create_template('plain', 'sms', '', 'shorter {{ id }}') \g /dev/null
SELECT channel, body FROM journey.preview('plain', 3, '2026-01-05 10:00+00');
SELECT journey.create_template('plain', 'fax', '', 'x');
DELETE FROM journey.template WHERE name = 'plain' AND channel = 'sms';
-- what is not there
SELECT * FROM journey.preview('nothing', 2, '2026-01-05 10:00+00');
SELECT * FROM journey.preview('plain', 99, '2026-01-05 10:00+00');
SELECT * FROM journey.preview('plain', 'x'::text, '2026-01-05 10:00+00');

-- a mistake is found when the template is made
SELECT journey.create_template('broken', 'email', 'Hello {{ first_name', 'x');
SELECT journey.create_template('broken', 'email', 'Hello', E'Dear\n{{ first_name | captalize }}');
SELECT journey.create_template('broken', 'email', 'Hello', 'x', '<p>{% if x %}</p>');
SELECT name FROM journey.template ORDER BY name;

-- a name with a line break must not become a header of its own, nor be repaired
UPDATE shop.customers SET first_name = E'Eve\r\nBcc: all@shop.example' WHERE id = 5;
SELECT * FROM journey.preview('hello', 5, '2026-01-05 10:00+00');
UPDATE shop.customers SET first_name = E'Eve\nX' WHERE id = 5;
SELECT * FROM journey.preview('hello', 5, '2026-01-05 10:00+00');
UPDATE shop.customers SET first_name = E'Eve\tX' WHERE id = 5;
SELECT * FROM journey.preview('hello', 5, '2026-01-05 10:00+00');
UPDATE shop.customers SET first_name = E'Eve\x7fX' WHERE id = 5;
SELECT * FROM journey.preview('hello', 5, '2026-01-05 10:00+00');
UPDATE shop.customers SET first_name = U&'Eve\0085X' WHERE id = 5;
SELECT * FROM journey.preview('hello', 5, '2026-01-05 10:00+00');
-- nor markup
UPDATE shop.customers SET first_name = '<img src=x>' WHERE id = 5;
SELECT subject, html FROM journey.preview('hello', 5, '2026-01-05 10:00+00');
-- the line break can also be made by the template
SELECT journey.create_template('url', 'email', '{{ "a%0D%0Ab" | url_decode }}', 'x') \g /dev/null
SELECT * FROM journey.preview('url', 5, '2026-01-05 10:00+00');

-- members only, and never in the session of a superuser
RESET SESSION AUTHORIZATION;
SELECT * FROM journey.preview('plain', 3, '2026-01-05 10:00+00');
SET ROLE shop;
SELECT * FROM journey.preview('plain', 3, '2026-01-05 10:00+00');
RESET ROLE;
CREATE ROLE regress_pgj_stranger;
SET SESSION AUTHORIZATION regress_pgj_stranger;
SELECT * FROM journey.preview('plain', 3, '2026-01-05 10:00+00');
SELECT journey.render('x', '{}');
RESET SESSION AUTHORIZATION;
DROP ROLE regress_pgj_stranger;
