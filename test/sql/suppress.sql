-- Suppression by address and by contact, with its scopes; addresses that are nobody's.
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
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT journey.create_template('brief', 'text', 'News', 'Hello');
SELECT journey.create_topic('tips', 'educational');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')), count(journey.set_consent(id, 'text', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('promo', $$ ON EVENT promo KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '10 days'; $$, '2026-01-01');
SELECT journey.create_journey('tip', $$ ON EVENT tip KEY event.properties->>'k' TOPIC tips SEND email news EXPIRES '10 days'; $$, '2026-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT receipt KEY event.properties->>'k' TOPIC service SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('brief', $$ ON EVENT brief KEY event.properties->>'k' TOPIC promotions SEND text brief EXPIRES '10 days'; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');

-- every journey is asked about a contact: by address at the entry or at the message, what was said
CREATE PROCEDURE shop.ask(contact bigint, k text, at timestamptz, INOUT answers text[] DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(contact, n, jsonb_build_object('k', k), at) FROM unnest('{promo,tip,receipt,brief}'::text[]) AS n;
	COMMIT;
	PERFORM journey.tick(at);
	SELECT array_agg(x.name || ': ' || x.answer ORDER BY x.name) INTO answers FROM (
		SELECT j.name, coalesce(v.verdict || coalesce(' ' || v.reason, ''), 'not entered: ' || r.reason) AS answer
		FROM journey.journey j
		LEFT JOIN LATERAL (SELECT * FROM journey_state.refusal r WHERE r.contact = ask.contact AND r.journey_id = j.journey_id AND r.at = ask.at) r ON true
		LEFT JOIN LATERAL (SELECT v.* FROM journey_state.verdict v JOIN journey.version w USING (version_id)
			WHERE v.contact = ask.contact AND w.journey_id = j.journey_id AND v.at = ask.at) v ON true) x;
END
$$;

--
-- scopes, by address and by contact
--
CALL shop.ask(1, 'a', '2026-01-05 10:00');
SELECT journey.suppress('email', 'C1@SHOP.example', 'asked by phone', '2026-01-05 11:00', 'promotional');
CALL shop.ask(1, 'b', '2026-01-05 12:00');
SELECT journey.suppress('email', 'c1@shop.example', 'dead', '2026-01-05 13:00');
CALL shop.ask(1, 'c', '2026-01-05 14:00');
-- a weaker scope does not take its place
SELECT journey.suppress('email', 'c1@shop.example', 'asked by phone', '2026-01-05 15:00', 'promotional');
SELECT * FROM journey_state.suppression;
CALL shop.ask(1, 'd', '2026-01-05 16:00');
SELECT journey.unsuppress('email', 'c1@shop.example');
CALL shop.ask(1, 'e', '2026-01-05 17:00');

SELECT journey.suppress_contact(2, 'deceased', at => '2026-01-05 10:00');
CALL shop.ask(2, 'a', '2026-01-05 11:00');
SELECT journey.unsuppress_contact(2, 'email');
SELECT journey.unsuppress_contact(2);
SELECT journey.unsuppress_contact(2);
CALL shop.ask(2, 'b', '2026-01-05 12:00');
SELECT journey.suppress_contact('2'::text, 'asked', 'text', 'promotional', '2026-01-05 13:00');
CALL shop.ask(2, 'c', '2026-01-05 14:00');
SELECT journey.suppress_contact(2::smallint, 'asked again', 'text', 'all', '2026-01-05 15:00');
SELECT journey.suppress_contact(2, 'asked again', 'text', 'promotional', '2026-01-05 16:00');
SELECT * FROM journey_state.suppressed_contact;
-- a new address does not help
UPDATE shop.customers SET phone = '+442000000099' WHERE id = 2;
CALL shop.ask(2, 'd', '2026-01-05 17:00');

--
-- at the claim too, with what it saw
--
CALL shop.ask(3, 'a', '2026-01-06 10:00');
CALL shop.ask(4, 'a', '2026-01-06 10:00');
SELECT journey.suppress('email', 'c3@shop.example', 'complaint', '2026-01-06 10:01', 'promotional');
SELECT journey.suppress_contact(4, 'closed the account', at => '2026-01-06 10:01');
SELECT message_id > 0 AS claimed, recipient, subject FROM journey.claim('r1', at => '2026-01-06 10:02') WHERE recipient ~ '(c3|c4)@|0003|0004' ORDER BY recipient;
SELECT v.contact, v.verdict, v.reason, v.evidence->'suppression' AS suppression FROM journey_state.verdict v
	WHERE v.stage = 'claim' AND v.contact IN (3, 4) ORDER BY v.contact, v.verdict_id;

-- refused
SELECT journey.suppress('email', 'x@shop.example', 'x', '2026-01-01', 'some');
SELECT journey.suppress('email', 'x@shop.example', 'x', 'infinity');
SELECT journey.suppress('email', NULL, 'x');
-- what is never sent to would be suppressed in vain
SELECT journey.suppress('email', ' c5@shop.example', 'x');
SELECT journey.suppress('email', 'Cleo <c5@shop.example>', 'x');
SELECT journey.suppress('sms', '07700 900003', 'x');
SELECT journey.suppress_contact(NULL::bigint, 'x');
SELECT journey.suppress_contact(1, 'x', 'pigeon');
SELECT journey.suppress_contact(1, 'x', scope => 'none');
SELECT journey.suppress_contact('one'::text, 'x');
SELECT journey.unsuppress_contact(1, 'pigeon');
RESET SESSION AUTHORIZATION;
SELECT journey.suppress_contact(1, 'x');
SET SESSION AUTHORIZATION shop;

--
-- addresses that are nobody's
--
CREATE SEQUENCE shop.days;
-- what an address is taken for: the evidence of a promotional message to it
CREATE PROCEDURE shop.address(email text, INOUT answers text[] DEFAULT NULL, INOUT rule jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
DECLARE
	t CONSTANT timestamptz := timestamptz '2026-02-01' + nextval('shop.days') * interval '1 day';
BEGIN
	UPDATE shop.customers c SET email = $1 WHERE id = 20;
	CALL shop.ask(20, t::text, t, answers);
	answers := answers[2:]; -- brief goes to the phone
	SELECT v.evidence->'address_rule' INTO rule FROM journey_state.verdict v WHERE v.contact = 20 AND v.at = t AND v.evidence ? 'address_rule' LIMIT 1;
END
$$;
CALL shop.address('asdf@asdf.com');
CALL shop.address('Test@TEST.co.uk');
CALL shop.address('test@mail.test.com');
CALL shop.address('test@testing.com');
CALL shop.address('ann@x.invalid');
CALL shop.address('Info@corner.example');
CALL shop.address('postmaster@corner.example');
CALL shop.address('information@corner.example');
CALL shop.address('no address');
SELECT journey.create_address_rule('allowed', 'info', 'corner.example');
CALL shop.address('info@corner.example');
CALL shop.address('info@mail.corner.example');
SELECT journey.create_address_rule('fake', '*', '*.Trap.example');
CALL shop.address('ann@a.b.trap.example');
CALL shop.address('ann@trap.example');
SELECT journey.create_address_rule('role', '*', '*.trap.example');
CALL shop.address('ann@a.b.trap.example');
SELECT journey.create_address_rule('fake', 'hello', 'spam.trap.*');
CALL shop.address('hello@spam.trap.example');
SELECT journey.drop_address_rule('*', '*.TRAP.example');
CALL shop.address('ann@a.b.trap.example');
SELECT kind, local_part, domain FROM journey.address_rule WHERE NOT builtin ORDER BY 2, 3;
SELECT kind, count(*) > 20 FROM journey.address_rule WHERE builtin GROUP BY kind ORDER BY kind;

-- refused
SELECT journey.create_address_rule('trap', 'x');
SELECT journey.create_address_rule('fake', NULL);
SELECT journey.create_address_rule('fake', '*');
SELECT journey.create_address_rule('fake', 'x*', 'shop.example');
SELECT journey.create_address_rule('fake', 'x@shop.example');
SELECT journey.create_address_rule('fake', 'x', 'a.*.b');
SELECT journey.create_address_rule('fake', 'x', 'shop..example');
SELECT journey.create_address_rule('fake', 'x', '');
SELECT journey.drop_address_rule('info');
SELECT journey.drop_address_rule('nothing', 'shop.example');
