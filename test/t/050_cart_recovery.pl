# Cart recovery on real clicks (retailrocket_sample.csv.gz, see PGJ_TEST_DATA),
# through journey.track() and journey.replay(), against plain SQL over the raw
# rows that knows nothing of the engine.
#
# Definition
#
# * Every row of the file is an event of its visitor.  An exact duplicate of a
#   row is the same event: both are tracked with the same event id, and one is
#   recorded.  A purchase of n items is n transaction events.
# * A visitor has one cart, open or not.  An addtocart opens it if it is not open.
# * While the reminder has not been decided, each further addtocart starts the
#   hour again.
# * One hour after the last addtocart the visitor is reminded, and the cart
#   stays open for one more day, in which an addtocart changes nothing.  After
#   that day it is closed.
# * Bought: a transaction event of the visitor while the cart is open, whatever
#   the item.  It closes the cart at once.  A transaction without an open cart
#   means nothing.
# * Ties: events of a visitor at the same millisecond count in the order of the
#   file.  What happens at the very instant at which the hour or the day ends
#   happens before that end: an addtocart then starts the hour again, a
#   transaction then closes the cart without a reminder.
# * Visitors whose number leaves 3 when divided by 10 have given no consent: they
#   never enter.
# * A visitor is sent at most one reminder in any seven days; one too many is
#   withheld as capped, and the run goes on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $data = ($ENV{PGJ_TEST_DATA} // '') . '/retailrocket_sample.csv.gz';
if (!-r $data)
{
	plan skip_all => 'retailrocket_sample.csv.gz is not in the directory that PGJ_TEST_DATA names';
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\n");
$node->start;

sub shop
{
	return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'shop' ]);
}

$node->safe_psql(
	'postgres', qq{
	CREATE ROLE shop LOGIN;
	CREATE SCHEMA shop AUTHORIZATION shop;
	SET SESSION AUTHORIZATION shop;
	CREATE TABLE shop.raw (row bigint GENERATED ALWAYS AS IDENTITY, ts_ms bigint, visitor bigint, event text, item bigint, transaction bigint);
	CREATE TABLE shop.visitors (id bigint PRIMARY KEY, email text NOT NULL);
	RESET SESSION AUTHORIZATION;
	COPY shop.raw (ts_ms, visitor, event, item, transaction) FROM PROGRAM 'gzip -dc $data' WITH (FORMAT csv, HEADER);
	INSERT INTO shop.visitors SELECT DISTINCT visitor, 'v' || visitor || '\@visitors.example' FROM shop.raw;
	CREATE EXTENSION pg_journey;
	SELECT journey.attach('shop.visitors', key => 'id', email => 'email', owner => 'shop');
});

is($node->safe_psql('postgres', "SELECT string_agg(event || ' ' || n, ', ' ORDER BY event) FROM (SELECT event, count(*) n FROM shop.raw GROUP BY event) AS counts"),
	'addtocart 263, transaction 46, view 9076', 'the file holds what is published of it');

shop(
	q{
	SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example"}');
	SELECT journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2015-01-01')
	FROM shop.visitors WHERE id % 10 <> 3;
	SELECT journey.create_template('cart_reminder', channel => 'email', subject => 'Your cart', body => 'It is waiting.');
	SELECT journey.create_cap('weekly', max_messages => 1, per => '7 days');
	SELECT journey.create_journey('cart', $$
	  ON EVENT addtocart
	  EXIT ON transaction
	  TOPIC promotions

	  WAIT '1 hour' SINCE LAST addtocart;
	  <<reminder>>
	  SEND email cart_reminder;
	  WAIT '1 day';
	$$);
	SELECT journey.activate('cart');
});

# The id is the row itself, so that a duplicate row is the same event.
my $recorded = shop(
	q{
	SELECT count(journey.track(visitor, event, jsonb_build_object('item', item, 'transaction', transaction),
			'epoch'::timestamptz + ts_ms * interval '1 millisecond',
			concat_ws('/', ts_ms, event, item, transaction)))
	FROM (SELECT * FROM shop.raw ORDER BY row) AS raw;
	SELECT count(*) FROM journey_state.event;
});
is((split /\n/, $recorded)[-1], 9385 - 3, 'three duplicate rows are recorded once');

# Ten days after the last click everything has run out.
shop(q{SELECT journey.replay('2015-09-28', assume_sent => true)});

# What happened, by the engine.
shop(
	q{
	CREATE VIEW shop.engine AS
	SELECT n.contact AS visitor, n.entered_at AS opened_at, r.at AS reminded_at, n.ended_at AS closed_at,
		n.status = 'exited' AS bought, coalesce(v.verdict = 'sent', false) AS sent
	FROM journey_state.enrollment n
	LEFT JOIN journey_state.transition r
		ON r.contact = n.contact AND r.enrollment_id = n.enrollment_id
		AND r.step_no = (SELECT step_no FROM journey.step s WHERE s.version_id = n.version_id AND s.label = 'reminder')
	LEFT JOIN journey_state.verdict v
		ON v.contact = n.contact AND v.enrollment_id = n.enrollment_id AND v.stage = 'decide'
});

