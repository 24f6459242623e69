/*
 * win_back_capped: write to lapsed customers, but never at the cost of anything else.
 *
 * Nobody gets more than two mails in seven days, over all journeys.  The win-back has
 * the lowest priority: when its turn comes and the week is full, it waits for the
 * first moment at which there is room again, for at most five days; else it is left
 * out and the run goes on.  The offer at the end does not wait: who is mailed so much
 * that there is no room for it has not lapsed, and the run ends.
 *
 * An order at any moment, also while a message waits for room, ends the run.
 *
 * Needs: channel email; event order_placed; column customer_id and created_at of the
 * order table shop.orders.
 */
SELECT journey.create_cap('mails_a_week', 2, per => '7 days', channels => ARRAY['email'], look_ahead => '6 hours');

SELECT journey.create_segment('lapsed_customers',
	$$ (SELECT max(o.created_at) FROM shop.orders o WHERE o.customer_id = c.id) < now() - interval '60 days' $$);

SELECT journey.create_template('win_back_hello', channel => 'email',
	subject => 'We have not seen you for a while',
	body => $$Dear customer,

this is new since your last visit:
https://shop.example/new

Your shop$$);

SELECT journey.create_template('win_back_last', channel => 'email',
	subject => '10 % off, this week',
	body => $$Dear customer,

come back this week and take 10 % off:
https://shop.example/come-back

Your shop$$);

SELECT journey.create_journey('win_back_capped', $$
  ON ENTER SEGMENT lapsed_customers
  EXIT ON LEAVE SEGMENT lapsed_customers
  GOAL order_placed WITHIN '30 days' VALUE (event.properties->>'total')::numeric
  TOPIC promotions
  PRIORITY 5

  WAIT UNTIL '10:00' ON tue, wed, thu;
  <<hello>>
  SEND email win_back_hello WHEN CAPPED DEFER WITHIN '5 days' EXPIRES '7 days';
  WAIT '14 days';
  <<last>>
  SEND email win_back_last WHEN CAPPED EXIT EXPIRES '2 days';
$$);

SELECT journey.activate('win_back_capped');
