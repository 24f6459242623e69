#!/bin/bash
# setting: shared_preload_libraries = 'pg_journey'
# setting: track_commit_timestamp = on
# setting: max_worker_processes = 16
# 47 segments of 180,000 contacts, all of which read the orders, and an order of
# another contact BENCH_RATE (500) times a second for BENCH_SECONDS (60), the
# worker running.  Each order makes its contact enter the first segment: from
# the commit of the order to the commit of the membership, both by the server's
# commit timestamps; and what the worker's process takes of one CPU.
set -euo pipefail
here=$(dirname "$0")
rate=${BENCH_RATE:-500}
seconds=${BENCH_SECONDS:-60}
contacts=180000
segments=47
if [ -n "${BENCH_SHORT:-}" ]; then seconds=5 contacts=20000; fi

sql() { PGUSER=shop psql -X -Atq -v ON_ERROR_STOP=1 -c "$1"; }
wait_for() { # QUESTION: until it is answered with t
	for _ in $(seq "${2:-600}"); do
		[ "$(sql "$1")" != t ] || return 0
		sleep 0.1
	done
	echo "this did not happen: $1" >&2
	exit 1
}

# the orders end a day and more ago, so that nobody is in the first segment
psql -X -q -v contacts=$contacts -v t0="$(date -u -d '-2 days' '+%F %T')" -f "$here/segment.sql"
sql "CALL bench.segments($segments, 'bench.orders', clock_timestamp())"
started=$(date +%s%N)
wait_for "SELECT count(*) = $segments FROM journey.segment WHERE status = 'current'" 6000
printf '%d segments of %d contacts built by the worker (its time since the last was created): %.1f s\n' $segments $contacts "$((($(date +%s%N) - started) / 1000000))e-3"
psql -X -q -c 'VACUUM ANALYZE' -c CHECKPOINT
sql 'CREATE SEQUENCE bench.turn; CREATE TABLE bench.begun AS SELECT max(id) AS id FROM bench.orders'
cat >"$PGDATA/lag.pgbench" <<PGBENCH
INSERT INTO bench.orders (contact_id, ordered_at, amount) VALUES (nextval('bench.turn') * 7919 % $contacts + 1, clock_timestamp(), 30);
PGBENCH

worker=$(psql -X -Atqc "SELECT pid FROM journey.workers() WHERE database = current_database()")
ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$worker/stat"; }
idle=$(ticks)
sleep 5
printf 'worker, nothing to do but the clock: %.1f %% of a CPU\n' "$(awk -v a="$idle" -v b="$(ticks)" -v hz="$(getconf CLK_TCK)" 'BEGIN { print (b - a) * 100 / hz / 5 }')"

before=$(ticks)
PGUSER=shop pgbench -n -M prepared -c 4 -R "$rate" -T "$seconds" -f "$PGDATA/lag.pgbench" 2>&1 | sed -n 's/^tps = \([0-9.]*\).*/orders\/s: \1/p'
awk -v a="$before" -v b="$(ticks)" -v hz="$(getconf CLK_TCK)" -v s="$seconds" 'BEGIN { printf "worker: %.0f %% of a CPU\n", (b - a) * 100 / hz / s }'

first="(SELECT segment_id FROM journey.segment WHERE name = 'bench.orders 0')"
wait_for "SELECT count(*) = (SELECT count(DISTINCT contact_id) FROM bench.orders o, bench.begun b WHERE o.id > b.id) FROM journey_state.membership WHERE segment_id = $first AND member"
psql -X -q -P border=0 -P footer=off <<SQL
SELECT count(*) AS orders, round((percentile_cont(0.5) WITHIN GROUP (ORDER BY ms))::numeric, 1) AS p50_ms, round((percentile_cont(0.9) WITHIN GROUP (ORDER BY ms))::numeric, 1) AS p90_ms,
	round((percentile_cont(0.99) WITHIN GROUP (ORDER BY ms))::numeric, 1) AS p99_ms, round(max(ms)::numeric, 1) AS max_ms
FROM (
	SELECT extract(epoch FROM pg_xact_commit_timestamp(m.xmin) - pg_xact_commit_timestamp(o.xmin)) * 1000 AS ms
	FROM bench.orders o JOIN bench.begun b ON o.id > b.id
	JOIN journey_state.membership m ON m.segment_id = $first AND m.contact = o.contact_id AND m.member
) AS lag;
SELECT sum(entered) AS entered, sum(left_it) AS left_it FROM journey_state.segment_change WHERE cause <> 'scan';
SQL
