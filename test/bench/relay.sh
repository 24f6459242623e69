#!/bin/bash
# setting: max_connections = 30
# Messages/s through journey-relay to a local SMTP sink (postfix smtp-sink).
#
# Usage: as the other benches (run.sh relay), or by itself with the PG* variables
# of an empty database.  BENCH_MESSAGES (20000) messages of BENCH_BYTES (4000) over BENCH_CONNECTIONS
# ("1 8 32") connections.  The database's side is the contract alone, one plain table
# (test/relay/contract.sql): the figure is the relay's own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
relay=${PGJ_RELAY:-$(command -v journey-relay || echo "$here/../../src/relay/journey-relay")}
messages=${BENCH_MESSAGES:-20000}
[ -z "${BENCH_SHORT:-}" ] || messages=2000
bytes=${BENCH_BYTES:-4000}
sink=$(PATH=$PATH:/usr/sbin command -v smtp-sink) || { echo "relay: smtp-sink (package postfix) is not installed, skipped"; exit 0; }
work=$(mktemp -d)
port=${BENCH_SMTP_PORT:-$((20000 + RANDOM % 10000))}

"$sink" -c 127.0.0.1:"$port" 1000 >/dev/null 2>&1 &
sink_pid=$!
trap 'kill $sink_pid; rm -rf "$work"' EXIT

psql -X -q -v ON_ERROR_STOP=1 -f "$here/../relay/contract.sql" >/dev/null
psql -X -q -v ON_ERROR_STOP=1 <<SQL
ALTER TABLE journey.message SET (fillfactor = 70);
SQL
for connections in ${BENCH_CONNECTIONS:-1 8 32}; do
	psql -X -q -v ON_ERROR_STOP=1 <<SQL
TRUNCATE journey.message, journey.receipt;
INSERT INTO journey.message (idempotency_key, recipient, settings, body)
SELECT 'k' || i, 'c' || i || '@test.example', '{"url": "smtp://127.0.0.1:$port", "from": "Shop <hi@shop.example>"}', repeat('All work and no play makes a dull message. ', $bytes / 43)
FROM generate_series(1, $messages) i;
VACUUM ANALYZE journey.message;
SQL
	cat >"$work/relay.ini" <<INI
[relay]
site_token = right token
max_connections = $connections
max_in_flight = 200
claim_batch = 200
tls = none
log_level = warning
INI
	chmod 600 "$work/relay.ini"
	start=$(date +%s.%N)
	PGJ_SECRET_SITE_TOKEN='right token' "$relay" --config "$work/relay.ini" --once
	end=$(date +%s.%N)
	sent=$(psql -X -A -t -c "SELECT count(*) FROM journey.message WHERE status = 'sent'")
	awk -v n="$sent" -v m="$messages" -v s="$start" -v e="$end" -v c="$connections" -v b="$bytes" \
		'BEGIN { printf "relay: %d connections, %d of %d messages of %d bytes in %.1f s: %.0f messages/s\n", c, n, m, b, e - s, n / (e - s) }'
done
