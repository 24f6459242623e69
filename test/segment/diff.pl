# Kept membership against the predicate from scratch.
#
# Each cycle makes a random shop and random segments over it (Shop.pm,
# Predicate.pm), then changes the shop and moves the clock, at random.  After
# each step journey.tick() runs until nothing is left, and what journey_state
# keeps must be what the predicate, evaluated by PostgreSQL over all contacts,
# says for that instant.  The oracle shares nothing with the extension's analysis:
# it is the same text with oracle.now() in the place of now().
#
# In every third cycle the clock moves by journey.replay(): the times at which
# contacts enter and leave must be the instants at which the predicate flips.
# (Memberships of other contacts are not asked for there: a replay is one
# transaction, and takes them in with the next tick.)
#
# CYCLES=n, SEED=n (printed; repeats everything), CYCLE=n (only this one),
# STEPS=n, MAX_SECONDS=n.  ORACLE_ONLY=1 tries the predicates alone, STATEMENTS_ONLY=1 what
# their analysis made of them.  A mismatch leaves the SQL of
# its cycle in mismatch-SEED-CYCLE.sql: a script for psql.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Predicate qw(predicate subject oracle @interval @zone);
use Random;
use Session;
use Shop;

my $cycles = $ENV{CYCLES} // 20;
my $seed = $ENV{SEED} // int rand 1_000_000;
my $steps = $ENV{STEPS} // 14;
my $seconds = $ENV{MAX_SECONDS} // 0;	# after so many no new cycle begins
my $oracle_only = $ENV{ORACLE_ONLY};
my $statements_only = $ENV{STATEMENTS_ONLY};
my @only = split /,/, $ENV{CYCLE} // '';
my $wait_for_all = '1 minute';	# so long a segment may leave a change unseen that concerns all contacts
diag("CYCLES=$cycles SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('segments');
$node->init;
$node->append_conf('postgresql.conf', <<'EOC');
pg_journey.segment_cost = 0
pg_journey.expression_timeout = 60s
timezone = 'UTC'
fsync = off
autovacuum = off
log_statement = none
max_prepared_transactions = 4
EOC
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');

my %total = map { $_ => 0 } qw(predicates opaque all refused changes rolled_back steps comparisons probes flips instants mismatches varied invalid);
my (%refused, %opaque, %within);
my ($shop, $sql, $other, @log, %segment, @names, $now, $cycle, $zone, $replays);

# What is written down, for a script that does the same again.
sub logged { push @log, $_[0]; return $_[0]; }
sub rows { return $sql->rows(logged($_[0])); }
sub value { return $sql->value(logged($_[0])); }

# -------- segments --------

# Adds a segment, or gives an old one a new predicate.
sub define
{
	my ($name) = @_;
	my $old = $segment{$name};
	my @askable = grep { !$segment{$_}{opaque} && !$segment{$_}{all} && $segment{$_}{zone} eq $zone && $_ lt $name } @names;
	my ($marked, @needs) = predicate(chance(0.5) ? \@askable : [], $replays);
	my %texts = map { $_ => $segment{$_}{marked} } @names;
	my $plain = oracle($marked, \%texts);
	my $version = ($old ? $old->{version} : 0) + 1;

	$sql->run("SET timezone = '$zone'");
	my $error = $sql->try("CREATE FUNCTION oracle.${name}_$version() RETURNS SETOF $shop->{key_type} STABLE LANGUAGE sql BEGIN ATOMIC SELECT c.id FROM contacts c WHERE $plain; END")
	  // $sql->try("SELECT set_config('oracle.now', '$now', false); SELECT count(*) FROM oracle.${name}_$version()");
	if ($error)
	{
		$total{invalid}++;
		diag("the oracle cannot: $error: $plain");
		return;
	}
	my %new = (name => $name, marked => $marked, text => subject($marked), zone => $zone, version => $version, needs => \@needs, all => 0, opaque => 0, members => undef, sizes => {});
	$total{predicates}++;
	if (!$oracle_only)
	{
		my $quoted = $new{text} =~ s/'/''/gr;
		my $existing = pick('ignore', 'enter');
		my $call = $old ? "journey.alter_segment('$name', '$quoted', '$existing', at => '$now')"
		  : "journey.create_segment('$name', '$quoted', '$existing', '$zone', '10 years', '$now')";
		$error = $sql->try(logged("SELECT $call"));
		if ($error)
		{
			$total{refused}++;
			push @{ $refused{$error} }, $new{text};
			return;
		}
		my ($row) = rows("SELECT s.opaque, (SELECT count(*) FROM journey.segment_watch w JOIN journey.watch USING (watch_id) WHERE w.segment_id = s.segment_id AND kind = 'all') FROM journey.segment s WHERE s.name = '$name'");
		@new{qw(opaque all)} = ($row->[0] eq 't', $row->[1]);
		$total{opaque}++ if $new{opaque};
		$total{all}++ if $new{all};
		$opaque{ $_->[0] }++ foreach $sql->rows("SELECT p.detail FROM journey.segment_part p JOIN journey.segment s USING (segment_id) WHERE s.name = '$name' AND p.kind = 'opaque'");
	}
	push @names, $name unless $old;
	$segment{$name} = \%new;
	return;
}

sub asked_for { my ($name) = @_; return grep { my $s = $segment{$_}; grep { $_ eq $name } @{ $s->{needs} } } @names; }

# -------- the clock --------

sub tick
{
	return if $oracle_only || $statements_only;
	for (1 .. 5000)
	{
		return if value("SELECT more FROM journey.tick('$now')") eq 'f';
	}
	die "journey.tick('$now') does not come to an end\n";
}

my $instants = "(SELECT created_at AS x FROM orders UNION SELECT shipped_at FROM orders UNION SELECT updated_at FROM carts UNION SELECT at FROM page_views
	UNION SELECT created_at FROM contacts UNION SELECT last_seen_at FROM contacts UNION SELECT local_at AT TIME ZONE 'UTC' FROM contacts UNION SELECT returned_at FROM order_items
	UNION SELECT until FROM banned UNION SELECT subscribed_at FROM newsletter UNION SELECT starts_at FROM tiers) AS instants";

