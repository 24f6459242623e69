-- A contact table that is slow to read: what it costs is bounded, who could be
-- read is served.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
-- one slice, so that one claim meets all contacts
RESET SESSION AUTHORIZATION;
SET client_min_messages = error;
SELECT journey.detach();
DROP SCHEMA journey_state CASCADE;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop', slices => 1);
SELECT journey.issue_site_token() AS token \gset
RESET client_min_messages;
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('hello', 'email', 'Hello', 'Hello {{first_name}}');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers;
SET client_min_messages = warning;
SELECT journey.create_journey('now', 'ON EVENT now SEND email hello EXPIRES ''10 days'';', '2026-01-01');
SELECT journey.create_journey('later', 'ON EVENT now WAIT ''1 day''; SEND email hello;', '2026-01-01');
SELECT journey.activate(name) FROM journey.journey;
RESET client_min_messages;
SELECT count(journey.track(id, 'now', at => '2026-01-02')) FROM shop.customers;
SELECT steps, messages FROM journey.tick('2026-01-02');

-- all but three contacts take for ever
CREATE FUNCTION shop.slow(id bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
	IF id > 3 THEN
		PERFORM pg_sleep(3600);
	END IF;
	RETURN true;
END
$$;
CREATE POLICY slow ON shop.customers USING (shop.slow(id));
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
RESET SESSION AUTHORIZATION;
SET pg_journey.expression_timeout = '20ms';
SET SESSION AUTHORIZATION shop;

-- ten are parked; the others were not tried and come again
SELECT journey.open_relay('r', :'token');
SELECT count(*) FROM journey.claim('r', at => '2026-01-02 10:00');
SELECT status, reason, count(*) FROM journey_state.message GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM journey_state.outbox WHERE available_at = '2026-01-02 10:00:05';
SELECT count(*) FROM journey.claim('r', at => '2026-01-02 10:00:01');
SELECT count(*) FROM journey.claim('r', at => '2026-01-02 10:00:05');
SELECT status, reason, count(*) FROM journey_state.message GROUP BY 1, 2 ORDER BY 1, 2;

-- a step, and an entry, give up after ten
SELECT steps, messages FROM journey.tick('2026-01-03');
SELECT status, error, count(*) FROM journey_state.enrollment GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(journey.track(id, 'now', at => '2026-01-04')) FROM generate_series(1, 20) AS id;
SELECT messages FROM journey.tick('2026-01-04');
SELECT reason, detail, count(*) FROM journey_state.refusal GROUP BY 1, 2 ORDER BY 1, 2;
