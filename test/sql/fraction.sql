-- The fraction that assigns units to arms: golden vectors, made with Python's
-- hashlib, and the same in plain SQL.
SET client_min_messages = error;
DROP EXTENSION IF EXISTS pg_journey CASCADE;
DROP SCHEMA IF EXISTS journey_state CASCADE;
CREATE EXTENSION pg_journey;
RESET client_min_messages;

SELECT salt, unit_key, journey.fraction(salt, unit_key) = expected AS ok
FROM (VALUES
	('gh:2026H1', '1', 0.8747733631593746),
	('gh:2026H1', '2', 0.010167953276408515),
	('jh:cart_abandonment:e1', '42', 0.8877225555393811),
	('jh:cart_abandonment:e1', '1000000', 0.8451276606597375),
	('sp:cart_abandonment:subject_test:e1', '42', 0.7249097155006499),
	('jh:cart_abandonment:e1', '3f2504e0-4f89-11d3-9a0c-0305e82c3301', 0.8211891104806216),
	('jh:welcome:e1', 'ana@example.com', 0.9059312467044419),
	('x', '', 0.5318522658959076)) AS golden (salt, unit_key, expected);

-- what an outsider would compute
CREATE FUNCTION pg_temp.oracle(salt text, unit_key text) RETURNS float8 LANGUAGE sql AS $$
	SELECT (('x' || encode(substring(sha256(convert_to(salt || chr(31) || unit_key, 'UTF8')) FROM 1 FOR 7), 'hex'))::bit(56)::bigint >> 3)::float8 / 9007199254740992.0
$$;
SELECT count(*), count(*) FILTER (WHERE journey.fraction(salt, k) IS DISTINCT FROM pg_temp.oracle(salt, k)) AS different
FROM generate_series(1, 5000) i,
	LATERAL (VALUES ('jh:cart_abandonment:e1', i::text), ('gh:2026H1', 'c' || i), ('s', repeat('ключ-', i % 50) || i), ('grüße:' || i, '')) v (salt, k);

-- two salts are independent: 10 % of 5 %
WITH f AS (
	SELECT journey.fraction('jh:cart_abandonment:e1', i::text) AS journey, journey.fraction('gh:2026H1', i::text) AS global
	FROM generate_series(1, 100000) i)
SELECT count(*) FILTER (WHERE journey < 0.10) AS below_10, count(*) FILTER (WHERE journey < 0.05) AS below_5,
	count(*) FILTER (WHERE global < 0.05) AS global_below_5, count(*) FILTER (WHERE global < 0.05 AND journey < 0.10) AS both,
	min(journey) >= 0 AND max(journey) < 1 AS in_range
FROM f;

-- the separator keeps neighbours apart; a null is no unit
SELECT journey.fraction('ab', 'c') = journey.fraction('a', 'bc') AS same, journey.fraction('ab', NULL) IS NULL AS null_unit;

-- a LATIN1 database assigns as a UTF-8 one does; so do these bytes
SELECT journey.fraction('x', 'é') = pg_temp.oracle('x', 'é') AS utf8;

DROP EXTENSION pg_journey;
