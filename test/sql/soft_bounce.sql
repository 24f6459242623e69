-- What reports say of addresses: hard and soft bounces, complaints, deliveries.
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
SELECT journey.create_journey('promo', $$ ON EVENT promo KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '10 days'; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT receipt KEY event.properties->>'k' TOPIC service SEND email news EXPIRES '10 days'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');

-- the next message of a contact: decided, claimed, and what the relay reports of it; outcome:code, several after another
CREATE SEQUENCE shop.minute;
CREATE TABLE shop.sent (contact bigint, nth serial, message_id bigint);
CREATE PROCEDURE shop.send(contact bigint, VARIADIC reports text[]) LANGUAGE plpgsql AS $$
DECLARE
	t CONSTANT timestamptz := timestamptz '2026-01-05' + nextval('shop.minute') * interval '1 minute';
	id bigint;
	r text;
BEGIN
	PERFORM journey.track(contact, 'promo', jsonb_build_object('k', t), t);
	COMMIT;
	PERFORM journey.tick(t);
	SELECT c.message_id INTO id FROM journey.claim('r1', 1000, at => t) c WHERE c.recipient ILIKE 'c' || contact || '@%';
	IF id IS NULL THEN
		RAISE NOTICE 'nothing is sent to contact %', contact;
		RETURN;
	END IF;
	INSERT INTO shop.sent (contact, message_id) VALUES (contact, id);
	FOREACH r IN ARRAY reports LOOP
		PERFORM journey.report('r1', ARRAY[id], ARRAY[1], ARRAY[split_part(r, ':', 1)], ARRAY[nullif(split_part(r, ':', 2), '')], ARRAY[NULL::text], t + interval '1 second');
	END LOOP;
END
$$;
CREATE VIEW shop.state AS SELECT address, b.bounces, b.accepted IS NOT NULL AS accepted, s.scope, s.reason
	FROM journey_state.soft_bounce b FULL JOIN journey_state.suppression s USING (channel, address) ORDER BY 1;

--
-- three in a row
--
CALL shop.send(1, 'bounced:4.2.2');
CALL shop.send(1, 'bounced:5.2.2');
SELECT * FROM shop.state;
CALL shop.send(1, 'bounced:452');
SELECT * FROM shop.state;
CALL shop.send(1, 'sent');
-- allowed again, it starts from nothing
SELECT journey.unsuppress('email', 'C1@shop.example');
SELECT * FROM shop.state;
CALL shop.send(1, 'bounced:4.2.2');
SELECT * FROM shop.state;

-- a message between that is sent and does not bounce: from one again
CALL shop.send(2, 'bounced:4.2.2');
CALL shop.send(2, 'bounced:4.2.2');
CALL shop.send(2, 'sent:2.0.0');
CALL shop.send(2, 'bounced:4.2.2');
CALL shop.send(2, 'bounced:4.2.2');
SELECT * FROM shop.state WHERE address ~ '^c2@';
-- sent first, and bounced when the provider knew: that is no message between
CALL shop.send(3, 'sent', 'bounced:4.2.2');
CALL shop.send(3, 'sent', 'bounced:5.2.1');
SELECT * FROM shop.state WHERE address ~ '^c3@';
CALL shop.send(3, 'sent', 'bounced:4.2.2');
SELECT * FROM shop.state WHERE address ~ '^c3@';
-- what is reported twice counts once; another contact with the address counts too
UPDATE shop.customers SET email = 'C4@Shop.Example' WHERE id = 5;
CALL shop.send(4, 'bounced:4.2.2', 'bounced:4.2.2', 'bounced:4.2.2');
SELECT * FROM shop.state WHERE address ~ '^c4@';
-- delivered: nothing is left of it
CALL shop.send(4, 'delivered');
SELECT * FROM shop.state WHERE address ~ '^c4@';
SELECT status FROM journey_state.message WHERE contact = 4 ORDER BY message_id;

-- codes: of the mailbox, unknown; not of the message, the network, our standing
CALL shop.send(6, 'bounced:5.7.1');
CALL shop.send(6, 'bounced:5.2.3');
CALL shop.send(6, 'bounced:5.3.4');
CALL shop.send(6, 'bounced:5.1.8');
CALL shop.send(6, 'bounced:554');
CALL shop.send(6, 'rejected:5.2.2');
CALL shop.send(6, 'deferred:4.2.2');
SELECT * FROM shop.state WHERE address ~ '^c6@';
CALL shop.send(7, 'bounced');
CALL shop.send(7, 'bounced:Transient');
SELECT * FROM shop.state WHERE address ~ '^c7@';
CALL shop.send(7, 'bounced:550');
SELECT * FROM shop.state WHERE address ~ '^c7@';
-- hard: at once, and stronger than a complaint
CALL shop.send(8, 'complained');
SELECT * FROM shop.state WHERE address ~ '^c8@';
CALL shop.send(8, 'sent');
SELECT name, properties->>'step_no' AS step_no FROM journey_state.event WHERE contact = 8 AND name IN ('sent', 'complained', 'delivered') ORDER BY event_id;
-- a receipt still goes to who complained
SELECT journey.track(8, 'receipt', '{"k": "a"}', '2026-01-06 10:00');
SELECT messages FROM journey.tick('2026-01-06 10:00');
SELECT message_id AS receipt, recipient FROM journey.claim('r1', 1000, at => '2026-01-06 10:00') WHERE recipient ~ '^c8@' \gset
\echo :recipient
SELECT journey.report('r1', ARRAY[:receipt], ARRAY[1], ARRAY['bounced'], ARRAY['5.1.1'], ARRAY['550 5.1.1 no such user'], '2026-01-06 10:01');
SELECT * FROM shop.state WHERE address ~ '^c8@';
SELECT journey.report('r1', ARRAY[:receipt], ARRAY[1], ARRAY['complained'], ARRAY[NULL::text], ARRAY[NULL::text], '2026-01-06 10:02');
SELECT * FROM shop.state WHERE address ~ '^c8@';

--
-- given up after eight attempts for a reason of the mailbox's: one soft bounce
--
CREATE PROCEDURE shop.exhaust(contact bigint, code text) LANGUAGE plpgsql AS $$
DECLARE
	t timestamptz := timestamptz '2026-01-10' + nextval('shop.minute') * interval '1 minute';
	m record;
BEGIN
	PERFORM journey.track(contact, 'promo', jsonb_build_object('k', t), t);
	COMMIT;
	PERFORM journey.tick(t);
	PERFORM FROM journey.claim('r1', 1000, at => t);
	LOOP
		SELECT * INTO m FROM journey_state.message x WHERE x.contact = exhaust.contact ORDER BY message_id DESC LIMIT 1;
		EXIT WHEN m.status <> 'claimed';
		PERFORM journey.report('r1', ARRAY[m.message_id], ARRAY[m.attempt], ARRAY['deferred'], ARRAY[code], ARRAY['try later'], m.lease_until - interval '1 second');
		SELECT * INTO m FROM journey_state.message x WHERE x.contact = exhaust.contact ORDER BY message_id DESC LIMIT 1;
		PERFORM FROM journey.claim('r1', 1000, at => m.lease_until) WHERE m.status = 'pending';
	END LOOP;
	RAISE NOTICE '% %, attempt %', m.status, m.reason, m.attempt;
END
$$;
CALL shop.exhaust(9, '4.2.2');
CALL shop.exhaust(10, '4.4.1');
SELECT * FROM shop.state WHERE address ~ '^c(9|10)@';

--
-- many at once, in any order
--
SELECT count(journey.track(id, 'promo', '{"k": "many"}', '2026-01-20 10:00')) FROM shop.customers WHERE id BETWEEN 11 AND 20;
UPDATE shop.customers SET email = 'shared@shop.example' WHERE id BETWEEN 11 AND 13;
RESET SESSION AUTHORIZATION;
SET pg_journey.same_address_window = 0;
SET SESSION AUTHORIZATION shop;
SELECT messages FROM journey.tick('2026-01-20 10:00');
SELECT count(*) FROM journey.claim('r1', 1000, at => '2026-01-20 10:00');
SELECT journey.report('r1', array_agg(message_id ORDER BY contact DESC), array_agg(1), array_agg(CASE WHEN contact < 18 THEN 'bounced' ELSE 'sent' END ORDER BY contact DESC),
	array_agg(CASE WHEN contact < 16 THEN '4.2.2' ELSE '5.1.1' END ORDER BY contact DESC), array_agg(NULL::text), '2026-01-20 10:01')
	FROM journey_state.message WHERE contact BETWEEN 11 AND 20 AND decided_at = '2026-01-20 10:00';
SELECT * FROM shop.state WHERE address ~ '^(shared|c1[1-9]|c20)';
SELECT journey.report('r1', ARRAY[1], ARRAY[1], ARRAY['opened'], ARRAY['x'], ARRAY['y'], '2026-01-20 10:01');
