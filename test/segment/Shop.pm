# A random shop, and what happens in it.
#
# All tables are small and crowded: contacts share emails and referrers, orders
# and items are moved about, keys are null or lead nowhere, and times lie around
# "now" at distances that the predicates' intervals have too.
package Shop;
use strict;
use warnings;

use Predicate qw(@interval @zone);
use Random;

my @start = (
	'2026-03-28 20:00+00', '2026-10-24 20:00+00',	# London
	'2026-03-07 20:00+00', '2026-10-31 20:00+00',	# New York
	'2026-04-04 10:00+00', '2026-10-03 10:00+00',	# Lord Howe, by half an hour
	'2011-12-29 06:00+00', '2012-03-31 06:00+00',	# Apia: a day that was left out; the end of DST
	'2028-02-27 12:00+00', '2027-02-26 12:00+00', '2026-12-30 12:00+00', '2026-01-30 00:00+00', '2026-06-15 09:30:00.5+00');
my @email = map { my $n = $_; ("c$n\@shop.example", "C$n\@Shop.example") } 1 .. 12;

sub new
{
	my ($class, $sql) = @_;
	my $self = bless {
		sql => $sql,
		contacts => between(12, 40),
		orders => 0,
		items => 0,
		views => 0,
		key_type => pick('bigint', 'bigint', 'integer', 'text', 'uuid'),
		start => pick(@start),
		made => 0,
	}, $class;
	$self->{next_contact} = $self->{contacts} + 1;
	$self->{now} = $self->{start};
	return $self;
}

sub ddl
{
	my ($self) = @_;
	my $k = $self->{key_type};
	return qq{
CREATE TABLE contacts (id $k PRIMARY KEY, email text, tz text, country text, tier text, level integer, score numeric, vip boolean,
	birthday date, renewal date, created_at timestamptz NOT NULL, last_seen_at timestamptz, local_at timestamp, patience interval, referrer_id $k, tags text[]);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id $k, total numeric, lines integer, status text, gift boolean, due date,
	created_at timestamptz, shipped_at timestamptz, placed_local timestamp, grace interval);
CREATE TABLE order_items (id bigint PRIMARY KEY, order_id bigint, product_id integer, qty integer, price numeric, returned_at timestamptz);
CREATE TABLE products (id integer PRIMARY KEY, category text, launched date, price numeric);
CREATE TABLE carts (id bigint PRIMARY KEY, customer_id $k, total numeric, abandoned boolean, updated_at timestamptz, ttl interval);
CREATE TABLE page_views (id bigint, visitor $k, url text, seconds integer, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE page_views_old PARTITION OF page_views FOR VALUES FROM (MINVALUE) TO ('$self->{start}') PARTITION BY LIST (url);
CREATE TABLE page_views_old_root PARTITION OF page_views_old FOR VALUES IN ('/');
CREATE TABLE page_views_old_rest PARTITION OF page_views_old DEFAULT;
CREATE TABLE page_views_new PARTITION OF page_views FOR VALUES FROM ('$self->{start}') TO (MAXVALUE);
CREATE TABLE newsletter (email text, subscribed_at timestamptz, unsubscribed_at timestamptz, confirmed boolean);
CREATE TABLE banned (customer_id $k, until timestamptz);
CREATE TABLE tiers (name text PRIMARY KEY, min_total numeric, span interval, days integer, active boolean, starts_at timestamptz);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON order_items (order_id);

CREATE SCHEMA oracle;
CREATE FUNCTION oracle.now() RETURNS timestamptz STABLE LANGUAGE sql RETURN current_setting('oracle.now')::timestamptz;
CREATE FUNCTION oracle.age(timestamptz) RETURNS interval STABLE LANGUAGE sql RETURN age(oracle.now()::date::timestamptz, \$1);
CREATE FUNCTION oracle.age(timestamp) RETURNS interval STABLE LANGUAGE sql RETURN age(oracle.now()::date::timestamp, \$1);
} . join '', map {
			my ($schema, $now) = @$_;
			qq{
CREATE VIEW $schema.paid_orders AS SELECT * FROM orders WHERE status = 'paid' AND total > 0;
CREATE VIEW $schema.recent_lines AS SELECT o.customer_id, i.returned_at, i.price, i.qty FROM orders o JOIN order_items i ON i.order_id = o.id WHERE o.created_at > $now - interval '30 days';
CREATE FUNCTION $schema.orders_of($k) RETURNS SETOF orders STABLE LANGUAGE sql } . ($schema eq 'oracle' ? 'BEGIN ATOMIC ' : q{AS '}) . 'SELECT * FROM public.orders o WHERE o.customer_id = $1 AND o.total > 20' . ($schema eq 'oracle' ? '; END' : q{'}) . qq{;
CREATE FUNCTION $schema.is_recent(timestamptz, interval) RETURNS boolean STABLE LANGUAGE sql AS 'SELECT \$1 > $now - \$2';
CREATE FUNCTION $schema.spent($k) RETURNS numeric STABLE LANGUAGE sql RETURN (SELECT coalesce(sum(o.total), 0) FROM orders o WHERE o.customer_id = \$1);
}
		} ([ 'public', 'now()' ], [ 'oracle', 'oracle.now()' ]);
}

