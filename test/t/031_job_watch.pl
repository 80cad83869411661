# Jobs that nobody ran: said when they are scheduled where that shows, else found by the dispatcher.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($rc, $out, $err);

# A server as Debian's packages make it: pg_cron logs in like a client, and has no password.
my $node = PostgreSQL::Test::Cluster->new('watch');
$node->init;
$node->append_conf('postgresql.conf', q{
cron.database_name = 'postgres'
cron.use_background_workers = off
listen_addresses = '127.0.0.1'
});
$node->start;
$node->append_conf('postgresql.conf', "cron.host = '127.0.0.1'\n");
unlink($node->data_dir . '/pg_hba.conf');
append_to_file($node->data_dir . '/pg_hba.conf', "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
$node->restart;

$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_cron;
	CREATE EXTENSION eda;
	CREATE ROLE joe LOGIN;
	GRANT USAGE ON SCHEMA eda, cron TO joe;
	GRANT EXECUTE ON FUNCTION eda.schedule, eda.unschedule TO joe;
	GRANT EXECUTE ON PROCEDURE eda.run_job TO joe;
	GRANT SELECT ON eda.jobs, eda.job_runs TO joe;
	GRANT CREATE ON SCHEMA public TO joe;
});

# Statements as joe; what was said besides.
sub as_joe
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'joe' ], on_error_stop => 1);
	return $err;
}

like(as_joe(q{SELECT eda.schedule('nightly', '@reboot', 'SELECT 1 AS x', 'job.x')}),
	qr/WARNING:.*unless pg_cron can log in as role "joe".*HINT:.*cron.use_background_workers = on.*max_worker_processes = \d+/s,
	'that pg_cron cannot log in is to be expected, and eda.schedule says so');

my $row = q{SELECT outcome, error_code, message, started_at = due_at, cron_runid IS NOT NULL FROM eda.job_runs WHERE job = '%s' ORDER BY run_id DESC LIMIT 1};
$node->restart;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eda.job_runs WHERE job = 'nightly'}), 'a run that pg_cron could not start is on record');
is($node->safe_psql('postgres', sprintf($row, 'nightly')), 'missed|ED042|pg_cron could not start it: connection failed|t|t', "with pg_cron's own reason");
is($node->safe_psql('postgres', q{SELECT payload - 'run', payload->'run' = to_jsonb(run_id), published_by, key
	FROM eda.events, eda.job_runs WHERE topic = 'eda.job.failed'}),
	'{"job": "nightly", "error_code": "ED042", "error_where": null, "error_condition": "job_missed"}|t|joe|nightly', 'and eda.job.failed is published, without the message');
is($node->safe_psql('postgres', q{SELECT last_outcome FROM eda.jobs}), 'missed', 'and eda.jobs shows it');

# From here on pg_cron can start them.
$node->append_conf('postgresql.conf', 'cron.use_background_workers = on');
$node->restart;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eda.job_runs WHERE outcome = 'published'}), 'once it can, it is run');
is(as_joe(q{SELECT eda.schedule('nightly', '0 0 * * *', 'SELECT 1 AS x', 'job.x')}), '', 'and eda.schedule has nothing to say');

# A job that was due while the server was down, and one whose database is another than pg_cron's.
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION eda');
$node->safe_psql('app', q{SELECT eda.schedule('away', '0 0 * * *', 'SELECT 1 AS x', 'job.x'), eda.schedule('zone', '0 0 * * *', 'SELECT 1 AS x', 'job.x', timezone => 'Asia/Tokyo')});
my $due = q{SELECT next_run_at - interval '1 day' FROM eda.jobs WHERE job = '%s'};
my $away_due = $node->safe_psql('app', sprintf($due, 'away'));
my $zone_due = $node->safe_psql('app', sprintf($due, 'zone'));
$node->safe_psql('postgres', q{SELECT cron.unschedule(jobid) FROM cron.job WHERE jobname = 'eda:postgres:nightly'});
$node->safe_psql($_, q{UPDATE eda.job SET scheduled_at = scheduled_at - interval '3 days'; DELETE FROM eda.job_run}) foreach ('postgres', 'app');
$node->restart;
for my $job ('away', 'zone')
{
	ok($node->poll_query_until('app', qq{SELECT count(*) = 1 FROM eda.job_runs WHERE job = '$job'}), "$job: what was due while the server was down is on record");
	like($node->safe_psql('app', sprintf($row, $job)), qr/^missed\|ED042\|3 runs, the first one due at .*: the server was not running\|t\|f$/, "$job: all three of them");
	is($node->safe_psql('app', "SELECT due_at FROM eda.job_runs WHERE job = '$job'"), $job eq 'away' ? $away_due : $zone_due, "$job: up to the last one");
}
is($node->safe_psql('app', q{SELECT count(*) FROM eda.events WHERE topic = 'eda.job.failed'}), 2, 'one event each');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eda.job_runs WHERE job = 'nightly'}), 'so it is for a job of which pg_cron knows nothing any more');
$node->restart;
is($node->safe_psql('app', q{CALL eda.run_job('away'); SELECT count(*) FROM eda.job_runs WHERE outcome = 'missed'}), 2, 'nothing is missed twice');

