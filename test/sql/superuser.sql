--
-- What the journey owner hangs on the state tables is not run by a superuser who
-- asks how the database is.
--
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop

\set SHOW_CONTEXT never
CREATE FUNCTION shop.trap(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    RAISE WARNING 'run as superuser';
  END IF;
  RETURN t;
END $$;
RESET SESSION AUTHORIZATION;
SELECT count(*) > 10 AS healthy FROM journey.health();
SELECT count(*) FROM journey.check() WHERE violations > 0;
SELECT count(*) FROM journey.explain(1);
BEGIN READ ONLY;
SELECT count(*) > 10 AS healthy FROM journey.health();
ROLLBACK;

-- A view in the place of a table.
SET SESSION AUTHORIZATION shop;
ALTER TABLE journey_state.relay RENAME TO real_relay;
CREATE VIEW journey_state.relay AS SELECT shop.trap(name) AS name, epoch, opened_at FROM (VALUES ('r', 1, now())) v (name, epoch, opened_at);
SELECT count(*) > 10 AS healthy FROM journey.health();
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM journey.health();
SELECT count(*) FROM journey.health;
SELECT count(*) FROM journey.check();
SELECT count(*) FROM journey.explain(1);
SELECT count(*) FROM journey.performance();
SELECT count(*) FROM journey.lifts;
SET ROLE shop;
SELECT count(*) FROM journey.health();
RESET ROLE;
SET SESSION AUTHORIZATION shop;
DROP VIEW journey_state.relay;
ALTER TABLE journey_state.real_relay RENAME TO relay;

-- A function in an index, in a constraint, in a rule, in a domain.
CREATE INDEX trapped ON journey_state.event_default (shop.trap('index'));
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM journey.check();
SET SESSION AUTHORIZATION shop;
DROP INDEX journey_state.trapped;
ALTER TABLE journey_state.message_default ADD CONSTRAINT trapped CHECK (shop.trap('check') IS NOT NULL);
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM journey.check();
SET SESSION AUTHORIZATION shop;
ALTER TABLE journey_state.message_default DROP CONSTRAINT trapped;
CREATE RULE trapped AS ON DELETE TO journey_state.relay DO ALSO SELECT shop.trap('rule');
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM journey.explain(1);
SET SESSION AUTHORIZATION shop;
DROP RULE trapped ON journey_state.relay;
CREATE DOMAIN shop.trapped AS text CHECK (shop.trap(VALUE) IS NOT NULL);
ALTER TABLE journey_state.relay ALTER COLUMN name TYPE shop.trapped;
RESET SESSION AUTHORIZATION;
SELECT count(*) FROM journey.health();
SET SESSION AUTHORIZATION shop;
ALTER TABLE journey_state.relay ALTER COLUMN name TYPE text;
CREATE VIEW journey_state.harmless AS SELECT 1 AS one;

-- All in order again, also for an analyst.
RESET SESSION AUTHORIZATION;
SELECT count(*) > 10 AS healthy FROM journey.health();
CREATE ROLE superuser_analyst LOGIN;
SELECT journey.grant_role('analyst', 'superuser_analyst');
SET SESSION AUTHORIZATION superuser_analyst;
SELECT count(*) > 10 AS healthy FROM journey.health;
SELECT count(*) FROM journey.check() WHERE violations > 0;
RESET SESSION AUTHORIZATION;
SET ROLE superuser_analyst;
SELECT count(*) FROM journey.explain(1);
RESET ROLE;
SET client_min_messages = error;
DROP OWNED BY superuser_analyst;
DROP ROLE superuser_analyst;
