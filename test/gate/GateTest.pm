# A shop with customers, an e-mail channel and a template, for tests that let many
# callers at the gate at once.
package GateTest;

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

# customers: the query that makes them (id, email); slices; conf: lines of
# postgresql.conf; each has consented to promotions in 2020
sub new
{
	my ($class, %shop) = @_;
	my $node = PostgreSQL::Test::Cluster->new('main');
	$node->init;
	$node->append_conf('postgresql.conf', "fsync = off\nmax_connections = 60\n" . ($shop{conf} // ''));
	$node->start;
	my $self = bless { node => $node }, $class;
	$node->safe_psql('postgres', <<"SQL");
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text);
INSERT INTO shop.customers $shop{customers};
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', email => 'email', owner => 'shop', slices => $shop{slices});
SQL
	$self->{token} = $self->shop('SELECT journey.issue_site_token()');
	$self->shop(<<'SQL');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example"}');
SELECT journey.create_template('t', 'email', 's', 'b');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'test', '2020-01-01')) FROM shop.customers;
SQL
	return $self;
}

sub shop
{
	my ($self, $sql) = @_;
	return $self->{node}->safe_psql('postgres', $sql, extra_params => [ '-U', 'shop' ]);
}

sub pgbench
{
	my ($self, $options, $what, $scripts) = @_;
	$self->{node}->pgbench("--no-vacuum --jobs=2 --username=shop $options", 0, [qr{processed: \d+/\d+}], [qr{^$}], $what, $scripts);
	return;
}

# what each relay does first
sub open_relay
{
	my ($self, $name) = @_;
	return "SELECT journey.open_relay($name, '$self->{token}');";
}

sub claim_rest
{
	my ($self, $at) = @_;
	$self->shop($self->open_relay("'last'") . " SELECT count(*) FROM journey.claim('last', 10000, at => $at)");
	return;
}

sub tick_rest
{
	my ($self) = @_;
	$self->shop('SELECT * FROM journey.tick()') while $self->shop('SELECT count(*) FROM journey._due(clock_timestamp()) WHERE due') > 0;
	return;
}

# pgbench goes on after a deadlock
sub nobody_waited_in_a_circle
{
	my ($self) = @_;
	unlike(slurp_file($self->{node}->logfile), qr/deadlock detected/, 'nobody waited in a circle');
	return;
}

sub every_law_holds
{
	my ($self) = @_;
	is($self->shop('SELECT law || violations FROM journey.check() WHERE violations > 0'), '', 'every law holds');
	return;
}

1;
