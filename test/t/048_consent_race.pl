# Withdrawals of consent and suppressions against claims (FAULTS N17): a message must
# not be handed over by a transaction that commits after one that stops it has.  Who
# leaves is chosen right where the relays are, so that most meet a claim; the commits'
# own timestamps say which was first.
#
# Until PGJ_CONSENT_RACES (400) messages have been left by somebody, in rounds of at most
# PGJ_CONSENT_ROUND (20,000) messages; make consent-race RACES=n.  Two contacts have each
# address, half a round apart: a complaint about what the one got stops what goes to the other.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../gate";
use GateTest;
use Test::More;
use Time::HiRes qw(time);

my $races = $ENV{PGJ_CONSENT_RACES} // 400;
my $round_size = $ENV{PGJ_CONSENT_ROUND} // 20000;
my $slices = 4;
my $claimed_at_once = 5;
$round_size = 2 * $races if 2 * $races < $round_size;

my $shop = GateTest->new(
	customers => q{SELECT 0, 'nobody@shop.example'},
	slices => $slices,
	conf => "track_commit_timestamp = on\ndeadlock_timeout = 50ms\n");
sub shop { return $shop->shop($_[0]); }
shop(<<'SQL');
SELECT journey.create_channel('news', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example"}');
SELECT journey.create_topic('service', 'transactional');
SELECT journey.create_journey('j', 'ON EVENT go KEY event.properties->>''k'' TOPIC promotions SEND email t;');
SELECT journey.create_journey('s', 'ON EVENT serve KEY event.properties->>''k'' TOPIC service SEND email t;');
SELECT journey.activate(name) FROM unnest('{j,s}'::text[]) name;
SQL

# for each slice, the message that was claimed last
shop("CREATE SEQUENCE shop.front$_ MINVALUE 0") for 0 .. $slices - 1;
shop(<<'SQL');
CREATE VIEW shop.leaver AS SELECT current_setting('shop.contact')::bigint AS contact, current_setting('shop.at')::timestamptz AS at, false AS yes;

-- What the transaction stops, for the books: its own commit is that of the stop.
CREATE TABLE shop.stop (contact bigint, email text, way integer, everything boolean);

-- Somebody leaves, in one of seven ways.
CREATE FUNCTION shop.leave(who bigint, address text, way integer, half integer, relay text, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	twin record;
BEGIN
	CASE way
		WHEN 1 THEN PERFORM journey.set_consent(who, 'email', 'promotions', false, 'link', at);
		WHEN 2 THEN PERFORM journey.set_consent(who, 'email', '*', false, 'link', at);
		WHEN 3 THEN PERFORM journey.withdraw_all(who, 'preference centre', at);
		WHEN 4 THEN
			PERFORM set_config('shop.contact', who::text, true), set_config('shop.at', at::text, true);
			PERFORM journey.import_consent('shop.leaver', 'contact', 'email', 'promotions', 'at', 'crm', granted => 'yes', imported_at => at);
		WHEN 5 THEN PERFORM journey.suppress('email', address, 'asked', at);
		WHEN 6 THEN PERFORM journey.suppress_contact(who, 'asked', at => at);
		WHEN 7 THEN
			-- what the other contact with this address got, if it got it already
			SELECT m.message_id, m.attempt INTO twin FROM journey_state.message m
				WHERE m.contact IN (who - half, who + half) AND m.contact IN (SELECT c.id FROM shop.customers c WHERE c.email = address)
				AND m.claimed_at IS NOT NULL LIMIT 1;
			IF NOT FOUND THEN
				RETURN;
			END IF;
			PERFORM journey.report(relay, ARRAY[twin.message_id], ARRAY[twin.attempt], ARRAY['complained'], ARRAY[''], ARRAY[''], at);
	END CASE;
	INSERT INTO shop.stop VALUES (CASE WHEN way NOT IN (5, 7) THEN who END, CASE WHEN way IN (5, 7) THEN address END, way, way IN (5, 6));
END
$$;

-- Those near the front of a slice: several at once, but for addresses, which two slices may have in
-- two orders, and the callers would wait for each other.
CREATE FUNCTION shop.leave_near(slice integer, ahead integer, way integer, half integer, relay text, at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	front bigint;
BEGIN
	EXECUTE format('SELECT last_value FROM shop.front%s', slice) INTO front;
	PERFORM shop.leave(w.contact, w.email, way, half, relay, at) FROM (
		SELECT m.contact, c.email FROM journey_state.message m JOIN shop.customers c ON c.id = m.contact
		WHERE m.message_id > front AND m.slice = leave_near.slice ORDER BY m.message_id OFFSET ahead LIMIT CASE WHEN way IN (5, 7) THEN 1 ELSE 4 END) w;
END
$$;

-- Messages that somebody left who could have stopped them, and whose commit came first.  The last writer of a
-- message that is still claimed is the claim that handed it over.
CREATE INDEX ON shop.stop (contact);
CREATE INDEX ON shop.stop (email);
CREATE VIEW shop.race AS
SELECT m.contact, m.message_id, m.status, m.claimed_at, pg_xact_commit_timestamp(m.xmin) AS committed, s.way, s.committed AS stopped
FROM journey_state.message m JOIN shop.customers c ON c.id = m.contact
CROSS JOIN LATERAL (SELECT * FROM (
	SELECT s.way, pg_xact_commit_timestamp(s.xmin) AS committed FROM shop.stop s WHERE s.contact = m.contact AND (s.everything OR m.class <> 'transactional')
	UNION ALL SELECT s.way, pg_xact_commit_timestamp(s.xmin) FROM shop.stop s WHERE s.email = c.email AND (s.everything OR m.class <> 'transactional')) s
	ORDER BY s.committed LIMIT 1) s;
CREATE TABLE shop.raced AS SELECT * FROM shop.race WITH NO DATA;
SQL

my $pending = "SELECT count(*) FROM journey_state.message WHERE status = 'pending'";
my $raced = 0;
my $violations = '';
for (my $round = 0; $raced < $races && $violations eq ''; $round++)
{
	my ($from, $to) = ($round * $round_size + 1, ($round + 1) * $round_size);
	my $half = int($round_size / 2);
	my $started = time;

	# put-offs are drained half a minute on; the next round starts after that
	my $now = "clock_timestamp() + $round * interval '1 minute'";
	shop(<<"SQL");
INSERT INTO shop.customers SELECT i, 'c' || $from + (i - $from) % $half || '\@shop.example' FROM generate_series($from, $to) i;
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'form', '2020-01-01')) FROM shop.customers WHERE id BETWEEN $from AND $to AND id % 3 <> 0;
SELECT count(journey.set_consent(id, 'email', '*', true, 'form', '2020-01-01')) FROM shop.customers WHERE id BETWEEN $from AND $to AND id % 3 <> 1;
SELECT count(journey.track(id, CASE id % 5 WHEN 0 THEN 'serve' ELSE 'go' END, jsonb_build_object('k', id), at => $now)) FROM (SELECT id FROM shop.customers WHERE id BETWEEN $from AND $to ORDER BY id) c;
SQL
	shop("SELECT * FROM journey.tick($now)") while shop("$pending") < $round_size;
	shop("SELECT setval('shop.front$_', (SELECT COALESCE(min(message_id) - 1, 0) FROM journey_state.message WHERE status = 'pending' AND slice = $_))") for 0 .. $slices - 1;

	my $ahead = 3 * $claimed_at_once;
	$shop->pgbench(
		'--client=8 --protocol=prepared --transactions=' . int($round_size * 3 / 8 / $claimed_at_once),
		"round $round: those who leave and claims at once",
		{
			"048_leave_$round\@2" => join('', '\set slice random(0, ', $slices - 1, qq{)
\\set ahead random(0, $ahead)
\\set way random(1, 7)
\\set change_of_mind random(0, 19)
@{[ $shop->open_relay(q{'l' || :client_id}) ]}
BEGIN;
SELECT shop.leave_near(:slice, :ahead, :way, $half, 'l' || :client_id, $now);
\\if :change_of_mind = 0
ROLLBACK;
\\else
COMMIT;
\\endif
}),
			"048_claim_$round\@1" => qq{
@{[ $shop->open_relay(q{'r' || :client_id}) ]}
BEGIN;
SELECT setval(('shop.front' || m.slice)::regclass, max(m.message_id))
	FROM journey.claim('r' || :client_id, $claimed_at_once, '1 day', at => $now) c JOIN journey_state.message m USING (message_id) GROUP BY m.slice;
COMMIT;
},
		});
	$shop->claim_rest("$now + interval '30 seconds'") while shop($pending) > 0;
	shop("INSERT INTO shop.raced SELECT * FROM shop.race WHERE contact BETWEEN $from AND $to");
	$raced = shop('SELECT count(*) FROM shop.raced');
	$violations = shop(q{SELECT string_agg(format('message %s, way %s, %s after', message_id, way, committed - stopped), ', ') FROM (SELECT * FROM shop.raced WHERE status = 'claimed' AND committed > stopped LIMIT 5) v});
	diag(sprintf('%d messages, %d of %d races, this round in %.0f s', $to, $raced, $races, time - $started)) if $races > $round_size;
}

