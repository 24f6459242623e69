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
		CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text NOT NULL);
		CREATE TABLE shop.orders (number text PRIMARY KEY, customer_id bigint NOT NULL, total numeric NOT NULL, created_at timestamptz NOT NULL);
		CREATE TABLE shop.carts (id bigint PRIMARY KEY, customer_id bigint NOT NULL, total numeric NOT NULL, updated_at timestamptz NOT NULL);
		INSERT INTO shop.customers SELECT i, 'c' || i || '@customers.example' FROM generate_series(1, 40) i;
		RESET SESSION AUTHORIZATION;
		CREATE EXTENSION pg_journey;
		SELECT journey.attach('shop.customers', key => 'id', email => 'email', owner => 'shop');
	});
	shop(
		$recipe, q{
		SELECT journey.capture('order_placed', 'shop.orders', contact => 'customer_id', at => 'created_at',
			properties => $$ jsonb_build_object('number', new.number, 'total', new.total) $$);
		SELECT journey.capture('checkout_started', 'shop.carts', contact => 'customer_id', at => 'updated_at', operations => 'INSERT OR UPDATE',
			properties => $$ jsonb_build_object('cart_id', new.id, 'total', new.total) $$);
		SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://127.0.0.1:2525", "from": "shop@shop.example"}');
		SELECT journey.set_consent(id, 'email', 'promotions', true, 'test', at => '2025-01-01') FROM shop.customers;
	} . slurp_file("$root/recipes/$recipe.sql"));
	return;
}

# what was decided for whom: template and time, for those treated
my $sent = q{
	SELECT string_agg(format('%s %s %s', contact, template, to_char(decided_at, 'MM-DD HH24:MI')), E'\n' ORDER BY contact, decided_at)
	FROM journey_state.message
};

my %expect = (
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
