# Frequency caps under load: 8 callers track events, tick and claim at once, on
# 50 hot contacts and three journeys.  A cap that is counted without a lock
# passes on cold contacts and fails on hot ones, so the test also asserts that
# they were hot: most messages must have been withheld by the cap.  What relays take
# they report, many slices at a time, so that locks in no order would deadlock.
#
# PGJ_CAP_DECISIONS=n for a long load (make gate-load); PGJ_CAP_WINDOW is the cap's
# window, of which a long load should see many, so that places come free all the time.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $decisions = $ENV{PGJ_CAP_DECISIONS} // 0;
my $window = $ENV{PGJ_CAP_WINDOW} // '1 day';
# a third of the transactions track events, each of which six messages are decided on
my $events = $decisions ? 20 : 1;
my $transactions = $decisions ? 50 + int $decisions * 1.05 / 16 / $events : 150;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# a deadlock would show at once
$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 60\ndeadlock_timeout = 50ms\n");
$node->start;

sub shop { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'shop' ]); }

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text);
INSERT INTO shop.customers SELECT i, 'c' || i || '@shop.example' FROM generate_series(1, 50) i;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', email => 'email', owner => 'shop', slices => 16);
SQL
my $token = shop('SELECT journey.issue_site_token()');
shop(<<"SQL");
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi\@shop.example"}');
SELECT journey.create_template('t', 'email', 's', 'b');
SELECT journey.create_cap('hot', 3, '$window');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'test', '2020-01-01')) FROM shop.customers;
SELECT journey.create_journey(name, 'ON EVENT go SEND email t; SEND email t;') FROM unnest(ARRAY['a', 'b', 'c']) name;
SELECT journey.activate(name) FROM unnest(ARRAY['a', 'b', 'c']) name;
SQL

$node->pgbench(
	"--no-vacuum --client=8 --jobs=2 --transactions=$transactions --username=shop",
	0, [qr{processed: \d+/\d+}], [qr{^$}],
	'8 callers track, tick and claim at once',
	{
		'045_track@4' => qq{
SELECT count(journey.track((1 + floor(random() * 50))::bigint, 'go')) FROM generate_series(1, $events);
SELECT * FROM journey.tick();
},
		'045_tick@2' => q{
SELECT * FROM journey.tick();
},
		'045_claim@2' => qq{
SELECT journey.open_relay('r' || :client_id, '$token');
SELECT coalesce(array_agg(message_id), '{}')::text AS ids, coalesce(array_agg(attempt), '{}')::text AS attempts FROM journey.claim('r' || :client_id, 100) \\gset
SELECT journey.report('r' || :client_id, ids, attempts, array_fill('sent'::text, ARRAY[cardinality(ids)]), array_fill('250'::text, ARRAY[cardinality(ids)]), array_fill(''::text, ARRAY[cardinality(ids)]))
	FROM (SELECT ':ids'::bigint[] AS ids, ':attempts'::integer[] AS attempts) AS g WHERE ids <> '{}';
},
		# receipts of many slices at once, for what went last
		'045_receipt@4' => qq{
SELECT journey.open_relay('r' || :client_id, '$token');
SELECT journey.report('r' || :client_id, array_agg(m.message_id), array_agg(m.attempt), array_agg('delivered'::text), array_agg(''::text), array_agg(''::text))
	FROM shop.customers AS c CROSS JOIN LATERAL (SELECT message_id, attempt FROM journey_state.message
		WHERE contact = c.id AND decided_at > clock_timestamp() - interval '$window' AND claimed_at IS NOT NULL LIMIT 1) AS m HAVING count(*) > 0;
},
	});
# pgbench goes on after one
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'nobody waited in a circle');
shop('SELECT * FROM journey.tick()') while shop('SELECT count(*) FROM journey._due(clock_timestamp()) WHERE due') > 0;
shop("SELECT journey.open_relay('last', '$token'); SELECT count(*) FROM journey.claim('last', 10000)");

my $most = shop(<<"SQL");
SELECT max(n) FROM (SELECT count(*) OVER (PARTITION BY contact ORDER BY claimed_at RANGE BETWEEN interval '$window' - interval '1 microsecond' PRECEDING AND CURRENT ROW) AS n
	FROM journey_state.message WHERE claimed_at IS NOT NULL) handed
SQL
is($most, '3', 'nobody was handed more within a window than the cap allows, and somebody as much');
is(shop('SELECT count(*) FROM (SELECT contact FROM journey_state.message GROUP BY contact HAVING count(*) > 3) over'),
	'0', 'nor was more than that decided') if $window eq '1 day';
is(shop('SELECT count(DISTINCT contact) FROM journey_state.message WHERE claimed_at IS NOT NULL'),
	'50', 'every contact got something');
cmp_ok(shop("SELECT count(*) FROM journey_state.verdict WHERE reason = 'capped'"), '>',
	shop("SELECT 3 * count(*) FROM journey_state.message"), 'the contacts were hot: the cap withheld most messages');
my $decided = shop("SELECT count(*) FROM journey_state.verdict WHERE stage = 'decide'");
my $handed = shop('SELECT count(*) FROM journey_state.message WHERE claimed_at IS NOT NULL');
diag("$decided decisions, $handed messages handed over, at most $most of a contact within $window");
cmp_ok($decided, '>=', $decisions, "$decided decisions") if $decisions;
is(shop('SELECT law || violations FROM journey.check() WHERE violations > 0'), '', 'every law holds');

done_testing();
