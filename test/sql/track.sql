-- events by call
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
\set VERBOSITY terse
SELECT journey.track(1, 'visit') AS first;
SELECT journey.track(contact => 2, event => 'visit', properties => '{"page": 1}', at => '2026-01-02');
SELECT contact, name, properties, xid = pg_current_xact_id() AS own_xid FROM journey_state.event ORDER BY event_id;

-- with an id: once, however often and from wherever
SELECT journey.track(1, 'paid', '{"n": 1}', '2026-01-03', 'invoice-1');
SELECT journey.track(1, 'paid', '{"n": 2}', '2026-01-04', 'invoice-1');
SELECT journey.track(2, 'paid', '{"n": 3}', '2026-01-03', 'invoice-1');
SELECT journey.track(1, 'refunded', '{}', '2026-01-05', 'invoice-1');
BEGIN;
SELECT journey.track(3, 'paid', at => '2026-01-05', id => 'rolled back') AS id \gset
ROLLBACK;
SELECT journey.track(3, 'paid', at => '2026-01-05', id => 'rolled back') > :id AS new_number;
SELECT contact, name, at, properties FROM journey_state.event WHERE name = 'paid' ORDER BY event_id;
SELECT count(*) FROM journey_state.event e JOIN journey_state.event_key k USING (contact, at, event_id);

-- what is refused
SELECT journey.track(NULL::bigint, 'x');
SELECT journey.track(1, NULL);
SELECT journey.track(1, '');
SELECT journey.track(1, repeat('x', 201));
SELECT journey.track(1, 'journey.call');
SELECT journey.track(1, 'x', NULL);
SELECT journey.track(1, 'x', '[]');
SELECT journey.track(1, 'x', '1');
SELECT journey.track(1, 'x', jsonb_build_object('a', repeat('x', 300000)));
SELECT journey.track(1, 'x', at => NULL);
SELECT journey.track(1, 'x', at => 'infinity');
SELECT journey.track(1, 'x', at => '-infinity');
SELECT journey.track(1, 'x', id => '');
SELECT journey.track(1, 'x', id => repeat('x', 201));
SELECT journey.track('one', 'x');
SELECT journey.track(99999999999999999999, 'x');
SELECT journey.track(1, 'edge', jsonb_build_object('a', repeat('x', 262000)), at => '9999-12-31 23:59:59.999999+00') > 0 AS edge;

-- an application's role may be given the function alone
RESET SESSION AUTHORIZATION;
CREATE ROLE app LOGIN;
SET SESSION AUTHORIZATION app;
SELECT journey.track(1, 'x');
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA journey TO app;
GRANT EXECUTE ON FUNCTION journey.track("any", text, jsonb, timestamptz, text) TO app;
SET SESSION AUTHORIZATION app;
SELECT journey.track(1, 'from_app', at => '2026-01-06', id => 'a') > 0 AS tracked;
SELECT journey.enroll('j', 1);
RESET SESSION AUTHORIZATION;
SELECT journey.track(1, 'from_superuser', at => '2026-01-06', id => 'b') > 0 AS tracked;
SELECT name, contact FROM journey_state.event WHERE name LIKE 'from%' ORDER BY event_id;

-- enroll and retry say what is wrong
SET SESSION AUTHORIZATION shop;
SELECT journey.enroll('nothing', 1);
INSERT INTO journey.journey (name, status, created_at) VALUES ('called', 'paused', '2026-01-01'), ('by_event', 'active', '2026-01-01');
INSERT INTO journey.version (journey_id, version, script, topic, priority, holdout, reentry, created_at)
	SELECT journey_id, 1, '', 'promotions', 50, 0, 'always', '2026-01-01' FROM journey.journey;
INSERT INTO journey.entry (version_id, entry_no, kind, event)
	SELECT v.version_id, 1, CASE j.name WHEN 'called' THEN 'call' ELSE 'event' END, CASE j.name WHEN 'called' THEN NULL ELSE 'visit' END
	FROM journey.version v JOIN journey.journey j USING (journey_id);
UPDATE journey.journey j SET version_id = v.version_id FROM journey.version v WHERE v.journey_id = j.journey_id;
SELECT journey.enroll('called', 1);
SELECT journey.enroll('by_event', 1);
UPDATE journey.journey SET status = 'active' WHERE name = 'called';
SELECT journey.enroll('called', 1, at => '2026-01-07') > 0, journey.enroll('called', 1, 'order 7', '2026-01-07') > 0;
SELECT journey.enroll('called', NULL::bigint);
SELECT journey.retry(1);
INSERT INTO journey_state.enrollment (slice, contact, enrollment_id, journey_id, version_id, key, ordinal, ghost, exposure_id, event_id, event_at, entered_at, status)
	VALUES (0, 5, 1, 1, 1, '', 1, false, 1, 1, '2026-01-01', '2026-01-01', 'active'), (0, 6, 2, 1, 1, '', 1, false, 1, 1, '2026-01-01', '2026-01-01', 'parked');
SELECT journey.retry(1);
SELECT journey.retry(2, '2026-01-08') > 0;
SELECT contact, name, at, properties FROM journey_state.event WHERE name LIKE 'journey.%' ORDER BY event_id;
RESET SESSION AUTHORIZATION;
DROP OWNED BY app;
DROP ROLE app;
