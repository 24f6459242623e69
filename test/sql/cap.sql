-- Rolling caps at their exact edges, at the decision and at the claim.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('mail', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT journey.create_template('other', 'mail', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')), count(journey.set_consent(id, 'mail', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('promo', $$ ON EVENT go KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '10 days'; $$, '2026-01-01');
SELECT journey.create_journey('brief', $$ ON EVENT brief KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '1 hour'; $$, '2026-01-01');
SELECT journey.create_journey('other', $$ ON EVENT other KEY event.properties->>'k' TOPIC promotions SEND mail other EXPIRES '10 days'; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT receipt KEY event.properties->>'k' TOPIC service SEND email news; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');

-- an event, the tick at its time, and what the gate said
CREATE PROCEDURE shop.decide(contact bigint, event text, k text, at timestamptz, OUT verdict text, OUT caps jsonb) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(contact, event, jsonb_build_object('k', k), at);
	COMMIT;
	PERFORM journey.tick(at);
	SELECT v.verdict || coalesce(' ' || v.reason, ''), (SELECT jsonb_agg(o.cap - 'from' - 'to') FROM jsonb_array_elements(v.evidence->'caps') AS o (cap)) INTO verdict, caps
	FROM journey_state.verdict v WHERE v.contact = decide.contact ORDER BY v.verdict_id DESC LIMIT 1;
END
$$;

--
-- the edge of a window: two a week; what was handed over exactly a week ago is out
--
SELECT journey.create_cap('weekly', 2, '7 days');
CALL shop.decide(1, 'go', 'a', '2026-01-05 10:00', NULL, NULL);
SELECT message_id, attempt FROM journey.claim('r1', at => '2026-01-05 10:00');
CALL shop.decide(1, 'go', 'b', '2026-01-06 10:00', NULL, NULL);
SELECT message_id, attempt FROM journey.claim('r1', at => '2026-01-06 12:00');
CALL shop.decide(1, 'go', 'c', '2026-01-12 09:59:59.999999', NULL, NULL);
CALL shop.decide(1, 'go', 'd', '2026-01-12 10:00', NULL, NULL);
-- the second was decided at 10:00 but handed over at 12:00: that is what counts
CALL shop.decide(1, 'go', 'e', '2026-01-13 10:00', NULL, NULL);
CALL shop.decide(1, 'go', 'f', '2026-01-13 12:00', NULL, NULL);

--
-- what is decided and not handed over holds its place, also beyond the window, until it expires
--
CALL shop.decide(2, 'go', 'a', '2026-01-05 10:00', NULL, NULL);
CALL shop.decide(2, 'brief', 'b', '2026-01-12 11:00', NULL, NULL);
CALL shop.decide(2, 'go', 'c', '2026-01-12 11:30', NULL, NULL);
CALL shop.decide(2, 'go', 'd', '2026-01-12 12:00', NULL, NULL);
-- the first expires at 01-15 10:00
CALL shop.decide(2, 'go', 'e', '2026-01-15 09:59:59', NULL, NULL);
CALL shop.decide(2, 'go', 'f', '2026-01-15 10:00', NULL, NULL);

--
-- at the claim only what was handed over counts: of three decided long apart two go
--
SELECT journey.drop_cap('weekly');
CALL shop.decide(3, 'go', 'a', '2026-01-05 10:00', NULL, NULL);
CALL shop.decide(3, 'go', 'b', '2026-01-05 10:00', NULL, NULL);
CALL shop.decide(3, 'go', 'c', '2026-01-05 10:00', NULL, NULL);
SELECT journey.create_cap('weekly', 2, '7 days');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-14 10:00') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 3;
SELECT message_id, status, reason, claimed_at FROM journey_state.message WHERE contact = 3 ORDER BY message_id;
SELECT v.message_id, v.verdict, v.reason, v.evidence->'caps' AS caps FROM journey_state.verdict v WHERE contact = 3 AND stage = 'claim';
-- the one withheld has freed its place; the two keep theirs when their leases lapse
SELECT m.message_id, c.attempt FROM journey.claim('r1', at => '2026-01-14 11:00') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 3 ORDER BY 1;

--
-- a claim whose time lies before a hand-over counts it all the same
--
CALL shop.decide(4, 'go', 'a', '2026-01-20 10:00', NULL, NULL);
CALL shop.decide(4, 'go', 'b', '2026-01-20 10:00', NULL, NULL);
SELECT count(*) FROM journey.claim('r1', at => '2026-01-20 10:00:02') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 4;
CALL shop.decide(4, 'go', 'c', '2026-01-20 10:00:01', NULL, NULL);

--
-- per channel and over all; transactional messages neither obey nor count
--
SELECT journey.create_cap('mail daily', 1, '1 day', channels => '{mail}');
CALL shop.decide(5, 'other', 'a', '2026-01-21 10:00', NULL, NULL);
CALL shop.decide(5, 'other', 'b', '2026-01-21 10:01', NULL, NULL);
CALL shop.decide(5, 'receipt', 'c', '2026-01-21 10:02', NULL, NULL);
CALL shop.decide(5, 'go', 'd', '2026-01-21 10:03', NULL, NULL);
CALL shop.decide(5, 'go', 'e', '2026-01-21 10:04', NULL, NULL);
CALL shop.decide(5, 'receipt', 'f', '2026-01-21 10:05', NULL, NULL);

--
-- a cap of none, a calendar interval
--
SELECT journey.create_cap('weekly', 0, '7 days');
CALL shop.decide(6, 'go', 'a', '2026-01-22 10:00', NULL, NULL);
SELECT journey.create_cap('weekly', 1, '1 month');
CALL shop.decide(6, 'go', 'b', '2026-01-31 10:00', NULL, NULL);
SELECT count(*) FROM journey.claim('r1', at => '2026-01-31 10:00') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 6;
CALL shop.decide(6, 'go', 'c', '2026-02-28 09:00', NULL, NULL);
CALL shop.decide(6, 'go', 'd', '2026-03-01 00:00', NULL, NULL);

--
-- events of one contact decided in one tick see each other
--
SELECT journey.create_cap('weekly', 2, '7 days');
SELECT count(journey.track(7, 'go', jsonb_build_object('k', i), '2026-03-05 10:00')) FROM generate_series(1, 5) i;
SELECT journey.tick('2026-03-05 10:00');
SELECT verdict, reason, count(*) FROM journey_state.verdict WHERE contact = 7 GROUP BY 1, 2 ORDER BY 1;

--
-- a hand-over counts however long before it was decided: 120 days for a contact's own
-- frequency without any cap, and twelve months, which compare as 360 days, for a cap
--
SELECT journey.drop_cap('weekly');
SET client_min_messages = warning;
SELECT journey.create_journey('long', $$ ON EVENT long KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '120 days'; $$, '2026-01-01');
SELECT journey.activate('long');
RESET client_min_messages;
SELECT journey.set_frequency(8::bigint, '*', '*', 'monthly', 'page', '2026-01-01');
CALL shop.decide(8, 'long', 'a', '2026-01-02', NULL, NULL);
SELECT count(*) FROM journey.claim('r1', at => '2026-04-15') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 8;
CALL shop.decide(8, 'long', 'b', '2026-04-16', NULL, NULL);
SET client_min_messages = warning;
SELECT journey.create_journey('days', $$ ON EVENT days SEND email news EXPIRES '360 days'; $$, '2026-01-01');
SELECT journey.create_journey('year', $$ ON EVENT year KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '12 months'; $$, '2026-01-01');
SELECT journey.activate(name) FROM unnest('{days,year}'::text[]) AS name;
RESET client_min_messages;
SELECT journey.create_cap('weekly', 1, '7 days');
CALL shop.decide(9, 'year', 'a', '2026-03-01', NULL, NULL);
SELECT count(*) FROM journey.claim('r1', at => '2027-02-28 12:00') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 9;
CALL shop.decide(9, 'year', 'b', '2027-03-07', NULL, NULL);
