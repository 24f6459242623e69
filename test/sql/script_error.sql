\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
--
-- What is wrong with a script, all at once, with a caret under the first
--
INSERT INTO journey.channel VALUES ('email', 'smtp', 'email', '{}', '2026-01-01'), ('sms', 'smtp', 'phone', '{}', '2026-01-01');
INSERT INTO journey.template VALUES
	('cart_reminder', 'email', 's', 'b', NULL, '2026-01-01'),
	('cart_offer', 'email', 's', 'b', NULL, '2026-01-01'),
	('cart_sms', 'sms', '', 'b', NULL, '2026-01-01');
SELECT journey.capture('checkout_started', 'shop.carts', contact => 'customer_id', at => 'updated_at');
\set try 'SELECT journey.create_journey(''x'', '

-- several kinds together; the expression is the first
:try $$
ON EVENT checkout_started WHERE c.contry = 'GB'
TOPIC promotoins
HOLDOUT 100%
REENTRY AFTER '-1 day'
SEND emial cart_reminder;
<<r>> SEND email cart_remindr;
<<r>> SEND email cart_sms;
WAIT FOR clicked OF q TIMEOUT '0' THEN
  EXIT;
  WAIT '1 day';
END WAIT;
IF c.first_name THEN EXIT; END IF;
$$);

-- syntax errors are reported before anything else; reading goes on after each
:try $$
ON EVENT checkuot_started
SNED email cart_reminder;
WAIT 1 day;
SEND emial cart_reminder PRIORITY high;
IF c.id > 1 SEND email cart_offer; END IF;
$$);

-- nothing, and too little
:try '');
:try $$ -- only a comment
$$);
:try $$ON EVENT checkout_started$$);
:try $$WAIT '1 day';$$);
:try $$ON EVENT checkout_started SEND email cart_reminder$$);
:try $$ON EVENT checkout_started IF true THEN WAIT '1 day';$$);
:try $$ON EVENT WAIT '1 day';$$);
:try $$ON EVENT checkout_started WHERE WAIT '1 day';$$);
:try $$ON EVENT checkout_started WAIT ();$$);
:try $$ON EVENT checkout_started WAIT FOR clicked TIMEOUT '1 day';$$);
:try $$ON EVENT checkout_started WAIT FOR clicked THEN END WAIT;$$);
:try $$ON EVENT checkout_started WAIT UNTIL now() ELSE STOP;$$);
:try $$ON EVENT checkout_started GOAL sent EXIT;$$);
:try $$ON EVENT checkout_started EXIT; END IF;$$);

-- each clause once, and before the steps
:try $$ON EVENT checkout_started
KEY c.id KEY c.id
REENTRY NEVER REENTRY ALWAYS
GOAL sent WITHIN '1 day' GOAL sent WITHIN '2 days'
HOLDOUT 1% HOLDOUT 2%
TOPIC service TOPIC promotions
PRIORITY 1 PRIORITY 2
SEND email cart_offer PRIORITY 1 PRIORITY 2;$$);
:try $$ON EVENT checkout_started WAIT '1 day'; KEY c.id$$);
:try $$ON EVENT checkout_started IF true THEN TOPIC service END IF;$$);

-- numbers and intervals
:try $$ON CALL PRIORITY 101 HOLDOUT 100% SEND email cart_offer PRIORITY 1.5;$$);
:try $$ON CALL HOLDOUT -1% EXIT;$$);
:try $$ON CALL WAIT '0'; WAIT '-1 day'; WAIT '1 month -31 days'; WAIT 'soon'; WAIT '1000 years'; WAIT 'infinity'; WAIT '99999999999 years'; WAIT '1 day -2 hours';$$);
:try $$ON CALL REENTRY ONCE PER KEY EXIT;$$);

-- names
:try $$ON CALL SEND fax cart_offer; SEND email nothing_like_it; SEND sms cart_offer; SEND email cart_ofer;$$);
:try $$ON EVENT journey.call EXIT;$$);
:try $$ON EVENT "journey.call" EXIT ON "journey.retry" EXIT;$$);
:try $$ON CALL <<a>> WAIT '1 day'; WAIT FOR clicked OF a TIMEOUT '1 day' END WAIT; WAIT FOR clicked OF b TIMEOUT '1 day' END WAIT;$$);

-- what a SEND says
INSERT INTO journey.template VALUES ('both', 'email', 's', 'b', NULL, '2026-01-01'), ('both', 'sms', '', 'b', NULL, '2026-01-01');
:try $$ON CALL LIMIT 1 PER '1 day' LIMIT 1 PER '1 day'
SEND email both WHEN CAPPED SKIP WHEN CAPPED EXIT;
SEND email both AT BEST TIME WITHIN '1 day' AT BEST TIME WITHIN '1 day';
SEND email both ALSO ALSO;$$);
:try $$ON CALL LIMIT 0 PER '1 day' EXIT;$$);
:try $$ON CALL LIMIT 1.5 PER 'soon' EXIT;$$);
:try $$ON CALL LIMIT 3 EXIT;$$);
:try $$ON CALL EXIT; LIMIT 3 PER '1 day'$$);
:try $$ON CALL
SEND email both WHEN CAPED SKIP;
SEND email both WHEN CAPPED DEFFER;
SEND email both WHEN CAPPED SKIP WITHIN '1 hour';
SEND email both AT BEST WITHIN '1 day';
SEND email both AT BEST TIME;
SEND email both PRIORTY 3;
SEND email both AND ALSO;
SEND FIRST OF sms, email both;
SEND FRIST OF (sms, email) both;
SEND BEST OF (sms email) both;
SEND BEST OF () both;
SEND FIRST (sms, email) both;
SEND first of;
$$);
:try $$ON CALL
SEND email both WHEN CAPPED DEFER WITHIN '0' AT BEST TIME WITHIN 'today';
SEND email both WHEN CAPPED DEFER WITHIN '25 hours' EXPIRES '1 day';
SEND email both AT BEST TIME WITHIN '2 days' EXPIRES '1 day' WHEN CAPPED DEFER WITHIN '1 day';
SEND FIRST OF (email) both;
SEND BEST OF (email, sms, email) both;
SEND FIRST OF (sms, emial) both;
SEND FIRST OF (sms, email) cart_sms;
SEND FIRST OF (sms, email) bothh;$$);

