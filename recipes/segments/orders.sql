/*
 * orders: what was bought, from where, with which code.
 *
 * Reads: customers.country, orders, order_items, products.
 */
SELECT journey.create_segment('bought_product_7', $$
  EXISTS (SELECT FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.customer_id = c.id AND i.product_id = 7)
$$);

SELECT journey.create_segment('bought_tea', $$
  c.id IN (SELECT o.customer_id FROM orders o JOIN order_items i ON i.order_id = o.id JOIN products p ON p.id = i.product_id
           WHERE p.category = 'tea' AND o.created_at > now() - interval '60 days')
$$);

-- lives there, or has had something sent there
SELECT journey.create_segment('in_france', $$
  c.country = 'FR' OR EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.country = 'FR')
$$);

SELECT journey.create_segment('used_spring_code', $$
  EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND upper(o.promo_code) = 'SPRING26')
$$);
