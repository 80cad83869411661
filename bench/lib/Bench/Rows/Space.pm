# Row 16: what is left of a million events, published in transactions of 1,000
# and handled by a live subscription.
#
#  1. Dead tuples: pgstattuple, of each segment of the log.
#  2. Disk: the segments with their indexes and what belongs to them, beside the bytes of
#     the payloads as the rows have them, jsonb of about 400 bytes.

package Bench::Rows::Space;

use strict;
use warnings;
use utf8;

use Bench::Database;
use Bench::Plan;

# Row 16.
sub log
{
	my ($row) = @_;
	my $db = Bench::Database->new('space');
	my $n = size(1_000_000, 100_000);

	$db->query('CREATE EXTENSION pgstattuple');
	$db->subscribe('live', 'noop');
	$db->query("CALL publish_many('$Bench::Database::topic', $n, 1000)", "CALL eda.wait(timeout => '5 min')");
	$row->verify('events handled', $db->handled('live'), $n);

	my $dead = $db->value(
		q{SELECT sum((pgstattuple(relation)).dead_tuple_count) FROM eda.segment});
	my ($disk, $payload) = split /\|/, $db->value(
		q{SELECT (SELECT sum(pg_total_relation_size(relation)) FROM eda.segment), (SELECT sum(pg_column_size(payload)) FROM eda.log)});

	$row->check(what => 'dead tuples', unit => 'tuples', ours => [$dead], at_most => 0, loose => 0);
	$row->check(
		what => 'disk, with indexes',
		unit => 'bytes an event',
		ours => [ $disk / $n ],
		other => [ $payload / $n ],
		beside => 'payload',
		at_most => 1.4,
		loose => 2);
	$db->drop;
	return;
}

1;
