# Few executors for many subscriptions of several roles, in two databases.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my ($rc, $out, $err);

my $node = new_node('pool');
$node->append_conf('postgresql.conf', "eda.max_executors = 2");
$node->start;
setup_roles($node);
$node->safe_psql(
	'postgres', q{
	CREATE ROLE ann LOGIN;
	-- honoured
	ALTER ROLE app SET work_mem = '7MB';
	ALTER ROLE app SET my.setting = 'of app';
	ALTER ROLE joe IN DATABASE postgres SET my.setting = 'of joe here';
	ALTER ROLE joe SET search_path = pg_catalog;
	-- of no use to an executor, and not in its way
	ALTER ROLE app SET default_transaction_read_only = on;
	ALTER ROLE app SET default_transaction_isolation = 'serializable';
	ALTER ROLE app SET statement_timeout = '1ms';
	ALTER ROLE app SET idle_session_timeout = '1ms';
	ALTER ROLE app SET idle_in_transaction_session_timeout = '1ms';
	CREATE DATABASE other;
});

my $setup = q{
	CREATE EXTENSION eda;
	CREATE TABLE handled (seq bigserial, sub text, id bigint, n int, pid int DEFAULT pg_backend_pid(),
		cu name DEFAULT current_user, su name DEFAULT session_user, waited interval, info text);
	GRANT ALL ON handled, handled_seq_seq TO app, joe, ann;
	CREATE TABLE pace (seconds float8);
	INSERT INTO pace VALUES (0);
	GRANT SELECT ON pace TO app, joe, ann;
	CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.handled (sub, id, n, waited, info)
		VALUES (e.subscription, e.id, (e.payload->>'n')::int, clock_timestamp() - e.published_at,
				concat_ws(',', current_setting('work_mem'), current_setting('my.setting', true), current_setting('search_path'),
					current_setting('transaction_read_only'), current_setting('transaction_isolation')));
		PERFORM pg_sleep(seconds) FROM public.pace WHERE e.payload ? 'slow' AND seconds > 0;
	END $$;
	-- app1, app2, joe1, joe2, ann1, ann2
	SELECT eda.subscribe(o || i, 'test.' || o || i, 'public.note', owner => o::regrole)
	  FROM unnest('{app,joe,ann}'::text[]) o, generate_series(1, 2) i;
};
$node->safe_psql($_, $setup) foreach 'postgres', 'other';

sub query { return $node->safe_psql('postgres', $_[0]); }

sub wait_for
{
	my ($db, $condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, "SELECT $condition"), $what);
}

sub subscription
{
	my ($name, $columns) = @_;

	return query("SELECT $columns FROM eda.subscriptions WHERE subscription = '$name'");
}

my $n = 0;

# One event for each of some subscriptions, in one transaction; returns its number.
sub publish_to
{
	my ($db, @subs) = @_;

	$n++;
	$node->safe_psql($db, 'BEGIN; ' . join(' ', map { "SELECT eda.publish('test.$_', '{\"n\": $n}');" } @subs) . ' COMMIT');
	return $n;
}

# Each of them handled event n, and soon.
sub check_served
{
	my ($db, $number, $seconds, $what, @subs) = @_;
	my $all = scalar @subs;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for($db, "count(*) >= $all FROM handled WHERE n = $number", $what);
	is($node->safe_psql($db, "SELECT string_agg(sub, ' ' ORDER BY sub) FROM handled WHERE n = $number"),
		join(' ', sort @subs), "$what: each of them once");
	my $longest = $node->safe_psql($db, "SELECT round(extract(epoch FROM max(waited)), 3) FROM handled WHERE n = $number");
	note("$what: waited $longest s at most");
	cmp_ok($longest, '<', $seconds, "$what: and soon");
}

my @all = ('app1', 'app2', 'joe1', 'joe2', 'ann1', 'ann2');

# ---- six subscriptions of three roles, two executors ----

check_served('postgres', publish_to('postgres', @all), 10, 'more lanes than executors', @all);
check_served('postgres', publish_to('postgres', @all), 10, 'again', @all);
cmp_ok(query("SELECT count(*) FROM eda.workers WHERE kind = 'executor'"), '<=', 2, 'not more executors than eda.max_executors');
is(query("SELECT count(*) FROM handled WHERE cu <> left(sub, 3) OR su <> left(sub, 3)"),
	'0', 'current_user and session_user are the owner');
is( query("SELECT string_agg(DISTINCT left(sub, 3) || ': ' || info, '; ' ORDER BY left(sub, 3) || ': ' || info) FROM handled"),
	'ann: 4MB,"$user", public,off,read committed; app: 7MB,of app,"$user", public,off,read committed; joe: 4MB,of joe here,pg_catalog,off,read committed',
	'settings are the role\'s, but for those that delivery needs');

# ---- all of them, all the time ----