# While the server runs: pg_cron has no such job any more, or keeps it inactive, or its call failed before the run began.
$node->safe_psql('postgres', q{SELECT eda.schedule('gone', '* * * * *', 'SELECT 1 AS x', 'job.x'), eda.schedule('idle', '* * * * *', 'SELECT 1 AS x', 'job.x');
	SELECT cron.unschedule('eda:postgres:gone'), cron.alter_job(jobid, active := false) FROM cron.job WHERE jobname = 'eda:postgres:idle'});
as_joe(q{SELECT eda.schedule('shut', '* * * * *', 'SELECT 1 AS x', 'job.x')});
$node->safe_psql('postgres', q{REVOKE EXECUTE ON PROCEDURE eda.run_job FROM joe});
my $reason = q{SELECT string_agg(DISTINCT message, '; ') FROM eda.job_runs WHERE job = '%s' AND outcome = 'missed'};
ok($node->poll_query_until('postgres', q{SELECT count(DISTINCT job) = 3 FROM eda.job_runs WHERE outcome = 'missed' AND job IN ('gone', 'idle', 'shut')}),
	'each is noticed within a minute or two');
like($node->safe_psql('postgres', sprintf($reason, 'gone')), qr/^pg_cron has no job \d+ any more/, 'unscheduled behind the back');
like($node->safe_psql('postgres', sprintf($reason, 'idle')), qr/^pg_cron's job \d+ is not active/, 'inactive');
like($node->safe_psql('postgres', sprintf($reason, 'shut')), qr/^pg_cron could not start it: .*permission denied for procedure run_job/, 'not allowed any more');
$node->safe_psql('postgres', q{SELECT eda.unschedule(job) FROM eda.jobs});

# A copy has the jobs, and pg_cron does not run them there: nothing is missed, and nothing is due.
$node->safe_psql('app', q{UPDATE eda.job SET scheduled_at = scheduled_at - interval '30 days'});
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE app');
is($node->safe_psql('copy', 'SELECT count(*), count(next_run_at) FROM eda.jobs'), '2|0', 'a copy knows no next run');
is($node->safe_psql('app', 'SELECT count(*), count(next_run_at) FROM eda.jobs'), '2|2', 'where the original does');
$node->safe_psql('postgres', 'DROP DATABASE copy');

# A run whose session died is an error, and published, without waiting for the next night.
$node->safe_psql('app', q{SELECT eda.schedule('slow', '@daily', 'SELECT 1 AS n FROM pg_sleep(600)', 'job.slow')});
my $runner = $node->background_psql('app', on_error_stop => 0);
$runner->query_until(qr/started/, "\\echo started\nCALL eda.run_job('slow');\n");
ok($node->poll_query_until('app', q{SELECT count(*) = 1 FROM eda.job_runs WHERE job = 'slow' AND outcome = 'running'}), 'a run is going on');
$node->safe_psql('app', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%slow%'});
ok($node->poll_query_until('app', q{SELECT count(*) = 1 FROM eda.job_runs WHERE job = 'slow' AND outcome = 'error' AND error_code = '57P02'}),
	'a run whose session died is closed by the dispatcher');
is($node->safe_psql('app', q{SELECT payload - 'run' FROM eda.events WHERE topic = 'eda.job.failed' AND key = 'slow'}),
	'{"job": "slow", "error_code": "57P02", "error_where": null, "error_condition": "crash_shutdown"}', 'and published');
eval { $runner->quit };

# What else shows when a job is scheduled.
$node->append_conf('postgresql.conf', "max_worker_processes = 8\n");
$node->restart;
($rc, $out, $err) = $node->psql('app', q{SELECT eda.schedule('tight', '@daily', 'SELECT 1 AS n', 'job.x')});
like($err, qr/WARNING:.*max_worker_processes, 8,.*HINT:.*max_worker_processes = \d+/s, 'too few worker processes for all');
$node->append_conf('postgresql.conf', "max_worker_processes = 32\n");
$node->restart;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_cron launcher'}), "pg_cron's launcher runs");
is(($node->psql('app', q{SELECT eda.schedule('tight', '@daily', 'SELECT 1 AS n', 'job.x')}))[2], '', 'nothing to say otherwise');

$node->stop;
done_testing();
