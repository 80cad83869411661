# Rows 10 and 15: many subscriptions, many topics.
#
#  1. Row 10 has a database for each number of subscriptions; they are made by one
#     statement.  pgbench publishes with 8 clients and synchronous_commit off, where
#     the processor is what is short.  The subscriptions that match have a handler that does
#     nothing, and their executors run on the same cores; all events are handled before the next turn.
#  2. Row 15's 1,000 subscriptions have ten topics each; 100 events a second come, each on one of the 10,000 topics at
#     random; beside a database with one subscription and one topic, in turns.
#  3. Idle is the CPU time of all of eda's workers in the server, from /proc, while nothing
#     is published.  A tick is 10 ms, 0.03 % of 30 s.
#  4. Others' events: one subscription is paused while others' events, and one of its own to a thousand, go to the log
#     and are handled; then it is resumed, and the others' events are divided by the time until eda.wait returns.
#     Blocks of the log's tables that were read meanwhile, besides the index, are counted by the server.

package Bench::Rows::Thousand;

use strict;
use warnings;
use utf8;

use Time::HiRes 'sleep';

use Bench::Clients;
use Bench::Database;
use Bench::Pgbench;
use Bench::Plan;
use Bench::Process;
use Bench::Stats;

my $topic = $Bench::Database::topic;

