# Row 11: throughput while a snapshot is held.
#
#  1. Four clients of pgbench publish, one event a transaction, as fast as they can,
#     with synchronous_commit off; a consumer whose handler does nothing keeps up, or
#     not.  What is counted is events handled, in six windows of ten seconds.
#  2. eda twice, with a REPEATABLE READ transaction that took its snapshot before the first
#     event and holds it to the end, and without.  The peers with it.
#  3. SKIP LOCKED drains by statements of up to 1,000 rows, PgQ with pgqd ticking ten times a
#     second; both are clients that ask again at once while there is something, so that the server's
#     statistics, and with them autovacuum, see each transaction.
#  4. The cursor update is timed inside, by eda_bench_cursor.c, once a transaction,
#     with such a snapshot held; "flat" is the last tenth beside the first.

package Bench::Rows::Held;

use strict;
use warnings;
use utf8;

use Time::HiRes qw(sleep time);

use Bench::Database;
use Bench::Pgbench;
use Bench::Plan;
use Bench::Stats;

my $windows = 6;
my $window = size(10, 1);

my %publish = (
	eda => "SELECT eda.publish('$Bench::Database::topic', :payload::jsonb)",
	'SKIP LOCKED' => 'INSERT INTO outbox (payload) VALUES (:payload::jsonb)',
	PgQ => "SELECT pgq.insert_event('q', 'order.created', :payload::text)",
);

# A peer's batch: how many it had.
my %drain = (
	'SKIP LOCKED' => q{
		WITH taken AS (
			DELETE FROM outbox
			 WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED))
			RETURNING payload)
		SELECT count(*) + 0 * count(noop(payload)) FROM taken},
	PgQ => 'SELECT pgq_batch()',
);

# Runs a peer's consumer in a process of its own for so many seconds; reading
# from what this returns gives a line for each window, the events handled in it.
sub start_consumer
{
	my ($db, $sql, $seconds) = @_;
	my $pid = open(my $out, '-|') // die "fork: $!\n";

	return $out if $pid;
	my $session = $db->session;
	my $begin = time;
	my @handled = (0) x $windows;

	$session->query('SET synchronous_commit = off');
	while ((my $at = int((time - $begin) / $window)) < $windows)
	{
		my $n = $session->value($sql);

		$handled[$at] += $n;
		sleep 0.005 unless $n;
	}
	print "$_\n" foreach @handled;
	close STDOUT;
	$session->close;
	# without the parent's destructors, which would end its sessions
	require POSIX;
	POSIX::_exit(0);
}

# pgqd for a database, as a user would have it who cares for latency.
sub start_pgqd
{
	my ($db) = @_;
	my $ini = "$ENV{BENCH_OUT}/pgqd.ini";

	open my $file, '>', $ini or die "$ini: $!\n";
	print $file "[pgqd]\nbase_connstr = host=$ENV{PGHOST} port=$ENV{PGPORT} user=$ENV{PGUSER}\n",
	  "database_list = ", $db->name, "\nlogfile = $ENV{BENCH_OUT}/pgqd.log\npidfile = $ENV{BENCH_OUT}/pgqd.pid\n",
	  "ticker_period = 0.1\ncheck_period = 1\nsyslog = 0\n";
	close $file;
	my $pid = fork // die "fork: $!\n";

	return $pid if $pid;
	open STDOUT, '>', '/dev/null';
	open STDERR, '>', '/dev/null';
	exec 'pgqd', $ini or die "pgqd: $!\n";
}

sub hold
{
	my ($db) = @_;
	my $session = $db->session;

	$session->query('BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM pg_class');
	return $session;
}

