/*
 * explain: everything that happened to one contact, in words, in the order in
 * which it happened.
 */
CREATE TYPE journey.explanation AS
(
	at					timestamptz,
	journey				text,
	enrollment			bigint,
	what				text,
	detail				text
);
COMMENT ON TYPE journey.explanation IS 'A line of journey.explain()';

/* "2 days", "47 hours": the largest unit of which there are two or more */
CREATE FUNCTION journey.span_words(span interval)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $body$
	SELECT CASE
		WHEN s.seconds >= 172800 THEN trunc(s.seconds / 86400) || ' days'
		WHEN s.seconds >= 7200 THEN trunc(s.seconds / 3600) || ' hours'
		WHEN s.seconds >= 3600 THEN '1 hour'
		WHEN s.seconds >= 120 THEN trunc(s.seconds / 60) || ' minutes'
		WHEN s.seconds >= 60 THEN '1 minute'
		ELSE trunc(s.seconds) || ' seconds' END
	FROM (SELECT extract(epoch FROM $1)) AS s (seconds)
$body$;
REVOKE ALL ON FUNCTION journey.span_words(interval) FROM PUBLIC;
COMMENT ON FUNCTION journey.span_words(interval) IS 'A length of time in words';

-- An event's name; one that a segment writes, as a script says it.
CREATE FUNCTION journey.event_words(name text)
RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $body$
	SELECT regexp_replace(regexp_replace($1, '^journey\.enter:', 'enter segment '), '^journey\.leave:', 'leave segment ')
$body$;
REVOKE ALL ON FUNCTION journey.event_words(text) FROM PUBLIC;
COMMENT ON FUNCTION journey.event_words(text) IS 'The name of an event; of one that a segment writes, as a script says it';

/*
 * Why the gate answered as it did, from the evidence stored with the verdict.
 * handed_over: when the messages named in the evidence were handed over,
 * {"id": time}.
 */
