/*
 * engagement: who reacts to what we send.
 *
 * Reads: events sent, opened and clicked, which relays report, with the number of
 * the message in their properties; events viewed; orders.
 * Exact. An open is a weak sign (mail programs open by themselves); prefer clicks
 * where there are enough.
 */

-- opened at least three of the last ten messages
SELECT journey.create_segment('engagers', $$
  (SELECT count(*)
   FROM (SELECT s.properties->>'message_id' AS message_id FROM journey_state.event s
         WHERE s.contact = c.id AND s.name = 'sent'
         ORDER BY s.at DESC, s.event_id DESC LIMIT 10) AS latest
   WHERE EXISTS (SELECT FROM journey_state.event o
                 WHERE o.contact = c.id AND o.name = 'opened' AND o.properties->>'message_id' = latest.message_id)) >= 3
$$);

SELECT journey.create_segment('highly_engaged', $$
  (SELECT count(*) FROM journey_state.event e
   WHERE e.contact = c.id AND e.name IN ('clicked', 'viewed') AND e.at > now() - interval '30 days') >= 5
$$);

SELECT journey.create_segment('engaged_not_converted', $$
  (journey.in_segment(c.id, 'engagers') OR journey.in_segment(c.id, 'highly_engaged'))
  AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '90 days')
$$);
