# Segments over a year of a real shop (data/online_retail_orders.csv.gz): orders
# arrive month by month, and at every first of month each segment's members are
# those that plain SQL finds in the raw rows, which knows nothing of segments.
# At the end journey.segment_size() tells the size of each month once more.
#
# Definition, at a time t (London's midnight on the first of a month)
#
# * revenue: orders of the last 90 days, t - 90 days < at <= t, come to 1,000 GBP
#   or more.
# * lapsed: one order ever, at or before t - 60 days.
# * scores: recency 5 to 1 for a last order within 30, 60, 120, 240 days or none of
#   them; frequency 5 to 1 for 8, 5, 3, 2 orders or one; sum likewise for 4,000,
#   1,600, 600, 250 GBP.  champions: three scores of 4 or more.  hibernating: the
#   class of that name in journey_state.rfm_segment, recency 2 and frequency 1 or 2.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $orders = "$FindBin::RealBin/../../data/online_retail_orders.csv.gz";
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'Europe/London'\nfsync = off\n");
$node->start;

sub shop
{
	return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'shop' ]);
}

$node->safe_psql(
	'postgres', qq{
	CREATE ROLE shop LOGIN;
	CREATE SCHEMA shop AUTHORIZATION shop;
	SET SESSION AUTHORIZATION shop;
	CREATE TABLE shop.raw (number text, customer_id integer, local timestamp, total numeric, items integer, country text);
	CREATE TABLE shop.customers (id integer PRIMARY KEY, country text NOT NULL, since date NOT NULL);
	CREATE TABLE shop.orders (number text PRIMARY KEY, customer_id integer NOT NULL, created_at timestamptz NOT NULL, total numeric NOT NULL);
	CREATE INDEX ON shop.orders (customer_id, created_at);
	RESET SESSION AUTHORIZATION;
	COPY shop.raw FROM PROGRAM 'gzip -dc $orders' WITH (FORMAT csv, HEADER);
	CREATE EXTENSION pg_journey;
	SELECT journey.attach('shop.customers', key => 'id', owner => 'shop');
});
is($node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT customer_id), sum(total) FROM shop.raw'), '18532|4338|8911407.904', 'the file holds what is published of it');

shop(
	q{
	SET search_path = shop;
	CREATE VIEW history AS SELECT number, customer_id, local AT TIME ZONE 'Europe/London' AS at, local::date AS day, total, country FROM raw;

	SELECT journey.create_segment('revenue', $$
	  (SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '90 days') >= 1000
	$$, at => '2010-12-01');
	SELECT journey.create_segment('lapsed', $$
	  (SELECT count(*) = 1 AND max(o.created_at) <= now() - interval '60 days' FROM orders o WHERE o.customer_id = c.id)
	$$, at => '2010-12-01');
	SELECT journey.create_segment('champions', $$
	  journey.rfm_recency((SELECT max(o.created_at) FROM orders o WHERE o.customer_id = c.id), '{30 days, 60 days, 120 days, 240 days}', now()) >= 4
	  AND journey.rfm_score((SELECT count(*) FROM orders o WHERE o.customer_id = c.id), '{2, 3, 5, 8}') >= 4
	  AND journey.rfm_score((SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id), '{250, 600, 1600, 4000}') >= 4
	$$, at => '2010-12-01');
	SELECT journey.create_segment('hibernating', $$
	  journey_state.rfm_class(
	    journey.rfm_recency((SELECT max(o.created_at) FROM orders o WHERE o.customer_id = c.id), '{30 days, 60 days, 120 days, 240 days}', now()),
	    journey.rfm_score((SELECT count(*) FROM orders o WHERE o.customer_id = c.id), '{2, 3, 5, 8}'),
	    journey.rfm_score((SELECT sum(o.total) FROM orders o WHERE o.customer_id = c.id), '{250, 600, 1600, 4000}')) = 'hibernating'
	$$, at => '2010-12-01');
});
is(shop('SELECT count(*) FROM journey.segment WHERE opaque'), 0, 'all of them are looked into');

# The same from the raw rows alone; $T stands for the time.
my %plain = (
	revenue => q{SELECT customer_id FROM shop.history WHERE at <= $T AND at > $T - interval '90 days' GROUP BY 1 HAVING sum(total) >= 1000},
	lapsed => q{SELECT customer_id FROM shop.history WHERE at <= $T GROUP BY 1 HAVING count(*) = 1 AND min(at) <= $T - interval '60 days'},
	champions => q{SELECT customer_id FROM shop.history WHERE at <= $T GROUP BY 1 HAVING max(at) > $T - interval '60 days' AND count(*) >= 5 AND sum(total) >= 1600},
	hibernating => q{SELECT customer_id FROM shop.history WHERE at <= $T GROUP BY 1
		HAVING max(at) > $T - interval '240 days' AND max(at) <= $T - interval '120 days' AND count(*) < 3},
);

