# One address, many contacts, under load: 8 relays claim at once, several times in
# one transaction, some of which roll back, so that each takes addresses in an order
# of its own.  Nobody waits in a circle, and each address gets each message once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $transactions = $ENV{PGJ_ADDRESS_TRANSACTIONS} // 40;
my $keys = $ENV{PGJ_ADDRESS_KEYS} // 6;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
# a deadlock would show at once
$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 60\ndeadlock_timeout = 10ms\nlog_lock_waits = on\n");
$node->start;

sub shop { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'shop' ]); }

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text);
-- 20 addresses, 10 contacts each
INSERT INTO shop.customers SELECT i, CASE WHEN i % 3 = 0 THEN 'Family' ELSE 'family' END || i % 20 || '@shop.example' FROM generate_series(1, 200) i;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', email => 'email', owner => 'shop', slices => 64);
SQL
my $token = shop('SELECT journey.issue_site_token()');
shop(<<"SQL");
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi\@shop.example"}');
SELECT journey.create_template('t', 'email', 's', 'b');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'test', '2020-01-01')) FROM shop.customers;
SELECT journey.create_journey('j', 'ON EVENT go KEY event.properties->>''k'' SEND email t EXPIRES ''10 days'';');
SELECT journey.activate('j');
SELECT count(journey.track(id, 'go', jsonb_build_object('k', k))) FROM shop.customers, generate_series(1, $keys) k;
SQL
shop('SELECT * FROM journey.tick()') while shop('SELECT count(*) FROM journey._due(clock_timestamp()) WHERE due') > 0;
is(shop('SELECT count(*) FROM journey_state.message'), 200 * $keys, 'every message was decided');

my $claims = join "\n", map { "SELECT count(*) FROM journey.claim('r' || :client_id, :many, at => clock_timestamp() + interval '$_ seconds');" } 0, 10, 20;
$node->pgbench(
	"--no-vacuum --client=8 --jobs=2 --transactions=$transactions --username=shop",
	0, [qr{processed: \d+/\d+}], [qr{^$}],
	'8 relays claim at once',
	{
		'047_commit@4' => "\\set many random(1, 20)\nBEGIN;\nSELECT journey.open_relay('r' || :client_id, '$token');\n$claims\nCOMMIT;",
		'047_rollback@1' => "\\set many random(1, 20)\nBEGIN;\nSELECT journey.open_relay('r' || :client_id, '$token');\n$claims\nROLLBACK;",
	});
unlike(slurp_file($node->logfile), qr/deadlock detected/, 'nobody waited in a circle');
my $busy = shop("SELECT count(*) FROM journey_state.outbox o JOIN journey_state.message m USING (message_id) WHERE o.available_at > m.decided_at + interval '1 second' AND o.attempt = 0");
cmp_ok($busy, '>', 0, "relays met at addresses: $busy messages were put off");

# the rest, in an hour
shop("SELECT journey.open_relay('last', '$token'); SELECT count(*) FROM journey.claim('last', 10000, at => clock_timestamp() + interval '1 hour')") for 1 .. 3;
is(shop("SELECT string_agg(DISTINCT status, ' ') FROM journey_state.message"), 'claimed withheld', 'every message has its answer');
is(shop(<<'SQL'), 20 * $keys . '|0', 'each address got each message once');
SELECT count(DISTINCT (lower(m.recipient), e.key)), count(*) - count(DISTINCT (lower(m.recipient), e.key))
FROM journey_state.message m JOIN journey_state.enrollment e USING (contact, enrollment_id) WHERE m.claimed_at IS NOT NULL
SQL
is(shop("SELECT count(*) FROM journey_state.verdict WHERE reason = 'duplicate_address' AND verdict = 'withheld'"), 180 * $keys, 'and all others say why not');
is(shop('SELECT law || violations FROM journey.check() WHERE violations > 0'), '', 'every law holds');

done_testing();
