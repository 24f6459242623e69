# Every recipe in recipes/*.sql can be applied to a shop as it stands, and does
# what its header says.
use strict;
use warnings;

use File::Basename;
use FindBin;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $root = "$FindBin::RealBin/../..";
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

# A shop with forty customers, its captures, consent and channel, and a recipe.
sub apply
{
	my ($recipe) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $recipe");
	$node->safe_psql(
		$recipe, q{
		CREATE SCHEMA shop AUTHORIZATION shop;
		SET SESSION AUTHORIZATION shop;
		CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text NOT NULL, phone text, tz text, country text);
		CREATE TABLE shop.orders (number text PRIMARY KEY, customer_id bigint NOT NULL, total numeric NOT NULL, created_at timestamptz NOT NULL);
		CREATE TABLE shop.carts (id bigint PRIMARY KEY, customer_id bigint NOT NULL, total numeric NOT NULL, updated_at timestamptz NOT NULL);
		INSERT INTO shop.customers SELECT i, 'c' || i || '@customers.example', '+4477009000' || lpad(i::text, 2, '0') FROM generate_series(1, 40) i;
		RESET SESSION AUTHORIZATION;
		CREATE EXTENSION pg_journey;
		SELECT journey.attach('shop.customers', key => 'id', email => 'email', phone => 'phone', timezone => 'tz', country => 'country', owner => 'shop');
	});
	shop(
		$recipe, q{
		SELECT journey.capture('order_placed', 'shop.orders', contact => 'customer_id', at => 'created_at',
			properties => $$ jsonb_build_object('number', new.number, 'total', new.total) $$);
		SELECT journey.capture('checkout_started', 'shop.carts', contact => 'customer_id', at => 'updated_at', operations => 'INSERT OR UPDATE',
			properties => $$ jsonb_build_object('cart_id', new.id, 'total', new.total) $$);
		SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example"}');
		SELECT journey.create_channel('sms', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example", "address": "phone"}');
		SELECT journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2025-01-01') FROM shop.customers;
	} . slurp_file("$root/recipes/$recipe.sql"));
	return;
}

# what was decided for whom: template and time, for those treated
my $sent = q{
	SELECT string_agg(format('%s %s %s', contact, template, to_char(decided_at, 'MM-DD HH24:MI')), E'\n' ORDER BY contact, decided_at)
	FROM journey_state.message
};

# the same with the channel
my $sent_over = $sent =~ s/'%s %s %s', contact, /'%s %s %s %s', contact, channel, /r;

# a mail or SMS of another journey that was handed over, and whether it was clicked
my $got = q{
	CREATE FUNCTION shop.got(contact bigint, channel text, at timestamptz, clicked_after interval) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		id bigint := nextval('journey_state.message_id_seq');
	BEGIN
		INSERT INTO journey_state.message (slice, contact, message_id, decided_at, idempotency_key, enrollment_id, journey_id, version_id, step_no, visit,
				channel, template, topic, class, counts, priority, since, expires_at, status, attempt, claimed_at)
			VALUES ((SELECT s.slice FROM journey_state.slice s LIMIT 1), got.contact, id, at, 'k' || id, -id, 1, 1, 1, 1,
				channel, 'earlier', 'promotions', 'promotional', true, 50, at, at + interval '3 days', 'sent', 1, at);
		IF clicked_after IS NOT NULL THEN
			PERFORM journey.track(got.contact, 'clicked', jsonb_build_object('message_id', id), at + clicked_after);
		END IF;
	END $$;
};

