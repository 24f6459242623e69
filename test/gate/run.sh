#!/bin/bash
# The gate against a naive model of its rules, with what pg_config on PATH has
# installed; TAP output.
# Usage: test/gate/run.sh [CYCLES]	(SEED=n repeats a run, CYCLE=n one of its cycles)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
pgxs=$(dirname "$("${PG_CONFIG:-pg_config}" --pgxs)")
bindir=$("${PG_CONFIG:-pg_config}" --bindir)
export PERL5LIB=$pgxs/../test/perl${PERL5LIB:+:$PERL5LIB}
export PG_REGRESS=$pgxs/../test/regress/pg_regress
export PGPORT=${PGPORT:-65432}
export PATH=$bindir:$PATH
export TESTDIR=${TESTDIR:-$here/../../tmp_check_gate}
export CYCLES=${1:-${CYCLES:-20}}
rm -rf "$TESTDIR/tmp_check"
mkdir -p "$TESTDIR"
cd "$TESTDIR"
exec timeout "${MAX_SECONDS:-3600}" perl "$here/model.pl"
