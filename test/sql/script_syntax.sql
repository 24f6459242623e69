\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
--
-- Every clause and every step, and the rows they become
--
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
INSERT INTO journey.channel VALUES ('sms', 'smtp', 'phone', '{}', '2026-01-01');
INSERT INTO journey.template VALUES
	('cart_reminder', 'email', 's', 'b', NULL, '2026-01-01'),
	('cart_offer', 'email', 's', 'b', NULL, '2026-01-01'),
	('cart_sms', 'sms', '', 'b', NULL, '2026-01-01');
SELECT journey.capture('checkout_started', 'shop.carts', contact => 'customer_id', at => 'updated_at');
SELECT journey.capture('order_placed', 'shop.orders', contact => 'customer_id', at => 'created_at');

-- what a version is made of
CREATE VIEW shop.newest AS SELECT max(version_id) AS version_id FROM journey.version;
CREATE VIEW shop.entries AS
	SELECT n.entry_no, n.kind, n.event, x.source AS condition
	FROM shop.newest JOIN journey.entry n USING (version_id)
		LEFT JOIN journey.expression x ON x.version_id = n.version_id AND x.expression_no = n.condition
	ORDER BY entry_no;
CREATE VIEW shop.steps AS
	SELECT step_no AS no, kind, label, s.line, next_step AS next, else_step AS "else", duration, since_event AS since, event,
		of_step AS "of", condition AS x, past_action AS past, channel, template, priority AS prio
	FROM shop.newest JOIN journey.step s USING (version_id) ORDER BY step_no;
CREATE VIEW shop.expressions AS
	SELECT expression_no AS x, line, result, source FROM shop.newest JOIN journey.expression USING (version_id) ORDER BY expression_no;

-- the journey of the README
SELECT journey.create_journey('cart_recovery', $$
  ON EVENT checkout_started WHERE (event.properties->>'total')::numeric > 0
  KEY event.properties->>'cart_id'
  EXIT ON order_placed
  GOAL order_placed WITHIN '7 days' VALUE (event.properties->>'total')::numeric
  HOLDOUT 10%
  TOPIC promotions

  WAIT '1 hour' SINCE LAST checkout_started;          -- each cart change starts the hour again
  <<reminder>>
  SEND email cart_reminder;
  WAIT FOR clicked OF reminder TIMEOUT '23 hours' THEN
    WAIT '1 day';
    SEND email cart_offer PRIORITY 60;
  ELSE
    SEND sms cart_sms EXPIRES '6 hours';
  END WAIT;
$$, at => '2026-01-01');
SELECT * FROM journey.journey;
\x
SELECT version_id, journey_id, version, topic, priority, holdout, holdout_by, key_expression, reentry, reentry_after,
	goal_event, goal_condition, goal_within, goal_value, created_at
FROM journey.version;
\x
SELECT * FROM shop.entries;
SELECT exit_no, event, condition FROM journey.exit_rule;
SELECT * FROM shop.steps;
SELECT * FROM shop.expressions;

-- all other clauses, in another order; keywords in any case; comments
SELECT journey.create_journey('clauses', $$
  exit on order_placed where (event.properties->>'total')::numeric > 100
  Priority 70 topic service
  holdout 0.5 % by c.country
  reentry after '30 days'
  goal order_placed where (event.properties->>'total')::numeric > 1 within '1 mon 2 days'
  on call
  on event checkout_started  /* an /* inner */ comment */
  exit on unsubscribed
  on event order_placed where c.country = 'GB' -- the end
  exit;
$$, at => '2026-01-01');
\x
SELECT version, topic, priority, holdout, holdout_by, key_expression, reentry, reentry_after, goal_event, goal_condition, goal_within, goal_value
FROM shop.newest JOIN journey.version USING (version_id);
\x
SELECT * FROM shop.entries;
SELECT exit_no, event, condition FROM shop.newest JOIN journey.exit_rule USING (version_id) ORDER BY exit_no;
SELECT * FROM shop.steps;
SELECT * FROM shop.expressions;

-- the other ways to say REENTRY
SELECT journey.create_journey('r1', $$ON CALL REENTRY NEVER EXIT;$$);
SELECT reentry FROM shop.newest JOIN journey.version USING (version_id);
SELECT journey.create_journey('r2', $$ON CALL REENTRY ALWAYS EXIT;$$);
SELECT reentry FROM shop.newest JOIN journey.version USING (version_id);
SELECT journey.create_journey('r3', $$ON CALL KEY 'k' REENTRY ONCE PER KEY EXIT;$$);
SELECT reentry FROM shop.newest JOIN journey.version USING (version_id);