# Events handled a second in each window.
sub run
{
	my ($row, $who, $held) = @_;
	my $db = Bench::Database->new('held');
	my $pgqd;

	if ($who eq 'eda')
	{
		$db->subscribe('live', 'noop');
		$db->query("SELECT eda.publish('$Bench::Database::topic')", 'CALL eda.wait()');
	}
	elsif ($who eq 'PgQ')
	{
		$db->query(
			'CREATE EXTENSION pgq',
			"SELECT pgq.create_queue('q')",
			"SELECT pgq.register_consumer('q', 'c')",
			"SELECT pgq.set_queue_config('q', 'ticker_max_lag', '100 ms')",
			q{CREATE FUNCTION pgq_batch() RETURNS bigint LANGUAGE plpgsql AS $$
			DECLARE
				batch bigint := pgq.next_batch('q', 'c');
				n bigint;
			BEGIN
				IF batch IS NULL THEN
					RETURN 0;
				END IF;
				SELECT count(*) + 0 * count(noop_text(ev_data)) INTO n FROM pgq.get_batch_events(batch);
				PERFORM pgq.finish_batch(batch);
				RETURN n;
			END $$});
		$pgqd = start_pgqd($db);
	}
	my $holder = $held ? hold($db) : undef;
	my $load = start_pgbench($db, sql => $publish{$who}, clients => 4, sync => 'off', seconds => $windows * $window);
	my @handled;

	if ($who eq 'eda')
	{
		my $begin = time;
		my $before = $db->value('SELECT sum(handled) FROM eda.cursor');

		foreach my $at (1 .. $windows)
		{
			my $rest = $begin + $at * $window - time;

			sleep $rest if $rest > 0;
			my $now = $db->value('SELECT sum(handled) FROM eda.cursor');

			push @handled, $now - $before;
			$before = $now;
		}
	}
	else
	{
		my $consumer = start_consumer($db, $drain{$who}, $windows * $window);

		@handled = map { chomp; $_ } <$consumer>;
		close $consumer;
	}
	my (undef, $published) = finish_pgbench($load);

	if ($who eq 'eda')
	{
		$db->query("CALL eda.wait(timeout => '5 min')");
		$row->verify('events handled', $db->handled('live'), $published + 1);
	}
	$holder->query('COMMIT') if $holder;
	if ($pgqd)
	{
		kill 'TERM', $pgqd;
		waitpid $pgqd, 0;
	}
	$db->drop;
	my @rates = map { $_ / $window } @handled;

	progress('%s, %s: %s', $who, $held ? 'held' : 'not held', join(' ', map { figure($_) } @rates));
	return \@rates;
}

# Microseconds of a cursor update, in each tenth.
sub cursor_updates
{
	my $db = Bench::Database->new('cursor');
	my $module = "$ENV{BENCH_MODULE}_cursor";
	my $n = size(10_000, 1000);

	$db->subscribe('paused', 'noop');
	$db->query(
		"SELECT eda.pause('paused')",
		"CREATE FUNCTION bench_cursor_store(id int) RETURNS float8 LANGUAGE c AS '$module'",
		"CREATE PROCEDURE bench_cursor(n int, INOUT us float8) LANGUAGE plpgsql AS \$\$
		DECLARE
			id int := (SELECT subscription_id FROM eda.subscription WHERE name = 'paused');
		BEGIN
			us := 0;
			FOR i IN 1 .. n LOOP
				us := us + bench_cursor_store(id);
				COMMIT;
			END LOOP;
			us := us / n;
		END \$\$",
		'SET synchronous_commit = off');
	my $holder = hold($db);
	my @us = map { $db->value("CALL bench_cursor($n, NULL)") } 1 .. 10;

	$holder->query('COMMIT');
	$db->drop;
	progress('cursor update, µs: %s', join(' ', map { figure($_) } @us));
	return @us;
}

# Row 11.
sub snapshot
{
	my ($row) = @_;
	my $with = run($row, 'eda', 1);
	my $without = run($row, 'eda', 0);
	my %plot = (eda => $with, 'eda, no snapshot held' => $without);

	$row->check(
		what => 'last window beside the first, held',
		unit => 'events/s',
		ours => [ $with->[-1] ],
		other => [ $with->[0] ],
		beside => 'its first window',
		at_least => 0.95);
	$row->check(
		what => 'held',
		unit => 'events/s',
		ours => $with,
		other => $without,
		beside => 'not held, by window',
		at_least => 0.95);
	foreach my $who ('SKIP LOCKED', $ENV{BENCH_PGQ} ? 'PgQ' : ())
	{
		my $rates = run($row, $who, 1);

		$plot{$who} = $rates;
		$row->check(
			what => "$who, last beside first",
			unit => 'events/s',
			ours => [ $rates->[-1] ],
			other => [ $rates->[0] || 1 ],
			beside => 'its first window');
	}
	$row->series(held => { window => $window, rates => \%plot });

	my @us = eval { cursor_updates() };

	if (@us)
	{
		$row->check(what => 'cursor update, held', unit => 'µs', ours => \@us, at_most => 3, loose => 100);
		$row->check(
			what => 'the same, last tenth',
			unit => 'µs',
			ours => [ $us[-1] ],
			other => [ $us[0] ],
			beside => 'first tenth',
			at_most => 1.2,
			loose => 5);
	}
	else
	{
		$row->note('The cursor update could not be measured: %s', (split /\n/, $@)[1] // $@);
	}
	return;
}

1;
