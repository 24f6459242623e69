/*
 * activity: who did something lately, and who did nothing.
 *
 * Reads: customers.created_at, orders, events viewed, opened, clicked.
 * Exact: a buyer is a recent buyer with the commit of the order, and stops being
 * one thirty days later to the second.
 */
SELECT journey.create_segment('recent_buyers', $$
  EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '30 days')
$$);

SELECT journey.create_segment('active_browsers', $$
  EXISTS (SELECT FROM journey_state.event e
          WHERE e.contact = c.id AND e.name = 'viewed' AND e.at > now() - interval '7 days')
$$);

-- neither bought nor looked for 90 days; who registered since is not inactive yet
SELECT journey.create_segment('inactive', $$
  c.created_at <= now() - interval '90 days'
  AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '90 days')
  AND NOT EXISTS (SELECT FROM journey_state.event e
                  WHERE e.contact = c.id AND e.name = 'viewed' AND e.at > now() - interval '90 days')
$$);

-- nothing heard for three months: months of the calendar, in the segment's time zone
SELECT journey.create_segment('no_interaction', $$
  c.created_at <= now() - interval '3 months'
  AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '3 months')
  AND NOT EXISTS (SELECT FROM journey_state.event e
                  WHERE e.contact = c.id AND e.name IN ('viewed', 'opened', 'clicked') AND e.at > now() - interval '3 months')
$$);
