# The benchmark's server and programs, in the private copy of the tree that
# test/lib/throwaway.sh made.  Sourced by bench/run.sh and test/run.sh.

# The limits and the clients.  The one that looks into eda goes with the version
# of eda that it was written for; without it a figure is missing.
bench_build()
{
	run make -s -C bench with_llvm=no PG_CONFIG="$PG_CONFIG" COPT=-Werror >"$W/out/bench.log" 2>&1 </dev/null && return 0
	cat "$W/out/bench.log" >&2
	return 1
}

# A server whose commits reach the disk.  A quarter of the memory, 2 GB at most.
bench_start()
{
	local mb

	mb=$(awk '/^MemTotal/ { m = int($2 / 1024 / 4); print (m > 2048 ? 2048 : m) }' /proc/meminfo)
	throwaway_initdb <<-END2 && throwaway_start
		shared_preload_libraries = 'eda'
		fsync = on
		shared_buffers = ${mb}MB
		max_wal_size = 8GB
		min_wal_size = 2GB
		wal_level = replica
		checkpoint_timeout = 15min
		max_connections = 100
		log_line_prefix = '%m [%p] %b %q%d '
	END2
}

# The driver; what it reads is in the head of bench/bench.pl.
bench_driver()
{
	run env BENCH_PGQ="$(PG_CONFIG=$PG_CONFIG bash "$ROOT/bench/prepare.sh" --there && echo yes)" \
		BENCH_OUT="$W/out" BENCH_MODULE="$W/src/bench/eda_bench" PERL5LIB="$W/src/bench/lib" \
		perl "$W/src/bench/bench.pl" </dev/null
}
