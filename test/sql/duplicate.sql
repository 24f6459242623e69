-- The same content over another channel; to an address that two contacts have.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('text', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>", "address": "phone"}');
SELECT journey.create_template('cart', 'email', 'Cart', 'Hello');
SELECT journey.create_template('cart', 'text', 'Cart', 'Hello');
SELECT journey.create_template('offer', 'email', 'Offer', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')), count(journey.set_consent(id, 'text', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('both', $$ ON EVENT both KEY event.properties->>'k' TOPIC promotions
	SEND email cart EXPIRES '1 hour'; WAIT '1 day'; SEND text cart; SEND text cart ALSO; SEND email cart; $$, '2026-01-01');
SELECT journey.create_journey('held_out', $$ ON EVENT held_out KEY event.properties->>'k' TOPIC promotions HOLDOUT 99%
	SEND email cart EXPIRES '1 hour'; WAIT '1 day'; SEND text cart; SEND text cart ALSO; SEND email cart; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT receipt KEY event.properties->>'k' TOPIC service SEND email cart; SEND text cart; $$, '2026-01-01');
SELECT journey.create_journey('news', $$ ON EVENT news KEY event.properties->>'k' TOPIC promotions SEND email cart EXPIRES '1 day'; $$, '2026-01-01');
SELECT journey.create_journey('offer', $$ ON EVENT news KEY event.properties->>'k' TOPIC promotions SEND email offer EXPIRES '1 day'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');
CREATE VIEW shop.verdicts AS SELECT v.contact, j.name, v.step_no, v.at, v.stage, v.ghost, v.verdict, v.reason,
		(v.evidence->'sent_over') - 'message' AS sent_over, (v.evidence->'same_address') - 'message' AS same_address
	FROM journey_state.verdict v JOIN journey.version w USING (version_id) JOIN journey.journey j USING (journey_id);
CREATE PROCEDURE shop.go(contacts bigint[], event text, k text, at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(c, event, jsonb_build_object('k', k), at) FROM unnest(contacts) AS c;
	COMMIT;
	PERFORM journey.tick(at);
END
$$;

--
-- over another channel
--
CALL shop.go('{1,2}', 'both', 'a', '2026-01-05 10:00');
-- contact 1 gets the e-mail; that of contact 2 expires: the other channel fills in
SELECT recipient FROM journey.claim('r1', 1000, at => '2026-01-05 10:01') WHERE recipient ~ '^c1@';
UPDATE journey_state.message SET status = 'withheld' WHERE contact = 2;
SELECT messages FROM journey.tick('2026-01-06 10:00');
SELECT contact, step_no, verdict, reason, sent_over FROM shop.verdicts WHERE name = 'both' ORDER BY contact, at, step_no;
-- in another run it is new
CALL shop.go('{1}', 'both', 'b', '2026-01-07 10:00');
SELECT step_no, verdict FROM shop.verdicts WHERE name = 'both' AND contact = 1 AND at = '2026-01-07 10:00';
-- what is for the buyer's information goes over both
CALL shop.go('{3}', 'receipt', 'a', '2026-01-05 10:00');
SELECT step_no, verdict, reason FROM shop.verdicts WHERE name = 'receipt' ORDER BY step_no;
-- ghosts would have been asked the same
CALL shop.go('{4,5,6}', 'held_out', 'a', '2026-01-05 10:00');
SELECT messages FROM journey.tick('2026-01-06 10:00');
SELECT DISTINCT step_no, ghost, verdict, reason, sent_over FROM shop.verdicts WHERE name = 'held_out' AND ghost ORDER BY step_no;

--
-- one address, two contacts
--
UPDATE shop.customers SET email = 'Family@shop.example' WHERE id IN (11, 12);
UPDATE shop.customers SET email = 'family@SHOP.example' WHERE id = 13;
-- decided for all three, in one pass; handed over for one (and contact 1's two texts of run b, whose e-mail expired)
CALL shop.go('{11,12,13}', 'news', 'a', '2026-01-10 10:00');
SELECT subject, count(*), count(DISTINCT lower(recipient)) FROM journey.claim('r1', 1000, at => '2026-01-10 10:01') GROUP BY subject ORDER BY subject;
SELECT name, stage, verdict, reason, same_address, count(*) FROM shop.verdicts WHERE contact IN (11, 12, 13) GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3;
SELECT channel, address, replace(content, chr(31), ' / ') AS content, at FROM journey_state.address_message ORDER BY content COLLATE "C", address;
-- whoever comes later is refused at once, ghosts likewise; the same contact is not, nor another key
SELECT contact AS got, CASE contact WHEN 11 THEN 12 ELSE 11 END AS other FROM journey_state.message JOIN journey.journey USING (journey_id)
	WHERE name = 'news' AND contact IN (11, 12, 13) AND message.status = 'claimed' \gset
CREATE FUNCTION shop.latest(contacts bigint[]) RETURNS TABLE (answer text) LANGUAGE sql AS $$
	SELECT v.verdict || coalesce(' ' || v.reason, '') FROM shop.verdicts v WHERE v.contact = ANY ($1) AND v.name = 'news'
		AND v.at = (SELECT max(at) FROM shop.verdicts w WHERE w.contact = ANY ($1)) ORDER BY 1 $$;
CALL shop.go(ARRAY[:other], 'news', 'a', '2026-01-12 10:00');
SELECT * FROM shop.latest(ARRAY[:other]);
CALL shop.go(ARRAY[:got], 'news', 'a', '2026-01-12 10:01');
SELECT * FROM shop.latest(ARRAY[:got]);
CALL shop.go(ARRAY[:other], 'news', 'b', '2026-01-12 10:02');
SELECT * FROM shop.latest(ARRAY[:other]);
SELECT count(*) FROM journey.claim('r1', 1000, at => '2026-01-12 10:03') WHERE lower(recipient) ~ '^family';
-- thirty days after it went last it is new
CALL shop.go(ARRAY[:other], 'news', 'a', '2026-02-11 10:02:59');
SELECT * FROM shop.latest(ARRAY[:other]);
CALL shop.go(ARRAY[:other], 'news', 'a', '2026-02-11 10:03');
SELECT * FROM shop.latest(ARRAY[:other]);
SELECT count(*) FROM journey.claim('r1', 1000, at => '2026-02-11 10:03') WHERE lower(recipient) ~ '^family';
SELECT contact = :other AS taken_over FROM journey_state.address_message WHERE address = 'family@shop.example' AND content = E'news\x1fcart\x1fa';
-- one that did not go in the end leaves the address to others
UPDATE shop.customers SET email = 'couple@shop.example' WHERE id IN (14, 15);
CALL shop.go('{14}', 'news', 'a', '2026-03-01 10:00');
SELECT recipient, message_id FROM journey.claim('r1', 1000, at => '2026-03-01 10:00') WHERE subject = 'Cart' \gset
SELECT journey.report('r1', ARRAY[:message_id], ARRAY[1], ARRAY['rejected'], ARRAY['5.7.1'], ARRAY['no'], '2026-03-01 10:01');
CALL shop.go('{15}', 'news', 'a', '2026-03-01 10:02');
SELECT recipient FROM journey.claim('r1', 1000, at => '2026-03-01 10:03') WHERE subject = 'Cart';
-- one that a cap withholds has taken nothing
UPDATE shop.customers SET email = 'pair@shop.example' WHERE id IN (16, 17);
CALL shop.go('{16,17}', 'news', 'a', '2026-03-02 10:00');
SELECT journey.set_consent(16, 'email', '*', false, 'link', '2026-03-02 10:01');
SELECT subject FROM journey.claim('r1', 1000, at => '2026-03-02 10:02') ORDER BY 1;
SELECT contact, stage, verdict, reason FROM shop.verdicts WHERE contact IN (16, 17) AND stage = 'claim' ORDER BY 1;
-- off
RESET SESSION AUTHORIZATION;
SET pg_journey.same_address_window = 0;
SET SESSION AUTHORIZATION shop;
UPDATE shop.customers SET email = 'twins@shop.example' WHERE id IN (18, 19);
CALL shop.go('{18,19}', 'news', 'a', '2026-03-03 10:00');
SELECT count(*) FROM journey.claim('r1', 1000, at => '2026-03-03 10:00') WHERE recipient ~ '^twins';
RESET SESSION AUTHORIZATION;
RESET pg_journey.same_address_window;
SET SESSION AUTHORIZATION shop;
-- maintenance forgets what is older than the window
SELECT count(*) FROM journey_state.address_message;
SELECT journey.maintain('2026-03-31 10:02:30');
SELECT address, at FROM journey_state.address_message ORDER BY at, address;
-- a replay that assumes messages sent takes the address as well
UPDATE shop.customers SET email = 'three@shop.example' WHERE id IN (7, 8, 9);
SELECT count(journey.track(c, 'news', '{"k": "r"}', '2026-04-01 10:00')) FROM unnest('{7,8,9}'::bigint[]) c;
SELECT messages FROM journey.replay('2026-04-01 12:00', assume_sent => true);
SELECT name, verdict, reason, count(*) FROM shop.verdicts WHERE contact IN (7, 8, 9) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT content LIKE 'news%' AS news, contact IN (7, 8, 9) AS contact FROM journey_state.address_message WHERE address = 'three@shop.example' ORDER BY content;
