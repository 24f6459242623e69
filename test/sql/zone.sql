-- Time zones: which there are, what a local time means, calendar periods.
\getenv srcdir PG_ABS_SRCDIR
\set shop :srcdir '/data/shop.sql'
\i :shop
SET timezone = 'UTC';
SET datestyle = 'ISO, MDY';
\set SHOW_CONTEXT never

-- a zone is Area/City or UTC
\pset format unaligned
SELECT z AS name, journey._is_timezone(z) AS ok FROM unnest(ARRAY['Europe/London', 'europe/LONDON', 'America/Argentina/Buenos_Aires', 'America/Port-au-Prince', 'US/Eastern', 'Australia/LHI', 'UTC', 'utc', 'Etc/UTC',
	'', ' ', ' Europe/London', 'EST', 'EST5EDT', 'CET', 'GMT', 'GB', 'UTC+3', 'UTC-3', '+03:00', '3', 'Mars/X', 'Mars/X3', 'Mars/X-3', 'Mars/X+3:30', 'mars/olympus+3', 'Europe/London3', 'Europe/', '/London', 'Europe', 'Etc/GMT+3', 'posix/Europe/London', 'right/Europe/London',
	'../../etc/passwd', 'Europe/../Europe/London', 'America/New_York,M3.2.0,M11.1.0', 'Факты/Город', 'Factory', 'localtime', 'posixrules']) AS z;
SELECT journey._is_timezone(repeat('a', 10000)) AS long, journey._is_timezone('Europe/' || repeat('x', 10000)) AS long_city;
\pset format aligned

-- G01, G02: a local time that the clock jumps over has the first instant after; of two, the first
SELECT z AS zone, l AS local, journey._local_instant(z, l::timestamp) AS instant, journey._local_instant(z, l::timestamp) AT TIME ZONE z AS shows
FROM (VALUES
	('America/New_York', '2026-03-08 01:59:59.999999'), ('America/New_York', '2026-03-08 02:00'), ('America/New_York', '2026-03-08 02:30'), ('America/New_York', '2026-03-08 03:00'),
	('America/New_York', '2026-11-01 00:59'), ('America/New_York', '2026-11-01 01:00'), ('America/New_York', '2026-11-01 01:30'), ('America/New_York', '2026-11-01 02:00'),
	('Australia/Sydney', '2026-10-04 02:30'), ('Australia/Sydney', '2026-04-05 02:30'),
	('Europe/London', '2026-03-29 01:30'), ('Europe/London', '2026-10-25 01:30'),
	-- G04: midnight is not there
	('America/Santiago', '2026-09-06 00:00'), ('America/Santiago', '2026-09-06 00:30'), ('America/Santiago', '2026-09-06 01:00'), ('America/Santiago', '2026-04-04 23:30'), ('America/Santiago', '2026-04-05 00:00'),
	('Asia/Beirut', '2026-03-29 00:15'),
	-- half an hour
	('Australia/Lord_Howe', '2026-10-04 02:15'), ('Australia/Lord_Howe', '2026-10-04 02:30'), ('Australia/Lord_Howe', '2026-04-05 01:45'), ('Australia/Lord_Howe', '2026-04-05 02:00'),
	-- a day that is not there
	('Pacific/Apia', '2011-12-29 23:59'), ('Pacific/Apia', '2011-12-30 00:00'), ('Pacific/Apia', '2011-12-30 12:00'), ('Pacific/Apia', '2011-12-31 00:00'),
	-- summer time all year but for Ramadan
	('Africa/Casablanca', '2026-02-15 02:30'), ('Africa/Casablanca', '2026-03-22 02:30'),
	('Asia/Kathmandu', '2026-06-01 05:45'), ('UTC', '2026-06-01 12:00')
) AS v (z, l);
SELECT journey._local_instant('EST', '2026-01-01');

-- a time of day comes once a day, whatever the clock does
SELECT z AS zone, t AS local, d AS days, array_agg(n ORDER BY n) AS instants
FROM (VALUES ('America/New_York', '2026-03-07 00:00+00', '02:30', 127), ('America/New_York', '2026-10-31 00:00+00', '01:30', 127),
	('Pacific/Apia', '2011-12-28 12:00+00', '09:00', 127), ('Pacific/Apia', '2011-12-28 12:00+00', '00:00', 127),
	('Europe/London', '2026-03-23 00:00+00', '09:00', 1 + 16)) AS v (z, a, t, d)
