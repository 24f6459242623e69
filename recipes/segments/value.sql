/*
 * value: by money, absolutely and against the others.
 *
 * Reads: orders.
 * Exact, but for top_tenth: who is in the top tenth hangs on everybody's orders.
 * To look at everybody after every order would be exact and dear; a function
 * that the analysis cannot look into makes the part opaque, and all contacts are
 * looked at again every refresh_every instead.  In between, a customer's own
 * orders count at once, against the limit as it is then.
 */
SELECT journey.create_segment('big_spenders', $$
  (SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id) >= 500
$$);

CREATE FUNCTION revenue_quantile(share double precision) RETURNS numeric
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $body$
BEGIN
	RETURN (SELECT percentile_disc(share) WITHIN GROUP (ORDER BY r.revenue)
			FROM (SELECT sum(o.total) AS revenue FROM orders o GROUP BY o.customer_id) AS r);
END
$body$;

-- in a sub-select of its own it is asked once for many contacts
SELECT journey.create_segment('top_tenth', $$
  (SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id) >= (SELECT revenue_quantile(0.9))
$$, refresh_every => '1 day');

-- high order value, low frequency
SELECT journey.create_segment('rare_but_large', $$
  (SELECT avg(o.total) >= 150 AND count(*) <= 2 FROM orders o
   WHERE o.customer_id = c.id AND o.created_at > now() - interval '1 year')
$$);

SELECT journey.create_segment('discount_only', $$
  (SELECT count(*) >= 2 AND bool_and(o.discount > 0) FROM orders o WHERE o.customer_id = c.id)
$$);

SELECT journey.create_segment('one_time_buyers', $$
  (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) = 1
$$);
