/*
 * membership: who is in which segment, kept current by changes and by the clock.
 */

CREATE FUNCTION journey._mark()
RETURNS trigger
LANGUAGE c
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_mark';
REVOKE ALL ON FUNCTION journey._mark() FROM PUBLIC;
COMMENT ON FUNCTION journey._mark() IS 'internal: the trigger of all segments; marks the contacts that a statement may have moved into or out of one';

CREATE FUNCTION journey.in_segment(contact "any", segment text)
RETURNS boolean
LANGUAGE c
STABLE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_in_segment';
REVOKE ALL ON FUNCTION journey.in_segment("any", text) FROM PUBLIC;
COMMENT ON FUNCTION journey.in_segment("any", text) IS 'Whether a contact is in a segment, as far as its slice has got; in a predicate the segments asked for are evaluated first. No contact (null) is in none.';
