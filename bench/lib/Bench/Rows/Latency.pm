# Rows 8, 9 and 12: from publish to the handler, event by event.
#
#  1. See Bench::Clients for what a latency is.  Arrivals are a Poisson process.
#  2. At 1/s and 10/s eda and its peer run at the same time, each with its own
#     publisher: alone it would take hours to see the tail, and so both have the same
#     sleeping machine.  At 100/s and 1,000/s they take turns, or each would
#     wake the machine for the other.
#  3. p50 and p99 that are judged are those of all events of all turns; what is
#     shown as the spread is that of the turns.  Who goes first changes.
#  4. Row 12: a transaction that published an event stays open, while another
#     session publishes 1,000/s; beside the same without it, before and after.

package Bench::Rows::Latency;

use strict;
use warnings;
use utf8;

use Bench::Clients;
use Bench::Database;
use Bench::Plan;
use Bench::Stats;

# A database with eda's subscription and the handlers, warm.
sub database
{
	my $db = Bench::Database->new('latency');

	Bench::Clients::create($db);
	$db->subscribe('note', 'note_eda');
	$db->query("SELECT eda.publish('$Bench::Database::topic', '{\"sent\": 0}')", 'CALL eda.wait()', 'TRUNCATE seen_eda');
	return $db;
}

# p50 and p99 of each turn beside those of all of them: for a check's figures.
sub percentiles
{
	my ($p, $turns) = @_;

	return ([ map { percentile($p, @$_) } @$turns ], percentile($p, map { @$_ } @$turns));
}

# One turn of each of these at that rate: [latencies of the first], ...
sub turn
{
	my ($row, $db, $rate, $seconds, $sync, @who) = @_;
	my @publishers = map { Bench::Clients::start_publisher($db, $Bench::Clients::publish{$_}, $rate, $seconds, sync => $sync) } @who;
	my @turns;

	foreach my $i (0 .. $#who)
	{
		my $published = Bench::Clients::finish_publisher($publishers[$i]);
		my @ms = Bench::Clients::latencies($db, $who[$i]);

		$row->verify("$who[$i] at $rate/s: events handled", scalar @ms, $published);
		progress('%s %s/s, synchronous_commit %s: p50 %.3f p99 %.3f ms', $who[$i], $rate, $sync, percentile(50, @ms), percentile(99, @ms));
		push @turns, \@ms;
	}
	return @turns;
}

# Row 8.
sub beside_notify
{
	my ($row) = @_;
	my $db = database();
	my $listener = Bench::Clients::start_listener($db);
	my %seconds = quick() ? (100 => 2, 1000 => 2) : (1 => 20, 10 => 10, 100 => 5, 1000 => 3);
	my %plot;

	# its caches are as warm as eda's
	turn($row, $db, 100, 1, 'on', $_) foreach 'eda', 'peer';
	foreach my $rate (sort { $a <=> $b } keys %seconds)
	{
		my (@eda, @peer);

		foreach my $repetition (1 .. reps())
		{
			my @order = $repetition % 2 ? ('peer', 'eda') : ('eda', 'peer');
			my %turn;

			if ($rate < 100)
			{
				@turn{@order} = turn($row, $db, $rate, $seconds{$rate}, 'on', @order);
			}
			else
			{
				($turn{$_}) = turn($row, $db, $rate, $seconds{$rate}, 'on', $_) foreach @order;
			}
			# nothing came at all in a turn that was too short
			next unless @{ $turn{eda} } && @{ $turn{peer} };
			push @eda, $turn{eda};
			push @peer, $turn{peer};
		}
		foreach ([ 50, 0.6 ], [ 99, 0.7 ])
		{
			my ($p, $target) = @$_;
			my ($ours, $our_all) = percentiles($p, \@eda);
			my ($theirs, $their_all) = percentiles($p, \@peer);

			$row->check(
				what => sprintf('p%d at %s/s, %s events', $p, $rate, scalar map { @$_ } @eda),
				unit => 'ms',
				ours => $ours,
				other => $theirs,
				all => [ $our_all, $their_all ],
				judged => $our_all / $their_all,
				beside => 'NOTIFY, C client',
				at_most => $target,
				loose => $p == 50 ? 2 : 4);
			push @{ $plot{"eda p$p"} }, [ $rate, $our_all ];
			push @{ $plot{"SKIP LOCKED, NOTIFY p$p"} }, [ $rate, $their_all ];
		}
	}
	$row->series(latency => \%plot);
	Bench::Clients::stop_listener($listener);
	$db->drop;
	return;
}

# Row 9.
sub at_a_thousand
{
	my ($row) = @_;
	my $db = database();
	my %turns;

	turn($row, $db, 1000, 1, 'off', 'eda');
	foreach my $repetition (1 .. reps())
	{
		foreach my $sync ($repetition % 2 ? ('on', 'off') : ('off', 'on'))
		{
			push @{ $turns{$sync} }, turn($row, $db, 1000, size(3, 2), $sync, 'eda');
		}
	}
	foreach ([ 'on', 50, 0.35 ], [ 'on', 99, 0.8 ], [ 'off', 50, 0.15 ], [ 'off', 99, 0.5 ])
	{
		my ($sync, $p, $target) = @$_;
		my ($ours, $all) = percentiles($p, $turns{$sync});

		# an absolute time is no use on a machine that is busy: the quick form takes what is no second
		$row->check(
			what => "p$p, synchronous_commit $sync",
			unit => 'ms',
			ours => $ours,
			all => [$all],
			judged => $all,
			at_most => $target,
			loose => $p == 50 ? 50 : 1000);
	}
	$db->drop;
	return;
}

# Row 12.
sub open_transaction
{
	my ($row) = @_;
	my $db = database();
	my $holder = $db->session;
	my ($total, $window) = (size(60, 3), size(5, 1));
	my $run = sub {
		my ($seconds, $extra) = @_;
		my @windows;

		# as one turn each, so that a window is a figure
		push @windows, turn($row, $db, 1000, $window, 'on', 'eda') for 1 .. $seconds / $window;
		return @windows;
	};

	turn($row, $db, 1000, 1, 'on', 'eda');
	my @without = $run->($total / 2);

	$holder->query('BEGIN', "SELECT eda.publish('$Bench::Database::topic', '{\"sent\": 1}')");
	my @with = $run->($total);

	$holder->query('COMMIT');
	$db->query('CALL eda.wait()');
	$row->verify('the late event handled', $db->value('SELECT count(*) FROM seen_eda WHERE sent = 1'), 1);
	$db->query('TRUNCATE seen_eda');
	push @without, $run->($total / 2);

	my ($ours, $our_all) = percentiles(99, \@with);
	my ($theirs, $their_all) = percentiles(99, [ @without, @without ]);

	$row->check(
		what => 'p99 at 1,000/s, a transaction open',
		unit => 'ms',
		ours => $ours,
		other => [ @$theirs[ 0 .. $#$ours ] ],
		all => [ $our_all, $their_all ],
		judged => $our_all / $their_all,
		beside => 'without it',
		at_most => 1.2,
		loose => 4);
	$db->drop;
	return;
}

1;
