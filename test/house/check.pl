#!/usr/bin/perl
# The rules of the house that a machine can check, in the source tree alone.
# Usage: perl test/house/check.pl	(from the top of the tree)
use strict;
use warnings;

use File::Basename;
use File::Find;
use Test::More;

sub slurp
{
	my ($path) = @_;
	open my $file, '<', $path or die "$path: $!";
	local $/;
	return scalar <$file>;
}

# A rule holds when nothing breaks it.
sub rule
{
	my ($name, @broken) = @_;
	ok(!@broken, $name) or diag(map { "  $_\n" } @broken);
	return;
}

# Every line of the files that matches, as "path:line: text".
sub grep_lines
{
	my ($pattern, @paths) = @_;
	my @found;
	foreach my $path (@paths)
	{
		my $n = 0;
		foreach my $line (split /\n/, slurp($path))
		{
			$n++;
			push @found, "$path:$n: $line" if $line =~ $pattern;
		}
	}
	return @found;
}

my (@files, @tests);
find(
	{
		no_chdir => 1,
		wanted => sub {
			$File::Find::prune = 1 if -d && m{/(\.git|tmp_check\w*|results|output_iso)$};
			push @files, s{^\./}{}r if -f;
		}
	},
	'.');
@files = sort @files;

my @generated = ('src/script/script_gram.c', 'src/script/script_gram.h', 'src/script/script_scan.c');
my %generated = map { $_ => 1 } @generated;
my @source = grep { m{^src/.*\.[chly]$} && !$generated{$_} } @files;
my @server = grep { !m{^src/relay/} } @source;
my @relay = grep { m{^src/relay/} } @source;
my @sql = grep { m{^sql/\d.*\.sql$} } @files;

