# shellcheck shell=bash
# Sourced by scripts that build pg_journey and run servers: a throw-away copy of
# the sources and of the PostgreSQL programs in a directory under TMPDIR, so
# that neither the checkout, nor the installed PostgreSQL, nor any cluster of
# this machine is touched.
#
# PostgreSQL refuses to run as root.  When we are root, everything in the sandbox
# belongs to and runs as another user; otherwise we are that user.
#
#	sandbox_make		makes it: $sandbox, $sandbox/src, $PG_CONFIG, $bindir
#	sandbox_build		builds and installs pg_journey and the relay there
#	as_user COMMAND…	runs a command as that user, with PATH set to bindir first
#	sandbox_remove		removes it, unless PGJ_KEEP is set

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
jobs=$(nproc 2>/dev/null || echo 2)

as_user() {
	if [ "$(id -u)" != 0 ]; then
		env PATH="$bindir:$PATH" "$@"
	else
		runuser -u "$user" -- env HOME="$sandbox" LOGNAME="$user" USER="$user" PATH="$bindir:$PATH" "$@"
	fi
}

sandbox_make() {
	local name=$1 libdir sharedir version

	# shellcheck source=tools/release.sh
	. "$root/tools/release.sh"
	"$root/tools/deps.sh" || exit 1

	user=$(id -un)
	if [ "$(id -u)" = 0 ]; then
		if id -u postgres >/dev/null 2>&1; then user=postgres; else user=nobody; fi
	fi

	sandbox=$(mktemp -d "${TMPDIR:-/tmp}/pgj-$name.XXXXXX")
	version=$PGVERSION
	bindir=$sandbox/usr/lib/postgresql/$version/bin
	PG_CONFIG=$bindir/pg_config

	# PostgreSQL finds its other directories from where its programs lie.
	libdir=/usr/lib/postgresql/$version
	sharedir=/usr/share/postgresql/$version
	if [ ! -x "$libdir/bin/postgres" ]; then
		echo "PostgreSQL $version is not installed in $libdir" >&2
		exit 1
	fi
	mkdir -p "$sandbox/usr/lib/postgresql" "$sandbox/usr/share/postgresql" "$sandbox/src"
	cp -a "$libdir" "$sandbox/usr/lib/postgresql/"
	cp -a "$sharedir" "$sandbox/usr/share/postgresql/"
	ln -s /usr/include "$sandbox/usr/include"

	tar -C "$root" -cf - --exclude=.git --exclude='*.o' --exclude='*.bc' --exclude='*.d' --exclude='*.so' --exclude='*_gram.[ch]' --exclude='*_scan.c' \
		--exclude=./tmp_check* --exclude=./results --exclude=./output_iso --exclude=./src/relay/journey-relay --exclude='./pg_journey--*.sql' \
		. | tar -C "$sandbox/src" --no-same-owner -xf -
	chmod 755 "$sandbox"
	if [ "$(id -u)" = 0 ]; then chown -R "$user" "$sandbox"; fi
	export PG_CONFIG
}

sandbox_build() {
	as_user make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" with_llvm=no -j"$jobs" ${PGJ_WERROR:+COPT=-Werror} "$@" all &&
		as_user make -s -C "$sandbox/src" PG_CONFIG="$PG_CONFIG" with_llvm=no ${PGJ_WERROR:+COPT=-Werror} "$@" install
}

sandbox_remove() {
	if [ -n "${PGJ_KEEP:-}" ]; then
		echo "kept: $sandbox"
	else
		rm -rf "$sandbox"
	fi
}
