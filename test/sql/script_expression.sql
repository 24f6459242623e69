\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
--
-- Expressions: what they compile to, what they yield, what is refused
--
SET client_min_messages = warning;
CREATE VIEW shop.compiled AS
	SELECT x.result, x.source, x.statement FROM journey.expression x
	WHERE version_id = (SELECT max(version_id) FROM journey.version) ORDER BY expression_no;
CREATE FUNCTION shop.eval(source text, at timestamptz, kind text DEFAULT 'UNTIL') RETURNS TABLE (n int, value text)
LANGUAGE plpgsql AS $$
DECLARE
	st text;
BEGIN
	PERFORM journey.create_journey('eval', format(CASE kind WHEN 'UNTIL' THEN 'ON EVENT a WAIT UNTIL %s;' WHEN 'IF' THEN 'ON EVENT a IF %s THEN END IF;' ELSE 'ON EVENT a KEY %s EXIT;' END, source));
	SELECT statement INTO st FROM shop.compiled;
	RETURN QUERY EXECUTE format('SELECT q.n, q.value::text FROM (%s) q ORDER BY q.n', rtrim(st, ';'))
		USING ARRAY[1, 2, 3], ARRAY[1, 2, 999]::bigint[], ARRAY[at, at + interval '1 day', at],
			ARRAY[11, NULL, 13]::bigint[], ARRAY['2026-01-05 00:00+00', NULL, NULL]::timestamptz[],
			ARRAY[101, 102, 103]::bigint[], ARRAY['k1', 'k2', 'k3'], ARRAY['2026-01-04', '2026-01-05', NULL]::timestamptz[];
END $$;
INSERT INTO shop.orders VALUES (1, 1, 10, '2026-01-01 00:00+00'), (2, 1, 30, '2026-01-09 00:00+00'), (3, 2, 5, '2025-12-01 00:00+00');
INSERT INTO journey_state.event (slice, contact, event_id, name, at, properties)
	VALUES (0, 1, 11, 'checkout_started', '2026-01-05 00:00+00', '{"cart_id": 7, "total": 12.5}');
SET timezone = 'UTC';

-- only what is read is joined
SELECT journey.create_journey('j', $$ON EVENT a KEY 'constant' EXIT;$$);
SELECT statement FROM shop.compiled;
SELECT journey.create_journey('j', $$ON EVENT a KEY c.country EXIT;$$);
SELECT statement FROM shop.compiled;
SELECT journey.create_journey('j', $$ON EVENT a KEY event.name EXIT;$$);
SELECT statement FROM shop.compiled;
SELECT journey.create_journey('j', $$ON EVENT a WAIT UNTIL e.entered_at;$$);
SELECT statement FROM shop.compiled;
-- an alias of a sub-select is not the contact
SELECT journey.create_journey('j', $$ON EVENT a KEY (SELECT c.total FROM shop.orders c LIMIT 1) EXIT;$$);
SELECT statement FROM shop.compiled;

-- now() and its relatives are the time of the decision, at any depth
SELECT journey.create_journey('j', $$ON EVENT a
IF now() > transaction_timestamp() AND statement_timestamp() > current_timestamp
	AND current_timestamp(3) > localtimestamp AND localtimestamp(0) > current_date
	AND current_time > localtime AND localtime(1) > current_time(2)
	AND age(c.created_at) > '1 year'
THEN END IF;
IF EXISTS (SELECT FROM shop.orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '30 days'
	AND o.total > (SELECT avg(p.total) FROM shop.orders p WHERE p.created_at < now() AND p.customer_id = c.id))
THEN END IF;
IF (WITH w AS (SELECT now() AS t) SELECT t FROM w) IN (SELECT now() UNION SELECT current_date) THEN END IF;
IF (SELECT bool_and(x) FROM (VALUES (now() > e.entered_at)) AS v (x), LATERAL (SELECT now() - e.entered_at) AS l) THEN END IF;
$$);
SELECT statement FROM shop.compiled;
SELECT statement ~* '\m(now|current_\w+|local\w+|transaction_timestamp|statement_timestamp)\M *(\(|$)' AS left_over FROM shop.compiled;

