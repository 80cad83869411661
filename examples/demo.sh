#!/bin/bash
#
# make demo: the nightly orders of examples/orders.sql, end to end, in a
# throw-away cluster.  Prints what happened, checks every figure of it against
# the CSV file, and ends non-zero if any differs.

set -u
. "$(dirname "${BASH_SOURCE[0]}")/../test/lib/throwaway.sh"

say() { printf '%s\n' "$*"; }

# psql as superuser, or as $1 after -U
sql() { run psql -X -q -v ON_ERROR_STOP=1 -d shop "$@" || die "The demo stopped: a statement failed."; }
ask() { psql -X -q -A -t -d shop -c "$1" </dev/null; }

# Until the first run has ended; $1: seconds to wait at most.
wait_for_pg_cron()
{
	local left=$1 shown=
	while [ "$left" -gt 0 ]; do
		[ "$(ask "SELECT count(*) FROM eda.job_runs WHERE outcome <> 'running'")" = 0 ] || break
		if [ -t 1 ]; then
			printf '\r  waiting for pg_cron, which starts jobs at full minutes: %2d s ' $((60 - 10#$(date +%S)))
		elif [ -z "$shown" ] || [ $((left % 15)) = 0 ]; then
			say "  waiting for pg_cron, which starts jobs at full minutes: $((60 - 10#$(date +%S))) s"
			shown=1
		fi
		run sleep 1
		left=$((left - 1))
	done
	[ -t 1 ] && printf '\r%70s\r' ''
	[ "$left" -gt 0 ] || die "pg_cron did not run the job: $(ask 'SELECT status, return_message FROM cron.job_run_details')"
}

business_day() { sql -U shop -c "TRUNCATE shop.business_day" -c "INSERT INTO shop.business_day VALUES ('$1')" </dev/null; }

# The run that was last, and what it was for.
note() { sql -c "INSERT INTO demo.run SELECT max(run_id), nullif('$1', '')::date, '$2' FROM eda.job_runs" </dev/null; }

run_job()
{
	run psql -X -q -U shop -d shop -c "CALL eda.run_job('$1')" </dev/null >>"$W/out/run_job.log" 2>&1
}

throwaway_begin "${PG_CONFIG:-pg_config}"
say "eda demo: the nightly orders, PostgreSQL $PGVERSION"
say "1. Building, and starting a throw-away cluster with pg_cron and eda"
throwaway_build -j2 || die "The build failed."
throwaway_initdb <<-END || die "initdb failed."
	cron.database_name = 'shop'
END
# pg_cron wants its database to be there when it starts
throwaway_start "-c shared_preload_libraries=" && run createdb shop </dev/null && throwaway_stop && throwaway_start ||
	die "The server did not start."

say "2. Loading the orders, the three subscribers and the job (examples/orders.sql)"
sql -c 'CREATE EXTENSION pg_cron' -c 'CREATE EXTENSION eda' </dev/null
sql -f examples/orders.sql </dev/null >"$W/out/orders.log"
sql -c 'CREATE SCHEMA demo' -c 'CREATE TABLE demo.run (run_id bigint, day date, what text)' </dev/null
ask "SELECT format('   %s orders of %s days with %s lines', count(DISTINCT o.invoice_no),
                   count(DISTINCT o.ordered_at::date), to_char(count(*), 'FM99,999'))
       FROM shop.orders o JOIN shop.order_lines l USING (invoice_no)"

say "3. The nightly job, fired by pg_cron for the first day"
business_day 2010-12-01
# As it is, but every minute: pg_cron 1.4 has no finer step.
reschedule()
{
	sql -U shop -c "SELECT eda.schedule(job, '$1', query, topic, key_column, idempotency_key_column, on_invalid)
	                  FROM eda.jobs WHERE job = 'nightly-orders'" </dev/null >/dev/null
}
reschedule '* * * * *'
wait_for_pg_cron 135
reschedule '0 0 * * *'
note 2010-12-01 'by pg_cron'

say "4. The other days, a day without orders, a day again, and a broken job, by CALL eda.run_job"
for day in 2010-12-02 2010-12-03; do
	business_day $day
	run_job nightly-orders
	note $day 'by CALL'
done
business_day 2010-12-04
run_job nightly-orders
note 2010-12-04 'no orders that day'
business_day 2010-12-05
run_job nightly-orders
note 2010-12-05 'by CALL'
business_day 2010-12-03
run_job nightly-orders
note 2010-12-03 'that day again'
# the job is sound when it is scheduled; its table goes later
sql -U shop </dev/null >/dev/null \
	-c "CREATE TABLE shop.returns (invoice_no text)" \
	-c "SELECT eda.schedule('broken-returns', '0 1 * * *', 'SELECT * FROM shop.returns', 'shop.order.returned')" \
	-c "DROP TABLE shop.returns"
run_job broken-returns && die "The broken job raised no error."
note '' 'a job whose table is gone'

say "5. Waiting until every event is handled"
sql -c "CALL eda.wait(timeout => '60 seconds')" </dev/null

sql -f examples/demo-report.sql </dev/null
sql -f examples/demo-check.sql </dev/null
wrong=$(ask "SELECT count(*) FROM demo.mismatch")
checks=$(ask "SELECT count(*) FROM demo.figure")
throwaway_stop || die "The server did not stop."
say
if [ "$wrong" != 0 ]; then
	say "$wrong of $checks figures are not what the data says."
	exit 1
fi
say "All $checks figures are what the CSV file says.  The cluster is removed."
