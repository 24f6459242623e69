# Every file in recipes/segments/ can be applied to a shop as it stands, and its
# segments are right: while the shop changes and time goes by, members are those
# for whom the predicate holds when PostgreSQL evaluates it from scratch.
#
# From scratch: the text of the predicate in a plain query over the customers, in
# which now() is a function that tells the time of the test, and a call of
# journey.in_segment() is the other segment's text.
use strict;
use warnings;

use File::Basename;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');

sub shop
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', "SET search_path = shop, public;\n$sql", extra_params => [ '-U', 'shop' ]);
}

$node->safe_psql(
	'postgres', q{
	CREATE SCHEMA shop AUTHORIZATION shop;
	SET SESSION AUTHORIZATION shop;
	CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text NOT NULL, country text, birthday date, referred_by bigint, created_at timestamptz NOT NULL);
	CREATE TABLE shop.products (id bigint PRIMARY KEY, category text NOT NULL, brand text NOT NULL, price numeric NOT NULL);
	CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint NOT NULL, total numeric NOT NULL, discount numeric NOT NULL DEFAULT 0, promo_code text,
		country text, created_at timestamptz NOT NULL);
	CREATE TABLE shop.order_items (order_id bigint NOT NULL, product_id bigint NOT NULL, quantity integer NOT NULL, price numeric NOT NULL, PRIMARY KEY (order_id, product_id));
	CREATE TABLE shop.carts (id bigint PRIMARY KEY, customer_id bigint NOT NULL, total numeric NOT NULL, updated_at timestamptz NOT NULL);
	CREATE INDEX ON shop.customers (referred_by);
	CREATE INDEX ON shop.orders (customer_id);
	CREATE INDEX ON shop.order_items (product_id);
	CREATE INDEX ON shop.carts (customer_id);

	-- the same numbers on every machine
	CREATE FUNCTION shop.dice(what text, sides integer) RETURNS integer LANGUAGE sql IMMUTABLE
		RETURN ((('x' || left(md5(what), 7))::bit(28)::integer) % sides);

	INSERT INTO shop.customers SELECT i, 'c' || i || '@customers.example', (ARRAY['GB', 'FR', 'TW', NULL])[1 + i % 4], date '1990-01-01' + shop.dice('birth' || i, 9000),
			CASE WHEN i % 7 = 0 THEN i - 6 END, timestamptz '2025-03-01' + shop.dice('since' || i, 400) * interval '1 day'
		FROM generate_series(1, 120) i;
	INSERT INTO shop.products SELECT i, (ARRAY['tea', 'coffee', 'cups'])[1 + i % 3], (ARRAY['Aurora', 'Boreas'])[1 + i % 2], 5 + i % 40 FROM generate_series(1, 20) i;

	-- what happens between two times: orders with items, carts, some changed or gone again; three of four customers are quiet in each round
	CREATE FUNCTION shop.happen(since timestamptz, until timestamptz, n integer) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		first bigint := coalesce((SELECT max(id) FROM shop.orders), 0);
		place bigint := coalesce((SELECT max(id) FROM shop.carts), 0);
	BEGIN
		INSERT INTO shop.orders
			SELECT first + i, 1 + (i * i + 4 * shop.dice(until::text || i, 30)) % 120, 10 + shop.dice('total' || until || i, 100) * CASE WHEN i % 9 = 0 THEN 100 ELSE 2 END,
				(i % 3) * 5, CASE WHEN i % 5 = 0 THEN 'spring26' END, (ARRAY['GB', 'FR', 'TW'])[1 + i % 3],
				since + (until - since) * shop.dice('at' || until || i, 1000) / 1000.0
			FROM generate_series(1, n) i;
		INSERT INTO shop.order_items
			SELECT o.id, 1 + (shop.dice('item' || o.id, 10) + 10 * k) % 20, 1 + shop.dice('n' || o.id || k, 3), p.price - CASE WHEN shop.dice('cut' || o.customer_id, 3) > 0 THEN 1 ELSE 0 END
			FROM shop.orders o, generate_series(0, 1) k, shop.products p
			WHERE o.id > first AND p.id = 1 + (shop.dice('item' || o.id, 10) + 10 * k) % 20;
		INSERT INTO shop.carts
			SELECT place + i, 1 + shop.dice('cart' || until || i, 120), 20 + shop.dice('worth' || until || i, 200), since + (until - since) * shop.dice('put' || until || i, 1000) / 1000.0
			FROM generate_series(1, n) i;
		-- half of it are a few who look around a lot
		PERFORM journey.track(1 + shop.dice('who' || until || i, CASE WHEN i % 2 = 0 THEN 12 ELSE 120 END),
				CASE WHEN i % 2 = 0 THEN 'viewed' ELSE (ARRAY['viewed', 'viewed', 'viewed', 'downloaded', 'quiz_finished', 'page_left', 'sent', 'opened', 'clicked'])[1 + i % 9] END,
				jsonb_build_object('category', (ARRAY['tea', 'tea', 'coffee'])[1 + i % 3], 'seconds', i * 7 % 900, 'message_id', i % 60),
				since + (until - since) * shop.dice('when' || until || i, 1000) / 1000.0)
			FROM generate_series(1, 4 * n) i;
		-- messages to a few, most of them opened
		PERFORM journey.track(i % 10 + 1, k, jsonb_build_object('message_id', place + i), since + (until - since) * (0.1 + i / 200.0))
			FROM generate_series(1, 60) i, unnest(ARRAY['sent', 'opened']) k WHERE k = 'sent' OR shop.dice('open' || until || i, 10) < 4;

		-- and changes of what was there
		UPDATE shop.orders SET customer_id = 1 + (customer_id + 3) % 120 WHERE shop.dice('moved' || until || id, 40) = 0;
		UPDATE shop.orders SET total = total * 3, discount = 1 WHERE shop.dice('changed' || until || id, 40) = 0;
		DELETE FROM shop.orders WHERE shop.dice('cancelled' || until || id, 40) = 0;
		UPDATE shop.products SET category = CASE category WHEN 'tea' THEN 'cups' ELSE 'tea' END WHERE id = 1 + shop.dice('shelf' || until, 20);
		UPDATE shop.carts SET updated_at = until - interval '10 minutes' WHERE shop.dice('again' || until || id, 20) = 0;
		DELETE FROM shop.carts WHERE shop.dice('emptied' || until || id, 30) = 0;
		UPDATE shop.customers SET country = 'FR', birthday = birthday + 31 WHERE shop.dice('moves' || until || id, 30) = 0;
		UPDATE shop.customers SET referred_by = 1 + shop.dice('friend' || until || id, 120) WHERE shop.dice('refers' || until || id, 40) = 0;
		DELETE FROM shop.customers WHERE shop.dice('leaves' || until || id, 100) = 0;
		INSERT INTO shop.customers SELECT i, 'c' || i || '@customers.example', 'GB', date '1990-01-01' + shop.dice('birth' || until, 9000), 1, until
			FROM generate_series(1, 120) i WHERE NOT EXISTS (SELECT FROM shop.customers c WHERE c.id = i) AND shop.dice('back' || until || i, 3) = 0;
	END
	$$;

	-- the time of the test
	CREATE SCHEMA scratch;
	CREATE FUNCTION scratch.now() RETURNS timestamptz LANGUAGE sql STABLE RETURN current_setting('scratch.now')::timestamptz;
	RESET SESSION AUTHORIZATION;
	CREATE EXTENSION pg_journey;
	SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
} =~ s/CREATE SCHEMA scratch;/RESET SESSION AUTHORIZATION; CREATE SCHEMA scratch AUTHORIZATION shop; SET SESSION AUTHORIZATION shop;/r);

