# Encryption and login: what must not go in the clear does not.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../relay";
use PostgreSQL::Test::Utils;
use RelayTest;
use Test::More;

my $missing = RelayTest::missing();
plan skip_all => $missing if $missing;
plan skip_all => 'openssl is not installed' if system('openssl version >/dev/null 2>&1') != 0;

my $t = RelayTest->new('relay_tls');
my $cert = $t->start_tls_server;
my $url = "smtp://localhost:$t->{port}";
my %settings = (settings => qq('{"url": "$url", "from": "hi\@shop.example"}'));

sub send_one
{
	my ($key, %config) = @_;
	$t->add($key, %settings);
	my ($status, $log) = $t->run(['--once'], %config);
	is($status, 0, "$key: exit status") or diag $log;
	return $t->receipts($key);
}

is(send_one('offered', tls => 'starttls'), 'sent|2.0.0', 'starttls: an unknown certificate will do');
is(send_one('unknown', tls => 'require'), 'deferred|4.7.0', 'require: an unknown certificate will not');
is(send_one('known', tls => 'require', ca_file => $cert), 'sent|2.0.0', 'require: a known one will');
like($t->wire, qr/^STARTTLS\r$/m, 'they used STARTTLS');
unlike($t->wire, qr/RCPT TO|Subject/, 'and nothing was in the clear');
$settings{settings} = qq('{"url": "smtp://127.0.0.1:$t->{port}", "from": "hi\@shop.example"}');
is(send_one('name', tls => 'require', ca_file => $cert), 'deferred|4.7.0', 'require: the name must be the certificate\'s');

my $login = "[smtp \"email\"]\nurl = $url\nuser = shop\ntls = require\nca_file = $cert\n";
is(send_one('login', channels => "${login}password = open sesame\n"), 'sent|2.0.0', 'login');
is(send_one('wrong', channels => "${login}password = wrong\n"), 'deferred|5.7.8', 'a wrong password defers');
{
	local $ENV{PGJ_SECRET_SMTP_PASSWORD_EMAIL} = 'open sesame';
	is(send_one('env', channels => $login), 'sent|2.0.0', 'password from the environment');
}
my $credentials = "$t->{directory}/credentials";
mkdir $credentials;
append_to_file("$credentials/smtp_password.email", "open sesame\n");
{
	local $ENV{CREDENTIALS_DIRECTORY} = $credentials;
	is(send_one('credential', channels => $login), 'sent|2.0.0', 'password from the service manager');
}
unlike($t->wire, qr/sesame|b3BlbiBzZXNhbWU/, 'the password was never in the clear');
unlike($t->{all_logs}, qr/sesame/, 'nor in the log');

is($t->sql(qq{SELECT count(*) FROM journey.message}), 8, 'all were tried');
done_testing();
