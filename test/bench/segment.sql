/*
 * A shop of :contacts contacts for the segment bench, some ten orders and ten
 * views for each, skewed, in the two years before :t0, the same ones every
 * time; the predicates; and the rounds that are timed.  Run as superuser of an
 * empty database.
 *
 * The time in the predicates is :t0 and what follows it, given to tick().
 */
\set ON_ERROR_STOP on
CREATE SCHEMA bench AUTHORIZATION shop;
CREATE EXTENSION pg_journey;
SET SESSION AUTHORIZATION shop;

-- a number in (0, 1) for n
CREATE FUNCTION bench.share(n bigint, seed bigint) RETURNS float8 LANGUAGE sql IMMUTABLE AS
	$$ SELECT ((hashint8extended(n, seed) & 9007199254740991)::float8 + 0.5) / 9007199254740992 $$;

CREATE TABLE bench.contact (id bigint PRIMARY KEY, email text NOT NULL, country text NOT NULL);
INSERT INTO bench.contact SELECT i, 'c' || i || '@contacts.example', (ARRAY['GB', 'FR', 'DE', 'JP'])[1 + i % 4] FROM generate_series(1, :contacts) i;

CREATE TABLE bench.orders (id bigint GENERATED ALWAYS AS IDENTITY, contact_id bigint NOT NULL, ordered_at timestamptz NOT NULL, amount numeric NOT NULL, note text);
INSERT INTO bench.orders (contact_id, ordered_at, amount)
	SELECT c, timestamptz :'t0' - bench.share(c * 1000 + k, 2) ^ 2 * interval '730 days', round((5 - 52 * ln(bench.share(c * 1000 + k, 3)))::numeric, 2)
	FROM generate_series(1, :contacts) c, generate_series(1, floor(-10.5 * ln(bench.share(c, 1)))::integer) k
	ORDER BY 2;
ALTER TABLE bench.orders ADD PRIMARY KEY (id);
CREATE INDEX ON bench.orders (contact_id, ordered_at) INCLUDE (amount);
CREATE INDEX ON bench.orders (ordered_at);
ALTER TABLE bench.orders ADD FOREIGN KEY (contact_id) REFERENCES bench.contact;

CREATE TABLE bench.views (id bigint GENERATED ALWAYS AS IDENTITY, contact_id bigint NOT NULL, at timestamptz NOT NULL, category integer NOT NULL);
INSERT INTO bench.views (contact_id, at, category)
	SELECT c, timestamptz :'t0' - bench.share(c * 1000 + k, 5) ^ 2 * interval '730 days', (10 * bench.share(c * 1000 + k, 6) ^ 2)::integer
	FROM generate_series(1, :contacts) c, generate_series(1, floor(-10.5 * ln(bench.share(c, 4)))::integer) k
	ORDER BY 2;
CREATE INDEX ON bench.views (contact_id, category, at);
CREATE INDEX ON bench.views (at) INCLUDE (contact_id, category);
RESET SESSION AUTHORIZATION;
VACUUM ANALYZE;
SELECT journey.attach('bench.contact', key => 'id', email => 'email', owner => 'shop') \g /dev/null
SET SESSION AUTHORIZATION shop;

/*
 * The three predicates that everything is measured with.  by_hand: how somebody
 * who thinks in sets would ask for all contacts at once.
 */
CREATE TABLE bench.predicate (name text PRIMARY KEY, source text NOT NULL, by_hand text NOT NULL, change text NOT NULL);
INSERT INTO bench.predicate VALUES
	('spend', '(SELECT sum(o.amount) FROM bench.orders o WHERE o.contact_id = c.id) > 800',
		'SELECT contact_id FROM bench.orders GROUP BY contact_id HAVING sum(amount) > 800',
		'INSERT INTO bench.orders (contact_id, ordered_at, amount) SELECT c, $2, 30 FROM unnest($1) c'),
	('lapsed', 'NOT EXISTS (SELECT FROM bench.orders o WHERE o.contact_id = c.id AND o.ordered_at > now() - interval ''90 days'')',
		'SELECT id FROM bench.contact EXCEPT SELECT contact_id FROM bench.orders WHERE ordered_at > now() - interval ''90 days''',
		'INSERT INTO bench.orders (contact_id, ordered_at, amount) SELECT c, $2, 30 FROM unnest($1) c'),
	('viewed', 'EXISTS (SELECT FROM bench.views v WHERE v.contact_id = c.id AND v.at > now() - interval ''7 days'' GROUP BY v.category HAVING count(*) >= 3)',
		'SELECT DISTINCT contact_id FROM (SELECT contact_id FROM bench.views WHERE at > now() - interval ''7 days'' GROUP BY contact_id, category HAVING count(*) >= 3) AS x',
		'INSERT INTO bench.views (contact_id, at, category) SELECT c, $2, 1 FROM unnest($1) c');