# Some months by tick, the others by replay.
my $advance = q{
	DO $$
	DECLARE
		round record;
	BEGIN
		LOOP
			SELECT * INTO round FROM journey.tick('%s');
			COMMIT;
			EXIT WHEN NOT round.more;
		END LOOP;
	END
	$$
};

my %size;
my $before = '2010-12-01';
foreach my $month ((map { sprintf '2011-%02d-01', $_ } 1 .. 12), '2012-01-01', '2012-02-01', '2012-09-01')
{
	my $now = "timestamptz '$month 00:00 Europe/London'";
	shop(
		qq{
		INSERT INTO shop.customers SELECT customer_id, min(country), min(day) FROM shop.history GROUP BY customer_id
			HAVING min(day) >= '$before' AND min(day) < '$month';
		INSERT INTO shop.orders SELECT number, customer_id, at, total FROM shop.history WHERE day >= '$before' AND day < '$month' ORDER BY at, number});
	if ($month =~ /[02468]-01$/)
	{
		shop("SELECT journey.replay($now)");
	}
	else
	{
		shop(sprintf $advance, "$month 00:00 Europe/London");
	}

	foreach my $segment (sort keys %plain)
	{
		my $sql = $plain{$segment} =~ s/\$T/$now/gr;
		my $result = shop(
			qq{
			WITH plain AS MATERIALIZED ($sql), kept AS MATERIALIZED (SELECT contact FROM journey.segment_member WHERE segment = '$segment')
			SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM (TABLE plain EXCEPT TABLE kept) x), (SELECT count(*) FROM (TABLE kept EXCEPT TABLE plain) x)});
		my ($n) = split /\|/, $result;
		$size{$segment}{$month} = $n;
		is($result, "$n|0|0", "$segment on $month: $n members, none missing, none too many");
	}
	$before = $month;
}

# the data moves every one of them
foreach my $segment (sort keys %size)
{
	my %values = map { $_ => 1 } values %{ $size{$segment} };
	cmp_ok(scalar(keys %values), '>', 8, "$segment: " . join(' ', map { $size{$segment}{$_} } sort keys %{ $size{$segment} }));
}

is( shop(q{SELECT segment, sum(entered), sum(exited), (array_agg(size ORDER BY at DESC))[1] = sum(entered) - sum(exited) FROM journey.segment_history GROUP BY 1 ORDER BY 1})
	  =~ s/^(\w+)\|(\d+)\|(\d+)\|t$/"$1 " . ($2 - $3)/gmer,
	join("\n", map { "$_ $size{$_}{'2012-09-01'}" } sort keys %size), 'segment_history adds up');

# ---- as of -----------------------------------------------------------------

sub fails
{
	my ($sql) = @_;
	my ($ret, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'shop' ]);
	return $err =~ s/^psql:<stdin>:\d+: //mgr;
}

like(fails(q{SELECT journey.segment_size('revenue', '2011-05-01')}),
	qr/the size of segment "revenue" at another time cannot be told\nDETAIL: .* for: (shop\.customers, shop\.orders|shop\.orders, shop\.customers)\./,
	'tables without a time column are named');
shop(q{SELECT journey.set_time_column('shop.orders', 'created_at')});
like(fails(q{SELECT journey.segment_size('revenue', '2011-05-01')}), qr/for: shop\.customers\.$/m, 'the contact table needs one, too');
shop(q{SELECT journey.set_time_column('shop.customers', 'since')});
like(fails(q{SELECT journey.segment_size('hibernating', '2011-05-01')}), qr/for: journey_state\.rfm_segment\.$/m, 'a table of names is a table');

foreach my $segment (qw(revenue lapsed champions))
{
	my $sizes = shop(
		"SELECT string_agg(journey.segment_size('$segment', m::timestamptz)::text, ' ' ORDER BY m)
		FROM unnest(ARRAY[" . join(', ', map { "'$_'" } sort keys %{ $size{$segment} }) . "]::timestamp[]) AS m");
	is($sizes, join(' ', map { $size{$segment}{$_} } sort keys %{ $size{$segment} }), "segment_size tells the sizes of $segment");
}

$node->stop;
done_testing();
