/*
 * suppression: addresses and contacts that must not be written to.
 */

CREATE FUNCTION journey.suppress(channel text, address text, reason text, at timestamptz DEFAULT clock_timestamp())
RETURNS void
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_suppress';
REVOKE ALL ON FUNCTION journey.suppress(text, text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.suppress(text, text, text, timestamptz) IS 'nothing is sent to this address over this channel any more, not even transactional messages';

CREATE FUNCTION journey.unsuppress(channel text, address text)
RETURNS boolean
LANGUAGE C VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_unsuppress';
REVOKE ALL ON FUNCTION journey.unsuppress(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.unsuppress(text, text) IS 'allows an address again; false if it was not suppressed';
