#!/bin/bash
#
# make bench: eda beside its peers and near the limits, in a throw-away server.
#
#	ROWS="1 5 8"	only these rows of the table (all)
#	REPS=5			pairs of each comparison (5)
#	QUICK=1			one repetition, small sizes, and thresholds that noise cannot break
#	SAVE=dir		keep each row's figures there, take those that are there already
#
# Prints the table, and after all rows, not in the quick form, writes
# docs/performance.md with its two plots.  How each row is measured:
# bench/README.md.

set -u
. "$(dirname "${BASH_SOURCE[0]}")/../test/lib/throwaway.sh"
. "$ROOT/bench/cluster.sh"

QUICK=${QUICK:-} SAVE=${SAVE:-}
[ -n "$QUICK" ] || PG_CONFIG=${PG_CONFIG:-pg_config} bash "$ROOT/bench/prepare.sh" || exit 1
throwaway_begin "${PG_CONFIG:-pg_config}"
throwaway_build -j2 && bench_build || die "The build failed."
bench_start || die "The server did not start."
if [ -n "$SAVE" ]; then
	mkdir -p "$W/out/rows" "$SAVE"
	cp "$SAVE"/row-*.json "$W/out/rows/" 2>/dev/null
	[ -z "$AS" ] || chown -R postgres: "$W/out/rows"
fi
export ROWS=${ROWS:-} REPS=${REPS:-} QUICK
bench_command
run "${BENCH_COMMAND[@]}" </dev/null
rc=$?
[ -z "$SAVE" ] || cp "$W"/out/rows/row-*.json "$SAVE/" 2>/dev/null
if [ -f "$W/out/report/performance.md" ]; then
	cp "$W"/out/report/* "$ROOT/docs/" && echo "docs/performance.md is written."
fi
if grep -E 'PANIC:|TRAP:|was terminated by signal' "$W/out/server.log"; then
	echo "A process of the server crashed."
	rc=1
fi
throwaway_stop
exit $rc
