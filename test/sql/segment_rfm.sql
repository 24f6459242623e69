-- RFM scores against reference values: ten customers by midrank, and what the
-- other methods make of the same ones.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop

-- recency 3 to 400 days before 2026-06-01; the last order makes the sum right
CREATE TABLE shop.expected (id bigint, recency integer, frequency integer, monetary numeric, r integer, f integer, m integer);
INSERT INTO shop.expected
	SELECT * FROM unnest('{1,2,3,4,5,6,7,8,9,10}'::bigint[], '{3,10,10,25,40,60,60,90,200,400}'::integer[], '{8,1,2,1,1,3,1,1,1,5}'::integer[],
		'{900,50,120,45,30,260,80,20,15,610}'::numeric[], '{5,5,5,4,3,3,3,2,1,1}'::integer[], '{5,2,4,2,2,4,2,2,2,5}'::integer[], '{5,3,4,2,2,4,3,1,1,5}'::integer[]);
INSERT INTO shop.orders
	SELECT x.id * 100 + i, x.id, CASE i WHEN 1 THEN x.monetary - (x.frequency - 1) ELSE 1 END, timestamptz '2026-06-01 12:00' - (x.recency + i - 1) * interval '1 day' - interval '1 hour'
	FROM shop.expected x, generate_series(1, x.frequency) i;
-- later than what is asked for
INSERT INTO shop.orders VALUES (1, 2, 1000, '2026-06-01 12:00:01'), (2, 20, 1000, '2026-06-02');

SELECT s.*, (s.recency_days, s.frequency, s.monetary, s.r, s.f, s.m) = (x.recency, x.frequency, x.monetary, x.r, x.f, x.m) AS right
FROM journey.rfm('2026-06-01 12:00', 'midrank', orders => 'shop.orders') s LEFT JOIN shop.expected x ON x.id = s.contact;

-- ties by key
SELECT contact, r, f, m, segment FROM journey.rfm('2026-06-01 12:00', orders => 'shop.orders');

-- thresholds: as plain SQL says; of three scores, 1, 3 and 5 in the map
SELECT contact, r, f, m, segment,
	r = 1 + (recency_days < 90)::int + (recency_days < 30)::int AND f = 1 + (frequency >= 2)::int + (frequency >= 5)::int
		AND m = 1 + (monetary >= 100)::int + (monetary >= 500)::int AS right
FROM journey.rfm('2026-06-01 12:00', 'threshold', orders => 'shop.orders',
	recency_within => '{30 days, 90 days}', frequency_from => '{2, 5}', monetary_from => '{100, 500}');

-- only what was ordered in the last 50 days; from captured events; nothing there yet
SELECT contact, recency_days, frequency, monetary FROM journey.rfm('2026-06-01 12:00', orders => 'shop.orders', lookback => '50 days');
SELECT journey.track(1, 'order_placed', '{"total": 20, "net": 15}', '2026-05-30'), journey.track(1, 'order_placed', '{"total": 10}', '2026-05-31'),
	journey.track(2, 'order_placed', '{"total": 5}', '2026-06-02'), journey.track(1, 'looked', '{}', '2026-05-31');
SELECT * FROM journey.rfm('2026-06-01 12:00');
SELECT contact, monetary FROM journey.rfm('2026-06-01 12:00', property => 'net');
SELECT * FROM journey.rfm('2025-01-01', orders => 'shop.orders');

-- the names are the shop's
UPDATE journey_state.rfm_segment SET segment = 'best' WHERE segment = 'champions';
SELECT contact, segment FROM journey.rfm('2026-06-01 12:00', 'midrank', orders => 'shop.orders') WHERE r >= 4 AND f >= 4;

-- every score from 1 to 5 has a class
SELECT r, f, m FROM generate_series(1, 5) r, generate_series(1, 5) f, generate_series(1, 5) m WHERE journey_state.rfm_class(r, f, m) IS NULL;

-- refused
\set VERBOSITY terse
SELECT journey.rfm('2026-06-01', 'quintile');
SELECT journey.rfm('2026-06-01', bins => 1);
SELECT journey.rfm('2026-06-01', 'threshold');
SELECT journey.rfm('2026-06-01', 'threshold', recency_within => '{30 days}', frequency_from => '{2, 5}', monetary_from => '{100}');
SELECT journey.rfm('2026-06-01', 'threshold', recency_within => '{30 days, 90 days}', frequency_from => '{5, 2}', monetary_from => '{100, 500}');
SELECT journey.rfm('2026-06-01', frequency_from => '{5}');
SELECT journey.rfm('2026-06-01', orders => 'shop.orders', contact_column => 'nobody');
RESET SESSION AUTHORIZATION;
SELECT journey.rfm('2026-06-01');

-- an analyst may call it, before and after the views are made again
CREATE ROLE reader;
SELECT journey.grant_role('analyst', 'reader');
SELECT journey._create_views();
SET SESSION AUTHORIZATION reader;
SELECT contact, monetary FROM journey.rfm('2026-06-01 12:00');
SELECT * FROM journey.segment_member;
SELECT * FROM journey.segment_history;
SELECT * FROM journey.segment_progress;
RESET SESSION AUTHORIZATION;

-- it goes with the attachment, and comes back with it and the names
SELECT journey.detach();
SELECT to_regproc('journey.rfm');
SELECT journey.attach('shop.customers', key => 'id', owner => 'shop');
SELECT to_regproc('journey.rfm'), count(*) FILTER (WHERE segment = 'best') AS best FROM journey_state.rfm_segment;
DROP OWNED BY reader;
DROP ROLE reader;
