#!/bin/bash
# The tests of the gate must fail on builds with a fault planted on purpose: no
# second look at consent, caps that count nothing (the model finds both), caps counted
# without a lock, locks in no order, addresses taken without a look at who else takes them
# (the load tests do).
# Usage: test/gate/sabotage.sh [CYCLES]; TAP output.
set -uo pipefail
# shellcheck source=tools/sandbox.sh
. "$(dirname "$0")/../../tools/sandbox.sh"

cycles=${1:-12}
failed=0
n=0
echo 1..5
sandbox_make gate
trap sandbox_remove EXIT
if ! sandbox_build >"$sandbox/build.log" 2>&1; then
	cat "$sandbox/build.log"
	exit 1
fi
for fault in 1 2 6 7 8; do
	n=$((n + 1))
	rm -f "$sandbox"/src/pg_journey.so "$sandbox"/src/src/{gate,engine}/*.o
	if ! sandbox_build COPT="-DPGJ_SABOTAGE=$fault" >"$sandbox/build.log" 2>&1; then
		cat "$sandbox/build.log"
		echo "not ok $n - the sabotaged build $fault does not build"
		failed=1
		continue
	fi
	if [ "$fault" -le 2 ]; then
		# what a few cycles meet is a matter of luck
		for ((attempt = 1; attempt <= ${ATTEMPTS:-5}; attempt++)); do
			as_user env PG_CONFIG="$PG_CONFIG" TESTDIR="$sandbox/model" SEED="$((${SEED:-0} + attempt))" "$sandbox/src/test/gate/run.sh" "$cycles" >"$sandbox/gate.log" 2>&1
			found=$(grep -c '^# MISMATCH: contact' "$sandbox/gate.log")
			[ "$found" -eq 0 ] || break
		done
	else
		load=045_cap_load
		[ "$fault" -eq 8 ] && load=047_shared_address_load
		as_user make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" installcheck REGRESS= ISOLATION= PROVE_FLAGS=-v PROVE_TESTS="test/t/$load.pl" >"$sandbox/gate.log" 2>&1
		found=$(cat "$sandbox/gate.log" "$sandbox"/src/tmp_check*/log/*"$load"* 2>/dev/null | grep -cE '^not ok|deadlock detected|duplicate key')
	fi
	if [ "$found" -gt 0 ]; then
		echo "ok $n - sabotage $fault is caught"
	else
		tail -n 40 "$sandbox/gate.log"
		echo "not ok $n - sabotage $fault is not caught"
		failed=1
	fi
done
exit $failed
