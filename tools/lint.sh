#!/bin/bash
# Static checks with the tools that are installed: clang-tidy with the server's
# headers, cppcheck without, shellcheck.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

status=0
sources=$(find src -name '*.c' ! -name '*_gram.c' ! -name '*_scan.c' ! -path 'src/relay/*')
if command -v clang-tidy >/dev/null; then
	# shellcheck disable=SC2086
	clang-tidy --quiet --warnings-as-errors='*' --checks='-*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-narrowing-conversions,-bugprone-macro-parentheses,-bugprone-branch-clone,-bugprone-implicit-widening-of-multiplication-result' \
		$sources -- -std=gnu99 -Isrc -I"$(pg_config --includedir-server)" || status=1
else
	echo "clang-tidy is not installed, skipped"
fi
if command -v cppcheck >/dev/null; then
	cppcheck --quiet --error-exitcode=1 --inline-suppr --suppress=missingInclude --suppress=unknownMacro -Isrc src || status=1
else
	echo "cppcheck is not installed, skipped"
fi
if command -v shellcheck >/dev/null; then
	find . -name '*.sh' ! -path './.git/*' -print0 | xargs -0 shellcheck -x .ci/run || status=1
else
	echo "shellcheck is not installed, skipped"
fi
exit $status
