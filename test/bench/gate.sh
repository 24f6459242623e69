#!/bin/bash
# What frequency caps cost a decision, see gate.sql
set -euo pipefail
here=$(dirname "$0")
contacts=10000 single=500 histories=(10 1000 100000) people=10
if [ -n "${BENCH_SHORT:-}" ]; then contacts=1000 single=50 histories=(10 1000 10000) people=2; fi

value() { psql -X -Atq -d "$1" -c "$2"; }

printf '%5s %14s %22s %14s\n' caps decisions/s 'same inserts, rows/s' ratio
for caps in 0 1 3 10; do
	createdb "bench_caps_$caps"
	psql -X -q -d "bench_caps_$caps" -v contacts=$contacts -f "$here/setup.sql"
	psql -X -q -d "bench_caps_$caps" -v contacts=$contacts -v caps=$caps -v single=0 -v history=0 -v people=0 -f "$here/gate.sql"
	value "bench_caps_$caps" "SELECT format('%5s %14s %22s %14s', $caps, round(1e3 * $contacts / d.ms), round(1e3 * $contacts / p.ms), round((d.ms / p.ms)::numeric, 1))
		FROM (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM bench.result WHERE what = 'decide') d (ms),
		(SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM bench.result WHERE what = 'plain') p (ms)"
	[ "$caps" = 10 ] || dropdb "bench_caps_$caps"
done
dropdb bench_caps_10

printf '\na tick in which one run sends, under 10 caps, beside one in which a run comes to a wait; ms\n%18s %11s %8s %8s %8s %8s %12s %8s\n' \
	'earlier messages' partitions median p99 growth wait 'the message' growth
first=
for history in "${histories[@]}"; do
	createdb bench_history
	psql -X -q -d bench_history -v contacts=100 -f "$here/setup.sql"
	psql -X -q -d bench_history -v contacts=100 -v caps=10 -v single=$single -v history="$history" -v people=$people -f "$here/gate.sql"
	read -r median p99 wait <<<"$(value bench_history "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE what = 'one'),
		percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) FILTER (WHERE what = 'one'), percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FILTER (WHERE what = 'none') FROM bench.result" | tr '|' ' ')"
	partitions=$(value bench_history "SELECT count(*) FROM pg_inherits WHERE inhparent = 'journey_state.message'::regclass")
	first=${first:-$median $wait}
	awk -v h="$history" -v n="$partitions" -v m="$median" -v p="$p99" -v w="$wait" -v f="$first" \
		'BEGIN { split(f, a, " "); printf "%18d %11d %8.2f %8.2f %8.2f %8.2f %12.2f %8.2f\n", h, n, m, p, m / a[1], w, m - w, (m - w) / (a[1] - a[2]) }'
	dropdb bench_history
done
