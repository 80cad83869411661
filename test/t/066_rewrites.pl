# What administrators do to eda's tables, by ALTER TABLE and REINDEX, loses no event, no cursor and no segment.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EdaTest;
use LogTest;
use Test::More;

log_node('rewrites', 'eda.retention = 1s');

sub pending { return query("SELECT backlog FROM eda.subscriptions WHERE subscription = '$_[0]'"); }

# A segment that is rewritten while a batch waits for it: all rows are the rewriting transaction's then.
my $current = query("SELECT relation::regclass FROM eda.segment WHERE state = 'o'");
my $expected = 0;
for my $how (('SET UNLOGGED', 'SET LOGGED') x 3)
{
	my $publisher = session(q{BEGIN; SELECT eda.publish('test.note', '{"n": 1}')});
	my $admin = $node->background_psql('postgres');

	$admin->query_until(qr/begun/, "\\echo begun\nALTER TABLE $current $how;\n");
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'})
	  or die 'nobody waits';
	$publisher->query_safe('COMMIT');
	$publisher->quit;
	$admin->quit;
	query('CALL eda.wait()');
	$expected++;
	is(query('SELECT count(*), count(DISTINCT id) FROM handled'), "$expected|$expected", "an event is there after ALTER TABLE $how");
}

# The cursors' table is rewritten while a segment is due that a cursor needs.
query(q{SELECT eda.pause('notes')});
publish($node, 'postgres', 2);
my $number = rotate();
wait_for("SELECT sealed FROM (SELECT state = 's' AS sealed FROM eda.segment WHERE segment < $number ORDER BY segment DESC LIMIT 1) s", 'a segment is sealed, and due');
my $polls = query(q{SELECT clock_timestamp() + interval '3 s'});
my $admin = session('BEGIN; ALTER TABLE eda.cursor SET UNLOGGED');
$node->poll_query_until('postgres', "SELECT clock_timestamp() > '$polls'");
$admin->query_safe('COMMIT; ALTER TABLE eda.cursor SET LOGGED');
$admin->quit;
$polls = query(q{SELECT clock_timestamp() + interval '3 s'});
$node->poll_query_until('postgres', "SELECT clock_timestamp() > '$polls'");
query(q{SELECT eda.resume('notes'); CALL eda.wait()});
is(query('SELECT count(*) FROM handled WHERE n = 2'), '1', 'a rewritten eda.cursor still keeps what its cursors need');

# A cursor moves to another page while REINDEX CONCURRENTLY waits: the new index has it, too.
my $holder = session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM eda.cursor');
$admin = $node->background_psql('postgres');
$admin->query_until(qr/begun/, "\\echo begun\nREINDEX TABLE CONCURRENTLY eda.cursor;\n");
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT granted AND query LIKE 'REINDEX%'})
  or die 'nobody waits';
my $at = query('SELECT max(ctid) FROM eda.cursor');
query(q{DO $$ BEGIN FOR i IN 1 .. 300 LOOP PERFORM eda.publish('test.note', jsonb_build_object('n', 100 + i)); COMMIT; PERFORM pg_sleep(0.001); END LOOP; END $$});
query('CALL eda.wait()');
$holder->query_safe('COMMIT');
$holder->quit;
$admin->quit;
isnt(query('SELECT max(ctid) FROM eda.cursor'), $at, 'the cursor has moved');
is(query(q{SET enable_seqscan = off; SELECT count(*) FROM eda.cursor WHERE subscription_id > 0}), '1', 'and is found by the index');
query(q{SELECT eda.pause('notes')});
query(q{SELECT eda.resume('notes')});
publish($node, 'postgres', 500);
query('CALL eda.wait()');
is(query('SELECT count(*) FROM handled WHERE n = 500'), '1', 'the lane goes on');

# An administrator's own index and column.
query('CREATE INDEX own ON eda.cursor (handled); ALTER TABLE eda.cursor ADD COLUMN note text');
query(q{DO $$ BEGIN FOR i IN 1 .. 50 LOOP PERFORM eda.publish('test.note', jsonb_build_object('n', 600 + i)); COMMIT; END LOOP; END $$});
query('CALL eda.wait()');
is(query('SELECT count(*) FROM handled WHERE n > 600'), '50', 'a column and an index that are added do no harm');
is(query('SET enable_seqscan = off; SELECT count(*) FROM eda.cursor WHERE handled = (SELECT handled FROM eda.cursor)'), '1', 'and the index is right');
query(q{ALTER TABLE eda.cursor DROP COLUMN note; SELECT eda.seek('notes', 'latest')});
publish($node, 'postgres', 700);
query('CALL eda.wait()');
is(query('SELECT count(*) FROM handled WHERE n = 700'), '1', 'nor one that is dropped');

$node->stop;
done_testing();
