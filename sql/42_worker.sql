/*
 * worker: what the launcher keeps running.
 */
CREATE FUNCTION journey.workers()
RETURNS TABLE (database name, pid integer, owner name, state text, since timestamptz, detail text)
LANGUAGE c
VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_workers';
REVOKE ALL ON FUNCTION journey.workers() FROM PUBLIC;
COMMENT ON FUNCTION journey.workers() IS 'The engine worker of each database of this server: running, waiting to start, absent (nothing is attached there) or refused, with the reason. No rows where pg_journey is not preloaded.';
