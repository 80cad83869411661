# Who can still see a segment that is retired, or needs it for a moment: snapshots that were handed on, those of
# standbys, and eda.replay.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;
use LogTest;

$node = new_node('readers', allows_streaming => 1);
$node->append_conf(
	'postgresql.conf', q{
eda.poll_interval = 1s
eda.retention = 0
eda.executor_linger = 0
max_prepared_transactions = 5
autovacuum = off
});
$node->start;
setup_roles($node);
setup_db($node, 'postgres');
query('CREATE TABLE other (n int)');

my $seen = q{SELECT count(*) FROM eda.events WHERE payload = '{"n": %d}'};

sub is_retired
{
	my ($segment, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	rotate();
	wait_for("SELECT state = 'r' FROM eda.segment WHERE segment = $segment", $what);
}

# A snapshot that is imported, and given on, after the segment was retired, while an xid that is older than any of them
# makes all snapshots look alike.  Who exported it first ends.
my $idle = session('BEGIN; INSERT INTO other VALUES (1)');
handle_one('an event before a snapshot is exported');
my $old = current();
my $exporter = session('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $snapshot = $exporter->query_safe('SELECT pg_export_snapshot()');
is_retired($old, 'its segment is retired');
passes();
is(state_of($old), 'r', 'which is not truncated while somebody has exported a snapshot');
my @importer;
for my $i (0, 1)
{
	$importer[$i] = session("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'");
	$snapshot = $importer[$i]->query_safe('SELECT pg_export_snapshot()') if $i == 0;
	my $ends = $i == 0 ? $exporter : $importer[0];
	$ends->query_safe('COMMIT');
	$ends->quit;
	passes();
	is(state_of($old), 'r', 'nor while somebody has imported it from one that has ended' . ($i ? ', who had imported it' : ''));
}
is($importer[1]->query_safe(sprintf($seen, $n)), '1', 'who sees the event');
$importer[1]->query_safe('COMMIT');
$importer[1]->quit;
wait_gone($old, 'then it goes, whoever is idle');

# All of it between two looks of the dispatcher.
handle_one('another event');
$old = current();
$exporter = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
is_retired($old, 'another segment is retired');
my $dispatcher = worker_pid($node, 'postgres', 'dispatcher');
kill STOP => $dispatcher;
$snapshot = $exporter->query_safe('SELECT pg_export_snapshot()');
my $importer = session("BEGIN ISOLATION LEVEL REPEATABLE READ; SET TRANSACTION SNAPSHOT '$snapshot'");
$exporter->query_safe('COMMIT');
$exporter->quit;
kill CONT => $dispatcher;
passes();
is(state_of($old), 'r', 'a snapshot that changed hands while the dispatcher did not look');
is($importer->query_safe(sprintf($seen, $n)), '1', 'sees the event');
$importer->query_safe('COMMIT');
$importer->quit;
wait_gone($old, 'and no longer');
$idle->query_safe('COMMIT');
$idle->quit;

# A snapshot of a standby that tells of it.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->append_conf('postgresql.conf', "hot_standby_feedback = on\nwal_receiver_status_interval = 1s\nmax_standby_streaming_delay = -1");
$standby->start;
for my $slot ('', 'standby_slot')
{
	my $by = $slot ? 'by a replication slot' : 'without a slot';

	if ($slot)
	{
		query("SELECT pg_create_physical_replication_slot('$slot')");
		$standby->append_conf('postgresql.conf', "primary_slot_name = '$slot'");
		$standby->restart;
	}
	handle_one('an event before a snapshot of a standby');
	$old = current();
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	my $reader = $standby->background_psql('postgres');
	$reader->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM other');
	wait_for($slot ? "SELECT xmin IS NOT NULL FROM pg_replication_slots WHERE slot_name = '$slot'" :
		"SELECT backend_xmin IS NOT NULL FROM pg_stat_replication", "a standby tells of its snapshot, $by");
	is_retired($old, "$by: the segment is retired");
	passes();
	is(state_of($old), 'r', "$by: but not truncated");
	$node->wait_for_catchup($standby, 'replay', $node->lsn('insert'));
	is($reader->query_safe(sprintf($seen, $n)), '1', "$by: it is there on the standby");
	$reader->query_safe('COMMIT');
	$reader->quit;
	wait_gone($old, "$by: then it goes");
}
$standby->stop;
query("SELECT pg_drop_replication_slot('standby_slot')");

# eda.replay reads what no cursor needs any more.
query(q{
	CREATE TABLE replayed (n int);
	GRANT ALL ON replayed TO app;
	CREATE FUNCTION again(e eda.event) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.replayed SELECT (e.payload->>'n')::int WHERE e.redelivered $$;
	SELECT eda.subscribe('again', 'test.note', 'public.again', owner => 'app');
});
# somebody who is about to subscribe keeps the events until the replay is at work
my $hold = session(q{BEGIN; SELECT eda.subscribe('hold', 'test.note', 'public.again', owner => 'app', start => 'earliest')});
rotate();
my $first = current();
my $since = query('SELECT clock_timestamp()');
handle_one('an event that is to be replayed');
rotate();
handle_one('one in the next segment');
rotate();
handle_one('and one in the current one');
wait_for(q{SELECT backlog = 0 FROM eda.subscriptions WHERE subscription = 'again'}, 'which that subscription has had');
my $block = session('BEGIN; LOCK TABLE eda.retry IN EXCLUSIVE MODE');
my $replay = $node->background_psql('postgres');
$replay->query_until(qr/replaying/, "\\echo replaying\nSELECT eda.replay('again', '$since');\n");
wait_for(q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'eda.retry'::regclass AND NOT granted}, 'a replay is at its first event');
$hold->query_safe('ROLLBACK');
$hold->quit;
passes();
is(query("SELECT count(*) FROM eda.segment WHERE state = 'r'"), '0', 'nothing is retired meanwhile');
$block->query_safe('COMMIT');
$block->quit;
wait_for("SELECT count(*) = 3 FROM replayed", 'each is replayed');
$replay->quit;
wait_gone($first, 'after which they go');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal|ERROR: /, 'nothing went wrong');
$node->stop;
done_testing();