-- times of day
:try $$ON CALL
WAIT UNTIL '24:00';
WAIT UNTIL '9:60' ON mon;
WAIT UNTIL '9:00pm';
WAIT UNTIL '9:5' ON mon, tues, mon;
WAIT UNTIL '9:00+02' ON weekdays;
WAIT UNTIL '12:00:00.5';$$);
:try $$ON CALL
WAIT UNTIL '09:00' ELSE SKIP;
WAIT UNTIL '09:00' ON;
WAIT UNTIL '09:00' ON mon tue;
WAIT UNTIL now() ON mon;
$$);

-- what can never be reached
:try $$ON CALL EXIT; WAIT '1 day';$$);
:try $$ON CALL IF true THEN EXIT; ELSE EXIT; END IF; WAIT '1 day';$$);
:try $$ON CALL WAIT FOR clicked TIMEOUT '1 day' THEN EXIT; ELSE EXIT; WAIT '1 day'; END WAIT; WAIT '2 days';$$);

-- types
:try $$ON CALL IF 1 THEN EXIT; END IF;
WAIT UNTIL c.country;
WAIT (1);
IF 'maybe' THEN EXIT; END IF;
EXIT;$$);
:try $$ON CALL GOAL sent WITHIN '1 day' VALUE event.properties->>'total' EXIT;$$);

-- segments
INSERT INTO journey.segment (name, predicate, search_path, timezone, refresh_every, level, opaque, status, announce, cost, created_at, changed_at)
SELECT s.name, 'true', '', 'UTC', '1 day', 0, false, 'current', false, 1, '2026-01-01', '2026-01-01' FROM (VALUES ('lapsed'), ('At risk'), ('segment')) AS s (name);
:try $$ON ENTER SEGMENT lapsd
EXIT ON LEAVE SEGMENT "at risk"
GOAL LEAVE SEGMENT nothing_like_it WITHIN '1 day'
WAIT FOR ENTER SEGMENT lapsed TIMEOUT '1 day' END WAIT;$$);
:try $$ON ENTER lapsed EXIT;$$);
:try $$ON EVENT ENTER SEGMENT lapsed EXIT;$$);
:try $$ON CALL WAIT FOR LEAVE SEGMENT lapsed OF a TIMEOUT '1 day' END WAIT;$$);
:try $$ON EVENT "journey.enter:lapsed" EXIT;$$);

-- later releases
:try $$ON DATE c.created_at EXIT;$$);
:try $$ON SCHEDULE '* * * * *' FOR SEGMENT s EXIT;$$);
:try $$ON CALL AUDIENCE c.country = 'GB' EXIT;$$);
:try $$ON CALL EXIT WHEN c.country = 'GB' EXIT;$$);
:try $$ON CALL ACTIVE FROM '2026-01-01' UNTIL '2026-02-01' EXIT;$$);
:try $$ON CALL
SPLIT 50% a THEN EXIT; 50% b THEN EXIT; END SPLIT;
SET x = 1;
TAG t;
UNTAG t;
CALL f(c.id);
START JOURNEY j KEY c.id;
REPEAT WAIT '1 day'; UNTIL true; END REPEAT;
$$);

-- quotes, comments, parentheses that do not end
:try $$ON CALL WAIT '1 day;$$);
:try $$ON CALL WAIT '1 day'; /* $$);
:try $$ON EVENT "checkout EXIT;$$);
:try 'ON CALL KEY $q$ x EXIT;');
:try $$ON CALL KEY (c.id EXIT;$$);
:try $$ON CALL KEY c.id) EXIT;$$);

-- limits
:try repeat('-', 1024 * 1024 + 1));
DO $$
BEGIN
	PERFORM journey.create_journey('deep', 'ON CALL ' || repeat('IF true THEN ', 101) || 'EXIT; ' || repeat('END IF; ', 101));
EXCEPTION WHEN program_limit_exceeded THEN RAISE NOTICE '%', sqlerrm;
END $$;
DO $$
BEGIN
	PERFORM journey.create_journey('deep', 'ON CALL ' || repeat('IF true THEN ', 20000));
EXCEPTION WHEN syntax_error OR program_limit_exceeded THEN RAISE NOTICE '%', sqlerrm;
END $$;
DO $$
BEGIN
	PERFORM journey.create_journey('long', 'ON CALL ' || repeat($s$WAIT '1 day'; $s$, 10001));
EXCEPTION WHEN program_limit_exceeded THEN RAISE NOTICE '%', sqlerrm;
END $$;
DO $$
BEGIN
	PERFORM journey.create_journey('hostile', 'ON CALL KEY ' || repeat('(', 100000) || '1' || repeat(')', 100000) || ' EXIT;');
EXCEPTION WHEN statement_too_complex OR program_limit_exceeded OR out_of_memory OR syntax_error THEN RAISE NOTICE '%', sqlerrm;
END $$;
-- nothing was left behind
SELECT count(*) FROM journey.journey;
SELECT count(*) FROM journey.version;