CROSS JOIN LATERAL (
	WITH RECURSIVE r (n, i) AS (
		SELECT journey._local_next(z, a::timestamptz, t::time, d), 1
		UNION ALL SELECT journey._local_next(z, r.n, t::time, d), r.i + 1 FROM r WHERE r.i < 4)
	SELECT r.n FROM r) AS n
GROUP BY 1, 2, 3, v.a ORDER BY 1, 2;
SELECT journey._local_next('UTC', '2026-01-01', '09:00', 0);

-- calendar periods: 23 and 25 hours, weeks from Monday, midnight not there, the clock back over midnight
SELECT z AS zones, p AS period, a AS at, b[1] AS starts, b[2] AS ends, b[2] - b[1] AS length
FROM (VALUES
	('{Europe/London}', 'day', '2026-03-29 12:00+00'), ('{Europe/London}', 'day', '2026-10-25 12:00+00'), ('{Europe/London}', 'day', '2026-06-01 22:59:59.999999+00'), ('{Europe/London}', 'day', '2026-06-01 23:00+00'),
	('{Europe/London}', 'week', '2026-03-29 12:00+00'), ('{Europe/London}', 'week', '2026-03-29 23:00+00'), ('{UTC}', 'week', '2026-01-01 00:00+00'),
	('{Europe/London}', 'month', '2026-03-31 22:59+00'), ('{Europe/London}', 'month', '2026-03-31 23:00+00'), ('{Asia/Tokyo}', 'month', '2026-12-31 15:00+00'), ('{UTC}', 'month', '1999-12-31 23:00+00'),
	('{America/Santiago}', 'day', '2026-09-06 12:00+00'), ('{America/Santiago}', 'day', '2026-04-05 03:30+00'), ('{America/Toronto}', 'day', '1987-10-25 04:30+00'),
	('{America/St_Johns}', 'day', '2006-10-29 02:15+00'), ('{America/St_Johns}', 'day', '2006-10-29 02:45+00'), ('{America/St_Johns}', 'day', '2006-10-29 03:15+00'),
	('{Pacific/Apia}', 'day', '2011-12-30 09:59+00'), ('{Pacific/Apia}', 'day', '2011-12-30 10:00+00'),
	('{America/New_York,America/Los_Angeles}', 'day', '2026-06-01 05:00+00'), ('{America/Los_Angeles,America/New_York}', 'day', '2026-06-01 12:00+00')
) AS v (z, p, a), journey._local_period(z::text[], p, a::timestamptz) AS b;
SELECT journey._local_period('{UTC}', 'year', '2026-01-01');
SELECT journey._local_period('{UTC,EST}', 'day', '2026-01-01');
-- an end to the search, also where time ends
SELECT journey._local_instant('UTC', 'infinity');
SELECT journey._local_next('UTC', 'infinity', '09:00', 127);
SELECT journey._local_period('{UTC}', 'day', 'infinity');
SELECT journey._local_period('{UTC}', 'month', '-infinity');

-- zones of countries
SELECT journey.set_timezone('{Europe/London}', at => '2026-01-01');
SELECT journey.set_timezone('{America/New_York,America/Chicago,America/Denver,America/Los_Angeles}', 'us', '2026-01-01');
SELECT journey.set_timezone('{America/New_York,America/Chicago}', ' US-FL ', '2026-01-01');
SELECT journey.set_timezone('{Asia/Tokyo}', 'JP', '2026-01-01');
SELECT journey.set_timezone(NULL, 'JP');
SELECT journey.set_timezone(NULL, 'XX');
SELECT * FROM journey.timezone ORDER BY country;
SELECT journey.set_timezone('{EST}', 'US');
SELECT journey.set_timezone('{Europe/London,UTC+3}', 'US');
SELECT journey.set_timezone('{}', 'US');
SELECT journey.set_timezone('{Europe/London,NULL}', 'US');
SELECT journey.set_timezone('{Europe/London}', '');
SELECT journey.set_timezone('{Europe/London}', NULL);
SELECT journey.set_timezone('{Europe/London}', repeat('x', 61));

-- those of the tz database, where none are set
SELECT count(*) < 20 AS server_knows_nearly_all FROM journey.country_zone, unnest(zones) AS z WHERE NOT journey._is_timezone(z);
SELECT journey.set_country_timezones('2026-01-02') AS added, journey.set_country_timezones('2026-01-02') AS again;
SELECT country, zones, set_at FROM journey.timezone WHERE country IN ('*', 'US', 'US-FL', 'GB', 'ES', 'JP', 'UA') ORDER BY country;
DELETE FROM journey.country_zone;
