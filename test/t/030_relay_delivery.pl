# What the relay sends arrives as it was meant, and what servers answer becomes
# the right outcome.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

my $missing = RelayTest::missing();
plan skip_all => $missing if $missing;

my $t = RelayTest->new('relay_delivery');

# what Python's e-mail library, an implementation that is not ours, makes of a message
sub decode
{
	my ($text) = @_;
	my $script = <<'PY';
import sys, json, email, email.policy
raw = sys.stdin.buffer.read()
m = email.message_from_bytes(raw, policy=email.policy.default)
parts = {p.get_content_type(): p.get_payload(decode=True).decode("utf-8") for p in m.walk() if not p.is_multipart()}
print(json.dumps({"headers": {k.lower(): str(v) for k, v in m.items()}, "parts": parts, "type": m.get_content_type(),
	"defects": [str(d) for p in m.walk() for d in p.defects], "count": len(m.items())}))
PY
	IPC::Run::run([ $RelayTest::python, '-c', $script ], '<', \$text, '>', \my $out) or die;
	return JSON::PP::decode_json($out);
}

#
# Bytes
#
my $body = join("\n", 'Grüße aus Zürich — ✓', '.', '..two dots', 'From here', 'x' x 2000, 'trailing blank ', "tab\t", '= equals', '', 'end');
my $html = '<p>' . ('ä' x 500) . '</p>';
my $subject = 'Grüße 🎉 an alle, die sehr lange Betreffzeilen mögen, in denen ein Wort auf das andere folgt';
utf8::decode($_) foreach $body, $html, $subject;
sub quoted { my ($s) = @_; utf8::encode($s); $s =~ s/'/''/g; return "'$s'" }

$t->add('plain', subject => quoted($subject), body => quoted($body),
	settings => quoted(qq({"url": "smtp://127.0.0.1:$t->{port}", "from": "Sh\x{f6}p, Ltd <hi\@shop.example>", "domain": "mail.shop.example"})),
	headers => q('{"List-Unsubscribe": "<https://shop.example/u/1>", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click", "Reply-To": "Help <help@shop.example>", "X-Note": "ü"}'));
$t->add('both', body => quoted($body), html => quoted($html));
$t->add('cr', body => q(E'one\r\ntwo\rthree\nfour'));
my ($status, $log) = $t->run(['--once']);
is($status, 0, 'once: exit status') or diag $log;
is($t->sql("SELECT count(*) FROM journey.message WHERE status = 'sent'"), 3, 'all sent');

my ($plain) = $t->accepted_for('plain');
my $d = decode($plain->{text});
(my $crlf = "$body\n") =~ s/\n/\r\n/g;
is($d->{parts}{'text/plain'}, $crlf, 'body arrives whole');
is($d->{headers}{subject}, $subject, 'subject arrives whole');
is($d->{headers}{from}, "\"Sh\x{f6}p, Ltd\" <hi\@shop.example>", 'from with a display name');
is($d->{headers}{to}, 'plain@test.example', 'to');
is($d->{headers}{date}, 'Mon, 05 Jan 2026 09:00:00 +0000', 'date is when the message was decided');
is($d->{headers}{'message-id'}, '<plain@mail.shop.example>', 'message id from key and domain');
is($d->{headers}{'list-unsubscribe'}, '<https://shop.example/u/1>', 'extra header');
is($d->{headers}{'reply-to'}, 'Help <help@shop.example>', 'reply-to');
is($d->{headers}{'x-note'}, "\x{fc}", 'extra header with an accent');
is_deeply($d->{defects}, [], 'no defects');
is($plain->{from}, 'hi@shop.example', 'envelope sender');
is_deeply($plain->{to}, ['plain@test.example'], 'one recipient');

my ($both) = $t->accepted_for('both');
$d = decode($both->{text});
is($d->{type}, 'multipart/alternative', 'html makes it multipart/alternative');
is($d->{parts}{'text/plain'} . "\r\n", $crlf, 'plain part');
is($d->{parts}{'text/html'}, $html, 'html part');
is_deeply($d->{defects}, [], 'no defects');
my ($cr) = $t->accepted_for('cr');
is(decode($cr->{text})->{parts}{'text/plain'}, "one\r\ntwo\r\nthree\r\nfour\r\n", 'every kind of line end becomes CRLF');
unlike($t->wire, qr/(?<!\r)\n|\r(?!\n)/, 'no bare CR or LF on the wire');
unlike($t->wire, qr/[^\r\n]{79}/, 'no line above 78');
unlike($t->wire, qr/[^\r\n\x20-\x7e]/, 'printable ASCII only');

#
# Answers
#
my %answer = (
	unknown => [ '550 5.1.1 no such user', 'bounced|5.1.1' ],
	multiline => [ "550-5.1.1 no such\r\n550-5.1.1 user, sorry\r\n550 5.1.1 bye", 'bounced|5.1.1' ],
	disabled => [ '550 5.2.1 disabled', 'bounced|5.2.1' ],
	full => [ '552 5.2.2 mailbox full', 'deferred|5.2.2' ],
	policy => [ '550 5.7.1 we do not like you', 'rejected|5.7.1' ],
	basic => [ '550 no', 'bounced|550' ],
	basic554 => [ '554 no', 'rejected|554' ],
	grey => [ '451 4.7.1 later', 'deferred|4.7.1' ],
	busy => [ '421 4.3.2 closing', 'deferred|4.3.2' ]);
my %rules = map { ("$_\@test.example" => [ { at => 'rcpt', reply => $answer{$_}[0] } ]) } keys %answer;
$rules{'spam@test.example'} = [ { at => 'data', reply => '554 5.7.1 spam' } ];
$rules{'big@test.example'} = [ { at => 'data', reply => '552 5.3.4 too big' } ];
$rules{'gone@test.example'} = [ { at => 'data', reply => '550 5.1.1 unknown after all' } ];
$answer{spam} = [ '', 'rejected|5.7.1' ];
$answer{big} = [ '', 'rejected|5.3.4' ];
$answer{gone} = [ '', 'bounced|5.1.1' ];
$rules{'sender@elsewhere.example'} = [ { at => 'mail', reply => '550 5.1.8 bad sender' } ];
$t->behave(\%rules);
$t->add($_) foreach sort keys %answer;
$t->add('sender', settings => qq('{"url": "smtp://127.0.0.1:$t->{port}", "from": "sender\@elsewhere.example"}'));
$answer{sender} = [ '', 'rejected|5.1.8' ];
($status, $log) = $t->run(['--once']);
is($status, 0, 'answers: exit status') or diag $log;
is($t->receipts($_), $answer{$_}[1], "$_: $answer{$_}[1]") foreach sort keys %answer;

#
# A retry is the same message
#
$t->sql("UPDATE journey.site SET retry_after = '0'");
$t->behave({ 'twice@test.example' => [ { at => 'data', reply => '451 4.3.0 try again' } ],
	'dropped@test.example' => [ { at => 'data', do => 'accept_and_drop' } ],
	'cut@test.example' => [ { at => 'rcpt', do => 'drop' } ] });
$t->add($_) foreach qw(twice dropped cut);
$t->sql("UPDATE journey.message SET available_at = 'infinity' WHERE status = 'pending' AND attempt > 0");
($status, $log) = $t->run(['--once']);
is($status, 0, 'retries: exit status') or diag $log;
is($t->receipts('twice'), "deferred|4.3.0\nsent|2.0.0", 'refused for now, then sent');
is($t->receipts('dropped'), "deferred|4.4.2\nsent|2.0.0", 'connection dropped after the final dot: sent again');
is($t->receipts('cut'), "deferred|4.4.2\nsent|2.0.0", 'connection dropped at RCPT: sent again');
my @dropped = $t->accepted_for('dropped');
is(scalar(@dropped), 2, 'the server had taken it the first time');
is($dropped[0]{text}, $dropped[1]{text}, 'both are the same, byte by byte');
is($dropped[0]{message_id}, 'dropped@shop.example', 'message id is the key at the sender\'s domain');

# a kept connection that the server has closed costs no attempt
$t->behave({ map { ("kept$_\@test.example" => [ { at => 'data', do => 'accept_and_close' } ]) } 1 .. 5 });
$t->add("kept$_") foreach 1 .. 5;
($status, $log) = $t->run(['--once'], max_connections => 1);
is($t->sql("SELECT count(*) FROM journey.message WHERE idempotency_key LIKE 'kept%' AND status = 'sent' AND attempt = 1"), 5, 'sent at once over fresh connections');
is($t->count_accepted('kept'), 5, 'and each only once');

# two relays share the work
$t->sql(qq(INSERT INTO journey.message (idempotency_key, recipient, settings)
	SELECT 'share' || i, 'share' || i || '\@test.example', '{"url": "smtp://127.0.0.1:$t->{port}", "from": "hi\@shop.example"}' FROM generate_series(1, 300) i));
my $other = $t->start(['--once'], relay_name => 'other');
$t->run(['--once'], relay_name => 'one');
IPC::Run::finish($other->{harness});
is($t->sql("SELECT count(*) FROM journey.message WHERE idempotency_key LIKE 'share%' AND status = 'sent' AND attempt = 1"), 300, 'two relays: all sent');
is($t->count_accepted('share'), 300, 'each once');

#
# Servers that are not there, or do not speak
#
$t->sql("UPDATE journey.site SET retry_after = '1 hour'");
my $closed = PostgreSQL::Test::Cluster::get_free_port();
$t->add('nobody', settings => qq('{"url": "smtp://127.0.0.1:$closed", "from": "hi\@shop.example"}'));
$t->behave({ 'hang@test.example' => [ { at => 'rcpt', do => 'hang' } ], 'hangdata@test.example' => [ { at => 'data', do => 'hang' } ] });
$t->add($_) foreach qw(hang hangdata fine);
$t->add('badurl', settings => q('{"url": "http://127.0.0.1/", "from": "hi@shop.example"}'));
$t->add('expired', expires_at => q('2026-01-06'));
($status, $log) = $t->run(['--once'], send_timeout => '2s', lease => '20s');	# time enough for "fine" on a busy machine
is($status, 0, 'silence: exit status') or diag $log;
is($t->receipts('nobody'), 'deferred|4.4.1', 'nobody listens: deferred');
is($t->receipts('hang'), 'deferred|4.4.2', 'server hangs at RCPT: deferred at the deadline');
is($t->receipts('hangdata'), 'deferred|4.4.2', 'server hangs after the final dot: deferred at the deadline');
is($t->receipts('fine'), 'sent|2.0.0', 'the others are sent meanwhile');
is($t->receipts('badurl'), 'deferred|4.3.5', 'a channel that is no SMTP server: deferred');
is($t->receipts('expired'), '', 'what has expired is left to its lease');
like($log, qr/event=left message_id=\d+ attempt=1 why=expired/, 'and the log says so');

# a virtual clock
$t->add('virtual', expires_at => q('2026-01-06'));
($status, $log) = $t->run([ '--once', '--at', '2026-01-05 12:00+00' ]);
is($t->receipts('virtual'), 'sent|2.0.0', '--at: not yet expired at that time');
is($t->sql("SELECT r.at FROM journey.receipt r JOIN journey.message m USING (message_id) WHERE idempotency_key = 'virtual'"),
	'2026-01-05 12:00:00+00', '--at: reported at that time');

#
# The log names nobody
#
unlike($t->{all_logs}, qr/@|right token|Hello|no such user/, 'no address, token, subject or reply in the log');

done_testing();
