-- Rows of a small history, written straight into the state tables, for tests of
-- what reads them.  After test/data/shop.sql, as role shop.  Everything here
-- obeys the laws of journey.check().
--
-- Journey cart (version 1, 10 % holdout, goal within 7 days):
--	 1 wait 1 hour; 2 <<reminder>> send; 3 wait 1 day; 4 send
-- Contacts 1 to 10 are treated, 11 and 12 held out.  All enter on Monday
-- 2026-01-05 10:00, contact 10 a week later.
--	 1 waits at step 1; 2 buys and leaves there; 3 is parked at step 3, 4 waits
--	 there, 5 buys and leaves there; 6 to 10 complete.
--	 step 2: 3 to 8 are let through (8 still pending), 9 has no consent, 10 is capped
--	 step 4: 6 is sent, 8 let through but expired at claim, 9 no consent, 7 and 10 capped
--	 ghosts: 11 waits at step 1; 12 would have been sent at 2, no consent at 4
-- Orders: 2 20.- after 30 minutes, 5 80.- after 2 days, 6 40.- after 1 day and
-- 60.- after 3 days, 12 50.- after 1 day, and 6 10.- too late, after 8 days.
-- Journey newsletter (version 2): one send; contact 7 got one on 2026-01-04,
-- contact 10 on 2026-01-10 and 2026-01-11.
\set QUIET on
\set ECHO none
INSERT INTO journey.journey (journey_id, name, status, version_id, created_at) OVERRIDING SYSTEM VALUE VALUES
	(1, 'cart', 'active', 1, '2026-01-01'), (2, 'newsletter', 'active', 2, '2026-01-01');
INSERT INTO journey.version (version_id, journey_id, version, script, topic, priority, holdout, reentry, goal_event, goal_within, created_at) OVERRIDING SYSTEM VALUE VALUES
	(1, 1, 1, '-', 'promotions', 50, 0.1, 'always', 'order_placed', '7 days', '2026-01-01'),
	(2, 2, 1, '-', 'promotions', 50, 0, 'always', NULL, NULL, '2026-01-01');
INSERT INTO journey.entry VALUES (1, 1, 'event', 'checkout_started'), (2, 1, 'call', NULL);
INSERT INTO journey.exit_rule VALUES (1, 1, 'order_placed');
INSERT INTO journey.step (version_id, step_no, kind, label, line, next_step, duration, channel, template) VALUES
	(1, 1, 'wait', NULL, 1, 2, '1 hour', NULL, NULL), (1, 2, 'send', 'reminder', 2, 3, NULL, 'email', 'cart_reminder'),
	(1, 3, 'wait', NULL, 3, 4, '1 day', NULL, NULL), (1, 4, 'send', NULL, 4, 0, NULL, 'email', 'cart_offer'),
	(2, 1, 'send', NULL, 1, 0, NULL, 'email', 'news');
INSERT INTO journey.cap (name, max_messages, per, created_at) VALUES ('weekly', 2, '7 days', '2026-01-01');

CREATE TEMP TABLE cart AS
	SELECT i AS contact, (i % 16)::smallint AS slice, i + 1000 AS run, i > 10 AS ghost,
		CASE i WHEN 10 THEN '2026-01-12 10:00'::timestamptz ELSE '2026-01-05 10:00' END AS t0,
		-- how far it came, and how it ended
		CASE WHEN i IN (1, 2, 11) THEN 1 WHEN i IN (3, 4, 5) THEN 3 ELSE 4 END AS last,
		CASE WHEN i IN (1, 4, 11) THEN 'active' WHEN i = 3 THEN 'parked' WHEN i IN (2, 5) THEN 'exited' ELSE 'completed' END AS status,
		CASE i WHEN 2 THEN interval '30 minutes' WHEN 5 THEN interval '2 days' ELSE interval '25 hours' END AS ended_after
	FROM generate_series(1, 12) AS i;
INSERT INTO journey_state.event (slice, contact, event_id, name, at, properties)
	SELECT slice, contact, contact * 10, 'checkout_started', t0, jsonb_build_object('cart_id', contact + 70) FROM cart;
INSERT INTO journey_state.enrollment (slice, contact, enrollment_id, journey_id, version_id, key, ordinal, ghost, exposure_id, event_id, event_at, entered_at, status, ended_at, end_reason, parked_step, error)
	SELECT slice, contact, run, 1, 1, (contact + 70)::text, 1, ghost, contact * 100 + 1, contact * 10, t0, t0, status,
		CASE WHEN status IN ('exited', 'completed') THEN t0 + ended_after END, CASE status WHEN 'exited' THEN 'order_placed' WHEN 'completed' THEN 'completed' END,
		CASE status WHEN 'parked' THEN 3 END, CASE status WHEN 'parked' THEN 'division by zero' END
	FROM cart;
