/*
 * holds: what is not sent while something else is going on.
 *
 * While a case of the customer is open (a complaint, a refund, a lost parcel), marketing
 * waits: it goes when the case is closed, if it has not expired by then.
 *
 * Who has lapsed is woken up, and for the 30 days from then on gets nothing promotional
 * from other journeys.
 *
 * Who got the thanks for an order in the last two days gets no reminder of another cart.
 *
 * Needs: channel email; events order_placed, checkout_started with property cart_id;
 * lapsed; case_opened and case_closed, recorded by the help desk with journey.track().
 */
SELECT journey.create_template('hold_thanks', channel => 'email', subject => 'Thank you', body => 'Your order is on its way.');
SELECT journey.create_template('hold_cart', channel => 'email', subject => 'Your cart', body => 'You left something in your cart.');
SELECT journey.create_template('hold_wake_up', channel => 'email', subject => 'We miss you', body => 'Here is 20 % off.');

SELECT journey.create_journey('hold_thanks', $$
  ON EVENT order_placed
  KEY event.properties->>'number'
  TOPIC promotions
  SEND email hold_thanks EXPIRES '2 days';
$$);

SELECT journey.create_journey('hold_cart', $$
  ON EVENT checkout_started
  KEY event.properties->>'cart_id'
  EXIT ON order_placed
  TOPIC promotions
  WAIT '1 hour';
  SEND email hold_cart EXPIRES '12 hours';
$$);

SELECT journey.create_journey('hold_wake_up', $$
  ON EVENT lapsed
  REENTRY AFTER '180 days'
  TOPIC promotions
  SEND email hold_wake_up EXPIRES '2 days';
  WAIT '10 days';
  SEND email hold_wake_up EXPIRES '2 days';
$$);

SELECT journey.activate(name) FROM unnest(ARRAY['hold_thanks', 'hold_cart', 'hold_wake_up']) AS name;

-- a case was opened, and not closed since
SELECT journey.create_segment('open_case', $$
  (SELECT max(o.at) FROM journey_state.event o WHERE o.contact = c.id AND o.name = 'case_opened' AND o.at <= now())
  > COALESCE((SELECT max(d.at) FROM journey_state.event d WHERE d.contact = c.id AND d.name = 'case_closed' AND d.at <= now()), '-infinity')
$$);
SELECT journey.create_hold('open_case', segment => 'open_case');
SELECT journey.create_hold('wake_up', journey => 'hold_wake_up', lasting => '30 days', action => 'skip', classes => '{promotional}');

-- the cap is about reminders of carts, and counts the thanks
SELECT journey.create_cap('no_cart_after_thanks', 1, '2 days', journeys => '{hold_cart}', counts_journeys => '{hold_thanks}');
