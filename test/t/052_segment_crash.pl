# Segments through crashes and through a first build with writers.
#
# Kept memberships must be what plain SQL says: after the whole cluster is killed
# in one stroke, with marks that no tick has worked yet, under load, and with a
# transaction open; and after a first build of 20,000 contacts while orders come
# and go, with its progress to be seen in journey.segment_progress.
#
# The time is a whole number of rounds after the start, given to tick(); the
# shop's rows carry times of their own around it.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $contacts = 20_000;
my $directory = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\nautovacuum = off\nrestart_after_crash = off\npg_journey.batch_size = 200\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');
my $connstr = $node->connstr('postgres');

sub sql { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'shop' ]); }

sub write_file
{
	my ($path, $text) = @_;
	open my $file, '>', $path or die "$path: $!";
	print $file $text;
	close $file;
	return $path;
}

my $now = "'2026-03-01'::timestamptz";

# the predicates, with the time in the place of now()
my %predicate = (
	buyers => '(SELECT sum(o.total) FROM shop.orders o WHERE o.customer_id = c.id) > 100',
	recent => "EXISTS (SELECT FROM shop.orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '3 days')",
	lapsed => "(SELECT max(o.created_at) FROM shop.orders o WHERE o.customer_id = c.id) < now() - interval '5 days'",
	lines => 'EXISTS (SELECT FROM shop.lines l JOIN shop.orders o ON o.id = l.order_id WHERE o.customer_id = c.id AND l.qty > 3)',
	silent => "c.vip AND NOT EXISTS (SELECT FROM shop.orders o WHERE o.customer_id = c.id AND o.created_at > now() - interval '1 day')",
);

sub make
{
	sql("SELECT journey.create_segment('$_', \$\$ $predicate{$_} \$\$, timezone => 'UTC', at => $now)") for @_;
	return;
}

# Ticks until nothing is left; what each returned.
sub tick
{
	my ($between) = @_;
	for (1 .. 2000)
	{
		return 1 if sql("SELECT more FROM journey.tick($now)") eq 'f';
		$between->() if $between;
	}
	return 0;
}

