/*
 * second_purchase: turn a first order into a second one.
 *
 * Most customers of a shop buy once.  A week after the first order comes an
 * introduction, two weeks later a reason to return; whoever orders meanwhile
 * leaves at once.  One customer in ten is held out, so that the difference the
 * two mails make is measured and not assumed.
 *
 * Needs: channel email; event order_placed with property total; columns id and
 * created_at of the order table shop.orders, for "is this the first order?".
 */
SELECT journey.create_template('second_purchase', channel => 'email',
	subject => 'How did you like your first order?',
	body => $$Dear customer,

thank you for your first order with us. Here is what others chose next:
https://shop.example/next

Your shop$$);

SELECT journey.create_template('second_purchase_offer', channel => 'email',
	subject => 'Free delivery on your second order',
	body => $$Dear customer,

your second order travels free of charge until the end of next week:
https://shop.example/welcome-back

Your shop$$);

SELECT journey.create_journey('second_purchase', $$
  ON EVENT order_placed WHERE NOT EXISTS (SELECT FROM shop.orders o
                                          WHERE o.customer_id = c.id AND o.created_at < event.at)
  REENTRY NEVER
  EXIT ON order_placed
  GOAL order_placed WITHIN '60 days' VALUE (event.properties->>'total')::numeric
  HOLDOUT 10%
  TOPIC promotions

  WAIT '7 days';
  <<introduction>>
  SEND email second_purchase;
  WAIT '14 days';
  <<offer>>
  SEND email second_purchase_offer PRIORITY 60;
$$);

SELECT journey.activate('second_purchase');
