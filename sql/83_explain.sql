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
 * The window of a cap as the evidence has it: the cap may be another one by now.
 * per: that of the cap of this name, which says "1 mon" where it is still so.
 */
CREATE FUNCTION journey.window_words(cap jsonb, per interval)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
	SELECT CASE
		WHEN $1 ? 'zone' THEN CASE WHEN w.length < interval '2 days' THEN 'a day' WHEN w.length < interval '9 days' THEN 'a week' ELSE 'a month' END
		WHEN (w.ends AT TIME ZONE 'UTC' - $2) AT TIME ZONE 'UTC' = w.starts THEN $2::text
		ELSE w.length::text END
	FROM (SELECT ($1 ->> 'from')::timestamptz, ($1 ->> 'to')::timestamptz, ($1 ->> 'to')::timestamptz - ($1 ->> 'from')::timestamptz) AS w (starts, ends, length)
$body$;
REVOKE ALL ON FUNCTION journey.window_words(jsonb, interval) FROM PUBLIC;
COMMENT ON FUNCTION journey.window_words(jsonb, interval) IS 'The window of a frequency cap in words, from the evidence of a verdict; per is that of the cap now';

/*
 * What one check of the gate looked at, from the member of the evidence that it
 * wrote.  What is not known here is shown as it was stored.
 */
