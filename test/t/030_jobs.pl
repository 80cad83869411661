# Jobs with a real pg_cron, in its own database and in another one.
#
# pg_cron 1.4 has no step below a minute, so jobs are scheduled as '@reboot'
# and the server is restarted.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('jobs');
$node->init;
$node->append_conf('postgresql.conf', "cron.database_name = 'postgres'");
$node->start;

# One value, as a role.
sub as_role
{
	my ($role, $db, $sql) = @_;
	my ($rc, $out, $err) =
	  $node->psql($db, $sql, extra_params => [ '-U', $role ], on_error_stop => 1);
	return ($rc, $out, $err);
}

$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('postgres', 'CREATE ROLE joe LOGIN');
for my $db ('postgres', 'app')
{
	$node->safe_psql(
		$db, q{
		CREATE EXTENSION eda;
		GRANT USAGE ON SCHEMA eda TO joe;
		GRANT EXECUTE ON FUNCTION eda.schedule, eda.unschedule TO joe;
		GRANT EXECUTE ON PROCEDURE eda.run_job TO joe;
		GRANT SELECT ON eda.jobs, eda.job_runs TO joe;
		CREATE TABLE orders (id int, who name DEFAULT current_user);
		GRANT ALL ON orders TO joe;
	});
}

# What stands in the way, one thing after the other.
my ($rc, $out, $err) = as_role('joe', 'app', "SELECT eda.schedule('away', '\@reboot', 'SELECT 1', 'job.away')");
like($err, qr/pg_cron is not available.*Database "postgres" has no extension pg_cron/s, 'pg_cron is not created');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron');
($rc, $out, $err) = as_role('joe', 'app', "SELECT eda.schedule('away', '\@reboot', 'SELECT 1', 'job.away')");
like($err, qr/role "joe" may not use pg_cron.*In database "postgres": GRANT USAGE ON SCHEMA cron TO joe/s,
	'no right on schema cron, in the other database');
($rc, $out, $err) = as_role('joe', 'postgres', "SELECT eda.schedule('home', '\@reboot', 'SELECT 1', 'job.home')");
like($err, qr/role "joe" may not use pg_cron/, 'no right on schema cron, in this database');
$node->safe_psql('postgres', 'GRANT USAGE ON SCHEMA cron TO joe');
($rc, $out, $err) = as_role('joe', 'app', "SELECT eda.schedule('away', '\@reboot', 'SELECT 1', 'job.away')");
like($err, qr/may not schedule pg_cron jobs for another database.*GRANT EXECUTE ON FUNCTION cron.schedule_in_database/s,
	'no right to schedule_in_database');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION cron.schedule_in_database TO joe');
