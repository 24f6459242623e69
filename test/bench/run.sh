#!/bin/bash
# Print the figures.  Usage: test/bench/run.sh [NAME…]	(default: all)
#
#	tick		steps/s and messages/s of journey.tick() with 10^4 due out of 10^4,
#				10^5 and 10^6 waiting, beside plain UPDATE and INSERT … SELECT
#	churn		BENCH_SECONDS (120) of nothing but steps, without and with an old
#				snapshot held open elsewhere
#	latency		from the commit of an event to its message being claimable, at
#				BENCH_RATE (200) events/s for BENCH_SECONDS, the worker running
#	relay		messages/s through the relay to a local SMTP sink
#	capture		what capture costs the shop's INSERT
#	gate		decisions/s under 0, 1, 3 and 10 caps beside the same inserts without a
#				gate; one decision with 10, 10^3 and 10^5 earlier messages
#	segment		segments beside the bare SQL of their predicates: first build, flips by
#				the clock, changed contacts, growth from 10^5 to 10^6 contacts
#	segment_insert	what 1, 10 and 47 segments cost the shop's writes
#	segment_peers	one condition kept by a segment, a refreshed materialized view
#				and, if it is installed, pg_ivm
#	segment_lag	from the commit of a change to the membership, 47 segments of
#				180,000 contacts at BENCH_RATE (500) changes/s, the worker running
#
# BENCH_SHORT=1 makes all of them short.  Servers run in a throw-away directory
# with fsync on.  The machine should have nothing else to do: read ratios first.
#
# A bench is a script NAME.sh here, run as the sandbox's user in its own fresh
# server, with PGHOST, PGPORT, PGUSER, PGDATABASE (an empty database, connection
# as superuser; role shop exists), PGDATA, and pg_journey installed.  Its
# first lines may name settings of the server: "# setting: name = value".
set -euo pipefail
# shellcheck source=tools/sandbox.sh
. "$(dirname "$0")/../../tools/sandbox.sh"

names=("$@")
[ ${#names[@]} -gt 0 ] || names=(tick churn latency relay capture gate segment segment_insert segment_peers segment_lag)

started=
finish() {
	local status=$?
	if [ -n "$started" ]; then as_user pg_ctl -D "$PGDATA" -m immediate stop >/dev/null 2>&1 || true; fi
	if [ -n "${sandbox:-}" ]; then sandbox_remove; fi
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

sandbox_make bench
sandbox_build >"$sandbox/build.log" 2>&1 || { tail -n 20 "$sandbox/build.log" >&2; exit 1; }

export PGHOST=$sandbox PGPORT=${PGPORT:-5432} PGUSER=postgres PGDATABASE=bench PGOPTIONS='-c client_min_messages=warning'
echo "$(date -u +%F), $(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1), $(nproc) CPUs, $(awk '/MemTotal/ { printf "%.0f GB", $2 / 1048576 }' /proc/meminfo), $(as_user postgres --version), load $(cut -d' ' -f1 /proc/loadavg)"

for name in "${names[@]}"; do
	script=$sandbox/src/test/bench/$name.sh
	[ -f "$script" ] || { echo "no bench \"$name\"" >&2; exit 2; }
	export PGDATA=$sandbox/data-$name
	as_user initdb -D "$PGDATA" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null
	cat >>"$PGDATA/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$sandbox'
port = $PGPORT
shared_buffers = 1GB
max_wal_size = 8GB
checkpoint_timeout = 15min
work_mem = 64MB
timezone = 'UTC'
$(sed -n 's/^# setting: //p' "$script")
CONF
	as_user pg_ctl -D "$PGDATA" -l "$sandbox/server-$name.log" -w start >/dev/null
	started=1
	as_user psql -X -q -d postgres -c 'CREATE DATABASE bench' -c 'CREATE ROLE shop LOGIN'
	printf '\n== %s\n' "$name"
	if ! as_user bash "$script"; then
		tail -n 20 "$sandbox/server-$name.log" >&2
		exit 1
	fi
	as_user pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
	started=
	rm -rf "$PGDATA"
done
