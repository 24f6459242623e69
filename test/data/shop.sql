-- A small shop for regress tests: role shop (the journey owner), customers and
-- orders, the extension attached.  Usage, first line of a test:
--	 \getenv srcdir PG_ABS_SRCDIR
--	 \set shop :srcdir '/data/shop.sql'
--	 \i :shop
-- It leaves the session as role shop.
\set QUIET on
\set ECHO none
\set VERBOSITY terse
\pset pager off
SET client_min_messages = error;
RESET SESSION AUTHORIZATION;
DROP EXTENSION IF EXISTS pg_journey CASCADE;
DROP SCHEMA IF EXISTS journey_state CASCADE;
DROP SCHEMA IF EXISTS shop CASCADE;
DO $$ BEGIN CREATE ROLE shop LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, first_name text, email text, phone text, tz text, country text, created_at timestamptz);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES shop.customers, total numeric NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE shop.carts (id bigint PRIMARY KEY, customer_id bigint NOT NULL REFERENCES shop.customers, total numeric NOT NULL, updated_at timestamptz NOT NULL);
INSERT INTO shop.customers
	SELECT i, 'Name' || i, 'c' || i || '@shop.example', '+4420000000' || i, 'Europe/London', CASE WHEN i % 2 = 0 THEN 'GB' ELSE 'FR' END, '2025-01-01'
	FROM generate_series(1, 20) i;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', phone => 'phone', timezone => 'tz', owner => 'shop') \g /dev/null
SET SESSION AUTHORIZATION shop;
RESET client_min_messages;
\set VERBOSITY default
\set ECHO all
\set QUIET off
