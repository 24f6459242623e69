#!/bin/bash
# Run every fuzz target for some seconds each, with libFuzzer, ASan and UBSan.
# Usage: test/fuzz/run.sh [SECONDS [TARGET…]]
#
# A target is test/fuzz/fuzz_NAME.c; its first lines say how it is built:
#	fuzz-sources: files it is linked with, from the top of the tree
#	fuzz-flags: more flags of the compiler
# Seeds are in test/fuzz/corpus/NAME, if there is such a directory.  What a run finds
# is kept in FUZZ_DIR (a temporary directory); an input that crashes is printed.
# Prints TAP.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
seconds=${1:-60}
shift || true
work=${FUZZ_DIR:-$(mktemp -d)}

CC=${CC:-$(command -v clang || command -v clang-14 || true)}
printf '#include <stddef.h>\n#include <stdint.h>\nint LLVMFuzzerTestOneInput(const uint8_t *d, size_t n);\nint LLVMFuzzerTestOneInput(const uint8_t *d, size_t n) { return d == NULL && n > 0; }\n' >"$work/probe.c"
if [ -z "$CC" ] || ! "$CC" -fsanitize=fuzzer,address,undefined -o "$work/probe" "$work/probe.c" 2>/dev/null; then
	echo "1..0 # SKIP no clang with libFuzzer (packages clang, libclang-rt-14-dev)"
	exit 0
fi

targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
	for file in test/fuzz/fuzz_*.c; do targets+=("$(basename "$file" .c | sed 's/^fuzz_//')"); done
fi

n=0
status=0
for target in "${targets[@]}"; do
	n=$((n + 1))
	source=test/fuzz/fuzz_$target.c
	sources=$(sed -n 's/^.*fuzz-sources: *//p' "$source")
	flags=$(sed -n 's/^.*fuzz-flags: *//p' "$source")
	mkdir -p "$work/corpus_$target"
	seeds=test/fuzz/corpus/$target
	[ -d "$seeds" ] || seeds=
	# shellcheck disable=SC2086
	if ! "$CC" -std=gnu99 -g -O1 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined $flags \
		-o "$work/fuzz_$target" "$source" $sources >"$work/$target.log" 2>&1; then
		sed 's/^/# /' "$work/$target.log"
		echo "not ok $n - fuzz $target: does not compile"
		status=1
		continue
	fi
	# shellcheck disable=SC2086
	if "$work/fuzz_$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$work/$target-" \
		"$work/corpus_$target" $seeds >"$work/$target.log" 2>&1; then
		echo "ok $n - fuzz $target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log") inputs"
	else
		tail -n 40 "$work/$target.log" | sed 's/^/# /'
		for input in "$work/$target"-*; do
			[ -f "$input" ] && echo "# $input:" && base64 "$input" | sed 's/^/# /'
		done
		echo "not ok $n - fuzz $target"
		status=1
	fi
done
echo "1..$n"
if [ -z "${FUZZ_DIR:-}" ] && [ $status -eq 0 ]; then rm -rf "$work"; fi
exit $status
