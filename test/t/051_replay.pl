# journey.replay(until) gives the same rows as a tick at every instant.
#
# Two databases with the same shop, journeys and history.  In "live" the history
# happens bit by bit: what carries a time is written and committed at that time,
# then journey.tick() runs at it, and at every instant at which a timer or a check of a membership falls due.  In "replayed" the whole history is written first, and one
# journey.replay() runs through it.  Whatever journeys leave behind must be equal,
# but for ids.
use strict;
use warnings;

use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $carts = ($ENV{PGJ_TEST_DATA} // '') . '/retailrocket_sample.csv.gz';
my $orders = "$FindBin::RealBin/../../data/online_retail_orders.csv.gz";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'\nfsync = off\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');

sub shop
{
	my ($database, $sql) = @_;
	return $node->safe_psql($database, $sql, extra_params => [ '-U', 'shop' ]);
}

# Walk through shop.history, and through what falls due, up to a time.
my $walk = q{
	CREATE PROCEDURE shop.walk(until timestamptz) LANGUAGE plpgsql AS $$
	DECLARE
		now_at timestamptz := '-infinity';
		round record;
	BEGIN
		LOOP
			SELECT least((SELECT min(h.at) FROM shop.history h WHERE h.at > now_at),
				(SELECT min(t.due_at) FROM journey_state.timer t WHERE t.due_at > now_at),
				(SELECT min(m.check_at) FROM journey_state.membership m WHERE m.check_at > now_at)) INTO now_at;
			EXIT WHEN now_at IS NULL OR now_at > until;
			PERFORM shop.happen(now_at, now_at);
			COMMIT;
			LOOP
				SELECT * INTO round FROM journey.tick(now_at);
				COMMIT;
				EXIT WHEN NOT round.more;
			END LOOP;
		END LOOP;
	END
	$$;
};

my %rows = (
	event => q{SELECT e.contact, e.at, e.name, e.properties FROM journey_state.event e},
	membership => q{SELECT s.name, m.contact, m.since FROM journey_state.membership m JOIN journey.segment s USING (segment_id) WHERE m.member},
	enrollment => q{SELECT n.contact, j.name, n.key, n.ordinal, n.ghost, n.event_at, n.entered_at, n.status, n.comparable, n.ended_at, n.end_reason, n.parked_step, n.error
		FROM journey_state.enrollment n JOIN journey.journey j USING (journey_id)},
	exposure => q{SELECT x.contact, x.layer, j.name, x.epoch, x.unit_key, x.arm, x.served_arm, x.propensity, x.fraction, x.exposed_at, x.crossed
		FROM journey_state.exposure x JOIN journey.journey j USING (journey_id)},
	conversion => q{SELECT c.contact, j.name, c.at, c.value, c.exposure_id IS NULL, n.entered_at
		FROM journey_state.conversion c JOIN journey.journey j USING (journey_id) LEFT JOIN journey_state.enrollment n USING (contact, enrollment_id)},
	refusal => q{SELECT r.contact, j.name, r.at, r.reason, r.detail FROM journey_state.refusal r JOIN journey.journey j USING (journey_id)},
	transition => q{SELECT t.contact, j.name, n.key, n.ordinal, t.at, t.step_no, t.cause
		FROM journey_state.transition t JOIN journey_state.enrollment n USING (contact, enrollment_id) JOIN journey.journey j USING (journey_id)},
	verdict => q{SELECT v.contact, j.name, n.key, n.ordinal, v.at, v.step_no, v.visit, v.ghost, v.comparable, v.stage, v.verdict, v.reason
		FROM journey_state.verdict v JOIN journey_state.enrollment n USING (contact, enrollment_id) JOIN journey.journey j USING (journey_id)},
	message => q{SELECT m.contact, m.decided_at, m.idempotency_key, m.step_no, m.visit, m.channel, m.template, m.topic, m.priority, m.expires_at, m.status, m.attempt, m.reason
		FROM journey_state.message m},
);

sub compare
{
	my ($name, $live, $replayed) = @_;

	foreach my $table (sort keys %rows)
	{
		my @live = split /\n/, shop($live, "SELECT row.*::text FROM ($rows{$table}) AS row ORDER BY 1");
		my @replayed = split /\n/, shop($replayed, "SELECT row.*::text FROM ($rows{$table}) AS row ORDER BY 1");
		my %count;
		$count{$_}++ for @live;
		$count{$_}-- for @replayed;
		my @different = grep { $count{$_} } sort keys %count;
		ok(!@different, "$name: $table, " . @live . ' rows')
			or diag(join "\n", scalar(@different) . ' rows differ (+ ticked, - replayed):',
			map { ($count{$_} > 0 ? '+ ' : '- ') . $_ } splice @different, 0, 10);
	}
	return;
}

