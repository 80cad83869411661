# No table of eda's needs VACUUM to keep its speed while nothing fails.

use strict;
use warnings;

use FindBin;
use lib $FindBin::Bin;

use EdaTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('novacuum');
my $db = 'postgres';

$node->append_conf('postgresql.conf', 'autovacuum = off');
$node->start;
setup_roles($node);
$node->safe_psql($db, q{
	CREATE EXTENSION eda;
	CREATE FUNCTION nothing(jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	SELECT eda.subscribe('s' || i, 'test.vacuum', 'public.nothing', batch_size => 5, concurrency => 2, owner => 'app')
	  FROM generate_series(1, 3) i});

# Pages of a table and its indexes.
sub pages
{
	my ($table) = @_;
	return $node->safe_psql($db, "SELECT (pg_relation_size('$table') + pg_indexes_size('$table')) / 8192");
}

sub round
{
	$node->safe_psql($db, q{
		SELECT count(eda.publish('test.vacuum', '{}', (i % 100)::text)) FROM generate_series(1, 20000) i;
		CALL eda.wait(timeout => '2 minutes')});
}

round();
my %before = map { $_ => pages($_) } qw(eda.cursor eda.subscription eda.retry eda.segment);
round() for 1 .. 5;
# the publishing transaction's snapshot keeps old versions for as long as it lasts: that space is used again
cmp_ok(pages($_), '<=', 2 * $before{$_}, "$_ does not grow while events are handled: $before{$_} pages before") for sort keys %before;

is($node->safe_psql($db, q{
	SELECT sum(handled) = 3 * 120000 FROM eda.subscriptions}), 't', 'every event was handled');
$node->poll_query_until($db, q{SELECT sum(n_tup_ins) > 0 FROM pg_stat_all_tables WHERE schemaname = 'eda' AND relname LIKE 'log\_%'});
is($node->safe_psql($db, q{
	SELECT sum(n_tup_upd + n_tup_del + n_dead_tup) FROM pg_stat_all_tables WHERE schemaname = 'eda' AND relname LIKE 'log\_%'}),
	'0', 'no row of the log is updated, deleted or dead');

$node->stop;
done_testing();
