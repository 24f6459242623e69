/*
 * segment_read: what is asked of one segment.  The views over all of them are
 * in 82_views.sql.
 */

CREATE FUNCTION journey.explain_member(contact anyelement, segment text, at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (part text, value text, holds boolean)
LANGUAGE C STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_explain_member';
REVOKE ALL ON FUNCTION journey.explain_member(anyelement, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.explain_member(anyelement, text, timestamptz) IS 'Why a contact is in a segment, or is not: what the parts of the predicate come to, and at last what is known of the membership';

CREATE FUNCTION journey.segment_size(name text, as_of timestamptz)
RETURNS bigint
LANGUAGE C STABLE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_segment_size';
REVOKE ALL ON FUNCTION journey.segment_size(text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.segment_size(text, timestamptz) IS 'How many contacts the predicate would have been true for at a past time: evaluated as of then, over the rows that were there by their tables'' time columns (journey.set_time_column)';

CREATE FUNCTION journey.set_time_column(relation regclass, attribute name)
RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
	type regtype;
BEGIN
	IF relation IS NULL THEN
		RAISE EXCEPTION 'relation must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF attribute IS NULL THEN
		DELETE FROM journey.time_column AS t WHERE t.relation = $1;
		RETURN;
	END IF;

	IF NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = relation AND c.relkind IN ('r', 'p', 'f', 'm')) THEN
		RAISE EXCEPTION '% is not a table', relation
			USING ERRCODE = 'wrong_object_type', HINT = 'Views are looked into: declare the tables that they read.';
	END IF;
	SELECT a.atttypid INTO type FROM pg_attribute AS a
		WHERE a.attrelid = relation AND a.attname = attribute AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'column "%" of % does not exist', attribute, relation USING ERRCODE = 'undefined_column';
	END IF;
	IF type NOT IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype) THEN
		RAISE EXCEPTION 'column "%" of % is of type %, which is no time', attribute, relation, type
			USING ERRCODE = 'datatype_mismatch', HINT = 'A time column is a timestamp with or without time zone, or a date.';
	END IF;
	INSERT INTO journey.time_column AS t (relation, attribute) VALUES ($1, $2)
		ON CONFLICT ON CONSTRAINT time_column_pkey DO UPDATE SET attribute = excluded.attribute;
END
$body$;
REVOKE ALL ON FUNCTION journey.set_time_column(regclass, name) FROM PUBLIC;
COMMENT ON FUNCTION journey.set_time_column(regclass, name) IS 'Declare, for a table that only grows, the column that says since when a row has been there; null takes that back. For journey.segment_size().';
