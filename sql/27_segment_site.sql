/*
 * segments when the site changes: numbers of segments that schema journey_state
 * knows and schema journey does not, and segments of a database whose tables
 * were not watched for a while.
 */

-- DROP EXTENSION takes the definitions and leaves journey_state.  A new segment
-- must not find members of an old one under its number.
CREATE FUNCTION journey._bury_lost_segments()
RETURNS integer
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	lost record;
	highest integer;
BEGIN
	highest := (
		SELECT max(x.segment_id)
		FROM (
			SELECT s.segment_id FROM journey.segment AS s
			UNION ALL
			SELECT c.segment_id FROM journey_state.segment_scan AS c
			UNION ALL
			SELECT h.segment_id FROM journey_state.segment_change AS h
		) AS x);

	FOR lost IN
		SELECT p.oid::regprocedure AS name
		FROM pg_proc AS p
		WHERE p.pronamespace = 'journey_state'::regnamespace AND p.proname ~ '^segment_[0-9]+_(check|scan|find_[0-9]+)$'
			AND split_part(p.proname, '_', 2) NOT IN (SELECT s.segment_id::text FROM journey.segment AS s)
	LOOP
		EXECUTE format('DROP FUNCTION %s', lost.name);
	END LOOP;
	DELETE FROM journey_state.membership AS m WHERE NOT EXISTS (SELECT FROM journey.segment AS s WHERE s.segment_id = m.segment_id);
	DELETE FROM journey_state.segment_scan AS c WHERE NOT EXISTS (SELECT FROM journey.segment AS s WHERE s.segment_id = c.segment_id);
	RETURN highest;
END
$$;
REVOKE ALL ON FUNCTION journey._bury_lost_segments() FROM PUBLIC;
COMMENT ON FUNCTION journey._bury_lost_segments() IS 'internal: drops memberships and statements of segments that journey_state knows and schema journey does not; the highest number of a segment in use';

/*
 * After adopt() or attach(): what changed meanwhile is not known, and columns may
 * have other numbers.  So nothing is left to be worked, and a scan is wanted of
 * each segment; its revision 0 says that the segment is compiled anew before.
 * Not here: the caller may be a superuser, who does not run an author's text.
 */
CREATE FUNCTION journey._segments_anew(at timestamptz, seen pg_snapshot)
RETURNS void
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM journey_state.mark;
	INSERT INTO journey_state.progress (slice, lane, seq, at, seen, due_at, due_id)
	SELECT s.slice, 'segment', p.seq + 1, p.at, _segments_anew.seen, p.due_at, 0
	FROM journey_state.slice AS s
	CROSS JOIN LATERAL (
		SELECT q.seq, q.at, q.due_at FROM journey_state.progress AS q
		WHERE q.slice = s.slice AND q.lane = 'segment'
		ORDER BY q.seq DESC LIMIT 1) AS p;
	INSERT INTO journey_state.segment_scan AS c (segment_id, revision, reason, wanted_at)
	SELECT s.segment_id, 0, 'refresh', _segments_anew.at FROM journey.segment AS s
	ON CONFLICT (segment_id) DO UPDATE SET revision = 0, wanted_at = excluded.wanted_at;
END
$$;
REVOKE ALL ON FUNCTION journey._segments_anew(timestamptz, pg_snapshot) FROM PUBLIC;
COMMENT ON FUNCTION journey._segments_anew(timestamptz, pg_snapshot) IS 'internal: has all segments compiled anew and scanned, by the next tick';
