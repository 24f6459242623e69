\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
-- When time flips a predicate.  Times of flips were worked out by hand.
SET search_path = shop;
SET client_min_messages = warning;
CREATE TABLE flip (no integer GENERATED ALWAYS AS IDENTITY, zone text, predicate text, at timestamptz, expected timestamptz);
SET TimeZone = 'UTC';
INSERT INTO orders VALUES (1, 1, 10, '2026-01-10 12:00'), (2, 1, 20, '2026-01-31 12:00'), (3, 1, 30, '2026-02-20 12:00'), (4, 2, 40, '2026-01-12');
INSERT INTO carts VALUES (1, 1, 10, '2026-02-01 12:00');
CREATE FUNCTION since(x timestamptz, at timestamptz DEFAULT now()) RETURNS interval IMMUTABLE LANGUAGE sql AS 'SELECT at - x';
CREATE FUNCTION is_past(x timestamptz, at timestamptz DEFAULT now()) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN x < at; END';
CREATE FUNCTION is_past_by_clock(x timestamptz, at timestamptz DEFAULT clock_timestamp()) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN x < at; END';
CREATE INDEX ON orders (customer_id, created_at);
CREATE INDEX ON carts (customer_id);
ANALYZE customers, orders, carts;
INSERT INTO flip (zone, predicate, at, expected) VALUES
-- comparisons with now(), either way round, strict or not
	('UTC', 'now() > timestamptz ''2026-03-01 12:00''', '2026-01-01', '2026-03-01 12:00:00.000001'),
	('UTC', 'now() >= timestamptz ''2026-03-01 12:00''', '2026-01-01', '2026-03-01 12:00'),
	('UTC', 'timestamptz ''2026-03-01 12:00'' > now()', '2026-01-01', '2026-03-01 12:00'),
	('UTC', 'timestamptz ''2026-03-01 12:00'' >= now()', '2026-01-01', '2026-03-01 12:00:00.000001'),
	('UTC', 'now() = timestamptz ''2026-03-01 12:00''', '2026-01-01', '2026-03-01 12:00'),
	('UTC', 'now() = timestamptz ''2026-03-01 12:00''', '2026-03-01 12:00', '2026-03-01 12:00:00.000001'),
	('UTC', 'now() <> timestamptz ''2026-03-01 12:00''', '2026-01-01', '2026-03-01 12:00'),
	('UTC', 'now() > timestamptz ''2026-03-01 12:00''', '2026-03-02', NULL),
	('UTC', 'now() > timestamptz ''infinity''', '2026-03-02', NULL),
	('UTC', 'now() > timestamptz ''-infinity''', '2026-03-02', NULL),
	('UTC', 'now() > NULL', '2026-03-02', NULL),
	('UTC', 'now() BETWEEN timestamptz ''2026-03-01'' AND timestamptz ''2026-04-01''', '2026-01-01', '2026-03-01'),
	('UTC', 'now() BETWEEN timestamptz ''2026-03-01'' AND timestamptz ''2026-04-01''', '2026-03-01', '2026-04-01 00:00:00.000001'),
	('UTC', 'now() IN (timestamptz ''2026-03-01'', timestamptz ''2026-04-01'')', '2026-03-15', '2026-04-01'),
	('UTC', 'now() IS DISTINCT FROM timestamptz ''2026-03-01''', '2026-01-01', '2026-03-01'),
	('UTC', 'now() IS NULL', '2026-01-01', NULL),
	('UTC', 'now() <@ tstzrange(''2026-03-01'', ''2026-04-01'')', '2026-01-01', '2026-03-01'),
	('UTC', 'current_timestamp(0) > timestamptz ''2026-03-01 12:00''', '2026-01-01', '2026-03-01 12:00:00.5'),
-- arguments that are named, and defaults
	('UTC', 'now() - make_interval(days => extract(day FROM now())::integer) > timestamptz ''2026-01-31 12:00''', '2026-02-05', '2026-02-05 12:00:00.000001'),
	('UTC', 'now() - make_interval(0, 0, 0, extract(day FROM now())::integer) > timestamptz ''2026-01-31 12:00''', '2026-02-05', '2026-02-05 12:00:00.000001'),
	('UTC', 'since(x => timestamptz ''2026-01-31 12:00'') > ''2 days''', '2026-01-01', '2026-02-02 12:00:00.000001'),
