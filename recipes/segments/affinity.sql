/*
 * affinity: what somebody likes, from what was bought and looked at.
 *
 * Reads: orders, order_items, products, events viewed.
 * Exact: a change of an item or of a product leads to the customers who bought
 * it, through order_items and orders.
 */

-- at least half of a year's money went there
SELECT journey.create_segment('likes_tea', $$
  (SELECT sum(i.quantity * i.price) FILTER (WHERE p.category = 'tea') >= 0.5 * sum(i.quantity * i.price)
   FROM orders o JOIN order_items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id
   WHERE o.customer_id = c.id AND o.created_at > now() - interval '1 year')
$$);

SELECT journey.create_segment('likes_aurora', $$
  (SELECT count(DISTINCT o.id)
   FROM orders o JOIN order_items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id
   WHERE o.customer_id = c.id AND p.brand = 'Aurora' AND o.created_at > now() - interval '1 year') >= 2
$$);

-- four of five pieces were bought below their list price
SELECT journey.create_segment('price_sensitive', $$
  (SELECT sum(i.quantity) >= 3 AND sum(i.quantity) FILTER (WHERE i.price < p.price) >= 0.8 * sum(i.quantity)
   FROM orders o JOIN order_items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id
   WHERE o.customer_id = c.id)
$$);

-- looked at a category three times in a week and has not ordered from it in that time
SELECT journey.create_segment('browsed_tea', $$
  (SELECT count(*) FROM journey_state.event e
   WHERE e.contact = c.id AND e.name = 'viewed' AND e.properties->>'category' = 'tea' AND e.at > now() - interval '7 days') >= 3
  AND NOT EXISTS (SELECT FROM orders o JOIN order_items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id
                  WHERE o.customer_id = c.id AND p.category = 'tea' AND o.created_at > now() - interval '7 days')
$$);
