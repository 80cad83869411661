#!/bin/bash
#
# make check-faults: does the randomized test see what it is there for?
#
# Each patch in test/model/faults is a deliberate fault of eda's.  It is applied to a
# private copy, which is built and run through the randomized test: that has
# to fail.  The first line of a patch says the fault in words; further lines
# before the diff may set what the runs are like:
#
#	weights: kill_executor=20	more of some steps, see Steps.pm
#	steps: 3000					longer runs
#	forgets: 1					eda.retention = 0 with every seed, or with none
#
#	FAULTS="wake redrive"	only patches whose name contains one of these
#	SEEDS="1 2 3"			seeds until one catches it
#	STEPS=1500				steps a seed
#
# First, unless FAULTS is given, the same runs without a fault, which have to pass.

set -u
. "$(dirname "${BASH_SOURCE[0]}")/../lib/throwaway.sh"

FAULTS=${FAULTS:-} SEEDS=${SEEDS:-1 2 3} STEPS=${STEPS:-1500}
caught=0 missed=0

now_ms() { date +%s%3N; }

selected()
{
	local f
	[ -n "$FAULTS" ] || return 0
	for f in $FAULTS; do
		case $1 in *"$f"*) return 0 ;; esac
	done
	return 1
}

# model SOURCE SEED STEPS WEIGHTS FORGETS: one run against what is in $DEST; output in $W/out/model
model()
{
	local rc

	run rm -rf "$W/out/run"
	throwaway_conf >"$W/tap.conf"
	throwaway_tap "$W/out/run"
	run "${TAP_ENV[@]}" \
		EDA_MODEL_SEED="$2" EDA_MODEL_STEPS="$3" EDA_MODEL_WEIGHTS="$4" EDA_MODEL_FORGETS="$5" EDA_MODEL_TIMEOUT=5 \
		timeout -k 5 600 prove -v "$1/test/model/random.pl" >"$W/out/model" 2>&1 </dev/null
	rc=$?
	find "$W/out/run" -name postmaster.pid 2>/dev/null | while read -r f; do kill -QUIT "$(head -1 "$f")" 2>/dev/null; done
	return $rc
}

# What the test said against the fault: the first difference, or how else it failed.
verdict()
{
	local text

	text=$(grep -vE '^# *(Failed test|at )|^ok ' "$W/out/model" | grep -A1 -E 'differences$' | sed -n '2s/^# *//p')
	[ -n "$text" ] || text=$(grep -E '^(not ok|Bail out|Dubious)' "$W/out/model" | head -1)
	cut -c1-110 <<<"$text"
}

header() { sed -n '/^\(---\|diff\) /q; p' "$1"; }

begin=$(now_ms)
throwaway_begin "${PG_CONFIG:-pg_config}"
throwaway_build -j2 || die "The build failed."
DEST0=$DEST

[ -n "$FAULTS" ] || printf '\nwithout a fault\n'
for seed in $SEEDS; do
	[ -z "$FAULTS" ] || break
	if ! model "$W/src" "$seed" "$STEPS" "" ""; then
		printf '  NOT OK  seed %s fails\n' "$seed"
		grep -v '^ok ' "$W/out/model" | head -100
		exit 1
	fi
	printf '  ok      seed %s passes\n' "$seed"
done

printf '\nwith a fault\n'
for patch in "$W"/src/test/model/faults/*.patch; do
	name=$(basename "$patch" .patch)
	selected "$name" || continue
	what=$(head -1 "$patch")
	weights=$(header "$patch" | sed -n 's/^weights: *//p')
	steps=$(header "$patch" | sed -n 's/^steps: *//p')
	forgets=$(header "$patch" | sed -n 's/^forgets: *//p')
	start=$(now_ms) by=
	DEST=$W/dest.fault
	run rm -rf "$W/fault" "$DEST"
	run cp -a "$W/src" "$W/fault"
	if ! run patch -p1 -s -f -F3 -d "$W/fault" -i "$patch" >"$W/out/patch" 2>&1; then
		missed=$((missed + 1))
		printf '  NOT APPLICABLE  %s\n' "$name"
		cat "$W/out/patch"
		continue
	fi
	if ! run make -s -C "$W/fault" with_llvm=no PG_CONFIG="$PG_CONFIG" DESTDIR="$DEST" -j2 install >"$W/out/build.log" 2>&1; then
		missed=$((missed + 1))
		printf '  DOES NOT BUILD  %s\n' "$name"
		tail -20 "$W/out/build.log"
		continue
	fi
	for seed in $SEEDS; do
		model "$W/src" "$seed" "${steps:-$STEPS}" "$weights" "$forgets"
		case $? in
			0) ;;
			124 | 137) printf '  too long    %-28s seed %s\n' "$name" "$seed" ;;	# says nothing
			*) by=$seed && break ;;
		esac
	done
	if [ -n "$by" ]; then
		caught=$((caught + 1))
		printf '  caught      %-28s %s\n' "$name" "$what"
		printf '              seed %s, %s s: %s\n' "$by" $((($(now_ms) - start) / 1000)) "$(verdict)"
	else
		missed=$((missed + 1))
		printf '  NOT caught  %-28s %s\n' "$name" "$what"
	fi
	DEST=$DEST0
done

printf '\n%d s\n%d caught, %d not caught\n' $((($(now_ms) - begin) / 1000)) $caught $missed
[ $missed -eq 0 ] && [ $caught -gt 0 ]
