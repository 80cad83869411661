#!/bin/bash
#
# What make check and make demo need on this machine, and how it gets there.
#
#	prepare.sh --say	print what is missing and the one command that installs it
#	prepare.sh			install what is missing (root on Debian), or print that and fail
#
# Prints nothing when nothing is missing.  PG_CONFIG picks the server; without
# one the newest that pg_config knows, and PostgreSQL 15 when there is none.

set -u
export LC_ALL=C.UTF-8 PATH=$PATH:/usr/sbin:/sbin

PG_CONFIG=${PG_CONFIG:-pg_config}

pgc() { "$PG_CONFIG" "$1" 2>/dev/null; }

# Sets major and the list of packages of which something is missing.
look()
{
	local pgxs bindir sharedir includedir

	missing=()
	major=$(pgc --version | sed -n 's/^PostgreSQL \([0-9]*\).*/\1/p')
	major=${major:-15}
	bindir=$(pgc --bindir) sharedir=$(pgc --sharedir) pgxs=$(pgc --pgxs) includedir=$(pgc --includedir-server)
	# Without pg_config the server may be there all the same, and asking for it would upgrade it.
	bindir=${bindir:-/usr/lib/postgresql/$major/bin} sharedir=${sharedir:-/usr/share/postgresql/$major}
	pgxs=${pgxs:-/nowhere}

	command -v make >/dev/null || missing+=(make)
	command -v "${PCRE2_CONFIG:-pcre2-config}" >/dev/null || missing+=(libpcre2-dev)
	command -v gcc >/dev/null || command -v cc >/dev/null || missing+=(gcc libc6-dev)
	[ -x "$bindir/postgres" ] && [ -x "$bindir/initdb" ] && [ -x "$bindir/psql" ] || missing+=(postgresql-$major)
	# PGXS alone says nothing: in Debian it is a part of postgresql-client.
	[ -f "$pgxs" ] && [ -x "$(dirname "$pgxs")/../test/regress/pg_regress" ] && [ -f "$includedir/postgres.h" ] ||
		missing+=(postgresql-server-dev-$major)
	[ -f "$sharedir/extension/pg_cron.control" ] || missing+=(postgresql-$major-cron)
	[ -f "$sharedir/extension/pgtap.control" ] || missing+=(postgresql-$major-pgtap)
	command -v pg_prove >/dev/null || missing+=(libtap-parser-sourcehandler-pgtap-perl)
	perl -MIPC::Run -e 1 2>/dev/null || missing+=(libipc-run-perl)
}

command_line()
{
	echo "apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
}

say()
{
	if [ ${#missing[@]} -eq 0 ]; then
		echo "$PG_CONFIG is not there, or is not of a supported server: name one with PG_CONFIG=/path/to/pg_config"
	elif command -v apt-get >/dev/null; then
		echo "eda needs packages that are not installed; as root: $(command_line)"
	else
		echo "eda needs PostgreSQL 15 to 18 with its server headers, PCRE2 with its headers, pg_cron, pgTAP, pg_prove and perl's IPC::Run; Debian calls them: ${missing[*]}"
	fi
}

install_missing()
{
	local try rc guard= conf=/etc/postgresql-common/createcluster.d

	echo "Installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	# The package makes no cluster of its own: ours are throw-away.
	if ! grep -qsE '^ *create_main_cluster *=' $conf/*.conf /etc/postgresql-common/createcluster.conf; then
		mkdir -p $conf
		guard=$conf/eda-no-main-cluster.conf
		echo 'create_main_cluster = false' >$guard
	fi
	# Another apt-get update makes this one fail at once: it waits for no lock.
	for try in 1 2 3 4 5 6; do
		apt-get update -q >/dev/null 2>&1 && break
		sleep 5
	done
	apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends "${missing[@]}" >"$log" 2>&1
	rc=$?
	[ -z "$guard" ] || rm -f "$guard"
	return $rc
}

look
if [ "${1:-}" = --say ]; then
	say
	exit 0
fi
if [ ${#missing[@]} -gt 0 ]; then
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		say >&2
		exit 1
	fi
	log=$(mktemp)
	trap 'rm -f "$log"' EXIT
	if ! install_missing; then
		tail -20 "$log" >&2
		echo "The packages could not be installed: $(command_line)" >&2
		exit 1
	fi
	look
fi
if [ ${#missing[@]} -gt 0 ] || [ "$major" -lt 15 ] || [ "$major" -gt 18 ]; then
	say >&2
	exit 1
fi
exit 0
