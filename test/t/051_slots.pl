# More databases with eda than the server has worker slots: what is idle gives way, and the others take turns.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('slots');
# as a server is by default, but for eda.poll_interval (a day): nothing is found by polling
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nmax_prepared_transactions = 5");
$node->start;
setup_roles($node);

my @dbs = map { "d$_" } 1 .. 8;
foreach my $db (@dbs)
{
	$node->safe_psql('postgres', "CREATE DATABASE $db");
	setup_db($node, $db);
}
# the extension, and never an event; it has no dispatcher for long
$node->safe_psql('postgres', 'CREATE EXTENSION eda');

sub query { return $node->safe_psql($_[0], $_[1]); }

sub wait_for
{
	my ($db, $condition, $what) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, "SELECT $condition"), $what);
}

sub everywhere
{
	my ($sql) = @_;

	$node->safe_psql($_, $sql) foreach @dbs;
}

# ---- eight databases, of which the first ones have all slots ----

$node->restart;
foreach my $round (1 .. 2)
{
	publish($node, $_, $round) foreach @dbs;
	wait_handled($node, $_, $round, "$_, of eight databases: event $round is handled") foreach @dbs;
}

# ---- executors that linger ----

# six subscriptions keep as many executors as there can be, and more events keep them awake
query('d1', q{
	CREATE FUNCTION slowly(e eda.event) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(0.05)';
	SELECT eda.subscribe('s' || i, 'slow', 'slowly', owner => 'joe') FROM generate_series(1, 6) i;
	SELECT count(eda.publish('slow')) FROM generate_series(1, 20)});
query('d1', 'CALL eda.wait()');
publish($node, 'd2', 3);
wait_handled($node, 'd2', 3, 'executors of another database that linger without work make room');
# ---- work without end in all of them, the launcher and two worker slots ----

$node->append_conf('postgresql.conf', "max_logical_replication_workers = 0\nmax_worker_processes = 3");
$node->restart;
my @busy = @dbs[ 0 .. 2 ];
foreach my $db (@busy)
{
	query($db, q{
		CREATE TABLE slow (n int DEFAULT 1);
		GRANT ALL ON slow TO app;
		CREATE FUNCTION hog(e eda.event) RETURNS void LANGUAGE plpgsql AS
			'BEGIN INSERT INTO public.slow DEFAULT VALUES; PERFORM pg_sleep(0.05); END';
		SELECT eda.subscribe('hog', 'hog', 'hog', owner => 'app');
		SELECT count(eda.publish('hog')) FROM generate_series(1, 5000)});
}
foreach my $round (1 .. 2)
{
	my %before = map { $_ => query($_, 'SELECT count(*) FROM slow') } @busy;

	wait_for($_, "count(*) > $before{$_} FROM slow", "$_ has its turn ($round)") foreach @busy;
}
publish($node, 'd8', 4);
wait_handled($node, 'd8', 4, 'and so has one that has little to do');
cmp_ok(query($_, q{SELECT backlog FROM eda.subscriptions WHERE subscription = 'hog'}), '>', 0, "while $_ still has work") foreach @busy;
query($_, q{SELECT eda.unsubscribe('hog')}) foreach @busy;
ok( slurp_file($node->logfile) =~ /no free background worker slot.*HINT:[^\n]*max_worker_processes/s, 'the log names the setting');

# ---- what waits says so ----

my $holder = $node->background_psql('d1');
$holder->query_safe('SELECT pg_advisory_lock(43)');
query('d1', q{
	CREATE FUNCTION stuck(e eda.event) RETURNS void LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(43); END';
	SELECT eda.subscribe('stuck', 'stuck', 'stuck', owner => 'app', timeout => '1 hour'), eda.publish('stuck')});
wait_for('d1', "count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND objid = 43 AND NOT granted", 'a handler keeps one of the slots');
publish($node, 'd3', 5);
wait_for('d3', "state = 'active' AND blocked_reason = 'waiting for a worker slot' AND blocked_detail ~ 'max_worker_processes' FROM eda.subscriptions",
	'eda.subscriptions says what its database waits for');
is(query('d3', "SELECT waits_for || ' ' || (waits_since BETWEEN now() - interval '5 min' AND now()) FROM eda.workers WHERE kind = 'dispatcher' AND database = 'd3'"),
	'worker slot true', 'eda.workers, too, and since when');
$holder->query_safe('SELECT pg_advisory_unlock(43)');
$holder->quit;
wait_handled($node, 'd3', 5, 'and it is served as soon as there is one');
wait_for('d3', 'blocked_reason IS NULL FROM eda.subscriptions', 'after which it says nothing any more');

unlike(slurp_file($node->logfile), qr/TRAP:|PANIC:|terminated by signal/, 'nothing crashed');
$node->stop;
done_testing();
