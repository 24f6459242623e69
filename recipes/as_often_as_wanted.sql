/*
 * as_often_as_wanted: write more often to those who read it, and less to those who tire.
 *
 * As a rule at most three mails in seven days.  Who clicks most of them (a rate above
 * 40 %, with a probability of at least 80 %) may get five; whose clicks have fallen by
 * 30 % or more from one month to the next (with the same probability, so that chance
 * alone flags few) gets one in two weeks, until they recover.  Each of the two caps
 * takes the place of the rule for its contacts.  What a contact has asked for in its
 * preferences comes on top of all of them.
 *
 * Responses are learned once a day by journey.maintain(), or by journey.refresh_engagement();
 * as long as nothing is known, the rule is for everybody.
 *
 * Needs: channel email; an event news_ready for each customer, from journey.track() or
 * a captured table.
 */
SELECT journey.create_cap('usual', 3, per => '7 days', channels => ARRAY['email']);
SELECT journey.create_cap('keen', 5, per => '7 days', channels => ARRAY['email'], engagement => 'high', overrides => ARRAY['usual']);
SELECT journey.create_cap('tired', 1, per => '14 days', channels => ARRAY['email'], engagement => 'fatigued', overrides => ARRAY['usual']);

SELECT journey.create_template('daily_news', channel => 'email',
	subject => 'New today',
	body => $$Dear customer,

this came in today:
https://shop.example/new

Your shop$$);

SELECT journey.create_journey('as_often_as_wanted', $$
  ON EVENT news_ready
  TOPIC promotions
  PRIORITY 10

  SEND email daily_news WHEN CAPPED SKIP EXPIRES '12 hours';
$$);

SELECT journey.activate('as_often_as_wanted');
