-- Brute force over conditions on time: between an instant and the next check
-- that the analysis asks for, the predicate must not change.  Usage:
--	 psql -v rows=40 -v steps=300 -v seed=0.5 -v every=1 -v verbose= -v shop=test/data/shop.sql -f test/segment/flip.sql
-- rows: contacts with random values; steps: instants looked at for each; every: take every n-th predicate.  Prints
-- the predicates with a flip that came before its check ("late": must be none), and how
-- many checks found a flip ("exact").
\i :shop
SET client_min_messages = warning;
SET search_path = shop, pg_catalog;
SELECT setseed(:seed) \g /dev/null
ALTER TABLE customers ADD x timestamptz, ADD l timestamp, ADD d date, ADD i interval, ADD t time, ADD n integer, ADD z text;

-- Instants near changes of the clocks, ends of months and leap days, and any.
CREATE FUNCTION instant() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
	SELECT base + CASE (random() * 5)::integer WHEN 0 THEN interval '0' WHEN 1 THEN interval '1 microsecond' WHEN 2 THEN -interval '1 microsecond'
			ELSE (random() - 0.5) * interval '3 days' END
		+ ((random() - 0.5) * 6)::integer * CASE (random() * 3)::integer WHEN 0 THEN interval '1 month' WHEN 1 THEN interval '1 day' ELSE interval '1 year' END
	FROM (SELECT ('{2024-03-31 01:00+00,2024-10-27 01:00+00,2025-03-09 07:00+00,2025-11-02 06:00+00,2025-04-05 15:00+00,2025-10-04 15:30+00,2011-12-30 10:00+00,2025-02-23 02:00+00,2025-04-06 02:00+00,2024-02-29 12:00+00,2024-03-31 12:00+00,2025-02-28 00:00+00,2026-01-01 00:00+00,2025-05-31 23:30+00,2040-03-25 01:00+00,2025-07-04 10:15+00}'::timestamptz[])
			[1 + floor(random() * 16)::integer] AS base) AS b
$$;
DELETE FROM customers;
INSERT INTO customers (id, country, x, l, d, i, t, n, z)
	SELECT g, CASE WHEN random() < 0.5 THEN 'GB' ELSE 'FR' END, nullif(instant(), NULL), instant() AT TIME ZONE 'UTC', instant()::date,
		('{1 month,3 months,1 day,90 days,1 year,36:00,00:30,1 mon 1 day,1 mon -3 days 02:00,-1 month,13 months}'::interval[])[1 + floor(random() * 11)::integer],
		(floor(random() * 86400) * interval '1 second')::time, floor(random() * 100)::integer,
		('{UTC,Europe/London,America/New_York,Australia/Lord_Howe,Pacific/Apia,Africa/Casablanca,EST,Asia/Kathmandu}'::text[])[1 + floor(random() * 8)::integer]
	FROM generate_series(1, :rows) g;
UPDATE customers SET x = (ARRAY[NULL, 'infinity', '-infinity', '2124-01-01']::timestamptz[])[id] WHERE id <= 4;
INSERT INTO orders SELECT g, 1 + floor(random() * :rows)::integer, floor(random() * 100), instant() FROM generate_series(1, 3 * :rows) g;
INSERT INTO carts SELECT g, 1 + floor(random() * :rows)::integer, floor(random() * 100), instant() FROM generate_series(1, :rows) g;
ANALYZE customers, orders, carts;

