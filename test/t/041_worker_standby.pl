# The launcher keeps still on a standby and starts its worker after a promotion;
# it takes reloads and cancellations as they come.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', <<'EOC');
timezone = 'UTC'
shared_preload_libraries = 'pg_journey'
pg_journey.engine_naptime = '1h'
pg_journey.launcher_naptime = '1h'
EOC
$primary->start;
$primary->safe_psql('postgres', <<'EOC');
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text);
INSERT INTO shop.customers SELECT i, 'c' || i || '@shop.example' FROM generate_series(1, 20) i;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello', body => 'Hello');
SELECT journey.create_journey('welcome', 'ON EVENT signed_up TOPIC service SEND email hello;');
SELECT journey.activate('welcome');
EOC

my $engine = "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_journey engine'";
ok($primary->poll_query_until('postgres', $engine), 'a worker runs on the primary');

sub track
{
	my ($node, $contact) = @_;
	$node->safe_psql('postgres', "SELECT journey.track($contact, 'signed_up')", extra_params => [ '-U', 'shop' ]);
}
sub processed
{
	my ($node, $contact) = @_;
	return $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM journey_state.message WHERE contact = $contact");
}

# reloads and cancellations while it works
my $worker = $primary->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_journey engine'");
for my $contact (1 .. 10)
{
	track($primary, $contact);
	for (1 .. 20) { kill 'HUP', $primary->{_pid}, $worker; kill 'INT', $worker; }
}
ok(processed($primary, $_), "contact $_ is served in spite of signals") for 1 .. 10;
is($primary->safe_psql('postgres', "SELECT count(*) FROM journey_state.message"), '10', 'each once');
is($primary->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_journey engine'"), $worker, 'by the same worker');

# a standby
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('write'));
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'pg_journey%'"), '0', 'nothing runs on a standby');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM journey.workers()'), '0', 'and journey.workers() says so');

my $started = time();
$primary->stop('fast');
cmp_ok(time() - $started, '<', 5, 'a fast shutdown does not wait for the worker');
$standby->promote;
ok($standby->poll_query_until('postgres', $engine), 'a worker runs after the promotion');
track($standby, 11);
ok(processed($standby, 11), 'and works');
$standby->stop('fast');
done_testing();
