# The gate against a naive model of its rules (model.sql) on random histories.
#
# Each cycle makes a shop of a few contacts and some journeys, and then lets
# things happen to them: runs start and end, consents come and go, addresses
# change, caps, hours and holds are made and dropped, journeys paused, contacts
# respond, relays claim and report, or do not.  Each verdict that
# the extension stores is judged by the model, which keeps books of its own, and
# so is what should have been asked and was not.  Time passes in one of three
# ways: by a tick at each instant at which something is due, by late ticks only, or
# by replay.
#
# It ends with how often each verdict and its reason came up (mix.sql); one that never
# did in a long run is a failure.
#
# CYCLES=n, SEED=n (printed; repeats everything), CYCLE=n (only this one),
# STEPS=n, FEATURES=a,b (only these), FIRST=1 (no more after a mismatch).  A mismatch leaves the SQL of its cycle in
# mismatch-SEED-CYCLE.sql: a script for psql, to be run as a superuser in an empty database.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/../segment";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Random;
use Session;

my $cycles = $ENV{CYCLES} // 20;
my $seed = $ENV{SEED} // int rand 1_000_000;
my $steps = $ENV{STEPS} // 80;
my @only = split /,/, $ENV{CYCLE} // '';
my %wanted = map { $_ => 1 } split /,/, $ENV{FEATURES} // '';
diag("CYCLES=$cycles SEED=$seed");

my $node = PostgreSQL::Test::Cluster->new('gate');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\nautovacuum = off\nlog_statement = none\njit = off\n");
$node->start;
$node->safe_psql('postgres', q{CREATE ROLE shop LOGIN; ALTER ROLE shop SET statement_timeout = '60s'});

use constant LONG => 250;	# cycles
my $contacts = 6;
my ($sql, @log, $now, $how, @journeys, %feature, %names, $keys, %total, %entered);