# -------- values, as SQL --------

sub maybe { my ($p, $sql) = @_; return chance($p) ? $sql : 'NULL'; }

sub key
{
	my ($self, $n) = @_;
	my $k = $self->{key_type};
	return $n if $k =~ /int/;
	return "'k$n'" if $k eq 'text';
	return "md5('k$n')::uuid";
}

# a contact that is there, mostly
sub contact { my ($self) = @_; return $self->key(between(1, weighted(1 => $self->{next_contact} + 3, 5 => $self->{next_contact}, 4 => 8))); }

sub instant
{
	my ($self) = @_;
	my $at = "'$self->{now}'::timestamptz";
	return weighted(
		3 => $at,
		8 => "$at - interval '" . pick(@interval) . "'",
		2 => "$at + interval '" . pick(@interval) . "'",
		4 => "$at - interval '" . between(0, 60) . ' days ' . between(0, 86399) . " seconds'",
		3 => "$at - interval '" . between(0, 800) . " days'",
		3 => "$at + interval '" . between(0, 90) . ' days ' . between(0, 1439) . " minutes'",
		2 => "date_trunc('" . pick('hour', 'day', 'month') . "', $at - interval '" . between(0, 60) . " days')",
		2 => "$at - interval '" . pick(@interval) . "' + interval '" . pick(-1, 1) . " microsecond'");
}

sub date { my ($self) = @_; return '(' . $self->instant . ')::date' . pick('', ' - 365', ' + 20'); }
sub local { my ($self) = @_; return '(' . $self->instant . ") AT TIME ZONE '" . pick(@zone) . "'"; }
sub amount { return between(0, 150); }
sub text { return "'" . pick(@_) . "'"; }
sub span { return "interval '" . pick(grep { !/-/ } @interval) . "'"; }

