# A job's rows do not depend on who calls: its settings, its time zone, its time, its retries.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($rc, $out, $err);

my $node = PostgreSQL::Test::Cluster->new('settings');
$node->init;
$node->append_conf('postgresql.conf', "cron.database_name = 'postgres'");
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION pg_cron;
	CREATE EXTENSION eda;
	CREATE ROLE joe LOGIN;
	GRANT USAGE ON SCHEMA eda, cron TO joe;
	GRANT EXECUTE ON FUNCTION eda.schedule, eda.unschedule TO joe;
	GRANT EXECUTE ON PROCEDURE eda.run_job TO joe;
	GRANT SELECT ON eda.jobs, eda.job_runs TO joe;
	CREATE TABLE ord (invoice int, at timestamptz);
	INSERT INTO ord VALUES (1, '2026-11-30 10:00+00'), (2, '2026-11-30 20:00+00');
	GRANT SELECT ON ord TO joe;
	CREATE SCHEMA other;
	GRANT USAGE ON SCHEMA other TO joe;
	CREATE TABLE other.ord AS SELECT 0 AS invoice, now() AS at;
	GRANT SELECT ON other.ord TO joe;
});

sub as_joe
{
	my ($sql) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', 'joe' ], on_error_stop => 1);
	diag($err) if $rc != 0;
	return $out;
}

# ---- whoever calls, the same rows ----

my $query = q{SELECT count(*) AS n, min(at) AS first, max(at) - min(at) AS span, array_agg(at::text) AS days, '\xff00'::bytea AS bytes, 0.1::float8 + 0.2 AS f,
	to_char(1234.5, '9G999D9') AS number, current_setting('transaction_isolation') AS isolation, nullif(current_setting('my.tenant', true), '') AS tenant,
	to_tsvector('the cats') AS words, (NULL = NULL) AS nothing, interval '1 day' AS i, xmlelement(name x, '\xff'::bytea)::text AS x
	FROM ord WHERE at::date = date '2026-11-30'};
as_joe("SELECT eda.schedule('day', '0 0 * * *', \$\$$query\$\$, 'job.day')");
as_joe("CALL eda.run_job('day')");
my @sessions = (
	"SET TimeZone = 'Asia/Tokyo'", "SET DateStyle = 'German, DMY'", "SET IntervalStyle = 'sql_standard'", "SET bytea_output = 'escape'", 'SET extra_float_digits = -10',
	"SET search_path = other", 'SET xmlbinary = hex', 'SET row_security = off', "SET default_text_search_config = 'simple'", "SET default_transaction_isolation = 'serializable'",
	"SET my.tenant = '7'", 'SET transform_null_equals = on', "SET quote_all_identifiers = on",
	"SET TimeZone = 'America/New_York'; SET IntervalStyle = 'iso_8601'; SET search_path = other, public; SET my.tenant = '8'; SET default_transaction_isolation = 'repeatable read'");
for my $set (@sessions)
{
	my $names = join(', ', map { "current_setting('$_')" } qw(TimeZone DateStyle IntervalStyle bytea_output search_path default_transaction_isolation));
	my ($before, $after) = split(/\n/, as_joe("$set; SELECT $names; CALL eda.run_job('day'); SELECT $names"));

	is($after, $before, "$set: and the session has its own again");
}
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT payload) FROM eda.events WHERE topic = 'job.day'}), (@sessions + 1) . '|1',
	'whatever the session has set, the rows are the same');
for my $options ('-c timezone=Asia/Tokyo -c datestyle=sql,dmy -c intervalstyle=iso_8601', '-c bytea_output=escape -c search_path=other -c default_transaction_isolation=serializable')
{
	local $ENV{PGOPTIONS} = $options;
	as_joe("CALL eda.run_job('day')");
}
$node->safe_psql('postgres', q{ALTER ROLE joe SET TimeZone = 'Asia/Tokyo'; ALTER ROLE joe SET search_path = other; ALTER ROLE joe SET IntervalStyle = 'iso_8601';
	ALTER DATABASE postgres SET bytea_output = 'escape'});
