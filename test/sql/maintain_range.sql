-- journey.maintain() makes no more partitions than anybody can want.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET statement_timeout = '10s';
SELECT journey.maintain('infinity');
SELECT journey.maintain('-infinity');
SELECT journey.maintain('2026-01-01', '11 years');
