# The benchmark's server and programs, in the private copy of the tree that
# test/lib/throwaway.sh made.  Sourced by bench/run.sh.

# The limits and the clients.  The one that looks into eda goes with the version
# of eda that it was written for; without it a figure is missing.
bench_build()
{
	run make -s -C bench with_llvm=no PG_CONFIG="$PG_CONFIG" COPT=-Werror >"$W/out/bench.log" 2>&1 </dev/null && return 0
	cat "$W/out/bench.log" >&2
	return 1
}

HUGE_PAGES_BEFORE=

# Huge pages for the server's shared memory, where we may reserve them: a virtual machine
# takes tens of microseconds for the first touch of each small page, which
# would be most of what the short turns measure, of all sides.
bench_reserve()
{
	local file=/proc/sys/vm/nr_hugepages want=$(($1 / 2 + 150))

	[ "$(id -u)" = 0 ] && [ -w $file ] && grep -q '^Hugepagesize: *2048 kB' /proc/meminfo || return 0
	[ "$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)" -gt $((want * 4)) ] || return 0
	HUGE_PAGES_BEFORE=$(cat $file)
	[ "$HUGE_PAGES_BEFORE" -lt $want ] || { HUGE_PAGES_BEFORE=; return 0; }
	echo 3 >/proc/sys/vm/drop_caches 2>/dev/null
	echo 1 >/proc/sys/vm/compact_memory 2>/dev/null
	echo $want >$file 2>/dev/null
	trap 'throwaway_cleanup; bench_release' EXIT
}

bench_release() { [ -z "$HUGE_PAGES_BEFORE" ] || echo "$HUGE_PAGES_BEFORE" >/proc/sys/vm/nr_hugepages; }

# Each buffer is used once and free again.  The first touch of memory costs more than what is
# measured, and a side whose table is truncated after each turn gets the same buffers again,
# while one that keeps what it wrote would pay for new ones.
bench_touch()
{
	run "$BINDIR/psql" -Xq -d postgres -v ON_ERROR_STOP=1 >"$W/out/touch.log" 2>&1 <<-END2 && return 0
		CREATE UNLOGGED TABLE touch (filler text) WITH (fillfactor = 10);
		INSERT INTO touch SELECT repeat('x', 700) FROM generate_series(1, $1 * 128);
		DROP TABLE touch;
	END2
	cat "$W/out/touch.log" >&2
	return 1
}

# A server whose commits reach the disk.  A quarter of the memory, 2 GB at most.
bench_start()
{
	local mb

	mb=$(awk '/^MemTotal/ { m = int($2 / 1024 / 4); print (m > 2048 ? 2048 : m) }' /proc/meminfo)
	[ -n "${QUICK:-}" ] || bench_reserve $mb
	run rm -rf "$W/data"
	throwaway_initdb <<-END2 && throwaway_start && { [ -n "${QUICK:-}" ] || bench_touch $mb; }
		shared_preload_libraries = 'eda'
		fsync = on
		shared_buffers = ${mb}MB
		huge_pages = try
		max_wal_size = 8GB
		min_wal_size = 2GB
		wal_level = replica
		checkpoint_timeout = 15min
		max_connections = 100
		log_line_prefix = '%m [%p] %b %q%d '
	END2
}

# The driver, as a command; what it reads is in the head of bench/bench.pl.
bench_command()
{
	local pgq=

	! PG_CONFIG=$PG_CONFIG bash "$ROOT/bench/prepare.sh" --there || pgq=yes
	BENCH_COMMAND=(env BENCH_PGQ=$pgq
		BENCH_OUT="$W/out" BENCH_MODULE="$W/src/bench/eda_bench" PERL5LIB="$W/src/bench/lib"
		perl "$W/src/bench/bench.pl")
}
