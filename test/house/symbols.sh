#!/bin/bash
# Fail if a library exports more than the server needs to find: its symbols are
# visible to every other extension.  Usage: test/house/symbols.sh LIBRARY
set -euo pipefail
stray=$(nm -D --defined-only "$1" | awk '{ print $3 }' | grep -vE '^(_PG_init|Pg_magic_func|pg_finfo_pgj_sql_\w+|pgj_sql_\w+|pgj_launcher_main|pgj_worker_main)$' || true)
if [ -n "$stray" ]; then
	echo "not ok - $1 exports:" && sed 's/^/# /' <<<"$stray"
	exit 1
fi
echo "ok - $1 exports only what the server calls"
