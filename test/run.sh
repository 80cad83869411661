#!/bin/bash
#
# make check: every test, in throw-away clusters.
#
#	KINDS="layout semantics regress not_preloaded isolation pgtap reference documents tap model"	which kinds (all)
#	TESTS="publish lifecycle"	only files whose name contains one of these
#	KEEP=1						keep the logs of a failed run, and say where
#	JOBS=2						TAP clusters side by side (one a processor, at most 4)
#
# and of kind model, the randomized test (test/model), make check-long:
#
#	SEEDS="1 2 3"				its seeds (1; check-long takes more)
#	STEPS=5000					steps a seed (2000)
#	MINUTES=60					new seeds for that long, after SEEDS
#
# The last line counts what passed and failed: a file each for regress,
# not_preloaded and isolation, an assertion each for pgtap and tap; semantics
# asks whether the tests that docs/delivery.md names are there, layout whether src/
# keeps to the order of its folders, reference whether docs/reference.md is what the catalog says and its examples run,
# documents whether the examples of the other pages do.

set -u
. "$(dirname "${BASH_SOURCE[0]}")/lib/throwaway.sh"

KINDS=${KINDS:-layout semantics regress not_preloaded isolation pgtap reference documents tap model}
TESTS=${TESTS:-}
KEEP=${KEEP:-}
JOBS=${JOBS:-$(nproc)}
[ "$JOBS" -le 4 ] || JOBS=4
# They measure how long things take.
ALONE="025_latency 042_share"
SEEDS=${SEEDS:-} STEPS=${STEPS:-2000} MINUTES=${MINUTES:-0}
passed=0 failed=0

selected()
{
	local t
	[ -n "$TESTS" ] || return 0
	for t in $TESTS; do
		case $1 in *"$t"*) return 0 ;; esac
	done
	return 1
}

wanted() { case " $KINDS " in *" $1 "*) return 0 ;; esac; return 1; }

# names DIR SUFFIX: the selected tests there
names()
{
	local f n
	for f in "$1"/*."$2"; do
		[ -e "$f" ] || continue
		n=$(basename "$f" ."$2")
		selected "$n" && echo "$n"
	done
}

ok() { passed=$((passed + ${3:-1})); printf '  ok      %-34s %s\n' "$1" "${2:-}"; }
not_ok() { failed=$((failed + ${3:-1})); printf '  NOT OK  %-34s %s\n' "$1" "${2:-}"; }

heading() { printf '\n%s\n' "$1"; }

now_ms() { date +%s%3N; }

# Every test has what it is compared with, and the other way round.
check_pairs()
{
	local dir=$1 suffix=$2 expected=$3 n f

	for f in "$dir"/*."$suffix"; do
		[ -e "$f" ] || continue
		n=$(basename "$f" ."$suffix")
		[ -e "$expected/$n.out" ] || not_ok "$n" "$expected/$n.out is missing"
	done
	for f in "$expected"/*.out; do
		[ -e "$f" ] || continue
		n=$(basename "$f" .out)
		[ -e "$dir/$n.$suffix" ] || [ -e "$dir/${n%_[0-9]}.$suffix" ] || not_ok "$n" "$f belongs to no test"
	done
}

# pg_regress's or pg_isolation_regress's output, of any major, to our lines.
# $1 output file, $2 diffs, the rest: the tests that had to run
regress_report()
{
	local out=$1 diffs=$2 n line t
	shift 2

	for n in "$@"; do
		line=$(grep -E "^(test $n +\.\.\. |(not )?ok +[0-9]+ +[-+] +$n )" "$out" | tail -1)
		t=$(sed -n 's/.* \([0-9]\+ ms\).*/\1/p' <<<"$line")
		case $line in
			"test "*"... ok"* | "ok "*) ok "$n" "$t" ;;
			"") not_ok "$n" "was not run" ;;
			*) not_ok "$n" "$t" ;;
		esac
	done
	if [ -s "$diffs" ]; then
		head -300 "$diffs"
	elif ! grep -qE '^(test |(not )?ok )' "$out"; then
		cat "$out"
	fi
}

