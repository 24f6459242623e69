# journey.forecast() while the background worker runs: it looks ahead of the clock,
# by which the worker goes, and the worker goes on afterwards.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../segment";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use Session;

my $node = PostgreSQL::Test::Cluster->new('forecast');
$node->init;
# long naps: what happens soon happens because somebody was woken
$node->append_conf('postgresql.conf', <<'EOC');
timezone = 'UTC'
shared_preload_libraries = 'pg_journey'
pg_journey.engine_naptime = '1h'
EOC
$node->start;

sub shop { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'shop' ]); }

$node->safe_psql('postgres', <<'SQL');
CREATE ROLE shop LOGIN;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text);
INSERT INTO shop.customers SELECT i, 'c' || i || '@shop.example' FROM generate_series(1, 20) i;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', email => 'email', owner => 'shop', slices => 4);
SQL
shop(<<'SQL');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example"}');
SELECT journey.create_template('t', 'email', 's', 'b');
SELECT count(journey.set_consent(id, 'email', 'promotions', true, 'test', '2020-01-01')) FROM shop.customers;
SELECT journey.create_journey('later', 'ON EVENT go WAIT ''2 hours''; SEND email t;');
SELECT journey.create_journey('soon', 'ON EVENT soon SEND email t;');
SELECT journey.activate(name) FROM unnest(ARRAY['later', 'soon']) name;
SQL
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_journey engine'}), 'a worker runs');

shop(q{SELECT count(journey.track(id, 'go')) FROM shop.customers});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 20 FROM journey_state.enrollment'), 'it takes the events in');
is(shop(q{SELECT sum(messages) FROM journey.forecast('1 hour')}), '', 'nothing is due within the hour');
is(shop(q{SELECT journey, channel, verdict, sum(messages) FROM journey.forecast('3 hours') GROUP BY 1, 2, 3}), 'later|email|sent|20', 'all is due within three');
is(shop('SELECT count(*) FROM journey_state.message'), '0', 'and nothing of it was done');

# in one transaction the forecast gives back what it locked, so that the worker can go on
my $session = Session->new($node->connstr('postgres'), 'shop');
$session->rows(q{BEGIN; SELECT count(*) FROM journey.forecast('3 hours')});
shop(q{SELECT count(journey.track(id, 'soon')) FROM shop.customers});
ok($node->poll_query_until('postgres', 'SELECT count(*) = 20 FROM journey_state.message'), 'the worker works while the transaction that asked is open');
$session->rows('COMMIT');
$session->end;
is(shop('SELECT count(*) FROM journey.check() WHERE violations > 0'), '0', 'every law holds');

$node->stop;
done_testing();