# ---- rooms ---------------------------------------------------------------
#
# Data flows one way.  A room calls the rooms after it.  Three headers are open
# to all: the contact table everything hangs on, appending an event (receipts and
# calls come back as events), and the compiler of expressions, which capture,
# script and engine share.  Feedback closes the circle: a report locks its
# contacts' slices as the engine does, and a retry is a row of the outbox.
my @rooms = qw(contact capture segment script engine gate outbox feedback measure);
my %place = map { $rooms[$_] => $_ } 0 .. $#rooms;
my %open = map { $_ => 1 } qw(contact/site.h capture/event.h script/expression.h);
my @backwards;
foreach my $path (@server)
{
	my ($room) = $path =~ m{^src/(\w+)/} or next;
	if (!exists $place{$room})
	{
		push @backwards, "$path: no such room";
		next;
	}
	foreach my $header (slurp($path) =~ /^#include "(\w+\/\w+\.h)"/mg)
	{
		my ($other) = $header =~ m{^(\w+)/};
		next if $open{$header} || !-e "src/$header";
		next if $room eq 'feedback' && ($other eq 'outbox' || $header eq 'engine/engine.h');
		push @backwards, "$path includes $header" if $place{$other} < $place{$room};
	}
}
rule('a room includes only rooms after it', @backwards);
rule('the relay has no server headers',
	grep_lines(qr/^#include "(postgres|fmgr|c)\.h"|^#include "(?:\.\.\/)?(?:@{[join '|', @rooms]})\//, @relay));

# ---- C -------------------------------------------------------------------
rule('the clock is read in clock.c alone',
	grep_lines(qr/\b(GetCurrentTimestamp|GetCurrentTransactionStartTimestamp|GetCurrentStatementStartTimestamp|GetSQLCurrentTimestamp|clock_gettime|gettimeofday)\s*\(|\btime\(NULL\)/,
		grep { $_ ne 'src/clock.c' } @server));
rule('the server version is tested in compat.h alone', grep_lines(qr/PG_VERSION_NUM/, grep { $_ ne 'src/compat.h' } @server));
my @settings = slurp('src/guc.c') =~ /DefineCustom\w+Variable\(\s*"([\w.]+)"/g;
is("@settings", join(' ', sort @settings), 'settings are sorted by name');
rule('SQL-callable functions are called pgj_sql_*', grep_lines(qr/^PG_FUNCTION_INFO_V1\((?!pgj_sql_)/, @server));

# ---- SQL -----------------------------------------------------------------
rule('no SECURITY DEFINER', grep_lines(qr/SECURITY\s+DEFINER/i, @sql));
rule('no OR REPLACE', grep_lines(qr/CREATE\s+OR\s+REPLACE/i, @sql));
my @untimely;
foreach my $path (@sql)
{
	(my $text = slurp($path)) =~ s{/\*.*?\*/|--[^\n]*}{}sg;
	# a parameter's default, and when a definition was made
	$text =~ s/DEFAULT (pg_catalog\.)?clock_timestamp\(\)//g;
	$text =~ s/INSERT INTO journey\.\w+[^;]*//g;
	push @untimely, "$path: $_" foreach $text =~ /((?<!')\b(?:now|\w+_timestamp)\s*\(\s*\)|\bcurrent_timestamp\b)/gi;
}
rule('functions take the time as a parameter', @untimely);
my @careless;
foreach my $path (@sql)
{
	my $text = slurp($path);
	while ($text =~ /^CREATE (FUNCTION|PROCEDURE) (journey\.\w+)(.*?)^AS\b/msg)
	{
		my ($kind, $name, $head) = ($1, $2, $3);
		# "-- No SET search_path: reason" above a function that needs its caller's
		push @careless, "$path: $name sets no search_path" if $head !~ /SET search_path = pg_catalog, pg_temp/
			&& $text !~ /^-- No SET search_path: \S[^\n]*\nCREATE $kind \Q$name\E\b/m;
		push @careless, "$path: $name is not revoked from PUBLIC" if $text !~ /REVOKE ALL ON (FUNCTION|PROCEDURE|ROUTINE) [^;]*\Q$name\E\b[^;]*FROM PUBLIC/;
		push @careless, "$path: $name has no comment" if $text !~ /COMMENT ON $kind \Q$name\E\b/;
	}
	while ($text =~ /^CREATE (TABLE|VIEW) (journey\.\w+)/mg)
	{
		my ($kind, $name) = ($1, $2);
		push @careless, "$path: $name has no comment" if $text !~ /COMMENT ON $kind \Q$name\E\b/;
	}
}
rule('every object has its comment, search_path and REVOKE', @careless);
my $all_sql = join '', map { slurp($_) } @sql;
my @silent;
foreach my $path (@server)
{
	foreach my $tables (slurp($path) =~ /\.tables = \{(.*?)\}/sg)
	{
		push @silent, map { "$path: journey.$_" } grep { $all_sql !~ /^CREATE TRIGGER definitions_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON journey\.$_\n/m } $tables =~ /"(\w+)"/g;
	}
}
rule('tables that sessions keep tell of their changes', @silent);

# ---- tests ---------------------------------------------------------------
my %have = map { $_ => 1 } @files;
my @lonely;
foreach my $path (@files)
{
	if ($path =~ m{^test/sql/(\w+)\.sql$})
	{
		push @lonely, "$path has no expected/$1.out" if !$have{"expected/$1.out"};
		push @lonely, "$path: sql/$1.sql would be run instead" if $have{"sql/$1.sql"};
	}
	push @lonely, "$path is the result of no test" if $path =~ m{^expected/(\w+?)(_\d)?\.out$} && !$have{"test/sql/$1.sql"} && !$have{"test/sql/$1_$2.sql"};
	push @lonely, "$path has no expected output" if $path =~ m{^test/isolation/specs/([\w-]+)\.spec$} && !$have{"test/isolation/expected/$1.out"};
	push @lonely, "$path is the result of no test" if $path =~ m{^test/isolation/expected/([\w-]+)\.out$} && !$have{"test/isolation/specs/$1.spec"};
}
rule('every test has its result and every result its test', @lonely);
# (box.sql waits for a time-out that must not come)
rule('no test sleeps', grep { !m{^test/sql/box\.sql:} } grep_lines(qr/^\s*(SELECT (pg_catalog\.)?pg_sleep\s*\(|u?sleep\b)/, grep { m{^test/(sql|isolation|t)/} && /\.(sql|spec|pl)$/ } @files));
my $tap = join '', map { slurp($_) } grep { m{^test/t/\w+\.pl$} } @files;
rule('every recipe is run by a test', grep { my $name = basename($_, '.sql'); $tap !~ /recipes\/\*|\b$name\b/ } grep { m{^recipes/\w+\.sql$} } @files);

# ---- build and documents -------------------------------------------------
my $makefile = slurp('Makefile');
if ($makefile !~ /^OBJS\s*=.*wildcard/m)
{
	(my $joined = $makefile) =~ s/\\\n//g;
	my ($objects) = $joined =~ /^OBJS\s*=(.*)$/m;
	my ($parts) = $joined =~ /^SQL_PARTS\s*=(.*)$/m;
	my %listed = map { s/\.o$//r => 1 } split ' ', $objects;
	rule('every source file is in OBJS', grep { /\.[cly]$/ && !$listed{s/\.[cly]$//r} } @server);
	rule('every part is in SQL_PARTS', $parts =~ /wildcard/ ? () : grep { my $part = $_; !grep { $_ eq $part } split ' ', $parts } @sql);
}
my @dead;
foreach my $path (grep { /\.md$/ } @files)
{
	my $directory = dirname($path);
	my $text = slurp($path);
	while ($text =~ /\]\(([^)\s#]*)(?:#([^)\s]*))?\)/g)
	{
		my ($target, $section) = ($1, $2);
		next if $target =~ /^\w+:/;
		my $file = $target eq '' ? $path : $directory eq '.' ? $target : "$directory/$target";
		push @dead, "$path: $target" if !-e $file;
		next if !defined $section || !-f $file;
		# the name that a heading has in links
		my %sections = map { (my $name = lc) =~ s/[^\w\- ]//g; $name =~ s/ /-/g; $name => 1 } slurp($file) =~ /^#+ +(.*?) *$/mg;
		push @dead, "$path: $target#$section" if !$sections{$section};
	}
}
rule('links between documents lead somewhere', @dead);
my ($version) = slurp('pg_journey.control') =~ /^default_version *= *'(.*)'/m;
is(join(' ', slurp('META.json') =~ /^\t{1,3}"version": "([\d.]+)",?$/mg), "$version $version 1.0.0", 'META.json names the version of the control file');
like(slurp('CHANGELOG.md'), qr/^## \Q$version\E\b/m, 'CHANGELOG.md has a section for this version');
rule('no space at the end of a line', grep_lines(qr/[ \t]+$|\r/, grep { /\.(c|h|l|y|sql|pl|pm|sh|py|spec)$|Makefile$/ && !$generated{$_} } @files));

# only the version that made the format can check it
SKIP:
{
	my @format = grep { (`$_ --version 2>&1` // '') =~ /version 14\./ } 'clang-format-14', 'clang-format';
	skip 'clang-format 14 is not installed', 1 unless @format;
	my @sources = grep { m{^src/.*\.[ch]$} && !$generated{$_} } @files;
	rule('the C sources are formatted (make format)', map { s/:\d+: error:.*//sr } grep { /error: code should be clang-formatted/ } `$format[0] --dry-run --Werror @sources 2>&1`);
}

done_testing();
