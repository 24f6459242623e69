/*
 * forecast: the engine goes ahead and comes back.
 */

-- Whoever calls: an author's expression reads and prints times in one way.
CREATE FUNCTION journey.forecast(horizon interval, at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (hour timestamptz, journey text, channel text, verdict text, reason text, messages bigint)
LANGUAGE c
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, MDY'
SET intervalstyle = 'postgres'
AS 'MODULE_PATHNAME', 'pgj_sql_forecast';
REVOKE ALL ON FUNCTION journey.forecast(interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.forecast(interval, timestamptz) IS 'What would be sent, deferred and withheld from now to the end of the horizon if nothing else happened, by hour: the engine decides it all, and all of that is rolled back. Ticks and claims pass over the contacts meanwhile.';