$node->safe_psql('postgres', 'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
($rc, $out, $err) = as_role('joe', 'app', "SELECT eda.schedule('away', '\@reboot', 'SELECT 1', 'job.away')");
like($err, qr/role "joe" cannot connect to database "postgres", where pg_cron is/, 'no CONNECT on its database');
$node->safe_psql('postgres', 'GRANT CONNECT ON DATABASE postgres TO PUBLIC');
($rc, $out, $err) = as_role('joe', 'app', "SELECT eda.schedule('away', 'at noon', 'SELECT 1', 'job.away')");
like($err, qr/invalid schedule: at noon/, "pg_cron's own error, from the other database");
is($node->safe_psql('postgres', 'SELECT count(*) FROM cron.job'), 0, 'nothing is scheduled by what failed');
is($node->safe_psql('app', 'SELECT count(*) FROM eda.jobs'), 0, 'and there is no job');

# The three outcomes, fired by pg_cron.
my $schedule = q{SELECT eda.schedule('%s', '@reboot', '%s', 'job.%s')};
my $query = 'SELECT id, current_user AS who FROM public.orders';
for my $db ('postgres', 'app')
{
	my $job = $db eq 'app' ? 'away' : 'home';
	($rc, $out, $err) = as_role('joe', $db, sprintf($schedule, $job, $query, $job));
	is($rc, 0, "job $job is scheduled") or diag($err);
	like($out, qr/^\d+$/, "and returns pg_cron's id");
	as_role('joe', $db, sprintf($schedule, "$job-nothing", "$query WHERE id < 0", $job));
	as_role('joe', $db, sprintf($schedule, "$job-broken", "SELECT * FROM public.gone", $job));
	$node->safe_psql($db, 'INSERT INTO orders SELECT generate_series(1, 5)');
}
is( $node->safe_psql(
		'postgres', q{SELECT jobname, username, database, command, schedule FROM cron.job WHERE jobname LIKE '%y' OR jobname LIKE '%e' ORDER BY 1}),
	"eda:app:away|joe|app|CALL eda.run_job('away')|\@reboot\n"
	  . "eda:postgres:home|joe|postgres|CALL eda.run_job('home')|\@reboot",
	'what pg_cron has to do');

$node->restart;
for my $db ('postgres', 'app')
{
	my $job = $db eq 'app' ? 'away' : 'home';
	ok($node->poll_query_until($db, q{SELECT count(*) = 3 FROM eda.job_runs WHERE outcome <> 'running'}),
		"pg_cron ran the jobs in $db");
	is( $node->safe_psql(
			$db, q{SELECT job, outcome, message, total, published, last_id - first_id, error_code FROM eda.job_runs ORDER BY job}),
		"$job|published||5|5|4|\n"
		  . "$job-broken|error|relation \"public.gone\" does not exist||||42P01\n"
		  . "$job-nothing|no_records|no records to process|0|0||",
		"outcomes in $db");
	is( $node->safe_psql(
			$db, qq{SELECT string_agg(payload::text, ' ' ORDER BY id) FROM eda.events WHERE topic = 'job.$job'}),
		join(' ', map { qq({"id": $_, "who": "joe"}) } 1 .. 5),
		"the query ran as joe in $db");
	is( $node->safe_psql(
			$db, q{SELECT payload->>'job', payload->>'error_code', payload->>'error_condition', published_by FROM eda.events WHERE topic = 'eda.job.failed'}),
		"$job-broken|42P01|undefined_table|joe",
		"eda.job.failed in $db");
}
ok( $node->poll_query_until(
		'postgres', q{SELECT count(*) = 6 FROM cron.job_run_details WHERE status IN ('succeeded', 'failed')}),
	"pg_cron's history has all");
is( $node->safe_psql(
		'postgres', q{SELECT command, status, return_message ~ 'public.gone' FROM cron.job_run_details WHERE status <> 'succeeded' ORDER BY database}),
	"CALL eda.run_job('away-broken')|failed|t\nCALL eda.run_job('home-broken')|failed|t",
	'and in it the failed ones, with their error');

# Again: replaces, keeps pg_cron's id and the owner.
my $id = $node->safe_psql('app', "SELECT cron_jobid FROM eda.jobs WHERE job = 'away'");
is($node->safe_psql('app', "SELECT eda.schedule('away', '0 0 * * *', 'SELECT 7 AS n', 'job.other')"),
	$id, 'scheduled again by a superuser, it is the same job');
is($node->safe_psql('app', "SELECT schedule, topic, owner FROM eda.jobs WHERE job = 'away'"),
	'0 0 * * *|job.other|joe', 'changed, and still joe\'s');
is($node->safe_psql('postgres', "SELECT count(*) FROM cron.job WHERE jobname = 'eda:app:away' AND username = 'joe' AND schedule = '0 0 * * *'"),
	1, 'in pg_cron too');

# Cancelled while the call of pg_cron in the other database waits: nothing of it goes on.
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE cron.job');
($rc, $out, $err) = $node->psql('app', q{SET statement_timeout = 300; SELECT eda.schedule('late', '@daily', 'SELECT 1', 'job.late')});
like($err, qr/canceling statement due to statement timeout/, 'cancelled in the other database');
ok( $node->poll_query_until(
		'postgres', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'eda pg_cron call'}),
	'the worker that was to call pg_cron is gone');
$locker->query_safe('COMMIT');
$locker->quit;
is($node->safe_psql('postgres', "SELECT count(*) FROM cron.job WHERE jobname = 'eda:app:late'"), 0, 'and did not');