# regress NAME DATABASE PROGRAM INPUTDIR tests...
regress()
{
	local name=$1 db=$2 program=$3 inputdir=$4
	shift 4
	[ $# -gt 0 ] || return 0

	run mkdir "$W/out/$name"
	run "$PGXSDIR/src/test/$program" --bindir="$BINDIR" --inputdir="$inputdir" --outputdir="$W/out/$name" \
		--dbname="$db" --load-extension=eda "$@" >"$W/out/$name/output" 2>&1 </dev/null
	regress_report "$W/out/$name/output" "$W/out/$name/regression.diffs" "$@"
}

# One file of TAP output, from prove -v: prove_one NAME command...
prove_one() { prove_run "$@"; prove_report "$1"; }

# Where its output is; .rc beside it has the exit code and the milliseconds.
prove_output() { echo "$W/out/${1// /_}.tap"; }

prove_run()
{
	local out start
	out=$(prove_output "$1")
	shift

	start=$(now_ms)
	run "$@" >"$out" 2>&1 </dev/null
	echo $? $(($(now_ms) - start)) >"$out.rc"
}

prove_report()
{
	local name=$1 out rc ms good bad skipped
	out=$(prove_output "$1")

	read -r rc ms <"$out.rc"
	good=$(grep -cE '^ok ' "$out")
	bad=$(grep -cE '^not ok ' "$out")
	# prove knows more than the lines: a plan not kept, an exit code
	[ $rc -eq 0 ] || [ "$bad" -gt 0 ] || bad=1
	skipped=$(sed -n 's/.*\.\. *skipped: //p' "$out" | head -1)
	[ "$good" -gt 0 ] || [ "$bad" -gt 0 ] || [ -n "$skipped" ] || bad=1
	passed=$((passed + good))
	if [ "$bad" -eq 0 ] && [ "$good" -eq 0 ]; then
		printf '  skipped %-34s %s\n' "$name" "$skipped"
	elif [ "$bad" -eq 0 ]; then
		printf '  ok      %-34s %s\n' "$name" "$good assertions, $ms ms"
	else
		failed=$((failed + bad))
		printf '  NOT OK  %-34s %s\n' "$name" "$bad of $((good + bad)) assertions"
		grep -vE '^ok ' "$out" | tail -${SHOW:-80}
		why_it_ended "$W/out/t_${name// /_}"
	fi
}

# A TAP file that died says why in the log that its modules keep; the servers' last errors stand beside it.
why_it_ended()
{
	local log

	for log in "$1"/tmp_check/log/regress_log_* "$1"/log/regress_log_*; do
		[ -s "$log" ] && { echo "  the end of ${log##*/}:"; tail -25 "$log" | cut -c1-500; }
	done
	for log in "$1"/tmp_check/log/*.log "$1"/log/*.log; do
		[ -s "$log" ] && grep -qE 'ERROR:|FATAL:|PANIC:' "$log" &&
			{ echo "  the last errors of ${log##*/}:"; grep -E 'ERROR:|FATAL:|PANIC:' "$log" | tail -5 | cut -c1-300; }
	done
	return 0
}

