--
-- Each kind of role can do its work, and nothing of the others'.
--
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop

\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('odd', channel => 'email', subject => '{% for i in (1..1000000) %}{% endfor %}', body => 'x');
SELECT journey.set_consent(1, 'email', 'promotions', true, 'test', at => '2026-01-01');
SELECT journey.create_journey('p', $$ ON EVENT go SEND email odd; WAIT UNTIL (event.properties->>'until')::timestamptz; $$);
SELECT journey.activate('p');
SELECT journey.track(1, 'go', at => '2026-01-02') \g /dev/null
SELECT * FROM journey.tick('2026-01-02');
SELECT enrollment_id AS run, error FROM journey_state.enrollment WHERE status = 'parked' \gset
RESET SESSION AUTHORIZATION;
SET client_min_messages = warning;
CREATE ROLE roles_operator LOGIN;
CREATE ROLE roles_relay LOGIN;
CREATE ROLE roles_analyst LOGIN;
CREATE ROLE roles_stranger LOGIN;
SELECT journey.grant_role(replace(r, 'roles_', ''), r::name) FROM unnest(ARRAY['roles_operator', 'roles_relay', 'roles_analyst']) r \g /dev/null
SELECT journey.issue_site_token() AS token \gset

SET SESSION AUTHORIZATION roles_relay;
SELECT journey.open_relay('r', :'token') > 0 AS opened;
SELECT count(*) FROM journey.claim('r', at => '2026-01-02 00:01');
SELECT journey.tick('2026-01-02');
SELECT count(*) FROM journey.messages;

SET SESSION AUTHORIZATION roles_operator;
SELECT message_id AS message, status FROM journey.messages \gset
\echo :status
SELECT journey.retry(:run, '2026-01-02 00:02') > 0 AS retried;
SELECT journey.retry_message(:message, '2026-01-02 00:02');
SELECT journey.pause('p');
SELECT journey.resume('p');
SELECT journey.maintain('2026-01-02');
SELECT count(*) > 10 AS healthy FROM journey.health;
SELECT journey.activate('p');
SELECT journey.drop_journey('p');
SELECT journey.create_journey('q', $$ ON CALL EXIT; $$);
SELECT journey.tick('2026-01-02');
SELECT journey.track(1, 'go');
UPDATE journey.journey SET status = 'dropped';
DELETE FROM journey_state.event;

SET SESSION AUTHORIZATION roles_analyst;
SELECT count(*) FROM journey.messages;
SELECT count(*) > 5 AS explained FROM journey.explain(1);
SELECT journey.diagram('p') LIKE 'flowchart%' AS drawn;
SELECT count(*) > 10 AS laws, sum(violations) AS violations FROM journey.check();
SELECT count(*) AS arms FROM journey.journey_performance;
SELECT count(*) AS steps FROM journey.funnel;
SELECT count(*) FROM journey.lifts;
SELECT count(*) FROM journey.message_reasons;
SELECT count(*) > 10 AS healthy FROM journey.health;
SELECT count(*) FROM journey.preview_cap('few', 1, '7 days', topics => '{promotions}', at => '2026-01-03');
SELECT count(*) FROM journey.preview_cap('few', 1, calendar => 'day', at => '2026-01-03');
SELECT journey.create_cap('few', 1, '7 days');
SELECT journey.pause('p');
SELECT journey.retry(:run);
SELECT journey.claim('r');
SELECT digest FROM journey.site_token;

SET SESSION AUTHORIZATION roles_stranger;
SELECT count(*) FROM journey.messages;
SELECT journey.pause('p');

SET SESSION AUTHORIZATION shop;
SELECT events, steps FROM journey.tick('2026-01-02 00:03');
SELECT status FROM journey_state.enrollment;
SELECT status, reason FROM journey_state.message;

-- triggers of the owner's leave nothing behind in the sessions of others, be it for their commit or in their settings
CREATE FUNCTION shop.plant() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('search_path', 'shop, pg_catalog', false), set_config('application_name', 'run as ' || current_user, false);
  RETURN NULL;
END $$;
CREATE FUNCTION shop.at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'run as %', current_user; RETURN NULL; END $$;
CREATE TRIGGER plant AFTER INSERT OR UPDATE OR DELETE ON journey_state.progress EXECUTE FUNCTION shop.plant();
CREATE TRIGGER plant AFTER INSERT OR UPDATE OR DELETE ON journey_state.suppression EXECUTE FUNCTION shop.plant();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON journey_state.consent DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION shop.at_commit();
RESET SESSION AUTHORIZATION;
GRANT USAGE ON SCHEMA journey TO roles_stranger;
GRANT EXECUTE ON FUNCTION journey.suppress, journey.set_consent TO roles_stranger;
SET application_name = 'mine';
SELECT journey.maintain('2026-01-03');
SHOW search_path;
SHOW application_name;
SET SESSION AUTHORIZATION roles_stranger;
SELECT journey.suppress('email', 'a@shop.example', 'manual');
SHOW search_path;
SHOW application_name;
SELECT journey.set_consent(5, 'email', 'promotions', true, 'form');

RESET SESSION AUTHORIZATION;
SELECT journey.pause('p');
DROP OWNED BY roles_stranger;
DROP OWNED BY roles_operator, roles_relay, roles_analyst;
DROP ROLE roles_operator, roles_relay, roles_analyst, roles_stranger;
