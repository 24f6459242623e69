# Kill, recover, count.
#
# Load: sessions that track events (some of them twice), insert orders, withdraw
# consent and call tick() besides the worker; a relay that delivers to an SMTP
# server which writes down what it accepts before it says so.  Each cycle kills
# something under load: a session, the engine worker, the launcher, the whole
# cluster in one stroke, or the relay.  Only processes started from here, or
# children of our own postmaster, by their pids.
#
# Oracle: laws of conservation, seen from outside: the database's own
# journey.check(), the mail server's log, and what the sessions wrote down.
#
# CYCLES=n, SEED=n (printed; repeats the choices, though not the timing).
use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use JSON::PP ();
use MIME::Base64 ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $here = dirname(abs_path(__FILE__));
my $relay = $ENV{PGJ_RELAY} // "$here/../../src/relay/journey-relay";
my $cycles = $ENV{CYCLES} // 20;
my $seed = $ENV{SEED} // int(rand(1_000_000));
my $directory = PostgreSQL::Test::Utils::tempdir();
my $lease = 3;	# seconds
my $max_in_flight = 10;	# so many messages may be sent twice for each kill
srand($seed);
diag("CYCLES=$cycles SEED=$seed");

my ($server_pid, $relay_pid, $load_pid);
my $owner_pid = $$;

sub spawn
{
	my ($log, @command) = @_;
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	open STDIN, '<', '/dev/null';
	open STDOUT, '>>', $log;
	open STDERR, '>>', $log;
	exec(@command) or POSIX::_exit(127);
}

sub alive
{
	my ($pid) = @_;
	return $pid && waitpid($pid, POSIX::WNOHANG()) == 0;
}

sub end
{
	my ($signal, $pid) = @_;
	return unless alive($pid);
	kill $signal, $pid;
	waitpid($pid, 0);
}

END { my $status = $?; if ($$ == $owner_pid) { end('KILL', $_) for $load_pid, $relay_pid, $server_pid; } $? = $status; }

sub poll
{
	my ($what, $seconds, $condition) = @_;
	my $deadline = time() + $seconds;
	until ($condition->())
	{
		if (time() > $deadline) { diag("timed out: $what"); return 0; }
		sleep 0.05;
	}
	return 1;
}

my $node = PostgreSQL::Test::Cluster->new('crash');
$node->init;
$node->append_conf('postgresql.conf', <<'EOC');
timezone = 'UTC'
log_statement = none
log_min_messages = log
restart_after_crash = on
shared_preload_libraries = 'pg_journey'
pg_journey.engine_naptime = '500ms'
pg_journey.launcher_naptime = '500ms'
synchronous_commit = on
EOC
$node->start;
my $connstr = $node->connstr('postgres');

# SQL in a server that may be going down: (ok, output, errors, lost)
sub try_sql
{
	my ($sql, $user) = @_;
	my ($out, $err) = ('', '');
	# from a file: a psql that finds no server would leave us with a broken pipe
	my $file = write_file("$directory/try.sql", $sql);
	my $ok = IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-U', $user // 'shop', '-d', $connstr ], '<', $file, '>', \$out, '2>', \$err);
	my $lost = $? >> 8 == 2;	# no connection, or no longer
	chomp $out;
	return ($ok, $out, $err, $lost);
}

# A killed backend may answer nobody any more before the postmaster knows, so
# the server that was asked last may go down only now.
sub sql
{
	my ($sql) = @_;
	my ($ok, $out, $err, $lost);
	poll('a connection that lasts', 60, sub {
		($ok, $out, $err, $lost) = try_sql($sql);
		return !$lost;
	});
	die "$sql: $err" unless $ok;
	return $out;
}

sub write_file
{
	my ($path, $text) = @_;
	open my $f, '>', $path or die "$path: $!";
	print $f $text;
	close $f;
	chmod 0600, $path;
	return $path;
}

