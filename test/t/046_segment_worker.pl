# The worker keeps segments: what the clock does without any write, what a commit
# does, scans, and what cannot be followed.  Naps are long: whatever happens soon
# happens because it was due or because somebody was woken.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('segments');
$node->init;
$node->append_conf('postgresql.conf', <<'EOC');
timezone = 'UTC'
fsync = off
shared_preload_libraries = 'pg_journey'
pg_journey.engine_naptime = '1h'
pg_journey.launcher_naptime = '1h'
EOC
$node->start;

sub shop
{
	my ($sql) = @_;
	return $node->safe_psql('postgres', $sql, extra_params => [ '-U', 'shop' ]);
}

sub soon
{
	my ($sql, $name) = @_;
	ok($node->poll_query_until('postgres', $sql), $name) or diag($node->safe_psql('postgres', 'SELECT * FROM journey.workers()'));
	return;
}

$node->safe_psql('postgres', <<'EOC');
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text, created_at timestamptz NOT NULL);
CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint NOT NULL, created_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON shop.orders (customer_id);
CREATE TABLE shop.vip (id bigint PRIMARY KEY);
CREATE FUNCTION shop.is_vip(customer bigint) RETURNS boolean STABLE LANGUAGE plpgsql AS $$ BEGIN RETURN EXISTS (SELECT FROM shop.vip v WHERE v.id = customer); END $$;
INSERT INTO shop.customers SELECT i, 'c' || i || '@shop.example', '2020-01-01' FROM generate_series(1, 5000) i;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
EOC
soon("SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_journey engine'", 'the worker runs');

shop(<<'EOC');
SELECT journey.create_segment('old', $$ c.created_at < now() - interval '3 seconds' AND NOT EXISTS (SELECT FROM shop.orders o WHERE o.customer_id = c.id) $$);
SELECT journey.create_journey('greet', 'ON ENTER SEGMENT old EXIT ON LEAVE SEGMENT old TOPIC service WAIT ''90 days'';');
SELECT journey.activate('greet');
EOC
soon("SELECT count(*) = 5000 FROM journey.segment_member", 'a new segment is built by the worker');
is(shop('SELECT count(*) FROM journey_state.enrollment'), '0', 'and nobody enters who matched already');

# the clock
shop("INSERT INTO shop.customers SELECT i, 'd', clock_timestamp() FROM generate_series(10001, 10003) i");
soon("SELECT count(*) = 3 FROM journey_state.enrollment WHERE contact > 10000 AND status = 'active'", 'the clock alone makes contacts enter, and enrolls them');
my $late = shop(q{SELECT max(extract(epoch FROM n.entered_at - c.created_at) - 3) FROM journey_state.enrollment n JOIN shop.customers c ON c.id = n.contact});
cmp_ok($late, '>=', 0, 'not before its time');
cmp_ok($late, '<', 5, 'and soon after it');
note("entered $late s after the instant");

# a commit
shop('INSERT INTO shop.orders (customer_id) VALUES (10001)');
soon("SELECT status = 'exited' FROM journey_state.enrollment WHERE contact = 10001", 'an order makes a contact leave, and ends the run');
$late = shop('SELECT extract(epoch FROM n.ended_at - o.created_at) FROM journey_state.enrollment n JOIN shop.orders o ON o.customer_id = n.contact');
cmp_ok($late, '<', 5, 'soon after the commit');
note("left $late s after the order");
shop('DELETE FROM shop.orders');
soon('SELECT count(*) = 2 FROM journey_state.enrollment WHERE contact = 10001', 'and its end makes it enter again');

# 1,000 orders in one statement
shop('INSERT INTO shop.orders (customer_id) SELECT generate_series(1, 1000)');
soon('SELECT count(*) = 4003 FROM journey.segment_member', '1,000 orders at once');
soon('SELECT count(*) = 0 FROM journey_state.mark', 'and no mark is left');
is(shop('SELECT count(*) FROM journey._due(clock_timestamp()) WHERE due'), '0', 'nothing is due');

# what cannot be followed is looked at again
shop("SELECT journey.create_segment('vip', 'shop.is_vip(c.id)', refresh_every => '1 minute')");
soon("SELECT status = 'current' FROM journey.segment WHERE name = 'vip'", 'a segment with a part that cannot be followed');
shop('INSERT INTO shop.vip VALUES (7)');
is(shop("SELECT count(*) FROM journey.segment_member WHERE segment = 'vip'"), '0', 'is not looked at for a change of it');
is(shop("SELECT next_due BETWEEN clock_timestamp() AND clock_timestamp() + interval '1 minute' FROM journey._due(clock_timestamp()) WHERE slice = -1"), 't', 'but in a minute');
shop("UPDATE journey_state.segment_scan SET started_at = started_at - interval '58 seconds'; SELECT journey.track(1, 'wake')");
soon("SELECT count(*) = 1 FROM journey.segment_member WHERE segment = 'vip'", 'is looked at again every refresh_every');

is(shop('SELECT count(*) FROM journey.check() WHERE violations > 0'), '0', 'journey.check()');
unlike(slurp_file($node->logfile), qr/(WARNING|ERROR|PANIC|FATAL):/, 'nothing went wrong');
$node->stop;
done_testing();
