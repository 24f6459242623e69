/*
 * preview: what a template makes of data, without sending anything.
 */

CREATE FUNCTION journey.render(source text, data jsonb, html boolean DEFAULT false)
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_render';
REVOKE ALL ON FUNCTION journey.render(text, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION journey.render(text, jsonb, boolean) IS 'Render Liquid source over data; html escapes what it writes';

CREATE FUNCTION journey.preview(template text, contact anyelement, at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (channel text, subject text, body text, html text)
LANGUAGE c STRICT ROWS 1
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, MDY'
SET intervalstyle = 'postgres'
AS 'MODULE_PATHNAME', 'pgj_sql_preview';
REVOKE ALL ON FUNCTION journey.preview(text, anyelement, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.preview(text, anyelement, timestamptz) IS 'What a contact would get from a template, over each channel it exists for, for an event without properties';