-- intervals: months are not monotone
	('Europe/London', 'timestamptz ''2026-02-28 11:00+00'' < now() - interval ''1 month''', '2026-03-01 00:00+00', '2026-03-28 11:00:00.000001+00'),
	('Europe/London', 'timestamptz ''2026-02-28 11:00+00'' < now() - interval ''1 month''', '2026-03-28 11:00:00.000001+00', '2026-03-29 00:00+00'),
	('Europe/London', 'timestamptz ''2026-02-28 11:00+00'' < now() - interval ''1 month''', '2026-03-29 00:00+00', '2026-03-29 11:00:00.000001+01'),
	('Europe/London', 'timestamptz ''2026-02-28 11:00+00'' < now() - interval ''1 month''', '2026-03-31 12:00+01', NULL),
	('UTC', 'timestamptz ''2024-02-29 11:00'' + interval ''1 year'' < now()', '2025-01-01', '2025-02-28 11:00:00.000001'),
	('UTC', 'timestamptz ''2024-02-29 11:00'' < now() - interval ''1 year''', '2025-01-01', '2025-03-01 00:00'),
	('UTC', 'timestamptz ''2026-01-31 11:00'' > now() - interval ''1 month''', '2026-02-01', '2026-03-01 00:00'),
	('UTC', 'timestamptz ''2026-01-31 11:00'' >= now() + interval ''1 month''', '2025-12-15', '2025-12-31 11:00:00.000001'),
-- days over changes of the clocks
	('Europe/London', 'timestamptz ''2026-03-28 12:00+00'' < now() - interval ''1 day''', '2026-03-28 13:00+00', '2026-03-29 12:00:00.000001+01'),
	('Europe/London', 'timestamptz ''2026-03-28 12:00+00'' < now() - interval ''24 hours''', '2026-03-28 13:00+00', '2026-03-29 13:00:00.000001+01'),
	('Europe/London', 'timestamptz ''2026-03-29 01:30+01'' < now() - interval ''1 day''', '2026-03-29 12:00+01', '2026-03-30 00:30:00.000001+01'),
	('Europe/London', 'timestamptz ''2026-03-29 01:30+00'' < now() - interval ''1 day''', '2026-03-29 12:00+01', '2026-03-30 01:30:00.000001+01'),
	('Europe/London', 'timestamptz ''2026-03-29 01:30+00'' < now() - interval ''1 day''', '2026-03-30 01:30:00.000001+01', '2026-03-30 02:00+01'),
	('Europe/London', 'timestamptz ''2026-03-29 01:30+00'' < now() - interval ''1 day''', '2026-03-30 02:00+01', '2026-03-30 02:30:00.000001+01'),
	('Europe/London', 'timestamptz ''2026-10-25 01:30+01'' < now() - interval ''1 day''', '2026-10-25 12:00+00', '2026-10-26 01:00+00'),
	('America/New_York', 'timestamptz ''2026-01-15 12:00-05'' < now() - interval ''90 days''', '2026-02-01', '2026-04-15 12:00:00.000001-04'),
	('Australia/Lord_Howe', 'timestamptz ''2026-04-04 12:00+11'' < now() - interval ''1 day''', '2026-04-04 13:00+11', '2026-04-05 12:00:00.000001+10:30'),
	('Pacific/Apia', 'timestamptz ''2011-12-29 12:00-10'' < now() - interval ''1 day''', '2011-12-29 13:00-10', '2011-12-31 00:00+14'),
	('Pacific/Apia', 'date ''2011-12-29'' < current_date', '2011-12-29 13:00-10', '2011-12-31 00:00+14'),
	('Africa/Casablanca', 'timestamptz ''2026-02-14 12:00+01'' < now() - interval ''1 day''', '2026-02-14 13:00+01', '2026-02-15 12:00:00.000001+00'),
	('Europe/London', 'timestamptz ''2045-03-25 12:00+00'' < now() - interval ''1 day''', '2045-03-25 13:00+00', '2045-03-26 12:00:00.000001+01'),
