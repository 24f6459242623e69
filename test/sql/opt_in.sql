-- Double opt-in, withdrawing all, frequencies, preferences.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
\set VERBOSITY terse
\pset format unaligned
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>", "address": "phone"}');
SELECT journey.create_topic('recipes', 'educational');

-- a request is no consent
SELECT journey.request_consent(1, 'email', 'promotions', 'footer form', at => '2026-01-01 10:00', proof => 'Send me offers', ip => '192.0.2.1') AS one \gset
SELECT length(:'one') AS length, :'one' ~ '^[0-9a-f]+$' AS hexadecimal;
SELECT count(*) FROM journey_state.consent;
SELECT request_id > 0 AS numbered, contact, channel, topic, source, proof, ip, at, expires_at, confirmed_at,
	digest = sha256(convert_to(:'one', 'UTF8')) AS digested
FROM journey_state.consent_request;
-- the token itself is kept nowhere
SELECT count(*) FROM journey_state.consent_request r WHERE r::text LIKE '%' || :'one' || '%';
SELECT channel, topic, state, at, expires_at FROM journey.consents;

-- what is not the token; what came too late; then what is right, and only once
SELECT journey.confirm_consent('nonsense', '2026-01-01 11:00');
SELECT journey.confirm_consent(upper(:'one'), '2026-01-01 11:00') = 'unknown' OR :'one' ~ '^[0-9]+$' AS unknown;
SELECT journey.confirm_consent(:'one', '2026-01-08 10:00');
SELECT journey.confirm_consent(:'one', '2026-01-08 09:59:59.999999', ip => '192.0.2.9');
SELECT journey.confirm_consent(:'one', '2026-01-02 11:00');
SELECT journey.confirm_consent(:'one', '2027-01-02 11:00');
SELECT k.granted, k.source, k.at, g.proof, g.ip, g.request_id = r.request_id AS of_the_request, r.confirmed_at
FROM journey_state.consent k JOIN journey_state.consent_log g USING (contact, consent_id) JOIN journey_state.consent_request r USING (contact) WHERE contact = 1;

-- a withdrawal after the request wins over the confirmation: of the topic, of all topics, at the same instant, and where another grant stands by then
SELECT journey.request_consent(2, 'email', 'promotions', 'form', at => '2026-01-01 10:00') AS topic \gset
SELECT journey.request_consent(3, 'email', 'promotions', 'form', at => '2026-01-01 10:00') AS every \gset
SELECT journey.request_consent(4, 'email', 'promotions', 'form', at => '2026-01-01 10:00') AS same \gset
SELECT journey.request_consent(5, 'email', 'promotions', 'form', at => '2026-01-01 10:00') AS again \gset
SELECT journey.set_consent(2, 'email', 'promotions', false, 'link', '2026-01-02');
SELECT journey.withdraw_all(3, 'link', '2026-01-02');
SELECT journey.set_consent(4, 'email', 'promotions', false, 'link', '2026-01-01 10:00');
SELECT journey.set_consent(5, 'email', 'promotions', false, 'link', '2026-01-02');
SELECT journey.set_consent(5, 'email', 'promotions', true, 'shop', '2026-01-03');
SELECT journey.confirm_consent(t, '2026-01-04') FROM unnest(ARRAY[:'topic', :'every', :'same', :'again']) t;
SELECT contact, channel, topic, granted, source, at FROM journey_state.consent WHERE contact BETWEEN 2 AND 5 ORDER BY 1, 2, 3;
SELECT count(*) FROM journey_state.consent_log WHERE request_id IS NOT NULL;
-- one before it does not, nor one of another topic or channel
SELECT journey.set_consent(6, 'email', 'promotions', false, 'link', '2025-12-01');
SELECT journey.set_consent(6, 'email', 'recipes', false, 'link', '2026-01-02');
SELECT journey.set_consent(6, 'sms', '*', false, 'link', '2026-01-02');
SELECT journey.request_consent(6, 'email', 'promotions', 'form', at => '2026-01-01 10:00') AS back \gset
SELECT journey.confirm_consent(:'back', '2026-01-03');
SELECT contact, channel, topic, granted, at FROM journey_state.consent WHERE contact = 6 ORDER BY 1, 2, 3;
-- a grant that is newer than the confirmation stays the state; the confirmation is recorded
SELECT journey.request_consent(7, 'email', 'promotions', 'form', at => '2026-01-01 10:00') AS newer \gset
SELECT journey.set_consent(7, 'email', 'promotions', true, 'shop', '2026-01-09');
SELECT journey.confirm_consent(:'newer', '2026-01-03');
SELECT source, at FROM journey_state.consent WHERE contact = 7;
SELECT source, at, granted FROM journey_state.consent_log WHERE contact = 7 ORDER BY at;