is($violations, '', "in $raced races no message was handed over after a transaction that stops it had committed");
is(shop("SELECT count(*) FROM journey_state.message m WHERE m.status NOT IN ('claimed', 'withheld', 'sent') OR m.status = 'withheld' AND m.reason NOT IN ('no_consent', 'suppressed')"),
	'0', 'each was handed over, or withheld for want of consent or as suppressed');
is(shop(q{SELECT count(*) FROM journey_state.message m WHERE m.status = 'withheld' AND m.message_id NOT IN (SELECT message_id FROM shop.raced)}),
	'0', 'nothing was withheld of who did not leave');
$shop->nobody_waited_in_a_circle;
$shop->every_law_holds;

# and they were races: each was first often enough, and messages were put off
my $ways = shop(<<'SQL');
SELECT string_agg(format('way %s: %s withheld, %s handed over, %s of them within 20 ms', way, withheld, handed, close), E'\n' ORDER BY way)
FROM (SELECT way, count(*) FILTER (WHERE status = 'withheld') AS withheld, count(*) FILTER (WHERE claimed_at IS NOT NULL) AS handed,
	count(*) FILTER (WHERE claimed_at IS NOT NULL AND stopped - committed < interval '20 milliseconds') AS close FROM shop.raced GROUP BY way) w
SQL
diag($ways);
cmp_ok(shop("SELECT count(*) FROM shop.raced WHERE status = 'withheld'"), '>', $races / 20, 'those who left were first');
cmp_ok(shop('SELECT count(*) FROM shop.raced WHERE claimed_at IS NOT NULL'), '>', $races / 40, 'claims were first, and somebody left afterwards');
# a complaint needs a twin that has got its message: in a short run there are few, or none
is(shop('SELECT count(DISTINCT way) FROM shop.raced WHERE way <> 7'), '6', 'in each way but by a complaint');
cmp_ok(shop('SELECT count(*) FROM shop.raced WHERE way = 7'), '>', 0, 'by a complaint, too') if $races >= 5000;
my $put_off = shop('SELECT count(*) - (SELECT count(*) FROM journey_state.message) FROM journey_state.outbox WHERE attempt = 0');
cmp_ok($put_off, '>', 0, "$put_off times a message was put off because something was open");

done_testing();