# Instants at which something may flip: (after now, up to a time)
sub boundaries
{
	my ($limit, $until) = @_;
	my $i = join ', ', map { "('$_'::interval)" } @interval;
	return map { $_->[0] } $sql->rows("SET timezone = '" . pick(@zone) . "'; SELECT * FROM (SELECT DISTINCT (x + i.i) AT TIME ZONE 'UTC' || '+00' AS x FROM $instants, (VALUES $i, ('0')) AS i (i)
		WHERE x + i.i > '$now' AND x + i.i <= '$until') AS x ORDER BY x LIMIT $limit");
}

sub later { my ($what) = @_; return $sql->value("SET timezone = 'UTC'; SELECT $what"); }

sub next_instant
{
	my $at = "'$now'::timestamptz";
	my $z = pick(@zone);
	my $jitter = pick('0', '0', '1 microsecond', '-1 microsecond');
	my $to = weighted(
		5 => sub {
			return if $oracle_only;
			my @due = map { $_->[0] } $sql->rows("SET timezone = 'UTC'; SELECT DISTINCT check_at FROM journey_state.membership WHERE check_at > '$now' AND check_at < 'infinity' ORDER BY 1 LIMIT 8");
			return @due ? "'" . (chance(0.6) ? $due[0] : pick(@due)) . "'::timestamptz" : undef;
		},
		5 => sub { my @due = boundaries(30, later("$at + interval '100 days'")); return @due ? "'" . pick(@due) . "'::timestamptz" : undef; },
		3 => sub { my $u = pick('hour', 'day', 'day', 'month', 'year'); return "(date_trunc('$u', $at AT TIME ZONE '$z') + interval '1 $u') AT TIME ZONE '$z'"; },
		2 => sub { return "$at + interval '" . between(1, 59) . ' ' . pick(qw(microseconds seconds minutes)) . "'"; },
		4 => sub { return "$at + interval '" . between(1, 30) . ' ' . pick(qw(hours hours days)) . "'"; },
		2 => sub { return "$at + interval '" . pick(grep { !/^-/ } @interval) . "'"; },
		1 => sub { return "$at + interval '" . between(1, 5) . " months'"; })->()
	  // "$at + interval '1 day'";
	return later("greatest(least($to + interval '$jitter', $at + interval '1 year'), $at)");
}

# -------- the oracle --------

# Who is a member at an instant, by name of the segment.
sub members
{
	my ($at, @of) = @_;
	my $text = "SELECT set_config('oracle.now', '$at', false) \\g /dev/null\n";
	foreach my $s (map { $segment{$_} } @of)
	{
		$text .= "SET timezone = '$s->{zone}';\nSELECT '$s->{name}', string_agg(id::text, ',' ORDER BY id) FROM oracle.$s->{name}_$s->{version}() AS id;\n";
	}
	return { map { $_->[0] => $_->[1] } $sql->rows($text) };
}

