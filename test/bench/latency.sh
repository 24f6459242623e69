#!/bin/bash
# setting: shared_preload_libraries = 'pg_journey'
# setting: track_commit_timestamp = on
# setting: max_worker_processes = 16
# From the commit of an event to the commit of its message, both by the server's
# commit timestamps: the shop inserts a captured row, the worker does the rest.
set -euo pipefail
here=$(dirname "$0")
rate=${BENCH_RATE:-200}
seconds=${BENCH_SECONDS:-60}
if [ -n "${BENCH_SHORT:-}" ]; then seconds=5; fi

psql -X -q -v contacts=10000 -f "$here/setup.sql"
PGUSER=shop psql -X -q -v ON_ERROR_STOP=1 >/dev/null <<SQL
SELECT journey.create_journey('hello', 'ON EVENT started TOPIC promotions SEND email hello;');
SELECT journey.activate('hello');
SQL
cat >"$PGDATA/latency.pgbench" <<'PGBENCH'
\set contact random(1, 10000)
INSERT INTO bench.happening VALUES (:contact, 'started', clock_timestamp());
PGBENCH

# the worker is up when it has done one event
PGUSER=shop psql -X -q -c "INSERT INTO bench.happening VALUES (1, 'started', clock_timestamp())"
for _ in $(seq 600); do
	[ "$(PGUSER=shop psql -X -Atq -c 'SELECT count(*) FROM journey_state.enrollment')" = 0 ] || break
	sleep 0.1
done

PGUSER=shop pgbench -n -c 4 -R "$rate" -T "$seconds" -f "$PGDATA/latency.pgbench" 2>&1 | sed -n 's/^tps = \([0-9.]*\).*/  events\/s: \1/p'

done_sql="SELECT count(*) = (SELECT count(*) FROM bench.happening) FROM journey_state.transition WHERE step_no = 0"
for _ in $(seq 300); do
	[ "$(PGUSER=shop psql -X -Atq -c "$done_sql")" = t ] && break
	sleep 0.1
done
psql -X -q -P border=0 -P footer=off <<'SQL'
SELECT count(*) AS messages,
	round((percentile_cont(0.5) WITHIN GROUP (ORDER BY ms))::numeric, 1) AS p50_ms,
	round((percentile_cont(0.9) WITHIN GROUP (ORDER BY ms))::numeric, 1) AS p90_ms,
	round((percentile_cont(0.99) WITHIN GROUP (ORDER BY ms))::numeric, 1) AS p99_ms,
	round(max(ms)::numeric, 1) AS max_ms
FROM (
	SELECT extract(epoch FROM pg_xact_commit_timestamp(m.xmin) - pg_xact_commit_timestamp(e.xid::xid)) * 1000 AS ms
	FROM journey_state.message m
	JOIN journey_state.enrollment n USING (contact, enrollment_id)
	JOIN journey_state.event e ON e.contact = n.contact AND e.event_id = n.event_id
) AS latency;
SQL