-- differences
	('UTC', 'now() - timestamptz ''2026-01-31 11:00'' > interval ''1 month''', '2026-02-01', '2026-03-02 11:00:00.000001'),
	('UTC', 'now() - timestamptz ''2026-01-31 11:00'' >= interval ''30 days''', '2026-02-01', '2026-03-02 11:00'),
	('Europe/London', 'timestamptz ''2026-03-29 12:00+01'' - now() < interval ''1 day''', '2026-03-01', '2026-03-28 11:00:00.000001+00'),
	('UTC', 'interval ''36 hours'' < now() - timestamptz ''2026-01-31 11:00''', '2026-01-01', '2026-02-01 23:00:00.000001'),
	('UTC', 'extract(day FROM now() - timestamptz ''2026-01-01 10:00'') >= 30', '2026-01-02', '2026-01-31 10:00'),
	('UTC', 'extract(epoch FROM now() - timestamptz ''2026-01-01 10:00'') / 3600 >= 100', '2026-01-02', '2026-01-05 14:00'),
	('UTC', 'date_part(''day'', now() - timestamptz ''2026-01-01 10:00'')::integer % 7 = 0', '2026-01-08 10:00', '2026-01-09 10:00'),
-- age()
	('UTC', 'age(now(), timestamptz ''2026-01-31 11:00'') >= interval ''1 month''', '2026-02-01', '2026-03-01 00:00'),
	('UTC', 'age(timestamptz ''2025-06-15 11:00'') > interval ''1 year''', '2026-01-01', '2026-06-16 00:00'),
	('UTC', 'extract(year FROM age(timestamptz ''2008-02-29'')) >= 18', '2026-01-01', '2026-03-01 00:00'),
	('Europe/London', 'age(timestamptz ''2026-03-01 00:00+00'') >= interval ''1 month''', '2026-03-10', '2026-03-31 00:00+01'),
-- dates
	('Europe/London', 'date ''2026-03-29'' < current_date', '2026-03-01', '2026-03-30 00:00+01'),
	('Europe/London', 'current_date - date ''2026-03-20'' >= 10', '2026-03-21', '2026-03-30 00:00+01'),
	('Europe/London', 'timestamptz ''2026-03-29 12:00+01'' < current_date - 7', '2026-03-01', '2026-04-06 00:00+01'),
	('Europe/London', 'timestamp ''2026-03-29 01:30'' < localtimestamp', '2026-03-01', '2026-03-29 02:00+01'),
	('Europe/London', 'timestamp ''2026-10-25 01:30'' < localtimestamp', '2026-10-01', '2026-10-25 01:30:00.000001+01'),
	('Europe/London', 'timestamp ''2026-10-25 01:30'' < localtimestamp', '2026-10-25 01:45+01', '2026-10-25 01:00+00'),
	('Europe/London', 'current_date + time ''09:00'' <= now()', '2026-03-28 10:00+00', '2026-03-29 00:00+00'),
	('Europe/London', 'current_date + time ''09:00'' <= now()', '2026-03-29 00:00+00', '2026-03-29 09:00+01'),
	('UTC', 'current_date = ANY (ARRAY[date ''2026-02-03'', ''2026-04-05''])', '2026-02-03 05:00', '2026-02-04'),
-- truncation, fields, formats
	('Europe/London', 'date_trunc(''month'', now()) > timestamptz ''2026-03-15''', '2026-03-20', '2026-04-01 00:00+01'),
	('Europe/London', 'timestamptz ''2026-03-15'' >= date_trunc(''week'', now()) - interval ''7 days''', '2026-03-20', '2026-03-23 00:00+00'),
	('UTC', 'date_trunc(''quarter'', now(), ''America/New_York'') > timestamptz ''2026-01-02''', '2026-01-03', '2026-04-01 00:00-04'),
	('UTC', 'extract(month FROM date ''1980-02-29'') = extract(month FROM now())', '2026-03-05', '2027-02-01'),
	('UTC', 'extract(month FROM date ''1980-02-29'') = extract(month FROM now())', '2027-02-01', '2027-03-01'),
	('UTC', 'extract(isodow FROM now()) >= 6', '2026-01-05', '2026-01-10'),
	('Asia/Kolkata', 'extract(hour FROM now()) >= 9', '2026-01-05 00:00+00', '2026-01-05 03:30+00'),
	('UTC', 'to_char(now(), ''MM-DD'') = ''02-29''', '2026-01-01', '2028-02-29'),
	('America/New_York', 'now()::time BETWEEN ''09:00'' AND ''17:00''', '2026-03-08 01:00-05', '2026-03-08 09:00-04'),
	('UTC', '(now() AT TIME ZONE ''America/New_York'')::date > date ''2026-03-08''', '2026-03-01', '2026-03-09 00:00-04'),
	('UTC', 'make_date(extract(year FROM now())::integer, 7, 4) = current_date', '2026-01-01', '2026-07-04'),
