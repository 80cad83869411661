# Workers come and go with the extension, with eda.enabled and with the server.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my ($rc, $out, $err, $pid, $log);

my $node = new_node('lifecycle');
$node->start;
setup_roles($node);

# What a session may wait for a utility command here, at most.
$ENV{PGOPTIONS} = '-c statement_timeout=60s';

# Pid of the executor that has the subscription.
sub executor_of_notes
{
	return $node->safe_psql('postgres', "SELECT pid FROM eda.workers WHERE kind = 'executor' AND subscription = 'notes'");
}

# ---- CREATE EXTENSION ----

ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda launcher'"),
	'the launcher runs');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('eda dispatcher', 'eda executor')"),
	'0', 'nothing else does where no database has the extension');

setup_db($node, 'postgres');
$pid = wait_worker($node, 'postgres', 'dispatcher');
ok($pid, 'CREATE EXTENSION starts a dispatcher, without a restart');
is($node->safe_psql('postgres', "SELECT string_agg(kind, ',' ORDER BY kind) FROM eda.workers WHERE kind <> 'executor'"),
	'dispatcher,launcher', 'eda.workers shows both');
publish($node, 'postgres', 1);
wait_handled($node, 'postgres', 1, 'an event is handled');
is($node->safe_psql('postgres', "SELECT usename FROM pg_stat_activity WHERE backend_type = 'eda executor'"),
	'app', 'by a session of the owner');

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', 'BEGIN; CREATE EXTENSION eda; ROLLBACK');
$node->safe_psql(
	'other', q{
	BEGIN;
	CREATE EXTENSION eda;
	CREATE TABLE handled (id bigint);
	GRANT ALL ON handled TO app;
	CREATE FUNCTION note(e eda.event) RETURNS void LANGUAGE sql AS 'INSERT INTO public.handled VALUES (e.id)';
	SELECT eda.subscribe('notes', 'test.note', 'public.note', owner => 'app');
	SELECT eda.publish('test.note');
	COMMIT;
});
ok($node->poll_query_until('other', 'SELECT count(*) = 1 FROM handled'),
	'an event published in the transaction that created the extension is handled');

# ---- DROP EXTENSION ----

$pid = wait_worker($node, 'postgres', 'dispatcher');
($rc, $out, $err) = $node->psql('postgres', 'DROP EXTENSION eda', extra_params => [ '-U', 'joe' ]);
like($err, qr/must be owner of extension eda/, 'DROP EXTENSION by somebody else is refused');
is(worker_pid($node, 'postgres', 'dispatcher'), $pid, 'and disturbs no worker');

# rolled back
$out = $node->safe_psql(
	'postgres', q{
	BEGIN;
	SELECT eda.publish('test.note', '{"n": 2}');
	DROP EXTENSION eda CASCADE;
	SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('eda dispatcher', 'eda executor') AND datname = 'postgres';
	ROLLBACK;
});
is((split /\n/, $out)[-1], '0', 'no worker runs while DROP EXTENSION is not committed');
ok(wait_new_worker($node, 'postgres', 'dispatcher', $pid), 'ROLLBACK of DROP EXTENSION brings the dispatcher back');
publish($node, 'postgres', 3);
wait_handled($node, 'postgres', 3, 'and events are handled again');
is(handled($node, 'postgres', 2), '0', 'the rolled-back one is not');

# fails, for want of a lock
my $publisher = $node->background_psql('postgres');
$publisher->query_safe(q{BEGIN; SELECT eda.publish('test.note', '{"n": 4}')});
$pid = wait_worker($node, 'postgres', 'dispatcher');
($rc, $out, $err) = $node->psql('postgres', "SET lock_timeout = '200ms'; DROP EXTENSION eda CASCADE");
like($err, qr/canceling statement due to lock timeout/, 'DROP EXTENSION waits for a publisher');
wait_new_worker($node, 'postgres', 'dispatcher', $pid);
$publisher->query_safe('COMMIT');
$publisher->quit;
wait_handled($node, 'postgres', 4, 'its failure brings the workers back');

# ALTER EXTENSION
$pid = wait_worker($node, 'postgres', 'dispatcher');
($rc, $out, $err) = $node->psql('postgres', 'ALTER EXTENSION eda UPDATE');
is($rc, 0, 'ALTER EXTENSION eda UPDATE');
ok(wait_new_worker($node, 'postgres', 'dispatcher', $pid), 'is done without workers, which come back');
publish($node, 'postgres', 5);
wait_handled($node, 'postgres', 5, 'and handle events');

# with events pending and a handler running
keep_busy($node, 'postgres', 100);
is($node->psql('postgres', 'DROP EXTENSION eda CASCADE'), 0, 'DROP EXTENSION with events pending and a handler running');
wait_no_workers($node, 'postgres', 'leaves no worker');
is($node->safe_psql('postgres', 'SELECT count(*) FROM handled WHERE n >= 100'), '0', 'the handler that ran was rolled back');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_namespace WHERE nspname = 'eda'"), '0', 'everything of eda is gone');

