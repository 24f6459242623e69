/*
 * cart_recovery: remind of a cart that was left behind.
 *
 * Every change of the cart starts the hour again; an order ends the run at once,
 * also between the decision to send and the moment a relay takes the message.
 *
 * Needs: channel email; events checkout_started (of an inserted or updated cart) with
 * properties cart_id and total,
 * and order_placed with property total.
 */
SELECT journey.create_template('cart_reminder', channel => 'email',
	subject => 'Your cart is waiting',
	body => $$Dear customer,

you left something in your cart. It is still there:
https://shop.example/cart/{{ event.properties.cart_id }}

Your shop$$);

SELECT journey.create_template('cart_offer', channel => 'email',
	subject => 'Your cart, delivered free of charge',
	body => $$Dear customer,

until tomorrow your cart travels free of charge:
https://shop.example/cart/{{ event.properties.cart_id }}

Your shop$$);

SELECT journey.create_journey('cart_recovery', $$
  ON EVENT checkout_started WHERE (event.properties->>'total')::numeric > 0
  KEY event.properties->>'cart_id'
  EXIT ON order_placed
  GOAL order_placed WITHIN '7 days' VALUE (event.properties->>'total')::numeric
  HOLDOUT 10%
  TOPIC promotions

  WAIT '1 hour' SINCE LAST checkout_started;
  <<reminder>>
  SEND email cart_reminder EXPIRES '12 hours';
  WAIT '1 day';
  <<offer>>
  SEND email cart_offer PRIORITY 60 EXPIRES '12 hours';
$$);

SELECT journey.activate('cart_recovery');
