-- Why somebody did not enter, with what was looked at.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SET client_min_messages = warning;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example", "address": "phone"}');
SELECT count(journey.create_template('t', channel, '', 'b')) FROM unnest('{email,sms}'::text[]) channel;
SELECT journey.create_journey('j', $$ ON EVENT go TOPIC promotions SEND email t; SEND sms t ALSO; $$, '2025-01-01');
SELECT journey.activate('j');
UPDATE shop.customers SET email = 'c' || id || '@customers.example';
-- 1 enters; 2 never agreed; 3 withdrew; 4, 5 suppressed; 6 has a role's address, 7 none that is one; 8 has none
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-01-01')) FROM shop.customers WHERE id <> 2;
SELECT journey.set_consent(3, 'email', '*', false, 'link', '2025-01-02');
SELECT journey.suppress('email', 'C4@customers.example', 'asked', '2025-01-02');
SELECT journey.suppress_contact(5, 'closed', at => '2025-01-02');
UPDATE shop.customers SET email = 'info@customers.example' WHERE id = 6;
UPDATE shop.customers SET email = 'nowhere' WHERE id = 7;
UPDATE shop.customers SET email = NULL WHERE id = 8;
SELECT count(journey.track(id, 'go', at => '2025-01-03')) FROM shop.customers WHERE id <= 8;
SELECT events FROM journey.tick('2025-01-03');
SELECT r.contact, r.reason, r.channel, r.evidence - 'consent' AS evidence, r.evidence -> 'consent' ->> 'granted' AS granted, x.detail
FROM journey_state.refusal r JOIN LATERAL journey.explain(r.contact) x ON x.what = 'refused' ORDER BY 1;
TABLE journey.refusals;
SELECT count(*) FROM journey_state.enrollment;