# and again
$node->safe_psql('postgres', 'DROP TABLE handled, awake; DROP FUNCTION IF EXISTS note');
setup_db($node, 'postgres');
publish($node, 'postgres', 6);
wait_handled($node, 'postgres', 6, 'CREATE EXTENSION again, and events are handled');

# a handler that drops the extension does not wait for itself, and cannot
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION suicide(e eda.event) RETURNS void LANGUAGE plpgsql AS $$ BEGIN DROP EXTENSION eda CASCADE; END $$;
	SELECT eda.subscribe('suicide', 'test.suicide', 'public.suicide', max_attempts => 1);
	SELECT eda.publish('test.suicide');
});
ok($node->poll_query_until('postgres', "SELECT failed + dead > 0 OR state = 'blocked' FROM eda.subscriptions WHERE subscription = 'suicide'"),
	'a handler that drops the extension fails');
$node->safe_psql('postgres', "SELECT eda.unsubscribe('suicide', force => true)");
publish($node, 'postgres', 7);
wait_handled($node, 'postgres', 7, 'and the others go on');

# DROP OWNED takes the extension along
$node->safe_psql(
	'other', q{
	DROP EXTENSION eda CASCADE; DROP TABLE handled;
	CREATE ROLE boss SUPERUSER;
	SET ROLE boss;
	CREATE EXTENSION eda;
});
wait_worker($node, 'other', 'dispatcher');
is($node->psql('other', 'DROP OWNED BY boss CASCADE'), 0, 'DROP OWNED');
is($node->safe_psql('other', "SELECT count(*) FROM pg_extension WHERE extname = 'eda'"), '0', 'takes the extension along');
wait_no_workers($node, 'other', 'leaves no worker');

# ---- eda.enabled ----

$node->safe_psql('postgres', 'ALTER DATABASE postgres SET eda.enabled = off');
wait_no_workers($node, 'postgres', 'eda.enabled = off in a database stops its workers');
publish($node, 'postgres', 10);
is($node->safe_psql('postgres', 'SELECT DISTINCT blocked_reason FROM eda.subscriptions'), 'not enabled', 'and eda.subscriptions says so');
($rc, $out, $err) = $node->psql('postgres', "CALL eda.wait('0.1 s')");
like($err, qr/WARNING: +nothing is delivered in this database while eda.enabled is off/, 'eda.wait(), too');
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET eda.enabled');
wait_handled($node, 'postgres', 10, 'what was published meanwhile is handled when it is on again');

$node->safe_psql('postgres', 'ALTER SYSTEM SET eda.enabled = off; SELECT pg_reload_conf()');
wait_no_workers($node, 'postgres', 'eda.enabled = off in the configuration stops the workers');
publish($node, 'postgres', 11);
$node->safe_psql('postgres', 'ALTER SYSTEM RESET eda.enabled; SELECT pg_reload_conf()');
wait_handled($node, 'postgres', 11, 'and a reload starts them again');

($rc, $out, $err) = $node->psql('postgres', 'SET eda.enabled = off', extra_params => [ '-U', 'joe' ]);
like($err, qr/permission denied to set parameter "eda.enabled"/, 'which is a superuser\'s');

# ---- workers that are told to end ----

$pid = wait_worker($node, 'postgres', 'dispatcher');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok(wait_new_worker($node, 'postgres', 'dispatcher', $pid), 'a terminated dispatcher comes back');
$pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eda launcher'");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'eda launcher' AND pid <> $pid"),
	'a terminated launcher comes back');
publish($node, 'postgres', 20);
wait_handled($node, 'postgres', 20, 'events are handled');
$pid = executor_of_notes();
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
publish($node, 'postgres', 21);
wait_handled($node, 'postgres', 21, 'an idle executor is not impressed by a cancel');
is(executor_of_notes(), $pid, 'it is the same one');
$pid = keep_busy($node, 'postgres', 22);
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
wait_handled($node, 'postgres', 22, 'a terminated executor\'s event is run again by another');
wait_handled($node, 'postgres', 23, 'and so are those behind it');
is($node->safe_psql('postgres', 'SELECT count(*) FROM eda.retries'), '0', 'which burns no attempt');

# ---- restart ----

for my $mode ('fast', 'immediate')
{
	$node->safe_psql('postgres', 'ALTER DATABASE postgres SET eda.enabled = off');
	wait_no_workers($node, 'postgres', 'no workers');
	publish($node, 'postgres', $mode eq 'fast' ? 30 : 31);
	$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET eda.enabled');
	$node->stop($mode);
	$node->start;
	wait_handled($node, 'postgres', $mode eq 'fast' ? 30 : 31, "handled after a restart, $mode");
}
publish($node, 'postgres', 32);
wait_handled($node, 'postgres', 32, 'and so is what is published after it');

$log = slurp_file($node->logfile);
unlike($log, qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');

$node->stop;
done_testing();