INSERT INTO journey_state.exposure
	SELECT contact, contact * 100 + 1, 'journey', 1, 1, contact::text, arm, arm, CASE arm WHEN 'holdout' THEN 0.1 ELSE 0.9 END, CASE arm WHEN 'holdout' THEN 0.031 ELSE 0.5 END, t0, run, 1, contact * 10, 0, 0, 0
	FROM cart, LATERAL (SELECT CASE WHEN ghost THEN 'holdout' ELSE 'treatment' END) AS a (arm);
INSERT INTO journey_state.transition
	SELECT contact, contact * 100 + s.id, t0 + s.after, run, 1, s.step_no, s.cause
	FROM cart, LATERAL (VALUES (1, 2, interval '0', 'entry'), (2, 10, '1 hour', 'timer'), (3, 12, '1 hour', 'done'), (4, 20, '25 hours', 'timer')) AS s (step_no, id, after, cause) WHERE s.step_no <= last
	UNION ALL
	SELECT contact, contact * 100 + 30, t0 + ended_after, run, 1, 0, CASE status WHEN 'exited' THEN 'order_placed' ELSE 'completed' END FROM cart WHERE status IN ('exited', 'completed');
INSERT INTO journey_state.timer (slice, due_at, timer_id, contact, enrollment_id, version_id, step_no, epoch)
	SELECT slice, t0 + interval '1 hour', contact * 100 + 3, contact, run, 1, 1, 0 FROM cart WHERE last > 1
	UNION ALL
	SELECT slice, '2026-03-01', contact * 100 + 4, contact, run, 1, last, 0 FROM cart WHERE status = 'active';
INSERT INTO journey_state.progress (slice, lane, seq, at, due_at, due_id)
	SELECT slice, lane, seq, at, at, 0 FROM generate_series(0, 15) AS slice, (VALUES ('engine'), ('outbox')) AS l (lane), (VALUES (1, '2026-01-20'::timestamptz), (2, '2026-02-01')) AS s (seq, at);
INSERT INTO journey_state.verdict (contact, verdict_id, at, enrollment_id, version_id, step_no, visit, ghost, comparable, stage, verdict, reason, message_id, evidence)
	SELECT contact, contact * 100 + CASE step_no WHEN 2 THEN 11 ELSE 21 END, t0 + CASE step_no WHEN 2 THEN interval '1 hour' ELSE interval '25 hours' END, run, 1, step_no, 1, ghost, true, 'decide',
		CASE WHEN reason IS NULL THEN 'sent' ELSE 'withheld' END, reason, CASE WHEN reason IS NULL AND NOT ghost THEN contact * 10 + step_no END,
		CASE reason WHEN 'no_consent' THEN '{"consent": null}'
			WHEN 'capped' THEN jsonb_build_object('address', 'c' || contact || '@shop.example', 'caps', jsonb_build_array(jsonb_build_object('name', 'weekly', 'limit', 2, 'count', 2, 'messages', CASE contact WHEN 7 THEN '[71, 72]'::jsonb ELSE '[105, 106]' END)))
			ELSE jsonb_build_object('address', 'c' || contact || '@shop.example') END
	FROM cart, LATERAL (VALUES (2, CASE contact WHEN 9 THEN 'no_consent' WHEN 10 THEN 'capped' END), (4, CASE WHEN contact IN (9, 12) THEN 'no_consent' WHEN contact IN (7, 10) THEN 'capped' END)) AS v (step_no, reason)
	WHERE step_no <= last
	UNION ALL
	SELECT contact, contact * 100 + 40, t0 + interval '50 hours', run, 1, 4, 1, false, true, 'claim', 'withheld', 'expired', contact * 10 + 4, '{"expires_at": "2026-01-07T11:00:00+00:00"}' FROM cart WHERE contact = 8;
INSERT INTO journey_state.message (slice, contact, message_id, decided_at, idempotency_key, enrollment_id, journey_id, version_id, step_no, visit, channel, template, topic, class, counts, priority, since, expires_at, status, attempt, claimed_at, relay, recipient, finished_at, reason)
	SELECT slice, v.contact, v.message_id, v.at, 'cart-' || v.message_id, run, 1, 1, v.step_no, 1, 'email', CASE v.step_no WHEN 2 THEN 'cart_reminder' ELSE 'cart_offer' END, 'promotions', 'promotional', true, 50, v.at, v.at + interval '1 day',
		m.status, CASE m.status WHEN 'sent' THEN 1 ELSE 0 END, CASE m.status WHEN 'sent' THEN v.at + interval '1 minute' END, CASE m.status WHEN 'sent' THEN 'r1' END, v.evidence ->> 'address',
		CASE m.status WHEN 'pending' THEN NULL ELSE v.at + interval '2 minutes' END, CASE m.status WHEN 'withheld' THEN 'expired' END
	FROM journey_state.verdict AS v JOIN cart USING (contact), LATERAL (SELECT CASE v.message_id WHEN 82 THEN 'pending' WHEN 84 THEN 'withheld' ELSE 'sent' END) AS m (status)
	WHERE v.stage = 'decide' AND v.message_id IS NOT NULL;
