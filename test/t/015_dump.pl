# pg_dump and pg_restore: nothing is lost, nothing is sent, and life goes on.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('original');
$node->init;
$node->append_conf('postgresql.conf', "timezone = 'UTC'");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE shop LOGIN; CREATE ROLE app LOGIN; CREATE DATABASE shopdb');

my $as = sub {
	my ($server, $role, $sql, $database) = @_;
	return $server->safe_psql($database // 'shopdb', $sql, extra_params => [ '-U', $role ]);
};

$node->safe_psql('shopdb', <<'EOC');
CREATE SCHEMA shop AUTHORIZATION shop;
SET SESSION AUTHORIZATION shop;
CREATE TABLE shop.customers (id bigint PRIMARY KEY, email text);
INSERT INTO shop.customers SELECT i, 'c' || i || '@shop.example' FROM generate_series(1, 20) i;
CREATE TABLE shop.orders (id bigint PRIMARY KEY, customer_id bigint, created_at timestamptz);
CREATE TABLE shop.items (gone integer, order_id bigint, sku text);
ALTER TABLE shop.items DROP COLUMN gone;
INSERT INTO shop.orders SELECT 100 + i, i, '2025-06-01' FROM generate_series(1, 5) i;
INSERT INTO shop.items SELECT 100 + i, CASE WHEN i < 4 THEN 'tea' ELSE 'coffee' END FROM generate_series(1, 5) i;
CREATE VIEW shop.recent AS SELECT o.customer_id, o.created_at AS at FROM shop.orders o WHERE o.created_at >= '2025-01-01';
GRANT USAGE ON SCHEMA shop TO app;
GRANT INSERT ON shop.orders TO app;
RESET SESSION AUTHORIZATION;
CREATE EXTENSION pg_journey;
SELECT journey.attach('shop.customers', email => 'email', owner => 'shop');
SELECT journey.issue_site_token();
EOC
$as->($node, 'shop', <<'EOC');
SELECT journey.capture('order', 'shop.orders', 'customer_id', 'created_at');
SELECT journey.create_journey('j', 'ON EVENT "order" REENTRY ALWAYS TOPIC service WAIT ''1 day''; EXIT;');
SELECT journey.activate('j');
SELECT journey.set_timezone('{Europe/London}', at => '2026-01-01');
SELECT journey.create_quiet_hours('night', '21:00', '08:00', countries => '{US-FL}', at => '2026-01-01');
EOC

# what the gate goes by: definitions, and what contacts have said
$as->($node, 'shop', <<'EOC');
SELECT journey.create_channel('email', 'smtp', '{"url": "smtp://localhost:2525", "from": "hi@shop.example"}');
SELECT journey.create_topic('tips', 'educational');
SELECT journey.create_cap('few', 3, '7 days', topics => '{tips,promotions}', look_ahead => '1 hour', at => '2026-01-01');
SELECT journey.create_quota('few', 'promotional', share => 0.5);
SELECT journey.create_entry_cap('at once', 2, journeys => '{j}');
SELECT journey.create_hold('in_j', journey => 'j', lasting => '2 days', except_journeys => '{j}', at => '2026-01-01');
SELECT journey.create_address_rule('allowed', 'info', 'shop.example');
SELECT journey.set_engagement_event('visit', true);
SELECT journey.set_consent(1, 'email', 'promotions', true, 'form', '2026-01-01', 'wording 7', '192.0.2.1');
SELECT journey.withdraw_all(2, 'link', '2026-01-01');
SELECT journey.set_frequency(1, 'email', '*', 'weekly', 'form', '2026-01-01');
SELECT journey.suppress('email', 'c3@shop.example', 'manual', '2026-01-01');
SELECT journey.suppress_contact(4, 'lawyer', at => '2026-01-01');
INSERT INTO journey_state.soft_bounce VALUES ('email', 'c5@shop.example', 2, NULL, '2026-01-01');
INSERT INTO journey_state.engagement_prior VALUES ('email', 2, 8, 100, '2026-01-01');
EOC
my $token = $as->($node, 'shop', "SELECT journey.request_consent(6, 'email', 'tips', 'form', at => '2026-01-01')");

# segments: a table with a dropped column, a view, a link, a literal, one that needs another, renames
$as->($node, 'shop', <<'EOC');
SET search_path = shop;
SELECT journey.create_segment('tea', $$ EXISTS (SELECT FROM orders o JOIN items i ON i.order_id = o.id WHERE o.customer_id = c.id AND i.sku = 'tea') $$, at => '2026-01-01');
SELECT journey.create_segment('lapsed', $$ (SELECT max(r.at) FROM recent r WHERE r.customer_id = c.id) < now() - interval '90 days' $$, timezone => 'Europe/London', at => '2026-01-01');
SELECT journey.create_segment('lapsed tea', $$ journey.in_segment(c.id, 'tea') AND journey.in_segment(c.id, 'lapsed') AND c.email IS NOT NULL $$, at => '2026-01-01');
SELECT journey.create_sunset(at => '2026-01-01');
ALTER TABLE shop.items RENAME COLUMN sku TO article;
ALTER TABLE shop.orders RENAME TO purchases;
ALTER TABLE shop.purchases RENAME TO orders;
EOC
$as->($node, 'app', "INSERT INTO shop.orders VALUES (1, 1, '2026-01-01')");
$as->($node, 'shop', "SELECT * FROM journey.tick('2026-01-01 12:00')");
$as->($node, 'app', "INSERT INTO shop.orders VALUES (2, 2, '2026-01-02')");

my $census = <<'EOC';
SELECT format('%s %s', c.oid::regclass, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n, md5(string_agg(t::text, chr(10) ORDER BY t::text)) AS h FROM %s t', c.oid::regclass), false, true, '')))[1])
FROM pg_class c WHERE c.relnamespace IN ('journey'::regnamespace, 'journey_state'::regnamespace) AND c.relkind IN ('r', 'p') AND c.relname <> 'site_token'
ORDER BY c.oid::regclass::text
EOC
my $before = $node->safe_psql('shopdb', $census);

# whom the statements of segments find, and what is watched, by name
my $found = <<'EOC';
SELECT 'tea', contact FROM journey_state.segment_1_scan('2026-01-02', NULL, 100) WHERE member
UNION ALL SELECT 'lapsed', contact FROM journey_state.segment_2_scan('2026-01-02', NULL, 100) WHERE member
UNION ALL SELECT 'find', contact FROM journey_state.segment_1_scan('2026-01-02', NULL, 100) AS s (contact, member) WHERE NOT member AND contact < 7
ORDER BY 1, 2
EOC
my $watched = <<'EOC';
SELECT w.relation, w.kind, a.attname, s.segment_id,
	(SELECT string_agg(b.attname, ',' ORDER BY b.attname) FROM pg_attribute b WHERE b.attrelid = w.relation AND b.attnum = ANY (s.columns))
FROM journey.watch w JOIN journey.segment_watch s USING (watch_id) LEFT JOIN LATERAL unnest(w.key) AS u (attnum) ON true
LEFT JOIN pg_attribute a ON a.attrelid = w.relation AND a.attnum = u.attnum ORDER BY 4, 1::text, 2, 3
EOC
my $triggers = "SELECT tgrelid::regclass, count(*) FROM pg_trigger WHERE tgfoid = 'journey._mark()'::regprocedure GROUP BY tgrelid ORDER BY tgrelid::regclass::text";
my $found_before = $as->($node, 'shop', $found);
my $watched_before = $as->($node, 'shop', $watched);
my $triggers_before = $as->($node, 'shop', $triggers);
like($watched_before, qr/^items\|link\|order_id\|1\|article,order_id$/m, 'items lead to contacts by their order');

my $copies = PostgreSQL::Test::Cluster->new('copies');
$copies->init;
$copies->append_conf('postgresql.conf', "timezone = 'UTC'");
$copies->start;
$copies->safe_psql('postgres', 'CREATE ROLE shop LOGIN; CREATE ROLE app LOGIN');
my $directory = PostgreSQL::Test::Utils::tempdir;

for my $format ('custom', 'directory', 'plain')
{
	my $database = "from_$format";
	my $dump = "$directory/$format";
	$copies->safe_psql('postgres', "CREATE DATABASE $database");
	$node->command_ok([ 'pg_dump', '-F', $format, '-f', $dump, '-d', $node->connstr('shopdb') ], "$format: dump");
	if ($format eq 'plain')
	{
		$copies->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-d', $copies->connstr($database), '-f', $dump ], "$format: restore");
	}
	else
	{
		$copies->command_ok([ 'pg_restore', '--exit-on-error', '-j', $format eq 'directory' ? 4 : 1, '-d', $copies->connstr($database), $dump ], "$format: restore");
	}
	is($copies->safe_psql($database, $census), $before, "$format: every row is there");
	is($copies->safe_psql($database, 'SELECT count(*) FROM journey.site_token'), '0', "$format: no token");

	my ($rc, undef, $err) = $copies->psql($database, "SELECT * FROM journey.tick('2026-01-03')", extra_params => [ '-U', 'shop', '-v', 'VERBOSITY=verbose' ]);
	isnt($rc, 0, "$format: the engine does not run");
	like($err, qr/PJ003/, "$format: and says that this is a copy");

	is($as->($copies, 'shop', $found, $database), $found_before, "$format: the statements of segments find the same");
	is($as->($copies, 'shop', $triggers, $database), $triggers_before, "$format: the tables are watched");

	# consent is taken of a copy too, its record stays one, and no two of its rows have one number
	is($as->($copies, 'shop', "SELECT journey.confirm_consent('$token', '2026-01-02')", $database), 'confirmed', "$format: a request is confirmed");
	is($as->($copies, 'shop', 'SELECT count(*), count(DISTINCT consent_id) FROM journey_state.consent_log', $database), '3|3', "$format: consent goes on");
	($rc, undef, $err) = $copies->psql($database, 'DELETE FROM journey_state.consent_log', extra_params => [ '-U', 'shop' ]);
	like($err, qr/append only/, "$format: its record is append only");

	# the shop's side goes on meanwhile
	$as->($copies, 'app', "INSERT INTO shop.orders VALUES (3, 3, '2026-01-03')", $database);
	is($as->($copies, 'shop', 'SELECT count(*), count(xid) FROM journey_state.event', $database), '3|2', "$format: events wait");

	# once adopted: what was processed stays so, the others are processed once
	$as->($copies, 'shop', 'SELECT journey.adopt()', $database);
	$as->($copies, 'app', "INSERT INTO shop.orders VALUES (4, 4, '2026-01-04')", $database);
	$as->($copies, 'shop', "SELECT * FROM journey.tick('2026-01-04'); SELECT * FROM journey.tick('2026-01-04')", $database);
	is($as->($copies, 'shop', 'SELECT contact, count(*) FROM journey_state.enrollment GROUP BY 1 ORDER BY 1', $database), "1|1\n2|1\n3|1\n4|1", "$format: each event started one run");
	is($as->($copies, 'shop', $watched, $database), $watched_before, "$format: watched columns are found anew");
	is($as->($copies, 'shop', 'SELECT name, status, error FROM journey.segment WHERE status = $$suspended$$', $database), '', "$format: no segment is suspended");
	is($as->($copies, 'shop', "SELECT journey.create_journey('k', 'ON CALL TOPIC service EXIT;')", $database), '1', "$format: ids go on");
	is($as->($copies, 'shop', "SELECT journey.capture('again', 'shop.orders', 'customer_id')", $database), '2', "$format: ids go on");

	# memberships are those of now, and changes move them
	my $members = sub {
		1 while $as->($copies, 'shop', 'SELECT more FROM journey.tick()', $database) eq 't';
		return $as->($copies, 'shop', "SELECT string_agg(contact::text, ' ' ORDER BY contact) FROM journey.segment_member WHERE segment = 'tea'", $database);
	};
	is($members->(), '1 2 3', "$format: memberships after adopting");
	$as->($copies, 'shop', "UPDATE shop.items SET article = 'tea' WHERE order_id = 105; DELETE FROM shop.items WHERE order_id = 101", $database);
	is($members->(), '2 3 5', "$format: changes are followed");
	is($as->($copies, 'shop', 'SELECT law, example FROM journey.check() WHERE violations > 0', $database), '', "$format: journey.check()");
}

# a template copy in the same cluster brings the token along, but not the right to send
$node->safe_psql('postgres', 'CREATE DATABASE clone TEMPLATE shopdb');
is($node->safe_psql('clone', 'SELECT count(*) FROM journey.site_token'), '1', 'a template copy has the token');
my ($rc, undef, $err) = $node->psql('clone', "SELECT * FROM journey.tick('2026-01-03')", extra_params => [ '-U', 'shop', '-v', 'VERBOSITY=verbose' ]);
like($err, qr/PJ003/, 'a template copy does not run');
$as->($node, 'shop', 'SELECT journey.adopt()', 'clone');
is($node->safe_psql('clone', 'SELECT count(*) FROM journey.site_token'), '0', 'adopting it voids the token');
$as->($node, 'shop', "SELECT * FROM journey.tick('2026-01-03')", 'clone');
is($as->($node, 'shop', $watched, 'clone'), $watched_before, 'and its segments are compiled anew');

# DROP EXTENSION leaves the state, and a new one takes it over
my $events = $node->safe_psql('shopdb', 'SELECT count(*) FROM journey_state.event');
$node->safe_psql('shopdb', "SELECT journey.detach(); DROP EXTENSION pg_journey; CREATE EXTENSION pg_journey; SELECT journey.attach('shop.customers', email => 'email', owner => 'shop')");
is($node->safe_psql('shopdb', 'SELECT count(*) FROM journey_state.event'), $events, 'state survives the extension');

done_testing();
