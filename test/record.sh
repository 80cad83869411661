#!/bin/bash
#
# Run a command and keep what it printed, so that a figure in a document can be looked up and repeated:
#
#	test/record.sh docs/measured/seeds.txt make check-long SEEDS="101 102" STEPS=5000
#
# The file says which commit ran (and whether the tree differed from it), on what machine, the command, when it began
# and ended, and how it ended; between them stands its whole output.  The exit code is the command's.

set -u
[ $# -ge 2 ] || { echo "usage: test/record.sh FILE COMMAND..." >&2; exit 2; }
out=$1
shift
mkdir -p "$(dirname "$out")" || exit 1

{
	echo "commit:   $(git rev-parse HEAD)$([ -z "$(git status --porcelain --untracked-files=no)" ] || echo ', with changes')"
	echo "machine:  $(nproc) processors, $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), $(uname -sr)"
	echo "command:  $(printf '%q ' "$@")"
	echo "began:    $(date -u '+%F %T UTC')"
	echo
} >"$out"
"$@" 2>&1 </dev/null | tee -a "$out"
rc=${PIPESTATUS[0]}
printf '\nended:    %s\nexit code %d\n' "$(date -u '+%F %T UTC')" "$rc" >>"$out"
exit "$rc"
