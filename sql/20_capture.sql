/*
 * capture: rows of the shop's tables, and calls, become events.
 *
 * A capture is up to two statement triggers with transition tables on the
 * source.  Whoever writes to the source needs no rights here.
 */

CREATE TABLE journey.capture
(
	capture_id			integer		GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	event				text		NOT NULL,
	source				regclass	NOT NULL,
	operations			text		NOT NULL CHECK (operations IN ('INSERT', 'UPDATE', 'INSERT OR UPDATE')),
	contact				text		NOT NULL,
	at					text,
	properties			text		NOT NULL,
	condition			text,
	created_at			timestamptz	NOT NULL,
	UNIQUE (event, source)
);
COMMENT ON TABLE journey.capture IS 'Which rows of the shop''s tables become events. contact, at, properties and condition are SQL expressions over new (and old); a capture is never changed, only dropped and made again.';

CREATE FUNCTION journey._capture()
RETURNS trigger
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_capture_trigger';
REVOKE ALL ON FUNCTION journey._capture() FROM PUBLIC;
COMMENT ON FUNCTION journey._capture() IS 'internal: the trigger of all captures';

CREATE FUNCTION journey.capture(event text, source regclass, contact text, at text DEFAULT NULL, properties text DEFAULT '''{}''', condition text DEFAULT NULL, operations text DEFAULT 'INSERT')
RETURNS integer
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_capture';
REVOKE ALL ON FUNCTION journey.capture(text, regclass, text, text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.capture(text, regclass, text, text, text, text, text) IS 'Records an event for each row inserted into (or updated in) source. contact and at: a column or an SQL expression (without at: the time of the statement); properties: an expression of type jsonb, an object; condition: rows for which it is not true are passed over. A row that fails never fails the shop''s statement: see journey_state.capture_error.';

CREATE FUNCTION journey.drop_capture(event text, source regclass)
RETURNS void
LANGUAGE c STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_drop_capture';
REVOKE ALL ON FUNCTION journey.drop_capture(text, regclass) FROM PUBLIC;
COMMENT ON FUNCTION journey.drop_capture(text, regclass) IS 'Ends a capture; events recorded stay';

CREATE FUNCTION journey.retry_capture_errors(capture integer, OUT recorded bigint, OUT failed bigint)
LANGUAGE c STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_retry_capture_errors';
REVOKE ALL ON FUNCTION journey.retry_capture_errors(integer) FROM PUBLIC;
COMMENT ON FUNCTION journey.retry_capture_errors(integer) IS 'Runs a capture again over the rows of journey_state.capture_error; what goes well leaves that table';

CREATE FUNCTION journey.track(contact "any", event text, properties jsonb DEFAULT '{}', at timestamptz DEFAULT clock_timestamp(), id text DEFAULT NULL)
RETURNS bigint
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_track';
REVOKE ALL ON FUNCTION journey.track("any", text, jsonb, timestamptz, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.track("any", text, jsonb, timestamptz, text) IS 'Records an event of a contact and returns its event_id. With an id, a second call for the same contact and id records nothing and returns the first event_id.';

CREATE FUNCTION journey.enroll(journey text, contact "any", key text DEFAULT NULL, at timestamptz DEFAULT clock_timestamp())
RETURNS bigint
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_enroll';
REVOKE ALL ON FUNCTION journey.enroll(text, "any", text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.enroll(text, "any", text, timestamptz) IS 'Asks an active journey that has an ON CALL entry to take a contact in; the engine decides at its next pass';

CREATE FUNCTION journey.retry(enrollment bigint, at timestamptz DEFAULT clock_timestamp())
RETURNS bigint
LANGUAGE c STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_retry';
REVOKE ALL ON FUNCTION journey.retry(bigint, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.retry(bigint, timestamptz) IS 'Asks the engine to try a parked enrollment again at the step where it failed';