sub tick
{
	my ($at) = @_;
	shop(
		qq{
		DO \$\$
		DECLARE
			round record;
		BEGIN
			LOOP
				SELECT * INTO round FROM journey.tick('$at');
				COMMIT;
				EXIT WHEN NOT round.more;
			END LOOP;
		END
		\$\$});
	return;
}

# a year before the first segment
shop(q{
	SELECT shop.happen('2025-03-01', '2025-09-01', 60);
	SELECT shop.happen('2025-09-01', '2025-12-01', 60);
	SELECT shop.happen('2025-12-01', '2026-01-01', 40);
	SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example"}');
	SELECT journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2025-12-31') FROM shop.customers WHERE id % 3 > 0;
});

my @files = map { basename($_) } sort glob "$root/recipes/segments/*.sql";
foreach my $file (@files)
{
	my $script = slurp_file("$root/recipes/segments/$file");
	my ($ret, $out, $err) = $node->psql('postgres', "SET search_path = shop, public;\n" . $script, on_error_stop => 1, extra_params => [ '-U', 'shop' ]);
	$err =~ s/^.*NOTICE:.*\n?(?:(?:DETAIL|HINT|CONTEXT):.*\n?)*//mg;
	is("$ret $err", '0 ', "$file can be applied");
}
like(slurp_file("$root/recipes/segments/README.md"), qr/\Q($_)\E/, "README.md names $_") foreach @files;

