/*
 * one_a_day: one message a day, and the one that matters.
 *
 * At most one message in each day of the customer's calendar, whatever the journey
 * and the channel; what is about an order (topic service) neither counts nor waits.
 * The cap looks six hours ahead: a digest does not take the day's only place while a
 * cart reminder is due within that time.  It waits for the next day, and after
 * three days it is left out.  Waiting raises its priority by a point an hour
 * (pg_journey.priority_step), so that nothing waits for ever behind others.  A new day
 * begins at midnight; that nothing goes before eight is for the quiet hours to say.
 *
 * Needs: channel email; events checkout_started with properties cart_id and total,
 * order_placed, and digest_ready for each customer.
 */
SELECT journey.create_quiet_hours('nights', '21:00', '08:00');
SELECT journey.create_cap('one_a_day', 1, calendar => 'day', look_ahead => '6 hours');

SELECT journey.create_template('day_digest', channel => 'email',
	subject => 'Your digest',
	body => $$Dear customer,

what you follow, in one page:
https://shop.example/digest

Your shop$$);

SELECT journey.create_template('day_cart', channel => 'email',
	subject => 'Your cart is waiting',
	body => $$Dear customer,

you left something in your cart. It is still there:
https://shop.example/cart/{{ event.properties.cart_id }}

Your shop$$);

SELECT journey.create_journey('digest', $$
  ON EVENT digest_ready
  TOPIC promotions
  PRIORITY 20

  SEND email day_digest WHEN CAPPED DEFER WITHIN '3 days' EXPIRES '3 days';
$$);

SELECT journey.create_journey('one_a_day', $$
  ON EVENT checkout_started WHERE (event.properties->>'total')::numeric > 0
  KEY event.properties->>'cart_id'
  EXIT ON order_placed
  TOPIC promotions
  PRIORITY 80

  WAIT '1 hour' SINCE LAST checkout_started;
  SEND email day_cart WHEN CAPPED DEFER EXPIRES '1 day';
$$);

SELECT journey.activate('digest');
SELECT journey.activate('one_a_day');
