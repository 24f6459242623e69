-- Caps by engagement: who hardly responds hears less (S70, S71).
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('promo', $$ ON EVENT promo KEY event.properties->>'k' TOPIC promotions SEND email news; $$, '2026-01-01');
SELECT journey.activate('promo');
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');
-- everybody together: one click in ten, Beta(1, 9)
INSERT INTO journey_state.engagement_prior VALUES ('email', 1, 9, 100, '2026-01-01');

CREATE PROCEDURE shop.go(contacts bigint[], at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	got record;
BEGIN
	PERFORM journey.track(c, 'promo', jsonb_build_object('k', go.at), go.at) FROM unnest(contacts) c;
	COMMIT;
	PERFORM journey.tick(go.at);
	WITH c AS (SELECT * FROM journey.claim('r1', at => go.at))
	SELECT array_agg(message_id) AS ids, array_agg(attempt) AS attempts, array_agg('sent'::text) AS sent, array_agg('250'::text) AS code, array_agg(''::text) AS words INTO got FROM c;
	IF got.ids IS NOT NULL THEN
		PERFORM journey.report('r1', got.ids, got.attempts, got.sent, got.code, got.words, go.at);
	END IF;
	COMMIT;
END
$$;
-- 20 messages that contact 1 has not clicked: P(rate < .10) = 1 - .9^29 = .95; of contact 2 it is 1 - .9^9 = .61
DO $$
BEGIN
	FOR day IN 1 .. 20 LOOP
		CALL shop.go('{1}', timestamptz '2026-01-01 10:00' + day * interval '1 day');
	END LOOP;
END
$$;
-- whom the cap would have touched: he is low once 1 - .9^(9 + n) >= .8, from n = 7 sent before, on the 9th; then of 13 those of the 13th and 18th go
SELECT * FROM journey.preview_cap('low', 1, '5 days', engagement => 'low', back => '30 days', at => '2026-01-22');
SELECT journey.create_cap('usual', 1, '1 day', at => '2026-01-22');
SELECT journey.create_cap('low', 1, '5 days', engagement => 'low', overrides => '{usual}', at => '2026-01-22');
-- the other one, if it were changed, would hold until then: of 7 every other one goes
SELECT * FROM journey.preview_cap('usual', 1, '2 days', back => '30 days', at => '2026-01-22');
CALL shop.go('{1,2}', '2026-01-22 10:00');
CALL shop.go('{1,2}', '2026-01-22 10:01');
CALL shop.go('{1,2}', '2026-01-23 10:00');
CALL shop.go('{1,2}', '2026-01-26 10:00');
SELECT contact, at, verdict, reason, evidence#>>'{engagement,sends}' AS sends, round((evidence#>>'{engagement,p_low}')::numeric, 2) AS p_low, (SELECT jsonb_agg(k - 'from' - 'to' - 'messages') FROM jsonb_array_elements(evidence->'caps') k) AS caps
FROM journey_state.verdict WHERE at >= '2026-01-22' AND stage = 'decide' ORDER BY contact, at;