CREATE FUNCTION journey.verdict_words(reason text, evidence jsonb, at timestamptz, channel text, topic text, handed_over jsonb)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
	SELECT CASE $1
		WHEN 'exited' THEN 'the run had ended' || coalesce(': ' || CASE WHEN $2 ->> 'exit' LIKE 'event journey.%' THEN journey.event_words(substr($2 ->> 'exit', length('event ') + 1)) ELSE $2 ->> 'exit' END, '')
		WHEN 'no_consent' THEN
			CASE WHEN $2 #>> '{consent,granted}' = 'false'
				THEN format('consent for %s was withdrawn at %s (%s)', replace($2 #>> '{consent,topic}', '*', 'all topics'), ($2 #>> '{consent,at}')::timestamptz, $2 #>> '{consent,source}')
				ELSE format('no consent for %s on %s was given', $5, $4) END
		WHEN 'suppressed' THEN format('%s is suppressed: %s, since %s', coalesce($2 ->> 'address', 'the address'), $2 #>> '{suppression,reason}', ($2 #>> '{suppression,at}')::timestamptz)
		WHEN 'no_address' THEN format('the contact has no address for %s', $4)
		WHEN 'bad_address' THEN format('"%s" is not an address for %s', $2 ->> 'address', $4)
		WHEN 'contact_gone' THEN 'the contact does not exist any more'
		WHEN 'expired' THEN format('it was of use until %s', ($2 ->> 'expires_at')::timestamptz)
		WHEN 'capped' THEN (
			SELECT string_agg(
				format('cap %s allows %s%s', k.cap ->> 'name', k.cap ->> 'limit', coalesce(' in ' || d.per, ''))
				|| coalesce((
					SELECT ', ' || string_agg(
						CASE WHEN $6 ? m.id THEN
								CASE WHEN ($6 ->> m.id)::timestamptz <= $3
									THEN format('message %s was sent %s earlier', m.id, journey.span_words($3 - ($6 ->> m.id)::timestamptz))
									ELSE format('message %s was sent %s later', m.id, journey.span_words(($6 ->> m.id)::timestamptz - $3)) END
							ELSE format('message %s was waiting to be sent', m.id) END, ', ' ORDER BY m.id::bigint)
					FROM jsonb_array_elements_text(k.cap -> 'messages') AS m (id)), ''),
				'; ' ORDER BY k.cap ->> 'name')
			FROM jsonb_array_elements(CASE jsonb_typeof($2 -> 'caps') WHEN 'array' THEN $2 -> 'caps' ELSE '[]' END) AS k (cap)
			LEFT JOIN journey.cap AS d ON d.name = k.cap ->> 'name'
			WHERE (k.cap ->> 'count')::bigint >= (k.cap ->> 'limit')::bigint)
	END
$body$;
REVOKE ALL ON FUNCTION journey.verdict_words(text, jsonb, timestamptz, text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION journey.verdict_words(text, jsonb, timestamptz, text, text, jsonb) IS 'The reason of a verdict in words, from the evidence stored with it';

/*
 * The body, over the key as text: a literal has no type of its own, which
 * anyelement needs.
 *
 * One statement.  Lines are sorted by time; at one instant what came from
 * outside (events, consent) stands before what followed from it.  A run's
 * arrivals are numbered in their order; its assignment and entry belong before
 * the first, and a verdict after the arrival it was given at, in whatever order
 * the engine wrote them.
 */
CREATE FUNCTION journey.explain(contact text, journey text DEFAULT NULL)
RETURNS SETOF journey.explanation
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
	only_journey CONSTANT text := $2;
	who journey_state.enrollment.contact%TYPE;
BEGIN
	PERFORM journey._require_plain_state();
	who := $1;
	IF only_journey IS NOT NULL AND NOT EXISTS (SELECT FROM journey.journey AS j WHERE j.name = only_journey) THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = pg_catalog.format('journey "%s" does not exist', only_journey);
	END IF;

	RETURN QUERY
	WITH definition AS (
		SELECT j.name AS journey, j.journey_id, v.version_id, v.version, v.topic, v.goal_event
		FROM journey.journey AS j JOIN journey.version AS v USING (journey_id)
		WHERE only_journey IS NULL OR j.name = only_journey
	), watched AS (
		SELECT d.goal_event AS name FROM definition AS d
		UNION SELECT n.event FROM definition AS d JOIN journey.entry AS n USING (version_id)
		UNION SELECT x.event FROM definition AS d JOIN journey.exit_rule AS x USING (version_id)
		UNION SELECT u.name FROM definition AS d JOIN journey.step AS s USING (version_id), LATERAL (VALUES (s.event), (s.since_event)) AS u (name)
		UNION VALUES ('journey.call'), ('journey.retry')
	), handed_over AS (
		SELECT coalesce(jsonb_object_agg(m.message_id::text, m.claimed_at) FILTER (WHERE m.claimed_at IS NOT NULL), '{}') AS times
		FROM journey_state.message AS m WHERE m.contact = who
	), arrival AS (
		SELECT t.enrollment_id, min(t.transition_id) AS first_id, max(t.transition_id) AS last_id, max(t.at) AS last_at
		FROM journey_state.transition AS t WHERE t.contact = who GROUP BY 1
	), line (at, rank, id, journey, enrollment, what, detail) AS (
		SELECT e.at, 0, e.event_id::numeric, NULL::text, NULL::bigint, 'event',
			e.name || CASE WHEN e.properties = '{}' THEN '' ELSE ' ' || left(e.properties::text, 200) END
		FROM journey_state.event AS e
		WHERE e.contact = who AND (only_journey IS NULL OR e.name IN (SELECT w.name FROM watched AS w) AND coalesce(e.name <> 'journey.call' OR e.properties ->> 'journey' = only_journey, false))
			AND e.name !~ '^journey\.(enter|leave):'
		UNION ALL
		SELECT e.at, 0, e.event_id, NULL, NULL, 'segment',
			CASE WHEN e.name LIKE 'journey.enter:%' THEN 'entered ' ELSE 'left ' END || substr(e.name, length('journey.enter:') + 1)
		FROM journey_state.event AS e
		WHERE e.contact = who AND e.name ~ '^journey\.(enter|leave):' AND (only_journey IS NULL OR e.name IN (SELECT w.name FROM watched AS w))
		UNION ALL
		SELECT m.since, 0, NULL, NULL, NULL, 'segment', format('was found in %s, and did not enter it as an event', s.name)
		FROM journey_state.membership AS m JOIN journey.segment AS s USING (segment_id)
		WHERE m.contact = who AND m.member AND only_journey IS NULL
			AND NOT EXISTS (SELECT FROM journey_state.event AS e WHERE e.contact = who AND e.at = m.since AND e.name = 'journey.enter:' || s.name)
		UNION ALL
		SELECT c.at, 0, c.consent_id, NULL, NULL, 'consent',
			format('%s for %s on %s (%s)', CASE WHEN c.granted THEN 'granted' ELSE 'withdrawn' END, replace(c.topic, '*', 'all topics'), c.channel, c.source)
		FROM journey_state.consent_log AS c WHERE c.contact = who
		UNION ALL
		SELECT r.at, 1, r.refusal_id, d.journey, NULL, 'refused', 'not enrolled: ' || r.reason || coalesce(' - ' || r.detail, '')
		FROM journey_state.refusal AS r JOIN definition AS d USING (version_id) WHERE r.contact = who
		UNION ALL
		SELECT x.exposed_at, 1, coalesce(a.first_id - 0.75, x.exposure_id), d.journey, x.enrollment_id, 'assigned',
			format('assigned to %s (%s %%, fraction %s)%s', x.arm, round(x.propensity::numeric * 100, 2)::float8, round(x.fraction::numeric, 3),
				CASE WHEN x.served_arm <> x.arm THEN ', served ' || x.served_arm ELSE '' END)
		FROM journey_state.exposure AS x JOIN definition AS d USING (version_id) LEFT JOIN arrival AS a USING (enrollment_id)
		WHERE x.contact = who
		UNION ALL
		SELECT e.entered_at, 1, a.first_id - 0.5, d.journey, e.enrollment_id, 'entered',
			format('entered version %s', d.version) || CASE WHEN e.key = '' THEN '' ELSE ' with key ' || e.key END
			|| CASE WHEN e.ordinal > 1 THEN format(', run %s', e.ordinal) ELSE '' END
			|| CASE WHEN e.ghost THEN ' as a ghost: nothing will be sent' ELSE '' END
		FROM journey_state.enrollment AS e JOIN definition AS d USING (version_id) LEFT JOIN arrival AS a USING (enrollment_id)
		WHERE e.contact = who
		UNION ALL
		SELECT t.at, 1, t.transition_id, d.journey, t.enrollment_id, CASE t.step_no WHEN 0 THEN 'ended' ELSE 'step' END,
			CASE t.step_no WHEN 0 THEN format('the run ended: %s', CASE WHEN t.cause LIKE 'event journey.%' THEN journey.event_words(substr(t.cause, length('event ') + 1)) ELSE t.cause END)
				ELSE format('step %s: %s', t.step_no, replace(s.kind, '_', ' '))
					|| CASE s.kind WHEN 'send' THEN format(' %s %s', s.channel, s.template)
						WHEN 'wait' THEN ' ' || s.duration || coalesce(' since last ' || journey.event_words(s.since_event), '')
						WHEN 'wait_for' THEN coalesce(' ' || journey.event_words(s.event), '') || ' for at most ' || s.duration ELSE '' END
					|| coalesce(' <<' || s.label || '>>', '') || format(' (%s)', t.cause) END
		FROM journey_state.transition AS t JOIN definition AS d USING (version_id)
		LEFT JOIN journey.step AS s ON s.version_id = t.version_id AND s.step_no = t.step_no
		WHERE t.contact = who
		UNION ALL
		SELECT v.at, 1, coalesce(t.transition_id + 0.25, v.verdict_id), d.journey, v.enrollment_id, 'verdict',
			CASE v.verdict WHEN 'sent' THEN
					CASE WHEN v.ghost THEN format('would have sent: %s %s', s.channel, s.template)
						WHEN v.stage = 'claim' THEN format('sent: message %s may still go', v.message_id)
						ELSE format('sent: message %s, %s %s', v.message_id, s.channel, s.template) || coalesce(' to ' || (v.evidence ->> 'address'), '') END
				ELSE CASE WHEN v.ghost THEN 'would have been ' ELSE '' END || v.verdict
					|| CASE WHEN v.stage = 'claim' THEN format(' when message %s was to be handed over', v.message_id) ELSE '' END
					|| ': ' || v.reason || coalesce(' - ' || journey.verdict_words(v.reason, v.evidence, v.at, s.channel, d.topic, h.times), '') END
		FROM journey_state.verdict AS v JOIN definition AS d USING (version_id)
		LEFT JOIN journey.step AS s ON s.version_id = v.version_id AND s.step_no = v.step_no
		LEFT JOIN LATERAL (
			SELECT max(k.transition_id) AS transition_id FROM journey_state.transition AS k
			WHERE k.contact = who AND k.at = v.at AND k.enrollment_id = v.enrollment_id AND k.step_no = v.step_no
		) AS t ON true
		CROSS JOIN handed_over AS h
		WHERE v.contact = who
		UNION ALL
		SELECT m.claimed_at, 2, m.message_id, d.journey, m.enrollment_id, 'message',
			format('message %s was handed over%s%s', m.message_id, coalesce(' to relay ' || m.relay, ''), coalesce(' for ' || m.recipient, ''))
		FROM journey_state.message AS m JOIN definition AS d USING (version_id) WHERE m.contact = who AND m.claimed_at IS NOT NULL
		UNION ALL
		SELECT coalesce(m.finished_at, m.claimed_at, m.decided_at), 3, m.message_id, d.journey, m.enrollment_id, 'message',
			format('message %s is parked: %s', m.message_id, m.reason)
		FROM journey_state.message AS m JOIN definition AS d USING (version_id) WHERE m.contact = who AND m.status = 'parked'
		UNION ALL
		SELECT r.at, 3, r.receipt_id, d.journey, m.enrollment_id, 'receipt',
			format('message %s: %s%s%s', r.message_id, r.kind, CASE WHEN r.attempt > 1 THEN format(' at attempt %s', r.attempt) ELSE '' END,
				coalesce(' (' || nullif(concat_ws(' ', r.code, r.response), '') || ')', ''))
		FROM journey_state.receipt AS r
		JOIN journey_state.message AS m ON m.contact = r.contact AND m.message_id = r.message_id
		JOIN definition AS d ON d.version_id = m.version_id
		WHERE r.contact = who AND NOT (r.kind = 'claimed' AND r.attempt <= 1)
		UNION ALL
		SELECT c.at, 0, c.event_id + 0.5, d.journey, coalesce(c.enrollment_id, x.enrollment_id), 'goal',
			format('goal reached, value %s', c.value) || coalesce(format(', %s after the assignment to %s', journey.span_words(c.at - x.exposed_at), x.arm), '')
		FROM journey_state.conversion AS c
		JOIN (SELECT DISTINCT n.journey_id, n.journey FROM definition AS n) AS d USING (journey_id)
		LEFT JOIN journey_state.exposure AS x ON x.contact = c.contact AND x.exposure_id = c.exposure_id
		WHERE c.contact = who
		UNION ALL
		SELECT coalesce(a.last_at, e.entered_at), 4, e.enrollment_id, d.journey, e.enrollment_id, 'parked',
			format('the run stands still after an error%s: %s', coalesce(' at step ' || e.parked_step, ''), coalesce(e.error, 'no reason kept'))
		FROM journey_state.enrollment AS e JOIN definition AS d USING (version_id) LEFT JOIN arrival AS a USING (enrollment_id)
		WHERE e.contact = who AND e.status = 'parked'
	)
	SELECT l.at, l.journey, l.enrollment, l.what, l.detail
	FROM line AS l
	ORDER BY l.at, l.rank, l.id NULLS FIRST, l.what;
END
$body$;
REVOKE ALL ON FUNCTION journey.explain(text, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.explain(text, text) IS 'journey.explain() with the contact''s key as text';

CREATE FUNCTION journey.explain(contact anyelement, journey text DEFAULT NULL)
RETURNS SETOF journey.explanation
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
	SELECT * FROM journey.explain($1::text, $2)
$body$;
REVOKE ALL ON FUNCTION journey.explain(anyelement, text) FROM PUBLIC;
COMMENT ON FUNCTION journey.explain(anyelement, text) IS 'Everything that happened to a contact, in all journeys or one, in words and in order: events, segments entered and left, refusals, assignments, steps, verdicts, messages, receipts, goals';