sub kept
{
	return { map { $_->[0] => $_->[1] } $sql->rows("SELECT s.name, string_agg(m.contact::text, ',' ORDER BY m.contact) FROM journey.segment s
		LEFT JOIN journey_state.membership m ON m.segment_id = s.segment_id AND m.member GROUP BY s.name") };
}

sub script { my ($text) = @_; return $text =~ /\\\.\s*\z/ ? $text : "$text\n;\n"; }

sub mismatch
{
	my ($s, $what, @detail) = @_;
	my $file = "mismatch-$seed-$cycle.sql";
	$total{mismatches}++;
	my %in = map { $_ => $segment{$_}{text} } @{ $s->{needs} };
	diag(join "\n", "MISMATCH: $what. SEED=$seed CYCLE=$cycle, script $file", "segment $s->{name}, time zone $s->{zone}, keys $shop->{key_type}, at $now:", $s->{text}, (map { "  where $_ is $in{$_}" } sort keys %in),
		@detail, 'Before it: ' . join(' | ', map { substr $_, 0, 300 } grep { !/^SELECT more/ } @log[ $#log > 12 ? $#log - 12 .. $#log : 0 .. $#log ]));
	open my $script, '>', $file or die "$file: $!";
	print $script "-- as a superuser, in an empty database of role shop\n", map { script($_) } @log;
	close $script;
	return;
}

# After ticks at $now; false when something differs.
sub compare
{
	my ($among, $quiet) = @_;
	my @of = @$among or return 1;
	my $want = members($now, @of);
	my $kept = $oracle_only || $statements_only ? $want : kept();
	my $good = 1;
	foreach my $name (@of)
	{
		my $s = $segment{$name};
		my ($w, $k) = ($want->{$name}, $kept->{$name} // 'no such segment');
		$s->{sizes}{ $w =~ tr/,// + ($w ne '') }++;
		$total{flips}++ if defined $s->{members} && $s->{members} ne $w;
		$s->{members} = $w;
		$total{comparisons}++;
		next if $w eq $k;
		$good = 0;
		next if $quiet;
		my (%w, %k);
		@w{ split /,/, $w } = ();
		@k{ split /,/, $k } = ();
		my ($state) = $sql->rows("SELECT status, error FROM journey.segment WHERE name = '$name'");
		mismatch($s, 'kept is not what it should be', 'missing: ' . join(' ', grep { !exists $k{$_} } sort keys %w), 'too many: ' . join(' ', grep { !exists $w{$_} } sort keys %k), "status: @$state");
	}
	return $good;
}

sub compare_all
{
	my @follows = grep { !$segment{$_}{opaque} && !$segment{$_}{all} } @names;
	my @all = grep { !$segment{$_}{opaque} && $segment{$_}{all} } @names;
	compare(\@follows) or return 0;
	return 1 if $oracle_only || !@all || compare(\@all, 1);

	# changes that concern everybody may wait, but not for long
	$now = later("'$now'::timestamptz + interval '$wait_for_all'");
	tick();
	return compare([ @follows, @all ]);
}

sub compare_opaque
{
	my @of = grep { $segment{$_}{opaque} } @names or return 1;
	return 1 if $statements_only;
	rows("SELECT journey.refresh_segment('$_', '$now')") for @of;
	tick();
	return compare(\@of);
}

# The statement of a segment by itself: who is a member now, and until when, by its
# own word, time changes nothing.
sub probe
{
	foreach my $s (map { $segment{$_} } grep { !$segment{$_}{opaque} && !@{ $segment{$_}{needs} } } @names)
	{
		my ($id) = $sql->rows("SELECT segment_id FROM journey.segment WHERE name = '$s->{name}'");
		my %until;
		my @members;
		$total{probes}++;
		foreach my $row ($sql->rows("SET timezone = '$s->{zone}'; WITH x AS (SELECT array_agg(id ORDER BY id) AS k FROM contacts)
			SELECT f.contact, f.member, coalesce(f.next_check AT TIME ZONE 'UTC', 'infinity'), f.next_check <= '$now', CASE WHEN f.next_check IS NULL THEN 'never' WHEN f.next_check - '$now' < '1 second' THEN 'second' WHEN f.next_check - '$now' < '1 hour' THEN 'hour' WHEN f.next_check - '$now' <= '1 day' THEN 'day' ELSE 'later' END FROM x, journey_state.segment_$id->[0]_check(ARRAY(SELECT generate_series(1, cardinality(x.k))), x.k, array_fill('$now'::timestamptz, ARRAY[cardinality(x.k)])) AS f (n, contact, member, next_check) ORDER BY f.contact"))
		{
			my ($contact, $member, $until, $past, $within) = @$row;
			$within{$within}++;
			$until{$contact} = $until;
			push @members, $contact if $member eq 't';
			if ($past eq 't')
			{
				mismatch($s, "the next check is not after the present one", "contact $contact: $until");
				return 0;
			}
		}
		my $want = members($now, $s->{name})->{ $s->{name} };
		if ($want ne join(',', @members))
		{
			mismatch($s, 'the statement and the predicate differ', "statement: @members", "predicate: $want");
			return 0;
		}
		my %distinct = map { $_ => 1 } grep { $_ ne 'infinity' } values %until;
		my @at = (shuffled(sort keys %distinct))[ 0 .. 5 ];
		my $list = join ', ', map { "('$_+00'::timestamptz - interval '1 microsecond')" } grep { defined } @at;
		$list .= ($list ? ', ' : '') . join ', ', map { "('$now'::timestamptz + interval '1 day' * " . rand($_) . ')' } 0.1, 2, 40, 500;
		my @flips = boundaries(60, later("'$now'::timestamptz + interval '400 days'"));
		$list .= ", ('$_')" for grep { defined } (shuffled(@flips))[ 0 .. 5 ];
		my %is;
		@is{@members} = ();
		foreach my $instant (map { $_->[0] } $sql->rows("SET timezone = 'UTC'; SELECT DISTINCT (x AT TIME ZONE 'UTC') FROM (VALUES $list) AS x (x) WHERE x > '$now' ORDER BY 1"))
		{
			my %then;
			@then{ split /,/, members("$instant+00", $s->{name})->{ $s->{name} } } = ();
			$total{instants}++;
			my @late = grep { (exists $is{$_} xor exists $then{$_}) && precedes($instant, $until{$_}) } sort keys %until;
			next unless @late;
			mismatch($s, "a flip before the next check", map { "contact $_: flipped by $instant, next check $until{$_}" } @late > 3 ? @late[ 0 .. 2 ] : @late);
			return 0;
		}
	}
	return 1;
}

# of timestamps as PostgreSQL writes them, which leaves out trailing zeros
sub precedes
{
	my ($a, $b) = map { /\./ ? $_ . '0' x (26 - length) : $_ eq 'infinity' ? $_ : "$_.000000" } @_;
	return $a lt $b;
}

# -------- steps --------

sub try_change
{
	my ($session, $what) = @_;
	my $error = $session->try(logged($what));
	if ($error)
	{
		$total{rolled_back}++;
		diag("a change was not possible: $error: $what") if $error !~ /^(23505|23514|55P03|40P01|21000|23502|42501|42809|42P01)/;
	}
	return !$error;
}

sub change
{
	my @statements = map { $shop->change } 1 .. weighted(6 => 1, 2 => 2, 1 => 4);
	$total{changes} += @statements;
	my $how = weighted(6 => 'each', 3 => 'together', 1 => 'rolled back', 1 => 'savepoint', 1 => 'renamed', 1 => 'prepared');
	if ($how eq 'renamed')
	{
		my ($there, $back, $change) = @{ Shop::renamed() };
		try_change($sql, $there) or return 1;
		try_change($sql, $change);
		tick();
		my $good = compare_all();
		try_change($sql, $back);
		return $good;
	}
	if ($how eq 'each')
	{
		try_change($sql, $_) for @statements;
		return 1;
	}
	rows('BEGIN');
	my $failed = 0;
	foreach my $statement (@statements)
	{
		rows('SAVEPOINT a') if $how eq 'savepoint';
		$failed = 1 unless $failed || try_change($sql, $statement);
		if ($how eq 'savepoint')
		{
			rows('ROLLBACK TO a') if $failed || chance(0.4);
			$failed = 0;
		}
	}
	if ($how eq 'prepared' && !$failed)
	{
		if (try_change($sql, "PREPARE TRANSACTION 'p'"))
		{
			tick();
			rows(chance(0.8) ? "COMMIT PREPARED 'p'" : "ROLLBACK PREPARED 'p'");
		}
		else { rows('ROLLBACK'); }
	}
	else { rows($how eq 'rolled back' || $failed ? 'ROLLBACK' : 'COMMIT'); }
	return 1;
}

# Somebody else's transaction, open across ticks.
my $open;
sub other_writer
{
	if ($open)
	{
		push @log, '-- the other writer commits';
		$other->run(chance(0.8) ? 'COMMIT' : 'ROLLBACK');
		$open = 0;
		return;
	}
	$other->run('BEGIN');
	$open = 1;
	foreach (1 .. 2)
	{
		my $t = pick('orders', 'page_views', 'carts');
		my $statement = pick($shop->insert($t, $shop->row($t)), $shop->update('orders'), $shop->insert('orders', $shop->row('orders')));
		push @log, "-- another writer: $statement";
		$total{changes}++;
		if ($other->try($statement))
		{
			$other->run('ROLLBACK');
			$open = 0;
			return;
		}
	}
	return;
}

# -------- replay --------

sub replay
{
	my $from = $now;
	my $until = later("'$now'::timestamptz + interval '" . weighted(2 => between(1, 50) . ' hours', 3 => between(1, 40) . ' days', 1 => '3 months') . "'");
	my @of = grep { !$segment{$_}{opaque} && !$segment{$_}{all} } @names;
	my $state = members($now, @of);
	my %members = map { my %m; @m{ split /,/, $state->{$_} } = (); $_ => \%m } @of;

	rows("SET timezone = 'UTC'; SELECT journey.replay('$until')");
	my @events = $sql->rows("SET timezone = 'UTC'; SELECT at, substr(name, 9, 1), substr(name, 15), contact FROM journey_state.event
		WHERE name LIKE 'journey.%' AND at > '$from' AND at <= '$until' ORDER BY at, event_id");
	$now = $until;

	# at each of them and just before, where something may flip, and anywhere
	my @at = map { $_->[0] } @events;
	@at = (shuffled(@at))[ 0 .. 39 ] if @at > 40;
	$now = $from;
	push @at, (shuffled(boundaries(200, $until)))[ 0 .. 14 ];
	$now = $until;
	my $at = join ', ', map { "('$_'::timestamptz), ('$_'::timestamptz - interval '1 microsecond')" } grep { defined } @at;
	$at .= ($at ? ', ' : '') . join ', ', map { "('$from'::timestamptz + ('$until'::timestamptz - '$from') * " . rand() . ')' } 1 .. 8;
	my %moves;
	push @{ $moves{ $_->[2] } }, $_ for @events;

	foreach my $instant (map { $_->[0] } $sql->rows("SET timezone = 'UTC'; SELECT DISTINCT x FROM (VALUES $at, ('$until'::timestamptz)) AS x (x) WHERE x > '$from' AND x <= '$until' ORDER BY x"))
	{
		my $want = members($instant, @of);
		foreach my $name (@of)
		{
			my $move = $moves{$name} // [];
			while (@$move && $move->[0][0] le $instant)	# both are written in UTC
			{
				my (undef, $how, undef, $contact) = @{ shift @$move };
				if ($how eq 'e') { $members{$name}{$contact} = undef; }
				else { delete $members{$name}{$contact}; }
			}
			my %want;
			@want{ split /,/, $want->{$name} } = ();
			$total{instants}++;
			next if join(',', sort keys %want) eq join(',', sort keys %{ $members{$name} });
			$now = $instant;
			mismatch($segment{$name}, "replayed from $from to $until, enter and leave do not come when they should",
				'should have: ' . join(' ', sort keys %want), 'had:         ' . join(' ', sort keys %{ $members{$name} }));
			return 0;
		}
	}
	return compare_all();
}

# -------- a cycle --------

sub begin
{
	srand($seed * 10007 + $cycle);
	$replays = $cycle % 3 == 0 && !$oracle_only && !$statements_only;
	%segment = ();
	@names = ();
	@log = ();
	$open = 0;
	$shop = Shop->new;
	$now = $shop->{start};
	my $database = "c$cycle";
	$node->safe_psql('postgres', "CREATE DATABASE $database OWNER shop");
	my $connstr = $node->connstr($database);
	my $super = Session->new($connstr, scalar getpwuid($<));
	$sql = Session->new($connstr, 'shop');
	$other = Session->new($connstr, 'shop');
	my $slices = pick(1, 2, 16);
	rows($shop->ddl =~ s/\A/SET SESSION AUTHORIZATION shop;\n/r);
	my @attach = ('RESET SESSION AUTHORIZATION', 'CREATE EXTENSION pg_journey', "SELECT journey.attach('public.contacts', key => 'id', owner => 'shop', slices => $slices)");
	$super->rows(logged($_)) for @attach;
	rows('SET SESSION AUTHORIZATION shop');
	$super->end;
	my $batch = weighted(3 => 1000, 1 => 1, 1 => 3, 1 => 20);
	rows("SET pg_journey.batch_size = $batch") unless $oracle_only || $statements_only;
	$sql->run("SET lock_timeout = '300ms'");
	$other->run("SET lock_timeout = '300ms'");
	$now = later("'$now'::timestamptz");
	return;
}

sub finish
{
	foreach my $s (values %segment) { $total{varied}++ if grep { $_ > 0 && $_ < $shop->{next_contact} - 5 } keys %{ $s->{sizes} }; }
	$other->end;
	$sql->end;
	$node->safe_psql('postgres', "DROP DATABASE c$cycle");
	return;
}

sub steps
{
	my $count = between(5, 9);
	my $first = between(0, $count);
	$zone = pick(@zone);
	define("s$_") for 1 .. $first;
	rows($_) for $shop->fill;
	rows('ANALYZE') if chance(0.3);
	foreach my $n ($first + 1 .. $count)
	{
		$zone = pick(@zone) if chance(0.3);
		define("s$n");
	}
	tick();
	compare_all() && compare_opaque() or return 0;
	for my $step (1 .. $steps)
	{
		if (!$oracle_only && chance(0.04))
		{
			my $n = "s" . (++$count);
			define($n) unless $open;
		}
		if (!$oracle_only && chance(0.04) && !$open && @names)
		{
			my $name = pick(@names);
			$zone = $segment{$name}{zone};
			define($name) unless asked_for($name);
		}
		for (1 .. weighted(2 => 0, 4 => 2, 2 => 5))
		{
			change() or return 0;
		}
		other_writer() if chance(0.2) && !$oracle_only;
		$total{steps}++;
		$now = next_instant() if chance(0.85);
		$shop->{now} = $now;
		tick();
		compare_all() or return 0;
		if ($statements_only || !$oracle_only && chance(0.15)) { probe() or return 0; }
		if ($replays && chance(0.6)) { replay() or return 0; }
		if (chance(0.1)) { compare_opaque() or return 0; }
		$shop->{now} = $now;
	}
	return 1;
}

my $began = time;
foreach my $n (@only ? @only : 1 .. $cycles)
{
	last if $seconds && time - $began > $seconds;
	$cycle = $n;
	begin();
	my $good = eval { steps() };
	my $error = $@;
	if (!defined $good)
	{
		open my $script, '>', "mismatch-$seed-$cycle.sql" or die;
		print $script map { script($_) } @log;
		diag("SEED=$seed CYCLE=$cycle: $error");
	}
	ok($good, "cycle $cycle: kept is what the predicates say from scratch");
	eval { finish() } or diag($@);
}

my $refused = keys %refused;
diag("refused: " . scalar(@{ $refused{$_} }) . " $_, for example $refused{$_}[0]") for sort keys %refused;
diag("opaque: $opaque{$_} $_") for sort { $opaque{$b} <=> $opaque{$a} } keys %opaque;
diag('next checks within: ' . join ', ', map { "$_ $within{$_}" } sort keys %within);
# PostgreSQL itself refuses those: an aggregate of outer columns alone belongs to the outer query
cmp_ok($total{invalid}, '<=', 0.05 * $total{predicates}, 'hardly a predicate that PostgreSQL refuses');
is($total{refused}, 0, 'every predicate was accepted');
cmp_ok($total{opaque}, '<=', 0.25 * $total{predicates}, 'few predicates are opaque');
diag(sprintf '%d predicates (%d sometimes neither empty nor full, %d opaque, %d with a table that concerns everybody), %d changes (%d did not go through), %d clock steps, %d comparisons, %d statements by themselves, %d instants between ticks, %d memberships changed, %d mismatches',
	@total{qw(predicates varied opaque all changes rolled_back steps comparisons probes instants flips mismatches)});
diag("again: SEED=$seed") unless Test::More->builder->is_passing;
$node->stop('fast');
done_testing();
