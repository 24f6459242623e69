/*
 * views: what analysts read.  They are made at attach, over the state tables,
 * and made again by an upgrade; they run with the rights of whoever reads them,
 * so owning one gives nothing: the extension's owner does, and the journey owner
 * is granted SELECT.
 */
CREATE FUNCTION journey._create_views()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning		-- DROP IF EXISTS need not tell of it
AS $create$
DECLARE
	view_names CONSTANT text[] := ARRAY['funnel', 'journey_performance', 'lifts', 'message_reasons', 'enrollments', 'messages', 'segments', 'segment_member',
		'segment_history', 'segment_progress', 'consents', 'health', 'engagement', 'send_times', 'suppression_share', 'refusals', 'cap_use', 'upcoming_sends'];
	key_type CONSTANT regtype := (SELECT t.atttypid FROM pg_catalog.pg_attribute AS t
		WHERE t.attrelid = 'journey_state.membership'::pg_catalog.regclass AND t.attname = 'contact');
	grants text[];
	statement text;
BEGIN
	-- who could read a view before it is made again may read it afterwards
	SELECT pg_catalog.array_agg(pg_catalog.format('GRANT SELECT ON journey.%I TO %s', v.relname,
			CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::pg_catalog.regrole::text END))
		INTO grants
		FROM pg_catalog.pg_class AS v, LATERAL pg_catalog.aclexplode(v.relacl) AS g
		WHERE v.relnamespace = 'journey'::regnamespace AND v.relname = ANY (view_names) AND v.relkind = 'v'
		AND g.privilege_type = 'SELECT' AND g.grantee <> v.relowner;
	FOR statement IN
		SELECT pg_catalog.format('DROP VIEW journey.%I', v.relname) FROM pg_catalog.pg_class AS v
		WHERE v.relnamespace = 'journey'::regnamespace AND v.relname = ANY (view_names) AND v.relkind = 'v'
	LOOP
		EXECUTE statement;
	END LOOP;

	/*
	 * Step 0 is the entry.  A run is counted as standing, or as having ended, at
	 * the step it reached last, so that over the rows of a version and arm
	 * entered = waiting + parked + exited + completed.
	 */
	CREATE VIEW journey.funnel WITH (security_invoker = true) AS
	WITH run AS (
		SELECT e.contact, e.enrollment_id, e.journey_id, e.version_id, e.ghost, e.status,
			coalesce(l.step_no, 0) AS step_no
		FROM journey_state.enrollment AS e
		LEFT JOIN (
			SELECT DISTINCT ON (t.contact, t.enrollment_id) t.contact, t.enrollment_id, t.step_no
			FROM journey_state.transition AS t
			WHERE t.step_no > 0
			ORDER BY t.contact, t.enrollment_id, t.at DESC, t.transition_id DESC
		) AS l ON l.contact = e.contact AND l.enrollment_id = e.enrollment_id
	), standing AS (
		SELECT r.version_id, r.ghost, r.step_no,
			count(*) FILTER (WHERE r.status = 'active') AS waiting, count(*) FILTER (WHERE r.status = 'parked') AS parked,
			count(*) FILTER (WHERE r.status = 'exited') AS exited, count(*) FILTER (WHERE r.status = 'completed') AS completed
		FROM run AS r GROUP BY 1, 2, 3
	), total AS (
		SELECT r.journey_id, r.version_id, r.ghost, count(*) AS entered FROM run AS r GROUP BY 1, 2, 3
	), arrival AS (
		SELECT a.version_id, a.ghost, a.step_no, count(*) AS reached
		FROM (
			SELECT DISTINCT e.version_id, e.ghost, t.contact, t.enrollment_id, t.step_no
			FROM journey_state.transition AS t
			JOIN journey_state.enrollment AS e ON e.contact = t.contact AND e.enrollment_id = t.enrollment_id
			WHERE t.step_no > 0
		) AS a
		GROUP BY 1, 2, 3
	), decided AS (
		SELECT d.version_id, d.ghost, d.step_no, sum(d.n) FILTER (WHERE d.verdict = 'sent' AND d.stage = 'decide') AS passed,
			sum(d.n) FILTER (WHERE d.verdict = 'withheld') AS withheld,
			jsonb_object_agg(d.reason, d.n) FILTER (WHERE d.verdict = 'withheld' AND d.stage = 'decide') AS at_decide,
			jsonb_object_agg(d.reason, d.n) FILTER (WHERE d.verdict = 'withheld' AND d.stage = 'claim') AS at_claim
		FROM (
			SELECT v.version_id, v.ghost, v.step_no, v.stage, v.verdict, v.reason, count(*) AS n
			FROM journey_state.verdict AS v GROUP BY 1, 2, 3, 4, 5, 6
		) AS d
		GROUP BY 1, 2, 3
	), handed AS (
		SELECT m.version_id, m.step_no, count(*) AS sent
		FROM journey_state.message AS m WHERE m.claimed_at IS NOT NULL GROUP BY 1, 2
	), step AS (
		SELECT s.version_id, s.step_no, s.label, s.kind, coalesce(s.channel, array_to_string(s.channels, ' or ')) AS channel, s.template FROM journey.step AS s
		UNION ALL
		SELECT v.version_id, 0, NULL, 'entry', NULL, NULL FROM journey.version AS v
	)
	SELECT j.name AS journey, v.version, CASE WHEN t.ghost THEN 'holdout' ELSE 'treatment' END AS arm,
		s.step_no, s.label, s.kind, s.channel, s.template,
		t.entered,
		CASE s.step_no WHEN 0 THEN t.entered ELSE coalesce(a.reached, 0) END AS reached,
		CASE s.step_no WHEN 0 THEN 1 ELSE coalesce(a.reached, 0) / t.entered::float8 END AS reached_share,
		coalesce(d.passed, 0)::bigint AS passed,
		CASE WHEN t.ghost THEN 0 ELSE coalesce(h.sent, 0) END AS sent,
		coalesce(d.withheld, 0)::bigint AS withheld_total,
		coalesce(d.at_decide, '{}') AS withheld,
		coalesce(d.at_claim, '{}') AS withheld_at_claim,
		coalesce(w.waiting, 0) AS waiting, coalesce(w.parked, 0) AS parked, coalesce(w.exited, 0) AS exited, coalesce(w.completed, 0) AS completed
	FROM total AS t
	JOIN journey.journey AS j ON j.journey_id = t.journey_id
	JOIN journey.version AS v ON v.version_id = t.version_id
	JOIN step AS s ON s.version_id = t.version_id
	LEFT JOIN arrival AS a ON a.version_id = t.version_id AND a.ghost = t.ghost AND a.step_no = s.step_no
	LEFT JOIN standing AS w ON w.version_id = t.version_id AND w.ghost = t.ghost AND w.step_no = s.step_no
	LEFT JOIN decided AS d ON d.version_id = t.version_id AND d.ghost = t.ghost AND d.step_no = s.step_no
	LEFT JOIN handed AS h ON h.version_id = t.version_id AND h.step_no = s.step_no
	ORDER BY j.name, v.version, t.ghost, s.step_no;
	COMMENT ON VIEW journey.funnel IS 'Runs by journey, version, arm and step (step 0 is the entry). passed: messages the gate let through, or for the holdout would have; sent: handed to a relay; waiting, parked, exited, completed: where runs are now or ended.';

	CREATE VIEW journey.journey_performance WITH (security_invoker = true) AS
	SELECT p.* FROM journey.performance() AS p;
	COMMENT ON VIEW journey.journey_performance IS 'Treated contacts by journey and week of entry, up to now; the row without a week is the whole journey. journey.performance(journey, as_of) gives it as of another time.';

	CREATE VIEW journey.lifts WITH (security_invoker = true) AS
	SELECT l.* FROM journey.lift() AS l;
	COMMENT ON VIEW journey.lifts IS 'Treatment against holdout by journey, up to now. journey.lift(journey, as_of, alpha) gives it as of another time.';

	CREATE VIEW journey.message_reasons WITH (security_invoker = true) AS
	SELECT j.name AS journey, CASE WHEN k.ghost THEN 'holdout' ELSE 'treatment' END AS arm, k.stage, k.verdict, k.reason,
		count(*) AS verdicts, count(DISTINCT k.contact) AS contacts
	FROM journey_state.verdict AS k
	JOIN journey.version AS v ON v.version_id = k.version_id
	JOIN journey.journey AS j ON j.journey_id = v.journey_id
	GROUP BY 1, 2, 3, 4, 5
	ORDER BY 1, 2 DESC, 3 DESC, 4, 5;
	COMMENT ON VIEW journey.message_reasons IS 'The gate''s verdicts by journey and arm: sent, deferred, or withheld and why. The holdout''s are what would have been. stage claim: the second look, when a relay asks.';

	CREATE VIEW journey.suppression_share WITH (security_invoker = true) AS
	WITH final AS (
		SELECT v.version_id, v.ghost, v.verdict, v.reason, v.stage FROM journey_state.verdict AS v WHERE v.verdict <> 'deferred'
	), named AS (
		SELECT j.name AS journey, CASE WHEN f.ghost THEN 'holdout' ELSE 'treatment' END AS arm, f.verdict, f.reason, f.stage
		FROM final AS f JOIN journey.version AS v ON v.version_id = f.version_id JOIN journey.journey AS j ON j.journey_id = v.journey_id
	), asked AS (
		SELECT n.journey, n.arm, count(*) AS messages FROM named AS n WHERE n.stage = 'decide' GROUP BY 1, 2
	)
	SELECT n.journey, n.arm, n.reason, count(*) AS withheld, a.messages, count(*) / a.messages::float8 AS share
	FROM named AS n JOIN asked AS a ON a.journey = n.journey AND a.arm = n.arm
	WHERE n.verdict = 'withheld'
	GROUP BY n.journey, n.arm, n.reason, a.messages
	ORDER BY n.journey, n.arm DESC, count(*) DESC, n.reason;
	COMMENT ON VIEW journey.suppression_share IS 'Of the messages that runs came to send, by journey, arm and reason: how many were withheld, when they were decided or when a relay asked. What was put off and then sent is not among them.';

	CREATE VIEW journey.refusals WITH (security_invoker = true) AS
	WITH refused AS (
		SELECT r.journey_id, r.reason, count(*) AS refused, count(DISTINCT r.contact) AS contacts FROM journey_state.refusal AS r GROUP BY 1, 2
	), asked AS (
		SELECT x.journey_id, sum(x.n) AS entries
		FROM (
			SELECT f.journey_id, f.refused AS n FROM refused AS f
			UNION ALL
			SELECT e.journey_id, count(*) FROM journey_state.enrollment AS e GROUP BY 1
		) AS x
		GROUP BY 1
	)
	SELECT j.name AS journey, f.reason, f.refused, f.contacts, a.entries::bigint AS entries, (f.refused / a.entries)::float8 AS share
	FROM refused AS f JOIN asked AS a USING (journey_id) JOIN journey.journey AS j USING (journey_id)
	ORDER BY j.name, f.refused DESC, f.reason;
	COMMENT ON VIEW journey.refusals IS 'Of the events that matched an entry of a journey: how many did not enter, of how many contacts, by reason. journey.explain() says what a refusal looked at.';

	CREATE VIEW journey.cap_use WITH (security_invoker = true) AS
	SELECT u.* FROM journey.cap_usage() AS u;
	COMMENT ON VIEW journey.cap_use IS 'Frequency caps now: who is at the limit, and what they withheld and put off in 7 days. journey.cap_usage(at) gives it as of another time.';

	/* what is known to be coming: an exit, a cap or a consent may still stop it */
	CREATE VIEW journey.upcoming_sends WITH (security_invoker = true) AS
	SELECT date_trunc('hour', u.due) AS hour, j.name AS journey, u.channel, u.state, count(*) AS messages
	FROM (
		SELECT o.due, m.journey_id, m.channel, 'pending' AS state
		FROM journey_state.message AS m
		CROSS JOIN LATERAL (SELECT max(b.available_at) AS due FROM journey_state.outbox AS b WHERE b.slice = m.slice AND b.message_id = m.message_id AND b.attempt = m.attempt) AS o
		WHERE m.status = 'pending'
		UNION ALL
		SELECT e.send_due, e.journey_id, coalesce(s.channel, array_to_string(s.channels, ' or ')), 'deferred'
		FROM journey_state.enrollment AS e
		JOIN journey.step AS s ON s.version_id = e.version_id AND s.step_no = e.send_step
		WHERE e.status = 'active' AND NOT e.ghost AND e.send_step IS NOT NULL
		UNION ALL
		SELECT t.due_at, e.journey_id, coalesce(s.channel, array_to_string(s.channels, ' or ')), 'waiting'
		FROM journey_state.enrollment AS e
		CROSS JOIN LATERAL (
			SELECT k.step_no, k.due_at FROM journey_state.transition AS k
			WHERE k.contact = e.contact AND k.enrollment_id = e.enrollment_id AND k.at >= e.entered_at
			ORDER BY k.at DESC, k.transition_id DESC LIMIT 1) AS t
		JOIN journey.step AS w ON w.version_id = e.version_id AND w.step_no = t.step_no AND w.kind IN ('wait', 'wait_until')
		JOIN journey.step AS s ON s.version_id = e.version_id AND s.step_no = w.next_step AND s.kind = 'send'
		WHERE e.status = 'active' AND NOT e.ghost AND e.send_step IS NULL AND t.due_at IS NOT NULL
	) AS u
	JOIN journey.journey AS j ON j.journey_id = u.journey_id AND j.status <> 'paused'
	GROUP BY 1, 2, 3, 4
	ORDER BY 1, 2, 3, 4;
	COMMENT ON VIEW journey.upcoming_sends IS 'Messages by the hour at which they are to go, but for those of paused journeys: pending (decided, waiting for a relay), deferred (put off by the gate), waiting (a run''s wait ends in a SEND). journey.forecast() also asks the gate.';

	CREATE VIEW journey.enrollments WITH (security_invoker = true) AS
	SELECT j.name AS journey, v.version, e.contact, e.enrollment_id, nullif(e.key, '') AS key, e.ordinal,
		CASE WHEN e.ghost THEN 'holdout' ELSE 'treatment' END AS arm, e.status,
		l.step_no, s.kind AS step_kind, s.label AS step_label, l.at AS step_since,
		e.entered_at, e.ended_at,
		regexp_replace(regexp_replace(e.end_reason, '^event journey\.enter:', 'enter segment '), '^event journey\.leave:', 'leave segment ') AS end_reason,
		e.error
	FROM journey_state.enrollment AS e
	JOIN journey.journey AS j ON j.journey_id = e.journey_id
	JOIN journey.version AS v ON v.version_id = e.version_id
	LEFT JOIN LATERAL (
		SELECT t.step_no, t.at FROM journey_state.transition AS t
		WHERE t.contact = e.contact AND t.enrollment_id = e.enrollment_id AND t.step_no > 0
		ORDER BY t.at DESC, t.transition_id DESC LIMIT 1
	) AS l ON true
	LEFT JOIN journey.step AS s ON s.version_id = e.version_id AND s.step_no = l.step_no;
	COMMENT ON VIEW journey.enrollments IS 'Every run: whose, through which journey, in which arm, and the step it stands at or ended at';

	CREATE VIEW journey.messages WITH (security_invoker = true) AS
	SELECT j.name AS journey, v.version, m.contact, m.message_id, m.enrollment_id, m.step_no, s.label AS step_label, m.visit,
		m.channel, m.template, m.topic, m.priority, m.status, m.reason, m.attempt, m.recipient, m.relay,
		m.decided_at, m.expires_at, m.claimed_at, m.finished_at, r.delivered_at, r.opened_at, r.clicked_at, m.idempotency_key
	FROM journey_state.message AS m
	JOIN journey.journey AS j ON j.journey_id = m.journey_id
	JOIN journey.version AS v ON v.version_id = m.version_id
	LEFT JOIN journey.step AS s ON s.version_id = m.version_id AND s.step_no = m.step_no
	LEFT JOIN LATERAL (
		SELECT min(c.at) FILTER (WHERE c.kind = 'delivered') AS delivered_at, min(c.at) FILTER (WHERE c.kind = 'opened') AS opened_at,
			min(c.at) FILTER (WHERE c.kind = 'clicked') AS clicked_at
		FROM journey_state.receipt AS c
		WHERE c.contact = m.contact AND c.message_id = m.message_id AND c.at >= m.decided_at
	) AS r ON true;
	COMMENT ON VIEW journey.messages IS 'Every message that the gate let through, and what became of it';

	CREATE VIEW journey.segments WITH (security_invoker = true) AS
	SELECT s.name AS segment, s.status, coalesce(m.size, 0) AS size, s.predicate, s.timezone,
		CASE WHEN s.opaque THEN s.refresh_every END AS refresh_every, s.created_at, s.changed_at, s.error
	FROM journey.segment AS s
	LEFT JOIN (
		SELECT b.segment_id, count(*) AS size FROM journey_state.membership AS b WHERE b.member GROUP BY b.segment_id
	) AS m ON m.segment_id = s.segment_id;
	COMMENT ON VIEW journey.segments IS 'Segments and how many contacts are in each, as of the latest tick; refresh_every: how often all contacts are looked at again, where a part cannot be followed';

	CREATE VIEW journey.segment_member WITH (security_invoker = true) AS
	SELECT s.name AS segment, m.contact, m.since
	FROM journey_state.membership AS m
	JOIN journey.segment AS s ON s.segment_id = m.segment_id
	WHERE m.member;
	COMMENT ON VIEW journey.segment_member IS 'Who is in which segment, since when, as of the latest tick';

	/* slices write rows of their own for the same pass */
	CREATE VIEW journey.segment_history WITH (security_invoker = true) AS
	SELECT s.name AS segment, g.at, g.entered, g.exited,
		(sum(g.entered - g.exited) OVER (PARTITION BY g.segment_id ORDER BY g.at))::bigint AS size
	FROM (
		SELECT d.segment_id, d.at, sum(d.entered)::bigint AS entered, sum(d.left_it)::bigint AS exited
		FROM journey_state.segment_change AS d
		GROUP BY d.segment_id, d.at
	) AS g
	JOIN journey.segment AS s ON s.segment_id = g.segment_id;
	COMMENT ON VIEW journey.segment_history IS 'How many entered and left a segment at a time, and how many were in it then; one row for each time at which somebody did';

	CREATE VIEW journey.segment_progress WITH (security_invoker = true) AS
	SELECT s.name AS segment, s.status, c.reason, c.scanned, c.expected,
		CASE
			WHEN c.started_at IS NULL THEN 0
			WHEN c.finished_at IS NOT NULL THEN 1
			ELSE least(1, c.scanned / nullif(c.expected, 0)::float8) END AS share,
		c.wanted_at, c.started_at, c.finished_at, s.error, s.error_at
	FROM journey.segment AS s
	LEFT JOIN journey_state.segment_scan AS c ON c.segment_id = s.segment_id;
	COMMENT ON VIEW journey.segment_progress IS 'Segments and their latest scan of all contacts: share of 1 done, of about "expected" contacts; wanted_at: another scan is wanted since';

	/* of requests, the latest one that nothing said since then has overtaken */
	CREATE VIEW journey.consents WITH (security_invoker = true) AS
	SELECT k.contact, k.channel, k.topic, journey.consent_state(k.granted, NULL) AS state, k.at, k.source, g.proof, g.ip, g.set_by,
		NULL::timestamptz AS expires_at, k.consent_id, g.request_id
	FROM journey_state.consent AS k
	LEFT JOIN journey_state.consent_log AS g ON g.contact = k.contact AND g.consent_id = k.consent_id
	UNION ALL
	SELECT q.contact, q.channel, q.topic, journey.consent_state(NULL, q.expires_at), q.at, q.source, q.proof, q.ip, NULL,
		q.expires_at, NULL, q.request_id
	FROM (
		SELECT DISTINCT ON (r.contact, r.channel, r.topic) r.*
		FROM journey_state.consent_request AS r
		ORDER BY r.contact, r.channel, r.topic, r.at DESC, r.request_id DESC
	) AS q
	WHERE q.confirmed_at IS NULL
	AND NOT EXISTS (
		SELECT FROM journey_state.consent AS k
		WHERE k.contact = q.contact AND k.channel = q.channel AND k.topic = q.topic AND k.at >= q.at);
	COMMENT ON VIEW journey.consents IS 'Consent by contact, channel and topic (* for all), with its proof. state: granted or withdrawn; pending or expired for what was asked for with journey.request_consent() and is not confirmed.';

	CREATE VIEW journey.health WITH (security_invoker = true) AS
	SELECT h.* FROM journey.health() AS h;
	COMMENT ON VIEW journey.health IS 'Facts an operator looks at, now; status warn where something needs attention';

	EXECUTE format($view$
		CREATE VIEW journey.engagement WITH (security_invoker = true) AS
		SELECT g.contact::%1$s AS contact, g.channel, g.sends_30d, g.clicks_30d, g.sends_prev_30d, g.clicks_prev_30d, g.engagement, g.engagement_low, g.engagement_high,
			g.p_drop, g.fatigue, g.p_high, g.p_low, g.classes, g.recommended_per_week, g.reason, g.last_human_event_at
		FROM journey.engagement() AS g;
		COMMENT ON VIEW journey.engagement IS 'How contacts respond to each channel, now; journey.engagement(as_of) gives it as of another time';
		CREATE VIEW journey.send_times WITH (security_invoker = true) AS
		SELECT s.contact::%1$s AS contact, s.day_kind, s.best_hour, s.score, s.confidence, s.source, s.expected_lift_vs_default, s.n_events, s.next_send_at
		FROM journey.send_times() AS s;
		COMMENT ON VIEW journey.send_times IS 'At which local hour each contact responds most, as of now; journey.send_times(as_of) gives it as of another time';
	$view$, key_type);

	PERFORM journey._create_rfm(key_type);

	FOREACH statement IN ARRAY coalesce(grants, '{}') || ARRAY(
		SELECT pg_catalog.format('GRANT SELECT ON journey.%I TO %s', v.name, n.nspowner::pg_catalog.regrole)
		FROM pg_catalog.unnest(view_names) AS v (name), pg_catalog.pg_namespace AS n WHERE n.nspname = 'journey_state')
	LOOP
		EXECUTE statement;
	END LOOP;
END
$create$;
REVOKE ALL ON FUNCTION journey._create_views() FROM PUBLIC;
COMMENT ON FUNCTION journey._create_views() IS 'internal: makes the analysts'' views; called by journey.attach() and by upgrades as the extension owner';