# A job with a long name, and a quote in it.
my $long = "it's " . ('x' x 200);
my $quoted = $long =~ s/'/''/gr;
for my $db ('postgres', 'app')
{
	$node->safe_psql($db, "SELECT eda.schedule('$quoted', '\@daily', 'SELECT 1', 'job.long')");
	$node->safe_psql($db, "SELECT eda.schedule('${quoted}y', '\@daily', 'SELECT 1', 'job.long')");
}
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT jobname) FROM cron.job WHERE command LIKE '%x%'"),
	'4|4', 'long names are different jobs of pg_cron');

# A job does not overlap itself.
$node->safe_psql('app', q{SELECT eda.schedule('slow', '@daily', 'SELECT 1 AS n FROM pg_advisory_xact_lock(42)', 'job.slow')});
my $holder = $node->background_psql('app');
$holder->query_safe('SELECT pg_advisory_lock(42)');
my $runner = $node->background_psql('app', on_error_stop => 0);
$runner->query_until(qr/started/, "\\echo started\nCALL eda.run_job('slow');\n\\echo ended\n");
my $waiting = q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE 'CALL%slow%'};
ok($node->poll_query_until('app', $waiting), 'a run is going on');
is($node->safe_psql('app', "SELECT outcome FROM eda.job_runs WHERE job = 'slow'"), 'running', 'and is seen to');
$node->safe_psql('app', "CALL eda.run_job('slow')");
is($node->safe_psql('app', "SELECT string_agg(outcome || ': ' || coalesce(message, ''), ', ' ORDER BY run_id) FROM eda.job_runs WHERE job = 'slow'"),
	'running: , skipped: the previous run is still going', 'the next one is skipped');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
$runner->query_until(qr/ended/, '');
is($node->safe_psql('app', "SELECT string_agg(outcome, ', ' ORDER BY run_id) FROM eda.job_runs WHERE job = 'slow'"),
	'published, skipped', 'the first one ended well');

# on_invalid: rows that break the topic's schema are refused, one by one or all together.
$node->safe_psql('app', q{SELECT eda.define_topic('job.picky', '{"properties": {"n": {"maximum": 2}}}');
	SELECT eda.schedule('picky', '@reboot', 'SELECT i AS n FROM generate_series(1, 4) i', 'job.picky', on_invalid => 'skip')});
$node->safe_psql('app', q{CALL eda.run_job('picky')});
is($node->safe_psql('app', q{SELECT outcome, message, total, published, invalid FROM eda.job_runs WHERE job = 'picky'}),
	'published|2 of 4 rows were refused|4|2|2', 'skip: the others are published');
is( $node->safe_psql('app', q{SELECT string_agg(format('%s %s %s', row, payload, violations), ', ' ORDER BY row) FROM eda.job_refusals WHERE job = 'picky'}),
	'3 {"n": 3} /n: 3 is greater than 2 (schema: /properties/n/maximum), 4 {"n": 4} /n: 4 is greater than 2 (schema: /properties/n/maximum)',
	'the rows that break the schema are kept with the run');
$node->safe_psql('app', q{SELECT eda.schedule('picky', '@reboot', 'SELECT i AS n FROM generate_series(1, 4) i', 'job.picky')});
($rc, $out, $err) = $node->psql('app', q{CALL eda.run_job('picky')});
like($err, qr/breaks the topic's schema.*\/n: 3 is greater than 2/s, 'fail: the run fails');
is($node->safe_psql('app', q{SELECT outcome, error_code, error_detail FROM eda.job_runs WHERE job = 'picky' ORDER BY run_id DESC LIMIT 1}),
	'error|ED053|/n: 3 is greater than 2 (schema: /properties/n/maximum)', 'and keeps the violation');
$node->safe_psql('app', q{SELECT eda.unschedule('picky'); SELECT eda.drop_topic('job.picky')});

# A run whose session dies says so when the next one starts.
$holder->query_safe('SELECT pg_advisory_lock(42)');
$runner->query_until(qr/started/, "\\echo started\nCALL eda.run_job('slow');\n");
ok($node->poll_query_until('app', $waiting), 'another run is going on');
$node->safe_psql('app', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'advisory' AND query LIKE 'CALL%slow%'});
ok( $node->poll_query_until(
		'app', q{SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'CALL%slow%' AND pid <> pg_backend_pid()}),
	'its session is gone');
