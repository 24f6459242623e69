/*
 * measure: what an analyst reads.  Level 1: pure functions, numbers in and
 * numbers out.
 */

CREATE FUNCTION journey.fraction(salt text, unit_key text)
RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_fraction';
REVOKE ALL ON FUNCTION journey.fraction(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.fraction(text, text) IS 'The fraction in [0,1) that assigns a unit to an arm: the first 53 bits of SHA-256(salt, byte 0x1F, unit key; UTF-8) over 2^53';
