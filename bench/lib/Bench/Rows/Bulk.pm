# Rows 3 and 4: many events in one transaction.
#
#  1. The rows come from a table that is in memory, the transaction is one
#     statement, and its commit, which waits for the disk, is included.  A
#     checkpoint goes before each side.
#  2. The limit is bench_multi_insert (eda_bench.c), into a table with the columns
#     and the indexes of a segment of eda's log.
#  3. All tables grow, as they do in life: one that is emptied before each turn gets its files and
#     buffers back at once, where the others have to look for new ones.

package Bench::Rows::Bulk;

use strict;
use warnings;
use utf8;

use Bench::Database;
use Bench::Plan;
use Bench::Stats;

my $topic = $Bench::Database::topic;

my %statement = (
	insert => 'INSERT INTO plain (payload) SELECT payload FROM src',
	limit => "SELECT bench_multi_insert('src', 'limit_log', '$topic')",
	publish => "SELECT count(eda.publish('$topic', payload)) FROM src",
	query => "SELECT * FROM eda.publish_query('$topic', 'SELECT payload FROM src')",
	batch => "SELECT cardinality(eda.publish_batch('$topic', (SELECT array_agg(payload) FROM src)))",
	array => 'SELECT cardinality(array_agg(payload)) FROM src',
);

# One statement's events a second; counts what it wrote, by table.
my %table = (insert => 'plain', limit => 'limit_log', query => 'eda.log', batch => 'eda.log', publish => 'eda.log');

sub side
{
	my ($db, $name, $n, $written) = @_;

	$db->settle;
	my $seconds = $db->seconds($statement{$name});

	$written->{ $table{$name} } += $n if $table{$name};
	return $n / $seconds;
}

# Names of the sides => [events a second of each].
sub measure
{
	my ($row, @names) = @_;
	my $n = size(200_000, 50_000);
	my $db = Bench::Database->new('bulk', rows => $n);
	my %written;

	# the segment's own definition, whatever it is
	$db->query(
		'CREATE TABLE limit_log (LIKE eda.log_1)',
		q{SELECT replace(replace(pg_get_indexdef(indexrelid), 'eda.log_1 ', 'limit_log '), 'INDEX log_1', 'INDEX limit_log')
			FROM pg_index WHERE indrelid = 'eda.log_1'::regclass \gexec
		});
	side($db, $_, $n, \%written) foreach @names;
	my %rates = interleave(reps(), map { my $name = $_; $name => sub { side($db, $name, $n, \%written) } } @names);

	$row->verify("rows in $_", $db->value("SELECT count(*) FROM $_"), $written{$_}) foreach sort keys %written;
	$db->drop;
	return \%rates;
}

# Row 3.
sub each_row
{
	my ($row) = @_;
	my $rates = measure($row, 'insert', 'publish');

	$row->check(
		what => 'SELECT eda.publish(…) FROM',
		unit => 'events/s',
		ours => $rates->{publish},
		other => $rates->{insert},
		beside => 'INSERT … SELECT',
		at_least => 1.0);
	return;
}

# Row 4.
sub many
{
	my ($row) = @_;
	my $rates = measure($row, qw(insert query batch limit array));

	foreach my $name ('query', 'batch')
	{
		$row->check(
			what => "publish_$name",
			unit => 'events/s',
			ours => $rates->{$name},
			other => $rates->{insert},
			beside => 'INSERT … SELECT',
			at_least => 1.3);
		$row->check(
			what => "publish_$name",
			unit => 'events/s',
			ours => $rates->{$name},
			other => $rates->{limit},
			beside => 'multi-insert loop',
			at_least => 0.85);
	}
	$row->check(
		what => 'publish_batch',
		unit => 'events/s',
		ours => $rates->{batch},
		other => $rates->{array},
		beside => 'its array alone');
	return;
}

1;