CREATE FUNCTION journey.evidence_words(member text, value jsonb)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
	SELECT CASE
		WHEN $2 IS NULL THEN NULL
		WHEN $1 = 'exit' THEN 'the run had ended: ' || coalesce(journey.event_words(nullif(regexp_replace($2 #>> '{}', '^event (?=journey\.)', ''), '')), '')
		WHEN $1 = 'consent' AND jsonb_typeof($2) = 'null' THEN 'no consent was given'
		WHEN $1 = 'consent' THEN format('%s for %s at %s (%s)', CASE WHEN ($2 ->> 'granted')::boolean THEN 'granted' ELSE 'withdrawn' END,
			replace($2 ->> 'topic', '*', 'all topics'), ($2 ->> 'at')::timestamptz, $2 ->> 'source')
		WHEN $1 = 'address' THEN coalesce($2 #>> '{}', 'none')
		WHEN $1 = 'address_rule' THEN format('%s address, by the rule for %s@%s', $2 ->> 'kind', coalesce($2 ->> 'local_part', '*'), coalesce($2 ->> 'domain', '*'))
		WHEN $1 = 'suppression' THEN format('%s%s, since %s%s', CASE $2 ->> 'by' WHEN 'contact' THEN 'the contact: ' ELSE '' END, $2 ->> 'reason', ($2 ->> 'at')::timestamptz, CASE $2 ->> 'scope' WHEN 'promotional' THEN ', but for transactional messages' ELSE '' END)
		WHEN $1 = 'hold' THEN format('%s: %s, since %s', $2 ->> 'name', coalesce('segment ' || ($2 ->> 'segment'), 'journey ' || ($2 ->> 'journey')), ($2 ->> 'since')::timestamptz)
		WHEN $1 = 'sent_over' THEN format('the same content went over %s at %s', $2 ->> 'channel', ($2 ->> 'at')::timestamptz)
		WHEN $1 = 'same_address' THEN format('message %s took the same content to this address at %s', $2 ->> 'message', ($2 ->> 'at')::timestamptz)
		WHEN $1 IN ('expires_at', 'until', 'within') THEN ($2 #>> '{}')::timestamptz::text
		WHEN $1 = 'time_zone' THEN (SELECT string_agg(z.name, ' or ' ORDER BY z.n) FROM jsonb_array_elements_text($2 -> 'names') WITH ORDINALITY AS z (name, n))
			|| format(' (%s)', CASE $2 ->> 'from' WHEN 'contact' THEN 'the contact''s own' WHEN 'country' THEN 'by country ' || ($2 ->> 'country') WHEN 'shop' THEN 'the shop''s' ELSE 'nothing else is known' END)
			|| coalesce(', "' || ($2 ->> 'ignored') || '" is no time zone', '')
		WHEN $1 = 'quiet_hours' THEN format('it was %s there, %s', (SELECT string_agg(to_char(l.local::timestamp, 'Dy HH24:MI'), ' or ' ORDER BY l.n) FROM jsonb_array_elements_text($2 -> 'local') WITH ORDINALITY AS l (local, n)),
			coalesce('quiet by ' || (SELECT string_agg(r.name, ', ' ORDER BY r.name) FROM jsonb_array_elements_text($2 -> 'in_force') AS r (name)), 'not quiet'))
		WHEN $1 = 'send_time' AND jsonb_typeof($2) = 'object' THEN format('%s %s:00 by what is known of %s, of %s times%s', $2 ->> 'day_kind', $2 ->> 'hour',
			CASE $2 ->> 'source' WHEN 'individual' THEN 'the contact' WHEN 'global' THEN 'all contacts' ELSE 'nobody' END, $2 ->> 'slots', CASE WHEN ($2 ->> 'explored')::boolean THEN ', taken by chance to learn' ELSE '' END)
		WHEN $1 = 'channels' THEN (SELECT string_agg(format('%s: %s%s', h.value ->> 'channel', h.value ->> 'outcome', coalesce(' (rate ' || round((h.value ->> 'rate')::numeric, 3) || ')', '')), ', ' ORDER BY h.n)
			FROM jsonb_array_elements($2) WITH ORDINALITY AS h (value, n))
		WHEN $1 = 'caps' AND jsonb_typeof($2) = 'array' THEN coalesce((
			SELECT string_agg(CASE WHEN (k.cap ->> 'overridden')::boolean THEN format('%s gives way to another', k.cap ->> 'name')
				ELSE format('%s: %s of %s', (k.cap ->> 'name') || coalesce(' for class ' || (k.cap ->> 'class'), ' for topic ' || (k.cap ->> 'topic'), ''), k.cap ->> 'count', k.cap ->> 'limit')
					|| coalesce(' from ' || (k.cap ->> 'from')::timestamptz || ' to ' || (k.cap ->> 'to')::timestamptz, '')
					|| CASE WHEN k.cap -> 'messages' <> '[]' THEN ' (messages ' || (SELECT string_agg(m.id, ', ' ORDER BY m.id::bigint) FROM jsonb_array_elements_text(k.cap -> 'messages') AS m (id)) || ')' ELSE '' END
					|| coalesce((SELECT string_agg(format(', run %s with priority %s, due %s, goes first', r.rival ->> 'enrollment', r.rival ->> 'priority', (r.rival ->> 'due')::timestamptz), '')
						FROM jsonb_array_elements(k.cap -> 'rivals') AS r (rival)), '') END, '; ' ORDER BY k.n)
			FROM jsonb_array_elements($2) WITH ORDINALITY AS k (cap, n)), 'none applies')
		ELSE $2 #>> '{}' END
$body$;
REVOKE ALL ON FUNCTION journey.evidence_words(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION journey.evidence_words(text, jsonb) IS 'What a check of the gate looked at, in words, from the member of a verdict''s evidence';

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
		WHEN 'suppressed' THEN CASE WHEN $2 ? 'hold' THEN format('%s has held since %s', $2 #>> '{hold,name}', ($2 #>> '{hold,since}')::timestamptz)
			ELSE format('%s is suppressed: %s, since %s', CASE WHEN $2 #>> '{suppression,by}' = 'contact' THEN 'the contact' ELSE coalesce($2 ->> 'address', 'the address') END,
				$2 #>> '{suppression,reason}', ($2 #>> '{suppression,at}')::timestamptz) END
		WHEN 'held' THEN format('%s holds since %s', $2 #>> '{hold,name}', ($2 #>> '{hold,since}')::timestamptz)
		WHEN 'duplicate_content' THEN format('the same went over %s at %s', $2 #>> '{sent_over,channel}', ($2 #>> '{sent_over,at}')::timestamptz)
		WHEN 'duplicate_address' THEN format('message %s took the same to this address at %s', $2 #>> '{same_address,message}', ($2 #>> '{same_address,at}')::timestamptz)
		WHEN 'quiet_hours' THEN journey.evidence_words('quiet_hours', $2 -> 'quiet_hours')
		WHEN 'send_time' THEN journey.evidence_words('send_time', $2 -> 'send_time')
		WHEN 'no_address' THEN format('the contact has no address for %s', $4)
		WHEN 'bad_address' THEN CASE WHEN $2 ? 'address_rule' THEN format('"%s" is nobody''s own address: %s', $2 ->> 'address', journey.evidence_words('address_rule', $2 -> 'address_rule'))
			ELSE format('"%s" is not an address for %s', $2 ->> 'address', $4) END
		WHEN 'contact_gone' THEN 'the contact does not exist any more'
		WHEN 'expired' THEN format('it was of use until %s', ($2 ->> 'expires_at')::timestamptz)
		WHEN 'capped' THEN (
			SELECT string_agg(
				format('cap %s allows %s%s', (k.cap ->> 'name') || coalesce(' for class ' || (k.cap ->> 'class'), ' for topic ' || (k.cap ->> 'topic'), ''), k.cap ->> 'limit', coalesce(' in ' || journey.window_words(k.cap, d.per), ''))
				|| coalesce((
					SELECT ', ' || string_agg(
						CASE WHEN $6 ? m.id THEN
								CASE WHEN ($6 ->> m.id)::timestamptz <= $3
									THEN format('message %s was sent %s earlier', m.id, journey.span_words($3 - ($6 ->> m.id)::timestamptz))
									ELSE format('message %s was sent %s later', m.id, journey.span_words(($6 ->> m.id)::timestamptz - $3)) END
							ELSE format('message %s was waiting to be sent', m.id) END, ', ' ORDER BY m.id::bigint)
					FROM jsonb_array_elements_text(k.cap -> 'messages') AS m (id)), '')
				|| coalesce((
					SELECT ', ' || string_agg(format('run %s is more important (priority %s), due %s', r.rival ->> 'enrollment', r.rival ->> 'priority', (r.rival ->> 'due')::timestamptz), ', ')
					FROM jsonb_array_elements(k.cap -> 'rivals') AS r (rival)), ''),
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
		SELECT f.at, 0, NULL, NULL, NULL, 'frequency',
			format('wants %s messages for %s on %s (%s)', f.frequency, replace(f.topic, '*', 'all topics'), replace(f.channel, '*', 'all channels'), f.source)
		FROM journey_state.frequency AS f WHERE f.contact = who
		UNION ALL
		SELECT k.at, 0, NULL, NULL, NULL, 'suppressed',
			format('nothing%s on %s: %s', CASE k.scope WHEN 'all' THEN '' ELSE ' ' || k.scope END, replace(k.channel, '*', 'all channels'), k.reason)
		FROM journey_state.suppressed_contact AS k WHERE k.contact = who
		UNION ALL
		SELECT s.at, 0, NULL, NULL, NULL, 'suppressed',
			format('nothing%s on %s to %s: %s', CASE s.scope WHEN 'all' THEN '' ELSE ' ' || s.scope END, s.channel, s.address, s.reason)
		FROM journey_state.suppression AS s
		WHERE (s.channel, s.address) IN (SELECT m.channel, lower(m.recipient) FROM journey_state.message AS m WHERE m.contact = who)
		UNION ALL
		SELECT r.at, 1, r.refusal_id, d.journey, NULL, 'refused', 'not enrolled: ' || r.reason
			|| coalesce(' - ' || coalesce(r.detail, journey.verdict_words(r.reason, r.evidence, r.at, r.channel, d.topic, '{}')), '')
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
					|| CASE s.kind WHEN 'send' THEN format(' %s %s', coalesce(s.channel, array_to_string(s.channels, ' or ')), s.template)
						WHEN 'wait_until' THEN coalesce(' ' || to_char(s.local_time, 'HH24:MI:SS') || coalesce(' on ' || (
							SELECT string_agg((ARRAY['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'])[n], ', ' ORDER BY n) FROM unnest(s.local_days) AS n), ''), '')
						WHEN 'wait' THEN ' ' || s.duration || coalesce(' since last ' || journey.event_words(s.since_event), '')
						WHEN 'wait_for' THEN coalesce(' ' || journey.event_words(s.event), '') || ' for at most ' || s.duration ELSE '' END
					|| coalesce(' <<' || s.label || '>>', '') || format(' (%s)', t.cause) END
		FROM journey_state.transition AS t JOIN definition AS d USING (version_id)
		LEFT JOIN journey.step AS s ON s.version_id = t.version_id AND s.step_no = t.step_no
		WHERE t.contact = who
		UNION ALL
		SELECT v.at, 1, coalesce(t.transition_id + 0.25, v.verdict_id), d.journey, v.enrollment_id, 'verdict',
			CASE v.verdict WHEN 'sent' THEN
					CASE WHEN v.ghost THEN format('would have sent: %s %s', coalesce(s.channel, array_to_string(s.channels, ' or ')), s.template)
						WHEN v.stage = 'claim' THEN format('sent: message %s may still go', v.message_id)
						ELSE format('sent: message %s, %s %s', v.message_id, coalesce(s.channel, (SELECT m.channel FROM journey_state.message AS m WHERE m.contact = who AND m.message_id = v.message_id)), s.template) || coalesce(' to ' || (v.evidence ->> 'address'), '') END
				ELSE CASE WHEN v.ghost THEN 'would have been ' ELSE '' END || v.verdict
					|| CASE WHEN v.stage = 'claim' THEN format(' when message %s was to be handed over', v.message_id) ELSE '' END
					|| coalesce(' until ' || v.until, '') || ': ' || v.reason || coalesce(' - ' || journey.verdict_words(v.reason, v.evidence, v.at, coalesce(s.channel, array_to_string(s.channels, ' or ')), d.topic, h.times), '') END
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
COMMENT ON FUNCTION journey.explain(anyelement, text) IS 'Everything that happened to a contact, in all journeys or one, in words and in order: events, segments entered and left, consent, wished frequencies, suppressions in force, refusals, assignments, steps, verdicts, messages, receipts, goals';

/*
 * Why one message was sent, put off or withheld: each answer of the gate about it,
 * check by check in the gate's order, as stored then.
 */
CREATE FUNCTION journey.why(message_id bigint)
RETURNS TABLE (at timestamptz, stage text, looked_at text, outcome text, detail text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict use_column
DECLARE
	the_message journey_state.message;
BEGIN
	PERFORM journey._require_plain_state();
	SELECT m.* INTO the_message FROM journey_state.message AS m WHERE m.message_id = why.message_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object', MESSAGE = pg_catalog.format('message %s does not exist', coalesce(message_id::text, 'null')),
			HINT = 'What was withheld when it was decided never became a message: see journey.explain() for its contact.';
	END IF;

	RETURN QUERY
	WITH member (name, position, reasons) AS (VALUES
		('exit', 1, '{exited}'::text[]), ('channels', 2, '{}'), ('consent', 3, '{no_consent}'), ('address', 4, '{no_address,bad_address,contact_gone}'), ('suppression', 5, '{suppressed}'),
		('hold', 6, '{held,suppressed}'), ('address_rule', 7, '{bad_address}'), ('sent_over', 8, '{duplicate_content}'), ('same_address', 9, '{duplicate_address}'),
		('time_zone', 10, '{}'), ('quiet_hours', 11, '{quiet_hours}'), ('send_time', 12, '{send_time}'), ('engagement', 13, '{}'), ('caps', 14, '{capped}'),
		('within', 15, '{}'), ('until', 16, '{}'), ('expires_at', 17, '{expired}')
	), answer AS (
		SELECT v.* FROM journey_state.verdict AS v
		WHERE v.contact = the_message.contact AND v.enrollment_id = the_message.enrollment_id AND v.step_no = the_message.step_no AND v.visit = the_message.visit
		AND v.at >= the_message.since
	), line (at, rank, position, stage, looked_at, outcome, detail) AS (
		SELECT x.exposed_at, 0::numeric, 0, 'entry', 'holdout', x.served_arm,
			format('drew %s; %s %% are held out%s', round(x.fraction::numeric, 3),
				round(CASE x.arm WHEN 'holdout' THEN x.propensity ELSE 1 - x.propensity END::numeric * 100, 2)::float8, CASE WHEN x.layer = 'global' THEN ' of everything' ELSE '' END)
		FROM journey_state.exposure AS x
		JOIN journey_state.enrollment AS e ON e.contact = x.contact AND e.exposure_id = x.exposure_id
		WHERE e.contact = the_message.contact AND e.enrollment_id = the_message.enrollment_id
		UNION ALL
		SELECT a.at, a.verdict_id, coalesce(m.position, 50), a.stage, coalesce(replace(v.key, '_', ' '), ''),
			CASE WHEN a.verdict <> 'sent' AND a.reason = ANY (m.reasons) THEN a.verdict
				WHEN m.reasons = '{}' OR m.reasons IS NULL OR v.key = 'expires_at' THEN '' ELSE 'passed' END,
			journey.evidence_words(v.key, v.value)
				|| coalesce((SELECT ', record ' || c.consent_id || coalesce(': ' || c.proof, '') || coalesce(' from ' || host(c.ip), '')
					FROM journey_state.consent_log AS c
					WHERE v.key = 'consent' AND jsonb_typeof(v.value) = 'object' AND c.contact = a.contact AND c.channel = the_message.channel AND c.topic = v.value ->> 'topic'
						AND c.at = (v.value ->> 'at')::timestamptz AND c.granted = (v.value ->> 'granted')::boolean AND c.source = v.value ->> 'source'
					ORDER BY c.consent_id DESC LIMIT 1), '')
		FROM answer AS a CROSS JOIN LATERAL jsonb_each(a.evidence) AS v LEFT JOIN member AS m ON m.name = v.key
		UNION ALL
		SELECT a.at, a.verdict_id, 100, a.stage, 'verdict', a.verdict, coalesce(replace(a.reason, '_', ' '), format('message %s, %s %s', a.message_id, the_message.channel, the_message.template))
			|| coalesce(', until ' || a.until, '')
		FROM answer AS a
		UNION ALL
		SELECT the_message.claimed_at, 1e18, 0, 'claim', 'hand-over', 'handed over',
			concat_ws(' ', 'to relay ' || the_message.relay, 'for ' || the_message.recipient)
		WHERE the_message.claimed_at IS NOT NULL
	)
	SELECT l.at, l.stage, l.looked_at, l.outcome, l.detail
	FROM line AS l
	ORDER BY l.at, l.rank, l.position, l.looked_at;
END
$body$;
REVOKE ALL ON FUNCTION journey.why(bigint) FROM PUBLIC;
COMMENT ON FUNCTION journey.why(bigint) IS 'Why a message was sent, put off or withheld: every answer of the gate about it, check by check, from the evidence stored with it';

/*
 * Who uses caps up.  Rolling windows end at "at"; of a calendar's period the
 * contact's zone decides, which only the gate knows, so the shop's is taken here.
 */
CREATE FUNCTION journey.cap_usage(at timestamptz DEFAULT clock_timestamp())
RETURNS TABLE (cap text, max_messages integer, span text, contacts bigint, contacts_at_limit bigint, uses bigint, withheld bigint, deferred bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET intervalstyle = 'postgres'
AS $body$
#variable_conflict use_column
DECLARE
	zone CONSTANT text := coalesce((SELECT z.zones[1] FROM journey.timezone AS z WHERE z.country = '*'), 'UTC');
BEGIN
	PERFORM journey._require_plain_state();
	RETURN QUERY
	WITH span AS (
		SELECT k.*, CASE WHEN k.per IS NOT NULL THEN (cap_usage.at AT TIME ZONE 'UTC' - k.per) AT TIME ZONE 'UTC' ELSE date_trunc(k.calendar, cap_usage.at, zone) - interval '1 microsecond' END AS after
		FROM journey.cap AS k
	), used AS (
		SELECT k.name, m.contact, count(*) AS n
		FROM span AS k
		JOIN journey_state.message AS m ON m.claimed_at > k.after AND m.claimed_at <= cap_usage.at AND m.counts
			AND (k.counts_channels IS NULL OR m.channel = ANY (k.counts_channels)) AND (k.counts_topics IS NULL OR m.topic = ANY (k.counts_topics))
			AND (k.counts_classes IS NULL OR m.class = ANY (k.counts_classes))
		JOIN journey.journey AS j ON j.journey_id = m.journey_id AND (k.counts_journeys IS NULL OR j.name = ANY (k.counts_journeys))
		GROUP BY 1, 2
	), acted AS (
		SELECT c.cap ->> 'name' AS name, count(DISTINCT v.verdict_id) FILTER (WHERE v.verdict = 'withheld') AS withheld, count(DISTINCT v.verdict_id) FILTER (WHERE v.verdict = 'deferred') AS deferred
		FROM journey_state.verdict AS v
		CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(v.evidence -> 'caps') WHEN 'array' THEN v.evidence -> 'caps' ELSE '[]' END) AS c (cap)
		WHERE v.reason = 'capped' AND NOT v.ghost AND v.at > cap_usage.at - interval '7 days' AND v.at <= cap_usage.at
			AND (c.cap ->> 'count')::bigint >= (c.cap ->> 'limit')::bigint
		GROUP BY 1
	)
	SELECT k.name, k.max_messages, coalesce(k.per::text, k.calendar), count(u.contact), count(*) FILTER (WHERE u.n >= k.max_messages), coalesce(sum(u.n), 0)::bigint,
		coalesce(min(a.withheld), 0), coalesce(min(a.deferred), 0)
	FROM journey.cap AS k
	LEFT JOIN used AS u ON u.name = k.name
	LEFT JOIN acted AS a ON a.name = k.name
	GROUP BY k.name, k.max_messages, k.per, k.calendar
	ORDER BY k.name;
END
$body$;
REVOKE ALL ON FUNCTION journey.cap_usage(timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION journey.cap_usage(timestamptz) IS 'For each frequency cap: contacts with messages in the window that ends now, how many of them are at the limit, messages counted, and what it withheld and put off in 7 days. Calendar caps go by the shop''s time zone here.';
