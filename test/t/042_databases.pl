# Two databases of one server, each with a worker of its own; and, where nothing
# is preloaded, a member of the owner that calls tick() as pg_cron would: one
# connection for one call.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('databases');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE one LOGIN; CREATE ROLE two LOGIN; CREATE ROLE cron LOGIN; CREATE ROLE stranger LOGIN');

my %owner = (first => 'one', second => 'two');
my %key = (first => 'bigint', second => 'uuid');
my %contact = (first => '1', second => 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11');
for my $database (sort keys %owner)
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, <<"EOC");
CREATE SCHEMA shop AUTHORIZATION $owner{$database};
SET SESSION AUTHORIZATION $owner{$database};
CREATE TABLE shop.customers (id $key{$database} PRIMARY KEY, email text);
INSERT INTO shop.customers VALUES ('$contact{$database}', '$database\@shop.example');
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', email => 'email', owner => '$owner{$database}');
SET SESSION AUTHORIZATION $owner{$database};
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi\@shop.example>"}');
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello', body => 'Hello');
SELECT journey.create_journey('welcome', 'ON EVENT signed_up KEY event.properties->>''n'' TOPIC service SEND email hello;');
SELECT journey.activate('welcome');
EOC
}

sub as
{
	my ($role, $database, $sql) = @_;
	return $node->safe_psql($database, $sql, extra_params => [ '-U', $role ]);
}
sub sign_up { my ($database, $n) = @_; as($owner{$database}, $database, qq(SELECT journey.track('$contact{$database}', 'signed_up', '{"n": "$n"}'))) }
sub messages { my ($database) = @_; return $node->safe_psql($database, 'SELECT count(*) FROM journey_state.message') }

#
# As pg_cron does it
#
$node->safe_psql('first', "SELECT journey.grant_role('author', 'cron')");
sign_up('first', 1);
is(as('cron', 'first', 'SELECT events, messages FROM journey.tick()'), '1|1', 'a member of the owner ticks in its own connection');
is(as('cron', 'first', 'SELECT events, messages FROM journey.tick()'), '0|0', 'the next one has nothing to do');
my ($rc, undef, $err) = $node->psql('first', 'SELECT journey.tick()', extra_params => [ '-U', 'stranger' ]);
isnt($rc, 0, 'a stranger may not');
like($err, qr/permission denied/, 'and is told so');
# a copy of the member's rights in another database is none
($rc, undef, $err) = $node->psql('second', 'SELECT journey.tick()', extra_params => [ '-U', 'cron' ]);
like($err, qr/permission denied/, "nor in a database of another owner's");

#
# A worker each
#
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_journey'\npg_journey.engine_naptime = '1h'\n");
$node->restart;
for my $database (sort keys %owner)
{
	ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_journey engine' AND datname = '$database' AND usename = '$owner{$database}'"),
		"a worker in $database, as its owner");
}
sign_up('second', 1);
ok($node->poll_query_until('second', 'SELECT count(*) = 1 FROM journey_state.message'), 'an event of the second database wakes its worker');
is(messages('first'), '1', 'and nothing happens in the first');
sign_up('first', 2);
ok($node->poll_query_until('first', 'SELECT count(*) = 2 FROM journey_state.message'), 'an event of the first wakes the first');
is(messages('second'), '1', 'and nothing happens in the second');

# one worker's end is not the other's
$node->safe_psql('second', 'DROP EXTENSION pg_journey CASCADE');
ok($node->poll_query_until('postgres', "SELECT array_agg(datname::text) = '{first}' FROM pg_stat_activity WHERE backend_type = 'pg_journey engine'"), 'the second leaves with its extension');
sign_up('first', 3);
ok($node->poll_query_until('first', 'SELECT count(*) = 3 FROM journey_state.message'), 'the first goes on');
# besides a worker, a caller is harmless
sign_up('first', 4);
as('cron', 'first', 'SELECT journey.tick()');
ok($node->poll_query_until('first', 'SELECT count(*) = 4 FROM journey_state.message'), 'a caller beside the worker does no harm');
# but nobody goes ahead of its clock, for the others would then wait for it
for my $call ('tick', 'replay')
{
	($rc, undef, $err) = $node->psql('first', "SELECT journey.$call(clock_timestamp() + interval '1 day')", extra_params => [ '-U', 'cron' ]);
	like($err, qr/later than the clock, by which this database's worker goes/, "no $call ahead of the clock where a worker runs");
}
is($node->safe_psql('first', 'SELECT count(*) FROM journey.check() WHERE violations > 0'), '0', 'all laws hold');
$node->stop('fast');
done_testing();
