# Every SQL example of the README and of the pages in doc/ runs, and prints what
# they say it prints.
#
# The ```sql blocks of a page run in order in one session; a ``` block right after
# one is its result.  A page that says "<!-- examples: shop -->" goes on from where
# the README says so, others start with the bare extension; one that says "<!-- examples:
# none -->" is left out, as is a block after "<!-- not run -->".  What readers need
# not see is in "<!-- run: SQL -->".
#
# PGJ_UPDATE=1 writes the results into the pages instead of comparing them.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\n");
$node->start;

sub blocks
{
	my ($text) = @_;
	my @blocks;
	while ($text =~ /^(?:<!-- run:(.*?)-->\n|(<!-- not run -->\n)?```sql\n(.*?)^```\n(?:\n?```\n(.*?)^```\n)?)/msg)
	{
		push @blocks, { sql => $1 // $3, result => $4, from => $-[4], to => $+[4] } if !$2;
	}
	return @blocks;
}

sub trim
{
	my ($text) = @_;
	$text =~ s/[ \t]+$//mg;
	$text =~ s/fraction 0\.\d+/fraction 0.578/g;		# a digest that includes the random id of the site
	$text =~ s/\A\n+//;
	$text =~ s/\n+\z//;
	return $text;
}

# Run blocks in one session of a new database; returns what each printed.
my $databases = 0;

sub run_blocks
{
	my ($name, @blocks) = @_;
	my $database = 'page' . ++$databases;
	$node->safe_psql('postgres', 'DROP DATABASE IF EXISTS page' . ($databases - 1));
	$node->safe_psql('postgres', "DROP ROLE IF EXISTS $_") for qw(shop anna mailer);
	$node->safe_psql('postgres', "CREATE DATABASE $database");

	my $script = join '', map { "\\echo == block $_\n$blocks[$_]{sql}\n" } 0 .. $#blocks;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-v', 'VERBOSITY=default', '-d', $node->connstr($database), '-f', '-' ],
		'<', \$script, '>', \$out, '2>', \$err);
	my $status = $?;
	$err =~ s/^.*NOTICE:.*\n(?:(?:DETAIL|HINT):.*\n)*//mg;
	is("$status $err", '0 ', "$name: every example runs");

	my %printed;
	my @parts = split /^== block (\d+)\n/m, $out;
	shift @parts;
	while (my ($n, $text) = splice @parts, 0, 2)
	{
		$printed{$n} = $text;
	}
	return \%printed;
}

my @setup = blocks(slurp_file("$root/README.md") =~ s/^<!-- other pages go on from here -->.*//msr);

foreach my $path ('README.md', map { s{^\Q$root\E/}{}r } sort glob "$root/doc/*.md")
{
	my $text = slurp_file("$root/$path");
	my @blocks = blocks($text);
	next if !@blocks || $text =~ /<!-- examples: none -->/;

	my @before = $text =~ /<!-- examples: shop -->/ ? @setup : $path =~ /^doc/ ? ({ sql => 'CREATE EXTENSION pg_journey;' }) : ();
	my $printed = run_blocks($path, @before, @blocks);
	foreach my $n (reverse 0 .. $#blocks)
	{
		next if !defined $blocks[$n]{result};
		my $found = trim($printed->{ $n + @before } // '(did not run)');
		if ($ENV{PGJ_UPDATE})
		{
			substr($text, $blocks[$n]{from}, $blocks[$n]{to} - $blocks[$n]{from}) = "$found\n";
			next;
		}
		my $what = (split /\n/, $blocks[$n]{sql})[0];
		is($found, trim($blocks[$n]{result}), "$path: $what");
	}
	my %lines = map { s/\s+//gr => 1 } map { split /\n/ } grep { defined } map { $_->{result} } @blocks;
	while ($text =~ /^<!-- lines from below -->\n```\n(.*?)^```\n/msg)
	{
		is(join('', grep { !$lines{s/\s+//gr} } split /^/, $1), '', "$path: lines that are shown before");
	}
	if ($ENV{PGJ_UPDATE})
	{
		open my $file, '>', "$root/$path" or die "$path: $!";
		print $file $text;
		close $file;
	}
}

$node->stop;
done_testing();
