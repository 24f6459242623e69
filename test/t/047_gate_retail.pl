# The gate over a year of a real shop (data/online_retail_orders.csv.gz): how many
# messages go, and at which instants, is what plain SQL over the raw orders says,
# which knows nothing of the extension.
#
# Definition
#
# * follow: 24 hours after each order (a run for each), if no message went to the
#   customer in the 7 days before; else never.  In plain SQL: a customer's orders in
#   the order of their times; one is followed if 7 days or more have passed since
#   the last that was.
# * evening: 8 hours after each order, at 09:00 if that lies between 20:00 and 09:00
#   of London.  In plain SQL: the local time of the order plus 8 hours of exact time,
#   put off by rounding up to 09:00.
#
# One customer of four, unless PGJ_RETAIL_FULL is set.
#
# An order's number tells the runs apart.  Orders of one customer at one minute
# compete for one place, and it does not matter which gets it: times are compared, not numbers.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $orders = "$FindBin::RealBin/../../data/online_retail_orders.csv.gz";
my $nth = $ENV{PGJ_RETAIL_FULL} ? 1 : 4;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');

sub shop { return $node->safe_psql($_[0], $_[1], extra_params => [ '-U', 'shop' ]); }

sub make
{
	my ($database, $script, @more) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql(
		$database, qq{
		CREATE SCHEMA shop AUTHORIZATION shop;
		SET SESSION AUTHORIZATION shop;
		CREATE TABLE shop.raw (number text, customer_id integer, local timestamp, total numeric, items integer, country text);
		CREATE TABLE shop.customers (id integer PRIMARY KEY, email text NOT NULL, tz text);
		CREATE TABLE shop.orders (number text PRIMARY KEY, customer_id integer NOT NULL, created_at timestamptz NOT NULL, total numeric NOT NULL);
		RESET SESSION AUTHORIZATION;
		COPY shop.raw FROM PROGRAM 'gzip -dc $orders' WITH (FORMAT csv, HEADER);
		DELETE FROM shop.raw WHERE customer_id % $nth <> 0;
		CREATE EXTENSION pg_journey;
		SELECT journey.attach('shop.customers', key => 'id', email => 'email', timezone => 'tz', owner => 'shop');
	});
	shop(
		$database, qq{
		CREATE VIEW shop.history AS SELECT number, customer_id, local AT TIME ZONE 'Europe/London' AS at, total FROM shop.raw;
		INSERT INTO shop.customers SELECT DISTINCT customer_id, 'c' || customer_id || '\@customers.example' FROM shop.raw;
		SELECT journey.capture('order_placed', 'shop.orders', contact => 'customer_id', at => 'created_at', properties => \$\$ jsonb_build_object('number', new.number) \$\$);
		SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop\@shop.example"}');
		SELECT journey.create_template('thanks', channel => 'email', subject => 'Thank you', body => 'How do you like it?');
		SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2010-01-01')) FROM shop.customers;
		SELECT journey.create_journey('follow', \$\$ ON EVENT order_placed KEY event.properties->>'number' TOPIC promotions $script \$\$);
		SELECT journey.activate('follow');
	} . join '', @more);
	shop($database, 'INSERT INTO shop.orders SELECT number, customer_id, at, total FROM shop.history ORDER BY at, number');
	shop($database, q{SELECT journey.replay('2012-01-15', assume_sent => true)});
	is(shop($database, q{SELECT law || ': ' || example FROM journey.check(caps_since => '2010-01-01') WHERE violations > 0}), '', "$database: every law holds");
	return;
}

# sent: instants at which messages went, by customer, against a table of what should be
sub same
{
	my ($database, $name) = @_;
	my $different = shop(
		$database, q{
		WITH sent AS (SELECT contact AS customer_id, claimed_at AS at FROM journey_state.message WHERE claimed_at IS NOT NULL)
		SELECT (SELECT count(*) FROM shop.plain), (SELECT count(*) FROM (TABLE shop.plain EXCEPT ALL TABLE sent) x), (SELECT count(*) FROM (TABLE sent EXCEPT ALL TABLE shop.plain) x)});
	my ($n) = split /\|/, $different;
	is($different, "$n|0|0", "$name: $n messages at the instants that plain SQL says, none missing, none too many");
	return $n;
}

# ---- 24 hours after every order, one in 7 days ----

make('follow', q{WAIT '24 hours'; SEND email thanks;}, q{SELECT journey.create_cap('weekly', 1, '7 days', at => '2010-01-01');});
shop(
	'follow', q{
	CREATE TABLE shop.plain AS
	WITH RECURSIVE due AS (
		SELECT customer_id, at + interval '24 hours' AS at FROM shop.history
	), went (customer_id, at) AS (
		SELECT customer_id, min(at) FROM due GROUP BY 1
		UNION ALL
		SELECT w.customer_id, (SELECT min(d.at) FROM due d WHERE d.customer_id = w.customer_id AND d.at >= w.at + interval '7 days') FROM went w WHERE w.at IS NOT NULL
	)
	SELECT * FROM went WHERE at IS NOT NULL});
my $n = shop('follow', 'SELECT count(*) FROM shop.raw');
is($n, $ENV{PGJ_RETAIL_FULL} ? 18532 : 4330, "$n orders");
my $followed = same('follow', 'follow-up');
is(shop('follow', q{SELECT verdict, reason, count(*) FROM journey_state.verdict GROUP BY 1, 2 ORDER BY 1}),
	"sent||$followed\nwithheld|capped|" . ($n - $followed), 'every order was asked about once, and the others were capped');
is(shop('follow', q{SELECT reason, withheld, messages FROM journey.suppression_share}), 'capped|' . ($n - $followed) . "|$n", 'suppression_share says so');

# ---- 8 hours after every order, not between 20:00 and 09:00 of London ----

make('evening', q{WAIT '8 hours'; SEND email thanks;}, q{
	SELECT journey.set_timezone('{Europe/London}');
	SELECT journey.create_quiet_hours('night', '20:00', '09:00');});
shop(
	'evening', q{
	CREATE TABLE shop.plain AS
	SELECT customer_id, CASE
			WHEN local::time >= '20:00' THEN (local::date + 1 + time '09:00') AT TIME ZONE 'Europe/London'
			WHEN local::time < '09:00' THEN (local::date + time '09:00') AT TIME ZONE 'Europe/London'
			ELSE at END AS at
	FROM (SELECT customer_id, at + interval '8 hours' AS at, (at + interval '8 hours') AT TIME ZONE 'Europe/London' AS local FROM shop.history) h});
is(same('evening', 'evening'), $n, 'nobody was left out');
is(shop('evening', q{SELECT count(*) FROM journey_state.verdict WHERE verdict = 'deferred' AND reason = 'quiet_hours'}),
	shop('evening', q{SELECT count(*) FROM shop.history h JOIN LATERAL (SELECT (h.at + interval '8 hours') AT TIME ZONE 'Europe/London' AS local) l ON true WHERE l.local::time >= '20:00' OR l.local::time < '09:00'}),
	'as many were put off as fell into the night, once each');
is(shop('evening', q{SELECT count(*) FROM journey_state.message WHERE (claimed_at AT TIME ZONE 'Europe/London')::time >= '20:00' OR (claimed_at AT TIME ZONE 'Europe/London')::time < '09:00'}),
	0, 'nothing went at night, in winter time or summer time');

$node->stop;
done_testing();
