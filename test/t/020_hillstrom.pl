# journey.lift() on a real randomised e-mail test (hillstrom_email.csv.gz, see
# PGJ_TEST_DATA): the differences and intervals must be those that others have
# published for it.
#
# Definition: each comparison (men's or women's e-mail, on visits or on purchases)
# is a journey of its own.  Customers who got that e-mail are its treatment,
# customers who got none its holdout, each with probability one half; all were
# exposed on 2008-03-01 and watched for two weeks.  A visit is a goal of value 0, a
# purchase a goal of the value spent.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = ($ENV{PGJ_TEST_DATA} // '') . '/hillstrom_email.csv.gz';
if (!-r $data)
{
	plan skip_all => 'hillstrom_email.csv.gz is not in the directory that PGJ_TEST_DATA names';
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\n");
$node->start;

$node->safe_psql(
	'postgres', qq{
	CREATE ROLE shop LOGIN;
	CREATE SCHEMA shop AUTHORIZATION shop;
	SET SESSION AUTHORIZATION shop;
	CREATE TABLE shop.customers (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, recency integer, history_segment text, history float8,
		mens integer, womens integer, zip_code text, newbie integer, channel text, segment text, visit integer, conversion integer, spend numeric);
	RESET SESSION AUTHORIZATION;
	COPY shop.customers (recency, history_segment, history, mens, womens, zip_code, newbie, channel, segment, visit, conversion, spend)
		FROM PROGRAM 'gzip -dc $data' WITH (FORMAT csv, HEADER);
	CREATE EXTENSION pg_journey;
	SELECT journey.attach('shop.customers', key => 'id', owner => 'shop');
	SET SESSION AUTHORIZATION shop;
	INSERT INTO journey.journey (journey_id, name, status, created_at) OVERRIDING SYSTEM VALUE
		VALUES (1, 'mens visit', 'active', '2008-03-01'), (2, 'mens purchase', 'active', '2008-03-01'), (3, 'womens visit', 'active', '2008-03-01'), (4, 'womens purchase', 'active', '2008-03-01');
	INSERT INTO journey.version (version_id, journey_id, version, script, topic, priority, holdout, reentry, goal_event, goal_within, created_at) OVERRIDING SYSTEM VALUE
		SELECT j.journey_id, j.journey_id, 1, '-', 'promotions', 50, 0.5, 'always', 'goal', '14 days', '2008-03-01' FROM journey.journey AS j;
	INSERT INTO journey_state.exposure
		SELECT c.id, c.id * 10 + j.journey_id, 'journey', j.journey_id, 1, c.id::text, a.arm, a.arm, 0.5, 0.5, '2008-03-01', c.id * 10 + j.journey_id, j.journey_id, c.id, 0, 0, 0
		FROM journey.journey AS j
		JOIN shop.customers AS c ON c.segment IN ('No E-Mail', initcap(split_part(j.name, ' ', 1)) || ' E-Mail'),
		LATERAL (SELECT CASE c.segment WHEN 'No E-Mail' THEN 'holdout' ELSE 'treatment' END) AS a (arm);
	INSERT INTO journey_state.conversion
		SELECT x.contact, x.journey_id, x.exposure_id, '2008-03-08', CASE WHEN j.name LIKE '% purchase' THEN c.spend ELSE 0 END, x.exposure_id, NULL
		FROM journey_state.exposure AS x
		JOIN journey.journey AS j USING (journey_id)
		JOIN shop.customers AS c ON c.id = x.contact
		WHERE CASE WHEN j.name LIKE '% purchase' THEN c.conversion ELSE c.visit END = 1;
	ANALYZE journey_state.exposure;
	ANALYZE journey_state.conversion;
});

sub ask
{
	return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'shop' ]);
}

sub near
{
	my ($got, $expected, $tolerance, $what) = @_;
	ok($got ne '' && abs($got - $expected) <= $tolerance * (abs($expected) > 1 ? abs($expected) : 1), $what)
	  or diag("got $got, expected $expected");
}

