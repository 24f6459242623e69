/*
 * rfm: classes of recency, frequency and monetary value by given thresholds.
 *
 * Reads: orders, journey_state.rfm_segment (the classes' names, yours to change).
 * Exact: the score of recency falls when the clock says so.  Quintiles would not
 * be: there, everybody's class hangs on everybody's orders; see
 * journey.rfm() for those, and value.sql for how to make a segment of such.
 *
 * Thresholds stand in one place, this function, which segments look into.  After
 * a change of it, journey.alter_segment() or a new segment takes it in.
 * journey.rfm(method => 'threshold', ...) with the same ones gives everybody's.
 */
CREATE FUNCTION rfm_class_of(customer bigint, at timestamptz) RETURNS text
LANGUAGE sql STABLE
RETURN journey_state.rfm_class(
	journey.rfm_recency((SELECT max(o.created_at) FROM orders o WHERE o.customer_id = customer), '{30 days, 60 days, 120 days, 240 days}', at),
	journey.rfm_score((SELECT count(*) FROM orders o WHERE o.customer_id = customer), '{2, 3, 5, 8}'),
	journey.rfm_score((SELECT sum(o.total) FROM orders o WHERE o.customer_id = customer), '{50, 150, 400, 1000}'));

SELECT journey.create_segment('rfm_champions', $$ rfm_class_of(c.id, now()) = 'champions' $$);
SELECT journey.create_segment('rfm_loyal', $$ rfm_class_of(c.id, now()) = 'loyal' $$);
SELECT journey.create_segment('rfm_new', $$ rfm_class_of(c.id, now()) = 'new' $$);
SELECT journey.create_segment('rfm_cannot_lose', $$ rfm_class_of(c.id, now()) = 'cannot lose' $$);
SELECT journey.create_segment('rfm_at_risk', $$ rfm_class_of(c.id, now()) = 'at risk' $$);
SELECT journey.create_segment('rfm_lost', $$ rfm_class_of(c.id, now()) = 'lost' $$);
