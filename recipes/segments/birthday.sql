/*
 * birthday: everybody whose birthday is this month; enters on the first.
 *
 * Reads: customers.birthday.
 * Exact: the month begins at midnight in the segment's time zone.
 */
SELECT journey.create_segment('birthday_month', $$
  extract(month FROM c.birthday) = extract(month FROM now())
$$, timezone => 'Europe/London');
