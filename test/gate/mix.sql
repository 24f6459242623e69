-- What has happened in a cycle, and how often, beside verdicts and their reasons.
SELECT 'entry ' || reason, count(*) FROM journey_state.refusal GROUP BY 1
UNION ALL
SELECT 'handed over', count(*) FROM journey_state.message WHERE claimed_at IS NOT NULL
UNION ALL
SELECT 'handed over again', count(*) FROM model.sending WHERE claimed_at > handed_at HAVING count(*) > 0
UNION ALL
SELECT v.verdict || ' after a hand-over', count(*) FROM journey_state.verdict v JOIN model.sending s USING (message_id) WHERE v.stage = 'claim' AND v.at > s.handed_at GROUP BY 1
UNION ALL
SELECT 'taken up after a pause', sum(overdue) FROM model.resumed HAVING sum(overdue) > 0
UNION ALL
SELECT k.what, count(*)
FROM journey_state.verdict v, LATERAL (
	SELECT CASE WHEN v.reason = 'suppressed' THEN 'sunset' ELSE 'held by a segment' END WHERE v.reason IN ('suppressed', 'held') AND v.evidence #>> '{hold,segment}' IS NOT NULL
	UNION ALL
	SELECT CASE WHEN p.best THEN 'BEST OF' ELSE 'FIRST OF' END || ': not the first' FROM journey.step p
	WHERE p.version_id = v.version_id AND p.step_no = v.step_no AND v.evidence #>> '{channels,1,outcome}' = 'chosen'
	UNION ALL
	SELECT 'best time: explored' WHERE (v.evidence #>> '{send_time,explored}')::boolean
	UNION ALL
	SELECT 'best time: ' || (v.evidence #>> '{send_time,source}') WHERE v.evidence #>> '{send_time,source}' IS NOT NULL
	UNION ALL
	SELECT 'cap: of a class of engagement' WHERE v.evidence #> '{engagement,classes}' <> '[]'
	UNION ALL
	SELECT 'cap: ' || u.what FROM jsonb_array_elements(CASE jsonb_typeof(v.evidence -> 'caps') WHEN 'array' THEN v.evidence -> 'caps' END) c,
		LATERAL (VALUES ('a quota', c ? 'class' AND v.reason = 'capped' AND c -> 'count' >= c -> 'limit'), ('overridden', c ? 'overridden'), ('a rival goes first', c ? 'rivals' AND v.reason = 'capped'),
			('a frequency of the contact''s own', c ->> 'name' LIKE 'preference:%' AND v.reason = 'capped' AND c -> 'count' >= c -> 'limit')) u (what, so)
	WHERE u.so
) k (what)
WHERE k.what IS NOT NULL GROUP BY 1
