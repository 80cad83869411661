# Too few worker slots: a line in the log says so, and delivery goes on with
# what there is.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use EdaTest;

my $node = new_node('slots');
# the launcher, the dispatcher and one executor
$node->append_conf('postgresql.conf', "max_logical_replication_workers = 0\nmax_worker_processes = 3\neda.max_executors = 4");
$node->start;
setup_roles($node);
setup_db($node, 'postgres');
$node->safe_psql(
	'postgres', q{
	CREATE ROLE app2 LOGIN;
	GRANT ALL ON handled TO app2;
	SELECT eda.subscribe('notes2', 'test.note2', 'public.note', owner => 'app2');
	SELECT eda.subscribe('notes3', 'test.note3', 'public.note', owner => 'joe');
	GRANT ALL ON handled TO joe;
	SELECT eda.publish('test.note', '{"n": 1}'), eda.publish('test.note2', '{"n": 2}'), eda.publish('test.note3', '{"n": 3}');
});
wait_handled($node, 'postgres', $_, "event of owner $_ is handled") for 1 .. 3;
$node->wait_for_log(qr/no free background worker slot for an eda executor/);
like(slurp_file($node->logfile), qr/no free background worker slot.*HINT:[^\n]*max_worker_processes/s,
	'the log names the setting');
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eda executor'"),
	'1', 'with one executor');

# not even a dispatcher
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->stop;
my $offset = -s $node->logfile;
$node->start;
$node->wait_for_log(qr/no free background worker slot for an eda dispatcher.*HINT:[^\n]*max_worker_processes/s, $offset);
pass('the launcher names it, too');
publish($node, 'postgres', 4);

# one executor slot for three owners
$node->append_conf('postgresql.conf', "max_worker_processes = 8\neda.max_executors = 1");
$node->restart;
wait_handled($node, 'postgres', 4, 'nothing is lost');
$node->safe_psql('postgres',
	q{SELECT eda.publish('test.note', '{"n": 11}'), eda.publish('test.note2', '{"n": 12}'), eda.publish('test.note3', '{"n": 13}')});
wait_handled($node, 'postgres', 10 + $_, "eda.max_executors = 1, owner $_") for 1 .. 3;

$node->stop;
done_testing();