INSERT INTO journey_state.outbox SELECT slice, '2026-02-01 00:01', 8 * 100 + 50, contact, 82, t0 + interval '1 hour', 0 FROM cart WHERE contact = 8;
INSERT INTO journey_state.conversion
	SELECT o.contact, 1, o.contact * 10 + o.n, t0 + o.after, o.value, CASE WHEN o.after <= interval '7 days' THEN o.contact * 100 + 1 END, run
	FROM cart JOIN (VALUES (2, 1, interval '30 minutes', 20), (5, 1, '2 days', 80), (6, 1, '1 day', 40), (6, 2, '3 days', 60), (12, 1, '1 day', 50)) AS o (contact, n, after, value) USING (contact);
INSERT INTO journey_state.event (slice, contact, event_id, name, at, properties)
	SELECT slice, contact, event_id, 'order_placed', at, jsonb_build_object('total', value) FROM journey_state.conversion JOIN cart USING (contact)
	UNION ALL SELECT slice, contact, 63, 'order_placed', t0 + interval '8 days', '{"total": 10}' FROM cart WHERE contact = 6
	UNION ALL SELECT slice, contact, 64, 'page_viewed', t0 - interval '1 day', '{}' FROM cart WHERE contact = 6;
INSERT INTO journey_state.event_key SELECT contact, 'cart ' || contact, event_id, at FROM journey_state.event WHERE name = 'checkout_started';
INSERT INTO journey_state.refusal VALUES (6, 699, '2026-01-06 00:00', 1, 1, 60, 'running', NULL);

-- the newsletters
CREATE TEMP TABLE news AS
	SELECT c.slice, n.contact, n.message_id, n.at, n.message_id + 2000 AS run, n.ordinal
	FROM (VALUES (7, 71, '2026-01-04 10:00'::timestamptz, 1), (10, 105, '2026-01-10 10:00', 1), (10, 106, '2026-01-11 10:00', 2)) AS n (contact, message_id, at, ordinal) JOIN cart AS c USING (contact);
INSERT INTO journey_state.event (slice, contact, event_id, name, at, properties) SELECT slice, contact, run, 'journey.call', at, '{"journey": "newsletter"}' FROM news;
INSERT INTO journey_state.exposure SELECT contact, 5000 + contact, 'journey', 2, 1, contact::text, 'treatment', 'treatment', 1, 0.7, min(at), min(run), 2, min(run), 0, 0, 0 FROM news GROUP BY contact;
INSERT INTO journey_state.enrollment (slice, contact, enrollment_id, journey_id, version_id, key, ordinal, ghost, exposure_id, event_id, event_at, entered_at, status, ended_at, end_reason)
	SELECT slice, contact, run, 2, 2, '', ordinal, false, 5000 + contact, run, at, at, 'completed', at, 'completed' FROM news;
INSERT INTO journey_state.transition SELECT contact, run * 10 + s.n, at, run, 2, s.step_no, s.cause FROM news, (VALUES (1, 1, 'entry'), (3, 0, 'completed')) AS s (n, step_no, cause);
INSERT INTO journey_state.verdict SELECT contact, run * 10 + 2, at, run, 2, 1, 1, false, true, 'decide', 'sent', NULL, NULL, message_id, '{}' FROM news;
INSERT INTO journey_state.message (slice, contact, message_id, decided_at, idempotency_key, enrollment_id, journey_id, version_id, step_no, visit, channel, template, topic, class, counts, priority, since, expires_at, status, attempt, claimed_at, relay, finished_at)
	SELECT slice, contact, message_id, at, 'news-' || message_id, run, 2, 2, 1, 1, 'email', 'news', 'promotions', 'promotional', true, 50, at, at + interval '1 day', 'sent', 1, at, 'r1', at FROM news;
INSERT INTO journey_state.receipt
	SELECT contact, message_id * 100 + r.n, claimed_at + r.after, message_id, 1, r.kind, 'r1', r.code, r.response
	FROM journey_state.message, (VALUES (1, interval '0', 'claimed', NULL, NULL), (2, '1 minute', 'sent', '250', '2.0.0 OK')) AS r (n, after, kind, code, response) WHERE status = 'sent'
	UNION ALL SELECT 6, 6990, '2026-01-05 20:00', 62, 1, 'clicked', 'r1', NULL, NULL;
INSERT INTO journey_state.consent_log SELECT i, i, 'email', 'promotions', true, 'checkout', '2026-01-01', 'shop' FROM generate_series(1, 12) AS i WHERE i <> 9;
INSERT INTO journey_state.consent SELECT contact, channel, topic, granted, source, at, consent_id FROM journey_state.consent_log;
\set ECHO all
\set QUIET off