my %expect = (
	quiet_nights => sub {
		# London has summer time from March 29; GMT+5 is no zone, the shop's counts
		shop($_[0], q{
			UPDATE shop.customers SET tz = 'America/New_York' WHERE id BETWEEN 21 AND 30;
			UPDATE shop.customers SET tz = 'GMT+5' WHERE id BETWEEN 31 AND 40;
			INSERT INTO shop.orders SELECT 'a' || i, i, 50, '2026-01-05 06:00' FROM generate_series(1, 40) i WHERE i % 10 = 1;
			INSERT INTO shop.orders SELECT 'b' || i, i, 50, '2026-01-05 14:00' FROM generate_series(1, 40) i WHERE i % 10 = 2;
			INSERT INTO shop.orders SELECT 'c' || i, i, 50, '2026-01-05 18:00' FROM generate_series(1, 40) i WHERE i % 10 = 3;
			INSERT INTO shop.orders SELECT 'd' || i, i, 50, '2026-03-28 18:00' FROM generate_series(1, 40) i WHERE i % 10 = 4;
			INSERT INTO shop.orders SELECT 'e' || i, i, 50, '2026-01-05 14:00' FROM generate_series(1, 40) i WHERE i % 10 = 5;
			SELECT journey.track(5, 'order_returned', '{}', '2026-01-05 23:10'), journey.track(25, 'order_returned', '{}', '2026-01-05 23:10');
			INSERT INTO shop.orders SELECT 'f' || d, 6, 50, '2026-01-05 06:00'::timestamptz + d * interval '1 day' FROM unnest('{0, 2, 8}'::integer[]) d;
			SELECT journey.replay('2026-04-10');
		});
		is(shop($_[0], q{
			SELECT string_agg(format('%s %s', contact, CASE WHEN local::time BETWEEN '09:00' AND '09:30' THEN to_char(local, 'MM-DD') || ' morning' ELSE to_char(local, 'MM-DD HH24:MI') END), E'\n' ORDER BY contact, local)
			FROM (SELECT contact, decided_at AT TIME ZONE coalesce(nullif(c.tz, 'GMT+5'), 'Europe/London') AS local FROM journey_state.message JOIN shop.customers c ON c.id = contact) m}),
			join("\n", map { my $i = $_; my $york = $i > 20 && $i <= 30;
				{ 1 => $york ? "$i 01-05 morning" : "$i 01-05 14:00", 2 => $york ? "$i 01-05 17:00" : "$i 01-06 morning", 3 => "$i 01-06 morning",
				  4 => "$i 03-29 morning", 5 => $i == 5 ? undef : $york ? "$i 01-05 17:00" : "$i 01-06 morning", 6 => $i == 6 ? "$i 01-05 14:00\n$i 01-13 14:00" : undef }->{ $i % 10 } // () } 1 .. 40),
			'quiet_nights: in the morning of the contact, where eight hours after the order it is night');
	},
	cart_sms_first => sub {
		shop($_[0], q{
			SELECT journey.set_consent(id, 'sms', 'promotions', true, 'test', at => '2025-01-01') FROM shop.customers WHERE id <= 4;
			UPDATE shop.customers SET phone = NULL WHERE id = 2;
			SELECT journey.suppress('sms', '+447700900003', 'hard bounce', '2025-01-01');
			SELECT journey.set_consent(id, 'email', 'promotions', false, 'test', at => '2025-06-01') FROM shop.customers WHERE id IN (4, 6);
			INSERT INTO shop.carts SELECT i, i, 30, '2026-01-01 12:00' FROM generate_series(1, 8) i;
			INSERT INTO shop.orders VALUES ('o7', 7, 30, '2026-01-01 12:29'), ('o8', 8, 30, '2026-01-02 09:00');
			SELECT journey.replay('2026-01-10');
		});
		is(shop($_[0], $sent_over), join("\n", '1 sms cart_left 01-01 12:30', '1 email cart_help 01-02 12:30', '2 email cart_left 01-01 12:30', '2 email cart_help 01-02 12:30',
			'3 email cart_left 01-01 12:30', '3 email cart_help 01-02 12:30', '4 sms cart_left 01-01 12:30', '5 email cart_left 01-01 12:30', '5 email cart_help 01-02 12:30',
			'8 email cart_left 01-01 12:30'),
			'cart_sms_first: by SMS where that is allowed and possible, else by mail');
		is(shop($_[0], q{SELECT contact, reason FROM journey_state.refusal}), '6|no_consent', 'cart_sms_first: whom no channel may reach does not enter');
	},
	best_channel => sub {
		# customers 1 to 10 click mails in the evening, 11 to 20 SMS at noon, 21 to 30 nothing; mails are clicked more often
		shop($_[0], $got . q{
			SELECT journey.set_consent(id, 'sms', 'promotions', true, 'test', at => '2025-01-01') FROM shop.customers;
			SELECT shop.got(i, 'email', '2026-05-01 08:00'::timestamptz + d * interval '1 day', CASE WHEN i <= 10 OR (i > 20 AND d = 1) THEN interval '11 hours 30 minutes' END),
				shop.got(i, 'sms', '2026-05-01 08:00'::timestamptz + d * interval '1 day', CASE WHEN i BETWEEN 11 AND 20 THEN interval '4 hours 15 minutes' END)
			FROM generate_series(1, 30) i, generate_series(1, 20) d;
			SELECT journey.tick('2026-05-26');
			SELECT journey.refresh_engagement('2026-05-26');
			SELECT journey.track(id, 'news_ready', '{}', '2026-05-26 09:00') FROM shop.customers WHERE id <= 40;
			SELECT journey.replay('2026-05-30');
		});
		is(shop($_[0], q{SELECT string_agg(DISTINCT format('%s-%s %s', (contact - 1) / 10 * 10 + 1, (contact - 1) / 10 * 10 + 10, channel), E'\n')
			FROM journey_state.message WHERE template = 'news'}), "1-10 email\n11-20 sms\n21-30 email\n31-40 email", 'best_channel: where they click, else where everybody does');
		is(shop($_[0], q{SELECT count(*), bool_and(decided_at BETWEEN '2026-05-26 09:00' AND '2026-05-27 09:00') FROM journey_state.message WHERE template = 'news'}),
			'40|t', 'best_channel: everybody gets one within a day');
	},
	as_often_as_wanted => sub {
		# 1 to 10 click nine of ten; 11 to 20 did so in April and have stopped; 21 to 30 click one of four; of 31 nothing is known
		shop($_[0], $got . q{
			SELECT shop.got(i, 'email', start + d * interval '1 day', CASE WHEN (i <= 10 AND d < 9) OR (i BETWEEN 11 AND 20 AND start < '2026-05-01' AND d < 9) OR (i > 20 AND d % 4 = 0)
					THEN interval '2 hours' END)
			FROM generate_series(1, 30) i, generate_series(0, 9) d, unnest('{2026-04-05 08:00, 2026-05-08 08:00}'::timestamptz[]) start;
			SELECT journey.tick('2026-05-31');
			SELECT journey.refresh_engagement('2026-05-31');
			SELECT journey.track(i, 'news_ready', '{}', '2026-06-01 09:00'::timestamptz + d * interval '1 day') FROM generate_series(1, 31) i, generate_series(0, 6) d;
			SELECT journey.replay('2026-06-08', assume_sent => true);
		});
		is(shop($_[0], q{SELECT string_agg(DISTINCT format('%s-%s %s', (contact - 1) / 10 * 10 + 1, (contact - 1) / 10 * 10 + 10, n), E'\n')
			FROM (SELECT contact, count(*) AS n FROM journey_state.message WHERE template = 'daily_news' GROUP BY 1) m}), "1-10 5\n11-20 1\n21-30 3\n31-40 3",
			'as_often_as_wanted: five to those who click, one to those who stopped, three to others');
	},
	win_back_capped => sub {
		# a segment looks at who is in it when it is made, which is now; sixty days after January 1, 2037, it is March 2, a Monday
		shop($_[0], $got . q{
			INSERT INTO shop.orders SELECT 'o' || i, i, 50, '2037-01-01 12:00' FROM generate_series(1, 6) i;
			SELECT journey.tick('2037-01-02');
			SELECT shop.got(2, 'email', at, NULL) FROM unnest('{2037-02-26 15:00, 2037-02-27 15:00}'::timestamptz[]) at;
			SELECT shop.got(3, 'email', at, NULL) FROM unnest('{2037-03-02 15:00, 2037-03-03 09:00}'::timestamptz[]) at;
			SELECT shop.got(4, 'email', at, NULL) FROM unnest('{2037-03-16 15:00, 2037-03-17 09:00}'::timestamptz[]) at;
			SELECT shop.got(6, 'email', at, NULL) FROM unnest('{2037-02-26 15:00, 2037-02-27 15:00}'::timestamptz[]) at;
			SELECT journey.replay('2037-03-04 11:59', assume_sent => true);
			INSERT INTO shop.orders VALUES ('again6', 6, 50, '2037-03-04 12:00');
			SELECT journey.replay('2037-03-10 11:59', assume_sent => true);
			INSERT INTO shop.orders VALUES ('again5', 5, 50, '2037-03-10 12:00');
			SELECT journey.replay('2037-04-15', assume_sent => true);
		});
		is(shop($_[0], $sent =~ s/FROM/FROM (SELECT * FROM/r . q{ WHERE template <> 'earlier') m}), join("\n", '1 win_back_hello 03-03 10:00', '1 win_back_last 03-17 10:00',
			'2 win_back_hello 03-05 15:00', '2 win_back_last 03-19 15:00', '3 win_back_last 03-17 10:00', '4 win_back_hello 03-03 10:00', '5 win_back_hello 03-03 10:00'),
			'win_back_capped: when there is room, within five days, and nobody who ordered');
		is(shop($_[0], q{SELECT contact, cause FROM journey_state.transition WHERE step_no = 0 ORDER BY contact}), join("\n", '1|completed', '2|completed', '3|completed', '4|capped',
			'5|event journey.leave:lapsed_customers', '6|event journey.leave:lapsed_customers'), 'win_back_capped: how the runs ended');
	},
	one_a_day => sub {
		shop($_[0], q{
			SELECT journey.set_timezone(ARRAY['Europe/Berlin']);
			SELECT journey.track(i, 'digest_ready', '{}', '2026-01-05 09:30') FROM generate_series(1, 5) i;
			INSERT INTO shop.carts SELECT i, i, 30, '2026-01-05 09:00' FROM unnest('{2, 3, 5}'::integer[]) i;
			INSERT INTO shop.orders VALUES ('o3', 3, 30, '2026-01-05 09:45');
			INSERT INTO shop.carts VALUES (4, 4, 30, '2026-01-05 14:45'), (55, 5, 30, '2026-01-06 01:30');
			SELECT journey.replay('2026-01-12', assume_sent => true);
		});
		is(shop($_[0], $sent), join("\n", '1 day_digest 01-05 09:30', '2 day_cart 01-05 10:00', '2 day_digest 01-06 07:00', '3 day_digest 01-05 10:01',
			'4 day_digest 01-05 09:30', '4 day_cart 01-06 07:00', '5 day_cart 01-05 10:00', '5 day_cart 01-06 07:00', '5 day_digest 01-07 07:00'),
			'one_a_day: the cart takes the place, the digest waits for a day with room');
	},
	holds => sub {
		# 1 just buys; 2 has an open case for a while, 3 for too long; 4 is being woken up; 5 just got thanks, 6 two days ago
		shop($_[0], q{
			SELECT journey.tick(clock_timestamp());
			SELECT journey.tick(clock_timestamp());
			SELECT journey.track(i, 'case_opened', '{}', '2037-01-05 09:00') FROM unnest('{2,3}'::bigint[]) i;
			SELECT journey.track(4, 'lapsed', '{}', '2037-01-01 09:00');
			INSERT INTO shop.orders SELECT 'o' || i, i, 50, at FROM (VALUES (1, '2037-01-05 12:00'::timestamptz), (5, '2037-01-04 12:00'), (6, '2037-01-03 13:00')) AS o (i, at);
			INSERT INTO shop.carts SELECT i, i, 30, '2037-01-05 12:00' FROM generate_series(2, 6) i;
			INSERT INTO shop.carts VALUES (44, 4, 30, '2037-02-01 12:00');
			SELECT journey.replay('2037-01-05 14:29', assume_sent => true);
			SELECT journey.track(2, 'case_closed', '{}', '2037-01-05 14:30');
			SELECT journey.replay('2037-02-10', assume_sent => true);
		});
		is(shop($_[0], $sent), join("\n", '1 hold_thanks 01-05 12:00', '2 hold_cart 01-05 15:00', '4 hold_wake_up 01-01 09:00', '4 hold_wake_up 01-11 09:00', '4 hold_cart 02-01 13:00',
			'5 hold_thanks 01-04 12:00', '6 hold_thanks 01-03 13:00', '6 hold_cart 01-05 13:00'), 'holds: what goes');
		is(shop($_[0], q{SELECT contact, verdict, reason, count(*) FROM journey_state.verdict WHERE verdict <> 'sent' GROUP BY 1, 2, 3 ORDER BY 1, 2}), join("\n", '2|deferred|held|2', '3|deferred|held|11',
			'3|withheld|held|1', '4|withheld|held|1', '5|withheld|capped|1'), 'holds: and what does not');
	},
	second_purchase => sub {
		# customer 1 orders once, customer 2 again after ten days
		shop($_[0], q{
			INSERT INTO shop.orders SELECT 'a' || i, i, 50, '2026-01-01 12:00' FROM generate_series(1, 40) i;
			INSERT INTO shop.orders SELECT 'b' || i, i, 50, '2026-01-11 12:00' FROM generate_series(21, 40) i;
			SELECT journey.replay('2026-03-01');
		});
		my $arms = shop($_[0], q{SELECT string_agg(format('%s:%s', contact, served_arm), ' ') FROM journey_state.exposure});
		my %held = map { /(\d+):holdout/ ? ($1 => 1) : () } split ' ', $arms;
		is(scalar(split ' ', $arms), 40, 'second_purchase: everybody is exposed once');
		is(shop($_[0], $sent),
			join("\n", map { $held{$_} ? () : ("$_ second_purchase 01-08 12:00", $_ > 20 ? () : "$_ second_purchase_offer 01-22 12:00") } 1 .. 40),
			'second_purchase: an introduction after a week, an offer after three unless ordered');
		is(shop($_[0], 'SELECT count(*) FROM journey_state.conversion'), 20, 'second_purchase: every second order counts, held out or not');
	},
	win_back => sub {
		shop($_[0], q{
			INSERT INTO shop.orders VALUES ('1', 1, 50, '2026-01-01 12:00'), ('2', 2, 50, '2026-01-01 12:00'), ('3', 2, 50, '2026-01-31 12:00'),
				('4', 3, 50, '2026-01-01 12:00'), ('5', 3, 50, '2026-03-09 12:00');
			SELECT journey.replay('2026-05-01');
		});
		is(shop($_[0], $sent), "1 win_back 03-02 12:00\n1 win_back_offer 03-16 12:00\n2 win_back 04-01 12:00\n2 win_back_offer 04-15 12:00\n3 win_back 03-02 12:00",
			'win_back: sixty days after the last order, an offer two weeks later unless ordered');
	},
	thank_you => sub {
		shop($_[0], q{
			INSERT INTO shop.orders VALUES ('1', 1, 999.99, '2026-01-01 12:00'), ('2', 2, 1000, '2026-01-01 12:00'), ('3', 2, 5000, '2026-01-11 12:00'),
				('4', 2, 2000, '2026-02-11 12:00');
			SELECT journey.replay('2026-05-01');
		});
		is(shop($_[0], $sent), "2 thank_you 01-02 12:00\n2 thank_you 02-12 12:00", 'thank_you: large orders, at most one in thirty days');
	},
	cart_recovery => sub {
		shop($_[0], q{
			INSERT INTO shop.carts SELECT i, i, 30, '2026-01-01 12:00' FROM generate_series(1, 40) i;
			UPDATE shop.carts SET total = 40, updated_at = '2026-01-01 12:30' WHERE id > 20;
			INSERT INTO shop.orders SELECT i::text, i, 40, '2026-01-01 12:45' FROM generate_series(31, 40) i;
			SELECT journey.replay('2026-02-01');
		});
		my %held = map { $_ => 1 } split ' ', shop($_[0], q{SELECT string_agg(contact::text, ' ') FROM journey_state.exposure WHERE served_arm = 'holdout'});
		is(shop($_[0], $sent), join("\n", map { $held{$_} ? () : $_ > 20 ? ("$_ cart_reminder 01-01 13:30", "$_ cart_offer 01-02 13:30")
			: ("$_ cart_reminder 01-01 13:00", "$_ cart_offer 01-02 13:00") } 1 .. 30),
			'cart_recovery: an hour after the last change, a day later, never after an order');
	},
);

foreach my $recipe (map { basename($_, '.sql') } sort glob "$root/recipes/*.sql")
{
	ok(exists $expect{$recipe}, "$recipe has an expectation") or next;
	apply($recipe);
	$expect{$recipe}->($recipe);
}

$node->stop;
done_testing();
