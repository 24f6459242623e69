#!/bin/bash
# Run test suites in a throw-away installation and sum them up.
#
# Usage: test/run.sh [SUITE…]		default: all of them
#
#	house		rules of the source tree
#	unit		the relay's own tests
#	regress, isolation, tap
#	fuzz		FUZZ_SECONDS each (10)
#	segments	SEGMENT_CYCLES (12) of random segments; SEED
#	gate-model	GATE_CYCLES (12) of random histories against a model of the gate; SEED
#	crash		CRASH_CYCLES (20)
#	sabotage	faults planted on purpose, which the crash suite must find
#	segments-sabotage	the same for the segments suite
#	gate-sabotage	the same for the model and the load test of the gate
#	gate-load	CAP_DECISIONS (1000000) on hot contacts with a cap; a short run is in tap
#	consent-race	CONSENT_RACES (100000) of withdrawals and suppressions against claims; a short run is in tap
#
# Prints "N passed, N failed" last; exits 1 when anything failed.  PGJ_TEST_DATA
# names the directory of test data that may not be shipped (../shared/data if
# that exists); tests that need it are skipped without.  PGJ_KEEP=1 keeps the
# sandbox, PGJ_WERROR=1 makes warnings errors.
set -uo pipefail
# shellcheck source=tools/sandbox.sh
. "$(dirname "$0")/../tools/sandbox.sh"

all=(house unit regress isolation tap fuzz segments gate-model crash sabotage segments-sabotage gate-sabotage)
more=(consent-race gate-load)	# only by name
suites=("$@")
[ ${#suites[@]} -gt 0 ] || suites=("${all[@]}")
for suite in "${suites[@]}"; do
	[[ " ${all[*]} ${more[*]} " == *" $suite "* ]] || { echo "no suite \"$suite\"; there are: ${all[*]} ${more[*]}" >&2; exit 2; }
done

if [ -z "${PGJ_TEST_DATA:-}" ] && [ -d "$root/../shared/data" ]; then
	PGJ_TEST_DATA=$root/../shared/data
fi
if [ -n "${PGJ_TEST_DATA:-}" ]; then
	PGJ_TEST_DATA=$(realpath "$PGJ_TEST_DATA")
	export PGJ_TEST_DATA
fi

passed=0
failed=0
log=

# add PASSED FAILED STATUS: a suite that ends badly counts as one failure at least
add() {
	local p=$1 f=$2
	if [ "$3" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; fi
	passed=$((passed + p))
	failed=$((failed + f))
	printf '   %d passed, %d failed\n' "$p" "$f"
}

count() { grep -cE "$1" "$log" || true; }

# "test name ... ok" of PostgreSQL 15, "ok 1 - name" of later ones
pg_regress_suite() {
	as_user "$@" >"$log" 2>&1
	local status=$?
	grep -vE '^(make|CREATE DATABASE|ALTER DATABASE|running on port|\+\+\+ |\(using|============|=+$)|\.\.\. ok |^ok |^$|^ All [0-9]+ tests passed' "$log"
	if [ $status -ne 0 ]; then
		find "$sandbox/src" -maxdepth 3 -name regression.diffs -newer "$sandbox/started" -exec cat {} \;
		find "$sandbox/src" -maxdepth 5 -path '*log/initdb.log' -newer "$sandbox/started" -exec tail -n 5 {} \;
	fi
	add "$(count '(\.\.\. ok +[0-9]+ ms|^ok [0-9]+ )')" "$(count '(\.\.\. FAILED|^not ok [0-9]+ )')" $status
}

# TAP: top-level lines only; "not ok … # TODO" is no failure, a skip no pass
tap_suite() {
	"$@" >"$log" 2>&1
	local status=$?
	grep -E '^(not ok|# |1\.\.0 # SKIP|[^ ].*skipped)' "$log" | grep -vE ' level=(debug|info|warning|error) | (ok|skipped)$|^# (Postmaster|Running)'
	if [ $status -ne 0 ] && ! grep -qE '^not ok' "$log"; then tail -n 40 "$log"; fi
	if [ $status -ne 0 ]; then
		# what a test that died left in its own log
		find "$sandbox"/src/tmp_check*/ -name 'regress_log_*' -newer "$sandbox/started" 2>/dev/null |
			while read -r file; do
				grep -HE -A8 '^error running|died|\[.*\] *#' "$file" | sed 's/^.*regress_log_//' | head -n 40
				grep -q 'All [0-9]* tests successful\|done_testing\|^1\.\.' "$file" || tail -n 15 "$file"
			done
	fi
	add "$(grep -E '^ok\b' "$log" | grep -cviE '# skip')" "$(grep -E '^not ok\b' "$log" | grep -cviE '# todo')" $status
}

suite_house() { tap_suite as_user bash -c 'cd "$0" && test/house/symbols.sh pg_journey.so; perl test/house/check.pl' "$sandbox/src"; }
suite_unit() { tap_suite as_user make -s -C "$sandbox/src/src/relay" check; }
suite_regress() { pg_regress_suite make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" installcheck ISOLATION= TAP_TESTS=; }
suite_isolation() { pg_regress_suite make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" installcheck REGRESS= TAP_TESTS=; }
suite_tap() { tap_suite as_user make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" installcheck REGRESS= ISOLATION= PROVE_FLAGS=-v; }
suite_fuzz() { tap_suite as_user "$sandbox/src/test/fuzz/run.sh" "${FUZZ_SECONDS:-10}"; }
# a short run is the same each time; long ones find new cases
suite_segments() {
	local seed=${SEED:-}
	[ -n "${SEGMENT_CYCLES:-}" ] || seed=${seed:-493440}
	tap_suite as_user env ${seed:+SEED="$seed"} "$sandbox/src/test/segment/run.sh" "${SEGMENT_CYCLES:-12}"
}
suite_gate-model() {
	local seed=${SEED:-}
	[ -n "${GATE_CYCLES:-}" ] || seed=${seed:-1}
	tap_suite as_user env ${seed:+SEED="$seed"} "$sandbox/src/test/gate/run.sh" "${GATE_CYCLES:-12}"
}
suite_crash() { tap_suite as_user "$sandbox/src/test/crash/run.sh" "${CRASH_CYCLES:-20}"; }

suite_consent-race() {
	tap_suite as_user env PGJ_CONSENT_RACES="${CONSENT_RACES:-100000}" make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" \
		installcheck REGRESS= ISOLATION= PROVE_FLAGS=-v PROVE_TESTS=test/t/048_consent_race.pl
}

suite_gate-load() {
	tap_suite as_user env PGJ_CAP_DECISIONS="${CAP_DECISIONS:-1000000}" PGJ_CAP_WINDOW='20 seconds' make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" \
		installcheck REGRESS= ISOLATION= PROVE_FLAGS=-v PROVE_TESTS=test/t/045_cap_load.pl
}

suite_sabotage() { tap_suite "$root/test/crash/sabotage.sh"; }
suite_gate-sabotage() { tap_suite "$root/test/gate/sabotage.sh"; }
suite_segments-sabotage() { tap_suite "$root/test/segment/sabotage.sh"; }

finish() {
	local status=$?
	sandbox_remove
	exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

sandbox_make check
touch "$sandbox/started"
log=$sandbox/output.log
echo "== build"
if ! sandbox_build; then
	echo "0 passed, 1 failed"
	exit 1
fi

for suite in "${suites[@]}"; do
	started=$SECONDS
	echo "== $suite"
	"suite_$suite"
	echo "   $((SECONDS - started)) s"
done

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
