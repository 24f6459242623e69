# A database with the relay's contract (or an extension to come), an SMTP server that obeys, and runs of
# journey-relay between the two.
package RelayTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use IPC::Run ();
use JSON::PP ();
use MIME::Base64 ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);
use Test::More;

my $here = dirname(abs_path(__FILE__));
our $relay = $ENV{PGJ_RELAY} // "$here/../../src/relay/journey-relay";
our $token = 'right token';

# Debian's, which has aiosmtpd, where another python comes first in the path
our $python = -x '/usr/bin/python3' ? '/usr/bin/python3' : 'python3';

# what END has to stop, however the test ends
my @tests;
my @runs;

# why these tests cannot run here, or undef
sub missing
{
	return "journey-relay is not built" unless -x $relay;
	return "python3-aiosmtpd is not installed" if system("$python -c 'import aiosmtpd' 2>/dev/null") != 0;
	return undef;
}

sub new
{
	my ($class, $name, $extension) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "timezone = 'UTC'\nlog_statement = none\n");
	$node->start;
	$node->safe_psql('postgres', slurp_file("$here/contract.sql")) unless $extension;
	my $self = bless { node => $node, directory => PostgreSQL::Test::Utils::tempdir() }, $class;
	push @tests, $self;
	$self->start_server;
	return $self;
}

sub poll_until
{
	my ($self, $what, $condition) = @_;
	my $deadline = time + ($ENV{PG_TEST_TIMEOUT_DEFAULT} // 180);
	until ($condition->())
	{
		die "timed out waiting until $what" if time > $deadline;
		usleep(10_000);
	}
}

sub start_server
{
	my ($self) = @_;
	unlink "$self->{directory}/port";
	$self->{server} = IPC::Run::start([ $python, "$here/../smtp/server.py", $self->{directory} ],
		'<', \undef, '>', "$self->{directory}/server.log", '2>&1');
	$self->poll_until('the SMTP server listens', sub { -e "$self->{directory}/port" });
	$self->{port} = slurp_file("$self->{directory}/port");
}

# again, with STARTTLS and login; returns the certificate's path
sub start_tls_server
{
	my ($self) = @_;
	my $cert = "$self->{directory}/cert.pem";
	$self->stop_server;
	IPC::Run::run([ qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout), "$cert.key", '-out', $cert ],
		'>', '/dev/null', '2>', '/dev/null') or die 'openssl failed';
	append_to_file($cert, slurp_file("$cert.key"));
	$self->start_server;
	return $cert;
}

sub stop_server
{
	my ($self) = @_;
	return unless $self->{server};
	$self->{server}->signal('TERM');
	IPC::Run::finish($self->{server});
	delete $self->{server};
}

sub behave
{
	my ($self, $rules) = @_;
	my $path = "$self->{directory}/behaviour";
	open my $f, '>', "$path.new" or die $!;
	print $f JSON::PP::encode_json($rules);
	close $f;
	rename "$path.new", $path or die $!;
}

sub sql { my ($self, $sql) = @_; return $self->{node}->safe_psql('postgres', $sql) }

# add a message; columns as SQL expressions
sub add
{
	my ($self, $key, %column) = @_;
	$column{idempotency_key} //= "'$key'";
	$column{settings} //= "'{\"url\": \"smtp://127.0.0.1:$self->{port}\", \"from\": \"Shop <hi\@shop.example>\"}'";
	$column{recipient} //= "'$key\@test.example'";
	my @names = sort keys %column;
	return $self->sql('INSERT INTO journey.message (' . join(', ', @names) . ') VALUES ('
		  . join(', ', map { $column{$_} } @names) . ') RETURNING message_id');
}

sub config
{
	my ($self, %key) = @_;
	my $channels = delete $key{channels} // '';
	my $mode = delete $key{mode} // 0600;
	my $path = "$self->{directory}/" . ($key{relay_name} // 'relay') . '.ini';
	%key = (conninfo => $self->{node}->connstr('postgres') . ' application_name=journey-relay', site_token => $token, tls => 'none', %key);
	open my $f, '>', $path or die $!;
	print $f "[relay]\n", (map { "$_ = $key{$_}\n" } sort keys %key), $channels;
	close $f;
	chmod $mode, $path;
	return $path;
}

# run to the end; returns (exit status, log)
sub run
{
	my ($self, $options, %key) = @_;
	my $log = '';
	my $path = $self->config(%key);
	eval {
		IPC::Run::run([ $relay, '--config', $path, @$options ], '<', \undef, '>', \my $out, '2>', \$log,
			IPC::Run::timeout($ENV{PG_TEST_TIMEOUT_DEFAULT} // 180));
		1;
	} or note($@);
	my $status = $?;
	$self->{all_logs} .= $log;
	note($log);
	return ($status >> 8, $log);
}

sub start
{
	my ($self, $options, %key) = @_;
	my $path = $self->config(%key);
	my $run = { log => "$self->{directory}/relay.log" };
	$run->{harness} = IPC::Run::start([ $relay, '--config', $path, @$options ], '<', \undef, '>', '/dev/null', '2>', $run->{log});
	push @runs, $run;
	return $run;
}

sub accepted
{
	my ($self) = @_;
	my @messages;
	foreach my $line (split /\n/, slurp_file("$self->{directory}/accepted"))
	{
		my $m = JSON::PP::decode_json($line);
		$m->{text} = MIME::Base64::decode_base64($m->{text});
		($m->{message_id}) = $m->{text} =~ /^Message-ID: <([^>]+)>\r$/m;
		push @messages, $m;
	}
	return @messages;
}

# quick: how many messages to recipients that begin so
sub count_accepted
{
	my ($self, $prefix) = @_;
	return scalar(() = slurp_file("$self->{directory}/accepted") =~ /"to": \["$prefix/g);
}

sub accepted_for { my ($self, $to) = @_; return grep { $_->{to}[0] eq "$to\@test.example" } $self->accepted }

sub wire { my ($self) = @_; return slurp_file("$self->{directory}/wire") }

sub receipts
{
	my ($self, $key) = @_;
	return $self->sql("SELECT r.outcome, r.code FROM journey.receipt r JOIN journey.message m USING (message_id)
		WHERE m.idempotency_key = '$key' ORDER BY r.receipt_id");
}

END
{
	my $status = $?;
	foreach my $run (@runs)
	{
		$run->{harness}->kill_kill if eval { $run->{harness}->pumpable };
	}
	$_->stop_server foreach @tests;
	$? = $status;
}

1;
