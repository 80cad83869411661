# The end of a segment: what must hold it back, and what must not.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;
use LogTest;

log_node('log_life');

# Nobody needs it.
handle_one('an event is handled');
my $old = current();
is(rotate(), $old + 1, 'the log is rotated');
is(rotate(), $old + 1, 'but not an empty segment');
wait_gone($old, 'a segment that nobody needs goes');
is(query('SELECT count(*) FROM eda.events'), '0', 'and its events with it');

# A publisher that has chosen its segment, but not locked it, before a rotation; twice, as it chooses
# once for its ids and once for its event.
handle_one('an event is in the current segment');
$old = current();
my $publisher = session('BEGIN');
my $late = ++$n;
my @tables;
my @lockers;

sub current_table { return query(q{SELECT relation::regclass FROM eda.segment WHERE state = 'o'}); }

sub lock_current
{
	push @tables, current_table();
	push @lockers, session("BEGIN; LOCK TABLE $tables[-1] IN SHARE MODE");
}

sub wait_for_publisher
{
	wait_for("SELECT count(*) = 1 FROM pg_locks WHERE relation = '$tables[-1]'::regclass AND NOT granted", 'a publisher waits for its segment');
	rotate();
	isnt(current_table(), $tables[-1], 'which is closed meanwhile');
}
lock_current();
$publisher->query_until(qr/published/, "\\echo published\nSELECT eda.publish('test.note', '{\"n\": $late}');\n");
wait_for_publisher();
handle_one('others publish in the next one');
lock_current();
$lockers[0]->query_safe('COMMIT');
wait_for_publisher();
passes();
$lockers[1]->query_safe('COMMIT');
$_->quit foreach @lockers;
$publisher->query_safe('COMMIT');
$publisher->quit;
wait_handled($node, 'postgres', $late, 'the event of the publisher that chose before the rotation is handled');
is(query(qq{SELECT count(*) FROM $_ WHERE payload = '{"n": $late}'}), '0', 'and is not in a segment that was closed') foreach @tables;
rotate();
wait_gone($old, 'which goes');

# A publisher that is open, in an old segment.
for my $prepared (0, 1)
{
	my $kind = $prepared ? 'a prepared' : 'an open';

	handle_one('another event');
	$old = current();
	$n++;
	$late = $n;
	$publisher = session("BEGIN; SELECT eda.publish('test.note', '{\"n\": $late}')");
	$publisher->query_safe("PREPARE TRANSACTION 'late'") if $prepared;
	rotate();
	handle_one('an event of the next segment is handled');
	passes();
	is(state_of($old), 'c', "$kind publisher keeps its segment from being complete");
	$prepared ? query("COMMIT PREPARED 'late'") : $publisher->query_safe('COMMIT');
	$publisher->quit;
	wait_handled($node, 'postgres', $late, 'whose event is handled when it has committed');
	rotate();
	wait_gone($old, 'then the segment goes');
}

# A subscription that nobody sees yet, and the events that it will get.
sub subscribe_uncommitted
{
	my ($name, $start) = @_;

	return session("BEGIN; SELECT eda.subscribe('$name', 'test.note', 'public.late', owner => 'app', start => '$start')");
}
query(q{
	CREATE TABLE came (subscription text, n int);
	GRANT ALL ON came TO app;
	CREATE FUNCTION late(e eda.event) RETURNS void LANGUAGE sql AS
		$$ INSERT INTO public.came VALUES (e.subscription, (e.payload->>'n')::int) $$;
});
rotate();
handle_one('an event before somebody subscribes from the earliest');
my $first = $n;
$old = current();
my $subscriber = subscribe_uncommitted('from_earliest', 'earliest');
rotate();
handle_one('an event in a segment that was opened after it');
rotate();
handle_one('and one in the next');
passes();
is(query("SELECT string_agg(DISTINCT state::text, '') FROM eda.segment WHERE segment BETWEEN $old AND $old + 1"), 's',
	'nothing is retired while somebody may subscribe to it');
$subscriber->query_safe("PREPARE TRANSACTION 'subscriber'");
$subscriber->quit;
passes();
is(state_of($old), 's', 'nor when that is prepared');
query("COMMIT PREPARED 'subscriber'");
wait_for("SELECT string_agg(n::text, ' ' ORDER BY n) = '$first @{[$first + 1]} @{[$first + 2]}' FROM came", 'who subscribed from the earliest gets all of it');
rotate();
wait_gone($old, 'then it goes');
query("SELECT eda.unsubscribe('from_earliest'); TRUNCATE came");

