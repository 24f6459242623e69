/*
 * behaviour: what the web shop records by journey.track().
 *
 * Reads: events downloaded, quiz_finished, page_left with the seconds spent.
 */
SELECT journey.create_segment('downloaded', $$
  EXISTS (SELECT FROM journey_state.event e WHERE e.contact = c.id AND e.name = 'downloaded' AND e.at > now() - interval '30 days')
$$);

SELECT journey.create_segment('quiz_finished', $$
  EXISTS (SELECT FROM journey_state.event e WHERE e.contact = c.id AND e.name = 'quiz_finished')
$$);

-- five minutes on a product page, and no order since
SELECT journey.create_segment('thinking_it_over', $$
  EXISTS (SELECT FROM journey_state.event e
          WHERE e.contact = c.id AND e.name = 'page_left' AND (e.properties->>'seconds')::numeric >= 300
            AND e.at > now() - interval '3 days'
            AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at >= e.at))
$$);