begin=$(now_ms)
throwaway_begin "${PG_CONFIG:-pg_config}"
version=$(sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" eda.control)
echo "eda $version, PostgreSQL $PGVERSION"

check_pairs sql sql expected
check_pairs test/isolation/specs spec test/isolation/expected

if wanted layout && selected layout; then
	heading "the layout of src/"
	prove_one layout prove -v test/layout.pl
fi
if wanted semantics && selected semantics; then
	heading "claims (docs/delivery.md)"
	prove_one semantics prove -v test/semantics.pl
fi

heading build
start=$(now_ms)
if throwaway_build -j2 COPT=-Werror; then
	ok "make install, -Werror" "$(($(now_ms) - start)) ms"
else
	not_ok "make install, -Werror"
	printf '\n%d passed, %d failed\n' $passed $failed
	exit 1
fi

regress_tests=$(names sql sql | grep -vx not_preloaded)
not_preloaded_tests=$(names sql sql | grep -x not_preloaded)
isolation_tests=$(names test/isolation/specs spec)
pgtap_tests=$(names test/pgtap sql)
tap_tests=$(for dir in t jsonschema; do names "test/$dir" pl | sed "s,^,$dir/,"; done)
wanted regress || regress_tests=
wanted not_preloaded || not_preloaded_tests=
wanted isolation || isolation_tests=
wanted pgtap || pgtap_tests=
wanted tap || tap_tests=

reference= documents=
wanted reference && selected reference && reference=1
wanted documents && selected documents && documents=1

if [ -n "$regress_tests$not_preloaded_tests$isolation_tests$pgtap_tests$reference$documents" ]; then
	throwaway_initdb <<-END && throwaway_start || die "The server did not start."
		cron.database_name = 'postgres'
		log_line_prefix = '%m [%p] %q%d %u '
	END
fi

if [ -n "$regress_tests" ]; then
	heading "regress (sql/)"
	regress regress eda_regress regress/pg_regress "$W/src" $regress_tests
fi
if [ -n "$not_preloaded_tests" ]; then
	heading "regress, eda not preloaded"
	throwaway_stop && throwaway_start "-c shared_preload_libraries=pg_cron" || die "The server did not restart."
	regress not_preloaded eda_not_preloaded regress/pg_regress "$W/src" $not_preloaded_tests
	throwaway_stop && throwaway_start || die "The server did not restart."
fi
if [ -n "$isolation_tests" ]; then
	heading "isolation (test/isolation/)"
	regress isolation eda_isolation isolation/pg_isolation_regress "$W/src/test/isolation" $isolation_tests
fi
if [ -n "$pgtap_tests" ]; then
	heading "pgTAP (test/pgtap/)"
	psql -d postgres -Xqc 'CREATE DATABASE eda_pgtap' -c '\c eda_pgtap' -c 'CREATE EXTENSION pgtap; CREATE EXTENSION eda' >"$W/out/pgtap.setup" 2>&1
	for t in $pgtap_tests; do
		prove_one "$t" pg_prove -v -d eda_pgtap "test/pgtap/$t.sql"
	done
fi
if [ -n "$reference" ]; then
	heading "docs/reference.md"
	psql -d postgres -Xqc 'CREATE EXTENSION IF NOT EXISTS pg_cron' >"$W/out/reference.setup" 2>&1
	if [ -n "${EDA_REFERENCE_WRITE:-}" ]; then
		prove_one reference env EDA_REFERENCE_WRITE="$W/out/reference.md" prove -v test/reference.pl
		cat "$W/out/reference.md" >"$ROOT/docs/reference.md"
	else
		prove_one reference prove -v test/reference.pl
	fi
fi
if [ -n "$documents" ]; then
	heading "README.md and docs/"
	prove_one documents prove -v test/documents.pl
fi
if [ -f "$W/data/postmaster.pid" ]; then
	if throwaway_stop && ! grep -E 'PANIC:|TRAP:|was terminated by signal' "$W/out/server.log"; then
		heading server
		ok "no process crashed, and it stopped"
	else
		heading server
		not_ok "no process crashed, and it stopped"
		throwaway_stop immediate 2>/dev/null
	fi
fi
# A TAP file of test/ with clusters of its own: tap_run FILE NAME [VARIABLE=value...]
tap_run()
{
	local file=$1 name=$2 dir=$W/out/t_${2// /_}
	shift 2

	throwaway_tap "$dir"
	prove_run "$name" "${TAP_ENV[@]}" \
		EDA_JSON_SCHEMA_SUITE="${EDA_JSON_SCHEMA_SUITE:-$ROOT/../shared/json-schema-test-suite}" "$@" \
		prove -v "test/$file"
	# a node that a failed test left running
	find "$dir" -name postmaster.pid 2>/dev/null | while read -r f; do kill -QUIT "$(head -1 "$f")" 2>/dev/null; done
}

# Those that run, in the order in which they were begun and are reported.
queue=()

# Wait until fewer than $1 run, and report what has ended.
tap_wait()
{
	while [ ${#queue[@]} -gt 0 ]; do
		if [ -e "$(prove_output "${queue[0]}").done" ]; then
			prove_report "${queue[0]}"
			queue=("${queue[@]:1}")
		elif [ "$(jobs -rp | wc -l)" -ge "$1" ]; then
			wait -n
		else
			break
		fi
	done
}

# tap FILE NAME [VARIABLE=value...]: begin it once there is room
tap()
{
	tap_wait "$JOBS"
	queue+=("$2")
	{ tap_run "$@"; : >"$(prove_output "$2").done"; } &
}

throwaway_conf >"$W/tap.conf"
if [ -n "$tap_tests" ]; then
	heading "TAP, clusters of their own (test/t/, test/jsonschema/), $JOBS at once"
	for t in $tap_tests; do
		case " $ALONE " in *" ${t#*/} "*) tap "$t.pl" "${t#*/}"; tap_wait 1 ;; esac
	done
	for t in $tap_tests; do
		case " $ALONE " in *" ${t#*/} "*) ;; *) tap "$t.pl" "${t#*/}" ;; esac
	done
	tap_wait 1
fi

new_seed() { echo $((RANDOM * 32768 + RANDOM + 1)); }

# The steps of one seed.
model() { tap model/random.pl "seed $1, $STEPS steps" EDA_MODEL_SEED="$1" EDA_MODEL_STEPS="$STEPS"; }

if wanted model && selected model; then
	heading "model, random steps (test/model/), $JOBS at once"
	SHOW=250	# a failure is to be read whole
	model_end=$(($(now_ms) + MINUTES * 60000))
	for seed in ${SEEDS:-1}; do
		model "$seed"
	done
	while [ "$(now_ms)" -lt $model_end ]; do
		model "$(new_seed)"
	done
	tap_wait 1
fi

if [ $failed -gt 0 ] && [ -n "$KEEP" ]; then
	kept=$(mktemp -d "/tmp/eda-logs.XXXXXX")
	cp -r "$W/out/." "$kept/" 2>/dev/null
	printf '\nThe logs are in %s\n' "$kept"
fi
printf '\n%d s\n%d passed, %d failed\n' $((($(now_ms) - begin) / 1000)) $passed $failed
[ $failed -eq 0 ] && [ $passed -gt 0 ]
