-- A template goes only when nothing sends it any more.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example", "address": "phone"}');
SELECT count(journey.create_template(name, channel, '', 'b')) FROM unnest('{a,b,c}'::text[]) name, unnest('{email,sms}'::text[]) channel;
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-01-01')) FROM shop.customers;
SELECT journey.create_journey('j', $$ ON EVENT go TOPIC promotions WAIT '1 day'; SEND email a; $$, '2025-01-01');
SELECT journey.create_journey('k', $$ ON EVENT never TOPIC promotions SEND FIRST OF (email, sms) b; $$, '2025-01-01');
SELECT journey.activate('j');

SELECT journey.drop_template('a');
SELECT journey.drop_template('a', 'email');
-- no step sends it by SMS
SELECT journey.drop_template('a', 'sms');
SELECT journey.drop_template('a', 'sms');
SELECT journey.drop_template('nothing');
SELECT journey.drop_template('b', 'sms');
SELECT journey.drop_template('c');
SELECT name, channel FROM journey.template ORDER BY 1, 2;

-- a new version sends something else, but a run of the old one is under way
SELECT journey.track(1, 'go', at => '2025-01-02') > 0 AS tracked;
SELECT events FROM journey.tick('2025-01-02');
SELECT journey.create_journey('j', $$ ON EVENT go TOPIC promotions SEND email b; $$, '2025-01-02');
SELECT journey.activate('j');
SELECT journey.drop_template('a');
-- the run ends, its message waits
SELECT messages FROM journey.tick('2025-01-03');
SELECT status FROM journey_state.enrollment;
SELECT journey.drop_template('a');
SELECT journey.issue_site_token() AS token \gset
SELECT journey.open_relay('r', :'token') > 0 AS opened;
SELECT count(*) FROM journey.claim('r', at => '2025-01-20');
SELECT status, reason FROM journey_state.message;
SELECT journey.drop_template('a');
-- a journey that is dropped sends nothing
SELECT journey.drop_template('b');
SELECT journey.drop_journey(name) FROM unnest('{j,k}'::text[]) name;
SELECT journey.drop_template('b');
SELECT count(*) FROM journey.template;
