#!/bin/bash
#
# What the whole of make bench needs beside what make check does: PgQ, and
# gnuplot for the plots.
#
#	prepare.sh			install it (root on Debian), or say what is missing and fail
#	prepare.sh --there	is PgQ there?  Prints nothing
#
# The quick form goes without it and leaves PgQ's figures out.

set -u
PG_CONFIG=${PG_CONFIG:-pg_config}
major=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')

look()
{
	missing=()
	[ -f "$("$PG_CONFIG" --sharedir)/extension/pgq.control" ] || missing+=(postgresql-$major-pgq3)
	command -v pgqd >/dev/null || missing+=(pgqd)
}

look_all()
{
	look
	command -v gnuplot >/dev/null || missing+=(gnuplot-nox)
}

if [ "${1:-}" = --there ]; then
	look
	exit $((${#missing[@]} > 0))
fi
look_all
[ ${#missing[@]} -gt 0 ] || exit 0
command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "make bench needs packages that are not installed; as root: $command" >&2
	exit 1
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for try in 1 2 3; do
	apt-get update -q >/dev/null 2>&1 && break
	sleep 5
done
apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1
look_all
if [ ${#missing[@]} -gt 0 ]; then
	tail -20 "$log" >&2
	echo "The packages could not be installed: $command" >&2
	exit 1
fi
