/*
 * engine: one way in.
 */

-- What there is to do, slice by slice, found without a lock and by index only.
CREATE FUNCTION journey._due(at timestamptz)
RETURNS TABLE (slice integer, due boolean, next_due timestamptz)
LANGUAGE sql
STABLE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT s.slice, e.found OR h.found OR coalesce(t.due_at <= at, false), t.due_at
	FROM journey_state.slice s
	LEFT JOIN LATERAL (
		SELECT p.seen, p.upto, p.due_at, p.due_id FROM journey_state.progress p
		WHERE p.slice = s.slice AND p.lane = 'engine'
		ORDER BY p.seq DESC LIMIT 1) p ON true
	CROSS JOIN LATERAL (
		SELECT p.upto IS NOT NULL
			OR EXISTS (SELECT FROM journey_state.event v
				WHERE v.slice = s.slice AND v.xid >= coalesce(pg_snapshot_xmax(p.seen), '1'::xid8))
			OR EXISTS (SELECT FROM pg_snapshot_xip(p.seen) AS x (xid)
				JOIN journey_state.event v ON v.slice = s.slice AND v.xid = x.xid)) AS e (found)
	CROSS JOIN LATERAL (
		SELECT EXISTS (SELECT FROM journey_state.held h JOIN journey.journey j ON j.journey_id = h.journey_id
			WHERE h.slice = s.slice AND j.status <> 'paused' AND h.enrollment_id IS NOT NULL)) AS h (found)
	LEFT JOIN LATERAL (
		SELECT t.due_at FROM journey_state.timer t
		WHERE t.slice = s.slice AND t.due_at >= coalesce(p.due_at, '-infinity')
			AND (t.due_at, t.timer_id) > (coalesce(p.due_at, '-infinity'), coalesce(p.due_id, 0))
		ORDER BY t.due_at, t.timer_id LIMIT 1) t ON true
$$;
REVOKE ALL ON FUNCTION journey._due(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._due(timestamptz) IS 'internal: which slices have new events or due timers, and when each has its next timer';

-- Whoever calls: an author's expression reads and prints times in one way.
CREATE FUNCTION journey.tick(at timestamptz DEFAULT clock_timestamp(), slice integer DEFAULT NULL,
	OUT events bigint, OUT steps bigint, OUT messages bigint, OUT more boolean)
LANGUAGE c
VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, MDY'
SET intervalstyle = 'postgres'
AS 'MODULE_PATHNAME', 'pgj_sql_tick';
REVOKE ALL ON FUNCTION journey.tick(timestamptz, integer) FROM PUBLIC;
COMMENT ON FUNCTION journey.tick(timestamptz, integer) IS 'One bounded pass of the engine at a given time over one slice or all that have work: new events first, then due steps. Call again while more is true.';

CREATE FUNCTION journey.replay(until timestamptz, assume_sent boolean DEFAULT false,
	OUT events bigint, OUT steps bigint, OUT messages bigint)
LANGUAGE c
STRICT VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, MDY'
SET intervalstyle = 'postgres'
AS 'MODULE_PATHNAME', 'pgj_sql_replay';
REVOKE ALL ON FUNCTION journey.replay(timestamptz, boolean) FROM PUBLIC;
COMMENT ON FUNCTION journey.replay(timestamptz, boolean) IS 'Continuous time: every event and due step up to until, each decided at its own time, with the same result as a tick at every instant. assume_sent: messages count as handed over when decided, and no relay gets them.';