# Make the shop twice, let its history happen in both ways, compare.
sub both_ways
{
	my ($name, $until, $superuser, $owner) = @_;

	foreach my $way ('live', 'replayed')
	{
		my $database = "${name}_$way";
		$node->safe_psql('postgres', "CREATE DATABASE $database");
		$node->safe_psql($database, 'CREATE SCHEMA shop AUTHORIZATION shop');
		$node->safe_psql($database, $superuser);

		# arms and idempotency keys are digests that include the site
		$node->safe_psql($database, q{UPDATE journey.site SET site_id = '00000000-0000-4000-8000-000000000001'});
		shop($database, $owner . $walk);
	}
	shop("${name}_live", 'CREATE INDEX ON journey_state.timer (due_at)');
	shop("${name}_live", "CALL shop.walk('$until')");
	shop("${name}_replayed", "SELECT shop.happen('-infinity', 'infinity')");
	shop("${name}_replayed", "SELECT journey.replay('$until')");
	compare($name, "${name}_live", "${name}_replayed");
	return;
}

SKIP:
{
	skip 'retailrocket_sample.csv.gz is not in the directory that PGJ_TEST_DATA names', scalar keys %rows if !-r $carts;

	both_ways(
		'carts', '2015-09-28', qq{
		SET SESSION AUTHORIZATION shop;
		CREATE TABLE shop.raw (row bigint GENERATED ALWAYS AS IDENTITY, ts_ms bigint, visitor bigint, event text, item bigint, transaction bigint);
		CREATE TABLE shop.visitors (id bigint PRIMARY KEY, email text NOT NULL);
		RESET SESSION AUTHORIZATION;
		COPY shop.raw (ts_ms, visitor, event, item, transaction) FROM PROGRAM 'gzip -dc $carts' WITH (FORMAT csv, HEADER);
		DELETE FROM shop.raw WHERE event = 'view';
		INSERT INTO shop.visitors SELECT DISTINCT visitor, 'v' || visitor || '\@visitors.example' FROM shop.raw;
		CREATE EXTENSION pg_journey;
		SELECT journey.attach('shop.visitors', key => 'id', email => 'email', owner => 'shop');
	}, q{
		CREATE VIEW shop.history AS SELECT *, 'epoch'::timestamptz + ts_ms * interval '1 millisecond' AS at FROM shop.raw;
		CREATE FUNCTION shop.happen(since timestamptz, until timestamptz) RETURNS void LANGUAGE sql AS $$
			SELECT count(journey.track(visitor, event, jsonb_build_object('item', item), at, concat_ws('/', ts_ms, event, item, transaction)))
			FROM (SELECT * FROM shop.history WHERE at BETWEEN since AND until ORDER BY at, row) AS happening
		$$;
		SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example"}');
		SELECT journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2015-01-01') FROM shop.visitors WHERE id % 10 <> 3;
		SELECT journey.create_template('cart', channel => 'email', subject => 'Your cart', body => 'It is waiting.');
		SELECT journey.create_cap('weekly', max_messages => 1, per => '7 days');
		SELECT journey.create_journey('cart', $$
		  ON EVENT addtocart
		  EXIT ON transaction
		  GOAL transaction WITHIN '7 days'
		  HOLDOUT 20%
		  TOPIC promotions

		  WAIT '1 hour' SINCE LAST addtocart;
		  SEND email cart;
		  WAIT FOR transaction TIMEOUT '1 day' THEN
		    EXIT;
		  ELSE
		    IF (event.properties->>'item')::bigint % 2 = 0 THEN
		      SEND email cart PRIORITY 60;
		    END IF;
		  END WAIT;
		$$);
		SELECT journey.activate('cart');
	});
}

my $recipes = join '', map { slurp_file("$FindBin::RealBin/../../recipes/$_.sql") } qw(second_purchase win_back thank_you);

both_ways(
	'orders', '2011-12-09 13:00', qq{
	SET SESSION AUTHORIZATION shop;
	CREATE TABLE shop.raw (number text, customer_id integer, local timestamp, total numeric, items integer, country text);
	CREATE TABLE shop.customers (id integer PRIMARY KEY, email text NOT NULL);
	CREATE TABLE shop.orders (number text PRIMARY KEY, customer_id integer NOT NULL, created_at timestamptz NOT NULL, total numeric NOT NULL);
	CREATE INDEX ON shop.orders (customer_id, created_at);
	RESET SESSION AUTHORIZATION;
	COPY shop.raw FROM PROGRAM 'gzip -dc $orders' WITH (FORMAT csv, HEADER);
	DELETE FROM shop.raw WHERE customer_id % 40 <> 0;
	INSERT INTO shop.customers SELECT DISTINCT customer_id, 'c' || customer_id || '\@customers.example' FROM shop.raw;
	CREATE EXTENSION pg_journey;
	SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
}, q{
	CREATE VIEW shop.history AS SELECT *, local AT TIME ZONE 'Europe/London' AS at FROM shop.raw;
	SELECT journey.capture('order_placed', 'shop.orders', contact => 'customer_id', at => 'created_at',
		properties => $$ jsonb_build_object('number', new.number, 'total', new.total) $$);
	CREATE FUNCTION shop.happen(since timestamptz, until timestamptz) RETURNS void LANGUAGE sql AS $$
		INSERT INTO shop.orders SELECT number, customer_id, at, total FROM shop.history WHERE at BETWEEN since AND until ORDER BY at, number
	$$;
	SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example"}');
	SELECT journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2010-01-01') FROM shop.customers WHERE id % 200 <> 40;
	SELECT journey.create_cap('weekly', max_messages => 1, per => '7 days');
} . $recipes);

