\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
--
-- WAIT UNTIL '09:00': the contact's own clock
--
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT journey.create_journey('clock', $$
ON CALL
KEY event.properties->>'key'
<<morning>> WAIT UNTIL '09:00';
<<night>> WAIT UNTIL '02:30';
<<weekend>> WAIT UNTIL '00:00' ON sat, sun;
<<late>> WAIT UNTIL '23:45' ON wed;
$$, at => '2026-01-01');
SELECT journey.activate('clock');

-- when each run left each wait, and the shop's own calculation of it: the first quarter of an hour of a day at which the clock shows
-- the time or more, on a day of the week that was asked for, not before the arrival
CREATE FUNCTION shop.clock(at timestamptz, tz text, local time, days integer[]) RETURNS timestamptz
STABLE LANGUAGE sql AS $$
	SELECT min(first) FROM (
		SELECT (u AT TIME ZONE tz)::date AS day, min(u) AS first
		FROM generate_series(date_trunc('hour', at) - interval '2 days', at + interval '9 days', interval '15 minutes') AS u
		WHERE (u AT TIME ZONE tz)::time >= local AND extract(isodow FROM u AT TIME ZONE tz) = ANY (days)
		GROUP BY 1) AS d
	WHERE first >= at AND day > (at AT TIME ZONE tz)::date - 1
$$;
CREATE VIEW shop.waits AS
	SELECT e.contact, e.key, c.tz, t.step_no, t.at AS arrived, lead(t.at) OVER (PARTITION BY e.enrollment_id ORDER BY t.at, t.step_no) AS left_at
	FROM journey_state.transition t JOIN journey_state.enrollment e USING (enrollment_id) JOIN shop.customers c ON c.id = e.contact;

UPDATE shop.customers SET tz = z.tz FROM (VALUES (1, 'Europe/London'), (2, 'America/New_York'), (3, 'Australia/Lord_Howe'), (4, 'Pacific/Kiritimati'),
	(5, 'America/Santiago'), (6, 'Africa/Casablanca'), (7, 'Asia/Kathmandu'), (8, 'UTC')) AS z (id, tz) WHERE customers.id = z.id;
-- on an ordinary day, at the very instant, and around the nights when clocks change
SELECT count(journey.enroll('clock', c.id, d.no::text, d.at))
FROM shop.customers c, (VALUES (1, '2026-01-14 08:59:59.999999+00'::timestamptz), (2, '2026-01-14 09:00+00'), (3, '2026-03-07 12:00+00'), (4, '2026-03-28 20:00+00'),
	(5, '2026-04-04 10:00+00'), (6, '2026-09-05 23:00+00'), (7, '2026-10-24 12:00+00'), (8, '2026-10-31 14:00+00')) AS d (no, at)
WHERE c.id <= 8;
SELECT steps > 0 AS done FROM journey.replay('2026-12-01');
SELECT count(*) AS runs FROM journey_state.enrollment WHERE status = 'completed';
SELECT count(*) AS waits, count(*) FILTER (WHERE left_at IS DISTINCT FROM shop.clock(arrived, tz,
		(ARRAY['09:00', '02:30', '00:00', '23:45'])[step_no]::time,
		(ARRAY['{1,2,3,4,5,6,7}', '{1,2,3,4,5,6,7}', '{6,7}', '{3}'])[step_no]::integer[])) AS wrong
FROM shop.waits WHERE step_no BETWEEN 1 AND 4;
-- a few of them, in words
SELECT tz, key, step_no, arrived AT TIME ZONE tz AS arrived, left_at AT TIME ZONE tz AS left_at, left_at AS utc FROM shop.waits
WHERE (tz, key, step_no) IN (('Europe/London', '1', 1), ('Europe/London', '2', 1), ('Europe/London', '4', 2), ('America/New_York', '3', 2),
	('Australia/Lord_Howe', '5', 2), ('America/Santiago', '6', 3), ('America/New_York', '8', 2))
ORDER BY key, tz;

-- a tick now and then comes to the same moments, as far as it comes to them at all
SELECT journey.create_journey('clock2', $$ON CALL WAIT UNTIL '09:00' ON mon, tue, wed, thu, fri; EXIT;$$, at => '2027-01-01');
SELECT journey.activate('clock2');
SELECT journey.enroll('clock2', 8, at => '2027-01-01 09:00:01+00') > 0 AS enrolled;	-- a Friday
SELECT events, steps FROM journey.tick('2027-01-01 09:00:01+00');
SELECT due_at FROM journey_state.timer WHERE due_at > '2027-01-01';
SELECT steps FROM journey.tick('2027-01-04 08:59:59+00');
SELECT steps FROM journey.tick('2027-01-04 09:00:00+00');
SELECT at, detail FROM journey.explain(8, 'clock2') WHERE what = 'step';

-- a contact's zone counts as it is on arrival; one that is none, and no zone: UTC, or the shop's
UPDATE shop.customers SET tz = 'CET' WHERE id = 9;
UPDATE shop.customers SET tz = NULL WHERE id = 10;
INSERT INTO journey.timezone VALUES ('*', '{Asia/Tokyo,Europe/London}', '2026-01-01');
SELECT journey.create_journey('clock3', $$ON CALL WAIT UNTIL '09:00'; EXIT;$$, at => '2027-01-01');
SELECT journey.activate('clock3');
SELECT count(journey.enroll('clock3', id, at => '2027-02-01 23:00+00')) FROM shop.customers WHERE id IN (9, 10);
SELECT events, steps FROM journey.tick('2027-02-01 23:00+00');
SELECT contact, due_at FROM journey_state.timer WHERE due_at > '2027-02-01' ORDER BY contact;

-- who cannot be read is parked, alone
RESET SESSION AUTHORIZATION;
SET SESSION AUTHORIZATION shop;
CREATE FUNCTION shop.visible(id bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF id = 11 THEN RAISE EXCEPTION 'no row for you'; END IF;
	RETURN true;
END $$;
ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON shop.customers USING (shop.visible(id));
SELECT count(journey.enroll('clock3', x, at => '2027-03-01 23:00+00')) FROM unnest(ARRAY[11, 12]::bigint[]) AS x;
SELECT events FROM journey.tick('2027-03-01 23:00+00');
SELECT contact, status, error FROM journey_state.enrollment WHERE contact IN (11, 12) ORDER BY contact;
