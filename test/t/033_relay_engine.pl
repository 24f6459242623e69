# A journey's messages, from the event to the mail server and back, with the
# engine's own claim and report.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

my $missing = RelayTest::missing();
plan skip_all => $missing if $missing;

my $t = RelayTest->new('relay_engine', 'pg_journey');
my $shop = $t->{node}->connstr('postgres') . ' user=shop';
sub shop_sql { my ($sql) = @_; return $t->{node}->safe_psql('postgres', $sql, connstr => $shop) }

$t->sql(q{
	CREATE ROLE shop LOGIN;
	CREATE ROLE mailer LOGIN;
	CREATE SCHEMA shop AUTHORIZATION shop;
	CREATE TABLE shop.customers (id bigint PRIMARY KEY, first_name text, email text, phone text, tz text);
	ALTER TABLE shop.customers OWNER TO shop;
	INSERT INTO shop.customers SELECT i, 'Zoë ' || i, 'c' || i || '@test.example', NULL, 'Europe/London' FROM generate_series(1, 30) i;
	CREATE EXTENSION pg_journey;
	SELECT journey.attach('shop.customers', key => 'id', email => 'email', phone => 'phone', timezone => 'tz', owner => 'shop');
	SELECT journey.grant_role('relay', 'mailer');
});
my $token = $t->sql('SELECT journey.issue_site_token()');
shop_sql(qq{
	SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:$t->{port}", "from": "Shop <hi\@shop.example>"}');
	SELECT journey.create_template('welcome', channel => 'email', subject => 'Welcome, {{ first_name }}', body => 'Hello {{ first_name }}!');
	SELECT journey.create_topic('news', 'promotional');
	SELECT journey.create_journey('welcome', \$\$ ON EVENT signed_up TOPIC news SEND email welcome EXPIRES '1 day'; \$\$);
	SELECT journey.activate('welcome');
	SELECT journey.set_consent(i, 'email', 'news', true, 'test') FROM generate_series(1, 30) i;
	SELECT journey.track(i, 'signed_up') FROM generate_series(1, 30) i;
	SELECT journey.tick();
});
my %relay = (conninfo => $t->{node}->connstr('postgres') . ' user=mailer', site_token => $token);
sub status { my ($status) = @_; return shop_sql("SELECT count(*) FROM journey_state.message WHERE status = '$status'") }
is(status('pending'), 30, 'thirty messages wait');

my ($status, $log) = $t->run(['--once'], %relay, site_token => 'wrong');
is($status, 3, 'wrong token: exit status 3') or diag $log;
is(status('pending'), 30, 'and nothing was claimed');

# the opt-out comes after the decision and before the claim
shop_sql(q{SELECT journey.set_consent(7, 'email', 'news', false, 'test')});
$t->behave({ 'c1@test.example' => [ { at => 'rcpt', reply => '550 5.1.1 unknown' } ], 'c2@test.example' => [ { at => 'rcpt', reply => '451 4.7.1 later' } ],
	'c3@test.example' => [ { at => 'data', reply => '554 5.7.1 no' } ] });
($status, $log) = $t->run(['--once'], %relay);
is($status, 0, 'exit status') or diag $log;
is(status('sent'), 26, 'sent');
is(status('withheld'), 1, 'withheld: the opt-out');
is(status('bounced'), 1, 'bounced');
is(status('failed'), 1, 'refused for another reason');
is(scalar($t->accepted_for('c7')), 0, 'whoever opted out got nothing');
my ($mail) = $t->accepted_for('c5');
like($mail->{text}, qr/^Hello Zo=C3=AB 5!\r$/m, 'the rendered text');
my $key = shop_sql('SELECT idempotency_key FROM journey_state.message WHERE contact = 5');
is($mail->{message_id}, "$key\@shop.example", 'under its idempotency key');
is(shop_sql(q{SELECT string_agg(kind || ' ' || coalesce(code, '-'), ', ' ORDER BY receipt_id) FROM journey_state.receipt WHERE contact = 2}),
	'claimed -, deferred 4.7.1', 'receipts of a deferral');
is(shop_sql(q{SELECT reason FROM journey_state.suppression WHERE address = 'c1@test.example'}) ne '', 1, 'the bounced address is suppressed');

# live: the relay waits, the tick notifies
my $run = $t->start([], %relay, poll_interval => '1h');
$t->poll_until('it is ready', sub { slurp_file($run->{log}) =~ /event=ready/ });
shop_sql(q{SELECT journey.track(9, 'signed_up'); SELECT journey.tick();});
shop_sql('NOTIFY journey_outbox');
$t->poll_until('it is sent', sub { $t->accepted_for('c9') == 2 });
$run->{harness}->signal('TERM');
IPC::Run::finish($run->{harness});
is($? >> 8, 0, 'stopped well');
is(status('sent'), 27, 'reported before it stopped');

# the deferred one, once its time has come; last, for the outbox does not go back in time
my $later = $t->sql(q{SELECT clock_timestamp() + interval '12 hours'});
($status, $log) = $t->run([ '--once', '--at', $later ], %relay);
is($status, 0, 'exit status') or diag $log;
is(status('sent'), 28, 'the deferred message is sent');
is(scalar($t->accepted), 28, 'each message once');
is(shop_sql(q{SELECT kind FROM journey_state.receipt WHERE contact = 2 ORDER BY receipt_id DESC LIMIT 1}), 'sent', 'and reported');

done_testing();
