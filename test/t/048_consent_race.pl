# Withdrawals of consent against claims (FAULTS N17): a message must not be handed
# over by a transaction that commits after a withdrawal of its contact has.  Who
# leaves is chosen right where the relays are, so that most withdrawals meet a
# claim; the commits' own timestamps say which was first.
#
# PGJ_CONSENT_RACES messages (400), in one round; make consent-race RACES=n.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $races = $ENV{PGJ_CONSENT_RACES} // 400;
my $round_size = $races;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 60\ntrack_commit_timestamp = on\n");
$node->start;

sub shop { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'shop' ]); }

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text);
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', email => 'email', owner => 'shop', slices => 1);
SQL
my $token = shop('SELECT journey.issue_site_token()');
shop(<<'SQL');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example"}');
SELECT journey.create_channel('news', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example"}');
SELECT journey.create_template('t', 'email', 's', 'b');
SELECT journey.create_journey('j', 'ON EVENT go TOPIC promotions SEND email t;');
SELECT journey.activate('j');

-- the message that was claimed last
CREATE SEQUENCE shop.front;
CREATE VIEW shop.leaver AS SELECT current_setting('shop.contact')::bigint AS contact, current_setting('shop.at')::timestamptz AS at, false AS yes;

-- Somebody near the front leaves, in one of four ways.
CREATE FUNCTION shop.leave(ahead integer, way integer, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	who bigint := (SELECT m.contact FROM journey_state.message m, shop.front f WHERE m.message_id = f.last_value + ahead);
BEGIN
	IF who IS NULL THEN
		RETURN;
	END IF;
	CASE way
		WHEN 1 THEN PERFORM journey.set_consent(who, 'email', 'promotions', false, 'link', at);
		WHEN 2 THEN PERFORM journey.set_consent(who, 'email', '*', false, 'link', at);
		WHEN 3 THEN PERFORM journey.withdraw_all(who, 'preference centre', at);
		WHEN 4 THEN
			PERFORM set_config('shop.contact', who::text, true), set_config('shop.at', at::text, true);
			PERFORM journey.import_consent('shop.leaver', 'contact', 'email', 'promotions', 'at', 'crm', granted => 'yes', imported_at => at);
	END CASE;
END
$$;
SQL

my $done = 0;
for (my $round = 0; $done < $races; $round++)
{
	my ($from, $to) = ($done + 1, $done + $round_size);

	# put-offs are drained half a minute on; the next round starts after that
	my $now = "clock_timestamp() + $round * interval '1 minute'";
	$done = $to;
	shop(<<"SQL");
INSERT INTO shop.customers SELECT i, 'c' || i || '\@shop.example' FROM generate_series($from, $to) i;
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2020-01-01')) FROM shop.customers WHERE id BETWEEN $from AND $to AND id % 3 <> 0;
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2020-01-01')) FROM shop.customers WHERE id BETWEEN $from AND $to AND id % 3 <> 1;
SELECT count(journey.track(id, 'go', at => $now)) FROM shop.customers WHERE id BETWEEN $from AND $to;
SQL
	my $pending = "SELECT count(*) FROM journey_state.message WHERE status = 'pending'";
	shop("SELECT * FROM journey.tick($now)") while shop($pending) < $round_size;
	shop("SELECT setval('shop.front', (SELECT min(message_id) FROM journey_state.message WHERE status = 'pending'))");

	$node->pgbench('--no-vacuum --client=6 --jobs=2 --username=shop --transactions=' . int($round_size / 4),
		0, [qr{processed: \d+/\d+}], [qr{^$}], "round $round: withdrawals and claims at once",
		{
			'048_leave@4' => qq{
\\set ahead random(-1, 6)
\\set way random(1, 4)
\\set change_of_mind random(0, 19)
BEGIN;
SELECT shop.leave(:ahead, :way, $now);
\\if :change_of_mind = 0
ROLLBACK;
\\else
COMMIT;
\\endif
},
			'048_claim@2' => qq{
SELECT journey.open_relay('r' || :client_id, '$token');
BEGIN;
SELECT setval('shop.front', max(message_id)) FROM journey.claim('r' || :client_id, 2, at => $now);
COMMIT;
},
		});
	shop("SELECT journey.open_relay('last', '$token'); SELECT count(*) FROM journey.claim('last', 10000, at => $now + interval '30 seconds')")
		while shop($pending) > 0;
}

# commits are what counts: the row's last writer is the claim that handed it over
is(shop(<<'SQL'), '0', "of $races messages none was handed over after its contact's withdrawal had committed");
SELECT count(*)
FROM journey_state.message m
JOIN (SELECT contact, min(pg_xact_commit_timestamp(xmin)) AS committed FROM journey_state.consent_log WHERE NOT granted GROUP BY contact) g USING (contact)
WHERE m.claimed_at IS NOT NULL AND pg_xact_commit_timestamp(m.xmin) > g.committed
SQL
is(shop("SELECT count(*) FROM journey_state.message m WHERE m.status NOT IN ('claimed', 'withheld') OR m.status = 'withheld' AND m.reason <> 'no_consent'"),
	'0', 'each was handed over, or withheld for want of consent');
is(shop(<<'SQL'), '0', 'nothing was withheld of who did not leave');
SELECT count(*) FROM journey_state.message m
WHERE m.status = 'withheld' AND NOT EXISTS (SELECT FROM journey_state.consent_log g WHERE g.contact = m.contact AND NOT g.granted)
SQL

# and they were races: each was first often enough, and messages were put off
my $after = <<'SQL';
FROM journey_state.message m
JOIN (SELECT contact, min(pg_xact_commit_timestamp(xmin)) AS committed FROM journey_state.consent_log WHERE NOT granted GROUP BY contact) g USING (contact)
WHERE m.claimed_at IS NOT NULL
SQL
cmp_ok(shop("SELECT count(*) FROM journey_state.message WHERE status = 'withheld'"), '>', $races / 20, 'withdrawals were first');
cmp_ok(shop("SELECT count(*) $after"), '>', $races / 40, 'claims were first, and the contact left afterwards');
note(shop("SELECT count(*) || ' of them within 20 ms' $after AND g.committed - pg_xact_commit_timestamp(m.xmin) < interval '20 milliseconds'"));
cmp_ok(shop('SELECT count(*) - (SELECT count(*) FROM journey_state.message) FROM journey_state.outbox WHERE attempt = 0'), '>', 0,
	'messages were put off because a withdrawal was open');

done_testing();