# Nothing is found by polling: a lane that is forgotten stays behind.
$node->append_conf('postgresql.conf', 'eda.executor_linger = 3ms');
$node->reload;
query('TRUNCATE handled');
my $script = $node->basedir . '/storm.sql';
append_to_file($script, q{
\set r random(1, 3)
\set i random(1, 2)
\set pause random(0, 4000)
SELECT eda.publish('test.' || ('{app,joe,ann}'::text[])[:r] || :i, '{"n": -1}');
\sleep :pause us
});
$node->command_ok([ 'pgbench', '-n', '-c', '3', '-j', '1', '-t', '200', '-f', $script, $node->connstr('postgres') ], 'three publishers, to any of the six');
query("CALL eda.wait(timeout => '20 s')");
is(query('SELECT count(*), count(DISTINCT id), count(DISTINCT sub) FROM handled'), '600|600|6', 'all is handled');
# concurrent publishers commit in another order than that of the ids; not to be compared below
query('TRUNCATE handled');
$node->append_conf('postgresql.conf', 'eda.executor_linger = 1min');
$node->reload;

# ---- two subscriptions that keep both executors busy ----

# $seconds of work for each of some subscriptions
sub backlog
{
	my ($db, $seconds, @subs) = @_;

	$node->safe_psql($db, 'UPDATE pace SET seconds = 0.02; BEGIN; '
		  . join(' ', map { "SELECT count(eda.publish('test.$_', '{\"slow\": true}')) FROM generate_series(1, $seconds * 50);" } @subs)
		  . ' COMMIT');
	foreach my $sub (@subs)
	{
		$node->poll_query_until($db, "SELECT count(*) > 0 FROM handled WHERE sub = '$sub' AND n IS NULL") or die "$sub is not served";
	}
}

sub left
{
	my ($db, $sub) = @_;

	return $node->safe_psql($db, "SELECT backlog FROM eda.subscriptions WHERE subscription = '$sub'");
}

backlog('postgres', 200, 'app1', 'app2');
my $number = publish_to('postgres', 'joe1', 'joe2', 'ann1', 'ann2');
check_served('postgres', $number, 20, 'beside two busy ones of another role', 'joe1', 'joe2', 'ann1', 'ann2');
cmp_ok(left('postgres', $_), '>', 0, "$_ is still busy") foreach 'app1', 'app2';
query("SELECT eda.subscribe('app3', 'test.app3', 'public.note', owner => 'app')");
check_served('postgres', publish_to('postgres', 'app3'), 20, 'beside two busy ones of the same role', 'app3');
foreach my $sub ('app1', 'app2')
{
	my $count = query("SELECT count(*) FROM handled WHERE sub = '$sub'");
	wait_for('postgres', "count(*) > $count FROM handled WHERE sub = '$sub'", "$sub goes on");
}

# the other database gets its share, too
check_served('other', publish_to('other', @all), 30, 'in another database', @all);
cmp_ok(left('postgres', 'app1') + left('postgres', 'app2'), '>', 0, 'while this one is still busy');
backlog('other', 10, 'app1');
check_served('other', publish_to('other', 'joe1'), 20, 'both databases busy: one more there', 'joe1');
check_served('postgres', publish_to('postgres', 'joe1'), 20, 'and here', 'joe1');
cmp_ok(query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eda executor'"), '<=', 2, 'eda.max_executors is the whole server\'s');
foreach my $db ('postgres', 'other')
{
	$node->safe_psql($db, 'UPDATE pace SET seconds = 0');
	$node->safe_psql($db, 'CALL eda.wait()');
	is($node->safe_psql($db, 'SELECT count(*) FROM (SELECT FROM handled GROUP BY id, sub HAVING count(*) > 1) x'), '0', "$db: nothing twice");
	is($node->safe_psql($db, 'SELECT count(*) FROM (SELECT id, lag(id) OVER (PARTITION BY sub ORDER BY seq) before FROM handled) x WHERE before > id'),
		'0', "$db: in order");
}

# ---- what a handler leaves in its session ----