-- AND, OR, NOT, CASE and the like
	('UTC', 'now() > timestamptz ''2026-03-01'' AND now() < timestamptz ''2026-04-01''', '2026-01-01', '2026-03-01 00:00:00.000001'),
	('UTC', 'now() > timestamptz ''2026-03-01'' OR now() < timestamptz ''2026-02-01''', '2026-01-15', '2026-02-01'),
	('UTC', 'c.id = 2 AND now() > timestamptz ''2026-03-01''', '2026-01-01', NULL),
	('UTC', 'c.id = 1 OR now() > timestamptz ''2026-03-01''', '2026-01-01', NULL),
	('UTC', 'NOT (c.tz IS NULL AND now() > timestamptz ''2026-03-01'')', '2026-01-01', NULL),
	('UTC', 'CASE WHEN now() > timestamptz ''2026-03-01'' THEN now() < timestamptz ''2026-04-01'' ELSE false END', '2026-01-01', '2026-03-01 00:00:00.000001'),
	('UTC', 'CASE WHEN now() > timestamptz ''2026-03-01'' THEN now() < timestamptz ''2026-04-01'' ELSE false END', '2026-03-02', '2026-04-01'),
	('UTC', 'CASE WHEN c.id > 1 THEN now() > timestamptz ''2026-03-01'' + interval ''1 day'' / (c.id - 1) ELSE now() > timestamptz ''2026-05-01'' END', '2026-01-01', '2026-05-01 00:00:00.000001'),
	('UTC', 'now() - CASE c.id WHEN 1 THEN interval ''1 day'' ELSE interval ''2 days'' END > timestamptz ''2026-03-01''', '2026-01-01', '2026-03-02 00:00:00.000001'),
	('UTC', 'CASE c.id WHEN 1 THEN now() ELSE ''2026-01-01'' END > timestamptz ''2026-03-01''', '2026-01-01', '2026-03-01 00:00:00.000001'),
	('UTC', 'coalesce(NULL, now() - interval ''1 day'') > timestamptz ''2026-03-01''', '2026-01-01', '2026-03-02 00:00:00.000001'),
	('UTC', '(now() > timestamptz ''2026-03-01'') IS NOT TRUE', '2026-01-01', '2026-03-01 00:00:00.000001'),
	('UTC', '(now() > timestamptz ''2026-03-01'')::integer = 1', '2026-01-01', '2026-03-01 00:00:00.000001'),
-- rows: customer 1's orders are of 10 January, 31 January and 20 February, the cart of 1 February
	('UTC', 'EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval ''30 days'')', '2026-02-21', '2026-03-22 12:00'),
	('UTC', '(SELECT count(*) FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval ''30 days'') = 1', '2026-03-05', '2026-03-22 12:00'),
	('UTC', '(SELECT max(o.created_at) FROM orders o WHERE o.customer_id = c.id) < now() - interval ''90 days''', '2026-03-01', '2026-05-21 12:00:00.000001'),
	('UTC', '(SELECT sum(o.total) FILTER (WHERE now() - o.created_at < ''10 days'') FROM orders o WHERE o.customer_id = c.id) > 0', '2026-02-21', '2026-03-02 12:00'),
	('UTC', 'c.id IN (SELECT o.customer_id FROM orders o WHERE o.created_at < now() - interval ''40 days'')', '2026-01-11', '2026-02-19 12:00:00.000001'),
	('UTC', 'c.id NOT IN (SELECT o.customer_id FROM orders o WHERE o.created_at < now() - interval ''40 days'')', '2026-01-11', '2026-02-19 12:00:00.000001'),
	('UTC', 'c.id IN (SELECT o.customer_id FROM orders o GROUP BY 1 HAVING max(o.created_at) < now() - interval ''1 month'')', '2026-03-01', '2026-03-20 12:00:00.000001'),
	('UTC', 'EXISTS (SELECT FROM (SELECT o.customer_id, max(o.created_at) AS last FROM orders o GROUP BY 1) s WHERE s.customer_id = c.id AND s.last < now() - interval ''1 month'')', '2026-03-01', '2026-03-20 12:00:00.000001'),
	('UTC', 'EXISTS (SELECT FROM (SELECT o.customer_id, count(*) AS n FROM orders o WHERE o.created_at > now() - interval ''30 days'' GROUP BY 1) s WHERE s.customer_id = c.id AND s.n > 1)', '2026-02-21', '2026-03-02 12:00'),
	('UTC', 'now() - interval ''1 day'' > ANY (SELECT o.created_at FROM orders o WHERE o.customer_id = c.id)', '2026-01-05', '2026-01-11 12:00:00.000001'),
	('UTC', 'EXISTS (SELECT FROM customers e LEFT JOIN carts k ON k.customer_id = e.id AND k.updated_at > now() - interval ''7 days'' WHERE e.id = c.id AND k.id IS NULL)', '2026-02-02', '2026-02-08 12:00'),
	('UTC', 'EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at < (SELECT max(k.updated_at) FROM carts k WHERE k.customer_id = o.customer_id AND k.updated_at < now()))', '2026-01-15', '2026-02-01 12:00:00.000001'),
	('UTC', '(SELECT o.total FROM orders o WHERE o.customer_id = c.id AND o.created_at < now() ORDER BY o.created_at DESC LIMIT 1) = 20', '2026-01-15', '2026-01-31 12:00:00.000001'),
	('UTC', 'EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() UNION ALL SELECT FROM carts k WHERE k.customer_id = c.id AND k.updated_at > now())', '2026-01-15', '2026-02-20 12:00'),
	('UTC', 'EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND c.created_at < now() - interval ''13 months'')', '2026-01-15', '2026-02-01 08:00:00.000001');
