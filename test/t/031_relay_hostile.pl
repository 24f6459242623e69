# Whatever a message holds, nothing but that message reaches the wire; and a
# relay that may not send does not.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

my $missing = RelayTest::missing();
plan skip_all => $missing if $missing;

my $t = RelayTest->new('relay_hostile');
my $from = qq("url": "smtp://127.0.0.1:$t->{port}", "from": "hi\@shop.example");

#
# Smuggling
#
my %bad = (
	addr_crlf => [ recipient => q(E'a@test.example>\r\nRCPT TO:<evil@test.example') ],
	addr_lf => [ recipient => q(E'a@test.example\nRCPT TO:<evil@test.example>') ],
	addr_angle => [ recipient => q('a@test.example> NOTIFY=NEVER <evil@test.example') ],
	addr_space => [ recipient => q('a b@test.example') ],
	addr_list => [ recipient => q('a@test.example,evil@test.example') ],
	addr_none => [ recipient => q('') ],
	addr_quoted => [ recipient => q('"a b"@test.example') ],
	addr_two => [ recipient => q('a@test.example@evil.example') ],
	addr_utf8 => [ recipient => q(U&'\00fc@test.example') ],
	subject_crlf => [ subject => q(E'Hi\r\nBcc: evil@test.example') ],
	subject_lf => [ subject => q(E'Hi\nBcc: evil@test.example') ],
	subject_cr => [ subject => q(E'Hi\rBcc: evil@test.example') ],
	value_crlf => [ headers => q('{"X-A": "1\r\nBcc: evil@test.example"}') ],
	value_lf => [ headers => q('{"X-A": "1\nBcc: evil@test.example"}') ],
	value_vt => [ headers => q('{"X-A": "1\u000bBcc"}') ],
	name_crlf => [ headers => q('{"X-A: 1\r\nBcc": "evil@test.example"}') ],
	name_colon => [ headers => q('{"Bcc: evil@test.example, X-A": "1"}') ],
	name_empty => [ headers => q('{"": "1"}') ],
	name_bcc => [ headers => q('{"bcc": "evil@test.example"}') ],
	name_type => [ headers => q('{"Content-Type": "text/html"}') ],
	name_from => [ headers => q('{"From": "evil@test.example"}') ],
	headers_array => [ headers => q('["X-A"]') ],
	headers_null => [ headers => q('{"X-A": null}') ],
	list_long => [ headers => q(jsonb_build_object('List-Unsubscribe', repeat('x', 2000))) ],
	reply_to => [ headers => q('{"Reply-To": "nobody"}') ],
	from_crlf => [ settings => qq(jsonb_build_object('url', 'smtp://127.0.0.1:$t->{port}', 'from', E'hi\@shop.example>\\r\\nRCPT TO:<evil\@test.example')) ],
	from_name => [ settings => qq(jsonb_build_object('url', 'smtp://127.0.0.1:$t->{port}', 'from', E'A\\r\\nBcc: evil\@test.example <hi\@shop.example>')) ],
	from_none => [ settings => qq('{"url": "smtp://127.0.0.1:$t->{port}"}') ],
	domain => [ settings => qq(jsonb_build_object('url', 'smtp://127.0.0.1:$t->{port}', 'from', 'hi\@shop.example', 'domain', E'x>\\r\\nBcc: evil\@test.example')) ],
	url_crlf => [ settings => qq(jsonb_build_object('url', E'smtp://127.0.0.1:$t->{port}/x\\r\\nRCPT TO:<evil\@test.example>', 'from', 'hi\@shop.example')) ],
	url_user => [ settings => qq('{"url": "smtp://user:password\@127.0.0.1:$t->{port}", "from": "hi\@shop.example"}') ],
	url_file => [ settings => q('{"url": "file:///etc/passwd", "from": "hi@shop.example"}') ],
	url_http => [ settings => qq('{"url": "http://127.0.0.1:$t->{port}/", "from": "hi\@shop.example"}') ],
	url_none => [ settings => q('{"from": "hi@shop.example"}') ],
	key_crlf => [ idempotency_key => q(E'k>\r\nBcc: evil@test.example') ]);
my %expected = map { ($_ => /^addr_utf8/ ? 'rejected|5.6.7' : /^addr/ ? 'bounced|5.1.3' : /^(from|url)/ ? 'deferred|4.3.5' : 'rejected|5.6.0') } keys %bad;
my %id = map { ($_ => $t->add($_, @{ $bad{$_} })) } sort keys %bad;
my ($status, $log) = $t->run(['--once']);
is($status, 0, 'exit status') or diag $log;
is($t->sql("SELECT outcome, code FROM journey.receipt WHERE message_id = $id{$_}"), $expected{$_}, "$_: $expected{$_}") foreach sort keys %bad;
is($t->wire, '', 'not one byte reached the server');
is(scalar($t->accepted), 0, 'nothing was accepted');
unlike($log, qr/evil|passw/, 'and nothing of it is in the log');

# bodies may hold anything; the server must see one message
my @bodies = (q(E'a\r\n.\r\nMAIL FROM:<evil@test.example>\r\nRCPT TO:<evil@test.example>\r\nDATA\r\nx'), q(E'a\n.\nMAIL FROM:<evil@test.example>'),
	q(E'a\r.\rMAIL FROM:<evil@test.example>'), q(E'.'), q(E'\n.\r\n'), q(''), q(repeat('.', 3000)));
