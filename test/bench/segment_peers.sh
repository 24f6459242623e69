#!/bin/bash
# setting: max_wal_size = 16GB
# "Lifetime spend above 800" kept by a segment, by a materialized view that is
# refreshed, and, where CREATE EXTENSION pg_ivm works, by an incrementally
# maintained view of it: what an INSERT of orders costs, and how long it takes
# until the condition is right again after an order of each of 1,000 contacts.
set -euo pipefail
here=$(dirname "$0")
rounds=5
seconds=4
contacts=180000
if [ -n "${BENCH_SHORT:-}" ]; then rounds=3 seconds=1 contacts=5000; fi
kinds=(plain segment matview)

sql() { PGUSER=shop psql -X -Atq -v ON_ERROR_STOP=1 -c "$1"; }

psql -X -q -v contacts=$contacts -v t0=2026-01-01 -f "$here/segment.sql"
psql -X -q -c 'CREATE ROLE app LOGIN' -c 'GRANT USAGE ON SCHEMA bench TO app'
if psql -X -q -c 'CREATE EXTENSION pg_ivm' 2>/dev/null; then
	kinds+=(ivm)
	echo "pg_ivm $(psql -X -Atqc "SELECT extversion FROM pg_extension WHERE extname = 'pg_ivm'")"
else
	echo 'pg_ivm is not installed: left out'
fi
for kind in "${kinds[@]}"; do
	sql "CREATE TABLE bench.orders_$kind (LIKE bench.orders INCLUDING ALL, FOREIGN KEY (contact_id) REFERENCES bench.contact);
		INSERT INTO bench.orders_$kind (contact_id, ordered_at, amount) SELECT contact_id, ordered_at, amount FROM bench.orders ORDER BY id;
		GRANT SELECT, INSERT ON bench.orders_$kind TO app"
done
psql -X -q -c 'VACUUM ANALYZE'

sql "SELECT journey.create_segment('spend', '(SELECT sum(o.amount) FROM bench.orders_segment o WHERE o.contact_id = c.id) > 800', at => '2026-01-01')" >/dev/null
sql "CALL bench.tick('2026-01-01')"
sql "CREATE MATERIALIZED VIEW bench.spend_matview AS SELECT contact_id, sum(amount) AS spend FROM bench.orders_matview GROUP BY contact_id HAVING sum(amount) > 800;
	CREATE UNIQUE INDEX ON bench.spend_matview (contact_id)"
case " ${kinds[*]} " in *' ivm '*)
	# it has no HAVING: who is above 800 is asked of the view
	sql "SELECT pgivm.create_immv('bench.spend_ivm', 'SELECT contact_id, sum(amount) AS spend FROM bench.orders_ivm GROUP BY contact_id')" >/dev/null 2>&1
	sql 'GRANT SELECT ON bench.spend_ivm TO app'
	refusal() { psql -X -q -c "SELECT pgivm.create_immv('bench.refused', '$1')" 2>&1 | sed -n 's/^ERROR:  //p'; }
	echo "with HAVING it says: $(refusal 'SELECT contact_id FROM bench.orders_ivm GROUP BY contact_id HAVING sum(amount) > 800' || true)"
	echo "with now() it says: $(refusal "SELECT DISTINCT contact_id FROM bench.orders_ivm WHERE ordered_at > now() - interval ''90 days''" || true)"
	;;
esac

# one statement of 1,000 orders, then whatever makes the condition right
psql -X -q -c CHECKPOINT
PGUSER=shop psql -X -q -v ON_ERROR_STOP=1 <<'SQL'
CREATE PROCEDURE bench.compare(kinds text[], rounds integer) LANGUAGE plpgsql AS $$
DECLARE
	n bigint := (SELECT max(id) FROM bench.contact);
	contacts bigint[];
	kind text;
	started timestamptz;