$server_pid = spawn("$directory/server.log", -x '/usr/bin/python3' ? '/usr/bin/python3' : 'python3', "$here/../smtp/server.py", $directory);
poll('the mail server listens', 60, sub { -e "$directory/port" }) or BAIL_OUT(slurp_file("$directory/server.log"));
my $port = slurp_file("$directory/port");

my $su = getpwuid($<);
my $setup = slurp_file("$here/shop.sql");
$setup =~ s/127\.0\.0\.1:PORT/127.0.0.1:$port/;
my ($set_up, undef, $error) = try_sql($setup, $su);
BAIL_OUT("set-up failed: $error") unless $set_up;
my (undef, $token) = try_sql('SELECT journey.issue_site_token()', $su);
write_file("$directory/relay.ini", <<"EOC");
[relay]
conninfo = $connstr user=postman
site_token = $token
tls = none
lease = ${lease}s
send_timeout = 1s
max_in_flight = $max_in_flight
poll_interval = 100ms
EOC

my %script = (
	"track.sql\@10" => <<'EOC',
\set c random(41, 2000)
SELECT nextval('shop.n') AS n \gset
SELECT journey.track(:c::bigint, 'signed_up', jsonb_build_object('n', :n), id => 'signed up ' || :n);
SELECT journey.track(:c::bigint, 'signed_up', jsonb_build_object('n', :n), id => 'signed up ' || :n);
EOC
	"hot.sql\@5" => <<'EOC',
\set c random(1, 40)
SELECT nextval('shop.n') AS n \gset
SELECT journey.track(:c::bigint, 'signed_up', jsonb_build_object('n', :n));
SELECT journey.track(:c::bigint, 'checkout_started', jsonb_build_object('n', :n));
EOC
	"order.sql\@4" => <<'EOC',
\set c random(1, 2000)
INSERT INTO shop.orders (customer_id, total, created_at) VALUES (:c, :c % 20, clock_timestamp());
EOC
	"withdraw.sql\@4" => <<'EOC',
SELECT shop.withdraw() AS contact \gset
INSERT INTO shop.withdrawal SELECT :contact, clock_timestamp() WHERE :contact > 0 ON CONFLICT DO NOTHING;
EOC
	"tick.sql\@2" => "SELECT journey.tick();\n",
);
my @scripts;
for my $name (sort keys %script)
{
	my ($file) = $name =~ /^(.*)\@/;
	write_file("$directory/$file", $script{$name});
	push @scripts, '-f', "$directory/$name";
}

sub start_relay
{
	return if alive($relay_pid);
	$relay_pid = spawn("$directory/relay.log", $relay, '--config', "$directory/relay.ini");
}

sub recovered
{
	return poll('the server is back', 60, sub { (try_sql('SELECT 1'))[0] });
}

# -------- what is killed --------

# one of our postmaster's backends, as soon as there is one
sub kill_one
{
	my ($where) = @_;
	my @pids;
	poll("a process with $where", 10, sub {
		my ($ok, $out) = try_sql("SELECT pid FROM pg_stat_activity WHERE $where", $su);
		@pids = split /\n/, $out if $ok;
		return @pids > 0;
	}) or return 0;
	return kill 'KILL', $pids[ int rand @pids ];
}

# all in one stroke: survivors would keep the shared memory
sub kill_cluster
{
	my $postmaster = $node->{_pid};
	my @children;
	for my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $f, '<', $stat or next;
		my $line = <$f> // '';
		push @children, $1 if $line =~ /^(\d+) \(.*\) \S (\d+)/ && $2 == $postmaster;
	}
	kill 'KILL', $postmaster, @children;
	# a zombie that nobody has reaped yet still holds the lock file
	poll('all processes of the cluster are gone', 30, sub { !grep { -e "/proc/$_" } $postmaster, @children })
	  or unlink $node->data_dir . '/postmaster.pid';
	$node->{_pid} = undef;
	$node->start;
	return 1;
}

