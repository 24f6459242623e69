/*
 * win_back: write to customers who have not ordered for 60 days.
 *
 * A run starts with an order, and every further order starts its 60 days again.
 * After the first mail it waits two weeks for an order before it sends the second.
 *
 * There is no GOAL: a run's exposure is its start, 60 days before the first
 * mail, and orders of a customer who never lapsed would count.
 *
 * Needs: channel email; event order_placed.
 */
SELECT journey.create_template('win_back', channel => 'email',
	subject => 'We have not seen you for a while',
	body => $$Dear customer,

this is new since your last visit:
https://shop.example/new

Your shop$$);

SELECT journey.create_template('win_back_offer', channel => 'email',
	subject => '10 % off, this week',
	body => $$Dear customer,

come back this week and take 10 % off:
https://shop.example/come-back

Your shop$$);

SELECT journey.create_journey('win_back', $$
  ON EVENT order_placed
  TOPIC promotions

  WAIT '60 days' SINCE LAST order_placed;
  <<reminder>>
  SEND email win_back EXPIRES '7 days';
  WAIT FOR order_placed TIMEOUT '14 days' THEN
    EXIT;
  ELSE
    <<offer>>
    SEND email win_back_offer EXPIRES '7 days';
  END WAIT;
$$);

SELECT journey.activate('win_back');
