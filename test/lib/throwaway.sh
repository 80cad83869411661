# A private copy of the tree, built and installed under a temporary
# directory, and throw-away clusters that use it.  Sourced by test/run.sh and
# examples/demo.sh.
#
#  1. Everything is under $W, which goes at exit, also on INT, TERM and HUP.
#     The tree itself is only read.
#  2. Whatever runs for long runs by run(): in a process group of its own, as
#     user postgres where we are root, so that a signal to us ends it at once.
#     Several may run side by side, each in a subshell; $W/running names their groups.
#  3. Servers listen on a Unix socket in $W only.
#
# Sets: ROOT W AS PG_CONFIG BINDIR MAJOR PGVERSION PGXSDIR DEST

export LC_ALL=C.UTF-8
# A make above us has its own variables and goals; ours start afresh.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES
for v in "${!PG@}"; do [ "$v" = PG_CONFIG ] || unset "$v"; done

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
W= AS=

die() { echo "$*" >&2; exit 1; }

# Run a command as the server's user and wait for it; $? is its.
run()
{
	local rc child

	setsid $AS "$@" <&0 &
	child=$!
	: >"$W/running/$child"
	wait $child
	rc=$?
	rm -f "$W/running/$child"
	return $rc
}

throwaway_cleanup()
{
	local f pid i groups

	trap '' INT TERM HUP
	[ -n "$W" ] && [ -d "$W" ] || return 0
	groups=$(ls "$W/running" 2>/dev/null | sed 's/^/-/')
	if [ -n "$groups" ]; then
		kill -TERM -- $groups 2>/dev/null
		for i in $(seq 50); do
			kill -0 -- $groups 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL -- $groups 2>/dev/null
	fi
	# Servers: ours, and what a test cluster left when it was interrupted.
	while read -r f; do
		pid=$(head -1 "$f" 2>/dev/null)
		[ "${pid:-0}" -gt 1 ] 2>/dev/null || continue
		kill -QUIT "$pid" 2>/dev/null
		for i in $(seq 100); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.05
		done
	done < <(find "$W" -name postmaster.pid 2>/dev/null)
	rm -rf --one-file-system "$W"
}

# Temporary directory, traps, pg_config's answers, a copy of the tree in $W/src.
throwaway_begin()
{
	PG_CONFIG=${1:-pg_config}
	[ "$(id -u)" != 0 ] || AS="setpriv --reuid=postgres --regid=postgres --init-groups"
	# before $W: what prepare.sh installs is what the rest needs
	PG_CONFIG=$PG_CONFIG bash "$ROOT/test/lib/prepare.sh" || exit 1
	PG_CONFIG=$(command -v "$PG_CONFIG")
	BINDIR=$("$PG_CONFIG" --bindir)
	PGXSDIR=$(dirname "$("$PG_CONFIG" --pgxs)")/../..
	PGVERSION=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([^ ]*\).*/\1/')
	MAJOR=${PGVERSION%%[.a-z]*}
	"$BINDIR/postgres" --describe-config 2>/dev/null | grep -qE '^extension_(destdir|control_path)' ||
		die "This PostgreSQL $PGVERSION finds extensions in its own directories only; make check and make demo need Debian's packages, or PostgreSQL 18."

	# the socket's path must stay short, so not under a long TMPDIR
	trap throwaway_cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	W=$(mktemp -d /tmp/eda.XXXXXX) || exit 1
	chmod 755 "$W"
	mkdir "$W/src" "$W/tmp" "$W/sock" "$W/out" "$W/running"
	tar -C "$ROOT" --exclude=./.git --exclude='*.o' --exclude='*.bc' --exclude='*.so' --exclude='./src/*.d' --exclude='./bench/*.d' \
		--exclude='./eda--*.sql' -cf - . | tar -C "$W/src" --no-same-owner -xf - ||
		die "The tree could not be copied to $W"
	chmod -R u+rwX,go+rX "$W/src"
	[ -z "$AS" ] || chown -R postgres: "$W"
	export TMPDIR=$W/tmp
	DEST=$W/dest
	cd "$W/src" || exit 1
}

# Build and install into $DEST; further make arguments: COPT=-Werror
throwaway_build()
{
	run make -s with_llvm=no PG_CONFIG="$PG_CONFIG" DESTDIR="$DEST" "$@" install >"$W/out/build.log" 2>&1 </dev/null && return 0
	cat "$W/out/build.log" >&2
	return 1
}

# Settings that any server needs to find what was built, on standard output.
throwaway_conf()
{
	local sharedir pkglibdir

	sharedir=$("$PG_CONFIG" --sharedir) pkglibdir=$("$PG_CONFIG" --pkglibdir)
	if [ "$MAJOR" -ge 18 ]; then
		echo "extension_control_path = '$DEST$sharedir:\$system'"
	else
		echo "extension_destdir = '$DEST'"
	fi
	echo "dynamic_library_path = '$DEST$pkglibdir:\$libdir'"
	echo "shared_preload_libraries = 'pg_cron,eda'"
	echo "cron.use_background_workers = on"
	echo "max_worker_processes = 32"
	echo "max_prepared_transactions = 10"
}

# TAP_ENV: the environment, as a command, of a TAP file whose clusters are under this directory.  More
# variables may follow it.  The timeout is for what a condition or a session of psql may take on a slow machine.
throwaway_tap()
{
	run mkdir -p "$1/data" "$1/log"
	TAP_ENV=(env -u PGHOST -u PGPORT -u PGUSER PATH="$BINDIR:$PATH" PG_CONFIG="$PG_CONFIG"
		TESTDIR="$1" TESTDATADIR="$1/data" TESTLOGDIR="$1/log"
		PG_TEST_TIMEOUT_DEFAULT="${PG_TEST_TIMEOUT_DEFAULT:-600}"
		TEMP_CONFIG="$W/tap.conf" PG_REGRESS="$PGXSDIR/src/test/regress/pg_regress"
		PERL5LIB="$PGXSDIR/src/test/perl:$W/src/test/t")
}

# A cluster in $W/data with these further settings on standard input; not started.
throwaway_initdb()
{
	run "$BINDIR/initdb" -D "$W/data" -U postgres -A trust -N --encoding=UTF8 --locale=C.UTF-8 >"$W/out/initdb.log" 2>&1 </dev/null ||
		{ cat "$W/out/initdb.log" >&2; return 1; }
	{
		throwaway_conf
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$W/sock'"
		echo "fsync = off"
		cat
	} >"$W/extra.conf"
	cat "$W/extra.conf" >>"$W/data/postgresql.conf"
	export PGHOST=$W/sock PGUSER=postgres PGPORT=5432
	export PATH=$BINDIR:$PATH
}

# start [settings given on the command line, which win]; stop
throwaway_start()
{
	run "$BINDIR/pg_ctl" -D "$W/data" -l "$W/out/server.log" -t 60 -w -s -o "$*" start </dev/null && return 0
	tail -20 "$W/out/server.log" >&2
	return 1
}

throwaway_stop()
{
	run "$BINDIR/pg_ctl" -D "$W/data" -m "${1:-fast}" -t 60 -w -s stop </dev/null
}
