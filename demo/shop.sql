/*
 * An ordinary shop, its contacts attached and its orders captured; then the
 * shop's history arrives in the order it happened.  Run as a superuser of an
 * empty database; :data is the file of orders.
 */
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
CREATE EXTENSION pg_journey;

SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers
(
	id			integer		PRIMARY KEY,
	email		text		NOT NULL,
	country		text		NOT NULL,
	timezone	text		NOT NULL
);
CREATE TABLE shop.orders
(
	number		text		PRIMARY KEY,
	customer_id	integer		NOT NULL REFERENCES shop.customers,
	created_at	timestamptz	NOT NULL,
	total		numeric		NOT NULL,
	items		integer		NOT NULL
);
CREATE INDEX orders_customer_idx ON shop.orders (customer_id, created_at);

CREATE TEMP TABLE loaded (invoice_no text, customer_id integer, invoice_date timestamp, total numeric, items integer, country text);
\set copy '\\copy loaded FROM PROGRAM ''gzip -dc ' :data ''' WITH (FORMAT csv, HEADER)'
:copy

DO $$
DECLARE
	found text;
BEGIN
	SELECT format('%s orders, %s customers, revenue %s', count(*), count(DISTINCT customer_id), sum(total)) INTO found FROM loaded;
	IF found <> '18532 orders, 4338 customers, revenue 8911407.904' THEN
		RAISE EXCEPTION 'the file of orders is damaged: %', found;
	END IF;
END
$$;

INSERT INTO shop.customers
	SELECT DISTINCT ON (customer_id) customer_id, 'c' || customer_id || '@customers.example', country, 'Europe/London'
	FROM loaded ORDER BY customer_id, invoice_date, invoice_no;
RESET SESSION AUTHORIZATION;

SELECT journey.attach('shop.customers', key => 'id', email => 'email', timezone => 'timezone', owner => 'shop') \g /dev/null
-- Arms are digests that include the site: with this id everybody's demo holds out
-- the same customers.
UPDATE journey.site SET site_id = '2011cafe-0000-4000-8000-000000000000';

SET SESSION AUTHORIZATION shop;
SELECT journey.capture('order_placed', 'shop.orders', contact => 'customer_id', at => 'created_at',
	properties => $$ jsonb_build_object('number', new.number, 'total', new.total) $$) \g /dev/null

INSERT INTO shop.orders
	SELECT invoice_no, customer_id, invoice_date AT TIME ZONE 'Europe/London', total, items
	FROM loaded ORDER BY invoice_date, invoice_no;
ANALYZE shop.customers, shop.orders;
