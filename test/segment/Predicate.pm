# Random predicates over the shop of Shop.pm.
#
# What reads the clock is a mark in the text: {now} {today} {local} {clock} {age}
# {v}, {segment NAME KEY}.  subject() makes of it what is given to
# create_segment(), oracle() the same condition over a time of the oracle's own;
# nothing else tells the two apart, and neither is read by anything but
# PostgreSQL's own parser.
package Predicate;
use strict;
use warnings;

use Exporter 'import';
use Random;
our @EXPORT_OK = qw(predicate subject oracle @interval @zone);

our @zone = qw(UTC Europe/London America/New_York Australia/Lord_Howe Pacific/Apia);
our @interval = (
	'30 minutes', '1 hour', '5 hours', '24 hours', '36 hours', '1 day', '2 days', '7 days', '30 days', '90 days',
	'1 month', '2 months', '3 months', '1 year', '2 years', '1 day 3 hours', '1 month 2 days', '1 month -1 day', '-1 day',
	'-2 hours', '1 year -1 month', '1 microsecond');
my @unit = qw(hour day week month quarter year);

# Columns by type.  ts: timestamptz, lts: timestamp, key: a contact's.
my %columns = (
	contacts => {
		ts => [qw(created_at last_seen_at)], lts => ['local_at'], date => [qw(birthday renewal)], num => ['score'], int => ['level'],
		text => [qw(country tier)], bool => ['vip'], ival => ['patience'], key => [qw(id referrer_id)]
	},
	orders => {
		ts => [qw(created_at shipped_at)], lts => ['placed_local'], date => ['due'], num => ['total'], int => ['lines'],
		text => ['status'], bool => ['gift'], ival => ['grace'], key => ['customer_id']
	},
	order_items => { ts => ['returned_at'], num => ['price'], int => ['qty'] },
	products => { date => ['launched'], num => ['price'], text => ['category'] },
	carts => { ts => ['updated_at'], num => ['total'], bool => ['abandoned'], ival => ['ttl'], key => ['customer_id'] },
	page_views => { ts => ['at'], int => ['seconds'], text => ['url'], key => ['visitor'] },
	newsletter => { ts => [qw(subscribed_at unsubscribed_at)], bool => ['confirmed'] },
	banned => { ts => ['until'], key => ['customer_id'] },
	event => { ts => ['at'], text => ['name'], key => ['contact'] },
	tiers => { ts => ['starts_at'], num => ['min_total'], ival => ['span'], int => ['days'], bool => ['active'] },
);
my %value = (
	country => [ 'GB', 'FR', 'US' ], tier => [ 'gold', 'silver', 'none' ], status => [ 'paid', 'open', 'sent', 'void' ],
	category => [ 'tea', 'cup', 'pot' ], url => [ '/', '/tea', '/cart' ], name => [ 'opened', 'clicked', 'visited' ]);
my @tier = qw(gold silver);

my $names;	# the last alias used
my $segments;	# names of segments that may be asked for
my $own_only;	# of the contact itself

sub alias { return 'x' . ++$names; }

