# The launcher and its workers: start, wake-up, recovery, and getting out of the way.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('worker');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'EOC');
timezone = 'UTC'
restart_after_crash = on
max_worker_processes = 8
EOC
$node->start;

sub as_shop
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'shopdb', $sql, extra_params => [ '-U', 'shop' ]);
}

# not preloaded: everything but the worker
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN; CREATE DATABASE shopdb');
$node->safe_psql('shopdb', 'CREATE EXTENSION pg_journey');
my ($rc, $out, $err) = $node->psql('shopdb', 'SELECT * FROM journey.workers()');
is($rc, 0, 'journey.workers() works where nothing is preloaded');
like($err, qr/NOTICE:  no worker runs: pg_journey is not preloaded\nHINT:  Add pg_journey to shared_preload_libraries/, 'and says what to do');
$node->safe_psql('shopdb', 'DROP EXTENSION pg_journey');

# a role and a database that have set everything against us (FAULTS A15)
$node->safe_psql('postgres', <<'EOC');
ALTER ROLE shop SET default_transaction_isolation = 'serializable';
ALTER ROLE shop SET default_transaction_read_only = on;
ALTER ROLE shop SET search_path = 'shop, public';
ALTER ROLE shop SET TimeZone = 'Asia/Tokyo';
ALTER ROLE shop SET row_security = off;
ALTER ROLE shop SET synchronous_commit = off;
ALTER ROLE shop SET statement_timeout = '1ms';
ALTER ROLE shop SET lock_timeout = '1ms';
ALTER ROLE shop SET transform_null_equals = on;
ALTER ROLE shop SET DateStyle = 'German';
ALTER ROLE shop SET exit_on_error = on;
EOC
# long naps: whatever happens soon happens because somebody was woken
$node->append_conf('postgresql.conf', <<'EOC');
shared_preload_libraries = 'pg_journey'
pg_journey.engine_naptime = '1h'
pg_journey.launcher_naptime = '1h'
EOC
$node->restart;

my $pids = sub {
	my ($type) = @_;
	return $node->safe_psql('postgres', "SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE backend_type = '$type'");
};
my $running = sub {
	my ($database) = @_;
	return $node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_journey engine' AND datname = '$database'");
};
isnt($pids->('pg_journey launcher'), '', 'the launcher runs');

sub set_up
{
	my ($database) = @_;
	$node->safe_psql($database, <<'EOC');
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
}
my $session = 'SET default_transaction_read_only = off; SET default_transaction_isolation = "read committed"; SET statement_timeout = 0; SET lock_timeout = 0;';
my $contact = 0;
my $wakes_up = sub {
	my ($database, $name) = @_;
	$contact++;
	as_shop("$session SELECT journey.track('$contact', 'signed_up')", $database);
	my $started = time();
	ok($node->poll_query_until($database, "SELECT count(*) = 1 FROM journey_state.message WHERE contact = $contact"), $name);
	cmp_ok(time() - $started, '<', 30, '... without waiting for a nap');
};

set_up('shopdb');
ok($running->('shopdb'), 'a worker starts after attach');
$wakes_up->('shopdb', 'an event that commits is processed, in spite of what the role has set');
is($node->safe_psql('shopdb', "SELECT database, owner, state, pid IS NOT NULL FROM journey.workers() WHERE database = 'shopdb'"), 'shopdb|shop|running|t', 'journey.workers() shows it');
is($node->safe_psql('postgres', "SELECT usename FROM pg_stat_activity WHERE backend_type = 'pg_journey engine'"), 'shop', 'it is connected as the journey owner');

# a rolled back event wakes nobody, and a timer wakes the worker by itself
as_shop(<<"EOC");
$session
SELECT journey.create_journey('later', 'ON EVENT asked TOPIC service WAIT ''2 seconds''; SEND email hello;');
SELECT journey.activate('later');
SELECT journey.track('20', 'asked');
EOC
ok($node->poll_query_until('shopdb', 'SELECT count(*) = 1 FROM journey_state.message WHERE contact = 20'), 'a due timer ends its sleep');

