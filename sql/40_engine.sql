/*
 * engine: one way in.
 */

/*
 * Of the segments: marks that are new, checks that are due, and, as slice -1,
 * scans.  Events that segments read need no look: the engine takes them in, too,
 * and a tick's pass over the segments sees what the engine is about to.
 */
CREATE FUNCTION journey._segments_due(at timestamptz)
RETURNS TABLE (slice integer, due boolean, next_due timestamptz)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET enable_seqscan = off
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $body$
BEGIN
	IF NOT EXISTS (SELECT FROM journey.segment) THEN
		RETURN;
	END IF;

	RETURN QUERY
	SELECT -1, min(w.since) <= _segments_due.at, min(w.since)
	FROM journey.segment AS g
	JOIN journey_state.segment_scan AS c ON c.segment_id = g.segment_id
	CROSS JOIN LATERAL (VALUES
		(CASE WHEN c.started_at IS NOT NULL AND c.finished_at IS NULL THEN c.started_at END),
		(c.wanted_at),
		(CASE WHEN g.opaque THEN c.started_at + g.refresh_every END)) AS w (since)
	WHERE g.status <> 'suspended'
	HAVING min(w.since) IS NOT NULL;

	RETURN QUERY
	SELECT s.slice::integer,
		p.upto IS NOT NULL
			OR EXISTS (SELECT FROM journey_state.mark AS m
				WHERE m.slice = s.slice AND m.xid >= coalesce(pg_snapshot_xmax(p.seen), '1'))
			OR EXISTS (SELECT FROM journey_state.mark AS m
				WHERE m.slice = -1 AND m.xid >= coalesce(pg_snapshot_xmax(p.seen), '1'))
			OR EXISTS (SELECT FROM pg_snapshot_xip(p.seen) AS x (xid)
				JOIN journey_state.mark AS m ON m.slice IN (s.slice, -1) AND m.xid = x.xid)
			OR coalesce(c.check_at <= _segments_due.at, false),
		c.check_at
	FROM journey_state.slice AS s
	LEFT JOIN LATERAL (
		SELECT q.seen, q.upto, q.due_at FROM journey_state.progress AS q
		WHERE q.slice = s.slice AND q.lane = 'segment'
		ORDER BY q.seq DESC LIMIT 1) AS p ON true
	LEFT JOIN LATERAL (
		SELECT b.check_at FROM journey_state.membership AS b
		WHERE b.slice = s.slice AND b.check_at > coalesce(p.due_at, '-infinity')
		ORDER BY b.check_at LIMIT 1) AS c ON true;
END
$body$;
REVOKE ALL ON FUNCTION journey._segments_due(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._segments_due(timestamptz) IS 'internal: which slices have marks or memberships to check, and when each has its next check; slice -1: scans';

CREATE FUNCTION journey._have_events(slices smallint[], since xid8[], until xid8[])
RETURNS boolean[]
LANGUAGE C STABLE STRICT
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'pgj_sql_have_events';
REVOKE ALL ON FUNCTION journey._have_events(smallint[], xid8[], xid8[]) FROM PUBLIC;
COMMENT ON FUNCTION journey._have_events(smallint[], xid8[], xid8[]) IS 'internal: of each slice, whether it has events by transactions from since to until; until null: or later';

-- What there is to do, slice by slice, found without a lock and by index only.
-- PL/pgSQL keeps the plan; as an SQL function it would be planned by every tick.
-- It is kept while tables grow that may be empty now, hence the settings.
CREATE FUNCTION journey._due(at timestamptz)
RETURNS TABLE (slice integer, due boolean, next_due timestamptz, segments_only boolean)
LANGUAGE plpgsql
STABLE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
	RETURN QUERY
	WITH segments AS MATERIALIZED (SELECT g.slice, g.due, g.next_due FROM journey._segments_due(_due.at) AS g),
	progress AS MATERIALIZED (
		SELECT s.slice, p.seen, p.upto, p.due_at, p.due_id
		FROM journey_state.slice s
		LEFT JOIN LATERAL (
			SELECT p.seen, p.upto, p.due_at, p.due_id FROM journey_state.progress p
			WHERE p.slice = s.slice AND p.lane = 'engine'
			ORDER BY p.seq DESC LIMIT 1) p ON true
	), probe AS MATERIALIZED (
		SELECT array_agg(b.slice) AS slices, array_agg(b.since) AS since, array_agg(b.until) AS until
		FROM (
			SELECT p.slice, coalesce(pg_snapshot_xmax(p.seen), '1'::xid8), NULL::xid8 FROM progress p
			UNION ALL
			SELECT p.slice, x.xid, x.xid FROM progress p CROSS JOIN LATERAL pg_snapshot_xip(p.seen) AS x (xid)
		) AS b (slice, since, until)
	), fresh AS MATERIALIZED (
		SELECT f.slice FROM probe b CROSS JOIN LATERAL unnest(b.slices, journey._have_events(b.slices, b.since, b.until)) AS f (slice, found)
		WHERE f.found
	)
	SELECT p.slice::integer, w.found OR coalesce(g.due, false), least(t.due_at, g.next_due), NOT w.found
	FROM progress p
	CROSS JOIN LATERAL (SELECT p.upto IS NOT NULL OR EXISTS (SELECT FROM fresh f WHERE f.slice = p.slice)) AS e (found)
	CROSS JOIN LATERAL (
		SELECT EXISTS (SELECT FROM journey_state.held h JOIN journey.journey j ON j.journey_id = h.journey_id
			WHERE h.slice = p.slice AND j.status <> 'paused' AND h.enrollment_id IS NOT NULL)) AS h (found)
	LEFT JOIN LATERAL (
		SELECT t.due_at FROM journey_state.timer t
		WHERE t.slice = p.slice AND t.due_at >= coalesce(p.due_at, '-infinity')
			AND (t.due_at, t.timer_id) > (coalesce(p.due_at, '-infinity'), coalesce(p.due_id, 0))
		ORDER BY t.due_at, t.timer_id LIMIT 1) t ON true
	CROSS JOIN LATERAL (SELECT e.found OR h.found OR coalesce(t.due_at <= _due.at, false)) AS w (found)
	LEFT JOIN segments g ON g.slice = p.slice
	UNION ALL
	SELECT g.slice, g.due, g.next_due, true FROM segments g WHERE g.slice = -1;
END
$$;
REVOKE ALL ON FUNCTION journey._due(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey._due(timestamptz) IS 'internal: which slices have new events or marks, due timers or checks, and when each has its next timer or check; slice -1 stands for scans. segments_only: it has no new events, due timers or steps held back';

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
COMMENT ON FUNCTION journey.tick(timestamptz, integer) IS 'One bounded pass of the engine at a given time over one slice (-1: scans of segments, over all) or all that have work: who enters and leaves segments and new events first, then due steps. Call again while more is true.';

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
