-- by journey: runs, by arm; messages; what the gate withheld, and why
SELECT j.name AS journey, runs.treated, runs.held_out, coalesce(sent.messages, 0) AS sent, coalesce(withheld.reasons, '-') AS withheld
FROM journey.journey j
JOIN (
	SELECT journey_id, count(*) FILTER (WHERE NOT ghost) AS treated, count(*) FILTER (WHERE ghost) AS held_out
	FROM journey_state.enrollment GROUP BY journey_id
) AS runs USING (journey_id)
LEFT JOIN (
	SELECT journey_id, count(*) AS messages FROM journey_state.message WHERE status = 'sent' GROUP BY journey_id
) AS sent USING (journey_id)
LEFT JOIN (
	SELECT journey, string_agg(format('%s %s', reason, n), ', ' ORDER BY n DESC, reason) AS reasons
	FROM (
		SELECT journey, reason, sum(verdicts) AS n FROM journey.message_reasons
		WHERE arm = 'treatment' AND verdict = 'withheld' GROUP BY journey, reason
	) AS by_reason GROUP BY journey
) AS withheld ON withheld.journey = j.name
ORDER BY j.journey_id;
