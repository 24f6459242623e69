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

use FindBin;
use lib "$FindBin::RealBin/../gate";
use GateTest;
use Test::More;

my $decisions = $ENV{PGJ_CAP_DECISIONS} // 0;
my $window = $ENV{PGJ_CAP_WINDOW} // '1 day';
my ($events, $sends) = $decisions ? (5, 16) : (1, 2);
# a deadlock would show at once
my $shop = GateTest->new(
	customers => q{SELECT i, 'c' || i || '@shop.example' FROM generate_series(1, 50) i},
	slices => 16,
	conf => "deadlock_timeout = 50ms\n");
sub shop { return $shop->shop($_[0]); }
shop(<<"SQL");
SELECT journey.create_cap('hot', 3, '$window');
SELECT journey.create_journey(name, 'ON EVENT go KEY event.properties->>''k'' ' || repeat('SEND email t; ', $sends)) FROM unnest(ARRAY['a', 'b', 'c']) name;
SELECT journey.activate(name) FROM unnest(ARRAY['a', 'b', 'c']) name;
SQL

my $open_relay = $shop->open_relay(q{'r' || :client_id});
my %scripts = (
	'045_track@4' => qq{
SELECT count(journey.track((1 + floor(random() * 50))::bigint, 'go', jsonb_build_object('k', gen_random_uuid()))) FROM generate_series(1, $events);
SELECT * FROM journey.tick();
},
	'045_tick@2' => q{
SELECT * FROM journey.tick();
},
	'045_claim@2' => qq{
$open_relay
SELECT coalesce(array_agg(message_id), '{}')::text AS ids, coalesce(array_agg(attempt), '{}')::text AS attempts FROM journey.claim('r' || :client_id, 100) \\gset
SELECT journey.report('r' || :client_id, ids, attempts, array_fill('sent'::text, ARRAY[cardinality(ids)]), array_fill('250'::text, ARRAY[cardinality(ids)]), array_fill(''::text, ARRAY[cardinality(ids)]))
	FROM (SELECT ':ids'::bigint[] AS ids, ':attempts'::integer[] AS attempts) AS g WHERE ids <> '{}';
},
	# receipts of many slices at once, for what went last
	'045_receipt@4' => qq{
$open_relay
SELECT journey.report('r' || :client_id, array_agg(m.message_id), array_agg(m.attempt), array_agg('delivered'::text), array_agg(''::text), array_agg(''::text))
	FROM shop.customers AS c CROSS JOIN LATERAL (SELECT message_id, attempt FROM journey_state.message
		WHERE contact = c.id AND decided_at > clock_timestamp() - interval '$window' AND claimed_at IS NOT NULL LIMIT 1) AS m HAVING count(*) > 0;
},
);
# a third of the transactions track events, of each of which three runs come to all their SENDs
my $decided = 0;
do
{
	my $transactions = $decisions ? 50 + int(($decisions - $decided) / 8 / $events / $sends) : 150;
	$shop->pgbench("--client=8 --transactions=$transactions", '8 callers track, tick and claim at once', \%scripts);
	$decided = shop("SELECT count(*) FROM journey_state.verdict WHERE stage = 'decide'");
} while $decided < $decisions;
$shop->nobody_waited_in_a_circle;
$shop->tick_rest;
$shop->claim_rest('clock_timestamp()');

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
$decided = shop("SELECT count(*) FROM journey_state.verdict WHERE stage = 'decide'");
my $handed = shop('SELECT count(*) FROM journey_state.message WHERE claimed_at IS NOT NULL');
diag("$decided decisions, $handed messages handed over, at most $most of a contact within $window");
$shop->every_law_holds;

done_testing();
