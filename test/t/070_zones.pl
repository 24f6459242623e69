# Local times through every change of the clock, 2024 to 2037, against brute force
# over every five minutes with AT TIME ZONE.
#
# PGJ_ZONES=all takes every zone that the server knows (a few minutes); else
# twenty, odd ones among them.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my @few = qw(
	America/New_York Europe/London Australia/Sydney Asia/Tokyo UTC
	America/Santiago Asia/Beirut Australia/Lord_Howe Africa/Casablanca Africa/El_Aaiun
	Africa/Cairo America/Havana America/Asuncion America/St_Johns Pacific/Chatham
	Pacific/Apia Antarctica/Troll Asia/Jerusalem Asia/Gaza America/Scoresbysund);

my $node = PostgreSQL::Test::Cluster->new('zones');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\njit = off\n");
$node->start;
$node->safe_psql('postgres', <<'EOC');
CREATE ROLE shop LOGIN;
CREATE EXTENSION pg_journey;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text, tz text);
RESET SESSION AUTHORIZATION;
SELECT journey.attach('shop.customers', email => 'email', timezone => 'tz', owner => 'shop');
EOC

sub shop
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'shop' ]);
}

my $all = ($ENV{PGJ_ZONES} // '') eq 'all';
my $list = join ',', map { "'$_'" } @few;
my $zones = shop("CREATE TABLE shop.zone AS SELECT name FROM pg_timezone_names WHERE journey._is_timezone(name)"
		. ($all ? '' : " AND name IN ($list)") . '; SELECT count(*) FROM shop.zone');
if ($all) { cmp_ok($zones, '>', 400, "zones: $zones") }
else { is($zones, scalar @few, 'the zones are there') }
is(shop("SELECT string_agg(name, ' ') FROM pg_timezone_names WHERE name ~ '/' AND name !~ '^(Etc|posix|right|SystemV)/' AND NOT journey._is_timezone(name)"),
	'', 'every Area/City is a zone');

# The changes, to the minute.
shop(<<'EOC');
CREATE FUNCTION shop.shift(zone text, at timestamptz) RETURNS interval LANGUAGE sql STABLE
	AS $$ SELECT (at AT TIME ZONE zone) - (at AT TIME ZONE 'UTC') $$;
CREATE TABLE shop.change AS
SELECT row_number() OVER () AS id, z.name AS zone,
	(SELECT min(m) FROM generate_series(d.at, d.at + '1 day', '1 minute') AS m WHERE shop.shift(z.name, m) <> shop.shift(z.name, d.at)) AS at
FROM shop.zone z, generate_series('2024-01-01'::timestamptz, '2037-12-31', '1 day') AS d (at)
WHERE shop.shift(z.name, d.at) <> shop.shift(z.name, d.at + '1 day');
CREATE TABLE shop.minute (id bigint, at timestamptz, local timestamp, PRIMARY KEY (id, at));
INSERT INTO shop.minute SELECT c.id, m, m AT TIME ZONE c.zone FROM shop.change c, generate_series(c.at - '3 days'::interval, c.at + '3 days', '5 minutes') AS m;
-- when the clock first shows a time at least as late: of each quarter of an hour
CREATE TABLE shop.quarter AS
SELECT id, at, l AS local FROM (
	SELECT id, at, upto, lag(upto) OVER (PARTITION BY id ORDER BY at) AS before
	FROM (SELECT id, at, max(local) OVER (PARTITION BY id ORDER BY at) AS upto FROM shop.minute) AS m) AS m
CROSS JOIN LATERAL generate_series(date_bin('15 minutes', before, '2000-01-01') + '15 minutes'::interval, upto, '15 minutes') AS l
WHERE upto > before;
CREATE INDEX ON shop.quarter (id, local);
ANALYZE;
EOC
my ($changes, $quarters) = split /\|/, shop('SELECT (SELECT count(*) FROM shop.change), (SELECT count(*) FROM shop.quarter)');
cmp_ok($changes, '>', 300, "changes of the clock: $changes");
is(shop("SELECT count(*) FROM shop.change WHERE extract(epoch FROM at)::bigint % 300 <> 0"), 0, 'at multiples of five minutes');
is(shop('SELECT count(*) FROM shop.change c WHERE (SELECT count(*) FROM shop.quarter q WHERE q.id = c.id AND q.local::date = (c.at AT TIME ZONE c.zone)::date) < 96 AND shop.shift(c.zone, c.at) < shop.shift(c.zone, c.at - interval \'5 minutes\')'),
	0, 'all 96 quarters of each such day are looked at');

is(shop(<<'EOC'), '', "each of $quarters local times has the instant that brute force finds");
SELECT c.zone, q.local, q.at, journey._local_instant(c.zone, q.local) FROM shop.quarter q JOIN shop.change c USING (id)
WHERE journey._local_instant(c.zone, q.local) IS DISTINCT FROM q.at LIMIT 5;
EOC

is(shop(<<'EOC'), '', 'every time of day comes once a day: none is lost, none comes twice');
WITH RECURSIVE due (id, zone, time, until, at, n) AS (
	SELECT c.id, c.zone, t::time, c.at + '2 days'::interval, journey._local_next(c.zone, c.at - '2 days'::interval, t::time, 127), 1
	FROM shop.change c, generate_series('2000-01-01'::timestamp, '2000-01-01 23:45', '15 minutes') AS t
	UNION ALL
	SELECT id, zone, time, until, journey._local_next(zone, at, time, 127), n + 1 FROM due WHERE at <= until AND n < 10
), got AS (
	SELECT id, time, array_agg(at ORDER BY n) AS at FROM due WHERE at <= until GROUP BY 1, 2
), want AS (
	SELECT q.id, q.local::time AS time, array_agg(q.at ORDER BY q.at) AS at FROM shop.quarter q JOIN shop.change c USING (id)
	WHERE q.at > c.at - '2 days'::interval AND q.at <= c.at + '2 days'::interval GROUP BY 1, 2
)
SELECT id, time, got.at, want.at FROM got FULL JOIN want USING (id, time) WHERE got.at IS DISTINCT FROM want.at LIMIT 5;
EOC

is(shop(<<'EOC'), '', 'days, from one midnight to the next');
WITH midnight AS (
	SELECT id, at, lead(at) OVER (PARTITION BY id ORDER BY at) AS ends FROM shop.quarter WHERE local::time = '00:00'
)
SELECT c.zone, h, p, m.at, m.ends FROM shop.change c
CROSS JOIN LATERAL generate_series(c.at - '30 hours'::interval, c.at + '30 hours', '30 minutes') AS h
CROSS JOIN LATERAL journey._local_period(ARRAY[c.zone], 'day', h) AS p
LEFT JOIN midnight m ON m.id = c.id AND m.at <= h AND h < m.ends
WHERE p[1] IS DISTINCT FROM m.at OR p[2] IS DISTINCT FROM m.ends LIMIT 5;
EOC

# Quiet hours: the first minute at which the clock shows a time outside.
$node->safe_psql('postgres', q{SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example"}')},
	extra_params => [ '-U', 'shop' ]);
shop("INSERT INTO shop.customers SELECT row_number() OVER (ORDER BY name), 'a\@shop.example', name FROM shop.zone");
foreach my $window ([ '21:00', '08:00' ], [ '01:00', '02:30' ], [ '23:30', '00:30' ], [ '00:00', '01:30' ], [ '02:15', '03:15' ])
{
	my ($starts, $ends) = @$window;
	my $quiet = $starts lt $ends ? "m.local::time >= '$starts' AND m.local::time < '$ends'" : "(m.local::time >= '$starts' OR m.local::time < '$ends')";
	shop("SELECT journey.create_quiet_hours('night', '$starts', '$ends')");
	is(shop(<<EOC), '', "quiet from $starts to $ends");
WITH asked AS (
	SELECT c.id, c.zone, h AS at, (SELECT min(m.at) FROM shop.minute m WHERE m.id = c.id AND m.at >= h AND NOT ($quiet)) AS want,
		coalesce(journey.quiet_until(s.id, 'email', 'promotions', h), h) AS got
	FROM shop.change c JOIN shop.customers s ON s.tz = c.zone
	CROSS JOIN LATERAL unnest(ARRAY[c.at - '1 hour'::interval, c.at - '5 minutes'::interval, c.at, c.at + '25 minutes'::interval, c.at + '60 minutes'::interval]) AS h
)
SELECT * FROM asked WHERE got IS DISTINCT FROM want LIMIT 5;
EOC
}

$node->stop;
done_testing();
