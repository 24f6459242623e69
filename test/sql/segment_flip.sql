\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\set flip :srcdir '/segment/flip.sql'
-- The brute force of test/segment/flip.sql, for a few contacts.
\set rows 8
\set steps 24
\set every 3
\set seed 0.25
\set ECHO none
\i :flip
