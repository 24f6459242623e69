#!/bin/bash
# Segments beside the bare SQL of their predicates (segment.sql):
#
#	build	create_segment() and the ticks that fill it, over SELECT count(*) of the
#			same predicate; beside it the same contacts into a temporary table, and
#			the question asked by hand for all contacts at once
#	clock	a tick after which nothing has happened but time, over evaluating the
#			predicate for everybody
#	change	a tick after a change of each of 1,000 contacts, over a prepared
#			statement that evaluates the predicate for the same contacts
#	growth	the same between the smallest and the largest shop
set -euo pipefail
here=$(dirname "$0")
t0=2026-01-01
sizes=(100000 180000 1000000)
rounds=5
blocks=3
if [ -n "${BENCH_SHORT:-}" ]; then sizes=(5000 20000) rounds=3 blocks=1; fi
[ -z "${BENCH_SIZES:-}" ] || read -r -a sizes <<<"$BENCH_SIZES"
predicates=(spend lapsed viewed)
first=${sizes[0]}
last=${sizes[-1]}
ends=("$first")
[ "$first" = "$last" ] || ends+=("$last")

sql() { PGUSER=shop psql -X -Atq -v ON_ERROR_STOP=1 -d "bench_$1" -c "$2"; }
median() { sql "$1" "SELECT bench.median('$2', '$3')"; }
declare -A now

for size in "${sizes[@]}"; do
	createdb "bench_$size"
	psql -X -q -d "bench_$size" -v contacts="$size" -v t0=$t0 -f "$here/segment.sql"
done

echo 'build: milliseconds, medians'
printf '%10s %8s %9s | %9s %9s %9s %9s | %8s %8s %8s\n' contacts segment members 'count(*)' 'temp' 'by hand' build '/ count' '/ temp' '/ hand'
for size in "${sizes[@]}"; do
	for p in "${predicates[@]}"; do
		for ((i = 0; i <= rounds && (i <= 3 || size < 500000); i++)); do # the first one warms up
			sql "$size" "CALL bench.bare('$p', '$t0', $i)"
			sql "$size" "CALL bench.build('$p', '$t0', $i)"
			[ $i != 1 ] || sql "$size" "CALL bench.verify('$p', '$t0')"
			sql "$size" "SELECT journey.drop_segment('$p')" >/dev/null
		done
		awk -v n="$size" -v p="$p" -v m="$(median "$size" members "$p")" -v c="$(median "$size" count "$p")" -v t="$(median "$size" temp "$p")" \
			-v h="$(median "$size" 'by hand' "$p")" -v b="$(median "$size" build "$p")" \
			'BEGIN { printf "%10d %8s %9d | %9.0f %9.0f %9.0f %9.0f | %8.2f %8.2f %8.2f\n", n, p, m, c, t, h, b, b / c, b / t, b / h }'
	done
done

echo
echo 'clock: a tick in which nothing has happened but time, milliseconds, medians'
printf '%10s %8s %8s | %9s %9s | %10s %12s\n' contacts segment passed flips tick 'us/flip' 'rescan/tick'
for size in "${sizes[@]}"; do
	now[$size]=$t0 # it never goes back
	for p in viewed lapsed; do
		sql "$size" "CALL bench.build('$p', '${now[$size]}', 0)"
		for step in '1 minute' '1 hour' '1 day'; do
			case $step in *minute) n=$((rounds * 3)) ;; *hour) n=$rounds ;; *) n=2 ;; esac
			now[$size]=$(sql "$size" "CALL bench.waits('$p', '${now[$size]}', '$step', $n)")
			awk -v n="$size" -v p="$p" -v s="$step" -v f="$(median "$size" "$step flips" "$p")" -v t="$(median "$size" "$step" "$p")" -v c="$(median "$size" count "$p")" \
				'BEGIN { printf "%10d %8s %8s | %9.0f %9.1f | %10s %12.1f\n", n, p, s, f, t, f ? sprintf("%.1f", t * 1000 / f) : "-", c / t }'
		done
		sql "$size" "CALL bench.verify('$p', '${now[$size]}')"
		sql "$size" "SELECT journey.drop_segment('$p')" >/dev/null
	done
done

# the smallest and the largest shop by turns; 1,000 contacts are some 60 for each
# of the 16 slices, 16,000 are a whole statement for each
echo
echo 'change: a tick after one change of each contact, microseconds a contact, medians'
printf '%10s %8s %8s | %9s %9s %9s | %8s %8s | %s\n' contacts segment changed bare own tick own/bare tick/bare 'idle tick, ms'
for p in "${predicates[@]}"; do
	for size in "${ends[@]}"; do
		sql "$size" "CALL bench.build('$p', '${now[$size]}', 0)"
		sql "$size" "CALL bench.make_check('$p')"
	done
	for ((b = 0; b < blocks; b++)); do
		for size in "${ends[@]}"; do
			now[$size]=$(sql "$size" "CALL bench.changes('$p', '${now[$size]}', $((b * 100)), $((rounds * 3)), 1000)")
		done
	done
	for size in "${ends[@]}"; do
		[ "$size" -lt 50000 ] || now[$size]=$(sql "$size" "CALL bench.changes('$p', '${now[$size]}', 5000, $((rounds * 2)), 16000)")
		sql "$size" "CALL bench.verify('$p', '${now[$size]}')"
		sql "$size" "SELECT journey.drop_segment('$p')" >/dev/null
		for changed in 1000 16000; do
			[ "$changed" = 1000 ] || [ "$size" -ge 50000 ] || continue
			awk -v n="$size" -v p="$p" -v k=$changed -v b="$(median "$size" "bare $changed" "$p")" -v o="$(median "$size" "own $changed" "$p")" -v t="$(median "$size" "tick $changed" "$p")" \
				-v i="$(median "$size" 'idle tick' "$p")" \
				'BEGIN { printf "%10d %8s %8d | %9.2f %9.2f %9.2f | %8.2f %8.2f | %8.2f\n", n, p, k, b, o, t, o / b, t / b, i }'
		done
	done
	awk -v p="$p" -v t1="$(median "$first" 'tick 1000' "$p")" -v t2="$(median "$last" 'tick 1000' "$p")" -v c1="$(median "$first" 'bare 1000' "$p")" -v c2="$(median "$last" 'bare 1000' "$p")" \
		-v a="$first" -v b="$last" 'BEGIN { printf "growth, %s: with %d contacts a tick costs %.2f times as much as with %d, the bare statement %.2f times\n", p, b, t2 / t1, a, c2 / c1 }'
done