# A predicate over c: (text, segments it asks for, by name).
sub predicate
{
	my ($askable, $own) = @_;
	$names = 0;
	$own_only = $own;
	$segments = $askable // [];
	my $text = condition([ [ 'c', 'contacts' ] ], 0);
	my %needs;
	$needs{$1} = 1 while $text =~ /\{segment (\w+) /g;
	return ($text, sort keys %needs);
}

sub subject
{
	my ($text) = @_;
	my %as = (now => 'now()', current => 'current_timestamp', transaction => 'transaction_timestamp()', today => 'current_date',
		local => 'localtimestamp', clock => 'localtime', age => 'age', v => 'public.');
	$text =~ s/\{segment (\w+) ([\w.]+)\}/journey.in_segment($2, '$1')/g;
	$text =~ s/\{(\w+)\}/$as{$1} \/\/ die $1/ge;
	return $text;
}

# texts: name of a segment => its text with marks
sub oracle
{
	my ($text, $texts) = @_;
	my %as = (now => 'oracle.now()', current => 'oracle.now()', transaction => 'oracle.now()', today => 'oracle.now()::date',
		local => 'oracle.now()::timestamp', clock => 'oracle.now()::timestamp::time', age => 'oracle.age', v => 'oracle.');
	1 while $text =~ s/\{segment (\w+) ([\w.]+)\}/(SELECT coalesce(bool_or($texts->{$1}), false) FROM (SELECT m.* FROM contacts m WHERE m.id = $2) c)/;
	$text =~ s/\{(\w+)\}/$as{$1} \/\/ die $1/ge;
	return $text;
}

# -------- terms --------

# A column of some alias of the scope; the nearest ones more often.
sub column
{
	my ($scope, @types) = @_;
	my @found;
	foreach my $i (0 .. $#$scope)
	{
		my ($alias, $table) = @{ $scope->[$i] };
		foreach my $type (@types)
		{
			push @found, map { "$alias.$_" } (@{ $columns{$table}{$type} // [] }) x ($i == $#$scope ? 3 : 1);
		}
	}
	return @found ? pick(@found) : undef;
}

sub comparison { return weighted(6 => pick('<', '<=', '>', '>='), 1 => pick('=', '<>')); }

sub now_ { return '{' . weighted(6 => 'now', 1 => 'current', 1 => 'transaction') . '}'; }

sub interval_
{
	my ($scope) = @_;
	my $i = pick(@interval);
	my $column = column($scope, 'ival');
	return weighted(
		14 => "interval '$i'",
		1 => "'$i'::interval",
		1 => between(1, 40) . " * interval '1 day'",
		1 => 'make_interval(days => ' . between(1, 40) . ')',
		1 => "(interval '$i' + interval '" . pick(@interval) . "')",
		1 => "(CASE WHEN c.vip THEN interval '$i' ELSE interval '" . pick(@interval) . "' END)",
		2 => $column ? $column : "interval '$i'",
		1 => "c.level * interval '1 day'",
		1 => "(SELECT t.span FROM tiers t WHERE t.name = '" . pick(@tier) . "')");
}

# timestamptz from rows of the scope
sub instant
{
	my ($scope) = @_;
	my $x = column($scope, 'ts') // 'c.created_at';
	my $y = column($scope, 'ts') // 'c.last_seen_at';
	my $date = column($scope, 'date') // 'c.renewal';
	my $local = column($scope, 'lts') // 'c.local_at';
	return weighted(
		12 => $x,
		2 => 'c.' . pick('created_at', 'last_seen_at'),
		1 => "coalesce($x, $y)",
		1 => pick('greatest', 'least') . "($x, $y)",
		1 => "($x + interval '" . pick(@interval) . "')",
		2 => "($local AT TIME ZONE '" . pick(@zone) . "')",
		1 => "$local\::timestamptz",
		1 => "$date\::timestamptz",
		1 => "(CASE WHEN c.vip THEN $x ELSE $y END)",
		1 => "date_trunc('" . pick(@unit) . "', $x)",
		1 => "(SELECT max(z.updated_at) FROM carts z WHERE z.customer_id = c.id)");
}

# -------- conditions on time --------

my @instant_forms = (
	sub { my ($x, $i) = @_; return "$x " . comparison() . ' ' . now_() . " - $i"; },
	sub { my ($x, $i) = @_; return "$x " . comparison() . ' ' . now_() . " + $i"; },
	sub { my ($x, $i) = @_; return now_() . " - $i " . comparison() . " $x"; },
	sub { my ($x, $i) = @_; return "$x + $i " . comparison() . ' ' . now_(); },
	sub { my ($x, $i) = @_; return now_() . ' ' . comparison() . " $x + $i"; },
	sub { my ($x, $i) = @_; return "$x - $i " . comparison() . ' ' . now_(); },
	sub { my ($x, $i) = @_; return now_() . " - $x " . comparison() . " $i"; },
	sub { my ($x, $i) = @_; return "$x - " . now_() . ' ' . comparison() . " $i"; },
	sub { my ($x, $i) = @_; return "$i " . comparison() . ' ' . now_() . " - $x"; },
	sub { my ($x) = @_; return "$x " . comparison() . ' ' . now_(); },
	sub { my ($x, $i, $j) = @_; return "$x " . pick('', 'NOT ') . 'BETWEEN ' . now_() . " - $i AND " . now_() . pick('', " - $j", " + $j"); },
	sub { my ($x, $i, $j) = @_; return now_() . " BETWEEN $x AND $x + $i"; },
	sub { my ($x, $i) = @_; return '(' . now_() . " - $x) BETWEEN interval '1 day' AND $i"; },
	sub { my ($x, $i) = @_; return 'age(' . now_() . ", $x) " . comparison() . " $i"; },
	sub { my ($x, $i) = @_; return "{age}($x) " . comparison() . " $i"; },
	sub { my ($x) = @_; return "$x\::date " . comparison() . ' {today} - ' . between(0, 40); },
	sub { my ($x) = @_; return "{today} - $x\::date " . comparison() . ' ' . between(0, 40); },
	sub { my ($x, $i) = @_; return "$x " . comparison() . " {today} - $i"; },
	sub { my ($x) = @_; return "$x " . comparison() . ' {today}' . pick('', ' - 7', ' + 1'); },
	sub { my ($x, $i) = @_; my $u = pick(@unit); return "date_trunc('$u', $x) " . comparison() . " date_trunc('$u', " . now_() . ')' . pick('', " - $i"); },
	sub { my ($x, $i) = @_; my $u = pick(@unit); return "$x " . comparison() . " date_trunc('$u', " . now_() . ')' . pick('', " - $i"); },
	sub { my ($x, $i) = @_; my $z = pick(@zone); my $u = pick(@unit); return "$x " . comparison() . " date_trunc('$u', " . now_() . ", '$z')" . pick('', " - $i"); },
	sub { my ($x) = @_; my $u = pick(@unit); return "date_trunc('$u', " . now_() . " - interval '1 $u') = date_trunc('$u', $x)" =~ s/1 quarter/3 months/r; },
	sub { my ($x) = @_; my $f = pick(qw(hour dow isodow day month doy week year quarter)); return "extract($f FROM " . now_() . ") = extract($f FROM $x)"; },
	sub { my ($x) = @_; my $z = pick(@zone); return "($x AT TIME ZONE '$z')::date " . comparison() . ' (' . now_() . " AT TIME ZONE '$z')::date - " . between(0, 10); },
	sub { my ($x) = @_; return 'extract(epoch FROM ' . now_() . " - $x) / 86400 " . comparison() . ' ' . between(1, 60); },
	sub { my ($x) = @_; return "to_char($x, 'MM-DD') = to_char(" . now_() . ", 'MM-DD')"; },
	sub { my ($x, $i) = @_; return "($x, $x + $i) OVERLAPS (" . now_() . ", interval '1 day')"; },
	sub { my ($x, $i) = @_; return "tstzrange($x, $x + interval '9 days') @> " . now_(); },
	sub { my ($x, $i, $j) = @_; return "CASE WHEN $x < " . now_() . " - $i THEN true WHEN $x IS NULL THEN false ELSE $x > " . now_() . " - $j END"; },
	sub { my ($x, $i, $j) = @_; return "CASE WHEN " . now_() . " > $x + $i THEN 3 WHEN " . now_() . " > $x THEN 2 ELSE 1 END " . comparison() . ' 2'; },
	sub { my ($x, $i) = @_; return "date_part('day', " . now_() . " - $x) " . comparison() . ' ' . between(0, 30); });

my @date_forms = (
	sub { my ($d, $i) = @_; return "$d " . comparison() . ' {today}' . pick(' - ', ' + ') . between(0, 40); },
	sub { my ($d, $i) = @_; return "{today} " . comparison() . " $d" . pick(' - ', ' + ') . between(0, 40); },
	sub { my ($d, $i) = @_; return "{today} - $d " . comparison() . ' ' . between(-20, 400); },
	sub { my ($d, $i) = @_; return "$d " . comparison() . ' ' . now_() . pick('', " - $i", " + $i"); },
	sub { my ($d, $i) = @_; return "$d " . comparison() . ' (' . now_() . " - $i)::date"; },
	sub { my ($d, $i) = @_; return "$d + $i " . comparison() . ' {local}'; },
	sub { my ($d, $i) = @_; return "$d BETWEEN {today} - " . between(0, 20) . ' AND {today} + ' . between(0, 20); },
	sub { my ($d, $i) = @_; return "{age}($d) " . comparison() . " $i"; },
	sub { my ($d, $i) = @_; return "extract(year FROM {age}($d)) >= " . between(1, 30); },
	sub { my ($d, $i) = @_; return "extract(month FROM $d) = extract(month FROM {today})"; },
	sub { my ($d, $i) = @_; return "extract(month FROM $d) = extract(month FROM {today}) AND extract(day FROM $d) = extract(day FROM {today})"; },
	sub { my ($d, $i) = @_; return "extract(doy FROM $d) - extract(doy FROM {today}) BETWEEN 0 AND 10"; },
	sub { my ($d, $i) = @_; return "date_trunc('month', $d) = date_trunc('month', {today})"; },
	sub { my ($d, $i) = @_; return "to_char($d, 'MM-DD') = to_char({today}, 'MM-DD')"; });

my @local_forms = (
	sub { my ($l, $i) = @_; return "$l " . comparison() . " {local} - $i"; },
	sub { my ($l, $i) = @_; return "$l + $i " . comparison() . ' ' . now_(); },
	sub { my ($l, $i) = @_; return "$l " . comparison() . ' ' . now_() . pick(" - $i", '', '::timestamp'); },
	sub { my ($l, $i) = @_; my $z = pick(@zone); return "$l AT TIME ZONE '$z' " . comparison() . ' ' . now_() . " - $i"; },
	sub { my ($l, $i) = @_; my $z = pick(@zone); return "$l " . comparison() . ' (' . now_() . " AT TIME ZONE '$z') - $i"; },
	sub { my ($l, $i) = @_; return "{local} - $l " . comparison() . " $i"; },
	sub { my ($l, $i) = @_; return "{age}($l) " . comparison() . " $i"; },
	sub { my ($l, $i) = @_; my $u = pick(@unit); return "date_trunc('$u', $l) = date_trunc('$u', {local})"; },
	sub { my ($l, $i) = @_; return "$l\::date = {today} - " . between(0, 3); });

# of the clock alone
my @clock_forms = (
	sub { return '{clock} ' . comparison() . ' ' . pick(qw('09:00' '17:30' '00:00' '23:59:59.999999' '02:30')); },
	sub { return 'extract(hour FROM ' . now_() . ') ' . pick('BETWEEN 9 AND 17', '= 2', '>= 22', 'IN (0, 12)'); },
	sub { return 'extract(dow FROM ' . now_() . ') ' . pick('IN (0, 6)', '= 1', '<> 3'); },
	sub { return 'extract(' . pick('day FROM {today}) = 1', 'month FROM {today}) IN (2, 3)', 'doy FROM {now}) > 60', 'week FROM {now}) % 2 = 0', 'year FROM {now}) > 2026', 'isodow FROM {local}) < 6', 'minute FROM {now}) < 30'); },
	sub { return 'extract(hour FROM ' . now_() . " AT TIME ZONE '" . pick(@zone) . "') < 12"; },
	sub { return '(' . now_() . " AT TIME ZONE c.tz)::time " . comparison() . " '10:00'"; },
	sub { return '{today} ' . comparison() . " date '" . pick('2026-04-01', '2028-02-29', '2026-11-01', '2012-01-01') . "'"; },
	sub { return now_() . ' ' . comparison() . " '" . pick('2026-03-29 01:30', '2026-11-01 01:30', '2026-10-04 02:15', '2011-12-30 12:00') . "'"; },
	sub { return now_() . " >= (SELECT min(t.starts_at) FROM tiers t WHERE t.active)"; });

sub time_condition
{
	my ($scope) = @_;
	my $i = interval_($scope);
	my $j = interval_($scope);
	my $date = column($scope, 'date');
	my $local = column($scope, 'lts');
	my $kind = weighted(12 => 'instant', 3 => 'date', 2 => 'local', 1 => 'clock', 1 => 'function');

	return '(' . pick(@date_forms)->($date, $i) . ')' if $kind eq 'date' && $date;
	return '(' . pick(@local_forms)->($local, $i) . ')' if $kind eq 'local' && $local;
	return '(' . pick(@clock_forms)->() . ')' if $kind eq 'clock';
	return '{v}is_recent(' . instant($scope) . ", $i)" if $kind eq 'function';

	# the plain comparisons, which most predicates are made of, more often
	my $form = chance(0.5) ? $instant_forms[ int rand 12 ] : pick(@instant_forms);
	return '(' . $form->(instant($scope), $i, $j) . ')';
}

# -------- conditions on columns --------

sub plain_condition
{
	my ($scope) = @_;
	my $kind = pick(qw(num num int text text bool null));
	my $x = column($scope, $kind eq 'null' ? ('ts', 'num', 'key') : $kind);
	return 'c.vip' unless $x;
	if ($kind eq 'num')
	{
		my $other = column($scope, 'num');
		return weighted(5 => "$x " . comparison() . ' ' . between(0, 150), 1 => "$x > $other", 1 => "$x BETWEEN 10 AND 90",
			1 => "$x >= (SELECT t.min_total FROM tiers t WHERE t.name = '" . pick(@tier) . "')",
			1 => "$x > (SELECT avg(t.min_total) FROM tiers t WHERE t.active)");
	}
	return "$x " . weighted(3 => comparison() . ' ' . between(0, 5), 1 => 'IN (1, 3)', 1 => '% 2 = 0') if $kind eq 'int';
	return pick($x, "NOT $x", "$x IS NOT TRUE", "$x IS TRUE", "coalesce($x, false)") if $kind eq 'bool';
	return "$x IS " . pick('NULL', 'NOT NULL') if $kind eq 'null';
	my ($name) = $x =~ /\.(\w+)/;
	my @values = map { "'$_'" } @{ $value{$name} };
	my ($v, $w) = (pick(@values), pick(@values));
	return pick("$x = $v", "$x <> $v", "$x IN ($v, $w)", "$x = ANY (ARRAY[$v, $w])", "$x NOT IN ($v, $w)", "$x LIKE '%" . pick('e', 'a', 'o') . "%'",
		"coalesce($x, 'none') <> $v", "$x IS DISTINCT FROM $v");
}

# Conditions on a row of a sub-select.
sub row_condition
{
	my ($scope, $depth) = @_;
	my @parts;
	push @parts, plain_condition($scope) if chance(0.5);
	push @parts, time_condition($scope) if chance(0.6);
	push @parts, '(' . plain_condition($scope) . ' OR ' . time_condition($scope) . ')' if chance(0.15);
	push @parts, 'NOT ' . time_condition($scope) if chance(0.1);
	my ($orders) = grep { $_->[1] eq 'orders' && $_->[2] } @$scope;
	if ($orders && $depth < 2 && chance(0.15))
	{
		my $i = alias();
		push @parts, pick('', 'NOT ') . "EXISTS (SELECT FROM order_items $i WHERE $i.order_id = $orders->[0].id AND " . row_condition([ @$scope, [ $i, 'order_items' ] ], $depth + 1) . ')';
	}
	return @parts ? join(' AND ', @parts) : plain_condition($scope);
}

# -------- sub-selects --------

# Where rows come from: FROM, the correlation with c, the scope, and the column
# (of the contact's key) that correlates, if one does.
sub source
{
	my ($outer) = @_;
	my ($a, $b, $d) = (alias(), alias(), alias());
	my %with = (
		orders => sub { return ("orders $a", "$a.customer_id = c.id", [ [ $a, 'orders', 1 ] ], "$a.customer_id"); },
		items => sub { return ("orders $a JOIN order_items $b ON $b.order_id = $a.id", "$a.customer_id = c.id", [ [ $a, 'orders', 1 ], [ $b, 'order_items' ] ], "$a.customer_id"); },
		chain => sub {
			return ("order_items $b JOIN orders $a ON $a.id = $b.order_id JOIN products $d ON $d.id = $b.product_id",
				"$a.customer_id = c.id", [ [ $a, 'orders', 1 ], [ $d, 'products' ], [ $b, 'order_items' ] ], "$a.customer_id");
		},
		comma => sub { return ("orders $a, order_items $b", "$b.order_id = $a.id AND c.id = $a.customer_id", [ [ $a, 'orders', 1 ], [ $b, 'order_items' ] ], undef); },
		left => sub { return ("orders $a LEFT JOIN order_items $b ON $b.order_id = $a.id AND " . plain_condition([ [ $b, 'order_items' ] ]), "$a.customer_id = c.id", [ [ $b, 'order_items' ], [ $a, 'orders', 1 ] ], "$a.customer_id"); },
		left_time => sub { return ("orders $a LEFT JOIN order_items $b ON $b.order_id = $a.id AND " . time_condition([ [ $a, 'orders' ], [ $b, 'order_items' ] ]), "$a.customer_id = c.id", [ [ $b, 'order_items' ], [ $a, 'orders', 1 ] ], "$a.customer_id"); },
		carts => sub { return ("carts $a", "$a.customer_id = c.id", [ [ $a, 'carts' ] ], "$a.customer_id"); },
		views => sub { return ("page_views $a", "$a.visitor = c.id", [ [ $a, 'page_views' ] ], "$a.visitor"); },
		email => sub { return ("newsletter $a", chance(0.7) ? "$a.email = c.email" : "lower($a.email) = lower(c.email)", [ [ $a, 'newsletter' ] ], undef); },
		referred => sub { return ("contacts $a", "$a.referrer_id = c.id", [ [ $a, 'contacts' ] ], "$a.referrer_id"); },
		referrer => sub { return ("contacts $a", "$a.id = c.referrer_id", [ [ $a, 'contacts' ] ], undef); },
		friends => sub { return ("contacts $b JOIN orders $a ON $a.customer_id = $b.id", "$b.referrer_id = c.id", [ [ $b, 'contacts' ], [ $a, 'orders', 1 ] ], "$b.referrer_id"); },
		event => sub {
			return ("journey_state.event $a", "$a.contact = c.id AND " . pick("$a.name = 'opened'", "$a.name IN ('opened', 'clicked')", "$a.name = 'visited'", "$a.name NOT LIKE 'journey.%'"),
				[ [ $a, 'event' ] ], undef);
		},
		banned => sub { return ("banned $a", "$a.customer_id = c.id", [ [ $a, 'banned' ] ], "$a.customer_id"); },
		view => sub { return ("{v}paid_orders $a", "$a.customer_id = c.id", [ [ $a, 'orders' ] ], "$a.customer_id"); },
		recent => sub { return ("{v}recent_lines $a", "$a.customer_id = c.id", [ [ $a, 'order_items' ] ], "$a.customer_id"); },
		function => sub { return ("{v}orders_of(c.id) $a", 'true', [ [ $a, 'orders' ] ], undef); },
		derived => sub { return ("(SELECT $b.* FROM orders $b WHERE " . row_condition([ [ $b, 'orders', 1 ] ], 1) . ") $a", "$a.customer_id = c.id", [ [ $a, 'orders' ] ], "$a.customer_id"); },
		union => sub {
			return ("(SELECT $b.customer_id, $b.total, $b.updated_at FROM carts $b UNION ALL SELECT $d.customer_id, $d.total, $d.created_at FROM orders $d WHERE "
				. plain_condition([ [ $d, 'orders' ] ]) . ") $a", "$a.customer_id = c.id", [ [ $a, 'union' ] ], "$a.customer_id");
		},
		settings => sub { return ("orders $a JOIN tiers $b ON $a.total >= $b.min_total", "$a.customer_id = c.id", [ [ $b, 'tiers' ], [ $a, 'orders', 1 ] ], "$a.customer_id"); },
		pair => sub { return ("orders $a JOIN carts $b ON $b.customer_id = $a.customer_id", "$a.customer_id = c.id", [ [ $a, 'orders', 1 ], [ $b, 'carts' ] ], "$a.customer_id"); },
		lateral => sub {
			return ("orders $a CROSS JOIN LATERAL (SELECT max($d.returned_at) AS returned_at, sum($d.price) AS price, max($d.qty) AS qty FROM order_items $d WHERE $d.order_id = $a.id) $b",
				"$a.customer_id = c.id", [ [ $a, 'orders', 1 ], [ $b, 'order_items' ] ], "$a.customer_id");
		},
		grouped => sub {
			return ("(SELECT $b.customer_id, max($b.created_at) AS updated_at, sum($b.total) AS total FROM orders $b WHERE " . plain_condition([ [ $b, 'orders' ] ]) . " GROUP BY $b.customer_id) $a",
				"$a.customer_id = c.id", [ [ $a, 'union' ] ], "$a.customer_id");
		});
	my $name = weighted(8 => 'orders', 3 => 'items', 2 => 'chain', 1 => 'comma', 1 => 'left', 1 => 'left_time', 3 => 'carts', 3 => 'views', 2 => 'email', 2 => 'referred',
		2 => 'referrer', 1 => 'friends', 3 => 'event', 1 => 'banned', 2 => 'view', 1 => 'recent', 1 => 'function', 1 => 'derived', 1 => 'union', 1 => 'settings', 1 => 'pair', 1 => 'lateral', 1 => 'grouped');
	return $with{$name}->();
}
$columns{union} = { ts => ['updated_at'], num => ['total'], key => ['customer_id'] };

sub aggregate_condition
{
	my ($scope) = @_;
	my $num = column([ $scope->[-1] ], 'num') // column($scope, 'num');
	my $ts = column([ $scope->[-1] ], 'ts') // column($scope, 'ts');
	my $filter = chance(0.3) ? ' FILTER (WHERE ' . (chance(0.6) ? time_condition($scope) : plain_condition($scope)) . ')' : '';
	my @forms = ("count(*)$filter " . comparison() . ' ' . between(0, 3));
	push @forms, "sum($num)$filter " . comparison() . ' ' . between(0, 200), "max($num)$filter > " . between(10, 150), "avg($num)$filter < " . between(10, 150), "coalesce(sum($num)$filter, 0) < " . between(10, 150) if $num;
	push @forms, ("max($ts)$filter " . comparison() . ' ' . now_() . ' - ' . interval_([])) x 3, "min($ts)$filter + interval '" . pick(@interval) . "' <= " . now_(), now_() . " - max($ts) > interval '" . pick(@interval) . "'",
		"count(DISTINCT $ts\::date)$filter > 1", 'bool_or(' . time_condition($scope) . ')', "count($ts)$filter <= 1", "max($ts) IS NULL" if $ts;
	return pick(@forms);
}

sub sub_select
{
	my ($outer, $depth) = @_;
	my ($from, $on, $scope, $key) = source($outer);
	my $all = [ @$outer, @$scope ];
	my $where = chance(0.75) ? ' AND ' . row_condition($all, $depth) : '';
	my $ts = column([ $scope->[-1] ], 'ts') // 'NULL::timestamptz';
	my $num = column([ $scope->[-1] ], 'num', 'int') // '1';
	my @forms = (
		3 => sub { return pick('', 'NOT ') . "EXISTS (SELECT FROM $from WHERE $on$where)"; },
		2 => sub { return "(SELECT count(*) FROM $from WHERE $on$where) " . comparison() . ' ' . between(0, 3); },
		2 => sub { return "(SELECT " . pick('sum', 'max', 'min', 'avg') . "($num) FROM $from WHERE $on$where) " . comparison() . ' ' . between(0, 120); },
		1 => sub { return "coalesce((SELECT sum($num) FROM $from WHERE $on$where), 0) " . comparison() . ' ' . between(0, 120); },
		4 => sub { return '(SELECT ' . pick('max', 'max', 'min') . "($ts) FROM $from WHERE $on$where) " . comparison() . ' ' . now_() . ' - ' . interval_($outer); },
		1 => sub { return now_() . " - (SELECT max($ts) FROM $from WHERE $on$where) " . comparison() . " interval '" . pick(@interval) . "'"; },
		1 => sub { return "coalesce((SELECT max($ts) FROM $from WHERE $on$where), c.created_at) < " . now_() . ' - ' . interval_($outer); },
		3 => sub { return '(SELECT ' . aggregate_condition($scope) . " FROM $from WHERE $on$where)"; },
		1 => sub { return "EXISTS (SELECT FROM $from WHERE $on$where HAVING " . aggregate_condition($scope) . ')'; },
		1 => sub { my $column = $scope->[0][0]; return "EXISTS (SELECT $column FROM $from WHERE $on$where GROUP BY $column HAVING " . aggregate_condition($scope) . ')'; },
		1 => sub { return "(SELECT $num FROM $from WHERE $on$where ORDER BY $ts DESC NULLS LAST, $num DESC LIMIT 1) " . comparison() . ' ' . between(0, 120); },
		1 => sub { return "(SELECT $ts FROM $from WHERE $on$where ORDER BY $ts NULLS LAST LIMIT 1 OFFSET 1) " . comparison() . ' ' . now_() . " - interval '" . pick(@interval) . "'"; },
		1 => sub { return between(5, 100) . ' ' . pick('< ANY', '= ANY', '< ALL') . " (SELECT $num FROM $from WHERE $on$where)"; },
		1 => sub { return 'cardinality(ARRAY(SELECT ' . "$num FROM $from WHERE $on$where)) " . comparison() . ' ' . between(0, 2); },
		1 => sub { my $w = alias(); return "EXISTS (WITH $w AS (SELECT $ts AS at, $num AS n FROM $from WHERE $on$where) SELECT FROM $w WHERE $w.n > 3 OR $w.at > " . now_() . " - interval '" . pick(@interval) . "')"; },
		1 => sub { my $w = alias(); return "(WITH $w AS (SELECT count(*) AS n, max($ts) AS at FROM $from WHERE $on$where) SELECT $w.n > 1 AND $w.at < " . now_() . " - interval '" . pick(@interval) . "' FROM $w)"; },
		1 => sub { my $w = alias(); return "(SELECT count(DISTINCT $w.n) FROM (SELECT $num AS n, row_number() OVER (ORDER BY $ts, $num) AS r FROM $from WHERE $on$where) $w WHERE $w.r <= 2) = 2"; });
	if ($key)
	{
		push @forms, 2 => sub { return 'c.id ' . pick('IN', 'NOT IN', '= ANY') . " (SELECT $key FROM $from WHERE " . ($where ? substr($where, 5) : 'true') . ')'; },
			1 => sub { return "c.id IN (SELECT $key FROM $from WHERE " . ($where ? substr($where, 5) : 'true') . " GROUP BY $key HAVING " . aggregate_condition($scope) . ')'; },
			1 => sub { return 'c.id = ANY (ARRAY(SELECT ' . "$key FROM $from WHERE " . ($where ? substr($where, 5) : 'true') . '))'; };
	}
	return weighted(@forms)->();
}

sub odd_condition
{
	return pick(
		sub { return 'c.id ' . pick('IN', 'NOT IN') . ' (SELECT z.customer_id FROM banned z' . pick('', ' WHERE ' . time_condition([ [ 'z', 'banned' ] ])) . ')'; },
		sub { return 'c.email ' . pick('IN', 'NOT IN') . ' (SELECT z.email FROM newsletter z WHERE z.confirmed)'; },
		sub { return 'c.tags ' . pick("&& ARRAY['new', 'vip']", "@> ARRAY['vip']", "= '{}'"); },
		sub { return "'vip' = ANY (c.tags)"; },
		sub { return 'cardinality(c.tags) > 1'; },
		sub { return '{v}spent(c.id) ' . comparison() . ' ' . between(10, 200); },
		sub { return 'c.created_at < ' . now_() . " - (SELECT t.days * interval '1 day' FROM tiers t WHERE t.name = '" . pick(@tier) . "')"; },
		sub { return "(SELECT count(*) FROM orders z WHERE z.customer_id = c.id AND z.created_at > " . now_() . " - (SELECT t.span FROM tiers t WHERE t.name = '" . pick(@tier) . "')) > 1"; },
		sub { return '(SELECT sum(z.total) FROM orders z WHERE z.customer_id = c.id AND z.created_at >= ' . now_() . " - interval '" . pick(@interval) . "') > (SELECT avg(t.min_total) FROM tiers t)"; },
		sub { return "(c.country, c.tier) IN (('GB', 'gold'), ('FR', 'none'))"; },
		sub { return "c.email LIKE '%1%'"; })->();
}

sub condition
{
	my ($scope, $depth) = @_;
	my @simple = (
		3 => sub { return time_condition($scope); },
		2 => sub { return plain_condition($scope); },
		8 => sub { return sub_select($scope, $depth); },
		2 => sub { return odd_condition(); });
	push @simple, 2 => sub { return '{segment ' . pick(@$segments) . ' ' . ($own_only ? 'c.id' : pick('c.id', 'c.id', 'c.referrer_id')) . '}'; } if @$segments;
	my @compound = (
		4 => sub { return '(' . join(pick(' AND ', ' OR '), condition($scope, $depth + 1), condition($scope, $depth + 1)) . ')'; },
		1 => sub { return 'NOT (' . condition($scope, $depth + 1) . ')'; },
		1 => sub { return 'coalesce(' . condition($scope, $depth + 1) . ', ' . pick('true', 'false') . ')'; },
		1 => sub { return 'CASE WHEN ' . condition($scope, $depth + 1) . ' THEN ' . condition($scope, $depth + 1) . ' ELSE ' . pick('false', plain_condition($scope), time_condition($scope)) . ' END'; },
		1 => sub { return '(' . condition($scope, $depth + 1) . ') IS ' . pick('NULL', 'NOT NULL', 'TRUE', 'NOT TRUE', 'FALSE', 'UNKNOWN'); },
		1 => sub { return '(' . condition($scope, $depth + 1) . ') ' . pick('=', '<>', 'IS DISTINCT FROM') . ' (' . condition($scope, $depth + 1) . ')'; },
		1 => sub { return '(c.vip, ' . condition($scope, $depth + 1) . ') = (true, true)'; });
	return weighted($depth >= 2 || chance(0.55) ? @simple : @compound)->();
}

1;