sub differences
{
	my @different;
	foreach my $name (sort keys %predicate)
	{
		my $text = $predicate{$name} =~ s/now\(\)/$now/gr;
		my $kept = "SELECT m.contact FROM journey_state.membership m JOIN journey.segment s USING (segment_id) WHERE s.name = '$name' AND m.member";
		my $n = sql("WITH kept AS ($kept), want AS (SELECT c.id FROM shop.customers c WHERE $text)
			SELECT (SELECT count(*) FROM (TABLE kept EXCEPT TABLE want) x) || ' too many, ' || (SELECT count(*) FROM (TABLE want EXCEPT TABLE kept) x) || ' missing of ' || (SELECT count(*) FROM want)");
		push @different, "$name: $n" if $n !~ /^0 too many, 0 missing of [1-9]/;
	}
	return join '; ', @different;
}

$node->safe_psql('postgres', "
	CREATE SCHEMA shop AUTHORIZATION shop;
	SET SESSION AUTHORIZATION shop;
	CREATE TABLE shop.customers (id bigint PRIMARY KEY, vip boolean NOT NULL);
	CREATE TABLE shop.orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint NOT NULL, total numeric NOT NULL, created_at timestamptz NOT NULL);
	CREATE TABLE shop.lines (order_id bigint NOT NULL, qty integer NOT NULL);
	CREATE INDEX ON shop.orders (customer_id);
	CREATE INDEX ON shop.lines (order_id);
	INSERT INTO shop.customers SELECT i, i % 7 = 0 FROM generate_series(1, $contacts) i;
	INSERT INTO shop.orders (customer_id, total, created_at) SELECT i % $contacts + 1, i % 60, $now - i % 500 * interval '1 hour' FROM generate_series(1, 30000) i;
	INSERT INTO shop.lines SELECT i, i % 5 FROM generate_series(1, 30000) i;
	ANALYZE;
	RESET SESSION AUTHORIZATION;
	CREATE EXTENSION pg_journey;
	SELECT journey.attach('shop.customers', owner => 'shop', slices => 4)");

# -------- a first build while shop writes go on --------

my $write = write_file("$directory/write.sql", <<"EOC");
\\set c random(1, $contacts)
\\set d random(1, $contacts)
\\set h random(0, 300)
BEGIN;
INSERT INTO shop.orders (customer_id, total, created_at) VALUES (:c, :h, $now + interval '4 days' - :h * interval '1 hour') RETURNING id \\gset
INSERT INTO shop.lines VALUES (:id, :h % 7);
DELETE FROM shop.orders WHERE customer_id = :d AND total < 30;
UPDATE shop.customers SET vip = NOT vip WHERE id = :d % 100 + 1;
COMMIT;
EOC
my $tick = write_file("$directory/tick.sql", "SELECT journey.tick($now);\n");

sub load
{
	my ($seconds, @scripts) = @_;
	my $log = "$directory/load.log";
	my $pid = fork() // die "fork: $!";
	return $pid if $pid;
	open STDOUT, '>>', $log;
	open STDERR, '>>', $log;
	exec('pgbench', '-n', '-c', 2 * @scripts, '-R', '300', '-T', $seconds, '-U', 'shop', (map { ('-f', $_) } @scripts), $connstr) or die "pgbench: $!";
}

make(sort keys %predicate);
my $writer = load(600, $write);
my @seen;
ok(tick(sub { push @seen, split /\n/, sql("SELECT scanned || ' of ' || expected || ' ' || status FROM journey.segment_progress WHERE segment = 'buyers'"); }),
	'the first build comes to an end while orders come and go');
kill 'TERM', $writer; # a shell in the background may have left INT ignored
waitpid $writer, 0;
ok(tick(), 'what was written meanwhile is taken in');
my @steps = grep { /^(\d+) of (\d+) building/ && $1 > 0 && $1 < $contacts } @seen;
cmp_ok(scalar @steps, '>', 0, 'its progress was to be seen') or diag("@seen");
is(join(', ', grep { !/ of (\d+) / || abs($1 - $contacts) > $contacts / 10 } @steps), '', 'and was about as many contacts as there are');
is(sql("SELECT count(*) FROM journey.segment_progress WHERE status = 'current' AND share = 1"), scalar(keys %predicate), 'all segments are current');
cmp_ok(sql('SELECT count(*) FROM shop.orders'), '>', 30000, 'there were orders meanwhile');
is(differences(), '', 'members are those that plain SQL finds');

# -------- the cluster dies --------

# All in one stroke: survivors would keep the shared memory.
sub kill_cluster
{
	my $postmaster = $node->{_pid};
	my @children;
	foreach my $stat (glob '/proc/[0-9]*/stat')
	{
		open my $file, '<', $stat or next;
		my $line = <$file> // '';
		push @children, $1 if $line =~ /^(\d+) \(.*\) \S (\d+)/ && $2 == $postmaster;
	}
	kill 'KILL', $postmaster, @children;
	my $deadline = time() + 30;
	# a zombie that nobody has reaped yet still holds the lock file
	while (time() < $deadline && grep { -e "/proc/$_" } $postmaster, @children)
	{
		select undef, undef, undef, 0.05;
	}
	unlink $node->data_dir . '/postmaster.pid';
	$node->{_pid} = undef;
	$node->start;
	return;
}

is(sql("SELECT relpersistence FROM pg_class WHERE oid = 'journey_state.mark'::regclass"), 'p', 'marks are logged');

# one transaction is open when the cluster dies, the others have committed
my ($in, $out) = ('', '');
my $open = IPC::Run::start([ 'psql', '-XAtq', '-U', 'shop', '-d', $connstr ], '<', \$in, '>', \$out, '2>&1');
$in .= "BEGIN; INSERT INTO shop.orders (customer_id, total, created_at) SELECT id, 1000, $now FROM shop.customers WHERE id % 11 = 0; SELECT 'written';\n";
$open->pump until $out =~ /written/;
sql("UPDATE shop.orders SET total = total + 90 WHERE customer_id % 13 = 0");
sql('DELETE FROM shop.orders WHERE customer_id % 17 = 0');
sql('UPDATE shop.lines SET order_id = order_id + 1 WHERE order_id % 19 = 0');
sql("BEGIN; UPDATE shop.orders SET customer_id = 1; ROLLBACK");
cmp_ok(sql('SELECT count(*) FROM journey_state.mark'), '>', 0, 'marks are waiting');
kill_cluster();
eval { $open->kill_kill; $open->finish; };
cmp_ok(sql('SELECT count(*) FROM journey_state.mark'), '>', 0, 'they wait after the crash, too');
$now = "'2026-03-02 12:00'::timestamptz";
ok(tick(), 'ticks go on');
is(differences(), '', 'members are those that plain SQL finds, after marks that outlived a crash');

for my $round (1 .. 3)
{
	sql('TRUNCATE shop.lines; INSERT INTO shop.lines SELECT id, id % 6 FROM shop.orders') if $round == 2;
	sql('UPDATE shop.customers SET vip = NOT vip WHERE id % 2 = 0') if $round == 3;
	my $pid = load(600, $write, $tick);
	my $orders = sql('SELECT max(id) FROM shop.orders');
	$node->poll_query_until('postgres', "SELECT max(id) > $orders + 40 * $round FROM shop.orders") or die 'nobody orders';
	kill_cluster();
	kill 'KILL', $pid;
	waitpid $pid, 0;
	$now = "'2026-03-02 12:00'::timestamptz + interval '" . 9 * $round . " hours'";
	ok(tick(), "round $round: ticks go on after a crash under load");
	is(differences(), '', "round $round: members are those that plain SQL finds");
}
cmp_ok(sql('SELECT count(*) FROM journey_state.mark'), '<', 10_000, 'marks do not pile up');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP:/, 'no panic');
$node->stop;
done_testing();
