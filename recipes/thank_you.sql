/*
 * thank_you: thank for a large order, the day after.
 *
 * One run per order; at most one mail a month, whatever the customer buys.
 *
 * Needs: channel email; event order_placed with properties number and total.
 */
SELECT journey.create_template('thank_you', channel => 'email',
	subject => 'Thank you for order {{ event.properties.number }}',
	body => $$Dear customer,

an order like yours is worth more than an automatic receipt. Thank you.
Should anything be amiss with order {{ event.properties.number }}, answer this mail and
somebody who can decide will read it.

Your shop$$);

SELECT journey.create_journey('thank_you', $$
  ON EVENT order_placed WHERE (event.properties->>'total')::numeric >= 1000
  REENTRY AFTER '30 days'
  TOPIC promotions
  PRIORITY 70

  WAIT '1 day';
  <<thanks>>
  SEND email thank_you EXPIRES '3 days';
$$);

SELECT journey.activate('thank_you');
