# One address, many contacts, under load: 8 relays claim at once, several times in
# one transaction, some of which roll back, so that each takes addresses in an order
# of its own.  Nobody waits in a circle, and each address gets each message once.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../gate";
use GateTest;
use Test::More;

my $transactions = $ENV{PGJ_ADDRESS_TRANSACTIONS} // 40;
my $keys = $ENV{PGJ_ADDRESS_KEYS} // 6;
# 20 addresses, 10 contacts each; a deadlock would show at once
my $shop = GateTest->new(
	customers => q{SELECT i, CASE WHEN i % 3 = 0 THEN 'Family' ELSE 'family' END || i % 20 || '@shop.example' FROM generate_series(1, 200) i},
	slices => 64,
	conf => "deadlock_timeout = 10ms\nlog_lock_waits = on\n");
sub shop { return $shop->shop($_[0]); }
shop(<<"SQL");
SELECT journey.create_journey('j', 'ON EVENT go KEY event.properties->>''k'' SEND email t EXPIRES ''10 days'';');
SELECT journey.activate('j');
SELECT count(journey.track(id, 'go', jsonb_build_object('k', k))) FROM shop.customers, generate_series(1, $keys) k;
SQL
$shop->tick_rest;
is(shop('SELECT count(*) FROM journey_state.message'), 200 * $keys, 'every message was decided');

my $claims = join "\n", map { "SELECT count(*) FROM journey.claim('r' || :client_id, :many, at => clock_timestamp() + interval '$_ seconds');" } 0, 10, 20;
my $open_relay = $shop->open_relay(q{'r' || :client_id});
$shop->pgbench(
	"--client=8 --transactions=$transactions", '8 relays claim at once',
	{
		'047_commit@4' => "\\set many random(1, 20)\nBEGIN;\n$open_relay\n$claims\nCOMMIT;",
		'047_rollback@1' => "\\set many random(1, 20)\nBEGIN;\n$open_relay\n$claims\nROLLBACK;",
	});
$shop->nobody_waited_in_a_circle;
my $busy = shop("SELECT count(*) FROM journey_state.outbox o JOIN journey_state.message m USING (message_id) WHERE o.available_at > m.decided_at + interval '1 second' AND o.attempt = 0");
cmp_ok($busy, '>', 0, "relays met at addresses: $busy messages were put off");

# the rest, in an hour
$shop->claim_rest("clock_timestamp() + interval '1 hour'") for 1 .. 3;
is(shop("SELECT string_agg(DISTINCT status, ' ') FROM journey_state.message"), 'claimed withheld', 'every message has its answer');
is(shop(<<'SQL'), 20 * $keys . '|0', 'each address got each message once');
SELECT count(DISTINCT (lower(m.recipient), e.key)), count(*) - count(DISTINCT (lower(m.recipient), e.key))
FROM journey_state.message m JOIN journey_state.enrollment e USING (contact, enrollment_id) WHERE m.claimed_at IS NOT NULL
SQL
is(shop("SELECT count(*) FROM journey_state.verdict WHERE reason = 'duplicate_address' AND verdict = 'withheld'"), 180 * $keys, 'and all others say why not');
$shop->every_law_holds;

done_testing();
