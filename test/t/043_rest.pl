# A database without work has no process: its dispatcher leaves, and comes back for whatever there is to do.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('rest');
# a dispatcher stays for a second; nothing is found by polling
$node->append_conf('postgresql.conf', "eda.executor_linger = 200ms\nmax_prepared_transactions = 5");
$node->start;
setup_roles($node);
setup_db($node, 'postgres');

sub query { return $node->safe_psql('postgres', $_[0]); }

sub rests
{
	my ($what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	wait_no_workers($node, 'postgres', $what);
}

rests('a database without work has no process');

# ---- whatever there is to do ----

publish($node, 'postgres', 1);
wait_handled($node, 'postgres', 1, 'an event');
rests('then it rests again');

query(q{BEGIN; SELECT eda.publish('test.note', '{"n": 2}'); PREPARE TRANSACTION 'p'});
rests('a prepared transaction wakes nobody');
query(q{COMMIT PREPARED 'p'});
wait_handled($node, 'postgres', 2, 'COMMIT PREPARED');
rests('rest');

query(q{SELECT eda.publish('test.note', '{"n": 3}', deliver_at => clock_timestamp() + interval '6 s')});
rests('nobody waits for a delayed event');
is(handled($node, 'postgres', 3), '0', 'it is not due yet');
wait_handled($node, 'postgres', 3, 'which comes when it is due');
is(query('SELECT count(*) FROM handled WHERE n = 3 AND at < (SELECT published_at + interval \'6 s\' FROM eda.events e WHERE e.id = handled.id)'),
	'0', 'and not before');
rests('rest');

# an earlier one than what the launcher waits for
query(q{SELECT eda.publish('test.note', '{"n": 4}', deliver_at => clock_timestamp() + interval '1 hour')});
rests('rest');
query(q{SELECT eda.publish('test.note', '{"n": 5}', deliver_at => clock_timestamp() + interval '3 s')});
wait_handled($node, 'postgres', 5, 'an earlier one');
is(handled($node, 'postgres', 4), '0', 'the later one waits');
rests('rest');

# retries
query(q{
	CREATE TABLE broken ();
	GRANT SELECT ON broken TO app;
	CREATE FUNCTION shaky(e eda.event) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF to_regclass('public.broken') IS NOT NULL THEN
			RAISE 'broken';
		END IF;
		INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int);
	END $$;
	SELECT eda.subscribe('shaky', 'test.shaky', 'public.shaky', owner => 'app', backoff => '5 s');
	SELECT eda.publish('test.shaky', '{"n": 6}')});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM eda.retries WHERE attempt = 1}), 'an event has failed');
query('DROP TABLE broken');
rests('nobody waits for a retry');
wait_handled($node, 'postgres', 6, 'which comes when it is due');
rests('rest');

# definitions
query(q{SELECT eda.pause('notes')});
rests('rest');
publish($node, 'postgres', 7);
rests('rest');
query(q{SELECT eda.resume('notes')});
wait_handled($node, 'postgres', 7, 'eda.resume');
rests('rest');
query(q{ALTER ROLE app NOLOGIN});
publish($node, 'postgres', 8);
ok($node->poll_query_until('postgres', q{SELECT state = 'blocked' FROM eda.subscriptions WHERE subscription = 'notes'}), 'an owner without LOGIN');
rests('rest');
query(q{ALTER ROLE app LOGIN});
wait_handled($node, 'postgres', 8, 'what unblocks a subscription');
rests('rest');

is(query('SELECT eda.rotate_log()'), '2', 'eda.rotate_log');
rests('rest');
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET eda.enabled = off');
publish($node, 'postgres', 9);
rests('eda.enabled = off');
$node->safe_psql('postgres', 'ALTER DATABASE postgres RESET eda.enabled');
wait_handled($node, 'postgres', 9, 'eda.enabled on again');
rests('rest');

foreach my $mode ('fast', 'immediate')
{
	query(q{SELECT eda.publish('test.note', '{"n": 10}', deliver_at => clock_timestamp() + interval '2 s')});
	$node->stop($mode);
	$node->start;
	ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM handled WHERE n = 10'), "a restart, $mode");
	query('DELETE FROM handled WHERE n = 10');
}

# ---- who leaves while somebody comes ----

# publishers whose pauses are about as long as a dispatcher stays
my $script = $node->basedir . '/leave.sql';
append_to_file($script, q{
\set pause random(900, 1250)
SELECT eda.publish('test.note', '{"n": 100}');
\sleep :pause ms
});
my @dbs = map { "d$_" } 1 .. 4;
foreach my $db (@dbs)
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	setup_db($node, $db);
}
my @runs = map {
	my ($out, $err) = ('', '');
	IPC::Run::start([ 'pgbench', '-n', '-c', '1', '-t', '15', '-f', $script, $node->connstr($_) ], '>', \$out, '2>', \$err)
} @dbs;
ok($_->finish, 'a publisher') foreach @runs;
foreach my $db (@dbs)
{
	ok($node->poll_query_until($db, 'SELECT count(*) = 15 FROM handled WHERE n = 100'), "$db: no event is forgotten");
	is($node->safe_psql($db, 'SELECT count(DISTINCT id) FROM handled WHERE n = 100'), '15', "$db: each once");
}

# ---- housekeeping ----

$node->append_conf('postgresql.conf', "eda.poll_interval = 1s\neda.retention = 0");
$node->restart;
publish($node, 'postgres', 11);
wait_handled($node, 'postgres', 11, 'events for the log');
query('SELECT eda.rotate_log()');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM eda.events WHERE topic = 'test.note' AND (payload->>'n') = '11'}),
	'retention goes on in a database without work');

# ---- commands on a database at rest ----

$node->append_conf('postgresql.conf', "eda.poll_interval = 1d");
$node->restart;
wait_no_workers($node, 'd1', 'd1 rests');
is($node->psql('postgres', 'ALTER DATABASE d1 RENAME TO e1'), 0, 'RENAME');
publish($node, 'e1', 12);
wait_handled($node, 'e1', 12, 'it is served under its new name');
wait_no_workers($node, 'e1', 'it rests');
is($node->psql('postgres', 'DROP DATABASE e1'), 0, 'DROP DATABASE');
wait_no_workers($node, 'd2', 'd2 rests');
is($node->psql('d2', 'DROP EXTENSION eda CASCADE'), 0, 'DROP EXTENSION');
is($node->safe_psql('postgres', "SELECT count(*) FROM eda.workers WHERE database = 'd2'"), '0', 'nothing is left');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
