SELECT m.contact
FROM journey_state.message m
WHERE m.relay = 'demo' AND m.status = 'sent'
ORDER BY EXISTS (SELECT FROM journey_state.verdict v WHERE v.contact = m.contact AND v.reason = 'capped') DESC,
	(SELECT count(*) FROM journey_state.transition t WHERE t.contact = m.contact), m.contact
LIMIT 1;
