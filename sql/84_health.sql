/*
 * health: facts an operator looks at.  Backlogs are read from the progress rows
 * onward, over the primary keys, and counted up to a bound: a database that is a
 * million timers behind is told from a healthy one as cheaply as a healthy one.
 */
CREATE FUNCTION journey.health(at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (name text, value numeric, unit text, status text, detail text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
	counted CONSTANT integer := 100000;	-- backlogs are counted this far
	now_at CONSTANT timestamptz := at;
	copied boolean;
	log record;
	filled boolean;
	divided boolean;
BEGIN
	PERFORM journey._require_plain_state();
	SELECT (s.system_identifier, s.database_oid) IS DISTINCT FROM
		((SELECT c.system_identifier FROM pg_control_system() AS c), (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database()))
	INTO copied FROM journey.site AS s;
	IF NOT FOUND OR to_regclass('journey_state.slice') IS NULL THEN
		RETURN QUERY VALUES ('attached', 0::numeric, 'boolean', 'warn', 'no contact table is attached: journey.attach()');
		RETURN;
	END IF;

	RETURN QUERY
	SELECT 'attached', 1::numeric, 'boolean', 'ok', s.contact_table::text FROM journey.site AS s
	UNION ALL
	SELECT 'copy', copied::integer::numeric, 'boolean', CASE WHEN copied THEN 'warn' ELSE 'ok' END,
		CASE WHEN copied THEN 'this database is a copy and sends nothing: journey.adopt()' END
	UNION ALL
	SELECT 'site_token', count(k.issued_at)::numeric, 'boolean', CASE count(k.issued_at) WHEN 0 THEN 'warn' ELSE 'ok' END,
		CASE count(k.issued_at) WHEN 0 THEN 'no relay can connect before a site token is issued' END
	FROM journey.site_token AS k;

	-- timers: due is what the next tick takes (some of it stale); overdue for more than a minute
	RETURN QUERY
	WITH progress AS (
		SELECT s.slice, p.due_at, p.due_id
		FROM journey_state.slice AS s
		LEFT JOIN LATERAL (SELECT g.due_at, g.due_id FROM journey_state.progress AS g WHERE g.slice = s.slice AND g.lane = 'engine' ORDER BY g.seq DESC LIMIT 1) AS p ON true
	), due AS (
		SELECT t.due_at
		FROM progress AS p
		JOIN journey_state.timer AS t ON t.slice = p.slice AND t.due_at <= now_at
			AND (p.due_at IS NULL OR (t.due_at, t.timer_id) > (p.due_at, p.due_id))
		LIMIT counted
	), figures AS (
		SELECT count(*) AS n, count(*) FILTER (WHERE d.due_at < now_at - interval '1 minute') AS late, min(d.due_at) AS oldest FROM due AS d
	)
	SELECT 'timers_due', f.n::numeric, 'rows', 'ok', CASE WHEN f.n = counted THEN 'at least' END FROM figures AS f
	UNION ALL
	SELECT 'timers_overdue', f.late::numeric, 'rows', CASE WHEN f.late > 0 THEN 'warn' ELSE 'ok' END, CASE WHEN f.late > 0 THEN 'due for more than a minute: is the worker running?' END FROM figures AS f
	UNION ALL
	SELECT 'oldest_timer_age', coalesce(extract(epoch FROM now_at - f.oldest), 0), 's', CASE WHEN f.oldest < now_at - interval '1 minute' THEN 'warn' ELSE 'ok' END, f.oldest::text FROM figures AS f;

	-- events the engine has not taken in
	RETURN QUERY
	WITH progress AS (
		SELECT s.slice, p.seen, p.upto, p.after_event
		FROM journey_state.slice AS s
		LEFT JOIN LATERAL (SELECT g.seen, g.upto, g.after_event FROM journey_state.progress AS g WHERE g.slice = s.slice AND g.lane = 'engine' ORDER BY g.seq DESC LIMIT 1) AS p ON true
	), waiting AS (
		SELECT e.at
		FROM progress AS p
		JOIN journey_state.event AS e ON e.slice = p.slice
			AND (p.seen IS NULL OR e.xid >= pg_snapshot_xmax(p.seen) OR e.xid = ANY (ARRAY(SELECT pg_snapshot_xip(p.seen))))
			AND NOT coalesce(pg_visible_in_snapshot(e.xid, p.upto) AND e.event_id <= p.after_event, false)
		WHERE e.xid IS NOT NULL AND e.xid <> '0'	-- 0: done when it was written
		LIMIT counted
	)
	SELECT 'events_unprocessed', count(*)::numeric, 'rows', CASE WHEN count(*) = counted THEN 'warn' ELSE 'ok' END, CASE WHEN count(*) = counted THEN 'at least' END FROM waiting AS w;

	-- the outbox: what a relay could claim now
	RETURN QUERY
	WITH progress AS (
		SELECT s.slice, p.due_at, p.due_id
		FROM journey_state.slice AS s
		LEFT JOIN LATERAL (SELECT g.due_at, g.due_id FROM journey_state.progress AS g WHERE g.slice = s.slice AND g.lane = 'outbox' ORDER BY g.seq DESC LIMIT 1) AS p ON true
	), offered AS (
		SELECT o.contact, o.decided_at, o.message_id, o.attempt, o.available_at
		FROM progress AS p
		JOIN journey_state.outbox AS o ON o.slice = p.slice AND o.available_at <= now_at
			AND (p.due_at IS NULL OR (o.available_at, o.outbox_id) > (p.due_at, p.due_id))
		LIMIT counted
	), live AS (
		SELECT m.status, o.available_at, m.lease_until
		FROM offered AS o
		JOIN journey_state.message AS m ON m.contact = o.contact AND m.decided_at = o.decided_at AND m.message_id = o.message_id
			AND m.attempt = o.attempt
		WHERE m.status IN ('pending', 'claimed')
	), figures AS (
		SELECT count(*) FILTER (WHERE l.status = 'pending') AS pending, min(l.available_at) FILTER (WHERE l.status = 'pending') AS oldest,
			count(*) FILTER (WHERE l.status = 'claimed' AND l.lease_until <= now_at) AS lapsed
		FROM live AS l
	)
	SELECT 'messages_pending', f.pending::numeric, 'rows', 'ok', NULL::text FROM figures AS f
	UNION ALL
	SELECT 'oldest_message_age', coalesce(extract(epoch FROM now_at - f.oldest), 0), 's', CASE WHEN f.oldest < now_at - interval '5 minutes' THEN 'warn' ELSE 'ok' END, f.oldest::text FROM figures AS f
	UNION ALL
	SELECT 'leases_lapsed', f.lapsed::numeric, 'rows', CASE WHEN f.lapsed > 0 THEN 'warn' ELSE 'ok' END, CASE WHEN f.lapsed > 0 THEN 'claimed, but never reported: they are offered again' END FROM figures AS f;

	-- what needs a person, and what waits; these read the tables, as their states have no index
	RETURN QUERY
	SELECT 'enrollments_parked', count(*)::numeric, 'rows', CASE count(*) WHEN 0 THEN 'ok' ELSE 'warn' END, min(e.error)
	FROM journey_state.enrollment AS e WHERE e.status = 'parked'
	UNION ALL
	SELECT 'sends_put_off', count(*)::numeric, 'rows', 'ok', 'the longest since ' || min(e.send_since)::text
	FROM journey_state.enrollment AS e WHERE e.send_step IS NOT NULL AND e.status = 'active'
	UNION ALL
	SELECT 'messages_parked', count(*)::numeric, 'rows', CASE count(*) WHEN 0 THEN 'ok' ELSE 'warn' END, min(m.reason)
	FROM journey_state.message AS m WHERE m.status = 'parked'
	UNION ALL
	SELECT 'capture_errors', count(*)::numeric, 'rows', CASE count(*) WHEN 0 THEN 'ok' ELSE 'warn' END, min(c.message)
	FROM journey_state.capture_error AS c
	UNION ALL
	SELECT 'held', count(*)::numeric, 'rows', 'ok', CASE WHEN count(*) > 0 THEN 'waiting for paused journeys to be resumed' END
	FROM journey_state.held AS h;

	-- segments
	RETURN QUERY
	SELECT 'segments_suspended', count(*)::numeric, 'segments', CASE count(*) WHEN 0 THEN 'ok' ELSE 'warn' END,
		min(format('"%s" since %s: %s', s.name, s.error_at, s.error))
	FROM journey.segment AS s WHERE s.status = 'suspended';

	-- the oldest mark that a slice has not worked; marks of slice -1 are for every slice
	RETURN QUERY
	WITH progress AS (
		SELECT s.slice, p.seen
		FROM journey_state.slice AS s
		LEFT JOIN LATERAL (SELECT g.seen FROM journey_state.progress AS g WHERE g.slice = s.slice AND g.lane = 'segment' ORDER BY g.seq DESC LIMIT 1) AS p ON true
	), waiting AS (
		SELECT m.at
		FROM progress AS p
		JOIN journey_state.mark AS m ON m.slice IN (p.slice, -1)
			AND (p.seen IS NULL OR m.xid >= pg_snapshot_xmax(p.seen) OR m.xid = ANY (ARRAY(SELECT pg_snapshot_xip(p.seen))))
		WHERE EXISTS (SELECT FROM journey.segment)
		LIMIT counted
	)
	SELECT 'segment_marks', count(*)::numeric, 'rows', CASE WHEN count(*) = counted THEN 'warn' ELSE 'ok' END, CASE WHEN count(*) = counted THEN 'at least' END
	FROM waiting AS w
	UNION ALL
	SELECT 'segment_lag', greatest(coalesce(extract(epoch FROM now_at - min(w.at)), 0), 0), 's',
		CASE WHEN min(w.at) < now_at - interval '1 minute' THEN 'warn' ELSE 'ok' END,
		CASE WHEN min(w.at) < now_at - interval '1 minute' THEN format('a change of %s is not in the memberships: is the worker running?', min(w.at)) END
	FROM waiting AS w;

	RETURN QUERY
	WITH checks AS (
		SELECT b.check_at
		FROM journey_state.slice AS s
		LEFT JOIN LATERAL (SELECT g.due_at FROM journey_state.progress AS g WHERE g.slice = s.slice AND g.lane = 'segment' ORDER BY g.seq DESC LIMIT 1) AS p ON true
		CROSS JOIN LATERAL (
			SELECT m.check_at FROM journey_state.membership AS m
			WHERE m.slice = s.slice AND m.check_at > coalesce(p.due_at, '-infinity')
			ORDER BY m.check_at LIMIT 1) AS b
		WHERE b.check_at <= now_at
	)
	SELECT 'segment_checks_overdue', greatest(coalesce(extract(epoch FROM now_at - min(c.check_at)), 0), 0), 's',
		CASE WHEN min(c.check_at) < now_at - interval '1 minute' THEN 'warn' ELSE 'ok' END,
		CASE WHEN min(c.check_at) < now_at - interval '1 minute' THEN 'memberships to be looked at for more than a minute: is the worker running?' END
	FROM checks AS c;

	-- scans: one that nobody works, and parts that cannot be followed and were not looked at again in time
	RETURN QUERY
	WITH scan AS (
		SELECT s.name, c.scanned, c.expected,
			CASE WHEN c.started_at IS NOT NULL AND c.finished_at IS NULL THEN c.started_at ELSE c.wanted_at END AS since,
			CASE WHEN s.opaque THEN c.started_at + s.refresh_every END AS refresh_at
		FROM journey.segment AS s
		JOIN journey_state.segment_scan AS c ON c.segment_id = s.segment_id
		WHERE s.status <> 'suspended'
	)
	SELECT 'segment_scans', count(c.since)::numeric, 'segments', CASE WHEN min(c.since) < now_at - interval '1 hour' THEN 'warn' ELSE 'ok' END,
		min(format('"%s" since %s, %s of about %s contacts', c.name, c.since, c.scanned, c.expected)) FILTER (WHERE c.since IS NOT NULL)
	FROM scan AS c
	UNION ALL
	SELECT 'segment_refresh_overdue', count(*)::numeric, 'segments', CASE WHEN count(*) > 0 THEN 'warn' ELSE 'ok' END,
		min(format('"%s" was to be looked at again at %s', c.name, c.refresh_at))
	FROM scan AS c WHERE c.refresh_at < now_at - interval '1 hour';

	RETURN QUERY
	SELECT 'relay ' || r.name, r.epoch::numeric, 'epoch', 'ok', 'opened at ' || r.opened_at FROM journey_state.relay AS r ORDER BY r.name;

	-- rows in a default partition keep the real partition from being made
	FOR log IN
		SELECT p.relname, c.oid::regclass AS default_partition,
			(SELECT count(*) FROM pg_inherits AS i WHERE i.inhparent = p.oid) > 1 AS divided
		FROM pg_class AS p
		JOIN pg_partitioned_table AS t ON t.partrelid = p.oid
		JOIN pg_class AS c ON c.oid = t.partdefid
		WHERE p.relnamespace = 'journey_state'::regnamespace
		ORDER BY p.relname
	LOOP
		EXECUTE format('SELECT EXISTS (SELECT FROM %s)', log.default_partition) INTO filled;
		divided := log.divided;
		RETURN QUERY VALUES ('default_partition ' || log.relname, filled::integer::numeric, 'boolean',
			CASE WHEN filled AND divided THEN 'warn' ELSE 'ok' END,
			CASE WHEN filled AND divided THEN 'rows outside all partitions: journey.maintain()' WHEN filled THEN 'not partitioned yet' END);
	END LOOP;
END
$body$;
REVOKE ALL ON FUNCTION journey.health(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.health(timestamptz) IS 'Facts an operator looks at, as of a time; status warn where something needs attention';