# they were made at the clock's time, which is not the test's
shop(q{SELECT journey.refresh_segment(name, at => '2026-01-01') FROM journey.segment});

my (%predicate, %zone);
foreach my $name (split /\n/, shop('SELECT name FROM journey.segment ORDER BY segment_id'))
{
	$predicate{$name} = shop("SELECT predicate FROM journey.segment WHERE name = '$name'");
	$zone{$name} = shop("SELECT timezone FROM journey.segment WHERE name = '$name'");
}
cmp_ok(scalar(keys %predicate), '>', 35, 'the library is there');

# those that cannot be kept exact
is(shop(q{SELECT string_agg(name, ' ' ORDER BY name) FROM journey.segment WHERE opaque}), 'top_tenth', 'only what hangs on everybody is opaque');
is(shop(q{SELECT count(*) FROM journey.segment_part p JOIN journey.segment s USING (segment_id) WHERE s.name = 'top_tenth' AND p.kind = 'opaque' AND p.source ~ 'revenue_quantile'}),
	1, 'and it says which part');

sub from_scratch
{
	my ($name) = @_;
	my $text = $predicate{$name};
	$text =~ s/journey\.in_segment\(c\.id, '(\w+)'\)/'(' . from_scratch($1) . ') IS TRUE'/ge;
	return $text;
}

sub compare
{
	my ($at, $what) = @_;
	my (@wrong, $members);
	my $script = "SET search_path = scratch, shop, pg_catalog; SET scratch.now = '$at+00';\n";

	foreach my $name (sort keys %predicate)
	{
		my $scratch = from_scratch($name);
		$script .= qq{
			SET timezone = '$zone{$name}';
			WITH scratch AS MATERIALIZED (SELECT c.id FROM shop.customers c WHERE ($scratch)),
			kept AS MATERIALIZED (SELECT contact AS id FROM journey.segment_member WHERE segment = '$name')
			SELECT format('$name %s %s', (SELECT count(*) FROM scratch),
				concat_ws(' ', (SELECT 'missing ' || string_agg(id::text, ',' ORDER BY id) FROM (TABLE scratch EXCEPT TABLE kept) x),
					(SELECT 'too many ' || string_agg(id::text, ',' ORDER BY id) FROM (TABLE kept EXCEPT TABLE scratch) x)));};
	}
	foreach my $line (split /\n/, shop($script))
	{
		my ($name, $n, $difference) = $line =~ /^(\w+) (\d+) ?(.*)$/;
		$members->{$name} = $n;
		push @wrong, "$name: $difference" if $difference ne '';
	}
	is(scalar(keys %$members), scalar(keys %predicate), "$at: every segment is compared");
	is(join("\n", @wrong), '', "$what at $at: as from scratch");
	return $members;
}