# The same from the raw rows alone.
shop(
	q{
	CREATE VIEW shop.oracle AS
	WITH RECURSIVE click AS MATERIALIZED (
		-- a visitor's events in order, duplicates once, without views
		SELECT visitor, event, at, row_number() OVER (PARTITION BY visitor ORDER BY at, row) AS pos
		FROM (
			SELECT min(row) AS row, visitor, event, 'epoch'::timestamptz + ts_ms * interval '1 millisecond' AS at
			FROM shop.raw
			WHERE event <> 'view' AND visitor % 10 <> 3
			GROUP BY visitor, event, ts_ms, item, transaction
		) AS once
	), added AS MATERIALIZED (
		-- the last addtocart of a series without a pause of more than an hour
		SELECT visitor, at, pos, coalesce(lead(at) OVER w > at + interval '1 hour', true) AS last
		FROM click WHERE event = 'addtocart'
		WINDOW w AS (PARTITION BY visitor ORDER BY pos)
	), cart AS (
		SELECT opening.visitor, 1 AS ordinal, opening.pos, opening.at AS opened_at, ending.*
		FROM (SELECT DISTINCT ON (visitor) visitor, at, pos FROM added ORDER BY visitor, pos) AS opening,
			LATERAL (
				SELECT
					(SELECT min(a.at) FROM added a WHERE a.visitor = opening.visitor AND a.pos >= opening.pos AND a.last) + interval '1 hour' AS hour_ends,
					(SELECT min(b.pos) FROM click b WHERE b.visitor = opening.visitor AND b.pos > opening.pos AND b.event = 'transaction') AS bought_pos
			) AS ending
	UNION ALL
		SELECT cart.visitor, cart.ordinal + 1, opening.pos, opening.at, ending.*
		FROM cart
		LEFT JOIN click bought ON bought.visitor = cart.visitor AND bought.pos = cart.bought_pos,
			LATERAL (
				SELECT a.at, a.pos FROM added a
				WHERE a.visitor = cart.visitor
					AND CASE WHEN bought.at <= cart.hour_ends + interval '1 day' THEN a.pos > bought.pos
						ELSE a.at > cart.hour_ends + interval '1 day' END
				ORDER BY a.pos LIMIT 1
			) AS opening,
			LATERAL (
				SELECT
					(SELECT min(a.at) FROM added a WHERE a.visitor = cart.visitor AND a.pos >= opening.pos AND a.last) + interval '1 hour' AS hour_ends,
					(SELECT min(b.pos) FROM click b WHERE b.visitor = cart.visitor AND b.pos > opening.pos AND b.event = 'transaction') AS bought_pos
			) AS ending
	), run AS (
		SELECT cart.visitor, cart.opened_at,
			CASE WHEN coalesce(bought.at > hour_ends, true) THEN hour_ends END AS reminded_at,
			CASE WHEN bought.at <= hour_ends + interval '1 day' THEN bought.at ELSE hour_ends + interval '1 day' END AS closed_at,
			coalesce(bought.at <= hour_ends + interval '1 day', false) AS bought
		FROM cart LEFT JOIN click bought ON bought.visitor = cart.visitor AND bought.pos = cart.bought_pos
	), reminder AS MATERIALIZED (
		SELECT visitor, reminded_at, row_number() OVER (PARTITION BY visitor ORDER BY reminded_at) AS n
		FROM run WHERE reminded_at IS NOT NULL
	), sent AS (
		-- the earliest, then each next one that is seven days away from the one before
		SELECT visitor, reminded_at FROM reminder WHERE n = 1
	UNION ALL
		SELECT sent.visitor, next.reminded_at
		FROM sent, LATERAL (
			SELECT reminded_at FROM reminder r
			WHERE r.visitor = sent.visitor AND r.reminded_at >= sent.reminded_at + interval '7 days'
			ORDER BY reminded_at LIMIT 1
		) AS next
	)
	SELECT run.*, sent.visitor IS NOT NULL AS sent
	FROM run LEFT JOIN sent ON sent.visitor = run.visitor AND sent.reminded_at = run.reminded_at
});

sub summary
{
	return shop(
		qq{
		SELECT format('entered %s, reminded %s, exited by purchase %s (%s of them after the reminder), sent %s', count(*), count(reminded_at),
			count(*) FILTER (WHERE bought), count(reminded_at) FILTER (WHERE bought), count(*) FILTER (WHERE sent))
		FROM shop.$_[0]});
}

my $expected = summary('oracle');
note $expected;
is(summary('engine'), $expected, 'as many entered, reminded, bought and sent as plain SQL finds');
is(shop('SELECT * FROM shop.engine EXCEPT SELECT * FROM shop.oracle ORDER BY 1, 2'), '', 'no cart that plain SQL does not find');
is(shop('SELECT * FROM shop.oracle EXCEPT SELECT * FROM shop.engine ORDER BY 1, 2'), '', 'every cart that plain SQL finds');

# The data must exercise every branch, or the comparison proves little.
like(shop('SELECT count(*) > 100, bool_or(bought AND reminded_at IS NULL), bool_or(NOT bought AND sent), bool_or(NOT sent AND reminded_at IS NOT NULL) FROM shop.oracle'),
	qr/^t\|t\|t\|t$/, 'carts bought within the hour, lapsed, and capped are all there');
is(shop("SELECT count(*) FROM journey_state.verdict WHERE verdict = 'withheld' AND reason <> 'capped'"), '0', 'nothing is withheld for another reason');
is(shop("SELECT count(DISTINCT contact) FROM journey_state.refusal WHERE reason = 'no_consent'"),
	shop("SELECT count(DISTINCT visitor) FROM shop.raw WHERE event = 'addtocart' AND visitor % 10 = 3"), 'who has not consented is refused, with the reason');

$node->stop;
done_testing();
