--
-- The whole way, from the shop's statement to a claimed message, where it is
-- less usual: keys of type uuid, rows that come by COPY, a shop nobody has
-- registered with yet, row security on the contact table.
--
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop

-- a shop whose keys are uuids, without a contact
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
SELECT journey.detach();
DROP SCHEMA journey_state CASCADE;
CREATE TABLE shop.people (code uuid PRIMARY KEY, first_name text, email text);
CREATE TABLE shop.visits (id bigint PRIMARY KEY, who uuid NOT NULL, at timestamptz NOT NULL);
ALTER TABLE shop.people OWNER TO shop;
ALTER TABLE shop.visits OWNER TO shop;
SELECT journey.attach('shop.people', key => 'code', email => 'email', owner => 'shop');
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('visited', 'shop.visits', contact => 'who', at => 'at');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello {{ first_name }}', body => 'You are {{ code }}.');
SELECT journey.create_journey('welcome', $$
	ON EVENT visited
	TOPIC promotions
	WAIT '1 hour';
	SEND email hello;
$$);
SELECT journey.activate('welcome');
SELECT * FROM journey.tick('2026-01-01 00:00');
SELECT count(*) FROM journey.funnel;
SELECT entered FROM journey.journey_performance;
SELECT * FROM journey.explain('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
SELECT * FROM journey.check('2026-01-01 00:00') WHERE violations > 0;
SELECT name FROM journey.health('2026-01-01 00:00') WHERE status <> 'ok';

-- people come, and visits of people nobody knows; one statement is one set
COPY shop.people FROM STDIN;
a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11	Ada	ada@example.com
b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11	Bob	bob@example.com
\.
SELECT count(journey.set_consent(code, 'email', 'promotions', true, 'form', at => '2026-01-01')) FROM shop.people;
COPY shop.visits FROM STDIN;
1	a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11	2026-01-02 12:00+00
2	B0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11	2026-01-02 12:00+00
3	c0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11	2026-01-02 12:00+00
\.
SELECT events FROM journey.tick('2026-01-02 12:00');
SELECT contact, reason FROM journey_state.refusal;
SELECT messages FROM journey.tick('2026-01-02 13:00');
SELECT journey.open_relay('r', :'token') > 0 AS opened;
SELECT recipient, subject, body FROM journey.claim('r', at => '2026-01-02 13:00') ORDER BY recipient;
SELECT journey.report('r', array_agg(message_id), array_agg(1), array_agg('sent'::text), array_agg('2.0.0'::text), array_agg('250 Ok'::text), '2026-01-02 13:01')
FROM journey.messages WHERE status = 'claimed';
SELECT contact, pg_typeof(contact), status FROM journey.messages ORDER BY contact;
SELECT what, detail FROM journey.explain('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11') WHERE what IN ('message', 'receipt');
SELECT * FROM journey.check('2026-01-02 13:01') WHERE violations > 0;

-- row security: whom the owner may not see is no contact, and nobody is written to
-- who has gone out of sight since
CREATE POLICY visible ON shop.people USING (first_name <> 'Bob');
ALTER TABLE shop.people ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
INSERT INTO shop.visits VALUES (4, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-01-03 12:00+00'), (5, 'b0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '2026-01-03 12:00+00');
SELECT events FROM journey.tick('2026-01-03 12:00');
SELECT contact, reason FROM journey_state.refusal WHERE at >= '2026-01-03';
SELECT messages FROM journey.tick('2026-01-03 13:00');
ALTER POLICY visible ON shop.people USING (first_name = 'nobody');
SELECT recipient FROM journey.claim('r', at => '2026-01-03 13:00');
SELECT contact, status, reason FROM journey.messages WHERE decided_at >= '2026-01-03';
SELECT * FROM journey.check('2026-01-03 13:00') WHERE violations > 0;
RESET SESSION AUTHORIZATION;
SELECT journey.detach();
DROP EXTENSION pg_journey;
