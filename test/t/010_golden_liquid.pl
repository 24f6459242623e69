# The Golden Liquid suite, which implementations of Liquid share: every test
# whose tags and filters we have must come out as it says.
#
# The suite is read from $PGJ_TEST_DATA/golden-liquid/golden_liquid.json.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $suite = ($ENV{PGJ_TEST_DATA} // '') . '/golden-liquid/golden_liquid.json';
plan skip_all => 'the Golden Liquid suite is not at $PGJ_TEST_DATA/golden-liquid/golden_liquid.json' if !-r $suite;

# Tests that ask for what jsonb cannot hold.
my %not_for_jsonb = (
	'filters, uniq, array of objects with key property' => 'jsonb sorts the keys of an object',
	'filters, uniq, array of objects with missing key property' => 'jsonb sorts the keys of an object');

# As many as passed when this was written; raise it with every tag and filter.
my $minimum = 670;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => [ '--encoding=UTF8', '--no-locale' ]);
$node->append_conf('postgresql.conf', "fsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION pg_journey');

# The suite travels as a psql variable, unparsed: a JSON parser on the way might
# turn 0.0 into 0.
my $script = <<'SQL';
\set suite `cat "$PGJ_GOLDEN_LIQUID"`
CREATE FUNCTION pg_temp.attempt(source text, data jsonb, OUT result text, OUT error text) LANGUAGE plpgsql AS $$
BEGIN
	result := journey.render(source, data);
EXCEPTION WHEN syntax_error OR invalid_parameter_value OR program_limit_exceeded THEN
	error := sqlstate || ' ' || sqlerrm;
END $$;
SELECT json_build_object('test', t, 'result', a.result, 'error', a.error)
	FROM json_array_elements(:'suite'::json->'tests') t,
		 pg_temp.attempt(t->>'template', coalesce((t->'data')::jsonb, '{}')) a;
SQL

local $ENV{PGJ_GOLDEN_LIQUID} = $suite;
local $ENV{PGCLIENTENCODING} = 'UTF8';
my ($status, $out, $err) = $node->psql('postgres', $script, on_error_stop => 1);
is("$status $err", '0 ', 'the suite runs');

my %count = (passed => 0, wrong => 0, unsupported => 0, jsonb => 0);
my $decoder = JSON::PP->new->utf8->allow_nonref;

# The objects are printed as they stand in the file, over several lines.
$decoder->incr_parse($out);
while (my $row = $decoder->incr_parse)
{
	my $test = $row->{test};
	my @wanted = exists $test->{results} ? @{ $test->{results} } : ($test->{result});
	my $verdict;

	if (($row->{error} // '') =~ /template has no (tag|filter) /)
	{
		$verdict = 'unsupported';
	}
	elsif ($not_for_jsonb{ $test->{name} })
	{
		$verdict = 'jsonb';
	}
	elsif ($test->{invalid})
	{
		$verdict = defined $row->{error} ? 'passed' : 'wrong';
	}
	else
	{
		$verdict = (grep { defined $row->{result} && $_ eq $row->{result} } @wanted) ? 'passed' : 'wrong';
	}
	$count{$verdict}++;
	diag("$test->{name}\n  template: $test->{template}\n  wanted: " . ($test->{invalid} ? 'an error' : join(' or ', @wanted)) . "\n  got: " . ($row->{error} // $row->{result}))
	  if $verdict eq 'wrong';
}

note(join ', ', map { "$_: $count{$_}" } sort keys %count);
is($count{wrong}, 0, 'no result differs from the suite');
cmp_ok($count{passed}, '>=', $minimum, "at least $minimum tests of the suite pass");
is($count{jsonb}, keys %not_for_jsonb, 'the exceptions are in the suite');

done_testing();
