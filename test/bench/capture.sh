#!/bin/bash
# What capture costs the shop: transactions/s of an INSERT into a table that is
# captured, over those into its twin that is not.  Single rows and statements
# of 1,000 rows; rounds of both alternate and the medians are compared.  The
# third column is the same work done by hand: a plpgsql statement trigger that
# copies the new rows to a log table.
set -euo pipefail
rounds=5
seconds=4
clients=${BENCH_CLIENTS:-2}
if [ -n "${BENCH_SHORT:-}" ]; then rounds=3; seconds=1; fi

psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
CREATE SCHEMA bench AUTHORIZATION shop;
CREATE EXTENSION pg_journey;
CREATE ROLE app LOGIN;
SET SESSION AUTHORIZATION shop;
CREATE TABLE bench.customer (id bigint PRIMARY KEY);
INSERT INTO bench.customer SELECT generate_series(1, 100000);
CREATE TABLE bench.plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint NOT NULL REFERENCES bench.customer, total numeric NOT NULL, created_at timestamptz NOT NULL);
CREATE TABLE bench.captured (LIKE bench.plain INCLUDING ALL, FOREIGN KEY (customer_id) REFERENCES bench.customer);
CREATE TABLE bench.byhand (LIKE bench.plain INCLUDING ALL, FOREIGN KEY (customer_id) REFERENCES bench.customer);
CREATE TABLE bench.log (event_id bigint GENERATED ALWAYS AS IDENTITY, contact bigint NOT NULL, name text NOT NULL, at timestamptz NOT NULL, xid xid8 NOT NULL DEFAULT pg_current_xact_id(), properties jsonb NOT NULL, PRIMARY KEY (contact, at, event_id));
CREATE INDEX ON bench.log (xid, event_id);
CREATE FUNCTION bench.log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	INSERT INTO bench.log (contact, name, at, properties) SELECT customer_id, 'order_placed', created_at, jsonb_build_object('total', total) FROM new_rows;
	RETURN NULL;
END
$$;
CREATE TRIGGER log AFTER INSERT ON bench.byhand REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION bench.log();
RESET SESSION AUTHORIZATION;
SELECT journey.attach('bench.customer', owner => 'shop') \g /dev/null
SET SESSION AUTHORIZATION shop;
SELECT journey.capture('order_placed', 'bench.captured', contact => 'customer_id', at => 'created_at', properties => $$ jsonb_build_object('total', new.total) $$) \g /dev/null
GRANT USAGE ON SCHEMA bench TO app;
GRANT INSERT ON bench.plain, bench.captured, bench.byhand TO app;
SQL

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for table in plain captured byhand; do
	cat >"$work/single-$table.sql" <<SQL
\set c random(1, 100000)
INSERT INTO bench.$table (customer_id, total, created_at) VALUES (:c, 10.50, now());
SQL
	cat >"$work/thousand-$table.sql" <<SQL
\set c random(1, 99000)
INSERT INTO bench.$table (customer_id, total, created_at) SELECT :c + i, 10.50, now() FROM generate_series(1, 1000) i;
SQL
done

tps() { PGUSER=app pgbench -n -M prepared -c "$clients" -j "$clients" -T "$seconds" -f "$work/$1-$2.sql" 2>"$work/err" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

printf '%10s | %12s %12s %12s | %8s %8s\n' rows 'plain tps' captured 'by hand' ratio 'by hand'
for size in single thousand; do
	for ((i = 0; i < rounds; i++)); do
		for table in plain captured byhand; do tps $size $table >>"$work/$size-$table"; done
	done
	awk -v size="$size" -v p="$(median "$work/$size-plain")" -v c="$(median "$work/$size-captured")" -v h="$(median "$work/$size-byhand")" \
		'BEGIN { printf "%10s | %12.1f %12.1f %12.1f | %8.3f %8.3f\n", size, p, c, h, c / p, h / p }'
done
lost=$(psql -X -Atqc 'SELECT (SELECT count(*) FROM bench.captured) - (SELECT count(*) FROM journey_state.event)')
[ "$lost" = 0 ] || { echo "$lost rows were not captured" >&2; exit 1; }