-- values: contact 1 has event and row, 2 no event, 999 no row
SELECT * FROM shop.eval('now() + interval ''1 hour''', '2026-01-10 12:00+00');
SELECT * FROM shop.eval('current_date', '2026-01-10 12:00+00');
SELECT * FROM shop.eval('e.entered_at + interval ''1 day''', '2026-01-10');
SELECT * FROM shop.eval('event.at', '2026-01-10');
SELECT * FROM shop.eval('c.first_name || ''/'' || coalesce(event.properties->>''cart_id'', ''-'')', '2026-01-10', 'KEY');
SELECT * FROM shop.eval('event.properties', '2026-01-10', 'KEY');
SELECT * FROM shop.eval('event.id', '2026-01-10', 'KEY');
SELECT * FROM shop.eval('e.key = ''k2''', '2026-01-10', 'IF');
SELECT * FROM shop.eval('c.id IS NULL', '2026-01-10', 'IF');
SELECT * FROM shop.eval('(SELECT max(o.created_at) FROM shop.orders o WHERE o.customer_id = c.id) < now() - interval ''1 day 12 hours''', '2026-01-10', 'IF');
SELECT * FROM shop.eval('(SELECT max(o.created_at) FROM shop.orders o WHERE o.customer_id = c.id) < now() - interval ''1 day 12 hours''', '2026-01-11', 'IF');
SELECT * FROM shop.eval('age(c.created_at) = ''1 year 8 days 16:00''', '2026-01-10 23:00', 'IF');
SELECT * FROM shop.eval('NULL', '2026-01-10', 'IF');
SELECT * FROM shop.eval('''2026-02-03''', '2026-01-10');

-- names resolve by the author's search_path, and stay what they were
SET search_path = shop, public;
SELECT journey.create_journey('j', $$ON EVENT a IF EXISTS (SELECT FROM orders WHERE customer_id = c.id) THEN END IF;$$);
RESET search_path;
SELECT statement FROM shop.compiled;
SELECT journey.create_journey('j', $$ON EVENT a IF EXISTS (SELECT FROM orders WHERE customer_id = c.id) THEN END IF;$$);
-- operators and types of other schemas are written out
CREATE FUNCTION shop.same(text, text) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR shop.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = shop.same);
CREATE DOMAIN shop.yes AS boolean CHECK (value);
SET search_path = shop;
SELECT journey.create_journey('j', $$ON EVENT a IF (c.country === 'GB')::yes THEN END IF;$$);
RESET search_path;
SELECT statement FROM shop.compiled;
-- settings of the author that change how constants are written
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET standard_conforming_strings = off;
SELECT journey.create_journey('j', $$ON EVENT a WAIT UNTIL greatest('01/02/2026 00:00+00', e.entered_at - interval '-1 day 2 hours'); IF c.country = '\\' THEN END IF;$$);
SELECT statement FROM shop.compiled;
RESET datestyle;
RESET intervalstyle;
RESET standard_conforming_strings;

