-- Who responds to nothing for half a year is left alone.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-01-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('promo', $$ ON EVENT promo KEY event.properties->>'k' TOPIC promotions SEND email news EXPIRES '1 day'; $$, '2025-01-01');
SELECT journey.create_journey('receipt', $$ ON EVENT receipt KEY event.properties->>'k' TOPIC service SEND email news EXPIRES '1 day'; $$, '2025-01-01');
SELECT journey.create_sunset(messages => 3, at => '2025-01-01');
SELECT journey.create_journey('win_back', $$ ON ENTER SEGMENT sunset TOPIC promotions SEND email news EXPIRES '1 day'; $$, '2025-01-01');
SELECT journey.activate(name) FROM journey.journey;
SELECT journey.create_sunset(messages => 3, except_journeys => '{win_back}', at => '2025-01-01');
-- what shows that a contact responds changes, and the sunset with it
SELECT count(journey.set_engagement_event('visited', true, '2025-01-01'));
SELECT count(journey.set_engagement_event('seen', true, '2025-01-01'));
SELECT count(journey.set_engagement_event('seen', false, '2025-01-01'));
SELECT count(journey.set_engagement_event('unknown', false, '2025-01-01'));
RESET client_min_messages;
SELECT name, segment, action, classes, except_journeys, sunset, sunset_after, sunset_messages FROM journey.hold;
SELECT substring(predicate FROM 'e.name IN \([^)]*\)') FROM journey.segment;
CREATE PROCEDURE shop.tick(at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	round record;
BEGIN
	LOOP
		SELECT * INTO round FROM journey.tick(at);
		COMMIT;
		EXIT WHEN NOT round.more;
	END LOOP;
END
$$;

-- contact 2 responded, 3 by a machine alone, 4 has not been written to for so long, 5 got two
SELECT count(journey.track(c, 'sent', '{}', d)) FROM unnest('{1,2,3}'::bigint[]) c, unnest('{2025-01-10, 2025-04-01, 2025-05-01, 2025-06-01}'::timestamptz[]) d;
SELECT count(journey.track(4, 'sent', '{}', d)) FROM unnest('{2025-02-10, 2025-04-01, 2025-05-01, 2025-06-01}'::timestamptz[]) d;
SELECT count(journey.track(5, 'sent', '{}', d)) FROM unnest('{2025-01-10, 2025-05-01}'::timestamptz[]) d;
SELECT journey.track(2, 'visited', '{}', '2025-05-02 12:00');
SELECT journey.track(3, 'clicked', '{"machine": true}', '2025-05-02');
-- 180 days after 2025-01-10 is 2025-07-09
CALL shop.tick('2025-07-08 23:59:59');
CALL shop.tick('2025-07-08 23:59:59');
SELECT contact FROM journey_state.membership WHERE member ORDER BY 1;
CALL shop.tick('2025-07-09');
SELECT contact FROM journey_state.membership WHERE member ORDER BY 1;
SELECT count(journey.track(id, 'promo', '{"k": "a"}', '2025-07-10')), count(journey.track(id, 'receipt', '{"k": "a"}', '2025-07-10')) FROM shop.customers WHERE id <= 5;
CALL shop.tick('2025-07-10');
SELECT v.contact, j.name, v.at, v.verdict, v.reason, v.evidence->'hold' AS hold
FROM journey_state.verdict v JOIN journey.version w USING (version_id) JOIN journey.journey j USING (journey_id) ORDER BY v.contact, v.at, j.name;
-- a visit brings contact 1 back at once
SELECT journey.track(1, 'visited', '{}', '2025-07-11') > 0 AS tracked;
SELECT journey.track(1, 'promo', '{"k": "b"}', '2025-07-11') > 0 AS tracked;
CALL shop.tick('2025-07-11');
SELECT verdict FROM journey_state.verdict WHERE contact = 1 AND at = '2025-07-11';
-- contact 2 was sent one message since its visit, of 2025-06-01; two more, and 180 days after the first it is time
SELECT count(journey.track(2, 'sent', '{}', d)) FROM unnest('{2025-08-01, 2025-09-01}'::timestamptz[]) d;
CALL shop.tick('2025-11-27 23:59:59');
SELECT contact FROM journey_state.membership WHERE member ORDER BY 1;
CALL shop.tick('2025-11-28');
-- contact 3 is not written to any more, and stays, as does 4; 5 got two messages only
SELECT contact, since FROM journey_state.membership WHERE member ORDER BY 1;
SELECT name, opaque FROM journey.segment;

-- of a sunset and a hold that skips the sunset decides
SELECT journey.create_segment('anybody', 'c.id > 0', at => '2025-12-01');
SELECT journey.create_hold('a_hold', segment => 'anybody', action => 'skip', at => '2025-12-01');
CALL shop.tick('2025-12-01');
SELECT count(journey.track(c, 'promo', '{"k": "c"}', '2025-12-02')) FROM unnest('{3,5}'::bigint[]) c;
CALL shop.tick('2025-12-02');
SELECT contact, verdict, reason, evidence #>> '{hold,name}' AS hold FROM journey_state.verdict WHERE at = '2025-12-02' ORDER BY contact;
SELECT journey.drop_hold('a_hold');
SELECT journey.drop_segment('anybody');

-- refused
SELECT journey.create_sunset('two words');
SELECT journey.create_sunset(after => '0');
SELECT journey.create_sunset(messages => 0);
SELECT journey.create_sunset(classes => '{transactional}');
SELECT journey.drop_sunset('nothing');
SELECT journey.create_segment('busy', 'c.id = 1');
SELECT journey.create_hold('busy', segment => 'busy');
SELECT journey.create_sunset('busy');
SELECT journey.drop_sunset('busy');
SELECT journey.create_hold('sunset', segment => 'busy');
SELECT journey.drop_hold('sunset');
SELECT journey.drop_sunset();
SELECT name FROM journey.hold;
SELECT name FROM journey.segment;
