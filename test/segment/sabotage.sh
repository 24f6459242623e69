#!/bin/bash
# The differential test must fail on builds with a fault planted on purpose: one
# condition on time forgotten, one watch forgotten, marks for old rows forgotten.
# Usage: test/segment/sabotage.sh [CYCLES]; TAP output.
set -uo pipefail
# shellcheck source=tools/sandbox.sh
. "$(dirname "$0")/../../tools/sandbox.sh"

cycles=${1:-12}
failed=0
echo 1..3
sandbox_make segments
trap sandbox_remove EXIT
if ! sandbox_build >"$sandbox/build.log" 2>&1; then
	cat "$sandbox/build.log"
	exit 1
fi
for fault in 3 4 5; do
	rm -f "$sandbox"/src/pg_journey.so "$sandbox"/src/src/segment/*.o
	if ! sandbox_build COPT="-DPGJ_SABOTAGE=$fault" >"$sandbox/build.log" 2>&1; then
		cat "$sandbox/build.log"
		echo "not ok $((fault - 2)) - the sabotaged build $fault does not build"
		failed=1
		continue
	fi
	as_user env PG_CONFIG="$PG_CONFIG" TESTDIR="$sandbox/segments" "$sandbox/src/test/segment/run.sh" "$cycles" >"$sandbox/segments.log" 2>&1
	found=$(grep -c '^# MISMATCH: ' "$sandbox/segments.log")
	if [ "$found" -gt 0 ]; then
		echo "ok $((fault - 2)) - sabotage $fault is caught in $found of $cycles cycles"
	else
		tail -n 40 "$sandbox/segments.log"
		echo "not ok $((fault - 2)) - sabotage $fault is not caught"
		failed=1
	fi
done
exit $failed
