# shellcheck shell=bash
# Sourced: the release of Debian in $release ("" for another system), and the
# PostgreSQL that it brings in PGVERSION, unless that is set.

release=
if [ -r /etc/os-release ]; then
	# shellcheck source=/dev/null
	release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
fi
if [ -z "${PGVERSION:-}" ]; then
	case $release in
		trixie) PGVERSION=17 ;;
		forky) PGVERSION=18 ;;
		*) PGVERSION=15 ;;
	esac
fi
export PGVERSION
