# A psql that stays: one statement, or several, at a time.
package Session;
use strict;
use warnings;

use IO::Select;
use IPC::Open3;
use Symbol qw(gensym);

my $n = 0;

sub new
{
	my ($class, $connstr, $user) = @_;
	my ($in, $out, $err) = (undef, undef, gensym);
	my $pid = open3($in, $out, $err, 'psql', '-XAtq', '-U', $user, '-d', $connstr);
	my $self = bless { pid => $pid, in => $in, out => $out, err => $err }, $class;
	$self->run("\\set VERBOSITY verbose\nSET client_min_messages = notice;");
	return $self;
}

# What it printed, and what it complained of.
sub run
{
	my ($self, $sql) = @_;
	my $mark = 'done ' . ++$n;
	my %text = (out => '', err => '');
	my %name = (fileno $self->{out} => 'out', fileno $self->{err} => 'err');
	my $select = IO::Select->new($self->{out}, $self->{err});

	# after COPY a lone semicolon would be sent as one more COPY
	my $end = $sql =~ /\\\.\s*\z/ ? '' : ';';
	print { $self->{in} } "$sql\n$end\n\\echo $mark\n\\warn $mark\n";
	$self->{in}->flush;
	while ($select->count)
	{
		my @ready = $select->can_read(120);
		die "no answer for two minutes to: $sql\n" unless @ready;
		foreach my $handle (@ready)
		{
			my $which = $name{ fileno $handle };
			sysread($handle, $text{$which}, 65536, length $text{$which})
			  or die "psql ended: $text{err}";
			$select->remove($handle) if $text{$which} =~ s/^\Q$mark\E\n\z//m;
		}
	}
	chomp $text{out};
	return ($text{out}, $text{err});
}

# Rows of fields; dies of an error.
sub rows
{
	my ($self, $sql) = @_;
	my ($out, $err) = $self->run($sql);
	die "$err\n$sql\n" if $err =~ /^(ERROR|FATAL|PANIC):/m;
	return map { [ split /\|/, $_, -1 ] } split /\n/, $out;
}

sub value
{
	my ($self, $sql) = @_;
	my ($row) = $self->rows($sql);
	return $row ? $row->[0] : undef;
}

# The first error, if any.
sub try
{
	my ($self, $sql) = @_;
	my (undef, $err) = $self->run($sql);
	return $err =~ /^(?:ERROR|FATAL|PANIC):\s+(.*)/m ? $1 : undef;
}

sub end
{
	my ($self) = @_;
	close $self->{in};
	waitpid $self->{pid}, 0;
	return;
}

1;
