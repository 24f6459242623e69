-- Events in batches: a pass that an earlier one has begun ends with what was
-- committed then, and what came since is not forgotten.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
SELECT journey.detach();
DROP SCHEMA journey_state CASCADE;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop', slices => 1);
RESET client_min_messages;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('receipt', channel => 'email', subject => 'Receipt', body => 'Thank you.');
SELECT journey.create_journey('j', 'ON EVENT go KEY event.properties->>''n'' EXIT ON stop TOPIC service SEND email receipt; WAIT ''1 day'';', '2026-01-01');
SELECT journey.activate('j');
SET pg_journey.batch_size = 4;

-- batches that are full to the last: the next pass has nothing to take
SELECT count(journey.track(1::bigint, 'go', jsonb_build_object('n', n), '2026-01-02')) FROM generate_series(1, 8) AS n;
SELECT events, more FROM journey.tick('2026-01-02');
SELECT events, more FROM journey.tick('2026-01-02');
SELECT count(journey.track(1::bigint, 'go', jsonb_build_object('n', n), '2026-01-02')) FROM generate_series(9, 9) AS n;
SELECT events, more FROM journey.tick('2026-01-02');
SELECT events, more FROM journey.tick('2026-01-02');
SELECT events, more FROM journey.tick('2026-01-02');
SELECT count(*) FROM journey_state.enrollment;

-- an exit committed since is seen before a message goes
SELECT count(journey.track(2::bigint, 'go', jsonb_build_object('n', n), '2026-01-02')) FROM generate_series(1, 4) AS n;
SELECT events, more FROM journey.tick('2026-01-02');
SELECT journey.track(1::bigint, 'stop', '{}', '2026-01-02'), journey.track(2::bigint, 'stop', '{}', '2026-01-02');
SELECT journey.open_relay('r', :'token') IS NOT NULL AS opened;
SELECT count(*) FROM journey.claim('r', at => '2026-01-02');
SELECT count(*) FROM journey.claim('r', at => '2026-01-02');
SELECT status, reason, count(*) FROM journey_state.message GROUP BY 1, 2;

-- a replay takes both
SELECT count(journey.track(3::bigint, 'go', jsonb_build_object('n', n), '2026-01-02')) FROM generate_series(1, 4) AS n;
SELECT events, more FROM journey.tick('2026-01-02');
SELECT journey.track(3::bigint, 'go', '{"n": 5}', '2026-01-02');
SELECT count(*) FROM journey.replay('2026-01-02 01:00');
SELECT count(*) FROM journey_state.enrollment WHERE contact = 3;
