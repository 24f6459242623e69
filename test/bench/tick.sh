#!/bin/bash
# steps/s and messages/s of journey.tick(), see tick.sql
set -euo pipefail
here=$(dirname "$0")
sizes=(10000 100000 1000000)
due=10000
if [ -n "${BENCH_SHORT:-}" ]; then sizes=(2000 20000); due=2000; fi

median() { psql -X -Atq -d "$1" -c "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) FROM bench.result WHERE what = '$2'"; }

printf '%10s %8s | %10s %12s %6s | %10s %12s %6s | %12s\n' waiting due steps/s 'UPDATE rows/s' ratio messages/s 'plain SQL/s' ratio 'entries/s'
for size in "${sizes[@]}"; do
	createdb "bench_$size"
	psql -X -q -d "bench_$size" -v contacts="$size" -f "$here/setup.sql"
	psql -X -q -d "bench_$size" -v contacts="$size" -v due="$due" -f "$here/tick.sql"
	declare "steps_$size=$(median "bench_$size" steps)" "messages_$size=$(median "bench_$size" messages)"
	declare "plain_$size=$(median "bench_$size" 'plain steps')"
	awk -v n="$size" -v due="$due" -v s="$(median "bench_$size" steps)" -v ps="$(median "bench_$size" 'plain steps')" \
		-v m="$(median "bench_$size" messages)" -v pm="$(median "bench_$size" 'plain messages')" -v e="$(median "bench_$size" enter)" \
		'BEGIN { printf "%10d %8d | %10.0f %12.0f %6.2f | %10.0f %12.0f %6.2f | %12.0f\n", n, due, due / s * 1e3, due / ps * 1e3, ps / s, due / m * 1e3, due / pm * 1e3, pm / m, n / e * 1e3 }'
	dropdb "bench_$size"
done
first=${sizes[0]}
last=${sizes[-1]}
for what in steps messages plain; do
	a=${what}_$first
	b=${what}_$last
	awk -v what="$what" -v a="${!a}" -v b="${!b}" -v first="$first" -v last="$last" \
		'BEGIN { printf "growth, %s: %d waiting cost %.2f times as much as %d\n", what == "plain" ? "plain UPDATE" : what, last, b / a, first }'
done