-- nothing is sent before the confirmation
SELECT journey.create_template('t', 'email', 's', 'b');
SELECT journey.create_journey('j', 'ON EVENT go TOPIC recipes SEND email t;', '2026-01-01');
SELECT journey.activate('j');
SELECT journey.request_consent(8, 'email', 'recipes', 'form', at => '2026-02-01 10:00') AS eight \gset
SELECT journey.track(8, 'go', at => '2026-02-01 10:01');
SELECT messages FROM journey.tick('2026-02-01 10:02');
SELECT reason FROM journey_state.refusal WHERE contact = 8;
SELECT journey.confirm_consent(:'eight', '2026-02-01 10:03');
SELECT journey.track(8, 'go', at => '2026-02-01 10:04');
SELECT messages FROM journey.tick('2026-02-01 10:05');

-- refused
SELECT journey.request_consent(1, 'pigeon', 'promotions', 'form');
SELECT journey.request_consent(1, 'email', 'promtions', 'form');
SELECT journey.request_consent(1, 'email', 'promotions', NULL);
SELECT journey.request_consent(1, 'email', 'promotions', 'form', '0');
SELECT journey.request_consent(1, 'email', 'promotions', 'form', '-1 day');
SELECT journey.request_consent(1, 'email', 'promotions', 'form', '13 months');
SELECT journey.request_consent(1, 'email', 'promotions', 'form', at => 'infinity');
SELECT journey.request_consent(1, 'email', 'promotions', 'form', at => '4000-01-01 BC');
SELECT journey.confirm_consent(NULL);
SELECT journey.confirm_consent('x', 'infinity');
SELECT journey.withdraw_all(1, NULL);
SELECT journey.withdraw_all(1, 'link', '-infinity');
RESET SESSION AUTHORIZATION;
SELECT journey.request_consent(1, 'email', 'promotions', 'form');
SELECT journey.confirm_consent('x');
SELECT journey.withdraw_all(1, 'link');
SELECT * FROM journey.preferences(1);
SET SESSION AUTHORIZATION shop;

-- withdrawing all: each channel, also one that is gone; what is older than a grant does not end it
SELECT journey.set_consent(9, 'email', 'promotions', true, 'form', '2026-01-01');
SELECT journey.set_consent(9, 'sms', '*', true, 'form', '2026-01-05');
SELECT journey.withdraw_all(9, 'preference centre', '2026-01-03', 'clicked "stop everything"', '198.51.100.7');
SELECT channel, topic, state, at, source, proof, ip, set_by FROM journey.consents WHERE contact = 9 ORDER BY 1, 2;
SELECT channel, topic, granted, at FROM journey_state.consent_log WHERE contact = 9 ORDER BY consent_id;

-- how often
SELECT journey.set_frequency(10, 'email', 'promotions', 'weekly', 'preference centre', '2026-01-02');
SELECT journey.set_frequency(10, 'email', 'promotions', 'daily', 'old form', '2026-01-01');
SELECT journey.set_frequency(10, '*', '*', 'monthly', 'preference centre', '2026-01-02');
SELECT journey.set_frequency(10, 'sms', '*', 'daily', 'preference centre', '2026-01-02');
SELECT channel, topic, frequency, at FROM journey_state.frequency ORDER BY 1, 2;
SELECT journey.set_frequency(10, '*', '*', 'all', 'preference centre', '2026-01-04');
SELECT journey.set_frequency(10, '*', '*', 'monthly', 'late', '2026-01-03');
SELECT channel, topic, frequency, source, at FROM journey_state.frequency ORDER BY 1, 2;
-- a clock that was ahead has not the last word
SELECT journey.set_frequency(11, '*', '*', 'all', 'odd clock', '2999-01-01');
SELECT journey.set_frequency(11, '*', '*', 'daily', 'form', '2026-01-03');
SELECT frequency FROM journey_state.frequency WHERE contact = 11;
SELECT journey.set_frequency(10, 'email', 'promotions', 'hourly', 'form');
SELECT journey.set_frequency(10, 'pigeon', 'promotions', 'daily', 'form');
SELECT journey.set_frequency(10, 'email', 'promtions', 'daily', 'form');
SELECT journey.set_frequency(10, 'email', 'promotions', NULL, 'form');
SELECT journey.set_frequency(10, 'email', 'promotions', 'daily', 'form', 'infinity');

-- what a preference centre shows: the gate's answer, the contact's own word, the strictest frequency
SELECT journey.set_consent(10, 'email', 'promotions', true, 'form', '2026-01-01');
SELECT journey.set_consent(10, 'email', 'recipes', false, 'form', '2026-01-02');
SELECT journey.set_consent(10, 'sms', '*', true, 'form', '2026-01-03');
SELECT journey.request_consent(10, 'email', 'education', 'form', at => '2026-01-10') AS ten \gset
SELECT channel, topic, class, allowed, state, since, frequency FROM journey.preferences(10, '2026-01-11');
-- once it has expired, and all is withdrawn
SELECT journey.withdraw_all(10, 'link', '2026-01-18');
SELECT channel, topic, class, allowed, state, since, frequency FROM journey.preferences(10, '2026-01-18');
SELECT channel, topic, state, at FROM journey.consents WHERE contact = 10 ORDER BY 1, 2;
SELECT count(*), count(*) FILTER (WHERE allowed) FROM journey.preferences(20::bigint);
SELECT * FROM journey.preferences(NULL::bigint);

