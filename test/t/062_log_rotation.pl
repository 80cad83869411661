# Segments begin by size and by age, their tables are used again, there are at
# most 64 of them; the bound on the log's size; crashes; DROP EXTENSION.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;
use LogTest;

log_node('log_rotation', 'restart_after_crash = on');

sub set
{
	$node->append_conf('postgresql.conf', $_[0]);
	$node->reload;
}

my $tables = q{SELECT count(*) FROM pg_inherits WHERE inhparent = 'eda.log'::regclass};

# Tables are used again.
foreach my $i (1 .. 8)
{
	handle_one("event $i");
	my $old = current();
	rotate();
	wait_gone($old, 'its segment goes');
}
is(query('SELECT count(*), count(DISTINCT n) FROM handled'), '8|8', 'in tables that are used again, each event once');
cmp_ok(query($tables), '<=', 3, 'of which there are few');
is(current(), 9, 'each time as another segment');

# By age, if there is anything in it.
sub age { query("UPDATE eda.segment SET opened_at = opened_at - interval '61 seconds' WHERE state = 'o'"); }
age();
my $old = current();
my $polls = q{SELECT count(*) = 0 FROM eda.idempotency};
query(q{INSERT INTO eda.idempotency SELECT 'a', 'b', 1, '', now() - interval '1 week'});
wait_for($polls, 'the dispatcher has polled');
query(q{INSERT INTO eda.idempotency SELECT 'a', 'b', 1, '', now() - interval '1 week'});
wait_for($polls, 'twice');
is(current(), $old, 'an empty segment is not closed');
publish($node, 'postgres', 100);
wait_for("SELECT segment = $old + 1 FROM eda.segment WHERE state = 'o'", 'an old one is');
wait_handled($node, 'postgres', 100, 'its event is handled');

# By size.
set("eda.retention = 1d\neda.segment_size = 1MB");
$old = current();
publish($node, 'postgres', 101);
query('SELECT eda.publish($$test.large$$, to_jsonb(string_agg(md5(random()::text), $$$$))) FROM generate_series(1, 10000), generate_series(1, 4) i GROUP BY i');
wait_for("SELECT segment > $old FROM eda.segment WHERE state = 'o'", 'a large segment is closed');
passes();
is(state_of($old), 's', 'and stays for eda.retention');

# A bound on the whole.
for my $i (1 .. 3)
{
	query('SELECT eda.publish($$test.large$$, to_jsonb(string_agg(md5(random()::text), $$$$))) FROM generate_series(1, 10000), generate_series(1, 4) i GROUP BY i');
	rotate();
}
cmp_ok(query('SELECT sum(size) FROM eda.segments'), '>', 4e6, 'the log is large');
my $last = current();
set('eda.retention_size = 3MB');
wait_for('SELECT sum(size) <= 3e6 + 2e5 FROM eda.segments', 'until it is bounded');
is(state_of($last - 1), 's', 'the youngest stay');
is(query("SELECT count(*) FROM eda.segment WHERE segment <= $old AND state IN ('c', 's')"), '0', 'the oldest went');
set("eda.retention_size = -1\neda.retention = 0");

# 64 tables at most, all kept by one subscription.
query(q{SELECT eda.subscribe('paused', 'test.note', 'public.note', owner => 'app', start => 'latest'); SELECT eda.pause('paused')});
for (1 .. 70)
{
	query(q{SELECT eda.publish('test.kept'), eda.publish('test.note', '{"n": 200}')});
	rotate();
}
is(query($tables), '64', 'there are at most 64 tables');
is(query(q{SELECT count(*) FILTER (WHERE state = 'o'), count(*) FILTER (WHERE state = 's') FROM eda.segment}), '1|63', 'all of them in use');
$old = current();
rotate();
is(current(), $old, 'the current one grows');
is(query("SELECT count(*) FROM eda.events WHERE topic = 'test.kept'"), '70', 'and nothing is lost');
like(slurp_file($node->logfile), qr/the event log has 64 segments/, 'the log says so');

# They cost nothing where the log ends.
wait_for("SELECT count(*) = 70 FROM handled WHERE n = 200", 'who is not paused has handled it all');
rotate();
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM eda.workers WHERE kind = $$executor$$');
my $scans = q{SELECT coalesce(sum(i.idx_scan), 0) FROM eda.segment s JOIN pg_stat_all_indexes i ON i.relid = s.relation
	WHERE i.indexrelname LIKE '%xid_id' AND s.state};
my $sealed = "$scans = 's' AND s.segment < $old - 30";
# statistics come late: until a round adds none, those of earlier ones are there
my $scanned;
foreach my $round (1 .. 20)
{
	my $before = query("$scans = 'o'");

	$scanned = query($sealed);
	publish($node, 'postgres', 300);
	$node->poll_query_until('postgres', "SELECT ($scans = 'o') > $before") or die 'nobody looks into the current segment';
	last if $scanned == query($sealed);
}
my $current_scanned = query("$scans = 'o'");
$n = 301;
handle_one('an event');
handle_one('and another one');
wait_for("SELECT (SELECT count(*) FROM handled) > 0 AND ($scans = 'o') > $current_scanned", 'look into the current segment');
is(query($sealed), $scanned, 'and into none of the old ones');
query("SELECT eda.resume('paused')");
wait_for("SELECT count(*) = 140 FROM handled WHERE n = 200", 'when the pause is over all is handled');
wait_for("SELECT count(*) = 63 FROM eda.segment WHERE state = 'f'", 'and all of it goes');
query("SELECT eda.unsubscribe('paused')");
handle_one('one more');
rotate();
is(query($tables), '64', 'no table is made');

# Crashes between retirement and truncation.
for my $how ('kill', 'stop')
{
	handle_one("before a crash ($how)");
	$old = current();
	my $report = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM handled');
	rotate();
	wait_for("SELECT state = 'r' FROM eda.segment WHERE segment = $old", 'a segment is retired');
	passes();
	is(state_of($old), 'r', 'and a report keeps it');
	if ($how eq 'kill')
	{
		my $start = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'");

		kill 'KILL', worker_pid($node, 'postgres', 'dispatcher');
		$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'checkpointer' AND pid <> $start");
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	eval { $report->quit };
	wait_gone($old, 'it is truncated after the crash');
	handle_one('and delivery goes on');
}
is(query('SELECT count(*) FROM eda.dead_letters'), '0', 'nothing died');

# A member of the extension: not in dumps, dropped with it.
my ($dump) = run_command([ 'pg_dump', '--schema-only', '-d', $node->connstr('postgres') ]);
like($dump, qr/CREATE EXTENSION.* eda /, 'a dump has the extension');
unlike($dump, qr/log_\d/, 'and no segment');
query('DROP EXTENSION eda CASCADE');
is(query("SELECT count(*) FROM pg_class WHERE relname ~ '^log_\\d+'"), '0', 'DROP EXTENSION drops all segments');
query(q{
	CREATE EXTENSION IF NOT EXISTS eda;
	CREATE OR REPLACE FUNCTION note(e eda.event) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.handled VALUES (e.id, (e.payload->>'n')::int) $$;
	SELECT eda.subscribe('notes', 'test.note', 'public.note', owner => 'app');
});
$n = 1000;
handle_one('and it can be created again');
is(rotate(), '2', 'with a log of its own');

$node->stop;
done_testing();