SET flip.steps = :steps;
SET flip.every = :every;
CREATE TABLE predicate (id integer GENERATED ALWAYS AS IDENTITY, source text, zone text);
CREATE TABLE result (id integer, checked bigint, late bigint, exact bigint, early bigint, never bigint, example text);
INSERT INTO predicate (source, zone)
SELECT p, ('{UTC,Europe/London,America/New_York,Australia/Lord_Howe,Pacific/Apia,Africa/Casablanca}'::text[])[1 + n % 6]
FROM unnest(ARRAY[
	'c.x < now() - interval ''1 month''', 'c.x + c.i > now()', 'c.x <= now() - c.i', 'now() + c.i >= c.x', 'c.x = now() - interval ''1 day''',
	'c.x <> now() - interval ''90 days''', 'c.x BETWEEN now() - interval ''3 months'' AND now() - interval ''1 month''',
	'c.l < now() - interval ''1 month''', 'c.l >= now()::timestamp - c.i', 'c.d < current_date - 30', 'c.d = current_date', 'c.d + c.i > localtimestamp',
	'c.d + c.n >= current_date', 'isfinite(c.x) AND now() - c.x > interval ''30 days''', 'isfinite(c.x) AND now() - c.x <= c.i', 'isfinite(c.x) AND c.x - now() < interval ''1 month''', 'isfinite(c.x) AND justify_days(now() - c.x) > c.i',
	'isfinite(c.x) AND age(c.x) > interval ''1 year''', 'isfinite(c.x) AND age(now(), c.x) >= c.i', 'isfinite(c.x) AND age(c.x, now()) < interval ''3 months''', 'age(localtimestamp, c.l) = interval ''1 month''',
	'current_date - c.d > c.n', 'isfinite(c.x) AND current_date - c.x::date = 7', 'date_trunc(''month'', now()) = date_trunc(''month'', c.x)', 'c.x >= date_trunc(''week'', now())',
	'c.x < date_trunc(''day'', now()) - c.i', 'c.x > date_trunc(''quarter'', now(), ''America/New_York'')', 'c.x < date_trunc(''hour'', now() - c.i)',
	'extract(month FROM c.x) = extract(month FROM now())', 'extract(doy FROM now()) > c.n', 'extract(isodow FROM now()) IN (6, 7)', 'extract(hour FROM now()) BETWEEN 9 AND 16',
	'isfinite(c.x) AND extract(day FROM now() - c.x) >= 30', 'isfinite(c.x) AND extract(epoch FROM now() - c.x) / 86400 > c.n', 'isfinite(c.x) AND date_part(''day'', now() - c.x)::integer % 7 = 0',
	'isfinite(c.x) AND extract(year FROM age(c.x)) >= 1', 'extract(epoch FROM now()) > extract(epoch FROM c.x)', 'to_char(now(), ''MM-DD'') = to_char(c.x, ''MM-DD'')',
	'now()::time BETWEEN c.t AND c.t + interval ''2 hours''', 'localtime > c.t', '(now() AT TIME ZONE c.z)::time > c.t', '(now() AT TIME ZONE c.z)::date > c.d', '(c.l AT TIME ZONE c.z) < now() - interval ''1 day''',
	'c.l < (now() AT TIME ZONE c.z) - c.i', '((now() AT TIME ZONE c.z) - c.i) AT TIME ZONE c.z > c.x', 'date_trunc(''day'', now() AT TIME ZONE c.z) AT TIME ZONE c.z > c.x',
	'now() <@ tstzrange(c.x, c.x + interval ''7 days'')', 'daterange(c.d, c.d + 30) @> current_date', '(c.x, c.x + interval ''7 days'') OVERLAPS (now(), now() + interval ''1 day'')',
	'(c.n, c.x) < (50, now())', 'greatest(c.x, now() - interval ''1 day'') < now() - c.i', 'least(c.x, now() - c.i) > c.x - interval ''3 days''', 'coalesce(c.x, now() - interval ''1 day'') > now() - c.i',
	'CASE WHEN c.country = ''GB'' THEN c.x < now() - interval ''1 month'' ELSE c.x > now() END', 'c.x < CASE WHEN c.n > 50 THEN now() - interval ''1 month'' ELSE now() - interval ''1 year'' END',
	'CASE c.n % 2 WHEN 0 THEN now() WHEN 1 THEN c.x END > c.l', 'NOT (c.x < now() AND c.l > now()::timestamp OR c.d = current_date)', '(now() > c.x) = (now()::timestamp > c.l)', '(now() > c.x)::integer + (current_date > c.d)::integer >= 1',
	'(now() > c.x) IS DISTINCT FROM (now()::date > c.d)', 'now() - interval ''1 month'' < date_trunc(''month'', now()) - (c.n || '' hours'')::interval', 'isfinite(c.x) AND date_trunc(''year'', now()) + (c.x - date_trunc(''year'', c.x)) > now()',
	'make_date(extract(year FROM now())::integer, extract(month FROM c.d)::integer, least(extract(day FROM c.d)::integer, 28)) - current_date BETWEEN 0 AND 7',
	'(SELECT max(o.created_at) FROM orders o WHERE o.customer_id = c.id) < now() - interval ''90 days''',
	'(SELECT count(*) FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval ''3 months'') >= 2',
	'(SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id AND o.created_at BETWEEN now() - interval ''1 year'' AND now() - interval ''1 month'') > 50',
	'(SELECT count(*) FILTER (WHERE o.created_at >= date_trunc(''month'', now())) FROM orders o WHERE o.customer_id = c.id) = 1',
	'(SELECT sum(CASE WHEN o.created_at > now() - interval ''1 month'' THEN o.total ELSE 0 END) FROM orders o WHERE o.customer_id = c.id) > 30',
	'NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND age(o.created_at) < interval ''6 months'')',
	'c.id IN (SELECT o.customer_id FROM orders o WHERE o.created_at + interval ''1 month'' > now())', 'c.id NOT IN (SELECT o.customer_id FROM orders o WHERE o.created_at > now() - c.i)',
	'c.id IN (SELECT o.customer_id FROM orders o GROUP BY o.customer_id HAVING max(o.created_at) < now() - interval ''1 month'')',
	'(SELECT max(o.created_at) < now() - interval ''1 month'' FROM orders o WHERE o.customer_id = c.id AND o.created_at < now())',
	'EXISTS (SELECT FROM orders o LEFT JOIN carts k ON k.customer_id = o.customer_id AND k.updated_at > now() - interval ''1 month'' WHERE o.customer_id = c.id AND k.id IS NULL)',
	'EXISTS (SELECT FROM orders o LEFT JOIN carts k USING (customer_id) WHERE o.customer_id = c.id AND coalesce(k.updated_at, o.created_at) > now() - interval ''1 month'')',
	'EXISTS (SELECT FROM orders o JOIN carts k ON k.customer_id = o.customer_id AND k.updated_at < now() - interval ''1 month'' WHERE o.customer_id = c.id AND o.created_at > now() - interval ''1 year'')',
	'EXISTS (SELECT FROM (SELECT o.customer_id, sum(o.total) AS total FROM orders o WHERE o.created_at > now() - interval ''3 months'' GROUP BY 1) s WHERE s.customer_id = c.id AND s.total > 30)',
	'EXISTS (SELECT FROM orders o CROSS JOIN LATERAL (SELECT max(k.updated_at) AS m FROM carts k WHERE k.customer_id = o.customer_id AND k.updated_at < now() - interval ''1 month'') s WHERE o.customer_id = c.id AND s.m > o.created_at)',
	'EXISTS (SELECT FROM orders o, LATERAL (SELECT FROM carts k WHERE k.customer_id = o.customer_id AND k.updated_at < now() - o.total * interval ''1 day'') s WHERE o.customer_id = c.id)',
	'EXISTS (SELECT FROM customers e LEFT JOIN (SELECT o.customer_id, max(o.created_at) AS m FROM orders o WHERE o.created_at < now() GROUP BY 1) s ON s.customer_id = e.id WHERE e.id = c.id AND (s.m IS NULL OR s.m < now() - interval ''1 month''))',
	'(SELECT o.total FROM orders o WHERE o.customer_id = c.id AND o.created_at < now() ORDER BY o.created_at DESC LIMIT 1) > 50',
	'now() - interval ''1 month'' > ANY (SELECT o.created_at FROM orders o WHERE o.customer_id = c.id)', 'now() - interval ''1 month'' < ALL (SELECT o.created_at FROM orders o WHERE o.customer_id = c.id)',
	'array_length(ARRAY(SELECT o.id FROM orders o WHERE o.customer_id = c.id AND o.created_at > now()), 1) >= 1',
	'EXISTS (SELECT o.created_at FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() UNION ALL SELECT k.updated_at FROM carts k WHERE k.customer_id = c.id AND k.updated_at < now() - interval ''1 year'')',
	'(SELECT count(*) FROM (SELECT o.created_at FROM orders o WHERE o.customer_id = c.id EXCEPT SELECT o.created_at FROM orders o WHERE o.created_at < now()) s) > 0',
	'EXISTS (SELECT FROM (SELECT o.total, lag(o.created_at) OVER (ORDER BY o.created_at) AS before FROM orders o WHERE o.customer_id = c.id AND o.created_at < now()) s WHERE s.before > now() - interval ''1 month'')',
	'EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id AND o.created_at < (SELECT max(k.updated_at) FROM carts k WHERE k.customer_id = o.customer_id AND k.updated_at < now() - interval ''1 month''))',
	'(SELECT count(*) FROM generate_series(c.d, current_date, ''1 month'') g) % 2 = 0',
	'EXISTS (SELECT FROM orders o, LATERAL (SELECT max(k.updated_at) AS m FROM carts k WHERE k.customer_id = o.customer_id AND k.updated_at < now()) s, LATERAL (SELECT s.m AS n WHERE s.m > o.created_at) t WHERE o.customer_id = c.id AND t.n < now() - interval ''1 month'')',
	'EXISTS (SELECT FROM customers e JOIN (SELECT o.customer_id, o.created_at FROM orders o WHERE o.created_at < now() - interval ''1 month'') s ON s.customer_id = e.id LEFT JOIN (SELECT DISTINCT k.customer_id FROM carts k WHERE k.updated_at > now()) k ON k.customer_id = s.customer_id WHERE e.id = c.id AND k.customer_id IS NULL)',
	'c.id NOT IN (SELECT nullif(o.customer_id, 5) FROM orders o WHERE o.created_at > now() AND o.customer_id BETWEEN c.id AND 5)',
	'(SELECT bool_or(o.created_at < now() - c.i) FROM orders o WHERE o.customer_id = c.id)', '(SELECT max(CASE WHEN o.created_at < now() THEN o.total END) FROM orders o WHERE o.customer_id = c.id) > 40',
	'EXISTS (SELECT FROM orders o FULL JOIN carts k ON k.customer_id = o.customer_id AND k.id = o.id WHERE coalesce(o.customer_id, k.customer_id) = c.id AND o.created_at < now() - interval ''1 month'')',
	'EXISTS (SELECT FROM carts k RIGHT JOIN orders o ON k.customer_id = o.customer_id AND k.updated_at > now() WHERE o.customer_id = c.id AND k.id IS NULL)',
	'(SELECT count(*) FROM (SELECT o.customer_id, o.total FROM orders o WHERE o.created_at < now() GROUP BY GROUPING SETS ((1), (1, 2))) s WHERE s.customer_id = c.id) > 2',
	'(c.id, 5) IN (SELECT o.customer_id, 5 FROM orders o WHERE o.created_at < now() - interval ''1 month'')',
	'(c.id, 5) NOT IN (SELECT o.customer_id, 5 FROM orders o WHERE o.created_at < now() - interval ''1 month'')',
	'EXISTS (SELECT FROM (SELECT DISTINCT ON (o.customer_id) o.customer_id, o.total FROM orders o WHERE o.created_at < now() ORDER BY o.customer_id, o.created_at DESC) s WHERE s.customer_id = c.id AND s.total > 50)',
	'EXISTS (SELECT FROM orders o JOIN customers e USING (id) LEFT JOIN LATERAL (SELECT max(k.updated_at) AS m FROM carts k WHERE k.customer_id = e.id AND k.updated_at < now()) s ON s.m > o.created_at WHERE o.customer_id = c.id AND s.m IS NULL)',
	'(SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id HAVING max(o.created_at) > now() - (SELECT count(*) FROM carts k WHERE k.customer_id = c.id AND k.updated_at > now()) * interval ''1 month'') > 3',
	'EXISTS (SELECT FROM customers e LEFT JOIN (orders o JOIN carts k ON k.customer_id = o.customer_id AND k.updated_at < now() - interval ''1 month'') ON o.customer_id = e.id WHERE e.id = c.id AND k.id IS NULL)',
	'EXISTS (WITH w AS (SELECT o.* FROM orders o WHERE o.created_at > now() - interval ''3 months'') SELECT FROM w JOIN w v ON w.id < v.id WHERE w.customer_id = c.id AND v.customer_id = c.id)',
	'c.x > ALL (SELECT o.created_at FROM orders o WHERE o.customer_id = c.id AND o.created_at < now())',
	'(SELECT rank FROM (SELECT o.customer_id, rank() OVER (ORDER BY sum(o.total)) FROM orders o WHERE o.created_at < now() GROUP BY 1) r WHERE r.customer_id = c.id) < extract(day FROM now())'
	]) WITH ORDINALITY AS u (p, n);