$holder->query_safe('SELECT pg_advisory_unlock(42)');
$node->safe_psql('app', "CALL eda.run_job('slow')");
is($node->safe_psql('app', "SELECT outcome, error_code, message FROM eda.job_runs WHERE job = 'slow' ORDER BY run_id DESC OFFSET 1 LIMIT 1"),
	'error|57P02|the server or its session ended during the run', 'the run that died');
is($node->safe_psql('app', "SELECT outcome FROM eda.job_runs WHERE job = 'slow' ORDER BY run_id DESC LIMIT 1"),
	'published', 'the one after it');
$holder->quit;
eval { $runner->quit };

# A rolled back schedule: in pg_cron's own database it leaves nothing, in
# another one an entry, which says what it is when it runs.
$node->safe_psql('postgres', "BEGIN; SELECT eda.schedule('undone', '\@reboot', 'SELECT 1', 'job.x'); ROLLBACK");
is($node->safe_psql('postgres', "SELECT count(*) FROM cron.job WHERE jobname LIKE '%undone'"), 0, 'rolled back, in pg_cron too');
$node->safe_psql('app', "BEGIN; SELECT eda.schedule('undone', '\@reboot', 'SELECT 1', 'job.x'); ROLLBACK");
is($node->safe_psql('postgres', "SELECT count(*) FROM cron.job WHERE jobname LIKE '%undone'"), 1,
	'rolled back, but known to pg_cron in another database');
$node->restart;
ok( $node->poll_query_until(
		'postgres', q{SELECT count(*) = 1 FROM cron.job_run_details WHERE status = 'failed' AND return_message ~ 'job "undone" does not exist'}),
	'where it fails, by name');
$node->safe_psql('postgres', "SELECT cron.unschedule('eda:app:undone')");

# A copy of a database has its jobs, and their ids; pg_cron's jobs are the original's.
my $entries = q{SELECT string_agg(jobid || jobname || database || username, ' ' ORDER BY jobid) FROM cron.job};
my $before = $node->safe_psql('postgres', $entries);
$node->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE app');
is((as_role('joe', 'copy', "SELECT eda.unschedule('away')"))[1], 't', 'unscheduled in a copy, by its owner');
is($node->safe_psql('copy', "SELECT eda.unschedule('away-nothing')"), 't', 'and by a superuser');
is($node->safe_psql('postgres', $entries), $before, "the original's are still there");
my $slow = q{SELECT eda.schedule('slow', '@daily', 'SELECT 1 AS n', 'job.slow')};
my $slow_entries = q{SELECT string_agg(jobname || ' in ' || database, ', ' ORDER BY jobname) FROM cron.job WHERE jobname LIKE '%slow'};
$node->safe_psql('copy', $slow);
is($node->safe_psql('postgres', $slow_entries), 'eda:app:slow in app, eda:copy:slow in copy', "scheduled again, the copy has one of its own");

# A renamed database takes its jobs along: what pg_cron had is replaced, or found by its id.
$node->safe_psql('postgres', 'ALTER DATABASE copy RENAME TO copy2');
$node->safe_psql('copy2', $slow);
is($node->safe_psql('postgres', $slow_entries), 'eda:app:slow in app, eda:copy2:slow in copy2', 'scheduled again in a renamed database');
$node->safe_psql('postgres', 'ALTER DATABASE copy2 RENAME TO copy3');
is($node->safe_psql('copy3', "SELECT eda.unschedule('slow')"), 't', 'unscheduled in a renamed database');
is($node->safe_psql('postgres', $entries), $before, 'and all is as it was before the copy');
$node->safe_psql('postgres', 'DROP DATABASE copy3');

# Names that read the same are different jobs of pg_cron.
$node->safe_psql('postgres', 'CREATE DATABASE "app:x"');
$node->safe_psql('app:x', 'CREATE EXTENSION eda');
my ($in_app, $in_appx) = map { $node->safe_psql($_->[0], "SELECT eda.schedule('$_->[1]', '\@daily', 'SELECT 1', 'job.x')") }
  (['app', 'x:y'], ['app:x', 'y']);