-- an injection is refused, or it is one expression and harms nothing
\set VERBOSITY terse
\set key 'SELECT journey.create_journey(''bad'', ''ON EVENT a KEY '' || '
:key $$true) or (1=1$$ || ' EXIT;');
:key $$1; drop table shop.orders$$ || ' EXIT;');
:key $$(1; drop table shop.orders)$$ || ' EXIT;');
:key $$1) FROM shop.orders; --$$ || ' EXIT;');
:key $$1 -- )$$ || E'\n EXIT;');
:key $$1 /* ) $$ || ' EXIT;');
:key $$$1$$ || ' EXIT;');
:key $$c.id = $1$$ || ' EXIT;');
:key $$(SELECT $2)$$ || ' EXIT;');
:key '$x$ unbalanced' || ' EXIT;');
:key '$x$ ; drop table $x$ || $$)$$' || ' EXIT;');
:key $$'$$ || ' EXIT;');
:key $$'it''s; fine'$$ || ' EXIT;');
:key $$E'\'; drop table x; --'$$ || ' EXIT;');
:key $$1 AS x$$ || ' EXIT;');
:key $$1 x$$ || ' EXIT;');
:key $$1, 2$$ || ' EXIT;');
:key $$*$$ || ' EXIT;');
:key $$c.*$$ || ' EXIT;');
:key $$1 UNION SELECT 2$$ || ' EXIT;');
:key $$1 INTERSECT SELECT 2$$ || ' EXIT;');
:key $$1 FROM shop.orders$$ || ' EXIT;');
:key $$1 WHERE true$$ || ' EXIT;');
:key $$1 GROUP BY 1$$ || ' EXIT;');
:key $$1 HAVING true$$ || ' EXIT;');
:key $$1 WINDOW w AS ()$$ || ' EXIT;');
:key $$1 ORDER BY 1$$ || ' EXIT;');
:key $$1 OFFSET 1$$ || ' EXIT;');
:key $$1 FETCH FIRST ROW ONLY$$ || ' EXIT;');
:key $$1 FOR UPDATE$$ || ' EXIT;');
:key $$1 INTO shop.t$$ || ' EXIT;');
:key $$DISTINCT 1$$ || ' EXIT;');
:key $$SELECT 1$$ || ' EXIT;');
:key $$WITH w AS (SELECT 1) SELECT 2$$ || ' EXIT;');
:key $$(WITH w AS (DELETE FROM shop.orders RETURNING 1) SELECT 2)$$ || ' EXIT;');
:key $$(SELECT id FROM shop.orders LIMIT 1 FOR UPDATE)$$ || ' EXIT;');
:key $$VALUES (1)$$ || ' EXIT;');
:key $$(VALUES (1))$$ || ' EXIT;');
:key $$1 = ANY (ARRAY[1, 2)]$$ || ' EXIT;');
:key $$"journey run"."journey n"$$ || ' EXIT;');
\set VERBOSITY default
SELECT count(*) FROM shop.orders;

-- aggregates, windows, sets; what changes by itself
:key $$count(*)$$ || ' EXIT;');
:key $$sum(c.id)$$ || ' EXIT;');
:key $$rank() OVER ()$$ || ' EXIT;');
:key $$generate_series(1, 2)$$ || ' EXIT;');
:key $$random()$$ || ' EXIT;');
:key $$(SELECT max(clock_timestamp()) FROM shop.orders)$$ || ' EXIT;');
:key $$c.id + nextval('shop.s')$$ || ' EXIT;');
CREATE FUNCTION shop.plain(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
:key $$shop.plain(1)$$ || ' EXIT;');
:key $$c.created_at > 'today'$$ || ' EXIT;');
:key $$timestamptz 'now' > c.created_at$$ || ' EXIT;');
:key $$'now'$$ || ' EXIT;');
:key $$e.key$$ || ' EXIT;');
:key $$1 / 0$$ || ' EXIT;');
:key $$(SELECT rolpassword FROM pg_authid LIMIT 1)$$ || ' EXIT;');
CREATE TEMP TABLE scratch (i int);
:key $$(SELECT max(i) FROM scratch)$$ || ' EXIT;');
:key $$c.tz || 'é' || c.nonesuch$$ || ' EXIT;');
-- creation runs nothing of the contact's, as the owner or otherwise
CREATE FUNCTION shop.spy(bigint) RETURNS text STABLE LANGUAGE plpgsql AS $$BEGIN RAISE WARNING 'called for %', $1; RETURN 'x'; END$$;
SELECT journey.create_journey('j', $$ON EVENT a KEY shop.spy(c.id) EXIT;$$);