my %value = (
	contacts => {
		email => sub { maybe(0.9, text(@email)) }, tz => sub { text(@zone) }, country => sub { maybe(0.9, text('GB', 'FR', 'US')) }, tier => sub { maybe(0.9, text('gold', 'silver', 'none')) },
		level => sub { between(0, 5) }, score => sub { maybe(0.9, amount()) }, vip => sub { maybe(0.9, pick('true', 'false')) },
		birthday => sub { maybe(0.8, $_[0]->date . pick('', ' - 3650', ' - 9131')) }, renewal => sub { maybe(0.8, $_[0]->date) },
		created_at => sub { $_[0]->instant }, last_seen_at => sub { maybe(0.8, $_[0]->instant) }, local_at => sub { maybe(0.9, $_[0]->local) },
		patience => sub { maybe(0.9, span()) }, referrer_id => sub { maybe(0.7, $_[0]->contact) }, tags => sub { maybe(0.9, text('{}', '{vip}', '{new}', '{new,vip}', '{old,gone}')) }
	},
	orders => {
		customer_id => sub { maybe(0.95, $_[0]->contact) }, total => sub { maybe(0.95, amount()) }, lines => sub { between(0, 4) }, status => sub { maybe(0.95, text('paid', 'paid', 'open', 'sent', 'void')) },
		gift => sub { maybe(0.9, pick('true', 'false')) }, due => sub { maybe(0.9, $_[0]->date) }, created_at => sub { maybe(0.97, $_[0]->instant) },
		shipped_at => sub { maybe(0.6, $_[0]->instant) }, placed_local => sub { maybe(0.9, $_[0]->local) }, grace => sub { maybe(0.9, span()) }
	},
	order_items => {
		order_id => sub { maybe(0.97, between(1, 5 + $_[0]{orders})) }, product_id => sub { between(1, 7) }, qty => sub { between(0, 5) },
		price => sub { maybe(0.95, amount()) }, returned_at => sub { maybe(0.5, $_[0]->instant) }
	},
	products => { category => sub { text('tea', 'cup', 'pot') }, launched => sub { $_[0]->date }, price => sub { amount() } },
	carts => {
		customer_id => sub { maybe(0.95, $_[0]->contact) }, total => sub { maybe(0.95, amount()) }, abandoned => sub { maybe(0.9, pick('true', 'false')) },
		updated_at => sub { maybe(0.97, $_[0]->instant) }, ttl => sub { maybe(0.9, span()) }
	},
	page_views => { visitor => sub { maybe(0.95, $_[0]->contact) }, url => sub { text('/', '/tea', '/cart') }, seconds => sub { between(0, 5) }, at => sub { $_[0]->instant } },
	newsletter => { email => sub { maybe(0.95, text(@email)) }, subscribed_at => sub { maybe(0.95, $_[0]->instant) }, unsubscribed_at => sub { maybe(0.4, $_[0]->instant) }, confirmed => sub { maybe(0.9, pick('true', 'false')) } },
	banned => { customer_id => sub { maybe(0.93, $_[0]->contact) }, until => sub { maybe(0.9, $_[0]->instant) } },
	tiers => { min_total => sub { amount() }, span => sub { span() }, days => sub { between(1, 60) }, active => sub { pick('true', 'false') }, starts_at => sub { $_[0]->instant } },
);
my %id = (orders => 'orders', order_items => 'items', carts => 'carts', page_views => 'views');

