# What wakes the workers besides a commit, and what binds an executor's
# session: prepared transactions, repaired subscriptions, the owner's settings.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my ($rc, $out, $err, $pid);

# the safety poll is a day away: whatever happens, happens because of a wake-up
my $node = new_node('sessions');
$node->append_conf('postgresql.conf', 'max_prepared_transactions = 5');
$node->start;
setup_roles($node);
setup_db($node, 'postgres');
publish($node, 'postgres', 1);
wait_handled($node, 'postgres', 1, 'events are handled');

# ---- two-phase commit ----

$node->safe_psql('postgres', q{BEGIN; SELECT eda.publish('test.note', '{"n": 2}'); PREPARE TRANSACTION 'two'});
publish($node, 'postgres', 3);
wait_handled($node, 'postgres', 3, 'a prepared transaction is in nobody\'s way');
is(handled($node, 'postgres', 2), '0', 'its event waits');
$node->safe_psql('postgres', "COMMIT PREPARED 'two'");
wait_handled($node, 'postgres', 2, 'COMMIT PREPARED wakes the dispatcher');
$node->safe_psql('postgres', q{BEGIN; SELECT eda.publish('test.note', '{"n": 4}'); PREPARE TRANSACTION 'four'; ROLLBACK PREPARED 'four'});
publish($node, 'postgres', 5);
wait_handled($node, 'postgres', 5, 'an event after ROLLBACK PREPARED');
is(handled($node, 'postgres', 4), '0', 'the other one is gone');

$node->safe_psql('postgres',
	q{BEGIN; SELECT eda.subscribe('later', 'test.later', 'public.note', owner => 'app'); SELECT eda.publish('test.later', '{"n": 6}'); PREPARE TRANSACTION 'later'; COMMIT PREPARED 'later'});
wait_handled($node, 'postgres', 6, 'a subscription and its event, both prepared');

$node->safe_psql('postgres', 'CREATE DATABASE other');
$node->safe_psql('other', q{BEGIN; CREATE EXTENSION eda; PREPARE TRANSACTION 'extension'});
$node->safe_psql('other', q{COMMIT PREPARED 'extension'});
ok(wait_worker($node, 'other', 'dispatcher'), 'so is the extension');

# ---- repaired ----

sub wait_state
{
	my ($state, $what) = @_;

	ok($node->poll_query_until('postgres',
			"SELECT state || COALESCE(' ' || blocked_reason, '') = '$state' FROM eda.subscriptions WHERE subscription = 'notes'"),
		$what);
}

$node->safe_psql('postgres', 'ALTER FUNCTION note RENAME TO note_away');
publish($node, 'postgres', 10);
wait_state('blocked handler', 'a subscription whose handler is gone is blocked');
$node->safe_psql('postgres', 'ALTER FUNCTION note_away RENAME TO note');
wait_handled($node, 'postgres', 10, 'its coming back unblocks it');

$node->safe_psql('postgres', 'REVOKE EXECUTE ON FUNCTION note FROM PUBLIC');
publish($node, 'postgres', 11);
ok($node->poll_query_until('postgres', "SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 'notes'"),
	'one whose owner may not run it is blocked');
$node->safe_psql('postgres', 'GRANT EXECUTE ON FUNCTION note TO app');
wait_handled($node, 'postgres', 11, 'GRANT unblocks it');

$node->safe_psql('postgres', 'ALTER ROLE app NOLOGIN');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eda executor'");
publish($node, 'postgres', 12);
wait_state('blocked login', 'one whose owner cannot log in is blocked');
$node->safe_psql('other', 'ALTER ROLE app LOGIN');
wait_handled($node, 'postgres', 12, 'ALTER ROLE in another database unblocks it');

# ---- settings ----

$node->safe_psql(
	'postgres', q{
	ALTER ROLE app SET default_transaction_isolation = 'serializable';
	ALTER ROLE app SET default_transaction_read_only = on;
	ALTER ROLE app SET default_transaction_deferrable = on;
	ALTER ROLE app SET statement_timeout = '1ms';
	ALTER ROLE app SET lock_timeout = '1ms';
	ALTER ROLE app SET idle_in_transaction_session_timeout = '1ms';
	ALTER ROLE app SET idle_session_timeout = '1ms';
	ALTER ROLE app SET synchronous_commit = remote_apply;
	ALTER ROLE app SET work_mem = '5MB';
	CREATE TABLE settings (name text, value text);
	GRANT INSERT ON settings TO app;
	CREATE FUNCTION settings(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.settings SELECT s, current_setting(s)
		FROM unnest('{transaction_isolation,transaction_read_only,transaction_deferrable,statement_timeout,lock_timeout,
			idle_in_transaction_session_timeout,idle_session_timeout,synchronous_commit,work_mem,application_name}'::text[]) s;
		IF e.payload ? 'set' THEN
			SET work_mem = '6MB';
			SET application_name = 'handler';
		END IF;
	END $$;
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eda executor';
	SELECT eda.subscribe('settings', 'test.settings', 'public.settings', owner => 'app');
});

# What the handler found.
sub settings
{
	my ($payload) = @_;

	$node->safe_psql('postgres', "TRUNCATE settings; SELECT eda.publish('test.settings', '$payload')");
	$node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM settings');
	return $node->safe_psql('postgres', "SELECT string_agg(value, ' ' ORDER BY name) FROM settings");
}

is(settings('{}'), 'eda executor 0 0 0 0 off off read committed off 5MB',
	'settings that would break delivery are forced, others are the owner\'s');

$node->safe_psql('postgres', 'ALTER ROLE app SET eda.synchronous_commit = on');
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eda executor'");
like(settings('{"set": true}'), qr/^eda executor 0 0 0 0 remote_apply off/, 'eda.synchronous_commit of the role');
$node->safe_psql('postgres', 'ALTER ROLE app RESET synchronous_commit');

# the lane goes to another subscription and comes back: the session is reset in between
$node->safe_psql('postgres', "ALTER SYSTEM SET eda.executor_linger = 0; SELECT pg_reload_conf()");
publish($node, 'postgres', 20);
wait_handled($node, 'postgres', 20, 'another subscription of the same owner');
like(settings('{}'), qr/^eda executor 0 0 0 0 remote_apply off read committed off 5MB|^eda executor 0 0 0 0 on off read committed off 5MB/,
	'what a handler set does not stay');

$node->safe_psql('postgres', "ALTER SYSTEM RESET eda.executor_linger; ALTER ROLE app RESET eda.synchronous_commit");
$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eda executor'");
for my $value ('on', 'off')
{
	my $found = '';

	$node->safe_psql('postgres', "ALTER SYSTEM SET eda.synchronous_commit = $value");
	$node->safe_psql('postgres', 'SELECT pg_reload_conf()');
	for (1 .. 100)
	{
		$found = settings('{}');
		last if $found =~ /^eda executor 0 0 0 0 $value /;
	}
	like($found, qr/^eda executor 0 0 0 0 $value /, "eda.synchronous_commit = $value in the configuration, by a reload");
}

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');

$node->stop;
done_testing();
