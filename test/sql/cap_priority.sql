-- What a SEND does when a cap is full, to the microsecond of the next free slot;
-- who gets the last place.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
UPDATE shop.customers SET tz = 'UTC' WHERE id <> 8;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_channel('mail', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello'), journey.create_template('news', 'mail', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2025-12-01')), count(journey.set_consent(id, 'mail', '*', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('low', $$ ON EVENT low KEY event.properties->>'k' TOPIC promotions SEND email news PRIORITY 10 EXPIRES '5 days' WHEN CAPPED DEFER; $$, '2026-01-01');
SELECT journey.create_journey('brief', $$ ON EVENT brief KEY event.properties->>'k' TOPIC promotions SEND email news PRIORITY 10 EXPIRES '1 hour' WHEN CAPPED DEFER; $$, '2026-01-01');
SELECT journey.create_journey('within', $$ ON EVENT within KEY event.properties->>'k' TOPIC promotions SEND email news PRIORITY 10 WHEN CAPPED DEFER WITHIN '22 hours'; $$, '2026-01-01');
SELECT journey.create_journey('leave', $$ ON EVENT leave KEY event.properties->>'k' TOPIC promotions SEND email news WHEN CAPPED EXIT; WAIT '1 hour'; SEND mail news; $$, '2026-01-01');
SELECT journey.create_journey('high', $$ ON EVENT high KEY event.properties->>'k' TOPIC promotions SEND email news PRIORITY 60; $$, '2026-01-01');
SELECT journey.create_journey('mid', $$ ON EVENT mid KEY event.properties->>'k' TOPIC promotions SEND email news PRIORITY 30; $$, '2026-01-01');
SELECT journey.create_journey('later', $$ ON EVENT later KEY event.properties->>'k' EXIT ON stop TOPIC promotions WAIT '1 hour'; SEND email news PRIORITY 60; $$, '2026-01-01');
SELECT journey.create_journey('ghosts', $$ ON EVENT ghosts KEY event.properties->>'k' HOLDOUT 99.9% TOPIC promotions WAIT '1 hour'; SEND email news PRIORITY 90; $$, '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT journey.open_relay('r1', :'token');
SELECT journey.create_cap('daily', 1, '1 day', channels => '{email}', at => '2026-01-01');

-- events (none: just the tick), the tick at their time
CREATE PROCEDURE shop.go(contact bigint, events text[], at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(go.contact, e, jsonb_build_object('k', format('%s %s', go.at, n)), go.at) FROM unnest(events) WITH ORDINALITY AS u (e, n);
	COMMIT;
	PERFORM journey.tick(go.at);
END
$$;
CREATE FUNCTION shop.verdicts(contact bigint) RETURNS TABLE (at timestamptz, journey text, stage text, verdict text, until timestamptz, count text, rivals jsonb) LANGUAGE sql AS $$
	SELECT v.at, j.name, v.stage, v.verdict || coalesce(' ' || v.reason, ''), v.until, (v.evidence#>>'{caps,0,count}') || '/' || (v.evidence#>>'{caps,0,limit}'),
		(SELECT jsonb_agg(r - 'enrollment') FROM jsonb_array_elements(v.evidence#>'{caps,0,rivals}') AS r)
	FROM journey_state.verdict v JOIN journey.version USING (version_id) JOIN journey.journey j USING (journey_id)
	WHERE v.contact = verdicts.contact ORDER BY v.verdict_id
$$;

--
-- deferred to the instant at which the window lets go of the message, and not before
--
CALL shop.go(1, '{high}', '2026-01-05 10:00');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-05 10:00:30.000001');
CALL shop.go(1, '{low}', '2026-01-05 12:00');
CALL shop.go(1, '{}', '2026-01-06 10:00:30');
CALL shop.go(1, '{}', '2026-01-06 10:00:30.000001');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-06 10:01');
-- two wait for one place: the older goes, the other waits for the next
CALL shop.go(1, '{low}', '2026-01-06 11:00');
CALL shop.go(1, '{low}', '2026-01-06 12:00');
CALL shop.go(1, '{}', '2026-01-07 10:01');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-07 10:01:10');
CALL shop.go(1, '{}', '2026-01-07 10:02');
CALL shop.go(1, '{}', '2026-01-08 10:01');
CALL shop.go(1, '{}', '2026-01-08 10:01:10');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-08 10:01:10');
SELECT * FROM shop.verdicts(1);

--
-- DEFER WITHIN ends it at once if no slot comes in time, EXPIRES likewise; EXIT ends the run
--
CALL shop.go(2, '{high}', '2026-01-10 10:00');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-10 10:00');
CALL shop.go(2, '{within}', '2026-01-10 11:59:59.999999');
CALL shop.go(2, '{within}', '2026-01-10 12:00');
CALL shop.go(2, '{brief}', '2026-01-10 12:01');
CALL shop.go(2, '{leave}', '2026-01-10 12:02');
SELECT * FROM shop.verdicts(2);
SELECT evidence->>'within' AS within, evidence->>'until' AS until FROM journey_state.verdict WHERE contact = 2 AND evidence ? 'within';
SELECT j.name, e.status, e.end_reason FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id) WHERE contact = 2 ORDER BY enrollment_id;

--
-- a place held by a message that no relay has asked for: until it expires, or for a window from now
--
CALL shop.go(3, '{brief}', '2026-01-12 10:00');
CALL shop.go(3, '{low}', '2026-01-12 10:05');
CALL shop.go(4, '{low}', '2026-01-12 10:10');
CALL shop.go(4, '{low}', '2026-01-12 10:20');
SELECT * FROM shop.verdicts(3);
SELECT * FROM shop.verdicts(4);

--
-- two caps: the later slot of both; a calendar ends at its midnight
--
SELECT journey.create_cap('pair', 2, '3 days', at => '2026-01-01'), journey.create_cap('a day', 1, calendar => 'day', at => '2026-01-01');
CALL shop.go(5, '{high}', '2026-01-14 23:30');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-14 23:30');
CALL shop.go(5, '{low}', '2026-01-14 23:40');
CALL shop.go(5, '{}', '2026-01-15 23:30');
SELECT count(*) FROM journey.claim('r1', at => '2026-01-15 23:30');
CALL shop.go(5, '{low}', '2026-01-15 23:40');
CALL shop.go(5, '{}', '2026-01-17 23:30');
SELECT * FROM shop.verdicts(5);
SELECT journey.drop_cap('pair'), journey.drop_cap('daily');
-- the contact's midnight, here London's in summer
CALL shop.go(8, '{high}', '2026-06-30 22:30');
SELECT count(*) FROM journey.claim('r1', at => '2026-06-30 22:30');
CALL shop.go(8, '{low}', '2026-06-30 22:31');
SELECT * FROM shop.verdicts(8);
SELECT journey.drop_cap('a day');

--
-- the more important of two that wait for a relay gets the place, whoever was decided first
--
SELECT journey.create_cap('daily', 1, '1 day', channels => '{email}', at => '2026-07-01');
CALL shop.go(6, '{low}', '2026-07-01 10:00');
CALL shop.go(6, '{mid}', '2026-07-01 10:01');
CALL shop.go(6, '{high}', '2026-07-01 10:02');
CALL shop.go(6, '{mid}', '2026-07-01 10:03');
SELECT m.priority FROM journey.claim('r1', at => '2026-07-01 10:04') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 6;
SELECT * FROM shop.verdicts(6);

--
-- look-ahead: a more important message that is due soon keeps its place
--
SELECT journey.create_cap('daily', 1, '1 day', channels => '{email}', look_ahead => '2 hours', at => '2026-07-01');
CALL shop.go(7, '{later}', '2026-07-03 10:00');
CALL shop.go(7, '{low}', '2026-07-03 10:30');
CALL shop.go(7, '{mid}', '2026-07-03 10:31');
CALL shop.go(7, '{}', '2026-07-03 11:00');
SELECT count(*) FROM journey.claim('r1', at => '2026-07-03 11:00:05');
CALL shop.go(7, '{}', '2026-07-03 11:01');
SELECT * FROM shop.verdicts(7);
-- but it gives it back when its run exits, and one less important keeps none
CALL shop.go(9, '{later}', '2026-07-05 10:00');
CALL shop.go(9, '{low}', '2026-07-05 10:30');
CALL shop.go(9, '{stop}', '2026-07-05 10:40');
CALL shop.go(9, '{}', '2026-07-05 11:01');
SELECT * FROM shop.verdicts(9);
CALL shop.go(10, '{later}', '2026-07-05 10:00');
CALL shop.go(10, '{high}', '2026-07-05 10:30');
SELECT * FROM shop.verdicts(10);
-- beyond the look-ahead, in a paused journey, of a ghost: no rivals
SELECT journey.create_cap('daily', 1, '1 day', channels => '{email}', look_ahead => '20 minutes', at => '2026-07-01');
CALL shop.go(11, '{later}', '2026-07-05 12:00');
CALL shop.go(11, '{low}', '2026-07-05 12:30');
CALL shop.go(12, '{later,ghosts}', '2026-07-05 13:00');
SELECT journey.pause('later');
CALL shop.go(12, '{low}', '2026-07-05 13:50');
SELECT journey.resume('later');
SELECT * FROM shop.verdicts(11);
SELECT * FROM shop.verdicts(12);

--
-- waiting raises priority: 10 and 23 hours are more than 30
--
SELECT journey.create_cap('daily', 1, '1 day', channels => '{email}', at => '2026-07-01');
CALL shop.go(13, '{high}', '2026-07-08 10:00');
SELECT count(*) FROM journey.claim('r1', at => '2026-07-08 10:00');
CALL shop.go(13, '{low}', '2026-07-08 11:00');
CALL shop.go(13, '{mid}', '2026-07-09 10:00');
SELECT * FROM shop.verdicts(13);
CALL shop.go(14, '{high}', '2026-07-08 10:00');
SELECT count(*) FROM journey.claim('r1', at => '2026-07-10 10:00') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 14;
CALL shop.go(14, '{low}', '2026-07-10 15:00');
CALL shop.go(14, '{mid}', '2026-07-11 10:00');
SELECT * FROM shop.verdicts(14);

--
-- what a dropped journey has decided and no relay has got will not go, and takes no place; made anew, it starts anew
--
CALL shop.go(15, '{high}', '2026-07-12 10:00');
SELECT journey.drop_journey('high');
CALL shop.go(15, '{brief}', '2026-07-12 10:30');
SELECT journey.create_journey('high', $$ ON EVENT high KEY event.properties->>'k' TOPIC promotions SEND email news PRIORITY 60; $$, '2026-07-12 10:40') > 0 AS made;
SELECT journey.activate('high');
CALL shop.go(15, '{brief}', '2026-07-12 10:50');
SELECT count(*) FROM journey.claim('r1', at => '2026-07-12 10:55') c JOIN journey_state.message m USING (message_id) WHERE m.contact = 15;
CALL shop.go(15, '{high}', '2026-07-12 10:58');
SELECT * FROM shop.verdicts(15);

SELECT law, violations, example FROM journey.check() WHERE violations > 0;
