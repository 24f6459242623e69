-- What is put off: a replay does what ticks at every instant do.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\set night :srcdir '/data/night.sql'
\i :shop
\i :night
\set what 'SELECT contact, j.name AS journey, e.key, step_no, stage, at, verdict, reason, until, v.ghost, message_id IS NOT NULL AS message FROM journey_state.verdict v JOIN journey_state.enrollment e USING (contact, enrollment_id) JOIN journey.journey j USING (journey_id)'
\set runs 'SELECT contact, j.name AS journey, key, e.status, ended_at, end_reason, send_step, send_since, send_due, send_timed, epoch FROM journey_state.enrollment e JOIN journey.journey j USING (journey_id)'
\set steps 'SELECT t.contact, j.name AS journey, e.key, t.at, step_no, cause, due_at FROM journey_state.transition t JOIN journey_state.enrollment e USING (contact, enrollment_id) JOIN journey.journey j USING (journey_id)'
\set ECHO none
\o /dev/null
SELECT format('SELECT journey.tick(%L)', at) FROM generate_series(timestamptz '2026-01-05 00:00', '2026-01-09 00:00', interval '15 minutes') at \gexec
\o
\set ECHO all
SELECT count(*) FILTER (WHERE verdict = 'sent') > 50 AS sent, count(*) FILTER (WHERE verdict = 'deferred') > 50 AS deferred, count(*) FILTER (WHERE verdict = 'withheld') > 0 AS withheld, count(*) FILTER (WHERE reason = 'capped') > 50 AS capped, count(*) FILTER (WHERE reason = 'capped' AND verdict = 'deferred') > 10 AS capped_deferred FROM journey_state.verdict;
SELECT * FROM journey.check('-infinity') WHERE violations > 0;
RESET SESSION AUTHORIZATION;
CREATE TABLE ticked_verdict AS :what;
CREATE TABLE ticked_run AS :runs;
CREATE TABLE ticked_step AS :steps;
\i :shop
\i :night
SELECT messages > 0 AS some FROM journey.replay('2026-01-07 02:07');
SELECT messages > 0 AS some FROM journey.replay('2026-01-09 00:00');
SELECT * FROM journey.check('-infinity') WHERE violations > 0;
RESET SESSION AUTHORIZATION;
(TABLE ticked_verdict EXCEPT ALL :what) UNION ALL (:what EXCEPT ALL TABLE ticked_verdict);
(TABLE ticked_run EXCEPT ALL :runs) UNION ALL (:runs EXCEPT ALL TABLE ticked_run);
(TABLE ticked_step EXCEPT ALL :steps) UNION ALL (:steps EXCEPT ALL TABLE ticked_step);
-- by hand, from the zones alone: nobody gets anything between eight and nine
SELECT count(*) FROM ticked_verdict v JOIN shop.customers c ON c.id = v.contact CROSS JOIN LATERAL (SELECT v.at AT TIME ZONE CASE c.tz WHEN 'no/where' THEN 'UTC' ELSE c.tz END) l (local)
WHERE verdict = 'sent' AND journey <> 'receipt' AND (local::time >= '20:00' OR local::time < '09:00' OR extract(dow FROM local) IN (1, 3) AND local::time >= '12:00' AND local::time < '13:30');
-- and whoever is put off goes, or is asked, at the first minute that is free
SELECT count(*), count(*) FILTER (WHERE v.until = w.free) AS right FROM ticked_verdict v JOIN shop.customers c ON c.id = v.contact
CROSS JOIN LATERAL (SELECT min(m) FROM generate_series(v.at, v.at + interval '1 day', interval '15 minutes') m CROSS JOIN LATERAL (SELECT m AT TIME ZONE CASE c.tz WHEN 'no/where' THEN 'UTC' ELSE c.tz END) l (local)
	WHERE NOT (local::time >= '20:00' OR local::time < '09:00' OR extract(dow FROM local) IN (1, 3) AND local::time >= '12:00' AND local::time < '13:30')) w (free)
WHERE verdict = 'deferred' AND reason = 'quiet_hours';
DROP TABLE ticked_verdict, ticked_run, ticked_step;
-- what a pause held back goes on after a resume, where the replay begins; and so it is forecast
\i :shop
\i :night
SELECT messages > 0 AS some FROM journey.replay('2026-01-05 22:00');
SELECT journey.pause('promo');
SELECT messages > 0 AS some FROM journey.replay('2026-01-07 10:07');
SELECT count(*) > 0 AS held FROM journey_state.held h JOIN journey_state.enrollment e USING (contact, enrollment_id) WHERE e.send_due < '2026-01-07';
SELECT journey.resume('promo');
SELECT sum(messages) > 0 AS goes_on FROM journey.forecast('1 minute', '2026-01-07 10:07') WHERE journey = 'promo';
SELECT messages > 0 AS some FROM journey.replay('2026-01-07 10:14');
SELECT count(*) FROM journey_state.held;
SELECT count(*) > 0 AS taken_up FROM journey_state.verdict v WHERE at = '2026-01-07 10:07';
SELECT * FROM journey.check('-infinity') WHERE violations > 0;