-- steps
SELECT journey.create_journey('waits', $$
ON EVENT checkout_started
WAIT '90 minutes';
WAIT (interval '1 hour' * 3);
WAIT UNTIL e.entered_at + interval '2 days';
WAIT UNTIL event.at + interval '3 days' ELSE CONTINUE;
<<too_late>>
WAIT UNTIL '2026-12-24 18:00+00' ELSE SKIP;
SEND email cart_offer EXPIRES '1 day' PRIORITY 10;
WAIT UNTIL current_date + 7 ELSE EXIT;
WAIT FOR order_placed WHERE (event.properties->>'total')::numeric > 10 TIMEOUT '1 day' END WAIT;
WAIT FOR (c.country = 'GB') TIMEOUT '2 days' ELSE EXIT; END WAIT;
WAIT FOR (c.country = 'GB') TIMEOUT '2 days' THEN EXIT; ELSE END WAIT;
WAIT UNTIL now() ELSE SKIP;
$$);
SELECT * FROM shop.steps;
SELECT * FROM shop.expressions;

SELECT journey.create_journey('branches', $$
ON EVENT checkout_started
<<which>>
IF c.country = 'GB' THEN
  SEND email cart_offer;
ELSIF c.country = 'FR' THEN
  IF c.phone IS NULL THEN EXIT; END IF;
  SEND sms cart_sms;
ELSIF c.country = 'DE' THEN
ELSE
  WAIT '1 day';
END IF;
IF true THEN END IF;
WAIT '2 days';
$$);
SELECT * FROM shop.steps;

-- names: keywords where only a name can stand, quotes, folding
SELECT journey.create_journey('names', $$
ON EVENT wait
ON EVENT "Wait"
ON EVENT Where where true
EXIT ON key
GOAL value WITHIN '1 day'
<<if>> SEND EMAIL "cart_offer";
WAIT FOR for OF If TIMEOUT '1 day' END WAIT;
WAIT '1 day' SINCE LAST last;
$$);
SELECT * FROM shop.entries;
SELECT * FROM shop.steps;

-- what a SEND may say, in any order and case; channels to choose from
INSERT INTO journey.template VALUES ('cart', 'email', 's', 'b', NULL, '2026-01-01'), ('cart', 'sms', '', 'b', NULL, '2026-01-01'),
	('of', 'email', 's', 'b', NULL, '2026-01-01'), ('also', 'email', 's', 'b', NULL, '2026-01-01');
CREATE VIEW shop.sends AS
	SELECT step_no AS no, coalesce(channel, array_to_string(channels, ',')) AS channel, best, template, priority AS prio, duration AS expires,
		when_capped AS capped, capped_within AS within, best_time_within AS best_time, also
	FROM shop.newest JOIN journey.step s USING (version_id) WHERE kind = 'send' ORDER BY step_no;
SELECT journey.create_journey('sends', $$
ON CALL
LIMIT 3 PER '1 day'
PRIORITY 40
SEND email cart;
SEND email cart WHEN CAPPED SKIP;
SEND email cart WHEN CAPPED EXIT PRIORITY 1;
SEND email cart EXPIRES '2 days' WHEN CAPPED DEFER;
send Email Cart also when capped defer within '6 hours' priority 99 at best time within '1 day' expires '36 hours';
SEND email cart AT BEST TIME WITHIN '36 hours' EXPIRES '1 day 12 hours';
SEND FIRST OF (sms, email) cart;
<<best>> SEND BEST OF ("email",Sms) cart ALSO WHEN CAPPED EXIT;
WAIT FOR clicked OF best TIMEOUT '1 day' END WAIT;
SEND email "of";
SEND email also ALSO;
$$);
SELECT * FROM shop.sends;
SELECT limit_entries, limit_per FROM shop.newest JOIN journey.version USING (version_id);
-- FIRST OF and BEST OF are no names there; in quotes they are
INSERT INTO journey.channel VALUES ('first', 'smtp', 'email', '{}', '2026-01-01'), ('at', 'smtp', 'email', '{}', '2026-01-01');
INSERT INTO journey.template VALUES ('of', 'first', 's', 'b', NULL, '2026-01-01'), ('best', 'at', 's', 'b', NULL, '2026-01-01'),
	('best', 'first', 's', 'b', NULL, '2026-01-01');
SELECT journey.create_journey('sends', $$ON CALL SEND "first" of; SEND at best AT BEST TIME WITHIN '1 day'; SEND first best; SEND FIRST OF (first, at) best;$$);
SELECT no, channel, best, template, best_time FROM shop.sends;

-- a time of day, and what is none
CREATE VIEW shop.times AS
	SELECT step_no AS no, s.line, local_time, local_days, past_action AS past, x.source
	FROM shop.newest JOIN journey.step s USING (version_id) LEFT JOIN journey.expression x ON x.version_id = s.version_id AND x.expression_no = s.condition
	WHERE kind = 'wait_until' ORDER BY step_no;
SELECT journey.create_journey('times', $$
ON CALL
WAIT UNTIL '09:00';
WAIT UNTIL '9:05' ON Sunday, mon, WED;
wait until '23:59:59' on sat
;
WAIT UNTIL '00:00' -- midnight
;
WAIT UNTIL '2026-12-24 18:00+00' ELSE EXIT;
WAIT UNTIL ('09:00'::time + current_date) AT TIME ZONE 'Europe/London';
$$);
SELECT * FROM shop.times;

-- a topic that makes some of it idle
SELECT journey.create_journey('idle', $$
ON CALL TOPIC service
SEND email cart AT BEST TIME WITHIN '1 day';
SEND email cart WHEN CAPPED DEFER;
SEND email cart;
$$);

