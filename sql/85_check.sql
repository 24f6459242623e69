/*
 * check: the conservation laws of the state tables.  They hold between any two
 * transactions, whatever crashed; a violation is a bug or a lost disk.
 *
 * Each law is one statement over whole tables.  All of them see one snapshot
 * only if the caller asks for REPEATABLE READ; at READ COMMITTED a busy engine
 * may seem to break a law between two statements.
 *
 * Logs may have been dropped by retention: a law that needs a log's row looks
 * only at what is younger than the oldest row of that log.
 */
CREATE FUNCTION journey.check(caps_since timestamptz DEFAULT NULL)
RETURNS TABLE (law text, violations bigint, example text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
	oldest_transition timestamptz;
	oldest_verdict timestamptz;
	oldest_receipt timestamptz;
	oldest_event timestamptz;
BEGIN
	PERFORM journey._require_plain_state();
	oldest_transition := (SELECT min(t.at) FROM journey_state.transition AS t);
	oldest_verdict := (SELECT min(v.at) FROM journey_state.verdict AS v);
	oldest_receipt := (SELECT min(r.at) FROM journey_state.receipt AS r);
	oldest_event := (SELECT min(e.at) FROM journey_state.event AS e);

	RETURN QUERY
	SELECT 'a run ends once: one transition to step 0 if it ended, none if not', count(*), min(x.what)
	FROM (
		SELECT format('enrollment %s of contact %s: %s, %s ends', e.enrollment_id, e.contact, e.status, coalesce(t.ends, 0)) AS what
		FROM journey_state.enrollment AS e
		LEFT JOIN (
			SELECT k.contact, k.enrollment_id, count(*) AS ends FROM journey_state.transition AS k WHERE k.step_no = 0 GROUP BY 1, 2
		) AS t ON t.contact = e.contact AND t.enrollment_id = e.enrollment_id
		WHERE coalesce(t.ends, 0) <> (e.ended_at IS NOT NULL)::integer AND (e.ended_at IS NULL OR e.ended_at >= oldest_transition OR oldest_transition IS NULL)
	) AS x;

	RETURN QUERY
	SELECT 'a run that ended says why, one that is parked says what failed', count(*), min(format('enrollment %s of contact %s: %s', e.enrollment_id, e.contact, e.status))
	FROM journey_state.enrollment AS e
	WHERE e.ended_at IS NOT NULL AND e.end_reason IS NULL OR e.status = 'parked' AND e.error IS NULL;

	RETURN QUERY
	SELECT 'an active run has exactly one live timer or held row', count(*), min(x.what)
	FROM (
		SELECT format('enrollment %s of contact %s: %s, %s live', e.enrollment_id, e.contact, e.status, coalesce(w.n, 0)) AS what
		FROM journey_state.enrollment AS e
		LEFT JOIN (
			SELECT a.contact, a.enrollment_id, a.epoch, count(*) AS n
			FROM (
				SELECT t.contact, t.enrollment_id, t.epoch
				FROM journey_state.timer AS t
				LEFT JOIN (
					SELECT DISTINCT ON (g.slice) g.slice, g.due_at, g.due_id FROM journey_state.progress AS g WHERE g.lane = 'engine' ORDER BY g.slice, g.seq DESC
				) AS p ON p.slice = t.slice
				WHERE t.enrollment_id IS NOT NULL AND (p.due_at IS NULL OR (t.due_at, t.timer_id) > (p.due_at, p.due_id))
				UNION ALL
				SELECT h.contact, h.enrollment_id, h.epoch FROM journey_state.held AS h WHERE h.enrollment_id IS NOT NULL
			) AS a
			GROUP BY 1, 2, 3
		) AS w ON w.contact = e.contact AND w.enrollment_id = e.enrollment_id AND w.epoch = e.epoch
		WHERE e.status = 'active' AND coalesce(w.n, 0) <> 1
	) AS x;

	RETURN QUERY
	SELECT 'no contact runs through a journey twice at once for one key', count(*), min(x.what)
	FROM (
		SELECT format('contact %s, journey %s, key "%s": %s runs', e.contact, e.journey_id, e.key, count(*)) AS what
		FROM journey_state.enrollment AS e WHERE e.ended_at IS NULL
		GROUP BY e.contact, e.journey_id, e.key HAVING count(*) > 1
	) AS x;

	RETURN QUERY
	SELECT 'the runs of a contact, journey and key are numbered without a double', count(*), min(x.what)
	FROM (
		SELECT format('contact %s, journey %s, key "%s", run %s', e.contact, e.journey_id, e.key, e.ordinal) AS what
		FROM journey_state.enrollment AS e
		GROUP BY e.contact, e.journey_id, e.key, e.ordinal HAVING count(*) > 1
	) AS x;

	RETURN QUERY
	SELECT 'a visit of a step is decided once', count(*), min(x.what)
	FROM (
		SELECT format('enrollment %s of contact %s, step %s, visit %s: %s verdicts', v.enrollment_id, v.contact, v.step_no, v.visit, count(*)) AS what
		FROM journey_state.verdict AS v WHERE v.stage = 'decide' AND v.verdict <> 'deferred'
		GROUP BY v.contact, v.enrollment_id, v.step_no, v.visit HAVING count(*) > 1
	) AS x;

	RETURN QUERY
	SELECT 'a run whose message is put off waits at the SEND for its time', count(*), min(x.what)
	FROM (
		SELECT format('enrollment %s of contact %s, step %s: %s, put off until %s', e.enrollment_id, e.contact, e.send_step, e.status, e.send_due) AS what
		FROM journey_state.enrollment AS e
		LEFT JOIN LATERAL (
			SELECT v.verdict, v.until FROM journey_state.verdict AS v
			WHERE v.contact = e.contact AND v.enrollment_id = e.enrollment_id AND v.step_no = e.send_step AND v.stage = 'decide'
			ORDER BY v.at DESC, v.verdict_id DESC LIMIT 1
		) AS l ON true
		WHERE e.send_step IS NOT NULL
		AND (e.ended_at IS NOT NULL OR e.listen_step IS NOT NULL OR e.send_due <= e.send_since
			OR CASE WHEN l.verdict IS NULL THEN e.send_since >= oldest_verdict ELSE l.verdict <> 'deferred' OR l.until <> e.send_due END
			OR e.status = 'active'
			AND NOT EXISTS (
				SELECT FROM journey_state.timer AS t
				WHERE t.slice = e.slice AND t.contact = e.contact AND t.enrollment_id = e.enrollment_id
				AND t.epoch = e.epoch AND t.step_no = e.send_step AND t.due_at >= e.send_due)
			AND NOT EXISTS (
				SELECT FROM journey_state.held AS h
				WHERE h.contact = e.contact AND h.enrollment_id = e.enrollment_id AND h.epoch = e.epoch AND h.step_no = e.send_step))
	) AS x;

	RETURN QUERY
	SELECT 'what is put off is decided later, still waits, or ended with its run', count(*), min(x.what)
	FROM (
		SELECT format('enrollment %s of contact %s, step %s, visit %s', d.enrollment_id, d.contact, d.step_no, d.visit) AS what
		FROM (
			SELECT v.contact, v.enrollment_id, v.step_no, v.visit, max(v.until) AS until, bool_and(v.until > v.at) AS later
			FROM journey_state.verdict AS v WHERE v.stage = 'decide' AND v.verdict = 'deferred'
			GROUP BY v.contact, v.enrollment_id, v.step_no, v.visit
		) AS d
		LEFT JOIN journey_state.verdict AS f ON f.contact = d.contact AND f.enrollment_id = d.enrollment_id AND f.step_no = d.step_no
			AND f.visit = d.visit AND f.stage = 'decide' AND f.verdict <> 'deferred'
		LEFT JOIN journey_state.enrollment AS e ON e.contact = d.contact AND e.enrollment_id = d.enrollment_id
		WHERE NOT d.later OR CASE WHEN f.at IS NULL THEN e.ended_at IS NULL AND e.send_step IS DISTINCT FROM d.step_no
			ELSE f.at < d.until OR e.send_step = d.step_no END
	) AS x;

	RETURN QUERY
	SELECT 'no message goes before the time until which it was put off', count(*), min(x.what)
	FROM (
		SELECT format('message %s of contact %s: handed over at %s, put off until %s', m.message_id, m.contact, m.claimed_at, v.until) AS what
		FROM journey_state.verdict AS v
		JOIN journey_state.message AS m ON m.contact = v.contact AND m.message_id = v.message_id
		WHERE v.stage = 'claim' AND v.verdict = 'deferred' AND (v.until <= v.at OR m.claimed_at >= v.at AND m.claimed_at < v.until)
	) AS x;

	RETURN QUERY
	SELECT 'a message is decided once its run has come to the SEND, before it expires', count(*), min(x.what)
	FROM (
		SELECT format('message %s of contact %s: since %s, decided at %s, expires at %s', m.message_id, m.contact, m.since, m.decided_at, m.expires_at) AS what
		FROM journey_state.message AS m WHERE m.since > m.decided_at OR m.decided_at >= m.expires_at
	) AS x;

	RETURN QUERY
	SELECT 'a visit of a step writes one message', count(*), min(x.what)
	FROM (
		SELECT format('enrollment %s of contact %s, step %s, visit %s: %s messages', m.enrollment_id, m.contact, m.step_no, m.visit, count(*)) AS what
		FROM journey_state.message AS m
		GROUP BY m.contact, m.enrollment_id, m.step_no, m.visit HAVING count(*) > 1
	) AS x;

	RETURN QUERY
	SELECT 'messages are the verdicts that let one through', count(*), min(x.what)
	FROM (
		SELECT CASE WHEN v.verdict_id IS NULL THEN format('message %s of contact %s has no verdict', m.message_id, m.contact)
			ELSE format('verdict %s of contact %s has no message', v.verdict_id, v.contact) END AS what
		FROM (SELECT k.* FROM journey_state.verdict AS k WHERE k.stage = 'decide' AND k.verdict = 'sent' AND NOT k.ghost) AS v
		FULL JOIN journey_state.message AS m ON m.contact = v.contact AND m.message_id = v.message_id
			AND m.enrollment_id = v.enrollment_id AND m.step_no = v.step_no AND m.visit = v.visit
		WHERE m.message_id IS NULL OR v.verdict_id IS NULL AND (m.decided_at >= oldest_verdict OR oldest_verdict IS NULL)
	) AS x;

	RETURN QUERY
	SELECT 'a ghost gets no message', count(*), min(x.what)
	FROM (
		SELECT format('message %s of contact %s', m.message_id, m.contact) AS what
		FROM journey_state.message AS m
		JOIN journey_state.enrollment AS e ON e.contact = m.contact AND e.enrollment_id = m.enrollment_id
		WHERE e.ghost
		UNION ALL
		SELECT format('verdict %s of contact %s', v.verdict_id, v.contact)
		FROM journey_state.verdict AS v
		JOIN journey_state.enrollment AS e ON e.contact = v.contact AND e.enrollment_id = v.enrollment_id
		WHERE e.ghost <> v.ghost OR v.ghost AND v.message_id IS NOT NULL
	) AS x;

	RETURN QUERY
	SELECT 'idempotency keys are unique', count(*), min(x.what)
	FROM (
		SELECT format('%s messages with key %s', count(*), m.idempotency_key) AS what
		FROM journey_state.message AS m GROUP BY m.idempotency_key HAVING count(*) > 1
	) AS x;

	RETURN QUERY
	SELECT 'a message that is not final is in the outbox or held', count(*), min(x.what)
	FROM (
		SELECT format('message %s of contact %s: %s, attempt %s', m.message_id, m.contact, m.status, m.attempt) AS what
		FROM journey_state.message AS m
		WHERE m.status IN ('pending', 'claimed')
		AND NOT EXISTS (
			SELECT FROM (
				SELECT h.contact, h.message_id, h.attempt FROM journey_state.held AS h
				UNION ALL
				SELECT o.contact, o.message_id, o.attempt
				FROM journey_state.outbox AS o
				LEFT JOIN (
					SELECT DISTINCT ON (g.slice) g.slice, g.due_at, g.due_id FROM journey_state.progress AS g WHERE g.lane = 'outbox' ORDER BY g.slice, g.seq DESC
				) AS p ON p.slice = o.slice
				WHERE p.due_at IS NULL OR (o.available_at, o.outbox_id) > (p.due_at, p.due_id)
			) AS w
			WHERE w.contact = m.contact AND w.message_id = m.message_id AND w.attempt = m.attempt)
	) AS x;

	RETURN QUERY
	SELECT 'a final message has the receipt or verdict that made it so', count(*), min(x.what)
	FROM (
		SELECT format('message %s of contact %s: %s', m.message_id, m.contact, m.status) AS what
		FROM journey_state.message AS m
		WHERE m.status IN ('sent', 'bounced', 'failed') AND m.relay IS NOT NULL AND m.finished_at >= oldest_receipt
		AND NOT EXISTS (
			SELECT FROM journey_state.receipt AS r
			WHERE r.contact = m.contact AND r.message_id = m.message_id
			AND CASE m.status WHEN 'sent' THEN r.kind IN ('sent', 'delivered', 'opened', 'clicked', 'complained', 'unsubscribed')
				WHEN 'bounced' THEN r.kind IN ('bounced', 'rejected', 'complained') ELSE r.kind IN ('failed', 'rejected', 'deferred') END)
		UNION ALL
		SELECT format('message %s of contact %s: sent, but no receipt of any message is kept', m.message_id, m.contact)
		FROM journey_state.message AS m
		WHERE m.status IN ('sent', 'bounced', 'failed') AND m.relay IS NOT NULL AND oldest_receipt IS NULL
		UNION ALL
		SELECT format('message %s of contact %s: withheld', m.message_id, m.contact)
		FROM journey_state.message AS m
		WHERE m.status = 'withheld'
		AND NOT EXISTS (
			SELECT FROM journey_state.verdict AS v
			WHERE v.contact = m.contact AND v.message_id = m.message_id AND v.stage = 'claim' AND v.verdict = 'withheld')
	) AS x;

	/*
	 * By what the receipts of the hand-overs say: see cap_law.c.  Of caps that were
	 * changed since nothing is said.
	 */
	RETURN QUERY
	SELECT 'no window of a frequency cap holds more than it allows', count(*),
		min(format('cap %s%s, contact %s: message %s at %s is over %s', x.cap, ', ' || x.quota, x.contact, x.message_id, x.at, x.places))
	FROM journey._caps_exceeded(caps_since) AS x;

	/*
	 * A ghost's run takes up an entry of its own journey alone.  To count what came
	 * before each run would take the square of a contact's runs, so only those are
	 * counted for that so many runs precede within the time, or are open with, ghosts
	 * or not.
	 */
	RETURN QUERY
	WITH entry AS (
		SELECT k.name, k.max_entries, k.per, k.journeys, coalesce(caps_since, k.created_at) AS since, e.contact, e.enrollment_id, e.journey_id, e.entered_at, e.ended_at
		FROM journey.entry_cap AS k
		JOIN journey.journey AS j ON k.journeys IS NULL OR j.name = ANY (k.journeys)
		JOIN journey_state.enrollment AS e ON e.journey_id = j.journey_id
	), crowded AS (
		SELECT w.* FROM (
			SELECT n.*, lag(n.entered_at, n.max_entries) OVER (PARTITION BY n.name, n.contact ORDER BY n.entered_at, n.enrollment_id) AS earlier
			FROM entry AS n WHERE n.per IS NOT NULL
		) AS w
		WHERE w.earlier > (w.entered_at AT TIME ZONE 'UTC' - w.per) AT TIME ZONE 'UTC'
		UNION ALL
		SELECT n.*, NULL FROM (
			SELECT b.name, b.contact, b.enrollment_id, b.max_entries, b.enters,
				sum(CASE WHEN b.enters THEN 1 ELSE -1 END) OVER (PARTITION BY b.name, b.contact ORDER BY b.at, b.enters DESC, b.enrollment_id) AS open_runs
			FROM (
				SELECT n.name, n.contact, n.enrollment_id, n.max_entries, n.entered_at AS at, true AS enters FROM entry AS n WHERE n.per IS NULL
				UNION ALL
				SELECT n.name, n.contact, n.enrollment_id, n.max_entries, n.ended_at, false FROM entry AS n WHERE n.per IS NULL AND n.ended_at IS NOT NULL
			) AS b
		) AS w
		JOIN entry AS n ON n.name = w.name AND n.contact = w.contact AND n.enrollment_id = w.enrollment_id
		WHERE w.enters AND w.open_runs > w.max_entries
	), limited AS (
		SELECT w.* FROM (
			SELECT e.contact, e.enrollment_id, e.journey_id, e.entered_at, v.limit_entries, v.limit_per,
				lag(e.entered_at, v.limit_entries) OVER (PARTITION BY e.journey_id, e.contact ORDER BY e.entered_at, e.enrollment_id) AS earlier
			FROM journey_state.enrollment AS e
			JOIN journey.version AS v ON v.version_id = e.version_id
			WHERE e.journey_id IN (SELECT l.journey_id FROM journey.version AS l WHERE l.limit_entries IS NOT NULL)
		) AS w
		WHERE w.earlier > (w.entered_at AT TIME ZONE 'UTC' - w.limit_per) AT TIME ZONE 'UTC'
	)
	SELECT 'no contact enters more runs than an entry cap or LIMIT allows', count(*), min(x.what)
	FROM (
		SELECT format('entry cap %s, contact %s: run %s at %s is over %s', k.name, k.contact, k.enrollment_id, k.entered_at, k.max_entries) AS what
		FROM crowded AS k
		WHERE k.entered_at >= k.since AND k.max_entries <= (
			SELECT count(*) FROM journey_state.enrollment AS o JOIN journey.journey AS i ON i.journey_id = o.journey_id AND (k.journeys IS NULL OR i.name = ANY (k.journeys))
			WHERE o.contact = k.contact AND o.enrollment_id < k.enrollment_id AND (NOT o.ghost OR o.journey_id = k.journey_id) AND o.entered_at <= k.entered_at
			AND CASE WHEN k.per IS NULL THEN o.ended_at IS NULL OR o.ended_at > k.entered_at
				ELSE o.entered_at > (k.entered_at AT TIME ZONE 'UTC' - k.per) AT TIME ZONE 'UTC' END)
		UNION ALL
		SELECT format('LIMIT, contact %s: run %s at %s is over %s in %s', l.contact, l.enrollment_id, l.entered_at, l.limit_entries, l.limit_per)
		FROM limited AS l
		WHERE l.limit_entries <= (
			SELECT count(*) FROM journey_state.enrollment AS o
			WHERE o.contact = l.contact AND o.journey_id = l.journey_id AND o.enrollment_id < l.enrollment_id AND o.entered_at <= l.entered_at
			AND o.entered_at > (l.entered_at AT TIME ZONE 'UTC' - l.limit_per) AT TIME ZONE 'UTC')
	) AS x;

	-- what was written, by its number, before the hand-over: a withdrawal may commit after it and be dated before
	RETURN QUERY
	SELECT 'nothing was handed over without consent', count(*), min(x.what)
	FROM (
		SELECT format('message %s of contact %s at %s', m.message_id, m.contact, m.claimed_at) AS what
		FROM journey_state.message AS m
		JOIN journey.topic AS t ON t.name = m.topic AND t.class <> 'transactional'
		LEFT JOIN journey_state.receipt AS r ON r.contact = m.contact AND r.at = m.claimed_at AND r.message_id = m.message_id AND r.kind = 'claimed'
		LEFT JOIN LATERAL (
			SELECT c.granted FROM journey_state.consent_log AS c
			WHERE c.contact = m.contact AND c.channel = m.channel AND c.topic = m.topic AND c.at <= m.claimed_at AND (c.consent_id < r.receipt_id OR r.receipt_id IS NULL)
			ORDER BY c.at DESC, c.consent_id DESC LIMIT 1
		) AS own ON true
		LEFT JOIN LATERAL (
			SELECT c.granted FROM journey_state.consent_log AS c
			WHERE c.contact = m.contact AND c.channel = m.channel AND c.topic = '*' AND c.at <= m.claimed_at AND (c.consent_id < r.receipt_id OR r.receipt_id IS NULL)
			ORDER BY c.at DESC, c.consent_id DESC LIMIT 1
		) AS every ON true
		-- a replay hands over without a relay and a receipt
		WHERE m.claimed_at IS NOT NULL AND (r.receipt_id IS NOT NULL OR m.relay IS NULL)
			AND NOT (coalesce(own.granted, every.granted, false) AND coalesce(every.granted, true))
	) AS x;

	RETURN QUERY
	SELECT 'an exposure has an id of its own, and a holdout is served none', count(*), min(x.what)
	FROM (
		SELECT format('exposure %s: %s rows', e.exposure_id, count(*)) AS what
		FROM journey_state.exposure AS e GROUP BY e.exposure_id HAVING count(*) > 1
		UNION ALL
		SELECT format('exposure %s of contact %s: %s served %s', e.exposure_id, e.contact, e.arm, e.served_arm)
		FROM journey_state.exposure AS e WHERE e.arm = 'holdout' AND e.served_arm <> 'holdout'
	) AS x;

	RETURN QUERY
	SELECT 'the arm follows from fraction and propensity', count(*), min(format('exposure %s of contact %s', e.exposure_id, e.contact))
	FROM journey_state.exposure AS e
	WHERE e.layer <> 'split' AND NOT e.crossed
	AND CASE e.arm WHEN 'holdout' THEN e.fraction >= e.propensity ELSE e.fraction < 1 - e.propensity - 1e-12 END;

	RETURN QUERY
	SELECT 'a run is a ghost just when its exposure is served as holdout', count(*), min(x.what)
	FROM (
		SELECT format('enrollment %s of contact %s', e.enrollment_id, e.contact) AS what
		FROM journey_state.enrollment AS e
		LEFT JOIN journey_state.exposure AS s ON s.contact = e.contact AND s.exposure_id = e.exposure_id
		WHERE s.exposure_id IS NULL OR e.ghost <> (s.served_arm = 'holdout')
	) AS x;

	RETURN QUERY
	SELECT 'a conversion lies in the window it is counted for', count(*), min(x.what)
	FROM (
		SELECT format('event %s of contact %s at %s', c.event_id, c.contact, c.at) AS what
		FROM journey_state.conversion AS c
		LEFT JOIN journey_state.exposure AS s ON s.contact = c.contact AND s.exposure_id = c.exposure_id
		LEFT JOIN journey.version AS v ON v.version_id = s.version_id
		WHERE c.exposure_id IS NOT NULL AND NOT coalesce(c.at > s.exposed_at AND c.at <= s.exposed_at + v.goal_within, v.dropped AND v.goal_within IS NULL, false)
		OR c.exposure_id IS NULL AND c.enrollment_id IS NULL
	) AS x;

	RETURN QUERY
	SELECT 'an id given to journey.track() stands for one event', count(*), min(x.what)
	FROM (
		SELECT format('id "%s" of contact %s', k.key, k.contact) AS what
		FROM journey_state.event_key AS k
		WHERE k.at >= oldest_event
		AND NOT EXISTS (SELECT FROM journey_state.event AS e WHERE e.contact = k.contact AND e.at = k.at AND e.event_id = k.event_id)
		UNION ALL
		SELECT format('event %s of contact %s has two ids', k.event_id, k.contact)
		FROM journey_state.event_key AS k GROUP BY k.contact, k.event_id HAVING count(*) > 1
	) AS x;

	RETURN QUERY
	SELECT 'progress never goes back', count(*), min(x.what)
	FROM (
		SELECT format('slice %s, lane %s, seq %s', p.slice, p.lane, p.seq) AS what
		FROM (
			SELECT q.slice, q.lane, q.seq, q.due_at, q.due_id,
				lag(q.due_at) OVER w AS before_at, lag(q.due_id) OVER w AS before_id
			FROM journey_state.progress AS q
			WINDOW w AS (PARTITION BY q.slice, q.lane ORDER BY q.seq)
		) AS p
		WHERE p.before_at > p.due_at OR p.before_at = p.due_at AND p.before_id > p.due_id AND p.lane <> 'segment'
	) AS x;

	RETURN QUERY
	SELECT 'memberships, scans and statements are of segments that exist', count(*), min(x.what)
	FROM (
		SELECT format('membership of contact %s in segment %s', m.contact, m.segment_id) AS what, m.segment_id::text
		FROM journey_state.membership AS m
		UNION ALL
		SELECT format('scan of segment %s', c.segment_id), c.segment_id::text FROM journey_state.segment_scan AS c
		UNION ALL
		SELECT format('function %s', p.oid::regprocedure), split_part(p.proname, '_', 2)
		FROM pg_proc AS p
		WHERE p.pronamespace = 'journey_state'::regnamespace AND p.proname ~ '^segment_[0-9]+_(check|scan|find_[0-9]+)$'
	) AS x (what, segment_id)
	WHERE x.segment_id NOT IN (SELECT s.segment_id::text FROM journey.segment AS s);

	RETURN QUERY
	SELECT 'what enters and leaves a segment is its size', count(*), min(x.what)
	FROM (
		SELECT format('segment "%s": %s members, %s by what entered and left', s.name, coalesce(m.n, 0), coalesce(h.n, 0)) AS what
		FROM journey.segment AS s
		LEFT JOIN (SELECT b.segment_id, count(*) AS n FROM journey_state.membership AS b WHERE b.member GROUP BY 1) AS m USING (segment_id)
		LEFT JOIN (SELECT c.segment_id, sum(c.entered - c.left_it) AS n FROM journey_state.segment_change AS c GROUP BY 1) AS h USING (segment_id)
		WHERE coalesce(m.n, 0) <> coalesce(h.n, 0)
	) AS x;

	RETURN QUERY
	SELECT 'all rows of a contact are in one slice', count(*), min(x.what)
	FROM (
		SELECT format('contact %s', r.contact) AS what
		FROM (
			SELECT e.contact, e.slice FROM journey_state.enrollment AS e
			UNION SELECT m.contact, m.slice FROM journey_state.message AS m
			UNION SELECT t.contact, t.slice FROM journey_state.timer AS t
			UNION SELECT o.contact, o.slice FROM journey_state.outbox AS o
			UNION SELECT v.contact, v.slice FROM journey_state.event AS v
			UNION SELECT b.contact, b.slice FROM journey_state.membership AS b
			UNION SELECT k.contact, k.slice FROM journey_state.mark AS k WHERE k.contact IS NOT NULL
		) AS r
		GROUP BY r.contact HAVING count(*) > 1
	) AS x;
END
$body$;
REVOKE ALL ON FUNCTION journey.check(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.check(timestamptz) IS 'The laws that the state tables keep whatever crashes, each with the number of rows that break it; a healthy database shows only zeros. Frequency caps are checked by what the receipts of hand-overs name, caps on entries from caps_since on, by default since each was made.';
