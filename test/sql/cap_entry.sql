-- How often a contact enters: LIMIT of a script, entry caps over journeys, in a
-- window and at the same time.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('twice', $$ ON EVENT twice KEY event.properties->>'k' LIMIT 2 PER '7 days' TOPIC promotions SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('cart', $$ ON EVENT cart KEY event.properties->>'k' TOPIC promotions WAIT '10 days'; SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('visit', $$ ON EVENT visit KEY event.properties->>'k' TOPIC promotions WAIT '10 days'; SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('never', $$ ON EVENT never KEY event.properties->>'k' HOLDOUT 99.9% TOPIC promotions WAIT '10 days'; SEND email news; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;

-- events of a contact with one key each, one tick
CREATE PROCEDURE shop.go(contact bigint, events text[], at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(go.contact, e, jsonb_build_object('k', format('%s %s', go.at, n)), go.at) FROM unnest(events) WITH ORDINALITY AS u (e, n);
	COMMIT;
	PERFORM journey.tick(go.at);
END
$$;
CREATE FUNCTION shop.outcome(contact bigint) RETURNS TABLE (at timestamptz, journey text, entered bigint, refused text) LANGUAGE sql AS $$
	SELECT x.at, j.name, count(*) FILTER (WHERE x.why IS NULL), string_agg(x.why, '; ')
	FROM (
		SELECT e.entered_at, e.journey_id, NULL FROM journey_state.enrollment e WHERE e.contact = outcome.contact
		UNION ALL
		SELECT r.at, r.journey_id, r.reason || ': ' || r.detail FROM journey_state.refusal r WHERE r.contact = outcome.contact
	) x (at, journey_id, why) JOIN journey.journey j USING (journey_id)
	GROUP BY 1, 2 ORDER BY 1, 2
$$;

--
-- LIMIT: two in any seven days, also within one tick; the edge is open
--
CALL shop.go(1, '{twice,twice,twice}', '2026-01-05 10:00');
CALL shop.go(1, '{twice}', '2026-01-12 09:59:59.999999');
CALL shop.go(1, '{twice}', '2026-01-12 10:00');
SELECT * FROM shop.outcome(1);

--
-- entry caps: three a week over all journeys, two runs of cart and visit at the same time
--
SELECT journey.create_entry_cap('few', 3, '7 days', at => '2026-02-01');
SELECT journey.create_entry_cap('pair', 2, journeys => '{cart,visit}', at => '2026-02-01');
CALL shop.go(2, '{cart,visit,cart}', '2026-02-02 10:00');
CALL shop.go(2, '{twice,twice}', '2026-02-03 10:00');
-- after a week entries are free again, but both runs go on until they have sent
CALL shop.go(2, '{visit,twice}', '2026-02-09 10:00');
SELECT steps > 0 AS done FROM journey.tick('2026-02-12 10:00');
CALL shop.go(2, '{visit}', '2026-02-12 10:00:01');
SELECT * FROM shop.outcome(2);
-- somebody else is not concerned
CALL shop.go(3, '{cart,visit}', '2026-02-09 10:00');
SELECT * FROM shop.outcome(3);

--
-- a ghost uses up entries of its own journey, and none of others
--
SELECT journey.create_entry_cap('pair', 1, '1 day', at => '2026-02-19');
CALL shop.go(4, '{never,never,cart}', '2026-02-20 10:00');
SELECT count(*), bool_and(ghost) FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id) WHERE contact = 4 AND j.name = 'never';
SELECT * FROM shop.outcome(4);

--
-- the law finds what the caps would not have let in
--
SELECT law, violations FROM journey.check() WHERE violations > 0;
BEGIN;
UPDATE journey_state.enrollment SET entered_at = '2026-02-20 11:00' WHERE contact = 2 AND entered_at = '2026-02-02 10:00';
SELECT law, violations, example FROM journey.check('2026-02-01') WHERE law LIKE '%entry cap%';
ROLLBACK;

\set VERBOSITY terse
-- caps that are none
SELECT journey.create_entry_cap(NULL, 1);
SELECT journey.create_entry_cap('', 1);
SELECT journey.create_entry_cap('x', -1);
SELECT journey.create_entry_cap('x', 1, '0');
SELECT journey.create_entry_cap('x', 1, '1 month -20 days');
SELECT journey.create_entry_cap('x', 1, '11 years');
SELECT journey.create_entry_cap('x', 1, journeys => '{nowhere}');
SELECT journey.create_entry_cap('x', 1, journeys => '{}');
SELECT journey.drop_entry_cap('few');
SELECT journey.drop_entry_cap('few');
SELECT name, max_entries, per, journeys FROM journey.entry_cap;
