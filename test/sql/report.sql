-- What relays report: sent, bounced, rejected, deferred; retries; repeats; late reports.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('cart', 'email', 'Your cart', 'Hello {{first_name}}');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('cart', $$ ON EVENT cart TOPIC promotions SEND email cart EXPIRES '3 days'; WAIT '30 days'; $$, '2026-01-01');
SELECT journey.create_journey('brief', $$ ON EVENT brief TOPIC promotions SEND email cart EXPIRES '2 minutes'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
CREATE VIEW shop.mail AS SELECT contact, status, attempt, reason, finished_at FROM journey_state.message;
CREATE VIEW shop.receipts AS SELECT contact, attempt, kind, relay, code, response, at FROM journey_state.receipt WHERE kind <> 'claimed';
-- the message of a contact; contacts 1 to 12 have one each, in the order of their numbers
CREATE FUNCTION shop.msg(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT max(message_id) FROM journey_state.message WHERE contact = $1';
-- one report about one contact's message
CREATE FUNCTION shop.report(contact bigint, attempt integer, outcome text, code text, response text, at timestamptz) RETURNS integer
	LANGUAGE sql AS $$ SELECT journey.report('r1', ARRAY[shop.msg(contact)], ARRAY[attempt], ARRAY[outcome], ARRAY[code], ARRAY[response], at) $$;
SELECT count(journey.track(id, 'cart', '{}', '2026-01-05 10:00')) FROM shop.customers WHERE id <= 12;
SELECT messages FROM journey.tick('2026-01-05 10:00');

-- refused
SELECT shop.report(1, 1, 'sent', NULL, NULL, '2026-01-05 10:01');
SELECT journey.open_relay('r1', :'token');
SELECT shop.report(1, 1, 'opened', NULL, NULL, '2026-01-05 10:01');
SELECT journey.report('r1', ARRAY[1], ARRAY[0], ARRAY['sent'], ARRAY['x'], ARRAY['y'], '2026-01-05 10:01');
SELECT journey.report('r1', ARRAY[shop.msg(1), 4711, 4712], ARRAY[1, 1, 1], ARRAY['sent', 'sent', 'sent'], ARRAY[NULL, NULL, NULL]::text[], ARRAY[NULL, NULL, NULL]::text[], '2026-01-05 10:01');
SELECT journey.report('r1', ARRAY[1, 2], ARRAY[1], ARRAY['sent'], ARRAY['x'], ARRAY['y'], '2026-01-05 10:01');
SELECT journey.report('r1', ARRAY[NULL]::bigint[], ARRAY[1], ARRAY['sent'], ARRAY['x'], ARRAY['y'], '2026-01-05 10:01');
SELECT journey.report('r1', '{}', '{}', '{}', '{}', '{}', '2026-01-05 10:01');
SELECT count(*) FROM shop.receipts;

-- each outcome, several in one call
SELECT count(*) FROM journey.claim('r1', at => '2026-01-05 10:00');
SELECT journey.report('r1',
	ARRAY[shop.msg(1), shop.msg(2), shop.msg(3), shop.msg(4), shop.msg(5)],
	ARRAY[1, 1, 1, 1, 1],
	ARRAY['sent', 'bounced', 'bounced', 'rejected', 'deferred'],
	ARRAY['2.0.0', '5.1.1', '5.2.2', '5.7.1', '4.4.1'],
	ARRAY['250 2.0.0 Ok: queued as 17', '550 5.1.1 no such user', '552 5.2.2 mailbox full', '554 5.7.1 spam', '421 4.4.1 timeout'],
	'2026-01-05 10:00:20');
SELECT * FROM shop.mail WHERE contact <= 5 ORDER BY contact;
SELECT * FROM shop.receipts ORDER BY contact;
SELECT * FROM journey_state.suppression;
-- the events that WAIT FOR listens to
SELECT contact, name, at, properties - 'message_id' - 'enrollment_id' AS properties, (properties->>'message_id')::bigint = shop.msg(contact) AS of_message
FROM journey_state.event WHERE name <> 'cart' ORDER BY contact;

-- repeats change nothing, alone or within one call
SELECT shop.report(1, 1, 'sent', '2.0.0', 'again', '2026-01-05 10:00:30');
SELECT shop.report(5, 1, 'deferred', '4.4.1', 'again', '2026-01-05 10:00:30');
SELECT journey.report('r1', ARRAY[shop.msg(6), shop.msg(6)], ARRAY[1, 1], ARRAY['sent', 'sent'], ARRAY[NULL, NULL]::text[], ARRAY['first', 'second'], '2026-01-05 10:00:30');
SELECT contact, kind, response FROM shop.receipts WHERE contact IN (1, 5, 6) ORDER BY 1;
SELECT count(*) FROM journey_state.event WHERE contact IN (1, 5, 6) AND name <> 'cart';

-- retries: each wait is within its bound; the lease's end does not cut it short
CREATE TABLE shop.waits (n integer, waited interval);
CREATE PROCEDURE shop.defer(contact bigint, since timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	t timestamptz := since;
	retry timestamptz;
	n integer;
BEGIN
	LOOP
		SELECT m.lease_until, m.attempt INTO retry, n FROM journey_state.message m WHERE m.contact = defer.contact;
		INSERT INTO shop.waits VALUES (n, retry - t);
		PERFORM FROM journey.claim('r1', at => retry - interval '1 microsecond') c WHERE c.message_id = shop.msg(contact);
		IF FOUND THEN RAISE EXCEPTION 'offered too early'; END IF;
		PERFORM FROM journey.claim('r1', at => retry) c WHERE c.message_id = shop.msg(contact) AND c.attempt = n + 1;
		IF NOT FOUND THEN RAISE EXCEPTION 'not offered'; END IF;
		t := retry + interval '1 second';
		PERFORM shop.report(contact, n + 1, 'deferred', '4.4.1', 'busy', t);
		EXIT WHEN (SELECT status FROM journey_state.message m WHERE m.contact = defer.contact) <> 'pending';
	END LOOP;
END
$$;
CALL shop.defer(5, '2026-01-05 10:00:20');
SELECT contact, status, attempt, reason, finished_at IS NOT NULL AS finished FROM shop.mail WHERE contact = 5;
SELECT n, waited > '1 second' AS at_least, waited <= (ARRAY['5 s', '5 min', '30 min', '2 h', '5 h', '10 h', '10 h']::interval[])[n] AS at_most FROM shop.waits ORDER BY n;
SELECT contact, name, properties->>'journey' AS journey FROM journey_state.event WHERE contact = 5 AND name <> 'cart';

-- an operator tries again; the attempts go on counting
SELECT journey.retry_message(shop.msg(5), '2026-01-07 12:00');
SELECT * FROM shop.mail WHERE contact = 5;
SELECT attempt FROM journey.claim('r1', at => '2026-01-07 12:00') c WHERE message_id = shop.msg(5);
SELECT shop.report(5, 9, 'sent', '2.0.0', 'at last', '2026-01-07 12:00:05');
SELECT * FROM shop.mail WHERE contact = 5;
\set VERBOSITY sqlstate
SELECT journey.retry_message(shop.msg(5), '2026-01-07 12:00');
SELECT journey.retry_message(shop.msg(4), '2026-01-08 10:00');
\set VERBOSITY default

-- the next try would come after the message has expired
SELECT count(journey.track(id, 'brief', '{}', '2026-01-09 10:00')) FROM shop.customers WHERE id IN (13, 14);
SELECT messages FROM journey.tick('2026-01-09 10:00');
SELECT contact, c.attempt FROM journey.claim('r1', at => '2026-01-09 10:01:59.5') c JOIN journey_state.message m USING (message_id) WHERE contact = 13;
SELECT shop.report(13, 1, 'deferred', '4.4.1', 'busy', '2026-01-09 10:01:59.8');
SELECT contact, status, reason FROM shop.mail WHERE contact = 13;

-- late reports: the lease has lapsed and another attempt is on its way
SELECT count(journey.track(id, 'cart', '{}', '2026-01-12 10:00')) FROM shop.customers WHERE id BETWEEN 15 AND 19;
SELECT messages FROM journey.tick('2026-01-12 10:00');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-12 10:00') c JOIN journey_state.message m USING (message_id) WHERE contact BETWEEN 15 AND 19;
SELECT count(*) FROM journey.claim('r1', at => '2026-01-12 10:01') c JOIN journey_state.message m USING (message_id) WHERE contact BETWEEN 15 AND 19;
SELECT shop.report(15, 1, 'sent', '2.0.0', 'late', '2026-01-12 10:01:10');
SELECT shop.report(16, 1, 'bounced', '5.1.1', 'late', '2026-01-12 10:01:10');
SELECT shop.report(17, 1, 'deferred', '4.4.1', 'late', '2026-01-12 10:01:10');
SELECT shop.report(18, 2, 'bounced', '5.1.1', 'current', '2026-01-12 10:01:10');
SELECT shop.report(18, 1, 'sent', '2.0.0', 'late', '2026-01-12 10:01:20');
SELECT shop.report(19, 3, 'deferred', '4.4.1', 'from the future', '2026-01-12 10:01:10');
SELECT contact, status, attempt, reason FROM shop.mail WHERE contact BETWEEN 15 AND 19 ORDER BY contact;
SELECT contact, attempt, kind, code FROM shop.receipts WHERE contact BETWEEN 15 AND 19 ORDER BY contact, attempt;
SELECT address FROM journey_state.suppression ORDER BY 1;
-- sent wins over a message withheld meanwhile
SELECT journey.set_consent(16, 'email', 'promotions', false, 'link', '2026-01-12 10:01:30');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-12 10:02') c JOIN journey_state.message m USING (message_id) WHERE contact = 16;
SELECT contact, status, reason FROM shop.mail WHERE contact = 16;
SELECT shop.report(16, 2, 'sent', '2.0.0', 'late', '2026-01-12 10:02:10');
SELECT contact, status, reason FROM shop.mail WHERE contact = 16;
SELECT shop.report(16, 2, 'rejected', '5.7.1', 'and then not', '2026-01-12 10:02:20');
SELECT contact, status, reason FROM shop.mail WHERE contact = 16;

-- long answers are cut, between characters
SELECT shop.report(17, 2, 'sent', repeat('9', 100), repeat('é', 5000), '2026-01-12 10:02:10');
SELECT octet_length(code), octet_length(response), right(code, 30) AS code, right(response, 32) AS response FROM shop.receipts WHERE contact = 17 AND attempt = 2;

-- an older session of the relay may still report
UPDATE journey_state.relay SET epoch = epoch + 1;
SELECT count(*) FROM journey.claim('r1', at => '2026-01-12 11:00');
SELECT shop.report(19, 2, 'sent', '2.0.0', 'accepted before', '2026-01-12 10:03');
SELECT contact, status FROM shop.mail WHERE contact = 19;