is(ask("SELECT count(*) FROM shop.customers"), 64000, 'all customers are there');
is( ask("SELECT journey, n_treatment, converted_treatment, n_holdout, converted_holdout, n_immature, strata, method, status FROM journey.lift(NULL, '2008-03-15') ORDER BY journey"),
	join("\n",
		'mens purchase|21307|267|21306|122|0|1|score|ok',
		'mens visit|21307|3894|21306|2262|0|1|score|ok',
		'womens purchase|21387|189|21306|122|0|1|score|ok',
		'womens visit|21387|3238|21306|2262|0|1|score|ok'),
	'counts of every arm');
is(ask("SELECT DISTINCT n_treatment + n_holdout, status FROM journey.lift(NULL, '2008-03-14')"), '0|no_holdout', 'nothing is said before the two weeks are over');

# lift, its interval, relative lift and its interval
my %published = (
	'mens visit' => [ .0765895637, .0699599305, .0832339444, .72140462, .64043669, .80646859 ],
	'mens purchase' => [ .00680500652, .00502429032, .00864936801, 1.18842188, .76875304, 1.70784639 ],
	'womens visit' => [ .0452331066, .0388983783, .0515792643 ],
	'womens purchase' => [ .00311105751, .00150730916, .00475075769 ]);
my @columns = qw(lift lift_low lift_high relative_lift relative_low relative_high);
foreach my $journey (sort keys %published)
{
	my @got = split /\|/, ask("SELECT " . join(', ', @columns) . " FROM journey.lift('$journey', '2008-03-15')");
	for my $i (0 .. $#{ $published{$journey} })
	{
		near($got[$i], $published{$journey}[$i], 1e-8, "$journey: $columns[$i]");
	}
}
near(ask("SELECT p_value / 1.52421587e-13 FROM journey.lift('mens purchase', '2008-03-15')"), 1, 1e-8, 'mens purchase: p');
near(ask("SELECT p_value / .000157133059 FROM journey.lift('womens purchase', '2008-03-15')"), 1, 1e-8, 'womens purchase: p');

# money
my %spend = (
	'mens purchase' => [ 1.42261651, .652789355, .769827156, 1.16381497e-07, .769827156 - 1.96004 * .14524656, .769827156 + 1.96004 * .14524656 ],
	'womens purchase' => [ 1.077202, .652789355, .424412216, .0011293971, .168957, .679868 ]);
foreach my $journey (sort keys %spend)
{
	my @got = split /\|/, ask("SELECT revenue_treatment, revenue_holdout, revenue_lift, revenue_p_value, revenue_low, revenue_high FROM journey.lift('$journey', '2008-03-15')");
	near($got[0], $spend{$journey}[0], 1e-6, "$journey: spend per customer, treatment");
	near($got[1], $spend{$journey}[1], 1e-8, "$journey: spend per customer, holdout");
	near($got[2], $spend{$journey}[2], 1e-8, "$journey: difference of spend");
	near($got[3] / $spend{$journey}[3], 1, 1e-7, "$journey: p of the difference of spend");
	near($got[4], $spend{$journey}[4], 2e-6, "$journey: lower limit of the difference of spend");
	near($got[5], $spend{$journey}[5], 2e-6, "$journey: upper limit of the difference of spend");
}
# men's e-mail: published standard error and relative limits of the same test
my @welch = split /\|/, ask(q{
	WITH arm AS (SELECT segment, count(*) AS n, avg(spend::float8) AS m, var_samp(spend::float8) AS v FROM shop.customers GROUP BY 1)
	SELECT w.se, w.df, w.relative, w.relative_low, w.relative_high
	FROM arm AS t, arm AS c, journey.stat_welch(t.n, t.m, t.v, c.n, c.m, c.v) AS w WHERE t.segment = 'Mens E-Mail' AND c.segment = 'No E-Mail'});
my @reference = (.14524656, 36671.158, 1.17928877, .643675384, 1.97748079);
near($welch[$_], $reference[$_], 2e-8, "mens spend: " . (qw(se df relative relative_low relative_high))[$_]) foreach 0 .. 4;

# the three arms are as large as they were meant to be
near(ask("SELECT p FROM journey.stat_srm((SELECT array_agg(n ORDER BY segment) FROM (SELECT segment, count(*) AS n FROM shop.customers GROUP BY 1) AS a), '{1,1,1}')"), 0.9036929575604, 1e-9, 'sample ratio');

# the view agrees with the function
is(ask("SELECT count(*) FROM journey.lifts WHERE valid"), 4, 'all four are valid today');

$node->stop;
done_testing();
