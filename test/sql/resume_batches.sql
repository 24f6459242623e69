-- What a pause held back comes in batches once it is over.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
SELECT journey.detach();
DROP SCHEMA journey_state CASCADE;
SELECT journey.attach('shop.customers', key => 'id', owner => 'shop', slices => 1);
RESET client_min_messages;
SET SESSION AUTHORIZATION shop;
SELECT journey.create_journey('j', 'ON EVENT go WAIT ''1 day''; EXIT;', '2026-01-01');
SELECT journey.activate('j');
SELECT count(journey.track(id, 'go', at => '2026-01-02')) FROM shop.customers;
SELECT steps, more FROM journey.tick('2026-01-02');
SELECT journey.pause('j');
SELECT steps, more FROM journey.tick('2026-01-03');
SELECT count(*) FROM journey_state.held;
SELECT journey.resume('j');
SET pg_journey.batch_size = 8;
SELECT steps, more FROM journey.tick('2026-01-04');
SELECT count(*) FROM journey_state.held;
SELECT steps, more FROM journey.tick('2026-01-04');
SELECT steps, more FROM journey.tick('2026-01-04');
SELECT count(*) FROM journey_state.held;
SELECT status, count(*) FROM journey_state.enrollment GROUP BY 1;