is( $node->safe_psql('postgres', "SELECT jobid, database, regexp_replace(jobname, '[0-9a-f]{16}\$', '') FROM cron.job WHERE jobname LIKE '%x:y%' ORDER BY jobid"),
	"$in_app|app|eda:app:x:y\n$in_appx|app:x|eda:app:x:y~", 'ambiguous names have a hash');
my $hashed = $node->safe_psql('postgres', "SELECT jobname FROM cron.job WHERE jobid = $in_appx") =~ s/^eda:app://r;
$node->safe_psql('app', "SELECT eda.schedule('$hashed', '\@daily', 'SELECT 1', 'job.x')");
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT jobname) FROM cron.job WHERE jobname LIKE '%x:y%'"), '3|3',
	'and a job that has such a name itself does not get in the way');
$node->safe_psql('app', "SELECT eda.unschedule('x:y'), eda.unschedule('$hashed')");
$node->safe_psql('app:x', "SELECT eda.unschedule('y')");
is($node->safe_psql('postgres', $entries), $before, 'each has unscheduled its own');
$node->safe_psql('postgres', 'DROP DATABASE "app:x"');

# Who schedules one job keeps nobody from another one.
my $first = $node->background_psql('app');
$first->query_safe("BEGIN; $slow");
($rc, $out, $err) = $node->psql('app', q{SET lock_timeout = '10s'; SELECT eda.schedule('swift', '@daily', 'SELECT 1', 'job.swift')});
is($rc, 0, 'another job can be scheduled meanwhile') or diag($err);
($rc, $out, $err) = $node->psql('app', "SET lock_timeout = 300; $slow");
like($err, qr/canceling statement due to lock timeout/, 'the same one waits');
($rc, $out, $err) = $node->psql('app', q{SET lock_timeout = 300; SELECT eda.unschedule('slow')});
like($err, qr/canceling statement due to lock timeout/, 'to unschedule it waits as well');
$first->query_safe('COMMIT');
$first->quit;

# The path that it is scheduled under goes with it.
$node->safe_psql('app', q{CREATE SCHEMA place; CREATE TABLE place.here AS SELECT 9 AS n;
	SET search_path = place; SELECT eda.schedule('path', '@daily', 'SELECT n FROM here', 'job.path')});
$node->safe_psql('app', "CALL eda.run_job('path')");
is($node->safe_psql('app', "SELECT search_path, last_outcome FROM eda.jobs WHERE job = 'path'"), 'place|published',
	'a job runs under the search_path it was scheduled with');
($rc, $out, $err) = $node->psql('app', q{SELECT eda.schedule('path', '@daily', 'SELECT n FROM here', 'job.path'); CALL eda.run_job('path')});
like($err, qr/relation "here" does not exist/, 'and scheduled again, under that');

# Gone in both places; by a superuser too, and where the owner is gone.
is((as_role('joe', 'app', "SELECT eda.unschedule('away-broken')"))[1], 't', 'unscheduled by its owner');
is($node->safe_psql('postgres', "SELECT count(*) FROM cron.job WHERE jobname = 'eda:app:away-broken'"), 0, 'gone from pg_cron');
for my $db ('app', 'postgres')
{
	$node->safe_psql($db, 'REVOKE ALL ON ALL ROUTINES IN SCHEMA eda FROM joe; REVOKE ALL ON ALL TABLES IN SCHEMA eda FROM joe; REVOKE ALL ON SCHEMA eda FROM joe; DROP TABLE orders');
}
$node->safe_psql('app', "SELECT eda.unschedule(job) FROM eda.jobs WHERE job <> 'away'");
$node->safe_psql('postgres', 'REVOKE ALL ON FUNCTION cron.schedule_in_database FROM joe; REVOKE ALL ON SCHEMA cron FROM joe');
$node->safe_psql('postgres', 'DROP ROLE joe');
$node->safe_psql('app', "SELECT eda.unschedule('away')");
$node->safe_psql('postgres', 'SELECT eda.unschedule(job) FROM eda.jobs');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cron.job'), 0, 'nothing is left in pg_cron');

$node->stop;
done_testing();