sub row
{
	my ($self, $table, $fixed) = @_;
	my %row = %{ $fixed // {} };
	$row{id} = ++$self->{ $id{$table} } if $id{$table} && !exists $row{id};
	$row{$_} //= $value{$table}{$_}->($self) for sort keys %{ $value{$table} };
	return \%row;
}

sub insert
{
	my ($self, $table, @rows) = @_;
	my @columns = sort keys %{ $rows[0] };
	return "INSERT INTO $table (" . join(', ', @columns) . ') VALUES ' . join(', ', map { my $r = $_; '(' . join(', ', map { $r->{$_} } @columns) . ')' } @rows);
}

sub fill
{
	my ($self) = @_;
	my @sql;
	push @sql, $self->insert('tiers', map { $self->row('tiers', { name => "'$_'" }) } qw(gold silver bronze));
	push @sql, $self->insert('products', map { $self->row('products', { id => $_ }) } 1 .. 6);
	push @sql, $self->insert('contacts', map { $self->row('contacts', { id => $self->key($_) }) } 1 .. $self->{contacts});
	my %rows = (orders => 2.5, order_items => 4, carts => 1, page_views => 3, newsletter => 0.5, banned => 0.2);
	foreach my $table (sort keys %rows)
	{
		push @sql, $self->insert($table, map { $self->row($table) } 1 .. 1 + int($rows{$table} * $self->{contacts}));
	}
	return @sql;
}

# -------- changes --------

# What says which rows are meant; few, mostly.
sub some
{
	my ($self, $table) = @_;
	return 'customer_id IS NULL' if $table eq 'banned' && chance(0.3);
	return 'email = ' . text(@email) if $table eq 'newsletter';
	return 'name = ' . text('gold', 'silver') if $table eq 'tiers';
	return 'id = ' . between(1, 6) if $table eq 'products';
	my $key = $table eq 'page_views' ? 'visitor' : 'customer_id';
	return 'id = ' . $self->contact if $table eq 'contacts';
	return weighted(5 => 'id = ' . between(1, $self->{ $id{$table} }), 1 => 'id % 7 = ' . between(0, 6)) if $table eq 'order_items';
	return "$key = " . $self->contact if $table eq 'banned';
	return weighted(5 => 'id = ' . between(1, $self->{ $id{$table} }), 3 => "$key = " . $self->contact, 1 => 'id % 7 = ' . between(0, 6), 1 => "$key IS NULL");
}

sub assignments
{
	my ($self, $table) = @_;
	my @columns = sort keys %{ $value{$table} };
	my %set;
	$set{ pick(@columns) } = 1 for 1 .. between(1, 2);
	return join ', ', map { "$_ = " . $value{$table}{$_}->($self) } sort keys %set;
}

sub table { return weighted(8 => 'orders', 4 => 'order_items', 5 => 'contacts', 3 => 'carts', 3 => 'page_views', 2 => 'newsletter', 2 => 'banned', 1 => 'tiers', 1 => 'products'); }

# One change; a list of statements.
sub change
{
	my ($self) = @_;
	my $t = table();
	$self->{made}++;
	return weighted(
		8 => sub {
			return ($self->insert('contacts', $self->row('contacts', { id => $self->key($self->{next_contact}++) }))) if $t eq 'contacts';
			return ($self->update($t)) if $t eq 'tiers' || $t eq 'products';
			return ($self->insert($t, map { $self->row($t) } 1 .. between(1, 4)));
		},
		8 => sub { return ($self->update($t)); },
		4 => sub { return ($self->update($t)) if $t eq 'tiers'; return ("DELETE FROM $t WHERE " . $self->some($t)); },
		1 => sub { my $c = $self->contact; return ("DELETE FROM contacts WHERE id = $c", "DELETE FROM orders WHERE customer_id = $c"); },
		1 => sub { return ('UPDATE orders SET total = total + 1', 'UPDATE orders SET ' . $self->assignments('orders')); },
		1 => sub { return ('UPDATE contacts SET ' . $self->assignments('contacts')); },
		1 => sub { return ('UPDATE page_views SET at = at + ' . span() . ' WHERE id % 3 = 0'); },
		1 => sub { return ("UPDATE orders SET customer_id = " . $self->contact . ' WHERE customer_id = ' . $self->contact); },
		1 => sub { return ("UPDATE order_items SET order_id = " . between(1, $self->{orders}) . ' WHERE order_id = ' . between(1, $self->{orders})); },
		1 => sub { return ('UPDATE orders SET id = id + 1000000 WHERE ' . $self->some('orders')) if chance(0.5); return ('UPDATE orders SET id = ' . ++$self->{orders} . ' WHERE id = ' . between(1, $self->{orders})); },
		1 => sub { return ('UPDATE contacts SET id = ' . $self->key($self->{next_contact}++) . ' WHERE id = ' . $self->contact); },
		1 => sub { return ('UPDATE contacts SET email = ' . text(@email) . ' WHERE email = ' . text(@email)); },
		1 => sub { return ('TRUNCATE ' . pick('banned', 'newsletter', 'carts', 'banned, carts', 'page_views_old_root')); },
		1 => sub { return ($self->copy); },
		1 => sub { return ("INSERT INTO page_views_new (id, visitor, url, seconds, at) SELECT " . ++$self->{views} . ', ' . $self->contact . ", '/tea', 2, greatest('$self->{start}', " . $self->instant . ')'); },
		1 => sub { return ('DELETE FROM page_views_old_rest WHERE visitor = ' . $self->contact); },
		1 => sub { return ('UPDATE page_views_old SET url = ' . text('/', '/tea') . ' WHERE visitor = ' . $self->contact); },
		1 => sub {
			my $row = $self->row('orders', { id => between(1, 3 + $self->{orders}) });
			return ($self->insert('orders', $row) . ' ON CONFLICT (id) DO ' . pick('NOTHING', 'UPDATE SET total = excluded.total, created_at = excluded.created_at', 'UPDATE SET customer_id = excluded.customer_id'));
		},
		1 => sub {
			return ("MERGE INTO carts USING (SELECT id, total, customer_id FROM orders WHERE id % 5 = " . between(0, 4) . ") o ON carts.id = o.id WHEN MATCHED AND o.total > 75 THEN DELETE
				WHEN MATCHED THEN UPDATE SET total = o.total, updated_at = " . $self->instant . " WHEN NOT MATCHED THEN INSERT (id, customer_id, total, updated_at) VALUES (o.id, o.customer_id, o.total, " . $self->instant . ')');
		},
		1 => sub { return ('WITH gone AS (DELETE FROM orders WHERE ' . $self->some('orders') . ' RETURNING customer_id) UPDATE contacts SET score = coalesce(score, 0) + 10 FROM gone WHERE id = gone.customer_id'); },
		1 => sub { return ("ALTER TABLE page_views DETACH PARTITION page_views_new", 'UPDATE page_views_new SET visitor = ' . $self->contact . ' WHERE id % 3 = 1', "ALTER TABLE page_views ATTACH PARTITION page_views_new FOR VALUES FROM ('$self->{start}') TO (MAXVALUE)"); },
		6 => sub { return ('SELECT journey.track(' . $self->contact . "::$self->{key_type}, " . text('opened', 'clicked', 'visited', 'other') . ', at => ' . $self->instant . ')'); },
	)->();
}

sub update
{
	my ($self, $table) = @_;
	return "UPDATE $table SET " . $self->assignments($table) . ' WHERE ' . $self->some($table);
}

sub copy
{
	my ($self) = @_;
	return join "\n", 'COPY banned (customer_id) FROM STDIN;',
	  (map { my $n = between(1, $self->{next_contact}); $self->{key_type} =~ /int/ ? $n : $self->{key_type} eq 'text' ? "k$n" : '00000000-0000-0000-0000-00000000000' . $n % 10 } 1 .. between(1, 3)),
	  "\\.\n" if chance(0.5);
	return join "\n", 'COPY order_items (id, order_id, product_id, qty, price, returned_at) FROM STDIN;',
	  (map { join "\t", ++$self->{items}, between(1, $self->{orders}), between(1, 7), between(0, 5), amount(), pick('\N', $self->{now}) } 1 .. between(1, 4)), "\\.\n";
}

# What is renamed, and back: [there, back] each.
sub renamed
{
	return pick(
		[ 'ALTER TABLE orders RENAME TO purchases', 'ALTER TABLE purchases RENAME TO orders', 'UPDATE purchases SET total = 150 - total, created_at = created_at - interval \'1 day\' WHERE id % 4 = 1' ],
		[ 'ALTER TABLE orders RENAME customer_id TO buyer', 'ALTER TABLE orders RENAME buyer TO customer_id', 'UPDATE orders SET total = 150 - total, buyer = NULL WHERE id % 9 = 1' ],
		[ 'ALTER TABLE order_items RENAME order_id TO purchase', 'ALTER TABLE order_items RENAME purchase TO order_id', 'DELETE FROM order_items WHERE purchase % 9 = 1' ],
		[ 'ALTER TABLE contacts RENAME created_at TO since', 'ALTER TABLE contacts RENAME since TO created_at', "UPDATE contacts SET since = since + interval '1 day', vip = NOT vip" ],
		[ 'ALTER TABLE contacts RENAME TO people', 'ALTER TABLE people RENAME TO contacts', 'UPDATE people SET level = 5 - level, score = 150 - score' ]);
}

1;
