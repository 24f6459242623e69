# kill -9, a lost database, a stop: nothing is lost, and what is sent twice is
# the same message.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

my $missing = RelayTest::missing();
plan skip_all => $missing if $missing;

my $t = RelayTest->new('relay_crash');
my $max_in_flight = 20;
my %settings = (lease => '2s', send_timeout => '1s', max_in_flight => $max_in_flight, max_connections => 4, poll_interval => '50ms');

sub add_many
{
	my ($prefix, $n) = @_;
	$t->sql(qq(INSERT INTO journey.message (idempotency_key, recipient, settings)
		SELECT '$prefix' || i, '$prefix' || i || '\@test.example', '{"url": "smtp://127.0.0.1:$t->{port}", "from": "hi\@shop.example"}' FROM generate_series(1, $n) i));
}
sub unsent { my ($prefix) = @_; return $t->sql("SELECT count(*) FROM journey.message WHERE idempotency_key LIKE '$prefix%' AND status <> 'sent'") }
sub count { my ($prefix) = @_; return $t->count_accepted($prefix) }

#
# Killed in mid-send, several times
#
my $n = 2000;
my $kills = 4;
add_many('k', $n);
for my $kill (1 .. $kills)
{
	my $run = $t->start([], %settings, relay_name => 'killed');
	my $mark = $kill * $n / ($kills + 2);
	$t->poll_until("$mark are accepted", sub { count('k') >= $mark });
	$run->{harness}->signal('KILL');
	IPC::Run::finish($run->{harness});
}
my $left = unsent('k');
cmp_ok($left, '>', 0, "killed in mid-send $kills times, $left left");
my $run = $t->start([], %settings, relay_name => 'killed');
$t->poll_until('all are sent', sub { unsent('k') == 0 });
$run->{harness}->signal('TERM');
IPC::Run::finish($run->{harness});
is($? >> 8, 0, 'the last run ends well');

my (%texts, %times);
foreach my $m ($t->accepted)
{
	my ($key) = $m->{message_id} =~ /^([^@]+)@/;
	$times{$key}++;
	$texts{$key}{ $m->{text} } = 1;
}
is(scalar(keys %times), $n, 'every message was accepted at least once');
my $twice = 0;
$twice += $_ - 1 foreach values %times;
cmp_ok($twice, '<=', $kills * $max_in_flight, "$twice sent again, at most max_in_flight for each kill");
is(scalar(grep { keys %{ $texts{$_} } != 1 } keys %texts), 0, 'and the same, byte by byte');

#
# The database goes away and comes back
#
$run = $t->start([], %settings, relay_name => 'patient');
add_many('d', 100);
$t->poll_until('some are sent', sub { count('d') >= 10 });
$t->{node}->restart;
add_many('e', 5);
$t->poll_until('all are sent', sub { unsent('d') == 0 && unsent('e') == 0 });
like(slurp_file($run->{log}), qr/event=database_lost/, 'it noticed');

# a report that fails for a reason that may pass is made again: nothing is sent twice
$t->sql('ALTER FUNCTION journey.report RENAME TO report_away');
add_many('once', 1);
$t->poll_until('a report fails', sub { slurp_file($run->{log}) =~ /event=database_error during=report sqlstate=42883/ });
is(unsent('once'), 1, 'a result that cannot be reported waits');
$t->sql('ALTER FUNCTION journey.report_away RENAME TO report');
$t->poll_until('it is reported', sub { unsent('once') == 0 });
is(count('once'), 1, 'and its message was sent once');
is($t->receipts('once1'), 'sent|2.0.0', 'with one receipt');
unlike(slurp_file($run->{log}), qr/report_dropped/, 'nothing was dropped');

# cut off in the middle
$t->sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'journey-relay'");
add_many('f', 5);
$t->poll_until('all are sent', sub { unsent('f') == 0 });
pass('sends again after its session was terminated');

# woken by NOTIFY, not by the poll
$run->{harness}->signal('TERM');
IPC::Run::finish($run->{harness});
is($? >> 8, 0, 'SIGTERM: exit status 0');
$run = $t->start([], %settings, poll_interval => '1h');
$t->poll_until('it is ready', sub { slurp_file($run->{log}) =~ /event=ready/ });
add_many('g', 1);
$t->sql('NOTIFY journey_outbox');
$t->poll_until('it is sent', sub { unsent('g') == 0 });
pass('a notification wakes it');

#
# SIGHUP
#
$t->config(%settings, poll_interval => '1h', log_level => 'nonsense');
$run->{harness}->signal('HUP');
$t->poll_until('it refuses', sub { slurp_file($run->{log}) =~ /event=reload_failed/ });
$t->config(%settings, poll_interval => '50ms', listen => 'off');
$run->{harness}->signal('HUP');
$t->poll_until('it reloads', sub { slurp_file($run->{log}) =~ /event=reloaded/ });
add_many('h', 1);
$t->poll_until('it is sent', sub { unsent('h') == 0 });
pass('a reload takes effect: polling, no LISTEN');
is($t->sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'journey-relay'"), 1, 'one session');

#
# SIGTERM finishes what was started
#
$t->behave({ '*' => [ { at => 'data', do => 'hang' } ] });
add_many('stuck', 1);
$t->poll_until('it is under way', sub { $t->wire =~ /RCPT TO:<stuck1/ });
$run->{harness}->signal('TERM');
IPC::Run::finish($run->{harness});
is($? >> 8, 0, 'SIGTERM with a message under way: exit status 0');
is($t->receipts('stuck1'), 'deferred|4.4.2', 'which it reported');

done_testing();
