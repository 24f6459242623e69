/*
 * tiers: silver and gold by a year's revenue, thresholds in a table.
 *
 * Reads: orders, loyalty_tier, which it makes.  A changed threshold concerns
 * everybody: all contacts are looked at again, in the background.
 */
CREATE TABLE loyalty_tier
(
	name			text		PRIMARY KEY,
	revenue_from	numeric		NOT NULL
);
INSERT INTO loyalty_tier VALUES ('silver', 10000), ('gold', 30000);

SELECT journey.create_segment('tier_gold', $$
  (SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '1 year')
  >= (SELECT t.revenue_from FROM loyalty_tier t WHERE t.name = 'gold')
$$);

SELECT journey.create_segment('tier_silver', $$
  (SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '1 year')
  >= (SELECT t.revenue_from FROM loyalty_tier t WHERE t.name = 'silver')
  AND NOT journey.in_segment(c.id, 'tier_gold')
$$);
