#!/bin/bash
# The tests of the gate must fail on builds with a fault planted on purpose, each for
# the reason that the fault is:
#
#	1	no second look at consent: messages go after a withdrawal, in the races
#	2	caps that count nothing: the model
#	6	caps counted as of before the lock: a contact over the cap, in the load test
#	7	locks in no order: a deadlock, in the load test
#	8	addresses taken without a look at who else takes them: claims wait for
#		each other in a circle, or one address gets a message twice, in its load test
#	9	claims do not say what suppressions they look at: messages go after one, in
#		the races
#
# What a short run meets is a matter of luck, so it is repeated until the fault
# shows, up to ATTEMPTS times; the model's seeds are SEED, SEED + 1, ….
#
# Usage: test/gate/sabotage.sh [CYCLES]; TAP output.
set -uo pipefail
# shellcheck source=tools/sandbox.sh
. "$(dirname "$0")/../../tools/sandbox.sh"

cycles=${1:-12}
failed=0
n=0

model() {
	as_user env PG_CONFIG="$PG_CONFIG" TESTDIR="$sandbox/model" FIRST=1 SEED="$1" "$sandbox/src/test/gate/run.sh" "$cycles" >"$sandbox/gate.log" 2>&1
}

load() {
	as_user make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" installcheck REGRESS= ISOLATION= PROVE_FLAGS=-v PROVE_TESTS="test/t/$1.pl" >"$sandbox/gate.log" 2>&1
}

# sign PATTERN: the first line that shows the fault
sign() {
	grep -hE "$1" "$sandbox/gate.log" "$sandbox"/src/tmp_check*/log/*.log 2>/dev/null | head -n 1
}

# what the fault does not touch need not be compiled again
touched() {
	grep -l PGJ_SABOTAGE "$sandbox"/src/src/{gate,engine}/*.c | sed 's/c$/o/'
}

echo 1..6
sandbox_make gate
trap sandbox_remove EXIT
if ! sandbox_build >"$sandbox/build.log" 2>&1; then
	cat "$sandbox/build.log"
	exit 1
fi
for fault in 1 2 6 7 8 9; do
	n=$((n + 1))
	# shellcheck disable=SC2046
	rm -f "$sandbox/src/pg_journey.so" $(touched)
	if ! sandbox_build COPT="-DPGJ_SABOTAGE=$fault" >"$sandbox/build.log" 2>&1; then
		cat "$sandbox/build.log"
		echo "not ok $n - the sabotaged build $fault does not build"
		failed=1
		continue
	fi
	found=
	for ((attempt = 0; attempt < ${ATTEMPTS:-5}; attempt++)); do
		case $fault in
		2) model $((${SEED:-1} + attempt)) && continue; found=$(sign '^# MISMATCH: contact') ;;
		6) load 045_cap_load && continue; found=$(sign '^not ok .*(nobody was handed more|nor was more)') ;;
		7) load 045_cap_load && continue; found=$(sign 'deadlock detected') ;;
		8) load 047_shared_address_load && continue; found=$(sign '^not ok .*(each address got|nobody waited in a circle)|deadlock detected') ;;
		1 | 9) load 048_consent_race && continue; found=$(sign '^not ok .*no message was handed over after') ;;
		esac
		[ -z "$found" ] || break
	done
	if [ -n "$found" ]; then
		echo "ok $n - sabotage $fault is caught at attempt $((attempt + 1)): $found"
	else
		tail -n 40 "$sandbox/gate.log"
		echo "not ok $n - sabotage $fault is not caught"
		failed=1
	fi
	echo "# $SECONDS s"
done
exit $failed