# $n subscriptions, by one statement; topics and handler as SQL over i, from 0.
sub subscribe_many
{
	my ($db, $n, $topics, $handler) = @_;

	return $db->seconds(
		"SELECT count(eda.subscribe('s' || i, topics => $topics, handler => '$handler', owner => 'app'))
		   FROM generate_series(0, $n - 1) i");
}

# Row 10.
sub publish
{
	my ($row) = @_;
	my @numbers = quick() ? (1000) : (1, 10, 50, 1000);
	my @matching = quick() ? () : (1, 50);
	my $seconds = size(3, 1);
	my %db = (none => Bench::Database->new('none'));
	my %published;
	my $side = sub {
		my ($name, $matching) = @_;
		my $db = $db{$name};

		$db->settle;
		my ($tps, $n) = pgbench($db, sql => "SELECT eda.publish('$topic', :payload::jsonb)", clients => 8, sync => 'off', seconds => $seconds);

		if ($matching)
		{
			$published{$name} += $n;
			$db->query("CALL eda.wait(timeout => '5 min')");
		}
		return $tps;
	};
	my @sides = ([ 'none', sub { $side->('none') } ]);

	foreach my $n (@numbers)
	{
		my $name = "$n, none matching";

		$db{$name} = Bench::Database->new("none_$n");
		my $took = subscribe_many($db{$name}, $n, "'other.t' || i", 'noop');

		$row->note('%d subscriptions were made in %.1f s, by one statement.', $n, $took) if $n == 1000;
		push @sides, [ $name, sub { $side->($name) } ];
	}
	foreach my $n (@matching)
	{
		my $name = "$n matching";

		$db{$name} = Bench::Database->new("matching_$n");
		subscribe_many($db{$name}, $n, "'$topic'", 'noop');
		$db{$name}->query("SELECT eda.publish('$topic')", 'CALL eda.wait()');
		$published{$name} = 1;
		push @sides, [ $name, sub { $side->($name, 1) } ];
	}
	$_->[1]->() foreach @sides;
	my %tps = interleave(reps(), map { @$_ } @sides);

	foreach my $n (@numbers)
	{
		$row->check(
			what => "$n subscriptions, none matching",
			unit => 'tps',
			ours => $tps{"$n, none matching"},
			other => $tps{none},
			beside => 'none',
			at_least => 0.97);
	}
	if (@matching)
	{
		$row->check(
			what => '50 subscriptions matching',
			unit => 'tps',
			ours => $tps{'50 matching'},
			other => $tps{'1 matching'},
			beside => '1 matching, row 2',
			at_least => 0.9);
	}
	foreach my $n (@matching)
	{
		$row->verify(
			"$n matching: events handled",
			$db{"$n matching"}->value('SELECT sum(handled) FROM eda.subscriptions'),
			$n * $published{"$n matching"});
	}
	$_->drop foreach values %db;
	return;
}

# One turn at 100/s; milliseconds.
sub turn
{
	my ($row, $db, $choices) = @_;
	my $publisher = Bench::Clients::start_publisher($db, "SELECT eda.publish('bench.t' || \$2::int, \$1::jsonb)", 100, size(5, 2), choices => $choices);
	my $published = Bench::Clients::finish_publisher($publisher);
	my @ms = Bench::Clients::latencies($db, 'eda');

	$row->verify("$choices topics: events handled", scalar @ms, $published);
	progress('%d topics: p50 %.3f p99 %.3f ms', $choices, percentile(50, @ms), percentile(99, @ms));
	return \@ms;
}

# Row 15.
sub thousand
{
	my ($row) = @_;
	my $n = 1000;
	my $one = Bench::Database->new('one');
	my $many = Bench::Database->new('thousand', rows => 1000);
	my %turns;

	Bench::Clients::create($_) foreach $one, $many;
	subscribe_many($one, 1, q{'bench.t0'}, 'note_eda');
	my $took = subscribe_many($many, $n, qq{(SELECT string_agg('bench.t' || t, ', ') FROM generate_series(10 * i, 10 * i + 9) t)}, 'note_eda');

	$row->note('%d subscriptions were made in %.1f s, by one statement.', $n, $took);
	turn($row, $one, 1);
	turn($row, $many, 10 * $n);
	foreach my $repetition (1 .. reps())
	{
		foreach my $which ($repetition % 2 ? ('one', 'many') : ('many', 'one'))
		{
			push @{ $turns{$which} }, $which eq 'one' ? turn($row, $one, 1) : turn($row, $many, 10 * $n);
		}
	}
	my ($ours, $theirs) = map { [ map { percentile(50, @$_) } @{ $turns{$_} } ] } 'many', 'one';

	$row->check(
		what => 'p50 at 100/s',
		unit => 'ms',
		ours => $ours,
		other => $theirs,
		beside => 'one subscription',
		at_most => 1.5,
		loose => 10);
	$one->drop;

	# what came before has its statistics written, and its rows vacuumed or not
	my $idle = size(30, 3);

	sleep size(12, 2);
	my @pids = worker_pids($many);
	my $before = cpu_seconds(@pids);

	sleep $idle;
	$row->check(
		what => scalar(@pids) . ' workers, idle',
		unit => '% of a core',
		ours => [ 100 * (cpu_seconds(@pids) - $before) / $idle ],
		at_most => 0.1,
		loose => 5);
	foreign($row, $many);
	$many->drop;
	return;
}

# Blocks of the log's tables, not of their indexes, that were looked at so far.
sub heap_blocks
{
	my ($db) = @_;

	# our own, which are told of once a second; the workers tell of theirs when they are idle
	$db->query('SELECT pg_stat_force_next_flush()');
	sleep 1.5;
	return $db->value(q{SELECT sum(heap_blks_read + heap_blks_hit) FROM pg_statio_user_tables WHERE schemaname = 'eda' AND relname LIKE 'log\_%'});
}

# One drained while the log is full of events of others.
sub foreign
{
	my ($row, $db) = @_;
	my $parts = 20;
	my $part = size(100_000, 5_000);

	$db->subscribe('s500', 'noop', topics => q{'bench.t5000'});
	$db->subscribe('s1', 'noop', topics => q{'bench.t10'});
	$db->query("SELECT eda.publish('bench.t10')", 'CALL eda.wait()', "SELECT eda.pause('s1')");
	my $handled = $db->handled('s1');

	$db->query("CALL publish_many('bench.t5000', $part, 1000)", "CALL publish_many('bench.t10', 100, 100)") for 1 .. $parts;
	$db->query("CALL eda.wait('s500', '5 min')");
	$db->settle;
	my $blocks = heap_blocks($db);
	my $seconds = $db->seconds("SELECT eda.resume('s1')", "CALL eda.wait('s1', '1 min')");

	$row->verify('own events handled', $db->handled('s1') - $handled, 100 * $parts);
	$blocks = heap_blocks($db) - $blocks;
	$row->check(
		what => "others' events passed",
		unit => 'events/s',
		ours => [ $part * $parts / $seconds ],
		at_least => 5e6,
		loose => 5e4);
	$row->check(
		what => 'heap blocks looked at',
		unit => 'blocks',
		ours => [ $blocks / (100 * $parts) ],
		beside => 'an own event',
		# the event's own, at times twice
		at_most => 2,
		loose => 10);
	return;
}

1;
