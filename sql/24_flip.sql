/*
 * flip: when a condition on time flips by itself.  Called by segments' statements
 * (journey.explain_segment() shows them).
 */

-- No SET search_path: it looks nothing up by name, and is called once for each row.
CREATE FUNCTION journey._flip(program text, VARIADIC "any")
RETURNS timestamptz
LANGUAGE c STABLE PARALLEL SAFE COST 10
AS 'MODULE_PATHNAME', 'pgj_sql_flip';
REVOKE ALL ON FUNCTION journey._flip(text, VARIADIC "any") FROM PUBLIC;
COMMENT ON FUNCTION journey._flip(text, VARIADIC "any") IS 'When the comparison that the program stands for (src/segment/flip.h) flips first after the time that follows, for the values after that; possibly somewhat earlier, null if never';
