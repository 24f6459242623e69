/*
 * best_channel: say what is new where the customer listens, when the customer looks.
 *
 * Of the channels by which somebody can be reached, BEST OF takes the one on which
 * that customer is most likely to click: by the customer's own clicks of the last
 * month and, as long as there are few of those, by everybody's.  AT BEST TIME waits,
 * for at most a day, for the hour in which the customer usually responds; as long as
 * nothing is known of anybody's hours, for ten in the morning.
 *
 * Both are learned once a day by journey.maintain(), or by journey.refresh_engagement().
 *
 * Needs: channels email and sms; an event news_ready for each customer, from
 * journey.track() or a captured table.
 */
SELECT journey.create_template('news', channel => 'email',
	subject => 'New this week',
	body => $$Dear customer,

this came in this week:
https://shop.example/new

Your shop$$);

SELECT journey.create_template('news', channel => 'sms', subject => '', body => 'New this week: https://shop.example/new');

SELECT journey.create_journey('best_channel', $$
  ON EVENT news_ready
  REENTRY AFTER '6 days'
  TOPIC promotions
  PRIORITY 20

  <<news>>
  SEND BEST OF (email, sms) news AT BEST TIME WITHIN '1 day' EXPIRES '2 days';
$$);

SELECT journey.activate('best_channel');