as_joe("CALL eda.run_job('day')");
$node->safe_psql('postgres', "CALL eda.run_job('day')");
is($node->safe_psql('postgres', q{SELECT count(*), count(DISTINCT payload) FROM eda.events WHERE topic = 'job.day'}), (@sessions + 5) . '|1',
	'nor on what it was begun with, or its role and database have set since');
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT outcome, ', ') FROM eda.job_runs}), 'published', 'no run failed');
my $tz = $node->safe_psql('postgres', q{SELECT split_part(s, '=', 2) FROM eda.jobs, unnest(settings) s WHERE job = 'day' AND s LIKE 'TimeZone=%'});
isnt($tz, 'Asia/Tokyo', 'they are what eda.jobs shows');
# scheduled anew, it takes over what is set now
as_joe("SELECT eda.schedule('day', '0 0 * * *', 'SELECT current_setting(''TimeZone'') AS tz, invoice FROM ord', 'job.now')");
as_joe("SET TimeZone = 'UTC'; CALL eda.run_job('day')");
is($node->safe_psql('postgres', q{SELECT payload FROM eda.events WHERE topic = 'job.now'}), '{"tz": "Asia/Tokyo", "invoice": 0}', 'scheduled anew, it takes over what is set then');
$node->safe_psql('postgres', 'ALTER ROLE joe RESET ALL; ALTER DATABASE postgres RESET bytea_output');

# after an error, and in a trigger that the commit fires
as_joe("SELECT eda.schedule('bad', '0 0 * * *', 'SELECT 1 / (invoice - 1) AS x FROM ord', 'job.bad')");
($rc, $out, $err) = $node->psql('postgres', q{SET TimeZone = 'Asia/Tokyo'; CALL eda.run_job('bad'); SHOW TimeZone}, extra_params => [ '-U', 'joe' ], on_error_stop => 0);
is($out, 'Asia/Tokyo', 'the session has its own again after an error, too');
$node->safe_psql('postgres', q{
	CREATE TABLE late (x text, at text);
	CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO late_at VALUES (current_setting('TimeZone'), current_setting('search_path')); RETURN NULL; END $$;
	CREATE TABLE late_at (tz text, path text);
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
	GRANT ALL ON late, late_at TO joe});
as_joe(q{SET TimeZone = 'Europe/Paris'; SELECT eda.schedule('late', '0 0 * * *', 'INSERT INTO public.late VALUES (1) RETURNING x', 'job.late')});
as_joe(q{SET TimeZone = 'Asia/Tokyo'; CALL eda.run_job('late')});
is($node->safe_psql('postgres', 'SELECT tz FROM late_at'), 'Europe/Paris', 'a deferred trigger sees them as well');

# ---- a time zone ----

# Due a few minutes ago there, on a clock that is ahead of this one by 12 or 13 hours.
as_joe(q{SELECT eda.schedule('zone', '0 0 * * *', 'SELECT current_date AS day, current_setting(''TimeZone'') AS tz', 'job.zone', timezone => 'pacific/auckland')});
is($node->safe_psql('postgres', q{SELECT j.command, j.schedule = eda._schedule_widened('0 0 * * *', 'Pacific/Auckland', NULL), e.timezone,
	extract(hour FROM e.next_run_at AT TIME ZONE 'Pacific/Auckland') FROM cron.job j JOIN eda.jobs e ON e.cron_jobid = j.jobid WHERE e.job = 'zone'}),
	"CALL eda._start_job('zone')|t|Pacific/Auckland|0", 'pg_cron has a wider schedule, and starts it if it is due');
as_joe(q{CALL eda._start_job('zone')});
is($node->safe_psql('postgres', q{SELECT count(*) FROM eda.job_runs WHERE job = 'zone'}), 0, 'not due: nothing, not even a row');
$node->safe_psql('postgres', q{UPDATE eda.job SET scheduled_at = now() - interval '1 day',
	schedule = to_char(now() AT TIME ZONE 'Pacific/Auckland' - interval '3 minutes', 'MI HH24') || ' * * *' WHERE name = 'zone'});
