#!/bin/bash
# Install the Debian packages that building, testing and the demo need and that
# are missing, for the PostgreSQL of this release (15 in Debian 12, 17 in 13) or
# for PGVERSION.  Usage: tools/deps.sh [--dry-run]
#
# No database cluster is created along with the server's programs.
set -euo pipefail
# shellcheck source=tools/release.sh
. "$(dirname "$0")/release.sh"

packages=(
	# the extension
	gcc make flex bison "postgresql-$PGVERSION" "postgresql-server-dev-$PGVERSION"
	# the relay
	libpq-dev libcurl4-openssl-dev libinih-dev pkgconf
	# tests and the demo: a mail server, PostgreSQL's test modules
	python3 python3-aiosmtpd perl libipc-run-perl gzip
)
# fuzzing: libFuzzer and the sanitizers
if [ "$release" = bookworm ]; then
	packages+=(clang-14 clang-format-14 libclang-rt-14-dev)
else
	# later releases have the old names of time zones apart
	packages+=(clang libclang-rt-dev tzdata-legacy)
fi

missing=()
for package in "${packages[@]}"; do
	dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "${1:-}" = --dry-run ]; then
	echo "missing packages: ${missing[*]}"
	exit 0
fi

if [ "$(id -u)" = 0 ]; then
	sudo=
elif command -v sudo >/dev/null; then
	sudo=sudo
else
	echo "Missing packages, and neither root nor sudo to install them.  As root:" >&2
	echo "    apt-get install ${missing[*]}" >&2
	exit 1
fi

echo "Installing: ${missing[*]}"

# Debian makes and starts a cluster with the server package, unless told not to.
conf=/etc/postgresql-common/createcluster.d/zz-pg-journey-tools.conf
$sudo mkdir -p "${conf%/*}"
trap '$sudo rm -f "$conf"' EXIT
echo 'create_main_cluster = false' | $sudo tee "$conf" >/dev/null

log=$(mktemp)
install() {
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install "${missing[@]}" >"$log" 2>&1
}
if ! install; then
	# the package lists may be absent or stale
	if ! $sudo apt-get -q update >>"$log" 2>&1 || ! install; then
		cat "$log" >&2
		exit 1
	fi
fi
rm -f "$log"
