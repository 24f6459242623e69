# In Turkish the small letter of I is not i.  Domains, suppressed addresses, rules of
# addresses and countries are the same in a database of that language.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('turkish');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN');
if ($node->psql('postgres', "CREATE DATABASE shop TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'tr' LOCALE 'C'") != 0)
{
	plan skip_all => 'the server has no ICU';
}
is($node->safe_psql('shop', "SELECT lower('I') = 'i'"), 'f', 'the database is Turkish');

$node->safe_psql('shop', <<'EOC');
CREATE EXTENSION pg_journey;
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text, country text);
INSERT INTO shop.customers VALUES (1, 'Isik@GMAIL.COM', 'it'), (2, 'INFO@shop.example', 'IT'), (3, 'SINIR@I.EXAMPLE', 'IT'), (4, 'VIP@shop.example', 'IT');
RESET SESSION AUTHORIZATION;
SELECT journey.attach('shop.customers', key => 'id', email => 'email', country => 'country', owner => 'shop');
SET SESSION AUTHORIZATION shop;
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "Shop <hi@shop.example>"}');
SELECT journey.create_topic('news', 'promotional');
SELECT journey.create_template('hello', channel => 'email', subject => 'Hello', body => 'Hello');
SELECT journey.create_journey('visit', 'ON EVENT visited TOPIC news SEND email hello;');
SELECT journey.activate('visit');
SELECT journey.set_consent(i, 'email', 'news', true, 'test', '2026-01-01') FROM generate_series(1::bigint, 4) AS i;
SELECT journey.suppress('email', 'sinir@i.example', 'manual', '2026-01-01');
SELECT journey.create_address_rule('fake', 'VIP');
SELECT journey.create_quiet_hours('night', '20:00', '08:00', countries => '{it}');
SELECT journey.create_cap('one', 1, '1 day', countries => '{it}');
EOC
my @shop = (extra_params => [ '-U', 'shop' ]);
$node->safe_psql('shop', "SELECT journey.track(i, 'visited', '{}', '2026-01-05 12:00') FROM generate_series(1::bigint, 4) AS i", @shop);
$node->safe_psql('shop', "SELECT journey.tick('2026-01-05 12:00')", @shop);
is($node->safe_psql('shop', "SELECT contact, evidence ->> 'address', verdict FROM journey_state.verdict", @shop),
	'1|Isik@gmail.com|sent', 'the domain is the one that was meant');
is($node->safe_psql('shop', 'SELECT contact, reason FROM journey_state.refusal ORDER BY contact', @shop),
	"2|bad_address\n3|suppressed\n4|bad_address", 'addresses are known in capitals');
is($node->safe_psql('shop', "SELECT i, journey.quiet_until(i, 'email', 'news', '2026-01-05 22:00') FROM generate_series(1::bigint, 2) AS i", @shop),
	"1|2026-01-06 08:00:00+00\n2|2026-01-06 08:00:00+00", 'countries are known in small letters');
is($node->safe_psql('shop', "SELECT name, countries FROM journey.cap", @shop), 'one|{IT}', 'also those of a cap');
is($node->safe_psql('shop', "SELECT journey.unsuppress('email', 'SINIR\@I.EXAMPLE')", @shop), 't', 'a suppression is found in capitals');
$node->safe_psql('shop', "SELECT journey.drop_address_rule('VIP')", @shop);
$node->stop;
done_testing();
