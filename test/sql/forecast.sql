-- What would be sent, deferred and withheld: the same as what then is, and nothing stays of it.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
RESET SESSION AUTHORIZATION;
SELECT journey.issue_site_token() AS token \gset
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('news', 'email', 'News', 'Hello');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2025-12-01')) FROM shop.customers WHERE id <= 8;
SET client_min_messages = warning;
SELECT journey.create_journey('welcome', $$ ON EVENT go TOPIC promotions WAIT '2 hours'; SEND email news; WAIT '1 day'; SEND email news; $$, '2026-01-01');
SELECT journey.create_journey('offer', $$ ON EVENT go HOLDOUT 50% TOPIC promotions WAIT '90 minutes'; SEND email news EXPIRES '1 day'; $$, '2026-01-01');
RESET client_min_messages;
SELECT journey.activate('welcome'), journey.activate('offer');
SELECT journey.create_cap('daily', 1, '1 day');
SELECT count(journey.track(id, 'go', '{}', '2026-01-05 10:00')) FROM shop.customers WHERE id <= 10;
SELECT journey.tick('2026-01-05 10:00');
-- some are decided and wait for a relay
SELECT journey.tick('2026-01-05 11:30');
SELECT status, count(*) FROM journey_state.message GROUP BY 1;
SELECT journey.set_consent(8, 'email', 'promotions', false, 'link', '2026-01-05 11:40');

-- everything that a forecast might leave
CREATE VIEW shop.everything AS SELECT (
	SELECT jsonb_object_agg(c.relname, (xpath('/row/h/text()', query_to_xml(format('SELECT md5(string_agg(t::text, ''|'' ORDER BY t::text)) AS h FROM %s t', c.oid::regclass), false, true, '')))[1]::text)
	FROM pg_class c WHERE c.relnamespace = 'journey_state'::regnamespace AND c.relkind IN ('r', 'p')) AS state,
	(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks;
CREATE TABLE shop.before AS TABLE shop.everything;

CREATE TABLE shop.forecast AS SELECT * FROM journey.forecast('40 hours', '2026-01-05 11:45');
TABLE shop.forecast;
SELECT (SELECT b FROM shop.before b)::text = (SELECT e FROM shop.everything e)::text AS nothing_stays;
-- nor in the transaction that asks, and its slices are free for others
BEGIN;
SELECT count(*) FROM journey.forecast('40 hours', '2026-01-05 11:45');
SELECT (SELECT b FROM shop.before b)::text = (SELECT e FROM shop.everything e)::text AS nothing_stays;
COMMIT;

-- it comes as forecast: relays that take everything at once
SELECT journey.open_relay('r1', :'token');
CREATE PROCEDURE shop.live(until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	next timestamptz := '2026-01-05 11:45';
	got record;
BEGIN
	WHILE next <= until LOOP
		PERFORM journey.tick(next);
		FOR got IN SELECT * FROM journey.claim('r1', 100, at => next) LOOP
			PERFORM journey.report('r1', ARRAY[got.message_id], ARRAY[got.attempt], '{sent}', '{250}', '{""}', next);
		END LOOP;
		next := next + interval '15 minutes';
	END LOOP;
END
$$;
CALL shop.live('2026-01-07 03:45');
CREATE VIEW shop.happened AS
	SELECT date_trunc('hour', v.at) AS hour, j.name AS journey, 'email' AS channel, v.verdict, v.reason, count(*) AS messages
	FROM (SELECT at, version_id, verdict, reason FROM journey_state.verdict WHERE NOT ghost AND verdict <> 'sent' AND at >= '2026-01-05 11:45'
		UNION ALL SELECT claimed_at, version_id, 'sent', NULL FROM journey_state.message WHERE claimed_at IS NOT NULL) v
	JOIN journey.version USING (version_id) JOIN journey.journey j USING (journey_id)
	GROUP BY 1, 2, 3, 4, 5;
(TABLE shop.happened EXCEPT TABLE shop.forecast) UNION ALL (TABLE shop.forecast EXCEPT TABLE shop.happened);

-- what is refused
SELECT * FROM journey.forecast('0 hours', '2026-01-05');
SELECT * FROM journey.forecast('2 years', '2026-01-05');
SELECT * FROM journey.forecast('1 hour', 'infinity');
SELECT * FROM journey.forecast(NULL);
SELECT * FROM journey.forecast('1 hour', NULL);

-- an error on the way leaves the session as any error does
CREATE FUNCTION shop.stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stop'; END $$;
CREATE TRIGGER stop BEFORE INSERT ON journey_state.progress EXECUTE FUNCTION shop.stop();
SELECT * FROM journey.forecast('1 hour', '2026-01-08');
DROP TRIGGER stop ON journey_state.progress;
RESET SESSION AUTHORIZATION;
SELECT * FROM journey.forecast('1 hour', '2026-01-08');