-- a frequency is a cap of that contact: one in each of his weeks, from Monday on; 'all' ends it
SELECT journey.open_relay('r', journey.issue_site_token()) > 0 AS opened;
SELECT journey.set_consent(c::bigint, 'email', '*', true, 'form', '2026-01-01') FROM generate_series(13, 14) c;
SELECT journey.set_frequency(13, 'email', '*', 'weekly', 'form', '2026-01-01');
CREATE FUNCTION pg_temp.go(at timestamptz) RETURNS TABLE (contact bigint, decided text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.tick($1);
	PERFORM count(*) FROM journey.claim('r', at => $1);
	RETURN QUERY SELECT v.contact, v.verdict || coalesce(' ' || v.reason, '') FROM journey_state.verdict v WHERE v.contact >= 13 AND v.at = $1 AND v.stage = 'decide' ORDER BY 1;
END
$$;
SELECT count(journey.track(c::bigint, 'go', at => t)) FROM generate_series(13, 14) c, unnest('{2026-03-02 10:00, 2026-03-08 23:59:59.999999, 2026-03-09 00:00, 2026-03-09 10:00, 2026-03-09 12:00}'::timestamptz[]) t;
SELECT * FROM pg_temp.go('2026-03-02 10:00');
SELECT * FROM pg_temp.go('2026-03-08 23:59:59.999999');
SELECT * FROM pg_temp.go('2026-03-09 00:00');
SELECT * FROM pg_temp.go('2026-03-09 10:00');
SELECT journey.set_frequency(13, 'email', '*', 'all', 'form', '2026-03-09 11:00');
SELECT * FROM pg_temp.go('2026-03-09 12:00');
SELECT law, violations, example FROM journey.check() WHERE violations > 0;

-- what was not confirmed is forgotten a month after it expired
SELECT contact, expires_at FROM journey_state.consent_request WHERE confirmed_at IS NULL ORDER BY 1;
SELECT journey.maintain('2026-02-10');
SELECT contact, expires_at FROM journey_state.consent_request WHERE confirmed_at IS NULL ORDER BY 1;
SELECT count(*) FROM journey_state.consent_request WHERE confirmed_at IS NOT NULL;

-- a front end needs EXECUTE and nothing else
RESET SESSION AUTHORIZATION;
CREATE ROLE regress_front;
GRANT USAGE ON SCHEMA journey TO regress_front;
GRANT EXECUTE ON FUNCTION journey.request_consent, journey.confirm_consent, journey.withdraw_all, journey.set_frequency, journey.preferences TO regress_front;
SET SESSION AUTHORIZATION regress_front;
SELECT journey.request_consent(12, 'email', 'promotions', 'form', at => '2026-01-01') AS twelve \gset
SELECT journey.confirm_consent(:'twelve', '2026-01-02');
SELECT journey.set_frequency(12, 'email', '*', 'weekly', 'form', '2026-01-02');
SELECT topic, allowed, state, since, frequency FROM journey.preferences(12) WHERE channel = 'email';
SELECT journey.withdraw_all(12, 'form', '2026-01-03');
SELECT topic, allowed, state, since FROM journey.preferences(12) WHERE channel = 'email';
SELECT count(*) FROM journey_state.consent_request;
SET SESSION AUTHORIZATION shop;
SELECT set_by, topic, granted FROM journey_state.consent_log WHERE contact = 12 ORDER BY consent_id;
RESET SESSION AUTHORIZATION;
DROP OWNED BY regress_front;
DROP ROLE regress_front;

-- keys that are no numbers
\set QUIET on
SET client_min_messages = error;
DROP EXTENSION pg_journey CASCADE;
DROP SCHEMA journey_state CASCADE;
CREATE TABLE shop.people (id uuid PRIMARY KEY, email text);
ALTER TABLE shop.people OWNER TO shop;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.people', email => 'email', owner => 'shop') \g /dev/null
SET SESSION AUTHORIZATION shop;
RESET client_min_messages;
\set QUIET off
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.request_consent('11111111-1111-1111-1111-111111111111'::uuid, 'email', '*', 'form', at => '2026-01-01') AS uuid \gset
SELECT journey.confirm_consent(:'uuid', '2026-01-02');
SELECT journey.set_frequency('11111111-1111-1111-1111-111111111111'::text, 'email', '*', 'weekly', 'form', '2026-01-02');
SELECT * FROM journey.preferences('11111111-1111-1111-1111-111111111111'::uuid);
SELECT journey.withdraw_all('11111111-1111-1111-1111-11111111111g'::text, 'form', '2026-01-02');