my %victim = (
	session => sub { kill_one("application_name = 'load'") },
	worker => sub { kill_one("backend_type = 'pg_journey engine'") },
	launcher => sub { kill_one("backend_type = 'pg_journey launcher'") },
	cluster => \&kill_cluster,
	relay => sub { my $was = alive($relay_pid); end('KILL', $relay_pid); $was },
);
my @victims = sort keys %victim;
my %killed = map { $_ => 0 } @victims;

# -------- the laws --------

sub accepted
{
	my %accepted;
	return \%accepted unless -e "$directory/accepted";
	for my $line (split /\n/, slurp_file("$directory/accepted"))
	{
		my $record = JSON::PP::decode_json($line);
		my ($key) = MIME::Base64::decode_base64($record->{text}) =~ /^Message-ID: <([^@>]+)@/mi;
		push @{ $accepted{ $key // 'no Message-ID' } }, $record->{at};
	}
	return \%accepted;
}

# law => number of violations; consent is judged below, by when the withdrawal was acknowledged
sub broken_laws
{
	my $out = sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT law || ': ' || violations || ', for example ' || example FROM journey.check()
		WHERE violations > 0 AND law <> 'nothing was handed over without consent'; COMMIT");
	return $out;
}

# The work is done when nothing is due and no message is under way.
sub drain
{
	start_relay();
	return poll('everything is drained', 120, sub {
		start_relay();
		my ($ok, $out) = try_sql("SELECT (SELECT count(*) FROM journey_state.message WHERE status IN ('pending', 'claimed'))
			+ (SELECT count(*) FROM journey._due(clock_timestamp()) WHERE due)
			+ (SELECT count(*) FROM journey_state.enrollment WHERE status = 'active')");
		return $ok && $out eq '0';
	});
}

sub check_drained
{
	my $accepted = accepted();
	my (%message, %promoted);
	my ($unaccepted, $doubled, $again, $late, $overrun) = (0) x 5;
	for my $row (split /\n/, sql("SELECT m.idempotency_key, m.status, m.attempt, extract(epoch FROM w.committed_at), m.contact, m.topic
			FROM journey_state.message m LEFT JOIN shop.withdrawal w ON w.contact = m.contact AND m.topic = 'promotions'"))
	{
		my ($key, $status, $attempt, $withdrawn, $contact, $topic) = split /\|/, $row, -1;
		my @times = @{ $accepted->{$key} // [] };
		$message{$key} = 1;
		$unaccepted++ if $status eq 'sent' && !@times;
		$doubled++ if @times > $attempt;
		$again += @times - 1 if @times;
		push @{ $promoted{$contact} }, $times[0] if @times && $topic eq 'promotions';
		$late += grep { $withdrawn ne '' && $_ > $withdrawn + $lease + 1 } @times;
	}
	my $unexpected = grep { !$message{$_} } keys %$accepted;
	# The cap, told by the mail server alone: 2 in an hour.  A message may be
	# accepted some time after the instant it was counted at.
	for my $times (values %promoted)
	{
		my @t = sort { $a <=> $b } @$times;
		$overrun += grep { $t[$_] - $t[ $_ - 2 ] < 3600 - 300 } 2 .. $#t;
	}
	my $kills = 0;
	$kills += $_ for values %killed;
	is($unexpected, 0, 'what the mail server accepted has a message');
	is($unaccepted, 0, 'what is sent was accepted');
	is($doubled, 0, 'no message was accepted more often than attempted');
	cmp_ok($again, '<=', $max_in_flight * $kills, "$again were accepted again, at most max_in_flight for each of $kills kills");
	is($overrun, 0, 'no frequency cap was overrun in what was accepted');
	cmp_ok(scalar(grep { @$_ == 2 } values %promoted), '>', 0, 'some contacts had what the cap allows');
	is($late, 0, 'nothing was accepted later than the in-flight time after consent was withdrawn');
	is(sql("SELECT count(*) FROM journey_state.message m JOIN shop.withdrawal w ON w.contact = m.contact AND m.topic = 'promotions'
		WHERE m.claimed_at > w.committed_at"), '0', 'nothing was handed over after consent was withdrawn');
	is(sql("SELECT count(*) FROM journey_state.message WHERE status NOT IN ('sent', 'withheld')"), '0', 'every message is final, and none failed');
	is(sql('SELECT (SELECT count(*) FROM shop.orders) - (SELECT count(*) FROM journey_state.event WHERE name = \'order_placed\')'), '0', 'every order that committed is an event');
	is(sql("SELECT count(*) FROM (SELECT e.event_id FROM journey_state.event e
		CROSS JOIN (VALUES ('greet', 'signed_up'), ('note', 'signed_up'), ('thank', 'order_placed'), ('cart', 'checkout_started')) v (journey, event)
		JOIN journey.journey j ON j.name = v.journey
		LEFT JOIN journey_state.enrollment n ON n.contact = e.contact AND n.event_id = e.event_id AND n.journey_id = j.journey_id
		LEFT JOIN journey_state.refusal r ON r.contact = e.contact AND r.event_id = e.event_id AND r.journey_id = j.journey_id
		WHERE e.name = v.event GROUP BY e.event_id, j.journey_id HAVING count(n.enrollment_id) + count(r.refusal_id) <> 1) x"), '0',
		'every event started one run or was refused once');
	is(sql("SELECT count(*) FROM journey_state.enrollment WHERE status = 'parked'"), '0', 'no run is parked');
	is(sql('SELECT count(*) FROM journey_state.capture_error'), '0', 'no capture failed');
	# A note that was put off is decided once, or its run was exited before.
	is(sql("SELECT count(*) FROM journey_state.enrollment e JOIN journey.journey j ON j.journey_id = e.journey_id AND j.name = 'note'
		LEFT JOIN (SELECT contact, enrollment_id, count(*) FILTER (WHERE step_no = 1) AS first, count(*) FILTER (WHERE step_no <> 1) AS second
			FROM journey_state.verdict WHERE stage = 'decide' AND verdict <> 'deferred' GROUP BY 1, 2) v USING (contact, enrollment_id)
		WHERE coalesce(v.first, 0) > 1 OR coalesce(v.second, 0) > 1 OR e.status = 'completed' AND coalesce(v.first, 0) <> 1"), '0',
		'what was put off was decided once');
	cmp_ok(sql("SELECT count(*) FROM journey_state.verdict WHERE verdict = 'deferred' AND stage = 'decide'"), '>', 0, 'some were put off');
	is(broken_laws(), '', 'all laws of journey.check() hold, those of frequency caps included');
	diag(sprintf('%s messages, %d accepted keys, %d withdrawals', scalar(keys %message), scalar(keys %$accepted), sql('SELECT count(*) FROM shop.withdrawal')));
}

# -------- cycles --------

start_relay();
for my $cycle (1 .. $cycles)
{
	my $what = $victims[ int rand @victims ];
	my $pause = 0.3 + rand(0.9);
	$load_pid = spawn("$directory/load.log", 'pgbench', '-n', '-c', '4', '-j', '2', '-T', '10', '-R', '200', '--random-seed', $seed + $cycle, '-U', 'shop', @scripts, "$connstr application_name=load");
	sleep $pause;
	$killed{$what}++ if $victim{$what}->();
	ok(recovered(), "cycle $cycle: recovered from the death of a $what") or BAIL_OUT('the server does not come back');
	sleep rand(0.8);
	start_relay() unless rand() < 0.3;	# sometimes messages wait, and consent goes meanwhile
	end('INT', $load_pid);
	is(broken_laws(), '', "cycle $cycle: laws hold");
	if ($cycle % 10 == 0 || $cycle == $cycles)
	{
		ok(drain(), "cycle $cycle: everything is drained");
		check_drained();
	}
}
diag('killed: ' . join(', ', map { "$_ $killed{$_}" } @victims));
end('TERM', $relay_pid);
$node->stop('fast');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:/, 'no panic');
diag("again: SEED=$seed") unless Test::More->builder->is_passing;
if (!Test::More->builder->is_passing) { system('cp', "$directory/relay.log", "$directory/load.log", "$directory/accepted", '.'); }
done_testing();