CREATE TABLE bench.result (what text, predicate text, round integer, value float8);
CREATE FUNCTION bench.ms(since timestamptz) RETURNS float8 LANGUAGE sql VOLATILE AS
	$$ SELECT extract(epoch FROM clock_timestamp() - since)::float8 * 1000 $$;
CREATE FUNCTION bench.median(of text, of_predicate text) RETURNS float8 LANGUAGE sql STABLE AS
	$$ SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY value) FROM bench.result WHERE what = of AND predicate = of_predicate AND round > 0 $$;
CREATE FUNCTION bench.at(source text, at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS
	$$ SELECT replace(source, 'now()', quote_literal(at) || '::timestamptz') $$;

CREATE PROCEDURE bench.tick(at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	more boolean := true;
BEGIN
	WHILE more LOOP
		SELECT t.more INTO more FROM journey.tick(at) t;
		COMMIT;
	END LOOP;
END
$$;

CREATE FUNCTION bench.members(segment text) RETURNS bigint LANGUAGE sql STABLE AS
	$$ SELECT count(*) FROM journey_state.membership m JOIN journey.segment s USING (segment_id) WHERE s.name = segment AND m.member $$;

-- kept membership is what the predicate says
CREATE PROCEDURE bench.verify(segment text, at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	different bigint;
BEGIN
	EXECUTE format($q$
		SELECT count(*)
		FROM (SELECT c.id, %s AS member FROM bench.contact c) AS x
		FULL JOIN (SELECT m.contact FROM journey_state.membership m JOIN journey.segment s USING (segment_id) WHERE s.name = %L AND m.member) AS k ON k.contact = x.id
		WHERE coalesce(x.member, false) <> (k.contact IS NOT NULL) $q$,
		bench.at((SELECT source FROM bench.predicate p WHERE p.name = segment), at), segment) INTO different;
	IF different > 0 THEN
		RAISE EXCEPTION 'segment %: % contacts are not where the predicate says', segment, different;
	END IF;
END
$$;

-- evaluate the predicate for everybody, three ways
CREATE PROCEDURE bench.bare(what text, at timestamptz, round integer) LANGUAGE plpgsql AS $$
DECLARE
	p bench.predicate;
	started timestamptz;
	n bigint;
BEGIN
	SELECT * INTO p FROM bench.predicate q WHERE q.name = what;
	started := clock_timestamp();
	EXECUTE 'SELECT count(*) FROM bench.contact c WHERE ' || bench.at(p.source, at) INTO n;
	INSERT INTO bench.result VALUES ('count', what, round, bench.ms(started)), ('members', what, round, n);
	COMMIT;

	started := clock_timestamp();
	EXECUTE 'CREATE TEMP TABLE built AS SELECT c.id FROM bench.contact c WHERE ' || bench.at(p.source, at);
	COMMIT;
	INSERT INTO bench.result VALUES ('temp', what, round, bench.ms(started));
	DROP TABLE built;
	COMMIT;

	started := clock_timestamp();
	EXECUTE 'SELECT count(*) FROM (' || bench.at(p.by_hand, at) || ') AS x' INTO n;
	INSERT INTO bench.result VALUES ('by hand', what, round, bench.ms(started));
	COMMIT;
END
$$;

CREATE PROCEDURE bench.build(what text, at timestamptz, round integer) LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz := clock_timestamp();
BEGIN
	PERFORM journey.create_segment(what, (SELECT source FROM bench.predicate p WHERE p.name = what), timezone => 'UTC', at => at);
	COMMIT;
	CALL bench.tick(at);
	INSERT INTO bench.result VALUES ('build', what, round, bench.ms(started));
	COMMIT;
END
$$;

-- the bare predicate, and the segment's own statement, each prepared once in a session
CREATE PROCEDURE bench.make_check(what text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format($f$
		CREATE OR REPLACE FUNCTION bench.%I(contacts bigint[], instant timestamptz) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $b$
		DECLARE
			n bigint;
		BEGIN
			SELECT count(*) FILTER (WHERE x.member) INTO n FROM (SELECT c.id, %s AS member FROM bench.contact c WHERE c.id = ANY (contacts)) AS x;
			RETURN n;
		END
		$b$ $f$, 'bare_' || what, replace((SELECT source FROM bench.predicate p WHERE p.name = what), 'now()', 'instant'));
	EXECUTE format($f$
		CREATE OR REPLACE FUNCTION bench.%I(contacts bigint[], instant timestamptz) RETURNS bigint LANGUAGE plpgsql VOLATILE SET plan_cache_mode = force_generic_plan AS $b$
		DECLARE
			numbers integer[] := ARRAY(SELECT generate_subscripts(contacts, 1));
			times timestamptz[] := array_fill(instant, ARRAY[array_length(contacts, 1)]);
			n bigint;
		BEGIN
			SELECT count(*) FILTER (WHERE f.member) + count(f.next_check) INTO n FROM journey_state.%I(numbers, contacts, times) f;
			RETURN n;
		END
		$b$ $f$, 'own_' || what, format('segment_%s_check', (SELECT segment_id FROM journey.segment WHERE name = what)));
END
$$;

/*
 * One change of each of "batch" contacts in a transaction, then a tick.  The two
 * statements for the same contacts come before it or after it by turns, so that
 * none always finds the pages read by another.
 */
CREATE PROCEDURE bench.change(what text, at timestamptz, round integer, batch integer) LANGUAGE plpgsql AS $$
DECLARE
	p bench.predicate;
	contacts bigint[];
	n bigint := (SELECT max(id) FROM bench.contact);
	started timestamptz;
BEGIN
	SELECT * INTO p FROM bench.predicate q WHERE q.name = what;
	contacts := ARRAY(SELECT DISTINCT 1 + floor(n * bench.share(i, 1000 + round))::bigint FROM generate_series(1, batch + batch / 10) i LIMIT batch);
	EXECUTE p.change USING contacts, at;
	COMMIT;
	FOR turn IN 0 .. 2 LOOP
		started := clock_timestamp();
		CASE (turn + abs(round)) % 3
			WHEN 0 THEN
				CALL bench.tick(at);
				INSERT INTO bench.result VALUES ('tick ' || batch, what, round, bench.ms(started) * 1000 / array_length(contacts, 1));
			WHEN 1 THEN
				EXECUTE format('SELECT bench.%I($1, $2)', 'bare_' || what) USING contacts, at;
				INSERT INTO bench.result VALUES ('bare ' || batch, what, round, bench.ms(started) * 1000 / array_length(contacts, 1));
			ELSE
				EXECUTE format('SELECT bench.%I($1, $2)', 'own_' || what) USING contacts, at;
				INSERT INTO bench.result VALUES ('own ' || batch, what, round, bench.ms(started) * 1000 / array_length(contacts, 1));
		END CASE;
		COMMIT;
	END LOOP;
	started := clock_timestamp();
	CALL bench.tick(at);
	INSERT INTO bench.result VALUES ('idle tick', what, round, bench.ms(started));
	COMMIT;
END
$$;

-- nothing but the clock, "rounds" times; the first one warms up
CREATE PROCEDURE bench.waits(what text, INOUT at timestamptz, step text, rounds integer) LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz;
BEGIN
	FOR i IN 0 .. rounds LOOP
		at := at + step::interval;
		started := clock_timestamp();
		CALL bench.tick(at);
		INSERT INTO bench.result VALUES (step, what, i, bench.ms(started));
		INSERT INTO bench.result SELECT step || ' flips', what, i, coalesce(sum(h.entered + h.left_it), 0)
			FROM journey_state.segment_change h JOIN journey.segment s USING (segment_id) WHERE s.name = what AND h.at > waits.at - step::interval AND h.at <= waits.at;
		COMMIT;
	END LOOP;
END
$$;

-- how many segments asked for, all of which read the orders (of a table like bench.orders)
CREATE PROCEDURE bench.segments(how_many integer, orders text, at timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	source text;
BEGIN
	FOR i IN 0 .. how_many - 1 LOOP
		source := CASE i % 5
			WHEN 0 THEN format('EXISTS (SELECT FROM %s o WHERE o.contact_id = c.id AND o.ordered_at > now() - interval ''%s days'')', orders, 1 + i)
			WHEN 1 THEN format('(SELECT sum(o.amount) FROM %s o WHERE o.contact_id = c.id) > %s', orders, 100 + 30 * i)
			WHEN 2 THEN format('NOT EXISTS (SELECT FROM %s o WHERE o.contact_id = c.id AND o.ordered_at > now() - interval ''%s days'')', orders, 20 + 4 * i)
			WHEN 3 THEN format('(SELECT count(*) FROM %s o WHERE o.contact_id = c.id AND o.ordered_at > now() - interval ''%s days'') >= 3 AND c.country = ''GB''', orders, 10 + i)
			ELSE format('(SELECT max(o.ordered_at) FROM %1$s o WHERE o.contact_id = c.id) < now() - interval ''%2$s days'' AND (SELECT max(o.amount) FROM %1$s o WHERE o.contact_id = c.id) > 100', orders, 30 + i)
		END;
		PERFORM journey.create_segment(orders || ' ' || i, source, timezone => 'UTC', at => at);
		COMMIT;
	END LOOP;
END
$$;

-- a block of rounds; a session that has just begun warms up first
CREATE PROCEDURE bench.changes(what text, INOUT at timestamptz, first integer, rounds integer, batch integer) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN -6 .. rounds LOOP
		CONTINUE WHEN i = 0;
		at := at + interval '1 second';
		-- a round below 0 is not counted, but its contacts are others as well
		CALL bench.change(what, at, CASE WHEN i < 0 THEN -100 * first + i ELSE first + i END, CASE WHEN i < 0 THEN least(batch, 1000) ELSE batch END);
	END LOOP;
END
$$;
