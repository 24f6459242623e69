#!/bin/bash
# sustained steps without and with an old snapshot held open elsewhere
set -euo pipefail
here=$(dirname "$0")
contacts=20000
seconds=${BENCH_SECONDS:-120}
if [ -n "${BENCH_SHORT:-}" ]; then contacts=5000; seconds=10; fi

psql -X -q -v contacts=$contacts -f "$here/setup.sql"
PGUSER=shop psql -X -q -v contacts=$contacts -f "$here/churn.sql"
waits=$((contacts > 5000 ? 3000 : 2000))
PGUSER=shop psql -X -q -v ON_ERROR_STOP=1 >/dev/null <<SQL
SELECT journey.create_journey('churn', 'ON EVENT started TOPIC promotions ' || repeat(E'WAIT ''1 second'';\n', $waits));
SELECT journey.activate('churn');
INSERT INTO bench.happening SELECT id, 'started', '2026-01-01' FROM bench.contact;
CALL bench.tick('2026-01-01', 0, 0);
SQL
psql -X -q -c 'VACUUM ANALYZE'

sizes() { psql -X -Atq -c "SELECT format('tables and indexes of journey_state: %s', pg_size_pretty(sum(pg_total_relation_size(oid)))) FROM pg_class WHERE relnamespace = 'journey_state'::regnamespace AND relkind = 'r'"; }
run() { PGUSER=shop psql -X -q -c "CALL bench.churn($seconds, '$1')" 2>&1 | sed -n 's/^INFO:  /  /p'; }

echo "no other transaction, $seconds s"
run 2026-01-01
sizes

echo "a REPEATABLE READ transaction held open, $seconds s"
# it takes its snapshot, says so, and stays until it is ended
mkfifo "$PGDATA/holder"
psql -X -Atq <"$PGDATA/holder" >"$PGDATA/held" &
holder=$!
exec 9>"$PGDATA/holder"
echo "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'held' FROM bench.contact LIMIT 1;" >&9
until grep -q held "$PGDATA/held"; do sleep 0.1; done
run "$(PGUSER=shop psql -X -Atq -c "SELECT max(at) FROM journey_state.transition")"
echo 'COMMIT;' >&9
exec 9>&-
wait $holder
sizes