-- Makes the segment, and compares it with itself at many instants.
CREATE FUNCTION brute(source text, zone text, steps integer) RETURNS TABLE (checked bigint, late bigint, exact bigint, early bigint, never bigint, example text)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	segment integer;
BEGIN
	PERFORM set_config('TimeZone', zone, false);
	segment := journey.create_segment('brute', source, timezone => zone);
	RETURN QUERY EXECUTE format($sql$
		WITH start AS MATERIALIZED (SELECT (row_number() OVER ())::integer AS n, c.id, instant() AS at FROM customers c, generate_series(1, 3)),
		once AS MATERIALIZED (SELECT f.contact, s.at, f.member, f.next_check
			FROM start s
			JOIN journey_state.segment_%1$s_check((SELECT array_agg(n ORDER BY n) FROM start), (SELECT array_agg(id ORDER BY n) FROM start),
				(SELECT array_agg(at ORDER BY n) FROM start)) f ON f.n = s.n),
		-- and from where the first check sends us, which is nearer to a flip
		again AS MATERIALIZED (SELECT (row_number() OVER ())::integer AS n, contact, next_check AS at FROM once WHERE next_check < '5000-01-01'),
		first AS MATERIALIZED (SELECT * FROM once UNION ALL SELECT f.contact, s.at, f.member, f.next_check
			FROM again s
			JOIN journey_state.segment_%1$s_check((SELECT array_agg(n ORDER BY n) FROM again), (SELECT array_agg(contact ORDER BY n) FROM again),
				(SELECT array_agg(at ORDER BY n) FROM again)) f ON f.n = s.n),
		probe AS MATERIALIZED (SELECT (row_number() OVER ())::integer AS n, p.*
			FROM (SELECT f.*, least(f.next_check, '5000-01-01') - CASE WHEN g %% 8 = 0 THEN interval '1 microsecond' WHEN g %% 8 = 1 THEN random() * interval '1 hour'
						WHEN g %% 8 = 2 THEN random() * interval '1 day' WHEN g %% 8 = 3 THEN random() * interval '1 month'
						ELSE least(f.next_check, f.at + interval '3 years') - f.at - random() * random() * (least(f.next_check, f.at + interval '3 years') - f.at) END AS later,
					false AS last FROM first f, generate_series(1, $1) g
				UNION ALL SELECT f.*, f.next_check, true FROM first f WHERE f.next_check IS NOT NULL) p
			WHERE p.later > p.at AND (p.later < p.next_check OR p.next_check IS NULL OR p.last)),
		found AS MATERIALIZED (SELECT p.*, f.member AS after FROM probe p
			JOIN journey_state.segment_%1$s_check((SELECT array_agg(n ORDER BY n) FROM probe), (SELECT array_agg(contact ORDER BY n) FROM probe), (SELECT array_agg(p.later ORDER BY n) FROM probe p)) f ON f.n = p.n)
		SELECT (SELECT count(*) FROM first), count(*) FILTER (WHERE NOT last AND after <> member), count(*) FILTER (WHERE last AND after <> member),
			count(*) FILTER (WHERE last AND after = member), (SELECT count(*) FROM first f WHERE f.next_check IS NULL),
			min(format('contact %%s at %%s: flips by %%s, check at %%s', contact, at, later, next_check)) FILTER (WHERE NOT last AND after <> member)
		FROM found$sql$, segment) USING steps;
	IF EXISTS (SELECT FROM journey.segment_part p WHERE p.segment_id = segment AND p.kind = 'opaque') THEN
		example := 'opaque: ' || (SELECT min(p.source || ' ' || p.detail) FROM journey.segment_part p WHERE p.segment_id = segment AND p.kind = 'opaque');
		checked := NULL;
		RETURN NEXT;
	END IF;
	PERFORM journey.drop_segment('brute');
END
$$;

DO $$
DECLARE
	p record;
BEGIN
	FOR p IN SELECT * FROM predicate WHERE id % current_setting('flip.every')::integer = 0 ORDER BY id LOOP
		INSERT INTO result SELECT p.id, b.* FROM brute(p.source, p.zone, current_setting('flip.steps')::integer) b;
	END LOOP;
	SET TimeZone = 'UTC';
END
$$;
\if :{?verbose}
SELECT p.source, p.zone, r.checked, r.late, r.exact, r.early, r.never FROM result r JOIN predicate p USING (id) ORDER BY id;
\endif
-- flips that came before their check
SELECT p.source, p.zone, r.example FROM result r JOIN predicate p USING (id) WHERE r.late > 0 OR r.checked IS NULL ORDER BY id;
SELECT count(*) AS predicates, sum(checked) > 0 AS checked, sum(late) AS late, sum(exact) > sum(checked) / 5 AS exact FROM result;