# Each: a time to tick at, and how much happens before it since the one before.
my @times = (
	[ '2026-01-01 00:00:00', 0 ], [ '2026-01-01 03:10:00', 10 ], [ '2026-01-09 12:00:00', 30 ], [ '2026-01-31 23:59:59', 40 ],
	[ '2026-02-01 00:00:00', 0 ], [ '2026-03-29 00:59:59', 50 ], [ '2026-03-31 23:30:00', 20 ], [ '2026-05-30 08:00:00', 60 ], [ '2026-08-31 23:00:00', 0 ],
	[ '2026-12-31 12:00:00', 80 ], [ '2028-02-29 12:00:00', 0 ]);
my (%most, %least);
my $since = '2026-01-01';
foreach my $time (@times)
{
	my ($at, $n) = @$time;
	shop("SELECT shop.happen('$since', '$at', $n)") if $n > 0;
	if ($at gt '2026-03-30' && $at lt '2026-04')
	{
		# data that a recipe made
		shop(q{
			UPDATE loyalty_tier SET revenue_from = revenue_from / 20;
			INSERT INTO customer_tag SELECT id, CASE WHEN id % 2 = 0 THEN 'wholesale' ELSE 'support' END, '2026-03-31 20:00' FROM shop.customers WHERE id % 5 < 2;
			UPDATE journey_state.rfm_segment SET m_min = 3 WHERE segment = 'champions';
			SELECT journey.set_consent(id, 'email', 'promotions', false, 'test', at => '2026-03-31') FROM shop.customers WHERE id % 6 = 1;
		});
	}
	shop("SELECT journey.refresh_segment('top_tenth', at => '$at')");
	tick($at);
	my $members = compare($at, $n ? 'changes and the clock' : 'the clock alone');
	foreach my $name (keys %$members)
	{
		$most{$name} = $members->{$name} if !defined $most{$name} || $members->{$name} > $most{$name};
		$least{$name} = $members->{$name} if !defined $least{$name} || $members->{$name} < $least{$name};
	}
	$since = $at;
}

# a comparison of nobody with nobody proves little
is(join(' ', grep { !$most{$_} } sort keys %most), '', 'every segment had somebody in it');
is(join(' ', grep { $most{$_} == $least{$_} } sort keys %most), '', 'and its size changed');
is(shop("SELECT string_agg(name || ': ' || error, ' ') FROM journey.segment WHERE status <> 'current'"), '', 'no segment is suspended');

# stages exclude each other
is(shop(q{SELECT count(*) FROM (SELECT contact FROM journey.segment_member
	WHERE segment IN ('subscriber', 'first_time', 'repeat', 'loyal', 'vip', 'at_risk', 'lapsed') GROUP BY contact HAVING count(*) > 1) x}), 0, 'nobody is in two stages');

# history ends where the members are
is(shop(q{SELECT string_agg(format('%s: %s <> %s', h.segment, h.size, m.size), ' ')
	FROM (SELECT DISTINCT ON (segment) segment, size FROM journey.segment_history ORDER BY segment, at DESC) h
	FULL JOIN (SELECT segment, count(*) AS size FROM journey.segment_member GROUP BY segment) m USING (segment)
	WHERE coalesce(h.size, 0) <> coalesce(m.size, 0)}), '', 'segment_history ends at the present size');

# Who buys leaves the cart abandoners, and is a recent buyer, in the same tick.
shop(q{
	INSERT INTO customers VALUES (1000, 'c1000@customers.example', 'GB', '1990-01-01', NULL, '2028-02-29');
	INSERT INTO carts VALUES (100000, 1000, 150, '2028-03-01 10:00');
});
tick('2028-03-01 11:00');
my $where = q{SELECT string_agg(segment, ' ' ORDER BY segment) FROM journey.segment_member WHERE contact = 1000 AND segment IN ('cart_abandoners', 'cart_over_100', 'recent_buyers')};
is(shop($where), 'cart_abandoners cart_over_100', 'a cart left for an hour');
shop("INSERT INTO orders VALUES (100000, 1000, 150, 0, NULL, 'GB', '2028-03-01 11:05')");
tick('2028-03-01 11:05');
is(shop($where), 'recent_buyers', 'the buyer leaves the cart abandoners at once');
tick('2028-03-31 11:05');
is(shop($where), '', 'and is no recent buyer thirty days later, to the second');

$node->stop;
done_testing();
