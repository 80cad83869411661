#!/bin/bash
#
# Run each script of a folder, several times over: test/cases.sh FOLDER [TIMES [EXCEPT...]]
#
# A script stands for a fault that somebody found from outside; it builds what is committed here, and exits with 0 if
# eda does the right thing.  What a script that failed has printed last follows its line.  lib.sh is no script of its own.

set -u
folder=${1:?usage: test/cases.sh FOLDER [TIMES [EXCEPT...]]} times=${2:-1}
shift $(($# < 2 ? $# : 2))
passed=0 failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

for ((turn = 1; turn <= times; turn++)); do
	for case in "$folder"/*.sh; do
		name=$(basename "$case" .sh)
		case " lib $* " in *" $name "*) continue ;; esac
		began=$SECONDS
		bash "$case" >"$out" 2>&1 </dev/null
		rc=$?
		printf '%d  %-36s %4d s  exit code %d\n' $turn "$name" $((SECONDS - began)) $rc
		if [ $rc -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); tail -3 "$out" | sed 's/^/     /'; fi
	done
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
