/*
 * carts: what was put in and not bought.
 *
 * Reads: carts, orders.
 * Exact: who buys leaves with the commit of the order, and is a recent buyer
 * (activity.sql) at the same moment.
 */
SELECT journey.create_segment('cart_abandoners', $$
  EXISTS (SELECT FROM carts k
          WHERE k.customer_id = c.id
            AND k.updated_at <= now() - interval '1 hour' AND k.updated_at > now() - interval '30 days'
            AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at >= k.updated_at))
$$);

SELECT journey.create_segment('cart_over_100', $$
  EXISTS (SELECT FROM carts k
          WHERE k.customer_id = c.id AND k.total >= 100 AND k.updated_at > now() - interval '30 days'
            AND NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at >= k.updated_at))
$$);
