#!/bin/bash
# make demo: a year of a real shop's orders through three journeys, then the
# last week's mails through the relay to a mail server on loopback.
#
# Everything happens in a throw-away directory: programs, server, mails.  No
# cluster of this machine is touched.  PGJ_KEEP=1 keeps the directory.
set -euo pipefail
# shellcheck source=tools/sandbox.sh
. "$(dirname "$0")/../tools/sandbox.sh"

end='2011-12-09 13:00 Europe/London'			# just after the last order
live_from='2011-12-02 13:00 Europe/London'		# the relay delivers from here on
withdrawal='2011-06-01 00:00 Europe/London'		# some customers change their mind

export PGOPTIONS='-c client_min_messages=warning'
server_started=
mailbox_pid=
finish() {
	local status=$?
	if [ $status -ne 0 ] && [ -n "${sandbox:-}" ]; then tail -n 20 "$sandbox"/*.log >&2 2>/dev/null || true; fi
	if [ -n "$mailbox_pid" ]; then kill "$mailbox_pid" 2>/dev/null || true; fi
	if [ -n "$server_started" ]; then as_user pg_ctl -D "$sandbox/db" -m immediate stop >/dev/null 2>&1 || true; fi
	if [ -n "${sandbox:-}" ]; then sandbox_remove; fi
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

times=
part() {
	local now
	now=$(date +%s%N)
	if [ -n "${part_name:-}" ]; then
		times+=$(awk -v n="$part_name" -v t=$((now - part_started)) 'BEGIN { printf "  %-34s %6.1f s", n, t / 1e9 }')$'\n'
	fi
	part_name=${1:-}
	# whoever watches sees that something is going on
	if [ -t 2 ] && [ -n "$part_name" ]; then printf '%s ...\n' "$part_name" >&2; fi
	part_started=$now
}
title() { printf '\n%s\n%s\n' "$1" "${1//?/-}"; }

database() { as_user psql -X -q -v ON_ERROR_STOP=1 -h "$sandbox" -d shop "$@"; }
shop() { database -U shop "$@"; }
# a query's rows, indented, without frame
show() { shop -P border=0 -P footer=off -P null=- "$@" | sed -e 's/^/  /' -e 's/ *$//' -e '/^$/d'; }

part "packages, programs"
sandbox_make demo
part "build and install"
sandbox_build >"$sandbox/build.log" 2>&1

part "start a server and a mail server"
as_user initdb -D "$sandbox/db" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$sandbox/initdb.log"
# No background worker: the clock of this demo is virtual.
cat >>"$sandbox/db/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$sandbox'
shared_buffers = 256MB
max_wal_size = 2GB
timezone = 'Europe/London'
CONF
as_user pg_ctl -D "$sandbox/db" -l "$sandbox/server.log" -w start >/dev/null
server_started=1
as_user mkdir "$sandbox/mail"
as_user python3 "$sandbox/src/demo/mailbox.py" "$sandbox/mail" >"$sandbox/mailbox.log" 2>&1 &
mailbox_pid=$!
for _ in $(seq 100); do [ -s "$sandbox/mail/port" ] && break; kill -0 "$mailbox_pid" || exit 1; sleep 0.1; done
smtp=$(cat "$sandbox/mail/port")
as_user createdb -h "$sandbox" -U postgres shop

part "load and capture the orders"
database -U postgres -v data="$sandbox/src/data/online_retail_orders.csv.gz" -f "$sandbox/src/demo/shop.sql"
shop -v smtp="$smtp" -v root="$sandbox/src" -f "$sandbox/src/demo/journeys.sql"

part "a year of journeys"
shop <<SQL >/dev/null
SELECT journey.replay('$withdrawal', assume_sent => true);
-- one customer in forty opts out
SELECT journey.set_consent(id, 'email', 'promotions', false, 'unsubscribe link', at => '$withdrawal')
FROM shop.customers WHERE id % 40 = 3;
SELECT journey.replay('$live_from', assume_sent => true);
SELECT journey.replay('$end');
SQL

part "relay delivers the last week"
token=$(database -U postgres -Atc "SELECT journey.issue_site_token()")
as_user install -m 600 /dev/null "$sandbox/relay.ini"
as_user tee "$sandbox/relay.ini" >/dev/null <<CONF
[relay]
conninfo = host=$sandbox dbname=shop user=shop
relay_name = demo
site_token = $token
CONF
as_user journey-relay --config "$sandbox/relay.ini" --once --at "$end" >"$sandbox/relay.log" 2>&1
part

title "Loaded"
show -c "SELECT (SELECT count(*) FROM shop.customers) AS customers, (SELECT count(*) FROM shop.orders) AS orders,
	(SELECT sum(total) FROM shop.orders) AS revenue,
	(SELECT count(*) FROM journey_state.event) AS events, (SELECT count(*) FROM journey_state.consent WHERE granted) AS consents,
	(SELECT count(*) FROM journey_state.consent WHERE NOT granted) AS withdrawn"

title "What three journeys did with a year of it"
show -f "$sandbox/src/demo/report.sql"
echo '  The relay starts a week late here: what was older than its EXPIRES by then is withheld as expired.'

title "second_purchase: treatment against holdout, orders within 60 days"
shop -At -v end="$end" -f "$sandbox/src/demo/lift.sql" | sed -e 's/^/  /' -e 's/ *$//'

# somebody the relay wrote to, whose story is short and has a message that was withheld
contact=$(shop -At -f "$sandbox/src/demo/somebody.sql")
title "One of the $(find "$sandbox/mail" -name '*.eml' | wc -l) mails that the relay delivered"
mail=$(grep -l "^Delivered-To: c$contact@" "$sandbox"/mail/*.eml | head -n 1)
tr -d '\r' <"$mail" | sed 's/^/  | /'

title "Why: journey.explain($contact)"
show -v contact="$contact" -f "$sandbox/src/demo/explain.sql"

title "Time"
printf '%s' "$times"
if [ -n "${PGJ_KEEP:-}" ]; then
	printf '\nLook around: start the server with\n  %s/pg_ctl -D %s/db -l %s/server.log start\nthen\n  %s/psql -h %s -U shop shop\n' "$bindir" "$sandbox" "$sandbox" "$bindir" "$sandbox"
fi
