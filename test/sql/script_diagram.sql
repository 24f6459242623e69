\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
--
-- Journeys as Mermaid flowcharts
--
SET client_min_messages = warning;
INSERT INTO journey.channel VALUES ('email', 'smtp', 'email', '{}', '2026-01-01');
INSERT INTO journey.template VALUES ('hello', 'email', 's', 'b', NULL, '2026-01-01');
\pset format unaligned
\pset tuples_only on
SELECT journey.create_journey('welcome', $$
ON EVENT checkout_started WHERE (event.properties->>'total')::numeric > 0
ON CALL
WAIT '1 hour' SINCE LAST checkout_started;
<<hello>>
SEND email hello;
WAIT FOR clicked OF hello TIMEOUT '2 days' THEN
  EXIT;
ELSE
  WAIT FOR (c.country = 'GB') TIMEOUT '1 day' END WAIT;
END WAIT;
IF c.country = 'GB' THEN
  WAIT (interval '1 day');
ELSIF c.country = 'FR' THEN
  WAIT UNTIL e.entered_at + interval '3 days' ELSE SKIP;
  SEND email hello;
ELSE
  WAIT UNTIL now() ELSE EXIT;
END IF;
$$);
SELECT journey.diagram('welcome');
-- a text from a script is no markup
SELECT journey.create_journey('welcome', $$
ON EVENT "a""]; click e1 ""javascript:alert(1)""" WHERE '<b>"x"|#quot;`y`' = '' AND 'ö' <> 'é'
  AND 'a long text that is cut after sixty characters' IS NOT NULL
EXIT;
$$);
SELECT journey.diagram('welcome');
-- choices, and times of day
INSERT INTO journey.channel VALUES ('sms', 'smtp', 'phone', '{}', '2026-01-01');
INSERT INTO journey.template VALUES ('hello', 'sms', '', 'b', NULL, '2026-01-01');
SELECT journey.create_journey('choices', $$
ON CALL
WAIT UNTIL '09:00' ON sat, sun;
WAIT UNTIL '18:30:15';
<<first>> SEND FIRST OF (sms, email) hello WHEN CAPPED DEFER WITHIN '2 hours';
SEND BEST OF (email, sms) hello AT BEST TIME WITHIN '1 day';
SEND email hello WHEN CAPPED EXIT;
SEND email hello WHEN CAPPED DEFER;
$$);
SELECT journey.diagram('choices');
SELECT length(journey.diagram('welcome', 1)) > 0;
SELECT journey.diagram('welcome', 3);
SELECT journey.diagram('nothing');
