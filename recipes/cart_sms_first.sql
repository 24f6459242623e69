/*
 * cart_sms_first: remind of a cart by SMS, of those who want that; of others by mail.
 *
 * FIRST OF asks consent, address and suppression, channel by channel: an SMS goes to
 * those who consented to SMS and have a number to which none has failed.  Who
 * does not come back within a day gets a mail, and only by mail; somebody who
 * was mailed already is not mailed the same again, because it is another template.
 *
 * Needs: channels email and sms; event checkout_started with properties cart_id and
 * total, and order_placed with property total.
 */
SELECT journey.create_template('cart_left', channel => 'sms', subject => '',
	body => 'Your cart is waiting: https://shop.example/cart/{{ event.properties.cart_id }}');

SELECT journey.create_template('cart_left', channel => 'email',
	subject => 'Your cart is waiting',
	body => $$Dear customer,

you left something in your cart. It is still there:
https://shop.example/cart/{{ event.properties.cart_id }}

Your shop$$);

SELECT journey.create_template('cart_help', channel => 'email',
	subject => 'Can we help?',
	body => $$Dear customer,

sizes, delivery, returns: whatever kept you, we have an answer.
https://shop.example/help

Your shop$$);

SELECT journey.create_journey('cart_sms_first', $$
  ON EVENT checkout_started WHERE (event.properties->>'total')::numeric >= 20
  KEY event.properties->>'cart_id'
  LIMIT 2 PER '7 days'
  EXIT ON order_placed
  GOAL order_placed WITHIN '7 days' VALUE (event.properties->>'total')::numeric
  TOPIC promotions
  PRIORITY 70

  WAIT '30 minutes' SINCE LAST checkout_started;
  <<reminder>>
  SEND FIRST OF (sms, email) cart_left EXPIRES '6 hours';
  WAIT FOR clicked OF reminder TIMEOUT '1 day' THEN
    EXIT;
  END WAIT;
  <<help>>
  SEND email cart_help PRIORITY 50 EXPIRES '1 day';
$$);

SELECT journey.activate('cart_sms_first');
