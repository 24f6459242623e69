-- Each verdict that the extension has stored, and what should have been asked and was
-- not, against the model (model.sql); and what happens to contacts, as the model's
-- books have it.  Verdicts are judged in their order, and the books go on from each.
CREATE FUNCTION model.complain(what text) RETURNS void LANGUAGE sql AS $$ INSERT INTO model.mismatch (what) VALUES (what) $$;

-- An event that starts a run: expect the run, or the refusal.
CREATE FUNCTION model.enter(who bigint, about text, run_key text, now timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	reasons text[];
	r record;
	e record;
BEGIN
	-- one channel that may be used is enough; else the reason is that of one of them (an address that is none is no address)
	SELECT array_agg(replace(model.unreachable(who, c, p.topic, true, now), 'bad_address', 'no_address')) INTO reasons FROM model.step p, unnest(p.channels) c WHERE p.journey = about;
	IF model.is_paused(about) OR model.is_dropped(about) THEN
		IF EXISTS (SELECT FROM journey_state.refusal x JOIN journey_state.event v USING (contact, event_id) WHERE x.contact = who AND v.properties ->> 'k' = run_key)
			OR EXISTS (SELECT FROM journey_state.enrollment x JOIN journey.journey j USING (journey_id) WHERE x.contact = who AND j.name = about AND x.key = run_key) THEN
			PERFORM model.complain(format('contact %s was taken into %s, which is paused or dropped', who, about));
		END IF;
		RETURN;
	END IF;
	IF model.entered_enough(who, about, now) THEN
		reasons := array_append(array_remove(reasons, NULL), 'capped');
	END IF;
	SELECT x.reason, x.at INTO r FROM journey_state.refusal x JOIN journey_state.event v USING (contact, event_id) WHERE x.contact = who AND v.properties ->> 'k' = run_key;
	SELECT x.ghost, x.entered_at AS at INTO e FROM journey_state.enrollment x JOIN journey.journey j USING (journey_id) WHERE x.contact = who AND j.name = about AND x.key = run_key;
	IF (array_position(reasons, NULL) IS NOT NULL) <> (e.at IS NOT NULL) OR NOT coalesce(replace(r.reason, 'bad_address', 'no_address'), reasons[1], '') = ANY (array_append(reasons, '')) OR coalesce(e.at <> now, r.at <> now, true) THEN
		PERFORM model.complain(format('contact %s, %s %s at %s: entry, by channel, should be %s, is %s', who, about, run_key, now, reasons, coalesce('refused: ' || r.reason, to_jsonb(e)::text)));
	END IF;
	IF e.at IS NOT NULL THEN
		INSERT INTO model.run (contact, journey, key, entered_at, ghost, touched) VALUES (who, about, run_key, e.at, e.ghost, now);
		PERFORM model.go_on(who, about, run_key, 1, e.at);
	END IF;
END
$$;
CREATE FUNCTION model.go_on(who bigint, about text, run_key text, step_no integer, now timestamptz) RETURNS void LANGUAGE sql AS $$
	INSERT INTO model.sending (contact, journey, key, no, ghost, state, channels, template, due, since, expires_at)
	SELECT r.contact, r.journey, r.key, p.no, r.ghost, 'waiting', p.channels, p.template, now + p.wait, now + p.wait, now + p.wait + p.expires
	FROM model.run r JOIN model.step p USING (journey) WHERE NOT r.exited AND NOT r.capped AND r.contact = who AND r.journey = about AND r.key = run_key AND p.no = step_no
$$;
CREATE FUNCTION model.leave(who bigint, about text, now timestamptz) RETURNS void LANGUAGE sql AS $$
	UPDATE model.run SET touched = now WHERE contact = who AND journey = about;
	-- a run that is over is exited only for a message that could still go
	UPDATE model.run r SET exited = true WHERE contact = who AND journey = about
		AND EXISTS (SELECT FROM model.sending s WHERE (s.contact, s.journey, s.key) = (r.contact, r.journey, r.key)
			AND (s.state IN ('waiting', 'deferred') OR (s.state = 'pending' OR s.state = 'handed' AND s.fate IS NULL) AND s.expires_at > now));
	UPDATE model.sending SET state = 'over' WHERE contact = who AND journey = about AND state IN ('waiting', 'deferred');
$$;

-- One verdict: complain if it is another than the model's, and go on from it.
CREATE FUNCTION model.compare(s model.sending, stage text, now timestamptz, verdict text, reason text, until timestamptz, evidence jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	e record;
BEGIN
	SELECT * INTO e FROM model.judge(s, stage, now, CASE WHEN (evidence #>> '{send_time,explored}')::boolean THEN (evidence #>> '{send_time,at}')::timestamptz END);
	IF (e.reason = 'held' OR reason = 'held') AND model.perhaps_held(s, now) THEN
		e.verdict := verdict;
		e.reason := reason;
		e.until := until;
	END IF;
	IF e.reason = 'duplicate_address' AND stage = 'claim' AND reason IN ('expired', 'quiet_hours', 'capped') AND NOT coalesce(model.address_taken(s, now - interval '1 microsecond'), false) THEN
		-- it was asked before the one that took the address in the same claim
		e.verdict := verdict;
		e.reason := reason;
		e.until := until;
	END IF;
	IF stage = 'claim' AND 'capped' IN (e.reason, reason) AND (e.reason IS NULL OR reason IS NULL) AND EXISTS (SELECT FROM model.cap WHERE engagement IS NOT NULL)
		AND EXISTS (SELECT FROM model.sending o WHERE o.contact = s.contact AND o.channels = s.channels AND o.handed_at = now) THEN
		-- what the same claim hands over before it is asked says how the contact responds; which caps are his is not about who goes first
		e.verdict := verdict;
		e.reason := reason;
		e.until := until;
	END IF;
	IF (e.verdict, e.reason) IS DISTINCT FROM (verdict, reason) OR model.wrong_until(s, e.until, until, reason) OR evidence ? 'asked' OR stage = 'decide' AND model.wrong_choice(s, e.over, evidence) THEN
		PERFORM model.complain(format(E'contact %s, %s %s send %s, %s at %s:\n  should be %s, is %s\n  %s\n  evidence %s\n  others: %s', s.contact, s.journey, s.key, s.no, stage, now,
			to_jsonb(e), jsonb_build_object('verdict', verdict, 'reason', reason, 'until', until), to_jsonb(s), evidence,
			(SELECT string_agg(E'\n    ' || to_jsonb(o)::text || ' weight ' || model.weight(o, now), '') FROM model.sending o WHERE o.contact = s.contact AND o.id <> s.id AND o.state <> 'over')));
	END IF;
	UPDATE model.run r SET touched = now WHERE (r.contact, r.journey, r.key) = (s.contact, s.journey, s.key);
	UPDATE model.sending m SET since = s.since, expires_at = s.expires_at, due = coalesce(compare.until, now),
		state = CASE WHEN stage = 'claim' AND m.handed_at < now THEN 'handed' WHEN compare.verdict = 'withheld' OR s.ghost AND compare.verdict = 'sent' THEN 'over' WHEN stage = 'claim' AND compare.verdict = 'sent' THEN 'handed'
			WHEN stage = 'claim' OR compare.verdict = 'sent' THEN 'pending' ELSE 'deferred' END,
		granted = compare.verdict = 'sent',
		channels = CASE WHEN compare.verdict = 'sent' THEN ARRAY[e.over] ELSE m.channels END,
		timed = m.timed OR coalesce(compare.reason = 'send_time', false),
		handed_at = coalesce(m.handed_at, CASE WHEN stage = 'claim' AND compare.verdict = 'sent' THEN now END),
		claimed_at = CASE WHEN stage = 'claim' AND compare.verdict = 'sent' THEN now ELSE m.claimed_at END,
		fate = CASE WHEN stage = 'claim' AND compare.verdict = 'withheld' AND m.handed_at < now THEN 'withheld' ELSE m.fate END
	WHERE m.id = s.id;
	IF compare.reason = 'capped' AND compare.verdict = 'withheld' AND (SELECT capped = 'exit' FROM model.step p WHERE p.journey = s.journey AND p.no = s.no) THEN
		-- it goes no further; what it has sent before may still go
		UPDATE model.run r SET capped = true WHERE (r.contact, r.journey, r.key) = (s.contact, s.journey, s.key);
		UPDATE model.sending m SET state = 'over' WHERE (m.contact, m.journey, m.key) = (s.contact, s.journey, s.key) AND m.state IN ('waiting', 'deferred');
	END IF;
END
$$;
-- Is another channel chosen, or no best time taken that must be?
CREATE FUNCTION model.wrong_choice(s model.sending, over text, evidence jsonb) RETURNS boolean LANGUAGE sql STABLE AS $$
	SELECT cardinality(p.channels) > 1 AND over IS DISTINCT FROM coalesce((SELECT c ->> 'channel' FROM jsonb_array_elements(evidence -> 'channels') c WHERE c ->> 'outcome' = 'chosen'), p.channels[1])
	FROM model.step p WHERE p.journey = s.journey AND p.no = s.no
$$;
-- Each verdict given since: is it the one?  late: by a tick at "now" that came when it came.
CREATE FUNCTION model.observe(now timestamptz, late boolean) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
	v record;
	s model.sending;
	n integer := 0;
	due boolean;
BEGIN
	FOR v IN
		SELECT x.*, j.name AS journey, r.key,
			(SELECT count(*) FROM journey.step p WHERE p.version_id = x.version_id AND p.kind = 'send' AND p.step_no <= x.step_no)::integer AS no
		FROM journey_state.verdict x JOIN journey_state.enrollment r USING (contact, enrollment_id) JOIN journey.journey j USING (journey_id)
		WHERE x.stage = 'decide' AND x.verdict_id > (SELECT coalesce(max(seen), 0) FROM model.seen)
		ORDER BY x.verdict_id
	LOOP
		n := n + 1;
		INSERT INTO model.seen VALUES (v.verdict_id);
		SELECT * INTO s FROM model.sending m WHERE (m.contact, m.journey, m.key, m.no) = (v.contact, v.journey, v.key, v.no);
		IF s.state = 'waiting' THEN
			s.since := v.at;
			s.expires_at := v.at + (SELECT expires FROM model.step p WHERE p.journey = s.journey AND p.no = s.no);
		END IF;
		due := CASE WHEN late THEN v.at = now AND s.due <= now ELSE v.at = s.due END AND s.state IN ('waiting', 'deferred');
		PERFORM model.compare(s, 'decide', v.at, v.verdict, v.reason, v.until, v.evidence || CASE WHEN coalesce(due, false) AND v.ghost = s.ghost THEN '{}' ELSE '{"asked": "at a wrong time"}' END::jsonb);
		UPDATE model.sending m SET message_id = v.message_id WHERE m.id = s.id;
		IF v.verdict <> 'deferred' THEN
			PERFORM model.go_on(s.contact, s.journey, s.key, s.no + 1, v.at);
		END IF;
	END LOOP;
	RETURN n;
END
$$;
-- With jitter: a little later, still before it expires and not in quiet hours.
CREATE FUNCTION model.wrong_until(s model.sending, expected timestamptz, found timestamptz, reason text) RETURNS boolean LANGUAGE sql AS $$
	SELECT (expected IS NULL) <> (found IS NULL) OR found < expected
		OR found > expected + CASE reason WHEN 'quiet_hours' THEN coalesce((SELECT max(jitter) FROM model.quiet), '0') ELSE '0' END
		OR found >= s.expires_at
		OR found > expected AND (SELECT model.quiet_at(s.contact, s.channels[1], p.topic, found) IS NOT NULL FROM model.step p WHERE p.journey = s.journey AND p.no = s.no)
$$;
-- What is due and was not asked.
CREATE FUNCTION model.missed(now timestamptz) RETURNS void LANGUAGE sql AS $$
	SELECT model.complain(format(E'not asked by %s: %s\n%s', now, to_jsonb(s), (SELECT string_agg(format('  %s %s %s', x.at, x.what, x.detail), E'\n') FROM journey.explain(s.contact) x))) FROM model.sending s
	WHERE s.due <= now AND s.state IN ('waiting', 'deferred') AND NOT model.is_paused(s.journey)
$$;

-- Time passes: a tick at each instant at which something is due, or one late tick, or a replay.
CREATE PROCEDURE model.advance(now timestamptz, how text) LANGUAGE plpgsql AS $$
DECLARE
	next timestamptz;
	round record;
BEGIN
	IF how = 'replay' THEN
		PERFORM journey.replay(now);
		COMMIT;
		PERFORM model.observe(now, false);
	ELSE
		LOOP
			SELECT min(due) INTO next FROM model.sending WHERE state IN ('waiting', 'deferred') AND due < now AND how = 'tick' AND NOT model.is_paused(journey);
			LOOP
				SELECT * INTO round FROM journey.tick(coalesce(next, now));
				COMMIT;
				EXIT WHEN NOT round.more;
			END LOOP;
			PERFORM model.observe(coalesce(next, now), how = 'late');
			EXIT WHEN next IS NULL OR EXISTS (SELECT FROM model.mismatch);
			PERFORM model.missed(next);
			COMMIT;
		END LOOP;
	END IF;
	UPDATE model.sending SET state = 'over' WHERE state = 'dropped' AND due <= now;
	PERFORM model.missed(now);
	COMMIT;
END
$$;
-- Something happens to a contact.
CREATE PROCEDURE model.go(who bigint, about text, run_key text, now timestamptz, how text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(who, 'go_' || about, jsonb_build_object('k', run_key), now);
	COMMIT;
	IF how = 'replay' THEN
		PERFORM journey.replay(now);
	ELSE
		PERFORM journey.tick(now);
	END IF;
	COMMIT;
	PERFORM model.enter(who, about, run_key, now);
	PERFORM model.observe(now, how = 'late');
	PERFORM model.missed(now);
	COMMIT;
END
$$;
CREATE PROCEDURE model.stop(who bigint, about text, now timestamptz, how text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.track(who, 'stop_' || about, '{}', now);
	COMMIT;
	IF how = 'replay' THEN
		PERFORM journey.replay(now);
	ELSE
		PERFORM journey.tick(now);
	END IF;
	COMMIT;
	PERFORM model.leave(who, about, now);
	PERFORM model.observe(now, how = 'late');
	COMMIT;
END
$$;
-- A journey goes on: what fell due meanwhile is asked at once.
CREATE PROCEDURE model.resume(about text, now timestamptz, how text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM journey.resume(about);
	DELETE FROM model.paused WHERE journey = about;
	INSERT INTO model.resumed SELECT count(*) FROM model.sending WHERE journey = about AND state IN ('waiting', 'deferred') AND due < now;
	UPDATE model.sending SET due = now WHERE journey = about AND state IN ('waiting', 'deferred') AND due < now;
	COMMIT;
	IF how = 'replay' THEN
		PERFORM journey.replay(now);
	ELSE
		PERFORM journey.tick(now);
	END IF;
	COMMIT;
	PERFORM model.observe(now, how = 'late');
	PERFORM model.missed(now);
	COMMIT;
END
$$;
CREATE PROCEDURE model.claim(now timestamptz, most integer, outcome text) LANGUAGE plpgsql AS $$
DECLARE
	got record;
	s model.sending;
	v record;
BEGIN
	SELECT coalesce(array_agg(message_id), '{}') AS ids, array_agg(attempt) AS attempts INTO got FROM journey.claim('r1', most, '60 seconds', now);
	COMMIT;
	-- of two that want one address the relay gets either
	INSERT INTO model.went SELECT m.id, lower(model.address(m.contact, m.channels[1])), now FROM model.sending m WHERE m.message_id = ANY (got.ids);
	FOR s IN SELECT * FROM model.sending m WHERE (m.state = 'pending' OR m.state = 'handed' AND m.fate IS NULL) AND m.due <= now AND NOT model.is_paused(m.journey) ORDER BY m.contact, model.weight(m, now) DESC, m.since, m.id LOOP
		SELECT x.* INTO v FROM journey_state.verdict x WHERE x.contact = s.contact AND x.message_id = s.message_id AND x.stage = 'claim' AND x.at = now;
		-- who has got as many as he wanted asks for no more
		CONTINUE WHEN v IS NULL AND s.message_id <> ALL (got.ids) AND cardinality(got.ids) = most;
		PERFORM model.compare(s, 'claim', now, coalesce(v.verdict, CASE WHEN s.message_id = ANY (got.ids) THEN 'sent' ELSE 'not offered' END), v.reason, v.until, coalesce(v.evidence, '{}'));
	END LOOP;
	IF (SELECT array_agg(message_id ORDER BY message_id) FROM model.sending WHERE claimed_at = now) IS DISTINCT FROM (SELECT array_agg(i ORDER BY i) FROM unnest(got.ids) i) THEN
		PERFORM model.complain(format('at %s the relay got %s', now, got.ids));
	END IF;
	IF outcome = 'lost' THEN
		-- nothing is heard of them, and they are offered again at the end of the lease
		UPDATE model.sending SET due = now + interval '60 seconds' WHERE message_id = ANY (got.ids);
	ELSIF got.attempts IS NOT NULL THEN
		-- the first of them may have another fate
		PERFORM journey.report('r1', got.ids, got.attempts, ARRAY[split_part(outcome, ' ', 1)] || array_fill('sent'::text, ARRAY[cardinality(got.ids) - 1]),
			ARRAY[split_part(outcome, ' ', 2)] || array_fill('250'::text, ARRAY[cardinality(got.ids) - 1]), array_fill(''::text, ARRAY[cardinality(got.ids)]), now);
		UPDATE model.sending SET fate = CASE message_id WHEN got.ids[1] THEN split_part(outcome, ' ', 1) ELSE 'sent' END WHERE message_id = ANY (got.ids);
		INSERT INTO model.suppressed SELECT m.channels[1], lower(model.address(m.contact, m.channels[1])), 'all' FROM model.sending m WHERE m.message_id = got.ids[1] AND outcome = 'bounced 5.1.1' ON CONFLICT DO NOTHING;
	END IF;
	COMMIT;
END
$$;
