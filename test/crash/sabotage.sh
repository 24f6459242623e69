#!/bin/bash
# The crash harness must fail on builds with a fault planted on purpose.
# Usage: test/crash/sabotage.sh [CYCLES]; TAP output.
#
# What a few cycles meet is a matter of luck, so they are repeated until the
# fault shows, up to ATTEMPTS times.
set -uo pipefail
# shellcheck source=tools/sandbox.sh
. "$(dirname "$0")/../../tools/sandbox.sh"

signs=('' 'consent' 'cap was overrun')
cycles=${1:-6}
failed=0
echo 1..2
for fault in 1 2; do
	sandbox_make "sabotage$fault"
	trap sandbox_remove EXIT
	if ! sandbox_build COPT="-DPGJ_SABOTAGE=$fault" >"$sandbox/build.log" 2>&1; then
		cat "$sandbox/build.log"
		echo "not ok $fault - the sabotaged build $fault does not build"
		failed=1
		continue
	fi
	for ((attempt = 1; attempt <= ${ATTEMPTS:-5}; attempt++)); do
		as_user env PG_CONFIG="$PG_CONFIG" TESTDIR="$sandbox/crash" "$sandbox/src/test/crash/run.sh" "$cycles" >"$sandbox/crash.log" 2>&1
		law=$(sed -n 's/^not ok [0-9]* - //p' "$sandbox/crash.log" | grep -E "${signs[fault]}" | head -n 1)
		[ -z "$law" ] || break
	done
	if [ -n "$law" ]; then
		echo "ok $fault - sabotage $fault is caught: $law"
	else
		tail -n 40 "$sandbox/crash.log"
		echo "not ok $fault - sabotage $fault is not caught"
		failed=1
	fi
	sandbox_remove
	trap - EXIT
done
exit $failed