$t->add("body$_", body => $bodies[$_], html => $bodies[$_]) foreach 0 .. $#bodies;
($status, $log) = $t->run(['--once']);
is(scalar($t->accepted), scalar(@bodies), 'each body is one message');
is(scalar(grep { $_->{from} ne 'hi@shop.example' || "@{ $_->{to} }" !~ /^body\d\@test\.example$/ } $t->accepted), 0, 'from the shop to the one recipient');
my $commands = slurp_file("$t->{directory}/commands");
unlike($commands, qr/evil/, 'no smuggled command');
is(scalar(() = $commands =~ /^MAIL/mg), scalar(@bodies), 'as many transactions as messages');

# a server that talks nonsense, or without end, is hung up on
$t->behave({ 'junk@test.example' => [ { at => 'rcpt', reply => "hello there" } ],
	'flood@test.example' => [ { at => 'rcpt', reply => join("\r\n", ('250-more') x 20000) . "\r\n250 Ok" } ],
	'longline@test.example' => [ { at => 'rcpt', reply => '550 5.1.1 ' . ('x' x 5000) } ] });
$t->add($_) foreach qw(junk flood longline);
($status, $log) = $t->run(['--once']);
is($t->receipts('junk'), 'deferred|4.4.2', 'junk for a reply: deferred');
is($t->receipts('flood'), 'deferred|4.4.2', 'endless reply: deferred');
is($t->receipts('longline'), 'bounced|5.1.1', 'overlong line: its beginning counts');
$t->behave({});

#
# The site fence
#
$t->add('fenced');
my $wire = length $t->wire;
($status, $log) = $t->run([], site_token => 'wrong token');
is($status, 3, 'wrong token: exit status 3');
like($log, qr/event=refused during=open_relay sqlstate=PJ001/, 'one clear line');
unlike($log, qr/wrong token|right token/, 'without the token');
$t->sql('UPDATE journey.site SET is_copy = true');
($status, $log) = $t->run([]);
is($status, 3, 'copied database: exit status 3');
like($log, qr/sqlstate=PJ003 .*hint="Run journey\.adopt/, 'with the hint');
$t->sql('UPDATE journey.site SET is_copy = false');
is(length $t->wire, $wire, 'nothing sent');

# a second relay of the same name takes over
my $run = $t->start([], poll_interval => '50ms');
$t->poll_until('the first relay has sent', sub { $t->receipts('fenced') eq 'sent|2.0.0' });
$t->run(['--once']);
IPC::Run::finish($run->{harness});
is($? >> 8, 4, 'taken over: exit status 4');
like(slurp_file($run->{log}), qr/event=taken_over/, 'and the log says so');

#
# Configuration
#
($status, $log) = $t->run(['--check-config']);
is($status, 0, 'a good configuration') or diag $log;
($status, $log) = $t->run(['--check-config'], mode => 0644);
is($status, 1, 'secrets in a file that others can read');
like($log, qr/chmod 600/, 'and what to do');
my @wrong = ([ lease => '10s', send_timeout => '30s' ], [ pol_interval => '1s' ], [ poll_interval => 'soon' ], [ poll_interval => '0s' ],
	[ max_connections => '-1' ], [ tls => 'maybe' ], [ ehlo_name => 'a b' ], [ site_token => '' ], [ conninfo => 'nonsense' ],
	[ channels => "[smtp \"email\"]\nuser = u\npassword = p\n" ],
	[ channels => "[smtp \"email\"]\nurl = smtp://mail.example\nuser = u\npassword = p\n" ],
	[ channels => "[smtp email]\nurl = smtp://mail.example\n" ], [ channels => "lease = 3min\nlease = 4min\n" ], [ channels => "nonsense\n" ],
	[ channels => 'ehlo_name = ' . ('x' x 300) . "\n" ]);
foreach my $w (@wrong)
{
	($status, $log) = $t->run(['--check-config'], @$w);
	is($status, 1, "refused: @$w[0, 1]" =~ s/\n.*//sr);
	like($log, qr/event=bad_config/, 'and said');
}
($status, $log) = $t->run(['--check-config'], channels => "[smtp \"email\"]\nurl = smtp://mail.example\nuser = u\npassword = p\ntls = require\n");
is($status, 0, 'a password over TLS') or diag $log;
{
	local $ENV{PGJ_SECRET_SITE_TOKEN} = 'right token';
	$t->add('env');
	($status, $log) = $t->run(['--once'], site_token => 'not this one');
	is($t->receipts('env'), 'sent|2.0.0', 'the token from the environment');
}

# a channel's section replaces its url
$t->add('override', settings => q('{"url": "smtp://127.0.0.1:1", "from": "hi@shop.example"}'));
$t->run(['--once'], channels => "[smtp \"email\"]\nurl = smtp://127.0.0.1:$t->{port}\n");
is($t->receipts('override'), 'sent|2.0.0', 'url from the configuration');
$t->add('strict');
$t->run(['--once'], tls => 'require');
is($t->receipts('strict'), 'deferred|4.7.0', 'tls = require and a server without: not sent in the clear');

done_testing();
