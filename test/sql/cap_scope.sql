-- Caps of all kinds: by channel, topic, class, journey and country, with a
-- separate scope of what they count; gaps, calendars, quotas, caps in place of
-- others, and what contacts ask for themselves.  All expectations by hand.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
UPDATE journey.site SET country_column = 'country';
SET SESSION AUTHORIZATION shop;
UPDATE shop.customers SET tz = 'America/New_York' WHERE id > 10;
UPDATE shop.customers SET country = NULL WHERE id = 17;
UPDATE shop.customers SET country = 'FR-75' WHERE id = 18;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('mail', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello'), journey.create_template('news', 'mail', 'News', 'Hello');
SELECT journey.create_topic('parcels', 'transactional', counts_in_caps => true);
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')), count(journey.set_consent(id, 'mail', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('promo', $$ ON EVENT promo KEY event.properties->>'k' TOPIC promotions SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('paper', $$ ON EVENT paper KEY event.properties->>'k' TOPIC promotions SEND mail news; $$, '2026-01-01');
SELECT journey.create_journey('guide', $$ ON EVENT guide KEY event.properties->>'k' TOPIC education SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('cart', $$ ON EVENT cart KEY event.properties->>'k' TOPIC promotions SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('parcel', $$ ON EVENT parcel KEY event.properties->>'k' TOPIC parcels SEND email news; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');

-- an event, the tick and the claim at its time: what the gate said, which caps were full
CREATE FUNCTION shop.last(contact bigint) RETURNS text LANGUAGE sql AS $$
	SELECT v.verdict || coalesce(' ' || v.reason, '') || coalesce(': ' || (
		SELECT string_agg(concat_ws(' ', c.cap->>'name', coalesce(c.cap->>'class', c.cap->>'topic'), (c.cap->>'count') || '/' || (c.cap->>'limit'), CASE WHEN c.cap ? 'overridden' THEN 'overridden' END), ', ')
		FROM jsonb_array_elements(v.evidence->'caps') AS c (cap) WHERE coalesce((c.cap->>'count')::int >= (c.cap->>'limit')::int, true)), '')
	FROM journey_state.verdict v WHERE v.contact = last.contact AND v.stage = 'decide' ORDER BY v.verdict_id DESC LIMIT 1
$$;
CREATE PROCEDURE shop.go(contact bigint, event text, at timestamptz, OUT verdict text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(contact, event, jsonb_build_object('k', go.at), go.at);
	COMMIT;
	PERFORM journey.tick(go.at);
	PERFORM journey.claim('r1', at => go.at);
	verdict := shop.last(contact);
END
$$;

--
-- a gap between e-mails: paper does not count
--
SELECT journey.create_gap('gap', '16 hours', channels => '{email}', at => '2026-01-01');
CALL shop.go(1, 'promo', '2026-01-05 10:00', NULL);
CALL shop.go(1, 'paper', '2026-01-05 11:00', NULL);
CALL shop.go(1, 'guide', '2026-01-06 01:59:59.999999', NULL);
CALL shop.go(1, 'guide', '2026-01-06 02:00', NULL);
SELECT journey.drop_cap('gap');

--
-- a cap of one class that counts all of them, and transactional messages that count but do not obey
--
SELECT journey.create_cap('calm', 2, '1 day', classes => '{promotional}', counts_classes => '{*}', at => '2026-01-01');
CALL shop.go(2, 'guide', '2026-01-12 10:00', NULL);
CALL shop.go(2, 'parcel', '2026-01-12 10:01', NULL);
CALL shop.go(2, 'promo', '2026-01-12 10:02', NULL);
CALL shop.go(2, 'guide', '2026-01-12 10:03', NULL);
CALL shop.go(2, 'parcel', '2026-01-12 10:04', NULL);
SELECT journey.drop_cap('calm');

--
-- one journey is silent after another: no cart mail within a day of a parcel, which is not held back itself
--
SELECT journey.create_cap('after a parcel', 1, '1 day', journeys => '{cart}', counts_journeys => '{parcel}', at => '2026-01-01');
CALL shop.go(3, 'cart', '2026-01-13 10:00', NULL);
CALL shop.go(3, 'parcel', '2026-01-13 11:00', NULL);
CALL shop.go(3, 'cart', '2026-01-14 10:59', NULL);
CALL shop.go(3, 'promo', '2026-01-14 10:59:30', NULL);
CALL shop.go(3, 'parcel', '2026-01-14 10:59:40', NULL);
CALL shop.go(3, 'cart', '2026-01-15 10:59:40', NULL);
SELECT journey.drop_cap('after a parcel');

--
-- calendar days of the contact: New York's 8 March 2026 has 23 hours, 1 November 25; a rolling day has 24
--
SELECT journey.create_cap('a day', 1, calendar => 'day', topics => '{promotions}', at => '2026-01-01');
SELECT journey.create_cap('24 hours', 1, '1 day', topics => '{education}', at => '2026-01-01');
-- 00:30 and 23:30 of the 8th, 22 hours apart: the same day; 00:00 of the 9th is another one
CALL shop.go(11, 'promo', '2026-03-08 00:30 America/New_York', NULL);
CALL shop.go(11, 'promo', '2026-03-08 23:59:59.999999 America/New_York', NULL);
CALL shop.go(11, 'promo', '2026-03-09 00:00 America/New_York', NULL);
CALL shop.go(12, 'guide', '2026-03-08 00:30 America/New_York', NULL);
CALL shop.go(12, 'guide', '2026-03-09 00:30 America/New_York', NULL);
CALL shop.go(12, 'guide', '2026-03-09 01:30 America/New_York', NULL);
-- the long day: 00:15 and 23:30 are 24 hours and 15 minutes apart, and of one day
CALL shop.go(13, 'promo', '2026-11-01 00:15 America/New_York', NULL);
CALL shop.go(13, 'promo', '2026-11-01 23:30 America/New_York', NULL);
CALL shop.go(14, 'guide', '2026-11-01 00:15 America/New_York', NULL);
CALL shop.go(14, 'guide', '2026-11-01 23:14 America/New_York', NULL);
CALL shop.go(14, 'guide', '2026-11-01 23:15 America/New_York', NULL);
-- weeks begin on Monday, months on the first, by London's clock here
SELECT journey.create_cap('a day', 1, calendar => 'week', topics => '{promotions}', at => '2026-01-01');
CALL shop.go(4, 'promo', '2027-07-11 22:59 UTC', NULL);
CALL shop.go(4, 'promo', '2027-07-11 23:00 UTC', NULL);
CALL shop.go(4, 'promo', '2027-07-18 22:59:59 UTC', NULL);
CALL shop.go(4, 'promo', '2027-07-18 23:00 UTC', NULL);
SELECT journey.create_cap('a day', 1, calendar => 'month', topics => '{promotions}', at => '2026-01-01');
CALL shop.go(5, 'promo', '2027-07-31 22:59 UTC', NULL);
CALL shop.go(5, 'promo', '2027-07-31 23:00 UTC', NULL);
CALL shop.go(5, 'promo', '2027-08-31 22:59 UTC', NULL);
SELECT evidence->'caps' AS caps FROM journey_state.verdict WHERE contact = 5 AND stage = 'decide' ORDER BY verdict_id DESC LIMIT 1;
SELECT journey.drop_cap('a day'), journey.drop_cap('24 hours');

--
-- a quota: of three a week at most floor(0.5 * 3) = 1 promotional, floor(0.7 * 3) = 2 of education
--
SELECT journey.create_cap('weekly', 3, '7 days', at => '2026-01-01');
SELECT journey.create_quota('weekly', 'promotional', share => 0.5, at => '2026-01-01');
SELECT journey.create_quota('weekly', topic => 'education', share => 0.7, at => '2026-01-01');
CALL shop.go(6, 'promo', '2027-09-06 10:00', NULL);
CALL shop.go(6, 'paper', '2027-09-06 10:01', NULL);
CALL shop.go(6, 'guide', '2027-09-06 10:02', NULL);
CALL shop.go(6, 'guide', '2027-09-06 10:03', NULL);
CALL shop.go(6, 'guide', '2027-09-06 10:04', NULL);
CALL shop.go(6, 'promo', '2027-09-13 10:00', NULL);
SELECT journey.drop_quota('weekly', topic => 'education');
SELECT cap, kind, name, share FROM journey.quota;
SELECT journey.drop_quota('weekly', 'promotional');

--
-- a cap in the place of another
--
SELECT journey.create_cap('paper is dear', 1, '30 days', channels => '{mail}', overrides => '{weekly}', at => '2026-01-01');
CALL shop.go(7, 'guide', '2027-10-05 10:00', NULL);
CALL shop.go(7, 'guide', '2027-10-05 10:01', NULL);
CALL shop.go(7, 'guide', '2027-10-05 10:02', NULL);
CALL shop.go(7, 'guide', '2027-10-05 10:03', NULL);
CALL shop.go(7, 'paper', '2027-10-05 10:04', NULL);
CALL shop.go(7, 'paper', '2027-10-20 10:04', NULL);
SELECT journey.create_cap('weekly', 3, '7 days', overrides => '{paper is dear}');
SELECT journey.drop_cap('paper is dear');

--
-- what a contact asked for comes on top of the shop's caps, which go on for all else
--
INSERT INTO journey_state.frequency VALUES (8, 'email', 'education', 'weekly', 'page', '2026-01-01'), (8, '*', '*', 'daily', 'page', '2026-01-01');
CALL shop.go(8, 'guide', '2028-01-03 10:00', NULL);
CALL shop.go(8, 'promo', '2028-01-03 23:00', NULL);
CALL shop.go(8, 'promo', '2028-01-04 00:00', NULL);
CALL shop.go(8, 'guide', '2028-01-05 10:00', NULL);
CALL shop.go(8, 'paper', '2028-01-05 10:01', NULL);
CALL shop.go(8, 'paper', '2028-01-06 10:01', NULL);
CALL shop.go(8, 'guide', '2028-01-10 10:00', NULL);

--
-- what a message counted as stays with it
--
SELECT journey.drop_cap('weekly');
SELECT journey.create_cap('two', 2, '1 day', at => '2028-02-01');
CALL shop.go(9, 'parcel', '2028-02-05 10:00', NULL);
SELECT journey.create_topic('parcels', 'transactional', counts_in_caps => false);
CALL shop.go(9, 'parcel', '2028-02-05 10:01', NULL);
CALL shop.go(9, 'promo', '2028-02-05 10:02', NULL);
CALL shop.go(9, 'promo', '2028-02-05 10:03', NULL);

--
-- a country's cap is for those who are or may be there: 15 and 18 are, 16 is not, of 17 nobody knows
--
SELECT journey.drop_cap('two');
SELECT journey.create_cap('french', 1, '1 day', countries => '{fr}', at => '2028-03-01');
CALL shop.go(15, 'promo', '2028-03-05 10:00', NULL);
CALL shop.go(15, 'promo', '2028-03-05 10:01', NULL);
CALL shop.go(16, 'promo', '2028-03-05 10:02', NULL);
CALL shop.go(16, 'promo', '2028-03-05 10:03', NULL);
CALL shop.go(17, 'promo', '2028-03-05 10:04', NULL);
CALL shop.go(17, 'promo', '2028-03-05 10:05', NULL);
CALL shop.go(18, 'promo', '2028-03-05 10:06', NULL);
CALL shop.go(18, 'promo', '2028-03-05 10:07', NULL);
SELECT journey.create_cap('two', 2, '1 day', at => '2028-02-01');

--
-- whom a cap would have touched: messages that it takes out use nothing up
--
SELECT contact, to_char(claimed_at AT TIME ZONE 'UTC', 'MM-DD HH24:MI') AS at, channel, topic FROM journey_state.message WHERE claimed_at BETWEEN '2027-09-30' AND '2028-01-31' ORDER BY contact, claimed_at;
SELECT * FROM journey.preview_cap('two', 2, '1 day', back => '90 days', at => '2027-12-31');
SELECT * FROM journey.preview_cap('two', 1, '1 day', back => '90 days', at => '2027-12-31');
SELECT * FROM journey.preview_cap('two', 1, '2 days', back => '30 days', at => '2028-01-20');
SELECT * FROM journey.preview_cap('two', 1, calendar => 'week', back => '30 days', at => '2028-01-20');
SELECT * FROM journey.preview_cap('two', 1, '2 days', channels => '{mail}', counts_channels => '{*}', back => '30 days', at => '2028-01-20');
SELECT * FROM journey.preview_cap('two', 1, '1 hour', countries => '{fr}', back => '6 months', at => '2028-01-20');
SELECT contact FROM journey.preview_cap('two', 0, '1 hour', countries => '{fr-75}', back => '1 year', at => '2028-01-20');
SELECT * FROM journey.preview_cap('two', 0, '2 days', back => '36 hours', at => '2028-01-04 10:00');
SELECT name FROM journey.cap;

SELECT law, violations, example FROM journey.check() WHERE violations > 0;

\set VERBOSITY terse
-- caps that are none
SELECT journey.create_cap('x', 1);
SELECT journey.create_cap('x', 1, '1 day', calendar => 'day');
SELECT journey.create_cap('x', 1, calendar => 'year');
SELECT journey.create_cap('x', 1, '1 day', look_ahead => '-1 hour');
SELECT journey.create_cap('x', 1, '1 day', look_ahead => '32 days');
SELECT journey.create_cap('x', 1, '1 day', engagement => 'middling');
SELECT journey.create_cap('x', 1, '1 day', countries => '{GB,""}');
SELECT journey.create_cap('x', 1, '1 day', topics => '{}');
SELECT journey.create_cap('x', 1, '1 day', topics => '{promotions,NULL}');
SELECT journey.create_cap('x', 1, '1 day', topics => '{nothing}');
SELECT journey.create_cap('x', 1, '1 day', classes => '{loud}');
SELECT journey.create_cap('x', 1, '1 day', journeys => '{nowhere}');
SELECT journey.create_cap('x', 1, '1 day', counts_journeys => '{nowhere}');
SELECT journey.create_cap('x', 1, '1 day', overrides => '{x}');
SELECT journey.create_cap('x', 1, '1 day', at => NULL);
SELECT journey.create_gap('x', NULL);
SELECT journey.preview_cap('x', 1, '1 day', back => '-1 day');
SELECT journey.preview_cap('x', 1, '1 day', engagement => 'low');
SELECT journey.preview_cap('x', 1, '-1 day');
SELECT journey.create_quota('x', 'promotional', share => 0.5);
SELECT journey.create_quota('two', 'promotional', share => 1);
SELECT journey.create_quota('two', 'promotional', 'education', 0.5);
SELECT journey.create_quota('two', share => 0.5);
SELECT journey.create_quota('two', 'loud', share => 0.5);
SELECT journey.create_quota('two', topic => 'nothing', share => 0.5);
SELECT journey.drop_quota('two', 'promotional');
SELECT name FROM journey.cap;
