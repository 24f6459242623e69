# What ends a session from inside the box, and what is remembered of it.
use strict;
use warnings;
use Cwd qw(abs_path);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $library = abs_path('test/modules/box_test/box_test.so');
my $node = PostgreSQL::Test::Cluster->new('box');
$node->init;
$node->append_conf('postgresql.conf', <<"EOC");
shared_preload_libraries = '$library'
box_test.timeout = 300ms
EOC
$node->start;

$node->safe_psql('postgres', <<"EOC");
CREATE ROLE owner LOGIN;
CREATE SCHEMA s AUTHORIZATION owner;
CREATE FUNCTION run(sql text, role text, version int, expression int) RETURNS text AS '$library', 'box_test_run' LANGUAGE C;
CREATE FUNCTION forgive(version int) RETURNS void AS '$library', 'box_test_forgive' LANGUAGE C;
SET SESSION AUTHORIZATION owner;
CREATE FUNCTION s.immortal() RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
	LOOP
		BEGIN LOOP NULL; END LOOP; EXCEPTION WHEN query_canceled THEN NULL; END;
	END LOOP;
END \$\$;
CREATE FUNCTION s.fatal() RETURNS int LANGUAGE plpgsql AS \$\$
BEGIN PERFORM set_config('exit_on_error', 'on', false); RETURN 1 / 0; END \$\$;
EOC

my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

sub evaluate
{
	my ($sql, $version, $expression) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SELECT run('$sql', 'owner', $version, $expression)", extra_params => [ '-U', 'owner' ]);
	return ($rc, $out, $err);
}

my ($rc, $out, $err) = evaluate('SELECT s.immortal()', 7, 3);
isnt($rc, 0, 'a function that catches every cancellation ends its session');
like($err, qr/FATAL:  terminating connection/, 'with FATAL');
my $log = slurp_file($node->logfile);
like($log, qr/LOG:  expression 3 of version 7 ended its session/, 'the log says which expression it was');

($rc, $out, $err) = evaluate('SELECT s.immortal()', 7, 3);
is($rc, 0, 'the next evaluation there does not end its session');
like($out, qr/^57014: an earlier evaluation of this expression ended its session/, 'but fails at once');

is((evaluate('SELECT 1', 7, 4))[1], '1', 'another expression of the version is not affected');
is((evaluate('SELECT 1', 8, 3))[1], '1', 'nor another version');
$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', "CREATE FUNCTION run(sql text, role text, version int, expression int) RETURNS text AS '$library', 'box_test_run' LANGUAGE C");
is($node->safe_psql('other', "SELECT run('SELECT 1', 'owner', 7, 3)"), '1', 'nor another database');

$node->safe_psql('postgres', 'SELECT forgive(7)');
is((evaluate('SELECT 1', 7, 3))[1], '1', 'once forgiven it is evaluated again');

($rc, $out, $err) = evaluate('SELECT s.fatal()', 9, 1);
isnt($rc, 0, 'exit_on_error set inside ends the session');
is((evaluate('SELECT s.fatal()', 9, 1))[1] =~ /^57014: an earlier/ ? 1 : 0, 1, 'once');

# somebody else's termination is not held against the expression
$node->safe_psql('postgres', "ALTER SYSTEM SET box_test.timeout = '60s'");
$node->reload;
sub evaluate_while
{
	my ($version, $meanwhile) = @_;
	my ($out, $err) = ('', '');
	my $h = IPC::Run::start([
			'psql', '-XAtq', '-U', 'owner', '-d', $node->connstr('postgres'),
			'-c', "SELECT run('SELECT pg_sleep(50)', 'owner', $version, 1)", '-c', "SELECT 'still here'" ],
		'<', '/dev/null', '>', \$out, '2>', \$err);
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	$node->safe_psql('postgres', "SELECT $meanwhile(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
	$h->finish;
	return ($out, $err);
}

($out, $err) = evaluate_while(11, 'pg_terminate_backend');
like($err, qr/FATAL:  terminating connection/, 'a session is terminated within an evaluation');
is((evaluate('SELECT 1', 11, 1))[1], '1', 'and its expression is not blamed');

($out, $err) = evaluate_while(12, 'pg_cancel_backend');
like($err, qr/ERROR:  canceling statement due to user request/, "a user's cancel is thrown on");
is($out, "still here\n", 'and the session goes on');

is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server was never restarted');
$node->stop;
done_testing();
