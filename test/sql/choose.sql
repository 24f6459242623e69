-- FIRST OF, BEST OF: which channel, and why.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example", "address": "phone"}');
SELECT journey.create_channel('push', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example", "address": "phone"}');
SELECT count(journey.create_template('cart', c, 'Cart', 'Your cart by ' || c)) FROM unnest('{email,sms,push}'::text[]) c;
SET client_min_messages = warning;
SELECT journey.create_journey('first', $$ ON EVENT cart KEY event.properties->>'k' TOPIC promotions SEND FIRST OF (sms, email) cart; $$, '2026-01-01');
SELECT journey.create_journey('best', $$ ON EVENT look KEY event.properties->>'k' TOPIC promotions SEND BEST OF (email, sms, push) cart; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT paid TOPIC service SEND FIRST OF (sms, email) cart; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');
CREATE VIEW shop.choices AS
	SELECT v.contact, v.at, v.ghost, v.verdict, v.reason, m.channel, m.recipient, v.evidence->'channels' AS channels
	FROM journey_state.verdict v LEFT JOIN journey_state.message m USING (contact, message_id) WHERE v.stage = 'decide' ORDER BY v.at, v.contact;

-- 1: both; 2: e-mail only; 3: no number; 4: number suppressed; 5: consents to sms, both addresses suppressed or missing; 6: nothing at all, but a receipt
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')) FROM shop.customers WHERE id IN (1, 2, 3, 4, 7, 8);
SELECT count(journey.set_consent(id, 'sms', '*', true, 'form', '2025-12-01')) FROM shop.customers WHERE id IN (1, 3, 4, 5, 7, 8);
UPDATE shop.customers SET phone = NULL WHERE id = 3;
SELECT journey.suppress('sms', phone, 'asked', '2025-12-02') FROM shop.customers WHERE id = 4;
SELECT journey.track(id, 'cart', '{"k": "a"}', '2026-01-05 10:00') FROM shop.customers WHERE id <= 4 \g /dev/null
SELECT journey.track(id, 'paid', '{}', '2026-01-05 10:00') FROM shop.customers WHERE id IN (3, 6) \g /dev/null
SELECT journey.tick('2026-01-05 10:00') \g /dev/null
SELECT contact, verdict, reason, channel, channels FROM shop.choices;
SELECT m.contact, c.channel, c.recipient, c.body FROM journey.claim('r1', at => '2026-01-05 10:00') c JOIN journey_state.message m USING (message_id) ORDER BY 1, 2;

-- who could be reached at the entry, and cannot be any more: the reason is the first channel's
SELECT journey.create_journey('later', $$ ON EVENT later TOPIC promotions WAIT '1 hour'; SEND FIRST OF (sms, email) cart; $$, '2026-01-01');
SELECT journey.activate('later');
SELECT journey.track(id, 'later', '{}', '2026-01-06 10:00') FROM shop.customers WHERE id IN (1, 2, 5) \g /dev/null
SELECT journey.tick('2026-01-06 10:00') \g /dev/null
SELECT journey.set_consent(1, 'sms', '*', false, 'form', '2026-01-06 10:30');
SELECT journey.set_consent(2, 'email', '*', false, 'form', '2026-01-06 10:30');
SELECT journey.suppress('sms', phone, 'asked', '2026-01-06 10:30') FROM shop.customers WHERE id = 5;
SELECT journey.tick('2026-01-06 11:00') \g /dev/null
SELECT contact, verdict, reason, channel, channels FROM shop.choices WHERE at = '2026-01-06 11:00';

--
-- BEST OF.  Nothing is known of any channel: the order of the script
--
SELECT count(journey.set_consent(id, h, '*', true, 'form', '2025-12-01')) FROM generate_series(11::bigint, 16) id, unnest('{email,sms,push}'::text[]) h;
SELECT journey.track(11, 'look', '{"k": "a"}', '2026-03-01 10:00') \g /dev/null
SELECT journey.tick('2026-03-01 10:00') \g /dev/null
SELECT contact, verdict, reason, channel, channels FROM shop.choices WHERE at = '2026-03-01 10:00';

-- twelve contacts of each channel click: e-mail 2 of 4, sms 1 of 4; contact 12 the other way round, contact 13 as everybody
CREATE PROCEDURE shop.got(contact bigint, channel text, n integer, clicked integer, first timestamptz DEFAULT '2026-03-01', step interval DEFAULT '1 day') LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	FOR i IN 1 .. n LOOP
		id := nextval('journey_state.message_id_seq');
		INSERT INTO journey_state.message (slice, contact, message_id, decided_at, idempotency_key, enrollment_id, journey_id, version_id, step_no, visit,
				channel, template, topic, class, counts, priority, since, expires_at, status, attempt, claimed_at)
			VALUES (0, got.contact, id, first + i * step, 'k' || id, id, 1, 1, 1, 1,
				channel, 'news', 'promotions', 'promotional', true, 50, first, first + interval '1 month', 'sent', 1, first + i * step);
		IF i <= clicked THEN
			PERFORM journey.track(got.contact, 'clicked', jsonb_build_object('message_id', id), first + i * step + interval '3 hours');
		END IF;
	END LOOP;
END
$$;
DO $$
BEGIN
	FOR i IN 1 .. 10 LOOP
		CALL shop.got(i, 'email', 4, 2);
		CALL shop.got(i, 'sms', 4, 1);
	END LOOP;
	CALL shop.got(12, 'email', 6, 0);
	CALL shop.got(12, 'sms', 6, 6);
END
$$;
SELECT journey.refresh_engagement('2026-03-10');
-- under thirty contacts: Beta(2, 8); 12: e-mail 2/16, sms 8/16; 13 has 2/10 for both, and so the first
SELECT channel, a0, b0, contacts FROM journey_state.engagement_prior ORDER BY 1;
-- 14 has no consent for its better channel, 15 clicks push, of which everybody's rate is not known
SELECT journey.set_consent(14, 'email', '*', false, 'form', '2026-03-05');
CALL shop.got(15, 'push', 2, 0);
SELECT journey.track(i, 'look', '{"k": "b"}', '2026-03-10 10:00') FROM generate_series(12, 15) i \g /dev/null
SELECT journey.tick('2026-03-10 10:00') \g /dev/null
SELECT contact, verdict, reason, channel, channels FROM shop.choices WHERE at = '2026-03-10 10:00';
-- the same again: the same choice; the view says the same
SELECT journey.track(i, 'look', '{"k": "c"}', '2026-03-10 10:00') FROM generate_series(12, 15) i \g /dev/null
SELECT journey.tick('2026-03-10 10:00') \g /dev/null
SELECT contact, count(*), count(DISTINCT channel), count(DISTINCT channels) FROM shop.choices WHERE at = '2026-03-10 10:00' GROUP BY 1 ORDER BY 1;
SELECT contact, channel, engagement FROM journey.engagement('2026-03-10 10:00') WHERE contact IN ('12', '15') ORDER BY 1, 2;
-- a message keeps its channel when a relay asks, whatever was learned meanwhile
CALL shop.got(12, 'email', 6, 6);
SELECT m.contact, c.channel FROM journey.claim('r1', at => '2026-03-10 10:05') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 12;

-- ghosts are asked the same
SELECT journey.create_journey('held', $$ ON EVENT held TOPIC promotions HOLDOUT 99% SEND BEST OF (email, sms) cart; $$, '2026-01-01');
SELECT journey.activate('held');
SELECT journey.track(12, 'held', '{}', '2026-03-10 11:00') \g /dev/null
SELECT journey.tick('2026-03-10 11:00') \g /dev/null
SELECT contact, ghost, verdict, channel, channels FROM shop.choices WHERE at = '2026-03-10 11:00';

--
-- caps for contacts of a class: 16 clicks 30 of 40, 17 none of 40, 18 all of 8 and then none of 8
--
CALL shop.got(16, 'email', 40, 30, '2026-04-01', '12 hours');
CALL shop.got(17, 'email', 40, 0, '2026-04-01', '12 hours');
CALL shop.got(18, 'email', 8, 8, '2026-03-10');
CALL shop.got(18, 'email', 8, 0, '2026-04-01');
SELECT journey.refresh_engagement('2026-04-25');
SELECT contact, a0 + clicks_30d AS a, b0 + sends_30d - clicks_30d AS b, p_high >= .8 AS high, p_low >= .8 AS low, p_drop >= .8 AS dropped, fatigue, classes
	FROM journey.engagement('2026-04-25 10:00') JOIN journey_state.engagement_prior USING (channel) WHERE contact IN ('16', '17', '18') ORDER BY 1;
SELECT journey.create_cap('eager', 60, '30 days', engagement => 'high');
SELECT journey.create_cap('cold', 3, '30 days', engagement => 'low');
SELECT journey.create_cap('tired', 4, '30 days', engagement => 'fatigued');
SET client_min_messages = warning;
SELECT journey.create_journey('mail', $$ ON EVENT mail TOPIC promotions SEND email cart; $$, '2026-01-01');
SELECT journey.activate('mail');
RESET client_min_messages;
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2026-03-06')) FROM shop.customers;
SELECT journey.track(id, 'mail', '{}', '2026-04-25 10:00') FROM shop.customers WHERE id BETWEEN 16 AND 19 \g /dev/null
SELECT journey.tick('2026-04-25 10:00') \g /dev/null
SELECT contact, verdict, reason, (evidence->'engagement') - '{p_high,p_low,p_drop}'::text[] AS engagement, jsonb_path_query_array(evidence->'caps', '$[*].name') AS caps
	FROM journey_state.verdict WHERE at = '2026-04-25 10:00' ORDER BY contact;
-- the gate's figures are the view's
SELECT v.contact, abs((v.evidence->'engagement'->>'p_high')::float8 - e.p_high) < 1e-12 AS p_high, abs((v.evidence->'engagement'->>'p_low')::float8 - e.p_low) < 1e-12 AS p_low,
	CASE WHEN e.fatigue = 'unknown' THEN NOT v.evidence->'engagement' ? 'p_drop' ELSE abs((v.evidence->'engagement'->>'p_drop')::float8 - e.p_drop) < 1e-12 END AS p_drop, ARRAY(SELECT jsonb_array_elements_text(v.evidence->'engagement'->'classes')) = e.classes AS classes
	FROM journey_state.verdict v JOIN journey.engagement('2026-04-25 10:00') e ON e.contact = v.contact::text AND e.channel = 'email' WHERE v.at = '2026-04-25 10:00' AND v.stage = 'decide' ORDER BY 1;