-- Checks whenever it is asked to, until the predicate flips.
CREATE FUNCTION next_flip(predicate text, zone text, at timestamptz, OUT flip timestamptz, OUT checks integer) LANGUAGE plpgsql AS $$
DECLARE
	segment integer := journey.create_segment('probe', predicate, timezone => zone, at => '2026-01-01');
	before boolean;
	after boolean;
	next timestamptz;
BEGIN
	IF EXISTS (SELECT FROM journey.segment_part p WHERE p.segment_id = segment AND p.kind = 'opaque') THEN
		RAISE EXCEPTION 'opaque';
	END IF;
	PERFORM set_config('TimeZone', zone, true);
	checks := 0;
	flip := at;
	LOOP
		EXECUTE format('SELECT member, next_check FROM journey_state.segment_%s_check(ARRAY[1], ARRAY[1]::bigint[], ARRAY[$1])', segment) INTO after, next USING flip;
		before := coalesce(before, after);
		EXIT WHEN before <> after;
		flip := next;
		checks := checks + 1;
		EXIT WHEN next IS NULL;
	END LOOP;
	PERFORM journey.drop_segment('probe');
	PERFORM set_config('TimeZone', 'UTC', true);
END
$$;
CREATE TABLE found AS SELECT f.*, n.flip AS found, n.checks FROM flip f, next_flip(f.predicate, f.zone, f.at) n;
SELECT checks, count(*) FROM found GROUP BY 1 ORDER BY 1;
-- none
SELECT no, zone, predicate, at, expected, found, checks FROM found WHERE found IS DISTINCT FROM expected ORDER BY no;

-- what cannot be followed
CREATE FUNCTION opaque(predicate text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	segment integer := journey.create_segment('probe', predicate, at => '2026-01-01');
BEGIN
	RETURN QUERY SELECT p.source || ': ' || p.detail FROM journey.segment_part p WHERE p.segment_id = segment AND p.kind = 'opaque' ORDER BY p.part_no;
	PERFORM journey.drop_segment('probe');
END
$$;
SELECT opaque('length(now()::text) > 5');
SELECT opaque('(SELECT max(now() - o.created_at) FROM orders o WHERE o.customer_id = c.id) > ''1 day''');
SELECT opaque('EXISTS (SELECT FROM generate_series(c.created_at, now(), ''1 day''))');
SELECT opaque('(SELECT o.total FROM orders o WHERE o.customer_id = c.id ORDER BY now() - o.created_at LIMIT 1) > 5');
SELECT opaque('(now() - c.created_at) * 2 > ''1 year''');
SELECT opaque('EXISTS (WITH RECURSIVE r AS (SELECT o.created_at FROM orders o WHERE o.customer_id = c.id UNION SELECT created_at + interval ''1 day'' FROM r WHERE created_at < now()) SELECT FROM r)');
SELECT opaque('is_past(c.created_at)');
SELECT opaque('is_past_by_clock(c.created_at)');

-- programs are checked
SELECT journey._flip('(< timestamp_cmp now', now(), 1);
SELECT journey._flip('(< no_such_function now now)', now());
SELECT journey._flip('(< timestamp_cmp now $7)', now());