# Segments: a predicate that asks for what was known at its time flips by the
# clock where, in the live shop, an order's commit makes it flip.  One journey
# also asks who is in a segment; without it, a replay takes many flips at once.
foreach my $asks (0, 1)
{
	my $condition = $asks ? q{journey.in_segment(c.id, 'regulars')} : q{(SELECT count(*) FROM shop.orders o WHERE o.customer_id = c.id AND o.created_at <= now()) >= 4};

	both_ways(
		"segments$asks", '2011-12-09 13:00', qq{
		SET SESSION AUTHORIZATION shop;
		CREATE TABLE shop.raw (number text, customer_id integer, local timestamp, total numeric, items integer, country text);
		CREATE TABLE shop.customers (id integer PRIMARY KEY, email text NOT NULL);
		CREATE TABLE shop.orders (number text PRIMARY KEY, customer_id integer NOT NULL, created_at timestamptz NOT NULL, total numeric NOT NULL);
		CREATE INDEX ON shop.orders (customer_id, created_at);
		RESET SESSION AUTHORIZATION;
		COPY shop.raw FROM PROGRAM 'gzip -dc $orders' WITH (FORMAT csv, HEADER);
		DELETE FROM shop.raw WHERE customer_id % 80 <> 0;
		INSERT INTO shop.customers SELECT DISTINCT customer_id, 'c' || customer_id || '\@customers.example' FROM shop.raw;
		CREATE EXTENSION pg_journey;
		SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
	}, q{
		CREATE VIEW shop.history AS SELECT *, local AT TIME ZONE 'Europe/London' AS at FROM shop.raw;
		CREATE FUNCTION shop.happen(since timestamptz, until timestamptz) RETURNS void LANGUAGE sql AS $$
			INSERT INTO shop.orders SELECT number, customer_id, at, total FROM shop.history WHERE at BETWEEN since AND until ORDER BY at, number
		$$;
		SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example"}');
		SELECT journey.create_template('back', channel => 'email', subject => 'We miss you', body => 'Come back.');
		SELECT journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2010-01-01') FROM shop.customers;
		SELECT journey.create_segment('lapsed', $$
			(SELECT max(o.created_at) FROM shop.orders o WHERE o.customer_id = c.id AND o.created_at <= now()) < now() - interval '45 days'
		$$, timezone => 'Europe/London', at => '2010-01-01');
		SELECT journey.create_segment('regulars', $$
			(SELECT count(*) FROM shop.orders o WHERE o.customer_id = c.id AND o.created_at <= now() AND o.created_at > now() - interval '100 days') >= 2
		$$, timezone => 'Europe/London', at => '2010-01-01');
		SELECT journey.tick('2010-01-01');
		SELECT journey.tick('2010-01-01');
		SELECT journey.tick('2010-01-01');
		SELECT journey.tick('2010-01-01');
		SELECT journey.create_journey('win_back', $$
		  ON ENTER SEGMENT lapsed
		  EXIT ON LEAVE SEGMENT lapsed
		  GOAL LEAVE SEGMENT lapsed WITHIN '30 days'
		  HOLDOUT 20%

		  IF } . $condition . q{ THEN
		    WAIT '3 days';
		  END IF;
		  SEND email back;
		  WAIT FOR ENTER SEGMENT regulars TIMEOUT '20 days' THEN
		    EXIT;
		  ELSE
		    IF } . $condition . q{ THEN
		      SEND email back PRIORITY 60;
		    END IF;
		  END WAIT;
		  WAIT '10 days' SINCE LAST ENTER SEGMENT regulars;
		  SEND email back;
		$$);
		SELECT journey.activate('win_back');
		SELECT journey.create_journey('regular', 'ON ENTER SEGMENT regulars REENTRY ALWAYS EXIT ON LEAVE SEGMENT regulars WAIT (interval ''1 day'' * (c.id % 7)); SEND email back;');
		SELECT journey.activate('regular');
	});
}

$node->stop;
done_testing();