as_joe(q{CALL eda._start_job('zone')});
as_joe(q{CALL eda._start_job('zone')});
is($node->safe_psql('postgres', q{SELECT count(*), min(outcome), bool_and(due_at < started_at AND due_at > now() - interval '30 minutes') FROM eda.job_runs WHERE job = 'zone'}),
	'1|published|t', 'due: once, however often pg_cron starts it');
is($node->safe_psql('postgres', q{SELECT payload->>'tz', (payload->>'day')::date = (now() AT TIME ZONE 'Pacific/Auckland' - interval '5 minutes')::date
	OR (payload->>'day')::date = (now() AT TIME ZONE 'Pacific/Auckland')::date FROM eda.events WHERE topic = 'job.zone'}),
	'Pacific/Auckland|t', 'the zone is that of its query');
as_joe(q{CALL eda.run_job('zone')});
is($node->safe_psql('postgres', q{SELECT count(*) FROM eda.job_runs WHERE job = 'zone'}), 2, 'by hand it runs whenever it is called');
# A run by hand counts for what was due; one that died does not; one that failed does.
$node->safe_psql('postgres', q{DELETE FROM eda.job_run});
as_joe(q{CALL eda.run_job('zone')});
as_joe(q{CALL eda._start_job('zone')});
is($node->safe_psql('postgres', q{SELECT count(*), count(due_at) FROM eda.job_runs WHERE job = 'zone'}), '1|1', 'a run by hand counts for what was due');
$node->safe_psql('postgres', q{UPDATE eda.job_run SET outcome = 'running', finished_at = NULL WHERE job = 'zone'});
as_joe(q{CALL eda._start_job('zone')});
is($node->safe_psql('postgres', q{SELECT string_agg(outcome || coalesce(error_code, ''), ', ' ORDER BY run_id) FROM eda.job_runs WHERE job = 'zone'}),
	'error57P02, published', 'one that died does not: the next start is for it');
$node->safe_psql('postgres', q{DELETE FROM eda.job_run; UPDATE eda.job SET query = 'SELECT 1 / 0 AS x' WHERE name = 'zone'});
$node->psql('postgres', q{CALL eda._start_job('zone')}) for 1 .. 2;
is($node->safe_psql('postgres', q{SELECT count(*), min(error_code) FROM eda.job_runs WHERE job = 'zone'}), '1|22012', 'one that failed does');
# Too late is too late.
$node->safe_psql('postgres', q{DELETE FROM eda.job_run; UPDATE eda.job SET query = 'SELECT 1 AS x',
	schedule = to_char(now() AT TIME ZONE 'Pacific/Auckland' - interval '3 hours', 'MI HH24') || ' * * *' WHERE name = 'zone'});
as_joe(q{CALL eda._start_job('zone')});
is($node->safe_psql('postgres', q{SELECT count(*) FROM eda.job_runs WHERE job = 'zone' AND outcome <> 'missed'}), 0, 'what was due hours ago is not made up for');
# Who may not run jobs may not start them either.
$node->safe_psql('postgres', q{REVOKE EXECUTE ON PROCEDURE eda.run_job FROM joe});
($rc, $out, $err) = $node->psql('postgres', q{CALL eda._start_job('zone')}, extra_params => [ '-U', 'joe' ]);
like($err, qr/permission denied for procedure eda.run_job/, 'who may not run a job may not start it');
$node->safe_psql('postgres', q{GRANT EXECUTE ON PROCEDURE eda.run_job TO joe});
# The time zone comes and goes, and pg_cron has one entry.
as_joe(q{SELECT eda.schedule('zone', '0 0 * * *', 'SELECT 1 AS x', 'job.zone')});
is($node->safe_psql('postgres', q{SELECT command, schedule FROM cron.job WHERE jobname = 'eda:postgres:zone'}), "CALL eda.run_job('zone')|0 0 * * *", 'and without one again');
as_joe(q{SELECT eda.schedule('year', '@yearly', 'SELECT 1 AS x', 'job.zone')});
is($node->safe_psql('postgres', q{SELECT schedule FROM cron.job WHERE jobname = 'eda:postgres:year'}), '0 0 1 1 *', '@yearly is spelled out: pg_cron would never run it');
($rc, $out, $err) = $node->psql('postgres', q{SELECT eda.schedule('zone', '@reboot', 'SELECT 1 AS x', 'job.zone', timezone => 'UTC')});
like($err, qr/has nothing to do with a time zone/, '@reboot has no time zone');