# The same from now on: what commits before the subscription does.
my $other = subscribe_uncommitted('from_latest', 'latest');
$first = $n + 1;
handle_one('an event that is committed before a subscription is');
rotate();
handle_one('and one in a segment opened meanwhile');
rotate();
passes();
$other->query_safe('COMMIT');
$other->quit;
wait_for("SELECT string_agg(n::text, ' ' ORDER BY n) = '$first $n' FROM came", 'who subscribed from the latest gets what came after that');
query("SELECT eda.unsubscribe('from_latest')");

# Reports that began before a segment was retired have it to their end.
rotate();
for my $kind ('REPEATABLE READ', 'SERIALIZABLE, READ ONLY')
{
	passes();
	handle_one("an event before a report at $kind");
	my $before = query('SELECT count(*) FROM eda.events');
	$old = current();
	# it has a snapshot, and no lock on anything of eda's
	my $report = session("BEGIN ISOLATION LEVEL $kind; SELECT count(*) FROM handled");
	rotate();
	wait_for("SELECT state = 'r' FROM eda.segment WHERE segment = $old", "$kind: the segment is retired all the same");
	passes();
	is(state_of($old), 'r', 'but not truncated');
	is(query("SELECT count(*) FROM eda.events WHERE payload = '{\"n\": $n}'"), '0', 'who comes now does not see it');
	my $late_report = session("BEGIN ISOLATION LEVEL $kind; SELECT count(*) FROM handled");

	# the dispatcher's memory is not what holds it back
	my $dispatcher = worker_pid($node, 'postgres', 'dispatcher');
	query("SELECT pg_terminate_backend($dispatcher)");
	wait_new_worker($node, 'postgres', 'dispatcher', $dispatcher);
	passes();
	is(state_of($old), 'r', 'nor after the dispatcher was started again');

	is($report->query_safe("SELECT count(*) FROM eda.events"), $before, 'the report does, still');
	is($report->query_safe("COPY (SELECT payload FROM eda.events WHERE payload = '{\"n\": $n}') TO STDOUT"), "{\"n\": $n}", 'and can read it');
	$report->query_safe('COMMIT');
	$report->quit;
	is($late_report->query_safe("SELECT count(*) FROM eda.events WHERE payload = '{\"n\": $n}'"), '0', 'one that began after the retirement does not');
	$late_report->query_safe('COMMIT');
	$late_report->quit;
	rotate();
	wait_gone($old, 'then it is truncated');
}

# A reader that keeps its lock: nobody waits for it.
handle_one('an event before a reader');
$old = current();
my $reader = session('BEGIN; SELECT count(*) FROM eda.events; SELECT count(*) FROM eda.segments');
rotate();
wait_for("SELECT state = 'r' FROM eda.segment WHERE segment = $old", 'a segment that somebody has read is retired');
passes();
is(state_of($old), 'r', 'and is there while its reader has it locked');
handle_one('the dispatcher does not wait for it');
$reader->query_safe('COMMIT');
$reader->quit;
wait_gone($old, 'then it is truncated');

# Transactions that have nothing to do with it, idle for long.
query('CREATE TABLE other (n int); CREATE DATABASE elsewhere');
handle_one('an event before idle transactions');
$old = current();
my @idle = (
	session('BEGIN; INSERT INTO other VALUES (1)'),
	session('BEGIN; SELECT count(*) FROM other'),
	session('BEGIN; INSERT INTO other VALUES (1); SAVEPOINT a; INSERT INTO other VALUES (1); SELECT count(*) FROM other'),
	session('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1', 'elsewhere'));
handle_one('another one, after they began');
rotate();
wait_gone($old, 'transactions that are idle, with an xid or after a SELECT, or elsewhere, pin nothing');
is(query('SELECT count(*) FROM pg_stat_activity WHERE state = $$idle in transaction$$'), '4', 'they are there still');
foreach (@idle) { $_->query_safe('COMMIT'); $_->quit; }

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal|ERROR: /, 'nothing went wrong');
$node->stop;
done_testing();
