/*
 * quiet_nights: ask how the order was, but let everybody sleep.
 *
 * The question comes eight hours after the order.  Where that falls between eight in
 * the evening and nine in the morning, by the customer's own clock, it waits for the
 * morning and then goes in the first half hour, not all in one second.  Until it
 * goes it is not decided: who sends the order back at night is not asked.
 *
 * The zone is the customer's own, else that of the country, else the shop's; messages
 * about the order itself (topic service) go at any hour.
 *
 * Needs: channel email; events order_placed and order_returned; a column with the
 * time zone (attach(…, timezone => …)), as far as it is known.
 */
SELECT journey.set_timezone(ARRAY['Europe/London']);
SELECT journey.create_quiet_hours('nights', '20:00', '09:00', action => 'defer', jitter => '30 minutes');

SELECT journey.create_template('how_was_it', channel => 'email',
	subject => 'How was it?',
	body => $$Dear customer,

tell us how your order went, it takes a minute:
https://shop.example/review/{{ event.properties.number }}

Your shop$$);

SELECT journey.create_journey('quiet_nights', $$
  ON EVENT order_placed
  KEY event.properties->>'number'
  LIMIT 1 PER '7 days'
  EXIT ON order_returned
  TOPIC promotions

  WAIT '8 hours';
  <<question>>
  SEND email how_was_it EXPIRES '2 days';
$$);

SELECT journey.activate('quiet_nights');