BEGIN
	FOR round IN -5 .. rounds LOOP
		contacts := ARRAY(SELECT DISTINCT 1 + floor(n * bench.share(i, 1000 + round))::bigint FROM generate_series(1, 1010) i LIMIT 1000);
		FOREACH kind IN ARRAY kinds LOOP
			started := clock_timestamp();
			EXECUTE format('INSERT INTO bench.orders_%s (contact_id, ordered_at, amount) SELECT c, ''2026-01-01'', 10.50 FROM unnest($1) c', kind) USING contacts;
			COMMIT;
			INSERT INTO bench.result VALUES ('insert', kind, round, bench.ms(started));
			COMMIT;
			started := clock_timestamp();
			CASE kind
				WHEN 'segment' THEN CALL bench.tick('2026-01-01');
				WHEN 'matview' THEN REFRESH MATERIALIZED VIEW CONCURRENTLY bench.spend_matview;
				ELSE NULL;
			END CASE;
			COMMIT;
			INSERT INTO bench.result VALUES ('catch up', kind, round, bench.ms(started));
			COMMIT;
		END LOOP;
	END LOOP;
END
$$;
SQL
sql "CALL bench.compare(string_to_array('${kinds[*]}', ' '), $((rounds * 2)))"
PGUSER=shop psql -X -q -P border=0 -P footer=off <<'SQL'
SELECT r.predicate AS kept_by, round(bench.median('insert', r.predicate)::numeric, 1) AS insert_ms, round(bench.median('catch up', r.predicate)::numeric, 1) AS catch_up_ms,
	round((bench.median('insert', r.predicate) + bench.median('catch up', r.predicate))::numeric, 1) AS sum_ms,
	round((bench.median('insert', r.predicate) + bench.median('catch up', r.predicate) - bench.median('insert', 'plain'))::numeric, 1) AS over_plain_ms
FROM (SELECT DISTINCT predicate FROM bench.result) AS r ORDER BY 5;
SQL
for kind in "${kinds[@]}"; do
	case $kind in
	segment) n=$(sql "SELECT bench.members('spend')") ;;
	matview) n=$(sql 'SELECT count(*) FROM bench.spend_matview') ;;
	ivm) n=$(sql 'SELECT count(*) FROM bench.spend_ivm WHERE spend > 800') ;;
	*) continue ;;
	esac
	m=$(sql "SELECT count(*) FROM (SELECT FROM bench.orders_$kind GROUP BY contact_id HAVING sum(amount) > 800) AS x")
	[ "$n" = "$m" ] || { echo "$kind: $n members instead of $m" >&2; exit 1; }
done

# what an INSERT costs
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for kind in "${kinds[@]}"; do
	cat >"$work/single-$kind.sql" <<SQL
\set c random(1, $contacts)
INSERT INTO bench.orders_$kind (contact_id, ordered_at, amount) VALUES (:c, '2026-01-01', 10.50);
SQL
	cat >"$work/thousand-$kind.sql" <<SQL
\set c random(1, $((contacts - 1000)))
INSERT INTO bench.orders_$kind (contact_id, ordered_at, amount) SELECT :c + i, '2026-01-01', 10.50 FROM generate_series(1, 1000) i;
SQL
done

tps() { PGUSER=app pgbench -n -M prepared -c "$3" -j "$3" -T "$seconds" -f "$work/$1-$2.sql" 2>"$work/err" | sed -n 's/^tps = \([0-9.]*\).*/\1/p'; }
median() { sort -n "$1" | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

echo
printf '%10s %8s | %s\n' rows clients "transactions/s: ${kinds[*]} | over plain"
for size in single thousand; do
	for clients in 1 2; do
		for ((i = 0; i <= rounds; i++)); do
			for kind in "${kinds[@]}"; do
				t=$(tps $size "$kind" $clients)
				[ -n "$t" ] || { cat "$work/err" >&2; exit 1; }
				[ $i = 0 ] || echo "$t" >>"$work/$size-$clients-$kind"
			done
			sql "CALL bench.tick('2026-01-01')"
		done
		printf '%10s %8s |' $size $clients
		for kind in "${kinds[@]}"; do printf ' %9.1f' "$(median "$work/$size-$clients-$kind")"; done
		printf ' |'
		for kind in "${kinds[@]}"; do awk -v a="$(median "$work/$size-$clients-$kind")" -v b="$(median "$work/$size-$clients-plain")" 'BEGIN { printf " %6.3f", a / b }'; done
		echo
	done
done