# one executor, and nobody else who wants it
$node->safe_psql($_, 'SELECT eda.pause(subscription) FROM eda.subscriptions') foreach 'postgres', 'other';
$node->append_conf('postgresql.conf', 'eda.max_executors = 1');
$node->restart;
query(
	q{
	CREATE TABLE session (sub text, pid int DEFAULT pg_backend_pid(), state text);
	GRANT ALL ON session TO app;
	CREATE ROLE staff;
	GRANT staff TO app;
	GRANT ALL ON session TO staff;
	CREATE FUNCTION litter(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM set_config('work_mem', '1MB', false), set_config('search_path', 'nowhere', false), set_config('my.litter', 'litter', false),
			set_config('default_transaction_read_only', 'on', false), set_config('synchronous_commit', 'on', false);
		CREATE TEMP TABLE litter (i int);
		EXECUTE 'PREPARE litter AS SELECT 1';
		EXECUTE 'DECLARE litter CURSOR WITH HOLD FOR SELECT 1';
		PERFORM pg_advisory_lock(4711);
		INSERT INTO public.session VALUES (e.subscription);
		EXECUTE 'SET ROLE staff';
	END $$;
	CREATE FUNCTION look(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.session (sub, state)
		SELECT e.subscription, concat_ws(',', current_user, current_setting('work_mem'), current_setting('search_path'),
			coalesce(current_setting('my.litter', true), ''), current_setting('transaction_read_only'), current_setting('synchronous_commit'),
			to_regclass('pg_temp.litter'),
			(SELECT count(*) FROM pg_prepared_statements WHERE name = 'litter'),
			(SELECT count(*) FROM pg_cursors WHERE name = 'litter'),
			(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()));
	END $$;
	SELECT eda.subscribe('litter', 'test.litter', 'public.litter', owner => 'app'),
		   eda.subscribe('look', 'test.look', 'public.look', owner => 'app');
});
query("SELECT eda.publish('test.litter')");
query("CALL eda.wait('litter')");
query("SELECT eda.publish('test.look')");
query("CALL eda.wait('look')");
is(query('SELECT count(*), count(DISTINCT pid) FROM session'), '2|1', 'two subscriptions of one role by the same executor, one after the other');
is(query("SELECT state FROM session WHERE sub = 'look'"),
	'app,7MB,"$user", public,,off,off,0,0,0', 'nothing of what the first left reaches the second');
query("SELECT eda.unsubscribe('litter'), eda.unsubscribe('look')");
$node->safe_psql($_, 'SELECT eda.resume(subscription) FROM eda.subscriptions') foreach 'postgres', 'other';

# ---- eda.executor_linger ----

query(q{ALTER SYSTEM SET eda.executor_linger = '50ms'});
query('SELECT pg_reload_conf()');
wait_for('postgres', "count(*) = 0 FROM eda.workers WHERE kind = 'executor'", 'executors without work end after eda.executor_linger, and give their slots back');
check_served('postgres', publish_to('postgres', @all), 20, 'six lanes, one executor after the other', @all);

# ---- an owner that cannot connect any more ----

sub check_blocked
{
	my ($sub, $detail, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_for('postgres', "state = 'blocked' FROM eda.subscriptions WHERE subscription = '$sub'", "$what: blocked");
	like(subscription($sub, 'blocked_reason, blocked_detail'), $detail, "$what: it says why");
}

wait_for('postgres', "count(*) = 0 FROM eda.workers WHERE kind = 'executor'", 'no executors');
query('ALTER ROLE ann NOLOGIN');
$number = publish_to('postgres', 'ann1', 'joe1');
check_blocked('ann1', qr/^login\|.*"ann"/, 'NOLOGIN');
wait_for('postgres', "count(*) = 1 FROM handled WHERE n = $number AND sub = 'joe1'", 'the others go on');
is(subscription('ann1', 'state, retrying, dead, backlog'), 'blocked|0|0|1', 'no attempt is burnt');
# roles are the cluster's: the command may come from anywhere
$node->safe_psql('other', 'ALTER ROLE ann LOGIN');
check_served('postgres', $number, 1000, 'LOGIN again', 'ann1', 'joe1');
is(subscription('ann1', 'state, blocked_reason'), 'active|', 'it is active');

wait_for('postgres', "count(*) = 0 FROM eda.workers WHERE kind = 'executor'", 'no executors');
query('REVOKE CONNECT ON DATABASE postgres FROM PUBLIC; GRANT CONNECT ON DATABASE postgres TO joe, app');
$number = publish_to('postgres', 'ann1', 'joe1');
check_blocked('ann1', qr/^login\|.*"ann"/, 'no CONNECT');
query('GRANT CONNECT ON DATABASE postgres TO ann');
check_served('postgres', $number, 1000, 'CONNECT again', 'ann1', 'joe1');
query('GRANT CONNECT ON DATABASE postgres TO PUBLIC');

# ---- an owner that is gone ----

wait_for('postgres', "count(*) = 0 FROM eda.workers WHERE kind = 'executor'", 'no executors');
foreach my $db ('postgres', 'other')
{
	$node->safe_psql($db, 'DROP OWNED BY ann');
}
is($node->psql('postgres', 'DROP ROLE ann'), 0, 'an owner can be dropped');
$number = publish_to('postgres', 'ann1', 'joe1');
check_blocked('ann1', qr/^login\|/, 'no owner');
wait_for('postgres', "count(*) = 1 FROM handled WHERE n = $number AND sub = 'joe1'", 'the others go on');
query(q{SELECT eda.alter_subscription('ann1', '{"owner": "joe"}')});
check_served('postgres', $number, 1000, 'with another owner', 'ann1', 'joe1');
is(query("SELECT cu FROM handled WHERE n = $number AND sub = 'ann1'"), 'joe', 'by the new owner');
is(query("SELECT eda.unsubscribe('ann2')"), 't', 'a subscription without owner can be removed');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