-- segments: where an event may stand, ENTER SEGMENT and LEAVE SEGMENT may
INSERT INTO journey.segment (name, predicate, search_path, timezone, refresh_every, level, opaque, status, announce, cost, created_at, changed_at)
SELECT s.name, 'true', '', 'UTC', '1 day', 0, false, 'current', false, 1, '2026-01-01', '2026-01-01' FROM (VALUES ('lapsed'), ('At risk'), ('segment')) AS s (name);
SELECT journey.create_journey('segments', $$
on enter segment Lapsed where c.country = 'GB'
ON LEAVE SEGMENT "At risk"
ON EVENT enter
EXIT ON LEAVE SEGMENT lapsed
EXIT ON ENTER SEGMENT segment WHERE event.at > e.entered_at
EXIT ON leave
GOAL LEAVE SEGMENT lapsed WITHIN '30 days'
<<segment>> SEND email cart_offer;
WAIT '1 day' SINCE LAST ENTER SEGMENT "At risk";
WAIT FOR LEAVE SEGMENT "At risk" WHERE c.country = 'FR' TIMEOUT '1 day' END WAIT;
WAIT FOR enter OF segment TIMEOUT '1 day' END WAIT;
$$);
SELECT * FROM shop.entries;
SELECT exit_no, event, condition FROM shop.newest JOIN journey.exit_rule USING (version_id) ORDER BY exit_no;
SELECT goal_event FROM shop.newest JOIN journey.version USING (version_id);
SELECT * FROM shop.steps;
SELECT journey.diagram('segments');

-- where an expression ends
SELECT journey.create_journey('ends', $q$
ON EVENT checkout_started WHERE CASE WHEN c.country = 'GB' THEN true ELSE false END
KEY 'key; $ EXIT' || $$ WAIT '1 day'; $$ || e'it\'s' || (SELECT max(value) FROM (SELECT 1 AS value) AS x) -- KEY
EXIT ON order_placed WHERE (event.properties->>'limit') IS NULL AND "goal"(1) IS NULL AND event.name = 'x'
WAIT '1 day';
$q$);
CREATE FUNCTION shop.goal(i int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT i';
SET search_path = shop, public;
SELECT journey.create_journey('ends', $q$
ON EVENT checkout_started WHERE CASE WHEN c.country = 'GB' THEN true ELSE false END
KEY 'key; $ EXIT' || $$ WAIT '1 day'; $$ || e'it\'s' || (SELECT max(value) FROM (SELECT 1 AS value) AS x) -- KEY
EXIT ON order_placed WHERE (event.properties->>'limit') IS NULL AND "goal"(1) IS NULL AND event.name = 'x'
WAIT '1 day';
$q$);
RESET search_path;
SELECT * FROM shop.expressions;

-- versions and status
SELECT journey.create_journey('cart_recovery', $$ON CALL WAIT '1 day';$$, at => '2026-01-02');
SELECT name, status, version_id FROM journey.journey WHERE name = 'cart_recovery';
SELECT journey.pause('cart_recovery');
SELECT journey.activate('cart_recovery');
SELECT j.name, j.status, v.version FROM journey.journey j JOIN journey.version v USING (version_id);
SELECT journey.resume('cart_recovery');
SELECT journey.pause('cart_recovery');
SELECT journey.pause('cart_recovery');
SELECT status FROM journey.journey WHERE name = 'cart_recovery';
SELECT journey.resume('cart_recovery');
SELECT journey.drop_journey('cart_recovery');
SELECT status FROM journey.journey WHERE name = 'cart_recovery';
SELECT journey.activate('cart_recovery');
SELECT journey.activate('clausess');
-- the name can be had again; versions go on
SELECT journey.create_journey('cart_recovery', $$ON CALL WAIT '1 day';$$, at => '2026-01-03');
SELECT status, version_id FROM journey.journey WHERE name = 'cart_recovery';
SELECT version, dropped FROM journey.version JOIN journey.journey USING (journey_id) WHERE name = 'cart_recovery' ORDER BY version;

-- names of journeys
SELECT journey.create_journey('Cart', $$ON CALL EXIT;$$);
SELECT journey.create_journey('', $$ON CALL EXIT;$$);
SELECT journey.create_journey('1a', $$ON CALL EXIT;$$);
SELECT journey.create_journey(repeat('a', 64), $$ON CALL EXIT;$$);
SELECT journey.create_journey('a', NULL);

-- only members of the journey owner, and no superuser
RESET SESSION AUTHORIZATION;
SELECT journey.create_journey('x', $$ON CALL EXIT;$$);
CREATE ROLE stranger LOGIN;
GRANT USAGE ON SCHEMA journey TO stranger;
GRANT EXECUTE ON FUNCTION journey.create_journey(text, text, timestamptz), journey.activate(text) TO stranger;
SET SESSION AUTHORIZATION stranger;
SELECT journey.create_journey('x', $$ON CALL EXIT;$$);
SELECT journey.activate('clauses');
RESET SESSION AUTHORIZATION;
DROP OWNED BY stranger;
DROP ROLE stranger;