# ---- time, and retries ----

as_joe(q{SELECT eda.schedule('slow', '0 0 * * *', 'SELECT 1 AS x FROM pg_sleep(600)', 'job.slow', timeout => '200 ms')});
($rc, $out, $err) = $node->psql('postgres', q{CALL eda.run_job('slow')});
like($err, qr/job "slow" was canceled after its timeout of 200 ms/, 'a run ends after its timeout');
is($node->safe_psql('postgres', q{SELECT outcome, error_code, attempt FROM eda.job_runs WHERE job = 'slow'}), 'error|57014|1', 'as an error');
$node->safe_psql('postgres', q{CREATE SEQUENCE tries; GRANT ALL ON tries TO joe;
	CREATE FUNCTION flaky(n int, code text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
	IF nextval('public.tries') < n THEN RAISE EXCEPTION USING errcode = code, message = 'not yet'; END IF; RETURN n; END $$});
as_joe(q{SELECT eda.schedule('flaky', '0 0 * * *', 'SELECT public.flaky(3, ''40001'') AS n', 'job.flaky', retries => 2)});
as_joe(q{CALL eda.run_job('flaky')});
is($node->safe_psql('postgres', q{SELECT string_agg(attempt || outcome || coalesce(error_code, ''), ', ' ORDER BY run_id) FROM eda.job_runs WHERE job = 'flaky'}),
	'1error40001, 2error40001, 3published', 'a run that failed is run again, each time on record');
is($node->safe_psql('postgres', q{SELECT count(*) FROM eda.events WHERE topic = 'eda.job.failed' AND key = 'flaky'}), 0, 'nobody is alarmed as long as it is');
is($node->safe_psql('postgres', q{SELECT bool_and(r.started_at <= e.published_at) FROM eda.job_runs r, eda.events e WHERE r.attempt = 3 AND e.topic = 'job.flaky'}), 't', 'it came from the last one');
$node->safe_psql('postgres', q{SELECT setval('tries', 1); UPDATE eda.job SET query = 'SELECT public.flaky(99, ''P0001'') AS n', retries = 1 WHERE name = 'flaky'; DELETE FROM eda.job_run});
($rc, $out, $err) = $node->psql('postgres', q{CALL eda.run_job('flaky')});
like($err, qr/not yet/, 'the error of the last attempt is raised');
is($node->safe_psql('postgres', q{SELECT r.attempt, r.outcome FROM eda.events e JOIN eda.job_runs r ON to_jsonb(r.run_id) = e.payload->'run' WHERE e.topic = 'eda.job.failed' AND e.key = 'flaky'}),
	'2|error', 'and published, once');
# Who cancels it means it; also while it waits for the next attempt.
$node->safe_psql('postgres', q{UPDATE eda.job SET retries = 20 WHERE name = 'flaky'; DELETE FROM eda.job_run});
my $runner = $node->background_psql('postgres', on_error_stop => 0);
$runner->query_until(qr/started/, "\\echo started\nCALL eda.run_job('flaky');\n\\echo ended\n");
ok($node->poll_query_until('postgres', q{SELECT max(attempt) = 4 FROM eda.job_runs}), 'it waits for its fourth attempt');
is($node->safe_psql('postgres', q{CALL eda.run_job('flaky'); SELECT outcome FROM eda.job_runs ORDER BY run_id DESC LIMIT 1}), 'skipped', 'which nobody overtakes');
$node->safe_psql('postgres', q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL%flaky%' AND pid <> pg_backend_pid()});
$runner->query_until(qr/ended/, '');
is($node->safe_psql('postgres', q{SELECT attempt, outcome, error_code FROM eda.job_runs WHERE outcome <> 'skipped' ORDER BY run_id DESC LIMIT 1}), '4|error|57014', 'a cancel ends it');
$runner->quit;

# ---- what can't work is said when it is scheduled ----

sub scheduled
{
	my ($query, $more) = @_;
	return ($node->psql('postgres', "SELECT eda.schedule('check', '0 0 * * *', \$\$$query\$\$, 'job.check'" . ($more // '') . ')', extra_params => [ '-U', 'joe' ]))[2];
}
$node->safe_psql('postgres', q{CREATE TABLE mine AS SELECT 1 AS x; CREATE VIEW their AS SELECT * FROM mine; CREATE FUNCTION private() RETURNS int LANGUAGE sql AS 'SELECT 1';
	REVOKE ALL ON FUNCTION private FROM PUBLIC; CREATE TABLE touched (x int); GRANT ALL ON touched TO joe});
like(scheduled('SELECT x FROM nope'), qr/WARNING:  job "check" would fail now: relation "nope" does not exist/, 'a missing table: a warning');
like(scheduled('SELECT x FROM nope.nope'), qr/WARNING:.*nope/, 'a missing schema');
like(scheduled('SELECT nope(1) AS x'), qr/WARNING:.*function nope\(integer\) does not exist/, 'a missing function');
like(scheduled(q{SELECT 'a'::nope AS x}), qr/WARNING:.*type "nope" does not exist/, 'a missing type');
like(scheduled('SELECT x FROM mine'), qr/WARNING:.*permission denied for table mine/, 'a right that is missing');
like(scheduled('SELECT (SELECT max(x) FROM mine) AS x'), qr/WARNING:.*permission denied for table mine/, 'in a subquery');
like(scheduled('WITH m AS (SELECT x FROM their) SELECT * FROM m'), qr/WARNING:.*permission denied for view their/, 'of a view');
like(scheduled('INSERT INTO mine VALUES (1) RETURNING x'), qr/WARNING:.*permission denied for table mine/, 'to write');
like(scheduled('SELECT private() AS x'), qr/WARNING:.*permission denied for function private/, 'of a function');
like(scheduled('SELECT 1 AS x', q{, key_column => 'y'}), qr/ERROR:  column "y" \(argument "key_column"\) is not in the result/, 'a missing key_column');
like(scheduled('SELECT 1 AS x', q{, idempotency_key_column => 'y'}), qr/ERROR:  column "y" \(argument "idempotency_key_column"\)/, 'a missing idempotency_key_column');
like(scheduled('SELECT y FROM ord'), qr/ERROR:  column "y" does not exist/, 'a missing column');
like(scheduled('DELETE FROM touched'), qr/ERROR:.*It returns no rows/s, 'no rows to return');
like(scheduled('SELECT 1 AS x INTO TABLE z'), qr/ERROR:.*It returns no rows/s, 'SELECT INTO');
like(scheduled('SELECT 1; SELECT 2'), qr/ERROR:.*must be one statement/, 'two statements');
like(scheduled('VACUUM'), qr/ERROR:.*returns no rows/, 'a utility statement');
like(scheduled('SELECT $1::int AS x'), qr/ERROR:  there is no parameter \$1/, 'a parameter');
like(scheduled(q{SELECT 'x'::int AS x}), qr/ERROR:  invalid input syntax/, 'a constant that is none');
like(scheduled('SELECT 1 AS a, 2 AS a'), qr/ERROR:.*returns column "a" more than once/, 'two columns of one name');
like(scheduled(q{SELECT '{}'::json AS payload}), qr/WARNING:  column "payload" of the query is of type json, and becomes a field/, 'a payload that is none');
is(scheduled(q{SELECT '{}'::jsonb AS payload, 1 AS k}, q{, key_column => 'k'}), '', 'and one that is');
($rc, $out, $err) = $node->psql('postgres', q{CREATE TEMP TABLE here (x int); SELECT eda.schedule('check', '0 0 * * *', 'SELECT x FROM here', 'job.check')}, extra_params => [ '-U', 'joe' ]);
like($err, qr/ERROR:  the query uses a temporary table/, 'a temporary table, of which pg_cron has none');
is(scheduled('INSERT INTO touched SELECT 1 / 0 RETURNING x'), '', 'nothing of it is executed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM touched'), 0, 'nothing is touched');

$node->stop;
done_testing();