sub run { my ($text) = @_; push @log, "$text;"; return $sql->rows($text); }
sub value { my ($row) = run($_[0]); return $row ? $row->[0] : undef; }
sub quoted { return defined $_[0] ? "'" . ($_[0] =~ s/'/''/gr) . "'" : 'NULL'; }
sub list { return @_ ? "'{" . join(',', @_) . "}'" : 'NULL'; }
sub does { my ($feature) = @_; return $feature{$feature} && (!%wanted || $wanted{$feature}); }

# ---- the shop ----

sub begin
{
	my ($cycle) = @_;
	my $database = "cycle$cycle";
	my $window = pick('30d', '1d');
	@log = ();
	$sql = undef;
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	my $setup = <<"SQL";
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text, phone text, tz text, country text, open boolean NOT NULL DEFAULT false);
INSERT INTO shop.customers SELECT i, 'c' || i || '\@shop.example', '+44200000000' || i FROM generate_series(1, $contacts) i;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
DO \$\$ BEGIN
	PERFORM FROM pg_proc WHERE oid = to_regproc('journey.attach') AND 'country' = ANY (proargnames);
	EXECUTE 'SELECT journey.attach(''shop.customers'', email => ''email'', phone => ''phone'', timezone => ''tz'', owner => ''shop'', slices => 2' || CASE WHEN FOUND THEN ', country => ''country'')' ELSE ')' END;
END \$\$;
DO \$\$ BEGIN
	EXECUTE format('GRANT CREATE ON DATABASE %I TO shop', current_database());
	EXECUTE format('ALTER DATABASE %I SET pg_journey.same_address_window = %L', current_database(), '$window');
END \$\$;
SET pg_journey.same_address_window = '$window';
SQL
	push @log, "CREATE ROLE shop LOGIN;\n$setup";
	$node->safe_psql($database, $setup);
	$sql = Session->new($node->connstr($database), 'shop');
	push @log, 'SET SESSION AUTHORIZATION shop;', '\i model.sql', '\i compare.sql';
	foreach my $file (qw(model.sql compare.sql))
	{
		my ($out, $err) = $sql->run(slurp_file("$FindBin::RealBin/$file"));
		die $err if $err =~ /^ERROR:/m;
	}
	run("SELECT journey.open_relay('r1', journey.issue_site_token())");
	%feature = map { $_->[0] => 1 } $sql->rows("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'journey'::regnamespace");
	%names = ();
	$keys = 0;
	$now = '2026-' . pick(qw(01-05 03-26 03-06 10-22 04-03 12-28)) . ' 10:00';
	$now = value("SELECT timestamptz '$now'");

	run("SELECT journey.create_channel('email', 'smtp', '{\"url\": \"smtp://localhost:2525\", \"from\": \"hi\@shop.example\"}')");
	run("SELECT journey.create_channel('sms', 'smtp', '{\"url\": \"smtp://localhost:2525\", \"from\": \"hi\@shop.example\", \"address\": \"phone\"}')");
	run("SELECT journey.create_template('t_$_', '$_', 's', 'b')") foreach qw(email sms);
	run("SELECT journey.create_template('t_both', '$_', 's', 'b')") foreach qw(email sms);
	run("SELECT journey.create_topic('news', 'educational')");
	run("INSERT INTO model.topic VALUES ('promotions', 'promotional', true, true), ('news', 'educational', true, true), ('service', 'transactional', false, false)");
	run("INSERT INTO model.bad_address VALUES ('nobody', true), ('020 7946', true)");
	foreach my $id (1 .. $contacts)
	{
		foreach my $channel (qw(email sms))
		{
			consent($id, $channel, '*', 'true') if chance(0.8);
		}
		zone($id) if chance(0.7);
	}
	# a household
	run("UPDATE shop.customers SET email = 'C1\@shop.example', phone = '+442000000001' WHERE id = 2");
	@journeys = map { "j$_" } 1 .. 4;
	journey($_) foreach @journeys;
	cap() if chance(0.6);
	learn() if does('set_engagement_event');
	if (does('create_hold'))
	{
		run("SELECT journey.create_segment('open', 'c.open', at => '$now')");
		1 while value("SELECT more FROM journey.tick('$now')") eq 't';
	}
	return;
}

sub journey
{
	my ($name) = @_;
	my $topic = weighted(6 => 'promotions', 2 => 'news', 1 => 'service');
	my $script = "ON EVENT go_$name KEY event.properties->>'k' EXIT ON stop_$name TOPIC $topic";
	my $holdout = weighted(3 => 0, 1 => 30);
	my $priority = does('create_gap') ? pick(30, 50, 50, 52) : 50;
	$script .= " HOLDOUT $holdout%" if $holdout;
	$script .= " PRIORITY $priority" if $priority != 50;
	if (does('create_entry_cap') && chance(0.3))
	{
		my ($most, $per) = (between(1, 2), pick('1 day', '7 days'));
		$script .= " LIMIT $most PER '$per'";
		run("INSERT INTO model.entry_cap VALUES ('limit of $name', $most, '$per', '{$name}')");
	}
	my $both = chance(0.3);
	foreach my $no (1 .. between(1, 2 + $both))
	{
		my $wait = pick('0', '0', '1 hour', '7 hours', '1 day 30 minutes');
		my @channels = @{ does('set_engagement_event') && chance(0.35) ? pick([ 'sms', 'email' ], [ 'email', 'sms' ]) : [ pick('email', 'email', 'sms') ] };
		my $best = @channels > 1 && chance(0.5);
		my $over = @channels == 1 ? $channels[0] : ($best ? 'BEST' : 'FIRST') . ' OF (' . join(', ', @channels) . ')';
		my $expires = pick('40 minutes', '2 hours', ('1 day') x 3, '2 days', '2 days', '5 days');
		my $best_time = does('set_engagement_event') && $expires =~ /day/ && chance(0.25) ? pick('5 hours', '1 day', $expires) : undef;
		my $capped = does('create_gap') ? pick('skip', 'defer', 'defer', 'defer', 'exit') : 'skip';
		my $within = $capped eq 'defer' && $expires =~ /day/ && chance(0.3) ? '12 hours' : undef;
		my $own = does('create_gap') && chance(0.3) ? pick(40, 60) : undef;
		$script .= " WAIT '$wait';" if $wait;
		my $template = $both || @channels > 1 ? 't_both' : "t_$channels[0]";
		my $also = $template eq 't_both' && chance(0.2);
		$script .= " SEND $over $template" . ($also ? ' ALSO' : '') . (defined $own ? " PRIORITY $own" : '') . " EXPIRES '$expires'" . (defined $best_time ? " AT BEST TIME WITHIN '$best_time'" : '');
		$script .= ' WHEN CAPPED ' . uc($capped) . ($within ? " WITHIN '$within'" : '') if $capped ne 'skip';
		$script .= ';';
		run("INSERT INTO model.step VALUES ('$name', $no, '$wait', " . list(@channels) . ', ' . ($best ? 'true' : 'false') . ", '$topic', " . ($own // $priority) . ", '$expires', '$capped', " . quoted($within) . ", '$template', " . ($also ? 'true' : 'false') . ', ' . quoted($best_time) . ')');
	}
	run("SELECT journey.create_journey('$name', " . quoted($script) . ", '$now')");
	run("SELECT journey.activate('$name')");
	return;
}

# What is known of everybody: of both channels, of one or of none; and of the hours on weekdays.
sub learn
{
	run("SELECT journey.set_engagement_event('visit', true)");
	foreach my $channel (qw(email sms))
	{
		my $prior = pick(undef, '1, 15', '5, 4', '2, 8');
		next if !defined $prior;
		run("INSERT INTO journey_state.engagement_prior VALUES ('$channel', $prior, 100, '$now')");
		run("INSERT INTO model.prior VALUES ('$channel', $prior)");
	}
	if (chance(0.5))
	{
		run("INSERT INTO model.share SELECT false, hour, CASE hour WHEN 19 THEN 0.31 WHEN 7 THEN 0.25 ELSE 0.02 END FROM generate_series(0, 23) hour");
		run("INSERT INTO journey_state.send_time_prior SELECT 'weekday', hour, share, 100, '$now' FROM model.share");
	}
	return;
}

# ---- what may happen ----

sub consent
{
	my ($id, $channel, $topic, $granted) = @_;
	run("SELECT journey.set_consent($id, '$channel', '$topic', $granted, 'test', at => '$now')");
	run("INSERT INTO model.consent VALUES ($id, '$channel', '$topic', $granted) ON CONFLICT (contact, channel, topic) DO UPDATE SET granted = excluded.granted");
	return;
}

sub zone
{
	my ($id) = @_;
	my $tz = pick(undef, 'Europe/London', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe', 'EST', 'nonsense', 'UTC');
	my $country = pick(undef, 'GB', 'US', 'US-FL', 'FR');
	run("UPDATE shop.customers SET tz = " . quoted($tz) . ", country = " . quoted($country) . " WHERE id = $id");
	return;
}

sub address
{
	my ($id) = @_;
	my $email = pick(undef, '', 'nobody', 'nobody', "c$id\@shop.example", "c$id\@shop.example", "C$id\@Shop.Example", ('c1@shop.example', 'C1@Shop.example') x 2);
	my $phone = pick(undef, '020 7946', '020 7946', "+44200000000$id", "+44200000000$id", ('+442000000001') x 3);
	run("UPDATE shop.customers SET email = " . quoted($email) . ", phone = " . quoted($phone) . " WHERE id = $id");
	return;
}

sub suppress
{
	my $id = between(1, $contacts);
	my ($channel, $address) = @{ pick([ 'email', "c$id\@shop.example" ], [ 'sms', "+44200000000$id" ]) };
	if (chance(0.5))
	{
		run("SELECT journey.suppress('$channel', '$address', 'test', at => '$now')");
		run("INSERT INTO model.suppressed VALUES ('$channel', '$address', 'all') ON CONFLICT DO NOTHING");
	}
	else
	{
		run("SELECT journey.unsuppress('$channel', '$address')");
		run("DELETE FROM model.suppressed WHERE channel = '$channel' AND address = '$address'");
	}
	return;
}

# By contact: of all messages or of those that are not transactional.
sub suppress_contact
{
	my $id = between(1, $contacts);
	my $channel = pick('*', 'email');
	if (chance(0.5))
	{
		my $scope = pick('all', 'promotional');
		run("SELECT journey.unsuppress_contact($id, '$channel')");
		run("SELECT journey.suppress_contact($id, 'test', '$channel', scope => '$scope', at => '$now')");
		run("INSERT INTO model.suppressed_contact VALUES ($id, '$channel', '$scope') ON CONFLICT (contact, channel) DO UPDATE SET scope = excluded.scope");
	}
	else
	{
		run("SELECT journey.unsuppress_contact($id, '$channel')");
		run("DELETE FROM model.suppressed_contact WHERE contact = $id AND channel = '$channel'");
	}
	return;
}

# How often a contact wants to hear.
sub frequency
{
	my $id = between(1, $contacts);
	my ($channel, $topic) = (pick('*', 'email'), pick('*', 'promotions'));
	my $frequency = pick('all', 'daily', 'weekly', 'monthly');
	my %calendar = (daily => 'day', weekly => 'week', monthly => 'month');
	run("SELECT journey.set_frequency($id, '$channel', '$topic', '$frequency', 'test', at => '$now')");
	run("DELETE FROM model.frequency WHERE contact = $id AND channel = '$channel' AND topic = '$topic'");
	run("INSERT INTO model.frequency VALUES ($id, '$channel', '$topic', '$calendar{$frequency}')") if $frequency ne 'all';
	return;
}

sub cap
{
	my $name = 'cap' . between(1, 3);
	if ($names{$name} && chance(0.4))
	{
		run("SELECT journey.drop_cap('$name')");
		run("DELETE FROM model.cap WHERE name = '$name'");
		run("UPDATE model.cap SET overrides = array_remove(overrides, '$name')");
		delete $names{$name};
		return;
	}
	my $most = pick(0, (1) x 6, 2, 2, 3);
	my $per = pick('1 hour', '3 hours', '3 hours', '12 hours', '1 day', '7 days', '1 month');
	if (!does('create_gap'))
	{
		my $channel = pick(undef, undef, 'email', 'sms');
		my $scope = defined $channel ? list($channel) : 'NULL';
		run("SELECT journey.create_cap('$name', $most, '$per', " . quoted($channel) . ", '$now')");
		run("DELETE FROM model.cap WHERE name = '$name'");
		run("INSERT INTO model.cap (name, most, per, channels, counts_channels) VALUES ('$name', $most, '$per', $scope, $scope)");
		$names{$name} = 1;
		return;
	}

	# scopes: of the obeying and of the counted; what is not said to be counted is what obeys
	my %scope = (channels => [ 'email', 'sms' ], topics => [ 'promotions', 'news', 'service' ], classes => [ 'promotional', 'educational' ], journeys => \@journeys, countries => [ 'US', 'GB', 'US-FL' ]);
	my (@given, %column);
	foreach my $what (sort keys %scope)
	{
		my $obeys = chance(0.2) ? list(pick(@{ $scope{$what} })) : 'NULL';
		$column{$what} = $obeys;
		push @given, "$what => $obeys" if $obeys ne 'NULL';
		next if $what eq 'countries';
		my $counts = chance(0.15) ? pick("'{*}'", list(pick(@{ $scope{$what} }))) : 'NULL';
		$column{"counts_$what"} = $counts eq 'NULL' ? $obeys : $counts eq "'{*}'" ? 'NULL' : $counts;
		push @given, "counts_$what => $counts" if $counts ne 'NULL';
	}
	$column{look_ahead} = quoted(pick('0', '0', '2 hours', '1 day'));
	my @others = grep { /^cap/ && $_ lt $name } sort keys %names;
	$column{overrides} = @others && chance(0.2) ? list(pick(@others)) : "'{}'";
	push @given, map { "$_ => $column{$_}" } qw(look_ahead overrides);
	my $engagement = does('set_engagement_event') && chance(0.35) ? quoted(pick('low', 'high')) : 'NULL';
	$column{engagement} = $engagement;
	push @given, "engagement => $engagement";
	my $calendar = chance(0.4) ? pick(qw(day day day week month)) : undef;
	push @given, defined $calendar ? "calendar => '$calendar'" : "per => '$per'";
	run("SELECT journey.create_cap('$name', $most, " . join(', ', @given) . ", at => '$now')");
	run("DELETE FROM model.cap WHERE name = '$name'");
	run("INSERT INTO model.cap (name, most, per, calendar, " . join(', ', sort keys %column) . ") VALUES ('$name', $most, " . (defined $calendar ? "NULL, '$calendar'" : "'$per', NULL") . ', ' . join(', ', map { $column{$_} } sort keys %column) . ')');
	run("DELETE FROM model.quota WHERE cap = '$name'") if !$names{$name};
	if (chance(0.2))
	{
		my ($class, $share) = (pick('promotional', 'educational'), pick(0, 0.34, 0.5));
		run("SELECT journey.create_quota('$name', class => '$class', share => $share, at => '$now')");
		run("DELETE FROM model.quota WHERE cap = '$name' AND class = '$class'");
		run("INSERT INTO model.quota VALUES ('$name', '$class', $share)");
	}
	$names{$name} = 1;
	return;
}

sub entry_cap
{
	my $name = 'entries' . between(1, 2);
	if ($names{$name})
	{
		run("SELECT journey.drop_entry_cap('$name')");
		run("DELETE FROM model.entry_cap WHERE name = '$name'");
		delete $names{$name};
		return;
	}
	my ($most, $per, $journeys) = (between(1, 3), quoted(pick(undef, '1 day', '3 days')), chance(0.5) ? list(pick(@journeys)) : 'NULL');
	run("SELECT journey.create_entry_cap('$name', $most, $per, $journeys, at => '$now')");
	run("INSERT INTO model.entry_cap VALUES ('$name', $most, $per, $journeys)");
	$names{$name} = 1;
	return;
}

# While a run of one journey goes on, messages of others wait or are not sent.
sub hold
{
	my $name = 'hold' . between(1, 2);
	if ($names{$name})
	{
		run("SELECT journey.drop_hold('$name')");
		run("DELETE FROM model.hold WHERE name = '$name'");
		delete $names{$name};
		return;
	}
	my $of_open = chance(0.4);
	my $journey = $of_open ? 'NULL' : quoted(pick(@journeys));
	my $lasting = $of_open ? 'NULL' : quoted(pick(undef, '3 hours', '1 day'));
	my $segment = $of_open ? "'open'" : 'NULL';
	my $action = pick('defer', 'defer', 'skip');
	my $channels = chance(0.3) ? list('email') : 'NULL';
	my $topics = chance(0.2) ? list('promotions') : 'NULL';
	my $classes = chance(0.3) ? list('educational') : list('promotional', 'educational');
	my $except = chance(0.3) ? list(pick(@journeys)) : "'{}'";
	run("SELECT journey.create_hold('$name', segment => $segment, journey => $journey, lasting => $lasting, action => '$action', channels => $channels, topics => $topics, classes => $classes, except_journeys => $except, at => '$now')");
	run("INSERT INTO model.hold VALUES ('$name', $journey, $lasting, '$action', $channels, $topics, $classes, $except)");
	$names{$name} = 1;
	return;
}

sub sunset
{
	if ($names{sunset})
	{
		run('SELECT journey.drop_sunset()');
		run("DELETE FROM model.hold WHERE name = 'sunset'");
		delete $names{sunset};
		return;
	}
	my ($after, $messages) = (pick('12 hours', '2 days'), between(1, 3));
	my $except = chance(0.3) ? list(pick(@journeys)) : "'{}'";
	my $classes = pick("'{promotional}'", "'{promotional,educational}'");
	run("SELECT journey.create_sunset(after => '$after', messages => $messages, classes => $classes, except_journeys => $except, at => '$now')");
	1 while value("SELECT more FROM journey.tick('$now')") eq 't';
	run("INSERT INTO model.hold VALUES ('sunset', NULL, NULL, 'skip', NULL, NULL, $classes, $except, '$after', $messages)");
	$names{sunset} = 1;
	return;
}

# A contact clicks, or comes to the shop; or a machine does.
sub respond
{
	my ($id) = @_;
	my $machine = chance(0.15) ? 'true' : 'false';
	my $message = chance(0.7) ? value("SELECT message_id FROM model.sending WHERE contact = $id AND state = 'handed' ORDER BY handed_at DESC, message_id LIMIT 1") : undef;
	my $named = defined $message ? "jsonb_build_object('message_id', $message, 'machine', $machine)" : "jsonb_build_object('machine', $machine)";
	my $event = defined $message ? 'clicked' : 'visit';
	run("SELECT journey.track($id, '$event', $named, '$now')");
	run("INSERT INTO model.response VALUES ($id, '$now', " . ($message // 'NULL') . ", $machine)");
	return;
}

sub pause
{
	my ($journey) = @_;
	if ($names{"paused $journey"})
	{
		run("CALL model.resume('$journey', '$now', '$how')");
		delete $names{"paused $journey"};
		return;
	}
	run("SELECT journey.pause('$journey')");
	run("INSERT INTO model.paused VALUES ('$journey')");
	$names{"paused $journey"} = 1;
	return;
}

# Two journeys stay.
sub drop_journey
{
	return if @journeys < 3;
	my $journey = splice @journeys, between(0, $#journeys), 1;
	run("SELECT journey.drop_journey('$journey')");
	run("DELETE FROM model.paused WHERE journey = '$journey'");
	run("INSERT INTO model.dropped VALUES ('$journey')");
	run("UPDATE model.sending SET state = 'dropped' WHERE journey = '$journey' AND state IN ('waiting', 'deferred')");
	return;
}

# At least an hour of every day stays, so that no week is quiet all the time.
sub quiet
{
	my $name = 'quiet' . between(1, 3);
	if ($names{$name} && chance(0.5))
	{
		run("SELECT journey.drop_quiet_hours('$name')");
		run("DELETE FROM model.quiet WHERE name = '$name'");
		delete $names{$name};
		return;
	}
	my ($starts, $ends) = @{ pick([ '21:00', '08:00' ], [ '20:00', '09:00' ], [ '01:30', '03:15' ], [ '00:00', '12:00' ], [ '22:30', '22:45' ], [ '20:00', '00:00' ]) };
	my $days = list(chance(0.5) ? qw(mon tue wed thu fri sat sun) : grep { chance(0.5) || $_ eq 'sun' } qw(mon tue wed thu fri sat sun));
	my $channels = chance(0.3) ? list('sms') : 'NULL';
	my $topics = chance(0.2) ? list('promotions') : 'NULL';
	my $countries = chance(0.3) ? list(pick('US', 'US-FL', 'GB')) : 'NULL';
	my $action = weighted(6 => 'defer', 1 => 'skip', 2 => 'send');
	my $jitter = $action eq 'defer' ? pick('0', '0', '20 minutes') : '0';
	run("SELECT journey.drop_quiet_hours('$name')") if $names{$name};
	run("SELECT journey.create_quiet_hours('$name', '$starts', '$ends', $days, $channels, $topics, $countries, '$action', '$jitter', at => '$now')");
	run("DELETE FROM model.quiet WHERE name = '$name'");
	run("INSERT INTO model.quiet VALUES ('$name', '$starts', '$ends', $days, $channels, $topics, $countries, '$action', '$jitter')");
	$names{$name} = 1;
	return;
}

sub zones_of
{
	my ($country, @zones) = @{ pick([ '*', 'Europe/Paris' ], [ 'US', 'America/New_York', 'America/Los_Angeles' ], [ 'US-FL', 'America/New_York', 'America/Chicago' ], [ 'GB', 'Europe/London' ]) };
	run('SELECT journey.set_timezone(' . list(@zones) . ", '$country')");
	run("INSERT INTO model.zone VALUES ('$country', " . list(@zones) . ') ON CONFLICT (country) DO UPDATE SET zones = excluded.zones');
	return;
}

sub go
{
	my ($id, $journey, $key) = @_;
	run("CALL model.go($id, '$journey', '$key', '$now', '$how')");
	return;
}

sub claim
{
	my $fate = weighted(10 => 'sent 250', 2 => 'bounced 5.7.1', 1 => 'bounced 5.1.1', 2 => 'lost');
	my $most = pick((10000) x 4, 1, 3);
	run("CALL model.claim('$now', $most, '$fate')");
	return;
}

sub step
{
	$now = value("SELECT timestamptz '$now' + interval '1.000001 seconds' + interval '" . pick(between(1, 59) . ' seconds', (between(1, 59) . ' minutes') x 2, between(1, 20) . ' hours') . "'");
	run("CALL model.advance('$now', '$how')");
	my $id = between(1, $contacts);
	my $journey = pick(@journeys);
	weighted(
		14 => sub { $keys++; go($id, $journey, "k$keys"); },
		# two contacts of one household, perhaps, and one order
		4 => sub { $keys++; go($_, $journey, "k$keys") foreach $id, $id % $contacts + 1; },
		14 => \&claim,
		4 => \&cap,
		1 => sub { run("CALL model.stop($id, '$journey', '$now', '$how')"); },
		2 => sub { consent($id, pick('email', 'sms'), pick('*', 'promotions', 'news'), pick('true', 'false')); },
		1 => \&suppress,
		1 => sub { address($id); },
		1 => sub { zone($id); },
		(does('suppress_contact') ? (0.7 => \&suppress_contact) : ()),
		(does('set_frequency') ? (1 => \&frequency) : ()),
		(does('create_entry_cap') ? (0.7 => \&entry_cap) : ()),
		(does('create_hold') ? (1.2 => \&hold) : ()),
		(does('create_hold') ? (1 => sub { run("UPDATE shop.customers SET open = NOT open WHERE id = $id"); }, 0.5 => \&sunset) : ()),
		(does('set_engagement_event') ? (4 => sub { respond($id); }) : ()),
		(does('pause') ? (0.6 => sub { pause($journey); }, 1 => sub { pause($_) foreach grep { $names{"paused $_"} } @journeys; }) : ()),
		0.4 => \&drop_journey,
		(does('create_quiet_hours') ? (2 => \&quiet, 0.5 => \&zones_of) : ()),
		0.2 => sub { run("DELETE FROM shop.customers WHERE id = $id"); },
		0.5 => sub { run("INSERT INTO shop.customers VALUES ($id, 'c$id\@shop.example', '+44200000000$id') ON CONFLICT DO NOTHING"); },
	)->();
	return;
}

# ---- a cycle ----

sub cycle
{
	my ($cycle) = @_;
	srand($seed * 1009 + $cycle);
	$how = ('tick', 'late', 'replay')[ $cycle % 3 ];
	my @mismatches;
	my $died = !eval {
		begin($cycle);
		for (1 .. $steps)
		{
			step();
			@mismatches = map { join '|', @$_ } $sql->rows("SELECT what FROM model.mismatch ORDER BY id");
			last if @mismatches;
		}
		1;
	};
	push @mismatches, $@ if $died;
	if (!$died)
	{
		my @counts = $sql->rows("SELECT verdict || coalesce(' ' || reason, '') || CASE stage WHEN 'claim' THEN ' at claim' ELSE '' END, count(*) FROM journey_state.verdict GROUP BY 1");
		push @counts, $sql->rows(slurp_file("$FindBin::RealBin/mix.sql"));
		$total{ $_->[0] } += $_->[1] foreach @counts;
		push @mismatches, map { "law broken: $_->[0]" } $sql->rows("SELECT law || ': ' || example FROM journey.check() WHERE violations > 0");
	}
	kill 'TERM', $sql->{pid} if $died && $sql;
	$sql->end if $sql;
	ok(!@mismatches, "cycle $cycle, by $how");
	if (@mismatches)
	{
		my $file = "mismatch-$seed-$cycle.sql";
		open my $handle, '>', $file or die "$file: $!";
		print {$handle} join("\n", @log), "\n";
		close $handle;
		diag("MISMATCH: $_") foreach @mismatches;
	}
	$node->safe_psql('postgres', "DROP DATABASE cycle$cycle");
	return;
}

foreach my $cycle (@only ? @only : 1 .. $cycles)
{
	cycle($cycle);
	last if $ENV{FIRST} && !Test::More->builder->is_passing;
}
# What happened how often.  In a long run everything does.
my @kinds = (
	'sent',
	(map { "withheld $_" } 'no_consent', 'contact_gone', 'suppressed', 'held', 'no_address', 'bad_address', 'duplicate_content', 'duplicate_address', 'quiet_hours', 'capped'),
	(map { "withheld $_ at claim" } 'exited', 'no_consent', 'contact_gone', 'suppressed', 'held', 'duplicate_address', 'expired', 'capped', 'journey_dropped'),
	(map { "deferred $_" } 'held', 'quiet_hours', 'send_time', 'capped'),
	(map { "deferred $_ at claim" } 'held', 'quiet_hours', 'capped'),
	(map { "entry $_" } 'no_consent', 'contact_gone', 'suppressed', 'no_address', 'capped'),
	'handed over', 'sunset', 'held by a segment', 'FIRST OF: not the first', 'BEST OF: not the first', 'best time: explored', 'best time: individual',
	'cap: a quota', 'cap: of a class of engagement', 'cap: a frequency of the contact\'s own', 'cap: overridden', 'cap: a rival goes first', 'taken up after a pause', 'handed over again', 'withheld after a hand-over',
);
my @never = grep { !$total{$_} } @kinds;
diag("$total{$_} $_") foreach sort keys %total;
diag("never: $_") foreach @never;
ok(!@never, 'everything has happened') if $cycles >= LONG && !@only && !%wanted;
done_testing();