# killed and terminated
my $before = $pids->('pg_journey engine');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($before)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_journey engine' AND pid <> $before"), 'a terminated worker comes back');
$before = $pids->('pg_journey launcher');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($before)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_journey launcher' AND pid <> $before"), 'so does a terminated launcher');
$wakes_up->('shopdb', 'the worker goes on');
$before = $pids->('pg_journey engine');
kill 'KILL', $before;
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_journey engine' AND pid <> $before"), 'a killed worker comes back');
$wakes_up->('shopdb', 'and works');

# an author's function that will not stop takes the worker down once, and is then left alone
as_shop(<<"EOC");
$session
CREATE FUNCTION shop.immortal(bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS 'BEGIN LOOP BEGIN LOOP NULL; END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END';
EOC
as_shop(<<"EOC");
$session
SELECT journey.create_journey('poison', 'ON EVENT drank TOPIC service WAIT ''1 millisecond''; IF shop.immortal(c.id) THEN SEND email hello; END IF;');
SELECT journey.activate('poison');
SELECT journey.track('19', 'drank');
EOC
ok($node->poll_query_until('shopdb', "SELECT count(*) = 1 FROM journey_state.enrollment WHERE contact = 19 AND status = 'parked'"), 'an immortal expression is parked');
like($node->safe_psql('shopdb', 'SELECT error FROM journey_state.enrollment WHERE contact = 19'), qr/ended its session/, 'with what it did');
$wakes_up->('shopdb', 'the other journeys go on');

# commands that need the database empty
ok($running->('shopdb'), 'the worker runs');
$node->safe_psql('postgres', 'ALTER DATABASE shopdb RENAME TO shop2');
pass('ALTER DATABASE RENAME succeeds');
ok($running->('shop2'), 'and the worker is back');
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE shop2');
pass('CREATE DATABASE TEMPLATE succeeds');
ok($running->('shop2'), 'and the worker is back');
$node->safe_psql('copy', "SELECT count(*) FROM journey.workers()");
$wakes_up->('shop2', 'and works');
$node->safe_psql('postgres', "ALTER SYSTEM SET pg_journey.launcher_naptime = '100ms'");
$node->reload;
ok($node->poll_query_until('copy', "SELECT state = 'refused' AND detail = 'it is a copy' FROM journey.workers() WHERE database = 'copy'"), 'a copy gets no worker');
$node->safe_psql('postgres', 'DROP DATABASE copy');
pass('and can be dropped');

# DROP EXTENSION
$node->safe_psql('shop2', 'DROP EXTENSION pg_journey CASCADE');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_journey engine'"), 'the worker leaves when the extension is dropped');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_journey probe'"), 'and nothing probes');

# DROP DATABASE with a running worker
$node->safe_psql('postgres', 'CREATE DATABASE other');
set_up('other');
ok($running->('other'), 'a worker runs in another database');
my $started = time();
$node->safe_psql('postgres', 'DROP DATABASE other');
cmp_ok(time() - $started, '<', 4, 'which can be dropped at once');

# no slot left for a worker
$node->safe_psql('postgres', "ALTER SYSTEM SET max_worker_processes = 2");
$node->restart;
$node->safe_psql('postgres', 'CREATE DATABASE other');
set_up('other');
# time for several attempts
$node->poll_query_until('postgres', "SELECT clock_timestamp() > pg_postmaster_start_time() + interval '2.5 seconds'");
my $log = slurp_file($node->logfile);
my @warnings = $log =~ /WARNING:  could not register a pg_journey worker/g;
is(scalar @warnings, 1, 'without a free slot there is one warning a minute');
$node->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 8');
$node->restart;
ok($running->('other'), 'with one the worker runs');
$node->stop('fast');
done_testing();
