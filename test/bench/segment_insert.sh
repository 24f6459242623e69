#!/bin/bash
# setting: max_wal_size = 16GB
# What segments cost the shop's writes: transactions/s on tables of orders that
# 0, 1, 10 and 47 segments read, single rows and statements of 1,000 rows, and
# an UPDATE of a column that none of them reads.  Rounds of the tables alternate,
# medians are compared.  No worker runs; the marks are thrown away after each
# round: what it costs to work them is another bench's figure.
set -euo pipefail
here=$(dirname "$0")
rounds=5
seconds=4
contacts=100000
clients=${BENCH_CLIENTS:-2}
counts=(0 1 10 47)
if [ -n "${BENCH_SHORT:-}" ]; then rounds=3 seconds=1 contacts=5000; fi

sql() { PGUSER=shop psql -X -Atq -v ON_ERROR_STOP=1 -c "$1"; }

psql -X -q -v contacts=$contacts -v t0=2026-01-01 -f "$here/segment.sql"
psql -X -q -c 'CREATE ROLE app LOGIN' -c 'GRANT USAGE ON SCHEMA bench TO app'
for n in "${counts[@]}"; do
	sql "CREATE TABLE bench.orders_$n (LIKE bench.orders INCLUDING ALL, FOREIGN KEY (contact_id) REFERENCES bench.contact) WITH (fillfactor = 80);
		INSERT INTO bench.orders_$n (contact_id, ordered_at, amount, note) SELECT contact_id, ordered_at, amount, 'new' FROM bench.orders ORDER BY id DESC LIMIT 200000;
		GRANT SELECT, INSERT, UPDATE ON bench.orders_$n TO app"
done
psql -X -q -c 'VACUUM ANALYZE'
for n in "${counts[@]}"; do
	[ "$n" = 0 ] || sql "CALL bench.segments($n, 'bench.orders_$n', '2026-01-01')"
done
sql "CALL bench.tick('2026-01-01')"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for n in "${counts[@]}"; do
	cat >"$work/single-$n.sql" <<SQL
\set c random(1, $contacts)
INSERT INTO bench.orders_$n (contact_id, ordered_at, amount) VALUES (:c, '2026-01-01', 10.50);
SQL
	cat >"$work/thousand-$n.sql" <<SQL
\set c random(1, $((contacts - 1000)))
INSERT INTO bench.orders_$n (contact_id, ordered_at, amount) SELECT :c + i, '2026-01-01', 10.50 FROM generate_series(1, 1000) i;
SQL
	cat >"$work/unread-$n.sql" <<SQL
\set id random(1, $(sql "SELECT count(*) FROM bench.orders_$n"))
UPDATE bench.orders_$n SET note = 'seen' WHERE id = :id;
SQL
	cat >"$work/unread-thousand-$n.sql" <<SQL
\set id random(1, $(sql "SELECT count(*) - 1000 FROM bench.orders_$n"))
UPDATE bench.orders_$n SET note = 'seen' WHERE id BETWEEN :id AND :id + 999;
SQL
done

tps() { PGUSER=app pgbench -n -M prepared -c "$clients" -j "$clients" -T "$seconds" -f "$work/$1-$2.sql" 2>"$work/err" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

printf '%16s | %s\n' statement 'transactions/s with 0, 1, 10, 47 dependent segments | over none'
for what in single thousand unread unread-thousand; do
	used=$clients
	[ $what != unread-thousand ] || clients=1 # two would wait for each other's rows
	for ((i = 0; i <= rounds; i++)); do
		for n in "${counts[@]}"; do
			t=$(tps $what "$n")
			[ -n "$t" ] || { cat "$work/err" >&2; exit 1; }
			[ $i = 0 ] || echo "$t" >>"$work/$what-$n" # the first one warms up
		done
		sql 'TRUNCATE journey_state.mark'
	done
	clients=$used
	printf '%16s |' $what
	for n in "${counts[@]}"; do printf ' %9.1f' "$(median "$work/$what-$n")"; done
	printf ' |'
	for n in "${counts[@]}"; do awk -v a="$(median "$work/$what-$n")" -v b="$(median "$work/$what-0")" 'BEGIN { printf " %6.3f", a / b }'; done
	echo
done
