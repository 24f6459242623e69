\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
-- _flip() runs the functions its program names: only those that its caller could
-- call in SQL, and only with values of the types that they are made for.
SET timezone = 'UTC';
\set VERBOSITY terse
SELECT journey._flip('(< timestamp_cmp $1 (timestamptz_mi_interval now $2))', '2026-01-10'::timestamptz, '2026-01-01'::timestamptz, interval '30 days');
SELECT journey._flip('(change (timestamptz_date now))', '2026-01-10 10:00'::timestamptz);
SELECT journey._flip('(= bttextcmp (timestamptz_to_char now $1) $2)', '2026-01-10 10:00'::timestamptz, 'DD'::text, '12'::varchar);
-- a number is no text
SELECT journey._flip('(change (textlen $1))', '2026-01-10'::timestamptz, 8::bigint);
SELECT journey._flip('(change (numeric_floor $1))', '2026-01-10'::timestamptz, 'x'::text);
SELECT journey._flip('(< bttextcmp now now)', '2026-01-10'::timestamptz);
SELECT journey._flip('(< textlen now now)', '2026-01-10'::timestamptz);
SELECT journey._flip('(change (coalesce now $1))', '2026-01-10'::timestamptz, 'x'::text);
SELECT journey._flip('(change (greatest timestamp_cmp now $1))', '2026-01-10'::timestamptz, 'x'::text);
SELECT journey._flip('(change (coalesce))', '2026-01-10'::timestamptz);
SELECT journey._flip('(change now)', 8);
-- a value that is not there, too few or too many arguments
SELECT journey._flip('(change (textlen $1))', '2026-01-10'::timestamptz);
SELECT journey._flip('(change (textlen $0))', '2026-01-10'::timestamptz, 'x'::text);
SELECT journey._flip('(change (textlen))', '2026-01-10'::timestamptz, 'x'::text);
SELECT journey._flip('(change (textlen $1 $1))', '2026-01-10'::timestamptz, 'x'::text);
-- what reads files, ends sessions, takes no SQL values
SELECT journey._flip('(change (pg_read_file_all $1))', '2026-01-10'::timestamptz, 'PG_VERSION'::text);
SELECT journey._flip('(change (pg_terminate_backend $1 $2))', '2026-01-10'::timestamptz, 1, 1::bigint);
SELECT journey._flip('(change (pg_stat_get_wal_receiver))', '2026-01-10'::timestamptz);
SELECT journey._flip('(change (array_agg_finalfn $1))', '2026-01-10'::timestamptz, 8::bigint);
SELECT journey._flip('(change (nosuchfunction $1))', '2026-01-10'::timestamptz, 8::bigint);
-- nor what its caller must not call
RESET SESSION AUTHORIZATION;
REVOKE EXECUTE ON FUNCTION pg_catalog.floor(numeric) FROM PUBLIC;
SET SESSION AUTHORIZATION shop;
SELECT journey._flip('(change (numeric_floor $1))', '2026-01-10'::timestamptz, 1.5);
RESET SESSION AUTHORIZATION;
GRANT EXECUTE ON FUNCTION pg_catalog.floor(numeric) TO PUBLIC;
SET SESSION AUTHORIZATION shop;
SELECT journey._flip('(change (numeric_floor $1))', '2026-01-10'::timestamptz, 1.5);
-- another program at the same place
SELECT program, journey._flip(program, '2026-01-10 10:00'::timestamptz, 'month'::text)
	FROM (VALUES ('(change (timestamptz_date now))'), ('(change (timestamptz_trunc $1 now))'), ('(change (timestamptz_date now))')) AS p (program);
SELECT journey._flip(program, '2026-01-10 10:00'::timestamptz)
	FROM (VALUES ('(change (timestamptz_date now))'), ('(change')) AS p (program);
