#!/bin/bash
#
# make check-valgrind: the JSON Schema test suite, and a while of fuzzing, in a server under valgrind.
#
#	EDA_JSON_SCHEMA_SUITE=folder	the suite (../shared/json-schema-test-suite)
#	EDA_FUZZ_SECONDS=60				for how long
#
# A report of valgrind's counts if the validator or one of its callers in src/contract is in the
# stack.  Others do not: the server itself is not built for valgrind, and writes out padding that
# nobody has set.  Patterns are not compiled by PCRE2's JIT here: the code that it makes reads
# sixteen bytes at a time, past the end of a string, which valgrind cannot know to be harmless
# (PCRE2 has suppressions for its own tests).

set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/throwaway.sh"

command -v valgrind >/dev/null || die "make check-valgrind needs valgrind; Debian's package has that name."
suite=${EDA_JSON_SCHEMA_SUITE:-$ROOT/../shared/json-schema-test-suite}
[ -d "$suite/tests" ] || die "The JSON Schema test suite is not in $suite; name its folder with EDA_JSON_SCHEMA_SUITE."

throwaway_begin "${PG_CONFIG:-pg_config}"
throwaway_build -j2 COPT="-O1 -DJSONSCHEMA_NO_JIT" || die "The build failed."

# pg_ctl starts the server that is beside it
run mkdir "$W/bin" "$W/valgrind"
run cp "$BINDIR/pg_ctl" "$W/bin/"
cat >"$W/bin/postgres" <<END
#!/bin/bash
exec valgrind --quiet --trace-children=yes --leak-check=no --error-limit=no --num-callers=30 \\
	--fullpath-after=$W/src/ \\
	--log-file=$W/valgrind/%p $BINDIR/postgres "\$@"
END
chmod 755 "$W/bin/postgres"
throwaway_conf >"$W/tap.conf"
echo "max_stack_depth = 1MB" >>"$W/tap.conf"

rc=0
for t in 071_json_schema_suite 072_json_schema_fuzz; do
	throwaway_tap "$W/out/$t"
	run "${TAP_ENV[@]}" PATH="$W/bin:$BINDIR:$PATH" PGCTLTIMEOUT=300 \
		EDA_JSON_SCHEMA_SUITE="$suite" EDA_FUZZ_SECONDS="${EDA_FUZZ_SECONDS:-60}" \
		prove -v "$W/src/test/jsonschema/$t.pl" </dev/null || rc=1
done

# Reports are separated by empty lines, and name files from the top of the tree.
reports=$(cat "$W"/valgrind/* | sed 's/^==[0-9]*== \?//' | awk -v RS= '/\(src\/(jsonschema|contract)\/[a-z_]*\.c:/ { n++; if (n <= 20) print $0 "\n" > "/dev/stderr" } END { print n + 0 }')
seen=$(ls "$W/valgrind" | wc -l)
printf '\n%d processes under valgrind, %d reports with the validator among the callers\n' "$seen" "$reports"
[ $rc -eq 0 ] && [ "$seen" -gt 5 ] && [ "$reports" -eq 0 ]
