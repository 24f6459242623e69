/*
 * lifecycle: the stages of a customer, from subscriber to lapsed.
 *
 * Nobody is in two of subscriber, first_time, repeat, loyal, vip, at_risk and
 * lapsed: a later stage is asked for by journey.in_segment().  "new" and
 * "advocate" go across.  A journey for each stage starts ON ENTER SEGMENT.
 *
 * Reads: customers.referred_by, orders, consent.
 */
SELECT journey.create_segment('lapsed', $$
  (SELECT max(o.created_at) FROM orders o WHERE o.customer_id = c.id) <= now() - interval '180 days'
$$);

SELECT journey.create_segment('at_risk', $$
  (SELECT max(o.created_at) <= now() - interval '90 days' AND max(o.created_at) > now() - interval '180 days' AND count(*) >= 2
   FROM orders o WHERE o.customer_id = c.id)
$$);

SELECT journey.create_segment('vip', $$
  (SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '1 year') >= 1000
  AND NOT journey.in_segment(c.id, 'lapsed') AND NOT journey.in_segment(c.id, 'at_risk')
$$);

SELECT journey.create_segment('loyal', $$
  (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) >= 4
  AND NOT journey.in_segment(c.id, 'lapsed') AND NOT journey.in_segment(c.id, 'at_risk') AND NOT journey.in_segment(c.id, 'vip')
$$);

SELECT journey.create_segment('repeat', $$
  (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) BETWEEN 2 AND 3
  AND NOT journey.in_segment(c.id, 'lapsed') AND NOT journey.in_segment(c.id, 'at_risk') AND NOT journey.in_segment(c.id, 'vip')
$$);

SELECT journey.create_segment('first_time', $$
  (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) = 1
  AND NOT journey.in_segment(c.id, 'lapsed') AND NOT journey.in_segment(c.id, 'vip')
$$);

-- has agreed to be written to, and has not bought anything
SELECT journey.create_segment('subscriber', $$
  EXISTS (SELECT FROM journey_state.consent k WHERE k.contact = c.id AND k.granted)
  AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id)
$$);

SELECT journey.create_segment('new', $$
  (SELECT min(o.created_at) FROM orders o WHERE o.customer_id = c.id) > now() - interval '30 days'
$$);

-- somebody came through them and bought
SELECT journey.create_segment('advocate', $$
  EXISTS (SELECT FROM customers friend JOIN orders o ON o.customer_id = friend.id WHERE friend.referred_by = c.id)
$$);
