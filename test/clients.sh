#!/bin/bash
#
# make check-clients: the programs of examples/clients, each with its driver, against a throw-away server: what
# they publish is there, once, also where they run twice.  A driver that is not installed is skipped, and the
# package that has it is named.
#
# The last line counts what passed, failed and was skipped.

set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib/throwaway.sh"

passed=0 failed=0 skipped=0

skip() { skipped=$((skipped + 1)); printf '  skipped %-12s install %s\n' "$1" "$2"; }

# client NAME TOPIC COMMAND...: twice, as after a connection that broke
client()
{
	local name=$1 topic=$2 got

	shift 2
	if "$@" >"$W/out/$name.log" 2>&1 </dev/null && "$@" >>"$W/out/$name.log" 2>&1 </dev/null; then
		got=$(psql -d postgres -XAtc "SELECT string_agg(payload::text || coalesce(' ' || key, ''), ', ' ORDER BY id) FROM eda.events WHERE topic = '$topic'")
	else
		got="the program failed"
	fi
	if [ "$got" = '{"n": 1} customer 7, {"n": 2}, {"n": 3}' ]; then
		passed=$((passed + 1))
		printf '  ok      %s\n' "$name"
	else
		failed=$((failed + 1))
		printf '  NOT OK  %-12s %s\n' "$name" "$got"
		cat "$W/out/$name.log"
	fi
}

throwaway_begin "${PG_CONFIG:-pg_config}"
throwaway_build -j2 || die "The build failed."
# JDBC knows no Unix sockets
port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
throwaway_initdb <<-END && throwaway_start || die "The server did not start."
	listen_addresses = '127.0.0.1'
	port = $port
END
export PGPORT=$port PGDATABASE=postgres
psql -Xqc 'CREATE EXTENSION eda' || die "CREATE EXTENSION failed."
echo "eda's clients, PostgreSQL $PGVERSION"

clients=$W/src/examples/clients
if [ -f "$("$PG_CONFIG" --includedir)/libpq-fe.h" ]; then
	client libpq client.libpq bash -c "gcc -I\"$("$PG_CONFIG" --includedir)\" -o '$W/tmp/publish' '$clients/publish.c' -lpq && '$W/tmp/publish'"
else
	skip libpq libpq-dev
fi
jar=$(ls /usr/share/java/postgresql.jar 2>/dev/null)
if command -v java >/dev/null && [ -n "$jar" ]; then
	client JDBC client.jdbc java -cp "$jar" "$clients/Publish.java" "jdbc:postgresql://127.0.0.1:$port/postgres?user=postgres"
else
	skip JDBC "libpostgresql-jdbc-java, and a JDK"
fi
for module in psycopg psycopg2; do
	if /usr/bin/python3 -c "import $module" 2>/dev/null; then
		client $module client.$module /usr/bin/python3 "$clients/publish_$module.py"
	else
		skip $module "python3-$module"
	fi
done
if command -v node >/dev/null && NODE_PATH=${NODE_PATH:-} node -e "require('pg')" 2>/dev/null; then
	client node client.node node "$clients/publish.js"
else
	skip node "the npm package pg, and have NODE_PATH name its node_modules"
fi

throwaway_stop
printf '\n%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ]
