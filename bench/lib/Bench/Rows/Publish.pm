# Rows 1 and 2: one publish a transaction, by pgbench.
#
#  1. Both sides get the payload as a text parameter that the server turns into
#     jsonb, in a statement that was prepared once a connection, and commit as
#     synchronous_commit says.
#  2. A side is a few seconds of pgbench, a checkpoint before each pair.  Ratios
#     are of the two sides of a pair.
#  3. What pgbench counted is in the table, in the log, and handled.

package Bench::Rows::Publish;

use strict;
use warnings;
use utf8;

use Bench::Database;
use Bench::Pgbench;
use Bench::Plan;
use Bench::Stats;

my $publish = "SELECT eda.publish('$Bench::Database::topic', :payload::jsonb)";
my $insert = 'INSERT INTO plain (payload) VALUES (:payload::jsonb)';

# Clients and synchronous_commit of rows 1 and 2.
sub variants
{
	return quick() ? ([ 8, 'off' ], [ 1, 'on' ]) : map { my $c = $_; map { [ $c, $_ ] } qw(on off) } 1, 8;
}

# Row 1.
sub plain_insert
{
	my ($row) = @_;
	my $db = Bench::Database->new('insert');
	my %count = (eda => 0, insert => 0);
	my $side = sub {
		my ($name, $sql, $clients, $sync, $seconds) = @_;
		my ($tps, $n) = pgbench($db, sql => $sql, clients => $clients, sync => $sync, seconds => $seconds);

		$count{$name} += $n;
		return $tps;
	};

	$side->(@$_, 1, 'off', 1) foreach [ eda => $publish ], [ insert => $insert ];
	foreach my $variant (variants())
	{
		my ($clients, $sync) = @$variant;
		my $seconds = size(3, 1);
		my %tps = interleave(
			reps(),
			insert => sub { $db->settle; $side->('insert', $insert, $clients, $sync, $seconds) },
			eda => sub { $db->settle; $side->('eda', $publish, $clients, $sync, $seconds) });

		$row->check(
			what => sprintf('%d client%s, synchronous_commit %s', $clients, $clients > 1 ? 's' : '', $sync),
			unit => 'tps',
			ours => $tps{eda},
			other => $tps{insert},
			beside => 'INSERT',
			at_least => 1.00);
	}
	$row->verify('events in the log', $db->value('SELECT count(*) FROM eda.log'), $count{eda});
	$row->verify('rows inserted', $db->value('SELECT count(*) FROM plain'), $count{insert});
	$db->drop;
	return;
}

# Row 2.
sub live
{
	my ($row) = @_;
	my $db = Bench::Database->new('live');
	my $published = 0;
	my $handled = 0;
	my @behind;
	my $side = sub {
		my ($live, $clients, $sync, $seconds) = @_;

		if ($live)
		{
			$db->subscribe('live', 'noop');
			# it is there when the clock starts, as it is in life
			$db->query("SELECT eda.publish('$Bench::Database::topic')", 'CALL eda.wait()');
		}
		$db->settle;
		my ($tps, $n) = pgbench($db, sql => $publish, clients => $clients, sync => $sync, seconds => $seconds);

		if ($live)
		{
			push @behind, 100 - 100 * ($db->handled('live') - 1) / $n;
			$db->query("CALL eda.wait(timeout => '60 s')");
			$handled += $db->handled('live');
			$published += $n + 1;
			$db->query("SELECT eda.unsubscribe('live')");
		}
		return $tps;
	};

	$side->($_, 1, 'off', 1) foreach 0, 1;
	foreach my $variant (variants())
	{
		my ($clients, $sync) = @$variant;
		my $seconds = size(3, 1);
		my %tps = interleave(
			reps(),
			without => sub { $side->(0, $clients, $sync, $seconds) },
			live => sub { $side->(1, $clients, $sync, $seconds) });

		$row->check(
			what => sprintf('%d client%s, synchronous_commit %s', $clients, $clients > 1 ? 's' : '', $sync),
			unit => 'tps',
			ours => $tps{live},
			other => $tps{without},
			beside => 'nothing subscribed',
			at_least => 0.85);
	}
	$row->verify('events handled', $handled, $published);
	$row->note('When the publishers stopped, %.1f %% of the events were still to be handled (median; at most %.1f %%).',
		median(@behind), maximum(@behind));
	$db->drop;
	return;
}

1;
